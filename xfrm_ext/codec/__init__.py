# SPDX-License-Identifier: MIT
"""Codecs: values <-> messages. They never see a socket."""

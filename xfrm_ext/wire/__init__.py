# SPDX-License-Identifier: MIT
"""Fields <-> bytes: what values are built and read with. ``native`` does it in C."""

from xfrm_ext.wire.native import *  # noqa: F403

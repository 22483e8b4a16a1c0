# SPDX-License-Identifier: MIT
"""The scenarios of tests/live.py on the guest's kernel, which has all of IPsec."""

from test_live_coverage import test_scenarios

__all__ = ["test_scenarios"]

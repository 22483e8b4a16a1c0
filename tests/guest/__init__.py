# SPDX-License-Identifier: MIT
"""Tests that need all of IPsec in the kernel: `make test-guest` runs them in a guest that has it."""

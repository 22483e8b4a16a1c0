# SPDX-License-Identifier: MIT
"""How fast xfrm_ext is, beside the kernel's own speed and other ways to do the same."""

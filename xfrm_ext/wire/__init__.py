# SPDX-License-Identifier: MIT
"""Fields <-> bytes: what values are built and read with.

``native`` does it in C, ``pure`` in Python: the same functions, the same results. The environment variable
XFRM_EXT_CODEC says which one is used, "native" or "pure"; without it, native where the compiled module is there.
``NAME`` is the one in use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xfrm_ext.checks import shown
from xfrm_ext.errors import ValidationError

_wanted = os.environ.get("XFRM_EXT_CODEC", "")
if _wanted not in ("", "native", "pure"):
    raise ValidationError("XFRM_EXT_CODEC", shown(_wanted), "is not native or pure")

NAME = _wanted or "native"
"""The implementation in use: "native" or "pure"."""

if TYPE_CHECKING or NAME == "native":
    try:
        from xfrm_ext.wire.native import *  # noqa: F403
    except ModuleNotFoundError as error:
        if _wanted or error.name != "xfrm_ext._native":
            raise
        NAME = "pure"

if not TYPE_CHECKING and NAME == "pure":
    from xfrm_ext.wire.pure import *  # noqa: F403

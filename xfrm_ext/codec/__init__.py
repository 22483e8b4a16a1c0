# SPDX-License-Identifier: MIT
"""Values <-> messages: ``native`` in C, ``pure`` in Python, one interface (``Codec``).

``encode(value | Request) -> bytes`` and ``decode(bytes) -> value | Request``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from xfrm_ext import wire
from xfrm_ext.checks import shown
from xfrm_ext.errors import ValidationError, compiled_module_needed

if TYPE_CHECKING:
    from xfrm_ext.codec.generic import Codec


def select(name: str | None = None) -> Codec:
    """The codec of a name, "native" or "pure"; None: that of XFRM_EXT_CODEC, else native where it was compiled."""
    if name is None:
        name = wire.NAME
    if name not in ("native", "pure"):
        raise ValidationError("codec", shown(name), "is not native or pure")
    with compiled_module_needed(f"codec {name!r}"):
        codec: Codec = importlib.import_module(f"xfrm_ext.codec.{name}").codec
    return codec

# SPDX-License-Identifier: MIT
"""Item: one attribute, between a value and its bytes."""

from __future__ import annotations

from typing import Any, NamedTuple


class Item(NamedTuple):
    """One attribute, in host order. The module docstring of ``xfrm_ext.wire`` lists what each type has."""

    type: int
    """XFRMA_*; of a raw item with the flag bits that it came with."""
    numbers: tuple[int, ...] | None
    """None: a raw item, whose ``data`` is the payload as it came: of an unknown type, or an unexpected size."""
    data: Any = b""
    """Bytes-like: a key, a bitmap, a label, addresses, structures."""
    name: bytes = b""
    """Of an algorithm."""

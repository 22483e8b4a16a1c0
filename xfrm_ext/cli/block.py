# SPDX-License-Identifier: MIT
"""Messages as one block, as a send of many takes them."""

from __future__ import annotations

from xfrm_ext.wire.layouts import aligned

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def joined(pieces: Sequence[Any]) -> bytearray:
    """Messages back to back, each at a multiple of 4. There may be keys in them: who gets the block wipes it."""
    # As large as it will be from the start: one that grows leaves copies of keys behind.
    block, end = bytearray(sum(aligned(len(piece)) for piece in pieces)), 0
    for piece in pieces:
        block[end : end + len(piece)] = piece
        end += aligned(len(piece))
    return block

# SPDX-License-Identifier: MIT
"""ReplayState: sequence numbers and the replay window of a state, in either of the kernel's two forms."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from xfrm_ext.checks import integer
from xfrm_ext.constants import AttributeType
from xfrm_ext.errors import ValidationError
from xfrm_ext.wire.item import Item

LARGEST_WINDOW = 4096
"""Packets: 128 words of 32 bits (XFRMA_REPLAY_ESN_MAX)."""


@dataclass(frozen=True, slots=True)
class ReplayState:
    """Where a state is in its sequence (struct xfrm_replay_state or xfrm_replay_state_esn).

    With extended sequence numbers the numbers have 64 bits, else 32.
    """

    output: int = 0
    """Sequence number of the last packet that was sent."""
    input: int = 0
    """Highest sequence number that was received."""
    bitmap: int = 0
    """Which packets up to it were received, as the kernel keeps it: word by word, the lowest bits are word 0."""
    words: int | None = None
    """Words of 32 bits that the kernel keeps for the bitmap (bmp_len). None: as many as the window needs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", integer(self.output, "ReplayState.output", 2**64 - 1))
        object.__setattr__(self, "input", integer(self.input, "ReplayState.input", 2**64 - 1))
        try:
            object.__setattr__(self, "bitmap", integer(self.bitmap, "ReplayState.bitmap", 2**LARGEST_WINDOW - 1))
        except ValidationError as error:
            rule = f"is not an integer from 0 to 2**{LARGEST_WINDOW} - 1"
            raise ValidationError(error.field, error.value, rule) from None
        if self.words is not None:
            object.__setattr__(self, "words", integer(self.words, "ReplayState.words", 0xFFFFFFFF))

    def _as_read(self, window: int) -> ReplayState:
        """The same as it is read back, where as many words as the window needs need not be told."""
        return replace(self, words=None) if self.words == (window + 31) // 32 else self

    def _legacy_item(self) -> Item:
        """XFRMA_REPLAY_VAL."""
        for name in ("output", "input", "bitmap"):
            if getattr(self, name) > 0xFFFFFFFF:
                rule = "does not fit into 32 bits, and the state has no extended sequence numbers"
                raise ValidationError(f"ReplayState.{name}", hex(getattr(self, name)), rule)
        return Item(AttributeType.REPLAY_VAL, (self.output, self.input, self.bitmap))

    def _extended_item(self, window: int) -> Item:
        """XFRMA_REPLAY_ESN_VAL."""
        words = (window + 31) // 32 if self.words is None else self.words
        if self.bitmap >> 32 * words:
            rule = f"has bits beyond the {32 * words} of the window"
            raise ValidationError("ReplayState.bitmap", hex(self.bitmap), rule)
        # A bitmap of zeros as long as no message can be has been seen in requests, as a length without its bitmap.
        data = b"".join(
            (self.bitmap >> 32 * word & 0xFFFFFFFF).to_bytes(4, sys.byteorder) for word in range(min(words, 128))
        )
        low, high = 0xFFFFFFFF, 32
        numbers = (words, self.output & low, self.input & low, self.output >> high, self.input >> high, window)
        return Item(AttributeType.REPLAY_ESN_VAL, numbers, data if words <= 128 else b"")

    @classmethod
    def _from_items(cls, legacy: Item | None, extended: Item | None) -> ReplayState | None:
        if extended is not None and extended.numbers:
            words, oseq, seq, oseq_high, seq_high, window = extended.numbers
            data = extended.data
            bitmap = 0
            for start in range(0, len(data), 4):
                bitmap |= int.from_bytes(data[start : start + 4], sys.byteorder) << 8 * start
            usual = words == (window + 31) // 32
            return cls(oseq | oseq_high << 32, seq | seq_high << 32, bitmap, None if usual else words)
        if legacy is not None and legacy.numbers:
            return cls(*legacy.numbers)
        return None

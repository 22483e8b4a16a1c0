# SPDX-License-Identifier: MIT
"""Mark: which firewall marks a policy or state is for (struct xfrm_mark, XFRMA_MARK)."""

from __future__ import annotations

from dataclasses import dataclass

from xfrm_ext.checks import integer


@dataclass(frozen=True, slots=True)
class Mark:
    """Packets whose mark, masked, is ``value`` (struct xfrm_mark).

    Bits of the value outside the mask are dropped, as the kernel drops them when it stores the mark: so what
    was added can be found again with the same object. ``Mark(0, 0)`` is every mark, and is not sent.
    """

    value: int
    mask: int = 0xFFFFFFFF

    def __post_init__(self) -> None:
        mask = integer(self.mask, "Mark.mask", 0xFFFFFFFF)
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "value", integer(self.value, "Mark.value", 0xFFFFFFFF) & mask)

# SPDX-License-Identifier: MIT
"""ID of `ip xfrm state`: which state, as far as it is said."""

from __future__ import annotations

from xfrm_ext.iproute2.words import (
    COMP,
    HAO,
    INET,
    NO_ADDRESS,
    PROTOCOLS,
    ROUTE2,
    U16,
    U32,
    prefix,
    protocol,
    same_family,
    wrong,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xfrm_ext.iproute2.words import Words

KEYWORDS = ("src", "dst", "proto", "spi")
_NO_SPI = (ROUTE2, HAO)


class StateId:
    """What the words of an ID say: ``source``, ``destination``, ``protocol``, ``spi``; ``given`` the keywords."""

    __slots__ = ("destination", "family", "given", "lengths", "protocol", "source", "spi")

    def __init__(self, family: int) -> None:
        self.source = NO_ADDRESS
        self.destination = NO_ADDRESS
        self.lengths = {"src": 0, "dst": 0}
        """Of prefixes, which matter to a filter alone."""
        self.family = family
        """Of the addresses, else of the options; 0: not said."""
        self.protocol = 0
        self.spi = 0
        self.given: set[str] = set()

    @property
    def some_family(self) -> int:
        """The family, AF_INET where it is not said."""
        return self.family or INET

    def read(self, words: Words, *, loose: bool = False, behind: str = "") -> None:
        """[ src ADDR ] [ dst ADDR ] [ proto XFRM-PROTO ] [ spi SPI ], in any order, and without other words between
        them. A filter (`loose`) needs no protocol. `behind` what the first word stands, where it could be a key.
        """
        first = words.peek()
        if first not in KEYWORDS:
            if behind:
                raise wrong("state", None, f"the word behind {behind} is unknown")
            raise wrong("state", first, "is unknown here")
        if self.given:
            raise wrong(first, None, "belongs to the ID: src, dst, proto and spi stand together, and once")
        wanted, families = self.family, {"src": 0, "dst": 0}
        while (keyword := words.take(*KEYWORDS)) is not None:
            self.given.add(keyword)
            if keyword in families:
                address, family, self.lengths[keyword] = prefix(words.next(keyword), wanted, keyword)
                self.family = families[keyword] = family
                if keyword == "src":
                    self.source = address
                else:
                    self.destination = address
            elif keyword == "proto":
                self.protocol = protocol(words)
            else:
                self.spi = words.number("spi", U32)
        same_family("dst", families["dst"], families["src"], "src")
        if self.spi and self.protocol in _NO_SPI:
            raise wrong("spi", None, f"does not go with proto {protocol_name(self.protocol)}", 1)
        if self.spi > U16 and self.protocol == COMP:
            raise wrong("spi", None, "is at most 0xffff with proto comp", 1)
        if not loose and "proto" not in self.given:
            raise wrong("proto", None, f"is missing: one of {', '.join(PROTOCOLS)}")


def protocol_name(number: int) -> str:
    """The word for a protocol, or its number."""
    return next((name for name, protocol in PROTOCOLS.items() if protocol == number), str(number))

# SPDX-License-Identifier: MIT
"""TMPL of `ip xfrm policy`: what a policy asks states to be (struct xfrm_user_tmpl)."""

from __future__ import annotations

from xfrm_ext.iproute2.state_id import KEYWORDS, StateId
from xfrm_ext.iproute2.words import U32, address, choice, mode, same_family, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xfrm_ext.iproute2.words import Words

_LEVELS = {"required": 0, "use": 1}


class Template:
    """A template, read behind `tmpl`: [ ID ] [ mode MODE ] [ reqid REQID ] [ level LEVEL ], in any order.

    The words of ID stand together: what follows the template and looks like a second one is the policy's selector.
    `family` is that of the addresses that came before in the line, 0: there were none.
    """

    __slots__ = ("family", "id", "level", "mode", "new", "reqid")

    def __init__(self, words: Words, family: int, moves: bool = False) -> None:
        """`moves`: it may have `new-src ADDR` and `new-dst ADDR` as well, as in `policy migrate`."""
        self.id = StateId(0)
        self.mode = self.reqid = self.level = 0
        self.new: dict[str, tuple[bytes, int]] = {}
        """What `new-src` and `new-dst` said: address and family."""
        if not words.left:
            words.next("tmpl")
        while words.left:
            if words.take("mode"):
                self.mode = mode(words)
            elif words.take("reqid"):
                self.reqid = words.number("reqid")
            elif words.take("level"):
                self.level = choice(words.next("level"), _LEVELS, "level")
            elif moves and (keyword := words.take("new-src", "new-dst")):
                self.new[keyword] = address(words.next(keyword), 0, keyword)
            elif self.id.given:
                break
            elif words.peek() in KEYWORDS:
                self.id.read(words)
            else:
                raise wrong("tmpl", words.peek(), "is unknown here: a template needs an ID, with proto")
        self.family = self.id.family or family
        """That of its addresses; of a template without any, that of those before."""

    def pack(self) -> bytes:
        """The structure (struct xfrm_user_tmpl)."""
        from xfrm_ext.wire.layouts import TEMPLATE

        named = self.id
        return TEMPLATE.pack(
            (
                named.destination,
                named.spi,
                named.protocol,
                self.family,
                named.source,
                self.reqid,
                self.mode,
                0,  # share: any
                self.level,
                *(U32, U32, U32),  # all algorithms
            )
        )

    def pack_move(self) -> bytes:
        """Where the template's states go (struct xfrm_user_migrate). Raises CommandError where that is not said."""
        from xfrm_ext.wire.layouts import MIGRATION

        old = self.id
        if not old.given:
            raise wrong("tmpl", None, "needs an ID: src, dst and proto", 1)
        if old.spi or self.level:
            raise wrong("spi" if old.spi else "level", None, "is nothing that states move by", 1)
        for keyword in ("new-src", "new-dst"):
            if keyword not in self.new:
                raise wrong(keyword, None, "is missing: states move to two addresses", 1)
        (source, family), (destination, other) = self.new["new-src"], self.new["new-dst"]
        same_family("new-dst", other, family, "new-src")
        addresses = (old.destination, old.source, destination, source)
        return MIGRATION.pack((*addresses, old.protocol, self.mode, self.reqid, old.some_family, family))

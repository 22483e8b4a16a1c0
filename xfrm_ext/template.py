# SPDX-License-Identifier: MIT
"""Template: which state a policy wants for its packets (struct xfrm_user_tmpl)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xfrm_ext import wire
from xfrm_ext.checks import choice, choices, integer, shown
from xfrm_ext.constants import Family, Level, Mode, Protocol, Share
from xfrm_ext.errors import ValidationError
from xfrm_ext.selector import _ADDRESSES, _FAMILIES, AddressLike
from xfrm_ext.value import Value, is_selected, set_wire

_PROTOCOLS = choices(Protocol)
_MODES = choices(Mode)
_LEVELS = choices(Level)
_SHARES = choices(Share)
_REQUIRED, _ANY = Level.REQUIRED, Share.ANY


def _address_text(value: object, field: str) -> str:
    """The text of an address; "" for None."""
    if value is None:
        return ""
    if isinstance(value, str) and value:
        return str.__str__(value)  # the text itself, whatever a subclass makes of it
    if isinstance(value, _ADDRESSES):
        if "%" not in str(value):
            return str(value)
        raise ValidationError(field, shown(value), "has a scope, which no template has")
    raise ValidationError(field, shown(value), "is not an IP address")


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Template(Value):
    """Which state a policy wants for its packets (struct xfrm_user_tmpl).

    ``Template("192.0.2.1", "198.51.100.2", protocol="esp", mode="tunnel", reqid=1)``
    """

    source: str = "0.0.0.0"
    """Outer source address of a tunnel; None or "0.0.0.0": any."""
    destination: str = "0.0.0.0"
    """Outer destination address of a tunnel; None: any."""
    protocol: Protocol = Protocol.ESP
    """esp, ah, comp, route2, hao or ipsec-any."""
    spi: int = 0
    """SPI that the state must have; 0: any."""
    reqid: int = 0
    """Request id that the state must have. 0: for packets that come in any, for those that leave 0."""
    mode: Mode = Mode.TRANSPORT
    """transport, tunnel, beet, iptfs, ro or in_trigger."""
    level: Level = Level.REQUIRED
    """use: the packet passes without the transformation where there is no state."""
    share: Share = Share.ANY
    family: Family = Family.UNSPEC
    """Of the outer addresses. Without addresses UNSPEC, until a policy gives it the family of the template
    before it or of its selector."""
    aalgos: int = 0xFFFFFFFF
    """Mask of allowed authentication algorithms; all ones: any."""
    ealgos: int = 0xFFFFFFFF
    calgos: int = 0xFFFFFFFF

    def __init__(
        self,
        source: AddressLike | None = None,
        destination: AddressLike | None = None,
        *,
        protocol: Protocol | int | str = Protocol.ESP,
        spi: int = 0,
        reqid: int = 0,
        mode: Mode | int | str = Mode.TRANSPORT,
        level: Level | int | str = Level.REQUIRED,
        share: Share | int | str = Share.ANY,
        family: Family | int | str | None = None,
        aalgos: int = 0xFFFFFFFF,
        ealgos: int = 0xFFFFFFFF,
        calgos: int = 0xFFFFFFFF,
    ) -> None:
        """Raises ValidationError."""
        from_text = _address_text(source, "Template.source")
        to_text = _address_text(destination, "Template.destination")
        number = -1 if family is None else choice(family, "Template.family", _FAMILIES, Family)
        if number == Family.UNSPEC:
            number = -1
            if from_text == to_text == "0.0.0.0":
                from_text = to_text = ""  # the texts of a template without addresses, read back
        masks = (aalgos, ealgos, calgos)
        if masks != wire.ALL_ALGORITHMS:
            masks = (
                integer(aalgos, "Template.aalgos", 0xFFFFFFFF),
                integer(ealgos, "Template.ealgos", 0xFFFFFFFF),
                integer(calgos, "Template.calgos", 0xFFFFFFFF),
            )
        set_wire(
            self,
            wire.template_bytes(
                from_text,
                to_text,
                number,
                integer(spi, "Template.spi", 0xFFFFFFFF),
                integer(reqid, "Template.reqid", 0xFFFFFFFF),
                choice(protocol, "Template.protocol", _PROTOCOLS, Protocol)
                | choice(mode, "Template.mode", _MODES, Mode) << 8
                | (0 if level is _REQUIRED else choice(level, "Template.level", _LEVELS, Level) << 16)
                | (0 if share is _ANY else choice(share, "Template.share", _SHARES, Share) << 24),
                masks,
            ),
        )

    def _encoded(self, wire: Any) -> bytes:
        """The bytes, made by one of the two wire modules."""
        if is_selected(wire):
            return self._wire
        without = self.family == Family.UNSPEC
        data: bytes = wire.template_bytes(
            "" if without else self.source,
            "" if without else self.destination,
            -1 if without else self.family,
            self.spi,
            self.reqid,
            self.protocol | self.mode << 8 | self.level << 16 | self.share << 24,
            (self.aalgos, self.ealgos, self.calgos),
        )
        return data

    def _unpack(self, wire: Any) -> dict[str, Any]:
        values: dict[str, Any] = wire.template_fields(self._wire)
        values["protocol"] = Protocol(values["protocol"])
        values["mode"] = Mode(values["mode"])
        values["level"] = Level(values["level"])
        values["share"] = Share(values["share"])
        values["family"] = Family(values["family"])
        return values

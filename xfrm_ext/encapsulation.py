# SPDX-License-Identifier: MIT
"""Encapsulation: the UDP or TCP that ESP is wrapped in (struct xfrm_encap_tmpl, XFRMA_ENCAP)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xfrm_ext.address import ANY, address, encoded
from xfrm_ext.checks import choice, choices, integer
from xfrm_ext.constants import AttributeType, EncapsulationType, Family
from xfrm_ext.errors import ValidationError
from xfrm_ext.selector import AddressLike
from xfrm_ext.wire.item import Item

_TYPES = {**choices(EncapsulationType), "espinudp-nonike": int(EncapsulationType.ESPINUDP_NON_IKE)}


@dataclass(frozen=True, slots=True, init=False)
class Encapsulation:
    """The UDP or TCP that ESP is wrapped in (struct xfrm_encap_tmpl)."""

    type: EncapsulationType = EncapsulationType.ESPINUDP
    source_port: int = 4500
    destination_port: int = 4500
    original_address: str | None = None
    """The peer's own address, behind its NAT; None: not told, all zero."""

    def __init__(
        self,
        type: EncapsulationType | int | str = EncapsulationType.ESPINUDP,
        source_port: int = 4500,
        destination_port: int = 4500,
        original_address: AddressLike | None = None,
    ) -> None:
        """Raises ValidationError."""
        number = choice(type, "Encapsulation.type", _TYPES, EncapsulationType, 0xFFFF)
        object.__setattr__(self, "type", EncapsulationType(number))
        object.__setattr__(self, "source_port", integer(source_port, "Encapsulation.source_port", 0xFFFF))
        port = integer(destination_port, "Encapsulation.destination_port", 0xFFFF)
        object.__setattr__(self, "destination_port", port)
        text = None
        if original_address is not None:
            text = address(original_address, "Encapsulation.original_address")[0]
            if text in ("0.0.0.0", "::"):
                text = None  # which is what no address is sent as
        object.__setattr__(self, "original_address", text)

    @classmethod
    def _from_item(cls, item: Item, family: int, wire: Any) -> Encapsulation:
        kind, source, destination = item.numbers or (0, 0, 0)
        # The kernel takes an address of IPv6 in a state of IPv4 too, and its bytes tell.
        own = family if family == Family.INET6 else Family.UNSPEC
        text = None if item.data == ANY else wire.address_text(item.data, own)
        return cls(EncapsulationType(kind), source, destination, text)

    def _check(self, family: int, field: str) -> None:
        """Whether it can be that of a state of a family: there, four bytes would be those of an IPv6 address."""
        if family == Family.INET6 and self.original_address is not None and ":" not in self.original_address:
            rule = f"has an original address, {self.original_address}, of another family than the state"
            raise ValidationError(field, None, rule)

    def _item(self, wire: Any) -> Item:
        data = ANY if self.original_address is None else encoded(self.original_address, wire)
        return Item(AttributeType.ENCAP, (self.type, self.source_port, self.destination_port), data)

# SPDX-License-Identifier: MIT
"""StateId: how one state is named (struct xfrm_usersa_id), which many messages begin with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xfrm_ext.address import address, any_of, encoded
from xfrm_ext.attribute import Attribute, attributes_of
from xfrm_ext.checks import choice, choices, instance, integer, shown
from xfrm_ext.constants import AttributeType, Family, Protocol
from xfrm_ext.errors import ValidationError
from xfrm_ext.items import Items, mark_item, rest_items
from xfrm_ext.mark import Mark
from xfrm_ext.selector import AddressLike
from xfrm_ext.wire.item import Item

_PROTOCOLS = choices(Protocol)
_FAMILIES = choices(Family)
_U32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, init=False)
class StateId:
    """How one state is named in a request (struct xfrm_usersa_id and attributes)."""

    destination: str
    spi: int = 0
    protocol: Protocol = Protocol.ESP
    source: str | None = None
    """Needed for protocols without an SPI (route2, hao)."""
    mark: Mark | None = None
    """That of the state."""
    family: Family = Family.INET
    attributes: tuple[Attribute, ...] = ()

    def __init__(
        self,
        destination: AddressLike,
        spi: int = 0,
        protocol: Protocol | int | str = Protocol.ESP,
        *,
        source: AddressLike | None = None,
        mark: Mark | None = None,
        family: Family | int | str | None = None,
        attributes: Iterable[Attribute] = (),
    ) -> None:
        """Raises ValidationError."""
        given = None if family is None else Family(choice(family, "StateId.family", _FAMILIES, Family))
        if destination is None:
            raise ValidationError("StateId.destination", shown(destination), "is not an IP address")
        text, own = address(destination, "StateId.destination")
        found = own if given is None else given
        if found not in (own, Family.UNSPEC) and text not in ("0.0.0.0", "::"):
            raise ValidationError("StateId.destination", shown(destination), "is not of the family that was given")
        from_text = None
        if source is not None:
            from_text, other = address(source, "StateId.source")
            if found not in (other, Family.UNSPEC):
                raise ValidationError("StateId.source", shown(source), "is of another family than the destination")
        object.__setattr__(self, "destination", text if found in (own, Family.UNSPEC) else any_of(found))
        object.__setattr__(self, "spi", integer(spi, "StateId.spi", _U32))
        number = choice(protocol, "StateId.protocol", _PROTOCOLS, Protocol)
        object.__setattr__(self, "protocol", Protocol(number))
        object.__setattr__(self, "source", from_text)
        if mark is not None and not instance(mark, Mark, "StateId.mark").mask:
            mark = None  # every mark, as in a state
        object.__setattr__(self, "mark", mark)
        object.__setattr__(self, "family", found)
        object.__setattr__(self, "attributes", attributes_of(attributes, "StateId.attributes"))

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        items = [] if self.mark is None else [mark_item(self.mark)]
        if self.source is not None:
            items.append(Item(AttributeType.SRCADDR, (), encoded(self.source, wire)))
        return id_fields(self, wire), items + rest_items(self.attributes)

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> StateId:
        return cls(**id_values(values, wire), **_id_options(values, items, wire), attributes=items.rest(wire))


def id_fields(value: Any, wire: Any) -> dict[str, Any]:
    """struct xfrm_usersa_id, which many messages begin with."""
    return {
        "destination": encoded(value.destination, wire),
        "spi": value.spi,
        "family": value.family,
        "protocol": value.protocol,
    }


def id_values(values: dict[str, Any], wire: Any) -> dict[str, Any]:
    return {
        "destination": wire.address_text(values["destination"], values["family"]),
        "spi": values["spi"],
        "protocol": Protocol(values["protocol"]),
        "family": Family(values["family"]),
    }


def _id_options(values: dict[str, Any], items: Items, wire: Any) -> dict[str, Any]:
    source = items.take(AttributeType.SRCADDR)
    return {
        "mark": items.mark(),
        "source": None if source is None else wire.address_text(source.data, values["family"]),
    }

# SPDX-License-Identifier: MIT
"""What only requests about states have for a body: SpiRequest, StateFilter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xfrm_ext.address import any_of
from xfrm_ext.attribute import Attribute, attributes_of
from xfrm_ext.checks import choice, choices, instance, integer
from xfrm_ext.constants import AttributeType, Family, Protocol
from xfrm_ext.errors import ValidationError
from xfrm_ext.event import _state, _state_parts
from xfrm_ext.items import Items, rest_items
from xfrm_ext.selector import PrefixLike, Selector
from xfrm_ext.state import State
from xfrm_ext.wire.item import Item

_PROTOCOLS = choices(Protocol)
_FAMILIES = choices(Family)
_U32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SpiRequest:
    """Asks for a free SPI (XFRM_MSG_ALLOCSPI, struct xfrm_userspi_info)."""

    state: State
    """The larval state to be made, or, where its ``sequence`` is that of an ACQUIRE, to be given an SPI."""
    minimum: int = 0x100
    maximum: int = 0x0FFFFFFF
    """Both included; IPComp: at most 0xffff."""

    def __post_init__(self) -> None:
        instance(self.state, State, "SpiRequest.state")
        object.__setattr__(self, "minimum", integer(self.minimum, "SpiRequest.minimum", _U32))
        object.__setattr__(self, "maximum", integer(self.maximum, "SpiRequest.maximum", _U32))
        if self.minimum > self.maximum:
            raise ValidationError(
                "SpiRequest.minimum", hex(self.minimum), f"is more than {self.maximum:#x}, the maximum"
            )

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        fixed, items = _state_parts(self.state, wire)
        return {"state": fixed, "spi_min": self.minimum, "spi_max": self.maximum}, items

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> SpiRequest:
        value = cls.__new__(cls)  # as it came: nothing keeps others from a minimum above the maximum
        object.__setattr__(value, "state", _state(values["state"], items, wire))
        object.__setattr__(value, "minimum", values["spi_min"])
        object.__setattr__(value, "maximum", values["spi_max"])
        return value


@dataclass(frozen=True, slots=True, init=False)
class StateFilter:
    """Which states a dump is to show; the kernel looks (XFRMA_PROTO; XFRMA_ADDRESS_FILTER, struct
    xfrm_address_filter)."""

    protocol: Protocol | None = None
    source: str | None = None
    """Prefix that the source address is in; None: any."""
    destination: str | None = None
    family: Family | None = None
    """None: that of the prefixes, else any."""
    attributes: tuple[Attribute, ...] = ()

    def __init__(
        self,
        protocol: Protocol | int | str | None = None,
        source: PrefixLike | None = None,
        destination: PrefixLike | None = None,
        family: Family | int | str | None = None,
        attributes: Iterable[Attribute] = (),
        *,
        strict: bool = True,
    ) -> None:
        """``strict``: whether bits behind the prefixes are refused, as in Selector. Raises ValidationError."""
        kind = None
        if protocol is not None:
            kind = Protocol(choice(protocol, "StateFilter.protocol", _PROTOCOLS, Protocol))
        wanted = None
        if family is not None:
            wanted = Family(choice(family, "StateFilter.family", _FAMILIES, Family))
        if source is not None or destination is not None:
            try:
                both = Selector(source, destination, family=wanted, strict=strict)
            except ValidationError as error:
                name = error.field.replace("Selector", "StateFilter")
                raise ValidationError(name, error.value, error.rule.partition(": the kernel")[0]) from None
            wanted = both.family
            source = None if source is None else both.source
            destination = None if destination is None else both.destination
        for name, value in (
            ("protocol", kind),
            ("source", source),
            ("destination", destination),
            ("family", wanted),
            ("attributes", attributes_of(attributes, "StateFilter.attributes")),
        ):
            object.__setattr__(self, name, value)

    def _parts(self, wire: Any) -> tuple[None, list[Item]]:
        items = []
        if self.protocol is not None:
            items.append(Item(AttributeType.PROTO, (self.protocol,)))
        if self.family is not None:
            texts = self.source or "", self.destination or ""
            selector: bytes = wire.selector_bytes(*texts, self.family, False, None)
            destination, source, to_bits, from_bits = selector[:16], selector[16:32], selector[42], selector[43]
            numbers = (self.family, from_bits, to_bits)
            items.append(Item(AttributeType.ADDRESS_FILTER, numbers, source + destination))
        return None, items + rest_items(self.attributes)

    @classmethod
    def _from_parts(cls, items: Items, wire: Any) -> StateFilter:
        kind = items.number(AttributeType.PROTO)
        protocol = None if kind is None else Protocol(kind)
        addresses = items.take(AttributeType.ADDRESS_FILTER)
        if addresses is None or not addresses.numbers:
            return cls(protocol, attributes=items.rest(wire))
        family, from_bits, to_bits = addresses.numbers
        values = []
        for at, bits in ((0, from_bits), (16, to_bits)):
            part = addresses.data[at : at + 16]
            text = wire.address_text(part, family)
            values.append(None if text == any_of(family) and not bits else f"{text}/{bits}")
        wire.selector_bytes(values[0] or "", values[1] or "", family, False, None)  # refuses what is no prefix
        value = cls.__new__(cls)  # as it came, host bits and all
        for name, one in zip(
            ("protocol", "source", "destination", "family", "attributes"),
            (protocol, *values, Family(family), items.rest(wire)),
            strict=True,
        ):
            object.__setattr__(value, name, one)
        return value

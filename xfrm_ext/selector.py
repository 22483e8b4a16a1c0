# SPDX-License-Identifier: MIT
"""Selector: which packets a policy or state is for (struct xfrm_selector, RFC 4301 section 4.4.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any, TypeAlias

from xfrm_ext import wire
from xfrm_ext.checks import choice, choices, integer, shown
from xfrm_ext.constants import Family, Protocol
from xfrm_ext.errors import ValidationError
from xfrm_ext.value import Value, is_selected, set_wire

AddressLike: TypeAlias = str | IPv4Address | IPv6Address
PrefixLike: TypeAlias = AddressLike | IPv4Network | IPv6Network | IPv4Interface | IPv6Interface

_FAMILIES = choices(Family)
_ADDRESSES = (IPv4Address, IPv6Address)
_PREFIXES = (*_ADDRESSES, IPv4Network, IPv6Network)  # interfaces are addresses
_ZERO = 0
_GRE = 47
_WITH_TYPES = {1, 58, 135}  # ICMP, ICMPv6, the mobility header


def prefix_text(value: object, field: str) -> str:
    """The text of a prefix; "" for None."""
    if value.__class__ is str and value:
        return value
    if value is None:
        return ""
    if isinstance(value, str) and value:
        return str.__str__(value)  # the text itself, whatever a subclass makes of it
    if isinstance(value, _PREFIXES):
        if "%" not in str(value):
            return str(value)
        raise ValidationError(field, shown(value), "has a scope, which no selector has: give the interface instead")
    raise ValidationError(field, shown(value), "is not an IP prefix")


def protocol_number(value: object, field: str) -> int:
    """The number of an IP protocol given by number or name."""
    if isinstance(value, str):
        number = wire.protocol_number(value.lower())
        if number < 0:
            raise ValidationError(field, shown(value), "is not the name of an IP protocol")
        return number
    return integer(value, field, 255, kind=Protocol)


def interface_index(value: object, field: str) -> int:
    """An interface's index, given as such or by name in the calling thread's network namespace."""
    if isinstance(value, str):
        import socket  # which few need

        try:
            return socket.if_nametoindex(value)
        except (OSError, ValueError):  # a NUL or a lone surrogate in it
            raise ValidationError(field, shown(value), "is not an interface") from None
    return integer(value, field, 0x7FFFFFFF)


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Selector(Value):
    """Which packets a policy or state is for (struct xfrm_selector).

    ``Selector("10.1.0.0/16", "2001:db8::/32")`` is an error, and so are host bits behind a prefix: the kernel
    would keep them, and compare them when the policy is looked up again. ``strict=False`` allows them.
    """

    source: str = "0.0.0.0/0"
    """Canonical prefix. Given as text ("10.1.0.0/16", "10.1.2.3", "10.1.0.0/255.255.0.0") or as an object of
    the module ipaddress; None: any."""
    destination: str = "0.0.0.0/0"
    protocol: int = 0
    """Of the packet inside, by number or name ("tcp"); 0: any."""
    source_port: int = 0
    """The ICMP type, or the high half of a GRE key, of protocols that have those."""
    source_port_mask: int = 0
    """Bits of the port that count. Default: all, or none where the port is 0."""
    destination_port: int = 0
    """The ICMP code, or the low half of a GRE key, of protocols that have those."""
    destination_port_mask: int = 0
    interface: int = 0
    """Index of an interface, or its name in the calling thread's network namespace; 0: any."""
    user: int = 0
    """A uid, which today's kernels ignore."""
    family: Family = Family.INET
    """Default: that of the prefixes; INET when both are any."""

    def __init__(
        self,
        source: PrefixLike | None = None,
        destination: PrefixLike | None = None,
        *,
        protocol: int | str = 0,
        source_port: int = 0,
        source_port_mask: int | None = None,
        destination_port: int = 0,
        destination_port_mask: int | None = None,
        interface: int | str = 0,
        user: int = 0,
        family: Family | int | str | None = None,
        strict: bool = True,
        icmp_type: int | None = None,
        icmp_code: int | None = None,
        gre_key: int | None = None,
    ) -> None:
        """Raises ValidationError. ``icmp_type``, ``icmp_code`` (0-255; also of the mobility header) and
        ``gre_key`` (32 bits) are other names for the ports of protocols that have them."""
        # Most selectors are two prefixes: what is left at its default is not looked at.
        numbers = None
        if not (
            protocol is _ZERO
            and source_port is _ZERO
            and source_port_mask is None
            and destination_port is _ZERO
            and destination_port_mask is None
            and interface is _ZERO
            and user is _ZERO
            and icmp_type is None
            and icmp_code is None
            and gre_key is None
        ):
            numbers = _numbers(
                protocol,
                source_port,
                source_port_mask,
                destination_port,
                destination_port_mask,
                interface,
                user,
                icmp_type,
                icmp_code,
                gre_key,
            )
        set_wire(
            self,
            wire.selector_bytes(
                prefix_text(source, "Selector.source"),
                prefix_text(destination, "Selector.destination"),
                -1 if family is None else choice(family, "Selector.family", _FAMILIES, Family),
                bool(strict),
                numbers,
            ),
        )

    def __repr__(self) -> str:
        text = Value.__repr__(self)[:-1]
        # What the constructor would take for something else where it is not given.
        if self.source_port and not self.source_port_mask:
            text += ", source_port_mask=0"
        if self.destination_port and not self.destination_port_mask:
            text += ", destination_port_mask=0"
        try:
            Selector(self.source, self.destination)
        except ValidationError:  # it has host bits
            text += ", strict=False"
        return f"{text})"

    def _encoded(self, wire: Any) -> bytes:
        """The bytes, made by one of the two wire modules."""
        if is_selected(wire):
            return self._wire
        numbers = (
            self.source_port,
            self.source_port_mask,
            self.destination_port,
            self.destination_port_mask,
            self.protocol,
            self.interface,
            self.user,
        )
        data: bytes = wire.selector_bytes(self.source, self.destination, self.family, False, numbers)
        return data

    def _unpack(self, wire: Any) -> dict[str, Any]:
        values: dict[str, Any] = wire.selector_fields(self._wire)
        values["family"] = Family(values["family"])
        return values

    @property
    def icmp_type(self) -> int | None:
        """The type that ICMP, ICMPv6 or the mobility header must have; None: any, or another protocol."""
        return self.source_port if self.source_port_mask and self.protocol in _WITH_TYPES else None

    @property
    def icmp_code(self) -> int | None:
        """The code that ICMP or ICMPv6 must have; None: any, or another protocol."""
        return self.destination_port if self.destination_port_mask and self.protocol in _WITH_TYPES else None

    @property
    def gre_key(self) -> int | None:
        """The key that GRE must have; None: any, or another protocol."""
        if self.protocol != _GRE or not self.source_port_mask or not self.destination_port_mask:
            return None
        return self.source_port << 16 | self.destination_port


def _numbers(
    protocol: int | str,
    source_port: int,
    source_port_mask: int | None,
    destination_port: int,
    destination_port_mask: int | None,
    interface: int | str,
    user: int,
    icmp_type: int | None,
    icmp_code: int | None,
    gre_key: int | None,
) -> tuple[int, ...]:
    """The numbers of a selector, checked, in the order of wire.selector_bytes."""
    protocol = protocol_number(protocol, "Selector.protocol")
    source_port = integer(source_port, "Selector.source_port", 0xFFFF)
    destination_port = integer(destination_port, "Selector.destination_port", 0xFFFF)
    if icmp_type is not None or icmp_code is not None or gre_key is not None:
        if source_port or destination_port or source_port_mask or destination_port_mask:
            raise ValidationError("Selector", None, "has ports besides icmp_type, icmp_code or gre_key")
        source_port, source_port_mask, destination_port, destination_port_mask = _shared_fields(
            protocol, icmp_type, icmp_code, gre_key
        )
    if source_port_mask is None:
        source_port_mask = 0xFFFF if source_port else 0
    if destination_port_mask is None:
        destination_port_mask = 0xFFFF if destination_port else 0
    return (
        source_port,
        integer(source_port_mask, "Selector.source_port_mask", 0xFFFF),
        destination_port,
        integer(destination_port_mask, "Selector.destination_port_mask", 0xFFFF),
        protocol,
        interface_index(interface, "Selector.interface"),
        integer(user, "Selector.user", 0xFFFFFFFF),
    )


def _shared_fields(
    protocol: int, icmp_type: int | None, icmp_code: int | None, gre_key: int | None
) -> tuple[int, int, int, int]:
    """The ports and masks that stand for an ICMP type and code or a GRE key."""
    if gre_key is not None and icmp_type is None and icmp_code is None:
        if protocol != _GRE:
            raise ValidationError("Selector.gre_key", shown(gre_key), "is for protocol gre only")
        key = integer(gre_key, "Selector.gre_key", 0xFFFFFFFF)
        return key >> 16, 0xFFFF, key & 0xFFFF, 0xFFFF
    if protocol not in _WITH_TYPES:
        name = "icmp_type" if icmp_type is not None else "icmp_code"
        value = icmp_type if icmp_type is not None else icmp_code
        rule = "is for protocols icmp, ipv6-icmp and mobility-header only"
        raise ValidationError(f"Selector.{name}", shown(value), rule)
    if gre_key is not None:
        raise ValidationError("Selector.gre_key", shown(gre_key), "is for protocol gre only")
    return (
        0 if icmp_type is None else integer(icmp_type, "Selector.icmp_type", 255),
        0 if icmp_type is None else 0xFFFF,
        0 if icmp_code is None else integer(icmp_code, "Selector.icmp_code", 255),
        0 if icmp_code is None else 0xFFFF,
    )

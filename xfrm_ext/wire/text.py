# SPDX-License-Identifier: MIT
"""Texts of addresses, prefixes and protocols in Python, for ``pure``: the rules are those of csrc/text.c."""

from __future__ import annotations

import socket
from typing import NamedTuple

from xfrm_ext.checks import shown
from xfrm_ext.constants import Family
from xfrm_ext.errors import ValidationError
from xfrm_ext.wire.layouts import Buffer
from xfrm_ext.wire.protocols import PROTOCOLS
from xfrm_ext.wire.shared import HOST_BITS, NOT_PREFIX, PREFIX_LENGTH

_NO_ADDRESS = bytes(16)
_INET, _INET6 = int(Family.INET), int(Family.INET6)


def address_bytes(text: str) -> tuple[bytes, int] | None:
    """The 16 bytes of an address, IPv4 in the first four, and its family; None: the text is no address.

    IPv4 is four decimal numbers without leading zeros, IPv6 as inet_pton takes it, without a scope.
    """
    try:
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text), _INET6
        return socket.inet_pton(socket.AF_INET, text) + bytes(12), _INET
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate in it
        return None


def address_text(address: Buffer, family: int) -> str:
    """The canonical text (inet_ntop's). Of an unknown family: IPv4's unless more than four bytes are in use."""
    if family == _INET6 or (family != _INET and bytes(address[4:16]) != _NO_ADDRESS[4:]):
        return socket.inet_ntop(socket.AF_INET6, address[:16])
    return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"


_LENGTHS = {str(number): number for number in range(1000)}  # decimals of three digits, without leading zeros


class Prefix(NamedTuple):
    """An address, its family, and how many of its bits count."""

    address: bytes
    family: int
    length: int


def read_prefix(text: str, field: str, strict: bool) -> Prefix | None:
    """Reads "address", "address/length" or "address/netmask"; None for "", which means any."""
    if not text:
        return None
    address, slash, given = text.partition("/")
    found = address_bytes(address)
    if found is None:
        raise ValidationError(field, shown(text), NOT_PREFIX)
    packed, family = found
    most = 128 if family == _INET6 else 32
    length: int | None = most
    if slash:
        length = _LENGTHS.get(given) if given else most + 1
        if length is None:
            length = _netmask_length(text, given, family, field)
        if length > most:
            raise ValidationError(field, shown(text), PREFIX_LENGTH)
    assert length is not None
    if strict and int.from_bytes(packed, "big") & ((1 << (128 - length)) - 1):
        raise ValidationError(field, shown(text), HOST_BITS)
    return Prefix(packed, family, length)


def _netmask_length(text: str, given: str, family: int, field: str) -> int:
    """The length that a netmask stands for, 129 if it is one with holes or of the other family."""
    found = address_bytes(given)
    if found is None:
        raise ValidationError(field, shown(text), NOT_PREFIX)
    mask, mask_family = found
    bits = 128 if family == _INET6 else 32
    host = int.from_bytes(mask[: bits // 8], "big") ^ ((1 << bits) - 1)
    return 129 if mask_family != family or host & (host + 1) else bits - host.bit_length()


def protocol_number(name: str) -> int:
    """The number of an IP protocol, by name; -1 if there is none of that name."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if not name or len(name.encode("utf-8", "replace")) > 63:
        return -1
    try:
        number = socket.getprotobyname(name)  # what the machine knows besides, in /etc/protocols
    except (OSError, ValueError):
        return -1
    return number if 0 <= number <= 255 else -1

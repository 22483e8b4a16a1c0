# SPDX-License-Identifier: MIT
"""Addresses of states: texts that the user gives, and the kernel's 16 bytes (xfrm_address_t)."""

from __future__ import annotations

from typing import Any

from xfrm_ext import wire as selected
from xfrm_ext.checks import shown
from xfrm_ext.constants import Family
from xfrm_ext.errors import ValidationError
from xfrm_ext.selector import _ADDRESSES, AddressLike

ANY = bytes(16)


def address(value: AddressLike | None, field: str) -> tuple[str, Family]:
    """The canonical text of an address, and its family; None: "0.0.0.0" and UNSPEC. Raises ValidationError."""
    if value is None:
        return "0.0.0.0", Family.UNSPEC
    text = str(value) if isinstance(value, _ADDRESSES) else value
    if isinstance(text, str):
        parsed = selected.address_bytes(str.__str__(text))
        if parsed is not None:
            return selected.address_text(*parsed), Family(parsed[1])
    raise ValidationError(field, shown(value), "is not an IP address")


def pair(
    source: AddressLike | None,
    destination: AddressLike | None,
    owner: str,
    family: Family | None = None,
    names: tuple[str, str] = ("source", "destination"),
    whose: str | None = None,
) -> tuple[str, str, Family]:
    """The texts and the family of two addresses, which must be of one family. One that is None is any address.
    `whose`: what the family that is given is that of."""
    glue = "." if owner[0].isupper() and "." not in owner else "_"
    one, other = (f"{owner}{glue}{name}" for name in names)
    from_text, from_family = address(source, one)
    to_text, to_family = address(destination, other)
    found = (from_family or to_family or Family.INET) if family is None else family
    if source is not None and found not in (from_family, Family.UNSPEC):
        rule = "is not of the family that was given" if whose is None else f"is of another family than {whose}"
        raise ValidationError(one, shown(source), rule)
    if destination is not None and found not in (to_family, Family.UNSPEC):
        first = "the source" if names[0] == "source" else one
        than = first if family is None else whose or "the one that was given"
        raise ValidationError(other, shown(destination), f"is of another family than {than}")
    return (
        any_of(found) if source is None else from_text,
        any_of(found) if destination is None else to_text,
        found,
    )


def any_of(family: int) -> str:
    """The text of the address that means any."""
    return "::" if family == Family.INET6 else "0.0.0.0"


def encoded(text: str, wire: Any) -> bytes:
    """The 16 bytes of a text that is known to be an address."""
    parsed: tuple[bytes, int] = wire.address_bytes(text)
    return parsed[0]

# SPDX-License-Identifier: MIT
"""Rules for single values: each returns the kernel's number, or raises ValidationError with field and rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntFlag
from typing import TypeVar

from xfrm_ext.constants import Enumeration
from xfrm_ext.errors import ValidationError

_Member = TypeVar("_Member", bound=Enumeration)


def shown(value: object) -> str:
    """A value as errors show it: its repr, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def integer(value: object, field: str, most: int) -> int:
    """An int from 0 to `most`."""
    if type(value) is int and 0 <= value <= most:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return int(value)
    raise ValidationError(field, shown(value), f"is not an integer from 0 to {most}")


def choices(members: Iterable[_Member]) -> dict[object, int]:
    """What `choice` looks values up in: names in lower case and numbers, each with its number."""
    table: dict[object, int] = {}
    for member in members:
        table[member.name.lower().replace("_", "-")] = int(member)
        table[member.name.lower()] = int(member)
        table[int(member)] = int(member)
    return table


def choice(value: object, field: str, table: Mapping[object, int], kind: type[Enumeration]) -> int:
    """A member of an enumeration, by itself, by name or by number. Unknown numbers only as members."""
    if value.__class__ is not bool:
        try:
            return table[value]
        except (KeyError, TypeError):
            if isinstance(value, kind) and value <= 0xFF:
                return int(value)
            if isinstance(value, str) and value.lower() in table:
                return table[value.lower()]
    raise ValidationError(field, shown(value), f"is not one of {', '.join(_names(kind))}")


def flags(value: object, field: str, kind: type[IntFlag], most: int) -> int:
    """Flags: a number, a name, or an iterable of names and numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return integer(value, field, most)
    if isinstance(value, str):
        for member in kind:
            if member.name is not None and member.name.lower() == value.lower():
                return int(member)
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        result = 0
        for one in value:
            result |= flags(one, field, kind, most)
        return result
    raise ValidationError(field, shown(value), f"is not a set of {', '.join(_names(kind))}")


def _names(kind: type[Enumeration] | type[IntFlag]) -> list[str]:
    return [member.name.lower() for member in kind if member.name is not None]

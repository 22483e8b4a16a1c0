# SPDX-License-Identifier: MIT
"""Rules for single values: each returns the kernel's number, or raises ValidationError with field and rule."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from xfrm_ext.constants import Enumeration, Flags
from xfrm_ext.errors import ValidationError

_Member = TypeVar("_Member", bound=Enumeration)

BYTE_ORDER_MARK = "\ufeff"
"""What some programs begin files of UTF-8 with. It means nothing there."""


def shown(value: object) -> str:
    """A value as errors show it: its repr, shortened."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an int of thousands of digits, lists within lists
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def article(name: str) -> str:
    """The name of a class as sentences have it."""
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def _number(value: object, kind: type[Enumeration] | type[Flags] | None = None) -> int | None:
    """The integer that a value is, None for all else: an int, a member of `kind`, an int of another library.

    Not a bool, and not the member of another enumeration of ours: Mode.TUNNEL equals Direction.OUT, and is wrong
    for a direction all the same.
    """
    if isinstance(value, (bool, Enumeration, Flags)) and not (kind is not None and isinstance(value, kind)):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def integer(
    value: object, field: str, most: int, *, least: int = 0, kind: type[Enumeration] | type[Flags] | None = None
) -> int:
    """An int from `least` to `most`, which may be a member of `kind`."""
    if type(value) is int and least <= value <= most:
        return value
    number = _number(value, kind)
    if number is None or not least <= number <= most:
        raise ValidationError(field, shown(value), f"is not an integer from {least} to {most}")
    return number


def seconds(value: object, field: str, *, zero: bool = False) -> float | None:
    """A number of seconds, None for no limit."""
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, (bool, Enumeration, Flags))
    if number and (value > 0 or (zero and value == 0)):  # type: ignore[operator]
        try:
            if math.isfinite(value):  # type: ignore[arg-type]
                return float(value)  # type: ignore[arg-type]
        except OverflowError:  # an int that no float can hold
            pass
    rule = "is not a number of seconds from 0, or None" if zero else "is not a positive number of seconds, or None"
    raise ValidationError(field, shown(value), rule)


def choices(members: Iterable[_Member]) -> dict[object, int]:
    """What `choice` looks values up in: names in lower case and numbers, each with its number."""
    table: dict[object, int] = {}
    for member in members:
        table[member.name.lower().replace("_", "-")] = int(member)
        table[member.name.lower()] = int(member)
        table[int(member)] = int(member)
    return table


def choice(
    value: object, field: str, table: Mapping[object, int], kind: type[Enumeration], most: int = 0xFF
) -> int:
    """A member of an enumeration, by itself, by name or by number. Unknown numbers only as members."""
    given = value.__class__
    if given is str or given is kind or given is int:
        number = table.get(value)
        if number is not None:
            return number
    if isinstance(value, kind) and value <= most:
        return int(value)
    key = str.lower(value) if isinstance(value, str) else _number(value, kind)
    if key in table:
        return table[key]
    names = ", ".join(member.name.lower() for member in kind)
    raise ValidationError(field, shown(value), f"is not one of {names}")


def flags(value: object, field: str, kind: type[Flags], most: int) -> int:
    """Flags: a number, a name, or an iterable of names and numbers."""
    names = {member.name.lower(): int(member) for member in kind if member.name is not None}
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, int))
    result = 0
    for one in value if several else (value,):  # type: ignore[attr-defined]
        if isinstance(one, str) and str.lower(one).replace("-", "_") in names:
            result |= names[str.lower(one).replace("-", "_")]
        elif _number(one, kind) is not None:
            result |= integer(one, field, most, kind=kind)
        else:
            raise ValidationError(field, shown(one), f"is not one of {', '.join(names)}")
    return result


def items_of(values: object, kind: type, field: str) -> tuple[Any, ...]:
    """What an iterable yields. Errors of the iterable itself go through."""
    if values.__class__ is tuple:
        return values
    if not isinstance(values, (list, Iterable)) or isinstance(values, (str, bytes)):
        raise ValidationError(field, shown(values), f"is not an iterable of {kind.__name__}")
    return tuple(values)


def instance(value: object, kind: type, field: str) -> Any:
    """The value, if it is of a class."""
    if isinstance(value, kind):
        return value
    raise ValidationError(field, shown(value), f"is not {article(kind.__name__)}")

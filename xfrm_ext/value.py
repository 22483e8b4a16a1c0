# SPDX-License-Identifier: MIT
"""What the large values (Selector, Template, Policy, ...) have in common.

Such a value *is* its bytes in the kernel's form, made natively when the value is built: building checks,
parses and encodes in one step, so that sending costs no more work. The fields that Python shows are read out
of those bytes when one of them is first asked for; a million policies that only pass through never pay for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from xfrm_ext import wire as selected
from xfrm_ext.constants import Enumeration, Flags

_Self = TypeVar("_Self", bound="Value")


class Value:
    """Base of values that are their bytes. Equal bytes, equal values."""

    __slots__ = ("_wire",)

    _wire: bytes

    def _unpack(self, wire: Any) -> dict[str, Any]:
        """All fields, by name, read out of the bytes with one of the two wire modules."""
        raise TypeError(f"{type(self).__name__} has no fields of its own")

    def _unpack_for(self, name: str) -> dict[str, Any]:
        """One field and others, if a class has a cheaper way to read some of them."""
        return self._unpack(selected)

    @classmethod
    def _from_wire(cls: type[_Self], data: bytes, wire: Any = selected) -> _Self:
        """A value from bytes that are known to be well-formed. A wire module that is not the selected one reads
        the fields at once."""
        value = cls.__new__(cls)
        set_wire(value, data)
        if not is_selected(wire):
            value._fill(value._unpack(wire))
        return value

    def _fill(self, values: dict[str, Any]) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)

    if not TYPE_CHECKING:  # type checkers know the fields, and shall go on complaining about others

        def __getattr__(self, name: str) -> Any:
            # Only called for a slot that is still empty, or a name that does not exist.
            if name not in type(self).__dataclass_fields__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            values = self._unpack_for(name)
            self._fill(values)
            return values[name]

    def __eq__(self, other: object) -> bool:
        if other.__class__ is self.__class__ and isinstance(other, Value):
            return self._wire == other._wire
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._wire)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._from_wire, (self._wire,)

    def __copy__(self: _Self) -> _Self:
        return self

    def __deepcopy__(self: _Self, memo: object) -> _Self:
        return self

    def __repr__(self) -> str:
        """The fields that are not at their default."""
        shown = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value != field.default:
                shown.append(f"{field.name}={_short(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def is_selected(wire: Any) -> bool:
    """Whether it is the wire module that values are built with."""
    return bool(wire.pack is selected.pack)


def _short(value: object) -> str:
    """A field's value as people write it: names of members, so that the text can be evaluated again."""
    if isinstance(value, Enumeration) and value.name in type(value).__members__:
        return repr(value.name.lower())
    if isinstance(value, Flags):
        names = [member.name for member in type(value) if member & value]
        unknown = value & ~sum(type(value))
        texts = [repr(name.lower()) for name in names if name] + ([str(int(unknown))] if unknown else [])
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return repr(value)


set_wire: Callable[[Value, bytes], None] = Value.__dict__["_wire"].__set__
"""Writes the one slot of a frozen value, while it is being built."""

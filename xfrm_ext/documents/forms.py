# SPDX-License-Identifier: MIT
"""The forms that single things have in documents: words, hexadecimal texts, times, limits, keys. Each is here with
what writes it and what reads it; FORMS is the one table of the fields that are not written as their type is."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from typing import Any

from xfrm_ext.checks import article, shown
from xfrm_ext.constants import INFINITE, AttributeType, Enumeration, Flags
from xfrm_ext.secret import Secret
from xfrm_ext.wire.protocols import NAMES, PROTOCOLS

HIDDEN = "<hidden>"
"""In place of what may be a key."""
HIDDEN_RULE = "is hidden: only a document that was written with its keys (--show-keys) can be loaded"
_WORDS = {"IN_TRIGGER": "in_trigger", "ESPINUDP_NON_IKE": "espinudp-nonike"}
_YEAR_10000 = 253_402_300_800
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Wrong(Exception):
    """Part of a document breaks a rule. `path` leads to it from where it was found: what stands around it puts its
    own part in front."""

    def __init__(self, value: str | None, rule: str, path: str = "") -> None:
        super().__init__(rule)
        self.value = value
        self.rule = rule
        self.path = path


class Style:
    """How documents are written."""

    __slots__ = ("file", "interface_name", "show_keys")

    def __init__(
        self,
        show_keys: bool = False,
        interface_name: Callable[[int], str | None] | None = None,
        file: str | None = None,
    ) -> None:
        self.show_keys = show_keys
        self.interface_name = interface_name
        self.file = file


# --- enumerations and flags -------------------------------------------------------------------------------


def word(member: Enumeration | Flags) -> str:
    """The word for a member: that of `ip xfrm`, where it has one; of attribute types, the kernel's name."""
    name = str(member.name)
    if isinstance(member, AttributeType):
        return f"XFRMA_{name}"
    return _WORDS.get(name) or name.lower().replace("_", "-")


def word_of(kind: type[Enumeration], value: int) -> str | int:
    """The word for a number; the number itself where only the kernel knows it."""
    return words(kind).get(value, int(value))


def packet_protocol(number: int) -> str | int:
    """The same for the number of an IP protocol."""
    return NAMES.get(number, int(number))


@functools.cache
def words(kind: type[Enumeration] | type[Flags]) -> dict[int, str]:
    """The words for all members of a class, by their numbers."""
    return {int(member): word(member) for member in kind}


@functools.cache
def _members(kind: type[Enumeration] | type[Flags]) -> dict[str, Any]:
    return {word(member): member for member in kind}


def write_enumeration(kind: type[Enumeration]) -> Callable[[Any, Style], str | int]:
    """What writes members: as words, or numbers where only the kernel knows them."""
    known = words(kind)

    def write(value: int, style: Style) -> str | int:
        return known[value] if value in known else int(value)

    return write


def read_enumeration(kind: type[Enumeration]) -> Callable[[Any, Any], Any]:
    """What reads them."""
    members = _members(kind)

    def read(value: object, lookup: object) -> Any:
        if isinstance(value, str) and value in members:
            return members[value]
        if type(value) is int and 0 <= value <= 0xFFFF:
            return kind(value)
        raise Wrong(shown(value), f"is not one of {', '.join(members)}, or a number")

    return read


def write_flags(kind: type[Flags]) -> Callable[[Any, Style], list[str | int]]:
    """What writes flags: a list of words, and one number for the bits that only the kernel knows."""
    known = words(kind)

    def write(value: int, style: Style) -> list[str | int]:
        if not value:
            return []
        rest = int(value)
        found: list[str | int] = []
        for bit, text in known.items():
            if rest & bit:
                found.append(text)
                rest ^= bit
        return [*found, rest] if rest else found

    return write


def read_flags(kind: type[Flags]) -> Callable[[Any, Any], int]:
    """What reads them."""
    members = _members(kind)

    def read(value: object, lookup: object) -> int:
        bits = 0
        for place, one in enumerate(read_list(value)):
            if isinstance(one, str) and one in members:
                bits |= members[one]
            elif type(one) is int and one >= 0:
                bits |= one
            else:
                raise Wrong(shown(one), f"is not one of {', '.join(members)}, or a number", f"[{place}]")
        return bits

    return read


# --- JSON's own -------------------------------------------------------------------------------------------


def json_type(value: object) -> str:
    """What a value is, in JSON's words and with an article. The value itself, which may be a key, is not shown."""
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value)) or article(type(value).__name__)


def read_list(value: object) -> list[Any]:
    """An array."""
    if isinstance(value, list):
        return value
    raise Wrong(None, f"is {json_type(value)}, and not an array")


def read_int(value: object, lookup: object) -> int:
    """An integer. Its range is for the class to check whose field it is."""
    if type(value) is int:
        return value
    raise Wrong(shown(value), "is not an integer")


def read_text(value: object, lookup: object) -> str:
    """A text."""
    if isinstance(value, str):
        return value
    raise Wrong(shown(value), "is not a string")


def read_bool(value: object, lookup: object) -> bool:
    """true or false."""
    if isinstance(value, bool):
        return value
    raise Wrong(shown(value), "is not true or false")


# --- numbers that are not written as such, bytes ----------------------------------------------------------


def _read_hexadecimal(value: object, lookup: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"0x[0-9A-Fa-f]{1,1024}", value):
        return int(value, 16)
    if type(value) is int:
        return value
    raise Wrong(shown(value), "is not a hexadecimal text that begins with 0x, or an integer")


@functools.lru_cache(maxsize=4096)  # what was loaded together has the same times
def time_text(seconds: int) -> str | int:
    """A time (RFC 3339, UTC); a number where its year has more than four digits."""
    return time.strftime(_TIME, time.gmtime(seconds)) if 0 <= seconds < _YEAR_10000 else seconds


def _read_time(value: object, lookup: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value, re.ASCII):
        from calendar import timegm

        try:
            return timegm(time.strptime(value, _TIME))
        except ValueError:  # a 13th month
            pass
    elif type(value) is int:
        return value
    raise Wrong(shown(value), 'is not a time like "2026-01-31T23:59:59Z", or a number of seconds since 1970')


def _read_packet_protocol(value: object, lookup: object) -> int:
    if isinstance(value, str) and value in PROTOCOLS:
        return PROTOCOLS[value]
    if type(value) is int:
        return value
    raise Wrong(shown(value), f"is not a number, or one of {', '.join(PROTOCOLS)}")


def write_bytes(value: bytes | Secret, style: Style) -> str:
    """Hexadecimal; of a Secret only what was asked for, or where there is nothing to hide."""
    if isinstance(value, Secret):
        if len(value) and not style.show_keys:
            return HIDDEN
        return f"0x{value.reveal().hex()}"
    return f"0x{value.hex()}"


def read_bytes(value: object, lookup: object) -> Secret:
    """Bytes, as a Secret: they may be a key. No error shows them."""
    if value == HIDDEN:
        raise Wrong(None, HIDDEN_RULE)
    if isinstance(value, str) and value[:2] == "0x" and re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", value[2:]):
        return Secret(value)
    raise Wrong(None, "is not hexadecimal text of whole bytes that begins with 0x")


class Form:
    """How a field is written, and read."""

    __slots__ = ("read", "write")

    def __init__(self, write: Callable[[Any, Style], Any], read: Callable[[Any, Any], Any]) -> None:
        self.write = write
        self.read = read


_SPI = Form(lambda value, style: f"0x{value:08x}", _read_hexadecimal)
_LIMIT = Form(
    lambda value, style: None if value == INFINITE else value,
    lambda value, lookup: INFINITE if value is None else read_int(value, lookup),
)
_TIME_OR_NEVER = Form(
    lambda value, style: time_text(value) if value else None,
    lambda value, lookup: 0 if value is None else _read_time(value, lookup),
)
FORMS: dict[str, Form] = {
    "spi": _SPI,
    "SpiRequest.minimum": _SPI,
    "SpiRequest.maximum": _SPI,
    "ReplayState.bitmap": Form(lambda value, style: hex(value), _read_hexadecimal),
    "soft_byte_limit": _LIMIT,
    "hard_byte_limit": _LIMIT,
    "soft_packet_limit": _LIMIT,
    "hard_packet_limit": _LIMIT,
    "add_time": _TIME_OR_NEVER,
    "use_time": _TIME_OR_NEVER,
    "last_used": Form(
        lambda value, style: None if value is None else time_text(value),
        lambda value, lookup: None if value is None else _read_time(value, lookup),
    ),
    "Selector.protocol": Form(lambda value, style: packet_protocol(value), _read_packet_protocol),
    "payload": Form(write_bytes, read_bytes),
    "key": Form(write_bytes, read_bytes),
}
"""By field, or by class and field: what is neither a value, a word nor a plain number or text of JSON."""


def form_of(owner: str, name: str) -> Form | None:
    """The form of a class's field, None: that of its type."""
    return FORMS.get(f"{owner}.{name}") or FORMS.get(name)

# SPDX-License-Identifier: MIT
"""What all grammars of `ip xfrm` share: the words of a command line, one after another, and what single words mean.

Numbers are those of C: decimal, 0x for hexadecimal, a leading 0 for octal; never negative. What is wrong raises
CommandError, with the keyword as ``field``. A family is AF_INET, AF_INET6 or 0 (not said).
"""

from __future__ import annotations

from _socket import inet_pton  # socket takes ten times as long to import
from sys import byteorder

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeVar

    from xfrm_ext.errors import CommandError
    from xfrm_ext.wire.item import Item

    InterfaceIndex = Callable[[str], int]
    """The index of an interface by its name, 0: there is none."""
    ReadKey = Callable[[str], Any]
    """The bytes of a key, from its word: `key_bytes`, or more than that."""
    _Value = TypeVar("_Value")

INET, INET6 = 2, 10  # AF_INET, AF_INET6
U8, U16, U32, U64 = 0xFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
"""The largest numbers of 8, 16, 32 and 64 bits."""
NO_ADDRESS = bytes(16)
MOST_KEY = 512
"""The longest key, in bytes."""


_LONGEST_NUMBER = len("0xffffffffffffffff")


def wrong(field: str, word: str | None, rule: str, status: int = 255) -> CommandError:
    """The error for a word, or with None for words that do not go together. The word is no key; what could be one,
    in a wrong place, is not shown."""
    from xfrm_ext.checks import shown
    from xfrm_ext.errors import CommandError

    if word is None:
        return CommandError(field, None, rule, status)
    hidden = word[:2] in ("0x", "0X") and len(word) > _LONGEST_NUMBER
    return CommandError(field, f"a word of {len(word)} characters" if hidden else shown(word), rule, status)


class Words:
    """A cursor over the words of a command line."""

    __slots__ = ("_position", "_words")

    def __init__(self, words: Iterable[str]) -> None:
        self._words = tuple(words)
        self._position = 0

    @property
    def left(self) -> int:
        """How many words are left."""
        return len(self._words) - self._position

    def peek(self) -> str | None:
        """The next word, which stays; None: there is none."""
        return self._words[self._position] if self._position < len(self._words) else None

    def next(self, what: str) -> str:
        """The next word. `what` it is, for the error if there is none."""
        if self._position == len(self._words):
            raise wrong(what, None, "is missing: the line ends here")
        self._position += 1
        return self._words[self._position - 1]

    def back(self) -> None:
        """Puts the last word back."""
        self._position -= 1

    def take(self, *names: str) -> str | None:
        """The next word if it is one of the names, which are whole words; else None, and it stays."""
        word = self.peek()
        if word is None or word not in names:
            return None
        self._position += 1
        return word

    def number(self, field: str, most: int = U32) -> int:
        """The next word, a number from 0 to `most`."""
        return number(self.next(field), field, most)


def verb(word: str, table: Mapping[str, _Value], field: str) -> _Value:
    """The value of the first key, in their order, that a word is the beginning of."""
    found = abbreviated(word, table)
    if found is None:
        raise wrong(field, word, f"is unknown, try: {field} help")
    return table[found]


def abbreviated(word: str, names: Iterable[str]) -> str | None:
    """The first name that a word is the beginning of, None: there is none."""
    return next((name for name in names if name.startswith(word)), None) if word else None


def choice(word: str, table: Mapping[str, _Value], field: str) -> _Value:
    """The value of a key that is given as a whole."""
    if word not in table:
        raise wrong(field, word, f"is not one of {', '.join(table)}")
    return table[word]


def unpadded(message: Any, size: int) -> bytes:
    """A message that ends with its fixed part, at `size` bytes, without the padding behind: as `ip` sends those."""
    return size.to_bytes(4, byteorder) + bytes(message[4:size])


# --- numbers ----------------------------------------------------------------------------------------------


_FIRST_DIGITS = frozenset("123456789")


def _unsigned(text: str) -> int:
    """A number as strtoul reads one with base 0; -1 for what is none, or negative."""
    if text[:1] in _FIRST_DIGITS and text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)  # the usual form
    digits = text[1:] if text[:1] == "+" else text
    base = 10
    if digits[:2] in ("0x", "0X"):
        digits, base = digits[2:], 16
    elif digits[:1] == "0":
        base = 8
    if digits[:2].lower() in ("0x", "0o"):  # which int() would take
        return -1
    try:
        return int(digits, base) if digits.isascii() and digits.isalnum() else -1
    except ValueError:
        return -1


def number(text: str, field: str, most: int = U32, hidden: bool = False) -> int:
    """A number from 0 to `most`. `hidden`: the error does not show the word, which could be a key."""
    value = _unsigned(text)
    if not 0 <= value <= most:
        raise wrong(field, None if hidden else text, f"is not a number from 0 to {most:#x}")
    return value


# --- addresses --------------------------------------------------------------------------------------------

_EVERYWHERE = ("any", "all", "default")


def ipv4(text: str) -> bytes | None:
    """One to four numbers with dots between them; what is left out behind them is 0."""
    try:
        return inet_pton(INET, text) + bytes(12)  # the usual form, in a fifth of the time
    except (OSError, ValueError):
        pass
    parts = [_unsigned(part) for part in text.split(".")]
    if len(parts) > 4 or not all(0 <= part <= U8 for part in parts):
        return None
    return bytes(parts).ljust(16, b"\0")


def _address(text: str, family: int) -> tuple[bytes, int] | None:
    """The 16 bytes and the family of an address; None: it is none, or none of the family that is wanted."""
    if ":" in text:
        from xfrm_ext.wire import address_bytes

        return None if family not in (0, INET6) else address_bytes(text)
    found = None if family not in (0, INET) else ipv4(text)
    return None if found is None else (found, INET)


def _prefix_length(text: str, most: int) -> int:
    """A number of bits, or an IPv4 netmask; -1 for what is neither."""
    length = _unsigned(text)
    if length < 0:
        mask = ipv4(text)
        if mask is None:
            return -1
        holes = int.from_bytes(mask[:4], "big") ^ U32
        length = -1 if holes & (holes + 1) else 32 - holes.bit_length()
    return length if length <= most else -1


def prefix(text: str, family: int, field: str) -> tuple[bytes, int, int]:
    """ADDRESS[/LENGTH] or ADDRESS/NETMASK: 16 bytes, the family, the length. Bits behind that stay as they are.

    `any`, `all` and `default` are everything, where options have said the family.
    """
    if text in _EVERYWHERE:
        if family not in (INET, INET6):
            raise wrong(field, text, "is of no address family: use 0.0.0.0/0 or ::/0")
        return NO_ADDRESS, family, 0
    address, slash, length = text.partition("/")
    found = _address(address, family)
    if found is None:
        kind = {0: "IP", INET: "IPv4", INET6: "IPv6"}.get(family, f"family-{family}")
        raise wrong(field, text, f"is not an {kind} address or prefix", 1)
    most = 128 if found[1] == INET6 else 32
    bits = _prefix_length(length, most) if slash else most
    if bits < 0:
        raise wrong(field, text, f"has a wrong prefix length: from 0 to {most}, or an IPv4 netmask", 1)
    return *found, bits


def address(text: str, family: int, field: str) -> tuple[bytes, int]:
    """ADDRESS, or ADDRESS/LENGTH, whose length does not matter: 16 bytes, the family."""
    return prefix(text, family, field)[:2]


def bare_address(text: str, field: str) -> bytes:
    """ADDRESS of any family, without a length: 16 bytes. `any`, `all` and `default` are zeros."""
    if text in _EVERYWHERE:
        return NO_ADDRESS
    found = _address(text, 0)
    if found is None:
        raise wrong(field, text, "is not an IP address", 1)
    return found[0]


def same_family(field: str, one: int, other: int, than: str) -> None:
    """Checks that two families, of addresses or 0, do not differ: `field`'s, and that of `than`."""
    if one and other and one != other:
        raise wrong(field, None, f"is of another address family than {than}")


# --- keys -------------------------------------------------------------------------------------------------


def key_bytes(text: str) -> bytearray:
    """The bytes of a key: hexadecimal digits behind 0x, where a digit may be missing in front, or the text itself.

    CommandError does not show the word.
    """
    if text[:2] != "0x" or text == "0x":
        return bytearray(text, "utf-8", "surrogateescape")
    digits = text[2:]
    try:
        if not digits.isalnum():  # fromhex takes spaces
            raise ValueError
        return bytearray.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}")
    except ValueError:
        raise wrong("key", None, "is not hexadecimal behind 0x") from None


# --- keywords that states and policies have in common ---------------------------------------------------------


def interface(words: Words, field: str, interface_index: InterfaceIndex) -> int:
    """NAME: the index of an interface that is there; or if7, 7."""
    name = words.next(field)
    index = interface_index(name) or numbered_interface(name)
    if index <= 0:
        raise wrong(field, name, "is not an interface here")
    return index


def numbered_interface(name: str) -> int:
    """The index in a name like if7, which is what an interface is called that is not there; 0 of others."""
    digits = name[2:]
    fits = name.startswith("if") and digits.isascii() and digits.isdigit() and len(digits) < 11
    return int(digits) if fits and int(digits) <= 0x7FFFFFFF else 0


def mark(words: Words, field: str = "mark", mask: int = U32) -> tuple[int, int]:
    """VALUE [mask MASK], behind the keyword: value and mask; `mask` where it is left out."""
    value = words.number(field)
    return value, words.number(f"{field} mask") if words.take("mask") else mask


ESP, AH, COMP, ROUTE2, HAO, ANY_PROTOCOL = 50, 51, 108, 43, 60, 255  # IPPROTO_*, IPSEC_PROTO_ANY
PROTOCOLS = {"esp": ESP, "ah": AH, "comp": COMP, "route2": ROUTE2, "hao": HAO, "ipsec-any": ANY_PROTOCOL}
_MODES = {
    "transport": "XFRM_MODE_TRANSPORT",
    "tunnel": "XFRM_MODE_TUNNEL",
    "ro": "XFRM_MODE_ROUTEOPTIMIZATION",
    "in_trigger": "XFRM_MODE_IN_TRIGGER",
    "beet": "XFRM_MODE_BEET",
    "iptfs": "XFRM_MODE_IPTFS",
}


def protocol(words: Words, field: str = "proto") -> int:
    """XFRM-PROTO: esp, ah, comp, route2, hao or ipsec-any."""
    return choice(words.next(field), PROTOCOLS, field)


def mode(words: Words, field: str = "mode") -> int:
    """MODE, which may be shortened: transport, tunnel, ro, in_trigger, beet or iptfs (XFRM_MODE_*)."""
    word = words.next(field)
    found = abbreviated(word, _MODES)
    if found is None:
        raise wrong(field, word, f"is not one of {', '.join(_MODES)}")
    return mode_number(found)


def mode_number(name: str) -> int:
    """The number of a mode, by its whole name."""
    from xfrm_ext.constants import uapi

    value: int = getattr(uapi, _MODES[name])
    return value


def flags(words: Words, field: str, names: Mapping[str, int], most: int, before: int = 0) -> int:
    """0xHEX, which replaces all bits from `before`, or names, as long as there are any, which add to them."""
    word = words.next(field)
    if word[:2] == "0x" and len(word) > 2:
        return number(word, field, most)
    bits = before | choice(word, names, field)
    while (name := words.take(*names)) is not None:
        bits |= names[name]
    return bits


def security_context(words: Words) -> Item:
    """LABEL, behind `ctx`, as an XFRMA_SEC_CTX for SELinux (XFRM_SC_ALG_SELINUX, XFRM_SC_DOI_LSM)."""
    from xfrm_ext.constants import uapi
    from xfrm_ext.wire.item import Item

    label = words.next("ctx").encode("utf-8", "surrogateescape")
    if not label:
        raise wrong("ctx", "", "is not a security context")
    return Item(uapi.XFRMA_SEC_CTX, (1, 1), label + b"\0")


_LIMITS = {  # in the order of struct xfrm_lifetime_cfg
    name: place
    for place, name in enumerate(
        (
            "byte-soft",
            "byte-hard",
            "packet-soft",
            "packet-hard",
            "time-soft",
            "time-hard",
            "time-use-soft",
            "time-use-hard",
        )
    )
}


class Limits:
    """A lifetime (struct xfrm_lifetime_cfg): bytes, packets and seconds. Without a word none of them is limited."""

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        self.numbers = [U64] * 4 + [0] * 4

    def read(self, words: Words) -> None:
        """LIMIT NUMBER, behind `limit`. Of a limit that is given twice, the last counts."""
        name = words.next("limit")
        place = choice(name, _LIMITS, "limit")
        self.numbers[place] = words.number(f"limit {name}", U64)

    def pack(self) -> bytes:
        """The structure."""
        from xfrm_ext.wire.layouts import LIFETIME_CONFIG

        return LIFETIME_CONFIG.pack(self.numbers)

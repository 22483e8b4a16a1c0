# SPDX-License-Identifier: MIT
"""SELECTOR: which packets (struct xfrm_selector), in the words of `ip xfrm`."""

from __future__ import annotations

from xfrm_ext.iproute2.words import (
    NO_ADDRESS,
    U8,
    U16,
    U32,
    interface,
    ipv4,
    number,
    prefix,
    same_family,
    wrong,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xfrm_ext.iproute2.words import InterfaceIndex, Words

_PORTS = (0, 6, 17, 33, 132, 136)  # any, TCP, UDP, DCCP, SCTP, UDP-Lite
_TYPES = (1, 58, 135)  # ICMP, ICMPv6, the mobility header
_GRE = 47

_ADDRESSES = ("src", "dst", "dev")
_PACKETS = ("proto", "sport", "dport", "type", "code", "key")
KEYWORDS = (*_ADDRESSES, *_PACKETS)


class Selector:
    """A selector. ``fields`` are named as those of wire.layouts.SELECTOR."""

    __slots__ = ("fields", "given")

    def __init__(self) -> None:
        self.fields: dict[str, int | bytes] = {
            "destination": NO_ADDRESS,
            "source": NO_ADDRESS,
            "destination_port": 0,
            "destination_port_mask": 0,
            "source_port": 0,
            "source_port_mask": 0,
            "family": 0,
            "destination_length": 0,
            "source_length": 0,
            "protocol": 0,
            "interface": 0,
            "user": 0,
        }
        """Without an address, the family is 0."""
        self.given: set[str] = set()
        """The keywords that there were."""

    def pack(self) -> bytes:
        """The structure."""
        from xfrm_ext.wire.layouts import SELECTOR

        return SELECTOR.pack(list(self.fields.values()))


def read(words: Words, family: int, interface_index: InterfaceIndex, field: str = "") -> Selector:
    """Reads as many words as belong to a selector; at least one does.

    `family`: of the options. `field`: what stands in front of keywords in errors ("sel"). What is about the
    packets' protocol stands together: a second run of such words belongs to what follows, `proto` of an ID.
    """
    selector = Selector()
    fields, given = selector.fields, selector.given
    families = {"src": 0, "dst": 0}
    front = f"{field} " if field else ""
    name = ""  # of the protocol, as it was given
    last = ""
    while keyword := words.take(*(KEYWORDS if last in _PACKETS or given.isdisjoint(_PACKETS) else _ADDRESSES)):
        where = f"{front}{keyword}"
        given.add(keyword)
        last = keyword
        if keyword in families:
            text = words.next(where)
            side = "source" if keyword == "src" else "destination"
            fields[side], families[keyword], fields[f"{side}_length"] = prefix(text, family, where)
            fields["family"] = families[keyword]
        elif keyword == "dev":
            fields["interface"] = 0 if words.take("none") else interface(words, where, interface_index)
        elif keyword == "proto":
            name = words.next(where)
            fields["protocol"] = _protocol(name, where)
        elif keyword == "key":
            key = _key(words.next(where), where)
            _set_ports(fields, "source", key >> 16, U16)
            _set_ports(fields, "destination", key & U16, U16)
        else:
            side = "source" if keyword in ("sport", "type") else "destination"
            port = keyword in ("sport", "dport")
            value = words.number(where, U16 if port else U8)
            _set_ports(fields, side, value, U16 if value or not port else 0)
    if not given:
        raise wrong(field or "selector", words.peek(), f"is not a selector: one of {', '.join(KEYWORDS)} is needed")
    same_family(f"{front}dst", families["dst"], families["src"], f"{front}src")
    _check_protocol(fields["protocol"], name, given, front)
    return selector


def _set_ports(fields: dict[str, int | bytes], side: str, value: int, mask: int) -> None:
    fields[f"{side}_port"], fields[f"{side}_port_mask"] = value, mask


def _protocol(text: str, field: str) -> int:
    """An IP protocol, by name or number."""
    from xfrm_ext.wire import protocol_number

    found = protocol_number(text)
    return number(text, field, U8) if found < 0 else found


def _key(text: str, field: str) -> int:
    """The key of GRE: a number, or one that is written as an IPv4 address."""
    if "." not in text:
        return number(text, field, U32)
    address = ipv4(text)
    if address is None:
        raise wrong(field, text, "is not a key: a number, or one as an IPv4 address")
    return int.from_bytes(address[:4], "big")


def _check_protocol(protocol: int | bytes, name: str, given: set[str], front: str) -> None:
    """Checks that what was given about the packets goes with their protocol."""
    for keywords, protocols, rule in (
        (("sport", "dport"), _PORTS, "only TCP, UDP, UDP-Lite, SCTP, DCCP or any protocol has ports"),
        (("type", "code"), _TYPES, "only ICMP, ICMPv6 and the mobility header have types and codes"),
        (("key",), (_GRE,), "only GRE has keys"),
    ):
        for keyword in keywords:
            if keyword in given and protocol not in protocols:
                raise wrong(f"{front}{keyword}", None, f"{rule}; proto is {name or 'any'}", 1)

# SPDX-License-Identifier: MIT
"""The two implementations of the wire floor are one: the same bytes, the same fields, the same errors."""

from __future__ import annotations

import inspect
import ipaddress
import os
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import ANY_ATTRIBUTES, U8, U16, U32, U64, V4, V6, policies
from vectors import messages as split
from vectors import records

from xfrm_ext import Message, ProtocolError, ValidationError
from xfrm_ext.wire import layouts, native, pure
from xfrm_ext.wire.item import Item
from xfrm_ext.wire.shared import PolicyOptions


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns, or the class and the text of the error that it raises."""
    try:
        return function(*arguments)
    except (ValidationError, ProtocolError) as error:
        return type(error), str(error)


def agree(name: str, *arguments: Any) -> Any:
    """Both implementations, with one outcome."""
    one, other = outcome(getattr(native, name), *arguments), outcome(getattr(pure, name), *arguments)
    assert one == other
    assert type(one) is type(other)
    return one


def test_they_have_the_same_functions() -> None:
    assert set(native.__all__) == set(pure.__all__) - {"Item"}
    for name in native.__all__:
        one, other = getattr(native, name), getattr(pure, name)
        if inspect.isfunction(one):
            parameters = (inspect.signature(function).parameters.values() for function in (one, other))
            names, others = ([(each.name, each.default) for each in several] for several in parameters)
            assert names == others
        else:
            assert one == other


# --- texts ------------------------------------------------------------------------------------------------

ODD_ADDRESSES = """
0 1.2.3 1.2.3.4.5 01.2.3.4 1.2.3.04 256.1.1.1 0x7f.1.1.1 1..2.3 .1.2.3 1.2.3. :: ::1 1::2::3 ::01.2.3.4 ::1.2.3 ::g
1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 1:2:3:4::5:6:7:8 1:2:3:4:5:6:7:8:9 fe80::1%lo 12345:: :1 1: ::: ::1:
2001:DB8::A 1:2:3:4:5:6:1.2.3.4 1:2:3:4:5:6:7:1.2.3.4 1.2.3.4::
"""
ODD_LENGTHS = """
/ /0 /8 /24 /32 /33 /64 /128 /129 /999 /1000 /00 /08 /+8 /-1 /8/8 /x /0x8 /255.0.0.0 /255.0.255.0 /0.0.0.0
/255.255.255.255 /255.0.0 /ffff:: /ffff:ffff:8000:: /ff00::ff /:: /ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
"""
NAMES = """
any icmp tcp udp ipv6-icmp icmp6 esp ah comp gre sctp ospf ospfigp mobility-header 6 tcp4 TCP hopopt
"""
ADDRESSES = (
    V4.map(str)
    | V6.map(str)
    | V6.map(lambda address: address.exploded.upper())
    | V4.map(lambda address: f"::{address}")
    | V4.map(lambda address: f"::ffff:{address}")
    | st.sampled_from(ODD_ADDRESSES.split())
    | st.sampled_from(["", " ", "1.2.3.4 ", " ::1", "1.2.3.4\n", "1.2.3.4\0", "::\0", "\u0663.1.1.1", "::\ud800"])
)
LENGTHS = st.sampled_from(["", *ODD_LENGTHS.split()])
PREFIXES = (
    st.builds(lambda address, length: address + length, ADDRESSES, LENGTHS)
    | st.text("0123456789af.:/", max_size=24)
    | st.text(max_size=12)
)
FAMILIES = st.sampled_from([-1, 0, 2, 10, 7])
PORTS = st.tuples(U16, U16, U16, U16, U8, st.integers(0, 2**31 - 1), U32)


@given(PREFIXES, PREFIXES, FAMILIES, st.booleans(), st.none() | PORTS)
@example("1.2.3.4/8", "::/0", -1, True, None)
@example("1.2.3.4/8", "::/0", -1, False, None)
@example("\u0663", "\u0664", -1, False, None)
def test_selectors(source: str, destination: str, family: int, strict: bool, numbers: Any) -> None:
    made = agree("selector_bytes", source, destination, family, strict, numbers)
    if isinstance(made, bytes):
        agree("selector_fields", made)


@given(PREFIXES)
def test_single_prefixes(text: str) -> None:
    """Alone, so that an error of the other one does not hide a difference."""
    agree("selector_bytes", text, "", -1, False, None)
    agree("selector_bytes", "", text, -1, True, None)


@given(
    ADDRESSES | st.text("0123456789af.:", max_size=24), ADDRESSES, FAMILIES, U32, U32, U32, st.tuples(U32, U32, U32)
)
def test_templates(
    source: str, destination: str, family: int, spi: int, reqid: int, codes: int, masks: Any
) -> None:
    made = agree("template_bytes", source, destination, family, spi, reqid, codes, masks)
    if isinstance(made, bytes):
        agree("template_fields", made)


@given(st.binary(min_size=64, max_size=64), FAMILIES.filter(lambda family: family >= 0))
def test_any_bytes_are_fields(noise: bytes, family: int) -> None:
    agree("selector_fields", noise[:56])
    agree("template_fields", noise)
    agree("selector_fields", noise[:40] + struct.pack("=H", family) + noise[42:56])
    agree("template_fields", noise[:24] + struct.pack("=H", family) + noise[26:])


@given(
    V4
    | V6
    | V4.map(lambda v4: ipaddress.IPv6Address(int(v4)))
    | V4.map(lambda v4: ipaddress.IPv6Address(f"::ffff:{v4}"))
)
def test_texts_of_addresses(address: Any) -> None:
    family = 2 if address.version == 4 else 10
    packed = address.packed + bytes(16 - len(address.packed))
    assert pure.address_bytes(str(address)) == (packed, family)
    assert ipaddress.ip_address(pure.address_text(packed, family)) == address
    # One canonical text each, whatever version of Python.
    assert pure.address_bytes(pure.address_text(packed, family)) == (packed, family)


def test_some_texts_of_addresses() -> None:
    assert pure.address_text(bytes(10) + b"\xff\xff\1\2\3\4", 10) == "::ffff:1.2.3.4"
    assert pure.address_text(bytes(15) + b"\1", 10) == "::1"
    assert pure.address_text(b"\1\2\3\4" + bytes(12), 0) == "1.2.3.4"
    assert pure.address_text(b"\1\2\3\4" + bytes(11) + b"\1", 0) == "102:304::1"
    assert pure.address_text(b"\1\2\3\4" + bytes(11) + b"\1", 2) == "1.2.3.4"


@given(st.sampled_from([*NAMES.split(), "", "x" * 63, "x" * 64, "tcp\0", "\ud800"]) | st.text(max_size=6))
def test_protocols(name: str) -> None:
    agree("protocol_number", name)


def test_ipv6_texts_are_those_of_inet_ntop() -> None:
    """Zeros in all places, and groups of one to four digits."""
    for zeros in range(256):
        for group in (0x1, 0x20, 0x304, 0xFFFF, 0xA0B0):
            groups = [0 if zeros >> place & 1 else group for place in range(8)]
            for sixth in {groups[5], 0xFFFF}:
                packed = struct.pack(">8H", *groups[:5], sixth, *groups[6:])
                assert native.address_text(packed, 10) == socket.inet_ntop(socket.AF_INET6, packed)


# --- policies ---------------------------------------------------------------------------------------------


def binary(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + bytes(payload) + bytes(-len(payload) % 4)


ATTRIBUTES = st.lists(ANY_ATTRIBUTES, max_size=5).map(
    lambda several: b"".join(attribute(each.type, each._data()) for each in several)
)
OPTIONS = st.builds(
    PolicyOptions,
    st.none() | U8,
    st.none() | st.tuples(U32, U32),
    st.none() | U32,
    st.none() | st.tuples(st.binary(max_size=70), U8, U8),
    st.none() | st.tuples(st.integers(0, 2**31 - 1), U8),
    ATTRIBUTES,
)
TEMPLATES = st.lists(binary(64), max_size=6).map(b"".join)


@given(binary(56), binary(64), st.none() | binary(32), TEMPLATES, U32, U32, U32, st.none() | OPTIONS)
def test_policies(
    selector: bytes, limits: bytes, used: Any, templates: bytes, priority: int, index: int, codes: int, options: Any
) -> None:
    message = agree("policy_bytes", selector, limits, used, templates, priority, index, codes, options)
    agree("policy_fields", message)
    agree("canonical_policies", message)


@pytest.mark.parametrize(
    ("templates", "options"),
    [
        (bytes(64 * 1023), None),
        (bytes(64 * 1024), None),
        (b"", PolicyOptions(security_context=(b"x" * 65523, 1, 1))),
        (b"", PolicyOptions(security_context=(b"x" * 65524, 1, 1))),
        (b"", PolicyOptions(attributes=attribute(60, bytes(65536 - 184 - 4)))),
        (b"", PolicyOptions(attributes=attribute(60, bytes(65536 - 184 - 4)) + attribute(61, b""))),
    ],
)
def test_policies_too_long(templates: bytes, options: PolicyOptions | None) -> None:
    agree("policy_bytes", bytes(56), bytes(64), None, templates, 0, 0, 0, options)
    agree("policy_id_bytes", 0x14, bytes(56), 0, 0, options or PolicyOptions())


@given(st.sampled_from([0x14, 0x15]), binary(56), U32, U8, OPTIONS)
def test_names_of_policies(message: int, selector: bytes, index: int, direction: int, options: Any) -> None:
    agree("policy_fields", agree("policy_id_bytes", message, selector, index, direction, options))


def test_other_requests() -> None:
    for kind in (None, 0, 1, 255):
        agree("policy_fields", agree("policy_flush_bytes", kind))
    agree("policy_dump_request")


def header(kind: int, size: int, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + size, kind, flags, 7, 8)


@st.composite
def damaged(draw: st.DrawFn, message: bytes) -> bytes:
    """A message with some bytes changed, cut off or appended; or as it was."""
    result = bytearray(message)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, min(len(result), 24) - 1) | st.integers(0, len(result) - 1))
        result[place] = draw(st.sampled_from([0, 1, 3, 4, 5, 16, 64, 255]) | U8)
    if draw(st.integers(0, 3)) == 0:
        result = result[: draw(st.integers(0, len(result)))]
    return bytes(result) + draw(st.sampled_from([b"", b"", b"\0", bytes(4), b"\4\0\0\0", b"\3\0\0\0"]))


@st.composite
def odd_policies(draw: st.DrawFn) -> bytes:
    """A message that is, or could be taken for, one about a policy."""
    kind, size = draw(st.sampled_from([(0x13, 168), (0x19, 168), (0x13, 167), (0x14, 64), (0x15, 64), (0x1D, 0)]))
    if draw(st.booleans()):
        return draw(policies())._wire
    body = draw(binary(size)) + draw(ATTRIBUTES)
    return header(kind, len(body)) + body


@given(st.lists(odd_policies().flatmap(lambda one: st.just(one) | damaged(one)), max_size=3), st.integers(0, 4))
def test_blocks(parts: list[bytes], count: int) -> None:
    for part in parts:
        agree("policy_fields", part)
    block = b"".join(parts)
    agree("canonical_policies", block)
    agree("policy_keys", block, count)
    for by_index in (False, True):
        agree("delete_messages", block, count, by_index)
    agree("policies_in_trees", block, bytes([32, 32, 24, 0, 8, 16, 128, 128, 64, 0, 48, 1]))
    one, other = bytearray(block), bytearray(block)
    assert outcome(native.retype, one, 0x19) == outcome(pure.retype, other, 0x19)
    assert one == other
    indices = range(0xFFFFFFFF, 0xFFFFFFFF - count, -1)
    assert outcome(native.set_indices, one, indices) == outcome(pure.set_indices, other, indices)
    assert one == other


def test_everything_recorded() -> None:
    """What kernels and `ip` sent."""
    sent = [bytes.fromhex(datagram) for record in records("requests") for datagram in record["sent"]]
    received = [bytes.fromhex(pair[0]) for record in records("replies") for pair in record["datagrams"]]
    counts = [bytes.fromhex(record["received"]) for record in records("counts")]
    assert len(sent) > 200
    assert len(received) > 1000
    for block in sent + received:
        agree("canonical_policies", block)
        agree("policy_fields", block)
        agree("policy_keys", block, 10000)
        agree("delete_messages", block, 10000, False)
    for message in sent + received + counts:
        agree("unpack", message)


# --- any message ------------------------------------------------------------------------------------------

NO_NAME = st.just(b"")
I32 = st.integers(-(2**31), 2**31 - 1)
NAME = st.text("abc()1,-", max_size=63).map(lambda text: text.encode())


def plain(kind: int, *numbers: st.SearchStrategy[int], data: int = 0) -> st.SearchStrategy[Item]:
    return st.builds(Item, st.just(kind), st.tuples(*numbers), binary(data), NO_NAME)


def several(kind: int, size: int) -> st.SearchStrategy[Item]:
    return st.builds(
        Item, st.just(kind), st.just(()), st.integers(1, 6).flatmap(lambda n: binary(n * size)), NO_NAME
    )


@st.composite
def algorithm(draw: st.DrawFn, kind: int, extra: int) -> Item:
    key = draw(st.binary(max_size=64))
    bits = max(0, 8 * len(key) - draw(st.integers(0, 7)))
    return Item(kind, (bits, *draw(st.tuples(*[U32] * extra))), key, draw(NAME))


@st.composite
def esn(draw: st.DrawFn) -> Item:
    words = draw(st.integers(0, 8))
    state = draw(st.tuples(U32, U32, U32, U32, U32))
    bitmap = draw(binary(4 * words))
    return Item(23, (words, *state), bitmap) if bitmap or not draw(st.booleans()) else Item(23, (9, *state), b"")


XFRM_ITEMS = [
    *(algorithm(kind, 0) for kind in (1, 2, 3)),
    *(algorithm(kind, 1) for kind in (18, 20)),
    plain(4, U16, U16, U16, data=16),
    several(5, 64),
    plain(6, data=224),
    plain(7, data=168),
    st.builds(Item, st.just(8), st.tuples(U8, U8), st.binary(max_size=40), NO_NAME),
    plain(9, data=32),
    plain(10, U32, U32, U32),
    *(plain(kind, U32) for kind in (11, 12, 22, 24, 29, 30, 31, 32, 34, 35, 36, 39, 40, 41)),
    plain(13, data=16),
    plain(14, data=16),
    plain(15, U64),
    plain(16, U8),
    several(17, 76),
    plain(19, U32, U16, data=32),
    plain(21, U32, U32),
    esn(),
    plain(25, U8),
    plain(26, U16, U8, U8, data=32),
    plain(28, I32, U8),
    plain(33, U8),
    plain(37, U16),
    plain(38),
]
UNKNOWN = st.builds(Item, st.sampled_from([0, 42, 0x3FFF, 0xFFFF]), st.none(), st.binary(max_size=40), NO_NAME) | (
    st.builds(Item, st.sampled_from([11, 15, 16, 21, 28, 33, 0x8015, 0x401F]), st.none(), binary(5), NO_NAME)
)
# Known for all the flags on their types, which are not sent back.
FLAGGED = st.builds(Item, st.sampled_from([0x8015, 0x400F]), st.none(), binary(8), NO_NAME)
# Payloads of several parts, whose sizes agree or not.
ODD_NAMES = st.sampled_from([b"", b"aes", b"a\0b", b"a" * 63, b"a" * 64])
ODD_PARTS = st.one_of(
    st.builds(
        lambda kind, name, bits, rest: Item(kind, None, name.ljust(64, b"\0") + struct.pack("=I", bits) + rest),
        st.sampled_from([1, 3, 18, 20]),
        ODD_NAMES,
        st.integers(0, 40),
        st.binary(max_size=10),
    ),
    st.builds(
        lambda words, state, bitmap: Item(23, None, struct.pack("=I", words) + state + bitmap),
        st.integers(0, 3),
        binary(20),
        st.integers(0, 12).flatmap(binary),
    ),
    st.builds(
        lambda size, kind, length, label: Item(8, None, struct.pack("=HHBBH", size, kind, 1, 1, length) + label),
        st.integers(8, 12),
        st.sampled_from([8, 8, 9]),
        st.integers(0, 4),
        st.binary(max_size=4),
    ),
)
SAD_ITEMS = [plain(1, U32), plain(2, U32, U32)]
SPD_ITEMS = [plain(1, *[U32] * 6), plain(2, U32, U32), plain(3, U8, U8), plain(4, U8, U8)]
# Fields by width: bytes, or the digits of "B", "H", "I" for numbers.
Widths = dict[str, int | str]
STATE_ID: Widths = {"destination": 16, "spi": "I", "family": "H", "protocol": "B"}
POLICY_ID: Widths = {"selector": 56, "index": "I", "direction": "B"}
STATE: Widths = {
    "selector": 56, "destination": 16, "spi": "I", "protocol": "B", "source": 16, "lifetime": 64, "current": 32,
    "replay_window_errors": "I", "replay_errors": "I", "integrity_errors": "I", "sequence": "I", "reqid": "I",
    "family": "H", "mode": "B", "replay_window": "B", "flags": "B",
}  # fmt: skip
ASYNC_EVENT: Widths = {**STATE_ID, "source": 16, "flags": "I", "reqid": "I"}
DEFAULTS: Widths = {"input": "B", "forward": "B", "output": "B"}
FIELDS: dict[int, Widths | None] = {
    Message.NEWSA: STATE,
    Message.UPDSA: STATE,
    Message.DELSA: STATE_ID,
    Message.GETSA: STATE_ID,
    Message.ALLOCSPI: {"state": 224, "spi_min": "I", "spi_max": "I"},
    Message.EXPIRE: {"state": 224, "hard": "B"},
    Message.FLUSHSA: {"protocol": "B"},
    Message.NEWPOLICY: {"policy": 168},
    Message.UPDPOLICY: {"policy": 168},
    Message.DELPOLICY: POLICY_ID,
    Message.GETPOLICY: POLICY_ID,
    Message.POLEXPIRE: {"policy": 168, "hard": "B"},
    Message.FLUSHPOLICY: None,
    Message.ACQUIRE: {
        "destination": 16, "spi": "I", "protocol": "B", "source": 16, "selector": 56, "policy": 168,
        "aalgos": "I", "ealgos": "I", "calgos": "I", "sequence": "I",
    },
    Message.NEWAE: ASYNC_EVENT,
    Message.GETAE: ASYNC_EVENT,
    Message.REPORT: {"protocol": "B", "selector": 56},
    Message.MIGRATE: POLICY_ID,
    Message.MAPPING: {
        **STATE_ID, "reqid": "I", "old_source": 16, "new_source": 16, "old_port": "H", "new_port": "H",
    },
    Message.MIGRATE_STATE: {
        **STATE_ID, "new_destination": 16, "new_source": 16, "mark_value": "I", "mark_mask": "I", "selector": 56,
        "reqid": "I", "flags": "I", "new_family": "H",
    },
    Message.NEWSADINFO: {"flags": "I"},
    Message.GETSADINFO: {"flags": "I"},
    Message.NEWSPDINFO: {"flags": "I"},
    Message.GETSPDINFO: {"flags": "I"},
    Message.SETDEFAULT: DEFAULTS,
    Message.GETDEFAULT: DEFAULTS,
}  # fmt: skip
WIDTHS = {"B": U8, "H": U16, "I": U32}
SIZES = {
    Message.NEWSA: 224, Message.UPDSA: 224, Message.DELSA: 24, Message.GETSA: 24, Message.EXPIRE: 232,
    Message.ALLOCSPI: 232, Message.NEWPOLICY: 168, Message.UPDPOLICY: 168, Message.GETPOLICY: 64,
    Message.DELPOLICY: 64, Message.POLEXPIRE: 176, Message.ACQUIRE: 280, Message.FLUSHSA: 4, Message.FLUSHPOLICY: 0,
    Message.NEWAE: 48, Message.GETAE: 48, Message.REPORT: 60, Message.MIGRATE: 64, Message.MAPPING: 64,
    Message.NEWSADINFO: 4, Message.GETSADINFO: 4, Message.NEWSPDINFO: 4, Message.GETSPDINFO: 4,
    Message.SETDEFAULT: 4, Message.GETDEFAULT: 4, Message.MIGRATE_STATE: 132,
}  # fmt: skip


def items_of(message: int) -> st.SearchStrategy[list[Item]]:
    if message in (Message.NEWSADINFO, Message.GETSADINFO):
        kinds = SAD_ITEMS
    elif message in (Message.NEWSPDINFO, Message.GETSPDINFO):
        kinds = SPD_ITEMS
    else:
        kinds = [*XFRM_ITEMS, UNKNOWN]
    return st.lists(st.one_of(kinds), max_size=5)


@st.composite
def contents(draw: st.DrawFn) -> tuple[int, int, dict[str, Any] | None, list[Item]]:
    """What `unpack` returns."""
    message = draw(st.sampled_from(sorted(FIELDS)))
    flags = draw(st.sampled_from([1, 5, 0x301, 0x305]))
    fields = FIELDS[message]
    if flags & 0x300 and message in (Message.GETSA, Message.GETPOLICY):
        fields = None
    values = None
    if fields is not None:
        values = {
            name: draw(binary(kind) if isinstance(kind, int) else WIDTHS[kind]) for name, kind in fields.items()
        }
    return message, flags, values, draw(items_of(message))


def test_every_message_is_here() -> None:
    assert set(FIELDS) == set(SIZES) == set(map(int, Message)) == set(layouts.MESSAGES)
    for message, layout in layouts.MESSAGES.items():
        assert layouts.aligned(layout.size if layout else 0) == SIZES[Message(message)], Message(message).name


@given(contents())
def test_messages_survive(content: Any) -> None:
    packed = pure.pack(*content)
    assert native.pack(*content)[:] == bytes(packed)
    assert native.unpack(packed) == content
    assert pure.unpack(packed) == content
    assert len(packed) % 4 == 0
    assert struct.unpack_from("=IHHII", packed) == (len(packed), content[0], content[1], 0, 0)


@pytest.mark.parametrize("message", FIELDS)
@settings(max_examples=40)
@given(data=st.data())
def test_damaged_messages(message: int, data: st.DataObject) -> None:
    """Whatever arrives is refused as a whole, or is what is packed again."""
    fixed = data.draw(binary(SIZES[Message(message)]))
    body = fixed + b"".join(
        attribute(item.type, bytes(item.data)) if item.numbers is None else pure.pack(0x1D, 0, None, [item])[16:]
        for item in data.draw(st.lists(st.one_of([*XFRM_ITEMS, UNKNOWN, FLAGGED]) | ODD_PARTS, max_size=4))
    )
    noise = data.draw(damaged(header(message, len(body), data.draw(st.sampled_from([0, 5, 0x300, 0x301]))) + body))
    content = agree("unpack", noise)
    if content[0] is ProtocolError:
        return
    packed = pure.pack(*content)
    assert native.pack(*content)[:] == bytes(packed)
    assert pure.unpack(packed) == content


@pytest.mark.parametrize(
    "item",
    [
        Item(1, (8,), b"", b"x"),  # no key of that size
        Item(1, (8,), b"ab", b"x"),
        Item(1, (8, 8), b"a", b"x"),
        Item(18, (8,), b"a", b"x"),
        Item(18, (8, 64), b"a", b"x" * 64),
        Item(4, (1, 2, 3), b""),
        Item(5, (), b""),
        Item(5, (), bytes(65)),
        Item(5, (1,), bytes(64)),
        Item(5, (), bytes(64 * 1024)),
        Item(8, (1, 1), bytes(65528)),
        Item(11, (), b""),
        Item(11, (1, 2), b""),
        Item(11, (1,), b"x"),
        Item(23, (2, 0, 0, 0, 0, 0), bytes(4)),
        Item(38, (1,), b""),
        Item(42, (1,), b""),  # unknown types have no numbers
        Item(60, None, bytes(65532)),
    ],
)
def test_items_that_no_message_has(item: Item) -> None:
    assert agree("pack", Message.FLUSHPOLICY, 5, None, [item])[0] is ValidationError


def test_what_was_recorded_is_packed_again() -> None:
    """Requests of `ip` and messages of kernels, apart from sequence number and port."""
    sent = [bytes.fromhex(datagram) for record in records("requests") for datagram in record["sent"]]
    replies = [bytes.fromhex(pair[0]) for record in records("replies") for pair in record["datagrams"]]
    again = raw = 0
    for block in sent + replies:
        for message in split(block):
            kind, flags, fields, items = pure.unpack(message)
            if len(message) % 4:
                continue  # hand-built
            assert pure.pack(kind, flags, fields, items)[16:].hex() == message[16:].hex()
            again += 1
            raw += sum(item.numbers is None for item in items)
    assert again > 1000
    assert raw < again / 20  # what is not understood survives too easily


@given(st.lists(ODD_PARTS, min_size=1, max_size=3))
def test_sizes_that_disagree(items: list[Item]) -> None:
    body = b"".join(attribute(item.type, bytes(item.data)) for item in items)
    content = agree("unpack", header(Message.FLUSHPOLICY, len(body)) + body)
    assert len(content[3]) == len(items)
    assert native.pack(*content)[16:] == bytes(pure.pack(*content)[16:]) == body


def test_memory_shows_nothing_and_is_wiped() -> None:
    key = pure.memory(b"secret")
    assert "secret" not in repr(key) + str(key) + f"{key} {key!r}" + repr([key]) + repr(Item(1, (48,), key, b"x"))
    assert key == b"secret"
    assert (len(key), bytes(key), bytes(key[1:3])) == (6, b"secret", b"ec")
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with memoryview(key) as view:
        key.__del__()
        assert bytes(view) == bytes(6)


# --- parts of messages ------------------------------------------------------------------------------------


@given(ADDRESSES, binary(16), U16)
def test_addresses(text: str, address: bytes, family: int) -> None:
    found = agree("address_bytes", text)
    if found is not None:
        agree("address_text", *found)
    agree("address_text", address, family)
    agree("address_text", address[:4] + bytes(12), 0)


@given(binary(76))
def test_migrations(noise: bytes) -> None:
    fields = agree("migration_fields", noise)
    made = agree("migration_bytes", fields)
    assert made == noise[:66] + bytes(2) + noise[68:]  # all but the padding


@st.composite
def odd_states(draw: st.DrawFn) -> bytes:
    """A message that is, or could be taken for, one about a state."""
    kind, size = draw(st.sampled_from([(0x10, 224), (0x1A, 224), (0x10, 223), (0x11, 24)]))
    kinds = st.sampled_from([15, 21, 21, 31, 33, 0x8015, 0x4021, 1, 27])
    known = st.tuples(kinds, st.sampled_from([1, 4, 8]).flatmap(binary))
    listed = draw(st.lists(known | st.tuples(U16, st.binary(max_size=9)), max_size=5))
    body = draw(binary(size)) + b"".join(attribute(*each) for each in listed)
    return header(kind, len(body)) + body


@given(st.lists(odd_states() | odd_states().flatmap(damaged), max_size=3))
def test_blocks_of_states(parts: list[bytes]) -> None:
    block = b"".join(parts)
    agree("delete_state_messages", block)
    agree("state_counters", block)
    agree("check_states", block)
    for part in parts:
        agree("delete_state_messages", part)
        if isinstance(agree("state_counters", part), list) and part:
            agree("state_fields", part)


# --- the choice -------------------------------------------------------------------------------------------

WITHOUT_NATIVE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "xfrm_ext._native":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def run(program: str, codec: str | None = None) -> list[str]:
    """What a program prints, with XFRM_EXT_CODEC set or not."""
    environment = {key: value for key, value in os.environ.items() if key != "XFRM_EXT_CODEC"}
    if codec is not None:
        environment["XFRM_EXT_CODEC"] = codec
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    return (done.stdout + done.stderr).splitlines()


SHOW = "import xfrm_ext.wire, sys; print(xfrm_ext.wire.NAME, 'xfrm_ext._native' in sys.modules)"


def test_the_choice() -> None:
    assert run(SHOW) == run(SHOW, "") == run(SHOW, "native") == ["native True"]
    assert run(SHOW, "pure") == ["pure False"]
    error = "xfrm_ext.errors.ValidationError: XFRM_EXT_CODEC: 'fast' is not native or pure"
    assert run(SHOW, "fast")[-1] == error
    assert run(WITHOUT_NATIVE + SHOW) == run(WITHOUT_NATIVE + SHOW, "pure") == ["pure False"]
    assert run(WITHOUT_NATIVE + SHOW, "native")[-1] == "ModuleNotFoundError: No module named 'xfrm_ext._native'"


def test_a_broken_compiled_module_is_not_passed_over() -> None:
    broken = WITHOUT_NATIVE.replace("ModuleNotFoundError", "ImportError")
    assert run(broken + SHOW)[-1] == "ImportError: No module named 'xfrm_ext._native'"


def test_without_the_compiled_module() -> None:
    """Everything but the kernel: values, what was recorded, scripted kernels; and a clear word about that."""
    recorded = next(pair[0] for record in records("replies") for pair in record["datagrams"])
    program = f"""{WITHOUT_NATIVE}
import xfrm_ext as xfrm
from xfrm_ext.codec import select
codec = select()
from xfrm_ext.testing import FakeTransport
block = bytes.fromhex("{recorded}")
policy = codec.decode(block[:int.from_bytes(block[:4], sys.byteorder)])
print(type(policy).__name__, xfrm.Policy(policy.selector, direction="in").selector == policy.selector)
with xfrm.Session(transport=FakeTransport(lambda message: None)) as session:
    print(session.spd.load([xfrm.Policy(direction="in")] * 3).summary())
    for call in (xfrm.Session, lambda: session.spd.load_batch_file("/dev/null")):
        try:
            call()
        except xfrm.NotCompiledError as error:
            print(error)
print("_cffi_backend" in sys.modules)
"""
    rest = "needs the compiled module xfrm_ext._native, which this installation lacks"
    hint = "install it on Linux, where there is a C compiler"
    assert run(program) == [
        "Policy True",
        "3 applied",
        f"a connection to the kernel {rest}: {hint}",
        f"a batch file {rest}: {hint}",
        "False",
    ]

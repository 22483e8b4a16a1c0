# SPDX-License-Identifier: MIT
"""Every message of the records through unpack and pack, of each implementation: the same bytes come out, and
the fields in between are those that the tests read by themselves. No value class takes part."""

from __future__ import annotations

import importlib
import struct
from types import ModuleType
from typing import Any

import pytest
from vectors import (
    ADDRESS_FILTER,
    AEAD,
    AUTH,
    AUTH_TRUNC,
    COMP,
    CRYPT,
    ENCAP,
    ETIMER_THRESH,
    FIXED,
    FLUSHSA,
    GETAE,
    GETDEFAULT,
    GETSADINFO,
    GETSPDINFO,
    IPTFS_DONT_FRAG,
    IPTFS_REORDER_WINDOW,
    KMADDRESS,
    LASTUSED,
    MARK,
    MIGRATE_STATE,
    MIGRATIONS,
    NEWSA,
    NEWSADINFO,
    NEWSPDINFO,
    NUMBERS,
    PAD,
    REPLAY_ESN_VAL,
    REPLAY_THRESH,
    SEC_CTX,
    SETDEFAULT,
    TMPL,
    Parts,
    attribute,
    fields,
    messages,
    numbers,
    padded,
    records,
    take_apart,
)

from xfrm_ext import ProtocolError
from xfrm_ext.wire.item import Item

SIZES = {4: 24, 6: 224, 7: 168, 9: 32, 10: 12, 13: 16, 14: 16, 15: 8, 16: 6, 19: 40, 21: 8, 25: 1, 26: 36, 28: 8}
SIZES |= {33: 1, 37: 2, 38: 0}
"""Sizes of attributes that have but one, and are not of 4 bytes."""

_SAD = {1: ("=I",), 2: ("=I", "=I")}
_SPD = {1: ("=I",) * 6, 2: ("=I", "=I"), 3: ("=B", "=B"), 4: ("=B", "=B")}
INFORMATION = {NEWSADINFO: _SAD, GETSADINFO: _SAD, NEWSPDINFO: _SPD, GETSPDINFO: _SPD}
"""The attributes of messages with types of their own: their numbers."""

ALGORITHMS = {AUTH: 68, CRYPT: 68, COMP: 68, AEAD: 72, AUTH_TRUNC: 72}
"""Where the key begins."""


@pytest.fixture(params=["native", "pure"])
def wire(request: pytest.FixtureRequest) -> ModuleType:
    """Each implementation."""
    return importlib.import_module(f"xfrm_ext.wire.{request.param}")


def recorded() -> dict[bytes, str]:
    """Every different message, sequence number and port aside, with the id of a record that has it."""
    result: dict[bytes, str] = {}
    for name in ("requests", "replies", "other_requests", "other_replies"):
        for record in records(name):
            datagrams = record["sent"] if "sent" in record else [data for data, _ in record["datagrams"]]
            for data in datagrams:
                for message in messages(bytes.fromhex(data)):
                    result.setdefault(message[:8] + bytes(8) + message[16:], record["id"])
    for record in records("counts"):
        for name in ("sent", "received"):
            message = bytes.fromhex(record[name])
            result.setdefault(message[:8] + bytes(8) + message[16:], record["id"])
    return result


UNKNOWN = {"msg-hand-unknown-type-29", "msg-hand-unknown-type-7f"}
"""No message has such a type; type 0x29 has been given to one since, which is longer."""

MESSAGES = {message: name for message, name in recorded().items() if name not in UNKNOWN}


def is_raw(message: int, kind: int, payload: bytes) -> bool:
    """Whether an attribute is of a type or size that no field is read from. The type is without flag bits."""
    size = len(payload)
    if message in INFORMATION:
        forms = INFORMATION[message].get(kind)
        return forms is None or size != sum(map(struct.calcsize, forms))
    if kind in ALGORITHMS:
        key = ALGORITHMS[kind]
        _, nul, rest = payload[:64].partition(b"\0")
        if size < key or not nul or any(rest):
            return True
        bits: int = struct.unpack_from("=I", payload, 64)[0]
        return size != key + (bits + 7) // 8
    if kind == TMPL:
        return size % 64 != 0 or not size
    if kind == MIGRATIONS:
        return size % 76 != 0 or not size
    if kind == SEC_CTX:
        return size < 8 or bool(struct.unpack("=HH2xH", payload[:8]) != (size, SEC_CTX, size - 8))
    if kind == REPLAY_ESN_VAL:
        return size < 24 or size not in (24, 24 + 4 * struct.unpack_from("=I", payload)[0])
    return (kind not in NUMBERS and kind not in SIZES) or size != SIZES.get(kind, 4)


def data_of(kind: int, payload: bytes) -> tuple[bytes, bytes]:
    """What an attribute has beside its numbers: data, and name."""
    if kind in ALGORITHMS:
        return payload[ALGORITHMS[kind] :], payload[:64].split(b"\0")[0]
    if kind in (ENCAP, SEC_CTX):
        return payload[8:], b""
    if kind == REPLAY_ESN_VAL:
        return payload[24:], b""
    if kind in (KMADDRESS, ADDRESS_FILTER):
        return payload[:32], b""
    return (b"" if kind in NUMBERS else payload), b""


def item_of(message: int, kind: int, payload: bytes) -> Item:
    """The item that an attribute must become."""
    if is_raw(message, kind & 0x3FFF, payload):
        return Item(kind, None, payload)
    kind &= 0x3FFF
    if message in INFORMATION:
        return Item(kind, struct.unpack("=" + "".join(form[1] for form in INFORMATION[message][kind]), payload))
    return Item(kind, numbers(kind, payload), *data_of(kind, payload))


def canonical(parts: Parts) -> bytes:
    """The message that has to come out: bytes between fields are zero, types that are known have no flag bits
    (the kernel does not look at them), and there is no PAD."""
    fixed = bytearray(len(parts.fixed))
    if fixed:
        for offset, form in FIXED[parts.type][1].values():
            size = struct.calcsize(form)
            fixed[offset : offset + size] = parts.fixed[offset : offset + size]
    attributes = []
    for kind, payload in parts.attributes:
        if kind == PAD:
            continue
        if parts.type not in INFORMATION and not is_raw(parts.type, kind & 0x3FFF, payload):
            kind &= 0x3FFF
            if kind == ENCAP:
                payload = payload[:6] + bytes(2) + payload[8:]
        attributes.append((kind, payload))
    return parts._replace(fixed=bytes(fixed), attributes=tuple(attributes)).joined()


@pytest.mark.parametrize("kind", sorted({take_apart(message).type for message in MESSAGES}), ids=hex)
def test_every_message(wire: ModuleType, kind: int) -> None:
    for message, record in MESSAGES.items():
        parts = take_apart(message)
        if parts.type != kind:
            continue
        kind, flags, found, items = wire.unpack(message)
        assert (kind, flags) == (parts.type, parts.flags), record
        wanted = fields(message) if parts.fixed else None
        assert (found and {name: plain(value) for name, value in found.items()}) == wanted, record
        plain_items = [item._replace(data=bytes(item.data), name=bytes(item.name)) for item in items]
        assert plain_items == [item_of(kind, *each) for each in parts.attributes if each[0] != PAD], record
        again = bytes(wire.pack(kind, flags, found, items))
        assert again.hex() == canonical(parts).hex(), record


def plain(value: Any) -> int | bytes:
    return value if isinstance(value, int) else bytes(value)


def test_what_canonical_changes() -> None:
    changed = {name for message, name in MESSAGES.items() if canonical(take_apart(message)) != message}
    # Odd lengths are padded, and what lies between the fields of a delete is what was in memory.
    odd = {name for message, name in MESSAGES.items() if len(message) % 4}
    memory = {name for name in changed if "deleteall" in name}
    assert {take_apart(message).type for message, name in MESSAGES.items() if name in odd} <= {FLUSHSA, SETDEFAULT}
    assert changed == odd | memory | {"msg-hand-newsa-nested-flag"}


def test_messages_of_which_there_is_no_record(wire: ModuleType) -> None:
    for kind, (size, layout) in FIXED.items():
        if not layout:
            continue
        # Each byte another, so that no field can stand in for another.
        body = bytearray(size)
        for offset, form in layout.values():
            for position in range(offset, offset + struct.calcsize(form)):
                body[position] = (position * 7 + 1) % 255 + 1
        message = Parts(kind, 5, bytes(body), ((MARK, struct.pack("=II", 1, 3)), (0x1234, b"odd"))).joined()
        _, _, found, items = wire.unpack(message)
        assert {name: plain(value) for name, value in found.items()} == fields(message)
        assert bytes(wire.pack(kind, 5, found, items)) == message, hex(kind)


def test_attributes_of_which_there_is_no_record(wire: ModuleType) -> None:
    for kind in range(1, 44):
        for size in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 36, 40, 64, 68, 72, 76, 128, 152, 168, 224):
            if kind == PAD:
                continue
            payload = bytearray((position * 5 + kind) % 255 + 1 for position in range(size))
            if kind in ALGORITHMS and size >= 68:
                payload[10:64] = bytes(54)
                payload[64:68] = struct.pack("=I", max(0, 8 * (size - ALGORITHMS[kind])))
            elif kind == SEC_CTX and size >= 8:
                payload[:8] = struct.pack("=HHBBH", size, SEC_CTX, 3, 4, size - 8)
            elif kind == REPLAY_ESN_VAL and size >= 24:
                payload[:4] = struct.pack("=I", (size - 24) // 4)
            elif kind == ENCAP and size == 24:
                payload[6:8] = bytes(2)
            elif kind == 16 and size == 6:
                payload[1:] = bytes(5)
            elif kind == KMADDRESS and size == 40:
                payload[38:] = bytes(2)
            elif kind == 28 and size == 8:
                payload[5:] = bytes(3)
            message = Parts(NEWSA, 5, bytes(224), ((kind, bytes(payload)),)).joined()
            _, _, found, [item] = wire.unpack(message)
            plain_item = item._replace(data=bytes(item.data), name=bytes(item.name))
            assert plain_item == item_of(NEWSA, kind, bytes(payload)), (kind, size)
            assert bytes(wire.pack(NEWSA, 5, found, [item])).hex() == message.hex(), (kind, size)


def test_pad_is_dropped(wire: ModuleType) -> None:
    message = Parts(NEWSA, 0, bytes(224), ((PAD, b""), (LASTUSED, bytes(8)), (PAD, bytes(4)))).joined()
    _, _, _, items = wire.unpack(message)
    assert [item.type for item in items] == [LASTUSED]


def test_a_flag_and_a_number_of_two_bytes(wire: ModuleType) -> None:
    message = Parts(NEWSA, 5, bytes(224), ((IPTFS_DONT_FRAG, b""), (IPTFS_REORDER_WINDOW, b"\x01\x02"))).joined()
    _, _, found, items = wire.unpack(message)
    assert [item.numbers for item in items] == [(), struct.unpack("=H", b"\x01\x02")]
    assert bytes(wire.pack(NEWSA, 5, found, items)) == message


BROKEN = {
    "empty": b"",
    "half a header": bytes(15),
    "a length of 0": bytes(16),
    "a length beyond the end": struct.pack("=IHHII", 400, NEWSA, 0, 0, 0) + bytes(224),
    "an unknown type": struct.pack("=IHHII", 24, 0x7F, 0, 0, 0) + bytes(8),
    "a type below the first": struct.pack("=IHHII", 24, 0xF, 0, 0, 0) + bytes(8),
    "the end of a dump": struct.pack("=IHHII", 20, 3, 2, 0, 0) + bytes(4),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(wire: ModuleType, name: str) -> None:
    with pytest.raises(ProtocolError):
        wire.unpack(BROKEN[name])


def test_every_structure_cut_short(wire: ModuleType) -> None:
    for kind, (size, _) in FIXED.items():
        whole = Parts(kind, 0, bytes(size), ()).joined()
        least = 16 + size if kind in (FLUSHSA, SETDEFAULT, GETDEFAULT) else len(whole)
        for end in range(16, len(whole)):
            message = struct.pack("=I", end) + whole[4:end]
            if end >= least:
                assert bytes(wire.pack(kind, 0, wire.unpack(message)[2], [])) == whole
                continue
            with pytest.raises(ProtocolError):
                wire.unpack(message)


def test_attributes_that_do_not_fit(wire: ModuleType) -> None:
    good = attribute(MARK, bytes(8))
    for bad in (struct.pack("=HH", 0, MARK), struct.pack("=HH", 3, MARK), struct.pack("=HH", 13, MARK) + bytes(8)):
        for attributes in (bad, good + bad):
            for kind, (size, _) in FIXED.items():
                body = padded(bytes(size)) + attributes
                message = struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body
                with pytest.raises(ProtocolError):
                    wire.unpack(message)


def test_the_result_shows_no_key(wire: ModuleType) -> None:
    key = b"a secret of sixteen"
    packed = wire.pack(
        0x10,
        5,
        fields(Parts(NEWSA, 5, bytes(224), ()).joined()),
        [Item(CRYPT, (8 * len(key),), key, b"cbc(aes)")],
    )
    assert key in bytes(packed)
    assert len(packed) == 16 + 224 + len(attribute(CRYPT, bytes(68) + key))
    assert bytes(packed[:4]) == struct.pack("=I", len(packed))
    for text in (repr(packed), str(packed), f"{packed}"):
        assert "secret" not in text
        assert key.hex() not in text


def test_there_are_records_of_all_but() -> None:
    """What this file builds by itself, since `ip` or the kernels at hand never sent it."""
    seen = {take_apart(message).type for message in MESSAGES}
    assert set(FIXED) - seen == {GETAE, MIGRATE_STATE}
    attributes = {
        kind
        for message in MESSAGES
        for kind, payload in take_apart(message).attributes
        if take_apart(message).type not in INFORMATION and not is_raw(NEWSA, kind, payload)
    }
    assert set(range(1, 42)) - attributes == {REPLAY_THRESH, ETIMER_THRESH, MIGRATIONS, KMADDRESS, PAD}

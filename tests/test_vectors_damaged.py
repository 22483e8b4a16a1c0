# SPDX-License-Identifier: MIT
"""Recorded messages of all types, damaged at random: each is refused with a ProtocolError, or decoded to a value
that can be looked at, and both codecs see the same."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from test_vectors_wire import MESSAGES
from vectors import FIXED

from xfrm_ext import Event, Overrun, ProtocolError, Secret
from xfrm_ext.codec import native, pure
from xfrm_ext.codec.generic import Codec
from xfrm_ext.wire.layouts import BROKEN, OVERRUN, RECORD

INTACT: dict[int, list[bytes]] = {}
for _message in sorted(MESSAGES):
    INTACT.setdefault(struct.unpack_from("=H", _message, 4)[0], []).append(_message)


def _cut(message: bytearray, chance: random.Random) -> None:
    del message[chance.randint(0, len(message)) :]
    message[:4] = struct.pack("=I", len(message))[: len(message)]


def _change_a_byte(message: bytearray, chance: random.Random) -> None:
    if message:
        message[chance.randrange(len(message))] = chance.choice((0, 1, 255, chance.randrange(256)))


def _change_a_length(message: bytearray, chance: random.Random) -> None:
    if len(message) > 20:
        message[chance.randrange(16, len(message), 4)] = chance.choice((0, 1, 3, 4, 5, 8, 12, 16, 68, 255))


def _add_from_another(message: bytearray, chance: random.Random) -> None:
    other = chance.choice(INTACT[chance.choice(list(INTACT))])
    message += other[chance.randrange(16, len(other) + 1, 4) :]
    message[:4] = struct.pack("=I", len(message))


def _change_the_type(message: bytearray, chance: random.Random) -> None:
    if len(message) >= 6:
        message[4:6] = struct.pack("=H", chance.choice((*FIXED, 2, 3, 0x2A)))


def _change_the_size(message: bytearray, chance: random.Random) -> None:
    if len(message) >= 2:
        message[:2] = struct.pack("=H", chance.choice((len(message) - 1, len(message) + 1, chance.randrange(400))))


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _cut,
    *(_change_a_byte,) * 4,
    _change_a_length,
    _change_a_length,
    _add_from_another,
    _change_the_type,
    _change_the_size,
)


def look(decode: Callable[[bytes], object], message: bytes) -> str | None:
    """What a message decodes to, as text; None: it is refused."""
    try:
        return repr(decode(message))
    except ProtocolError:
        return None


@pytest.mark.parametrize("kind", sorted(INTACT), ids=hex)
def test_damaged(kind: int) -> None:
    chance = random.Random(20261123 + kind)
    seen = []
    for _ in range(400):
        message = bytearray(chance.choice(INTACT[kind]))
        for _ in range(chance.randint(1, 3)):
            chance.choice(CHANGES)(message, chance)
        damaged = bytes(message)
        seen.append(look(native.decode, damaged))
        assert look(pure.decode, damaged) == seen[-1], damaged.hex()
    # Both must happen, or the test shows nothing.
    assert 40 < seen.count(None) < 380


def record(message: bytes, namespace: int = -1) -> bytes:
    """A message as a listener keeps it."""
    return RECORD.pack(len(message), namespace) + message + bytes(-len(message) % 4)


@pytest.mark.parametrize("kind", sorted(INTACT), ids=hex)
def test_damaged_events(kind: int) -> None:
    """Many are read in one go, in C: as one by one, and as the codec in Python does."""
    chance = random.Random(20261124 + kind)
    received: list[bytes] = []
    for number in range(300):
        message = bytearray(chance.choice(INTACT[kind]))
        for _ in range(chance.randint(0, 2) if number % 4 else 0):
            chance.choice(CHANGES)(message, chance)
        if len(message) >= 16:
            message[:4] = struct.pack("=I", len(message))  # others don't enter a listener's memory
            received.append(bytes(message))
    marks = RECORD.pack(OVERRUN, -1) + RECORD.pack(BROKEN, -1)
    records = b"".join(record(message, number) for number, message in enumerate(received)) + marks
    read = native.codec.decode_events(records)
    also = pure.codec.decode_events(records)
    assert (read[-2], also[-2], repr(read[-1])) == (Overrun(), Overrun(), repr(also[-1]))
    assert isinstance(read[-1], ProtocolError)
    for number, damaged in enumerate(received):
        one = native.decode_event(damaged, number)
        assert read[number] == one == also[number], damaged.hex()
        assert repr(read[number]) == repr(one) == repr(also[number])
    assert len(read) == len(also) == len(received) + 2
    known = [event for event in read if isinstance(event, Event) and not isinstance(event.body, Secret)]
    assert len(known) >= 75


@pytest.mark.parametrize("codec", [native.codec, pure.codec], ids=["native", "pure"])
@pytest.mark.parametrize("records", [bytes(7), RECORD.pack(15, -1), RECORD.pack(17, -1) + bytes(16)])
def test_what_is_no_record(records: bytes, codec: Codec) -> None:
    with pytest.raises(ProtocolError):
        codec.decode_events(records)

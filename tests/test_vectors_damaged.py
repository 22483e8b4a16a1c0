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

from xfrm_ext import ProtocolError
from xfrm_ext.codec import native, pure

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

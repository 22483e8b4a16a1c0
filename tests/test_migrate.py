# SPDX-License-Identifier: MIT
"""The messages that move states, to the byte, through both codecs."""

from __future__ import annotations

import struct

from by_hand import (
    CODECS,
    HERE,
    HERE6,
    KMADDRESS,
    MIGRATE,
    THERE,
    THERE6,
    addr,
    attribute,
    expected_event,
    message,
    named,
    selector,
)

from xfrm_ext import (
    Family,
    KmAddress,
    Mark,
    Migration,
    Move,
    Selector,
    StateId,
    StateMigration,
)


def test_migrations() -> None:
    moved = addr("192.0.2.2") + addr("192.0.2.1") + addr(THERE6) + addr(HERE6)
    moved += struct.pack("=BBHIHH", 50, 1, 0, 9, 2, 10)
    assert len(moved) == 76
    fixed = selector(2, "10.0.0.0", "10.1.0.0", (8, 16)) + struct.pack("=IB3x", 0, 1)
    assert len(fixed) == 64
    move = Move("192.0.2.1", "192.0.2.2", HERE6, THERE6, reqid=9)
    assert (move.old_family, move.new_family) == (Family.INET, Family.INET6)
    value = Migration(Selector("10.0.0.0/8", "10.1.0.0/16"), "out", [move, move])
    expected_event(0x21, value, fixed, attribute(MIGRATE, moved * 2))
    # The kernel tells of each in an attribute of its own.
    told = message(0x21, fixed, attribute(MIGRATE, moved), attribute(MIGRATE, moved))
    for codec in CODECS:
        assert codec.decode(told) == value


def test_addresses_of_key_managers() -> None:
    value = Migration(Selector(), "in", [], key_managers=KmAddress(HERE, THERE))
    managers = addr(HERE) + addr(THERE) + struct.pack("=IH2x", 0, 2)
    fixed = selector(2) + struct.pack("=IB3x", 0, 0)
    expected_event(0x21, value, fixed, attribute(KMADDRESS, managers))


def test_migrations_of_states() -> None:
    fixed = named() + addr(THERE6) + addr(HERE6) + struct.pack("=II", 0x0F, 0x0F)
    fixed += selector(2, "10.0.0.0", "", (8, 0)) + struct.pack("=IIH2x", 9, 1, 10)
    assert len(fixed) == 132
    value = StateMigration(
        StateId(THERE, 0x01020304, mark=Mark(0xFF, 0x0F)),
        HERE6,
        THERE6,
        reqid=9,
        selector=Selector("10.0.0.0/8"),
        flags=1,
    )
    expected_event(0x29, value, fixed)

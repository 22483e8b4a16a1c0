# SPDX-License-Identifier: MIT
"""sad.load_columns against a kernel with all of IPsec."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy
import pytest
from by_columns import state_of

from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AlreadyExists,
    AuthAlgorithm,
    LoadError,
    Session,
    State,
)

replace: Any = dataclasses.replace  # of fields that are wider than what their constructor takes
ENDS = ("192.0.2.1", "198.51.100.2")
COUNT = 1000
GCM = State(*ENDS, spi=1, mode="tunnel", reqid=1, aead=AeadAlgorithm("rfc4106(gcm(aes))", bytes(20)))
CBC = State(
    *ENDS,
    spi=1,
    mode="tunnel",
    encryption=Algorithm("cbc(aes)", bytes(16)),
    authentication=AuthAlgorithm("hmac(sha256)", bytes(32)),
)
KEYS = numpy.random.default_rng(4).integers(0, 256, (COUNT, 20), "u1")
SPIS = numpy.arange(0x1000, 0x1000 + COUNT)


def by_spi(session: Session) -> dict[int, State]:
    return {state.spi: state for state in session.sad.dump()}


def test_states_with_keys_of_their_own(session: Session) -> None:
    result = session.sad.load_columns(GCM, spi=SPIS, aead_key=KEYS, reqid=SPIS)
    assert result.summary() == f"{COUNT} applied"
    found = by_spi(session)
    assert len(found) == COUNT
    for spi, key in zip(SPIS, KEYS, strict=True):
        state = found[int(spi)]
        assert state.aead is not None
        assert state.aead.key.reveal() == key.tobytes()
        assert state.reqid == int(spi)


def test_all_rows_arrive_as_they_are(session: Session) -> None:
    columns: dict[str, Any] = {
        "destination": ["198.51.100.1", "198.51.100.2", "198.51.100.3"],
        "spi": [0x1001, 0x1002, 0x1003],
        "encryption_key": [b"a" * 16, b"b" * 16, b"c" * 16],
        "authentication_key": [b"d" * 32, b"e" * 32, b"f" * 32],
        "replay_window": [0, 8, 32],
        "flags": [0, 1, 2],
        "mark": [1, 2, 3],
        "mark_mask": [0xFF, 0xF, 0xFFFFFFFF],
        "output_mark": [4, 5, 6],
        "output_mark_mask": [0xFF, 0xF, 0xFF],
        "if_id": [7, 8, 9],
        "hard_add_expires_seconds": [1000, 2000, 3000],
        "soft_byte_limit": [100, 200, 2**64 - 1],
        "encapsulation_source_port": [4500, 4501, 4502],
        "encapsulation_destination_port": [4503, 4504, 4505],
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert session.sad.load_columns(CBC, **columns).summary() == "3 applied"
    by_columns = list(session.sad.dump())
    session.sad.flush()
    session.sad.load([state_of(CBC, row) for row in rows])

    def comparable(states: list[State]) -> dict[int, State]:
        return {one.spi: replace(one, current=None, sequence=0) for one in states}

    assert comparable(by_columns) == comparable(list(session.sad.dump()))
    assert len(by_columns) == 3


def test_both_families(session: Session) -> None:
    state = replace(GCM, source=None, destination=None)
    ends = ["192.0.2.1", "2001:db8::1"]
    session.sad.load_columns(state, source=ends, destination=ends, spi=[0x1001, 0x1002])
    assert {(one.source, one.destination, one.spi) for one in session.sad.dump()} == {
        ("192.0.2.1", "192.0.2.1", 0x1001),
        ("2001:db8::1", "2001:db8::1", 0x1002),
    }


def test_partial_results_are_exact(session: Session) -> None:
    session.sad.add(replace(GCM, spi=0x1000 + 700))
    result = session.sad.load_columns(GCM, on_error="collect", spi=SPIS, aead_key=KEYS)
    assert [error.index for error in result.failed] == [700]
    assert isinstance(result.failed[0], AlreadyExists)
    assert result.applied.ranges == (range(700), range(701, COUNT))
    assert session.sad.count().count == COUNT


def test_rollback_leaves_what_was_there(session: Session) -> None:
    session.sad.add(replace(GCM, spi=0x1000 + 700))
    with pytest.raises(LoadError) as caught:
        session.sad.load_columns(GCM, on_error="rollback", spi=SPIS, aead_key=KEYS)
    result = caught.value.result
    assert (len(result.applied), len(result.unknown)) == (0, 0)
    assert len(result.rolled_back) == 767
    assert list(by_spi(session)) == [0x1000 + 700]


def test_update_and_delete(session: Session) -> None:
    session.sad.load_columns(GCM, spi=SPIS, aead_key=KEYS)
    session.sad.load_columns(GCM, operation="update", spi=SPIS, aead_key=KEYS, hard_byte_limit=SPIS)
    assert all(spi == state.lifetime.hard_byte_limit for spi, state in by_spi(session).items())
    assert session.sad.load_columns(GCM, operation="delete", spi=SPIS[::2]).summary() == f"{COUNT // 2} applied"
    assert sorted(by_spi(session)) == list(map(int, SPIS[1::2]))

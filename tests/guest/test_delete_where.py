# SPDX-License-Identifier: MIT
"""session.sad.delete_where against a kernel with all of IPsec: any number of states, none of the others."""

from __future__ import annotations

import os
from typing import Any

import pytest

from guest.network import DEADLINE, PORT, Pair
from guest.test_paths import COMPRESSED, PATHS, gcm, secure
from xfrm_ext import Mark, NotFound, Session, State, StateId
from xfrm_ext.testing import network_namespace

MANY = int(os.environ.get("XFRM_EXT_STATES", "5000"))  # 100,000 take about 100 MB of the guest's memory


def state(number: int, **options: Any) -> State:
    """A state with addresses of its own, so that the kernel's hash chains stay short."""
    low = f"{number >> 16}.{number >> 8 & 255}.{number & 255}"
    given: dict[str, Any] = {"mode": "tunnel", "reqid": number, **gcm()} | options
    return State(f"10.{low}", f"11.{low}", spi=0x1000 + number, **given)


def test_many() -> None:
    """More than `ip xfrm state deleteall` can do."""
    with network_namespace() as namespace, Session(namespace) as session:
        session.sad.load(state(number) for number in range(MANY))
        result = session.sad.delete_where(lambda one: one.reqid % 5 != 0)
        kept = (MANY + 4) // 5
        assert (len(result.applied), result.chosen, result.failed) == (MANY - kept, MANY - kept, [])
        assert session.sad.count().count == kept
        assert {one.reqid % 5 for one in session.sad.dump()} == {0}
        assert len(session.sad.delete_where(lambda one: True).applied) == kept
        assert session.sad.count().count == 0


def test_by_columns() -> None:
    with network_namespace() as namespace, Session(namespace) as session:
        session.sad.load(state(number) for number in range(3000))
        result = session.sad.delete_where(lambda columns: columns["reqid"] % 5 != 0, fields=["reqid"])
        assert (len(result.applied), result.chosen, result.failed) == (2400, 2400, [])
        assert {one.reqid for one in session.sad.dump()} == set(range(0, 3000, 5))


KINDS: dict[str, list[dict[str, Any]]] = {
    "mark": [{"mark": Mark(value, 0xFF)} for value in (1, 2, 3)],
    "IPv6": [{"source": f"2001:db8::{n}", "destination": "2001:db8:1::1", "spi": n} for n in (0x100, 0x101)],
    "protocol": [{"protocol": kind} for kind in ("esp", "comp")],
    "route2": [
        {
            "protocol": "route2",
            "source": f"2001:db8::{n}",
            "destination": "2001:db8:1::1",
            "spi": 0,
            "mode": "ro",
        }
        for n in (1, 2)
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_names_a_state(kind: str) -> None:
    """Of some that differ in one thing, one is deleted."""
    algorithms: dict[str, dict[str, Any]] = {
        "comp": COMPRESSED | {"spi": 0x100},
        "route2": {"care_of_address": "2001:db8::9"},
    }
    with network_namespace() as namespace, Session(namespace) as session:
        for number, options in enumerate(KINDS[kind]):
            given: dict[str, Any] = {
                "source": "192.0.2.1",
                "destination": "192.0.2.2",
                "spi": 0x1000,
                "mode": "tunnel",
            } | options
            given |= algorithms.get(given.get("protocol", "esp"), gcm())
            session.sad.add(State(**given, reqid=number + 1))
        result = session.sad.delete_where(lambda one: one.reqid == 2)
        assert (len(result.applied), result.failed) == (1, [])
        assert sorted(one.reqid for one in session.sad.dump()) == [
            number + 1 for number in range(len(KINDS[kind])) if number != 1
        ]


def test_the_dump_can_be_limited() -> None:
    with network_namespace() as namespace, Session(namespace) as session:
        session.sad.load([state(number) for number in range(300)])
        seen: list[int] = []

        def predicate(one: State) -> bool:
            seen.append(one.reqid)
            return one.reqid != 5

        result = session.sad.delete_where(predicate, destination="11.0.0.0/28")
        assert sorted(seen) == list(range(16))
        assert len(result.applied) == 15
        assert session.sad.count().count == 285


def test_what_vanishes_meanwhile_is_told() -> None:
    with network_namespace() as namespace, Session(namespace) as session, Session(namespace) as other:
        states = [state(number) for number in range(300)]
        session.sad.load(states)

        def predicate(one: State) -> bool:
            if one.reqid in (3, 250):
                other.sad.delete(one)
            return True

        result = session.sad.delete_where(predicate, on_error="raise")
        assert (len(result.applied), result.failed) == (298, [])
        names = [result.which(number) for number in result.vanished]
        assert {name.spi for name in names if isinstance(name, StateId)} == {states[3].spi, states[250].spi}
        assert len(names) == 2
        assert session.sad.count().count == 0


def test_a_larval_state_without_an_spi_is_no_success(pair: Pair) -> None:
    """What waits for a key daemon has no name yet: the kernel does not find it."""
    secure(pair, PATHS["ESP tunnel, IPv4 in IPv4"])
    sad = pair.left.session.sad
    sad.flush()
    with pair.left.bound(pair.left.address.inner4) as sender, pair.left.session.subscribe("acquire") as ear:
        sender.sendto(b"x", (pair.right.address.inner4, PORT))
        assert ear.get(timeout=DEADLINE) is not None
    assert [one.spi for one in sad.dump()] == [0]
    result = sad.delete_where(lambda one: True)
    (error,) = result.failed
    assert isinstance(error, NotFound)
    assert (len(result.vanished), len(result.applied)) == (0, 0)
    assert "spi=0" in str(error)

# SPDX-License-Identifier: MIT
"""Policies out of dumps: whichever way their objects were made, they are the same."""

from __future__ import annotations

import copy
import pickle
import random
import signal
from collections.abc import Iterator
from dataclasses import fields, replace
from types import FrameType
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from strategies import policies
from test_bulk import host
from vectors import NEWPOLICY, messages, records

from xfrm_ext import Policy, PolicyId, ProtocolError, Selector, Session, Template, policy_rows
from xfrm_ext.codec import select
from xfrm_ext.policy import lazily_read
from xfrm_ext.testing import FakeTransport
from xfrm_ext.wire import canonical_policies

CODEC = select("native")


def dumped(blocks: list[bytes]) -> list[Policy]:
    """What a dump yields when the kernel sends these blocks."""
    return list(Session(transport=FakeTransport(lambda message: blocks)).spd.dump())


def one_by_one(blocks: list[bytes]) -> list[Policy]:
    return [Policy._from_wire(message) for block in blocks for message in canonical_policies(block)]


def values(one: Policy) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one)} | {
        f"{part}.{field.name}": getattr(getattr(one, part), field.name)
        for part in ("selector", "current", "lifetime")
        for field in fields(getattr(one, part))
    }


def compare(found: list[Policy], expected: list[Policy]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert type(one) is Policy
        assert type(one.selector) is Selector
        assert values(one) == values(other)
        assert one == other
        assert hash(one) == hash(other)
        assert repr(one) == repr(other)
        assert bytes(one._wire) == bytes(other._wire)
        assert one.selector._wire == other.selector._wire


RECORDED = [
    message
    for record in records("replies")
    for data, _text in record["datagrams"]
    for message in messages(bytes.fromhex(data))
    if message[4] == NEWPOLICY
]


def making(monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    """Has policies made along with their selectors, or without."""
    monkeypatch.setattr(policy_rows, "_are_selectors_read", lambda: full)


@pytest.mark.parametrize("full", [False, True])
def test_recorded_policies(full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that kernels told, in blocks of some."""
    assert len(RECORDED) > 100
    chance = random.Random(3)
    blocks = [b"".join(chance.sample(RECORDED, 40)) for _ in range(20)]
    making(monkeypatch, full)
    compare(dumped(blocks), one_by_one(blocks))


@given(st.lists(policies(), min_size=1, max_size=20), st.booleans())
def test_any_policies(some: list[Policy], full: bool) -> None:
    blocks = [CODEC.encode(one) for one in some[:1]] + [b"".join(map(CODEC.encode, some))]
    with pytest.MonkeyPatch.context() as monkeypatch:
        making(monkeypatch, full)
        compare(dumped(blocks), one_by_one(blocks))


def test_selectors_are_made_along_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [b"".join(RECORDED[:50])] * 6
    monkeypatch.setattr(policy_rows, "_made_without", 10**9)
    found = Session(transport=FakeTransport(lambda message: blocks)).spd.dump()
    before = lazily_read()
    assert all(one.priority >= 0 for one in found)
    assert lazily_read() == before, "nobody asked"
    monkeypatch.setattr(policy_rows, "_made_without", 8 * before)
    found = Session(transport=FakeTransport(lambda message: blocks)).spd.dump()
    assert all(one.selector.source for one in found)
    assert lazily_read() - before <= 100, "the first block's, and those that were made meanwhile"


@pytest.mark.parametrize("full", [False, True])
def test_they_are_values_like_any_other(full: bool, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    making(monkeypatch, full)
    session.spd.load([host(number, templates=[Template("192.0.2.1", "192.0.2.2")]) for number in range(300)])
    one = list(session.spd.dump())[-1]
    with pytest.raises(AttributeError):
        one.priority = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del one.priority
    with pytest.raises(AttributeError):
        one.selector.source = "10.0.0.0/8"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        one.nonsense  # type: ignore[attr-defined]  # noqa: B018
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    changed = replace(one, priority=7)
    assert (changed.priority, changed.selector, changed.index) == (7, one.selector, one.index)
    assert one.id == PolicyId(one.selector, direction=one.direction)
    assert session.spd.get(one.selector, "out") == one


@pytest.mark.parametrize("full", [False, True])
def test_a_dump_of_many(session: Session, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a thread to receive what comes, of more kinds than are kept in mind."""
    making(monkeypatch, full)
    expected = [host(number, templates=[Template(reqid=number % 5000)]) for number in range(12_000)]
    session.spd.load(expected)
    found = list(session.spd.dump())
    assert [(one.priority, one.templates[0].reqid, one.selector.source) for one in reversed(found)] == [
        (one.priority, one.templates[0].reqid, one.selector.source) for one in expected
    ]
    assert len({one.index for one in found}) == len(found)


@pytest.mark.parametrize("place", [0, 1, 30])
def test_damaged_blocks(place: int) -> None:
    blocks = [b"".join(RECORDED[:50])] * 40
    for damage in (b"\x01", RECORDED[0][:100], RECORDED[0][:4] + b"\x13\x00" + bytes(10)):
        blocks[place] = RECORDED[1] + damage
        with pytest.raises(ProtocolError):
            dumped(blocks)


def test_an_error_in_the_thread_ends_the_dump() -> None:
    class Breaking(FakeTransport):
        def dump(self, *arguments: Any, **options: Any) -> Iterator[bytearray]:
            yield from [bytearray(b"".join(RECORDED[:100]))] * 5
            raise OSError("broken")

        def open_beside(self, protocol: int | None = None) -> Breaking:
            return self

    found = Session(transport=Breaking(lambda message: None)).spd.dump()
    assert [next(found) for _ in range(500)]
    with pytest.raises(OSError, match="broken"):
        next(found)


class Stop(Exception):
    pass


def test_signals_at_any_moment(session: Session) -> None:
    """A handler that raises ends the dump and its thread; the session goes on."""
    session.spd.load(host(number) for number in range(20_000))
    chance = random.Random(8)

    def handler(number: int, frame: FrameType | None) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(60):
            with pytest.raises(Stop):  # noqa: PT012  it comes from anywhere
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, 2e-2))
                while True:
                    for _one in session.spd.dump():
                        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert sum(1 for _ in session.spd.dump()) == 20_000

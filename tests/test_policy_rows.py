# SPDX-License-Identifier: MIT
"""Policies out of dumps: whichever way their objects were made, they are the same."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from types import FrameType
from typing import Any

import hypothesis.strategies as st
import numpy  # noqa: F401
import pytest
from hypothesis import given
from strategies import policies
from test_bulk import host
from vectors import NEWPOLICY, UPDPOLICY, messages, records

from xfrm_ext import (
    Attribute,
    AttributeType,
    ClosedError,
    Policy,
    PolicyId,
    ProtocolError,
    Selector,
    Session,
    Template,
    XfrmError,
    policy_rows,
)
from xfrm_ext._native import ffi
from xfrm_ext.codec import select
from xfrm_ext.policy import lazily_read
from xfrm_ext.rtnl import _DumpAhead
from xfrm_ext.testing import FakeTransport, network_namespace
from xfrm_ext.wire import canonical_policies
from xfrm_ext.wire.columns_read import POLICIES, Reader
from xfrm_ext.wire.policy_rows import PolicyMaker, RowsDecoder

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


@given(st.lists(policies(), min_size=1, max_size=4), st.lists(st.integers(0, 3), max_size=30), st.randoms())
def test_rows_of_one_kind(some: list[Policy], order: list[int], chance: random.Random) -> None:
    """Neighbours of one kind, in the form they came in, become what each of them becomes alone."""
    block = b""
    for number in order:
        message = bytearray(CODEC.encode(some[number % len(some)]))
        message[4] = chance.choice([NEWPOLICY, NEWPOLICY, UPDPOLICY])
        for place in (*range(16, 48), 58, 59, *range(152, 176)):  # addresses, lengths, use, priority, index
            if place not in (58, 59):
                message[place] = chance.randrange(256)
        message[58] = chance.randrange(33)
        message[59] = chance.randrange(33)
        block += message
    compare(dumped([block]), one_by_one([block]))


@given(some=st.lists(policies(), min_size=2, max_size=4))
def test_kinds_that_differ_in_their_templates_alone(some: list[Policy]) -> None:
    """What they have in common is read once: a kind for each mixture of one's templates and another's rest, and
    attributes of the same type that are no templates."""
    mixed = [replace(one, templates=other.templates) for one in some for other in some]
    odd = [
        replace(one, attributes=(*one.attributes, Attribute(AttributeType.TMPL, bytes([size]) * size)))
        for one in some
        for size in (0, 60, 63)
    ]
    blocks = [CODEC.encode(one) for one in [*mixed, *odd, *mixed]]
    compare(dumped([b"".join(blocks)]), one_by_one(blocks))


def test_selectors_are_made_along_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [b"".join(RECORDED[:50])] * 6
    monkeypatch.setattr(policy_rows, "_selectors_are_read", False)
    found = Session(transport=FakeTransport(lambda message: blocks)).spd.dump()
    before = lazily_read()
    assert all(one.priority >= 0 for one in found)
    assert lazily_read() == before, "nobody asked"
    found = Session(transport=FakeTransport(lambda message: blocks)).spd.dump()
    assert all(one.selector.source for one in found)
    assert lazily_read() - before == 50, "the first block's"
    before = lazily_read()
    found = Session(transport=FakeTransport(lambda message: blocks)).spd.dump()
    assert all(one.selector.source for one in found)
    assert lazily_read() == before, "the next dump goes by the last"


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("keep", [1, 2, 3])
def test_what_is_kept_stays_as_it_was(keep: int, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that nobody holds are used again, whole or in part, for policies that follow; no others are."""
    making(monkeypatch, full)
    chance = random.Random(keep)
    blocks = [b"".join(chance.sample(RECORDED, 60)) for _ in range(10)]
    expected = one_by_one(blocks)
    found: list[Policy | None] = []
    selectors: list[Selector | None] = []
    texts = []
    for number, one in enumerate(Session(transport=FakeTransport(lambda message: blocks)).spd.dump()):
        texts.append(repr(one))  # reads all that was left empty
        found.append(one if number % keep == 0 else None)
        selectors.append(one.selector if number % keep == 1 else None)
    assert texts == list(map(repr, expected))
    for place, policy in enumerate(expected):
        kept, selector = found[place], selectors[place]
        if kept is not None:
            compare([kept], [policy])
        if selector is not None:
            assert (selector, repr(selector)) == (policy.selector, repr(policy.selector))
    assert sum(one is not None for one in found) == -(-len(expected) // keep)


def test_fields_that_somebody_forced_are_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    making(monkeypatch, True)
    blocks = [b"".join([RECORDED[0]] * 50)]
    for one in Session(transport=FakeTransport(lambda message: blocks)).spd.dump():
        assert values(one) == values(one_by_one(blocks)[0])
        object.__setattr__(one, "templates", ())
        object.__setattr__(one, "selector", None)
        object.__setattr__(one, "current", None)


def test_the_garbage_collector_has_nothing_to_do_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    making(monkeypatch, True)
    for one in dumped([b"".join(RECORDED[:50])]):
        assert not gc.is_tracked(one)
        assert not gc.is_tracked(one.selector)


NAMES = (Policy, policy_rows._POLICY, Selector, policy_rows._SELECTOR)


def test_wrong_arguments_of_the_maker() -> None:
    for arguments in (
        (),
        (*NAMES,),
        (*NAMES, 7),
        (Policy, ["direction"], Selector, (), ()),
        (Policy, ("nonsense",), Selector, (), ()),
        (Policy, ("id",), Selector, (), ()),
        (Policy, ("__init__",), Selector, (), ()),
        (object, (), Selector, (), ()),
        (Policy, ("direction",) * 17, Selector, (), ()),
        (Policy, (), int, (), ()),
        (Policy, ("source",), Selector, (), ()),
    ):
        with pytest.raises((TypeError, AttributeError, ValueError)):
            PolicyMaker(*arguments)
    assert list(PolicyMaker(*NAMES, ())) == []
    rows, argument = RowsDecoder(lambda: True).prepare(65536)
    block = b"".join(RECORDED[:5])
    assert RowsDecoder.function(argument, block, len(block)) == 0
    kind = (tuple(policy_rows._POLICY), tuple(policy_rows._SELECTOR))
    wrong: list[tuple[Any, type[Exception]]] = [
        ((rows, 0, [], []), ValueError),
        ((rows, "1", [], []), TypeError),
        ((rows, 1 << 80, [], []), OverflowError),
        ((rows,), TypeError),
        (7, TypeError),
        (rows.block([], []), IndexError),
        (rows.block([kind], []), IndexError),
        (rows.block([()], [None]), IndexError),
        (rows.block([7], [None]), SystemError),
        (rows.block([(kind[0][1:], kind[1])], [None]), IndexError),
    ]
    for one, error in wrong:
        with pytest.raises(error):
            next(PolicyMaker(*NAMES, [one]))
    both = PolicyMaker(*NAMES, [rows.block([kind] * 5, [None] * 5)] * 2)
    made = next(both)
    assert (made.direction, made.current, made.selector.family) == ("direction", None, "family")
    assert len(list(both)) == 9
    assert list(both) == []


def test_a_dump_is_like_a_generator(session: Session) -> None:
    session.spd.load(host(number) for number in range(300))

    def source(fail: bool) -> Iterator[Any]:
        with pytest.raises(ValueError, match="already executing"):
            next(made)
        with pytest.raises(ValueError, match="already executing"):
            made.close()
        if fail:
            raise OSError("broken")
        yield from ()

    for fail in (False, True):
        made = PolicyMaker(*NAMES, source(fail))
        if fail:
            with pytest.raises(OSError, match="broken"):
                next(made)
        assert list(made) == []
    found: Any = session.spd.dump()
    assert iter(found) is found
    assert len([next(found) for _ in range(3)]) == 3
    found.close()
    assert list(found) == []
    found.close()

    class Holder:
        dump: Any

    holder = Holder()
    holder.dump = PolicyMaker(*NAMES, (one for one in [holder]))
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None, "a cycle through a dump is collected"


def test_without_the_maker(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on PyPy, and on Pythons without a GIL."""
    session.spd.load([host(number, templates=[Template("192.0.2.1", "192.0.2.2")]) for number in range(300)])
    expected = list(session.spd.dump())
    monkeypatch.setattr(policy_rows, "PolicyMaker", None)
    compare(list(session.spd.dump()), expected)
    program = 'import sys; sys.modules["xfrm_ext._objects"] = None; from xfrm_ext.wire import policy_rows as room'
    shown = subprocess.run(
        [sys.executable, "-c", f"{program}; print(room.PolicyMaker)"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "None\n"


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def sockets() -> int:
    """Open ones."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


def test_a_dump_that_is_left(session: Session) -> None:
    """Its thread ends, and with it its socket, however it is left."""
    session.spd.load(host(number) for number in range(20_000))
    before = threads(), sockets()

    def closed(found: Iterator[Policy]) -> None:
        found.close()  # type: ignore[attr-defined]

    for leave in (closed, lambda found: None, lambda found: [next(found) for _ in range(15_000)]):
        found = session.spd.dump()
        assert [next(found) for _ in range(5_000)]
        assert threads() > before[0]
        leave(found)
        del found
        wait_for(lambda: threads() <= before[0] and sockets() <= before[1])
    assert sum(1 for _ in session.spd.dump()) == 20_000
    wait_for(lambda: threads() <= before[0] and sockets() <= before[1])


def test_a_session_closed_in_the_middle_of_a_dump(session: Session) -> None:
    session.spd.load(host(number) for number in range(20_000))
    found = session.spd.dump()
    some = [next(found) for _ in range(5_000)]
    session.close()
    assert len(some + list(found)) == 20_000, "a dump has a socket of its own"


def test_a_child_can_not_go_on_with_a_dump(session: Session) -> None:
    session.spd.load(host(number) for number in range(20_000))
    found = session.spd.dump()
    assert [next(found) for _ in range(5_000)]
    child = os.fork()
    if not child:
        status = 1
        try:
            try:
                list(found)
            except ClosedError:
                status = 0
            found.close()  # type: ignore[attr-defined]
            del found
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(found)) == 15_000, "the parent does"


def test_where_no_thread_can_be_started(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    session.spd.load(host(number) for number in range(20_000))
    monkeypatch.setattr("_thread.start_new_thread", refuse)
    before = sockets()
    assert len({one.index for one in session.spd.dump()}) == 20_000
    assert sockets() == before


def test_several_dumps_at_once(session: Session) -> None:
    session.spd.load(host(number) for number in range(20_000))
    first, second = session.spd.dump(), session.spd.dump()
    assert all(one == other for one, other in zip(first, second, strict=True))


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


def test_an_error_in_a_dump_ends_it() -> None:
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
    assert list(found) == []


def test_an_error_in_the_thread_ends_the_dump(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its order, behind the blocks before it."""
    session.spd.load(host(number) for number in range(20_000))
    before = threads(), sockets()
    prepare, blocks = RowsDecoder.prepare, []

    def prepare_too_little(self: RowsDecoder, size: int) -> Any:
        rows, argument = prepare(self, size)
        blocks.append(size)
        if len(blocks) == 5:
            rows._native.most = 1
        return rows, argument

    monkeypatch.setattr(RowsDecoder, "prepare", prepare_too_little)
    found, taken = session.spd.dump(), 0
    with pytest.raises(XfrmError):
        for taken, _one in enumerate(found, 1):  # noqa: B007
            pass
    assert 5_000 < taken < 15_000
    assert list(found) == []
    wait_for(lambda: threads() <= before[0] and sockets() <= before[1])


DECODERS: dict[str, Callable[[], Any]] = {
    "objects": lambda: RowsDecoder(lambda: False),
    "columns": lambda: Reader(list(POLICIES.values()), states=False, kept=0, capacity=1),
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS)
def test_a_kernel_that_is_silent(decoder: Callable[[], Any]) -> None:
    """The thread's wait has the dump's timeout; signals are looked at meanwhile."""
    with network_namespace() as netns, Session(netns) as session:
        handle = session._transport.open_beside()
        native = handle._native  # type: ignore[attr-defined]
        dump, data = ffi.new("struct rtnl_dump *"), ffi.new("uint8_t[]", 65536)
        dump.data, dump.capacity, dump.seq = data, 65536, 7
        start = time.monotonic()
        with _DumpAhead(decoder(), 65536) as ahead:
            assert ahead.start(native, dump, data, 0.3)
            codes = [ahead.take()]
            while codes[-1] == -errno.EINTR:
                codes.append(ahead.take())
        assert codes[-1] == -errno.ETIMEDOUT
        assert len(codes) > 2
        assert time.monotonic() - start >= 0.3
        handle.close()


class Stop(Exception):
    pass


class StopRunning(RuntimeError):
    """What _thread raises, too."""


def read_objects(session: Session) -> int:
    """No frame that an exception keeps may have the dump in a variable, as those of sum() and a generator would."""
    count = 0
    for _ in session.spd.dump():
        count += 1
    return count


def read_columns(session: Session) -> int:
    return session.spd.dump_columns(["priority"]).rows  # (numpy is there: an import does not stand such signals)


@pytest.mark.parametrize("stop", [Stop, StopRunning])
@pytest.mark.parametrize("read", [read_objects, read_columns])
def test_signals_at_any_moment(
    session: Session, stop: type[Exception], read: Callable[[Session], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that raises ends the dump and its thread, also if its exception is kept; the session goes on."""
    session.spd.load(host(number) for number in range(20_000))
    chance = random.Random(8)

    def handler(number: int, frame: FrameType | None) -> None:
        raise stop

    # What is raised while something is freed is lost to everybody; pytest's own hook would keep it, frames and all.
    monkeypatch.setattr(sys, "unraisablehook", lambda one: None)
    kept = []
    threads_before, sockets_before = threads(), sockets()
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(40):
            with pytest.raises(stop) as caught:  # noqa: PT012  it comes from anywhere
                # Again and again, therefore.
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, 2e-2), 0.02)
                try:
                    while True:
                        read(session)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            kept.append(caught.value)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    wait_for(lambda: threads() <= threads_before)
    kept.clear()
    del caught
    gc.collect()
    wait_for(lambda: sockets() <= sockets_before)
    assert read(session) == 20_000

# SPDX-License-Identifier: MIT
"""Many policies at once against the real kernel: whatever ends a load, its result says what is in the SPD."""

from __future__ import annotations

import errno
import random
import signal
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from types import FrameType
from typing import Any, Literal

import pytest

from xfrm_ext import (
    Action,
    AlreadyExists,
    ClosedError,
    KernelError,
    LifetimeCurrent,
    LoadError,
    LoadResult,
    Mark,
    NotFound,
    Policy,
    PolicyFlag,
    RepliesLost,
    ReplyTimeout,
    Selector,
    Session,
    Template,
    ValidationError,
)

MANY = 20_000
OnError = Literal["raise", "collect", "rollback"]


def host(number: int, first: int = 0x0A000000, **values: Any) -> Policy:
    """A policy for one pair of addresses, which the kernel finds by hash; its number is its priority."""
    address = socket.inet_ntoa((first + number).to_bytes(4, "big"))
    return Policy(Selector(address, "192.0.2.1"), direction="out", priority=number, **values)


@lru_cache
def hosts(count: int = MANY) -> list[Policy]:
    return [host(number) for number in range(count)]


def installed(session: Session) -> list[int]:
    """The numbers of the policies that are there."""
    return sorted(policy.priority for policy in session.spd.dump())


def failures(result: LoadResult) -> dict[int | None, type[Exception]]:
    return {error.index: type(error) for error in result.failed}


def check_account(result: LoadResult) -> None:
    """That each item which was taken is in one list, and in one only."""
    lists = [result.applied, result.unknown, result.not_sent, result.rolled_back]
    numbers = [number for one in lists for number in one] + [error.index for error in result.failed]
    assert sorted(number for number in numbers if number is not None) == list(range(result.taken))
    for one in lists:
        assert list(one) == sorted(one)
        assert len(one) == len(list(one))


def canonical(policies: Iterable[Policy]) -> list[Policy]:
    """Policies without what the kernel fills in."""
    return [replace(policy, index=0, current=LifetimeCurrent()) for policy in policies]


def block(policy: Policy) -> Policy:
    """The same policy with another action."""
    return Policy(policy.selector, direction=policy.direction, action="block", priority=policy.priority)


# --- loads that succeed ---------------------------------------------------------------------------------

SOURCES: dict[str, Callable[[], Iterable[Policy]]] = {
    "list": hosts,
    "tuple": lambda: tuple(hosts()),
    "generator": lambda: (policy for policy in hosts()),
    "dict's values": lambda: {policy.priority: policy for policy in hosts()}.values(),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_add_update_delete(session: Session, source: Callable[[], Iterable[Policy]]) -> None:
    result = session.spd.load(source())
    assert (list(result.applied), result.applied.ranges) == (list(range(MANY)), (range(MANY),))
    assert (result.failed, len(result.unknown), len(result.not_sent), result.taken) == ([], 0, 0, MANY)
    assert [policy.priority for policy in session.spd.dump()] == list(range(MANY))[::-1], "newest first"

    result = session.spd.load(map(block, source()), operation="update")
    assert (len(result.applied), result.failed) == (MANY, [])
    found = {policy.priority: policy.action for policy in session.spd.dump()}
    assert found == dict.fromkeys(range(MANY), Action.BLOCK)

    result = session.spd.load(source(), operation="delete")
    assert (len(result.applied), result.failed) == (MANY, [])
    assert session.spd.count().total == 0


@pytest.mark.parametrize("batch", [1, 2, 255, 4096, 65536])
def test_batch_sizes(session: Session, batch: int) -> None:
    count = min(5000, 100 * batch)
    source = hosts()[:count]
    for operation, left in (("add", count), ("update", count), ("delete", 0)):
        result = session.spd.load(source, operation=operation, batch=batch)  # type: ignore[arg-type]
        assert (len(result.applied), result.taken, result.failed) == (count, count, [])
        assert session.spd.count().total == left


def test_nothing(session: Session) -> None:
    calls: list[tuple[int, int | None]] = []
    sources: list[Iterable[Policy]] = [[], (), iter(())]
    for source in sources:
        result = session.spd.load(source, progress=lambda done, total: calls.append((done, total)))
        assert result == LoadResult("add")
        assert calls == []


def test_progress(session: Session) -> None:
    calls: list[tuple[int, int | None]] = []

    def progress(done: int, total: int | None) -> None:
        assert session.spd.count().total == done, "the session can be used meanwhile"
        calls.append((done, total))

    session.spd.load(hosts()[:1000], batch=300, progress=progress)
    assert calls == [(300, 1000), (600, 1000), (900, 1000), (1000, 1000)]
    calls.clear()
    session.spd.flush()
    session.spd.load(iter(hosts()[:600]), batch=300, progress=progress)
    assert calls == [(300, None), (600, None)]


def test_update_adds_what_is_missing(session: Session) -> None:
    session.spd.load(hosts()[:500])
    result = session.spd.load(
        [replace(policy, flags=PolicyFlag.ICMP) for policy in hosts()[:1000]], operation="update"
    )
    assert len(result.applied) == 1000
    assert [int(policy.flags) for policy in session.spd.dump()] == [2] * 1000


def test_a_fresh_namespace_takes_many(session: Session) -> None:
    """Whose hash tables have 8 buckets at first."""
    count = 60_000
    assert session.spd.count().hash_mask == 7
    result = session.spd.load([host(number) for number in range(count)])
    assert (len(result.applied), result.failed) == (count, [])
    info = session.spd.count()
    assert (info.output, info.total) == (count, count)
    assert info.hash_mask > 7


def test_a_generator_is_read_in_constant_memory(session: Session) -> None:
    count = 100_000
    session.spd.load(hosts())  # what is made once has been made
    session.spd.flush()
    tracemalloc.start()
    try:
        result = session.spd.load(host(number) for number in range(count))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(result.applied), session.spd.count().total) == (count, count)
    assert peak < 5_000_000


# --- refusals -------------------------------------------------------------------------------------------

TWICE = (1, 255, 256, 5000, 5001, 5002, 12_345, MANY - 1)


def with_duplicates() -> list[Policy]:
    """Many policies; those at the places TWICE repeat an earlier one's selector."""
    policies = list(hosts())
    for number in TWICE:
        policies[number] = replace(policies[0], priority=number)
    return policies


@pytest.mark.parametrize("batch", [7, 64, 256, 5000])
def test_collect(session: Session, batch: int) -> None:
    result = session.spd.load(with_duplicates(), on_error="collect", batch=batch)
    check_account(result)
    assert failures(result) == dict.fromkeys(TWICE, AlreadyExists)
    assert [str(error) for error in result.failed] == [f"add (item {i}): File exists [EEXIST]" for i in TWICE]
    assert list(result.applied) == installed(session) == [i for i in range(MANY) if i not in TWICE]
    assert result.summary() == f"{MANY - len(TWICE)} applied, {len(TWICE)} failed"


def test_collect_refusals_of_several_kinds(session: Session) -> None:
    policies = hosts()[:1000]
    policies[10] = replace(policies[10], templates=(Template(protocol="ipsec-any"),))
    policies[500] = replace(policies[3], priority=500)
    policies[999] = replace(policies[999], templates=(Template(mode="tunnel", level="use"),))
    result = session.spd.load(policies, on_error="collect")
    check_account(result)
    found = [
        (error.index, error.errno, error.kernel_text) for error in result.failed if isinstance(error, KernelError)
    ]
    assert found == [
        (10, errno.EINVAL, "Invalid XFRM protocol in template"),
        (500, errno.EEXIST, ""),
        (999, errno.EINVAL, "Mode in optional template not allowed in outbound policy"),
    ]
    assert list(result.applied) == installed(session)


def test_collect_when_all_are_refused(session: Session) -> None:
    session.spd.load(hosts())
    result = session.spd.load(hosts(), on_error="collect")
    check_account(result)
    assert len(result.applied) == 0
    assert failures(result) == dict.fromkeys(range(MANY), AlreadyExists)


@pytest.mark.parametrize("operation", ["delete", "update"])
def test_collect_with_items_that_are_missing(session: Session, operation: Literal["delete", "update"]) -> None:
    session.spd.load(hosts()[0:3000:2])
    result = session.spd.load(hosts()[:3000], operation=operation, on_error="collect")
    check_account(result)
    if operation == "update":
        assert (len(result.applied), session.spd.count().total) == (3000, 3000)
        return
    assert failures(result) == dict.fromkeys(range(1, 3000, 2), NotFound)
    assert str(result.failed[0]) == "delete (item 1): No such file or directory [ENOENT]"
    assert list(result.applied) == list(range(0, 3000, 2))
    assert session.spd.count().total == 0


@pytest.mark.parametrize("batch", [1, 100, 256])
def test_raise(session: Session, batch: int) -> None:
    """Nothing follows the send in which an item was refused; the others in that send are as the result says, and so
    is what was read from the source, but not sent."""
    policies = hosts()[:5000]
    for number in (3000, 3003, 4000):
        policies[number] = replace(policies[0], priority=number)
    with pytest.raises(LoadError) as caught:
        session.spd.load(iter(policies), batch=batch)
    error, result = caught.value, caught.value.result
    assert isinstance(error.__cause__, AlreadyExists)
    assert (error.__cause__.index, error.__cause__.operation) == (3000, "add")
    assert str(error) == f"add: {result.summary()}; {error.__cause__}"
    check_account(result)
    end = (3000 // batch + 1) * batch
    assert end <= result.taken <= 5000
    refused = [number for number in (3000, 3003) if number < end]
    assert failures(result) == dict.fromkeys(refused, AlreadyExists)
    assert list(result.applied) == installed(session) == [i for i in range(end) if i not in refused]
    assert not result.unknown
    assert list(result.not_sent) == list(range(end, result.taken))


VARIANTS: list[dict[str, Any]] = [
    {},
    {"direction": 0},
    {"direction": 2},
    {"mark": Mark(1)},
    {"mark": Mark(1, 1)},
    {"mark": Mark(0)},
    {"if_id": 1},
    {"if_id": 2, "mark": Mark(1)},
    {"policy_type": "sub"},
    {"policy_type": "sub", "if_id": 1},
]


@pytest.mark.parametrize("batch", [16, 256])
def test_rollback_removes_what_was_added_and_nothing_else(session: Session, batch: int) -> None:
    """Policies of others have the same selectors, and differ in direction, type, mark or if_id."""
    selectors = [policy.selector for policy in hosts()[:300]]
    family = [Policy(one, **{"direction": 1, **names}) for one in selectors for names in VARIANTS]
    theirs, ours = family[::2], family[1::2]
    session.spd.load(theirs)
    before = list(session.spd.dump())
    ours = [*ours[:1400], theirs[700], *ours[1400:]]
    with pytest.raises(LoadError, match="rolled back") as caught:
        session.spd.load(ours, on_error="rollback", batch=batch)
    result = caught.value.result
    check_account(result)
    assert failures(result) == {1400: AlreadyExists}
    end = min((1400 // batch + 1) * batch, len(ours))
    assert list(result.rolled_back) == [number for number in range(end) if number != 1400]
    assert (len(result.applied), len(result.unknown)) == (0, 0)
    assert list(session.spd.dump()) == before
    result = session.spd.load(ours[:1400], on_error="rollback", batch=batch)
    assert len(result.applied) == 1400, "and without an error there is no rollback"
    assert session.spd.count().total == len(theirs) + 1400


def test_rollback_of_many(session: Session) -> None:
    session.spd.load([host(number, 0x14000000) for number in range(500)])
    before = list(session.spd.dump())
    with pytest.raises(LoadError) as caught:
        session.spd.load([*hosts(), hosts()[5]], on_error="rollback")
    check_account(caught.value.result)
    assert failures(caught.value.result) == {MANY: AlreadyExists}
    assert len(caught.value.result.rolled_back) == MANY
    assert list(session.spd.dump()) == before


def test_rollback_of_duplicates_of_ones_own(session: Session) -> None:
    with pytest.raises(LoadError) as caught:
        session.spd.load([hosts()[0], hosts()[1], hosts()[0]], on_error="rollback")
    assert list(caught.value.result.rolled_back) == [0, 1]
    assert session.spd.count().total == 0


def test_rollback_of_what_others_removed_meanwhile(session: Session) -> None:
    def progress(done: int, total: int | None) -> None:
        if done == 200:
            session.spd.delete(hosts()[7])
            session.spd.update(replace(hosts()[8], priority=77))

    with pytest.raises(LoadError) as caught:
        session.spd.load([*hosts()[:250], hosts()[0]], on_error="rollback", batch=100, progress=progress)
    check_account(caught.value.result)
    assert session.spd.count().total == 0


# --- interruptions --------------------------------------------------------------------------------------


class Stop(Exception):
    """Raised by a source, a progress callback or a signal handler."""


def check_interrupted(session: Session, error: BaseException, before: list[int], on_error: OnError) -> LoadResult:
    """That the result an exception carries is what is in the SPD."""
    result = getattr(error, "load_result", None)
    assert isinstance(result, LoadResult)
    check_account(result)
    assert len(result.unknown) == 0
    assert sorted(before + list(result.applied)) == installed(session)
    if on_error == "rollback":
        assert len(result.applied) == 0
    else:
        assert len(result.rolled_back) == 0
    return result


@contextmanager
def handling(number: signal.Signals, handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("on_error", ["raise", "collect", "rollback"])
def test_ctrl_c_from_the_progress_callback(session: Session, on_error: OnError) -> None:
    def progress(done: int, total: int | None) -> None:
        if done >= 5000:
            signal.raise_signal(signal.SIGINT)

    session.spd.load([host(MANY, 0x14000000)])
    with handling(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt) as caught:
        session.spd.load(hosts(), on_error=on_error, progress=progress)
    result = check_interrupted(session, caught.value, [MANY], on_error)
    assert result.taken == 5120
    assert len(result.rolled_back if on_error == "rollback" else result.applied) == 5120


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("on_error", ["raise", "collect", "rollback"])
def test_signals_at_any_moment(session: Session, on_error: OnError, generator: bool) -> None:
    """A handler that raises, as that of Ctrl-C does, between any two steps of a load."""
    chance = random.Random(f"{on_error} {generator}")
    source = hosts()
    if on_error == "collect":
        source = [source[0] if number % 10 == 9 else policy for number, policy in enumerate(source)]

    def progress(done: int, total: int | None) -> None:
        if done == 64:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 3e-3))

    def handler(number: int, frame: FrameType | None) -> None:
        raise Stop

    with handling(signal.SIGALRM, handler):
        for _ in range(25):
            session.spd.flush()
            policies = (policy for policy in source) if generator else source
            with pytest.raises(Stop) as caught:
                session.spd.load(policies, on_error=on_error, batch=16, progress=progress)
            result = check_interrupted(session, caught.value, [], on_error)
            assert 64 <= result.taken < MANY


def test_signals_whose_handler_returns_do_no_harm(session: Session) -> None:
    came: list[int] = []
    with handling(signal.SIGALRM, lambda number, frame: came.append(number)):
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        try:
            result = session.spd.load(iter(hosts()), batch=16)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    assert came
    assert len(result.applied) == MANY
    assert installed(session) == list(range(MANY))


@pytest.mark.parametrize("on_error", ["raise", "collect", "rollback"])
def test_a_source_that_fails(session: Session, on_error: OnError) -> None:
    def source() -> Iterator[Policy]:
        yield from hosts()[:1000]
        raise Stop("no more")

    with pytest.raises(Stop, match="no more") as caught:
        session.spd.load(source(), on_error=on_error)
    result = check_interrupted(session, caught.value, [], on_error)
    assert result.taken == 1000
    assert list(result.not_sent) == list(range(768, 1000))


def test_a_source_of_something_else(session: Session) -> None:
    broken: Any = iter([*hosts()[:300], "a policy", *hosts()[300:600]])
    with pytest.raises(ValidationError, match=r"source\[300\]: 'a policy' is not a Policy") as caught:
        session.spd.load(broken, batch=100)
    result = check_interrupted(session, caught.value, [], "raise")
    assert (list(result.applied), result.taken) == (list(range(300)), 400)
    with pytest.raises(ValidationError, match=r"source\[1\]: None is not a Policy"):
        session.spd.load([hosts()[700], None])  # type: ignore[list-item]
    assert session.spd.count().total == 300, "nothing of a list is sent when an item is wrong"


def test_a_session_that_is_closed_in_the_middle(namespace: int) -> None:
    with Session(namespace) as session, Session(namespace) as other:

        def progress(done: int, total: int | None) -> None:
            if done == 512:
                session.close()

        with pytest.raises(ClosedError) as caught:
            session.spd.load(hosts(), progress=progress)
        result = check_interrupted(other, caught.value, [], "raise")
        assert (len(result.applied), list(result.not_sent)) == (512, list(range(512, 768)))


# --- deadlines and lost replies -------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["raise", "collect", "rollback"])
def test_timeout(session: Session, on_error: OnError) -> None:
    end = time.monotonic() + 0.15

    def progress(done: int, total: int | None) -> None:
        while done == 512 and time.monotonic() < end:
            pass

    with pytest.raises(LoadError, match="the time is up") as caught:
        session.spd.load(hosts(), on_error=on_error, progress=progress, timeout=0.1)
    result = caught.value.result
    assert isinstance(caught.value.__cause__, ReplyTimeout)
    check_account(result)
    assert len(result.unknown) == 0
    assert list(result.applied) == installed(session)
    if on_error != "rollback":
        assert 256 <= len(result.applied) <= 512
    assert len(result.applied) + len(result.rolled_back) + 256 == result.taken
    assert len(result.not_sent) == 256


def test_a_timeout_before_anything_was_sent(session: Session) -> None:
    with pytest.raises(LoadError, match="the time is up") as caught:
        session.spd.load(hosts(), timeout=1e-9)
    assert (len(caught.value.result.applied), list(caught.value.result.not_sent)) == (0, list(range(256)))
    assert session.spd.count().total == 0


def test_a_timeout_while_the_kernel_works(session: Session) -> None:
    """Replacing a policy for a prefix makes the kernel walk all of them."""
    nets = [Policy(Selector(f"10.{i >> 8}.{i & 255}.0/24"), direction="out", priority=i) for i in range(4000)]
    session.spd.load(nets)
    blocked = [block(policy) for policy in nets]
    started = time.monotonic()
    session.spd.load(blocked, operation="update", batch=32)
    whole = time.monotonic() - started
    with pytest.raises(LoadError, match="the time is up") as caught:
        session.spd.load(nets, operation="update", batch=32, timeout=whole / 3)
    result = caught.value.result
    check_account(result)
    assert len(result.unknown) == 0
    assert 0 < len(result.applied) < 4000
    allowed = sorted(policy.priority for policy in session.spd.dump() if policy.action == Action.ALLOW)
    assert list(result.applied) == allowed


def test_replies_that_are_lost(session: Session) -> None:
    """Their items are unknown, and no others; the session goes on to work."""
    transport: Any = session._transport
    handle = transport._transport
    handle.set_buffers(1 << 20, 0)
    handle._native.receive_buffer = 1 << 30  # gets round what keeps replies from being lost
    session.spd.load(hosts()[0:1000:2])
    with pytest.raises(LoadError, match="replies were lost") as caught:
        session.spd.load(hosts()[:1000], on_error="collect", batch=500)
    result = caught.value.result
    assert isinstance(caught.value.__cause__, RepliesLost)
    check_account(result)
    assert result.taken == 500
    assert len(result.unknown) + len(result.failed) == 500
    assert set(installed(session)) == {*range(1, 500, 2), *range(0, 1000, 2)}

    handle._native.overrun = 0  # leaves out what makes the kernel speak again: the next reply is dropped
    with pytest.raises(LoadError, match="the time is up") as caught:
        session.spd.load(hosts()[:100], operation="delete", batch=10, timeout=0.1)
    result = caught.value.result
    assert isinstance(caught.value.__cause__, ReplyTimeout)
    check_account(result)
    assert (list(result.unknown), result.taken) == (list(range(10)), 10)
    assert installed(session)[0] == 10

    result = session.spd.load(hosts()[1000:1100])
    assert len(result.applied) == 100

# SPDX-License-Identifier: MIT
"""Subscriptions against the real kernel: each kind of event, losses, several namespaces, ends of all sorts."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from xfrm_ext import (
    BusyError,
    ClosedError,
    Event,
    Group,
    LifetimeConfig,
    Message,
    Mode,
    Overrun,
    Policy,
    PolicyType,
    Protocol,
    ProtocolError,
    Selector,
    Session,
    Subscription,
    Template,
    ValidationError,
    subscription,
)
from xfrm_ext.algorithm import AeadAlgorithm
from xfrm_ext.attribute import Attribute
from xfrm_ext.codec import native
from xfrm_ext.encapsulation import Encapsulation
from xfrm_ext.event import Acquire, AsyncEvent, PolicyExpired, StateExpired
from xfrm_ext.info import PolicyDefaults
from xfrm_ext.replay import ReplayState
from xfrm_ext.request import Request
from xfrm_ext.rtnl import open_byproto
from xfrm_ext.secret import Secret
from xfrm_ext.state import State
from xfrm_ext.state_request import SpiRequest
from xfrm_ext.testing import FakeTransport, inside, network_namespace

NETLINK_ROUTE, NETLINK_XFRM = 0, 6
DEFAULTS = PolicyDefaults("accept", "block", "accept")
RTM_NEWNSID = 88


@pytest.fixture
def events(session: Session) -> Iterator[Subscription]:
    """A subscription to all groups."""
    with session.subscribe() as subscription:
        yield subscription


def numbered(number: int) -> Policy:
    """A policy that is known by its priority."""
    return Policy(Selector(f"10.0.{number >> 8}.{number & 255}/32"), direction="out", priority=number)


def next_event(subscription: Subscription) -> Event:
    event = subscription.get(timeout=10)
    assert isinstance(event, Event), event
    return event


def number_of(event: Event | Overrun | None) -> int:
    assert isinstance(event, Event), event
    assert event.message == Message.NEWPOLICY
    assert isinstance(event.body, Policy)
    return event.body.priority


def drain(subscription: Subscription) -> list[Event | Overrun]:
    found: list[Event | Overrun] = []
    while (event := subscription.get(timeout=0)) is not None:
        found.append(event)
    return found


# --- kinds of events ------------------------------------------------------------------------------------


def test_changes_of_the_spd(session: Session, events: Subscription, namespace: int) -> None:
    pure = Session(namespace, codec="pure")
    also = pure.subscribe()
    policy = numbered(1)
    session.spd.add(policy)
    there = session.spd.get(policy)
    session.spd.update(policy)
    session.spd.delete(policy)
    session.spd.add(policy)
    session.spd.flush()
    session._transport.talk(native.encode(Request(Message.SETDEFAULT, DEFAULTS)), "set defaults", timeout=10)
    found = [next_event(events) for _ in range(6)]
    assert [event.message for event in found] == [
        Message.NEWPOLICY,
        Message.UPDPOLICY,
        Message.DELPOLICY,
        Message.NEWPOLICY,
        Message.FLUSHPOLICY,
        Message.GETDEFAULT,
    ]
    assert found[0].body == there
    assert [event.body.selector for event in found[:4] if isinstance(event.body, Policy)] == [policy.selector] * 4
    assert found[4].body == PolicyType.MAIN
    assert found[5].body == DEFAULTS
    assert events.get(timeout=0) is None
    with pure, also:
        assert drain(also) == found


def test_policy_that_expires(session: Session, events: Subscription) -> None:
    policy = Policy(direction="out", priority=5, lifetime=LifetimeConfig(hard_add_expires_seconds=1))
    session.spd.add(policy)
    assert next_event(events).message == Message.NEWPOLICY
    event = next_event(events)
    assert (event.message, event.port, event.sequence) == (Message.POLEXPIRE, 0, 0)
    assert isinstance(event.body, PolicyExpired)
    assert (event.body.hard, event.body.policy.priority) == (True, 5)
    assert event.body.policy.lifetime == policy.lifetime
    assert (list(session.spd.dump()), events.get(timeout=0)) == ([], None), "it is gone, and nothing more is told"


def raw(kind: Message, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 1, 0, 0) + body


def allocate(session: Session) -> State:
    """Makes a larval state."""
    request = SpiRequest(State("10.0.0.1", "10.0.0.2", spi=0, reqid=3), 0x1000, 0x1FFF)
    reply = session._transport.talk(native.encode(request), "allocate an SPI", answer=True, timeout=10)
    state = native.decode(reply)
    assert isinstance(state, State)
    return state


def test_larval_state_that_expires(session: Session, events: Subscription, namespace: int) -> None:
    setting = Path("/proc/sys/net/core/xfrm_acq_expires")
    with inside(namespace):
        if not setting.exists():
            pytest.skip("the kernel shows xfrm_acq_expires only to root of the whole machine")
        setting.write_text("1")
    state = allocate(session)
    event = next_event(events)
    assert (event.message, event.port, event.sequence) == (Message.EXPIRE, 0, 0)
    assert isinstance(event.body, StateExpired)
    assert event.body.hard
    assert event.body.state.id == state.id


def test_packet_that_needs_a_state(session: Session, events: Subscription, namespace: int) -> None:
    template = Template("127.0.0.1", "127.0.0.2", mode=Mode.TRANSPORT, reqid=7)
    session.spd.add(Policy(Selector(destination="127.0.0.2/32"), direction="out", templates=[template]))
    with inside(namespace):
        Path("/proc/sys/net/ipv4/conf/lo/disable_xfrm").write_text("0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            interface = struct.pack("16sH14x", b"lo", 1)  # struct ifreq, IFF_UP
            fcntl.ioctl(sender, 0x8914, interface)  # SIOCSIFFLAGS
            sender.setblocking(False)
            sender.sendto(b"x", ("127.0.0.2", 99))
        assert next_event(events).message == Message.NEWPOLICY
        event = next_event(events)
        assert event.message == Message.ACQUIRE
        acquire = event.body
        assert isinstance(acquire, Acquire)
        assert (acquire.source, acquire.destination, acquire.reqid) == ("127.0.0.1", "127.0.0.2", 7)
        assert (acquire.selector.destination, acquire.selector.destination_port) == ("127.0.0.2/32", 99)
        assert acquire.policy.templates == (template,)
        assert acquire.sequence
        with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", ("127.0.0.2", 99))
        assert events.get(timeout=0) is None, "one is enough"


def test_groups(session: Session) -> None:
    """Events of other groups do not come."""
    with session.subscribe("sa", Group.EXPIRE, 1) as others, session.subscribe("policy") as policies:
        session.spd.add(numbered(1))
        assert number_of(policies.get(timeout=10)) == 1
        assert others.get(timeout=0) is None
        session._transport.talk(native.encode(Request(Message.DELSA, allocate(session).id)), "delete", timeout=10)
        event = next_event(others)
        assert event.message == Message.DELSA
        assert isinstance(event.body, State)
        assert event.body.reqid == 3
        assert policies.get(timeout=0) is None


# --- whose changes --------------------------------------------------------------------------------------


def test_own_changes(session: Session, events: Subscription, namespace: int) -> None:
    with Session(namespace) as other:
        assert other.port != session.port
        session.spd.add(numbered(1))
        other.spd.add(numbered(2))
        session.spd.load([numbered(3), numbered(4)])
        list(session.spd.dump())
        session.spd.flush()
        found = [next_event(events) for _ in range(5)]
        assert [event.port for event in found] == [session.port, other.port, *[session.port] * 3]
        assert [events.is_own(event) for event in found] == [True, False, True, True, True]
    assert found[3].sequence == found[2].sequence + 1, "in the order of the requests"
    assert not events.is_own(Overrun())


def give_id(namespace: int, other: int, number: int) -> None:
    """Gives another namespace an id in this one, as `ip netns set` does."""
    body = struct.pack("=B3x", socket.AF_UNSPEC) + struct.pack("=HHiHHI", 8, 1, number, 8, 3, other)
    with open_byproto(protocol=NETLINK_ROUTE, netns=namespace) as handle:
        handle.talk(struct.pack("=IHHII", 16 + len(body), RTM_NEWNSID, 1, 0, 0) + body, "set nsid", timeout=10)


def test_all_namespaces(session: Session, namespace: int) -> None:
    with network_namespace() as second, network_namespace() as third:
        give_id(namespace, second, 77)
        with (
            Session(second) as other,
            Session(third) as unknown,
            session.subscribe(all_namespaces=True) as everywhere,
            session.subscribe() as here,
        ):
            session.spd.add(numbered(1))
            other.spd.add(numbered(2))
            unknown.spd.add(numbered(3))  # has no id here: not heard
            other.spd.add(numbered(4))
            found = drain(everywhere)
            assert [number_of(event) for event in found] == [1, 2, 4]
            assert [event.namespace_id for event in found if isinstance(event, Event)] == [None, 77, 77]
            assert [everywhere.is_own(event) for event in found] == [True, False, False]
            assert [number_of(event) for event in drain(here)] == [1]


def test_ports_of_other_namespaces_are_not_ours(session: Session, namespace: int) -> None:
    """The same port number in another namespace is another socket."""
    with network_namespace() as second:
        give_id(namespace, second, 5)
        with inside(second), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as other:
            other.bind((session.port, 0))
            with session.subscribe(all_namespaces=True) as everywhere:
                wire = numbered(1)._wire
                other.send(wire[:6] + struct.pack("=HII", 1, 0, session.port) + wire[16:])
                event = next_event(everywhere)
        assert (event.port, event.namespace_id) == (session.port, 5)
        assert not everywhere.is_own(event)


def test_in_the_namespace_of_the_session(session: Session) -> None:
    """Wherever the thread is that subscribes."""
    with network_namespace() as third, inside(third), session.subscribe() as events:
        session.spd.add(numbered(1))
        assert number_of(events.get(timeout=10)) == 1


# --- losses ---------------------------------------------------------------------------------------------


def test_overrun_stands_where_events_were_lost(session: Session) -> None:
    with session.subscribe(buffer=0) as events:
        session.spd.load(map(numbered, range(200)))
        session.spd.add(numbered(1000))
        found = drain(events)
        assert found.count(Overrun()) == 1
        assert found[-1] == Overrun()
        assert [number_of(event) for event in found[:-1]] == list(range(len(found) - 1))
        assert 0 < len(found) - 1 < 200
        session.spd.add(numbered(1001))
        assert number_of(events.get(timeout=10)) == 1001, "it goes on"
        assert events.get(timeout=0) is None


def test_a_dump_after_the_overrun_misses_nothing(session: Session) -> None:
    """While events are read, in the middle of a loss, more changes happen, and are lost without a further word of
    the kernel's. Whoever dumps when the Overrun comes knows them all the same."""
    with session.subscribe(buffer=0) as events:
        session.spd.load(map(numbered, range(200)))
        known = {number_of(events.get(timeout=0))}
        session.spd.add(numbered(500))  # in the middle
        for event in events:
            if event == Overrun():
                known = {policy.priority for policy in session.spd.dump()}
                break
            known.add(number_of(event))
        session.spd.add(numbered(501))
        known |= {number_of(event) for event in drain(events)}
        assert known == {*range(200), 500, 501}


def test_every_loss_is_told(session: Session) -> None:
    with session.subscribe(buffer=0) as events:
        for start in range(0, 1000, 200):
            session.spd.load(map(numbered, range(start, start + 200)))
            found = drain(events)
            assert (found.count(Overrun()), found[-1]) == (1, Overrun())


def test_the_overrun_comes_in_a_storm_too(session: Session) -> None:
    """When events come as fast as they are read, the queue is never seen empty."""
    with session.subscribe(buffer=0) as events:
        session.spd.load(map(numbered, range(200)))
        for number in range(200, 2000):
            session.spd.add(numbered(number))
            if events.get(timeout=0) == Overrun():
                break
        else:
            pytest.fail("no Overrun among 1,800 events")


SMALL = 1 << 17
"""Bytes of a queue in the kernel that holds a few hundred policies."""


def held(session: Session) -> int:
    """How many events such a queue holds."""
    with session.subscribe("policy", buffer=SMALL) as events:
        session.spd.load(map(numbered, range(1000)))
        count = len(drain(events)) - 1
    session.spd.flush()
    assert 64 < count < 1000
    return count


def test_reading_one_empties_the_kernels_queue(session: Session) -> None:
    """Ten times what fits into it, and only every hundredth is read meanwhile: the others wait in memory."""
    step = held(session) // 2
    with session.subscribe("policy", buffer=SMALL) as events:
        for start in range(0, 20 * step, step):
            session.spd.load(map(numbered, range(start, start + step)))
            assert number_of(events.get(timeout=0)) == start // step
        assert [number_of(event) for event in drain(events)] == list(range(20, 20 * step))


def test_the_kernels_queue_is_not_forgotten_while_decoded_events_are_handed_out(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow their reader is: the queue is emptied when some time has passed, too."""
    monkeypatch.setattr(subscription, "_BATCH", 1000)
    monkeypatch.setattr(subscription, "_PATIENCE", 0.0)
    step = held(session) // 2
    with session.subscribe("policy", buffer=SMALL) as events:
        session.spd.load(map(numbered, range(step)))
        for turn in range(1, 10):
            assert number_of(events.get(timeout=0)) == turn - 1
            session.spd.load(map(numbered, range(turn * step, turn * step + step)))
        assert [number_of(event) for event in drain(events)] == list(range(9, 10 * step))


def test_the_backlog_is_limited(session: Session) -> None:
    """Beyond it events wait in the kernel, and then are lost, and that is told."""
    step = held(session) // 2
    with session.subscribe("policy", buffer=SMALL, backlog=step * 100) as events:
        for start in range(0, 20 * step, step):
            session.spd.load(map(numbered, range(start, start + step)))
            assert number_of(events.get(timeout=0)) == start // step
        found = drain(events)
        assert found.count(Overrun()) == 1
        assert found[-1] == Overrun(), "the socket was seen empty after all that was in it"
        assert [number_of(event) for event in found[:-1]] == list(range(20, 19 + len(found)))
        session.spd.add(numbered(60000))
        assert number_of(events.get(timeout=10)) == 60000
        with session.subscribe("policy", backlog=0) as smallest:
            session.spd.load(map(numbered, range(50000, 50300)))
            assert [number_of(event) for event in drain(smallest)] == list(range(50000, 50300))


def test_several_losses_each_in_its_place(session: Session) -> None:
    """Told one behind the other, with what came in between, though all was in memory before the first was read."""
    with session.subscribe("policy", buffer=SMALL) as events:
        session.spd.add(numbered(60000))
        assert number_of(events.get(timeout=10)) == 60000
        for start in range(0, 3000, 1000):
            session.spd.load(map(numbered, range(start, start + 1000)))
            events._fill(0)
        found = drain(events)
    places = [place for place, event in enumerate(found) if event == Overrun()]
    assert len(places) == 3
    assert places[-1] == len(found) - 1
    first = [number_of(found[place]) for place in (0, places[0] + 1, places[1] + 1)]
    assert first == [0, 1000, 2000]


# --- many at a time -------------------------------------------------------------------------------------


def test_get_many(session: Session, events: Subscription) -> None:
    assert events.get_many(timeout=0) == []
    assert events.get_many(10, 0.01) == []
    session.spd.load(map(numbered, range(300)))
    found = events.get_many()
    assert number_of(found[-1]) == len(found) - 1 == 299, "all that is there"
    session.spd.load(map(numbered, range(300, 2000)))
    assert number_of(events.get(timeout=0)) == 300
    found = []
    while many := events.get_many(50, timeout=0):
        assert len(many) <= 50
        found += many
    assert [number_of(event) for event in found] == list(range(301, 2000))


def test_get_many_returns_all_that_single_gets_do(session: Session) -> None:
    with session.subscribe("policy", buffer=0) as events, session.subscribe("policy", buffer=0) as also:
        session.spd.load(map(numbered, range(200)))
        found = []
        while many := events.get_many(7, timeout=0):
            found += many
        assert found == drain(also)
        assert found[-1] == Overrun()


def test_get_many_waits_for_the_first(session: Session, events: Subscription) -> None:
    with on_alarm(lambda: session.spd.add(numbered(1))):
        assert [number_of(event) for event in events.get_many()] == [1]
    with on_alarm(events.close), pytest.raises(ClosedError):
        events.get_many()


def test_get_many_ends_before_what_makes_no_sense() -> None:
    kernel = FakeTransport(lambda message: None)
    with Session(transport=kernel) as session, session.subscribe() as events:
        kernel.announce(numbered(1)._wire)
        kernel.announce(numbered(2)._wire + bytes(16))
        kernel.announce(numbered(3)._wire)
        assert [number_of(event) for event in events.get_many(timeout=0)] == [1]
        with pytest.raises(ProtocolError, match="lengths that do not fit"):
            events.get_many(timeout=0)
        assert number_of(events.get_many(timeout=0)[0]) == 3
        assert events.get_many(timeout=0) in ([Overrun()], [])


@pytest.mark.parametrize("most", [0, -1, 1.5, "many", None, True, 1 << 21])
def test_bad_numbers_of_events(most: object) -> None:
    session = Session(transport=FakeTransport(lambda message: None))
    with session.subscribe() as events, pytest.raises(ValidationError, match="most: "):
        events.get_many(most, timeout=0)  # type: ignore[arg-type]


def test_the_buffer_is_as_large_as_asked(session: Session) -> None:
    with session.subscribe(buffer=1 << 16) as small, session.subscribe() as usual:
        with socket.socket(fileno=os.dup(small.fileno())) as same:
            given = same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert small.receive_buffer == given == 2 << 16
        assert usual.receive_buffer > small.receive_buffer
        count = usual.receive_buffer // 2048
        session.spd.load(map(numbered, range(count)))
        assert [number_of(event) for event in drain(usual)] == list(range(count))


def test_other_senders_are_not_heard(session: Session, events: Subscription, namespace: int) -> None:
    """Root may send to the groups, and anybody to the socket's port. Neither is the kernel."""
    message = numbered(66)._wire
    with inside(namespace), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as other:
        other.bind((0, 0))
        with socket.socket(fileno=os.dup(events.fileno())) as same:
            port = same.getsockname()[0]
        other.sendto(message, (port, 0))
        assert select.select([events], [], [], 10)[0], "it was delivered"
        assert events.get(timeout=0) is None
        with suppress(PermissionError):  # ordinary users may not even try
            other.sendto(message, (other.getsockname()[0], 1 << (Group.POLICY - 1)))
            assert select.select([events], [], [], 10)[0], "it was delivered"
        session.spd.add(numbered(1))
        assert number_of(events.get(timeout=10)) == 1
        assert events.get(timeout=0) is None


# --- waiting --------------------------------------------------------------------------------------------


def test_timeouts(session: Session, events: Subscription) -> None:
    started = time.monotonic()
    assert events.get(timeout=0.05) is None
    assert 0.05 <= time.monotonic() - started < 5
    assert events.poll() is None
    session.spd.add(numbered(1))
    assert number_of(events.poll()) == 1


def test_select(session: Session, events: Subscription) -> None:
    assert select.select([events], [], [], 0)[0] == []
    session.spd.add(numbered(1))
    assert select.select([events], [], [], 10)[0] == [events]
    assert number_of(events.get(timeout=0)) == 1
    assert select.select([events], [], [], 0)[0] == []


@pytest.mark.parametrize("buffer", [0, 1 << 20])
def test_asyncio(session: Session, buffer: int) -> None:
    """In an event loop, also when the loop is told of nothing but a loss."""

    async def listen(events: Subscription) -> list[Event | Overrun]:
        found: list[Event | Overrun] = []
        over = asyncio.Event()
        loop = asyncio.get_running_loop()

        def readable() -> None:
            found.extend(drain(events))
            if Overrun() in found or len(found) == 200:
                over.set()

        loop.add_reader(events, readable)
        await loop.run_in_executor(None, lambda: session.spd.load(map(numbered, range(200))))
        await asyncio.wait_for(over.wait(), 10)
        loop.remove_reader(events)
        return found

    with session.subscribe(buffer=buffer) as events:
        found = asyncio.run(listen(events))
    assert (Overrun() in found) is (buffer == 0)


def test_iteration(session: Session, events: Subscription) -> None:
    session.spd.load(map(numbered, range(3)))
    found = []
    for event in events:
        found.append(number_of(event))
        if len(found) == 3:
            break
    assert found == [0, 1, 2]


class Stop(Exception):
    """Raised by signal handlers here."""


@contextmanager
def on_alarm(act: Callable[[], object], after: float = 0.02) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        act()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_that_returns_lets_it_go_on(session: Session, events: Subscription) -> None:
    with on_alarm(lambda: session.spd.add(numbered(1))):
        assert number_of(events.get()) == 1


def test_a_signal_handler_that_raises_ends_the_wait(session: Session, events: Subscription) -> None:
    def stop() -> None:
        raise Stop

    with on_alarm(stop), pytest.raises(Stop):
        events.get()
    session.spd.add(numbered(1))
    assert [number_of(event) for event in drain(events)] == [1], "nothing was lost, and nothing seems so"


@contextmanager
def no_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


READS: dict[str, Callable[[Subscription], list[Event | Overrun]]] = {
    "get": lambda events: [event for event in [events.get(timeout=0)] if event is not None],
    "get_many": lambda events: events.get_many(5, timeout=0),
}


@pytest.mark.parametrize("read", READS)
def test_no_event_is_lost_to_a_signal_handler(session: Session, events: Subscription, read: str) -> None:
    """Handlers that raise at whatever point of the reading: nothing is lost, and nothing comes twice."""
    stops, found, count = 0, [], 6000
    code = getattr(Subscription, read).__code__

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal stops
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
        while frame is not None:
            if frame.f_code is code:
                stops += 1
                raise Stop
            frame = frame.f_back

    session.spd.load(map(numbered, range(count)))
    # No garbage collection meanwhile: other libraries have it call functions of theirs (hypothesis does), and what
    # a handler raises there is lost in them.
    with on_alarm(lambda: None), no_collection():
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
        some: list[Event | Overrun] = [Overrun()]
        while some:
            try:
                some = READS[read](events)
            except Stop:
                continue
            found += some
    assert stops
    assert [number_of(event) for event in found] == list(range(count))


def test_a_signal_handler_can_close(events: Subscription) -> None:
    with on_alarm(events.close):
        assert list(events) == []
    with pytest.raises(ClosedError):
        events.get(timeout=0)


def test_a_signal_handler_can_not_read_what_its_thread_reads(session: Session, events: Subscription) -> None:
    with on_alarm(lambda: events.get(timeout=0)), pytest.raises(BusyError, match="another reader"):
        events.get()
    session.spd.add(numbered(1))
    assert number_of(events.get(timeout=10)) == 1


# --- threads --------------------------------------------------------------------------------------------


def waiting_in(thread: threading.Thread, events: Subscription) -> None:
    """Returns when the thread reads the subscription."""
    while not events._reader:
        assert thread.is_alive()
        time.sleep(0.001)


def test_close_ends_the_wait_of_another_thread(events: Subscription) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(list(events)))
    thread.start()
    waiting_in(thread, events)
    descriptor = events.fileno()
    events.close()
    thread.join(10)
    assert found == [[]]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_close_ends_get_in_another_thread(events: Subscription) -> None:
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            events.get()
        except ClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting_in(thread, events)
    events.close()
    thread.join(10)
    assert [str(error) for error in errors] == ["this subscription is closed"]


def test_one_reader_at_a_time(session: Session, events: Subscription) -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(events.get()))
    thread.start()
    waiting_in(thread, events)
    with pytest.raises(BusyError):
        events.get(timeout=0)
    session.spd.add(numbered(1))
    thread.join(10)
    assert len(found) == 1
    assert events.get(timeout=0) is None


def test_many_threads_close_it(session: Session) -> None:
    """Readers and closers at the same time: no deadlock, no descriptor closed twice."""
    for _ in range(50):
        events = session.subscribe()
        threads = [threading.Thread(target=lambda: list(events))]  # noqa: B023
        threads += [threading.Thread(target=events.close) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        with pytest.raises(ClosedError):
            events.fileno()


# --- ends -----------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_close(session: Session) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(100):
        with session.subscribe() as events:
            session.spd.flush()
        events.close()
        assert list(events) == []
    assert descriptors() == before
    uses: list[Callable[[], object]] = [
        events.fileno,
        events.get,
        events.get_many,
        events.poll,
        lambda: events.receive_buffer,
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="this subscription is closed"):
            use()


def test_a_forgotten_subscription_is_closed(session: Session) -> None:
    gc.collect()
    before = descriptors()
    for _ in range(10):
        session.subscribe()
    gc.collect()
    assert descriptors() == before


def test_it_outlives_its_session(namespace: int) -> None:
    with Session(namespace) as session:
        events = session.subscribe()
        session.spd.add(numbered(1))
    with events:
        event = next_event(events)
        assert number_of(event) == 1
        assert events.is_own(event)
    with pytest.raises(ClosedError):
        session.subscribe()


FORK = """
import os, sys
from xfrm_ext import ClosedError, Policy, Session

def refuses(use):
    try:
        use()
    except ClosedError as error:
        return "parent" in str(error)
    return False

session = Session(int(sys.argv[1]))
events = session.subscribe()
child = os.fork()
if not child:
    uses = [events.get, events.get_many, events.poll, events.fileno, lambda: next(events), session.subscribe]
    good = all(map(refuses, uses))
    events.close()
    session.close()
    os._exit(0 if good else 1)
status = os.waitpid(child, 0)[1]
if status:
    raise SystemExit(f"the child ended with {status}")
session.spd.add(Policy(direction="in"))
if events.get(timeout=10).body.direction != 0 or events.get(timeout=0) is not None:
    raise SystemExit("the parent's subscription does not work any more")
"""


def test_fork(namespace: int) -> None:
    command = [sys.executable, "-W", "error", "-c", FORK, str(namespace)]
    done = subprocess.run(command, pass_fds=[namespace], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "options", "text"),
    [
        (
            ("polcy",),
            {},
            "group: 'polcy' is not one of acquire, expire, sa, policy, aevents, report, migrate, mapping",
        ),
        ((0,), {}, "group: 0 is not one of"),
        ((9,), {}, "group: 9 is not one of"),
        ((Group(33),), {}, "group: 33 is not an integer from 1 to 32"),
        ((Message.NEWSA,), {}, "group: Message.NEWSA is not one of"),
        ((["sa"],), {}, r"group: \['sa'\] is not one of"),
        ((), {"buffer": -1}, "buffer: -1 is not an integer from 0 to"),
        ((), {"backlog": -1}, "backlog: -1 is not an integer from 0 to"),
        ((), {"backlog": None}, "backlog: None is not an integer"),
        ((), {"buffer": "big"}, "buffer: 'big' is not an integer"),
        ((), {"all_namespaces": 1}, "all_namespaces: 1 is not True or False"),
    ],
)
def test_bad_input(groups: tuple[object, ...], options: dict[str, object], text: str) -> None:
    with (
        Session(transport=FakeTransport(lambda message: None)) as session,
        pytest.raises(ValidationError, match=text),
    ):
        session.subscribe(*groups, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")])
def test_bad_timeouts(timeout: object) -> None:
    session = Session(transport=FakeTransport(lambda message: None))
    with session.subscribe() as events, pytest.raises(ValidationError, match="timeout: "):
        events.get(timeout=timeout)  # type: ignore[arg-type]


# --- a scripted kernel ----------------------------------------------------------------------------------


def test_events_of_a_scripted_kernel() -> None:
    kernel = FakeTransport(lambda message: None)
    with Session(transport=kernel) as session, session.subscribe() as events:
        kernel.announce(numbered(1)._wire, numbered(2)._wire)
        kernel.lose_events()
        kernel.announce(numbered(3)._wire, namespace_id=4)
        assert select.select([events], [], [], 0)[0]
        assert number_of(events.get(timeout=0)) == 1
        assert number_of(events.get(timeout=0)) == 2, "of the same datagram"
        last = next_event(events)
        assert (number_of(last), last.namespace_id) == (3, 4)
        assert events.get(timeout=0) == Overrun()
        assert events.get(timeout=0.01) is None
        thread = threading.Thread(target=lambda: list(events))
        thread.start()
        waiting_in(thread, events)
        events.close()
        thread.join(10)
        kernel.announce(numbered(5)._wire)


def test_messages_are_wiped(session: Session, events: Subscription) -> None:
    """They may hold keys. (tests/test_listen.py looks at the memory that they wait in.)"""
    session.spd.load(map(numbered, range(100)))
    assert number_of(events.get(timeout=10)) == 0
    queue: Any = events._listener
    records, end = queue.peek(1)
    (first,) = native.codec.decode_events(records)
    assert isinstance(first, Event)
    assert number_of(first) == subscription._BATCH, "what was decoded is gone"
    assert end


def test_a_message_without_sense() -> None:
    """It is handed out as it is; where lengths do not fit, it is told that something was lost."""
    kernel = FakeTransport(lambda message: None)
    with Session(transport=kernel) as session, session.subscribe() as events:
        broken, unknown = raw(Message.NEWPOLICY, bytes(40)), raw(Message(0x77), b"new")
        kernel.announce(broken, unknown + b"\0", numbered(2)._wire)
        assert next_event(events) == Event(message=Message.NEWPOLICY, body=Secret(broken))
        assert next_event(events) == Event(message=Message(0x77), body=Secret(unknown))
        assert [number_of(event) for event in drain(events)] == [2]
        kernel.announce(raw(Message.NEWSA, KEY))
        assert not re.search("[0-9]{4}|x0", repr(events.get(timeout=0))), "it may hold keys"
        kernel.announce(numbered(3)._wire + bytes(16), numbered(4)._wire)
        with pytest.raises(ProtocolError):
            events.get(timeout=0)
        assert drain(events) == [Overrun()], "what came with the bad length is lost"


KEY = bytes(range(20))
STATE = State(
    "10.0.0.1",
    "10.0.0.2",
    spi=0x1234,
    reqid=1,
    aead=AeadAlgorithm("rfc4106(gcm(aes))", KEY, 128),
    encapsulation=Encapsulation(original_address="10.9.9.9"),
    security_context="system_u:object_r:ipsec_t",
    replay=ReplayState(input=5),
    attributes=[Attribute(99, b"from the future")],
)


@pytest.mark.parametrize(
    "told",
    [
        Request(Message.NEWSA, STATE),
        Request(Message.EXPIRE, StateExpired(STATE, True)),
        Request(Message.NEWPOLICY, Policy(direction="in", attributes=[Attribute(99, b"from the future")])),
        Request(Message.NEWAE, AsyncEvent(STATE, replay=ReplayState(input=7))),
        Request(Message.FLUSHSA, Protocol.ESP),
    ],
    ids=lambda told: told.message.name,
)
def test_values_outlive_the_message_that_is_wiped(told: Request) -> None:
    kernel = FakeTransport(lambda message: None)
    with Session(transport=kernel) as session, session.subscribe() as events:
        kernel.announce(native.encode(told))
        event = next_event(events)
    gc.collect()
    assert (event.message, event.body) == (told.message, told.body)
    assert KEY.hex() not in repr(event)
    assert repr(KEY)[2:-1] not in repr(event)

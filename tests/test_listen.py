# SPDX-License-Identifier: MIT
"""csrc/listen.c by itself: what its memory holds, and where it says that something was lost.

Against the real kernel where that can be had to do it. It sends no datagram that is too long, or whose lengths do
not fit: for those a socket of another kind stands in, whose sender's address looks like the kernel's.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from xfrm_ext import ClosedError, Policy, ReplyTimeout, Selector, Session, rtnl
from xfrm_ext._native import ffi, lib
from xfrm_ext.rtnl import EventQueue, Handle, open_byproto
from xfrm_ext.wire.layouts import BROKEN, HEADER, OVERRUN, RECORD, aligned

POLICY_GROUP = 1 << 3
Record = tuple[int, int, bytes]
Send = Callable[[bytes], object]


def message(number: int, size: int = 16) -> bytes:
    return HEADER.pack(size, 0x77, 0, number, 0) + bytes(range(256)) * (size // 256 + 1)


def policy(number: int) -> Policy:
    return Policy(Selector(f"10.0.{number >> 8}.{number & 255}"), direction="out")


def whole(number: int, size: int = 16) -> bytes:
    return message(number, size)[:size]


def taken(queue: EventQueue, most: int = 1 << 20) -> list[Record]:
    """What the memory holds, at most so much, which is then released: sizes, namespaces, messages."""
    found: list[Record] = []
    while len(found) < most:
        records, end = queue.peek(most - len(found))
        data, position = bytes(records), 0
        if not data:
            return found
        while position < len(data):
            size, namespace = RECORD.unpack_from(data, position)
            position += RECORD.size
            length = 0 if size in (OVERRUN, BROKEN) else size
            found.append((size, namespace, data[position : position + length]))
            position += aligned(length)
        queue.release(end)
        queue.release(end)  # does nothing
    return found


def numbers(records: list[Record]) -> list[int]:
    """Sequence numbers; -1 for an overrun, -2 for lengths that do not fit."""
    return [HEADER.unpack_from(data)[3] if data else -1 - size for size, _, data in records]


class Pretended(Handle):
    """A handle with another socket."""

    def __init__(self, descriptor: int) -> None:
        self._native = ffi.new("struct rtnl_handle *", {"fd": descriptor, "wake_fd": -1, "receive_buffer": 0})
        self._pid = os.getpid()


@contextmanager
def pretended(backlog: int = 1 << 20, sender_port: bytes = bytes(4)) -> Iterator[tuple[EventQueue, Send]]:
    """A queue, and what sends to it. The sender's address has the length of struct sockaddr_nl."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs,
    ):
        ours.bind("")
        theirs.bind(b"\0k" + sender_port + os.urandom(4))
        theirs.setblocking(False)  # it takes 10 datagrams or so
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        queue = EventQueue(Pretended(os.dup(ours.fileno())), backlog)
        address = ours.getsockname()
        try:
            yield queue, lambda data: theirs.sendto(data, address)
        finally:
            queue.close()


@pytest.fixture
def listening() -> Iterator[tuple[EventQueue, Send]]:
    with pretended() as both:
        yield both


def fill(queue: EventQueue) -> bool:
    try:
        queue.fill(timeout=0)
    except ReplyTimeout:
        return False
    return True


def test_nothing(listening: tuple[EventQueue, Send]) -> None:
    queue, _ = listening
    assert not fill(queue)
    assert taken(queue) == []
    with pytest.raises(ReplyTimeout):
        queue.fill(timeout=0.01)


def test_all_that_waits_is_taken_in_its_order(listening: tuple[EventQueue, Send]) -> None:
    queue, send = listening
    for number in range(0, 200, 2):
        send(whole(number, 16 + number) + bytes(-(16 + number) % 4) + whole(number + 1, 17 + number))
        assert not number % 20 or fill(queue)
    assert fill(queue)
    assert taken(queue, 3) == [(16 + number, -1, whole(number, 16 + number)) for number in range(3)]
    assert fill(queue), "there is more, and no waiting for it"
    assert numbers(taken(queue)) == list(range(3, 200))
    assert not fill(queue)


def test_large_messages_and_many_chunks(listening: tuple[EventQueue, Send]) -> None:
    queue, send = listening
    sizes = [65536, 16, 65533, 40000, 65536, 20000, 65536, 65536, 65536, 19]
    for number, size in enumerate(sizes):
        send(whole(number, size))
        fill(queue)
    assert [data for _, _, data in taken(queue)] == [whole(number, size) for number, size in enumerate(sizes)]


def test_the_limit(namespace: int) -> None:
    """Beyond it what comes waits in the socket; with none at all, what comes is read when nothing is left."""
    for backlog, most in ((0, 64), (24, 64), (64 * 300, 128)):
        with open_byproto(netns=namespace) as handle:
            real = handle.open_listener(POLICY_GROUP, all_namespaces=False, buffer=1 << 20, backlog=backlog)
            with Session(namespace) as session:
                session.spd.load(map(policy, range(300)))
            assert fill(real)
            assert fill(real)
            assert len(taken(real, most)) == most
            assert taken(real) == []
            count = most
            while fill(real):
                count += len(taken(real))
            assert count == 300
            real.close()
            with Session(namespace) as session:
                session.spd.flush()


def test_a_datagram_that_is_too_long_is_a_loss(listening: tuple[EventQueue, Send]) -> None:
    """It is told when the socket is empty: until then what was lost may still be newer."""
    queue, send = listening
    send(whole(1))
    send(whole(2, 65537))
    send(whole(3))
    assert fill(queue)
    assert numbers(taken(queue)) == [1, 3, -1]
    assert not fill(queue)
    send(whole(4))
    assert fill(queue)
    assert numbers(taken(queue)) == [4]


@pytest.mark.parametrize(
    "broken",
    [
        whole(8) + whole(9)[:15],
        whole(8) + struct.pack("=I", 15) + whole(9)[4:],
        struct.pack("=I", 17) + whole(9)[4:],
        struct.pack("=I", 0xFFFFFFFF) + whole(9)[4:],
        b"x",
    ],
)
def test_lengths_that_do_not_fit(listening: tuple[EventQueue, Send], broken: bytes) -> None:
    """Nothing of such a datagram is kept, and it counts as a loss."""
    queue, send = listening
    send(whole(1))
    send(broken)
    send(whole(2))
    assert fill(queue)
    assert numbers(taken(queue)) == [1, -2, 2, -1]


def test_an_overrun_is_told_when_more_was_read_than_the_socket_holds(listening: tuple[EventQueue, Send]) -> None:
    """When it never is seen empty. 64 KiB is by how much the kernel may overfill it."""
    queue, send = listening
    send(whole(0, 65537))
    for number in range(1, 9):
        send(whole(number, 16384))
    assert fill(queue)
    assert numbers(taken(queue)) == [1, 2, 3, 4, 5, -1, 6, 7, 8]


def test_only_the_kernel_is_heard() -> None:
    with pretended(sender_port=b"\1\0\0\0") as (queue, send):
        send(whole(1))
        assert not fill(queue)


def test_what_was_taken_is_wiped(listening: tuple[EventQueue, Send]) -> None:
    queue, send = listening
    send(whole(7, 400))
    assert fill(queue)
    native = queue._queue
    records, end = queue.peek(1)
    landing = ffi.buffer(native.landing, 400)
    place = ffi.buffer(native.front, native.front_size)
    assert bytes(records)[8:] == whole(7, 400)
    assert not any(bytes(landing)), "where it was received"
    queue.release(end)
    assert not any(bytes(place)), "where it was kept"


def test_wake(namespace: int) -> None:
    with open_byproto(netns=namespace) as handle:
        queue = handle.open_listener(POLICY_GROUP, all_namespaces=False, buffer=1 << 20, backlog=1 << 20)
        with Session(namespace) as session:
            session.spd.add(policy(1))
        queue.wake()
        queue.fill()
        assert len(taken(queue)) == 1, "what is there comes first"
        with pytest.raises(ClosedError):
            queue.fill()
        queue.close()
        queue.close()
        assert queue.peek(1) == (b"", 0) or not queue.peek(1)[0]
        with pytest.raises(ClosedError):
            queue.fill()


def test_a_loss_of_the_kernels(namespace: int) -> None:
    """It tells of it ahead of what was waiting; the mark stands behind that."""
    with open_byproto(netns=namespace) as handle, Session(namespace) as session:
        queue = handle.open_listener(POLICY_GROUP, all_namespaces=False, buffer=0, backlog=1 << 20)
        session.spd.load(map(policy, range(20)))
        assert fill(queue)
        found = [size for size, _, _ in taken(queue)]
        assert found.index(OVERRUN) == len(found) - 1
        assert 0 < len(found) - 1 < 20
        session.spd.add(policy(20))
        assert fill(queue)
        assert [size for size, _, _ in taken(queue)] == found[:1]
        queue.close()


def test_the_layouts_are_the_same() -> None:
    record: Any = ffi.typeof("struct listen_record")
    assert (ffi.sizeof(record), lib.LISTEN_OVERRUN, lib.LISTEN_BROKEN) == (RECORD.size, OVERRUN, BROKEN)
    assert rtnl._DATAGRAM == 65536

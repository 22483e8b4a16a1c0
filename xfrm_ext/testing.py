# SPDX-License-Identifier: MIT
"""For the tests of programs that use this package: fresh network namespaces, and a scripted kernel.

Prefer the real kernel: ``with network_namespace() as namespace: Session(namespace)`` needs root, or, in a
single-threaded process, ``become_root()`` first. Where neither is to be had, or where a test needs the kernel
to do what it seldom does (lose replies, refuse every third item), ``Session(transport=FakeTransport(...))``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from xfrm_ext.errors import ClosedError, ProtocolError, RepliesLost, ReplyTimeout, kernel_error
from xfrm_ext.transport import BatchOutcome, Decoder, Outcome, messages
from xfrm_ext.wire.layouts import BROKEN, OVERRUN, RECORD

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        code = ctypes.get_errno()
        raise OSError(code, f"unshare: {os.strerror(code)}")


def become_root() -> None:
    """Moves the calling process into a user namespace of its own, where it is root. Raises OSError.

    The process must have one thread only, and the system must allow user namespaces. Does nothing for root.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return
    _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


@contextmanager
def network_namespace() -> Iterator[int]:
    """A fresh network namespace, as a file descriptor for Session(netns=...); gone at the end.

    The calling thread stays where it is. Needs CAP_SYS_ADMIN. Raises OSError.
    """
    result: list[int | OSError] = []

    def make() -> None:
        try:
            _unshare(_CLONE_NEWNET)
            result.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    namespace = result[0]
    if isinstance(namespace, OSError):
        raise namespace
    try:
        yield namespace
    finally:
        os.close(namespace)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Runs the block in a network namespace: moves the calling thread there and back."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(home, _CLONE_NEWNET)
    finally:
        os.close(home)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a scripted kernel answers to a message that it refuses: see xfrm_ext.transport.Outcome."""

    errno: int
    text: str = ""
    offset: int = 0
    missing_type: int = 0

    def outcome(self, index: int) -> Outcome:
        """The same, as the outcome of message `index` of a batch."""
        return Outcome(index, self.errno, self.text, self.offset, self.missing_type)


_Decoded = TypeVar("_Decoded")
Answer: TypeAlias = Refusal | bytes | list[bytes] | None


class FakeTransport:
    """A scripted kernel for Session(transport=...).

    ``handler`` gets each message as bytes and returns None (carried out), a Refusal, the message that replies,
    or, for a dump, the list of messages. It may raise RepliesLost or ReplyTimeout: then the outcomes of that
    send are lost, as they are with a real socket. ``sent`` lists all messages; ``interfaces`` are those that
    exist, by name; ``proc_net`` are the files in /proc/net. ``announce`` and
    ``lose_events`` are for the session's subscriptions.
    """

    port = 0x4242

    def __init__(
        self,
        handler: Callable[[bytes], Answer],
        interfaces: dict[str, int] | None = None,
        proc_net: dict[str, bytes] | None = None,
    ) -> None:
        self.handler = handler
        self.sent: list[bytes] = []
        self.interfaces = interfaces or {}
        self.proc_net = proc_net or {}
        self.closed = False
        self._listeners: list[FakeListener] = []

    def announce(self, *events: bytes, namespace_id: int | None = None) -> None:
        """Sends events to all subscriptions, whatever their groups: one datagram for each call."""
        for listener in self._listeners:
            listener._put(b"".join(events), namespace_id)

    def lose_events(self) -> None:
        """Has all subscriptions lose events here."""
        for listener in self._listeners:
            listener._put(b"", None)

    def _handle(self, message: bytes) -> Answer:
        message = bytes(message)
        self.sent.append(message)
        return self.handler(message)

    def talk(
        self, message: bytes, operation: str, *, answer: bool = False, timeout: float | None = None
    ) -> bytearray | None:
        """As xfrm_ext.rtnl.Handle.talk."""
        reply = self._handle(message)
        if isinstance(reply, Refusal):
            raise reply.outcome(0).error(operation, message)
        return bytearray(reply) if isinstance(reply, bytes) else None

    def talk_batch(
        self,
        block: bytearray,
        count: int,
        *,
        per_send: int = 256,
        stop_on_error: bool = False,
        outcome: BatchOutcome,
        timeout: float | None = None,
    ) -> None:
        """As xfrm_ext.rtnl.Handle.talk_batch."""
        parts = messages(bytes(block))
        if len(parts) != count:
            raise ValueError(f"the block is not {count} netlink messages")
        for start in range(0, count, per_send):
            if stop_on_error and outcome.failures:
                return
            end = min(start + per_send, count)
            outcome.sent = end
            try:
                replies = [self._handle(part) for part in parts[start:end]]
            except RepliesLost:
                outcome.error = errno.ENOBUFS
                return
            except ReplyTimeout:
                outcome.error = errno.ETIMEDOUT
                return
            for number, reply in enumerate(replies, start):
                if isinstance(reply, Refusal):
                    outcome.failures.append(reply.outcome(number))
            outcome.acked = end

    def dump(self, message: bytes, operation: str, *, timeout: float | None = None) -> Iterator[bytearray]:
        """As xfrm_ext.rtnl.Handle.dump."""
        reply = self._handle(message)
        if isinstance(reply, Refusal):
            raise reply.outcome(0).error(operation, message)
        yield from map(bytearray, reply if isinstance(reply, list) else [])

    def dump_decoded(
        self, message: bytes, operation: str, decoder: Decoder[_Decoded], *, timeout: float | None = None
    ) -> Iterator[_Decoded]:
        """As xfrm_ext.rtnl.Handle.dump_decoded."""
        for block in self.dump(message, operation):
            decoded, argument = decoder.prepare(len(block))
            if decoder.function(argument, bytes(block), len(block)) < 0:
                raise ProtocolError(f"{operation}: the reply has lengths that do not fit")
            yield decoded

    def interface_index(self, name: str) -> int:
        """As xfrm_ext.rtnl.Handle.interface_index."""
        return self.interfaces.get(name, 0)

    def open_beside(self, protocol: int | None = None) -> FakeTransport:
        """A second transport to the same scripted kernel, with the same list of messages."""
        beside = FakeTransport(self.handler, self.interfaces, self.proc_net)
        beside.sent = self.sent
        beside._listeners = self._listeners
        return beside

    def read_proc_net(self, name: str) -> bytes:
        """As xfrm_ext.rtnl.Handle.read_proc_net."""
        if name not in self.proc_net:
            raise kernel_error(errno.ENOENT, f"read /proc/net/{name}")
        return self.proc_net[name]

    def open_listener(self, groups: int, *, all_namespaces: bool, buffer: int, backlog: int) -> FakeListener:
        """As xfrm_ext.rtnl.Handle.open_listener."""
        listener = FakeListener(self._listeners)
        self._listeners.append(listener)
        return listener

    def close(self) -> None:
        """As xfrm_ext.rtnl.Handle.close."""
        self.closed = True


class FakeListener:
    """What a subscription to the events of a FakeTransport hears with."""

    receive_buffer = 0

    def __init__(self, listeners: list[FakeListener]) -> None:
        self._records: list[bytes] = []
        self._released = 0  # of all records
        self._lost = False
        self._listeners = listeners
        # As with a socket of the kernel's, the descriptor is readable as long as there is something to read.
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def _put(self, data: bytes, namespace_id: int | None) -> None:
        self._theirs.send(struct.pack("=i", -1 if namespace_id is None else namespace_id) + data)

    def fileno(self) -> int:
        """As xfrm_ext.rtnl.EventQueue.fileno."""
        return self._ours.fileno()

    def fill(self, *, timeout: float | None = None) -> None:
        """As xfrm_ext.rtnl.EventQueue.fill."""
        while True:
            at_once = self._lost or self._records
            self._ours.settimeout(0 if at_once else None if timeout is None else max(0, timeout))
            try:
                data = self._ours.recv(1 << 20)
            except (BlockingIOError, TimeoutError):
                if self._lost:
                    self._records.append(RECORD.pack(OVERRUN, -1))
                    self._lost = False
                if self._records:
                    return
                raise ReplyTimeout("listen: no reply before the deadline") from None
            if not data:
                raise ClosedError("this netlink socket is being closed")
            if len(data) == 4:
                self._lost = True
                continue
            try:
                heard = messages(data[4:])
            except ProtocolError:
                self._records.append(RECORD.pack(BROKEN, -1))
                self._lost = True
                continue
            (namespace,) = struct.unpack_from("=i", data)
            for message in heard:
                self._records.append(RECORD.pack(len(message), namespace) + message + bytes(-len(message) % 4))

    def peek(self, most: int) -> tuple[bytes, int]:
        """As xfrm_ext.rtnl.EventQueue.peek."""
        found = self._records[:most]
        return b"".join(found), self._released + len(found)

    def release(self, end: int) -> None:
        """As xfrm_ext.rtnl.EventQueue.release."""
        if end > self._released:
            del self._records[: end - self._released]
            self._released = end

    def wake(self) -> None:
        """As xfrm_ext.rtnl.EventQueue.wake."""
        self._theirs.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """As xfrm_ext.rtnl.EventQueue.close."""
        self._ours.close()
        self._theirs.close()
        if self in self._listeners:
            self._listeners.remove(self)

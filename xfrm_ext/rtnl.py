# SPDX-License-Identifier: MIT
"""Netlink sockets in the style of iproute2's libnetlink: messages in, messages out, as bytes.

Knows the netlink header and the ACK, and nothing of XFRM. ``open_byproto`` opens a ``Handle``; its ``talk``,
``talk_batch``, ``dump`` and ``listen`` release the GIL while the kernel works, are interrupted by signals like
any blocking call of Python's, and give up at a deadline. One thread at a time uses a handle.
"""

from __future__ import annotations

import _thread
import errno
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from types import BuiltinFunctionType, TracebackType
from typing import Any, TypeVar

from xfrm_ext._native import ffi, lib
from xfrm_ext.constants import NETLINK_XFRM
from xfrm_ext.errors import (
    ClosedError,
    ProtocolError,
    RepliesLost,
    ReplyTimeout,
    ValidationError,
    XfrmError,
    kernel_error,
)
from xfrm_ext.transport import BatchOutcome, Decoder, Outcome, Transport, messages

__all__ = ["BatchOutcome", "Handle", "Outcome", "Transport", "deadline_after", "messages", "open_byproto"]

_Decoded = TypeVar("_Decoded")
_DATAGRAM: int = lib.RTNL_RECEIVE_SIZE
_FIRST: int = lib.RTNL_DUMP_DATAGRAM
_DUMP = 16 * _FIRST
"""Bytes of the first block of a dump, and of the others, at most: about 2,000 policies."""
_new_wiped = ffi.new_allocator(lib.memory_allocate, lib.memory_free, should_clear_after_alloc=False)
"""For what may hold keys: wiped when it is freed."""
_new_unset = ffi.new_allocator(should_clear_after_alloc=False)
_BYTES = ffi.typeof("uint8_t[]")
_EINTR = -errno.EINTR


def deadline_after(timeout: float | None) -> int:
    """The deadline (CLOCK_MONOTONIC, nanoseconds) `timeout` seconds from now; None: never, -1."""
    return -1 if timeout is None else time.monotonic_ns() + int(max(0, min(timeout, 1e9)) * 1e9)


class Handle:
    """A netlink socket. Made by ``open_byproto``; a context manager; ``close`` may be called twice."""

    def __init__(self, groups: int = 0, protocol: int = NETLINK_XFRM, netns: int | None = None) -> None:
        # A forgotten handle is closed in C. In a __del__ written in Python a signal handler may run, and what it
        # raises, KeyboardInterrupt for one, would be lost.
        native = ffi.gc(ffi.new("struct rtnl_handle *", {"fd": -1, "wake_fd": -1}), lib.rtnl_close)
        self._native: Any = None
        if netns is None:
            code = lib.rtnl_open_byproto(native, groups, protocol)
        else:
            code = lib.rtnl_open_in_netns(native, groups, protocol, netns)
        if code:
            raise kernel_error(-code, "open a netlink socket")
        self._pid = os.getpid()
        self._native = native

    def close(self) -> None:
        """Closes the socket and wipes its buffer."""
        native, self._native = self._native, None
        if native is not None:
            lib.rtnl_close(native)

    def __enter__(self) -> Handle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        if self._native is None:
            raise ClosedError("this netlink socket is closed")
        if self._pid != os.getpid():
            raise ClosedError("this netlink socket belongs to the parent process: open a new one after a fork")
        return self._native

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return int(self._open().fd)

    @property
    def port(self) -> int:
        """The socket's netlink port (nl_pid)."""
        return int(self._open().port)

    @property
    def send_buffer(self) -> int:
        """SO_SNDBUF as the kernel gave it, in bytes."""
        return int(self._open().send_buffer)

    @property
    def receive_buffer(self) -> int:
        """SO_RCVBUF as the kernel gave it, in bytes."""
        return int(self._open().receive_buffer)

    def set_buffers(self, send_bytes: int, receive_bytes: int) -> None:
        """Asks for socket buffers of these sizes, beyond the system's limit where privilege allows."""
        code = lib.rtnl_set_buffers(self._open(), send_bytes, receive_bytes)
        if code:
            raise kernel_error(-code, "set socket buffers")

    def interface_index(self, name: str) -> int:
        """The index of an interface in the socket's network namespace; 0 if there is none of that name."""
        return max(0, int(lib.rtnl_interface_index(self._open(), os.fsencode(name))))

    def open_beside(self, protocol: int | None = None, groups: int = 0) -> Handle:
        """Another socket in the same network namespace, whichever one the calling thread is in; of another
        netlink protocol if one is given."""
        native = self._open()
        protocol = native.protocol if protocol is None else protocol
        with self._namespace() as namespace:
            return Handle(groups, protocol, None if namespace < 0 else namespace)

    def read_proc_net(self, name: str) -> bytes:
        """A file in the /proc/net of the socket's network namespace. Raises KernelError."""
        with self._namespace() as namespace:
            descriptor = lib.rtnl_open_file(os.fsencode(f"/proc/thread-self/net/{name}"), namespace)
        if descriptor < 0:
            raise kernel_error(-descriptor, f"read /proc/net/{name}")
        with open(descriptor, "rb") as file:
            return file.read()

    @contextmanager
    def _namespace(self) -> Iterator[int]:
        """A descriptor of the socket's network namespace, which others enter; -1: the calling thread is in it."""
        namespace = lib.rtnl_netns(self._open())
        if namespace < 0:  # never in another one by guess: without CAP_NET_ADMIN XFRM would not answer anyway
            raise kernel_error(-namespace, "find the session's network namespace")
        try:
            here = _thread_namespace()
            there = os.fstat(namespace)
            same = here is not None and (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
            yield -1 if same else namespace
        finally:
            os.close(namespace)

    def open_listener(self, groups: int, *, all_namespaces: bool, buffer: int, backlog: int) -> EventQueue:
        """Another socket in the same network namespace, with a receive buffer of `buffer` bytes, and memory for
        `backlog` bytes of what it hears; with `all_namespaces` for the events of all namespaces that have an id
        there (CAP_NET_BROADCAST)."""
        listener = self.open_beside(groups=groups)
        code = lib.rtnl_set_buffers(listener._native, 0, buffer)
        if code:
            raise kernel_error(-code, "set socket buffers")
        code = lib.rtnl_subscribe(listener._native, all_namespaces)
        if code:
            raise kernel_error(-code, "listen to all namespaces" if all_namespaces else "open an eventfd")
        return EventQueue(listener, backlog)

    def talk(
        self, message: bytes, operation: str, *, answer: bool = False, timeout: float | None = None
    ) -> bytearray | None:
        """Sends one request and waits for its ACK, or with `answer` for the message that replies.

        `operation` is what errors call it. Raises KernelError, ReplyTimeout, RepliesLost, ProtocolError.
        """
        native, deadline = self._open(), deadline_after(timeout)
        outcome = ffi.new("struct rtnl_outcome *")
        request = _request(message)
        pointer = ffi.cast("struct nlmsghdr *", ffi.from_buffer(request))
        reply, code = _new_wiped(_BYTES, _DATAGRAM) if answer else ffi.NULL, _EINTR
        try:
            while code == _EINTR:  # signal handlers run between two calls, and may raise
                code = lib.rtnl_talk(native, pointer, reply, _DATAGRAM, outcome, deadline)
            if code < 0:
                raise _failure(code, operation, outcome, request, native.protocol)
            return bytearray(ffi.buffer(reply, code)) if code else None
        finally:
            _wipe(request)

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
        """Sends `count` messages that stand back to back in `block`, at most `per_send` in one send.

        Fills `outcome`, also when a signal handler raises in the middle: then it has collected what the kernel
        had to say of the messages sent so far. With `stop_on_error` nothing follows a send in which a message
        was refused. Header flags, sequence numbers and port are written into `block`. Raises ValueError for a
        block that is not `count` messages, before anything is sent.
        """
        native, deadline = self._open(), deadline_after(timeout)
        failures = _new_unset("struct rtnl_outcome[]", count)
        batch = ffi.new("struct rtnl_batch *")
        data = ffi.from_buffer(block)
        batch.messages, batch.length, batch.count = ffi.cast("uint8_t *", data), len(block), count
        batch.per_send, batch.stop_on_error, batch.failures = per_send, stop_on_error, failures
        talk, code = lib.rtnl_talk_batch, _EINTR
        outcome._noted = partial(_noted, batch, failures)
        try:
            while code == _EINTR:
                code = talk(native, batch, deadline)
        except BaseException:
            # The kernel has worked off what was sent, and its replies are in the socket: only read them.
            batch.count = batch.sent
            if batch.sent:
                code = talk(native, batch, deadline_after(1))
            raise
        finally:
            outcome.error = -code if code < 0 else 0
            outcome.settle()
        if code == -errno.EINVAL and not batch.sent:
            raise ValueError(f"the block is not {count} netlink messages that fit into the send buffer")

    def dump(
        self, message: bytes, operation: str, *, timeout: float | None = None
    ) -> Generator[bytearray, None, None]:
        """Sends a dump request and yields blocks of messages. `timeout` is for each block.

        A handle has one dump at a time, and none after one that was not read to its end.
        """
        return self._dump(message, operation, timeout, None)

    def dump_decoded(
        self, message: bytes, operation: str, decoder: Decoder[_Decoded], *, timeout: float | None = None
    ) -> Generator[_Decoded, None, None]:
        """The same, but yields what a decoder makes of each block. Receiving and decoding are one call into C, so
        that a thread which does this needs the GIL seldom."""
        return self._dump(message, operation, timeout, decoder)

    def _dump(
        self, message: bytes, operation: str, timeout: float | None, decoder: Decoder[Any] | None
    ) -> Generator[Any, None, None]:
        native = self._open()
        dump = ffi.new("struct rtnl_dump *")
        data, dump.capacity = _new_wiped(_BYTES, _FIRST), _FIRST
        dump.data = data
        request = _request(message)
        code = lib.rtnl_dump_request(native, ffi.cast("struct nlmsghdr *", ffi.from_buffer(request)), dump)
        if code:
            raise _failure(code, operation, dump.outcome, request, native.protocol)
        while True:
            if decoder is not None:
                decoded, dump.argument = decoder.prepare(dump.capacity)
                dump.decode = decoder.function
            deadline, code = deadline_after(timeout), _EINTR
            while code == _EINTR:
                code = lib.rtnl_dump_next(self._open(), dump, deadline)
            if code < 0:
                raise _failure(code, operation, dump.outcome, request, native.protocol)
            if not code:
                return
            yield bytearray(ffi.buffer(data, dump.length)) if decoder is None else decoded
            is_first = dump.capacity == _FIRST
            if is_first:  # there is more than a little
                data, dump.capacity = _new_wiped(_BYTES, _DUMP), _DUMP
                dump.data = data
            # Decoding by itself takes so little that a thread pays from some thousand messages on.
            if decoder is not None and decoder.decodes_in_thread == is_first:
                with _DumpAhead(decoder, _DUMP) as ahead:
                    has_started = ahead.start(native, dump, data, timeout)
                    while has_started:
                        code = _EINTR
                        while code == _EINTR:
                            self._open()
                            code = ahead.take()
                        if code < 0:
                            raise _failure(code, operation, dump.outcome, request, native.protocol)
                        if not code:
                            return
                        yield ahead.taken()

    def listen(self, *, timeout: float | None = None) -> bytes:
        """Receives one datagram of multicast messages from the kernel.

        Raises RepliesLost when the socket overflowed (or a message was longer than 64 KiB): go on listening, and
        look again at what is there. Raises ReplyTimeout.
        """
        native, deadline, code = self._open(), deadline_after(timeout), _EINTR
        data = native.receive
        try:
            while code == _EINTR:
                code = lib.rtnl_listen(native, data, _DATAGRAM, deadline)
            if code == -errno.EMSGSIZE:
                raise RepliesLost("listen: a message did not fit into the buffer")
            if code < 0:
                raise _failure(code, "listen", ffi.new("struct rtnl_outcome *"), b"")
            return bytes(ffi.buffer(data, code))
        finally:
            if code > 0:
                ffi.memmove(data, bytes(code), code)


class _DumpAhead:
    """Blocks of a dump that a thread receives, and decodes if the decoder says so. A context manager, which has the
    thread end.

    The thread has all memory that it writes to, and a descriptor of its own; what is here only has it stop, in C: a
    signal handler may raise anywhere, and leave this to be collected.
    """

    def __init__(self, decoder: Decoder[Any], size: int) -> None:
        """`size`: of a block at most."""
        self._decoder, self._size = decoder, size
        self._given: deque[Any] = deque()
        self._kept: list[Any] = []
        self._free: list[Any] = []
        self._taken: Any = None
        self._native: Any = None

    def __enter__(self) -> _DumpAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._native = None

    def start(self, native: Any, dump: Any, data: Any, timeout: float | None) -> bool:
        """Starts the thread. False where there can be none: then nothing has happened."""
        # gevent's threads are none, and those of an interpreter that ends never run.
        if sys.is_finalizing() or not isinstance(_thread.start_new_thread, BuiltinFunctionType):
            return False
        nanoseconds = -1 if timeout is None else int(max(0, min(timeout, 1e9)) * 1e9)
        place = ffi.gc(ffi.new("struct dump_ahead *[1]"), lib.dump_ahead_free)  # the owner first, as in Handle
        if lib.dump_ahead_new(place, native, dump, nanoseconds):
            return False
        self._native = ffi.gc(place, lib.dump_ahead_stop)
        if not self._decoder.decodes_in_thread:
            dump.decode = ffi.NULL
            self._free.append(data)
        try:
            _thread.start_new_thread(_run_ahead, (place, dump, data, self._kept))
        except RuntimeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # by a signal handler
            return False
        return True

    def take(self) -> int:
        """Waits for the next block. What rtnl_dump_next returned, or -EINTR."""
        while len(self._given) < self._decoder.ahead:  # the one taken before is done with
            block, place = self._new_block()
            if block not in self._kept:
                self._kept.append(block)
            self._given.append(block)
            lib.dump_ahead_give(self._native[0], place)
        code: int = lib.dump_ahead_take(self._native[0])
        if code <= 0:
            return code
        self._taken = self._given.popleft()
        if self._decoder.decodes_in_thread:
            return code
        self._free.append(self._taken)
        decoded, argument = self._decoder.prepare(code)
        failed = self._decoder.function(argument, self._taken, code)
        self._taken = decoded
        return int(failed) or 1

    def _new_block(self) -> tuple[Any, Any]:
        """What the thread is given, and for C."""
        if self._decoder.decodes_in_thread:
            return self._decoder.prepare(self._size)
        block = self._free.pop() if self._free else _new_wiped(_BYTES, self._size)
        return block, block

    def taken(self) -> Any:
        """What the block that `take` waited for was decoded into."""
        return self._taken


def _run_ahead(place: Any, *_kept: object) -> None:
    lib.dump_ahead_run(place[0])


class EventQueue:
    """A socket that hears events, and the memory that they wait in: see Handle.open_listener."""

    def __init__(self, handle: Handle, backlog: int) -> None:
        self._handle = handle
        self._queue: Any = ffi.gc(ffi.new("struct listen_queue *", {"limit": backlog}), lib.listen_clear)

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._handle.fileno()

    @property
    def receive_buffer(self) -> int:
        """SO_RCVBUF as the kernel gave it, in bytes."""
        return self._handle.receive_buffer

    def fill(self, *, timeout: float | None = None) -> None:
        """Moves what waits in the socket into the memory, up to its limit. Waits only while the memory is empty.

        Raises ReplyTimeout when nothing came; ClosedError when `wake` was called; KernelError.
        """
        native, queue, deadline, code = self._handle._open(), self._queue, deadline_after(timeout), _EINTR
        while code == _EINTR:  # signal handlers run between two calls, and may raise
            code = lib.listen_fill(native, queue, deadline)
        if code == -errno.ECANCELED:
            raise ClosedError("this netlink socket is being closed")
        if code:
            raise _failure(code, "listen", ffi.new("struct rtnl_outcome *"), b"")

    def peek(self, most: int) -> tuple[Any, int]:
        """At most `most` records that wait in the memory (wire.layouts.RECORD), and where they end, for `release`.

        They are not copied: who releases them has stopped using them."""
        queue = self._queue
        lib.listen_peek(queue, most)
        return ffi.buffer(queue.front, queue.front_size) if queue.front_size else b"", queue.front_end

    def release(self, end: int) -> None:
        """Wipes and forgets what was received before `end`. May be repeated."""
        lib.listen_release(self._queue, end)

    def wake(self) -> None:
        """Ends the `fill` that another thread is in, and all later ones that would wait."""
        lib.rtnl_wake(self._handle._open())

    def close(self) -> None:
        """Closes the socket, and wipes what waits."""
        self._handle.close()
        lib.listen_clear(self._queue)


def open_byproto(groups: int = 0, protocol: int = NETLINK_XFRM, *, netns: int | None = None) -> Handle:
    """Opens a netlink socket, as libnetlink's rtnl_open_byproto does.

    `groups` is a bit mask of multicast groups; `netns` a file descriptor of the network namespace to open it
    in (default: the calling thread's). Raises KernelError.
    """
    return Handle(groups, protocol, netns)


def _thread_namespace() -> os.stat_result | None:
    """The calling thread's network namespace; None where /proc does not tell."""
    try:
        return os.stat("/proc/thread-self/ns/net")
    except OSError:
        return None


def _request(message: bytes) -> bytearray:
    """A copy of one message, not sent yet: without a sequence number. Raises ValidationError."""
    size = int.from_bytes(message[:4], sys.byteorder)
    if len(message) < 16 or not 16 <= size <= len(message):
        raise ValidationError("message", None, f"is {len(message)} bytes long, and its header says {size}")
    request = bytearray(message)
    request[8:12] = bytes(4)
    return request


def _wipe(block: bytearray) -> None:
    block[:] = bytes(len(block))


def _outcome(native: Any) -> Outcome:
    text = ffi.string(native.text).decode("utf-8", "replace")
    return Outcome(native.index, native.error, text, native.offset, native.missing_type)


def _noted(batch: Any, failures: Any) -> tuple[int, int, list[Outcome]]:
    """How many messages of a batch are acknowledged and sent, and what was refused."""
    return batch.acked, batch.sent, [_outcome(failures[i]) for i in range(batch.failed)]


_WITHOUT_REPLY: dict[int, Callable[[str], XfrmError]] = {
    -errno.ETIMEDOUT: lambda operation: ReplyTimeout(f"{operation}: no reply before the deadline"),
    -errno.ENOBUFS: lambda operation: RepliesLost(f"{operation}: the receive buffer overflowed, replies were lost"),
    -errno.EBADMSG: lambda operation: ProtocolError(f"{operation}: the reply has lengths that do not fit"),
    -errno.EMSGSIZE: lambda operation: ProtocolError(f"{operation}: a message does not fit into the buffer"),
}


def _failure(
    code: int, operation: str, native: Any, request: bytes | bytearray, protocol: int = NETLINK_XFRM
) -> XfrmError:
    if native.error and protocol != NETLINK_XFRM:  # its attributes have other names
        return kernel_error(native.error, operation, _outcome(native).text)
    if native.error:
        return _outcome(native).error(operation, request)
    if code in _WITHOUT_REPLY:
        return _WITHOUT_REPLY[code](operation)
    return kernel_error(-code, operation)

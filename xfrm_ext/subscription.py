# SPDX-License-Identifier: MIT
"""Subscription: the kernel's events, one after the other, and where some were lost."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any

from xfrm_ext.checks import choice, choices, integer, seconds
from xfrm_ext.codec.generic import Codec
from xfrm_ext.constants import Group
from xfrm_ext.errors import BusyError, ClosedError, RepliesLost, ReplyTimeout, XfrmError
from xfrm_ext.event import Event, Overrun
from xfrm_ext.transport import Listener, messages

EVENT_BUFFER = 8 << 20
"""Bytes of events that may wait by default: 13,000 policies with a template."""

_GROUPS = choices(Group)
_MOST = 65536  # bytes by which the kernel may overfill a queue


def group_mask(groups: tuple[Group | int | str, ...]) -> int:
    """The bit mask of multicast groups; all for none."""
    mask = 0
    for group in groups or tuple(Group):
        number = choice(group, "group", _GROUPS, Group)
        mask |= 1 << (integer(number, "group", 32, least=1) - 1)  # of those that no name is known of, too
    return mask


class Subscription:
    """The kernel's events, as they come. Made by ``Session.subscribe``; an iterator and a context manager.

    ``for event in subscription`` waits for each; the loop ends when the subscription is closed, also by another
    thread or a signal handler. ``get(timeout=...)`` gives up in time, and ``get(timeout=0)`` never waits.

    An ``Overrun`` among the events says that here some were lost, because they were read too slowly. All that
    was lost is older than the Overrun, and all that comes after it is heard: a dump made now, and the events
    from now on, are complete again.

    ``fileno()`` is for select, poll and event loops. When it is readable, call ``get(timeout=0)`` until it returns
    None: not all that can be returned is still in the socket.

    One thread at a time reads (BusyError); any may call ``close``. A fork's child can't read (ClosedError), only
    close what it inherited. Signal handlers run while an event is waited for; one that raises ends the wait, and
    no event is lost without an Overrun.
    """

    def __init__(self, listener: Listener, port: int, codec: Codec) -> None:
        self._listener = listener
        self._port = port
        self._codec = codec
        self._messages: deque[tuple[bytearray, int | None]] = deque()
        self._heard = 0  # of listener.heard, what was taken care of
        self._lost = False  # an Overrun is due when the queue has been empty
        self._since = 0  # bytes that were read since the loss
        self._unsure = False  # something was taken, and get() has not returned it yet
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may interrupt its own thread anywhere
        self._reader: object | None = None
        self._closed = False  # somebody wants it closed
        self._released = False  # and it is

    def fileno(self) -> int:
        """The socket's file descriptor."""
        self._check()
        return self._listener.fileno()

    @property
    def receive_buffer(self) -> int:
        """The size of the kernel's queue as the kernel gave it, with its overhead (SO_RCVBUF)."""
        self._check()
        return self._listener.receive_buffer

    def is_own(self, event: Event | Overrun) -> bool:
        """Whether an event tells of a change that the session made which this subscription is of. Changes made
        by other sessions, in this process too, are others'.

        The kernel repeats what the request's header said: this tells programs apart that do as they should (`ip`
        says 0), and is no protection against one with CAP_NET_ADMIN that claims our port."""
        return isinstance(event, Event) and event.port == self._port and event.namespace_id is None

    def get(self, timeout: float | None = None) -> Event | Overrun | None:
        """The next event; None if there is none within `timeout` seconds. Waits for ever without one.

        Raises ClosedError when the subscription is or gets closed; ProtocolError for a message that makes no
        sense (call again for the next one); BusyError.
        """
        limit = seconds(timeout, "timeout", zero=True)
        self._check()
        event = self._next(None if limit is None else time.monotonic() + limit)
        self._unsure = False  # what follows is the caller's
        return event

    def _next(self, deadline: float | None) -> Event | Overrun | None:
        reader = object()
        # Signal handlers may raise anywhere, but must not leave a reader behind that is none. So no loop in this
        # `try` (CPython 3.13 runs handlers at its jumps, and forgets the `finally` there), and a second `try` as
        # the first thing in the `finally` (before all else, CPython 3.10 runs handlers).
        try:
            with self._lock:
                if self._reader is None:
                    self._reader = reader
            return self._read(reader, deadline)
        finally:
            try:
                if self._reader is reader:
                    self._reader = None
            finally:
                if self._closed:
                    self._release()

    def _read(self, reader: object, deadline: float | None) -> Event | Overrun | None:
        if self._reader is not reader:
            raise BusyError("another reader, or what a signal interrupted, is waiting for an event")
        # Has a signal handler raised since the last one was received, or taken out of `_messages`?
        if self._unsure or self._heard != self._listener.heard:
            self._lost, self._unsure, self._heard = True, False, self._listener.heard
        while not self._closed:
            if self._messages:
                return self._decode()
            if self._since and self._since > self._listener.receive_buffer + _MOST:
                return self._overrun()
            try:
                self._receive(deadline)
            except ReplyTimeout:
                return self._overrun() if self._lost else None
            except ClosedError:
                if not self._closed:
                    raise
        raise ClosedError("this subscription is closed")

    def poll(self) -> Event | Overrun | None:
        """The next event if there is one: ``get(timeout=0)``."""
        return self.get(0)

    def _receive(self, deadline: float | None) -> None:
        """Reads one datagram into `_messages`, or notes a loss.

        The kernel tells of a loss at once, ahead of the events that were waiting when it happened, and drops all
        further ones, without a word, until the queue has been empty. So the Overrun waits until then: when there
        is nothing more to read, or when more was read than fits into the queue.
        """
        if self._lost:
            left: float | None = 0
        else:
            left = None if deadline is None else deadline - time.monotonic()
        try:
            block, namespace_id = self._listener.hear(timeout=left)
        except RepliesLost:
            self._lost, self._since = True, 0
            self._heard += 1
            return
        if self._lost:
            self._since += len(block)
        try:
            self._messages.extend([(message, namespace_id) for message in messages(block)])
        finally:
            _wipe(block)
        self._heard += 1

    def _decode(self) -> Event:
        message, namespace_id = self._messages[0]
        try:
            event = self._codec.decode_event(message, namespace_id)
        except XfrmError:
            self._drop()
            raise
        self._unsure = True
        self._drop()
        return event

    def _drop(self) -> None:
        _wipe(self._messages.popleft()[0])

    def _overrun(self) -> Overrun:
        self._unsure = True
        self._lost, self._since = False, 0
        return Overrun()

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event | Overrun:
        try:
            event = self.get()
        except ClosedError:
            if self._closed:
                raise StopIteration from None
            raise
        assert event is not None, "without a timeout"
        return event

    def close(self) -> None:
        """Closes the socket, and ends the wait of the thread that is reading. May be called twice."""
        self._closed = True
        if self._pid != os.getpid():
            self._listener.close()  # the child's copies of the descriptors; no reader came with them
            return
        with self._lock:
            if self._reader is not None and not self._released:
                self._listener.wake()  # the reader closes when it leaves
                return
        self._release()

    def _release(self) -> None:
        """Closes the socket. Only when `_closed` is set, and nobody reads."""
        with self._lock:
            self._released = True
            self._listener.close()
            while self._messages:
                self._drop()

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise ClosedError("this subscription belongs to the parent process: make a new one after a fork")
        if self._closed:
            raise ClosedError("this subscription is closed")

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Subscription can't be pickled")


def _wipe(block: bytearray) -> None:
    block[:] = bytes(len(block))

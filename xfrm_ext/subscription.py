# SPDX-License-Identifier: MIT
"""Subscription: the kernel's events, one after the other, and where some were lost."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import Any

from xfrm_ext.checks import choice, choices, integer, seconds
from xfrm_ext.codec.generic import Codec
from xfrm_ext.constants import Group
from xfrm_ext.errors import BusyError, ClosedError, ReplyTimeout, XfrmError
from xfrm_ext.event import Event, Overrun
from xfrm_ext.transport import Listener

_GROUPS = choices(Group)
_BATCH = 64  # events that are decoded at a time
_PATIENCE = 0.001  # seconds that the kernel's queue is left alone while decoded events are handed out

_NUMBERS, _DAY = (int, float), 86400  # timeouts that need no closer look

_forks = 0  # that this process came from: cheaper to look at than its id


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


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

    Whenever it is called it moves all that waits in the kernel's queue into memory of its own, up to a limit (the
    ``backlog`` of `Session.subscribe`), so that a burst is read as fast as the kernel makes it.

    ``fileno()`` is for select, poll and event loops. When it is readable, call ``get(timeout=0)`` until it returns
    None, or ``get_many(timeout=0)`` until it returns nothing: most of what can be returned is not in the socket.

    One thread at a time reads (BusyError); any may call ``close``. A fork's child can't read (ClosedError), only
    close what it inherited. Signal handlers run while an event is waited for; one that raises ends the wait, and
    no event is lost without an Overrun.
    """

    def __init__(self, listener: Listener, port: int, codec: Codec) -> None:
        self._listener = listener
        self._port = port
        self._codec = codec
        self._ready: list[Event | Overrun | XfrmError] = []  # decoded
        self._next = 0  # which of them comes next
        self._end = 0  # where, in the listener's memory, ends what was decoded
        self._decoding = False  # it was begun, and not ended unless a signal handler raised
        self._due = 0.0  # when the kernel's queue is to be looked at again
        self._pid, self._forks = os.getpid(), _forks
        self._lock = threading.RLock()  # a signal handler may interrupt its own thread anywhere
        self._reader: dict[None, object] = {}  # who reads: one, or none. What a dict does can't be interrupted
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
        limit = timeout
        if timeout is not None and not (timeout.__class__ in _NUMBERS and 0 <= timeout <= _DAY):
            limit = seconds(timeout, "timeout", zero=True)
        if self._closed or self._forks != _forks:
            self._check()
        event: Any = None
        reader, owned = object(), None
        # Signal handlers may raise anywhere, but must not leave a reader behind that is none, nor have an event
        # forgotten. So no loop in this `try` (CPython 3.13 runs handlers at its jumps, and forgets the `finally`
        # there), a second `try` as the first thing in the `finally` (before all else, CPython 3.10 runs handlers),
        # and behind the line that counts the event as handed out neither a call nor, when all goes well, an `if`
        # that does not hold: behind those they run too (CPython 3.10 where it jumps over what depends on it).
        try:
            owned = self._reader.setdefault(None, reader) is reader
            # The first half is what _read() finds most times, without a call.
            if (
                owned
                and self._next < len(self._ready)
                and self._ready[self._next].__class__ is Event
                and time.monotonic() < self._due
            ) or self._read(owned, limit, _BATCH):
                event = self._ready[self._next]
                self._next += 1
        finally:
            try:
                if owned is not False and None in self._reader and self._reader[None] is reader:
                    del self._reader[None]
            finally:
                if not self._closed:
                    pass
                elif not self._reader:
                    self._release()
        return event  # type: ignore[no-any-return]

    def get_many(self, most: int = 1024, timeout: float | None = None) -> list[Event | Overrun]:
        """The next events, as many as are there: waits for the first as `get` does, and for no other. Nothing if
        there is none within `timeout` seconds. At most `most`, and there may be more: call again.

        Raises what `get` does.
        """
        count = integer(most, "most", 1 << 20, least=1)
        limit = timeout
        if timeout is not None and not (timeout.__class__ in _NUMBERS and 0 <= timeout <= _DAY):
            limit = seconds(timeout, "timeout", zero=True)
        if self._closed or self._forks != _forks:
            self._check()
        events: list[Any] = []
        reader, owned = object(), None
        try:  # as in get()
            owned = self._reader.setdefault(None, reader) is reader
            if self._read(owned, limit, count):
                events, following = self._slice(count)
                self._next = following
        finally:
            try:
                if owned is not False and None in self._reader and self._reader[None] is reader:
                    del self._reader[None]
            finally:
                if not self._closed:
                    pass
                elif not self._reader:
                    self._release()
        return events

    def _slice(self, most: int) -> tuple[list[Any], int]:
        """The decoded events before the first error, at most `most`, and the number of what comes next."""
        events: list[Any] = self._ready[self._next : self._next + most]
        for number, event in enumerate(events):
            if event.__class__ is not Event and isinstance(event, XfrmError):
                del events[number:]
                break
        return events, self._next + len(events)

    def _read(self, owned: bool, timeout: float | None, most: int) -> bool:
        """Sees to it that there is a next one among the decoded events; False: none came in time."""
        if not owned:
            raise BusyError("another reader, or what a signal interrupted, is waiting for an event")
        while not self._closed:
            if self._next == len(self._ready):
                if not self._decode(timeout, most):
                    return False
                continue
            if time.monotonic() > self._due:
                self._fill(0)
            event = self._ready[self._next]
            if event.__class__ is not Event and isinstance(event, XfrmError):
                self._next += 1
                raise event
            return True
        raise ClosedError("this subscription is closed")

    def poll(self) -> Event | Overrun | None:
        """The next event if there is one: ``get(timeout=0)``."""
        return self.get(0)

    def _fill(self, timeout: float | None) -> bool:
        """Moves what waits in the kernel's queue into the listener's memory. Waits when that is empty, and returns
        False if it stays so."""
        try:
            self._listener.fill(timeout=timeout)
        except ReplyTimeout:
            return False
        except ClosedError:
            if not self._closed:
                raise
        self._due = time.monotonic() + _PATIENCE
        return True

    def _decode(self, timeout: float | None, most: int) -> bool:
        """Decodes the next events; False: there are none, and came none in time.

        What a signal handler raises in here leaves all as it was, or as it is to be: nothing is released that is
        not among the decoded events, and releasing it twice does no harm."""
        self._check()  # for a fork that Python knows nothing of
        listener = self._listener
        listener.release(self._end)
        if not self._fill(timeout):
            return False
        # One at a time after an interruption: signals may come faster than many are decoded.
        most, self._decoding = 1 if self._decoding else most, True
        records, end = listener.peek(most)
        ready = self._codec.decode_events(records)
        self._ready, self._next, self._end, self._decoding = ready, 0, end, False
        listener.release(end)
        return True

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
            if self._reader and not self._released:
                self._listener.wake()  # the reader closes when it leaves
                return
        self._release()

    def _release(self) -> None:
        """Closes the socket. Only when `_closed` is set, and nobody reads."""
        with self._lock:
            self._released = True
            self._listener.close()
            self._ready, self._next = [], 0

    def _check(self) -> None:
        if self._forks != _forks or self._pid != os.getpid():
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

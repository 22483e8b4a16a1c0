# SPDX-License-Identifier: MIT
"""Ahead: the items of a generator, made in a thread while who takes them is busy.

For what spends its time in C: blocks of messages are encoded while the kernel works on those before, and dumps
received while Python looks at what came.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import weakref
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Generic, TypeVar

from xfrm_ext.errors import ClosedError

_Item = TypeVar("_Item")
_DEPTH = 2
_LOOK_AFTER = 0.1  # seconds after which one that waits looks whether the other is still there


class Ahead(Generic[_Item]):
    """An iterator over what ``source`` yields, two items ahead. A context manager, which ends the thread; that of a
    forgotten one ends a moment later.

    ``source`` runs in the thread alone, and is closed there: it must not call what belongs to users.

    Signal handlers may raise anywhere here. So there is nothing that they could leave locked: the queues are those
    that are written in C, and the thread has no object that could wait for it.
    """

    def __init__(self, source: Generator[_Item, None, None]) -> None:
        self._items: SimpleQueue[_Item | _End] = SimpleQueue()
        self._permits: SimpleQueue[None] = SimpleQueue()
        self._closed = self._ended = False
        self._pid = os.getpid()
        for _ in range(_DEPTH):
            self._permits.put(None)
        _thread.start_new_thread(_make, (source, self._items, self._permits, weakref.ref(self)))

    def __iter__(self) -> Ahead[_Item]:
        return self

    def __next__(self) -> _Item:
        if self._closed or self._ended:
            raise StopIteration
        if self._pid != os.getpid():
            raise ClosedError("this belongs to the parent process: a fork's child has none of its threads")
        item = self._items.get()
        if not isinstance(item, _End):
            self._permits.put(None)
            return item
        self._ended = True
        if item.error is not None:
            raise item.error
        raise StopIteration

    def close(self) -> None:
        """Ends the thread. What it has made already is dropped."""
        self._closed = True
        if self._pid != os.getpid():
            return  # a fork's child does not have the thread
        self._permits.put(None)
        while not self._ended and not sys.is_finalizing():  # at the interpreter's exit the thread stands still
            with suppress(Empty):
                self._ended = isinstance(self._items.get(timeout=_LOOK_AFTER), _End)

    def __enter__(self) -> Ahead[_Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def ahead(source: Generator[_Item, None, None]) -> AbstractContextManager[Iterator[_Item]]:
    """Runs a generator ahead, or, where no thread can be started, as it is."""
    try:
        return Ahead(source)
    except RuntimeError:
        return closing(source)


class closing_source(Generic[_Item]):
    """As contextlib.closing, for a generator that may be running ahead: a thread that an exception (or a fork) left
    with it closes it."""

    def __init__(self, source: Generator[_Item, None, None]) -> None:
        self._source = source

    def __enter__(self) -> Generator[_Item, None, None]:
        return self._source

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(ValueError):  # "generator already executing"
            self._source.close()


class _End:
    """What comes behind the last item: the error that ended the source, if any. Twice, for a signal handler may
    raise when the first has just been taken."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _make(
    source: Generator[_Item, None, None],
    items: SimpleQueue[_Item | _End],
    permits: SimpleQueue[None],
    owner: weakref.ref[Ahead[_Item]],
) -> None:
    error: BaseException | None = None
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for who can be interrupted
        with closing(source):
            while _wanted(permits, owner):
                item = next(source, None)
                if item is None:
                    break
                items.put(item)
                del item
    except BaseException as raised:
        error = raised
    items.put(_End(error))
    items.put(_End(error))


def _wanted(permits: SimpleQueue[None], owner: weakref.ref[Ahead[_Item]]) -> bool:
    """Waits for a permit. Returns whether somebody still wants items."""
    while True:
        who = owner()
        if who is None or who._closed:
            return False
        del who
        with suppress(Empty):
            permits.get(timeout=_LOOK_AFTER)
            return True

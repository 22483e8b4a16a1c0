# SPDX-License-Identifier: MIT
"""Ahead: the items of an iterator, made in a thread while who takes them is busy.

For what spends its time in C: blocks of messages are encoded while the kernel works on those before, and dumps
received while Python looks at what came.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_LOOK_AFTER = 0.1  # seconds after which a thread that waits looks whether somebody still wants its items


class Ahead(Generic[_Item]):
    """An iterator over what ``source`` yields, at most ``depth`` items ahead. A context manager, which ends the
    thread; a forgotten one ends it, too, a moment later.

    ``source`` runs in the thread alone: it must not call what belongs to users, nor hold what a signal handler
    (these run in the main thread) could spoil.
    """

    def __init__(self, source: Iterator[_Item], depth: int = 2) -> None:
        self._items: queue.Queue[_Item | _End] = queue.Queue(depth)
        self._closed = False
        # A daemon: at the interpreter's exit nobody may be left to end it.
        arguments = (source, self._items, weakref.ref(self))
        self._thread = threading.Thread(target=_make, args=arguments, name="xfrm_ext ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Ahead[_Item]:
        return self

    def __next__(self) -> _Item:
        if self._closed:
            raise StopIteration
        item = self._items.get()
        if not isinstance(item, _End):
            return item
        self._closed = True
        if item.error is not None:
            raise item.error
        raise StopIteration

    def close(self) -> None:
        """Ends the thread. What it has made already is dropped."""
        self._closed = True
        while self._thread.is_alive():
            while not self._items.empty():
                self._items.get()
            self._thread.join(0.001)

    def __enter__(self) -> Ahead[_Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _End:
    """What comes behind the last item: the error that ended the source, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _make(
    source: Iterator[_Item], items: queue.Queue[_Item | _End], owner: weakref.ref[Ahead[_Item]]
) -> None:
    error: BaseException | None = None
    try:
        for item in source:
            if not _put(item, items, owner):
                return
    except BaseException as raised:
        error = raised
    _put(_End(error), items, owner)


def _put(
    item: _Item | _End, items: queue.Queue[_Item | _End], owner: weakref.ref[Ahead[_Item]]
) -> bool:
    """Whether somebody still wants it."""
    while True:
        who = owner()
        if who is None or who._closed:
            return False
        del who
        try:
            items.put(item, timeout=_LOOK_AFTER)
            return True
        except queue.Full:
            pass

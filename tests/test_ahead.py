# SPDX-License-Identifier: MIT
"""Items made in a thread, ahead of who takes them."""

from __future__ import annotations

import _thread
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from types import FrameType

import pytest

from xfrm_ext import ClosedError
from xfrm_ext import ahead as module
from xfrm_ext.ahead import Ahead, ahead, closing_source


class Source:
    """A generator that tells how far it is, and when it is closed."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error = count, error
        self.made = threading.Semaphore(0)
        self.closed = threading.Event()
        self.thread = 0

    def __call__(self) -> Generator[int, None, None]:
        self.thread = threading.get_ident()
        try:
            for number in range(self.count):
                self.made.release()
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed.set()

    def has_ended(self) -> bool:
        """Whether its thread is done with it: a generator that never began isn't closed."""
        return not self.thread or self.closed.wait(10)

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.made.acquire(timeout=10)


def test_all_items_in_order() -> None:
    source = Source(1000)
    with Ahead(source()) as items:
        assert list(items) == list(range(1000))
        assert list(items) == []
    assert source.closed.is_set()
    assert source.thread != threading.get_ident()


def test_it_runs_ahead_but_not_away() -> None:
    source = Source(1000)
    with Ahead(source()) as items:
        source.wait_for(2)
        assert next(items) == 0
        source.wait_for(1)
        assert not source.made.acquire(blocking=False), "two items wait already"
        assert next(items) == 1


def test_the_sources_error_comes_in_its_place() -> None:
    source = Source(3, ValueError("no more"))
    with Ahead(source()) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="no more"):
            next(items)
        assert list(items) == []


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_ends_the_thread(taken: int) -> None:
    source = Source(1000)
    items = Ahead(source())
    for number in range(taken):
        assert next(items) == number
    items.close()
    assert source.has_ended()
    assert list(items) == []
    items.close()


def test_a_forgotten_one_ends_by_itself() -> None:
    source = Source(1000)
    items = Ahead(source())
    assert next(items) == 0
    del items
    gc.collect()
    assert source.closed.wait(10)


def test_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refused)
    source = Source(10)
    with ahead(source()) as items:
        assert list(items) == list(range(10))
    assert source.thread == threading.get_ident()


class Stop(Exception):
    pass


def test_signals_at_any_moment() -> None:
    """Whatever a handler interrupts, closing ends the thread, and nothing stays locked."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for attempt in range(300):
            source = Source(10**9)
            with pytest.raises(Stop), Ahead(source()) as items:  # noqa: PT012  it comes from anywhere
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + attempt * 1e-5)
                for number, item in enumerate(items):
                    assert item == number
            assert source.has_ended()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_forks_child_has_no_thread() -> None:
    source = Source(1000)
    with Ahead(source()) as items:
        assert next(items) == 0
        child = os.fork()
        if not child:
            try:
                with pytest.raises(ClosedError):
                    next(items)
                items.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert next(items) == 1


def test_an_end_that_a_handler_lost() -> None:
    source = Source(1, ValueError("no more"))
    items = Ahead(source())
    assert next(items) == 0
    assert isinstance(items._items.get(timeout=10), module._End)
    with pytest.raises(ValueError, match="no more"):
        next(items)
    items.close()


def test_a_source_that_still_runs_is_closed_by_its_thread() -> None:
    """A second signal, while the first waits for the thread to end."""
    going_on = threading.Event()
    source = Source(0)

    def generator() -> Generator[int, None, None]:
        try:
            yield 0
            assert going_on.wait(10)
            yield 1
        finally:
            source.closed.set()

    made = generator()
    with closing_source(made):
        items = Ahead(made)
        assert next(items) == 0
        while inspect.getgeneratorstate(made) != inspect.GEN_RUNNING:
            pass
    going_on.set()
    items.close()
    assert source.closed.wait(10)


def test_the_interpreter_exits_with_one_open() -> None:
    program = """
import itertools
from xfrm_ext.ahead import Ahead

def generator():
    with Ahead(iter_of()) as items:
        yield from items

def iter_of():
    yield from itertools.count()

kept = generator()
other = Ahead(iter_of())
print(next(kept), next(other))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 0\n", ""), os.fsdecode(done.stderr)

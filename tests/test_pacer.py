# SPDX-License-Identifier: MIT
"""When a load waits for the kernel's hash tables to grow, by what the kernel says of them."""

from __future__ import annotations

import pytest

from xfrm_ext import KernelError, Session, SpdInfo
from xfrm_ext.pacer import Pacer


class Kernel:
    """Tells masks in turn, the last one for ever."""

    def __init__(self, *masks: int, total: int = 0) -> None:
        self._masks = iter(masks)
        self._mask = -1
        self._total = total
        self.looks = 0

    def info(self) -> SpdInfo:
        self.looks += 1
        self._mask = next(self._masks, self._mask)
        return SpdInfo(output=self._total, hash_mask=self._mask)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pacer's clock, which only its own sleeping moves."""
    times: list[float] = []
    monkeypatch.setattr("time.sleep", times.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(times))
    return times


def test_one_doubling_a_send(slept: list[float]) -> None:
    """Only what is sent asks for the next: who waits for two waits for ever."""
    kernel = Kernel(7, 7, 7, 15, 15, 31)
    pacer = Pacer(kernel.info)
    pacer.before(256, 100_000, None)
    assert (kernel.looks, len(slept)) == (1, 0), "nothing is there yet"
    pacer.before(256, 100_000 - 256, None)
    assert (kernel.looks, len(slept)) == (4, 2)
    pacer.before(256, 100_000 - 512, None)
    assert (kernel.looks, len(slept)) == (6, 3)


def test_it_has_grown_already(slept: list[float]) -> None:
    kernel = Kernel(7, 255)
    pacer = Pacer(kernel.info)
    for left in (100_000, 99_744):
        pacer.before(256, left, None)
    assert (kernel.looks, slept) == (2, [])


def test_not_for_few(slept: list[float]) -> None:
    """A thousand policies are loaded before a table has doubled."""
    kernel = Kernel(7)
    pacer = Pacer(kernel.info)
    for left in (1000, 744, 488, 232):
        pacer.before(256, left, None)
    assert (kernel.looks, slept) == (1, [])


def test_what_was_there_counts(slept: list[float]) -> None:
    kernel = Kernel(7, 15, total=10_000)
    Pacer(kernel.info).before(256, 100_000, None)
    assert kernel.looks == 2


def test_it_gives_up(slept: list[float]) -> None:
    """When the tables do not grow, at the deadline, and when the kernel does not answer."""
    kernel = Kernel(7)
    pacer = Pacer(kernel.info)
    for left in (100_000, 99_744):
        pacer.before(256, left, None)
    assert 0.1 <= sum(slept) < 0.11  # one send goes without waiting
    for left in range(99_488, 98_000, -256):
        pacer.before(256, left, None)
    assert 0.3 <= sum(slept) < 0.33  # and after three in a row, all do
    before = len(slept)
    pacer = Pacer(Kernel(7).info)
    for left in (100_000, 99_744, 99_488):
        pacer.before(256, left, sum(slept) + 0.005)
    assert 5 <= len(slept) - before <= 15, "each try until the deadline, then no more"

    def refuse() -> SpdInfo:
        raise KernelError(1, "get SPD info")

    before = len(slept)
    pacer = Pacer(refuse)
    for left in (100_000, 99_744, 99_488):
        pacer.before(256, left, None)
    assert len(slept) == before


def test_the_largest_table(slept: list[float]) -> None:
    kernel = Kernel(524287, total=2_000_000)
    Pacer(kernel.info).before(256, 1_000_000, None)
    assert (kernel.looks, slept) == (1, [])


def test_the_kernel_grows_by_what_is_added(session: Session) -> None:
    """As the rule has it: not while nothing is added."""
    assert session.spd.count().hash_mask == 7
    assert session.spd.count().hash_limit >= 524287

# SPDX-License-Identifier: MIT
"""What a measurement is: runs, series of them, and ratios between those of the same round."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class BenchmarkError(Exception):
    """Something is not as it must be for the figures to mean anything."""


def note(text: str) -> None:
    """What is going on, for who waits; results go to stdout."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Timing:
    """One run of one contender."""

    seconds: float
    user_seconds: float
    system_seconds: float
    making: Timing | None = None
    """Making the objects, before the clock of `seconds` starts."""

    def __add__(self, other: Timing) -> Timing:
        return Timing(
            self.seconds + other.seconds,
            self.user_seconds + other.user_seconds,
            self.system_seconds + other.system_seconds,
        )

    @classmethod
    def of(cls, figures: dict[str, Any]) -> Timing:
        """From what a child process printed."""
        return cls(figures["seconds"], figures["user_seconds"], figures["system_seconds"])


class Stopwatch:
    """Wall time and this process's processor time (or that of its children) of a `with` block."""

    def __init__(self, *, children: bool = False) -> None:
        self._who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF

    def __enter__(self) -> Stopwatch:
        self._usage = resource.getrusage(self._who)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        seconds = time.perf_counter() - self._start
        usage = resource.getrusage(self._who)
        self.timing = Timing(seconds, usage.ru_utime - self._usage.ru_utime, usage.ru_stime - self._usage.ru_stime)


@dataclass(slots=True)
class Series:
    """The runs of one contender, one a round."""

    timings: list[Timing] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        return [timing.seconds for timing in self.timings]

    def figures(self) -> dict[str, Any]:
        """For the JSON file; microseconds are as fine as these clocks are worth."""
        return {
            "seconds": [round(timing.seconds, 6) for timing in self.timings],
            "user_seconds": [round(timing.user_seconds, 6) for timing in self.timings],
            "system_seconds": [round(timing.system_seconds, 6) for timing in self.timings],
        }


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the ends of several measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def figures(self) -> dict[str, float]:
        return {"median": round(self.median, 6), "min": round(self.low, 6), "max": round(self.high, 6)}


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Of the ratios within each round: what else the machine did in that round cancels out."""
    return Spread.of([one / other for one, other in zip(over, under, strict=True)])

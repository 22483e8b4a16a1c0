# SPDX-License-Identifier: MIT
"""What all cases share: the kernel's own view, the C programs, a folder for files, and the rounds."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import xfrm_ext
from benchmarks import kernel, namespaces, policies
from benchmarks.measure import BenchmarkError, Series, Timing, note, ratio
from benchmarks.programs import Missing, Programs, figures

# What the kernel needs to free a flushed policy, after a grace period.
FREEING_SECONDS = 4e-6
# Many times what it takes to double a table, which the kernel does after a grace period.
GROWING_SECONDS = 0.1
# Up to here every policy is compared as a whole, beyond it its selector: that takes less time.
COMPARE_WHOLE = 200_000

Way: TypeAlias = Callable[[], Timing]
"""Does the job once, and times itself. Raises Missing where that can't be done."""


@dataclass(slots=True)
class Options:
    """What the command line says, and cases go by."""

    count: int = 100_000
    sizes: Sequence[int] = (1_000, 10_000, 100_000)
    shape_count: int = 20_000
    slow_count: int = 8_000
    states: int = 2_000
    million: int = 1_000_000
    rounds: int | None = None
    batch: int = 256
    contenders: Sequence[str] = ()
    batch_file: Path | None = None
    real_table: Path | None = None
    real_count: int | None = None
    memory_counts: Sequence[int] = (100_000, 1_000_000)
    micro_values: int = 5
    settle: float = 0.3
    """Seconds after a flush: the kernel frees policies after a grace period, for which nobody else shall pay."""


class Table:
    """Policies of one shape, in each of the forms that contenders take them in; made when first asked for."""

    def __init__(self, folder: Path, shape: str, rows: Sequence[policies.Row]) -> None:
        self.shape, self.rows = shape, rows
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._objects: list[Any] = []
        self._columns: dict[str, Any] = {}
        self._expected: dict[bool, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def messages(self, verb: policies.Verb = "add") -> Path:
        """A file of ready-made messages."""
        path = self._folder / f"{self.shape}-{len(self)}.{verb}.messages"
        if path.name not in self._files:
            with open(path, "wb") as file:
                file.writelines(policies.message(row, verb) for row in self.rows)
            self._files[path.name] = path
        return path

    def batch(self, verb: policies.Verb = "add") -> Path:
        """The same for `ip -batch`."""
        path = self._folder / f"{self.shape}-{len(self)}.{verb}.batch"
        if path.name not in self._files:
            with open(path, "w", encoding="ascii") as file:
                file.writelines(policies.batch_line(row, verb) for row in self.rows)
            self._files[path.name] = path
        return path

    def objects(self) -> list[Any]:
        if not self._objects:
            self._objects = list(map(policies.Maker(xfrm_ext).policy, self.rows))
            settle_objects()
        return self._objects

    def columns(self) -> dict[str, Any]:
        """Raises Missing without numpy."""
        if not self._columns:
            try:
                self._columns = policies.columns(self.rows)
            except ImportError:
                raise Missing("numpy is not installed") from None
        return self._columns

    def expected(self, whole: bool) -> list[bytes]:
        """What a dump must show, by a packer of our own."""
        if whole not in self._expected:
            key = kernel.as_asked_for if whole else kernel.selector_key
            skip = policies.HEADER.size
            self._expected[whole] = sorted(key(policies.message(row)[skip:]) for row in self.rows)
        return self._expected[whole]

    def remove(self) -> None:
        """Forgets everything: a million policies take a gigabyte."""
        for path in self._files.values():
            path.unlink()
        self._files.clear()
        self._objects = []
        self._columns = {}
        self._expected = {}


def settle_objects() -> None:
    """What the benchmark itself holds shall not be traversed while a contender is timed."""
    gc.collect()
    gc.freeze()


class Bench:
    """Runs contenders in turn, in a network namespace of our own, and checks after each what the kernel has."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.programs = Programs(folder)
        self.kernel = kernel.Kernel()
        if self.kernel.counts().policies:
            raise BenchmarkError("the namespace is not fresh: it has policies")

    def fresh(self) -> None:
        """Into a fresh namespace, whose hash tables are at their smallest."""
        self.kernel.close()
        namespaces.fresh()
        self.kernel = kernel.Kernel()
        self.check_count(0)

    def table(self, shape: str, count: int) -> Table:
        rows = policies.rows(shape, count)
        if len(rows) != count:
            raise BenchmarkError(f"the shape {shape} has room for {len(rows)} policies only")
        settle_objects()
        return Table(self.folder, shape, rows)

    # -- the kernel ----------------------------------------------------------------------------

    def check_count(self, count: int) -> None:
        found = self.kernel.counts().policies
        if found != count:
            raise BenchmarkError(f"the kernel has {found} policies, not {count}")

    def check_all_there(self, table: Table) -> None:
        """A dump must show exactly the table's policies."""
        whole = len(table) <= COMPARE_WHOLE
        key = kernel.as_asked_for if whole else kernel.selector_key
        if sorted(map(key, self.kernel.dump())) != table.expected(whole):
            raise BenchmarkError("a dump does not show exactly the policies that were to be loaded")

    def flush(self) -> None:
        self.settle(self._flushed())

    def _flushed(self) -> int:
        count = self.kernel.counts().policies
        self.kernel.flush()
        self.check_count(0)
        return count

    def settle(self, count: int) -> None:
        """Until the kernel has freed `count` policies, and its tables have grown."""
        time.sleep(self.options.settle + count * FREEING_SECONDS)

    def floor(self, messages: Path, batch: int | None = None) -> Timing:
        command: list[str | Path] = [self.programs["floor"], messages, str(batch or self.options.batch)]
        return Timing.of(figures(command))

    def warm(self, table: Table) -> None:
        """Loads and flushes until the kernel's hash tables stop growing; they never shrink."""
        before, mask = -1, self.kernel.counts().hash_mask
        while mask != before and mask < len(table):  # at one for each it stops; at a limit of its own, too
            self.floor(table.messages())
            self.check_count(len(table))
            before, mask = mask, self._grown_mask()
            self.flush()
        note(f"  tables warm: {mask + 1} hash buckets for {len(table)} policies")

    def _grown_mask(self) -> int:
        """The size of the kernel's tables, when they have not grown for a while: that happens in the background."""
        mask, since = self.kernel.counts().hash_mask, time.monotonic()
        while time.monotonic() - since < GROWING_SECONDS:
            time.sleep(GROWING_SECONDS / 10)
            now = self.kernel.counts().hash_mask
            if now != mask:
                mask, since = now, time.monotonic()
        return mask

    # -- rounds --------------------------------------------------------------------------------

    def group(
        self,
        operation: str,
        shape: str,
        count: int,
        ways: Mapping[str, Way],
        rounds: int,
        *,
        base: str = "floor",
        before: Callable[[], None] | None = None,
        after: Callable[[str, bool], None],
        warm: bool = True,
    ) -> dict[str, Any]:
        """Runs the contenders in turn, `rounds` times, each round in another order: what one leaves behind (memory
        in the kernel, for one, that the next gets sooner than others) shall not always be the same one's gain.

        `before` prepares each run, `after(name, first)` checks and clears up behind it. A contender that is
        Missing is left out, with its reason.
        """
        chosen = self.options.contenders
        kept = {name: way for name, way in ways.items() if not chosen or name == base or name in chosen}
        series = {name: Series() for name in kept}
        skipped: dict[str, str] = {}
        rounds = self.options.rounds or rounds
        note(f"{operation}: {count} items, shape {shape}, {rounds} rounds")
        mask = self.kernel.counts().hash_mask
        for number in range(rounds):
            order = [name for name in kept if name not in skipped]
            for name in random.Random(number).sample(order, len(order)):
                if before:
                    before()
                gc.collect()  # of what the last one left behind
                try:
                    timing = kept[name]()
                except Missing as reason:
                    skipped[name] = str(reason)
                    if before:
                        self.flush()
                    note(f"  {name} is left out: {reason}")
                    continue
                series[name].timings.append(timing)
                after(name, number == 0)
                note(f"  round {number + 1}/{rounds}  {name:<14} {timing.seconds:9.4f} s")
        if warm and self.kernel.counts().hash_mask != mask:
            raise BenchmarkError("the kernel's tables grew during the rounds: they were not warm")
        if "list" in series and series["list"].timings and series["list"].timings[0].making:
            series["make_list"] = Series(
                [timing + timing.making for timing in series["list"].timings if timing.making]
            )
        return {
            "operation": operation,
            "shape": shape,
            "items": count,
            "tables": "warm" if warm else "cold",
            "base": base,
            "contenders": {
                name: {**one.figures(), "ratio": ratio(one.seconds, series[base].seconds).figures()}
                for name, one in series.items()
                if one.timings
            },
            "skipped": skipped,
        }

# SPDX-License-Identifier: MIT
"""What is shown: progress bars, the table of timings, the checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

Advance = Callable[[int, int | None], None]

# A bar drawn more often than this costs time that would count as loading.
_REDRAW_SECONDS = 0.05


@dataclass(frozen=True)
class Timing:
    """One line of the table."""

    way: str
    note: str
    policies: int
    seconds: float
    estimated: bool = False
    compared: bool = True
    """Whether it enters policies, so that its speed can be set beside another's."""


def duration(seconds: float) -> str:
    """Seconds with as many digits as mean something."""
    return f"{seconds:,.3f}" if seconds < 1 else f"{seconds:,.2f}"


class Report:
    """Writes to the terminal, and remembers what the closing table and the exit status need."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.timings: list[Timing] = []
        self.failures = 0
        self.checks = 0

    def say(self, text: str) -> None:
        """One line of text."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: int | None) -> Iterator[Advance]:
        """A progress bar; the caller is given ``advance(done, total)``, made for ``progress=``."""
        columns = (
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn() if total is not None else TextColumn(""),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(what, total=total)
            due = 0.0

            def advance(done: int, known_total: int | None = None) -> None:
                nonlocal due
                now = time.monotonic()
                if now >= due or done == total:
                    due = now + _REDRAW_SECONDS
                    progress.update(task, completed=done)

            yield advance
            progress.update(task, completed=total or 1, total=total or 1)

    def check(self, what: str, passed: bool, detail: str = "") -> None:
        """Show the outcome of one check; a failed one makes the demo fail."""
        self.checks += 1
        self.failures += not passed
        mark = "[green]ok[/]    " if passed else "[bold red]FAILED[/]"
        self.console.print(f"  {mark}", end=" ")
        self.say(what if passed or not detail else f"{what}: {detail}")

    def table(self, title: str, reference: str) -> None:
        """All timings; the last column compares with the way called ``reference``."""
        base = next((timing for timing in self.timings if timing.way == reference), None)
        table = Table(title=title, title_justify="left")
        table.add_column("way")
        table.add_column("seconds", justify="right")
        table.add_column("a second", justify="right")
        if base is not None:
            table.add_column(f"{reference} = 1", justify="right")
        for timing in self.timings:
            about = "~" if timing.estimated else ""
            cells = [
                f"{timing.way}\n[dim]{timing.note}[/]" if timing.note else timing.way,
                f"{about}{duration(timing.seconds)}",
                f"{about}{timing.policies / timing.seconds:,.0f}",
            ]
            if base is not None:
                times = base.seconds / timing.seconds
                shown = f"{about}{times:.1f}" if times >= 1 else f"{about}{times:.2g}"
                cells.append(shown if timing.compared else "")
            table.add_row(*cells)
        self.console.print(table)

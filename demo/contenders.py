# SPDX-License-Identifier: MIT
"""The ways to load policies, each timed, and the checks of what the kernel then holds.

Everything here happens in the private network namespace.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import xfrm_ext as xfrm

from .blocks import Block
from .gateway import Gateway
from .report import Advance, Report, Timing

SAMPLE = 200
ONE_BY_ONE = 300
FREEING_SECONDS = 4e-6


class LoadFailed(Exception):
    """A way to load ended with an error; the text is its own."""


@dataclass
class Stage:
    """What all contenders share: the policies in each form, and where to show the outcome."""

    session: xfrm.Session
    blocks: Sequence[Block]
    gateway: Gateway
    file: Path
    seed: int
    report: Report

    def run(self, way: str, note: str, load: Callable[[Advance], object], total: int | None = None) -> None:
        """One load of all policies: time it, check what the kernel has, remove it again.

        ``total`` is for a loader that reports its progress; the time is without the bar's own
        beginning and end.
        """
        with self.report.bar(way, total) as advance:
            seconds = timed(lambda: load(advance))
        self.report.timings.append(Timing(way, note, len(self.blocks), seconds))
        self._check_count(len(self.blocks))
        self._check_sample()
        self.empty()

    def _check_count(self, expected: int) -> None:
        info = self.session.spd.count()
        self.report.check(
            f"the kernel counts {expected:,} policies, all of them for output",
            info.output == expected and info.total == expected,
            f"it counts {info.output:,} for output, {info.total:,} in all",
        )

    def _check_sample(self) -> None:
        """Read policies back, one by one, and compare them with what was to be loaded."""
        draw = random.Random(f"{self.seed} sample")
        sample = draw.sample(self.blocks, min(SAMPLE, len(self.blocks)))
        differences = []
        for block in sample:
            wanted = self.gateway.policy(block)
            try:
                found = self.session.spd.get(wanted.selector, "out")
            except xfrm.NotFound:
                differences.append(f"{block.prefix} is not there")
                continue
            for field in ("selector", "direction", "priority", "action", "templates"):
                if getattr(found, field) != getattr(wanted, field):
                    differences.append(
                        f"{block.prefix}: {field} is {getattr(found, field)}, not {getattr(wanted, field)}"
                    )
        self.report.check(
            f"{len(sample)} policies drawn at random read back as they were written",
            not differences,
            f"{len(differences)} differences, the first: {differences[0] if differences else ''}",
        )

    def empty(self) -> None:
        """Remove all policies, and let the kernel finish with them."""
        self.session.spd.flush()
        # The kernel gives their memory back in the background, after the flush has returned: whoever
        # loads next would pay for it.
        time.sleep(0.5 + len(self.blocks) * FREEING_SECONDS)
        left = self.session.spd.count().total
        if left:
            self.report.check("flush removes every policy", False, f"{left:,} are left")

    # The contenders.

    def load_file(self, advance: Advance) -> None:
        """Our loader, from the file."""
        self.session.spd.load_batch_file(self.file, progress=advance)

    def load_file_as_program(self, _: Advance) -> None:
        """Our loader, from the file, as a program of its own: as ``ip -batch`` is one."""
        program = (
            "import sys, xfrm_ext\n"
            "with xfrm_ext.Session() as session:\n"
            "    session.spd.load_batch_file(sys.argv[1])\n"
        )
        _run([sys.executable, "-c", program, str(self.file)])

    def load_with_ip(self, ip: str) -> None:
        """iproute2, from the same file."""
        _run([ip, "-batch", str(self.file)])

    def run_one_by_one(self, ip: str, way: str) -> None:
        """iproute2, a process for each policy: the first few timed, the rest reckoned from them."""
        commands = [[ip, *self.gateway.line(block).split()] for block in self.blocks[:ONE_BY_ONE]]

        def load(advance: Advance) -> None:
            for done, command in enumerate(commands, 1):
                _run(command)
                advance(done, len(commands))

        with self.report.bar(way, len(commands)) as advance:
            seconds = timed(lambda: load(advance))
        self._check_count(len(commands))
        self.empty()
        note = f"ESTIMATED from {len(commands)} processes"
        whole = seconds / len(commands) * len(self.blocks)
        self.report.timings.append(Timing(way, note, len(self.blocks), whole, estimated=True))


def find_ip() -> str | None:
    """The ``ip`` program; an ordinary user's PATH often lacks the folders that it is in."""
    return which("ip") or which("ip", path="/usr/sbin:/sbin")


def timed(work: Callable[[], object]) -> float:
    """The seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise LoadFailed(f"{' '.join(command[:6])}: {done.stderr.strip() or done.returncode}")

# SPDX-License-Identifier: MIT
"""Loads and dumps of states. Needs a kernel with ESP and ciphers; where the machine's own has none, in the guest.

    python -m benchmarks.sad COUNT ROUNDS

prints its figures as JSON. Started by run.py, in its network namespace or in the guest (tests/guest/run).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Options, Way
from benchmarks.cases import use_once
from benchmarks.contenders import check_result
from benchmarks.measure import BenchmarkError, Stopwatch, Timing, note
from benchmarks.programs import Missing, ip_program, whole_process
from benchmarks.states import batch_line, columns, states
from xfrm_ext import Session, State, XfrmError
from xfrm_ext.codec import native

ROOT = Path(__file__).resolve().parent.parent
NAMES = [field.name for field in fields(State)]
ROUNDS = 7
LOAD_PROGRAM = """\
import sys
from benchmarks.states import load
load(int(sys.argv[1]))
"""


class NoStates(Exception):
    """Why states can't be measured here."""


def load_ways(bench: Bench, session: Session, made: list[State]) -> dict[str, Way]:
    count = len(made)
    batch, messages = bench.folder / "states.batch", bench.folder / "states.messages"
    batch.write_text("".join(map(batch_line, range(count))))
    messages.write_bytes(b"".join(map(native.encode, made)))

    def from_list() -> Timing:
        with Stopwatch() as loading:
            result = session.sad.load(made)
        check_result(result, count)
        return loading.timing

    def from_columns() -> Timing:
        sad: Any = session.sad
        if not hasattr(sad, "load_columns"):
            raise Missing("this version has no Sad.load_columns")
        try:
            given = columns(count)
        except ImportError:
            raise Missing("numpy is not installed") from None
        with Stopwatch() as loading:
            result = sad.load_columns(made[0], **given)
        check_result(result, count)
        return loading.timing

    return {
        "floor": lambda: bench.floor(messages),
        "columns": from_columns,
        "list": from_list,
        "process": lambda: whole_process([sys.executable, "-c", LOAD_PROGRAM, str(count)]),
        "one_by_one": lambda: bench.floor(messages, 1),
        "ip": lambda: whole_process([ip_program(), "-batch", batch]),
    }


def dump_ways(session: Session) -> dict[str, Way]:
    def objects() -> Timing:
        with Stopwatch() as dumping:
            list(session.sad.dump())
        return dumping.timing

    def everything() -> Timing:
        with Stopwatch() as dumping:
            for state in session.sad.dump():
                for name in NAMES:
                    getattr(state, name)
        return dumping.timing

    def counters() -> Timing:
        with Stopwatch() as dumping:
            list(session.sad.counters())
        return dumping.timing

    def from_columns() -> Timing:
        sad: Any = session.sad
        if not hasattr(sad, "dump_columns"):
            raise Missing("this version has no Sad.dump_columns")
        with Stopwatch() as dumping:
            sad.dump_columns()
        return dumping.timing

    return {
        "ip": lambda: whole_process([ip_program(), "xfrm", "state"]),
        "columns": from_columns,
        "counters": counters,
        "objects": objects,
        "objects_all": everything,
    }


def groups(bench: Bench, count: int, rounds: int) -> list[dict[str, Any]]:
    """Both, in the network namespace that this process is in."""
    made = states(count)
    with Session() as session:

        def loaded(name: str = "", first: bool = False) -> None:
            found = session.sad.count().count
            if found != count:
                raise BenchmarkError(f"{found} states are there, and {count} were loaded")

        def after_load(name: str, first: bool) -> None:
            loaded()
            session.sad.flush()
            bench.settle(count)

        ways = load_ways(bench, session, made)
        session.sad.load(made)  # the kernel's tables grow now, and never shrink
        after_load("", False)
        loads = bench.group("load", "state", count, ways, rounds, after=after_load)
        session.sad.load(made)
        dumps = bench.group("dump", "state", count, dump_ways(session), rounds, base="ip", after=loaded)
        session.sad.flush()
    return [loads, dumps]


def here() -> bool:
    """Whether this kernel can have such states."""
    with Session() as session:
        try:
            session.sad.add(states(1)[0])
        except XfrmError:
            return False
        session.sad.flush()
        return True


def measure(bench: Bench) -> list[dict[str, Any]]:
    """On this kernel where it can, else in the guest. Raises NoStates."""
    count, rounds = bench.options.states, bench.options.rounds or ROUNDS
    bench.fresh()
    if here():
        return groups(bench, count, rounds)
    cache = Path(os.environ.get("XFRM_EXT_GUEST_CACHE") or "~/.cache/xfrm-ext-guest").expanduser()
    if not os.environ.get("XFRM_EXT_GUEST_KERNEL") and not (cache / "kernel").exists():
        raise NoStates("this kernel has no ESP, and the guest's is not built: `tests/guest/run` does that")
    note(f"states: {count}, in the guest, for this kernel has no ESP")
    guest: list[str | Path] = [
        ROOT / "tests/guest/run",
        "--",
        sys.executable,
        "-m",
        "benchmarks.sad",
        str(count),
        str(rounds),
    ]
    done = subprocess.run(guest, check=False, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode or not done.stdout:
        raise BenchmarkError("states: the run in the guest failed; see above")
    found = json.loads(done.stdout)
    return [{**group, "kernel": found["kernel"]} for group in found["groups"]]


def main() -> None:
    count, rounds = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="xfrm-ext-benchmark-") as folder:
        bench = Bench(Options(), Path(folder))
        use_once(bench)
        found = groups(bench, count, rounds)
    json.dump({"kernel": f"{os.uname().release}, User-Mode Linux", "groups": found}, sys.stdout)


if __name__ == "__main__":
    main()

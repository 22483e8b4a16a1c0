# SPDX-License-Identifier: MIT
"""Deletion of policies that the kernel keeps in trees: the library against a C program that deletes by selector.

    python benchmarks/delete.py [-n 8000] [--rounds 5] [--json delete.json]

Everything runs in a fresh network namespace of its own. The C program (floor.c) has its DELPOLICY messages ready
made, 256 a send; the library gets a list of Policy. README.md says how to read the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kernel

HERE = Path(__file__).resolve().parent
INSIDE = "XFRM_EXT_BENCHMARK_INSIDE"
# The kernel frees deleted policies after a grace period; the next contender must not pay for that.
SETTLE_SECONDS = 0.3


def prefix(number: int) -> str:
    """A /24 for each number."""
    return f"{socket.inet_ntoa((0x0A000000 + (number << 8)).to_bytes(4, 'big'))}/24"


def measure(count: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of each contender, one a round; they take turns at being first."""
    import xfrm_ext
    from xfrm_ext import wire

    floor = folder / "floor"
    subprocess.run(["cc", "-O2", "-Wall", "-o", floor, HERE / "floor.c"], check=True)
    template = xfrm_ext.Template("192.0.2.1", "198.51.100.2", protocol="esp", reqid=1, mode="tunnel")
    policies = [
        xfrm_ext.Policy(
            xfrm_ext.Selector(prefix(number), "10.0.0.0/8"), direction="out", priority=number, templates=(template,)
        )
        for number in range(count)
    ]
    block = b"".join(policy._wire for policy in policies)
    ready = folder / "messages"
    ready.write_bytes(wire.delete_messages(block, count, by_index=False))

    with xfrm_ext.Session() as session, kernel.Kernel() as witness:

        def by_selector() -> float:
            done = subprocess.run([floor, ready], capture_output=True, text=True, check=True)
            return float(json.loads(done.stdout)["seconds"])

        def timed(call: Callable[[], xfrm_ext.LoadResult]) -> float:
            start = time.perf_counter()
            result = call()
            seconds = time.perf_counter() - start
            if len(result.applied) != count:
                sys.exit(f"delete.py: {result.summary()}")
            return seconds

        contenders: dict[str, Callable[[], float]] = {
            "C by selector": by_selector,
            "load(list, operation='delete')": lambda: timed(lambda: session.spd.load(policies, operation="delete")),
            "delete_where(all)": lambda: timed(lambda: session.spd.delete_where(lambda policy: True)),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        names = list(contenders)
        session.spd.load(policies)  # the tables grow to their size
        witness.flush()
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                session.spd.load(policies)
                time.sleep(SETTLE_SECONDS)
                times[name].append(contenders[name]())
                if left := witness.counts().policies:
                    sys.exit(f"delete.py: {name} left {left} policies")
    return times


def report(count: int, times: dict[str, list[float]]) -> dict[str, object]:
    """Prints medians and the medians of the ratios within each round. Returns the same."""
    floor = times["C by selector"]
    rows: dict[str, object] = {}
    print(f"{count} policies, /24 to /8; Linux {platform.release()}")
    for name, seconds in times.items():
        ratios = sorted(one / other for one, other in zip(seconds, floor, strict=True))
        each = statistics.median(seconds) / count * 1e6
        share = f"1/{1 / statistics.median(ratios):.1f}" if name != "C by selector" else "1"
        print(f"{name:32} {each:8.2f} us a policy   {share:>7} of C by selector")
        rows[name] = {"seconds": seconds, "ratio": statistics.median(ratios), "ratios": ratios}
    return {"policies": count, "kernel": platform.release(), "contenders": rows}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=8000, help="policies (8000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (5)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        unshare = shutil.which("unshare") or "/usr/bin/unshare"
        own = ["-n"] if os.geteuid() == 0 else ["-rn"]
        command = [unshare, *own, sys.executable, __file__, *sys.argv[1:]]
        os.execve(unshare, command, os.environ | {INSIDE: "1"})
    with tempfile.TemporaryDirectory() as folder:
        figures = report(options.n, measure(options.n, options.rounds, Path(folder)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: MIT
"""Loads and dumps of states, against `ip`: ratios of runs that take turns, in a fresh network namespace.

Needs a kernel with ESP and ciphers. Where the machine's own has none:

    tests/guest/run -- python benchmarks/states.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from ipaddress import IPv4Address
from pathlib import Path

from xfrm_ext import Algorithm, AuthAlgorithm, Session, State
from xfrm_ext.testing import become_root, inside, network_namespace

FIRST = int(IPv4Address("10.0.0.0"))
SOURCE = "192.0.2.1"
AUTHENTICATION_KEY, ENCRYPTION_KEY = bytes(range(32)), bytes(range(16))
NAMES = [field.name for field in fields(State)]


def states(count: int) -> list[State]:
    """Tunnel states, each to a peer of its own."""
    authentication = AuthAlgorithm("hmac(sha256)", AUTHENTICATION_KEY)
    encryption = Algorithm("cbc(aes)", ENCRYPTION_KEY)
    return [
        State(
            SOURCE,
            IPv4Address(FIRST + number),
            spi=0x1000 + number,
            mode="tunnel",
            reqid=number + 1,
            authentication=authentication,
            encryption=encryption,
        )
        for number in range(count)
    ]


def batch_file(path: Path, count: int) -> None:
    """The same as lines for `ip -batch`."""
    keys = f"auth-trunc hmac(sha256) 0x{AUTHENTICATION_KEY.hex()} 128 enc cbc(aes) 0x{ENCRYPTION_KEY.hex()}"
    lines = (
        f"xfrm state add src {SOURCE} dst {IPv4Address(FIRST + number)} proto esp spi {0x1000 + number} mode tunnel"
        f" reqid {number + 1} replay-window 32 {keys}\n"
        for number in range(count)
    )
    path.write_text("".join(lines))


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def whole_process(count: int, path: Path) -> None:
    """What `python benchmarks/states.py --only-load` does: objects made from nothing, and loaded."""
    with Session() as session:
        session.sad.load(states(count))


def everything(session: Session) -> int:
    """Reads every field of every state."""
    return sum(1 for state in session.sad.dump() for name in NAMES if getattr(state, name) is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, help="states (10,000)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds (7)")
    parser.add_argument("--only-load", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_load:
        whole_process(options.n, Path())
        return
    become_root()
    with network_namespace() as namespace, inside(namespace), tempfile.TemporaryDirectory() as folder:
        run(options.n, options.rounds, Path(folder) / "states")


def run(count: int, rounds: int, path: Path) -> None:
    batch_file(path, count)
    times: dict[str, list[float]] = {}

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, stdout=subprocess.DEVNULL)

    with Session() as session:

        def loaded() -> None:
            found = session.sad.count().count
            if found != count:
                sys.exit(f"{found} states are there, and {count} were loaded")

        def measure(name: str, work: Callable[[], object]) -> None:
            times.setdefault(name, []).append(seconds(work))

        loads: list[tuple[str, Callable[[], object]]] = [
            ("ip -batch", lambda: ip("-batch", str(path))),
            ("load(list of State)", lambda: session.sad.load(made)),
            ("making them, and load", lambda: session.sad.load(states(count))),
            (
                "a Python process that does it all",
                lambda: subprocess.run([sys.executable, __file__, "--only-load", "-n", str(count)], check=True),
            ),
        ]
        dumps: list[tuple[str, Callable[[], object]]] = [
            ("ip xfrm state", lambda: ip("xfrm", "state")),
            ("list(dump())", lambda: list(session.sad.dump())),
            ("dump, every field read", lambda: everything(session)),
            ("list(counters())", lambda: list(session.sad.counters())),
        ]
        made = states(count)
        session.sad.load(made)  # the kernel's tables grow now, and never shrink
        for number in range(rounds):
            for name, work in loads[number % len(loads) :] + loads[: number % len(loads)]:
                session.sad.flush()
                measure(name, work)
                loaded()
            for name, work in dumps[number % len(dumps) :] + dumps[: number % len(dumps)]:
                measure(name, work)
    print(f"{count:,} states, {rounds} rounds, Linux {os.uname().release}; medians of ratios within a round")
    for group, peer in ((loads, "ip -batch"), (dumps, "ip xfrm state")):
        for name, _ in group:
            ratios = [one / other for one, other in zip(times[name], times[peer], strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"  {name:36} {statistics.median(ratios):5.2f} of {peer}  ({spread})")


if __name__ == "__main__":
    main()

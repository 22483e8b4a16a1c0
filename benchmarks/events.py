# SPDX-License-Identifier: MIT
"""Whether a subscription keeps up with a bulk load, and what it costs.

    python benchmarks/events.py [--runs 10] [--count 100000] [--buffer 4194304]

One session adds policies, as fast as it can, in a network namespace of its own; somebody else reads the events:

- nobody: the load alone;
- C, another process: listen_floor.c, which looks at nothing;
- get_many, another process; for event in subscription, another process;
- get_many, a thread of the loading process.

The contenders take turns. A run is complete when every policy's event came, in order, and no Overrun. Printed is
how many were, the reader's processor time for an event, in microseconds (of a thread: not told apart), and the wall
time of the load over that of the load alone in the same round (medians). Figures of different runs of this program
can't be compared.
"""

from __future__ import annotations

import argparse
import os
import select
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import xfrm_ext as xfrm
from xfrm_ext.testing import become_root, inside, network_namespace

HERE = Path(__file__).resolve().parent
PATIENCE = 0.2  # seconds without an event, after the load, that end a run


@dataclass
class Read:
    """What a reader has seen. (With an Overrun, what is missing may be missing before it.)"""

    events: int = 0
    overruns: int = 0
    in_order: bool = True
    processor_seconds: float | None = None
    last: int | None = None

    def see(self, events: list[xfrm.Event | xfrm.Overrun]) -> None:
        for event in events:
            if isinstance(event, xfrm.Event):
                self.events += 1
                self.in_order = self.in_order and self.last in (None, event.sequence - 1)
                self.last = event.sequence
            else:
                self.overruns += 1
                self.last = None


@dataclass
class Contender:
    name: str
    read: Callable[[Callable[[], float]], tuple[Read, float]]
    """Calls its argument, which loads and returns the seconds that it took, while it reads."""
    reads: list[Read] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def read_all(subscription: xfrm.Subscription, how: str, count: int, is_over: Callable[[], bool]) -> Read:
    read = Read()
    before = time.process_time()
    if how == "iterator":
        batch: list[xfrm.Event | xfrm.Overrun] = []
        while read.events + len(batch) < count:
            event = subscription.get(timeout=PATIENCE)
            if event is not None:
                batch.append(event)
            elif is_over():
                break
            if len(batch) == 1000:
                read.see(batch)
                batch = []
        read.see(batch)
    else:
        while read.events < count:
            events = subscription.get_many(timeout=PATIENCE)
            if not events and is_over():
                break
            read.see(events)
    read.processor_seconds = time.process_time() - before
    read.see(drain(subscription))
    return read


def drain(subscription: xfrm.Subscription) -> list[xfrm.Event | xfrm.Overrun]:
    """What came beside all that was expected."""
    found: list[xfrm.Event | xfrm.Overrun] = []
    while events := subscription.get_many(timeout=0):
        found += events
    return found


def reader(options: argparse.Namespace) -> None:
    """The reading process: prints "ready", reads until there are enough, or stdin was closed and nothing comes."""
    with xfrm.Session() as session, session.subscribe("policy", buffer=options.buffer) as subscription:
        print("ready", flush=True)
        read = read_all(
            subscription, options.reader, options.count, lambda: bool(select.select([sys.stdin], [], [], 0)[0])
        )
    print(read.events, read.overruns, int(read.in_order), read.processor_seconds, flush=True)


def in_process(command: list[str]) -> Callable[[Callable[[], float]], tuple[Read, float]]:
    def run(load: Callable[[], float]) -> tuple[Read, float]:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            seconds = load()
            process.stdin.close()
            events, overruns, in_order, processor_seconds = process.stdout.read().split()
        return Read(int(events), int(overruns), in_order == "1", float(processor_seconds)), seconds

    return run


def in_thread(options: argparse.Namespace) -> Callable[[Callable[[], float]], tuple[Read, float]]:
    def run(load: Callable[[], float]) -> tuple[Read, float]:
        over = threading.Event()
        found: list[Read] = []
        with xfrm.Session() as session, session.subscribe("policy", buffer=options.buffer) as subscription:
            thread = threading.Thread(
                target=lambda: found.append(read_all(subscription, "get_many", options.count, over.is_set))
            )
            thread.start()
            seconds = load()
            over.set()
            thread.join()
        found[0].processor_seconds = None
        return found[0], seconds

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--buffer", type=int, default=4 << 20)
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        reader(options)
        return
    become_root()
    with tempfile.TemporaryDirectory() as folder, network_namespace() as namespace, inside(namespace):
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    floor = folder / "listen_floor"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, "-O2", "-Wall", "-Wextra", "-o", floor, HERE / "listen_floor.c"], check=True)
    template = xfrm.Template("10.0.0.1", "10.0.0.2", mode="tunnel", reqid=1)
    policies = [
        xfrm.Policy(
            xfrm.Selector(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"),
            direction="out",
            priority=number,
            templates=template,
        )
        for number in range(options.count)
    ]

    def load() -> float:
        start = time.perf_counter()
        session.spd.load(policies)
        return time.perf_counter() - start

    def ours(how: str) -> Callable[[Callable[[], float]], tuple[Read, float]]:
        given = [f"--count={options.count}", f"--buffer={options.buffer}", f"--reader={how}"]
        return in_process([sys.executable, __file__, *given])

    contenders = [
        Contender("nobody", lambda load: (Read(), load())),
        Contender("C, another process", in_process([str(floor), str(options.buffer)])),
        Contender("get_many, another process", ours("get_many")),
        Contender("get, another process", ours("iterator")),
        Contender("get_many, a thread", in_thread(options)),
    ]
    with xfrm.Session() as session:
        for _ in range(2):  # the kernel's hash tables grow
            load()
            session.spd.flush()
        for number in range(options.runs):
            for contender in contenders[number % len(contenders) :] + contenders[: number % len(contenders)]:
                read, seconds = contender.read(load)
                session.spd.flush()
                contender.reads.append(read)
                contender.seconds.append(seconds)
    print(f"{options.count} policies, a buffer of {options.buffer} bytes, {options.runs} runs")
    print(f"{'':<28} {'complete':>8} {'overruns':>8} {'us/event':>8} {'load':>6}")
    for contender in contenders:
        report(contender, contenders[0], options.count)


def report(contender: Contender, alone: Contender, count: int) -> None:
    ratio = statistics.median(ours / base for ours, base in zip(contender.seconds, alone.seconds, strict=True))
    if contender is alone:
        print(f"{contender.name:<28} {'':>8} {'':>8} {'':>8} {ratio:>6.2f}")
        return
    complete = sum(read.events == count and read.in_order and not read.overruns for read in contender.reads)
    overruns = sum(read.overruns for read in contender.reads)
    costs = [
        read.processor_seconds / max(read.events, 1) * 1e6 for read in contender.reads if read.processor_seconds
    ]
    cost = f"{statistics.median(costs):.2f}" if costs else ""
    print(f"{contender.name:<28} {complete:>8} {overruns:>8} {cost:>8} {ratio:>6.2f}")


if __name__ == "__main__":
    main()

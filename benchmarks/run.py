# SPDX-License-Identifier: MIT
"""Benchmarks of xfrm_ext against the kernel's own speed and against `ip -batch`.

    python benchmarks/run.py                      # load, memory, dump
    python benchmarks/run.py load --ip -n 100000
    python benchmarks/run.py file --batch-file policies.batch

Everything runs in a fresh network namespace that this program makes for itself and that ends with
it; the host's policies are neither seen nor touched. README.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import json
import os
import platform
import resource
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import kernel
import policies

HERE = Path(__file__).resolve().parent
CASES = ("load", "file", "memory", "dump")
CONTENDERS = ("floor", "list", "batchfile", "process", "ip")
# Tells the program, started again inside the fresh namespace, which one it came from.
OUTER_NAMESPACE = "XFRM_EXT_BENCHMARK_OUTER_NAMESPACE"
# The kernel frees flushed policies after a grace period; the next contender must not pay for that.
SETTLE_SECONDS = 0.3
PROCESS_TIMEOUT = 1800
MEMORY_COUNTS = (100_000, 1_000_000)
LOAD_PROGRAM = """\
import sys, xfrm_ext
with xfrm_ext.Session() as session:
    session.spd.load_batch_file(sys.argv[1], batch=int(sys.argv[2]))
"""


class BenchmarkError(Exception):
    """Something is not as it must be for the figures to mean anything."""


@dataclass
class Timing:
    """One run of one contender."""

    seconds: float
    user_seconds: float
    system_seconds: float
    build_seconds: float | None = None  # making the objects, before the clock of `seconds` starts


@dataclass
class Series:
    """The runs of one contender, one a round."""

    name: str
    policies: int
    timings: list[Timing] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        return [timing.seconds for timing in self.timings]


@dataclass
class Contender:
    """A way to do the job; `run` does it once and times itself."""

    name: str
    run: Callable[[], Timing]


class Stopwatch:
    """Wall time and this process's processor time (or its children's) of a `with` block."""

    def __init__(self, *, children: bool = False) -> None:
        self._who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF

    def __enter__(self) -> Stopwatch:
        self._usage = resource.getrusage(self._who)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        seconds = time.perf_counter() - self._start
        usage = resource.getrusage(self._who)
        self.timing = Timing(
            seconds,
            usage.ru_utime - self._usage.ru_utime,
            usage.ru_stime - self._usage.ru_stime,
        )


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def library() -> Any:
    """The package, imported late: the floor and `ip` can be measured without it."""
    try:
        return importlib.import_module("xfrm_ext")
    except ImportError as error:
        raise BenchmarkError(f"can't import the package ({error}): pip install -e .") from error


class Bench:
    """What all cases share: options, the kernel's view, the floor program, a folder for files."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.kernel = kernel.Kernel()
        self.floor = self._compile_floor()
        if self.kernel.counts().policies:
            raise BenchmarkError("the namespace is not fresh: it has policies")

    def _compile_floor(self) -> Path:
        program = self.folder / "floor"
        compiler = shlex.split(os.environ.get("CC", "cc"))
        source = HERE / "floor.c"
        subprocess.run([*compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True)
        return program

    # -- one run of a contender ------------------------------------------------------------

    def run_floor(self, messages: Path) -> Timing:
        done = subprocess.run(
            [self.floor, messages, str(self.options.batch)],
            check=False,
            capture_output=True,
            text=True,
            timeout=PROCESS_TIMEOUT,
        )
        if done.returncode:
            raise BenchmarkError(f"the C floor failed: {done.stderr or done.stdout}")
        figures = json.loads(done.stdout)
        return Timing(figures["seconds"], figures["user_seconds"], figures["system_seconds"])

    def run_list(self, table: Sequence[policies.Row]) -> Timing:
        xfrm = library()
        with Stopwatch() as building:
            made = [policies.policy(xfrm, row) for row in table]
        with xfrm.Session() as session, Stopwatch() as loading:
            result = session.spd.load(made, batch=self.options.batch)
        self._check_result(result, len(table))
        loading.timing.build_seconds = building.timing.seconds
        return loading.timing

    def run_batch_file(self, path: Path, count: int) -> Timing:
        with library().Session() as session, Stopwatch() as loading:
            result = session.spd.load_batch_file(path, batch=self.options.batch)
        self._check_result(result, count)
        return loading.timing

    def run_process(self, command: Sequence[str]) -> Timing:
        with Stopwatch(children=True) as running:
            done = subprocess.run(
                command,
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PROCESS_TIMEOUT,
            )
        if done.returncode:
            raise BenchmarkError(f"{command[0]} failed: {done.stderr[-1000:]}")
        return running.timing

    def our_process(self, path: Path) -> Timing:
        command = [sys.executable, "-c", LOAD_PROGRAM, str(path), str(self.options.batch)]
        return self.run_process(command)

    def ip_process(self, path: Path) -> Timing:
        return self.run_process([ip_program(), "-batch", str(path)])

    @staticmethod
    def _check_result(result: Any, count: int) -> None:
        if len(result.applied) != count or len(result.failed) or len(result.unknown):
            raise BenchmarkError(
                f"{len(result.applied)} of {count} applied, {len(result.failed)} failed, "
                f"{len(result.unknown)} unknown"
            )

    # -- rounds ------------------------------------------------------------------------------

    def check_count(self, count: int) -> None:
        found = self.kernel.counts().policies
        if found != count:
            raise BenchmarkError(f"the kernel has {found} policies, not {count}")

    def flush(self) -> None:
        self.kernel.flush()
        self.check_count(0)
        time.sleep(SETTLE_SECONDS)

    def warm(self, messages: Path, count: int) -> None:
        """Loads and flushes until the kernel's hash tables stop growing; they never shrink."""
        before, mask = -1, self.kernel.counts().hash_mask
        while mask != before:
            self.run_floor(messages)
            self.check_count(count)
            self.flush()
            before, mask = mask, self.kernel.counts().hash_mask
        note(f"  tables warm: {mask + 1} hash buckets for {count} policies")

    def rounds(
        self,
        contenders: Sequence[Contender],
        count: int,
        rounds: int,
        *,
        after: Callable[[], None] | None = None,
        keep: bool = False,
    ) -> list[Series]:
        """Runs the contenders in turn, `rounds` times, each round starting with another one.

        After each run the kernel must have `count` policies; they are flushed unless `keep`.
        """
        series = {contender.name: Series(contender.name, count) for contender in contenders}
        mask = self.kernel.counts().hash_mask
        for number in range(rounds):
            first = number % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                gc.collect()  # of what the last one left behind
                timing = contender.run()
                series[contender.name].timings.append(timing)
                self.check_count(count)
                if after:
                    after()
                if not keep:
                    self.flush()
                note(f"  round {number + 1}/{rounds}  {contender.name:<28} {timing.seconds:9.4f} s")
        if self.kernel.counts().hash_mask != mask:
            raise BenchmarkError("the kernel's tables grew during the rounds: they were not warm")
        return list(series.values())


def ip_program() -> str:
    found = shutil.which("ip")
    if not found:
        raise BenchmarkError("`ip` is not installed: package iproute2")
    return found


# -- figures -------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(over: Series, under: Series) -> dict[str, float]:
    """The median of the ratios within each round: what else the machine did cancels out."""
    return spread([a / b for a, b in zip(over.seconds, under.seconds, strict=True)])


def figures(all_series: Sequence[Series], base: Series) -> dict[str, Any]:
    result: dict[str, Any] = {"base": base.name, "contenders": {}}
    for series in all_series:
        builds = [t.build_seconds for t in series.timings if t.build_seconds is not None]
        result["contenders"][series.name] = {
            "policies": series.policies,
            "seconds": spread(series.seconds),
            "ratio": ratio(series, base),
            "user_seconds": statistics.median(t.user_seconds for t in series.timings),
            "system_seconds": statistics.median(t.system_seconds for t in series.timings),
            "build_seconds": spread(builds) if builds else None,
            "runs": [asdict(timing) for timing in series.timings],
        }
    return result


def show(title: str, result: dict[str, Any]) -> None:
    print(f"\n{title}")
    print(
        f"{'':<28} {'median s':>9} {'min..max s':>19} {'ns/policy':>10} {'user s':>7} {'sys s':>7}"
        f" {'x ' + result['base']:>14} {'min..max':>13}"
    )
    for name, row in result["contenders"].items():
        seconds, times = row["seconds"], row["ratio"]
        print(
            f"{name:<28} {seconds['median']:>9.4f}"
            f" {seconds['min']:>9.4f}..{seconds['max']:<8.4f}"
            f" {seconds['median'] / row['policies'] * 1e9:>10.0f}"
            f" {row['user_seconds']:>7.3f} {row['system_seconds']:>7.3f}"
            f" {times['median']:>14.2f} {times['min']:>6.2f}..{times['max']:<5.2f}"
        )
        if row["build_seconds"]:
            print(f"{'  making the objects before':<28} {row['build_seconds']['median']:>9.4f}")
    if "speed_up" in result:
        times = result["speed_up"]
        print(
            f"whole process, `ip -batch` over xfrm_ext: {times['median']:.2f}"
            f" ({times['min']:.2f}..{times['max']:.2f})"
        )


def with_speed_up(result: dict[str, Any], all_series: Sequence[Series]) -> dict[str, Any]:
    named = {series.name: series for series in all_series}
    if "ip -batch, process" in named and "xfrm_ext, process" in named:
        result["speed_up"] = ratio(named["ip -batch, process"], named["xfrm_ext, process"])
    return result


# -- cases ---------------------------------------------------------------------------------------


def check_messages(table: Sequence[policies.Row]) -> None:
    """The floor's messages and the library's are the same bytes, but for what the sender stamps."""
    xfrm = library()
    native = importlib.import_module("xfrm_ext.codec.native")

    for row in table[:: max(1, len(table) // 2000)]:
        theirs = policies.without_stamps(native.encode(policies.policy(xfrm, row)))
        if theirs != policies.message(row):
            raise BenchmarkError(f"{row}: the library's message differs from the floor's")


def case_load(bench: Bench) -> dict[str, Any]:
    options = bench.options
    table = list(policies.rows(options.shape, options.count))
    if len(table) != options.count:
        raise BenchmarkError(f"the shape has room for {len(table)} policies only")
    messages, batch_file = bench.folder / "load.messages", bench.folder / "load.batch"
    policies.write_messages(str(messages), table)
    policies.write_batch(str(batch_file), table)
    wanted = set(options.contenders) | ({"process", "ip"} if options.ip else set())
    if wanted & {"list", "batchfile", "process"}:
        check_messages(table)
    count = len(table)
    known = {
        "floor": Contender("C floor", lambda: bench.run_floor(messages)),
        "list": Contender("load(list of Policy)", lambda: bench.run_list(table)),
        "batchfile": Contender("load_batch_file(path)", lambda: bench.run_batch_file(batch_file, count)),
        "process": Contender("xfrm_ext, process", lambda: bench.our_process(batch_file)),
        "ip": Contender("ip -batch, process", lambda: bench.ip_process(batch_file)),
    }
    contenders = [known[name] for name in CONTENDERS if name in wanted]
    note(f"load: {count} policies, shape {options.shape}, {options.batch} a send")
    bench.warm(messages, count)
    series = bench.rounds(contenders, count, options.rounds or 7)
    result = with_speed_up(figures(series, series[0]), series)
    show(f"load, {count} policies of shape {options.shape}, warm tables", result)
    return result


def batch_file_selectors(path: Path) -> Iterator[bytes]:
    """Source and destination of each policy of an `ip -batch` file, by a parser of its own."""
    waiting = ""
    with open(path, encoding="ascii") as file:
        for part in file:
            line = waiting + part.partition("#")[0].rstrip("\n")
            if line.endswith("\\"):
                waiting = line[:-1] + " "
                continue
            waiting = ""
            words = line.split()
            if not words:
                continue
            words = words[1:] if words[0] == "xfrm" else words
            if words[:2] != ["policy", "add"]:
                raise BenchmarkError(f"not a line that adds a policy: {line!r}")
            yield line_selector(words)


def line_selector(words: Sequence[str]) -> bytes:
    prefixes: dict[str, tuple[int, bytes, int]] = {}
    selector = words[2 : words.index("tmpl")] if "tmpl" in words else words[2:]
    for name, value in itertools.pairwise(selector):
        if name in ("src", "dst"):
            text, _, length = value.partition("/")
            family = int(socket.AF_INET6 if ":" in text else socket.AF_INET)
            packed = socket.inet_pton(family, text)
            prefixes[name] = (family, packed, int(length) if length else len(packed) * 8)
    if not prefixes:
        raise BenchmarkError(f"neither src nor dst: {' '.join(words)}")
    family = next(iter(prefixes.values()))[0]
    anything = (family, bytes(4 if family == socket.AF_INET else 16), 0)
    source, destination = prefixes.get("src", anything), prefixes.get("dst", anything)
    return kernel.prefix_key(*source) + kernel.prefix_key(*destination)


def case_file(bench: Bench) -> dict[str, Any]:
    path = bench.options.batch_file
    if path is None:
        raise BenchmarkError("the case `file` needs --batch-file")
    note(f"file: reading {path}")
    expected = sorted(batch_file_selectors(path))
    count = len(expected)

    def check_all_there() -> None:
        if sorted(map(kernel.selector_key, bench.kernel.dump())) != expected:
            raise BenchmarkError("a dump does not show exactly the policies of the file")

    # The kernel turns the file into ready-made messages for the floor: a dump of what `ip` loaded.
    note(f"  {count} policies; a first load with `ip -batch`")
    bench.ip_process(path)
    check_all_there()
    messages = bench.folder / "file.messages"
    dumped = [policies.as_request(kernel.as_asked_for(body)) for body in bench.kernel.dump()]
    with open(messages, "wb") as file:
        file.writelines(reversed(dumped))
    del dumped
    bench.flush()
    bench.warm(messages, count)
    contenders = [
        Contender("C floor", lambda: bench.run_floor(messages)),
        Contender("load_batch_file(path)", lambda: bench.run_batch_file(path, count)),
        Contender("xfrm_ext, process", lambda: bench.our_process(path)),
        Contender("ip -batch, process", lambda: bench.ip_process(path)),
    ]
    series = bench.rounds(contenders, count, bench.options.rounds or 3, after=check_all_there)
    result = with_speed_up(figures(series, series[0]), series)
    show(f"file, {count} policies of {path}, all found by a dump after each run", result)
    return result


def case_memory(bench: Bench) -> dict[str, Any]:
    library()
    counts = bench.options.memory_counts
    peaks: list[dict[str, Any]] = []
    for count in counts:
        note(f"memory: {count} policies from a generator")
        done = subprocess.run(
            [sys.executable, str(HERE / "peak_memory.py"), str(count), str(bench.options.batch)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=PROCESS_TIMEOUT,
        )
        peak = json.loads(done.stdout)
        if peak["applied"] != count:
            raise BenchmarkError(f"{peak['applied']} of {count} applied")
        bench.check_count(count)
        bench.flush()
        peaks.append(peak)
    growth = peaks[-1]["peak_bytes"] - peaks[0]["peak_bytes"]
    print("\nmemory, peak of a process that loads from a generator (the kernel's own not counted)")
    for peak in peaks:
        print(
            f"{peak['policies']:>9} policies  {peak['peak_bytes'] / 1e6:8.1f} MB"
            f"  ({peak['before_bytes'] / 1e6:.1f} MB after import)  {peak['seconds']:.2f} s"
        )
    print(f"{'growth':>9}           {growth / 1e6:8.1f} MB")
    return {"peaks": peaks, "growth_bytes": growth}


def case_dump(bench: Bench) -> dict[str, Any]:
    options = bench.options
    xfrm = library()
    count = options.count
    messages = bench.folder / "dump.messages"
    policies.write_messages(str(messages), policies.rows(options.shape, count))

    def receive() -> Timing:
        with Stopwatch() as receiving:
            bench.kernel.receive_dump()
        return receiving.timing

    def objects() -> Timing:
        with xfrm.Session() as session, Stopwatch() as dumping:
            found = list(session.spd.dump())
        if len(found) != count:
            raise BenchmarkError(f"{len(found)} policies dumped, not {count}")
        return dumping.timing

    def ip_list() -> Timing:
        return bench.run_process([ip_program(), "xfrm", "policy", "list"])

    note(f"dump: {count} policies, shape {options.shape}")
    bench.run_floor(messages)
    bench.check_count(count)
    contenders = [Contender("receive only", receive), Contender("list(spd.dump())", objects)]
    if shutil.which("ip"):
        contenders.append(Contender("ip xfrm policy list, process", ip_list))
    # A load is over before the kernel's tables have grown to their size; let them.
    time.sleep(SETTLE_SECONDS)
    series = bench.rounds(contenders, count, options.rounds or 7, keep=True)
    bench.flush()
    result = figures(series, series[0])
    show(f"dump, {count} policies of shape {options.shape}", result)
    return result


# -- command line --------------------------------------------------------------------------------


def enter_namespace() -> None:
    """Starts this program again in a fresh network namespace, unless that was done already."""
    here = os.readlink("/proc/self/ns/net")
    outer = os.environ.get(OUTER_NAMESPACE)
    if outer is not None:
        if outer == here:
            raise BenchmarkError("not in a fresh network namespace")
        return
    flags = "-n" if os.geteuid() == 0 else "-rn"
    command = ["unshare", flags, sys.executable, *sys.orig_argv[1:]]
    sys.stdout.flush()
    os.execvpe(command[0], command, {**os.environ, OUTER_NAMESPACE: here})


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        given = text.split(",")
        for name in given:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return given

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}")
    parser.add_argument("-n", "--count", type=positive, default=100_000, help="policies (100000)")
    parser.add_argument("--rounds", type=positive, help="rounds (7; of `file` 3)")
    parser.add_argument("--batch", type=positive, default=256, help="messages a send (256)")
    parser.add_argument("--shape", choices=policies.SHAPES, default="host")
    parser.add_argument(
        "--contenders",
        type=names(CONTENDERS),
        default=["floor", "list", "batchfile"],
        help=f"of `load`, with commas, of {','.join(CONTENDERS)}",
    )
    parser.add_argument("--ip", action="store_true", help="`load`: whole processes too, ours and `ip -batch`")
    parser.add_argument("--batch-file", type=Path, help="`file`: a file of `policy add` lines")
    parser.add_argument(
        "--memory-counts",
        type=positive,
        nargs=2,
        default=MEMORY_COUNTS,
        metavar=("FEW", "MANY"),
        help="`memory`: policies to load (100000 1000000)",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file, too")
    options = parser.parse_args()
    for case in options.cases:
        if case not in CASES:
            parser.error(f"{case!r} is not one of {', '.join(CASES)}")
    if not options.cases:
        options.cases = [case for case in CASES if case != "file" or options.batch_file]
    return options


def main() -> int:
    options = arguments()
    run = {"load": case_load, "file": case_file, "memory": case_memory, "dump": case_dump}
    try:
        enter_namespace()
        with tempfile.TemporaryDirectory(prefix="xfrm-ext-benchmark-") as folder:
            bench = Bench(options, Path(folder))
            results = {case: run[case](bench) for case in options.cases}
    except (BenchmarkError, kernel.KernelError, OSError, subprocess.SubprocessError) as error:
        note(f"benchmark failed: {error}")
        return 1
    if options.json:
        machine = {
            "kernel": platform.release(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
        }
        shown = {"machine": machine, "batch": options.batch, "cases": results}
        options.json.write_text(json.dumps(shown, indent=1) + "\n", encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())

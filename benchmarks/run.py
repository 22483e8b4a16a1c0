# SPDX-License-Identifier: MIT
"""Benchmarks of xfrm_ext against the kernel's own speed, and against others who do the same.

    python -m benchmarks.run                          # every case, at sizes that take about ten minutes
    python -m benchmarks.run load dump --sizes 1000,100000
    python -m benchmarks.run limits                   # what the table of limits needs
    python -m benchmarks.run --full --out docs/benchmarks

Everything runs in fresh network namespaces that this program makes for itself and that end with it; the host's
policies are neither seen nor touched. README.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import xfrm_ext
from benchmarks import cases, footprint, kernel, machine, micro, namespaces, report, sad
from benchmarks.bench import Bench, Options
from benchmarks.measure import BenchmarkError, note
from benchmarks.names import NAMES
from benchmarks.programs import python
from demo import debian

QUICK = ("load", "dump", "change", "slow", "cold", "shapes", "memory", "micro", "states")
LIMITS = ("load", "dump", "cold", "slow", "million", "real", "memory", "micro")
FULL = (*QUICK, "million", "real")
KNOWN = (*FULL, "file")
FULL_SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000)
BUSY = 0.5
CACHE = Path("~/.cache/xfrm_ext")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def sizes(text: str) -> list[int]:
    return sorted(positive(part) for part in text.split(","))


def contenders(text: str) -> list[str]:
    given = text.split(",")
    for name in given:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(NAMES)}")
    return given


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    defaults = Options()
    add("cases", nargs="*", metavar="case", help=f"of {', '.join(KNOWN)}; or `limits`: {' '.join(LIMITS)}")
    add("--full", action="store_true", help="all cases at all sizes; about an hour")
    add("-n", "--count", type=positive, default=defaults.count, help="policies of cases of one size (100000)")
    add("--sizes", type=sizes, help="of `load` and `dump` (1000,10000,100000; COUNT is among them)")
    add("--shape-count", type=positive, default=defaults.shape_count, help="of `shapes` (20000)")
    add("--slow-count", type=positive, default=defaults.slow_count, help="of `slow` (8000)")
    add("--million", type=positive, default=defaults.million, help="of `million` (1000000)")
    add("--states", type=positive, default=defaults.states, help="of `states` (2000)")
    add("--real-count", type=positive, help="of `real`: blocks of each address family (all)")
    add("--real-table", type=Path, help="folder with the files geoip and geoip6 (Debian's package is fetched)")
    add("--rounds", type=positive, help="in each group (10 to 3, the more the fewer policies)")
    add("--batch", type=positive, default=defaults.batch, help="messages in a send (256)")
    add("--contenders", type=contenders, default=(), help=f"with commas, of {','.join(NAMES)}")
    add("--batch-file", type=Path, help="`file`: lines of `xfrm policy add`")
    add("--memory-counts", type=positive, nargs=2, default=defaults.memory_counts, metavar=("FEW", "MANY"))
    add("--micro-values", type=positive, default=defaults.micro_values, help="values a round, of pyperf (5)")
    add("--settle", type=float, default=defaults.settle, help="seconds of rest after each run (0.3)")
    add("--out", type=Path, default=Path("build/benchmarks"), help="folder for results (build/benchmarks)")
    options = parser.parse_args(given)
    if "limits" in options.cases:
        options.sizes = options.sizes or [options.count]
        options.cases = [*(case for case in options.cases if case != "limits"), *LIMITS]
    for case in options.cases:
        if case not in KNOWN:
            parser.error(f"{case!r} is not one of limits, {', '.join(KNOWN)}")
    if "file" in options.cases and not options.batch_file:
        parser.error("the case `file` needs --batch-file")
    options.cases = list(dict.fromkeys(options.cases or (FULL if options.full else QUICK)))
    if options.sizes is None:
        if options.full:
            options.sizes = FULL_SIZES
        else:
            options.sizes = sorted({size for size in defaults.sizes if size < options.count} | {options.count})
    return options


def absolute(options: argparse.Namespace) -> list[str]:
    """The paths among the options, again: the program that starts inside the namespace is in another folder."""
    paths = {"--batch-file": options.batch_file, "--real-table": options.real_table, "--out": options.out}
    return [f"{name}={path.absolute()}" for name, path in paths.items() if path is not None]


def fetch_table() -> tuple[Path | None, str]:
    """The folder with the table of the demo, and why there is none."""
    cache = CACHE.expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return debian.folder(cache), ""
    except (debian.Unavailable, OSError) as error:
        return None, str(error)


def case_memory(bench: Bench) -> dict[str, Any]:
    """Peaks of processes that load from a generator; bytes of objects; what the import takes."""
    peaks = []
    for count in bench.options.memory_counts:
        note(f"memory: {count} policies from a generator")
        peak = python("peak_memory", count, bench.options.batch)
        if peak["applied"] != count:
            raise BenchmarkError(f"{peak['applied']} of {count} applied")
        bench.check_count(count)
        bench.flush()
        peaks.append({name: peak[name] for name in ("policies", "before_bytes", "peak_bytes")})
    note("memory: objects, import")
    rounds = bench.options.rounds
    return {
        "peaks": peaks,
        "objects": footprint.objects(bench.options.count, rounds or 3),
        "imports": footprint.imports(rounds or 15),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the cases; whatever one of them can't do here is left out, with its reason."""
    if os.getloadavg()[0] > BUSY:
        note(f"others are using this machine (load {os.getloadavg()[0]:.1f}): ratios will scatter")
    # As an installer would have: otherwise each new process compiles the sources anew.
    compileall.compile_dir(str(Path(xfrm_ext.__path__[0])), quiet=1)
    own = {field.name for field in fields(Options)}
    chosen = Options(**{name: value for name, value in vars(options).items() if name in own})
    results: dict[str, Any] = {
        "machine": machine.describe(),
        "options": {
            name: getattr(chosen, name)
            for name in ("count", "sizes", "shape_count", "slow_count", "million", "states", "batch", "rounds")
        },
        "groups": [],
        "micro": {},
        "memory": {},
        "skipped": {},
    }
    others: dict[str, Callable[[Bench], None]] = {
        "memory": lambda bench: results["memory"].update(case_memory(bench)),
        "micro": lambda bench: results["micro"].update(
            micro.measure(bench.options.rounds or 7, bench.options.micro_values)
        ),
        "states": lambda bench: results["groups"].extend(sad.measure(bench)),
    }
    with tempfile.TemporaryDirectory(prefix="xfrm-ext-benchmark-") as folder:
        bench = Bench(chosen, Path(folder))
        cases.use_once(bench)
        for case in options.cases:
            start = time.monotonic()
            try:
                if case in others:
                    others[case](bench)
                else:
                    results["groups"] += cases.CASES[case](bench)
            except (sad.NoStates, ImportError) as reason:
                results["skipped"][case] = str(reason)
                note(f"{case} is left out: {reason}")
            note(f"{case}: {time.monotonic() - start:.0f} s")
            (options.out / "results.json").write_text(as_json(results), encoding="utf-8")  # of an hour's work
    return results


def main(given: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if given is None else list(given)
    options = arguments(given)
    try:
        if namespaces.outside():
            if "real" in options.cases and options.real_table is None:
                # This needs the network, which there is none of inside.
                options.real_table, why = fetch_table()
                note(f"real: the demo's invented table, for {why}" if why else "real: the table is there")
            namespaces.enter("benchmarks.run", [*given, *absolute(options)])
        options.out.mkdir(parents=True, exist_ok=True)
        results = measure(options)
        why_not = report.write(results, options.out)
    except (BenchmarkError, kernel.KernelError, OSError, subprocess.SubprocessError) as error:
        note(f"benchmark failed: {error}")
        return 1
    print((options.out / "results.md").read_text(encoding="utf-8"))
    if why_not:
        note(why_not)
    note(f"results.json, results.md and plots are in {options.out}")
    return 0


def as_json(results: dict[str, Any]) -> str:
    """With one line for each contender: so that it can be read, and differences too."""

    def groups() -> str:
        shown = []
        for group in results["groups"]:
            head = {name: value for name, value in group.items() if name != "contenders"}
            lines = [f"    {json.dumps(name)}: {json.dumps(one)}" for name, one in group["contenders"].items()]
            shown.append(f'  {json.dumps(head)[:-1]},\n   "contenders": {{\n' + ",\n".join(lines) + "}}")
        return "[\n" + ",\n".join(shown) + "]"

    parts = [
        f" {json.dumps(name)}: " + (groups() if name == "groups" else json.dumps(value))
        for name, value in results.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""What single calls cost, by pyperf: making a policy, encoding one.

    python -m benchmarks.micro [OPTIONS OF PYPERF]

With XFRM_EXT_CODEC=pure it measures only what making a policy costs with the codec in Python.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from ipaddress import ip_network
from itertools import cycle, islice
from pathlib import Path
from typing import Any

DIFFERENT = 1000
"""Policies that take turns: no call gets the same as the last one."""


def _loop(call: Callable[..., object], arguments: Sequence[tuple[Any, ...]]) -> Callable[[int], float]:
    def run(loops: int) -> float:
        given = list(islice(cycle(arguments), loops))
        start = time.perf_counter()
        for each in given:
            call(*each)
        return time.perf_counter() - start

    return run


def main() -> None:
    import pyperf  # type: ignore[import-untyped]

    import xfrm_ext
    from xfrm_ext import Policy, Selector, Template, wire

    template = Template("192.0.2.1", "198.51.100.2", mode="tunnel", reqid=1)
    texts = [
        (f"10.{number >> 8}.{number & 255}.0/24", f"172.16.{number & 255}.{number >> 4}")
        for number in range(DIFFERENT)
    ]

    def policy(source: str, destination: str) -> Policy:
        return Policy(Selector(source, destination), direction="out", priority=7, templates=template)

    def networks(source: str, destination: str) -> None:
        ip_network(source)
        ip_network(destination)

    runner = pyperf.Runner(program_args=("-m", "benchmarks.micro"))
    if wire.NAME == "pure":
        runner.bench_time_func("policy, codec in Python", _loop(policy, texts))
        return
    made = [(policy(*each),) for each in texts]
    for (one,) in made:  # once read, fields stay: what is measured is encoding, not reading
        for field in fields(one):
            getattr(one, field.name)
        parts: list[Any] = [one.selector, *one.templates]
        for part in parts:
            for field in fields(part):
                getattr(part, field.name)
    runner.bench_time_func("two ip_network()", _loop(networks, texts))
    runner.bench_time_func("policy", _loop(policy, texts))
    runner.bench_time_func("native encode", _loop(xfrm_ext.codec.select("native").encode, made))
    runner.bench_time_func("pure encode", _loop(xfrm_ext.codec.select("pure").encode, made))


def measure(rounds: int, values: int) -> dict[str, list[float]]:
    """Nanoseconds of each call, one median a round: fresh processes in each, so that ratios within a round mean
    something. Raises ImportError without pyperf."""
    import pyperf

    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="xfrm-ext-micro-") as folder:
        for number in range(rounds):
            for codec in ("native", "pure"):
                path = Path(folder, f"{number}-{codec}.json")
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.micro",
                    "--quiet",
                    "--processes",
                    "1",
                    "--warmups",
                    "1",
                ]
                command += ["--values", str(values), "--inherit-environ", "XFRM_EXT_CODEC", "-o", str(path)]
                environment = {**os.environ, "XFRM_EXT_CODEC": codec}
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
                for one in pyperf.BenchmarkSuite.load(str(path)).get_benchmarks():
                    nanoseconds = statistics.median(one.get_values()) * 1e9
                    found.setdefault(one.get_name(), []).append(round(nanoseconds, 2))
    return found


if __name__ == "__main__":
    main()

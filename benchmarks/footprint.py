# SPDX-License-Identifier: MIT
"""What objects and the import weigh, each measured in a process of its own.

    python -m benchmarks.footprint COUNT [traced]

makes COUNT policies that share one template, and prints how many bytes each takes: by the growth of resident
memory, or by what Python's allocators were asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from typing import Any

from benchmarks.measure import Spread
from benchmarks.programs import python

IMPORTS = ("_cffi_backend", "xfrm_ext")
IMPORT_PROGRAM = """\
import sys, time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
pages = resident()
start = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - start, resident() - pages)
"""


def resident() -> int:
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def bytes_each(count: int, traced: bool) -> float:
    from xfrm_ext import Policy, Selector, Template

    def policy(number: int) -> Policy:
        destination = f"{number >> 16}.{number >> 8 & 255}.{number & 255}.1"
        return Policy(Selector("10.0.0.0", destination), direction="out", priority=number, templates=shared)

    shared = Template("192.0.2.1", "198.51.100.2", mode="tunnel", reqid=1)
    made = [policy(1)]
    if traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if traced else resident()
    made += [policy(number) for number in range(1, count)]
    after = tracemalloc.get_traced_memory()[0] if traced else resident()
    return (after - before) / len(made)


def objects(count: int, rounds: int) -> dict[str, Any]:
    """Bytes for each policy, by both ways to tell."""
    return {
        name: [python("footprint", count, *arguments)["bytes_each"] for _ in range(rounds)]
        for name, arguments in (("resident_bytes", ()), ("traced_bytes", ("traced",)))
    }


def imports(rounds: int) -> dict[str, Any]:
    """The import of the package, and that of the module behind any use of cffi: alternating, fresh processes."""
    found: dict[str, Any] = {module: {"seconds": [], "bytes": []} for module in IMPORTS}
    for number in range(rounds + 1):
        for module in IMPORTS if number % 2 else reversed(IMPORTS):
            command = [sys.executable, "-c", IMPORT_PROGRAM, module]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, pages = done.stdout.split()
            if number:  # the first one reads from disk
                found[module]["seconds"].append(round(float(seconds), 6))
                found[module]["bytes"].append(int(pages) * os.sysconf("SC_PAGESIZE"))
    return found


def above(found: dict[str, Any], what: str) -> Spread:
    """How much more the package takes, of "seconds" or "bytes", in each round."""
    pairs = zip(*(found[module][what] for module in IMPORTS), strict=True)
    return Spread.of([ours - backend for backend, ours in pairs])


def main() -> None:
    each = bytes_each(int(sys.argv[1]), sys.argv[2:] == ["traced"])
    json.dump({"bytes_each": round(each, 1)}, sys.stdout)


if __name__ == "__main__":
    main()

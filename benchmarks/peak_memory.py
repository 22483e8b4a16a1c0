# SPDX-License-Identifier: MIT
"""Loads policies from a generator and prints how much memory this process took for it.

    python -m benchmarks.peak_memory COUNT BATCH

Started by run.py, in its network namespace.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import xfrm_ext
from benchmarks import policies

if TYPE_CHECKING:
    from xfrm_ext import Policy


def peak_rss() -> int:
    """Peak resident memory of this program in bytes.

    VmHWM starts anew when a program is executed; ru_maxrss may still hold the parent's peak.
    """
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def main() -> None:
    count, batch = int(sys.argv[1]), int(sys.argv[2])

    def made() -> Iterator[Policy]:
        return map(policies.Maker(xfrm_ext).policy, islice(policies.host_rows(), count))

    before = peak_rss()
    start = time.perf_counter()
    with xfrm_ext.Session() as session:
        result = session.spd.load(made(), batch=batch)
        seconds = time.perf_counter() - start
        peak = peak_rss()
    json.dump(
        {
            "policies": count,
            "applied": len(result.applied),
            "before_bytes": before,
            "peak_bytes": peak,
            "maxrss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "seconds": seconds,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()

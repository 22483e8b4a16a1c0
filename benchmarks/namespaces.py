# SPDX-License-Identifier: MIT
"""Private network namespaces: the benchmarks flush and load, and must never do so where others' policies are."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from benchmarks.measure import BenchmarkError
from demo import namespace

ROOT = Path(__file__).resolve().parent.parent
CLONE_NEWNET = 0x40000000
# Tells the program, started again inside a namespace, which one it came from.
OUTER = "XFRM_EXT_BENCHMARK_OUTER_NAMESPACE"


def outside() -> bool:
    """Whether this is the first start, in the network namespace of whoever called."""
    return OUTER not in os.environ


def enter(module: str, arguments: list[str]) -> None:
    """Starts this program (a module of this package) again in a fresh network namespace, unless that was done."""
    here = namespace.name()
    outer = os.environ.get(OUTER)
    if outer is not None:
        if outer == here:
            raise BenchmarkError("not in a fresh network namespace")
        return
    try:
        command = [*namespace.command(), sys.executable, "-m", module, *arguments]
    except namespace.NotPermitted as error:
        raise BenchmarkError(str(error)) from None
    sys.stdout.flush()
    # BLAS, which numpy brings along, starts threads that spin for a while: they would be measured, too.
    quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    os.chdir(ROOT)
    os.execvpe(command[0], command, {**os.environ, **quiet, OUTER: here})


def fresh() -> None:
    """Moves the calling thread, and the children that it starts from now on, into another fresh one."""
    if outside():
        raise BenchmarkError("not in a namespace of our own")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"unshare: {os.strerror(code)}")

# SPDX-License-Identifier: MIT
"""The C programs that are measured, compiled when they are first needed; and the children in Python."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkError, Stopwatch, Timing

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TIMEOUT = 3600


class Missing(Exception):
    """A contender that can't be had here; the text says why."""


class Programs:
    """Compiles benchmarks/NAME.c into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._compiled: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        """The executable of a program. Raises Missing."""
        if name not in self._compiled:
            self._compiled[name] = self._compile(name)
        return self._compiled[name]

    def _compile(self, name: str) -> Path:
        source = HERE / f"{name}.c"
        if not source.exists():
            raise Missing(f"there is no benchmarks/{name}.c")
        flags = libnl_flags() if name == "libnl" else []
        program = self._folder / name
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source), *flags]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(f"benchmarks/{name}.c can't be compiled: {done.stderr}")
        return program


def libnl_flags() -> list[str]:
    """What the compiler needs for libnl-xfrm-3. Raises Missing."""
    if shutil.which("pkg-config") is None:
        raise Missing("no pkg-config to find libnl-xfrm-3 with")
    done = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "libnl-3.0", "libnl-xfrm-3.0"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Missing("the headers of libnl-xfrm-3 are not installed (packages libnl-3-dev, libnl-xfrm-3-dev)")
    return shlex.split(done.stdout)


def ip_program() -> str:
    """Raises Missing."""
    found = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
    if not found:
        raise Missing("`ip` is not installed (package iproute2)")
    return found


def figures(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Runs a program that prints one JSON object."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        raise BenchmarkError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout)[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def python(module: str, *arguments: object, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Runs a module of this package in a Python of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return figures(command, environment)


def whole_process(command: Sequence[str | Path]) -> Timing:
    """A program from its start to its end, its output thrown away."""
    with Stopwatch(children=True) as running:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT,
        )
    if done.returncode:
        raise BenchmarkError(f"{Path(command[0]).name} failed: {done.stderr[-1000:]}")
    return running.timing

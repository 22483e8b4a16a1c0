# SPDX-License-Identifier: MIT
"""What the figures were measured on: hardware, kernel, compilers, versions. No names of hosts, people, folders."""

from __future__ import annotations

import datetime
import gzip
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("xfrm-ext", "cffi", "numpy", "pyperf", "matplotlib")
ROOT = Path(__file__).resolve().parent.parent


def _output(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo") or "", re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _kernel_config() -> str:
    try:
        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode("ascii", "replace")
    except OSError:
        return _read(f"/boot/config-{platform.release()}") or ""


def _memory() -> str | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo") or "", re.MULTILINE)
    return f"{int(found.group(1)) / 2**20:.1f} GiB" if found else None


def _virtual() -> str | None:
    flags = re.search(r"^flags\s*:(.*)$", _read("/proc/cpuinfo") or "", re.MULTILINE)
    return "yes" if flags and "hypervisor" in flags.group(1).split() else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line(text: str | None) -> str | None:
    return text.splitlines()[0] if text else None


def describe() -> dict[str, str]:
    """Each thing by name; what can't be known is left out."""
    config = _kernel_config()
    hertz = re.search(r"^CONFIG_HZ=(\d+)$", config, re.MULTILINE)
    preemption = re.search(r"^CONFIG_(PREEMPT(?:_NONE|_VOLUNTARY|_LAZY)?)=y$", config, re.MULTILINE)
    compiler = os.environ.get("CC", "cc").split()[0]
    known: dict[str, str | None] = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": _output("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "processor": _processor(),
        "processors": str(len(os.sched_getaffinity(0))),
        "architecture": platform.machine(),
        "virtual machine": _virtual(),
        "memory": _memory(),
        "load before the run": f"{os.getloadavg()[0]:.2f}",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "kernel": platform.release(),
        "timer HZ": hertz.group(1) if hertz else None,
        "preemption": preemption.group(1).lower() if preemption else None,
        "Python": f"{platform.python_version()} ({platform.python_compiler()})",
        "C compiler": _first_line(_output(compiler, "--version")),
        "C library": " ".join(platform.libc_ver()).strip(),
        "iproute2": _output("ip", "-V"),
        "libnl-xfrm-3": _output("pkg-config", "--modversion", "libnl-xfrm-3.0"),
        **{package: _version(package) for package in PACKAGES},
    }
    return {name: value for name, value in known.items() if value}

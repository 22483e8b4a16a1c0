# SPDX-License-Identifier: MIT
"""Rules for the C that a compiler does not check by itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
DEFINITIONS = ROOT / "xfrm_ext" / "constants.def"
SOURCES = sorted(CSRC.glob("*.c"))
COMPILER = shutil.which("cc") or shutil.which("gcc") or "cc"
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # of the sanitizers


def compile_object(source: Path, target: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [
        COMPILER,
        "-std=gnu11",
        "-O2",
        "-fno-pic",
        *flags,
        "-I",
        str(CSRC),
        "-I",
        str(DEFINITIONS.parent),
        "-isystem",
        sysconfig.get_path("include"),
        "-c",
        str(source),
    ]
    return subprocess.run(
        [*command, "-o", str(target)], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_state_no_output_no_exit(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "object.o"
    assert compile_object(source, target).returncode == 0
    listing = subprocess.run(["nm", str(target)], capture_output=True, text=True, check=True).stdout
    symbols = re.findall(r"([A-Za-z]) (\S+)$", listing, re.MULTILINE)
    mutable = {name for kind, name in symbols if kind in "bBdDcCgGsS"}
    # CPython wants to write to a module's definition, and declares what it only reads as if it would.
    of_python = {"module", "module_slots", "maker_slots", "maker_spec", "maker_methods"}
    assert mutable <= (of_python if source.name == "objects.c" else set()), "mutable data at file scope"
    undefined = {name for kind, name in symbols if kind == "U"}
    assert undefined.isdisjoint({"printf", "puts", "putchar", "fprintf", "perror", "stdout", "stderr"})
    assert undefined.isdisjoint({"exit", "_exit", "abort", "signal", "sigaction", "setenv", "getenv"})


def test_a_wrong_constant_does_not_compile(tmp_path: Path) -> None:
    for path in (CSRC / "uapi.h", CSRC / "uapi_check.c", DEFINITIONS):
        shutil.copy(path, tmp_path)
    check, target = tmp_path / "uapi_check.c", tmp_path / "object.o"

    def compiles() -> str:
        command = [COMPILER, "-std=gnu11", "-c", str(check), "-o", str(target)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT).stderr

    assert compiles() == ""
    constants = (tmp_path / "constants.def").read_text()
    (tmp_path / "constants.def").write_text(constants.replace("X(XFRMA_MARK, 21)", "X(XFRMA_MARK, 22)"))
    assert '"XFRMA_MARK"' in compiles()
    (tmp_path / "constants.def").write_text(constants)
    header = (tmp_path / "uapi.h").read_text()
    (tmp_path / "uapi.h").write_text(header.replace("\tuint8_t mode;\n\tuint8_t share;", "\tuint8_t share, mode;"))
    assert "xfrm_user_tmpl" in compiles()


def test_constants_are_named_once() -> None:
    names = re.findall(r"^X\((\w+),", DEFINITIONS.read_text(), re.MULTILINE)
    assert len(names) > 100
    assert len(names) == len(set(names))

# SPDX-License-Identifier: MIT
"""Build recipe of xfrm_ext._native: cffi over the headers in csrc/. Used only while building.

The C headers are the cdef source: what stands between their `cdef: begin` and `cdef: end` marks is what Python
sees, and every name in xfrm_ext/constants.def becomes an attribute of `lib`. Nothing is declared twice.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import sysconfig
from pathlib import Path

from cffi import FFI
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.extension import Extension

CSRC = Path(__file__).resolve().parent / "csrc"
HEADERS = [
    "memory.h",
    "rtnl.h",
    "dump_ahead.h",
    "listen.h",
    "netns.h",
    "text.h",
    "selector.h",
    "template.h",
    "attribute.h",
    "body.h",
    "policy.h",
    "policy_rows.h",
    "state.h",
    "event.h",
    "migrate.h",
    "info.h",
    "batchfile.h",
    "columns_read.h",
    "columns_write.h",
]

# Without cffi, for it needs CPython's API and its GIL. xfrm_ext/wire/policy_rows.py gets by without it.
OBJECTS = "xfrm_ext._objects"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# XFRM_EXT_NO_NATIVE=1: a wheel of Python alone, for any system, which encodes and decodes but reaches no kernel.
WITHOUT_NATIVE = os.environ.get("XFRM_EXT_NO_NATIVE") == "1"
# One wheel for all versions, except on free-threaded builds before 3.15, which have no stable ABI.
STABLE_ABI = platform.python_implementation() == "CPython" and (not FREE_THREADED or sys.version_info >= (3, 15))


def declarations(header: str) -> str:
    """The slice of a header that Python sees."""
    begin, end = "/* cdef: begin */", "/* cdef: end */"
    text = (CSRC / header).read_text(encoding="ascii")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"csrc/{header}: wants exactly one '{begin}' and one '{end}'")
    return text.partition(begin)[2].partition(end)[0]


def constants() -> list[str]:
    """The names in constants.def."""
    return re.findall(
        r"^X\((\w+),", (CSRC.parent / "xfrm_ext" / "constants.def").read_text(encoding="ascii"), re.MULTILINE
    )


ffibuilder = FFI()
ffibuilder.cdef("".join(map(declarations, HEADERS)))
ffibuilder.cdef("".join(f"#define {name} ...\n" for name in constants()))
ffibuilder.set_source("xfrm_ext._native", "".join(f'#include "{name}"\n' for name in HEADERS))


class BuildNative(build_ext):
    """Generates the cffi module's C in the build folder and picks the ABI."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if FREE_THREADED or platform.python_implementation() != "CPython":
            self.extensions = [one for one in self.extensions if one.name != OBJECTS]
        for extension in self.extensions:
            extension.py_limited_api = STABLE_ABI
            if not STABLE_ABI:
                extension.define_macros.append(("_CFFI_NO_LIMITED_API", None))
            elif FREE_THREADED:
                extension.define_macros.append(("Py_TARGET_ABI3T", "0x030f0000"))
            else:
                extension.define_macros.append(("Py_LIMITED_API", "0x030a0000"))

    def build_extension(self, ext: Extension) -> None:
        if ext.name == OBJECTS:
            super().build_extension(ext)
            return
        generated = Path(self.build_temp) / "_native.c"
        generated.parent.mkdir(parents=True, exist_ok=True)
        ffibuilder.emit_c_code(str(generated))
        ext.sources = [str(generated), *ext.sources]
        super().build_extension(ext)


class BdistWheel(bdist_wheel):
    """Tags the wheel with the ABI that BuildNative picked."""

    def initialize_options(self) -> None:
        super().initialize_options()
        if WITHOUT_NATIVE:  # here, not in BuildNative, which tells source distributions what C there is
            self.distribution.ext_modules = []

    def finalize_options(self) -> None:
        if STABLE_ABI and not WITHOUT_NATIVE:
            self.py_limited_api = "cp315" if FREE_THREADED else "cp310"
        super().finalize_options()

# SPDX-License-Identifier: MIT
"""csrc/words.c by itself, as it is compiled for x86 and as it is for all other processors."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_c_sources import COMPILER, CSRC, ENVIRONMENT

MOST = 256


class Word(ctypes.Structure):
    _fields_ = (("text", ctypes.c_size_t), ("length", ctypes.c_size_t))


class Words(ctypes.Structure):
    _fields_ = (("all", Word * MOST), ("count", ctypes.c_uint))


Split = Callable[[bytes], "tuple[int, list[bytes]] | None"]


@pytest.fixture(scope="module", params=[(), ("-U__SSE2__",)], ids=["as on this processor", "as on any"])
def split(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Gives where the newline is and the words, or None where the line is no plain one."""
    library = tmp_path_factory.mktemp("words") / "words.so"
    command = [
        COMPILER,
        "-std=gnu11",
        "-O2",
        "-fPIC",
        "-shared",
        *request.param,
        str(CSRC / "words.c"),
        "-o",
        str(library),
    ]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    function = ctypes.CDLL(str(library)).words_of_plain_line
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_void_p

    def call(text: bytes) -> tuple[int, list[bytes]] | None:
        words, memory = Words(), ctypes.create_string_buffer(text, len(text) or 1)
        start = ctypes.addressof(memory)
        newline = function(ctypes.addressof(words), start, start + len(text))
        if newline is None:
            return None
        return newline - start, [ctypes.string_at(word.text, word.length) for word in words.all[: words.count]]

    return call


PLAIN = st.lists(st.from_regex(rb"[(-~\x80-\xff]{1,150}", fullmatch=True) | st.binary(max_size=0), max_size=60)


@given(words=PLAIN, rest=st.binary(min_size=64, max_size=64))
def test_plain_lines(words: list[bytes], rest: bytes, split: Split) -> None:
    line = b" ".join(words)
    if line.endswith(b"\\"):
        line += b" "
    assert split(line + b"\n" + rest) == (len(line), line.split())


@given(line=PLAIN.map(b" ".join), rest=st.binary(max_size=100), at=st.integers(0), other=st.integers(0, 0x27))
def test_all_others(line: bytes, rest: bytes, at: int, other: int, split: Split) -> None:
    """Whatever stands among the words that is neither a space nor a newline and at most a quote."""
    at %= len(line) + 1
    text = line[:at] + bytes([other]) + line[at:] + b"\n" + rest
    found = split(text)
    if other == ord(" "):
        return
    assert found is None or (other == ord("\n") and found == (at, line[:at].split()))


@pytest.mark.parametrize("length", [0, 1, 62, 63, 64, 65, 127, 128, 200])
def test_nothing_is_looked_at_behind_the_end(length: int, split: Split) -> None:
    """The 64 bytes in which a line ends must be there."""
    line = b"a" * length + b"\n"
    enough = (length // 64 + 1) * 64 - len(line)
    assert split(line + b"b" * enough) == (length, [b"a" * length][: bool(length)])
    if enough:
        assert split(line + b"b" * (enough - 1)) is None
    assert split(line[:-1]) is None


@pytest.mark.parametrize("count", [220, 256, 257, 1000])
def test_many_words(count: int, split: Split) -> None:
    found = split(b"a " * count + b"\n" + b" " * 64)
    assert found == (2 * count, [b"a"] * count) or (count > 220 and found is None)


def test_a_line_that_goes_on(split: Split) -> None:
    assert split(b"a \\\n" + b" " * 64) is None
    assert split(b"\\\n" + b" " * 64) is None
    assert split(b"\\ \n" + b" " * 64) == (2, [b"\\"])

# SPDX-License-Identifier: MIT
"""Lines of `ip -batch` files as words, the same as the parser in C makes of them."""

from __future__ import annotations

import io
import time
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xfrm_ext import BatchFileError, CommandError, codec
from xfrm_ext.batchfile import BatchFile
from xfrm_ext.iproute2.batch import LONGEST_LINE, MOST_WORDS, join, lines, split
from xfrm_ext.transport import messages

Found = list[tuple[int, "list[str] | str"]]


def read(text: bytes) -> Found:
    """Numbers and words of the lines, or what is wrong with them."""
    return [
        (number, str(words) if isinstance(words, CommandError) else words)
        for number, words in lines(io.BytesIO(text))
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", []),
        (b"\n \t\n# a comment\n", []),
        (b"a b\nc\td  e\r\n", [(1, ["a", "b"]), (2, ["c", "d", "e"])]),
        (b"a b # c\nd#e f\n", [(1, ["a", "b"]), (2, ["d"])]),
        (b"a \\\nb \\\n c\nd", [(1, ["a", "b", "c"]), (4, ["d"])]),
        (b"a \\\r\nb\r\n", [(1, ["a", "b"])]),
        (b"a \\ b\n", [(1, ["a", "\\", "b"])]),
        (b"a # b \\\nc\n", [(1, ["a"]), (2, ["c"])]),
        (b"a \\\n# b\nc\n", [(1, ["a"]), (3, ["c"])]),
        (b"'a b' \"c 'd\" e'f'\n", [(1, ["a b", "c 'd", "e'f'"])]),
        (b"'a'b \"\" ''\n", [(1, ["a", "b", "", ""])]),
        (b"'a b\nc\n", [(1, "line: has a quote that is not closed"), (2, ["c"])]),
        (b"'a#'\n", [(1, "line: has a quote that is not closed")]),
        (b"'a \\\nb'\n", [(1, ["a b"])]),
        (b"a\x0bb \x0c\x1c\x85 \xa0\n", [(1, ["a\x0bb", "\x0c\x1c\udc85", "\udca0"])]),
        (b"a\x1cb \x85\n", [(1, ["a\x1cb", "\udc85"])]),
        (b"\xff \x00\n", [(1, ["\udcff", "\0"])]),
        (b"a\n\nb \\", [(1, ["a"]), (3, "line: ends with a backslash, and no line follows")]),
    ],
)
def test_lines(text: bytes, found: Found) -> None:
    assert read(text) == found


LABELS = st.lists(st.sampled_from(list(b"a '\"#\\\t\r\n")), max_size=24).map(bytes)


@given(st.lists(LABELS, max_size=4))
@example([b"a\\\r\n'b' #"])
@example([b"'a\\\n\"'"])
def test_the_parser_in_c_agrees(tmp_path_factory: pytest.TempPathFactory, labels: list[bytes]) -> None:
    """The label of a security context is a word that both tell."""
    text = b"\n".join(b"policy add dir in ctx " + label for label in labels)
    path = tmp_path_factory.getbasetemp() / "both"
    path.write_bytes(text)
    expected: dict[int, str | None] = {}
    for number, words in lines(io.BytesIO(text)):
        right = isinstance(words, list) and words[:-1] == ["policy", "add", "dir", "in", "ctx"]
        expected[number] = words[-1] if right and isinstance(words, list) else None
    assert in_c(path) == expected


def in_c(path: Path) -> dict[int, str | None]:
    """The label of each line, None where it is wrong."""
    found: dict[int, str | None] = {}
    file = BatchFile(path, lambda name: 0)
    try:
        for part in file.parse(repeat(1)):
            if isinstance(part, BatchFileError):
                found[part.line] = None
                continue
            [message] = messages(bytes(part.messages))
            [number] = part.lines or []
            context = codec.select().decode(message).security_context  # type: ignore[union-attr]
            found[number] = "" if context is None else context.context
    finally:
        file.close()
    return found


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=5))
@example(["", "a b", "it's", 'a"b', "a\\", "\x0b"])
def test_join(words: list[str]) -> None:
    """What a line can say, it says; the rest is refused."""
    try:
        line = join(words)
    except CommandError:
        assert any("#" in word or "\n" in word or "\0" in word or {"'", '"'} <= set(word) for word in words)
        return
    assert split(line.encode()) == words
    assert read(f"{line}\n".encode()) == [(1, words)]


def test_long_lines() -> None:
    longest = b"a" * (LONGEST_LINE - 1) + b"\n"
    assert read(longest) == [(1, ["a" * (LONGEST_LINE - 1)])]
    for wrong in (
        b"a" + longest,
        b"a " * 40000 + b"\n",
        b"aa \\\n" + longest,
        (b"a" * 40000 + b"\\\n") * 3 + b"b\n",
    ):
        count = wrong.count(b"\n")
        [(number, text), behind] = read(wrong + b"next\n")
        assert (number, behind) == (1, (count + 1, ["next"]))
        assert text == f"line: is longer than {LONGEST_LINE} bytes with its continuations"


def test_many_words() -> None:
    most = ["a"] * MOST_WORDS
    for quote in (b"", b"''"):
        text = b" ".join([b"a"] * MOST_WORDS)
        found = read(text + b"\n" + text + b" a" + quote + b"\n")
        assert found == [(1, most), (2, f"line: has more than {MOST_WORDS} words")]


@pytest.mark.parametrize(
    "unit", [b"a\\\n", b"'", b'""', b"#", b"\\", b"\\\n", b"' ", b"\x0b'", b"a ", b"\n", b"a\n"]
)
def test_linear(unit: bytes) -> None:
    """Twenty times as much takes not much more than twenty times as long."""
    times = []
    for size in (50_000, 1_000_000):
        text = unit * (size // len(unit))
        started = time.process_time()
        for _ in lines(io.BytesIO(text)):
            pass
        times.append(time.process_time() - started)
    assert times[1] < 100 * max(times[0], 0.002)

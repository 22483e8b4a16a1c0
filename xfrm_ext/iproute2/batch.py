# SPDX-License-Identifier: MIT
"""Files in the format that `ip -batch` reads: lines of words, with comments, quotes and continued lines.

A `#` begins a comment, wherever it stands. A line that ends with a backslash goes on in the next one. Words stand
between spaces and tabs; one that begins with a quote, ' or ", ends before the next quote of that kind. There is
nothing to write that quote, a `#` or a line feed with in between. csrc/batchfile_line.c reads lines the same way.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from xfrm_ext.bulk import Block
    from xfrm_ext.errors import CommandError
    from xfrm_ext.iproute2.words import InterfaceIndex

LONGEST_LINE = 65536
"""Bytes, with its continuations: a state with the longest key has a tenth of that."""
MOST_WORDS = 512
"""In one line."""
_BLANKS = b" \t\r\n"


def read(
    file: BinaryIO, name: str, sizes: Iterator[int], interface_index: InterfaceIndex, family: int = 0
) -> Iterator[Block | tuple[int, list[str] | CommandError]]:
    """A file on a disk: blocks of at most as many messages as `sizes` says for each, made by the parser in C, and
    in between the lines that it does not take, as `lines`. Of the family that options say it knows nothing: with
    one, all lines are read that way.

    `name` is for errors. Raises OSError, also where the file gets shorter meanwhile.
    """
    if family:
        yield from lines(file)
        return
    import errno

    from xfrm_ext.batchfile import BatchFile
    from xfrm_ext.errors import BatchFileError

    slowly = lines(file)
    parsed = BatchFile(f"/proc/self/fd/{file.fileno()}", interface_index)  # whatever has its name by now
    try:
        for found in parsed.parse(sizes):
            if not isinstance(found, BatchFileError):
                yield found
                continue
            line = next((one for one in slowly if one[0] >= found.line), None)
            if line is None:
                raise OSError(errno.EBUSY, "the file is being written", name)
            yield line
    finally:
        parsed.close()


def lines(file: BinaryIO) -> Iterator[tuple[int, list[str] | CommandError]]:
    """The lines that have words: the number of each, from 1, of continued ones that of the first; and its words, or
    what is wrong with it. One line at a time is in memory."""
    number = 0
    while True:
        text, more, size = physical_line(file)
        if not size:
            return
        number += 1
        first, parts = number, [text]
        part_size = size
        while more and part_size:
            text, more, part_size = physical_line(file)
            number += 1
            size += part_size
            if size <= LONGEST_LINE:
                parts.append(text)
        if size > LONGEST_LINE:
            yield first, _wrong(f"is longer than {LONGEST_LINE} bytes with its continuations")
        elif not part_size:
            yield first, _wrong("ends with a backslash, and no line follows")
        else:
            try:
                words: list[str] | CommandError = split(b"".join(parts))
            except ValueError as error:
                words = error  # type: ignore[assignment]  # split raises no other
            if words:
                yield first, words


def physical_line(file: BinaryIO) -> tuple[bytes, bool, int]:
    """A line without comment, backslash and line feed; whether the next one belongs to it; its size, 0 at the end
    of the file. Of one that is longer than any may be, the text is cut."""
    piece = file.readline(LONGEST_LINE)
    size, end = len(piece), piece[-3:]
    text, comment, _ = piece.partition(b"#")
    while len(piece) == LONGEST_LINE and end[-1:] != b"\n":
        piece = file.readline(LONGEST_LINE)
        size, end = size + len(piece), (end + piece[-3:])[-3:]
        comment = comment or piece.partition(b"#")[1]
    text = text.removesuffix(b"\n")
    if comment or not end.removesuffix(b"\n").removesuffix(b"\r").endswith(b"\\"):
        return text, False, size
    return text.removesuffix(b"\r")[:-1], True, size


def split(text: bytes) -> list[str]:
    """The words of a line that has no comment and no continuation. Bytes that are not UTF-8 become lone surrogates.
    Raises CommandError."""
    if b"'" in text or b'"' in text or b"\x0b" in text or b"\x0c" in text:
        found = _split_quoted(text)
    else:
        found = text.split()
    if len(found) > MOST_WORDS:
        raise _wrong(f"has more than {MOST_WORDS} words")
    return [word.decode("utf-8", "surrogateescape") for word in found]


def _split_quoted(text: bytes) -> list[bytes]:
    """The same, for lines with quotes, or with characters that Python takes for spaces and `ip` does not."""
    import re

    found = []
    for match in re.finditer(rb"""'([^']*)'|"([^"]*)"|(['"])|([^ \t\r\n]+)""", text):
        if match[3]:
            raise _wrong("has a quote that is not closed")
        found.append(match[match.lastindex or 0])
    return found


def join(words: Iterable[str]) -> str:
    """The line that `split` and `ip` make these words of. Raises CommandError for a word that no line can have."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if word.isalnum() and word.isascii():
        return word
    if not set(word) & set(" \t\r\n#'\"\x0b\x0c\\") and word:
        return word
    quote = '"' if "'" in word else "'"
    if "#" in word or "\n" in word or "\0" in word or quote in word:
        raise _wrong("can't have a word with a #, a line feed, or both kinds of quotes")
    return f"{quote}{word}{quote}"


def _wrong(rule: str) -> CommandError:
    from xfrm_ext.errors import CommandError

    return CommandError("line", None, rule)

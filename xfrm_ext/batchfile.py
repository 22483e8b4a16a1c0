# SPDX-License-Identifier: MIT
"""Files in the format that `ip -batch` reads, parsed in C into blocks of messages."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO

from xfrm_ext._native import ffi, lib
from xfrm_ext.ahead import ahead
from xfrm_ext.bulk import Block
from xfrm_ext.checks import shown
from xfrm_ext.errors import BatchFileError, ValidationError

__all__ = ["BatchFile", "Block"]

_PIECE = 1 << 17  # bytes of text that are read at once
_MESSAGE = 256  # bytes of an ordinary message: one with a template
_LONGEST = 65536
_CHECKED = 1 << 16  # lines that are checked in one call: signals wait for it
_SPLIT = 1 << 16  # bytes of text below which a second thread is not worth its start

_new_unset = ffi.new_allocator(should_clear_after_alloc=False)
_BYTES, _LINES = ffi.typeof("uint8_t[]"), ffi.typeof("uint32_t[]")


class BatchFile:
    """A batch file to be parsed, once or more often.

    ``interface_index`` finds the index of an interface by name, 0 for none; in any thread.
    """

    def __init__(self, path: str | os.PathLike[str], interface_index: Callable[[str], int]) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise ValidationError("path", shown(path), "is not a path")
        self.path = os.fsdecode(path)
        self._lookup = interface_index
        try:
            self._file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115  closed by close()
        except ValueError:  # a NUL or a lone surrogate in it
            raise ValidationError("path", shown(path), "is not a path") from None
        self._text: memoryview | None = None
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._text = memoryview(self._file.read())  # a pipe can be read but once

    def interface_index(self, name: str) -> int:
        """The index of an interface; of if7, where none has that name, 7, as `ip` has it; else 0."""
        from xfrm_ext.iproute2.words import numbered_interface

        return self._lookup(name) or numbered_interface(name)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def parse(self, sizes: Iterator[int]) -> Generator[Block | BatchFileError, None, None]:
        """Parses from the start: blocks of messages, at most as many as `sizes` says for each, and the lines that
        are wrong, in order."""
        return _Parser(self, 0, None).blocks(sizes)

    def check(self, only_adds: bool = False) -> int:
        """Reads the whole file, half of it in a second thread. Returns the number of messages. Raises
        BatchFileError for the first line that is wrong, with `only_adds` also for one that does anything else;
        OSError when the file is written meanwhile."""
        before = self._version()
        count = self._check_halves(only_adds)
        if self._text is None and self._version() != before:
            raise OSError(errno.EBUSY, "the file is being written", self.path)
        return count

    def _check_halves(self, only_adds: bool) -> int:
        middle = self._middle()
        first = _Parser(self, 0, middle)
        if middle is None:
            return first.check(only_adds)
        second = _Parser(self, middle, None)
        with ahead(second.checked(only_adds)) as rest:
            count = first.check(only_adds)
            try:
                return count + next(rest)
            except BatchFileError as error:
                raise BatchFileError(error.path, first.lines + error.line, error.reason) from None

    def _version(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def _middle(self) -> int | None:
        """Where a line begins about half way through."""
        size = len(self._text) if self._text is not None else self._version()[0]
        if size < _SPLIT:
            return None
        start = size // 2 - 2
        if self._text is not None:
            piece = bytes(self._text[start : start + _PIECE])
        else:
            piece = os.pread(self._file.fileno(), _PIECE, start)
        end = piece.find(b"\n", 2)
        while end >= 0 and piece[end - 2 : end].replace(b"\r", b"").endswith(b"\\"):  # the line goes on
            end = piece.find(b"\n", end + 1)
        return None if end < 0 else start + end + 1


class _Parser:
    """One pass over a part of a file, [start, stop): whole lines."""

    def __init__(self, file: BatchFile, start: int, stop: int | None) -> None:
        self._file = file
        self._start, self._stop = start, stop
        self._native: Any = ffi.new("struct batchfile *")
        self._tails = ffi.new("uint8_t[]", lib.BATCHFILE_TAILS_SIZE)
        self._native.tails = ffi.cast("struct batchfile_tails *", self._tails)

    @property
    def lines(self) -> int:
        """How many lines were read."""
        return int(self._native.line)

    def checked(self, only_adds: bool) -> Generator[int, None, None]:
        """The one item is what `check` returns."""
        yield self.check(only_adds)

    def check(self, only_adds: bool) -> int:
        """The number of messages. Raises BatchFileError."""
        native, count = self._native, 0
        native.only_adds, native.most = only_adds, _CHECKED
        for result in self._results():
            if result == lib.BATCHFILE_BAD_LINE:
                raise self._error()
            count += native.count
            native.count = 0
        return count + int(native.count)

    def blocks(self, sizes: Iterator[int]) -> Generator[Block | BatchFileError, None, None]:
        """As BatchFile.parse."""
        native = self._native
        room = _Room(next(sizes)).lend(native)
        for result in self._results():
            if native.count:
                yield room.block(native)
                room = _Room(next(sizes)).lend(native)
            if result == lib.BATCHFILE_BAD_LINE:
                yield self._error()
        if native.count:
            yield room.block(native)

    def _results(self) -> Iterator[int]:
        """Parses, and stops where the block is full or a line is wrong: BATCHFILE_FULL, BATCHFILE_BAD_LINE."""
        native = self._native
        for piece, last in self._pieces():
            text = ffi.from_buffer(piece)
            native.text, native.length, native.last = ffi.cast("char *", text), len(piece), last
            native.position = 0
            while result := lib.batchfile_parse(native):
                if result == lib.BATCHFILE_INTERFACE:
                    self._add_interface()
                else:
                    yield result

    def _error(self) -> BatchFileError:
        reason = ffi.string(self._native.error).decode("ascii", "replace")
        return BatchFileError(self._file.path, self._native.bad_line, reason)

    def _pieces(self) -> Iterator[tuple[memoryview, bool]]:
        """The text in pieces, each beginning with what the parser left of the one before."""
        file, at, stop = self._file, self._start, self._stop
        if file._text is not None:
            yield file._text[at:stop], True
            return
        memory, kept = memoryview(bytearray(_PIECE)), 0
        while size := os.preadv(
            file._file.fileno(), [memory[kept : None if stop is None else kept + stop - at]], at
        ):
            yield memory[: kept + size], False
            used = self._native.position
            at, kept = at + size, kept + size - used
            rest = memory[used : used + kept]
            if kept == len(memory):
                memory = memoryview(bytearray(2 * kept))  # for a line that is longer
            memory[:kept] = rest
        yield memory[:kept], True

    def _add_interface(self) -> None:
        native = self._native
        name = ffi.string(native.name)
        entry = native.interfaces[native.interface_count % lib.BATCHFILE_INTERFACES]
        entry.name = name
        entry.index = self._file.interface_index(os.fsdecode(name))
        native.interface_count += 1


class _Room:
    """Memory for the messages of a block and their lines' numbers."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, _LONGEST + most * _MESSAGE
        self._messages, self._lines = _new_unset(_BYTES, self._size), _new_unset(_LINES, most)

    def lend(self, native: Any) -> _Room:
        """Has the parser fill it."""
        native.messages, native.capacity = self._messages, self._size
        native.lines, native.most = self._lines, self._most
        native.size = native.count = 0
        return self

    def block(self, native: Any) -> Block:
        """The messages that the parser has put there."""
        numbers = bytes(ffi.buffer(self._lines, 4 * native.count))
        return Block(ffi.buffer(self._messages, native.size), native.count, numbers)

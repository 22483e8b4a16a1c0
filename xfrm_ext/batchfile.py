# SPDX-License-Identifier: MIT
"""Files in the format that `ip -batch` reads, parsed in C into blocks of messages."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO

from xfrm_ext import wire
from xfrm_ext._native import ffi, lib
from xfrm_ext.ahead import ahead
from xfrm_ext.bulk import LARGEST_BLOCK, Block
from xfrm_ext.checks import shown
from xfrm_ext.constants import Message
from xfrm_ext.errors import BatchFileError, ValidationError

__all__ = ["BatchFile", "Block"]

_PIECE = 1 << 16  # small enough for the allocator to use the same memory again: fresh pages cost more than reads
_MESSAGE = 256  # bytes of an ordinary message: one with a template
_LONGEST = 65536
_KEPT = 256 << 20  # bytes of text that are read once, and kept to be parsed twice
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
        self._interface_index = interface_index
        try:
            self._file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115  closed by close()
        except ValueError:  # a NUL or a lone surrogate in it
            raise ValidationError("path", shown(path), "is not a path") from None
        self._text: memoryview | None = None
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size <= _KEPT:
            self._text = memoryview(self._file.read())  # (a pipe can be read but once)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def parse(self, sizes: Iterator[int]) -> Generator[Block | BatchFileError, None, None]:
        """Parses from the start: blocks of messages, at most as many as `sizes` says for each, and the lines that
        are wrong, in order."""
        return _Parser(self, 0, None).blocks(sizes)

    def check(self, only: Message | None = None) -> int:
        """Parses the whole file, half of it in a second thread. Returns the number of messages. Raises
        BatchFileError for the first line that is wrong, or whose message is another than `only`."""
        middle = self._middle()
        first = _Parser(self, 0, middle)
        if middle is None:
            return first.check(only)
        second = _Parser(self, middle, None)
        with ahead(second.checked(only)) as rest:
            count = first.check(only)
            try:
                return count + next(rest)
            except BatchFileError as error:
                raise BatchFileError(error.path, first.lines + error.line, error.reason) from None

    def _middle(self) -> int | None:
        """Where a line begins about half way through."""
        text = self._text
        if text is None or len(text) < _SPLIT:
            return None
        start = len(text) // 2 - 2
        piece = bytes(text[start : start + _PIECE])
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

    @property
    def lines(self) -> int:
        """How many lines were read."""
        return int(self._native.line)

    def checked(self, only: Message | None) -> Generator[int, None, None]:
        """The one item is what `check` returns."""
        yield self.check(only)

    def check(self, only: Message | None) -> int:
        """The number of messages. Raises BatchFileError."""
        count, room = 0, _Room(LARGEST_BLOCK)
        for part in self._parts(lambda: room):
            if isinstance(part, BatchFileError):
                raise part
            if only is not None:
                self._check_types(room.block(self._native), only)
            count += self._native.count
        return count

    def _check_types(self, block: Block, only: Message) -> None:
        for kind, line in zip(wire.message_types(block.messages), block.lines or (), strict=True):
            if kind != only:
                rule = f"only {only.name} can be taken back, and this is {Message(kind).name}"
                raise BatchFileError(self._file.path, line, rule)

    def blocks(self, sizes: Iterator[int]) -> Generator[Block | BatchFileError, None, None]:
        """As BatchFile.parse."""
        for part in self._parts(lambda: _Room(next(sizes))):
            yield part if isinstance(part, BatchFileError) else part.block(self._native)

    def _parts(self, new_room: Callable[[], _Room]) -> Iterator[_Room | BatchFileError]:
        """Rooms with messages, and the lines that are wrong, in order."""
        native = self._native
        room = new_room().lend(native)
        for piece, last in self._pieces():
            text = ffi.from_buffer(piece)
            native.text, native.length, native.last = ffi.cast("char *", text), len(piece), last
            native.position = 0
            while result := lib.batchfile_parse(native):
                if result == lib.BATCHFILE_INTERFACE:
                    self._add_interface()
                    continue
                if native.count:
                    yield room
                    room = new_room().lend(native)
                if result == lib.BATCHFILE_BAD_LINE:
                    reason = ffi.string(native.error).decode("ascii", "replace")
                    yield BatchFileError(self._file.path, native.bad_line, reason)
        if native.count:
            yield room

    def _pieces(self) -> Iterator[tuple[bytes | memoryview, bool]]:
        """The text in pieces, each beginning with what the parser left of the one before."""
        if self._file._text is not None:
            yield self._file._text[self._start : self._stop], True
            return
        file, rest = self._file._file, b""
        file.seek(0)
        while piece := file.read(max(_PIECE, len(rest))):  # a line without end is not copied at each step
            piece = rest + piece
            yield piece, False
            rest = piece[self._native.position :]
        yield rest, True

    def _add_interface(self) -> None:
        native = self._native
        name = ffi.string(native.name)
        entry = native.interfaces[native.interface_count % lib.BATCHFILE_INTERFACES]
        entry.name = name
        entry.index = self._file._interface_index(os.fsdecode(name))
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

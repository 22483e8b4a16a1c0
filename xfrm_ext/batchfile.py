# SPDX-License-Identifier: MIT
"""Files in the format that `ip -batch` reads, parsed in C into blocks of messages."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from xfrm_ext import wire
from xfrm_ext._native import ffi, lib
from xfrm_ext.bulk import Block
from xfrm_ext.checks import shown
from xfrm_ext.constants import Message
from xfrm_ext.errors import BatchFileError, ValidationError

__all__ = ["BatchFile", "Block"]

_PIECE = 1 << 16  # small enough for the allocator to use the same memory again: fresh pages cost more than reads
_CAPACITY = 1 << 18
_KEPT = 256 << 20  # bytes of messages that `check` keeps (a million policies), so that files are parsed once


class BatchFile:
    """A batch file to be parsed, once or more often.

    ``interface_index`` finds the index of an interface by name, 0 for none.
    """

    def __init__(self, path: str | os.PathLike[str], interface_index: Callable[[str], int]) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            raise ValidationError("path", shown(path), "is not a path")
        self.path = os.fsdecode(path)
        self._interface_index = interface_index
        try:
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115  closed by close()
        except ValueError:  # a NUL or a lone surrogate in it
            raise ValidationError("path", shown(path), "is not a path") from None
        self._whole: bytes | None = None
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            self._whole = self._file.read()  # a pipe can be read once, and is parsed twice

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def parse(self, most: int) -> Iterator[Block | BatchFileError]:
        """Parses from the start: blocks of at most `most` messages, and the lines that are wrong, in order."""
        native: Any = ffi.new("struct batchfile *")
        messages, lines = ffi.new("uint8_t[]", _CAPACITY), ffi.new("uint32_t[]", most)
        native.messages, native.capacity = messages, _CAPACITY
        native.lines, native.most = lines, most

        def take() -> Iterator[Block]:
            if native.count:
                numbers = bytes(ffi.buffer(lines, 4 * native.count))
                block = Block(bytearray(ffi.buffer(messages, native.size)), native.count, numbers)
                native.size = native.count = 0
                yield block

        for piece, last in self._pieces(native):
            text = ffi.from_buffer(piece)
            native.text, native.length, native.last = ffi.cast("char *", text), len(piece), last
            native.position = 0
            while result := lib.batchfile_parse(native):
                if result == lib.BATCHFILE_INTERFACE:
                    self._add_interface(native)
                    continue
                yield from take()
                if result == lib.BATCHFILE_BAD_LINE:
                    reason = ffi.string(native.error).decode("ascii", "replace")
                    yield BatchFileError(self.path, native.bad_line, reason)
        yield from take()

    def check(self, most: int, only: Message | None = None) -> tuple[int, Iterator[Block | BatchFileError]]:
        """Parses the whole file. Returns the number of messages, and their blocks. Raises BatchFileError for
        the first line that is wrong, or whose message is another than `only`."""
        count = size = 0
        kept: list[Block] | None = []
        for part in self.parse(most):
            if isinstance(part, BatchFileError):
                raise part
            if only is not None:
                self._check_types(part, only)
            count += part.count
            size += len(part.messages)
            if size > _KEPT:
                kept = None
            if kept is not None:
                kept.append(part)
        return count, self.parse(most) if kept is None else iter(kept)

    def _check_types(self, block: Block, only: Message) -> None:
        for kind, line in zip(wire.message_types(block.messages), block.lines or (), strict=True):
            if kind != only:
                rule = f"only {only.name} can be taken back, and this is {Message(kind).name}"
                raise BatchFileError(self.path, line, rule)

    def _pieces(self, native: Any) -> Iterator[tuple[bytes, bool]]:
        """The text in pieces, each beginning with what the parser left of the one before."""
        if self._whole is not None:
            yield self._whole, True
            return
        self._file.seek(0)
        rest = b""
        while piece := self._file.read(max(_PIECE, len(rest))):  # a line without end is not copied at each step
            piece = rest + piece
            yield piece, False
            rest = piece[native.position :]
        yield rest, True

    def _add_interface(self, native: Any) -> None:
        name = ffi.string(native.name)
        entry = native.interfaces[native.interface_count % lib.BATCHFILE_INTERFACES]
        entry.name = name
        entry.index = self._interface_index(os.fsdecode(name))
        native.interface_count += 1

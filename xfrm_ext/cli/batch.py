# SPDX-License-Identifier: MIT
"""`xfrm -batch FILE`: a file of command lines, each done before the next, as `ip -batch` does.

Lines that change something are sent together with as few system calls as that allows: policies go through the
parser in C, all others one by one through the grammars of ``xfrm_ext.iproute2``. `xfrm load` is for files that may
be taken as a whole.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from itertools import repeat
from shutil import copyfileobj

from xfrm_ext.errors import CommandError, XfrmError

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from xfrm_ext.cli.context import Context

_MOST = 1024  # messages that are collected
_TOGETHER = 256  # in one send, where the kernel may go on behind one that fails
_FIXED = 240  # bytes of a message that have no key: its header and fixed part
_CHANGES = ("add", "update", "delete", "flush", "set", "setdefault", "migrate")


class _Stop(Exception):
    """A line failed, and -force was not given."""


class _Batch:
    """A file being run."""

    def __init__(self, path: str, force: bool, context: Context) -> None:
        self.path, self._force, self._context = path, force, context
        self._pieces: list[Any] = []
        self._lines: list[int] = []
        self._done = self._last = 0
        self._refused: list[tuple[int, Exception, bytes]] = []
        self.status = 0

    def add(self, messages: Any, lines: list[int]) -> None:
        """Has messages, one for each line, sent sooner or later."""
        self._pieces.append(messages)
        self._lines += lines
        if len(self._lines) >= _MOST:
            self.send()

    def send(self) -> None:
        """Sends what was collected. Without -force each message by itself, and none behind one that fails."""
        from xfrm_ext.cli.block import joined
        from xfrm_ext.transport import BatchOutcome, messages

        if not self._lines:
            return
        outcome, lines, block = BatchOutcome(), self._lines, joined(self._pieces)
        self._lines, self._pieces = [], []
        try:
            self._context.handle().talk_batch(
                block,
                len(lines),
                per_send=_TOGETHER if self._force else 1,
                stop_on_error=not self._force,
                outcome=outcome,
            )
        finally:
            # Also when Ctrl-C came in the middle: what the kernel has answered is told.
            outcome.settle()
            self._done += outcome.acked - len(outcome.failures)
            self._last = lines[outcome.acked - 1] if outcome.acked else self._last
            sent = messages(block) if outcome.failures else []
            self._refused += [
                (lines[one.index], one.error("a line", sent[one.index]), bytes(sent[one.index][:_FIXED]))
                for one in outcome.failures
            ]
            block[:] = bytes(len(block))
        while self._refused:
            self.failed(*self._refused.pop(0))
        if outcome.error:
            self.failed(
                lines[min(outcome.acked, len(lines) - 1)], OSError(outcome.error, os.strerror(outcome.error))
            )

    def failed(self, line: int, error: Exception | None, message: Any = None, status: int = 0) -> None:
        """Says that a line failed; without an error it has said why itself. Raises _Stop where that ends the
        file."""
        from xfrm_ext.cli.main import fail

        where = f"Command failed {self.path}:{line}"
        if error is None:
            self._context.err.write(f"{where}\n")
            self.status = status
        else:
            self.status = fail(self._context, error, message, f"{where}: ")
        if not self._force:
            raise _Stop
        self.status = 1

    def interrupted(self) -> None:
        """Says what was done when Ctrl-C came."""
        self._force = True
        for refused in self._refused:
            self.failed(*refused)
        behind = f", the last in line {self._last}" if self._last else ""
        self._context.err.write(f"{self.path}: interrupted, {self._done} requests were done{behind}\n")

    def words(self, words: list[str], line: int) -> None:
        """Does what one line says, read by the grammars."""
        from xfrm_ext.cli.run import run
        from xfrm_ext.iproute2 import read_command

        context = self._context
        try:
            command = read_command(words, context.options, context.interface_index, context.read_key)
            if command.object in ("policy", "state") and command.verb in _CHANGES:
                for datagram in command.datagrams:
                    self.add(datagram, [line])
                return
        except XfrmError as error:
            self.send()
            self.failed(line, error)
            return
        self.send()
        try:
            status = run(command, context)
        except (XfrmError, OSError) as error:
            self.failed(line, error)
        else:
            if status:
                self.failed(line, None, status=status)


def run_batch(path: str, force: bool, context: Context) -> int:
    """Runs a file, "-": standard input. Returns the exit status: that of the line that ended it; with `force`,
    which goes on behind a failure, 1 when any failed."""
    batch = _Batch(path, force, context)
    with _opened(path) as file:
        try:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                _run_file(file, batch, context)
            else:
                _run_pipe(file, batch, context)
            batch.send()
        except _Stop:
            pass
        except KeyboardInterrupt:
            batch.interrupted()
            raise
    return batch.status


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    from xfrm_ext.cli.streams import checked_path, standard_input

    if path != "-":
        with open(checked_path(path, "-batch"), "rb") as file:
            yield file
        return
    stream = standard_input("-batch")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        yield stream
        return
    with open(os.memfd_create("batch"), "w+b") as copy:  # from where it stands: a part may have been read
        copyfileobj(stream, copy)
        copy.seek(0)
        yield copy


def _run_file(file: BinaryIO, batch: _Batch, context: Context) -> None:
    """A file on a disk."""
    from xfrm_ext.bulk import Block
    from xfrm_ext.iproute2.batch import read

    found = read(file, batch.path, repeat(_TOGETHER), context.interface_index, context.options.family)
    for one in found:
        if isinstance(one, Block):
            batch.add(one.messages, one.lines or [])
        else:
            _run_line(one, batch)


def _run_pipe(file: BinaryIO, batch: _Batch, context: Context) -> None:
    """There may be somebody at the other end who waits for what a line does: each is done, and what it prints is on
    its way, before the next one is read."""
    from xfrm_ext.iproute2.batch import lines

    for line in lines(file):
        _run_line(line, batch)
        batch.send()
        context.out.flush()


def _run_line(line: tuple[int, list[str] | CommandError], batch: _Batch) -> None:
    number, words = line
    if isinstance(words, CommandError):
        batch.send()
        batch.failed(number, words)
    else:
        batch.words(words, number)

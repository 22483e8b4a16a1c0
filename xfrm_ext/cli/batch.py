# SPDX-License-Identifier: MIT
"""`xfrm -batch FILE`: a file of command lines, each done before the next, as `ip -batch` does.

Lines that change something are sent together with as few system calls as that allows: policies go through the
parser in C, all others one by one through the grammars of ``xfrm_ext.iproute2``. `xfrm load` is for files that may
be taken as a whole.
"""

from __future__ import annotations

import os
import stat
import sys
from itertools import repeat

from xfrm_ext.errors import CommandError, XfrmError

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from xfrm_ext.cli.context import Context

_MOST = 1024  # messages that are collected
_TOGETHER = 256  # in one send, where the kernel may go on behind one that fails
_CHANGES = ("add", "update", "delete", "flush", "set", "setdefault", "migrate")


class _Stop(Exception):
    """A line failed, and -force was not given."""


class _Batch:
    """A file being run."""

    def __init__(self, path: str, force: bool, context: Context) -> None:
        self._path, self._force, self._context = path, force, context
        self._pieces: list[Any] = []
        self._lines: list[int] = []
        self.status = 0

    def add(self, messages: Any, lines: list[int]) -> None:
        """Has messages, one for each line, sent sooner or later."""
        self._pieces.append(messages)
        self._lines += lines
        if len(self._lines) >= _MOST:
            self.send()

    def send(self) -> None:
        """Sends what was collected. Without -force each message by itself, and none behind one that fails."""
        from xfrm_ext.transport import BatchOutcome, messages
        from xfrm_ext.wire.layouts import aligned

        if not self._lines:
            return
        outcome, lines, pieces = BatchOutcome(), self._lines, self._pieces
        self._lines, self._pieces = [], []
        # As large as it will be from the start, and wiped: one that grows leaves copies of keys behind.
        block, end = bytearray(sum(aligned(len(piece)) for piece in pieces)), 0
        for piece in pieces:
            block[end : end + len(piece)] = piece
            end += aligned(len(piece))
        try:
            self._context.handle().talk_batch(
                block,
                len(lines),
                per_send=_TOGETHER if self._force else 1,
                stop_on_error=not self._force,
                outcome=outcome,
            )
            sent = messages(block) if outcome.failures else []
            for refused in outcome.failures:
                message = sent[refused.index]
                self.failed(lines[refused.index], refused.error("a line", message), message)
        finally:
            block[:] = bytes(len(block))
        if outcome.error:
            self.failed(
                lines[min(outcome.acked, len(lines) - 1)], OSError(outcome.error, os.strerror(outcome.error))
            )

    def failed(self, line: int, error: Exception, message: Any = None) -> None:
        """Says that a line failed. Raises _Stop where that ends the file."""
        from xfrm_ext.cli.main import fail

        self.status = fail(self._context, error, message, f"Command failed {self._path}:{line}: ")
        if not self._force:
            raise _Stop
        self.status = 1

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
                self.status = status
                if not self._force:
                    raise _Stop


def run_batch(path: str, force: bool, context: Context) -> int:
    """Runs a file, "-": standard input. Returns the exit status: that of the line that ended it; with `force`,
    which goes on behind a failure, 1 when any failed."""
    batch = _Batch(path, force, context)
    file = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115  closed below
    try:
        # A pipe may have somebody at its other end who waits for what a line does.
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            _run_file(file.name if path == "-" else path, file, batch, context)
        else:
            _run_lines(file, batch)
        batch.send()
    except _Stop:
        pass
    finally:
        if path != "-":
            file.close()
    return batch.status


def _run_file(path: str, file: BinaryIO, batch: _Batch, context: Context) -> None:
    """A file on a disk. What the parser in C does not take, the grammars read."""
    from xfrm_ext.batchfile import BatchFile
    from xfrm_ext.errors import BatchFileError
    from xfrm_ext.iproute2.batch import lines

    slowly = lines(file)
    parsed = BatchFile(path, context.interface_index)
    try:
        for found in parsed.parse(repeat(_TOGETHER)):
            if isinstance(found, BatchFileError):
                _run_line(next(line for line in slowly if line[0] >= found.line), batch)
            else:
                batch.add(found.messages, found.lines or [])
    finally:
        parsed.close()


def _run_lines(file: BinaryIO, batch: _Batch) -> None:
    """What comes through a pipe, each line at once."""
    from xfrm_ext.iproute2.batch import lines

    for line in lines(file):
        _run_line(line, batch)
        batch.send()


def _run_line(line: tuple[int, list[str] | CommandError], batch: _Batch) -> None:
    number, words = line
    if isinstance(words, CommandError):
        batch.send()
        batch.failed(number, words)
    else:
        batch.words(words, number)

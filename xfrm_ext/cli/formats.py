# SPDX-License-Identifier: MIT
"""The three formats of files that `xfrm load` reads, of `ip -batch`, setkey.conf and JSON, as messages."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from xfrm_ext import wire
from xfrm_ext.cli.streams import checked_path, standard_input
from xfrm_ext.constants import Message
from xfrm_ext.errors import BatchFileError, CommandError, SetkeyError, ValidationError
from xfrm_ext.transport import messages

if TYPE_CHECKING:
    from xfrm_ext.cli.context import Context

FORMATS = ("ip", "setkey", "json")
ADDITIONS = (Message.NEWPOLICY, Message.NEWSA)
"""What can be taken back."""
_CHANGES = (
    *ADDITIONS,
    Message.UPDPOLICY,
    Message.UPDSA,
    Message.DELPOLICY,
    Message.DELSA,
    Message.FLUSHPOLICY,
    Message.FLUSHSA,
    Message.NEWSPDINFO,
    Message.SETDEFAULT,
    Message.MIGRATE,
    Message.MIGRATE_STATE,
    Message.NEWAE,
    Message.EXPIRE,
    Message.POLEXPIRE,
)
"""What the kernel does without an answer but success or failure."""
_BOM = b"\xef\xbb\xbf"  # of UTF-8
_SETKEY: tuple[str, ...] = ("add", "delete", "deleteall", "get", "flush", "dump", "exit")
_SETKEY += tuple(f"spd{word}" for word in ("add", "update", "delete", "flush", "dump"))


class Entry(NamedTuple):
    """One message of a file."""

    line: int
    """Where it stands, from 1."""
    message: Any
    """Bytes-like; there may be keys in it."""


class DeleteAll(NamedTuple):
    """What is to be looked for when its turn comes, and deleted: `deleteall`."""

    line: int
    request: Any
    """The message that dumps."""
    accepts: Callable[[Any], bool]
    """Whether a message that was dumped is meant."""
    delete_message: Callable[[Any], Any]


class Input:
    """A file to be loaded, "-" for standard input. It is opened once: whatever takes its name meanwhile is another
    one. A pipe, which can be read but once, is copied into memory."""

    def __init__(self, path: str) -> None:
        self.name = "<stdin>" if path == "-" else path
        """For people."""
        self._path = path

    def open(self) -> None:
        """Opens the file, to be closed by `close`. Raises OSError, CommandError."""
        piped = self._path == "-"
        self.file: BinaryIO = (
            standard_input("load", 2) if piped else open(checked_path(self._path, "load FILE"), "rb")  # noqa: SIM115
        )
        if piped or not stat.S_ISREG(os.fstat(self.file.fileno()).st_mode):
            self.file = _copy(self.file, closes=not piped)
        self.path = f"/proc/self/fd/{self.file.fileno()}"
        """To open it again by."""

    def close(self) -> None:
        """Closes the file."""
        self.file.close()

    def detect(self) -> str:
        """The format, by the first word that is in no comment. Raises CommandError where nothing tells it."""
        from xfrm_ext.iproute2.batch import physical_line

        self.file.seek(0)
        start = self.file.read(256)
        self.file.seek(len(_BOM) if start.startswith(_BOM) else 0)
        first = start.removeprefix(_BOM).partition(b"\n")[0]
        if first[:2] == b"#!" and b"setkey" in first:
            return "setkey"
        text = b""
        while not text.strip():
            text, more, size = physical_line(self.file)
            while more and size:
                part, more, size = physical_line(self.file)
                text += part
            if not size and not text.strip():
                return "ip"  # nothing to load
        text = text.strip()
        if text[:1] in b"[{":
            return "json"
        if text[:1] in b"\"'":
            word = text[1:].partition(text[:1])[0]
        else:
            word = text.split()[0]
            if word.split(b";")[0].decode("ascii", "replace") in _SETKEY:
                return "setkey"
        if any(name.startswith(word) for name in (b"xfrm", b"policy", b"state")):
            return "ip"
        rule = "is in no format that is known by its first word: --format says which one it is"
        raise CommandError(self.name, None, rule, 2)

    def entries(self, form: str, context: Context) -> Iterator[Entry | DeleteAll | BatchFileError]:
        """What the file asks for, in its order, and what is wrong with it. One that is wrong in a way that hides
        where the next one begins (setkey, JSON) is the last."""
        self.file.seek(0)
        return {"ip": _batch_lines, "setkey": _statements, "json": _documents}[form](self, context)


def _copy(source: BinaryIO, closes: bool) -> BinaryIO:
    """What is left of a pipe, in memory."""
    copy = os.fdopen(os.memfd_create("xfrm load"), "w+b")
    while piece := source.read(1 << 20):
        copy.write(piece)
    copy.flush()
    if closes:
        source.close()
    return copy


def _checked(line: int, message: Any, name: str) -> Entry | BatchFileError:
    if wire.message_type(message) in _CHANGES:
        return Entry(line, message)
    return BatchFileError(name, line, "asks a question, and a load only tells")


def _batch_lines(source: Input, context: Context) -> Iterator[Entry | DeleteAll | BatchFileError]:
    """Lines that the parser in C does not take, for they are about states, or wrong, are read by the grammar."""
    from itertools import repeat

    from xfrm_ext.bulk import BATCH
    from xfrm_ext.iproute2.batch import read

    family = context.options.family
    for found in read(source.file, source.name, repeat(BATCH), context.interface_index, family):
        if not isinstance(found, tuple):
            for line, message in zip(found.lines or (), messages(memoryview(found.messages)), strict=True):
                yield Entry(line, message)
            continue
        line, words = found
        if isinstance(words, CommandError):
            yield BatchFileError(source.name, line, f"the line {words.rule}")
        else:
            yield from _command(line, words, source.name, context)


def _command(
    line: int, words: list[str], name: str, context: Context
) -> Iterator[Entry | DeleteAll | BatchFileError]:
    from xfrm_ext.iproute2 import read_command

    try:
        command = read_command(words, context.options, context.interface_index, context.read_key)
        if command.object not in ("policy", "state") or not command.datagrams:
            raise CommandError(command.object, None, f"{command.verb} is nothing that can be loaded")
    except ValidationError as error:
        yield BatchFileError(name, line, str(error))
        return
    if command.verb != "deleteall":
        for datagram in command.datagrams:
            yield _checked(line, datagram, name)
        return
    from importlib import import_module

    accepts: Any = command.accepts

    def matching(message: Any) -> bool:
        return accepts is None or bool(accepts(*wire.unpack(message)[2:]))

    delete_message = import_module(f"xfrm_ext.iproute2.{command.object}").delete_message
    yield DeleteAll(line, command.datagrams[0], matching, delete_message)


def _statements(source: Input, context: Context) -> Iterator[Entry | DeleteAll | BatchFileError]:
    from xfrm_ext.codec import select
    from xfrm_ext.iproute2.state import delete_message
    from xfrm_ext.setkey import Statement, parse
    from xfrm_ext.state import State

    encode = select().encode_wiped

    def matching(statement: Statement) -> Callable[[Any], bool]:
        return lambda message: statement.accepts(State._from_message(message))

    try:
        for statement in parse(source.file.read(), source.name, interface_index=context.interface_index):
            encoded = [encode(request) for request in statement.requests]
            if statement.command == "deleteall":
                yield DeleteAll(statement.line, encoded[0], matching(statement), delete_message)
                continue
            for message in encoded:
                yield _checked(statement.line, message, source.name)
    except SetkeyError as error:
        yield BatchFileError(source.name, error.line, f"column {error.column}: {error.reason}")


def _documents(source: Input, context: Context) -> Iterator[Entry | DeleteAll | BatchFileError]:
    import io

    from xfrm_ext.codec import select
    from xfrm_ext.documents import from_document, read

    encode = select().encode_wiped
    text = io.TextIOWrapper(source.file, encoding="utf-8", errors="surrogateescape")
    try:
        for found in read(text, source.name):
            try:
                value = from_document(found.document, interface_index=context.interface_index, path=found.path)
                message = encode(value)
            except ValidationError as error:
                yield BatchFileError(source.name, found.line, str(error))
            else:
                yield _checked(found.line, message, source.name)
    except BatchFileError as error:
        yield error
    finally:
        text.detach()

# SPDX-License-Identifier: MIT
"""`xfrm monitor`: events as they come, or messages from a file, as text or as lines of JSON."""

from __future__ import annotations

from contextlib import contextmanager

from xfrm_ext.cli.run import printer_of
from xfrm_ext.errors import ProtocolError, ValidationError

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from xfrm_ext.cli.context import Context
    from xfrm_ext.iproute2.command import Command

_BUFFER, _BACKLOG = 8 << 20, 64 << 20  # bytes: of the kernel's queue, and of what waits behind it
_SOME = 1024  # events between two looks at the kernel's queue
_LONGEST = 16 << 20
"""Bytes of a message in a file. A longer length is wrong, and nothing to take memory for: the kernel's messages
about XFRM have some KiB, and one attribute, whose length has 16 bits, can have 64."""


def run_monitor(command: Command, context: Context) -> int:
    """Shows events until Ctrl-C, or the messages of a file to its end."""
    show = _shower(command, context)
    if command.file is not None:
        with _opened(command.file) as file:
            for message in _file_messages(file):
                _show_one(show, message, -1, context)
        return 0
    mask = 0
    for group in command.groups:
        mask |= 1 << (group - 1)
    listener = context.handle().open_listener(
        mask, all_namespaces=command.all_namespaces, buffer=context.receive_buffer or _BUFFER, backlog=_BACKLOG
    )
    try:
        while True:
            listener.fill()
            records, end = listener.peek(_SOME)
            for message, namespace in _heard(records):
                if isinstance(message, str):
                    _say(context, f"events were lost: {message}")
                else:
                    _show_one(show, message, namespace, context)
            listener.release(end)
            context.out.flush()
    finally:
        listener.close()


def _show_one(show: Callable[[Any, int], None], message: Any, namespace: int, context: Context) -> None:
    """Shows a message. One that makes no sense is left out: those behind it are worth as much as before. (As JSON
    it has its place all the same, with "<hidden>" for a body.)"""
    try:
        show(message, namespace)
    except (ProtocolError, ValidationError) as error:
        _say(context, f"a message was left out: {error}")


def _say(context: Context, text: str) -> None:
    context.out.flush()  # what was shown before stands before
    context.err.write(f"Error: {text}\n")


def _heard(records: Any) -> Iterator[tuple[Any, int]]:
    """The messages of a listener's memory, and the namespace that each comes from, -1: the listener's own. A text
    in place of a message says why some were lost here."""
    from xfrm_ext.wire.layouts import BROKEN, OVERRUN, RECORD, aligned

    lost = {
        OVERRUN: "the kernel's queue overflowed",
        BROKEN: "the messages of a datagram had wrong lengths",
    }
    position = 0
    while position < len(records):
        size, namespace = RECORD.unpack_from(records, position)
        position += RECORD.size
        if size in lost:
            yield lost[size], namespace
            continue
        yield records[position : position + size], namespace
        position += aligned(size)


def _shower(command: Command, context: Context) -> Callable[[Any, int], None]:
    """What prints an event, which is of a namespace with that id, -1: the listener's own."""
    if context.json:
        from xfrm_ext.cli.as_json import show_event

        return lambda message, namespace: show_event(
            context, command, message, None if namespace < 0 else namespace
        )
    printer = printer_of(context, command)
    shows_namespaces = command.all_namespaces and command.file is None

    def show(message: Any, namespace: int) -> None:
        context.out.write(printer.message(message, None, namespace if shows_namespaces else None))

    return show


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """The file, "-": standard input, which stays open."""
    from xfrm_ext.cli.streams import checked_path, standard_input

    if path == "-":
        yield standard_input("monitor file")
        return
    with open(checked_path(path, "monitor file"), "rb") as file:
        yield file


def _file_messages(file: BinaryIO) -> Iterator[bytes]:
    """The netlink messages that a file consists of."""
    from xfrm_ext.wire.layouts import HEADER, aligned

    while head := file.read(HEADER.size):
        size = HEADER.unpack(head)[0] if len(head) == HEADER.size else 0
        known = HEADER.size <= size <= _LONGEST
        rest = file.read(aligned(size) - HEADER.size) if known else b""
        if not known or len(rest) < size - HEADER.size:
            raise ProtocolError(f"{getattr(file, 'name', 'the file')}: a message is cut off, or has a wrong length")
        yield (head + rest)[:size]

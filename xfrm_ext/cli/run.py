# SPDX-License-Identifier: MIT
"""Commands that `ip xfrm` has too: bytes to the kernel, and what comes back as text or JSON."""

from __future__ import annotations

from xfrm_ext.iproute2 import read_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from xfrm_ext.cli.context import Context
    from xfrm_ext.iproute2.command import Accepts, Command
    from xfrm_ext.iproute2.text import Printer

_ANSWERED = ("get", "count", "allocspi", "getdefault")
_BATCH = 256  # messages in a send


def run_words(words: list[str], context: Context) -> int:
    """Reads and runs one command line, without the options in front."""
    command = read_command(words, context.options, context.interface_index, context.read_key)
    return run(command, context)


def run(command: Command, context: Context) -> int:
    """Runs a command. Raises what the kernel says."""
    if command.verb == "help":
        from xfrm_ext.iproute2.help import text

        context.err.write(text(command.object))
        return 255
    if command.object == "monitor":
        from xfrm_ext.cli.monitor import run_monitor

        return run_monitor(command, context)
    if command.object == "link":
        return _link(command, context)
    operation = f"{command.verb} {command.object}"
    if command.verb == "list":
        show(context, command, _dumped(command, context, operation))
    elif command.verb == "deleteall":
        return _delete_all(command, context, operation)
    elif command.verb in _ANSWERED:
        context.sent = command.datagrams[0]
        reply = context.handle().talk(context.sent, operation, answer=True)
        show(context, command, [reply] if reply else [])
    else:
        for context.sent in command.datagrams:
            context.handle().talk(context.sent, operation)
    return 0


def _dumped(command: Command, context: Context, operation: str) -> Iterator[Any]:
    """What is meant of a dump, in blocks of messages, which are wiped when the next one is asked for."""
    accepts = command.accepts
    for block in context.handle().dump(command.datagrams[0], operation):
        meant = block if accepts is None else _accepted(block, accepts)
        try:
            yield meant
        finally:
            for memory in (block, meant):
                memory[:] = bytes(len(memory))


def _accepted(block: bytearray, accepts: Accepts) -> bytearray:
    """A block without the messages that are not meant. Items of policies, which few filters ask for, are read when
    they are looked at."""
    from xfrm_ext import wire
    from xfrm_ext.constants import uapi
    from xfrm_ext.transport import messages
    from xfrm_ext.wire.layouts import HEADER
    from xfrm_ext.wire.shared import SMALLEST_POLICY

    found: list[Any] = []
    for one in messages(memoryview(block)):
        if len(one) >= SMALLEST_POLICY and HEADER.unpack_from(one)[1] == uapi.XFRM_MSG_NEWPOLICY:
            meant = accepts({"policy": bytes(one[HEADER.size : SMALLEST_POLICY])}, _items(one))
        else:
            fields, items = wire.unpack(one)[2:]
            meant = accepts(fields or {}, items)
        if meant:
            found.append(one)
    return bytearray().join(found)


def _items(message: Any) -> Iterator[Any]:
    from xfrm_ext import wire

    yield from wire.unpack(message)[3]


def show(context: Context, command: Command, blocks: Iterable[Any]) -> None:
    """Prints messages: as `ip` does, or as JSON."""
    if context.json:
        from xfrm_ext.cli.as_json import show_json

        show_json(context, command, blocks)
        return
    printer = printer_of(context, command)
    for block in blocks:
        context.out.write(printer.block(block))


def printer_of(context: Context, command: Command) -> Printer:
    """What makes the texts of a command."""
    from xfrm_ext.iproute2.text import Printer

    return Printer(
        statistics=command.options.statistics,
        oneline=command.options.oneline,
        keys=command.keys,
        monitor=command.object == "monitor",
        timestamp=command.options.timestamp,
        interface_name=context.printable_name,
    )


def _delete_all(command: Command, context: Context, operation: str) -> int:
    """One dump, and all that is meant is deleted in batches. What is gone before its turn is no error."""
    import errno

    from xfrm_ext import wire
    from xfrm_ext.cli.failure import failure
    from xfrm_ext.transport import BatchOutcome, messages

    blocks: list[bytearray] = []
    for block in _dumped(command, context, operation):
        if not block:
            continue
        if command.object == "policy":
            blocks.append(wire.delete_messages(block, len(messages(memoryview(block))), by_index=True))
        else:
            blocks.append(wire.delete_state_messages(block))
    total = sum(len(messages(memoryview(block))) for block in blocks)
    deleted = failed = 0
    first = ""
    for block in blocks:
        outcome, count = BatchOutcome(), len(messages(memoryview(block)))
        try:
            context.handle().talk_batch(block, count, outcome=outcome)
        except KeyboardInterrupt:
            outcome.settle()
            deleted += outcome.acked - len(outcome.failures)
            context.err.write(f"{operation}: interrupted, {deleted} of {total} were deleted\n")
            raise
        sent = messages(memoryview(block))
        deleted += count - len(outcome.failures)
        for refused in outcome.failures:
            if refused.errno in (errno.ENOENT, errno.ESRCH):
                continue
            failed += 1
            first = first or failure(refused.error(operation, sent[refused.index]))
    if failed:
        context.err.write(f"{first} ({failed} of {total} were not deleted)\n")
    return 2 if failed else 0


def _link(command: Command, context: Context) -> int:
    """`link add ... type xfrm`. What `ip` looks up before, the grammar has found."""
    context.route().talk(command.datagrams[0], f"{command.verb} XFRM interface")
    return 0

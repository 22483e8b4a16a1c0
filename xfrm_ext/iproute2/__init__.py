# SPDX-License-Identifier: MIT
"""The command lines of `ip xfrm` as a library, nothing sent and nothing printed.

::

    from xfrm_ext import iproute2

    iproute2.encode(["xfrm", "policy", "add", "dir", "in"])     # the datagrams that `ip` would send
    iproute2.parse(["xfrm", "policy", "add", "dir", "in"])      # the same as a Request
    iproute2.render(messages)                                   # the text that `ip` prints for replies and events
    iproute2.to_command(policy)                                 # the line that recreates a policy or state

A line is a list of words as after `ip` in a shell: options, `xfrm` (which may be left out), object, verb, the rest.
Of `ip link`, what is about XFRM interfaces is here as well: `link add xfrm0 type xfrm if_id 42`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from xfrm_ext.iproute2.as_command import to_command
    from xfrm_ext.iproute2.command import Command, Options
    from xfrm_ext.iproute2.text import render
    from xfrm_ext.iproute2.words import InterfaceIndex, ReadKey
    from xfrm_ext.link import XfrmInterface
    from xfrm_ext.request import Request

__all__ = ["encode", "parse", "read_command", "render", "to_command"]

_OBJECTS = ("state", "policy", "monitor")  # in the order in which `ip` looks at them


def __getattr__(name: str) -> Any:
    """Imports what is only there when it is asked for."""
    if name not in ("render", "to_command"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{'text' if name == 'render' else 'as_command'}"), name)


def encode(argv: Iterable[str], *, interface_index: InterfaceIndex | None = None) -> list[bytes]:
    """The datagrams that `ip ARGV` would send, with sequence number and port 0; keys are in them.

    Of `deleteall`, the request to dump; ``policy.delete_message`` and ``state.delete_message`` make the others out
    of what that finds. Of `link`, what looks up the names of interfaces stands in front.

    `interface_index` gives the index of an interface by its name, 0 if there is none; default: those in the calling
    thread's network namespace.

    Raises CommandError for a line that is wrong, and for one that sends nothing (help, monitor).
    """
    command = _sending(argv, interface_index)
    return [bytes(datagram) for datagram in (*getattr(command, "lookups", ()), *command.datagrams)]


def parse(argv: Iterable[str], *, interface_index: InterfaceIndex | None = None) -> Request | XfrmInterface:
    """The same as an object: the Request for a line of `xfrm`, of deleteall the one to dump.

    For a line of `link`, the XfrmInterface that it is about, as far as the line tells, the rest 0 or False. Raises
    CommandError as ``encode``. What the kernel will refuse is read all the same, as more templates than 6.
    """
    from xfrm_ext import wire
    from xfrm_ext.codec import select
    from xfrm_ext.constants import Message
    from xfrm_ext.request import Request

    command = _sending(argv, interface_index)
    if command.object == "link":
        interface: XfrmInterface = command.interface  # type: ignore[attr-defined]
        return interface
    message = command.datagrams[0]
    value = select().decode(message)
    if isinstance(value, Request):
        return value
    return Request(Message(wire.message_type(message)), value)


def _sending(argv: Iterable[str], interface_index: InterfaceIndex | None) -> Command:
    """The command of a line that sends something."""
    from xfrm_ext.iproute2 import options
    from xfrm_ext.iproute2.words import wrong

    given, settings, rest = options.read(argv)
    if settings.help or settings.version or settings.batch is not None:
        raise wrong("option", None, "-help, -Version and -batch are no command that sends something")
    command = read_command(rest, given, interface_index or _interface_index)
    if not command.datagrams:
        raise wrong(command.object, None, f"{command.verb} sends nothing")
    return command


def read_command(
    words: Iterable[str], options: Options, interface_index: InterfaceIndex, read_key: ReadKey | None = None
) -> Command:
    """The command of a line without the options in front. Raises CommandError.

    `read_key` makes the bytes of a key out of its word; default: as `ip` does (``words.key_bytes``).
    """
    from xfrm_ext.iproute2.words import Words, abbreviated, wrong

    rest = Words(words)
    word = rest.next("command")
    if abbreviated(word, ("link",)):
        from xfrm_ext.iproute2 import link

        return link.read(rest, options, interface_index)
    if abbreviated(word, ("xfrm",)):
        word = rest.next("xfrm")
    found = abbreviated(word, _OBJECTS)
    if found == "policy":
        from xfrm_ext.iproute2 import policy

        return policy.read(rest, options, interface_index)
    if found == "state":
        from xfrm_ext.iproute2 import state

        return state.read(rest, options, interface_index, *(() if read_key is None else (read_key,)))
    if found == "monitor":
        from xfrm_ext.iproute2 import monitor

        return monitor.read(rest, options, interface_index)
    if abbreviated(word, ("help",)):
        from xfrm_ext.iproute2.command import Command

        return Command("xfrm", "help", options)
    raise wrong("xfrm", word, f"is not {', '.join(_OBJECTS)} or help")


def _interface_index(name: str) -> int:
    """The index of an interface in the calling thread's network namespace."""
    import socket

    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):
        return 0

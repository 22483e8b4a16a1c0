# SPDX-License-Identifier: MIT
"""Messages of the kernel as text: what `ip xfrm` of iproute2 7.1 prints for them, to the letter.

``render`` is for a few messages, a Printer for many, one after the other or by the block of a dump. Two things
differ on purpose: the sequence number of an ACQUIRE or a state is hexadecimal behind its 0x, where `ip` prints
decimal digits; and what is behind the end of an attribute is never shown (a request's replay window has no bitmap:
`ip` shows the attributes that follow as if they were one).
"""

from __future__ import annotations

import time

from xfrm_ext.constants import uapi
from xfrm_ext.errors import ProtocolError
from xfrm_ext.iproute2 import policy_text
from xfrm_ext.wire.layouts import HEADER

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from xfrm_ext.wire.layouts import Buffer

    Key = TypeVar("Key")
    Value = TypeVar("Value")

_KEPT = 4096  # texts in each cache: policies of a few kinds are many, kinds that differ are not worth it
_NEWPOLICY = uapi.XFRM_MSG_NEWPOLICY
_NO_EVENT = (1, 2, 3)  # NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE


class Printer:
    """Makes texts of messages. Times are in the local time zone.

    It remembers texts that are often the same, a bounded number of them, and none with a key in it. A text with
    keys is a str, which can't be wiped.
    """

    __slots__ = (
        "interface_name",
        "keys",
        "makers",
        "monitor",
        "oneline",
        "shapes",
        "statistics",
        "tails",
        "texts",
        "timestamp",
    )

    def __init__(
        self,
        *,
        statistics: int = 0,
        oneline: bool = False,
        keys: bool = True,
        monitor: bool = False,
        timestamp: str = "",
        interface_name: Callable[[int], str] | None = None,
    ) -> None:
        """``statistics``: how often -s was given. ``oneline``: -o. ``keys``: False for `nokeys`. ``monitor``: these
        are events, and counts are unknown ones. ``timestamp``: "long" (-t) or "short" (-ts), for a monitor.
        ``interface_name``: the name of an interface, by index; default: in this network namespace."""
        self.statistics = statistics
        self.oneline = oneline
        self.keys = keys
        self.monitor = monitor
        self.timestamp = timestamp
        self.interface_name = interface_name or _interface_name
        self.makers: dict[int, Callable[[Printer, Buffer], str]] = {}
        """What makes the lines of a message, by its type."""
        self.tails: dict[bytes, tuple[str, str, str]] = {}
        """Of policies: the texts of what a message ends with, from the direction on."""
        self.shapes: dict[bytes, tuple[str, str, str, str, bool]] = {}
        """The same in pieces, for all that differ in the addresses and reqid of a template alone."""
        self.texts: dict[object, str] = {}
        """The texts of limits and times."""

    def kept(self, cache: dict[Key, Value], key: Key, value: Value) -> Value:
        """Puts something into a cache, which never gets large."""
        if len(cache) >= _KEPT:
            cache.clear()
        cache[key] = value
        return value

    def block(self, block: Buffer) -> str:
        """The texts of all messages of a block, as dumps give them. Raises ProtocolError."""
        view = memoryview(block)
        if len(view) >= HEADER.size and HEADER.unpack_from(view)[1] == _NEWPOLICY:
            return policy_text.policies(self, bytes(view))
        texts, position = [], 0  # without a copy: there may be keys
        while len(view) - position >= HEADER.size:
            size = self.size(view, position)
            texts.append(self.message(view[position : position + size]))
            position += (size + 3) & ~3
        return "".join(texts)

    def size(self, data: Buffer, position: int) -> int:
        """The size of the message at a place. Raises ProtocolError when it is not all there."""
        left = len(data) - position
        size: int = HEADER.unpack_from(data, position)[0] if left >= HEADER.size else 0
        if not HEADER.size <= size <= left:
            raise ProtocolError("a message's lengths do not fit")
        return size

    def message(self, message: Buffer, now: float | None = None, namespace_id: int | None = None) -> str:
        """The text of a message; "" for one that ends a dump or acknowledges. Raises ProtocolError.

        For a monitor: ``now`` is what a timestamp shows, in seconds since 1970, by default the time it is;
        ``namespace_id`` that of the namespace where it happened, -1 for the listener's own, None: not to be shown.
        """
        view = memoryview(message)[: self.size(message, 0)]
        kind: int = HEADER.unpack_from(view)[1]
        if kind in _NO_EVENT:
            return ""
        maker = self.makers.get(kind) or self._maker(kind)
        text = maker(self, view)
        if self.oneline and maker is not _unknown and _MAKERS[kind][2]:
            text = text.replace("\n", "\\") + "\n"
        if self.monitor:
            if namespace_id is not None:
                text = f"[nsid {'current' if namespace_id < 0 else namespace_id}]{text}"
            if self.timestamp:
                text = _timestamp(self.timestamp, time.time() if now is None else now) + text
        return text

    def _maker(self, kind: int) -> Callable[[Printer, Buffer], str]:
        """What makes the lines of a type of message. Its module is imported when there is such a message."""
        module, name, _ = _MAKERS.get(kind, _UNKNOWN)
        if module == "info_text" and name != "defaults" and self.monitor:
            module, name, _ = _UNKNOWN
        maker: Callable[[Printer, Buffer], str] = _unknown
        if module:
            from importlib import import_module

            maker = getattr(import_module(f"xfrm_ext.iproute2.{module}"), name)
        self.makers[kind] = maker
        return maker


_UNKNOWN = ("", "", False)
_MAKERS = {
    _NEWPOLICY: ("policy_text", "changed", True),
    uapi.XFRM_MSG_UPDPOLICY: ("policy_text", "updated", True),
    uapi.XFRM_MSG_DELPOLICY: ("policy_text", "deleted", True),
    uapi.XFRM_MSG_POLEXPIRE: ("policy_text", "expired", True),
    uapi.XFRM_MSG_FLUSHPOLICY: ("policy_text", "flushed", True),
    uapi.XFRM_MSG_NEWSA: ("state_text", "changed", True),
    uapi.XFRM_MSG_UPDSA: ("state_text", "updated", True),
    uapi.XFRM_MSG_DELSA: ("state_text", "deleted", True),
    uapi.XFRM_MSG_EXPIRE: ("state_text", "expired", True),
    uapi.XFRM_MSG_FLUSHSA: ("state_text", "flushed", True),
    uapi.XFRM_MSG_ACQUIRE: ("event_text", "acquire", True),
    uapi.XFRM_MSG_NEWAE: ("event_text", "async_event", True),
    uapi.XFRM_MSG_MAPPING: ("event_text", "mapping", True),
    uapi.XFRM_MSG_REPORT: ("event_text", "report", True),
    uapi.XFRM_MSG_NEWSPDINFO: ("info_text", "policies", True),
    uapi.XFRM_MSG_NEWSADINFO: ("info_text", "states", False),
    uapi.XFRM_MSG_GETDEFAULT: ("info_text", "defaults", False),
}
"""Module and function of each type of message, and whether -o puts it on one line."""


def _unknown(printer: Printer, message: Buffer) -> str:
    size, kind, flags, _, _ = HEADER.unpack_from(message)
    return f"Unknown message: {size:08} {kind:#010x} {flags:#010x}\n"


def _interface_name(index: int) -> str:
    from _socket import if_indextoname

    try:
        return if_indextoname(index)
    except (OSError, OverflowError):
        return f"if{index & 0xFFFFFFFF}"


def _timestamp(form: str, now: float) -> str:
    seconds, microseconds = divmod(round(now * 1_000_000), 1_000_000)
    when = time.localtime(seconds)
    if form == "short":
        return f"[{time.strftime('%Y-%m-%dT%H:%M:%S', when)}.{microseconds:06}] "
    return f"Timestamp: {time.asctime(when)} {microseconds} usec\n"


def render(
    messages: Buffer | Iterable[Buffer],
    *,
    statistics: int = 0,
    details: bool = False,
    oneline: bool = False,
    keys: bool = True,
    monitor: bool = False,
    timestamp: str = "",
    now: float | None = None,
    namespace_id: int | None = None,
    interface_name: Callable[[int], str] | None = None,
) -> str:
    """The text of a message, or of several: what `ip xfrm` prints for them.

    The options are those of Printer and of ``Printer.message``. ``details`` (-d) changes nothing, as in `ip`. With
    ``keys``, keys are in the text, which can't be wiped. Raises ProtocolError for wrong lengths of messages.
    """
    printer = Printer(
        statistics=statistics,
        oneline=oneline,
        keys=keys,
        monitor=monitor,
        timestamp=timestamp,
        interface_name=interface_name,
    )
    if isinstance(messages, (bytes, bytearray, memoryview)):
        messages = [messages]
    return "".join([printer.message(message, now, namespace_id) for message in messages])

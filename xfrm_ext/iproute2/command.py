# SPDX-License-Identifier: MIT
"""Command: what one line of `ip xfrm` asks for, as bytes to send and what is to become of the answers."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Accepts = Callable[[dict[str, Any], Iterable[Any]], bool]


class Options:
    """The options in front of the object: `ip OPTIONS xfrm ...`."""

    __slots__ = ("details", "family", "oneline", "statistics", "timestamp")

    def __init__(self) -> None:
        self.family = 0
        """AF_INET or AF_INET6 (-4, -6, -f NAME), 0: not said."""
        self.statistics = 0
        """How often -s was given."""
        self.details = False
        self.oneline = False
        self.timestamp = ""
        """"long" (-t), "short" (-ts), or ""."""


class Command:
    """One command line, read."""

    __slots__ = ("accepts", "all_namespaces", "datagrams", "file", "groups", "keys", "object", "options", "verb")

    def __init__(
        self,
        object: str,
        verb: str,
        options: Options,
        datagrams: Sequence[Any] = (),
        accepts: Accepts | None = None,
    ) -> None:
        self.object = object
        """policy, state, monitor or link."""
        self.verb = verb
        """The whole word, however it was shortened: add, update, delete, get, list, deleteall, flush, count,
        allocspi, migrate, set, getdefault, setdefault, help; of a monitor, monitor or help."""
        self.options = options
        self.datagrams = datagrams
        """What is sent, bytes-like, with sequence number and port 0; keys are in it. Of deleteall: the request to
        dump. Of help and monitor: nothing."""
        self.accepts = accepts
        """Of list and deleteall: whether a message that was dumped is meant, by its fields and items as
        ``wire.unpack`` gives them; it may leave items unread. None: every one is."""
        self.keys = True
        """Of list and monitor: whether keys are printed (no: `nokeys`)."""
        self.groups: tuple[int, ...] = ()
        """Of a monitor: the multicast groups (XFRMNLGRP_*)."""
        self.all_namespaces = False
        """Of a monitor: all-nsid was said."""
        self.file: str | None = None
        """Of a monitor: the file with messages that are shown in place of the kernel's."""

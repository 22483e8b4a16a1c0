# SPDX-License-Identifier: MIT
"""Context: what all subcommands need: where to write, the options of the command line, the kernel."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from errno import EINVAL

from xfrm_ext.iproute2.command import Options

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TextIO

    from xfrm_ext.iproute2.options import Settings
    from xfrm_ext.rtnl import Handle
    from xfrm_ext.session import Session


class Context:
    """One run of the command. What was opened is closed by `close`."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._closed_streams: list[TextIO] = []
        self.out: TextIO = out or sys.stdout or self._nowhere()
        self.err: TextIO = err or sys.stderr or self._nowhere()
        self.options = Options()
        self.json = False
        self.pretty = False
        self.show_keys = False
        self.debug = False
        self.netns: str | None = None
        """The namespace to work in, as Session takes it; None: the caller's."""
        self.receive_buffer = 0
        """In bytes, of a monitor's socket; 0: not said."""
        self.sent: Any = None
        """The request that was sent last, for what an error says of it."""
        self._session: Session | None = None
        self._handle: Handle | None = None
        self._route: Handle | None = None
        self._names: dict[int, str] = {}

    def take(self, options: Options, settings: Settings) -> None:
        """Takes over what the options in front of a command say."""
        self.options = options
        self.json, self.pretty, self.show_keys = settings.json, settings.pretty, settings.show_keys
        self.debug, self.netns = settings.debug, settings.netns
        self.receive_buffer = settings.receive_buffer

    def _nowhere(self) -> TextIO:
        """In place of a stream that was closed before the program began."""
        stream = open(os.devnull, "w")  # noqa: SIM115  closed by close()
        self._closed_streams.append(stream)
        return stream

    def session(self) -> Session:
        """A session in the namespace that was chosen, the same at each call."""
        if self._session is None:
            from xfrm_ext.session import Session

            with self._namespace():
                self._session = Session(netns=self.netns)
        return self._session

    @contextmanager
    def _namespace(self) -> Iterator[None]:
        """Errors of opening a socket in another namespace are about -netns."""
        from xfrm_ext.errors import KernelError, ValidationError
        from xfrm_ext.iproute2.words import wrong

        try:
            yield
        except ValidationError as error:
            raise wrong("-netns", self.netns, error.rule) from None
        except KernelError as error:
            if self.netns is None or error.errno != EINVAL:
                raise
            raise wrong("-netns", self.netns, "is not a network namespace") from None

    def handle(self) -> Handle:
        """A socket of NETLINK_XFRM there, the same at each call: for commands that send bytes and need no objects,
        whose modules take longer to import than the kernel to answer."""
        if self._handle is None:
            from xfrm_ext.errors import compiled_module_needed

            with compiled_module_needed("a connection to the kernel"):
                from xfrm_ext.rtnl import open_byproto
            if self.netns is None:
                self._handle = open_byproto()
            else:
                from xfrm_ext.session import open_in

                with self._namespace():
                    self._handle = open_in(self.netns)
        return self._handle

    def route(self) -> Handle:
        """A socket of NETLINK_ROUTE there, the same at each call."""
        if self._route is None:
            from xfrm_ext.constants import NETLINK_ROUTE

            self._route = self.handle().open_beside(NETLINK_ROUTE)
        return self._route

    def close(self) -> None:
        """Closes what was opened."""
        for one in (self._session, self._handle, self._route, *self._closed_streams):
            if one is not None:
                one.close()
        self._session = self._handle = self._route = None

    def read_key(self, word: str) -> Any:
        """The bytes of a key, where a command line has one: see cli/keys.py."""
        from xfrm_ext.cli.keys import read_key

        return read_key(word)

    def interface_index(self, name: str) -> int:
        """The index of an interface in the namespace that was chosen, 0: there is none."""
        if "\0" in name:
            return 0
        try:
            return self.handle().interface_index(name)
        except UnicodeEncodeError:  # a lone surrogate that stands for no byte
            return 0

    def interface_name(self, index: int) -> str:
        """The name of an interface there; "if7" where there is none, as `ip` has it."""
        found = self._names.get(index)
        if found is None:
            from xfrm_ext.errors import KernelError
            from xfrm_ext.wire.link import link_name, link_request

            try:
                reply = self.route().talk(link_request(index=index), f"find interface {index}", answer=True)
                found = link_name(reply or b"")
            except KernelError:
                found = f"if{index}"
            self._names[index] = found
        return found

    def printable_name(self, index: int) -> str:
        """The same for texts: names may hold what commands a terminal, or is no text."""
        name = self.interface_name(index)
        if name.isprintable():
            return name
        from xfrm_ext.cli.outline import printable

        return printable(name)

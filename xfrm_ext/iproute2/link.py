# SPDX-License-Identifier: MIT
"""The grammar of `ip link` for XFRM interfaces: add, replace, change (or set) and delete, with `type xfrm`.

::

    link { add | replace } [ link DEV ] [ [ name ] NAME ] [ mtu MTU ] [ txqueuelen PACKETS ] [ up | down ]
         type xfrm [ dev PHYS_DEV ] { if_id IF-ID | external }
    link { change | set } [ dev ] NAME ...     the same words; `name NAME` gives it another name
    link delete [ dev ] NAME type xfrm

`link` and `dev` differ: the first is IFLA_LINK, which the kernel does not look at here; the second, behind the
type, is the device that the interface's own packets leave through. An external interface gets its if_id with each
packet.
"""

from __future__ import annotations

from xfrm_ext.constants import uapi
from xfrm_ext.iproute2.command import Command
from xfrm_ext.iproute2.words import abbreviated, verb, wrong
from xfrm_ext.wire import link as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xfrm_ext.iproute2.command import Options
    from xfrm_ext.iproute2.words import InterfaceIndex, Words
    from xfrm_ext.link import XfrmInterface

_IFLA_LINK, _IFLA_TXQLEN = 5, 13  # <linux/if_link.h>
_ASKED_FOR = 0x109  # RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS | RTEXT_FILTER_NAME_ONLY
_LONGEST_NAME = 15
_REPLACE_CREATE = 0x500  # NLM_F_CREATE | NLM_F_REPLACE
_FLAGS = {"add": wire.EXCLUSIVE_CREATE, "replace": _REPLACE_CREATE, "change": 0, "delete": 0}
_VERBS = {  # in the order in which `ip` looks at them
    "add": "add",
    "set": "change",
    "change": "change",
    "replace": "replace",
    "delete": "delete",
    "help": "help",
}


class LinkCommand(Command):
    """A command for NETLINK_ROUTE: its datagram names interfaces by index."""

    __slots__ = ("interface", "lookups")

    def __init__(self, verb: str, options: Options) -> None:
        super().__init__("link", verb, options)
        self.lookups: list[bytes] = []
        """What `ip` asks the kernel first, RTM_GETLINK with a name each. Here the caller has looked them up."""
        self.interface: XfrmInterface | None = None
        """The interface as far as the line tells, the rest 0 or False. Of help: None."""


def read(words: Words, options: Options, interface_index: InterfaceIndex) -> LinkCommand:
    """The words behind `link`. Raises CommandError."""
    if not words.left:
        raise wrong("link", None, f"needs a command: {', '.join(_VERBS)}")
    command = LinkCommand(verb(words.next("link"), _VERBS, "link"), options)
    if command.verb != "help":
        _Reader(words, command, interface_index).read()
    return command


class _Reader:
    """The words behind a verb, and what they said up to now."""

    def __init__(self, words: Words, command: LinkCommand, interface_index: InterfaceIndex) -> None:
        self._words = words
        self._command = command
        self._interface_index = interface_index
        self._attributes = b""
        self._names: dict[str, str] = {}
        self._up: bool | None = None
        self._mtu = self._if_id = self._device = 0
        self._external = False
        self._data = b""

    def read(self) -> None:
        from xfrm_ext.link import XfrmInterface

        command = self._command
        creates = command.verb in ("add", "replace")
        self._read_link()
        if not creates and "dev" not in self._names:
            raise wrong(f"link {command.verb}", None, "needs the name of an interface")
        if creates and len(self._names) == 2:
            raise wrong("name", None, "is said twice: a new interface has one name")
        index = 0 if creates else self._index(self._names["dev"], "dev", 1)
        name = self._names.get("name") or (self._names.get("dev") if creates else None)
        self._read_xfrm()
        attributes = self._attributes + (b"" if name is None else wire.name(name))
        attributes += wire.link_info(self._data or None)
        command.datagrams = (
            wire.link_message(
                uapi.RTM_DELLINK if command.verb == "delete" else uapi.RTM_NEWLINK,
                wire.REQUEST | wire.ACK | _FLAGS[command.verb],
                attributes,
                index=index,
                set_flags=wire.UP if self._up else 0,
                change=0 if self._up is None else wire.UP,
            ),
        )
        command.interface = XfrmInterface(
            name=name or self._names.get("dev", ""),
            index=index,
            if_id=self._if_id,
            device=self._device,
            external=self._external,
            up=bool(self._up),
            mtu=self._mtu,
        )

    def _read_link(self) -> None:
        """The words of all kinds of links, up to the type."""
        words = self._words
        keywords = {"link": self._link, "mtu": self._read_mtu, "txqueuelen": self._queue}
        seen: set[str] = set()
        while words.take("type") is None:
            word = words.next("type xfrm")
            word = "txqueuelen" if word in ("txqlen", "qlen") else word
            if word in keywords:
                if word in seen:
                    raise wrong(word, None, "is given twice")
                seen.add(word)
                keywords[word]()
            elif word in ("up", "down"):
                self._up = word == "up"
            else:
                kind = word if word in ("name", "dev") else "dev"
                name = words.next(word) if word in ("name", "dev") else word
                if kind in self._names:
                    raise wrong(kind, name, "is unknown here, or a second name")
                self._names[kind] = _checked(name, kind)
        kind = words.next("type")
        if kind != "xfrm":
            raise wrong("type", kind, "is not xfrm: only XFRM interfaces are handled here")

    def _link(self) -> None:
        self._attributes += wire.number(_IFLA_LINK, self._index(self._words.next("link"), "link", 1))

    def _read_mtu(self) -> None:
        self._mtu = self._words.number("mtu")
        self._attributes += wire.number(uapi.IFLA_MTU, self._mtu)

    def _queue(self) -> None:
        self._attributes += wire.number(_IFLA_TXQLEN, self._words.number("txqueuelen"))

    def _read_xfrm(self) -> None:
        """The words behind `type xfrm`, if there are any."""
        words = self._words
        given = bool(words.left)
        while words.left:
            word = words.next("type xfrm")
            if word == "if_id":
                self._if_id = words.number("if_id")
                if not self._if_id:
                    raise wrong("if_id", "0", "is not a number from 1 to 0xffffffff")
                self._data += wire.number(uapi.IFLA_XFRM_IF_ID, self._if_id)
            elif word == "external":
                self._external = True
            elif abbreviated(word, ("dev",)):
                self._device = self._index(words.next("dev"), "type xfrm dev", 255)
            else:
                raise wrong("type xfrm", word, "is not dev, if_id or external", 1)
        if self._external:
            if self._if_id or self._device:
                raise wrong("external", None, "does not go with if_id and dev", 1)
            self._data = wire.attribute(uapi.IFLA_XFRM_COLLECT_METADATA, b"")
        elif given and not self._if_id:
            raise wrong("if_id", None, "is missing, unless the interface is external")
        elif self._device:
            self._data += wire.number(uapi.IFLA_XFRM_LINK, self._device)

    def _index(self, name: str, field: str, status: int) -> int:
        """The index of an interface that is there."""
        mask = wire.number(uapi.IFLA_EXT_MASK, _ASKED_FOR)
        lookup = wire.link_message(uapi.RTM_GETLINK, wire.REQUEST, mask + wire.name(_checked(name, field)))
        self._command.lookups.append(lookup)
        index = self._interface_index(name)
        if index <= 0:
            raise wrong(field, name, "is not an interface here", status)
        return index


def _checked(name: str, field: str) -> str:
    if not 0 < len(name.encode("utf-8", "surrogateescape")) <= _LONGEST_NAME or any(
        character in "/\0" or character.isspace() for character in name
    ):
        raise wrong(field, name, f"is not an interface's name: 1 to {_LONGEST_NAME} bytes without '/' and spaces")
    return name

# SPDX-License-Identifier: MIT
"""The grammar of `ip xfrm state`, and of `migrate`, which `ip` lacks: see ``xfrm_ext.iproute2.help``."""

from __future__ import annotations

from xfrm_ext import wire
from xfrm_ext.constants import uapi
from xfrm_ext.iproute2 import algorithm, selector
from xfrm_ext.iproute2.command import Command
from xfrm_ext.iproute2.definition import FLAGS, NO_LIMITS, NO_SELECTOR, Definition, encapsulation, offload
from xfrm_ext.iproute2.state_id import StateId
from xfrm_ext.iproute2.words import (
    AH,
    ANY_PROTOCOL,
    COMP,
    ESP,
    U8,
    U16,
    U32,
    address,
    flags,
    key_bytes,
    mark,
    mode,
    protocol,
    same_family,
    unpadded,
    verb,
    wrong,
)
from xfrm_ext.wire.item import Item
from xfrm_ext.wire.layouts import HEADER, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, STATE, STATE_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from xfrm_ext.iproute2.command import Accepts, Options
    from xfrm_ext.iproute2.words import InterfaceIndex, ReadKey, Words

_ACKNOWLEDGED = NLM_F_REQUEST | NLM_F_ACK
_DUMP = NLM_F_REQUEST | NLM_F_DUMP
_IPSEC = (ESP, AH, COMP)  # what ipsec-any means
_LEAST_SPI, _MOST_SPI = 0x100, 0x0FFFFFFF  # the defaults of `ip`


def read(words: Words, options: Options, interface_index: InterfaceIndex, read_key: ReadKey = key_bytes) -> Command:
    """The words behind `state`. Raises CommandError."""
    reader = _Reader(words, options, interface_index, read_key)
    name = verb(words.next("state"), _VERBS, "state") if words.left else "list"
    command = Command("state", name, options)
    _READERS[name](reader, command)
    return command


class _Reader:
    """The words behind a verb, and what is needed to read them."""

    def __init__(self, words: Words, options: Options, interface_index: InterfaceIndex, read_key: ReadKey) -> None:
        self.words = words
        self.family = options.family
        self.interface_index = interface_index
        self.read_key = read_key

    def end(self) -> None:
        """Checks that no word is left."""
        word = self.words.peek()
        if word is not None:
            raise wrong("state", word, "is unknown here")

    # add, update

    def _define(self, command: Command, message: int) -> None:
        definition = Definition(self.family, self.interface_index, self.read_key)
        try:
            definition.read(self.words)
            message_bytes = wire.pack(message, _ACKNOWLEDGED, definition.fields(), definition.all_items())
        finally:
            algorithm.wipe(definition.items)
        command.datagrams = (message_bytes,)

    def add(self, command: Command) -> None:
        self._define(command, uapi.XFRM_MSG_NEWSA)

    def update(self, command: Command) -> None:
        self._define(command, uapi.XFRM_MSG_UPDSA)

    # allocspi

    def allocspi(self, command: Command) -> None:
        words = self.words
        definition = Definition(self.family, self.interface_index)
        borders: dict[str, int] = {}
        while words.left:
            keyword = words.next("state allocspi")
            if keyword in ("min", "max"):
                if keyword in borders:
                    raise wrong(keyword, None, "is given twice")
                borders[keyword] = words.number(keyword)
            elif not definition.read_common(keyword, words):
                words.back()
                definition.id.read(words)
        if not definition.id.given:
            raise wrong("state allocspi", None, "needs an ID: src, dst and proto", 1)
        if definition.id.spi:
            raise wrong("spi", None, "is what allocspi is to find", 1)
        if len(borders) == 1:
            raise wrong("max" if "min" in borders else "min", None, "is missing: min and max go together", 1)
        least, most = _LEAST_SPI, U16 if definition.id.protocol == COMP else _MOST_SPI
        if borders:
            least, most = borders["min"], borders["max"]
        if least > most:
            raise wrong("min", None, "is more than max", 1)
        # The limits are nothing that the kernel looks at here.
        fields = definition.fields(NO_LIMITS)
        items = [*definition.direction_items(), *_mark_items(definition.mark), *definition.cpu_items()]
        state = STATE.pack([fields[name] for name in STATE.names])
        command.datagrams = (
            wire.pack(
                uapi.XFRM_MSG_ALLOCSPI, NLM_F_REQUEST, {"state": state, "spi_min": least, "spi_max": most}, items
            ),
        )

    # get, delete

    def _name(self, command: Command, message: int, message_flags: int) -> None:
        words, state_id, chosen = self.words, StateId(self.family), (0, 0)
        while words.left:
            if words.take("mark"):
                chosen = mark(words)
            else:
                state_id.read(words)
        if not state_id.given:
            raise wrong(f"state {command.verb}", None, "needs an ID: src, dst, proto and spi", 1)
        items = [Item(uapi.XFRMA_SRCADDR, (), state_id.source), *_mark_items(chosen)]
        command.datagrams = (wire.pack(message, message_flags, _id_fields(state_id), items),)

    def get(self, command: Command) -> None:
        self._name(command, uapi.XFRM_MSG_GETSA, NLM_F_REQUEST)

    def delete(self, command: Command) -> None:
        self._name(command, uapi.XFRM_MSG_DELSA, _ACKNOWLEDGED)

    # list, deleteall

    def _filter(self, command: Command) -> StateId:
        """Reads what states are meant by, which becomes ``accepts``."""
        words, state_id = self.words, StateId(self.family)
        found: dict[str, int] = {}
        while words.left:
            if words.take("mode"):
                found["mode"] = mode(words)
            elif words.take("reqid"):
                found["reqid"] = words.number("reqid")
            elif words.take("flag"):
                found["flags"] = flags(words, "flag", FLAGS, U8, found.get("flags", 0))
            elif words.take("nokeys"):
                command.keys = False
            else:
                state_id.read(words, loose=True)
        command.accepts = _accepts(state_id, found)
        return state_id

    def list(self, command: Command) -> None:
        state_id = self._filter(command)
        items = []
        if state_id.protocol:
            items.append(Item(uapi.XFRMA_PROTO, (state_id.protocol,)))
        numbers = (state_id.family, state_id.lengths["src"], state_id.lengths["dst"])
        items.append(Item(uapi.XFRMA_ADDRESS_FILTER, numbers, state_id.source + state_id.destination))
        command.datagrams = (wire.pack(uapi.XFRM_MSG_GETSA, _DUMP, None, items),)

    def deleteall(self, command: Command) -> None:
        self._filter(command)
        command.datagrams = (wire.pack(uapi.XFRM_MSG_GETSA, _DUMP, None),)

    # flush, count, help

    def flush(self, command: Command) -> None:
        chosen = protocol(self.words) if self.words.take("proto") else 0
        self.end()
        message = wire.pack(uapi.XFRM_MSG_FLUSHSA, _ACKNOWLEDGED, {"protocol": chosen})
        command.datagrams = (unpadded(message, HEADER.size + 1),)

    def count(self, command: Command) -> None:
        self.end()
        command.datagrams = (wire.pack(uapi.XFRM_MSG_GETSADINFO, NLM_F_REQUEST, {"flags": U32}),)

    def help(self, command: Command) -> None:
        """Whatever follows."""

    # migrate

    def migrate(self, command: Command) -> None:
        words, old, found = self.words, StateId(self.family), _Migration()
        while words.left:
            keyword = words.next("state migrate")
            if keyword in ("new-src", "new-dst"):
                found.addresses[keyword] = address(words.next(keyword), 0, keyword)
            elif keyword == "mark":
                found.mark = mark(words)
            elif keyword == "reqid":
                found.reqid = words.number("reqid")
            elif keyword == "sel":
                found.selector = selector.read(words, 0, self.interface_index, "sel").pack()
            elif keyword == "flag":
                found.flags = flags(words, "flag", _MIGRATE_FLAGS, U32, found.flags)
            elif keyword == "encap":
                found.items[keyword] = encapsulation(words)
            elif keyword == "if_id":
                found.items[keyword] = Item(uapi.XFRMA_IF_ID, (words.number("if_id"),))
            elif keyword == "offload":
                found.items[keyword] = offload(words, self.interface_index)[0]
            else:
                words.back()
                old.read(words)
        if not old.given:
            raise wrong("state migrate", None, "needs an ID: dst, proto and spi", 1)
        fields = {**_id_fields(old), **found.fields()}
        command.datagrams = (wire.pack(uapi.XFRM_MSG_MIGRATE_STATE, _ACKNOWLEDGED, fields, found.ordered_items()),)


_MIGRATE_FLAGS = {
    "clear-offload": uapi.XFRM_MIGRATE_STATE_CLEAR_OFFLOAD,
    "update-h2h-sel": uapi.XFRM_MIGRATE_STATE_UPDATE_H2H_SEL,
}


class _Migration:
    """What a state is to become (struct xfrm_user_migrate_state)."""

    def __init__(self) -> None:
        self.addresses: dict[str, tuple[bytes, int]] = {}
        self.mark = (0, 0)
        self.reqid = self.flags = 0
        self.selector = NO_SELECTOR
        self.items: dict[str, Item] = {}

    def fields(self) -> dict[str, int | bytes]:
        for keyword in ("new-src", "new-dst"):
            if keyword not in self.addresses:
                raise wrong(keyword, None, "is missing: a state moves to two addresses", 1)
        (source, family), (destination, other) = self.addresses["new-src"], self.addresses["new-dst"]
        same_family("new-dst", other, family, "new-src")
        return {
            "new_destination": destination,
            "new_source": source,
            "mark_value": self.mark[0],
            "mark_mask": self.mark[1],
            "selector": self.selector,
            "reqid": self.reqid,
            "flags": self.flags,
            "new_family": family,
        }

    def ordered_items(self) -> list[Item]:
        return [self.items[keyword] for keyword in ("encap", "if_id", "offload") if keyword in self.items]


def _mark_items(chosen: tuple[int, int]) -> list[Item]:
    """The mark that a state is looked for by, or of allocspi: as in `ip`, none when no bit of it is set."""
    return [Item(uapi.XFRMA_MARK, chosen)] if chosen[0] & chosen[1] else []


def _id_fields(state_id: StateId) -> dict[str, int | bytes]:
    return {
        "destination": state_id.destination,
        "spi": state_id.spi,
        "family": state_id.some_family,
        "protocol": state_id.protocol,
    }


def _under(length: int, one: bytes, other: bytes) -> bool:
    """Whether two addresses have the first bits in common."""
    return not (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")) >> (128 - length)


def _accepts(state_id: StateId, found: dict[str, int]) -> Accepts | None:
    """Whether a state that was dumped is meant, for deleteall too: what list shows, deleteall deletes."""
    wanted = dict(found)
    bits = wanted.pop("flags", None)
    protocols = None
    if "proto" in state_id.given:
        protocols = _IPSEC if state_id.protocol == ANY_PROTOCOL else (state_id.protocol,)
    if "spi" in state_id.given:
        wanted["spi"] = state_id.spi
    if state_id.family:
        wanted["family"] = state_id.family
    if bits is None and protocols is None and not wanted:
        return None
    lengths = state_id.lengths

    def accepts(fields: dict[str, Any], items: Iterable[Any]) -> bool:
        return (
            all(fields[name] == value for name, value in wanted.items())
            and (protocols is None or fields["protocol"] in protocols)
            and (bits is None or bool(fields["flags"] & bits))
            and _under(lengths["src"], fields["source"], state_id.source)
            and _under(lengths["dst"], fields["destination"], state_id.destination)
        )

    return accepts


def delete_message(message: Any, message_flags: int = NLM_F_REQUEST) -> Any:
    """The DELSA message for one NEWSA message that was dumped, with sequence number and port 0.

    As that of `ip`, which asks for no ACK, but all of it is right: the mark's 8 bytes, and zeros as padding.
    """
    _, _, fields, items = wire.unpack(message)
    assert fields is not None  # a NEWSA message has them
    named = [Item(uapi.XFRMA_SRCADDR, (), fields["source"])]
    named += [item for item in items if item.type == uapi.XFRMA_MARK and item.numbers is not None]
    wanted = {name: fields[name] for name in STATE_ID.names}
    return wire.pack(uapi.XFRM_MSG_DELSA, message_flags, wanted, named)


_VERBS = {  # in the order in which `ip` looks at them
    "add": "add",
    "update": "update",
    "allocspi": "allocspi",
    "delete": "delete",
    "deleteall": "deleteall",
    "delall": "deleteall",
    "list": "list",
    "show": "list",
    "lst": "list",
    "get": "get",
    "flush": "flush",
    "count": "count",
    "help": "help",
    "migrate": "migrate",  # ours
}
_READERS: dict[str, Callable[[_Reader, Command], None]] = {name: getattr(_Reader, name) for name in _VERBS.values()}

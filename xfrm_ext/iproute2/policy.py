# SPDX-License-Identifier: MIT
"""The grammar of `ip xfrm policy`, and words that `ip` lacks:

* ``tmpl ... mode iptfs`` (RFC 9347), ``flag cpu_acquire``
* ``list`` and ``deleteall`` with ``mark MARK [ mask MASK ]`` and ``if_id IF-ID``: of policies that have just these;
  ``mask`` is all ones where it is left out
* ``migrate SELECTOR dir DIR``, and 1 to 6 times ``tmpl TMPL``: gives the policy's templates and their states other
  outer addresses (XFRM_MSG_MIGRATE). Each TMPL says which states, as in `add` (src, dst, proto, mode, reqid), and
  with ``new-src ADDR new-dst ADDR`` where they go. Further words are ``ptype PTYPE``, ``if_id IF-ID``, ``encap TYPE
  SPORT DPORT OADDR`` and ``offload [ crypto | packet ] dev DEV dir DIR``, as elsewhere, and ``km-local ADDR
  km-remote ADDR``: the key managers that agreed on it.

What the kernel will refuse is sent, as `ip` does; the kernel says why. But get and delete differ from `ip` in two
things. Index 0 is refused: the kernel would take it for the policy for all packets. And with -6, a selector without
addresses is of IPv6, as it is to add.
"""

from __future__ import annotations

import sys

from xfrm_ext import wire
from xfrm_ext.constants import uapi
from xfrm_ext.iproute2 import selector
from xfrm_ext.iproute2.command import Command
from xfrm_ext.iproute2.words import (
    INET,
    U8,
    U32,
    Limits,
    address,
    choice,
    flags,
    interface,
    mark,
    same_family,
    security_context,
    unpadded,
    verb,
    wrong,
)
from xfrm_ext.wire.item import Item
from xfrm_ext.wire.layouts import HEADER, NLM_F_ACK, NLM_F_REQUEST, POLICY, SELECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal

    from xfrm_ext.iproute2.command import Accepts, Options
    from xfrm_ext.iproute2.words import InterfaceIndex, Words
    from xfrm_ext.wire.layouts import Layout

_ACKNOWLEDGED = NLM_F_REQUEST | NLM_F_ACK
_DIRECTIONS = {"in": uapi.XFRM_POLICY_IN, "out": uapi.XFRM_POLICY_OUT, "fwd": uapi.XFRM_POLICY_FWD}
_TYPES = {"main": uapi.XFRM_POLICY_TYPE_MAIN, "sub": uapi.XFRM_POLICY_TYPE_SUB}
_ACTIONS = {"allow": uapi.XFRM_POLICY_ALLOW, "block": uapi.XFRM_POLICY_BLOCK}
_FLAGS = {
    "localok": uapi.XFRM_POLICY_LOCALOK,
    "icmp": uapi.XFRM_POLICY_ICMP,
    "cpu_acquire": uapi.XFRM_POLICY_CPU_ACQUIRE,
}
_DEFAULTS = {
    "block": uapi.XFRM_USERPOLICY_BLOCK,
    "accept": uapi.XFRM_USERPOLICY_ACCEPT,
    "allow": uapi.XFRM_USERPOLICY_ACCEPT,
}
_THRESHOLDS = {"hthresh4": (uapi.XFRMA_SPD_IPV4_HTHRESH, 32), "hthresh6": (uapi.XFRMA_SPD_IPV6_HTHRESH, 128)}
_MOST_TEMPLATES = 16  # of `ip`; the kernel takes 6
_NEVER_USED = bytes(32)  # struct xfrm_lifetime_cur
_SIDES = {"src": "source", "dst": "destination"}


def read(words: Words, options: Options, interface_index: InterfaceIndex) -> Command:
    """The words behind `policy`. Raises CommandError."""
    name = verb(words.next("policy"), _VERBS, "policy") if words.left else "list"
    command = Command("policy", name, options)
    _READERS[name](_Reader(words, options, interface_index), command)
    return command


class _Reader:
    """The words behind a verb, and what they said up to now."""

    def __init__(self, words: Words, options: Options, interface_index: InterfaceIndex) -> None:
        self.words = words
        self.interface_index = interface_index
        self.options_family = options.family
        self.family = options.family
        """That of the addresses up to now: a later selector has to be of it, a template without addresses is."""
        self.selector: selector.Selector | None = None
        self.values: dict[str, int] = {}
        """What `dir`, `ptype`, `index`, `if_id`, `action`, `priority` and `flag` said."""
        self.mark: tuple[int, int] | None = None
        self.context: Item | None = None

    # Words that several verbs have.

    def keyword(self, *keywords: str) -> str:
        """The next word if it is one of these. Else a selector is read, and it is ""."""
        words = self.words
        found = words.take(*keywords)
        if found is not None:
            return found
        word = words.peek()
        if word not in selector.KEYWORDS:
            raise wrong("policy", word, f"is unknown here: not one of {', '.join((*selector.KEYWORDS, *keywords))}")
        if self.selector is not None:
            raise wrong(word or "", None, "belongs to the selector, whose words stand together, and once")
        self.selector = selector.read(words, self.family, self.interface_index)
        self.family = self.family or int(self.selector.fields["family"])
        return ""

    def value(self, keyword: str, once: bool = True) -> None:
        """What follows one of the keywords of ``values``, `mark` and `ctx`."""
        words, values = self.words, self.values
        if once and (keyword in values or (keyword == "ctx" and self.context is not None)):
            raise wrong(keyword, None, "is given twice")
        if keyword == "mark":
            self.mark = mark(words)
        elif keyword == "ctx":
            self.context = security_context(words)
        elif keyword == "flag":
            values[keyword] = flags(words, keyword, _FLAGS, U8, values.get(keyword, 0))
        elif keyword in _CHOICES:
            values[keyword] = choice(words.next(keyword), _CHOICES[keyword], keyword)
        else:
            values[keyword] = words.number(keyword)

    def check_direction(self) -> None:
        if "dir" not in self.values:
            raise wrong("dir", None, "is missing: in, out or fwd", 1)

    def packed_selector(self, family: int) -> bytes:
        """The selector. Without addresses it is of this family, or of IPv4 if that is 0."""
        chosen = self.selector or selector.Selector()
        chosen.fields["family"] = chosen.fields["family"] or family or INET
        return chosen.pack()

    def type_items(self) -> list[Item]:
        return [Item(uapi.XFRMA_POLICY_TYPE, (self.values["ptype"],))] if "ptype" in self.values else []

    def more_items(self, marked: bool) -> list[Item]:
        """What `add` has behind templates, and `get` behind the type."""
        items = [Item(uapi.XFRMA_MARK, self.mark)] if self.mark is not None and marked else []
        if self.context is not None:
            items.append(self.context)
        if "if_id" in self.values:
            items.append(Item(uapi.XFRMA_IF_ID, (self.values["if_id"],)))
        return items

    def end(self) -> None:
        """Checks that no word is left."""
        word = self.words.peek()
        if word is not None:
            raise wrong("policy", word, "is unknown here")

    # add, update

    def _define(self, command: Command, message: int) -> None:
        from xfrm_ext.iproute2.template import Template

        words, limits, offload = self.words, Limits(), []
        templates: list[bytes] = []
        while words.left:
            keyword = self.keyword(*_FILTERS, "ctx", "limit", "offload", "tmpl")
            if keyword == "limit":
                limits.read(words)
            elif keyword == "offload":
                offload = [self._offload()]
            elif keyword == "tmpl":
                if len(templates) == _MOST_TEMPLATES:
                    raise wrong("tmpl", None, f"more than {_MOST_TEMPLATES} templates", 1)
                template = Template(words, self.family)
                self.family = template.family
                templates.append(template.pack())
            elif keyword:
                self.value(keyword, once=keyword in ("dir", "ctx", "ptype"))
        self.check_direction()
        get = self.values.get
        policy = (
            self.packed_selector(self.options_family),
            limits.pack(),
            _NEVER_USED,
            get("priority", 0),
            get("index", 0),
            self.values["dir"],
            get("action", uapi.XFRM_POLICY_ALLOW),
            get("flag", 0),
            uapi.XFRM_SHARE_ANY,
        )
        asked = [Item(uapi.XFRMA_TMPL, (), b"".join(templates))] if templates else []
        items = [*self.type_items(), *asked, *self.more_items(bool(self.mark and self.mark[1])), *offload]
        command.datagrams = (wire.pack(message, _ACKNOWLEDGED, {"policy": POLICY.pack(policy)}, items),)

    def _offload(self) -> Item:
        """packet dev DEV, behind `offload`."""
        words = self.words
        for wanted in ("packet", "dev"):
            if not words.take(wanted):
                raise wrong(
                    "offload", words.next("offload"), f"is not {wanted}: policies have `offload packet dev DEV`"
                )
        device = interface(words, "offload dev", self.interface_index)
        return Item(uapi.XFRMA_OFFLOAD_DEV, (device, uapi.XFRM_OFFLOAD_PACKET))

    def add(self, command: Command) -> None:
        self._define(command, uapi.XFRM_MSG_NEWPOLICY)

    def update(self, command: Command) -> None:
        self._define(command, uapi.XFRM_MSG_UPDPOLICY)

    # get, delete

    def _name(self, command: Command, message: int, message_flags: int) -> None:
        where = f"policy {command.verb}"
        while self.words.left:
            keyword = self.keyword("dir", "index", "ptype", "if_id", "mark", "ctx")
            if keyword:
                self.value(keyword, once=keyword != "if_id")
            if self.selector is not None and "index" in self.values:
                raise wrong(where, None, "needs a selector or an index, one of the two")
        self.check_direction()
        index = self.values.get("index")
        if self.selector is None and index is None:
            raise wrong(where, None, "needs a selector or an index, one of the two", 1)
        if index == 0:
            raise wrong("index", "0", "is no policy's")
        packed = self.packed_selector(self.options_family if index is None else INET)
        fields: dict[str, int | bytes] = {"selector": packed, "index": index or 0, "direction": self.values["dir"]}
        # As in `ip`, no mark when no bit of it is set.
        marked = self.mark is not None and bool(self.mark[0] & self.mark[1])
        command.datagrams = (
            wire.pack(message, message_flags, fields, [*self.type_items(), *self.more_items(marked)]),
        )

    def get(self, command: Command) -> None:
        self._name(command, uapi.XFRM_MSG_GETPOLICY, NLM_F_REQUEST)

    def delete(self, command: Command) -> None:
        self._name(command, uapi.XFRM_MSG_DELPOLICY, _ACKNOWLEDGED)

    # list, deleteall

    def list(self, command: Command) -> None:
        no_sockets = command.verb == "deleteall"  # those of sockets are deleted by closing the socket
        while self.words.left:
            keyword = self.keyword(*_FILTERS, "nosock")
            if keyword == "nosock":
                no_sockets = True
            elif keyword:
                self.value(keyword, once=False)
        command.accepts = self._accepts(no_sockets)
        command.datagrams = (wire.policy_dump_request(),)

    def _accepts(self, no_sockets: bool) -> Accepts | None:
        """Whether a policy that was dumped is meant. Of flags one in common is enough."""
        values, chosen = self.values, self.selector or selector.Selector()
        bits, kind = values.get("flag"), values.get("ptype")
        wanted = [
            _placed(POLICY, field, values[keyword]) for keyword, field in _FIELDS.items() if keyword in values
        ]
        inner = _selector_wanted(chosen)
        if family := self.options_family or chosen.fields["family"]:
            inner["family"] = family
        wanted += [_placed(SELECTOR, field, value) for field, value in inner.items()]  # it comes first in a policy
        carried: dict[int, tuple[int, ...]] = {}
        if self.mark is not None:  # the kernel keeps no bit outside the mask
            carried[uapi.XFRMA_MARK] = (self.mark[0] & self.mark[1], self.mark[1])
        if "if_id" in values:
            carried[uapi.XFRMA_IF_ID] = (values["if_id"],)
        prefixes: list[tuple[int, Any, Any]] = [
            (SELECTOR.place(side).offset, chosen.fields[side], chosen.fields[f"{side}_length"])
            for keyword, side in _SIDES.items()
            if keyword in chosen.given
        ]
        if not (no_sockets or wanted or carried or prefixes) and bits is kind is None:
            return None
        direction, policy_flags = POLICY.place("direction").offset, POLICY.place("flags").offset

        def accepts(fields: dict[str, Any], items: Iterable[Any]) -> bool:
            policy = fields["policy"]
            for start, end, value in wanted:
                if policy[start:end] != value:
                    return False
            if (no_sockets and policy[direction] > uapi.XFRM_POLICY_FWD) or (
                bits is not None and not policy[policy_flags] & bits
            ):
                return False
            if not all(_under(prefix, length, policy[start : start + 16]) for start, prefix, length in prefixes):
                return False
            if not carried and kind is None:
                return True
            attributes = {item.type: item.numbers for item in items}
            return all(attributes.get(number) == value for number, value in carried.items()) and (
                kind is None or (attributes.get(uapi.XFRMA_POLICY_TYPE) or (0,))[0] == kind
            )

        return accepts

    # flush, count, set, defaults, help

    def flush(self, command: Command) -> None:
        if self.words.take("ptype"):
            self.value("ptype")
        self.end()
        command.datagrams = (wire.pack(uapi.XFRM_MSG_FLUSHPOLICY, _ACKNOWLEDGED, None, self.type_items()),)

    def count(self, command: Command) -> None:
        self.end()
        command.datagrams = (wire.pack(uapi.XFRM_MSG_GETSPDINFO, NLM_F_REQUEST, {"flags": U32}),)

    def set(self, command: Command) -> None:
        words = self.words
        found: dict[int, Item] = {}
        while keyword := words.take(*_THRESHOLDS):
            number, most = _THRESHOLDS[keyword]
            if number in found:
                raise wrong(keyword, None, "is given twice")
            bits = words.number(f"{keyword} LBITS", most), words.number(f"{keyword} RBITS", most)
            found[number] = Item(number, bits)
        self.end()
        items = list(found.values())
        command.datagrams = (wire.pack(uapi.XFRM_MSG_NEWSPDINFO, _ACKNOWLEDGED, {"flags": U32}, items),)

    def _defaults(self, command: Command, message: int, message_flags: int) -> None:
        get = self.values.get
        fields = {"input": get("in", 0), "forward": get("fwd", 0), "output": get("out", 0)}
        packed = wire.pack(message, message_flags, fields)
        command.datagrams = (unpadded(packed, HEADER.size + len(fields)),)

    def setdefault(self, command: Command) -> None:
        while keyword := self.words.take(*_DIRECTIONS):
            if keyword in self.values:
                raise wrong(keyword, None, "is given twice")
            self.values[keyword] = choice(self.words.next(keyword), _DEFAULTS, keyword)
        self.end()
        self._defaults(command, uapi.XFRM_MSG_SETDEFAULT, _ACKNOWLEDGED)

    def getdefault(self, command: Command) -> None:
        self.end()
        self._defaults(command, uapi.XFRM_MSG_GETDEFAULT, NLM_F_REQUEST)

    def help(self, command: Command) -> None:
        """Whatever follows."""

    # migrate

    def migrate(self, command: Command) -> None:
        from xfrm_ext.iproute2.definition import encapsulation, offload
        from xfrm_ext.iproute2.template import Template

        words = self.words
        moves: list[bytes] = []
        managers: dict[str, tuple[bytes, int]] = {}
        wrapped: list[Item] = []
        device: list[Item] = []
        while words.left:
            keyword = self.keyword("dir", "ptype", "if_id", "tmpl", "encap", "offload", "km-local", "km-remote")
            if keyword == "tmpl":
                moves.append(Template(words, 0, moves=True).pack_move())
            elif keyword == "encap":
                wrapped = [encapsulation(words)]
            elif keyword == "offload":
                device = [offload(words, self.interface_index)[0]]
            elif keyword in ("km-local", "km-remote"):
                managers[keyword] = address(words.next(keyword), 0, keyword)
            elif keyword:
                self.value(keyword)
        self.check_direction()
        if self.selector is None:
            raise wrong("policy migrate", None, "needs a selector", 1)
        if not 0 < len(moves) <= uapi.XFRM_MAX_DEPTH:
            raise wrong("tmpl", None, f"from 1 to {uapi.XFRM_MAX_DEPTH} of them say which states move", 1)
        packed = self.packed_selector(self.options_family)
        fields: dict[str, int | bytes] = {"selector": packed, "index": 0, "direction": self.values["dir"]}
        moved = Item(uapi.XFRMA_MIGRATE, (), b"".join(moves))
        items = [*self.type_items(), *_manager_items(managers), moved, *wrapped, *self.more_items(False), *device]
        command.datagrams = (wire.pack(uapi.XFRM_MSG_MIGRATE, _ACKNOWLEDGED, fields, items),)


def _manager_items(managers: dict[str, tuple[bytes, int]]) -> list[Item]:
    """The addresses of the key managers (struct xfrm_user_kmaddress)."""
    if not managers:
        return []
    if len(managers) == 1:
        raise wrong("km-local" if "km-remote" in managers else "km-remote", None, "is missing: both are needed", 1)
    (local, family), (remote, other) = managers["km-local"], managers["km-remote"]
    same_family("km-remote", other, family, "km-local")
    return [Item(uapi.XFRMA_KMADDRESS, (0, family), local + remote)]


def _placed(layout: Layout, field: str, value: int | bytes) -> tuple[int, int, bytes]:
    """Where a field stands in a structure, and the bytes that are there when it has a value."""
    offset, size, network = layout.place(field)
    order: Literal["big", "little"] = "big" if network else sys.byteorder
    return offset, offset + size, value if isinstance(value, bytes) else value.to_bytes(size, order)


def _selector_wanted(chosen: selector.Selector) -> dict[str, int | bytes]:
    """The fields of a selector, but for addresses, that were said."""
    return {field: chosen.fields[field] for keyword, field in _SELECTOR_FIELDS if keyword in chosen.given}


def _under(prefix: bytes, length: int, address: bytes) -> bool:
    """Whether an address, whatever the length of its own prefix, is in a prefix."""
    return not (int.from_bytes(prefix, "big") ^ int.from_bytes(address, "big")) >> (128 - length)


def delete_message(message: Any, message_flags: int = NLM_F_REQUEST) -> Any:
    """The DELPOLICY message for one NEWPOLICY message that was dumped, with sequence number and port 0.

    As that of `ip`, which asks for no ACK and names the policy by its index. But all of it is right: the mark's 8
    bytes, zeros as padding, and the type of a sub policy and the if_id, without which the kernel does not find it.
    """
    _, _, fields, items = wire.unpack(message)
    assert fields is not None  # a NEWPOLICY message has them
    whole: Any = fields["policy"]
    policy = dict(zip(POLICY.names, POLICY.unpack(whole), strict=True))
    found = {item.type: item for item in items if item.numbers is not None}
    named = [
        found[number] for number in (uapi.XFRMA_POLICY_TYPE, uapi.XFRMA_MARK, uapi.XFRMA_IF_ID) if number in found
    ]
    if named and named[0] == _MAIN:
        del named[0]
    wanted = {name: policy[name] for name in ("selector", "index", "direction")}
    return wire.pack(uapi.XFRM_MSG_DELPOLICY, message_flags, wanted, named)


_MAIN = Item(uapi.XFRMA_POLICY_TYPE, (uapi.XFRM_POLICY_TYPE_MAIN,))
_CHOICES = {"dir": _DIRECTIONS, "ptype": _TYPES, "action": _ACTIONS}
_FILTERS = ("dir", "ptype", "index", "action", "priority", "flag", "if_id", "mark")
_FIELDS = {"dir": "direction", "index": "index", "action": "action", "priority": "priority"}
_SELECTOR_FIELDS = (
    ("dev", "interface"),
    ("proto", "protocol"),
    ("sport", "source_port"),
    ("dport", "destination_port"),
    ("type", "source_port"),
    ("code", "destination_port"),
    ("key", "source_port"),
    ("key", "destination_port"),
)
_VERBS = {  # in the order in which `ip` looks at them
    "add": "add",
    "update": "update",
    "delete": "delete",
    "deleteall": "deleteall",
    "delall": "deleteall",
    "list": "list",
    "show": "list",
    "lst": "list",
    "get": "get",
    "flush": "flush",
    "count": "count",
    "set": "set",
    "setdefault": "setdefault",
    "getdefault": "getdefault",
    "help": "help",
    "migrate": "migrate",  # ours
}
_READERS: dict[str, Callable[[_Reader, Command], None]] = {
    **{name: getattr(_Reader, name) for name in _VERBS.values() if name != "deleteall"},
    "deleteall": _Reader.list,
}

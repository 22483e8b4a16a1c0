# SPDX-License-Identifier: MIT
"""Where this package makes other bytes of a message than it was decoded from, or than `ip` makes: how, and why."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from vectors import (
    ADDRESS_FILTER,
    AEAD,
    AUTH,
    AUTH_TRUNC,
    COADDR,
    COMP,
    CRYPT,
    DELPOLICY,
    DELSA,
    ENCAP,
    ETIMER_THRESH,
    FLUSHPOLICY,
    IF_ID,
    LASTUSED,
    LTIME_VAL,
    MARK,
    MTIMER_THRESH,
    NAT_KEEPALIVE_INTERVAL,
    NEWPOLICY,
    NEWSA,
    NEWSADINFO,
    NEWSPDINFO,
    OFFLOAD_DEV,
    POLICY,
    POLICY_TYPE,
    REPLAY_ESN_VAL,
    REPLAY_THRESH,
    REPLAY_VAL,
    SA,
    SA_DIR,
    SA_EXTRA_FLAGS,
    SA_PCPU,
    SEC_CTX,
    SET_MARK,
    SET_MARK_MASK,
    TFCPAD,
    Difference,
    Parts,
    take_apart,
)
from xfrm_ext import Message, Policy
from xfrm_ext.algorithm import ALIASES
from xfrm_ext.request import Request
from xfrm_ext.state import State

IN_ORDER = [AEAD, AUTH, AUTH_TRUNC, CRYPT, COMP, ENCAP, COADDR, SEC_CTX, OFFLOAD_DEV, REPLAY_ESN_VAL, REPLAY_VAL]
IN_ORDER += [SA_EXTRA_FLAGS, MARK, SET_MARK, SET_MARK_MASK, SA_DIR, LTIME_VAL, TFCPAD, IF_ID, SA_PCPU]
IN_ORDER += [NAT_KEEPALIVE_INTERVAL, MTIMER_THRESH, REPLAY_THRESH, ETIMER_THRESH, LASTUSED, *range(36, 42)]
"""The order of a state's attributes. What is not in here follows."""


def each(change: Callable[[int, bytes], tuple[int, bytes] | None]) -> Callable[[Parts], Parts]:
    """Changes or drops every attribute by itself."""

    def change_all(parts: Parts) -> Parts:
        changed = [change(kind, payload) for kind, payload in parts.attributes]
        return parts._replace(attributes=tuple(item for item in changed if item is not None))

    return change_all


def _sort(parts: Parts) -> Parts:
    def place(item: tuple[int, bytes]) -> int:
        return IN_ORDER.index(item[0]) if item[0] in IN_ORDER else len(IN_ORDER)

    return parts._replace(attributes=tuple(sorted(parts.attributes, key=place)))


def _mask(parts: Parts) -> Parts:
    attributes = dict(parts.attributes)
    if len(attributes.get(MARK, b"")) == 8:
        value, mask = struct.unpack("=II", attributes[MARK])
        attributes[MARK] = struct.pack("=II", value & mask, mask)
    if len(attributes.get(SET_MARK, b"")) == len(attributes.get(SET_MARK_MASK, b"")) == 4:
        value, mask = (struct.unpack("=I", attributes[kind])[0] for kind in (SET_MARK, SET_MARK_MASK))
        attributes[SET_MARK] = struct.pack("=I", value & mask)
    return parts._replace(attributes=tuple(attributes.items()))


def _fill_bitmap(kind: int, payload: bytes) -> tuple[int, bytes]:
    if kind == REPLAY_ESN_VAL and len(payload) == 24:
        words: int = struct.unpack_from("=I", payload)[0]
        payload += bytes(4 * words)
    return kind, payload


def _pick_length(kind: int, payload: bytes) -> tuple[int, bytes]:
    if kind == AUTH_TRUNC and payload[68:72] == bytes(4):
        return AUTH, payload[:68] + payload[72:]
    return kind, payload


def _once(parts: Parts) -> Parts:
    attributes = dict(parts.attributes)
    if AUTH_TRUNC in attributes:
        attributes.pop(AUTH, None)
    return parts._replace(attributes=tuple(attributes.items()))


def _long_name(kind: int, payload: bytes) -> tuple[int, bytes]:
    name = payload[:64].rstrip(b"\0").decode("ascii", "replace")
    if kind in (AUTH, AUTH_TRUNC, CRYPT) and name in ALIASES:
        payload = ALIASES[name].encode().ljust(64, b"\0") + payload[64:]
    return kind, payload


def _plain_type(kind: int, payload: bytes) -> tuple[int, bytes]:
    return kind & 0x3FFF, payload


def _every_mark(kind: int, payload: bytes) -> tuple[int, bytes] | None:
    return None if (kind, payload[4:8]) == (MARK, bytes(4)) else (kind, payload)


def _main(parts: Parts) -> Parts:
    if parts.type == FLUSHPOLICY:  # there, no type and main are told apart, as in the request
        return parts
    kept = tuple(item for item in parts.attributes if item != (POLICY_TYPE, bytes(6)))
    return parts._replace(attributes=kept)


def _no_flags(parts: Parts) -> Parts:
    answers = parts.type in (NEWSADINFO, NEWSPDINFO) and not parts.flags & 1
    return parts._replace(fixed=bytes(4)) if answers else parts


def _no_filter(kind: int, payload: bytes) -> tuple[int, bytes] | None:
    return None if (kind, payload) == (ADDRESS_FILTER, bytes(36)) else (kind, payload)


def _sizes(parts: Parts) -> Parts:
    if parts.type != NEWSADINFO or len(parts.attributes) == 2:
        return parts
    return parts._replace(attributes=(*parts.attributes, (2, bytes(8))))


def _as_it_was(parts: Parts) -> Parts:
    for event, inside, kind in ((DELSA, SA, NEWSA), (DELPOLICY, POLICY, NEWPOLICY)):
        rest = dict(parts.attributes)
        if parts.type == event and inside in rest:
            return Parts(kind, parts.flags, rest.pop(inside), tuple(rest.items()))
    return parts


def _all_ones(kind: int, payload: bytes) -> tuple[int, bytes] | None:
    return None if (kind, payload) == (SET_MARK_MASK, b"\xff" * 4) else (kind, payload)


SORTED = Difference("attributes are in an order of their own, whatever the order of words was", _sort)
MASKED = Difference("a mark's value is masked: the kernel masks it before it stores it", _mask)
BITMAP = Difference("the bitmap of a replay window is sent, zeros where `ip` sends none", each(_fill_bitmap))
LENGTH = Difference(
    "a check value of length 0 is the kernel's own choice, which the older attribute says", each(_pick_length)
)
ONCE = Difference("authentication is told once: the kernel tells it twice, for old programs too", _once)
LONG_NAME = Difference("an algorithm's short name becomes that by which the kernel answers", each(_long_name))
PLAIN_TYPE = Difference("an attribute's type has no flags: the kernel does not look at them", each(_plain_type))
ALL_ONES = Difference("an output mark's mask of all ones is not sent: it is what no mask means", each(_all_ones))
EVERY_MARK = Difference("a mark with a mask of 0 is every mark, as none is", each(_every_mark))
MAIN = Difference("the policy type main is not sent: the kernel takes it where there is none", _main)
NO_FLAGS = Difference("the flags of an answer are those of the request, which nothing looks at", _no_flags)
SIZES = Difference("the sizes of the hash table are always told, as the kernel does it", _sizes)
AS_IT_WAS = Difference("what an event of a deletion tells is kept as what was there, not as a request", _as_it_was)
NO_FILTER = Difference("a filter by address that lets everything through is not sent", each(_no_filter))

DECODED = [AS_IT_WAS, PLAIN_TYPE, MASKED, BITMAP, ONCE, LENGTH, ALL_ONES]
DECODED += [EVERY_MARK, MAIN, NO_FLAGS, SIZES]
"""What happens to a message that is decoded and encoded again, in this order."""
BUILT = [LONG_NAME, MASKED, BITMAP, LENGTH, ALL_ONES, NO_FILTER, SORTED]
"""How the message made of objects differs from that of `ip`."""


def expected(message: bytes, rules: list[Difference], used: Counter[str] | None = None) -> bytes:
    """What this package makes of a message of `ip`. Counts the rules that changed something."""
    parts = take_apart(message)
    for rule in rules:
        changed = rule.change(parts)
        if used is not None:
            used[rule.reason] += changed != parts
        parts = changed
    return parts.joined()


def without_numbers(message: bytes) -> bytes:
    """A message with sequence number and port 0."""
    return message[:8] + bytes(8) + message[16:]


def again(codec: ModuleType, message: bytes) -> bytes:
    """The message decoded, taken to its fields and encoded."""
    value = codec.decode(message)
    kind = Message(struct.unpack_from("=H", message, 4)[0])
    if isinstance(value, State):
        value = replace(value)  # out of its fields, which is more than out of the bytes that it keeps
    if isinstance(value, Request) and value.message == Message.DELSA and isinstance(value.body, State):
        value = Request(Message.NEWSA, replace(value.body))
    elif isinstance(value, Request) and value.message == Message.DELPOLICY and isinstance(value.body, Policy):
        value = value.body
    elif not isinstance(value, Request):
        value = Request(kind, value)
    return bytes(codec.encode(value))


def unordered(message: bytes) -> Parts:
    """The parts of a message but for its flags, attributes in the order of their types: no order of them means
    anything."""
    parts = take_apart(message)
    return parts._replace(flags=0, attributes=tuple(sorted(parts.attributes)))

# SPDX-License-Identifier: MIT
"""The wire floor in Python: texts and numbers <-> the kernel's bytes, with the tables of ``layouts``.

The twin of ``native``: the same functions, the same results, the same errors. It runs where the compiled module
does not, to decode captures for one; it is what the C is tested against; and it is easier to read.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from xfrm_ext.checks import shown
from xfrm_ext.constants import Family, uapi
from xfrm_ext.errors import ValidationError
from xfrm_ext.wire.item import Item
from xfrm_ext.wire.layouts import (
    ATTRIBUTE,
    ATTRIBUTES,
    BROKEN,
    HEADER,
    LIFETIME_CURRENT,
    MESSAGES,
    MIGRATION,
    NLM_F_ACK,
    NLM_F_REQUEST,
    OVERRUN,
    POLICY,
    RECORD,
    SELECTOR,
    STATE,
    STATE_ID,
    TEMPLATE,
    TYPE_MASK,
    Algorithm,
    Buffer,
    Layout,
    Payload,
    aligned,
    attributes_of,
    fixed_part,
)
from xfrm_ext.wire.shared import (
    A_BLOCK,
    A_MESSAGE,
    A_POLICY_BLOCK,
    A_POLICY_MESSAGE,
    ALL_ALGORITHMS,
    EVENT_BROKEN,
    EVENT_OTHER,
    EVENT_OVERRUN,
    LONGEST,
    NOT_ADDRESS,
    NOT_FAMILY,
    NOT_PREFIX,
    SMALLEST_POLICY,
    TREE,
    PolicyOptions,
    attribute_at,
    bad_lengths,
    encoded,
    header,
    id_too_long,
    message_type,
    message_types,
    other_family,
    policy_dump_request,
    refused,
    too_long,
    tree_fields,
    unreadable,
)
from xfrm_ext.wire.text import address_bytes, address_text, protocol_number, read_prefix

__all__ = [
    "ALL_ALGORITHMS",
    "POLICY_KEY_SIZE",
    "SELECTOR_SIZE",
    "TEMPLATE_SIZE",
    "Item",
    "PolicyOptions",
    "address_bytes",
    "address_text",
    "attribute_at",
    "canonical_policies",
    "check_states",
    "delete_messages",
    "delete_state_messages",
    "header",
    "heard",
    "memory",
    "message_type",
    "message_types",
    "migration_bytes",
    "migration_fields",
    "pack",
    "policies_in_trees",
    "policy_bytes",
    "policy_dump_request",
    "policy_fields",
    "policy_flush_bytes",
    "policy_id_bytes",
    "policy_keys",
    "protocol_number",
    "retype",
    "selector_bytes",
    "selector_fields",
    "set_indices",
    "state_counters",
    "state_fields",
    "template_bytes",
    "template_fields",
    "tree_fields",
    "unpack",
]

_ACKNOWLEDGED = NLM_F_REQUEST | NLM_F_ACK
_NO_ADDRESS = bytes(16)
_UNSPEC, _INET, _INET6 = int(Family.UNSPEC), int(Family.INET), int(Family.INET6)

# --- selectors ------------------------------------------------------------------------------------------

SELECTOR_SIZE = 56


def selector_bytes(
    source: str, destination: str, family: int, strict: bool, numbers: tuple[int, ...] | None
) -> bytes:
    """struct xfrm_selector. Empty texts mean any, family -1 that of the prefixes.

    `numbers`: source port and mask, destination port and mask, protocol, interface, user, all in range; None:
    all 0.
    """
    if not (source.isascii() and destination.isascii()):
        encoded(source, "Selector.source", NOT_PREFIX)
        encoded(destination, "Selector.destination", NOT_PREFIX)
    one = read_prefix(source, "Selector.source", strict)
    other = read_prefix(destination, "Selector.destination", strict)
    given = family
    if family < 0:
        family = one.family if one else other.family if other else _INET
    if family != _UNSPEC:  # seen in states: goes with any address, whose bytes are all that there is
        if one and one.family != family:
            raise ValidationError("Selector.source", shown(source), NOT_FAMILY)
        if other and other.family != family:
            raise ValidationError("Selector.destination", shown(destination), other_family(given))
    source_port, source_mask, destination_port, destination_mask, protocol, interface, user = numbers or (0,) * 7
    return SELECTOR.pack(
        (
            other.address if other else _NO_ADDRESS,
            one.address if one else _NO_ADDRESS,
            destination_port,
            destination_mask,
            source_port,
            source_mask,
            family,
            other.length if other else 0,
            one.length if one else 0,
            protocol,
            interface,
            user,
        )
    )


def selector_fields(wire: bytes) -> dict[str, Any]:
    """The fields of struct xfrm_selector, by name."""
    values: dict[str, Any] = dict(zip(SELECTOR.names, SELECTOR.unpack(wire), strict=True))
    for name in ("source", "destination"):
        values[name] = f"{address_text(values[name], values['family'])}/{values.pop(f'{name}_length')}"
    return values


# --- templates ------------------------------------------------------------------------------------------

TEMPLATE_SIZE = 64


def template_bytes(
    source: str, destination: str, family: int, spi: int, reqid: int, codes: int, masks: tuple[int, int, int]
) -> bytes:
    """struct xfrm_user_tmpl. Empty texts mean any, family -1 that of the texts. Numbers are in range.

    `codes`: protocol, mode, level and share, 8 bits each, from the lowest.
    """
    if not (source.isascii() and destination.isascii()):
        encoded(source, "Template.source", NOT_ADDRESS)
        encoded(destination, "Template.destination", NOT_ADDRESS)
    one = address_bytes(source) if source else None
    other = address_bytes(destination) if destination else None
    if source and not one:
        raise ValidationError("Template.source", shown(source), NOT_ADDRESS)
    if destination and not other:
        raise ValidationError("Template.destination", shown(destination), NOT_ADDRESS)
    given = family
    if family < 0:
        family = one[1] if one else other[1] if other else _UNSPEC
    if one and one[1] != family:
        raise ValidationError("Template.source", shown(source), NOT_FAMILY)
    if other and other[1] != family:
        raise ValidationError("Template.destination", shown(destination), other_family(given))
    return TEMPLATE.pack(
        (
            other[0] if other else _NO_ADDRESS,
            spi,
            codes & 0xFF,
            family,
            one[0] if one else _NO_ADDRESS,
            reqid,
            codes >> 8 & 0xFF,
            codes >> 24 & 0xFF,
            codes >> 16 & 0xFF,
            *masks,
        )
    )


def template_fields(wire: bytes) -> dict[str, Any]:
    """The fields of struct xfrm_user_tmpl, by name."""
    values: dict[str, Any] = dict(zip(TEMPLATE.names, TEMPLATE.unpack(wire), strict=True))
    for name in ("source", "destination"):
        values[name] = address_text(values[name], values["family"])
    return values


_FAMILY = struct.Struct("=H")
_SELECTOR_FAMILY = 40  # where they stand in their structures
_TEMPLATE_FAMILY = 3  # and, of a template, among its values


def _normalised(templates: Buffer, family: int) -> bytes:
    """Templates with padding of zeros. One without a family gets that of the packet it sees: the one that the
    template before it makes, or the selector's."""
    result = []
    for start in range(0, len(templates), TEMPLATE_SIZE):
        values = list(TEMPLATE.unpack(templates, start))
        family = values[_TEMPLATE_FAMILY] = int(values[_TEMPLATE_FAMILY]) or family
        result.append(TEMPLATE.pack(values))
    return b"".join(result)


# --- messages and attributes ----------------------------------------------------------------------------


class _TooLong(Exception):
    """An attribute, whose length has 16 bits, does not hold its payload."""


def _attribute(kind: int, *parts: Buffer) -> bytes:
    """An attribute with its padding."""
    payload = b"".join(parts)
    size = ATTRIBUTE.size + len(payload)
    if size > 0xFFFF:
        raise _TooLong
    return ATTRIBUTE.pack(size, kind) + payload + bytes(-size % 4)


def _message(kind: int, flags: int, *parts: bytes) -> bytes:
    """A message with sequence number and port 0. The parts have their padding."""
    body = b"".join(parts)
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def _messages(block: Buffer, what: str) -> Iterator[memoryview]:
    """The messages of a block."""
    view = memoryview(block)
    position = 0
    while position < len(view):
        left = len(view) - position
        size = HEADER.unpack_from(view, position)[0] if left >= HEADER.size else 0
        if not HEADER.size <= size <= left:
            raise bad_lengths(what)
        yield view[position : position + size]
        position += aligned(size)


def _attributes(message: memoryview, position: int, what: str) -> Iterator[tuple[int, memoryview]]:
    """Type, with flags, and payload of each attribute; up to three bytes behind the last are padding."""
    while len(message) - position >= ATTRIBUTE.size:
        size, kind = ATTRIBUTE.unpack_from(message, position)
        if not ATTRIBUTE.size <= size <= len(message) - position:
            raise bad_lengths(what)
        yield kind, message[position + ATTRIBUTE.size : position + size]
        position += aligned(size)


# --- policies -------------------------------------------------------------------------------------------

POLICY_KEY_SIZE = 80
_POLICY_ID = Layout("selector:56s index:I direction:B 3x")
_KEY = Layout(
    "selector:56s mark_value:I mark_mask:I if_id:I context_hash:I direction:B policy_type:B has_context:B 5x"
)
_NO_CURRENT = bytes(32)
_NO_SELECTOR = bytes(SELECTOR_SIZE)
_NO_OPTIONS = PolicyOptions()


def _option(kind: int, numbers: tuple[int, ...], data: Buffer = b"") -> bytes:
    parts = ATTRIBUTES[kind].pack(numbers, data, b"")
    if parts is None:
        raise _TooLong
    return _attribute(kind, *parts)


def _type_attribute(options: PolicyOptions) -> bytes:
    kind = options.policy_type
    return b"" if kind is None else _option(uapi.XFRMA_POLICY_TYPE, (kind,))


def _identity_attributes(options: PolicyOptions) -> bytes:
    """What tells policies apart besides the type, in the order of `ip xfrm`."""
    result = b""
    if options.mark is not None:
        result += _option(uapi.XFRMA_MARK, options.mark)
    if options.security_context is not None:
        label, algorithm, doi = options.security_context
        result += _option(uapi.XFRMA_SEC_CTX, (algorithm, doi), label)
    if options.if_id is not None:
        result += _option(uapi.XFRMA_IF_ID, (options.if_id,))
    return result


def _policy_message(
    selector: bytes, limits: bytes, used: bytes, templates: Buffer, numbers: tuple[int, ...], options: PolicyOptions
) -> bytes:
    """NEWPOLICY, byte for byte as `ip xfrm` orders it, so that captures can be compared.

    `numbers`: priority, index, direction, action, flags, share."""
    parts = [POLICY.pack((selector, limits, used, *numbers))]
    if options is not _NO_OPTIONS:
        parts.append(_type_attribute(options))
    if templates:
        family = _FAMILY.unpack_from(selector, _SELECTOR_FAMILY)[0]
        parts.append(_attribute(uapi.XFRMA_TMPL, _normalised(templates, family)))
    if options is not _NO_OPTIONS:
        parts.append(_identity_attributes(options))
        if options.offload is not None:
            parts.append(_option(uapi.XFRMA_OFFLOAD_DEV, options.offload))
        parts.append(options.attributes)
    return _message(uapi.XFRM_MSG_NEWPOLICY, _ACKNOWLEDGED, *parts)


def policy_bytes(
    selector: bytes,
    lifetime: bytes,
    current: bytes | None,
    templates: bytes,
    priority: int,
    index: int,
    codes: int,
    options: PolicyOptions | None,
) -> bytes:
    """An XFRM_MSG_NEWPOLICY message with sequence number and port 0.

    `codes`: direction, action, flags and share, 8 bits each, from the lowest.
    """
    numbers = (priority, index, codes & 0xFF, codes >> 8 & 0xFF, codes >> 16 & 0xFF, codes >> 24 & 0xFF)
    try:
        message = _policy_message(
            selector, lifetime, current or _NO_CURRENT, templates, numbers, options or _NO_OPTIONS
        )
    except _TooLong:
        raise too_long() from None
    if len(message) > LONGEST:
        raise too_long()
    return message


def policy_id_bytes(message: int, selector: bytes, index: int, direction: int, options: PolicyOptions) -> bytes:
    """An XFRM_MSG_GETPOLICY or DELPOLICY message."""
    # A GETPOLICY is answered by the policy: an ACK besides would only be one more message to wait for.
    flags = NLM_F_REQUEST if message == uapi.XFRM_MSG_GETPOLICY else _ACKNOWLEDGED
    try:
        attributes = _type_attribute(options) + _identity_attributes(options)
    except _TooLong:
        raise id_too_long() from None
    return _message(message, flags, _POLICY_ID.pack((selector, index, direction)), attributes)


def policy_flush_bytes(policy_type: int | None) -> bytes:
    """An XFRM_MSG_FLUSHPOLICY message; None: without a type, which means main."""
    return _message(uapi.XFRM_MSG_FLUSHPOLICY, _ACKNOWLEDGED, _type_attribute(PolicyOptions(policy_type)))


class _Parts(NamedTuple):
    """A policy message taken apart."""

    fixed: dict[str, Any]
    """The fields of its fixed part."""
    templates: Buffer
    options: PolicyOptions
    unknown: list[tuple[int, bytes]]
    """Type and payload of the attributes that are none of these, in their order."""


_FIXED_PARTS: dict[int, Layout | None] = {
    uapi.XFRM_MSG_NEWPOLICY: POLICY,
    uapi.XFRM_MSG_UPDPOLICY: POLICY,
    uapi.XFRM_MSG_GETPOLICY: _POLICY_ID,
    uapi.XFRM_MSG_DELPOLICY: _POLICY_ID,
    uapi.XFRM_MSG_FLUSHPOLICY: None,
}
_OPTIONS = frozenset(
    {
        uapi.XFRMA_TMPL,
        uapi.XFRMA_POLICY_TYPE,
        uapi.XFRMA_MARK,
        uapi.XFRMA_IF_ID,
        uapi.XFRMA_OFFLOAD_DEV,
        uapi.XFRMA_SEC_CTX,
    }
)


def _policy_parts(message: Buffer, what: str) -> _Parts:
    """Takes a policy message of any type apart. Of two attributes of a kind the last counts, as in the kernel."""
    view = memoryview(message)
    size, kind = HEADER.unpack_from(view)[:2] if len(view) >= HEADER.size else (0, 0)
    layout = _FIXED_PARTS.get(kind)
    begin = HEADER.size + (layout.size if layout else 0)
    if kind not in _FIXED_PARTS or not begin <= size <= len(view):
        raise bad_lengths(what)
    fixed = dict(zip(layout.names, layout.unpack(view, HEADER.size), strict=True)) if layout else {}
    found: dict[int, tuple[Any, ...]] = {}
    unknown = []
    for raw_type, payload in _attributes(view[:size], begin, what):
        number = raw_type & TYPE_MASK
        parts = ATTRIBUTES[number].unpack(payload) if number in _OPTIONS else None
        if parts is None or (number == uapi.XFRMA_OFFLOAD_DEV and parts[0][0] < 0):  # names no interface
            unknown.append((raw_type, bytes(payload)))
        else:
            found[number] = parts
    if not found:
        return _Parts(fixed, b"", _NO_OPTIONS, unknown)
    (policy_type, *_), _, _ = found.get(uapi.XFRMA_POLICY_TYPE, _ABSENT)
    mark, _, _ = found.get(uapi.XFRMA_MARK, _ABSENT)
    (if_id, *_), _, _ = found.get(uapi.XFRMA_IF_ID, _ABSENT)
    context, label, _ = found.get(uapi.XFRMA_SEC_CTX, _ABSENT)
    offload, _, _ = found.get(uapi.XFRMA_OFFLOAD_DEV, _ABSENT)
    options = PolicyOptions(
        policy_type,
        None if mark[0] is None else mark,
        if_id,
        None if context[0] is None else (label, *context),
        None if offload[0] is None else offload,
    )
    return _Parts(fixed, found.get(uapi.XFRMA_TMPL, _ABSENT)[1], options, unknown)


_ABSENT: tuple[Any, ...] = ((None,), b"", b"")


def policy_fields(message: bytes) -> tuple[dict[str, Any], PolicyOptions, list[tuple[int, bytes]]]:
    """The parts of a policy message of any type: fields (selector, lifetimes, templates as bytes; None for
    what the type lacks), known options, and the attributes that are not known, in their order."""
    parts = _policy_parts(message, A_POLICY_MESSAGE)
    values = {
        "selector": None,
        "lifetime": None,
        "current": None,
        "templates": bytes(parts.templates),
        "priority": 0,
        "index": 0,
        "direction": 0,
        "action": 0,
        "flags": 0,
        "share": 0,
        **parts.fixed,
    }
    return values, parts.options, parts.unknown


def _whole_policies(block: Buffer, most: int | None = None) -> Iterator[_Parts]:
    """The NEWPOLICY and UPDPOLICY messages of a block, which must hold nothing else, and not more than `most`."""
    for count, message in enumerate(_messages(block, A_POLICY_BLOCK)):
        parts = _policy_parts(message, A_POLICY_BLOCK)
        if count == most or "lifetime" not in parts.fixed:
            raise bad_lengths(A_POLICY_BLOCK)
        yield parts


def _canonical(parts: _Parts) -> bytes:
    options, mark = parts.options, parts.options.mark
    if mark is not None:  # as the kernel stores it; without a mask it is every mark
        mark = (mark[0] & mark[1], mark[1]) if mark[1] else None
    attributes = b"".join([_attribute(kind, payload) for kind, payload in parts.unknown])
    options = options._replace(policy_type=options.policy_type or None, mark=mark, attributes=attributes)
    selector, lifetime, current, *numbers = parts.fixed.values()
    return _policy_message(selector, lifetime, current, parts.templates, tuple(numbers), options)


def canonical_policies(block: bytes) -> list[bytes]:
    """Each NEWPOLICY message of a block, as policy_bytes would have made it."""
    return [_canonical(parts) for parts in _whole_policies(block)]


def _hash(label: bytes) -> int:
    """FNV-1a of 32 bits: labels are told apart, an adversary is not kept out."""
    value = 2166136261
    for byte in label:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def _key(parts: _Parts) -> bytes:
    fixed, options = parts.fixed, parts.options
    value, mask = options.mark or (0, 0)
    context = options.security_context
    return _KEY.pack(
        (
            fixed["selector"],
            value & mask,
            mask,
            options.if_id or 0,
            0 if context is None else _hash(context[0]),
            fixed["direction"],
            options.policy_type or 0,
            context is not None,
        )
    )


def policy_keys(block: bytes | bytearray, count: int) -> list[bytes]:
    """What the kernel tells the block's policies apart by, in their order."""
    return [_key(parts) for parts in _whole_policies(block, count)]


def delete_messages(block: bytes | bytearray, count: int, by_index: bool) -> bytearray:
    """The DELPOLICY messages for a block of NEWPOLICY messages: by selector, or by index where they have one."""
    result = bytearray()
    for fixed, _, options, _ in _whole_policies(block, count):
        selector, index = (_NO_SELECTOR, fixed["index"]) if by_index and fixed["index"] else (fixed["selector"], 0)
        result += policy_id_bytes(uapi.XFRM_MSG_DELPOLICY, selector, index, fixed["direction"], options)
    return result


def _policy_messages(block: Buffer) -> Iterator[memoryview]:
    """The messages of a block, which must be of NEWPOLICY and UPDPOLICY; attributes are not looked at."""
    for message in _messages(block, A_POLICY_BLOCK):
        kind = HEADER.unpack_from(message)[1]
        if len(message) < SMALLEST_POLICY or kind not in (uapi.XFRM_MSG_NEWPOLICY, uapi.XFRM_MSG_UPDPOLICY):
            raise bad_lengths(A_POLICY_BLOCK)
        yield message


_PLACE = struct.Struct("=HBB")  # of family and prefix lengths (destination, source) in struct xfrm_selector
_PLACE_OFFSET, _INDEX_OFFSET, _DIRECTION_OFFSET = HEADER.size + 40, HEADER.size + 156, HEADER.size + 160


def policies_in_trees(
    block: bytes | bytearray, limits: bytes
) -> tuple[list[int], list[int], list[int], list[bytes]]:
    """Which of a block's policies the kernel finds in a tree and not by hash, without those that have a security
    context: of each the tree (as tree_fields knows it), the number in the block, the index and the key.

    `limits`: the least prefix lengths of those found by hash, of destination and source for each direction (in,
    out, fwd), for IPv4 and then for IPv6.
    """
    if len(limits) < 12:
        raise bad_lengths("a structure")
    trees, numbers, indices, keys = [], [], [], []
    for number, message in enumerate(_policy_messages(block)):
        family, destination, source = _PLACE.unpack_from(message, _PLACE_OFFSET)
        direction = message[_DIRECTION_OFFSET]
        if direction > 2 or family not in (_INET, _INET6):
            continue
        place = (6 if family == _INET6 else 0) + 2 * direction
        if destination >= limits[place] and source >= limits[place + 1]:
            continue
        parts = _policy_parts(message, A_POLICY_BLOCK)
        options = parts.options
        if options.security_context is None:
            tree = TREE.pack(family, options.policy_type or 0, direction, options.if_id or 0)
            trees.append(int.from_bytes(tree, sys.byteorder))
            numbers.append(number)
            indices.append(parts.fixed["index"])
            keys.append(_key(parts))
    return trees, numbers, indices, keys


def set_indices(block: bytearray, indices: Sequence[int]) -> None:
    """Sets the index of each of a block's policies."""
    done = 0
    for message in _policy_messages(block):
        if done == len(indices):
            raise bad_lengths(A_POLICY_BLOCK)
        struct.pack_into("=I", message, _INDEX_OFFSET, indices[done])
        done += 1
    if done != len(indices):
        raise bad_lengths(A_POLICY_BLOCK)


def retype(block: bytearray, message: int) -> None:
    """Makes all messages of a block messages of another type."""
    for each in _messages(block, A_BLOCK):
        struct.pack_into("=H", each, 4, message)


# --- any message ----------------------------------------------------------------------------------------


class Memory(bytearray):
    """Bytes that may hold keys: shown nowhere, wiped when they are freed.

    As far as Python can: what else was made of them, a slice for one, is a copy of its own.
    """

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("memory that may hold keys is not pickled")

    def __del__(self) -> None:
        self[:] = bytes(len(self))


def memory(data: Any) -> Memory:
    """A copy of bytes in memory that is wiped when it is freed: bytes-like, its repr shows nothing of it."""
    return Memory(data)


def _payload(item: Item, known: Mapping[int, Payload]) -> tuple[bytes, Buffer]:
    """The payload of an attribute: a structure, and the bytes behind it."""
    if item.numbers is None:
        return b"", item.data
    parts = known[item.type].pack(item.numbers, item.data, item.name) if item.type in known else None
    if parts is None:
        raise refused()
    return parts


def pack(
    message: int, flags: int, fields: Mapping[str, int | bytes] | bytes | None, items: Sequence[Item] = ()
) -> Memory:
    """A message of any type, with sequence number and port 0.

    `fields` are those of its fixed part, or that part as it is; None for a message that has none. Raises
    ValidationError for an item that is not as its type demands, and for what does not fit into a message.
    """
    layout = MESSAGES.get(message)
    fixed = b""
    if fields is not None:
        if layout is None:
            raise refused()
        fixed = fields if isinstance(fields, bytes) else layout.pack([fields[name] for name in layout.names])
        if len(fixed) != layout.size:
            rule = f"has a fixed part of {len(fixed)} bytes, and its type has {layout.size}"
            raise ValidationError("message", None, rule)
    known = attributes_of(message)
    payloads = [(item.type, *_payload(item, known)) for item in items]
    sizes = [ATTRIBUTE.size + len(head) + len(rest) for _, head, rest in payloads]
    begin = HEADER.size + aligned(len(fixed))
    total = begin + sum(map(aligned, sizes))
    if total > LONGEST or max(sizes, default=0) > 0xFFFF:
        raise refused()
    # All at once, and then only written into: a buffer that grows leaves copies of keys behind.
    result = Memory(total)
    HEADER.pack_into(result, 0, len(result), message, flags, 0, 0)
    with memoryview(result) as view:
        view[HEADER.size : HEADER.size + len(fixed)] = fixed
        for (kind, head, rest), size in zip(payloads, sizes, strict=True):
            ATTRIBUTE.pack_into(view, begin, size, kind)
            middle = begin + ATTRIBUTE.size + len(head)
            view[begin + ATTRIBUTE.size : middle] = head
            view[middle : begin + size] = rest
            begin += aligned(size)
    return result


def unpack(message: Buffer) -> tuple[int, int, dict[str, int | bytes] | None, list[Item]]:
    """Type, flags, the fields of the fixed part (None: it has none) and the attributes of a message.

    Raises ProtocolError for bytes that are no such message, or whose lengths do not fit.
    """
    view = memoryview(message)
    size, kind, flags = HEADER.unpack_from(view)[:3] if len(view) >= HEADER.size else (0, 0, 0)
    if kind not in MESSAGES:
        raise unreadable()
    layout = fixed_part(kind, flags)
    begin = HEADER.size + (layout.size if layout else 0)
    if not begin <= size <= len(view):
        raise unreadable()
    if len(view) > aligned(size):
        raise bad_lengths(A_MESSAGE)
    fields = dict(zip(layout.names, layout.unpack(view, HEADER.size), strict=True)) if layout else None
    known = attributes_of(kind)
    items = []
    for raw_type, payload in _attributes(view[:size], aligned(begin), A_MESSAGE):
        number = raw_type & TYPE_MASK
        if number == uapi.XFRMA_PAD and known is ATTRIBUTES:
            continue
        form = known.get(number)
        copy = memory if isinstance(form, Algorithm) else bytes  # keys, and what may be one
        parts = form.unpack(payload) if form is not None else None
        if parts is None:
            items.append(Item(raw_type, None, copy(payload)))
        else:
            numbers, data, name = parts
            items.append(Item(number, numbers, copy(data), name))
    return kind, flags, fields, items


def migration_bytes(fields: Mapping[str, int | bytes]) -> bytes:
    """struct xfrm_user_migrate."""
    return MIGRATION.pack([fields[name] for name in MIGRATION.names])


def migration_fields(data: bytes) -> dict[str, int | bytes]:
    """The fields of struct xfrm_user_migrate, by name."""
    return dict(zip(MIGRATION.names, MIGRATION.unpack(data), strict=True))


# --- states ---------------------------------------------------------------------------------------------

_STATE_BEGIN = HEADER.size + STATE.size  # where the attributes of their messages begin


def _states(block: Buffer) -> Iterator[tuple[memoryview, dict[str, Any]]]:
    """The NEWSA and UPDSA messages of a block, which must hold nothing else, each with its fields."""
    for message in _messages(block, A_BLOCK):
        kind = HEADER.unpack_from(message)[1]
        if kind not in (uapi.XFRM_MSG_NEWSA, uapi.XFRM_MSG_UPDSA) or len(message) < _STATE_BEGIN:
            raise bad_lengths(A_BLOCK)
        yield message, dict(zip(STATE.names, STATE.unpack(message, HEADER.size), strict=True))


def delete_state_messages(block: bytes | bytearray) -> bytearray:
    """The DELSA messages for a block of NEWSA messages."""
    result = bytearray()
    for message, fields in _states(block):
        parts = [STATE_ID.pack([fields[name] for name in STATE_ID.names])]
        for raw_type, payload in _attributes(message, _STATE_BEGIN, A_BLOCK):
            if raw_type & TYPE_MASK == uapi.XFRMA_MARK:
                parts.append(_attribute(uapi.XFRMA_MARK, payload))
        # Where the protocol has no SPI, the kernel finds a state by both addresses.
        parts.append(_attribute(uapi.XFRMA_SRCADDR, fields["source"]))
        result += _message(uapi.XFRM_MSG_DELSA, _ACKNOWLEDGED, *parts)
    return result


def check_states(block: Buffer) -> int:
    """How many NEWSA and UPDSA messages a block is. Raises ProtocolError when it is anything else."""
    count = 0
    for message in _messages(block, A_BLOCK):
        size, kind, *_ = HEADER.unpack_from(message)
        begin = HEADER.size + 224
        if kind not in (uapi.XFRM_MSG_NEWSA, uapi.XFRM_MSG_UPDSA) or size < begin:
            raise bad_lengths(A_BLOCK)
        for _ in _attributes(message[:size], begin, A_BLOCK):
            pass
        count += 1
    return count


def state_fields(message: Buffer) -> dict[str, int | bytes]:
    """The fields of the fixed part of a NEWSA message that is known to be well-formed."""
    return dict(zip(STATE.names, STATE.unpack(memoryview(message), HEADER.size), strict=True))


_COUNTED_ATTRIBUTES = {
    uapi.XFRMA_MARK: ("mark_value", "mark_mask"),
    uapi.XFRMA_IF_ID: ("if_id",),
    uapi.XFRMA_SA_DIR: ("direction",),
    uapi.XFRMA_LASTUSED: ("last_used",),
}


def state_counters(block: bytes | bytearray) -> list[dict[str, Any]]:
    """The counters of each NEWSA message in a block, by name."""
    result = []
    for message, fields in _states(block):
        counters = {name: fields[name] for name in ("source", "destination", "spi", "reqid")}
        counters |= {name: fields[name] for name in ("family", "protocol", "mode")}
        counters |= zip(LIFETIME_CURRENT.names, LIFETIME_CURRENT.unpack(fields["current"]), strict=True)
        counters["replay_window"] = fields["replay_window_errors"]
        counters["replay"] = fields["replay_errors"]
        counters["integrity_failed"] = fields["integrity_errors"]
        counters |= {name: 0 for names in _COUNTED_ATTRIBUTES.values() for name in names}
        for raw_type, payload in _attributes(message, _STATE_BEGIN, A_BLOCK):
            number = raw_type & TYPE_MASK
            if number in _COUNTED_ATTRIBUTES and (parts := ATTRIBUTES[number].unpack(payload)) is not None:
                counters |= zip(_COUNTED_ATTRIBUTES[number], parts[0], strict=True)
        result.append(counters)
    return result


# --- events ---------------------------------------------------------------------------------------------


def heard(records: Buffer) -> tuple[list[tuple[int, ...]], bytes]:
    """Reads records of a listener: see wire/heard.py. Here each message is left as it is."""
    found: list[tuple[int, ...]] = []
    position = 0
    while position < len(records):
        if len(records) - position < RECORD.size:
            raise bad_lengths(A_BLOCK)
        size, namespace = RECORD.unpack_from(records, position)
        position += RECORD.size
        if size in (OVERRUN, BROKEN):
            found.append((0, 0, namespace, 0, 0, 0, EVENT_OVERRUN if size == OVERRUN else EVENT_BROKEN, 0))
            continue
        if not HEADER.size <= size <= len(records) - position:
            raise bad_lengths(A_BLOCK)
        _, kind, _, sequence, port = HEADER.unpack_from(records, position)
        found.append((sequence, port, namespace, position, position + size, kind, EVENT_OTHER, 0))
        position += aligned(size)
    return found, b""

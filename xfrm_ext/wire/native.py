# SPDX-License-Identifier: MIT
"""The native boundary for values: texts and numbers <-> the kernel's bytes, through csrc/.

Knows no value classes and no sockets. What comes out of here is bytes, numbers and text.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xfrm_ext._native import ffi, lib
from xfrm_ext.checks import shown
from xfrm_ext.errors import ValidationError
from xfrm_ext.wire.heard import heard
from xfrm_ext.wire.item import Item
from xfrm_ext.wire.layouts import HEADER, aligned
from xfrm_ext.wire.shared import (
    A_BLOCK,
    A_MESSAGE,
    A_POLICY_BLOCK,
    A_POLICY_MESSAGE,
    ALL_ALGORITHMS,
    HOST_BITS,
    LONGEST,
    NOT_ADDRESS,
    NOT_FAMILY,
    NOT_PREFIX,
    PREFIX_LENGTH,
    SMALLEST_POLICY,
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

__all__ = [
    "ALL_ALGORITHMS",
    "POLICY_KEY_SIZE",
    "SELECTOR_SIZE",
    "TEMPLATE_SIZE",
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

SELECTOR_SIZE: int = lib.SELECTOR_SIZE
TEMPLATE_SIZE: int = lib.TEMPLATE_SIZE
POLICY_KEY_SIZE: int = lib.POLICY_KEY_SIZE

_new = ffi.new
_new_unset = ffi.new_allocator(should_clear_after_alloc=False)
_buffer = ffi.buffer
_SELECTOR_VIEW = ffi.typeof("struct selector_view *")
_BYTES = ffi.typeof("uint8_t[]")
_UINT32S = ffi.typeof("uint32_t[]")
_UINT64S = ffi.typeof("uint64_t[]")
_OPTIONS = ffi.typeof("struct policy_options *")
_pack_selector = lib.selector_pack
_pack_policy = lib.policy_pack
_pack_template = lib.template_pack

_PREFIX_RULES = {lib.TEXT_NOT_PREFIX: NOT_PREFIX, lib.TEXT_PREFIX_LENGTH: PREFIX_LENGTH}


def _taken(data: Any, size: int) -> bytes:
    """A copy of `size` bytes of C memory."""
    return bytes(_buffer(data, size))


def _text(array: Any) -> str:
    return bytes(ffi.string(array)).decode("ascii")


# --- selectors ------------------------------------------------------------------------------------------


def selector_bytes(
    source: str, destination: str, family: int, strict: bool, numbers: tuple[int, ...] | None
) -> bytes:
    """struct xfrm_selector. Empty texts mean any, family -1 that of the prefixes.

    `numbers`: source port and mask, destination port and mask, protocol, interface, user, all in range; None:
    all 0.
    """
    try:
        from_text, to_text = source.encode("ascii"), destination.encode("ascii")
    except UnicodeEncodeError:
        from_text = encoded(source, "Selector.source", NOT_PREFIX)
        to_text = encoded(destination, "Selector.destination", NOT_PREFIX)
    view = _new(_SELECTOR_VIEW)
    if numbers is not None:
        lib.selector_numbers(view, *numbers)
    result = _pack_selector(view, from_text, len(from_text), to_text, len(to_text), family, strict)
    if result:
        raise _selector_error(result, source, destination, family)
    return _taken(view, SELECTOR_SIZE)


def _selector_error(result: int, source: str, destination: str, family: int) -> ValidationError:
    if result == lib.SELECTOR_SOURCE_HOST_BITS:
        return ValidationError("Selector.source", shown(source), HOST_BITS)
    if result == lib.SELECTOR_DESTINATION_HOST_BITS:
        return ValidationError("Selector.destination", shown(destination), HOST_BITS)
    if result == lib.SELECTOR_SOURCE_FAMILY:
        return ValidationError("Selector.source", shown(source), NOT_FAMILY)
    if result == lib.SELECTOR_DESTINATION_FAMILY:
        return ValidationError("Selector.destination", shown(destination), other_family(family))
    if result > lib.SELECTOR_DESTINATION:
        return ValidationError("Selector.source", shown(source), _PREFIX_RULES[result - lib.SELECTOR_SOURCE])
    rule = _PREFIX_RULES[result - lib.SELECTOR_DESTINATION]
    return ValidationError("Selector.destination", shown(destination), rule)


def _selector_fields(view: Any) -> dict[str, Any]:
    return {
        "source": _text(view.source),
        "destination": _text(view.destination),
        "protocol": view.protocol,
        "source_port": view.source_port,
        "source_port_mask": view.source_port_mask,
        "destination_port": view.destination_port,
        "destination_port_mask": view.destination_port_mask,
        "interface": view.interface,
        "user": view.user,
        "family": view.family,
    }


def selector_fields(wire: bytes) -> dict[str, Any]:
    """The fields of struct xfrm_selector, by name."""
    view = _new(_SELECTOR_VIEW)
    lib.selector_unpack(view, wire)
    return _selector_fields(view)


def protocol_number(name: str) -> int:
    """The number of an IP protocol, by name; -1 if there is none of that name."""
    text = name.encode("utf-8", "replace")
    return int(lib.text_protocol_number(text, len(text)))


# --- templates ------------------------------------------------------------------------------------------


def template_bytes(
    source: str, destination: str, family: int, spi: int, reqid: int, codes: int, masks: tuple[int, int, int]
) -> bytes:
    """struct xfrm_user_tmpl. Empty texts mean any, family -1 that of the texts. Numbers are in range.

    `codes`: protocol, mode, level and share, 8 bits each, from the lowest.
    """
    from_text = encoded(source, "Template.source", NOT_ADDRESS)
    to_text = encoded(destination, "Template.destination", NOT_ADDRESS)
    wire = _new_unset(_BYTES, TEMPLATE_SIZE)
    result = _pack_template(wire, from_text, len(from_text), to_text, len(to_text), family, spi, reqid, codes)
    if not result:
        if masks != ALL_ALGORITHMS:
            lib.template_set_masks(wire, *masks)
        return _taken(wire, TEMPLATE_SIZE)
    if result == lib.TEMPLATE_SOURCE:
        raise ValidationError("Template.source", shown(source), NOT_ADDRESS)
    if result == lib.TEMPLATE_DESTINATION:
        raise ValidationError("Template.destination", shown(destination), NOT_ADDRESS)
    if result == lib.TEMPLATE_SOURCE_FAMILY:
        raise ValidationError("Template.source", shown(source), NOT_FAMILY)
    raise ValidationError("Template.destination", shown(destination), other_family(family))


def template_fields(wire: bytes) -> dict[str, Any]:
    """The fields of struct xfrm_user_tmpl, by name."""
    view = ffi.new("struct template_view *")
    lib.template_unpack(view, wire)
    return {
        "source": _text(view.source),
        "destination": _text(view.destination),
        "protocol": view.protocol,
        "spi": view.spi,
        "reqid": view.reqid,
        "mode": view.mode,
        "level": view.optional,
        "share": view.share,
        "family": view.family,
        "aalgos": view.aalgos,
        "ealgos": view.ealgos,
        "calgos": view.calgos,
    }


# --- policies -------------------------------------------------------------------------------------------


def _options(options: PolicyOptions) -> tuple[Any, list[Any]]:
    """struct policy_options, and what has to stay alive with it."""
    native = ffi.new(_OPTIONS)
    kept: list[Any] = []
    if options.policy_type is not None:
        native.has |= lib.POLICY_HAS_TYPE
        native.type = options.policy_type
    if options.mark is not None:
        native.has |= lib.POLICY_HAS_MARK
        native.mark_value, native.mark_mask = options.mark
    if options.if_id is not None:
        native.has |= lib.POLICY_HAS_IF_ID
        native.if_id = options.if_id
    if options.security_context is not None:
        text, algorithm, doi = options.security_context
        context = ffi.new("uint8_t[]", text or b"\0")
        kept.append(context)
        native.has |= lib.POLICY_HAS_SECURITY_CONTEXT
        native.context, native.context_size = context, len(text)
        native.context_algorithm, native.context_doi = algorithm, doi
    if options.offload is not None:
        native.has |= lib.POLICY_HAS_OFFLOAD
        native.offload_interface, native.offload_flags = options.offload
    if options.attributes:
        attributes = ffi.new("uint8_t[]", options.attributes)
        kept.append(attributes)
        native.attributes, native.attributes_size = attributes, len(options.attributes)
    return native, kept


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
    count = len(templates) // 64
    size = 192 + len(templates)
    if options is None:
        native: Any = ffi.NULL
    else:
        size += options.size()
        native, _kept = _options(options)
    out = _new_unset(_BYTES, size)
    length = _pack_policy(
        out,
        size,
        0x13,
        selector,
        lifetime,
        current or ffi.NULL,
        templates,
        count,
        priority,
        index,
        codes,
        native,
    )
    if not 0 < length <= LONGEST:
        raise too_long()
    return _taken(out, length)


def policy_id_bytes(message: int, selector: bytes, index: int, direction: int, options: PolicyOptions) -> bytes:
    """An XFRM_MSG_GETPOLICY or DELPOLICY message."""
    size = 96 + options.size()
    out = _new(_BYTES, size)
    native, _kept = _options(options)
    length = lib.policy_id_pack(out, size, message, selector, index, direction, native)
    if length < 0:
        raise id_too_long()
    return _taken(out, length)


def policy_flush_bytes(policy_type: int | None) -> bytes:
    """An XFRM_MSG_FLUSHPOLICY message; None: without a type, which means main."""
    out = _new(_BYTES, 64)
    length = lib.policy_flush_pack(out, 64, -1 if policy_type is None else policy_type)
    return _taken(out, length)


def policy_fields(message: bytes) -> tuple[dict[str, Any], PolicyOptions, list[tuple[int, bytes]]]:
    """The parts of a policy message of any type: fields (selector, lifetimes, templates as bytes; None for
    what the type lacks), known options, and the attributes that are not known, in their order."""
    view = ffi.new("struct policy_view *")
    data = ffi.from_buffer(message)
    if lib.policy_unpack(view, data, len(message)) < 0:
        raise bad_lengths(A_POLICY_MESSAGE)
    options = view.options
    has = options.has
    context = None
    if has & lib.POLICY_HAS_SECURITY_CONTEXT:
        text = _buffer(options.context, options.context_size)[:]
        context = (text, options.context_algorithm, options.context_doi)
    known = PolicyOptions(
        options.type if has & lib.POLICY_HAS_TYPE else None,
        (options.mark_value, options.mark_mask) if has & lib.POLICY_HAS_MARK else None,
        options.if_id if has & lib.POLICY_HAS_IF_ID else None,
        context,
        (options.offload_interface, options.offload_flags) if has & lib.POLICY_HAS_OFFLOAD else None,
    )
    templates = view.template_count * TEMPLATE_SIZE
    values = {
        "selector": _bytes_at(view.selector, SELECTOR_SIZE),
        "lifetime": _bytes_at(view.lifetime, lib.LIFETIME_CONFIG_SIZE),
        "current": _bytes_at(view.current, lib.LIFETIME_CURRENT_SIZE),
        "templates": _buffer(view.templates, templates)[:] if templates else b"",
        "priority": view.priority,
        "index": view.index,
        "direction": view.direction,
        "action": view.action,
        "flags": view.flags,
        "share": view.share,
    }
    return values, known, list(_unknown(data, len(message))) if view.unknown else []


def _bytes_at(pointer: Any, size: int) -> bytes | None:
    return _taken(pointer, size) if pointer else None


def _unknown(data: Any, length: int) -> Iterator[tuple[int, bytes]]:
    position, size = ffi.new("size_t *"), ffi.new("size_t *")
    kind, payload = ffi.new("uint16_t *"), ffi.new("uint8_t **")
    while lib.policy_unknown_next(data, length, position, kind, payload, size) > 0:
        yield kind[0], _buffer(payload[0], size[0])[:]


def _convert(block: bytes | bytearray, form: int, most: int) -> tuple[bytes, list[int]]:
    """The results of policy_block_convert: all of them, and where each ends."""
    capacity = 2 * len(block) + 65536 if form == lib.POLICY_CANONICAL else most * 128 + len(block)
    out = _new_unset(_BYTES, capacity)
    ends = _new_unset(_UINT32S, most)
    count = lib.policy_block_convert(out, capacity, ffi.from_buffer(block), len(block), form, ends, most)
    if count < 0:
        raise bad_lengths(A_POLICY_BLOCK)
    positions = ffi.unpack(ends, count)
    return _buffer(out, positions[-1] if positions else 0)[:], positions


def canonical_policies(block: bytes) -> list[bytes]:
    """Each NEWPOLICY message of a block, as policy_bytes would have made it."""
    data, ends = _convert(block, lib.POLICY_CANONICAL, len(block) // 184 + 1)
    start = 0
    result = []
    for end in ends:
        result.append(data[start:end])
        start = end
    return result


def policy_keys(block: bytes | bytearray, count: int) -> list[bytes]:
    """What the kernel tells the block's policies apart by, in their order."""
    data, _ = _convert(block, lib.POLICY_KEYS, count)
    return [data[start : start + POLICY_KEY_SIZE] for start in range(0, len(data), POLICY_KEY_SIZE)]


def delete_messages(block: bytes | bytearray, count: int, by_index: bool) -> bytearray:
    """The DELPOLICY messages for a block of NEWPOLICY messages: by selector, or by index where they have one."""
    form = lib.POLICY_DELETE_BY_INDEX if by_index else lib.POLICY_DELETE
    return bytearray(_convert(block, form, count)[0])


def policies_in_trees(
    block: bytes | bytearray, limits: bytes
) -> tuple[list[int], list[int], list[int], list[bytes]]:
    """Which of a block's policies the kernel finds in a tree and not by hash, without those that have a security
    context: of each the tree (as tree_fields knows it), the number in the block, the index and the key.

    `limits`: the least prefix lengths of those found by hash, of destination and source for each direction (in,
    out, fwd), for IPv4 and then for IPv6.
    """
    most = len(block) // SMALLEST_POLICY
    trees, keys = _new_unset(_UINT64S, most), _new_unset(_BYTES, most * POLICY_KEY_SIZE)
    numbers, indices = _new_unset(_UINT32S, most), _new_unset(_UINT32S, most)
    data = ffi.from_buffer(block)
    count = lib.policy_block_in_trees(trees, numbers, indices, keys, most, data, len(block), _sized(limits, 12))
    if count < 0:
        raise bad_lengths(A_POLICY_BLOCK)
    if not count:
        return [], [], [], []
    parts = _taken(keys, count * POLICY_KEY_SIZE)
    each = [parts[start : start + POLICY_KEY_SIZE] for start in range(0, len(parts), POLICY_KEY_SIZE)]
    return ffi.unpack(trees, count), ffi.unpack(numbers, count), ffi.unpack(indices, count), each


def set_indices(block: bytearray, indices: Sequence[int]) -> None:
    """Sets the index of each of a block's policies."""
    native = ffi.from_buffer(_UINT32S, array("I", indices))
    if lib.policy_block_set_indices(ffi.from_buffer(block), len(block), native, len(indices)):
        raise bad_lengths(A_POLICY_BLOCK)


def retype(block: bytearray, message: int) -> None:
    """Makes all messages of a block messages of another type."""
    if lib.policy_block_retype(ffi.from_buffer(block), len(block), message):
        raise bad_lengths(A_BLOCK)


# --- memory for keys ------------------------------------------------------------------------------------

_wiped_array = ffi.new_allocator(lib.memory_allocate, lib.memory_free, should_clear_after_alloc=False)


def memory(data: Any) -> Any:
    """A copy of bytes in memory that is wiped when it is freed: bytes-like, its repr shows nothing of it."""
    size = len(data)
    copy = _wiped_array(_BYTES, size or 1)
    ffi.memmove(copy, data, size)
    return _buffer(copy, size)


# --- addresses ------------------------------------------------------------------------------------------


def address_bytes(text: str) -> tuple[bytes, int] | None:
    """xfrm_address_t and the family; None: the text is no IP address."""
    try:
        ascii_text = text.encode("ascii")
    except UnicodeEncodeError:
        return None
    out = _new(_BYTES, 16)
    family = lib.text_address_pack(out, ascii_text, len(ascii_text))
    return None if family < 0 else (_taken(out, 16), family)


def address_text(address: bytes, family: int) -> str:
    """The canonical text of xfrm_address_t."""
    out = _new("char[]", lib.TEXT_ADDRESS_SIZE)
    lib.text_address_unpack(out, _sized(address, 16), family)
    return _text(out)


# --- messages of all kinds ------------------------------------------------------------------------------


def _sized(data: Any, size: int) -> Any:
    """Bytes that C will read `size` of. Raises ProtocolError when they are fewer."""
    if len(data) < size:
        raise bad_lengths("a structure")
    return data


def _plain(structure: Any) -> tuple[tuple[str, ...], struct.Struct]:
    """The names of a C structure's fields, numbers and arrays of bytes, and what reads them all at once, which is
    far cheaper than one by one."""
    codes = {"uint64_t": "Q", "uint32_t": "I", "uint16_t": "H", "uint8_t": "B"}
    text = "@"
    for _, field in structure.fields:
        array = field.type.kind == "array"
        text += f"{field.type.length}s" if array else codes[field.type.cname]
    reader = struct.Struct(text)
    padding = ffi.sizeof(structure) - reader.size  # at its end, which Python's structures lack
    return tuple(name for name, _ in structure.fields), struct.Struct(f"{text}{padding}x")


class _Fixed:
    """The fixed part of some messages: its C structure of plain fields, and what converts it."""

    def __init__(self, name: str, pack: str, unpack: str) -> None:
        self.pointer = ffi.typeof(f"struct {name} *")
        self.names, self.values = _plain(self.pointer.item)
        self.pack, self.unpack = getattr(lib, pack), getattr(lib, unpack)

    def write(self, fields: Mapping[str, int | bytes], size: int) -> Any:
        out = _new(_BYTES, size)
        self.pack(out, _new(self.pointer, fields))
        return out

    def read(self, data: Any) -> dict[str, int | bytes]:
        native = _new(self.pointer)
        self.unpack(native, data)
        return dict(zip(self.names, self.values.unpack(_buffer(native)), strict=True))


_STATE = _Fixed("state", "state_pack", "state_unpack")
_STATE_ID = _Fixed("state_id", "state_id_pack", "state_id_unpack")
_POLICY_ID = _Fixed("policy_id", "policy_id_write", "policy_id_read")
_ASYNC_EVENT = _Fixed("async_event", "async_event_pack", "async_event_unpack")
_INFO = _Fixed("info", "info_pack", "info_unpack")
_DEFAULTS = _Fixed("policy_defaults", "policy_defaults_pack", "policy_defaults_unpack")
_MIGRATION = _Fixed("migration", "migration_pack", "migration_unpack")
_FIXED = {
    lib.XFRM_MSG_NEWSA: _STATE,
    lib.XFRM_MSG_UPDSA: _STATE,
    lib.XFRM_MSG_GETSA: _STATE_ID,
    lib.XFRM_MSG_DELSA: _STATE_ID,
    lib.XFRM_MSG_FLUSHSA: _Fixed("state_flush", "state_flush_pack", "state_flush_unpack"),
    lib.XFRM_MSG_ALLOCSPI: _Fixed("spi_request", "spi_request_pack", "spi_request_unpack"),
    lib.XFRM_MSG_EXPIRE: _Fixed("state_expire", "state_expire_pack", "state_expire_unpack"),
    lib.XFRM_MSG_GETPOLICY: _POLICY_ID,
    lib.XFRM_MSG_DELPOLICY: _POLICY_ID,
    lib.XFRM_MSG_MIGRATE: _POLICY_ID,
    lib.XFRM_MSG_POLEXPIRE: _Fixed("policy_expire", "policy_expire_pack", "policy_expire_unpack"),
    lib.XFRM_MSG_ACQUIRE: _Fixed("acquire", "acquire_pack", "acquire_unpack"),
    lib.XFRM_MSG_NEWAE: _ASYNC_EVENT,
    lib.XFRM_MSG_GETAE: _ASYNC_EVENT,
    lib.XFRM_MSG_REPORT: _Fixed("report", "report_pack", "report_unpack"),
    lib.XFRM_MSG_MAPPING: _Fixed("mapping", "mapping_pack", "mapping_unpack"),
    lib.XFRM_MSG_MIGRATE_STATE: _Fixed("state_migration", "state_migration_pack", "state_migration_unpack"),
    lib.XFRM_MSG_NEWSADINFO: _INFO,
    lib.XFRM_MSG_GETSADINFO: _INFO,
    lib.XFRM_MSG_NEWSPDINFO: _INFO,
    lib.XFRM_MSG_GETSPDINFO: _INFO,
    lib.XFRM_MSG_SETDEFAULT: _DEFAULTS,
    lib.XFRM_MSG_GETDEFAULT: _DEFAULTS,
}
_ITEMS = ffi.typeof("struct item[]")
_ITEM = ffi.typeof("struct item *")
_SIZE = ffi.typeof("size_t *")
_KEYS = {lib.XFRMA_ALG_AUTH, lib.XFRMA_ALG_CRYPT, lib.XFRMA_ALG_COMP, lib.XFRMA_ALG_AEAD, lib.XFRMA_ALG_AUTH_TRUNC}


def pack(
    message: int, flags: int, fields: Mapping[str, int | bytes] | bytes | None, items: Sequence[Item] = ()
) -> Any:
    """A message with sequence number and port 0, in memory that is wiped when it is freed.

    `fields` of the fixed part by name, or the fixed part as it is; None: there is none.
    """
    size = 0 if fields is None else lib.body_size(message, 0)
    fixed: Any = ffi.NULL
    if isinstance(fields, bytes) and len(fields) == size:
        fixed = fields
    elif isinstance(fields, bytes):
        raise ValidationError("message", None, f"has a fixed part of {len(fields)} bytes, and its type has {size}")
    elif fields is not None and message in _FIXED:
        fixed = _FIXED[message].write(fields, size)
    elif fields is not None:
        fixed = _sized(fields["policy"], size)
    capacity = HEADER.size + size + 3
    native = _new(_ITEMS, len(items))
    kept = []
    for place, item in zip(native, items, strict=True):
        place.type = item.type
        if item.numbers is None:
            place.raw = 1
        else:
            place.count = len(item.numbers)
            place.numbers = [number & 0xFFFFFFFFFFFFFFFF for number in item.numbers]
        if item.name:
            name = ffi.from_buffer(item.name)
            kept.append(name)
            place.name, place.name_size = name, len(item.name)
        if item.data:
            data = ffi.from_buffer(_BYTES, item.data)
            kept.append(data)
            place.data, place.data_size = data, len(item.data)
        capacity += 80 + len(item.data)
    out = _wiped_array(_BYTES, capacity)
    length = lib.body_pack(out, capacity, message, flags, fixed, size, native, len(items))
    if not 0 < length <= LONGEST:
        raise refused()
    return _buffer(out, length)


def check_states(block: Any) -> int:
    """How many NEWSA and UPDSA messages a block is. Raises ProtocolError when it is anything else."""
    count: int = lib.state_block_check(ffi.from_buffer(block), len(block))
    if count < 0:
        raise bad_lengths(A_BLOCK)
    return count


def state_fields(message: Any) -> dict[str, int | bytes]:
    """The fields of the fixed part of a NEWSA message that check_states has seen."""
    return _STATE.read(ffi.from_buffer(_BYTES, _sized(message, HEADER.size + 224)) + HEADER.size)


def unpack(message: Any) -> tuple[int, int, dict[str, int | bytes] | None, list[Item]]:
    """The type, flags, fields and items of a message. Raises ProtocolError."""
    data, length = ffi.from_buffer(_BYTES, message), len(message)
    begin = lib.body_begin(data, length)
    if begin < 0:
        raise unreadable()
    total, kind, flags, _, _ = header(message)
    if length > aligned(total):
        raise bad_lengths(A_MESSAGE)
    size = lib.body_size(kind, flags)
    fields: dict[str, int | bytes] | None = None
    if kind in _FIXED:
        fields = _FIXED[kind].read(data + HEADER.size) if size else None
    elif size:
        fields = {"policy": _taken(data + HEADER.size, size)}
    position, native = _new(_SIZE, begin), _new(_ITEM)
    items = []
    while (found := lib.body_next(data, length, position, native)) > 0:
        items.append(_item(native))
    if found < 0:
        raise bad_lengths(A_MESSAGE)
    return kind, flags, fields, items


def _item(native: Any) -> Item:
    kind = native.type
    part = _buffer(native.data, native.data_size) if native.data_size else b""
    data = memory(part) if kind & 0x3FFF in _KEYS else bytes(part)
    if native.raw:
        return Item(kind, None, data)
    numbers = tuple(native.numbers[0 : native.count])
    if kind == lib.XFRMA_OFFLOAD_DEV and numbers[0] >> 63:
        numbers = (numbers[0] - (1 << 64), numbers[1])
    return Item(kind, numbers, data, bytes(_buffer(native.name, native.name_size)) if native.name_size else b"")


def migration_bytes(fields: Mapping[str, int | bytes]) -> bytes:
    """struct xfrm_user_migrate."""
    return _taken(_MIGRATION.write(fields, lib.MIGRATION_SIZE), lib.MIGRATION_SIZE)


def migration_fields(data: bytes) -> dict[str, int | bytes]:
    """The fields of struct xfrm_user_migrate, by name."""
    return _MIGRATION.read(_sized(data, lib.MIGRATION_SIZE))


def delete_state_messages(block: bytes | bytearray) -> bytearray:
    """The DELSA messages for a block of NEWSA messages."""
    out = _wiped_array(_BYTES, len(block))
    size = lib.state_block_delete(out, len(block), ffi.from_buffer(block), len(block))
    if size < 0:
        raise bad_lengths(A_BLOCK)
    return bytearray(_buffer(out, size))


_COUNTERS = ffi.typeof("struct state_counters[]")
_COUNTED, _COUNTER = _plain(_COUNTERS.item)


def state_counters(block: bytes | bytearray) -> list[dict[str, Any]]:
    """The counters of each NEWSA message in a block, by name."""
    most = len(block) // 240 + 1
    counters = _new(_COUNTERS, most)
    count = lib.state_block_counters(counters, most, ffi.from_buffer(block), len(block))
    if count < 0:
        raise bad_lengths(A_BLOCK)
    found = _COUNTER.iter_unpack(_buffer(counters, count * _COUNTER.size))
    return [dict(zip(_COUNTED, values, strict=True)) for values in found]

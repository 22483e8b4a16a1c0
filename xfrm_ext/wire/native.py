# SPDX-License-Identifier: MIT
"""The native boundary for values: texts and numbers <-> the kernel's bytes, through csrc/.

Knows no value classes and no sockets. What comes out of here is bytes, numbers and text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xfrm_ext._native import ffi, lib
from xfrm_ext.checks import shown
from xfrm_ext.errors import ValidationError
from xfrm_ext.wire.shared import (
    A_BLOCK,
    A_POLICY_BLOCK,
    A_POLICY_MESSAGE,
    ALL_ALGORITHMS,
    AN_INFO_MESSAGE,
    HOST_BITS,
    LONGEST,
    NOT_ADDRESS,
    NOT_FAMILY,
    NOT_PREFIX,
    PREFIX_LENGTH,
    PolicyOptions,
    attribute_at,
    bad_lengths,
    encoded,
    id_too_long,
    message_type,
    message_types,
    other_family,
    policy_dump_request,
    too_long,
)

__all__ = [
    "ALL_ALGORITHMS",
    "POLICY_KEY_SIZE",
    "SELECTOR_SIZE",
    "TEMPLATE_SIZE",
    "PolicyOptions",
    "attribute_at",
    "canonical_policies",
    "delete_messages",
    "message_type",
    "message_types",
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
    "spd_info_fields",
    "spd_info_request",
    "template_bytes",
    "template_fields",
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
    """The DELPOLICY messages for a block of NEWPOLICY messages."""
    form = lib.POLICY_DELETE_BY_INDEX if by_index else lib.POLICY_DELETE
    return bytearray(_convert(block, form, count)[0])


def retype(block: bytearray, message: int) -> None:
    """Makes all messages of a block messages of another type."""
    if lib.policy_block_retype(ffi.from_buffer(block), len(block), message):
        raise bad_lengths(A_BLOCK)


# --- info -----------------------------------------------------------------------------------------------


def spd_info_request() -> bytes:
    """An XFRM_MSG_GETSPDINFO message."""
    out = _new(_BYTES, 32)
    return _taken(out, lib.spd_info_request(out, 32))


def spd_info_fields(message: bytes) -> dict[str, int]:
    """The fields of an XFRM_MSG_NEWSPDINFO message, by name."""
    info = ffi.new("struct spd_info *")
    if lib.spd_info_unpack(info, message, len(message)) < 0:
        raise bad_lengths(AN_INFO_MESSAGE)
    return {name: getattr(info, name) for name, _ in ffi.typeof("struct spd_info").fields}

# SPDX-License-Identifier: MIT
"""Policies, as `ip xfrm` prints them: struct xfrm_userpolicy_info and the attributes of its message."""

from __future__ import annotations

import struct

from xfrm_ext.constants import uapi
from xfrm_ext.errors import ProtocolError
from xfrm_ext.iproute2 import text_parts as parts
from xfrm_ext.wire.layouts import ATTRIBUTE, HEADER, POLICY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from xfrm_ext.iproute2.text import Printer
    from xfrm_ext.wire.layouts import Buffer

SIZE = POLICY.size
_DIRECTIONS = ("dir in", "dir out", "dir fwd", "socket in", "socket out")
_ACTIONS = ("allow", "block")
_FLAGS = ("localok", "icmp")
_TYPES = ("main", "sub")
_LEVELS = ("required", "use")

# The structures as the texts need them. A policy's begins with the header of its message. Addresses are those of
# IPv4; ports and their masks are one number.
_POLICY = struct.Struct("=IH10x4B12x4B12xQHBBB3xiI64x32xII8x")
_TEMPLATE = struct.Struct("=4B12x4sB3xH2x4B12xI16x")
_TEMPLATE_SOURCE, _TEMPLATE_END = 28, 48  # what follows is mode, share, level and algorithms
_ONE_TEMPLATE = ATTRIBUTE.pack(ATTRIBUTE.size + _TEMPLATE.size, uapi.XFRMA_TMPL)
_PRIORITY = struct.Struct("=II")  # and index
_LIFETIME, _NUMBERS = 56, 152  # where they stand in the structure
_CODES_SIZE = 8  # direction, action, flags, share and padding, at its end
_FIRST = _CODES_SIZE + ATTRIBUTE.size  # the payload of the first attribute, from there on
_INET = 2
_NEWPOLICY: Final = uapi.XFRM_MSG_NEWPOLICY


def policies(printer: Printer, data: bytes) -> str:
    """The texts of a block of messages: of policies one by one, as fast as can be of those that most are, IPv4
    without ports; and of others. Raises ProtocolError."""
    texts = []
    n, unpack, tails, many = parts.DECIMAL, _POLICY.unpack_from, printer.tails, printer.statistics
    position, total = 0, len(data)
    last = -1 if printer.oneline else total - _POLICY.size  # where a policy can begin
    while total - position >= HEADER.size:
        if position <= last:
            size, kind, a, b, c, d, e, f, g, h, ports, family, dst, src, upper, interface, user, priority, index = (
                unpack(data, position)
            )
            if kind == _NEWPOLICY and _POLICY.size <= size <= total - position:
                if family != _INET or ports or upper or interface:
                    attributes = data[position + _POLICY.size : position + size]
                    texts.append(policy(printer, data, position + HEADER.size, attributes))
                else:
                    key = data[position + _POLICY.size - _CODES_SIZE : position + size]
                    before, after, rest = tails.get(key) or _tail(printer, key)
                    ends = f"src {n[e]}.{n[f]}.{n[g]}.{n[h]}/{n[src]} dst {n[a]}.{n[b]}.{n[c]}.{n[d]}/{n[dst]} "
                    if many:
                        before += f"index {index} "
                        rest = parts.lifetime(printer, data, position + HEADER.size + _LIFETIME) + rest
                        ends += f"uid {user}"
                    texts.append(f"{ends}{before}priority {priority} {after}{rest}")
                position += (size + 3) & ~3
                continue
        size = printer.size(data, position)
        texts.append(printer.message(data[position : position + size]))
        position += (size + 3) & ~3
    return "".join(texts)


def policy(printer: Printer, data: Buffer, position: int, attributes: bytes) -> str:
    """A policy at a place in data, which is known to hold it, and the attributes of its message as bytes."""
    key = bytes(data[position + SIZE - _CODES_SIZE : position + SIZE]) + attributes
    before, after, rest = printer.tails.get(key) or _tail(printer, key)
    ends = parts.selector(printer, data, position)
    priority, index = _PRIORITY.unpack_from(data, position + _NUMBERS)
    if not printer.statistics:
        return f"{ends}{before}priority {priority} {after}"
    times = parts.lifetime(printer, data, position + _LIFETIME)
    return f"{ends}{before}index {index} priority {priority} {after}{times}{rest}"


def _tail(printer: Printer, data: bytes) -> tuple[str, str, str]:
    """What the end of a message says, from the direction on: the text in front of the numbers, the text behind them
    up to the times, if there are any, and the rest."""
    key, template = data, ""
    if data[_CODES_SIZE:_FIRST] == _ONE_TEMPLATE and len(data) >= _FIRST + _TEMPLATE.size:
        # The addresses and reqid of templates are many, what else is in messages is often the same.
        template = _ends(printer, data, _FIRST)
        key = data[:_FIRST] + data[_FIRST + _TEMPLATE_END :]
    before, after, mark, rest, steady = printer.shapes.get(key) or _shape(printer, data, key)
    rest = f"{mark}{template}{rest}"
    tail = (before, after, rest) if printer.statistics else (before, after + rest, "")
    return printer.kept(printer.tails, data, tail) if steady else tail


def _shape(printer: Printer, data: bytes, key: bytes) -> tuple[str, str, str, str, bool]:
    """The pieces of that text: before, after, the line of a mark, and all behind that, or behind the ends of the
    one template that the key leaves out; and whether they stay the same."""
    direction, flags = _codes(printer, *data[:4])
    found = parts.attributes(data, _CODES_SIZE)
    context = kind = mark = rest = ""
    if _CONTEXT in found:
        context = parts.security_context(found[_CONTEXT])
    if _TYPE in found:
        kind = policy_type(found[_TYPE])
    if _MARK in found:
        mark = f"\t{parts.mark(_MARK, found[_MARK])}\n"
    if key is not data:
        rest += _ending(printer, data[_FIRST + _TEMPLATE_END : _FIRST + _TEMPLATE.size])
    elif _TMPL in found:
        rest += _templates(printer, found[_TMPL])
    if _OFFLOAD in found:
        rest += _offload(printer, found[_OFFLOAD])
    if _IF_ID in found:
        rest += f"\tif_id {parts.number(_IF_ID, found[_IF_ID], 'x')}\n"
    steady = found.keys() <= _STEADY
    shape = (f"\n{context}{direction}", f"{kind}{flags}", mark, rest, steady)
    return printer.kept(printer.shapes, key, shape) if steady else shape


def _codes(printer: Printer, direction: int, action: int, flags: int, share: int) -> tuple[str, str]:
    """The texts of direction and action, and of share and flags."""
    first = f"\t{_DIRECTIONS[direction] if direction < len(_DIRECTIONS) else f'socket {direction - 3}'} "
    last = f"flag {parts.bits(flags, _FLAGS)}" if flags or printer.statistics else ""
    if action or printer.statistics:
        first += f"action {parts.choice(action, _ACTIONS)} "
    if printer.statistics:
        last = f"share {parts.share(share)} {last} (0x{flags:08b})"
    return first, f"{last}\n"


def policy_type(payload: Buffer) -> str:
    """XFRMA_POLICY_TYPE, by name, with a space behind it."""
    found = parts.values(_TYPE, payload)
    return f"ptype {parts.TRUNCATED if found is None else parts.choice(found[0], _TYPES)} "


def _templates(printer: Printer, payload: Buffer) -> str:
    """The lines of templates, as many as there are whole ones."""
    size = _TEMPLATE.size
    if len(payload) < size:
        return '\t(ERROR "tmpl" truncated)\n'
    return "".join(
        [
            _ends(printer, payload, place) + _ending(printer, bytes(payload[place + _TEMPLATE_END : place + size]))
            for place in range(0, len(payload) - size + 1, size)
        ]
    )


def _ends(printer: Printer, payload: Buffer, position: int) -> str:
    """What a template says up to its mode."""
    a, b, c, d, spi, protocol, family, e, f, g, h, reqid = _TEMPLATE.unpack_from(payload, position)
    identity = parts.identity(printer, protocol, spi, reqid, False)
    if family == _INET:
        n = parts.DECIMAL
        return f"\ttmpl src {n[e]}.{n[f]}.{n[g]}.{n[h]} dst {n[a]}.{n[b]}.{n[c]}.{n[d]}\n\t\t{identity}"
    source = parts.address(payload[position + _TEMPLATE_SOURCE : position + _TEMPLATE_SOURCE + 16], family)
    destination = parts.address(payload[position : position + 16], family)
    return f"\ttmpl src {source} dst {destination}\n\t\t{identity}"


def _ending(printer: Printer, last: bytes) -> str:
    """What a template says from its mode on."""
    mode, share, level = last[:3]
    ending = f"mode {parts.mode(mode)}\n"
    if level or printer.statistics:
        ending += f"\t\tlevel {parts.choice(level, _LEVELS)} "
        ending += f"share {parts.share(share)} \n" if printer.statistics else "\n"
    if printer.statistics:
        ending += f"\t\t{parts.masks(*struct.unpack_from('=3I', last, 4))}\n"
    return ending


def _offload(printer: Printer, payload: Buffer) -> str:
    found = parts.values(_OFFLOAD, payload)
    if found is None:
        return f"\tcrypto offload parameters: {parts.TRUNCATED}\n"
    interface, flags = found
    kind = "packet" if flags & uapi.XFRM_OFFLOAD_PACKET else "crypto"
    return f"\tcrypto offload parameters: dev {printer.interface_name(interface)} mode {kind}\n"


_MARK: Final = uapi.XFRMA_MARK
_TMPL: Final = uapi.XFRMA_TMPL
_CONTEXT: Final = uapi.XFRMA_SEC_CTX
_TYPE: Final = uapi.XFRMA_POLICY_TYPE
_OFFLOAD: Final = uapi.XFRMA_OFFLOAD_DEV
_IF_ID: Final = uapi.XFRMA_IF_ID
_STEADY = frozenset({_MARK, _TMPL, _CONTEXT, _TYPE, _IF_ID})
"""Attributes whose text is kept: it stays the same (an interface's name may not), and no key can be in them."""


# --- messages -------------------------------------------------------------------------------------------------


def changed(printer: Printer, message: Buffer) -> str:
    """NEWPOLICY."""
    return policy(printer, message, HEADER.size, bytes(message[parts.begin(message, SIZE) :]))


def updated(printer: Printer, message: Buffer) -> str:
    """UPDPOLICY."""
    return f"Updated {changed(printer, message)}"


def expired(printer: Printer, message: Buffer) -> str:
    """POLEXPIRE: a policy, and whether the limit was a hard one."""
    lines = policy(printer, message, HEADER.size, bytes(message[parts.begin(message, SIZE + 8) :]))
    return f"Expired {lines}\thard {message[HEADER.size + SIZE]}\n"


def deleted(printer: Printer, message: Buffer) -> str:
    """DELPOLICY as an event: the policy is an attribute. Raises ProtocolError where it has none."""
    attributes = bytes(message[parts.begin(message, 64) :])
    inside = parts.attributes(attributes).get(uapi.XFRMA_POLICY)
    if inside is None or len(inside) < SIZE:
        raise ProtocolError("an event about a deleted policy does not have the policy")
    return f"Deleted {policy(printer, inside, 0, attributes)}"


def flushed(printer: Printer, message: Buffer) -> str:
    """FLUSHPOLICY."""
    found = parts.attributes(message, parts.begin(message, 0)).get(_TYPE)
    return f"Flushed policy {'' if found is None else policy_type(found)}\n"

# SPDX-License-Identifier: MIT
"""What both implementations of the wire floor have in common."""

from __future__ import annotations

import struct
import sys
from typing import Any, NamedTuple

from xfrm_ext.checks import shown
from xfrm_ext.constants import uapi
from xfrm_ext.errors import ProtocolError, ValidationError
from xfrm_ext.wire.layouts import ATTRIBUTE, HEADER, NLM_F_DUMP, NLM_F_REQUEST, TYPE_MASK, aligned, fixed_part

ALL_ALGORITHMS = (0xFFFFFFFF,) * 3
LONGEST = 65536  # bytes of a message: what fits the send buffers that systems give

SMALLEST_POLICY = HEADER.size + 168  # bytes of a NEWPOLICY message
TREE = struct.Struct("=HBBI")  # family, type, direction, if_id

# What ValidationError says of texts and messages.
NOT_PREFIX = "is not an IP prefix"
PREFIX_LENGTH = "has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)"
HOST_BITS = "has host bits set: the kernel would keep and compare them (strict=False allows it)"
NOT_ADDRESS = "is not an IP address"
NOT_FAMILY = "is not of the family that was given"

# What an event is told as: enum event_form.
EVENT_OTHER, EVENT_POLICY, EVENT_STATE, EVENT_STATE_EXPIRED, EVENT_POLICY_EXPIRED, EVENT_OVERRUN, EVENT_BROKEN = (
    range(7)
)

# Whose lengths ProtocolError complains about.
A_POLICY_MESSAGE = "a policy message"
A_POLICY_BLOCK = "a block of policy messages"
A_BLOCK = "a block of messages"
A_MESSAGE = "a message"


class PolicyOptions(NamedTuple):
    """The optional attributes of a policy; None: absent. Everything is in range."""

    policy_type: int | None = None
    mark: tuple[int, int] | None = None
    if_id: int | None = None
    security_context: tuple[bytes, int, int] | None = None  # bytes as sent, algorithm, doi
    offload: tuple[int, int] | None = None  # interface, flags
    attributes: bytes = b""

    def size(self) -> int:
        """An upper bound of their size in a message."""
        context = len(self.security_context[0]) if self.security_context else 0
        return 64 + context + len(self.attributes)


def encoded(text: str, field: str, rule: str) -> bytes:
    """A text as ASCII."""
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise ValidationError(field, shown(text), rule) from None


def other_family(family: int) -> str:
    """What is wrong with the second of two texts; `family` is the one that was given, -1: none."""
    return f"is of another family than {'the source' if family < 0 else 'the one that was given'}"


def bad_lengths(what: str) -> ProtocolError:
    """The error for bytes whose lengths contradict each other."""
    return ProtocolError(f"{what} has lengths that do not fit")


def too_long() -> ValidationError:
    """The error for a policy that no message can hold."""
    return ValidationError("Policy", None, f"is a message of more than {LONGEST} bytes")


def id_too_long() -> ValidationError:
    """The same for the name of a policy."""
    return ValidationError("PolicyId", None, "does not fit into a netlink message")


def unreadable() -> ProtocolError:
    """The error for bytes that are no message of XFRM."""
    return ProtocolError("a message is of no known type, or has lengths that do not fit")


def refused() -> ValidationError:
    """The error for parts that make no message."""
    rule = f"is of more than {LONGEST} bytes, or has an attribute of another size"
    return ValidationError("message", None, rule)


def policy_dump_request() -> bytes:
    """An XFRM_MSG_GETPOLICY message that asks for all policies."""
    return HEADER.pack(HEADER.size, uapi.XFRM_MSG_GETPOLICY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0)


def tree_fields(tree: int) -> tuple[int, int, int, int]:
    """What tells one of the kernel's trees of policies from others: family, type, direction, if_id."""
    return TREE.unpack(tree.to_bytes(8, sys.byteorder))


def header(message: Any) -> tuple[int, int, int, int, int]:
    """Length, type, flags, sequence number and port of a message (struct nlmsghdr)."""
    if len(message) < HEADER.size:
        raise ProtocolError(f"{len(message)} bytes are no netlink message")
    return HEADER.unpack_from(message)


def message_type(message: Any) -> int:
    """nlmsg_type of a message."""
    return header(message)[1]


def message_types(block: bytes | bytearray) -> list[int]:
    """nlmsg_type of each message in a block that is known to be well-formed."""
    kinds, position = [], 0
    while position < len(block):
        size, kind, _, _, _ = HEADER.unpack_from(block, position)
        kinds.append(kind)
        position += aligned(size)
    return kinds


def attribute_at(message: bytes | bytearray | memoryview, offset: int) -> int | None:
    """The type of the attribute that an extended ACK's offset points at; None: it points at none."""
    kind = message_type(message)
    try:
        fixed = fixed_part(kind, HEADER.unpack_from(message)[2])
    except KeyError:
        return None
    position = HEADER.size + (0 if fixed is None else aligned(fixed.size))
    while offset > 0 and position + ATTRIBUTE.size <= len(message):
        size, number = ATTRIBUTE.unpack_from(message, position)
        if position <= offset < position + max(size, ATTRIBUTE.size):
            return int(number) & TYPE_MASK
        if size < ATTRIBUTE.size:
            break
        position += aligned(size)
    return None

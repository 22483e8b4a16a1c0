# SPDX-License-Identifier: MIT
"""The codec in C: what the package itself uses."""

from __future__ import annotations

from xfrm_ext import wire
from xfrm_ext.checks import shown
from xfrm_ext.constants import Direction, Message, PolicyType
from xfrm_ext.errors import ProtocolError, ValidationError
from xfrm_ext.info import SpdInfo
from xfrm_ext.mark import Mark
from xfrm_ext.policy import Policy, PolicyId, SecurityContext
from xfrm_ext.request import Request
from xfrm_ext.selector import Selector


def encode(value: Policy | Request) -> bytes:
    """The message for a policy (to be added) or a request, with sequence number and port 0.

    Raises ValidationError when the request has no such body.
    """
    if isinstance(value, Policy):
        return value._wire
    message, body = value.message, value.body
    if message == Message.NEWPOLICY and isinstance(body, Policy):
        return body._wire
    if message == Message.UPDPOLICY and isinstance(body, Policy):
        block = bytearray(body._wire)
        wire.retype(block, message)
        return bytes(block)
    if message in (Message.GETPOLICY, Message.DELPOLICY) and isinstance(body, PolicyId):
        return body.message(message)
    if message == Message.GETPOLICY and body is None:
        return wire.policy_dump_request()
    if message == Message.FLUSHPOLICY and (body is None or isinstance(body, PolicyType)):
        return wire.policy_flush_bytes(body)
    if message == Message.GETSPDINFO and body is None:
        return wire.spd_info_request()
    raise ValidationError("Request", shown(value), "has no body of the kind that its message needs")


def decode(message: bytes) -> Policy | Request | SpdInfo:
    """What a message says: the Policy of NEWPOLICY and UPDPOLICY, the SpdInfo of NEWSPDINFO, else the Request.

    Raises ProtocolError for bytes that are no such message, or whose lengths do not fit.
    """
    kind = wire.message_type(message)
    if kind in (Message.NEWPOLICY, Message.UPDPOLICY):
        policies = wire.canonical_policies(message)
        if len(policies) != 1:
            raise ProtocolError(f"{len(policies)} messages where one was expected")
        return Policy._from_wire(policies[0])
    if kind == Message.NEWSPDINFO:
        return SpdInfo(**wire.spd_info_fields(message))
    if kind == Message.GETSPDINFO:
        return Request(Message.GETSPDINFO)
    if kind == Message.GETPOLICY and len(message) == len(wire.policy_dump_request()):
        return Request(Message.GETPOLICY)
    if kind in (Message.GETPOLICY, Message.DELPOLICY, Message.FLUSHPOLICY):
        return _policy_request(Message(kind), message)
    raise ProtocolError(f"messages of type {kind:#x} are not known here")


def _policy_request(kind: Message, message: bytes) -> Request:
    values, known, _unknown = wire.policy_fields(message)
    if kind == Message.FLUSHPOLICY:
        return Request(kind, None if known.policy_type is None else PolicyType(known.policy_type))
    label, _odd = SecurityContext._from_parts(known.security_context)
    try:
        named = PolicyId(
            None if values["index"] else Selector._from_wire(values["selector"]),
            direction=Direction(values["direction"]),
            index=values["index"],
            policy_type=PolicyType(known.policy_type or 0),
            mark=None if known.mark is None else Mark(*known.mark),
            if_id=known.if_id,
            security_context=label,
        )
    except ValidationError as error:
        raise ProtocolError(f"{kind.name} names a policy that can't be: {error}") from None
    return Request(kind, named)

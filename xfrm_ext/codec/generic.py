# SPDX-License-Identifier: MIT
"""Values <-> messages, over either of the two wire modules: what codec.native and codec.pure have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xfrm_ext.attribute import SecurityContext
from xfrm_ext.checks import shown
from xfrm_ext.constants import AttributeType, Direction, Message, PolicyType, Protocol
from xfrm_ext.errors import ProtocolError, ValidationError, XfrmError
from xfrm_ext.info import PolicyDefaults, SadInfo, SpdInfo, SpdThresholds
from xfrm_ext.items import Items
from xfrm_ext.mark import Mark
from xfrm_ext.policy import Policy, PolicyId
from xfrm_ext.request import Body, Request
from xfrm_ext.secret import Secret
from xfrm_ext.selector import Selector
from xfrm_ext.value import is_selected, set_wire
from xfrm_ext.wire.shared import (
    EVENT_OTHER,
    EVENT_OVERRUN,
    EVENT_POLICY,
    EVENT_POLICY_EXPIRED,
    EVENT_STATE,
    EVENT_STATE_EXPIRED,
    bad_lengths,
)

if TYPE_CHECKING:  # as in session.py
    from xfrm_ext.event import Event, Overrun
    from xfrm_ext.state import State

_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300  # NLM_F_*

# The body of each message, where it can have but one, and the flags of requests. What answers needs no ACK besides.
# Those of states and events are in bodies.py.
_BODIES: dict[int, tuple[type[Any], int]] = {
    Message.NEWSADINFO: (SadInfo, _REQUEST),
    Message.NEWSPDINFO: (SpdInfo, _REQUEST | _ACK),
    Message.SETDEFAULT: (PolicyDefaults, _REQUEST | _ACK),
    Message.GETDEFAULT: (PolicyDefaults, 0),
}
# The message that a body alone stands for.
_ALONE: dict[type[Any], Message] = {
    Policy: Message.NEWPOLICY,
    SpdThresholds: Message.NEWSPDINFO,
    **{body: Message(kind) for kind, (body, _) in reversed(_BODIES.items())},
}
_POLICY_REQUESTS = (Message.GETPOLICY, Message.DELPOLICY, Message.FLUSHPOLICY)
_STATE_REQUESTS = (Message.NEWSA, Message.UPDSA, Message.GETSA, Message.DELSA)


def _body_of(message: int) -> tuple[type[Any] | None, int]:
    found = _BODIES.get(message)
    if found is None:
        from xfrm_ext.codec.bodies import BODIES

        found = BODIES.get(message)
    return found or (None, 0)


def _alone(body: type[Any]) -> Message | None:
    found = _ALONE.get(body)
    if found is None and body is not type(None):
        from xfrm_ext.codec.bodies import ALONE

        found = ALONE.get(body)
    return found


class Codec:
    """Values <-> messages."""

    def __init__(self, wire: Any) -> None:
        self.wire = wire

    def encode(self, value: Body | Request) -> bytes:
        """The message for a value or a request, with sequence number and port 0. Keys are in it.

        A value alone stands for the message that adds or tells it (a Policy for NEWPOLICY). Raises ValidationError
        when the request has no such body.
        """
        return bytes(self.encode_wiped(value))

    def encode_wiped(self, value: Body | Request) -> Any:
        """The same as a bytes-like object whose memory is wiped when it is freed."""
        message: Message | None
        if isinstance(value, Request):
            message, body = value.message, value.body
        else:
            message, body = _alone(type(value)), value
        if message is None:
            raise ValidationError("value", shown(value), "is no message by itself: see Request")
        wire = self.wire
        if message in (Message.NEWPOLICY, Message.UPDPOLICY) and isinstance(body, Policy):
            return self._retyped(body._encoded(wire), message)
        if message in _POLICY_REQUESTS:
            return self._policy_request(value, message, body)
        if message in _STATE_REQUESTS:
            return self._state_request(value, message, body)
        if message == Message.FLUSHSA and (body is None or isinstance(body, Protocol)):
            return wire.pack(message, _REQUEST | _ACK, {"protocol": body or 0}, [])
        if message in (Message.GETSADINFO, Message.GETSPDINFO) and body is None:
            return wire.pack(message, _REQUEST, {"flags": 0xFFFFFFFF}, [])  # what ip sends; no kernel looks at it
        if message == Message.GETDEFAULT and body is None:
            return wire.pack(message, _REQUEST, *PolicyDefaults()._parts(wire))
        if message == Message.NEWSPDINFO and isinstance(body, SpdInfo):
            return wire.pack(message, 0, *body._parts(wire))  # a request would set thresholds
        kind, flags = _body_of(message)
        if kind is not None and (
            isinstance(body, kind) or (message == Message.NEWSPDINFO and isinstance(body, SpdThresholds))
        ):
            return wire.pack(message, flags, *body._parts(wire))
        raise ValidationError("Request", shown(value), "has no body of the kind that its message needs")

    def _state_request(self, value: object, message: Message, body: Body) -> Any:
        from xfrm_ext.state import State
        from xfrm_ext.state_id import StateId
        from xfrm_ext.state_request import StateFilter

        wire = self.wire
        if message in (Message.NEWSA, Message.UPDSA) and isinstance(body, State):
            return self._retyped(body._encoded(wire), message)
        if message == Message.DELSA and isinstance(body, State):
            body = body.id
        if message in (Message.GETSA, Message.DELSA) and isinstance(body, StateId):
            flags = _REQUEST if message == Message.GETSA else _REQUEST | _ACK
            return wire.pack(message, flags, *body._parts(wire))
        if message == Message.GETSA and (body is None or isinstance(body, StateFilter)):
            return wire.pack(message, _REQUEST | _DUMP, *(StateFilter() if body is None else body)._parts(wire))
        raise ValidationError("Request", shown(value), "has no body of the kind that its message needs")

    def state_message(self, message: Message, state: State) -> Any:
        """A NEWSA or UPDSA message that is the state as it came, where it was built with this wire module."""
        wire = self.wire
        return self._retyped(wire.memory(state._wire) if is_selected(wire) else state._encoded(wire), message)

    def _retyped(self, message: Any, kind: Message) -> Any:
        copy = bytearray(message) if isinstance(message, bytes) else message
        self.wire.retype(copy, kind)
        return copy

    def _policy_request(self, value: object, message: Message, body: Body) -> Any:
        wire = self.wire
        if message == Message.DELPOLICY and isinstance(body, Policy):
            body = body.id
        if message != Message.FLUSHPOLICY and isinstance(body, PolicyId):
            return body._encoded(message, wire)
        if message == Message.GETPOLICY and body is None:
            return wire.policy_dump_request()
        if message == Message.FLUSHPOLICY and (body is None or isinstance(body, PolicyType)):
            return wire.policy_flush_bytes(body)
        raise ValidationError("Request", shown(value), "has no body of the kind that its message needs")

    def decode(self, message: Any) -> Body | Request:
        """What a message says: the value that it adds or tells, or the Request.

        Raises ProtocolError for bytes that are no such message, or whose lengths do not fit.
        """
        kind, _flags, body = self._body(message)
        value: Body = body
        alone = kind in (Message.UPDSA, Message.UPDPOLICY) or _alone(type(body)) == kind
        return value if alone else Request(kind, value)

    def decode_event(self, message: Any, namespace_id: int | None = None) -> Event:
        """The same for a message that the kernel multicasts. One that can't be read has its bytes as body: as a
        Secret, for they may hold keys."""
        from xfrm_ext.event import _event

        header = self.wire.header(message)
        return _event(
            header[1], self._told(message), header[3], header[4], -1 if namespace_id is None else namespace_id
        )

    def _told(self, message: Any) -> Any:
        try:
            return self._body(message)[2]
        except ProtocolError:
            return Secret(message)

    def decode_events(self, records: Any) -> list[Event | Overrun | XfrmError]:
        """The same for all that a listener has heard (Listener.peek), and where there is no event but a loss, or a
        message that makes no sense. Nothing of `records` is kept."""
        from xfrm_ext.event import Overrun, PolicyExpired, StateExpired, _event
        from xfrm_ext.state import State

        wire = self.wire
        found: list[Event | Overrun | XfrmError] = []
        listed, told = wire.heard(records)
        as_it_is = is_selected(wire)
        body: Any
        for sequence, port, namespace, start, end, kind, form, hard in listed:
            if form == EVENT_POLICY and as_it_is:  # Policy._from_wire, for half of the time
                body = Policy.__new__(Policy)
                set_wire(body, told[start:end])
            elif form == EVENT_POLICY:
                body = Policy._from_wire(told[start:end], wire)
            elif form in (EVENT_STATE, EVENT_STATE_EXPIRED):
                body = State._from_wire(wire.memory(memoryview(told)[start:end]), wire)
                if form == EVENT_STATE_EXPIRED:
                    body = StateExpired(body, bool(hard))
            elif form == EVENT_OTHER:
                message = bytearray(memoryview(records)[start:end])
                try:
                    body = self._told(message)
                except XfrmError as error:
                    found.append(error.with_traceback(None))
                    continue
                finally:
                    message[:] = bytes(len(message))
            elif form == EVENT_POLICY_EXPIRED:
                body = PolicyExpired(Policy._from_wire(told[start:end], wire), bool(hard))
            else:
                found.append(Overrun() if form == EVENT_OVERRUN else bad_lengths("a datagram of the kernel's"))
                continue
            found.append(_event(kind, body, sequence, port, namespace))
        return found

    def _body(self, message: Any) -> tuple[Message, int, Any]:
        wire = self.wire
        kind = wire.message_type(message)
        if kind in (Message.NEWPOLICY, Message.UPDPOLICY):
            policies = wire.canonical_policies(message)
            if len(policies) != 1:
                raise ProtocolError(f"{len(policies)} messages where one was expected")
            return Message(kind), 0, Policy._from_wire(policies[0], wire)
        kind, flags, fields, listed = wire.unpack(message)
        kind = Message(kind)
        if kind in (Message.NEWSA, Message.UPDSA):
            from xfrm_ext.state import State

            return kind, flags, State._from_message(message, wire)
        try:
            return kind, flags, self._from_parts(kind, flags, fields, Items(listed), message)
        except ValidationError as error:
            raise ProtocolError(f"{kind.name} says what can't be: {error}") from None

    def _from_parts(self, kind: Message, flags: int, fields: Any, items: Items, message: Any) -> Any:
        wire = self.wire
        if kind in (Message.GETSA, Message.DELSA):
            return _named_state(kind, fields, items, wire)
        if kind == Message.DELPOLICY and (policy := items.take(AttributeType.POLICY)) is not None:
            from xfrm_ext.event import _policy

            return _policy(bytes(policy.data), items, wire)
        if kind == Message.FLUSHSA:
            return Protocol(fields["protocol"]) if fields["protocol"] else None
        if kind in (Message.GETSADINFO, Message.GETSPDINFO) or (kind == Message.GETPOLICY and fields is None):
            return None
        if kind == Message.GETDEFAULT and flags & _REQUEST:
            return None
        if kind in _POLICY_REQUESTS:
            return self._policy_id(kind, message)
        if kind == Message.NEWSPDINFO and flags & _REQUEST:
            return _thresholds(items)
        body: Any = _body_of(kind)[0]
        return body._from_parts(fields, items, wire)

    def _policy_id(self, kind: Message, message: Any) -> PolicyId | PolicyType | None:
        values, known, _unknown = self.wire.policy_fields(message)
        if kind == Message.FLUSHPOLICY:
            return None if known.policy_type is None else PolicyType(known.policy_type)
        label, _odd = SecurityContext._from_parts(known.security_context)
        return PolicyId(
            None if values["index"] else Selector._from_wire(values["selector"], self.wire),
            direction=Direction(values["direction"]),
            index=values["index"],
            policy_type=PolicyType(known.policy_type or 0),
            mark=None if known.mark is None else Mark(*known.mark),
            if_id=known.if_id,
            security_context=label,
        )


def _named_state(kind: Message, fields: Any, items: Items, wire: Any) -> Any:
    from xfrm_ext.event import _state
    from xfrm_ext.state_id import StateId
    from xfrm_ext.state_request import StateFilter

    if kind == Message.DELSA and (state := items.take(AttributeType.SA)) is not None:
        return _state(bytes(state.data), items, wire)
    if fields is None:
        return StateFilter._from_parts(items, wire)
    return StateId._from_parts(fields, items, wire)


def _thresholds(items: Items) -> SpdThresholds:
    ipv4, ipv6 = items.take(3), items.take(4)
    return SpdThresholds(
        None if ipv4 is None else ipv4.numbers,  # type: ignore[arg-type]
        None if ipv6 is None else ipv6.numbers,  # type: ignore[arg-type]
    )

# SPDX-License-Identifier: MIT
"""Two codecs, one behaviour: every message there is, in both directions, whole and damaged."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from public import PUBLIC
from strategies import ANY_ATTRIBUTES, BODIES, U8, requests, states

import xfrm_ext
from xfrm_ext import (
    Attribute,
    Family,
    Message,
    Mode,
    Policy,
    PolicyDefaults,
    Protocol,
    ProtocolError,
    ReplayState,
    Request,
    Secret,
    Selector,
    SpdInfo,
    SpdThresholds,
    State,
    StateFilter,
    StateId,
    wire,
)
from xfrm_ext.codec import native, pure
from xfrm_ext.codec.generic import Codec
from xfrm_ext.value import is_selected
from xfrm_ext.wire.layouts import RECORD

CODECS = (native.codec, pure.codec)
ALONE = (Message.NEWSA, Message.UPDSA, Message.NEWPOLICY, Message.UPDPOLICY)


def same(one: Any, other: Any) -> None:
    """Equal in every field, down to the type of each; not only by `==`, which may compare bytes."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right)
    assert one == other


def body_of(value: Any) -> Any:
    return value.body if isinstance(value, Request) else value


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a call returns, or the class of the one error that it may raise."""
    try:
        return function(*arguments)
    except ProtocolError as error:
        return type(error)


@pytest.mark.parametrize("message", BODIES, ids=lambda message: message.name)
@settings(max_examples=30)
@given(data=st.data())
def test_every_message_survives(message: Message, data: st.DataObject) -> None:
    request = data.draw(requests(message))
    body = request.body
    encoded = native.encode(request)
    assert encoded == pure.encode(request)
    for codec in CODECS:
        decoded = codec.decode(encoded)
        same(body_of(decoded), body)
        if isinstance(decoded, Request):
            assert decoded == request
        for other in CODECS:
            # What one of them read, either can write.
            again = Request(message, body_of(decoded))
            assert other.encode(again) == encoded
        if not isinstance(body, (State, Policy, type(None), Protocol, int)):
            assert hash(body_of(decoded)) == hash(body)


@pytest.mark.parametrize("message", BODIES, ids=lambda message: message.name)
@settings(max_examples=15)
@given(data=st.data())
def test_values_can_be_taken_apart(message: Message, data: st.DataObject) -> None:
    body = data.draw(BODIES[message])
    if not dataclasses.is_dataclass(body) or isinstance(body, type):
        return
    same(dataclasses.replace(body), body)
    text = repr(body)
    if "Secret(" not in text:
        assert eval(text, PUBLIC) == body


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + bytes(payload) + bytes(-len(payload) % 4)


@st.composite
def damaged(draw: st.DrawFn, encoded: bytes) -> bytes:
    """A message with bytes changed, attributes put behind it, or its end cut off."""
    result = bytearray(encoded)
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            one = draw(ANY_ATTRIBUTES | st.builds(Attribute, st.integers(1, 41), st.binary(max_size=90)))
            result += attribute(one.type, one._data())
        result[0:4] = struct.pack("=I", len(result))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(16, len(result) - 1) if len(result) > 16 else st.just(0))
        result[place] = draw(st.sampled_from([0, 1, 2, 4, 10, 33, 64, 128, 255]) | U8)
    if draw(st.integers(0, 3)) == 0:
        result = result[: draw(st.integers(0, len(result)))]
        if draw(st.booleans()) and len(result) >= 16:
            result[0:4] = struct.pack("=I", len(result))
    if draw(st.integers(0, 9)) == 0 and len(result) > 8:
        result[draw(st.integers(0, 7))] = draw(U8)  # length, type, flags
    return bytes(result)


def alike(one: Any, other: Any) -> None:
    """Equal in every field. Bytes that no field shows, as those behind an IPv4 address, may differ."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            alike(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            alike(left, right)
    else:
        assert one == other


def is_impossible(value: Any) -> bool:
    """Whether a family in it is none that addresses have, or a prefix longer than an address: kernels refuse such
    selectors and templates."""
    if isinstance(value, tuple):
        return any(map(is_impossible, value))
    if isinstance(value, Family):
        return value not in tuple(Family)
    if isinstance(value, Selector):
        texts = (value.source, value.destination)
        if any(int(text.partition("/")[2]) > (128 if ":" in text else 32) for text in texts):
            return True
    names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    return any(is_impossible(getattr(value, name)) for name in names)


def settled(codec: Codec, value: Any, kind: int) -> Any:
    """A value after it was encoded and decoded."""
    body = body_of(value)
    return body_of(codec.decode(codec.encode(Request(Message(kind), body))))


@pytest.mark.parametrize("message", BODIES, ids=lambda message: message.name)
@settings(max_examples=40)
@given(data=st.data())
def test_damage_is_seen_by_both_or_by_none(message: Message, data: st.DataObject) -> None:
    received = data.draw(requests(message).map(native.encode).flatmap(damaged))
    one, other = (outcome(codec.decode, received) for codec in CODECS)
    if one is ProtocolError or other is ProtocolError:
        assert one == other
        return
    kind = struct.unpack_from("=H", received, 4)[0]
    assert isinstance(one, Request) == isinstance(other, Request)
    same(body_of(one), body_of(other))
    repr(one)
    if kind in (Message.DELSA, Message.DELPOLICY) and isinstance(body_of(one), (State, Policy)):
        return  # of an event: as a request it would name the thing, not tell of it
    for codec, value in zip(CODECS, (one, other), strict=True):
        if is_impossible(body_of(value)) and not is_selected(codec.wire):
            continue  # it would have to be made of texts that are refused; the selected one keeps the bytes
        again = settled(codec, value, kind)
        alike(again, body_of(value))
        # And from then on nothing changes.
        same(settled(codec, again, kind), again)


@given(st.sampled_from(list(BODIES)), st.binary(max_size=600))
def test_noise(message: Message, noise: bytes) -> None:
    received = struct.pack("=IHHII", 16 + len(noise), message, 0, 0, 0) + noise
    one, other = (outcome(codec.decode, received) for codec in CODECS)
    if isinstance(one, type) or isinstance(other, type):
        assert one == other
    else:
        same(body_of(one), body_of(other))


@given(requests(), st.data())
def test_events_can_always_be_read(request: Request, data: st.DataObject) -> None:
    """A subscription never dies of a message: what can't be read is handed out as bytes, which nothing shows."""
    received = data.draw(damaged(native.encode(request)).filter(lambda message: len(message) >= 16))
    one, other = (codec.decode_event(received, 3) for codec in CODECS)
    assert (one.message, one.namespace_id) == (struct.unpack_from("=H", received, 4)[0], 3)
    assert (one.sequence, one.port) == (other.sequence, other.port)
    same(one.body, other.body)
    if isinstance(one.body, Secret):
        assert one.body.reveal() == received
    received = struct.pack("=I", len(received)) + received[4:]
    records = (RECORD.pack(len(received), 3) + received + bytes(-len(received) % 4)) * 2
    for codec in CODECS:
        single = codec.decode_event(received, 3)
        for event in codec.decode_events(records):
            same(event, single)


@given(states())
def test_states_read_by_the_codec_that_is_not_selected(state: State) -> None:
    """It fills the fields in at once, so that nothing depends on which one reads them later."""
    encoded = native.encode(state)
    for codec in CODECS:
        read = State._from_message(encoded, codec.wire)
        same(read, state)
        # Both are bytes that the other one can read.
        same(State._from_wire(wire.memory(read._wire)), state)


# --- what a request may say in two ways -------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS, ids=["native", "pure"])
class TestTwoWays:
    def test_updates_of_states(self, codec: Codec) -> None:
        state = State("10.0.0.1", "10.0.0.2", spi=1)
        add, update = codec.encode(state), codec.encode(Request(Message.UPDSA, state))
        assert update[4:6] == struct.pack("=H", 0x1A)
        assert update[:4] + update[6:] == add[:4] + add[6:]
        assert codec.decode(update) == state
        assert codec.encode(state) == add  # which the update has not changed

    def test_dumps(self, codec: Codec) -> None:
        assert codec.encode(Request(Message.GETSA)) == codec.encode(Request(Message.GETSA, StateFilter()))
        assert codec.decode(codec.encode(Request(Message.GETSA))) == Request(Message.GETSA, StateFilter())
        assert len(codec.encode(Request(Message.GETSA))) == 16

    def test_deletions(self, codec: Codec) -> None:
        state = State("10.0.0.1", "10.0.0.2", spi=1, mark=xfrm_ext.Mark(1, 1))
        assert codec.encode(Request(Message.DELSA, state)) == codec.encode(Request(Message.DELSA, state.id))

    def test_flushes(self, codec: Codec) -> None:
        assert codec.decode(codec.encode(Request(Message.FLUSHSA))) == Request(Message.FLUSHSA)
        request = Request(Message.FLUSHSA, Protocol.IPSEC_ANY)
        assert codec.decode(codec.encode(request)) == request

    def test_info_of_the_spd_and_what_sets_it(self, codec: Codec) -> None:
        told, wanted = SpdInfo(input=1, ipv4_local_bits=32), SpdThresholds((32, 32))
        assert codec.decode(codec.encode(told)) == told
        assert codec.decode(codec.encode(wanted)) == wanted

    def test_defaults_asked_for_and_told(self, codec: Codec) -> None:
        asked, told = Request(Message.GETDEFAULT), Request(Message.GETDEFAULT, PolicyDefaults())
        assert codec.decode(codec.encode(asked)) == asked
        assert codec.decode(codec.encode(told)) == told

    def test_a_value_alone(self, codec: Codec) -> None:
        for value in (StateId("10.0.0.1", 5), Protocol.ESP, None, StateFilter()):
            with pytest.raises(xfrm_ext.ValidationError, match=r"^value: .* is no message by itself: see Request$"):
                codec.encode(value)

    def test_every_message_refuses_another_body(self, codec: Codec) -> None:
        for message in Message:
            for body in (5, "state", ReplayState(), Mode.TUNNEL, Family.INET):
                with pytest.raises(
                    xfrm_ext.ValidationError, match=r"has no body of the kind that its message needs$"
                ):
                    codec.encode(Request(message, body))  # type: ignore[arg-type]

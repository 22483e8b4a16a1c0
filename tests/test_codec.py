# SPDX-License-Identifier: MIT
"""Encoding and decoding are inverse, and nothing that arrives can do harm."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import struct
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from public import PUBLIC
from strategies import ANY_ATTRIBUTES, INDEX, U32, policies, policy_ids, prefixes

from xfrm_ext import (
    Action,
    Attribute,
    Message,
    Policy,
    PolicyType,
    ProtocolError,
    Request,
    Selector,
    SpdInfo,
    Template,
    ValidationError,
    wire,
)
from xfrm_ext.codec import select

CODEC = select()
encode, decode = CODEC.encode, CODEC.decode


def fields_of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


@given(policies())
def test_policies_survive(policy: Policy) -> None:
    message = encode(policy)
    again = decode(message)
    assert again == policy
    assert fields_of(again) == fields_of(policy)
    assert hash(again) == hash(policy)
    # Built from its own fields it is the same, to the byte.
    assert encode(Policy(**fields_of(again))) == message


@given(policies(), st.lists(ANY_ATTRIBUTES, max_size=4))
def test_policies_survive_with_any_attributes(policy: Policy, attributes: list[Attribute]) -> None:
    """Also of types that have a field, and of sizes that those don't have."""
    policy = dataclasses.replace(policy, attributes=tuple(attributes))
    message = encode(policy)
    again = decode(message)
    assert isinstance(again, Policy)
    assert again == policy
    assert fields_of(again) == fields_of(policy)
    assert wire.canonical_policies(message) == [message]
    if len(again.templates) <= 6 and all(template.family in (0, 2, 10) for template in again.templates):
        assert encode(dataclasses.replace(again)) == message
        # Texts leave out keys, and what stands behind the four bytes of an IPv4 address.
        keys = any(attribute.has_key for attribute in again.attributes)
        if not keys and all(Template(**fields_of(template)) == template for template in again.templates):
            assert eval(repr(again), PUBLIC) == policy


@given(policies())
def test_updates_differ_in_the_type_only(policy: Policy) -> None:
    update, add = encode(Request(Message.UPDPOLICY, policy)), encode(policy)
    assert update[4:6] == struct.pack("=H", 0x19)
    assert update[:4] + update[6:] == add[:4] + add[6:]
    assert decode(update) == policy


@given(st.sampled_from([Message.GETPOLICY, Message.DELPOLICY]), policy_ids())
def test_requests_survive(message: Message, named: Any) -> None:
    request = Request(message, named)
    assert decode(encode(request)) == request


@pytest.mark.parametrize("body", [None, PolicyType.MAIN, PolicyType.SUB])
def test_flushes_survive(body: PolicyType | None) -> None:
    request = Request(Message.FLUSHPOLICY, body)
    assert decode(encode(request)) == request


def test_requests_without_a_body_survive() -> None:
    for message in (Message.GETPOLICY, Message.GETSPDINFO):
        assert decode(encode(Request(message))) == Request(message)


@given(st.lists(U32, min_size=12, max_size=12))
def test_spd_info(numbers: list[int]) -> None:
    bits = [number & 0xFF for number in numbers[8:]]
    body = struct.pack("=IHH6I", 0, 28, 1, *numbers[:6]) + struct.pack("=HHII", 12, 2, *numbers[6:8])
    body += struct.pack("=HHBBxx", 6, 3, *bits[:2]) + struct.pack("=HHBBxx", 6, 4, *bits[2:])
    info = decode(struct.pack("=IHHII", 16 + len(body), 0x24, 0, 7, 7) + body)
    assert isinstance(info, SpdInfo)
    assert list(fields_of(info).values()) == [*numbers[:8], *bits]
    assert info.total == sum(numbers[:3])


@given(prefixes(4) | prefixes(6))
def test_prefixes_are_those_of_ipaddress(network: Any) -> None:
    selector = Selector(network)
    assert ipaddress.ip_network(selector.source) == network
    assert Selector(str(network)) == selector
    assert Selector(network.with_netmask if network.version == 4 else network) == selector


GROUP = st.sampled_from(
    ["0", "1", "db8", "ffff", "0000", "00001", "10000", "g", "", ":", "::", "1.2.3.4", "1.2.3", "01.2.3.4"]
)
NEARLY_IPV6 = (
    st.ip_addresses(v=6).map(str)
    | st.ip_addresses(v=6).map(lambda address: address.exploded)
    | st.lists(GROUP, max_size=9).map(":".join)
    | st.text("0123456789abcdefABCDEF:.", max_size=45)
)


@given(text=NEARLY_IPV6)
def test_ipv6_addresses_are_read_as_inet_pton_does(text: str) -> None:
    try:
        expected = socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        expected = None
    assume(":" in text)
    try:
        found = encode(Policy(Selector(destination=text), direction="in"))[16:32]
    except ValidationError:
        found = None
    assert found == expected


@given(policies(), st.data())
def test_damage_is_seen_or_harmless(policy: Policy, data: st.DataObject) -> None:
    """Whatever arrives is refused as a whole, or becomes a value that is whole."""
    message = bytearray(encode(policy))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(message) - 1))
        message[place] = data.draw(st.integers(0, 255))
    message = message[: data.draw(st.integers(0, len(message)) | st.just(len(message)))]
    check_any(bytes(message))


@given(st.binary(max_size=400))
def test_noise_is_seen_or_harmless(noise: bytes) -> None:
    check_any(noise)
    for kind in (0x13, 0x14, 0x15, 0x19, 0x1D, 0x24, 0x25):
        check_any(struct.pack("=IHHII", 16 + len(noise), kind, 0, 1, 1) + noise)


def check_any(message: bytes) -> None:
    try:
        value = decode(message)
    except ProtocolError:
        return
    if isinstance(value, Policy):
        values = fields_of(value)  # reads every field
        assert decode(encode(value)) == value
        assert repr(value)
        assert values["selector"].source
    elif isinstance(value, Request):
        assert decode(encode(value)) == value


@given(st.lists(policies(), max_size=5), INDEX)
def test_blocks(many: list[Policy], position: int) -> None:
    block = b"".join(map(encode, many))
    assert wire.canonical_policies(block) == [encode(policy) for policy in many]
    keys = wire.policy_keys(block, len(many))
    for one, policy in zip(keys, many, strict=True):
        # Neither priority nor templates are part of what tells policies apart.
        other = dataclasses.replace(policy, priority=position, templates=(), index=0, action=Action.BLOCK)
        assert wire.policy_keys(encode(other), 1) == [one]
    cut = position % (len(block) + 1)
    if cut and cut not in {sum(map(len, wire.canonical_policies(block)[:n])) for n in range(len(many) + 1)}:
        with pytest.raises(ProtocolError):
            wire.canonical_policies(block[:cut])

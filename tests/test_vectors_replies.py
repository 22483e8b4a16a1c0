# SPDX-License-Identifier: MIT
"""Every policy that `ip xfrm` printed, decoded: encoding it again loses nothing. And messages that no kernel sends.

That what is encoded again has the text of `ip` is in test_iproute2_texts.py."""

from __future__ import annotations

import pickle
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import pytest
from vectors import (
    IF_ID,
    MARK,
    NEWPOLICY,
    OFFLOAD_DEV,
    POLICY_TYPE,
    SEC_CTX,
    TMPL,
    UPDPOLICY,
    Parts,
    attribute,
    messages,
    records,
    take_apart,
)

from xfrm_ext import (
    Attribute,
    Mark,
    Message,
    Policy,
    ProtocolError,
    Request,
    SpdInfo,
)
from xfrm_ext.codec import select

CODEC = select()
encode, decode = CODEC.encode, CODEC.decode

REPLIES = records("replies")
COUNTS = records("counts")


def ids(chosen: Iterable[dict[str, Any]]) -> pytest.MarkDecorator:
    """The argument of a test that runs once for each record."""
    return pytest.mark.parametrize("record", [pytest.param(record, id=record["id"]) for record in chosen])


def policy_of(message: bytes) -> Policy:
    """The policy that a message decodes to."""
    value = decode(message)
    assert isinstance(value, Policy)
    return value


# --- replies ----------------------------------------------------------------------------------------------

UNMASKED = {
    f"msg-policy-rand-{number}{ending}"
    for number in ("001", "019", "024", "030", "037", "048", "050", "064", "069")
    for ending in ("", "@s")
}
"""Requests with a mark that has bits outside its mask, printed as they were sent. The kernel drops those bits
when it stores the mark, and this package when it decodes one."""

SEVEN_TEMPLATES = {"msg-hand-newpolicy-tmpls-7", "msg-hand-newpolicy-tmpls-7@s"}
"""More templates than a kernel has ever sent: they are decoded all the same."""


def stored(parts: Parts) -> dict[int, bytes]:
    """The attributes of a message as this package keeps them: of two of a kind the last, and the type main as
    no attribute."""
    attributes = dict(parts.attributes)
    if attributes.get(POLICY_TYPE, b"\1")[0] == 0:
        del attributes[POLICY_TYPE]
    return attributes


@ids(REPLIES)
def test_encoding_again_loses_nothing(record: dict[str, Any]) -> None:
    for data, _ in record["datagrams"]:
        for message in messages(bytes.fromhex(data)):
            before = take_apart(message)
            after = take_apart(encode(Request(Message(before.type), policy_of(message))))
            wanted = stored(before)
            if record["id"] in UNMASKED:
                value, mask = struct.unpack("=II", wanted[MARK])
                assert value & mask != value
                wanted[MARK] = struct.pack("=II", value & mask, mask)
            assert after.type == before.type
            assert after.fixed.hex() == before.fixed.hex()
            assert len(dict(after.attributes)) == len(after.attributes)
            assert dict(after.attributes) == wanted


def test_every_record_is_accounted_for() -> None:
    everything = [
        (record, message)
        for record in REPLIES
        for data, _ in record["datagrams"]
        for message in messages(bytes.fromhex(data))
    ]
    kinds = [take_apart(message).type for _, message in everything]
    assert len({record["id"] for record in REPLIES}) == len(REPLIES) == 1049
    assert len(everything) == 1332
    assert (kinds.count(NEWPOLICY), kinds.count(UPDPOLICY)) == (1257, 75)
    assert {record["id"] for record in REPLIES} >= UNMASKED | SEVEN_TEMPLATES
    assert Counter(record["source"] for record in REPLIES) == {
        "kernel host-6.18": 660,
        "kernel guest-uml-7.2.7": 5,
        "request": 300,
        "hand-built": 84,
    }


@ids(record for record in REPLIES if record["id"] in SEVEN_TEMPLATES)
def test_more_templates_than_the_kernel_has(record: dict[str, Any]) -> None:
    [[data, _]] = record["datagrams"]
    policy = policy_of(bytes.fromhex(data))
    assert [template.reqid for template in policy.templates] == list(range(7))


# --- counts -----------------------------------------------------------------------------------------------


def count_text(info: SpdInfo, statistics: int) -> str:
    lines = [f"\t SPD IN  {info.input} OUT {info.output} FWD {info.forward}"]
    if statistics:
        sockets = (info.socket_input, info.socket_output, info.socket_forward)
        lines[0] += " (Sock: IN {} OUT {} FWD {})".format(*sockets)
    if statistics > 1:
        lines.append(f"\t SPD buckets: count {info.hash_mask} Max {info.hash_limit}")
        for name, local, remote in (
            ("IPv4", info.ipv4_local_bits, info.ipv4_remote_bits),
            ("IPv6", info.ipv6_local_bits, info.ipv6_remote_bits),
        ):
            lines.append(f"\t SPD {name} thresholds: local {local} remote {remote}")
    return "\n".join(lines) + "\n"


@ids(COUNTS)
def test_count(record: dict[str, Any]) -> None:
    sent = bytearray.fromhex(record["sent"])
    sent[8:16] = bytes(8)
    assert encode(Request(Message.GETSPDINFO)) == sent
    assert decode(bytes(sent)) == Request(Message.GETSPDINFO)
    info = decode(bytes.fromhex(record["received"]))
    assert isinstance(info, SpdInfo)
    text = count_text(info, record["argv"].count("-s"))
    assert record["text"] == (text.replace("\n", "\\\n") if "-o" in record["argv"] else text)


def test_every_count_is_accounted_for() -> None:
    assert len({record["id"] for record in COUNTS}) == len(COUNTS) == 18


# --- messages that no kernel sends ------------------------------------------------------------------------

PLAIN = encode(Policy(direction="in"))
"""A message with no attributes."""


def with_size(message: bytes, size: int) -> bytes:
    """The same, with another length in its header."""
    return struct.pack("=I", size) + message[4:]


def with_attributes(*attributes: bytes) -> bytes:
    """PLAIN with attributes, which may be anything."""
    message = PLAIN + b"".join(attributes)
    return with_size(message, len(message))


MALFORMED = {
    "empty": b"",
    "half a header": PLAIN[:15],
    "header only": with_size(PLAIN[:16], 16),
    "a structure cut short": with_size(PLAIN[:183], 183),
    "a length beyond the end": with_size(PLAIN, 188),
    "a length of 0": with_size(PLAIN, 0),
    "bytes behind the message": PLAIN + bytes(4),
    "two messages": PLAIN + PLAIN,
    "an attribute of length 0": with_attributes(struct.pack("=HH", 0, MARK)),
    "an attribute of length 3": with_attributes(struct.pack("=HH", 3, MARK)),
    "an attribute beyond the end": with_attributes(struct.pack("=HH", 13, MARK) + bytes(8)),
    "a second attribute beyond the end": with_attributes(attribute(IF_ID, bytes(4)), struct.pack("=HH", 8, MARK)),
    "a type that is no policy's": PLAIN[:4] + struct.pack("=H", 0x10) + PLAIN[6:],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    with pytest.raises(ProtocolError):
        decode(MALFORMED[name])


ODD_ATTRIBUTES = {
    "unknown": (0x1234, b"what is this"),
    "unknown and empty": (200, b""),
    "mark, too short": (MARK, bytes(4)),
    "mark, too long": (MARK, bytes(12)),
    "if_id, too short": (IF_ID, bytes(2)),
    "policy type, too short": (POLICY_TYPE, b"\1"),
    "templates, none": (TMPL, b""),
    "templates, one and a half": (TMPL, bytes(96)),
    "offload, too short": (OFFLOAD_DEV, bytes(4)),
    "offload to no interface": (OFFLOAD_DEV, struct.pack("=iI", -1, 4)),
    "security context, too short": (SEC_CTX, bytes(4)),
    "security context, longer than it is": (SEC_CTX, struct.pack("=HHBBH", 10, 8, 1, 1, 3) + b"a\0"),
    "security context, shorter than it is": (SEC_CTX, struct.pack("=HHBBH", 10, 8, 1, 1, 1) + b"a\0"),
    "security context of another kind": (SEC_CTX, struct.pack("=HHBBH", 10, 9, 1, 1, 2) + b"a\0"),
    "security context with a NUL inside": (SEC_CTX, struct.pack("=HHBBH", 12, 8, 1, 1, 4) + b"a\0b\0"),
}


@pytest.mark.parametrize("name", ODD_ATTRIBUTES)
def test_odd_attributes_survive(name: str) -> None:
    kind, payload = ODD_ATTRIBUTES[name]
    message = with_attributes(attribute(MARK, struct.pack("=II", 1, 3)), attribute(kind, payload))
    policy = policy_of(message)
    assert policy.attributes == (Attribute(kind, payload),)
    assert policy.mark == Mark(1, 3)
    assert policy.templates == ()
    assert policy.policy_type.name == "MAIN"
    assert (policy.if_id, policy.offload, policy.security_context) == (None, None, None)
    assert encode(policy) == message


def test_of_two_attributes_of_a_kind_the_last_counts() -> None:
    first, second = (attribute(IF_ID, struct.pack("=I", number)) for number in (1, 2))
    assert policy_of(with_attributes(first, second)).if_id == 2
    assert encode(policy_of(with_attributes(first, second))) == with_attributes(second)


def test_attributes_with_flags_in_their_type() -> None:
    flagged = attribute(0x8000 | IF_ID, struct.pack("=I", 5))
    assert policy_of(with_attributes(flagged)).if_id == 5


def test_bytes_too_few_for_an_attribute() -> None:
    assert policy_of(with_attributes(b"\1\2\3")) == Policy(direction="in")


def samples() -> list[bytes]:
    """Each different message in the records."""
    datagrams = [data for record in REPLIES for data, _ in record["datagrams"]]
    datagrams += [data for record in records("requests") for data in record["sent"]]
    datagrams += [record["received"] for record in COUNTS]
    return sorted({message for data in datagrams for message in messages(bytes.fromhex(data))})


def use(message: bytes) -> bool:
    """Whether a message can be decoded. If so, everything that comes out of it must be of use."""
    try:
        value = decode(message)
    except ProtocolError:
        return False
    assert repr(value)
    assert pickle.loads(pickle.dumps(value)) == value
    if isinstance(value, Policy):
        assert [getattr(value, field.name) for field in fields(value)]
        assert value.id.direction == value.direction
    if not isinstance(value, SpdInfo):
        assert decode(encode(value)) == value
    return True


def test_cut_anywhere() -> None:
    longest = max(samples(), key=len)
    good = [size for size in range(len(longest) + 1) if use(with_size(longest[:size], size))]
    # Between attributes, and up to 3 bytes behind one, which can't begin another.
    ends = {184}
    for kind, payload in take_apart(longest).attributes:
        ends.add(max(ends) + len(attribute(kind, payload)))
    assert good == sorted(end + more for end in ends for more in range(4) if end + more <= len(longest))


def _cut(message: bytearray, chance: random.Random) -> None:
    del message[chance.randint(0, len(message)) :]


def _change_a_byte(message: bytearray, chance: random.Random) -> None:
    if message:
        message[chance.randrange(len(message))] = chance.randrange(256)


def _change_a_length(message: bytearray, chance: random.Random) -> None:
    if len(message) > 188:
        message[chance.randrange(184, len(message), 4)] = chance.choice((0, 1, 3, 4, 5, 8, 12, 16, 68, 255))


def _change_the_size(message: bytearray, chance: random.Random) -> None:
    message[:2] = struct.pack("=H", chance.choice((len(message), chance.randrange(400))))


CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _cut,
    _change_a_byte,
    _change_a_byte,
    _change_a_length,
    _change_a_length,
    _change_the_size,
)


def test_random_damage() -> None:
    chance = random.Random(20261123)
    intact = samples()
    outcomes = []
    for _ in range(20000):
        message = bytearray(chance.choice(intact))
        for _ in range(chance.randint(1, 3)):
            chance.choice(CHANGES)(message, chance)
        outcomes.append(use(bytes(message)))
    # Both must happen, or the test shows nothing.
    assert 5000 < sum(outcomes) < 15000

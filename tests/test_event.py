# SPDX-License-Identifier: MIT
"""The messages by which the kernel tells what happened, to the byte, through both codecs."""

from __future__ import annotations

import struct

from by_hand import (
    COADDR,
    CODECS,
    HERE,
    HERE6,
    ID,
    IF_ID,
    MARK,
    POLICY,
    POLICY_TYPE,
    REPLAY_ESN_VAL,
    REPLAY_VAL,
    SA,
    SA_PCPU,
    THERE,
    THERE6,
    TMPL,
    addr,
    attribute,
    both_ways,
    esn,
    expected_event,
    header,
    message,
    named,
    selector,
    state,
    userpolicy,
    usersa,
)

from xfrm_ext import (
    Acquire,
    AsyncEvent,
    Family,
    Mapping,
    Mark,
    Message,
    Policy,
    PolicyExpired,
    Protocol,
    ReplayState,
    Report,
    Request,
    Selector,
    StateExpired,
    StateId,
    Template,
)
from xfrm_ext.codec import native, pure


def test_expired_states() -> None:
    mark = attribute(MARK, struct.pack("=II", 1, 1))
    for hard in (False, True):
        fixed = usersa() + struct.pack("=B7x", hard)
        assert len(fixed) == 232
        expected_event(0x18, StateExpired(state(mark=Mark(1, 1)), hard), fixed, mark)


def test_flushes() -> None:
    both_ways(Request(Message.FLUSHSA), message(0x1C, b"\0"), request=Request(Message.FLUSHSA))
    both_ways(
        Request(Message.FLUSHSA, Protocol.AH),
        message(0x1C, b"\x33"),
        request=Request(Message.FLUSHSA, Protocol.AH),
    )
    for codec in CODECS:  # without padding, as the kernel sends it
        assert codec.decode(header(0x1C, 1) + b"\x32") == Request(Message.FLUSHSA, Protocol.ESP)


def test_deletions_in_events() -> None:
    """The state as it was stands in an attribute behind its name, the policy with a type of 6 bytes."""
    told = message(
        0x11,
        named(),
        attribute(SA, usersa(reqid=5)),
        attribute(REPLAY_VAL, struct.pack("=III", 1, 2, 3)),
    )
    wanted = state(reqid=5, replay=ReplayState(1, 2, 3))
    for codec in CODECS:
        assert codec.decode(told) == Request(Message.DELSA, wanted)
    policy = userpolicy(direction=1)
    told = message(
        0x14,
        selector(2) + struct.pack("=IB3x", 9, 1),
        attribute(POLICY, policy),
        attribute(POLICY_TYPE, b"\1" + bytes(5)),
        attribute(IF_ID, struct.pack("=I", 7)),
    )
    for codec in CODECS:
        wanted_policy = Policy(direction="out", policy_type="sub", if_id=7)
        assert codec.decode(told) == Request(Message.DELPOLICY, wanted_policy)


def test_expired_policies() -> None:
    fixed = userpolicy(direction=1, priority=5) + struct.pack("=B7x", 1)
    assert len(fixed) == 176
    value = PolicyExpired(Policy(direction="out", priority=5, if_id=7), True)
    expected_event(0x1B, value, fixed, attribute(IF_ID, struct.pack("=I", 7)))


def test_acquires() -> None:
    """An IPv4 packet into an IPv6 tunnel: the addresses are of the template's family."""
    packet = addr("10.0.0.2") + addr("10.0.0.1")
    packet += struct.pack(">HHHH", 99, 0xFFFF, 49698, 0xFFFF) + struct.pack("=HBBB3xiI", 2, 32, 32, 17, 0, 0)
    policy = userpolicy(direction=1)
    fixed = addr(THERE6) + bytes(4) + struct.pack("=B3x", 50) + addr(HERE6) + packet + policy
    fixed += struct.pack("=IIII", 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 77)
    assert len(fixed) == 280
    template = addr(THERE6) + bytes(4) + struct.pack("=B3xH2x", 50, 10) + addr(HERE6)
    template += struct.pack("=IBBBxIII", 9, 1, 0, 0, *[0xFFFFFFFF] * 3)
    value = Acquire(
        source=HERE6,
        destination=THERE6,
        protocol=Protocol.ESP,
        selector=Selector("10.0.0.1/32", "10.0.0.2/32", protocol="udp", source_port=49698, destination_port=99),
        policy=Policy(direction="out", templates=Template(HERE6, THERE6, mode="tunnel", reqid=9)),
        sequence=77,
        ealgos=0xFFFFFFFE,
        calgos=0xFFFFFFFD,
        cpu=3,
    )
    assert (value.family, value.reqid) == (Family.INET6, 9)
    expected_event(0x17, value, fixed, attribute(TMPL, template), attribute(SA_PCPU, struct.pack("=I", 3)))


def test_async_events() -> None:
    fixed = named() + addr(HERE) + struct.pack("=II", 0x10 | 2, 5)
    assert len(fixed) == 48
    value = AsyncEvent(
        StateId(THERE, 0x01020304, source=HERE),
        reqid=5,
        flags=["replay_event", "replay_value"],
        replay=ReplayState(1, 2, 3),
    )
    expected_event(0x1E, value, fixed, attribute(REPLAY_VAL, struct.pack("=III", 1, 2, 3)))
    long = AsyncEvent(value.id, reqid=5, flags=value.flags, replay=ReplayState(2**32, 2), replay_window=64)
    expected_event(0x1E, long, fixed, attribute(REPLAY_ESN_VAL, esn(2, 2**32, 2, 64, bytes(8))))


def test_reports() -> None:
    fixed = struct.pack("=B3x", 60) + selector(10, HERE6, THERE6, (128, 128))
    assert len(fixed) == 60
    value = Report(Protocol.HAO, Selector(HERE6, THERE6), "2001:db8::9")
    expected_event(0x20, value, fixed, attribute(COADDR, addr("2001:db8::9")))


def test_mappings() -> None:
    fixed = named() + struct.pack("=I", 5) + addr(HERE) + addr("203.0.113.1") + struct.pack(">HH", 4500, 0x1234)
    assert len(fixed) == 64
    expected_event(0x26, Mapping(ID, 5, HERE, 4500, "203.0.113.1", 0x1234), fixed)


def test_an_acquire_is_of_the_template_with_its_addresses() -> None:
    """Of two nested tunnels the outer one has its state already; the packet waits for that of the inner one."""
    outer = Template("192.0.2.1", "192.0.2.2", mode="tunnel", reqid=1)
    inner = Template("2001:db8::1", "2001:db8::2", mode="tunnel", reqid=2)
    plain = Template(reqid=3)
    for templates in ((outer, inner), (inner, outer)):
        policy = Policy(direction="out", templates=templates)
        for template in templates:
            acquire = Acquire(
                source=template.source,
                destination=template.destination,
                protocol=Protocol.ESP,
                selector=Selector("10.0.0.1", "10.0.0.2"),
                policy=policy,
                sequence=5,
            )
            for codec in (native, pure):
                again = codec.decode(codec.encode(acquire))
                assert isinstance(again, Acquire)
                assert (again.source, again.family, again.reqid) == (
                    template.source,
                    template.family,
                    template.reqid,
                )
    # A template without addresses takes those of the packet.
    between = Acquire(
        source="10.0.0.1",
        destination="10.0.0.2",
        protocol=Protocol.ESP,
        selector=Selector("10.0.0.1", "10.0.0.2"),
        policy=Policy(direction="out", templates=[plain]),
        sequence=5,
    )
    assert (between.reqid, between.family) == (3, Family.INET)

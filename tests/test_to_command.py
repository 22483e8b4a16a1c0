# SPDX-License-Identifier: MIT
"""Lines that recreate policies and states: read again, they are the same; what none can say is refused by name."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import (
    AEADS,
    IPTFS,
    LIFETIMES,
    REAL_MARKS,
    U16,
    U32,
    V4,
    V6,
    encapsulations,
    policies,
    prefixes,
    states,
)
from vectors import messages, recorded, records, take_apart

from xfrm_ext import Policy, Selector, State, Template, ValidationError, codec
from xfrm_ext.algorithm import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm_ext.attribute import Attribute, Offload, SecurityContext
from xfrm_ext.constants import Family, Level, Message, Mode, StateDirection
from xfrm_ext.encapsulation import Encapsulation
from xfrm_ext.iproute2 import encode, to_command
from xfrm_ext.iproute2.as_command import HIDDEN_KEY
from xfrm_ext.iptfs import IpTfs
from xfrm_ext.lifetime import UNUSED, LifetimeConfig, LifetimeCurrent
from xfrm_ext.mark import Mark
from xfrm_ext.replay import ReplayState
from xfrm_ext.state import NO_STATISTICS

CODEC = codec.select()
KEY = "00112233445566778899aabbccddeeff00112233"
GCM = AeadAlgorithm("rfc4106(gcm(aes))", KEY)


def interface_name(index: int) -> str:
    return "lo" if index == 1 else f"if{index}"


def interface_index(name: str) -> int:
    return 1 if name == "lo" else int(name.removeprefix("if"))


def line_of(value: Any, **options: Any) -> str:
    return to_command(value, show_keys=True, interface_name=interface_name, **options)


def read(line: str) -> Any:
    """What the line says to the kernel, decoded."""
    [message] = encode(shlex.split(line), interface_index=interface_index)
    return CODEC.decode(message)


def sent(value: Any) -> Any:
    """A policy or state without what the kernel alone fills in, as the NUL that it puts behind a label."""
    context = value.security_context
    if context is not None and context.terminated == 2:
        value = replace(value, security_context=replace(context, terminated=1))
    if isinstance(value, Policy):
        return replace(value, current=UNUSED)
    replay = None if value.replay == ReplayState() else value.replay
    return replace(value, current=UNUSED, statistics=NO_STATISTICS, last_used=None, replay=replay)


# --- what `ip` can say ------------------------------------------------------------------------------------


def test_vectors() -> None:
    """What `ip` sent for a line has a line; but for an offload of 6.1.0, which tells no direction besides."""
    seen: Counter[str] = Counter()
    for record in [*records("requests"), *records("other_requests")]:
        for datagram in recorded(record):
            for message in messages(datagram):
                kind = take_apart(message).type
                if kind not in (Message.NEWPOLICY, Message.UPDPOLICY, Message.NEWSA, Message.UPDSA):
                    continue
                value = CODEC.decode(message)
                operation = "add" if kind in (Message.NEWPOLICY, Message.NEWSA) else "update"
                if record["id"].startswith("state-add-offload-") and record["id"].endswith("@6.1.0"):
                    with pytest.raises(ValidationError, match=r"State\.direction"):
                        line_of(value)
                    continue
                line = line_of(value, operation=operation)
                [again] = encode(shlex.split(line), interface_index=interface_index)
                assert take_apart(again).type == kind
                assert CODEC.decode(again) == value, record["id"]
                if isinstance(value, Policy):
                    assert bytes(again)[6:] == bytes(CODEC.encode(value))[6:]
                seen[Message(kind).name] += 1
    assert all(seen[name] > 20 for name in ("NEWPOLICY", "UPDPOLICY", "NEWSA", "UPDSA")), seen


def test_replies() -> None:
    """What kernels told of policies and states has a line too, or a field that says why not."""
    seen: Counter[str] = Counter()
    for record in [*records("replies"), *records("other_replies")]:
        if not record["source"].startswith("kernel"):
            continue
        for datagram, *_ in record["datagrams"]:
            for message in messages(bytes.fromhex(datagram)):
                if take_apart(message).type not in (Message.NEWPOLICY, Message.NEWSA):
                    continue
                value = CODEC.decode(message)
                try:
                    line = line_of(value)
                except ValidationError as error:
                    seen[error.field] += 1
                    continue
                assert read(line) == sent(value), record["id"]
                seen["said"] += 1
    print(seen)
    assert seen.pop("said") > 2000
    # Policies of sockets, states that wait for their keys, and those that IPComp makes.
    assert set(seen) == {"Policy.direction", "State.selector.family", "State.protocol"}


@given(policies())
@example(Policy(direction="in"))
@example(Policy(Selector("10.0.0.0/8", protocol=1, icmp_type=0), direction="out"))
@example(Policy(Selector(protocol="gre", gre_key=0), direction="out"))
@example(Policy(direction="fwd", if_id=0, mark=Mark(0, 1), offload=Offload(1, "packet"), flags=0xF0))
@example(
    Policy(direction="out", templates=[Template("2001:db8::1", "2001:db8::2", level="use", mode="in_trigger")])
)
def test_policies(policy: Policy) -> None:
    """Any policy: the same bytes, or an error."""
    try:
        line = line_of(policy)
    except ValidationError:
        return
    [again] = encode(shlex.split(line), interface_index=interface_index)
    assert bytes(again) == bytes(CODEC.encode(sent(policy)))


@given(states())
def test_any_state(state: State) -> None:
    try:
        line = line_of(state)
    except ValidationError:
        return
    assert read(line) == sent(state)


@st.composite
def plain_states(draw: st.DrawFn) -> State:
    """States that lines can describe."""
    family = draw(st.sampled_from([Family.INET, Family.INET6]))
    direction = draw(st.none() | st.sampled_from(StateDirection))
    flags = draw(st.integers(0, 127))
    window = draw(st.integers(0, 4096))
    if window and draw(st.booleans()):
        flags |= 128  # esn
    long = flags & 128 or window > 32
    number = st.integers(0, 2**64 - 1) if long else U32
    version = draw(st.sampled_from([4, 6]))
    offload = None
    if direction is not None:
        inbound = 2 if direction == StateDirection.IN else 0
        offload = draw(st.none() | st.builds(Offload, st.integers(1, 9), st.sampled_from([inbound, 4 | inbound])))
    optional = st.none() | U32
    return State(
        draw(st.none() | (V4 if family == Family.INET else V6)),
        draw(st.none() | (V4 if family == Family.INET else V6)),
        spi=draw(U32),
        mode=draw(st.sampled_from(["transport", "tunnel", "beet"])),
        reqid=draw(U32),
        selector=draw(
            st.none()
            | st.builds(
                Selector,
                prefixes(version),
                prefixes(version),
                protocol=st.sampled_from([0, 6, 17]),
                source_port=U16,
            )
        ),
        aead=draw(AEADS),
        encapsulation=draw(st.none() | encapsulations(family)),
        replay_window=window,
        replay=draw(st.none() | st.builds(ReplayState, number, number)),
        flags=flags,
        extra_flags=draw(U32),
        lifetime=draw(st.none() | LIFETIMES),
        sequence=draw(U32),
        mark=draw(st.none() | REAL_MARKS),
        output_mark=draw(st.none() | REAL_MARKS.filter(lambda mark: mark.value != 0)),
        if_id=draw(optional),
        offload=offload,
        direction=direction,
        cpu=draw(st.none() | st.integers(0, 2**32 - 2)),
        nat_keepalive_interval=draw(optional),
        mapping_timer_threshold=draw(optional),
        traffic_flow_padding=draw(st.none() | st.integers(1, 2**32 - 1)),
        security_context=draw(st.none() | st.builds(SecurityContext, st.text("aé '\"#:", min_size=1, max_size=9))),
        family=family,
    )


@given(plain_states())
def test_states(state: State) -> None:
    assert read(line_of(state)) == sent(state)


@given(IPTFS, st.sampled_from(StateDirection))
def test_ip_tfs(iptfs: IpTfs, direction: StateDirection) -> None:
    state = State("192.0.2.1", "192.0.2.2", spi=1, mode="iptfs", direction=direction, aead=GCM, iptfs=iptfs)
    assert read(line_of(state)) == state


@pytest.mark.parametrize(
    "fields",
    [
        {"encryption": Algorithm("cbc(aes)", KEY[:32]), "authentication": AuthAlgorithm("hmac(sha256)", bytes(32))},
        {"encryption": Algorithm("ecb(cipher_null)"), "authentication": AuthAlgorithm("digest_null", icv_bits=0)},
        {"protocol": "ah", "authentication": AuthAlgorithm("hmac(md5)", bytes(16), 0)},
        {"protocol": "comp", "compression": Algorithm("deflate")},
        {"protocol": "route2", "spi": 0, "mode": "ro", "care_of_address": "192.0.2.9"},
        {"aead": GCM, "encapsulation": Encapsulation("espinudp", 4500, 4501, "192.0.2.9")},
        {"aead": GCM, "encapsulation": Encapsulation("espintcp", 4500, 4501)},
    ],
)
def test_kinds_of_states(fields: dict[str, Any]) -> None:
    state = State("192.0.2.1", "192.0.2.2", **{"spi": 0x100, **fields})
    assert read(line_of(state)) == state


def test_text() -> None:
    policy = Policy(
        Selector("10.0.0.0/8", protocol="tcp", destination_port=80),
        direction="out",
        priority=7,
        security_context="system u",
        templates=[Template("192.0.2.1", "192.0.2.2", mode="tunnel", reqid=1)],
    )
    assert line_of(policy, operation="update") == (
        "xfrm policy update src 10.0.0.0/8 dst 0.0.0.0/0 proto tcp dport 80 dir out ctx 'system u' priority 7"
        " tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel"
    )


# --- what it can't ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (Policy(direction="in", share="user"), "Policy.share"),
        (Policy(direction="in", attributes=[Attribute(60, b"x")]), "Policy.attributes"),
        (Policy(direction="in", offload=Offload(1, "inbound")), "Policy.offload.flags"),
        (Policy(direction="in", security_context=SecurityContext("x", 2)), "Policy.security_context"),
        (Policy(Selector(user=1), direction="in"), "Policy.selector.user"),
        (Policy(Selector(family=0), direction="in"), "Policy.selector.family"),
        (
            Policy(Selector(protocol="tcp", source_port=8, source_port_mask=8), direction="in"),
            "Policy.selector.source_port_mask",
        ),
        (Policy(Selector(protocol="esp", source_port=8), direction="in"), "Policy.selector.source_port"),
        (
            Policy(Selector(protocol="icmp", destination_port=256), direction="in"),
            "Policy.selector.destination_port",
        ),
        (Policy(direction="in", templates=[Template("192.0.2.1", share="user")]), "Policy.templates[0].share"),
        (Policy(direction="in", templates=[Template("192.0.2.1", ealgos=1)]), "Policy.templates[0].ealgos"),
        (Policy(direction="in", templates=[Template("192.0.2.1", mode=Mode(9))]), "Policy.templates[0].mode"),
        (Policy(direction="in", templates=[Template("192.0.2.1", level=Level(3))]), "Policy.templates[0].level"),
        (State(spi=1, aead=GCM, attributes=[Attribute(60, b"x")]), "State.attributes"),
        (State(spi=1, aead=GCM, lifetime_value=UNUSED), "State.lifetime_value"),
        (State(spi=1, aead=GCM, replay_threshold=1), "State.replay_threshold"),
        (State(spi=1, aead=GCM, replay=ReplayState(0, 9, 1)), "State.replay.bitmap"),
        (State(spi=1, aead=GCM, traffic_flow_padding=0), "State.traffic_flow_padding"),
        (State(spi=1, aead=GCM, output_mark=Mark(0, 1)), "State.output_mark"),
        (State(spi=1, aead=GCM, mode=Mode(9)), "State.mode"),
        (State(spi=1, aead=GCM, offload=Offload(1, 4)), "State.direction"),
        (State(spi=1, aead=AeadAlgorithm("x", bytes(600))), "State.aead.key"),
        (State(spi=1, encryption=Algorithm("x", b"\x80", key_bits=1)), "State.encryption.key_bits"),
        (State(spi=0), "enc or aead"),  # that of an ACQUIRE
    ],
)
def test_refused(value: Policy | State, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        line_of(value)
    assert caught.value.field == field


@pytest.mark.parametrize("value", [None, "policy", LifetimeConfig(), Selector()])
def test_no_policy_and_no_state(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"^value: .* is not a Policy or State$"):
        to_command(value)
    with pytest.raises(ValidationError, match=r"^operation: 'delete' is not add or update$"):
        to_command(Policy(direction="in"), operation="delete")


def test_interfaces_are_those_of_the_caller() -> None:
    assert " dev lo " in to_command(Policy(Selector(interface=1), direction="in"))
    with pytest.raises(ValidationError, match="interface: 1999999999 is the index of no interface here"):
        to_command(Policy(Selector(interface=1999999999), direction="in"))


# --- keys -------------------------------------------------------------------------------------------------


def test_keys_are_hidden() -> None:
    state = State("192.0.2.1", "192.0.2.2", spi=1, aead=GCM)
    line = to_command(state)
    assert KEY not in line
    assert HIDDEN_KEY in shlex.split(line)
    with pytest.raises(ValidationError, match="key"):
        read(line)
    assert KEY in to_command(state, show_keys=True)


def test_ip_does_not_take_a_hidden_key_for_one() -> None:
    ip = shutil.which("ip")
    if ip is None:
        pytest.skip("no ip here")
    line = to_command(State("192.0.2.1", "192.0.2.2", spi=1, aead=GCM))
    done = subprocess.run([ip, *shlex.split(line)], capture_output=True, check=False)
    assert done.returncode == 255
    assert b"ALGO-KEYMAT" in done.stderr


def test_errors_show_no_key() -> None:
    state = State(spi=1, aead=GCM, current=LifetimeCurrent(bytes=1), replay_threshold=1)
    with pytest.raises(ValidationError) as caught:
        to_command(state, show_keys=True)
    assert KEY not in str(caught.value)

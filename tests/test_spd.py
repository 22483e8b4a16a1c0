# SPDX-License-Identifier: MIT
"""session.spd against the real kernel: every field and attribute goes there and comes back."""

from __future__ import annotations

import errno
import pickle
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from xfrm_ext import (
    Action,
    AlreadyExists,
    Attribute,
    ClosedError,
    Direction,
    KernelError,
    Level,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    NotFound,
    Offload,
    Policy,
    PolicyFlag,
    PolicyId,
    PolicyType,
    SecurityContext,
    Selector,
    Session,
    Share,
    Template,
    ValidationError,
)
from xfrm_ext.testing import inside, network_namespace

NETS = Selector("10.1.0.0/16", "10.2.0.0/16")
TUNNEL = Template("192.0.2.1", "198.51.100.2", mode="tunnel", reqid=1)

POLICIES = {
    "any in": Policy(direction="in"),
    "any out": Policy(direction="out"),
    "any forwarded": Policy(direction="fwd"),
    "any IPv6": Policy(Selector(family="inet6"), direction="in"),
    "IPv4 hosts": Policy(Selector("10.1.2.3", "10.2.3.4"), direction="out"),
    "IPv4 nets": Policy(NETS, direction="out"),
    "IPv4 host bits": Policy(Selector("10.1.2.3/16", "10.2.3.4/8", strict=False), direction="out"),
    "IPv6 hosts": Policy(Selector("2001:db8::1", "2001:db8::2"), direction="out"),
    "IPv6 nets": Policy(Selector("2001:db8:1::/48", "2001:db8:2::/47"), direction="fwd"),
    "source only": Policy(Selector("10.1.0.0/16"), direction="in"),
    "destination only": Policy(Selector(None, "2001:db8::/32"), direction="in"),
    "TCP ports": Policy(Selector(protocol="tcp", source_port=1024, destination_port=443), direction="out"),
    "port masks": Policy(
        Selector(
            protocol="udp",
            source_port=0x1200,
            source_port_mask=0xFF00,
            destination_port=0x8000,
            destination_port_mask=0xC000,
        ),
        direction="out",
    ),
    "ICMP type and code": Policy(Selector(protocol="icmp", icmp_type=8, icmp_code=0), direction="out"),
    "ICMPv6 type": Policy(
        Selector("2001:db8::/32", protocol="ipv6-icmp", icmp_type=135), direction="in", action="block"
    ),
    "mobility header type": Policy(
        Selector(family="inet6", protocol=135, icmp_type=5), direction="out", priority=3
    ),
    "GRE key": Policy(Selector(protocol="gre", gre_key=0xDEADBEEF), direction="out"),
    "protocol 255": Policy(Selector(protocol=255), direction="out"),
    "interface lo": Policy(Selector(interface=1), direction="in"),
    "user": Policy(Selector(user=1000), direction="out"),
    "block": Policy(NETS, direction="in", action="block"),
    "priority": Policy(NETS, direction="out", priority=0xFFFFFFFF),
    "index": Policy(NETS, direction="fwd", index=(4000 << 3) | 2),
    "highest index": Policy(NETS, direction="out", index=0xFFFFFFF9),
    "flags": Policy(NETS, direction="out", flags=("localok", "icmp", "cpu_acquire")),
    "all flag bits": Policy(NETS, direction="out", flags=255),
    "mark": Policy(NETS, direction="out", mark=Mark(0x17)),
    "masked mark": Policy(NETS, direction="out", mark=Mark(0xFF, 0x0F)),
    "mark 0": Policy(NETS, direction="out", mark=Mark(0)),
    "if_id": Policy(NETS, direction="out", if_id=7),
    "highest if_id": Policy(NETS, direction="out", if_id=0xFFFFFFFF),
    "sub": Policy(NETS, direction="out", policy_type="sub"),
    "sub, mark and if_id": Policy(
        NETS, direction="in", policy_type="sub", mark=Mark(1, 3), if_id=9, priority=5, templates=TUNNEL
    ),
    "all limits": Policy(
        NETS,
        direction="out",
        lifetime=LifetimeConfig(
            soft_byte_limit=1,
            hard_byte_limit=2**64 - 2,
            soft_packet_limit=3,
            hard_packet_limit=2**63,
            soft_add_expires_seconds=50_000,
            hard_add_expires_seconds=60_000,
            soft_use_expires_seconds=70_000,
            hard_use_expires_seconds=80_000,
        ),
    ),
    "limits of 0": Policy(
        NETS, direction="out", lifetime=LifetimeConfig(soft_byte_limit=0, hard_byte_limit=0, soft_packet_limit=0)
    ),
    "tunnel": Policy(NETS, direction="out", templates=TUNNEL),
    "IPv6 tunnel": Policy(
        Selector("2001:db8:1::/48", "2001:db8:2::/48"),
        direction="out",
        templates=Template("2001:db8::1", "2001:db8::2", mode="tunnel", spi=0x12345678),
    ),
    "IPv4 in IPv6": Policy(NETS, direction="out", templates=Template("2001:db8::1", "2001:db8::2", mode="tunnel")),
    "IPv6 in IPv4": Policy(Selector("2001:db8:1::/48", "2001:db8:2::/48"), direction="out", templates=TUNNEL),
    "tunnel to anywhere": Policy(NETS, direction="in", templates=Template(mode="tunnel")),
    "transport": Policy(NETS, direction="out", templates=Template()),
    "AH": Policy(NETS, direction="out", templates=Template(protocol="ah", reqid=0xFFFFFFFF)),
    "transport and tunnel": Policy(
        NETS,
        direction="out",
        templates=(Template(protocol="comp", level="use"), Template(protocol="ah"), TUNNEL),
    ),
    "AH in IPv6 around ESP in IPv4": Policy(
        NETS,
        direction="out",
        templates=(
            Template("192.0.2.1", "192.0.2.2", mode="tunnel"),
            Template("2001:db8::1", "2001:db8::2", mode="tunnel"),
            Template(protocol="ah"),
        ),
    ),
    "six templates": Policy(
        NETS, direction="fwd", templates=[replace(TUNNEL, reqid=number) for number in range(1, 7)]
    ),
    "beet": Policy(NETS, direction="in", templates=Template("192.0.2.1", "192.0.2.2", mode="beet")),
    "optional tunnel": Policy(NETS, direction="in", templates=replace(TUNNEL, level=Level.USE)),
    "route optimisation": Policy(
        Selector("2001:db8::1", "2001:db8::2"),
        direction="out",
        templates=Template("2001:db8::1", "2001:db8::2", protocol="hao", mode="ro"),
    ),
    "template's share and algorithms": Policy(
        NETS,
        direction="out",
        templates=Template(share="unique", aalgos=1, ealgos=0x80000000, calgos=0),
    ),
}
KERNELS_OWN = {"index", "current"}
"""Fields that the kernel fills in; the index only where none was asked for."""


def compare(sent: Policy, found: Policy) -> None:
    """That a policy came back as it was sent."""
    assert found.index
    assert found.index == (sent.index or found.index)
    assert found.index & 7 == sent.direction
    assert (found.current.bytes, found.current.packets, found.current.use_time) == (0, 0, 0)
    assert found.current.add_time
    for field in fields(Policy):
        if field.name not in KERNELS_OWN:
            assert getattr(found, field.name) == getattr(sent, field.name), field.name
    assert found == replace(sent, index=found.index, current=found.current)
    assert hash(found) == hash(replace(sent, index=found.index, current=found.current))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_field_and_attribute(session: Session, policy: Policy) -> None:
    spd = session.spd
    spd.add(policy)
    found = spd.get(policy)
    compare(policy, found)
    names = {"mark": policy.mark, "if_id": policy.if_id, "policy_type": policy.policy_type}
    assert spd.get(policy.id) == found
    assert spd.get(found) == found
    assert spd.get(policy.selector, policy.direction, **names) == found  # type: ignore[arg-type]
    assert spd.get(index=found.index, direction=policy.direction, **names) == found  # type: ignore[arg-type]
    assert list(spd.dump()) == [found]
    assert spd.count().total == 1

    spd.delete(policy)
    assert list(spd.dump()) == []
    spd.add(found)  # what was read can be sent back
    again = spd.get(policy)
    assert again == replace(found, current=again.current)
    spd.delete(index=again.index, direction=again.direction, **names)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        spd.get(policy)
    spd.update(found)
    spd.delete(policy.selector, policy.direction, **names)  # type: ignore[arg-type]
    assert spd.count().total == 0


def test_all_of_them_together(session: Session) -> None:
    """Those that the kernel can tell apart go in, the dump has them newest first, and each is found again."""
    policies = list({policy.id: replace(policy, index=0) for policy in POLICIES.values()}.values())
    assert len(policies) > 20
    for policy in policies:
        session.spd.add(policy)
    dumped = list(session.spd.dump())
    for policy, found in zip(reversed(policies), dumped, strict=True):
        compare(policy, found)
    info = session.spd.count()
    for way, count in (("in", info.input), ("out", info.output), ("fwd", info.forward)):
        assert count == sum(policy.direction == Direction[way.upper()] for policy in policies) > 0
    assert info.total == len(policies)
    for policy, found in zip(reversed(policies), dumped, strict=True):
        assert session.spd.get(policy) == found
        session.spd.delete(policy)
    assert session.spd.count().total == 0


def test_what_the_kernel_does_not_keep(session: Session) -> None:
    """if_id 0, a mark with mask 0, the share of a policy, what has been used, unknown attributes."""
    sent = Policy(
        NETS,
        direction="out",
        if_id=0,
        mark=Mark(5, 0),
        share="unique",
        current=LifetimeCurrent(bytes=1, packets=2, add_time=3, use_time=4),
        attributes=[Attribute(60, b"abc")],
    )
    session.spd.add(sent)
    found = session.spd.get(sent)
    compare(Policy(NETS, direction="out"), found)
    assert (found.if_id, found.mark, found.share, found.attributes) == (None, None, Share.ANY, ())
    session.spd.delete(Policy(NETS, direction="out"))


def test_an_index_that_is_taken(session: Session) -> None:
    """The kernel picks another one, without a word."""
    session.spd.add(Policy(NETS, direction="out", index=801))
    session.spd.add(Policy(Selector("10.3.0.0/16"), direction="out", index=801))
    assert session.spd.get(Selector("10.3.0.0/16"), "out").index not in (0, 801)
    assert session.spd.get(index=801, direction="out").selector == NETS


# --- errors ---------------------------------------------------------------------------------------------


def test_already_exists(session: Session) -> None:
    session.spd.add(Policy(NETS, direction="out"))
    with pytest.raises(AlreadyExists) as caught:
        session.spd.add(Policy(NETS, direction="out", priority=9, action="block"))
    error = caught.value
    assert isinstance(error, FileExistsError)
    assert (error.errno, error.operation, error.kernel_text, error.index) == (errno.EEXIST, "add policy", "", None)
    assert str(error) == "add policy: File exists [EEXIST]"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.operation) == (AlreadyExists, str(error), "add policy")
    assert session.spd.get(NETS, "out").priority == 0


NOT_THERE = {
    "selector": (NETS, "in", {}),
    "other selector": (Selector("10.1.0.0/17", "10.2.0.0/16"), "out", {}),
    "other family": (Selector(family="inet6"), "out", {}),
    "mark": (NETS, "out", {"mark": Mark(1)}),
    "if_id": (NETS, "out", {"if_id": 1}),
    "type": (NETS, "out", {"policy_type": "sub"}),
    "index": (None, "out", {"index": 9}),
    "index with a mark": (None, "out", {"index": 801, "mark": Mark(1)}),
    "index with an if_id": (None, "out", {"index": 801, "if_id": 1}),
    "index of another type": (None, "out", {"index": 801, "policy_type": "sub"}),
}


@pytest.mark.parametrize(("selector", "direction", "names"), NOT_THERE.values(), ids=NOT_THERE)
def test_not_found(session: Session, selector: Selector | None, direction: str, names: dict[str, object]) -> None:
    session.spd.add(Policy(NETS, direction="out", index=801))
    with pytest.raises(NotFound) as caught:
        session.spd.get(selector, direction, **names)  # type: ignore[arg-type]
    error = caught.value
    assert isinstance(error, LookupError)
    assert isinstance(error, OSError)
    assert (error.errno, error.operation) == (errno.ENOENT, "get policy")
    with pytest.raises(NotFound) as caught:
        session.spd.delete(selector, direction, **names)  # type: ignore[arg-type]
    assert str(caught.value) == "delete policy: No such file or directory [ENOENT]"
    assert session.spd.count().total == 1


REFUSED = {
    "optional tunnel out": (
        Policy(NETS, direction="out", templates=replace(TUNNEL, level=Level.USE)),
        "Mode in optional template not allowed in outbound policy",
    ),
    "transport to another family": (
        Policy(NETS, direction="out", templates=Template(family="inet6")),
        "Mode in template doesn't support a family change",
    ),
    "any IPsec protocol": (
        Policy(NETS, direction="out", templates=Template(protocol="ipsec-any")),
        "Invalid XFRM protocol in template",
    ),
}


@pytest.mark.parametrize(("policy", "text"), REFUSED.values(), ids=REFUSED)
def test_refusals(session: Session, policy: Policy, text: str) -> None:
    with pytest.raises(KernelError) as caught:
        session.spd.add(policy)
    assert str(caught.value) == f"add policy: Invalid argument [EINVAL]: {text}"
    with pytest.raises(KernelError) as caught:
        session.spd.update(policy)
    error = caught.value
    assert (error.errno, error.operation, error.kernel_text) == (errno.EINVAL, "update policy", text)
    assert session.spd.count().total == 0


def test_a_refused_attribute_is_named(session: Session) -> None:
    with pytest.raises(KernelError) as caught:
        session.spd.add(Policy(NETS, direction="out", mark=Mark(1), attributes=[Attribute(13, b"abcd")]))
    error = caught.value
    assert (error.errno, error.attribute) == (errno.ERANGE, "XFRMA_SRCADDR")
    assert str(error).endswith("[ERANGE]: Attribute failed policy validation (XFRMA_SRCADDR)")


def try_to_add(session: Session, policy: Policy) -> KernelError | None:
    """What the kernel has against a policy."""
    try:
        session.spd.add(policy)
    except KernelError as error:
        return error
    return None


@pytest.mark.parametrize("algorithm", [1, 9])
def test_a_security_context(session: Session, algorithm: int) -> None:
    """A kernel without SELinux takes one and forgets it; with SELinux it refuses one that it does not know."""
    label = SecurityContext("no_such_user:no_such_role:no_such_type:s0", algorithm=algorithm)
    policy = Policy(NETS, direction="out", security_context=label)
    refusal = try_to_add(session, policy)
    if refusal is not None:
        assert refusal.errno in (errno.EINVAL, errno.EACCES)
        assert (refusal.operation, refusal.attribute) == ("add policy", None)
        assert session.spd.count().total == 0
        return
    compare(replace(policy, security_context=None), session.spd.get(policy))
    with pytest.raises(AlreadyExists):
        session.spd.add(replace(policy, security_context=None))
    session.spd.delete(policy)
    assert session.spd.count().total == 0


@pytest.mark.parametrize(("interface", "flags"), [(1, 4), (1, 0), (9999, 4)])
def test_an_offload(session: Session, interface: int, flags: int) -> None:
    """Kernels built without XFRM_OFFLOAD take one and forget it; the others refuse what no device can do."""
    policy = Policy(NETS, direction="out", offload=Offload(interface, flags))
    refusal = try_to_add(session, policy)
    if refusal is not None:
        assert refusal.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV)
        assert refusal.operation == "add policy"
        assert session.spd.count().total == 0
        return
    compare(replace(policy, offload=None), session.spd.get(policy))
    session.spd.delete(policy)
    assert session.spd.count().total == 0


def test_a_closed_session(namespace: int) -> None:
    with Session(namespace) as session:
        session.spd.add(Policy(direction="in"))
    session.close()
    policy = Policy(direction="out")
    for act in (
        lambda: session.spd.add(policy),
        lambda: session.spd.update(policy),
        lambda: session.spd.get(policy),
        lambda: session.spd.delete(policy),
        lambda: list(session.spd.dump()),
        lambda: session.spd.flush(),
        lambda: session.spd.count(),
        lambda: session.spd.load([policy]),
    ):
        with pytest.raises(ClosedError, match="closed"):
            act()


@pytest.mark.parametrize("netns", ["no such namespace", "/proc/no/such/file", Path("/proc/no/such/file")])
def test_a_namespace_that_is_not_there(netns: str | Path) -> None:
    with pytest.raises(ValidationError, match="No such file or directory"):
        Session(netns)


# --- update, dump, flush --------------------------------------------------------------------------------


def test_update_replaces(session: Session) -> None:
    old = Policy(NETS, direction="out", priority=5, templates=TUNNEL)
    session.spd.add(old)
    index = session.spd.get(old).index
    new = Policy(
        NETS,
        direction="out",
        priority=6,
        action="block",
        flags="icmp",
        lifetime=LifetimeConfig(hard_packet_limit=5),
    )
    session.spd.update(new)
    found = session.spd.get(old)
    compare(new, found)
    assert (found.priority, found.action, found.templates) == (6, Action.BLOCK, ())
    assert found.flags == PolicyFlag.ICMP
    assert found.index == index
    assert session.spd.count().total == 1


def test_update_adds_what_is_missing(session: Session) -> None:
    policy = Policy(NETS, direction="out", mark=Mark(3))
    session.spd.update(policy)
    compare(policy, session.spd.get(policy))


def test_update_touches_no_other(session: Session) -> None:
    others = [
        Policy(NETS, direction="in"),
        Policy(NETS, direction="out", mark=Mark(1)),
        Policy(NETS, direction="out", if_id=1),
        Policy(NETS, direction="out", policy_type="sub"),
        Policy(Selector("10.1.0.0/17", "10.2.0.0/16"), direction="out"),
    ]
    for other in others:
        session.spd.add(other)
    before = [session.spd.get(other) for other in others]
    session.spd.update(Policy(NETS, direction="out", priority=1))
    session.spd.update(Policy(NETS, direction="out", priority=2))
    assert [session.spd.get(other) for other in others] == before
    assert session.spd.count().total == len(others) + 1


def hosts(count: int, direction: str = "out") -> Iterator[Policy]:
    for number in range(count):
        address = socket.inet_ntoa((0x0A000000 + number).to_bytes(4, "big"))
        yield Policy(Selector(address), direction=direction, priority=number)


def test_delete_while_iterating(session: Session) -> None:
    for policy in hosts(2000):
        session.spd.add(policy)
    seen = []
    for policy in session.spd.dump():
        session.spd.delete(policy)
        seen.append(policy.priority)
    assert sorted(seen) == list(range(2000))
    assert session.spd.count().total == 0


def test_add_while_iterating(session: Session) -> None:
    for policy in hosts(1000):
        session.spd.add(policy)
    seen = []
    for policy in session.spd.dump():
        session.spd.add(replace(policy, direction=Direction.IN, index=0))
        if policy.direction == Direction.OUT:
            seen.append(policy.priority)
    assert sorted(seen) == list(range(1000))
    info = session.spd.count()
    assert (info.input, info.output) == (1000, 1000)


def test_two_dumps_at_once(session: Session) -> None:
    for policy in hosts(1000):
        session.spd.add(policy)
    pairs = list(zip(session.spd.dump(), session.spd.dump(), strict=True))
    assert len(pairs) == 1000
    assert all(one == other for one, other in pairs)


def test_a_dump_that_is_not_read_to_its_end(session: Session) -> None:
    for policy in hosts(1000):
        session.spd.add(policy)
    for _ in range(20):
        dump = session.spd.dump()
        assert next(dump).priority == 999
        session.spd.update(Policy(NETS, direction="out", priority=999))
        del dump
    assert len(list(session.spd.dump())) == 1001


def test_dump_of_nothing(session: Session) -> None:
    assert list(session.spd.dump()) == []


def test_two_namespaces(namespace: int) -> None:
    with network_namespace() as other, Session(namespace) as one, Session(other) as two:
        one.spd.add(Policy(NETS, direction="out", priority=1))
        assert two.spd.count().total == 0
        with pytest.raises(NotFound):
            two.spd.get(NETS, "out")
        two.spd.add(Policy(NETS, direction="out", priority=2))
        assert [policy.priority for policy in one.spd.dump()] == [1]
        assert [policy.priority for policy in two.spd.dump()] == [2]
        two.spd.flush()
        assert (one.spd.count().total, two.spd.count().total) == (1, 0)


def test_a_session_of_the_thread_s_own_namespace(namespace: int) -> None:
    with inside(namespace), Session() as there:
        there.spd.add(Policy(NETS, direction="out"))
    with Session(namespace) as session:
        assert session.spd.count().total == 1


def test_flush(session: Session) -> None:
    main = [Policy(direction="in"), Policy(NETS, direction="out", mark=Mark(1), if_id=2), Policy(direction="fwd")]
    sub = [Policy(direction="in", policy_type="sub"), Policy(NETS, direction="fwd", policy_type="sub")]
    for policy in main + sub:
        session.spd.add(policy)
    session.spd.flush()
    assert [policy.id for policy in session.spd.dump()] == [policy.id for policy in reversed(sub)]
    session.spd.flush()
    assert session.spd.count().total == 2
    session.spd.flush("sub")
    assert session.spd.count().total == 0
    for policy in main + sub:
        session.spd.add(policy)
    session.spd.flush(PolicyType.SUB)
    assert [policy.id for policy in session.spd.dump()] == [policy.id for policy in reversed(main)]
    session.spd.flush("main")
    session.spd.flush()
    assert session.spd.count().total == 0


def test_count(session: Session) -> None:
    assert session.spd.count().total == 0
    for way, count in (("in", 3), ("out", 5), ("fwd", 7)):
        for policy in hosts(count, way):
            session.spd.add(policy)
    session.spd.add(Policy(direction="in", policy_type="sub"))
    info = session.spd.count()
    assert (info.input, info.output, info.forward, info.total) == (4, 5, 7, 16)
    assert (info.socket_input, info.socket_output, info.socket_forward) == (0, 0, 0)
    assert info.hash_mask & (info.hash_mask + 1) == 0
    assert (info.ipv4_local_bits, info.ipv4_remote_bits) == (32, 32)
    assert (info.ipv6_local_bits, info.ipv6_remote_bits) == (128, 128)


def test_policies_of_sockets(session: Session, namespace: int) -> None:
    """They are counted on their own, and dumped with directions 3 and 4; no session can delete them."""
    with inside(namespace):
        carrier = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with carrier:
        selector = struct.pack("=32x8xHBBB3x8x", socket.AF_INET, 0, 0, 0)
        info = selector + struct.pack("=8Q32xIIBBBB4x", *[2**64 - 1] * 4, *[0] * 4, 77, 0, 1, 0, 0, 0)
        carrier.setsockopt(socket.IPPROTO_IP, 17, info)  # IP_XFRM_POLICY
        counted = session.spd.count()
        assert (counted.total, counted.socket_output) == (0, 1)
        found = list(session.spd.dump())
        assert [(policy.direction, policy.priority) for policy in found] == [(4, 77)]
        assert found[0].index & 7 == 4
        assert "direction=Direction(4)" in repr(found[0])
        with pytest.raises(KernelError, match="Invalid policy direction"):
            session.spd.delete(index=found[0].index, direction=found[0].direction)


# --- names of policies ----------------------------------------------------------------------------------


def test_policies_that_differ_in_one_name_only(session: Session) -> None:
    """Selector, direction, type, mark and if_id tell policies apart; each is found, and only it is deleted."""
    family = [
        Policy(NETS, direction="out"),
        Policy(NETS, direction="in"),
        Policy(NETS, direction="fwd"),
        Policy(NETS, direction="out", policy_type="sub"),
        Policy(NETS, direction="out", mark=Mark(1)),
        Policy(NETS, direction="out", mark=Mark(1, 1)),
        Policy(NETS, direction="out", mark=Mark(0)),
        Policy(NETS, direction="out", if_id=1),
        Policy(NETS, direction="out", if_id=1, mark=Mark(1)),
        Policy(Selector("10.1.0.0/16", "10.2.0.0/16", protocol="tcp"), direction="out"),
        Policy(Selector("10.1.0.0/16", "10.2.0.0/16", interface=1), direction="out"),
        Policy(Selector("10.1.0.0/16", "10.2.0.0/15"), direction="out"),
    ]
    family = [replace(policy, priority=number) for number, policy in enumerate(family)]
    for policy in family:
        session.spd.add(policy)
    for policy in family:
        assert session.spd.get(policy).priority == policy.priority
    for number, policy in enumerate(family):
        session.spd.delete(policy)
        left = sorted(policy.priority for policy in session.spd.dump())
        assert left == list(range(number + 1, len(family)))


def test_a_policy_id_from_elsewhere(session: Session) -> None:
    policy = Policy(NETS, direction="out", mark=Mark(0xFF, 0x0F), if_id=3)
    session.spd.add(policy)
    named = PolicyId(NETS, direction="out", mark=Mark(0x0F, 0x0F), if_id=3)
    assert policy.id == named
    compare(policy, session.spd.get(pickle.loads(pickle.dumps(named))))
    session.spd.delete(named)
    assert session.spd.count().total == 0


# --- threads --------------------------------------------------------------------------------------------


def test_threads_share_a_session(session: Session) -> None:
    threads, each = 8, 100
    problems: list[BaseException] = []
    start = threading.Barrier(threads)

    def work(number: int) -> None:
        try:
            start.wait(30)
            mine = [
                Policy(Selector(f"10.{number}.0.{i}"), direction="out", priority=number * each + i)
                for i in range(each)
            ]
            for i, policy in enumerate(mine):
                session.spd.add(policy)
                compare(policy, session.spd.get(policy))
                with pytest.raises(AlreadyExists):
                    session.spd.add(policy)
                if i % 2:
                    session.spd.delete(policy)
                    with pytest.raises(NotFound):
                        session.spd.get(policy)
                if i % 25 == 0:
                    found = {policy.priority for policy in session.spd.dump()}
                    assert {one.priority for one in mine[:i:2]} <= found
            result = session.spd.load([replace(policy, direction=Direction.IN) for policy in mine], batch=7)
            assert len(result.applied) == each
        except BaseException as error:
            problems.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert problems == []
    left = sorted(policy.priority for policy in session.spd.dump() if policy.direction == Direction.OUT)
    assert left == list(range(0, threads * each, 2))
    info = session.spd.count()
    assert (info.input, info.output) == (threads * each, threads * each // 2)


def test_one_thread_closes_what_others_use(namespace: int) -> None:
    """Whoever comes late gets ClosedError, and nothing else."""
    session = Session(namespace)
    ends: list[type[BaseException]] = []
    started = threading.Barrier(5)

    def work() -> None:
        started.wait(30)
        try:
            while True:
                session.spd.update(Policy(NETS, direction="out"))
                list(session.spd.dump())
        except BaseException as error:
            ends.append(type(error))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    started.wait(30)
    for _ in range(50):
        session.spd.count()
    session.close()
    for worker in workers:
        worker.join()
    assert ends == [ClosedError] * 4

# SPDX-License-Identifier: MIT
"""xfrm_ext.lookup: the kernel itself says which policy it finds; for states, in tests/guest/test_cli_look.py."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Direction,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Policy,
    PolicyDefaults,
    PolicyType,
    Selector,
    Session,
    State,
    Template,
    ValidationError,
)
from xfrm_ext.lookup import Packet, demands, in_order, match, policy_reasons, resolve, serves, unusable, verdict
from xfrm_ext.testing import inside

PORTS = (9, 0x109, 0x10A)
ICMP, UDP, TEST = 1, 17, 253
ADDRESSES = {
    4: ("10.1.2.3", "10.1.2.2", "10.1.3.3", "10.9.2.3"),
    6: ("2001:db8::3", "2001:db8::2", "2001:db8:1::3", "2001:db8:9::3"),
}
LENGTHS = {4: (0, 0, 8, 15, 16, 24, 31, 32, 32), 6: (0, 0, 32, 47, 48, 64, 127, 128, 128)}
_FREEBIND, _ICMP6 = 78, 58
DEADLINE = 10.0


class Network:
    """A namespace whose loopback device is a network that XFRM looks at."""

    def __init__(self, namespace: int, stack: ExitStack) -> None:
        self.namespace, self._stack = namespace, stack
        with inside(namespace):
            for line in (
                "link set lo up",
                "route add local 10.0.0.0/8 dev lo",
                "-6 route add local 2001:db8::/32 dev lo",
            ):
                subprocess.run(["ip", *line.split()], check=True)
            for name in ("xfrm", "policy"):  # set for loopback devices
                with open(f"/proc/sys/net/ipv4/conf/lo/disable_{name}", "w", encoding="ascii") as file:
                    file.write("0")
            with open("/proc/sys/net/ipv6/conf/lo/disable_policy", "w", encoding="ascii") as file:
                file.write("0")
            self.receivers = {
                (version, UDP, port): self._udp(version, port) for version in (4, 6) for port in PORTS
            }
            for version, protocol in ((4, ICMP), (6, _ICMP6), (4, TEST), (6, TEST)):
                self.receivers[version, protocol, 0] = self._socket(version, socket.SOCK_RAW, protocol)

    def _socket(self, version: int, kind: int, protocol: int = 0) -> socket.socket:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        made = self._stack.enter_context(socket.socket(family, kind, protocol))
        made.settimeout(DEADLINE)
        return made

    def _udp(self, version: int, port: int) -> socket.socket:
        made = self._socket(version, socket.SOCK_DGRAM)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("0.0.0.0" if version == 4 else "::", port))
        return made

    def send(self, packet: Packet, version: int) -> bool:
        """Sends one; False: the kernel refuses to."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        protocol = int(packet.protocol)
        with inside(self.namespace):
            made = socket.socket(family, socket.SOCK_DGRAM if protocol == UDP else socket.SOCK_RAW, protocol)
        with made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, packet.mark)
            if version == 6:
                made.setsockopt(socket.IPPROTO_IPV6, _FREEBIND, 1)
                if packet.interface:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            made.bind((str(packet.source), packet.source_port))
            content = bytes((packet.icmp_type or 0, packet.icmp_code or 0)).ljust(8, b"\0")
            if family == socket.AF_INET and protocol == ICMP:
                content = bytes((content[0], content[1], 0xFF - content[0], 0xFF - content[1])) + bytes(4)
            try:
                made.sendto(content, (str(packet.destination), packet.destination_port))
            except PermissionError:
                return False
        return True

    def receive(self, packet: Packet, version: int) -> None:
        """Waits for it."""
        self.receivers[version, int(packet.protocol), packet.destination_port].recv(64)


@pytest.fixture
def network(namespace: int) -> Iterator[Network]:
    with ExitStack() as stack:
        yield Network(namespace, stack)


def some_packet(chance: random.Random, version: int) -> Packet:
    source, destination = (chance.choice(ADDRESSES[version]) for _ in "sd")
    mark = chance.choice((0, 0, 1, 2, 0x11))
    protocol = chance.choice((UDP, UDP, UDP, ICMP if version == 4 else _ICMP6, TEST))
    if protocol == UDP:
        return Packet(
            source,
            destination,
            UDP,
            source_port=chance.choice((0x1005, 0x2005)),
            destination_port=chance.choice(PORTS),
            mark=mark,
        )
    if protocol == TEST:
        return Packet(source, destination, TEST, mark=mark)
    # Types and codes that nobody answers.
    kind = 0 if version == 4 else chance.choice((200, 201))
    return Packet(source, destination, protocol, icmp_type=kind, icmp_code=chance.choice((0, 1)), mark=mark)


def some_policy(chance: random.Random, version: int) -> Policy:
    def prefix() -> str:
        return f"{chance.choice(ADDRESSES[version])}/{chance.choice(LENGTHS[version])}"

    options = {}
    protocol = chance.choice((0, 0, 0, UDP, UDP, ICMP if version == 4 else _ICMP6, TEST))
    if protocol == UDP and chance.random() < 0.7:
        options = {
            "destination_port": chance.choice(PORTS),
            "destination_port_mask": chance.choice((0xFFFF, 0xFF, 0xFF00)),
        }
        if chance.random() < 0.4:
            options |= {"source_port": 0x1005, "source_port_mask": chance.choice((0xFFFF, 0xFF))}
    elif protocol in (ICMP, _ICMP6):
        kind = 0 if version == 4 else 200
        options = {"source_port": kind, "source_port_mask": chance.choice((0, 0xFFFF))}
        options |= {"destination_port": chance.choice((0, 1)), "destination_port_mask": chance.choice((0, 0xFFFF))}
    selector = Selector(
        prefix(),
        prefix(),
        protocol=protocol,
        interface=chance.choice((0, 0, 0, 1, 1, 2)),
        strict=False,
        **options,
    )
    return Policy(
        selector,
        direction=chance.choice(("in", "out")),
        action=chance.choice(("allow", "allow", "allow", "block")),
        priority=chance.choice((0, 1, 1, 1, 2, 0xFFFFFFFF)),
        policy_type=chance.choice(("main", "main", "main", "sub")),
        mark=chance.choice((None, None, None, None, Mark(1), Mark(1, 0xF), Mark(0, 1))),
        if_id=chance.choice((None, None, None, None, 5)),
    )


def fill(session: Session, chance: random.Random, version: int) -> list[Policy]:
    """Puts policies into the kernel, and returns its dump."""
    for kind in PolicyType:
        session.spd.flush(kind)
    policies = {one.id: one for one in (some_policy(chance, version) for _ in range(chance.randint(1, 40)))}
    session.spd.load(policies.values())
    for one in policies.values():
        if chance.random() < 0.1:  # with another priority: else it keeps a place that no dump shows
            session.spd.update(replace(one, priority=one.priority ^ 3))
    return list(session.spd.dump())


def used(session: Session, direction: Direction) -> set[int]:
    """The indexes of the policies of a direction that the kernel has applied."""
    return {one.index for one in session.spd.dump() if one.direction == direction and one.current.use_time}


@pytest.mark.parametrize("version", [4, 6])
def test_the_kernel_finds_the_same_policies(session: Session, network: Network, version: int) -> None:
    chance = random.Random(version)
    outcomes = dict.fromkeys(("blocked out", "blocked in", "by default", "one", "two", "among several"), 0)
    for number in range(300):
        policies = fill(session, chance, version)
        packet = some_packet(chance, version)
        # When it arrives, and when it leaves by IPv4, the kernel looks at the device that its route leads to. By
        # IPv6 only at one that its socket is bound to.
        there = replace(packet, interface=1)
        packet = there if version == 4 or chance.random() < 0.5 else packet
        before = session.statistics()
        sent = network.send(packet, version)
        out, arriving = verdict(policies, packet, Direction.OUT), verdict(policies, there, Direction.IN)
        case = f"case {number}: {packet} {policies}"
        assert sent is not out.blocked, case
        assert used(session, Direction.OUT) == {one.index for one in out.applied}, case
        if sent and arriving.blocked:
            deadline = time.monotonic() + DEADLINE
            while session.statistics()["XfrmInPolBlock"] == before["XfrmInPolBlock"]:
                assert time.monotonic() < deadline, case
        elif sent:
            network.receive(packet, version)
        found = {one.index for one in arriving.applied} if sent else set()
        touched = used(session, Direction.IN)
        if sent and arriving.blocked and len(found) == 1:
            assert found <= touched, case  # the kernel notes the main policy behind a sub policy that blocks
        else:
            assert touched == found, case
        outcomes["blocked out"] += out.blocked
        outcomes["blocked in"] += sent and arriving.blocked
        outcomes["by default"] += out.by_default
        outcomes["one"] += len(out.applied) == 1
        outcomes["two"] += len(out.applied) == 2
        outcomes["among several"] += len(out.matching) > 2
    assert min(outcomes.values()) >= 5, outcomes  # each was tried


# --- values, without a kernel -------------------------------------------------------------------------------------

NEAR, FAR = "192.0.2.1", "198.51.100.2"
PACKET = Packet("10.1.0.1", "10.2.0.1", "udp", 1000, 53)
TUNNEL = Template(NEAR, FAR, mode="tunnel", reqid=1)
NOW = 1_800_000_000


def state(spi: int = 0x1001, **options: Any) -> State:
    """A state that fits TUNNEL, but for the options."""
    given = {"source": NEAR, "destination": FAR, "mode": "tunnel", "reqid": 1, "direction": "out"}
    given |= {"aead": AeadAlgorithm("rfc4106(gcm(aes))", bytes(20)), "current": LifetimeCurrent(add_time=NOW - 60)}
    return State(spi=spi, **{**given, **options})


def out(*templates: Template, **options: Any) -> Policy:
    return Policy(Selector("10.1.0.0/16", "10.2.0.0/16"), direction="out", templates=templates, **options)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(Selector("10.9.0.0/16"), direction="out"), "source 10.1.0.1 is not in 10.9.0.0/16"),
        (Policy(Selector(None, "10.2.0.2"), direction="out"), "destination 10.2.0.1 is not in 10.2.0.2/32"),
        (Policy(Selector(family="inet6"), direction="out"), "family IPv4 is not IPv6"),
        (Policy(Selector(protocol="tcp"), direction="out"), "protocol udp is not tcp"),
        (
            Policy(Selector(protocol="udp", destination_port=54), direction="out"),
            "destination port 53 is not 54",
        ),
        (
            Policy(Selector(protocol="udp", source_port=0x400, source_port_mask=0xFF00), direction="out"),
            "source port 1000 is not 1024 (mask 0xff00)",
        ),
        (Policy(direction="out", mark=Mark(1, 3)), "mark 0x0 does not match 0x1/0x3"),
        (Policy(direction="out", if_id=7), "if_id 0x0 is not 0x7"),
        (Policy(Selector(interface=3), direction="out"), "interface index 0 is not 3"),
    ],
)
def test_one_reason_for_a_policy_that_almost_matches(policy: Policy, reason: str) -> None:
    assert list(policy_reasons(policy, PACKET)) == [reason]


def test_types_and_keys_stand_in_the_place_of_ports() -> None:
    echo = Policy(Selector(protocol="icmp", icmp_type=8, icmp_code=0), direction="out")
    assert not list(policy_reasons(echo, Packet("10.1.0.1", "10.2.0.1", "icmp", icmp_type=8)))
    [reason] = policy_reasons(echo, Packet("10.1.0.1", "10.2.0.1", "icmp", icmp_type=0))
    assert reason == "type 0 is not 8"
    gre = Policy(Selector(protocol="gre", gre_key=0x12345678), direction="out")
    assert not list(policy_reasons(gre, Packet("10.1.0.1", "10.2.0.1", "gre", gre_key=0x12345678)))
    [reason] = policy_reasons(gre, Packet("10.1.0.1", "10.2.0.1", "gre", gre_key=1))
    assert reason == "GRE key 0x1 is not 0x12345678"


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "10.1.0.1", "destination": "2001:db8::1"},
        {"source": "10.1.0.0/16", "destination": "10.2.0.1"},
        {"source": None, "destination": "10.2.0.1"},
        {"source": "10.1.0.1", "destination": "10.2.0.1", "source_port": 5},
        {"source": "10.1.0.1", "destination": "10.2.0.1", "protocol": "icmp", "destination_port": 5},
        {"source": "10.1.0.1", "destination": "10.2.0.1", "protocol": "udp", "icmp_type": 5},
        {"source": "10.1.0.1", "destination": "10.2.0.1", "mark": 1 << 32},
        {"source": "10.1.0.1", "destination": "10.2.0.1", "cpu": -1},
    ],
)
def test_packets_that_are_none(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Packet(**fields)


def test_the_order_of_lookup() -> None:
    dumped = [  # the newest first
        out(priority=5, index=41),
        out(priority=5, index=33, policy_type="sub"),
        out(priority=5, index=25),
        out(priority=1, index=17),
        Policy(direction="in", index=8),
    ]
    assert [one.index for one in in_order(dumped, Direction.OUT)] == [33, 17, 25, 41]
    assert [one.index for one in match(dumped, PACKET, Direction.OUT)] == [33, 17, 25, 41]
    assert [one.index for one in verdict(dumped, PACKET, Direction.OUT).applied] == [33, 17]


def test_what_the_default_says() -> None:
    defaults = PolicyDefaults("accept", "accept", "block")
    assert verdict([], PACKET, Direction.OUT, defaults).blocked
    assert not verdict([], PACKET, Direction.IN, defaults).blocked
    assert not verdict([], PACKET, Direction.OUT, None).blocked
    assert verdict([], PACKET, Direction.OUT, defaults).by_default


def test_a_main_policy_behind_a_sub_policy_can_block() -> None:
    found = verdict([out(policy_type="sub"), out(action="block")], PACKET, Direction.OUT)
    assert found.blocked
    assert len(found.applied) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"reqid": 2}, "reqid 2 is not 1"),
        ({"mode": "transport"}, "mode transport is not tunnel"),
        ({"protocol": "comp", "aead": None}, "protocol comp is not esp"),
        ({"destination": "198.51.100.3"}, "destination 198.51.100.3 is not 198.51.100.2"),
        ({"source": "192.0.2.9"}, "source 192.0.2.9 is not 192.0.2.1"),
        ({"mark": Mark(1, 0xFF)}, "the policy's mark 0x0 does not match 0x1/0xff"),
        ({"if_id": 3}, "if_id 0x3 is not 0x0"),
        ({"flags": "wildrecv"}, "receives only (flag wildrecv)"),
        ({"selector": Selector("10.9.0.0/16")}, "selector: source 10.1.0.1 is not in 10.9.0.0/16"),
        ({"cpu": 1}, "is for CPU 1 only"),
        ({"aead": None}, "larval"),
        ({"lifetime": LifetimeConfig(hard_add_expires_seconds=60)}, "expired"),
        ({"spi": 0x2002}, "SPI 0x2002 is not 0x1001"),
    ],
)
def test_why_a_state_is_not_used(changes: dict[str, Any], reason: str) -> None:
    template = replace_spi(TUNNEL, 0x1001 if "spi" in changes else 0)
    other = state(**{"spi": 0x1002, **changes} if "spi" not in changes else changes)
    if changes.get("protocol"):
        other = replace(other, compression=Algorithm("deflate"))
    [choice] = resolve(out(template), PACKET, [other], NOW)
    assert choice.state is None
    assert choice.trouble
    assert [reasons for _, reasons in choice.refused] == [(reason,)]


def replace_spi(template: Template, spi: int) -> Template:
    return Template(template.source, template.destination, mode=template.mode, reqid=template.reqid, spi=spi)


def test_the_newest_state_is_used_and_one_that_is_not_dying() -> None:
    old, new = state(1), state(2, current=LifetimeCurrent(add_time=NOW))
    [choice] = resolve(out(TUNNEL), PACKET, [new, old], NOW)
    assert choice.state == new
    assert choice.refused == ((old, ("a newer one fits",)),)
    dying = state(3, current=LifetimeCurrent(add_time=NOW, bytes=9), lifetime=LifetimeConfig(soft_byte_limit=9))
    [choice] = resolve(out(TUNNEL), PACKET, [dying, old], NOW)
    assert choice.state == old
    assert choice.refused == ((dying, ("reached a soft limit, and another one that fits has not",)),)


def test_one_that_has_the_source_comes_before_one_that_has_none() -> None:
    wild = state(2, source="0.0.0.0", current=LifetimeCurrent(add_time=NOW))
    [choice] = resolve(out(TUNNEL), PACKET, [wild, state(1)], NOW)
    assert choice.state == state(1)
    [choice] = resolve(out(TUNNEL), PACKET, [wild], NOW)
    assert choice.state == wild


def test_a_state_of_this_cpu_comes_first() -> None:
    ours = state(1, cpu=3)
    packet = replace(PACKET, cpu=3)
    [choice] = resolve(out(TUNNEL), packet, [state(2), ours], NOW)
    assert choice.state == ours


def test_templates_inside_a_tunnel_have_its_addresses() -> None:
    templates = (TUNNEL, Template(protocol="ah", reqid=2))
    authentication = AuthAlgorithm("hmac(sha256)", bytes(32))
    outer = state(5, protocol="ah", mode="transport", reqid=2, aead=None, authentication=authentication)
    found = resolve(out(*templates), PACKET, [state(), outer], NOW)
    assert [choice.state for choice in found] == [state(), outer]


def test_what_stands_in_the_way_of_a_packet() -> None:
    [choice] = resolve(out(TUNNEL), PACKET, [], NOW)
    assert "ACQUIRE" in choice.trouble
    [choice] = resolve(out(Template(level="use")), PACKET, [], NOW)
    assert not choice.trouble
    [choice] = resolve(out(TUNNEL), PACKET, [state(direction="in")], NOW)
    assert "XfrmOutStateDirError" in choice.trouble
    [choice] = resolve(out(TUNNEL), PACKET, [state(lifetime=LifetimeConfig(hard_packet_limit=0))], NOW)
    assert "XfrmOutStateExpired" in choice.trouble
    assert not unusable([out(*[TUNNEL] * 5)])
    assert unusable([out(*[TUNNEL] * 6)])
    assert unusable([out(*[TUNNEL] * 3), out(*[TUNNEL] * 3)])


def test_what_a_template_demands_of_a_packet_that_came_in() -> None:
    packet = Packet("10.2.0.1", "10.1.0.1")
    template = Template(FAR, NEAR, mode="tunnel")  # any reqid, any SPI
    fits = state(1, source=FAR, destination=NEAR, direction="in", reqid=77)
    others = [
        state(2, source="192.0.2.9", destination=NEAR, direction="in"),
        state(3, source=FAR, destination=NEAR, direction="out"),
        state(4, source=FAR, destination=NEAR, direction="in", mode="transport"),
        state(5, source=FAR, destination=NEAR, direction="in", selector=Selector("10.3.0.0/16")),
    ]
    found = demands(template, packet, [*others, fits], NOW)
    assert found[0] == (fits, ())
    assert {one.spi: reasons for one, reasons in found[1:]} == {
        2: ("source 192.0.2.9 is not 198.51.100.2",),
        3: ("direction out is not in",),
        4: ("mode transport is not tunnel",),
        5: ("selector: source 10.2.0.1 is not in 10.3.0.0/16",),
    }


def test_which_states_serve_a_policy_whatever_the_packet() -> None:
    policy = out(TUNNEL)
    assert serves(state(), TUNNEL, policy)
    assert not serves(state(direction="in"), TUNNEL, policy)
    assert not serves(state(destination="198.51.100.3"), TUNNEL, policy)
    [transport] = out(Template(reqid=1)).templates  # with the family that a policy gives it
    inside_nets = state(source="10.1.5.5", destination="10.2.5.5", mode="transport")
    assert serves(inside_nets, transport, policy)
    assert not serves(replace(inside_nets, destination="10.3.5.5"), transport, policy)
    arriving = Policy(Selector("10.2.0.0/16", "10.1.0.0/16"), direction="in", templates=TUNNEL)
    assert serves(state(direction="in"), TUNNEL, arriving)
    assert not serves(state(direction="out"), TUNNEL, arriving)

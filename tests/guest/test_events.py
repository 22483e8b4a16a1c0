# SPDX-License-Identifier: MIT
"""What the kernel tells of itself, each kind of event provoked by what provokes it in earnest."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from guest.conftest import Record
from guest.network import DEADLINE, PORT, UDP, Frame, Host, Pair, until
from guest.test_paths import ENCAP_PORT, PATHS, exchange, gcm, secure, udp_sockets
from guest.test_states import ENDS, esp
from xfrm_ext import (
    Acquire,
    AsyncEvent,
    Encapsulation,
    Event,
    Group,
    IpTfs,
    KernelError,
    KmAddress,
    LifetimeConfig,
    LifetimeCurrent,
    Mapping,
    Mark,
    Message,
    Migration,
    Move,
    NotFound,
    Protocol,
    ReplayState,
    Report,
    Selector,
    Session,
    State,
    StateExpired,
    StateMigration,
)

TUNNEL = PATHS["ESP tunnel, IPv4 in IPv4"]
_Body = TypeVar("_Body")


class Ear:
    """A subscription to groups of a host's events, with a deadline."""

    def __init__(self, host: Host, *groups: Group) -> None:
        self._subscription = host.closing.enter_context(host.session.subscribe(*groups))

    def event(self) -> Event:
        event = self._subscription.get(timeout=DEADLINE)
        assert isinstance(event, Event)
        return event

    def body(self, kind: type[_Body]) -> _Body:
        body = self.event().body
        assert isinstance(body, kind)
        return body


class Line:
    """Datagrams from the left host to the right one, through the tunnel."""

    def __init__(self, pair: Pair) -> None:
        self.sender = pair.left.bound(pair.left.address.inner4)
        self.receiver = pair.right.bound(pair.right.address.inner4)
        self.to = (pair.right.address.inner4, PORT)

    def send(self, text: bytes = b"x" * 480) -> None:
        with suppress(OSError):  # what is dropped on the way out may be an error here
            self.sender.sendto(text, self.to)

    def pass_one(self, text: bytes = b"x" * 480) -> None:
        self.sender.sendto(text, self.to)
        assert self.receiver.recv(65536) == text


@pytest.mark.parametrize(
    "limits",
    [
        {"soft_packet_limit": 1, "hard_packet_limit": 2},
        {"soft_byte_limit": 1, "hard_byte_limit": 1000},
    ],
    ids=["packets", "bytes"],
)
def test_a_used_up_state_expires(pair: Pair, record: Record, limits: dict[str, int]) -> None:
    path = replace(TUNNEL, sending={"lifetime": LifetimeConfig(**limits)})
    state = secure(pair, path)[0].sending
    ear, line = Ear(pair.left, Group.EXPIRE), Line(pair)
    line.pass_one()
    line.pass_one()
    soft = ear.body(StateExpired)
    assert (soft.hard, soft.state.spi, soft.state.current.packets) == (False, state.spi, 1)
    line.send()
    hard = ear.body(StateExpired)
    assert (hard.hard, hard.state.spi, hard.state.current.packets) == (True, state.spi, 2)
    with pytest.raises(NotFound):
        pair.left.session.sad.get(state)
    record("event", f"EXPIRE, {next(iter(limits)).split('_')[1]}s", "soft after 1 packet, hard after 2")


@pytest.mark.parametrize("since", ["add", "use"])
def test_an_old_state_expires(pair: Pair, record: Record, since: str) -> None:
    limits = {f"soft_{since}_expires_seconds": 1, f"hard_{since}_expires_seconds": 2}
    ear, line = Ear(pair.left, Group.EXPIRE), Line(pair)
    state = secure(pair, replace(TUNNEL, sending={"lifetime": LifetimeConfig(**limits)}))[0].sending
    if since == "use":
        line.pass_one()
    assert [(each.hard, each.state.spi) for each in (ear.body(StateExpired), ear.body(StateExpired))] == [
        (False, state.spi),
        (True, state.spi),
    ]
    with pytest.raises(NotFound):
        pair.left.session.sad.get(state)
    record("event", f"EXPIRE, seconds since {since}", "soft and hard")


@pytest.mark.parametrize(
    "options", [{}, {"direction": "in", "cpu": 0, "mark": Mark(5), "if_id": 6}], ids=["", "all"]
)
def test_told_to_expire(pair: Pair, record: Record, options: dict[str, Any]) -> None:
    sad, ear = pair.left.session.sad, Ear(pair.left, Group.EXPIRE)
    state = esp(**options)
    sad.add(state)
    sad.expire(state)
    assert ear.body(StateExpired).hard is False
    assert sad.get(state).spi == state.spi
    sad.expire(state, hard=True)
    told = ear.body(StateExpired)
    assert (told.hard, told.state.direction, told.state.mark) == (True, state.direction, state.mark)
    with pytest.raises(NotFound):
        sad.get(state)
    record("event", "EXPIRE, by user", "soft and hard")


def test_acquire_and_its_answer(pair: Pair, record: Record) -> None:
    installed = secure(pair, TUNNEL)
    for host in pair.hosts:
        host.session.sad.flush()
    ear, line = Ear(pair.left, Group.ACQUIRE), Line(pair)
    line.send()
    acquire = ear.body(Acquire)
    near, far = pair.left.address, pair.right.address
    assert (acquire.source, acquire.destination) == (near.outer4, far.outer4)
    wire = pair.left.session._transport.interface_index("wire")
    assert acquire.selector == Selector(
        near.inner4, far.inner4, protocol="udp", source_port=PORT, destination_port=PORT, interface=wire
    )
    assert acquire.reqid == 1
    [larval] = pair.left.session.sad.dump()
    assert (larval.spi, larval.sequence) == (0, acquire.sequence)
    inward = pair.right.session.sad.allocate_spi(
        acquire.source, acquire.destination, mode="tunnel", reqid=acquire.reqid
    )
    agreed = replace(installed[0].sending, spi=inward.spi)
    pair.right.session.sad.update(agreed)
    pair.left.session.sad.add(replace(agreed, sequence=acquire.sequence))
    assert [state.spi for state in pair.left.session.sad.dump()] == [inward.spi]
    line.pass_one()
    counted = [host.session.sad.get(agreed).current.packets for host in pair.hosts]
    assert counted == [1, 1]
    record("event", "ACQUIRE", f"answered, then packets sent/received {counted[0]}/{counted[1]}")


def test_the_port_of_a_peer_behind_a_nat_changes(pair: Pair, record: Record) -> None:
    """The left host sends from another port than the right one knows of."""
    moved = Encapsulation("espinudp", 4600, ENCAP_PORT)
    path = PATHS["ESP in UDP, tunnel, IPv4"]
    udp_sockets(pair)
    udp_sockets(pair, 4600)
    installed = secure(pair, path)
    sad = pair.left.session.sad
    sad.delete(installed[0].sending)
    sad.add(replace(installed[0].sending, encapsulation=moved))
    ear = Ear(pair.right, Group.MAPPING)
    exchange(pair, (pair.left.address.inner4, pair.right.address.inner4))
    mapping = ear.body(Mapping)
    near = pair.left.address.outer4
    assert (mapping.id.spi, mapping.id.destination) == (installed[0].sending.spi, pair.right.address.outer4)
    assert (mapping.old_source, mapping.old_port) == (near, ENCAP_PORT)
    assert (mapping.new_source, mapping.new_port) == (near, 4600)
    record("event", "MAPPING", f"port {mapping.old_port} is {mapping.new_port} now")


def test_a_packet_without_its_mobile_ipv6_policy_is_reported(pair: Pair, record: Record) -> None:
    home, here, there = "2001:db8:1::99", pair.left.address.outer6, pair.right.address.outer6
    pair.right.session.sad.add(State(home, there, spi=0, protocol="hao", mode="ro", care_of_address=here))
    ear = Ear(pair.right, Group.REPORT)
    sender, receiver = pair.left.bound(here), pair.right.bound(there)
    # The receiver's checksum would be over the home address.
    sender.setsockopt(socket.IPPROTO_UDP, 101, 1)  # UDP_NO_CHECK6_TX
    receiver.setsockopt(socket.IPPROTO_UDP, 102, 1)  # UDP_NO_CHECK6_RX
    home_address = struct.pack("!BB4sBB16s", 0, 2, b"\1\2\0\0", 201, 16, socket.inet_pton(socket.AF_INET6, home))
    sender.sendmsg(
        [b"from elsewhere"], [(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, home_address)], 0, (there, PORT)
    )
    report = ear.body(Report)
    assert (report.protocol, report.care_of_address) == (Protocol.HAO, here)
    assert (report.selector.source, report.selector.destination) == (f"{home}/128", f"{there}/128")
    record("event", "REPORT", "home address option without a policy")


@pytest.mark.parametrize("version", [4, 6])
def test_migrate(pair: Pair, record: Record, version: int) -> None:
    """The left host moves to another address; both hosts move policies and states, and packets go on."""
    installed = secure(pair, TUNNEL)
    ends = (pair.left.address.inner4, pair.right.address.inner4)
    exchange(pair, ends)
    old = (pair.left.address.outer4, pair.right.address.outer4)
    new = ("192.0.2.11" if version == 4 else "2001:db8::11", pair.right.address.outer(version))
    pair.left.ip(f"addr add {new[0]}/{24 if version == 4 else '64 nodad'} dev wire")
    pair.right.ip(f"neigh add {new[0]} lladdr 02:00:00:00:00:01 dev wire nud permanent")
    ear = Ear(pair.right, Group.MIGRATE)
    there, back = Move(*old, *new, reqid=1), Move(*old[::-1], *new[::-1], reqid=1)
    managers = KmAddress(*new)
    for host, directions in ((pair.left, ("out", "in")), (pair.right, ("in", "out"))):
        host.session.migrate(Migration(Selector(*ends), directions[0], there, key_managers=managers))
        host.session.migrate(Migration(Selector(*ends[::-1]), directions[1], back))
    told = [ear.body(Migration) for _ in range(2)]
    assert [(each.moves, each.key_managers) for each in told] == [((there,), managers), ((back,), None)]
    _, frames = exchange(pair, ends)
    assert [frame.addresses for frame in frames] == [new, new[::-1]]
    for host in pair.hosts:
        moved = {state.spi: state for state in host.session.sad.dump()}
        assert (moved[installed[0].sending.spi].source, moved[installed[1].sending.spi].destination) == (
            new[0],
        ) * 2
        assert {state.current.packets for state in moved.values()} == {2}
        assert {state.aead for state in moved.values()} == {installed[0].sending.aead}
    record("event", f"MIGRATE, to IPv{version}", "2 packets each way, the second to and from the new address")


MOVES: dict[str, dict[str, Any]] = {
    "addresses only": {},
    "reqid": {"reqid": 9},
    "selector": {"selector": Selector("10.1.0.0/16", "10.2.0.0/16")},
    "behind a NAT": {"encapsulation": Encapsulation("espinudp", 4501, 4502)},
}


@pytest.mark.parametrize("ends", [("192.0.2.66", "192.0.2.77"), ("2001:db8::66", "2001:db8::77")], ids=["4", "6"])
@pytest.mark.parametrize("name", MOVES)
def test_migrate_state(pair: Pair, record: Record, name: str, ends: tuple[str, str]) -> None:
    session, ear = pair.left.session, Ear(pair.left, Group.MIGRATE)
    session.sad.add(esp())
    session.migrate(StateMigration(session.sad.get(esp()), *ends, **MOVES[name]))
    told = ear.body(StateMigration)
    assert (told.id, told.new_source, told.new_destination) == (replace(esp().id, source=None), *ends)
    [state] = session.sad.dump()
    assert (state.source, state.destination, state.aead) == (*ends, esp().aead)
    kept = {"reqid": 1, "selector": Selector(family="inet"), "encapsulation": None}
    for field, value in (kept | MOVES[name]).items():
        assert (getattr(told, field), getattr(state, field)) == (value, value)
    record("event", f"MIGRATE_STATE, {name}", f"to {ends[1]}")


def test_migrate_state_of_two_hosts(session: Session) -> None:
    state, new = esp(mode="transport", selector=Selector(*ENDS)), ("192.0.2.66", "192.0.2.77")
    session.sad.add(state)
    session.migrate(StateMigration(state, *new, flags="update_h2h_sel"))
    [moved] = session.sad.dump()
    assert (moved.selector, moved.reqid) == (Selector(*new), state.reqid)


def test_migrate_state_does_not_take_everything(session: Session) -> None:
    with pytest.raises(NotFound):
        session.migrate(StateMigration(esp().id, *ENDS))
    session.sad.add(esp())
    with pytest.raises(KernelError, match="Unsupported attribute in XFRM_MSG_MIGRATE_STATE") as caught:
        session.migrate(StateMigration(esp().id, "192.0.2.66", "192.0.2.77", if_id=43))
    assert caught.value.attribute == "XFRMA_IF_ID"
    assert session.sad.get(esp()).source == ENDS[0]


def test_sequence_numbers_asked_for_and_set(pair: Pair, record: Record) -> None:
    installed = secure(pair, TUNNEL)[0]
    exchange(pair, (pair.left.address.inner4, pair.right.address.inner4))
    sad, ear = pair.right.session.sad, Ear(pair.right, Group.AEVENTS)
    told = sad.async_event(installed.receiving)
    assert told.replay == ReplayState(0, 1, 1)
    assert told.lifetime is not None
    assert told.lifetime.packets == 1
    sad.set_async_event(AsyncEvent(installed.receiving, replay=ReplayState(0, 77, 5)))
    assert ear.body(AsyncEvent).replay == ReplayState(0, 77, 5)
    assert sad.get(installed.receiving).replay == ReplayState(0, 77, 5)
    line = Line(pair)
    line.send()  # has number 2, which is outside the window of number 77
    until(lambda: sad.get(installed.receiving).statistics.replay_window == 1, "the packet to be refused")
    record("event", "NEWAE, GETAE", "asked for, set, told")


def test_sequence_numbers_told_after_some_packets(pair: Pair, record: Record) -> None:
    installed = secure(pair, replace(TUNNEL, sending={"replay_threshold": 3}))[0]
    ear, line = Ear(pair.left, Group.AEVENTS), Line(pair)
    for _ in range(3):
        line.pass_one()
    told = ear.body(AsyncEvent)
    assert (told.id.spi, told.replay) == (installed.sending.spi, ReplayState(3, 0, 0))
    record("event", "NEWAE, threshold", "after 3 packets")


def test_states_added_updated_deleted_flushed(pair: Pair, record: Record) -> None:
    sad, ear = pair.left.session.sad, Ear(pair.left, Group.SA)
    sad.add(esp())
    sad.update(esp(lifetime=LifetimeConfig(hard_byte_limit=1 << 40)))
    sad.delete(esp())
    sad.add(esp(0x1001))
    sad.flush("esp")
    events = [ear.event() for _ in range(5)]
    assert [event.message for event in events] == [
        Message.NEWSA,
        Message.UPDSA,
        Message.DELSA,
        Message.NEWSA,
        Message.FLUSHSA,
    ]
    gone = events[2].body
    assert isinstance(gone, State)
    assert (gone.source, gone.spi, gone.lifetime.hard_byte_limit) == (ENDS[0], 0x1000, 1 << 40)
    record("event", "NEWSA, UPDSA, DELSA, FLUSHSA", "in order")


def test_keepalive(pair: Pair, record: Record) -> None:
    udp_sockets(pair)
    pair.left.session.sad.add(esp(encapsulation=Encapsulation(), direction="out", nat_keepalive_interval=1))
    found: list[Frame] = []

    def two() -> bool:
        found.extend(pair.frames())
        return len(found) >= 2

    until(two, "two keepalives")
    assert {(frame.protocol, frame.ports, frame.payload[8:]) for frame in found} == {
        (UDP, (ENCAP_PORT, ENCAP_PORT), b"\xff")
    }
    assert {frame.addresses for frame in found} == {ENDS}
    record("event", "NAT keepalive", "2 packets of one byte, 0xff, a second apart")


def test_refused_packets_are_counted(pair: Pair, record: Record) -> None:
    """Replayed, too old, forged: each has its counter, and none arrives."""
    installed = secure(pair, TUNNEL)[0]
    line = Line(pair)
    line.pass_one(b"first")
    [frame] = pair.frames()
    wire = pair.left.open(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.bind(("wire", 0))
    sad = pair.right.session.sad

    wire.send(frame.data)
    until(lambda: sad.get(installed.receiving).statistics.replay == 1, "the replayed packet to be refused")

    forged = bytearray(frame.data)
    forged[34 + 7] += 1  # its sequence number
    wire.send(forged)
    until(lambda: sad.get(installed.receiving).statistics.integrity_failed == 1, "the forged packet to be refused")

    for _ in range(40):
        line.pass_one(b"next")
    wire.send(frame.data)
    until(lambda: sad.get(installed.receiving).statistics.replay_window == 1, "the old packet to be refused")
    found = sad.get(installed.receiving)
    assert found.current.packets == 41
    counted = {"XfrmInStateSeqError": 2, "XfrmInStateProtoError": 1}
    assert pair.right.session.statistics().nonzero == counted
    line.pass_one(b"last")  # and nothing else arrived in between
    record("refused", "replayed, forged, too old", f"1 each; {found.current.packets} packets passed")


def test_extended_sequence_numbers_pass_the_32nd_bit(pair: Pair, record: Record) -> None:
    """The packet has the lower half, and its check value is over both."""
    start = 2**32 - 3
    options = {"flags": "esn", "replay_window": 64}
    installed = secure(
        pair,
        replace(
            TUNNEL,
            sending=options | {"replay": ReplayState(output=start)},
            receiving=options | {"replay": ReplayState(input=start)},
        ),
    )[0]
    line = Line(pair)
    pair.frames()
    for _ in range(5):
        line.pass_one()
    numbers = [int.from_bytes(frame.payload[4:8], "big") for frame in pair.frames()]
    assert numbers == [2**32 - 2, 2**32 - 1, 0, 1, 2]
    states = (pair.left.session.sad.get(installed.sending), pair.right.session.sad.get(installed.receiving))
    assert [(state.replay.output, state.replay.input) for state in states if state.replay] == [
        (start + 5, 0),
        (0, start + 5),
    ]
    record(
        "path", "ESN past 32 bits", f"packets {numbers[0]} to {states[1].replay.input if states[1].replay else 0}"
    )


def test_counters_go_on_from_where_they_are_set(pair: Pair, record: Record) -> None:
    before = LifetimeCurrent(bytes=10_000, packets=100, add_time=1_000_000_000, use_time=1_000_000_001)
    installed = secure(pair, replace(TUNNEL, sending={"lifetime_value": before}))[0]
    sad = pair.left.session.sad
    assert sad.get(installed.sending).current == before
    Line(pair).pass_one(b"x" * 72)
    assert sad.get(installed.sending).current == replace(before, bytes=10_100, packets=101)
    after = replace(before, bytes=5, packets=6)
    sad.set_async_event(AsyncEvent(installed.sending, lifetime=after))
    assert sad.get(installed.sending).current == after
    record("event", "NEWAE, lifetime", "counters set, and counted on")


def test_the_output_mark_is_what_routing_sees(pair: Pair, record: Record) -> None:
    secure(pair, replace(TUNNEL, sending={"output_mark": Mark(7)}))
    line = Line(pair)
    line.pass_one(b"before")
    pair.left.ip("rule add fwmark 7 prohibit")
    with pytest.raises(PermissionError):
        line.pass_one(b"prohibited")
    pair.left.ip("rule del fwmark 7 prohibit")
    line.pass_one(b"after")
    record("path", "output mark", "packets with it follow its rule")


def test_iptfs_puts_packets_together(pair: Pair, record: Record) -> None:
    waiting = {"direction": "out", "iptfs": IpTfs(init_delay=1_000_000)}
    secure(pair, replace(PATHS["IP-TFS, IPv4 in IPv4"], sending=waiting))
    line = Line(pair)
    pair.frames()
    for number in range(5):
        line.send(b"%d" % number * 50)
    assert [line.receiver.recv(100) for _ in range(5)] == [b"%d" % number * 50 for number in range(5)]
    [frame] = pair.frames()
    record("path", "IP-TFS, aggregation", f"5 packets in one of {len(frame.data) - 14} bytes")


def test_iptfs_takes_packets_apart(pair: Pair, record: Record) -> None:
    installed = secure(
        pair,
        replace(PATHS["IP-TFS, IPv4 in IPv4"], sending={"direction": "out", "iptfs": IpTfs(packet_size=200)}),
    )[0]
    line = Line(pair)
    pair.frames()
    line.pass_one(b"x" * 600)
    frames = pair.frames()
    assert len(frames) == 4
    assert max(len(frame.data) - 14 for frame in frames) <= 220
    assert [used.packets for used in installed.used()] == [4, 4]
    record("path", "IP-TFS, fragmentation", f"1 packet in {len(frames)}")


def test_padding_hides_the_length(pair: Pair, record: Record) -> None:
    # Not by the outermost state: kernels with ESP offload let that one take a path that does not pad.
    secure(pair, replace(PATHS["AH over ESP, IPv4"], esp=gcm() | {"traffic_flow_padding": 1000}))
    line = Line(pair)
    pair.frames()
    for length in (1, 100, 500):
        line.pass_one(b"x" * length)
    lengths = {len(frame.data) for frame in pair.frames()}
    assert len(lengths) == 1
    record("path", "padded", f"1, 100 and 500 bytes all make {lengths.pop() - 14}")

# SPDX-License-Identifier: MIT
"""`xfrm explain`, `xfrm tree` and `xfrm top` beside what the kernel does: the states that packets really used."""

from __future__ import annotations

import io
import json
import random
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from by_schema import is_valid

from guest.network import PORT, Host, Pair, until
from xfrm_ext import (
    AeadAlgorithm,
    Direction,
    Level,
    LifetimeConfig,
    Mark,
    Mode,
    Policy,
    Selector,
    State,
    StateDirection,
    Template,
)
from xfrm_ext.cli import explain, top, tree
from xfrm_ext.cli.context import Context
from xfrm_ext.cli.top_model import View
from xfrm_ext.cli.top_screen import _events
from xfrm_ext.lookup import Packet, resolve, verdict


def gcm() -> AeadAlgorithm:
    return AeadAlgorithm("rfc4106(gcm(aes))", secrets.token_bytes(20))


def some_state(chance: random.Random, pair: Pair, spi: int, source: bool) -> State:
    left, right = (host.address for host in pair.hosts)
    mode = chance.choice((Mode.TUNNEL, Mode.TUNNEL, Mode.TUNNEL, Mode.TRANSPORT))
    ends = (left.outer4, right.outer4) if mode == Mode.TUNNEL else (left.inner4, right.inner4)
    if chance.random() < 0.1:
        ends = ends[0], "192.0.2.77"
    options: dict[str, Any] = {}
    direction = chance.choice((None, "out", "out", "out", "in"))
    if direction == "out" and chance.random() < 0.2:
        options["cpu"] = 0
    if chance.random() < 0.4:
        options["selector"] = chance.choice(
            (
                Selector(left.inner4, right.inner4),
                Selector(left.inner4, right.inner4, protocol="udp", destination_port=PORT),
                Selector(left.inner4, right.inner4, protocol="udp", destination_port=PORT + 1),
                Selector("10.99.0.0/16", "10.0.0.0/8"),
            )
        )
    return State(
        ends[0] if source else "0.0.0.0",
        ends[1],
        spi=spi,
        mode=mode,
        reqid=chance.choice((0, 1, 1, 1, 2)),
        direction=direction,
        mark=chance.choice((None, None, None, Mark(1), Mark(1, 3), Mark(0, 2))),
        if_id=chance.choice((None, None, None, 5)),
        aead=gcm(),
        **options,
    )


def some_policy(chance: random.Random, pair: Pair) -> Policy:
    left, right = (host.address for host in pair.hosts)
    mode = chance.choice((Mode.TUNNEL, Mode.TUNNEL, Mode.TRANSPORT))
    template = Template(
        *((left.outer4, right.outer4) if mode == Mode.TUNNEL else ()),
        mode=mode,
        reqid=chance.choice((0, 1, 1, 1)),
        level=Level.REQUIRED if mode == Mode.TUNNEL else chance.choice((Level.REQUIRED, Level.USE)),
        spi=chance.choice((0, 0, 0, 0x1001)),
    )
    mark = chance.choice((None, None, Mark(0, 4), Mark(1), Mark(1, 1)))
    return Policy(Selector(left.inner4, right.inner4), direction="out", templates=template, mark=mark)


def send(host: Host, far: str, port: int, mark: int) -> bool:
    """Sends a packet; False: the kernel says at once that it can't."""
    with host.open(socket.AF_INET) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        try:
            made.sendto(b"packet", (far, port))
        except OSError:
            return False
    return True


def counted(host: Host) -> set[int]:
    """The SPIs of the states that packets have used."""
    return {one.spi for one in host.session.sad.counters() if one.packets}


def test_the_kernel_uses_the_same_state(pair: Pair) -> None:
    chance = random.Random(1)
    left, far = pair.left, pair.right.address.inner4
    grown = 0
    outcomes = dict.fromkeys(("used", "clear", "dropped", "among several", "wrong direction"), 0)
    for number in range(400):
        session = left.session
        session.sad.flush()
        session.spd.flush()
        buckets = session.sad.count().hash_buckets
        # Either all have a source or none: where both are there, it depends on a hash which the kernel sees first.
        source = chance.random() < 0.8
        for spi in range(0x1000, 0x1000 + chance.randint(1, 12)):
            session.sad.add(some_state(chance, pair, spi, source))
        policy = some_policy(chance, pair)
        session.spd.add(policy)
        mark = 0 if policy.mark is None else policy.mark.value
        packet = Packet(left.address.inner4, far, "udp", destination_port=PORT, mark=mark, cpu=0)
        policies, states = list(session.spd.dump()), list(session.sad.dump())
        assert verdict(policies, packet, Direction.OUT).applied == tuple(policies)
        [choice] = resolve(policies[0], packet, states, states[0].current.add_time)
        send(left, far, PORT, mark)
        if session.sad.count().hash_buckets != buckets:
            grown += 1  # which turns the order around of those that were added in the same second
            continue
        expected = {choice.state.spi} if choice.state is not None and not choice.trouble else set()
        assert counted(left) == expected, f"case {number}: {choice} {policies} {states}"
        fits = [state for state, reasons in choice.refused if len(reasons) == 1 and "fits" in reasons[0]]
        outcomes["used"] += bool(expected)
        outcomes["clear"] += not expected and not choice.trouble
        outcomes["dropped"] += choice.state is None and bool(choice.trouble)
        outcomes["among several"] += bool(expected and fits)
        outcomes["wrong direction"] += choice.state is not None and choice.state.direction == StateDirection.IN
    assert min(outcomes.values()) >= 5, outcomes  # each was tried
    assert grown < 10


# --- the commands -------------------------------------------------------------------------------------------------


def look(host: Host, command: Any, *words: str) -> Any:
    """Runs a command with -j on a host, and returns the document."""
    context = Context(io.StringIO(), io.StringIO())
    context.json, context._session = True, host.session
    assert command.run(list(words), context) == 0
    assert isinstance(context.out, io.StringIO)
    document = json.loads(context.out.getvalue())
    is_valid(document)
    return document


def tunnel(pair: Pair, spi: int, **options: Any) -> State:
    """A state for packets from the left to the right."""
    left, right = (host.address for host in pair.hosts)
    given = {"mode": "tunnel", "reqid": 1, "aead": gcm()}
    return State(left.outer4, right.outer4, spi=spi, **{**given, **options})


def policy(pair: Pair, direction: str, **options: Any) -> Policy:
    left, right = (host.address for host in pair.hosts)
    template = Template(left.outer4, right.outer4, mode="tunnel", **{"reqid": 1, **options})
    return Policy(Selector(left.inner4, right.inner4), direction=direction, templates=template)


def words(pair: Pair, *more: str) -> list[str]:
    """The packet that is sent, for `xfrm explain`."""
    left, right = (host.address for host in pair.hosts)
    return ["src", left.inner4, "dst", right.inner4, "proto", "udp", "dport", str(PORT), *more]


def used_spis(document: Any) -> list[int]:
    return [int(one["spi"], 16) for found in document["policies"][0]["templates"] for one in found["states"]]


def test_a_newer_state_takes_over_and_a_soft_limit_hands_back(pair: Pair) -> None:
    left, far = pair.left, pair.right.address.inner4
    left.session.spd.add(policy(pair, "out"))
    left.session.sad.add(tunnel(pair, 0x1001))
    assert used_spis(look(left, explain, *words(pair))) == [0x1001]
    assert send(left, far, PORT, 0)
    assert counted(left) == {0x1001}
    left.session.sad.add(tunnel(pair, 0x1002, lifetime=LifetimeConfig(soft_packet_limit=1)))
    assert used_spis(look(left, explain, *words(pair))) == [0x1002]
    assert send(left, far, PORT, 0)
    assert counted(left) == {0x1001, 0x1002}
    # Its second packet finds the soft limit reached: from the third on, the kernel takes the older one. It keeps
    # what it has found for a route until something changes.
    assert send(left, far, PORT, 0)
    left.session.spd.update(policy(pair, "out"))
    assert used_spis(look(left, explain, *words(pair))) == [0x1001]
    before = {one.spi: one.packets for one in left.session.sad.counters()}
    assert send(left, far, PORT, 0)
    after = {one.spi: one.packets for one in left.session.sad.counters()}
    assert after[0x1001] == before[0x1001] + 1
    assert after[0x1002] == before[0x1002]


def test_six_templates_are_more_than_the_kernel_follows(pair: Pair) -> None:
    left, right = (host.address for host in pair.hosts)
    session = pair.left.session
    for count, result in ((5, "protect"), (6, "drop")):
        session.sad.flush()
        session.spd.flush()
        templates = [Template(reqid=number + 1) for number in range(count)]
        session.spd.add(Policy(Selector(left.inner4, right.inner4), direction="out", templates=templates))
        for number in range(count):
            session.sad.add(State(left.inner4, right.inner4, spi=0x500 + number, reqid=number + 1, aead=gcm()))
        before = session.statistics()
        assert look(pair.left, explain, *words(pair))["result"] == result
        send(pair.left, right.inner4, PORT, 0)
        assert (session.statistics() - before)["XfrmOutPolError"] == (result == "drop")
        assert len(counted(pair.left)) == (count if result == "protect" else 0)


@pytest.mark.parametrize(
    ("options", "fits"),
    [({}, True), ({"reqid": 0}, True), ({"reqid": 2}, False), ({"spi": 0x1002}, False), ({"spi": 0x1001}, True)],
)
def test_what_is_demanded_of_packets_that_come_in(pair: Pair, options: dict[str, Any], fits: bool) -> None:
    left, right = pair.hosts
    state = tunnel(pair, 0x1001)
    left.session.spd.add(policy(pair, "out"))
    left.session.sad.add(state)
    right.session.sad.add(state)
    right.session.spd.add(policy(pair, "in", **options))
    document = look(right, explain, *words(pair, "dir", "in"))
    assert document["result"] == ("check" if fits else "drop")
    assert used_spis(document) == ([0x1001] if fits else [])
    receiver = right.bound(right.address.inner4)
    assert send(left, right.address.inner4, PORT, 0)
    if fits:
        assert receiver.recv(100) == b"packet"
    else:
        until(lambda: right.session.statistics()["XfrmInTmplMismatch"], "the packet to be refused")


def test_behind_a_sub_policy_forwarded_packets_meet_main_policies_of_in(pair: Pair) -> None:
    left, right = pair.hosts
    far = "10.3.0.1"
    left.ip(f"route add {far}/32 via {right.address.outer4} dev wire src {left.address.inner4}")
    right.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    right.ip(f"route add {far}/32 via {left.address.outer4} dev wire")
    selector = Selector(left.address.inner4, far)
    right.session.spd.add(Policy(selector, direction="fwd", policy_type="sub"))
    asked = ("src", left.address.inner4, "dst", far, "dir", "fwd")
    assert look(right, explain, *asked)["result"] == "pass"
    right.session.spd.add(Policy(selector, direction="in", action="block"))
    document = look(right, explain, *asked)
    assert document["result"] == "block"
    assert [one["policy"]["direction"] for one in document["policies"]] == ["fwd", "in"]
    assert not right.session.statistics()["XfrmInPolBlock"]
    assert send(left, far, PORT, 0)
    until(lambda: right.session.statistics()["XfrmInPolBlock"], "the packet to be refused")


def test_a_tree_joins_what_the_kernel_does(pair: Pair) -> None:
    left, far = pair.left, pair.right.address.inner4
    left.session.spd.add(policy(pair, "out"))
    left.session.sad.add(tunnel(pair, 0x1001, reqid=2))
    left.session.sad.add(tunnel(pair, 0x1002, direction="out"))
    assert send(left, far, PORT, 0)
    document = look(left, tree)
    [[number]] = [found["states"] for found in document["policies"][0]["templates"]]
    assert document["states"][number]["spi"] == "0x00001002"
    assert document["states"][number]["aead"]["key"] == "<hidden>"
    assert [document["states"][one]["spi"] for one in document["unused"]] == ["0x00001001"]
    assert counted(left) == {0x1002}


class Clock(top.Clock):
    """Time that passes when it is waited for, while packets are sent."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.time, self.act = time.time(), act

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.act()
        self.time += seconds


def test_top_shows_rates_of_real_packets(pair: Pair) -> None:
    left, right = pair.hosts
    state = tunnel(pair, 0x1001, lifetime=LifetimeConfig(hard_byte_limit=100_000, hard_packet_limit=40))
    left.session.spd.add(policy(pair, "out"))
    left.session.sad.add(state)
    context = Context(io.StringIO(), io.StringIO())
    context.json, context._session = True, left.session

    def act() -> None:
        for _ in range(10):
            assert send(left, right.address.inner4, PORT, 0)
        left.session.sad.add(tunnel(pair, 0x1002, reqid=7))

    assert top.run(["--count", "2", "--interval", "2", "--filter", "spi=0x1001"], context, Clock(act)) == 0
    assert isinstance(context.out, io.StringIO)
    first, second = map(json.loads, context.out.getvalue().splitlines())
    is_valid(first)
    is_valid(second)
    assert first["states"][0]["packets_per_second"] is None
    [row] = second["states"]
    used = left.session.sad.get(state).current
    assert (row["packets"], row["bytes"]) == (10, used.bytes)
    assert (row["packets_per_second"], row["bytes_per_second"]) == (5.0, used.bytes / 2)
    assert row["life"] == 0.25
    assert row["expires_in"] == 6.0  # 30 packets more, at 5 in a second
    assert second["changes"] == [f"new: esp 0x00001002 {state.source} -> {state.destination}"]
    assert second["policies"][0]["hit"]
    assert "key" not in context.out.getvalue()


def test_top_tells_of_acquires_and_expiries(pair: Pair) -> None:
    left, right = pair.hosts
    view = View(1.0)
    with left.session.subscribe("acquire", "expire") as subscription:
        left.session.spd.add(policy(pair, "out"))
        send(left, right.address.inner4, PORT, 0)
        state = tunnel(pair, 0x1001)
        left.session.sad.add(state)
        left.session.sad.expire(state)
        left.session.sad.expire(state, hard=True)

        def heard() -> bool:
            view.log.extend(_events(subscription, 0.0))
            return len(view.log) >= 3

        until(heard, "three events")
    acquire, soft, hard = (line.partition(" ")[2] for line in view.log)
    assert acquire == f"ACQUIRE: {left.address.inner4}/32 -> {right.address.inner4}/32"
    assert soft == f"soft limit reached: esp 0x00001001 {state.source} -> {state.destination}"
    assert hard.startswith("expired: esp 0x00001001")


def test_top_hears_all_events_of_a_burst(pair: Pair) -> None:
    session, state = pair.left.session, tunnel(pair, 0x1001)
    session.sad.add(state)
    with session.subscribe("expire") as subscription:
        for _ in range(3000):
            session.sad.expire(state)
        assert len(list(_events(subscription, 0.0))) == 3000


def test_what_is_refused_is_capped_in_json_as_in_text(pair: Pair) -> None:
    session = pair.left.session
    session.spd.add(policy(pair, "out"))
    for number in range(9):
        session.sad.add(tunnel(pair, 0x1001 + number, reqid=2))
    for more, count in (((), 5), (("--all",), 9)):
        [policies] = look(pair.left, explain, *words(pair, *more))["policies"]
        assert len(policies["templates"][0]["refused"]) == count

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A key daemon: what an IKE implementation does with the kernel, without IKE.

Two private network namespaces, `left` and `right`, with policies that want all traffic between them encrypted, and
no states. `left` pings `right`. The kernel tells that it wants a state (ACQUIRE), the daemon makes keys for both
directions and gives them to both sides; after some packets the kernel tells that the states are used up (EXPIRE),
and the daemon replaces them while the pings go on. In the place of the network protocol that two real daemons would
speak, there is one process here that sees both sides.

Needs a kernel with ESP and AES-GCM, the command `ip`, and root or user namespaces:

    python examples/key_daemon.py
"""

from __future__ import annotations

import argparse
import os
import secrets
import select
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import xfrm_ext as xfrm
from xfrm_ext.testing import become_root, inside, network_namespace

REQID = 7
SOFT_LIMIT = 10  # packets, then it is time for new keys
PATIENCE = 10.0  # seconds, for everything


@dataclass(slots=True)
class Host:
    """One side: a namespace, and the daemon's connections to its kernel."""

    name: str
    address: str
    namespace: int
    session: xfrm.Session
    events: xfrm.Subscription
    inbound: xfrm.State | None = None
    outbound: xfrm.State | None = None

    def log(self, text: str) -> None:
        print(f"{self.name:>5}  {text}", flush=True)


def fresh_key() -> xfrm.AeadAlgorithm:
    """AES-128-GCM: 16 bytes of key and 4 of salt. Two states must never have the same."""
    return xfrm.AeadAlgorithm("rfc4106(gcm(aes))", secrets.token_bytes(20), 128)


class Daemon:
    """Answers the events of two kernels."""

    def __init__(self, left: Host, right: Host) -> None:
        self.hosts = {left.address: left, right.address: right}
        self.rekeyed = 0

    def handle(self, host: Host) -> None:
        """All events that there are on one side."""
        while (event := host.events.get(timeout=0)) is not None:
            if isinstance(event, xfrm.Overrun):
                # Events were lost: look at what there is. An ACQUIRE comes again when its larval state is gone.
                host.log(f"Overrun: {sum(1 for _ in host.session.sad.dump())} states are here")
            elif isinstance(event.body, xfrm.Acquire):
                self.acquire(host, event.body)
            elif isinstance(event.body, xfrm.StateExpired) and not event.body.hard:
                self.expired(host, event.body.state)

    def acquire(self, host: Host, acquire: xfrm.Acquire) -> None:
        """The kernel wants a state for a packet that goes out."""
        host.log(f"ACQUIRE {acquire.source} -> {acquire.destination}, sequence {acquire.sequence}")
        peer = self.hosts[acquire.destination]
        if host.outbound is None:
            self.install(host, peer, xfrm.Wanted.of(acquire))

    def make_states(
        self, host: Host, peer: Host, wanted: xfrm.Wanted
    ) -> tuple[xfrm.State, xfrm.State, xfrm.State, xfrm.State]:
        """New states: host's inbound and outbound, peer's inbound and outbound. Who receives chooses the SPI."""
        limits = xfrm.LifetimeConfig(soft_packet_limit=SOFT_LIMIT)
        there, back = replace(wanted, sequence=0, direction=xfrm.StateDirection.IN), wanted.reverse()
        to_peer, to_host = there.allocate(peer.session).spi, back.allocate(host.session).spi
        host.log(f"SPIs: {to_peer:#x} to {peer.name}, {to_host:#x} from {peer.name}")
        key_there, key_back = fresh_key(), fresh_key()
        return (
            back.state(to_host, aead=key_back, lifetime=limits),
            wanted.state(to_peer, aead=key_there, lifetime=limits),
            there.state(to_peer, aead=key_there, lifetime=limits),
            replace(back, direction=xfrm.StateDirection.OUT).state(to_host, aead=key_back, lifetime=limits),
        )

    def install(self, host: Host, peer: Host, wanted: xfrm.Wanted) -> None:
        """The first states: both sides can receive before either sends."""
        host_in, host_out, peer_in, peer_out = self.make_states(host, peer, wanted)
        peer.session.sad.update(peer_in)  # completes the larval state that has the SPI
        host.session.sad.update(host_in)
        peer.session.sad.add(peer_out)
        host.session.sad.add(host_out)  # takes the place of the larval state that the ACQUIRE was about
        host.inbound, host.outbound, peer.inbound, peer.outbound = host_in, host_out, peer_in, peer_out
        host.log(f"states installed on {host.name} and {peer.name}")

    def expired(self, host: Host, state: xfrm.State) -> None:
        """A state is used up: make before break. The three others tell the same soon, and are gone by then."""
        if host.outbound is None or state.id != host.outbound.id:
            return
        host.log(f"EXPIRE (soft) {state.spi:#x} after {state.current.packets} packets")
        peer = self.hosts[state.destination]
        wanted = xfrm.Wanted(
            source=state.source,
            destination=state.destination,
            protocol=state.protocol,
            mode=state.mode,
            reqid=state.reqid,
        )
        host_in, host_out, peer_in, peer_out = self.make_states(host, peer, wanted)
        sides = [
            (
                host,
                xfrm.Rekey(
                    host.session,
                    inbound=host_in,
                    outbound=host_out,
                    old_inbound=host.inbound,
                    old_outbound=host.outbound,
                ),
            ),
            (
                peer,
                xfrm.Rekey(
                    peer.session,
                    inbound=peer_in,
                    outbound=peer_out,
                    old_inbound=peer.inbound,
                    old_outbound=peer.outbound,
                ),
            ),
        ]
        for _, rekey in sides:
            rekey.receive()
        for _, rekey in sides:
            rekey.send()
        for side, rekey in sides:
            rekey.finish()
            side.log("rekeyed: " + ", ".join(map(str, rekey.applied)))
        host.inbound, host.outbound, peer.inbound, peer.outbound = host_in, host_out, peer_in, peer_out
        self.rekeyed += 1


class Ping:
    """ICMP echo requests, one after the other."""

    def __init__(self, host: Host, destination: str) -> None:
        with inside(host.namespace):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.connect((destination, 0))
        self.socket.setblocking(False)

    def send(self, number: int) -> None:
        head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, number)
        total = sum(struct.unpack("!4H", head))
        check = ~(total + (total >> 16)) & 0xFFFF
        self.socket.send(head[:2] + struct.pack("!H", check) + head[4:])

    def answered(self, number: int) -> bool:
        """Reads what there is: whether the answer to this request is among it."""
        try:
            while True:
                packet = self.socket.recv(65536)
                offset = 4 * (packet[0] & 15)
                kind, _, _, identity, answer = struct.unpack_from("!BBHHH", packet, offset)
                if (kind, identity, answer) == (0, os.getpid() & 0xFFFF, number):
                    return True
        except BlockingIOError:
            return False


def connect(left: Host, right: Host) -> None:
    """A cable between the two, addresses, and policies that want ESP both ways."""

    def ip(host: Host, command: str) -> None:
        with inside(host.namespace):
            subprocess.run(["ip", *command.split()], check=True, pass_fds=[right.namespace])

    ip(left, f"link add cable type veth peer name cable netns /proc/self/fd/{right.namespace}")
    for host, peer in ((left, right), (right, left)):
        ip(host, f"address add {host.address}/24 dev cable")
        ip(host, "link set cable up")
        template = xfrm.Template(mode="transport", reqid=REQID)
        host.session.spd.add(
            xfrm.Policy(
                xfrm.Selector(f"{host.address}/32", f"{peer.address}/32"), direction="out", templates=[template]
            )
        )
        host.session.spd.add(
            xfrm.Policy(
                xfrm.Selector(f"{peer.address}/32", f"{host.address}/32"), direction="in", templates=[template]
            )
        )


def run(left: Host, right: Host, count: int) -> bool:
    """Pings until `count` requests were answered. Returns whether everything was as it should be."""
    connect(left, right)
    daemon, ping = Daemon(left, right), Ping(left, right.address)
    deadline = time.monotonic() + PATIENCE
    answered = lost = number = 0
    while answered < count and time.monotonic() < deadline:
        number += 1
        ping.send(number)
        until, got = time.monotonic() + 0.3, False
        while not got and time.monotonic() < until:
            sources: list[Any] = [ping.socket, left.events, right.events]
            ready, _, _ = select.select(sources, [], [], max(0, until - time.monotonic()))
            for host in (left, right):
                if host.events in ready:
                    daemon.handle(host)
            got = ping.answered(number)
        answered += got
        lost += not got
        print(f" ping  {number}: {'answered' if got else 'no answer'}", flush=True)
    ping.socket.close()
    refused = 0
    for host in (left, right):
        for state in host.session.sad.dump():
            wrong = state.statistics
            refused += wrong.replay_window + wrong.replay + wrong.integrity_failed
            host.log(f"{state.source} -> {state.destination} {state.spi:#x}: {state.current.packets} packets")
    print(
        f"{answered} pings answered, {lost} lost (the first one asked for the states); "
        f"rekeyed {daemon.rekeyed} times; {refused} packets refused"
    )
    return answered == count and lost <= 1 and daemon.rekeyed > 0 and refused == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Two namespaces, ACQUIRE, keys, encrypted pings, rekeying.")
    parser.add_argument("--count", type=int, default=25, help="pings that must be answered")
    arguments = parser.parse_args()
    become_root()
    with ExitStack() as stack:
        hosts = []
        for name, address in (("left", "10.99.0.1"), ("right", "10.99.0.2")):
            namespace = stack.enter_context(network_namespace())
            session = stack.enter_context(xfrm.Session(namespace))
            events = stack.enter_context(session.subscribe("acquire", "expire"))
            hosts.append(Host(name, address, namespace, session, events))
        return 0 if run(hosts[0], hosts[1], arguments.count) else 1


if __name__ == "__main__":
    sys.exit(main())

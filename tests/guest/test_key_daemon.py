# SPDX-License-Identifier: MIT
"""From an ACQUIRE to packets that pass, and new keys while they do."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xfrm_ext import (
    Acquire,
    AeadAlgorithm,
    Event,
    Mark,
    Policy,
    Selector,
    Session,
    State,
    Subscription,
    Template,
    Wanted,
)
from xfrm_ext.testing import inside

if os.environ.get("XFRM_EXT_IN_GUEST") != "1":
    pytest.skip("only in the guest", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
FROM, TO, PORT = "127.0.0.1", "127.0.0.2", 99
AEAD = AeadAlgorithm("rfc4106(gcm(aes))", bytes(range(20)), 128)


def test_the_example() -> None:
    command = [sys.executable, "examples/key_daemon.py", "--count", "25"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ left  ACQUIRE 10\.99\.0\.1 -> 10\.99\.0\.2, sequence \d+$", done.stdout, re.MULTILINE)
    assert "25 pings answered, 1 lost" in done.stdout
    assert "rekeyed 2 times; 0 packets refused" in done.stdout


class Loopback:
    """A packet's way from 127.0.0.1 to 127.0.0.2, that wants ESP: one state is used on both ends of it."""

    def __init__(
        self, session: Session, events: Subscription, sender: socket.socket, receiver: socket.socket
    ) -> None:
        self.session, self.events, self.sender, self.receiver = session, events, sender, receiver

    def acquire(self, mode: str, mark: Mark | None) -> Wanted:
        """What the first packet makes the kernel want."""
        template = Template(FROM, TO, mode=mode, reqid=5)
        selector = Selector(f"{FROM}/32", f"{TO}/32", protocol="udp")
        self.session.spd.add(Policy(selector, direction="out", templates=[template], mark=mark))
        if mark is not None:
            self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark.value)
        self.sender.sendto(b"lost", (TO, PORT))
        event = self.events.get(timeout=10)
        assert isinstance(event, Event)
        assert isinstance(event.body, Acquire)
        # The state is for both directions here. It is looked up by mark when packets come in, too.
        return replace(Wanted.of(event.body), direction=None)

    def passes(self) -> State:
        """Sends a packet that has to arrive, and returns the one state that there is."""
        self.sender.sendto(b"encrypted", (TO, PORT))
        assert self.receiver.recv(100) == b"encrypted"
        (state,) = self.session.sad.dump()
        assert state.current.packets == 2, "once out, once in"
        return state


@pytest.fixture
def way(session: Session, namespace: int) -> Iterator[Loopback]:
    with inside(namespace):
        settings = Path("/proc/sys/net/ipv4/conf/lo")
        (settings / "disable_xfrm").write_text("0")
        for name in ("route_localnet", "accept_local"):  # for what comes out of a tunnel
            (settings / name).write_text("1")
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver, session.subscribe("acquire") as events:
        fcntl.ioctl(sender, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
        sender.bind((FROM, 0))
        receiver.bind((TO, PORT))
        receiver.settimeout(10)
        yield Loopback(session, events, sender, receiver)


@pytest.mark.parametrize("mode", ["transport", "tunnel"])
def test_completing_the_larval_state(way: Loopback, session: Session, mode: str) -> None:
    """Whoever chooses the SPI too: ALLOCSPI by the ACQUIRE's sequence number, then UPDSA."""
    wanted = way.acquire(mode, None)
    spi = wanted.allocate(session).spi
    session.sad.update(wanted.state(spi, aead=AEAD))
    state = way.passes()
    assert (state.spi, state.sequence, state.aead) == (spi, wanted.sequence, AEAD)


@pytest.mark.parametrize("mode", ["transport", "tunnel"])
@pytest.mark.parametrize("mark", [None, Mark(0, 0xF0)], ids=["no mark", "mark"])
def test_taking_the_place_of_the_larval_state(
    way: Loopback, session: Session, mode: str, mark: Mark | None
) -> None:
    """Where the peer has chosen the SPI: NEWSA with the ACQUIRE's sequence number."""
    wanted = way.acquire(mode, mark)
    session.sad.add(wanted.state(0x12345, aead=AEAD))
    state = way.passes()
    assert (state.spi, state.mark) == (0x12345, mark)

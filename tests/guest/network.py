# SPDX-License-Identifier: MIT
"""Two hosts, which are network namespaces, and a wire between them that can be listened to."""

from __future__ import annotations

import mmap
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from socket import SOCK_DGRAM
from socket import socket as Socket
from typing import NamedTuple

from xfrm_ext import Session
from xfrm_ext.testing import inside, network_namespace

PORT = 7000
DEADLINE = 10.0
"""Seconds after which a test no longer waits."""

ESP, AH, COMP, UDP, TCP = 50, 51, 108, 17, 6
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_RX_RING, _PACKET_VERSION = 263, 5, 10
_MULTICAST = 0xFF


class Addresses(NamedTuple):
    """One end's: of the wire, and of what is behind it."""

    outer4: str
    outer6: str
    inner4: str
    inner6: str

    def outer(self, version: int) -> str:
        return self.outer4 if version == 4 else self.outer6

    def inner(self, version: int) -> str:
        return self.inner4 if version == 4 else self.inner6


@dataclass
class Host:
    """A network namespace, a session in it, and its addresses."""

    name: str
    namespace: int
    session: Session
    address: Addresses
    closing: ExitStack

    def run(self, *command: str, text: str | None = None) -> str:
        """Runs a command in the host's network."""
        with inside(self.namespace):
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def ip(self, *lines: str) -> None:
        """Carries out lines of `ip -batch`."""
        self.run("ip", "-batch", "-", text="".join(f"{line}\n" for line in lines))

    def open(self, family: int, kind: int = SOCK_DGRAM, protocol: int = 0) -> Socket:
        """A socket of the host, with a deadline, closed when the test ends."""
        with inside(self.namespace):
            made = self.closing.enter_context(Socket(family, kind, protocol))
        made.settimeout(DEADLINE)
        return made

    def bound(self, address: str, port: int = PORT, kind: int = SOCK_DGRAM) -> Socket:
        """A socket of the host that is bound to an address of it."""
        made = self.open(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        return made


class Frame(NamedTuple):
    """A packet on the wire: IP version, IP protocol (of IPv6 the first header), ports, all bytes."""

    version: int
    protocol: int
    ports: tuple[int, int]
    payload: bytes
    """What follows the IP header."""
    data: bytes

    @property
    def addresses(self) -> tuple[str, str]:
        """Source and destination."""
        family, start, size = (socket.AF_INET, 26, 4) if self.version == 4 else (socket.AF_INET6, 22, 16)
        source, destination = (self.data[at : at + size] for at in (start, start + size))
        return socket.inet_ntop(family, source), socket.inet_ntop(family, destination)


def _frame(data: bytes) -> Frame | None:
    """None: no unicast IP packet."""
    kind = int.from_bytes(data[12:14], "big")
    if kind == 0x0800:
        payload = data[14 + (data[14] & 15) * 4 :]
        return Frame(4, data[23], struct.unpack("!HH", payload[:4]), payload, data)
    if kind == 0x86DD and data[38] != _MULTICAST:
        return Frame(6, data[20], struct.unpack("!HH", data[54:58]), data[54:], data)
    return None


class Capture:
    """What a host sends.

    Packets that are received are left out, because a host shows them twice: as they came, and as they were inside.
    The kernel copies each packet into a ring when it sends it (PACKET_RX_RING). From a plain socket it would be
    read later, out of memory that the receiving host may have decrypted in place by then: ESP in TCP does.
    """

    _FRAME, _COUNT = 4096, 256
    _HEADER = struct.Struct("=IIIHH16x")  # struct tpacket2_hdr; a struct sockaddr_ll follows

    def __init__(self, host: Host) -> None:
        listening = host.open(socket.AF_PACKET, socket.SOCK_RAW, 0)
        listening.setsockopt(_SOL_PACKET, _PACKET_VERSION, 1)
        size = self._FRAME * self._COUNT
        listening.setsockopt(_SOL_PACKET, _PACKET_RX_RING, struct.pack("=4I", size, 1, self._FRAME, self._COUNT))
        self._ring = host.closing.enter_context(mmap.mmap(listening.fileno(), size))
        self._next = 0
        listening.bind(("wire", _ETH_P_ALL))

    def frames(self) -> list[Frame]:
        """The unicast IP packets since the last call. What has arrived at the other host is among them."""
        found: list[Frame] = []
        while True:
            start = self._next * self._FRAME
            status, _, length, offset, _ = self._HEADER.unpack_from(self._ring, start)
            if not status:
                return found
            if self._ring[start + self._HEADER.size + 10] == socket.PACKET_OUTGOING:
                frame = _frame(self._ring[start + offset : start + offset + length])
                if frame is not None:
                    found.append(frame)
            struct.pack_into("=I", self._ring, start, 0)
            self._next = (self._next + 1) % self._COUNT


@dataclass
class Pair:
    """Two hosts with a wire between their interfaces, both called "wire"."""

    left: Host
    right: Host
    captures: tuple[Capture, ...]

    @property
    def hosts(self) -> tuple[Host, Host]:
        return self.left, self.right

    def frames(self) -> list[Frame]:
        """What has passed the wire since the last call: the left host's, then the right one's."""
        return [frame for capture in self.captures for frame in capture.frames()]


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for what no file descriptor tells of."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


LEFT = Addresses("192.0.2.1", "2001:db8::1", "10.1.0.1", "fd01::1")
RIGHT = Addresses("192.0.2.2", "2001:db8::2", "10.2.0.1", "fd02::1")
_MAC = {"left": "02:00:00:00:00:01", "right": "02:00:00:00:00:02"}


def _set_up(host: Host, far: Host) -> None:
    """Addresses, routes, and neighbours that need no discovery."""
    near, there = host.address, far.address
    host.ip(
        "link set lo up",
        f"link set wire address {_MAC[host.name]}",
        "link set wire addrgenmode none",
        "link set wire up",
        f"addr add {near.outer4}/24 dev wire",
        f"addr add {near.outer6}/64 dev wire nodad",
        f"addr add {near.inner4}/32 dev lo",
        f"addr add {near.inner6}/128 dev lo nodad",
        f"neigh add {there.outer4} lladdr {_MAC[far.name]} dev wire nud permanent",
        f"neigh add {there.outer6} lladdr {_MAC[far.name]} dev wire nud permanent",
        f"route add {there.inner4}/32 via {there.outer4} dev wire src {near.inner4}",
        f"route add {there.inner6}/128 via {there.outer6} dev wire src {near.inner6}",
    )


@contextmanager
def two_hosts() -> Iterator[Pair]:
    """A pair of fresh hosts."""
    with ExitStack() as stack:
        namespaces = [stack.enter_context(network_namespace()) for _ in "lr"]
        left, right = (
            Host(name, namespace, stack.enter_context(Session(namespace)), address, stack)
            for name, namespace, address in zip(("left", "right"), namespaces, (LEFT, RIGHT), strict=True)
        )
        peer = f"/proc/{os.getpid()}/fd/{right.namespace}"
        left.ip(f"link add wire type veth peer name wire netns {peer}")
        _set_up(left, right)
        _set_up(right, left)
        for host in (left, right):
            until(lambda: "state UP" in host.run("ip", "link", "show", "wire"), "the wire")  # noqa: B023
        yield Pair(left, right, (Capture(left), Capture(right)))

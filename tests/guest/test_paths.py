# SPDX-License-Identifier: MIT
"""Packets through every kind of state: they arrive, the wire shows what it should, and the counters rise."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from guest import sa
from guest.conftest import Record
from guest.network import AH, COMP, ESP, PORT, TCP, UDP, Frame, Host, Pair
from xfrm_ext import Policy, Selector, Template
from xfrm_ext.codec import native

UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2
TCP_ULP = 31
IP_XFRM_POLICY = 17
ENCAP_PORT = 4500
INTERFACE = 42


def key(bits: int) -> str:
    """A key, always the same for a length."""
    return hashlib.shake_256(b"key").hexdigest(bits // 8)


AES_GCM = {"aead": ("rfc4106(gcm(aes))", key(160), 128)}
HMAC = {"authentication": ("hmac(sha256)", key(256), 128)}
DEFLATE = {"compression": "deflate"}


@dataclass(frozen=True)
class Path:
    """How packets go: templates from the inside to the outside, and what is then on the wire."""

    protocols: tuple[str, ...] = ("esp",)
    mode: str = "tunnel"
    inner: int = 4
    outer: int = 4
    wire: int = ESP
    visible: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    """Of the states, beyond algorithms."""
    esp: dict[str, Any] = field(default_factory=lambda: AES_GCM)
    prepare: Callable[[Pair], object] | None = None

    @property
    def versions(self) -> tuple[int, int]:
        return (self.outer, self.outer) if self.mode == "transport" else (self.inner, self.outer)

    def ends(self, host: Host) -> tuple[str, str]:
        """The host's address in the packets and that in the states."""
        if self.mode == "transport":
            return host.address.outer(self.outer), host.address.outer(self.outer)
        return host.address.inner(self.inner), host.address.outer(self.outer)


def states(path: Path, source: Host, destination: Host) -> list[sa.State]:
    made = []
    for number, protocol in enumerate(path.protocols):
        options = {"esp": path.esp, "ah": HMAC, "comp": DEFLATE}[protocol] | path.options
        if path.mode == "beet" or path.inner != path.outer:
            options["selector"] = (path.ends(source)[0], path.ends(destination)[0])
        spi = (0x1000 if source.name == "left" else 0x2000) + number
        outer = path.ends(source)[1], path.ends(destination)[1]
        mode = path.mode if number == 0 else "transport"
        made.append(sa.State(*outer, spi=spi, protocol=protocol, mode=mode, reqid=number + 1, options=options))
    return made


def secure(pair: Pair, path: Path) -> list[sa.State]:
    """Puts states and policies for both directions into both hosts."""
    all_states = []
    for source, destination in (pair.hosts, pair.hosts[::-1]):
        ends = [path.ends(host) for host in (source, destination)]
        selector = Selector(ends[0][0], ends[1][0])
        chain = states(path, source, destination)
        templates = [
            Template(
                *((ends[0][1], ends[1][1]) if state.mode != "transport" else ()),
                protocol=state.protocol,
                mode=state.mode,
                reqid=state.reqid,
                family={4: "inet", 6: "inet6"}[path.outer],
            )
            for state in chain
        ]
        if_id = path.options.get("if_id")
        source.session.spd.add(Policy(selector, direction="out", templates=templates, if_id=if_id))
        destination.session.spd.add(Policy(selector, direction="in", templates=templates, if_id=if_id))
        for state in chain:
            for host in pair.hosts:
                sa.add(host, state)
        all_states += chain
    return all_states


def exchange(pair: Pair, addresses: tuple[str, str]) -> tuple[bytes, list[Frame]]:
    """A datagram there and one back; what it says, and what was on the wire."""
    marker = os.urandom(8).hex().encode()
    left, right = (host.bound(address) for host, address in zip(pair.hosts, addresses, strict=True))
    pair.frames()
    left.sendto(marker * 30, (addresses[1], PORT))
    assert right.recv(65536) == marker * 30
    right.sendto(marker * 40, (addresses[0], PORT))
    assert left.recv(65536) == marker * 40
    return marker, pair.frames()


def udp_sockets(pair: Pair) -> None:
    """What an IKE daemon has: sockets that take ESP, and that no policy applies to."""
    for host in pair.hosts:
        made = host.bound(host.address.outer4, ENCAP_PORT), host.bound(host.address.outer6, ENCAP_PORT)
        for each in made:
            each.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
        for direction in ("in", "out"):
            bypass = bytes(native.encode(Policy(direction=direction)))[16 : 16 + 168]
            made[0].setsockopt(socket.IPPROTO_IP, IP_XFRM_POLICY, bypass)


def tcp_connection(version: int) -> Callable[[Pair], None]:
    def prepare(pair: Pair) -> None:
        near, far = (host.address.outer(version) for host in pair.hosts)
        server = pair.right.bound(far, ENCAP_PORT, socket.SOCK_STREAM)
        server.listen()
        client = pair.left.bound(near, ENCAP_PORT, socket.SOCK_STREAM)
        client.connect((far, ENCAP_PORT))
        accepted = pair.right.closing.enter_context(server.accept()[0])
        server.close()
        client.send(b"IKETCP")  # RFC 8229, section 4
        accepted.settimeout(10)
        assert accepted.recv(6) == b"IKETCP"
        for end in (client, accepted):
            end.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"espintcp")

    return prepare


def interfaces(pair: Pair) -> None:
    for near, far in (pair.hosts, pair.hosts[::-1]):
        near.ip(
            f"link add secure type xfrm dev wire if_id {INTERFACE}",
            "link set secure up",
            f"route replace {far.address.inner4}/32 dev secure src {near.address.inner4}",
            f"route replace {far.address.inner6}/128 dev secure src {near.address.inner6}",
        )


def encapsulated(kind: str) -> dict[str, Any]:
    return {"encapsulation": (kind, ENCAP_PORT, ENCAP_PORT)}


PATHS = {
    "ESP tunnel, IPv4 in IPv4": Path(),
    "ESP tunnel, IPv6 in IPv6": Path(inner=6, outer=6),
    "ESP tunnel, IPv4 in IPv6": Path(inner=4, outer=6),
    "ESP tunnel, IPv6 in IPv4": Path(inner=6, outer=4),
    "ESP transport, IPv4": Path(mode="transport"),
    "ESP transport, IPv6": Path(mode="transport", inner=6, outer=6),
    "ESP BEET, IPv4 in IPv4": Path(mode="beet"),
    "ESP BEET, IPv6 in IPv6": Path(mode="beet", inner=6, outer=6),
    "ESP BEET, IPv4 in IPv6": Path(mode="beet", inner=4, outer=6),
    "ESP BEET, IPv6 in IPv4": Path(mode="beet", inner=6, outer=4),
    "AH transport, IPv4": Path(("ah",), "transport", wire=AH, visible=True),
    "AH transport, IPv6": Path(("ah",), "transport", 6, 6, wire=AH, visible=True),
    "AH tunnel, IPv4 in IPv4": Path(("ah",), wire=AH, visible=True),
    "AH tunnel, IPv6 in IPv6": Path(("ah",), inner=6, outer=6, wire=AH, visible=True),
    "AH over ESP, IPv4": Path(("esp", "ah"), wire=AH),
    "IPComp transport, IPv4": Path(("comp",), "transport", wire=COMP),
    "IPComp transport, IPv6": Path(("comp",), "transport", 6, 6, wire=COMP),
    "IPComp tunnel, IPv4 in IPv4": Path(("comp",), wire=COMP),
    "IPComp tunnel, IPv6 in IPv6": Path(("comp",), inner=6, outer=6, wire=COMP),
    "ESP over IPComp, IPv4": Path(("comp", "esp"), "transport"),
    "ESP over IPComp, IPv6": Path(("comp", "esp"), "transport", 6, 6),
    "ESP in UDP, tunnel, IPv4": Path(wire=UDP, options=encapsulated("espinudp"), prepare=udp_sockets),
    "ESP in UDP, transport, IPv4": Path(
        mode="transport", wire=UDP, options=encapsulated("espinudp"), prepare=udp_sockets
    ),
    "ESP in UDP, tunnel, IPv6": Path(
        inner=6, outer=6, wire=UDP, options=encapsulated("espinudp"), prepare=udp_sockets
    ),
    "ESP in TCP, tunnel, IPv4": Path(wire=TCP, options=encapsulated("espintcp"), prepare=tcp_connection(4)),
    "ESP in TCP, tunnel, IPv6": Path(
        inner=6, outer=6, wire=TCP, options=encapsulated("espintcp"), prepare=tcp_connection(6)
    ),
    "xfrm interface, IPv4": Path(options={"if_id": INTERFACE}, prepare=interfaces),
    "xfrm interface, IPv6 in IPv4": Path(inner=6, options={"if_id": INTERFACE}, prepare=interfaces),
}

KEYS: dict[str, dict[str, Any]] = {
    "AES-128-GCM": AES_GCM,
    "AES-256-GCM, 96-bit ICV": {"aead": ("rfc4106(gcm(aes))", key(288), 96)},
    "AES-128-CCM": {"aead": ("rfc4309(ccm(aes))", key(152), 128)},
    "AES-GMAC": {"aead": ("rfc4543(gcm(aes))", key(160), 128)},
    "ChaCha20-Poly1305": {"aead": ("rfc7539esp(chacha20,poly1305)", key(288), 128)},
    "AES-128-CBC, HMAC-SHA-256": HMAC | {"encryption": ("cbc(aes)", key(128))},
    "AES-256-CBC, HMAC-SHA-512": {"authentication": ("hmac(sha512)", key(512), 256)}
    | {"encryption": ("cbc(aes)", key(256))},
    "AES-CTR, AES-XCBC": {"authentication": ("xcbc(aes)", key(128), 96)}
    | {"encryption": ("rfc3686(ctr(aes))", key(160))},
    "3DES-CBC, HMAC-SHA-1": {"authentication": ("hmac(sha1)", key(160), 96)}
    | {"encryption": ("cbc(des3_ede)", key(192))},
    "Camellia-CBC, AES-CMAC": {"authentication": ("cmac(aes)", key(128), 96)}
    | {"encryption": ("cbc(camellia)", key(128))},
    "NULL, HMAC-SHA-256": HMAC | {"encryption": ("ecb(cipher_null)", "")},
}


def run(pair: Pair, path: Path, record: Record, kind: str, name: str) -> list[Frame]:
    if path.prepare:
        path.prepare(pair)
    installed = secure(pair, path)
    marker, frames = exchange(pair, (path.ends(pair.left)[0], path.ends(pair.right)[0]))
    carriers = [frame for frame in frames if not _is_bare_tcp(frame)]
    assert [(frame.version, frame.protocol) for frame in carriers] == [(path.outer, path.wire)] * 2
    assert {marker in frame.data for frame in frames} == {path.visible}
    if path.wire in (UDP, TCP):
        assert {frame.ports for frame in frames} == {(ENCAP_PORT, ENCAP_PORT)}
    counted = [[sa.packets(host, state) for host in pair.hosts] for state in installed]
    assert counted == [[1, 1]] * len(installed)
    record(kind, name, f"{len(installed)} SAs, packets sent/received {counted[0][0]}/{counted[0][1]}")
    return carriers


def _is_bare_tcp(frame: Frame) -> bool:
    """An acknowledgement without data."""
    return frame.protocol == TCP and len(frame.payload) == (frame.payload[12] >> 4) * 4


@pytest.mark.parametrize("version", [4, 6])
def test_without_ipsec_the_payload_is_seen(pair: Pair, version: int) -> None:
    marker, frames = exchange(pair, (pair.left.address.inner(version), pair.right.address.inner(version)))
    assert [(frame.version, frame.protocol, marker in frame.data) for frame in frames] == [(version, UDP, True)] * 2


@pytest.mark.parametrize("name", PATHS)
def test_path(pair: Pair, record: Record, name: str) -> None:
    frames = run(pair, PATHS[name], record, "path", name)
    if PATHS[name].wire == AH:
        for frame in frames:
            assert_ah_icv(frame)


@pytest.mark.parametrize("name", KEYS)
def test_algorithms(pair: Pair, record: Record, name: str) -> None:
    visible = name in ("AES-GMAC", "NULL, HMAC-SHA-256")  # these authenticate, and hide nothing
    run(pair, Path(inner=6, esp=KEYS[name], visible=visible), record, "algorithms", name)


def assert_ah_icv(frame: Frame) -> None:
    """Computes the ICV anew (RFC 4302): over the packet, with what changes on the way, and the ICV, as zeros."""
    packet = bytearray(frame.data[14:])
    if frame.version == 4:
        start = (packet[0] & 15) * 4
        packet[1:2], packet[6:9], packet[10:12] = bytes(1), bytes(3), bytes(2)  # TOS; flags, TTL; checksum
    else:
        start = 40
        packet[:4], packet[7:8] = struct.pack("!I", 6 << 28), bytes(1)  # class and flow label; hop limit
    assert packet[start + 1] == 6  # the header's length in 32-bit words, minus 2; there are 4 bytes of padding
    icv = bytes(packet[start + 12 : start + 28])
    packet[start + 12 : start + 28] = bytes(16)
    assert icv == hmac.digest(bytes.fromhex(HMAC["authentication"][1]), packet, "sha256")[:16]

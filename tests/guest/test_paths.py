# SPDX-License-Identifier: MIT
"""Packets through every kind of state: they arrive, the wire shows what it should, and the counters rise."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from guest.conftest import Record
from guest.network import AH, COMP, DEADLINE, ESP, PORT, TCP, UDP, Frame, Host, Pair, until
from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Encapsulation,
    LifetimeCurrent,
    Mark,
    Mode,
    Policy,
    Selector,
    State,
    Template,
)
from xfrm_ext.sockets import set_encapsulation, set_policy
from xfrm_ext.testing import network_namespace

ENCAP_PORT = 4500
INTERFACE = 42


def key(bits: int) -> bytes:
    """A key, always the same for a length."""
    return hashlib.shake_256(b"key").digest(bits // 8)


def gcm(bits: int = 128, icv_bits: int = 128) -> dict[str, Any]:
    return {"aead": AeadAlgorithm("rfc4106(gcm(aes))", key(bits + 32), icv_bits)}


def both(cipher: str, cipher_bits: int, digest: str, digest_bits: int) -> dict[str, Any]:
    """Encryption, and authentication beside it."""
    return {
        "encryption": Algorithm(cipher, key(cipher_bits)),
        "authentication": AuthAlgorithm(digest, key(digest_bits)),
    }


HMAC_KEY = key(256)
AUTHENTICATED: dict[str, Any] = {"authentication": AuthAlgorithm("hmac(sha256)", HMAC_KEY)}
COMPRESSED: dict[str, Any] = {"compression": Algorithm("deflate")}


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
    """Of all states, beyond algorithms."""
    sending: dict[str, Any] = field(default_factory=dict)
    """Of the states of the host that sends."""
    receiving: dict[str, Any] = field(default_factory=dict)
    esp: dict[str, Any] = field(default_factory=gcm)
    """Of the states of ESP only."""
    prepare: Callable[[Pair], object] | None = None

    def ends(self, host: Host) -> tuple[str, str]:
        """The host's address in the packets and that in the states."""
        if self.mode == "transport":
            return host.address.outer(self.outer), host.address.outer(self.outer)
        return host.address.inner(self.inner), host.address.outer(self.outer)


@dataclass(frozen=True)
class Installed:
    """A state as the two hosts have it."""

    sender: Host
    sending: State
    receiver: Host
    receiving: State

    def used(self) -> tuple[LifetimeCurrent, LifetimeCurrent]:
        """What the sender's and the receiver's have counted."""
        return (
            self.sender.session.sad.get(self.sending).current,
            self.receiver.session.sad.get(self.receiving).current,
        )


def states(path: Path, source: Host, destination: Host) -> list[Installed]:
    """States for one direction, from the inside to the outside."""
    ends = path.ends(source), path.ends(destination)
    made = []
    for number, protocol in enumerate(path.protocols):
        usual = {"esp": path.esp, "ah": AUTHENTICATED, "comp": COMPRESSED}[protocol]
        options: dict[str, Any] = {"reqid": number + 1, "protocol": protocol} | usual | path.options
        options["mode"] = path.mode if number == 0 else "transport"
        options["spi"] = (0x1000 if source.name == "left" else 0x2000) + number
        if path.mode == "beet" or path.inner != path.outer:
            options["selector"] = Selector(ends[0][0], ends[1][0])
        sending, receiving = (
            State(ends[0][1], ends[1][1], **options | more) for more in (path.sending, path.receiving)
        )
        made.append(Installed(source, sending, destination, receiving))
    return made


def secure(pair: Pair, path: Path) -> list[Installed]:
    """Puts states and policies for both directions into both hosts."""
    installed = []
    for source, destination in (pair.hosts, pair.hosts[::-1]):
        ends = path.ends(source), path.ends(destination)
        chain = states(path, source, destination)
        templates = [
            Template(
                *((ends[0][1], ends[1][1]) if each.sending.mode != Mode.TRANSPORT else ()),
                protocol=each.sending.protocol,
                mode=each.sending.mode,
                reqid=each.sending.reqid,
                family=each.sending.family,
            )
            for each in chain
        ]
        for host, direction in ((source, "out"), (destination, "in")):
            host.session.spd.add(
                Policy(
                    Selector(ends[0][0], ends[1][0]),
                    direction=direction,
                    templates=templates,
                    if_id=path.options.get("if_id"),
                    mark=path.options.get("mark"),
                )
            )
        for each in chain:
            source.session.sad.add(each.sending)
            destination.session.sad.add(each.receiving)
        installed += chain
    return installed


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


def udp_sockets(pair: Pair, port: int = ENCAP_PORT) -> None:
    """What a key manager has: sockets that take ESP, and that no policy applies to."""
    for host in pair.hosts:
        for address in (host.address.outer4, host.address.outer6):
            made = host.bound(address, port)
            set_encapsulation(made, "espinudp")
            for direction in ("in", "out"):
                set_policy(
                    made, Policy(Selector(family="inet6" if ":" in address else "inet"), direction=direction)
                )


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
        accepted.settimeout(DEADLINE)
        assert accepted.recv(6) == b"IKETCP"
        for end in (client, accepted):
            set_encapsulation(end, "espintcp")

    return prepare


def interfaces(pair: Pair) -> None:
    for near, far in (pair.hosts, pair.hosts[::-1]):
        near.session.links.add("secure", INTERFACE, device="wire", up=True)
        near.ip(
            f"route replace {far.address.inner4}/32 dev secure src {near.address.inner4}",
            f"route replace {far.address.inner6}/128 dev secure src {near.address.inner6}",
        )


def marking_tunnels(kind: str, version: int) -> Callable[[Pair], None]:
    """VTI: what is routed into it gets its mark."""

    def prepare(pair: Pair) -> None:
        for near, far in (pair.hosts, pair.hosts[::-1]):
            ends = f"local {near.address.outer(version)} remote {far.address.outer(version)}"
            near.ip(
                f"link add secure type {kind} {ends} key {INTERFACE}",
                "link set secure up",
                f"route replace {far.address.inner(version)} dev secure src {near.address.inner(version)}",
            )

    return prepare


def encapsulated(kind: str) -> dict[str, Any]:
    return {"encapsulation": Encapsulation(kind, ENCAP_PORT, ENCAP_PORT)}


DIRECTED: dict[str, Any] = {"sending": {"direction": "out"}, "receiving": {"direction": "in"}}
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
    "VTI, IPv4": Path(options={"mark": Mark(INTERFACE)}, prepare=marking_tunnels("vti", 4)),
    "VTI, IPv6": Path(inner=6, outer=6, options={"mark": Mark(INTERFACE)}, prepare=marking_tunnels("vti6", 6)),
    "IP-TFS, IPv4 in IPv4": Path(mode="iptfs", **DIRECTED),
    "IP-TFS, IPv6 in IPv6": Path(mode="iptfs", inner=6, outer=6, **DIRECTED),
    "IP-TFS, IPv4 in IPv6": Path(mode="iptfs", outer=6, **DIRECTED),
    "one CPU's": Path(sending={"direction": "out", "cpu": 0}, receiving={"direction": "in", "cpu": 0}),
    "extended sequence numbers": Path(options={"flags": "esn", "replay_window": 128}),
}

KEYS: dict[str, dict[str, Any]] = {
    "AES-128-GCM": gcm(),
    "AES-192-GCM": gcm(192),
    "AES-256-GCM, 96-bit ICV": gcm(256, 96),
    "AES-128-CCM": {"aead": AeadAlgorithm("rfc4309(ccm(aes))", key(152))},
    "AES-128-GMAC": {"aead": AeadAlgorithm("rfc4543(gcm(aes))", key(160))},
    "ChaCha20-Poly1305": {"aead": AeadAlgorithm("rfc7539esp(chacha20,poly1305)", key(288))},
    "AES-128-CBC, HMAC-SHA-256": both("cbc(aes)", 128, "hmac(sha256)", 256),
    "AES-256-CBC, HMAC-SHA-512": both("cbc(aes)", 256, "hmac(sha512)", 512),
    "AES-CTR, AES-XCBC": both("rfc3686(ctr(aes))", 160, "xcbc(aes)", 128),
    "AES-CTR, HMAC-SHA-384": both("rfc3686(ctr(aes))", 288, "hmac(sha384)", 384),
    "3DES-CBC, HMAC-SHA-1": both("cbc(des3_ede)", 192, "hmac(sha1)", 160),
    "DES-CBC, HMAC-MD5": both("cbc(des)", 64, "hmac(md5)", 128),
    "Camellia-CBC, AES-CMAC": both("cbc(camellia)", 256, "cmac(aes)", 128),
    "SM4-CBC, HMAC-SM3": both("cbc(sm4)", 128, "hmac(sm3)", 256),
    "Blowfish-CBC, HMAC-SHA-1": both("cbc(blowfish)", 128, "hmac(sha1)", 160),
    "CAST5-CBC, HMAC-SHA-1": both("cbc(cast5)", 128, "hmac(sha1)", 160),
    "Serpent-CBC, HMAC-SHA-256": both("cbc(serpent)", 256, "hmac(sha256)", 256),
    "Twofish-CBC, HMAC-SHA-256": both("cbc(twofish)", 256, "hmac(sha256)", 256),
    "NULL, HMAC-SHA-256": both("ecb(cipher_null)", 0, "hmac(sha256)", 256),
    "AES-CBC, no authentication": {"encryption": Algorithm("cbc(aes)", key(128))},
}
PLAIN = ("AES-128-GMAC", "NULL, HMAC-SHA-256")
"""These authenticate, and hide nothing."""


def run(pair: Pair, path: Path, record: Record, kind: str, name: str) -> list[Frame]:
    if path.prepare:
        path.prepare(pair)
    installed = secure(pair, path)
    marker, frames = exchange(pair, (path.ends(pair.left)[0], path.ends(pair.right)[0]))
    carriers = _without_tcps_own(frames)
    assert [(frame.version, frame.protocol) for frame in carriers] == [(path.outer, path.wire)] * 2
    assert {marker in frame.data for frame in frames} == {path.visible}
    if path.wire in (UDP, TCP):
        assert {frame.ports for frame in frames} == {(ENCAP_PORT, ENCAP_PORT)}
    used = [each.used() for each in installed]
    assert [(sent.packets, received.packets) for sent, received in used] == [(1, 1)] * len(installed)
    assert all(sent.bytes == received.bytes > 0 for sent, received in used)
    for each, (sent, received) in zip(installed, used, strict=True):
        counted = f"packets {sent.packets}/{received.packets}, bytes {sent.bytes}/{received.bytes}"
        record(kind, name, f"{each.sending.protocol.name} {each.sending.spi:#x}: sent/received {counted}")
    return carriers


def _without_tcps_own(frames: list[Frame]) -> list[Frame]:
    """Leaves out acknowledgements without data, and what is sent again to who was slow."""
    found, seen = [], set()
    for frame in frames:
        if frame.protocol == TCP:
            data = frame.payload[(frame.payload[12] >> 4) * 4 :]
            if not data or data in seen:
                continue
            seen.add(data)
        found.append(frame)
    return found


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
    path = Path(inner=6, esp=KEYS[name], visible=name in PLAIN, **DIRECTED)
    run(pair, path, record, "algorithms", name)


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
    assert icv == hmac.digest(HMAC_KEY, packet, "sha256")[:16]


def test_ipcomp_leaves_alone_what_is_short(pair: Pair) -> None:
    """Then no state is used at all: the receiver's template says so (level use)."""
    path = PATHS["IPComp transport, IPv4"]
    installed = secure(pair, path)
    near, far = path.ends(pair.left)[0], path.ends(pair.right)[0]
    template = Template(protocol="comp", mode="transport", reqid=1, family="inet", level="use")
    pair.right.session.spd.update(Policy(Selector(near, far), direction="in", templates=[template]))
    sender, receiver = pair.left.bound(near), pair.right.bound(far)
    sender.sendto(b"short", (far, PORT))
    assert receiver.recv(100) == b"short"
    assert [(frame.protocol, b"short" in frame.data) for frame in pair.frames()] == [(UDP, True)]
    assert installed[0].used()[1].packets == 0


def test_a_gateway_forwards_what_a_policy_lets_through(pair: Pair) -> None:
    path = PATHS["ESP tunnel, IPv4 in IPv4"]
    with network_namespace() as namespace:
        ends = pair.left.address.inner4, "10.3.0.2"
        right = pair.right
        right.ip(
            f"link add site type veth peer name wire netns /proc/{os.getpid()}/fd/{namespace}",
            "addr add 10.3.0.1/24 dev site",
            "link set site up",
        )
        site = replace(right, name="site", namespace=namespace)
        site.ip("link set wire up", f"addr add {ends[1]}/24 dev wire")
        until(lambda: "state UP" in right.run("ip", "link", "show", "site"), "the gateway's interface")
        right.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        pair.left.ip(f"route add {ends[1]}/32 via {right.address.outer4} dev wire src {ends[0]}")
        state = states(path, pair.left, right)[0]
        state.sender.session.sad.add(state.sending)
        state.receiver.session.sad.add(state.receiving)
        template = Template(
            pair.left.address.outer4, right.address.outer4, protocol="esp", mode="tunnel", reqid=state.sending.reqid
        )
        pair.left.session.spd.add(Policy(Selector(*ends), direction="out", templates=[template]))
        sender, receiver = pair.left.bound(ends[0]), site.bound(ends[1])

        sender.sendto(b"not yet", (ends[1], PORT))
        until(lambda: right.session.statistics()["XfrmInNoPols"] == 1, "the gateway to drop the packet")
        right.session.spd.add(Policy(Selector(*ends), direction="fwd", templates=[template]))
        sender.sendto(b"now", (ends[1], PORT))
        assert receiver.recv(100) == b"now"
        assert [used.packets for used in state.used()] == [2, 2]


@pytest.mark.parametrize("version", [4, 6])
def test_what_no_policy_is_for_can_be_blocked(pair: Pair, version: int) -> None:
    near, far = (host.address.outer(version) for host in pair.hosts)
    sender, receiver = pair.left.bound(near), pair.right.bound(far)
    pair.left.session.spd.set_defaults(output="block")
    with pytest.raises(PermissionError):
        sender.sendto(b"blocked on its way out", (far, PORT))
    pair.left.session.spd.set_defaults(output="accept")
    pair.right.session.spd.set_defaults(input="block")
    sender.sendto(b"blocked on its way in", (far, PORT))
    until(lambda: pair.right.session.statistics().nonzero, "the packet to be dropped")
    assert set(pair.right.session.statistics().nonzero) == {"XfrmInNoPols"}
    pair.right.session.spd.set_defaults(input="accept")
    sender.sendto(b"passed", (far, PORT))
    assert receiver.recv(100) == b"passed"

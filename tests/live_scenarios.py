# SPDX-License-Identifier: MIT
"""What is done with a real kernel, for docs/coverage.md: see live.py."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vectors as v
from live import SAD_NAMES, SPD_NAMES, Absent, Kernel, scenario
from vectors import made, take_apart

from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AttributeType,
    AuthAlgorithm,
    Encapsulation,
    IpTfs,
    LifetimeCurrent,
    Mark,
    Message,
    Offload,
    Policy,
    ReplayState,
    Request,
    Selector,
    State,
    StateId,
    Template,
)
from xfrm_ext.testing import inside

KEY = bytes(range(32))
GCM = AeadAlgorithm("rfc4106(gcm(aes))", KEY[:20])
SHA1 = AuthAlgorithm("hmac(sha1)", KEY[:20])
AES = Algorithm("cbc(aes)", KEY[:16])
NO_CIPHER: dict[str, Any] = {
    "encryption": Algorithm("ecb(cipher_null)"),
    "authentication": AuthAlgorithm("digest_null", b"", 0),
}
HERE, THERE, ELSEWHERE = "192.0.2.1", "198.51.100.2", "203.0.113.3"


# --- states ---------------------------------------------------------------------------------------------------


def state(**fields: Any) -> State:
    """A state with these fields."""
    if not {"aead", "authentication", "encryption", "compression"} & set(fields) and "protocol" not in fields:
        fields["aead"] = GCM
    addresses = fields.pop("addresses", (HERE, THERE))
    return State(*addresses, spi=fields.pop("spi", 0x100), **fields)


STATE_ATTRIBUTES: dict[int, Callable[[], State]] = {
    v.AUTH: lambda: state(authentication=AuthAlgorithm("hmac(sha1)", KEY[:20], 0), encryption=AES),
    v.CRYPT: lambda: state(authentication=SHA1, encryption=AES),
    v.COMP: lambda: state(protocol="comp", compression=Algorithm("deflate")),
    v.ENCAP: lambda: state(encapsulation=Encapsulation(original_address=ELSEWHERE)),
    v.REPLAY_VAL: lambda: state(replay=ReplayState(7, 9, 3)),
    v.COADDR: lambda: state(
        addresses=("2001:db8::1", "2001:db8::2"), spi=0, protocol="hao", mode="ro", care_of_address="2001:db8::3"
    ),
    v.AEAD: lambda: state(),
    v.AUTH_TRUNC: lambda: state(authentication=AuthAlgorithm("hmac(sha256)", KEY), encryption=AES),
    v.MARK: lambda: state(mark=Mark(5, 0xFF)),
    v.TFCPAD: lambda: state(mode="tunnel", traffic_flow_padding=64),
    v.REPLAY_ESN_VAL: lambda: state(flags="esn", replay_window=128, replay=ReplayState(1 << 32, 2 << 32 | 5, 3)),
    v.SA_EXTRA_FLAGS: lambda: state(extra_flags=["dont_encap_dscp", "oseq_may_wrap"]),
    v.SET_MARK: lambda: state(output_mark=Mark(6)),
    v.SET_MARK_MASK: lambda: state(output_mark=Mark(6, 0xFF)),
    v.IF_ID: lambda: state(if_id=42),
    v.MTIMER_THRESH: lambda: state(direction="in", encapsulation=Encapsulation(), mapping_timer_threshold=10),
    v.SA_DIR: lambda: state(direction="in"),
    v.NAT_KEEPALIVE_INTERVAL: lambda: state(
        direction="out", encapsulation=Encapsulation(), nat_keepalive_interval=20
    ),
    v.SA_PCPU: lambda: state(direction="in", cpu=0),
    v.IPTFS_DROP_TIME: lambda: state(mode="iptfs", direction="in", iptfs=IpTfs(drop_time=1000)),
    v.IPTFS_REORDER_WINDOW: lambda: state(mode="iptfs", direction="in", iptfs=IpTfs(reorder_window=3)),
    v.IPTFS_DONT_FRAG: lambda: state(mode="iptfs", direction="out", iptfs=IpTfs(dont_fragment=True)),
    v.IPTFS_INIT_DELAY: lambda: state(mode="iptfs", direction="out", iptfs=IpTfs(init_delay=500)),
    v.IPTFS_MAX_QSIZE: lambda: state(mode="iptfs", direction="out", iptfs=IpTfs(max_queue_size=65536)),
    v.IPTFS_PKT_SIZE: lambda: state(mode="iptfs", direction="out", iptfs=IpTfs(packet_size=1000)),
}
"""A state with each attribute that comes back as it went."""


def _add_and_get(kind: int, make: Callable[[], State]) -> Callable[[Kernel], None]:
    def run(kernel: Kernel) -> None:
        made_state = make()
        sent = dict(take_apart(kernel.encoded(made_state)).attributes)
        kernel.send(Request(Message.NEWSA, made_state))
        got = dict(kernel.ask(Request(Message.GETSA, made_state.id)).attributes)
        assert got[kind] == sent[kind]

    return run


for _kind, _make in STATE_ATTRIBUTES.items():
    scenario(f"XFRMA_{AttributeType(_kind).name}")(_add_and_get(_kind, _make))


@scenario("XFRM_MSG_NEWSA", "XFRM_MSG_UPDSA", "XFRM_MSG_GETSA", "XFRM_MSG_DELSA", "XFRMA_SA")
def states(kernel: Kernel) -> None:
    first = state()
    kernel.send(Request(Message.NEWSA, first))
    assert kernel.event(v.NEWSA).fixed[56:92] == take_apart(kernel.encoded(first)).fixed[56:92]
    kernel.send(Request(Message.UPDSA, state(reqid=7, replay_window=16)))
    kernel.event(v.UPDSA)
    kernel.ask(Request(Message.GETSA, first.id))
    kernel.send(Request(Message.DELSA, first.id))
    assert v.SA in dict(kernel.event(v.DELSA).attributes)


@scenario("XFRMA_SEC_CTX")
def label(kernel: Kernel) -> None:
    # Comes back only where a security module keeps it.
    kernel.send(Request(Message.NEWSA, state(security_context="system_u:object_r:ipsec_spd_t:s0")))


@scenario("XFRM_MSG_ALLOCSPI", "XFRM_MSG_FLUSHSA")
def larval_states(kernel: Kernel) -> None:
    larval = State(HERE, THERE, spi=0)
    fixed = take_apart(kernel.encoded(larval)).fixed
    kernel.ask(made(v.ALLOCSPI, 1, state=fixed, spi_min=0x500, spi_max=0x500))
    [found] = kernel.dump(made(v.GETSA, 0x301))
    assert found.fixed[72:76] == struct.pack(">I", 0x500)
    kernel.send(made(v.FLUSHSA, protocol=50))
    kernel.event(v.FLUSHSA)
    assert kernel.dump(made(v.GETSA, 0x301)) == []


@scenario("XFRMA_PROTO", "XFRMA_ADDRESS_FILTER")
def filters(kernel: Kernel) -> None:
    for number, (protocol, source) in enumerate((("esp", HERE), ("ah", HERE), ("esp", ELSEWHERE)), 0x500):
        fixed = take_apart(kernel.encoded(State(source, THERE, spi=0, protocol=protocol))).fixed
        kernel.ask(made(v.ALLOCSPI, 1, state=fixed, spi_min=number, spi_max=number))
    by_address = (v.ADDRESS_FILTER, address(HERE) + bytes(16) + struct.pack("=HBB", 2, 32, 0))
    assert len(kernel.dump(made(v.GETSA, 0x301))) == 3
    assert len(kernel.dump(made(v.GETSA, 0x301, (v.PROTO, b"\x32"), by_address))) == 1


@scenario("XFRMA_SRCADDR")
def named_by_source(kernel: Kernel) -> None:
    found = STATE_ATTRIBUTES[v.COADDR]()
    kernel.send(Request(Message.NEWSA, found))
    name = StateId("2001:db8::2", 0, "hao", source="2001:db8::1")
    assert v.SRCADDR in dict(take_apart(kernel.encoded(Request(Message.GETSA, name))).attributes)
    kernel.ask(Request(Message.GETSA, name))


@scenario("XFRM_MSG_EXPIRE")
def expiry(kernel: Kernel) -> None:
    kernel.send(Request(Message.NEWSA, state()))
    kernel.send(made(v.EXPIRE, state=take_apart(kernel.encoded(state())).fixed, hard=0))
    assert kernel.event(v.EXPIRE).fixed[224] == 0


@scenario("XFRM_MSG_NEWAE", "XFRM_MSG_GETAE", "XFRMA_LTIME_VAL", "XFRMA_REPLAY_THRESH", "XFRMA_ETIMER_THRESH")
def asynchronous_events(kernel: Kernel) -> None:
    used = LifetimeCurrent(bytes=500, packets=5, add_time=1000, use_time=2000)
    kernel.send(Request(Message.NEWSA, state(lifetime_value=used, replay_threshold=11, event_timer_threshold=1000)))
    name: dict[str, Any] = {
        "destination": address(THERE),
        "spi": 0x100,
        "family": 2,
        "protocol": 50,
        "source": address(HERE),
    }
    got = dict(kernel.ask(made(v.GETAE, 1, flags=1 | 8, **name)).attributes)
    assert got[v.REPLAY_THRESH] == struct.pack("=I", 11)
    assert v.ETIMER_THRESH in got  # set in ticks, told in tenths of seconds: today's kernels mix them up
    assert got[v.LTIME_VAL][:16] == struct.pack("=QQ", 500, 5)
    replay = (v.REPLAY_VAL, struct.pack("=III", 20, 30, 1))
    kernel.send(made(v.NEWAE, 0x105, replay, (v.LTIME_VAL, got[v.LTIME_VAL]), flags=64, **name))
    assert dict(kernel.event(v.NEWAE).attributes)[v.REPLAY_VAL] == replay[1]


@scenario("XFRMA_OFFLOAD_DEV")
def offload(kernel: Kernel) -> None:
    with inside(kernel.namespace), _simulated_device() as device:
        made_state = state(mode="tunnel", direction="in", offload=Offload(device, "inbound"))
        kernel.send(Request(Message.NEWSA, made_state))
        got = dict(kernel.ask(Request(Message.GETSA, made_state.id)).attributes)
        assert got[v.OFFLOAD_DEV] == struct.pack("=iBxxx", device, 2)
        kernel.send(Request(Message.DELSA, made_state.id))


@contextmanager
def _simulated_device() -> Iterator[int]:
    """The index of a network device that pretends to do ESP, in the calling thread's network namespace."""
    bus = Path("/sys/bus/netdevsim")
    if not bus.exists():
        raise Absent("no device that offloads ESP, and no netdevsim to pretend to be one")
    before = set(socket.if_nameindex())
    (bus / "new_device").write_text("7 1", encoding="ascii")
    try:
        [(index, _)] = set(socket.if_nameindex()) - before
        yield index
    finally:
        (bus / "del_device").write_text("7", encoding="ascii")


def address(text: str) -> bytes:
    """The kernel's 16 bytes of an address."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(family, text).ljust(16, b"\0")


# --- states, with packets through them ------------------------------------------------------------------------


@scenario("XFRM_MSG_MAPPING", "XFRMA_LASTUSED")
def mapping(kernel: Kernel) -> None:
    loop = State("127.0.0.2", "127.0.0.1", spi=0x100, encapsulation=Encapsulation(), **NO_CIPHER)
    kernel.send(Request(Message.NEWSA, loop))
    with inside(kernel.namespace):
        _up("lo")
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source,
        ):
            to.bind(("127.0.0.1", 4500))
            to.setsockopt(socket.IPPROTO_UDP, 100, 2)  # UDP_ENCAP, UDP_ENCAP_ESPINUDP
            source.bind(("127.0.0.2", 5555))  # not the 4500 that the state tells
            udp = struct.pack("!HHHH", 7, 9, 8, 0)
            source.sendto(struct.pack("!II", 0x100, 1) + udp + b"\1\2\2\x11", ("127.0.0.1", 4500))
    parts = kernel.event(v.MAPPING)
    assert parts.fixed[60:64] == struct.pack(">HH", 4500, 5555)
    assert v.LASTUSED in dict(kernel.ask(Request(Message.GETSA, loop.id)).attributes)


@scenario("XFRM_MSG_REPORT")
def report(kernel: Kernel) -> None:
    home = "2001:db8::99"
    made_state = state(addresses=(home, "::1"), spi=0, protocol="hao", mode="ro", care_of_address="::1")
    kernel.send(Request(Message.NEWSA, made_state))
    with inside(kernel.namespace):
        _up("lo")
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, 253) as source:
            # A home address option, which no policy asks for.
            option = b"\0\2\1\2\0\0\xc9\x10" + socket.inet_pton(socket.AF_INET6, home)
            source.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, option)
            source.sendto(b"hello", ("::1", 0))
    assert kernel.event(v.REPORT).fixed[0] == 60


def _up(name: str) -> None:
    """Sets an interface of the calling thread's network namespace up."""
    body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(name), 1, 1)  # struct ifinfomsg, IFF_UP
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), 16, 5, 1, 0) + body)  # RTM_NEWLINK
        code = struct.unpack_from("=i", route.recv(4096), 16)[0]
        if code:
            raise OSError(-code, os.strerror(-code))


# --- policies -------------------------------------------------------------------------------------------------


def policy(**fields: Any) -> Policy:
    """A policy with these fields."""
    return Policy(Selector("10.1.0.0/16", "10.2.0.0/16"), direction="out", **fields)


TEMPLATE = Template(HERE, THERE, protocol="esp", mode="tunnel", reqid=7)


@scenario("XFRM_MSG_NEWPOLICY", "XFRM_MSG_UPDPOLICY", "XFRM_MSG_GETPOLICY", "XFRM_MSG_DELPOLICY", "XFRMA_TMPL")
def policies(kernel: Kernel) -> None:
    first = policy(templates=[TEMPLATE], policy_type="sub", mark=Mark(1, 3), if_id=5)
    kernel.send(Request(Message.NEWPOLICY, first))
    sent = dict(take_apart(kernel.encoded(first)).attributes)
    got = dict(kernel.event(v.NEWPOLICY).attributes)
    for kind in (v.TMPL, v.POLICY_TYPE, v.MARK, v.IF_ID):
        assert got[kind] == sent[kind]
    kernel.send(Request(Message.UPDPOLICY, first))
    kernel.event(v.UPDPOLICY)
    kernel.ask(Request(Message.GETPOLICY, first.id))
    assert len(kernel.dump(Request(Message.GETPOLICY))) == 1
    kernel.send(Request(Message.DELPOLICY, first.id))
    assert v.POLICY in dict(kernel.event(v.DELPOLICY).attributes)
    kernel.send(first)
    kernel.send(made(v.FLUSHPOLICY, 5, (v.POLICY_TYPE, b"\1" + bytes(5))))
    kernel.event(v.FLUSHPOLICY)


@scenario("XFRM_MSG_POLEXPIRE")
def policy_expiry(kernel: Kernel) -> None:
    kernel.send(Request(Message.NEWPOLICY, policy()))
    kernel.send(made(v.POLEXPIRE, policy=take_apart(kernel.encoded(policy())).fixed, hard=1))
    assert kernel.event(v.POLEXPIRE).fixed[168] == 1


@scenario("XFRM_MSG_ACQUIRE")
def acquire(kernel: Kernel) -> None:
    wanted = take_apart(kernel.encoded(policy(templates=[TEMPLATE])))
    message = made(
        v.ACQUIRE,
        5,
        *wanted.attributes,
        destination=address(THERE),
        source=address(HERE),
        protocol=50,
        selector=wanted.fixed[:56],
        policy=wanted.fixed,
        aalgos=0xFFFFFFFF,
        ealgos=0xFFFFFFFF,
        calgos=0xFFFFFFFF,
        sequence=3,
    )
    kernel.send(message)
    assert kernel.event(v.ACQUIRE).fixed[:16] == address(THERE)


@scenario("XFRM_MSG_MIGRATE", "XFRMA_MIGRATE", "XFRMA_KMADDRESS")
def migration(kernel: Kernel) -> None:
    kernel.send(Request(Message.NEWPOLICY, policy(templates=[TEMPLATE])))
    old, new = address(THERE) + address(HERE), address(ELSEWHERE) + address(HERE)
    each = old + new + struct.pack("=BBHIHH", 50, 1, 0, 7, 2, 2)
    manager = address(HERE) + address(ELSEWHERE) + struct.pack("=IHxx", 0, 2)
    selector = take_apart(kernel.encoded(policy())).fixed[:56]
    attributes = ((v.KMADDRESS, manager), (v.MIGRATIONS, each))
    kernel.send(made(v.MIGRATE, 5, *attributes, selector=selector, direction=1))
    got = dict(kernel.event(v.MIGRATE).attributes)
    assert got[v.MIGRATIONS] == each
    assert got[v.KMADDRESS] == manager


@scenario("XFRM_MSG_MIGRATE_STATE")
def state_migration(kernel: Kernel) -> None:
    before = state(mode="tunnel", reqid=7)
    kernel.send(Request(Message.NEWSA, before))
    kernel.send(
        made(
            v.MIGRATE_STATE,
            destination=address(THERE),
            spi=0x100,
            family=2,
            protocol=50,
            new_destination=address(ELSEWHERE),
            new_source=address(HERE),
            reqid=7,
            new_family=2,
        )
    )
    kernel.ask(Request(Message.GETSA, StateId(ELSEWHERE, 0x100)))
    kernel.event(v.MIGRATE_STATE)


@scenario("XFRM_MSG_SETDEFAULT", "XFRM_MSG_GETDEFAULT")
def defaults(kernel: Kernel) -> None:
    kernel.send(made(v.SETDEFAULT, input=1, forward=2, output=2))
    assert kernel.ask(made(v.GETDEFAULT, 1)).fixed == b"\1\2\2"


@scenario(
    *(f"XFRM_MSG_{name}" for name in ("NEWSADINFO", "GETSADINFO", "NEWSPDINFO", "GETSPDINFO")),
    *(f"XFRMA_{name}" for name in (*SAD_NAMES.values(), *SPD_NAMES.values())),
)
def information(kernel: Kernel) -> None:
    thresholds = ((3, b"\x10\x18"), (4, b"\x30\x40"))
    kernel.send(made(v.NEWSPDINFO, 5, *thresholds, flags=0xFFFFFFFF))
    got = dict(kernel.ask(made(v.GETSPDINFO, 1, flags=0xFFFFFFFF)).attributes)
    assert {kind: got[kind] for kind in (3, 4)} == dict(thresholds)
    assert set(dict(kernel.ask(made(v.GETSADINFO, 1, flags=0xFFFFFFFF)).attributes)) == {1, 2}

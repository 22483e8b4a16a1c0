# SPDX-License-Identifier: MIT
"""session.sad against a kernel with all of IPsec: every kind of state goes there and comes back."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guest.network import Pair, until
from guest.test_paths import AUTHENTICATED, COMPRESSED, gcm, key
from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AlreadyExists,
    AuthAlgorithm,
    Encapsulation,
    IpTfs,
    KernelError,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Mode,
    NotFound,
    Offload,
    OffloadFlag,
    PermissionDenied,
    Policy,
    Protocol,
    ReplayState,
    Selector,
    Session,
    State,
    StateDirection,
    StateExtraFlag,
    StateFlag,
    StateId,
    Template,
)
from xfrm_ext.algorithm import AEAD, AUTHENTICATION, COMPRESSION, ENCRYPTION
from xfrm_ext.testing import inside

ENDS = ("192.0.2.1", "192.0.2.2")
ENDS6 = ("2001:db8::1", "2001:db8::2")
UNKNOWN_TO_THE_KERNEL = {"hmac(rmd160)", "lzs", "lzjh"}


def esp(spi: int = 0x1000, *ends: str, **options: Any) -> State:
    """A state with the usual algorithm."""
    given: dict[str, Any] = {"mode": "tunnel", "reqid": 1} | gcm() | options
    return State(*(ends or ENDS), spi=spi, **given)


def ipcomp(**options: Any) -> State:
    options = {"protocol": "comp", "mode": "transport", "aead": None} | COMPRESSED | options
    return esp(0x100, **options)


def settled(state: State) -> State:
    """A state as the kernel shows it, without what it counts."""
    selector = state.selector
    if selector == Selector(family="unspec") and not state.flags & StateFlag.AF_UNSPEC:
        selector = Selector(family=state.family)
    replay = state.replay or ReplayState()
    return replace(state, current=LifetimeCurrent(), last_used=None, replay=replay, selector=selector)


def _lengths(bits: tuple[int, ...]) -> list[int]:
    return sorted({bits[0], bits[len(bits) // 2], bits[-1]})


def _with_algorithms() -> Iterator[tuple[str, State]]:
    """A state for each algorithm, length of its key and length of its check value."""
    for name, info in AEAD.items():
        for bits in _lengths(info.key_bits):
            for icv in info.icv_bits:
                yield f"{name} {bits}/{icv}", esp(aead=AeadAlgorithm(name, key(bits), icv))
    hmac = AUTHENTICATED["authentication"]
    for name, info in ENCRYPTION.items():
        for bits in _lengths(info.key_bits):
            cipher = Algorithm(name, key(bits))
            yield f"{name} {bits}", esp(aead=None, encryption=cipher, authentication=hmac)
            yield f"{name} {bits} alone", esp(aead=None, encryption=cipher)
    for name, info in AUTHENTICATION.items():
        for icv in info.icv_bits:
            digest = AuthAlgorithm(name, key(info.key_bits[0]), icv)
            null = Algorithm("ecb(cipher_null)")
            yield f"{name}/{icv} ESP", esp(aead=None, encryption=null, authentication=digest)
            yield f"{name}/{icv} AH", esp(aead=None, protocol="ah", authentication=digest)
    for name in COMPRESSION:
        yield name, ipcomp(compression=Algorithm(name))


ALGORITHMS = dict(_with_algorithms())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_comes_back(session: Session, name: str) -> None:
    state = ALGORITHMS[name]
    if name.split()[0].split("/")[0] in UNKNOWN_TO_THE_KERNEL:
        with pytest.raises(KernelError) as caught:
            session.sad.add(state)
        assert caught.value.errno == errno.ENOSYS
        return
    session.sad.add(state)
    found = session.sad.get(state)
    assert settled(found) == settled(state)
    assert list(session.sad.dump()) == [found]


KINDS = {
    "transport": esp(mode="transport"),
    "tunnel": esp(),
    "BEET": esp(mode="beet", selector=Selector("10.1.0.1", "10.2.0.1")),
    "IPv6 transport": esp(0x1000, *ENDS6, mode="transport"),
    "IPv6 tunnel": esp(0x1000, *ENDS6),
    "IPv4 in IPv6": esp(0x1000, *ENDS6, selector=Selector("10.1.0.0/16", "10.2.0.0/16")),
    "IPv6 in IPv4": esp(selector=Selector("fd01::/16", "fd02::/16")),
    "any family inside": esp(flags="af_unspec"),
    "selector": esp(mode="transport", selector=Selector(*ENDS, protocol="tcp", destination_port=443)),
    "reqid": esp(reqid=0xFFFFFFFF),
    "SPI": esp(0xFFFFFFFF),
    "AH": esp(protocol="ah", aead=None, **AUTHENTICATED),
    "AH, 4-byte alignment": esp(protocol="ah", aead=None, **AUTHENTICATED, flags="align4"),
    "IPComp": ipcomp(),
    "route optimization": State(*ENDS6, spi=0, protocol="route2", mode="ro", care_of_address="2001:db8::3"),
    "home address": State(*ENDS6, spi=0, protocol="hao", mode="ro", care_of_address="2001:db8::3"),
    "no replay window": esp(replay_window=0),
    "replay window 64": esp(replay_window=64),
    "ESN": esp(flags="esn"),
    "ESN, window 4096": esp(flags="esn", replay_window=4096),
    "ESN, advanced": esp(flags="esn", replay_window=64, replay=ReplayState(2**32 + 5, 2**33 + 7, 2**63 + 1)),
    "sequence, advanced": esp(replay=ReplayState(5, 7, 3)),
    "every flag": esp(flags=StateFlag(0x7F) & ~StateFlag.WILDRECV),
    "extra flags": esp(extra_flags=StateExtraFlag.DONT_ENCAP_DSCP | StateExtraFlag.OSEQ_MAY_WRAP),
    "limits": esp(
        lifetime=LifetimeConfig(
            soft_byte_limit=1 << 40,
            hard_byte_limit=1 << 41,
            soft_packet_limit=1 << 30,
            hard_packet_limit=1 << 31,
            soft_add_expires_seconds=1000,
            hard_add_expires_seconds=2000,
            soft_use_expires_seconds=3000,
            hard_use_expires_seconds=4000,
        )
    ),
    "mark": esp(mark=Mark(0x10, 0xFF)),
    "mark 0": esp(mark=Mark(0, 0xFF)),
    "output mark": esp(output_mark=Mark(7)),
    "output mark, masked": esp(output_mark=Mark(7, 0xFF)),
    "interface id": esp(if_id=42),
    "ESP in UDP": esp(encapsulation=Encapsulation()),
    "ESP in UDP, own ports and address": esp(encapsulation=Encapsulation("espinudp", 4501, 4502, "10.0.0.1")),
    "ESP in TCP": esp(encapsulation=Encapsulation("espintcp")),
    "mapping threshold": esp(encapsulation=Encapsulation(), mapping_timer_threshold=30, direction="in"),
    "keepalive": esp(encapsulation=Encapsulation(), nat_keepalive_interval=20, direction="out"),
    "in": esp(direction="in"),
    "out": esp(direction="out"),
    "ESN out": esp(direction="out", flags="esn"),
    "CPU": esp(direction="out", cpu=0),
    "padding": esp(traffic_flow_padding=1400),
    "IP-TFS in": esp(mode="iptfs", direction="in", iptfs=IpTfs(drop_time=5000, reorder_window=7)),
    "IP-TFS out": esp(
        mode="iptfs",
        direction="out",
        iptfs=IpTfs(dont_fragment=True, init_delay=10, max_queue_size=20000, packet_size=1000),
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_comes_back(session: Session, name: str) -> None:
    state = KINDS[name]
    session.sad.add(state)
    found = session.sad.get(state)
    assert settled(found) == settled(state)
    assert list(session.sad.dump()) == [found]
    with pytest.raises(AlreadyExists):
        session.sad.add(state)
    session.sad.delete(state)
    with pytest.raises(NotFound):
        session.sad.get(state)


def test_thresholds_are_told_by_another_message(session: Session) -> None:
    state = esp(replay_threshold=10, event_timer_threshold=20)
    session.sad.add(state)
    assert session.sad.get(state).replay_threshold is None
    told = session.sad.async_event(state)
    # The kernel takes the timer's threshold in jiffies, here 10 ms, and tells it in units of 100 ms.
    assert (told.replay_threshold, told.event_timer_threshold) == (10, 2)


def test_the_kernel_adds_a_state_to_a_tunnel_of_ipcomp(session: Session) -> None:
    """For packets that are not worth compressing: IP in IP, with the source address as its SPI."""
    session.sad.add(ipcomp(mode="tunnel"))
    beside = [state for state in session.sad.dump() if state.protocol != Protocol.COMP]
    assert [(state.protocol, state.spi, state.mode) for state in beside] == [(4, 0xC0000201, Mode.TUNNEL)]
    session.sad.delete(ipcomp())
    assert list(session.sad.dump()) == []


def test_update(session: Session) -> None:
    with pytest.raises(NotFound):
        session.sad.update(esp())
    session.sad.add(esp())
    session.sad.update(esp(lifetime=LifetimeConfig(hard_byte_limit=1 << 40)))
    assert session.sad.get(esp()).lifetime.hard_byte_limit == 1 << 40


def test_the_mark_is_part_of_the_identity(session: Session) -> None:
    for value in (1, 2):
        session.sad.add(esp(mark=Mark(value), reqid=value))
    assert session.sad.get(StateId(ENDS[1], 0x1000, mark=Mark(2))).reqid == 2
    with pytest.raises(NotFound):
        session.sad.get(StateId(ENDS[1], 0x1000))
    session.sad.delete(StateId(ENDS[1], 0x1000, mark=Mark(1)))
    assert [state.reqid for state in session.sad.dump()] == [2]


def test_a_larval_state_becomes_a_real_one(session: Session) -> None:
    larval = session.sad.allocate_spi(*ENDS, minimum=0x3000, maximum=0x30FF, mode="tunnel", reqid=1)
    assert 0x3000 <= larval.spi <= 0x30FF
    assert larval.aead is None
    session.sad.update(esp(larval.spi))
    found = session.sad.get(larval)
    assert settled(found).aead == esp().aead
    assert not found.lifetime.hard_add_expires_seconds


@pytest.mark.parametrize("protocol", ["esp", "ah", "comp"])
def test_an_spi_is_given_once(session: Session, protocol: str) -> None:
    # One only: out of a range the kernel picks at random, and may give up before it has tried all.
    given = session.sad.allocate_spi(*ENDS, protocol=protocol, minimum=0x300, maximum=0x300)
    assert (given.spi, given.protocol) == (0x300, Protocol[protocol.upper()])
    with pytest.raises(NotFound, match="No SPI available in the requested range"):
        session.sad.allocate_spi(*ENDS, protocol=protocol, minimum=0x300, maximum=0x300)


@pytest.fixture
def several(session: Session) -> Session:
    """A namespace with states of all protocols, families, prefixes."""
    hmac = AUTHENTICATED["authentication"]
    for number in range(4):
        session.sad.add(esp(0x1000 + number, f"192.0.2.{number}", f"198.51.100.{number}"))
    session.sad.add(esp(0x2000, *ENDS6))
    session.sad.add(esp(0x2001, "2001:db8:1::1", "2001:db8:2::2"))
    session.sad.add(esp(0x3000, *ENDS, protocol="ah", aead=None, authentication=hmac))
    session.sad.add(ipcomp())
    return session


FILTERS: dict[str, tuple[dict[str, Any], set[int]]] = {
    "none": ({}, {0x1000, 0x1001, 0x1002, 0x1003, 0x2000, 0x2001, 0x3000, 0x100}),
    "ESP": ({"protocol": "esp"}, {0x1000, 0x1001, 0x1002, 0x1003, 0x2000, 0x2001}),
    "AH": ({"protocol": "ah"}, {0x3000}),
    "IPComp": ({"protocol": "comp"}, {0x100}),
    "source": ({"source": "192.0.2.0/31"}, {0x1000, 0x1001, 0x3000, 0x100}),
    "destination": ({"destination": "198.51.100.2/31"}, {0x1002, 0x1003}),
    "both": ({"source": "192.0.2.2", "destination": "198.51.100.0/24"}, {0x1002}),
    "both and protocol": ({"source": "192.0.2.1", "destination": "192.0.2.2", "protocol": "ah"}, {0x3000}),
    "IPv6": ({"source": "2001:db8::/32"}, {0x2000, 0x2001}),
    "IPv6 destination": ({"destination": "2001:db8:2::/48"}, {0x2001}),
    "family": ({"family": "inet6"}, {0x2000, 0x2001}),
    "nothing": ({"source": "203.0.113.0/24"}, set()),
}


@pytest.mark.parametrize("name", FILTERS)
def test_dump_filters(several: Session, name: str) -> None:
    options, expected = FILTERS[name]
    assert {state.spi for state in several.sad.dump(**options)} == expected


def test_flush_by_protocol(several: Session) -> None:
    assert several.sad.count().count == 8
    several.sad.flush("ah")
    several.sad.flush("comp")
    assert {state.protocol for state in several.sad.dump()} == {Protocol.ESP}
    several.sad.flush()
    assert several.sad.count().count == 0


def test_ten_thousand_states(session: Session) -> None:
    spis = range(0x1000, 0x1000 + 10_000)
    # Each with other addresses: for those that share them, each one more takes the kernel longer.
    result = session.sad.load(esp(spi, ENDS[0], f"10.0.{spi >> 8}.{spi & 255}") for spi in spis)
    assert (len(result.applied), len(result.failed)) == (10_000, 0)
    assert session.sad.count().count == 10_000
    assert {one.spi for one in session.sad.counters()} == set(spis)


def test_a_load_says_which_states_were_refused(session: Session) -> None:
    session.sad.add(esp(0x1001))
    states = [esp(0x1000), esp(0x1001), esp(0x1002, aead=None, encryption=Algorithm("cbc(none)"))]
    result = session.sad.load(states, on_error="collect")
    refused = [(error.index, error.errno) for error in result.failed if isinstance(error, KernelError)]
    assert refused == [(1, errno.EEXIST), (2, errno.ENOSYS)]
    assert list(result.applied) == [0]


@contextmanager
def simulated_device(pair: Pair) -> Iterator[tuple[int, Path]]:
    """A device of the left host that takes over ESP (netdevsim): its index, and the file that tells of it."""
    bus = Path("/sys/bus/netdevsim")
    with inside(pair.left.namespace):
        (bus / "new_device").write_text("7 1")
    try:
        index = pair.left.session._transport.interface_index("eth0")
        pair.left.ip(
            "link set eth0 up",
            "addr add 198.51.100.1/24 dev eth0",
            "neigh add 198.51.100.2 lladdr 02:00:00:00:00:09 dev eth0",
        )
        yield index, Path("/sys/kernel/debug/netdevsim/netdevsim7/ports/0/ipsec")
    finally:
        pair.left.session.sad.flush()
        (bus / "del_device").write_text("7")


def test_offload(pair: Pair) -> None:
    ends = ("198.51.100.1", "198.51.100.2")
    with simulated_device(pair) as (index, told):
        session = pair.left.session
        outward = esp(0x1000, *ends, mode="transport", offload=Offload(index, 0))
        inward = esp(0x1001, *ends[::-1], mode="transport", offload=Offload(index, "inbound"))
        for state in (outward, inward):
            session.sad.add(state)
            assert session.sad.get(state).offload == state.offload
        assert "SA count=2 tx=0" in told.read_text()
        assert "spi=0x00001000 proto=0x32" in told.read_text()
        with pytest.raises(KernelError, match="Unsupported ipsec offload type"):
            session.sad.add(esp(0x1002, *ends, mode="transport", offload=Offload(index, OffloadFlag.PACKET)))
        template = Template(mode="transport", reqid=1, family="inet")
        session.spd.add(Policy(Selector(*ends), direction="out", templates=[template]))
        pair.left.bound(ends[0]).sendto(b"by the device", (ends[1], 7000))
        until(lambda: "tx=1" in told.read_text(), "the device to encrypt")
        assert session.sad.get(outward).current.packets == 1


def test_counters_without_keys(several: Session) -> None:
    for one in several.sad.counters():
        state = several.sad.get(StateId(one.destination, one.spi, one.protocol))
        assert (one.source, one.mode, one.reqid) == (state.source, state.mode, state.reqid)
        assert (one.packets, one.add_time) == (0, state.current.add_time)
    assert {one.spi for one in several.sad.counters(protocol="ah")} == {0x3000}


def test_a_state_of_a_cpu_that_is_not_there(session: Session) -> None:
    with pytest.raises(KernelError, match="pCPU number too big") as caught:
        session.sad.add(esp(direction="out", cpu=1000))
    assert caught.value.errno == errno.ERANGE


def as_nobody(namespace: int, *calls: Any) -> list[str]:
    """What sessions of a process without privileges say to each call, in a network namespace."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            with inside(namespace):
                os.setgroups([])
                os.setuid(65534)
                for call in calls:
                    try:
                        with Session() as session:
                            call(session)
                        answer = "done"
                    except BaseException as error:
                        answer = type(error).__name__
                    os.write(writer, f"{answer}\n".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as answers:
        lines = answers.read().split()
    os.waitpid(child, 0)
    return lines


def test_nobody_is_refused(namespace: int, session: Session) -> None:
    """Also telling others that a state has expired, which makes IKE daemons rekey, and packets be dropped."""
    session.sad.add(esp())
    answers = as_nobody(
        namespace,
        lambda other: other.sad.expire(esp(), hard=True),
        lambda other: other.sad.expire(esp()),
        lambda other: other.sad.delete(esp()),
        lambda other: other.sad.add(esp(0x1001)),
        lambda other: other.sad.flush(),
        lambda other: list(other.sad.dump()),
    )
    assert answers == [PermissionDenied.__name__] * 6
    assert [state.spi for state in session.sad.dump()] == [0x1000]


def test_what_was_told_of_a_state_can_be_sent_back(session: Session) -> None:
    """Direction and CPU too, which the kernel tells, and refuses to be told."""
    key = bytes(range(20))
    state = State(
        "192.0.2.1",
        "192.0.2.2",
        spi=0x1000,
        mode="tunnel",
        aead=AeadAlgorithm("rfc4106(gcm(aes))", key),
        direction="out",
        cpu=0,
        mark=Mark(5),
    )
    session.sad.add(state)
    told = session.sad.async_event(state)
    assert (told.direction, told.cpu) == (StateDirection.OUT, 0)
    session.sad.set_async_event(replace(told, replay=ReplayState(output=70)))
    again = session.sad.get(state).replay
    assert again is not None
    assert again.output == 70

# SPDX-License-Identifier: MIT
"""Policies and encapsulation of sockets, against the real kernel."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Iterator

import pytest

import xfrm_ext
from xfrm_ext import (
    EncapsulationType,
    KernelError,
    LifetimeConfig,
    PermissionDenied,
    Policy,
    Selector,
    Session,
    Template,
    ValidationError,
    clear_policies,
    get_encapsulation,
    set_encapsulation,
    set_policy,
)
from xfrm_ext.testing import inside

ANY6 = Selector(family="inet6")


@pytest.fixture
def udp(namespace: int) -> Iterator[socket.socket]:
    """A UDP socket in the fresh namespace."""
    with inside(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with made:
        yield made


@pytest.fixture
def udp6(namespace: int) -> Iterator[socket.socket]:
    with inside(namespace):
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with made:
        yield made


@pytest.fixture
def tcp(namespace: int) -> Iterator[socket.socket]:
    with inside(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with made:
        yield made


def counted(session: Session) -> tuple[int, int]:
    info = session.spd.count()
    assert info.total == 0
    return info.socket_input, info.socket_output


@pytest.mark.parametrize(("direction", "dumped", "count"), [("in", 3, (1, 0)), ("out", 4, (0, 1))])
def test_a_policy_arrives_whole(
    session: Session, udp: socket.socket, direction: str, dumped: int, count: tuple[int, int]
) -> None:
    templates = [
        Template("192.0.2.1", "192.0.2.2", mode="tunnel", reqid=7),
        Template(protocol="ah", mode="transport", level="use"),
    ]
    selector = Selector("10.1.0.0/16", "10.2.0.0/16", protocol="udp", destination_port=500)
    given = Policy(
        selector,
        direction=direction,
        action="allow",
        priority=77,
        templates=templates,
        flags=["icmp"],
        lifetime=LifetimeConfig(hard_byte_limit=1 << 40, hard_add_expires_seconds=3600),
    )
    set_policy(udp, given)
    assert counted(session) == count
    (found,) = session.spd.dump()
    assert found.direction == dumped
    assert found.index & 7 == dumped
    assert (found.selector, found.priority, found.lifetime) == (selector, 77, given.lifetime)
    assert [(each.source, each.mode, each.protocol, each.level, each.reqid) for each in found.templates] == [
        (each.source, each.mode, each.protocol, each.level, each.reqid) for each in given.templates
    ]


def test_the_newer_replaces_the_older_of_its_direction(session: Session, udp: socket.socket) -> None:
    set_policy(udp, Policy(direction="in", priority=1))
    set_policy(udp, Policy(direction="out", priority=2))
    set_policy(udp, Policy(direction="in", priority=3))
    assert sorted((found.direction, found.priority) for found in session.spd.dump()) == [(3, 3), (4, 2)]


def test_clearing_takes_both_and_may_find_none(session: Session, udp: socket.socket) -> None:
    clear_policies(udp)
    set_policy(udp, Policy(direction="in"))
    set_policy(udp, Policy(direction="out"))
    assert counted(session) == (1, 1)
    clear_policies(udp)
    assert counted(session) == (0, 0)
    assert list(session.spd.dump()) == []
    clear_policies(udp)


def test_closing_the_socket_takes_them_too(session: Session, udp: socket.socket) -> None:
    set_policy(udp, Policy(direction="in"))
    udp.close()
    assert counted(session)[0] == 0


def test_ipv6_and_tcp_and_raw_sockets(session: Session, udp6: socket.socket, tcp: socket.socket) -> None:
    set_policy(udp6, Policy(ANY6, direction="out"))
    set_policy(udp6, Policy(direction="in"))  # of its IPv4-mapped traffic
    set_policy(tcp, Policy(direction="out", action="block"))
    assert sorted(found.selector.family for found in session.spd.dump()) == [2, 2, 10]
    clear_policies(udp6)
    assert counted(session) == (0, 1)


def test_it_decides_about_packets(namespace: int, session: Session, udp: socket.socket) -> None:
    with inside(namespace):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    up(namespace)
    with receiver:
        receiver.settimeout(10)
        receiver.bind(("127.0.0.1", 0))
        to = receiver.getsockname()
        set_policy(udp, Policy(direction="out", action="block"))
        with pytest.raises(PermissionError):
            udp.sendto(b"blocked", to)
        # Its selector decides whom it is about.
        set_policy(udp, Policy(Selector(None, "192.0.2.0/24"), direction="out", action="block"))
        udp.sendto(b"elsewhere", to)
        assert receiver.recv(100) == b"elsewhere"
        set_policy(udp, Policy(direction="out", action="block"))
        clear_policies(udp)
        udp.sendto(b"cleared", to)
        assert receiver.recv(100) == b"cleared"


def up(namespace: int) -> None:
    """Brings `lo` up."""
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("=16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def test_privilege_is_needed_over_the_sockets_namespace(udp: socket.socket) -> None:
    raised: list[BaseException] = []

    def without_capabilities() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)) == 0
        try:
            set_policy(udp, Policy(direction="in"))
        except PermissionDenied as error:
            raised.append(error)
        set_encapsulation(udp, "espinudp")  # needs none

    thread = threading.Thread(target=without_capabilities)
    thread.start()
    thread.join()
    assert [str(error) for error in raised] == ["set the policy of a socket: Operation not permitted [EPERM]"]
    assert get_encapsulation(udp) == EncapsulationType.ESPINUDP


def test_what_the_kernel_refuses(udp: socket.socket) -> None:
    optional = Policy(direction="out", templates=[Template(mode="tunnel", protocol="esp", level="use")])
    family_change = Policy(
        direction="out", templates=[Template("2001:db8::1", "2001:db8::2", mode="transport", protocol="esp")]
    )
    for policy in (optional, family_change):
        with pytest.raises(KernelError, match=r"^set the policy of a socket: ") as caught:
            set_policy(udp, policy)
        assert caught.value.errno in (errno.EINVAL, errno.EOPNOTSUPP)  # by the kernel's version
    udp.close()
    with pytest.raises(KernelError, match="set the policy of a socket: Bad file descriptor"):
        set_policy(udp, Policy(direction="in"))
    with pytest.raises(KernelError, match="clear the policies of a socket: Bad file descriptor"):
        clear_policies(udp)


def test_encapsulation_of_udp(udp: socket.socket, udp6: socket.socket) -> None:
    for made in (udp, udp6):
        assert get_encapsulation(made) is None
        set_encapsulation(made, "espinudp")
        assert get_encapsulation(made) == EncapsulationType.ESPINUDP
        set_encapsulation(made, None)
        assert get_encapsulation(made) is None
        set_encapsulation(made, EncapsulationType.ESPINUDP)
        assert get_encapsulation(made) is EncapsulationType.ESPINUDP


def test_encapsulation_takes_esp_out_of_udp(namespace: int, udp: socket.socket) -> None:
    """What is no IKE (four zero bytes) and no keepalive (one 0xff) never reaches the program."""
    with inside(namespace):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    up(namespace)
    udp.settimeout(10)
    udp.bind(("127.0.0.1", 0))
    set_encapsulation(udp, "espinudp")
    with sender:
        esp = struct.pack("=II", 0x12345678, 1) + bytes(40)
        for packet in (esp, b"\xff", bytes(4) + b"IKE"):
            sender.sendto(packet, udp.getsockname())
        assert udp.recv(100) == bytes(4) + b"IKE"
        set_encapsulation(udp, None)
        sender.sendto(esp, udp.getsockname())
        assert udp.recv(100) == esp


def test_encapsulation_that_the_kernel_may_lack(udp: socket.socket, tcp: socket.socket) -> None:
    for made, kind, missing in ((udp, "espinudp_non_ike", errno.ENOPROTOOPT), (tcp, "espintcp", errno.ENOENT)):
        try:
            set_encapsulation(made, kind)
        except KernelError as error:
            if (error.errno, error.operation) != (missing, "set the encapsulation of a socket"):
                raise


ARGUMENTS = [
    ("set_policy(None, IN)", "sock: None is not an IPv4 or IPv6 socket"),
    ("set_policy(3, IN)", "sock: 3 is not an IPv4 or IPv6 socket"),
    ("clear_policies(3)", "sock: 3 is not an IPv4 or IPv6 socket"),
    ("get_encapsulation(None)", "sock: None is not an IPv4 or IPv6 socket"),
    ("set_policy(udp, None)", "policy: None is not a Policy"),
    ("set_policy(udp, IN.selector)", "policy: Selector() is not a Policy"),
    (
        'set_policy(udp, Policy(direction="fwd"))',
        "Policy.direction: Direction.FWD is not in or out, as a socket's must be",
    ),
    ('set_policy(udp, Policy(direction="in", mark=Mark(1)))', "Policy.mark: is not for a socket's policy"),
    ('set_policy(udp, Policy(direction="in", if_id=1))', "Policy.if_id: is not for a socket's policy"),
    (
        'set_policy(udp, Policy(direction="in", security_context="a"))',
        "Policy.security_context: is not for a socket's policy",
    ),
    ('set_policy(udp, Policy(direction="in", offload=Offload(1)))', "Policy.offload: is not for a socket's policy"),
    (
        'set_policy(udp, Policy(direction="in", policy_type="sub"))',
        "Policy.policy_type: is not for a socket's policy",
    ),
    (
        'set_policy(udp, Policy(direction="in", attributes=[Attribute(200, b"a")]))',
        "Policy.attributes: is not for a socket's policy",
    ),
    (
        'set_encapsulation(udp, "esp")',
        "encapsulation: 'esp' is not one of espinudp_non_ike, espinudp, espintcp",
    ),
    ("set_encapsulation(udp, 3)", "encapsulation: 3 is not one of espinudp_non_ike, espinudp, espintcp"),
    ("set_encapsulation(udp, True)", "encapsulation: True is not one of espinudp_non_ike, espinudp, espintcp"),
]


@pytest.mark.parametrize(("expression", "message"), ARGUMENTS, ids=[expression for expression, _ in ARGUMENTS])
def test_bad_input(expression: str, message: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        names = {
            **{name: getattr(xfrm_ext, name) for name in xfrm_ext.__all__},
            "udp": made,
            "IN": Policy(direction="in"),
        }
        with pytest.raises(ValidationError) as caught:
            eval(expression, names)
    assert str(caught.value) == message


def test_sockets_of_the_wrong_kind(udp: socket.socket, tcp: socket.socket) -> None:
    with pytest.raises(ValidationError, match=r"sock: .* is not a TCP socket, as espintcp needs"):
        set_encapsulation(udp, "espintcp")
    for kind in ("espinudp", None):
        with pytest.raises(ValidationError, match=r"sock: .* is not a UDP socket, as all but espintcp need"):
            set_encapsulation(tcp, kind)
    with pytest.raises(ValidationError, match=r"sock: .* is not a UDP socket"):
        get_encapsulation(tcp)
    with socket.socket(socket.AF_UNIX) as local:
        with pytest.raises(ValidationError, match=r"sock: .* is not an IPv4 or IPv6 socket"):
            set_policy(local, Policy(direction="in"))
        with pytest.raises(ValidationError, match=r"sock: .* is not an IPv4 or IPv6 socket"):
            clear_policies(local)


def test_the_sockets_of_asyncio(session: Session, udp: socket.socket) -> None:
    inner = TransportSocket(udp)  # what transport.get_extra_info("socket") gives
    set_policy(inner, Policy(direction="out"))
    assert counted(session) == (0, 1)
    clear_policies(inner)
    set_encapsulation(inner, "espinudp")
    assert get_encapsulation(udp) == EncapsulationType.ESPINUDP


def test_every_attribute_of_a_policy_is_refused_or_sent() -> None:
    """The list of what a socket's policy can't have, against what a Policy can."""
    sent = {
        "selector",
        "direction",
        "action",
        "priority",
        "index",
        "templates",
        "flags",
        "share",
        "lifetime",
        "current",
    }
    refused = {"mark", "if_id", "security_context", "offload", "policy_type", "attributes"}
    assert sent | refused == set(Policy.__dataclass_fields__)

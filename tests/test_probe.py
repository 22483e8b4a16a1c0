# SPDX-License-Identifier: MIT
"""session.features(): questions that change nothing. tests/guest/test_probe.py asks a kernel that has all of it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from public import PUBLIC

from xfrm_ext import (
    AttributeType,
    Features,
    KernelError,
    Message,
    PermissionDenied,
    Policy,
    ReplyTimeout,
    Selector,
    Session,
    Template,
    ValidationError,
)
from xfrm_ext.rtnl import Handle, messages, open_byproto
from xfrm_ext.testing import Answer, FakeTransport, Refusal

ALGORITHMS = ["rfc4106(gcm(aes))", "cbc(aes)", "hmac(sha256)", "deflate", "nonsense"]
DUMP_STATES = struct.pack("=IHHII", 16, Message.GETSA, 0x301, 0, 0)


def everything(features: Features) -> dict[str, bool]:
    """All questions that there are."""
    answers = features.as_dict()
    for family in ("inet", "inet6"):
        for protocol in ("esp", "ah", "comp", "route2", "hao"):
            for mode in ("transport", "tunnel", "ro", "in_trigger", "beet", "iptfs"):
                answers[f"{protocol} {family} {mode}"] = features.supports(protocol, family, mode)
        for encapsulation in ("espinudp_non_ike", "espinudp", "espintcp"):
            answers[f"{encapsulation} {family}"] = features.supports_encapsulation(encapsulation, family)
    for name in ALGORITHMS:
        answers[name] = features.supports_algorithm(name)
    for attribute in AttributeType:
        answers[attribute.name] = features.supports_attribute(attribute)
    return answers


@contextmanager
def unchanged(session: Session, namespace: int) -> Iterator[None]:
    """What is in the block changes no state, policy or XFRM interface, and causes no event."""

    def found() -> tuple[list[bytearray], list[Policy], list[object]]:
        blocks = session._dump(DUMP_STATES, "dump states")
        states = [message[16:] for block in blocks for message in messages(block)]
        return states, list(session.spd.dump()), list(session.links.dump())

    before = found()
    with (
        open_byproto(groups=0xFF, netns=namespace) as xfrm,
        open_byproto(groups=1, protocol=0, netns=namespace) as links,
    ):
        yield
        for listener in (xfrm, links):
            nothing_heard(listener)
        assert found() == before
        # That one would have been heard:
        session.spd.add(Policy(Selector("203.0.113.0/24"), direction="fwd"))
        assert xfrm.listen(timeout=10)
        session.spd.delete(Selector("203.0.113.0/24"), "fwd")


def nothing_heard(listener: Handle) -> None:
    with pytest.raises(ReplyTimeout):
        listener.listen(timeout=0)  # events are in the queue before the request that caused them is answered


def test_nothing_changes(session: Session, namespace: int) -> None:
    session.spd.add(Policy(direction="out", templates=[Template("192.0.2.1", "192.0.2.1", mode="tunnel")]))
    session.spd.add(Policy(Selector(family="inet6"), direction="in"))
    session.spd.add(Policy(direction="in", policy_type="sub"))
    with unchanged(session, namespace):
        answers = everything(session.features())
    assert answers["default_policies"]
    assert answers["IF_ID"]
    assert not answers["nonsense"]


def test_answers_agree_with_each_other_and_with_the_kernel(session: Session) -> None:
    features = session.features()
    answers = everything(features)
    assert answers["esp4"] == answers["esp inet transport"]
    assert answers["esp4"] or not (answers["iptfs"] or answers["espintcp"] or answers["crypto_offload"])
    assert answers["crypto_offload"] or not answers["packet_offload"]
    assert answers["migrate"] or not answers["migrate_state"]
    assert answers["interfaces"] or not answers["external_interfaces"]
    assert answers["esp inet in_trigger"] is False
    assert features.supports_attribute(0x3FFF) is False
    assert works(lambda: session.spd.add(Policy(direction="in", policy_type="sub"))) == answers["sub_policies"]
    assert works(lambda: session.links.add("xfrm0", 1)) == answers["interfaces"]
    assert works(session.statistics) == answers["statistics"]


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except KernelError:
        return False
    return True


def test_each_question_is_asked_once(session: Session) -> None:
    transport = FakeTransport(lambda message: Refusal(errno.ESRCH), proc_net={"xfrm_stat": b""})
    features = Session(transport=transport).features()
    first = everything(features)
    asked = len(transport.sent)
    assert asked > 50
    assert everything(features) == first
    assert len(transport.sent) == asked
    assert session.features() is session.features()


def test_nothing_is_asked_before_it_is_wanted() -> None:
    transport = FakeTransport(lambda message: Refusal(errno.ESRCH))
    features = Session(transport=transport).features()
    assert transport.sent == []
    assert features.esp4
    assert len(transport.sent) == 1


class Watching(FakeTransport):
    """Notes the protocol of each message."""

    def __init__(self, error: int) -> None:
        super().__init__(lambda message: Refusal(error), proc_net={"xfrm_stat": b""})
        self.links: list[bytes] = []

    def open_beside(self, protocol: int | None = None) -> FakeTransport:
        assert protocol == 0
        beside = FakeTransport(self.handler)
        beside.sent = self.links
        return beside


@pytest.mark.parametrize("error", [errno.ESRCH, errno.ENOSYS, errno.EPROTONOSUPPORT, errno.EINVAL, errno.ERANGE])
def test_no_message_could_change_anything(error: int) -> None:
    """Whatever a kernel knows: no state has SPI 0, nothing is given to be migrated, no link to be made."""
    transport = Watching(error)
    everything(Session(transport=transport).features())
    reading = {Message.GETSA, Message.GETPOLICY, Message.GETDEFAULT}
    for message in transport.sent:
        size, kind, flags, _, _ = struct.unpack_from("=IHHII", message)
        assert size == len(message)
        assert flags & ~4 == 1  # a request: no dump, nothing to be created
        if kind == Message.UPDSA:
            assert message[16 + 72 : 16 + 76] == bytes(4)
        elif kind == Message.MIGRATE:
            assert size == 16 + 64
        elif kind == Message.MIGRATE_STATE:
            assert message[16 + 16 : 16 + 20] == bytes(4)
        else:
            assert kind in reading
    assert transport.links
    for message in transport.links:
        assert struct.unpack_from("=IHH", message) == (len(message), 16, 5)
        assert struct.unpack_from("=iII", message, 20) == (0x7FFFFFFF, 0, 0)


KERNELS = [
    # What the kernel says to all of it, and what that means.
    (errno.ESRCH, {"esp4": True, "ah6": True, "ipcomp4": True, "state_direction": False, "migrate": False}),
    (errno.ENOSYS, {"esp4": False, "ah4": False, "crypto_offload": False, "migrate": False, "interfaces": False}),
    (errno.EPROTONOSUPPORT, {"esp6": False, "iptfs": False, "mobile_ipv6": False}),
    (errno.ENOPROTOOPT, {"migrate": False, "migrate_state": False}),
    (errno.EINVAL, {"migrate": True, "migrate_state": False, "sub_policies": False, "default_policies": False}),
    (errno.ERANGE, {"state_direction": True, "interfaces": True, "external_interfaces": True}),
    (errno.ENODEV, {"interfaces": False, "external_interfaces": False}),
    (errno.ENOENT, {"sub_policies": True, "esp4": False}),
]


@pytest.mark.parametrize(("error", "expected"), KERNELS, ids=[errno.errorcode[error] for error, _ in KERNELS])
def test_what_a_kernel_says(error: int, expected: dict[str, bool]) -> None:
    answers = Session(transport=FakeTransport(lambda message: Refusal(error))).features().as_dict()
    assert {name: answers[name] for name in expected} == expected
    assert answers["statistics"] is False  # no such file


def offload(packet: str, unknown: str) -> Session:
    """A kernel with ESP, and these words to states with an offload."""

    def handler(message: bytes) -> Answer:
        position = 16 + 224
        if struct.unpack_from("=H", message, 4)[0] != Message.UPDSA:
            return Refusal(errno.EINVAL)
        while position < len(message):
            size, kind = struct.unpack_from("=HH", message, position)
            if kind == AttributeType.OFFLOAD_DEV:
                return Refusal(errno.EINVAL, packet if message[position + 8] == 4 else unknown)
            position += (size + 3) & ~3
        return Refusal(errno.ESRCH)

    return Session(transport=FakeTransport(handler))


@pytest.mark.parametrize(
    ("packet", "unknown", "expected"),
    [
        ("", "Unrecognized flags in offload request", True),
        ("Device doesn't support offload", "Unrecognized flags in offload request", True),
        ("Unrecognized flags in offload request", "Unrecognized flags in offload request", False),
        ("", "", False),  # before 6.1: without words
    ],
)
def test_packet_offload(packet: str, unknown: str, expected: bool) -> None:
    features = offload(packet, unknown).features()
    assert features.crypto_offload is True
    assert features.packet_offload is expected


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOMEM, errno.ENOBUFS, errno.EINTR])
def test_what_is_no_answer_is_raised_and_asked_again(error: int) -> None:
    answers: list[Answer] = [Refusal(error), Refusal(errno.ESRCH)]
    features = Session(transport=FakeTransport(lambda message: answers.pop(0))).features()
    with pytest.raises(PermissionDenied if error == errno.EPERM else KernelError) as caught:
        _ = features.esp4
    assert caught.value.errno == error
    assert features.esp4 is True


def test_the_key_of_a_question_is_never_the_same_twice() -> None:
    """A key that everybody knows would be worse than none, if ever a state was made with it."""
    sent = []
    for _ in range(2):
        transport = FakeTransport(lambda message: Refusal(errno.ESRCH))
        assert Session(transport=transport).features().esp4
        sent.append(transport.sent[0])
    assert sent[0][:310] == sent[1][:310]
    assert sent[0] != sent[1]


NAME = "is not the name of an algorithm: 1 to 63 ASCII characters without NUL"
VALUES = [
    ('features.supports("tcp")', "protocol: 'tcp' is not one of esp, ah, comp, route2, hao"),
    ("features.supports(255)", "protocol: 255 is not one of esp, ah, comp, route2, hao"),
    ("features.supports(None)", "protocol: None is not one of esp, ah, comp, route2, hao"),
    ('features.supports("esp", "ipx")', "family: 'ipx' is not one of inet, inet6"),
    (
        "features.supports(Protocol.IPSEC_ANY)",
        "protocol: Protocol.IPSEC_ANY is not one of esp, ah, comp, route2, hao",
    ),
    ("features.supports(True)", "protocol: True is not one of esp, ah, comp, route2, hao"),
    ("features.supports(Family.INET)", "protocol: Family.INET is not one of esp, ah, comp, route2, hao"),
    ('features.supports("esp", Family.UNSPEC)', "family: Family.UNSPEC is not one of inet, inet6"),
    ('features.supports("esp", 0)', "family: 0 is not one of inet, inet6"),
    (
        'features.supports("esp", "inet", "any")',
        "mode: 'any' is not one of transport, tunnel, ro, in_trigger, beet, iptfs",
    ),
    ('features.supports_algorithm("")', f"name: '' {NAME}"),
    ('features.supports_algorithm("a" * 64)', f"name: '{'a' * 64}' {NAME}"),
    ('features.supports_algorithm("\\xe4")', f"name: 'ä' {NAME}"),
    ('features.supports_algorithm("a\\0")', f"name: 'a\\x00' {NAME}"),
    ('features.supports_algorithm(b"cbc(aes)")', f"name: b'cbc(aes)' {NAME}"),
    ("features.supports_algorithm(None)", f"name: None {NAME}"),
    ("features.supports_attribute(0)", "attribute: 0 is not an integer from 1 to 16383"),
    ("features.supports_attribute(0x4000)", "attribute: 16384 is not an integer from 1 to 16383"),
    ('features.supports_attribute("SA_DIR")', "attribute: 'SA_DIR' is not an integer from 1 to 16383"),
    (
        'features.supports_encapsulation("udp")',
        "encapsulation: 'udp' is not one of espinudp_non_ike, espinudp, espintcp",
    ),
    ('features.supports_encapsulation("espinudp", "any")', "family: 'any' is not one of inet, inet6"),
]


def never(message: bytes) -> Answer:
    raise AssertionError(f"sent: {message.hex()}")


@pytest.mark.parametrize(("expression", "message"), VALUES, ids=[expression for expression, _ in VALUES])
def test_bad_input(expression: str, message: str) -> None:
    features = Session(transport=FakeTransport(never)).features()
    with pytest.raises(ValidationError) as caught:
        eval(expression, {**PUBLIC, "features": features})
    assert str(caught.value) == message

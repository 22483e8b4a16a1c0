# SPDX-License-Identifier: MIT
"""What values are: frozen, slotted, comparable, picklable; and what the package is made of."""

from __future__ import annotations

import ast
import copy
import dataclasses
import errno
import ipaddress
import pickle
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from public import PUBLIC

import xfrm_ext
from xfrm_ext import (
    INFINITE,
    Acquire,
    Action,
    AlreadyExists,
    AsyncEvent,
    Attribute,
    Direction,
    Encapsulation,
    Event,
    Family,
    IpTfs,
    KernelError,
    KmAddress,
    Level,
    LifetimeConfig,
    LifetimeCurrent,
    LoadError,
    LoadResult,
    Mapping,
    Mark,
    Message,
    Migration,
    Mode,
    Move,
    NotFound,
    Offload,
    OffloadFlag,
    PermissionDenied,
    Policy,
    PolicyDefaults,
    PolicyExpired,
    PolicyFlag,
    PolicyId,
    PolicyType,
    Protocol,
    ReplayState,
    Report,
    Request,
    SadInfo,
    SecurityContext,
    Selector,
    Share,
    SpdInfo,
    SpdThresholds,
    SpiRequest,
    State,
    StateExpired,
    StateFilter,
    StateMigration,
    StateStatistics,
    Template,
    XfrmError,
    errors,
    wire,
)
from xfrm_ext.codec import select

CODEC = select()
encode, decode = CODEC.encode, CODEC.decode

PACKAGE = Path(xfrm_ext.__file__).parent

FULL = Policy(
    Selector("10.1.0.0/16", "10.2.0.0/16", protocol="tcp", destination_port=443, interface=3, user=1000),
    direction="out",
    action="block",
    priority=7,
    index=9,
    templates=[Template("2001:db8::1", "2001:db8::2", mode="tunnel", reqid=1), Template(protocol="ah")],
    flags=["localok", "icmp"],
    share="unique",
    policy_type="sub",
    mark=Mark(0xFF, 0x0F),
    if_id=5,
    lifetime=LifetimeConfig(hard_byte_limit=1000),
    current=LifetimeCurrent(bytes=1, add_time=1_800_000_000),
    security_context="system_u:object_r:ipsec_spd_t:s0",
    offload=Offload(2),
    attributes=[Attribute(60, b"later")],
)
STATE = State(
    "192.0.2.1",
    "198.51.100.2",
    spi=0x1000,
    mode="iptfs",
    selector=Selector("10.1.0.0/16", "10.2.0.0/16"),
    encapsulation=Encapsulation("espintcp", 4500, 4501, "203.0.113.1"),
    replay_window=0,
    replay=ReplayState(5, 6, 7),
    flags=["noecn", "decap_dscp"],
    extra_flags="oseq_may_wrap",
    lifetime=LifetimeConfig(hard_packet_limit=5),
    statistics=StateStatistics(replay=1),
    mark=Mark(1, 3),
    output_mark=Mark(7),
    if_id=0,
    offload=Offload(2, "inbound"),
    direction="out",
    cpu=0,
    iptfs=IpTfs(dont_fragment=True, packet_size=1400),
    security_context="label",
    care_of_address="192.0.2.7",
    lifetime_value=LifetimeCurrent(bytes=9),
    attributes=[Attribute(60, b"later")],
)
MOVE = Move("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", reqid=1)
VALUES: list[Any] = [
    FULL,
    Policy(direction="in"),
    FULL.id,
    FULL.selector,
    FULL.templates[0],
    FULL.lifetime,
    FULL.current,
    FULL.mark,
    FULL.security_context,
    FULL.offload,
    FULL.attributes[0],
    SpdInfo(input=1),
    STATE,
    STATE.id,
    STATE.selector,
    STATE.encapsulation,
    STATE.replay,
    STATE.statistics,
    STATE.iptfs,
    StateFilter("esp", "10.0.0.0/8"),
    SpiRequest(STATE, 1, 2),
    StateExpired(STATE, True),
    PolicyExpired(FULL, False),
    Acquire(
        source="2001:db8::1",
        destination="2001:db8::2",
        protocol=Protocol.ESP,
        selector=Selector("10.0.0.1"),
        policy=FULL,
        sequence=7,
    ),
    AsyncEvent(STATE, flags=["replay_value", "timer_event"], replay=ReplayState(1, 2, 3), replay_window=64),
    Report(Protocol.HAO, Selector("2001:db8::1"), "2001:db8::9"),
    Mapping(STATE.id, 1, "192.0.2.1", 4500, "192.0.2.9", 4501),
    MOVE,
    KmAddress("192.0.2.1", "192.0.2.2"),
    Migration(Selector(), "out", [MOVE], key_managers=KmAddress("192.0.2.1", "192.0.2.2")),
    StateMigration(STATE, "192.0.2.3", "192.0.2.4", flags="clear_offload"),
    SadInfo(count=1),
    SpdThresholds((24, 32), (48, 64)),
    PolicyDefaults("block"),
    Request(Message.UPDSA, STATE),
    Event(message=Message.NEWSA, body=STATE, sequence=1, port=2),
]


def test_the_articles_first_message() -> None:
    """`ip xfrm policy add dir in` sends these 184 bytes (with a sequence number)."""
    header = struct.pack("=IHHII", 184, 0x13, 0x5, 0, 0)
    selector = bytes(40) + struct.pack("=H", 2) + bytes(14)
    lifetimes = b"\xff" * 32 + bytes(32) + bytes(32)
    assert encode(Policy(direction="in")) == header + selector + lifetimes + bytes(16)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
class TestEveryValue:
    def test_is_frozen_and_slotted(self, value: Any) -> None:
        assert not hasattr(value, "__dict__")
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, getattr(value, name))
        with pytest.raises((AttributeError, TypeError)):
            value.no_such_field = 1
        with pytest.raises(AttributeError, match="no_such_field"):
            value.no_such_field  # noqa: B018

    def test_can_be_copied(self, value: Any) -> None:
        for other in (
            pickle.loads(pickle.dumps(value)),
            copy.copy(value),
            copy.deepcopy(value),
            dataclasses.replace(value),
        ):
            assert other == value
            assert hash(other) == hash(value)
            assert type(other) is type(value)
            assert repr(other) == repr(value)
            assert dataclasses.asdict(other) == dataclasses.asdict(value)

    def test_differs_from_others(self, value: Any) -> None:
        assert [other == value for other in VALUES].count(True) == 1
        assert value != 5
        assert len({*VALUES, value}) == len(VALUES)

    def test_can_be_evaluated_from_its_repr(self, value: Any) -> None:
        assert eval(repr(value), PUBLIC) == value


def test_fields_are_what_was_given() -> None:
    assert FULL.selector.source == "10.1.0.0/16"
    assert (FULL.selector.protocol, FULL.selector.destination_port) == (6, 443)
    assert FULL.selector.destination_port_mask == 0xFFFF
    assert (FULL.selector.interface, FULL.selector.user, FULL.selector.family) == (3, 1000, Family.INET)
    assert (FULL.direction, FULL.action, FULL.priority, FULL.index) == (Direction.OUT, Action.BLOCK, 7, 9)
    assert isinstance(FULL.direction, Direction)
    tunnel, inner = FULL.templates
    assert (tunnel.source, tunnel.destination, tunnel.family) == ("2001:db8::1", "2001:db8::2", Family.INET6)
    assert (tunnel.protocol, tunnel.mode, tunnel.level) == (Protocol.ESP, Mode.TUNNEL, Level.REQUIRED)
    # Behind an IPv6 tunnel the packet is an IPv6 one.
    assert (inner.protocol, inner.source, inner.family) == (Protocol.AH, "::", Family.INET6)
    assert FULL.flags == PolicyFlag.LOCALOK | PolicyFlag.ICMP
    assert (FULL.share, FULL.policy_type) == (Share.UNIQUE, PolicyType.SUB)
    assert FULL.mark == Mark(0x0F, 0x0F)
    assert FULL.mark.value == 0x0F
    assert FULL.if_id == 5
    assert (FULL.lifetime.hard_byte_limit, FULL.lifetime.soft_byte_limit) == (1000, INFINITE)
    assert (FULL.current.bytes, FULL.current.add_time) == (1, 1_800_000_000)
    assert FULL.security_context == SecurityContext("system_u:object_r:ipsec_spd_t:s0", 1, 1)
    assert FULL.offload == Offload(2, OffloadFlag.PACKET)
    assert FULL.attributes == (Attribute(60, b"later"),)


def test_safe_defaults() -> None:
    policy = Policy(direction="in")
    assert policy.lifetime == LifetimeConfig() == LifetimeConfig(hard_byte_limit=None)
    assert policy.lifetime.hard_packet_limit == INFINITE == 2**64 - 1
    assert (policy.mark, policy.if_id, policy.templates, policy.index) == (None, None, (), 0)
    assert policy.selector == Selector() == Selector("0.0.0.0/0", "0.0.0.0/0")
    assert encode(Policy(direction="in", mark=Mark(0, 0))) == encode(policy)
    assert Selector("::/0").family == Family.INET6
    assert Selector(family="inet6").destination == "::/0"


def test_reprs_show_what_is_not_default() -> None:
    assert repr(Policy(direction="in")) == "Policy(direction='in')"
    assert repr(Selector("10.0.0.0/8", protocol=6)) == "Selector(source='10.0.0.0/8', protocol=6)"
    assert repr(Template("10.0.0.1", mode="tunnel")).startswith("Template(source='10.0.0.1', mode='tunnel'")
    assert repr(LifetimeConfig()) == "LifetimeConfig()"
    assert repr(Policy(direction="in", flags=PolicyFlag(0x83))) == (
        "Policy(direction='in', flags=['localok', 'icmp', 128])"
    )
    assert repr(Offload(1, 0x81)) == "Offload(interface=1, flags=OffloadFlag(129))"


@pytest.mark.parametrize(
    "value",
    [
        Selector("10.0.0.1/8", strict=False),
        Selector(source_port=1, source_port_mask=0, destination_port=2, destination_port_mask=0),
        Selector(source_port_mask=0xFF00),
        Selector("2001:db8::1/32", "::/0", strict=False),
        Template(mode=Mode(9), protocol=Protocol(17)),
        Policy(direction=Direction(4), flags=0xFF, templates=Template(family="inet6")),
        PolicyId(index=9, direction="out", policy_type=PolicyType(7)),
    ],
    ids=repr,
)
def test_reprs_of_rare_values_can_be_evaluated(value: Any) -> None:
    assert eval(repr(value), PUBLIC) == value


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("10.1.2.3", "10.1.2.3/32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        (ipaddress.ip_address("10.1.2.3"), "10.1.2.3/32"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (ipaddress.ip_interface("10.1.2.3/32"), "10.1.2.3/32"),
        (ipaddress.ip_network("2001:db8::/32"), "2001:db8::/32"),
        ("2001:DB8:0:0::/32", "2001:db8::/32"),
        ("2001:db8::/ffff:ffff::", "2001:db8::/32"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1/128"),
        (None, "0.0.0.0/0"),
    ],
)
def test_what_people_have(given: Any, text: str) -> None:
    assert Selector(given).source == text


def test_names_in_any_form() -> None:
    wanted = Policy(direction=Direction.FWD, action=Action.BLOCK, flags=PolicyFlag.ICMP)
    assert Policy(direction="FWD", action="Block", flags="ICMP") == wanted
    assert Policy(direction=2, action=1, flags=2) == wanted
    assert Template(protocol="ipsec-any", mode="in_trigger") == Template(protocol=255, mode=Mode.IN_TRIGGER)


class Index:
    """An integer of another library, as numpy's are."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __index__(self) -> int:
        return self.number


class Label(str):
    """Text whose str() is something else, as that of members of a str enumeration is."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_things_that_act_as_text_and_numbers() -> None:
    given: Any = Index(2)
    policy = Policy(Selector(Label("10.0.0.0/8"), protocol=given), direction=given, priority=given, flags=given)
    assert policy == Policy(Selector("10.0.0.0/8", protocol=2), direction="fwd", priority=2, flags="icmp")
    assert Template(Label("10.0.0.1"), reqid=given) == Template("10.0.0.1", reqid=2)
    # What is kept is plain, whatever was given.
    assert type(Mark(given, given).mask) is int
    assert type(PolicyId(index=Index(8), direction="in").index) is int  # type: ignore[arg-type]
    assert type(SecurityContext("a", given).algorithm) is int


def test_constants_of_other_modules() -> None:
    assert Selector(protocol=socket.IPPROTO_TCP, family=socket.AF_INET6).family == Family.INET6
    assert Selector(protocol=Protocol.ESP).protocol == 50
    assert Template(protocol=socket.IPPROTO_AH, family=socket.AF_INET).protocol == Protocol.AH


def test_a_mark_of_no_bits_is_none() -> None:
    named = PolicyId(Selector(), direction="in", mark=Mark(5, 0))
    assert named.mark is None
    assert named == Policy(direction="in", mark=Mark(0, 0)).id
    assert decode(named.message(Message.GETPOLICY)) == Request(Message.GETPOLICY, named)


def test_a_template_without_addresses_takes_those_it_is_given_later() -> None:
    later = dataclasses.replace(Template(reqid=1), source="10.0.0.1", destination="10.0.0.2")
    assert later == Template("10.0.0.1", "10.0.0.2", reqid=1)
    assert dataclasses.replace(Template(reqid=1), reqid=2) == Template(reqid=2)


def test_attributes_of_known_types_become_fields() -> None:
    """So that a policy has one form only, however it was made."""
    payload = struct.pack("=I", 7)
    policy = Policy(direction="in", mark=Mark(1), attributes=[Attribute(60, b"x"), Attribute(31, payload)])
    assert policy == Policy(direction="in", mark=Mark(1), if_id=7, attributes=[Attribute(60, b"x")])
    assert (policy.if_id, policy.attributes) == (7, (Attribute(60, b"x"),))
    assert encode(decode(encode(policy))) == encode(policy)
    # Of a size that the type does not have they stay what they are.
    odd = Policy(direction="in", attributes=[Attribute(31, b"odd")])
    assert (odd.if_id, odd.attributes) == (None, (Attribute(31, b"odd"),))


def test_icmp_and_gre() -> None:
    echo = Selector(protocol="icmp", icmp_type=8, icmp_code=0)
    assert (echo.source_port, echo.source_port_mask, echo.destination_port_mask) == (8, 0xFFFF, 0xFFFF)
    assert (echo.icmp_type, echo.icmp_code, echo.gre_key) == (8, 0, None)
    assert Selector(protocol="icmp").icmp_type is None
    tunnel = Selector(protocol="gre", gre_key=0x12345678)
    assert (tunnel.source_port, tunnel.destination_port, tunnel.gre_key) == (0x1234, 0x5678, 0x12345678)
    assert (tunnel.icmp_type, Selector(protocol="gre").gre_key) == (None, None)


def test_host_bits_only_when_asked() -> None:
    selector = Selector("10.0.0.1/24", strict=False)
    assert selector.source == "10.0.0.1/24"
    assert selector != Selector("10.0.0.0/24")
    policy = decode(encode(Policy(selector, direction="in")))
    assert isinstance(policy, Policy)
    assert policy.selector == selector
    assert dataclasses.replace(policy, priority=1).selector.source == "10.0.0.1/24"


def test_numbers_that_only_the_kernel_knows() -> None:
    message = bytearray(encode(Policy(direction="in", templates=[Template()])))
    message[16 + 160], message[16 + 161], message[16 + 163] = 3, 7, 9  # direction, action, share
    message[16 + 168 + 4 + 20], message[16 + 168 + 4 + 48] = 99, 9  # a template's protocol and mode
    policy = decode(bytes(message))
    assert isinstance(policy, Policy)
    assert (policy.direction, policy.action, policy.share) == (3, 7, 9)
    assert policy.direction.name == "UNKNOWN_3"
    [template] = policy.templates
    assert (template.protocol, template.mode, template.mode.name) == (99, 9, "UNKNOWN_9")
    assert encode(policy) == bytes(message)
    assert encode(dataclasses.replace(policy)) == bytes(message)
    assert dataclasses.replace(template, reqid=3).mode == 9


def test_fields_read_by_many_threads_at_once() -> None:
    wanted = repr(FULL)
    for _ in range(50):
        fresh = pickle.loads(pickle.dumps(FULL))
        barrier = threading.Barrier(8)
        seen: list[str] = []

        def read(policy: Policy = fresh, barrier: threading.Barrier = barrier, seen: list[str] = seen) -> None:
            barrier.wait()
            seen.append(repr(policy))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [wanted] * 8


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "builtin"),
    [
        (errno.EEXIST, AlreadyExists, FileExistsError),
        (errno.ENOENT, NotFound, LookupError),
        (errno.ESRCH, NotFound, LookupError),
        (errno.EPERM, PermissionDenied, PermissionError),
        (errno.EINVAL, KernelError, OSError),
    ],
)
def test_kernel_errors(code: int, kind: type[KernelError], builtin: type[Exception]) -> None:
    error = errors.kernel_error(code, "add policy", "its own words", "XFRMA_TMPL", 7, 9)
    assert type(error) is kind
    assert isinstance(error, (XfrmError,))
    assert isinstance(error, OSError)
    assert isinstance(error, builtin)
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert (one.errno, one.operation, one.kernel_text) == (code, "add policy", "its own words")
        assert (one.attribute, one.index, one.line) == ("XFRMA_TMPL", 7, 9)
        name = errno.errorcode[code]
        assert str(one) == f"add policy (line 9): {error.strerror} [{name}]: its own words (XFRMA_TMPL)"
    plain = errors.kernel_error(code, "add policy", index=3)
    assert str(plain) == f"add policy (item 3): {error.strerror} [{errno.errorcode[code]}]"


def test_all_errors_can_be_pickled() -> None:
    result = LoadResult("add", taken=3)
    every = [
        errors.ReplyTimeout("x"),
        errors.RepliesLost("x"),
        errors.ProtocolError("x"),
        errors.ClosedError("x"),
        errors.NotCompiledError("x"),
        LoadError("ended", result),
    ]
    for error in every:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert isinstance(error, XfrmError)
    assert pickle.loads(pickle.dumps(every[-1])).result == result


# --- the house ----------------------------------------------------------------------------------------------


def test_exports() -> None:
    """What type checkers see, what the interpreter finds when it is asked for, and the list of both."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    seen = {
        (name.name, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("xfrm_ext.")
        for name in node.names
    }
    assert seen == {(name, f"xfrm_ext.{room}") for name, room in xfrm_ext._HOMES.items()}
    assert {name for name, _ in seen} == set(xfrm_ext.__all__) - {"__version__"}
    assert set(xfrm_ext.__all__) <= set(dir(xfrm_ext))
    for name in xfrm_ext.__all__:
        assert getattr(xfrm_ext, name) is not None
    assert xfrm_ext.codec.select() is not None
    with pytest.raises(AttributeError, match="module 'xfrm_ext' has no attribute 'nonsense'"):
        xfrm_ext.nonsense  # noqa: B018
    assert not hasattr(xfrm_ext, "codec.native")
    for name in errors.__all__:
        function = name in ("compiled_module_needed", "kernel_error")
        assert getattr(xfrm_ext, name, None) is getattr(errors, name) or function


def test_only_the_boundary_imports_the_compiled_modules() -> None:
    boundary = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in ("xfrm_ext._native", "xfrm_ext._objects"):
                boundary.add(str(path.relative_to(PACKAGE)))
    assert boundary == {"batchfile.py", "rtnl.py", "rtnl_once.py"} | {
        f"wire/{name}.py" for name in ("columns_read", "columns_write", "heard", "native", "policy_rows")
    }


def test_the_core_imports_cffi_alone() -> None:
    program = "import sys; from xfrm_ext import *; print(*{name.partition('.')[0] for name in sys.modules})"
    output = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {program}"],
                            capture_output=True, text=True, check=True).stdout  # fmt: skip
    foreign = {name for name in output.split() if name not in sys.stdlib_module_names and name != "__main__"}
    assert foreign == {"xfrm_ext", "_cffi_backend"} if wire.NAME == "native" else {"xfrm_ext"}


@pytest.mark.parametrize("member", [Mode.TUNNEL, Mode(9), PolicyFlag(3), PolicyFlag(0x81), Direction(4)])
def test_members_survive_copies(member: Any) -> None:
    for other in (pickle.loads(pickle.dumps(member)), copy.copy(member), copy.deepcopy(member)):
        assert (other, type(other), repr(other)) == (member, type(member), repr(member))

# SPDX-License-Identifier: MIT
"""The documentation's claims that need all of IPsec: code that adds states, what the kernel refuses in which words,
how `ip xfrm state` says the same."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from test_docs import MESSAGES, blocks_of, pages_for, rows_under, run_page

import xfrm_ext
from guest.network import ESP, PORT, Pair
from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AsyncEvent,
    Attribute,
    AttributeType,
    AuthAlgorithm,
    Direction,
    Encapsulation,
    IpTfs,
    KernelError,
    Level,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Message,
    Migration,
    Mode,
    Move,
    NotFound,
    Offload,
    Policy,
    ReplayState,
    Request,
    Selector,
    Session,
    SpdThresholds,
    SpiRequest,
    State,
    StateDirection,
    StateExpired,
    StateExtraFlag,
    StateFlag,
    StateMigration,
    Template,
    algorithm,
)
from xfrm_ext.codec import native
from xfrm_ext.testing import inside

ENDS = ("192.0.2.1", "192.0.2.2")
ENDS6 = ("2001:db8::1", "2001:db8::2")
ELSEWHERE = ("192.0.2.3", "192.0.2.4")
NETS = Selector("10.1.0.0/16", "10.2.0.0/16")
GCM = AeadAlgorithm("rfc4106(gcm(aes))", bytes(range(20)))
HMAC = AuthAlgorithm("hmac(sha256)", bytes(range(32)))
CBC = Algorithm("cbc(aes)", bytes(range(16)))
TEMPLATE = Template(*ENDS, mode="tunnel", reqid=1)
DEFLATE = Algorithm("deflate")
KEYS = {each.name: each.key for each in (GCM, HMAC, CBC)}


def esp(*ends: str, **options: Any) -> State:
    given: dict[str, Any] = {"spi": 0x1000, "mode": "tunnel", "reqid": 1, "aead": GCM} | options
    return State(*(ends or ENDS), **given)


def ah(**options: Any) -> State:
    return esp(**{"protocol": "ah", "aead": None, "authentication": HMAC} | options)


def comp(**options: Any) -> State:
    return esp(**{"spi": 0x100, "protocol": "comp", "aead": None, "compression": DEFLATE} | options)


def mobile(**options: Any) -> State:
    given = {"spi": 0, "protocol": "route2", "mode": "ro", "aead": None, "care_of_address": "2001:db8::3"}
    return esp(*ENDS6, **given | options)


def attribute(kind: AttributeType, *numbers: int, form: str = "I") -> dict[str, Any]:
    return {"attributes": [Attribute(kind, struct.pack(f"={form}", *numbers))]}


def patched(value: Any, offset: int, data: bytes) -> bytes:
    """The message with other bytes at an offset of its fixed part."""
    message = bytearray(native.encode(value))
    message[16 + offset : 16 + offset + len(data)] = data
    return bytes(message)


@pytest.mark.parametrize("page", pages_for("guest"))
def test_blocks(page: str, session: Session, namespace: int) -> None:
    run_page(page, "guest", session, namespace)


Attempt: TypeAlias = Callable[[Session], object]


def add(state: State) -> Attempt:
    return lambda session: session.sad.add(state)


def ask(value: Any) -> Attempt:
    """Sends a request, or a message that no value stands for."""
    message = value if isinstance(value, bytes) else native.encode(value)
    return lambda session: session._transport.talk(message, "ask")


def migrate(what: Migration | StateMigration) -> Attempt:
    return lambda session: session.migrate(what)


def after(prepare: Callable[[Session], object], attempt: Attempt) -> Attempt:
    def both(session: Session) -> None:
        prepare(session)
        attempt(session)

    return both


def larval(session: Session) -> State:
    return session.sad.allocate_spi(*ENDS, mode="tunnel", minimum=0x1000, maximum=0x1000)


def policy(*templates: Template, **options: Any) -> Policy:
    given: dict[str, Any] = {"selector": NETS, "direction": "out", "templates": templates} | options
    return Policy(**given)


def move(*moves: Move, **options: Any) -> Attempt:
    """Moves the states of a policy that is there."""
    return after(
        lambda session: session.spd.add(policy(TEMPLATE)), migrate(Migration(NETS, "out", moves, **options))
    )


def move_state(**options: Any) -> Attempt:
    return after(add(esp()), migrate(StateMigration(esp().id, *ELSEWHERE, **options)))


# For all that the pages say the kernel refuses, something that makes it say so.
REFUSED: dict[str, dict[str, Attempt]] = {
    "policy.md": {
        "Invalid selector family": ask(patched(policy(), 40, b"\0")),
        "Invalid prefix length in selector (must be <= 32 for IPv4)": ask(patched(policy(), 42, b"\x21")),
        "Invalid prefix length in selector (must be <= 128 for IPv6)": ask(
            patched(policy(selector=Selector("fd00::/64", "fd01::/64")), 43, b"\x81")
        ),
        "Invalid policy direction": ask(patched(policy(), 160, b"\4")),
        "Invalid policy action": ask(patched(policy(), 161, b"\4")),
        "Invalid policy share": ask(patched(policy(), 163, b"\4")),
        "Invalid policy type": ask(patched(policy(policy_type="sub"), 168 + 4, b"\7")),
        "Policy index doesn't match direction": ask(patched(policy(), 156, struct.pack("=I", 8))),
        "Template count must be <= XFRM_MAX_DEPTH (6)": ask(
            policy(attributes=[Attribute(AttributeType.TMPL, bytes(7 * 64))])
        ),
        "Invalid family in template": ask(patched(policy(TEMPLATE), 168 + 4 + 24, b"\5")),
        "Mode in template must be < XFRM_MODE_MAX (6)": ask(patched(policy(TEMPLATE), 168 + 4 + 48, b"\x09")),
        "Mode in template doesn't support a family change": ask(policy(Template(*ENDS6, mode="transport"))),
        "Mode in optional template not allowed in outbound policy": ask(policy(replace(TEMPLATE, level=Level.USE))),
        "Invalid XFRM protocol in template": ask(patched(policy(TEMPLATE), 168 + 4 + 20, b"\x11")),
        "Policy offload is not supported": ask(policy(offload=Offload(1))),
        "Unrecognized flags in offload request": ask(policy(offload=Offload(1, 0))),
        "Attribute failed policy validation": ask(policy(**attribute(AttributeType.MARK, 1))),
        "Invalid attribute SA_DIR": ask(policy(**attribute(AttributeType.SA_DIR, 1, form="B"))),
    },
    "state.md": {
        "Invalid address family": ask(patched(esp(), 212, b"\5")),
        "Invalid address family in selector": ask(patched(esp(), 40, b"\5")),
        "Invalid prefix length in selector (must be <= 32 for IPv4)": ask(patched(esp(selector=NETS), 42, b"\x21")),
        "Unsupported protocol": ask(patched(esp(), 76, b"\x11")),
        "Unsupported mode": add(esp(mode="in_trigger")),
        "Requested mode not found": add(esp(mode="ro")),
        "Only tunnel modes can accommodate a change of family": add(
            esp(mode="transport", selector=Selector("fd00::/64", "fd01::/64"))
        ),
        "Missing required attribute for ESP: at least one of AUTH, AUTH_TRUNC, CRYPT, AEAD": add(esp(aead=None)),
        "Invalid attribute for ESP: COMP": add(esp(compression=DEFLATE)),
        "Invalid attribute combination for ESP: AEAD can't be used with AUTH, AUTH_TRUNC, CRYPT": add(
            esp(
                attributes=[Attribute(AttributeType.ALG_CRYPT, b"cbc(aes)".ljust(64, b"\0") + struct.pack("=I", 0))]
            )
        ),
        "ESP: AEAD or CRYPT must be provided": add(esp(aead=None, authentication=HMAC)),
        "Missing required attribute for AH: AUTH_TRUNC or AUTH": add(ah(authentication=None)),
        "Invalid attributes for AH: AEAD, CRYPT, COMP, TFCPAD": add(ah(encryption=CBC)),
        "AH is not compatible with encapsulation": add(ah(encapsulation=Encapsulation())),
        "Missing required attribute for COMP: COMP": add(comp(compression=None)),
        "SPI is too large for COMP (must be < 0x10000)": add(comp(spi=0x10000)),
        "Unsupported XFRM mode for IPcomp": add(comp(mode="beet")),
        "Missing required COADDR attribute for DSTOPTS/ROUTING": add(mobile(care_of_address=None)),
        "Invalid attributes for DSTOPTS/ROUTING": add(mobile(aead=GCM)),
        "XFRM mode must be XFRM_MODE_ROUTEOPTIMIZATION": add(mobile(mode="tunnel")),
        "SPI must be 0": add(mobile(spi=5)),
        "Requested AEAD algorithm not found": add(esp(aead=AeadAlgorithm(GCM.name, GCM.key, 100, strict=False))),
        "Requested CRYPT algorithm not found": add(esp(aead=None, encryption=Algorithm("nonsense", "00"))),
        "Requested AUTH_TRUNC algorithm not found": add(ah(authentication=AuthAlgorithm("nonsense", "00", 96))),
        "Requested COMP algorithm not found": add(comp(compression=Algorithm("lzs"))),
        "Kernel was unable to initialize cryptographic operations": add(
            esp(aead=AeadAlgorithm(GCM.name, bytes(19), strict=False))
        ),
        "Invalid length requested for truncated ICV": add(
            ah(authentication=AuthAlgorithm(HMAC.name, HMAC.key, 264, strict=False))
        ),
        "TFC padding can only be used in tunnel mode": add(esp(mode="transport", traffic_flow_padding=100)),
        "Missing required attribute for ESN": ask(patched(esp(), 216, b"\x80")),
        "ESN only supported for ESP and AH": add(comp(flags="esn")),
        "ESN replay window must be > 0": add(esp(flags="esn", replay_window=0, direction="in")),
        "ESN bitmap length must be <= 128": add(esp(flags="esn", replay=ReplayState(words=200))),
        "ESN replay window is too large for the chosen bitmap size": add(
            esp(flags="esn", replay_window=64, replay=ReplayState(words=1))
        ),
        "ESN not compatible with legacy replay_window": ask(patched(esp(replay_window=64), 215, b"\x20")),
        "Replay window should be 0 for output SA": add(esp(direction="out", replay_window=32)),
        "Replay seq and bitmap should be 0 for output SA": add(esp(direction="out", replay=ReplayState(0, 5))),
        "Replay seq and seq_hi should be 0 for output SA": add(
            esp(direction="out", flags="esn", replay=ReplayState(0, 5))
        ),
        "Replay oseq and oseq_hi should be 0 for input SA": add(
            esp(direction="in", flags="esn", replay=ReplayState(5, 0))
        ),
        "Flag NOPMTUDISC should not be set for input SA": add(esp(direction="in", flags="nopmtudisc")),
        "Flag OSEQ_MAY_WRAP should not be set for input SA": add(esp(direction="in", extra_flags="oseq_may_wrap")),
        "Flag DONT_ENCAP_DSCP should not be set for input SA": add(
            esp(direction="in", extra_flags="dont_encap_dscp")
        ),
        "Flag DECAP_DSCP should not be set for output SA": add(esp(direction="out", flags="decap_dscp")),
        "Flag WILDRECV should not be set for output SA": add(esp(direction="out", flags="wildrecv")),
        "Flag ICMP should not be set for output SA": add(esp(direction="out", flags="icmp")),
        "integer out of range": add(esp(**attribute(AttributeType.SA_DIR, 3, form="B"))),
        "Unsupported encapsulation type for ESP": add(esp(encapsulation=Encapsulation("espinudp_non_ike"))),
        "MTIMER_THRESH requires encapsulation": add(esp(mapping_timer_threshold=5)),
        "MTIMER_THRESH should not be set on output SA": add(
            esp(direction="out", encapsulation=Encapsulation(), mapping_timer_threshold=5)
        ),
        "NAT keepalive is only supported for UDP encapsulation": add(
            esp(direction="out", nat_keepalive_interval=5)
        ),
        "NAT keepalive is only supported for outbound SAs": add(
            esp(encapsulation=Encapsulation(), nat_keepalive_interval=5)
        ),
        "SA_PCPU only supported with SA_DIR": add(esp(cpu=0)),
        "pCPU number too big": add(esp(cpu=1000, direction="out")),
        "IP-TFS mode only supported with ESP": add(ah(mode="iptfs", direction="in")),
        "IP-TFS mode requires in or out direction attribute": add(esp(mode="iptfs")),
        "IP-TFS options can only be used in IP-TFS mode": add(esp(direction="out", iptfs=IpTfs(packet_size=1000))),
        "IP-TFS drop time should not be set for output SA": add(
            esp(mode="iptfs", direction="out", iptfs=IpTfs(drop_time=5))
        ),
        "IP-TFS reorder window should not be set for output SA": add(
            esp(mode="iptfs", direction="out", iptfs=IpTfs(reorder_window=5))
        ),
        "IP-TFS don't fragment should not be set for input SA": add(
            esp(mode="iptfs", direction="in", iptfs=IpTfs(dont_fragment=True))
        ),
        "IP-TFS initial delay should not be set for input SA": add(
            esp(mode="iptfs", direction="in", iptfs=IpTfs(init_delay=1))
        ),
        "IP-TFS max queue size should not be set for input SA": add(
            esp(mode="iptfs", direction="in", iptfs=IpTfs(max_queue_size=1))
        ),
        "IP-TFS packet size should not be set for input SA": add(
            esp(mode="iptfs", direction="in", iptfs=IpTfs(packet_size=1))
        ),
        "Packet size must be 0 or greater than IPTFS/ESP header length": add(
            esp(mode="iptfs", direction="out", iptfs=IpTfs(packet_size=20))
        ),
        "Mismatched SA and offload direction": add(esp(offload=Offload(1, "inbound"), direction="out")),
        "Unrecognized flags in offload request": add(esp(offload=Offload(1, 0x80))),
        "Attribute failed policy validation": add(esp(**attribute(AttributeType.TFCPAD, 1, form="B"))),
        "No SPI available in the requested range": after(larval, larval),
        "Invalid SPI range: min > max": ask(
            patched(SpiRequest(esp(spi=0, aead=None), 5, 9), 224, struct.pack("=I", 99))
        ),
        "IPCOMP SPI must be <= 65535": ask(SpiRequest(comp(spi=0), 0x100, 0x10000)),
        "Invalid protocol, must be one of AH, ESP, IPCOMP": ask(SpiRequest(mobile(), 0x100, 0x200)),
        "SA must be in VALID state": lambda session: session.sad.expire(larval(session)),
        "Invalid attribute SA_DIR": ask(Request(Message.EXPIRE, StateExpired(esp(direction="in"), False))),
    },
    "event.md": {
        "SA must be in VALID state": lambda session: session.sad.expire(larval(session)),
        "NLM_F_REPLACE flag is required": ask(patched(AsyncEvent(esp(), replay=ReplayState()), 6 - 16, b"\5\0")),
        "Missing required attribute for AE": ask(AsyncEvent(esp())),
        "New ESN size doesn't match the existing SA's ESN size": ask(
            AsyncEvent(esp(), replay=ReplayState(), replay_window=128)
        ),
        "Invalid attribute SA_DIR": ask(AsyncEvent(esp(), replay=ReplayState(), direction="in")),
        "Invalid attribute SA_PCPU": ask(AsyncEvent(esp(), replay=ReplayState(), cpu=0)),
    },
    "migrate.md": {
        "Target policy not found": migrate(Migration(NETS, "out", Move(*ENDS, *ELSEWHERE, reqid=1))),
        "Missing required MIGRATE attribute": move(),
        "Entries in the MIGRATE attribute's list must be unique": move(*[Move(*ENDS, *ELSEWHERE, reqid=1)] * 2),
        "Addresses in the MIGRATE attribute's list cannot be null": move(
            Move(*ENDS, "0.0.0.0", ELSEWHERE[1], reqid=1)
        ),
        "Failed to add migrated state": after(
            add(esp()), after(add(esp(*ELSEWHERE)), move(Move(*ENDS, *ELSEWHERE, reqid=1)))
        ),
        "Can not find state": migrate(StateMigration(esp().id, *ELSEWHERE)),
        "New SA tuple already occupied": after(add(esp(*ELSEWHERE)), move_state()),
        "SA selector is not a single-host match for SA addresses": move_state(flags="update_h2h_sel"),
        "Unknown flags: 0x4": after(add(esp()), ask(patched(StateMigration(esp().id, *ELSEWHERE), 124, b"\4"))),
        "Unsupported attribute in XFRM_MSG_MIGRATE_STATE": move_state(if_id=7),
        "NAT_KEEPALIVE_INTERVAL requires encapsulation": move_state(
            **attribute(AttributeType.NAT_KEEPALIVE_INTERVAL, 5)
        ),
        "MTIMER_THRESH requires encapsulation": move_state(**attribute(AttributeType.MTIMER_THRESH, 5)),
    },
    "info.md": {
        "Invalid hash threshold (must be <= 32 for IPv4)": ask(patched(SpdThresholds((24, 16)), 8, b"\x21")),
        "Invalid hash threshold (must be <= 128 for IPv6)": ask(patched(SpdThresholds(ipv6=(64, 48)), 8, b"\x81")),
    },
}


@pytest.mark.parametrize("page", REFUSED)
def test_all_words_of_the_kernel_are_tried(page: str) -> None:
    assert [row[0] for row in rows_under(MESSAGES / page, "| the kernel's words |")] == list(REFUSED[page])


@pytest.mark.parametrize(
    ("page", "words"), [(page, words) for page, attempts in REFUSED.items() for words in attempts]
)
def test_the_kernel_refuses_in_these_words(session: Session, page: str, words: str) -> None:
    if page == "event.md" and words.startswith(("NLM", "Missing", "Invalid")):
        session.sad.add(esp())
    if words.startswith("New ESN size"):
        session.sad.add(esp(flags="esn", replay_window=64))
    with pytest.raises(KernelError) as caught:
        REFUSED[page][words](session)
    assert caught.value.kernel_text == words


WHOLE = esp(encapsulation=Encapsulation(), if_id=5, output_mark=Mark(1))
CHANGED: dict[str, Any] = {
    "lifetime": LifetimeConfig(hard_packet_limit=99),
    "encapsulation": Encapsulation("espinudp", 4501, 4502),
    "output_mark": Mark(9),
    "if_id": 6,
}
KEPT: dict[str, Any] = {
    "aead": AeadAlgorithm(GCM.name, bytes(20)),
    "reqid": 7,
    "replay_window": 64,
    "replay": ReplayState(5, 5, 5),
    "selector": NETS,
    "flags": StateFlag.NOECN,
    "extra_flags": StateExtraFlag.OSEQ_MAY_WRAP,
    "mode": Mode.TRANSPORT,
    "source": "192.0.2.99",
    "sequence": 9,
    "traffic_flow_padding": 100,
}


@pytest.mark.parametrize("field", [*CHANGED, *KEPT])
def test_what_an_update_changes(session: Session, field: str) -> None:
    """state.md. None of it is an error."""
    session.sad.add(WHOLE)
    before = session.sad.get(WHOLE)
    session.sad.update(replace(WHOLE, **{field: (CHANGED | KEPT)[field]}))
    changes = {field: CHANGED[field]} if field in CHANGED else {}
    assert session.sad.get(WHOLE) == replace(before, **changes)


@pytest.mark.parametrize("options", [{"direction": "in"}, {"mark": Mark(1)}])
def test_an_update_needs_mark_and_direction(session: Session, options: dict[str, Any]) -> None:
    session.sad.add(esp(**options))
    with pytest.raises(NotFound):
        session.sad.update(esp())


@pytest.mark.parametrize(("name", "bits"), [("hmac(sha256)", 96), ("hmac(sha384)", 192), ("hmac(sha512)", 256)])
def test_the_check_value_that_the_kernel_picks(session: Session, name: str, bits: int) -> None:
    digest = AuthAlgorithm(name, bytes(algorithm.AUTHENTICATION[name].key_bits[0] // 8), 0)
    session.sad.add(ah(authentication=digest))
    found = session.sad.get(ah()).authentication
    assert found is not None
    assert found.icv_bits == bits


def test_a_moved_state_has_only_what_is_given(session: Session) -> None:
    """migrate.md"""
    session.sad.add(esp(selector=NETS, encapsulation=Encapsulation()))
    session.migrate(StateMigration(esp().id, *ELSEWHERE))
    [moved] = session.sad.dump()
    assert (moved.reqid, moved.selector) == (0, Selector(family="unspec"))
    assert moved.encapsulation == Encapsulation()
    session.sad.flush()
    session.sad.add(esp(encapsulation=Encapsulation()))
    move(Move(*ENDS, *ELSEWHERE, reqid=1))(session)
    [moved] = session.sad.dump()
    assert (moved.reqid, moved.encapsulation) == (1, None)


NEWER_THAN_IP = ("dir in", "pcpu-num 0 dir out")
"""What an `ip` may not know yet."""


def said(words: str, namespace: int) -> bool:
    """Adds a state by `ip`. False: it doesn't know the words."""
    key = "0x" + GCM.key.reveal().hex()
    command = ["ip", "xfrm", "state", "add", "src", ENDS[0], "dst", ENDS[1], "proto", "esp", "spi", "0x1000"]
    if not words.startswith(("aead ", "enc ")):
        command += ["aead", GCM.name, key, "128"]
    parts = words.split()
    keys = iter([CBC.key.reveal().hex(), HMAC.key.reveal().hex()] if parts[0] == "enc" else [key[2:]])
    command += [f"0x{next(keys)}" if part == "0xKEY" else part for part in parts]
    with inside(namespace):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if words in NEWER_THAN_IP and done.returncode:
        return False
    assert not done.returncode, done.stderr
    return True


def row_id(row: list[str]) -> str:
    return row[0].strip("`")


@pytest.mark.parametrize("row", rows_under(MESSAGES / "state.md", "| `ip xfrm state add"), ids=row_id)
def test_ip_says_the_same(session: Session, namespace: int, row: list[str]) -> None:
    words, arguments = (cell.split("`")[1] for cell in row)
    if not said(words, namespace):
        pytest.skip("this ip does not know these words")
    by_ip = session.sad.get(esp(mark=Mark(5, 0xFF) if words.startswith("mark") else None))
    session.sad.delete(by_ip)
    arguments = re.sub(r'(\w+)\((".*?"), key', r"\1(\2, KEYS[\2]", arguments)
    with inside(namespace):  # where its interfaces are
        options = eval(
            f"dict({arguments})",
            {name: getattr(xfrm_ext, name) for name in xfrm_ext.__all__} | {"socket": socket, "KEYS": KEYS},
        )
    given = {"spi": 0x1000, "replay_window": 0} | options
    if "aead" not in given and "encryption" not in given:
        given["aead"] = GCM
    ours = State(*ENDS, **given)
    session.sad.add(ours)
    found = session.sad.get(ours)
    assert replace(found, current=LifetimeCurrent()) == replace(by_ip, current=LifetimeCurrent())


def extension(kind: int, body: bytes) -> bytes:
    """One part of a message of PF_KEY (RFC 2367)."""
    padded = body + bytes(-(len(body) + 4) % 8)
    return struct.pack("=HH", (len(padded) + 4) // 8, kind) + padded


def pf_key_add(protocol: int, association: bytes, *others: bytes) -> bytes:
    """SADB_ADD, as setkey sends it."""
    body = extension(1, association)
    for kind, address in ((5, ENDS[0]), (6, ENDS[1])):
        where = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        body += extension(kind, struct.pack("=BBH", 255, 32, 0) + where)
    body += b"".join(others)
    return struct.pack("=BBBBHHII", 2, 3, 0, protocol, 2 + len(body) // 8, 0, 5, os.getpid()) + body


# By what setkey's line means: -r 32 ... -A hmac-sha1 -E aes-cbc; mode, -u 7; -lh, -bh; -ls, -bs; keys
SETKEY = {
    "esp": (
        pf_key_add(
            3,
            struct.pack(">I", 0x1000) + bytes((32, 1, 3, 12)) + bytes(4),
            extension(19, struct.pack("=BBHII", 2, 0, 0, 0, 7)),
            extension(3, struct.pack("=IQQQ", 0, 1000000, 3600, 0)),
            extension(4, struct.pack("=IQQQ", 0, 900000, 3000, 0)),
            extension(8, struct.pack("=HH", 160, 0) + bytes(20)),
            extension(9, struct.pack("=HH", 128, 0) + CBC.key.reveal()),
        ),
        esp(
            reqid=7,
            aead=None,
            replay_window=32,
            encryption=CBC,
            authentication=AuthAlgorithm("hmac(sha1)", bytes(20), 96),
            lifetime=LifetimeConfig(
                hard_byte_limit=1000000,
                soft_byte_limit=900000,
                hard_add_expires_seconds=3600,
                soft_add_expires_seconds=3000,
            ),
        ),
    ),
    "ah": (
        pf_key_add(
            2,
            struct.pack(">I", 0x1001) + bytes((0, 1, 5, 0)) + bytes(4),
            extension(8, struct.pack("=HH", 256, 0) + HMAC.key.reveal()),
        ),
        ah(
            spi=0x1001,
            mode="transport",
            reqid=0,
            replay_window=0,
            authentication=AuthAlgorithm(HMAC.name, HMAC.key, 0),
        ),
    ),
    "ipcomp": (
        pf_key_add(9, struct.pack(">I", 0x1002) + bytes((0, 1, 0, 2)) + bytes(4)),
        comp(spi=0x1002, mode="transport", reqid=0),
    ),
}


@pytest.mark.parametrize("line", SETKEY)
def test_setkey_means_the_same(session: Session, namespace: int, line: str) -> None:
    """The rows of state.md, over the socket family that setkey uses."""
    message, state = SETKEY[line]
    with inside(namespace), socket.socket(15, socket.SOCK_RAW, 2) as pf_key:  # AF_KEY, PF_KEY_V2
        pf_key.settimeout(10)
        pf_key.send(message)
        assert pf_key.recv(4096)[2] == 0  # errno
    [by_setkey] = session.sad.dump()
    session.sad.flush()
    session.sad.add(replace(state, sequence=5))
    [ours] = session.sad.dump()
    assert replace(by_setkey, current=LifetimeCurrent()) == replace(ours, current=LifetimeCurrent())


def test_the_tunnel_of_the_readme(pair: Pair) -> None:
    """The four objects on one host, their mirror images on the other, and a packet each way."""
    [block] = [block for block in blocks_of("README.md") if block.kernel == "guest"]
    left, right = pair.left, pair.right
    near, far = left.address.outer4, right.address.outer4
    inner = (left.address.inner4, right.address.inner4)
    code = block.code
    for shown, here in (
        ("192.0.2.1", near),
        ("198.51.100.2", far),
        ("10.1.0.0/16", inner[0]),
        ("10.2.0.0/16", inner[1]),
    ):
        assert f'"{shown}"' in code
        code = code.replace(f'"{shown}"', f'"{here}"')
    with inside(left.namespace):
        exec(code, {})
    for state in left.session.sad.dump():
        way, window = (StateDirection.IN, 32) if state.direction == StateDirection.OUT else (StateDirection.OUT, 0)
        right.session.sad.add(replace(state, direction=way, replay_window=window, replay=None))
    for policy in left.session.spd.dump():
        other = Direction.IN if policy.direction == Direction.OUT else Direction.OUT
        right.session.spd.add(replace(policy, direction=other, index=0))
    sockets = [host.bound(address) for host, address in zip(pair.hosts, inner, strict=True)]
    for sender, receiver, to in ((0, 1, inner[1]), (1, 0, inner[0])):
        sockets[sender].sendto(b"through the tunnel", (to, PORT))
        assert sockets[receiver].recv(100) == b"through the tunnel"
    assert {frame.protocol for frame in pair.frames()} == {ESP}
    assert [state.current.packets for state in left.session.sad.dump()] == [1, 1]

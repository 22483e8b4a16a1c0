# SPDX-License-Identifier: MIT
"""`ip xfrm policy` as a grammar: the bytes that `ip` sends, what it refuses, and our own words."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_lines import chosen, each_wire, index_of, line, read
from strategies import MARKS, U32, V4, V6
from vectors import recorded, records, take_apart

from xfrm_ext import (
    CommandError,
    Encapsulation,
    KmAddress,
    Mark,
    Message,
    Migration,
    Mode,
    Move,
    Offload,
    Policy,
    PolicyId,
    PolicyType,
    Protocol,
    Request,
    Selector,
    Template,
)
from xfrm_ext.codec import select
from xfrm_ext.iproute2 import encode, policy
from xfrm_ext.rtnl import open_byproto

CODEC = select()


def refusal(text: str) -> CommandError:
    with pytest.raises(CommandError) as raised:
        line(text)
    return raised.value


# --- the bytes that `ip` sends ------------------------------------------------------------------------------


@each_wire
@pytest.mark.parametrize("record", chosen("requests", "other_requests"))
def test_same_bytes(record: dict[str, Any], wire: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of deleteall the first datagram; for the others see test_iproute2_policy_list.py. Nothing differs."""
    monkeypatch.setattr(policy, "wire", wire)
    command = read(record["argv"][1:])
    sent = recorded(record)
    assert [bytes(one).hex() for one in command.datagrams] == [one.hex() for one in sent[:1]]
    assert len(sent) == 1 or command.verb == "deleteall"


@each_wire
@pytest.mark.parametrize("record", [pytest.param(one, id=one["id"]) for one in records("counts")])
def test_same_bytes_of_count(record: dict[str, Any], wire: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "wire", wire)
    words = [word for word in record["argv"][1:] if word in ("xfrm", "policy", "count")]
    sent = bytearray.fromhex(record["sent"])
    sent[8:16] = bytes(8)  # sequence number, port
    assert [bytes(one) for one in read(words).datagrams] == [sent]


def test_no_record_is_forgotten() -> None:
    assert len(chosen("requests", "other_requests")) == 241
    assert len(records("counts")) == 18


def test_getdefault_asks_with_an_empty_answer() -> None:
    assert line("getdefault") == [struct.pack("=IHHII3x", 19, Message.GETDEFAULT, 1, 0, 0).hex()]


# --- what `ip` refuses ------------------------------------------------------------------------------------------

RULES = {
    "policy-add-bad-dir-refused": "dir: 'sideways' is not one of in, out, fwd",
    "policy-add-no-dir-refused": "dir: is missing: in, out or fwd",
    "policy-add-opt-offload-crypto-refused": "offload: 'crypto' is not packet",
    "policy-add-sel-bad-key-proto-refused": "key: only GRE has keys; proto is tcp",
    "policy-add-sel-bad-port-proto-refused": "sport: only TCP, UDP",
    "policy-add-sel-bad-type-proto-refused": "type: only ICMP, ICMPv6",
    "policy-add-sel-keyword-any": "src: 'any' is of no address family",
    "policy-add-sel-keyword-default": "src: 'default' is of no address family",
    "policy-add-sel-mixed-refused": "dst: is of another address family than src",
    "policy-add-sel-plen-33-refused": "src: '10.1.0.0/33' has a wrong prefix length",
    "policy-add-tmpl-17-refused": "tmpl: more than 16 templates",
    "policy-add-tmpl-any": "src: 'any' is of no address family",
    "policy-add-tmpl-bad-level-refused": "level: 'maybe' is not one of required, use",
    "policy-add-tmpl-no-proto-refused": "proto: is missing",
    "policy-delete-index-and-sel-refused": "policy delete: needs a selector or an index, one of the two",
    "policy-delete-none-refused": "policy delete: needs a selector or an index, one of the two",
    "policy-flush-bad-refused": "ptype: 'other' is not one of main, sub",
    "policy-get-index-and-sel-refused": "policy get: needs a selector or an index, one of the two",
    "policy-get-none-refused": "policy get: needs a selector or an index, one of the two",
    "policy-set-129-refused": "hthresh6 RBITS: '129' is not a number from 0 to",
    "policy-set-33-refused": "hthresh4 LBITS: '33' is not a number from 0 to",
    "policy-setdefault-bad-dir-refused": "policy: 'side' is unknown here",
    "policy-setdefault-bad-refused": "in: 'maybe' is not one of block, accept, allow",
    "policy-setdefault-dup-refused": "in: is given twice",
}
IPTFS = "policy-add-tmpl-iptfs-refused"
"""`ip` has no word for the mode, which kernels have since 6.14."""


@pytest.mark.parametrize("record", [one for one in chosen("refused") if one.id != IPTFS])
def test_refused(record: dict[str, Any]) -> None:
    with pytest.raises(CommandError) as raised:
        read(record["argv"][1:])
    assert raised.value.status == record["rc"]
    assert str(raised.value).startswith(RULES[record["id"]])


def test_iptfs_is_what_ip_refuses() -> None:
    [record] = [one.values[0] for one in chosen("refused") if one.id == IPTFS]
    [message] = read(record["argv"][1:]).datagrams
    value = CODEC.decode(message)
    assert isinstance(value, Policy)
    assert [(one.protocol, one.mode) for one in value.templates] == [(Protocol.ESP, Mode.IPTFS)]
    assert {one.id for one in chosen("refused")} == {*RULES, IPTFS}


@pytest.mark.parametrize(
    ("text", "status", "rule"),
    [
        ("bogus", 255, "policy: 'bogus' is unknown"),
        ("add dir", 255, "dir: is missing: the line ends here"),
        ("add dir out bogus", 255, "policy: 'bogus' is unknown here: not one of src, dst"),
        ("add src 10.0.0.0/8 dir out src 10.0.0.0/8", 255, "src: belongs to the selector"),
        ("add dir out dir in", 255, "dir: is given twice"),
        ("add dir in ctx a ctx a", 255, "ctx: is given twice"),
        ("add dir in ptype main ptype main", 255, "ptype: is given twice"),
        ("add dir in priority -1", 255, "priority: '-1' is not a number"),
        ("add dir in mark x", 255, "mark: 'x' is not a number"),
        ("add dir in mark 1 mask", 255, "mark mask: is missing"),
        ("add dir in limit time-s 1", 255, "limit: 'time-s' is not one of"),
        ("add dir in flag 0x100", 255, "flag: '0x100' is not a number"),
        ("add dir in offload packet dev nosuch", 255, "offload dev: 'nosuch' is not an interface"),
        ("add dir in offload packet", 255, "offload: is missing"),
        ("add dir in tmpl", 255, "tmpl: is missing"),
        ("add dir in tmpl bogus", 255, "tmpl: 'bogus' is unknown here"),
        ("add dir in tmpl mode tunnel dir in", 255, "tmpl: 'dir' is unknown here"),
        ("add dir in tmpl proto 50", 255, "proto: '50' is not one of esp"),
        ("add dir in tmpl proto route2 spi 5", 1, "spi: does not go with proto route2"),
        ("add dir in tmpl proto comp spi 0x10000", 1, "spi: is at most 0xffff"),
        ("add dir in tmpl src fd00::1 proto esp mode tunnel src 10.0.0.0/8", 1, "src: '10.0.0.0/8' is not an IPv6"),
        ("get index 1", 1, "dir: is missing"),
        ("get index 1 index 2 dir out", 255, "index: is given twice"),
        ("get src 10.0.0.0/8 priority 1 dir out", 255, "policy: 'priority' is unknown here"),
        ("delete index 0 dir out", 255, "index: '0' is no policy's"),
        ("flush ptype main foo", 255, "policy: 'foo' is unknown here"),
        ("list foo", 255, "policy: 'foo' is unknown here"),
        ("list ctx a", 255, "policy: 'ctx' is unknown here"),
        ("set hthresh4 1 2 hthresh4 1 2", 255, "hthresh4: is given twice"),
        ("set hthresh4 1", 255, "hthresh4 RBITS: is missing"),
        ("setdefault in", 255, "in: is missing"),
        ("migrate dir in", 1, "policy migrate: needs a selector"),
        ("migrate src 10.0.0.0/8 dir in", 1, "tmpl: from 1 to 6 of them"),
        ("migrate src 10.0.0.0/8", 1, "dir: is missing"),
        ("migrate src 10.0.0.0/8 dir in tmpl mode tunnel", 1, "tmpl: needs an ID"),
        ("migrate src 10.0.0.0/8 dir in tmpl proto esp new-src ::1", 1, "new-dst: is missing"),
        (
            "migrate src 10.0.0.0/8 dir in tmpl proto esp new-src ::1 new-dst 10.0.0.1",
            255,
            "new-dst: is of another",
        ),
        ("migrate src 10.0.0.0/8 dir in tmpl proto esp spi 1 new-src ::1 new-dst ::2", 1, "spi: is nothing that"),
        (
            "migrate src 10.0.0.0/8 dir in km-local ::1 tmpl proto esp new-src ::1 new-dst ::2",
            1,
            "km-remote: is mi",
        ),
        ("migrate dst 10.0.0.0/8 dir in" + " tmpl proto esp new-src ::1 new-dst ::2" * 7, 1, "tmpl: from 1 to 6"),
    ],
)
def test_what_is_wrong(text: str, status: int, rule: str) -> None:
    error = refusal(text)
    assert (error.status, str(error)[: len(rule)]) == (status, rule)


# --- words and their order ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("", "list"),
        ("a dir in", "add dir in"),
        ("u dir in", "update dir in"),
        ("d dir in index 8", "delete dir in index 8"),
        ("deletea", "deleteall"),
        ("dela", "deleteall"),
        ("s", "list"),
        ("ls", "list"),
        ("g dir in index 8", "get dir in index 8"),
        ("getd", "getdefault"),
        ("se hthresh4 1 2", "set hthresh4 1 2"),
        ("setd in block", "setdefault in block"),
        ("setdefault in allow", "setdefault in accept"),
        ("f", "flush"),
        ("c", "count"),
        # Of what may be said twice, the last counts.
        ("add dir in priority 1 priority 2", "add dir in priority 2"),
        ("add dir in mark 1 mask 2 index 8 mark 3", "add dir in index 8 mark 3"),
        ("add dir in flag localok flag icmp", "add dir in flag 0x3"),
        ("add dir in flag localok flag 0x2", "add dir in flag icmp"),
        ("add dir in if_id 3 if_id 4", "add dir in if_id 4"),
        ("add src 10.0.0.0/8 src 11.0.0.0/8 dir in", "add src 11.0.0.0/8 dir in"),
        ("add dir in limit time-soft 1 limit time-soft 2", "add dir in limit time-soft 2"),
        ("add dir in tmpl proto esp mode b mode t", "add dir in tmpl proto esp mode transport"),
        ("add dir in tmpl src 10.0.0.1/16 proto esp", "add dir in tmpl src 10.0.0.1 proto esp"),
        # What looks like a second ID of a template is the selector.
        (
            "add dir in tmpl src 10.0.0.2 proto esp mode tunnel src 10.0.0.1",
            "add src 10.0.0.1 dir in tmpl src 10.0.0.2 proto esp mode tunnel",
        ),
        (
            "add dir in tmpl src fd00::1 dst fd00::2 proto esp tmpl proto ah",
            "add dir in tmpl src fd00::1 dst fd00::2 proto esp tmpl src :: dst :: proto ah",
        ),
        ("add dir in mark 0x5 mask 0", "add dir in"),
        ("get dir in index 8 mark 0xf0 mask 0xf", "get dir in index 8"),
    ],
)
def test_same_as(short: str, whole: str) -> None:
    assert line(short) == line(whole)


def test_family_of_templates_without_addresses() -> None:
    """It is that of the addresses said before, in templates as in the selector, or that of the options."""
    tail = "dir in tmpl proto esp tmpl src 10.0.0.1 dst 10.0.0.2 proto esp tmpl proto ah"

    def families(front: str) -> list[int]:
        [message] = read([*front.split(), *tail.split()]).datagrams
        data = dict(take_apart(bytes(message)).attributes)[5]
        return [data[at + 24] for at in range(0, len(data), 64)]

    assert families("xfrm policy add") == [0, 2, 2]
    assert families("-6 xfrm policy add") == [10, 2, 2]
    assert families("xfrm policy add src fd00::/8") == [10, 2, 2]


def test_what_was_added_with_an_option_is_deleted_with_it(namespace: int) -> None:
    """`ip` looks for an IPv4 policy there, and finds none."""
    with open_byproto(netns=namespace) as handle:
        for verb in ("add", "get", "delete"):
            [message] = read(["-6", "xfrm", "policy", verb, "dev", "lo", "dir", "in"]).datagrams
            handle.talk(message, verb, answer=verb == "get", timeout=5)


def test_the_kernel_is_left_to_refuse(namespace: int) -> None:
    """Nothing of that is refused here: the kernel has its words for it."""
    with open_byproto(netns=namespace) as handle:
        for text in ("dir out index 8", "dir in" + " tmpl proto esp" * 7, "dir in tmpl mode tunnel"):
            with pytest.raises(OSError, match=r"Invalid|template|index") as raised:
                handle.talk(bytes.fromhex(line(f"add {text}")[0]), text, timeout=5)
            assert raised.value.errno == 22


def test_help_sends_nothing() -> None:
    command = read(["xfrm", "policy", "help", "whatever"])
    assert (command.verb, command.datagrams) == ("help", ())


# --- the same policy as an object -----------------------------------------------------------------------------


@st.composite
def packets(draw: st.DrawFn) -> tuple[list[str], Selector]:
    """A selector, in words and as an object."""
    addresses = draw(st.sampled_from([V4, V6]))
    source, destination = (f"{draw(addresses)}/{draw(st.integers(0, 32))}" for _ in range(2))
    words = ["src", source, "dst", destination]
    more: dict[str, Any] = {}
    if draw(st.booleans()):
        more = {"protocol": "udp", "source_port": draw(st.integers(1, 65535))}
        words += ["proto", "udp", "sport", str(more["source_port"])]
    return words, Selector(source, destination, strict=False, **more)


WAYS = st.sampled_from(["in", "out", "fwd"])
TYPES = st.sampled_from(list(PolicyType))


def shuffled(draw: st.DrawFn, *parts: list[str]) -> list[str]:
    return [word for part in draw(st.permutations([part for part in parts if part])) for word in part]


@st.composite
def named(draw: st.DrawFn) -> tuple[list[str], PolicyId]:
    """What `get` and `delete` name, in words and as an object."""
    words, selector = draw(packets())
    way, kind = draw(WAYS), draw(TYPES)
    mark: Mark | None = draw(st.none() | MARKS.filter(lambda one: bool(one.value & one.mask)))
    if_id: int | None = draw(st.none() | U32)
    index = draw(st.integers(1, 2**28)) * 8 + ["in", "out", "fwd"].index(way) if draw(st.booleans()) else 0
    line = shuffled(
        draw,
        ["index", str(index)] if index else words,
        ["dir", way],
        ["ptype", "sub"] if kind else [],
        [] if mark is None else ["mark", hex(mark.value), "mask", hex(mark.mask)],
        [] if if_id is None else ["if_id", str(if_id)],
    )
    where = None if index else selector
    return line, PolicyId(where, direction=way, index=index, policy_type=kind, mark=mark, if_id=if_id)


@given(named(), st.sampled_from(["get", "delete"]))
def test_get_and_delete_are_requests_of_objects(one: tuple[list[str], PolicyId], verb: str) -> None:
    words, where = one
    request = Request(Message.GETPOLICY if verb == "get" else Message.DELPOLICY, where)
    [message] = encode(["xfrm", "policy", verb, *words])
    assert message.hex() == CODEC.encode(request).hex()


@st.composite
def moving(draw: st.DrawFn) -> tuple[list[str], Migration]:
    """A migration, in words and as an object."""
    selector_words, selector = draw(packets())
    way, kind = draw(WAYS), draw(TYPES)
    moves, parts = [], []
    for _ in range(draw(st.integers(1, 6))):
        old, new = (
            [str(draw(family)) for _ in range(2)] for family in draw(st.tuples(*[st.sampled_from([V4, V6])] * 2))
        )
        protocol, mode = draw(st.sampled_from(Protocol)), draw(st.sampled_from(Mode))
        reqid = draw(U32)
        moves.append(Move(*old, *new, protocol=protocol, mode=mode, reqid=reqid))
        named = ["src", old[0], "dst", old[1], "proto", protocol.name.lower().replace("_", "-")]
        rest = [["mode", mode.name.lower()], ["reqid", str(reqid)], ["new-src", new[0]], ["new-dst", new[1]]]
        parts.append(["tmpl", *shuffled(draw, named, *rest)])
    if_id: int | None = draw(st.none() | U32)
    managers = draw(st.none() | st.tuples(V4, V4) | st.tuples(V6, V6))
    bits = draw(st.sampled_from([0, 2, 4, 6]))  # inbound, packet
    offload = draw(st.none() | st.just(Offload(1, bits)))
    moved_to = V6 if ":" in moves[0].new_source else V4
    origin = str(draw(moved_to))
    wrapped = draw(st.none() | st.just(Encapsulation("espinudp", 1, 2, origin)))
    line = [
        *shuffled(
            draw,
            ["dir", way],
            ["ptype", "sub"] if kind else [],
            [] if if_id is None else ["if_id", str(if_id)],
            [] if managers is None else ["km-local", str(managers[0]), "km-remote", str(managers[1])],
            [] if wrapped is None else ["encap", "espinudp", "1", "2", origin],
        ),
        *selector_words,
        *([] if offload is None else ["offload", "packet" if bits & 4 else "crypto", "dev", "lo"]),
        *([] if offload is None else ["dir", "in" if bits & 2 else "out"]),
        *(word for part in parts for word in part),
    ]
    return line, Migration(
        selector,
        way,
        moves,
        policy_type=kind,
        key_managers=None if managers is None else KmAddress(managers[0], managers[1]),
        if_id=if_id,
        offload=offload,
        encapsulation=wrapped,
    )


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(moving())
def test_migrate_is_the_request_of_an_object(one: tuple[list[str], Migration]) -> None:
    words, migration = one
    [message] = encode(["xfrm", "policy", "migrate", *words], interface_index=index_of)
    assert message.hex() == CODEC.encode(migration).hex()


def test_words_that_ip_lacks() -> None:
    [message] = line("add dir in flag cpu_acquire icmp tmpl proto esp mode iptfs")
    assert CODEC.decode(bytes.fromhex(message)) == Policy(
        direction="in", flags=["cpu_acquire", "icmp"], templates=[Template(mode="iptfs")]
    )

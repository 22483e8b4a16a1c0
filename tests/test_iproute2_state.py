# SPDX-License-Identifier: MIT
"""The grammars of `ip xfrm state` and `ip xfrm monitor`: the bytes of `ip`, what it refuses, and what it lacks.

``xfrm_ext.iproute2.state.read`` makes all datagrams of a record; of `deleteall` the first, as what it deletes
depends on what it found: see `test_delete_message`. Ids that end in @6.1.0 are of an older `ip`, and are wanted to
differ, by just what OLDER says.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import vectors
from vectors import NEWSA, made, messages, recorded, records, take_apart

from xfrm_ext import (
    AeadAlgorithm,
    CommandError,
    Encapsulation,
    IpTfs,
    Mark,
    Message,
    Offload,
    Selector,
    State,
    StateId,
    StateMigration,
    wire,
)
from xfrm_ext.codec.pure import decode, encode
from xfrm_ext.iproute2 import help as texts
from xfrm_ext.iproute2 import monitor, options, state
from xfrm_ext.iproute2.command import Command
from xfrm_ext.iproute2.words import Words, key_bytes
from xfrm_ext.request import Request
from xfrm_ext.session import open_in
from xfrm_ext.transport import messages as messages_of

STATES = [record for record in records("other_requests") if "policy" not in record["argv"]]
MONITORS = records("monitors")
REFUSED = [record for record in records("refused") if not {"link", "policy"} & set(record["argv"])]
ALL = 627
"""How many requests were recorded, with those of policies and links, and some that are in no file here."""

OLDER = {
    f"state-add-offload-default-{name}@6.1.0": "since 6.2 an offload's dir is that of the state, too: XFRMA_SA_DIR"
    for name in ("in-v4", "out-v4", "out-v6")
}
"""Requests that are others on purpose, and why."""

SUPPORTED = {
    "state-add-mode-iptfs-refused": "kernels have it since 6.14",
    "state-add-nat-keepalive-refused": "kernels have it since 6.11",
}
"""Lines that `ip` refuses and this package takes, and why."""


@pytest.fixture(params=["native", "pure"], autouse=True)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Each of the two that write bytes."""
    module = importlib.import_module(f"xfrm_ext.wire.{request.param}")
    for name in ("pack", "unpack", "address_bytes", "protocol_number"):
        monkeypatch.setattr(wire, name, getattr(module, name))
    return module


def read(line: str | list[str], read_key: Callable[[str], Any] = key_bytes) -> Command:
    """A command line without `ip`. `lo` has index 1, and there is no other interface."""
    front, _, rest = options.read(line.split() if isinstance(line, str) else line)
    words = Words(rest)
    words.take("xfrm", "x")
    if words.next("object") == "monitor":
        return monitor.read(words, front, index)
    return state.read(words, front, index, read_key)


def index(name: str) -> int:
    return 1 if name == "lo" else 0


def sent(line: str) -> bytes:
    """The one datagram of a command line."""
    [datagram] = read(line).datagrams
    return bytes(datagram)


def error(line: str | list[str]) -> CommandError:
    with pytest.raises(CommandError) as raised:
        read(line)
    return raised.value


KEY = "0x000102030405060708090a0b0c0d0e0f10111213"
ALGORITHM = f"aead rfc4106(gcm(aes)) {KEY} 128"
ID = "src 192.0.2.1 dst 198.51.100.2 proto esp spi 0x1001"
ADD = f"state add {ID} {ALGORITHM}"


# --- the bytes of ip ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [pytest.param(one, id=one["id"]) for one in STATES])
def test_sent(record: dict[str, Any]) -> None:
    command = read(record["argv"][1:])
    wanted = recorded(record)
    if command.verb == "deleteall":  # and once more, to see whether all are gone
        assert wanted[-1] == wanted[0]
        del wanted[1:]
    given = [bytes(datagram) for datagram in command.datagrams]
    assert (given == wanted) == (record["id"] not in OLDER)
    if record["id"] in OLDER:
        one, other = take_apart(given[0]), take_apart(wanted[0])
        assert one._replace(attributes=one.attributes[:-1]) == other
        assert one.attributes[-1] == (vectors.SA_DIR, bytes([1 if "in" in record["argv"] else 2]))


def test_every_record_is_accounted_for() -> None:
    assert len(STATES) == 353
    assert len(MONITORS) == 9
    assert len(REFUSED) == 43
    assert {record["id"] for record in STATES} >= set(OLDER)
    assert {record["id"] for record in REFUSED} >= set(SUPPORTED)
    assert len(OLDER) / ALL < 0.02
    assert len(SUPPORTED) / len(records("refused")) < 0.03


@pytest.mark.parametrize("record", [pytest.param(one, id=one["id"]) for one in REFUSED])
def test_refused(record: dict[str, Any]) -> None:
    if record["id"] in SUPPORTED:
        assert read(record["argv"][1:]).datagrams
        return
    found = error(record["argv"][1:])
    assert found.status == record["rc"]
    assert found.field
    assert found.rule
    for word in record["argv"]:
        if word.startswith("0x") and len(word) > 18:
            assert word not in str(found)


@pytest.mark.parametrize("record", [pytest.param(one, id=one["id"]) for one in MONITORS])
def test_monitors(record: dict[str, Any]) -> None:
    command = read(record["argv"][1:])
    bits = sum(1 << (group - 1) for group in command.groups)
    # `ip` asks for all that there may ever be.
    assert bits == (0xFF if record["groups"] == 0xFFFFFFFF else record["groups"])
    assert command.all_namespaces == ([270, 8, "01000000"] in record["options"])  # NETLINK_LISTEN_ALL_NSID
    assert command.keys == ("nokeys" not in record["argv"])
    assert (command.object, command.verb, command.file, command.datagrams) == ("monitor", "monitor", None, ())


# --- verbs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ("", "list"),
        ("l", "list"),
        ("ls", "list"),
        ("s", "list"),
        ("d dst 192.0.2.1 proto esp", "delete"),
        ("dela", "deleteall"),
        ("deletea nokeys", "deleteall"),
        ("f", "flush"),
        ("c", "count"),
        ("h whatever", "help"),
        ("al proto esp", "allocspi"),
        ("g proto esp", "get"),
    ],
)
def test_verbs(words: str, verb: str) -> None:
    command = read(f"xfrm state {words}")
    assert (command.object, command.verb) == ("state", verb)
    assert len(command.datagrams) == (verb != "help")


def test_keys_are_not_asked_for() -> None:
    assert read("state list").keys
    assert not read("state list proto esp nokeys").keys


@pytest.mark.parametrize(
    ("words", "text", "status"),
    [
        ("bogus", "state: 'bogus' is unknown, try: state help", 255),
        ("count x", "state: 'x' is unknown here", 255),
        ("flush x", "state: 'x' is unknown here", 255),
        ("flush proto esp x", "state: 'x' is unknown here", 255),
        ("flush proto", "proto: is missing: the line ends here", 255),
        ("list bogus", "state: 'bogus' is unknown here", 255),
        ("list proto esp mode tunnel spi 3", "spi: belongs to the ID: ", 255),
        ("list mode x", "mode: 'x' is not one of transport, ", 255),
        ("list flag x", "flag: 'x' is not one of noecn, ", 255),
        ("get mark 3", "state get: needs an ID: ", 1),
        ("delete", "state delete: needs an ID: ", 1),
        ("allocspi", "state allocspi: needs an ID: ", 1),
        ("add", "state: needs an ID: ", 1),
        ("allocspi proto esp min 1 min 2", "min: is given twice", 255),
        ("migrate new-src 1 new-dst 2", "state migrate: needs an ID: ", 1),
        ("migrate proto esp new-src 1", "new-dst: is missing: ", 1),
        ("migrate proto esp new-src 1 new-dst ::", "new-dst: is of another address family than new-src", 255),
    ],
)
def test_wrong_lines(words: str, text: str, status: int) -> None:
    found = error(f"state {words}")
    assert str(found).startswith(text)
    assert found.status == status


# --- what ip takes, and is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("proto ipsec-any", "proto: ipsec-any is not that of a state"),
        ("proto esp coa 192.0.2.1", "coa: does not go with proto esp"),
        ("proto esp flag nosuch", "flag: 'nosuch' is not one of "),
        ("proto esp limit byte-hard -1", "limit byte-hard: '-1' is not a number from 0 to 0xffffffffffffffff"),
        ("proto esp ctx", "ctx: is missing"),
        ("proto esp ctx a ctx b", "ctx: is given twice"),
        ("proto esp pkt-size 1400", "pkt-size: goes with mode iptfs alone"),
        ("proto esp offload dev lo", "offload dir: is missing"),
    ],
)
def test_nonsense(words: str, text: str) -> None:
    assert str(error(f"state add {ALGORITHM} {words}")).startswith(text)


def test_care_of_address_is_of_the_family_of_the_state() -> None:
    line = "state add src 2001:db8::1 dst 2001:db8::2 proto route2 mode ro coa 192.0.2.1"
    assert str(error(line)) == "coa: is of another address family than the state"


def test_order_does_not_matter() -> None:
    """Of the ID and a selector of another family: `ip` takes one order, and refuses the other."""
    inner, outer = "sel src 10.1.0.0/16 limit time-soft 1", "src 2001:db8::1 dst 2001:db8::2 proto esp spi 1"
    assert sent(f"state add {inner} {outer} {ALGORITHM}") == sent(f"state add {outer} {inner} {ALGORITHM}")


# --- keys ---------------------------------------------------------------------------------------------------


def test_keys_are_read_by_the_hook_and_wiped(codec: ModuleType) -> None:
    memory: list[bytearray] = []

    def read_key(word: str) -> bytearray:
        assert word in ("@one", "@two")
        memory.append(bytearray(b"sixteen bytes..." if word == "@one" else b"twenty bytes are 20."))
        return memory[-1]

    line = f"state add {ID} enc cbc(aes) @one auth-trunc hmac(sha1) @two 96"
    [datagram] = read(line, read_key).datagrams
    attributes = dict(take_apart(bytes(datagram)).attributes)
    assert attributes[vectors.CRYPT][68:] == b"sixteen bytes..."
    assert attributes[vectors.AUTH_TRUNC][72:] == b"twenty bytes are 20."
    assert memory == [bytearray(16), bytearray(20)]
    memory.clear()
    with pytest.raises(CommandError):
        read(f"{line} bogus", read_key)
    assert memory == [bytearray(16), bytearray(20)]


SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    "words",
    [
        f"enc cbc(aes) {SECRET} {SECRET}",
        f"aead gcm {SECRET} {SECRET}",
        f"auth-trunc hmac(sha1) 96 {SECRET}",
        f"enc cbc(aes) 0x{SECRET}",
        f"enc cbc(aes) {SECRET * 20}",
        f"enc cbc(aes) {SECRET} enc cbc(aes) {SECRET}",
        f"aead gcm {SECRET}",
        f"auth hmac(sha1) {SECRET}",
        "reqid 0x000102030405060708090a0b0c0d0e0f",
        "spi 1 0x000102030405060708090a0b0c0d0e0f",
    ],
)
def test_errors_do_not_show_keys(words: str) -> None:
    found = error(f"state add {ID} {words}")
    for text in (str(found), repr(found), str(found.value), str(found.args)):
        assert SECRET not in text
        assert "0x0001" not in text


# --- what ip lacks ------------------------------------------------------------------------------------------


def decoded(line: str) -> State:
    value = decode(sent(line))
    assert isinstance(value, State)
    return value


def test_iptfs() -> None:
    line = f"{ADD} mode iptfs dir out pkt-size 1400 max-queue-size 0x100000 init-delay 5 dont-frag"
    found = decoded(line)
    assert found.mode.name == "IPTFS"
    wanted = IpTfs(packet_size=1400, max_queue_size=0x100000, init_delay=5, dont_fragment=True)
    assert found.iptfs == wanted
    assert decoded(line.replace("queue-size", "qsize")).iptfs == wanted
    incoming = decoded(f"{ADD} mode ip dir in drop-time 7 reorder-window 3")
    assert incoming.iptfs == IpTfs(drop_time=7, reorder_window=3)
    wrong = error(f"{ADD} mode iptfs reorder-window 65536")
    assert str(wrong) == "reorder-window: '65536' is not a number from 0 to 0xffff"
    assert error("state add src 192.0.2.1 proto ah mode iptfs auth hmac(sha1) 0x01").status == 1


def test_numbers_that_ip_lacks() -> None:
    found = decoded(f"{ADD} nat-keepalive-interval 20 mtimer-thresh 0x3c")
    assert (found.nat_keepalive_interval, found.mapping_timer_threshold) == (20, 60)


def test_their_attributes_come_last() -> None:
    line = f"{ADD} mode iptfs mtimer-thresh 1 drop-time 2 pcpu-num 3 dir in nat-keepalive-interval 4"
    assert [kind for kind, _ in take_apart(sent(line)).attributes] == [
        vectors.AEAD,
        vectors.SA_DIR,
        vectors.SA_PCPU,
        vectors.NAT_KEEPALIVE_INTERVAL,
        vectors.MTIMER_THRESH,
        vectors.IPTFS_DROP_TIME,
    ]


def test_migrate() -> None:
    line = (
        "state migrate dst 198.51.100.2 proto esp spi 0x1001 mark 5 mask 7 new-src 2001:db8::1 new-dst 2001:db8::2"
        " reqid 9 sel src 10.1.0.0/16 flag clear-offload update-h2h-sel if_id 3 encap espinudp 4500 4501 any"
        " offload packet dev lo dir in"
    )
    wanted = StateMigration(
        StateId("198.51.100.2", 0x1001, "esp", mark=Mark(5, 7)),
        "2001:db8::1",
        "2001:db8::2",
        reqid=9,
        selector=Selector("10.1.0.0/16"),
        flags=["clear_offload", "update_h2h_sel"],
        encapsulation=Encapsulation("espinudp", 4500, 4501),
        if_id=3,
        offload=Offload(1, 6),
    )
    assert sent(line) == bytes(encode(Request(Message.MIGRATE_STATE, wanted)))
    plain = StateMigration(StateId("198.51.100.2", 1, "esp"), "192.0.2.1", "192.0.2.2")
    short = "state m new-dst 192.0.2.2 new-src 192.0.2.1 dst 198.51.100.2 proto esp spi 1"
    assert sent(short) == bytes(encode(Request(Message.MIGRATE_STATE, plain)))


def test_an_object_says_the_same() -> None:
    """Of a state with much to it, from an independent way to the same bytes."""
    wanted = State(
        "2001:db8::1",
        "2001:db8::2",
        spi=0x1001,
        mode="tunnel",
        replay_window=0,
        aead=AeadAlgorithm("rfc4106(gcm(aes))", bytes.fromhex(KEY[2:]), 128),
        nat_keepalive_interval=20,
        mapping_timer_threshold=60,
        direction="out",
        cpu=3,
        if_id=7,
    )
    line = (
        "state add src 2001:db8::1 dst 2001:db8::2 proto esp spi 0x1001 mode tunnel mtimer-thresh 60 if_id 7"
        f" nat-keepalive-interval 20 dir out pcpu-num 3 aead rfc4106(gcm(aes)) {KEY} 128"
    )
    assert decoded(line) == wanted


# --- what is meant ------------------------------------------------------------------------------------------

LARVAL = (  # SPIs and more of some states that wait for their keys: any kernel has those
    "src 192.0.2.1 dst 198.51.100.2 proto esp mode tunnel reqid 11 min 0x701 max 0x701",
    "src 2001:db8:1::1 dst 2001:db8:2::2 proto esp mode transport reqid 12 min 0x702 max 0x702",
    "src 192.0.2.1 dst 198.51.100.2 proto ah mode beet min 0x703 max 0x703",
    "src 192.0.2.1 dst 198.51.100.3 proto comp min 0x704 max 0x704 mark 5 mask 0xff",
)
MEANT = {
    "": {0x701, 0x702, 0x703, 0x704},
    "-4": {0x701, 0x703, 0x704},
    "-6": {0x702},
    "src 192.0.2.1": {0x701, 0x703, 0x704},
    "src 192.0.0.0/16 dst 198.51.100.2": {0x701, 0x703},
    "dst 198.51.100.2/31": {0x701, 0x703, 0x704},
    "src 0.0.0.0/0": {0x701, 0x703, 0x704},
    "dst ::/0": {0x702},
    "dst 2001:db8:2::/47": {0x702},
    "dst 2001:db8:3::/48": set(),
    "proto esp": {0x701, 0x702},
    "proto ipsec-any": {0x701, 0x702, 0x703, 0x704},
    "proto hao": set(),
    "spi 0x703": {0x703},
    "proto esp spi 0x703": set(),
    "mode tunnel": {0x701},
    "mode beet": {0x703},
    "reqid 12": {0x702},
    "reqid 0": {0x703, 0x704},
    "src 192.0.2.1 proto esp mode tunnel reqid 11 nokeys": {0x701},
    "flag esn": set(),
    "mode tunnel flag noecn esn": set(),
}
"""The states that words mean."""


def test_meant(namespace: int) -> None:
    """In the kernel's dump: what `list` shows is what `deleteall` deletes, which in `ip` is not always so."""
    handle = open_in(namespace)
    try:
        for words in LARVAL:
            handle.talk(sent(f"state allocspi {words}"), "allocate SPI", answer=True, timeout=5)

        def spis(verb: str, words: str) -> list[int]:
            front, rest = (words, "") if words.startswith("-") else ("", words)
            command = read(f"{front} state {verb} {rest}")
            found = []
            for block in handle.dump(bytes(command.datagrams[0]), "dump", timeout=5):
                for message in messages_of(block):
                    _, _, fields, items = wire.unpack(message)
                    assert fields is not None
                    if command.accepts is None or command.accepts(fields, items):
                        found.append(int(fields["spi"]))
            assert len(set(found)) == len(found)
            return found

        for words, wanted in MEANT.items():
            assert set(spis("list", words)) == set(spis("deleteall", words)) == wanted, words
        everything = bytes(read("state deleteall").datagrams[0])
        doomed = [one for block in handle.dump(everything, "dump", timeout=5) for one in messages_of(block)]
        for message in doomed:
            handle.talk(bytes(state.delete_message(message)), "delete state", timeout=5)
        assert spis("list", "") == []
    finally:
        handle.close()


def test_flags_are_any_of_them() -> None:
    accepts = read("state list flag noecn esn").accepts
    assert accepts is not None
    values = dict.fromkeys(("source", "destination"), bytes(16))
    taken = [bits for bits in (0, 1, 2, 128, 129) if accepts({**values, "flags": bits}, [])]
    assert taken == [1, 128, 129]
    assert read("state list").accepts is None


def test_delete_message() -> None:
    """The messages of `deleteall`, each for a state as the kernel tells of it. `ip` has a mark of 12 bytes, four of
    them read from behind it; 8 are right."""
    count = 0
    for record in STATES:
        if record["argv"][3] not in ("deleteall", "delall"):
            continue
        for datagram in recorded(record)[1:-1]:
            for message in messages(datagram):
                wanted = take_apart(message)
                source, *marks = wanted.attributes
                assert source[0] == vectors.SRCADDR
                marks = [(kind, payload[:8]) for kind, payload in marks]
                fields = {**vectors.fields(message), "source": source[1], "mode": 1}
                others = ((vectors.LASTUSED, bytes(8)), *marks, (vectors.IF_ID, bytes(4)))
                dumped = made(NEWSA, 2, *others, **fields)
                assert bytes(state.delete_message(dumped)) == wanted._replace(attributes=(source, *marks)).joined()
                count += 1
    assert count == 13


# --- monitor and help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "groups"),
    [("ac", {1}), ("e", {2}), ("S", {3}), ("p ae", {4, 5}), ("r", {6}), ("mi", {7}), ("map", {8}), ("all e", {2})],
)
def test_monitor_words(words: str, groups: set[int]) -> None:
    assert set(read(f"monitor {words}").groups) == groups


def test_monitor_file() -> None:
    command = read("monitor nokeys a f messages")
    assert (command.file, command.keys, command.all_namespaces) == ("messages", False, True)
    assert read("monitor all help bogus").verb == "help"
    assert str(error("monitor file")) == "monitor file: is missing: the line ends here"
    assert error("monitor nokey").status == error("monitor allx").status == 255


@pytest.mark.parametrize("topic", texts.TOPICS)
def test_help(topic: str) -> None:
    text = texts.text(topic)
    assert text.startswith("Usage: xfrm")
    assert text.endswith("\n")
    assert max(map(len, text.splitlines())) <= 116


def test_help_has_every_keyword() -> None:
    from xfrm_ext.iproute2 import algorithm, definition, selector, state_id

    words = set(texts.text("state").replace("|", " ").replace(",", " ").replace(";", " ").split())
    keywords = {*algorithm.KEYWORDS, *selector.KEYWORDS, *state_id.KEYWORDS, *definition.KEYWORDS}
    assert keywords - words == {"max-qsize"}  # another name of max-queue-size
    assert set(state._VERBS.values()) - words == {"help"}
    assert set(monitor._GROUPS) <= set(texts.text("monitor").replace(",", " ").split())

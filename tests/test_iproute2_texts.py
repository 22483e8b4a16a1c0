# SPDX-License-Identifier: MIT
"""The texts of messages are those that `ip xfrm` printed, to the letter, for everything in tests/vectors."""

from __future__ import annotations

import calendar
import random
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from vectors import (
    AEAD,
    COMP,
    CRYPT,
    DELPOLICY,
    DELSA,
    FLUSHPOLICY,
    GETDEFAULT,
    IF_ID,
    MARK,
    NEWAE,
    NEWPOLICY,
    NEWSA,
    NEWSADINFO,
    OFFLOAD_DEV,
    POLICY_TYPE,
    REPLAY_ESN_VAL,
    SA_DIR,
    SEC_CTX,
    TMPL,
    made,
    messages,
    padded,
    records,
    take_apart,
)
from vectors.differences import DECODED, again, expected

from xfrm_ext import ProtocolError, wire
from xfrm_ext.codec import native, pure
from xfrm_ext.iproute2 import options, read_command, render
from xfrm_ext.iproute2.text import Printer
from xfrm_ext.wire.link import link_fields


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of the records."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def interface_name(index: int) -> str:
    """Interfaces as in the records: one had another besides."""
    return {1: "lo", 3: "v0"}.get(index, f"if{index}")


REPLIES = [
    {**record, "name": name, "datagrams": record.get("datagrams") or [[record["received"], record["text"]]]}
    for name in ("replies", "other_replies", "counts")
    for record in records(name)
]
EVERY = pytest.mark.parametrize("record", [pytest.param(record, id=record["id"]) for record in REPLIES])


class Shown:
    """How a record's command prints messages."""

    def __init__(self, record: dict[str, Any]) -> None:
        given, _, words = options.read(record["argv"][1:])
        self.command = read_command(words, given, lambda name: 1 if name == "lo" else 0)
        self.given: dict[str, Any] = {
            "statistics": given.statistics,
            "oneline": given.oneline,
            "keys": self.command.keys or self.command.file is not None,  # `ip` shows those in a file anyway
            "monitor": self.command.object == "monitor",
            "timestamp": given.timestamp,
            "interface_name": interface_name if "dev v0" in str(record["datagrams"]) else _without_v0,
        }

    def messages(self, data: str) -> list[bytes]:
        """The messages of a datagram that the command shows. The kernel sends more, `ip` filters."""
        found = messages(bytes.fromhex(data))
        if self.command.verb == "deleteall":
            return []
        accepts: Any = self.command.accepts
        return [one for one in found if accepts is None or accepts(*wire.unpack(one)[2:])]


def _without_v0(index: int) -> str:
    return "lo" if index == 1 else f"if{index}"


# --- what differs on purpose ------------------------------------------------------------------------------------


def hexadecimal(text: str) -> str:
    """A text of `ip` with the numbers of ACQUIREs as their 0x says, in place of decimal digits."""
    pattern = r"(?<=seq 0x)\d{8,}(?= (?:flag|enc-mask) )"
    return re.sub(pattern, lambda digits: f"{int(digits[0]):08x}", text)


def zeros(text: str) -> str:
    """A text of `ip` with a replay window whose bitmap is zeros."""
    return re.sub(r"\b[0-9a-f]{8} (?=[0-9a-f]{8} |[\n\\])", "00000000 ", text)


def has_no_bitmap(message: bytes) -> bool:
    """Whether a replay window comes without its bitmap, as in requests: `ip` prints what follows in the message."""
    return any(kind == REPLAY_ESN_VAL and len(payload) == 24 for kind, payload in take_apart(message).attributes)


def corrected(record: dict[str, Any], data: str, text: str) -> str:
    """What is printed in place of a text of `ip`."""
    unknown = any(words in record["id"] for words in ("unknown-type", "truncated"))
    if not unknown and any(has_no_bitmap(message) for message in messages(bytes.fromhex(data))):
        text = zeros(text)
    return hexadecimal(text)


@EVERY
def test_text(record: dict[str, Any]) -> None:
    shown = Shown(record)
    stamp = re.compile(r"^\[([-0-9]+T[:0-9]+)\.(\d{6})\] ", re.MULTILINE)
    for data, text in record["datagrams"]:
        times = iter(
            calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%S")) + int(part) / 1e6
            for when, part in stamp.findall(text)
        )
        printed = [
            render(
                message,
                **shown.given,
                now=next(times, None),
                namespace_id=-1 if shown.command.all_namespaces else None,
            )
            for message in shown.messages(data)
        ]
        assert "".join(printed) == corrected(record, data, text)


def test_every_record_is_here_and_few_texts_differ() -> None:
    assert len(REPLIES) == 1049 + 2118 + 18
    texts = [(record, data, text) for record in REPLIES for data, text in record["datagrams"]]
    lines = sum(text.count("\n") for _, _, text in texts)
    changed = [
        (mine, its)
        for record, data, text in texts
        for mine, its in zip(corrected(record, data, text).split("\n"), text.split("\n"), strict=True)
        if mine != its
    ]
    assert {"seq" if "seq 0x" in its else "bitmap" for _, its in changed} == {"seq", "bitmap"}
    assert 0 < len(changed) < lines / 200


@EVERY
def test_a_block_is_printed_as_its_messages(record: dict[str, Any]) -> None:
    """What is printed fast is the same, and so is what is printed with the texts of others remembered."""
    for many, one_line in ((0, False), (1, False), (2, True)):
        printer = Printer(statistics=many, oneline=one_line)
        for data, _ in record["datagrams"]:
            block = b"".join(padded(message) for message in messages(bytes.fromhex(data)) * 2)
            each = [render(message, statistics=many, oneline=one_line) for message in messages(bytes.fromhex(data))]
            assert printer.block(bytearray(block)) == "".join(each) * 2


def without_flags(message: bytes) -> bytes:
    """A message as an event has it, which is no request."""
    return message[:6] + bytes(2) + message[8:]


@pytest.mark.parametrize("codec", [native, pure], ids=["native", "pure"])
def test_decoding_loses_nothing_that_is_printed(codec: ModuleType) -> None:
    """Decoded to its fields and encoded again, a message has the same text, but for what is known to be changed."""
    done: set[bytes] = set()
    for record in REPLIES:
        for data, _ in record["datagrams"]:
            done.update(messages(bytes.fromhex(data)) if "unknown-type" not in record["id"] else ())
    for message in done:
        for many in (0, 2):
            printed = render(without_flags(again(codec, message)), statistics=many)
            assert printed == render(without_flags(expected(message, DECODED)), statistics=many)
    assert len(done) > 1000


LINKS = [pytest.param(record, id=record["id"]) for record in records("link_replies")]


@pytest.mark.parametrize("record", LINKS)
def test_link(record: dict[str, Any]) -> None:
    """What is read of an XFRM interface is what `ip -d link show` says of it."""
    fields = link_fields(bytes.fromhex(record["received"][0]))
    assert fields is not None
    found = "xfrm external " if fields["external"] else f"xfrm if_id {fields['if_id']:#x} "
    assert f"\n    {found}addrgenmode " in record["text"]


def test_another_link() -> None:
    loopback = next(given for one in records("link_replies") for given in one["received"][2:])
    assert link_fields(bytes.fromhex(loopback)) is None


# --- monitors ---------------------------------------------------------------------------------------------------

FLUSHED = made(FLUSHPOLICY, 0, (POLICY_TYPE, bytes(6)))


def test_time_stamps_and_namespaces() -> None:
    """As `ip -t xfrm monitor all-nsid` and `ip -ts -o xfrm monitor all-nsid` print them."""
    now = 1796094145.755632
    long = render(FLUSHED, monitor=True, timestamp="long", now=now, namespace_id=-1)
    assert long == "Timestamp: Tue Dec  1 03:02:25 2026 755632 usec\n[nsid current]Flushed policy ptype main \n"
    short = render(FLUSHED, monitor=True, timestamp="short", now=now, namespace_id=7, oneline=True)
    assert short == "[2026-12-01T03:02:25.755632] [nsid 7]Flushed policy ptype main \\\n"
    assert render(FLUSHED, timestamp="short", now=now, namespace_id=7) == "Flushed policy ptype main \n"


def test_a_time_stamp_is_the_time_it_is() -> None:
    before = time.time()
    text = render(FLUSHED, monitor=True, timestamp="short")
    when, _, part = text[1:].partition("]")[0].partition(".")
    shown = calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%S")) + int(part) / 1e6
    assert before - 1e-5 <= shown <= time.time() + 1e-5


def test_times_are_those_of_the_local_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-5:30")
    time.tzset()
    current = struct.pack("=4Q", 0, 0, 1_700_000_000, 0)
    text = render(made(NEWSA, 0, current=current, family=2), statistics=1)
    assert "\t  add 2023-11-15 03:43:20 use -\n" in text


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_what_is_no_event_has_no_text(kind: int) -> None:
    message = struct.pack("=IHHIIi", 20, kind, 0, 0, 0, 0)
    assert render(message, monitor=True, timestamp="short", namespace_id=-1, oneline=True) == ""


def test_counts_are_no_events() -> None:
    count = made(NEWSADINFO, 0, (1, struct.pack("=I", 5)))
    assert render(count) == "\t SAD count 5\n"
    unknown = f"Unknown message: {len(count):08} 0x00000022 0x00000000\n"
    assert render(count, monitor=True) == render(count, monitor=True, oneline=True) == unknown


def test_what_is_never_on_one_line() -> None:
    defaults = made(GETDEFAULT, 0, input=1, forward=2, output=0)
    assert render(defaults, oneline=True) == render(defaults)
    assert render(defaults) == "Default policies:\n in:  block\n fwd: accept\n out: unspec\n"


def test_the_names_of_interfaces_here() -> None:
    at_loopback = socket.if_nametoindex("lo")
    for index, name in ((at_loopback, "lo"), (0x7FFFFFFF, "if2147483647")):
        text = render(made(NEWSA, 0, (OFFLOAD_DEV, struct.pack("=iI", index, 2)), family=2))
        assert f"\tcrypto offload parameters: dev {name} dir in mode crypto\n" in text


def test_protocols_have_the_names_of_this_machine() -> None:
    path = Path("/etc/protocols")
    if not path.exists():
        pytest.skip("this machine has no /etc/protocols")
    with path.open(encoding="utf-8") as file:
        lines = [line.partition("#")[0].split() for line in file]
    known = {int(number): name for name, number, *_ in reversed([words for words in lines if words])}
    for number in (1, 17, 50, 89, 108, 135, 253):
        event = made(NEWAE, 0, family=2, protocol=number, spi=9)
        assert f" protocol {known.get(number, number)}  SPI 0x9\n" in render(event)


# --- keys -------------------------------------------------------------------------------------------------------

KEY = bytes(range(0xA0, 0xB0))


def with_key() -> bytes:
    payload = b"cbc(aes)".ljust(64, b"\0") + struct.pack("=I", 8 * len(KEY)) + KEY
    return made(NEWSA, 0, (CRYPT, payload), family=2, protocol=50)


def test_keys_are_shown_unless_they_are_to_be_hidden() -> None:
    assert f"\tenc cbc(aes) 0x{KEY.hex()}\n" in render(with_key())
    assert f"\tenc cbc(aes) 0x{KEY.hex()} (128 bits)\n" in render(with_key(), statistics=1)
    for many in (0, 1, 2):
        hidden = render(with_key(), statistics=many, keys=False)
        assert "\tenc cbc(aes) <<Keys hidden>>\n" in hidden
        assert KEY.hex() not in hidden


def test_keys_are_not_remembered() -> None:
    state = with_key()
    (key,) = take_apart(state).attributes
    policy = made(NEWPOLICY, 0, key, (TMPL, bytes(64)))  # which has none
    printer = Printer(statistics=1)
    assert KEY.hex() in printer.block(state)
    assert KEY.hex() not in printer.block(policy) + printer.message(policy)
    kept = [printer.tails, printer.shapes, printer.texts]
    assert any(kept)
    assert not any(KEY.hex() in repr(cache) or repr(KEY)[2:-1] in repr(cache) for cache in kept)


def test_little_is_remembered() -> None:
    printer = Printer(statistics=1)
    for number in range(10_000):
        printer.block(
            made(
                NEWPOLICY, 0, (IF_ID, struct.pack("=I", number)), policy=bytes(136) + number.to_bytes(32, "little")
            )
        )
    assert max(len(each) for each in (printer.tails, printer.shapes, printer.texts)) < 5000


# --- what no kernel sends ---------------------------------------------------------------------------------------

V4 = b"".join([bytes(40), struct.pack("=HBBB3xiI", 2, 0, 0, 0, 0, 0)])
POLICY = V4 + bytes(112)


def algorithm(key_bits: int, *numbers: int, key: bytes = b"") -> bytes:
    return b"a".ljust(64, b"\0") + struct.pack(f"={1 + len(numbers)}I", key_bits, *numbers) + key


ODD = [
    # As `ip` prints them.
    (made(NEWSA, 0), "src ??? dst ???\n\tproto 0 reqid 0 mode transport\n\treplay-window 0 \n"),
    (made(NEWSA, 0, selector=V4), "\tsel src 0.0.0.0/0 dst 0.0.0.0/0 \n"),
    (made(NEWPOLICY, 0), "src ???/0 dst ???/0 \n\tdir in priority 0 \n"),
    (
        made(NEWPOLICY, 0, (TMPL, bytes(128)), policy=POLICY),
        2 * "\ttmpl src ??? dst ???\n\t\tproto 0 reqid 0 mode transport\n",
    ),
    (
        made(NEWPOLICY, 0, (TMPL, bytes(70)), policy=POLICY),
        "\n\ttmpl src ??? dst ???\n\t\tproto 0 reqid 0 mode transport\n",
    ),
    (made(NEWPOLICY, 0, (TMPL, b""), policy=POLICY), '\n\t(ERROR "tmpl" truncated)\n'),
    (made(NEWPOLICY, 0, (SEC_CTX, b"123"), policy=POLICY), "\tsecurity context (ERROR truncated) \n\tdir in"),
    (made(NEWPOLICY, 0, (OFFLOAD_DEV, b"12"), policy=POLICY), "\tcrypto offload parameters: (ERROR truncated)\n"),
    (made(NEWPOLICY, 0, (MARK, bytes(12)), policy=POLICY), "\tmark 0/0 \n"),
    (made(NEWPOLICY, 0, (IF_ID, b"12345"), policy=POLICY), "\tif_id 0x34333231\n"),
    (made(NEWPOLICY, 0, (IF_ID, b"\1\0\0\0"), (IF_ID, b"\2\0\0\0"), policy=POLICY), "\tif_id 0x1\n"),
    (made(NEWPOLICY, 0, (POLICY_TYPE, b"\7" + bytes(6)), policy=POLICY), "priority 0 ptype 7 \n"),
    (made(NEWSA, 0, (AEAD, algorithm(80, 96, key=b"abcd"))), "\taead a (ERROR truncated) 96\n"),
    (made(NEWSA, 0, (AEAD, algorithm(32, 0xFFFFFFFF, key=b"abcd"))), "\taead a 0x61626364 -1\n"),
    (made(NEWSA, 0, (COMP, algorithm(0))), "\tcomp a \n"),
    (made(FLUSHPOLICY, 0), "Flushed policy \n"),
    # Where `ip` reads on behind the attribute.
    (made(NEWPOLICY, 0, (IF_ID, b"1"), policy=POLICY), "\tif_id (ERROR truncated)\n"),
    (made(NEWPOLICY, 0, (MARK, b"123"), policy=POLICY), "\tmark (ERROR truncated) \n"),
    (made(NEWSA, 0, (SA_DIR, b"")), "\tdir (ERROR truncated)\n"),
    (made(NEWSA, 0, (REPLAY_ESN_VAL, struct.pack("=6I", 3, 1, 2, 3, 4, 96) + b"abcd")), "\n\t (ERROR truncated)\n"),
    (made(NEWSA, 0, (REPLAY_ESN_VAL, struct.pack("=6I", 1 << 31, 1, 2, 3, 4, 96))), "\n\t (ERROR truncated)\n"),
    # Where it prints nothing.
    (made(NEWPOLICY, 0, (POLICY_TYPE, b"\1"), policy=POLICY), "priority 0 ptype (ERROR truncated) \n"),
]


@pytest.mark.parametrize(("message", "text"), ODD)
def test_odd_messages(message: bytes, text: str) -> None:
    assert text in render(message)


def test_a_time_that_no_calendar_has() -> None:
    current = struct.pack("=4Q", 0, 0, 1 << 62, (1 << 64) - 1)
    text = render(made(NEWSA, 0, current=current), statistics=1)
    assert f"\t  add {1 << 62} use {(1 << 64) - 1}\n" in text


@pytest.mark.parametrize("kind", [DELSA, DELPOLICY])
def test_an_event_without_what_was_deleted(kind: int) -> None:
    with pytest.raises(ProtocolError):
        render(made(kind, 0))


def test_damage_raises_or_is_printed() -> None:
    """Nothing but ProtocolError, wherever a message is cut, whatever is changed in it."""
    chance = random.Random(20261201)
    intact = sorted(
        {one for record in REPLIES for data, _ in record["datagrams"] for one in messages(bytes.fromhex(data))}
    )
    printed = refused = 0
    printer = Printer(statistics=2)
    for _ in range(20_000):
        message = bytearray(chance.choice(intact))
        for _ in range(chance.randint(1, 3)):
            message[chance.randrange(4, len(message))] = chance.randrange(256)
        if chance.random() < 0.5:
            del message[chance.randrange(4, len(message)) :]
            message[:4] = struct.pack("=I", len(message))
        try:
            printer.block(message)
            printed += 1
        except ProtocolError:
            refused += 1
    assert printed > 2000
    assert refused > 2000


def test_start() -> None:
    """Only what a text of policies needs is imported for it."""
    code = "import sys; from xfrm_ext.iproute2.text import render; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"dataclasses", "argparse", "json", "ipaddress", "pathlib", "datetime"}
    assert "xfrm_ext.iproute2.policy_text" in loaded
    assert not heavy & set(loaded)
    assert not {f"xfrm_ext.iproute2.{name}_text" for name in ("state", "event", "info", "link")} & set(loaded)

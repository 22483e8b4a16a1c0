# SPDX-License-Identifier: MIT
"""`ip link ... type xfrm` as a grammar: the bytes that `ip` sends, what it refuses, and the interface it is about.

tests/guest/test_link.py has kernels with XFRM interfaces.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
from vectors import attribute, recorded, records

from xfrm_ext import CommandError, XfrmInterface
from xfrm_ext.iproute2 import encode, parse
from xfrm_ext.iproute2.help import text

RECORDS = {record["id"]: record for record in records("links")}
REFUSED = [one for one in records("refused") if one["argv"][1] == "link"]
MISSING = {"link-xfrm-change": 1, "link-xfrm-del": 1, "link-xfrm-set-type": 1, "link-xfrm-none-refused": 255}
"""Where `ip` looked up names and then gave up, with this exit status."""


def index_of(name: str) -> int:
    """Interfaces as in the records."""
    return 1 if name == "lo" else 0


def index_of_both(name: str) -> int:
    """One more: what lines change that were recorded without it."""
    return {"lo": 1, "xfrm0": 7}.get(name, 0)


def ids(some: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("record", [pytest.param(one, id=one["id"]) for one in some])


# --- the bytes that `ip` sends ------------------------------------------------------------------------------


@ids(one for one in RECORDS.values() if one["id"] not in MISSING)
def test_same_bytes(record: dict[str, Any]) -> None:
    sent = encode(record["argv"][1:], interface_index=index_of)
    assert [one.hex() for one in sent] == [one.hex() for one in recorded(record)]


@ids(RECORDS[name] for name in MISSING)
def test_refused_after_a_look(record: dict[str, Any]) -> None:
    with pytest.raises(CommandError) as raised:
        encode(record["argv"][1:], interface_index=index_of)
    assert raised.value.status == MISSING[record["id"]]


def message(kind: int, index: int, attributes: bytes, flags: int = 5) -> bytes:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def info(data: bytes | None) -> bytes:
    return attribute(18, attribute(1, b"xfrm\0") + (b"" if data is None else attribute(2, data)))


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


CHANGES = {
    "link-xfrm-change": message(16, 7, info(number(2, 6))),
    "link-xfrm-set-type": message(16, 7, info(number(2, 9))),
    "link-xfrm-del": message(17, 7, info(None)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_interface_that_is_there(name: str) -> None:
    """The look-up as recorded, and behind it the change."""
    record = RECORDS[name]
    sent = encode(record["argv"][1:], interface_index=index_of_both)
    assert [one.hex() for one in sent] == [recorded(record)[0].hex(), CHANGES[name].hex()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("set xfrm0 name xfrm9 type xfrm", message(16, 7, attribute(3, b"xfrm9\0") + info(None))),
        ("change xfrm0 type xfrm external", message(16, 7, info(attribute(3, b"")))),
        ("change xfrm0 type xfrm dev lo if_id 3", message(16, 7, info(number(2, 3) + number(1, 1)))),
        ("replace xfrm0 type xfrm if_id 4", message(16, 0, attribute(3, b"xfrm0\0") + info(number(2, 4)), 0x505)),
        ("add xfrm0 type xfrm", message(16, 0, attribute(3, b"xfrm0\0") + info(None), 0x605)),
        ("del xfrm0 type xfrm if_id 3", message(17, 7, info(number(2, 3)))),
        (
            "set xfrm0 down type xfrm",
            message(16, 7, info(None)).replace(struct.pack("=iII", 7, 0, 0), struct.pack("=iII", 7, 0, 1)),
        ),
    ],
)
def test_other_lines(text: str, expected: bytes) -> None:
    assert encode(["link", *text.split()], interface_index=index_of_both)[-1].hex() == expected.hex()


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("a xfrm0 type xfrm if_id 3", "add name xfrm0 type xfrm if_id 3"),
        ("add dev xfrm0 type xfrm if_id 3", "add name xfrm0 type xfrm if_id 3"),
        ("s dev xfrm0 type xfrm if_id 3", "change xfrm0 type xfrm if_id 3"),
        ("d xfrm0 type xfrm", "delete dev xfrm0 type xfrm"),
        ("add xfrm0 qlen 5 type xfrm d lo if_id 0x10", "add xfrm0 txqueuelen 5 type xfrm dev lo if_id 16"),
    ],
)
def test_same_as(short: str, whole: str) -> None:
    one, other = (encode(["link", *text.split()], interface_index=index_of_both) for text in (short, whole))
    assert one == other


# --- what is refused ------------------------------------------------------------------------------------------


@ids(REFUSED)
def test_refused(record: dict[str, Any]) -> None:
    with pytest.raises(CommandError) as raised:
        encode(record["argv"][1:], interface_index=index_of)
    assert raised.value.status == record["rc"]


@pytest.mark.parametrize(
    ("text", "status", "rule"),
    [
        ("bogus xfrm0", 255, "link: 'bogus' is unknown"),
        ("add xfrm0", 255, "type xfrm: is missing"),
        ("add xfrm0 type", 255, "type: is missing"),
        ("add xfrm0 type vti if_id 3", 255, "type: 'vti' is not xfrm"),
        ("add xfrm0 foo type xfrm if_id 3", 255, "dev: 'foo' is unknown here, or a second name"),
        ("add name xfrm0 dev xfrm1 type xfrm if_id 3", 255, "name: is said twice"),
        ("add xfrm0 mtu 1 mtu 2 type xfrm if_id 3", 255, "mtu: is given twice"),
        ("add xfrm0 mtu x type xfrm if_id 3", 255, "mtu: 'x' is not a number"),
        ("add a/b type xfrm if_id 3", 255, "dev: 'a/b' is not an interface's name"),
        ("add abcdefghijklmnop type xfrm if_id 3", 255, "dev: 'abcdefghijklmnop' is not an interface's name"),
        ("add xfrm0 link nosuch type xfrm if_id 3", 1, "link: 'nosuch' is not an interface here"),
        ("add xfrm0 type xfrm dev nosuch if_id 3", 255, "type xfrm dev: 'nosuch' is not an interface here"),
        ("add xfrm0 type xfrm if_id x", 255, "if_id: 'x' is not a number"),
        ("add xfrm0 type xfrm if_id 3 foo", 1, "type xfrm: 'foo' is not dev, if_id or external"),
        ("set type xfrm if_id 3", 255, "link change: needs the name"),
        ("del nosuch type xfrm", 1, "dev: 'nosuch' is not an interface here"),
        ("help", 255, "link: help sends nothing"),
    ],
)
def test_what_is_wrong(text: str, status: int, rule: str) -> None:
    with pytest.raises(CommandError) as raised:
        encode(["link", *text.split()], interface_index=index_of)
    assert (raised.value.status, str(raised.value)[: len(rule)]) == (status, rule)


# --- the interface ----------------------------------------------------------------------------------------------


def test_parsed() -> None:
    line = ["link", "add", "xfrm0", "mtu", "1400", "up", "type", "xfrm", "dev", "lo", "if_id", "42"]
    assert parse(line, interface_index=index_of) == XfrmInterface(
        name="xfrm0", index=0, if_id=42, device=1, external=False, up=True, mtu=1400
    )
    assert parse(["link", "del", "xfrm0", "type", "xfrm"], interface_index=index_of_both) == XfrmInterface(
        name="xfrm0", index=7, if_id=0, device=0, external=False, up=False, mtu=0
    )
    external = parse(["link", "add", "type", "xfrm", "external"])
    assert isinstance(external, XfrmInterface)
    assert (external.name, external.external) == ("", True)


# --- its help ---------------------------------------------------------------------------------------------


def test_a_command_is_missing() -> None:
    with pytest.raises(CommandError, match="link: needs a command: add, set, change, replace, delete, help"):
        encode(["link"])


@pytest.mark.parametrize(
    "line",
    [
        "add name xfrm0 up mtu 1400 txqueuelen 5 link lo type xfrm dev lo if_id 3",
        "replace xfrm1 down txqlen 5 type xfrm external",
        "change dev xfrm0 name xfrm9 qlen 5 type xfrm",
        "set dev xfrm0 type xfrm if_id 3",
        "delete dev xfrm0 type xfrm",
    ],
)
def test_the_help_has_every_word(line: str) -> None:
    encode(["link", *line.split()], interface_index=index_of_both)
    words = set(re.findall(r"[\w-]+", text("link")))
    values = {"xfrm0", "xfrm1", "xfrm9", "lo"}
    assert {word for word in line.split() if not word.isdigit()} - values <= words

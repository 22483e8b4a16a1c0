# SPDX-License-Identifier: MIT
"""Everything but policies that `ip xfrm` sent, received and printed, byte for byte: decoded and encoded again, and
its requests built from objects. Where this package differs, a rule below says how and why, and the difference
must be exactly that."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from vectors import argv as words_of
from vectors import messages, recorded, records, take_apart
from vectors.differences import BUILT, DECODED, again, expected, unordered, without_numbers

from xfrm_ext import Message, ValidationError
from xfrm_ext.constants import Protocol
from xfrm_ext.info import PolicyDefaults, SpdThresholds
from xfrm_ext.request import Request

REQUESTS = records("other_requests")
REPLIES = records("other_replies")

UNKNOWN = {"msg-hand-unknown-type-29", "msg-hand-unknown-type-7f"}
"""No message has such a type; type 0x29 has been given to one since, which is longer."""


@pytest.fixture(params=["native", "pure"])
def codec(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the two."""
    return importlib.import_module(f"xfrm_ext.codec.{request.param}")


# --- decoded and encoded again ------------------------------------------------------------------------------


def all_messages() -> dict[bytes, str]:
    """Every different message of requests and replies, with the id of a record that has it."""
    result: dict[bytes, str] = {}
    for record in REQUESTS:
        for datagram in recorded(record):
            for message in messages(datagram):
                result.setdefault(message, record["id"])
    for record in REPLIES:
        for data, _ in record["datagrams"]:
            for message in messages(bytes.fromhex(data)):
                result.setdefault(without_numbers(message), record["id"])
    return {message: name for message, name in result.items() if name not in UNKNOWN}


MESSAGES = all_messages()


@pytest.mark.parametrize("kind", sorted({take_apart(message).type for message in MESSAGES}), ids=hex)
def test_decoded(codec: ModuleType, kind: int) -> None:
    for message, record in MESSAGES.items():
        if take_apart(message).type == kind:
            assert unordered(again(codec, message)) == unordered(expected(message, DECODED)), record


def test_each_difference_is_one() -> None:
    used: Counter[str] = Counter()
    for message in MESSAGES:
        expected(message, DECODED, used)
    assert {rule.reason for rule in DECODED} == {reason for reason, count in used.items() if count}


# --- built from objects -------------------------------------------------------------------------------------


def command(record: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The options of a command line, and its words from the object on, none of them shortened."""
    words = record["argv"][1:]
    options = []
    while words[0].startswith("-"):
        options.append(words.pop(0))
        if options[-1] == "-f":
            options.append(words.pop(0))
    assert words.pop(0) in ("xfrm", "x")
    names = {"s": "state", "a": "add", "upd": "update", "delall": "deleteall"}
    return options, [*(names.get(word, word) for word in words[:2]), *words[2:]]


def built(record: dict[str, Any]) -> Any:
    """The value or Request of a command line, made of objects."""
    options, words = command(record)
    name, rest = words[1], words[2:]
    if words[0] == "state":
        if name in ("add", "update"):
            kind = Message.NEWSA if name == "add" else Message.UPDSA
            value = words_of.state(rest, options)
            if record["id"].endswith("@6.1.0"):
                value = replace(value, direction=None)  # which that release knows for offload only
            return Request(kind, value)
        if name in ("get", "delete"):
            kind = Message.GETSA if name == "get" else Message.DELSA
            return Request(kind, words_of.state_id(rest, options))
        if name == "allocspi":
            return words_of.spi_request(rest)
        if name == "list":
            return words_of.state_filter(rest, options)
        if name == "deleteall":
            return Request(Message.GETSA)  # it looks for itself
        if name == "flush":
            protocol = rest[1].upper().replace("-", "_") if rest else None
            return Request(Message.FLUSHSA, Protocol[protocol] if protocol else None)
        assert name == "count"
        return Request(Message.GETSADINFO)
    if name == "set":
        bits = {
            rest[n]: (words_of.number(rest[n + 1]), words_of.number(rest[n + 2])) for n in range(0, len(rest), 3)
        }
        return SpdThresholds(bits.get("hthresh4"), bits.get("hthresh6"))
    assert name == "setdefault"
    ways = {"in": "input", "fwd": "forward", "out": "output"}
    actions = dict(zip((ways[word] for word in rest[::2]), rest[1::2], strict=True))
    return Request(
        Message.SETDEFAULT,
        PolicyDefaults(**{way: "accept" if action == "allow" else action for way, action in actions.items()}),
    )


REFUSED = dict.fromkeys(
    ("state-add-enc-name-80", "state-add-enc-name-empty"), "is not a name of 1 to 63 ASCII characters"
)
"""What `ip` cuts off, or sends for the kernel to refuse."""


@pytest.mark.parametrize("record", [pytest.param(record, id=record["id"]) for record in REQUESTS])
def test_built(codec: ModuleType, record: dict[str, Any]) -> None:
    if record["id"] in REFUSED:
        with pytest.raises(ValidationError, match=REFUSED[record["id"]]):
            built(record)
        return
    # What `deleteall` sends behind its dump depends on what that found; test_decoded has it.
    message = recorded(record)[0]
    assert bytes(codec.encode(built(record))).hex() == expected(message, BUILT, Counter()).hex()


def test_each_difference_of_what_is_built_is_one() -> None:
    used: Counter[str] = Counter()
    for record in REQUESTS:
        expected(recorded(record)[0], BUILT, used)
    assert {rule.reason for rule in BUILT} == {reason for reason, count in used.items() if count}

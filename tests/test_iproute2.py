# SPDX-License-Identifier: MIT
"""xfrm_ext.iproute2 as a library: encode, parse, and what is imported when."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from test_iproute2_state import ALL, OLDER
from vectors import messages, recorded, records

import xfrm_ext
from xfrm_ext import (
    CommandError,
    Message,
    Policy,
    PolicyDefaults,
    PolicyId,
    Request,
    Selector,
    SpdThresholds,
    State,
    Template,
    iproute2,
)
from xfrm_ext.codec import select
from xfrm_ext.iproute2 import encode, parse, to_command

CODEC = select()


def index_of(name: str) -> int:
    """Interfaces as in the records."""
    return 1 if name == "lo" else 0


def every(*names: str) -> list[Any]:
    return [pytest.param(record, id=record["id"]) for name in names for record in records(name)]


# --- encode -----------------------------------------------------------------------------------------------------

REQUESTS = every("requests", "other_requests")
DIFFERENT = {
    **OLDER,
    "policy-deleteall-ptype-both": "`ip` leaves out the type of a sub policy: the kernel deletes another, or none",
}
"""Requests that are others on purpose, and why. Of that deleteall only what is behind the dump, which is here for
``delete_message`` to make: test_iproute2_policy_list.py, test_iproute2_state.py."""


@pytest.mark.parametrize("record", [one for one in REQUESTS if one.id not in OLDER])
def test_encode(record: dict[str, Any]) -> None:
    """The words of a shell, with `xfrm` and without it."""
    words = record["argv"][1:]
    sent = recorded(record)
    if {"deleteall", "delall"}.intersection(words):
        del sent[1:]
    place = next(place for place, word in enumerate(words) if word in ("x", "xfrm"))
    for line in (words, words[:place] + words[place + 1 :]):
        assert [one.hex() for one in encode(line, interface_index=index_of)] == [one.hex() for one in sent]


def test_few_requests_differ() -> None:
    """In relation to all requests that were recorded, with those that no file here has."""
    assert {one.id for one in REQUESTS} >= set(DIFFERENT)
    assert len(DIFFERENT) / ALL < 0.02


@pytest.mark.parametrize(
    "words", [["x", "p", "a", "dir", "in"], ["p", "a", "dir", "in"], ["xfr", "pol", "add", "dir", "in"]]
)
def test_objects_may_be_shortened(words: list[str]) -> None:
    assert encode(words) == encode(["xfrm", "policy", "add", "dir", "in"])
    assert len(encode(["s"])) == len(encode(["state", "list"])) == 1


def test_encode_looks_up_interfaces_here() -> None:
    assert encode(["policy", "add", "dir", "in", "dev", "lo"]) == encode(
        ["policy", "add", "dir", "in", "dev", "lo"], interface_index=index_of
    )
    with pytest.raises(CommandError, match="dev: 'nosuch0' is not an interface here"):
        encode(["policy", "add", "dir", "in", "dev", "nosuch0"])


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ([], "command: is missing"),
        (["xfrm"], "xfrm: is missing"),
        (["bogus"], "xfrm: 'bogus' is not state, policy, monitor or help"),
        (["policyx"], "xfrm: 'policyx' is not"),
        (["xfrm", "help"], "xfrm: help sends nothing"),
        (["policy", "help"], "policy: help sends nothing"),
        (["monitor"], "monitor: monitor sends nothing"),
        (["monitor", "help"], "monitor: help sends nothing"),
        (["-batch", "file"], "option: -help, -Version and -batch"),
        (["-V"], "option: -help, -Version and -batch"),
        (["-bogus", "policy"], "option: '-bogus' is unknown"),
    ],
)
def test_what_sends_nothing(words: list[str], rule: str) -> None:
    for function in (encode, parse):
        with pytest.raises(CommandError) as raised:
            function(words)
        assert (raised.value.status, str(raised.value)[: len(rule)]) == (255, rule)


# --- parse ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", REQUESTS)
def test_parse(record: dict[str, Any]) -> None:
    """It is what the bytes are to the codec."""
    words = record["argv"][1:]
    [message] = messages(encode(words, interface_index=index_of)[0])
    value = CODEC.decode(message)
    request = parse(words, interface_index=index_of)
    assert isinstance(request, Request)
    assert request.message == int.from_bytes(message[4:6], sys.byteorder)
    assert value in (request, request.body)


def test_parsed_objects() -> None:
    tunnel = "tmpl src 192.0.2.1 dst 198.51.100.2 proto esp mode tunnel reqid 1"
    where = Selector("10.1.0.0/16", "10.2.0.0/16")
    for verb, message in (("add", Message.NEWPOLICY), ("update", Message.UPDPOLICY)):
        assert parse(f"xfrm policy {verb} src 10.1.0.0/16 dst 10.2.0.0/16 dir out {tunnel}".split()) == Request(
            message,
            Policy(
                where, direction="out", templates=[Template("192.0.2.1", "198.51.100.2", mode="tunnel", reqid=1)]
            ),
        )
    assert parse(["policy", "get", "src", "10.1.0.0/16", "dst", "10.2.0.0/16", "dir", "in"]) == Request(
        Message.GETPOLICY, PolicyId(where, direction="in")
    )
    assert parse(["policy", "set", "hthresh4", "24", "16"]) == Request(
        Message.NEWSPDINFO, SpdThresholds(ipv4=(24, 16))
    )
    assert parse(["policy", "setdefault", "in", "block"]) == Request(
        Message.SETDEFAULT, PolicyDefaults(input="block", forward="unspec", output="unspec")
    )
    assert parse(["policy"]) == parse(["policy", "deleteall"]) == Request(Message.GETPOLICY)
    aead = ["aead", "rfc4106(gcm(aes))", "0x00", "128"]
    state = parse(["state", "add", "src", "192.0.2.1", "dst", "198.51.100.2", "proto", "esp", "spi", "1", *aead])
    assert isinstance(state, Request)
    assert (state.message, type(state.body)) == (Message.NEWSA, State)


# --- what belongs together --------------------------------------------------------------------------------------


def test_exported_late() -> None:
    """What a short command does not need is not imported before it is asked for."""
    code = (
        "import sys, xfrm_ext.iproute2 as one\n"
        "late = {'dataclasses', 'argparse', 'xfrm_ext.wire', 'xfrm_ext.constants'}\n"
        "assert not late & set(sys.modules), late & set(sys.modules)\n"
        "assert callable(one.render) and callable(one.to_command)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    assert xfrm_ext.iproute2.to_command is to_command
    with pytest.raises(AttributeError, match=r"has no attribute 'bogus'"):
        iproute2.bogus  # noqa: B018

# SPDX-License-Identifier: MIT
"""Everything but policies that `ip xfrm` printed: the fields of the decoded values give the same text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from vectors import (
    DELSA,
    FLUSHPOLICY,
    FLUSHSA,
    NEWSA,
    POLICY_TYPE,
    SEC_CTX,
    UPDSA,
    Parts,
    messages,
    records,
    take_apart,
)
from vectors.differences import BITMAP, MASKED
from vectors.text import policy_text, selector_text, state_text

from xfrm_ext import Policy, PolicyId, State
from xfrm_ext.codec.native import decode
from xfrm_ext.event import Acquire, AsyncEvent, Mapping, PolicyExpired, Report, StateExpired
from xfrm_ext.info import PolicyDefaults, SadInfo
from xfrm_ext.state_id import StateId

REPLIES = [
    record
    for record in records("other_replies")
    if not any(words in record["id"] for words in ("unknown-type", "newsa-truncated", "newsa-nested-flag"))
]
"""All but types that are none, attributes of wrong sizes, which are kept as bytes (see test_vectors_wire.py), and
one whose type has a flag, for which `ip` does not know it."""


def shown(state: State, words: list[str]) -> bool:
    """Whether a command shows a state. `ip` filters by what the kernel does not."""
    if "deleteall" in words:
        return False
    if "mode" in words and state.mode.name.lower() != words[words.index("mode") + 1]:
        return False
    return "reqid" not in words or state.reqid == int(words[words.index("reqid") + 1])


def text_of(message: bytes, words: list[str]) -> str:
    """What `ip` prints for a message."""
    parts = take_apart(message)
    value = decode(message)
    body: Any = getattr(value, "body", value)
    has = {kind & 0x3FFF for kind, _ in parts.attributes}
    # With a file, keys are shown whatever one asks for.
    statistics, keys = "-s" in words, "nokeys" not in words or "file" in words
    if isinstance(body, State):
        assert parts.type in (NEWSA, UPDSA, DELSA)
        prefix = {UPDSA: "Updated ", DELSA: "Deleted "}.get(parts.type, "")
        return prefix + state_text(body, has, statistics, keys) if shown(body, words) else ""
    if isinstance(body, StateExpired):
        return f"Expired {state_text(body.state, has, statistics, keys)}\thard {int(body.hard)}\n"
    if isinstance(body, PolicyExpired):
        return f"Expired {policy_text(body.policy, POLICY_TYPE in has, statistics)}\thard {int(body.hard)}\n"
    if isinstance(body, Policy):
        return f"Deleted {policy_text(body, POLICY_TYPE in has, statistics)}"
    if isinstance(body, PolicyId):
        return f"Deleted index {body.index}\n"
    if isinstance(body, Acquire):
        return acquire_text(body, has, statistics)
    if isinstance(body, Report):
        return f"report proto {PROTOCOLS[body.protocol]} \n  sel {selector_text(body.selector, statistics)}\n"
    if isinstance(body, Mapping):
        text = f"Mapping change {body.old_source}:{body.old_port} -> {body.new_source}:{body.new_port}\n"
        return f"{text}\tdst {id_text(body.id, body.reqid)}"
    if isinstance(body, AsyncEvent):
        names = "".join(f" {name} " for bit, name in ASYNC_FLAGS.items() if body.flags & bit)
        return f"Async event  ({body.flags:#x}) {names}\n\tsrc {body.id.source} dst {id_text(body.id, body.reqid)}"
    if isinstance(body, PolicyDefaults):
        return "Default policies:\n" + "".join(
            f" {word:4} {action.name.lower() if action < 3 else 'unknown'}\n"
            for word, action in (("in:", body.input), ("fwd:", body.forward), ("out:", body.output))
        )
    if isinstance(body, SadInfo) and "count" in words:
        return sad_text(body, statistics)
    if parts.type == FLUSHSA:
        return f"Flushed state proto {PROTOCOLS.get(body, int(body))}\n"
    if parts.type == FLUSHPOLICY:
        return f"Flushed policy ptype {body.name.lower() if body < 2 else int(body)} \n"
    assert "monitor" in words
    return f"Unknown message: {len(message):08} {parts.type:#010x} 0x00000000\n"


PROTOCOLS = {50: "esp", 51: "ah", 108: "comp", 43: "route2", 60: "hao", 255: "ipsec-any"}
ASYNC_FLAGS = {16: "replay update", 32: "timer expired", 64: "policy updated"}


def id_text(state: StateId, reqid: int) -> str:
    return f"{state.destination}  reqid {reqid:#x} protocol {PROTOCOLS[state.protocol]}  SPI {state.spi:#x}\n"


def acquire_text(acquire: Acquire, has: set[int], statistics: bool) -> str:
    text = f"acquire proto {PROTOCOLS[acquire.protocol]} "
    if acquire.spi or statistics:
        text += f"spi {acquire.spi:#010x}" + (f"({acquire.spi}) " if statistics else " ")
    policy = policy_text(acquire.policy, POLICY_TYPE in has, statistics)
    head, *rest = policy.split("\n")
    lines = [text, f"  sel {selector_text(acquire.selector, statistics)}", f"  policy {head}"]
    lines += [f"    {line}" if line else "" for line in rest[:-1]]
    if statistics:
        masks = (acquire.ealgos, acquire.aalgos, acquire.calgos)
        lines.append(
            f"  seq 0x{acquire.sequence:08} " + "enc-mask {:08x} auth-mask {:08x} comp-mask {:08x}".format(*masks)
        )
    return "\n".join(lines) + ("\n" if statistics else "\n\n")


def sad_text(info: SadInfo, statistics: bool) -> str:
    text = f"\t SAD count {info.count}"
    return text + (f" (buckets count {info.hash_buckets} Max {info.hash_limit})\n" if statistics else "\n")


def unlike(parts: Parts) -> list[str]:
    """What lines begin with that are not compared."""
    words = []
    if MASKED.change(parts) != parts:
        words += ["mark", "output-mark"]  # printed as it was sent, and here as the kernel would keep it
    if BITMAP.change(parts) != parts:
        words.append("[0-9a-f]{8} ")  # `ip` prints what follows the attribute
    if dict(parts.attributes).get(SEC_CTX, b"").endswith(b"\0\0"):
        words.append("security")
    return words


def without(text: str, words: Iterable[str]) -> str:
    """A text without the lines that begin with one of these patterns."""
    lines = re.split(r"(?<=[\n\\])", text)
    return "".join(line for line in lines if not any(re.match(word, line.strip()) for word in words))


@pytest.mark.parametrize("record", [pytest.param(record, id=record["id"]) for record in REPLIES])
def test_text(record: dict[str, Any]) -> None:
    words = record["argv"]
    for data, text in record["datagrams"]:
        wanted = re.sub(r"^(\[nsid current\]|\[[-0-9T:.]+\] )", "", text).replace(" dev v0 ", " dev if3 ")
        printed, dropped = "", []
        for message in messages(bytes.fromhex(data)):
            body = text_of(message, words)
            one_line = "-o" in words and body and not body.startswith(("Default", "\t SAD"))
            printed += body.replace("\n", "\\") + "\n" if one_line else body
            dropped += unlike(take_apart(message))
        assert without(printed, dropped) == without(wanted, dropped)

# SPDX-License-Identifier: MIT
"""Every policy request that `ip xfrm` sent, byte for byte: parsed from its command line as a batch file,
decoded and encoded again, and built from objects. Where this package differs, it says how and why below, and
the difference must be exactly that."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from vectors import MARK, POLICY_TYPE, TMPL, Difference, Parts, messages, recorded, records, take_apart
from vectors.argv import LIMITS, SELECTOR_WORDS, interface, mark, number, selector

from xfrm_ext import (
    BatchFileError,
    LifetimeConfig,
    Message,
    Offload,
    Policy,
    PolicyId,
    PolicyType,
    Request,
    Selector,
    Template,
    ValidationError,
)
from xfrm_ext.batchfile import BatchFile, Block
from xfrm_ext.codec import select

CODEC = select()
encode, decode = CODEC.encode, CODEC.decode

REQUESTS = records("requests")
REFUSED = [
    record
    for record in records("refused")
    if record["argv"][2] == "policy" and record["argv"][3] not in ("set", "setdefault")
]

# --- the differences --------------------------------------------------------------------------------------


def _mask_mark(parts: Parts) -> Parts:
    attributes = []
    for kind, payload in parts.attributes:
        if kind == MARK:
            value, mask = struct.unpack("=II", payload)
            payload = struct.pack("=II", value & mask, mask)
        attributes.append((kind, payload))
    return parts._replace(attributes=tuple(attributes))


def _add_mark(mask: int) -> Callable[[Parts], Parts]:
    def change(parts: Parts) -> Parts:
        return parts._replace(attributes=(*parts.attributes, (MARK, struct.pack("=II", 0, mask))))

    return change


def _drop_main(parts: Parts) -> Parts:
    kept = tuple(item for item in parts.attributes if item != (POLICY_TYPE, bytes(6)))
    return parts._replace(attributes=kept)


def _name_by_index(parts: Parts) -> Parts:
    any_ipv4 = bytes(40) + struct.pack("=H", 2) + bytes(14)
    return parts._replace(flags=5, fixed=any_ipv4 + parts.fixed[56:])


MASKED = Difference(
    "a mark's value is masked: the kernel masks it before it stores it, and a delete must name what is stored",
    _mask_mark,
)
ZERO_MARK = Difference(
    "a mark of 0 is sent: it is not the same as no mark, and `ip` can't address a policy that has one",
    _add_mark(0xFFFFFFFF),
)
DISJOINT_MARK = Difference("a mark that its mask makes 0 is sent, as one of 0 is", _add_mark(0xF))
MAIN = Difference("the policy type main is not sent: the kernel takes it where there is none", _drop_main)
BY_INDEX = Difference(
    "`deleteall` names a policy by selector and index and wants no ACK: the kernel looks at the index only, and "
    "every delete of this package is acknowledged",
    _name_by_index,
)

MASKED_MARKS = dict.fromkeys(
    (
        "policy-rand-001",
        "policy-rand-019",
        "policy-rand-024",
        "policy-rand-030",
        "policy-rand-037",
        "policy-rand-048",
        "policy-rand-050",
        "policy-rand-064",
        "policy-rand-069",
    ),
    (MASKED,),
)
ZERO_MARKS = {
    "policy-delete-opt-mark-zero": (ZERO_MARK,),
    "policy-delete-opt-mark-disjoint": (DISJOINT_MARK,),
}
MAIN_TYPES = dict.fromkeys(
    (
        "policy-add-opt-ptype-main",
        "policy-delete-opt-all",
        "policy-delete-opt-ptype-main",
        "policy-rand-015",
        "policy-rand-016",
        "policy-rand-018",
        "policy-rand-023",
    ),
    (MAIN,),
)
MASKED_AND_MAIN = {**MASKED_MARKS, **MAIN_TYPES, "policy-rand-024": (MASKED, MAIN)}

TOO_MANY_TEMPLATES = {"policy-add-tmpl-7", "policy-add-tmpl-16"}
"""`ip` sends up to 16 templates. The kernel refuses more than 6, and so does this package, before it sends."""

WRONG_INDEX = {
    "policy-add-opt-index-bad-dir",
    "policy-rand-018",
    "policy-rand-034",
    "policy-rand-037",
    "policy-rand-038",
    "policy-rand-048",
    "policy-rand-055",
    "policy-rand-056",
    "policy-rand-060",
    "policy-rand-062",
    "policy-rand-065",
}
"""The index belongs to another direction: the kernel refused them all, and objects can't be built like that. A
batch file passes such a line on."""

DIFFERENCES: dict[str, dict[str, tuple[Difference, ...]]] = {
    "parsed": {**MASKED_MARKS, **ZERO_MARKS},
    "decoded": {
        **MASKED_AND_MAIN,
        **dict.fromkeys(
            (
                "policy-deleteall-action",
                "policy-deleteall-dir-in",
                "policy-deleteall-dir-out",
                "policy-deleteall-index",
                "policy-deleteall-many-out",
                "policy-deleteall-nosock",
                "policy-deleteall-opt6",
                "policy-deleteall-priority",
                "policy-deleteall-ptype-both",
                "policy-deleteall-sel",
                "policy-deleteall-two",
            ),
            (BY_INDEX,),
        ),
    },
    "built": {
        **{name: differences for name, differences in MASKED_AND_MAIN.items() if name not in WRONG_INDEX},
        **ZERO_MARKS,
        "policy-get-opt-mark-zero": (ZERO_MARK,),
        "policy-get-opt-mark-disjoint": (DISJOINT_MARK,),
    },
}

NO_LINE = {
    "get": "a batch file changes the SPD: what `ip` would print goes nowhere",
    "list": "a batch file changes the SPD: what `ip` would print goes nowhere",
    "deleteall": "it is a dump, and deletes by what that found",
    "option": "options stand before the object, and lines of a batch file begin with it",
}
"""Commands that are no lines of a batch file, here, and why."""


def expected(record: dict[str, Any], way: str, message: bytes) -> bytes:
    """What this package makes of a message of `ip`."""
    parts = take_apart(message)
    assert parts.joined() == message
    for difference in DIFFERENCES[way].get(record["id"], ()):
        changed = difference.change(parts)
        assert changed != parts, f"not a difference any more: {difference.reason}"
        parts = changed
    return parts.joined()


def command(record: dict[str, Any]) -> tuple[list[str], str, list[str]]:
    """The options of a command line, its command, and the words behind that."""
    words = record["argv"][1:]
    options = []
    while words[0].startswith("-"):
        options.append(words[0])
        words = words[1:]
    assert words[:2] == ["xfrm", "policy"]
    return options, words[2] if len(words) > 2 else "list", words[3:]


def why_no_line(record: dict[str, Any]) -> str | None:
    """The key of NO_LINE that says why a command is no line of a batch file; None: it is one."""
    options, name, _ = command(record)
    if name in NO_LINE:
        return name
    return "option" if options else None


def ids(chosen: Iterable[dict[str, Any]]) -> pytest.MarkDecorator:
    """The argument of a test that runs once for each record."""
    return pytest.mark.parametrize("record", [pytest.param(record, id=record["id"]) for record in chosen])


# --- as lines of a batch file -----------------------------------------------------------------------------

LINES = [record for record in REQUESTS if why_no_line(record) is None]


def line_of(record: dict[str, Any]) -> str:
    """The command line as a line of a batch file. No word in the records needs quotes."""
    return " ".join(record["argv"][1:])


def parse(folder: Path, lines: Iterable[str], most: int = 256) -> list[Block | BatchFileError]:
    """What becomes of lines."""
    path = folder / "batch"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    file = BatchFile(path, lambda name: 1 if name == "lo" else 0)
    try:
        return list(file.parse(repeat(most)))
    finally:
        file.close()


@ids(LINES)
def test_parsed(record: dict[str, Any], tmp_path: Path) -> None:
    [result] = parse(tmp_path, [line_of(record)])
    if record["id"] in TOO_MANY_TEMPLATES:
        assert isinstance(result, BatchFileError)
        assert result.reason == "tmpl: more than 6 templates (XFRM_MAX_DEPTH)"
        return
    if record["id"] in WRONG_INDEX:
        assert isinstance(result, BatchFileError)
        assert result.reason == "index: does not match dir: index & 7 must be 0 for in, 1 for out, 2 for fwd"
        return
    [message] = recorded(record)
    assert isinstance(result, Block)
    assert bytes(result.messages).hex() == expected(record, "parsed", message).hex()
    assert (result.count, result.lines) == (1, [1])


def test_parsed_as_one_file(tmp_path: Path) -> None:
    chosen = [record for record in LINES if record["id"] not in TOO_MANY_TEMPLATES | WRONG_INDEX]
    blocks = parse(tmp_path, map(line_of, chosen), most=32)
    whole = b""
    numbers: list[int] = []
    for block in blocks:
        assert isinstance(block, Block)
        whole += block.messages
        numbers += block.lines or []
    assert whole == b"".join(expected(record, "parsed", recorded(record)[0]) for record in chosen)
    assert numbers == list(range(1, len(chosen) + 1))


@ids(record for record in REQUESTS if why_no_line(record) is not None)
def test_no_line(record: dict[str, Any], tmp_path: Path) -> None:
    [result] = parse(tmp_path, [line_of(record)])
    assert isinstance(result, BatchFileError)


# --- decoded and encoded again ----------------------------------------------------------------------------

DUMP = struct.pack("=IHHII", 16, 0x15, 0x301, 0, 0)


@ids(REQUESTS)
def test_decoded(record: dict[str, Any]) -> None:
    changed = 0
    for datagram in recorded(record):
        for message in messages(datagram):
            kind = Message(struct.unpack_from("=H", message, 4)[0])
            value = decode(message)
            if kind in (Message.NEWPOLICY, Message.UPDPOLICY):
                assert isinstance(value, Policy)
                value = Request(kind, value)
            assert isinstance(value, Request)
            assert value.message == kind
            wanted = message if message == DUMP else expected(record, "decoded", message)
            changed += wanted != message
            assert encode(value).hex() == wanted.hex()
    assert bool(changed) == (record["id"] in DIFFERENCES["decoded"])


# --- built from objects -----------------------------------------------------------------------------------

FLAGS = {"localok", "icmp"}
TEMPLATE_WORDS = {"src", "dst", "proto", "spi", "reqid", "mode", "level"}
MESSAGES = {
    "add": Message.NEWPOLICY,
    "update": Message.UPDPOLICY,
    "get": Message.GETPOLICY,
    "delete": Message.DELPOLICY,
}


def template(words: deque[str]) -> Template:
    values: dict[str, Any] = {}
    while words and words[0] in TEMPLATE_WORDS:
        word = words.popleft()
        values[word] = words.popleft()
    return Template(
        values.pop("src", None),
        values.pop("dst", None),
        protocol=values.pop("proto"),
        spi=number(values.pop("spi", "0")),
        reqid=number(values.pop("reqid", "0")),
        **values,
    )


def built(record: dict[str, Any]) -> Request:
    """The request of a command line, made of objects."""
    options, name, rest = command(record)
    if name in ("list", "deleteall"):
        return Request(Message.GETPOLICY)
    words = deque(rest)
    values: dict[str, str] = {}
    fields: dict[str, Any] = {}
    limits: dict[str, int] = {}
    templates: list[Template] = []
    while words:
        word = words.popleft()
        if word == "tmpl":
            templates.append(template(words))
            continue
        value = words.popleft()
        if word == "limit":
            limits[LIMITS[value]] = number(words.popleft())
        elif word == "mark":
            fields["mark"] = mark(value, words)
        elif word == "flag":
            flags = [value]
            while words and words[0] in FLAGS:
                flags.append(words.popleft())
            fields["flags"] = flags if value in FLAGS else number(value)
        elif word == "offload":
            assert (value, words.popleft()) == ("packet", "dev")
            fields["offload"] = Offload(interface(words.popleft()))
        elif word in ("index", "priority", "if_id"):
            fields[word] = number(value)
        elif word in SELECTOR_WORDS:
            values[word] = value
        else:
            keyword = {"dir": "direction", "action": "action", "ctx": "security_context", "ptype": "policy_type"}
            fields[keyword[word]] = value
    if name == "flush":
        kind = fields.get("policy_type")
        return Request(Message.FLUSHPOLICY, PolicyType[kind.upper()] if kind else None)
    family = {(): None, ("-4",): "inet", ("-6",): "inet6"}[tuple(options)]
    if name in ("get", "delete"):
        where = None if "index" in fields else selector(values, family)
        return Request(MESSAGES[name], PolicyId(where, **fields))
    if limits:
        fields["lifetime"] = LifetimeConfig(**limits)
    return Request(MESSAGES[name], Policy(selector(values, family), templates=templates, **fields))


@ids(REQUESTS)
def test_built(record: dict[str, Any]) -> None:
    if record["id"] in TOO_MANY_TEMPLATES:
        with pytest.raises(ValidationError, match="templates, and 6 is the most"):
            built(record)
        return
    if record["id"] in WRONG_INDEX:
        with pytest.raises(ValidationError, match=r"^Policy\.index: \d+ does not match direction (in|out|fwd)"):
            built(record)
        return
    # What `deleteall` sends behind its dump depends on what that found; test_decoded has it.
    message = recorded(record)[0]
    wanted = message if message == DUMP else expected(record, "built", message)
    assert encode(built(record)).hex() == wanted.hex()


# --- what ip refuses --------------------------------------------------------------------------------------

REASONS = {
    "policy-add-bad-dir-refused": "dir: 'sideways' is not in, out or fwd",
    "policy-add-no-dir-refused": "policy: dir is missing",
    "policy-add-opt-offload-crypto-refused": "offload: 'crypto' is not packet, the only offload of policies",
    "policy-add-sel-bad-key-proto-refused": "key: only GRE has keys",
    "policy-add-sel-bad-port-proto-refused": "sport: only TCP, UDP, UDP-Lite, SCTP, DCCP or any protocol has ports",
    "policy-add-sel-bad-type-proto-refused": "type: only ICMP, ICMPv6 and the mobility header have types and codes",
    "policy-add-sel-keyword-any": "src: 'any' is not an IP prefix",
    "policy-add-sel-keyword-default": "src: 'default' is not an IP prefix",
    "policy-add-sel-mixed-refused": "dst: is of another address family than src",
    "policy-add-sel-plen-33-refused": (
        "src: '10.1.0.0/33' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)"
    ),
    "policy-add-tmpl-17-refused": "tmpl: more than 6 templates (XFRM_MAX_DEPTH)",
    "policy-add-tmpl-any": "tmpl src: 'any' is not an IP address",
    "policy-add-tmpl-bad-level-refused": "tmpl level: 'maybe' is not required or use",
    "policy-add-tmpl-no-proto-refused": "tmpl: proto is missing",
    "policy-delete-index-and-sel-refused": "policy delete: needs a selector or an index, one of the two",
    "policy-delete-none-refused": "policy delete: needs a selector or an index, one of the two",
    "policy-flush-bad-refused": "ptype: 'other' is not main or sub",
}
"""What is wrong with each line that `ip` refuses."""

ACCEPTED = {"policy-add-tmpl-iptfs-refused"}
"""Mode iptfs: kernels have it since 6.14, and `ip` has no word for it."""

NOT_A_LINE = {"policy-get-index-and-sel-refused", "policy-get-none-refused"}
"""Get is no line of a batch file here, however it goes on: see NO_LINE."""


@ids(record for record in REFUSED if record["id"] in REASONS)
def test_refused(record: dict[str, Any], tmp_path: Path) -> None:
    [result] = parse(tmp_path, [line_of(record)])
    assert isinstance(result, BatchFileError)
    assert result.reason == REASONS[record["id"]]


@ids(record for record in REFUSED if record["id"] in ACCEPTED)
def test_accepted(record: dict[str, Any], tmp_path: Path) -> None:
    [result] = parse(tmp_path, [line_of(record)])
    assert isinstance(result, Block)
    [(kind, payload)] = take_apart(bytes(result.messages)).attributes
    assert (kind, len(payload), payload[48]) == (TMPL, 64, 5)


@ids(record for record in REFUSED if record["id"] in NOT_A_LINE)
def test_refused_get(record: dict[str, Any], tmp_path: Path) -> None:
    [result] = parse(tmp_path, [line_of(record)])
    assert isinstance(result, BatchFileError)
    assert result.reason == "policy: 'get' is not add, update, delete or flush"
    options, _, words = command(record)
    assert not options
    values = dict(zip(words[::2], words[1::2], strict=True))
    where = Selector(values["src"], values["dst"]) if "src" in values else None
    with pytest.raises(ValidationError, match="needs a selector or an index, one of the two"):
        PolicyId(where, direction=values["dir"], index=int(values.get("index", 0)))


# --- nothing is left out ----------------------------------------------------------------------------------


def test_every_record_is_accounted_for() -> None:
    every = {record["id"] for record in REQUESTS}
    assert len(every) == len(REQUESTS) == 230
    assert sum(len(messages(datagram)) for record in REQUESTS for datagram in recorded(record)) == 258
    unparsed = [why_no_line(record) for record in REQUESTS]
    assert {key: unparsed.count(key) for key in NO_LINE} == {"get": 20, "list": 13, "deleteall": 14, "option": 3}
    assert len(LINES) == unparsed.count(None) == 180
    for table in DIFFERENCES.values():
        assert set(table) <= every
    assert every >= TOO_MANY_TEMPLATES | WRONG_INDEX
    assert {record["id"] for record in REFUSED} == set(REASONS) | ACCEPTED | NOT_A_LINE
    assert len(REFUSED) == len(REASONS) + len(ACCEPTED) + len(NOT_A_LINE) == 20

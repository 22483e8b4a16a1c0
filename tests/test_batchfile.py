# SPDX-License-Identifier: MIT
"""Batch files: what their lines become, wherever the text is cut."""

from __future__ import annotations

import dataclasses
import os
from contextlib import closing
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import policies
from test_codec import check_any, fields_of

from xfrm_ext import (
    BatchFileError,
    LifetimeCurrent,
    Message,
    Policy,
    Selector,
    Share,
    Template,
    batchfile,
    wire,
)
from xfrm_ext.codec import select
from xfrm_ext.rtnl import messages

CODEC = select()
encode = CODEC.encode


LIMITS = [f"{kind}-{end}" for kind in ("byte", "packet", "time", "time-use") for end in ("soft", "hard")]


def line_of(policy: Policy) -> str:
    """A policy as `ip xfrm` would be told, where it can be."""
    selector = policy.selector
    words = ["policy add src", selector.source, "dst", selector.destination, "dir", policy.direction.name.lower()]
    words += ["action", policy.action.name.lower(), "priority", str(policy.priority), "index", hex(policy.index)]
    if selector.protocol:
        words += ["proto", str(selector.protocol)]
    if selector.interface:
        words += ["dev", "lo"]
    if policy.policy_type:
        words += ["ptype sub"]
    for name, flag in (("localok", 1), ("icmp", 2), ("cpu_acquire", 4)):
        if policy.flags & flag:
            words += ["flag", name]
    if policy.mark is not None:
        words += ["mark", hex(policy.mark.value), "mask", str(policy.mark.mask)]
    if policy.if_id is not None:
        words += ["if_id", str(policy.if_id)]
    for name, number in zip(LIMITS, fields_of(policy.lifetime).values(), strict=True):
        words += ["limit", name, str(number)]
    for template in policy.templates:
        words += ["tmpl src", template.source, "dst", template.destination]
        words += ["proto", template.protocol.name.lower().replace("_", "-"), "spi", hex(template.spi)]
        words += ["mode", template.mode.name.lower(), "reqid", str(template.reqid)]
        words += ["level", template.level.name.lower()]
    return " ".join(words)


def expressible(policy: Policy) -> Policy:
    """The policy without what a line has no words for."""
    selector = Selector(
        policy.selector.source,
        policy.selector.destination,
        protocol=policy.selector.protocol,
        interface=1 if policy.selector.interface else 0,
    )
    plain = [
        dataclasses.replace(template, share=Share.ANY, aalgos=2**32 - 1, ealgos=2**32 - 1, calgos=2**32 - 1)
        for template in policy.templates
    ]
    return dataclasses.replace(
        policy,
        selector=selector,
        templates=tuple(plain),
        share=Share.ANY,
        current=LifetimeCurrent(),
        security_context=None,
        offload=None,
        attributes=(),
    )


def parsed(text: bytes, folder: Path, most: int = 256) -> list[batchfile.Block | BatchFileError]:
    path = folder / f"lines-{os.getpid()}"
    path.write_bytes(text)
    file = batchfile.BatchFile(path, lambda name: 1 if name == "lo" else 0)
    try:
        return list(file.parse(repeat(most)))
    finally:
        file.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


@given(policy=policies().map(expressible))
def test_lines_say_the_same_as_objects(policy: Policy, folder: Path) -> None:
    [block] = parsed(line_of(policy).encode(), folder)
    assert isinstance(block, batchfile.Block), block
    assert bytes(block.messages).hex() == encode(policy).hex()


@given(text=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_text_gives_messages_or_errors(text: bytes, folder: Path) -> None:
    for part in parsed(text, folder):
        assert part.reason if isinstance(part, BatchFileError) else part.count == 1


WORDS = (
    b"xfrm policy add update delete flush src dst dir in out fwd tmpl proto esp mode tunnel 10.0.0.0/8 ::1 "
    b"reqid 1 mark mask 0x10 index 8 priority limit byte-soft if_id flag icmp ctx 'a b' dev lo ptype sub # \\\n \n "
    b"sport 80 tcp type key gre action block level use spi offload packet"
).split(b" ")


@given(words=st.lists(st.sampled_from(WORDS), max_size=40))
def test_any_words_give_messages_or_errors(words: list[bytes], folder: Path) -> None:
    for part in parsed(b" ".join(words), folder):
        if isinstance(part, batchfile.Block):
            for message in messages(bytes(part.messages)):
                check_any(message)
            assert part.count == len(part.lines or [])


TEXT = b"""# a comment
xfrm policy add dir in

policy add src 10.0.0.0/8 dst 11.0.0.0/8 \\
    dir out  priority 5 \\
    tmpl src 1.2.3.4 dst 1.2.3.5 proto esp mode tunnel   # and another
policy add src 12.0.0.0/8 dir sideways
x p d dir out ctx 'a label' src 10.0.0.0/8\r
policy add dir fwd src "2001:db8::/32"
policy flush ptype sub"""


@pytest.mark.parametrize("most", [1, 2, 256])
def test_pieces_make_no_difference(most: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the text is cut for reading, the same comes out."""

    def everything() -> list[object]:
        found: list[object] = []
        for part in parsed(TEXT, folder, most):
            if isinstance(part, BatchFileError):
                found.append((part.line, part.reason))
            else:
                found += zip(part.lines or [], wire.message_types(part.messages), strict=True)
        return found

    whole = everything()
    assert whole == [
        (2, Message.NEWPOLICY),
        (4, Message.NEWPOLICY),
        (7, "dir: 'sideways' is not in, out or fwd"),
        (8, Message.DELPOLICY),
        (9, Message.NEWPOLICY),
        (10, Message.FLUSHPOLICY),
    ]
    for size in range(1, len(TEXT) + 2):
        monkeypatch.setattr(batchfile, "_PIECE", size)
        assert everything() == whole


def test_no_text(folder: Path) -> None:
    for text in (b"", b"\n", b"# nothing", b" \t\r\n\n", b"\\\n\n"):
        assert parsed(text, folder) == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_that_go_on(end: str, folder: Path) -> None:
    text = end.join(["# \\", "policy add \\", " dir in pri\\", "ority 5", "policy \\", "\\", "x"])
    block, error = parsed(text.encode(), folder)
    assert isinstance(block, batchfile.Block)
    assert isinstance(error, BatchFileError)
    assert bytes(block.messages) == encode(Policy(direction="in", priority=5))
    # Both are known by the line that they begin in.
    assert block.lines == [2]
    assert (error.line, error.reason) == (5, "policy: 'x' is not add, update, delete or flush")


def test_comments_end_quotes_as_they_do_for_ip(folder: Path) -> None:
    block, error = parsed(b"""policy add dir in ctx "a b" # 'c\npolicy add dir in ctx 'a # b'\n""", folder)
    assert isinstance(block, batchfile.Block)
    assert isinstance(error, BatchFileError)
    assert bytes(block.messages) == encode(Policy(direction="in", security_context="a b"))
    assert (error.line, error.reason) == (2, "line: a quote is not closed")


def test_a_line_without_end_is_not_copied_again_and_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    read = os.preadv

    def counting(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        sizes.append(len(buffers[0]))
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    [error] = parsed(b"x" * (200 * batchfile._PIECE), folder)
    assert isinstance(error, BatchFileError)
    assert len(sizes) < 12


def test_a_file_that_is_written_while_it_is_checked(folder: Path) -> None:
    path = folder / "written"
    path.write_text("policy add dir in dev lo\n")

    def interface_index(name: str) -> int:
        with path.open("a") as file:
            file.write("policy add dir out\n")
        return 1

    file = batchfile.BatchFile(path, interface_index)
    with closing(file), pytest.raises(OSError, match=r"the file is being written.*written"):
        file.check()


PLAIN = (
    "xfrm policy add update delete flush src dst dir in out fwd tmpl proto esp comp mode tunnel 10.0.0.0/8 ::1 "
    "2001:db8::/32 10.1.2.3 reqid 1 4294967295 mark mask 0x10 index 8 priority limit byte-soft if_id flag icmp ctx "
    "a-label dev lo ptype sub x" + "y" * 130
).split(" ")
# No word ends with a backslash: at the end of a line that would continue it.
LINE = st.lists(st.sampled_from(PLAIN) | st.from_regex(r"[!-~]{0,79}[!-\[\]-~]", fullmatch=True), max_size=80)
SPACES = st.integers(0, 70).map(lambda count: " " * count)


@given(words=LINE, before=SPACES, between=SPACES, behind=SPACES)
def test_words_are_told_apart_in_two_ways_that_agree(
    words: list[str], before: str, between: str, behind: str, folder: Path
) -> None:
    """Lines of plain words are split 64 bytes at a time, unless they are short of the end of the text; all others
    byte by byte: a tab is enough."""
    line = (before + (" " + between).join(words) + behind).encode()
    rest = b"#" * 64 + b"\n"
    fast, slow = (parsed(text, folder) for text in (line + b"\n" + rest, line + b"\t\n" + rest))
    assert said(fast) == said(slow) == said(parsed(line, folder))


def said(parts: list[batchfile.Block | BatchFileError]) -> list[tuple[int, str | bytes]]:
    """The lines, and the message or the error of each."""
    found: list[tuple[int, str | bytes]] = []
    for part in parts:
        if isinstance(part, BatchFileError):
            found.append((part.line, part.reason))
        else:
            found += zip(part.lines or (), messages(bytes(part.messages)), strict=True)
    return found


@pytest.mark.parametrize("length", range(40, 200))
def test_lines_of_any_length(length: int, folder: Path) -> None:
    lines = [
        b"policy add dir in ctx " + b"a" * (length - 22),
        b"policy add dir in priority 7" + b" " * (length - 28),
    ]
    parts = parsed(b"\n".join([*lines, lines[0] + b"\\", b"b", *lines]), folder)
    [(_, first), (_, second), (_, third), (_, fourth), (_, fifth)] = said(parts)
    assert (first, second) == (fourth, fifth)
    label = "a" * (length - 22)
    assert first == encode(Policy(direction="in", security_context=label))
    assert second == encode(Policy(direction="in", priority=7))
    assert third == encode(Policy(direction="in", security_context=label + "b"))


def test_lines_that_end_alike(folder: Path) -> None:
    """Templates at the ends of lines are remembered: more of them than there is room for, each told from the
    others, and none of them where the line goes on behind it."""
    ends = [
        f"tmpl src 192.0.2.{a} dst 198.51.100.{b} proto esp reqid {a * b} mode tunnel"
        for a in range(50)
        for b in range(60)
    ]
    lines = [
        f"policy add src 10.0.0.{n} dir out {end}{more}"
        for n in range(2)
        for end in ends
        for more in ("", " priority 5")
    ]
    [*blocks] = parsed(
        "\n".join([*lines, "policy add tmpl proto esp reqid 1 mode tunnel dir out"]).encode(), folder
    )
    expected = [
        encode(
            Policy(
                Selector(f"10.0.0.{n}"),
                direction="out",
                priority=priority,
                templates=[Template(f"192.0.2.{a}", f"198.51.100.{b}", reqid=a * b, mode="tunnel")],
            )
        )
        for n in range(2)
        for a in range(50)
        for b in range(60)
        for priority in (0, 5)
    ]
    expected.append(encode(Policy(direction="out", templates=[Template(reqid=1, mode="tunnel")])))
    assert [message for _, message in said(blocks)] == expected


def test_a_wrong_template_is_wrong_each_time(folder: Path) -> None:
    line = b"policy add dir out tmpl src 192.0.2.1 dst 198.51.100.1 mode tunnel\n"
    assert said(parsed(line * 3, folder)) == [(number, "tmpl: proto is missing") for number in (1, 2, 3)]


def test_long_lines(folder: Path) -> None:
    [error] = parsed(b"policy add dir in " + b"x" * 3_000_000, folder)
    assert isinstance(error, BatchFileError)
    assert error.reason == f"policy: '{'x' * 64}...' is not known here"
    [error] = parsed(b"policy add dir in\\\n" * 2000 + b"\n", folder)
    assert isinstance(error, BatchFileError)
    assert error.reason == "line: longer than 16384 bytes with its continuations"
    [error] = parsed(b"policy add dir in " + b"src ::/0 " * 200, folder)
    assert isinstance(error, BatchFileError)
    assert error.reason == "line: more than 256 words"

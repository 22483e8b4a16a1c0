# SPDX-License-Identifier: MIT
"""`xfrm explain`: its words and what it prints, on policies in the real kernel. Its answers about states are
compared with what packets do in tests/guest/test_cli_look.py."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from by_schema import is_valid

from xfrm_ext import Mark, Policy, Selector, Session, Template, ValidationError
from xfrm_ext.cli import explain
from xfrm_ext.cli.context import Context
from xfrm_ext.errors import CommandError

WORDS = ["src", "10.1.0.1", "dst", "10.2.0.1"]
NETS = Selector("10.1.0.0/16", "10.2.0.0/16")


def explained(context: Context, *words: str) -> list[str]:
    """The lines that it prints."""
    context.out = io.StringIO()
    assert explain.run([*WORDS, *words], context) == 0
    return context.out.getvalue().splitlines()


def as_json(context: Context, *words: str) -> dict[str, Any]:
    context.json = True
    document: dict[str, Any] = json.loads("\n".join(explained(context, *words)))
    is_valid(document)
    return document


def test_no_policy(context: Context, session: Session) -> None:
    assert explained(context) == [
        "packet 10.1.0.1 -> 10.2.0.1, out",
        "├─ no policy matches",
        "└─ passes as it is: no policy matches, and the default is to accept",
    ]
    session.spd.set_defaults(output="block")
    assert "the default is to block" in explained(context)[-1]


def test_policies_in_the_order_of_lookup(context: Context, session: Session) -> None:
    session.spd.add(Policy(NETS, direction="out", priority=7))
    session.spd.add(Policy(Selector("10.1.0.0/16"), direction="out", priority=3, action="block"))
    session.spd.add(Policy(Selector("10.1.0.0/16"), direction="in", priority=1))
    assert explained(context) == [
        "packet 10.1.0.1 -> 10.2.0.1, out",
        "├─ applies: out 10.1.0.0/16 -> 0.0.0.0/0 priority 3 index 9 block",
        "├─ matches, behind: out 10.1.0.0/16 -> 10.2.0.0/16 priority 7 index 1",
        "└─ blocked by a policy (XfrmOutPolBlock)",
    ]
    assert explained(context, "dir", "in")[1] == "├─ applies: in 10.1.0.0/16 -> 0.0.0.0/0 priority 1 index 16"


def test_what_almost_matches(context: Context, session: Session) -> None:
    udp = Selector("10.1.0.0/16", protocol="udp", destination_port=53)
    session.spd.add(Policy(udp, direction="out"))
    session.spd.add(Policy(udp, direction="out", mark=Mark(5, 15)))
    session.spd.add(Policy(Selector("10.7.0.0/16"), direction="out", mark=Mark(5)))
    lines = explained(context, "proto", "udp", "dport", "54", "--all")
    assert lines[2] == (
        "├─ almost: out 10.1.0.0/16 -> 0.0.0.0/0 udp dport 53 priority 0 index 1: destination port 54 is not 53"
    )
    assert len([line for line in lines if "almost" in line]) == 1
    assert not [line for line in explained(context, "proto", "udp", "dport", "54") if "almost" in line]
    lines = explained(context, "proto", "udp", "dport", "53", "mark", "4", "--all")
    assert "applies: out 10.1.0.0/16 -> 0.0.0.0/0 udp dport 53 priority 0 index 1" in lines[1]
    assert lines[2].endswith("mark 0x5/0xf priority 0 index 9: mark 0x4 does not match 0x5/0xf")


def test_a_template_without_a_state(context: Context, session: Session) -> None:
    tunnel = Template("192.0.2.1", "192.0.2.2", mode="tunnel", reqid=4)
    session.spd.add(Policy(NETS, direction="out", templates=tunnel))
    lines = explained(context)
    assert lines[2] == "│  └─ template esp 192.0.2.1 -> 192.0.2.2 tunnel reqid 4"
    assert "ACQUIRE" in lines[3]
    assert lines[-1].startswith("└─ dropped: no SA")
    session.spd.update(Policy(NETS, direction="out", templates=Template(level="use")))
    lines = explained(context)
    assert lines[3] == "│     └─ no SA, and none is needed (level use)"
    assert lines[-1] == "└─ leaves as it is: its policy asks for no SA that there is"


def test_more_templates_than_the_kernel_follows(context: Context, session: Session) -> None:
    session.spd.add(Policy(NETS, direction="out", templates=[Template(reqid=number) for number in range(6)]))
    assert explained(context)[-1] == "└─ dropped: the kernel follows at most 5 templates together (XfrmOutPolError)"


def test_sub_policies(context: Context, session: Session) -> None:
    session.spd.add(Policy(NETS, direction="out", priority=1))
    session.spd.add(Policy(NETS, direction="out", priority=9, policy_type="sub"))
    lines = explained(context)
    assert ["applies: " in line for line in lines] == [False, True, True, False]
    assert "ptype sub" in lines[1]
    assert len(explained(context, "ptype", "main")) == 3


def test_interfaces_by_name(context: Context, session: Session) -> None:
    session.spd.add(Policy(Selector(interface=1), direction="out"))
    lines = explained(context, "dev", "lo")
    assert lines[0] == "packet 10.1.0.1 -> 10.2.0.1 dev lo, out"
    assert lines[1] == "├─ applies: out 0.0.0.0/0 -> 0.0.0.0/0 dev lo priority 0 index 1"
    assert explained(context)[1] == "├─ no policy matches"


def test_json(context: Context, session: Session) -> None:
    session.spd.add(Policy(NETS, direction="out", templates=Template(reqid=2)))
    session.spd.add(Policy(Selector("10.9.0.0/16"), direction="out"))
    document = as_json(context, "proto", "udp", "sport", "7", "mark", "0x10", "--all")
    assert document["kind"] == "explanation"
    assert document["packet"]["protocol"] == "udp"
    assert document["packet"]["mark"] == 16
    assert document["result"] == "drop"
    [policy] = document["policies"]
    assert policy["applies"]
    assert policy["policy"]["selector"]["source"] == "10.1.0.0/16"
    assert policy["templates"] == [
        {"states": [], "trouble": document["text"].removeprefix("dropped: "), "refused": []}
    ]
    assert [one["reason"] for one in document["almost"]] == ["source 10.1.0.1 is not in 10.9.0.0/16"]
    packet = as_json(context, "proto", "200", "dev", "lo", "cpu", "1", "dir", "in")["packet"]
    assert (packet["protocol"], packet["interface"], packet["interface_name"]) == (200, 1, "lo")
    assert as_json(context, "proto", "0x11")["packet"]["protocol"] == "udp"
    packet = as_json(context, "proto", "icmp", "type", "8", "dir", "fwd")["packet"]
    assert (packet["icmp_type"], packet["icmp_code"], packet["interface_name"]) == (8, None, None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["src", "10.1.0.1"], "needs dst ADDRESS"),
        (["src", "10.1.0.1", "dst"], "dst: is missing"),
        ([*WORDS, "sport", "65536"], "sport: '65536' is not a number"),
        ([*WORDS, "mark", "-1"], "mark: "),
        ([*WORDS, "colour", "red"], "'colour' is not a word of a packet"),
        ([*WORDS, "dir", "up"], "dir: 'up' is not one of in, out, fwd"),
        ([*WORDS, "ptype", "any"], "ptype: "),
        ([*WORDS, "src", "10.0.0.1"], "src: is given twice"),
        ([*WORDS, "dir", "out", "dir", "in"], "dir: is given twice"),
        ([*WORDS, "ptype", "sub", "ptype", "sub"], "ptype: is given twice"),
        ([*WORDS, "--all", "--all"], "--all: is given twice"),
        ([*WORDS, "dev", "nowhere"], "dev: "),
    ],
)
def test_words_that_are_wrong(context: Context, words: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        explain.run(words, context)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["src", "x", "dst", "10.2.0.1"], "'x' is not an IP address"),
        (["src", "10.1.0.1", "dst", "2001:db8::1"], "family"),
        ([*WORDS, "dport", "5"], "has ports"),
        ([*WORDS, "proto", "tcp", "type", "5"], "icmp_type"),
        ([*WORDS, "proto", "nothing"], "'nothing' is not the name of an IP protocol"),
        ([*WORDS, "proto", "9" * 5000], "is not the name of an IP protocol"),
        ([*WORDS, "proto", "256"], "'256' is not the name of an IP protocol"),
    ],
)
def test_packets_that_are_none(context: Context, words: list[str], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        explain.run(words, context)


def test_it_works_without_rich(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("rich", "rich.console", "rich.tree", "rich.text"):
        monkeypatch.setitem(sys.modules, name, None)
    context.out = Terminal()
    assert explain.run(WORDS, context) == 0
    assert "└─ passes as it is" in context.out.getvalue()


def test_plain_letters_where_the_output_has_no_others(context: Context) -> None:
    context.out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert explain.run(WORDS, context) == 0
    context.out.flush()
    assert isinstance(context.out.buffer, io.BytesIO)
    assert b"`- passes as it is" in context.out.buffer.getvalue()

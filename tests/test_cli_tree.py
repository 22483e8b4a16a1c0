# SPDX-License-Identifier: MIT
"""`xfrm tree`: what is joined, on values; what is printed, on policies in the real kernel."""

from __future__ import annotations

import fcntl
import io
import json
import random
import re
import socket
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from by_schema import is_valid

from xfrm_ext import AeadAlgorithm, Policy, Selector, Session, State, Template
from xfrm_ext.cli import explain, outline, tree
from xfrm_ext.cli.context import Context
from xfrm_ext.cli.outline import GOOD, Node, NoRich, check_picture
from xfrm_ext.errors import CommandError
from xfrm_ext.lookup import serves
from xfrm_ext.testing import inside

NEAR, FAR = "192.0.2.1", "198.51.100.2"
RICH = "https://www.textualize.io"
"""Named in a comment of its pictures."""
SECRET = bytes(range(100, 120))


def state(spi: int, source: str = NEAR, destination: str = FAR, **options: Any) -> State:
    given = {"mode": "tunnel", "reqid": 1, "aead": AeadAlgorithm("rfc4106(gcm(aes))", SECRET)}
    return State(source, destination, spi=spi, **{**given, **options})


def tunnel(source: str, destination: str, reqid: int = 1, **options: Any) -> Template:
    return Template(source, destination, mode="tunnel", reqid=reqid, **options)


def name(index: int) -> str:
    return f'dev"{index}\\'


STATES = [
    state(0x1001, direction="out"),
    state(0x1002, FAR, NEAR, direction="in"),
    state(0x1003, reqid=9),
    state(0x1004, mode="transport", source="10.1.0.5", destination="10.2.0.5", reqid=0),
]
POLICIES = [  # the newest first
    Policy(Selector("10.0.0.0/8", "10.2.0.0/16"), direction="out", priority=9, templates=Template()),
    Policy(Selector("10.2.0.0/16", "10.1.0.0/16"), direction="in", templates=tunnel(FAR, NEAR)),
    Policy(Selector("10.1.0.0/16", "10.2.0.0/16"), direction="out", templates=tunnel(NEAR, FAR)),
    Policy(Selector(interface=7), direction="fwd", templates=(tunnel(NEAR, FAR, 5), tunnel(FAR, NEAR, 0))),
]


def test_what_is_joined() -> None:
    joined = tree.Joined(POLICIES, STATES)
    assert [(one.direction.name, one.priority) for one in joined.policies] == [
        ("OUT", 0),
        ("OUT", 9),
        ("IN", 0),
        ("FWD", 0),
    ]
    assert joined.found == [[[0]], [[3]], [[1]], [[], [1]]]  # a reqid of 0 is any, when a packet came in
    assert joined.unused == [2]


def test_a_dot_graph() -> None:
    lines = list(tree.dot(tree.Joined(POLICIES, STATES), name))
    assert lines[0] == "digraph xfrm {"
    assert lines[-1] == "}"
    node = re.compile(r'  (\w+) \[shape=\w+(?:, style=\w+)?, label="((?:[^"\\]|\\.)*)"\];')
    nodes = {found[1]: found[2] for line in lines if (found := node.fullmatch(line))}
    edges = [re.fullmatch(r"  (\w+) -> (\w+);", line) for line in lines if " -> " in line and "label" not in line]
    assert len(nodes) + len(edges) + 3 == len(lines)  # each line is one of them
    assert {end for edge in edges if edge for end in edge.groups()} <= set(nodes)
    assert r"dev dev\"7\\ " in nodes["p3"]
    assert "s2" in nodes  # an orphan
    assert not [edge for edge in edges if edge and edge[2] == "s2"]
    assert [edge[1] for edge in edges if edge and edge[2] == "s1"] == ["t2_0", "t3_1"]


def test_a_mermaid_flowchart() -> None:
    lines = list(tree.mermaid(tree.Joined(POLICIES, STATES), name))
    assert lines[0] == "flowchart LR"
    node = re.compile(r'  (\w+)(?:\["([^"<>]*)"\]|\(\["([^"<>]*)"\]\))(:::alone)?')
    nodes = {found[1]: found for line in lines if (found := node.fullmatch(line))}
    edges = [re.fullmatch(r"  (\w+) --> (\w+)", line) for line in lines if " --> " in line]
    assert len(nodes) + len(edges) + 2 == len(lines)
    assert "dev dev#quot;7\\ " in nodes["p3"][2]
    assert nodes["s2"][4] == ":::alone"
    assert nodes["s1"][4] is None


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("mode", ["tunnel", "beet", "transport"])
def test_joining_many_with_one_reqid_compares_few(
    direction: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300
    there, here = [f"10.0.{number >> 8}.{number & 255}" for number in range(count)], "192.0.2.1"
    ends = [(here, one) if direction == "out" else (one, here) for one in there]
    states = [state(number + 1, *pair, mode=mode) for number, pair in enumerate(ends)]
    policies = [
        Policy(
            Selector(*pair),
            direction=direction,
            templates=Template(*(pair if mode != "transport" else ()), mode=mode, reqid=1),
        )
        for pair in ends
    ]
    compared = 0

    def counting(*values: Any) -> bool:
        nonlocal compared
        compared += 1
        return serves(*values)

    monkeypatch.setattr(tree, "serves", counting)
    joined = tree.Joined(policies[::-1], states)
    assert joined.found == [[[number]] for number in range(count)]
    assert compared == count


def test_what_is_joined_is_what_serves() -> None:
    """Looking a few states up finds the same as comparing all."""
    chance = random.Random(1)
    ends = ((NEAR, FAR, "0.0.0.0"), ("2001:db8::1", "2001:db8::2", "::"))

    def some(**options: Any) -> dict[str, Any]:
        return {"mode": chance.choice(["tunnel", "beet", "transport"]), "reqid": chance.choice([0, 1]), **options}

    def pair(family: int) -> list[str]:
        return [chance.choice(ends[family]) for _ in range(2)]

    for _ in range(20):
        states = [state(spi, *pair(spi % 2), **some(direction=None)) for spi in range(1, 40)]
        policies = []
        for _ in range(40):
            prefixes = chance.choice((pair(0), pair(1), ["2001:db8::/32"], ["192.0.2.0/24"], []))
            selector = Selector(*prefixes)
            template = Template(*pair(0), **some())
            policies.append(Policy(selector, direction=chance.choice(["in", "out", "fwd"]), templates=template))
        joined = tree.Joined(policies, states)
        assert joined.found == [
            [[number for number, one in enumerate(states) if serves(one, policy.templates[0], policy)]]
            for policy in joined.policies
        ]
        assert sum(len(found) for [found] in joined.found) > 20


def printed(context: Context, *words: str) -> str:
    context.out = io.StringIO()
    assert tree.run(list(words), context) == 0
    return context.out.getvalue()


def test_nothing(context: Context) -> None:
    assert printed(context) == "neither policies nor SAs\n"


def test_text(context: Context, session: Session) -> None:
    session.spd.add(POLICIES[2])
    session.spd.add(Policy(direction="in", action="block"))
    assert printed(context).splitlines() == [
        "policies out",
        "└─ out 10.1.0.0/16 -> 10.2.0.0/16 priority 0 index 1",
        "   └─ template esp 192.0.2.1 -> 198.51.100.2 tunnel reqid 1",
        "      └─ no SA",
        "policies in",
        "└─ in 0.0.0.0/0 -> 0.0.0.0/0 priority 0 index 8 block",
    ]


def rename(namespace: int, name: bytes) -> None:
    """Gives the loopback device another name (SIOCSIFNAME, struct ifreq)."""
    with inside(namespace), socket.socket() as made:
        before = socket.if_indextoname(1).encode("utf-8", "surrogateescape")
        fcntl.ioctl(made, 0x8923, before.ljust(16, b"\0") + name.ljust(16, b"\0"))


@pytest.mark.parametrize(
    ("name", "shown"), [(b"l\x1b[31m[b]", r"l\x1b[31m[b]"), (b"l\xff<&", r"l\xff<&"), (b"l\xc2\x9b", r"l\x9b")]
)
def test_names_of_interfaces_command_no_terminal(
    context: Context, session: Session, namespace: int, tmp_path: Path, name: bytes, shown: str
) -> None:
    session.spd.add(Policy(Selector("10.1.0.0/16", interface=1), direction="out"))
    rename(namespace, name)
    assert f" dev {shown} priority" in printed(context)
    assert shown.replace("\\", "\\\\") in printed(context, "--dot")
    assert shown.replace("<&", "#lt;#amp;") in printed(context, "--mermaid")
    path = tmp_path / "tree.svg"
    printed(context, "--export-svg", str(path))
    texts = "".join(ElementTree.parse(path).getroot().itertext()).replace("\xa0", " ")
    assert f" dev {shown} priority" in texts
    context.out = io.StringIO()
    packet = ["src", "10.1.0.1", "dst", "10.2.0.1", "dev", name.decode("utf-8", "surrogateescape")]
    assert explain.run(packet, context) == 0
    assert context.out.getvalue().count(f" dev {shown}") == 2
    assert context.out.getvalue().replace("\n", "").isprintable()


def test_letters_that_the_output_does_not_have(context: Context, session: Session, namespace: int) -> None:
    session.spd.add(Policy(Selector(interface=1), direction="out"))
    rename(namespace, "łó".encode())
    for words in ([], ["--dot"], ["--mermaid"]):
        context.out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
        assert tree.run(words, context) == 0
        context.out.flush()
        assert isinstance(context.out.buffer, io.BytesIO)
        assert rb"\u0142" in context.out.buffer.getvalue()


def test_json(context: Context, session: Session) -> None:
    session.spd.load(POLICIES[:3])
    context.json = True
    document = json.loads(printed(context))
    is_valid(document)
    assert [one["policy"]["direction"] for one in document["policies"]] == ["out", "out", "in"]
    assert [one["templates"] for one in document["policies"]] == [[{"states": []}]] * 3
    assert (document["states"], document["unused"]) == ([], [])


def test_no_key_is_shown() -> None:
    joined = tree.Joined(POLICIES, STATES)
    roots = tree._trees(joined, name)
    texts = [repr(joined), *tree.dot(joined, name), *tree.mermaid(joined, name)]
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        texts.append(node.text)
        waiting += node.children
    for text in texts:
        assert SECRET.hex()[:12] not in text
        assert str(SECRET) not in text


def test_a_larval_state_is_said_to_be_one() -> None:
    joined = tree.Joined([], [State(NEAR, FAR, spi=0, mode="tunnel")])
    [root] = tree._trees(joined, name)
    assert root.children[0].text.endswith("(larval: waits for its keys)")


def test_a_picture(context: Context, session: Session, tmp_path: Path) -> None:
    session.spd.add(POLICIES[2])
    path = tmp_path / "tree.svg"
    assert printed(context, "--export-svg", str(path)) == ""
    assert path.read_text().startswith("<svg")
    assert "198.51.100.2" in path.read_text()
    named = set(re.findall(r"https?://[^\"'\s]*", path.read_text()))
    assert named <= {"http://www.w3.org/2000/svg", RICH}  # no fonts


def test_a_picture_needs_rich(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rich", "rich.console"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NoRich, match=r"pip install 'xfrm-ext\[cli\]'"):
        tree.run(["--export-svg", str(tmp_path / "tree.svg")], context)


def test_a_picture_that_cannot_be_written_is_said_first(tmp_path: Path) -> None:
    context = Context(io.StringIO(), io.StringIO())
    with pytest.raises(OSError, match="nowhere"):
        tree.run(["--export-svg", str(tmp_path / "nowhere" / "tree.svg")], context)
    assert context._session is None
    check_picture(str(tmp_path / "tree.svg"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--dot"], ["--mermaid"], ["--export-svg", "tree.svg"]])
def test_forms_that_json_has_not(words: list[str]) -> None:
    context = Context(io.StringIO(), io.StringIO())
    context.json = True
    with pytest.raises(CommandError, match=f"{words[0]}: does not go together with -j"):
        tree.run(words, context)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_many_nodes_are_not_left_to_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(outline, "_rich", lambda root: pytest.fail("takes half a second for each thousand"))
    root = Node("root", "bold", [Node(f"[node] {number}", GOOD) for number in range(5000)])
    outline.show([root], out := Terminal())
    lines = out.getvalue().splitlines()
    assert lines[1] == "├─ \x1b[32m[node] 0\x1b[0m"
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in lines] == list(outline.lines(root))
    monkeypatch.setenv("NO_COLOR", "1")
    outline.show([root], out := Terminal())
    assert out.getvalue().splitlines() == list(outline.lines(root))


def test_colours_on_a_terminal(context: Context, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    session.spd.add(POLICIES[2])
    context.out = Terminal()
    assert tree.run([], context) == 0
    assert "\x1b[" in context.out.getvalue()

# SPDX-License-Identifier: MIT
"""`xfrm tree`: what is joined, on values; what is printed, on policies in the real kernel."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xfrm_ext import AeadAlgorithm, Policy, Selector, Session, State, Template
from xfrm_ext.cli import tree
from xfrm_ext.cli.context import Context
from xfrm_ext.cli.outline import NoRich
from xfrm_ext.testing import inside

NEAR, FAR = "192.0.2.1", "198.51.100.2"
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


@pytest.fixture
def context(namespace: int) -> Iterator[Context]:
    made = Context(io.StringIO(), io.StringIO())
    with inside(namespace):
        made.session()
        made.handle()
        yield made
    made.close()


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


def test_json(context: Context, session: Session) -> None:
    session.spd.load(POLICIES[:3])
    context.json = True
    document = json.loads(printed(context))
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


def test_a_picture_needs_rich(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rich", "rich.console"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NoRich, match=r"pip install 'xfrm-ext\[cli\]'"):
        tree.run(["--export-svg", str(tmp_path / "tree.svg")], context)


def test_colours_on_a_terminal(context: Context, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    session.spd.add(POLICIES[2])
    context.out = Terminal()
    assert tree.run([], context) == 0
    assert "\x1b[" in context.out.getvalue()

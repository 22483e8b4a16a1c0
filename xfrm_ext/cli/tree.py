# SPDX-License-Identifier: MIT
"""`xfrm tree`: policies, their templates, and the states that these find. See docs/look.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from xfrm_ext.cli.outline import (
    BAD,
    SECONDARY,
    WARNING,
    Node,
    check_picture,
    export_svg,
    policy_text,
    show,
    state_text,
    template_text,
    write_line,
)
from xfrm_ext.constants import Action, Direction, Level
from xfrm_ext.iproute2.words import wrong
from xfrm_ext.lookup import OUTER, in_order, larval, serves
from xfrm_ext.policy import Policy
from xfrm_ext.state import State
from xfrm_ext.template import Template

if TYPE_CHECKING:
    from argparse import Namespace

    from xfrm_ext.cli.context import Context
    from xfrm_ext.cli.outline import InterfaceName

_DIRECTIONS = {
    Direction.OUT: "out",
    Direction.IN: "in",
    Direction.FWD: "fwd",
    Direction(4): "out, of sockets",
    Direction(3): "in, of sockets",
}


_ANY = ("0.0.0.0", "::")


class _Index:
    """States by what templates ask for."""

    def __init__(self, states: list[State]) -> None:
        self._states = states
        self._by: dict[tuple[str, ...], defaultdict[Any, list[int]]] = {}

    def near(self, template: Template, policy: Policy) -> list[int]:
        """The numbers of all states that a template of the policy may find, and of few others, in their order."""
        leaves = policy.direction % 3 == Direction.OUT  # those of sockets are 3 more
        wanted: dict[str, tuple[Any, ...]] = {"protocol": (template.protocol,), "mode": (template.mode,)}
        if leaves or template.reqid:
            wanted["reqid"] = (template.reqid,)
        if template.mode in OUTER:
            if template.source not in _ANY:
                wanted["source"] = (template.source, *_ANY)
            if leaves:
                wanted["destination"] = (template.destination,)
        else:  # its addresses are the packet's, of which a selector may leave but one
            for end in ("source", "destination"):
                address, _, length = getattr(policy.selector, end).partition("/")
                if length == ("128" if ":" in address else "32"):
                    wanted[end] = (address, *_ANY)
        index = self._index(tuple(wanted))
        return sorted({number for key in product(*wanted.values()) for number in index.get(key, ())})

    def _index(self, names: tuple[str, ...]) -> defaultdict[Any, list[int]]:
        """The numbers of states by these of their values."""
        found = self._by.get(names)
        if found is None:
            found = self._by[names] = defaultdict(list)
            values = attrgetter(*names)
            for number, state in enumerate(self._states):
                found[values(state)].append(number)
        return found


class Joined:
    """Policies and states, and which template finds which state."""

    def __init__(self, policies: list[Policy], states: list[State]) -> None:
        """Both in the order of a dump."""
        self.states = states
        self.policies = [policy for direction in _DIRECTIONS for policy in in_order(policies, direction)]
        index = _Index(states)
        self.found = [[self._find(one, policy, index) for one in policy.templates] for policy in self.policies]
        used = {number for several in self.found for found in several for number in found}
        self.unused = [number for number in range(len(states)) if number not in used]

    def _find(self, template: Template, policy: Policy, index: _Index) -> list[int]:
        """The numbers of the states that a template of the policy may find."""
        return [number for number in index.near(template, policy) if serves(self.states[number], template, policy)]


def _state_line(state: State) -> str:
    return f"{state_text(state)} (larval: waits for its keys)" if larval(state) else state_text(state)


def _trees(joined: Joined, name: InterfaceName) -> list[Node]:
    roots = {direction: Node(f"policies {text}", "bold") for direction, text in _DIRECTIONS.items()}
    for policy, found in zip(joined.policies, joined.found, strict=True):
        node = roots[policy.direction].add(policy_text(policy, name), "" if policy.action == Action.ALLOW else BAD)
        for template, numbers in zip(policy.templates, found, strict=True):
            child = node.add(f"template {template_text(template)}", "cyan")
            for number in numbers:
                child.add(_state_line(joined.states[number]), "green")
            if not numbers:
                child.add("no SA", SECONDARY if template.level == Level.USE else WARNING)
    trees = [root for root in roots.values() if root.children]
    if joined.unused:
        orphans = Node("SAs that no policy uses", "bold")
        for number in joined.unused:
            orphans.add(_state_line(joined.states[number]), WARNING)
        trees.append(orphans)
    return trees or [Node("neither policies nor SAs")]


# --- graphs -----------------------------------------------------------------------------------------------------


def _graph(joined: Joined, name: InterfaceName) -> Iterator[tuple[str, str, str, str]]:
    """The nodes of a graph, and the edge to each: its name, its kind, its text, and the name of what it hangs on.
    A state that several templates find comes once for each."""
    seen: set[int] = set()
    for row, (policy, found) in enumerate(zip(joined.policies, joined.found, strict=True)):
        yield f"p{row}", "policy", policy_text(policy, name), ""
        for column, (template, numbers) in enumerate(zip(policy.templates, found, strict=True)):
            own = f"t{row}_{column}"
            yield own, "template" if numbers else "alone", template_text(template), f"p{row}"
            for number in numbers:
                seen.add(number)
                yield f"s{number}", "state", _state_line(joined.states[number]), own
    for number in joined.unused:
        yield f"s{number}", "alone", _state_line(joined.states[number]), ""


_DOT = {
    "policy": "shape=box",
    "template": "shape=box, style=rounded",
    "state": "shape=ellipse",
    "alone": "shape=box, style=dashed",
}


def dot(joined: Joined, name: InterfaceName) -> Iterator[str]:
    """The lines of a graph for Graphviz."""
    yield "digraph xfrm {"
    yield "  rankdir=LR;"
    done: set[str] = set()
    for own, kind, text, parent in _graph(joined, name):
        if own not in done:
            done.add(own)
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            yield f'  {own} [{_DOT[kind]}, label="{escaped}"];'
        if parent:
            yield f"  {parent} -> {own};"
    yield "}"


_ENTITIES = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;"})


def mermaid(joined: Joined, name: InterfaceName) -> Iterator[str]:
    """The lines of a flowchart for Mermaid."""
    yield "flowchart LR"
    yield "  classDef alone stroke-dasharray: 5 5"
    done: set[str] = set()
    for own, kind, text, parent in _graph(joined, name):
        if own not in done:
            done.add(own)
            left, right = ('(["', '"])') if kind == "state" else ('["', '"]')
            yield f"  {own}{left}{text.translate(_ENTITIES)}{right}" + (":::alone" if kind == "alone" else "")
        if parent:
            yield f"  {parent} --> {own}"


# --- the command ------------------------------------------------------------------------------------------------


def _document(joined: Joined, context: Context) -> dict[str, Any]:
    from xfrm_ext.documents import to_document

    return {
        "kind": "tree",
        "policies": [
            {
                "policy": to_document(policy, interface_name=context.interface_name),
                "templates": [{"states": numbers} for numbers in found],
            }
            for policy, found in zip(joined.policies, joined.found, strict=True)
        ],
        "states": [to_document(state, interface_name=context.interface_name) for state in joined.states],
        "unused": joined.unused,
    }


def _options(words: list[str]) -> Namespace:
    from xfrm_ext.cli.arguments import Arguments

    parser = Arguments(
        "tree",
        "Policies, their templates, and the states that these find, as a tree or a picture.",
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--dot", action="store_true", help="a graph for Graphviz")
    forms.add_argument("--mermaid", action="store_true", help="a flowchart for Mermaid")
    forms.add_argument("--export-svg", metavar="FILE", help="a picture of the terminal; needs rich")
    return parser.parse_args(words)


def run(words: list[str], context: Context) -> int:
    """`xfrm tree` with these words. Returns 0."""
    options = _options(words)
    form = next((name for name in ("dot", "mermaid", "export_svg") if getattr(options, name)), None)
    if context.json and form is not None:
        raise wrong(f"--{form.replace('_', '-')}", None, "does not go together with -j")
    if options.export_svg:
        check_picture(options.export_svg)
    session = context.session()
    joined = Joined(list(session.spd.dump()), list(session.sad.dump()))
    if options.dot or options.mermaid:
        for line in (dot if options.dot else mermaid)(joined, context.interface_name):
            write_line(line, context.out)
    elif options.export_svg:
        export_svg(list(_trees(joined, context.interface_name)), options.export_svg, "xfrm tree")
    elif context.json:
        from xfrm_ext.documents import line as json_line

        context.out.write(json_line(_document(joined, context), pretty=context.pretty))
    else:
        show(_trees(joined, context.interface_name), context.out)
    return 0

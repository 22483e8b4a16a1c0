# SPDX-License-Identifier: MIT
"""Trees of lines: what `xfrm tree` and `xfrm explain` print, and the one line for a policy, a template and a state.

No line has a key in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from xfrm_ext.constants import Action, Level, PolicyType
from xfrm_ext.documents.forms import word
from xfrm_ext.errors import XfrmError
from xfrm_ext.lookup import protocol_text
from xfrm_ext.mark import Mark
from xfrm_ext.policy import Policy
from xfrm_ext.selector import Selector
from xfrm_ext.state import State
from xfrm_ext.template import Template

InterfaceName = Callable[[int], str]
_ANYWHERE = ("0.0.0.0", "::")
_BRANCHES = {"├─ ": "|- ", "└─ ": "`- ", "│  ": "|  "}
GOOD, BAD, WARNING, SECONDARY = "green", "red", "yellow", "dim"
_MANY = 2000  # nodes, from which on rich, which takes half a millisecond for each, only gives the colours


class NoRich(XfrmError):
    """What was asked for needs rich."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs rich: pip install 'xfrm-ext[cli]'")


class Node:
    """A line, and those under it."""

    __slots__ = ("children", "style", "text")

    def __init__(self, text: str, style: str = "", children: Iterable[Node] = ()) -> None:
        self.text = text
        self.style = style
        """Of rich: a colour, or dim."""
        self.children = list(children)

    def add(self, text: str, style: str = "") -> Node:
        """Puts a line under it, behind those that are there."""
        child = Node(text, style)
        self.children.append(child)
        return child


def show(roots: list[Node], out: TextIO) -> None:
    """Prints trees, with colours on a terminal where there is rich."""
    coloured: Callable[[Node], str] = _text
    if out.isatty():
        try:
            from rich.console import Console
        except ModuleNotFoundError:
            pass
        else:
            console = Console(file=out, highlight=False)
            if encodable(out) and sum(map(_size, roots)) < _MANY:
                for root in roots:
                    console.print(_rich(root))
                return
            if console.color_system is not None and not console.no_color:
                coloured = _coloured
    plain = not encodable(out)
    for root in roots:
        for branches, node in _lines(root):
            write_line((_ascii(branches) if plain else branches) + coloured(node), out)


def lines(root: Node) -> Iterator[str]:
    """The lines of a tree as text."""
    for branches, node in _lines(root):
        yield branches + node.text


def _lines(root: Node) -> Iterator[tuple[str, Node]]:
    """The nodes of a tree, each with the branches in front of it."""
    yield "", root
    for number, child in enumerate(root.children, 1):
        first, rest = ("└─ ", "   ") if number == len(root.children) else ("├─ ", "│  ")
        for position, (branches, node) in enumerate(_lines(child)):
            yield (rest if position else first) + branches, node


def _size(root: Node) -> int:
    """How many nodes a tree has."""
    return 1 + sum(map(_size, root.children))


def encodable(out: TextIO, text: str = "".join(_BRANCHES)) -> bool:
    """Whether a stream's encoding has all letters of a text."""
    try:
        text.encode(getattr(out, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True


def write_line(line: str, out: TextIO) -> None:
    """Writes a line; letters that the stream's encoding does not have as \\xe9."""
    if not encodable(out, line):
        line = line.encode("ascii", "backslashreplace").decode("ascii")
    out.write(f"{line}\n")


def printable(text: str) -> str:
    """A text that others made up, with what could command a terminal, break a line or a file, or is no text at all,
    as Python writes it: \\x1b. Names of interfaces may hold all bytes but a few."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1].replace("\\udc", "\\x", 1) for one in text)


def _text(node: Node) -> str:
    return node.text


def _coloured(node: Node) -> str:
    """The text of a node in the colours that all terminals have."""
    from rich.color import ColorSystem
    from rich.style import Style

    return Style.parse(node.style).render(node.text, color_system=ColorSystem.STANDARD)


def _ascii(line: str) -> str:
    for branch, plain in _BRANCHES.items():
        line = line.replace(branch, plain)
    return line


def _rich(node: Node) -> Any:
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(node.text, node.style), guide_style="dim")
    for child in node.children:
        tree.children.append(_rich(child))
    return tree


def _width(node: Node) -> int:
    """The columns that a tree takes as rich draws it."""
    return max([len(node.text), *(4 + _width(child) for child in node.children)])


def check_picture(path: str) -> None:
    """Finds out, before anything else is done, whether `export_svg` can write there. Raises NoRich, and OSError."""
    try:
        import rich.console  # noqa: F401
    except ModuleNotFoundError:
        raise NoRich("--export-svg") from None
    there = os.path.lexists(path)
    with open(path, "ab"):
        pass
    if not there:
        os.unlink(path)


def export_svg(shown: list[Any], path: str, title: str, width: int = 0) -> None:
    """Writes a picture of what a terminal would show: trees, or anything that rich can print. It needs nothing from
    elsewhere: the font is whatever monospaced one there is. `width`: in columns; 0: as the trees need. Raises
    OSError. `check_picture` comes before."""
    import re
    from io import StringIO

    from rich.console import Console

    width = width or max(_width(one) for one in shown)
    # The height means nothing here, but without one a dumb terminal's size is used.
    console = Console(file=StringIO(), record=True, width=width, height=25, highlight=False, force_terminal=True)
    for one in shown:
        console.print(_rich(one) if isinstance(one, Node) else one)
    svg = re.sub(r"\s*@font-face \{[^}]*\}", "", console.export_svg(title=title))
    with open(path, "w", encoding="utf-8") as file:
        file.write(svg)


# --- lines ----------------------------------------------------------------------------------------------------


def _mark(mark: Mark | None) -> str:
    if mark is None:
        return ""
    return f" mark {mark.value:#x}" + ("" if mark.mask == 0xFFFFFFFF else f"/{mark.mask:#x}")


def _ports(selector: Selector) -> str:
    if selector.icmp_type is not None or selector.icmp_code is not None:
        named = (("type", selector.icmp_type), ("code", selector.icmp_code))
        return "".join(f" {name} {value}" for name, value in named if value is not None)
    if selector.gre_key is not None:
        return f" key {selector.gre_key:#x}"
    text = ""
    for name, port, mask in (
        ("sport", selector.source_port, selector.source_port_mask),
        ("dport", selector.destination_port, selector.destination_port_mask),
    ):
        if mask:
            text += f" {name} {port}" + ("" if mask == 0xFFFF else f"/{mask:#x}")
    return text


def selector_text(selector: Selector, interface_name: InterfaceName) -> str:
    """Which packets it is for."""
    text = f"{selector.source} -> {selector.destination}"
    if selector.protocol:
        text += f" {protocol_text(selector.protocol)}"
    return text + _ports(selector) + interface_text(selector.interface, interface_name)


def interface_text(index: int, interface_name: InterfaceName) -> str:
    """Which interface; "" for 0. All names of interfaces come past here."""
    return f" dev {printable(interface_name(index))}" if index else ""


def policy_text(policy: Policy, interface_name: InterfaceName) -> str:
    """A policy, without its templates."""
    text = f"{policy.direction.name.lower()} {selector_text(policy.selector, interface_name)}{_mark(policy.mark)}"
    if policy.if_id:
        text += f" if_id {policy.if_id:#x}"
    if policy.policy_type != PolicyType.MAIN:
        text += f" ptype {policy.policy_type.name.lower()}"
    text += f" priority {policy.priority} index {policy.index}"
    return text if policy.action == Action.ALLOW else f"{text} {policy.action.name.lower()}"


def template_text(template: Template) -> str:
    """A template."""
    text = protocol_text(template.protocol)
    if template.source not in _ANYWHERE or template.destination not in _ANYWHERE:
        ends = ("any" if one in _ANYWHERE else one for one in (template.source, template.destination))
        text += f" {' -> '.join(ends)}"
    text += f" {word(template.mode)} reqid {template.reqid}"
    if template.spi:
        text += f" spi {template.spi:#010x}"
    return text if template.level == Level.REQUIRED else f"{text} level use"


def state_text(state: State) -> str:
    """A state, without its keys."""
    text = f"{protocol_text(state.protocol)} spi {state.spi:#010x} {state.source} -> {state.destination}"
    text += f" {word(state.mode)} reqid {state.reqid}{_mark(state.mark)}"
    if state.if_id:
        text += f" if_id {state.if_id:#x}"
    return text if state.direction is None else f"{text} dir {state.direction.name.lower()}"

# SPDX-License-Identifier: MIT
"""`xfrm explain`: which policies a packet meets, which states their templates find, and why not others. See
docs/look.md."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from xfrm_ext.cli.outline import (
    BAD,
    GOOD,
    SECONDARY,
    WARNING,
    Node,
    interface_text,
    policy_text,
    show,
    state_text,
    template_text,
)
from xfrm_ext.constants import Direction, Level, PolicyType
from xfrm_ext.errors import CommandError
from xfrm_ext.iproute2.words import U8, Words, choice, interface, number, wrong
from xfrm_ext.lookup import (
    Choice,
    Packet,
    Verdict,
    demands,
    in_order,
    policy_reasons,
    protocol_text,
    resolve,
    unusable,
    verdict,
)
from xfrm_ext.policy import Policy
from xfrm_ext.state import State
from xfrm_ext.template import Template

if TYPE_CHECKING:
    from xfrm_ext.cli.context import Context
    from xfrm_ext.info import PolicyDefaults

_DIRECTIONS = {"in": Direction.IN, "out": Direction.OUT, "fwd": Direction.FWD}
_PTYPES = {"main": PolicyType.MAIN, "sub": PolicyType.SUB}
_NUMBERS = {
    "sport": ("source_port", 0xFFFF),
    "dport": ("destination_port", 0xFFFF),
    "type": ("icmp_type", 255),
    "code": ("icmp_code", 255),
    "key": ("gre_key", 0xFFFFFFFF),
    "mark": ("mark", 0xFFFFFFFF),
    "if_id": ("if_id", 0xFFFFFFFF),
    "cpu": ("cpu", 0xFFFFFFFE),
}
_SHOWN = 5  # states that would not do, unless --all says all
_BLOCK, _DROP, _PASS, _PROTECT, _CHECK = "block", "drop", "pass", "protect", "check"
_STYLES = {_BLOCK: BAD, _DROP: BAD, _PASS: WARNING, _PROTECT: GOOD, _CHECK: GOOD}


class _Question:
    """What is asked."""

    def __init__(self, words: list[str], context: Context) -> None:
        self.direction = Direction.OUT
        self.policy_type: PolicyType | None = None
        self.all = False
        fields: dict[str, Any] = {}
        given: set[str] = set()
        cursor = Words(words)
        while cursor.left:
            word = cursor.next("explain")
            field = {"src": "source", "dst": "destination", "proto": "protocol", "dev": "interface"}.get(word, word)
            field = _NUMBERS[word][0] if word in _NUMBERS else field
            if word in given:
                raise wrong(word, None, "is given twice")
            given.add(word)
            if word == "--all":
                self.all = True
            elif word == "dir":
                self.direction = choice(cursor.next(word), _DIRECTIONS, word)
            elif word == "ptype":
                self.policy_type = choice(cursor.next(word), _PTYPES, word)
            elif word in ("src", "dst"):
                fields[field] = cursor.next(word)
            elif word == "proto":
                name = cursor.next(word)
                try:
                    fields[field] = number(name, word, U8)
                except CommandError:
                    fields[field] = name  # of which some begin with digits
            elif word == "dev":
                fields[field] = interface(cursor, word, context.interface_index)
            elif word in _NUMBERS:
                fields[field] = cursor.number(word, _NUMBERS[word][1])
            else:
                raise wrong("explain", word, "is not a word of a packet: see xfrm explain help")
        for word, field in (("src", "source"), ("dst", "destination")):
            if field not in fields:
                raise wrong("explain", None, f"needs {word} ADDRESS")
        self.packet = Packet(**fields)


class _Answer:
    """What was found."""

    def __init__(
        self,
        question: _Question,
        policies: list[Policy],
        states: Callable[[], Iterable[State]],
        defaults: PolicyDefaults | None,
    ) -> None:
        """Policies and states in the order of a dump; `states` is only called where they matter."""
        self.question = question
        packet, direction = question.packet, question.direction
        if question.policy_type is not None:
            policies = [one for one in policies if one.policy_type == question.policy_type]
        self.verdict: Verdict = verdict(policies, packet, direction, defaults)
        self.near: list[tuple[Policy, str]] = []
        if question.all:
            for policy in in_order(policies, direction):
                reasons = list(policy_reasons(policy, packet))
                if len(reasons) == 1:
                    self.near.append((policy, reasons[0]))
        self.templates: list[tuple[Policy, list[_Found]]] = []
        if not self.verdict.blocked and any(one.templates for one in self.verdict.applied):
            known, now = list(states()), time.time()
            for policy in self.verdict.applied:
                if direction == Direction.OUT:
                    found = [_Found.leaving(one) for one in resolve(policy, packet, known, now)]
                else:
                    found = [_Found.arriving(one, packet, known, now) for one in policy.templates]
                self.templates.append((policy, found))
        self.result, self.text = self._result()

    def _result(self) -> tuple[str, str]:
        """What becomes of the packet, as a word and as a sentence."""
        leaves = self.question.direction == Direction.OUT
        if self.verdict.by_default:
            if not self.verdict.blocked:
                tunnel = "" if leaves else "; one that came through a tunnel is dropped (XfrmInNoPols)"
                return _PASS, f"passes as it is: no policy matches, and the default is to accept{tunnel}"
            where = ", unless it leaves by the loopback device" if leaves else " (XfrmInNoPols)"
            return _BLOCK, f"blocked: no policy matches, and the default is to block{where}"
        if self.verdict.blocked:
            return _BLOCK, f"blocked by a policy ({'XfrmOutPolBlock' if leaves else 'XfrmInPolBlock'})"
        if unusable(self.verdict.applied):
            counter = "XfrmOutPolError" if leaves else "XfrmInBufferError"
            return _DROP, f"dropped: the kernel follows at most 5 templates together ({counter})"
        found = [one for _, several in self.templates for one in several]
        troubles = [one.trouble for one in found if one.trouble]
        if troubles:
            return _DROP, f"dropped: {troubles[0]}"
        if leaves:
            used = [one for one in found if one.states]
            if used:
                return _PROTECT, f"leaves protected, by {len(used)} SA{'s' if len(used) > 1 else ''}"
            return _PASS, "leaves as it is: its policy asks for no SA" + (" that there is" if found else "")
        if any(one.template.level == Level.REQUIRED for one in found):
            return _CHECK, "passes if it came through SAs as above; else it is dropped (XfrmInTmplMismatch)"
        return _PASS, "passes as it is; one that came through another tunnel is dropped (XfrmInTmplMismatch)"


class _Found:
    """A template, the states that it finds, and those that it does not."""

    def __init__(
        self,
        template: Template,
        states: Sequence[State],
        refused: list[tuple[State, tuple[str, ...]]],
        trouble: str,
    ) -> None:
        self.template, self.states, self.refused, self.trouble = template, states, refused, trouble

    @classmethod
    def leaving(cls, found: Choice) -> _Found:
        """Of a packet that leaves: the one that it uses."""
        used = () if found.state is None else (found.state,)
        return cls(found.template, used, list(found.refused), found.trouble)

    @classmethod
    def arriving(cls, template: Template, packet: Packet, states: list[State], now: float) -> _Found:
        """Of one that came in: all that it may have come through."""
        found = demands(template, packet, states, now)
        fit = [state for state, lacking in found if not lacking]
        trouble = "" if fit or template.level == Level.USE else "no SA fits that it could have come through"
        return cls(template, fit, [one for one in found if one[1]], trouble)


# --- text -------------------------------------------------------------------------------------------------------


def _packet_text(question: _Question, context: Context) -> str:
    packet = question.packet
    text = f"packet {packet.source} -> {packet.destination}"
    if packet.protocol:
        text += f" {protocol_text(int(packet.protocol))}"
    for name, (field, _) in _NUMBERS.items():
        value = getattr(packet, field)
        if value:
            text += f" {name} {value:#x}" if name in ("key", "mark", "if_id") else f" {name} {value}"
    text += interface_text(packet.interface, context.interface_name)
    return f"{text}, {question.direction.name.lower()}"


def _outline(answer: _Answer, context: Context) -> Node:
    root = Node(_packet_text(answer.question, context), "bold")
    applied = answer.verdict.applied
    behind = [one for one in applied if one not in answer.verdict.matching]
    for policy in (*answer.verdict.matching, *behind):
        text = policy_text(policy, context.interface_name)
        if policy not in applied:
            root.add(f"matches, behind: {text}", SECONDARY)
            continue
        node = root.add(f"applies: {text}", BAD if answer.verdict.blocked else "")
        for one, found in answer.templates:
            if one is policy:
                node.children += [_template_node(each, answer.question) for each in found]
    if not answer.verdict.matching:
        root.add("no policy matches", WARNING)
    for policy, reason in answer.near:
        root.add(f"almost: {policy_text(policy, context.interface_name)}: {reason}", SECONDARY)
    root.add(answer.text, _STYLES[answer.result])
    return root


def _template_node(found: _Found, question: _Question) -> Node:
    leaves = question.direction == Direction.OUT
    node = Node(f"template {template_text(found.template)}")
    for state in found.states:
        node.add(f"{'uses' if leaves else 'through'} {state_text(state)}", "" if found.trouble else GOOD)
    if found.trouble:
        node.add(found.trouble, BAD)
    elif not found.states:
        node.add("no SA, and none is needed (level use)", WARNING)
    refused = _worth_showing(found, question)
    for state, reasons in refused:
        node.add(f"not {state_text(state)}: {'; '.join(reasons)}", SECONDARY)
    left = len(found.refused) - len(refused)
    if left:
        node.add(f"nor {left} more (--all shows them)", SECONDARY)
    return node


def _worth_showing(found: _Found, question: _Question) -> list[tuple[State, tuple[str, ...]]]:
    """States that it is not: all, or those of which one could have thought, as the others are of other peers."""
    if question.all:
        return found.refused
    return [one for one in found.refused if len(one[1]) <= 2][:_SHOWN]


# --- JSON -------------------------------------------------------------------------------------------------------


def _document(answer: _Answer, context: Context) -> dict[str, Any]:
    from xfrm_ext.documents import to_document
    from xfrm_ext.documents.forms import packet_protocol

    def written(value: Policy | State) -> dict[str, Any]:
        return to_document(value, interface_name=context.interface_name)

    packet, applied = answer.question.packet, answer.verdict.applied
    behind = [one for one in applied if one not in answer.verdict.matching]
    fields = ("source", "destination", "source_port", "destination_port", "icmp_type", "icmp_code", "gre_key")
    return {
        "kind": "explanation",
        "packet": {
            **{name: getattr(packet, name) for name in (*fields, "mark", "if_id", "interface", "cpu")},
            "protocol": packet_protocol(int(packet.protocol)),
            "interface_name": context.interface_name(packet.interface) if packet.interface else None,
        },
        "direction": answer.question.direction.name.lower(),
        "result": answer.result,
        "text": answer.text,
        "by_default": answer.verdict.by_default,
        "policies": [
            {
                "applies": policy in applied,
                "policy": written(policy),
                "templates": [
                    {
                        "states": [written(state) for state in found.states],
                        "trouble": found.trouble or None,
                        "refused": [
                            {"state": written(state), "reasons": list(reasons)}
                            for state, reasons in _worth_showing(found, answer.question)
                        ],
                    }
                    for one, several in answer.templates
                    if one is policy
                    for found in several
                ],
            }
            for policy in (*answer.verdict.matching, *behind)
        ],
        "almost": [{"policy": written(policy), "reason": reason} for policy, reason in answer.near],
    }


def run(words: list[str], context: Context) -> int:
    """`xfrm explain` with these words. Returns 0, whatever becomes of the packet."""
    if words == ["--help"]:
        from xfrm_ext.iproute2.help import text

        context.out.write(text("explain"))
        return 0
    question, session = _Question(words, context), context.session()
    answer = _Answer(question, list(session.spd.dump()), session.sad.dump, session.spd.defaults())
    if context.json:
        from xfrm_ext.documents import line

        context.out.write(line(_document(answer, context), pretty=context.pretty))
    else:
        show([_outline(answer, context)], context.out)
    return 0

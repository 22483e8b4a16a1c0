# SPDX-License-Identifier: MIT
"""Policy objects from dumps, at a fraction of what building one costs.

Most of a dumped policy it shares with others (templates, limits, marks, ports): that is read once for each kind,
and the objects are made in C, which stores what is known into their slots. Selectors, and what was used, are
objects of their own: they are made along with the policies while they are seen to be read, otherwise when they are
first asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from xfrm_ext import wire
from xfrm_ext.constants import AttributeType
from xfrm_ext.lifetime import LifetimeCurrent
from xfrm_ext.policy import Policy, lazily_read
from xfrm_ext.selector import Selector
from xfrm_ext.template import Template
from xfrm_ext.wire.layouts import ATTRIBUTE, aligned
from xfrm_ext.wire.policy_rows import PolicyMaker, PolicyRows, RowsDecoder
from xfrm_ext.wire.shared import SMALLEST_POLICY

_POLICY = (
    "direction",
    "action",
    "templates",
    "flags",
    "share",
    "policy_type",
    "mark",
    "if_id",
    "lifetime",
    "security_context",
    "offload",
    "attributes",
)
_SELECTOR = (
    "protocol",
    "source_port",
    "source_port_mask",
    "destination_port",
    "destination_port_mask",
    "interface",
    "user",
    "family",
)
_TEMPLATES = _POLICY.index("templates")
_Kind = tuple[tuple[Any, ...], tuple[Any, ...]]
"""What all policies of a kind, and their selectors, have in common, in this order."""


def are_made_in_c() -> bool:
    """Whether objects can be made here."""
    return PolicyMaker is not None


_selectors_are_read = False


def _are_selectors_read() -> bool:
    """Whether one in eight policies of the last block that came without selectors was asked for its own, or for
    what was used."""
    return _selectors_are_read


class DumpedPolicies:
    """Makes the policies of one dump."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._alike: dict[bytes, _Kind] = {}
        self.decoder = RowsDecoder(_are_selectors_read)

    def all(self, blocks: Generator[PolicyRows, None, None]) -> Iterator[Policy]:
        """The policies of a dump's blocks. Like a generator it has a close()."""
        made: Iterator[Policy] = PolicyMaker(Policy, _POLICY, Selector, _SELECTOR, self._blocks(blocks))
        return made

    def _blocks(self, blocks: Generator[PolicyRows, None, None]) -> Generator[Any, None, None]:
        global _selectors_are_read
        with closing(blocks):
            for rows in blocks:
                self._note_kinds(rows)
                before = lazily_read()
                yield rows.block(self._kinds, _currents(rows) if rows.has_prefixes else [])
                if not rows.has_prefixes:
                    _selectors_are_read = 8 * (lazily_read() - before) > rows.count
                self.decoder.take_back(rows)

    def _note_kinds(self, rows: PolicyRows) -> None:
        if rows.restarted:
            self._kinds, self._alike = [], {}
        for first in rows.new_kinds:
            self._kinds.append(self._kind(rows.message(first)))

    def _kind(self, message: bytes) -> _Kind:
        """Most kinds differ from others in their templates alone."""
        rest, templates = _parted(message)
        kind = self._alike.get(rest)
        if kind is None:
            kind = self._alike[rest] = _kind(message)
            return kind
        shared, of_selector = kind
        starts = range(0, len(templates), wire.TEMPLATE_SIZE)
        made = tuple(Template._from_wire(templates[start : start + wire.TEMPLATE_SIZE]) for start in starts)
        return (*shared[:_TEMPLATES], made, *shared[_TEMPLATES + 1 :]), of_selector


def _parted(message: bytes) -> tuple[bytes, bytes]:
    """What a message has in common with others that differ in their templates, and these."""
    at = end = SMALLEST_POLICY
    while at < len(message):
        size, kind = ATTRIBUTE.unpack_from(message, at)
        end = at + aligned(size)
        if kind == AttributeType.TMPL and size % wire.TEMPLATE_SIZE == ATTRIBUTE.size < size:
            break
        at = end
    # without addresses, lengths of prefixes, use, priority and index
    rest = message[48:58] + message[60:136] + message[176:at] + message[end:]
    return rest, message[at + ATTRIBUTE.size : end]


def _kind(message: bytes) -> _Kind:
    values = Policy._from_wire(message)._unpack(wire)
    selector = values["selector"]
    return tuple(values[name] for name in _POLICY), tuple(getattr(selector, name) for name in _SELECTOR)


def _currents(rows: PolicyRows) -> list[LifetimeCurrent]:
    """What was used: by the numbers that a block's rows have of it."""
    return [LifetimeCurrent._from_wire(rows.message(first)[136:168]) for first in rows.use_firsts]

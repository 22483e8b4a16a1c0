# SPDX-License-Identifier: MIT
"""Policy objects from dumps, at a fraction of what building one costs.

Most of a dumped policy it shares with others (templates, limits, marks, ports): that is read once for each kind,
and an object is made by storing what is known into its slots. Selectors, and what was used, are objects of their
own: they are made along with the policies while they are seen to be read, otherwise when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

from xfrm_ext import wire
from xfrm_ext.ahead import ahead, closing_source
from xfrm_ext.lifetime import LifetimeCurrent
from xfrm_ext.policy import Policy, lazily_read
from xfrm_ext.selector import Selector
from xfrm_ext.wire.policy_rows import PolicyRows, RowsDecoder

_LITTLE = 16384  # bytes of a first block that is not worth a thread


class _Open:
    """A value while it is being made: its slots are stored into directly, at a tenth of what __setattr__ costs.

    Both methods: with one of them left to a frozen dataclass, CPython looks for them at each store.
    """

    __slots__ = ()
    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__


class _OpenPolicy(_Open, Policy):
    __slots__ = ()


class _OpenSelector(_Open, Selector):
    __slots__ = ()


_Shared = tuple[Any, ...]


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


def _shared(policy: Policy) -> tuple[_Shared, _Shared]:
    """What all policies of a kind, and their selectors, have in common, in this order."""
    values = policy._unpack(wire)
    selector = values["selector"]
    return tuple(values[name] for name in _POLICY), tuple(getattr(selector, name) for name in _SELECTOR)


_made_without = 0  # selectors, in this process


def _are_selectors_read() -> bool:
    """Whether one in eight policies that came without a selector was asked for it, or for what was used."""
    return 8 * lazily_read() > _made_without


class PolicyMaker:
    """Makes the policies of one dump."""

    def __init__(self) -> None:
        self._kinds: list[tuple[_Shared, _Shared]] = []
        self.decoder = RowsDecoder(_are_selectors_read)

    def all(self, blocks: Generator[PolicyRows, None, None]) -> Iterator[Policy]:
        """The policies of a dump's blocks, which are received, if there are many, while those before are looked
        at."""
        # One generator, and the stores stand twice in it: another one around it, or a call for each policy, would
        # cost a good part of what they do. That of __class__ is a plain one, too, at a third of its setter's price.
        new: Callable[..., Any] = object.__new__  # of what type checkers know that it can't be stored into
        with closing(self._received(blocks)) as received:
            for rows in received:
                data, ends, prefixes = rows.messages, rows.ends, rows.prefixes
                common = zip([0, *ends], ends, self._kinds_of(rows), rows.priorities, rows.indices)  # noqa: B905
                if prefixes is None:
                    global _made_without
                    _made_without += len(ends)
                    for start, end, (shared, _), priority, index in common:
                        policy = new(_OpenPolicy)
                        policy._wire = data[start:end]
                        policy.priority = priority
                        policy.index = index
                        (
                            policy.direction,
                            policy.action,
                            policy.templates,
                            policy.flags,
                            policy.share,
                            policy.policy_type,
                            policy.mark,
                            policy.if_id,
                            policy.lifetime,
                            policy.security_context,
                            policy.offload,
                            policy.attributes,
                        ) = shared
                        policy.__class__ = Policy
                        yield policy
                    continue
                both = iter(prefixes)
                for (start, end, (shared, selector_shared), priority, index), current, source, destination in zip(  # noqa: B905
                    common, _currents(rows), both, both
                ):
                    policy = new(_OpenPolicy)
                    policy._wire = data[start:end]
                    policy.priority = priority
                    policy.index = index
                    (
                        policy.direction,
                        policy.action,
                        policy.templates,
                        policy.flags,
                        policy.share,
                        policy.policy_type,
                        policy.mark,
                        policy.if_id,
                        policy.lifetime,
                        policy.security_context,
                        policy.offload,
                        policy.attributes,
                    ) = shared
                    policy.current = current
                    policy.selector = selector = new(_OpenSelector)
                    selector._wire = data[start + 16 : start + 72]
                    selector.source = source
                    selector.destination = destination
                    (
                        selector.protocol,
                        selector.source_port,
                        selector.source_port_mask,
                        selector.destination_port,
                        selector.destination_port_mask,
                        selector.interface,
                        selector.user,
                        selector.family,
                    ) = selector_shared
                    selector.__class__ = Selector
                    policy.__class__ = Policy
                    yield policy

    @staticmethod
    def _received(blocks: Generator[PolicyRows, None, None]) -> Generator[PolicyRows, None, None]:
        with closing_source(blocks):
            for rows in blocks:
                yield rows
                if rows.size > _LITTLE:
                    break
            else:
                return
            with ahead(blocks) as rest:
                yield from rest

    def _kinds_of(self, rows: PolicyRows) -> Iterator[tuple[_Shared, _Shared]]:
        """For each policy of a block."""
        data, starts, ends = rows.messages, [0, *rows.ends], rows.ends
        if rows.restarted:
            self._kinds = []
        self._kinds += [_shared(Policy._from_wire(data[starts[first] : ends[first]])) for first in rows.new_kinds]
        return map(self._kinds.__getitem__, rows.kinds)


def _currents(rows: PolicyRows) -> Iterator[LifetimeCurrent]:
    """What was used, for each policy of a block."""
    data, starts = rows.messages, [0, *rows.ends]
    uses = (data[starts[first] + 136 : starts[first] + 168] for first in rows.use_firsts)
    currents = [LifetimeCurrent._from_wire(use) for use in uses]
    return map(currents.__getitem__, rows.uses)

# SPDX-License-Identifier: MIT
"""Deleting many policies without the kernel's slow paths.

Policies with a prefix shorter than the hash thresholds are in trees, one for each type, family, direction and
if_id. After each policy that is deleted by selector (or updated, or refused) the kernel goes through its whole
tree, to free what has become empty. Deleted by index, it does not, so ``Removals`` learns the indices by one dump
where that is cheaper, and has the kernel go through each tree once at the end.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import repeat

from xfrm_ext import wire
from xfrm_ext.bulk import PolicyItems
from xfrm_ext.constants import Family, Message
from xfrm_ext.errors import NotFound, XfrmError
from xfrm_ext.info import SpdInfo
from xfrm_ext.thresholds import limits_of
from xfrm_ext.transport import BatchOutcome, Transport
from xfrm_ext.wire.shared import PolicyOptions


class Removals(PolicyItems):
    """What one load has to know of policies that it deletes. To be closed.

    Indices are learned when deleting by selector would take longer: that a walk through the tree takes is measured,
    and a dump's time is about that of the policies in it.
    """

    _DUMPED = 1e-6  # seconds for each policy of a dump, measured
    _FEW = 16  # of a block in one tree: for fewer it isn't worth asking
    _PROBES = 2

    def __init__(
        self, transport: Transport, info: Callable[[], SpdInfo], total: int | None, timeout: float | None
    ) -> None:
        """`total` items are to be deleted (None: not known); `timeout` for each wait, in seconds."""
        self._transport = transport
        self._info = info
        self._limits = bytes(12)
        self._policies = -1
        """In the SPD; -1: not known yet."""
        self._left = total
        self._timeout = timeout
        self._indices: dict[bytes, int] | None = None
        """Of the policies in trees, by key; None: not learned."""
        self._spent = 0.0
        """Seconds that deleting by selector has taken so far, by what was measured."""
        self._used: set[int] = set()

    def deletions(self, block: bytearray, count: int) -> bytearray:
        """The messages that delete what a block adds: by index what the dump showed, the rest by selector."""
        if self._policies < 0 and count >= self._FEW:
            self._look()
        trees, numbers, _, keys = wire.policies_in_trees(block, self._limits)
        if self._indices is None and len(trees) >= self._FEW:
            self._consider(Counter(trees), count)
        if self._left is not None:
            self._left -= count
        if not self._indices or not trees:
            return super().deletions(block, count)
        self._used.update(trees)
        indices = list(map(self._indices.pop, keys, repeat(0)))  # twice in the source: the second is not there
        if len(indices) != count:
            known = dict(zip(numbers, indices, strict=True))
            indices = [known.get(number, 0) for number in range(count)]
        wire.set_indices(block, indices)
        return wire.delete_messages(block, count, by_index=True)

    def _look(self) -> None:
        """Asks for the thresholds and the number of policies."""
        self._policies = 0
        with suppress(XfrmError):  # the load itself will say what is wrong
            info = self._info()
            self._limits, self._policies = limits_of(info), info.total

    def _consider(self, trees: Counter[int], count: int) -> None:
        """Learns the indices if `trees`, those of a block of `count`, will cost more than that by selector."""
        tree, several = trees.most_common(1)[0]
        if several < self._FEW:
            return
        try:
            beside = self._transport.open_beside()
            try:
                cost = several * self._walk(beside, tree)
                self._spent += cost
                expected = cost if self._left is None else cost * self._left / count
                if max(expected, self._spent) > self._policies * self._DUMPED:
                    self._indices = self._learned(beside)
            finally:
                beside.close()
        except XfrmError:  # slower, and the load itself will say what is wrong
            self._indices = {}

    def _walk(self, beside: Transport, tree: int) -> float:
        """Seconds that a walk through a tree takes, which each deletion by selector costs."""
        times = []
        request = _pruning(tree, _nowhere())
        for _ in range(self._PROBES):
            started = time.perf_counter()
            with suppress(NotFound):
                beside.talk(request, "measure a tree of policies", timeout=self._timeout)
            times.append(time.perf_counter() - started)
        return min(times)

    def _learned(self, beside: Transport) -> dict[bytes, int]:
        """The indices of all policies in trees, by key."""
        each: defaultdict[int, dict[bytes, int]] = defaultdict(dict)
        for datagram in beside.dump(wire.policy_dump_request(), "learn indices", timeout=self._timeout):
            trees, _, indices, keys = wire.policies_in_trees(datagram, self._limits)
            if len(set(trees)) == 1:
                each[trees[0]].update(zip(keys, indices, strict=True))
                continue
            for tree, index, key in zip(trees, indices, keys, strict=True):
                each[tree][key] = index
        found: dict[bytes, int] = {}
        for known in each.values():
            if len(known) >= self._FEW:
                found |= known
        return found

    def close(self) -> None:
        """Has the kernel free what is empty in the trees, which it does not when it deletes by index."""
        used, self._used = self._used, set()
        prune(self._transport, used, self._timeout)


def prune(transport: Transport, trees: Collection[int], timeout: float | None) -> None:
    """Has the kernel free what is empty in trees."""
    nowhere = _nowhere() if trees else {}
    block = bytearray().join([_pruning(tree, nowhere) for tree in trees])
    if trees:
        with suppress(XfrmError):  # the next change by selector, whosever it is, does the same
            transport.talk_batch(block, len(trees), outcome=BatchOutcome(), timeout=timeout)


def _nowhere() -> dict[int, bytes]:
    """Selectors, by family, that no policy has: most of each is chance, and not its prefixes, so that it is one for
    a tree."""
    result = {}
    for family in (Family.INET, Family.INET6):
        chance = os.urandom(24)
        source = f"{wire.address_text(chance[:16], family)}/0"
        ports = chance[16] << 8 | chance[17], 0, chance[18] << 8 | chance[19], 0
        numbers = (*ports, 0, 0, int.from_bytes(chance[20:], "big"))
        result[int(family)] = wire.selector_bytes(source, "", family, False, numbers)
    return result


def _pruning(tree: int, nowhere: Mapping[int, bytes]) -> bytes:
    """A request that does nothing but have the kernel free what is empty in a tree: the DELPOLICY of a policy that
    isn't there, which is answered by ENOENT."""
    family, policy_type, direction, if_id = wire.tree_fields(tree)
    options = PolicyOptions(policy_type=policy_type, if_id=if_id or None)
    return wire.policy_id_bytes(Message.DELPOLICY, nowhere[family], 0, direction, options)

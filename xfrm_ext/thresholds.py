# SPDX-License-Identifier: MIT
"""The hash thresholds of the SPD: which policies the kernel finds by hash, and which thresholds fit policies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import islice, product

from xfrm_ext import wire
from xfrm_ext.bulk import PolicyItems, check_items
from xfrm_ext.checks import shown
from xfrm_ext.constants import Direction, Family
from xfrm_ext.errors import ValidationError
from xfrm_ext.info import SpdInfo, SpdThresholds
from xfrm_ext.policy import Policy

_ITEMS = PolicyItems()


def limits_of(info: SpdInfo) -> bytes:
    """The thresholds as policies meet them: the least prefix lengths, of destination and source, for each direction
    (in, out, fwd), for IPv4 and then for IPv6, that are found by hash.

    What leaves has a local source; what comes in, or is forwarded, a local destination.
    """
    limits = []
    for local, remote in (
        (info.ipv4_local_bits, info.ipv4_remote_bits),
        (info.ipv6_local_bits, info.ipv6_remote_bits),
    ):
        limits += [local, remote, remote, local, local, remote]
    return bytes(limits)


# What the kernel spends on an entry that it passes, measured in relation to each other: each update or deletion by
# selector goes through a whole tree (50 to 60 ns an entry), each addition through a whole chain (15 to 20 ns).
_IN_TREE, _IN_CHAIN = 3, 1
_EVERYTHING = b"\xff" * 12  # as limits: all policies
_SMALL = 16  # policies: a smaller tree is never slow


class _Family:
    """The policies of one family."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._policies: list[tuple[int, int, int, int, int]] = []
        """Direction, local and remote prefix length, local and remote address of each."""
        self._lengths: defaultdict[int, Counter[tuple[int, int]]] = defaultdict(Counter)
        """For each tree that they could be in: how many have these prefix lengths, local and remote."""

    def add(self, tree: int, direction: int, key: bytes) -> None:
        """Takes a policy, by its key (wire.policy_keys)."""
        size = self._bits // 8
        local, remote = int.from_bytes(key[16 : 16 + size], "big"), int.from_bytes(key[:size], "big")
        remote_length, local_length = key[42], key[43]
        if direction != Direction.OUT:
            local, remote, local_length, remote_length = remote, local, remote_length, local_length
        self._policies.append((direction, local_length, remote_length, local, remote))
        self._lengths[tree][local_length, remote_length] += 1

    def best(self) -> tuple[int, int] | None:
        """The thresholds, local and remote, that cost least; None: there is no policy."""
        if not self._policies:
            return None
        trees = [lengths for lengths in self._lengths.values() if lengths.total() >= _SMALL]
        each = Counter(length for lengths in trees for length in lengths)
        candidates = {(self._bits, self._bits)}
        candidates |= set(product({local for local, _ in each}, {remote for _, remote in each}))
        # The longest first: of those that cost the same they make the shortest chains.
        ranked = sorted((self._in_trees(trees, pair), -sum(pair), pair) for pair in candidates)
        best, least = (self._bits, self._bits), -1
        for cost, _, pair in ranked:
            if 0 <= least <= cost:
                break  # all others cost more, whatever their chains
            cost += self._in_chains(*pair)
            if least < 0 or cost < least:
                best, least = pair, cost
        return best

    @staticmethod
    def _in_trees(trees: list[Counter[tuple[int, int]]], pair: tuple[int, int]) -> int:
        """What the kernel spends on trees if each policy there is updated or deleted once."""
        local, remote = pair
        sizes = [
            sum(n for (one, other), n in lengths.items() if one < local or other < remote) for lengths in trees
        ]
        return _IN_TREE * sum(size * size for size in sizes)

    def _in_chains(self, local: int, remote: int) -> int:
        """What it spends on chains if each policy that is found by hash is added, and updated or deleted, once."""
        from_local, from_remote = self._bits - local, self._bits - remote
        chains = Counter(
            (direction, one >> from_local, other >> from_remote)
            for direction, one_length, other_length, one, other in self._policies
            if one_length >= local and other_length >= remote
        )
        return _IN_CHAIN * sum(size * size for size in chains.values())


def suggest(policies: Iterable[Policy], now: SpdThresholds) -> SpdThresholds:
    """See Spd.suggest_thresholds. `now` are the thresholds that are set."""
    if not isinstance(policies, Iterable):
        raise ValidationError("policies", shown(policies), "is not an iterable of Policy")
    families = {Family.INET: _Family(32), Family.INET6: _Family(128)}
    values = iter(policies)
    while part := list(islice(values, 1024)):
        check_items(part, _ITEMS)
        block = b"".join([policy._wire for policy in part])
        trees, _, _, keys = wire.policies_in_trees(block, _EVERYTHING)
        for tree, key in zip(trees, keys, strict=True):
            family, _, direction, _ = wire.tree_fields(tree)
            families[Family(family)].add(tree, direction, key)
    ipv4, ipv6 = families[Family.INET].best(), families[Family.INET6].best()
    return SpdThresholds(None if ipv4 == now.ipv4 else ipv4, None if ipv6 == now.ipv6 else ipv6)

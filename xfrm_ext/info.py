# SPDX-License-Identifier: MIT
"""SpdInfo: counters and hash tables of the SPD (XFRM_MSG_NEWSPDINFO)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpdInfo:
    """Counters and hash tables of the SPD, main and sub policies together (struct xfrmu_spdinfo and others)."""

    input: int = 0
    output: int = 0
    forward: int = 0
    socket_input: int = 0
    """Policies that sockets carry (IP_XFRM_POLICY)."""
    socket_output: int = 0
    socket_forward: int = 0
    hash_mask: int = 0
    """Buckets of the hash by index, less 1. The kernel doubles them as policies come, never shrinks them."""
    hash_limit: int = 0
    ipv4_local_bits: int = 0
    """Prefixes at least this long, on both sides, are found by hash; shorter ones in a tree."""
    ipv4_remote_bits: int = 0
    ipv6_local_bits: int = 0
    ipv6_remote_bits: int = 0

    @property
    def total(self) -> int:
        """Policies in the SPD, without those of sockets."""
        return self.input + self.output + self.forward

# SPDX-License-Identifier: MIT
"""The hash thresholds of the SPD: which policies the kernel finds by hash, and which thresholds fit policies."""

from __future__ import annotations

from xfrm_ext.info import SpdInfo


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

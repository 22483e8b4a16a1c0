# SPDX-License-Identifier: MIT
"""Names of IP protocols: those that csrc/text.c knows."""

from __future__ import annotations

PROTOCOLS = {
    "any": 0,  # ip's word
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "egp": 8,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "ospf": 89,
    "pim": 103,
    "comp": 108,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
    "mobility-header": 135,
    "udplite": 136,
    "mpls-in-ip": 137,
    "ethernet": 143,
    # other names of the same protocols
    "ip": 0,
    "ipencap": 4,
    "ipcomp": 108,
    "icmpv6": 58,
    "icmp6": 58,
    "ospfigp": 89,
}
"""The numbers, by name."""
NAMES = {number: name for name, number in reversed(PROTOCOLS.items())}
"""The names, by number: of several the first."""

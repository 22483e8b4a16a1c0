# SPDX-License-Identifier: MIT
"""Hypothesis strategies for every value."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from hypothesis import strategies as st

from xfrm_ext import (
    Action,
    Attribute,
    Direction,
    Level,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Mode,
    Offload,
    Policy,
    PolicyFlag,
    PolicyId,
    PolicyType,
    Protocol,
    SecurityContext,
    Selector,
    Share,
    Template,
)

U8 = st.integers(0, 2**8 - 1)
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
INDEX = st.integers(0, 2**31 - 1)

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)


@st.composite
def prefixes(draw: st.DrawFn, version: int) -> Any:
    """A network, as an object of ipaddress."""
    address = draw(V4 if version == 4 else V6)
    length = draw(st.integers(0, 32 if version == 4 else 128))
    return ipaddress.ip_network(f"{address}/{length}", strict=False)


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    version = draw(st.sampled_from([4, 6]))
    return Selector(
        draw(st.none() | prefixes(version)),
        draw(st.none() | prefixes(version)),
        protocol=draw(U8),
        source_port=draw(U16),
        source_port_mask=draw(st.none() | U16),
        destination_port=draw(U16),
        destination_port_mask=draw(st.none() | U16),
        interface=draw(INDEX),
        user=draw(U32),
        family=socket.AF_INET if version == 4 else socket.AF_INET6,
    )


@st.composite
def templates(draw: st.DrawFn) -> Template:
    addresses = draw(st.sampled_from([V4, V6]))
    return Template(
        draw(st.none() | addresses),
        draw(st.none() | addresses),
        protocol=draw(st.sampled_from(Protocol)),
        spi=draw(U32),
        reqid=draw(U32),
        mode=draw(st.sampled_from(Mode)),
        level=draw(st.sampled_from(Level)),
        share=draw(st.sampled_from(Share)),
        aalgos=draw(U32),
        ealgos=draw(U32),
        calgos=draw(U32),
    )


MARKS = st.builds(Mark, U32, U32)
CONTEXTS = st.builds(
    SecurityContext,
    st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), max_size=60),
    U8,
    U8,
    st.booleans(),
)
LIFETIMES = st.builds(LifetimeConfig, **dict.fromkeys(LifetimeConfig.__dataclass_fields__, U64))
CURRENTS = st.builds(LifetimeCurrent, **dict.fromkeys(LifetimeCurrent.__dataclass_fields__, U64))
# Types that no policy has a field for: what is known but malformed is for the fuzz tests.
ATTRIBUTES = st.builds(Attribute, st.sampled_from([4, 33, 60, 0x3FFF]), st.binary(max_size=40))
# Types that have a field, some of them with payloads that fit it, and any other type.
ANY_ATTRIBUTES = st.builds(
    Attribute,
    st.sampled_from([0, 5, 8, 16, 21, 28, 31, 60, 0x8005, 0x8015, 0x401F, 0xC008]) | U16,
    st.binary(max_size=80)
    | st.binary(min_size=64, max_size=64)
    | st.sampled_from(
        [
            bytes(4),
            bytes(6),
            bytes(8),
            b"\xff" * 8,
            b"\1\0\0\0",
            b"\1\0\0\0\0\0",
            struct.pack("=HHBBH", 12, 8, 1, 1, 4) + b"a\0b\0",
            struct.pack("=HHBBH", 8, 8, 1, 1, 0),
        ]
    ),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    direction = draw(st.sampled_from(Direction))
    return Policy(
        draw(selectors()),
        direction=direction,
        action=draw(st.sampled_from(Action)),
        priority=draw(U32),
        index=draw(st.just(0) | INDEX.map(lambda number: number << 3 & 0xFFFFFFFF | direction)),
        templates=draw(st.lists(templates(), max_size=6)),
        flags=PolicyFlag(draw(st.integers(0, 7))),
        share=draw(st.sampled_from(Share)),
        policy_type=draw(st.sampled_from(PolicyType)),
        mark=draw(st.none() | MARKS),
        if_id=draw(st.none() | U32),
        lifetime=draw(st.none() | LIFETIMES),
        current=draw(st.none() | CURRENTS),
        security_context=draw(st.none() | CONTEXTS),
        offload=draw(st.none() | st.builds(Offload, INDEX, st.sampled_from([0, 1, 4, 7]))),
        attributes=draw(st.lists(ATTRIBUTES, max_size=3)),
    )


@st.composite
def policy_ids(draw: st.DrawFn) -> PolicyId:
    direction = draw(st.sampled_from(Direction))
    by_index = draw(st.booleans())
    return PolicyId(
        None if by_index else draw(selectors()),
        direction=direction,
        index=draw(st.integers(1, 2**28)) << 3 & 0xFFFFFFF8 | direction if by_index else 0,
        policy_type=draw(st.sampled_from(PolicyType)),
        mark=draw(st.none() | MARKS.filter(lambda mark: mark.mask != 0)),
        if_id=draw(st.none() | U32),
        security_context=draw(st.none() | CONTEXTS),
    )

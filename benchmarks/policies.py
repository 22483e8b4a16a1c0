# SPDX-License-Identifier: MIT
"""The policies that the benchmarks load: as message, as line for `ip -batch`, as Policy object.

The message is packed here with `struct` alone, so that the floor needs nothing from the library
that it is compared with.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from xfrm_ext import Policy

Shape: TypeAlias = Literal["host", "internet"]
SHAPES: tuple[Shape, ...] = ("host", "internet")

XFRM_MSG_NEWPOLICY = 0x13
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
XFRMA_TMPL = 5
XFRM_POLICY_OUT = 1
XFRM_MODE_TUNNEL = 1
UNLIMITED = 2**64 - 1

HEADER = struct.Struct("=IHHII")
# xfrm_userpolicy_info: selector (addresses, ports and masks, family, prefix lengths, protocol,
# interface, user), lifetimes (configured: four limits and four times; current: all zero), priority,
# index, direction, action, flags, share.
POLICY_INFO = struct.Struct("=16s16s8xHBBB3xii4Q4Q32xIIBBBB4x")
# xfrm_user_tmpl: destination, spi, protocol, family, source, reqid, mode, share, optional, masks.
TEMPLATE = struct.Struct("=16s4xB3xH2x16sIBBBxIII")
ATTRIBUTE = struct.Struct("=HH")

# How many in a thousand of the Internet's IPv4 blocks (by country, 2026) have each length, /16 to
# /32; the few larger ones are left out to have room for a million.
INTERNET_LENGTHS = (14, 8, 12, 22, 30, 43, 111, 94, 197, 24, 35, 52, 83, 121, 60, 24, 60)
FIRST_ADDRESS, END_ADDRESS = 1 << 24, 224 << 24
COUNTRIES = 250


@dataclass(frozen=True, slots=True)
class Row:
    """What differs from policy to policy; addresses are IPv4 in host order."""

    source: int
    source_length: int
    destination: int
    destination_length: int
    priority: int
    tunnel_source: int
    tunnel_destination: int
    reqid: int


def address(text: str) -> int:
    return int.from_bytes(socket.inet_aton(text), "big")


def text(value: int) -> str:
    return socket.inet_ntoa(value.to_bytes(4, "big"))


SITE = address("10.0.0.0")
TUNNEL_SOURCE = address("198.51.100.1")
TUNNEL_DESTINATIONS = address("203.0.113.0")


def host_rows() -> Iterator[Row]:
    """A gateway to one host each: the kernel finds these by an exact hash."""
    for number in range(END_ADDRESS - FIRST_ADDRESS):
        reqid = number % COUNTRIES + 1
        yield Row(
            source=SITE,
            source_length=32,
            destination=FIRST_ADDRESS + number,
            destination_length=32,
            priority=number % 1000,
            tunnel_source=TUNNEL_SOURCE,
            tunnel_destination=TUNNEL_DESTINATIONS + reqid,
            reqid=reqid,
        )


def internet_rows() -> Iterator[Row]:
    """A site to blocks of mixed lengths that do not overlap: the kernel keeps these in trees."""
    chosen = random.Random(2)  # always the same table
    lengths = range(16, 16 + len(INTERNET_LENGTHS))
    position = FIRST_ADDRESS
    while True:
        for length in chosen.choices(lengths, INTERNET_LENGTHS, k=1000):
            size = 1 << (32 - length)
            position = (position + size - 1) & -size
            if position + size > END_ADDRESS:
                return
            reqid = chosen.randrange(COUNTRIES) + 1
            yield Row(
                source=SITE,
                source_length=8,
                destination=position,
                destination_length=length,
                priority=reqid,
                tunnel_source=TUNNEL_SOURCE,
                tunnel_destination=TUNNEL_DESTINATIONS + reqid,
                reqid=reqid,
            )
            position += size


def rows(shape: Shape, count: int) -> Iterator[Row]:
    """The first `count` policies of a shape; fewer where its address space ends."""
    return islice(host_rows() if shape == "host" else internet_rows(), count)


def message(row: Row) -> bytes:
    """The NEWPOLICY message of a row, 252 bytes."""
    template = TEMPLATE.pack(
        row.tunnel_destination.to_bytes(4, "big"),
        socket.IPPROTO_ESP,
        socket.AF_INET,
        row.tunnel_source.to_bytes(4, "big"),
        row.reqid,
        XFRM_MODE_TUNNEL,
        0,
        0,
        *(0xFFFFFFFF,) * 3,
    )
    info = POLICY_INFO.pack(
        row.destination.to_bytes(4, "big"),
        row.source.to_bytes(4, "big"),
        socket.AF_INET,
        row.destination_length,
        row.source_length,
        0,
        0,
        0,
        *(UNLIMITED,) * 4,
        *(0,) * 4,
        row.priority,
        0,
        XFRM_POLICY_OUT,
        0,
        0,
        0,
    )
    body = info + ATTRIBUTE.pack(ATTRIBUTE.size + len(template), XFRMA_TMPL) + template
    return as_request(body)


def as_request(body: bytes) -> bytes:
    """A policy's body with the header of an add request, its stamps left to the sender."""
    return HEADER.pack(HEADER.size + len(body), XFRM_MSG_NEWPOLICY, NLM_F_REQUEST, 0, 0) + body


def without_stamps(request: bytes) -> bytes:
    """The request less what its sender fills in: the ACK flag, the sequence number, the port."""
    length, kind, flags, _, _ = HEADER.unpack_from(request)
    return HEADER.pack(length, kind, flags & ~NLM_F_ACK, 0, 0) + request[HEADER.size :]


def batch_line(row: Row) -> str:
    """The row as a line for `ip -batch`."""
    return (
        f"xfrm policy add src {text(row.source)}/{row.source_length} "
        f"dst {text(row.destination)}/{row.destination_length} dir out priority {row.priority} "
        f"tmpl src {text(row.tunnel_source)} dst {text(row.tunnel_destination)} "
        f"proto esp reqid {row.reqid} mode tunnel\n"
    )


def policy(xfrm: Any, row: Row) -> Policy:
    """The row as an object, made from text as programs have it; `xfrm` is the package."""
    made: Policy = xfrm.Policy(
        xfrm.Selector(
            f"{text(row.source)}/{row.source_length}",
            f"{text(row.destination)}/{row.destination_length}",
        ),
        direction="out",
        priority=row.priority,
        templates=[
            xfrm.Template(
                text(row.tunnel_source),
                text(row.tunnel_destination),
                reqid=row.reqid,
                mode="tunnel",
            )
        ],
    )
    return made


def write_messages(path: str, table: Iterable[Row]) -> None:
    with open(path, "wb") as file:
        file.writelines(map(message, table))


def write_batch(path: str, table: Iterable[Row]) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.writelines(map(batch_line, table))

# SPDX-License-Identifier: MIT
"""The policies that the benchmarks load: as message, as line for `ip -batch`, as Policy object, as columns.

The message is packed here with `struct` alone, so that the floor needs nothing from the library
that it is compared with.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from xfrm_ext import Policy

Verb: TypeAlias = Literal["add", "update", "delete"]

XFRM_MSG = {"add": 0x13, "delete": 0x14, "update": 0x19}
XFRM_MSG_FLUSHPOLICY = 0x1D
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
XFRMA_TMPL, XFRMA_MARK, XFRMA_IF_ID = 5, 21, 31
XFRM_POLICY_OUT = 1
XFRM_MODE_TUNNEL = 1
UNLIMITED = 2**64 - 1
ALL_BITS = 0xFFFFFFFF

HEADER = struct.Struct("=IHHII")
# xfrm_selector: addresses, ports and masks, family, prefix lengths, protocol, interface, user.
SELECTOR = struct.Struct("=16s16s8xHBBB3xii")
# The rest of xfrm_userpolicy_info: lifetimes (configured: four limits and four times; current: all zero),
# priority, index, direction, action, flags, share.
POLICY_REST = struct.Struct("=4Q4Q32xIIBBBB4x")
# The rest of xfrm_userpolicy_id: index, direction.
ID_REST = struct.Struct("=IB3x")
# xfrm_user_tmpl: destination, spi, protocol, family, source, reqid, mode, share, optional, masks.
TEMPLATE = struct.Struct("=16s4xB3xH2x16sIBBBxIII")
ATTRIBUTE = struct.Struct("=HH")

# How many in a thousand of the Internet's IPv4 blocks (by country, 2026) have each length, /16 to
# /32; the few larger ones are left out to have room for a million.
INTERNET_LENGTHS = (14, 8, 12, 22, 30, 43, 111, 94, 197, 24, 35, 52, 83, 121, 60, 24, 60)
FIRST_ADDRESS, END_ADDRESS = 1 << 24, 224 << 24
COUNTRIES = 250
INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Row:
    """What differs from policy to policy; addresses are numbers, those of the tunnel always IPv4."""

    family: int
    source: int
    source_length: int
    destination: int
    destination_length: int
    priority: int
    tunnel_source: int
    tunnel_destination: int
    reqid: int
    mark: int | None = None
    if_id: int | None = None


def address(text: str) -> int:
    family = INET6 if ":" in text else INET
    return int.from_bytes(socket.inet_pton(family, text), "big")


def packed(value: int, family: int = INET) -> bytes:
    return value.to_bytes(4 if family == INET else 16, "big")


def text(value: int, family: int = INET) -> str:
    return socket.inet_ntop(family, packed(value, family))


SITE, SITE6 = address("10.0.0.0"), address("2001:db8::")
FIRST_ADDRESS6 = address("2400::")
TUNNEL_SOURCE = address("198.51.100.1")
TUNNEL_DESTINATIONS = address("203.0.113.0")


def _row(number: int, family: int, ends: tuple[int, int, int, int], **more: int) -> Row:
    reqid = number % COUNTRIES + 1
    return Row(family, *ends, number % 1000, TUNNEL_SOURCE, TUNNEL_DESTINATIONS + reqid, reqid, **more)


def host_rows() -> Iterator[Row]:
    """A gateway to one host each: the kernel finds these by an exact hash."""
    for number in range(END_ADDRESS - FIRST_ADDRESS):
        yield _row(number, INET, (SITE, 32, FIRST_ADDRESS + number, 32))


def net24_rows() -> Iterator[Row]:
    """A gateway to one /24 each: the kernel keeps these in a tree."""
    for number in range((END_ADDRESS - FIRST_ADDRESS) >> 8):
        yield _row(number, INET, (SITE, 24, FIRST_ADDRESS + (number << 8), 24))


def host6_rows() -> Iterator[Row]:
    for number in range(1 << 24):
        yield _row(number, INET6, (SITE6, 128, FIRST_ADDRESS6 + number, 128))


def net64_rows() -> Iterator[Row]:
    for number in range(1 << 24):
        yield _row(number, INET6, (SITE6, 64, FIRST_ADDRESS6 + (number << 64), 64))


def mark_rows() -> Iterator[Row]:
    """Selectors of their own, too: those that differ in nothing but the mark share one chain in the kernel, and
    loading them takes quadratic time, whoever does it."""
    for number in range(END_ADDRESS - FIRST_ADDRESS):
        yield _row(number, INET, (SITE, 32, FIRST_ADDRESS + number, 32), mark=number + 1)


def if_id_rows() -> Iterator[Row]:
    """Route-based tunnels: everything into the interface's tunnel."""
    for number in range(1 << 24):
        yield _row(number, INET, (0, 0, 0, 0), if_id=number + 1)


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
            yield _row(chosen.randrange(COUNTRIES), INET, (SITE, 8, position, length))
            position += size


MADE_UP: dict[str, Callable[[], Iterator[Row]]] = {
    "host": host_rows,
    "net24": net24_rows,
    "host6": host6_rows,
    "net64": net64_rows,
    "mark": mark_rows,
    "if_id": if_id_rows,
    "internet": internet_rows,
}


def rows(shape: str, count: int) -> list[Row]:
    """The first `count` policies of a shape; fewer where its address space ends."""
    return list(islice(MADE_UP[shape](), count))


# -- messages --------------------------------------------------------------------------------------


def _attribute(kind: int, payload: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(payload), kind) + payload


def _selector(row: Row) -> bytes:
    return SELECTOR.pack(
        packed(row.destination, row.family),
        packed(row.source, row.family),
        row.family,
        row.destination_length,
        row.source_length,
        0,
        0,
        0,
    )


def _name_attributes(row: Row) -> bytes:
    """Those by which the kernel tells policies of one selector apart."""
    mark = b"" if row.mark is None else _attribute(XFRMA_MARK, struct.pack("=II", row.mark, ALL_BITS))
    if_id = b"" if row.if_id is None else _attribute(XFRMA_IF_ID, struct.pack("=I", row.if_id))
    return mark + if_id


def message(row: Row, verb: Verb = "add") -> bytes:
    """The message of a row: NEWPOLICY, UPDPOLICY, or DELPOLICY by selector."""
    if verb == "delete":
        body = _selector(row) + ID_REST.pack(0, XFRM_POLICY_OUT) + _name_attributes(row)
        return as_request(body, verb)
    template = TEMPLATE.pack(
        packed(row.tunnel_destination),
        socket.IPPROTO_ESP,
        socket.AF_INET,
        packed(row.tunnel_source),
        row.reqid,
        XFRM_MODE_TUNNEL,
        0,
        0,
        *(ALL_BITS,) * 3,
    )
    rest = POLICY_REST.pack(*(UNLIMITED,) * 4, *(0,) * 4, row.priority, 0, XFRM_POLICY_OUT, 0, 0, 0)
    body = _selector(row) + rest + _attribute(XFRMA_TMPL, template) + _name_attributes(row)
    return as_request(body, verb)


def delete_by_index(index: int, direction: int) -> bytes:
    """The DELPOLICY message that names a policy by the number that the kernel gave it."""
    return as_request(bytes(SELECTOR.size) + ID_REST.pack(index, direction), "delete")


def flush() -> bytes:
    return HEADER.pack(HEADER.size, XFRM_MSG_FLUSHPOLICY, NLM_F_REQUEST, 0, 0)


def as_request(body: bytes, verb: Verb = "add") -> bytes:
    """A body with the header of a request, its stamps left to the sender."""
    return HEADER.pack(HEADER.size + len(body), XFRM_MSG[verb], NLM_F_REQUEST, 0, 0) + body


def without_stamps(request: bytes) -> bytes:
    """The request less what its sender fills in: the ACK flag, the sequence number, the port."""
    length, kind, flags, _, _ = HEADER.unpack_from(request)
    return HEADER.pack(length, kind, flags & ~NLM_F_ACK, 0, 0) + request[HEADER.size :]


# -- other forms -----------------------------------------------------------------------------------


def batch_line(row: Row, verb: Verb = "add") -> str:
    """The row as a line for `ip -batch`."""
    mark = "" if row.mark is None else f" mark {row.mark:#x} mask {ALL_BITS:#x}"
    if_id = "" if row.if_id is None else f" if_id {row.if_id:#x}"
    name = (
        f"xfrm policy {verb} src {text(row.source, row.family)}/{row.source_length}"
        f" dst {text(row.destination, row.family)}/{row.destination_length} dir out{mark}"
    )
    if verb == "delete":
        return f"{name}{if_id}\n"
    return (
        f"{name} priority {row.priority}{if_id} tmpl src {text(row.tunnel_source)}"
        f" dst {text(row.tunnel_destination)} proto esp reqid {row.reqid} mode tunnel\n"
    )


class Maker:
    """Makes Policy objects from text, as programs have it; the policies of a tunnel share its template."""

    def __init__(self, xfrm: Any) -> None:
        self.xfrm = xfrm
        self._templates: dict[tuple[int, int], Any] = {}

    def template(self, row: Row) -> Any:
        known = self._templates.get((row.reqid, row.tunnel_destination))
        if known is None:
            known = self.xfrm.Template(
                text(row.tunnel_source), text(row.tunnel_destination), reqid=row.reqid, mode="tunnel"
            )
            self._templates[row.reqid, row.tunnel_destination] = known
        return known

    def policy(self, row: Row) -> Policy:
        xfrm, family = self.xfrm, row.family
        made: Policy = xfrm.Policy(
            xfrm.Selector(
                f"{text(row.source, family)}/{row.source_length}",
                f"{text(row.destination, family)}/{row.destination_length}",
            ),
            direction="out",
            priority=row.priority,
            templates=self.template(row),
            mark=None if row.mark is None else xfrm.Mark(row.mark),
            if_id=row.if_id,
        )
        return made


def columns(table: Sequence[Row]) -> dict[str, Any]:
    """What load_columns takes beside a template: numpy arrays of what differs, all of one family."""
    import numpy

    first = table[0]
    if any(row.family != first.family for row in table):
        raise ValueError("columns of both families")
    destinations: Any
    if first.family == INET:
        destinations = numpy.array([row.destination for row in table], dtype=numpy.uint32)
    else:
        joined = b"".join(packed(row.destination, INET6) for row in table)
        destinations = numpy.frombuffer(joined, dtype=numpy.uint8).reshape(len(table), 16)
    result: dict[str, Any] = {
        "destination": destinations,
        "destination_prefix_length": numpy.array([row.destination_length for row in table], dtype=numpy.uint8),
        "template_destination": numpy.array([row.tunnel_destination for row in table], dtype=numpy.uint32),
    }
    for name in ("priority", "reqid", "mark", "if_id"):
        if getattr(first, name) is not None:
            result[name] = numpy.array([getattr(row, name) for row in table], dtype=numpy.uint32)
    return result

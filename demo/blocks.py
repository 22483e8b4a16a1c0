# SPDX-License-Identifier: MIT
"""Address blocks with their countries: read from a table, cut into prefixes, sampled."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

BITS = {4: 32, 6: 128}


class Block(NamedTuple):
    """One prefix of a country.  The address is an integer: a table has half a million of these."""

    version: int
    address: int
    length: int
    country: str

    @property
    def prefix(self) -> str:
        """The prefix as text, for example ``192.0.2.0/24``."""
        if self.version == 4:
            text = socket.inet_ntop(socket.AF_INET, self.address.to_bytes(4, "big"))
        else:
            text = socket.inet_ntop(socket.AF_INET6, self.address.to_bytes(16, "big"))
        return f"{text}/{self.length}"


def cut(first: int, last: int, bits: int) -> Iterator[tuple[int, int]]:
    """Cut an address range into the fewest prefixes: pairs of address and prefix length.

    The same result as ``ipaddress.summarize_address_range``, without an object per address:
    each step takes the largest block that starts at ``first`` (its lowest set bit says how large
    the alignment allows) and doesn't reach beyond ``last``.
    """
    while first <= last:
        aligned = (first & -first).bit_length() - 1 if first else bits
        fitting = (last - first + 1).bit_length() - 1
        host_bits = min(aligned, fitting)
        yield first, bits - host_bits
        first += 1 << host_bits


def read_table(path: Path, version: int) -> list[Block]:
    """All blocks of a ``geoip`` (IPv4) or ``geoip6`` file, in the order of the file.

    A line is ``first,last,country``: IPv4 addresses as integers, IPv6 addresses as text.
    """
    bits = BITS[version]
    blocks: list[Block] = []
    with path.open(encoding="ascii") as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith("#") or not line.strip():
                continue
            try:
                first, last, country = line.rstrip("\n").split(",")[:3]
                start, end = (_address(first), _address(last)) if version == 6 else (int(first), int(last))
            except (ValueError, OSError) as error:
                raise ValueError(f"{path}, line {number}: {line.rstrip()!r}: {error}") from error
            for address, length in cut(start, end, bits):
                blocks.append(Block(version, address, length, country))
    return blocks


def _address(text: str) -> int:
    return int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big")


def choose(tables: Iterable[list[Block]], count: int | None, seed: int) -> list[Block]:
    """``count`` blocks drawn at random, in the order of the tables; all of them if ``None``.

    A later table is drawn on only when the earlier ones have too few blocks, and ``tables`` may
    be a generator: what isn't needed is never read.
    """
    chosen: list[Block] = []
    draw = random.Random(seed)
    for table in tables:
        missing = len(table) if count is None else count - len(chosen)
        if missing >= len(table):
            chosen += table
        else:
            chosen += [table[index] for index in sorted(draw.sample(range(len(table)), missing))]
        if len(chosen) == count:
            break
    return chosen

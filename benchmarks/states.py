# SPDX-License-Identifier: MIT
"""The states that the benchmarks load: as State object, as line for `ip -batch`, as columns."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from xfrm_ext import Algorithm, AuthAlgorithm, Session, State

FIRST = int(IPv4Address("10.0.0.0"))
SOURCE = "192.0.2.1"
AUTHENTICATION_KEY, ENCRYPTION_KEY = bytes(range(32)), bytes(range(16))


def states(count: int) -> list[State]:
    """Tunnel states, each to a peer of its own."""
    authentication = AuthAlgorithm("hmac(sha256)", AUTHENTICATION_KEY)
    encryption = Algorithm("cbc(aes)", ENCRYPTION_KEY)
    return [
        State(
            SOURCE,
            IPv4Address(FIRST + number),
            spi=0x1000 + number,
            mode="tunnel",
            reqid=number + 1,
            authentication=authentication,
            encryption=encryption,
        )
        for number in range(count)
    ]


def batch_line(number: int) -> str:
    """The same for `ip -batch`."""
    return (
        f"xfrm state add src {SOURCE} dst {IPv4Address(FIRST + number)} proto esp spi {0x1000 + number} mode tunnel"
        f" reqid {number + 1} replay-window 32 auth-trunc hmac(sha256) 0x{AUTHENTICATION_KEY.hex()} 128"
        f" enc cbc(aes) 0x{ENCRYPTION_KEY.hex()}\n"
    )


def load(count: int) -> None:
    """Objects made from nothing, and loaded: what a whole process does."""
    with Session() as session:
        session.sad.load(states(count))


def columns(count: int) -> dict[str, Any]:
    """What load_columns takes beside a template. Raises ImportError without numpy."""
    import numpy

    numbers = numpy.arange(count, dtype=numpy.uint32)
    return {"destination": numbers + FIRST, "spi": numbers + 0x1000, "reqid": numbers + 1}

# SPDX-License-Identifier: MIT
"""The codec in Python as somebody uses it who has no compiler: policies and plain sockets.

    XFRM_EXT_CODEC=pure python -m benchmarks.pure load SHAPE COUNT one|batch
    XFRM_EXT_CODEC=pure python -m benchmarks.pure dump

Prints JSON. Started by the benchmarks, in their network namespace.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from dataclasses import asdict, fields
from typing import Any

import xfrm_ext
from benchmarks import kernel, policies
from benchmarks.measure import BenchmarkError, Stopwatch
from xfrm_ext.codec import pure

BATCH = 256
STAMP = struct.Struct("=HII")  # flags, sequence number, port: behind length and type
STAMP_OFFSET = 6
ERROR = struct.Struct("=IHHIIi")
NLMSG_ERROR = 2


def stamped(message: bytes, sequence: int, ack: bool) -> bytearray:
    """The message with its sequence number, and whether an ACK is wanted."""
    copy = bytearray(message)
    STAMP.pack_into(copy, STAMP_OFFSET, policies.NLM_F_REQUEST | (policies.NLM_F_ACK if ack else 0), sequence, 0)
    return copy


def await_ack(sock: socket.socket, sequence: int) -> None:
    """Reads until the ACK of the message with this number is there; a refusal is an error."""
    while True:
        _, kind, _, answered, _, error = ERROR.unpack_from(sock.recv(65536))
        if kind != NLMSG_ERROR or error:
            raise BenchmarkError(f"message {answered} was refused with errno {-error}")
        if answered == sequence:
            return


def load(shape: str, count: int, how: str) -> dict[str, object]:
    maker = policies.Maker(xfrm_ext)
    rows = policies.rows(shape, count)
    with Stopwatch() as making:
        messages = [pure.encode(maker.policy(row)) for row in rows]
    per_send = 1 if how == "one" else BATCH
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, kernel.NETLINK_XFRM) as sock:
        sock.bind((0, 0))
        sock.settimeout(kernel.TIMEOUT_SECONDS)
        with Stopwatch() as sending:
            for start in range(0, count, per_send):
                end = min(start + per_send, count)
                sock.send(b"".join([stamped(messages[n], n + 1, n + 1 == end) for n in range(start, end)]))
                await_ack(sock, end)
    return {"making": asdict(making.timing), "sending": asdict(sending.timing)}


def dump() -> dict[str, object]:
    """Every policy as an object, all its fields read."""
    names = [field.name for field in fields(xfrm_ext.Policy)]
    read = 0
    with kernel.Kernel() as source, Stopwatch() as dumping:
        for message in source.dump_messages():
            policy: Any = pure.decode(message)
            read += sum(getattr(policy, name) is not None for name in names)
            read += policy.selector.source is not None and policy.selector.destination is not None
    return {"read": read, **asdict(dumping.timing)}


def main() -> None:
    if xfrm_ext.codec.select(None) is not pure.codec:
        raise BenchmarkError("to be run with XFRM_EXT_CODEC=pure")
    verb, *arguments = sys.argv[1:]
    if verb == "load":
        shape, count, how = arguments
        result = load(shape, int(count), how)
    else:
        result = dump()
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()

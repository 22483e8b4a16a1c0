# SPDX-License-Identifier: MIT
"""What iproute2 sent, received and printed: see README.md. And a second way to take messages apart, which
shares no code with the package."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

_FOLDER = Path(__file__).parent
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")

NEWPOLICY, DELPOLICY, GETPOLICY, UPDPOLICY, FLUSHPOLICY = 0x13, 0x14, 0x15, 0x19, 0x1D
TMPL, SEC_CTX, POLICY_TYPE, MARK, OFFLOAD_DEV, IF_ID = 5, 8, 16, 21, 28, 31

_FIXED_SIZES = {NEWPOLICY: 168, UPDPOLICY: 168, DELPOLICY: 64, GETPOLICY: 64, FLUSHPOLICY: 0}


class Parts(NamedTuple):
    """A netlink message taken apart."""

    type: int
    flags: int
    fixed: bytes
    """The structure behind the header."""
    attributes: tuple[tuple[int, bytes], ...]
    """Type and payload of each attribute, in their order."""

    def joined(self) -> bytes:
        """The message again, with sequence number and port 0."""
        body = self.fixed
        for kind, payload in self.attributes:
            body += attribute(kind, payload)
        return _HEADER.pack(_HEADER.size + len(body), self.type, self.flags, 0, 0) + body


def records(name: str) -> list[dict[str, Any]]:
    """The records of one file."""
    with gzip.open(_FOLDER / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def messages(datagram: bytes) -> list[bytes]:
    """The messages of a datagram."""
    result = []
    position = 0
    while position < len(datagram):
        size = _HEADER.unpack_from(datagram, position)[0]
        assert size >= _HEADER.size
        result.append(datagram[position : position + size])
        position += (size + 3) & ~3
    return result


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute with its padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload + bytes(-len(payload) % 4)


def take_apart(message: bytes) -> Parts:
    """The parts of a policy message that is known to be well-formed."""
    size, kind, flags, _, _ = _HEADER.unpack_from(message)
    assert size == len(message)
    # A request to dump all policies is nothing but a header.
    begin = min(_HEADER.size + _FIXED_SIZES[kind], size)
    attributes = []
    position = begin
    while position < size:
        length, number = _ATTRIBUTE.unpack_from(message, position)
        assert length >= _ATTRIBUTE.size
        assert position + length <= size
        attributes.append((number, message[position + _ATTRIBUTE.size : position + length]))
        position += (length + 3) & ~3
    return Parts(kind, flags, message[_HEADER.size : begin], tuple(attributes))

# SPDX-License-Identifier: MIT
"""The kernel's own view of its policies, by a raw netlink socket, to check the benchmarks against.

It shares no code with the library, so that both can't be wrong in the same way.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

NETLINK_XFRM = 6
XFRM_MSG_NEWPOLICY, XFRM_MSG_GETPOLICY = 0x13, 0x15
XFRM_MSG_FLUSHPOLICY, XFRM_MSG_GETSPDINFO = 0x1D, 0x25
XFRMA_SPD_INFO, XFRMA_SPD_HINFO = 1, 2
XFRMA_POLICY_TYPE, XFRM_POLICY_TYPE_MAIN = 16, 0
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
# The kernel never fills more than 32 KiB of a dump's datagram.
RECEIVE_SIZE = 65536
TIMEOUT_SECONDS = 60

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
SELECTOR = struct.Struct("=16s16s8xHBB")
DONE_SIZE = HEADER.size + 4
POLICY_INFO_SIZE = 168
CURRENT_OFFSET, PRIORITY_OFFSET, INDEX_OFFSET, DIRECTION_OFFSET = 120, 152, 156, 160


@dataclass(frozen=True, slots=True)
class Counts:
    """How many policies there are in all directions, and the size of a hash table less one."""

    policies: int
    hash_mask: int


class KernelError(Exception):
    """The kernel refused, or its answer could not be read."""


class Kernel:
    """A netlink socket in the network namespace of this process."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM)
        self._socket.bind((0, 0))
        self._socket.settimeout(TIMEOUT_SECONDS)
        self._sequence = 0
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def counts(self) -> Counts:
        self._request(XFRM_MSG_GETSPDINFO, 0, bytes(4))
        body = self._answer()
        position, found = 4, {}
        while position < len(body):
            length, kind = ATTRIBUTE.unpack_from(body, position)
            found[kind] = body[position + ATTRIBUTE.size : position + length]
            position += (length + 3) & ~3
        incoming, outgoing, forwarded = struct.unpack_from("=III", found[XFRMA_SPD_INFO])
        (hash_mask,) = struct.unpack_from("=I", found[XFRMA_SPD_HINFO])
        return Counts(incoming + outgoing + forwarded, hash_mask)

    def flush(self) -> None:
        self._request(XFRM_MSG_FLUSHPOLICY, NLM_F_ACK, b"")
        self._answer()

    def dump(self) -> Iterator[bytes]:
        """The body of each policy's message, in the kernel's order: the newest first."""
        for message in self.dump_messages():
            yield message[HEADER.size :]

    def dump_messages(self) -> Iterator[bytes]:
        """The same with their headers."""
        for length in self._dump_datagrams():
            position = 0
            while position < length:
                size, kind, _, _, _ = HEADER.unpack_from(self._buffer, position)
                if kind == XFRM_MSG_NEWPOLICY:
                    yield bytes(self._buffer[position : position + size])
                position += (size + 3) & ~3

    def receive_dump(self) -> None:
        """Receives a dump and looks at nothing in it: the floor of a dump from Python."""
        for _ in self._dump_datagrams():
            pass

    def _dump_datagrams(self) -> Iterator[int]:
        self._request(XFRM_MSG_GETPOLICY, NLM_F_DUMP, b"")
        while True:
            length = self._socket.recv_into(self._buffer)
            _, kind, _, sequence, _ = HEADER.unpack_from(self._buffer)
            if kind == NLMSG_ERROR:
                raise KernelError("the kernel refused the dump")
            if sequence != self._sequence:
                raise KernelError("an answer to another request")
            yield length
            # The end may share a datagram with the last policies. It is a header and an int.
            size, kind, _, sequence, _ = HEADER.unpack_from(self._buffer, length - DONE_SIZE)
            if (size, kind, sequence) == (DONE_SIZE, NLMSG_DONE, self._sequence):
                return

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        header = HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)

    def _answer(self) -> bytes:
        length = self._socket.recv_into(self._buffer)
        _, kind, _, sequence, _ = HEADER.unpack_from(self._buffer)
        if sequence != self._sequence:
            raise KernelError("an answer to another request")
        body = bytes(self._buffer[HEADER.size : length])
        if kind == NLMSG_ERROR:
            (error,) = struct.unpack_from("=i", body)
            if error:
                raise KernelError(f"the kernel refused a request with errno {-error}")
        return body


def selector_key(body: bytes) -> bytes:
    """Source and destination of a policy's body in one comparable value."""
    destination, source, family, destination_length, source_length = SELECTOR.unpack_from(body)
    return prefix_key(family, source, source_length) + prefix_key(family, destination, destination_length)


def prefix_key(family: int, packed: bytes, length: int) -> bytes:
    return bytes((family, length)) + packed.ljust(16, b"\0")


def index_of(body: bytes) -> tuple[int, int]:
    """The kernel's number of a policy, and its direction."""
    (index,) = struct.unpack_from("=I", body, INDEX_OFFSET)
    return index, body[DIRECTION_OFFSET]


def as_asked_for(body: bytes) -> bytes:
    """A policy's body less what the kernel puts in by itself: times, counters, index, the main type."""
    attributes = []
    position = POLICY_INFO_SIZE
    while position < len(body):
        length, kind = ATTRIBUTE.unpack_from(body, position)
        end = position + ((length + 3) & ~3)
        if kind != XFRMA_POLICY_TYPE or body[position + ATTRIBUTE.size] != XFRM_POLICY_TYPE_MAIN:
            attributes.append(body[position:end])
        position = end
    # The kernel has its own order of attributes; that of a request means nothing.
    attributes.sort(key=lambda attribute: ATTRIBUTE.unpack_from(attribute)[1])
    info = body[:CURRENT_OFFSET] + bytes(PRIORITY_OFFSET - CURRENT_OFFSET) + body[PRIORITY_OFFSET:INDEX_OFFSET]
    return info + bytes(4) + body[DIRECTION_OFFSET:POLICY_INFO_SIZE] + b"".join(attributes)

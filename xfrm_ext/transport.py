# SPDX-License-Identifier: MIT
"""What a transport is: how messages get to a kernel and back, and what is known of them then.

``xfrm_ext.rtnl.Handle`` is the real one, ``xfrm_ext.testing.FakeTransport`` a scripted one. None of this
needs the compiled module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

from xfrm_ext import wire
from xfrm_ext.constants import AttributeType
from xfrm_ext.errors import KernelError, ProtocolError, kernel_error
from xfrm_ext.wire.layouts import HEADER, aligned

_Decoded = TypeVar("_Decoded")
_Made = TypeVar("_Made", covariant=True)


# No dataclasses here: importing the module takes longer than a short command.


class Outcome(NamedTuple):
    """What the kernel said of one message that it refused.

    ``index`` of the message in its batch, ``errno``, the kernel's ``text`` (extended ACK), the ``offset`` of
    the attribute at fault in the message as sent (0: none), the type of an attribute that is missing (0: none).
    """

    index: int  # type: ignore[assignment]  # a tuple has a method of this name, which nobody needs
    errno: int
    text: str = ""
    offset: int = 0
    missing_type: int = 0

    def error(
        self,
        operation: str,
        message: bytes | bytearray | memoryview,
        index: int | None = None,
        line: int | None = None,
    ) -> KernelError:
        """The exception for this refusal of `message`."""
        kind = self.missing_type or wire.attribute_at(message, self.offset)
        attribute = None if not kind else f"XFRMA_{AttributeType(kind).name}"
        return kernel_error(self.errno, operation, self.text, attribute, index, line)


class BatchOutcome:
    """What became of a batch of messages: of [0, acked) everything is known; [acked, sent) were handed to the
    kernel, and their outcome is unknown unless it is among ``failures``; the rest was not sent."""

    __slots__ = ("_noted", "acked", "error", "failures", "sent")

    def __init__(self) -> None:
        self.acked = 0
        self.sent = 0
        self.failures: list[Outcome] = []
        self.error = 0
        """0, or the errno that ended it: ENOBUFS (replies were lost), ETIMEDOUT, or one of sending."""
        self._noted: Callable[[], tuple[int, int, list[Outcome]]] | None = None

    def __repr__(self) -> str:
        return f"BatchOutcome(acked={self.acked}, sent={self.sent}, failures={self.failures}, error={self.error})"

    def settle(self) -> None:
        """Takes over what the transport has noted. `talk_batch` does so before it returns; but a signal handler
        may raise anywhere, in there too, so whoever catches that calls this again before reading the outcome."""
        if self._noted is not None:
            self.acked, self.sent, self.failures = self._noted()
            self._noted = None


class Decoder(Protocol[_Made]):
    """What is made of each block of a dump, in C, where it is received."""

    function: Any
    """A C function, which gets the argument, the block and its length, and returns 0 or -errno."""
    ahead: int
    """How many blocks of a long dump may be received by a thread before they are looked at."""
    decodes_in_thread: bool
    """Whether that thread also decodes them: best for who holds the GIL while looking at what was made. Each block
    is decoded into something of its own then. Otherwise who takes a block decodes it, while the thread receives."""

    def prepare(self, size: int) -> tuple[_Made, Any]:
        """What a block of at most `size` bytes is decoded into, and the argument for that."""


class Transport(Protocol):
    """What moves messages to a kernel and back."""

    def talk(
        self, message: bytes, operation: str, *, answer: bool = False, timeout: float | None = None
    ) -> bytearray | None: ...

    def talk_batch(
        self,
        block: bytearray,
        count: int,
        *,
        per_send: int = 256,
        stop_on_error: bool = False,
        outcome: BatchOutcome,
        timeout: float | None = None,
    ) -> None: ...

    def dump(self, message: bytes, operation: str, *, timeout: float | None = None) -> Iterator[bytearray]: ...

    def dump_decoded(
        self, message: bytes, operation: str, decoder: Decoder[_Decoded], *, timeout: float | None = None
    ) -> Iterator[_Decoded]: ...

    def interface_index(self, name: str) -> int: ...

    @property
    def port(self) -> int: ...

    def open_beside(self, protocol: int | None = None) -> Transport: ...

    def read_proc_net(self, name: str) -> bytes: ...

    def open_listener(self, groups: int, *, all_namespaces: bool, buffer: int, backlog: int) -> Listener: ...

    def close(self) -> None: ...


class Listener(Protocol):
    """What hears a kernel's events, and the memory that they wait in.

    What it holds stays there until it is released: nothing is lost when a signal handler raises between two calls.
    """

    @property
    def receive_buffer(self) -> int: ...

    def fileno(self) -> int: ...

    def fill(self, *, timeout: float | None = None) -> None: ...

    def peek(self, most: int) -> tuple[Any, int]: ...

    def release(self, end: int) -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


_Block = TypeVar("_Block", bytes, bytearray, memoryview)


def messages(block: _Block) -> list[_Block]:
    """The messages in a block. Raises ProtocolError where a length does not fit.

    Not a generator: while one that was left is being closed, what a signal handler raises is lost.
    """
    result: list[_Block] = []
    position = 0
    while position < len(block):
        left = len(block) - position
        size = HEADER.unpack_from(block, position)[0] if left >= HEADER.size else 0
        if not HEADER.size <= size <= left:
            raise ProtocolError("a netlink message has a length that does not fit")
        result.append(block[position : position + size])
        position += aligned(size)
    return result

# SPDX-License-Identifier: MIT
"""Session: a connection to the XFRM of one network namespace."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TypeAlias

from xfrm_ext.checks import integer, seconds, shown
from xfrm_ext.errors import ValidationError
from xfrm_ext.rtnl import BatchOutcome, Transport, open_byproto
from xfrm_ext.spd import Spd

NetnsLike: TypeAlias = "int | str | os.PathLike[str]"


class Session:
    """A connection to the XFRM of one network namespace.

    ``netns`` is a name in /run/netns (as `ip netns` makes them), a path, or an open file descriptor; default:
    the calling thread's. Entering another one needs CAP_SYS_ADMIN, and leaves the calling thread where it is.
    ``timeout`` (seconds, None: none) bounds each wait for the kernel. Threads may share a session; after a fork
    the child needs one of its own. Raises KernelError, ValidationError.

    ``with Session() as session: session.spd.add(policy)``
    """

    def __init__(
        self,
        netns: NetnsLike | None = None,
        *,
        timeout: float | None = 30.0,
        transport: Transport | None = None,
    ) -> None:
        self.timeout = seconds(timeout, "Session.timeout")
        self._transport: Transport = _Shared(_open(netns) if transport is None else transport)
        self.spd = Spd(self)

    def close(self) -> None:
        """Closes the session. May be called twice."""
        self._transport.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _dump(self, message: bytes, operation: str) -> Iterator[bytes]:
        """Blocks of a dump, over a socket of its own: other requests can go on meanwhile, and a dump that is
        not read to its end blocks nothing."""
        beside = self._transport.open_beside()
        try:
            yield from beside.dump(message, operation, timeout=self.timeout)
        finally:
            beside.close()


def _open(netns: NetnsLike | None) -> Transport:
    if netns is None:
        return open_byproto()
    if isinstance(netns, int) and not isinstance(netns, bool):
        return open_byproto(netns=integer(netns, "Session.netns", 0x7FFFFFFF))
    if not isinstance(netns, (str, os.PathLike)) or not os.fspath(netns):
        raise ValidationError("Session.netns", shown(netns), "is not a name, a path or a file descriptor")
    path = os.fsdecode(netns)
    try:
        namespace = os.open(path if "/" in path else f"/run/netns/{path}", os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in it
        why = error.strerror if isinstance(error, OSError) else error
        rule = f"is not a network namespace that can be opened: {why}"
        raise ValidationError("Session.netns", shown(netns), rule) from None
    try:
        return open_byproto(netns=namespace)
    finally:
        os.close(namespace)


class _Shared:
    """A transport that threads take turns with: one exchange at a time."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()

    def talk(
        self, message: bytes, operation: str, *, answer: bool = False, timeout: float | None = None
    ) -> bytes | None:
        with self._lock:
            return self._transport.talk(message, operation, answer=answer, timeout=timeout)

    def talk_batch(
        self,
        block: bytearray,
        count: int,
        *,
        per_send: int = 256,
        stop_on_error: bool = False,
        outcome: BatchOutcome,
        timeout: float | None = None,
    ) -> None:
        with self._lock:
            self._transport.talk_batch(
                block,
                count,
                per_send=per_send,
                stop_on_error=stop_on_error,
                outcome=outcome,
                timeout=timeout,
            )

    def dump(self, message: bytes, operation: str, *, timeout: float | None = None) -> Iterator[bytes]:
        return self._transport.dump(message, operation, timeout=timeout)

    def interface_index(self, name: str) -> int:
        with self._lock:
            return self._transport.interface_index(name)

    def open_beside(self) -> Transport:
        with self._lock:
            return self._transport.open_beside()

    def close(self) -> None:
        with self._lock:
            self._transport.close()

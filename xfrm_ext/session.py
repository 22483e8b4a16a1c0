# SPDX-License-Identifier: MIT
"""Session: a connection to the XFRM of one network namespace."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

from xfrm_ext.checks import integer, seconds, shown
from xfrm_ext.errors import BusyError, ClosedError, ValidationError, compiled_module_needed
from xfrm_ext.spd import Spd
from xfrm_ext.transport import BatchOutcome, Transport

_Result = TypeVar("_Result")
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
    with compiled_module_needed("a connection to the kernel"):
        from xfrm_ext.rtnl import open_byproto
    if netns is None:
        return open_byproto()
    if isinstance(netns, int) and not isinstance(netns, bool):
        return open_byproto(netns=integer(netns, "Session.netns", 0x7FFFFFFF))
    if not isinstance(netns, (str, os.PathLike)) or not os.fspath(netns):
        raise ValidationError("Session.netns", shown(netns), "is not a name, a path or a file descriptor")
    path = os.fsdecode(netns)
    try:
        namespace = os.open(path if "/" in path else f"/run/netns/{path}", os.O_RDONLY | os.O_CLOEXEC)
    except ValueError:  # a NUL or a lone surrogate in it
        raise ValidationError("Session.netns", shown(netns), "is not a name, a path or a file descriptor") from None
    except OSError as error:
        rule = f"is not a network namespace that can be opened: {error.strerror}"
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
        self._owner: int | None = None
        self._pid = os.getpid()
        self._close_after = False

    def _exchange(self, call: Callable[..., _Result], *arguments: Any, **options: Any) -> _Result:
        """Calls while no other thread does. Never waits for a thread that can't give its turn back."""
        this_thread = threading.get_ident()
        if self._pid != os.getpid():
            raise ClosedError("this session belongs to the parent process: open a new one after a fork")
        if self._owner == this_thread:
            raise BusyError("a signal handler used a session in the middle of its own thread's exchange")
        with self._lock:  # nothing between this and `try` where a signal handler could run
            try:
                self._owner = this_thread
                return call(*arguments, **options)
            finally:
                self._owner = None
                if self._close_after:
                    self._transport.close()

    def talk(
        self, message: bytes, operation: str, *, answer: bool = False, timeout: float | None = None
    ) -> bytes | None:
        return self._exchange(self._transport.talk, message, operation, answer=answer, timeout=timeout)

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
        self._exchange(
            self._transport.talk_batch,
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
        return self._exchange(self._transport.interface_index, name)

    def open_beside(self) -> Transport:
        return self._exchange(self._transport.open_beside)

    def close(self) -> None:
        if self._owner == threading.get_ident():
            self._close_after = True  # a signal handler's wish: when this thread's exchange is over
        elif self._pid != os.getpid():
            self._transport.close()  # the child's copy of the descriptor; nobody else is left to use it
        else:
            with self._lock:
                self._transport.close()

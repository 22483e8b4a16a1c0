# SPDX-License-Identifier: MIT
"""Session: a connection to the XFRM of one network namespace."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from xfrm_ext import codec as codecs
from xfrm_ext.checks import article, integer, seconds, shown
from xfrm_ext.codec.generic import Codec
from xfrm_ext.constants import Group, Message
from xfrm_ext.errors import BusyError, ClosedError, ProtocolError, ValidationError, compiled_module_needed
from xfrm_ext.info import XfrmInfo
from xfrm_ext.request import Body, Request
from xfrm_ext.spd import Spd
from xfrm_ext.transport import BatchOutcome, Decoder, Listener, Transport

if TYPE_CHECKING:  # what not every program needs is imported when it is used: it would double the time to start
    from xfrm_ext.link import Links
    from xfrm_ext.migrate import Migration, StateMigration
    from xfrm_ext.probe import Features
    from xfrm_ext.rtnl import Handle
    from xfrm_ext.sad import Sad
    from xfrm_ext.state import State
    from xfrm_ext.statistics import Statistics
    from xfrm_ext.subscription import Subscription

_Result = TypeVar("_Result")
_Answer = TypeVar("_Answer")
NetnsLike: TypeAlias = "int | str | os.PathLike[str]"
_EVENT_BUFFER = 8 << 20  # bytes: 13,000 policies with a template
_EVENT_BACKLOG = 64 << 20  # 190,000 of them


class Session:
    """A connection to the XFRM of one network namespace.

    ``netns`` is a name in /run/netns (as `ip netns` makes them), a path, or an open file descriptor; default:
    the calling thread's. Entering another one needs CAP_SYS_ADMIN, and leaves the calling thread where it is.
    ``timeout`` (seconds, None: none) bounds each wait for the kernel. Threads may share a session; after a fork
    the child needs one of its own. ``codec`` is "native" or "pure", for requests, replies and events;
    default: that of XFRM_EXT_CODEC, else native, which is also what values and loads are made with.
    Raises KernelError, ValidationError.

    ``with Session() as session: session.spd.add(policy)``
    """

    def __init__(
        self,
        netns: NetnsLike | None = None,
        *,
        timeout: float | None = 30.0,
        transport: Transport | None = None,
        codec: str | None = None,
    ) -> None:
        self.timeout = seconds(timeout, "Session.timeout")
        self._codec: Codec = codecs.select(codec)
        self._transport: Transport = _Shared(open_in(netns) if transport is None else transport)
        self.spd = Spd(self)

    @cached_property
    def sad(self) -> Sad:
        """The verbs on states."""
        from xfrm_ext.sad import Sad

        return Sad(self)

    @cached_property
    def links(self) -> Links:
        """The verbs on XFRM interfaces."""
        from xfrm_ext.link import Links

        return Links(self)

    def close(self) -> None:
        """Closes the session. May be called twice."""
        self._transport.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The netlink port (nl_pid) that this session's changes come from: Event.port of the events that tell of
        them."""
        return self._transport.port

    def subscribe(
        self,
        *groups: Group | int | str,
        all_namespaces: bool = False,
        buffer: int = _EVENT_BUFFER,
        backlog: int = _EVENT_BACKLOG,
    ) -> Subscription:
        """Subscribes to the kernel's events: of these groups (members of Group, their names or numbers), all by
        default. See Subscription.

        With ``all_namespaces`` also to the events of the network namespaces that have an id in the session's own
        one (`ip netns set`, and whatever else asked for one): needs CAP_NET_BROADCAST. ``buffer`` is the size in
        bytes of the queue in which events wait to be read, the kernel's overhead not counted; without
        CAP_NET_ADMIN over the whole machine, net.core.rmem_max limits it. ``backlog`` is how many bytes of events,
        64 MiB by default, may wait in this process's memory, where the subscription moves them whenever it is
        called. Raises PermissionDenied without CAP_NET_ADMIN, KernelError, ValidationError.

        The subscription is in the session's network namespace, on a socket of its own, and lives on when the
        session is closed.
        """
        from xfrm_ext.subscription import Subscription, group_mask

        mask = group_mask(groups)
        size = integer(buffer, "buffer", 0x3FFFFFFF)
        limit = integer(backlog, "backlog", 1 << 40)
        if not isinstance(all_namespaces, bool):
            raise ValidationError("all_namespaces", shown(all_namespaces), "is not True or False")
        listener = self._transport.open_listener(mask, all_namespaces=all_namespaces, buffer=size, backlog=limit)
        return Subscription(listener, self.port, self._codec)

    def info(self) -> XfrmInfo:
        """Counters and hash tables of both databases, and what happens to packets without a policy."""
        return XfrmInfo(sad=self.sad.count(), spd=self.spd.count(), defaults=self.spd.defaults())

    def migrate(self, migration: Migration | StateMigration) -> None:
        """Gives states other addresses: those of a policy, which changes too (XFRM_MSG_MIGRATE), or one
        (XFRM_MSG_MIGRATE_STATE, newer than Linux 6.18). Raises NotFound when there is none; KernelError."""
        from xfrm_ext.migrate import Migration, StateMigration

        if isinstance(migration, Migration):
            self._talk(Request(Message.MIGRATE, migration), "migrate policy")
        elif isinstance(migration, StateMigration):
            self._talk(Request(Message.MIGRATE_STATE, migration), "migrate state")
        else:
            raise ValidationError("migration", shown(migration), "is not a Migration or StateMigration")

    def _talk(self, value: Body | Request, operation: str) -> None:
        """Sends a request, and waits until it is carried out."""
        self._transport.talk(self._codec.encode_wiped(value), operation, timeout=self.timeout)

    def _send_state(self, message: Message, state: State, operation: str) -> None:
        """The same for NEWSA and UPDSA: what the kernel told of a state is sent as it came."""
        self._transport.talk(self._codec.state_message(message, state), operation, timeout=self.timeout)

    def _ask(self, value: Body | Request, operation: str, kind: type[_Answer]) -> _Answer:
        """Sends a request, and returns the body of the message that answers, which must be of a class."""
        request = self._codec.encode_wiped(value)
        reply = self._transport.talk(request, operation, answer=True, timeout=self.timeout)
        if reply is None:
            raise ProtocolError(f"{operation}: the kernel acknowledged, but did not answer")
        try:
            answer = self._codec.decode(reply)
        finally:
            reply[:] = bytes(len(reply))  # it may hold keys
        body = answer.body if isinstance(answer, Request) else answer
        if not isinstance(body, kind):
            words = re.sub("(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()
            raise ProtocolError(f"{operation}: the kernel did not answer with {article(words)}")
        return body

    def features(self) -> Features:
        """What the kernel can do: asked for when first wanted, in ways that change nothing."""
        return self._features

    @cached_property
    def _features(self) -> Features:
        from xfrm_ext.probe import Features

        return Features(self)

    def statistics(self) -> Statistics:
        """The kernel's counters of what went wrong, by name (/proc/net/xfrm_stat). Raises KernelError, with
        EOPNOTSUPP where the kernel has none."""
        from xfrm_ext.statistics import read_statistics

        return read_statistics(self._transport)

    def _dump(self, message: bytes, operation: str) -> Generator[bytearray, None, None]:
        """Blocks of a dump, over a socket of its own: other requests can go on meanwhile, and a dump that is
        not read to its end blocks nothing."""
        beside = self._transport.open_beside()
        try:
            yield from beside.dump(message, operation, timeout=self.timeout)
        finally:
            beside.close()

    def _dump_decoded(
        self, message: bytes, operation: str, decoder: Decoder[_Result]
    ) -> Generator[_Result, None, None]:
        """The same, decoded in C."""
        beside = self._transport.open_beside()
        try:
            yield from beside.dump_decoded(message, operation, decoder, timeout=self.timeout)
        finally:
            beside.close()


def open_in(netns: NetnsLike | None) -> Handle:
    """A socket in a network namespace, as Session takes it. Raises KernelError, ValidationError."""
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
    ) -> bytearray | None:
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

    def dump(self, message: bytes, operation: str, *, timeout: float | None = None) -> Iterator[bytearray]:
        return self._transport.dump(message, operation, timeout=timeout)

    def dump_decoded(
        self, message: bytes, operation: str, decoder: Decoder[_Result], *, timeout: float | None = None
    ) -> Iterator[_Result]:
        return self._transport.dump_decoded(message, operation, decoder, timeout=timeout)

    def interface_index(self, name: str) -> int:
        return self._exchange(self._transport.interface_index, name)

    @property
    def port(self) -> int:
        return self._transport.port

    def open_beside(self, protocol: int | None = None) -> Transport:
        given = () if protocol is None else (protocol,)
        return self._exchange(self._transport.open_beside, *given)

    def read_proc_net(self, name: str) -> bytes:
        return self._exchange(self._transport.read_proc_net, name)

    def open_listener(self, groups: int, *, all_namespaces: bool, buffer: int, backlog: int) -> Listener:
        return self._exchange(
            self._transport.open_listener, groups, all_namespaces=all_namespaces, buffer=buffer, backlog=backlog
        )

    def close(self) -> None:
        if self._owner == threading.get_ident():
            self._close_after = True  # a signal handler's wish: when this thread's exchange is over
        elif self._pid != os.getpid():
            self._transport.close()  # the child's copy of the descriptor; nobody else is left to use it
        else:
            with self._lock:
                self._transport.close()

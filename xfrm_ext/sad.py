# SPDX-License-Identifier: MIT
"""Sad: the verbs on the Security Association Database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from xfrm_ext import wire
from xfrm_ext.bulk import (
    BATCH,
    LoadResult,
    OnError,
    Operation,
    Progress,
    StateItems,
    load,
)
from xfrm_ext.checks import choice, choices, shown
from xfrm_ext.columns_read import Columns, Selection
from xfrm_ext.constants import (
    AsyncEventFlag,
    Family,
    Message,
    Mode,
    Protocol,
    StateDirection,
)
from xfrm_ext.delete_where import Choice, DeleteResult, Deletion, Named, named, state_names
from xfrm_ext.errors import ValidationError, compiled_module_needed
from xfrm_ext.event import AsyncEvent, StateExpired
from xfrm_ext.info import SadInfo
from xfrm_ext.mark import Mark
from xfrm_ext.request import Request
from xfrm_ext.selector import AddressLike, PrefixLike
from xfrm_ext.state import State
from xfrm_ext.state_id import StateId
from xfrm_ext.state_request import SpiRequest, StateFilter
from xfrm_ext.transport import messages

if TYPE_CHECKING:
    from xfrm_ext.session import Session

_ITEMS = StateItems(State)
_PROTOCOLS = choices(Protocol)
_ALL = (
    AsyncEventFlag.REPLAY_THRESHOLD
    | AsyncEventFlag.REPLAY_VALUE
    | AsyncEventFlag.LIFETIME_VALUE
    | AsyncEventFlag.EVENT_TIMER_THRESHOLD
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCounters:
    """What a state has been used for: the part of a dump that exporters want, without keys."""

    source: str
    destination: str
    spi: int
    protocol: Protocol
    mode: Mode
    reqid: int
    mark: Mark | None
    if_id: int | None
    direction: StateDirection | None
    bytes: int
    packets: int
    add_time: int
    """Seconds since 1970."""
    use_time: int
    """Of the first use; 0: never."""
    last_used: int | None
    replay_window: int
    """Packets refused since they were outside the replay window."""
    replay: int
    """Packets refused since they were seen before."""
    integrity_failed: int


class Sad:
    """The Security Association Database of a session's network namespace. Made by Session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, state: State) -> None:
        """Adds a state (XFRM_MSG_NEWSA).

        Raises AlreadyExists when there is one with the same destination, SPI, protocol and an overlapping mark;
        KernelError, which says in the kernel's words what a state may not be; ReplyTimeout, RepliesLost.
        """
        self._session._send_state(Message.NEWSA, _state(state), "add state")

    def update(self, state: State) -> None:
        """Replaces the state of the same identity, or completes a larval one (XFRM_MSG_UPDSA).

        Addresses, SPI, protocol, mark and if_id stay as they are. Raises NotFound when there is none; KernelError.
        """
        self._session._send_state(Message.UPDSA, _state(state), "update state")

    def get(
        self,
        which: State | StateId | AddressLike,
        spi: int | None = None,
        protocol: Protocol | int | str | None = None,
        *,
        source: AddressLike | None = None,
        mark: Mark | None = None,
    ) -> State:
        """Reads one state (XFRM_MSG_GETSA): that of a State or StateId, or of a destination with SPI, protocol and
        mark as it was added (protocols without an SPI: with the source). Raises NotFound, KernelError."""
        named = _state_id(which, spi, protocol, source, mark)
        return self._session._ask(Request(Message.GETSA, named), "get state", State)

    def delete(
        self,
        which: State | StateId | AddressLike,
        spi: int | None = None,
        protocol: Protocol | int | str | None = None,
        *,
        source: AddressLike | None = None,
        mark: Mark | None = None,
    ) -> None:
        """Deletes one state (XFRM_MSG_DELSA), named as for `get`. Raises NotFound when there is none."""
        named = _state_id(which, spi, protocol, source, mark)
        self._session._talk(Request(Message.DELSA, named), "delete state")

    def dump(
        self,
        *,
        protocol: Protocol | int | str | None = None,
        source: PrefixLike | None = None,
        destination: PrefixLike | None = None,
        family: Family | int | str | None = None,
    ) -> Iterator[State]:
        """Reads all states, in constant memory, or those of a protocol and with addresses in these prefixes: the
        kernel looks, and sends no others.

        What others change meanwhile may be seen or not. The timeout is for each piece.
        """
        wanted = StateFilter(protocol, source, destination, family)
        codec = self._session._codec
        for block in self._blocks(wanted, "dump states"):
            codec.wire.check_states(block)
            for message in messages(memoryview(block)):
                yield State._from_message(message, codec.wire)

    def counters(
        self,
        *,
        protocol: Protocol | int | str | None = None,
        source: PrefixLike | None = None,
        destination: PrefixLike | None = None,
        family: Family | int | str | None = None,
    ) -> Iterator[StateCounters]:
        """The same, but only what is counted: no key is looked at, let alone kept. Exporters that read many states
        get there many times faster by `dump_columns` with the columns they want."""
        wanted = StateFilter(protocol, source, destination, family)
        texts: dict[tuple[bytes, int], str] = {}
        for block in self._blocks(wanted, "dump counters"):
            for one in self._session._codec.wire.state_counters(block):
                yield _counters(one, texts)

    def dump_columns(
        self,
        fields: Iterable[str] | None = None,
        *,
        text: bool = False,
        protocol: Protocol | int | str | None = None,
        source: PrefixLike | None = None,
        destination: PrefixLike | None = None,
        family: Family | int | str | None = None,
    ) -> Columns:
        """Reads all states, or those that `dump` would, into an array for each field: see Columns and
        docs/columns_read.md. No key is among them, nor looked at.

        Everything else is as for `Spd.dump_columns`; ``text`` makes addresses texts as State.source has them.
        """
        selection = Selection(fields, text, states=True)
        wanted = StateFilter(protocol, source, destination, family)
        request = self._session._codec.encode(Request(Message.GETSA, wanted))
        return selection.read(partial(self._session._dump_decoded, request, "dump states"), self.count().count)

    def _blocks(self, wanted: StateFilter, operation: str) -> Iterator[bytearray]:
        request = self._session._codec.encode(Request(Message.GETSA, wanted))
        for block in self._session._dump(request, operation):
            try:
                yield block
            finally:
                block[:] = bytes(len(block))

    def flush(self, protocol: Protocol | int | str | None = None) -> None:
        """Deletes all states, or those of a protocol (XFRM_MSG_FLUSHSA)."""
        kind = None
        if protocol is not None:
            kind = Protocol(choice(protocol, "protocol", _PROTOCOLS, Protocol))
        self._session._talk(Request(Message.FLUSHSA, kind), "flush states")

    def count(self) -> SadInfo:
        """The kernel's counters of the SAD (XFRM_MSG_GETSADINFO)."""
        return self._session._ask(Request(Message.GETSADINFO), "get SAD info", SadInfo)

    def allocate_spi(
        self,
        source: AddressLike | None = None,
        destination: AddressLike | None = None,
        *,
        protocol: Protocol | int | str = Protocol.ESP,
        mode: Mode | int | str = Mode.TRANSPORT,
        reqid: int = 0,
        minimum: int = 0x100,
        maximum: int | None = None,
        sequence: int = 0,
        mark: Mark | None = None,
        if_id: int | None = None,
        direction: StateDirection | int | str | None = None,
        cpu: int | None = None,
        family: Family | int | str | None = None,
    ) -> State:
        """Makes a larval state with a free SPI, and returns it (XFRM_MSG_ALLOCSPI).

        The SPI is between ``minimum`` and ``maximum``, both included (default: 0x0fffffff; IPComp: 0xffff). With
        ``sequence``, the larval state that an ACQUIRE made gets the SPI. Complete it with `update` before it
        expires (net.core.xfrm_acq_expires seconds), by a State of your own with this SPI: what the larval one has
        of limits, selector and replay window is not for use. Raises NotFound when no SPI is free; KernelError.
        """
        wanted = State(
            source,
            destination,
            spi=0,
            protocol=protocol,
            mode=mode,
            reqid=reqid,
            replay_window=0,
            sequence=sequence,
            mark=mark,
            if_id=if_id,
            direction=direction,
            cpu=cpu,
            family=family,
        )
        if maximum is None:
            maximum = 0xFFFF if wanted.protocol == Protocol.COMP else 0x0FFFFFFF
        request = Request(Message.ALLOCSPI, SpiRequest(wanted, minimum, maximum))
        return self._session._ask(request, "allocate SPI", State)

    def expire(self, state: State, *, hard: bool = False) -> None:
        """Has the kernel say that a state expired (XFRM_MSG_EXPIRE); with ``hard`` it also deletes it."""
        # The kernel looks at what names the state, and refuses a direction or CPU. Keys would be sent for nothing.
        named = _state(state)
        bare = State(
            named.source,
            named.destination,
            spi=named.spi,
            protocol=named.protocol,
            replay_window=0,
            mark=named.mark,
            family=named.family,
        )
        self._session._talk(Request(Message.EXPIRE, StateExpired(bare, bool(hard))), "expire state")

    def async_event(
        self, which: State | StateId, flags: AsyncEventFlag | int | str | Iterable[str] = _ALL
    ) -> AsyncEvent:
        """Sequence numbers, counters and thresholds of a state (XFRM_MSG_GETAE)."""
        request = Request(Message.GETAE, AsyncEvent(which, flags=flags))
        return self._session._ask(request, "get async event", AsyncEvent)

    def set_async_event(self, event: AsyncEvent) -> None:
        """Sets those that ``event`` has (XFRM_MSG_NEWAE). Direction and CPU, which the kernel tells and refuses to
        be told, are left out: what `async_event` returned can be sent back (but not ``event_timer_threshold``,
        which the kernel takes in another unit than it tells)."""
        if not isinstance(event, AsyncEvent):
            raise ValidationError("event", shown(event), "is not an AsyncEvent")
        event = replace(event, direction=None, cpu=None)
        self._session._talk(Request(Message.NEWAE, event), "set async event")

    def load(
        self,
        source: Iterable[State],
        *,
        operation: Operation = "add",
        on_error: OnError = "raise",
        batch: int = BATCH,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> LoadResult:
        """Adds, updates or deletes many states, at the kernel's own speed.

        Everything else is as for `Spd.load`. A rollback deletes what was added by its identity.
        """
        session = self._session
        info, wait = session.spd.count, session.timeout
        return load(session._transport, _ITEMS, info, wait, source, operation, on_error, batch, progress, timeout)

    def delete_where(
        self,
        predicate: Callable[[State], object] | Callable[[Columns], object],
        *,
        fields: Iterable[str] | None = None,
        protocol: Protocol | int | str | None = None,
        source: PrefixLike | None = None,
        destination: PrefixLike | None = None,
        family: Family | int | str | None = None,
        on_error: OnError = "collect",
        batch: int = BATCH,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> DeleteResult:
        """Deletes the states that ``predicate`` is true of, of all or of those that `dump` would show with the same
        protocol, source, destination and family.

        Everything else is as for `Spd.delete_where`: all are chosen before the first is deleted. They are deleted
        by what names them, so one that was deleted and added again meanwhile is deleted too. A larval state without
        an SPI can't be named: it is among the failed, and expires by itself.
        """
        session = self._session
        codec = session._codec
        wanted = StateFilter(protocol, source, destination, family)

        choice = Choice(predicate, fields, states=True)

        def states() -> Iterator[Named]:
            for block in self._blocks(wanted, "dump states"):
                yield from state_names(block, codec.wire, choice)

        one = Deletion(session._transport, _ITEMS, session.spd.count, lambda name: named(codec, name))
        return one.run(states(), on_error, batch, progress, timeout, session.timeout)

    def load_columns(
        self,
        template: State,
        *,
        operation: Operation = "add",
        on_error: OnError = "raise",
        batch: int = BATCH,
        progress: Progress | None = None,
        timeout: float | None = None,
        **columns: Any,
    ) -> LoadResult:
        """Adds, updates or deletes as many states as the columns have rows: ``template`` with the fields of each
        row in place of its own.

        A column is a buffer (numpy, array, memoryview, bytes), a list, a tuple, a range or an Arrow array; a
        single value is that of all rows. Names are those of fields (``destination``, ``spi``, ``aead_key``):
        docs/columns_write.md lists them, and what each may be.

        All rows are checked before anything is sent: ValidationError names the column and the row
        (``destination[17]``). The options, the result and what else may be raised are as for `load`.
        """
        with compiled_module_needed("a load from columns"):
            from xfrm_ext.columns_write import load_columns
        session = self._session
        return load_columns(
            session._transport,
            _ITEMS,
            session.spd.count,
            session.timeout,
            template,
            columns,
            operation,
            on_error,
            batch,
            progress,
            timeout,
        )


def _state(value: object) -> State:
    if isinstance(value, State):
        return value
    raise ValidationError("state", shown(value), "is not a State")


def _state_id(
    which: State | StateId | AddressLike,
    spi: int | None,
    protocol: Protocol | int | str | None,
    source: AddressLike | None,
    mark: Mark | None,
) -> StateId:
    if isinstance(which, (State, StateId)):
        for field, value in (("spi", spi), ("protocol", protocol), ("source", source), ("mark", mark)):
            if value is not None:
                rule = f"is that of the {type(which).__name__}, and not given beside it"
                raise ValidationError(field, None, rule)
        return which.id if isinstance(which, State) else which
    if spi is None:
        raise ValidationError("spi", None, "is needed with a destination")
    kind = Protocol.ESP if protocol is None else protocol
    return StateId(which, spi, kind, source=source, mark=mark)


_SETTERS = [getattr(StateCounters, name).__set__ for name in StateCounters.__dataclass_fields__]
_TEXTS = 4096


def _counters(one: dict[str, Any], texts: dict[tuple[bytes, int], str]) -> StateCounters:
    """What a state's message tells. `texts` are those of addresses that were there before."""
    mask, family = one["mark_mask"], one["family"]
    found = []
    for name in ("source", "destination"):
        key = (one[name], family)
        text = texts.get(key)
        if text is None:
            if len(texts) >= _TEXTS:
                texts.clear()
            text = texts[key] = wire.address_text(*key)
        found.append(text)
    values = (
        *found,
        one["spi"],
        Protocol(one["protocol"]),
        Mode(one["mode"]),
        one["reqid"],
        Mark(one["mark_value"], mask) if mask else None,
        one["if_id"] or None,
        StateDirection(one["direction"]) if one["direction"] else None,
        one["bytes"],
        one["packets"],
        one["add_time"],
        one["use_time"],
        one["last_used"] or None,
        one["replay_window"],
        one["replay"],
        one["integrity_failed"],
    )
    result = StateCounters.__new__(StateCounters)
    for put, value in zip(_SETTERS, values, strict=True):  # a third of what __init__ takes for frozen fields
        put(result, value)
    return result

# SPDX-License-Identifier: MIT
"""Many items at once: batches of messages, what became of each item, progress, rollback.

The rules, from measurements of the kernel: up to 256 messages in a send, an ACK for the last only (one that is
refused always answers); never more replies outstanding than the receive buffer holds; and in a namespace whose
hash tables are still small, wait for them to grow (see ``pacer``).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeAlias, overload

from xfrm_ext import wire
from xfrm_ext.ahead import ahead, closing_source
from xfrm_ext.checks import integer, seconds, shown
from xfrm_ext.constants import Message
from xfrm_ext.errors import (
    BatchFileError,
    KernelError,
    LoadError,
    RepliesLost,
    ReplyTimeout,
    ValidationError,
    XfrmError,
    kernel_error,
)
from xfrm_ext.info import SpdInfo
from xfrm_ext.pacer import Pacer
from xfrm_ext.policy import Policy
from xfrm_ext.transport import BatchOutcome, Transport, messages

Operation: TypeAlias = Literal["add", "update", "delete"]
OnError: TypeAlias = Literal["raise", "collect", "rollback"]
Progress: TypeAlias = Callable[[int, "int | None"], object]

BATCH = 256
"""Messages in a send. Measured: 64 to 256 are within a few percent of the best, more gain nothing."""
LARGEST_BLOCK = 2048
"""Messages that one call into C carries out, in several sends: then Python costs next to nothing."""


@dataclass(frozen=True, slots=True)
class Block:
    """Messages back to back."""

    messages: Any = field(repr=False)  # writable bytes; with keys, if they are of states
    count: int
    numbers: bytes | None
    """The line that each message came from, 32 bits each; None: from no file."""

    @property
    def lines(self) -> list[int] | None:
        """The same as a list, made when it is asked for: most blocks have nothing to report."""
        return None if self.numbers is None else memoryview(self.numbers).cast("I").tolist()


class Indices(Sequence[int]):
    """Item numbers, in order, kept as ranges: a million of them in a row take no more room than one."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[range] = ()) -> None:
        self._ranges: list[range] = []
        for one in ranges:
            self._append(one)

    def _append(self, one: range) -> None:
        """Adds numbers behind the last; those that are there already are left out."""
        stop = self._ranges[-1].stop if self._ranges else 0
        one = range(max(one.start, stop), one.stop)
        if not one:
            return
        if self._ranges and stop == one.start:
            self._ranges[-1] = range(self._ranges[-1].start, one.stop)
        else:
            self._ranges.append(one)

    @property
    def ranges(self) -> tuple[range, ...]:
        """The same numbers as ranges that do not touch."""
        return tuple(self._ranges)

    def __len__(self) -> int:
        return sum(map(len, self._ranges))

    def __iter__(self) -> Iterator[int]:
        for one in self._ranges:
            yield from one

    def __contains__(self, value: object) -> bool:
        return any(value in one for one in self._ranges)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return list(self)[index]
        position = index + len(self) if index < 0 else index
        for one in self._ranges:
            if 0 <= position < len(one):
                return one[position]
            position -= len(one)
        raise IndexError(index)

    def __eq__(self, other: object) -> bool:
        return self._ranges == other._ranges if isinstance(other, Indices) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        texts = (str(one.start) if len(one) == 1 else f"{one.start}-{one.stop - 1}" for one in self._ranges)
        return f"Indices({', '.join(texts)})"


@dataclass(slots=True)
class LoadResult:
    """What became of the items of a load, by their number in the source (from 0).

    Every item that was taken from the source is in exactly one of ``applied``, ``failed``, ``unknown`` and
    ``rolled_back``. Items beyond ``taken`` were not read, and nothing was sent for those in ``not_sent``.
    """

    operation: str
    applied: Indices = field(default_factory=Indices)
    """The kernel has carried these out."""
    failed: list[KernelError | BatchFileError] = field(default_factory=list)
    """One error for each item that was refused, or whose line is wrong; its ``index`` says which."""
    unknown: Indices = field(default_factory=Indices)
    """Handed to the kernel, whose reply did not come: look at the SPD to know."""
    not_sent: Indices = field(default_factory=Indices)
    """Taken from the source, but not handed to the kernel."""
    rolled_back: Indices = field(default_factory=Indices)
    """Applied, and removed again since the load failed."""
    taken: int = 0
    """Items taken from the source."""
    rollback_error: XfrmError | None = None
    """What kept a rollback from finishing. ``applied`` and ``unknown`` say what it left."""

    def summary(self) -> str:
        """The counts, for people."""
        parts = [f"{len(self.applied)} applied"]
        for name in ("failed", "unknown", "not_sent", "rolled_back"):
            count = len(getattr(self, name))
            if count:
                parts.append(f"{count} {name.replace('_', ' ')}")
        return ", ".join(parts)


_GONE = (errno.ENOENT, errno.ESRCH)
_ROLLBACK_TIMEOUT = 30.0  # seconds, for each wait


def _indices(items: Iterable[int]) -> Indices:
    return Indices(range(item, item + 1) for item in sorted(items))


def _without_outcome(error: int, operation: str) -> XfrmError:
    """The exception for a batch that ended with items whose outcome is not known."""
    if error == errno.ETIMEDOUT:
        return ReplyTimeout(f"{operation}: the time is up")
    if error == errno.ENOBUFS:
        return RepliesLost(f"{operation}: the receive buffer overflowed, replies were lost")
    return kernel_error(error, operation)


@dataclass(slots=True)
class _Pending:
    """A block on its way: what is needed to file what becomes of it."""

    first: int
    """The number of its first item."""
    block: Block
    outcome: BatchOutcome = field(default_factory=BatchOutcome)
    keys: list[bytes] = field(default_factory=list)
    """For a rollback: what the kernel tells the items apart by."""


class PolicyItems:
    """What a load has to know of policies."""

    value: type = Policy
    update = Message.UPDPOLICY
    waits = True
    """Whether to wait for the kernel's tables to grow."""

    def deletions(self, block: bytearray, count: int) -> bytearray:
        """The messages that delete what a block adds."""
        return wire.delete_messages(block, count, by_index=False)

    def keys(self, block: bytearray, count: int) -> list[bytes]:
        """What the kernel tells the items of a block apart by."""
        return wire.policy_keys(block, count)

    def ours(self, beside: Transport, added: dict[bytes, int], operation: str) -> Iterator[tuple[bytes, int]]:
        """Of what a load added, by key, what is there now: message and item.

        One with one of our keys is ours: had there been another one, ours would have been refused.
        """
        for datagram in beside.dump(wire.policy_dump_request(), operation, timeout=_ROLLBACK_TIMEOUT):
            parts = messages(datagram)
            for message, key in zip(parts, wire.policy_keys(datagram, len(parts)), strict=True):
                if key in added:
                    yield bytes(message), added[key]

    def removal(self, ours: list[bytes]) -> bytearray:
        """The messages that remove them: by index, since by selector each could cost a walk of the whole SPD."""
        return wire.delete_messages(b"".join(ours), len(ours), by_index=True)


class StateItems:
    """What a load has to know of states."""

    update = Message.UPDSA
    waits = False

    def __init__(self, value: type) -> None:
        """`value`: State, which loads of policies do without."""
        self.value = value

    def deletions(self, block: bytearray, count: int) -> bytearray:
        """The messages that delete what a block adds."""
        return wire.delete_state_messages(block)

    def keys(self, block: bytearray, count: int) -> list[bytes]:
        """The messages that delete the items of a block: the kernel finds them by what those say."""
        return messages(bytes(wire.delete_state_messages(block)))

    def ours(self, beside: Transport, added: dict[bytes, int], operation: str) -> Iterator[tuple[bytes, int]]:
        """Of what a load added, by key, message and item."""
        yield from added.items()

    def removal(self, ours: list[bytes]) -> bytearray:
        """The messages that remove them."""
        return bytearray(b"".join(ours))


Items: TypeAlias = "PolicyItems | StateItems"


class Load:
    """One load: sends blocks, keeps the result exact, whatever ends it.

    A signal handler may raise between any two steps, so each block is noted in ``_pending`` before anything of
    it is sent, and filed by steps that can be repeated from the start.
    """

    def __init__(
        self,
        transport: Transport,
        items: Items,
        info: Callable[[], SpdInfo],
        operation: str,
        on_error: OnError,
        batch: int,
        progress: Progress | None,
        timeout: float | None,
        wait: float | None,
    ) -> None:
        """`timeout` is for the whole load, `wait` for each wait; both in seconds."""
        self.result = LoadResult(operation)
        self.total: int | None = None
        self._transport = transport
        self._items = items
        self._pacer = Pacer(info) if items.waits and operation != "delete" else None
        self._on_error = on_error
        self._batch = batch
        self._progress = progress
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._wait = wait
        self._added: dict[bytes, int] = {}
        """For a rollback: the item that each policy or state which this load added came from, by its key."""
        self._pending: _Pending | None = None

    def run(self, blocks: Iterator[Block | BatchFileError]) -> LoadResult:
        """Sends all blocks. Foreign exceptions leave with the result as their attribute load_result."""
        cause: XfrmError | None = None
        try:
            for block in blocks:
                cause = self._bad_line(block) if isinstance(block, BatchFileError) else self._send(block)
                if isinstance(block, Block) and not block.messages:
                    continue  # the source failed, and raises next: no time for a callback
                if self._progress is not None:
                    self._progress(self.result.taken, self.total)
                if cause is not None and self._ends(cause):
                    break
            else:
                cause = None
            if cause is not None and self._on_error == "rollback":
                self._try_roll_back()
        except BaseException as error:
            try:
                self._settle()
                if self._on_error == "rollback":
                    self._try_roll_back()
            finally:
                error.load_result = self.result  # type: ignore[attr-defined]
            raise
        if cause is not None:
            text = f"{self.result.operation}: {self.result.summary()}; {cause}"
            raise LoadError(text, self.result) from cause
        return self.result

    def _ends(self, cause: XfrmError) -> bool:
        """Whether to stop: always when the kernel can't be heard, for a refused item unless collecting."""
        refused = isinstance(cause, BatchFileError | KernelError) and cause.index is not None
        return self._on_error != "collect" or not refused

    def _bad_line(self, error: BatchFileError) -> XfrmError:
        error = BatchFileError(error.path, error.line, error.reason, self.result.taken)
        self.result.failed.append(error)
        self.result.taken += 1
        return error

    def _left(self) -> float | None:
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _send(self, block: Block) -> XfrmError | None:
        """Sends a block and files its outcome. Returns what went wrong, if anything."""
        result, left = self.result, self._left()
        pending = self._pending = _Pending(result.taken, block)
        try:
            if not block.messages:  # the source failed behind these items
                return None
            if left is not None and left <= 0:
                return ReplyTimeout(f"{result.operation}: the time is up")
            if self._pacer is not None:
                remaining = None if self.total is None else self.total - pending.first
                self._pacer.before(block.count, remaining, self._deadline)
                left = self._left()
            if self._on_error == "rollback":
                pending.keys = self._items.keys(block.messages, block.count)
            self._transport.talk_batch(
                block.messages,
                block.count,
                per_send=self._batch,
                stop_on_error=self._on_error != "collect",
                outcome=pending.outcome,
                timeout=self._wait if left is None else left if self._wait is None else min(left, self._wait),
            )
        finally:
            failures = self._settle()
        if pending.outcome.error:
            return _without_outcome(pending.outcome.error, result.operation)
        return failures[0] if failures else None

    def _settle(self) -> list[KernelError]:
        """Files the pending block, if there is one. Returns the refusals."""
        pending, result = self._pending, self.result
        if pending is None:
            return []
        first, outcome = pending.first, pending.outcome
        outcome.settle()
        errors = self._file(pending)
        if pending.keys:
            refused = {failure.index for failure in outcome.failures}
            self._added.update((pending.keys[i], first + i) for i in range(outcome.acked) if i not in refused)
        result.taken = first + pending.block.count
        self._pending = None
        return errors

    def _file(self, pending: _Pending) -> list[KernelError]:
        """Adds a block's outcome to the result. Returns the refusals."""
        first, block, outcome = pending.first, pending.block, pending.outcome
        result, errors = self.result, []
        parts = messages(memoryview(block.messages)) if outcome.failures else []
        lines = block.lines if outcome.failures else None
        start = 0
        for failure in outcome.failures:
            self._file_good(first, start, failure.index, outcome.acked)
            start = failure.index + 1
            line = lines[failure.index] if lines else None
            item = first + failure.index
            errors.append(failure.error(result.operation, parts[failure.index], item, line))
        if errors and (not result.failed or result.failed[-1].index != errors[-1].index):
            result.failed.extend(errors)
        self._file_good(first, start, outcome.sent, outcome.acked)
        result.not_sent._append(range(first + outcome.sent, first + block.count))
        return errors

    def _file_good(self, first: int, start: int, stop: int, acked: int) -> None:
        """Files items [start, stop) of a block, none of which was refused."""
        middle = max(start, min(stop, acked))
        self.result.applied._append(range(first + start, first + middle))
        self.result.unknown._append(range(first + middle, first + stop))

    def _try_roll_back(self) -> None:
        """Rolls back; what keeps it from that is noted, and does not replace what ended the load."""
        self.result.rollback_error = None
        try:
            self._roll_back()
        except XfrmError as error:
            self.result.rollback_error = error

    def _roll_back(self) -> None:
        """Removes what this load added."""
        if not self._added:
            return
        left, unsure = set(self._added.values()), set[int]()
        operation = f"{self.result.operation}: rollback"
        try:
            beside = self._transport.open_beside()
            try:
                ours = list(self._items.ours(beside, self._added, operation))
            finally:
                beside.close()
            left = {item for _, item in ours}
            for start in range(0, len(ours), self._batch):
                self._delete(ours[start : start + self._batch], left, unsure)
        finally:
            result, added = self.result, set(self._added.values())
            unsure.update(item for item in result.unknown if item not in added)
            result.rolled_back = _indices(added - left)
            result.applied = _indices(left - unsure)
            result.unknown = _indices(unsure)

    def _delete(self, part: list[tuple[bytes, int]], left: set[int], unsure: set[int]) -> None:
        """Deletes: the items leave `left`, or enter `unsure`."""
        operation = f"{self.result.operation}: rollback"
        block = self._items.removal([message for message, _ in part])
        outcome = BatchOutcome()
        try:
            self._transport.talk_batch(
                block, len(part), per_send=self._batch, outcome=outcome, timeout=_ROLLBACK_TIMEOUT
            )
        finally:
            outcome.settle()
            refused = {
                part[bad.index][1] for bad in outcome.failures if bad.errno not in (errno.ENOENT, errno.ESRCH)
            }
            left.difference_update({item for _, item in part[: outcome.acked]} - refused)
            unsure.update(item for _, item in part[outcome.acked : outcome.sent])
        if outcome.error:
            raise _without_outcome(outcome.error, operation)


def block_sizes(batch: int, progress: Progress | None) -> Iterator[int]:
    """How many items to put into each block of a load.

    They begin with one send and grow: while the kernel's tables are small, the loader has to look at them more
    often. With a progress callback they stay so, for it is called after each.
    """
    taken = 0
    while True:
        size = batch if progress is not None else max(batch, min(taken // 2, LARGEST_BLOCK) // batch * batch)
        yield size
        taken += size


def blocks_of(
    source: Iterable[Any], items: Items, operation: Operation, sizes: Iterator[int]
) -> Generator[Block, None, None]:
    """Blocks of the messages of policies or states, made by joining what each already is."""
    values = iter(source)
    taken = 0
    for size in sizes:
        chunk: list[Any] = []
        try:
            chunk.extend(islice(values, size))
            check_items(chunk, items, taken)
            block = bytearray().join([value._wire for value in chunk])
            if operation == "update":
                wire.retype(block, items.update)
            elif operation == "delete" and chunk:
                added, block = block, items.deletions(block, len(chunk))
                added[:] = bytes(len(added))
        except BaseException:
            if chunk:
                yield Block(bytearray(), len(chunk), None)
            raise
        if not chunk:
            return
        taken += len(chunk)
        try:
            yield Block(block, len(chunk), None)
        finally:
            if not items.waits:
                block[:] = bytes(len(block))  # it held keys


def load(
    transport: Transport,
    items: Items,
    info: Callable[[], SpdInfo],
    wait: float | None,
    source: Iterable[Any],
    operation: Operation,
    on_error: OnError,
    batch: int,
    progress: Progress | None,
    timeout: float | None,
) -> LoadResult:
    """What `Spd.load` and `Sad.load` do. `wait` is for each wait, in seconds; the rest is as there."""
    batch, timeout = check_options(operation, on_error, batch, progress, timeout)
    if not isinstance(source, Iterable):
        raise ValidationError("source", shown(source), f"is not an iterable of {items.value.__name__}")
    if isinstance(source, (list, tuple)):
        check_items(source, items)
    one = Load(transport, items, info, operation, on_error, batch, progress, timeout, wait)
    one.total = len(source) if isinstance(source, Sized) else None
    sizes = block_sizes(batch, progress)
    with closing_source(blocks_of(source, items, operation, sizes)) as blocks:  # what it made last may hold keys
        if items.waits and isinstance(source, (list, tuple)) and len(source) > LARGEST_BLOCK:
            with ahead(blocks) as made:  # (a user's generator runs in the user's thread)
                return one.run(made)
        return one.run(blocks)


def check_items(values: Sequence[object], items: Items, first: int = 0) -> None:
    """Raises ValidationError for the first value of another class. `first`: the number of values[0]."""
    if not set(map(type, values)) - {items.value}:
        return
    for number, value in enumerate(values, first):
        if not isinstance(value, items.value):
            raise ValidationError(f"source[{number}]", shown(value), f"is not a {items.value.__name__}")


def check_options(
    operation: object, on_error: object, batch: object, progress: object, timeout: object
) -> tuple[int, float | None]:
    """Raises ValidationError for options that no load has. Returns batch and timeout."""
    if operation not in ("add", "update", "delete"):
        raise ValidationError("operation", shown(operation), "is not add, update or delete")
    if on_error not in ("raise", "collect", "rollback"):
        raise ValidationError("on_error", shown(on_error), "is not raise, collect or rollback")
    if on_error == "rollback" and operation != "add":
        raise ValidationError("on_error", "'rollback'", "is for operation 'add': nothing else can be taken back")
    if progress is not None and not callable(progress):
        raise ValidationError("progress", shown(progress), "cannot be called")
    return integer(batch, "batch", 65536, least=1), seconds(timeout, "timeout", zero=True)

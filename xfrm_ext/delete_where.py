# SPDX-License-Identifier: MIT
"""Deleting those policies or states that a predicate chooses: one dump, then batches, and a result for each."""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeAlias

from xfrm_ext import wire
from xfrm_ext.bulk import Block, Indices, Items, Load, LoadResult, OnError, Progress, block_sizes, check_options
from xfrm_ext.checks import shown
from xfrm_ext.codec.generic import Codec
from xfrm_ext.columns_read import Selection
from xfrm_ext.constants import Direction, Protocol
from xfrm_ext.errors import KernelError, LoadError, ReplyTimeout, ValidationError
from xfrm_ext.info import SpdInfo
from xfrm_ext.policy import Policy, PolicyId
from xfrm_ext.removal import prune
from xfrm_ext.request import Request
from xfrm_ext.state import State
from xfrm_ext.state_id import StateId
from xfrm_ext.transport import Transport, messages
from xfrm_ext.wire.layouts import HEADER

Named: TypeAlias = tuple[object, bytes, int]
"""Whether something is chosen, the message that deletes it, and its tree."""
_INDEX = struct.Struct("=I")
_POLICY_INDEX, _POLICY_DIRECTION = HEADER.size + 156, HEADER.size + 160  # in a NEWPOLICY message
_ID_INDEX = HEADER.size + 56  # in a DELPOLICY message
_WITH_SPI = (Protocol.ESP, Protocol.AH, Protocol.COMP)
_GONE = (errno.ENOENT, errno.ESRCH)


@dataclass(slots=True)
class DeleteResult(LoadResult):
    """What became of the policies or states that a predicate chose, numbered from 0 in the order of the dump.

    Each is in exactly one of ``applied``, ``vanished``, ``failed``, ``unknown`` and ``not_sent``; where ``taken``
    is less than ``chosen``, nothing was sent for those from ``taken`` on.
    """

    vanished: Indices = field(default_factory=Indices)
    """Gone, by somebody else's doing, between the dump and the deletion (ENOENT, ESRCH)."""
    chosen: int = 0
    """How many the predicate chose."""
    _names: list[bytes] = field(default_factory=list, repr=False, compare=False)
    _read: Callable[[bytes], Any] | None = field(default=None, repr=False, compare=False)

    def which(self, number: int) -> PolicyId | StateId:
        """The name of the policy or state with a number. Raises IndexError. None has a key in it."""
        if not 0 <= number < len(self._names) or self._read is None:
            raise IndexError(number)
        name: PolicyId | StateId = self._read(self._names[number])
        return name

    def summary(self) -> str:
        """The counts, for people."""
        self._sort()
        text = LoadResult.summary(self)
        return f"{text}, {len(self.vanished)} vanished" if self.vanished else text

    def _sort(self) -> None:
        """Files what the kernel did not find under `vanished`, and has the other errors say which one it was."""
        gone, failed = set(self.vanished), []
        for error in self.failed:
            if isinstance(error, KernelError) and error.index is not None:
                if error.which is None:
                    error.which = self.which(error.index)
                if error.errno in _GONE and not _without_spi(error.which):
                    gone.add(error.index)
                    continue
            failed.append(error)
        if len(failed) != len(self.failed):
            self.vanished = Indices(range(number, number + 1) for number in sorted(gone))
            self.failed = failed  # last, so that all this can be repeated


def _without_spi(which: object) -> bool:
    """Whether it is a larval state to which no SPI was given yet: the kernel can't find those by any name."""
    return isinstance(which, StateId) and not which.spi and which.protocol in _WITH_SPI


class Choice:
    """Which rows of a dump are chosen: a predicate of each value, or of the columns of each block."""

    def __init__(self, predicate: Any, fields: Iterable[str] | None, *, states: bool) -> None:
        """Raises ValidationError."""
        if not callable(predicate):
            raise ValidationError("predicate", shown(predicate), "cannot be called")
        self._predicate = predicate
        self._selection = None if fields is None else Selection(fields, False, states=states)

    def of(self, block: Any, values: Sequence[Any] | Iterator[Any], rows: int) -> Iterator[object]:
        """Whether each of a block's rows is chosen; None among the values: never."""
        if self._selection is None:
            return (value is not None and self._predicate(value) for value in values)
        columns = self._selection.read(lambda reader: reader.take(block), rows)
        mask = self._predicate(columns)
        flags = mask.tolist() if hasattr(mask, "tolist") else list(mask) if isinstance(mask, Iterable) else mask
        # Only what is a truth value: a forgotten `.all(axis=1)`, or a column taken for a mask, must delete nothing.
        kinds = {type(flag).__name__ for flag in flags} if isinstance(flags, list) else {"none"}
        if kinds - {"bool", "bool_"} or len(flags) != rows:  # numpy's, too
            rule = f"is not a mask of {rows} values, True or False for each row"
            raise ValidationError("predicate", shown(mask), rule)
        return (flag and value is not None for flag, value in zip(flags, values, strict=True))


def policy_names(block: bytearray, limits: bytes, own: Any, choice: Choice) -> Iterator[Named]:
    """Of each policy of a dumped block whether it is chosen (those of sockets, which nobody else can delete, never
    are); the message that deletes it, by index (it has the selector too, which the kernel doesn't look at then);
    and its tree, 0: none."""
    parts: list[bytes] = own.canonical_policies(block)
    names = messages(bytes(wire.delete_messages(block, len(parts), by_index=False)))
    trees, numbers, _, _ = wire.policies_in_trees(block, limits)
    tree_of = dict(zip(numbers, trees, strict=True))
    values = (Policy._from_wire(part, own) if part[_POLICY_DIRECTION] <= Direction.FWD else None for part in parts)
    flags = choice.of(block, values, len(parts))
    for number, (flag, part, name) in enumerate(zip(flags, parts, names, strict=True)):
        index = part[_POLICY_INDEX : _POLICY_INDEX + 4]
        yield flag, name[:_ID_INDEX] + index + name[_ID_INDEX + 4 :], tree_of.get(number, 0)


def without_index(name: bytes) -> bytes:
    """Such a message as one that names the policy by its selector."""
    return name[:_ID_INDEX] + bytes(4) + name[_ID_INDEX + 4 :]


def state_names(block: bytearray, own: Any, choice: Choice) -> Iterator[Named]:
    """The same for states: in the message that deletes one is no key."""
    own.check_states(block)
    names = messages(bytes(wire.delete_state_messages(block)))
    values = (State._from_message(part, own) for part in messages(memoryview(block)))
    for flag, name in zip(choice.of(block, values, len(names)), names, strict=True):
        yield flag, name, 0


def named(codec: Codec, message: bytes) -> Any:
    """The PolicyId or StateId in a message that deletes."""
    request = codec.decode(message)
    return request.body if isinstance(request, Request) else request


class Deletion:
    """One `delete_where`."""

    def __init__(
        self, transport: Transport, items: Items, info: Callable[[], SpdInfo], read: Callable[[bytes], Any]
    ) -> None:
        """`read` makes a PolicyId or StateId of a message that deletes."""
        self._transport = transport
        self._items = items
        self._info = info
        self.result = DeleteResult("delete", _read=read)
        self._trees: set[int] = set()

    def run(
        self,
        found: Iterable[Named],
        on_error: OnError,
        batch: int,
        progress: Progress | None,
        timeout: float | None,
        wait: float | None,
    ) -> DeleteResult:
        """Deletes those that are chosen. All are, before the first is deleted."""
        batch, timeout = check_options("delete", on_error, batch, progress, timeout)
        result = self.result
        deadline = None if timeout is None else time.monotonic() + timeout
        for chosen, name, tree in found:
            if chosen:
                result._names.append(name)
                self._trees.add(tree)
            if deadline is not None and time.monotonic() >= deadline:
                raise ReplyTimeout("delete: the time was up before all were read; nothing was deleted")
        result.chosen = len(result._names)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        one = Load(self._transport, self._items, self._info, "delete", "collect", batch, progress, left, wait)
        one.result, one.total = result, result.chosen
        try:
            one.run(self._blocks(on_error, batch, progress))
        except LoadError as error:
            cause = error.__cause__
            raise LoadError(f"delete: {result.summary()}; {cause}", result) from cause
        finally:
            try:
                result._sort()
                prune(self._transport, self._trees - {0}, wait)
            except BaseException as error:
                error.load_result = result  # type: ignore[attr-defined]
                raise
        if result.failed and on_error == "raise":
            raise LoadError(f"delete: {result.summary()}; {result.failed[0]}", result) from result.failed[0]
        return result

    def _blocks(self, on_error: OnError, batch: int, progress: Progress | None) -> Iterator[Block]:
        names, start = self.result._names, 0
        # One send a block where the next depends on it.
        for size in repeat(batch) if on_error == "raise" else block_sizes(batch, progress):
            self.result._sort()
            part = names[start : start + size]
            if not part or (self.result.failed and on_error == "raise"):
                return
            start += size
            yield Block(bytearray().join(part), len(part), None)

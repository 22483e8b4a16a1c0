# SPDX-License-Identifier: MIT
"""The native boundary for dumps of policies: blocks of messages -> an object for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xfrm_ext._native import ffi, lib

try:
    from xfrm_ext._objects import PolicyMaker as PolicyMaker
except ModuleNotFoundError as error:
    if error.name != "xfrm_ext._objects":
        raise
    PolicyMaker = None
"""What makes objects of rows; None on PyPy and Pythons without a GIL, whose objects are made one by one."""

_new_unset = ffi.new_allocator(should_clear_after_alloc=False)
_BYTES, _NUMBERS, _TEXTS = ffi.typeof("uint8_t[]"), ffi.typeof("uint32_t[]"), ffi.typeof("char[]")
_ROWS, _KINDS = ffi.typeof("struct policy_rows *"), ffi.typeof("struct policy_kinds *")
_ARRAYS = ("ends", "priorities", "indices", "kinds", "new_kinds", "uses", "use_firsts")


class PolicyRows:
    """A block of policies taken apart in C."""

    def __init__(self, size: int, prefixes: bool) -> None:
        """`size`: of the block in bytes. `prefixes`: whether there is to be room for their texts."""
        native = self._native = ffi.new(_ROWS)
        most = native.most = size // 184 + 1  # no policy is shorter
        native.capacity = 2 * size + 65536
        self._messages = native.messages = _new_unset(_BYTES, native.capacity)
        self._numbers = numbers = _new_unset(_NUMBERS, len(_ARRAYS) * most)
        for place, name in enumerate(_ARRAYS):
            setattr(native, name, numbers + most * place)
        self._texts = _new_unset(_TEXTS, most * 2 * lib.TEXT_ADDRESS_SIZE) if prefixes else ffi.NULL
        self._known: Any = None
        self._restarted = False

    def _prepare(self, known: Any, restarted: bool, prefixes: bool) -> Any:
        """For another block. `known`: the kinds so far; `restarted`: there are none."""
        self._known, self._restarted = known, restarted
        self._native.known = known[0]
        self._native.texts = self._texts if prefixes else ffi.NULL
        return ffi.cast("void *", self._native)

    @property
    def count(self) -> int:
        return int(self._native.count)

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        return int(self._native.ends[self.count - 1]) if self.count else 0

    @property
    def has_prefixes(self) -> bool:
        """Whether the texts of prefixes were made."""
        return bool(self._native.texts)

    @property
    def restarted(self) -> bool:
        """Whether the numbers of kinds begin at 0 again."""
        return self._restarted or bool(self._native.restarted)

    @property
    def new_kinds(self) -> list[int]:
        """The first policy of each kind that is new, in the order of their numbers. Policies of one kind differ in
        their selectors' prefixes, priority, index and use, in nothing else."""
        return ffi.unpack(self._native.new_kinds, self._native.new_count)  # type: ignore[no-any-return]

    @property
    def use_firsts(self) -> list[int]:
        """The first of each run of policies with the same struct xfrm_lifetime_cur."""
        return ffi.unpack(self._native.use_firsts, self._native.use_count)  # type: ignore[no-any-return]

    def message(self, row: int) -> bytes:
        """One message, as policy_bytes would have made it."""
        start = self._native.ends[row - 1] if row else 0
        return bytes(ffi.buffer(self._messages + start, self._native.ends[row] - start))

    def block(self, kinds: list[Any], currents: list[Any]) -> tuple[PolicyRows, int, list[Any], list[Any]]:
        """For a PolicyMaker, with the kinds so far and what was used."""
        return self, int(ffi.cast("uintptr_t", self._native)), kinds, currents


def _new_kinds(size: int) -> tuple[Any, tuple[Any, ...]]:
    """struct policy_kinds for blocks of at most `size` bytes, and its memory."""
    native = ffi.new(_KINDS)
    most = 2 * (size // 184 + 1)
    native.most, native.capacity, native.table_size = most, 2 * size + 65536, 1 << (2 * most).bit_length()
    memory = _new_unset(_BYTES, native.capacity), _new_unset(_NUMBERS, most), ffi.new(_NUMBERS, native.table_size)
    native.messages, native.ends, native.table = memory
    return native, memory


class RowsDecoder:
    """What Transport.dump_decoded makes PolicyRows of its blocks with. Of one dump: it knows the kinds so far."""

    function = ffi.addressof(lib, "policy_rows_decode")
    ahead, decodes_in_thread = 3, True

    def __init__(self, prefixes: Callable[[], bool]) -> None:
        """`prefixes` says, before each block, whether the texts of prefixes are wanted."""
        self._prefixes = prefixes
        self._size = 0
        self._known: tuple[Any, tuple[Any, ...]] | None = None
        self._done_with: list[PolicyRows] = []

    def prepare(self, size: int) -> tuple[PolicyRows, Any]:
        """Room for what a block of at most `size` bytes becomes, and the function's argument."""
        larger = size > self._size
        if larger or self._known is None:
            self._known, self._size = _new_kinds(size), size
            self._done_with = []
        prefixes = self._prefixes()
        rows = None
        while rows is None or (prefixes and not rows._texts):
            rows = self._done_with.pop() if self._done_with else PolicyRows(size, prefixes)
        return rows, rows._prepare(self._known, larger, prefixes)

    def take_back(self, rows: PolicyRows) -> None:
        """Rows that nobody looks at any more: memory that was touched before is several times as fast."""
        if rows._native.capacity == 2 * self._size + 65536:
            self._done_with.append(rows)

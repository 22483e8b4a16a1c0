# SPDX-License-Identifier: MIT
"""The native boundary for dumps of policies: a block of messages -> what an object is made of, for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xfrm_ext._native import ffi, lib

_new_unset = ffi.new_allocator(should_clear_after_alloc=False)
_BYTES, _NUMBERS, _TEXTS = ffi.typeof("uint8_t[]"), ffi.typeof("uint32_t[]"), ffi.typeof("char[]")
_ROWS, _KINDS = ffi.typeof("struct policy_rows *"), ffi.typeof("struct policy_kinds *")
_ARRAYS = ("ends", "priorities", "indices", "kinds", "new_kinds", "uses", "use_firsts")


class PolicyRows:
    """A block of policies taken apart in C: memory that becomes lists, with an item for each policy, when they are
    asked for."""

    def __init__(self, size: int, known: tuple[Any, tuple[Any, ...]], restarted: bool, prefixes: bool) -> None:
        """`size`: of the block in bytes. `known`: the kinds so far; `restarted`: there are none. `prefixes`:
        whether their texts are wanted."""
        native = self._native = ffi.new(_ROWS)
        self._known, self._restarted = known, restarted
        native.known = known[0]
        most = native.most = size // 184 + 1  # no policy is shorter
        native.capacity = 2 * size + 65536
        self._messages = native.messages = _new_unset(_BYTES, native.capacity)
        self._numbers = numbers = _new_unset(_NUMBERS, len(_ARRAYS) * most)
        for place, name in enumerate(_ARRAYS):
            setattr(native, name, numbers + most * place)
        self._texts = _new_unset(_TEXTS, most * 2 * lib.TEXT_ADDRESS_SIZE) if prefixes else None
        if prefixes:
            native.texts = self._texts

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        return int(self._native.ends[self._native.count - 1]) if self._native.count else 0

    @property
    def messages(self) -> Any:
        """The messages as policy_bytes would have made them, back to back: slices of it are bytes."""
        return ffi.buffer(self._messages)

    @property
    def ends(self) -> list[int]:
        """Where each message ends."""
        return self._list("ends", "count")

    @property
    def priorities(self) -> list[int]:
        return self._list("priorities", "count")

    @property
    def indices(self) -> list[int]:
        return self._list("indices", "count")

    @property
    def kinds(self) -> list[int]:
        """The number of each one's kind. Policies of one kind differ in their selectors' prefixes, priority, index
        and use, in nothing else."""
        return self._list("kinds", "count")

    @property
    def new_kinds(self) -> list[int]:
        """The first policy of each kind that is new, in the order of their numbers."""
        return self._list("new_kinds", "new_count")

    @property
    def restarted(self) -> bool:
        """Whether the numbers of kinds begin at 0 again."""
        return self._restarted or bool(self._native.restarted)

    @property
    def uses(self) -> list[int]:
        """What was used (struct xfrm_lifetime_cur): policies in a row with the same have one number."""
        return self._list("uses", "count")

    @property
    def use_firsts(self) -> list[int]:
        """By that number: the first policy."""
        return self._list("use_firsts", "use_count")

    @property
    def prefixes(self) -> list[str] | None:
        """Source and destination of each in turn, and "" at the end; None: they were not wanted."""
        if self._texts is None:
            return None
        return str(ffi.buffer(self._texts, self._native.text_size), "ascii").split("\n")

    def _list(self, name: str, count: str) -> list[int]:
        found: list[int] = ffi.unpack(getattr(self._native, name), getattr(self._native, count))
        return found


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

    def __init__(self, prefixes: Callable[[], bool]) -> None:
        """`prefixes` says, before each block, whether the texts of prefixes are wanted."""
        self._prefixes = prefixes
        self._size = 0
        self._known: tuple[Any, tuple[Any, ...]] | None = None

    def prepare(self, size: int) -> tuple[PolicyRows, Any]:
        """Room for what a block of at most `size` bytes becomes, and the function's argument."""
        larger = size > self._size
        if larger or self._known is None:
            self._known, self._size = _new_kinds(size), size
        rows = PolicyRows(size, self._known, larger, self._prefixes())
        return rows, ffi.cast("void *", rows._native)

# SPDX-License-Identifier: MIT
"""Columns out, the native boundary: one field of many messages -> one array, in C (csrc/columns_read.c).

What columns there are, and where each stands, is in ``columns_table``; a few that are more than bytes in one place
are named here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from xfrm_ext._native import ffi, lib
from xfrm_ext.constants import uapi
from xfrm_ext.wire.columns_table import ALIASES, POLICY_COLUMNS, STATE_COLUMNS, Column
from xfrm_ext.wire.layouts import ATTRIBUTES, HEADER, POLICY, STATE, TEMPLATE, Fixed
from xfrm_ext.wire.shared import A_BLOCK, bad_lengths

__all__ = ["ALIASES", "POLICIES", "STATES", "Reader"]

_FORMS = {
    "mark": lib.COLUMN_MARK,
    "template_count": lib.COLUMN_COUNT,
    "template_family": lib.COLUMN_TEMPLATE_FAMILY,
    "replay_window": lib.COLUMN_REPLAY_WINDOW,
    "output_mark": lib.COLUMN_OUTPUT_MARK,
    "output_mark_mask": lib.COLUMN_OUTPUT_MARK_MASK,
}
"""What is not simply copied."""

_COUNT = Column(name="template_count", attribute=uapi.XFRMA_TMPL, offset=0, size=2, network=False, most=0xFFFF)

POLICIES: Final[Mapping[str, Column]] = {**POLICY_COLUMNS, _COUNT.name: _COUNT}
STATES: Final[Mapping[str, Column]] = {
    # Keys never leave this way; and a window of a state with XFRMA_REPLAY_ESN_VAL has 32 bits.
    name: replace(column, size=4, most=0xFFFFFFFF) if name == "replay_window" else column
    for name, column in STATE_COLUMNS.items()
    if column.size
}

_WITHOUT_PLACE = tuple(_FORMS[name] for name in _FORMS if name not in ("mark", "template_count"))
"""C knows where these stand."""

_COLUMNS = ffi.typeof("struct column_out[]")
_READER = ffi.typeof("struct columns_reader *")
_new_unset = ffi.new_allocator(should_clear_after_alloc=False)
_TEXTS_AT_ONCE = 4096


class _Memory:
    """Room for some columns, in one piece."""

    def __init__(self, columns: Sequence[Column], capacity: int) -> None:
        self._sizes = [column.size for column in columns]
        self.offsets = []
        end = 0
        for size in self._sizes:
            self.offsets.append(end)
            end += (capacity * size + 63) & ~63
        self.start = _new_unset("uint8_t[]", end or 1)

    def column(self, number: int, rows: int) -> memoryview:
        """The bytes of a column."""
        start = self.offsets[number]
        return memoryview(ffi.buffer(self.start))[start : start + rows * self._sizes[number]]


class Reader:
    """Columns of policies, or of states, being filled: what Transport.dump_decoded decodes its blocks with.

    The first `kept` of them are in memory of their own, for callers that keep these only. `capacity` is how many
    rows there is room for at first.
    """

    def __init__(self, columns: Sequence[Column], *, states: bool, kept: int, capacity: int) -> None:
        self._parts = [columns[:kept], columns[kept:]]
        self._targets = ffi.new(_COLUMNS, len(columns))
        for target, column in zip(self._targets, columns, strict=True):
            target.size = column.size
            target.form = _FORMS.get(column.name, lib.COLUMN_NETWORK if column.network else lib.COLUMN_PLAIN)
            if target.form not in _WITHOUT_PLACE:
                target.attribute, target.offset = column.attribute, column.offset
                target.payload, target.several = _payload(column.attribute)
        self._native = ffi.new(_READER)
        self._native.columns, self._native.count = self._targets, len(columns)
        self._native.of = lib.COLUMNS_OF_STATES if states else lib.COLUMNS_OF_POLICIES
        self._shortest = HEADER.size + (STATE if states else POLICY).size
        self._memory: list[_Memory] = []
        self._resize(max(1, capacity))

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self._native.rows)

    function = ffi.addressof(lib, "columns_decode")
    ahead, decodes_in_thread = 3, False

    def prepare(self, size: int) -> tuple[Reader, Any]:
        """Makes room for the rows of a block of at most `size` bytes, and returns the function's argument."""
        need = size // self._shortest + 1
        if self._native.capacity - self._native.rows < need:
            self._resize(max(2 * self._native.capacity, self._native.rows + need))
        return self, ffi.cast("void *", self._native)

    def take(self, block: bytearray) -> tuple[Reader]:
        """Decodes a block that was received otherwise: a dump of one. Raises ProtocolError."""
        _reader, argument = self.prepare(len(block))
        if lib.columns_decode(argument, ffi.from_buffer(block), len(block)) < 0:
            raise bad_lengths(A_BLOCK)
        return (self,)

    def column(self, number: int) -> memoryview:
        """The bytes of a column, as far as it is filled."""
        part, number = self._place(number)
        return self._memory[part].column(number, self.rows)

    def texts(self, address: int, family: int, prefix_length: int | None) -> list[str]:
        """The texts of a column of addresses; the others are those with their families and prefix lengths."""
        result: list[str] = []
        out = ffi.new("char[]", _TEXTS_AT_ONCE * lib.TEXT_ADDRESS_SIZE)
        addresses, families = self._pointer(address, "uint8_t *"), self._pointer(family, "uint16_t *")
        lengths = ffi.NULL if prefix_length is None else self._pointer(prefix_length, "uint8_t *")
        for start in range(0, self.rows, _TEXTS_AT_ONCE):
            count = min(_TEXTS_AT_ONCE, self.rows - start)
            size = lib.columns_text(
                out, addresses + 16 * start, families + start, lengths + start if lengths else lengths, count
            )
            result += str(ffi.buffer(out, size), "ascii").split("\n")
        return result

    def _place(self, number: int) -> tuple[int, int]:
        kept = len(self._parts[0])
        return (0, number) if number < kept else (1, number - kept)

    def _pointer(self, number: int, kind: str) -> Any:
        part, number = self._place(number)
        memory = self._memory[part]
        return ffi.cast(kind, memory.start + memory.offsets[number])

    def _resize(self, capacity: int) -> None:
        """Makes room for more rows, and moves those that there are."""
        before, self._memory = self._memory, [_Memory(columns, capacity) for columns in self._parts]
        self._native.capacity = capacity
        for number in range(self._native.count):
            part, place = self._place(number)
            if before:
                self._memory[part].column(place, self.rows)[:] = before[part].column(place, self.rows)
            self._targets[number].data = self._pointer(number, "uint8_t *")


def _payload(attribute: int) -> tuple[int, bool]:
    """The size of an attribute's payload, and whether there may be several of that size."""
    if attribute == uapi.XFRMA_TMPL:
        return TEMPLATE.size, True
    if not attribute:
        return 0, False
    payload = ATTRIBUTES[attribute]
    assert isinstance(payload, Fixed)
    return payload.layout.size, False

# SPDX-License-Identifier: MIT
"""The native boundary for columns that go in: rows in memory -> checked -> messages, through csrc/columns_write.c.

All of it runs without the GIL. What is handed over as `data` is any buffer that is contiguous.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from xfrm_ext._native import ffi, lib

_ADDRESS = ffi.typeof("struct column_address[]")
_BYTES = ffi.typeof("uint8_t[]")
_COLUMN = ffi.typeof("struct column *")
_COLUMNS = ffi.typeof("struct column[]")
_FAULT = ffi.typeof("struct column_fault *")
ADDRESS_SIZE: int = ffi.sizeof("struct column_address")
FAMILY_AT: int = ffi.offsetof("struct column_address", "family")
LENGTH_AT: int = ffi.offsetof("struct column_address", "length")
_new_unset = ffi.new_allocator(should_clear_after_alloc=False)

NOT_PREFIX: int = lib.TEXT_NOT_PREFIX
PREFIX_LENGTH: int = lib.TEXT_PREFIX_LENGTH
NOT_ADDRESS: int = lib.TEXT_NOT_ADDRESS
NUMBER: int = lib.COLUMN_NUMBER
FIXED: int = lib.COLUMN_FIXED
ROWS: int = lib.COLUMN_ROWS
FAMILY: int = lib.COLUMN_FAMILY
LENGTH: int = lib.COLUMN_LENGTH
HOST_BITS: int = lib.COLUMN_HOST_BITS
REST: int = lib.COLUMN_REST


class Rows(NamedTuple):
    """The rows of a column in memory."""

    data: Any
    width: int
    """Bytes of a row."""
    stride: int
    """Bytes from row to row; 0: one value for all rows."""
    start: int = 0
    """Where in `data` the first row is."""
    is_number: bool = True
    is_signed: bool = False
    is_swapped: bool = False
    """The number is not in the machine's byte order."""


class Texts(NamedTuple):
    """Texts in memory: lines, or of one width, or between offsets, or as Arrow's views."""

    rows: int
    data: Any
    offsets: Any = None
    offset_width: int = 0
    first: int = 0
    """The number of the first row among the offsets or views."""
    views: Any = None
    buffers: Sequence[Any] = ()
    """Where the views' longer texts are."""
    width: int = 0
    unit: int = 1
    is_swapped: bool = False


class Target(NamedTuple):
    """Where the rows of a column go in the message."""

    offset: int
    size: int
    to_network: bool = False
    mask_offset: int = 0
    is_port_mask: bool = False


class Fault(NamedTuple):
    """The first row that is wrong, and why: one of the numbers above."""

    row: int
    error: int


class Families(NamedTuple):
    """Which families were seen."""

    ipv4: bool
    ipv6: bool


def _fill(native: Any, rows: Rows) -> Any:
    """Sets what a struct column says of its rows. Returns what has to stay alive with it."""
    held = ffi.from_buffer(_BYTES, rows.data)
    native.data = held + rows.start
    native.stride, native.width = rows.stride, rows.width
    native.is_number, native.is_signed, native.is_swapped = rows.is_number, rows.is_signed, rows.is_swapped
    return held


def _column(rows: Rows | None, kept: list[Any]) -> Any:
    if rows is None:
        return ffi.NULL
    native = ffi.new(_COLUMN)
    kept += native, _fill(native, rows)
    return native


def _fault(native: Any) -> Fault | None:
    return Fault(native.row, native.error) if native.error else None


def check_numbers(
    rows: Rows,
    count: int,
    most: int,
    *,
    least: int = 0,
    members: Iterable[int] | None = None,
    fixed: tuple[int, int] = (0, 0),
) -> Fault | None:
    """Whether all are from `least` to `most`, one of `members` where those are given, and have of the bits of a
    mask those of a value (`fixed`)."""
    kept: list[Any] = []
    native, fault = _column(rows, kept), ffi.new(_FAULT)
    native.least, native.most = least, most
    native.fixed_mask, native.fixed_value = fixed
    if members is not None:
        native.has_members = 1
        for member in members:
            native.members[member // 64] |= 1 << member % 64
    lib.columns_check_number(native, count, fault)
    return _fault(fault)


def check_index(index: Rows, direction: Rows, count: int) -> Fault | None:
    """Whether all are of their row's direction, or 0."""
    kept: list[Any] = []
    fault = ffi.new(_FAULT)
    lib.columns_check_index(_column(index, kept), _column(direction, kept), count, fault)
    return _fault(fault)


def read_texts(chunks: Iterable[Texts], is_prefix: bool) -> tuple[Any, Families, Fault | None]:
    """Reads addresses or prefixes into an array of struct column_address, ADDRESS_SIZE bytes each."""
    chunks = list(chunks)
    out = _new_unset(_ADDRESS, sum(chunk.rows for chunk in chunks))
    ipv4 = ipv6 = False
    start, fault = 0, ffi.new(_FAULT)
    for chunk in chunks:
        kept: list[Any] = []
        lib.columns_read_texts(out + start, chunk.rows, _texts(chunk, is_prefix, kept), fault)
        ipv4, ipv6 = ipv4 or bool(fault.has_ipv4), ipv6 or bool(fault.has_ipv6)
        if fault.error:
            fault.row += start
            break
        start += chunk.rows
    return ffi.buffer(out), Families(ipv4, ipv6), _fault(fault)


def _texts(texts: Texts, is_prefix: bool, kept: list[Any]) -> Any:
    native, data = ffi.new("struct column_texts *"), ffi.from_buffer(_BYTES, texts.data)
    kept += native, data
    native.data, native.size = data, len(data)
    if texts.offsets is not None:
        offsets = ffi.from_buffer(_BYTES, texts.offsets)
        kept.append(offsets)
        native.offsets, native.offset_width = offsets + texts.first * texts.offset_width, texts.offset_width
    if texts.views is not None:
        views = ffi.from_buffer(_BYTES, texts.views)
        buffers = [ffi.from_buffer(_BYTES, buffer) for buffer in texts.buffers]
        pointers, sizes = ffi.new("uint8_t *[]", buffers), ffi.new("size_t[]", list(map(len, buffers)))
        kept += views, buffers, pointers, sizes
        native.views, native.buffers, native.buffer_sizes = views + texts.first * 16, pointers, sizes
        native.buffer_count = len(buffers)
    native.width, native.unit, native.is_swapped = texts.width, texts.unit, texts.is_swapped
    native.is_prefix = is_prefix
    return native


class Pair(NamedTuple):
    """The two addresses of each row, and what belongs to them."""

    source: Rows
    destination: Rows
    source_is_read: bool
    """Its rows are of an array that `read_texts` or `one_address` made."""
    destination_is_read: bool
    source_length: Rows | None
    destination_length: Rows | None
    family: Rows | None
    """None: 16 bytes are IPv6."""
    other_family: int
    """Of rows of which both addresses are any."""


def check_addresses(pair: Pair, count: int, lengths: bool) -> tuple[Families, Fault | None, Any, Any]:
    """Checks the addresses of each row against each other, their lengths and family. With `lengths` also makes
    arrays of what was read, with the lengths of whole addresses."""
    kept: list[Any] = []
    native, fault = ffi.new("struct column_pair *"), ffi.new(_FAULT)
    native.source, native.destination = _column(pair.source, kept), _column(pair.destination, kept)
    native.source_is_read, native.destination_is_read = pair.source_is_read, pair.destination_is_read
    native.source_length = _column(pair.source_length, kept)
    native.destination_length = _column(pair.destination_length, kept)
    native.family, native.other_family = _column(pair.family, kept), pair.other_family
    source = destination = None
    if lengths:
        source, destination = _new_unset(_ADDRESS, count), _new_unset(_ADDRESS, count)
        native.source_out, native.destination_out = source, destination
    lib.columns_check_addresses(native, count, fault)
    families = Families(bool(fault.has_ipv4), bool(fault.has_ipv6))
    if not lengths:
        return families, _fault(fault), None, None
    return families, _fault(fault), ffi.buffer(source), ffi.buffer(destination)


def one_address(address: bytes, family: int, length: int) -> bytes:
    """An array of one, of family 0 if it is any."""
    native = ffi.new(_ADDRESS, 1)
    native[0].address, native[0].family, native[0].length = address, family, length
    return bytes(ffi.buffer(native))


class Packer:
    """Makes messages of rows: copies of a model, with the rows of columns written into them, in their order."""

    def __init__(self, model: Any, columns: Sequence[tuple[Rows, Target]]) -> None:
        self._model = ffi.from_buffer(_BYTES, model)
        self._count = len(columns)
        self._columns = ffi.new(_COLUMNS, self._count)
        self._kept = []
        for native, (rows, target) in zip(self._columns, columns, strict=True):
            self._kept.append(_fill(native, rows))
            if target.offset + max(target.size, 0 if rows.is_number else rows.width) > len(self._model):
                raise ValueError("a column lies outside of the message")
            native.offset, native.size, native.to_network = target.offset, target.size, target.to_network
            native.mask_offset, native.is_port_mask = target.mask_offset, target.is_port_mask

    @property
    def size(self) -> int:
        """Bytes of a message."""
        return len(self._model)

    def pack(self, first: int, count: int) -> Any:
        """The messages of rows [first, first + count), in memory of their own."""
        out = _new_unset(_BYTES, count * self.size)
        lib.columns_pack(out, first, count, self._model, self.size, self._columns, self._count)
        return ffi.buffer(out)

    def write(self, out: Any, first: int, count: int) -> None:
        """Writes them into a buffer of as many times `size` bytes."""
        room = ffi.from_buffer(_BYTES, out, require_writable=True)
        if len(room) != count * self.size:
            raise ValueError("the buffer is not of the messages' size")
        lib.columns_pack(room, first, count, self._model, self.size, self._columns, self._count)

# SPDX-License-Identifier: MIT
"""What columns are written into: a model message, and for each column the place that its rows have there.

Each step checks the columns that are its own, natively and without the GIL, and says by name and row what is wrong.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from xfrm_ext import wire
from xfrm_ext.address import ANY
from xfrm_ext.bulk import (
    Block,
    Items,
    Operation,
)
from xfrm_ext.checks import shown
from xfrm_ext.columns_input import Column as Given
from xfrm_ext.columns_input import Numbers, Packed, Text
from xfrm_ext.constants import Enumeration, Family, uapi
from xfrm_ext.errors import ValidationError
from xfrm_ext.wire import columns_write as native
from xfrm_ext.wire.columns_table import Column
from xfrm_ext.wire.columns_write import Packer, Pair, Rows, Target
from xfrm_ext.wire.layouts import ATTRIBUTE, ATTRIBUTES, HEADER, MESSAGES, TEMPLATE, TYPE_MASK, ReplayEsn, aligned
from xfrm_ext.wire.shared import NOT_ADDRESS, NOT_FAMILY, NOT_PREFIX, PREFIX_LENGTH, message_type, other_family

_INET, _INET6 = int(Family.INET), int(Family.INET6)
_FAMILIES = (_INET, _INET6)
_ALL_ONES = 0xFFFFFFFF
_HOST_BITS = "has host bits set: the kernel would keep and compare them"
_TEXT_RULES: Final[Mapping[int, str]] = {
    native.NOT_PREFIX: NOT_PREFIX,
    native.PREFIX_LENGTH: PREFIX_LENGTH,
    native.NOT_ADDRESS: NOT_ADDRESS,
    native.HOST_BITS: _HOST_BITS,
}
_U16, _U32 = struct.Struct("=H"), struct.Struct("=I")


@dataclass(slots=True)
class _Side:
    """One of the two addresses of each row."""

    name: str
    rows: Rows
    given: Given | None
    """None: it is the template's."""
    is_read: bool
    """The rows are an array of struct column_address."""
    family: int | None
    """Of all rows; 0: any goes with it, None: they differ or are told by a column."""


class Model:
    """The message that those of all rows are copies of, and the columns that are written into them.

    The steps (`numbers`, `pair`, ...) check the columns that are theirs, and note where they are written.
    """

    def __init__(self, table: Mapping[str, Column], given: Mapping[str, Given], message: Any) -> None:
        self.rows = _rows_of(given)
        self._table = table
        self._given = given
        self._model: Any = wire.memory(message)  # with keys, if it is a state
        self._view = memoryview(self._model).cast("B")
        self._attributes = _attributes(self._view)
        self._columns: list[tuple[Rows, Target]] = []

    # --- places ---

    def _at(self, name: str) -> int:
        """Where a column stands in the message."""
        column = self._table[name]
        begin = self._attributes[column.attribute][0] if column.attribute else HEADER.size
        return begin + column.offset

    def _has(self, name: str) -> bool:
        column = self._table[name]
        return not column.attribute or column.attribute in self._attributes

    def _number(self, name: str) -> int:
        """The model's number."""
        size = self._table[name].size
        return int.from_bytes(self._view[self._at(name) : self._at(name) + size], sys.byteorder)

    def _write(self, rows: Rows, name: str, **options: Any) -> None:
        column = self._table[name]
        self._columns.append((rows, Target(self._at(name), column.size, column.network, **options)))

    # --- errors ---

    def _field(self, name: str, row: int) -> str:
        return name if self._given[name].count is None else f"{name}[{row}]"

    def _refuse(self, name: str, row: int, rule: str) -> NoReturn:
        raise ValidationError(self._field(name, row), self._shown(name, row), rule)

    def _shown(self, name: str, row: int) -> str:
        """A row of a column as errors show it."""
        column = self._given[name]
        row = 0 if column.count is None else row
        if isinstance(column, Text):
            return shown(column.at(row))
        if isinstance(column, Numbers) and self._table[name].size != 16:
            return str(column.at(row))
        if isinstance(column, Numbers):
            number = column.at(row)
            if not 0 <= number <= _ALL_ONES:
                return str(number)
            data = number.to_bytes(4, "big")
        else:
            start = column.start + row * column.width
            data = bytes(memoryview(column.data).cast("B")[start : start + column.width])
        family = _INET if len(data) == 4 else _INET6
        return shown(wire.address_text(data.ljust(16, b"\0"), family))

    # --- steps ---

    def check(self, name: str, *, least: int = 0, most: int | None = None, fixed: tuple[int, int] = (0, 0)) -> None:
        """Checks a column of numbers, if it is given."""
        column, given = self._table[name], self._given.get(name)
        if not isinstance(given, Numbers):
            return
        members: Iterable[int] | None = None
        most = column.most if most is None else most
        rule = f"is not an integer from {least} to {most}"
        if column.kind is Family:
            members, rule = _FAMILIES, f"is not {_INET} (inet) or {_INET6} (inet6)"
        elif column.kind is not None and issubclass(column.kind, Enumeration):
            members = [int(member) for member in column.kind]
            rule = "is not one of " + ", ".join(f"{int(one)} ({one.name.lower()})" for one in column.kind)
        count = 1 if given.count is None else self.rows
        fault = native.check_numbers(given.rows, count, most, least=least, members=members, fixed=fixed)
        if fault is not None:
            if fault.error == native.FIXED:
                rule = "has another esn than the template, which decides on its attributes"
            self._refuse(name, fault.row, rule)

    def number(self, name: str, **options: Any) -> None:
        """Checks and writes a column of numbers, if it is given."""
        given = self._given.get(name)
        if isinstance(given, Numbers):
            self.check(name, **options)
            self._write(given.rows, name)

    def mark(self, name: str) -> None:
        """A mark and its mask: the kernel, too, stores what is left of one by the other."""
        mask = f"{name}_mask"
        if name not in self._given and mask not in self._given:
            return
        self.number(mask)
        self.check(name)
        given = self._given.get(name)
        rows = given.rows if isinstance(given, Numbers) else Rows(_U32.pack(self._number(name)), 4, 0)
        masked = mask in self._given or (self._has(mask) and self._number(mask) != _ALL_ONES)
        self._write(rows, name, mask_offset=self._at(mask) if masked else 0)

    def key(self, name: str, attribute: int) -> None:
        """A column of keys, if it is given."""
        given = self._given.get(name)
        if isinstance(given, Packed):
            head: Any = ATTRIBUTES[attribute]
            self._columns.append(
                (given.rows, Target(self._attributes[attribute][0] + head.layout.size, given.width))
            )

    def pair(self, source: str, destination: str, followers: list[int]) -> set[int]:
        """The two addresses of each row, with their prefix lengths and their family, which is also written to
        `followers`. Returns the families that were seen."""
        family = self._table[source].family or ""
        lengths = [self._table[name].prefix_length or "" for name in (source, destination)]
        if not {source, destination, family, *lengths} & self._given.keys():
            return set()
        self.check(family)
        sides = [self._side(name, length) for name, length in zip((source, destination), lengths, strict=True)]
        told = self._given.get(family)
        own = {side.family for side in sides if side.family}
        whole: list[Any] = [None, None]
        if (
            told is None
            and not any(name in self._given for name in lengths)
            and None not in own | {side.family for side in sides}
        ):
            seen = {one for one in own if one is not None}
            if len(own) > 1 and self.rows:
                self._refuse_address(native.FAMILY - 1, 0, sides, lengths, family)
            if len(own) > 1:  # of no row
                seen = {_INET}
        else:
            seen, whole = self._check_addresses(sides, lengths, family)
        for side, length, read in zip(sides, lengths, whole, strict=True):
            self._write_side(side, length, read, seen)
        self._write_family(family, followers, seen, sides)
        return seen

    def _side(self, name: str, length: str) -> _Side:
        given = self._given.get(name)
        at = self._at(name)
        if given is None:
            address = bytes(self._view[at : at + 16])
            bits = self._number(length) if length else 0
            family = 0 if address == ANY and not bits else self._number(self._table[name].family or "")
            rows = Rows(native.one_address(address, family, bits), 16, 0, is_number=False)
            return _Side(name, rows, None, True, family)
        self._view[at : at + 16] = ANY
        count = 1 if given.count is None else self.rows
        if isinstance(given, Text):
            if length in self._given:
                rule = "is given beside prefixes as text, which have their lengths with them"
                raise ValidationError(length, None, rule)
            data, families, fault = native.read_texts(given.chunks, bool(length))
            if fault is not None and fault.error == native.ROWS:
                raise ValidationError(self._field(name, fault.row), None, "lies outside of the column's memory")
            if fault is not None:
                self._refuse(name, fault.row, _TEXT_RULES[fault.error])
            rows = Rows(data, 16, 0 if given.count is None else native.ADDRESS_SIZE, is_number=False)
            mixed = families.ipv4 and families.ipv6
            return _Side(name, rows, given, True, None if mixed else _INET6 if families.ipv6 else _INET)
        if isinstance(given, Numbers):
            fault = native.check_numbers(given.rows, count, _ALL_ONES)
            if fault is not None:
                self._refuse(name, fault.row, f"is not the number of an IPv4 address, 0 to {_ALL_ONES}")
            return _Side(name, given.rows, given, False, _INET)
        told = self._table[name].family in self._given
        return _Side(name, given.rows, given, False, _INET if given.width == 4 else None if told else _INET6)

    def _check_addresses(self, sides: list[_Side], lengths: list[str], family: str) -> tuple[set[int], list[Any]]:
        def rows_of(name: str) -> Rows | None:
            given = self._given.get(name)
            return given.rows if isinstance(given, Numbers) else None

        source, destination = sides
        pair = Pair(
            source.rows,
            destination.rows,
            source.is_read,
            destination.is_read,
            rows_of(lengths[0]),
            rows_of(lengths[1]),
            rows_of(family),
            self._number(family),
        )
        wanted = any(
            side.family is None and not side.is_read and length and length not in self._given
            for side, length in zip(sides, lengths, strict=True)
        )
        families, fault, *whole = native.check_addresses(pair, self.rows, wanted)
        if fault is not None:
            self._refuse_address(fault.error, fault.row, sides, lengths, family)
        return {one for one, there in zip(_FAMILIES, families, strict=True) if there}, whole

    def _refuse_address(
        self, error: int, row: int, sides: list[_Side], lengths: list[str], family: str
    ) -> NoReturn:
        code = next(
            code for code in (native.FAMILY, native.LENGTH, native.HOST_BITS, native.REST) if code - error in (0, 1)
        )
        side, other, length = sides[code - error], sides[1 - (code - error)], lengths[code - error]
        if code == native.LENGTH:
            self._refuse(length, row, "is more bits than the address has")
        if code == native.REST:
            self._refuse(side.name, row, "is more than the four bytes of an IPv4 address")
        if code == native.HOST_BITS and side.given is not None:
            prefix = f"{self._shown(side.name, row)[1:-1]}/{self._shown(length, row)}"
            raise ValidationError(self._field(side.name, row), shown(prefix), _HOST_BITS)
        if code == native.HOST_BITS:
            self._refuse(length, row, f"leaves host bits set in the template's {side.name}")
        if side.given is None:
            name = other.name if other.given is not None and family not in self._given else family
            self._refuse(name, row, f"is of another family than the template's {side.name}")
        if family in self._given:
            self._refuse(side.name, row, NOT_FAMILY)
        if other.given is None:
            self._refuse(side.name, row, f"is of another family than the template's {other.name}")
        self._refuse(side.name, row, other_family(-1))

    def _write_side(self, side: _Side, length: str, whole: Any, seen: set[int]) -> None:
        stride = side.rows.stride
        given_length = self._given.get(length)
        if isinstance(given_length, Numbers):
            self._write(given_length.rows, length)
        if side.given is None:
            return
        if side.rows.is_number:
            self._columns.append((side.rows, Target(self._at(side.name), 4, True)))
        else:
            self._write(side.rows, side.name)
        if not length or given_length is not None:
            return
        if side.is_read:
            self._write(Rows(side.rows.data, 1, stride, native.LENGTH_AT), length)
        elif len(seen) > 1:
            self._write(Rows(whole, 1, native.ADDRESS_SIZE, native.LENGTH_AT), length)
        else:
            self._view[self._at(length)] = 128 if seen == {_INET6} else 32

    def _write_family(self, name: str, followers: list[int], seen: set[int], sides: list[_Side]) -> None:
        places = [self._at(name), *followers]
        if len(seen) == 1:
            for place in places:
                _U16.pack_into(self._view, place, *seen)
        if len(seen) < 2:
            return
        told = self._given.get(name)
        if isinstance(told, Numbers):
            rows = told.rows
        else:
            mixed = next(side for side in sides if side.family is None)
            rows = Rows(mixed.rows.data, 1, mixed.rows.stride, native.FAMILY_AT)
        self._columns += [(rows, Target(place, 2)) for place in places]

    def followers(self, first: int, family: str) -> list[int]:
        """Where the families of templates stand that have none of their own, from template `first` on: those
        without addresses get that of the template before, or of the selector, as Policy gives it to them."""
        begin, size = self._attributes.get(uapi.XFRMA_TMPL, (0, 0))
        places, before = [], self._number(family) if self._has(family) else 0
        for start in range(begin + first * TEMPLATE.size, begin + size, TEMPLATE.size):
            values = dict(zip(TEMPLATE.names, TEMPLATE.unpack(self._view, start), strict=True))
            if values["family"] != before or values["source"] != ANY or values["destination"] != ANY:
                break
            places.append(start + TEMPLATE.place("family").offset)
        return places

    def port_mask(self, port: str, mask: str) -> None:
        """The mask that a port has when none is given for it: all of it, or none for port 0."""
        given = self._given.get(port)
        if isinstance(given, Numbers) and mask not in self._given:
            self._write(given.rows, mask, is_port_mask=True)

    def index(self) -> None:
        """Whether each index is of its row's direction."""
        index, direction = self._rows("index"), self._rows("direction")
        if not index.stride and not direction.stride and not {"index", "direction"} & self._given.keys():
            return
        fault = native.check_index(index, direction, self.rows)
        if fault is None:
            return
        name = "index" if "index" in self._given else "direction"
        way = self._rows_number("direction", fault.row)
        rule = "does not match the template's index: index & 7 must be the direction"
        if name == "index":
            rule = f"does not match direction {way}: index & 7 must be {way & 7}"
        self._refuse(name, fault.row, rule)

    def _rows(self, name: str) -> Rows:
        """A column's rows, or the template's value."""
        given = self._given.get(name)
        if isinstance(given, Numbers):
            return given.rows
        size = self._table[name].size
        return Rows(self._number(name).to_bytes(size, sys.byteorder), size, 0)

    def _rows_number(self, name: str, row: int) -> int:
        given = self._given.get(name)
        if not isinstance(given, Numbers):
            return self._number(name)
        return given.at(0 if given.count is None else row)

    def replay_window(self) -> None:
        """The window of a state: where it stands, and how long it can be, is up to the template's."""
        given = self._given.get("replay_window")
        if not isinstance(given, Numbers):
            return
        if uapi.XFRMA_REPLAY_ESN_VAL not in self._attributes:
            self.number("replay_window", most=32)
            return
        begin = self._attributes[uapi.XFRMA_REPLAY_ESN_VAL][0]
        words = _U32.unpack_from(self._view, begin)[0]
        self.check("replay_window", least=max(0, 32 * words - 31), most=32 * words)
        self._columns.append((given.rows, Target(begin + ReplayEsn.layout.place("replay_window").offset, 4)))

    def patch(self, name: str, number: int) -> None:
        """Sets the model's number of 32 bits."""
        _U32.pack_into(self._view, self._at(name), number)

    # --- messages ---

    def packer(self, message: int) -> Packer:
        """What makes the messages, of a type. What is the same in all rows becomes part of their model."""
        _U16.pack_into(self._view, 4, message)
        once, varying, places = [], [], {0}
        for rows, target in self._columns:
            if rows.stride or target.mask_offset in places - {0}:
                varying.append((rows, target))
                places.add(target.offset)
            else:
                once.append((rows, target))
        model = self._model
        if once:
            model = wire.memory(bytes(len(model)))
            Packer(self._model, once).write(model, 0, 1)
        return Packer(model, varying)

    def blocks(self, items: Items, operation: Operation, sizes: Iterator[int]) -> Generator[Block, None, None]:
        """The messages, in blocks of these sizes."""
        kind = items.update if operation == "update" else message_type(self._view)
        packer = self.packer(kind)
        first = 0
        while first < self.rows:
            count = min(next(sizes), self.rows - first)
            block = packer.pack(first, count)
            try:
                if operation == "delete":
                    added, block = block, items.deletions(block, count)
                    if not items.waits:
                        added[:] = bytes(len(added))
                yield Block(block, count, None)
            finally:
                if not items.waits:
                    block[:] = bytes(len(block))  # it held keys
            first += count


def _attributes(message: memoryview) -> dict[int, tuple[int, int]]:
    """Where the payload of each attribute begins, and its size. Of two of a kind the last counts."""
    found = {}
    layout = MESSAGES[message_type(message)]
    position = HEADER.size + (0 if layout is None else aligned(layout.size))
    while position + ATTRIBUTE.size <= len(message):
        size, kind = ATTRIBUTE.unpack_from(message, position)
        found[kind & TYPE_MASK] = (position + ATTRIBUTE.size, size - ATTRIBUTE.size)
        position += aligned(size)
    return found


def _rows_of(given: Mapping[str, Given]) -> int:
    """The number of rows, which all columns must have. Flat bytes of addresses get their width."""
    counts = {name: column.count for name, column in given.items() if column.count is not None}
    rows = next(iter(counts.values()), None)
    for name, count in counts.items():
        if count != rows:
            raise ValidationError(name, f"{count} rows", f"are not as many as the {rows} of {next(iter(counts))}")
    for name, column in given.items():
        if not isinstance(column, Packed) or column.width:
            continue
        total = len(memoryview(column.data).cast("B"))
        if rows is None:
            rule = "are addresses of 4 or of 16 each: give a shape of (rows, 4) or (rows, 16), or text as str"
            raise ValidationError(name, f"{total} bytes", rule)
        if total not in (4 * rows, 16 * rows):
            rule = f"are not 4 or 16 for each of {rows} rows (text is given as str)"
            raise ValidationError(name, f"{total} bytes", rule)
        column.width, column.count = total // rows if rows else 4, rows
    if rows is None:
        raise ValidationError("columns", None, "are all single values: one must say how many rows there are")
    return rows

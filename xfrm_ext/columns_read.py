# SPDX-License-Identifier: MIT
"""Columns: what `dump_columns` returns, an array for each field instead of an object for each policy or state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from xfrm_ext.checks import shown
from xfrm_ext.errors import ValidationError, compiled_module_needed

if TYPE_CHECKING:
    from xfrm_ext.wire.columns_read import Reader
    from xfrm_ext.wire.columns_table import Column

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Columns(Mapping[str, Any]):
    """Fields of policies or states by name, each an array with an element for each row.

    With numpy installed they are numpy arrays: uint8 to uint64 as wide as in the kernel's structures, addresses of
    the shape (rows, 16), IPv4 in the first four bytes. Otherwise they are memoryviews of the same formats and
    shapes (without rows an address has no shape). Texts are lists of str. All of them are the caller's, to be read
    and written. The arrays of one call share one piece of memory: copy the one to be kept for long.
    """

    __slots__ = ("_columns", "rows")

    rows: int
    """How many policies or states there are."""

    def __init__(self, columns: dict[str, Any], rows: int) -> None:
        self._columns = columns
        self.rows = rows

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    __eq__ = object.__eq__  # arrays say which of their elements are equal
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        """How many rows of which columns."""
        names = list(self._columns)
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        return f"<Columns: {self.rows} rows of {', '.join(names[:6])}{more}>"


class Selection:
    """Which columns are wanted, and in which form."""

    def __init__(self, fields: Iterable[str] | None, text: bool, *, states: bool) -> None:
        """`fields` None: all that there are. Raises ValidationError, NotCompiledError."""
        with compiled_module_needed("dump_columns"):
            from xfrm_ext.wire import columns_read
        self._states = states
        self._table = columns_read.STATES if states else columns_read.POLICIES
        self._aliases = {} if states else columns_read.ALIASES
        self._reader = columns_read.Reader
        if not isinstance(text, bool):
            raise ValidationError("text", shown(text), "is not True or False")
        self._text = text
        self._names = list(self._table) if fields is None else self._checked(fields)

    def _checked(self, fields: object) -> list[str]:
        if isinstance(fields, (str, bytes)) or not isinstance(fields, Iterable):
            raise ValidationError("fields", shown(fields), "is not several names of columns")
        names: list[str] = []
        for name in fields:
            if not isinstance(name, str) or self._aliases.get(name, name) not in self._table:
                rule = f"is not the name of a column that {'states' if self._states else 'policies'} have"
                raise ValidationError("fields", shown(name), rule)
            if name in names:
                raise ValidationError("fields", shown(name), "is given twice")
            names.append(name)
        return names

    def read(self, dump: Callable[[Reader], Iterable[Any]], expected: int) -> Columns:
        """The columns of all messages that a dump decodes, about as many as expected."""
        wanted = {name: self._table[self._aliases.get(name, name)] for name in self._names}
        texts = {name: column for name, column in wanted.items() if self._text and column.size == 16}
        # Those that become texts, and what these need besides, are dropped in the end.
        dropped = {column.name: column for column in texts.values()}
        for column in texts.values():
            for other in (column.family, column.prefix_length):
                if other is not None:
                    dropped[other] = self._table[other]
        kept = {column.name: column for name, column in wanted.items() if name not in texts}
        dropped = {name: column for name, column in dropped.items() if name not in kept}
        places = {name: number for number, name in enumerate((*kept, *dropped))}
        columns = (*kept.values(), *dropped.values())
        # Some more may come meanwhile, and there is always room for a whole block.
        capacity = expected + expected // 16 + min(expected, 4096) + 64
        reader = self._reader(columns, states=self._states, kept=len(kept), capacity=capacity)
        for _ in dump(reader):
            pass
        result: dict[str, Any] = {}
        for name, column in wanted.items():
            if name in texts:
                result[name] = _texts(reader, places, column)
            else:
                result[name] = _array(reader.column(places[column.name]), column)
        return Columns(result, reader.rows)


def _texts(reader: Reader, places: dict[str, int], column: Column) -> list[str]:
    assert column.family is not None
    length = None if column.prefix_length is None else places[column.prefix_length]
    return reader.texts(places[column.name], places[column.family], length)


def _array(data: Any, column: Column) -> Any:
    """A column's bytes as an array: numpy's, or a memoryview where there is no numpy."""
    rows = len(data) // column.size
    code = _CODES.get(column.size, "B")
    if column.most == 0x7FFFFFFF:
        code = "i"
    try:
        import numpy
    except ModuleNotFoundError:
        if column.size == 16 and rows:
            return data.cast("B", (rows, 16))
        return data.cast(code)
    array = numpy.frombuffer(data, "=" + code)
    return array.reshape(rows, 16) if column.size == 16 else array

# SPDX-License-Identifier: MIT
"""What users give as columns -> rows in memory: buffers, lists, texts and Arrow arrays. Nothing is copied that need
not be. Whether the values are right is not looked at here."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, NoReturn, TypeAlias

from xfrm_ext import wire
from xfrm_ext.checks import article, integer, shown
from xfrm_ext.errors import ValidationError
from xfrm_ext.secret import Secret
from xfrm_ext.wire.columns_write import Rows, Texts

_UNSIGNED, _SIGNED = "BHILQN", "bhilqn"
_ARROW_INTEGERS = {"C": 1, "c": 1, "S": 2, "s": 2, "I": 4, "i": 4, "L": 8, "l": 8}
_ADDRESS_OBJECTS = (IPv4Address, IPv6Address, IPv4Network, IPv6Network)
_NOT_INTEGERS = "is not of integers"
_NOT_ADDRESSES = "is not of addresses: bytes of shape (rows, 4) or (rows, 16), integers of 32 bits, or text"
_NOT_KEYS = "is not of keys: bytes of shape (rows, the key's length)"


@dataclass(slots=True)
class Numbers:
    """Integers."""

    rows: Rows
    count: int | None
    """None: one value for all rows."""

    def at(self, row: int) -> int:
        """One of them."""
        rows = self.rows
        start = rows.start + row * rows.stride
        order = sys.byteorder if not rows.is_swapped else "big" if sys.byteorder == "little" else "little"
        data = bytes(memoryview(rows.data).cast("B")[start : start + rows.width])
        return int.from_bytes(data, order, signed=rows.is_signed)


@dataclass(slots=True)
class Packed:
    """Bytes: addresses or keys."""

    data: Any
    width: int
    """Bytes of a row; 0: not known yet, the rows stand back to back."""
    count: int | None
    start: int = 0

    @property
    def rows(self) -> Rows:
        return Rows(self.data, self.width, self.width, self.start, is_number=False)


@dataclass(slots=True)
class Text:
    """Texts of addresses or prefixes."""

    chunks: list[Texts]
    is_one: bool = False
    """One value for all rows."""

    @property
    def count(self) -> int | None:
        return None if self.is_one else sum(chunk.rows for chunk in self.chunks)

    def at(self, row: int) -> str:
        """One of them."""
        for chunk in self.chunks:
            if row < chunk.rows:
                return _text_at(chunk, row)
            row -= chunk.rows
        raise IndexError(row)


def _text_at(texts: Texts, row: int) -> str:
    data = memoryview(texts.data).cast("B")
    if texts.offsets is not None:
        flat = memoryview(texts.offsets).cast("B")
        offsets = flat.cast("q") if texts.offset_width == 8 else flat.cast("i")
        part = bytes(data[offsets[texts.first + row] : offsets[texts.first + row + 1]])
    elif texts.views is not None:
        view = bytes(memoryview(texts.views).cast("B")[16 * (texts.first + row) :][:16])
        length, number, start = struct.unpack("=i4xii", view)
        part = view[4 : 4 + length]
        if length > 12:
            part = bytes(memoryview(texts.buffers[number]).cast("B")[start : start + length])
    elif texts.width:
        part = bytes(data[row * texts.width : (row + 1) * texts.width])
        if texts.unit == 4:
            order = sys.byteorder if not texts.is_swapped else "big" if sys.byteorder == "little" else "little"
            return part.decode(f"utf-32-{order[0]}e", "replace").rstrip("\0")
        part = part.rstrip(b"\0")
    else:
        part = bytes(data).split(b"\n")[row]
    return part.decode("utf-8", "replace")


Column: TypeAlias = "Numbers | Packed | Text"


def numbers(value: Any, name: str, convert: Callable[[Any, str], int]) -> Numbers:
    """A column of numbers. `convert` makes a number of one value (a member's name for one), given its field."""
    if isinstance(value, (list, tuple, range)):
        return _listed(value, name, convert)
    found = _buffer(value, name) or _arrow(value, name)
    if found is None:
        if not isinstance(value, str):
            _refuse_iterable(value, name)
        return _one(convert(value, name))
    if isinstance(found, Packed):  # flat bytes
        width = found.width or 1
        if width != 1:
            raise ValidationError(name, _type(value), _NOT_INTEGERS)
        return Numbers(Rows(found.data, 1, 1), len(memoryview(found.data)))
    if isinstance(found, Text):
        raise ValidationError(name, _type(value), _NOT_INTEGERS)
    return found


def addresses(value: Any, name: str) -> Column:
    """A column of addresses or prefixes."""
    if isinstance(value, str):
        return _text(str.__str__(value), name)
    if isinstance(value, _ADDRESS_OBJECTS):
        return _text(_object_text(value, name), name)
    if isinstance(value, (list, tuple, range)):
        return _listed_addresses(value, name)
    found = _buffer(value, name) or _arrow(value, name)
    if found is None:
        _refuse_iterable(value, name)
        return _one(_integer(value, name))
    if (isinstance(found, Packed) and found.width not in (0, 4, 16)) or (
        isinstance(found, Numbers) and found.rows.width < 4
    ):
        raise ValidationError(name, _type(value), _NOT_ADDRESSES)
    return found


def keys(value: Any, name: str, size: int) -> Packed:
    """A column of keys of `size` bytes. Errors show nothing of them."""
    if isinstance(value, (list, tuple)):
        return _listed_keys(value, name, size)
    found = (
        None
        if isinstance(value, (str, Secret))
        else _buffer(value, name, keys=True) or _arrow(value, name, keys=True)
    )
    if not isinstance(found, Packed) or found.width not in (0, size):
        what = None if isinstance(found, Packed) and found.width else _type(value)
        rule = f"has keys of {found.width} bytes, and the template's has {size}" if what is None else _NOT_KEYS  # type: ignore[union-attr]
        raise ValidationError(name, what, rule)
    if not found.width:
        total = len(memoryview(found.data).cast("B"))
        if total % size:
            raise ValidationError(name, f"{total} bytes", f"are not a number of keys of {size}")
        found.width, found.count = size, total // size
    return found


def _refuse_iterable(value: Any, name: str) -> None:
    try:
        iter(value)
    except TypeError:  # also of an array without dimensions, which is one value
        return
    rule = f"is {article(type(value).__name__)}: a column is a buffer, a list, a tuple, a range or an Arrow array"
    raise ValidationError(name, None, rule)


def _type(value: object) -> str:
    """What a column is of, as people call it."""
    return f"{getattr(value, 'dtype', None) or type(value).__name__}"


def _integer(value: Any, name: str) -> int:
    """The number of an IPv4 address."""
    try:
        return integer(value, name, 0xFFFFFFFF)
    except ValidationError:
        raise ValidationError(name, shown(value), "is not an IP address, nor the number of an IPv4 one") from None


def _one(number: int) -> Numbers:
    return Numbers(Rows(array("Q", [number]), 8, 0), None)


# --- lists ----------------------------------------------------------------------------------------------


def _listed(values: list[Any] | tuple[Any, ...] | range, name: str, convert: Callable[[Any, str], int]) -> Numbers:
    if isinstance(values, range) or set(map(type, values)) <= {int}:
        for code in "Qq":  # the usual one is the faster, too
            try:
                rows = array(code, values)
            except OverflowError:
                continue
            return Numbers(Rows(rows, 8, 8, is_signed=code == "q"), len(rows))
    found = [convert(value, f"{name}[{row}]") for row, value in enumerate(values)]
    return Numbers(Rows(array("Q", found), 8, 8), len(found))


def _listed_addresses(values: list[Any] | tuple[Any, ...] | range, name: str) -> Column:
    if isinstance(values, range) or (values and type(values[0]) is int):
        return _listed(values, name, _integer)
    try:
        text = "\n".join(values)
    except TypeError:
        if not any(isinstance(value, (str, *_ADDRESS_OBJECTS)) for value in values):
            return _listed(values, name, _integer)
        texts = [_object_text(value, f"{name}[{row}]") for row, value in enumerate(values)]
        values, text = texts, "\n".join(texts)
    try:
        data = text.encode("ascii")
    except UnicodeEncodeError:
        _refuse_text(next((row, one) for row, one in enumerate(values) if not one.isascii()), name)
    if values and data.count(b"\n") != len(values) - 1:
        _refuse_text(next((row, one) for row, one in enumerate(values) if "\n" in one), name)
    return Text([Texts(len(values), data)])


def _object_text(value: object, name: str) -> str:
    if isinstance(value, str) or (isinstance(value, _ADDRESS_OBJECTS) and "%" not in str(value)):
        return str(value)
    raise ValidationError(name, shown(value), "is not an IP address or prefix")


def _refuse_text(found: tuple[int, str], name: str) -> NoReturn:
    raise ValidationError(f"{name}[{found[0]}]", shown(found[1]), "is not an IP address or prefix")


def _text(text: str, name: str) -> Text:
    try:
        data = text.encode("ascii")
    except UnicodeEncodeError:
        if "\n" not in text:
            raise ValidationError(name, shown(text), "is not an IP address or prefix") from None
        _refuse_text(next((row, one) for row, one in enumerate(text.split("\n")) if not one.isascii()), name)
    if "\n" not in text:
        return Text([Texts(1, data)], is_one=True)
    return Text([Texts(text.count("\n") + (not text.endswith("\n")), data)])


def _listed_keys(values: list[Any] | tuple[Any, ...], name: str, size: int) -> Packed:
    memory = wire.memory(bytes(size * len(values)))
    view = memoryview(memory).cast("B")
    for row, value in enumerate(values):
        key = Secret(value, f"{name}[{row}]")
        if len(key) != size:
            raise ValidationError(
                f"{name}[{row}]", None, f"has {len(key)} bytes, and the template's key has {size}"
            )
        view[row * size : (row + 1) * size] = memoryview(key._memory)
    return Packed(memory, size, len(values))


# --- buffers --------------------------------------------------------------------------------------------


def _buffer(value: Any, name: str, keys: bool = False) -> Column | None:
    """The rows of what has the buffer protocol. None: it has not, or it is a single value."""
    try:
        view = memoryview(value)
    except TypeError:
        return None
    except ValueError:  # numpy's dates, for one
        raise ValidationError(name, _type(value), "is not of integers, bytes or text") from None
    if not view.ndim:
        return None
    order, code = _format(view.format)
    swapped = view.itemsize > 1 and order == (">" if sys.byteorder == "little" else "<")
    shape = view.shape or ()
    if view.ndim == 2 and 0 in shape:  # nothing in memory, however many rows it says
        if shape[0]:
            raise ValidationError(name, f"{_type(value)} of {shape[0]} rows", "has nothing in its rows")
        return Packed(b"", shape[1] * view.itemsize, 0)
    if not view.c_contiguous:
        if keys:
            raise ValidationError(name, None, "is not contiguous, and keys are not copied")
        data: Any = view.tobytes()
    else:
        data = view
    if view.ndim == 2 and view.itemsize == 1 and code in (*"Bbc", "s", "x"):
        count, width = view.shape or (0, 0)
        return Packed(data, width, count)
    if view.ndim == 1 and code in ("B", "c") and not keys and view.itemsize == 1:
        return Packed(data, 0, None)
    if view.ndim == 1 and code in ("B", "b", "c", "x", "s") and keys:
        return Packed(data, 0 if view.itemsize == 1 else view.itemsize, None if view.itemsize == 1 else len(view))
    if view.ndim == 1 and code == "x":
        return Packed(data, view.itemsize, len(view))
    if view.ndim == 1 and code in ("s", "w"):
        unit = 4 if code == "w" else 1
        return Text([Texts(len(view), data, width=view.itemsize, unit=unit, is_swapped=unit == 4 and swapped)])
    if view.ndim == 1 and code and code in _UNSIGNED + _SIGNED and view.itemsize in (1, 2, 4, 8):
        rows = Rows(data, view.itemsize, view.itemsize, 0, True, code in _SIGNED, swapped)
        return Numbers(rows, len(view))
    of = f"{_type(value)} of {view.ndim} dimensions" if view.ndim > 1 else _type(value)
    raise ValidationError(name, of, "is not of integers, bytes or text")


def _format(text: str) -> tuple[str, str]:
    """The byte order and the code of a buffer's format, without a repeat count; "" for what has several codes."""
    order = text[0] if text[:1] in "@=<>!" else "@"
    code = text.lstrip("@=<>!").lstrip("0123456789")
    return ">" if order == "!" else order, code if len(code) == 1 else ""


# --- Arrow ----------------------------------------------------------------------------------------------


def _arrow(value: Any, name: str, keys: bool = False) -> Column | None:
    """The rows of what has the Arrow PyCapsule interface. None: it has not."""
    if not (hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__")):
        return None
    try:
        import nanoarrow
    except ModuleNotFoundError:
        rule = "is from Arrow, which takes nanoarrow to read: pip install 'xfrm-ext[arrow]'"
        raise ValidationError(name, _type(value), rule) from None
    if hasattr(value, "__arrow_c_stream__"):  # what is in several chunks has no array
        stream = nanoarrow.c_array_stream(value)
        schema = stream.get_schema()
        chunks = list(stream) or [nanoarrow.c_array([], schema)]
    else:
        chunks = [nanoarrow.c_array(value)]
    _refuse_nulls(chunks, name)
    schema = chunks[0].schema
    if schema.dictionary is not None:
        raise ValidationError(name, _type(value), "is a dictionary of Arrow's: it must be decoded first")
    kind = schema.format
    count = sum(chunk.length for chunk in chunks)
    if kind in _ARROW_INTEGERS:
        width = _ARROW_INTEGERS[kind]
        data, start = _joined(chunks, width)
        return Numbers(Rows(data, width, width, start, is_signed=kind.islower()), count)
    if kind.startswith("w:") and kind != "w:0":
        width = int(kind[2:])
        if len(chunks) > 1 and keys:
            raise ValidationError(name, f"{len(chunks)} chunks", "are not one, and keys are not copied")
        data, start = _joined(chunks, width)
        return Packed(data, width, count, start)
    if kind in ("u", "U", "vu"):
        return Text([_arrow_texts(chunk, kind) for chunk in chunks if chunk.length])
    raise ValidationError(name, _type(value), f"is of Arrow's format {shown(schema.format)}, which is no column")


def _arrow_texts(chunk: Any, kind: str) -> Texts:
    view, count, first = chunk.view(), chunk.length, chunk.offset
    if kind == "vu":  # validity, views, then the longer texts, and the sizes of those
        buffers = [view.buffer(number) for number in range(2, view.n_buffers - 1)]
        return Texts(count, b"", views=view.buffer(1), first=first, buffers=buffers)
    return Texts(count, view.buffer(2), view.buffer(1), 4 if kind == "u" else 8, first)


def _refuse_nulls(chunks: list[Any], name: str) -> None:
    before = 0
    for chunk in chunks:
        if chunk.null_count:
            bits = memoryview(chunk.view().buffer(0)).cast("B")
            for row in range(chunk.length if len(bits) else 0):
                place = chunk.offset + row
                if not bits[place // 8] >> place % 8 & 1:
                    raise ValidationError(f"{name}[{before + row}]", None, "is null")
        before += chunk.length


def _joined(chunks: list[Any], width: int) -> tuple[Any, int]:
    """The buffer of values, and where they begin in it."""
    if len(chunks) == 1:
        return chunks[0].view().buffer(1), chunks[0].offset * width
    parts = (memoryview(chunk.view().buffer(1)).cast("B") for chunk in chunks if chunk.length)
    begins = (chunk for chunk in chunks if chunk.length)
    return b"".join(
        part[one.offset * width : (one.offset + one.length) * width]
        for part, one in zip(parts, begins, strict=True)
    ), 0

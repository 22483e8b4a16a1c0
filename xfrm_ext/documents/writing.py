# SPDX-License-Identifier: MIT
"""Values -> documents, and documents -> text."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from xfrm_ext import wire
from xfrm_ext.constants import Enumeration, Flags
from xfrm_ext.documents.forms import Style, form_of, time_text, write_bytes, write_enumeration, write_flags
from xfrm_ext.errors import BatchFileError, SetkeyError
from xfrm_ext.lifetime import LifetimeConfig, LifetimeCurrent
from xfrm_ext.policy import Policy
from xfrm_ext.secret import Secret
from xfrm_ext.selector import Selector
from xfrm_ext.value import Value
from xfrm_ext.wire.layouts import HEADER, POLICY

InterfaceName = Callable[[int], "str | None"]
Write = Callable[[Any, Style], Any]

KINDS = {
    "Policy": "policy",
    "PolicyId": "policy_id",
    "State": "state",
    "StateId": "state_id",
    "StateFilter": "state_filter",
    "SpiRequest": "spi_request",
    "StateExpired": "state_expired",
    "PolicyExpired": "policy_expired",
    "Acquire": "acquire",
    "AsyncEvent": "async_event",
    "Report": "report",
    "Mapping": "mapping",
    "Migration": "migration",
    "StateMigration": "state_migration",
    "SadInfo": "sad_info",
    "SpdInfo": "spd_info",
    "SpdThresholds": "spd_thresholds",
    "PolicyDefaults": "policy_defaults",
    "StateCounters": "state_counters",
    "Request": "request",
    "Event": "event",
    "Overrun": "overrun",
    "LoadResult": "load_result",
}
"""The classes whose values are documents by themselves, and what ``kind`` says of each, wherever it stands. Errors
are of kind "error"."""
EVENTS = {
    "NEWSA": "new_state",
    "UPDSA": "updated_state",
    "DELSA": "deleted_state",
    "EXPIRE": "state_expired",
    "FLUSHSA": "flushed_states",
    "NEWPOLICY": "new_policy",
    "UPDPOLICY": "updated_policy",
    "DELPOLICY": "deleted_policy",
    "POLEXPIRE": "policy_expired",
    "FLUSHPOLICY": "flushed_policies",
    "ACQUIRE": "acquire",
    "NEWAE": "async_event",
    "REPORT": "report",
    "MIGRATE": "migration",
    "MIGRATE_STATE": "state_migration",
    "MAPPING": "mapping",
    "GETDEFAULT": "policy_defaults",
}
"""What ``event`` says, by message; "unknown" of all others."""
_PLAIN = {"int", "str", "bool", "int | None", "str | None"}


def to_document(
    value: object,
    *,
    show_keys: bool = False,
    interface_name: InterfaceName | None = None,
    file: str | None = None,
) -> dict[str, Any]:
    """The document for a value of one of the classes in KINDS, or for an error.

    `show_keys`: keys in hexadecimal, in place of "<hidden>". `interface_name`: gives an interface's name by its
    index, None or "" where there is none; without it no document has names. `file`: where the items of a load, or
    what an error is about, came from. Raises TypeError for other values.
    """
    kind = type(value)
    if kind.__name__ not in KINDS and not isinstance(value, Exception):
        raise TypeError(f"{kind.__name__} has no document")
    document: dict[str, Any] = _write(value, Style(show_keys, interface_name, file))
    return document


# --- text -------------------------------------------------------------------------------------------------


def now() -> float:
    """The time, as `event_document` takes it."""
    from time import time

    return time()


def event_document(
    event: object,
    *,
    show_keys: bool = False,
    interface_name: InterfaceName | None = None,
    time: float | None = None,
) -> dict[str, Any]:
    """The document for an Event or Overrun, with the time when it came, in seconds since 1970, in front."""
    document = to_document(event, show_keys=show_keys, interface_name=interface_name)
    if time is None:
        return document
    seconds, microseconds = divmod(round(time * 1_000_000), 1_000_000)
    return {"time": f"{str(time_text(seconds))[:-1]}.{microseconds:06d}Z", **document}


def line(document: dict[str, Any], *, pretty: bool = False) -> str:
    """A document as JSON: a line, or several where it shall be `pretty`. One behind the other they are JSON lines,
    or what most programs that read those take as well."""
    return f"{_encoder(pretty)(document)}\n"


def array(documents: Iterable[dict[str, Any]], *, pretty: bool = False) -> Iterator[str]:
    """The pieces of a JSON array of documents: a line each, or several where it shall be `pretty`. None is kept, so
    that there can be millions."""
    encode = _encoder(pretty)
    before, between, indent, after = ("[\n  ", ",\n  ", "\n  ", "\n]\n") if pretty else ("[", ",\n", "", "]\n")
    empty = True
    for document in documents:
        text = encode(document)
        yield (before if empty else between) + (text.replace("\n", indent) if pretty else text)
        empty = False
    yield "[]\n" if empty else after


@lru_cache
def _encoder(pretty: bool) -> Callable[[Any], str]:
    from json import JSONEncoder

    return JSONEncoder(indent=2 if pretty else None, separators=None if pretty else (",", ":")).encode


# --- values -----------------------------------------------------------------------------------------------


class _Table(NamedTuple):
    """How the values of a class are written."""

    start: dict[str, Any]
    names: tuple[str, ...]
    sources: tuple[str, ...]
    """The field that each is made of."""
    converted: tuple[tuple[str, Write], ...]
    """Those that JSON can't hold as they are."""


def _table(kind: type) -> _Table:
    listed: list[tuple[str, str, Write | None]] = []
    if kind.__name__ == "Event":
        listed.append(("event", "message", _event_word))
    for field in fields(kind):
        form = form_of(kind.__name__, field.name)
        write = form.write if form is not None else None if field.type in _PLAIN else _write
        listed.append((field.name, field.name, write))
        if field.name == "interface":
            listed.append(("interface_name", "interface", _interface_name))
    start = {"kind": KINDS[kind.__name__]} if kind.__name__ in KINDS else {}
    if kind.__name__ == "Overrun":
        start["event"] = "overrun"
    return _Table(
        start,
        tuple(name for name, _, _ in listed),
        tuple(source for _, source, _ in listed),
        tuple((name, write) for name, _, write in listed if write is not None),
    )


def _object(kind: type) -> Write:
    start, names, sources, converted = _table(kind)
    get: Callable[[Any], tuple[Any, ...]] = attrgetter(*sources, "__class__") if sources else lambda value: ()

    def write(value: Any, style: Style) -> dict[str, Any]:
        document = start.copy()
        document.update(zip(names, get(value), strict=False))
        for name, convert in converted:
            document[name] = convert(document[name], style)
        return document

    return write


def _object_of_bytes(kind: type) -> Write:
    """The same for a Value, whose fields need not become attributes for this: that takes a third of the time."""
    start, names, sources, converted = _table(kind)
    pick, get = itemgetter(*sources), attrgetter(*sources)
    filled = kind.__dict__[sources[-1]].__get__

    def write(value: Any, style: Style) -> dict[str, Any]:
        document = start.copy()
        try:
            filled(value)
        except AttributeError:
            document.update(zip(names, pick(value._unpack(wire)), strict=True))
        else:
            document.update(zip(names, get(value), strict=True))
        for name, convert in converted:
            document[name] = convert(document[name], style)
        return document

    return write


def _policy(kind: type) -> Write:
    """The same for policies. In a large dump they differ in a few fields: the rest of a document is made once."""
    whole = _object_of_bytes(kind)
    rests: dict[bytes, dict[str, Any]] = {}

    def write(value: Any, style: Style) -> dict[str, Any]:
        document: dict[str, Any]
        data: bytes = value._wire
        same = data[_LIFETIME:_CURRENT] + data[_DIRECTION:]
        rest = rests.get(same)
        if rest is None:
            document = whole(value, style)
            if not document["attributes"] and not document["offload"]:  # keys; the name of an interface
                if len(rests) >= _RESTS:
                    rests.clear()
                rests[same] = _copied(document)
            return document
        document = _copied(rest)
        document["selector"] = _write(Selector._from_wire(data[HEADER.size : _LIFETIME]), style)
        document["current"] = _write(LifetimeCurrent._from_wire(data[_CURRENT:_PRIORITY]), style)
        document["priority"], document["index"] = _NUMBERS.unpack_from(data, _PRIORITY)
        return document

    return write


_LIFETIME, _CURRENT, _PRIORITY, _DIRECTION = (
    HEADER.size + POLICY.place(name).offset for name in ("lifetime", "current", "priority", "direction")
)
_NUMBERS = struct.Struct("=II")  # priority and index, between current and direction
_RESTS = 4096


def _copied(document: Any) -> Any:
    copy = document.copy()
    for name, one in document.items():
        if one.__class__ is dict:
            copy[name] = _copied(one)
        elif one.__class__ is list:
            copy[name] = [_copied(each) if each.__class__ is dict else each for each in one]
    return copy


def _shared(kind: type[Value]) -> Write:
    """The same for values that many others have alike, and that no style changes."""
    whole = _object_of_bytes(kind)

    @lru_cache(maxsize=1024)
    def document(data: bytes) -> dict[str, Any]:
        written: dict[str, Any] = whole(kind._from_wire(data), Style())
        return written

    return lambda value, style: document(value._wire).copy()


_WRITERS: dict[type, Write] = {}


def _write(value: Any, style: Style) -> Any:
    """Anything that a field can hold."""
    kind = value.__class__
    write = _WRITERS.get(kind)
    if write is None:
        write = _WRITERS[kind] = _writer(kind)
    return write(value, style)


def _writer(kind: type) -> Write:
    if kind in (int, str, bool, type(None)):
        return lambda value, style: value
    if issubclass(kind, Enumeration):
        return write_enumeration(kind)
    if issubclass(kind, Flags):
        return write_flags(kind)
    if issubclass(kind, (tuple, list)):
        return lambda value, style: [_write(one, style) for one in value]
    if issubclass(kind, Secret):
        return write_bytes
    if issubclass(kind, Exception):
        return _error
    if issubclass(kind, Policy):
        return _policy(kind)
    if issubclass(kind, (LifetimeConfig, LifetimeCurrent)):
        return _shared(kind)
    if issubclass(kind, Value):
        return _object_of_bytes(kind)
    if is_dataclass(kind):
        return _object(kind)
    if kind.__name__ == "Indices":
        return _indices
    raise TypeError(f"{kind.__name__} has no form in documents")


def _event_word(message: Any, style: Style) -> str:
    return EVENTS.get(message.name, "unknown")


def _interface_name(index: int, style: Style) -> str | None:
    """None where there is no name: for what `ip` says then, "if7", too."""
    if style.interface_name is None or not index:
        return None
    name = style.interface_name(index)
    return None if not name or name == f"if{index}" else name


def _indices(value: Any, style: Style) -> dict[str, Any]:
    return {"count": len(value), "ranges": [[one.start, one.stop - 1] for one in value.ranges]}


def _error(error: Any, style: Style) -> dict[str, Any]:
    """An error: what each kind of them tells, null where it does not. Errors of other kinds than ours may show
    anything, and so does their document; OSError has the name of a file."""
    line_is_wrong = isinstance(error, (BatchFileError, SetkeyError))
    number = error.errno if isinstance(error, OSError) else None
    file = error.path if line_is_wrong else getattr(error, "filename", None)
    which, result = getattr(error, "which", None), getattr(error, "result", None)
    return {
        "kind": "error",
        "error": type(error).__name__,
        "text": str(error),
        "errno": number,
        "errno_name": None if number is None else errno.errorcode.get(number),
        "operation": getattr(error, "operation", None),
        "kernel_text": getattr(error, "kernel_text", None) or None,
        "attribute": getattr(error, "attribute", None),
        "index": getattr(error, "index", None),
        "file": file if isinstance(file, str) else style.file,
        "line": getattr(error, "line", None),
        "column": getattr(error, "column", None),
        "field": None if line_is_wrong else getattr(error, "field", None),
        "rule": getattr(error, "rule", None),
        "which": None if which is None else _write(which, style),
        "result": None if result is None else _write(result, style),
    }

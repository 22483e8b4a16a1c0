# SPDX-License-Identifier: MIT
"""Text -> documents, and documents -> values."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from itertools import count
from typing import Any, NamedTuple, NoReturn, TextIO

from xfrm_ext import algorithm, attribute, constants, event, info, migrate, policy, selector, state, state_request
from xfrm_ext.checks import BYTE_ORDER_MARK, shown
from xfrm_ext.constants import Enumeration, Flags, Message, PolicyType, Protocol
from xfrm_ext.documents.forms import (
    Wrong,
    form_of,
    json_type,
    read_bool,
    read_enumeration,
    read_flags,
    read_int,
    read_list,
    read_text,
)
from xfrm_ext.documents.writing import KINDS
from xfrm_ext.errors import BatchFileError, ValidationError
from xfrm_ext.request import Request
from xfrm_ext.wire.item import Item

Lookup = Callable[[str], int]
Read = Callable[[Any, "Lookup | None"], Any]

_CLASSES = {
    name: kind
    for room in (constants, event, info, migrate, policy, state, state_request)
    for name, kind in vars(room).items()
    if isinstance(kind, type)
}
"""By the names that annotations of fields have."""
_KEYED = (algorithm.Algorithm, algorithm.AuthAlgorithm, algorithm.AeadAlgorithm, attribute.Attribute)
"""Where a key may stand in any place, by mistake: errors show nothing of what does."""
_LOADED = {"policy": policy.Policy, "state": state.State, "request": Request}
_BODIES = {
    KINDS[name]: _CLASSES[name]
    for name in KINDS
    if name not in ("Request", "Event", "Overrun", "LoadResult", "StateCounters")
}
_WORDS_ALONE = {Message.FLUSHSA: Protocol, Message.FLUSHPOLICY: PolicyType}
"""Messages whose body is a word."""


def from_document(
    document: object, *, interface_index: Lookup | None = None, path: str = "$"
) -> policy.Policy | state.State | Request:
    """The policy, state or request that a document stands for: the reverse of `to_document`.

    What is left out has its default; what is there must be right: names that no field has are an error, and so is a
    key that is hidden. `interface_index`: gives an interface's index by its name, 0: there is none. With it
    ``interface_name`` says which interface is meant, without it ``interface`` does. `path`: where the document
    stands, for errors. Raises ValidationError, whose field is a path: ``$[3].templates[0].mode``.
    """
    try:
        value: policy.Policy | state.State | Request = _by_kind(document, interface_index, _LOADED)
    except Wrong as wrong:
        error = ValidationError(f"{path}{wrong.path}", wrong.value, wrong.rule)
    else:
        return value
    del document  # which may have keys in it, from the traceback
    raise error


def _by_kind(document: object, lookup: Lookup | None, kinds: dict[str, Any]) -> Any:
    kind = _members(document).get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        value = None if kind is None else shown(kind)
        raise Wrong(value, f"is {'missing: it is' if kind is None else 'not'} one of {', '.join(kinds)}", ".kind")
    return _reader(kinds[kind])(document, lookup)


def _members(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise Wrong(None, f"is {json_type(value)}, and not an object")


# --- values -----------------------------------------------------------------------------------------------


@cache
def _reader(kind: Any) -> Read:
    """What reads the values of a class."""
    if issubclass(kind, Enumeration):
        return read_enumeration(kind)
    if issubclass(kind, Flags):
        return read_flags(kind)
    if kind is Request:
        return _request
    readers = {field.name: _field_reader(kind, field) for field in fields(kind)}
    required = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.default is parameter.empty and name in readers
    ]
    own = KINDS.get(kind.__name__)
    make = _MAKERS.get(kind, kind)
    keyed = kind in _KEYED
    named = "interface" in readers

    def read(value: object, lookup: Lookup | None) -> Any:
        values: dict[str, Any] = {}
        members = _members(value)
        for name, member in members.items():
            reader = readers.get(name)
            try:
                if reader is not None:
                    values[name] = reader(member, lookup)
                elif name == "kind" and own is not None:
                    _check_kind(member, own)
                elif not (name == "interface_name" and named):
                    rule = f"is not one of {', '.join(readers)}"
                    raise Wrong(None, f"has a member that {rule}") if keyed else Wrong(None, rule, _step(name))
            except Wrong as wrong:
                if reader is not None:
                    wrong.path = f".{name}{wrong.path}"
                if keyed:
                    wrong.value = None
                raise
        if named and members.get("interface_name") is not None:
            _look_up(members["interface_name"], values, lookup)
        for name in required:
            if name not in values:
                raise Wrong(None, "is missing", f".{name}")
        try:
            return make(**values)
        except ValidationError as error:
            refused = _placed(error, kind, values)
        if keyed:  # any number could be a key that stands in the wrong place
            refused.value = None
        raise refused

    return read


def _step(name: str) -> str:
    """The part of a path for a member that nobody knows, whatever is in its name."""
    return f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{shown(name)}]"


def _check_kind(value: object, own: str) -> None:
    if value != own:
        raise Wrong(shown(value), f"is not {own}", ".kind")


def _look_up(name: object, values: dict[str, Any], lookup: Lookup | None) -> None:
    """The interface that a name means here, whatever index it had where the document was written."""
    if not isinstance(name, str) or not name.isprintable():
        raise Wrong(shown(name), "is not the name of an interface, or null", ".interface_name")
    if lookup is not None:
        values["interface"] = lookup(name)
    if not values.get("interface"):
        raise Wrong(shown(name), "is not an interface" if lookup else "can't be looked up", ".interface_name")


def _placed(error: ValidationError, kind: type, values: dict[str, Any]) -> Wrong:
    """What a constructor refused: where the field stands, in the object itself or in one of its members."""
    owner, _, name = error.field.partition(".")
    path = f".{name}" if name else ""
    if owner != kind.__name__:
        inner = [each for each, value in values.items() if type(value).__name__ == owner]
        path = f".{inner[0]}{path}" if inner else path
    return Wrong(error.value, error.rule, path)


def _field_reader(owner: Any, field: Any) -> Read:
    form = form_of(owner.__name__, field.name)
    return _typed(field.type) if form is None else form.read


def _typed(annotation: str) -> Read:
    """What reads a field, by its annotation: "int", "Mark | None", "tuple[Template, ...]"."""
    words = annotation.split(" | ")
    if words[0].startswith("tuple["):
        item = _typed(words[0][6:-1].partition(",")[0])
        read: Read = lambda value, lookup: _several(value, item, lookup)  # noqa: E731
    else:
        read = _PLAIN[words[0]] if words[0] in _PLAIN else _late(_CLASSES[words[0]])
    if "None" in words:
        return lambda value, lookup: None if value is None else read(value, lookup)
    return read


def _late(kind: type) -> Read:
    """The reader of a class, made when it is first needed."""
    return lambda value, lookup: _reader(kind)(value, lookup)


def _several(value: object, read: Read, lookup: Lookup | None) -> tuple[Any, ...]:
    found = []
    for place, one in enumerate(read_list(value)):
        try:
            found.append(read(one, lookup))
        except Wrong as wrong:
            wrong.path = f"[{place}]{wrong.path}"
            raise
    return tuple(found)


_PLAIN: dict[str, Read] = {"int": read_int, "str": read_text, "bool": read_bool}


def _request(value: object, lookup: Lookup | None) -> Request:
    members = _members(value)
    for name in members:
        if name not in ("kind", "message", "body"):
            raise Wrong(None, "is not one of message, body", _step(name))
    if "message" not in members:
        raise Wrong(None, "is missing", ".message")
    part = ".message"
    try:
        message = read_enumeration(Message)(members["message"], lookup)
        part, body = ".body", members.get("body")
        if body is not None and message in _WORDS_ALONE:
            body = read_enumeration(_WORDS_ALONE[message])(body, lookup)
        elif body is not None:
            body = _by_kind(body, lookup, _BODIES)
    except Wrong as wrong:
        wrong.path = f"{part}{wrong.path}"
        raise
    try:
        return Request(message, body)
    except ValidationError as error:
        raise _placed(error, Request, {}) from None


def _with_host_bits(kind: Any) -> Callable[..., Any]:
    """Host bits behind a prefix are taken: the kernel has such selectors."""
    return lambda **values: kind(**values, strict=False)


def _attribute(type: Any, payload: Any) -> Any:
    """A payload that can't hold a key is no Secret."""
    return attribute.Attribute(type, payload if int(type) & 0x3FFF in attribute.KEYED else payload.reveal())


def _algorithm(kind: Any) -> Callable[..., Any]:
    """What makes algorithms: as they are, whatever is known of their names and keys, for the kernel has such."""

    def make(**values: Any) -> Any:
        try:
            name = values["name"].encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            name = b"\0"
        if len(name) > 63 or b"\0" in name:
            raise Wrong(None, "is not a name of at most 63 bytes without NUL", ".name") from None
        if not name.isascii() or not name:
            values["name"] = "-"
        made = kind(**values, strict=False)  # which would make the name another, where that is an alias
        return kind._from_item(Item(0, (made.key_bits, getattr(made, "icv_bits", 0)), made.key._memory, name))

    return make


_MAKERS: dict[Any, Callable[..., Any]] = {
    **{kind: _with_host_bits(kind) for kind in (selector.Selector, state_request.StateFilter)},
    attribute.Attribute: _attribute,
    **{kind: _algorithm(kind) for kind in _KEYED[:3]},
}


# --- text -------------------------------------------------------------------------------------------------

_SPACE = re.compile(r"[ \t\r\n]*")
_PIECE = 1 << 16
_LONGEST = 1 << 20
"""Characters. No document of a message, which has at most 65535 bytes, is longer."""
_LONGEST_ESCAPE = len(r"\ud83d\ude00")


class Found(NamedTuple):
    """A document in a stream."""

    line: int
    """That it begins in, from 1."""
    path: str
    """"$[3]": the fourth of an array. "$": all of the text, or one of several documents behind each other."""
    document: Any

    def __repr__(self) -> str:  # there may be keys in the document
        return f"<document {self.path} in line {self.line}>"


class _Text:
    """A stream of JSON, of which no more is kept than a document needs."""

    def __init__(self, stream: TextIO, name: str) -> None:
        from json import JSONDecoder

        self._stream = stream
        self._name = name
        self._text = ""
        self._at = 0
        self._ended = False
        self.line = 1
        self._decode = JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant).raw_decode

    def next(self) -> str:
        """The next character that is not white space, which stays; "" at the end."""
        while True:
            self.skip(_SPACE.match(self._text, self._at).end() - self._at)  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self, count: int = 1) -> None:
        """Passes over characters."""
        self.line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def document(self) -> Any:
        """The document that begins here."""
        while True:
            at, is_whole = self._at, False
            try:
                document, end = self._decode(self._text, at)
            except Wrong as error:
                rule, is_whole = error.rule, True
            except RecursionError:
                rule, is_whole = "is nested too deeply", True
            except ValueError as error:  # JSONDecodeError, or that a number is too long
                rule, at = (
                    f"is not JSON: {getattr(error, 'msg', 'a number is too long')}",
                    getattr(error, "pos", at),
                )
            else:
                if end < len(self._text) or self._ended:
                    self.skip(end - at)
                    return document
                rule = ""
            if is_whole or self._ended:
                self.refuse(rule, at)
            if len(self._text) - self._at > _LONGEST:
                # What is wrong only for the end of what has been read may be right.
                cut = not rule or "Unterminated" in rule or at > len(self._text) - _LONGEST_ESCAPE
                self.refuse(*(("is longer than any document",) if cut else (rule, at)))
            self._more()

    def refuse(self, rule: str, at: int | None = None) -> NoReturn:
        """Raises BatchFileError, which has nothing of the text, nor has its traceback."""
        line = self.line + self._text.count("\n", self._at, at)
        self._text = ""
        raise BatchFileError(self._name, line, rule)

    def _more(self) -> bool:
        if self._ended:
            return False
        piece = self._stream.read(_PIECE)
        self._ended = not piece
        self._text = self._text[self._at :] + piece
        self._at = 0
        return True


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(members)
    if len(document) != len(members):
        raise Wrong(None, "an object has two members of one name")
    return document


def _no_constant(name: str) -> NoReturn:
    raise Wrong(None, f"is not JSON: {name}")


def read(stream: TextIO, name: str = "-") -> Iterator[Found]:
    """The documents in a stream: of an array, or any number of them behind each other (JSON lines), read piece by
    piece. Each with its line and its path, for `from_document`. Raises BatchFileError where it is not JSON."""
    text = _Text(stream, name)
    if text.next() == BYTE_ORDER_MARK:
        text.skip()
    if text.next() != "[":
        while text.next():
            line = text.line
            yield Found(line, "$", text.document())
        return
    text.skip()
    for number in count():
        if text.next() == "]" and not number:
            break
        line = text.line
        yield Found(line, f"$[{number}]", text.document())
        after = text.next()
        if after != ",":
            break
        text.skip()
    if text.next() != "]":
        text.refuse("is not JSON: the array does not go on with , or end with ]")
    text.skip()
    if text.next():
        text.refuse("is not JSON: there is more behind the array")

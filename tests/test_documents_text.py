# SPDX-License-Identifier: MIT
"""Documents as text, in arrays and lines, written and read piece by piece; and the documents of errors."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import pytest
from test_secret import states

from xfrm_ext import (
    AlreadyExists,
    BatchFileError,
    CommandError,
    KernelError,
    LoadError,
    Policy,
    Selector,
    Session,
    SetkeyError,
    ValidationError,
)
from xfrm_ext.documents import array, line, read, reading, to_document

# --- text -------------------------------------------------------------------------------------------------


def test_an_array_is_written_as_it_comes() -> None:
    endless = (to_document(Policy(direction="in", priority=number)) for number in itertools.count())
    pieces = array(endless)
    assert [json.loads(next(pieces)[1:])["priority"] for _ in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("pretty", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_arrays_and_lines_are_json(count: int, pretty: bool) -> None:
    wanted = [to_document(Policy(Selector(interface=number), direction="in")) for number in range(count)]
    text = "".join(array(wanted, pretty=pretty))
    assert json.loads(text) == wanted
    assert text.endswith("]\n")
    if pretty and count:
        assert text == json.dumps(wanted, indent=2) + "\n"
    assert [found.document for found in read(io.StringIO(text))] == wanted
    several = "".join(line(document, pretty=pretty) for document in wanted)
    assert [found.document for found in read(io.StringIO(several))] == wanted
    if not pretty:
        assert [json.loads(each) for each in several.splitlines()] == wanted


class Slowly:
    """A stream that gives a few characters at a time, and tells how many it gave."""

    def __init__(self, text: str, most: int) -> None:
        self._text = text
        self._most = most
        self.given = 0

    def read(self, size: int) -> str:
        piece = self._text[self.given : self.given + min(size, self._most)]
        self.given += len(piece)
        return piece


@pytest.mark.parametrize("most", [1, 2, 7, 64, 1000])
def test_however_the_text_comes(most: int) -> None:
    wanted = [to_document(state, show_keys=True) for state in states()]
    text = "".join(array(wanted, pretty=True))
    found = list(read(Slowly(text, most)))  # type: ignore[arg-type]
    assert [each.document for each in found] == wanted
    assert [each.path for each in found] == ["$[0]", "$[1]", "$[2]", "$[3]"]
    starts = [number for number, each in enumerate(text.splitlines(), 1) if each == "  {"]
    assert [each.line for each in found] == starts


def test_no_more_is_read_than_needed() -> None:
    text = line(to_document(Policy(direction="in"))) * 1000
    stream = Slowly(text, len(text))
    first = next(read(stream))  # type: ignore[arg-type]
    assert (first.line, first.path) == (1, "$")
    assert stream.given <= 1 << 16 < len(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[\n{},\n}]", "f:3: is not JSON: Expecting value"),
        ("[\n{}\n{}]", "f:3: is not JSON: the array does not go on with , or end with ]"),
        ("[{},]", "f:1: is not JSON: Expecting value"),
        ("[{}\n", "f:2: is not JSON: the array does not go on with , or end with ]"),
        ("[]\n\n1", "f:3: is not JSON: there is more behind the array"),
        ('{\n"a": 1\n', "f:3: is not JSON: Expecting ',' delimiter"),
        ('{}\n{"a": 1,\n "a": 2}', "f:2: an object has two members of one name"),
        ('{"a": Infinity}', "f:1: is not JSON: Infinity"),
        ("{}\n" + 100_000 * "[", "f:2: is nested too deeply"),
        ('{"a": ' + 5000 * "1" + "}", "f:1: is not JSON: a number is too long"),
    ],
)
def test_what_is_not_json_is_refused_by_its_line(text: str, wanted: str) -> None:
    with pytest.raises(BatchFileError) as found:
        list(read(io.StringIO(text), "f"))
    assert str(found.value) == wanted


def test_what_is_no_json_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LONGEST", 1000)
    stream = Slowly('{"a": [' + 100_000 * "1, ", 100)
    with pytest.raises(BatchFileError):
        list(read(stream))  # type: ignore[arg-type]
    assert stream.given < 2000


def test_a_document_that_does_not_end_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_LONGEST", 1000)
    for text in ('{"a": [' + 500 * "1, ", '{"a": "' + 1200 * "x", '{"a": ' + 200 * "[true, "):
        with pytest.raises(BatchFileError, match=r"^f:1: is longer than any document$"):
            list(read(Slowly(text + 10_000 * " ", 101), "f"))  # type: ignore[arg-type]
    with pytest.raises(BatchFileError, match=r"^f:2: is not JSON: Expecting ':' delimiter$"):
        list(read(Slowly('{\n"a" 1, "b": [' + 2000 * "1, ", 100), "f"))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{}", "[{}]", "\n{}"])
def test_a_byte_order_mark_is_passed_over(text: str) -> None:
    assert [each.document for each in read(io.StringIO(f"\ufeff{text}"))] == [{}]
    with pytest.raises(BatchFileError):
        list(read(io.StringIO(f"{text}\ufeff")))


def test_what_is_found_shows_no_key() -> None:
    found = next(read(io.StringIO('\n[{"key": "0x1122334455"}]')))
    assert repr(found) == "<document $[0] in line 2>"
    assert found.document == {"key": "0x1122334455"}


# --- errors -----------------------------------------------------------------------------------------------


def test_an_error_says_what_the_kernel_said(session: Session) -> None:
    policy = Policy(direction="in")
    session.spd.add(policy)
    with pytest.raises(AlreadyExists) as found:
        session.spd.add(policy)
    document = to_document(found.value, file="policies.json")
    assert (document["error"], document["errno"], document["errno_name"]) == ("AlreadyExists", 17, "EEXIST")
    assert (document["operation"], document["text"]) == ("add policy", str(found.value))
    assert (document["file"], document["line"], document["index"]) == ("policies.json", None, None)


def test_a_result_has_each_failure(session: Session) -> None:
    policies = [Policy(direction="in", priority=1), Policy(direction="in"), Policy(direction="out")]
    result = session.spd.load(policies, on_error="collect")
    document = to_document(result, file="-")
    assert document["applied"] == {"count": 2, "ranges": [[0, 0], [2, 2]]}
    assert [(each["index"], each["errno_name"], each["file"]) for each in document["failed"]] == [
        (1, "EEXIST", "-")
    ]
    assert document["taken"] == 3
    with pytest.raises(LoadError) as found:
        session.spd.load(policies)
    assert to_document(found.value)["result"]["failed"][0]["index"] == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValidationError("Policy.priority", "-1", "is wrong"), {"field": "Policy.priority", "rule": "is wrong"}),
        (BatchFileError("f", 3, "is wrong", 2), {"file": "f", "line": 3, "index": 2, "rule": "is wrong"}),
        (SetkeyError("f", 3, 9, "is wrong"), {"file": "f", "line": 3, "column": 9, "rule": "is wrong"}),
        (CommandError("dir", "up", "is wrong"), {"field": "dir", "rule": "is wrong"}),
        (FileNotFoundError(2, "No such file", "f"), {"errno": 2, "errno_name": "ENOENT", "file": "f"}),
        (
            KernelError(22, "add state", "no module", "XFRMA_ALG_CRYPT", 4, 7),
            {
                "errno": 22,
                "errno_name": "EINVAL",
                "operation": "add state",
                "kernel_text": "no module",
                "attribute": "XFRMA_ALG_CRYPT",
                "index": 4,
                "line": 7,
            },
        ),
    ],
)
def test_an_error_tells_what_it_has(error: Exception, told: dict[str, Any]) -> None:
    document = to_document(error)
    rest = {name: value for name, value in document.items() if name not in ("kind", "error", "text")}
    assert (document["kind"], document["error"], document["text"]) == ("error", type(error).__name__, str(error))
    assert {name: value for name, value in rest.items() if value is not None} == told

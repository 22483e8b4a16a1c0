# SPDX-License-Identifier: MIT
"""`xfrm monitor file MSG`: of each message that `ip` was given as a file, the text that it printed."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from test_iproute2_texts import corrected
from vectors import records

from xfrm_ext.cli import main
from xfrm_ext.cli.monitor import _heard
from xfrm_ext.constants import uapi
from xfrm_ext.testing import inside
from xfrm_ext.wire.layouts import BROKEN, OVERRUN, RECORD

RECORDS = [r for name in ("replies", "other_replies") for r in records(name) if r["argv"][-2] == "file"]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def without_keys(text: str) -> str:
    """What `nokeys` is there for. With a file, `ip` shows keys all the same."""
    name = r"(?m)^(\t(?:enc|auth|auth-trunc|aead|comp) (?!\(ERROR)\S+ )"
    return re.sub(rf"{name}(?:0x[0-9a-f]+|\(ERROR truncated\))?", r"\1<<Keys hidden>>", text)


def test_all_of_them(tmp_path: Path, namespace: int, capsys: pytest.CaptureFixture[str]) -> None:
    """In a fresh namespace, for messages with an interface: it has lo."""
    path = tmp_path / "MSG"
    differing = 0
    with inside(namespace):
        for record in RECORDS:
            [[message, text]] = record["datagrams"]
            wanted = corrected(record, message, text)
            if "nokeys" in record["argv"]:
                wanted = without_keys(wanted)
            path.write_bytes(bytes.fromhex(message))
            status = main([*record["argv"][1:-1], str(path)])
            shown = capsys.readouterr()
            assert (status, shown.out, shown.err) == (0, wanted, ""), record["id"]
            differing += wanted != text
    assert (len(RECORDS), differing) == (2138, 107)


@pytest.mark.parametrize("cut", [1, 16, 20, 180])
def test_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: int) -> None:
    """What is whole is shown, and then what is wrong."""
    [[message, text]] = next(r for r in RECORDS if r["argv"] == ["ip", "xfrm", "monitor", "file", "MSG"])[
        "datagrams"
    ]
    data = bytes.fromhex(message)
    path = tmp_path / "MSG"
    path.write_bytes(data + data[:cut])
    assert main(["monitor", "file", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == text
    assert shown.err == f"Error: {path}: a message is cut off, or has a wrong length\n"


def test_no_such_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", "file", "/no/such/file"]) == 1
    assert capsys.readouterr().err == "Error: /no/such/file: No such file or directory\n"


def test_a_wrong_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "MSG"
    path.write_bytes(struct.pack("=IHHII", 8, 0x13, 0, 0, 0))
    assert main(["monitor", "file", str(path)]) == 1
    assert "wrong length" in capsys.readouterr().err


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


NONSENSE = [
    message(uapi.XFRM_MSG_DELSA, bytes(4)),  # too short
    message(uapi.XFRM_MSG_DELSA, bytes(28)),  # an attribute without a length
    message(uapi.XFRM_MSG_DELSA, bytes(24)),  # no XFRMA_SA
]


@pytest.mark.parametrize("form", ["text", "json"])
def test_nonsense_between_others(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    """It does not end the monitor."""
    [[whole, text]] = next(r for r in RECORDS if r["argv"] == ["ip", "xfrm", "monitor", "file", "MSG"])["datagrams"]
    data = bytes.fromhex(whole)
    path = tmp_path / "MSG"
    path.write_bytes(data + b"".join(one + data for one in NONSENSE))
    assert main([*(["-j"] if form == "json" else []), "monitor", "file", str(path)]) == 0
    shown = capsys.readouterr()
    if form == "text":
        assert shown.out == 4 * text
        assert [line.split(": ")[:2] for line in shown.err.splitlines()] == 3 * [
            ["Error", "a message was left out"]
        ]
    else:
        events = [json.loads(line) for line in shown.out.splitlines()]
        assert [one["event"] == "deleted_state" for one in events] == [False, True] * 3 + [False]


def test_a_length_that_no_message_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not read into memory: the file has as much, in no place of the disk."""
    path = tmp_path / "MSG"
    path.write_bytes(struct.pack("=IHHII", 0x10000010, 0x13, 0, 0, 0))
    os.truncate(path, 0x10000010)
    tracemalloc.start()
    try:
        assert main(["monitor", "file", str(path)]) == 1
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert "wrong length" in capsys.readouterr().err


def test_what_is_lost() -> None:
    records = RECORD.pack(OVERRUN, -1) + RECORD.pack(BROKEN, 3)
    (overrun, where), (broken, there) = _heard(records)
    assert (where, there) == (-1, 3)
    assert "queue" in overrun
    assert "length" in broken


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800"])
def test_no_path(capsys: pytest.CaptureFixture[str], path: str) -> None:
    assert main(["monitor", "file", path]) == 255
    assert capsys.readouterr().err.startswith("Error: monitor file: ")


def test_standard_input_is_closed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["monitor", "file", "-"]) == 1
    assert capsys.readouterr().err == "Error: monitor file: standard input is closed\n"


def test_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    record: dict[str, Any] = RECORDS[0]
    [[message, text]] = record["datagrams"]

    class Input:
        buffer = io.BytesIO(bytes.fromhex(message))

    monkeypatch.setattr("sys.stdin", Input)
    for expected in (text, ""):  # once more: it was not closed
        assert main([*record["argv"][1:-1], "-"]) == 0
        assert capsys.readouterr().out == expected

# SPDX-License-Identifier: MIT
"""Keys in files, in the environment, or typed: what they stand for, and that no error shows them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrm_ext import CommandError
from xfrm_ext.cli.keys import _bytes_of, read_key
from xfrm_ext.iproute2.as_command import HIDDEN_KEY
from xfrm_ext.iproute2.words import key_bytes

SECRET = "0x5ec2e7"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(0o600)
    return path


def refused(word: str) -> str:
    with pytest.raises(CommandError) as caught:
        read_key(word)
    assert not re.search("5ec2e7|hunter2", f"{caught.value}{caught.value.args}")
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize("word", ["0x00ff", "0xfff", "0x", "text", "0XFF", "", "prompted"])
def test_other_words_are_keys(word: str) -> None:
    assert read_key(word) == key_bytes(word)


@given(st.from_regex(r"0x[0-9a-fA-F]{0,9}", fullmatch=True) | st.text(max_size=8))
def test_a_text_is_read_as_a_word_is(text: str) -> None:
    given_text = bytearray(text.encode("utf-8", "surrogatepass"))
    try:
        expected = key_bytes(text)
    except CommandError:
        with pytest.raises(CommandError):
            _bytes_of(given_text)
    except UnicodeEncodeError:
        return
    else:
        assert _bytes_of(given_text) == expected
    assert not any(given_text)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"0x00ff\n", b"\0\xff"),
        (b"0xabc", b"\x0a\xbc"),
        (b"text", b"text"),
        (b"text \n\n", b"text \n"),
        (b"\xff\0", b"\xff\0"),
        (b"0x" + b"ab" * 512 + b"\n", b"\xab" * 512),
    ],
)
def test_file(file: Path, content: bytes, key: bytes) -> None:
    file.write_bytes(content)
    assert read_key(f"@{file}") == bytearray(key)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666])
def test_others_have_access(file: Path, mode: int) -> None:
    file.write_text(SECRET)
    file.chmod(mode)
    assert refused(f"@{file}") == "key: is in a file that others have access to: chmod o= FILE"
    file.chmod(0o640)
    assert read_key(f"@{file}") == bytes.fromhex(SECRET[2:])


def test_wrong_files(file: Path, tmp_path: Path) -> None:
    assert refused(f"@{file}") == "key: is in a file that is empty"
    file.write_text("\n")
    assert refused(f"@{file}") == "key: is in a file that is empty"
    file.write_text(f"{SECRET}xyz")
    assert refused(f"@{file}") == "key: is not hexadecimal behind 0x"
    file.write_text(SECRET * 1000)
    assert refused(f"@{file}") == "key: is in a file of more than 4096 bytes"
    assert refused(f"@{tmp_path}/hunter2") == "key: is in a file that can't be read: No such file or directory"
    assert refused(f"@{tmp_path}") == "key: is in a file that can't be read: Is a directory"
    for name in ("hunter2\0", "hunter2\ud800"):
        assert refused(f"@{name}") == "key: is in a file whose name can't be one"
    assert refused("@") == "key: is in a file that can't be read: No such file or directory"


def test_pipe() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"0x00")
    os.write(writer, b"ff\n")
    os.close(writer)
    try:
        assert read_key(f"@/dev/fd/{reader}") == b"\0\xff"
    finally:
        os.close(reader)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)
    assert read_key("env:THE_KEY") == bytes.fromhex(SECRET[2:])
    monkeypatch.setenv("THE_KEY", "")
    assert refused("env:THE_KEY") == "key: is in an environment variable that is empty"
    monkeypatch.setenv("THE_KEY", f"{SECRET}hunter2")
    assert refused("env:THE_KEY") == "key: is not hexadecimal behind 0x"
    for name in ("hunter2", "", "a=b", "\0"):
        assert refused(f"env:{name}") == "key: is in an environment variable that is not set"


def test_hidden_key() -> None:
    assert refused(HIDDEN_KEY).startswith("key: was left out when this was written")


CODE = """
import sys
from xfrm_ext import CommandError
from xfrm_ext.cli.keys import read_key
try:
    print("key", read_key("prompt").hex())
except CommandError as error:
    print(error)
"""


def test_prompt() -> None:
    """Asks on the terminal, and what is typed is not shown there."""
    process, terminal = pty.fork()
    if not process:
        os.execv(sys.executable, [sys.executable, "-c", CODE])
    shown = b""
    while b"Key: " not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, f"{SECRET}\n".encode())
    try:
        while piece := os.read(terminal, 1024):
            shown += piece
    except OSError:  # EIO: the other end is closed
        pass
    os.close(terminal)
    assert os.waitpid(process, 0)[1] == 0
    assert shown.split() == [b"Key:", b"key", b"5ec2e7"]


def test_no_terminal() -> None:
    """Then nothing is read from standard input, which may be the file with the line."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=f"{SECRET}\n",
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    assert done.stdout == "key: can't be asked for: there is no terminal\n"
    assert done.stderr == ""

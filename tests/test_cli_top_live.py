# SPDX-License-Identifier: MIT
"""The live view of `xfrm top`, on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xfrm_ext import Policy, Session
from xfrm_ext.testing import inside

DEADLINE = 20.0


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, namespace: int, *words: str, environment: dict[str, str] | None = None) -> None:
        self.controller, self._terminal = pty.openpty()
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.before = termios.tcgetattr(self._terminal)
        self.seen = ""
        variables = {**os.environ, "TERM": "xterm", **(environment or {})}
        variables.pop("NO_COLOR", None)
        with inside(namespace):
            self.process = subprocess.Popen(
                [sys.executable, "-m", "xfrm_ext", *words],
                stdin=self._terminal,
                stdout=self._terminal,
                stderr=self._terminal,
                env=variables,
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        """Reads until a text is there."""
        deadline = time.monotonic() + DEADLINE
        while text not in self.seen:
            ready, _, _ = select.select([self.controller], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.controller, 65536).decode("utf-8", "replace")

    def press(self, keys: str) -> None:
        self.seen = ""
        os.write(self.controller, keys.encode())

    def end(self) -> int:
        """The exit status. What it prints until then is read."""
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "does not end"
            if select.select([self.controller], [], [], 0.01)[0]:
                self.seen += os.read(self.controller, 65536).decode("utf-8", "replace")
        while select.select([self.controller], [], [], 0)[0]:
            self.seen += os.read(self.controller, 65536).decode("utf-8", "replace")
        return self.process.returncode

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._terminal)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.controller)
        os.close(self._terminal)


ALTERNATE, USUAL = "\x1b[?1049h", "\x1b[?1049l"


@contextlib.contextmanager
def terminal(namespace: int, *words: str, **environment: str) -> Iterator[Terminal]:
    made = Terminal(namespace, *words, environment=environment)
    try:
        yield made
    finally:
        made.close()


def test_keys_in_the_live_view(session: Session, namespace: int) -> None:
    session.spd.add(Policy(direction="out"))
    with terminal(namespace, "top", "--interval", "0.2") as shown:
        shown.wait_for("0 SAs, 1 policies")
        shown.wait_for("q quit")
        assert ALTERNATE in shown.seen
        assert shown.settings()[3] & termios.ICANON == 0
        shown.press("s")
        shown.wait_for("by packets")
        shown.press("/nothing=1")
        shown.wait_for("filter: nothing=1_")
        shown.press("\r")
        shown.wait_for("names no field")
        shown.press("/reqid=1\r")
        shown.wait_for(", reqid=1")
        session.spd.add(Policy(direction="in"))
        shown.wait_for("2 policies")
        shown.press(" ")
        shown.wait_for("PAUSED")
        shown.press("q")
        assert shown.end() == 0
        assert shown.seen.rstrip().endswith("\x1b[?25h" + USUAL)
        assert shown.settings() == shown.before


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131), (signal.SIGINT, 0)]
)
def test_a_signal_gives_the_terminal_back(namespace: int, number: signal.Signals, status: int) -> None:
    with terminal(namespace, "top", "--interval", "60") as shown:
        shown.wait_for("q quit")
        shown.process.send_signal(number)
        assert shown.end() == status
        assert USUAL in shown.seen
        assert "Traceback" not in shown.seen
        assert shown.settings() == shown.before


def test_a_terminal_that_has_only_ascii(namespace: int) -> None:
    filtered = "reqid=1 łódź"
    with terminal(namespace, "top", "--filter", filtered, PYTHONIOENCODING="latin-1", PYTHONUTF8="0") as shown:
        shown.wait_for("q quit")
        shown.press("q")
        assert shown.end() == 0
        assert USUAL in shown.seen


def test_a_failure_gives_the_terminal_back(namespace: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from rich.live import Live\ndef fail(*_, **__): raise OSError('no more')\nLive.update = Live.stop = fail\n"
    )
    with terminal(namespace, "top", "--interval", "60", PYTHONPATH=str(tmp_path)) as shown:
        shown.wait_for("q quit")
        shown.press("s")
        assert shown.end() == 1
        assert f"\x1b[?25h{USUAL}Error: no more" in shown.seen
        assert shown.settings() == shown.before


def test_a_terminal_on_which_nothing_can_be_drawn(namespace: int) -> None:
    with terminal(namespace, "top", TERM="dumb") as shown:
        assert shown.end() == 255
        assert shown.seen.startswith("Error: top: needs a terminal that can")
        assert shown.seen.count("\n") == 1


def test_a_wrong_word_is_printed_as_text(namespace: int) -> None:
    with terminal(namespace, "top", "\x1b[31m\udcff") as shown:
        assert shown.end() == 255
        assert r"unrecognized arguments: \x1b[31m\xff" in shown.seen
        assert "\x1b" not in shown.seen


def test_stopped_and_continued(namespace: int) -> None:
    with terminal(namespace, "top", "--interval", "60") as shown:
        shown.wait_for("q quit")
        shown.process.send_signal(signal.SIGTSTP)
        shown.wait_for(USUAL)
        _, status = os.waitpid(shown.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert shown.settings() == shown.before
        shown.seen = ""
        shown.process.send_signal(signal.SIGCONT)
        shown.wait_for("q quit")
        assert shown.settings()[3] & termios.ICANON == 0
        shown.press("q")
        assert shown.end() == 0


def test_without_rich_it_is_one_line(namespace: int, tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('no rich', name='rich')")
    shown = Terminal(namespace, "top", environment={"PYTHONPATH": str(tmp_path)})
    try:
        assert shown.end() != 0
        assert "pip install 'xfrm-ext[cli]'" in shown.seen
        assert shown.seen.count("\n") == 1
        assert shown.settings() == shown.before
    finally:
        shown.close()

# SPDX-License-Identifier: MIT
"""What of XFRM goes to a real kernel and comes back: the list that docs/coverage.md is made from.

Each scenario sends and receives messages through a codec. What the kernel took, what it sent, and what it refused
is noted by message and attribute, as the tests themselves read the bytes. The list is live_scenarios.py, and a
change of that needs new notes: ``XFRM_EXT_RECORD=1`` and a run of test_live_coverage.py on each kernel that
coverage_live.json has.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import vectors as v
from vectors import Parts, messages, take_apart
from vectors.differences import DECODED, again, expected, unordered, without_numbers

from xfrm_ext import KernelError, Message
from xfrm_ext.constants import AttributeType
from xfrm_ext.rtnl import open_byproto

LIST = Path(__file__).with_name("live_scenarios.py")
NOTES = Path(__file__).with_name("coverage_live.json")
SAD_NAMES = {1: "SAD_CNT", 2: "SAD_HINFO"}
SPD_NAMES = {1: "SPD_INFO", 2: "SPD_HINFO", 3: "SPD_IPV4_HTHRESH", 4: "SPD_IPV6_HTHRESH"}
_NAMES = {v.NEWSADINFO: SAD_NAMES, v.GETSADINFO: SAD_NAMES, v.NEWSPDINFO: SPD_NAMES, v.GETSPDINFO: SPD_NAMES}


def rows() -> list[str]:
    """Names of all messages and attributes."""
    return [f"XFRM_MSG_{one.name}" for one in Message] + [
        f"XFRMA_{name}" for name in (*(one.name for one in AttributeType), *SAD_NAMES.values(), *SPD_NAMES.values())
    ]


def names_of(message: bytes) -> set[str]:
    """The rows that a message belongs to."""
    parts = take_apart(message)
    table = _NAMES.get(parts.type)
    found = {f"XFRM_MSG_{Message(parts.type).name}"}
    for kind, _ in parts.attributes:
        known = kind in table if table else kind in set(AttributeType)
        if known:
            found.add(f"XFRMA_{table[kind] if table else AttributeType(kind).name}")
    return found


class Note(NamedTuple):
    """What became of a row."""

    to: bool = False
    """A request with it was carried out."""
    back: bool = False
    """The kernel sent it, and it was decoded without loss."""
    refused: str = ""


class Kernel:
    """A fresh network namespace, through a codec."""

    def __init__(self, namespace: int, codec: ModuleType) -> None:
        self.namespace = namespace
        self.codec = codec
        self.handle = open_byproto(netns=namespace)
        self.listener = open_byproto(0xFF, netns=namespace)
        self.to: set[str] = set()
        self.back: set[str] = set()

    def close(self) -> None:
        self.handle.close()
        self.listener.close()

    def encoded(self, value: Any) -> bytes:
        """The bytes of a value or Request; bytes go through decode and encode."""
        if isinstance(value, bytes):
            result = again(self.codec, value)
            assert unordered(result) == unordered(value)
            return result
        return bytes(self.codec.encode(value))

    def received(self, message: bytes) -> Parts:
        """The parts of a message from the kernel, which must survive being decoded and encoded."""
        message = without_numbers(message)
        assert unordered(again(self.codec, message)) == unordered(expected(message, DECODED))
        self.back |= names_of(message)
        return take_apart(message)

    def send(self, value: object) -> None:
        """A request that is only acknowledged."""
        message = self.encoded(value)
        self.handle.talk(message, "send", timeout=5)
        self.to |= names_of(message)

    def ask(self, value: object) -> Parts:
        """A request that is answered."""
        message = self.encoded(value)
        reply = self.handle.talk(message, "ask", answer=True, timeout=5)
        assert reply is not None
        self.to |= names_of(message)
        return self.received(bytes(reply))

    def dump(self, value: object) -> list[Parts]:
        """A request that is answered by many."""
        message = self.encoded(value)
        blocks = self.handle.dump(message, "dump", timeout=5)
        result = [self.received(reply) for block in blocks for reply in messages(bytes(block))]
        self.to |= names_of(message)
        return result

    def event(self, kind: int) -> Parts:
        """The next event of a type."""
        while True:
            for message in messages(self.listener.listen(timeout=5)):
                parts = self.received(message)
                if parts.type == kind:
                    return parts


class Absent(Exception):
    """The kernel lacks what a scenario needs."""


class Scenario(NamedTuple):
    """Something to do with a kernel."""

    rows: tuple[str, ...]
    """What a refusal is about."""
    run: Callable[[Kernel], None]


SCENARIOS: list[Scenario] = []


def scenario(*names: str) -> Callable[[Callable[[Kernel], None]], Callable[[Kernel], None]]:
    """Adds a scenario to the list."""

    def add(run: Callable[[Kernel], None]) -> Callable[[Kernel], None]:
        SCENARIOS.append(Scenario(names, run))
        return run

    return add


# --- notes ----------------------------------------------------------------------------------------------------


def notes(namespaces: Callable[[], Any], codec: ModuleType) -> dict[str, Note]:
    """Runs all scenarios, each in a fresh namespace, and says what became of each row."""
    to: set[str] = set()
    back: set[str] = set()
    refused: dict[str, str] = {}
    importlib.import_module("live_scenarios")
    for one in SCENARIOS:
        with namespaces() as namespace:
            kernel = Kernel(namespace, codec)
            try:
                one.run(kernel)
            except (KernelError, Absent, OSError) as error:
                refused |= dict.fromkeys(one.rows, _reason(error))
            finally:
                kernel.close()
            to |= kernel.to
            back |= kernel.back
    return {row: Note(row in to, row in back, "" if row in to | back else refused.get(row, "")) for row in rows()}


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    text = getattr(error, "kernel_text", "") or error.strerror
    return f"{text} ({errno.errorcode[error.errno or 0]})"


def digest() -> str:
    """Names this version of the list."""
    return hashlib.sha256(LIST.read_bytes()).hexdigest()[:16]


def recorded() -> dict[str, dict[str, Note]]:
    """The notes of each kernel that were made with this version of the list."""
    data = json.loads(NOTES.read_text(encoding="ascii")) if NOTES.exists() else {}
    return {
        kernel: {row: Note(*note) for row, note in made["rows"].items()}
        for kernel, made in data.items()
        if made["list"] == digest()
    }

# SPDX-License-Identifier: MIT
"""Only in the guest: see tests/guest/run. The suite ends with a table of what passed through the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from guest.network import Pair, two_hosts

if os.environ.get("XFRM_EXT_IN_GUEST") != "1":
    collect_ignore_glob = ["test_*"]

Record: TypeAlias = Callable[[str, str, str], None]
_rows: list[tuple[str, str, str]] = []


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two fresh hosts with a wire between them."""
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
def record() -> Record:
    """Adds a row to the table at the end: kind, name, what was counted."""
    return lambda *row: _rows.append(row)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    terminalreporter.section("what passed through the kernel")
    widths = [max(len(row[column]) for row in _rows) for column in (0, 1)]
    for kind, name, counted in _rows:
        terminalreporter.line(f"{kind:<{widths[0]}}  {name:<{widths[1]}}  {counted}")

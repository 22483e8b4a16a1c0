# SPDX-License-Identifier: MIT
"""Lines of `ip xfrm policy` in tests: read by the grammar alone, with the interfaces of the records."""

from __future__ import annotations

from typing import Any

import pytest
from vectors import records

from xfrm_ext.iproute2 import policy
from xfrm_ext.iproute2.command import Command, Options
from xfrm_ext.iproute2.words import Words
from xfrm_ext.wire import native, pure

each_wire = pytest.mark.parametrize("wire", [native, pure], ids=["native", "pure"])
"""For a test that has the grammar use both: ``monkeypatch.setattr(policy, "wire", wire)``."""


def index_of(name: str) -> int:
    """Interfaces as in the records."""
    return 1 if name == "lo" else 0


def read(words: list[str]) -> Command:
    """One line: the options -4 and -6, `xfrm policy`, the rest."""
    options = Options()
    while words[0].startswith("-"):
        options.family = {"-4": 2, "-6": 10}[words[0]]
        words = words[1:]
    assert words[:2] == ["xfrm", "policy"]
    return policy.read(Words(words[2:]), options, index_of)


def line(text: str) -> list[str]:
    """The datagrams of a line behind `xfrm policy`."""
    return [bytes(datagram).hex() for datagram in read(["xfrm", "policy", *text.split()]).datagrams]


def chosen(*names: str) -> list[Any]:
    """The records of lines of `ip xfrm policy`."""
    found = [record for name in names for record in records(name) if "policy" in record["argv"][1:4]]
    return [pytest.param(record, id=record["id"]) for record in found]

# SPDX-License-Identifier: MIT
"""What the documentation shows is what happens.

Blocks of code begin with ```python. Those marked ```python host are run here, those marked ```python guest by
tests/guest/test_docs.py, each page's in order, with a session on a fresh network namespace; a ```text block right
behind one is what it prints. The rest, which leaves things out, is at least Python."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import xfrm_ext
from xfrm_ext import AeadAlgorithm, AttributeType, Message, Policy, Session, State, algorithm, codec
from xfrm_ext.constants import uapi
from xfrm_ext.testing import FakeTransport, inside

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")))
MESSAGES = ROOT / "docs" / "messages"


class Block(NamedTuple):
    """A block of Python: where, on which kernel it is run ("": on none), and what it prints (None: not said)."""

    page: str
    line: int
    kernel: str
    code: str
    printed: str | None


def blocks_of(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    pattern = r"^```python *(\w*)\n(.*?)^```$(?:\n```text\n(.*?)^```$)?"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1], found[2], found[3])


def pages_for(kernel: str) -> list[str]:
    """The pages that have blocks for a kernel."""
    return [page for page in PAGES if any(block.kernel == kernel for block in blocks_of(page))]


def run_page(page: str, kernel: str, session: Session, namespace: int) -> None:
    """Runs a page's blocks for a kernel."""
    names: dict[str, Any] = {"xfrm": xfrm_ext, "dataclasses": dataclasses, "session": session}
    with inside(namespace):
        for block in blocks_of(page):
            if block.kernel == kernel:
                print(f"{page}:{block.line}")
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile("\n" * block.line + block.code, page, "exec"), names)
                assert block.printed in (None, printed.getvalue())
    for value in names.values():
        if isinstance(value, socket.socket):
            value.close()


def rows_under(page: Path, heading: str) -> list[list[str]]:
    """The cells of the rows of the first table whose heading begins with this line."""
    lines = iter(page.read_text(encoding="utf-8").splitlines())
    assert any(line.startswith(heading) for line in lines), f"{page} has no table {heading}"
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line[1:-1].split("|")])
    return rows


@pytest.mark.parametrize("page", PAGES)
def test_all_code_is_python(page: str) -> None:
    for block in blocks_of(page):
        assert block.kernel in ("", "host", "guest"), f"{page}:{block.line}"
        compile(block.code, f"{page}:{block.line}", "exec")


def write_capture(path: Path) -> None:
    """What tcpdump writes of two requests and an ACK of XFRM, and one of NETLINK_ROUTE."""
    add = codec.select("pure").encode(Policy(direction="out", priority=7))
    dump = codec.select("pure").encode(xfrm_ext.Request(Message.GETPOLICY))
    route = struct.pack("=IHHII", 16, 18, 0x301, 1, 0)
    ack = struct.pack("=IHHIIi", 36, 2, 0x100, 1, 0, 0) + add[:16]
    capture = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 253)
    for family, data in ((6, add), (0, route), (6, ack + dump)):
        record = struct.pack(">HH10xH", 4, 824, family) + data
        capture += struct.pack("=IIII", 0, 0, len(record), len(record)) + record
    path.write_bytes(capture)


@pytest.mark.parametrize("page", pages_for("host"))
def test_blocks(
    page: str, session: Session, namespace: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_capture(tmp_path / "capture.pcap")
    (tmp_path / "policies.txt").write_text("xfrm policy add dir in\n")
    run_page(page, "host", session, namespace)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
            if "://" not in target:
                assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_the_map_has_every_message() -> None:
    listed = {row[0]: (int(row[1], 0), row[-1]) for row in rows_under(MESSAGES / "README.md", "| message |")}
    assert {name: number for name, (number, _) in listed.items()} == {each.name: each for each in Message}
    for name, (_, link) in listed.items():
        page = MESSAGES / link[link.index("(") + 1 : -1]
        assert re.search(rf"\b(XFRM_MSG_)?{name}\b", page.read_text(encoding="utf-8"))


def test_the_map_has_every_attribute() -> None:
    rows = rows_under(MESSAGES / "README.md", "| attribute |")
    listed: dict[str, int] = {}
    for row in rows:
        names = row[0].split(", ")
        first, to, last = row[1].partition(" to ")
        numbers = list(range(int(first), int(last) + 1)) if to else [int(each) for each in row[1].split(", ")]
        listed.update(zip(names, numbers, strict=True))
        page = (MESSAGES / row[3][row[3].index("(") + 1 : -1]).read_text(encoding="utf-8")
        assert all(f"XFRMA_{name}" in page for name in names), row
    own = {name: number for name, number in listed.items() if name.startswith(("SAD_", "SPD_"))}
    assert own == {
        name.removeprefix("XFRMA_"): number
        for name, number in vars(uapi).items()
        if name.startswith(("XFRMA_SAD_", "XFRMA_SPD_"))
    }
    others = {name: number for name, number in listed.items() if name not in own}
    assert others == {each.name: each for each in AttributeType}


@pytest.mark.parametrize("page", ["state.md", "event.md", "migrate.md", "policy.md"])
def test_the_pages_have_the_numbers_of_messages_and_attributes(page: str) -> None:
    text = (MESSAGES / page).read_text(encoding="utf-8")
    for name, number in re.findall(r"^\| XFRM_MSG_(\w+)[^|]*\| (\w+) ", text, re.MULTILINE):
        assert Message[name] == int(number, 0)
    found = re.findall(r"^\| XFRMA_(\w+) \| (\w+) ", text, re.MULTILINE)
    for name, number in found:
        assert AttributeType[name] == int(number), name


def test_the_table_of_algorithms() -> None:
    known = {
        **algorithm.AEAD,
        **algorithm.ENCRYPTION,
        **algorithm.AUTHENTICATION,
        **algorithm.COMPRESSION,
    }
    listed = {}
    for names, keys, salt, icvs in rows_under(MESSAGES / "state.md", "| name | key bits |"):
        if names.startswith("**"):
            continue
        first, to, last = keys.partition(" to ")
        bits = range(int(first), int(last) + 1, 8) if to else [int(each) for each in keys.split(", ")]
        info = algorithm.AlgorithmInfo(
            tuple(bits), int(salt or 0), tuple(int(each) for each in icvs.split(", ") if each)
        )
        listed.update(dict.fromkeys(names.removesuffix(", GMAC").split(", "), info))
    assert listed == known


OFFSETS = re.compile(r"XFRM_ASSERT_OFFSET\((\w+), (\w+), (\d+)\)")


def test_offsets_and_sizes_are_those_of_the_c() -> None:
    """Of every structure that has a table: `struct NAME` and rows of | offset | field: ... |."""
    header = (ROOT / "csrc" / "uapi.h").read_text(encoding="ascii")
    known = {(struct_name, field): int(at) for struct_name, field, at in OFFSETS.findall(header)}
    sizes = dict(re.findall(r"XFRM_ASSERT_SIZE\((\w+), (\d+)\)", header))
    compared = 0
    for page in MESSAGES.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name, size in re.findall(r"\b(xfrm\w+), (\d+)(?= \||,? and|;|:)", text):
            assert sizes.get(name, size) == size, f"{page.name}: {name}"
            compared += name in sizes
        for part in re.split(r"^(?=`struct )", text, flags=re.MULTILINE)[1:]:
            struct_name = part[8 : part.index("`", 1)]
            for offsets, fields in re.findall(r"^\| ([\d, ]+) \| ([\w.:, ]+?) \|", part, re.MULTILINE):
                names = re.findall(r"\b([a-z]\w*)\b", fields.replace("id.", ""))
                for at, field in zip(offsets.split(", "), names, strict=False):
                    if (struct_name, field) in known:
                        assert known[struct_name, field] == int(at), f"{page.name}: {struct_name}.{field}"
                        compared += 1
    assert compared > 60


def test_what_needs_no_key_sends_none() -> None:
    """docs/secrets.md"""
    key = bytes(range(100, 120))
    state = State(
        "192.0.2.1", "192.0.2.2", spi=1, direction="in", cpu=0, aead=AeadAlgorithm("rfc4106(gcm(aes))", key)
    )
    kernel = FakeTransport(lambda message: codec.select().encode(state))
    with Session(transport=kernel) as session:
        session.sad.get(state)
        session.sad.delete(state)
        session.sad.expire(state, hard=True)
        assert len(kernel.sent) == 3
        assert not any(key in message for message in kernel.sent)
        session.sad.update(state)
        assert key in kernel.sent[-1]

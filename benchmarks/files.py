# SPDX-License-Identifier: MIT
"""Tables from elsewhere: the Internet's address blocks, and batch files of the user's."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import kernel, policies
from benchmarks.bench import Bench, Table, settle_objects
from benchmarks.measure import BenchmarkError, note
from benchmarks.policies import INET, INET6, Row
from benchmarks.programs import ip_program, whole_process
from demo import debian, synthetic
from demo.blocks import Block, choose, read_table
from demo.gateway import IN_TREE_FROM_IPV6, LOCAL, priority

SEED = 1


def real_rows(folder: Path | None, count: int | None = None) -> list[Row]:
    """The blocks as the demo has them as policies: each one's country is a tunnel. `count` of each family, all by
    default; without the folder, those of the demo's invented table.

    IPv6 prefixes shorter than /48 are left out: the kernel keeps them in one list that it walks for each policy
    added, and a load of them takes an hour, whoever does it.
    """
    chosen: list[Block] = []
    for version in (4, 6):
        read = read_table(folder / debian.FILES[version], version) if folder else synthetic.table(version, SEED)
        kept = [block for block in read if version == 4 or block.length >= IN_TREE_FROM_IPV6]
        chosen += choose([kept], None if count is None else min(count, len(kept)), SEED)
    tunnels = {name: number for number, name in enumerate(sorted({block.country for block in chosen}), 1)}
    far, near = policies.address("10.255.0.0"), policies.address(LOCAL)
    rows = []
    for block in chosen:
        tunnel = tunnels[block.country]
        family = INET if block.version == 4 else INET6
        rows.append(Row(family, 0, 0, block.address, block.length, priority(block), near, far + tunnel, tunnel))
    settle_objects()
    return rows


def shuffled(rows: Sequence[Row]) -> list[Row]:
    """Always in the same other order."""
    return random.Random(SEED).sample(rows, len(rows))


class FileTable(Table):
    """The policies of an `ip -batch` file. The kernel turns them into ready-made messages for the floor: a dump of
    what `ip` loaded."""

    def __init__(self, bench: Bench, path: Path) -> None:
        note(f"file: reading {path.name}")
        self._selectors = sorted(selectors(path))
        # Rows are not known, only how many: what needs them is not run.
        super().__init__(bench.folder, "file", [])
        bench.fresh()
        whole_process([ip_program(), "-batch", path])
        if sorted(map(kernel.selector_key, bench.kernel.dump())) != self._selectors:
            raise BenchmarkError("a dump does not show exactly the policies of the file")
        self._path = path
        self._messages = bench.folder / "file.messages"
        bodies = [kernel.as_asked_for(body) for body in bench.kernel.dump()]
        self._messages.write_bytes(b"".join(map(policies.as_request, reversed(bodies))))
        self._bodies = sorted(bodies)
        bench.flush()

    def __len__(self) -> int:
        return len(self._selectors)

    def messages(self, verb: policies.Verb = "add") -> Path:
        return self._messages

    def batch(self, verb: policies.Verb = "add") -> Path:
        return self._path

    def expected(self, whole: bool) -> list[bytes]:
        return self._bodies if whole else self._selectors


def selectors(path: Path) -> Iterator[bytes]:
    """Source and destination of each policy of an `ip -batch` file, by a parser of its own."""
    waiting = ""
    with open(path, encoding="ascii") as file:
        for part in file:
            line = waiting + part.partition("#")[0].rstrip("\n")
            if line.endswith("\\"):
                waiting = line[:-1] + " "
                continue
            waiting = ""
            words = line.split()
            if not words:
                continue
            words = words[1:] if words[0] == "xfrm" else words
            if words[:2] != ["policy", "add"]:
                raise BenchmarkError(f"not a line that adds a policy: {line!r}")
            yield _selector(words)


def _selector(words: Sequence[str]) -> bytes:
    prefixes: dict[str, tuple[int, bytes, int]] = {}
    selector = words[2 : words.index("tmpl")] if "tmpl" in words else words[2:]
    for name, value in itertools.pairwise(selector):
        if name in ("src", "dst"):
            text, _, length = value.partition("/")
            family = INET6 if ":" in text else INET
            packed = socket.inet_pton(family, text)
            prefixes[name] = (family, packed, int(length) if length else len(packed) * 8)
    if not prefixes:
        raise BenchmarkError(f"neither src nor dst: {' '.join(words)}")
    family = next(iter(prefixes.values()))[0]
    anything = (family, bytes(4 if family == INET else 16), 0)
    source, destination = prefixes.get("src", anything), prefixes.get("dst", anything)
    return kernel.prefix_key(*source) + kernel.prefix_key(*destination)

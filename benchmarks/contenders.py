# SPDX-License-Identifier: MIT
"""The ways to load, update, delete and flush. Each does the whole of it once, and times itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import xfrm_ext as xfrm
from benchmarks import kernel, policies
from benchmarks.bench import Bench, Table, Way
from benchmarks.measure import BenchmarkError, Stopwatch, Timing
from benchmarks.programs import Missing, figures, ip_program, python, whole_process

# Of more than these, the codec in Python takes longer than it tells.
PURE_AT_MOST = 300_000
LOAD_PROGRAM = """\
import sys, xfrm_ext
with xfrm_ext.Session() as session:
    session.spd.load_batch_file(sys.argv[1], batch=int(sys.argv[2]))
"""


def check_result(result: Any, count: int) -> None:
    """Every item was applied."""
    if len(result.applied) != count or len(result.failed) or len(result.unknown):
        raise BenchmarkError(
            f"{len(result.applied)} of {count} applied, {len(result.failed)} failed, {len(result.unknown)} unknown"
        )


def check_messages(table: Table) -> None:
    """The floor's messages and the library's are the same bytes, but for what the sender stamps."""
    from xfrm_ext.codec import native

    maker = policies.Maker(xfrm)
    for row in table.rows[:: max(1, len(table) // 2000)]:
        if policies.without_stamps(native.encode(maker.policy(row))) != policies.message(row):
            raise BenchmarkError(f"{row}: the library's message differs from the floor's")


def _pure(table: Table, how: str) -> Timing:
    """Making the policies is in it: with this codec, that is where they are encoded."""
    if len(table) > PURE_AT_MOST:
        raise Missing(f"not run for more than {PURE_AT_MOST:,} policies")
    if table.shape not in policies.MADE_UP:
        raise Missing("only run for shapes that a child process can make again")
    environment = {"XFRM_EXT_CODEC": "pure"}
    found = python("pure", "load", table.shape, len(table), how, environment=environment)
    return Timing.of(found["making"]) + Timing.of(found["sending"])


def libnl(bench: Bench, verb: str, table: Table) -> Timing:
    """One request and one ACK each, as that library works; its objects are made beforehand."""
    program = bench.programs["libnl"]
    if table.shape == "if_id":
        raise Missing("libnl-xfrm-3 does not know XFRMA_IF_ID")
    return Timing.of(figures([program, verb, table.messages()]))


def batch_file_process(path: Path, batch: int) -> Timing:
    """A Python that starts, imports, opens a session, loads, ends."""
    return whole_process([sys.executable, "-c", LOAD_PROGRAM, str(path), str(batch)])


def load_ways(bench: Bench, table: Table) -> dict[str, Way]:
    batch, count = bench.options.batch, len(table)

    def from_list() -> Timing:
        maker = policies.Maker(xfrm)
        with Stopwatch() as making:
            made = list(map(maker.policy, table.rows))
        with xfrm.Session() as session, Stopwatch() as loading:
            result = session.spd.load(made, batch=batch)
        check_result(result, count)
        loading.timing.making = making.timing
        return loading.timing

    def from_columns() -> Timing:
        with xfrm.Session() as session:
            if not hasattr(session.spd, "load_columns"):
                raise Missing("this version has no Spd.load_columns")
            columns = table.columns()
            template = policies.Maker(xfrm).policy(table.rows[0])
            with Stopwatch() as loading:
                result = session.spd.load_columns(template, batch=batch, **columns)
        check_result(result, count)
        return loading.timing

    def from_file() -> Timing:
        path = table.batch()
        with xfrm.Session() as session, Stopwatch() as loading:
            result = session.spd.load_batch_file(path, batch=batch)
        check_result(result, count)
        return loading.timing

    return {
        "floor": lambda: bench.floor(table.messages()),
        "columns": from_columns,
        "list": from_list,
        "batchfile": from_file,
        "process": lambda: batch_file_process(table.batch(), batch),
        "one_by_one": lambda: bench.floor(table.messages(), 1),
        "libnl": lambda: libnl(bench, "add", table),
        "ip": lambda: whole_process([ip_program(), "-batch", table.batch()]),
        "pure_batch": lambda: _pure(table, "batch"),
        "pure_one": lambda: _pure(table, "one"),
    }


def change_ways(bench: Bench, table: Table, verb: policies.Verb) -> dict[str, Way]:
    """Update or delete all of the table's policies, which are there."""
    batch, count = bench.options.batch, len(table)

    def from_list() -> Timing:
        made = table.objects()
        with xfrm.Session() as session, Stopwatch() as changing:
            result = session.spd.load(made, operation=verb, batch=batch)
        check_result(result, count)
        return changing.timing

    def floor_by_index() -> Timing:
        path = bench.folder / "index.messages"
        with open(path, "wb") as file:
            file.writelines(policies.delete_by_index(*kernel.index_of(body)) for body in bench.kernel.dump())
        return bench.floor(path)

    def where() -> Timing:
        with xfrm.Session() as session:
            if not hasattr(session.spd, "delete_where"):
                raise Missing("this version has no Spd.delete_where")
            with Stopwatch() as deleting:
                session.spd.delete_where(lambda policy: True)
        return deleting.timing

    ways: dict[str, Way] = {
        "floor": lambda: bench.floor(table.messages(verb)),
        "list": from_list,
        "one_by_one": lambda: bench.floor(table.messages(verb), 1),
        "libnl": lambda: libnl(bench, verb, table),
        "ip": lambda: whole_process([ip_program(), "-batch", table.batch(verb)]),
    }
    if verb == "delete":
        ways |= {"floor_index": floor_by_index, "where": where}
    return ways


def flush_ways(bench: Bench, table: Table) -> dict[str, Way]:
    path = bench.folder / "flush.message"
    path.write_bytes(policies.flush())

    def ours() -> Timing:
        with xfrm.Session() as session, Stopwatch() as flushing:
            session.spd.flush()
        return flushing.timing

    return {
        "floor": lambda: bench.floor(path),
        "flush": ours,
        "ip": lambda: whole_process([ip_program(), "xfrm", "policy", "flush"]),
    }

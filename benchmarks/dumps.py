# SPDX-License-Identifier: MIT
"""The ways to read all policies. Each does it once, times itself, and counts what it got."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import xfrm_ext as xfrm
from benchmarks.bench import Bench, Table, Way
from benchmarks.contenders import PURE_AT_MOST
from benchmarks.measure import BenchmarkError, Stopwatch, Timing
from benchmarks.programs import Missing, figures, ip_program, python, whole_process

# What dump_floor.c reads, too.
SIXTEEN_FIELDS = (
    "source",
    "destination",
    "source_prefix_length",
    "destination_prefix_length",
    "family",
    "protocol",
    "source_port",
    "destination_port",
    "direction",
    "priority",
    "index",
    "mark",
    "if_id",
    "template_source",
    "template_destination",
    "template_reqid",
)


def sum_of_bytes(columns: Any) -> int:
    """Of all arrays, as dump_floor.c adds them up."""
    return sum(sum(memoryview(columns[name]).cast("B")) for name in SIXTEEN_FIELDS)


def dump_ways(bench: Bench, table: Table) -> dict[str, Way]:
    count = len(table)
    policy_fields = [field.name for field in fields(xfrm.Policy)]
    selector_fields = [field.name for field in fields(xfrm.Selector)]
    # What dump_floor.c found, and whether our arrays hold the same bytes.
    floor_sum: list[int] = []
    compared: list[str] = []

    def check(found: int) -> None:
        if found != count:
            raise BenchmarkError(f"{found} policies dumped, not {count}")

    def c_program() -> Timing:
        found = figures([bench.programs["dump_floor"]])
        check(found["messages"])
        floor_sum[:] = [found["sum"]]
        return Timing.of(found)

    def receive() -> Timing:
        with Stopwatch() as receiving:
            bench.kernel.receive_dump()
        return receiving.timing

    def libnl_cache() -> Timing:
        found = figures([bench.programs["libnl"], "dump"])
        check(found["policies"])
        return Timing.of(found)

    def columns(text: bool) -> Timing:
        with xfrm.Session() as session:
            if not hasattr(session.spd, "dump_columns"):
                raise Missing("this version has no Spd.dump_columns")
            with Stopwatch() as dumping:
                found = session.spd.dump_columns(SIXTEEN_FIELDS, text=text)
        check(found.rows)
        if not text and floor_sum and not compared:
            compared.append("once is enough")
            if sum_of_bytes(found) != floor_sum[0]:
                raise BenchmarkError("the columns are not what dump_floor.c reads")
        return dumping.timing

    def objects(read: Callable[[list[Any]], object]) -> Timing:
        """The objects are all held: a caller who wants objects keeps them."""
        with xfrm.Session() as session, Stopwatch() as dumping:
            found = list(session.spd.dump())
            read(found)
        check(len(found))
        return dumping.timing

    def three(found: list[Any]) -> object:
        return [(policy.selector.destination, policy.priority, policy.index) for policy in found]

    def everything(found: list[Any]) -> None:
        for policy in found:
            for name in policy_fields:
                getattr(policy, name)
            selector = policy.selector
            for name in selector_fields:
                getattr(selector, name)

    def pure() -> Timing:
        if count > PURE_AT_MOST:
            raise Missing(f"not run for more than {PURE_AT_MOST:,} policies")
        return Timing.of(python("pure", "dump", environment={"XFRM_EXT_CODEC": "pure"}))

    return {
        "floor": c_program,
        "columns": lambda: columns(text=False),
        "columns_text": lambda: columns(text=True),
        "objects": lambda: objects(len),
        "objects_3": lambda: objects(three),
        "objects_all": lambda: objects(everything),
        "receive": receive,
        "libnl": libnl_cache,
        "ip": lambda: whole_process([ip_program(), "xfrm", "policy", "list"]),
        "pure": pure,
    }

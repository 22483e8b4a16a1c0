# SPDX-License-Identifier: MIT
"""The ways to read all policies. Each does it once, times itself, and counts what it got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


# Written out, as programs read fields: a loop over names, or tuples, would cost more than what is measured.


def three_fields(found: Iterator[Any]) -> int:
    count = 0
    for policy in found:
        policy.selector.destination  # noqa: B018
        policy.priority  # noqa: B018
        policy.index  # noqa: B018
        count += 1
    return count


def all_fields(found: Iterator[Any]) -> int:
    """All of a policy and of what each has of its own: selector, and use."""
    count = 0
    for policy in found:
        policy.direction  # noqa: B018
        policy.action  # noqa: B018
        policy.priority  # noqa: B018
        policy.index  # noqa: B018
        policy.templates  # noqa: B018
        policy.flags  # noqa: B018
        policy.share  # noqa: B018
        policy.policy_type  # noqa: B018
        policy.mark  # noqa: B018
        policy.if_id  # noqa: B018
        policy.lifetime  # noqa: B018
        policy.security_context  # noqa: B018
        policy.offload  # noqa: B018
        policy.attributes  # noqa: B018
        selector = policy.selector
        selector.source  # noqa: B018
        selector.destination  # noqa: B018
        selector.protocol  # noqa: B018
        selector.source_port  # noqa: B018
        selector.source_port_mask  # noqa: B018
        selector.destination_port  # noqa: B018
        selector.destination_port_mask  # noqa: B018
        selector.interface  # noqa: B018
        selector.user  # noqa: B018
        selector.family  # noqa: B018
        current = policy.current
        current.bytes  # noqa: B018
        current.packets  # noqa: B018
        current.add_time  # noqa: B018
        current.use_time  # noqa: B018
        count += 1
    return count


def held(found: Iterator[Any]) -> int:
    """As who keeps them all: then Python's garbage collector looks at them again and again."""
    return len(list(found))


def dump_ways(bench: Bench, table: Table) -> dict[str, Way]:
    count = len(table)
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

    def objects(read: Callable[[Iterator[Any]], int]) -> Timing:
        with xfrm.Session() as session, Stopwatch() as dumping:
            found = read(session.spd.dump())
        check(found)
        return dumping.timing

    def pure() -> Timing:
        if count > PURE_AT_MOST:
            raise Missing(f"not run for more than {PURE_AT_MOST:,} policies")
        return Timing.of(python("pure", "dump", environment={"XFRM_EXT_CODEC": "pure"}))

    return {
        "floor": c_program,
        "columns": lambda: columns(text=False),
        "columns_text": lambda: columns(text=True),
        "objects": lambda: objects(held),
        "objects_3": lambda: objects(three_fields),
        "objects_all": lambda: objects(all_fields),
        "receive": receive,
        "libnl": libnl_cache,
        "ip": lambda: whole_process([ip_program(), "xfrm", "policy", "list"]),
        "pure": pure,
    }

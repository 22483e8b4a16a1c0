# SPDX-License-Identifier: MIT
"""What is measured: each case runs its contenders and returns its groups of figures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from benchmarks import files, policies
from benchmarks.bench import Bench, Table
from benchmarks.contenders import change_ways, check_messages, flush_ways, load_ways
from benchmarks.dumps import dump_ways
from benchmarks.measure import note
from benchmarks.programs import Missing

Groups: TypeAlias = list[dict[str, Any]]
SHAPES = ("net24", "host6", "net64", "mark", "if_id")
# The more there are, the less a single run is disturbed, and the longer it takes. The limits are about 100,000.
ROUNDS = ((1_000, 9), (10_000, 7), (100_000, 15), (300_000, 5))
COLD_ROUNDS = 10
COLD_WAYS = ("floor", "columns", "list", "batchfile")


def rounds_for(count: int) -> int:
    return next((rounds for most, rounds in ROUNDS if count <= most), 3)


def _after_load(bench: Bench, table: Table) -> Callable[[str, bool], None]:
    def after(name: str, first: bool) -> None:
        bench.check_count(len(table))
        if first:
            bench.check_all_there(table)
        bench.flush()

    return after


def use_once(bench: Bench) -> None:
    """Has the package import what it imports only when it is used: that has a measurement of its own."""
    for table in _with_table(bench, "host", 1):
        for ways in (load_ways(bench, table), dump_ways(bench, table)):
            with contextlib.suppress(Missing):
                ways["columns"]()
        bench.kernel.flush()


def load_group(bench: Bench, table: Table, leave_out: tuple[str, ...] = (), rounds: int = 0) -> dict[str, Any]:
    """Loads into tables that have grown to their size."""
    check_messages(table)
    bench.fresh()
    bench.warm(table)
    ways = {name: way for name, way in load_ways(bench, table).items() if name not in leave_out}
    rounds = rounds or rounds_for(len(table))
    return bench.group("load", table.shape, len(table), ways, rounds, after=_after_load(bench, table))


def _with_table(bench: Bench, shape: str, count: int) -> Iterator[Table]:
    table = bench.table(shape, count)
    try:
        yield table
    finally:
        table.remove()


def case_load(bench: Bench) -> Groups:
    """Hosts, as many as each of the sizes."""
    return [load_group(bench, table) for size in bench.options.sizes for table in _with_table(bench, "host", size)]


def case_shapes(bench: Bench) -> Groups:
    """Other policies than hosts."""
    slowest = ("pure_one", "pure_batch", "process")
    return [
        load_group(bench, table, slowest, rounds=5)
        for shape in SHAPES
        for table in _with_table(bench, shape, bench.options.shape_count)
    ]


def case_cold(bench: Bench) -> Groups:
    """Into fresh namespaces, a new one for each run: the kernel's tables grow while they are filled."""
    groups = []
    for table in _with_table(bench, "host", bench.options.count):
        ways = {name: way for name, way in load_ways(bench, table).items() if name in COLD_WAYS}
        groups.append(
            bench.group(
                "load",
                table.shape,
                len(table),
                ways,
                COLD_ROUNDS,
                before=bench.fresh,
                after=_after_load(bench, table),
                warm=False,
            )
        )
    return groups


def case_million(bench: Bench) -> Groups:
    """Very many."""
    peers = ("pure_one", "pure_batch", "one_by_one", "process", "ip")
    return [
        load_group(bench, table, peers, rounds=5) for table in _with_table(bench, "host", bench.options.million)
    ]


def case_dump(bench: Bench) -> Groups:
    """Reading all policies."""
    groups = []
    for size in bench.options.sizes:
        for table in _with_table(bench, "host", size):
            bench.fresh()
            bench.warm(table)
            bench.floor(table.messages())

            def after(name: str, first: bool, count: int = size) -> None:
                bench.check_count(count)

            bench.settle(size)
            groups.append(bench.group("dump", "host", size, dump_ways(bench, table), rounds_for(size), after=after))
            bench.flush()
    return groups


def _change_group(bench: Bench, table: Table, verb: policies.Verb, rounds: int) -> dict[str, Any]:
    def after(name: str, first: bool) -> None:
        bench.check_count(0 if verb == "delete" else len(table))
        if first and verb == "update":
            bench.check_all_there(table)
        bench.flush()

    ways = change_ways(bench, table, verb)
    bench.fresh()
    bench.warm(table)
    return bench.group(
        verb, table.shape, len(table), ways, rounds, before=lambda: _loaded(bench, table), after=after
    )


def _loaded(bench: Bench, table: Table) -> None:
    bench.floor(table.messages())
    bench.check_count(len(table))


def case_change(bench: Bench) -> Groups:
    """Delete, update and flush: of hosts, which the kernel finds by hash."""
    groups = []
    for table in _with_table(bench, "host", bench.options.count):
        rounds = rounds_for(len(table))
        groups += [_change_group(bench, table, "delete", rounds), _change_group(bench, table, "update", rounds)]

        def after(name: str, first: bool) -> None:
            bench.check_count(0)
            bench.settle(bench.options.count)

        ways = flush_ways(bench, table)

        def before(table: Table = table) -> None:
            _loaded(bench, table)

        groups.append(bench.group("flush", "host", len(table), ways, rounds, before=before, after=after))
    return groups


def case_slow(bench: Bench) -> Groups:
    """Delete and update of /24s, which the kernel keeps in a tree that it walks as a whole for each."""
    return [
        _change_group(bench, table, verb, 3)
        for table in _with_table(bench, "net24", bench.options.slow_count)
        for verb in ("delete", "update")
    ]


def case_real(bench: Bench) -> Groups:
    """The address blocks of the Internet, IPv4 and IPv6."""
    if bench.options.real_table is None:
        note("real: the invented table stands in for the Internet's")
    rows = files.real_rows(bench.options.real_table, bench.options.real_count)
    groups = []
    for shape, order in (("real", rows), ("shuffled", files.shuffled(rows))):
        table = Table(bench.folder, shape, order)
        leave_out: tuple[str, ...] = ("columns", "one_by_one", "pure_one", "pure_batch")
        if shape == "shuffled":  # what they add is known by then, and they take minutes
            leave_out += ("ip", "libnl")
        group = load_group(bench, table, leave_out, rounds=7)
        families = [sum(row.family == family for row in rows) for family in (policies.INET, policies.INET6)]
        note(f"  {families[0]} of IPv4, {families[1]} of IPv6")
        group |= {"ipv4": families[0], "ipv6": families[1], "invented": bench.options.real_table is None}
        groups.append(group)
        table.remove()
    return groups


def case_file(bench: Bench) -> Groups:
    """A batch file of the user's."""
    path = bench.options.batch_file
    if path is None:
        return []
    table = files.FileTable(bench, path)
    bench.fresh()
    bench.warm(table)
    ways = {
        name: way
        for name, way in load_ways(bench, table).items()
        if name in ("floor", "batchfile", "process", "ip", "libnl", "one_by_one")
    }
    return [bench.group("load", "file", len(table), ways, 3, after=_after_load(bench, table))]


CASES: dict[str, Callable[[Bench], Groups]] = {
    "load": case_load,
    "cold": case_cold,
    "dump": case_dump,
    "change": case_change,
    "slow": case_slow,
    "shapes": case_shapes,
    "million": case_million,
    "real": case_real,
    "file": case_file,
}

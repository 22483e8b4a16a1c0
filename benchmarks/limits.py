# SPDX-License-Identifier: MIT
"""What this package promises to stay below, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import footprint
from benchmarks.measure import Spread, ratio

Results = dict[str, Any]
Find = Callable[[Results], "Spread | None"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One row: what is measured, what it must not exceed, and how to find it among the results."""

    measure: str
    limit: float
    find: Find
    show: Callable[[float], str]


def as_ratio(value: float) -> str:
    """Small ratios as people say them: a sixth."""
    return f"1/{1 / value:.3g}" if 0 < value < 0.5 else f"{value:.2f}"


def group(results: Results, operation: str, shape: str, tables: str, items: int | None) -> dict[str, Any] | None:
    """The group of these; of the largest number of items if it is not given."""
    found = [
        one
        for one in results["groups"]
        if (one["operation"], one["shape"], one["tables"]) == (operation, shape, tables)
        and (items is None or one["items"] == items)
    ]
    return max(found, key=lambda one: int(one["items"]), default=None)


def _in_group(
    over: str, under: str, operation: str, shape: str = "host", option: str | None = "count", tables: str = "warm"
) -> Find:
    def find(results: Results) -> Spread | None:
        items = results["options"][option] if option else None
        found = group(results, operation, shape, tables, items)
        contenders = found["contenders"] if found else {}
        if over not in contenders or under not in contenders:
            return None
        return ratio(contenders[over]["seconds"], contenders[under]["seconds"])

    return find


def _cold(results: Results) -> Spread | None:
    found = group(results, "load", "host", "cold", results["options"]["count"])
    if not found or "columns" not in found["contenders"]:
        return None
    seconds = found["contenders"]["columns"]["seconds"]
    if len(seconds) < 10:  # fewer would be easier
        return None
    return Spread.of([max(seconds[:10]) / min(seconds[:10])])


def _micro(over: str, under: str) -> Find:
    def find(results: Results) -> Spread | None:
        calls = results["micro"]
        return ratio(calls[over], calls[under]) if over in calls and under in calls else None

    return find


def _objects(results: Results) -> Spread | None:
    found = results["memory"].get("objects")
    return Spread.of(found["resident_bytes"]) if found else None


def _import(what: str) -> Find:
    def find(results: Results) -> Spread | None:
        found = results["memory"].get("imports")
        return footprint.above(found, what) if found else None

    return find


LIMITS = (
    Limit("load from columns / C floor", 1.05, _in_group("columns", "floor", "load"), as_ratio),
    Limit(
        "load from a list of `Policy` made beforehand / C floor", 1.15, _in_group("list", "floor", "load"), as_ratio
    ),
    Limit(
        "creating a `Policy` (selector from two strings, template reused) / two `ip_network()`",
        1.0,
        _micro("policy", "two ip_network()"),
        as_ratio,
    ),
    Limit("load from the batch file / C floor", 1.2, _in_group("batchfile", "floor", "load"), as_ratio),
    Limit("cold load from columns, worst of 10 runs / best of 10", 1.6, _cold, as_ratio),
    Limit(
        "dump to columns (16 fields) / C dump of the same fields",
        1.0,
        _in_group("columns", "floor", "dump"),
        as_ratio,
    ),
    Limit("dump to objects with 3 fields read / C dump", 1.6, _in_group("objects_3", "floor", "dump"), as_ratio),
    Limit(
        "dump to full objects, all fields read / C dump", 2.2, _in_group("objects_all", "floor", "dump"), as_ratio
    ),
    Limit(
        "whole process, Python start included / `ip -batch`", 1 / 6, _in_group("process", "ip", "load"), as_ratio
    ),
    Limit(
        "load from a list of `Policy` / libnl-xfrm-3 in C, one by one",
        1 / 2.5,
        _in_group("list", "libnl", "load"),
        as_ratio,
    ),
    Limit("encoding one policy in C / in Python", 1 / 5, _micro("native encode", "pure encode"), as_ratio),
    Limit(
        "bulk delete of /24 policies / C delete by selector",
        1 / 20,
        _in_group("list", "floor", "delete", "net24", "slow_count"),
        as_ratio,
    ),
    Limit(
        "a million from columns / C floor", 1.05, _in_group("columns", "floor", "load", "host", "million"), as_ratio
    ),
    Limit(
        "the Internet's blocks from their batch file / C floor",
        1.2,
        _in_group("batchfile", "floor", "load", "real", None),
        as_ratio,
    ),
    Limit("memory of a `Policy` with a shared template", 500, _objects, lambda value: f"{value:.0f} bytes"),
    Limit(
        "`import xfrm_ext` over `import _cffi_backend`, time",
        0.010,
        _import("seconds"),
        lambda value: f"{value * 1e3:+.1f} ms",
    ),
    Limit(
        "`import xfrm_ext` over `import _cffi_backend`, memory",
        4e6,
        _import("bytes"),
        lambda value: f"{value / 1e6:+.1f} MB",
    ),
)


def rows(results: Results) -> list[dict[str, Any]]:
    """Measure, limit, what was measured, and whether it is within: None where it was not measured."""
    found = []
    for one in LIMITS:
        spread = one.find(results)
        found.append(
            {
                "measure": one.measure,
                "limit": one.show(one.limit),
                "measured": one.show(spread.median) if spread else None,
                "low": one.show(spread.low) if spread else None,
                "high": one.show(spread.high) if spread else None,
                "met": spread.median <= one.limit if spread else None,
            }
        )
    return found

# SPDX-License-Identifier: MIT
"""`xfrm top`: states with their rates, lifetimes, failures, the kernel's counters and policies by use, as they
change. See docs/look.md."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from xfrm_ext.cli.top_model import SORTS, Row, Sample, Shown, StateRow, View, duration, short, state_name
from xfrm_ext.constants import Action, Direction, Mode, PolicyType, Protocol, StateDirection
from xfrm_ext.documents.forms import packet_protocol, time_text, word_of, words
from xfrm_ext.errors import KernelError
from xfrm_ext.iproute2.words import wrong

if TYPE_CHECKING:
    from argparse import Namespace

    from xfrm_ext.cli.context import Context
    from xfrm_ext.session import Session
    from xfrm_ext.statistics import Statistics

_LIMITS = [
    f"{which}_{kind}"
    for kind in ("byte_limit", "packet_limit", "add_expires_seconds", "use_expires_seconds")
    for which in ("soft", "hard")
]
_COUNTERS = {
    "statistics_replay_window": "replay_window",
    "statistics_replay": "replay",
    "statistics_integrity_failed": "integrity_failed",
}
_STATE = ["protocol", "spi", "source", "destination", "mode", "reqid", "mark", "mark_mask", "if_id", "direction"]
_STATE += ["bytes", "packets", "add_time", "use_time", "last_used", *_COUNTERS, *_LIMITS]
_POLICY = [
    "use_time",
    "index",
    "direction",
    "policy_type",
    "action",
    "priority",
    "source",
    "destination",
    "protocol",
]
NEEDS_TERMINAL = "needs a terminal that can do more than print, or --once, --count N or -j"
_POLICIES = 100  # of a sample, those used last


class Clock:
    """The time, and a way to let it pass."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        time.sleep(seconds)


# --- samples ------------------------------------------------------------------------------------------------------


def take(session: Session, now: float) -> Sample:
    """The kernel's counters at this moment: columns of both databases, in which there are no keys."""
    columns = session.sad.dump_columns(_STATE, text=True)
    policies = session.spd.dump_columns(_POLICY, text=True)
    return Sample(now, _states(columns), _policies(policies), _statistics(session), policies.rows)


def _lists(columns: Any, names: list[str]) -> list[list[Any]]:
    return [column if isinstance(column := columns[name], list) else column.tolist() for name in names]


def _states(columns: Any) -> Iterator[Row]:
    protocols, modes, directions = words(Protocol), words(Mode), {0: None, **words(StateDirection)}
    names = [_COUNTERS.get(name, name) for name in _STATE]
    for values in zip(*_lists(columns, _STATE), strict=True):
        row = dict(zip(names, values, strict=True))
        protocol, mode, direction = row["protocol"], row["mode"], row["direction"]
        row["protocol"] = protocols.get(protocol, protocol)
        row["mode"] = modes.get(mode, mode)
        row["spi"] = f"{row['spi']:#010x}"
        row["direction"] = directions.get(direction, direction)
        if not row["mark_mask"]:
            row["mark"] = row["mark_mask"] = None
        row["if_id"] = row["if_id"] or None
        yield row


def _policies(columns: Any) -> list[Row]:
    times = columns["use_time"].tolist()
    used = sorted((number for number, when in enumerate(times) if when), key=times.__getitem__, reverse=True)
    lists = _lists(columns, _POLICY)
    rows = [
        {name: values[number] for name, values in zip(_POLICY, lists, strict=True)} for number in used[:_POLICIES]
    ]
    for row in rows:
        row["direction"] = word_of(Direction, row["direction"])
        row["policy_type"] = word_of(PolicyType, row["policy_type"])
        row["action"] = word_of(Action, row["action"])
        row["protocol"] = packet_protocol(row["protocol"])
    return rows


def _statistics(session: Session) -> Statistics | None:
    try:
        return session.statistics()
    except KernelError:  # a kernel without CONFIG_XFRM_STATISTICS
        return None


# --- without a terminal -------------------------------------------------------------------------------------------

_HEADS = ("state", "mode", "reqid", "bytes/s", "pkts/s", "bytes", "pkts", "life", "left", "failed", "idle")


def cells(row: Row) -> list[str]:
    """What a table has of a state, in the order of _HEADS."""
    return [
        state_name(row),
        str(row["mode"]),
        str(row["reqid"]),
        short(row["bytes_per_second"]),
        short(row["packets_per_second"]),
        short(row["bytes"]),
        short(row["packets"]),
        f"{row['life']:.0%}" if row["limits"] else "-",
        duration(row["expires_in"]),
        str(row["errors"]),
        duration(row["idle"]),
    ]


def policy_line(row: Row) -> str:
    """A policy in a line."""
    text = f"{row['direction']} {row['source']} -> {row['destination']}"
    text += "" if row["protocol"] == "any" else f" {row['protocol']}"
    text += "" if row["policy_type"] == "main" else f" ptype {row['policy_type']}"
    return f"{text} priority {row['priority']} index {row['index']} {row['action']}"


def plain(shown: Shown, rows: list[Row]) -> Iterator[str]:
    """The lines of a sample as text."""
    when = time.strftime("%H:%M:%S", time.localtime(shown.sample.time))
    yield f"{when}  {len(shown.states)} SAs, {shown.sample.policy_count} policies"
    table = [list(_HEADS), *map(cells, rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_HEADS))]
    for line in table:
        first, second, *numbers = (
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join((first, second, *numbers)).rstrip()
    for row in shown.policies:
        yield f"policy used {duration(row['idle'])} ago: {policy_line(row)}"
    for name, value in (shown.sample.statistics or {}).items():
        if value:
            yield f"{name}: {value}" + (f" (+{shown.deltas[name]})" if shown.deltas[name] else "")
    yield from shown.changes()


def document(shown: Shown, rows: Sequence[Row]) -> dict[str, Any]:
    """A sample for JSON. Times and marks are as in the documents of policies and states."""
    return {
        "kind": "sample",
        "time": time_text(int(shown.sample.time)),
        "seconds": shown.seconds or None,
        "states": [_written(row) for row in rows],
        "policy_count": shown.sample.policy_count,
        "policies": [_written(row) for row in shown.policies],
        "statistics": None if shown.sample.statistics is None else dict(shown.sample.statistics),
        "statistics_delta": shown.deltas,
        "changes": shown.changes(),
    }


def _written(row: Row) -> Row:
    result = row.whole() if isinstance(row, StateRow) else dict(row)
    result.pop("mark_mask", None)
    if result.get("mark") is not None:
        result["mark"] = {"value": row["mark"], "mask": row["mark_mask"]}
    for name in ("add_time", "use_time", "last_used"):
        if name in result:
            result[name] = time_text(row[name]) if row[name] else None
    return result


# --- the command --------------------------------------------------------------------------------------------------


def _options(words: list[str]) -> Namespace:
    from xfrm_ext.cli.arguments import Arguments

    parser = Arguments(
        "top",
        "States with their rates, lifetimes that run out, replay and integrity failures, the counters of "
        "/proc/net/xfrm_stat and policies by use, as they change, until q is typed.",
    )
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between samples (2)")
    parser.add_argument("--count", type=int, metavar="N", help="end after N samples")
    parser.add_argument("--once", action="store_true", help="one sample, without rates")
    parser.add_argument("--sort", default="rate", metavar="KEY", help=f"one of {', '.join(SORTS)} (rate)")
    parser.add_argument("--filter", default="", metavar="EXPR", help="e.g. 'reqid=1 errors>0'")
    parser.add_argument("--export-svg", metavar="FILE", help="a picture of the last sample; needs rich")
    options = parser.parse_args(words)
    if not 0.1 <= options.interval <= 3600:
        raise wrong("--interval", str(options.interval), "is not from 0.1 to 3600 seconds")
    if options.count is not None and options.count < 1:
        raise wrong("--count", str(options.count), "is not 1 or more")
    if options.sort not in SORTS:
        raise wrong("--sort", options.sort, f"is not one of {', '.join(SORTS)}")
    if options.once:
        options.count = 1
    return options


def run(words: list[str], context: Context, clock: Clock | None = None) -> int:
    """`xfrm top` with these words. Returns 0, also after Ctrl-C, and 128 and its number after a signal."""
    options = _options(words)
    clock = Clock() if clock is None else clock
    view = View(options.interval, options.sort, options.filter)
    terminal = context.out.isatty() and sys.stdin is not None and sys.stdin.isatty()
    live = terminal and not context.json and options.count is None
    if not live and options.count is None and not context.json:
        raise wrong("top", None, NEEDS_TERMINAL)
    if options.export_svg:
        from xfrm_ext.cli.outline import check_picture

        check_picture(options.export_svg)
    with contextlib.suppress(KeyboardInterrupt):
        if live:
            from xfrm_ext.cli.top_screen import watch

            return watch(context, view, clock, options.export_svg)
        _print(options, context, view, clock)
    return 0


def _print(options: Namespace, context: Context, view: View, clock: Clock) -> None:
    """Prints sample after sample."""
    before: Sample | None = None
    number = 0
    while True:
        shown = Shown(take(context.session(), clock.now()), before)
        rows = view.rows(shown)
        if context.json:
            from xfrm_ext.documents import line

            context.out.write(line(document(shown, rows), pretty=context.pretty))
        else:
            context.out.writelines(f"{text}\n" for text in plain(shown, rows))
        context.out.flush()
        before = shown.sample
        number += 1
        if number == options.count:
            break
        clock.wait(options.interval)
    if options.export_svg:
        from xfrm_ext.cli.outline import export_svg
        from xfrm_ext.cli.top_screen import screen

        export_svg([screen(shown, view, 60, 116)], options.export_svg, "xfrm top", 116)

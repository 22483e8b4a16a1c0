# SPDX-License-Identifier: MIT
"""Tables and plots from the figures of a run.

    python -m benchmarks.report results.json [FOLDER]

writes results.md and the plots into the folder (that of the JSON file by default).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import limits, plots
from benchmarks.limits import Results, as_ratio
from benchmarks.measure import ratio
from benchmarks.names import NAMES, SHAPES

NOT_MEASURED = "not measured"
# Processor time is counted in ticks of the kernel's timer, of 1 to 10 ms: less than this says nothing.
COARSE = 0.1


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown, the numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def title(group: dict[str, Any]) -> str:
    what = "states" if group["shape"] == "state" else "policies"
    cold = ", each time into a fresh namespace" if group["tables"] == "cold" else ""
    invented = " (the demo's invented table)" if group.get("invented") else ""
    guest = f" (in the guest: Linux {group['kernel']})" if "kernel" in group else ""
    return f"{group['operation']}, {group['items']:,} {what}: {SHAPES[group['shape']]}{invented}{cold}{guest}"


def limits_table(results: Results) -> str:
    """Each limit beside what was measured."""
    shown = []
    for row in limits.rows(results):
        measured, met = NOT_MEASURED, ""
        if row["measured"]:
            measured = row["measured"]
            if row["low"] != row["high"]:
                measured += f" ({row['low']} to {row['high']})"
            met = "yes" if row["met"] else "**no**"
        shown.append((row["measure"], row["limit"], measured, met))
    return table(("measure", "at most", "measured, median (range)", "met"), shown)


def share(one: dict[str, Any]) -> str:
    """How much of the processor's time was the kernel's; nothing where its clock is too coarse to tell."""
    system, user = sum(one["system_seconds"]), sum(one["user_seconds"])
    return f"{system / (system + user):.0%}" if system + user > COARSE else ""


def group_table(group: dict[str, Any]) -> str:
    """The contenders of a group, by their ratio to its base."""
    base = NAMES[group["base"]].title
    rows = []
    for name, one in sorted(group["contenders"].items(), key=lambda item: item[1]["ratio"]["median"]):
        times = one["ratio"]
        shown = NAMES[name]
        rows.append(
            (
                f"**{shown.title}**" if shown.ours else shown.title,
                as_ratio(times["median"]),
                f"{as_ratio(times['min'])} to {as_ratio(times['max'])}",
                share(one),
            )
        )
    text = table(("contender", f"time, x {base}", "range", "kernel's share"), rows)
    seconds = group["contenders"][group["base"]]["seconds"]
    text += f"\n\n{len(seconds)} rounds; {base}, slowest over fastest: {max(seconds) / min(seconds):.2f}."
    left_out = [f"{NAMES[name].title}: {reason}" for name, reason in group["skipped"].items()]
    return text + (" Left out: " + "; ".join(left_out) + "." if left_out else "")


def calls_table(results: Results) -> str:
    calls: dict[str, list[float]] = results["micro"]
    if not calls:
        return ""
    unit = calls["two ip_network()"]
    rows = []
    for name, values in calls.items():
        times = ratio(values, unit)
        rows.append((name, as_ratio(times.median), f"{as_ratio(times.low)} to {as_ratio(times.high)}"))
    return table(("call", "time, x two ip_network()", "range"), rows)


def memory_table(results: Results) -> str:
    memory = results["memory"]
    rows = []
    if objects := memory.get("objects"):
        rows.append(("a `Policy`, by resident memory", f"{statistics.median(objects['resident_bytes']):.0f} bytes"))
        rows.append(
            ("a `Policy`, by Python's allocators", f"{statistics.median(objects['traced_bytes']):.0f} bytes")
        )
    for peak in memory.get("peaks", []):
        grown = (peak["peak_bytes"] - peak["before_bytes"]) / 1e6
        rows.append((f"peak of loading {peak['policies']:,} policies from a generator", f"+{grown:.1f} MB"))
    return table(("what", "memory"), rows) if rows else ""


def markdown(results: Results, pictures: Sequence[str] = ()) -> str:
    """The whole report."""
    machine = [(name, value) for name, value in results["machine"].items()]
    parts = [
        "# Results",
        "Made by `python -m benchmarks.report`, from the figures in `results.json`. Only ratios within a run mean"
        " something elsewhere: times depend on the machine, its kernel and what else it does. Each ratio is the"
        " median of those within a round; contenders take turns. Ours are in bold.",
        "## Limits",
        "With {count:,} policies where nothing else is said, {slow_count:,} of /24, and {million:,} for a million;"
        " the limits are meant for 100,000 and 8,000.".format(**results["options"]),
        limits_table(results),
    ]
    parts += [f"![{name.replace('-', ' ')}]({name}.png)" for name in pictures]
    parts += ["## Contenders"]
    for group in results["groups"]:
        parts += [f"### {title(group)}", group_table(group)]
    if calls := calls_table(results):
        parts += ["## Single calls", calls]
    if memory := memory_table(results):
        parts += ["## Memory", memory]
    if results["skipped"]:
        parts += ["## Not run", *(f"- {name}: {reason}" for name, reason in results["skipped"].items())]
    parts += ["## The machine", table(("what", "value"), machine)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write(results: Results, folder: Path) -> str | None:
    """results.md and the plots. Returns why there are no plots, if that is so."""
    folder.mkdir(parents=True, exist_ok=True)
    why = None
    try:
        pictures = plots.draw(results, folder)
    except ImportError as error:
        pictures, why = [], f"no plots: {error} (pip install 'xfrm-ext[plots]')"
    (folder / "results.md").write_text(markdown(results, pictures), encoding="utf-8")
    return why


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, help="the JSON file of a run")
    parser.add_argument("folder", type=Path, nargs="?", help="where to write to (that of the file)")
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    why = write(results, options.folder or options.results.parent)
    print(limits_table(results))
    if why:
        print(why)


if __name__ == "__main__":
    main()

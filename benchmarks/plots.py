# SPDX-License-Identifier: MIT
"""Plots of a run: time against the number of policies, and whose time it is. Needs matplotlib, imported late."""

from __future__ import annotations

import io
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import limits
from benchmarks.limits import Results
from benchmarks.names import NAMES, SHAPES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "savefig.dpi": 110,
    "svg.hashsalt": "xfrm_ext",
}
GRID: dict[str, Any] = {"color": "#e4e4e4", "linewidth": 0.8}
IN_PROGRAM: dict[str, Any] = {"alpha": 0.4, "hatch": "///", "edgecolor": "white"}
# What one plot has room for; the tables have all.
AGAINST = {
    "load": (
        "ip",
        "pure_one",
        "pure_batch",
        "libnl",
        "one_by_one",
        "process",
        "batchfile",
        "list",
        "columns",
        "floor",
    ),
    "dump": ("pure", "ip", "libnl", "objects_all", "objects_3", "columns", "receive", "floor"),
}


def draw(results: Results, folder: Path) -> list[str]:
    """Writes what the results have figures for, as NAME.png. Returns the names. Raises ImportError."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    written = []
    with matplotlib.rc_context(STYLE):
        drawn = [(f"{operation}-time", against_count(results, operation)) for operation in AGAINST]
        drawn.append(("processor-time", shares(results)))
        drawn.append(("shapes", shapes(results)))
        for name, figure in drawn:
            if figure is None:
                continue
            save(figure, folder / f"{name}.png")
            pyplot.close(figure)
            written.append(name)
    return written


def save(figure: Figure, path: Path) -> None:
    """As a PNG of few colours: half the size, and nobody sees it."""
    from PIL import Image  # of which matplotlib is made

    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    Image.open(raw).convert("RGB").quantize(256).save(path, optimize=True)


def medians(group: dict[str, Any], what: str = "seconds") -> dict[str, float]:
    return {name: statistics.median(one[what]) for name, one in group["contenders"].items()}


def apart(wanted: Sequence[float], least: float) -> list[float]:
    """Positions near the wanted ones (rising) of which no two are nearer to each other than `least`: labels."""
    placed = list(wanted)
    for _ in range(200):
        for index in range(len(placed) - 1):
            missing = least - (placed[index + 1] - placed[index])
            if missing > 1e-9:
                placed[index] -= missing / 2
                placed[index + 1] += missing / 2
    return placed


def against_count(results: Results, operation: str) -> Figure | None:
    """Time against the number of policies, one line for each contender, named at its end."""
    from matplotlib import pyplot

    found: dict[str, list[tuple[int, float]]] = {}
    for group in results["groups"]:
        if (group["operation"], group["shape"], group["tables"]) != (operation, "host", "warm"):
            continue
        for name, seconds in medians(group).items():
            if name in AGAINST[operation]:
                found.setdefault(name, []).append((group["items"], seconds))
    counts = sorted({count for points in found.values() for count, _ in points})
    if len(counts) < 2:
        return None
    figure, axes = pyplot.subplots(figsize=(9.5, 6), layout="constrained")
    ends = []
    for name, points in found.items():
        # A size may have been measured twice, by two cases: the later one counts.
        line = sorted(dict(points).items())
        shown = NAMES[name]
        axes.plot(
            [count for count, _ in line],
            [seconds for _, seconds in line],
            color=shown.colour,
            linewidth=2.6 if shown.ours or name == "floor" else 1.6,
            linestyle="--" if name == "floor" else "-",
            marker="o",
            markersize=5 if shown.ours else 4,
            zorder=3 if shown.ours else 2,
        )
        # Where a line ends early, its label stands at the height at which it would arrive.
        (count, seconds) = line[-1]
        ends.append((math.log10(seconds * counts[-1] / count), name, count < counts[-1]))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(counts[0] * 0.85, counts[-1] * 1.18)
    lowest, highest = (math.log10(limit) for limit in axes.get_ylim())
    ends.sort()
    places = apart([height for height, _, _ in ends], (highest - lowest) / 22)
    for place, (_, name, early) in zip(places, ends, strict=True):
        shown = NAMES[name]
        axes.annotate(
            shown.title,
            (counts[-1], 10**place),
            xytext=(12, 0),
            textcoords="offset points",
            color=shown.colour,
            fontweight="bold" if shown.ours else "normal",
            fontstyle="italic" if early else "normal",
            va="center",
            annotation_clip=False,
        )
    axes.grid(which="major", **GRID)
    axes.set_xlabel("policies")
    axes.set_ylabel("time (seconds)")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title(
        {"load": "Loading policies, warm tables", "dump": "Reading all policies"}[operation] + " (IPv4 hosts)"
    )
    return figure


def shares(results: Results) -> Figure | None:
    """User and kernel time of each contender, stacked: loading to the left, reading to the right."""
    from matplotlib import pyplot

    groups = [
        limits.group(results, operation, "host", "warm", results["options"]["count"]) for operation in AGAINST
    ]
    if any(group is None for group in groups):
        return None
    figure, both = pyplot.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    for axes, group in zip(both, groups, strict=True):
        assert group is not None
        _stacked(axes, group)
    figure.supxlabel("processor time for each policy (microseconds)", fontsize=12)
    return figure


def _stacked(axes: Axes, group: dict[str, Any]) -> None:
    each = 1e6 / group["items"]
    system = {name: seconds * each for name, seconds in medians(group, "system_seconds").items()}
    user = {name: seconds * each for name, seconds in medians(group, "user_seconds").items()}
    names = sorted(system, key=lambda name: system[name] + user[name], reverse=True)
    names = [name for name in names if name in AGAINST[group["operation"]]]
    # The slowest would press all others against the axis: they are cut, with an arrow to their length.
    others = [name for name in names if name != "ip" and not name.startswith("pure")]
    most = max(system[name] + user[name] for name in others) * 1.15
    for place, name in enumerate(names):
        colour = NAMES[name].colour
        whole = system[name] + user[name]
        drawn = min(1, most / whole) if whole else 1  # a cut one keeps its shares
        axes.barh(place, system[name] * drawn, color=colour, height=0.7)
        axes.barh(
            place,
            user[name] * drawn,
            left=system[name] * drawn,
            color=colour,
            height=0.7,
            **IN_PROGRAM,
        )
        axes.text(
            min(whole, most) + most * 0.01,
            place,
            f"{whole:.2f}" if whole <= most else f"\N{RIGHTWARDS ARROW} {whole:.1f}",
            va="center",
            fontsize=11,
            fontweight="bold" if NAMES[name].ours else "normal",
        )
    axes.set_xlim(0, most * 1.2)
    axes.set_yticks(range(len(names)), [NAMES[name].title for name in names])
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if NAMES[name].ours else "normal")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", **GRID)
    axes.set_title(f"{group['operation'].capitalize()}, {group['items']:,} policies")
    axes.barh(0, 0, color="#555555", label="in the kernel")
    axes.barh(0, 0, color="#555555", **IN_PROGRAM, label="in the program")
    axes.legend(frameon=False, loc="upper right")


def shapes(results: Results) -> Figure | None:
    """Ratios to the floor for each shape of policies: a dot for each contender."""
    from matplotlib import pyplot

    groups = [
        group
        for group in results["groups"]
        if group["operation"] == "load" and group["tables"] == "warm" and group["shape"] not in ("host", "state")
    ]
    host = limits.group(results, "load", "host", "warm", results["options"]["count"])
    groups = [*([host] if host else []), *groups]
    if len(groups) < 2:
        return None
    names = [
        name
        for name in ("columns", "list", "batchfile", "libnl", "ip")
        if any(name in g["contenders"] for g in groups)
    ]
    figure, axes = pyplot.subplots(figsize=(9.5, 1.6 + 0.55 * len(groups)), layout="constrained")
    for place, group in enumerate(reversed(groups)):
        axes.axhline(place, color="#eeeeee", linewidth=1, zorder=1)
        for name in names:
            if name in group["contenders"]:
                times, colour = group["contenders"][name]["ratio"], NAMES[name].colour
                axes.plot([times["min"], times["max"]], [place, place], color=colour, linewidth=2, zorder=2)
                axes.plot(times["median"], place, "o", color=colour, markersize=9, zorder=3)
    axes.axvline(1, color=NAMES["floor"].colour, linestyle="--", linewidth=1.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ticks = [1, 1.5, 2, 3, 5, 10, 20]
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.minorticks_off()
    axes.set_yticks(
        range(len(groups)), [f"{SHAPES[group['shape']]}\n{group['items']:,}" for group in reversed(groups)]
    )
    axes.tick_params(axis="y", length=0, labelsize=11)
    axes.set_title("Loading policies of other shapes, warm tables")
    axes.set_xlabel("time to load, as a multiple of the C floor")
    handles = [
        axes.plot([], [], "o", color=NAMES[name].colour, markersize=9, label=NAMES[name].title)[0] for name in names
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(names), frameon=False)
    return figure

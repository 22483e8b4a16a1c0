# SPDX-License-Identifier: MIT
"""The benchmarks run, on the real kernel, with sizes that mean nothing; their figures are not looked at here."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kernel, limits, plots, policies
from benchmarks.measure import Spread, ratio
from benchmarks.names import NAMES

ROOT = Path(__file__).resolve().parent.parent

# Why a contender may be left out.
LISTED_REASONS = (
    "is not installed",  # ip, numpy
    "the headers of libnl-xfrm-3 are not installed",
    "no pkg-config to find libnl-xfrm-3 with",
    "libnl-xfrm-3 does not know XFRMA_IF_ID",
    "this version has no",  # load_columns, dump_columns, delete_where
    "only run for shapes that a child process can make again",
)
CASES = {"load", "dump", "change", "slow", "cold", "shapes", "real", "file", "memory"}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    """Of one run of every case that this kernel can do, but for the micro-benchmarks, which take their time."""
    (folder / "geoip").write_text("16777216,16777471,AU\n16777472,16778239,CN\n")
    (folder / "geoip6").write_text(
        "2001:200::,2001:200:0:ffff:ffff:ffff:ffff:ffff,JP\n2c00::,2c00:0:ffff:ffff:ffff:ffff:ffff:ffff,ZA\n"
    )
    table = policies.rows("internet", 30)
    (folder / "policies.batch").write_text("".join(map(policies.batch_line, table)))
    sizes = ("--sizes=20,40", "-n=40", "--slow-count=30", "--shape-count=20", "--rounds=1")
    paths = (f"--real-table={folder}", f"--batch-file={folder / 'policies.batch'}", f"--out={folder}")
    done = run(*sorted(CASES), *sizes, *paths, "--memory-counts", 20, 40, "--settle=0")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.mark.usefixtures("namespace")
class TestRun:
    def test_groups(self, results: dict[str, Any]) -> None:
        assert not results["skipped"]
        assert {group["operation"] for group in results["groups"]} == {"load", "dump", "delete", "update", "flush"}
        for group in results["groups"]:
            for name, one in group["contenders"].items():
                assert name in NAMES
                rounds = {len(one[each]) for each in ("seconds", "user_seconds", "system_seconds")}
                assert rounds == {1}
                assert 0 < one["ratio"]["min"] <= one["ratio"]["median"] <= one["ratio"]["max"]
            assert group["contenders"][group["base"]]["ratio"] == {"median": 1, "min": 1, "max": 1}

    def test_reasons(self, results: dict[str, Any]) -> None:
        for group in results["groups"]:
            assert not group["contenders"].keys() & group["skipped"].keys()
            for reason in group["skipped"].values():
                assert any(listed in reason for listed in LISTED_REASONS), reason

    def test_ours_and_the_floor_are_everywhere(self, results: dict[str, Any]) -> None:
        for group in results["groups"]:
            wanted = {
                "dump": {"floor", "objects", "objects_3", "objects_all"},
                "flush": {"floor", "flush"},
                "load": {"floor", "batchfile"},
            }.get(group["operation"], {"floor", "list"})
            assert wanted <= group["contenders"].keys()

    def test_the_real_table(self, results: dict[str, Any]) -> None:
        [sorted_, shuffled] = [group for group in results["groups"] if group["shape"] in ("real", "shuffled")]
        # 1.0.0.0/24, 1.0.1.0/24 and 1.0.2.0/23; 2001:200::/48, and not 2c00::/32, which takes the kernel's list.
        assert (sorted_["ipv4"], sorted_["ipv6"], sorted_["items"]) == (3, 1, 4)
        assert shuffled["items"] == 4
        assert not sorted_["invented"]

    def test_memory(self, results: dict[str, Any]) -> None:
        memory = results["memory"]
        assert [peak["policies"] for peak in memory["peaks"]] == [20, 40]
        assert all(0 < peak["before_bytes"] <= peak["peak_bytes"] for peak in memory["peaks"])
        assert all(value > 100 for value in memory["objects"]["traced_bytes"])
        assert all(value > 0 for found in memory["imports"].values() for value in found["seconds"])

    def test_no_names_of_this_machine(self, results: dict[str, Any], folder: Path) -> None:
        text = (folder / "results.json").read_text() + (folder / "results.md").read_text()
        assert str(ROOT) not in text
        assert str(folder) not in text
        assert {"processor", "kernel", "Python", "C compiler", "xfrm-ext"} <= results["machine"].keys()

    def test_report(self, results: dict[str, Any], folder: Path, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.report", str(folder / "results.json"), str(tmp_path)]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        assert (tmp_path / "results.md").read_text() == (folder / "results.md").read_text()
        for name in ("load-time", "dump-time", "processor-time", "shapes"):
            picture = (tmp_path / f"{name}.png").read_bytes()
            assert picture.startswith(b"\x89PNG")
            assert len(picture) < 100_000

    def test_a_file_that_does_more_than_add(self, tmp_path: Path) -> None:
        (tmp_path / "other").write_text("xfrm policy flush\n")
        done = run("file", f"--batch-file={tmp_path / 'other'}", f"--out={tmp_path}")
        assert done.returncode == 1
        assert "not a line that adds a policy: 'xfrm policy flush'" in done.stderr


def test_unknown_case() -> None:
    assert run("lod").returncode == 2


def test_ratios_are_of_the_same_round() -> None:
    assert ratio([2, 30, 400], [1, 10, 100]) == Spread(3, 2, 4)


def _results(columns: list[float], floor: list[float]) -> dict[str, Any]:
    contenders = {"columns": {"seconds": columns}, "floor": {"seconds": floor}}
    group = {"operation": "load", "shape": "host", "tables": "warm", "items": 7, "contenders": contenders}
    options = {"count": 7, "slow_count": 1, "million": 1}
    return {"groups": [group], "options": options, "micro": {}, "memory": {}}


@pytest.mark.parametrize(("columns", "shown", "met"), [(10.4, "1.04", True), (10.6, "1.06", False)])
def test_limits(columns: float, shown: str, met: bool) -> None:
    first, *others = limits.rows(_results([columns, 5, 90], [10, 10, 10]))
    assert (first["limit"], first["measured"], first["low"], first["high"]) == ("1.05", shown, "0.50", "9.00")
    assert first["met"] is met
    assert all(row["measured"] is None and row["met"] is None for row in others)


def test_another_size_is_not_the_one_that_is_limited() -> None:
    results = _results([1], [1])
    results["options"]["count"] = 8
    assert limits.rows(results)[0]["measured"] is None


def test_what_the_kernel_adds_is_not_compared() -> None:
    [row] = policies.rows("mark", 1)
    asked = policies.message(row)[policies.HEADER.size :]
    dumped = bytearray(asked) + b"\x0a\x00\x10\x00" + bytes(8)  # XFRMA_POLICY_TYPE: main
    dumped[kernel.INDEX_OFFSET] = 9
    dumped[kernel.CURRENT_OFFSET + 16] = 1  # when it was added
    assert kernel.as_asked_for(bytes(dumped)) == kernel.as_asked_for(asked)
    dumped[kernel.PRIORITY_OFFSET] ^= 1
    assert kernel.as_asked_for(bytes(dumped)) != kernel.as_asked_for(asked)


def test_labels_are_apart_and_in_order() -> None:
    wanted = [0.0, 0.01, 0.02, 5.0, 5.5]
    placed = plots.apart(wanted, 1.0)
    assert all(later - earlier > 0.99 for earlier, later in itertools.pairwise(placed))
    assert all(abs(one - other) < 1.1 for one, other in zip(placed, wanted, strict=True))


@pytest.mark.parametrize(("value", "text"), [(1 / 6, "1/6"), (0.4, "1/2.5"), (0.51, "0.51"), (1.049, "1.05")])
def test_ratios_as_text(value: float, text: str) -> None:
    assert limits.as_ratio(value) == text

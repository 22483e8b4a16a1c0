# SPDX-License-Identifier: MIT
"""The benchmarks of states run; their figures are not looked at here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.names import NAMES

ROOT = Path(__file__).resolve().parent.parent.parent


def test_states() -> None:
    command = [sys.executable, "-m", "benchmarks.sad", "20", "1"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found = json.loads(done.stdout)
    assert [(group["operation"], group["shape"], group["items"]) for group in found["groups"]] == [
        ("load", "state", 20),
        ("dump", "state", 20),
    ]
    for group in found["groups"]:
        assert group["contenders"].keys() <= NAMES.keys()
        assert ({"list"} if group["operation"] == "load" else {"objects_all"}) <= group["contenders"].keys()
        assert all(one["ratio"]["min"] > 0 for one in group["contenders"].values())

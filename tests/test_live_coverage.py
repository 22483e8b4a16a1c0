# SPDX-License-Identifier: MIT
"""The scenarios of tests/live_scenarios.py on the kernel at hand, through each codec; the guest's kernel must do
everything. With XFRM_EXT_RECORD=1 the notes are written to tests/coverage_live.json, here and in the guest:

    XFRM_EXT_RECORD=1 .venv/bin/python -m pytest tests/test_live_coverage.py
    XFRM_EXT_RECORD=1 tests/guest/run --writable tests -- .venv/bin/python -m pytest tests/guest/test_live.py
"""

from __future__ import annotations

import importlib
import json
import os
import re

import live
import pytest

from xfrm_ext.testing import network_namespace

RELEASE = re.split(r"[^\d.]", os.uname().release)[0]


@pytest.mark.parametrize("name", ["native", "pure"])
def test_scenarios(name: str, namespace: int) -> None:
    found = live.notes(network_namespace, importlib.import_module(f"xfrm_ext.codec.{name}"))
    # Every kernel with XFRM has these.
    for row in ("XFRM_MSG_NEWPOLICY", "XFRM_MSG_GETSA", "XFRMA_TMPL", "XFRMA_SAD_CNT"):
        assert found[row].to or found[row].back, row
    if os.environ.get("XFRM_EXT_RECORD") == "1":
        data = json.loads(live.NOTES.read_text(encoding="ascii")) if live.NOTES.exists() else {}
        data[RELEASE] = {"list": live.digest(), "rows": found}
        live.NOTES.write_text(_text(data), encoding="ascii")
    elif os.environ.get("XFRM_EXT_IN_GUEST") == "1":
        # Whichever release that is: it was built with everything.
        assert [row for row, note in found.items() if not (note.to or note.back)] == ["XFRMA_PAD"]
        assert found == live.recorded().get(RELEASE, found)


def _text(data: dict[str, dict[str, object]]) -> str:
    """JSON with a row a line."""
    parts = []
    for kernel, noted in sorted(data.items()):
        rows = noted["rows"]
        assert isinstance(rows, dict)
        lines = ",\n".join(f"   {json.dumps(row)}: {json.dumps(note)}" for row, note in rows.items())
        parts.append(
            f' {json.dumps(kernel)}: {{\n  "list": {json.dumps(noted["list"])},\n  "rows": {{\n{lines}\n  }}\n }}'
        )
    return "{\n" + ",\n".join(parts) + "\n}\n"

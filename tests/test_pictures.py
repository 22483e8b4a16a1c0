# SPDX-License-Identifier: MIT
"""The pictures of the documentation, which docs/pictures/make.py makes."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"


@pytest.mark.parametrize("name", ["top", "tree", "load"])
def test_a_picture_is_small_and_needs_nothing_from_elsewhere(name: str) -> None:
    path = FOLDER / f"{name}.svg"
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 100_000
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert not re.search("href|@import|@font-face|<script|<image", text)
    assert not re.search("/home/|/root/|/tmp/|/usr/", text)  # of the machine that made it

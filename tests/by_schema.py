# SPDX-License-Identifier: MIT
"""Checks documents by schema.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from xfrm_ext import documents

SCHEMA = json.loads((Path(documents.__file__).parent / "schema.json").read_text(encoding="utf-8"))
DEFINITIONS: dict[str, dict[str, Any]] = SCHEMA["$defs"]
LOOKED = ("explanation", "tree", "sample")
"""The kinds of what `xfrm explain`, `xfrm tree` and `xfrm top` print."""
KINDS = {*documents.KINDS.values(), "error", *LOOKED}


def validator(name: str) -> Any:
    """For what a definition describes."""
    return Draft202012Validator({"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": DEFINITIONS})


VALIDATORS = {name: validator(name) for name in (*KINDS, "document", "loadable")}


def is_valid(document: dict[str, Any]) -> None:
    """Raises jsonschema's ValidationError where a document is not what its kind says."""
    VALIDATORS[document["kind"]].validate(json.loads(json.dumps(document)))

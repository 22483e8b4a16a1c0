# SPDX-License-Identifier: MIT
"""Values as documents, which JSON can hold: objects, arrays, texts, exact integers. ``schema.json``, beside this
file, says what is in them, docs/json.md why.

A document has the fields of its value, by their names, all of them always. `forms` has the few that are written in
a form of their own. Keys are hidden unless ``show_keys`` says otherwise.

::

    document = to_document(policy)                  # a dict, for json.dumps
    policy = from_document(document)
    for piece in array(map(to_document, session.spd.dump())):   # a JSON array, item by item
        out.write(piece)
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from typing import Any

    from xfrm_ext.documents.reading import Found, from_document, read
    from xfrm_ext.documents.writing import EVENTS, KINDS, array, event_document, line, now, to_document

__all__ = [
    "EVENTS",
    "KINDS",
    "Found",
    "array",
    "event_document",
    "from_document",
    "line",
    "now",
    "read",
    "to_document",
]
_READING = ("Found", "from_document", "read")


def __getattr__(name: str) -> Any:
    """Imports what is only there when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{'reading' if name in _READING else 'writing'}"), name)
    globals()[name] = found
    return found

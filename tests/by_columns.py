# SPDX-License-Identifier: MIT
"""Rows of columns, the slow way: each as the object that it stands for. What load_columns is compared with."""

from __future__ import annotations

import socket
import struct
import sys
from dataclasses import fields, replace
from typing import Any

import nanoarrow

from xfrm_ext import (
    Encapsulation,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Message,
    Policy,
    Selector,
    Session,
    State,
    StateStatistics,
)
from xfrm_ext.testing import FakeTransport

SELECTOR = {field.name for field in fields(Selector)}
LIMITS = {field.name for field in fields(LifetimeConfig)}
USED = {field.name for field in fields(LifetimeCurrent)}
STATISTICS = {field.name for field in fields(StateStatistics)}
_KINDS = {Message.NEWPOLICY, Message.UPDPOLICY, Message.DELPOLICY, Message.NEWSA, Message.UPDSA, Message.DELSA}


def sent(template: Policy | State, **columns: Any) -> list[bytes]:
    """The messages that load_columns sends."""
    transport = FakeTransport(lambda message: None)
    with Session(transport=transport) as session:
        verbs: Any = session.spd if isinstance(template, Policy) else session.sad
        verbs.load_columns(template, **columns)
    return [one for one in transport.sent if int.from_bytes(one[4:6], sys.byteorder) in _KINDS]


def _taken(row: dict[str, Any], prefix: str, names: set[str]) -> dict[str, Any]:
    """The fields of a part, which leave the row."""
    found = {name: row.pop(f"{prefix}{name}") for name in names if f"{prefix}{name}" in row}
    return dict(found)


def _mark(row: dict[str, Any], name: str, before: Mark | None) -> Mark:
    value, mask = row.pop(name, None), row.pop(f"{name}_mask", None)
    if value is None:
        value = before.value if before else 0
    if mask is None:
        mask = before.mask if before else 0xFFFFFFFF
    return Mark(value, mask)


def _pair(row: dict[str, Any], before: Any, any_prefix: str) -> dict[str, Any]:
    """Both addresses, where one is given: those of `before` that are any are of any family."""
    found = _taken(row, "", {"source", "destination"})
    if not found:
        return {}
    for name in ("source", "destination"):
        own = getattr(before, name)
        found.setdefault(name, None if own in (f"0.0.0.0{any_prefix}", f"::{any_prefix}") else own)
    return found | {"family": None}


def policy_of(template: Policy, row: dict[str, Any]) -> Policy:
    """The policy of a row. Prefixes are text; of the columns of lengths and families there are none."""
    row = dict(row)
    selector = template.selector
    values = _pair(row, selector, "/0") | _taken(row, "", SELECTOR - {"source", "destination", "family"})
    for side in ("source", "destination"):
        if f"{side}_port" in values:
            values.setdefault(f"{side}_port_mask", None)
    changed: dict[str, Any] = {}
    if values:
        changed["selector"] = replace(selector, **values)
        family = changed["selector"].family
        if family != selector.family:
            changed["templates"] = template.templates  # see test_templates_without_addresses
    if limits := _taken(row, "", LIMITS):
        changed["lifetime"] = replace(template.lifetime, **limits)
    if used := _taken(row, "", USED):
        changed["current"] = replace(template.current, **used)
    if row.keys() & {"mark", "mark_mask"}:
        changed["mark"] = _mark(row, "mark", template.mark)
    of_template = {name.removeprefix("template_") for name in row if name.startswith("template_")}
    if of_template:
        first, *others = template.templates
        values = _taken(row, "template_", of_template)
        values |= _pair(values, first, "")
        changed["templates"] = [replace(first, **values), *others]
    return replace(template, **changed, **row)


def state_of(template: State, row: dict[str, Any]) -> State:
    """The state of a row."""
    row = dict(row)
    changed: dict[str, Any] = _pair(row, template, "")
    if limits := _taken(row, "", LIMITS):
        changed["lifetime"] = replace(template.lifetime, **limits)
    if used := _taken(row, "", USED):
        changed["current"] = replace(template.current, **used)
    if counted := _taken(row, "statistics_", STATISTICS):
        changed["statistics"] = replace(template.statistics, **counted)
    for name in ("mark", "output_mark"):
        if row.keys() & {name, f"{name}_mask"}:
            changed[name] = _mark(row, name, getattr(template, name))
    wrapped = _taken(row, "encapsulation_", {"type", "source_port", "destination_port"})
    if wrapped:
        changed["encapsulation"] = replace(template.encapsulation or Encapsulation(), **wrapped)
    for name, field in (
        ("encryption_key", "encryption"),
        ("authentication_key", "authentication"),
        ("aead_key", "aead"),
    ):
        if name in row:
            changed[field] = replace(getattr(template, field), key=row.pop(name))
    return replace(template, **changed, **row)


def packed(text: str) -> bytes:
    """The bytes of an address."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def views(texts: list[str], first: int) -> Any:
    """An array of string views: what nanoarrow makes of them itself it can't hand on (0.9)."""
    data, parts = b"", []
    for text in texts:
        part = struct.pack("=i", len(text)) + text.encode().ljust(12, b"\0")
        if len(text) > 12:
            part = struct.pack("=i4sii", len(text), text[:4].encode(), 0, len(data))
            data += text.encode()
        parts.append(part)
    buffers = [None, b"".join(parts), data, struct.pack("=q", len(data))]
    return nanoarrow.c_array_from_buffers(
        nanoarrow.string_view(), len(texts) - first, buffers, null_count=0, offset=first
    )

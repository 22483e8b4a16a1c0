# SPDX-License-Identifier: MIT
"""Columns in: a template and a column for each field that varies -> blocks of messages.

Everything is checked before the first message is made, natively and without the GIL: each column by itself, then
what the fields of a row have to do with each other. After that, a message is the template's own with the row's
values written over it (csrc/columns_write.c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from xfrm_ext import wire
from xfrm_ext.bulk import (
    Items,
    Load,
    LoadResult,
    OnError,
    Operation,
    Progress,
    block_sizes,
    check_options,
)
from xfrm_ext.checks import choice, choices, instance, integer, shown
from xfrm_ext.checks import flags as checked_flags
from xfrm_ext.columns_input import Column as Given
from xfrm_ext.columns_input import addresses, keys, numbers
from xfrm_ext.columns_model import Model
from xfrm_ext.constants import INFINITE, Enumeration, Family, Flags, StateFlag, uapi
from xfrm_ext.encapsulation import Encapsulation
from xfrm_ext.errors import ValidationError
from xfrm_ext.info import SpdInfo
from xfrm_ext.mark import Mark
from xfrm_ext.policy import Policy
from xfrm_ext.selector import protocol_number
from xfrm_ext.state import State
from xfrm_ext.transport import Transport
from xfrm_ext.wire.columns_table import ALIASES, POLICY_COLUMNS, STATE_COLUMNS, Column

_INET6 = int(Family.INET6)
_MARKS = ("mark", "output_mark")
_PAIRED = ("family", "template_family", "source_prefix_length", "destination_prefix_length")
"""Columns that are checked with the addresses of their row."""


def _read(
    columns: Mapping[str, Any],
    table: Mapping[str, Column],
    owner: str,
    key_sizes: Mapping[str, int],
    interface_index: Callable[[str], int],
) -> dict[str, Given]:
    """What was given, as rows in memory."""
    found: dict[str, Given] = {}
    for given, value in columns.items():
        name = ALIASES.get(given, given) if table is POLICY_COLUMNS else given
        column = table.get(name)
        if column is None:
            near = get_close_matches(given, table, 1)
            rule = f": did you mean {near[0]}?" if near else " (docs/columns_write.md has their names)"
            raise ValidationError(given, None, f"is no column of {owner}{rule}")
        if name in found:
            other = next(alias for alias, own in ALIASES.items() if own == name)
            raise ValidationError(given, None, f"is given twice, as {other} and as {name}")
        if column.size == 16:
            found[name] = addresses(value, name)
        elif column.size:
            found[name] = numbers(value, name, _converter(column, table, interface_index))
        else:
            found[name] = keys(value, name, key_sizes[name])
    return found


def _converter(
    column: Column, table: Mapping[str, Column], interface_index: Callable[[str], int]
) -> Callable[[Any, str], int]:
    """What makes a number of one value: as the field of Policy or State would."""
    kind, most = column.kind, column.most
    if kind is not None and issubclass(kind, Enumeration):
        names, members = choices(kind), kind
        return lambda value, field: choice(value, field, names, members, most)
    if kind is not None and issubclass(kind, Flags):
        flags = kind
        return lambda value, field: checked_flags(value, field, flags, most)
    if column.name == "protocol":
        return protocol_number
    if column.name == "interface":

        def interface(value: Any, field: str) -> int:
            if not isinstance(value, str):
                return integer(value, field, most)
            try:
                index = interface_index(value)
            except ValueError:  # a NUL or a lone surrogate in it
                index = 0
            if not index:
                raise ValidationError(field, shown(value), "is not an interface")
            return index

        return interface
    if column.name.endswith("_limit"):
        return lambda value, field: INFINITE if value is None else integer(value, field, most)
    return lambda value, field: integer(value, field, most)


def policies(template: Policy, columns: Mapping[str, Any], interface_index: Callable[[str], int]) -> Model:
    """The policies of columns. Raises ValidationError."""
    template = instance(template, Policy, "template")
    given = _read(columns, POLICY_COLUMNS, "policies", {}, interface_index)
    of_template = [name for name in given if name.startswith("template_")]
    if of_template and not template.templates:
        raise ValidationError(of_template[0], None, "is of the first template, and the policy given has none")
    lacking: dict[str, Any] = {}  # attributes that the columns are written into
    if template.mark is None and {"mark", "mark_mask"} & given.keys():
        lacking["mark"] = Mark(0)
    if template.if_id is None and "if_id" in given:
        lacking["if_id"] = 0
    if "policy_type" in given:
        lacking["policy_type"] = "sub"
    model = Model(POLICY_COLUMNS, given, (replace(template, **lacking) if lacking else template)._wire)
    own = {"template_source", "template_destination", "template_family"} & given.keys()
    model.pair("source", "destination", [] if own else model.followers(0, "family"))
    if of_template:
        model.pair("template_source", "template_destination", model.followers(1, "template_family"))
    for name, column in POLICY_COLUMNS.items():
        if column.size != 16 and name not in _PAIRED and name.removesuffix("_mask") not in _MARKS:
            model.number(name)
    for side in ("source", "destination"):
        model.port_mask(f"{side}_port", f"{side}_port_mask")
    model.mark("mark")
    model.index()
    return model


_NUMBER_FIELDS = (
    "if_id",
    "cpu",
    "nat_keepalive_interval",
    "mapping_timer_threshold",
    "traffic_flow_padding",
    "last_used",
)
"""Fields of states that are one number in an attribute."""


def states(template: State, columns: Mapping[str, Any], interface_index: Callable[[str], int]) -> Model:
    """The states of columns. Raises ValidationError."""
    template = instance(template, State, "template")
    authentication = template.authentication
    algorithms = {
        "encryption_key": (template.encryption, uapi.XFRMA_ALG_CRYPT),
        "authentication_key": (
            authentication,
            uapi.XFRMA_ALG_AUTH_TRUNC if authentication and authentication.icv_bits else uapi.XFRMA_ALG_AUTH,
        ),
        "aead_key": (template.aead, uapi.XFRMA_ALG_AEAD),
    }
    sizes = {name: 0 if algorithm is None else len(algorithm.key) for name, (algorithm, _) in algorithms.items()}
    for name, size in sizes.items():
        if name in columns and not size:
            raise ValidationError(name, None, "is that of an algorithm which the template has no key for")
    given = _read(columns, STATE_COLUMNS, "states", sizes, interface_index)
    output_mark = template.output_mark
    lacking: dict[str, Any] = {
        name: 0 for name in _NUMBER_FIELDS if name in given and getattr(template, name) is None
    }
    if template.mark is None and {"mark", "mark_mask"} & given.keys():
        lacking["mark"] = Mark(0)
    if "output_mark_mask" in given:
        lacking["output_mark"] = Mark(0, 1)  # a mask of all ones would have no attribute
    elif "output_mark" in given and output_mark is None:
        lacking["output_mark"] = Mark(0)
    if template.direction is None and "direction" in given:
        lacking["direction"] = "in"
    if not template.extra_flags and "extra_flags" in given:
        lacking["extra_flags"] = 1
    if template.encapsulation is None and any(name.startswith("encapsulation_") for name in given):
        lacking["encapsulation"] = Encapsulation()
    # Made anew, also where nothing is lacking: one that was dumped may have attributes twice.
    model = Model(STATE_COLUMNS, given, replace(template, **lacking)._encoded(wire))
    if "output_mark_mask" in given and output_mark is not None:
        model.patch("output_mark", output_mark.value)
    families = model.pair("source", "destination", [])
    if template.encapsulation is not None and _INET6 in families:
        template.encapsulation._check(_INET6, "template.encapsulation")
    if template.care_of_address is not None and families - {int(template.family)}:
        rule = "is of another family than addresses of the columns"
        raise ValidationError("template.care_of_address", shown(template.care_of_address), rule)
    model.number("flags", fixed=(int(StateFlag.ESN), int(template.flags & StateFlag.ESN)))
    model.replay_window()
    for name, column in STATE_COLUMNS.items():
        if (
            column.size in (0, 16)
            or name in ("family", "flags", "replay_window")
            or name.removesuffix("_mask") in _MARKS
        ):
            continue
        model.number(name)
    for name in _MARKS:
        model.mark(name)
    for name, (_, attribute) in algorithms.items():
        model.key(name, attribute)
    return model


def load_columns(
    transport: Transport,
    items: Items,
    info: Callable[[], SpdInfo],
    wait: float | None,
    template: Any,
    columns: Mapping[str, Any],
    operation: Operation,
    on_error: OnError,
    batch: int,
    progress: Progress | None,
    timeout: float | None,
) -> LoadResult:
    """What `Spd.load_columns` and `Sad.load_columns` do. `wait` is for each wait, in seconds; the rest as there."""
    batch, timeout = check_options(operation, on_error, batch, progress, timeout)
    make: Callable[..., Model] = policies if items.value is Policy else states
    model = make(template, columns, transport.interface_index)
    one = Load(transport, items, info, operation, on_error, batch, progress, timeout, wait)
    one.total = model.rows
    blocks = model.blocks(items, operation, block_sizes(batch, progress))
    # Not in a thread: packing takes a hundredth of the kernel's time.
    with closing(blocks):  # what it made last may hold keys
        return one.run(blocks)

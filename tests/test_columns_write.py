# SPDX-License-Identifier: MIT
"""load_columns: what columns become is what objects would be, for every column and every form of input."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import sys
from array import array
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import nanoarrow
import numpy
import pytest
from by_columns import packed, policy_of, sent, state_of, views
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import U16, U32, U64, policies, prefixes

from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Family,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Message,
    Policy,
    ReplayState,
    Selector,
    Session,
    State,
    StateStatistics,
    Template,
    ValidationError,
    wire,
)
from xfrm_ext.testing import FakeTransport
from xfrm_ext.wire.columns_table import POLICY_COLUMNS, STATE_COLUMNS

replace: Any = dataclasses.replace  # of fields that are wider than what their constructor takes
ENDS = ("192.0.2.1", "198.51.100.2")
PLAIN = Policy(direction="out")
TUNNEL = Policy(
    Selector("10.1.0.0/16", "10.2.0.0/16"), direction="out", templates=[Template(*ENDS, mode="tunnel", reqid=7)]
)
AES = Algorithm("cbc(aes)", bytes(16))
SHA = AuthAlgorithm("hmac(sha256)", bytes(32))
STATE = State(*ENDS, spi=0x100, mode="tunnel", reqid=7, encryption=AES, authentication=SHA)
GCM = State(*ENDS, spi=0x100, mode="tunnel", aead=AeadAlgorithm("rfc4106(gcm(aes))", bytes(20)))


def rows_of(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns' rows."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def same_policies(template: Policy, columns: dict[str, list[Any]], given: dict[str, Any] | None = None) -> None:
    """The columns become what objects are."""
    expected = [policy_of(template, row)._wire for row in rows_of(columns)]
    messages = sent(template, **(columns if given is None else given))
    # A main type and a mark of mask 0 are sent where a column is of them; the kernel takes them for none.
    assert [wire.canonical_policies(one)[0] for one in messages] == expected


def same_states(template: State, columns: dict[str, list[Any]], given: dict[str, Any] | None = None) -> None:
    """The columns become what objects are."""
    expected = [state_of(template, row) for row in rows_of(columns)]
    messages = sent(template, **(columns if given is None else given))
    assert [State._from_message(one) for one in messages] == expected


# --- every column -----------------------------------------------------------------------------------------

U32S = [0, 1, 0xFFFFFFFF]
U64S = [0, 5, 2**64 - 1]
POLICY_VALUES: dict[str, list[Any]] = {
    "source": ["10.0.0.0/8", "10.255.0.1/32", "0.0.0.0/0"],
    "destination": ["10.0.0.0/9", "10.128.0.0/9", "192.0.2.1/32"],
    "protocol": [6, 17, 255],
    "source_port": [0, 1, 0xFFFF],
    "source_port_mask": [0, 0xFF00, 0xFFFF],
    "destination_port": [0, 80, 443],
    "destination_port_mask": [0, 0xFF00, 0xFFFF],
    "interface": [0, 1, 0x7FFFFFFF],
    "user": U32S,
    "direction": [0, 1, 2],
    "action": [0, 1, 0],
    "priority": U32S,
    "index": [0, 1 << 3 | 1, 0xFFFFFFF9],
    "flags": [0, 1, 7],
    "share": [0, 1, 3],
    "policy_type": [0, 1, 0],
    "mark": U32S,
    "mark_mask": [0, 0xFF, 0xFFFFFFFF],
    "if_id": U32S,
    **{field.name: U64S for field in fields(LifetimeConfig)},
    **{field.name: U64S for field in fields(LifetimeCurrent)},
    "template_source": ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
    "template_destination": ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
    "template_spi": U32S,
    "template_reqid": U32S,
    "template_protocol": [50, 51, 255],
    "template_mode": [0, 1, 4],
    "template_level": [0, 1, 0],
    "template_share": [0, 1, 3],
    "template_aalgos": U32S,
    "template_ealgos": U32S,
    "template_calgos": U32S,
}
PAIRED = {"family", "source_prefix_length", "destination_prefix_length", "template_family"}
"""Tested with the addresses that they are of."""


def test_every_column_of_policies_is_listed() -> None:
    assert POLICY_VALUES.keys() | PAIRED == POLICY_COLUMNS.keys()


@pytest.mark.parametrize(("kind", "table"), [("policies", POLICY_COLUMNS), ("states", STATE_COLUMNS)])
def test_the_page_names_every_column(kind: str, table: Any) -> None:
    page = (Path(__file__).parent.parent / "docs" / "columns_write.md").read_text(encoding="utf-8")
    lines = page.partition(f"| columns to load {kind} |")[2].partition("\n\n")[0].splitlines()
    named = [name for line in lines[2:] for name in re.findall("`([a-z_]+)`", line.split("|")[1])]
    assert sorted(named) == sorted(table)


@pytest.mark.parametrize("name", POLICY_VALUES)
def test_each_column_of_policies(name: str) -> None:
    same_policies(TUNNEL, {name: POLICY_VALUES[name]})


def test_all_columns_of_policies_at_once() -> None:
    columns = {name: POLICY_VALUES[name] for name in POLICY_VALUES}
    columns["index"] = [8, 9, 10]
    columns["direction"] = [0, 1, 2]
    same_policies(TUNNEL, columns)


@pytest.mark.parametrize("name", POLICY_VALUES)
def test_each_column_of_policies_as_one_value(name: str) -> None:
    for value in POLICY_VALUES[name]:
        given = {name: value, "priority": [1, 2]} if name != "priority" else {name: value, "user": [1, 2]}
        other = "user" if name == "priority" else "priority"
        same_policies(TUNNEL, {name: [value, value], other: [1, 2]}, given)


def test_bytes_are_exactly_those_of_objects() -> None:
    values = {
        "destination": ["10.0.0.1", "10.0.0.2"],
        "priority": [1, 2],
        "template_reqid": [3, 4],
        "if_id": [5, 6],
    }
    assert sent(TUNNEL, **values) == [policy_of(TUNNEL, row)._wire for row in rows_of(values)]


STATE_VALUES: dict[str, list[Any]] = {
    "source": ["192.0.2.7", "192.0.2.8", "0.0.0.0"],
    "destination": ["192.0.2.7", "192.0.2.8", "192.0.2.9"],
    "spi": U32S,
    "protocol": [50, 51, 108],
    "mode": [0, 1, 4],
    "reqid": U32S,
    "sequence": U32S,
    "replay_window": [0, 1, 32],
    "flags": [0, 1, 0x7F],
    "extra_flags": [1, 2, 3],
    "if_id": U32S,
    "mark": [1, 5, 0xFFFFFFFF],
    "mark_mask": [1, 0xFF, 0xFFFFFFFF],
    "output_mark": U32S,
    "output_mark_mask": [1, 0xFF, 0xFFFFFFF0],
    "direction": [1, 2, 1],
    "cpu": U32S,
    "nat_keepalive_interval": U32S,
    "mapping_timer_threshold": U32S,
    "traffic_flow_padding": U32S,
    "last_used": U64S,
    **{field.name: U64S for field in fields(LifetimeConfig)},
    **{field.name: U64S for field in fields(LifetimeCurrent)},
    **{f"statistics_{field.name}": U32S for field in fields(StateStatistics)},
    "encapsulation_type": [1, 2, 7],
    "encapsulation_source_port": [0, 4500, 0xFFFF],
    "encapsulation_destination_port": [0, 4500, 0xFFFF],
    "encryption_key": [bytes([n] * 16) for n in (1, 2, 3)],
    "authentication_key": [bytes([n] * 32) for n in (1, 2, 3)],
}


def test_every_column_of_states_is_listed() -> None:
    assert STATE_VALUES.keys() | {"family", "aead_key"} == STATE_COLUMNS.keys()


@pytest.mark.parametrize("name", STATE_VALUES)
def test_each_column_of_states(name: str) -> None:
    same_states(STATE, {name: STATE_VALUES[name]})


def test_all_columns_of_states_at_once() -> None:
    same_states(STATE, STATE_VALUES)


def test_bytes_are_exactly_those_of_states() -> None:
    values = {"spi": [1, 2], "destination": ["192.0.2.7", "192.0.2.8"], "mark": [3, 4], "reqid": [3, 4]}
    assert sent(STATE, **values) == [bytes(state_of(STATE, row)._wire) for row in rows_of(values)]


def test_the_key_of_an_aead() -> None:
    same_states(GCM, {"spi": [1, 2], "aead_key": [b"k" * 20, b"l" * 20]})


def test_the_key_of_an_authentication_whose_check_value_the_kernel_picks() -> None:
    template = replace(STATE, authentication=AuthAlgorithm("hmac(sha256)", bytes(32), 0))
    same_states(template, {"authentication_key": [b"k" * 32, b"l" * 32]})


def test_marks_of_the_template_stay() -> None:
    marked = replace(TUNNEL, mark=Mark(0x12, 0xFF))
    same_policies(marked, {"mark": [0x101, 2]})
    same_policies(marked, {"mark_mask": [0xF0, 0x0F]})
    state = replace(STATE, output_mark=Mark(0x12))
    same_states(state, {"output_mark_mask": [0xF0, 0x0F]})
    same_states(replace(STATE, output_mark=Mark(0x12, 0xFF)), {"output_mark": [0xF01, 0x0F]})


def test_windows_and_extended_sequence_numbers() -> None:
    extended = replace(STATE, replay_window=128, flags="esn")
    same_states(extended, {"replay_window": [97, 100, 128]})
    same_states(extended, {"flags": [0x80, 0x81]})
    same_states(replace(STATE, replay=ReplayState(1, 2)), {"replay_window": [1, 2]})


def test_names_of_members() -> None:
    given = {"direction": ["in", "out", "fwd"], "action": "block", "template_mode": ("tunnel", "beet", "transport")}
    same_policies(
        TUNNEL, {"direction": [0, 1, 2], "action": [1] * 3, "template_mode": [1, 4, 0]}, {**given, "index": 0}
    )
    same_policies(
        PLAIN,
        {"protocol": [6, 17], "flags": [1, 3]},
        {"protocol": ["tcp", 17], "flags": ["localok", ["localok", 2]]},
    )
    same_policies(PLAIN, {"hard_byte_limit": [2**64 - 1, 5]}, {"hard_byte_limit": [None, 5]})


def test_names_of_interfaces() -> None:
    transport = FakeTransport(lambda message: None, interfaces={"eth0": 7})
    with Session(transport=transport) as session:
        session.spd.load_columns(PLAIN, interface=["eth0", 3])
    assert [Policy._from_wire(one).selector.interface for one in transport.sent[-2:]] == [7, 3]


def test_reqid_is_that_of_the_template() -> None:
    same_policies(TUNNEL, {"template_reqid": [1, 2]}, {"reqid": [1, 2]})


# --- every form of input ----------------------------------------------------------------------------------

NUMBERS = [3, 200, 77]
SWAPPED = ">" if sys.byteorder == "little" else "<"


def strided(values: Any) -> Any:
    """The same values, every second one of an array."""
    whole = numpy.zeros(2 * len(values), values.dtype)
    whole[::2] = values
    return whole[::2]


def arrow(kind: Any) -> Callable[[list[Any]], Any]:
    return lambda values: nanoarrow.Array(values, kind)


def chunked(kind: Any) -> Callable[[list[Any]], Any]:
    return lambda values: nanoarrow.Array.from_chunks([values[:1], [], values[1:]], kind)


NUMBER_FORMS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": lambda values: memoryview(array("I", values)),
    "strided memoryview": lambda values: memoryview(array("I", [n for one in values for n in (one, 0)]))[::2],
    "list of numpy's": lambda values: list(numpy.array(values)),
    **{f"array {code}": partial(array, code) for code in "BhHiIlLqQ"},
    **{
        f"numpy {code}": partial(numpy.array, dtype=code)
        for code in ("u1", "i2", "u2", "i4", "u4", "i8", "u8", f"{SWAPPED}u2", f"{SWAPPED}i4", f"{SWAPPED}u8")
    },
    "strided numpy": lambda values: strided(numpy.array(values, "u4")),
    "reversed numpy": lambda values: numpy.array(values[::-1], "u4")[::-1],
    "read-only numpy": lambda values: numpy.frombuffer(array("I", values).tobytes(), "u4"),
    "numpy field": lambda values: numpy.array([(0, one, "x") for one in values], "u1,u4,U3")["f1"],
    "arrow u8": arrow(nanoarrow.uint8()),
    "arrow i16": arrow(nanoarrow.int16()),
    "arrow u32": arrow(nanoarrow.uint32()),
    "arrow i64": arrow(nanoarrow.int64()),
    "arrow slice": lambda values: nanoarrow.c_array([0, *values, 0], nanoarrow.uint32())[1:-1],
    "arrow chunks": chunked(nanoarrow.uint32()),
}


@pytest.mark.parametrize("form", NUMBER_FORMS)
@pytest.mark.parametrize("name", ["priority", "source_port", "protocol", "hard_byte_limit", "template_spi", "mark"])
def test_numbers_in_each_form(name: str, form: str) -> None:
    same_policies(TUNNEL, {name: NUMBERS}, {name: NUMBER_FORMS[form](NUMBERS)})


def test_a_range() -> None:
    same_policies(TUNNEL, {"priority": list(range(10, 40, 10))}, {"priority": range(10, 40, 10)})


HOSTS = ["10.0.0.1", "192.0.2.200", "255.255.255.255"]
HOSTS6 = ["2001:db8::1", "::", "fe80::ffff:1"]
PREFIXES = ["10.0.0.0/8", "192.0.2.1", "0.0.0.0/0"]
MIXED = ["10.0.0.0/8", "2001:db8::/32", "2001:db8::1"]
TEXT_FORMS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "objects": lambda values: [
        ipaddress.ip_network(one) if "/" in one else ipaddress.ip_address(one) for one in values
    ],
    "objects and text": lambda values: [ipaddress.ip_network(values[0]), *values[1:]],
    "lines": "\n".join,
    "ended lines": lambda values: "".join(f"{one}\n" for one in values),
    "numpy U": numpy.array,
    "numpy swapped U": lambda values: numpy.array(values).astype(f"{SWAPPED}U20"),
    "numpy S": lambda values: numpy.array(values, "S"),
    "strided numpy U": lambda values: strided(numpy.array(values)),
    "arrow string": arrow(nanoarrow.string()),
    "arrow large string": arrow(nanoarrow.large_string()),
    "arrow string view": lambda values: views(values, 0),
    "arrow slice of views": lambda values: views(["x", "a text of more than twelve bytes", *values], 2),
    "arrow slice": lambda values: nanoarrow.c_array(["x", *values, "y"], nanoarrow.string())[1:-1],
    "arrow chunks": chunked(nanoarrow.string()),
}


@pytest.mark.parametrize("values", [PREFIXES, MIXED, HOSTS6], ids=["ipv4", "both", "ipv6"])
@pytest.mark.parametrize("form", TEXT_FORMS)
def test_prefixes_as_text_in_each_form(form: str, values: list[str]) -> None:
    if form.startswith("objects and"):
        values = [*values[:2], *values[1:]]
    same_policies(PLAIN, {"destination": values}, {"destination": TEXT_FORMS[form](values)})


@pytest.mark.parametrize("form", TEXT_FORMS)
def test_addresses_as_text_in_each_form(form: str) -> None:
    values = ["192.0.2.1", "198.51.100.255", "0.0.0.0"]
    given = list(map(ipaddress.ip_address, values)) if form.startswith("objects") else TEXT_FORMS[form](values)
    same_states(STATE, {"source": values}, {"source": given})
    same_policies(TUNNEL, {"template_destination": values}, {"template_destination": given})


def rows_of_bytes(values: list[str]) -> Any:
    return numpy.frombuffer(b"".join(map(packed, values)), "u1").reshape(len(values), -1)


def number(text: str) -> int:
    return int(ipaddress.IPv4Address(text))


def numbers(code: str, values: list[str]) -> Any:
    return numpy.array(list(map(number, values)), code)


PACKED_FORMS: dict[str, Callable[[list[str]], Any]] = {
    "numpy rows": rows_of_bytes,
    "strided numpy rows": lambda values: numpy.repeat(rows_of_bytes(values), 2, 0)[::2],
    "numpy V": lambda values: numpy.frombuffer(b"".join(map(packed, values)), f"V{len(packed(values[0]))}"),
    "flat bytes": lambda values: b"".join(map(packed, values)),
    "flat bytearray": lambda values: bytearray(b"".join(map(packed, values))),
    "flat numpy": lambda values: rows_of_bytes(values).reshape(-1),
    "memoryview": lambda values: memoryview(b"".join(map(packed, values))).cast("B", (3, len(packed(values[0])))),
    "arrow bytes": lambda values: nanoarrow.Array(
        list(map(packed, values)), nanoarrow.fixed_size_binary(len(packed(values[0])))
    ),
    "arrow chunks": lambda values: chunked(nanoarrow.fixed_size_binary(len(packed(values[0]))))(
        list(map(packed, values))
    ),
}
NUMBER4_FORMS: dict[str, Callable[[list[str]], Any]] = {
    "list of numbers": lambda values: list(map(number, values)),
    **{f"numpy {code}": partial(numbers, code) for code in ("u4", "i8", f"{SWAPPED}u4")},
    "array": lambda values: array("I", map(number, values)),
    "list of numpy's": lambda values: list(numpy.array(list(map(number, values)), "u4")),
    "arrow": lambda values: nanoarrow.Array(list(map(number, values)), nanoarrow.uint32()),
}


@pytest.mark.parametrize("form", PACKED_FORMS | NUMBER4_FORMS)
def test_packed_ipv4_in_each_form(form: str) -> None:
    make = (PACKED_FORMS | NUMBER4_FORMS)[form]
    same_policies(
        PLAIN, {"destination": HOSTS, "priority": [1, 2, 3]}, {"destination": make(HOSTS), "priority": [1, 2, 3]}
    )
    same_states(STATE, {"destination": HOSTS, "spi": [1, 2, 3]}, {"destination": make(HOSTS), "spi": [1, 2, 3]})
    nets = ["10.0.0.0", "192.0.2.128", "0.0.0.0"]
    texts = ["10.0.0.0/8", "192.0.2.128/25", "0.0.0.0/0"]
    same_policies(PLAIN, {"source": texts}, {"source": make(nets), "source_prefix_length": [8, 25, 0]})


@pytest.mark.parametrize("form", PACKED_FORMS)
def test_packed_ipv6_in_each_form(form: str) -> None:
    make = PACKED_FORMS[form]
    same_policies(
        PLAIN, {"destination": HOSTS6, "priority": [1, 2, 3]}, {"destination": make(HOSTS6), "priority": [1, 2, 3]}
    )
    state = replace(STATE, source="2001:db8::1", destination="2001:db8::2", family=None)
    same_states(state, {"destination": HOSTS6, "spi": [1, 2, 3]}, {"destination": make(HOSTS6), "spi": [1, 2, 3]})
    texts = ["2001:db8::/32", "::/0", "fe80::1:0/112"]
    nets = [one.partition("/")[0] for one in texts]
    same_policies(PLAIN, {"source": texts}, {"source": make(nets), "source_prefix_length": bytes([32, 0, 112])})


def padded(values: list[str]) -> Any:
    return numpy.array([list(packed(one).ljust(16, b"\0")) for one in values], "u1")


def test_rows_of_16_bytes_with_their_families() -> None:
    """What dump_columns gives can be given back."""
    texts = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]
    addresses, lengths = [one.partition("/")[0] for one in texts], [8, 32, 32]
    given = {
        "source": padded(addresses),
        "source_prefix_length": lengths,
        "destination": padded(["10.0.0.1", "::", "0.0.0.0"]),
        "destination_prefix_length": [32, 0, 0],
        "family": numpy.array([2, 10, 2], "u2"),
    }
    same_policies(PLAIN, {"source": texts, "destination": ["10.0.0.1", "::/0", "0.0.0.0/0"]}, given)
    whole = {"source": padded(addresses), "family": ["inet", "inet6", 2]}
    same_policies(PLAIN, {"source": ["10.0.0.0", "2001:db8::", "192.0.2.1"]}, whole)
    state = replace(STATE, source=None, destination=None)
    same_states(state, {"source": addresses}, {"source": padded(addresses), "family": [2, 10, 2]})
    same_policies(
        replace(TUNNEL, templates=[Template(mode="tunnel")]),
        {"template_source": addresses},
        {"template_source": padded(addresses), "template_family": [2, 10, 2]},
    )
    one_family = {"source": padded(["10.0.0.1", "10.0.0.2"]), "family": 2}
    same_policies(PLAIN, {"source": ["10.0.0.1", "10.0.0.2"]}, one_family)


def test_a_family_alone() -> None:
    messages = sent(PLAIN, family=[2, 10, 2])
    expected = [Policy(Selector(family=family), direction="out")._wire for family in (2, 10, 2)]
    assert messages == expected
    assert sent(PLAIN, family="inet6", priority=[0])[0] == expected[1]


def test_prefix_lengths_alone() -> None:
    same_policies(
        TUNNEL, {"source": ["10.1.0.0/16", "10.1.0.0/32"]}, {"source_prefix_length": array("B", [16, 32])}
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
        (0x0A000001, "10.0.0.1"),
        (numpy.uint32(0x0A000001), "10.0.0.1"),
    ],
)
def test_one_address_for_all_rows(value: Any, text: str) -> None:
    same_policies(PLAIN, {"source": [text, text], "priority": [1, 2]}, {"source": value, "priority": [1, 2]})


def test_one_number_for_all_rows() -> None:
    for value in (5, numpy.int64(5), numpy.array(5)):
        same_policies(PLAIN, {"priority": [5, 5], "user": [1, 2]}, {"priority": value, "user": [1, 2]})


def test_templates_without_addresses() -> None:
    """They get the family of what they see, as in a policy made of the same texts."""
    template = Template(protocol="esp", reqid=1)
    fixed = Template("192.0.2.1", "192.0.2.2", mode="tunnel")
    for templates in ([template], [template, template], [template, fixed, template], [fixed, template]):
        model = Policy(direction="out", templates=templates)
        expected = [Policy(Selector(None, one), direction="out", templates=templates)._wire for one in MIXED]
        assert sent(model, destination=MIXED) == expected
        assert sent(model, destination=MIXED[1:]) == expected[1:]
    texts = ["192.0.2.1", "2001:db8::1"]
    expected = [
        Policy(direction="out", templates=[Template(one, one, mode="tunnel"), template])._wire for one in texts
    ]
    model = Policy(direction="out", templates=[Template(mode="tunnel"), template])
    assert sent(model, template_source=texts, template_destination=texts) == expected


def test_updates_and_deletions() -> None:
    columns: dict[str, Any] = {"destination": ["10.0.0.1", "10.0.0.2"], "reqid": [1, 2]}
    added = sent(TUNNEL, **columns)
    retyped = bytearray(b"".join(added))
    wire.retype(retyped, Message.UPDPOLICY)
    assert b"".join(sent(TUNNEL, operation="update", **columns)) == retyped
    assert b"".join(sent(TUNNEL, operation="delete", **columns)) == wire.delete_messages(b"".join(added), 2, False)
    added = sent(STATE, **columns)
    retyped = bytearray(b"".join(added))
    wire.retype(retyped, Message.UPDSA)
    assert b"".join(sent(STATE, operation="update", **columns)) == retyped
    assert b"".join(sent(STATE, operation="delete", **columns)) == wire.delete_state_messages(b"".join(added))


def test_many_rows_in_whole_sends() -> None:
    calls: list[tuple[int, int | None]] = []
    transport = FakeTransport(lambda message: None)
    with Session(transport=transport) as session:
        result = session.spd.load_columns(
            PLAIN, priority=range(10_000), batch=300, progress=lambda done, total: calls.append((done, total))
        )
    assert (len(result.applied), result.taken) == (10_000, 10_000)
    assert calls[-1] == (10_000, 10_000)
    priorities = [Policy._from_wire(one).priority for one in transport.sent if one[4] == Message.NEWPOLICY]
    assert priorities == list(range(10_000))


NO_ROWS: list[tuple[str, Any]] = [
    ("priority", []),
    ("priority", ()),
    ("priority", b""),
    ("priority", numpy.zeros(0, "u4")),
    ("priority", array("I")),
    ("priority", range(0)),
    ("priority", nanoarrow.c_array([], nanoarrow.uint32())),
    ("destination", []),
    ("destination", numpy.zeros((0, 4), "u1")),
    ("destination", numpy.zeros((0, 16), "u1")),
    ("destination", nanoarrow.c_array([], nanoarrow.string())),
]


@pytest.mark.parametrize(("name", "empty"), NO_ROWS)
def test_no_rows(name: str, empty: Any) -> None:
    assert sent(PLAIN, **{name: empty}, user=3) == []


ODD_TEXTS = st.one_of(
    st.text("0123456789./", max_size=20),
    st.text("0123456789abcdef:./ ", max_size=30),
    st.lists(st.integers(0, 300).map(str), min_size=3, max_size=5).map(".".join),
    st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 33)),
    st.builds("{}/{}".format, prefixes(4), st.sampled_from(["", "8", "255.0.0.0"])),
    prefixes(4).map(str),
    prefixes(6).map(str),
)


@pytest.mark.parametrize("form", ["list", "lines", "numpy U", "arrow string"])
@given(text=ODD_TEXTS)
def test_texts_are_read_as_selectors_read_them(form: str, text: str) -> None:
    try:
        expected: str | None = Selector(None, text).destination
    except ValidationError:
        expected = None
    columns = TEXT_FORMS[form](["10.0.0.0/8", text, "10.0.0.0/8"])
    try:
        found: str | None = Policy._from_wire(sent(PLAIN, destination=columns)[1]).selector.destination
    except ValidationError as error:
        found = None if error.field == "destination[1]" else str(error)
    assert found == expected


# --- any rows ---------------------------------------------------------------------------------------------

DRAWN = {
    "protocol": st.integers(0, 255),
    "source_port": U16,
    "destination_port": U16,
    "destination_port_mask": U16,
    "interface": st.integers(0, 2**31 - 1),
    "user": U32,
    "action": st.integers(0, 1),
    "priority": U32,
    "share": st.integers(0, 3),
    "policy_type": st.integers(0, 1),
    "mark": U32,
    "mark_mask": U32,
    "if_id": U32,
    "hard_byte_limit": U64,
    "use_time": U64,
    "template_reqid": U32,
    "template_spi": U32,
    "template_mode": st.integers(0, 5),
}


@given(policies(), st.data())
@settings(max_examples=100)
def test_rows_are_objects(template: Policy, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 40))
    names = data.draw(st.sets(st.sampled_from(sorted(DRAWN)), min_size=1))
    if not template.templates:
        names = {name for name in names if not name.startswith("template_")} or {"priority"}
    columns: dict[str, list[Any]] = {
        name: data.draw(st.lists(DRAWN[name], min_size=count, max_size=count)) for name in sorted(names)
    }
    # Of any family, if the policy's templates do not follow it.
    versions = [4, 6] if all(one.source not in ("0.0.0.0", "::") for one in template.templates) else []
    versions = versions or [4 if template.selector.family == Family.INET else 6]
    rows = [data.draw(st.sampled_from(versions)) for _ in range(count)]
    for side in ("source", "destination"):
        columns[side] = [str(data.draw(prefixes(version))) for version in rows]
    same_policies(template, columns)
    as_arrays = {name for name in columns if name in DRAWN and data.draw(st.booleans())}
    given = {name: numpy.array(each, "u8") if name in as_arrays else each for name, each in columns.items()}
    same_policies(template, columns, given)

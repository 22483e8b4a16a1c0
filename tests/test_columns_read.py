# SPDX-License-Identifier: MIT
"""dump_columns: every column is what the fields of the objects are, for recorded messages, messages that hypothesis
makes, and those of the kernel; and damaged messages are refused where `dump` refuses them."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from by_hand import attribute, esn, header, message, userpolicy, usersa
from columns_of import check
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import policies, states
from test_bulk import host
from test_c_sources import COMPILER, ENVIRONMENT, ROOT
from test_docs import rows_under
from test_policy_rows import wait_for
from vectors import NEWPOLICY, NEWSA, UPDPOLICY, UPDSA, messages, records

from xfrm_ext import (
    Columns,
    LifetimeConfig,
    Mark,
    Policy,
    ProtocolError,
    Selector,
    Session,
    State,
    StateCounters,
    Template,
    ValidationError,
    XfrmError,
)
from xfrm_ext._native import ffi, lib
from xfrm_ext.codec import native
from xfrm_ext.columns_read import Selection
from xfrm_ext.constants import uapi
from xfrm_ext.testing import FakeTransport, inside
from xfrm_ext.wire import policy_dump_request
from xfrm_ext.wire.columns_read import Reader


def counts(policies: int, states: int) -> dict[int, bytes]:
    """The kernel's answers to GETSPDINFO and GETSADINFO."""
    spd = struct.pack("=I", 0) + attribute(uapi.XFRMA_SPD_INFO, struct.pack("=6I", policies, 0, 0, 0, 0, 0))
    sad = struct.pack("=I", 0) + attribute(uapi.XFRMA_SAD_CNT, struct.pack("=I", states))
    return {
        uapi.XFRM_MSG_GETSPDINFO: header(uapi.XFRM_MSG_NEWSPDINFO, len(spd), 0) + spd,
        uapi.XFRM_MSG_GETSADINFO: header(uapi.XFRM_MSG_NEWSADINFO, len(sad), 0) + sad,
    }


def kernel(blocks: Iterable[bytes], expected: int = 0, codec: str | None = None) -> Session:
    """A session with a kernel that dumps these blocks, and says that it has so many policies and states."""
    answers, listed = counts(expected, expected), list(blocks)
    transport = FakeTransport(lambda request: answers.get(request[4], listed))
    return Session(transport=transport, codec=codec)


def aligned(message: bytes) -> bytes:
    return message + bytes(-len(message) % 4)


# --- against objects --------------------------------------------------------------------------------------


def recorded(kinds: tuple[int, ...], *names: str) -> list[bytes]:
    """All recorded replies and requests of some types."""
    found = []
    for record in (one for name in names for one in records(name)):
        datagrams = record["sent"] if "sent" in record else [data for data, _ in record["datagrams"]]
        for data in [datagrams] if isinstance(datagrams, str) else datagrams:
            found += [aligned(one) for one in messages(bytes.fromhex(data)) if one[4] in kinds]
    return found


POLICIES = recorded((NEWPOLICY, UPDPOLICY), "replies", "requests")
STATES = recorded((NEWSA, UPDSA), "other_replies", "other_requests")


def in_blocks(parts: list[bytes], size: int) -> list[bytes]:
    return [b"".join(parts[start : start + size]) for start in range(0, len(parts), size)]


@pytest.mark.parametrize("size", [1, 7, 32, 33, 10_000])
def test_recorded_policies(size: int) -> None:
    assert len(POLICIES) > 1300
    with kernel(in_blocks(POLICIES, size), len(POLICIES) if size < 32 else 0) as session:
        found = list(session.spd.dump())
        assert {len(policy.templates) for policy in found} >= {0, 1, 2, 6}
        check(found, session.spd.dump_columns(), session.spd.dump_columns(text=True), bytes_too=False)


@pytest.mark.parametrize("size", [1, 7, 32, 33, 10_000])
def test_recorded_states(size: int) -> None:
    assert len(STATES) > 300
    with kernel(in_blocks(STATES, size), len(STATES) if size < 32 else 0) as session:
        found = list(session.sad.dump())
        check(found, session.sad.dump_columns(), session.sad.dump_columns(text=True), bytes_too=False)


@pytest.mark.parametrize("codec", ["native", "pure"])
def test_counters_are_those_of_the_objects(codec: str) -> None:
    with kernel(in_blocks(STATES, 50), codec=codec) as session:
        found, counters = list(session.sad.dump()), list(session.sad.counters())
    assert len(counters) == len(found) == len(STATES)
    for state, counted in zip(found, counters, strict=True):
        told = {
            name: getattr(state, name) for name in ("source", "destination", "spi", "protocol", "mode", "reqid")
        }
        used = {name: getattr(state.current, name) for name in ("bytes", "packets", "add_time", "use_time")}
        refused = {
            name: getattr(state.statistics, name) for name in ("replay_window", "replay", "integrity_failed")
        }
        assert counted == StateCounters(
            **told,
            **used,
            **refused,
            mark=state.mark if state.mark and state.mark.mask else None,
            if_id=state.if_id or None,
            direction=state.direction or None,
            last_used=state.last_used or None,
        )


@settings(max_examples=60)
@given(st.lists(policies(), max_size=6), st.integers(1, 8), st.integers(0, 8))
def test_policies_of_all_kinds(listed: list[Policy], size: int, expected: int) -> None:
    with kernel(in_blocks([native.encode(policy) for policy in listed], size), expected) as session:
        check(listed, session.spd.dump_columns(), session.spd.dump_columns(text=True))


@settings(max_examples=60)
@given(st.lists(states(), max_size=4), st.integers(1, 5), st.integers(0, 5))
def test_states_of_all_kinds(listed: list[State], size: int, expected: int) -> None:
    with kernel(in_blocks([bytes(native.encode(state)) for state in listed], size), expected) as session:
        check(listed, session.sad.dump_columns(), session.sad.dump_columns(text=True))


# --- the kernel -------------------------------------------------------------------------------------------

TUNNEL = Template("192.0.2.1", "198.51.100.2", mode="tunnel", reqid=7, spi=0x1234)
OPTIONAL = Template(mode="transport", protocol="comp", level="use", share="unique", reqid=9, family="inet")
TUNNEL6 = Template("2001:db8::1", "2001:db8::2", protocol="ah", mode="tunnel", reqid=8)
ADDED = [
    Policy(direction="in"),
    Policy(Selector("10.0.0.0/8", "10.1.2.3"), direction="out", priority=5, templates=[TUNNEL]),
    Policy(Selector("10.1.2.3", "10.0.0.0/8"), direction="in", templates=[OPTIONAL, TUNNEL]),
    Policy(Selector("2001:db8::/32", None), direction="fwd", templates=[TUNNEL6, TUNNEL], if_id=9, index=2 | 800),
    Policy(
        Selector("10.9.0.0/16", "10.8.0.0/13", protocol="tcp", source_port=80, destination_port=443, user=1000),
        direction="in",
        action="block",
        priority=0xFFFFFFFF,
        flags=["localok", "icmp"],
        mark=Mark(0x1200, 0xFF00),
        lifetime=LifetimeConfig(hard_byte_limit=2**63, soft_packet_limit=5, hard_use_expires_seconds=3600),
    ),
    Policy(Selector(interface=1), direction="out", policy_type="sub"),
]


def test_policies_of_the_kernel(session: Session) -> None:
    for policy in ADDED:
        session.spd.add(policy)
    found = list(session.spd.dump())
    assert len(found) == len(ADDED)
    check(found, session.spd.dump_columns(), session.spd.dump_columns(text=True))


def test_none_at_all(session: Session) -> None:
    check([], session.spd.dump_columns(), session.spd.dump_columns(text=True))
    columns = session.spd.dump_columns(["source"], text=True)
    assert (columns.rows, columns["source"]) == (0, [])


MANY = 2000


@pytest.fixture
def many(session: Session) -> Session:
    """A session with more policies than one datagram holds."""
    session.spd.load(
        Policy(
            Selector(None, f"10.{number >> 8}.{number & 255}.1"),
            direction="out",
            priority=number,
            templates=[TUNNEL],
        )
        for number in range(MANY)
    )
    return session


def test_several_datagrams(many: Session) -> None:
    found = list(many.spd.dump())
    check(found, many.spd.dump_columns(), many.spd.dump_columns(text=True))
    assert many.spd.dump_columns(["priority"])["priority"].tolist() == list(range(MANY - 1, -1, -1))


def test_blocks_that_a_thread_receives(session: Session) -> None:
    """From the second large block on."""
    session.spd.load(host(number) for number in range(20_000))
    found = list(session.spd.dump())
    threads = len(os.listdir("/proc/self/task"))
    check(found, session.spd.dump_columns(), session.spd.dump_columns(text=True))
    wait_for(lambda: len(os.listdir("/proc/self/task")) <= threads)


def test_a_block_out_of_the_thread_that_can_not_be_decoded(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.spd.load(host(number) for number in range(20_000))
    prepare, sizes = Reader.prepare, []

    def prepare_too_little(self: Reader, size: int) -> Any:
        decoded, argument = prepare(self, size)
        sizes.append(size)
        if len(sizes) == 5:
            self._native.capacity = self._native.rows
        return decoded, argument

    monkeypatch.setattr(Reader, "prepare", prepare_too_little)
    with pytest.raises(XfrmError):
        session.spd.dump_columns()
    assert len(sizes) == 5
    assert session.spd.dump_columns().rows == 20_000


def test_more_than_there_was_room_for(many: Session) -> None:
    """Policies are added while the kernel dumps: nobody knows before how many there will be."""

    def growing(decoder: Any) -> Iterator[None]:
        for number, _ in enumerate(many._dump_decoded(policy_dump_request(), "dump policies", decoder)):
            yield
            more = [Selector(None, f"11.{number}.{one}.1") for one in range(40)]
            many.spd.load(Policy(selector, direction="out", priority=MANY) for selector in more)

    columns = Selection(["priority", "source"], True, states=False).read(growing, 1)
    assert [one for one in columns["priority"].tolist() if one < MANY] == list(range(MANY - 1, -1, -1))
    assert len(columns["source"]) == columns.rows


FLOOR_FIELDS = [
    *("source", "destination", "source_prefix_length", "destination_prefix_length", "family", "protocol"),
    *("source_port", "destination_port", "direction", "priority", "index", "mark", "if_id"),
    *("template_source", "template_destination", "template_reqid"),
]


def test_the_floor_fills_the_same(many: Session, namespace: int, tmp_path: Path) -> None:
    """The C program that dump_columns is measured against, which shares no code with it."""
    for policy in ADDED:
        many.spd.add(policy)
    source = ROOT / "benchmarks" / "dump_floor.c"
    program = tmp_path / "dump_floor"
    subprocess.run([COMPILER, "-O2", "-o", program, source], check=True, env=ENVIRONMENT)
    with inside(namespace):
        printed = json.loads(subprocess.run([program], check=True, capture_output=True, env=ENVIRONMENT).stdout)
    columns = many.spd.dump_columns(FLOOR_FIELDS)
    assert printed["messages"] == columns.rows == MANY + len(ADDED)
    assert printed["sum"] == sum(sum(column.tobytes()) for column in columns.values())


# --- what is asked for ------------------------------------------------------------------------------------


def test_names_in_the_order_asked_for(many: Session) -> None:
    columns = many.spd.dump_columns(["reqid", "destination", "source_prefix_length", "template_reqid"], text=True)
    assert list(columns) == ["reqid", "destination", "source_prefix_length", "template_reqid"]
    assert len(columns) == 4
    assert columns["destination"][:2] == ["10.7.207.1/32", "10.7.206.1/32"]
    assert columns["reqid"].tolist() == columns["template_reqid"].tolist() == [7] * MANY
    assert columns["source_prefix_length"].tolist() == [0] * MANY
    with pytest.raises(KeyError):
        columns["source"]


def test_no_names() -> None:
    with kernel([POLICIES[0] * 3]) as session:
        columns = session.spd.dump_columns([])
    assert (columns.rows, dict(columns)) == (3, {})


@pytest.mark.parametrize(
    ("fields", "value", "rule"),
    [
        (["priority", "prio"], "'prio'", "is not the name of a column that policies have"),
        (["spi"], "'spi'", "is not the name of a column that policies have"),
        (["priority", 7], "7", "is not the name of a column that policies have"),
        (["priority", "priority"], "'priority'", "is given twice"),
        ("priority", "'priority'", "is not several names of columns"),
        (7, "7", "is not several names of columns"),
    ],
)
def test_bad_fields(fields: Any, value: str, rule: str) -> None:
    with kernel([]) as session, pytest.raises(ValidationError) as caught:
        session.spd.dump_columns(fields)
    assert (caught.value.field, caught.value.value, caught.value.rule) == ("fields", value, rule)


@pytest.mark.parametrize("name", ["encryption_key", "authentication_key", "aead_key", "template_reqid", "reqids"])
def test_what_states_do_not_have(name: str) -> None:
    with kernel([]) as session, pytest.raises(ValidationError, match="not the name of a column that states have"):
        session.sad.dump_columns([name])


def test_text_is_yes_or_no() -> None:
    with kernel([]) as session, pytest.raises(ValidationError, match="text: 1 is not True or False"):
        session.spd.dump_columns(text=1)  # type: ignore[arg-type]


def test_nothing_is_sent_for_bad_input() -> None:
    transport = FakeTransport(lambda request: None)
    with Session(transport=transport) as session:
        with pytest.raises(ValidationError, match="fields"):
            session.spd.dump_columns(["no"])
        with pytest.raises(ValidationError, match="fields"):
            session.sad.dump_columns(["no"])
        with pytest.raises(ValidationError, match="protocol"):
            session.sad.dump_columns(protocol="no")
    assert transport.sent == []


@pytest.mark.parametrize("which", ["policies", "states"])
def test_all_columns_are_in_the_documentation(which: str) -> None:
    with kernel([]) as session:
        columns = session.spd.dump_columns() if which == "policies" else session.sad.dump_columns()
    rows = rows_under(ROOT / "docs" / "columns_read.md", f"| columns of {which} |")
    assert sorted(name for row in rows for name in row[0].split(", ")) == sorted(columns)


# --- the arrays -------------------------------------------------------------------------------------------


def test_types_of_arrays() -> None:
    with kernel(POLICIES) as session:
        columns = session.spd.dump_columns()
    kinds = {name: (column.dtype.str.lstrip("<>|="), column.shape[1:]) for name, column in columns.items()}
    assert kinds["source"] == kinds["template_destination"] == ("u1", (16,))
    assert kinds["direction"] == kinds["source_prefix_length"] == ("u1", ())
    assert kinds["family"] == kinds["source_port"] == kinds["template_count"] == ("u2", ())
    assert kinds["priority"] == kinds["mark"] == ("u4", ())
    assert kinds["interface"] == ("i4", ())
    assert kinds["bytes"] == kinds["hard_byte_limit"] == ("u8", ())
    columns["priority"][0] = 77  # the arrays are the caller's
    assert columns["priority"][0] == 77


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    with kernel(POLICIES) as session:
        arrays = session.spd.dump_columns()
        monkeypatch.setitem(sys.modules, "numpy", None)
        views = session.spd.dump_columns()
        texts = session.spd.dump_columns(["source"], text=True)
    assert list(views) == list(arrays)
    for name, view in views.items():
        assert isinstance(view, memoryview)
        array = numpy.asarray(view)
        assert (array.dtype, array.shape) == (arrays[name].dtype, arrays[name].shape), name
        assert view.tobytes() == arrays[name].tobytes(), name
    assert views["priority"].tolist() == arrays["priority"].tolist()
    views["priority"][0] = 77
    assert views["priority"][0] == 77
    assert isinstance(texts["source"], list)


def test_none_at_all_without_numpy(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    columns = session.spd.dump_columns()
    assert columns.rows == 0
    assert {column.nbytes for column in columns.values()} == {0}


def test_columns_outlive_all_else(many: Session) -> None:
    priorities = many.spd.dump_columns()["priority"]
    many.spd.dump_columns()
    assert priorities.tolist() == list(range(MANY - 1, -1, -1))


def test_what_columns_look_like() -> None:
    with kernel(POLICIES[:3]) as session:
        columns = session.spd.dump_columns(["priority", "index"])
        everything = session.spd.dump_columns()
    assert repr(columns) == "<Columns: 3 rows of priority, index>"
    assert repr(everything) == (
        "<Columns: 3 rows of source, destination, source_prefix_length, destination_prefix_length, family, protocol"
        " and 41 more>"
    )
    assert isinstance(columns, Columns)
    assert columns != everything
    assert columns in {columns: 1}


# --- messages that no kernel sends -------------------------------------------------------------------------

PLAIN = message(uapi.XFRM_MSG_NEWPOLICY, userpolicy())


def state_of(*attributes: bytes, **fields: Any) -> bytes:
    return message(uapi.XFRM_MSG_NEWSA, usersa(**fields), *attributes)


def one(session: Session, name: str) -> int:
    database: Any = session.sad if name in ("replay_window", "output_mark", "output_mark_mask") else session.spd
    [value] = database.dump_columns([name])[name].tolist()
    return int(value)


def test_attributes_of_odd_sizes_count_as_missing() -> None:
    mark = attribute(uapi.XFRMA_MARK, struct.pack("=II", 0xFF, 0x0F))
    for odd in (bytes(4), bytes(12), b"", bytes(7)):
        sent = message(uapi.XFRM_MSG_NEWPOLICY, userpolicy(), mark, attribute(uapi.XFRMA_MARK, odd))
        with kernel([sent]) as session:
            assert one(session, "mark") == 0x0F
            check(list(session.spd.dump()), session.spd.dump_columns(), session.spd.dump_columns(text=True))


def test_of_two_attributes_of_a_kind_the_last_counts() -> None:
    both = [attribute(uapi.XFRMA_IF_ID, struct.pack("=I", number)) for number in (1, 2)]
    flagged = attribute(0x8000 | uapi.XFRMA_IF_ID, struct.pack("=I", 3))
    with kernel([message(uapi.XFRM_MSG_NEWPOLICY, userpolicy(), *both)]) as session:
        assert one(session, "if_id") == 2
    with kernel([message(uapi.XFRM_MSG_NEWPOLICY, userpolicy(), *both, flagged)]) as session:
        assert one(session, "if_id") == 3


def test_a_template_without_family() -> None:
    """It has the selector's, as in the objects."""
    template = bytearray(Template("2001:db8::1", "2001:db8::2")._wire)
    template[24:26] = bytes(2)
    sent = message(uapi.XFRM_MSG_NEWPOLICY, userpolicy(family=10), attribute(uapi.XFRMA_TMPL, bytes(template) * 2))
    with kernel([sent]) as session:
        columns = session.spd.dump_columns(["template_source", "template_family", "template_count"], text=True)
        check(list(session.spd.dump()), session.spd.dump_columns(), session.spd.dump_columns(text=True))
    assert columns["template_source"] == ["2001:db8::1"]
    assert (columns["template_family"].tolist(), columns["template_count"].tolist()) == ([10], [2])


@pytest.mark.parametrize(
    ("payload", "window"),
    [
        (esn(4, 0, 0, 128, bytes(16)), 128),
        (esn(4, 0, 0, 128, b""), 128),  # a request's way to say zeros
        (esn(4, 0, 0, 128, bytes(12)), 32),
        (esn(129, 0, 0, 128, bytes(516)), 32),  # longer than the kernel's longest
        (esn(4, 0, 0, 128, bytes(16))[:23], 32),
    ],
)
def test_replay_windows(payload: bytes, window: int) -> None:
    with kernel([state_of(attribute(uapi.XFRMA_REPLAY_ESN_VAL, payload), window=32)]) as session:
        assert one(session, "replay_window") == window
        [state] = session.sad.dump()
        assert state.replay_window == window


@pytest.mark.parametrize(
    ("mark", "mask", "expected"),
    [(None, None, (0, 0)), (0x1F, None, (0x1F, 0xFFFFFFFF)), (0x1F, 0xF, (0xF, 0xF)), (None, 0xF, (0, 0))],
)
def test_output_marks(mark: int | None, mask: int | None, expected: tuple[int, int]) -> None:
    given_ = [(uapi.XFRMA_SET_MARK, mark), (uapi.XFRMA_SET_MARK_MASK, mask)]
    listed = [attribute(kind, struct.pack("=I", number)) for kind, number in given_ if number is not None]
    with kernel([state_of(*listed)]) as session:
        assert (one(session, "output_mark"), one(session, "output_mark_mask")) == expected
        [state] = session.sad.dump()
    assert (state.output_mark or Mark(0, 0)) == Mark(*expected)


def test_marks_without_a_mask_are_none() -> None:
    sent = message(uapi.XFRM_MSG_NEWPOLICY, userpolicy(), attribute(uapi.XFRMA_MARK, struct.pack("=II", 0x1234, 0)))
    with kernel([sent]) as session:
        assert (one(session, "mark"), one(session, "mark_mask")) == (0, 0)


@st.composite
def damaged(draw: st.DrawFn, of: list[bytes]) -> bytes:
    """Recorded messages, of which some bytes were changed, and which may be cut."""
    block = bytearray(b"".join(draw(st.lists(st.sampled_from(of), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(block) // 4 - 1)) * 4  # lengths are there
        block[place : place + 2] = struct.pack("=H", draw(st.sampled_from([0, 1, 3, 4, 5, 8, 12, 68, 132, 0xFFFF])))
    for _ in range(draw(st.integers(0, 2))):
        block[draw(st.integers(0, len(block) - 1))] = draw(st.integers(0, 255))
    return bytes(block[: draw(st.just(len(block)) | st.integers(0, len(block)))])


def same_fate(block: bytes, which: str) -> bool:
    """Whether `dump` takes a block. `dump_columns` does what `dump` does."""
    with kernel([block]) as session:
        database: Any = getattr(session, which)
        try:
            found = list(database.dump())
        except ProtocolError:
            with pytest.raises(ProtocolError, match="lengths that do not fit"):
                database.dump_columns()
            return False
        check(found, database.dump_columns(), database.dump_columns(text=True), bytes_too=False)
        return True


@given(damaged(POLICIES))
def test_damaged_policies(block: bytes) -> None:
    same_fate(block, "spd")


@given(damaged(STATES))
def test_damaged_states(block: bytes) -> None:
    same_fate(block, "sad")


@pytest.mark.parametrize(
    ("which", "block"),
    [
        ("spd", PLAIN[:-1]),
        ("spd", PLAIN + b"\0"),
        ("spd", PLAIN + bytes(16)),
        ("spd", PLAIN[:15]),
        ("spd", state_of()),
        ("spd", struct.pack("=IHHII", 183, 0x13, 0, 0, 0) + bytes(167)),
        ("spd", message(uapi.XFRM_MSG_NEWPOLICY, userpolicy(), struct.pack("=HH", 3, 31))),
        ("spd", message(uapi.XFRM_MSG_NEWPOLICY, userpolicy(), struct.pack("=HHI", 9, 31, 1))),
        ("sad", PLAIN),
        ("sad", state_of()[:-4]),
        ("sad", state_of(struct.pack("=HHI", 9, 31, 1))),
    ],
)
def test_messages_that_are_refused(which: str, block: bytes) -> None:
    assert not same_fate(block, which)


def test_rows_before_damage_are_not_returned() -> None:
    with kernel([PLAIN, PLAIN[:-1]]) as session, pytest.raises(ProtocolError):
        session.spd.dump_columns(["priority"])


# --- the C ------------------------------------------------------------------------------------------------


def columns_read(data: bytes, **fields: int) -> int:
    """What C says of one column of 4 bytes a row."""
    out = ffi.new("uint8_t[]", 16)
    column = ffi.new("struct column_out *", {"data": out, "size": 4, **fields})
    reader = ffi.new("struct columns_reader *", {"columns": column, "count": 1, "capacity": 1})
    return int(lib.columns_read(reader, data, len(data)))


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 0},
        {"size": 3},
        {"size": 32},
        {"offset": 165},
        {"offset": 0xFFFF},
        {"offset": 153, "size": 16},
        {"size": 1, "form": lib.COLUMN_NETWORK},
        {"attribute": 64, "payload": 4},
        {"attribute": 0xFFFF, "payload": 4},
        {"attribute": uapi.XFRMA_IF_ID},
        {"attribute": uapi.XFRMA_IF_ID, "payload": 65},
        {"attribute": uapi.XFRMA_IF_ID, "payload": 4, "offset": 1},
        {"attribute": uapi.XFRMA_TMPL, "payload": 63, "several": 1},
        {"attribute": uapi.XFRMA_MARK, "payload": 8, "offset": 4, "form": lib.COLUMN_MARK},
        {"form": lib.COLUMN_COUNT, "size": 2},
        {"form": lib.COLUMN_REPLAY_WINDOW},
        {"form": lib.COLUMN_OUTPUT_MARK},
        {"form": lib.COLUMN_TEMPLATE_FAMILY},
        {"form": lib.COLUMN_TEMPLATE_FAMILY, "size": 2, "attribute": uapi.XFRMA_TMPL, "payload": 64},
        {"form": 99},
    ],
)
def test_columns_that_no_message_has(fields: dict[str, int]) -> None:
    assert columns_read(PLAIN, **fields) == -errno.EINVAL


def test_c_stops_where_there_is_no_more_room() -> None:
    assert columns_read(PLAIN * 2, offset=152) == len(PLAIN)
    assert columns_read(PLAIN, offset=164) == len(PLAIN)


def test_a_block_that_there_is_no_room_for_is_an_error() -> None:
    out = ffi.new("uint8_t[]", 16)
    column = ffi.new("struct column_out *", {"data": out, "size": 4})
    reader = ffi.new("struct columns_reader *", {"columns": column, "count": 1, "capacity": 1})
    assert lib.columns_decode(reader, PLAIN, len(PLAIN)) == 0
    assert lib.columns_decode(reader, PLAIN, len(PLAIN)) == -errno.EMSGSIZE
    assert lib.columns_decode(reader, PLAIN[:-1], len(PLAIN) - 1) == -errno.EMSGSIZE
    reader.capacity = 2
    assert lib.columns_decode(reader, PLAIN[:-1], len(PLAIN) - 1) == -errno.EBADMSG

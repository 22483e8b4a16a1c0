# SPDX-License-Identifier: MIT
"""`xfrm top`: the model on numbers, the command on the real kernel, the live view is in test_cli_top_live.py."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from by_schema import is_valid
from rich.console import Console

from xfrm_ext import Policy, Secret, Selector, Session, Template
from xfrm_ext.cli import top, top_model, top_screen
from xfrm_ext.cli.context import Context
from xfrm_ext.cli.top_model import SORTS, Sample, Shown, View, bar, duration, ordered, parse_filter, short
from xfrm_ext.cli.top_screen import _events, screen
from xfrm_ext.constants import INFINITE, Message, Protocol
from xfrm_ext.errors import CommandError, ProtocolError
from xfrm_ext.event import Acquire, Event, Overrun
from xfrm_ext.subscription import Subscription
from xfrm_ext.testing import inside

NONE = {f"{which}_{kind}_limit": INFINITE for which in ("soft", "hard") for kind in ("byte", "packet")}
NONE |= {f"{which}_{kind}_expires_seconds": 0 for which in ("soft", "hard") for kind in ("add", "use")}


def state(spi: int = 1, **changes: Any) -> dict[str, Any]:
    """A row as a sample has it."""
    row: dict[str, Any] = {
        "protocol": "esp",
        "spi": f"{spi:#010x}",
        "source": "192.0.2.1",
        "destination": "192.0.2.2",
        "mode": "tunnel",
        "reqid": 1,
        "direction": None,
    }
    row |= dict.fromkeys(("mark", "mark_mask", "if_id"))
    row |= dict.fromkeys(
        ("bytes", "packets", "use_time", "last_used", "replay_window", "replay", "integrity_failed"), 0
    )
    return {**row, "add_time": 1000, **NONE, **changes}


def sample(when: float, *states: dict[str, Any], **more: Any) -> Sample:
    return Sample(when, states, more.get("policies", []), more.get("statistics", {}), 0)


def one(before: dict[str, Any] | None, now: dict[str, Any], seconds: float = 2.0) -> dict[str, Any]:
    """The row that is shown of a state's two samples."""
    earlier = sample(2000.0, *([] if before is None else [before]))
    [row] = Shown(sample(2000.0 + seconds, now), earlier).states
    return row


# --- the model ----------------------------------------------------------------------------------------------------


def test_rates_are_per_second() -> None:
    row = one(state(bytes=100, packets=10), state(bytes=4100, packets=14), seconds=2.0)
    assert (row["bytes_per_second"], row["packets_per_second"]) == (2000.0, 2.0)


def test_the_first_sample_has_no_rates() -> None:
    [row] = Shown(sample(1.0, state(bytes=5)), None).states
    assert row["bytes_per_second"] is None
    assert row["packets_per_second"] is None


def test_a_new_state_counts_from_nothing() -> None:
    assert one(None, state(bytes=300), seconds=3.0)["bytes_per_second"] == 100.0


def test_a_state_that_was_replaced_counts_from_nothing() -> None:
    row = one(state(bytes=5000), state(bytes=200, add_time=1999), seconds=2.0)
    assert row["bytes_per_second"] == 100.0


def test_states_with_other_marks_are_others() -> None:
    shown = Shown(sample(2.0, state(mark=1, mark_mask=3), state(mark=2, mark_mask=3)), None)
    assert len(shown.states) == 2


def test_larval_states_have_no_spi_and_are_others_all_the_same() -> None:
    larval = [state(0, reqid=1), state(0, reqid=2), state(0, reqid=1, if_id=7), state(0, reqid=1)]
    assert len(Shown(sample(2.0, *larval), None).states) == 4
    again = Shown(sample(3.0, *larval), sample(2.0, *larval))
    assert (again.come, again.gone) == ([], [])


def test_only_what_is_shown_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Any] = []
    limits = top_model._limits

    def counting(row: dict[str, Any], now: float) -> list[dict[str, Any]]:
        counted.append(row)
        return limits(row, now)

    monkeypatch.setattr(top_model, "_limits", counting)
    states = [state(spi, reqid=spi, hard_byte_limit=100) for spi in range(1, 301)]
    shown, view = Shown(sample(2.0, *states), sample(1.0)), View(1.0)
    screen(shown, view, 24, 120)
    assert 0 < len(counted) < 24
    rows = view.rows(shown)
    view.press("p")
    assert view.rows(shown) is rows  # a key that changes neither order nor choice
    view.press("s")
    assert view.rows(shown) is not rows
    view.set_filter("life<2")
    assert len(view.rows(shown)) == len(counted) == 300


def test_lifetimes() -> None:
    row = one(
        state(bytes=1000),
        state(
            bytes=3000,
            packets=5,
            soft_byte_limit=4000,
            hard_byte_limit=5000,
            soft_packet_limit=50,
            hard_add_expires_seconds=4000,
            hard_use_expires_seconds=100,
        ),
        seconds=2.0,
    )
    limits = {limit["kind"]: limit for limit in row["limits"]}
    assert set(limits) == {"bytes", "packets", "add_seconds", "use_seconds"}
    assert limits["bytes"] == {"kind": "bytes", "used": 3000, "soft": 4000, "hard": 5000, "share": 0.6}
    assert limits["packets"] == {"kind": "packets", "used": 5, "soft": 50, "hard": None, "share": 0.1}
    assert (limits["add_seconds"]["used"], limits["add_seconds"]["share"]) == (1002, 1002 / 4000)
    assert limits["use_seconds"]["used"] == 0  # never used: its time does not run
    assert row["life"] == 0.6
    assert row["expires_in"] == 2.0  # 2000 bytes more, at 1000 in a second


def test_no_limit_is_none() -> None:
    row = one(None, state(bytes=10**15))
    assert (row["limits"], row["life"], row["expires_in"]) == ([], 0.0, None)


def test_what_came_and_went() -> None:
    shown = Shown(sample(2.0, state(1), state(3)), sample(1.0, state(1), state(2)))
    assert shown.changes() == [
        "new: esp 0x00000003 192.0.2.1 -> 192.0.2.2",
        "gone: esp 0x00000002 192.0.2.1 -> 192.0.2.2",
    ]
    many = Shown(sample(2.0, *(state(spi) for spi in range(100))), sample(1.0))
    assert many.changes() == ["100 SAs new"]


def test_deltas_of_the_kernels_counters() -> None:
    before, now = {"XfrmInNoStates": 3, "XfrmInError": 1}, {"XfrmInNoStates": 10, "XfrmInError": 1, "XfrmNew": 2}
    shown = Shown(sample(2.0, statistics=now), sample(1.0, statistics=before))
    assert shown.deltas == {"XfrmInNoStates": 7, "XfrmInError": 0, "XfrmNew": 2}
    assert not any(Shown(sample(1.0, statistics=now), None).deltas.values())


def test_policies_that_were_hit() -> None:
    old = [{"index": 8, "use_time": 90}, {"index": 16, "use_time": 80}]
    new = [{"index": 16, "use_time": 99}, {"index": 8, "use_time": 90}, {"index": 24, "use_time": 50}]
    shown = Shown(sample(100.0, policies=new), sample(98.0, policies=old))
    assert [(row["index"], row["idle"], row["hit"]) for row in shown.policies] == [
        (16, 1, True),
        (8, 10, False),
        (24, 50, False),  # was not among those used last, and is now, as others are gone
    ]
    assert not [row for row in Shown(sample(100.0, policies=new), None).policies if row["hit"]]
    new[2]["use_time"] = 98
    assert Shown(sample(100.0, policies=new), sample(98.0, policies=old)).policies[2]["hit"]


ROWS = Shown(
    sample(
        2000.0,
        state(0x30, bytes=5, reqid=2, integrity_failed=4, add_time=1500),
        state(0x10, bytes=9000, reqid=1, last_used=1999, add_time=1700, destination="10.1.2.3"),
        state(0x20, bytes=70, reqid=3, last_used=1990, add_time=1600, mode="transport"),
    ),
    sample(
        1999.0,
        state(0x30),
        state(0x10, add_time=1700, destination="10.1.2.3"),
        state(0x20, bytes=60, add_time=1600),
    ),
).states


def spis(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["spi"], 16) for row in rows]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("bytes", [0x10, 0x20, 0x30]),
        ("rate", [0x10, 0x20, 0x30]),
        ("errors", [0x30, 0x10, 0x20]),
        ("age", [0x30, 0x20, 0x10]),
        ("idle", [0x10, 0x20, 0x30]),  # the one that was never used is last
        ("reqid", [0x10, 0x30, 0x20]),
        ("spi", [0x10, 0x20, 0x30]),
        ("destination", [0x10, 0x30, 0x20]),
    ],
)
def test_sorting(sort: str, expected: list[int]) -> None:
    assert spis(ordered(ROWS, sort)) == expected


def test_reversed_and_every_sort_key_works() -> None:
    assert spis(ordered(ROWS, "bytes", reverse=True)) == [0x30, 0x20, 0x10]
    assert spis(ordered(ROWS, "idle", reverse=True)) == [0x20, 0x10, 0x30]
    for sort in SORTS:
        assert sorted(spis(ordered(ROWS, sort))) == [0x10, 0x20, 0x30]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {0x10, 0x20, 0x30}),
        ("reqid=2", {0x30}),
        ("reqid!=2", {0x10, 0x20}),
        ("bytes>=70 bytes<9k", {0x20}),
        ("bytes>0.06k", {0x10, 0x20}),
        ("errors>0", {0x30}),
        ("idle<5", {0x10}),
        ("destination=10.0.0.0/8", {0x10}),
        ("destination!=10.0.0.0/8", {0x20, 0x30}),
        ("spi=0x20", {0x20}),
        ("mode=transport", {0x20}),
        ("transport", {0x20}),
        ("10.1.2", {0x10}),
        ("192.0.2.2 tunnel", {0x30}),
        ("destination=2001:db8::/32", set()),
        ("destination!=2001:db8::/32", {0x10, 0x20, 0x30}),
        ("destination=0.0.0.0/0", {0x10, 0x20, 0x30}),
        ("destination=10.1.2.3", {0x10}),
        ("destination=10.1.2.2", set()),
        ("destination=::/0", set()),
    ],
)
def test_filters(text: str, expected: set[int]) -> None:
    accepts = parse_filter(text)
    assert {int(row["spi"], 16) for row in ROWS if accepts(row)} == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing=1", "names no field"),
        ("reqid=x", "no number"),
        ("mode>tunnel", "compares a text"),
        ("source=here", "no address"),
        ("aead=1", "names no field"),
        ("mark=0x10k", "no number"),
        ("reqid=nan", "no number"),
        ("bytes<inf", "no number"),
        ("reqid=1_0", "no number"),
        ("reqid=", "no number"),
        ("spi=0x", "no number"),
    ],
)
def test_wrong_filters(text: str, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        parse_filter(text)


def test_the_names_of_a_filter_are_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "look.md").read_text()
    [names] = re.findall(r"Names are (.*?);", text, re.DOTALL)
    assert set(re.findall(r"\w+", names)) - {"and"} == top_model._NUMBERS | top_model._TEXTS


def test_the_forms_of_numbers() -> None:
    assert [short(value) for value in (None, 0, 999, 1000, 12_345, 999_950, 3.25e9)] == [
        *("-", "0", "999", "1k", "12.3k", "1.0M", "3.2G")
    ]
    assert [duration(value) for value in (None, 0, 59.9, 200, 18_120, 273_600)] == [
        *("-", "0s", "59s", "3m20s", "5h02m", "3d4h")
    ]


def test_a_bar_shows_what_is_used_and_the_soft_limit() -> None:
    limit = {"share": 0.5, "soft": 80, "hard": 100}
    assert bar(limit, 10, "#", ".", "|") == "#####...|."
    assert bar({"share": 1.0, "soft": None, "hard": 100}, 4, "#", ".") == "####"


def test_keys() -> None:
    view = View(2.0)
    for key in "srp +":
        assert view.press(key)
    assert (view.sort, view.reverse, view.policies, view.paused, view.interval) == (
        "packets",
        True,
        False,
        True,
        4.0,
    )
    for key in "/reqid=2x\x7f\r":
        assert view.press(key)
    assert view.filter_text == "reqid=2"
    assert view.typing is None
    assert not view.press("q")


def test_a_wrong_filter_is_said_and_the_old_one_stays() -> None:
    view = View(2.0, filter_text="reqid=1")
    for key in "/\x15nothing=1\n":
        assert view.press(key)
    assert view.filter_text == "reqid=1"
    assert "names no field" in view.message
    for key in "/q\x1b":  # q is a letter of a filter, and escape takes it back
        assert view.press(key)
    assert view.filter_text == "reqid=1"


def test_every_sort_key_is_reached_by_pressing_s() -> None:
    view, seen = View(1.0), set()
    for _ in SORTS:
        seen.add(view.sort)
        view.press("s")
    assert seen == set(SORTS)
    assert view.sort == "rate"


@pytest.mark.parametrize(("width", "columns"), [(140, 11), (116, 11), (90, 7), (80, 5)])
def test_a_narrow_screen_has_fewer_columns_and_cuts_none(width: int, columns: int) -> None:
    limits = {"hard_byte_limit": 40_000, "soft_byte_limit": 30_000}
    states = [state(spi, bytes=5000 * spi, packets=40 * spi, last_used=1990, **limits) for spi in (1, 7)]
    shown = Shown(sample(2000.0, *states), sample(1998.0, states[0]))
    out = io.StringIO()
    Console(file=out, width=width).print(screen(shown, View(1.0), 30, width))
    _, heads, first, second, _ = out.getvalue().splitlines()
    assert len(heads.split()) == columns
    assert first.startswith("esp 0x00000007 192.0.2.1 -> 192.0.2.2 ")
    assert "██████│░ 88% bytes" in first
    assert "█░░░░░│░ 12% bytes" in second
    assert "…" not in heads + first + second


def test_bars_in_ascii() -> None:
    shown = Shown(sample(2000.0, state(bytes=5000, hard_byte_limit=10_000, soft_byte_limit=8_000)), None)
    for width in (120, 30, 10):
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        Console(file=out, width=width).print(screen(shown, View(1.0), 24, width, plain=True))
        out.flush()
        assert isinstance(out.buffer, io.BytesIO)
        assert (b"####..|. 50% bytes" in out.buffer.getvalue()) is (width == 120)


# --- on the kernel ------------------------------------------------------------------------------------------------


class Clock(top.Clock):
    """Time that passes when it is waited for, with something to do then."""

    def __init__(self, *actions: Any) -> None:
        self.time, self.actions = 1_800_000_000.0, list(actions)

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds
        if self.actions:
            self.actions.pop(0)()


@pytest.fixture
def context(namespace: int) -> Iterator[Context]:
    made = Context(io.StringIO(), io.StringIO())
    with inside(namespace):
        made.session()
    yield made
    made.close()


def printed(context: Context) -> str:
    assert isinstance(context.out, io.StringIO)
    return context.out.getvalue()


def test_once(session: Session, context: Context) -> None:
    session.spd.add(Policy(Selector("10.1.0.0/16"), direction="out"))
    assert top.run(["--once"], context, Clock()) == 0
    assert "0 SAs, 1 policies" in printed(context)


def test_json_is_a_line_for_each_sample(session: Session, context: Context) -> None:
    context.json = True

    def add() -> None:
        session.spd.add(Policy(direction="out"))

    assert top.run(["--count", "3", "--interval", "0.5"], context, Clock(add)) == 0
    lines = [json.loads(line) for line in printed(context).splitlines()]
    for line in lines:
        is_valid(line)
    assert [line["policy_count"] for line in lines] == [0, 1, 1]
    assert [line["seconds"] for line in lines] == [None, 0.5, 0.5]
    assert lines[0]["statistics"] == dict(session.statistics())
    assert lines[0]["time"] == "2027-01-15T08:00:00Z"


def test_ctrl_c_is_quiet(context: Context) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    assert top.run(["--count", "9"], context, Clock(interrupt)) == 0
    assert printed(context).count("SAs") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "needs a terminal"),
        (["--interval", "0"], "0.1 to 3600"),
        (["--count", "0"], "1 or more"),
        (["--once", "--sort", "size"], "is not one of rate, "),
        (["--once", "--filter", "x=1"], "names no field"),
    ],
)
def test_what_is_refused(context: Context, words: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        top.run(words, context, Clock())
    assert printed(context) == ""


def test_a_picture(context: Context, tmp_path: Path) -> None:
    path = tmp_path / "top.svg"
    assert top.run(["--once", "--export-svg", str(path)], context, Clock()) == 0
    assert path.read_text().startswith("<svg")


def test_a_picture_that_cannot_be_written_is_said_first(context: Context, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        top.run(["--once", "--export-svg", str(tmp_path / "nowhere" / "top.svg")], context, Clock())
    assert printed(context) == ""


def test_events_that_are_many_that_were_lost_and_that_say_nothing() -> None:
    selector, tunnel = Selector("10.1.0.0/16"), Template("192.0.2.1", "192.0.2.2", mode="tunnel")
    acquire = Acquire(
        source="192.0.2.1",
        destination="192.0.2.2",
        protocol=Protocol.ESP,
        selector=selector,
        policy=Policy(selector, direction="out", templates=tunnel),
        sequence=1,
    )
    asked = Event(message=Message.ACQUIRE, body=acquire)
    unread = Event(message=Message.EXPIRE, body=Secret(b"unread"))

    class Queue:
        """What a subscription hands out."""

        def __init__(self) -> None:
            self.waiting = [[asked] * 1024, [asked] * 1024, [asked, unread], None, [Overrun(), asked]]

        def get_many(self, most: int, timeout: float) -> Any:
            if not self.waiting:
                return []
            if (events := self.waiting.pop(0)) is None:
                raise ProtocolError("no message")
            return events

    lines = [line.partition(" ")[2] for line in _events(cast(Subscription, Queue()), 0.0)]
    line = "ACQUIRE: 10.1.0.0/16 -> 0.0.0.0/0"
    assert lines == [line] * 2049 + ["events were lost", line]


def test_a_slow_sample_is_waited_after_and_events_are_read_while_paused(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, view = Clock(), View(1.0)
    waits: list[float] = []
    read: list[bool] = []

    class Keys:
        """A keyboard on which a space is pressed, and later q."""

        def __init__(self, terminal: int) -> None: ...

        def __enter__(self) -> Keys:
            return self

        def __exit__(self, *error: object) -> None: ...

        def read(self, seconds: float) -> tuple[list[str], list[int]]:
            waits.append(seconds)
            clock.time += max(0.0, seconds)
            return {2: [" "], 4: ["q"]}.get(len(waits), []), []

    def take(session: Session, now: float) -> Sample:
        clock.time += 5
        return sample(now)

    def events(subscription: Subscription | None, now: float) -> list[str]:
        read.append(view.paused)
        return []

    class Out(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name, value in (("Keyboard", Keys), ("take", take), ("_events", events)):
        monkeypatch.setattr(top_screen, name, value)
    monkeypatch.setenv("TERM", "xterm")
    context.out = Out()
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert top_screen.watch(context, view, clock, None) == 0
    assert waits == [1.0] * 4
    assert read == [False, True, True]

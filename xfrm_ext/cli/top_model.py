# SPDX-License-Identifier: MIT
"""What `xfrm top` shows: samples of the kernel's counters become rows with rates, sorted and filtered.

No I/O, no clock and no terminal is in here. A row is a dict of the names that docs/json.md lists, which sort keys
and filters use and JSON has.
"""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, TypeAlias

from xfrm_ext.constants import INFINITE
from xfrm_ext.errors import CommandError
from xfrm_ext.iproute2.words import wrong

Row: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[Any, ...]

_IDENTITY = ("source", "destination", "protocol", "spi", "mark", "mark_mask", "reqid", "if_id")
"""The last two are for larval states, which have no SPI yet."""
_KINDS = ("bytes", "packets", "add_seconds", "use_seconds")
_ERRORS = ("replay_window", "replay", "integrity_failed")
_MANY = 10  # SAs that come or go between two samples, from which on they are only counted


class Sample:
    """The counters at one moment."""

    def __init__(
        self,
        time: float,
        states: Iterable[Row],
        policies: list[Row],
        statistics: Mapping[str, int] | None,
        policy_count: int,
    ) -> None:
        self.time = time
        """Seconds since 1970."""
        self.states: dict[Key, Row] = {}
        identity = operator.itemgetter(*_IDENTITY)
        alike = 0
        for row in states:
            key: Key = identity(row)
            if key in self.states:  # larval ones for different packets
                alike += 1
                key = (*key, alike)
            self.states[key] = row
        self.policies = policies
        """Those that were used, the last first."""
        self.statistics = statistics
        """None: the kernel has none."""
        self.policy_count = policy_count


class Shown:
    """What there is to show of one sample, beside the one before."""

    def __init__(self, sample: Sample, before: Sample | None) -> None:
        self.sample = sample
        self.seconds = sample.time - before.time if before is not None else 0.0
        """Since the one before; 0: there is none, and all rates are None."""
        earlier = {} if before is None else before.states
        running = max(0.0, self.seconds)
        self.states = [StateRow(row, earlier.get(key), sample.time, running) for key, row in sample.states.items()]
        self._totals: dict[str, float] = {}
        used = {} if before is None else {row["index"]: row["use_time"] for row in before.policies}
        since = float("inf") if before is None else int(before.time)

        def hit(row: Row) -> bool:
            old = used.get(row["index"])  # one that was not among them may have been used long before
            return bool(row["use_time"] >= since if old is None else row["use_time"] != old)

        self.policies = [
            {
                **row,
                "idle": max(0, int(sample.time) - row["use_time"]),
                "hit": hit(row),
            }
            for row in sample.policies
        ]
        counters = sample.statistics or {}
        old = (before.statistics or {}) if before is not None else counters
        self.deltas = {name: value - old.get(name, 0) for name, value in counters.items()}
        """Of the kernel's counters, since the sample before."""
        self.come = [] if before is None else [row for key, row in sample.states.items() if key not in earlier]
        self.gone = [row for key, row in earlier.items() if key not in sample.states]

    def total(self, name: str) -> float:
        """The sum of a rate over all states."""
        if name not in self._totals:
            self._totals[name] = sum(row[name] or 0 for row in self.states)
        return self._totals[name]

    def changes(self) -> list[str]:
        """A line for each SA that came or went; how many, where they are many."""
        lines = []
        for rows, what in ((self.come, "new"), (self.gone, "gone")):
            if len(rows) > _MANY:
                lines.append(f"{len(rows)} SAs {what}")
            else:
                lines += [f"{what}: {state_name(row)}" for row in rows]
        return lines


def state_name(row: Row) -> str:
    """What names a state."""
    return f"{row['protocol']} {row['spi']} {row['source']} -> {row['destination']}"


class StateRow(dict[str, Any]):
    """A row of a state, with what follows from it: rates, limits and ages. Each is only computed when it is asked
    for, as of a hundred thousand states a screen shows thirty."""

    __slots__ = ("_now", "_old", "_seconds")

    def __init__(self, row: Row, old: Row | None, now: float, seconds: float) -> None:
        """`old`: of the sample before, None: there it is not; `seconds` since then, 0: there is none."""
        super().__init__(row)
        # One that is new, or was replaced by another with the same name, counts from 0.
        self._old = old if old is not None and old["add_time"] == row["add_time"] else None
        self._now, self._seconds = now, seconds

    def __missing__(self, name: str) -> Any:
        value = self[name] = _DERIVED[name](self)
        return value

    def whole(self) -> Row:
        """All of it that there is to know."""
        result = {name: value for name, value in self.items() if not name.endswith(_RAW) and name not in _DERIVED}
        return {**result, **{name: self[name] for name in _DERIVED}}

    def _rate(self, name: str) -> float | None:
        if not self._seconds:
            return None
        rate: float = max(0, self[name] - (0 if self._old is None else self._old[name])) / self._seconds
        return rate

    def _since(self, name: str) -> int | None:
        return max(0, int(self._now) - self[name]) if self[name] else None

    def _expires_in(self) -> float | None:
        rates = self["bytes_per_second"], self["packets_per_second"]
        left = [_left(limit, *rates) for limit in self["limits"]]
        return min((one for one in left if one is not None), default=None)


_RAW = ("_limit", "_expires_seconds")
_DERIVED: dict[str, Callable[[StateRow], Any]] = {
    "bytes_per_second": lambda row: row._rate("bytes"),
    "packets_per_second": lambda row: row._rate("packets"),
    "errors": lambda row: sum(row[name] for name in _ERRORS),
    "age": lambda row: row._since("add_time"),
    "idle": lambda row: row._since("last_used"),
    "limits": lambda row: _limits(row, row._now),
    "life": lambda row: max((limit["share"] for limit in row["limits"]), default=0.0),
    "expires_in": StateRow._expires_in,
}


def _limits(row: Row, now: float) -> list[Row]:
    """The lifetimes that a state has, each with the share of it that is used."""
    found = []
    for kind in _KINDS:
        if kind.endswith("seconds"):
            name, none = f"{kind.removesuffix('_seconds')}_expires_seconds", 0
            since = row["add_time" if kind == "add_seconds" else "use_time"]
            used = max(0, int(now) - since) if since else 0
        else:
            name, none = f"{kind.removesuffix('s')}_limit", INFINITE
            used = row[kind]
        soft, hard = (
            None if row[f"{which}_{name}"] in (none, INFINITE) else row[f"{which}_{name}"]
            for which in ("soft", "hard")
        )
        whole = hard if hard is not None else soft
        if whole is not None:
            share = min(1.0, used / whole) if whole else 1.0
            found.append({"kind": kind, "used": used, "soft": soft, "hard": hard, "share": share})
    return found


def _left(limit: Row, byte_rate: float | None, packet_rate: float | None) -> float | None:
    """Seconds until a limit is reached; None: no one knows."""
    whole = limit["hard"] if limit["hard"] is not None else limit["soft"]
    rest: float = max(0, whole - limit["used"])
    if limit["kind"] == "add_seconds" or (limit["kind"] == "use_seconds" and limit["used"]):
        return rest
    rate = {"bytes": byte_rate, "packets": packet_rate}.get(limit["kind"])
    return rest / rate if rate else None


# --- order and choice ---------------------------------------------------------------------------------------------

SORTS: dict[str, tuple[str, bool]] = {
    "rate": ("bytes_per_second", True),
    "packets": ("packets_per_second", True),
    "bytes": ("bytes", True),
    "life": ("life", True),
    "errors": ("errors", True),
    "idle": ("idle", False),
    "age": ("age", True),
    "reqid": ("reqid", False),
    "spi": ("spi", False),
    "destination": ("destination", False),
}
"""Sort keys: the name in a row, and whether the largest comes first."""

_RATES = ("bytes", "packets", "bytes_per_second", "packets_per_second")
_NUMBERS = frozenset(("reqid", "mark", "if_id", *_RATES, "age", "idle", "life", "expires_in", "errors", *_ERRORS))
_TEXTS = frozenset(("source", "destination", "protocol", "spi", "mode", "direction"))
_OPERATORS: tuple[tuple[str, Callable[[Any, Any], bool]], ...] = (
    (">=", operator.ge),
    ("<=", operator.le),
    ("!=", operator.ne),
    (">", operator.gt),
    ("<", operator.lt),
    ("=", operator.eq),
)
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def ordered(rows: Sequence[Row], sort: str, reverse: bool = False) -> list[Row]:
    """Rows in the order of a sort key; those without a value last."""
    name, largest = SORTS[sort]
    there = [row for row in rows if row[name] is not None]
    there.sort(key=lambda row: row[name], reverse=largest is not reverse)
    return there + [row for row in rows if row[name] is None]


def parse_filter(text: str) -> Callable[[Row], bool]:
    """A filter: words that must all hold. ``name=value`` (also != > < >= <=) compares a field, an address also with
    a prefix; any other word must be part of a field. Raises CommandError."""
    tests = [_term(word) for word in text.split()]
    return lambda row: all(test(row) for test in tests)


def _term(word: str) -> Callable[[Row], bool]:
    # The first operator in the word, and of two in the same place the longer.
    found = min(
        ((word.index(sign), -len(sign), sign, test) for sign, test in _OPERATORS if sign in word), default=None
    )
    if found is None:
        return lambda row: any(word in str(row[name]) for name in _TEXTS) or word == str(row["reqid"])
    name, value, test = word[: found[0]], word[found[0] - found[1] :], found[3]
    if name in _NUMBERS:
        number = _number(word, value)
        return lambda row: row[name] is not None and test(row[name], number)
    if name not in _TEXTS:
        raise wrong("filter", word, f"names no field: try {', '.join(sorted(_TEXTS | _NUMBERS))}")
    if test not in (operator.eq, operator.ne):
        raise wrong("filter", word, "compares a text: = and != do")
    wanted = test is operator.eq
    if name == "spi":
        spi = _number(word, value)
        return lambda row: (int(row["spi"], 16) == spi) is wanted
    if name in ("source", "destination"):
        try:
            network = ip_network(value, strict=False)
        except ValueError:
            raise wrong("filter", word, "has no address or prefix") from None
        bits = network.max_prefixlen - network.prefixlen
        prefix, colon = int(network.network_address) >> bits, network.version == 6
        family = AF_INET6 if colon else AF_INET

        def inside(text: str) -> bool:
            return (":" in text) is colon and int.from_bytes(inet_pton(family, text), "big") >> bits == prefix

        return lambda row: inside(row[name]) is wanted
    return lambda row: (str(row[name]) == value) is wanted  # a number, where there is no word


def _number(word: str, value: str) -> float:
    found = re.fullmatch(r"0[xX]([0-9a-fA-F]{1,16})|([0-9]{1,20}(?:\.[0-9]{1,20})?)([kMGT]?)", value)
    if found is None:
        raise wrong("filter", word, "has no number")
    whole, digits, unit = found.groups()
    if whole:
        return int(whole, 16)
    return int(digits) if digits.isdigit() and not unit else float(digits) * _UNITS.get(unit, 1.0)


# --- what the keys do ---------------------------------------------------------------------------------------------


class View:
    """What is on the screen, and how: changed by keys."""

    HELP = "q quit  s sort  r reverse  / filter  p policies  space pause  + - interval"

    def __init__(self, interval: float, sort: str = "rate", filter_text: str = "") -> None:
        """Raises CommandError for a filter that is none."""
        self.interval = interval
        """Seconds."""
        self.sort = sort
        self.reverse = False
        self.paused = False
        self.policies = True
        self.typing: str | None = None
        """A filter that is being typed."""
        self.message = ""
        self.log: deque[str] = deque(maxlen=50)
        """Events, the newest last."""
        self.filter_text = ""
        self._accepts: Callable[[Row], bool] = parse_filter("")
        self._rows: tuple[Any, list[Row]] | None = None
        self.set_filter(filter_text)

    def set_filter(self, text: str) -> None:
        """Takes a filter. Raises CommandError, and keeps the one that it had."""
        self._accepts = parse_filter(text)
        self.filter_text = text

    def rows(self, shown: Shown) -> list[Row]:
        """The states to show, in order."""
        asked = shown, self.filter_text, self.sort, self.reverse
        if self._rows is None or self._rows[0] != asked:  # most keys change none of these
            rows = [row for row in shown.states if self._accepts(row)]
            self._rows = asked, ordered(rows, self.sort, self.reverse)
        return self._rows[1]

    def press(self, key: str) -> bool:
        """Takes a key. Returns False for the one that quits."""
        if self.typing is not None:
            self._type(key)
            return True
        self.message = ""
        if key in ("q", "\x04", ""):  # also the end of the input
            return False
        if key == "s":
            names = list(SORTS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key == "r":
            self.reverse = not self.reverse
        elif key == "/":
            self.typing = self.filter_text
        elif key == "p":
            self.policies = not self.policies
        elif key == " ":
            self.paused = not self.paused
        elif key == "+":
            self.interval = min(60.0, self.interval * 2)
        elif key == "-":
            self.interval = max(0.125, self.interval / 2)
        else:
            self.message = self.HELP
        return True

    def _type(self, key: str) -> None:
        assert self.typing is not None
        if key in ("\r", "\n"):
            try:
                self.set_filter(self.typing)
            except CommandError as error:
                self.message = str(error)
            self.typing = None
        elif key == "\x1b":
            self.typing = None
        elif key in ("\x7f", "\b"):
            self.typing = self.typing[:-1]
        elif key == "\x15":  # Ctrl-U
            self.typing = ""
        elif key.isprintable():
            self.typing += key


# --- numbers as people read them ----------------------------------------------------------------------------------


def short(value: float | None) -> str:
    """Three digits and a unit of powers of 1000; "-" for None."""
    if value is None:
        return "-"
    for unit in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 999.5 or unit == "P":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value == int(value) or abs(value) >= 99.95 else f"{value:.1f}{unit}"


def duration(seconds: float | None) -> str:
    """Two units at most: "45s", "3m20s", "5h02m", "3d4h"; "-" for None."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def bar(limit: Row, width: int, full: str = "█", empty: str = "░", mark: str = "│") -> str:
    """How much of a lifetime is used, with a mark where the soft limit is."""
    filled = round(limit["share"] * width)
    cells = [full] * filled + [empty] * (width - filled)
    if limit["hard"] and limit["soft"] is not None and limit["soft"] < limit["hard"]:
        cells[min(width - 1, int(limit["soft"] / limit["hard"] * width))] = mark
    return "".join(cells)

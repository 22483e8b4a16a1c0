# SPDX-License-Identifier: MIT
"""The live view of `xfrm top`: rich draws it, and single keys are read from the terminal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from xfrm_ext.cli.outline import NoRich, encodable, export_svg, printable
from xfrm_ext.cli.top import _HEADS, NEEDS_TERMINAL, Clock, cells, policy_line, take
from xfrm_ext.cli.top_model import Sample, Shown, View, bar, duration, short
from xfrm_ext.errors import ProtocolError, XfrmError
from xfrm_ext.event import Acquire, Overrun, StateExpired
from xfrm_ext.iproute2.words import wrong

if TYPE_CHECKING:
    from xfrm_ext.cli.context import Context
    from xfrm_ext.event import Event
    from xfrm_ext.subscription import Subscription

_BAR = 8  # cells
_CELLS, _ASCII = "█░│", "#.|"  # used, left, soft limit
_BATCHES, _BATCH = 64, 1024  # of events that are read before the screen is drawn again
_USUAL_SCREEN = "\x1b[?25h\x1b[?1049l"  # with a cursor
_DISPENSABLE = ("idle", "mode", "pkts", "bytes", "reqid", "left", "pkts/s")
"""Columns, in the order in which a narrow screen drops them."""
_EVENTS, _USED = 5, 6  # lines for events and for policies
_STOPPING = {signal.SIGINT: 0, **{one: 128 + one for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}}
"""Signals that end it, and the exit status."""


def _life(row: dict[str, Any], cells: str) -> str:
    """The lifetime that runs out first, as a bar."""
    if not row["limits"]:
        return "-"
    limit = max(row["limits"], key=lambda one: one["share"])
    return f"{bar(limit, _BAR, *cells)} {limit['share']:.0%} {limit['kind'].removesuffix('_seconds')}"


def _colour(share: float) -> str:
    return "red" if share >= 0.9 else "yellow" if share >= 0.7 else "green"


def screen(shown: Shown, view: View, height: int, width: int, plain: bool = False) -> Any:
    """What rich prints of a sample, in at most as many lines and columns. `plain`: in ASCII."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = view.rows(shown)
    counters = [(name, value) for name, value in (shown.sample.statistics or {}).items() if value]
    log = list(view.log)[-_EVENTS:]
    policies = shown.policies[:_USED] if view.policies else []
    room = max(3, height - 6 - len(counters) - len(log) - (len(policies) + 1 if policies else 0))
    cut: Any = "crop" if plain else "ellipsis"
    parts: list[Any] = [_head(shown, view, len(rows))]
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="bold reverse")
    texts = [cells(row) for row in rows[:room]]
    for row, line in zip(rows, texts, strict=False):
        line[_HEADS.index("life")] = _life(row, _ASCII if plain else _CELLS)
    columns = _fitting(texts, width)
    for number in columns:
        name = _HEADS[number]
        side: Any = "left" if name in ("state", "mode", "life") else "right"
        table.add_column(name, justify=side, no_wrap=True, overflow=cut)
    for row, line in zip(rows, texts, strict=False):
        styles = {"life": _colour(row["life"]), "failed": "red" if row["errors"] else ""}
        found = [Text(line[number], styles.get(_HEADS[number], "")) for number in columns]
        table.add_row(*found, style="" if row["packets_per_second"] or row["errors"] else "dim")
    parts.append(table)
    if len(rows) > room:
        parts.append(Text(f"... and {len(rows) - room} more", "dim"))
    if policies:
        parts.append(Text("policies, used last", "bold"))
        for row in policies:
            parts.append(
                Text(f"  {duration(row['idle']):>6} ago  {policy_line(row)}", "green" if row["hit"] else "")
            )
    for name, value in counters:
        delta = shown.deltas[name]
        parts.append(Text(f"{name} {value}" + (f"  +{delta}" if delta else ""), "bold red" if delta else "dim"))
    parts += [Text(line, "cyan") for line in log]
    parts.append(_foot(view))
    for part in parts:
        if isinstance(part, Text):
            part.no_wrap, part.overflow = True, cut
    return Group(*parts)


def _fitting(texts: list[list[str]], width: int) -> list[int]:
    """The numbers of the columns that there is room for."""
    widths = [max(len(line[number]) for line in [list(_HEADS), *texts]) + 1 for number in range(len(_HEADS))]
    columns = list(range(len(_HEADS)))
    for name in _DISPENSABLE:
        if sum(widths[number] for number in columns) <= width:
            break
        columns.remove(_HEADS.index(name))
    return columns


def _head(shown: Shown, view: View, count: int) -> Any:
    from rich.text import Text

    when = time.strftime("%H:%M:%S", time.localtime(shown.sample.time))
    text = f"{when}  {len(shown.states)} SAs" + (f" ({count} shown)" if count != len(shown.states) else "")
    text += f", {shown.sample.policy_count} policies"
    if shown.seconds:
        text += f"   {short(shown.total('bytes_per_second'))} bytes/s"
        text += f"  {short(shown.total('packets_per_second'))} packets/s"
    text += f"   every {view.interval:g} s, by {view.sort}" + (" reversed" if view.reverse else "")
    return Text(text + (f", {printable(view.filter_text)}" if view.filter_text else ""), "bold")


def _foot(view: View) -> Any:
    from rich.text import Text

    if view.typing is not None:
        return Text(f"filter: {printable(view.typing)}_", "bold yellow")
    if view.message:
        return Text(view.message, "yellow")
    return Text(f"PAUSED  {view.HELP}" if view.paused else view.HELP, "dim")


# --- the terminal -------------------------------------------------------------------------------------------------


class Keyboard:
    """Single keys and signals, while it is entered; then the terminal is as it was."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Keyboard:
        import termios

        with contextlib.ExitStack() as stack:
            self._attributes = termios.tcgetattr(self._terminal)
            self.cbreak()
            stack.callback(self.restore)
            self._signals, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, self._signals)
            stack.callback(os.close, write)
            # Python's own handler writes the number there: nothing is torn out of the middle of drawing.
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(write, warn_on_full_buffer=False))
            for number in (*_STOPPING, signal.SIGTSTP, signal.SIGWINCH):
                stack.callback(signal.signal, number, signal.signal(number, lambda *_: None))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def cbreak(self) -> None:
        """Keys come one by one, and are not echoed."""
        import tty

        tty.setcbreak(self._terminal)

    def restore(self) -> None:
        """Makes the terminal what it was."""
        import termios

        termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._attributes)

    def read(self, seconds: float) -> tuple[list[str], list[int]]:
        """The keys that are pressed and the signals that come within a time; returns with the first. A key "" is
        the end of the input."""
        ready, _, _ = select.select([self._terminal, self._signals], [], [], max(0.0, seconds))
        keys: list[str] = []
        signals: list[int] = []
        if self._terminal in ready:
            try:
                data = os.read(self._terminal, 1024)
            except OSError:  # the terminal is gone
                data = b""
            # Keys that are sequences (arrows) mean nothing, and their letters shall not either.
            text = data.decode("utf-8", "replace")
            keys = [] if len(text) > 1 and text[0] == "\x1b" else list(text) or [""]
        if self._signals in ready:
            signals = list(os.read(self._signals, 1024))
        return keys, signals


def _events(subscription: Subscription | None, now: float) -> Iterator[str]:
    """Lines for what only the kernel's events tell."""
    if subscription is None:
        return
    when = time.strftime("%H:%M:%S", time.localtime(now))
    for event in _waiting(subscription):
        body = None if isinstance(event, Overrun) else event.body
        if isinstance(event, Overrun):
            yield f"{when} events were lost"
        elif isinstance(body, StateExpired):
            state = body.state
            name = f"{state.protocol.name.lower()} {state.spi:#010x} {state.source} -> {state.destination}"
            yield f"{when} {'expired' if body.hard else 'soft limit reached'}: {name}"
        elif isinstance(body, Acquire):
            yield f"{when} ACQUIRE: {body.selector.source} -> {body.selector.destination}"


def _waiting(subscription: Subscription) -> Iterator[Event | Overrun]:
    """The events that wait, without those that make no sense. In a flood, some are left for the next time."""
    for _ in range(_BATCHES):
        try:
            events = subscription.get_many(_BATCH, timeout=0)
        except ProtocolError:
            continue
        if not events:
            break
        yield from events


def watch(context: Context, view: View, clock: Clock, picture: str | None) -> int:
    """The live view, until q, Ctrl-C or a signal. Returns the exit status."""
    try:
        from rich.console import Console
        from rich.live import Live
    except ModuleNotFoundError:
        raise NoRich("top") from None
    console = Console(file=context.out, highlight=False)
    if console.is_dumb_terminal or not console.is_terminal:
        raise wrong("top", None, NEEDS_TERMINAL)
    plain = not encodable(context.out, _CELLS)
    if isinstance(context.out, TextIOWrapper):
        context.out.reconfigure(errors="replace")  # a letter that can't be shown must not end it
    session = context.session()

    def draw() -> Any:
        return screen(shown, view, console.height, console.width, plain)

    status = 0
    with contextlib.ExitStack() as stack:
        subscription: Subscription | None = None
        with contextlib.suppress(XfrmError):  # without the right to listen there are no such lines
            subscription = stack.enter_context(session.subscribe("acquire", "expire"))
        shown = Shown(take(session, clock.now()), None)  # what is wrong is said on the screen that was there
        keyboard = stack.enter_context(Keyboard(sys.stdin.fileno()))
        stack.push(lambda kind, *_: _leave(context.out) if kind is not None else None)
        live = Live(draw(), console=console, screen=True, auto_refresh=False)
        stack.enter_context(live)
        live.refresh()
        due = clock.now() + view.interval
        while True:
            keys, signals = keyboard.read(due - clock.now())
            stopping = [number for number in signals if number in _STOPPING]
            if stopping:
                status = _STOPPING[signal.Signals(stopping[0])]
                break
            if signal.SIGTSTP in signals:
                _suspend(live, keyboard)
            if not all(view.press(key) for key in keys):
                break
            now = clock.now()
            due = min(due, now + view.interval)
            if now >= due:
                if not view.paused:
                    shown = _next(shown, take(session, now), view)
                view.log.extend(_events(subscription, now))
                due = clock.now() + view.interval  # keys come first, however long a sample takes
            live.update(draw(), refresh=True)
    if picture:
        export_svg([screen(shown, view, console.height, console.width)], picture, "xfrm top", console.width)
    return status


def _leave(out: TextIO) -> None:
    """Gives the screen back after a failure, which may have been that of drawing."""
    with contextlib.suppress(OSError, ValueError):
        out.write(_USUAL_SCREEN)
        out.flush()


def _next(before: Shown, sample: Sample, view: View) -> Shown:
    """The next sample, and lines for what happened."""
    shown = Shown(sample, before.sample)
    when = time.strftime("%H:%M:%S", time.localtime(sample.time))
    view.log.extend(f"{when} {line}" for line in shown.changes())
    return shown


def _suspend(live: Any, keyboard: Keyboard) -> None:
    """Ctrl-Z: gives the terminal back, stops, and takes it again when the shell says so."""
    live.stop()
    keyboard.restore()
    os.kill(os.getpid(), signal.SIGSTOP)
    keyboard.cbreak()
    live.start(refresh=True)

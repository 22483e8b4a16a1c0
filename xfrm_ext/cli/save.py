# SPDX-License-Identifier: MIT
"""`xfrm save`: all policies and states as a file that `xfrm load` reads. See docs/load.md."""

from __future__ import annotations

import os
import signal
import stat
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

from xfrm_ext.cli.formats import FORMATS
from xfrm_ext.cli.streams import checked_path
from xfrm_ext.constants import Direction, Protocol
from xfrm_ext.errors import ValidationError
from xfrm_ext.lifetime import UNUSED
from xfrm_ext.policy import Policy
from xfrm_ext.wire.layouts import HEADER, POLICY

if TYPE_CHECKING:
    from argparse import Namespace

    from xfrm_ext.cli.context import Context
    from xfrm_ext.state import State

    Write = Callable[[Policy | State], str]
    """The text for one value. Raises ValidationError for what its format can't express."""

_PIECE = 1024  # values whose text is made at once
_PROTOCOLS = (Protocol.ESP, Protocol.AH, Protocol.COMP, Protocol.ROUTE2, Protocol.HAO)
_DIRECTIONS = (Direction.IN, Direction.OUT, Direction.FWD)
_LIFETIME, _CURRENT, _PRIORITY, _INDEX, _DIRECTION = (
    HEADER.size + POLICY.place(name).offset for name in ("lifetime", "current", "priority", "index", "direction")
)
_KEPT = 4096  # texts of what policies have in common
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_UNUSED, _NO_INDEX = bytes(_PRIORITY - _CURRENT), bytes(_DIRECTION - _INDEX)


def run(words: list[str], context: Context) -> int:
    """`xfrm save` with these words. Returns 0; 1: the format can't express all that there is."""
    options = _options(words)
    save = _Save(options, context)
    with _output(options.output, context) as out:
        save.write_to(out)
    return save.report()


def _options(words: list[str]) -> Namespace:
    from xfrm_ext.cli.arguments import Arguments

    parser = Arguments(
        "save",
        "Writes policies and states in a form that `xfrm load` reads. States that have keys are written with "
        "--with-keys alone.",
    )
    parser.add_argument("--format", choices=FORMATS, default="ip", help="default: ip, of `ip -batch`")
    parser.add_argument("--with-keys", action="store_true", help="with the states that have keys, and those keys")
    parser.add_argument("--policies", action="store_true", help="policies alone, unless --states is given too")
    parser.add_argument("--states", action="store_true", help="states alone, unless --policies is given too")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="readable by its owner only; default: standard output"
    )
    return parser.parse_args(words)


class _Save:
    """One run of `xfrm save`."""

    def __init__(self, options: Namespace, context: Context) -> None:
        self._options = options
        self._context = context
        self._write: Write = {"ip": self._as_line, "setkey": self._as_statement, "json": self._as_json}[
            options.format
        ]
        self._inexpressible: Counter[tuple[str, str]] = Counter()
        self._without_keys = 0
        self._tails: dict[bytes, str] = {}

    def write_to(self, out: TextIO) -> None:
        """Writes states, then policies: were it the other way, packets would ask for states that come yet."""
        session = self._context.session()
        both = self._options.policies == self._options.states
        if self._options.format == "setkey":
            from xfrm_ext.setkey import to_setkey

            out.write(to_setkey(()))  # the line that says how to read the others
        if both or self._options.states:
            for text in self._oldest_first(self._states(session.sad.dump())):
                out.write(text)
        if both or self._options.policies:
            for text in self._oldest_first(self._policies(session.spd.dump())):
                out.write(text)

    def report(self) -> int:
        """Says on stderr what was left out. Returns the exit status."""
        say = self._context.err.write
        if self._without_keys:
            say(f"{_number(self._without_keys, 'state')} with keys left out: --with-keys writes them\n")
        for (what, field), count in self._inexpressible.most_common():
            say(f"{_number(count, what)} left out: format {self._options.format} can't express {field}\n")
        return 1 if self._inexpressible else 0

    def _oldest_first(self, values: Iterator[Policy | State]) -> Iterator[str]:
        """The texts of values that come newest first, as the kernel dumps them: loaded in this order, they are in
        the same order again, which decides between policies of the same priority. Meanwhile the texts are kept,
        compressed."""
        pieces = []
        while some := list(islice(values, _PIECE)):
            text = "".join(self._text(value) for value in reversed(some))
            pieces.append(zlib.compress(text.encode("utf-8", "surrogateescape"), 1))
        while pieces:
            yield zlib.decompress(pieces.pop()).decode("utf-8", "surrogateescape")

    def _text(self, value: Policy | State) -> str:
        try:
            return self._write(value)
        except ValidationError as error:
            what = "policy" if isinstance(value, Policy) else "state"
            self._inexpressible[what, error.field] += 1
            return ""

    # What of values is written: nothing that the kernel counts and numbers itself.

    def _policies(self, policies: Iterable[Policy]) -> Iterator[Policy]:
        for policy in policies:
            data = policy._wire
            if data[_DIRECTION] not in _DIRECTIONS:
                continue  # a socket's, which nobody else can add
            yield Policy._from_wire(
                data[:_CURRENT] + _UNUSED + data[_PRIORITY:_INDEX] + _NO_INDEX + data[_DIRECTION:]
            )

    def _states(self, states: Iterable[State]) -> Iterator[State]:
        from xfrm_ext.lookup import larval
        from xfrm_ext.state import NO_STATISTICS

        for state in states:
            if larval(state) or state.protocol not in _PROTOCOLS:
                continue  # waits for its keys, or was made by the kernel, for a tunnel of IPComp
            if not self._options.with_keys and _has_keys(state):
                self._without_keys += 1
                continue
            yield replace(
                state,
                current=UNUSED,
                statistics=NO_STATISTICS,
                last_used=None,
                security_context=_as_sent(state.security_context),
            )

    # The formats.

    def _as_line(self, value: Policy | State) -> str:
        from xfrm_ext.iproute2.as_command import policy_selector, words_of
        from xfrm_ext.iproute2.batch import join

        name = self._context.interface_name
        if isinstance(value, Policy):
            packets = join(policy_selector(value.selector, name))
            return f"xfrm policy add {packets} {self._tail(value)}\n"
        return f"{join(words_of(value, show_keys=True, interface_name=name))}\n"

    def _tail(self, policy: Policy) -> str:
        """What stands behind the selector: often the same for many."""
        data = policy._wire[_LIFETIME:]
        found = self._tails.get(data)
        if found is None:
            from xfrm_ext.iproute2.as_command import policy_rest
            from xfrm_ext.iproute2.batch import join

            found = join(policy_rest(_policy_as_sent(policy), self._context.interface_name))
            if len(self._tails) >= _KEPT:
                self._tails.clear()
            self._tails[data] = found
        return found

    def _as_statement(self, value: Policy | State) -> str:
        from xfrm_ext.setkey import to_setkey

        if isinstance(value, Policy):
            value = _policy_as_sent(value)
        return to_setkey((value,), show_keys=True).partition("\n")[2]

    def _as_json(self, value: Policy | State) -> str:
        from xfrm_ext.documents import line, to_document

        if isinstance(value, Policy):
            value = _policy_as_sent(value)
        return line(to_document(value, show_keys=True, interface_name=self._context.interface_name))


def _number(count: int, what: str) -> str:
    plural = {"policy": "policies", "state": "states"}[what]
    return f"{count:,} {what if count == 1 else plural}"


def _as_sent(context: Any) -> Any:
    """A security context as it was sent: the kernel answers with one NUL more."""
    return (
        context
        if context is None or context.terminated < 2
        else replace(context, terminated=context.terminated - 1)
    )


def _policy_as_sent(policy: Policy) -> Policy:
    context = policy.security_context
    return policy if context is None else replace(policy, security_context=_as_sent(context))


def _has_keys(state: State) -> bool:
    algorithms = (state.authentication, state.encryption, state.aead, state.compression)
    return any(one is not None and len(one.key) for one in algorithms) or any(
        one.has_key for one in state.attributes
    )


@contextmanager
def _output(path: str | None, context: Context) -> Iterator[TextIO]:
    """Where to write: standard output, or a file that takes its name when all is in it, and on the disk. Nobody
    but its owner may read it at any moment. Raises OSError, CommandError."""
    if path is None:
        yield context.out
        return
    checked_path(path, "save -o")
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a terminal stays what it is
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
                yield out
            return
    path = os.path.realpath(path)  # what a link points at is written, not the link
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".xfrm-{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with _ended_by_exception():
        try:
            number = os.open(temporary, flags, 0o600)
            with open(number, "w", encoding="utf-8", errors="surrogateescape") as out:
                os.fchmod(number, 0o600)  # whatever the umask is
                yield out
                out.flush()
                os.fsync(number)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    # The name. The file is complete, and in place: where a folder can't be read, that has to do.
    with suppress(OSError):
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _ended_by_exception() -> Iterator[None]:
    """Has SIGTERM and SIGHUP raise SystemExit, with the status that shells call such a death by, so that what is
    half done is removed. Those that are ignored, or that somebody handles, stay as they are; in threads all do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [one for one in _ENDING if signal.getsignal(one) is signal.SIG_DFL]

    def end(number: int, frame: object) -> None:
        for one in ours:
            signal.signal(one, signal.SIG_IGN)  # a second one would stop the removal
        raise SystemExit(128 + number)

    try:
        for one in ours:
            signal.signal(one, end)
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)

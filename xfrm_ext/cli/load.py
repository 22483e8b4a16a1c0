# SPDX-License-Identifier: MIT
"""`xfrm load`: policies, states and whatever else a file asks for, at the kernel's own speed. See docs/load.md."""

from __future__ import annotations

import errno
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from xfrm_ext import wire
from xfrm_ext.ahead import ahead
from xfrm_ext.bulk import (
    BATCH,
    Block,
    Indices,
    Load,
    LoadResult,
    OnError,
    PolicyItems,
    Progress,
    block_sizes,
)
from xfrm_ext.cli.block import joined
from xfrm_ext.cli.formats import ADDITIONS, FORMATS, DeleteAll, Entry, Input
from xfrm_ext.constants import Message
from xfrm_ext.errors import BatchFileError, CommandError, KernelError, LoadError, PermissionDenied
from xfrm_ext.transport import Transport, messages

if TYPE_CHECKING:
    from argparse import Namespace

    from xfrm_ext.batchfile import BatchFile
    from xfrm_ext.cli.context import Context

Part: TypeAlias = "Block | DeleteAll | BatchFileError"

_SHOWN = 20  # failed lines, unless -v says all
_SOME_FAILED, _NOTHING_DONE = 1, 2
_WORDS = {
    Message.NEWPOLICY: ("policy", "policies", "added"),
    Message.UPDPOLICY: ("policy", "policies", "updated"),
    Message.DELPOLICY: ("policy", "policies", "deleted"),
    Message.NEWSA: ("state", "states", "added"),
    Message.UPDSA: ("state", "states", "updated"),
    Message.DELSA: ("state", "states", "deleted"),
}


def run(words: list[str], context: Context) -> int:
    """`xfrm load` with these words. Returns 0; 1: some items failed; 2: nothing was done."""
    options = _options(words)
    return _Run(options, context).run()


def _options(words: list[str]) -> Namespace:
    from xfrm_ext.cli.arguments import Arguments

    parser = Arguments(
        "load",
        "Carries out a file in as few exchanges with the kernel as can be; - is standard input.",
    )
    parser.add_argument("--format", choices=FORMATS, help="of the file; default: as its first word tells")
    parser.add_argument("--dry-run", action="store_true", help="check and count, and send nothing")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--rollback", action="store_true", help="when anything fails, remove what was added")
    ways.add_argument(
        "--keep-going", action="store_true", help="leave out what is wrong, go on when anything fails"
    )
    parser.add_argument("--progress", choices=("auto", "always", "never"), default="auto", help="a bar on stderr")
    parser.add_argument("-v", "--verbose", action="store_true", help="show all lines that failed")
    parser.add_argument("file", metavar="FILE", help="of `ip -batch`, setkey.conf or JSON; -: standard input")
    return parser.parse_args(words)


class _Items(PolicyItems):
    """What a load has to know of messages of any kind, to take back those that add something."""

    def __init__(self, waits: bool) -> None:
        self.waits = waits

    def keys(self, block: bytearray, count: int) -> list[bytes]:
        """A letter, and what the kernel tells a policy apart by, or the message that deletes a state."""
        found: list[bytes] = []
        for kind, run in _runs(messages(memoryview(block))):
            part = joined(run)
            if kind == Message.NEWPOLICY:
                found += (b"p" + key for key in wire.policy_keys(part, len(run)))
            else:
                found += (b"s" + one for one in messages(bytes(wire.delete_state_messages(part))))
                part[:] = bytes(len(part))
        return found

    def ours(self, beside: Transport, added: dict[bytes, int], operation: str) -> Iterator[tuple[bytes, int]]:
        """Of what a load added, by key, what is there now: message and item."""
        yield from ((key[1:], item) for key, item in added.items() if key[:1] == b"s")
        policies = {key[1:]: item for key, item in added.items() if key[:1] == b"p"}
        if policies:
            yield from super().ours(beside, policies, operation)

    def removal(self, ours: list[bytes]) -> bytearray:
        """The messages that remove them."""
        found = bytearray()
        for kind, run in _runs(ours):
            found += super().removal(run) if kind == Message.NEWPOLICY else joined(run)
        return found


def _runs(listed: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Messages of one type that follow each other."""
    return ((kind, list(run)) for kind, run in groupby(listed, wire.message_type))


class _Kinds:
    """Of what type each item of a load was, by its number; 0: a line that is wrong."""

    def __init__(self, one_type: int | None = None) -> None:
        """`one_type`: that of all items; then they need not be looked at."""
        self._one_type = one_type
        self._types = bytearray()

    def note(self, part: Part) -> None:
        """Takes note of the items of a part, which follow those of the one before."""
        if self._one_type is None:
            self._types += bytes(wire.message_types(part.messages)) if isinstance(part, Block) else b"\0"

    def counted(self, items: Indices) -> str:
        """What items are: "2 policies added, 1 state deleted"."""
        found: Counter[int] = Counter()
        if self._one_type is not None:
            found[self._one_type] = len(items)
        else:
            for one in items.ranges:
                found.update(self._types[one.start : one.stop])
        texts = []
        for kind, (one_word, words, done) in _WORDS.items():
            if number := found.pop(kind, 0):
                texts.append(f"{number:,} {one_word if number == 1 else words} {done}")
        if number := found.total():
            texts.append(f"{number:,} other change{'s' if number > 1 else ''}")
        return ", ".join(texts) or "nothing done"


def _parts(entries: Iterable[Entry | DeleteAll | BatchFileError], sizes: Iterator[int]) -> Iterator[Part]:
    """Messages that follow each other in blocks, which whoever gets them wipes; all else as it is."""
    found: list[Entry] = []
    most = next(sizes)
    for entry in entries:
        if isinstance(entry, Entry):
            found.append(entry)
        if found and (len(found) == most or not isinstance(entry, Entry)):
            yield _block(found)
            found, most = [], next(sizes)
        if not isinstance(entry, Entry):
            yield entry
    if found:
        yield _block(found)


def _block(entries: list[Entry]) -> Block:
    numbers = array("I", (entry.line for entry in entries)).tobytes()
    return Block(joined([entry.message for entry in entries]), len(entries), numbers)


def _wipe(part: Part) -> None:
    if isinstance(part, Block):
        part.messages[:] = bytes(len(part.messages))


class _Run:
    """One run of `xfrm load`."""

    def __init__(self, options: Namespace, context: Context) -> None:
        self._options = options
        self._source = Input(options.file)
        self._context = context
        self._on_error: OnError = "collect" if options.keep_going else "rollback" if options.rollback else "raise"
        self._kinds = _Kinds()
        self._bar = Bar(context, options.progress)
        self._load: Load | None = None
        self._told = False

    def run(self) -> int:
        try:
            self._open()
            with closing(self._source):
                return self._run()
        except KeyboardInterrupt as error:
            if not self._told:  # it came before the first send, or right behind the last
                self._interrupted(error)
            raise

    def _open(self) -> None:
        try:
            self._source.open()
        except OSError as error:
            rule = f"can't be read: {error.strerror}"
            raise CommandError(self._options.file, None, rule, _NOTHING_DONE) from None

    def _interrupted(self, error: KeyboardInterrupt) -> None:
        result = LoadResult("load")
        if self._load is not None:
            result = self._load.result
            _add_rest(result, self._load.total)
        self._tell(result, cause=error)

    def _run(self) -> int:
        form = self._options.format or self._source.detect()
        if form == "ip" and not self._context.options.family:  # the parser in C knows nothing of -4 and -6
            status = self._run_policies()
            if status is not None:
                return status
        return self._run_entries(form)

    # Where the items come from.

    def _run_policies(self) -> int | None:
        """A file of policies alone, which the parser in C reads; None for others, and for those with a wrong line:
        the grammar in Python says what is wrong, and takes some forms that the other refuses."""
        from xfrm_ext.batchfile import BatchFile

        file = BatchFile(self._source.path, self._context.interface_index)
        with closing(file):
            try:
                total = self._checked(file)
            except BatchFileError:
                return None
            if self._options.dry_run:
                return self._tell(LoadResult("load", not_sent=Indices([range(total)]), taken=total))
            sizes = block_sizes(BATCH, self._bar.progress)
            with ahead(file.parse(sizes)) as blocks:
                return self._send(blocks, total, waits=True)

    def _checked(self, file: BatchFile) -> int:
        """The number of items. Raises BatchFileError."""
        try:
            total = file.check(only_adds=True)
        except BatchFileError:
            if self._options.rollback:
                raise
            return file.check()
        except OSError as error:  # it is being written
            raise OSError(error.errno, error.strerror, self._source.name) from None
        self._kinds = _Kinds(Message.NEWPOLICY)
        return total

    def _run_entries(self, form: str) -> int:
        """Any file, read item by item."""
        entries = self._source.entries(form, self._context)
        if self._options.rollback:
            entries = map(self._only_additions, entries)
        parts = _parts(entries, block_sizes(BATCH, self._bar.progress))
        if self._options.keep_going and not self._options.dry_run:
            return self._send(self._expanded(parts), None, waits=True)
        held: list[Part] = []
        try:
            held.extend(parts)
            if self._options.dry_run or any(isinstance(part, BatchFileError) for part in held):
                return self._tell(self._not_sent(held))
            blocks = [part for part in held if isinstance(part, Block)]
            waits = any(Message.NEWPOLICY in wire.message_types(block.messages) for block in blocks)
            return self._send(self._expanded(held), sum(block.count for block in blocks), waits)
        finally:
            for part in held:
                _wipe(part)

    def _only_additions(self, entry: Entry | DeleteAll | BatchFileError) -> Entry | DeleteAll | BatchFileError:
        if isinstance(entry, BatchFileError):
            return entry
        if isinstance(entry, Entry) and wire.message_type(entry.message) in ADDITIONS:
            return entry
        return BatchFileError(self._source.name, entry.line, "can't be taken back (--rollback): only add can")

    def _expanded(self, parts: Iterable[Part]) -> Iterator[Block | BatchFileError]:
        """The parts, and in place of a `deleteall` what deletes that which is there when its turn comes."""
        for part in parts:
            several = self._deletions(part) if isinstance(part, DeleteAll) else (part,)
            for one in several:
                try:
                    yield one
                finally:
                    _wipe(one)

    def _deletions(self, part: DeleteAll) -> Iterator[Any]:
        session = self._context.session()
        doomed = []
        for block in session._dump(bytes(part.request), "dump what is to be deleted"):
            found = [message for message in messages(memoryview(block)) if part.accepts(message)]
            doomed += [Entry(part.line, part.delete_message(message)) for message in found]
            block[:] = bytes(len(block))  # there are keys in it
        return _parts(doomed, block_sizes(BATCH, self._bar.progress))

    # What becomes of them.

    def _not_sent(self, parts: list[Part]) -> LoadResult:
        """The result of what was only checked."""
        result, good = LoadResult("load"), []
        for part in parts:
            self._kinds.note(part)
            count = part.count if isinstance(part, Block) else 1
            if isinstance(part, BatchFileError):
                result.failed.append(BatchFileError(part.path, part.line, part.reason, result.taken))
            else:
                good.append(range(result.taken, result.taken + count))
            result.taken += count
        result.not_sent = Indices(good)
        return result

    def _noted(self, parts: Iterable[Block | BatchFileError]) -> Iterator[Block | BatchFileError]:
        for part in parts:
            self._kinds.note(part)
            yield part

    def _send(self, parts: Iterable[Block | BatchFileError], total: int | None, waits: bool) -> int:
        session = self._context.session()
        items = _Items(waits)
        progress, wait = self._bar.progress, session.timeout
        self._load = load = Load(
            session._transport, items, session.spd.count, "load", self._on_error, BATCH, progress, None, wait
        )
        load.total = total
        cause: BaseException | None = None
        started = time.monotonic()
        try:
            with self._bar:
                load.run(self._noted(parts))
        except LoadError as error:
            cause = error.__cause__
            _add_rest(load.result, total)
        except BaseException as error:
            _add_rest(load.result, total)
            self._tell(load.result, time.monotonic() - started, error)
            raise
        seconds = time.monotonic() - started
        first = next((error for error in load.result.failed if isinstance(error, KernelError)), None)
        if isinstance(first, PermissionDenied) and not load.result.applied:
            raise first  # of which there is one for each item
        return self._tell(load.result, seconds, cause)

    def _tell(self, result: LoadResult, seconds: float = 0.0, cause: BaseException | None = None) -> int:
        """Says what was done. Returns the exit status."""
        self._told = True
        out = self._context.out
        if self._context.json:
            from xfrm_ext.documents import line, to_document

            out.write(line(to_document(result, file=self._source.name), pretty=self._context.pretty))
        else:
            self._show_failed(result.failed)
            if result.rollback_error is not None:
                self._say(f"the rollback did not finish: {result.rollback_error}")
            if cause is not None and not (isinstance(cause, KernelError) and cause.index is not None):
                self._say("interrupted" if isinstance(cause, KeyboardInterrupt) else f"stopped: {cause}")
            out.write(f"{self._summary(result, seconds)}\n")
        if not result.failed and cause is None:
            return 0
        some = result.applied or (self._options.dry_run and self._options.keep_going and result.not_sent)
        return _SOME_FAILED if some else _NOTHING_DONE

    def _summary(self, result: LoadResult, seconds: float) -> str:
        """ "100,000 policies added in 0.12 s (830,000/s), 2 failed"."""
        if self._options.dry_run:
            text = f"dry run, nothing was sent: {self._kinds.counted(result.not_sent)}"
            return f"{text}, {len(result.failed):,} wrong" if result.failed else text
        text = self._kinds.counted(result.applied)
        if result.applied:
            text += f" in {seconds:.2f} s ({len(result.applied) / max(seconds, 1e-6):,.0f}/s)"
        for name in ("failed", "unknown", "not_sent", "rolled_back"):
            if number := len(getattr(result, name)):
                text += f", {number:,} {name.replace('_', ' ')}"
        return text

    def _show_failed(self, failed: list[KernelError | BatchFileError]) -> None:
        shown = failed if self._options.verbose else failed[:_SHOWN]
        for error in shown:
            self._say(f"{self._source.name}:{error.line}: {_reason(error)}")
        if len(shown) < len(failed):
            self._say(f"and {len(failed) - len(shown):,} more, which -v shows")

    def _say(self, text: str) -> None:
        self._context.err.write(f"{text}\n")


def _add_rest(result: LoadResult, total: int | None) -> None:
    """Adds the items that a load did not get to: they were read and checked before it began."""
    if total is not None and total > result.taken:
        result.not_sent = Indices((*result.not_sent.ranges, range(result.taken, total)))
        result.taken = total


def _reason(error: KernelError | BatchFileError) -> str:
    """Why an item failed, without where."""
    if isinstance(error, BatchFileError):
        return error.reason
    text = f"{error.strerror} [{errno.errorcode.get(error.errno or 0, error.errno)}]"
    if error.kernel_text:
        text += f": {error.kernel_text}"
    return f"{text} ({error.attribute})" if error.attribute else text


class Bar:
    """A progress bar on stderr, where there is a terminal, and rich. With one, each send is a block of its own."""

    def __init__(self, context: Context, when: str) -> None:
        """`when`: auto, always (no terminal needed) or never."""
        self.progress: Progress | None = None
        self._bar: Any = None
        if when == "never" or (when == "auto" and (context.json or not context.err.isatty())):
            return
        try:
            from rich.console import Console
            from rich.progress import Progress as RichProgress
            from rich.progress import TextColumn
        except ImportError:
            return
        console = Console(file=context.err, force_terminal=True if when == "always" else None)
        columns = (*RichProgress.get_default_columns(), TextColumn("{task.completed:,}"))
        self._bar = RichProgress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None)
        self.progress = self._show

    def _show(self, done: int, total: int | None) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

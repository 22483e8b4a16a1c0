# SPDX-License-Identifier: MIT
"""The options in front of a command, and what command it is."""

from __future__ import annotations

from contextlib import suppress

from xfrm_ext.cli.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

_OURS = ("load", "save", "top", "explain", "tree", "completion")
_STOPPED, _BROKEN_PIPE = 130, 141  # as shells call the death by SIGINT and SIGPIPE


def run(argv: Sequence[str]) -> int:
    """One run of `xfrm`, from its words to its exit status."""
    words = list(argv)
    context = Context()
    try:
        try:
            status = _run(words, context)
        except SystemExit as error:  # argparse has printed its help
            status = int(error.code or 0)
        context.out.flush()
    except BrokenPipeError:
        status = _BROKEN_PIPE
    except KeyboardInterrupt:
        _flush(context.out)
        status = _STOPPED
    except Exception as error:
        status = fail(context, error, context.sent)
    finally:
        context.close()
    return status


def _run(words: list[str], context: Context) -> int:
    from xfrm_ext.iproute2 import options

    line, settings, rest = options.read(words)
    context.take(line, settings)
    if settings.version:
        from xfrm_ext import __version__

        context.out.write(
            f"xfrm (xfrm_ext) {__version__}, with the grammar and texts of `ip xfrm` of iproute2 7.1\n"
        )
        return 0
    if settings.batch is not None:
        from xfrm_ext.cli.batch import run_batch

        return run_batch(settings.batch, settings.force, context)
    if settings.help or not rest:
        return _help("xfrm", settings.help, context)
    if rest[0] in _OURS:
        from importlib import import_module

        if rest[1:] in (["help"], ["-h"]):
            rest = [rest[0], "--help"]
        status: int = import_module(f"xfrm_ext.cli.{rest[0]}").run(rest[1:], context)
        return status
    from xfrm_ext.cli.run import run_words

    return run_words(rest, context)


def _help(topic: str, asked: bool, context: Context) -> int:
    """A help text: on stdout for who asks as other commands are asked, else on stderr and with `ip`'s status."""
    from xfrm_ext.iproute2.help import text

    (context.out if asked else context.err).write(text(topic))
    return 0 if asked else 255


def fail(context: Context, error: Exception, message: Any = None, where: str = "") -> int:
    """Says on stderr what went wrong. Returns the exit status."""
    from xfrm_ext.cli.failure import failure
    from xfrm_ext.errors import CommandError, KernelError

    _flush(context.out)  # what was printed before stands before
    with suppress(OSError, ValueError):  # nobody can be told
        if context.debug:
            from traceback import print_exception

            print_exception(type(error), error, error.__traceback__, file=context.err)
        context.err.write(f"{where}{failure(error, message)}\n")
        context.err.flush()
    if isinstance(error, CommandError):
        return error.status
    return 2 if isinstance(error, KernelError) else 1


def _flush(out: TextIO) -> None:
    """Flushes where that can be done."""
    with suppress(OSError, ValueError):
        out.flush()

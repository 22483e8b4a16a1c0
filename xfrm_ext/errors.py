# SPDX-License-Identifier: MIT
"""Everything that can go wrong, and the one translation from the kernel's answers to exceptions.

::

    XfrmError
    ├── ValidationError (ValueError)      a value breaks a rule; nothing was sent
    │   ├── BatchFileError                a line of a batch file does
    │   ├── CommandError                  a command line does
    │   └── SetkeyError                   a statement of a setkey.conf does
    ├── KernelError (OSError)             the kernel refused: errno, its words, the attribute, the item
    │   ├── AlreadyExists (FileExistsError)       EEXIST
    │   ├── NotFound (LookupError)                ENOENT, ESRCH
    │   └── PermissionDenied (PermissionError)    EPERM, EACCES
    ├── ReplyTimeout (TimeoutError)       no reply before the deadline: the outcome is unknown
    ├── RepliesLost                       the kernel dropped replies (ENOBUFS): the outcome is unknown
    ├── ProtocolError                     a message from the kernel makes no sense
    ├── BusyError                         a signal handler used what its thread was using; two read events
    ├── NotCompiledError (ImportError)    the compiled module, and so the kernel, is out of reach
    ├── ClosedError                       the session is closed, or belongs to the parent of a fork
    ├── LoadError                         a bulk load ended early; .result says what was applied
    └── RekeyError                        a rekey ended early; .applied, .failed, .left say where

All of them can be pickled, and none of them holds a key.
"""

from __future__ import annotations

import errno as errno_module
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfrm_ext.bulk import LoadResult
    from xfrm_ext.keying import Step
    from xfrm_ext.policy import PolicyId
    from xfrm_ext.state_id import StateId

__all__ = [
    "AlreadyExists",
    "BatchFileError",
    "BusyError",
    "ClosedError",
    "CommandError",
    "KernelError",
    "LoadError",
    "NotCompiledError",
    "NotFound",
    "PermissionDenied",
    "ProtocolError",
    "RekeyError",
    "RepliesLost",
    "ReplyTimeout",
    "SetkeyError",
    "ValidationError",
    "XfrmError",
    "compiled_module_needed",
    "kernel_error",
]


class XfrmError(Exception):
    """Base of all errors of this package."""


class ValidationError(XfrmError, ValueError):
    """A value breaks a rule. Nothing was sent.

    ``field`` names where ("Selector.source"), ``value`` is the value's text, ``rule`` what it should be.
    """

    def __init__(self, field: str, value: str | None, rule: str) -> None:
        super().__init__(f"{field}: {rule}" if value is None else f"{field}: {value} {rule}")
        self.field = field
        self.value = value
        self.rule = rule

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.rule)


class BatchFileError(ValidationError):
    """A line of a batch file is wrong. That line was not sent.

    ``path`` and ``line`` (from 1) say where, ``reason`` why; ``index`` is the line's number among the items
    of the file (from 0), ``None`` when the file was only checked.
    """

    def __init__(self, path: str, line: int, reason: str, index: int | None = None) -> None:
        super().__init__(f"{path}:{line}", None, reason)
        self.path = path
        self.line = line
        self.reason = reason
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.line, self.reason, self.index)


class CommandError(ValidationError):
    """A command line is wrong. Nothing was sent.

    ``field`` is the keyword. ``status`` is what `ip` exits with: 255 where one word is wrong, 1 where words do not
    go together.
    """

    def __init__(self, field: str, value: str | None, rule: str, status: int = 255) -> None:
        super().__init__(field, value, rule)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.value, self.rule, self.status)


class SetkeyError(ValidationError):
    """A statement of a setkey.conf is wrong, or asks for what XFRM does not have. It was not sent.

    ``path``, ``line`` and ``column`` (both from 1) say where, ``reason`` why.
    """

    def __init__(self, path: str, line: int, column: int, reason: str) -> None:
        super().__init__(f"{path}:{line}:{column}", None, reason)
        self.path = path
        self.line = line
        self.column = column
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.line, self.column, self.reason)


class KernelError(XfrmError, OSError):
    """The kernel refused a request.

    ``errno`` the kernel's number; ``operation`` what was asked ("add policy"); ``kernel_text`` the kernel's
    own words (extended ACK), "" if it gave none; ``attribute`` the attribute it complains about
    ("XFRMA_TMPL"), ``None`` if it named none; ``index`` the item of a bulk operation (from 0), else ``None``;
    ``line`` the line of a batch file that the item came from, else ``None``; ``which`` the PolicyId or StateId of
    what `delete_where` could not delete, else ``None``.
    """

    def __init__(
        self,
        errno: int,
        operation: str,
        kernel_text: str = "",
        attribute: str | None = None,
        index: int | None = None,
        line: int | None = None,
    ) -> None:
        super().__init__(errno, os.strerror(errno))
        self.operation = operation
        self.kernel_text = kernel_text
        self.attribute = attribute
        self.index = index
        self.line = line
        self.which: PolicyId | StateId | None = None

    def __str__(self) -> str:
        code = errno_module.errorcode.get(self.errno or 0, str(self.errno))
        where = "" if self.index is None else f" (item {self.index})"
        if self.line is not None:
            where = f" (line {self.line})"
        elif self.which is not None:
            where = f" (item {self.index}, {self.which})"
        text = f"{self.operation}{where}: {self.strerror} [{code}]"
        if self.kernel_text:
            text += f": {self.kernel_text}"
        return f"{text} ({self.attribute})" if self.attribute else text

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.errno, self.operation, self.kernel_text, self.attribute, self.index, self.line)
        return type(self), state, {"which": self.which}


class AlreadyExists(KernelError, FileExistsError):
    """EEXIST: the kernel has one with the same identity."""


class NotFound(KernelError, LookupError):
    """ENOENT or ESRCH: the kernel has none."""


class PermissionDenied(KernelError, PermissionError):
    """EPERM or EACCES: CAP_NET_ADMIN over the network namespace is needed."""


class ReplyTimeout(XfrmError, TimeoutError):
    """The kernel did not reply before the deadline. The request may have been carried out."""


class RepliesLost(XfrmError):
    """The socket's receive buffer overflowed and replies were lost. The request may have been carried out."""


class ProtocolError(XfrmError):
    """A message from the kernel does not have the form that it should have."""


class ClosedError(XfrmError):
    """The session is closed, or it was opened before a fork by the parent process."""


class BusyError(XfrmError):
    """A signal handler used a session in the middle of an exchange that its own thread has with the kernel; or a
    second reader, in a signal handler or a thread, wanted an event from a subscription.

    (``close`` may be called at any time: it takes effect when the exchange is over.)
    """


class NotCompiledError(XfrmError, ImportError):
    """This installation lacks the compiled module: it encodes and decodes, and reaches no kernel."""


class LoadError(XfrmError):
    """A bulk load ended early. ``result`` says exactly what was applied, refused, unknown and not sent.

    ``__cause__`` is the error that ended it.
    """

    def __init__(self, message: str, result: LoadResult) -> None:
        super().__init__(message, result)
        self.message = message
        self.result = result

    def __str__(self) -> str:
        return self.message


class RekeyError(XfrmError):
    """A rekey ended early. ``applied`` lists the steps that were taken and stay so; ``failed`` is the one that was
    refused, or whose outcome is unknown when ``__cause__`` is ReplyTimeout or RepliesLost; ``left`` were not tried.
    """

    def __init__(self, applied: tuple[Step, ...], failed: Step, left: tuple[Step, ...]) -> None:
        super().__init__(applied, failed, left)
        self.applied = applied
        self.failed = failed
        self.left = left

    def __str__(self) -> str:
        done = ", ".join(map(str, self.applied)) or "nothing"
        return f"rekey: could not {self.failed}: {self.__cause__}; applied: {done}"


_CLASSES: dict[int, type[KernelError]] = {
    errno_module.EEXIST: AlreadyExists,
    errno_module.ENOENT: NotFound,
    errno_module.ESRCH: NotFound,
    errno_module.EPERM: PermissionDenied,
    errno_module.EACCES: PermissionDenied,
}


def kernel_error(
    errno: int,
    operation: str,
    kernel_text: str = "",
    attribute: str | None = None,
    index: int | None = None,
    line: int | None = None,
) -> KernelError:
    """The exception for a refusal: of the class that its errno has, or KernelError."""
    return _CLASSES.get(errno, KernelError)(errno, operation, kernel_text, attribute, index, line)


@contextmanager
def compiled_module_needed(by: str) -> Iterator[None]:
    """Around an import: says clearly what needs the compiled module, where there is none."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "xfrm_ext._native":
            raise
        rule = "needs the compiled module xfrm_ext._native, which this installation lacks"
        raise NotCompiledError(f"{by} {rule}: install it on Linux, where there is a C compiler") from None

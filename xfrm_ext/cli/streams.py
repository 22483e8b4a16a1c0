# SPDX-License-Identifier: MIT
"""What files of a command line are read from: standard input, and paths that can be one."""

from __future__ import annotations

import sys

from xfrm_ext.iproute2.words import wrong

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from typing import BinaryIO


def standard_input(field: str, status: int = 1) -> BinaryIO:
    """Standard input, to be left open: there may be more to read for others. Raises CommandError about `field`,
    what asks for it, with this exit status, where it is closed."""
    stream: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if stream is None or stream.closed:
        raise wrong(field, None, "standard input is closed", status)
    return stream


def checked_path(word: str, field: str) -> str:
    """A word that can be a path. Raises CommandError about `field` for others: no system call takes them."""
    if not word:
        raise wrong(field, word, "is not a path")
    if not is_name(word):
        raise wrong(field, word, "is not a path: it has a NUL, or what stands for no byte")
    return word


def is_name(text: str) -> bool:
    """Whether the system takes a text as the name of a file or variable."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return False

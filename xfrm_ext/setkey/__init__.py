# SPDX-License-Identifier: MIT
"""setkey.conf, the language of ipsec-tools' setkey(8), read as requests to XFRM, and written.

::

    for statement in setkey.parse(text, "setkey.conf"):
        for request in statement.requests: ...

docs/setkey.md says what is what, and where setkey on Linux and this differ.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from xfrm_ext.checks import BYTE_ORDER_MARK, shown
from xfrm_ext.errors import SetkeyError, ValidationError
from xfrm_ext.setkey.grammar import Reader, Statement
from xfrm_ext.setkey.lexer import Text
from xfrm_ext.setkey.names import SHA256_ICV_BITS
from xfrm_ext.setkey.write import to_setkey

__all__ = ["SetkeyError", "Statement", "parse", "to_setkey"]


def parse(
    text: str | bytes | bytearray,
    path: str = "-",
    *,
    interface_index: Callable[[str], int] = socket.if_nametoindex,
    forward: bool | None = None,
    sha256_icv_bits: int = SHA256_ICV_BITS,
) -> Iterator[Statement]:
    """The statements of a setkey.conf, up to an `exit`. Bytes are read as UTF-8, and what is not comes through.

    ``path`` is what errors call the file. ``interface_index`` is asked for the interface behind a "%" (0 or
    OSError: there is none). ``forward``: whether a policy for "in" is one for "fwd" too, as with ``setkey -r``, or
    not, as with ``setkey -k``; None: as the options in a first line ``#!/usr/sbin/setkey`` tell, else yes, as
    setkey does. ``sha256_icv_bits``: length of the check value of hmac-sha2-256: 96 of setkey on Linux, 128 of RFC
    4868.

    Raises SetkeyError at the first thing that is wrong: what came before has been yielded then.
    """
    if isinstance(text, (bytes, bytearray)):
        text = bytes(text).decode("utf-8", "surrogateescape")
    elif not isinstance(text, str):
        raise ValidationError("text", shown(type(text)), "is neither text nor bytes")
    whole = Text(text.removeprefix(BYTE_ORDER_MARK), path)
    del text
    if forward is None:
        forward = not _kernel_mode(whole.first_line())
    return Reader(whole, interface_index, forward, sha256_icv_bits).statements()


def _kernel_mode(line: str) -> bool:
    """Whether a file's first line is that of a program for setkey -k."""
    words = line[2:].split() if line.startswith("#!") else []
    for at, word in enumerate(words):
        if word.rpartition("/")[2] == "setkey":
            options = "".join(option for option in words[at + 1 :] if option.startswith("-"))
            return options.rfind("k") > options.rfind("r")
    return False

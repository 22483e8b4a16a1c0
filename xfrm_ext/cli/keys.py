# SPDX-License-Identifier: MIT
"""Keys that are not on the command line: in a file, in the environment, or typed.

Everybody on a machine can read the command lines of others, and shells keep them in files. So in place of a key:

* ``@FILE``: the file holds the key as a command line would: 0x and hexadecimal digits, or the text itself. One line
  feed at its end is no part of it. Others than its owner and group may not have access to it. What is no regular
  file, as ``@/dev/fd/3``, may be read but once.
* ``env:NAME``: the same in an environment variable.
* ``prompt``: asks on the terminal, and does not show what is typed.

These words can't be keys themselves; in hexadecimal they can. No error shows a word or what it stands for: a key
may look like one of these.
"""

from __future__ import annotations

import os

from xfrm_ext.cli.streams import is_name
from xfrm_ext.iproute2.as_command import HIDDEN_KEY
from xfrm_ext.iproute2.words import key_bytes, wrong

_LONGEST = 4096  # bytes of text: 512 bytes in hexadecimal are 1026
_OTHERS = 0o007


def read_key(word: str) -> bytearray:
    """The bytes of a key, from the word that stands for it or is it. Raises CommandError, which has none of it."""
    if word[:1] == "@":
        return _bytes_of(_from_file(word[1:]))
    if word[:4] == "env:":
        return _bytes_of(_from_environment(word[4:]))
    if word == "prompt":
        return _bytes_of(_from_terminal())
    if word == HIDDEN_KEY:
        raise wrong("key", None, "was left out when this was written: `xfrm save --with-keys` writes keys")
    return key_bytes(word)


def _from_file(path: str) -> bytearray:
    import stat

    text = bytearray(_LONGEST + 1)
    if not is_name(path):
        raise wrong("key", None, "is in a file whose name can't be one")
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & _OTHERS:
                raise wrong("key", None, "is in a file that others have access to: chmod o= FILE")
            size = 0
            while size < len(text) and (more := file.readinto(memoryview(text)[size:])):
                size += more
    except OSError as error:
        raise wrong("key", None, f"is in a file that can't be read: {error.strerror}") from None
    if size > _LONGEST:
        text[:] = bytes(len(text))
        raise wrong("key", None, f"is in a file of more than {_LONGEST} bytes")
    if text[:size].endswith(b"\n"):
        size -= 1
    if not size:
        raise wrong("key", None, "is in a file that is empty")
    found = text[:size]
    text[:] = bytes(len(text))
    return found


def _from_environment(name: str) -> bytearray:
    value = os.environb.get(os.fsencode(name)) if is_name(name) else None
    if value is None:
        raise wrong("key", None, "is in an environment variable that is not set")
    if not value:
        raise wrong("key", None, "is in an environment variable that is empty")
    return bytearray(value)


def _from_terminal() -> bytearray:
    import getpass
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would show what is typed
        try:
            typed = getpass.getpass("Key: ")
        except (EOFError, OSError, getpass.GetPassWarning):
            raise wrong("key", None, "can't be asked for: there is no terminal") from None
    if not typed:
        raise wrong("key", None, "was not typed")
    return bytearray(typed, "utf-8", "surrogateescape")


def _bytes_of(text: bytearray) -> bytearray:
    """What a text stands for, as `key_bytes`; the text is wiped."""
    try:
        if text[:2] != b"0x" or len(text) == 2:
            return bytearray(text)
        first = 2
        if len(text) % 2:  # a digit is missing in front
            first, text[1] = 1, ord("0")
        found = bytearray((len(text) - first) // 2)
        for place in range(len(found)):
            at = first + 2 * place
            found[place] = _digit(text[at]) << 4 | _digit(text[at + 1])
        return found
    finally:
        text[:] = bytes(len(text))


def _digit(character: int) -> int:
    value = b"0123456789abcdef".find(character | 0x20 if character >= 0x40 else character)
    if value < 0:
        raise wrong("key", None, "is not hexadecimal behind 0x") from None
    return value

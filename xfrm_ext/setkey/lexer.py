# SPDX-License-Identifier: MIT
"""The words of a setkey.conf, with where they stand, in time that grows with the text and no faster.

Texts may be keys: no token shows its text, and errors show only what the grammar gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from xfrm_ext.checks import shown
from xfrm_ext.errors import SetkeyError, ValidationError

LEFT_OUT: Final = "<key>"
"""What stands for a key in a file that was written without its keys."""

_TOKEN = re.compile(
    r"""[ \t\r\n\f\v]+ | \#[^\n]*
    | "(?P<quoted>[^"]*)"
    | (?P<mark>[;/\[\]+])
    | (?P<word>[A-Za-z0-9:_.,%-]+ | <key>)""",
    re.VERBOSE,
)
_QUOTED, _MARK, WORD = "quoted", "mark", "word"


class Token:
    """A word, a quoted text (without its quotes) or one of the marks ; / [ ] +, behind `split_hyphens` - too, and
    where it begins (from 1)."""

    __slots__ = ("column", "kind", "line", "text")

    def __init__(self, kind: str, text: str, line: int, column: int) -> None:
        self.kind = kind
        self.text = text
        self.line = line
        self.column = column

    def __repr__(self) -> str:  # the text may be a key
        return f"<{self.kind} at {self.line}:{self.column}>"


class Text:
    """A file's text, which no traceback shows."""

    __slots__ = ("_text", "path")

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self.path = path

    def first_line(self) -> str:
        return self._text.partition("\n")[0]

    def _tokens(self) -> Iterator[Token]:
        # Without a name for the text that tracebacks could show.
        match, at, line, line_start = _TOKEN.match, 0, 1, 0
        while at < len(self._text):
            found = match(self._text, at)
            column = at - line_start + 1
            if found is None:
                reason = "the quoted text that begins here has no end"
                if self._text[at] != '"':
                    reason = "here stands a character that only quoted texts have"
                raise SetkeyError(self.path, line, column, reason)
            kind = found.lastgroup
            if kind is not None:
                yield Token(kind, found[kind], line, column)
            if (kind is None or kind == _QUOTED) and "\n" in found[0]:
                line += found[0].count("\n")
                line_start = self._text.rfind("\n", at, found.end()) + 1
            at = found.end()

    def statements(self) -> Iterator[Cursor]:
        """What stands between two semicolons, as far as it is asked for."""
        tokens: list[Token] = []
        for token in self._tokens():
            tokens.append(token)
            if token.kind == _MARK and token.text == ";":
                yield Cursor(tokens, self.path)
                tokens = []
        if tokens:
            raise SetkeyError(self.path, tokens[0].line, tokens[0].column, "this statement has no ; at its end")


class Cursor:
    """The tokens of one statement, which are taken one after the other; the last is the semicolon."""

    __slots__ = ("_at", "_path", "_tokens")

    def __init__(self, tokens: list[Token], path: str) -> None:
        self._tokens = tokens
        self._path = path
        self._at = 0

    @property
    def next(self) -> Token:
        """What comes next, which is not taken."""
        return self._tokens[self._at]

    @property
    def done(self) -> bool:
        """Whether only the semicolon is left."""
        return self._at == len(self._tokens) - 1

    def take(self) -> Token:
        """The next token; at the end, again and again the semicolon."""
        token = self.next
        if not self.done:
            self._at += 1
        return token

    def take_mark(self, mark: str) -> bool:
        """Takes a mark, if that is what comes next."""
        if self.done or self.next.kind != _MARK or self.next.text != mark:
            return False
        self._at += 1
        return True

    def mark(self, mark: str, where: str) -> None:
        """Takes a mark that must come next."""
        if not self.take_mark(mark):
            raise self.error(self.next, f"expected {mark} {where}")

    def word(self, what: str) -> Token:
        """Takes a word that must come next."""
        if self.next.kind != WORD:
            raise self.error(self.next, f"expected {what}")
        return self.take()

    def quoted(self, what: str) -> Token:
        """Takes a quoted text that must come next."""
        if self.next.kind != _QUOTED:
            raise self.error(self.next, f"expected {what}, in double quotes")
        return self.take()

    def at_quoted(self) -> bool:
        return self.next.kind == _QUOTED

    def at_word(self) -> bool:
        return self.next.kind == WORD

    def number(self, what: str, most: int, *, hexadecimal: bool = False) -> int:
        """Takes a number from 0 to `most`."""
        token = self.word(what)
        number = number_of(token.text, most, hexadecimal=hexadecimal)
        if number is None:
            raise self.error(token, f"expected {what}, a number from 0 to {most}")
        return number

    def split_hyphens(self) -> None:
        """From here on hyphens are marks, as they are in policies."""
        rest: list[Token] = []
        for token in self._tokens[self._at :]:
            if token.kind != WORD or "-" not in token.text:
                rest.append(token)
                continue
            column = token.column
            for piece in re.split("(-)", token.text):
                if piece:
                    rest.append(Token(_MARK if piece == "-" else WORD, piece, token.line, column))
                column += len(piece)
        self._tokens[self._at :] = rest

    def error(self, token: Token, reason: str) -> SetkeyError:
        """The error for a token."""
        return SetkeyError(self._path, token.line, token.column, reason)

    @contextmanager
    def refusing(self, token: Token) -> Iterator[None]:
        """What a value raises becomes the error for a token."""
        try:
            yield
        except SetkeyError:
            raise
        except ValidationError as error:
            raise self.error(token, str(error).replace(" (strict=False allows it)", "")) from None


def number_of(text: str, most: int, *, hexadecimal: bool = False) -> int | None:
    """A number from 0 to `most`; None for all else."""
    if hexadecimal and text[:2] in ("0x", "0X"):
        digits, base = text[2:].lstrip("0") or text[2:3], 16
    else:
        digits, base = text.lstrip("0") or text[:1], 10
    # No sign or underscore, which int() takes, and not so long that it would take int() a while.
    if not digits.isalnum() or len(digits) > 20:
        return None
    try:
        number = int(digits, base)
    except ValueError:
        return None
    return number if number <= most else None


def quote(token: Token) -> str:
    """A word as errors show it: only where it can't be a key, or a part of one."""
    return shown(token.text) if token.kind == WORD and token.text[:2] not in ("0x", "0X") else "this"

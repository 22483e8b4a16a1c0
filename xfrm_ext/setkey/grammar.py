# SPDX-License-Identifier: MIT
"""The statements of a setkey.conf, and what states are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xfrm_ext.algorithm import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm_ext.attribute import SecurityContext
from xfrm_ext.constants import EncapsulationType, Family, Message, Mode, Protocol
from xfrm_ext.encapsulation import Encapsulation
from xfrm_ext.lifetime import LifetimeConfig
from xfrm_ext.replay import LARGEST_WINDOW
from xfrm_ext.request import Request
from xfrm_ext.secret import Secret
from xfrm_ext.setkey import names
from xfrm_ext.setkey.lexer import LEFT_OUT, WORD, Cursor, Text, Token, number_of
from xfrm_ext.setkey.policy import PolicyReader, context, endpoint, family_options
from xfrm_ext.state import State
from xfrm_ext.state_id import StateId
from xfrm_ext.state_request import SpiRequest, StateFilter

_U32, _U64 = 2**32 - 1, 2**64 - 1
_STATE_PROTOCOLS = {**names.PROTOCOLS, "esp-udp": Protocol.ESP}
_MODES = {"transport": Mode.TRANSPORT, "tunnel": Mode.TUNNEL, "any": Mode.TRANSPORT}
_WANTED_FLAG = "an extension (-m -r -u -f -lh -ls -bh -bs -ctx) or an algorithm (-E -A -C)"
_SHORT_WINDOW = 32
"""The longest replay window that protocols other than ESP and AH can have."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a setkey.conf."""

    line: int
    """Of its first word, from 1; so is the column."""
    column: int
    command: str
    """That word: "spdadd"."""
    requests: tuple[Request, ...]
    """What to send, in this order. Of `deleteall`: one to dump states; those that `accepts` says are meant are to
    be deleted."""

    def accepts(self, state: State) -> bool:
        """Whether a state that was dumped for this statement is one that it means. (Old kernels filter nothing.)"""
        wanted = self.requests[0].body
        if not isinstance(wanted, StateFilter):
            return True
        return (
            wanted.protocol in (None, state.protocol)
            and wanted.source in (None, _host(state.source))
            and wanted.destination in (None, _host(state.destination))
        )


def _host(text: str) -> str:
    return f"{text}/{128 if ':' in text else 32}"


class Reader:
    """Reads a file."""

    def __init__(
        self, text: Text, interface_index: Callable[[str], int], forward: bool, sha256_icv_bits: int
    ) -> None:
        self._text = text
        self._sha256_icv_bits = sha256_icv_bits
        self._policies = PolicyReader(interface_index, forward)

    def statements(self) -> Iterator[Statement]:
        """Raises SetkeyError at the first thing that is wrong, when all before it has been yielded."""
        for cursor in self._text.statements():
            command = cursor.word("a command")
            read = _COMMANDS.get(command.text)
            if read is None:
                # The word is not shown: it may be of a key that a stray ; or " has cut.
                known = ", ".join(_COMMANDS)
                raise cursor.error(command, names.REFUSED.get(command.text, f"expected a command, one of {known}"))
            requests = tuple(read(self, cursor, command))
            if not cursor.done:
                raise cursor.error(cursor.next, f"expected ; at the end of {command.text}")
            if command.text in _ENDS:
                return
            yield Statement(command.line, command.column, command.text, requests)

    # --- one for each command -----------------------------------------------------------------------------

    def _add(self, cursor: Cursor, command: Token) -> Iterator[Request]:
        kind = Message.NEWSA if command.text == "add" else Message.UPDSA
        yield Request(kind, _StateReader(cursor, self._sha256_icv_bits).state(command))

    def _getspi(self, cursor: Cursor, command: Token) -> Iterator[Request]:
        state = _StateReader(cursor, self._sha256_icv_bits).state(command, larval=True)
        least, most = (state.spi, state.spi) if state.spi else _SPIS.get(state.protocol, _LONG_SPIS)
        yield Request(Message.ALLOCSPI, SpiRequest(state, least, most))

    def _get(self, cursor: Cursor, command: Token) -> Iterator[Request]:
        kind = Message.GETSA if command.text == "get" else Message.DELSA
        yield Request(kind, _StateReader(cursor, self._sha256_icv_bits).id())

    def _deleteall(self, cursor: Cursor, _command: Token) -> Iterator[Request]:
        reader = _StateReader(cursor, self._sha256_icv_bits)
        reader.ends()
        protocol = reader.protocol()
        yield Request(Message.GETSA, StateFilter(protocol, reader.source, reader.destination))

    def _flush(self, cursor: Cursor, command: Token) -> Iterator[Request]:
        protocol = None if cursor.done else _StateReader(cursor, self._sha256_icv_bits).protocol()
        if command.text == "flush":
            yield Request(Message.FLUSHSA, protocol)
        else:
            yield Request(Message.GETSA, None if protocol is None else StateFilter(protocol))

    def _spdadd(self, cursor: Cursor, command: Token) -> Iterator[Request]:
        return self._policies.requests(cursor, command)

    def _spdflush(self, _cursor: Cursor, command: Token) -> Iterator[Request]:
        yield Request(Message.FLUSHPOLICY if command.text == "spdflush" else Message.GETPOLICY)

    def _exit(self, _cursor: Cursor, _command: Token) -> Iterator[Request]:
        return iter(())


_COMMANDS: dict[str, Callable[[Reader, Cursor, Token], Iterator[Request]]] = {
    "add": Reader._add,
    "update": Reader._add,
    "getspi": Reader._getspi,
    "get": Reader._get,
    "delete": Reader._get,
    "deleteall": Reader._deleteall,
    "flush": Reader._flush,
    "dump": Reader._flush,
    "spdadd": Reader._spdadd,
    "spdupdate": Reader._spdadd,
    "spddelete": Reader._spdadd,
    "spdflush": Reader._spdflush,
    "spddump": Reader._spdflush,
    "exit": Reader._exit,
    "quit": Reader._exit,
    "bye": Reader._exit,
}
_LONG_SPIS = (0x100, 0x0FFFFFFF)
_SPIS = {Protocol.COMP: (0x100, 0xFFFF)}
"""From which the kernel picks one: those that it has for PF_KEY, and those that IPComp can have."""
_ENDS = ("exit", "quit", "bye")


class _StateReader:
    """Reads what follows the command in a statement about states. From the SPI on no error shows a word, as it may
    be a key in the wrong place."""

    def __init__(self, cursor: Cursor, sha256_icv_bits: int) -> None:
        self._cursor = cursor
        self._sha256_icv_bits = sha256_icv_bits
        self.source = self.destination = ""
        self._family = Family.UNSPEC
        self._ports: list[tuple[Token, int] | None] = []
        self._original: str | None = None
        self._in_udp = False
        self._given: dict[str, Any] = {}

    def ends(self) -> None:
        """[-46n] src dst, each with a port or without."""
        family = family_options(self._cursor)
        self.source, self._family, port = endpoint(self._cursor, "the source address", family)
        self.destination, _, other = endpoint(self._cursor, "the destination address", self._family)
        self._ports = [port, other]

    def protocol(self) -> Protocol:
        """esp, ah, ipcomp or esp-udp, which may be followed by the original address."""
        token = self._cursor.word(f"a protocol ({', '.join(_STATE_PROTOCOLS)})")
        found = _STATE_PROTOCOLS.get(token.text)
        if found is None:
            reason = f"expected a protocol ({', '.join(_STATE_PROTOCOLS)})"
            raise self._cursor.error(token, names.REFUSED.get(token.text, reason))
        self._in_udp = token.text == "esp-udp"
        if not self._in_udp:
            for port in self._ports:
                if port is not None:
                    raise self._cursor.error(port[0], "ports are for esp-udp only")
        return found

    def id(self) -> StateId:
        """src dst protocol spi, and a mode that no longer counts."""
        self.ends()
        protocol = self.protocol()
        spi = self._cursor.number("the SPI", _U32, hexadecimal=True)
        if self._cursor.at_word() and self._cursor.next.text == "-m":
            self._cursor.take()
            self._mode()
        return StateId(self.destination, spi, protocol)

    def state(self, command: Token, *, larval: bool = False) -> State:
        """src dst protocol spi, extensions and algorithms; larval: without algorithms."""
        cursor = self._cursor
        self.ends()
        protocol = self.protocol()
        if self._in_udp and cursor.at_word() and number_of(cursor.next.text, _U32, hexadecimal=True) is None:
            self._original, _, _ = endpoint(cursor, "the original address, or the SPI", self._family, port=False)
        at = cursor.next
        spi = cursor.number("the SPI", 0xFFFF if protocol == Protocol.COMP else _U32, hexadecimal=True)
        window = _SHORT_WINDOW if protocol == Protocol.COMP else LARGEST_WINDOW
        while not cursor.done:
            flag = cursor.word(_WANTED_FLAG)
            read = _EXTENSIONS.get(flag.text)
            if read is None or (larval and flag.text in _ALGORITHMS):
                raise cursor.error(flag, f"expected {_WANTED_FLAG if not larval else 'an extension'}")
            if flag.text in self._given and flag.text != "-f":
                raise cursor.error(flag, f"{flag.text} is given twice")
            self._given[flag.text] = read(self)
            if flag.text == "-r" and self._given["-r"] > window:
                raise cursor.error(flag, f"the replay window can have at most {window} packets here")
        if not larval:
            self._check_algorithms(protocol, at)
        with cursor.refusing(command):
            return State(self.source, self.destination, spi=spi, protocol=protocol, **self._options())

    def _check_algorithms(self, protocol: Protocol, at: Token) -> None:
        """Whether they are those of the protocol."""
        given = [flag for flag in _ALGORITHMS if flag in self._given]
        needed, allowed = _NEEDED[protocol]
        if needed not in given:
            raise self._cursor.error(at, f"{_NAMES[protocol]} needs an algorithm ({needed})")
        for flag in given:
            if flag not in allowed:
                raise self._cursor.error(at, f"{_NAMES[protocol]} has no algorithm of this kind ({flag})")
        if "-A" in given and isinstance(self._given.get("-E"), AeadAlgorithm):
            raise self._cursor.error(at, "-E names an algorithm that authenticates too: there is no -A beside it")

    def _options(self) -> dict[str, Any]:
        """The arguments of State that extensions and algorithms stand for."""
        given = self._given
        options: dict[str, Any] = {
            "mode": given.get("-m", Mode.TRANSPORT),
            "reqid": given.get("-u", 0),
            "replay_window": given.get("-r", 0),
            "authentication": given.get("-A"),
            "compression": given.get("-C"),
            "security_context": given.get("-ctx"),
            "lifetime": LifetimeConfig(
                soft_byte_limit=given.get("-bs") or None,
                hard_byte_limit=given.get("-bh") or None,
                soft_add_expires_seconds=given.get("-ls", 0),
                hard_add_expires_seconds=given.get("-lh", 0),
            ),
        }
        options["aead" if isinstance(given.get("-E"), AeadAlgorithm) else "encryption"] = given.get("-E")
        if self._in_udp:
            port, other = ((port and port[1]) or 4500 for port in self._ports)
            options["encapsulation"] = Encapsulation(EncapsulationType.ESPINUDP, port, other, self._original)
        return options

    # --- one for each extension and algorithm ---------------------------------------------------------------

    def _mode(self) -> Mode:
        token = self._cursor.word("a mode (transport, tunnel or any)")
        if token.text not in _MODES:
            raise self._cursor.error(token, "expected a mode (transport, tunnel or any)")
        return _MODES[token.text]

    def _window(self) -> int:
        return self._cursor.number("the replay window in packets", LARGEST_WINDOW)

    def _reqid(self) -> int:
        return self._cursor.number("the request id", _U32)

    def _seconds(self) -> int:
        return self._cursor.number("a number of seconds", _U64)

    def _bytes(self) -> int:
        return self._cursor.number("a number of bytes", _U64)

    def _flag(self) -> None:
        """What XFRM does anyway."""
        token = self._cursor.word("seq-pad or nocyclic-seq")
        if token.text not in ("seq-pad", "nocyclic-seq"):
            raise self._cursor.error(token, names.REFUSED.get(token.text, "expected seq-pad or nocyclic-seq"))

    def _context(self) -> SecurityContext:
        return context(self._cursor)

    def _encryption(self) -> Algorithm | AeadAlgorithm:
        token, name = self._algorithm({**names.ENCRYPTION, **names.AEAD})
        key = Secret(b"") if name == names.ENCRYPTION["null"] else self._key()
        with self._cursor.refusing(token):
            if token.text in names.AEAD:
                return AeadAlgorithm(name, key, names.AEAD_ICV_BITS)
            return Algorithm(name, key)

    def _authentication(self) -> AuthAlgorithm:
        token, name = self._algorithm(names.AUTHENTICATION)
        key = Secret(b"") if token.text == "null" else self._key()
        with self._cursor.refusing(token):
            return AuthAlgorithm(name, key, names.ICV_BITS.get(name, self._sha256_icv_bits))

    def _compression(self) -> Algorithm:
        _, name = self._algorithm(names.COMPRESSION)
        if self._cursor.at_word() and self._cursor.next.text == "-R":
            self._cursor.take()  # the SPI is the CPI, which in XFRM it always is
        return Algorithm(name)

    def _algorithm(self, table: dict[str, str]) -> tuple[Token, str]:
        token = self._cursor.word(f"an algorithm ({', '.join(table)})")
        if token.text not in table:
            reason = names.REFUSED.get(token.text, f"expected an algorithm ({', '.join(table)})")
            raise self._cursor.error(token, reason)
        return token, table[token.text]

    def _key(self) -> Secret:
        """A quoted text, or hexadecimal digits behind 0x: an odd one out is a byte of its own, as setkey has it."""
        wanted = "expected a key, as digits behind 0x or in double quotes"
        if self._cursor.done:
            raise self._cursor.error(self._cursor.next, wanted)
        token = self._cursor.take()
        if token.kind == WORD and token.text == LEFT_OUT:
            raise self._cursor.error(token, "the key was left out when this file was written")
        try:
            if token.kind != WORD:
                return Secret(token.text.encode("utf-8", "surrogateescape"))
            if token.text[:2] in ("0x", "0X") and len(token.text) > 2 and token.text[2:].isalnum():
                return Secret(bytes.fromhex("0" * (len(token.text) % 2) + token.text[2:]))
        except ValueError:  # not hexadecimal, or not from a file
            pass
        raise self._cursor.error(token, wanted)


_ALGORITHMS = ("-E", "-A", "-C")
_EXTENSIONS: dict[str, Callable[[_StateReader], Any]] = {
    "-m": _StateReader._mode,
    "-r": _StateReader._window,
    "-u": _StateReader._reqid,
    "-f": _StateReader._flag,
    "-lh": _StateReader._seconds,
    "-ls": _StateReader._seconds,
    "-bh": _StateReader._bytes,
    "-bs": _StateReader._bytes,
    "-ctx": _StateReader._context,
    "-E": _StateReader._encryption,
    "-A": _StateReader._authentication,
    "-C": _StateReader._compression,
}
_NAMES = {number: name for name, number in names.PROTOCOLS.items()}
_NEEDED = {
    Protocol.ESP: ("-E", ("-E", "-A")),
    Protocol.AH: ("-A", ("-A",)),
    Protocol.COMP: ("-C", ("-C",)),
}
"""The algorithm that a protocol needs, and those that it may have."""

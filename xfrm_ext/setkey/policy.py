# SPDX-License-Identifier: MIT
"""What setkey.conf says of policies, and of addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

from xfrm_ext import wire
from xfrm_ext.attribute import SecurityContext
from xfrm_ext.checks import shown
from xfrm_ext.constants import MAX_TEMPLATES, Action, Direction, Family, Level, Message, Mode
from xfrm_ext.policy import Policy, PolicyId
from xfrm_ext.request import Request
from xfrm_ext.selector import Selector
from xfrm_ext.setkey import names
from xfrm_ext.setkey.lexer import Cursor, Token, number_of, quote
from xfrm_ext.template import Template

_ANY_PROTOCOL = 255
"""IPSEC_PROTO_ANY, which the kernel takes for any."""
_ICMP, _GRE, _ICMP6, _MOBILITY = 1, 47, 58, 135
_PROTOCOL_NAMES = {"any": 0, "icmp6": _ICMP6, "ip4": 4}
_MESSAGES = {"spdadd": Message.NEWPOLICY, "spdupdate": Message.UPDPOLICY}
_LEVELS = {"default": Level.REQUIRED, "use": Level.USE, "require": Level.REQUIRED, "unique": Level.REQUIRED}
_FAMILIES = {"4": Family.INET, "6": Family.INET6}
_U32 = 2**32 - 1


def family_options(cursor: Cursor) -> Family:
    """-4, -6, -n, together or apart: the family that addresses must have. (Names are not looked up without -n
    either.)"""
    family = Family.UNSPEC
    while cursor.at_word() and cursor.next.text[0] == "-" and not cursor.next.text[1:].strip("46n"):
        token = cursor.take()
        if token.text == "-":
            raise cursor.error(token, "expected -4, -6 or -n")
        for letter in token.text[1:]:
            family = _FAMILIES.get(letter, family)
    return family


def _address(cursor: Cursor, token: Token, text: str, family: Family, name: str) -> tuple[str, Family]:
    """The canonical text of an address, which must be of a family unless that is UNSPEC. `name`: what errors call
    it."""
    known = wire.address_bytes(text)
    del text  # it may be a key in the wrong place, and frames live on in an exception
    if known is None:
        raise cursor.error(token, f"{name} is not an IP address (and names are not looked up)")
    found, own = wire.address_text(*known), Family(known[1])
    if family not in (own, Family.UNSPEC):
        raise cursor.error(token, f"{name} is not an address of {'IPv6' if family == Family.INET6 else 'IPv4'}")
    return found, own


def endpoint(
    cursor: Cursor, what: str, family: Family, *, port: bool = True
) -> tuple[str, Family, tuple[Token, int] | None]:
    """An address, and the port behind it."""
    token = cursor.word(what)
    if "%" in token.text:
        raise cursor.error(token, "this has a scope, which no state of XFRM has")
    text, own = _address(cursor, token, token.text, family, "this")  # a key may stand here by mistake
    at = cursor.next
    number = _port(cursor, "this") if port else None
    return text, own, None if number is None else (at, number)


def _port(cursor: Cursor, name: str = "") -> int | None:
    """[number], [any] or [name of a service]; None if there is none. `name`: what errors call it; "": by itself."""
    if not cursor.take_mark("["):
        return None
    token = cursor.word("a port")
    number = 0 if token.text == "any" else number_of(token.text, 0xFFFF)
    if number is None:
        try:
            number = socket.getservbyname(token.text)
        except OSError:
            reason = f"{name or quote(token)} is not a port from 0 to 65535, any, or the name of a service"
            raise cursor.error(token, reason) from None
    cursor.mark("]", "behind the port")
    return number


def context(cursor: Cursor) -> SecurityContext:
    """doi algorithm "label", behind -ctx."""
    at = cursor.next
    doi, algorithm = cursor.number("the domain of interpretation", 255), cursor.number("the algorithm", 255)
    if not doi:
        raise cursor.error(at, "the domain of interpretation is 0, with which setkey gives no label at all")
    token = cursor.quoted("the label")
    with cursor.refusing(token):
        return SecurityContext(token.text, algorithm, doi)


class PolicyReader:
    """Reads the statements of a file that are about policies."""

    def __init__(self, interface_index: Callable[[str], int], forward: bool) -> None:
        self._interface_index = interface_index
        self._forward = forward
        self._next_reqid = names.LOWEST_UNIQUE_REQID

    def requests(self, cursor: Cursor, command: Token) -> Iterator[Request]:
        """[-46n] source destination protocol [-ctx ...] -P direction ..."""
        if cursor.at_word() and cursor.next.text == "tagged":
            raise cursor.error(cursor.next, names.REFUSED["tagged"])
        selector = self._selector(cursor)
        label = None
        if cursor.at_word() and cursor.next.text == "-ctx":
            cursor.take()
            label = context(cursor)
        flag = cursor.word("-P and a direction")
        if flag.text != "-P":
            raise cursor.error(flag, f"expected -P and a direction, not {quote(flag)}")
        cursor.split_hyphens()
        token = cursor.word(f"a direction ({', '.join(names.DIRECTIONS)})")
        if token.text not in names.DIRECTIONS:
            raise cursor.error(token, f"{quote(token)} is not a direction ({', '.join(names.DIRECTIONS)})")
        direction = names.DIRECTIONS[token.text]
        # In the kernel, what setkey calls "in" is two directions.
        twice = self._forward and direction == Direction.IN
        if command.text == "spddelete":
            if not cursor.done:
                self._policy(cursor, selector, direction, label)  # which setkey allows, and does not look at
            for way in (direction, Direction.FWD) if twice else (direction,):
                yield Request(Message.DELPOLICY, PolicyId(selector, direction=way, security_context=label))
            return
        policy = self._policy(cursor, selector, direction, label)
        yield Request(_MESSAGES[command.text], policy)
        if twice:
            yield Request(_MESSAGES[command.text], _forwarded(policy))

    # --- the selector -------------------------------------------------------------------------------------

    def _selector(self, cursor: Cursor) -> Selector:
        family = family_options(cursor)
        start = cursor.next
        source, family, interface, port = self._range(cursor, "the source address", family)
        at = cursor.next
        destination, family, other, other_port = self._range(cursor, "the destination address", family)
        if interface and other and interface != other:
            raise cursor.error(at, "the scopes of the addresses are two interfaces")
        protocol = self._protocol(cursor)
        ports = (port or 0, other_port or 0)
        if cursor.at_word() and cursor.next.text[0] != "-":
            token = cursor.take()
            ports = self._detail(cursor, token, protocol)
            if port is not None or other_port is not None:
                raise cursor.error(token, "this takes the place of the ports, which are given too")
        with cursor.refusing(start):
            return Selector(
                source,
                destination,
                protocol=protocol,
                source_port=ports[0],
                destination_port=ports[1],
                interface=interface or other,
                family=family,
                strict=False,
            )

    def _range(self, cursor: Cursor, what: str, family: Family) -> tuple[str, Family, int, int | None]:
        """address[%scope][/length][port]: the prefix, its family, the index of the interface, and the port."""
        token = cursor.word(what)
        text, _, scope = token.text.partition("%")
        text, own = _address(cursor, token, text, family, quote(token))
        interface = 0
        if scope or token.text.endswith("%"):
            try:
                interface = self._interface_index(scope)
            except (OSError, ValueError):
                interface = 0
            if not interface:
                raise cursor.error(token, f"{shown(scope)} is not an interface")
        most = 128 if own == Family.INET6 else 32
        length = cursor.number("the length of the prefix", most) if cursor.take_mark("/") else most
        return f"{text}/{length}", own, interface, _port(cursor)

    def _protocol(self, cursor: Cursor) -> int:
        token = cursor.word("the protocol of the packets (any, tcp, icmp6, ...)")
        number = number_of(token.text, 255)
        if number is None:
            number = _PROTOCOL_NAMES.get(token.text, -1)
        if number < 0:
            number = wire.protocol_number(token.text.lower())
        if number < 0:
            raise cursor.error(token, f"{quote(token)} is not the name of an IP protocol")
        return 0 if number == _ANY_PROTOCOL else number

    def _detail(self, cursor: Cursor, token: Token, protocol: int) -> tuple[int, int]:
        """ICMP's type,code or GRE's key, as the ports that stand for it. Zeros are any, as in the kernel."""
        if protocol in (_ICMP, _ICMP6, _MOBILITY):
            numbers = [number_of(text, 255) for text in token.text.split(",")]
            if len(numbers) <= 2 and None not in numbers:
                kind, code = [*numbers, 0][:2]
                return kind or 0, code or 0
            raise cursor.error(token, f"{quote(token)} is not a type, or type,code: numbers from 0 to 255")
        if protocol == _GRE:
            parts = [number_of(text, 255) for text in token.text.split(".")]
            key = number_of(token.text, _U32)
            if len(parts) == 4 and None not in parts:
                key = int.from_bytes(bytes(part or 0 for part in parts), "big")
            if key is None:
                raise cursor.error(token, f"{quote(token)} is not a key of GRE, a number or four with dots")
            return key >> 16, key & 0xFFFF
        raise cursor.error(
            token, f"{quote(token)}: only icmp, icmp6, mobility-header and gre have more than a name"
        )

    # --- behind -P ----------------------------------------------------------------------------------------

    def _policy(
        self, cursor: Cursor, selector: Selector, direction: Direction, label: SecurityContext | None
    ) -> Policy:
        """[priority ...] discard, none, or ipsec and rules."""
        priority = names.DEFAULT_PRIORITY
        if cursor.at_word() and cursor.next.text in ("priority", "prio"):
            cursor.take()
            priority = self._priority(cursor)
        token = cursor.word("discard, none or ipsec")
        templates: list[Template] = []
        if token.text == "ipsec":
            while not cursor.done:
                if len(templates) == MAX_TEMPLATES:
                    raise cursor.error(cursor.next, f"a policy has at most {MAX_TEMPLATES} rules")
                templates.append(self._rule(cursor, direction))
            if not templates:
                raise cursor.error(cursor.next, "expected protocol/mode/source-destination/level behind ipsec")
        elif token.text not in ("discard", "none"):
            reason = f"{quote(token)} is not discard, none or ipsec"
            raise cursor.error(token, names.REFUSED.get(token.text, reason))
        with cursor.refusing(token):
            return Policy(
                selector,
                direction=direction,
                action=Action.BLOCK if token.text == "discard" else Action.ALLOW,
                priority=priority,
                templates=templates,
                security_context=label,
            )

    def _priority(self, cursor: Cursor) -> int:
        """[-]offset, or low, def or high, from which an offset is counted."""
        token = cursor.next
        if token.text in names.PRIORITIES and cursor.at_word():
            cursor.take()
            number = names.PRIORITIES[token.text]
            if cursor.take_mark("+"):
                return number - cursor.number("an offset", 0x40000000)
            if cursor.take_mark("-"):
                return number + cursor.number("an offset", 0x3FFFFFFF)
            return number
        if cursor.take_mark("-"):
            return names.DEFAULT_PRIORITY + cursor.number("an offset", 0x7FFFFFFF)
        return names.DEFAULT_PRIORITY - cursor.number("a priority: low, def, high or an offset", 0x80000000)

    def _rule(self, cursor: Cursor, direction: Direction) -> Template:
        """protocol/mode[/[source-destination][/[level]]]"""
        start = cursor.next
        protocol = cursor.word("a rule: protocol/mode/source-destination/level")
        if protocol.text not in names.PROTOCOLS:
            raise cursor.error(protocol, f"{quote(protocol)} is no protocol ({', '.join(names.PROTOCOLS)})")
        cursor.mark("/", "behind the protocol")
        mode = cursor.word("a mode (transport or tunnel)")
        if mode.text not in ("transport", "tunnel"):
            raise cursor.error(mode, f"{quote(mode)} is no mode (transport or tunnel)")
        ends: tuple[str, str] | None = None
        level, reqid = Level.REQUIRED, 0
        if cursor.take_mark("/"):
            if _another_part(cursor):
                ends = self._ends(cursor, direction)
            if cursor.take_mark("/") and _another_part(cursor):
                level, reqid = self._level(cursor)
        if mode.text == "transport":
            # The addresses of the packet are those of the state: setkey's are not looked at.
            ends = None
        elif ends is None:
            raise cursor.error(mode, "a tunnel needs its ends: tunnel/source-destination")
        with cursor.refusing(start):
            return Template(
                *(ends or ()),
                protocol=names.PROTOCOLS[protocol.text],
                mode=Mode.TUNNEL if ends else Mode.TRANSPORT,
                level=level,
                reqid=reqid,
            )

    def _ends(self, cursor: Cursor, direction: Direction) -> tuple[str, str] | None:
        """source-destination; me-any and any-me are none."""
        texts: list[str] = []
        family = Family.UNSPEC
        start = cursor.next
        for what in ("the source of the tunnel", "the destination of the tunnel"):
            if texts:
                cursor.mark("-", "between the ends of the tunnel")
            token = cursor.word(what)
            if token.text in ("me", "any"):
                texts.append(token.text)
            else:
                if "%" in token.text:
                    raise cursor.error(token, f"{quote(token)} has a scope, which no template of XFRM has")
                text, family = _address(cursor, token, token.text, family, quote(token))
                texts.append(text)
            if cursor.take_mark("["):
                raise cursor.error(token, "a template of XFRM has no ports: in UDP, the states have them")
        words = [text for text in texts if text in ("me", "any")]
        if words and texts != {Direction.OUT: ["me", "any"], Direction.IN: ["any", "me"]}.get(direction):
            raise cursor.error(start, "expected addresses, or me-any for out, or any-me for in")
        return None if words else (texts[0], texts[1])

    def _level(self, cursor: Cursor) -> tuple[Level, int]:
        """The level, and the request id of unique."""
        token = cursor.word("a level")
        word, colon, text = token.text.partition(":")
        reqid = number_of(text, _U32) if colon else 0
        if word not in _LEVELS or reqid is None or (colon and word != "unique"):
            raise cursor.error(
                token, f"{quote(token)} is no level (default, use, require, unique or unique:NUMBER)"
            )
        if word == "unique" and not reqid:
            reqid = self._next_reqid
            self._next_reqid += 1
        return _LEVELS[word], reqid


def _another_part(cursor: Cursor) -> bool:
    """Whether a word comes next that goes on with a rule: neither the end, nor a slash, nor the next rule."""
    return cursor.at_word() and cursor.next.text not in names.PROTOCOLS


def _forwarded(policy: Policy) -> Policy:
    """The policy for forwarded packets that setkey adds to one for incoming packets: where the first rule is for
    one state ("unique"), it is for any there."""
    templates = policy.templates
    if templates:
        templates = (replace(templates[0], reqid=0), *templates[1:])
    return replace(policy, direction=Direction.FWD, templates=templates)

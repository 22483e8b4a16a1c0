# SPDX-License-Identifier: MIT
"""Features: what a kernel can do, asked in ways that change nothing.

Most questions are an update (XFRM_MSG_UPDSA) of a state that can't exist: its SPI is 0, and the kernel finds no
state by that. Before it looks for the state the kernel checks the request, finds protocol and mode, and sets up the
algorithms; so "no such state" means that all of it is there. Others are read requests for things that do not
exist, and requests with an attribute that is too short, which the kernel refuses as it knows the attribute, and
passes over as it does not.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from xfrm_ext import wire
from xfrm_ext.checks import choice, choices, integer, shown
from xfrm_ext.constants import (
    NETLINK_ROUTE,
    AttributeType,
    EncapsulationType,
    Enumeration,
    Family,
    Message,
    Mode,
    OffloadFlag,
    PolicyType,
    Protocol,
    StateDirection,
    uapi,
)
from xfrm_ext.errors import KernelError, ValidationError
from xfrm_ext.lifetime import NO_LIMITS, UNUSED
from xfrm_ext.selector import Selector
from xfrm_ext.statistics import read_statistics
from xfrm_ext.wire import link
from xfrm_ext.wire.item import Item

if TYPE_CHECKING:
    from xfrm_ext.session import Session

_Member = TypeVar("_Member", bound=Enumeration)
_Fields: TypeAlias = dict[str, "int | bytes"]

_FAMILIES = (Family.INET, Family.INET6)
_PROTOCOLS = (Protocol.ESP, Protocol.AH, Protocol.COMP, Protocol.ROUTE2, Protocol.HAO)
_MODES = choices(Mode)
_ENCAPSULATIONS = choices(EncapsulationType)

# Documentation addresses (RFC 5737, RFC 3849), and those of the loopback device.
_NOWHERE = {
    Family.INET: b"\xc0\x00\x02\x01".ljust(16, b"\0"),
    Family.INET6: b"\x20\x01\x0d\xb8".ljust(15, b"\0") + b"\1",
}
_LOOPBACK = {Family.INET: b"\x7f\x00\x00\x01".ljust(16, b"\0"), Family.INET6: bytes(15) + b"\1"}
_LOOPBACK_DEVICE = 1
_NO_STATE: _Fields = {
    "destination": _NOWHERE[Family.INET],
    "spi": 0,
    "family": Family.INET,
    "protocol": Protocol.ESP,
}
_NO_POLICY: _Fields = {"selector": Selector()._wire, "index": 0, "direction": 0}
_ZEROES = (
    "replay_window_errors",
    "replay_errors",
    "integrity_errors",
    "sequence",
    "reqid",
    "replay_window",
    "flags",
)
_NO_LINK = 0x7FFFFFFF
_UNKNOWN_OFFLOAD = 0x80

_DONE = 0
# What the kernel says of things that it lacks. Other errors (permission, memory) are no answer, and raised.
_LACKING = {
    errno.EINVAL,
    errno.ENOENT,
    errno.ENOSYS,
    errno.ENODEV,
    errno.ERANGE,
    errno.ESRCH,
    errno.ELIBBAD,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EPROTONOSUPPORT,
    errno.EAFNOSUPPORT,
}

_AEAD_KEYS = (20, 36, 28, 19, 35, 27)
_CIPHER_KEYS = (16, 20, 24, 32, 36, 28, 8, 0)
_DIGEST_KEYS = (32, 20, 16, 64, 48, 24, 0)
_ICV_BITS = 0  # the algorithm's own: of digest_null, for one, there is nothing to truncate
_NAME_SIZE = 64


class Features:
    """What the kernel can do. Made by ``session.features()``; each answer is asked for once.

    Nothing is added, changed or removed, and no event sent. The kernel may load modules for what is asked, as it
    would for the real request, and the audit log, where that is on, notes the refused states. Needs
    CAP_NET_ADMIN. Raises KernelError, when the kernel's answer is none; ReplyTimeout.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[object, bool] = {}

    def supports(
        self,
        protocol: Protocol | str | int,
        family: Family | str | int = Family.INET,
        mode: Mode | str | int = Mode.TRANSPORT,
    ) -> bool:
        """Whether there can be states of a protocol (esp, ah, comp, route2, hao), outer family and mode.

        IPComp is always asked about in transport mode: for a tunnel the kernel would make a second state.
        """
        what = _one_of(protocol, "protocol", _PROTOCOLS)
        outer = _one_of(family, "family", _FAMILIES)
        how = Mode(choice(mode, "mode", _MODES, Mode))
        if what == Protocol.COMP:
            how = Mode.TRANSPORT
        extra: list[Item] = []
        if how == Mode.IPTFS:
            extra.append(Item(AttributeType.SA_DIR, (StateDirection.OUT,)))
        elif how == Mode.RO:
            extra.append(Item(AttributeType.COADDR, (), _NOWHERE[outer]))
        return self._once(
            ("state", what, outer, how),
            lambda: any(self._possible(what, outer, how, [*items, *extra]) for items in _algorithms(what)),
        )

    def supports_algorithm(self, name: str) -> bool:
        """Whether there can be states with an algorithm, by the kernel's name for it ("rfc4106(gcm(aes))"), and
        with at least one of the lengths of key that are usual."""
        try:
            encoded = name.encode("ascii")
        except (AttributeError, UnicodeEncodeError):
            encoded = b""
        if not 1 <= len(encoded) < _NAME_SIZE or b"\0" in encoded:
            rule = f"is not the name of an algorithm: 1 to {_NAME_SIZE - 1} ASCII characters without NUL"
            raise ValidationError("name", shown(name), rule)
        return self._once(("algorithm", encoded), lambda: self._algorithm(encoded))

    def supports_attribute(self, attribute: AttributeType | int) -> bool:
        """Whether the kernel knows an attribute of states and policies (XFRMA_*) by its number."""
        kind = integer(attribute, "attribute", 0x3FFF, least=1, kind=AttributeType)
        return self._once(("attribute", kind), lambda: self._attribute(kind))

    def supports_encapsulation(
        self, encapsulation: EncapsulationType | str | int, family: Family | str | int = Family.INET
    ) -> bool:
        """Whether ESP can be wrapped in UDP or TCP ("espinudp", "espintcp", ...)."""
        kind = choice(encapsulation, "encapsulation", _ENCAPSULATIONS, EncapsulationType)
        outer = _one_of(family, "family", _FAMILIES)
        wrap = Item(AttributeType.ENCAP, (kind, 0, 0), bytes(16))
        return self._once(
            ("encapsulation", kind, outer),
            lambda: any(
                self._possible(Protocol.ESP, outer, Mode.TRANSPORT, [*items, wrap])
                for items in _algorithms(Protocol.ESP)
            ),
        )

    def as_dict(self) -> dict[str, bool]:
        """All properties by name: asks for everything."""
        return {name: getattr(self, name) for name, each in vars(Features).items() if isinstance(each, property)}

    @property
    def esp4(self) -> bool:
        """ESP over IPv4 (CONFIG_INET_ESP)."""
        return self.supports(Protocol.ESP, Family.INET)

    @property
    def esp6(self) -> bool:
        """ESP over IPv6 (CONFIG_INET6_ESP)."""
        return self.supports(Protocol.ESP, Family.INET6)

    @property
    def ah4(self) -> bool:
        """AH over IPv4 (CONFIG_INET_AH)."""
        return self.supports(Protocol.AH, Family.INET)

    @property
    def ah6(self) -> bool:
        """AH over IPv6 (CONFIG_INET6_AH)."""
        return self.supports(Protocol.AH, Family.INET6)

    @property
    def ipcomp4(self) -> bool:
        """IPComp over IPv4 (CONFIG_INET_IPCOMP)."""
        return self.supports(Protocol.COMP, Family.INET)

    @property
    def ipcomp6(self) -> bool:
        """IPComp over IPv6 (CONFIG_INET6_IPCOMP)."""
        return self.supports(Protocol.COMP, Family.INET6)

    @property
    def mobile_ipv6(self) -> bool:
        """Mobile IPv6 (CONFIG_IPV6_MIP6)."""
        return self.supports(Protocol.ROUTE2, Family.INET6, Mode.RO)

    @property
    def iptfs(self) -> bool:
        """IP-TFS, also called AGGFRAG (CONFIG_XFRM_IPTFS, from Linux 6.14), with ESP over IPv4."""
        return self.supports(Protocol.ESP, Family.INET, Mode.IPTFS)

    @property
    def espintcp(self) -> bool:
        """ESP in TCP over IPv4 (CONFIG_INET_ESPINTCP)."""
        return self.supports_encapsulation(EncapsulationType.ESPINTCP)

    @property
    def state_direction(self) -> bool:
        """States can be told their direction (from Linux 6.10)."""
        return self.supports_attribute(AttributeType.SA_DIR)

    @property
    def per_cpu_states(self) -> bool:
        """States of one CPU (from Linux 6.13)."""
        return self.supports_attribute(AttributeType.SA_PCPU)

    @property
    def nat_keepalive(self) -> bool:
        """The kernel sends NAT keepalives (from Linux 6.11)."""
        return self.supports_attribute(AttributeType.NAT_KEEPALIVE_INTERVAL)

    @property
    def crypto_offload(self) -> bool:
        """States can leave encryption to a device that does it (CONFIG_XFRM_OFFLOAD). Always False without ESP."""
        return self._once(
            "crypto offload", lambda: self._offload(_UNKNOWN_OFFLOAD)[0] not in (errno.ESRCH, errno.ENOSYS)
        )

    @property
    def packet_offload(self) -> bool:
        """States and policies can be left to a device as a whole (from Linux 6.2). Always False without ESP."""
        return self._once("packet offload", self._packet_offload)

    @property
    def sub_policies(self) -> bool:
        """Policies of type sub (CONFIG_XFRM_SUB_POLICY)."""
        message = _message(Message.GETPOLICY, _NO_POLICY, [Item(AttributeType.POLICY_TYPE, (PolicyType.SUB,))])
        return self._once("sub policies", lambda: self._answer(message, answer=True)[0] != errno.EINVAL)

    @property
    def default_policies(self) -> bool:
        """What happens to packets without a policy can be set (from Linux 5.15)."""
        message = _message(Message.GETDEFAULT, {"input": 0, "forward": 0, "output": 0})
        return self._once("default policies", lambda: self._answer(message, answer=True)[0] == _DONE)

    @property
    def migrate(self) -> bool:
        """States and policies can move to other addresses (CONFIG_XFRM_MIGRATE)."""
        message = _message(Message.MIGRATE, _NO_POLICY)
        # Nothing to migrate: that is what EINVAL is about.
        return self._once("migrate", lambda: self._answer(message)[0] == errno.EINVAL)

    @property
    def migrate_state(self) -> bool:
        """One state can move to other addresses (XFRM_MSG_MIGRATE_STATE, a kernel of 2026)."""
        fields: _Fields = {
            **_NO_STATE,
            "new_destination": _NOWHERE[Family.INET],
            "new_source": _NOWHERE[Family.INET],
            "mark_value": 0,
            "mark_mask": 0,
            "selector": Selector()._wire,
            "reqid": 0,
            "flags": 0,
            "new_family": Family.INET,
        }
        message = _message(Message.MIGRATE_STATE, fields, [Item(AttributeType.IF_ID, None)])
        return self.migrate and self._once("migrate state", lambda: self._answer(message)[0] == errno.ERANGE)

    @property
    def interfaces(self) -> bool:
        """XFRM interfaces (CONFIG_XFRM_INTERFACE)."""
        return self._once("interfaces", lambda: self._link(uapi.IFLA_XFRM_IF_ID, b""))

    @property
    def external_interfaces(self) -> bool:
        """XFRM interfaces whose if_id comes with each packet (from Linux 6.2)."""
        return self._once("external interfaces", lambda: self._link(uapi.IFLA_XFRM_COLLECT_METADATA, b"\0"))

    @property
    def statistics(self) -> bool:
        """Counters of errors (CONFIG_XFRM_STATISTICS)."""
        return self._once("statistics", self._statistics)

    def _once(self, question: object, ask: Callable[[], bool]) -> bool:
        if question not in self._known:
            self._known[question] = ask()
        return self._known[question]

    def _answer(self, message: bytes, *, answer: bool = False, protocol: int | None = None) -> tuple[int, str]:
        """What the kernel says: errno and its words, 0 for no refusal."""
        transport = self._session._transport
        if protocol is not None:
            transport = transport.open_beside(protocol)
        try:
            transport.talk(message, "ask for features", answer=answer, timeout=self._session.timeout)
        except KernelError as error:
            if error.errno not in _LACKING:
                raise
            return error.errno, error.kernel_text
        finally:
            if protocol is not None:
                transport.close()
        return _DONE, ""

    def _state(
        self, protocol: int, family: Family, mode: int, items: Sequence[Item], address: bytes | None = None
    ) -> tuple[int, str]:
        """What the kernel says to an update of a state that does not exist."""
        where = _NOWHERE[family] if address is None else address
        fields: _Fields = {
            "selector": Selector(family=family)._wire,
            "destination": where,
            "spi": 0,
            "protocol": protocol,
            "source": where,
            "lifetime": NO_LIMITS._wire,
            "current": UNUSED._wire,
            "family": family,
            "mode": mode,
            **dict.fromkeys(_ZEROES, 0),
        }
        return self._answer(_message(Message.UPDSA, fields, items))

    def _possible(self, protocol: int, family: Family, mode: int, items: Sequence[Item]) -> bool:
        return self._state(protocol, family, mode, items)[0] == errno.ESRCH

    def _attribute(self, kind: int) -> bool:
        # Too short for what it is; the one that is a flag is too long. Unknown ones are passed over.
        item = Item(kind, None, b"\0" if kind == AttributeType.IPTFS_DONT_FRAG else b"")
        return self._answer(_message(Message.GETSA, _NO_STATE, [item]), answer=True)[0] != errno.ESRCH

    def _algorithm(self, name: bytes) -> bool:
        unheard = set()  # kinds of algorithms (AEAD, ...) of which the kernel has none of this name
        for protocol, alone, companions in _attempts(name):
            if alone.type in unheard:
                continue
            for items in ([alone], *([alone, each] for each in companions)):
                said = self._state(protocol, Family.INET, Mode.TRANSPORT, items)[0]
                if said == errno.ESRCH:
                    return True
                if said == errno.ENOSYS and len(items) == 1:
                    unheard.add(alone.type)
                    break
        return False

    def _offload(self, flags: int) -> tuple[int, str]:
        """What the kernel says to a state that is to be offloaded to `lo`, which can't."""
        device = Item(AttributeType.OFFLOAD_DEV, (_LOOPBACK_DEVICE, flags))
        for items in _algorithms(Protocol.ESP):
            if self._possible(Protocol.ESP, Family.INET, Mode.TRANSPORT, items):
                where = _LOOPBACK[Family.INET]
                return self._state(Protocol.ESP, Family.INET, Mode.TRANSPORT, [*items, device], where)
        return errno.ENOSYS, ""

    def _packet_offload(self) -> bool:
        # A flag that it does not know the kernel refuses in these words, since before it knew this one.
        words = self._offload(_UNKNOWN_OFFLOAD)[1]
        return self.crypto_offload and bool(words) and self._offload(OffloadFlag.PACKET)[1] != words

    def _link(self, kind: int, payload: bytes) -> bool:
        """Whether the kernel finds fault with an attribute of a link that does not exist, and is not to be made."""
        data = link.attribute(kind, payload)
        message = link.link_message(uapi.RTM_NEWLINK, link.REQUEST | link.ACK, link.link_info(data), index=_NO_LINK)
        return self._answer(message, protocol=NETLINK_ROUTE)[0] in (errno.ERANGE, errno.EINVAL)

    def _statistics(self) -> bool:
        try:
            read_statistics(self._session._transport)
        except KernelError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return False
        return True


def _one_of(value: object, field: str, members: tuple[_Member, ...]) -> _Member:
    """A member of some, by itself, by name or by number: the kernel's others can't be asked about."""
    for member in members:
        if value is member or (type(value) is int and value == member):
            return member
        if isinstance(value, str) and value.lower() == member.name.lower():
            return member
    names = ", ".join(member.name.lower() for member in members)
    raise ValidationError(field, shown(value), f"is not one of {names}")


def _message(kind: Message, fields: _Fields, items: Sequence[Item] = ()) -> bytes:
    return bytes(wire.pack(kind, link.REQUEST, fields, items))


def _plain(kind: AttributeType, name: bytes, key: int) -> Item:
    """struct xfrm_algo, with a random key of as many bytes."""
    return Item(kind, (key * 8,), os.urandom(key), name)


def _with_icv(kind: AttributeType, name: bytes, key: int, icv_bits: int) -> Item:
    """struct xfrm_algo_auth or xfrm_algo_aead."""
    return Item(kind, (key * 8, icv_bits), os.urandom(key), name)


def _digest(name: bytes, key: int) -> Item:
    return _with_icv(AttributeType.ALG_AUTH_TRUNC, name, key, _ICV_BITS)


def _cipher(name: bytes, key: int) -> Item:
    return _plain(AttributeType.ALG_CRYPT, name, key)


def _algorithms(protocol: Protocol) -> Iterator[list[Item]]:
    """Algorithms for a state of a protocol: some that a kernel for it is likely to have."""
    if protocol == Protocol.ESP:
        yield [_with_icv(AttributeType.ALG_AEAD, b"rfc4106(gcm(aes))", 20, 128)]
        yield [_digest(b"hmac(sha256)", 32), _cipher(b"cbc(aes)", 16)]
        yield [_digest(b"hmac(sha1)", 20), _cipher(b"cbc(aes)", 16)]
        yield [_digest(b"hmac(sha256)", 32), _cipher(b"ecb(cipher_null)", 0)]
    elif protocol == Protocol.AH:
        yield [_digest(b"hmac(sha256)", 32)]
        yield [_digest(b"hmac(sha1)", 20)]
    elif protocol == Protocol.COMP:
        yield [_plain(AttributeType.ALG_COMP, b"deflate", 0)]
    else:
        yield []


def _attempts(name: bytes) -> Iterator[tuple[Protocol, Item, list[Item]]]:
    """Ways to use an algorithm: protocol, the algorithm, and others of which it may need one beside it."""
    for key in _AEAD_KEYS:
        yield Protocol.ESP, _with_icv(AttributeType.ALG_AEAD, name, key, 128), []
    for key in _CIPHER_KEYS:
        yield Protocol.ESP, _cipher(name, key), [_digest(b"hmac(sha256)", 32), _digest(b"hmac(sha1)", 20)]
    for key in _DIGEST_KEYS:
        yield Protocol.AH, _digest(name, key), []
        yield Protocol.ESP, _digest(name, key), [_cipher(b"cbc(aes)", 16), _cipher(b"ecb(cipher_null)", 0)]
    yield Protocol.COMP, _plain(AttributeType.ALG_COMP, name, 0), []

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
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from xfrm_ext.checks import choice, choices, integer, shown
from xfrm_ext.constants import (
    NETLINK_ROUTE,
    AttributeType,
    EncapsulationType,
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
from xfrm_ext.statistics import read_statistics
from xfrm_ext.wire import link

if TYPE_CHECKING:
    from xfrm_ext.session import Session

_Answer = TypeVar("_Answer")
_Item: TypeAlias = tuple[int, bytes]  # an attribute: type and payload

_FAMILIES = choices([Family.INET, Family.INET6])
_PROTOCOLS = choices([Protocol.ESP, Protocol.AH, Protocol.COMP, Protocol.ROUTE2, Protocol.HAO])
_MODES = choices(Mode)
_ENCAPSULATIONS = choices(EncapsulationType)

_HEADER = struct.Struct("=IHHII")
# struct xfrm_usersa_info: selector's family, destination, SPI, protocol, source, byte and packet limits, family,
# mode, replay window, flags.
_STATE = struct.Struct("=40xH14x16sIB3x16s32s32x32x12x4x4xHBBB7x")
_STATE_ID = struct.Struct("=16sIHBx")  # struct xfrm_usersa_id
_POLICY_ID = struct.Struct("=40xH14xIB3x")  # struct xfrm_userpolicy_id
# Documentation addresses (RFC 5737, RFC 3849), and those of the loopback device.
_NOWHERE = {
    Family.INET: b"\xc0\x00\x02\x01".ljust(16, b"\0"),
    Family.INET6: b"\x20\x01\x0d\xb8".ljust(15, b"\0") + b"\1",
}
_LOOPBACK = {Family.INET: b"\x7f\x00\x00\x01".ljust(16, b"\0"), Family.INET6: bytes(15) + b"\1"}
_LOOPBACK_DEVICE = 1
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
        what = Protocol(choice(protocol, "protocol", _PROTOCOLS, Protocol))
        outer = Family(choice(family, "family", _FAMILIES, Family))
        how = Mode(choice(mode, "mode", _MODES, Mode))
        if what == Protocol.COMP:
            how = Mode.TRANSPORT
        extra: list[_Item] = []
        if how == Mode.IPTFS:
            extra.append((AttributeType.SA_DIR, bytes([StateDirection.OUT])))
        elif how == Mode.RO:
            extra.append((AttributeType.COADDR, _NOWHERE[outer]))
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
        outer = Family(choice(family, "family", _FAMILIES, Family))
        wrap = (AttributeType.ENCAP, struct.pack("=H22x", kind))
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
        body = _POLICY_ID.pack(Family.INET, 0, 0)
        kind = (AttributeType.POLICY_TYPE, bytes([PolicyType.SUB, 0, 0, 0, 0, 0]))
        message = _message(Message.GETPOLICY, body, [kind])
        return self._once("sub policies", lambda: self._answer(message, answer=True)[0] != errno.EINVAL)

    @property
    def default_policies(self) -> bool:
        """What happens to packets without a policy can be set (from Linux 5.15)."""
        message = _message(Message.GETDEFAULT, bytes(4), [])
        return self._once("default policies", lambda: self._answer(message, answer=True)[0] == _DONE)

    @property
    def migrate(self) -> bool:
        """States and policies can move to other addresses (CONFIG_XFRM_MIGRATE)."""
        message = _message(Message.MIGRATE, _POLICY_ID.pack(Family.INET, 0, 0), [])
        # Nothing to migrate: that is what EINVAL is about.
        return self._once("migrate", lambda: self._answer(message)[0] == errno.EINVAL)

    @property
    def migrate_state(self) -> bool:
        """One state can move to other addresses (XFRM_MSG_MIGRATE_STATE, a kernel of 2026)."""
        body = _STATE_ID.pack(_NOWHERE[Family.INET], 0, Family.INET, Protocol.ESP).ljust(132, b"\0")
        message = _message(Message.MIGRATE_STATE, body, [(AttributeType.IF_ID, b"")])
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
        self, protocol: int, family: Family, mode: int, items: Iterable[_Item], address: bytes | None = None
    ) -> tuple[int, str]:
        """What the kernel says to an update of a state that does not exist."""
        where = _NOWHERE[family] if address is None else address
        body = _STATE.pack(family, where, 0, protocol, where, b"\xff" * 32, family, mode, 0, 0)
        return self._answer(_message(Message.UPDSA, body, items))

    def _possible(self, protocol: int, family: Family, mode: int, items: Iterable[_Item]) -> bool:
        return self._state(protocol, family, mode, items)[0] == errno.ESRCH

    def _attribute(self, kind: int) -> bool:
        body = _STATE_ID.pack(_NOWHERE[Family.INET], 0, Family.INET, Protocol.ESP)
        # Too short for what it is; the one that is a flag is too long. Unknown ones are passed over.
        payload = b"\0" if kind == AttributeType.IPTFS_DONT_FRAG else b""
        return self._answer(_message(Message.GETSA, body, [(kind, payload)]), answer=True)[0] != errno.ESRCH

    def _algorithm(self, name: bytes) -> bool:
        unheard = set()  # kinds of algorithms (AEAD, ...) of which the kernel has none of this name
        for protocol, alone, companions in _attempts(name):
            if alone[0] in unheard:
                continue
            for items in ([alone], *([alone, each] for each in companions)):
                said = self._state(protocol, Family.INET, Mode.TRANSPORT, items)[0]
                if said == errno.ESRCH:
                    return True
                if said == errno.ENOSYS and len(items) == 1:
                    unheard.add(alone[0])
                    break
        return False

    def _offload(self, flags: int) -> tuple[int, str]:
        """What the kernel says to a state that is to be offloaded to `lo`, which can't."""
        device = (AttributeType.OFFLOAD_DEV, struct.pack("=iB3x", _LOOPBACK_DEVICE, flags))
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


def _message(kind: int, body: bytes, items: Iterable[_Item]) -> bytes:
    whole = body + b"".join(link.attribute(number, payload) for number, payload in items)
    return _HEADER.pack(_HEADER.size + len(whole), kind, link.REQUEST, 0, 0) + whole


def _plain(kind: AttributeType, name: bytes, key: int) -> _Item:
    """struct xfrm_algo, with a random key of as many bytes."""
    return kind, name.ljust(_NAME_SIZE, b"\0") + struct.pack("=I", key * 8) + os.urandom(key)


def _with_icv(kind: AttributeType, name: bytes, key: int, icv_bits: int) -> _Item:
    """struct xfrm_algo_auth or xfrm_algo_aead."""
    return kind, name.ljust(_NAME_SIZE, b"\0") + struct.pack("=II", key * 8, icv_bits) + os.urandom(key)


def _digest(name: bytes, key: int) -> _Item:
    return _with_icv(AttributeType.ALG_AUTH_TRUNC, name, key, _ICV_BITS)


def _cipher(name: bytes, key: int) -> _Item:
    return _plain(AttributeType.ALG_CRYPT, name, key)


def _algorithms(protocol: Protocol) -> Iterator[list[_Item]]:
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


def _attempts(name: bytes) -> Iterator[tuple[Protocol, _Item, list[_Item]]]:
    """Ways to use an algorithm: protocol, the algorithm, and others of which it may need one beside it."""
    for key in _AEAD_KEYS:
        yield Protocol.ESP, _with_icv(AttributeType.ALG_AEAD, name, key, 128), []
    for key in _CIPHER_KEYS:
        yield Protocol.ESP, _cipher(name, key), [_digest(b"hmac(sha256)", 32), _digest(b"hmac(sha1)", 20)]
    for key in _DIGEST_KEYS:
        yield Protocol.AH, _digest(name, key), []
        yield Protocol.ESP, _digest(name, key), [_cipher(b"cbc(aes)", 16), _cipher(b"ecb(cipher_null)", 0)]
    yield Protocol.COMP, _plain(AttributeType.ALG_COMP, name, 0), []

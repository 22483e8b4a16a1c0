# SPDX-License-Identifier: MIT
"""What IPsec asks of an ordinary socket: policies of its own, and packets of ESP inside UDP or TCP.

::

    set_policy(sock, Policy(direction="out"))     # this socket's packets pass, whatever the SPD says
    set_encapsulation(sock, "espinudp")           # ESP in UDP is taken out, and handed to its state
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from xfrm_ext import wire
from xfrm_ext.checks import choice, choices, shown
from xfrm_ext.constants import Direction, EncapsulationType, Family
from xfrm_ext.errors import ValidationError, kernel_error
from xfrm_ext.policy import Policy

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

SocketLike: TypeAlias = "socket.socket | TransportSocket"

# Not in Python's socket module. Numbers of <linux/in.h>, <linux/in6.h>, <linux/udp.h>, <linux/tcp.h>.
IP_XFRM_POLICY: Final = 17
IPV6_XFRM_POLICY: Final = 35
UDP_ENCAP: Final = 100
TCP_ULP: Final = 31

_POLICY_OPTIONS = {
    int(Family.INET): (socket.IPPROTO_IP, IP_XFRM_POLICY),
    int(Family.INET6): (socket.IPPROTO_IPV6, IPV6_XFRM_POLICY),
}
_ENCAPSULATIONS = choices(EncapsulationType)
_HEADER = 16
_USERPOLICY_INFO = 168
# What the kernel takes for a socket's policy is a structure and templates: there is no place for attributes.
_ATTRIBUTES = ("mark", "if_id", "security_context", "offload")


def set_policy(sock: SocketLike, policy: Policy) -> None:
    """Gives a socket a policy of its own, in or out, in place of the one it had for that direction.

    For packets that the policy's selector matches it goes before the SPD: without templates they pass as they
    are, which is how a key manager's own packets get by. It counts in ``spd.count().socket_input`` and
    ``socket_output``. Needs CAP_NET_ADMIN over the socket's network namespace. Raises ValidationError,
    PermissionDenied, KernelError.
    """
    level, option = _policy_option(sock)
    if not isinstance(policy, Policy):
        raise ValidationError("policy", shown(policy), "is not a Policy")
    if policy.direction not in (Direction.IN, Direction.OUT):
        raise ValidationError(
            "Policy.direction", shown(policy.direction), "is not in or out, as a socket's must be"
        )
    for field in _ATTRIBUTES:
        if getattr(policy, field) is not None:
            raise ValidationError(f"Policy.{field}", None, "is not for a socket's policy")
    if policy.policy_type or policy.attributes:
        field = "policy_type" if policy.policy_type else "attributes"
        raise ValidationError(f"Policy.{field}", None, "is not for a socket's policy")
    templates = wire.policy_fields(policy._wire)[0]["templates"]
    value = policy._wire[_HEADER : _HEADER + _USERPOLICY_INFO] + templates
    _checked("set the policy of a socket", lambda: sock.setsockopt(level, option, value))


def clear_policies(sock: SocketLike) -> None:
    """Takes a socket's own policies away, in and out: the kernel can't take just one. There may be none."""
    level, option = _policy_option(sock)
    _checked("clear the policies of a socket", lambda: sock.setsockopt(level, option, None, 0))


def set_encapsulation(sock: SocketLike, encapsulation: EncapsulationType | str | int | None) -> None:
    """Makes a socket one that ESP comes in through, wrapped in UDP ("espinudp") or TCP ("espintcp").

    Of a UDP socket, bound to port 4500 as a rule, the kernel then takes ESP packets out and hands them to their
    states; those that begin with four zero bytes (IKE) are left for the program to read. None turns that off. A
    TCP socket stays what it has become until it is closed. Raises ValidationError; NotFound where the kernel
    lacks espintcp, KernelError with ENOPROTOOPT where it lacks the other (recent ones lack espinudp_non_ike).
    """
    kind = _socket_type(sock)
    number = (
        0 if encapsulation is None else choice(encapsulation, "encapsulation", _ENCAPSULATIONS, EncapsulationType)
    )
    operation = "set the encapsulation of a socket"
    if number == EncapsulationType.ESPINTCP:
        if kind != socket.SOCK_STREAM:
            raise ValidationError("sock", shown(sock), "is not a TCP socket, as espintcp needs")
        _checked(operation, lambda: sock.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"espintcp"))
    elif kind != socket.SOCK_DGRAM:
        raise ValidationError("sock", shown(sock), "is not a UDP socket, as all but espintcp need")
    else:
        _checked(operation, lambda: sock.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, number))


def get_encapsulation(sock: SocketLike) -> EncapsulationType | None:
    """What `set_encapsulation` made of a UDP socket; None: nothing. Raises ValidationError, KernelError."""
    if _socket_type(sock) != socket.SOCK_DGRAM:
        raise ValidationError("sock", shown(sock), "is not a UDP socket")
    number: list[int] = []
    operation = "get the encapsulation of a socket"
    _checked(operation, lambda: number.append(sock.getsockopt(socket.IPPROTO_UDP, UDP_ENCAP)))
    return EncapsulationType(number[0]) if number[0] else None


def _socket_type(sock: SocketLike) -> int:
    if not callable(getattr(sock, "setsockopt", None)) or getattr(sock, "family", None) not in _POLICY_OPTIONS:
        raise ValidationError("sock", shown(sock), "is not an IPv4 or IPv6 socket")
    return sock.type


def _policy_option(sock: SocketLike) -> tuple[int, int]:
    _socket_type(sock)
    return _POLICY_OPTIONS[sock.family]


def _checked(operation: str, call: Callable[[], None]) -> None:
    try:
        call()
    except OSError as error:
        if error.errno is None:
            raise
        raise kernel_error(error.errno, operation) from None

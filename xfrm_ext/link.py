# SPDX-License-Identifier: MIT
"""XfrmInterface, and Links: the verbs on XFRM interfaces (links of type xfrm, over NETLINK_ROUTE)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xfrm_ext.checks import integer, shown
from xfrm_ext.constants import NETLINK_ROUTE, uapi
from xfrm_ext.errors import KernelError, NotFound, ProtocolError, ValidationError
from xfrm_ext.transport import Transport, messages
from xfrm_ext.wire import link as wire

if TYPE_CHECKING:
    from xfrm_ext.session import Session

_LONGEST_NAME = 15
_INDEX_MAX = 0x7FFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class XfrmInterface:
    """An XFRM interface, as the kernel has it.

    What is routed to it is protected by the policies and states of its ``if_id``; what these states decrypted
    comes in through it.
    """

    name: str
    index: int
    if_id: int
    """That of ``Policy.if_id`` and ``State.if_id``; 0 for an external one."""
    device: int
    """Index of the device below it, 0: none was given."""
    external: bool
    """The if_id comes with each packet, from routes or programs (COLLECT_METADATA)."""
    up: bool
    mtu: int
    namespace_id: int | None = None
    """The kernel's number, here, for the network namespace that its policies, states and device are in; None:
    this one."""


class Links:
    """The XFRM interfaces in a session's network namespace. Made by Session.

    Other links are never changed, and not listed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        name: str,
        if_id: int | None = None,
        *,
        device: str | int | None = None,
        external: bool = False,
        mtu: int | None = None,
        up: bool = False,
    ) -> None:
        """Adds one (`ip link add NAME type xfrm [dev DEVICE] {if_id ID | external}`).

        ``device`` by name or index: the kernel uses it for the MTU, and for packets of this interface's own.
        Raises ValidationError; AlreadyExists when the name, or the if_id on another XFRM interface, is taken;
        KernelError with EOPNOTSUPP where the kernel has no XFRM interfaces.
        """
        if not isinstance(external, bool) or not isinstance(up, bool):
            field = "XfrmInterface.up" if isinstance(external, bool) else "XfrmInterface.external"
            raise ValidationError(field, shown(up if isinstance(external, bool) else external), "is not a bool")
        _check_name(name)
        attributes = b"" if mtu is None else wire.number(uapi.IFLA_MTU, _mtu(mtu))
        attributes += wire.name(name)
        if external:
            for field, value in (("if_id", if_id), ("device", device)):
                if value is not None:
                    raise ValidationError(f"XfrmInterface.{field}", shown(value), "is not for an external one")
            data = wire.attribute(uapi.IFLA_XFRM_COLLECT_METADATA, b"")
        elif if_id is None:
            raise ValidationError("XfrmInterface.if_id", None, "is needed, unless the interface is external")
        else:
            data = wire.number(uapi.IFLA_XFRM_IF_ID, _if_id(if_id))
            if device is not None:
                data += wire.number(uapi.IFLA_XFRM_LINK, self._device(device))
        flags = wire.REQUEST | wire.ACK | wire.EXCLUSIVE_CREATE
        message = wire.link_message(
            uapi.RTM_NEWLINK,
            flags,
            attributes + wire.link_info(data),
            set_flags=wire.UP if up else 0,
            change=wire.UP if up else 0,
        )
        with self._socket() as socket:
            socket.talk(message, f"add XFRM interface {name}", timeout=self._session.timeout)

    def get(self, which: str | int | XfrmInterface) -> XfrmInterface:
        """Reads one, by name or index. Raises NotFound when there is none, or it is another kind of link."""
        with self._socket() as socket:
            return self._get(socket, which)

    def dump(self) -> Iterator[XfrmInterface]:
        """Reads all of them."""
        flags = wire.REQUEST | wire.DUMP
        mask = wire.number(uapi.IFLA_EXT_MASK, uapi.RTEXT_FILTER_SKIP_STATS)
        # A filter for kernels that have loaded the type; others send all links.
        request = wire.link_message(uapi.RTM_GETLINK, flags, mask + wire.link_info(None))
        with self._socket() as socket:
            for block in socket.dump(request, "dump XFRM interfaces", timeout=self._session.timeout):
                for message in messages(block):
                    fields = wire.link_fields(message)
                    if fields is not None:
                        yield XfrmInterface(**fields)

    def update(
        self,
        which: str | int | XfrmInterface,
        *,
        if_id: int | None = None,
        mtu: int | None = None,
        up: bool | None = None,
        netns: int | None = None,
    ) -> None:
        """Changes what is given; None leaves things as they are.

        ``netns``, a file descriptor of a network namespace, moves the interface there: its policies and states
        stay here (this session's namespace), which is how one namespace keeps the keys of another. Raises
        ValidationError, NotFound, AlreadyExists when the if_id is taken, KernelError.
        """
        if up is not None and not isinstance(up, bool):
            raise ValidationError("XfrmInterface.up", shown(up), "is not a bool, or None")
        attributes = b"" if mtu is None else wire.number(uapi.IFLA_MTU, _mtu(mtu))
        number = None if if_id is None else _if_id(if_id)
        if netns is not None:
            attributes += wire.number(uapi.IFLA_NET_NS_FD, integer(netns, "netns", _INDEX_MAX))
        with self._socket() as socket:
            now = self._get(socket, which)
            if number is not None:  # the kernel wants the device as it is
                data = wire.number(uapi.IFLA_XFRM_IF_ID, number)
                data += wire.number(uapi.IFLA_XFRM_LINK, now.device) if now.device else b""
                attributes += wire.link_info(data)
            message = wire.link_message(
                uapi.RTM_NEWLINK,
                wire.REQUEST | wire.ACK,
                attributes,
                index=now.index,
                set_flags=wire.UP if up else 0,
                change=0 if up is None else wire.UP,
            )
            socket.talk(message, f"update XFRM interface {now.name}", timeout=self._session.timeout)

    def set_up(self, which: str | int | XfrmInterface) -> None:
        """Brings one up: ``update(which, up=True)``."""
        self.update(which, up=True)

    def delete(self, which: str | int | XfrmInterface) -> None:
        """Deletes one. Raises NotFound when there is none, or it is another kind of link."""
        with self._socket() as socket:
            now = self._get(socket, which)
            message = wire.link_message(uapi.RTM_DELLINK, wire.REQUEST | wire.ACK, b"", index=now.index)
            socket.talk(message, f"delete XFRM interface {now.name}", timeout=self._session.timeout)

    def _get(self, socket: Transport, which: str | int | XfrmInterface) -> XfrmInterface:
        if isinstance(which, XfrmInterface):
            which = which.index
        index, attributes = 0, b""
        if isinstance(which, str):
            attributes = wire.name(_check_name(which))
        else:
            index = integer(which, "XfrmInterface.index", _INDEX_MAX, least=1)
        operation = f"find XFRM interface {which}"
        request = wire.link_request(attributes, index)
        try:
            reply = socket.talk(request, operation, answer=True, timeout=self._session.timeout)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                raise NotFound(errno.ENODEV, operation, error.kernel_text) from None
            raise
        if reply is None:
            raise ProtocolError(f"{operation}: the kernel acknowledged, but did not answer")
        fields = wire.link_fields(reply)
        if fields is None:
            raise NotFound(errno.ENODEV, f"{operation} (it is another kind of link)")
        return XfrmInterface(**fields)

    def _device(self, device: str | int) -> int:
        if not isinstance(device, str):
            return integer(device, "XfrmInterface.device", _INDEX_MAX, least=1)
        number = self._session._transport.interface_index(_check_name(device, "XfrmInterface.device"))
        if not number:
            raise ValidationError("XfrmInterface.device", shown(device), "is not an interface")
        return number

    @contextmanager
    def _socket(self) -> Iterator[Transport]:
        """A socket of its own for each call: links come and go seldom."""
        socket = self._session._transport.open_beside(NETLINK_ROUTE)
        try:
            yield socket
        finally:
            socket.close()


def _check_name(name: object, field: str = "XfrmInterface.name") -> str:
    """A name that the kernel takes, and takes literally: with a % in it, it would make up another."""
    if isinstance(name, str):
        try:
            size = len(os.fsencode(name))
        except UnicodeEncodeError:
            size = 0
        if (
            1 <= size <= _LONGEST_NAME
            and name not in (".", "..")
            and not any(character in "/:%\0" or character.isspace() for character in name)
        ):
            return name
    rule = f"is not an interface's name: 1 to {_LONGEST_NAME} bytes without '/', ':', '%' and spaces"
    raise ValidationError(field, shown(name), rule)


def _if_id(value: object) -> int:
    return integer(value, "XfrmInterface.if_id", 0xFFFFFFFF, least=1)


def _mtu(value: object) -> int:
    return integer(value, "XfrmInterface.mtu", 0xFFFFFFFF, least=68)

# SPDX-License-Identifier: MIT
"""Messages about XFRM interfaces, of NETLINK_ROUTE: struct ifinfomsg and its attributes <-> fields.

Few and far between, so there is one codec for them, in Python.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

from xfrm_ext.constants import uapi
from xfrm_ext.errors import ProtocolError

_HEADER = struct.Struct("=IHHII")
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_KIND = b"xfrm"
_TYPE_MASK = 0x3FFF

REQUEST = 0x1
ACK = 0x4
EXCLUSIVE_CREATE = 0x600  # NLM_F_CREATE | NLM_F_EXCL
DUMP = 0x300
UP = 1  # IFF_UP


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute with its padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload + bytes(-len(payload) % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that is a 32-bit number."""
    return attribute(kind, _NUMBER.pack(value))


def name(text: str) -> bytes:
    """IFLA_IFNAME."""
    return attribute(uapi.IFLA_IFNAME, os.fsencode(text) + b"\0")


def link_info(data: bytes | None) -> bytes:
    """IFLA_LINKINFO of an XFRM interface, with `data` (attributes) or without."""
    kind = attribute(uapi.IFLA_INFO_KIND, _KIND + b"\0")
    return attribute(uapi.IFLA_LINKINFO, kind if data is None else kind + attribute(uapi.IFLA_INFO_DATA, data))


def link_message(
    kind: int, flags: int, attributes: bytes, *, index: int = 0, set_flags: int = 0, change: int = 0
) -> bytes:
    """A message with sequence number and port 0. Of the interface's flags, `change` says which are set."""
    body = _INFO.pack(0, 0, index, set_flags, change) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 0, 0) + body


def link_request(attributes: bytes = b"", index: int = 0) -> bytes:
    """RTM_GETLINK for the interface with this index, or that the attributes name, without its counters."""
    mask = number(uapi.IFLA_EXT_MASK, uapi.RTEXT_FILTER_SKIP_STATS)
    return link_message(uapi.RTM_GETLINK, REQUEST, mask + attributes, index=index)


def link_name(message: bytes | bytearray) -> str:
    """IFLA_IFNAME of an RTM_NEWLINK message. Raises ProtocolError."""
    return _text(_outer(message).get(uapi.IFLA_IFNAME, b""))


def _outer(message: bytes | bytearray) -> dict[int, bytes]:
    begin = _HEADER.size + _INFO.size
    if len(message) < begin or _HEADER.unpack_from(message)[1] != uapi.RTM_NEWLINK:
        raise ProtocolError("a link message is too short, or another one")
    return _attributes(bytes(message[begin:]))


def link_fields(message: bytes | bytearray) -> dict[str, Any] | None:
    """The fields of an RTM_NEWLINK message, by name; None: of another kind of link. Raises ProtocolError."""
    outer = _outer(message)
    _, _, index, flags, _ = _INFO.unpack_from(message, _HEADER.size)
    info = _attributes(outer.get(uapi.IFLA_LINKINFO, b""))
    if _text(info.get(uapi.IFLA_INFO_KIND, b"")) != _KIND.decode():
        return None
    data = _attributes(info.get(uapi.IFLA_INFO_DATA, b""))
    return {
        "name": _text(outer.get(uapi.IFLA_IFNAME, b"")),
        "index": index,
        "if_id": _value(data, uapi.IFLA_XFRM_IF_ID) or 0,
        "device": _value(data, uapi.IFLA_XFRM_LINK) or 0,
        "external": uapi.IFLA_XFRM_COLLECT_METADATA in data,
        "up": bool(flags & UP),
        "mtu": _value(outer, uapi.IFLA_MTU) or 0,
        "namespace_id": _value(outer, uapi.IFLA_LINK_NETNSID),
    }


def _attributes(data: bytes) -> dict[int, bytes]:
    return dict(_walk(data))


def _walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, position) if position + 4 <= len(data) else (0, 0)
        if not _ATTRIBUTE.size <= size <= len(data) - position:
            raise ProtocolError("an attribute of a link message has a length that does not fit")
        yield kind & _TYPE_MASK, data[position + _ATTRIBUTE.size : position + size]
        position += (size + 3) & ~3


def _text(payload: bytes) -> str:
    return os.fsdecode(payload.partition(b"\0")[0])


def _value(attributes: dict[int, bytes], kind: int) -> int | None:
    payload = attributes.get(kind)
    return int(_NUMBER.unpack(payload)[0]) if payload is not None and len(payload) == _NUMBER.size else None

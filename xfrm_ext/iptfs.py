# SPDX-License-Identifier: MIT
"""IpTfs: the parameters of a state of mode iptfs (RFC 9347, XFRMA_IPTFS_*)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xfrm_ext.checks import integer
from xfrm_ext.constants import AttributeType
from xfrm_ext.items import Items
from xfrm_ext.wire.item import Item

_U32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class IpTfs:
    """Parameters of IP-TFS (RFC 9347, XFRMA_IPTFS_*); None: not sent, the kernel's default.

    ``drop_time`` and ``reorder_window`` are for states of direction in, the others for direction out.
    """

    drop_time: int | None = None
    """Microseconds to wait for a missing packet."""
    reorder_window: int | None = None
    """Packets, at most 65535."""
    dont_fragment: bool = False
    """Never split an inner packet."""
    init_delay: int | None = None
    """Microseconds to wait for more inner packets before sending."""
    max_queue_size: int | None = None
    """Octets."""
    packet_size: int | None = None
    """Octets of the outer packet; 0: the path's MTU."""

    def __post_init__(self) -> None:
        for name, kind, most in _IPTFS:
            value = getattr(self, name)
            if value is not None and kind is not AttributeType.IPTFS_DONT_FRAG:
                object.__setattr__(self, name, integer(value, f"IpTfs.{name}", most))
        object.__setattr__(self, "dont_fragment", bool(self.dont_fragment))

    def _items(self) -> list[Item]:
        items = []
        for name, kind, _most in _IPTFS:
            value = getattr(self, name)
            if kind is AttributeType.IPTFS_DONT_FRAG:
                if value:
                    items.append(Item(kind, ()))
            elif value is not None:
                items.append(Item(kind, (value,)))
        return items

    @classmethod
    def _from_items(cls, items: Items) -> IpTfs | None:
        values: dict[str, Any] = {}
        for name, kind, _most in _IPTFS:
            item = items.take(kind)
            if item is not None:
                values[name] = item.numbers[0] if item.numbers else True
        return cls(**values) if values else None


_IPTFS = (
    ("drop_time", AttributeType.IPTFS_DROP_TIME, _U32),
    ("reorder_window", AttributeType.IPTFS_REORDER_WINDOW, 0xFFFF),
    ("dont_fragment", AttributeType.IPTFS_DONT_FRAG, 1),
    ("init_delay", AttributeType.IPTFS_INIT_DELAY, _U32),
    ("max_queue_size", AttributeType.IPTFS_MAX_QSIZE, _U32),
    ("packet_size", AttributeType.IPTFS_PKT_SIZE, _U32),
)

# SPDX-License-Identifier: MIT
"""Items: the attributes of a message, to be taken one by one by the value that is made of it; and the other way."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from xfrm_ext.attribute import KEYED, Attribute, Offload, SecurityContext
from xfrm_ext.constants import AttributeType, Message
from xfrm_ext.mark import Mark
from xfrm_ext.replay import LARGEST_WINDOW, ReplayState
from xfrm_ext.secret import Secret
from xfrm_ext.wire.item import Item


class Items:
    """The items of a message, to be taken one by one. Of two of a kind the last counts, as in the kernel."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._listed = list(items)
        self._items: dict[int, Item] = {}
        for item in self._listed:
            if item.numbers is None:
                continue
            if item.type == AttributeType.MIGRATE and item.type in self._items:
                # The kernel tells of each in an attribute of its own, and takes them in one.
                self._items[item.type] = item._replace(data=self._items[item.type].data + item.data)
            else:
                self._items[item.type] = item

    def take(self, kind: int) -> Item | None:
        """The item of a type, which is then no longer among the rest."""
        return self._items.pop(kind, None)

    def number(self, kind: int) -> int | None:
        """The one number of an item."""
        item = self._items.pop(kind, None)
        return None if item is None or not item.numbers else item.numbers[0]

    def mark(self) -> Mark | None:
        """XFRMA_MARK."""
        item = self.take(AttributeType.MARK)
        return None if item is None or not item.numbers else Mark(*item.numbers)

    def offload(self) -> Offload | None:
        """XFRMA_OFFLOAD_DEV. One that names no interface stays among the rest."""
        item = self._items.get(AttributeType.OFFLOAD_DEV)
        if item is None or not item.numbers or item.numbers[0] < 0:
            return None
        del self._items[AttributeType.OFFLOAD_DEV]
        return Offload(*item.numbers)

    def context(self) -> SecurityContext | None:
        """XFRMA_SEC_CTX. A label that is no text stays among the rest."""
        item = self._items.get(AttributeType.SEC_CTX)
        if item is None or not item.numbers:
            return None
        label, _ = SecurityContext._from_parts((bytes(item.data), *item.numbers))  # type: ignore[arg-type]
        if label is not None:
            del self._items[AttributeType.SEC_CTX]
        return label

    def replay(self) -> tuple[ReplayState | None, int | None]:
        """XFRMA_REPLAY_ESN_VAL or XFRMA_REPLAY_VAL, and the window that the first tells."""
        extended = self._items.get(AttributeType.REPLAY_ESN_VAL)
        if extended is not None and len(extended.data) <= LARGEST_WINDOW // 8:
            del self._items[AttributeType.REPLAY_ESN_VAL]
            return ReplayState._from_items(None, extended), (extended.numbers or (0,) * 6)[5]
        return ReplayState._from_items(self.take(AttributeType.REPLAY_VAL), None), None

    def drain(self) -> list[Item]:
        """All items of types that were not taken, in their order."""
        left = [item for item in self._listed if item.numbers is None or item.type in self._items]
        self._items, self._listed = {}, []
        return left

    def rest(self, wire: Any) -> tuple[Attribute, ...]:
        """The items that were not taken, as attributes."""
        return tuple(Attribute(item.type, _payload(item, wire)) for item in self.drain())


def _payload(item: Item, wire: Any) -> bytes | Secret:
    if item.numbers is None:
        payload = item.data
    else:
        message = memoryview(wire.pack(Message.FLUSHPOLICY, 0, None, [item]))  # which has no fixed part
        payload = message[20 : 16 + int.from_bytes(message[16:18], sys.byteorder)]
    return Secret(payload) if item.type & 0x3FFF in KEYED else bytes(payload)


def rest_items(attributes: Iterable[Attribute]) -> list[Item]:
    """The items of attributes that have no field."""
    return [Item(int(attribute.type), None, attribute._data()) for attribute in attributes]


def mark_item(mark: Mark) -> Item:
    """XFRMA_MARK."""
    return Item(AttributeType.MARK, (mark.value, mark.mask))


def offload_item(offload: Offload) -> Item:
    """XFRMA_OFFLOAD_DEV."""
    return Item(AttributeType.OFFLOAD_DEV, (offload.interface, int(offload.flags)))


def context_item(context: SecurityContext) -> Item:
    """XFRMA_SEC_CTX."""
    return Item(AttributeType.SEC_CTX, (context.algorithm, context.doi), context._encoded())

# SPDX-License-Identifier: MIT
"""What several kinds of messages carry: Offload, SecurityContext, unknown attributes (Attribute)."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xfrm_ext.checks import article, integer, shown
from xfrm_ext.checks import flags as checked_flags
from xfrm_ext.constants import AttributeType, Message, OffloadFlag
from xfrm_ext.errors import ValidationError
from xfrm_ext.mark import Mark
from xfrm_ext.replay import LARGEST_WINDOW, ReplayState
from xfrm_ext.secret import Secret
from xfrm_ext.selector import interface_index
from xfrm_ext.wire.item import Item

_CONTEXT = struct.Struct("=HHBBH")
KEYED = {
    AttributeType.ALG_AUTH,
    AttributeType.ALG_CRYPT,
    AttributeType.ALG_COMP,
    AttributeType.ALG_AEAD,
    AttributeType.ALG_AUTH_TRUNC,
}
"""Types whose payload holds a key."""


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """An LSM's label (struct xfrm_user_sec_ctx, XFRMA_SEC_CTX): SELinux's unless told otherwise."""

    context: str
    """At most 4095 bytes in UTF-8."""
    algorithm: int = 1
    doi: int = 1
    terminated: int = 1
    """NULs that follow on the wire: `ip xfrm` sends one, and the kernel answers with one more."""

    def __post_init__(self) -> None:
        try:
            right = "\0" not in self.context and len(self.context.encode("utf-8", "surrogateescape")) <= 4095
        except (AttributeError, TypeError, UnicodeEncodeError):
            right = False
        if not right or not isinstance(self.context, str):
            rule = "is not text of at most 4095 bytes without NUL"
            raise ValidationError("SecurityContext.context", shown(self.context), rule)
        object.__setattr__(self, "algorithm", integer(self.algorithm, "SecurityContext.algorithm", 255))
        object.__setattr__(self, "doi", integer(self.doi, "SecurityContext.doi", 255))
        count = integer(
            int(self.terminated) if self.terminated in (0, 1) else self.terminated,
            "SecurityContext.terminated",
            255,
        )
        object.__setattr__(self, "terminated", count)

    def _encoded(self) -> bytes:
        return self.context.encode("utf-8", "surrogateescape") + b"\0" * self.terminated

    @classmethod
    def _from_parts(cls, parts: tuple[bytes, int, int] | None) -> tuple[SecurityContext | None, list[Attribute]]:
        """The label on the wire, or, where it is no text that this class could have made, the attribute."""
        if parts is None:
            return None, []
        text, algorithm, doi = parts
        body = text.rstrip(b"\0")
        count = len(text) - len(body)
        if b"\0" not in body and len(body) <= 4095 and count <= 255:
            return cls(body.decode("utf-8", "surrogateescape"), algorithm, doi, count), []
        kind = AttributeType.SEC_CTX
        payload = _CONTEXT.pack(_CONTEXT.size + len(text), kind, algorithm, doi, len(text)) + text
        return None, [Attribute(kind, payload)]


@dataclass(frozen=True, slots=True)
class Offload:
    """The device that does the work (struct xfrm_user_offload, XFRMA_OFFLOAD_DEV)."""

    interface: int
    """Index of the interface, or its name in the calling thread's network namespace."""
    flags: OffloadFlag = OffloadFlag.PACKET

    def __init__(
        self, interface: int | str, flags: OffloadFlag | int | str | Iterable[str] = OffloadFlag.PACKET
    ) -> None:
        """Raises ValidationError."""
        number = interface_index(interface, "Offload.interface")
        object.__setattr__(self, "interface", number)
        bits = checked_flags(flags, "Offload.flags", OffloadFlag, 255)
        object.__setattr__(self, "flags", OffloadFlag(bits))


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that this release has no field for, as it came, so that it can be sent back."""

    type: AttributeType | int
    payload: bytes | Secret
    """A Secret where it may hold a key (`has_key`)."""

    def __post_init__(self) -> None:
        kind = integer(self.type, "Attribute.type", 0xFFFF, kind=AttributeType)
        object.__setattr__(self, "type", AttributeType(kind))
        if not isinstance(self.payload, (bytes, Secret)) or len(self.payload) > 0xFFFF - 4:
            text = None if self.has_key else shown(self.payload)
            object.__setattr__(self, "payload", b"")  # nor shall the frame of the error show it
            raise ValidationError("Attribute.payload", text, "is not bytes, at most 65531 of them")
        if self.has_key and not isinstance(self.payload, Secret):
            object.__setattr__(self, "payload", Secret(self.payload))

    @property
    def has_key(self) -> bool:
        """Whether the payload may hold a key."""
        return int(self.type) & 0x3FFF in KEYED

    def _data(self) -> Any:
        """The payload as bytes, or in memory that gets wiped."""
        return self.payload._memory if isinstance(self.payload, Secret) else self.payload


def items_of(values: object, kind: type, field: str) -> tuple[Any, ...]:
    """What an iterable yields. Errors of the iterable itself go through."""
    if values.__class__ is tuple:
        return values
    if not isinstance(values, (list, Iterable)) or isinstance(values, (str, bytes)):
        raise ValidationError(field, shown(values), f"is not an iterable of {kind.__name__}")
    return tuple(values)


def attributes_of(values: object, field: str) -> tuple[Attribute, ...]:
    """The attributes that an iterable yields."""
    found = items_of(values, Attribute, field)
    for one in found:
        instance(one, Attribute, field)
    return found


def instance(value: object, kind: type, field: str) -> Any:
    if isinstance(value, kind):
        return value
    raise ValidationError(field, shown(value), f"is not {article(kind.__name__)}")


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

# SPDX-License-Identifier: MIT
"""What several kinds of messages carry: Offload, SecurityContext, unknown attributes (Attribute)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xfrm_ext.checks import flags as checked_flags
from xfrm_ext.checks import instance, integer, items_of, shown
from xfrm_ext.constants import AttributeType, OffloadFlag
from xfrm_ext.errors import ValidationError
from xfrm_ext.secret import Secret
from xfrm_ext.selector import interface_index

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


def attributes_of(values: object, field: str) -> tuple[Attribute, ...]:
    """The attributes that an iterable yields."""
    found = items_of(values, Attribute, field)
    for one in found:
        instance(one, Attribute, field)
    return found

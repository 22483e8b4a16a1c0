# SPDX-License-Identifier: MIT
"""Lifetimes: limits (struct xfrm_lifetime_cfg) and what has been used of them (struct xfrm_lifetime_cur)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from typing import Any

from xfrm_ext.checks import integer
from xfrm_ext.constants import INFINITE
from xfrm_ext.value import Value, set_wire

_CONFIG = struct.Struct("=8Q")
_CURRENT = struct.Struct("=4Q")
_MOST = 2**64 - 1


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class LifetimeConfig(Value):
    """Limits of a policy or state (struct xfrm_lifetime_cfg): none of any kind by default.

    Byte and packet limits: INFINITE or None is none, and 0 means expired at once. Seconds since it was added
    and since it was first used: 0 is none.
    """

    soft_byte_limit: int = INFINITE
    hard_byte_limit: int = INFINITE
    soft_packet_limit: int = INFINITE
    hard_packet_limit: int = INFINITE
    soft_add_expires_seconds: int = 0
    hard_add_expires_seconds: int = 0
    soft_use_expires_seconds: int = 0
    hard_use_expires_seconds: int = 0

    def __init__(
        self,
        *,
        soft_byte_limit: int | None = None,
        hard_byte_limit: int | None = None,
        soft_packet_limit: int | None = None,
        hard_packet_limit: int | None = None,
        soft_add_expires_seconds: int = 0,
        hard_add_expires_seconds: int = 0,
        soft_use_expires_seconds: int = 0,
        hard_use_expires_seconds: int = 0,
    ) -> None:
        """Raises ValidationError."""
        limits = [
            INFINITE if limit is None else integer(limit, f"LifetimeConfig.{name}", _MOST)
            for name, limit in (
                ("soft_byte_limit", soft_byte_limit),
                ("hard_byte_limit", hard_byte_limit),
                ("soft_packet_limit", soft_packet_limit),
                ("hard_packet_limit", hard_packet_limit),
            )
        ]
        seconds = [
            integer(value, f"LifetimeConfig.{name}", _MOST)
            for name, value in (
                ("soft_add_expires_seconds", soft_add_expires_seconds),
                ("hard_add_expires_seconds", hard_add_expires_seconds),
                ("soft_use_expires_seconds", soft_use_expires_seconds),
                ("hard_use_expires_seconds", hard_use_expires_seconds),
            )
        ]
        set_wire(self, _CONFIG.pack(*limits, *seconds))

    def _unpack(self, wire: Any) -> dict[str, Any]:
        return dict(zip((field.name for field in fields(self)), _CONFIG.unpack(self._wire), strict=True))


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class LifetimeCurrent(Value):
    """What a policy or state has been used for (struct xfrm_lifetime_cur). The kernel ignores it in requests.

    ``add_time`` and ``use_time`` (of the first use; 0: never) are seconds since 1970.
    """

    bytes: int = 0
    packets: int = 0
    add_time: int = 0
    use_time: int = 0

    def __init__(self, *, bytes: int = 0, packets: int = 0, add_time: int = 0, use_time: int = 0) -> None:
        """Raises ValidationError."""
        set_wire(
            self,
            _CURRENT.pack(
                integer(bytes, "LifetimeCurrent.bytes", _MOST),
                integer(packets, "LifetimeCurrent.packets", _MOST),
                integer(add_time, "LifetimeCurrent.add_time", _MOST),
                integer(use_time, "LifetimeCurrent.use_time", _MOST),
            ),
        )

    def _unpack(self, wire: Any) -> dict[str, Any]:
        return dict(zip((field.name for field in fields(self)), _CURRENT.unpack(self._wire), strict=True))


NO_LIMITS = LifetimeConfig()
UNUSED = LifetimeCurrent()

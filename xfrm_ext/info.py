# SPDX-License-Identifier: MIT
"""What concerns a database as a whole: counters and hash tables (SadInfo, SpdInfo), hash thresholds
(SpdThresholds), what happens to packets without a policy (PolicyDefaults)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xfrm_ext.checks import choice, choices, integer, shown
from xfrm_ext.constants import DefaultAction, uapi
from xfrm_ext.errors import ValidationError
from xfrm_ext.items import Items
from xfrm_ext.wire.item import Item

_ACTIONS = choices(DefaultAction)
_FLAGS = {"flags": 0xFFFFFFFF}  # ignored by every kernel so far; what ip sends


@dataclass(frozen=True, slots=True, kw_only=True)
class SpdInfo:
    """Counters and hash tables of the SPD, main and sub policies together (XFRM_MSG_NEWSPDINFO, struct
    xfrmu_spdinfo and others)."""

    input: int = 0
    output: int = 0
    forward: int = 0
    socket_input: int = 0
    """Policies that sockets carry (IP_XFRM_POLICY)."""
    socket_output: int = 0
    socket_forward: int = 0
    hash_mask: int = 0
    """Buckets of the hash by index, less 1. The kernel doubles them as policies come, never shrinks them."""
    hash_limit: int = 0
    ipv4_local_bits: int = 0
    """Prefixes at least this long, on both sides, are found by hash; shorter ones in a tree."""
    ipv4_remote_bits: int = 0
    ipv6_local_bits: int = 0
    ipv6_remote_bits: int = 0

    def __post_init__(self) -> None:
        for name in _SPD_FIELDS:
            most = 0xFF if name.endswith("_bits") else 0xFFFFFFFF
            object.__setattr__(self, name, integer(getattr(self, name), f"SpdInfo.{name}", most))

    @property
    def total(self) -> int:
        """Policies in the SPD, without those of sockets."""
        return self.input + self.output + self.forward

    @property
    def thresholds(self) -> SpdThresholds:
        """The hash thresholds."""
        return SpdThresholds(
            (self.ipv4_local_bits, self.ipv4_remote_bits), (self.ipv6_local_bits, self.ipv6_remote_bits)
        )

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        values = [getattr(self, name) for name in _SPD_FIELDS]
        return {"flags": 0}, [
            Item(uapi.XFRMA_SPD_INFO, tuple(values[0:6])),
            Item(uapi.XFRMA_SPD_HINFO, tuple(values[6:8])),
            Item(uapi.XFRMA_SPD_IPV4_HTHRESH, tuple(values[8:10])),
            Item(uapi.XFRMA_SPD_IPV6_HTHRESH, tuple(values[10:12])),
        ]

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> SpdInfo:
        numbers: list[int] = []
        for kind, count in (
            (uapi.XFRMA_SPD_INFO, 6),
            (uapi.XFRMA_SPD_HINFO, 2),
            (uapi.XFRMA_SPD_IPV4_HTHRESH, 2),
            (uapi.XFRMA_SPD_IPV6_HTHRESH, 2),
        ):
            item = items.take(kind)
            numbers += (0,) * count if item is None or not item.numbers else item.numbers
        return cls(**dict(zip(_SPD_FIELDS, numbers, strict=True)))


_SPD_FIELDS = tuple(SpdInfo.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class SpdThresholds:
    """From which prefix lengths on, (local, remote), policies are found by hash (struct xfrmu_spdhthresh). Policies
    with a shorter prefix on either side are found in a tree. None: left as it is."""

    ipv4: tuple[int, int] | None = None
    """Each 0 to 32."""
    ipv6: tuple[int, int] | None = None
    """Each 0 to 128."""

    def __post_init__(self) -> None:
        for name, most in (("ipv4", 32), ("ipv6", 128)):
            value = getattr(self, name)
            if value is None:
                continue
            field = f"SpdThresholds.{name}"
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise ValidationError(field, shown(value), "is not two numbers, local and remote")
            object.__setattr__(self, name, (integer(value[0], field, most), integer(value[1], field, most)))

    def _items(self) -> list[Item]:
        pairs = ((uapi.XFRMA_SPD_IPV4_HTHRESH, self.ipv4), (uapi.XFRMA_SPD_IPV6_HTHRESH, self.ipv6))
        return [Item(kind, pair) for kind, pair in pairs if pair is not None]

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        return _FLAGS, self._items()


@dataclass(frozen=True, slots=True, kw_only=True)
class SadInfo:
    """Number and hash tables of the states (XFRM_MSG_NEWSADINFO, XFRMA_SAD_CNT, struct xfrmu_sadhinfo)."""

    count: int = 0
    hash_buckets: int = 0
    hash_limit: int = 0

    def __post_init__(self) -> None:
        for name in ("count", "hash_buckets", "hash_limit"):
            object.__setattr__(self, name, integer(getattr(self, name), f"SadInfo.{name}", 0xFFFFFFFF))

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        return {"flags": 0}, [
            Item(uapi.XFRMA_SAD_CNT, (self.count,)),
            Item(uapi.XFRMA_SAD_HINFO, (self.hash_buckets, self.hash_limit)),
        ]

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> SadInfo:
        count = items.number(uapi.XFRMA_SAD_CNT) or 0
        tables = items.take(uapi.XFRMA_SAD_HINFO)
        buckets, limit = (0, 0) if tables is None or not tables.numbers else tables.numbers
        return cls(count=count, hash_buckets=buckets, hash_limit=limit)


@dataclass(frozen=True, slots=True, init=False)
class PolicyDefaults:
    """What happens to packets that no policy is for (struct xfrm_userpolicy_default, from Linux 5.15)."""

    input: DefaultAction = DefaultAction.UNSPEC
    forward: DefaultAction = DefaultAction.UNSPEC
    output: DefaultAction = DefaultAction.UNSPEC

    def __init__(
        self,
        input: DefaultAction | int | str = DefaultAction.UNSPEC,
        forward: DefaultAction | int | str = DefaultAction.UNSPEC,
        output: DefaultAction | int | str = DefaultAction.UNSPEC,
    ) -> None:
        """accept or block; unspec leaves it as it is. Raises ValidationError."""
        for name, value in (("input", input), ("forward", forward), ("output", output)):
            number = choice(value, f"PolicyDefaults.{name}", _ACTIONS, DefaultAction)
            object.__setattr__(self, name, DefaultAction(number))

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        return {"input": self.input, "forward": self.forward, "output": self.output}, []

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> PolicyDefaults:
        return cls(*(DefaultAction(values[name]) for name in ("input", "forward", "output")))


@dataclass(frozen=True, slots=True, kw_only=True)
class XfrmInfo:
    """Both databases."""

    sad: SadInfo
    spd: SpdInfo
    defaults: PolicyDefaults | None
    """None: a kernel before Linux 5.15."""

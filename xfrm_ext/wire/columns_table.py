# SPDX-License-Identifier: MIT
"""Columns: where each of them stands in the messages of policies (NEWPOLICY) and states (NEWSA).

The names are those of the fields of Policy and State and of their parts; where two parts have a field of one name,
the part's name stands in front of it. The places are those of the layouts, restated nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from xfrm_ext.constants import (
    Action,
    Direction,
    EncapsulationType,
    Enumeration,
    Family,
    Flags,
    Level,
    Mode,
    PolicyFlag,
    PolicyType,
    Protocol,
    Share,
    StateDirection,
    StateExtraFlag,
    StateFlag,
    uapi,
)
from xfrm_ext.wire.layouts import (
    ATTRIBUTES,
    LIFETIME_CONFIG,
    LIFETIME_CURRENT,
    POLICY,
    SELECTOR,
    STATE,
    TEMPLATE,
    Algorithm,
    Fixed,
    Layout,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: where its values stand, and what they may be."""

    name: str
    attribute: int
    """The attribute's type, XFRMA_...; 0: it stands in the fixed part."""
    offset: int
    """In bytes, from the start of the fixed part (behind the netlink header) or of the attribute's payload."""
    size: int
    """In bytes; 16 is an address, 0 a key, which has as many as the template's."""
    network: bool
    """Whether the number is in network byte order."""
    most: int
    """The largest number that it may be; the least is 0. 0 for addresses and keys."""
    kind: type[Enumeration] | type[Flags] | None = None
    """The class of its numbers: an enumeration allows its members only."""
    family: str | None = None
    """Of an address: the column that says of which family it is."""
    prefix_length: str | None = None
    """Of the address of a prefix: the column that has its length."""


def _column(
    name: str,
    layout: Layout,
    field: str,
    *,
    base: int = 0,
    attribute: int = 0,
    most: int | None = None,
    kind: type[Enumeration] | type[Flags] | None = None,
    family: str | None = None,
    prefix_length: str | None = None,
) -> Column:
    place = layout.place(field)
    if most is None:
        most = 0 if place.size > 8 else (1 << 8 * place.size) - 1
    return Column(
        name=name,
        attribute=attribute,
        offset=base + place.offset,
        size=place.size,
        network=place.network,
        most=most,
        kind=kind,
        family=family,
        prefix_length=prefix_length,
    )


def _option(
    name: str, attribute: int, field: str = "value", kind: type[Enumeration] | type[Flags] | None = None
) -> Column:
    """A column in an attribute of one structure."""
    payload = ATTRIBUTES[attribute]
    assert isinstance(payload, Fixed)
    return _column(name, payload.layout, field, attribute=attribute, kind=kind)


def _key(name: str, attribute: int) -> Column:
    payload = ATTRIBUTES[attribute]
    assert isinstance(payload, Algorithm)
    size = payload.layout.size
    return Column(name=name, attribute=attribute, offset=size, size=0, network=False, most=0)


def _table(*columns: Column) -> Mapping[str, Column]:
    return {column.name: column for column in columns}


_SELECTOR = POLICY.place("selector").offset
_LIMITS = "lifetime"
_USED = "current"


def _lifetimes(layout: Layout) -> list[Column]:
    """The columns of both lifetimes, which policies and states have."""
    limits, used = layout.place(_LIMITS).offset, layout.place(_USED).offset
    return [
        *(_column(name, LIFETIME_CONFIG, name, base=limits) for name in LIFETIME_CONFIG.names),
        *(_column(name, LIFETIME_CURRENT, name, base=used) for name in LIFETIME_CURRENT.names),
    ]


def _template(field: str, kind: type[Enumeration] | None = None, family: str | None = None) -> Column:
    name = f"template_{field}"
    return _column(name, TEMPLATE, field, attribute=uapi.XFRMA_TMPL, kind=kind, family=family)


POLICY_COLUMNS: Final[Mapping[str, Column]] = _table(
    _column("source", SELECTOR, "source", base=_SELECTOR, family="family", prefix_length="source_prefix_length"),
    _column(
        "destination",
        SELECTOR,
        "destination",
        base=_SELECTOR,
        family="family",
        prefix_length="destination_prefix_length",
    ),
    _column("source_prefix_length", SELECTOR, "source_length", base=_SELECTOR, most=128),
    _column("destination_prefix_length", SELECTOR, "destination_length", base=_SELECTOR, most=128),
    _column("family", SELECTOR, "family", base=_SELECTOR, kind=Family),
    _column("protocol", SELECTOR, "protocol", base=_SELECTOR),
    _column("source_port", SELECTOR, "source_port", base=_SELECTOR),
    _column("source_port_mask", SELECTOR, "source_port_mask", base=_SELECTOR),
    _column("destination_port", SELECTOR, "destination_port", base=_SELECTOR),
    _column("destination_port_mask", SELECTOR, "destination_port_mask", base=_SELECTOR),
    _column("interface", SELECTOR, "interface", base=_SELECTOR, most=0x7FFFFFFF),
    _column("user", SELECTOR, "user", base=_SELECTOR),
    _column("direction", POLICY, "direction", kind=Direction),
    _column("action", POLICY, "action", kind=Action),
    _column("priority", POLICY, "priority"),
    _column("index", POLICY, "index"),
    _column("flags", POLICY, "flags", kind=PolicyFlag),
    _column("share", POLICY, "share", kind=Share),
    _option("policy_type", uapi.XFRMA_POLICY_TYPE, "type", PolicyType),
    _option("mark", uapi.XFRMA_MARK, "first"),
    _option("mark_mask", uapi.XFRMA_MARK, "second"),
    _option("if_id", uapi.XFRMA_IF_ID),
    *_lifetimes(POLICY),
    _template("source", family="template_family"),
    _template("destination", family="template_family"),
    _template("family", Family),
    _template("spi"),
    _template("reqid"),
    _template("protocol", Protocol),
    _template("mode", Mode),
    _template("level", Level),
    _template("share", Share),
    _template("aalgos"),
    _template("ealgos"),
    _template("calgos"),
)
"""Columns of policies. Those of templates are of the first one."""

ALIASES: Final[Mapping[str, str]] = {"reqid": "template_reqid"}
"""Other names of columns of policies."""

STATE_COLUMNS: Final[Mapping[str, Column]] = _table(
    _column("source", STATE, "source", family="family"),
    _column("destination", STATE, "destination", family="family"),
    _column("family", STATE, "family", kind=Family),
    _column("spi", STATE, "spi"),
    _column("protocol", STATE, "protocol", kind=Protocol),
    _column("mode", STATE, "mode", kind=Mode),
    _column("reqid", STATE, "reqid"),
    _column("sequence", STATE, "sequence"),
    _column("replay_window", STATE, "replay_window"),
    _column("flags", STATE, "flags", kind=StateFlag),
    _option("extra_flags", uapi.XFRMA_SA_EXTRA_FLAGS, kind=StateExtraFlag),
    _option("if_id", uapi.XFRMA_IF_ID),
    _option("mark", uapi.XFRMA_MARK, "first"),
    _option("mark_mask", uapi.XFRMA_MARK, "second"),
    _option("output_mark", uapi.XFRMA_SET_MARK),
    _option("output_mark_mask", uapi.XFRMA_SET_MARK_MASK),
    _option("direction", uapi.XFRMA_SA_DIR, kind=StateDirection),
    _option("cpu", uapi.XFRMA_SA_PCPU),
    _option("nat_keepalive_interval", uapi.XFRMA_NAT_KEEPALIVE_INTERVAL),
    _option("mapping_timer_threshold", uapi.XFRMA_MTIMER_THRESH),
    _option("traffic_flow_padding", uapi.XFRMA_TFCPAD),
    _option("last_used", uapi.XFRMA_LASTUSED),
    *_lifetimes(STATE),
    _column("statistics_replay_window", STATE, "replay_window_errors"),
    _column("statistics_replay", STATE, "replay_errors"),
    _column("statistics_integrity_failed", STATE, "integrity_errors"),
    _option("encapsulation_type", uapi.XFRMA_ENCAP, "type", EncapsulationType),
    _option("encapsulation_source_port", uapi.XFRMA_ENCAP, "source_port"),
    _option("encapsulation_destination_port", uapi.XFRMA_ENCAP, "destination_port"),
    _key("encryption_key", uapi.XFRMA_ALG_CRYPT),
    _key("authentication_key", uapi.XFRMA_ALG_AUTH_TRUNC),
    _key("aead_key", uapi.XFRMA_ALG_AEAD),
)
"""Columns of states. Where XFRMA_REPLAY_ESN_VAL is there, the replay window is the last number of its head and not
this one. Keys only go in."""

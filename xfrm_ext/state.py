# SPDX-License-Identifier: MIT
"""State: one entry of the SAD, a Security Association (struct xfrm_usersa_info and its attributes)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn

from xfrm_ext import wire as selected
from xfrm_ext.address import address, any_of, encoded, pair
from xfrm_ext.algorithm import AeadAlgorithm, Algorithm, AuthAlgorithm, authentication_item
from xfrm_ext.attribute import KEYED, Attribute, Offload, SecurityContext, attributes_of
from xfrm_ext.checks import article, choice, choices, instance, integer, shown
from xfrm_ext.checks import flags as checked_flags
from xfrm_ext.constants import (
    AttributeType,
    Family,
    Message,
    Mode,
    Protocol,
    StateDirection,
    StateExtraFlag,
    StateFlag,
)
from xfrm_ext.encapsulation import Encapsulation
from xfrm_ext.errors import ValidationError
from xfrm_ext.iptfs import IpTfs
from xfrm_ext.items import Items, context_item, mark_item, offload_item, rest_items
from xfrm_ext.lifetime import NO_LIMITS, UNUSED, LifetimeConfig, LifetimeCurrent
from xfrm_ext.mark import Mark
from xfrm_ext.replay import LARGEST_WINDOW, ReplayState
from xfrm_ext.selector import AddressLike, Selector
from xfrm_ext.state_id import StateId
from xfrm_ext.value import Value, set_wire
from xfrm_ext.wire.item import Item
from xfrm_ext.wire.shared import LONGEST

_PROTOCOLS = choices(Protocol)
_MODES = choices(Mode)
_FAMILIES = choices(Family)
_DIRECTIONS = choices(StateDirection)
_NO_SELECTOR = Selector(family=Family.UNSPEC)
_NO_FLAGS = StateFlag(0)
_NO_EXTRA_FLAGS = StateExtraFlag(0)
_FLAGS = 5  # NLM_F_REQUEST | NLM_F_ACK
_HEAD = struct.pack("=HHII", Message.NEWSA, _FLAGS, 0, 0)  # behind the length
_U32 = 0xFFFFFFFF
_ALL_ONES = 0xFFFFFFFF
_WITH_REPLAY = (Protocol.ESP, Protocol.AH)

_NUMBERS = {
    "traffic_flow_padding": AttributeType.TFCPAD,
    "if_id": AttributeType.IF_ID,
    "cpu": AttributeType.SA_PCPU,
    "nat_keepalive_interval": AttributeType.NAT_KEEPALIVE_INTERVAL,
    "mapping_timer_threshold": AttributeType.MTIMER_THRESH,
    "replay_threshold": AttributeType.REPLAY_THRESH,
    "event_timer_threshold": AttributeType.ETIMER_THRESH,
    "last_used": AttributeType.LASTUSED,
}
"""Fields that are one number in one attribute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateStatistics:
    """Packets that a state refused (struct xfrm_stats)."""

    replay_window: int = 0
    """Outside the replay window."""
    replay: int = 0
    """Seen before."""
    integrity_failed: int = 0

    def __post_init__(self) -> None:
        for name in ("replay_window", "replay", "integrity_failed"):
            object.__setattr__(self, name, integer(getattr(self, name), f"StateStatistics.{name}", _U32))


NO_STATISTICS = StateStatistics()


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class State(Value):
    """One entry of the SAD, a Security Association (struct xfrm_usersa_info).

    ``State("192.0.2.1", "198.51.100.2", spi=0x100, mode="tunnel", aead=AeadAlgorithm("rfc4106(gcm(aes))", key))``

    Two states are equal when all of their fields are; keys too, though nothing shows them. Pickling one with a key
    is an error.
    """

    source: str = "0.0.0.0"
    destination: str = "0.0.0.0"
    spi: int = field(kw_only=True)
    """Host order; has no default. 0 for protocols without one, and in states that wait for theirs."""
    protocol: Protocol = Protocol.ESP
    """esp, ah, comp, route2 or hao."""
    mode: Mode = Mode.TRANSPORT
    """transport, tunnel, beet, iptfs, ro or in_trigger."""
    reqid: int = 0
    """Request id, which templates name."""
    selector: Selector = _NO_SELECTOR
    """Which packets it is for. Default: any, and the kernel fills in the family."""
    authentication: AuthAlgorithm | None = None
    encryption: Algorithm | None = None
    aead: AeadAlgorithm | None = None
    """Instead of the two."""
    compression: Algorithm | None = None
    """Of protocol comp."""
    encapsulation: Encapsulation | None = None
    replay_window: int = field(kw_only=True)
    """Packets, at most 4096. Default: 32 for ESP and AH, 0 for direction out and for the other protocols."""
    replay: ReplayState | None = None
    """Sequence numbers; None: from the start."""
    flags: StateFlag = _NO_FLAGS
    """"esn": extended sequence numbers."""
    extra_flags: StateExtraFlag = _NO_EXTRA_FLAGS
    lifetime: LifetimeConfig = NO_LIMITS
    current: LifetimeCurrent = UNUSED
    """Filled in by the kernel, ignored by it in requests (`lifetime_value` sets it)."""
    statistics: StateStatistics = NO_STATISTICS
    """Filled in by the kernel, ignored by it in requests."""
    sequence: int = 0
    """Of the ACQUIRE that it answers; the kernel finds its larval state by it."""
    mark: Mark | None = None
    """None: any mark (XFRMA_MARK). Part of what the kernel finds the state by."""
    output_mark: Mark | None = None
    """Given to packets that it made (XFRMA_SET_MARK, XFRMA_SET_MARK_MASK)."""
    if_id: int | None = None
    """XFRM interface (XFRMA_IF_ID); None: not sent."""
    offload: Offload | None = None
    """Flags: none for crypto offload, "packet", and "inbound" where it is for packets that come in."""
    direction: StateDirection | None = None
    """in or out (XFRMA_SA_DIR, from Linux 6.10); None: not told."""
    cpu: int | None = None
    """The one CPU that uses it (XFRMA_SA_PCPU)."""
    nat_keepalive_interval: int | None = None
    """Seconds (XFRMA_NAT_KEEPALIVE_INTERVAL)."""
    mapping_timer_threshold: int | None = None
    """Seconds between two MAPPING events at least (XFRMA_MTIMER_THRESH)."""
    traffic_flow_padding: int | None = None
    """Octets to pad packets to (XFRMA_TFCPAD)."""
    iptfs: IpTfs | None = None
    security_context: SecurityContext | None = None
    care_of_address: str | None = None
    """XFRMA_COADDR, of Mobile IPv6."""
    replay_threshold: int | None = None
    """Packets after which an event tells the sequence numbers (XFRMA_REPLAY_THRESH)."""
    event_timer_threshold: int | None = None
    """The same after a time (XFRMA_ETIMER_THRESH): told in units of 100 ms, and taken in ticks of the kernel's
    clock (jiffies)."""
    last_used: int | None = None
    """Seconds since 1970, filled in by the kernel (XFRMA_LASTUSED)."""
    lifetime_value: LifetimeCurrent | None = None
    """What it has been used for so far, to go on counting from (XFRMA_LTIME_VAL). With a limit in seconds give the
    times too: an ``add_time`` of 0 is in 1970, and such a state expires at once."""
    family: Family = Family.INET
    """Of both addresses."""
    attributes: tuple[Attribute, ...] = ()
    """Attributes that this release has no field for."""

    def __init__(
        self,
        source: AddressLike | None = None,
        destination: AddressLike | None = None,
        *,
        spi: int,
        protocol: Protocol | int | str = Protocol.ESP,
        mode: Mode | int | str = Mode.TRANSPORT,
        reqid: int = 0,
        selector: Selector | None = None,
        authentication: AuthAlgorithm | None = None,
        encryption: Algorithm | None = None,
        aead: AeadAlgorithm | None = None,
        compression: Algorithm | None = None,
        encapsulation: Encapsulation | None = None,
        replay_window: int | None = None,
        replay: ReplayState | None = None,
        flags: StateFlag | int | str | Iterable[str] = _NO_FLAGS,
        extra_flags: StateExtraFlag | int | str | Iterable[str] = _NO_EXTRA_FLAGS,
        lifetime: LifetimeConfig | None = None,
        current: LifetimeCurrent | None = None,
        statistics: StateStatistics | None = None,
        sequence: int = 0,
        mark: Mark | None = None,
        output_mark: Mark | None = None,
        if_id: int | None = None,
        offload: Offload | None = None,
        direction: StateDirection | int | str | None = None,
        cpu: int | None = None,
        nat_keepalive_interval: int | None = None,
        mapping_timer_threshold: int | None = None,
        traffic_flow_padding: int | None = None,
        iptfs: IpTfs | None = None,
        security_context: SecurityContext | str | None = None,
        care_of_address: AddressLike | None = None,
        replay_threshold: int | None = None,
        event_timer_threshold: int | None = None,
        last_used: int | None = None,
        lifetime_value: LifetimeCurrent | None = None,
        family: Family | int | str | None = None,
        attributes: Iterable[Attribute] = (),
    ) -> None:
        """Raises ValidationError."""
        given = None if family is None else Family(choice(family, "State.family", _FAMILIES, Family))
        from_text, to_text, found = pair(source, destination, "State", given)
        kind = Protocol(choice(protocol, "State.protocol", _PROTOCOLS, Protocol))
        way = None
        if direction is not None:
            way = StateDirection(choice(direction, "State.direction", _DIRECTIONS, StateDirection))
        if replay_window is None:
            replay_window = 32 if kind in _WITH_REPLAY and way != StateDirection.OUT else 0
        if aead is not None and (authentication is not None or encryption is not None):
            raise ValidationError("State.aead", None, "is given beside authentication or encryption")
        if isinstance(security_context, str):
            security_context = SecurityContext(security_context)
        values: dict[str, Any] = {
            "source": from_text,
            "destination": to_text,
            "family": found,
            "spi": integer(spi, "State.spi", _U32),
            "protocol": kind,
            "mode": Mode(choice(mode, "State.mode", _MODES, Mode)),
            "reqid": integer(reqid, "State.reqid", _U32),
            "selector": _optional(selector, Selector, "selector") or _NO_SELECTOR,
            "authentication": _keyed(authentication, AuthAlgorithm, "authentication"),
            "encryption": _keyed(encryption, Algorithm, "encryption"),
            "aead": _keyed(aead, AeadAlgorithm, "aead"),
            "compression": _keyed(compression, Algorithm, "compression"),
            "encapsulation": _encapsulation(encapsulation, found),
            "replay_window": integer(replay_window, "State.replay_window", LARGEST_WINDOW),
            "replay": _optional(replay, ReplayState, "replay"),
            "flags": StateFlag(checked_flags(flags, "State.flags", StateFlag, 255)),
            "extra_flags": StateExtraFlag(checked_flags(extra_flags, "State.extra_flags", StateExtraFlag, _U32)),
            "lifetime": _optional(lifetime, LifetimeConfig, "lifetime") or NO_LIMITS,
            "current": _optional(current, LifetimeCurrent, "current") or UNUSED,
            "statistics": _optional(statistics, StateStatistics, "statistics") or NO_STATISTICS,
            "sequence": integer(sequence, "State.sequence", _U32),
            "mark": _mark(mark, "mark"),
            "output_mark": _mark(output_mark, "output_mark"),
            "if_id": _number(if_id, "if_id"),
            "offload": _optional(offload, Offload, "offload"),
            "direction": way,
            "cpu": _number(cpu, "cpu"),
            "nat_keepalive_interval": _number(nat_keepalive_interval, "nat_keepalive_interval"),
            "mapping_timer_threshold": _number(mapping_timer_threshold, "mapping_timer_threshold"),
            "traffic_flow_padding": _number(traffic_flow_padding, "traffic_flow_padding"),
            "iptfs": _optional(iptfs, IpTfs, "iptfs"),
            "security_context": _optional(security_context, SecurityContext, "security_context"),
            "care_of_address": _care_of(care_of_address, found),
            "replay_threshold": _number(replay_threshold, "replay_threshold"),
            "event_timer_threshold": _number(event_timer_threshold, "event_timer_threshold"),
            "last_used": None if last_used is None else integer(last_used, "State.last_used", 2**64 - 1),
            "lifetime_value": _optional(lifetime_value, LifetimeCurrent, "lifetime_value"),
            "attributes": attributes_of(attributes, "State.attributes"),
        }
        try:
            set_wire(self, _pack(values, selected))
        except ValidationError as error:
            if error.field != "message":
                raise
            raise ValidationError("State", None, f"is a message of more than {LONGEST} bytes") from None

    @classmethod
    def _from_message(cls, message: Any, wire: Any = selected) -> State:
        """The state of a NEWSA or UPDSA message whose lengths are known to fit."""
        if len(message) % 4:  # a block of messages has each at a multiple of 4
            padded = bytearray(message) + bytes(-len(message) % 4)
            data = wire.memory(padded)
            padded[:] = bytes(len(padded))
        else:
            data = wire.memory(message)
        data[4:16] = _HEAD
        return cls._from_wire(data, wire)

    def _unpack(self, wire: Any) -> dict[str, Any]:
        _kind, _flags, values, listed = wire.unpack(self._wire)
        return {**_fixed_values(values, wire), **_attribute_values(values, Items(listed), wire)}

    def _unpack_for(self, name: str) -> dict[str, Any]:
        if name in _FIXED:  # the keys stay untouched
            return _fixed_values(selected.state_fields(self._wire), selected)
        values: Any
        _kind, _flags, values, listed = selected.unpack(self._wire)
        return _attribute_values(values, Items(listed), selected)

    def _encoded(self, wire: Any) -> Any:
        """The NEWSA message made from the fields by one of the two wire modules, in memory that gets wiped."""
        return _pack({one.name: getattr(self, one.name) for one in fields(self)}, wire)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        if memoryview(self._wire) == memoryview(other._wire):
            return True
        if hash(self) != hash(other):  # of another address, SPI or protocol
            return False
        return memoryview(self._encoded(selected)) == memoryview(other._encoded(selected))

    def __hash__(self) -> int:
        # The address's first four bytes, which are there in each family; SPI and protocol.
        return hash(bytes(self._wire[72:76]) + bytes(self._wire[88:93]))

    def __reduce__(self) -> tuple[Any, ...]:
        if any(item.type & 0x3FFF in KEYED and len(item.data) for item in selected.unpack(self._wire)[3]):
            _refuse_to_pickle()  # all that came, also what no field shows
        return _from_bytes, (bytes(self._wire),)

    @property
    def id(self) -> StateId:
        """What the kernel finds this state by."""
        return StateId(
            self.destination,
            self.spi,
            self.protocol,
            source=self.source,
            mark=self.mark,
            family=self.family,
        )


def _from_bytes(data: bytes) -> State:
    selected.check_states(data)
    return State._from_wire(selected.memory(data))


def _refuse_to_pickle() -> NoReturn:
    raise TypeError("a State with keys can't be pickled: codec.native.encode(state) returns its bytes, with them")


def _optional(value: Any, kind: type, name: str) -> Any:
    return None if value is None else instance(value, kind, f"State.{name}")


def _keyed(value: Any, kind: type, name: str) -> Any:
    """The same; what else is given may be a key, and is not shown."""
    if value is not None and not isinstance(value, kind):
        rule = f"is {article(type(value).__name__)}, and not {article(kind.__name__)}"
        raise ValidationError(f"State.{name}", None, rule)
    return value


def _number(value: object, name: str) -> int | None:
    return None if value is None else integer(value, f"State.{name}", _U32)


def _mark(value: object, name: str) -> Mark | None:
    mark: Mark | None = _optional(value, Mark, name)
    return mark if mark is not None and mark.mask else None  # every mark: the kernel does not store it either


def _care_of(value: AddressLike | None, family: Family) -> str | None:
    if value is None:
        return None
    text, own = address(value, "State.care_of_address")
    if family not in (own, Family.UNSPEC):
        raise ValidationError("State.care_of_address", shown(value), "is of another family than the state")
    return text


def _encapsulation(value: Any, family: Family) -> Encapsulation | None:
    if value is not None:
        instance(value, Encapsulation, "State.encapsulation")._check(family, "State.encapsulation")
    wrapped: Encapsulation | None = value
    return wrapped


def _pack(values: dict[str, Any], wire: Any) -> Any:
    """The NEWSA message for the fields of a state."""
    extended = bool(values["flags"] & StateFlag.ESN) or values["replay_window"] > 32
    if values["replay"] is not None and values["replay"].words is not None:
        extended = True
    if extended and values["replay_window"] <= 0xFF and values["replay"] in (None, ReplayState()):
        # Unless an attribute that could not be read says it.
        extended = all(one.type != AttributeType.REPLAY_ESN_VAL for one in values["attributes"])
    statistics = values["statistics"]
    parts = {
        "selector": values["selector"]._encoded(wire),
        "destination": encoded(values["destination"], wire),
        "spi": values["spi"],
        "protocol": values["protocol"],
        "source": encoded(values["source"], wire),
        "lifetime": values["lifetime"]._wire,
        "current": values["current"]._wire,
        "replay_window_errors": statistics.replay_window,
        "replay_errors": statistics.replay,
        "integrity_errors": statistics.integrity_failed,
        "sequence": values["sequence"],
        "reqid": values["reqid"],
        "family": values["family"],
        "mode": values["mode"],
        "replay_window": 0 if extended else values["replay_window"],
        "flags": values["flags"],
    }
    return wire.pack(Message.NEWSA, _FLAGS, parts, _items(values, extended, wire))


def _items(values: dict[str, Any], extended: bool, wire: Any) -> list[Item]:
    """The attributes of a state, in an order like that of `ip xfrm`."""
    items = []
    if values["aead"] is not None:
        items.append(values["aead"]._item(AttributeType.ALG_AEAD))
    if values["authentication"] is not None:
        items.append(authentication_item(values["authentication"]))
    if values["encryption"] is not None:
        items.append(values["encryption"]._item(AttributeType.ALG_CRYPT))
    if values["compression"] is not None:
        items.append(values["compression"]._item(AttributeType.ALG_COMP))
    if values["encapsulation"] is not None:
        items.append(values["encapsulation"]._item(wire))
    if values["care_of_address"] is not None:
        items.append(Item(AttributeType.COADDR, (), encoded(values["care_of_address"], wire)))
    if values["security_context"] is not None:
        items.append(context_item(values["security_context"]))
    if values["offload"] is not None:
        items.append(offload_item(values["offload"]))
    if extended:
        items.append((values["replay"] or ReplayState())._extended_item(values["replay_window"]))
    elif values["replay"] is not None:
        items.append(values["replay"]._legacy_item())
    if values["extra_flags"]:
        items.append(Item(AttributeType.SA_EXTRA_FLAGS, (int(values["extra_flags"]),)))
    if values["mark"] is not None:
        items.append(mark_item(values["mark"]))
    if values["output_mark"] is not None:
        items.append(Item(AttributeType.SET_MARK, (values["output_mark"].value,)))
        if values["output_mark"].mask != _ALL_ONES:
            items.append(Item(AttributeType.SET_MARK_MASK, (values["output_mark"].mask,)))
    if values["direction"] is not None:
        items.append(Item(AttributeType.SA_DIR, (values["direction"],)))
    if values["lifetime_value"] is not None:
        items.append(Item(AttributeType.LTIME_VAL, (), values["lifetime_value"]._wire))
    for name, kind in _NUMBERS.items():
        if values[name] is not None:
            items.append(Item(kind, (values[name],)))
    if values["iptfs"] is not None:
        items += values["iptfs"]._items()
    return items + rest_items(values["attributes"])


def _fixed_values(fixed: dict[str, Any], wire: Any) -> dict[str, Any]:
    """The fields of a state that stand in the fixed part of its message."""
    family = fixed["family"]
    return {
        "source": wire.address_text(fixed["source"], family),
        "destination": wire.address_text(fixed["destination"], family),
        "family": Family(family),
        "spi": fixed["spi"],
        "protocol": Protocol(fixed["protocol"]),
        "mode": Mode(fixed["mode"]),
        "reqid": fixed["reqid"],
        "selector": Selector._from_wire(fixed["selector"], wire),
        "lifetime": LifetimeConfig._from_wire(fixed["lifetime"], wire),
        "current": LifetimeCurrent._from_wire(fixed["current"], wire),
        "statistics": StateStatistics(
            replay_window=fixed["replay_window_errors"],
            replay=fixed["replay_errors"],
            integrity_failed=fixed["integrity_errors"],
        ),
        "sequence": fixed["sequence"],
        "flags": StateFlag(fixed["flags"]),
    }


def _attribute_values(fixed: dict[str, Any], items: Items, wire: Any) -> dict[str, Any]:
    """The fields of a state that stand, at least in part, in attributes."""
    family = fixed["family"]
    replay, window = items.replay()
    if window is None:
        window = fixed["replay_window"]
    elif replay is not None and replay.words is None and window <= 32 and not fixed["flags"] & StateFlag.ESN:
        replay = replace(replay, words=(window + 31) // 32)  # the form for long windows, though none wants it
    if window > 32 or fixed["flags"] & StateFlag.ESN:
        replay = replay or ReplayState()  # what it will be sent with
        if replay.bitmap and not window and replay.words is None:
            replay = replace(replay, words=1)  # of the short form, which has a word whatever the window
    values: dict[str, Any] = {
        "replay_window": window,
        "replay": replay,
        "extra_flags": StateExtraFlag(items.number(AttributeType.SA_EXTRA_FLAGS) or 0),
        "authentication": _authentication(items),
        "encryption": _algorithm(items, AttributeType.ALG_CRYPT, Algorithm),
        "aead": _algorithm(items, AttributeType.ALG_AEAD, AeadAlgorithm),
        "compression": _algorithm(items, AttributeType.ALG_COMP, Algorithm),
        "mark": items.mark(),
        "output_mark": _output_mark(items),
        "offload": items.offload(),
        "security_context": items.context(),
        "iptfs": IpTfs._from_items(items),
    }
    direction = items.number(AttributeType.SA_DIR)
    values["direction"] = None if direction is None else StateDirection(direction)
    encapsulation = items.take(AttributeType.ENCAP)
    values["encapsulation"] = (
        None if encapsulation is None else Encapsulation._from_item(encapsulation, family, wire)
    )
    care_of = items.take(AttributeType.COADDR)
    values["care_of_address"] = None if care_of is None else wire.address_text(care_of.data, family)
    used = items.take(AttributeType.LTIME_VAL)
    values["lifetime_value"] = None if used is None else LifetimeCurrent._from_wire(used.data, wire)
    for name, kind in _NUMBERS.items():
        values[name] = items.number(kind)
    values["attributes"] = items.rest(wire)
    return values


_FIXED = frozenset(
    (
        "source",
        "destination",
        "family",
        "spi",
        "protocol",
        "mode",
        "reqid",
        "selector",
        "lifetime",
        "current",
        "statistics",
        "sequence",
        "flags",
    )
)


def _algorithm(items: Items, kind: int, value: Any) -> Any:
    item = items.take(kind)
    return None if item is None else value._from_item(item)


def _authentication(items: Items) -> AuthAlgorithm | None:
    """The kernel tells of it twice: with the length of the check value, and, for old programs, without."""
    truncated, plain = items.take(AttributeType.ALG_AUTH_TRUNC), items.take(AttributeType.ALG_AUTH)
    item = truncated or plain
    return None if item is None else AuthAlgorithm._from_item(item)


def _output_mark(items: Items) -> Mark | None:
    value = items.number(AttributeType.SET_MARK)
    if value is None:
        return None
    mask = items.number(AttributeType.SET_MARK_MASK)
    return Mark(value, _ALL_ONES if mask is None else mask)


def bare_id(value: object, field: str, *, source: bool = False) -> StateId:
    """The id of a state for a message that has no room for more than the structure, the mark and, at most, the
    source address: what else it has is left out where the kernel would not look at it, or refused."""
    found: StateId = instance(value.id if isinstance(value, State) else value, StateId, field)
    if found.attributes:
        raise ValidationError(field, None, f"has attributes: give them to the {field.partition('.')[0]} itself")
    if found.source is not None and (not source or found.source == any_of(found.family)):
        found = replace(found, source=None)
    return found

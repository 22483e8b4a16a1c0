# SPDX-License-Identifier: MIT
"""What the kernel tells of itself: Acquire, StateExpired, PolicyExpired, AsyncEvent, Report, Mapping; and Event,
the envelope that a subscription hands out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xfrm_ext import wire as selected
from xfrm_ext.address import ANY, address, encoded, pair
from xfrm_ext.attribute import Attribute, attributes_of
from xfrm_ext.checks import choice, choices, instance, integer, shown
from xfrm_ext.checks import flags as checked_flags
from xfrm_ext.constants import (
    AsyncEventFlag,
    AttributeType,
    Family,
    Message,
    Protocol,
    StateDirection,
)
from xfrm_ext.errors import ValidationError
from xfrm_ext.items import Items, mark_item, rest_items
from xfrm_ext.lifetime import LifetimeCurrent
from xfrm_ext.mark import Mark
from xfrm_ext.policy import Policy
from xfrm_ext.replay import ReplayState
from xfrm_ext.selector import Selector
from xfrm_ext.state import State, bare_id
from xfrm_ext.state_id import StateId, id_fields, id_values
from xfrm_ext.template import Template
from xfrm_ext.wire.item import Item

if TYPE_CHECKING:
    from xfrm_ext.request import Body
    from xfrm_ext.secret import Secret

_FLAGS = 5  # NLM_F_REQUEST | NLM_F_ACK
_DIRECTIONS = choices(StateDirection)
_PROTOCOLS = choices(Protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquire:
    """A packet found a policy, and no state (XFRM_MSG_ACQUIRE, struct xfrm_user_acquire). The kernel keeps a larval
    state with ``sequence`` for a while (net.core.xfrm_acq_expires seconds) for somebody to complete."""

    source: str
    destination: str
    protocol: Protocol
    spi: int = 0
    selector: Selector
    """Of the packet: its addresses, and ports with full masks."""
    policy: Policy
    """The one that wants the state."""
    sequence: int
    """That of the larval state: give it to `allocate_spi` and to the State."""
    aalgos: int = 0xFFFFFFFF
    ealgos: int = 0xFFFFFFFF
    calgos: int = 0xFFFFFFFF
    family: Family = Family.UNSPEC
    """Of the two addresses: that of the template, whatever is given. What is not told here stands in ``policy``."""
    cpu: int | None = None
    """The CPU that wants a state of its own (XFRMA_SA_PCPU)."""

    def __post_init__(self) -> None:
        instance(self.policy, Policy, "Acquire.policy")
        protocol = Protocol(choice(self.protocol, "Acquire.protocol", _PROTOCOLS, Protocol))
        object.__setattr__(self, "protocol", protocol)
        from_bytes = encoded(address(self.source, "Acquire.source")[0], selected)
        to_bytes = encoded(address(self.destination, "Acquire.destination")[0], selected)
        family = _family(self.policy, _template(self.policy, protocol, from_bytes, to_bytes))
        source, destination, _ = pair(
            self.source, self.destination, "Acquire", family, whose="the template, or the policy's selector"
        )
        for name, value in (
            ("source", source),
            ("destination", destination),
            ("selector", instance(self.selector, Selector, "Acquire.selector")),
            ("family", family),
            ("cpu", None if self.cpu is None else integer(self.cpu, "Acquire.cpu", 0xFFFFFFFF)),
        ):
            object.__setattr__(self, name, value)
        for name in ("spi", "sequence", "aalgos", "ealgos", "calgos"):
            object.__setattr__(self, name, integer(getattr(self, name), f"Acquire.{name}", 0xFFFFFFFF))

    @property
    def templates(self) -> tuple[Template, ...]:
        """Those of the policy."""
        return self.policy.templates

    @property
    def mark(self) -> Mark | None:
        """That of the policy."""
        return self.policy.mark

    @property
    def if_id(self) -> int | None:
        """That of the policy."""
        return self.policy.if_id

    @property
    def reqid(self) -> int:
        """That of the template which wants the state; 0: none is named."""
        template = self._template
        return 0 if template is None else template.reqid

    @property
    def _template(self) -> Template | None:
        ends = encoded(self.source, selected), encoded(self.destination, selected)
        return _template(self.policy, self.protocol, *ends)

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        policy, tail = _policy_parts(self.policy, wire)
        parts = {
            "destination": encoded(self.destination, wire),
            "spi": self.spi,
            "protocol": self.protocol,
            "source": encoded(self.source, wire),
            "selector": self.selector._encoded(wire),
            "policy": policy,
            "aalgos": self.aalgos,
            "ealgos": self.ealgos,
            "calgos": self.calgos,
            "sequence": self.sequence,
        }
        if self.cpu is not None:
            tail.append(Item(AttributeType.SA_PCPU, (self.cpu,)))
        return parts, tail

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> Acquire:
        cpu = items.number(AttributeType.SA_PCPU)
        policy = _policy(values["policy"], items, wire)
        template = _template(policy, values["protocol"], values["source"], values["destination"])
        family = _family(policy, template)
        return cls(
            source=wire.address_text(values["source"], family),
            destination=wire.address_text(values["destination"], family),
            protocol=Protocol(values["protocol"]),
            spi=values["spi"],
            selector=Selector._from_wire(values["selector"], wire),
            policy=policy,
            sequence=values["sequence"],
            aalgos=values["aalgos"],
            ealgos=values["ealgos"],
            calgos=values["calgos"],
            cpu=cpu,
        )


def _template(policy: Policy, protocol: int, source: bytes, destination: bytes) -> Template | None:
    """That which wants a state of a protocol between these addresses (xfrm_address_t): its own, where it has some;
    else they are the packet's."""
    found = None
    for template in policy.templates:
        if template.protocol not in (protocol, Protocol.IPSEC_ANY):
            continue
        from_bytes, to_bytes = template._wire[28:44], template._wire[0:16]
        if any(to_bytes) and to_bytes == destination and from_bytes in (source, ANY):
            return template
        found = found or template
    return found


def _family(policy: Policy, template: Template | None) -> Family:
    """Of the addresses of that state."""
    return policy.selector.family if template is None else template.family


def _policy(fixed: bytes, items: Items, wire: Any) -> Policy:
    """The policy whose structure stands in another message, and whose attributes are that message's: those that are
    not known too."""
    rest = items.drain()
    message = wire.pack(Message.NEWPOLICY, _FLAGS, fixed, rest)
    return Policy._from_wire(wire.canonical_policies(bytes(message))[0], wire)


def _policy_parts(policy: Policy, wire: Any) -> tuple[bytes, list[Item]]:
    """The reverse: the structure and the items of a policy."""
    _kind, _flags, values, items = wire.unpack(policy._encoded(wire))
    return values["policy"], items


def _state(fixed: bytes, items: Items, wire: Any) -> State:
    """The state whose structure stands in another message, and whose attributes are that message's."""
    return State._from_message(wire.pack(Message.NEWSA, _FLAGS, fixed, items.drain()), wire)


def _state_parts(state: State, wire: Any) -> tuple[bytes, list[Item]]:
    message = state._encoded(wire)
    _kind, _flags, _values, items = wire.unpack(message)
    return bytes(message[16:240]), items


@dataclass(frozen=True, slots=True)
class StateExpired:
    """A state has reached a limit (XFRM_MSG_EXPIRE, struct xfrm_user_expire)."""

    state: State
    hard: bool
    """Whether it is gone; otherwise it is time to replace it."""

    def __post_init__(self) -> None:
        instance(self.state, State, "StateExpired.state")
        object.__setattr__(self, "hard", bool(self.hard))

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        fixed, items = _state_parts(self.state, wire)
        return {"state": fixed, "hard": int(self.hard)}, items

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> StateExpired:
        return cls(_state(values["state"], items, wire), bool(values["hard"]))


@dataclass(frozen=True, slots=True)
class PolicyExpired:
    """A policy has reached a limit (XFRM_MSG_POLEXPIRE, struct xfrm_user_polexpire)."""

    policy: Policy
    hard: bool
    """Whether it is gone."""

    def __post_init__(self) -> None:
        instance(self.policy, Policy, "PolicyExpired.policy")
        object.__setattr__(self, "hard", bool(self.hard))

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        fixed, items = _policy_parts(self.policy, wire)
        return {"policy": fixed, "hard": int(self.hard)}, items

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> PolicyExpired:
        return cls(_policy(values["policy"], items, wire), bool(values["hard"]))


@dataclass(frozen=True, slots=True, init=False)
class AsyncEvent:
    """Sequence numbers and counters of a state: told by the kernel, asked for, or set (XFRM_MSG_NEWAE, GETAE,
    struct xfrm_aevent_id). ``flags`` says which of them it is about."""

    id: StateId
    reqid: int = 0
    flags: AsyncEventFlag = AsyncEventFlag(0)  # noqa: RUF009  an int
    replay: ReplayState | None = None
    replay_window: int | None = None
    """None: the form of 32 bits (XFRMA_REPLAY_VAL); else that for extended numbers and long windows."""
    lifetime: LifetimeCurrent | None = None
    replay_threshold: int | None = None
    """Packets after which the next event comes."""
    event_timer_threshold: int | None = None
    """The same after a time: told in units of 100 ms, and taken in ticks of the kernel's clock (jiffies)."""
    direction: StateDirection | None = None
    if_id: int | None = None
    cpu: int | None = None
    attributes: tuple[Attribute, ...] = ()

    def __init__(
        self,
        id: StateId | State,
        *,
        reqid: int = 0,
        flags: AsyncEventFlag | int | str | Iterable[str] = 0,
        replay: ReplayState | None = None,
        replay_window: int | None = None,
        lifetime: LifetimeCurrent | None = None,
        replay_threshold: int | None = None,
        event_timer_threshold: int | None = None,
        direction: StateDirection | int | str | None = None,
        if_id: int | None = None,
        cpu: int | None = None,
        attributes: Iterable[Attribute] = (),
    ) -> None:
        """Raises ValidationError."""
        way = None
        if direction is not None:
            way = StateDirection(choice(direction, "AsyncEvent.direction", _DIRECTIONS, StateDirection))
        number = checked_flags(flags, "AsyncEvent.flags", AsyncEventFlag, 0xFFFFFFFF)
        for name, value in (
            ("id", bare_id(id, "AsyncEvent.id", source=True)),
            ("reqid", integer(reqid, "AsyncEvent.reqid", 0xFFFFFFFF)),
            ("flags", AsyncEventFlag(number)),
            ("lifetime", None if lifetime is None else instance(lifetime, LifetimeCurrent, "AsyncEvent.lifetime")),
            ("direction", way),
            ("attributes", attributes_of(attributes, "AsyncEvent.attributes")),
        ):
            object.__setattr__(self, name, value)
        for name, value in (
            ("replay_window", replay_window),
            ("replay_threshold", replay_threshold),
            ("event_timer_threshold", event_timer_threshold),
            ("if_id", if_id),
            ("cpu", cpu),
        ):
            checked = None if value is None else integer(value, f"AsyncEvent.{name}", 0xFFFFFFFF)
            object.__setattr__(self, name, checked)
        object.__setattr__(self, "replay", self._checked(replay))

    def _checked(self, replay: ReplayState | None) -> ReplayState | None:
        """The sequence numbers in the form that the window asks for."""
        if replay is not None:
            instance(replay, ReplayState, "AsyncEvent.replay")
        if self.replay_window is None:
            if replay is not None and replay.words is not None:
                raise ValidationError("AsyncEvent.replay_window", None, "is needed with ReplayState.words")
            if replay is not None:
                replay._legacy_item()
            return replay
        replay = (replay or ReplayState())._as_read(self.replay_window)
        replay._extended_item(self.replay_window)
        return replay

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        fixed = id_fields(self.id, wire)
        fixed.update(
            source=bytes(16) if self.id.source is None else encoded(self.id.source, wire),
            flags=self.flags,
            reqid=self.reqid,
        )
        items = []
        if self.replay is not None and self.replay_window is None:
            items.append(self.replay._legacy_item())
        elif self.replay_window is not None:
            items.append((self.replay or ReplayState())._extended_item(self.replay_window))
        if self.lifetime is not None:
            items.append(Item(AttributeType.LTIME_VAL, (), self.lifetime._wire))
        if self.id.mark is not None:
            items.append(mark_item(self.id.mark))
        if self.direction is not None:
            items.append(Item(AttributeType.SA_DIR, (self.direction,)))
        for name, kind in _ASYNC_NUMBERS.items():
            if getattr(self, name) is not None:
                items.append(Item(kind, (getattr(self, name),)))
        return fixed, items + rest_items(self.attributes)

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> AsyncEvent:
        direction = items.number(AttributeType.SA_DIR)
        replay, window = items.replay()
        lifetime = items.take(AttributeType.LTIME_VAL)
        source = wire.address_text(values["source"], values["family"]) if any(values["source"]) else None
        mark = items.mark()
        numbers = {name: items.number(kind) for name, kind in _ASYNC_NUMBERS.items()}
        return cls(
            StateId(**id_values(values, wire), source=source, mark=mark),
            reqid=values["reqid"],
            flags=AsyncEventFlag(values["flags"]),
            replay=replay,
            replay_window=window,
            lifetime=None if lifetime is None else LifetimeCurrent._from_wire(lifetime.data, wire),
            direction=None if direction is None else StateDirection(direction),
            attributes=items.rest(wire),
            **numbers,
        )


_ASYNC_NUMBERS = {
    "replay_threshold": AttributeType.REPLAY_THRESH,
    "event_timer_threshold": AttributeType.ETIMER_THRESH,
    "if_id": AttributeType.IF_ID,
    "cpu": AttributeType.SA_PCPU,
}


@dataclass(frozen=True, slots=True)
class Report:
    """A packet came without the transformation that it should have had: Mobile IPv6 (XFRM_MSG_REPORT, struct
    xfrm_user_report)."""

    protocol: Protocol
    selector: Selector
    care_of_address: str | None = None
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        protocol = Protocol(choice(self.protocol, "Report.protocol", _PROTOCOLS, Protocol))
        object.__setattr__(self, "protocol", protocol)
        instance(self.selector, Selector, "Report.selector")
        if self.care_of_address is not None:
            text, family = address(self.care_of_address, "Report.care_of_address")
            if self.selector.family not in (family, Family.UNSPEC):
                rule = "is of another family than the selector"
                raise ValidationError("Report.care_of_address", shown(self.care_of_address), rule)
            object.__setattr__(self, "care_of_address", text)
        object.__setattr__(self, "attributes", attributes_of(self.attributes, "Report.attributes"))

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        items = []
        if self.care_of_address is not None:
            items.append(Item(AttributeType.COADDR, (), encoded(self.care_of_address, wire)))
        fixed = {"protocol": self.protocol, "selector": self.selector._encoded(wire)}
        return fixed, items + rest_items(self.attributes)

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> Report:
        item = items.take(AttributeType.COADDR)
        selector = Selector._from_wire(values["selector"], wire)
        care_of = None if item is None else wire.address_text(item.data, selector.family)
        return cls(Protocol(values["protocol"]), selector, care_of, items.rest(wire))


@dataclass(frozen=True, slots=True)
class Mapping:
    """The peer behind a NAT has another address or port now (XFRM_MSG_MAPPING, struct xfrm_user_mapping)."""

    id: StateId
    reqid: int
    old_source: str
    old_port: int
    new_source: str
    new_port: int
    attributes: tuple[Attribute, ...] = ()

    def __post_init__(self) -> None:
        named = bare_id(self.id, "Mapping.id")
        names = ("old_source", "new_source")
        old, new, _ = pair(self.old_source, self.new_source, "Mapping", named.family, names, "the destination")
        for name, value in (
            ("id", named),
            ("reqid", integer(self.reqid, "Mapping.reqid", 0xFFFFFFFF)),
            ("old_source", old),
            ("old_port", integer(self.old_port, "Mapping.old_port", 0xFFFF)),
            ("new_source", new),
            ("new_port", integer(self.new_port, "Mapping.new_port", 0xFFFF)),
            ("attributes", attributes_of(self.attributes, "Mapping.attributes")),
        ):
            object.__setattr__(self, name, value)

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        fixed = id_fields(self.id, wire)
        fixed.update(
            reqid=self.reqid,
            old_source=encoded(self.old_source, wire),
            new_source=encoded(self.new_source, wire),
            old_port=self.old_port,
            new_port=self.new_port,
        )
        items = [] if self.id.mark is None else [mark_item(self.id.mark)]
        return fixed, items + rest_items(self.attributes)

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> Mapping:
        family = values["family"]
        return cls(
            StateId(**id_values(values, wire), mark=items.mark()),
            values["reqid"],
            wire.address_text(values["old_source"], family),
            values["old_port"],
            wire.address_text(values["new_source"], family),
            values["new_port"],
            items.rest(wire),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. ``body`` says what, by ``message``:

    ====================  ==========================================================
    NEWSA, UPDSA, DELSA   State (of DELSA: as it was)
    EXPIRE                StateExpired
    NEWPOLICY, UPDPOLICY  Policy
    DELPOLICY             Policy as it was
    POLEXPIRE             PolicyExpired
    ACQUIRE               Acquire
    NEWAE                 AsyncEvent
    REPORT                Report
    MIGRATE               Migration
    MIGRATE_STATE         StateMigration
    MAPPING               Mapping
    FLUSHSA               Protocol, or None for all, as IPSEC_ANY is
    FLUSHPOLICY           PolicyType
    GETDEFAULT            PolicyDefaults
    ====================  ==========================================================

    A message that this release does not know, or can't read, has its bytes as body: as a Secret, for they may hold
    keys.
    """

    message: Message
    body: Body | Secret
    sequence: int = 0
    """That of the request which made it happen; 0: the kernel by itself."""
    port: int = 0
    """Who sent that request; 0: the kernel by itself."""
    namespace_id: int | None = None
    """Of the network namespace, as the listener's knows it (nsid); None: its own."""


class _Draft:
    """An Event that can be written: it becomes one by a change of its class, for a fifth of what Event.__init__
    costs. Its slots are Event's."""

    __slots__ = ("body", "message", "namespace_id", "port", "sequence")


_MESSAGES = {int(message): message for message in Message}


def _event(kind: int, body: Any, sequence: int, port: int, namespace: int) -> Event:
    """The event that a message of the kernel's tells; `namespace` -1: of the listener's own."""
    event: Any = _Draft()
    event.message = _MESSAGES[kind] if kind in _MESSAGES else Message(kind)
    event.body = body
    event.sequence = sequence
    event.port = port
    event.namespace_id = None if namespace < 0 else namespace
    event.__class__ = Event
    made: Event = event
    return made


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost: the socket was full. What is there now is only known to who looks again (a dump)."""

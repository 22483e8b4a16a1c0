# SPDX-License-Identifier: MIT
"""Which policies the kernel finds for a packet, and which states their templates find: its lookups, on values.

Nothing here reads or changes a kernel: what is looked through is what `spd.dump` and `sad.dump` gave, in their
order, which is the newest first. The rules are those of xfrm_policy_lookup and xfrm_state_find (packets that leave)
and of xfrm_policy_ok (packets that came in) of Linux 6.12 and later.

What no dump tells can't be looked at: policies of sockets, security labels, and the place that a policy keeps when
it is updated without another priority (among equal ones it counts as the newest here).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from xfrm_ext import wire
from xfrm_ext.address import address, any_of, encoded
from xfrm_ext.checks import integer
from xfrm_ext.constants import (
    INFINITE,
    MAX_TEMPLATES,
    Action,
    DefaultAction,
    Direction,
    Family,
    Level,
    Mode,
    OffloadFlag,
    PolicyType,
    Protocol,
    StateDirection,
    StateFlag,
)
from xfrm_ext.errors import ValidationError
from xfrm_ext.info import PolicyDefaults
from xfrm_ext.policy import Policy
from xfrm_ext.selector import AddressLike, Selector
from xfrm_ext.state import State
from xfrm_ext.template import Template
from xfrm_ext.wire.layouts import SELECTOR
from xfrm_ext.wire.protocols import NAMES

_WITH_PORTS = (6, 17, 136, 132)  # TCP, UDP, UDP-Lite, SCTP
_GRE = 47
OUTER = (Mode.TUNNEL, Mode.BEET, Mode.IPTFS)
"""Modes whose templates have addresses of their own; all others have the packet's."""
_KEYED = (Protocol.ESP, Protocol.AH, Protocol.COMP)
_MAIN_BEHIND_SUB = {Direction.IN: Direction.IN, Direction.OUT: Direction.OUT, Direction.FWD: Direction.IN}
"""Where the kernel looks for a main policy once it has a sub policy: of forwarded packets, too, among those of
`in`."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What the kernel looks at in a packet (struct flowi)."""

    source: AddressLike
    destination: AddressLike
    protocol: int | str = 0
    """By number or name; 0: none that is asked for matches."""
    source_port: int = 0
    """Of TCP, UDP, UDP-Lite and SCTP."""
    destination_port: int = 0
    icmp_type: int | None = None
    """Of ICMP, ICMPv6 and the mobility header; None: 0."""
    icmp_code: int | None = None
    gre_key: int | None = None
    mark: int = 0
    if_id: int = 0
    """Of the XFRM interface that it passes; 0: of none."""
    interface: int = 0
    """Index of the interface that it leaves by; 0: no policy that names one matches."""
    cpu: int | None = None
    """The CPU that sends it; None: one that no state is bound to."""
    family: Family = field(init=False)
    _numbers: tuple[int | bytes, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises ValidationError."""
        for name in ("source", "destination"):
            if getattr(self, name) is None:
                raise ValidationError(f"Packet.{name}", None, "is missing")
            object.__setattr__(self, name, address(getattr(self, name), f"Packet.{name}")[0])
        as_selector = Selector(
            self.source,
            self.destination,
            protocol=self.protocol,
            source_port=self.source_port,
            destination_port=self.destination_port,
            icmp_type=self.icmp_type,
            icmp_code=self.icmp_code,
            gre_key=self.gre_key,
            interface=integer(self.interface, "Packet.interface", 0x7FFFFFFF),
        )
        protocol = as_selector.protocol
        if (self.source_port or self.destination_port) and protocol not in _WITH_PORTS:
            raise ValidationError("Packet", None, "has ports, and is not of tcp, udp, udplite or sctp")
        for name, most in (("mark", 0xFFFFFFFF), ("if_id", 0xFFFFFFFF)):
            object.__setattr__(self, name, integer(getattr(self, name), f"Packet.{name}", most))
        if self.cpu is not None:
            object.__setattr__(self, "cpu", integer(self.cpu, "Packet.cpu", 0xFFFFFFFE))
        object.__setattr__(self, "protocol", protocol)
        object.__setattr__(self, "family", as_selector.family)
        object.__setattr__(self, "_numbers", SELECTOR.unpack(as_selector._wire))


# --- policies -----------------------------------------------------------------------------------------


def selector_reasons(selector: Selector, packet: Packet) -> Iterator[str]:
    """Why a selector is not for a packet; nothing where it is (xfrm_selector_match)."""
    has: Any = packet._numbers
    wanted: Any = SELECTOR.unpack(selector._wire)
    for name in _outside(wanted, has):
        if name == "family":
            yield f"family {_family(has[6])} is not {_family(wanted[6])}"
            return
        yield f"{name} {getattr(packet, name)} is not in {getattr(selector, name)}"
    if wanted[9] and wanted[9] != has[9]:
        yield f"protocol {protocol_text(has[9])} is not {protocol_text(wanted[9])}"
    elif (has[4] ^ wanted[4]) & wanted[5] or (has[2] ^ wanted[2]) & wanted[3]:
        yield from _port_reasons(wanted[2:6], has[2:6:2], has[9])
    if wanted[10] and wanted[10] != has[10]:
        yield f"interface index {has[10]} is not {wanted[10]}"


def _outside(wanted: Any, has: Any) -> Iterator[str]:
    """Which of a packet's addresses are not in a selector's prefixes; of those of another family, "family"."""
    if wanted[6] != has[6]:
        yield "family"
        return
    for name, own, prefix in zip(("destination", "source"), has, _prefixes(wanted), strict=False):
        if not _inside(own, *prefix):
            yield name


def _prefixes(numbers: Any) -> tuple[tuple[bytes, int, int], ...]:
    """The prefixes of a selector's destination and source: address, length, bytes of an address of the family."""
    width = 16 if numbers[6] == Family.INET6 else 4
    return (numbers[0], numbers[7], width), (numbers[1], numbers[8], width)


def _inside(own: bytes, prefix: bytes, length: int, width: int) -> bool:
    """Whether an address is in a prefix."""
    shift = 8 * width - length
    return int.from_bytes(own[:width], "big") >> shift == int.from_bytes(prefix[:width], "big") >> shift


def _port_reasons(wanted: tuple[int, ...], has: tuple[int, ...], protocol: int) -> Iterator[str]:
    """The same for ports, or what stands in their place."""
    if protocol == _GRE:
        yield f"GRE key {has[1] << 16 | has[0]:#x} is not {wanted[2] << 16 | wanted[0]:#x}"
        return
    names = ("destination port", "source port") if protocol in _WITH_PORTS else ("code", "type")
    for name, value, port, mask in zip(names, has, wanted[::2], wanted[1::2], strict=True):
        if (value ^ port) & mask:
            yield f"{name} {value} is not {port}" + ("" if mask == 0xFFFF else f" (mask {mask:#x})")


def policy_reasons(policy: Policy, packet: Packet) -> Iterator[str]:
    """Why a policy is not for a packet; nothing where it is (xfrm_policy_match)."""
    yield from selector_reasons(policy.selector, packet)
    if (policy.if_id or 0) != packet.if_id:
        yield f"if_id {packet.if_id:#x} is not {policy.if_id or 0:#x}"
    if policy.mark is not None and packet.mark & policy.mark.mask != policy.mark.value:
        yield _mark_reason(packet.mark, policy.mark.value, policy.mark.mask)


def in_order(policies: Iterable[Policy], direction: Direction) -> list[Policy]:
    """The policies of a direction in the order in which the kernel looks: sub policies before main ones, the lower
    priority first, and of equal ones the older. `policies` are in the order of a dump."""
    found = [policy for policy in policies if policy.direction == direction]
    found.reverse()
    found.sort(key=lambda policy: (policy.policy_type != PolicyType.SUB, policy.priority))
    return found


def match(policies: Iterable[Policy], packet: Packet, direction: Direction) -> list[Policy]:
    """Those that match, in the order in which the kernel looks: the first one is the one that it finds."""
    # The addresses first: they are read without the rest of a policy, and without making texts of them.
    near = (one for one in policies if not any(_outside(SELECTOR.unpack(one.selector._wire), packet._numbers)))
    return in_order((policy for policy in near if not any(policy_reasons(policy, packet))), direction)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a packet, as far as policies say it."""

    matching: tuple[Policy, ...]
    """All policies of the direction that match, in the order in which the kernel looks."""
    applied: tuple[Policy, ...]
    """Those that the kernel applies: none, one, or a sub policy and the main one behind it."""
    blocked: bool
    by_default: bool
    """No policy matches, and the default for the direction (`ip xfrm policy setdefault`) says what happens."""


def verdict(
    policies: Iterable[Policy], packet: Packet, direction: Direction, defaults: PolicyDefaults | None = None
) -> Verdict:
    """What the policies, in the order of a dump, make of a packet. `defaults` None: all is accepted."""
    known = list(policies)
    matching = match(known, packet, direction)
    if not matching:
        default = DefaultAction.UNSPEC
        if defaults is not None:
            default = {
                Direction.IN: defaults.input,
                Direction.OUT: defaults.output,
                Direction.FWD: defaults.forward,
            }[direction]
        return Verdict((), (), default == DefaultAction.BLOCK, True)
    applied = matching[:1]
    if applied[0].policy_type == PolicyType.SUB and applied[0].action == Action.ALLOW:
        behind = _MAIN_BEHIND_SUB[direction]
        others = matching if behind == direction else match(known, packet, behind)
        applied += [policy for policy in others if policy.policy_type == PolicyType.MAIN][:1]
    blocked = any(policy.action != Action.ALLOW for policy in applied)
    return Verdict(tuple(matching), tuple(applied), blocked, False)


# --- states of packets that leave ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """What the kernel finds for one template of a packet that leaves."""

    template: Template
    state: State | None
    """None: there is none."""
    trouble: str
    """Why the packet can't leave by it, or without it; "" where it can."""
    refused: tuple[tuple[State, tuple[str, ...]], ...]
    """All other states, and why it is not they, those first that lack least."""


def resolve(policy: Policy, packet: Packet, states: Iterable[State], now: float) -> list[Choice]:
    """What each template of a policy finds among the states, which are in the order of a dump (xfrm_tmpl_resolve).
    `now` is in seconds since 1970."""
    known = list(states)
    ends = str(packet.source), str(packet.destination)
    choices = []
    for template in policy.templates:
        wanted = (template.source, template.destination) if template.mode in OUTER else ends
        choice = _find(template, policy, packet, wanted, known, now)
        choices.append(choice)
        if choice.state is not None and not choice.trouble:
            ends = choice.state.source if _any(wanted[0]) else wanted[0], wanted[1]
    return choices


def unusable(policies: Iterable[Policy]) -> bool:
    """Whether policies that are applied together have more templates than the kernel follows (XFRM_MAX_DEPTH, of
    which it leaves one)."""
    return sum(len(policy.templates) for policy in policies) >= MAX_TEMPLATES


def _find(
    template: Template, policy: Policy, packet: Packet, ends: tuple[str, str], states: list[State], now: float
) -> Choice:
    """xfrm_state_find: states with the source address that is wanted, then those without one."""
    best: State | None = None
    reasons = [(state, _out_reasons(state, template, policy, packet, ends, now)) for state in states]
    for wild in (False, True):
        for state, lacking in reasons:
            if not lacking and _any(state.source) == wild and (best is None or _better(state, best, packet, now)):
                best = state
        if best is not None:
            break
    unready = [lacking for _, lacking in reasons if lacking in (["larval"], ["expired"])]
    if best is not None:
        trouble = _trouble(best)
    elif template.level == Level.USE:
        trouble = ""
    elif ["larval"] in unready:
        trouble = "the SA is still being negotiated"
    elif unready:
        trouble = "the SA has expired"
    else:
        trouble = "no SA: the kernel asks the key manager for one (ACQUIRE), and the packet does not leave"
    refused = [
        (state, tuple(lacking) or (_second(state, best, now),)) for state, lacking in reasons if state is not best
    ]
    refused.sort(key=lambda one: len(one[1]))
    return Choice(template, best, trouble, tuple(refused))


def _better(state: State, best: State, packet: Packet, now: float) -> bool:
    """Whether the kernel prefers a state to one that was added after it (xfrm_state_look_at)."""
    if best.cpu is None and state.cpu is not None:
        return state.cpu == packet.cpu
    old, new = dying(best, now), dying(state, now)
    return old > new or (old == new and best.current.add_time < state.current.add_time)


def _second(state: State, best: State | None, now: float) -> str:
    """Why a state that fits is not the one."""
    assert best is not None
    if _any(state.source) and not _any(best.source):
        return "has no source address, and another one that fits has"
    if best.cpu is not None and state.cpu is None:
        return "another one is for this CPU"
    if dying(state, now) and not dying(best, now):
        return "reached a soft limit, and another one that fits has not"
    return "a newer one fits"


def _trouble(state: State) -> str:
    """Why a packet that got this state is dropped all the same."""
    if state.direction == StateDirection.IN:
        return "its direction is in: the kernel finds it, and drops the packet (XfrmOutStateDirError)"
    used, limits = state.current, state.lifetime
    if used.bytes >= limits.hard_byte_limit or used.packets >= limits.hard_packet_limit:
        return "its hard limit is reached: it drops the packet, and expires (XfrmOutStateExpired)"
    return ""


def _out_reasons(
    state: State, template: Template, policy: Policy, packet: Packet, ends: tuple[str, str], now: float
) -> list[str]:
    """Why a state is not one of those that the kernel chooses from."""
    reasons = list(_fixed_reasons(state, template, policy))
    if state.family == template.family:
        source, destination = ends
        if state.destination != destination:
            reasons.append(f"destination {state.destination} is not {destination}")
        if state.source != source and not _any(source) and not _any(state.source):
            reasons.append(f"source {state.source} is not {source}")
    reasons += validity(state, now)
    if state.selector.family != Family.UNSPEC:
        reasons += [f"selector: {reason}" for reason in selector_reasons(state.selector, packet)]
    if state.cpu is not None and state.cpu != packet.cpu:
        reasons.append(f"is for CPU {state.cpu} only")
    return reasons


def _fixed_reasons(state: State, template: Template, policy: Policy) -> Iterator[str]:
    """The part of it that depends on no packet. reqids must be equal, and 0 is like any other."""
    if state.family != template.family:
        yield f"family {_family(state.family)} is not {_family(template.family)}"
    yield from _kind_reasons(state, template)
    if state.reqid != template.reqid:
        yield f"reqid {state.reqid} is not {template.reqid}"
    mark = 0 if policy.mark is None else policy.mark.value
    if state.mark is not None and mark & state.mark.mask != state.mark.value:
        yield _mark_reason(mark, state.mark.value, state.mark.mask, "the policy's mark")
    if (state.if_id or 0) != (policy.if_id or 0):
        yield f"if_id {state.if_id or 0:#x} is not {policy.if_id or 0:#x}"
    if state.flags & StateFlag.WILDRECV:
        yield "receives only (flag wildrecv)"
    offload = [
        one.interface if one is not None and one.flags & OffloadFlag.PACKET else 0
        for one in (state.offload, policy.offload)
    ]
    if offload[0] != offload[1]:
        yield "packet offload of one is not that of the other"


def _kind_reasons(state: State, template: Template) -> Iterator[str]:
    if state.protocol != template.protocol:
        yield f"protocol {protocol_text(state.protocol)} is not {protocol_text(template.protocol)}"
    if state.mode != template.mode:
        yield f"mode {state.mode.name.lower()} is not {template.mode.name.lower()}"
    if template.spi and state.spi != template.spi:
        yield f"SPI {state.spi:#x} is not {template.spi:#x}"


def larval(state: State) -> bool:
    """Whether a state waits for its keys (XFRM_STATE_ACQ). No dump says it: those have no algorithm."""
    algorithms = (state.aead, state.encryption, state.authentication, state.compression)
    return state.protocol in _KEYED and all(one is None for one in algorithms)


def validity(state: State, now: float) -> list[str]:
    """["larval"], ["expired"], or nothing for a state that can be used (km.state)."""
    if larval(state):
        return ["larval"]
    limits, used = state.lifetime, state.current
    if _passed(used.add_time, limits.hard_add_expires_seconds, now) or _passed(
        used.use_time, limits.hard_use_expires_seconds, now
    ):
        return ["expired"]
    return []


def dying(state: State, now: float) -> bool:
    """Whether a state has reached a soft limit: the kernel then prefers others (km.dying)."""
    limits, used = state.lifetime, state.current
    return (
        used.bytes >= limits.soft_byte_limit
        or used.packets >= limits.soft_packet_limit
        or _passed(used.add_time, limits.soft_add_expires_seconds, now)
        or _passed(used.use_time, limits.soft_use_expires_seconds, now)
    )


def _passed(since: int, seconds: int, now: float) -> bool:
    return bool(since and seconds not in (0, INFINITE) and now - since >= seconds)


# --- states of packets that came in -------------------------------------------------------------------


def in_reasons(state: State, template: Template, if_id: int) -> Iterator[str]:
    """Why a packet that came through a state has not what a template demands (xfrm_state_ok). Of reqid, SPI and
    source, what the template has as 0 may be anything."""
    yield from _kind_reasons(state, template)
    if template.reqid and state.reqid != template.reqid:
        yield f"reqid {state.reqid} is not {template.reqid}"
    if state.mode != Mode.TRANSPORT and not _any(template.source) and state.source != template.source:
        yield f"source {state.source} is not {template.source}"
    if if_id and (state.if_id or 0) != if_id:
        yield f"if_id {state.if_id or 0:#x} is not {if_id:#x}"
    if state.direction == StateDirection.OUT:
        yield "direction out is not in"


def demands(
    template: Template, packet: Packet, states: Iterable[State], now: float
) -> list[tuple[State, tuple[str, ...]]]:
    """All states, and what each lacks for the packet to have come through it and to satisfy the template; those
    first that lack least."""
    found = []
    for state in states:
        lacking = [*in_reasons(state, template, packet.if_id), *validity(state, now)]
        if state.selector.family != Family.UNSPEC:
            lacking += [f"selector: {reason}" for reason in selector_reasons(state.selector, packet)]
        if template.mode not in OUTER:
            for name in ("source", "destination"):
                if getattr(state, name) != getattr(packet, name) and not _any(getattr(state, name)):
                    lacking.append(f"{name} {getattr(state, name)} is not {getattr(packet, name)}")
        found.append((state, tuple(lacking)))
    found.sort(key=lambda one: len(one[1]))
    return found


# --- states, whatever the packet ----------------------------------------------------------------------


def serves(state: State, template: Template, policy: Policy) -> bool:
    """Whether there can be packets for which a template of the policy is content with the state."""
    leaves = policy.direction % 3 == Direction.OUT  # those of sockets are 3 more
    if leaves:
        if state.direction == StateDirection.IN or any(_fixed_reasons(state, template, policy)):
            return False
    elif any(in_reasons(state, template, policy.if_id or 0)):
        return False
    if template.mode not in OUTER:
        return _within(state, policy.selector)
    if not leaves:
        return True
    source = _any(template.source) or _any(state.source) or state.source == template.source
    return source and state.destination == template.destination


def _within(state: State, selector: Selector) -> bool:
    """Whether both addresses of a state are those of packets that a selector is for."""
    if state.family != selector.family:
        return False
    prefixes = _prefixes(SELECTOR.unpack(selector._wire))
    return all(
        _any(text) or _inside(encoded(text, wire), *prefix)
        for text, prefix in zip((state.destination, state.source), prefixes, strict=True)
    )


# --- words --------------------------------------------------------------------------------------------


def _any(text: str) -> bool:
    return text in (any_of(Family.INET), any_of(Family.INET6))


def _family(family: int) -> str:
    return {Family.INET: "IPv4", Family.INET6: "IPv6"}.get(Family(family), str(int(family)))


def protocol_text(number: int) -> str:
    """The name of an IP protocol, or its number."""
    return NAMES.get(number, str(int(number)))


def _mark_reason(mark: int, value: int, mask: int, what: str = "mark") -> str:
    return f"{what} {mark:#x} does not match {value:#x}/{mask:#x}"

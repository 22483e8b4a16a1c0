# SPDX-License-Identifier: MIT
"""Policy: one entry of the SPD (struct xfrm_userpolicy_info and its attributes), and PolicyId, its address."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from xfrm_ext import wire
from xfrm_ext.attribute import Attribute, Offload, SecurityContext
from xfrm_ext.checks import choice, choices, instance, integer, items_of, shown
from xfrm_ext.checks import flags as checked_flags
from xfrm_ext.constants import (
    MAX_TEMPLATES,
    Action,
    Direction,
    PolicyFlag,
    PolicyType,
    Share,
)
from xfrm_ext.errors import ValidationError
from xfrm_ext.lifetime import NO_LIMITS, UNUSED, LifetimeConfig, LifetimeCurrent
from xfrm_ext.mark import Mark
from xfrm_ext.selector import Selector
from xfrm_ext.template import Template
from xfrm_ext.value import Value, is_selected, set_wire

_DIRECTIONS = choices(Direction)
_ACTIONS = choices(Action)
_SHARES = choices(Share)
_TYPES = choices(PolicyType)
_ANY = Selector()
_NO_FLAGS = PolicyFlag(0)
_NO_LIMITS = NO_LIMITS._wire
_MAIN, _ALLOW, _SHARE_ANY = PolicyType.MAIN, Action.ALLOW, Share.ANY
_ATTRIBUTE = struct.Struct("=HH")


def _encoded_attributes(attributes: Iterable[Attribute]) -> bytes:
    parts = []
    for attribute in items_of(attributes, Attribute, "Policy.attributes"):
        if not isinstance(attribute, Attribute):
            raise ValidationError("Policy.attributes", shown(attribute), "is not an Attribute")
        size = len(attribute.payload)
        parts.append(_ATTRIBUTE.pack(size + 4, attribute.type) + bytes(attribute._data()) + bytes(-size % 4))
    return b"".join(parts)


def _options(
    policy_type: int,
    mark: Mark | None,
    if_id: int | None,
    security_context: SecurityContext | str | None,
    offload: Offload | None,
    attributes: Iterable[Attribute],
    owner: str,
) -> wire.PolicyOptions:
    if mark is not None and not instance(mark, Mark, f"{owner}.mark").mask:
        mark = None  # every mark: the kernel does not store it either
    if isinstance(security_context, str):
        security_context = SecurityContext(security_context)
    context = None
    if security_context is not None:
        label: SecurityContext = instance(security_context, SecurityContext, f"{owner}.security_context")
        context = (label._encoded(), label.algorithm, label.doi)
    if offload is not None:
        instance(offload, Offload, f"{owner}.offload")
    return wire.PolicyOptions(
        policy_type or None,  # main is what the kernel takes when there is none
        (mark.value, mark.mask) if mark is not None else None,
        None if if_id is None else integer(if_id, f"{owner}.if_id", 0xFFFFFFFF),
        context,
        (offload.interface, int(offload.flags)) if offload is not None else None,
        _encoded_attributes(attributes),
    )


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Policy(Value):
    """One entry of the SPD (struct xfrm_userpolicy_info).

    ``Policy(direction="in")`` allows every IPv4 packet in, as ``ip xfrm policy add dir in`` does.
    """

    selector: Selector = _ANY
    """Default: any IPv4 packet."""
    direction: Direction = field(kw_only=True)
    """in, out or fwd; has no default."""
    action: Action = Action.ALLOW
    """allow or block."""
    priority: int = 0
    """Lower wins; of two equal ones the older does."""
    index: int = 0
    """The kernel's number: (n << 3) | direction. 0: the kernel picks one."""
    templates: tuple[Template, ...] = ()
    """At most 6, applied in this order; none: packets pass as they are."""
    flags: PolicyFlag = _NO_FLAGS
    share: Share = Share.ANY
    policy_type: PolicyType = PolicyType.MAIN
    """main or sub: two separate name spaces (XFRMA_POLICY_TYPE)."""
    mark: Mark | None = None
    """None: any mark (XFRMA_MARK)."""
    if_id: int | None = None
    """XFRM interface (XFRMA_IF_ID); None: not sent. Some kernels of 5.15 to 5.17 refuse 0."""
    lifetime: LifetimeConfig = NO_LIMITS
    current: LifetimeCurrent = UNUSED
    """Filled in by the kernel, ignored by it in requests."""
    security_context: SecurityContext | None = None
    offload: Offload | None = None
    attributes: tuple[Attribute, ...] = ()
    """Attributes that this release has no field for."""

    def __init__(
        self,
        selector: Selector | None = None,
        *,
        direction: Direction | int | str,
        action: Action | int | str = Action.ALLOW,
        priority: int = 0,
        index: int = 0,
        templates: Iterable[Template] | Template = (),
        flags: PolicyFlag | int | str | Iterable[str] = _NO_FLAGS,
        share: Share | int | str = Share.ANY,
        policy_type: PolicyType | int | str = PolicyType.MAIN,
        mark: Mark | None = None,
        if_id: int | None = None,
        lifetime: LifetimeConfig | None = None,
        current: LifetimeCurrent | None = None,
        security_context: SecurityContext | str | None = None,
        offload: Offload | None = None,
        attributes: Iterable[Attribute] = (),
    ) -> None:
        """Raises ValidationError."""
        # What is left at its default is not checked: a million policies are made through here.
        options = None
        if (
            policy_type is not _MAIN
            or mark is not None
            or if_id is not None
            or security_context is not None
            or offload is not None
            or attributes.__class__ is not tuple
            or attributes
        ):
            kind = choice(policy_type, "Policy.policy_type", _TYPES, PolicyType)
            options = _options(kind, mark, if_id, security_context, offload, attributes, "Policy")
        if selector is None:
            selector = _ANY
        elif selector.__class__ is not Selector:
            instance(selector, Selector, "Policy.selector")
        way = choice(direction, "Policy.direction", _DIRECTIONS, Direction)
        if index.__class__ is not int or index:
            index = integer(index, "Policy.index", 0xFFFFFFFF)
            _check_index(index, way, "Policy.index")
        message = wire.policy_bytes(
            selector._wire,
            _NO_LIMITS if lifetime is None else instance(lifetime, LifetimeConfig, "Policy.lifetime")._wire,
            None if current is None else instance(current, LifetimeCurrent, "Policy.current")._wire,
            _template_bytes(templates),
            integer(priority, "Policy.priority", 0xFFFFFFFF),
            index,
            way
            | (0 if action is _ALLOW else choice(action, "Policy.action", _ACTIONS, Action) << 8)
            | (0 if flags is _NO_FLAGS else checked_flags(flags, "Policy.flags", PolicyFlag, 255) << 16)
            | (0 if share is _SHARE_ANY else choice(share, "Policy.share", _SHARES, Share) << 24),
            options,
        )
        if options is not None and options.attributes:
            # Some of them may be of types that have a field: to their place.
            message = wire.canonical_policies(message)[0]
        set_wire(self, message)

    def _encoded(self, wire: Any) -> bytes:
        """The message, made by one of the two wire modules."""
        if is_selected(wire):
            return self._wire
        kind, mark, if_id, context = self.policy_type, self.mark, self.if_id, self.security_context
        message: bytes = wire.policy_bytes(
            self.selector._encoded(wire),
            self.lifetime._wire,
            self.current._wire,
            b"".join(template._encoded(wire) for template in self.templates),
            self.priority,
            self.index,
            self.direction | self.action << 8 | self.flags << 16 | self.share << 24,
            _options(kind, mark, if_id, context, self.offload, self.attributes, "Policy"),
        )
        return wire.canonical_policies(message)[0] if self.attributes else message

    def _unpack_for(self, name: str) -> dict[str, Any]:
        global _lazily_read
        if name not in ("selector", "current"):
            return self._unpack(wire)
        _lazily_read += 1
        if name == "selector":
            return {name: Selector._from_wire(self._wire[16:72])}
        return {name: LifetimeCurrent._from_wire(self._wire[136:168])}

    def _unpack(self, wire: Any) -> dict[str, Any]:
        values: dict[str, Any]
        values, known, unknown = wire.policy_fields(self._wire)
        values["selector"] = Selector._from_wire(values["selector"], wire)
        values["lifetime"] = LifetimeConfig._from_wire(values["lifetime"])
        values["current"] = LifetimeCurrent._from_wire(values["current"])
        templates = values["templates"]
        size = wire.TEMPLATE_SIZE
        values["templates"] = tuple(
            Template._from_wire(templates[start : start + size], wire) for start in range(0, len(templates), size)
        )
        values["direction"] = Direction(values["direction"])
        values["action"] = Action(values["action"])
        values["flags"] = PolicyFlag(values["flags"])
        values["share"] = Share(values["share"])
        values["policy_type"] = PolicyType(known.policy_type or 0)
        values["mark"] = None if known.mark is None else Mark(*known.mark)
        values["if_id"] = known.if_id
        values["offload"] = None if known.offload is None else Offload(*known.offload)
        values["security_context"], odd = SecurityContext._from_parts(known.security_context)
        values["attributes"] = tuple(odd + [Attribute(kind, payload) for kind, payload in unknown])
        return values

    @property
    def id(self) -> PolicyId:
        """What the kernel finds this policy by: direction, selector, type, mark, if_id, security context."""
        return PolicyId(
            self.selector,
            direction=self.direction,
            policy_type=self.policy_type,
            mark=self.mark,
            if_id=self.if_id,
            security_context=self.security_context,
        )


_lazily_read = 0


def lazily_read() -> int:
    """How often a selector, or what was used, was read out of a policy that came without: who makes many policies
    can learn from it that these are wanted."""
    return _lazily_read


def _check_index(index: int, direction: int, field: str) -> None:
    if index and index & 7 != direction & 7:
        rule = f"does not match direction {Direction(direction).name.lower()}: index & 7 must be {direction & 7}"
        raise ValidationError(field, str(index), rule)


def _template_bytes(templates: Iterable[Template] | Template) -> bytes:
    if templates.__class__ is tuple and not templates:
        return b""
    if isinstance(templates, Template):
        return templates._wire
    items = items_of(templates, Template, "Policy.templates")
    if len(items) > MAX_TEMPLATES:
        raise ValidationError("Policy.templates", str(len(items)), f"templates, and {MAX_TEMPLATES} is the most")
    for item in items:
        if item.__class__ is not Template:
            instance(item, Template, "Policy.templates")
    return b"".join([item._wire for item in items])


@dataclass(frozen=True, slots=True)
class PolicyId:
    """How one policy is named in a request (struct xfrm_userpolicy_id and attributes).

    By selector, or by index when ``index`` is not 0. Type, mark, if_id and security context must be those
    that the policy was added with.
    """

    selector: Selector | None
    direction: Direction
    index: int = 0
    policy_type: PolicyType = PolicyType.MAIN
    mark: Mark | None = None
    if_id: int | None = None
    security_context: SecurityContext | None = None

    def __init__(
        self,
        selector: Selector | None = None,
        *,
        direction: Direction | int | str,
        index: int = 0,
        policy_type: PolicyType | int | str = PolicyType.MAIN,
        mark: Mark | None = None,
        if_id: int | None = None,
        security_context: SecurityContext | str | None = None,
    ) -> None:
        """Raises ValidationError."""
        if selector is not None:
            instance(selector, Selector, "PolicyId.selector")
        index = integer(index, "PolicyId.index", 0xFFFFFFFF)
        if (selector is None) == (not index):
            raise ValidationError("PolicyId", None, "needs a selector or an index, one of the two")
        if mark is not None and not instance(mark, Mark, "PolicyId.mark").mask:
            mark = None  # every mark, as in a policy
        if_id = None if if_id is None else integer(if_id, "PolicyId.if_id", 0xFFFFFFFF)
        if isinstance(security_context, str):
            security_context = SecurityContext(security_context)
        kind = choice(policy_type, "PolicyId.policy_type", _TYPES, PolicyType)
        _options(kind, mark, if_id, security_context, None, (), "PolicyId")  # checks them
        way = choice(direction, "PolicyId.direction", _DIRECTIONS, Direction)
        _check_index(index, way, "PolicyId.index")
        object.__setattr__(self, "selector", selector)
        object.__setattr__(self, "direction", Direction(way))
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "policy_type", PolicyType(kind))
        object.__setattr__(self, "mark", mark)
        object.__setattr__(self, "if_id", if_id)
        object.__setattr__(self, "security_context", security_context)

    def message(self, message: int) -> bytes:
        """The XFRM_MSG_GETPOLICY or DELPOLICY message for this policy."""
        return self._encoded(message, wire)

    def _encoded(self, message: int, wire: Any) -> bytes:
        options = _options(self.policy_type, self.mark, self.if_id, self.security_context, None, (), "PolicyId")
        selector = _ANY if self.selector is None else self.selector
        data: bytes = wire.policy_id_bytes(message, selector._encoded(wire), self.index, self.direction, options)
        return data

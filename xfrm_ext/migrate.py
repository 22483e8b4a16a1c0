# SPDX-License-Identifier: MIT
"""Moving states to other addresses: Migration of a policy and its states (XFRM_MSG_MIGRATE), StateMigration of one
state (XFRM_MSG_MIGRATE_STATE)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xfrm_ext.address import encoded, pair
from xfrm_ext.attribute import Attribute, Offload, attributes_of
from xfrm_ext.checks import choice, choices, instance, integer, items_of
from xfrm_ext.checks import flags as checked_flags
from xfrm_ext.constants import (
    MAX_TEMPLATES,
    AttributeType,
    Direction,
    Family,
    MigrateStateFlag,
    Mode,
    PolicyType,
    Protocol,
)
from xfrm_ext.encapsulation import Encapsulation
from xfrm_ext.errors import ValidationError
from xfrm_ext.items import Items, offload_item, rest_items
from xfrm_ext.mark import Mark
from xfrm_ext.selector import AddressLike, Selector
from xfrm_ext.state import State, bare_id
from xfrm_ext.state_id import StateId, id_fields, id_values
from xfrm_ext.wire.item import Item

_PROTOCOLS = choices(Protocol)
_MODES = choices(Mode)
_FAMILIES = choices(Family)
_DIRECTIONS = choices(Direction)
_TYPES = choices(PolicyType)
_SIZE = 76  # struct xfrm_user_migrate
_ANY = Selector(family=Family.UNSPEC)


@dataclass(frozen=True, slots=True, init=False)
class Move:
    """Which states go where (struct xfrm_user_migrate): those of one template of the policy."""

    old_source: str
    old_destination: str
    new_source: str
    new_destination: str
    protocol: Protocol = Protocol.ESP
    mode: Mode = Mode.TUNNEL
    reqid: int = 0
    """0: any."""
    old_family: Family = Family.INET
    new_family: Family = Family.INET

    def __init__(
        self,
        old_source: AddressLike | None,
        old_destination: AddressLike | None,
        new_source: AddressLike | None,
        new_destination: AddressLike | None,
        *,
        protocol: Protocol | int | str = Protocol.ESP,
        mode: Mode | int | str = Mode.TUNNEL,
        reqid: int = 0,
        old_family: Family | int | str | None = None,
        new_family: Family | int | str | None = None,
    ) -> None:
        """Raises ValidationError."""
        values: dict[str, Any] = {}
        given = _family(old_family, "Move.old_family")
        values["old_source"], values["old_destination"], values["old_family"] = pair(
            old_source, old_destination, "Move.old", given
        )
        given = _family(new_family, "Move.new_family")
        values["new_source"], values["new_destination"], values["new_family"] = pair(
            new_source, new_destination, "Move.new", given
        )
        values["protocol"] = Protocol(choice(protocol, "Move.protocol", _PROTOCOLS, Protocol))
        values["mode"] = Mode(choice(mode, "Move.mode", _MODES, Mode))
        values["reqid"] = integer(reqid, "Move.reqid", 0xFFFFFFFF)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _encoded(self, wire: Any) -> bytes:
        names = ("old_source", "old_destination", "new_source", "new_destination")
        numbers = ("protocol", "mode", "reqid", "old_family", "new_family")
        parts = {name: encoded(getattr(self, name), wire) for name in names}
        parts.update((name, getattr(self, name)) for name in numbers)
        data: bytes = wire.migration_bytes(parts)
        return data

    @classmethod
    def _from_bytes(cls, data: bytes, wire: Any) -> Move:
        values = wire.migration_fields(data)
        old, new = Family(values["old_family"]), Family(values["new_family"])
        return cls(
            wire.address_text(values["old_source"], old),
            wire.address_text(values["old_destination"], old),
            wire.address_text(values["new_source"], new),
            wire.address_text(values["new_destination"], new),
            protocol=Protocol(values["protocol"]),
            mode=Mode(values["mode"]),
            reqid=values["reqid"],
            old_family=old,
            new_family=new,
        )


@dataclass(frozen=True, slots=True)
class KmAddress:
    """Addresses of the key managers that agreed on the move (struct xfrm_user_kmaddress, XFRMA_KMADDRESS)."""

    local: str
    remote: str
    family: Family = Family.INET
    reserved: int = 0

    def __init__(
        self,
        local: AddressLike,
        remote: AddressLike,
        family: Family | int | str | None = None,
        reserved: int = 0,
    ) -> None:
        """Raises ValidationError."""
        given = _family(family, "KmAddress.family")
        local_text, remote_text, found = pair(local, remote, "KmAddress", given, ("local", "remote"))
        object.__setattr__(self, "local", local_text)
        object.__setattr__(self, "remote", remote_text)
        object.__setattr__(self, "family", found)
        object.__setattr__(self, "reserved", integer(reserved, "KmAddress.reserved", 0xFFFFFFFF))


@dataclass(frozen=True, slots=True, init=False)
class Migration:
    """Gives a policy's templates and their states other outer addresses (XFRM_MSG_MIGRATE)."""

    selector: Selector
    direction: Direction
    moves: tuple[Move, ...]
    """One for each template that moves, at most 6."""
    policy_type: PolicyType = PolicyType.MAIN
    key_managers: KmAddress | None = None
    encapsulation: Encapsulation | None = None
    if_id: int | None = None
    offload: Offload | None = None
    index: int = 0
    """Not looked at by the kernel."""
    attributes: tuple[Attribute, ...] = ()

    def __init__(
        self,
        selector: Selector,
        direction: Direction | int | str,
        moves: Iterable[Move] | Move,
        *,
        policy_type: PolicyType | int | str = PolicyType.MAIN,
        key_managers: KmAddress | None = None,
        encapsulation: Encapsulation | None = None,
        if_id: int | None = None,
        offload: Offload | None = None,
        index: int = 0,
        attributes: Iterable[Attribute] = (),
    ) -> None:
        """Raises ValidationError."""
        several = (moves,) if isinstance(moves, Move) else items_of(moves, Move, "Migration.moves")
        for move in several:
            instance(move, Move, "Migration.moves")
        if len(several) > MAX_TEMPLATES:
            rule = f"moves, and {MAX_TEMPLATES} is the most"
            raise ValidationError("Migration.moves", str(len(several)), rule)
        wrapped = _optional(encapsulation, Encapsulation, "Migration.encapsulation")
        if wrapped is not None:
            wrapped._check(several[0].new_family if several else Family.INET, "Migration.encapsulation")
        way = choice(direction, "Migration.direction", _DIRECTIONS, Direction)
        kind = choice(policy_type, "Migration.policy_type", _TYPES, PolicyType)
        for name, value in (
            ("selector", instance(selector, Selector, "Migration.selector")),
            ("direction", Direction(way)),
            ("moves", several),
            ("policy_type", PolicyType(kind)),
            ("key_managers", _optional(key_managers, KmAddress, "Migration.key_managers")),
            ("encapsulation", wrapped),
            ("if_id", None if if_id is None else integer(if_id, "Migration.if_id", 0xFFFFFFFF)),
            ("offload", _optional(offload, Offload, "Migration.offload")),
            ("index", integer(index, "Migration.index", 0xFFFFFFFF)),
            ("attributes", attributes_of(attributes, "Migration.attributes")),
        ):
            object.__setattr__(self, name, value)

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        fixed = {
            "selector": self.selector._encoded(wire),
            "index": self.index,
            "direction": self.direction,
        }
        items = []
        if self.policy_type != PolicyType.MAIN:
            items.append(Item(AttributeType.POLICY_TYPE, (self.policy_type,)))
        if self.key_managers is not None:
            items.append(_km_item(self.key_managers, wire))
        if self.moves:
            data = b"".join(move._encoded(wire) for move in self.moves)
            items.append(Item(AttributeType.MIGRATE, (), data))
        items += _common_items(self, wire)
        return fixed, items + rest_items(self.attributes)

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> Migration:
        moved = items.take(AttributeType.MIGRATE)
        data = b"" if moved is None else moved.data
        moves = tuple(Move._from_bytes(data[at : at + _SIZE], wire) for at in range(0, len(data), _SIZE))
        managers = items.take(AttributeType.KMADDRESS)
        kind = items.number(AttributeType.POLICY_TYPE) or 0
        return cls(
            Selector._from_wire(values["selector"], wire),
            Direction(values["direction"]),
            moves,
            policy_type=PolicyType(kind),
            key_managers=None if managers is None else _km_address(managers, wire),
            **_common(items, moves[0].new_family if moves else Family.INET, wire),
            index=values["index"],
            attributes=items.rest(wire),
        )


@dataclass(frozen=True, slots=True, init=False)
class StateMigration:
    """Gives one state other addresses, keys and counters kept (XFRM_MSG_MIGRATE_STATE, struct
    xfrm_user_migrate_state; newer than Linux 6.18)."""

    id: StateId
    """The source address is no part of it: the kernel does not ask for it here."""
    new_source: str
    new_destination: str
    new_family: Family = Family.INET
    reqid: int = 0
    """The new one: the kernel keeps none. Default: that of ``id`` when it is a State, else 0."""
    selector: Selector = _ANY
    """The new one, like `reqid`. With flag update_h2h_sel, one of two hosts gets the new addresses."""
    flags: MigrateStateFlag = MigrateStateFlag(0)  # noqa: RUF009  an int
    encapsulation: Encapsulation | None = None
    if_id: int | None = None
    offload: Offload | None = None
    attributes: tuple[Attribute, ...] = ()

    def __init__(
        self,
        id: StateId | State,
        new_source: AddressLike,
        new_destination: AddressLike,
        *,
        new_family: Family | int | str | None = None,
        reqid: int | None = None,
        selector: Selector | None = None,
        flags: MigrateStateFlag | int | str | Iterable[str] = 0,
        encapsulation: Encapsulation | None = None,
        if_id: int | None = None,
        offload: Offload | None = None,
        attributes: Iterable[Attribute] = (),
    ) -> None:
        """Raises ValidationError."""
        given = _family(new_family, "StateMigration.new_family")
        source, destination, family = pair(new_source, new_destination, "StateMigration.new", given)
        wrapped = _optional(encapsulation, Encapsulation, "StateMigration.encapsulation")
        if wrapped is not None:
            wrapped._check(family, "StateMigration.encapsulation")
        number = checked_flags(flags, "StateMigration.flags", MigrateStateFlag, 0xFFFFFFFF)
        if isinstance(id, State):
            reqid = id.reqid if reqid is None else reqid
            if selector is None and not number & MigrateStateFlag.UPDATE_H2H_SEL:
                selector = id.selector
        for name, value in (
            ("id", bare_id(id, "StateMigration.id")),
            ("new_source", source),
            ("new_destination", destination),
            ("new_family", family),
            ("reqid", 0 if reqid is None else integer(reqid, "StateMigration.reqid", 0xFFFFFFFF)),
            ("selector", _optional(selector, Selector, "StateMigration.selector") or _ANY),
            ("flags", MigrateStateFlag(number)),
            ("encapsulation", wrapped),
            ("if_id", None if if_id is None else integer(if_id, "StateMigration.if_id", 0xFFFFFFFF)),
            ("offload", _optional(offload, Offload, "StateMigration.offload")),
            ("attributes", attributes_of(attributes, "StateMigration.attributes")),
        ):
            object.__setattr__(self, name, value)

    def _parts(self, wire: Any) -> tuple[dict[str, Any], list[Item]]:
        fixed = id_fields(self.id, wire)
        mark = self.id.mark
        fixed.update(
            new_source=encoded(self.new_source, wire),
            new_destination=encoded(self.new_destination, wire),
            mark_value=0 if mark is None else mark.value,
            mark_mask=0 if mark is None else mark.mask,
            selector=self.selector._encoded(wire),
            reqid=self.reqid,
            flags=self.flags,
            new_family=self.new_family,
        )
        return fixed, _common_items(self, wire) + rest_items(self.attributes)

    @classmethod
    def _from_parts(cls, values: dict[str, Any], items: Items, wire: Any) -> StateMigration:
        family = Family(values["new_family"])
        return cls(
            StateId(**id_values(values, wire), mark=Mark(values["mark_value"], values["mark_mask"])),
            wire.address_text(values["new_source"], family),
            wire.address_text(values["new_destination"], family),
            new_family=family,
            reqid=values["reqid"],
            selector=Selector._from_wire(values["selector"], wire),
            flags=MigrateStateFlag(values["flags"]),
            **_common(items, family, wire),
            attributes=items.rest(wire),
        )


def _family(value: Family | int | str | None, field: str) -> Family | None:
    return None if value is None else Family(choice(value, field, _FAMILIES, Family))


def _optional(value: Any, kind: type, field: str) -> Any:
    return None if value is None else instance(value, kind, field)


def _common_items(value: Migration | StateMigration, wire: Any) -> list[Item]:
    """What both kinds of moves can change besides addresses."""
    items = []
    if value.encapsulation is not None:
        items.append(value.encapsulation._item(wire))
    if value.if_id is not None:
        items.append(Item(AttributeType.IF_ID, (value.if_id,)))
    if value.offload is not None:
        items.append(offload_item(value.offload))
    return items


def _common(items: Items, family: Family, wire: Any) -> dict[str, Any]:
    wrapped = items.take(AttributeType.ENCAP)
    return {
        "encapsulation": None if wrapped is None else Encapsulation._from_item(wrapped, family, wire),
        "if_id": items.number(AttributeType.IF_ID),
        "offload": items.offload(),
    }


def _km_item(value: KmAddress, wire: Any) -> Item:
    data = encoded(value.local, wire) + encoded(value.remote, wire)
    return Item(AttributeType.KMADDRESS, (value.reserved, value.family), data)


def _km_address(item: Item, wire: Any) -> KmAddress:
    reserved, family = item.numbers or (0, 0)
    local, remote = (wire.address_text(item.data[at : at + 16], family) for at in (0, 16))
    return KmAddress(local, remote, Family(family), reserved)

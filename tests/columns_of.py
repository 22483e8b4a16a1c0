# SPDX-License-Identifier: MIT
"""What each column of `dump_columns` has to be, told by the fields of the objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from ipaddress import ip_address
from typing import Any

from xfrm_ext import Columns, LifetimeConfig, LifetimeCurrent, Policy, State

Reader = Callable[[Any], Any]


def packed(text: str) -> bytes:
    """The 16 bytes of an address."""
    return ip_address(text.partition("/")[0]).packed.ljust(16, b"\0")


def _or_zero(*names: str) -> Reader:
    """A field; 0 where it, or the part that it is in, is None."""

    def read(one: Any) -> Any:
        for name in names:
            one = getattr(one, name)
            if one is None:
                return 0
        return one

    return read


def _own(*names: str) -> dict[str, Reader]:
    return {name: _or_zero(name) for name in names}


def _parts(part: str, *names: str, prefix: str = "") -> dict[str, Reader]:
    return {prefix + name: _or_zero(part, name) for name in names}


def _of_template(name: str, missing: Any = 0) -> Reader:
    return lambda policy: getattr(policy.templates[0], name) if policy.templates else missing


LIFETIMES = {
    **_parts("lifetime", *(field.name for field in fields(LifetimeConfig))),
    **_parts("current", *(field.name for field in fields(LifetimeCurrent))),
}
POLICY: dict[str, Reader] = {
    "source_prefix_length": lambda policy: int(policy.selector.source.partition("/")[2]),
    "destination_prefix_length": lambda policy: int(policy.selector.destination.partition("/")[2]),
    **_parts("selector", "family", "protocol", "source_port", "source_port_mask", "destination_port"),
    **_parts("selector", "destination_port_mask", "interface", "user"),
    **_own("direction", "action", "priority", "index", "flags", "share", "policy_type", "if_id"),
    "mark": _or_zero("mark", "value"),
    "mark_mask": _or_zero("mark", "mask"),
    **LIFETIMES,
    **{
        f"template_{name}": _of_template(name)
        for name in ("family", "spi", "reqid", "protocol", "mode", "level", "share", "aalgos", "ealgos", "calgos")
    },
    "template_count": lambda policy: len(policy.templates),
}
POLICY_ADDRESSES: dict[str, Reader] = {
    **_parts("selector", "source", "destination"),
    "template_source": _of_template("source", "0.0.0.0"),
    "template_destination": _of_template("destination", "0.0.0.0"),
}

STATE: dict[str, Reader] = {
    **_own("family", "spi", "protocol", "mode", "reqid", "sequence", "replay_window", "flags", "extra_flags"),
    **_own("if_id", "direction", "cpu", "nat_keepalive_interval", "mapping_timer_threshold"),
    **_own("traffic_flow_padding", "last_used"),
    "mark": _or_zero("mark", "value"),
    "mark_mask": _or_zero("mark", "mask"),
    "output_mark": _or_zero("output_mark", "value"),
    "output_mark_mask": _or_zero("output_mark", "mask"),
    **LIFETIMES,
    **_parts("statistics", "replay_window", "replay", "integrity_failed", prefix="statistics_"),
    **_parts("encapsulation", "type", "source_port", "destination_port", prefix="encapsulation_"),
}
STATE_ADDRESSES: dict[str, Reader] = _own("source", "destination")


def check(
    objects: Sequence[Policy] | Sequence[State], columns: Columns, texts: Columns, *, bytes_too: bool = True
) -> None:
    """Compares all columns, and all with text=True, with the objects of the same dump.

    Not `bytes_too`: the texts need not have all of an address's bytes, since something is odd about its family.
    """
    states = "spi" in columns
    numbers, addresses = (STATE, STATE_ADDRESSES) if states else (POLICY, POLICY_ADDRESSES)
    assert set(columns) == set(texts) == set(numbers) | set(addresses)
    assert columns.rows == texts.rows == len(objects)
    for name, reader in numbers.items():
        expected = [int(reader(one)) for one in objects]
        assert columns[name].tolist() == expected, name
        assert texts[name].tolist() == expected, name
    for name, reader in addresses.items():
        expected_texts = [reader(one) for one in objects]
        assert texts[name] == expected_texts, name
        if bytes_too:
            assert columns[name].tobytes() == b"".join(map(packed, expected_texts)), name

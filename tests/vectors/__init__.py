# SPDX-License-Identifier: MIT
"""What iproute2 sent, received and printed: see README.md. And a second way to take messages apart, which
shares no code with the package."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_FOLDER = Path(__file__).parent
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")

NEWSA, DELSA, GETSA, NEWPOLICY, DELPOLICY, GETPOLICY, ALLOCSPI, ACQUIRE = range(0x10, 0x18)
EXPIRE, UPDPOLICY, UPDSA, POLEXPIRE, FLUSHSA, FLUSHPOLICY, NEWAE, GETAE = range(0x18, 0x20)
REPORT, MIGRATE, NEWSADINFO, GETSADINFO, NEWSPDINFO, GETSPDINFO, MAPPING, SETDEFAULT = range(0x20, 0x28)
GETDEFAULT, MIGRATE_STATE = range(0x28, 0x2A)

AUTH, CRYPT, COMP, ENCAP, TMPL, SA, POLICY, SEC_CTX, LTIME_VAL, REPLAY_VAL = range(1, 11)
REPLAY_THRESH, ETIMER_THRESH, SRCADDR, COADDR, LASTUSED, POLICY_TYPE, MIGRATIONS, AEAD = range(11, 19)
KMADDRESS, AUTH_TRUNC, MARK, TFCPAD, REPLAY_ESN_VAL, SA_EXTRA_FLAGS, PROTO, ADDRESS_FILTER = range(19, 27)
PAD, OFFLOAD_DEV, SET_MARK, SET_MARK_MASK, IF_ID, MTIMER_THRESH, SA_DIR = range(27, 34)
NAT_KEEPALIVE_INTERVAL, SA_PCPU, IPTFS_DROP_TIME, IPTFS_REORDER_WINDOW, IPTFS_DONT_FRAG = range(34, 39)
IPTFS_INIT_DELAY, IPTFS_MAX_QSIZE, IPTFS_PKT_SIZE = range(39, 42)

# --- layouts: the fields of structures, by name, as offset and format ---------------------------------------

Layout = dict[str, tuple[int, str]]

_STATE_ID: Layout = {"destination": (0, "16s"), "spi": (16, ">I"), "family": (20, "=H"), "protocol": (22, "=B")}
_POLICY_ID: Layout = {"selector": (0, "56s"), "index": (56, "=I"), "direction": (60, "=B")}
_STATE: Layout = {
    "selector": (0, "56s"),
    "destination": (56, "16s"),
    "spi": (72, ">I"),
    "protocol": (76, "=B"),
    "source": (80, "16s"),
    "lifetime": (96, "64s"),
    "current": (160, "32s"),
    "replay_window_errors": (192, "=I"),
    "replay_errors": (196, "=I"),
    "integrity_errors": (200, "=I"),
    "sequence": (204, "=I"),
    "reqid": (208, "=I"),
    "family": (212, "=H"),
    "mode": (214, "=B"),
    "replay_window": (215, "=B"),
    "flags": (216, "=B"),
}
_ASYNC: Layout = {**_STATE_ID, "source": (24, "16s"), "flags": (40, "=I"), "reqid": (44, "=I")}
_FLAGS: Layout = {"flags": (0, "=I")}
_DEFAULTS: Layout = {"input": (0, "=B"), "forward": (1, "=B"), "output": (2, "=B")}

FIXED: dict[int, tuple[int, Layout]] = {
    NEWSA: (224, _STATE),
    UPDSA: (224, _STATE),
    DELSA: (24, _STATE_ID),
    GETSA: (24, _STATE_ID),
    NEWPOLICY: (168, {"policy": (0, "168s")}),
    UPDPOLICY: (168, {"policy": (0, "168s")}),
    DELPOLICY: (64, _POLICY_ID),
    GETPOLICY: (64, _POLICY_ID),
    ALLOCSPI: (232, {"state": (0, "224s"), "spi_min": (224, "=I"), "spi_max": (228, "=I")}),
    ACQUIRE: (
        280,
        {
            "destination": (0, "16s"),
            "spi": (16, ">I"),
            "protocol": (20, "=B"),
            "source": (24, "16s"),
            "selector": (40, "56s"),
            "policy": (96, "168s"),
            "aalgos": (264, "=I"),
            "ealgos": (268, "=I"),
            "calgos": (272, "=I"),
            "sequence": (276, "=I"),
        },
    ),
    EXPIRE: (232, {"state": (0, "224s"), "hard": (224, "=B")}),
    POLEXPIRE: (176, {"policy": (0, "168s"), "hard": (168, "=B")}),
    FLUSHSA: (1, {"protocol": (0, "=B")}),
    FLUSHPOLICY: (0, {}),
    NEWAE: (48, _ASYNC),
    GETAE: (48, _ASYNC),
    REPORT: (60, {"protocol": (0, "=B"), "selector": (4, "56s")}),
    MIGRATE: (64, _POLICY_ID),
    NEWSADINFO: (4, _FLAGS),
    GETSADINFO: (4, _FLAGS),
    NEWSPDINFO: (4, _FLAGS),
    GETSPDINFO: (4, _FLAGS),
    MAPPING: (
        64,
        {
            **_STATE_ID,
            "reqid": (24, "=I"),
            "old_source": (28, "16s"),
            "new_source": (44, "16s"),
            "old_port": (60, ">H"),
            "new_port": (62, ">H"),
        },
    ),
    SETDEFAULT: (3, _DEFAULTS),
    GETDEFAULT: (3, _DEFAULTS),
    MIGRATE_STATE: (
        132,
        {
            **_STATE_ID,
            "new_destination": (24, "16s"),
            "new_source": (40, "16s"),
            "mark_value": (56, "=I"),
            "mark_mask": (60, "=I"),
            "selector": (64, "56s"),
            "reqid": (120, "=I"),
            "flags": (124, "=I"),
            "new_family": (128, "=H"),
        },
    ),
}
"""Size and fields of the structure behind the header, by message."""

NUMBERS: dict[int, tuple[str, ...]] = {
    AUTH: ("64x", "=I"),
    CRYPT: ("64x", "=I"),
    COMP: ("64x", "=I"),
    AEAD: ("64x", "=I", "=I"),
    AUTH_TRUNC: ("64x", "=I", "=I"),
    ENCAP: ("=H", ">H", ">H"),
    SEC_CTX: ("4x", "=B", "=B"),
    REPLAY_VAL: ("=I", "=I", "=I"),
    **dict.fromkeys(
        (REPLAY_THRESH, ETIMER_THRESH, TFCPAD, SA_EXTRA_FLAGS, SET_MARK, SET_MARK_MASK, IF_ID), ("=I",)
    ),
    **dict.fromkeys((MTIMER_THRESH, NAT_KEEPALIVE_INTERVAL, SA_PCPU, IPTFS_DROP_TIME), ("=I",)),
    **dict.fromkeys((IPTFS_INIT_DELAY, IPTFS_MAX_QSIZE, IPTFS_PKT_SIZE), ("=I",)),
    LASTUSED: ("=Q",),
    IPTFS_REORDER_WINDOW: ("=H",),
    PROTO: ("=B",),
    SA_DIR: ("=B",),
    POLICY_TYPE: ("=B",),
    KMADDRESS: ("32x", "=I", "=H"),
    MARK: ("=I", "=I"),
    REPLAY_ESN_VAL: ("=I",) * 6,
    ADDRESS_FILTER: ("32x", "=H", "=B", "=B"),
    OFFLOAD_DEV: ("=i", "=B"),
}
"""The numbers in the payload of an attribute, in their order. Not of those of the information messages, whose
types mean something else."""


def fields(message: bytes) -> dict[str, int | bytes]:
    """The fields of the structure behind the header of a message."""
    layout = FIXED[_HEADER.unpack_from(message)[1]][1]
    return {name: struct.unpack_from(form, message, 16 + offset)[0] for name, (offset, form) in layout.items()}


def numbers(kind: int, payload: bytes) -> tuple[int, ...]:
    """The numbers in the payload of an attribute."""
    result: list[int] = []
    position = 0
    for form in NUMBERS.get(kind, ()):
        result += struct.unpack_from(form, payload, position)
        position += struct.calcsize(form)
    return tuple(result)


def made(kind: int, flags: int = 5, /, *attributes: tuple[int, bytes], **values: int | bytes) -> bytes:
    """A message with these attributes and fields, the other fields 0."""
    size, layout = FIXED[kind]
    fixed = bytearray(size)
    for name, value in values.items():
        offset, form = layout[name]
        struct.pack_into(form, fixed, offset, value)
    if kind in (GETSA, GETPOLICY) and flags & 0x300 == 0x300:
        fixed.clear()
    return Parts(kind, flags, bytes(fixed), attributes).joined()


# --- messages -----------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """A netlink message taken apart."""

    type: int
    flags: int
    fixed: bytes
    """The structure behind the header."""
    attributes: tuple[tuple[int, bytes], ...]
    """Type and payload of each attribute, in their order."""

    def joined(self) -> bytes:
        """The message again, with sequence number and port 0."""
        body = padded(self.fixed)
        for kind, payload in self.attributes:
            body += attribute(kind, payload)
        return _HEADER.pack(_HEADER.size + len(body), self.type, self.flags, 0, 0) + body


@dataclass(frozen=True)
class Difference:
    """What this package does in another way than `ip`."""

    reason: str
    change: Callable[[Parts], Parts]
    """Makes the message of this package out of that of `ip`."""


def records(name: str) -> list[dict[str, Any]]:
    """The records of one file."""
    with gzip.open(_FOLDER / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def recorded(record: dict[str, Any]) -> list[bytes]:
    """The datagrams that `ip` sent, with zeros for the bytes that don't matter."""
    datagrams = [bytearray.fromhex(sent) for sent in record["sent"]]
    for index, offset, size in record["dont_care"]:
        datagrams[index][offset : offset + size] = bytes(size)
    return [bytes(datagram) for datagram in datagrams]


def messages(datagram: bytes) -> list[bytes]:
    """The messages of a datagram."""
    result = []
    position = 0
    while position < len(datagram):
        size = _HEADER.unpack_from(datagram, position)[0]
        assert size >= _HEADER.size
        result.append(datagram[position : position + size])
        position += (size + 3) & ~3
    return result


def padded(data: bytes) -> bytes:
    """Bytes up to the next multiple of 4."""
    return data + bytes(-len(data) % 4)


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute with its padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + padded(payload)


def take_apart(message: bytes) -> Parts:
    """The parts of a message that is known to be well-formed."""
    size, kind, flags, _, _ = _HEADER.unpack_from(message)
    assert size == len(message)
    # A request to dump all states or policies has no structure.
    fixed = 0 if kind in (GETSA, GETPOLICY) and flags & 0x300 == 0x300 else FIXED[kind][0]
    end = _HEADER.size + fixed
    assert end <= size
    attributes = []
    position = (end + 3) & ~3
    while position < size:
        length, number = _ATTRIBUTE.unpack_from(message, position)
        assert length >= _ATTRIBUTE.size
        assert position + length <= size
        attributes.append((number, message[position + _ATTRIBUTE.size : position + length]))
        position += (length + 3) & ~3
    return Parts(kind, flags, message[_HEADER.size : end], tuple(attributes))

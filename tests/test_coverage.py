# SPDX-License-Identifier: MIT
"""docs/coverage.md: every message and attribute of XFRM, what each codec does with it, and what kernels did. The
table is made here, from the constants; a run that finds another one than is committed writes it and fails."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import live
import pytest
import vectors as v
from vectors import made, take_apart
from vectors.differences import DECODED, again, expected, unordered

from xfrm_ext.constants import AttributeType, Message, uapi

TABLE = Path(__file__).parents[1] / "docs" / "coverage.md"
CODECS = ("native", "pure")

ADDRESS = bytes([192, 0, 2, 1]) + bytes(12)
_SELECTOR = bytes(40) + struct.pack("=H", 2) + bytes(14)
_LIFETIME = b"\xff" * 32 + bytes(32)
_STATE = take_apart(
    made(
        v.NEWSA, selector=_SELECTOR, destination=ADDRESS, source=ADDRESS, protocol=50, family=2, lifetime=_LIFETIME
    )
).fixed
_POLICY = _SELECTOR + _LIFETIME + bytes(48)
_ID = {"destination": ADDRESS, "spi": 5, "family": 2, "protocol": 50}

_NEW_STATE = {"selector": _SELECTOR, "source": ADDRESS, "lifetime": _LIFETIME, **_ID}
_POLICY_ID = {"selector": _SELECTOR, "direction": 1}
_ASYNC = {**_ID, "source": ADDRESS, "flags": 2, "reqid": 4}
_FLAGS: dict[str, Any] = {"flags": 0xFFFFFFFF}
_DEFAULTS = {"input": 1, "forward": 2, "output": 1}

FIELDS: dict[int, dict[str, Any]] = {
    v.NEWSA: _NEW_STATE,
    v.UPDSA: _NEW_STATE,
    v.GETSA: _ID,
    v.DELSA: _ID,
    v.NEWPOLICY: {"policy": _POLICY},
    v.UPDPOLICY: {"policy": _POLICY},
    v.GETPOLICY: _POLICY_ID,
    v.DELPOLICY: _POLICY_ID,
    v.ALLOCSPI: {"state": _STATE, "spi_min": 1, "spi_max": 2},
    v.ACQUIRE: {
        **{name: value for name, value in _ID.items() if name != "family"},
        "source": ADDRESS,
        "selector": _SELECTOR,
        "policy": _POLICY,
        "sequence": 3,
    },
    v.EXPIRE: {"state": _STATE, "hard": 1},
    v.POLEXPIRE: {"policy": _POLICY, "hard": 1},
    v.FLUSHSA: {"protocol": 50},
    v.FLUSHPOLICY: {},
    v.NEWAE: _ASYNC,
    v.GETAE: _ASYNC,
    v.REPORT: {"protocol": 60, "selector": _SELECTOR},
    v.MIGRATE: _POLICY_ID,
    v.NEWSADINFO: _FLAGS,
    v.GETSADINFO: _FLAGS,
    v.NEWSPDINFO: _FLAGS,
    v.GETSPDINFO: _FLAGS,
    v.MAPPING: {**_ID, "reqid": 4, "old_source": ADDRESS, "new_source": ADDRESS, "old_port": 4500, "new_port": 9},
    v.SETDEFAULT: _DEFAULTS,
    v.GETDEFAULT: _DEFAULTS,
    v.MIGRATE_STATE: {
        **_ID,
        "new_destination": ADDRESS,
        "new_source": ADDRESS,
        "mark_value": 1,
        "mark_mask": 3,
        "selector": _SELECTOR,
        "reqid": 4,
        "flags": 1,
        "new_family": 2,
    },
}
"""Values of the fields of each message."""


def _algorithm(name: bytes, *numbers: int) -> tuple[int, bytes]:
    return v.NEWSA, name.ljust(64, b"\0") + struct.pack(f"={len(numbers)}I", *numbers) + bytes(numbers[0] // 8)


_TEMPLATE = (
    ADDRESS
    + struct.pack(">IB3x", 5, 50)
    + struct.pack("=HH", 2, 0)
    + ADDRESS
    + struct.pack("=IBBBB", 1, 1, 0, 0, 0)
)
_TEMPLATE += b"\xff" * 12

PAYLOADS: dict[str, tuple[int, bytes]] = {
    "ALG_AUTH": _algorithm(b"hmac(sha1)", 160),
    "ALG_CRYPT": _algorithm(b"cbc(aes)", 128),
    "ALG_COMP": _algorithm(b"deflate", 0),
    "ENCAP": (v.NEWSA, struct.pack("=H", 2) + struct.pack(">HH2x", 4500, 4501) + ADDRESS),
    "TMPL": (v.NEWPOLICY, _TEMPLATE),
    "SA": (v.DELSA, _STATE),
    "POLICY": (v.DELPOLICY, _POLICY),
    "SEC_CTX": (v.NEWSA, struct.pack("=HHBBH", 10, 8, 1, 1, 2) + b"a\0"),
    "LTIME_VAL": (v.NEWSA, struct.pack("=4Q", 1, 2, 3, 4)),
    "REPLAY_VAL": (v.NEWSA, struct.pack("=III", 1, 2, 3)),
    "SRCADDR": (v.GETSA, ADDRESS),
    "COADDR": (v.NEWSA, ADDRESS),
    "LASTUSED": (v.NEWSA, struct.pack("=Q", 9)),
    "POLICY_TYPE": (v.NEWPOLICY, b"\1" + bytes(5)),
    "MIGRATE": (v.MIGRATE, ADDRESS * 4 + struct.pack("=BBHIHH", 50, 1, 0, 7, 2, 2)),
    "ALG_AEAD": _algorithm(b"rfc4106(gcm(aes))", 160, 128),
    "KMADDRESS": (v.MIGRATE, ADDRESS * 2 + struct.pack("=IHxx", 0, 2)),
    "ALG_AUTH_TRUNC": _algorithm(b"hmac(sha256)", 256, 128),
    "MARK": (v.NEWSA, struct.pack("=II", 1, 3)),
    "REPLAY_ESN_VAL": (v.NEWSA, struct.pack("=6I", 2, 1, 2, 3, 4, 64) + bytes(8)),
    "PROTO": (v.GETSA, b"\x32"),
    "ADDRESS_FILTER": (v.GETSA, ADDRESS * 2 + struct.pack("=HBB", 2, 32, 24)),
    "OFFLOAD_DEV": (v.NEWSA, struct.pack("=iBxxx", 1, 2)),
    "SET_MARK": (v.NEWSA, struct.pack("=I", 6)),
    "SET_MARK_MASK": (v.NEWSA, struct.pack("=I", 0xFF)),
    "SA_DIR": (v.NEWSA, b"\1"),
    "IPTFS_REORDER_WINDOW": (v.NEWSA, struct.pack("=H", 3)),
    "IPTFS_DONT_FRAG": (v.NEWSA, b""),
    "SAD_CNT": (v.NEWSADINFO, struct.pack("=I", 3)),
    "SAD_HINFO": (v.NEWSADINFO, struct.pack("=II", 3, 4)),
    "SPD_INFO": (v.NEWSPDINFO, struct.pack("=6I", *range(6))),
    "SPD_HINFO": (v.NEWSPDINFO, struct.pack("=II", 3, 4)),
    "SPD_IPV4_HTHRESH": (v.NEWSPDINFO, b"\x10\x18"),
    "SPD_IPV6_HTHRESH": (v.NEWSPDINFO, b"\x30\x40"),
}
"""A message that may carry an attribute, and a payload. Attributes that are not in here are numbers of 32 bits."""

TOGETHER = {
    "KMADDRESS": ["MIGRATE"],
    "SET_MARK_MASK": ["SET_MARK"],
    **{name: list(live.SAD_NAMES.values()) for name in live.SAD_NAMES.values()},
    **{name: list(live.SPD_NAMES.values()) for name in live.SPD_NAMES.values()},
}
"""Attributes that go with others."""

NOT_MEANT = {"XFRMA_PAD": "padding between attributes, which carries nothing"}
"""Rows that need no codec."""

NOT_SENT = dict.fromkeys(
    ("XFRMA_SA", "XFRMA_POLICY"), "only in the kernel's events of deletions, which are decoded as what was there"
)
"""Rows that are decoded only."""


def sample(row: str) -> tuple[bytes, int | None]:
    """A message for a row, and for an attribute its type."""
    if row.startswith("XFRM_MSG_"):
        kind = int(Message[row.removeprefix("XFRM_MSG_")])
        if kind == v.NEWSADINFO:
            return sample("XFRMA_SAD_CNT")[0], None
        # A request for the defaults carries none.
        return made(kind, 0 if kind == v.GETDEFAULT else 5, **FIELDS[kind]), None
    name = row.removeprefix("XFRMA_")
    attributes = {}
    for one in (*TOGETHER.get(name, ()), name):
        number = getattr(uapi, f"XFRMA_{one}")
        kind, attributes[number] = PAYLOADS.get(one) or (v.NEWSA, struct.pack("=I", number + 100))
    flags = {v.GETSA: 0x301 if name != "SRCADDR" else 1, v.NEWSADINFO: 0, v.NEWSPDINFO: 0}.get(kind, 5)
    values = dict(FIELDS[kind])
    if name == "REPLAY_ESN_VAL":
        values["flags"] = 128  # XFRM_STATE_ESN
    return made(kind, flags, *attributes.items(), **values), number


def left_over(value: Any) -> set[int]:
    """The types of attributes that a value keeps as bytes."""
    body = getattr(value, "body", value)
    return {int(one.type) for one in getattr(body, "attributes", None) or ()}


def cells(codec: ModuleType, row: str) -> tuple[str, str]:
    """What a codec does with a row, encoding and decoding."""
    if row in NOT_MEANT:
        return "-", "-"
    message, attribute = sample(row)
    decoded = "yes" if attribute not in left_over(codec.decode(message)) else ""
    if row in NOT_SENT:
        return "-", decoded
    result = again(codec, message)
    lost = attribute is not None and attribute not in dict(take_apart(result).attributes)
    same = unordered(result) == unordered(expected(message, DECODED))
    return decoded if same and not lost else "", decoded


def live_cell(note: live.Note) -> str:
    ways = [word for word, went in (("to", note.to), ("from", note.back)) if went]
    if ways:
        return " and ".join(ways)
    return f"no: {note.refused}" if note.refused else ""


def line(*cells: str) -> str:
    """A line of the table."""
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The whole document."""
    kernels = live.recorded()
    lines = [
        "# What of XFRM is covered",
        "",
        "Made by `tests/test_coverage.py`: every message and attribute of the newest kernel. A",
        "codec encodes and decodes one when it is a field of a value, and nothing is lost there and back.",
        "A kernel got it (*to*) and did what it says, or sent it (*from*); or why it did not",
        "(`tests/live_scenarios.py`).",
        "",
        line(
            "",
            *(f"{codec} {way}" for codec in CODECS for way in ("encode", "decode")),
            *map("Linux {}".format, kernels),
        ),
        line(*["---"] * (1 + 2 * len(CODECS) + len(kernels))),
    ]
    modules = [importlib.import_module(f"xfrm_ext.codec.{name}") for name in CODECS]
    for row in live.rows():
        found = [cell for codec in modules for cell in cells(codec, row)]
        noted = ["-" if row in NOT_MEANT else live_cell(kernel[row]) for kernel in kernels.values()]
        lines.append(line(f"`{row}`", *found, *noted))
    lines += ["", *(f"`{row}`: {why}." for row, why in (NOT_MEANT | NOT_SENT).items()), ""]
    return "\n".join(lines)


def test_table() -> None:
    found = table()
    committed = TABLE.read_text(encoding="utf-8") if TABLE.exists() else ""
    if found != committed:
        TABLE.write_text(found, encoding="utf-8")
    assert found == committed, "docs/coverage.md was not what is found: it is now"


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_have_no_gap(codec: str) -> None:
    module = importlib.import_module(f"xfrm_ext.codec.{codec}")
    gaps = [row for row in live.rows() if "" in cells(module, row)]
    assert gaps == []


def test_kernels_refuse_with_a_reason() -> None:
    kernels = live.recorded()
    assert kernels, "tests/coverage_live.json was made from another list: see tests/live_scenarios.py"
    for row in live.rows():
        if row in NOT_MEANT:
            continue
        notes = [kernel[row] for kernel in kernels.values()]
        assert all(note.to or note.back or note.refused for note in notes), row


def test_rows_are_the_constants() -> None:
    names = {name for name in vars(uapi) if name.startswith(("XFRM_MSG_", "XFRMA_"))}
    assert set(live.rows()) == names
    assert {int(kind) for kind in AttributeType} == set(range(1, 42))

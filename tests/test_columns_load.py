# SPDX-License-Identifier: MIT
"""load_columns: what it refuses, and what the real kernel makes of what it sends."""

from __future__ import annotations

import dataclasses
import errno
import struct
import sys
from array import array
from collections.abc import Callable
from typing import Any

import nanoarrow
import numpy
import pytest
from by_columns import policy_of, views

from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    AlreadyExists,
    Encapsulation,
    KernelError,
    LoadError,
    Mark,
    Policy,
    Selector,
    Session,
    State,
    Template,
    ValidationError,
)
from xfrm_ext.columns_write import policies, states
from xfrm_ext.testing import FakeTransport, Refusal
from xfrm_ext.transport import BatchOutcome

replace: Any = dataclasses.replace  # of fields that are wider than what their constructor takes
ENDS = ("192.0.2.1", "198.51.100.2")
PLAIN = Policy(direction="out")
FIXED = Policy(Selector("10.1.0.0/16"), direction="out", templates=Template(*ENDS, mode="tunnel", reqid=7))
ESP = State(*ENDS, spi=1, mode="tunnel", encryption=Algorithm("cbc(aes)", b"k" * 16))
ESN = State(*ENDS, spi=1, flags="esn", replay_window=64, aead=AeadAlgorithm("rfc4106(gcm(aes))", b"k" * 20))


def generator() -> Any:
    yield 1


def broken_views(buffer: int, start: int) -> Any:
    """A text of 20 bytes, which its buffer has not got."""
    view = struct.pack("=i4sii", 20, b"2001", buffer, start)
    buffers = [None, view, b"2001:db8:1:2:3:4:5:6", struct.pack("=q", 20)]
    return nanoarrow.c_array_from_buffers(nanoarrow.string_view(), 1, buffers, null_count=0)


class NotExported:
    """Has neither a buffer nor anything else."""

    def __repr__(self) -> str:
        return "NotExported()"


BAD: list[tuple[Any, dict[str, Any], str]] = [
    # names, rows
    (PLAIN, {"destinaton": [1]}, "destinaton: is no column of policies: did you mean destination?"),
    (PLAIN, {"aead_key": [b""]}, "aead_key: is no column of policies (docs/columns_write.md has their names)"),
    (ESP, {"priority": [1]}, "priority: is no column of states (docs/columns_write.md has their names)"),
    (
        FIXED,
        {"reqid": [1], "template_reqid": [1]},
        "template_reqid: is given twice, as reqid and as template_reqid",
    ),
    (PLAIN, {}, "columns: are all single values: one must say how many rows there are"),
    (PLAIN, {"priority": 1}, "columns: are all single values: one must say how many rows there are"),
    (PLAIN, {"priority": [1], "user": [1, 2]}, "user: 2 rows are not as many as the 1 of priority"),
    (PLAIN, {"priority": [1], "destination": "a\nb"}, "destination: 2 rows are not as many as the 1 of priority"),
    (PLAIN, {"template_reqid": [1]}, "template_reqid: is of the first template, and the policy given has none"),
    (Selector(), {"priority": [1]}, "template: Selector() is not a Policy"),
    # numbers
    (PLAIN, {"priority": [1, 2, -1]}, "priority[2]: -1 is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": [1, 1 << 32]}, "priority[1]: 4294967296 is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": [1, 1 << 70]}, f"priority[1]: {1 << 70} is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": [1, True]}, "priority[1]: True is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": [1, 2.0]}, "priority[1]: 2.0 is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": [1, None]}, "priority[1]: None is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": ["1"]}, "priority[0]: '1' is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": None, "user": [1]}, "priority: None is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": -1, "user": [1]}, "priority: -1 is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": "high", "user": [1]}, "priority: 'high' is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": numpy.array([0, -5], "i2")}, "priority[1]: -5 is not an integer from 0 to 4294967295"),
    (PLAIN, {"priority": numpy.array([0, -5], ">i8")}, "priority[1]: -5 is not an integer from 0 to 4294967295"),
    (
        PLAIN,
        {"priority": numpy.arange(1 << 32, (1 << 32) + 2)},
        "priority[0]: 4294967296 is not an integer from 0 to 4294967295",
    ),
    (
        PLAIN,
        {"hard_byte_limit": numpy.array([1, -1])},
        "hard_byte_limit[1]: -1 is not an integer from 0 to 18446744073709551615",
    ),
    (PLAIN, {"source_port": array("I", [1, 65536])}, "source_port[1]: 65536 is not an integer from 0 to 65535"),
    (PLAIN, {"protocol": numpy.array([256], ">u2")}, "protocol[0]: 256 is not an integer from 0 to 255"),
    (
        PLAIN,
        {"interface": array("I", [1 << 31])},
        "interface[0]: 2147483648 is not an integer from 0 to 2147483647",
    ),
    (PLAIN, {"interface": ["eth7"]}, "interface[0]: 'eth7' is not an interface"),
    (PLAIN, {"direction": b"\1\3"}, "direction[1]: 3 is not one of 0 (in), 1 (out), 2 (fwd)"),
    (PLAIN, {"direction": ["in", "up"]}, "direction[1]: 'up' is not one of in, out, fwd"),
    (PLAIN, {"action": [300]}, "action[0]: 300 is not one of 0 (allow), 1 (block)"),
    (
        FIXED,
        {"template_protocol": [50, 0]},
        "template_protocol[1]: 0 is not one of 50 (esp), 51 (ah), 108 (comp), 43 (route2), 60 (hao), 255 (ipsec_any)",
    ),
    (PLAIN, {"flags": [256]}, "flags[0]: 256 is not an integer from 0 to 255"),
    (PLAIN, {"family": [2, 3]}, "family[1]: 3 is not 2 (inet) or 10 (inet6)"),
    (PLAIN, {"family": 0, "priority": [1]}, "family: 0 is not 2 (inet) or 10 (inet6)"),
    (PLAIN, {"index": [8, 9]}, "index[0]: 8 does not match direction 1: index & 7 must be 1"),
    (PLAIN, {"index": [9, 9], "direction": [1, 0]}, "index[1]: 9 does not match direction 0: index & 7 must be 0"),
    (
        replace(PLAIN, index=9),
        {"direction": [1, 2]},
        "direction[1]: 2 does not match the template's index: index & 7 must be the direction",
    ),
    # kinds of columns
    (PLAIN, {"priority": numpy.zeros(2)}, "priority: float64 is not of integers, bytes or text"),
    (PLAIN, {"priority": numpy.zeros(2, bool)}, "priority: bool is not of integers, bytes or text"),
    (PLAIN, {"priority": numpy.array([None])}, "priority: object is not of integers, bytes or text"),
    (PLAIN, {"priority": numpy.zeros(2, "M8[s]")}, "priority: datetime64[s] is not of integers, bytes or text"),
    (
        PLAIN,
        {"priority": numpy.zeros((2, 2), "u4")},
        "priority: uint32 of 2 dimensions is not of integers, bytes or text",
    ),
    (PLAIN, {"priority": numpy.zeros((2, 4), "u1")}, "priority: uint8 is not of integers"),
    (PLAIN, {"priority": numpy.array(["1"])}, "priority: <U1 is not of integers"),
    (
        PLAIN,
        {"priority": numpy.zeros(2, "u4,u4")},
        "priority: [('f0', '<u4'), ('f1', '<u4')] is not of integers, bytes or text",
    ),
    (PLAIN, {"priority": array("d", [1])}, "priority: array is not of integers, bytes or text"),
    (
        PLAIN,
        {"priority": generator()},
        "priority: is a generator: a column is a buffer, a list, a tuple, a range or an Arrow array",
    ),
    (
        PLAIN,
        {"priority": {1, 2}},
        "priority: is a set: a column is a buffer, a list, a tuple, a range or an Arrow array",
    ),
    (
        PLAIN,
        {"priority": NotExported(), "user": [1]},
        "priority: NotExported() is not an integer from 0 to 4294967295",
    ),
    (PLAIN, {"destination": numpy.zeros(2)}, "destination: float64 is not of integers, bytes or text"),
    (
        PLAIN,
        {"destination": numpy.zeros(2, "u2")},
        "destination: uint16 is not of addresses: bytes of shape (rows, 4) or (rows, 16), integers of 32 bits, or text",
    ),
    (
        PLAIN,
        {"destination": numpy.zeros((2, 8), "u1")},
        "destination: uint8 is not of addresses: bytes of shape (rows, 4) or (rows, 16), integers of 32 bits, or text",
    ),
    (
        PLAIN,
        {"destination": numpy.zeros(2, "V8")},
        "destination: |V8 is not of addresses: bytes of shape (rows, 4) or (rows, 16), integers of 32 bits, or text",
    ),
    (
        PLAIN,
        {"destination": generator()},
        "destination: is a generator: a column is a buffer, a list, a tuple, a range or an Arrow array",
    ),
    (
        PLAIN,
        {"destination": bytes(8)},
        "destination: 8 bytes are addresses of 4 or of 16 each: give a shape of (rows, 4) or (rows, 16), or text as str",
    ),
    (
        PLAIN,
        {"destination": bytes(9), "user": [1, 2]},
        "destination: 9 bytes are not 4 or 16 for each of 2 rows (text is given as str)",
    ),
    (
        PLAIN,
        {"destination": b"10.0.0.1\n10.0.0.2", "user": [1]},
        "destination: 17 bytes are not 4 or 16 for each of 1 rows (text is given as str)",
    ),
    (
        PLAIN,
        {"destination": None, "user": [1]},
        "destination: None is not an IP address, nor the number of an IPv4 one",
    ),
    (
        PLAIN,
        {"priority": nanoarrow.Array([1.0], nanoarrow.float32())},
        "priority: Array is of Arrow's format 'f', which is no column",
    ),
    (PLAIN, {"priority": nanoarrow.Array(["1"], nanoarrow.string())}, "priority: Array is not of integers"),
    (PLAIN, {"priority": nanoarrow.Array([1, 2, None], nanoarrow.uint32())}, "priority[2]: is null"),
    (PLAIN, {"destination": nanoarrow.Array(["::", None], nanoarrow.string())}, "destination[1]: is null"),
    # addresses
    (
        PLAIN,
        {"destination": ["10.0.0.0/8", "10.0.0.300/24"]},
        "destination[1]: '10.0.0.300/24' is not an IP prefix",
    ),
    (
        PLAIN,
        {"destination": "10.0.0.0/8\n10.0.0.1/8\n"},
        "destination[1]: '10.0.0.1/8' has host bits set: the kernel would keep and compare them",
    ),
    (PLAIN, {"destination": "10.0.0.0/8\n\n10.0.0.1"}, "destination[1]: '' is not an IP prefix"),
    (
        PLAIN,
        {"destination": ["::/129"]},
        "destination[0]: '::/129' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    (
        PLAIN,
        {"destination": ["10.0.0.1\n10.0.0.2"]},
        "destination[0]: '10.0.0.1\\n10.0.0.2' is not an IP address or prefix",
    ),
    (
        PLAIN,
        {"destination": ["10.0.0.1", "10.0.0.\u0661"]},
        "destination[1]: '10.0.0.\u0661' is not an IP address or prefix",
    ),
    (
        PLAIN,
        {"destination": "10.0.0.1\n10.0.0.\u0661"},
        "destination[1]: '10.0.0.\u0661' is not an IP address or prefix",
    ),
    (
        PLAIN,
        {"destination": "10.0.0.\u0661", "user": [1]},
        "destination: '10.0.0.\u0661' is not an IP address or prefix",
    ),
    (PLAIN, {"destination": ["10.0.0.1", 5]}, "destination[1]: 5 is not an IP address or prefix"),
    (PLAIN, {"destination": [1.5]}, "destination[0]: 1.5 is not an IP address, nor the number of an IPv4 one"),
    (
        PLAIN,
        {"destination": numpy.array(["::", "10.0.0.0/33"])},
        "destination[1]: '10.0.0.0/33' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    (PLAIN, {"destination": numpy.array(["::", "\u0661"])}, "destination[1]: '\u0661' is not an IP prefix"),
    (PLAIN, {"destination": numpy.array([b"::", b"x"])}, "destination[1]: 'x' is not an IP prefix"),
    (PLAIN, {"destination": numpy.array(["1" * 300])}, f"destination[0]: '{'1' * 76}... is not an IP prefix"),
    (
        PLAIN,
        {"destination": nanoarrow.c_array(["x", "::", "10.0.0.256"], nanoarrow.string())[1:]},
        "destination[1]: '10.0.0.256' is not an IP prefix",
    ),
    (
        PLAIN,
        {"destination": nanoarrow.Array.from_chunks([["::", "::1"], ["2001:db8::/300"]], nanoarrow.string())},
        "destination[2]: '2001:db8::/300' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    (
        PLAIN,
        {"destination": views(["::/0", "10.0.0.0.0/33"], 1)},
        "destination[0]: '10.0.0.0.0/33' is not an IP prefix",
    ),
    (
        PLAIN,
        {"destination": views(["::/0", "1::1/8"], 0)},
        "destination[1]: '1::1/8' has host bits set: the kernel would keep and compare them",
    ),
    (PLAIN, {"destination": broken_views(1, 0)}, "destination[0]: lies outside of the column's memory"),
    (PLAIN, {"destination": broken_views(0, 8)}, "destination[0]: lies outside of the column's memory"),
    (PLAIN, {"destination": "any", "user": [1]}, "destination: 'any' is not an IP prefix"),
    (
        PLAIN,
        {"destination": [1, 1 << 32]},
        "destination[1]: 4294967296 is not the number of an IPv4 address, 0 to 4294967295",
    ),
    (
        PLAIN,
        {"destination": array("q", [-1])},
        "destination[0]: -1 is not the number of an IPv4 address, 0 to 4294967295",
    ),
    (FIXED, {"template_source": ["10.0.0.0/8"]}, "template_source[0]: '10.0.0.0/8' is not an IP address"),
    (ESP, {"source": ["10.0.0.1/32"]}, "source[0]: '10.0.0.1/32' is not an IP address"),
    # what the fields of a row have to do with each other
    (
        PLAIN,
        {"source": ["10.0.0.1", "10.0.0.2"], "destination": ["10.0.0.1", "::1"]},
        "destination[1]: '::1' is of another family than the source",
    ),
    (PLAIN, {"source": [1], "destination": ["::1"]}, "destination[0]: '::1' is of another family than the source"),
    (
        FIXED,
        {"destination": ["10.0.0.1", "::1"]},
        "destination[1]: '::1' is of another family than the template's source",
    ),
    (
        FIXED,
        {"destination": ["::1", "::2"]},
        "destination[0]: '::1' is of another family than the template's source",
    ),
    (
        replace(FIXED, selector=Selector(None, "10.1.0.0/16")),
        {"source": ["10.0.0.1", "::1"]},
        "source[1]: '::1' is of another family than the template's destination",
    ),
    (FIXED, {"family": [2, 10]}, "family[1]: 10 is of another family than the template's source"),
    (PLAIN, {"source": ["10.0.0.1"], "family": [10]}, "source[0]: '10.0.0.1' is not of the family that was given"),
    (
        ESP,
        {"destination": ["192.0.2.1", "::1"]},
        "destination[1]: '::1' is of another family than the template's source",
    ),
    (
        FIXED,
        {"template_source": ["::1"]},
        "template_source[0]: '::1' is of another family than the template's template_destination",
    ),
    (
        PLAIN,
        {"source": numpy.full((1, 16), 1, "u1"), "family": [2]},
        "source[0]: '101:101:101:101:101:101:101:101' is more than the four bytes of an IPv4 address",
    ),
    (
        PLAIN,
        {"destination": [0x0A000001], "destination_prefix_length": [33]},
        "destination_prefix_length[0]: 33 is more bits than the address has",
    ),
    (
        PLAIN,
        {"destination": numpy.zeros((1, 16), "u1"), "destination_prefix_length": [129]},
        "destination_prefix_length[0]: 129 is more bits than the address has",
    ),
    (
        PLAIN,
        {"destination": [0x0A000000, 0x0A000001], "destination_prefix_length": [8, 24]},
        "destination[1]: '10.0.0.1/24' has host bits set: the kernel would keep and compare them",
    ),
    (
        FIXED,
        {"source_prefix_length": [16, 8]},
        "source_prefix_length[1]: 8 leaves host bits set in the template's source",
    ),
    (
        PLAIN,
        {"source": ["10.0.0.1"], "source_prefix_length": [32]},
        "source_prefix_length: is given beside prefixes as text, which have their lengths with them",
    ),
    # states
    (ESP, {"replay_window": [32, 33]}, "replay_window[1]: 33 is not an integer from 0 to 32"),
    (ESN, {"replay_window": [64, 32]}, "replay_window[1]: 32 is not an integer from 33 to 64"),
    (ESP, {"flags": [1, 0x80]}, "flags[1]: 128 has another esn than the template, which decides on its attributes"),
    (ESN, {"flags": [0]}, "flags[0]: 0 has another esn than the template, which decides on its attributes"),
    (
        ESP,
        {"mode": ["tunnel", "bridge"]},
        "mode[1]: 'bridge' is not one of transport, tunnel, ro, in_trigger, beet, iptfs",
    ),
    (
        replace(ESP, source=None, destination=None, encapsulation=Encapsulation(original_address="10.0.0.1")),
        {"source": ["::1"]},
        "template.encapsulation: has an original address, 10.0.0.1, of another family than the state",
    ),
    (
        replace(ESP, source=None, destination=None, care_of_address="10.0.0.1"),
        {"source": ["10.0.0.1", "::1"]},
        "template.care_of_address: '10.0.0.1' is of another family than addresses of the columns",
    ),
    # keys, of which nothing is shown
    (ESP, {"aead_key": [b"k" * 20]}, "aead_key: is that of an algorithm which the template has no key for"),
    (
        ESP,
        {"encryption_key": [b"k" * 16, b"k" * 15]},
        "encryption_key[1]: has 15 bytes, and the template's key has 16",
    ),
    (ESP, {"encryption_key": [5]}, "encryption_key[0]: is an int, not bytes or hexadecimal text"),
    (
        ESP,
        {"encryption_key": ["secret"]},
        "encryption_key[0]: is not hexadecimal text of whole bytes, and the bytes of a key may not be given as text",
    ),
    (
        ESP,
        {"encryption_key": "6b" * 16},
        "encryption_key: str is not of keys: bytes of shape (rows, the key's length)",
    ),
    (ESP, {"encryption_key": b"k" * 17}, "encryption_key: 17 bytes are not a number of keys of 16"),
    (ESP, {"encryption_key": b"k" * 16, "spi": [1, 2]}, "spi: 2 rows are not as many as the 1 of encryption_key"),
    (
        ESP,
        {"encryption_key": numpy.zeros((2, 20), "u1")},
        "encryption_key: has keys of 20 bytes, and the template's has 16",
    ),
    (
        ESP,
        {"encryption_key": numpy.zeros((4, 16), "u1")[::2]},
        "encryption_key: is not contiguous, and keys are not copied",
    ),
    (
        ESP,
        {"encryption_key": numpy.zeros(4, "u4")},
        "encryption_key: uint32 is not of keys: bytes of shape (rows, the key's length)",
    ),
    (
        ESP,
        {"encryption_key": nanoarrow.Array.from_chunks([[b"k" * 16]] * 2, nanoarrow.fixed_size_binary(16))},
        "encryption_key: 2 chunks are not one, and keys are not copied",
    ),
]


@pytest.mark.parametrize(("template", "columns", "text"), BAD, ids=[text[:60] for _, _, text in BAD])
def test_bad_columns(template: Any, columns: dict[str, Any], text: str) -> None:
    transport = FakeTransport(lambda message: None)
    with Session(transport=transport) as session:
        verbs: Any = session.sad if isinstance(template, State) else session.spd
        with pytest.raises(ValidationError) as caught:
            verbs.load_columns(template, **columns)
    assert str(caught.value) == text
    assert transport.sent == []


@pytest.mark.parametrize("name", ["priority", "destination", "template_source"])
@pytest.mark.parametrize("width", [0, 4, 16])
def test_rows_without_anything_in_them(name: str, width: int) -> None:
    """They say a number of rows, and no memory is behind it."""
    transport = FakeTransport(lambda message: None)
    spd: Any = Session(transport=transport).spd
    with pytest.raises(ValidationError, match=f"{name}: uint8 of 5 rows has nothing in its rows"):
        spd.load_columns(FIXED, **{name: numpy.zeros((5, 0), "u1")})
    if name != "priority":
        assert spd.load_columns(FIXED, **{name: numpy.zeros((0, width), "u1")}).taken == 0
    assert not transport.sent


def test_bad_options() -> None:
    with Session(transport=FakeTransport(lambda message: None)) as session:
        for options, text in (
            ({"operation": "replace"}, "operation: 'replace' is not add, update or delete"),
            ({"on_error": "rollback", "operation": "update"}, "on_error: 'rollback' is for operation 'add'"),
            ({"batch": 0}, "batch: 0 is not an integer from 1 to 65536"),
        ):
            with pytest.raises(ValidationError, match=text):
                session.spd.load_columns(PLAIN, priority=[1], **options)


def test_without_nanoarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    column = nanoarrow.Array([1], nanoarrow.uint32())
    monkeypatch.setitem(sys.modules, "nanoarrow", None)
    with pytest.raises(ValidationError) as caught:
        policies(PLAIN, {"priority": column}, lambda name: 0)
    rule = "is from Arrow, which takes nanoarrow to read: pip install 'xfrm-ext[arrow]'"
    assert str(caught.value) == f"priority: Array {rule}"


# --- keys -------------------------------------------------------------------------------------------------


class Keeping(FakeTransport):
    """Keeps the blocks that it was given to send."""

    def __init__(self, handler: Callable[[bytes], Any]) -> None:
        super().__init__(handler)
        self.blocks: list[bytearray] = []

    def talk_batch(self, block: bytearray, count: int, **options: Any) -> None:
        self.blocks.append(block)
        outcome: BatchOutcome = options["outcome"]
        options["outcome"] = outcome
        super().talk_batch(block, count, **options)


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("operation", ["add", "delete"])
def test_blocks_with_keys_are_wiped(refused: bool, operation: Any) -> None:
    transport = Keeping(lambda message: Refusal(errno.EEXIST) if refused else None)
    keys = numpy.full((3000, 16), ord("k"), "u1")
    with Session(transport=transport) as session:
        session.sad.load_columns(
            ESP, operation=operation, on_error="collect", encryption_key=keys, spi=range(1, 3001)
        )
    assert any(b"k" * 16 in one for one in transport.sent) == (operation == "add")
    assert len(transport.blocks) > 1
    assert not any(any(bytes(block)) for block in transport.blocks)


def test_errors_show_no_key() -> None:
    """Nor do the frames of their traceback, in what is made there."""
    with pytest.raises(ValidationError) as caught:
        states(ESP, {"encryption_key": ["6b6b6b6b"]}, lambda name: 0)
    frame, shown = caught.value.__traceback__, str(caught.value)
    while frame is not None:
        if "columns_" in frame.tb_frame.f_code.co_filename:
            shown += repr(frame.tb_frame.f_locals.get("found"))
        frame = frame.tb_next
    assert "6b6b" not in shown
    assert "kkkk" not in shown


# --- the kernel -------------------------------------------------------------------------------------------

COUNT = 3000
HOSTS = 0x0A000000 + numpy.arange(COUNT, dtype="u4")


def found(session: Session) -> list[tuple[str, int, int]]:
    """Destination, priority and reqid of the policies that are there, oldest first."""
    return [
        (one.selector.destination, one.priority, one.templates[0].reqid)
        for one in reversed(list(session.spd.dump()))
    ]


def expected(count: int) -> list[tuple[str, int, int]]:
    return [(f"10.0.{n >> 8}.{n & 255}/32", n, n + 1) for n in range(count)]


def load(session: Session, **options: Any) -> Any:
    numbers = numpy.arange(COUNT, dtype="i8")
    return session.spd.load_columns(FIXED, destination=HOSTS, priority=numbers, reqid=numbers + 1, **options)


def test_what_was_loaded_is_there(session: Session) -> None:
    result = load(session)
    assert (result.summary(), result.taken, result.applied.ranges) == (f"{COUNT} applied", COUNT, (range(COUNT),))
    assert found(session) == expected(COUNT)


def test_all_rows_arrive_as_they_are(session: Session) -> None:
    """Mixed families and many columns: what the kernel has is what it would have of objects."""
    columns: dict[str, Any] = {
        "source": ["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"],
        "destination": ["10.1.2.3", "::/0", "192.0.2.0/24"],
        "protocol": [6, 17, 0],
        "destination_port": [80, 0, 0],
        "direction": [0, 1, 2],
        "action": [0, 1, 0],
        "priority": [5, 6, 7],
        "mark": [1, 2, 0x103],
        "mark_mask": [0xFF, 0xFFFFFFFF, 0xFF],
        "if_id": [1, 2, 3],
        "hard_add_expires_seconds": [1000, 2000, 3000],
        "soft_byte_limit": [100, 2**64 - 1, 300],
        "template_reqid": [7, 8, 9],
        "template_source": ["192.0.2.1", "2001:db8::1", "192.0.2.3"],
        "template_destination": ["192.0.2.4", "2001:db8::2", "192.0.2.5"],
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert session.spd.load_columns(FIXED, **columns).summary() == "3 applied"
    by_columns = list(session.spd.dump())
    session.spd.flush()
    session.spd.load([policy_of(FIXED, row) for row in rows])
    by_objects = list(session.spd.dump())

    def comparable(policies: list[Policy]) -> list[Policy]:
        return [replace(one, index=0, current=None) for one in policies]

    assert comparable(by_columns) == comparable(by_objects)
    assert [one.priority for one in by_columns] == [7, 6, 5]


@pytest.mark.parametrize("text", [False, True])
def test_what_dump_columns_returns_can_be_given_back(session: Session, text: bool) -> None:
    far = Template(*ENDS, mode="tunnel", reqid=7)
    far6 = Template("2001:db8::1", "2001:db8::2", mode="tunnel", reqid=8, level="use")
    near = Template(protocol="ah")
    session.spd.load(
        [
            Policy(Selector("10.0.0.0/8", "192.0.2.7"), direction="out", priority=5, templates=far),
            Policy(
                Selector("10.0.0.0/8", "192.0.2.7"), direction="in", mark=Mark(5, 0xFF), if_id=9, templates=far6
            ),
            Policy(
                Selector(None, "2001:db8::/32", protocol="tcp", destination_port=443),
                direction="fwd",
                templates=near,
            ),
            Policy(Selector("10.1.0.0/16"), direction="out", policy_type="sub", templates=near),
        ]
    )
    before = list(session.spd.dump())
    left_out = {"template_count"} | ({"source_prefix_length", "destination_prefix_length"} if text else set())
    columns = {name: each for name, each in session.spd.dump_columns(text=text).items() if name not in left_out}
    session.spd.flush()
    session.spd.flush("sub")
    session.spd.load_columns(Policy(direction="out", templates=near), **columns)

    def comparable(policies: list[Policy]) -> list[Policy]:
        return [replace(one, current=None) for one in policies]

    assert comparable(list(session.spd.dump())) == comparable(before)[::-1]  # the newest first


def test_update_and_delete(session: Session) -> None:
    load(session)
    numbers = numpy.arange(COUNT)
    session.spd.load_columns(FIXED, operation="update", destination=HOSTS, priority=numbers, reqid=numbers + 2)
    assert sorted(found(session)) == sorted((text, n, reqid + 1) for text, n, reqid in expected(COUNT))
    result = session.spd.load_columns(FIXED, operation="delete", destination=HOSTS[::2])
    assert result.summary() == f"{COUNT // 2} applied"
    assert [one[1] for one in sorted(found(session), key=lambda one: one[1])] == list(range(1, COUNT, 2))


def occupied(session: Session, *numbers: int) -> None:
    for number in numbers:
        session.spd.add(Policy(Selector("10.1.0.0/16", f"10.0.{number >> 8}.{number & 255}"), direction="out"))


def test_collect_goes_on(session: Session) -> None:
    occupied(session, 1, 1000, 2500)
    result = load(session, on_error="collect")
    assert [error.index for error in result.failed] == [1, 1000, 2500]
    assert all(isinstance(error, AlreadyExists) for error in result.failed)
    assert result.applied.ranges == (range(1), range(2, 1000), range(1001, 2500), range(2501, COUNT))
    assert session.spd.count().total == COUNT


def test_raise_stops_at_the_send(session: Session) -> None:
    occupied(session, 1000)
    with pytest.raises(LoadError) as caught:
        load(session)
    result = caught.value.result
    assert isinstance(caught.value.__cause__, KernelError)
    assert [error.index for error in result.failed] == [1000]
    assert result.applied.ranges == (range(1000), range(1001, 1024))  # the rest of its send
    assert set(result.applied) | set(result.not_sent) | {1000} == set(range(result.taken))
    assert session.spd.count().total == 1024


def test_rollback_leaves_what_was_there(session: Session) -> None:
    occupied(session, 2500)
    with pytest.raises(LoadError) as caught:
        load(session, on_error="rollback")
    result = caught.value.result
    assert (len(result.rolled_back), len(result.applied), len(result.unknown)) == (2559, 0, 0)
    assert [one.selector.destination for one in session.spd.dump()] == ["10.0.9.196/32"]


def test_what_progress_raises_leaves_an_exact_result(session: Session) -> None:
    def stop(done: int, total: int | None) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError) as caught:
        load(session, progress=stop)
    result = caught.value.load_result  # type: ignore[attr-defined]
    assert session.spd.count().total == len(result.applied)
    assert len(result.applied) == result.taken > 0

# SPDX-License-Identifier: MIT
"""Messages made by hand, with the module struct: what the package must make and read. Shares no code with it."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

from xfrm_ext import (
    Message,
    Request,
    State,
    StateId,
)
from xfrm_ext.codec import native, pure

CODECS = (native.codec, pure.codec)

HERE, THERE = "192.0.2.1", "198.51.100.2"

HERE6, THERE6 = "2001:db8::1", "2001:db8::2"

KEY = bytes(range(1, 37))

# enum xfrm_attr_type_t
ALG_AUTH, ALG_CRYPT, ALG_COMP, ENCAP, TMPL, SA, POLICY, SEC_CTX, LTIME_VAL, REPLAY_VAL, REPLAY_THRESH = range(1, 12)
ETIMER_THRESH, SRCADDR, COADDR, LASTUSED, POLICY_TYPE, MIGRATE, ALG_AEAD, KMADDRESS, ALG_AUTH_TRUNC = range(12, 21)
MARK, TFCPAD, REPLAY_ESN_VAL, SA_EXTRA_FLAGS, PROTO, ADDRESS_FILTER, PAD, OFFLOAD_DEV, SET_MARK = range(21, 30)
SET_MARK_MASK, IF_ID, MTIMER_THRESH, SA_DIR, NAT_KEEPALIVE_INTERVAL, SA_PCPU, IPTFS_DROP_TIME = range(30, 37)
IPTFS_REORDER_WINDOW, IPTFS_DONT_FRAG, IPTFS_INIT_DELAY, IPTFS_MAX_QSIZE, IPTFS_PKT_SIZE = range(37, 42)


def addr(text: str) -> bytes:
    """xfrm_address_t: IPv4 in the first four bytes."""
    return ipaddress.ip_address(text).packed.ljust(16, b"\0")


def header(kind: int, size: int, flags: int = 5) -> bytes:
    return struct.pack("=IHHII", 16 + size, kind, flags, 0, 0)


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def message(kind: int, fixed: bytes, *attributes: bytes, flags: int = 5) -> bytes:
    body = fixed + bytes(-len(fixed) % 4) + b"".join(attributes)
    return header(kind, len(body), flags) + body


def selector(family: int, source: str = "", destination: str = "", bits: tuple[int, int] = (0, 0)) -> bytes:
    """struct xfrm_selector: the destination comes first, ports in network order, and host order for the rest."""
    return (
        (addr(destination) if destination else bytes(16))
        + (addr(source) if source else bytes(16))
        + bytes(8)
        + struct.pack("=HBBB3xiI", family, bits[1], bits[0], 0, 0, 0)
    )


NO_LIMITS = struct.pack("=8Q", *[2**64 - 1] * 4, 0, 0, 0, 0)


def usersa(
    *,
    source: str = HERE,
    destination: str = THERE,
    spi: int = 0x01020304,
    protocol: int = 50,
    family: int = 2,
    inner: bytes | None = None,
    limits: bytes = NO_LIMITS,
    used: bytes = bytes(32),
    statistics: tuple[int, int, int] = (0, 0, 0),
    seq: int = 0,
    reqid: int = 0,
    mode: int = 0,
    window: int = 32,
    flags: int = 0,
) -> bytes:
    """struct xfrm_usersa_info, 224 bytes on 64-bit machines."""
    fixed = selector(0) if inner is None else inner
    fixed += addr(destination) + struct.pack(">I", spi) + struct.pack("=B3x", protocol)
    fixed += addr(source) + limits + used + struct.pack("=III", *statistics)
    fixed += struct.pack("=IIHBBB7x", seq, reqid, family, mode, window, flags)
    assert len(fixed) == 224
    return fixed


def algo(name: str, key: bytes, *more: int) -> bytes:
    return name.encode().ljust(64, b"\0") + struct.pack(f"={1 + len(more)}I", 8 * len(key), *more) + key


def both_ways(value: Any, expected: bytes, *, request: Any = None) -> None:
    """The bytes, out of both codecs; and the value, back from them."""
    for codec in CODECS:
        assert codec.encode(value) == expected
        found = codec.decode(expected)
        assert found == (value if request is None else request)


def state(**options: Any) -> State:
    return State(options.pop("source", HERE), options.pop("destination", THERE), spi=0x01020304, **options)


def attributes_of(value: State) -> list[tuple[int, bytes]]:
    """Read by hand."""
    data, found = native.encode(value), []
    assert len(data) == struct.unpack_from("=I", data)[0]
    assert len(data) % 4 == 0
    position = 16 + 224
    while position < len(data):
        size, kind = struct.unpack_from("=HH", data, position)
        found.append((kind, data[position + 4 : position + size]))
        assert not any(data[position + size : position + -(-size // 4) * 4]), "padding is zero"
        position += -(-size // 4) * 4
    return found


def esn(words: int, output: int, input: int, window: int, bitmap: bytes) -> bytes:
    low = 0xFFFFFFFF
    return struct.pack("=6I", words, output & low, input & low, output >> 32, input >> 32, window) + bitmap


def named(family: int = 2, destination: str = THERE, spi: int = 0x01020304, protocol: int = 50) -> bytes:
    """struct xfrm_usersa_id."""
    return addr(destination) + struct.pack(">I", spi) + struct.pack("=HBx", family, protocol)


ID = StateId(THERE, 0x01020304)


def expected_event(kind: int, value: Any, fixed: bytes, *attributes: bytes) -> None:
    """Attributes begin behind the whole structure, its padding at the end too."""
    told = message(kind, fixed, *attributes)
    for codec in CODECS:
        found = codec.decode(told)
        assert getattr(found, "body", found) == value
        assert codec.encode(Request(Message(kind), value))[16:] == told[16:]
        assert codec.decode_event(told).body == value


def userpolicy(direction: int = 0, priority: int = 0, index: int = 0, family: int = 2) -> bytes:
    """struct xfrm_userpolicy_info, 168 bytes."""
    fixed = selector(family) + NO_LIMITS + bytes(32) + struct.pack("=IIBBBB4x", priority, index, direction, 0, 0, 0)
    assert len(fixed) == 168
    return fixed

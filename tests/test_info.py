# SPDX-License-Identifier: MIT
"""The messages about the databases as a whole, to the byte, through both codecs."""

from __future__ import annotations

import struct

from by_hand import (
    CODECS,
    attribute,
    both_ways,
    expected_event,
    header,
    message,
)

from xfrm_ext import (
    Message,
    PolicyDefaults,
    Request,
    SadInfo,
    SpdInfo,
    SpdThresholds,
)


def test_infos() -> None:
    expected_event(
        0x22,
        SadInfo(count=5, hash_buckets=8, hash_limit=1048576),
        bytes(4),
        attribute(1, struct.pack("=I", 5)),
        attribute(2, struct.pack("=II", 8, 1048576)),
    )
    told = message(
        0x24,
        bytes(4),
        attribute(1, struct.pack("=6I", 1, 2, 3, 4, 5, 6)),
        attribute(2, struct.pack("=II", 7, 8)),
        attribute(3, b"\x20\x10"),
        attribute(4, b"\x80\x40"),
        flags=0,
    )
    numbers = (1, 2, 3, 4, 5, 6, 7, 8, 32, 16, 128, 64)
    both_ways(SpdInfo(**dict(zip(SpdInfo.__dataclass_fields__, numbers, strict=True))), told)
    wanted = message(0x24, b"\xff" * 4, attribute(3, b"\x18\x20"))
    both_ways(SpdThresholds((24, 32)), wanted)


def test_defaults() -> None:
    """struct xfrm_userpolicy_default has in, fwd, out in this order."""
    value = PolicyDefaults(input="block", forward="accept", output="unspec")
    both_ways(value, message(0x27, b"\1\2\0"))
    told = header(0x28, 3, 0) + b"\1\2\0"
    for codec in CODECS:
        assert codec.decode(told) == Request(Message.GETDEFAULT, value)

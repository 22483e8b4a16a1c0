# SPDX-License-Identifier: MIT
"""One request and its answer, with nothing imported but the compiled module: for a command that is over sooner than
``rtnl`` and what that needs is imported."""

from __future__ import annotations

from xfrm_ext._native import ffi, lib

_LONGEST = 512  # bytes of an answer that is not a dump


def ask(request: bytes) -> bytes | None:
    """The answer of the calling thread's kernel to a request that has no key in it; None where anything is out of
    the ordinary: ask again with a Handle, which says what."""
    handle = ffi.gc(ffi.new("struct rtnl_handle *", {"fd": -1, "wake_fd": -1}), lib.rtnl_close)
    if lib.rtnl_open_byproto(handle, 0, 6):  # NETLINK_XFRM
        return None
    data, answer = ffi.from_buffer(bytearray(request)), ffi.new("uint8_t[]", _LONGEST)
    outcome = ffi.new("struct rtnl_outcome *")
    length = lib.rtnl_talk(handle, ffi.cast("struct nlmsghdr *", data), answer, _LONGEST, outcome, -1)
    return bytes(ffi.buffer(answer, length)) if length > 0 else None

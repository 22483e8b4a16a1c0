# SPDX-License-Identifier: MIT
"""The native boundary for what a listener has heard: many events in one call of csrc/event.c."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from xfrm_ext._native import ffi, lib
from xfrm_ext.wire.shared import A_BLOCK, bad_lengths

_BYTES = ffi.typeof("uint8_t[]")
_EVENTS = ffi.typeof("struct event_view[]")
_VIEW = struct.Struct("@IIiIIHBB")
_new_unset = ffi.new_allocator(should_clear_after_alloc=False)
_new_wiped = ffi.new_allocator(lib.memory_allocate, lib.memory_free, should_clear_after_alloc=False)


def heard(records: Any) -> tuple[Iterable[tuple[int, ...]], Any]:
    """Reads records of a listener (wire.layouts.RECORD).

    Returns of each: sequence number, port, namespace id (-1: the listener's own), start, end, message type (0: a
    mark), one of EVENT_* and, of what expired, whether that was hard; and a buffer, wiped when it is freed. Start
    and end are places in that buffer, where EVENT_POLICY and EVENT_POLICY_EXPIRED have the canonical NEWPOLICY
    message, and EVENT_STATE and EVENT_STATE_EXPIRED the NEWSA message; of EVENT_OTHER they are the message's own
    place in `records`.
    """
    length = len(records)
    most, capacity = length // 8, 4 * length + 1024
    events, out = _new_unset(_EVENTS, most), _new_wiped(_BYTES, capacity)
    count = lib.event_block_read(events, most, out, capacity, ffi.from_buffer(_BYTES, records), length)
    if count < 0:
        raise bad_lengths(A_BLOCK)
    return _VIEW.iter_unpack(ffi.buffer(events, count * _VIEW.size)), ffi.buffer(out)

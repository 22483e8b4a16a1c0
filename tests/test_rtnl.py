# SPDX-License-Identifier: MIT
"""The shim against the real kernel: sockets, sequence numbers, outcomes, deadlines, signals, events.

Messages are packed with struct here, so that they can be what the package's values would refuse.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

import pytest

from xfrm_ext import (
    ClosedError,
    KernelError,
    NotFound,
    PermissionDenied,
    ProtocolError,
    RepliesLost,
    ReplyTimeout,
    Session,
)
from xfrm_ext.rtnl import BatchOutcome, Handle, messages, open_byproto
from xfrm_ext.testing import inside, network_namespace

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK = 1, 2, 4
NETLINK_ROUTE, NETLINK_XFRM = 0, 6
RTM_GETLINK, RTM_GETRULE = 18, 34
XFRM_MSG_NEWPOLICY, XFRM_MSG_GETPOLICY, XFRM_MSG_FLUSHPOLICY, XFRM_MSG_GETSPDINFO = 0x13, 0x15, 0x1D, 0x25
XFRM_MSG_NEWSPDINFO = 0x24
XFRMA_TMPL, XFRMA_POLICY_TYPE, XFRMA_MARK, XFRMA_IF_ID = 5, 16, 21, 31
XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL = 0, 1
POLICY_EVENTS = 1 << 3  # XFRMNLGRP_POLICY is group 4

HEADER = struct.Struct("=IHHII")
SELECTOR = struct.Struct("=16s16sHHHHHBBB3xiI")
INFO = struct.Struct("=56s8Q4QIIBBBB4x")
TEMPLATE = struct.Struct("=16s4xB3xH2x16sIBBBxIII")

INVALID_FAMILY = "Invalid selector family"
SHORT_ATTRIBUTE = "Attribute failed policy validation"


def message(kind: int, body: bytes = b"", flags: int = NLM_F_REQUEST) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def template(protocol: int = socket.IPPROTO_ESP, mode: int = 0, optional: int = 0, family: int = 2) -> bytes:
    return TEMPLATE.pack(bytes(16), protocol, family, bytes(16), 0, mode, 0, optional, *[0xFFFFFFFF] * 3)


def selector(number: int, family: int = socket.AF_INET, length: int = 32) -> bytes:
    address = (0x0A000000 + number).to_bytes(4, "big")
    return SELECTOR.pack(address, bytes(16), 0, 0, 0, 0, family, length, 0, 0, 0, 0)


def policy(
    number: int,
    *attributes: bytes,
    family: int = socket.AF_INET,
    length: int = 32,
    direction: int = 1,
    action: int = 0,
    index: int = 0,
) -> bytes:
    """An XFRM_MSG_NEWPOLICY for 10.0.0.0 + number, which is its priority as well."""
    limits = [2**64 - 1] * 4 + [0] * 4
    place = selector(number, family, length)
    info = INFO.pack(place, *limits, *[0] * 4, number, index, direction, action, 0, 0)
    return message(XFRM_MSG_NEWPOLICY, info + b"".join(attributes))


def refused(number: int) -> bytes:
    """A policy that the kernel refuses with EINVAL and INVALID_FAMILY."""
    return policy(number, family=0)


DUMP = message(XFRM_MSG_GETPOLICY)
FLUSH = message(XFRM_MSG_FLUSHPOLICY)


def priority(raw: bytes | bytearray) -> int:
    return int(INFO.unpack_from(raw, HEADER.size)[13])


def numbers(handle: Handle) -> list[int]:
    """The numbers of the policies that are there, from a dump over a socket of its own."""
    with handle.open_beside() as beside:
        blocks = list(beside.dump(DUMP, "dump", timeout=10))
    return sorted(priority(raw) for block in blocks for raw in messages(block))


def add_many(handle: Handle, wanted: range) -> None:
    outcome = BatchOutcome()
    handle.talk_batch(bytearray().join(map(policy, wanted)), len(wanted), outcome=outcome, timeout=10)
    assert (outcome.sent, outcome.acked, outcome.failures) == (len(wanted), len(wanted), [])


class Stamp(NamedTuple):
    """What the shim writes into a message of a block."""

    flags: int
    seq: int
    port: int


def stamps(block: bytearray) -> list[Stamp]:
    return [Stamp(*HEADER.unpack_from(raw)[2:]) for raw in messages(bytes(block))]


@pytest.fixture
def handle(namespace: int) -> Iterator[Handle]:
    with open_byproto(netns=namespace) as opened:
        yield opened


@pytest.fixture
def events(namespace: int) -> Iterator[Handle]:
    """A socket that hears of all changes to the SPD."""
    with open_byproto(POLICY_EVENTS, netns=namespace) as opened:
        yield opened


# --- the article's program ------------------------------------------------------------------------------


def test_the_articles_program_line_by_line(namespace: int) -> None:
    handle = open_byproto(0, NETLINK_XFRM, netns=namespace)  # rtnl_open_byproto(&rth, 0, NETLINK_XFRM)
    request = policy(7, attribute(XFRMA_TMPL, template(mode=XFRM_MODE_TUNNEL)))
    assert handle.talk(request, "add policy") is None  # rtnl_talk(&rth, &req.n, NULL)
    found = [raw for block in handle.dump(DUMP, "dump policies") for raw in messages(block)]
    assert [HEADER.unpack_from(raw)[1] for raw in found] == [XFRM_MSG_NEWPOLICY]
    assert found[0][HEADER.size :][:56] == selector(7)
    assert template(mode=XFRM_MODE_TUNNEL) in found[0]
    assert handle.talk(FLUSH, "flush policies") is None
    assert list(handle.dump(DUMP, "dump policies")) == []
    handle.close()  # rtnl_close(&rth)


def test_talk_with_an_answer(handle: Handle) -> None:
    handle.talk(policy(7), "add policy")
    wanted = message(XFRM_MSG_GETPOLICY, selector(7) + struct.pack("=IB3x", 0, 1))
    answer = handle.talk(wanted, "get policy", answer=True)
    assert answer is not None
    size, kind, _, seq, port = HEADER.unpack_from(answer)
    assert (size, kind, port) == (len(answer), XFRM_MSG_NEWPOLICY, handle.port)
    assert seq == handle._native.seq
    assert priority(answer) == 7


def test_talk_with_an_answer_from_another_kind_of_message(handle: Handle) -> None:
    answer = handle.talk(message(XFRM_MSG_GETSPDINFO, bytes(4)), "count", answer=True)
    assert answer is not None
    assert HEADER.unpack_from(answer)[1] == XFRM_MSG_NEWSPDINFO


def test_an_answer_that_is_refused(handle: Handle) -> None:
    wanted = message(XFRM_MSG_GETPOLICY, selector(7) + struct.pack("=IB3x", 0, 1))
    with pytest.raises(NotFound) as caught:
        handle.talk(wanted, "get policy", answer=True)
    assert (caught.value.errno, caught.value.operation) == (errno.ENOENT, "get policy")


def test_an_answer_and_an_ack_both_asked_for(handle: Handle) -> None:
    """The ACK that follows the answer is not taken for the reply to the next request."""
    handle.talk(policy(7), "add policy")
    wanted = message(XFRM_MSG_GETPOLICY, selector(7) + struct.pack("=IB3x", 0, 1), NLM_F_REQUEST | NLM_F_ACK)
    for _ in range(3):
        answer = handle.talk(wanted, "get policy", answer=True)
        assert answer is not None
        assert priority(answer) == 7
    with pytest.raises(KernelError, match="exists"):
        handle.talk(policy(7), "add policy")


# --- refusals -------------------------------------------------------------------------------------------

AFTER_INFO = HEADER.size + INFO.size
REFUSALS = {
    "selector family 0": (policy(1, family=0), errno.EINVAL, INVALID_FAMILY, None, 0),
    "IPv4 prefix of 33": (
        policy(1, length=33),
        errno.EINVAL,
        "Invalid prefix length in selector (must be <= 32 for IPv4)",
        None,
        0,
    ),
    "IPv6 prefix of 129": (
        policy(1, family=socket.AF_INET6, length=129),
        errno.EINVAL,
        "Invalid prefix length in selector (must be <= 128 for IPv6)",
        None,
        0,
    ),
    "seven templates": (
        policy(1, attribute(XFRMA_TMPL, template() * 7)),
        errno.EINVAL,
        "Template count must be <= XFRM_MAX_DEPTH (6)",
        None,
        0,
    ),
    "short mark": (
        policy(1, attribute(XFRMA_TMPL, template()), attribute(XFRMA_MARK, bytes(4))),
        errno.ERANGE,
        SHORT_ATTRIBUTE,
        "XFRMA_MARK",
        AFTER_INFO + 4 + TEMPLATE.size,
    ),
    "short if_id": (
        policy(1, attribute(XFRMA_IF_ID, bytes(2))),
        errno.ERANGE,
        SHORT_ATTRIBUTE,
        "XFRMA_IF_ID",
        AFTER_INFO,
    ),
    "short template": (
        policy(1, attribute(XFRMA_TMPL, bytes(8))),
        errno.ERANGE,
        SHORT_ATTRIBUTE,
        "XFRMA_TMPL",
        AFTER_INFO,
    ),
    "index of another direction": (
        policy(1, index=8, direction=1),
        errno.EINVAL,
        "Policy index doesn't match direction",
        None,
        0,
    ),
    "direction 3": (policy(1, direction=3), errno.EINVAL, "Invalid policy direction", None, 0),
    "action 2": (policy(1, action=2), errno.EINVAL, "Invalid policy action", None, 0),
    "policy type 5": (
        policy(1, attribute(XFRMA_POLICY_TYPE, bytes([5, 0, 0, 0, 0, 0]))),
        errno.EINVAL,
        "Invalid policy type",
        None,
        0,
    ),
    "template for UDP": (
        policy(1, attribute(XFRMA_TMPL, template(protocol=socket.IPPROTO_UDP))),
        errno.EINVAL,
        "Invalid XFRM protocol in template",
        None,
        0,
    ),
    "optional tunnel out": (
        policy(1, attribute(XFRMA_TMPL, template(mode=XFRM_MODE_TUNNEL, optional=1))),
        errno.EINVAL,
        "Mode in optional template not allowed in outbound policy",
        None,
        0,
    ),
    "transport to another family": (
        policy(1, attribute(XFRMA_TMPL, template(mode=XFRM_MODE_TRANSPORT, family=socket.AF_INET6))),
        errno.EINVAL,
        "Mode in template doesn't support a family change",
        None,
        0,
    ),
    "too short": (message(XFRM_MSG_NEWPOLICY, bytes(20)), errno.EINVAL, "Invalid header length", None, 0),
    "unknown type": (message(0x7F), errno.EINVAL, "", None, 0),
}


@pytest.mark.parametrize(("raw", "code", "text", "name", "offset"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(handle: Handle, raw: bytes, code: int, text: str, name: str | None, offset: int) -> None:
    """The kernel's errno, its words, the attribute at fault: alike from talk and from talk_batch."""
    with pytest.raises(KernelError) as caught:
        handle.talk(raw, "try", timeout=10)
    error = caught.value
    assert (error.errno, error.operation, error.kernel_text, error.attribute) == (code, "try", text, name)
    assert error.index is None
    outcome = BatchOutcome()
    handle.talk_batch(bytearray(policy(100) + raw + policy(101)), 3, outcome=outcome, timeout=10)
    assert (outcome.sent, outcome.acked, outcome.error) == (3, 3, 0)
    assert [(one.index, one.errno, one.text, one.offset) for one in outcome.failures] == [(1, code, text, offset)]
    assert outcome.failures[0].error("try", raw).attribute == name
    assert numbers(handle) == [100, 101]


def test_a_warning_is_no_refusal(handle: Handle) -> None:
    """Bytes behind the attributes: done, with a text in the ACK."""
    handle.talk(policy(1)[: HEADER.size] + policy(1)[HEADER.size :], "add policy")
    trailing = message(XFRM_MSG_NEWPOLICY, policy(2)[HEADER.size :] + b"\1\2")
    assert handle.talk(trailing, "add policy") is None
    assert numbers(handle) == [1, 2]


def test_without_cap_net_admin(handle: Handle, without_net_admin: Callable[[Callable[[], None]], None]) -> None:
    def act() -> None:
        with pytest.raises(PermissionDenied) as caught:
            handle.talk(policy(1), "add policy")
        assert (caught.value.errno, caught.value.operation) == (errno.EPERM, "add policy")
        outcome = BatchOutcome()
        handle.talk_batch(bytearray(policy(1) + policy(2)), 2, outcome=outcome)
        assert [(one.index, one.errno) for one in outcome.failures] == [(0, errno.EPERM), (1, errno.EPERM)]
        with pytest.raises(PermissionDenied):
            list(handle.dump(DUMP, "dump policies"))

    without_net_admin(act)
    assert numbers(handle) == []


@pytest.fixture
def without_net_admin() -> Callable[[Callable[[], None]], None]:
    """Runs a function in a thread that lacks CAP_NET_ADMIN."""
    import ctypes

    def run(act: Callable[[], None]) -> None:
        problems: list[BaseException] = []

        def main() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            header = struct.pack("=Ii", 0x20080522, 0)
            data = ctypes.create_string_buffer(24)
            try:
                assert libc.capget(header, data) == 0
                words = list(struct.unpack("=6I", data.raw))
                words[0] &= ~(1 << 12)  # effective, CAP_NET_ADMIN
                assert libc.capset(header, struct.pack("=6I", *words)) == 0
                act()
            except BaseException as error:
                problems.append(error)

        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
        if problems:
            raise problems[0]

    return run


# --- batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "bad"),
    [
        (1, {0}),
        (2, {0}),
        (2, {1}),
        (10, {0, 4, 9}),
        (10, {4}),
        (10, set(range(10))),
        (10, set()),
        (700, {255, 256, 699}),
    ],
)
def test_every_message_of_a_batch_has_its_outcome(handle: Handle, count: int, bad: set[int]) -> None:
    block = bytearray().join(refused(i) if i in bad else policy(i) for i in range(count))
    outcome = BatchOutcome()
    handle.talk_batch(block, count, outcome=outcome, timeout=10)
    assert (outcome.sent, outcome.acked, outcome.error) == (count, count, 0)
    expected = [(i, errno.EINVAL, INVALID_FAMILY) for i in sorted(bad)]
    assert [(one.index, one.errno, one.text) for one in outcome.failures] == expected
    assert numbers(handle) == [i for i in range(count) if i not in bad]


def test_refusals_of_several_kinds_stay_with_their_messages(handle: Handle) -> None:
    kinds = {
        2: (policy(1), errno.EEXIST, ""),
        3: (refused(3), errno.EINVAL, INVALID_FAMILY),
        5: (policy(5, attribute(XFRMA_MARK, bytes(4))), errno.ERANGE, SHORT_ATTRIBUTE),
        6: (message(XFRM_MSG_GETPOLICY, selector(99) + struct.pack("=IB3x", 0, 1)), errno.ENOENT, ""),
    }
    block = bytearray().join(kinds[i][0] if i in kinds else policy(i) for i in range(8))
    outcome = BatchOutcome()
    handle.talk_batch(block, 8, outcome=outcome, timeout=10)
    found = {one.index: (one.errno, one.text) for one in outcome.failures}
    assert found == {i: (code, text) for i, (_, code, text) in kinds.items()}
    assert numbers(handle) == [0, 1, 4, 7]


def test_answers_in_a_batch_are_skipped(handle: Handle) -> None:
    """A GETPOLICY's answer is not what a batch waits for."""
    wanted = message(XFRM_MSG_GETPOLICY, selector(0) + struct.pack("=IB3x", 0, 1))
    outcome = BatchOutcome()
    handle.talk_batch(bytearray(policy(0) + wanted + policy(1) + wanted), 4, outcome=outcome, timeout=10)
    assert (outcome.sent, outcome.acked, outcome.failures, outcome.error) == (4, 4, [], 0)
    assert numbers(handle) == [0, 1]


def test_what_is_written_into_a_block(handle: Handle) -> None:
    before = handle._native.seq
    block = bytearray().join(map(policy, range(10)))
    handle.talk_batch(block, 10, per_send=4, outcome=BatchOutcome(), timeout=10)
    first = before + 1 if before < 2**32 - 10 else 1
    ends = {3, 7, 9}  # of the sends: only these ask for an ACK
    expected = [Stamp(NLM_F_REQUEST | (NLM_F_ACK if i in ends else 0), first + i, handle.port) for i in range(10)]
    assert stamps(block) == expected


def test_stop_on_error_sends_nothing_after_the_send_that_failed(handle: Handle) -> None:
    block = bytearray().join(refused(i) if i in (5, 9) else policy(i) for i in range(12))
    outcome = BatchOutcome()
    handle.talk_batch(block, 12, per_send=4, stop_on_error=True, outcome=outcome, timeout=10)
    assert (outcome.sent, outcome.acked, outcome.error) == (8, 8, 0)
    assert [one.index for one in outcome.failures] == [5]
    assert numbers(handle) == [0, 1, 2, 3, 4, 6, 7]
    assert [stamp.seq for stamp in stamps(block)[8:]] == [0] * 4


def test_an_empty_batch(handle: Handle) -> None:
    outcome = BatchOutcome()
    handle.talk_batch(bytearray(), 0, outcome=outcome)
    assert (outcome.sent, outcome.acked, outcome.failures, outcome.error) == (0, 0, [], 0)


GOOD = policy(1) + policy(2)
OVERLONG = message(XFRM_MSG_NEWPOLICY, bytes(3 << 20))
MALFORMED = {
    "fewer than said": (GOOD, 3),
    "more than said": (GOOD, 1),
    "cut in the last": (GOOD[:-4], 2),
    "cut in a header": (GOOD + policy(3)[:8], 3),
    "a length of 0": (GOOD + bytes(16), 3),
    "a length below a header's": (GOOD + HEADER.pack(15, XFRM_MSG_NEWPOLICY, 1, 0, 0), 3),
    "a length beyond the end": (GOOD + HEADER.pack(4096, XFRM_MSG_NEWPOLICY, 1, 0, 0), 3),
    "a length of 4 GiB": (GOOD + HEADER.pack(0xFFFFFFFF, XFRM_MSG_NEWPOLICY, 1, 0, 0), 3),
    "no padding at the end": (GOOD + message(XFRM_MSG_NEWPOLICY, bytes(170)), 3),
    "longer than a send": (GOOD + OVERLONG, 3),
    "nothing at all": (b"", 1),
}


@pytest.mark.parametrize(("block", "count"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_block_sends_nothing(handle: Handle, block: bytes, count: int) -> None:
    outcome = BatchOutcome()
    with pytest.raises(ValueError, match=f"not {count} netlink messages"):
        handle.talk_batch(bytearray(block), count, per_send=1, outcome=outcome, timeout=10)
    assert (outcome.sent, outcome.acked, outcome.failures) == (0, 0, [])
    assert numbers(handle) == []


def test_sends_fit_into_the_send_buffer(handle: Handle) -> None:
    handle.set_buffers(0, 1 << 20)  # the kernel's minimum
    assert handle.send_buffer < 16384
    count, size = 500, len(policy(0))
    block = bytearray().join(refused(i) if i % 50 == 49 else policy(i) for i in range(count))
    outcome = BatchOutcome()
    handle.talk_batch(block, count, outcome=outcome, timeout=10)
    assert (outcome.sent, outcome.acked, outcome.error) == (count, count, 0)
    assert [one.index for one in outcome.failures] == list(range(49, count, 50))
    most = (handle.send_buffer - 32) // size
    ends = [i for i, stamp in enumerate(stamps(block)) if stamp.flags & NLM_F_ACK]
    assert ends == [*range(most - 1, count - 1, most), count - 1]
    assert len(numbers(handle)) == count - 10


def test_a_message_just_as_long_as_the_send_buffer_allows(handle: Handle) -> None:
    handle.set_buffers(0, 1 << 20)
    most = (handle.send_buffer - 32) & ~3
    filler = attribute(60, bytes(most - len(policy(1)) - 4))  # of an unknown type: the kernel ignores it
    block = bytearray(policy(1, filler))
    assert len(block) == most
    handle.talk_batch(block, 1, outcome=BatchOutcome(), timeout=10)
    assert numbers(handle) == [1]
    longer = bytearray(policy(2, attribute(60, bytes(most - len(policy(1))))))
    with pytest.raises(ValueError, match="send buffer"):
        handle.talk_batch(longer, 1, outcome=BatchOutcome(), timeout=10)


@pytest.mark.parametrize("last", [2**32 - 1, 2**32 - 2, 2**32 - 9, 2**32 - 10, 2**32 - 11])
def test_sequence_numbers_wrap_around(handle: Handle, last: int) -> None:
    handle._native.seq = last
    block = bytearray().join(refused(i) if i in (0, 4, 9) else policy(i) for i in range(10))
    outcome = BatchOutcome()
    handle.talk_batch(block, 10, per_send=3, outcome=outcome, timeout=10)
    used = [stamp.seq for stamp in stamps(block)]
    assert used == list(range(used[0], used[0] + 10))
    assert 0 not in used
    assert used[0] in (last + 1, 1)
    assert [one.index for one in outcome.failures] == [0, 4, 9]
    assert outcome.acked == 10
    handle.talk(policy(20), "add policy", timeout=10)
    assert numbers(handle) == [1, 2, 3, 5, 6, 7, 8, 20]


def test_talk_and_dump_across_the_end_of_the_sequence_numbers(handle: Handle) -> None:
    handle._native.seq = 2**32 - 2
    for number in range(4):
        handle.talk(policy(number), "add policy", timeout=10)
    assert handle._native.seq == 3
    handle._native.seq = 2**32 - 1
    assert len([1 for block in handle.dump(DUMP, "dump", timeout=10) for _ in messages(block)]) == 4
    assert handle._native.seq == 1


# --- lost replies ---------------------------------------------------------------------------------------


def test_thousands_of_refusals_with_the_smallest_receive_buffer(handle: Handle) -> None:
    handle.set_buffers(1 << 20, 0)
    assert handle.receive_buffer < 8192
    count = 4096
    outcome = BatchOutcome()
    handle.talk_batch(bytearray().join(map(refused, range(count))), count, outcome=outcome, timeout=30)
    assert (outcome.sent, outcome.acked, outcome.error) == (count, count, 0)
    assert [one.index for one in outcome.failures] == list(range(count))
    assert {one.text for one in outcome.failures} == {INVALID_FAMILY}


def test_replies_that_overflow_the_receive_buffer(handle: Handle) -> None:
    """With the limit got round, replies are lost: said, never guessed; and the socket goes on to work."""
    handle.set_buffers(1 << 20, 0)
    handle._native.receive_buffer = 1 << 30  # what limits the replies outstanding
    count = 512
    block = bytearray().join(policy(i) if i % 2 else refused(i) for i in range(count))
    outcome = BatchOutcome()
    handle.talk_batch(block, count, per_send=count, outcome=outcome, timeout=10)
    assert outcome.error == errno.ENOBUFS
    assert (outcome.sent, outcome.acked) == (count, 0)
    assert len(outcome.failures) < count // 2
    assert all(one.index % 2 == 0 for one in outcome.failures)
    assert numbers(handle) == list(range(1, count, 2)), "the kernel did what it was sent"
    handle.talk(policy(count), "add policy", timeout=10)
    with pytest.raises(KernelError, match=INVALID_FAMILY):
        handle.talk(refused(0), "add policy", timeout=10)


def hear_all(events: Handle) -> list[int]:
    """The numbers of the policies in the events that are there."""
    heard: list[int] = []
    while True:
        try:
            heard.append(priority(events.listen(timeout=0)))
        except ReplyTimeout:
            return heard


def test_events_that_overflow_the_receive_buffer(handle: Handle, events: Handle) -> None:
    events.set_buffers(0, 0)
    add_many(handle, range(200))
    with pytest.raises(RepliesLost, match="listen"):
        hear_all(events)
    assert 0 < len(hear_all(events)) < 200, "what had been queued before the overflow"
    handle.talk(policy(1000), "add policy")
    assert priority(events.listen(timeout=10)) == 1000, "it goes on"


def test_requests_on_a_socket_that_events_overflowed(handle: Handle, events: Handle) -> None:
    """Until its queue was empty once, the kernel drops all that such a socket is sent."""
    events.set_buffers(1 << 20, 0)
    add_many(handle, range(200))
    with pytest.raises(RepliesLost, match="listen"):
        events.listen(timeout=10)
    events.talk(policy(1000), "add policy", timeout=10)
    add_many(handle, range(200, 400))
    with pytest.raises(RepliesLost, match="add policy"):
        events.talk(policy(1001), "add policy", timeout=10)
    outcome = BatchOutcome()
    events.talk_batch(bytearray(policy(1002) + refused(1)), 2, outcome=outcome, timeout=10)
    assert ([one.index for one in outcome.failures], outcome.acked, outcome.error) == ([1], 2, 0)
    assert numbers(handle)[-3:] == [1000, 1001, 1002]


# --- messages that are not the kernel's -----------------------------------------------------------------


@contextmanager
def intruder(namespace: int) -> Iterator[socket.socket]:
    """Another netlink socket in the namespace, that can write to ports."""
    with inside(namespace):
        other = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM)
    with other:
        other.bind((0, 0))
        yield other


def forge(other: socket.socket, victim: Handle, kind: int, body: bytes, ahead: int = 1) -> None:
    """Sends a message that looks like the reply to one of the next requests."""
    seq = victim._native.seq + ahead
    other.sendto(HEADER.pack(HEADER.size + len(body), kind, 0, seq, victim.port) + body, (victim.port, 0))
    assert select.select([victim.fileno()], [], [], 10)[0], "it was delivered"


def error_body(code: int) -> bytes:
    return struct.pack("=i", -code) + bytes(HEADER.size)


def test_talk_ignores_other_senders(handle: Handle, namespace: int) -> None:
    handle._native.seq = 1000
    with intruder(namespace) as other:
        forge(other, handle, NLMSG_ERROR, error_body(errno.EPERM))
        handle.talk(policy(1), "add policy", timeout=10)
        forge(other, handle, NLMSG_ERROR, error_body(0))
        with pytest.raises(KernelError, match=INVALID_FAMILY):
            handle.talk(refused(2), "add policy", timeout=10)
        forge(other, handle, XFRM_MSG_NEWPOLICY, policy(99)[HEADER.size :])
        wanted = message(XFRM_MSG_GETPOLICY, selector(1) + struct.pack("=IB3x", 0, 1))
        answer = handle.talk(wanted, "get policy", answer=True, timeout=10)
        assert answer is not None
        assert priority(answer) == 1


def test_talk_batch_ignores_other_senders(handle: Handle, namespace: int) -> None:
    handle._native.seq = 1000
    with intruder(namespace) as other:
        for ahead in range(1, 5):
            forge(other, handle, NLMSG_ERROR, error_body(errno.EPERM if ahead % 2 else 0), ahead)
        outcome = BatchOutcome()
        block = bytearray(policy(0) + refused(1) + policy(2) + refused(3))
        handle.talk_batch(block, 4, outcome=outcome, timeout=10)
    assert [(one.index, one.errno) for one in outcome.failures] == [(1, errno.EINVAL), (3, errno.EINVAL)]
    assert numbers(handle) == [0, 2]


def test_dump_ignores_other_senders(handle: Handle, namespace: int) -> None:
    handle._native.seq = 1000
    handle.talk(policy(1), "add policy")
    with intruder(namespace) as other:
        forge(other, handle, XFRM_MSG_NEWPOLICY, policy(99)[HEADER.size :])
        forge(other, handle, NLMSG_DONE, bytes(4))
        found = [priority(raw) for block in handle.dump(DUMP, "dump", timeout=10) for raw in messages(block)]
    assert found == [1]


def test_listen_ignores_other_senders(handle: Handle, events: Handle, namespace: int) -> None:
    with intruder(namespace) as other:
        forge(other, events, XFRM_MSG_NEWPOLICY, policy(99)[HEADER.size :])
        with pytest.raises(ReplyTimeout):
            events.listen(timeout=0.01)
        forge(other, events, XFRM_MSG_NEWPOLICY, policy(99)[HEADER.size :])
        handle.talk(policy(1), "add policy")
        assert priority(events.listen(timeout=10)) == 1


# --- deadlines and signals ------------------------------------------------------------------------------


def test_listen_gives_up_at_its_deadline(events: Handle, handle: Handle) -> None:
    started = time.monotonic()
    with pytest.raises(ReplyTimeout, match="listen: no reply before the deadline"):
        events.listen(timeout=0.05)
    assert 0.05 <= time.monotonic() - started < 5
    with pytest.raises(ReplyTimeout):
        events.listen(timeout=0)
    handle.talk(policy(1), "add policy")
    assert priority(events.listen(timeout=0)) == 1, "what is there already needs no time"


def test_talk_gives_up_at_its_deadline(handle: Handle) -> None:
    """An answer to a NEWPOLICY never comes. The next exchange is not disturbed."""
    with pytest.raises(ReplyTimeout, match="add policy"):
        handle.talk(policy(1), "add policy", answer=True, timeout=0.05)
    assert numbers(handle) == [1]
    handle.talk(policy(2), "add policy", timeout=10)


def make_deaf(events: Handle, handle: Handle) -> None:
    """Has the kernel drop the reply to the next request, without a word: see empty_queue in rtnl.c."""
    events.set_buffers(1 << 20, 0)
    add_many(handle, range(1000, 1200))
    with pytest.raises(RepliesLost):
        events.listen(timeout=10)
    events._native.overrun = 0


def test_talk_batch_gives_up_at_its_deadline(events: Handle, handle: Handle) -> None:
    make_deaf(events, handle)
    outcome = BatchOutcome()
    started = time.monotonic()
    events.talk_batch(bytearray(policy(1) + policy(2)), 2, outcome=outcome, timeout=0.05)
    assert 0.05 <= time.monotonic() - started < 5
    assert (outcome.sent, outcome.acked, outcome.failures, outcome.error) == (1, 0, [], errno.ETIMEDOUT)
    assert numbers(handle)[:2] == [1, 1000], "it was done, which the kernel alone knows"
    events.talk(policy(3), "add policy", timeout=10)


class Stop(Exception):
    """Raised by signal handlers here."""


@contextmanager
def on_alarm(act: Callable[[], None], after: float) -> Iterator[list[int]]:
    """Runs a function as the handler of a SIGALRM. Yields the list of the signals that came."""
    came: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        came.append(number)
        act()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        yield came
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def stop() -> None:
    raise Stop


def test_a_signal_handler_that_raises_ends_listen(events: Handle, handle: Handle) -> None:
    with on_alarm(stop, 0.02), pytest.raises(Stop):
        events.listen(timeout=60)
    handle.talk(policy(1), "add policy")
    assert priority(events.listen(timeout=10)) == 1


def test_a_signal_handler_that_returns_lets_listen_go_on(events: Handle, handle: Handle) -> None:
    """The event that ends the wait is caused by the handler: it ran in the middle."""

    def act() -> None:
        handle.talk(policy(1), "add policy")

    with on_alarm(act, 0.02) as came:
        assert priority(events.listen(timeout=60)) == 1
    assert came == [signal.SIGALRM]


def test_signals_do_not_prolong_a_deadline(events: Handle) -> None:
    def again() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.005)

    started = time.monotonic()
    with on_alarm(again, 0.005) as came, pytest.raises(ReplyTimeout):
        events.listen(timeout=0.05)
    assert 0.05 <= time.monotonic() - started < 5
    assert came


def test_a_signal_handler_that_raises_ends_talk(handle: Handle) -> None:
    with on_alarm(stop, 0.02), pytest.raises(Stop):
        handle.talk(policy(1), "add policy", answer=True, timeout=60)
    handle.talk(policy(2), "add policy", timeout=10)
    assert numbers(handle) == [1, 2]


def test_a_signal_handler_that_raises_ends_talk_batch(events: Handle, handle: Handle) -> None:
    make_deaf(events, handle)
    outcome = BatchOutcome()
    with on_alarm(stop, 0.02), pytest.raises(Stop):
        events.talk_batch(bytearray(policy(1) + policy(2)), 2, per_send=1, outcome=outcome, timeout=60)
    assert (outcome.sent, outcome.acked, outcome.failures) == (1, 0, [])
    assert numbers(handle)[:2] == [1, 1000], "nothing more was sent"


def test_a_signal_in_another_thread_lets_it_go_on(events: Handle, handle: Handle) -> None:
    heard: list[bytes] = []
    thread = threading.Thread(target=lambda: heard.append(events.listen(timeout=60)))
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        thread.start()
        assert thread.ident is not None
        for _ in range(20):
            signal.pthread_kill(thread.ident, signal.SIGUSR1)
        handle.talk(policy(1), "add policy")
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came
    assert [priority(raw) for raw in heard] == [1]


def test_other_threads_run_meanwhile(events: Handle, handle: Handle) -> None:
    """The GIL is free while the kernel is waited for: this thread could not cause the event otherwise."""
    waiting, heard = threading.Event(), []

    def listen() -> None:
        waiting.set()
        heard.append(priority(events.listen(timeout=60)))

    thread = threading.Thread(target=listen)
    thread.start()
    assert waiting.wait(10)
    handle.talk(policy(1), "add policy")
    thread.join()
    assert heard == [1]


# --- dumps ----------------------------------------------------------------------------------------------


def test_a_dump_of_many_datagrams(handle: Handle) -> None:
    add_many(handle, range(5000))
    blocks = list(handle.dump(DUMP, "dump", timeout=10))
    assert len(blocks) > 2
    assert sum(map(len, blocks)) > 10 * 32768
    assert max(map(len, blocks)) <= 16 * 32768
    assert sorted(priority(raw) for block in blocks for raw in messages(block)) == list(range(5000))
    kinds = {HEADER.unpack_from(raw)[1] for block in blocks for raw in messages(block)}
    assert kinds == {XFRM_MSG_NEWPOLICY}, "NLMSG_DONE is not among what is handed out"


@pytest.mark.parametrize(("kind", "size"), [(RTM_GETRULE, 12), (RTM_GETLINK, 16)])
def test_a_dump_whose_end_shares_the_datagram(namespace: int, kind: int, size: int) -> None:
    """Linux 6.18 sends the routing rules and their NLMSG_DONE in one datagram, the links in two."""
    request = message(kind, bytes(size))
    with inside(namespace), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as plain:
        plain.send(request[:6] + struct.pack("=HII", 0x301, 1, 0) + request[16:])
        wanted: list[tuple[int, bytes]] = []
        while not wanted or wanted[-1][0] != NLMSG_DONE:
            wanted += [(HEADER.unpack_from(raw)[1], raw[HEADER.size :]) for raw in messages(plain.recv(65536))]
    with open_byproto(0, NETLINK_ROUTE, netns=namespace) as handle:
        blocks = list(handle.dump(request, "list", timeout=10))
        raws = [bytes(raw) for block in blocks for raw in messages(block)]
        found = [(HEADER.unpack_from(raw)[1], raw[HEADER.size :]) for raw in raws]
        assert found
        assert found == wanted[:-1]
        assert len(list(handle.dump(request, "list", timeout=10))) == len(blocks), "and once more"


def test_a_dump_that_the_kernel_refuses(namespace: int) -> None:
    with open_byproto(0, NETLINK_ROUTE, netns=namespace) as handle, pytest.raises(KernelError) as caught:
        list(handle.dump(message(RTM_GETLINK + 4 * 60 + 3), "odd dump", timeout=10))
    assert (caught.value.operation, caught.value.errno) == ("odd dump", errno.EOPNOTSUPP)


def test_a_dump_left_half_read_disturbs_nothing_else(handle: Handle) -> None:
    add_many(handle, range(3000))
    dump = handle.dump(DUMP, "dump", timeout=10)
    assert next(dump)
    del dump
    gc.collect()
    handle.talk(policy(5000), "add policy", timeout=10)
    with pytest.raises(KernelError, match=INVALID_FAMILY):
        handle.talk(refused(1), "add policy", timeout=10)
    outcome = BatchOutcome()
    handle.talk_batch(bytearray(refused(1) + policy(5001)), 2, outcome=outcome, timeout=10)
    assert [one.index for one in outcome.failures] == [0]
    with pytest.raises(KernelError) as caught:  # as documented: none after one that was not read to its end
        list(handle.dump(DUMP, "dump", timeout=10))
    assert caught.value.errno == errno.EBUSY
    assert numbers(handle) == [*range(3000), 5000, 5001]


def test_the_blocks_of_a_dump_are_memory_of_their_own(handle: Handle) -> None:
    add_many(handle, range(500))
    blocks = list(handle.dump(DUMP, "dump", timeout=10))
    blocks[0][:] = bytes(len(blocks[0]))  # as who read keys out of it does
    assert len(set(map(bytes, blocks))) == len(blocks)
    assert all(any(block) for block in blocks[1:])


# --- events ---------------------------------------------------------------------------------------------


def test_events_name_the_request_that_caused_them(handle: Handle, events: Handle) -> None:
    handle.talk(policy(1), "add policy")
    caused = (XFRM_MSG_NEWPOLICY, handle._native.seq, handle.port)
    size, kind, _, seq, port = HEADER.unpack_from(events.listen(timeout=10))
    assert (kind, seq, port) == caused
    assert size > HEADER.size
    handle.talk(FLUSH, "flush policies")
    heard = events.listen(timeout=10)
    assert HEADER.unpack_from(heard)[1] == XFRM_MSG_FLUSHPOLICY
    assert HEADER.unpack_from(heard)[3:] == (handle._native.seq, handle.port)


def test_a_socket_hears_of_its_own_changes_without_mistaking_them_for_replies(events: Handle) -> None:
    events.talk(policy(1), "add policy", timeout=10)
    outcome = BatchOutcome()
    events.talk_batch(bytearray(policy(2) + refused(3)), 2, outcome=outcome, timeout=10)
    assert [one.index for one in outcome.failures] == [1]
    with pytest.raises(KernelError, match="exists"):
        events.talk(policy(1), "add policy", timeout=10)


def test_no_events_without_a_group(handle: Handle, namespace: int) -> None:
    with open_byproto(netns=namespace) as other:
        handle.talk(policy(1), "add policy")
        with pytest.raises(ReplyTimeout):
            other.listen(timeout=0)


# --- life and death of a handle -------------------------------------------------------------------------


def test_buffers_are_those_of_the_socket(handle: Handle) -> None:
    def options() -> tuple[int, int]:
        with socket.socket(fileno=os.dup(handle.fileno())) as same:
            get = same.getsockopt
            return get(socket.SOL_SOCKET, socket.SO_SNDBUF), get(socket.SOL_SOCKET, socket.SO_RCVBUF)

    assert (handle.send_buffer, handle.receive_buffer) == options()
    handle.set_buffers(1 << 16, 1 << 17)
    assert (handle.send_buffer, handle.receive_buffer) == options() == (1 << 17, 1 << 18)
    handle.set_buffers(0xFFFFFFFF, 0)
    assert (handle.send_buffer, handle.receive_buffer) == options()


def test_interfaces_are_those_of_the_namespace(handle: Handle) -> None:
    assert handle.interface_index("lo") == 1
    for name in ("", "nosuch0", "a name far too long for an interface"):
        assert handle.interface_index(name) == 0, name


def test_close_twice(namespace: int) -> None:
    handle = open_byproto(netns=namespace)
    descriptor = handle.fileno()
    handle.close()
    handle.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


USES: dict[str, Callable[[Handle], object]] = {
    "fileno": lambda handle: handle.fileno(),
    "port": lambda handle: handle.port,
    "send_buffer": lambda handle: handle.send_buffer,
    "receive_buffer": lambda handle: handle.receive_buffer,
    "set_buffers": lambda handle: handle.set_buffers(1, 1),
    "interface_index": lambda handle: handle.interface_index("lo"),
    "open_beside": lambda handle: handle.open_beside(),
    "talk": lambda handle: handle.talk(policy(1), "add policy"),
    "talk_batch": lambda handle: handle.talk_batch(bytearray(policy(1)), 1, outcome=BatchOutcome()),
    "dump": lambda handle: list(handle.dump(DUMP, "dump")),
    "listen": lambda handle: handle.listen(timeout=1),
    "open_listener": lambda handle: handle.open_listener(1, all_namespaces=False, buffer=0, backlog=0),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_use_after_close(namespace: int, use: Callable[[Handle], object]) -> None:
    with open_byproto(netns=namespace) as handle:
        pass
    with pytest.raises(ClosedError, match="closed"):
        use(handle)


def test_a_dump_that_goes_on_after_close(handle: Handle) -> None:
    add_many(handle, range(1000))
    dump = handle.dump(DUMP, "dump", timeout=10)
    next(dump)
    handle.close()
    with pytest.raises(ClosedError):
        list(dump)


FORK = """
import os, sys
from xfrm_ext import ClosedError, Policy, Session
from xfrm_ext.rtnl import BatchOutcome, open_byproto

def refuses(use):
    try:
        use()
    except ClosedError as error:
        return "parent" in str(error)
    return False

namespace = int(sys.argv[1])
handle, session = open_byproto(netns=namespace), Session(namespace)
flush = bytes([16, 0, 0, 0, 0x1d, 0, 1, 0]) + bytes(8)
child = os.fork()
if not child:
    uses = [
        lambda: handle.talk(flush, "flush policies"),
        lambda: handle.talk_batch(bytearray(flush), 1, outcome=BatchOutcome()),
        lambda: list(handle.dump(flush, "dump")),
        lambda: handle.listen(timeout=1),
        lambda: session.spd.count(),
        lambda: list(session.spd.dump()),
        lambda: session.spd.load([Policy(direction="in")]),
    ]
    bad = [number for number, use in enumerate(uses) if not refuses(use)]
    handle.close()
    session.close()
    with Session(namespace) as own:
        own.spd.add(Policy(direction="out"))
    os._exit(1 if bad else 0)
status = os.waitpid(child, 0)[1]
if status:
    raise SystemExit(f"the child ended with {status}")
session.spd.add(Policy(direction="in"))
if sorted(policy.direction for policy in session.spd.dump()) != [0, 1]:
    raise SystemExit("the parent's session does not work any more")
handle.talk(flush, "flush policies")
if session.spd.count().total:
    raise SystemExit("the parent's handle does not work any more")
handle.close()
session.close()
"""


def test_use_after_fork(namespace: int) -> None:
    """The child is refused, may close what it inherited and open its own; the parent's go on to work."""
    command = [sys.executable, "-W", "error", "-c", FORK, str(namespace)]
    done = subprocess.run(command, pass_fds=[namespace], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_descriptors_are_not_inherited(handle: Handle) -> None:
    assert not os.get_inheritable(handle.fileno())
    with handle.open_beside() as beside:
        assert not os.get_inheritable(beside.fileno())


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_no_descriptor_leaks(namespace: int) -> None:
    gc.collect()
    before = open_descriptors()
    for number in range(1000):
        with open_byproto(netns=namespace) as handle:
            if number % 10 == 0:
                handle.open_beside().close()
                list(handle.dump(DUMP, "dump"))
    assert open_descriptors() == before


def test_a_forgotten_handle_is_closed(namespace: int) -> None:
    """In C: a signal handler that ran in a __del__ of Python's could raise, and it would be lost."""
    before = open_descriptors()
    for _ in range(10):
        open_byproto(netns=namespace)
    gc.collect()
    assert open_descriptors() == before
    assert not hasattr(Handle, "__del__")


def test_no_descriptor_leaks_from_a_failed_open(namespace: int, tmp_path: os.PathLike[str]) -> None:
    before = open_descriptors()
    ordinary = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(10):
            with pytest.raises(KernelError) as caught:
                open_byproto(netns=ordinary)
            assert (caught.value.errno, caught.value.operation) == (errno.EINVAL, "open a netlink socket")
            with pytest.raises(KernelError) as caught:
                open_byproto(protocol=31, netns=namespace)
            assert caught.value.errno == errno.EPROTONOSUPPORT
            with pytest.raises(KernelError) as caught:
                open_byproto(netns=9999)
            assert caught.value.errno == errno.EBADF
    finally:
        os.close(ordinary)
    assert open_descriptors() == before


# --- namespaces -----------------------------------------------------------------------------------------


def current() -> tuple[str, set[signal.Signals | int]]:
    return os.readlink("/proc/thread-self/ns/net"), signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_opening_elsewhere_leaves_the_caller_where_it_is(namespace: int, tmp_path: os.PathLike[str]) -> None:
    before = current()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        masked = current()
        assert masked != before
        with open_byproto(netns=namespace) as handle, handle.open_beside():
            assert current() == masked
        with inside(namespace):
            elsewhere = current()
            assert elsewhere[0] != before[0]
            with network_namespace() as third, open_byproto(netns=third):
                assert current() == elsewhere
        ordinary = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(KernelError):
                open_byproto(netns=ordinary)
        finally:
            os.close(ordinary)
        assert current() == masked
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    assert current() == before


def test_a_socket_beside_is_in_the_same_namespace(namespace: int) -> None:
    """Wherever the calling thread is: here, there, or in a third namespace."""
    with network_namespace() as third:
        with inside(namespace):
            handle = open_byproto()  # without a descriptor: where the thread is
        with handle:
            handle.talk(policy(1), "add policy")
            for place in (None, namespace, third):
                if place is None:
                    assert numbers(handle) == [1]
                    continue
                with inside(place):
                    assert numbers(handle) == [1]
        with open_byproto(netns=third) as other:
            assert numbers(other) == []


def test_a_session_by_path(namespace: int) -> None:
    path = f"/proc/self/fd/{namespace}"
    with Session(namespace) as one, Session(path) as two, open_byproto(netns=namespace) as handle:
        handle.talk(policy(1), "add policy")
        assert one.spd.count().output == two.spd.count().output == 1


# --- blocks of messages ---------------------------------------------------------------------------------


def test_messages_of_a_block() -> None:
    parts = [message(NLMSG_NOOP), policy(1), message(NLMSG_NOOP, b"abc") + b"\0", policy(2)]
    found = messages(b"".join(parts))
    assert found == [parts[0], parts[1], parts[2][:-1], parts[3]]
    assert messages(b"") == []


@pytest.mark.parametrize("tail", [b"\0", bytes(15), bytes(16), HEADER.pack(17, 1, 0, 0, 0)])
def test_messages_of_a_block_that_does_not_fit(tail: bytes) -> None:
    with pytest.raises(ProtocolError, match="length"):
        messages(policy(1) + tail)

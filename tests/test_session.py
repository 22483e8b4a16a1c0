# SPDX-License-Identifier: MIT
"""A session inside somebody else's program: namespaces, forks, signals, and ends that go wrong."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from xfrm_ext import (
    Attribute,
    BusyError,
    ClosedError,
    KernelError,
    LoadError,
    Message,
    Policy,
    Session,
    Template,
    ValidationError,
)
from xfrm_ext.codec import select
from xfrm_ext.rtnl import BatchOutcome, Handle, open_byproto
from xfrm_ext.testing import Answer, FakeTransport, Refusal

CODEC = select()
encode, decode = CODEC.encode, CODEC.decode

INFO = struct.pack("=IHHII", 48, 0x24, 0, 1, 1) + struct.pack("=I", 0) + struct.pack("=HH6I", 28, 1, *[0] * 6)


@pytest.fixture
def handle(namespace: int) -> Iterator[Handle]:
    with open_byproto(netns=namespace) as opened:
        yield opened


@pytest.mark.parametrize("message", [b"", b"\x10\0\0\0", bytes(16), struct.pack("=IHHII", 60000, 0x15, 1, 0, 0)])
def test_a_length_that_lies_is_never_believed(handle: Handle, message: bytes) -> None:
    with pytest.raises(ValidationError, match="bytes long, and its header says"):
        handle.talk(message, "lie")
    with pytest.raises(ValidationError, match="bytes long, and its header says"):
        list(handle.dump(message, "lie"))


def test_a_message_that_was_sent_before_is_sent_again(handle: Handle, session: Session) -> None:
    recorded = bytearray(encode(Policy(direction="in")))
    recorded[8:16] = b"\1\2\3\4\5\6\7\0"
    handle.talk(bytes(recorded), "add policy", timeout=5)
    assert session.spd.count().total == 1


def test_a_plain_ack_is_no_answer(handle: Handle) -> None:
    assert handle.talk(encode(Policy(direction="in")), "add policy", answer=True) is None


def test_never_in_another_namespace_by_guess(namespace: int) -> None:
    """A process that gave its privilege away can't read the SPD: it must not read another one instead."""
    program = """
import ctypes, xfrm_ext
session = xfrm_ext.Session()
session.spd.add(xfrm_ext.Policy(direction="in"))
assert ctypes.CDLL(None).unshare(0x50000000) == 0  # CLONE_NEWUSER | CLONE_NEWNET
try:
    print(list(session.spd.dump()))
except xfrm_ext.PermissionDenied as error:
    print(error)
"""
    inside = ["nsenter", f"--net=/proc/self/fd/{namespace}", sys.executable, "-c", program]
    result = subprocess.run(inside, pass_fds=[namespace], capture_output=True, text=True, check=True)
    assert result.stdout == "find the session's network namespace: Operation not permitted [EPERM]\n"


def test_a_fork_while_another_thread_has_its_turn(session: Session) -> None:
    lock: Any = session._transport._lock  # type: ignore[attr-defined]
    # The thread that entered the namespace may still be ending, and a sanitizer's allocator is locked meanwhile: a
    # child would wait for it for ever.
    deadline = time.monotonic() + 5
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    with lock:
        child = os.fork()
        if child == 0:
            try:
                session.spd.count()
            except ClosedError:
                session.close()
                os._exit(7)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert session.spd.count().total == 0


def during_an_exchange(action: Callable[[Session], object]) -> Session:
    """A session for whose thread a signal handler does something in the middle of an exchange."""

    def answer(message: bytes) -> Answer:
        if message[4] == Message.NEWPOLICY:
            signal.raise_signal(signal.SIGUSR1)
        return None

    session = Session(transport=FakeTransport(answer))

    def handler(number: int, frame: FrameType | None) -> None:
        action(session)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        session.spd.add(Policy(direction="in"))
    finally:
        signal.signal(signal.SIGUSR1, before)
    return session


def test_a_signal_handler_that_uses_the_session() -> None:
    with pytest.raises(BusyError, match="signal handler"):
        during_an_exchange(lambda session: session.spd.flush())


def test_a_signal_handler_that_closes_the_session() -> None:
    closed: list[bool] = []

    def close(session: Session) -> None:
        session.close()
        closed.append(session._transport._transport.closed)  # type: ignore[attr-defined]

    session = during_an_exchange(close)
    assert closed == [False], "the exchange was not over"
    assert session._transport._transport.closed  # type: ignore[attr-defined]


def test_threads_take_turns() -> None:
    inside: list[int] = []
    most: list[int] = []

    def answer(message: bytes) -> Answer:
        inside.append(1)
        most.append(len(inside))
        inside.pop()
        return None

    session = Session(transport=FakeTransport(answer))

    def flush() -> None:
        for _ in range(200):
            session.spd.flush()

    threads = [threading.Thread(target=flush) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(most) == 1600


def test_a_load_waits_no_longer_than_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)  # no time passes: what is left is all of it
    waits: list[float | None] = []

    class Recorder(FakeTransport):
        def talk_batch(self, *arguments: Any, timeout: float | None = None, **options: Any) -> None:
            waits.append(timeout)
            super().talk_batch(*arguments, timeout=timeout, **options)

    def load(session_timeout: float | None, timeout: float | None) -> None:
        transport = Recorder(lambda message: INFO if message[4] == Message.GETSPDINFO else None)
        Session(transport=transport, timeout=session_timeout).spd.load([Policy(direction="in")], timeout=timeout)

    load(5.0, None)
    load(None, None)
    load(5.0, 1000.0)
    load(1000.0, 2.0)
    assert waits == [5.0, None, 5.0, 2.0]


# --- a rollback that can't be done ------------------------------------------------------------------------------


def refusing_to_roll_back(message: bytes) -> Answer:
    if message[4] == Message.GETSPDINFO:
        return INFO
    if message[4] == Message.GETPOLICY:
        return Refusal(errno.ENOMEM, "no room")
    (priority,) = struct.unpack_from("=I", message, 16 + 152)
    return Refusal(errno.EEXIST) if priority == 5 else None


def policies() -> Iterator[Policy]:
    for number in range(6):
        yield Policy(direction="in", priority=number, if_id=number + 1)


def test_the_first_error_stays_the_error() -> None:
    with pytest.raises(LoadError) as caught:
        Session(transport=FakeTransport(refusing_to_roll_back)).spd.load(policies(), on_error="rollback", batch=2)
    result = caught.value.result
    assert isinstance(caught.value.__cause__, KernelError)
    assert caught.value.__cause__.index == 5
    assert isinstance(result.rollback_error, KernelError)
    assert result.rollback_error.kernel_text == "no room"
    assert (list(result.applied), list(result.rolled_back)) == ([0, 1, 2, 3, 4], [])


def test_ctrl_c_stays_ctrl_c() -> None:
    def source() -> Iterator[Policy]:
        yield from list(policies())[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        Session(transport=FakeTransport(refusing_to_roll_back)).spd.load(source(), on_error="rollback", batch=2)
    result = caught.value.load_result  # type: ignore[attr-defined]
    assert result.rollback_error.errno == errno.ENOMEM
    assert (list(result.applied), list(result.rolled_back)) == ([0, 1, 2, 3], [])


def test_a_rollback_that_stops_half_way() -> None:
    installed: list[bytes] = []

    class Losing(FakeTransport):
        def talk_batch(self, block: bytearray, count: int, *, outcome: BatchOutcome, **options: Any) -> None:
            super().talk_batch(block, count, outcome=outcome, **options)
            if block[4] == Message.DELPOLICY and len(installed) <= 2:
                outcome.acked, outcome.error = 0, errno.ENOBUFS

        def open_beside(self, protocol: int | None = None) -> FakeTransport:
            return self

        def close(self) -> None:
            pass

    def answer(message: bytes) -> Answer:
        if message[4] == Message.GETPOLICY:
            return list(installed)
        if message[4] == Message.DELPOLICY:
            installed.pop(0)
            return None
        reply = refusing_to_roll_back(message)
        if reply is None:
            number = struct.pack("=I", 8 * (len(installed) + 1))
            installed.append(message[: 16 + 156] + number + message[16 + 160 :])
        return reply

    with pytest.raises(LoadError) as caught:
        Session(transport=Losing(answer)).spd.load(policies(), on_error="rollback", batch=2)
    result = caught.value.result
    assert "the receive buffer overflowed" in str(result.rollback_error)
    assert list(result.rolled_back) == [0, 1]
    assert (list(result.unknown), list(result.applied)) == ([2, 3], [4])


# --- what comes back is what went --------------------------------------------------------------------------------


def test_flags_of_unknown_attributes_survive() -> None:
    attribute = Attribute(0x8000 | 100, b"nested")
    policy = Policy(direction="in", attributes=[attribute])
    assert encode(policy)[-12:] == struct.pack("=HH", 10, 0x8064) + b"nested\0\0"
    again = decode(encode(policy))
    assert isinstance(again, Policy)
    assert again.attributes == (attribute,)


def test_padding_is_no_difference() -> None:
    policy = Policy(direction="in", templates=[Template(protocol="esp")])
    message = bytearray(encode(policy))
    for place in (21, 22, 23, 26, 27, 51):  # of struct xfrm_user_tmpl
        message[16 + 168 + 4 + place] = 9
    assert decode(bytes(message)) == policy


def test_a_policy_that_no_message_can_hold() -> None:
    attributes = [Attribute(100, bytes(40000))] * 2
    with pytest.raises(ValidationError, match="is a message of more than 65536 bytes"):
        Policy(direction="in", attributes=attributes)

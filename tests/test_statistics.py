# SPDX-License-Identifier: MIT
"""session.statistics(): the counters of the session's own network namespace."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
from test_sockets import up

from xfrm_ext import (
    ClosedError,
    KernelError,
    NotFound,
    Policy,
    ProtocolError,
    Session,
    Statistics,
    ValidationError,
    set_policy,
)
from xfrm_ext.rtnl import open_byproto
from xfrm_ext.testing import FakeTransport, inside, network_namespace

HERE = Path("/proc/thread-self/net/xfrm_stat")

needs_statistics = pytest.mark.skipif(not HERE.exists(), reason="this kernel is without CONFIG_XFRM_STATISTICS")


def reading(content: bytes) -> Session:
    """A session whose kernel has this in /proc/net/xfrm_stat."""
    return Session(transport=FakeTransport(lambda message: None, proc_net={"xfrm_stat": content}))


def block_something(namespace: int, times: int) -> None:
    """Sends packets over `lo` that a policy of their socket blocks."""
    up(namespace)
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        set_policy(sender, Policy(direction="out", action="block"))
        for _ in range(times):
            with pytest.raises(PermissionError):
                sender.sendto(b"", ("127.0.0.1", 9))


@needs_statistics
def test_every_counter_that_the_kernel_has(session: Session) -> None:
    expected = [line.split()[0] for line in HERE.read_text().splitlines()]
    found = session.statistics()
    assert list(found) == expected
    assert len(found) == len(expected) > 20
    assert set(found.values()) == {0}
    assert found.nonzero == {}


@needs_statistics
def test_they_are_of_the_sessions_namespace(namespace: int, session: Session) -> None:
    before = session.statistics()
    block_something(namespace, 3)
    after = session.statistics()
    assert after.nonzero == {"XfrmOutPolBlock": 3}
    assert after["XfrmOutPolBlock"] == 3
    assert (after - before).nonzero == {"XfrmOutPolBlock": 3}
    with inside(namespace), Session() as within:
        assert within.statistics() == after
    with network_namespace() as another, Session(another) as elsewhere:
        assert elsewhere.statistics().nonzero == {}
        with inside(another):  # wherever the calling thread is
            assert session.statistics() == after


@needs_statistics
def test_nothing_stays_open(session: Session) -> None:
    session.statistics()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(50):
        session.statistics()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_other_files_and_none(namespace: int) -> None:
    with open_byproto(netns=namespace) as handle:
        assert handle.read_proc_net("dev").startswith(b"Inter-")
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(NotFound, match="read /proc/net/nosuch: No such file"):
            handle.read_proc_net("nosuch")
        with inside(namespace), pytest.raises(NotFound):
            handle.read_proc_net("nosuch")
        assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ClosedError):
        handle.read_proc_net("dev")


def test_of_a_closed_session(session: Session) -> None:
    session.close()
    for call in (session.statistics, session.features().as_dict, lambda: list(session.links.dump())):
        with pytest.raises(ClosedError):
            call()


def test_a_value_among_values() -> None:
    first, second = Statistics({"XfrmInError": 1, "XfrmNew": 0}), Statistics({"XfrmInError": 4, "XfrmNew": 2})
    assert second - first == {"XfrmInError": 3, "XfrmNew": 2}
    assert Statistics({"XfrmInError": 3}) - {} == {"XfrmInError": 3}
    assert first == {"XfrmInError": 1, "XfrmNew": 0}
    assert first != second
    assert hash(first) == hash(copy.copy(first)) == hash(pickle.loads(pickle.dumps(first)))
    assert pickle.loads(pickle.dumps(first)) == first
    assert repr(first) == "Statistics({'XfrmInError': 1})"
    assert "XfrmNew" in first
    with pytest.raises(KeyError):
        first["XfrmOld"]
    with pytest.raises(TypeError):
        first["XfrmNew"] = 1  # type: ignore[index]
    taken = {"XfrmInError": 1}
    made = Statistics(taken)
    taken["XfrmInError"] = 2
    assert made["XfrmInError"] == 1


def test_counters_of_later_kernels_survive() -> None:
    content = b"XfrmInError             \t18446744073709551615\nXfrmThingOfTheFuture    \t7\n"
    assert reading(content).statistics() == {"XfrmInError": (1 << 64) - 1, "XfrmThingOfTheFuture": 7}
    assert reading(b"").statistics() == {}


@pytest.mark.parametrize(
    "content",
    [b"XfrmInError\n", b"XfrmInError\t\n", b"\t5\n", b"A\t-1\n", b"A\tx\n", b"\n", b"\xff\xfe\0", b"A\t1\t2\n"],
)
def test_a_file_that_makes_no_sense(content: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^/proc/net/xfrm_stat has a line that is no counter: "):
        reading(content).statistics()


def test_a_kernel_without_them() -> None:
    with pytest.raises(KernelError) as caught:
        Session(transport=FakeTransport(lambda message: None)).statistics()
    assert caught.value.errno == errno.EOPNOTSUPP
    assert "which a kernel without CONFIG_XFRM_STATISTICS lacks" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({1: 2}, "Statistics: {1: 2} is not a name and its number"),
        ({"XfrmInError": "1"}, "Statistics: {'XfrmInError': '1'} is not a name and its number"),
        ({"XfrmInError": True}, "Statistics: {'XfrmInError': True} is not a name and its number"),
        (None, "Statistics: None is not a mapping of names to numbers"),
        ([("XfrmInError", 1)], "Statistics: [('XfrmInError', 1)] is not a mapping of names to numbers"),
    ],
)
def test_bad_input(wrong: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Statistics(wrong)
    assert str(caught.value) == message

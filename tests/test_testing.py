# SPDX-License-Identifier: MIT
"""The bulk loader over a scripted kernel: every way that a load can end, and what the result says then."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfrm_ext import (
    AlreadyExists,
    BatchFileError,
    Indices,
    KernelError,
    LoadError,
    LoadResult,
    Mark,
    Message,
    Policy,
    ProtocolError,
    RepliesLost,
    ReplyTimeout,
    Selector,
    Session,
    ValidationError,
)
from xfrm_ext.bulk import OnError
from xfrm_ext.testing import Answer, FakeTransport, Refusal

INFO = struct.pack("=IHHII", 48, 0x24, 0, 1, 1) + struct.pack("=I", 0) + struct.pack("=HH6I", 28, 1, *[0] * 6)


def kernel(policies: Callable[[bytes], Answer] = lambda message: None) -> FakeTransport:
    """A kernel that tells its counters, and leaves policies to the function."""
    return FakeTransport(lambda message: INFO if message[4] == Message.GETSPDINFO else policies(message))


def made(count: int) -> list[Policy]:
    return [Policy(direction="in", priority=number) for number in range(count)]


def priority_of(message: bytes) -> int:
    return int(struct.unpack_from("=I", message, 16 + 152)[0])


def refusing(numbers: set[int]) -> Callable[[bytes], Answer]:
    return lambda message: Refusal(errno.EEXIST, "taken") if priority_of(message) in numbers else None


def sent(transport: FakeTransport) -> list[int]:
    return [priority_of(message) for message in transport.sent if message[4] != Message.GETSPDINFO]


def shape(result: LoadResult) -> dict[str, Any]:
    return {
        "applied": list(result.applied),
        "failed": [error.index for error in result.failed],
        "unknown": list(result.unknown),
        "not_sent": list(result.not_sent),
    }


@given(st.integers(0, 40), st.integers(1, 12), st.sets(st.integers(0, 39)), st.booleans())
def test_every_item_is_in_its_place(count: int, batch: int, refused: set[int], collect: bool) -> None:
    transport = kernel(refusing(refused))
    expected_failures = sorted(number for number in refused if number < count)
    spd = Session(transport=transport).spd
    if collect or not expected_failures:
        result = spd.load(made(count), batch=batch, on_error="collect" if collect else "raise")
        end = count
    else:
        with pytest.raises(LoadError) as caught:
            spd.load(made(count), batch=batch)
        result = caught.value.result
        assert caught.value.__cause__ is result.failed[0]
        # The send with the first refusal was the last one.
        end = min(count, (expected_failures[0] // batch + 1) * batch)
        expected_failures = [number for number in expected_failures if number < end]
    assert end <= result.taken <= count
    assert sent(transport) == list(range(end))
    assert shape(result) == {
        "applied": [number for number in range(end) if number not in expected_failures],
        "failed": expected_failures,
        "unknown": [],
        "not_sent": list(range(end, result.taken)),
    }
    for error in result.failed:
        assert isinstance(error, AlreadyExists)
        assert str(error) == f"add (item {error.index}): File exists [EEXIST]: taken"


class Scripted:
    """A kernel that keeps what it is told to add, and does something else at some of the items."""

    def __init__(self, events: dict[int, str]) -> None:
        self.events = events
        self.installed: dict[int, bytes] = {}

    def __call__(self, message: bytes) -> Answer:
        if message[4] == Message.GETPOLICY:
            return list(self.installed.values())
        if message[4] == Message.DELPOLICY:
            (index,) = struct.unpack_from("=I", message, 16 + 56)
            return None if self.installed.pop(index >> 3, None) else Refusal(errno.ENOENT)
        number = priority_of(message)
        event = self.events.get(number)
        if event == "refuse":
            return Refusal(errno.EEXIST)
        if event == "interrupt":
            raise KeyboardInterrupt
        # The kernel has done it before the reply gets lost.
        self.installed[number] = message[: 16 + 156] + struct.pack("=I", number << 3) + message[16 + 160 :]
        if event == "lose":
            raise RepliesLost("lost")
        return None


@given(
    count=st.integers(0, 40),
    batch=st.integers(1, 12),
    events=st.dictionaries(
        st.integers(0, 39), st.sampled_from(["refuse", "refuse", "refuse", "lose", "interrupt"])
    ),
    on_error=st.sampled_from(["raise", "collect", "rollback"]),
    generator=st.booleans(),
    stop=st.none() | st.integers(0, 39),
)
def test_the_result_is_what_the_kernel_did(
    count: int, batch: int, events: dict[int, str], on_error: OnError, generator: bool, stop: int | None
) -> None:
    script = Scripted(events)
    policies = [Policy(direction="in", priority=number, if_id=number + 1) for number in range(count)]

    def source() -> Iterator[Policy]:
        for policy in policies:
            if policy.priority == stop:
                raise KeyboardInterrupt
            yield policy

    failed = True
    try:
        spd = Session(transport=kernel(script)).spd
        result = spd.load(source() if generator else policies, batch=batch, on_error=on_error)
        failed = False
    except LoadError as error:
        result = error.result
    except KeyboardInterrupt as error:
        result = error.load_result  # type: ignore[attr-defined]
    refused = [error.index for error in result.failed]
    kept, gone = set(result.applied), set(result.rolled_back)
    parts = [*result.applied, *refused, *result.unknown, *result.not_sent, *gone]
    assert sorted(parts) == list(range(result.taken))
    there = set(script.installed)
    assert kept <= there <= kept | set(result.unknown)
    assert all(events.get(number) == "refuse" for number in refused if number is not None)
    assert not gone & there
    if failed and on_error == "rollback":
        assert not kept
    if not failed:
        assert result.taken == count
        assert there == kept == {number for number in range(count) if events.get(number) is None}
        assert refused == [] or on_error == "collect"


@pytest.mark.parametrize("kind", [RepliesLost, ReplyTimeout])
@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_lost_replies_are_named(kind: type[Exception], on_error: Any) -> None:
    def lose(message: bytes) -> Answer:
        if priority_of(message) == 6:
            raise kind("lost")
        return Refusal(errno.EINVAL) if priority_of(message) == 2 and on_error == "collect" else None

    with pytest.raises(LoadError) as caught:
        Session(transport=kernel(lose)).spd.load(made(20), batch=4, on_error=on_error)
    assert isinstance(caught.value.__cause__, kind)
    failed = [2] if on_error == "collect" else []
    assert shape(caught.value.result) == {
        "applied": [number for number in range(4) if number not in failed],
        "failed": failed,
        "unknown": [4, 5, 6, 7],
        "not_sent": [],
    }
    assert caught.value.result.taken == 8
    assert "4 unknown" in str(caught.value)


def test_the_time_is_up() -> None:
    transport = kernel()
    with pytest.raises(LoadError) as caught:
        Session(transport=transport).spd.load(made(10), batch=4, timeout=1e-9)
    assert isinstance(caught.value.__cause__, ReplyTimeout)
    assert shape(caught.value.result) == {"applied": [], "failed": [], "unknown": [], "not_sent": [0, 1, 2, 3]}
    assert sent(transport) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_of_the_progress_callback(error: type[BaseException]) -> None:
    def progress(done: int, total: int | None) -> None:
        if done >= 8:
            raise error("enough")

    with pytest.raises(error) as caught:
        Session(transport=kernel()).spd.load(made(20), batch=4, progress=progress)
    result = caught.value.load_result  # type: ignore[attr-defined]
    assert (list(result.applied), result.taken) == (list(range(8)), 8)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, TypeError])
def test_an_error_of_the_source(error: type[BaseException]) -> None:
    def source() -> Iterator[Policy]:
        yield from made(10)
        raise error("dry")

    transport = kernel()
    with pytest.raises(error) as caught:
        Session(transport=transport).spd.load(source(), batch=4)
    result = caught.value.load_result  # type: ignore[attr-defined]
    assert shape(result) == {"applied": list(range(8)), "failed": [], "unknown": [], "not_sent": [8, 9]}
    assert sent(transport) == list(range(8))


def test_a_source_with_something_else_in_it() -> None:
    transport = kernel()
    spd = Session(transport=transport).spd
    with pytest.raises(ValidationError, match=r"^source\[5\]: 'policy' is not a Policy$"):
        spd.load([*made(5), "policy"], batch=4)  # type: ignore[list-item]
    assert transport.sent == []
    # A selector is its bytes too, and must not be taken for a message.
    for other in ("policy", Selector()):
        with pytest.raises(ValidationError, match=r"^source\[5\]: .* is not a Policy$") as caught:
            spd.load(iter([*made(5), other]), batch=4)  # type: ignore[arg-type]
        result = caught.value.load_result  # type: ignore[attr-defined]
        assert shape(result) == {"applied": [0, 1, 2, 3], "failed": [], "unknown": [], "not_sent": [4, 5]}


def test_loads_need_no_counters() -> None:
    """A kernel that does not tell its counters, as a simple script for FakeTransport, is loaded unpaced."""
    for answer in (None, Refusal(errno.EPERM), b"short"):
        transport = FakeTransport(lambda message, answer=answer: answer if message[4] == 0x25 else None)  # type: ignore[misc]
        assert len(Session(transport=transport).spd.load(made(3)).applied) == 3


def test_progress() -> None:
    seen: list[tuple[int, int | None]] = []
    spd = Session(transport=kernel()).spd
    spd.load(made(10), batch=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 10), (8, 10), (10, 10)]
    seen.clear()
    spd.load(iter(made(5)), batch=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, None), (5, None)]


def test_operations() -> None:
    for operation, kind in (("add", 0x13), ("update", 0x19), ("delete", 0x14)):
        transport = kernel()
        result = Session(transport=transport).spd.load(made(3), operation=operation)  # type: ignore[arg-type]
        assert (len(result.applied), result.operation) == (3, operation)
        kinds = [message[4] for message in transport.sent if message[4] != Message.GETSPDINFO]
        assert kinds == [kind] * 3


def test_rollback_deletes_by_index_what_was_added() -> None:
    installed: dict[int, bytes] = {}

    def answer(message: bytes) -> Answer:
        if message[4] == Message.GETPOLICY:
            return list(installed.values())
        if message[4] == Message.DELPOLICY:
            (index,) = struct.unpack_from("=I", message, 16 + 56)
            return None if installed.pop(index, None) else Refusal(errno.ENOENT)
        number = 8 * (1000 + len(installed))
        if priority_of(message) == 7:
            return Refusal(errno.EEXIST)
        installed[number] = message[: 16 + 156] + struct.pack("=I", number) + message[16 + 160 :]
        return None

    before = Policy(direction="in", if_id=1)
    policies = [Policy(direction="in", priority=number, if_id=100 + number) for number in range(10)]
    session = Session(transport=kernel(answer))
    session.spd.add(before)
    with pytest.raises(LoadError, match="8 rolled back") as caught:
        session.spd.load(policies, batch=3, on_error="rollback")
    result = caught.value.result
    assert (len(result.applied), list(result.rolled_back)) == (0, [0, 1, 2, 3, 4, 5, 6, 8])
    assert [policy.if_id for policy in session.spd.dump()] == [1]


def test_wrong_lines_and_refusals_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policies"
    path.write_text("policy add dir in priority 0\nnonsense\n\npolicy add dir in priority 1\npolicy add\n")
    transport = kernel(refusing({1}))
    result = Session(transport=transport).spd.load_batch_file(path, on_error="collect")
    assert [(error.index, error.line) for error in result.failed] == [(1, 2), (2, 4), (3, 5)]
    assert [type(error) for error in result.failed] == [BatchFileError, AlreadyExists, BatchFileError]
    assert (list(result.applied), result.taken) == ([0], 4)
    assert str(result.failed[1]) == "load (line 4): File exists [EEXIST]: taken"


@pytest.mark.parametrize(
    ("refusal", "attribute"),
    [
        (Refusal(errno.EINVAL, offset=16 + 168), "XFRMA_MARK"),
        (Refusal(errno.EINVAL, offset=16 + 168 + 12), "XFRMA_IF_ID"),
        (Refusal(errno.EINVAL, missing_type=5), "XFRMA_TMPL"),
        (Refusal(errno.EINVAL, offset=20), None),
        (Refusal(errno.EINVAL, offset=5000), None),
        (Refusal(errno.EINVAL), None),
    ],
)
def test_the_attribute_at_fault(refusal: Refusal, attribute: str | None) -> None:
    policy = Policy(direction="in", mark=Mark(1), if_id=2)
    spd = Session(transport=kernel(lambda message: refusal)).spd
    with pytest.raises(KernelError) as caught:
        spd.add(policy)
    assert caught.value.attribute == attribute
    result = spd.load([policy], on_error="collect")
    assert isinstance(result.failed[0], KernelError)
    assert result.failed[0].attribute == attribute


def test_answers_that_make_no_sense() -> None:
    spd = Session(transport=FakeTransport(lambda message: None)).spd
    with pytest.raises(ProtocolError, match="acknowledged, but did not answer"):
        spd.count()
    spd = Session(transport=FakeTransport(lambda message: INFO)).spd
    with pytest.raises(ProtocolError, match="did not answer with a policy"):
        spd.get(index=8, direction="in")
    spd = Session(transport=FakeTransport(lambda message: b"short")).spd
    with pytest.raises(ProtocolError):
        spd.count()
    spd = Session(transport=FakeTransport(lambda message: [b"\1" * 40])).spd
    with pytest.raises(ProtocolError):
        list(spd.dump())


# --- numbers of items ---------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 60)))
def test_indices_are_a_sequence(numbers: set[int]) -> None:
    wanted = sorted(numbers)
    indices = Indices(range(number, number + 1) for number in wanted)
    assert list(indices) == wanted == [indices[i] for i in range(len(indices))]
    assert [number for number in range(-2, 63) if number in indices] == wanted
    assert indices[1:-1] == wanted[1:-1]
    assert [indices[-1 - i] for i in range(len(wanted))] == wanted[::-1]
    assert all(one.stop < other.start for one, other in zip(indices.ranges, indices.ranges[1:], strict=False))
    assert sum(map(len, indices.ranges)) == len(indices) == len(wanted)
    again = Indices(indices.ranges)
    assert again == indices
    assert hash(again) == hash(indices)
    for outside in (len(wanted), -len(wanted) - 1):
        with pytest.raises(IndexError):
            indices[outside]


def test_indices_are_shown_as_ranges() -> None:
    assert repr(Indices([range(0, 3), range(3, 5), range(9, 10)])) == "Indices(0-4, 9)"
    assert repr(Indices()) == "Indices()"
    assert "x" not in Indices([range(3)])  # type: ignore[comparison-overlap]

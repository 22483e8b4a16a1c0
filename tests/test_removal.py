# SPDX-License-Identifier: MIT
"""Deleting many policies against the real kernel: by index where that matters, always with what the kernel says."""

from __future__ import annotations

import pickle
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy
import pytest
from test_bulk import canonical, check_account, failures

from xfrm_ext import (
    Columns,
    DeleteResult,
    KernelError,
    LoadError,
    Mark,
    NotFound,
    Policy,
    ReplyTimeout,
    Selector,
    Session,
    ValidationError,
    set_policy,
    wire,
)
from xfrm_ext.constants import Message
from xfrm_ext.rtnl import Handle
from xfrm_ext.testing import inside
from xfrm_ext.transport import messages

MANY = 1000
IP_XFRM_POLICY = 17
_INDEX = slice(16 + 56, 16 + 60)  # of struct xfrm_userpolicy_id in a DELPOLICY message


def block(number: int, **values: Any) -> Policy:
    """A policy for a block of addresses, which the kernel keeps in a tree; its number is its priority."""
    given: dict[str, Any] = {"direction": "out", "priority": number} | values
    return Policy(Selector(f"10.{number >> 8}.{number & 255}.0/24", "192.0.2.0/24"), **given)


def host(number: int, **values: Any) -> Policy:
    """A policy that it finds by hash."""
    return Policy(
        Selector(f"10.{number >> 8}.{number & 255}.1", "192.0.2.1"), direction="out", priority=number, **values
    )


BLOCKS = [block(number) for number in range(MANY)]


class Watched(Handle):
    """The real transport; it notes how policies were deleted."""

    def __init__(self, netns: int) -> None:
        super().__init__(netns=netns)
        self.by: Counter[str] = Counter()

    def talk_batch(self, block: bytearray, count: int, **options: Any) -> None:
        kinds = wire.message_types(block)
        for kind, message in zip(kinds, messages(bytes(block)), strict=True):
            if kind == Message.DELPOLICY:
                self.by["index" if any(message[_INDEX]) else "selector"] += 1
        super().talk_batch(block, count, **options)


@pytest.fixture
def watched(namespace: int) -> Watched:
    return Watched(namespace)


@pytest.fixture
def session(watched: Watched) -> Iterator[Session]:
    with Session(transport=watched) as opened:
        yield opened


def priorities(session: Session) -> list[int]:
    return sorted(policy.priority for policy in session.spd.dump())


def everything() -> list[Policy]:
    """Policies that differ in all that the kernel tells policies apart by, many of each kind."""
    kinds: list[dict[str, Any]] = [
        {},
        {"direction": "in"},
        {"direction": "fwd"},
        {"policy_type": "sub"},
        {"mark": Mark(1, 0xFF)},
        {"mark": Mark(1, 0x0F)},
        {"mark": Mark(0, 0xFF)},
        {"if_id": 7},
        {"if_id": 8, "mark": Mark(3, 3), "policy_type": "sub", "direction": "in"},
    ]
    numbers = range(60)
    result = [block(number, **kind) for kind in kinds for number in numbers]
    result += [
        Policy(
            Selector(f"2001:db8:{number:x}::/48", "2001:db8::/32"), priority=number, **({"direction": "out"} | kind)
        )
        for kind in kinds
        for number in numbers
    ]
    result += [Policy(policy.selector, direction="out", if_id=99, priority=5) for policy in result[:5]]
    return result + [host(number) for number in numbers]


SOURCES: dict[str, Callable[[list[Policy]], Any]] = {"list": list, "tuple": tuple, "generator": iter}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_many_in_a_tree_go_by_index(
    session: Session, watched: Watched, source: Callable[[list[Policy]], Any]
) -> None:
    session.spd.load(BLOCKS)
    result = session.spd.load(source(BLOCKS), operation="delete")
    assert (len(result.applied), result.failed, session.spd.count().total) == (MANY, [], 0)
    assert watched.by == {"index": MANY, "selector": 1}, "and one request that has the kernel tidy up"


def test_what_the_kernel_finds_by_hash_goes_by_selector(session: Session, watched: Watched) -> None:
    hosts = [host(number) for number in range(MANY)]
    session.spd.load(hosts)
    assert len(session.spd.load(hosts, operation="delete").applied) == MANY
    assert watched.by == {"selector": MANY}


def test_few_go_by_selector(session: Session, watched: Watched) -> None:
    session.spd.load(BLOCKS)
    assert len(session.spd.load(BLOCKS[:15], operation="delete").applied) == 15
    assert watched.by == {"selector": 15}
    assert priorities(session) == list(range(15, MANY))


def test_thresholds_say_what_is_in_a_tree(session: Session, watched: Watched) -> None:
    session.spd.set_thresholds(ipv4=(24, 24))
    session.spd.load(BLOCKS)
    assert len(session.spd.load(BLOCKS, operation="delete").applied) == MANY
    assert watched.by == {"selector": MANY}


def test_all_that_tells_policies_apart(session: Session, watched: Watched) -> None:
    """Of two that differ in one thing only the one that was named is deleted."""
    policies = everything()
    session.spd.load(policies)
    some = policies[::2]
    result = session.spd.load(some, operation="delete")
    assert (len(result.applied), result.failed) == (len(some), [])
    assert watched.by["index"] > 400
    key: Callable[[Policy], str] = repr
    assert sorted(canonical(session.spd.dump()), key=key) == sorted(canonical(policies[1::2]), key=key)
    assert len(session.spd.load(policies[1::2], operation="delete").applied) == len(policies) - len(some)
    assert session.spd.count().total == 0


def test_what_is_missing_and_what_comes_twice(session: Session, watched: Watched) -> None:
    session.spd.load(BLOCKS[::2])
    result = session.spd.load(BLOCKS + BLOCKS[:10], operation="delete", on_error="collect")
    check_account(result)
    missing = [*range(1, MANY, 2), *range(MANY, MANY + 10)]
    assert failures(result) == dict.fromkeys(missing, NotFound)
    assert str(result.failed[0]) == "delete (item 1): No such file or directory [ENOENT]"
    assert session.spd.count().total == 0
    assert watched.by["index"] == MANY // 2


def test_an_index_in_the_source_means_nothing(session: Session) -> None:
    """It may be one that the policy had once."""
    session.spd.load(BLOCKS)
    wrong = [replace(policy, index=(number + 500) * 8 + 1) for number, policy in enumerate(BLOCKS[:500])]
    assert len(session.spd.load(wrong, operation="delete").applied) == 500
    assert priorities(session) == list(range(500, MANY))


def test_raise(session: Session) -> None:
    session.spd.load(BLOCKS[:500])
    with pytest.raises(LoadError) as caught:
        session.spd.load(BLOCKS, operation="delete", batch=100)
    result = caught.value.result
    check_account(result)
    assert list(result.applied) == list(range(500))
    assert isinstance(caught.value.__cause__, NotFound)
    assert session.spd.count().total == 0


def test_without_permission_to_look(session: Session, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the indices can't be learned, everything goes by selector."""

    def refused(protocol: int | None = None, groups: int = 0) -> Handle:
        raise KernelError(24, "open a netlink socket")

    session.spd.load(BLOCKS)
    monkeypatch.setattr(watched, "open_beside", refused)
    assert len(session.spd.load(BLOCKS, operation="delete").applied) == MANY
    assert watched.by == {"selector": MANY}


# --- delete_where -----------------------------------------------------------------------------------------


def test_delete_where(session: Session, watched: Watched) -> None:
    policies = everything()
    session.spd.load(policies)
    result = session.spd.delete_where(lambda policy: policy.priority % 2 == 0)
    even = [policy for policy in policies if policy.priority % 2 == 0]
    assert (len(result.applied), result.chosen, result.taken) == (len(even), len(even), len(even))
    assert (result.failed, len(result.vanished)) == ([], 0)
    assert watched.by["index"] == len(even)
    key: Callable[[Policy], str] = repr
    left = [policy for policy in policies if policy.priority % 2]
    assert sorted(canonical(session.spd.dump()), key=key) == sorted(canonical(left), key=key)
    names = {repr(result.which(number)) for number in range(len(even))}
    assert names == {repr(policy.id) for policy in even}
    with pytest.raises(IndexError):
        result.which(len(even))


@pytest.mark.parametrize("form", ["numpy", "list", "tuple", "iterator"])
def test_delete_where_by_columns(namespace: int, session: Session, watched: Watched, form: str) -> None:
    """Of all kinds of policies, and beside one of a socket, whose row counts for nothing."""
    policies = everything()
    session.spd.load(policies)
    shown: list[int] = []

    def predicate(columns: Columns) -> object:
        shown.append(columns.rows)
        mask = columns["priority"] % 2 == 0
        return {"numpy": mask, "list": mask.tolist(), "tuple": tuple(mask), "iterator": iter(mask)}[form]

    with inside(namespace):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        set_policy(other, Policy(direction="out"))
        result = session.spd.delete_where(predicate, fields=["priority", "index"])
    even = [policy for policy in policies if policy.priority % 2 == 0]
    assert sum(shown) == len(policies) + 1
    assert (len(result.applied), result.chosen, result.failed) == (len(even), len(even), [])
    assert {repr(result.which(number)) for number in range(len(even))} == {repr(policy.id) for policy in even}
    assert sorted(policy.priority for policy in session.spd.dump()) == sorted(
        policy.priority for policy in policies if policy.priority % 2
    )


@pytest.mark.parametrize(
    "mask",
    [None, 1, [], [True], [True] * 4, "yes", [1, 1, 1], [[True]] * 3, numpy.ones((3, 16), bool), numpy.arange(3)],
    ids=repr,
)
def test_a_mask_that_is_none(session: Session, mask: object) -> None:
    """Above all: what is true for another reason deletes nothing."""
    session.spd.load(BLOCKS[:3])
    with pytest.raises(ValidationError, match="is not a mask of 3 values, True or False for each row"):
        session.spd.delete_where(lambda columns: mask, fields=["index"])
    with pytest.raises(ValidationError, match="fields: 'nonsense' is not the name of a column"):
        session.spd.delete_where(lambda columns: [True] * 3, fields=["nonsense"])
    assert session.spd.count().total == 3


@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_delete_where_of_nothing_and_all(session: Session, on_error: Any) -> None:
    assert session.spd.delete_where(lambda policy: True, on_error=on_error) == DeleteResult("delete")
    session.spd.load(BLOCKS)
    assert session.spd.delete_where(lambda policy: False, on_error=on_error).chosen == 0
    calls: list[tuple[int, int | None]] = []
    result = session.spd.delete_where(
        lambda policy: True, on_error=on_error, batch=400, progress=lambda *now: calls.append(now)
    )
    assert (result.applied.ranges, session.spd.count().total) == ((range(MANY),), 0)
    assert calls == [(400, MANY), (800, MANY), (MANY, MANY)]


def test_a_predicate_that_raises_deletes_nothing(session: Session) -> None:
    session.spd.load(BLOCKS)

    def predicate(policy: Policy) -> bool:
        if policy.priority == 3:
            raise ZeroDivisionError
        return True

    with pytest.raises(ZeroDivisionError):
        session.spd.delete_where(predicate)
    assert session.spd.count().total == MANY


@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_what_vanishes_meanwhile_is_told(session: Session, namespace: int, on_error: Any) -> None:
    session.spd.load(BLOCKS)
    with Session(namespace) as other:

        def predicate(policy: Policy) -> bool:
            if policy.priority in (7, 700):
                other.spd.delete(policy)
            if policy.priority == 8:  # and comes again, which is another policy
                other.spd.delete(policy)
                other.spd.add(block(8))
            return policy.priority < 750

        result = session.spd.delete_where(predicate, on_error=on_error)
    assert (len(result.applied), result.failed, result.taken) == (747, [], 750)
    gone = [result.which(number) for number in result.vanished]
    assert gone == [block(number).id for number in (700, 8, 7)], "in the order of the dump, newest first"
    assert result.summary() == "747 applied, 3 vanished"
    assert priorities(session) == [8, *range(750, MANY)]


class Refusing(Watched):
    """The real transport, but for one message that it makes one which the kernel refuses."""

    bad = 300

    def talk_batch(self, block: bytearray, count: int, **options: Any) -> None:
        parts = messages(memoryview(block))
        if self.bad < len(parts) and wire.message_type(parts[self.bad]) == Message.DELPOLICY:
            parts[self.bad][16 + 60] = 77  # the direction
            self.bad = 1 << 30
        elif self.bad < 1 << 30:
            self.bad -= count
        super().talk_batch(block, count, **options)


def test_what_the_kernel_refuses_says_which(namespace: int) -> None:
    with Session(transport=Refusing(namespace)) as session:
        with Session(namespace) as other:
            other.spd.load(BLOCKS)
        result = session.spd.delete_where(lambda policy: True)
        (error,) = result.failed
        assert isinstance(error, KernelError)
        assert (error.index, error.errno, error.which) == (300, 22, block(MANY - 1 - 300).id)
        assert "10.2.187.0/24" in str(error)
        assert pickle.loads(pickle.dumps(error)).which == error.which
        check_account(result)
        assert priorities(session) == [MANY - 1 - 300]
    with Session(transport=Refusing(namespace)) as session:
        with Session(namespace) as other:
            other.spd.flush()
            other.spd.load(BLOCKS)
        with pytest.raises(LoadError) as caught:
            session.spd.delete_where(lambda policy: True, on_error="raise", batch=100)
        early = caught.value.result
        assert isinstance(early, DeleteResult)
        assert (early.taken, early.chosen, [error.index for error in early.failed]) == (400, MANY, [300])
        assert caught.value.__cause__ is early.failed[0]
        assert str(caught.value).startswith("delete: 399 applied, 1 failed; delete (item 300, PolicyId(")
        assert session.spd.count().total == MANY - 399


def test_sockets_keep_their_policies(session: Session, namespace: int) -> None:
    """Nobody else can delete those, so the predicate is not asked."""
    session.spd.load(BLOCKS[:5])
    with inside(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as carrier:
        info = block(0, priority=77)._wire[16 : 16 + 168]  # struct xfrm_userpolicy_info
        carrier.setsockopt(socket.IPPROTO_IP, IP_XFRM_POLICY, info)
        assert session.spd.count().socket_output == 1
        seen: list[int] = []
        session.spd.delete_where(lambda policy: not seen.append(policy.priority))  # type: ignore[func-returns-value]
        assert sorted(seen) == [0, 1, 2, 3, 4]
        assert priorities(session) == [77]


def test_no_time(session: Session) -> None:
    session.spd.load(BLOCKS)
    with pytest.raises(ReplyTimeout, match="nothing was deleted"):
        session.spd.delete_where(lambda policy: True, timeout=0)
    assert session.spd.count().total == MANY


def test_an_interrupt_carries_the_result(session: Session) -> None:
    session.spd.load(BLOCKS)

    def progress(done: int, total: int | None) -> None:
        if done >= 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        session.spd.delete_where(lambda policy: True, batch=200, progress=progress)
    result = caught.value.load_result  # type: ignore[attr-defined]
    assert isinstance(result, DeleteResult)
    assert list(result.applied) == list(range(400))
    assert session.spd.count().total == MANY - 400


BAD: list[tuple[dict[str, Any], str]] = [
    ({"predicate": None}, "predicate: None cannot be called"),
    ({"on_error": "rollback"}, "on_error: 'rollback' is for operation 'add'"),
    ({"on_error": 1}, "on_error: 1 is not raise"),
    ({"batch": 0}, "batch: "),
    ({"progress": 1}, "progress: 1 cannot be called"),
    ({"timeout": -1}, "timeout: "),
]


@pytest.mark.parametrize(("options", "text"), BAD, ids=[text for _, text in BAD])
def test_bad_input(session: Session, options: dict[str, Any], text: str) -> None:
    session.spd.load(BLOCKS[:3])
    with pytest.raises(ValidationError) as caught:
        session.spd.delete_where(**({"predicate": lambda policy: True} | options))
    assert str(caught.value).startswith(text)
    with pytest.raises(ValidationError):
        session.sad.delete_where(**({"predicate": lambda state: True} | options))
    assert session.spd.count().total == 3

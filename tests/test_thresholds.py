# SPDX-License-Identifier: MIT
"""Which hash thresholds fit policies."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from xfrm_ext import Policy, Selector, Session, SpdThresholds, ValidationError, wire
from xfrm_ext.thresholds import limits_of


def policy(number: int, remote: int = 32, local: int = 32, *, direction: str = "out", **values: Any) -> Policy:
    """A policy with prefixes of these lengths, the remote one different from number to number."""
    far = f"{socket.inet_ntoa((0x0A000000 + (number << (32 - remote))).to_bytes(4, 'big'))}/{remote}"
    near = f"{socket.inet_ntoa((0xC0000000 >> (32 - local) << (32 - local)).to_bytes(4, 'big'))}/{local}"
    ends = (near, far) if direction == "out" else (far, near)
    return Policy(Selector(*ends), direction=direction, **values)


def policy6(number: int, remote: int, local: int = 128) -> Policy:
    far = f"2001:db8:{number:x}::/{remote}"
    near = "::/0" if not local else f"fc00::/{local}"
    return Policy(Selector(near, far), direction="out")


CASES: dict[str, tuple[list[Policy], tuple[int, int] | None, tuple[int, int] | None]] = {
    "no policy": ([], None, None),
    "single hosts": ([policy(n) for n in range(100)], None, None),
    "blocks": ([policy(n, 24) for n in range(100)], (32, 24), None),
    "blocks on both sides": ([policy(n, 24, 16) for n in range(100)], (16, 24), None),
    "any local address": ([policy(n, 24, 0) for n in range(100)], (0, 24), None),
    "in": ([policy(n, 24, 8, direction="in") for n in range(100)], (8, 24), None),
    "fwd": ([policy(n, 24, 8, direction="fwd") for n in range(100)], (8, 24), None),
    "blocks and hosts": ([policy(n, 24) for n in range(100)] + [policy(n) for n in range(100)], (32, 24), None),
    "a few short ones stay in the tree": (
        [policy(n, 24) for n in range(1000)] + [policy(n, 12) for n in range(5)],
        (32, 24),
        None,
    ),
    "hosts close together: cut to /24 they would be one chain": (
        [policy(n) for n in range(250)] + [policy(n, 24) for n in range(3)],
        None,
        None,
    ),
    "a small tree is never slow": ([policy(n, 24) for n in range(15)], None, None),
    "small trees are never slow": ([policy(n, 24, if_id=n + 1) for n in range(500)], None, None),
    "IPv6": ([policy6(n, 48) for n in range(100)], None, (128, 48)),
    "IPv6, any local address": ([policy6(n, 64, 0) for n in range(100)], None, (0, 64)),
    "both": ([policy(n, 20) for n in range(50)] + [policy6(n, 56) for n in range(50)], (32, 20), (128, 56)),
}


@pytest.mark.parametrize(("policies", "ipv4", "ipv6"), CASES.values(), ids=CASES)
def test_suggestions(
    session: Session, policies: list[Policy], ipv4: tuple[int, int] | None, ipv6: tuple[int, int] | None
) -> None:
    expected = SpdThresholds(ipv4, ipv6)
    assert session.spd.suggest_thresholds(policies) == expected
    assert session.spd.suggest_thresholds(iter(policies)) == expected
    assert session.spd.count().thresholds == SpdThresholds((32, 32), (128, 128)), "nothing was changed"
    session.spd.load(policies)
    assert session.spd.suggest_thresholds() == expected, "the same of those that are installed"
    if expected != SpdThresholds():
        session.spd.set_thresholds(ipv4, ipv6)
    assert session.spd.suggest_thresholds() == SpdThresholds(), "what is set fits"


def test_back_to_the_default(session: Session) -> None:
    session.spd.set_thresholds((0, 0), (0, 0))
    hosts = [policy(number) for number in range(100)]
    assert session.spd.suggest_thresholds(hosts) == SpdThresholds(ipv4=(32, 32))


def test_what_is_suggested_costs_least(session: Session) -> None:
    """Of all thresholds, in the number of entries that the kernel passes, counted here in another way."""
    chance = random.Random(4)
    for _ in range(10):
        lengths = chance.choices(range(8, 33), k=4)
        policies = []
        for number in range(300):
            remote = chance.choice(lengths)
            address = chance.getrandbits(12) << 20 | chance.getrandbits(3) << 8
            far = f"{socket.inet_ntoa((address >> (32 - remote) << (32 - remote)).to_bytes(4, 'big'))}/{remote}"
            policies.append(Policy(Selector("192.0.2.1", far), direction="out", priority=number))
        suggested = session.spd.suggest_thresholds(policies).ipv4 or (32, 32)
        costs = {bits: cost(policies, bits) for bits in range(33)}
        assert suggested[0] == 32
        assert costs[suggested[1]] == min(costs.values())


def cost(policies: list[Policy], bits: int) -> int:
    chains: dict[int, int] = {}
    tree = 0
    for one in policies:
        text, _, length = one.selector.destination.partition("/")
        if int(length) < bits:
            tree += 1
        else:
            number = int.from_bytes(socket.inet_aton(text), "big") >> (32 - bits)
            chains[number] = chains.get(number, 0) + 1
    return 3 * tree**2 + sum(size**2 for size in chains.values())


SIDES: dict[str, tuple[str, int, int]] = {
    "out": ("out", 24, 32),
    "in": ("in", 32, 24),
    "fwd": ("fwd", 32, 24),
}


@pytest.mark.parametrize(("direction", "source", "destination"), SIDES.values(), ids=SIDES)
def test_local_and_remote(session: Session, direction: str, source: int, destination: int) -> None:
    """What leaves has a local source; what comes in or is forwarded, a local destination."""
    session.spd.set_thresholds(ipv4=(24, 32))
    limits = limits_of(session.spd.count())
    for one, other, in_tree in (
        (source, destination, False),
        (source - 1, destination, True),
        (source, destination - 1, True),
    ):
        ends = [f"10.0.0.0/{length}" if length < 32 else "10.0.0.0" for length in (one, other)]
        block = Policy(Selector(*ends), direction=direction)._wire
        assert bool(wire.policies_in_trees(block, limits)[0]) is in_tree


def test_load_sets_them(session: Session) -> None:
    policies = [policy(number, 24) for number in range(500)]
    assert len(session.spd.load(policies).applied) == 500
    assert session.spd.count().ipv4_remote_bits == 32, "never without being asked"
    session.spd.flush()
    assert len(session.spd.load(policies, thresholds="suggest").applied) == 500
    assert session.spd.count().thresholds == SpdThresholds((32, 24), (128, 128))
    changed = (replace(one, priority=7) for one in policies)
    result = session.spd.load(changed, operation="update", thresholds=SpdThresholds(ipv6=(64, 64)))
    assert len(result.applied) == 500
    assert session.spd.count().thresholds == SpdThresholds((32, 24), (64, 64))
    assert {one.priority for one in session.spd.dump()} == {7}
    assert len(session.spd.load(policies, operation="delete", thresholds=SpdThresholds()).applied) == 500


BAD: dict[str, tuple[Callable[[], Any], Any]] = {
    "thresholds: 24 is not an SpdThresholds, 'suggest' or None": (list, 24),
    "thresholds: 'best' is not": (list, "best"),
    "thresholds: 'suggest' is for a source that is a list or tuple": (lambda: iter([policy(1)]), "suggest"),
    "source[1]: 5 is not a Policy": (lambda: [policy(1), 5], "suggest"),
}


@pytest.mark.parametrize(("source", "thresholds"), BAD.values(), ids=BAD)
def test_bad_input(
    session: Session, request: pytest.FixtureRequest, source: Callable[[], Any], thresholds: Any
) -> None:
    with pytest.raises(ValidationError) as caught:
        session.spd.load(source(), thresholds=thresholds)
    assert str(caught.value).startswith(request.node.callspec.id)
    with pytest.raises(ValidationError):
        session.spd.load([], thresholds=SpdThresholds((1, 1)), batch=0)
    assert session.spd.count().thresholds == SpdThresholds((32, 32), (128, 128))
    assert session.spd.count().total == 0

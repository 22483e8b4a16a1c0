# SPDX-License-Identifier: MIT
"""`xfrm load` and `xfrm save` with states, in a kernel with all of IPsec."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from guest.conftest import Record
from guest.test_paths import AUTHENTICATED, COMPRESSED, both, gcm, key
from xfrm_ext import Encapsulation, LifetimeConfig, Mark, Policy, Selector, Session, State, Template
from xfrm_ext.algorithm import AuthAlgorithm
from xfrm_ext.cli import load, save
from xfrm_ext.cli.context import Context
from xfrm_ext.iptfs import IpTfs
from xfrm_ext.replay import ReplayState
from xfrm_ext.testing import inside, network_namespace

FORMATS = ("ip", "setkey", "json")
IN: dict[str, Any] = {"direction": "in"}
OUT: dict[str, Any] = {"direction": "out"}
KINDS: list[dict[str, Any]] = [
    {"mode": "tunnel", "reqid": 1, **gcm()},
    {"mode": "beet", **gcm(256, 96)},
    both("cbc(aes)", 256, "hmac(sha512)", 512),
    {**both("cbc(aes)", 128, "hmac(sha256)", 256), "authentication": AuthAlgorithm("hmac(sha256)", key(256), 96)},
    {"protocol": "ah", **AUTHENTICATED},
    {"protocol": "comp", "mode": "tunnel", "spi": 0x99, **COMPRESSED},
    {"replay_window": 64, **gcm()},
    {"replay_window": 128, "flags": ["esn", "af_unspec"], **gcm()},
    {"replay_window": 32, "replay": ReplayState(7, 9), **gcm()},
    {"replay_window": 32, "flags": "esn", "replay": ReplayState(7, 2**33 + 9), **gcm()},
    {"encapsulation": Encapsulation(), "mapping_timer_threshold": 3, **gcm()},
    {"mark": Mark(1, 3), "output_mark": Mark(5, 7), "if_id": 6, **gcm()},
    {"replay_window": 0, "cpu": 0, "extra_flags": ["oseq_may_wrap"], **OUT, **gcm()},
    {"flags": ["icmp", "noecn"], **IN, **gcm()},
    {
        "selector": Selector("2001:db8::/32", "::/0", protocol="tcp", destination_port=80),
        "mode": "tunnel",
        "flags": "nopmtudisc",
        "lifetime": LifetimeConfig(soft_byte_limit=10**9, hard_byte_limit=10**10, hard_add_expires_seconds=3600),
        "traffic_flow_padding": 200,
        **gcm(),
    },
    {"replay_window": 0, "encapsulation": Encapsulation(), "nat_keepalive_interval": 20, **OUT, **gcm()},
]
IPTFS: list[dict[str, Any]] = [
    {"mode": "iptfs", "iptfs": IpTfs(drop_time=1000, reorder_window=4), **IN, **gcm()},
    {
        "mode": "iptfs",
        "replay_window": 0,
        "iptfs": IpTfs(dont_fragment=True, init_delay=2, packet_size=1400, max_queue_size=9000),
        **OUT,
        **gcm(),
    },
]


def states() -> list[State]:
    return [
        State("192.0.2.1", f"198.51.100.{number}", **{"spi": 0x1000 + number, **kind})
        for number, kind in enumerate([*KINDS, *KINDS[:1], *IPTFS])
    ]


def run(command: Any, namespace: int, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with inside(namespace), closing(Context(out, err)) as context:
        return command.run(list(words), context), out.getvalue(), err.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_round_trip(tmp_path: Path, form: str) -> None:
    """What is saved, loads, and is saved the same again."""
    file = tmp_path / "saved"
    policy = Policy(Selector("10.1.0.0/16"), direction="out", templates=[Template(mode="transport", family="inet")])
    with network_namespace() as first, Session(first) as session:
        result = session.sad.load(states(), on_error="collect")
        # Not each guest has IP-TFS.
        assert {error.index for error in result.failed} <= {len(KINDS) + 1, len(KINDS) + 2}
        session.spd.add(policy)
        status, _, err = run(save, first, "--with-keys", "--format", form, "-o", str(file))
        left_out = sum(int(line.split()[0]) for line in err.splitlines())
        assert (status, left_out > 0) == ((1, True) if form == "setkey" else (0, False)), err
        count = session.sad.count().count
    with network_namespace() as second, Session(second) as session:
        assert run(load, second, str(file))[::2] == (0, "")
        assert session.sad.count().count == count - left_out
        again = run(save, second, "--with-keys", "--format", form)
    assert again == (0, file.read_text(), "")
    assert key(160).hex() in again[1]


def test_without_keys(tmp_path: Path) -> None:
    with network_namespace() as namespace, Session(namespace) as session:
        session.sad.load(states()[: len(KINDS)])
        status, out, err = run(save, namespace)
        assert (status, err) == (0, f"{len(KINDS) - 1} states with keys left out: --with-keys writes them\n")
        [line] = out.splitlines()
        assert " proto comp " in line


def test_no_line_for_states_that_wait(tmp_path: Path) -> None:
    """An SPI that was allocated is not for a file."""
    with network_namespace() as namespace, Session(namespace) as session:
        session.sad.allocate_spi("192.0.2.1", "192.0.2.2")
        assert session.sad.count().count == 1
        for form in FORMATS:
            status, out, err = run(save, namespace, "--with-keys", "--format", form)
            assert (status, "192.0.2" in out, err) == (0, False, "")


def test_many(tmp_path: Path, record: Record) -> None:
    """States are sent together, in their order, with policies between them."""
    file = tmp_path / "states"
    count = 3000
    lines = [
        f"xfrm state add src 10.0.{n >> 8}.{n & 255} dst 11.0.{n >> 8}.{n & 255} proto esp spi {n + 4096:#x} "
        f"mode tunnel aead 'rfc4106(gcm(aes))' 0x{n:040x} 128\n"
        for n in range(count)
    ]
    lines.insert(1000, "policy add dir in tmpl proto esp mode tunnel\n")
    lines += ["state delete src 10.0.0.0 dst 11.0.0.0 proto esp spi 4096\n", "state deleteall dst 11.0.0.1/32\n"]
    file.write_text("".join(lines))
    with network_namespace() as namespace, Session(namespace) as session:
        status, out, err = run(load, namespace, str(file))
        assert (status, err) == (0, "")
        assert out.startswith(f"1 policy added, {count:,} states added, 2 states deleted in ")
        assert (session.sad.count().count, session.spd.count().total) == (count - 2, 1)
    record("xfrm load", f"{count} states", out.strip())


def test_rollback(tmp_path: Path) -> None:
    """Of both kinds; what was there before stays."""
    file = tmp_path / "states"
    line = "state add src 10.0.0.1 dst 10.0.0.2 proto esp spi {} aead 'rfc4106(gcm(aes))' 0x" + "00" * 20 + " 128\n"
    odd = "state add src 10.0.0.1 dst 10.0.0.2 proto ah spi {} auth hmac(sha1) 0x0102030405\n"
    text = [
        line.format(1),
        "policy add dir in\n",
        odd.format(2),
        odd.format(3),
        "policy add dir out\n",
        line.format(1),
    ]
    file.write_text("".join(text))
    with network_namespace() as namespace, Session(namespace) as session:
        session.spd.add(Policy(direction="fwd"))
        status, out, err = run(load, namespace, "--rollback", str(file))
        assert (status, err) == (2, f"{file}:6: File exists [EEXIST]\n")
        assert out == "nothing done, 1 failed, 5 rolled back\n"
        assert session.sad.count().count == 0
        assert [one.direction.name for one in session.spd.dump()] == ["FWD"]

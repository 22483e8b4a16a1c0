# SPDX-License-Identifier: MIT
"""Batch files loaded into the kernel, each line with its own outcome: the same as `ip -batch` makes of them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from test_bulk import (
    MANY,
    OnError,
    Stop,
    canonical,
    check_account,
    check_interrupted,
    handling,
    hosts,
    installed,
)

from xfrm_ext import (
    AlreadyExists,
    BatchFileError,
    KernelError,
    LifetimeConfig,
    LoadError,
    LoadResult,
    Mark,
    NotFound,
    Policy,
    Selector,
    Session,
    Template,
)
from xfrm_ext.testing import inside, network_namespace

TUNNEL = Template("192.0.2.1", "198.51.100.2", mode="tunnel", reqid=1)


def line(policy: Policy) -> str:
    """The line of a batch file that adds such a policy."""
    return f"xfrm policy add src {policy.selector.source} dst 192.0.2.1 dir out priority {policy.priority}"


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def load_text(session: Session, tmp_path: Path, text: str, **options: Any) -> LoadResult:
    return session.spd.load_batch_file(write(tmp_path / "batch", text), **options)


def test_a_batch_file(session: Session, tmp_path: Path) -> None:
    text = """\
# Comments, and empty lines

xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 7 \\
    tmpl src 192.0.2.1 dst 198.51.100.2 proto esp reqid 1 mode tunnel  # behind a line
policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir in
x p a src 2001:db8::/32 dst ::/0 dir fwd action block
\tpol\tadd dir out dev lo proto udp sport 53 mark 0xff mask 0x0f\r
xfrm policy update src 10.1.0.0/16 dst 10.2.0.0/16 dir in priority 9 flag localok icmp
xfrm policy add dir in ptype sub if_id 3 limit byte-hard 1000 limit time-soft 60
xfrm policy add src 10.9.0.0/16 dir out
xfrm policy delete src 10.9.0.0/16 dir out
xfrm policy add dir fwd index 8002
policy delete dir fwd index 8002"""
    result = load_text(session, tmp_path, text)
    assert (len(result.applied), result.taken, result.failed) == (10, 10, [])
    nets = Selector("10.1.0.0/16", "10.2.0.0/16")
    expected = [
        Policy(
            direction="in",
            policy_type="sub",
            if_id=3,
            lifetime=LifetimeConfig(hard_byte_limit=1000, soft_add_expires_seconds=60),
        ),
        Policy(nets, direction="in", priority=9, flags=("localok", "icmp")),
        Policy(Selector(protocol="udp", source_port=53, interface=1), direction="out", mark=Mark(0xFF, 0x0F)),
        Policy(Selector("2001:db8::/32"), direction="fwd", action="block"),
        Policy(nets, direction="out", priority=7, templates=TUNNEL),
    ]
    key: Callable[[Policy], str] = repr
    assert sorted(canonical(session.spd.dump()), key=key) == sorted(expected, key=key)
    result = load_text(session, tmp_path, "x p fl\nxfrm policy flush ptype sub\n")
    assert len(result.applied) == 2
    assert session.spd.count().total == 0


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n# the end", ""])
def test_many_lines(session: Session, tmp_path: Path, end: str) -> None:
    """More than one piece of the file, and more than one block."""
    lines = [line(policy) for policy in hosts()]
    calls: list[tuple[int, int | None]] = []
    text = ("\r\n" if end == "\r\n" else "\n").join(lines) + end
    assert len(text) > 1 << 20
    result = load_text(session, tmp_path, text, progress=lambda done, total: calls.append((done, total)))
    assert (result.applied.ranges, result.failed) == ((range(MANY),), [])
    assert installed(session) == list(range(MANY))
    assert calls[0] == (256, MANY)
    assert calls[-1] == (MANY, MANY)


def test_nothing_is_sent_of_a_large_file_whose_last_line_is_wrong(session: Session, tmp_path: Path) -> None:
    lines = [line(policy) for policy in hosts()]
    with pytest.raises(BatchFileError, match=f":{MANY + 1}: "):
        load_text(session, tmp_path, "\n".join([*lines, "x p wrong"]))
    assert session.spd.count().total == 0
    assert len(load_text(session, tmp_path, "\n".join(lines)).applied) == MANY
    assert installed(session) == list(range(MANY))


@pytest.mark.parametrize("ending", ["\\\n", "\\\r\n"])
def test_lines_that_go_on_where_the_file_is_halved(session: Session, tmp_path: Path, ending: str) -> None:
    """Whole files are checked in two threads: neither may begin within a line, and lines are counted through."""
    words = [word for policy in hosts()[:9000] for word in f"{line(policy)}\n".split(" ")]
    text = f" {ending}".join(words)
    result = load_text(session, tmp_path, text)
    assert len(result.applied) == 9000
    assert installed(session) == list(range(9000))
    with pytest.raises(BatchFileError) as caught:
        load_text(session, tmp_path, text + "policy add dir out dev nosuch0\n")
    assert caught.value.line == text.count("\n") + 1
    assert caught.value.reason == "dev: 'nosuch0' is not an interface"
    only_once = "policy add dir sideways\n" + text
    with pytest.raises(BatchFileError, match=":1: dir: 'sideways'"):
        load_text(session, tmp_path, only_once + "policy add dir upwards\n")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "  \t# nothing"])
def test_a_batch_file_without_a_command(session: Session, tmp_path: Path, text: str) -> None:
    assert load_text(session, tmp_path, text) == LoadResult("load")


@pytest.mark.parametrize("place", [0, 1, 300, 15_000, MANY])
@pytest.mark.parametrize("on_error", ["raise", "rollback"])
def test_a_wrong_line_anywhere_and_nothing_is_sent(
    session: Session, tmp_path: Path, place: int, on_error: OnError
) -> None:
    lines = [line(policy) for policy in hosts()]
    lines.insert(place, "xfrm policy add dir sideways")
    session.spd.add(Policy(direction="in", priority=5))
    with pytest.raises(BatchFileError) as caught:
        load_text(session, tmp_path, "\n".join(lines), on_error=on_error)
    error = caught.value
    assert (error.path, error.line, error.index) == (str(tmp_path / "batch"), place + 1, None)
    assert str(error) == f"{tmp_path / 'batch'}:{place + 1}: dir: 'sideways' is not in, out or fwd"
    assert installed(session) == [5]


def test_collect_from_a_batch_file(session: Session, tmp_path: Path) -> None:
    text = """\
xfrm policy add src 10.0.0.1 dir out priority 0
xfrm policy add src 10.0.0.2 dir sideways

xfrm policy add src 10.0.0.1 dir out priority 2
xfrm policy add src 10.0.0.3 \\
  dir out priority 3
xfrm policy add src 10.0.0.4 dir out \\
  tmpl proto ipsec-any
route add default
xfrm policy add src 10.0.0.6 dir out priority 6
xfrm policy delete src 10.0.0.7 dir out
"""
    result = load_text(session, tmp_path, text, on_error="collect")
    check_account(result)
    assert list(result.applied) == installed(session) == [0, 3, 6]
    found = [(type(error), error.index, error.line) for error in result.failed]
    assert found == [
        (BatchFileError, 1, 2),
        (AlreadyExists, 2, 4),
        (KernelError, 4, 7),
        (BatchFileError, 5, 9),
        (NotFound, 7, 11),
    ]
    texts = [str(error) for error in result.failed]
    assert texts[1] == "load (line 4): File exists [EEXIST]"
    assert texts[2] == "load (line 7): Invalid argument [EINVAL]: Invalid XFRM protocol in template"
    assert texts[3].startswith(f"{tmp_path / 'batch'}:9: ")


def test_a_batch_file_that_the_kernel_refuses(session: Session, tmp_path: Path) -> None:
    lines = [line(policy) for policy in hosts()]
    lines[1000] = lines[0]
    text = "# the first line\n" + "\n".join(lines)
    with pytest.raises(LoadError) as caught:
        load_text(session, tmp_path, text)
    result, cause = caught.value.result, caught.value.__cause__
    assert isinstance(cause, AlreadyExists)
    assert (cause.index, cause.line) == (1000, 1002)
    check_account(result)
    assert list(result.applied) == installed(session) == [i for i in range(1024) if i != 1000]
    with pytest.raises(LoadError) as caught:
        load_text(session, tmp_path, text.replace("src 10.", "src 20."), on_error="rollback")
    check_account(caught.value.result)
    assert len(caught.value.result.rolled_back) == 1023
    assert len(installed(session)) == 1023


@pytest.mark.parametrize("line", ["update dir in", "delete dir in index 8", "flush"])
def test_rollback_is_for_files_that_only_add(session: Session, tmp_path: Path, line: str) -> None:
    with pytest.raises(BatchFileError, match=rf"batch:2: policy: '{line.split()[0]}' can't be taken back"):
        load_text(session, tmp_path, f"policy add dir out\npolicy {line}\n", on_error="rollback")
    assert session.spd.count().total == 0


def test_interfaces_of_a_batch_file(session: Session, tmp_path: Path) -> None:
    """They are those of the session's namespace."""
    load_text(session, tmp_path, "policy add dir out dev lo\npolicy add dir in dev none\n")
    assert sorted(policy.selector.interface for policy in session.spd.dump()) == [0, 1]
    with pytest.raises(BatchFileError, match="dev: 'nosuch0' is not an interface"):
        load_text(session, tmp_path, "policy add dir fwd dev lo\npolicy add dir fwd dev nosuch0\n")
    assert session.spd.count().forward == 0


@pytest.mark.parametrize("on_error", ["raise", "collect"])
def test_a_pipe(session: Session, tmp_path: Path, on_error: OnError) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines = [line(policy).removeprefix("xfrm ") + "\n" for policy in hosts()]
    writer = threading.Thread(target=lambda: path.write_text("".join(lines)))
    writer.start()
    result = session.spd.load_batch_file(path, on_error=on_error)
    writer.join()
    assert len(result.applied) == MANY
    assert installed(session) == list(range(MANY))


def test_files_that_cannot_be_read(session: Session, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        session.spd.load_batch_file(tmp_path / "no such file")
    with pytest.raises(IsADirectoryError):
        session.spd.load_batch_file(tmp_path)


# --- beside ip -batch -----------------------------------------------------------------------------------

IP = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
LIKE_IP = """\
# All that both know
xfrm policy add dir in
xfrm policy add dir out
xfrm policy add dir fwd priority 4294967295
xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 7 tmpl src 192.0.2.1 dst 198.51.100.2 \\
    proto esp reqid 1 mode tunnel
xfrm policy add src 10.1.2.3/16 dst 10.2.3.4/8 dir out
xfrm policy add src 10.3/16 dst 10/8 dir out
xfrm policy add src 2001:db8:1::/48 dst 2001:db8:2::/48 dir out tmpl src 2001:db8::1 dst \\
    2001:db8::2 proto esp spi 0x12345678 mode tunnel
xfrm policy add src 2001:db8::1 dst 2001:db8::2 dir in action block
xfrm policy add src 10.4.0.0/16 dst 10.2.0.0/16 dir out tmpl src 2001:db8::1 dst 2001:db8::2 proto \\
    esp mode tunnel
xfrm policy add src 2001:db8:3::/48 dst 2001:db8:4::/48 dir out tmpl src 192.0.2.1 dst 192.0.2.2 \\
    proto esp mode tunnel
xfrm policy add src 10.5.0.0/16 dst 0.0.0.0/0 proto tcp sport 1024 dport 443 dir out
xfrm policy add src 10.5.0.0/16 dst 0.0.0.0/0 proto 17 dport 53 dir out
xfrm policy add proto icmp type 8 code 0 dir out
xfrm policy add proto icmp type 0 dir out
xfrm policy add src ::/0 dst ::/0 proto ipv6-icmp type 135 dir in
xfrm policy add proto gre key 0.0.1.2 dir out
xfrm policy add proto gre key 3735928559 dir out
xfrm policy add dev lo dir in
xfrm policy add dir out mark 23
xfrm policy add dir out mark 0xff mask 0x0f
xfrm policy add dir out if_id 7
xfrm policy add dir out ptype sub
xfrm policy add dir out ptype sub mark 1 if_id 0x10
xfrm policy add src 10.6.0.0/16 dir fwd index 8002
xfrm policy add src 10.7.0.0/16 dir out flag localok icmp
xfrm policy add src 10.8.0.0/16 dir out flag 0x3
xfrm policy add src 10.9.0.0/16 dir out limit time-soft 50000 limit time-hard 60000 limit byte-hard 1000000
xfrm policy add src 10.10.0.0/16 dir out limit time-use-soft 5 limit time-use-hard 6 limit \\
    byte-soft 7 limit packet-soft 8 limit packet-hard 9
xfrm policy add src 10.11.0.0/16 dir out tmpl proto comp level use tmpl proto ah tmpl src 192.0.2.1 \\
    dst 192.0.2.2 proto esp mode tunnel
xfrm policy add src 10.12.0.0/16 dir out tmpl proto ah reqid 1 tmpl proto ah reqid 2 tmpl proto ah \\
    reqid 3 tmpl proto ah reqid 4 tmpl proto ah reqid 5 tmpl proto ah reqid 6
xfrm policy add src 10.13.0.0/16 dir in tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode beet level use
xfrm policy add src 2001:db8::1 dst 2001:db8::2 dir out tmpl src 2001:db8::1 dst 2001:db8::2 proto hao mode ro
xfrm policy add src 10.14.0.0/16 dir out priority 1
xfrm policy update src 10.14.0.0/16 dir out priority 2 action block
x p up src 10.15.0.0/16 dir out priority 3
x p a src 10.16.0.0/16 dir out
x p d src 10.16.0.0/16 dir out
x pol del dir fwd index 8002
xfrm policy add src 10.17.0.0/16 dir out mark 0xff mask 0x0f
xfrm policy delete src 10.17.0.0/16 dir out mark 0x0f mask 0x0f
"""


@pytest.mark.skipif(IP is None, reason="the program ip is not installed")
def test_the_same_as_ip_batch(session: Session, tmp_path: Path) -> None:
    """Line by line what `ip -batch` makes of the file: the same policies, in the same order."""
    assert IP is not None
    path = write(tmp_path / "batch", LIKE_IP)
    result = session.spd.load_batch_file(path)
    commands = sum(not line.startswith((" ", "#")) for line in LIKE_IP.splitlines())
    assert len(result.applied) == commands
    with network_namespace() as other:
        with inside(other):
            done = subprocess.run([IP, "-batch", path], capture_output=True, text=True, timeout=60, check=False)
        assert (done.stderr, done.stdout, done.returncode) == ("", "", 0)
        with Session(other) as beside:
            theirs = canonical(beside.spd.dump())
    ours = canonical(session.spd.dump())
    assert len(ours) == 33
    for one, its in zip(ours, theirs, strict=True):
        assert one == its


@pytest.mark.skipif(IP is None, reason="the program ip is not installed")
def test_many_lines_as_ip_batch_loads_them(session: Session, tmp_path: Path) -> None:
    assert IP is not None
    chance = random.Random(7)
    lines = []
    for number in range(2000):
        length = chance.randrange(8, 33)
        source = chance.getrandbits(32) >> (32 - length) << (32 - length)
        prefix = f"{socket.inet_ntoa(source.to_bytes(4, 'big'))}/{length}"
        way = chance.choice(["in", "out", "fwd"])
        outer = f"tmpl src 192.0.2.1 dst 198.51.100.{number % 250} proto esp reqid {number} mode tunnel"
        lines.append(f"xfrm policy update src {prefix} dst 10.0.0.0/8 dir {way} priority {number} {outer}\n")
    path = write(tmp_path / "batch", "".join(lines))
    assert len(session.spd.load_batch_file(path).applied) == 2000
    with network_namespace() as other, Session(other) as beside:
        with inside(other):
            subprocess.run([IP, "-batch", path], timeout=60, check=True)
        assert canonical(session.spd.dump()) == canonical(beside.spd.dump())


def test_text_and_objects_make_the_same_policies(session: Session, tmp_path: Path) -> None:
    """A dump of what a file loaded, loaded again elsewhere."""
    session.spd.load_batch_file(write(tmp_path / "batch", LIKE_IP))
    policies = list(session.spd.dump())
    with network_namespace() as other, Session(other) as beside:
        assert len(beside.spd.load(islice(reversed(policies), None)).applied) == len(policies)
        copied = list(beside.spd.dump())
    assert [policy.index for policy in copied] == [policy.index for policy in policies]
    assert canonical(copied) == canonical(policies)


def test_signals_at_any_moment_of_a_batch_file(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "policies"
    lines = [line(policy) + "\n" for policy in hosts()]
    path.write_text("".join(lines))
    chance = random.Random(5)

    def progress(done: int, total: int | None) -> None:
        if done == 64:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 3e-3))

    def handler(number: int, frame: FrameType | None) -> None:
        raise Stop

    with handling(signal.SIGALRM, handler):
        for _ in range(20):
            session.spd.flush()
            with pytest.raises(Stop) as caught:
                session.spd.load_batch_file(path, on_error="collect", batch=16, progress=progress)
            check_interrupted(session, caught.value, [], "collect")

# SPDX-License-Identifier: MIT
"""`xfrm save`: what it writes loads back to the same, and is written the same again; who may read it."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import policies
from test_cli import Command

from xfrm_ext import Mark, Policy, Selector, Session, State, Template, sockets
from xfrm_ext.algorithm import AeadAlgorithm, Algorithm
from xfrm_ext.cli import load, save
from xfrm_ext.cli.context import Context
from xfrm_ext.lifetime import LifetimeConfig
from xfrm_ext.testing import inside, network_namespace

FORMATS = ("ip", "setkey", "json")
KEY = "00112233445566778899aabbccddeeff00112233"
TUNNEL = Template("192.0.2.1", "198.51.100.2", mode="tunnel", reqid=1)
EVERYBODYS = [
    Policy(Selector("10.1.0.0/16", "10.2.0.0/16"), direction="out", priority=7, templates=[TUNNEL]),
    Policy(Selector("10.1.0.0/16", "10.2.0.0/17"), direction="out", priority=7, templates=[TUNNEL]),
    Policy(Selector("10.2.0.1", "10.1.0.1", protocol="tcp", source_port=80), direction="in", action="block"),
    Policy(Selector("2001:db8::/32", "::/0", protocol="ipv6-icmp", icmp_type=128, icmp_code=1), direction="fwd"),
]
"""What each format can say."""
IPS = [
    Policy(direction="in", mark=Mark(1, 3), if_id=5, policy_type="sub"),
    Policy(Selector(interface=1), direction="out", flags=["localok", "icmp"], index=8193),
    Policy(
        Selector(protocol="gre", gre_key=7),
        direction="out",
        lifetime=LifetimeConfig(hard_byte_limit=10**18, soft_use_expires_seconds=10**6),
        templates=[Template(protocol="comp", mode="transport", level="use", family="inet"), TUNNEL],
    ),
]
"""What setkey can't."""
ONLY_JSON = [Policy(Selector("10.0.0.0/8", protocol="tcp", source_port=8, source_port_mask=0xFFF8), direction="in")]


@pytest.fixture
def xfrm(namespace: int, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(namespace, capsys)


def saved(namespace: int, form: str) -> tuple[int, str]:
    """The exit status, and what was written."""
    out = io.StringIO()
    with inside(namespace), closing(Context(out, io.StringIO())) as context:
        return save.run(["--format", form], context), out.getvalue()


def loaded(namespace: int, file: Path) -> None:
    err = io.StringIO()
    with inside(namespace), closing(Context(io.StringIO(), err)) as context:
        assert load.run([str(file)], context) == 0, err.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_round_trip(xfrm: Command, session: Session, tmp_path: Path, form: str) -> None:
    known = EVERYBODYS + (IPS if form != "setkey" else []) + (ONLY_JSON if form == "json" else [])
    session.spd.load(known)
    file = tmp_path / "saved"
    done = xfrm("save", "--format", form, "-o", str(file))
    assert done == (0, "", "")
    with network_namespace() as fresh:
        loaded(fresh, file)
        assert saved(fresh, form) == (0, file.read_text())
        with Session(fresh) as other:
            # In the same order, too: of two policies of one priority the older wins.
            there = [(one.selector, one.priority, one.templates) for one in other.spd.dump()]
    assert there == [(one.selector, one.priority, one.templates) for one in session.spd.dump()]
    assert len(there) == len(known)


@settings(max_examples=40)
@given(st.lists(policies(), max_size=5), st.sampled_from(FORMATS))
def test_any_policies(tmp_path_factory: pytest.TempPathFactory, listed: list[Policy], form: str) -> None:
    """Whatever the kernel took."""
    file = tmp_path_factory.getbasetemp() / "saved"
    with network_namespace() as first, network_namespace() as second:
        with Session(first) as session:
            session.spd.load(listed, on_error="collect")
        status, text = saved(first, form)
        assert status == 0 or form != "json"
        file.write_text(text, encoding="utf-8", errors="surrogateescape")
        loaded(second, file)
        assert saved(second, form) == (0, text)


def test_what_a_format_can_not_express(xfrm: Command, session: Session) -> None:
    session.spd.load(
        [*EVERYBODYS, *IPS, *ONLY_JSON, Policy(direction="out", mark=Mark(2)), Policy(direction="in", mark=Mark(2))]
    )
    done = xfrm("save", "--format", "setkey")
    assert done.status == 1
    assert done.out.count("spdadd") == len(EVERYBODYS)
    assert done.err.startswith("2 policies left out: format setkey can't express Policy.mark\n")
    assert sum(map(int, re.findall(r"^(\d+) polic", done.err, re.MULTILINE))) == 6
    done = xfrm("save")
    assert done.status == 1
    assert done.err == "1 policy left out: format ip can't express Policy.selector.source_port_mask\n"
    assert done.out.count("policy add") == len(EVERYBODYS) + len(IPS) + 2
    assert xfrm("save", "--format", "json").err == ""


def test_what_is_the_kernels_own_is_left_out(xfrm: Command, session: Session) -> None:
    session.spd.load([EVERYBODYS[0], *IPS])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        with inside(xfrm.namespace):
            ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sockets.set_policy(ours, Policy(direction="out"))
        assert any(each.direction > 2 for each in session.spd.dump())
        done = xfrm("save")
        ours.close()
        del one
    assert (done.status, done.err) == (0, "")
    assert done.out.count("\n") == 1 + len(IPS)
    assert "index" not in done.out


def test_options(xfrm: Command, session: Session) -> None:
    session.spd.add(EVERYBODYS[0])
    assert xfrm("save", "--states") == (0, "", "")
    assert xfrm("save", "--policies").out == xfrm("save", "--policies", "--states").out == xfrm("save").out != ""
    assert xfrm("save", "extra").status == 255
    assert xfrm("save", "--format", "toml").status == 255


# --- states, which not every kernel takes -----------------------------------------------------------------

GCM = AeadAlgorithm("rfc4106(gcm(aes))", KEY)


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_keys_only_when_asked_for(form: str, with_keys: bool) -> None:
    with_key = State("192.0.2.1", "192.0.2.2", spi=1, aead=GCM)
    without = State("192.0.2.1", "192.0.2.2", spi=2, protocol="comp", compression=Algorithm("deflate"))
    larval = State("192.0.2.1", "192.0.2.2", spi=3, replay_window=0)
    options = ["--format", form, *(["--with-keys"] if with_keys else [])]
    one = save._Save(save._options(options), Context())
    text = "".join(one._oldest_first(one._states([with_key, without, larval])))
    assert (KEY in text) == with_keys
    assert "deflate" in text
    assert one._without_keys == (not with_keys)
    assert not one._inexpressible


# --- files ------------------------------------------------------------------------------------------------


def test_permissions(xfrm: Command, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first moment, and whatever the umask."""
    session.spd.add(EVERYBODYS[0])
    modes = []
    rename, write = os.replace, save._Save.write_to

    def looking(*arguments: object) -> None:
        [name] = os.listdir(tmp_path)
        modes.append(stat.S_IMODE((tmp_path / name).stat().st_mode))
        write(*arguments)  # type: ignore[arg-type]

    def replacing(old: str, new: str) -> None:
        modes.append(stat.S_IMODE(os.stat(old).st_mode))
        rename(old, new)

    monkeypatch.setattr(save._Save, "write_to", looking)
    monkeypatch.setattr(os, "replace", replacing)
    for mask in (0o000, 0o777):
        before = os.umask(mask)
        try:
            assert xfrm("save", "-o", str(tmp_path / "saved")).status == 0
        finally:
            os.umask(before)
        assert os.listdir(tmp_path) == ["saved"]
        assert stat.S_IMODE((tmp_path / "saved").stat().st_mode) == 0o600
        (tmp_path / "saved").unlink()
    assert modes == [0o600] * 4


def test_others_may_not_read_what_they_could(xfrm: Command, session: Session, tmp_path: Path) -> None:
    """A file that was there is replaced, and a link stays a link."""
    session.spd.add(EVERYBODYS[0])
    file, link = tmp_path / "saved", tmp_path / "link"
    file.write_text("before")
    file.chmod(0o644)
    link.symlink_to(file)
    with file.open() as open_before:
        assert xfrm("save", "-o", str(link)).status == 0
        assert open_before.read() == "before"
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == xfrm("save").out


def test_a_device_stays_one(xfrm: Command, session: Session, tmp_path: Path) -> None:
    session.spd.add(EVERYBODYS[0])
    assert xfrm("save", "-o", os.devnull).status == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    reader, writer = os.pipe()
    assert xfrm("save", "-o", f"/dev/fd/{writer}").status == 0
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == xfrm("save").out


def test_a_full_disk(namespace: int, session: Session, tmp_path: Path) -> None:
    """What was there before stays, and nothing else."""
    session.spd.add(EVERYBODYS[0])
    file = tmp_path / "saved"
    file.write_text("before")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))

    code = "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    code += "from xfrm_ext.cli import main; sys.exit(main(sys.argv[1:]))"
    with inside(namespace):
        command = [sys.executable, "-c", code, "save", "-o", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: File too large\n"
    assert file.read_text() == "before"
    assert os.listdir(tmp_path) == ["saved"]


def test_no_such_folder(xfrm: Command, tmp_path: Path) -> None:
    done = xfrm("save", "-o", str(tmp_path / "none" / "saved"))
    assert done.status == 1
    assert "No such file or directory" in done.err


ENDED = """
import os, signal, sys
from xfrm_ext.cli import main, save
write = save._Save.write_to

def ended(*arguments):
    write(*arguments)
    print(len(os.listdir(os.path.dirname(sys.argv[2]))), flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))

save._Save.write_to = ended
status = main(["save", "-o", sys.argv[2]])
same = [signal.getsignal(one) is signal.SIG_DFL for one in (signal.SIGTERM, signal.SIGHUP)]
print(status, same)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_ended_by_a_signal(namespace: int, session: Session, tmp_path: Path, number: int, status: int) -> None:
    """Nothing is left behind that others could find keys in, and the handlers are those of before."""
    session.spd.add(EVERYBODYS[0])
    with inside(namespace):
        code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{ENDED}"  # tests may run under nohup
        command = [sys.executable, "-c", code, str(int(number)), str(tmp_path / "saved")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"1\n{status} [True, True]\n", "")
    assert os.listdir(tmp_path) == []


def test_an_ignored_signal_stays_ignored(namespace: int, session: Session, tmp_path: Path) -> None:
    """As of nohup."""
    session.spd.add(EVERYBODYS[0])
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + ENDED
    with inside(namespace):
        command = [sys.executable, "-c", code, str(int(signal.SIGHUP)), str(tmp_path / "saved")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n0 [True, False]\n", "")
    assert os.listdir(tmp_path) == ["saved"]


def test_in_a_thread(namespace: int, session: Session, tmp_path: Path) -> None:
    """Where no handler can be set."""
    session.spd.add(EVERYBODYS[0])

    def write() -> int:
        with inside(namespace):
            return save.run(["-o", str(tmp_path / "saved")], Context(io.StringIO(), io.StringIO()))

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(write).result() == 0
    assert os.listdir(tmp_path) == ["saved"]


def test_a_folder_that_can_not_be_read() -> None:
    """Files can be made in it. Root may read it, so this is somebody else meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o333)
        try:
            os.seteuid(65534)
        except OSError:
            pytest.skip("there is no other user here")
        try:
            with pytest.raises(PermissionError):
                os.listdir(folder)
            with save._output(f"{folder}/saved", Context()) as out:
                out.write("text")
        finally:
            os.seteuid(0)
        assert Path(folder, "saved").read_text() == "text"
        assert os.listdir(folder) == ["saved"]


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800"])
def test_no_path(xfrm: Command, path: str) -> None:
    done = xfrm("save", "-o", path)
    assert (done.status, done.out) == (255, "")
    assert done.err.startswith("Error: save -o: ")


def test_a_long_name(xfrm: Command, tmp_path: Path) -> None:
    """Nearly as long as any may be, which is 255 bytes."""
    assert xfrm("save", "-o", str(tmp_path / ("n" * 250))) == (0, "", "")
    assert os.listdir(tmp_path) == ["n" * 250]


# --- many -------------------------------------------------------------------------------------------------


def peak(count: int) -> int:
    """How much memory is taken while that many policies are written."""
    one = EVERYBODYS[0]._wire
    run = save._Save(save._options([]), Context())
    tracemalloc.start()
    try:
        policies = (Policy._from_wire(one[:152] + b"%04d" % number + one[156:]) for number in range(count))
        size = sum(map(len, run._oldest_first(run._policies(policies))))
        assert size > 100 * count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory() -> None:
    """The text of many policies is never there as a whole: what each more of them takes is less than half of it."""
    assert peak(6144) < peak(2048) + 4096 * 66


def test_json_lines(xfrm: Command, session: Session) -> None:
    """A line each, the oldest first."""
    session.spd.load(EVERYBODYS)
    listed = [json.loads(line) for line in xfrm("save", "--format", "json").out.splitlines()]
    assert [one["selector"]["source"] for one in listed] == [one.selector.source for one in EVERYBODYS]

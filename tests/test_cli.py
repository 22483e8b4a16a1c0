# SPDX-License-Identifier: MIT
"""The command as a whole: what it prints, where, and its exit status, against a kernel."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from xfrm_ext import Mark, Policy, Selector, Session, Template
from xfrm_ext.cli import main
from xfrm_ext.testing import inside

XFRM = (sys.executable, "-m", "xfrm_ext")
# The same, with Ctrl-C as on a terminal: what a shell runs in the background ignores it, and so do its children.
INTERRUPTIBLE = (
    sys.executable,
    "-c",
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from xfrm_ext.__main__ import command; sys.exit(command())",
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


class Done(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def xfrm(namespace: int, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(namespace, capsys)


class Command:
    """Runs the command in this process, in a fresh namespace."""

    def __init__(self, namespace: int, capsys: pytest.CaptureFixture[str]) -> None:
        self.namespace, self._capsys = namespace, capsys

    def __call__(self, *words: str) -> Done:
        self._capsys.readouterr()
        with inside(self.namespace):
            status = main(words)
        return Done(status, *self._capsys.readouterr())


def ip(namespace: int, *words: str) -> Done:
    with inside(namespace):
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


POLICY = "src 10.1.0.0/16 dst 10.2.0.0/16 dir out"
TEMPLATE = "tmpl src 192.0.2.1 dst 198.51.100.2 proto esp mode tunnel reqid 1"


def test_the_articles_commands(xfrm: Command) -> None:
    """One general policy, looked at and flushed."""
    assert xfrm("policy", "add", "dir", "in") == (0, "", "")
    shown = xfrm("policy", "list")
    assert shown == (0, "src 0.0.0.0/0 dst 0.0.0.0/0 \n\tdir in priority 0 ptype main \n", "")
    assert shown.out == ip(xfrm.namespace, "xfrm", "policy", "list").out
    assert xfrm("policy", "flush") == (0, "", "")
    assert xfrm("policy") == (0, "", "")


@pytest.mark.parametrize("options", [(), ("-s",), ("-s", "-s"), ("-o",), ("-o", "-s"), ("-d",)])
def test_same_text_as_ip(xfrm: Command, options: tuple[str, ...]) -> None:
    for line in (
        f"{POLICY} {TEMPLATE}",
        "dir fwd priority 7 mark 1 mask 0xf if_id 9",
        "dir in action block src ::1",
    ):
        assert ip(xfrm.namespace, "xfrm", "policy", "add", *line.split()).status == 0
    for command in ("list", "count"):
        words = (*options, "xfrm", "policy", command)
        assert xfrm(*words) == ip(xfrm.namespace, *words)
    words = (*options, "xfrm", "policy", "get", *POLICY.split())
    assert xfrm(*words) == ip(xfrm.namespace, *words)


@pytest.mark.parametrize("kind", ["policy", "state"])
def test_count_quickly_and_in_full(xfrm: Command, kind: str) -> None:
    """The quick way does what the ordinary one does."""
    xfrm("policy", "add", "dir", "in")
    quick = xfrm(kind, "count")
    assert quick == xfrm("-4", kind, "count")
    assert quick == ip(xfrm.namespace, "xfrm", kind, "count")


def test_filters(xfrm: Command) -> None:
    for direction in ("in", "out", "fwd"):
        for priority in ("1", "2"):
            xfrm("policy", "add", "src", f"10.{priority}.0.0/16", "dir", direction, "priority", priority)
    for words in (
        "dir out",
        "priority 2",
        "src 10.1.0.0/16",
        "dir in src 10.2.0.0/16",
        "action block",
        "ptype main",
    ):
        line = ("xfrm", "policy", "list", *words.split())
        assert xfrm(*line) == ip(xfrm.namespace, *line)


def test_deleteall(xfrm: Command, session: Session) -> None:
    """More than fit into one send, with a mark and without, and nothing else."""
    policies = [
        Policy(Selector(f"10.{n >> 8}.{n & 255}.0/24"), direction="out", mark=Mark(1) if n % 2 else None)
        for n in range(1000)
    ]
    session.spd.load([*policies, Policy(direction="in")])
    assert xfrm("policy", "deleteall", "dir", "out") == (0, "", "")
    assert [policy.direction for policy in session.spd.dump()] == [Policy(direction="in").direction]
    assert xfrm("policy", "delall") == (0, "", "")
    assert session.spd.count().total == 0


def test_kernel_refuses(xfrm: Command) -> None:
    xfrm("policy", "add", *POLICY.split())
    again = xfrm("policy", "add", *POLICY.split())
    assert again == (2, "", "RTNETLINK answers: File exists\n")
    missing = xfrm("policy", "get", "dir", "fwd", "src", "10.9.0.0/16")
    assert (missing.status, missing.err) == (2, "RTNETLINK answers: No such file or directory\n")
    refused = xfrm("policy", "add", "dir", "in", "index", "1")
    assert refused.status == ip(xfrm.namespace, *["xfrm", "policy", "add", "dir", "in", "index", "1"]).status == 2
    assert refused.err.startswith("Error: ")
    assert refused.err.count("\n") == 1


def test_a_state_this_kernel_may_not_have(xfrm: Command) -> None:
    line = "state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode tunnel enc cbc(no) 0x0011"
    done = xfrm(*line.split(" "))
    assert done.status == 2
    assert "0011" not in done.err
    assert any(hint in done.err for hint in ("this kernel has no ESP", "this kernel's crypto API"))


def test_without_privilege(namespace: int) -> None:
    with inside(namespace):
        done = subprocess.run(
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *XFRM, "policy", "list"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs CAP_NET_ADMIN" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "status", "part"),
    [
        ("policy add dir sideways", 255, "'sideways'"),
        ("policy add", 1, "dir"),
        ("policy frobnicate", 255, "'frobnicate'"),
        ("frobnicate", 255, "'frobnicate'"),
        ("monitor frobnicate", 255, "'frobnicate'"),
        ("-frobnicate policy", 255, "'-frobnicate'"),
        ("-n no-such-namespace policy list", 255, "-netns: 'no-such-namespace'"),
        ("-n /etc/passwd policy list", 255, "is not a network namespace"),
    ],
)
def test_wrong_lines(xfrm: Command, line: str, status: int, part: str) -> None:
    done = xfrm(*line.split())
    assert (done.status, done.out) == (status, "")
    assert part in done.err
    assert done.err.count("\n") == 1


def test_usage_is_not_an_answer(xfrm: Command) -> None:
    assert xfrm().status == 255
    for line in ("help", "policy help", "state help", "monitor help"):
        done = xfrm(*line.split())
        assert (done.status, done.out) == (255, "")
        assert done.err.startswith("Usage: xfrm")
    asked = xfrm("--help")
    assert (asked.status, asked.err) == (0, "")
    assert xfrm("-V").out.startswith("xfrm ")


@pytest.mark.parametrize("name", ["load", "save", "top", "explain", "tree", "completion"])
def test_help_of_subcommands(xfrm: Command, name: str) -> None:
    asked = xfrm(name, "--help")
    assert (asked.status, asked.err) == (0, "")
    assert asked.out.lower().startswith(f"usage: xfrm {name}")
    assert xfrm(name, "help") == asked
    wrong = xfrm(name, "--no-such-option")
    assert (wrong.status, wrong.out) == (255, "")
    assert wrong.err.startswith("Error: ")
    assert wrong.err.count("\n") == 1


def test_debug(xfrm: Command) -> None:
    assert "Traceback" not in xfrm("policy", "add", "dir", "x").err
    assert "Traceback" in xfrm("--debug", "policy", "add", "dir", "x").err


def test_in_another_namespace(namespace: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"/proc/self/fd/{namespace}"
    assert main(["-n", path, "policy", "add", "dir", "in", "dev", "lo"]) == 0
    assert main(["-n", path, "policy", "list"]) == 0
    assert "dev lo" in capsys.readouterr().out
    with Session(namespace) as session:
        assert session.spd.count().total == 1


# --- JSON ------------------------------------------------------------------------------------------------


def test_json(xfrm: Command) -> None:
    xfrm("policy", "add", *POLICY.split(), *TEMPLATE.split())
    [policy] = json.loads(xfrm("-j", "policy", "list").out)
    assert policy["selector"]["source"] == "10.1.0.0/16"
    assert policy["templates"][0]["reqid"] == 1
    assert json.loads(xfrm("-j", "-p", "policy", "list").out) == [policy]
    assert json.loads(xfrm("-j", "policy", "get", *POLICY.split()).out) == policy
    assert json.loads(xfrm("-j", "policy", "list", "dir", "in").out) == []
    assert json.loads(xfrm("-j", "policy", "count").out)["output"] == 1
    assert json.loads(xfrm("-j", "state", "count").out)["count"] == 0
    assert json.loads(xfrm("-j", "policy", "getdefault").out)["input"] == "accept"


# --- batches -----------------------------------------------------------------------------------------------


def lines_of(namespace: int) -> str:
    return ip(namespace, "xfrm", "policy", "list").out


BATCH = """\
# comments, quotes, continued lines, and numbers as C has them
xfrm policy add src 10.0.0.1 dir out priority 010
policy add src 10.0.0.2 'dir' out \\
    priority 0x10
xfrm policy add src 10.0.0.3 dir out mark 7 mask 3
xfrm policy count
xfrm policy delete src 10.0.0.2 dir out
xfrm policy setdefault fwd block
xfrm policy getdefault
"""


def test_batch(xfrm: Command, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_text(BATCH)
    done = xfrm("-batch", str(path))
    assert done == (0, "\t SPD IN  0 OUT 3 FWD 0\nDefault policies:\n in:  accept\n fwd: block\n out: accept\n", "")
    ours = lines_of(xfrm.namespace)
    xfrm("policy", "flush")
    xfrm("policy", "setdefault", "fwd", "accept")
    path.write_text(BATCH.replace("\npolicy", "\nxfrm policy"))
    theirs = ip(xfrm.namespace, "-batch", str(path))
    assert (theirs.status, theirs.out) == (0, done.out)
    assert lines_of(xfrm.namespace) == ours


@pytest.mark.parametrize("force", [False, True])
def test_batch_with_failures(xfrm: Command, tmp_path: Path, force: bool) -> None:
    """Without -force nothing behind the first failure is done; with it, all else."""
    path = tmp_path / "batch"
    rows = [f"xfrm policy add src 10.0.{n}.0/24 dir out" for n in range(5)]
    rows.insert(2, rows[0])
    rows.insert(4, "xfrm policy add src 10.0.0.300 dir out")
    path.write_text("\n".join(rows))
    done = xfrm(*["-force"] * force, "-batch", str(path))
    messages = done.err.splitlines()
    assert messages[0] == f"Command failed {path}:3: RTNETLINK answers: File exists"
    with Session(xfrm.namespace) as session:
        count = session.spd.count().total
    if force:
        assert done.status == 1
        assert messages[1].startswith(f"Command failed {path}:5: ")
        assert count == 5
    else:
        assert done.status == 2
        assert len(messages) == 1
        assert count == 2


def test_batch_through_a_pipe_answers_at_once(namespace: int) -> None:
    """Whoever writes a line may wait for what it prints."""
    with running(namespace, "-batch", "-", stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for n in range(3):
            child.stdin.write(f"policy add src 10.0.0.{n} dir out\npolicy count\n")
            child.stdin.flush()
            assert child.stdout.readline() == f"\t SPD IN  0 OUT {n + 1} FWD 0\n"
        child.stdin.close()
        assert child.wait(30) == 0


# --- as a process ------------------------------------------------------------------------------------------


@contextmanager
def running(namespace: int, *words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command as a process, which does not outlive the test."""
    with inside(namespace):
        child = subprocess.Popen(
            [*INTERRUPTIBLE, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, "TZ": "UTC"},
            **options,
        )
    with child:
        try:
            yield child
        finally:
            child.kill()


def test_monitor_shows_events_until_ctrl_c(session: Session, namespace: int) -> None:
    with running(namespace, "monitor", "policy") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        await_listener(namespace)
        session.spd.add(Policy(Selector("10.1.0.0/16"), direction="out"))
        assert child.stdout.readline() == "src 10.1.0.0/16 dst 0.0.0.0/0 \n"
        assert child.stdout.readline().startswith("\tdir out priority 0 ptype main")
        session.spd.flush()
        assert "Flushed policy" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        assert child.stderr.read() == ""


def test_monitor_as_json(session: Session, namespace: int) -> None:
    with running(namespace, "-j", "monitor") as child:
        assert child.stdout is not None
        await_listener(namespace)
        session.spd.add(Policy(Selector("10.1.0.0/16"), direction="out"))
        event = json.loads(child.stdout.readline())
        assert event["event"] == "new_policy"
        assert event["body"]["selector"]["source"] == "10.1.0.0/16"
        assert event["time"].endswith("Z")


def await_listener(namespace: int) -> None:
    """Until another program listens to the groups of XFRM: its socket is in the table of netlink sockets."""
    while True:
        with inside(namespace):
            rows = Path("/proc/thread-self/net/netlink").read_text().splitlines()[1:]
        if any(row.split()[1] == "6" and int(row.split()[3], 16) for row in rows):
            return


def test_broken_pipe_is_quiet(session: Session, namespace: int) -> None:
    session.spd.load(
        [
            Policy(Selector(f"10.{n >> 8}.{n & 255}.1"), direction="out", templates=[Template(mode="transport")])
            for n in range(20_000)
        ]
    )
    with running(namespace, "policy", "list") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(60) == 141
        assert child.stderr.read() == ""


def test_streams_can_be_given(namespace: int) -> None:
    from xfrm_ext.cli.context import Context
    from xfrm_ext.cli.run import run_words

    out = io.StringIO()
    context = Context(out, out)
    context.netns = f"/proc/self/fd/{namespace}"
    try:
        assert run_words(["policy", "count", "x"][:2], context) == 0
    finally:
        context.close()
    assert out.getvalue() == "\t SPD IN  0 OUT 0 FWD 0\n"


# --- streams that fail, and Ctrl-C ------------------------------------------------------------------------------


def process(namespace: int, *words: str, redirect: str = "", text: str = "") -> Done:
    """The command in a shell, with redirections."""
    with inside(namespace):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirect}', "sh", *XFRM, *words],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
            timeout=60,
        )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("words", [("policy", "list"), ("policy", "count"), ("-j", "policy", "list"), ("-V",)])
def test_streams_that_are_full_or_closed(namespace: int, words: tuple[str, ...]) -> None:
    with Session(namespace) as session:
        session.spd.add(Policy(direction="in"))
    assert process(namespace, *words, redirect=">/dev/full") == (1, "", "Error: No space left on device\n")
    assert process(namespace, *words, redirect=">&-") == (0, "", "")
    wrong = ("policy", "add", "dir", "x")
    for redirect in ("2>/dev/full", "2>&-"):
        assert process(namespace, *wrong, redirect=redirect) == (255, "", "")


def test_batch_from_a_file_on_standard_input(namespace: int, tmp_path: Path) -> None:
    """From where it stands: the shell may have read its first lines."""
    path = tmp_path / "batch"
    path.write_text("not a command\npolicy add dir in\npolicy add dir out\npolicy count\n")
    with inside(namespace), path.open() as file:
        done = subprocess.run(
            ["sh", "-c", 'read -r line; exec "$@"', "sh", *XFRM, "-batch", "-"],
            stdin=file,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\t SPD IN  1 OUT 1 FWD 0\n", "")


def test_batch_of_a_family(xfrm: Command, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_text("policy add dir in\n")
    assert xfrm("-6", "-batch", str(path)) == (0, "", "")
    assert xfrm("policy").out.startswith("src ::/0 dst ::/0 ")
    path.write_text("policy add src 10.0.0.0/8 dir out\n")
    assert xfrm("-6", "-batch", str(path)).status == 1


def test_batch_says_what_failed_by_itself(xfrm: Command, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_text("policy help\npolicy add dir in\n")
    done = xfrm("-batch", str(path))
    assert (done.status, done.err.splitlines()[-1]) == (255, f"Command failed {path}:1")
    assert xfrm("-force", "-batch", str(path)).status == 1
    assert xfrm("policy", "count").out == "\t SPD IN  1 OUT 0 FWD 0\n"


def test_batch_interrupted_says_what_was_done(namespace: int) -> None:
    with running(namespace, "-batch", "-", stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write("policy add dir in\npolicy add dir out\npolicy count\n")
        child.stdin.flush()
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        assert child.stderr.read() == "-: interrupted, 2 requests were done, the last in line 2\n"


def test_interfaces_that_are_gone(xfrm: Command, tmp_path: Path) -> None:
    """They are called if7, in what is printed and in what is read."""
    assert xfrm("policy", "add", "dir", "in", "dev", "if77") == (0, "", "")
    assert "dev if77 " in xfrm("policy").out
    path = tmp_path / "saved"
    assert xfrm("save", "-o", str(path)).status == 0
    xfrm("policy", "flush")
    for load in (("load",), ("-batch",)):
        assert xfrm(*load, str(path)).status == 0
        assert "dev if77 " in xfrm("policy").out
        xfrm("policy", "flush")
    assert xfrm("policy", "add", "dir", "in", "dev", "if7x").status == 255
    assert xfrm("policy", "add", "dir", "in", "dev", "lo\0x").status == 255
    assert xfrm("policy", "add", "dir", "in", "dev", "\ud800").status == 255


def test_names_that_command_a_terminal(xfrm: Command) -> None:
    with inside(xfrm.namespace):
        subprocess.run(["ip", "link", "set", "lo", "name", b"l\x1b[31m\xff"], check=True)
    assert xfrm("policy", "add", "dir", "in", "dev", "l\x1b[31m\udcff") == (0, "", "")
    assert "dev l\\x1b[31m\\xff " in xfrm("policy").out
    assert json.loads(xfrm("-j", "policy").out)[0]["selector"]["interface_name"] == "l\x1b[31m\udcff"


@pytest.mark.parametrize("number", ["0x0x10", "0o17", "1_0", " 1", "-1", "\u0661"])
def test_numbers_that_are_none(xfrm: Command, number: str) -> None:
    assert xfrm("policy", "add", "dir", "in", "priority", number).status == 255


@pytest.mark.parametrize("key", ["0xdeadbeefcafebabe", "deadbeefkey"])
def test_misplaced_keys_are_not_shown(xfrm: Command, key: str) -> None:
    line = f"--debug state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode tunnel {key}"
    done = xfrm(*line.split())
    assert done.status == 255
    assert key not in done.err
    assert "the word behind mode is unknown" in done.err

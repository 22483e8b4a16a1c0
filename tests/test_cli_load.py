# SPDX-License-Identifier: MIT
"""`xfrm load`: files in three formats, what becomes of each line, and what is said of it, against a kernel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from test_cli import XFRM, Command

from xfrm_ext import DefaultAction, Mark, Policy, Selector, Session, Template, documents, setkey
from xfrm_ext.batchfile import BatchFile
from xfrm_ext.bulk import Block
from xfrm_ext.cli import load
from xfrm_ext.cli.context import Context
from xfrm_ext.cli.formats import Entry, Input
from xfrm_ext.errors import BatchFileError
from xfrm_ext.iproute2.as_command import HIDDEN_KEY
from xfrm_ext.testing import inside

ONE = "xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 7 tmpl proto esp mode transport\n"
OTHER = "policy add src 2001:db8::/32 dst ::/0 dir fwd action block\n"
KEY = "0x00112233445566778899aabbccddeeff00112233"
STATE = "state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 mode tunnel aead rfc4106(gcm(aes)) {} 128\n"


@pytest.fixture
def xfrm(namespace: int, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(namespace, capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def put(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8")
    return str(file)


def there(session: Session) -> list[Policy]:
    """All policies, the oldest first, without what the kernel fills in."""
    return [
        Policy(one.selector, direction=one.direction, action=one.action, priority=one.priority, mark=one.mark,
               templates=one.templates, policy_type=one.policy_type, if_id=one.if_id)
        for one in reversed(list(session.spd.dump()))
    ]  # fmt: skip


def expected(text: str) -> str:
    """What is printed, whatever the time it took."""
    return re.sub(r" in [0-9.]+ s \([0-9,]+/s\)", " in TIME", text)


WANTED = [
    Policy(
        Selector("10.1.0.0/16", "10.2.0.0/16"),
        direction="out",
        priority=7,
        templates=[Template(mode="transport", family="inet")],
    ),
    Policy(Selector("2001:db8::/32", "::/0"), direction="fwd", action="block"),
]


def written(form: str) -> str:
    if form == "ip":
        return ONE + OTHER
    if form == "setkey":
        return setkey.to_setkey(WANTED)
    listed = [documents.to_document(one) for one in WANTED]
    return "\n".join(map(json.dumps, listed)) if form == "json lines" else json.dumps(listed, indent=2)


@pytest.mark.parametrize("form", ["ip", "setkey", "json", "json lines"])
def test_formats(xfrm: Command, session: Session, file: Path, form: str) -> None:
    """Each format says what it is, comments in front or not."""
    text = written(form) if "json" in form else "# a comment\n\n" + written(form)
    done = xfrm("load", put(file, text))
    assert (done.status, expected(done.out), done.err) == (0, "2 policies added in TIME\n", "")
    assert there(session) == WANTED


def test_the_format_can_be_said(xfrm: Command, file: Path) -> None:
    assert xfrm("load", "--format", "json", put(file, ONE)).status == 2
    done = xfrm("load", put(file, "route add default\n"))
    assert (done.status, done.out) == (2, "")
    assert (
        done.err
        == f"Error: {file}: is in no format that is known by its first word: --format says which one it is\n"
    )
    done = xfrm("load", put(file, "# nothing\n"))
    assert (done.status, done.out, done.err) == (0, "nothing done\n", "")


def test_no_file(xfrm: Command, tmp_path: Path) -> None:
    done = xfrm("load", str(tmp_path / "none"))
    assert done == (2, "", f"Error: {tmp_path}/none: can't be read: No such file or directory\n")
    assert xfrm("load", str(tmp_path)).status == 2
    assert xfrm("load").status == 255
    assert xfrm("load", "--rollback", "--keep-going", str(tmp_path)).status == 255


@pytest.mark.parametrize("form", ["ip", "setkey", "json"])
def test_standard_input(namespace: int, session: Session, form: str) -> None:
    with inside(namespace):
        command = [*XFRM, "load", "-"]
        done = subprocess.run(command, input=written(form), capture_output=True, text=True, check=False)
    assert (done.returncode, expected(done.stdout), done.stderr) == (0, "2 policies added in TIME\n", "")
    assert there(session) == WANTED


def test_wrong_lines_on_standard_input(namespace: int) -> None:
    with inside(namespace):
        command = [*XFRM, "load", "-"]
        done = subprocess.run(command, input=f"{ONE}policy bogus\n", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("<stdin>:2: ")


def test_same_as_read_by_the_grammar(xfrm: Command, session: Session, file: Path) -> None:
    """A line that the parser in C refuses (an octal number) has the file read in the other way, to the same end."""
    lines = [ONE, OTHER, "xfrm policy add dir in mark 0x1 mask 0xf if_id 3 ptype sub\n"]
    assert xfrm("load", put(file, "".join(lines))).status == 0
    first = there(session)
    session.spd.flush()
    session.spd.flush("sub")
    assert xfrm("load", put(file, "".join([*lines, "policy add dir in priority 010\n"]))).status == 0
    assert there(session) == [*first, Policy(direction="in", priority=8)]


def test_everything_in_its_order(xfrm: Command, session: Session, file: Path) -> None:
    text = f"""{ONE}{OTHER}
        policy update src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 9 tmpl proto esp mode transport
        policy flush
        policy add dir in mark 3
        state flush
        policy setdefault in block fwd accept out accept
        policy add dir out; """
    text = text.replace(";", "\n        policy delete dir out src 0.0.0.0/0\n        policy set hthresh4 16 16")
    done = xfrm("load", put(file, text))
    assert done.err == ""
    assert expected(done.out) == ("4 policies added, 1 policy updated, 1 policy deleted, 4 other changes in TIME\n")
    assert there(session) == [Policy(direction="in", mark=Mark(3))]
    defaults = session.spd.defaults()
    assert defaults is not None
    assert defaults.input == DefaultAction.BLOCK
    assert session.spd.count().thresholds.ipv4 == (16, 16)


def test_deleteall(xfrm: Command, session: Session, file: Path) -> None:
    """What is there when its turn comes, and nothing that comes later."""
    text = "".join(f"policy add src 10.0.0.{n} dir out priority {n}\n" for n in range(1, 9))
    text += "policy deleteall priority 3\npolicy delall src 10.0.0.4\npolicy add src 10.0.0.3 dir out priority 3\n"
    done = xfrm("load", put(file, text))
    assert (done.status, done.err) == (0, "")
    assert expected(done.out) == "9 policies added, 2 policies deleted in TIME\n"
    assert [one.priority for one in there(session)] == [1, 2, 5, 6, 7, 8, 3]
    done = xfrm("load", put(file, "policy deleteall\n"))
    assert expected(done.out) == "7 policies deleted in TIME\n"
    assert session.spd.count().total == 0


@pytest.mark.parametrize(
    "line",
    [
        "policy list",
        "state",
        "policy get dir in",
        "policy count",
        "policy getdefault",
        "monitor",
        "state help",
        "link add x type xfrm if_id 1",
        "state allocspi src ::1 dst ::2 proto esp",
    ],
)
def test_questions_are_refused(xfrm: Command, file: Path, line: str) -> None:
    done = xfrm("load", "--format", "ip", put(file, f"{line}\n"))
    assert done.status == 2
    assert done.err.startswith(f"{file}:1: ")


@pytest.mark.parametrize("more", ["", "state flush\n"])
@pytest.mark.parametrize(("option", "packets"), [("-6", "::/0"), ("-4", "0.0.0.0/0")])
def test_the_family_of_the_options(
    xfrm: Command, session: Session, file: Path, option: str, packets: str, more: str
) -> None:
    """As `ip -6 -batch`: what says no address is of it, and nothing else is taken."""
    assert xfrm(option, "load", put(file, f"policy add dir in\n{more}")).status == 0
    assert there(session) == [Policy(Selector(packets), direction="in")]
    other = {"-6": "10.0.0.1", "-4": "::1"}[option]
    done = xfrm(option, "load", put(file, f"policy add dir out src {other}\n"))
    assert done.status == 2
    assert done.err.startswith(f"{file}:1: src: ")


@pytest.mark.parametrize(
    "start",
    [
        "#" + "-" * 70_000 + "\n",
        "\\\n",
        " \\\n \\\r\n\n\t\n",
        "# a comment is not continued \\\n",
    ],
)
@pytest.mark.parametrize("line", [ONE, ONE.replace("xfrm", '"xfrm"'), ONE.replace("xfrm policy", "'policy'")])
def test_beginnings(xfrm: Command, session: Session, file: Path, start: str, line: str) -> None:
    """What `xfrm -batch` takes."""
    done = xfrm("load", put(file, start + line))
    assert (done.status, expected(done.out), done.err) == (0, "1 policy added in TIME\n", "")


@pytest.mark.parametrize("form", ["setkey", "json"])
def test_a_byte_order_mark_in_front(file: Path, form: str) -> None:
    """It does not hide the first word."""
    source = Input(put(file, f"\ufeff{written(form)}"))
    source.open()
    with closing(source):
        assert source.detect() == form


@pytest.mark.parametrize("form", ["setkey", "json"])
def test_a_byte_order_mark_is_loaded_over(xfrm: Command, session: Session, file: Path, form: str) -> None:
    done = xfrm("load", put(file, f"\ufeff{written(form)}"))
    assert (done.status, done.err) == (0, "")
    assert list(session.spd.dump())


# --- files that others write meanwhile --------------------------------------------------------------------


def test_another_file_takes_the_name(xfrm: Command, file: Path, tmp_path: Path) -> None:
    """What was opened is what is read."""
    source = Input(put(file, ONE))
    source.open()
    with closing(source), closing(Context()) as context:
        put(tmp_path / "other", OTHER + OTHER)
        os.replace(tmp_path / "other", file)
        assert source.detect() == "ip"
        assert len(list(source.entries("ip", context))) == 1


def test_a_file_gets_shorter(file: Path) -> None:
    """It is said, where the lines were read that are missing now."""
    source = Input(put(file, "policy bogus\n" * 5000))
    source.open()
    with closing(source), closing(Context()) as context:
        entries = source.entries("ip", context)
        assert isinstance(next(entries), BatchFileError)
        os.truncate(file, 100)
        with pytest.raises(OSError, match="the file is being written") as caught:
            list(entries)
    assert caught.value.filename == str(file)


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800"])
def test_no_path(xfrm: Command, path: str) -> None:
    done = xfrm("load", path)
    assert (done.status, done.out) == (255, "")
    assert done.err.startswith("Error: load FILE: ")


def test_standard_input_is_closed(namespace: int) -> None:
    command = [sys.executable, "-c", "import os, sys; os.close(0); os.execv(sys.executable, sys.argv[1:])"]
    done = subprocess.run([*command, *XFRM, "load", "-"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: load: standard input is closed\n")


# --- what is wrong ----------------------------------------------------------------------------------------


def test_nothing_is_sent_when_a_line_is_wrong(xfrm: Command, session: Session, file: Path) -> None:
    done = xfrm("load", put(file, f"{ONE}policy add dir up\n{OTHER}'x\npolicy add\n"))
    assert (done.status, done.out) == (2, "nothing done, 3 failed, 2 not sent\n")
    assert [line.split(": ")[0] for line in done.err.splitlines()] == [f"{file}:{line}" for line in (2, 4, 5)]
    assert "dir: 'up' is not one of" in done.err
    assert session.spd.count().total == 0


def test_only_some_are_shown(xfrm: Command, file: Path) -> None:
    path = put(file, "policy bogus\n" * 50)
    done = xfrm("load", path)
    lines = done.err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 30 more, which -v shows"
    assert len(xfrm("load", "-v", path).err.splitlines()) == 50


def test_what_the_kernel_refuses(xfrm: Command, session: Session, file: Path) -> None:
    """It ends the load; items of the same send have been carried out all the same."""
    done = xfrm("load", put(file, f"{ONE}# here\n{ONE}{OTHER}" + OTHER.replace("block", "allow") * 300))
    assert done.status == 1
    assert done.err.splitlines()[0] == f"{file}:3: File exists [EEXIST]"
    assert expected(done.out) == "2 policies added in TIME, 254 failed, 47 not sent\n"
    assert there(session) == WANTED


def test_keep_going(xfrm: Command, session: Session, file: Path) -> None:
    done = xfrm(
        "load", "--keep-going", put(file, f"{ONE}policy bogus\n{ONE}{OTHER}policy delete dir in src ::/0\n")
    )
    assert done.status == 1
    assert expected(done.out) == "2 policies added in TIME, 3 failed\n"
    first, *rest = done.err.splitlines()
    assert first.startswith(f"{file}:2: policy: 'bogus' is unknown")
    assert rest == [f"{file}:3: File exists [EEXIST]", f"{file}:5: No such file or directory [ENOENT]"]
    assert there(session) == WANTED


def test_the_kernels_own_words(xfrm: Command, file: Path) -> None:
    """This kernel may have ESP or not: a state of an algorithm that none has is refused in words."""
    line = STATE.format(KEY).replace("rfc4106(gcm(aes))", "bogus")
    done = xfrm("load", put(file, line))
    assert done.status == 2
    assert re.match(rf"{file}:1: .* \[E[A-Z]+\]: .*\S", done.err)
    assert KEY not in done.err + done.out


def test_rollback(xfrm: Command, session: Session, file: Path) -> None:
    session.spd.add(WANTED[1])
    before = session.spd.get(WANTED[1]).index
    done = xfrm("load", "--rollback", put(file, f"{ONE}policy add dir in\n{OTHER}"))
    assert (done.status, done.err) == (2, f"{file}:3: File exists [EEXIST]\n")
    assert done.out == "nothing done, 1 failed, 2 rolled back\n"
    assert [one.index for one in session.spd.dump()] == [before]


@pytest.mark.parametrize(
    "line", ["policy flush", "policy delete dir in src ::/0", "policy deleteall", "policy set hthresh4 1 1"]
)
def test_rollback_of_what_can_not_be_taken_back(xfrm: Command, session: Session, file: Path, line: str) -> None:
    done = xfrm("load", "--rollback", put(file, f"{ONE}{line}\n"))
    assert (done.status, done.err) == (2, f"{file}:2: can't be taken back (--rollback): only add can\n")
    assert session.spd.count().total == 0


def test_wrong_setkey(xfrm: Command, session: Session, file: Path) -> None:
    done = xfrm("load", put(file, f"{setkey.to_setkey(WANTED)}spdadd bogus;\nspdflush;\n"))
    assert done.status == 2
    assert re.match(rf"{file}:\d+: column 8: ", done.err)
    assert session.spd.count().total == 0


def test_setkey_in_its_order(xfrm: Command, session: Session, file: Path) -> None:
    session.spd.add(Policy(direction="in"))
    done = xfrm("load", put(file, f"#!/usr/sbin/setkey -kf\nspdflush;\nflush;\n{setkey.to_setkey(WANTED)}"))
    assert (done.status, done.err) == (0, "")
    assert there(session) == WANTED
    done = xfrm("load", put(file, "spddump;\n"))
    assert (done.status, done.err) == (2, f"{file}:1: asks a question, and a load only tells\n")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('[{"kind": "policy",\n"direction": "in"},\n{"kind": "policy"}]', 3, "direction"),
        ('{"kind": "policy", "direction": "in"}\n{"kind": ', 2, "JSON"),
        ('[\n{"kind": "request", "message": "getpolicy", "body": null}]', 2, ""),
        ("[" * 100_000, 1, ""),
        ('{"kind": "policy", "direction": "in", "bogus": 1}', 1, "bogus"),
    ],
)
def test_wrong_json(xfrm: Command, session: Session, file: Path, text: str, line: int, reason: str) -> None:
    done = xfrm("load", put(file, text))
    assert done.status == 2
    assert re.match(rf"{file}:{line}: .*{reason}", done.err)
    assert session.spd.count().total == 0


@pytest.mark.parametrize("text", [STATE.format(HIDDEN_KEY), STATE.format("0xgg"), STATE.format(KEY * 40)])
def test_wrong_keys_are_not_shown(xfrm: Command, file: Path, text: str) -> None:
    done = xfrm("load", put(file, text))
    assert done.status == 2
    assert re.match(rf"{file}:1: .*key", done.err)
    assert not re.search("HIDDEN|gg|001122", done.err)


# --- options ----------------------------------------------------------------------------------------------


def test_dry_run(xfrm: Command, session: Session, file: Path) -> None:
    done = xfrm("load", "--dry-run", put(file, ONE + OTHER))
    assert done == (0, "dry run, nothing was sent: 2 policies added\n", "")
    done = xfrm("load", "--dry-run", put(file, ONE + "policy delete dir in src ::/0\n" + STATE.format(KEY)))
    assert done == (0, "dry run, nothing was sent: 1 policy added, 1 policy deleted, 1 state added\n", "")
    wrong = put(file, ONE + "policy bogus\n")
    done = xfrm("load", "--dry-run", wrong)
    assert (done.status, done.out) == (2, "dry run, nothing was sent: 1 policy added, 1 wrong\n")
    assert done.err.startswith(f"{file}:2: ")
    assert xfrm("load", "--dry-run", "--keep-going", wrong).status == 1
    assert session.spd.count().total == 0


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare here")
def test_without_privileges(namespace: int) -> None:
    """In a user namespace of its own, the command has none over the network namespace."""

    def run(option: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--user", *XFRM, "load", option, "-"]
        text = ONE + OTHER + "state flush\n"
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    with inside(namespace):
        done = run("--dry-run")
        assert (done.returncode, done.stderr) == (0, "")
        done = run("--keep-going")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "CAP_NET_ADMIN" in done.stderr


def test_json_output(xfrm: Command, file: Path) -> None:
    done = xfrm("-j", "load", "--keep-going", put(file, f"{ONE}policy bogus\n{ONE}{OTHER}"))
    assert (done.status, done.err) == (1, "")
    told = json.loads(done.out)
    assert (told["kind"], told["applied"]["ranges"]) == ("load_result", [[0, 0], [3, 3]])
    assert [(one["line"], one["file"]) for one in told["failed"]] == [(2, str(file)), (3, str(file))]
    done = xfrm("-j", "load", "--dry-run", put(file, f"{ONE}{OTHER}"))
    assert json.loads(done.out)["not_sent"]["count"] == 2


MANY = "".join(f"policy add src 10.0.{n >> 8}.{n & 255} dir out\n" for n in range(600))


def test_progress(xfrm: Command, file: Path) -> None:
    pytest.importorskip("rich")
    path = put(file, MANY)
    assert xfrm("load", "--dry-run", path).err == ""
    done = xfrm("load", "--progress", "always", path)
    assert (done.status, expected(done.out)) == (0, "600 policies added in TIME\n")
    assert "100%" in done.err


def test_without_rich(namespace: int, file: Path) -> None:
    """No bar, and everything else as it is."""
    code = "import sys; sys.modules['rich'] = None; from xfrm_ext.cli import main; sys.exit(main(sys.argv[1:]))"
    with inside(namespace):
        command = [sys.executable, "-c", code, "load", "--progress", "always", put(file, MANY)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, expected(done.stdout), done.stderr) == (0, "600 policies added in TIME\n", "")


def test_ctrl_c(xfrm: Command, session: Session, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was applied is said."""

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    class Bar(load.Bar):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.progress = interrupt

    monkeypatch.setattr(load, "Bar", Bar)
    for text in (MANY, f"{MANY}policy add dir in priority 010\n"):
        done = xfrm("load", put(file, text))
        assert done.status == 130
        assert re.match(r"256 policies added in [0-9.]+ s", done.out)
        assert done.err == "interrupted\n"
        assert session.spd.count().total == 256
        session.spd.flush()


@pytest.mark.parametrize("options", [(), ("--keep-going",), ("--dry-run",), ("-j",)])
@pytest.mark.parametrize(("where", "name"), [(Input, "open"), (BatchFile, "check"), (Input, "entries")])
def test_ctrl_c_before_anything_is_sent(
    xfrm: Command,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    where: type,
    name: str,
) -> None:
    """While a file is read and checked."""

    def interrupt(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, name, interrupt)
    words = ("-j", "load") if "-j" in options else ("load", *options)
    done = xfrm(*words, put(file, ONE if name == "check" else f"{ONE}state flush\n"))
    assert done.status == 130
    if "-j" in options:
        assert json.loads(done.out)["applied"]["count"] == 0
    else:
        assert done.err == "interrupted\n"
        assert done.out.splitlines()[-1] in ("nothing done", "dry run, nothing was sent: nothing done")


def test_keys_are_wiped(file: Path) -> None:
    """The block that a key was sent in holds zeros behind the send."""
    entry = Entry(1, bytes(range(16)) + bytes.fromhex(KEY[2:]))
    [block] = load._parts([entry], iter([1, 1]))
    assert isinstance(block, Block)
    assert bytes.fromhex(KEY[2:]) in bytes(block.messages)
    load._wipe(block)
    assert not any(block.messages)


@pytest.mark.skipif(shutil.which("ip") is None, reason="no ip here")
def test_same_as_ip_batch(xfrm: Command, session: Session, file: Path) -> None:
    path = put(file, MANY + ONE + OTHER + "xfrm policy update dir in \\\n priority 7 # x\n".replace("xfrm ", ""))
    text = file.read_text()
    put(file, re.sub(r"^(?=policy)", "xfrm ", text, flags=re.MULTILINE))
    assert xfrm("load", path).status == 0
    ours = there(session)
    session.spd.flush()
    with inside(xfrm.namespace):
        subprocess.run(["ip", "-batch", path], check=True)
    assert there(session) == ours
    assert len(ours) == 603

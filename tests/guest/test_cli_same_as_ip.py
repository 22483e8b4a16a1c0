# SPDX-License-Identifier: MIT
"""The same commands, run by `ip` in one namespace and by `xfrm` in another: the same is there afterwards."""

from __future__ import annotations

import re
import subprocess

import pytest
from vectors import records

from guest.conftest import Record
from xfrm_ext.cli import main
from xfrm_ext.testing import inside, network_namespace

CHANGES = ("add", "update", "delete", "flush", "set", "setdefault")


def script() -> list[list[str]]:
    """What changes something, of all recorded commands. States get an SPI of their own: in the records most have
    the same one, and the second would be refused."""
    commands: list[list[str]] = []
    for record in [*records("requests"), *records("other_requests")]:
        words = list(record["argv"][1:])
        verbs = [word for word in words if not word.startswith("-")][1:3]
        if len(verbs) < 2 or verbs[1] not in CHANGES or "@" in record["id"]:
            continue
        if verbs[0] == "state" and verbs[1] in ("add", "update") and "spi" in words:
            place = words.index("spi") + 1
            if int(words[place], 0) in (0x1001, 1):
                words[place] = hex(0x1001 + len(commands) // 2)  # every other one is there already
        commands.append(words)
    # What empties everything comes in the middle, and not at the end.
    flushes = [words for words in commands if "flush" in words]
    others = [words for words in commands if "flush" not in words]
    return others[: len(others) // 2] + flushes + others[len(others) // 2 :]


def run_ip(namespace: int, *words: str) -> tuple[int, str, str]:
    with inside(namespace):
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def without_times(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)


def newer(text: str, oneline: bool) -> str:
    """Without the lines that an `ip` of 2022 does not print."""
    return re.sub(r"\\\t(dir|pcpu-num) \w+(?=\\)" if oneline else r"\n\t(dir|pcpu-num) \w+(?=\n)", "", text)


def test_same_afterwards(capsys: pytest.CaptureFixture[str], record: Record) -> None:
    run = changed = 0
    with network_namespace() as theirs, network_namespace() as ours:
        for words in script():
            status = run_ip(theirs, *words)[0]
            if status not in (0, 2):
                continue  # iproute2 7.1 sent all of these: the installed one is older
            with inside(ours):
                assert main(words) == status, words
            run += 1
            changed += status == 0
        for options in ((), ("-s",), ("-s", "-s"), ("-o",)):
            for what in ("state", "policy"):
                line = (*options, "xfrm", what)
                expected = run_ip(theirs, *line)[1]
                found = run_ip(ours, *line)[1]
                assert without_times(found) == without_times(expected)
                capsys.readouterr()
                with inside(ours):
                    assert main(line) == 0
                assert newer(capsys.readouterr().out, "-o" in options) == newer(
                    re.sub(r"(?<= seq 0x)\d+(?= flag)", lambda number: f"{int(number[0]):08x}", found),
                    "-o" in options,
                )  # `ip` writes 0x and a decimal number
        states, policies = (run_ip(ours, "xfrm", what)[1] for what in ("state", "policy"))
    assert run >= 200
    counts = (
        f"{run} commands, {changed} of them carried out; afterwards {len(re.findall(r'^src', states, re.M))} states"
    )
    record(
        "xfrm and ip",
        "the same script",
        f"{counts}, {len(re.findall(r'^src', policies, re.M))} policies, all equal",
    )

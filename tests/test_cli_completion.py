# SPDX-License-Identifier: MIT
"""What shells complete: the words of the grammars, and only those."""

from __future__ import annotations

import re
import shutil
import subprocess
from types import ModuleType

import pytest

from xfrm_ext.cli.completion import COMMANDS, OTHERS, VALUES, VERBS, script
from xfrm_ext.iproute2 import link, policy, state
from xfrm_ext.iproute2.help import text


@pytest.mark.parametrize("topic", ["policy", "state", "link", "monitor"])
def test_words_are_those_of_the_help(topic: str) -> None:
    """Each word that is completed is in the help text. The grammar of ID and SELECTOR comes with it."""
    offered = " ".join(COMMANDS[topic].values()) if topic in COMMANDS else OTHERS[topic]
    known = set(re.findall(r"[\w-]+", text(topic)))
    assert set(offered.split()) - {"help"} <= known
    for verb in COMMANDS.get(topic, {}):
        assert verb in known or verb == "help"


@pytest.mark.parametrize("topic", ["policy", "state", "link"])
def test_no_keyword_is_missing(topic: str) -> None:
    """Keywords of the usage: what stands behind a bracket."""
    offered = set(" ".join([*COMMANDS[topic].values(), *VALUES.values()]).split())
    usage = text(topic).split("\n\n")[0]
    for verbs, rest in re.findall(r"xfrm \w+ (?:\{([^}]*)\}|\w+)((?:.|\n {10})*)", usage):
        assert set(re.findall(r"\w+", verbs)) <= set(VERBS[topic])
        assert set(re.findall(r"\[ ([a-z][\w-]+)", rest)) <= offered


@pytest.mark.parametrize(("topic", "grammar"), [("policy", policy), ("state", state), ("link", link)])
def test_verbs_are_those_of_the_grammar(topic: str, grammar: ModuleType) -> None:
    assert set(COMMANDS[topic]) == set(grammar._VERBS.values())
    assert VERBS[topic] == grammar._VERBS


def complete(line: str) -> list[str]:
    """What bash offers for a command line."""
    words = line.split(" ")
    program = script("bash") + (
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _xfrm;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash() -> None:
    assert {"policy", "state", "load", "-json"} <= set(complete("xfrm "))
    assert complete("xfrm pol") == ["policy"]
    assert complete("xfrm -s -n some xfrm policy set") == ["set", "setdefault"]
    assert complete("xfrm policy add dir ") == ["in", "out", "fwd"]
    assert complete("xfrm policy add dir in prio") == ["priority"]
    assert complete("xfrm state add mode ip") == ["iptfs"]
    assert complete("xfrm monitor all") == ["all-nsid", "all"]
    assert complete("xfrm policy add dev l") == ["lo"]
    assert "if_id" in complete("xfrm policy list ")
    assert complete("xfrm policy list ma") == ["mark", "mask"]
    assert complete("xfrm link ") == ["add", "change", "replace", "delete", "help"]
    assert complete("xfrm link add x type xfrm e") == ["external"]
    for verb in ("list", "show", "lst", "li"):
        assert complete(f"xfrm state {verb} nok") == ["nokeys"]
    for verb in ("deleteall", "delall", "deletea", "dela"):
        assert complete(f"xfrm policy {verb} nos") == ["nosock"]
    for words in ("policy a", "po add", "x p a", "p add"):
        assert complete(f"xfrm {words} prio") == ["priority"]
    assert "spi" in complete("xfrm state del ")
    assert "crypto" not in complete("xfrm policy del ")
    for name in ("delete", "del", "d"):
        assert complete(f"xfrm link {name} ") == ["dev", "type", "xfrm"]
    assert complete("xfrm load --format ") == ["ip", "setkey", "json"]
    assert script("zsh").startswith("#compdef xfrm\n")

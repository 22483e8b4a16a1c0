# SPDX-License-Identifier: MIT
"""The grammar of `ip xfrm monitor`, and of two objects that `ip` has no word for: migrate and mapping."""

from __future__ import annotations

from xfrm_ext.iproute2.command import Command
from xfrm_ext.iproute2.words import abbreviated, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xfrm_ext.iproute2.command import Options
    from xfrm_ext.iproute2.words import InterfaceIndex, Words

_GROUPS = {  # XFRMNLGRP_*, in the order in which `ip` looks at their words
    "acquire": "ACQUIRE",
    "expire": "EXPIRE",
    "SA": "SA",
    "aevent": "AEVENTS",
    "policy": "POLICY",
    "report": "REPORT",
    "migrate": "MIGRATE",
    "mapping": "MAPPING",
}
# Of these, `nokeys` and `all` are whole words; all others may be shortened, and `a` is `all-nsid`.
_WORDS = ("file", "all-nsid", "acquire", "expire", "SA", "aevent", "policy", "report", "help", "migrate", "mapping")


def read(words: Words, options: Options, interface_index: InterfaceIndex) -> Command:
    """The words behind `monitor`: [ nokeys ] [ all-nsid ] [ all | OBJECT... ] [ file FILE ] or help, in any order.
    Raises CommandError.

    `all` adds nothing to an object: as with `ip`, `monitor SA all` shows states.
    """
    from xfrm_ext.constants import Group

    command = Command("monitor", "monitor", options)
    chosen = set()
    while words.left:
        word = words.next("monitor")
        found = word if word in ("nokeys", "all") else abbreviated(word, _WORDS)
        if found is None:
            raise wrong("monitor", word, f"is not one of nokeys, all, {', '.join(_WORDS)}")
        if found == "help":
            command.verb = "help"
            return command
        if found == "file":
            command.file = words.next("monitor file")
        elif found == "nokeys":
            command.keys = False
        elif found == "all-nsid":
            command.all_namespaces = True
        elif found != "all":
            chosen.add(Group[_GROUPS[found]])
    command.groups = tuple(sorted(chosen or Group))
    return command

# SPDX-License-Identifier: MIT
"""The contenders and the shapes by name: what tables and plots call them, and each one's colour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Name:
    """A contender as it is shown."""

    title: str
    colour: str
    ours: bool = False


# Ours are in the strong colours, C in greys, others' in the pale ones. A contender that does several operations
# has one colour in all of them.
NAMES = {
    "floor": Name("C floor", "#1b1b1b"),
    "floor_index": Name("C floor, by index", "#4d4d4d"),
    "one_by_one": Name("C, one by one", "#7f7f7f"),
    "libnl": Name("libnl-xfrm-3 (C)", "#b08d57"),
    "ip": Name("ip, process", "#9b72b0"),
    "pure_one": Name("pure Python, one by one", "#a58500"),
    "pure_batch": Name("pure Python, batched", "#d4b106"),
    "pure": Name("pure Python, all fields", "#a58500"),
    "receive": Name("receive only (Python)", "#8c8c8c"),
    "columns": Name("columns", "#0072b2", ours=True),
    "columns_text": Name("columns, addresses as text", "#56b4e9", ours=True),
    "list": Name("list of objects", "#009e73", ours=True),
    "make_list": Name("making the objects, and load", "#66c2a5", ours=True),
    "batchfile": Name("batch file", "#d55e00", ours=True),
    "process": Name("Python, whole process", "#f08a4b", ours=True),
    "objects": Name("objects", "#66c2a5", ours=True),
    "objects_3": Name("objects, 3 fields read", "#009e73", ours=True),
    "objects_all": Name("objects, all fields read", "#cc3377", ours=True),
    "counters": Name("counters only", "#8da0cb", ours=True),
    "where": Name("delete_where()", "#cc3377", ours=True),
    "flush": Name("flush()", "#009e73", ours=True),
}

SHAPES = {
    "host": "IPv4 /32",
    "net24": "IPv4 /24",
    "host6": "IPv6 /128",
    "net64": "IPv6 /64",
    "mark": "IPv4 /32, a mark each",
    "if_id": "an XFRM interface each (if_id)",
    "internet": "IPv4, mixed prefix lengths",
    "real": "the Internet's blocks",
    "shuffled": "the Internet's blocks, shuffled",
    "state": "ESP states, each to a peer of its own",
    "file": "the given batch file",
}

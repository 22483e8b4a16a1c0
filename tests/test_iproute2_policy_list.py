# SPDX-License-Identifier: MIT
"""`list` and `deleteall` of `ip xfrm policy`: which policies of a dump are meant, and how they are deleted."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from policy_lines import chosen, each_wire, line, read
from vectors import POLICY_TYPE as TYPE
from vectors import messages, recorded, take_apart

from xfrm_ext import CommandError
from xfrm_ext.iproute2 import policy
from xfrm_ext.iproute2.command import Command
from xfrm_ext.rtnl import open_byproto
from xfrm_ext.testing import inside
from xfrm_ext.wire import native


def accepted(command: Command, message: bytes, unpack: Any = native.unpack) -> bool:
    """Whether a message that was dumped is meant."""
    fields, items = unpack(message)[2:]
    return command.accepts is None or command.accepts(fields, items)


# --- deleteall ------------------------------------------------------------------------------------------------

TUNNEL = "tmpl src 192.0.2.1 dst 198.51.100.2 proto esp mode tunnel reqid 1"
TWO = (  # policies as the kernel dumps them: the newest first
    "src fd00:1::/32 dst fd00:2::/32 dir in priority 9 index 8"
    " tmpl src 2001:db8:1::1 dst 2001:db8:2::2 proto esp mode tunnel reqid 1",
    f"src 10.1.0.0/16 dst 10.2.0.0/16 dir out index 1 {TUNNEL}",
)
MANY = tuple(
    f"src 10.{n}.0.0/16 dst 10.200.0.0/16 dir {way} priority {n} index {(n - 1) * 8 + number}"
    for n in range(12, 0, -1)
    for way, number in [(("fwd", 2), ("in", 0), ("out", 1))[(n + 1) % 3]]
)
BOTH = tuple(
    f"src 10.1.0.0/16 dst 10.2.0.0/16 dir out ptype {kind} index {index} {TUNNEL}"
    for kind, index in (("main", 9), ("sub", 1))
)
DUMPS = {"policy-deleteall-many-out": MANY, "policy-deleteall-ptype-both": BOTH, "policy-deleteall-empty": ()}

SUB_POLICIES = "policy-deleteall-ptype-both"
"""`ip` names a sub policy as if it were one of type main: the kernel deleted the one and had no other."""


def dumped(lines: tuple[str, ...]) -> list[bytes]:
    return [bytes.fromhex(line(f"add {text}")[0]) for text in lines]


@each_wire
@pytest.mark.parametrize("record", [one for one in chosen("requests") if "-deleteall-" in one.id])
def test_deleteall(record: dict[str, Any], wire: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "wire", wire)
    command = read(record["argv"][1:])
    found = [
        policy.delete_message(message)
        for message in dumped(DUMPS.get(record["id"], TWO))
        if accepted(command, message, wire.unpack)
    ]
    sent = recorded(record)[1:]
    if record["id"] == SUB_POLICIES:
        parts = [take_apart(message) for message in messages(sent[0])]
        assert [one.attributes for one in parts] == [(), ()]
        sub = parts[1]._replace(attributes=((TYPE, b"\1" + bytes(5)),))
        sent = [parts[0].joined() + sub.joined()]
    elif sent:
        assert sent.pop() == bytes.fromhex(line("list")[0])  # `ip` looks once more
    assert b"".join(bytes(one) for one in found).hex() == b"".join(sent).hex()


def test_deleteall_leaves_those_of_sockets() -> None:
    [message] = dumped(("dir in",))
    of_socket = bytearray(message)
    of_socket[16 + 160] = 3  # direction: in, of a socket
    command = read(["xfrm", "policy", "deleteall"])
    assert [accepted(command, one) for one in (message, bytes(of_socket))] == [True, False]
    assert read(["xfrm", "policy", "list"]).accepts is None


def test_delete_messages_hit_the_right_policies(namespace: int) -> None:
    """All that an index alone does not name: types, marks, if_ids."""
    lines = [
        f"add src 10.0.0.0/8 dir {way} {more}"
        for way in ("in", "out", "fwd")
        for more in ("", "mark 1", "mark 0 mask 0xff", "if_id 7", "ptype sub", "ptype sub mark 3 mask 3 if_id 8")
    ]
    with open_byproto(netns=namespace) as handle:
        for text in lines:
            handle.talk(bytes.fromhex(line(text)[0]), text, timeout=5)
        found = list(dump(handle))
        assert len(found) == 18
        for number, message in enumerate(reversed(found)):
            handle.talk(policy.delete_message(message, 5), "delete", timeout=5)
            assert list(dump(handle)) == found[: 17 - number]


def dump(handle: Any) -> Iterator[bytes]:
    """All policies, without what is counted up."""
    for block in handle.dump(bytes.fromhex(line("list")[0]), "list", timeout=5):
        for message in messages(bytes(block)):
            yield message[:8] + bytes(8) + message[16:]


# --- what is listed ---------------------------------------------------------------------------------------------

LISTED = [
    param for param in chosen("replies") if "list" in param.values[0]["argv"] and "datagrams" in param.values[0]
]


@pytest.mark.parametrize("record", LISTED)
def test_list_accepts_what_ip_printed(record: dict[str, Any]) -> None:
    words = [word for word in record["argv"][1:] if word not in ("-s", "-o", "-d", "-j")]
    command = read(words)
    for datagram, text in record["datagrams"]:
        found = [accepted(command, one) for one in messages(bytes.fromhex(datagram))]
        assert sum(found) == len(re.findall(r"^src ", text, re.MULTILINE))


KINDS = (
    "src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 3",
    "src 10.1.0.0/16 dst 10.2.0.0/16 proto tcp sport 80 dport 443 dir in priority 4 flag localok",
    "src 10.0.0.0/8 dir fwd action block flag icmp localok",
    "src fd00::/16 dst fd01::/32 proto udp sport 0 dport 53 dir out mark 5 ptype sub",
    "src fd00::/16 proto gre key 1.2.3.4 dir in if_id 7",
    "proto icmp type 8 code 0 dir out",
    "proto icmp type 0 dir fwd",
    "dev lo dir in priority 9",
    "dir out index 9 priority 10",
    "proto tcp dport 443 dir out priority 100",
)
FILTERS = [
    *("dir in", "dir out", "dir fwd", "action allow", "action block", "priority 3", "priority 0", "index 9"),
    *(
        "ptype main",
        "ptype sub",
        "flag localok",
        "flag icmp",
        "flag localok icmp",
        "flag 0x2",
        "flag 0x0",
        "nosock",
    ),
    *("src 10.1.2.3", "src 10.1.2.3/8", "src 10.0.0.0/0", "src ::/0", "dst ::/0", "src fd00::/8", "dst fd01::/20"),
    *("dev lo", "dev none", "proto tcp", "proto any", "proto udp sport 0", "sport 0", "sport 80", "dport 443"),
    *("proto tcp sport 80 dport 443", "proto tcp sport 0", "proto icmp", "proto icmp type 8", "proto icmp type 0"),
    *("proto icmp code 0", "proto gre key 1.2.3.4", "proto gre key 0", "dir in action allow", "priority 3 dir in"),
    *(
        "src 10.1.0.0/16 dir in",
        "dir in dir out",
        "src any",
        "if_id",
        "bogus",
        "dir in src 10.0.0.0/8 src fd00::/8",
    ),
]


def test_list_shows_what_ip_shows(namespace: int) -> None:
    """Against the installed `ip`, of any version: what it lists has not changed for long."""
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` here")
    with inside(namespace), open_byproto() as handle:
        for text in KINDS:
            handle.talk(bytes.fromhex(line(f"add {text}")[0]), text, timeout=5)
        policies = list(dump(handle))
        for text in ["", *FILTERS]:
            for options in ([], ["-4"], ["-6"]):
                words = [*options, "xfrm", "policy", "list", *text.split()]
                done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
                shown = len(re.findall(r"^src ", done.stdout, re.MULTILINE))
                if done.returncode:
                    with pytest.raises(CommandError) as raised:
                        read(words)
                    assert raised.value.status == done.returncode, words
                else:
                    command = read(words)
                    assert shown == sum(accepted(command, one) for one in policies), words


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("mark 5", {3}),
        ("mark 5 mask 0xff", set()),
        ("mark 4", set()),
        ("mark 0xf1 mask 0xf", {10}),
        ("if_id 7", {4}),
        ("if_id 0", set()),
    ],
)
def test_filters_that_ip_lacks(text: str, which: set[int]) -> None:
    command = read(["xfrm", "policy", "list", *text.split()])
    policies = dumped((*KINDS, "dir in mark 1 mask 0xf"))
    assert {number for number, one in enumerate(policies) if accepted(command, one)} == which

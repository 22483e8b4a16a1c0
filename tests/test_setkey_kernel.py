# SPDX-License-Identifier: MIT
"""Policies of setkey.conf files in the kernel: they come back, and `ip` shows them as those that it made itself."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest
from live import Kernel

from xfrm_ext import LifetimeCurrent, Message, Policy, Session, setkey
from xfrm_ext.codec import native
from xfrm_ext.testing import inside, network_namespace

IP = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
USUAL = "priority 2147483648"
TUNNEL = "tmpl src 192.0.2.2 dst 192.0.2.1 proto esp mode tunnel"
PAIRS = {
    "two rules": (
        "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require ah/transport//use;",
        f"src 10.0.0.1 dst 10.0.0.2 dir out {USUAL} tmpl proto esp mode transport tmpl proto ah level use",
    ),
    "incoming and forwarded": (
        "spdadd 10.2.0.0/16 10.1.0.0/16 any -P in ipsec esp/tunnel/192.0.2.2-192.0.2.1/unique:5;",
        f"src 10.2.0.0/16 dst 10.1.0.0/16 dir in {USUAL} {TUNNEL} reqid 5\n"
        f"src 10.2.0.0/16 dst 10.1.0.0/16 dir fwd {USUAL} {TUNNEL}",
    ),
    "neighbours": (
        "spdadd ::/0 ::/0 icmp6 135,0 -P out prio high none;",
        "src ::/0 dst ::/0 proto ipv6-icmp type 135 dir out priority 1073741824",
    ),
    "discarded": (
        "spdadd 2001:db8::/32[22] ::/0 tcp -P fwd prio low+1 discard;",
        "src 2001:db8::/32 dst ::/0 proto tcp sport 22 dir fwd action block priority 3221225471",
    ),
    "of another family inside": (
        "spdadd 2001:db8:1::/48 2001:db8:2::/48 any -P out"
        " ipsec ipcomp/tunnel/192.0.2.1-192.0.2.2/require esp/transport/192.0.2.1-192.0.2.2/require;",
        f"src 2001:db8:1::/48 dst 2001:db8:2::/48 dir out {USUAL}"
        " tmpl src 192.0.2.1 dst 192.0.2.2 proto comp mode tunnel tmpl proto esp",
    ),
    "bits of the host": (
        "spdadd 10.1.2.3/16[80] 0.0.0.0/0 tcp -P fwd none;",
        f"src 10.1.2.3/16 dst 0.0.0.0/0 proto tcp sport 80 dir fwd {USUAL}",
    ),
    "GRE": (
        "spdadd 10.0.0.1 10.0.0.2 gre 1.2.3.4 -P out none;",
        f"src 10.0.0.1 dst 10.0.0.2 proto gre key 1.2.3.4 dir out {USUAL}",
    ),
    "an interface": (
        "spdadd fe80::1%lo fe80::/10 any -P out none;",
        f"src fe80::1 dst fe80::/10 dev lo dir out {USUAL}",
    ),
}
WHOLE = "".join(text for text, _ in PAIRS.values())


def ip(namespace: int, *words: str, lines: str = "") -> str:
    """What `ip` prints in a namespace."""
    assert IP is not None
    with inside(namespace):
        done = subprocess.run([IP, *words], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(namespace: int, text: str) -> list[Policy]:
    """Sends a file's requests, and says which policies were in them."""
    kernel = Kernel(namespace, native)
    found = []
    for statement in setkey.parse(text):
        for request in statement.requests:
            kernel.send(request)
            if isinstance(request.body, Policy):
                found.append(request.body)
    kernel.close()
    return found


def settled(policy: Policy) -> Policy:
    """A policy without what the kernel adds."""
    return replace(policy, index=0, current=LifetimeCurrent())


@pytest.mark.skipif(IP is None, reason="the program ip is not installed")
@pytest.mark.parametrize("name", PAIRS)
def test_ip_shows_what_it_would_have_made_itself(namespace: int, name: str) -> None:
    text, commands = PAIRS[name]
    load(namespace, text)
    with network_namespace() as other:
        ip(other, "-batch", "-", lines="".join(f"xfrm policy add {line}\n" for line in commands.splitlines()))
        for listing in ("xfrm policy list dir in", "xfrm policy list dir out", "xfrm policy list dir fwd"):
            assert ip(namespace, *listing.split()) == ip(other, *listing.split())


def test_policies_come_back_from_the_kernel_and_from_a_file_written_of_them(namespace: int) -> None:
    sayable = WHOLE.replace("%lo", "")
    sent = load(namespace, sayable)
    with Session(namespace) as session:
        dumped = list(session.spd.dump())
        assert set(map(settled, dumped)) == set(sent)
        assert len(dumped) == len(sent)
        written = setkey.to_setkey(dumped)
        session.spd.flush()
        assert set(load(namespace, written)) == set(sent)
        assert set(map(settled, session.spd.dump())) == set(sent)


def test_policies_are_found_by_the_words_that_they_were_added_with(namespace: int) -> None:
    load(namespace, WHOLE)
    load(namespace, WHOLE.replace("spdadd", "spdupdate"))
    load(namespace, WHOLE.replace("spdadd", "spddelete"))
    with Session(namespace) as session:
        assert list(session.spd.dump()) == []


def test_flushing(namespace: int) -> None:
    load(namespace, WHOLE + "spdflush;")
    with Session(namespace) as session:
        assert list(session.spd.dump()) == []


def test_dumps(namespace: int) -> None:
    sent = load(namespace, WHOLE)
    ((dump,),) = (statement.requests for statement in setkey.parse("spddump;"))
    kernel = Kernel(namespace, native)
    found = kernel.dump(dump)
    kernel.close()
    assert [parts.type for parts in found] == [Message.NEWPOLICY] * len(sent)

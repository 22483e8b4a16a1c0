# SPDX-License-Identifier: MIT
"""session.links against a kernel with XFRM interfaces."""

from __future__ import annotations

import errno
import subprocess

import pytest

from xfrm_ext import AlreadyExists, KernelError, NotFound, Session, XfrmInterface
from xfrm_ext.testing import inside, network_namespace


def ip(namespace: int, *arguments: str) -> str:
    with inside(namespace):
        return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def test_add_get_dump_delete(session: Session, namespace: int) -> None:
    session.links.add("ipsec0", 42, device="lo", mtu=1400)
    found = session.links.get("ipsec0")
    assert found == XfrmInterface(
        name="ipsec0", index=found.index, if_id=42, device=1, external=False, up=False, mtu=1400
    )
    assert found.index > 1
    assert session.links.get(found.index) == found
    assert session.links.get(found) == found
    assert "xfrm if_id 0x2a" in ip(namespace, "-d", "link", "show", "ipsec0")
    session.links.add("ipsec1", 0xFFFFFFFF, up=True)
    session.links.add("ipsec2", external=True)
    others = {each.name: each for each in session.links.dump()}
    assert set(others) == {"ipsec0", "ipsec1", "ipsec2"}
    assert (others["ipsec1"].if_id, others["ipsec1"].device, others["ipsec1"].up) == (0xFFFFFFFF, 0, True)
    assert (others["ipsec2"].if_id, others["ipsec2"].external, others["ipsec2"].up) == (0, True, False)
    for name in others:
        session.links.delete(name)
    assert list(session.links.dump()) == []
    with pytest.raises(NotFound):
        session.links.get("ipsec0")


def test_what_ip_made_reads_the_same(session: Session, namespace: int) -> None:
    ip(namespace, "link", "add", "made", "type", "xfrm", "dev", "lo", "if_id", "7")
    by_ip = session.links.get("made")
    session.links.delete(by_ip)
    session.links.add("made", 7, device="lo")
    ours = session.links.get("made")
    assert (ours.if_id, ours.device, ours.mtu) == (by_ip.if_id, by_ip.device, by_ip.mtu) == (7, 1, by_ip.mtu)


def test_update(session: Session) -> None:
    session.links.add("ipsec0", 1, device="lo")
    session.links.set_up("ipsec0")
    assert session.links.get("ipsec0").up
    session.links.update("ipsec0", if_id=9, mtu=1300)
    found = session.links.get("ipsec0")
    assert (found.if_id, found.mtu, found.up, found.device) == (9, 1300, True, 1)
    session.links.update("ipsec0", up=False)
    assert not session.links.get("ipsec0").up
    session.links.update("ipsec0")  # nothing
    session.links.add("other", 5)
    session.links.update("other", if_id=6)
    assert session.links.get("other").if_id == 6
    with pytest.raises(AlreadyExists):
        session.links.update("other", if_id=9)


def test_refusals(session: Session) -> None:
    session.links.add("ipsec0", 1)
    with pytest.raises(AlreadyExists, match="add XFRM interface ipsec0: File exists"):
        session.links.add("ipsec0", 2)
    with pytest.raises(AlreadyExists):
        session.links.add("ipsec1", 1)
    session.links.add("outside", external=True)
    with pytest.raises(KernelError) as caught:
        session.links.update("outside", if_id=5)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.kernel_text
    assert sorted(each.name for each in session.links.dump()) == ["ipsec0", "outside"]


def test_a_link_of_another_kind_survives(session: Session, namespace: int) -> None:
    ip(namespace, "link", "add", "dummy0", "type", "dummy")
    for verb in (session.links.delete, session.links.set_up, session.links.get):
        with pytest.raises(NotFound, match="another kind of link"):
            verb("dummy0")
    assert "state DOWN" in ip(namespace, "link", "show", "dummy0")


def test_moved_to_another_namespace_its_policies_stay(session: Session) -> None:
    session.links.add("ipsec0", 3, device="lo")
    with network_namespace() as red, Session(red) as there:
        session.links.update("ipsec0", netns=red)
        assert list(session.links.dump()) == []
        moved = there.links.get("ipsec0")
        assert (moved.if_id, moved.device) == (3, 1)
        assert moved.namespace_id is not None
        there.links.set_up("ipsec0")
        assert there.links.get("ipsec0").up


def test_many_in_one_dump(session: Session) -> None:
    for number in range(1, 301):
        session.links.add(f"ipsec{number}", number)
    assert {each.name: each.if_id for each in session.links.dump()} == {
        f"ipsec{number}": number for number in range(1, 301)
    }

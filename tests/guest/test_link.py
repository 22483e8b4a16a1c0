# SPDX-License-Identifier: MIT
"""session.links against a kernel with XFRM interfaces."""

from __future__ import annotations

import errno
import os
import socket
import subprocess

import pytest

from xfrm_ext import (
    AeadAlgorithm,
    AlreadyExists,
    KernelError,
    NotFound,
    Policy,
    Session,
    State,
    Template,
    XfrmInterface,
)
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


def gateway(session: Session, ours: str, theirs: str, spi_out: int, spi_in: int) -> None:
    """States and policies of if_id 7 between two outer addresses."""
    for source, destination, spi, direction in ((ours, theirs, spi_out, "out"), (theirs, ours, spi_in, "in")):
        session.sad.add(
            State(
                source,
                destination,
                spi=spi,
                mode="tunnel",
                if_id=7,
                aead=AeadAlgorithm("rfc4106(gcm(aes))", bytes(range(spi >> 4, (spi >> 4) + 20)), 128),
            )
        )
        template = Template(source, destination, mode="tunnel")
        session.spd.add(Policy(direction=direction, if_id=7, templates=[template]))


@pytest.mark.parametrize("external", [False, True])
def test_packets_go_through_one_that_was_moved(external: bool) -> None:
    """Keys in one namespace, the program in another. What comes out of an external one at the other end could be
    answered with a route that says the if_id, which takes CONFIG_LWTUNNEL: there, it is one way."""
    with (
        network_namespace() as here,
        network_namespace() as red,
        network_namespace() as far,
        Session(here) as ours,
        Session(red) as inner,
        Session(far) as theirs,
    ):
        there = f"/proc/{os.getpid()}/fd/{far}"
        ip(here, "link", "add", "wire", "type", "veth", "peer", "name", "peer", "netns", there)
        for namespace, device, address in ((here, "wire", "192.0.2.1/24"), (far, "peer", "192.0.2.2/24")):
            ip(namespace, "addr", "add", address, "dev", device)
            ip(namespace, "link", "set", device, "up")
        gateway(ours, "192.0.2.1", "192.0.2.2", 256, 512)
        gateway(theirs, "192.0.2.2", "192.0.2.1", 512, 256)

        ours.links.add("ipsec0", 7, device="wire")
        ours.links.update("ipsec0", netns=red)
        ip(red, "addr", "add", "10.1.0.1/32", "dev", "ipsec0")
        inner.links.set_up("ipsec0")
        ip(red, "route", "add", "10.2.0.0/16", "dev", "ipsec0")

        theirs.links.add("ipsec0", None if external else 7, external=external, up=True)
        ip(far, "addr", "add", "10.2.0.1/32", "dev", "ipsec0")
        ip(far, "route", "add", "10.1.0.0/16", "dev", "ipsec0")

        with inside(red):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with inside(far):
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client, server:
            for each, address in ((client, "10.1.0.1"), (server, "10.2.0.1")):
                each.settimeout(10)
                each.bind((address, 7000))
            client.sendto(b"there", ("10.2.0.1", 7000))
            data, sender = server.recvfrom(100)
            assert (data, sender) == (b"there", ("10.1.0.1", 7000))
            if not external:
                server.sendto(b"and back", sender)
                assert client.recv(100) == b"and back"
        for session in (ours, theirs):
            packets = {state.spi: state.current.packets for state in session.sad.dump()}
            assert packets == {256: 1, 512: 0 if external else 1}
            assert session.statistics().nonzero == {}
        assert list(inner.sad.dump()) == []

# SPDX-License-Identifier: MIT
"""session.features() on a kernel that has all of IPsec."""

from __future__ import annotations

import socket
import struct
import subprocess

import pytest
from test_probe import DUMP_STATES, everything, unchanged

from xfrm_ext import Features, Group, Message, Policy, Selector, Session, Template
from xfrm_ext.rtnl import messages, open_byproto
from xfrm_ext.testing import inside


def test_all_of_it_is_there(session: Session) -> None:
    features = session.features()
    assert {name: found for name, found in features.as_dict().items() if not found} == {}
    assert len(features.as_dict()) == sum(isinstance(each, property) for each in vars(Features).values())
    for mode in ("transport", "tunnel", "beet", "iptfs"):
        for family in ("inet", "inet6"):
            assert features.supports("esp", family, mode)
    assert not features.supports("ah", "inet", "iptfs")
    assert features.supports("hao", "inet6", "ro")
    assert not features.supports("hao", "inet", "ro")
    assert features.supports_encapsulation("espinudp", "inet6")
    assert not features.supports_encapsulation("espinudp_non_ike")


@pytest.mark.parametrize(
    "name",
    [
        "rfc4106(gcm(aes))",
        "rfc4309(ccm(aes))",
        "rfc4543(gcm(aes))",
        "rfc7539esp(chacha20,poly1305)",
        "cbc(aes)",
        "rfc3686(ctr(aes))",
        "ecb(cipher_null)",
        "cbc(des3_ede)",
        "hmac(sha1)",
        "hmac(sha256)",
        "hmac(sha512)",
        "cmac(aes)",
        "xcbc(aes)",
        "digest_null",
        "deflate",
    ],
)
def test_algorithms(session: Session, name: str) -> None:
    assert session.features().supports_algorithm(name)


@pytest.mark.parametrize("name", ["nonsense", "lzs", "gcm(aes)", "hmac(sha257)", "sha256_generic"])
def test_algorithms_that_there_are_not(session: Session, name: str) -> None:
    assert not session.features().supports_algorithm(name)


def test_nothing_changes_for_states_that_look_most_like_those_asked_about(session: Session, namespace: int) -> None:
    """States that wait for their SPI, and so have 0, of the very addresses that are asked about."""
    addresses = {"192.0.2.1": socket.AF_INET, "2001:db8::1": socket.AF_INET6}
    # Without a key manager that listens the kernel doesn't wait.
    with inside(namespace), open_byproto(groups=1 << (Group.ACQUIRE - 1)):
        for command in (
            "link add out0 type dummy",
            "link set out0 up",
            "addr add 198.51.100.1/24 dev out0",
            "addr add 2001:db8:1::1/64 dev out0 nodad",
            "route add 192.0.2.0/24 dev out0",
            "-6 route add 2001:db8::/64 dev out0",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        for address, family in addresses.items():
            for protocol, port in (("esp", 1), ("ah", 2), ("comp", 3)):
                selector = Selector(None, address, protocol="udp", destination_port=port)
                session.spd.add(
                    Policy(selector, direction="out", templates=[Template(protocol=protocol, mode="transport")])
                )
                with socket.socket(family, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"", (address, port))  # makes the kernel ask for a state
    waiting = [
        message
        for block in session._dump(DUMP_STATES, "dump states")
        for message in messages(block)
        if struct.unpack_from("=H", message, 4)[0] == Message.NEWSA
    ]
    assert [message[16 + 72 : 16 + 76] for message in waiting] == [bytes(4)] * 6  # their SPIs
    session.links.add("ipsec0", 1)
    with unchanged(session, namespace):
        answers = everything(session.features())
    assert answers["esp4"]
    assert answers["ah6"]
    assert answers["ipcomp4"]

# SPDX-License-Identifier: MIT
"""session.links without XFRM interfaces in the kernel: bytes as `ip link` sends them, replies, bad input.

tests/guest/test_link.py has the kernel's side.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from vectors import attribute, messages, records

import xfrm_ext
from xfrm_ext import KernelError, NotFound, ProtocolError, Session, ValidationError, XfrmInterface
from xfrm_ext.testing import Answer, FakeTransport, Refusal

NEWLINK, DELLINK, GETLINK = 16, 17, 18
REQUESTS = {record["id"]: record for record in records("links")}


def link(index: int = 7, kind: bytes = b"xfrm", data: bytes = b"", more: bytes = b"", flags: int = 0) -> bytes:
    """An RTM_NEWLINK message as the kernel sends it."""
    info = attribute(1, kind + b"\0") + attribute(2, data)
    body = struct.pack("=BxHiII", 0, 65534, index, flags, 0)
    body += attribute(3, b"xfrm0\0") + attribute(4, struct.pack("=I", 1500)) + attribute(18, info) + more
    return struct.pack("=IHHII", 16 + len(body), NEWLINK, 0, 0, 0) + body


@pytest.mark.parametrize("record", [pytest.param(record, id=record["id"]) for record in records("link_replies")])
def test_what_ip_printed(record: dict[str, Any]) -> None:
    """Dumps of real interfaces, and the words that `ip -d link` made of them."""
    sent = [raw for part in record["received"] for raw in messages(bytes.fromhex(part))]
    links = [raw for raw in sent if struct.unpack_from("=H", raw, 4)[0] == NEWLINK]
    found = list(Session(transport=FakeTransport(lambda _: links)).links.dump())
    (line,) = re.findall(r"^(\d+): (\w+)@(\w+): <(\S+)> mtu (\d+) ", record["text"], re.MULTILINE)
    if_id = re.search(r"xfrm if_id (0x[0-9a-f]+) ", record["text"])
    assert [
        (str(one.index), one.name, {0: "NONE", 1: "lo"}[one.device], str(one.mtu), one.up, one.external, one.if_id)
        for one in found
    ] == [
        (
            *line[:3],
            line[4],
            "UP" in line[3].split(","),
            " xfrm external " in record["text"],
            int(if_id[1], 16) if if_id else 0,
        )
    ]


IPSEC = attribute(2, struct.pack("=I", 42)) + attribute(1, struct.pack("=I", 1))


def never(message: bytes) -> Answer:
    raise AssertionError(f"sent: {message.hex()}")


def kernel(reply: bytes | Refusal | list[bytes]) -> tuple[FakeTransport, Session]:
    """A scripted kernel whose answer to each question is `reply`; changes are carried out."""

    def handler(message: bytes) -> Answer:
        return reply if struct.unpack_from("=H", message, 4)[0] == GETLINK else None

    transport = FakeTransport(handler, {"lo": 1})
    return transport, Session(transport=transport)


ADDS: dict[str, Callable[[Session], None]] = {
    "link-xfrm-basic": lambda session: session.links.add("xfrm0", 42, device="lo"),
    "link-xfrm-external": lambda session: session.links.add("xfrm0", external=True),
    "link-xfrm-long-name": lambda session: session.links.add("abcdefghijklmno", 6, device=1),
    "link-xfrm-mtu": lambda session: session.links.add("xfrm0", 5, device="lo", mtu=1400),
    "link-xfrm-up": lambda session: session.links.add("xfrm0", 5, up=True),
}


@pytest.mark.parametrize("name", ADDS)
def test_bytes_are_those_of_ip_link_add(name: str) -> None:
    transport, session = kernel(link())
    ADDS[name](session)
    record = REQUESTS[name]
    expected = bytearray.fromhex(record["sent"][-1])  # before it, a name may be looked up
    for datagram, offset, length in record["dont_care"]:
        if datagram == len(record["sent"]) - 1:
            expected[offset : offset + length] = bytes(length)
    assert [message.hex() for message in transport.sent] == [expected.hex()]


def test_a_name_is_asked_for_as_ip_link_does() -> None:
    transport, session = kernel(link(data=IPSEC))
    session.links.get("xfrm0")
    expected = bytearray.fromhex(REQUESTS["link-xfrm-del"]["sent"][0])
    expected[8:16] = bytes(8)
    expected[36:40] = struct.pack("=I", 8)  # no VFs are asked for; no statistics, as ip does
    assert [message.hex() for message in transport.sent] == [expected.hex()]


def test_no_request_of_the_vectors_is_forgotten() -> None:
    # The others: what ip asks before it gives up, and what this package does not do (link, txqueuelen, no name).
    others = {
        "link-xfrm-change",
        "link-xfrm-del",
        "link-xfrm-link-kw",
        "link-xfrm-noname",
        "link-xfrm-none-refused",
        "link-xfrm-set-type",
        "link-xfrm-txqlen",
    }
    assert set(REQUESTS) == set(ADDS) | others


def test_fields_of_a_reply() -> None:
    _, session = kernel(link(data=IPSEC, more=attribute(37, struct.pack("=i", 3)), flags=0x11043))
    assert session.links.get(7) == XfrmInterface(
        name="xfrm0", index=7, if_id=42, device=1, external=False, up=True, mtu=1500, namespace_id=3
    )
    _, session = kernel(link(data=attribute(3, b"")))
    assert session.links.get(7) == XfrmInterface(
        name="xfrm0", index=7, if_id=0, device=0, external=True, up=False, mtu=1500
    )


def test_unknown_attributes_and_sizes_are_passed_over() -> None:
    odd = attribute(2, b"12") + attribute(99, b"?") + attribute(1, struct.pack("=I", 9))
    _, session = kernel(link(data=odd, more=attribute(200, b"later")))
    found = session.links.get("xfrm0")
    assert (found.if_id, found.device) == (0, 9)


def test_nested_attributes_may_say_so() -> None:
    nested = link(data=IPSEC).replace(
        struct.pack("=H", 18) + attribute(1, b"xfrm\0"), struct.pack("=H", 0x8012) + attribute(1, b"xfrm\0")
    )
    assert nested != link(data=IPSEC)
    _, session = kernel(nested)
    assert session.links.get("xfrm0").if_id == 42


@pytest.mark.parametrize("kind", [b"", b"xfrm0", b"vti", b"xfr"])
def test_another_kind_of_link_is_not_found_and_never_touched(kind: bytes) -> None:
    transport, session = kernel(link(kind=kind, data=IPSEC))
    for verb in (session.links.get, session.links.delete, session.links.set_up):
        with pytest.raises(NotFound, match=r"find XFRM interface xfrm0 \(it is another kind of link\)") as caught:
            verb("xfrm0")
        assert caught.value.errno == errno.ENODEV
    with pytest.raises(NotFound):
        session.links.update("xfrm0", if_id=4)
    assert {struct.unpack_from("=H", message, 4)[0] for message in transport.sent} == {GETLINK}


def test_dump_lists_xfrm_interfaces_only() -> None:
    transport, session = kernel([link(1, b"vti") + link(2, data=IPSEC), link(3, b"") + link(4, data=IPSEC)])
    assert [found.index for found in session.links.dump()] == [2, 4]
    assert struct.unpack_from("=HH", transport.sent[0], 4) == (GETLINK, 0x301)


def test_changes_go_by_index() -> None:
    transport, session = kernel(link(data=IPSEC))
    session.links.delete("xfrm0")
    session.links.set_up("xfrm0")
    session.links.update(7, up=False, mtu=1400)
    session.links.update(session.links.get("xfrm0"), if_id=43)
    changes = [message for message in transport.sent if struct.unpack_from("=H", message, 4)[0] != GETLINK]
    assert [struct.unpack_from("=HH", message, 4) for message in changes] == [(DELLINK, 5)] + [(NEWLINK, 5)] * 3
    assert [struct.unpack_from("=iII", message, 20) for message in changes] == [
        (7, 0, 0),
        (7, 1, 1),
        (7, 0, 1),
        (7, 0, 0),
    ]
    assert [message[32:].hex() for message in changes[:3]] == ["", "", attribute(4, struct.pack("=I", 1400)).hex()]
    # The device is told again: the kernel refuses a change of it, and takes none for a change.
    data = attribute(2, struct.pack("=I", 43)) + attribute(1, struct.pack("=I", 1))
    assert changes[3][32:] == attribute(18, attribute(1, b"xfrm\0") + attribute(2, data))


def test_no_such_link() -> None:
    _, session = kernel(Refusal(errno.ENODEV))
    with pytest.raises(NotFound, match=r"find XFRM interface ipsec9: No such device \[ENODEV\]") as caught:
        session.links.delete("ipsec9")
    assert isinstance(caught.value, LookupError)
    _, session = kernel(Refusal(errno.EPERM))
    with pytest.raises(PermissionError):
        session.links.get("ipsec9")


REPLIES = {
    "nothing": b"",
    "a header alone": struct.pack("=IHHII", 16, NEWLINK, 0, 0, 0),
    "another message": struct.pack("=IHHII", 32, DELLINK, 0, 0, 0) + bytes(16),
    "an attribute that is too long": link()[:-4],
    "an attribute that is too short": link(more=struct.pack("=HH", 3, 1)),
    "three bytes more": link(more=b"abc"),
    "an inner attribute that is too long": link(data=struct.pack("=HH", 20, 2)),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_with_wrong_lengths(name: str) -> None:
    _, session = kernel(REPLIES[name])
    with pytest.raises(ProtocolError):
        session.links.get("xfrm0")


NAME = "is not an interface's name: 1 to 15 bytes without '/', ':', '%' and spaces"
VALUES = [
    ('links.add("")', f"XfrmInterface.name: '' {NAME}"),
    ('links.add(".", 1)', f"XfrmInterface.name: '.' {NAME}"),
    ('links.add("..", 1)', f"XfrmInterface.name: '..' {NAME}"),
    ('links.add("abcdefghijklmnop", 1)', f"XfrmInterface.name: 'abcdefghijklmnop' {NAME}"),
    ('links.add("\\xe4" * 8, 1)', f"XfrmInterface.name: 'ääääääää' {NAME}"),
    ('links.add("a/b", 1)', f"XfrmInterface.name: 'a/b' {NAME}"),
    ('links.add("eth0:1", 1)', f"XfrmInterface.name: 'eth0:1' {NAME}"),
    ('links.add("xfrm%d", 1)', f"XfrmInterface.name: 'xfrm%d' {NAME}"),
    ('links.add("a b", 1)', f"XfrmInterface.name: 'a b' {NAME}"),
    ('links.add("a\\n", 1)', f"XfrmInterface.name: 'a\\n' {NAME}"),
    ('links.add("a\\0b", 1)', f"XfrmInterface.name: 'a\\x00b' {NAME}"),
    ('links.add("\\ud800", 1)', f"XfrmInterface.name: '\\ud800' {NAME}"),
    ('links.add(b"xfrm0", 1)', f"XfrmInterface.name: b'xfrm0' {NAME}"),
    ("links.add(None, 1)", f"XfrmInterface.name: None {NAME}"),
    ('links.add("xfrm0")', "XfrmInterface.if_id: is needed, unless the interface is external"),
    ('links.add("xfrm0", 0)', "XfrmInterface.if_id: 0 is not an integer from 1 to 4294967295"),
    ('links.add("xfrm0", 1 << 32)', "XfrmInterface.if_id: 4294967296 is not an integer from 1 to 4294967295"),
    ('links.add("xfrm0", "1")', "XfrmInterface.if_id: '1' is not an integer from 1 to 4294967295"),
    ('links.add("xfrm0", True)', "XfrmInterface.if_id: True is not an integer from 1 to 4294967295"),
    ('links.add("xfrm0", 0, external=True)', "XfrmInterface.if_id: 0 is not for an external one"),
    (
        'links.add("xfrm0", device="lo", external=True)',
        "XfrmInterface.device: 'lo' is not for an external one",
    ),
    ('links.add("xfrm0", 1, external=1)', "XfrmInterface.external: 1 is not a bool"),
    ('links.add("xfrm0", 1, up="no")', "XfrmInterface.up: 'no' is not a bool"),
    ('links.add("xfrm0", 1, device="eth7")', "XfrmInterface.device: 'eth7' is not an interface"),
    ('links.add("xfrm0", 1, device="")', f"XfrmInterface.device: '' {NAME}"),
    ('links.add("xfrm0", 1, device=0)', "XfrmInterface.device: 0 is not an integer from 1 to 2147483647"),
    ('links.add("xfrm0", 1, device=1.0)', "XfrmInterface.device: 1.0 is not an integer from 1 to 2147483647"),
    ('links.add("xfrm0", 1, mtu=67)', "XfrmInterface.mtu: 67 is not an integer from 68 to 4294967295"),
    ('links.add("xfrm0", 1, mtu="1500")', "XfrmInterface.mtu: '1500' is not an integer from 68 to 4294967295"),
    ("links.get(0)", "XfrmInterface.index: 0 is not an integer from 1 to 2147483647"),
    ("links.get(None)", "XfrmInterface.index: None is not an integer from 1 to 2147483647"),
    ('links.get(b"xfrm0")', "XfrmInterface.index: b'xfrm0' is not an integer from 1 to 2147483647"),
    ('links.get("a b")', f"XfrmInterface.name: 'a b' {NAME}"),
    ("links.delete(-1)", "XfrmInterface.index: -1 is not an integer from 1 to 2147483647"),
    ("links.set_up(True)", "XfrmInterface.index: True is not an integer from 1 to 2147483647"),
    ('links.update("xfrm0", up=0)', "XfrmInterface.up: 0 is not a bool, or None"),
    ('links.update("xfrm0", if_id=0)', "XfrmInterface.if_id: 0 is not an integer from 1 to 4294967295"),
    ('links.update("xfrm0", mtu=0)', "XfrmInterface.mtu: 0 is not an integer from 68 to 4294967295"),
    ('links.update("xfrm0", netns="vpn")', "netns: 'vpn' is not an integer from 0 to 2147483647"),
    ('links.update("xfrm0", netns=-1)', "netns: -1 is not an integer from 0 to 2147483647"),
]


@pytest.mark.parametrize(("expression", "message"), VALUES, ids=[expression for expression, _ in VALUES])
def test_bad_input(expression: str, message: str) -> None:
    transport = FakeTransport(never, {"lo": 1})
    names = {
        **{name: getattr(xfrm_ext, name) for name in xfrm_ext.__all__},
        "links": Session(transport=transport).links,
    }
    with pytest.raises(ValidationError) as caught:
        eval(expression, names)
    assert str(caught.value) == message
    assert transport.sent == []


def test_the_kernel_without_them_says_so_in_its_own_words(session: Session) -> None:
    names = ["xfrm0"]
    try:
        session.links.add("xfrm0", 42, device="lo")
    except KernelError as error:
        names = []
        refusal = (error.errno, error.operation, error.kernel_text)
        if refusal != (errno.EOPNOTSUPP, "add XFRM interface xfrm0", "Unknown device type"):
            raise
    assert [found.name for found in session.links.dump()] == names
    with pytest.raises(NotFound, match="another kind of link"):
        session.links.get("lo")
    with pytest.raises(NotFound, match="No such device"):
        session.links.get("xfrm9")


def test_a_refusal_names_no_attribute_of_xfrm(session: Session) -> None:
    """Types of NETLINK_ROUTE have the numbers of XFRM's, and mean others."""
    # RTM_GETLINK with an IFLA_EXT_MASK that is too short, to which the extended ACK points.
    request = struct.pack("=IHHII", 40, GETLINK, 1, 0, 0) + bytes(16) + struct.pack("=HHHxx", 6, 29, 1)
    beside = session._transport.open_beside(0)
    with pytest.raises(KernelError) as caught:
        beside.talk(request, "ask", answer=True)
    beside.close()
    assert caught.value.errno == errno.ERANGE
    assert caught.value.attribute is None

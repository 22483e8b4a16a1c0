# SPDX-License-Identifier: MIT
"""setkey.conf: what it says in XFRM."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from xfrm_ext import (
    Algorithm,
    AuthAlgorithm,
    Direction,
    Encapsulation,
    LifetimeConfig,
    Message,
    Policy,
    PolicyId,
    Protocol,
    Request,
    SecurityContext,
    Selector,
    SetkeyError,
    SpiRequest,
    State,
    StateFilter,
    StateId,
    Template,
    setkey,
)
from xfrm_ext.setkey import names

PRIORITY = 0x80000000


def requests(text: str | bytes, **options: Any) -> list[Request]:
    return [request for statement in setkey.parse(text, **options) for request in statement.requests]


def bodies(text: str | bytes, **options: Any) -> list[Any]:
    return [request.body for request in requests(text, **options)]


def refused(text: str | bytes, **options: Any) -> SetkeyError:
    with pytest.raises(SetkeyError) as caught:
        list(setkey.parse(text, "setkey.conf", **options))
    return caught.value


def policy(*ends: str, **options: Any) -> Policy:
    given = {"priority": PRIORITY, "direction": "out", "templates": options.pop("rules", ())} | options
    selector = {
        name: given.pop(name)
        for name in ("protocol", "source_port", "destination_port", "interface")
        if name in given
    }
    return Policy(Selector(*ends, strict=False, **selector), **given)


def rule(*ends: str, **options: Any) -> Template:
    return Template(*ends, mode="tunnel" if ends else "transport", **options)


# --- whole files, as people have them ------------------------------------------------------------------------

TRANSPORT = """\
#!/usr/sbin/setkey -f

# Flush the SAD and SPD
flush;
spdflush;

# AH SAs using 128 bit long keys
add 192.168.1.100 192.168.2.100 ah 0x200 -A hmac-md5
\t0xc0291ff014dccdd03874d9e8e4cdf3e6;
# ESP SAs using 192 bit long keys (168 + 24 parity)
add 192.168.1.100 192.168.2.100 esp 0x201 -E 3des-cbc
\t0x7aeaca3f87d060a12f4a4487d5a5c3355920fae69a96c831;

# Security policies
spdadd 192.168.1.100 192.168.2.100 any -P out ipsec
           esp/transport//require
           ah/transport//require;
spdadd 192.168.2.100 192.168.1.100 any -P in ipsec esp/transport//require ah/transport//require;
"""


def test_ah_and_esp_between_two_hosts() -> None:
    hosts = "192.168.1.100", "192.168.2.100"
    bundle = [rule(), rule(protocol="ah")]
    assert requests(TRANSPORT) == [
        Request(Message.FLUSHSA),
        Request(Message.FLUSHPOLICY),
        Request(
            Message.NEWSA,
            State(
                *hosts,
                spi=0x200,
                protocol="ah",
                replay_window=0,
                authentication=AuthAlgorithm("hmac(md5)", "c0291ff014dccdd03874d9e8e4cdf3e6", 96),
            ),
        ),
        Request(
            Message.NEWSA,
            State(
                *hosts,
                spi=0x201,
                replay_window=0,
                encryption=Algorithm("cbc(des3_ede)", "7aeaca3f87d060a12f4a4487d5a5c3355920fae69a96c831"),
            ),
        ),
        Request(Message.NEWPOLICY, policy(*hosts, rules=bundle)),
        Request(Message.NEWPOLICY, policy(*reversed(hosts), direction="in", rules=bundle)),
        Request(Message.NEWPOLICY, policy(*reversed(hosts), direction="fwd", rules=bundle)),
    ]
    assert [(one.line, one.column, one.command) for one in setkey.parse(TRANSPORT)] == [
        (4, 1, "flush"),
        (5, 1, "spdflush"),
        (8, 1, "add"),
        (11, 1, "add"),
        (15, 1, "spdadd"),
        (18, 1, "spdadd"),
    ]


TUNNEL = """\
add 172.16.1.1 10.246.38.1 esp 9991 -m tunnel -u 7 -r 32 -lh 28800 -ls 25000 -bh 1000000000 -bs 900000000
    -E rijndael-cbc "fourteen and  2!" -A hmac-sha1 "this is the test key";
spdadd 172.16.13.0/24[any] 10.0.0.0/8[80] tcp -P out priority high + 10 ipsec
    esp/tunnel/172.16.1.1-10.246.38.1/unique:7;
spdadd 10.0.0.0/8 172.16.13.0/24 any -P in prio -5 ipsec
    esp/tunnel/10.246.38.1-172.16.1.1/unique:7;
spdadd 10.1.2.3/8 0.0.0.0/0 udp -P fwd discard;
"""


def test_a_tunnel_between_two_networks() -> None:
    ends, nets = ("172.16.1.1", "10.246.38.1"), ("172.16.13.0/24", "10.0.0.0/8")
    assert bodies(TUNNEL) == [
        State(
            *ends,
            spi=9991,
            mode="tunnel",
            reqid=7,
            replay_window=32,
            lifetime=LifetimeConfig(
                hard_add_expires_seconds=28800,
                soft_add_expires_seconds=25000,
                hard_byte_limit=10**9,
                soft_byte_limit=9 * 10**8,
            ),
            encryption=Algorithm("cbc(aes)", b"fourteen and  2!"),
            authentication=AuthAlgorithm("hmac(sha1)", b"this is the test key", 96),
        ),
        policy(*nets, protocol="tcp", destination_port=80, priority=0x40000000 - 10, rules=rule(*ends, reqid=7)),
        policy(*reversed(nets), direction="in", priority=PRIORITY + 5, rules=rule(*reversed(ends), reqid=7)),
        # "unique" is for the incoming packets only
        policy(*reversed(nets), direction="fwd", priority=PRIORITY + 5, rules=rule(*reversed(ends))),
        policy("10.1.2.3/8", "0.0.0.0/0", direction="fwd", protocol="udp", action="block"),
    ]


IPV6_AND_IPCOMP = """\
add -6n 2001:db8::1 2001:db8::2 ipcomp 0x1000 -m tunnel -C deflate -R;
add 2001:db8::1 2001:db8::2 esp 0x1001 -f seq-pad -f nocyclic-seq -ctx 1 1 "system_u:object_r:ipsec_t:s0"
    -E aes-ctr 0x000102030405060708090a0b0c0d0e0f01020304 -A hmac-sha2-512 "%s";
spdadd ::/0 ::/0 icmp6 135,0 -P in none;
spdadd 2001:db8:1::/48 2001:db8:2::/48 any -ctx 1 1 "system_u:object_r:ipsec_t:s0" -P out ipsec
    ipcomp/tunnel/2001:db8::1-2001:db8::2/use
    esp/transport//default;
""" % ("k" * 64)


def test_ipv6_and_compression_below_esp() -> None:
    ends, label = ("2001:db8::1", "2001:db8::2"), SecurityContext("system_u:object_r:ipsec_t:s0")
    solicitation = policy("::/0", "::/0", direction="in", protocol=58, source_port=135)
    assert bodies(IPV6_AND_IPCOMP) == [
        State(*ends, spi=0x1000, protocol="comp", mode="tunnel", compression=Algorithm("deflate")),
        State(
            *ends,
            spi=0x1001,
            replay_window=0,
            security_context=label,
            encryption=Algorithm("rfc3686(ctr(aes))", bytes(range(16)) + bytes([1, 2, 3, 4])),
            authentication=AuthAlgorithm("hmac(sha512)", b"k" * 64, 256),
        ),
        solicitation,
        replace(solicitation, direction=Direction.FWD),
        policy(
            "2001:db8:1::/48",
            "2001:db8:2::/48",
            security_context=label,
            rules=[rule(*ends, protocol="comp", level="use"), rule()],
        ),
    ]


def test_each_other_command() -> None:
    text = """getspi 192.0.2.1 192.0.2.2 esp 0 -m tunnel; getspi 192.0.2.1 192.0.2.2 ah 0x1000 -u 3;
        getspi 192.0.2.1 192.0.2.2 ipcomp 0;
        update 192.0.2.1 192.0.2.2 ah 0x1000 -A null;
        get 192.0.2.1 192.0.2.2 esp 0x100; delete 192.0.2.1 192.0.2.2 ah 257 -m any;
        deleteall 192.0.2.1 192.0.2.2 esp; flush ipcomp; dump; dump ah; spddump;
        spdupdate 192.0.2.1 192.0.2.2 any -P out none;
        spddelete 192.0.2.1 192.0.2.2 any -P out; spddelete 192.0.2.1 192.0.2.2 any -P in none;
        quit; neither @ nor this is looked at"""
    ends = "192.0.2.1", "192.0.2.2"
    hosts = Selector(*ends)
    assert requests(text) == [
        Request(Message.ALLOCSPI, SpiRequest(State(*ends, spi=0, mode="tunnel", replay_window=0))),
        Request(
            Message.ALLOCSPI,
            SpiRequest(State(*ends, spi=0x1000, protocol="ah", reqid=3, replay_window=0), 0x1000, 0x1000),
        ),
        Request(Message.ALLOCSPI, SpiRequest(State(*ends, spi=0, protocol="comp"), 0x100, 0xFFFF)),
        Request(
            Message.UPDSA,
            State(*ends, spi=0x1000, protocol="ah", replay_window=0, authentication=AuthAlgorithm("digest_null")),
        ),
        Request(Message.GETSA, StateId("192.0.2.2", 0x100, "esp")),
        Request(Message.DELSA, StateId("192.0.2.2", 257, "ah")),
        Request(Message.GETSA, StateFilter("esp", *ends)),
        Request(Message.FLUSHSA, Protocol.COMP),
        Request(Message.GETSA),
        Request(Message.GETSA, StateFilter("ah")),
        Request(Message.GETPOLICY),
        Request(Message.UPDPOLICY, policy(*ends)),
        Request(Message.DELPOLICY, PolicyId(hosts, direction="out")),
        Request(Message.DELPOLICY, PolicyId(hosts, direction="in")),
        Request(Message.DELPOLICY, PolicyId(hosts, direction="fwd")),
    ]


def test_deleteall_says_which_states_it_means() -> None:
    (statement,) = setkey.parse("deleteall 192.0.2.1 192.0.2.2 esp;")
    state = State("192.0.2.1", "192.0.2.2", spi=1)
    assert statement.accepts(state)
    for other in (
        State("192.0.2.2", "192.0.2.1", spi=1),
        State("192.0.2.1", "192.0.2.3", spi=1),
        State("192.0.2.1", "192.0.2.2", spi=1, protocol="ah"),
        State("::", "::", spi=1),
    ):
        assert not statement.accepts(other)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", PRIORITY),
        ("priority 100", PRIORITY - 100),
        ("prio -100", PRIORITY + 100),
        ("prio - 100", PRIORITY + 100),
        ("priority 2147483648", 0),
        ("priority -2147483647", 0xFFFFFFFF),
        ("priority def", PRIORITY),
        ("priority low", 0xC0000000),
        ("priority low+1", 0xC0000000 - 1),
        ("priority low - 1073741823", 0xFFFFFFFF),
        ("priority high-1", 0x40000000 + 1),
        ("priority high + 1073741824", 0),
    ],
)
def test_priorities_count_the_other_way(words: str, expected: int) -> None:
    (found,) = bodies(f"spdadd 10.0.0.1 10.0.0.2 any -P out {words} none;")
    assert found.priority == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("any", {}),
        ("255", {}),
        ("6", {"protocol": 6}),
        ("TCP", {"protocol": 6}),
        ("ip4", {"protocol": 4}),
        ("icmp6", {"protocol": 58}),
        ("gre 1.2.3.4", {"protocol": 47, "source_port": 0x0102, "destination_port": 0x0304}),
        ("gre 65537", {"protocol": 47, "source_port": 1, "destination_port": 1}),
        ("icmp 8,0", {"protocol": 1, "source_port": 8}),
        ("icmp 3,4", {"protocol": 1, "source_port": 3, "destination_port": 4}),
        ("135 5", {"protocol": 135, "source_port": 5}),
    ],
)
def test_upper_layers(words: str, expected: dict[str, int]) -> None:
    assert bodies(f"spdadd 10.0.0.1 10.0.0.2 {words} -P out none;") == [policy("10.0.0.1", "10.0.0.2", **expected)]


def test_ports_by_number_name_and_any() -> None:
    text = "spdadd 10.0.0.0/8[http] 10.0.0.2[ 65535 ] tcp -P out none; spdadd ::1[any] ::1[0] any -P out none;"
    assert bodies(text) == [
        policy("10.0.0.0/8", "10.0.0.2", protocol=6, source_port=80, destination_port=65535),
        policy("::1", "::1"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("esp/transport", rule()),
        ("esp/transport/", rule()),
        ("esp/transport//", rule()),
        ("ah/transport//use", rule(protocol="ah", level="use")),
        ("ah/transport/192.0.2.1-192.0.2.2/require", rule(protocol="ah")),
        ("esp/transport/me-any/unique:5", rule(reqid=5)),
        ("esp/tunnel/192.0.2.1-192.0.2.2", rule("192.0.2.1", "192.0.2.2")),
        ("esp/tunnel/192.0.2.1 -\n 192.0.2.2/", rule("192.0.2.1", "192.0.2.2")),
        ("esp / tunnel / 2001:db8::1 - 2001:db8::2 / default", rule("2001:db8::1", "2001:db8::2")),
    ],
)
def test_rules(text: str, expected: Template) -> None:
    (alone,) = bodies(f"spdadd 10.0.0.1 10.0.0.2 any -P out ipsec {text};")
    assert alone == policy("10.0.0.1", "10.0.0.2", rules=expected)
    (both,) = bodies(f"spdadd 10.0.0.1 10.0.0.2 any -P out ipsec {text} ipcomp/transport;")
    assert both == policy("10.0.0.1", "10.0.0.2", rules=[expected, rule(protocol="comp")])


def test_unique_without_a_number_gets_numbers_as_the_kernel_gives_them() -> None:
    text = "spdadd 10.0.0.1 10.0.0.2 any -P in ipsec esp/transport//unique ah/transport//unique;" * 2
    found = [[one.reqid for one in body.templates] for body in bodies(text)]
    assert found == [[0x4000, 0x4001], [0, 0x4001], [0x4002, 0x4003], [0, 0x4003]]


def test_esp_in_udp() -> None:
    text = "add {} esp-udp {} 0x1000 -E null;"
    for ends, original, expected in (
        ("192.0.2.1[4500] 192.0.2.2[30000]", "", Encapsulation("espinudp", 4500, 30000)),
        ("192.0.2.1 192.0.2.2[any]", "10.0.0.9", Encapsulation("espinudp", 4500, 4500, "10.0.0.9")),
    ):
        (found,) = bodies(text.format(ends, original))
        assert found.encapsulation == expected
        assert (found.source, found.destination, found.protocol) == ("192.0.2.1", "192.0.2.2", Protocol.ESP)


@pytest.mark.parametrize(
    ("line", "forward"),
    [
        ("#!/usr/sbin/setkey -f", True),
        ("#!/usr/sbin/setkey -kf", False),
        ("#! /usr/bin/env -S setkey -k -f", False),
        ("#!/usr/sbin/setkey -krf", True),
        ("#!/bin/sh -k", True),
        ("# setkey -k", True),
        ("", True),
    ],
)
def test_forwarding_is_the_business_of_setkeys_options(line: str, forward: bool) -> None:
    text = f"{line}\nspdadd 10.0.0.1 10.0.0.2 any -P in none;"
    assert len(requests(text)) == 1 + forward
    assert len(requests(text, forward=True)) == 2
    assert len(requests(text, forward=False)) == 1


def test_scopes_are_interfaces() -> None:
    interfaces = {"eth0": 4, "br-lan": 5}
    text = "spdadd fe80::1%br-lan/128 fe80::/10 any -P out none;"

    def find(name: str) -> int:
        return interfaces.get(name, 0)

    assert bodies(text, interface_index=find) == [policy("fe80::1", "fe80::/10", interface=5)]
    error = refused("spdadd fe80::1%a fe80::2%eth0 any -P out none;", interface_index=find)
    assert (error.column, error.reason) == (8, "'a' is not an interface")
    error = refused("spdadd fe80::1%br-lan fe80::2%eth0 any -P out none;", interface_index=find)
    assert error.column == 23


def test_a_byte_order_mark_is_passed_over() -> None:
    for text in ("\ufeffflush;", "\ufeffflush;".encode()):
        assert [each.column for each in setkey.parse(text)] == [1]
    assert (refused("flush;\ufeff").line, refused("\ufeff\ufeffflush;").column) == (1, 1)
    line = "\ufeff#!/usr/sbin/setkey -k\nspdadd ::1 ::1 any -P in none;"
    assert [len(each.requests) for each in setkey.parse(line)] == [1]


def test_keys_are_digits_or_any_bytes() -> None:
    text = b'add 192.0.2.1 192.0.2.2 esp 1 -E aes-cbc "\xff#;\n\xc3\xa4\x00 01234567" -A hmac-md5 0X%s;' % (
        b"a" * 31
    )
    (state,) = bodies(text)
    assert state.encryption.key.reveal() == b"\xff#;\n\xc3\xa4\x00 01234567"
    assert state.authentication.key.reveal() == bytes.fromhex("0" + "a" * 31)


@pytest.mark.parametrize("word", [*names.ENCRYPTION, *names.AEAD])
def test_each_encryption_has_the_kernels_name_and_key(word: str) -> None:
    from xfrm_ext.algorithm import AEAD, ENCRYPTION

    name = {**names.ENCRYPTION, **names.AEAD}[word]
    info = {**ENCRYPTION, **AEAD}[name]
    for bits in info.key_bits if name != "ecb(cipher_null)" else ():
        (state,) = bodies(f"add 192.0.2.1 192.0.2.2 esp 1 -E {word} 0x{'5a' * (bits // 8)};")
        found = state.aead or state.encryption
        assert (found.name, found.key_bits) == (name, bits)
        if word in names.AEAD:
            assert found.icv_bits == 128
    if name != "ecb(cipher_null)":
        error = refused(f"add 192.0.2.1 192.0.2.2 esp 1 -E {word} 0x{'5a' * 66};")
        assert error.column == 34
        assert "528 bits" in error.reason


@pytest.mark.parametrize("word", names.AUTHENTICATION)
def test_each_authentication_has_the_check_value_that_setkey_on_linux_gets(word: str) -> None:
    from xfrm_ext.algorithm import AUTHENTICATION

    name = names.AUTHENTICATION[word]
    key = f' "{"k" * (AUTHENTICATION[name].key_bits[0] // 8)}"' if word != "null" else ""
    (state,) = bodies(f"add 192.0.2.1 192.0.2.2 ah 1 -A {word}{key};")
    # icv_truncbits of net/xfrm/xfrm_algo.c
    expected = {"hmac(sha384)": 192, "hmac(sha512)": 256, "digest_null": 0}.get(name, 96)
    assert (state.authentication.name, state.authentication.icv_bits) == (name, expected)
    (other,) = bodies(f"add 192.0.2.1 192.0.2.2 ah 1 -A {word}{key};", sha256_icv_bits=128)
    assert other.authentication.icv_bits == (128 if "256" in word else expected)

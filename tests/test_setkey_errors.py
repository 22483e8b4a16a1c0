# SPDX-License-Identifier: MIT
"""What a setkey.conf may not say: errors with line and column, and without keys; and any text at all."""

from __future__ import annotations

import contextlib
import pickle
import time
import traceback
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_setkey import refused

from xfrm_ext import (
    Request,
    SetkeyError,
    ValidationError,
    XfrmError,
    setkey,
)

ADD, SPDADD = "add 192.0.2.1 192.0.2.2 ", "spdadd 10.0.0.1 10.0.0.2 "
WRONG = [
    ("flush", 1, 1, "this statement has no ; at its end"),
    ("flush;\n  dump esp ah;", 2, 12, "expected ; at the end of dump"),
    (";", 1, 1, "expected a command"),
    ("\n\n\tfoo;", 3, 2, "expected a command, one of add,"),
    ("spdadd_tagged;", 1, 1, "spdadd_tagged: tags of the packet filter PF are nothing in XFRM"),
    ('spdadd tagged "x" -P in none;', 1, 8, "tagged: tags of the packet filter PF are nothing in XFRM"),
    (ADD + "esp-old 1 -E des-cbc 0x1122334455667788;", 1, 25, "esp-old (RFC 1827) is no protocol of XFRM"),
    (ADD + "ah-old 1 -A hmac-md5 0x11;", 1, 25, "ah-old (RFC 1826) is no protocol of XFRM"),
    (ADD + 'tcp 0x1000 -A tcp-md5 "secret";', 1, 25, "tcp: signatures of TCP (RFC 2385) are no states of XFRM"),
    (ADD + 'ah 1 -A tcp-md5 "secret";', 1, 33, "tcp-md5: signatures of TCP"),
    (ADD + "ah 1 -A keyed-md5 0x1;", 1, 33, "keyed-md5 (RFC 1828) is no algorithm of XFRM"),
    (ADD + "esp 1 -E des-deriv 0x1;", 1, 34, "des-deriv is no algorithm of XFRM"),
    (ADD + "ipcomp 1 -C oui;", 1, 37, "oui is no algorithm of XFRM"),
    (ADD + "esp 1 -f zero-pad -E null;", 1, 34, "zero-pad: XFRM pads with 1, 2, 3"),
    (ADD + "esp 1 -f esn -E null;", 1, 34, "esn is nothing that ipsec-tools knows"),
    (ADD + "esp 1;", 1, 29, "esp needs an algorithm (-E)"),
    (ADD + "ah 1 -E null;", 1, 28, "ah needs an algorithm (-A)"),
    (ADD + "ipcomp 1 -C deflate -E null;", 1, 32, "ipcomp has no algorithm of this kind (-E)"),
    (ADD + "ipcomp 65536 -C deflate;", 1, 32, "expected the SPI, a number from 0 to 65535"),
    (ADD + "ipcomp 1 -r 33 -C deflate;", 1, 34, "the replay window can have at most 32 packets here"),
    (ADD + f"esp 1 -E aes-gcm-16 0x{'00' * 20} -A null;", 1, 29, "-E names an algorithm that authenticates too"),
    (ADD + "esp 1 -r 1 -r 2 -E null;", 1, 36, "-r is given twice"),
    (ADD + "esp 1 -r 5000 -E null;", 1, 34, "expected the replay window in packets, a number from 0 to 4096"),
    (ADD + "esp 1 -m beet -E null;", 1, 34, "expected a mode (transport, tunnel or any)"),
    (ADD + "esp 1 -E aes-cbc 0x1234;", 1, 34, "Algorithm.key: 16 bits is not what cbc(aes) wants"),
    (ADD + "esp 1 -E aes-cbc;", 1, 41, "expected a key, as digits behind 0x or in double quotes"),
    (ADD + "esp 1 -E aes-cbc 0x;", 1, 42, "expected a key, as digits behind 0x or in double quotes"),
    (ADD + "esp 1 -E aes-cbc <key>;", 1, 42, "the key was left out when this file was written"),
    (ADD + "esp 1 -E nothing 0x12;", 1, 34, "expected an algorithm (des-cbc, 3des-cbc"),
    (ADD + 'esp 1 -E aes-cbc "abc;', 1, 42, "the quoted text that begins here has no end"),
    (ADD + 'esp 1 -E aes-cbc "a\nb\nc" ?', 3, 4, "here stands a character that only quoted texts have"),
    (ADD + "esp 4294967296 -E null;", 1, 29, "expected the SPI, a number from 0 to 4294967295"),
    (ADD + "esp 1_0 -E null;", 1, 29, "expected the SPI"),
    (ADD + f"esp {'9' * 5000} -E null;", 1, 29, "expected the SPI"),
    ("add 192.0.2.1 host.example esp 1 -E null;", 1, 15, "this is not an IP address (and names are not"),
    ("add 192.0.2.1 2001:db8::1 esp 1 -E null;", 1, 15, "this is not an address of IPv4"),
    ("add -6 192.0.2.1 192.0.2.2 esp 1 -E null;", 1, 8, "this is not an address of IPv6"),
    ("add fe80::1%eth0 fe80::2 esp 1 -E null;", 1, 5, "this has a scope, which no state of XFRM has"),
    ("delete 192.0.2.1 192.0.2.2[500] esp 1;", 1, 27, "ports are for esp-udp only"),
    ("getspi 192.0.2.1 192.0.2.2 esp 1 -E null;", 1, 34, "expected an extension"),
    (
        "spdadd 10.0.0.0/33 10.0.0.2 any -P in none;",
        1,
        17,
        "expected the length of the prefix, a number from 0 to 32",
    ),
    ("spdadd 10.0.0.1[70000] 10.0.0.2 any -P in none;", 1, 17, "'70000' is not a port from 0 to 65535"),
    ("spdadd 10.0.0.1[80 10.0.0.2 any -P in none;", 1, 20, "expected ] behind the port"),
    (SPDADD + "nothing -P in none;", 1, 26, "'nothing' is not the name of an IP protocol"),
    (SPDADD + "tcp 5,6 -P in none;", 1, 30, "'5,6': only icmp, icmp6, mobility-header and gre have more"),
    (SPDADD + "icmp 256,0 -P in none;", 1, 31, "'256,0' is not a type, or type,code"),
    (SPDADD + "gre 1.2.3 -P in none;", 1, 30, "'1.2.3' is not a key of GRE"),
    ("spdadd 10.0.0.1[5] 10.0.0.2 icmp 8,0 -P in none;", 1, 34, "this takes the place of the ports"),
    (SPDADD + "any none;", 1, 30, "'none': only icmp"),
    (SPDADD + "any -P none;", 1, 33, "'none' is not a direction (in, out, fwd)"),
    (SPDADD + "any -P out;", 1, 36, "expected discard, none or ipsec"),
    (SPDADD + "any -P out bypass;", 1, 37, "bypass is for policies of sockets"),
    (SPDADD + "any -P out entrust;", 1, 37, "entrust is for policies of sockets"),
    (SPDADD + "any -P out ipsec;", 1, 42, "expected protocol/mode/source-destination/level behind ipsec"),
    (SPDADD + "any -P out none esp/transport;", 1, 42, "expected ; at the end of spdadd"),
    (SPDADD + "any -P out priority low + 1073741825 none;", 1, 52, "expected an offset, a number from 0"),
    (SPDADD + "any -P out ipsec esp/tunnel//require;", 1, 47, "a tunnel needs its ends"),
    (SPDADD + "any -P out ipsec esp/beet/1.1.1.1-2.2.2.2/use;", 1, 47, "'beet' is no mode (transport or tunnel)"),
    (SPDADD + "any -P out ipsec esp/tunnel/1.1.1.1-::1/use;", 1, 62, "'::1' is not an address of IPv4"),
    (SPDADD + "any -P out ipsec esp/tunnel/1.1.1.1[1]-2.2.2.2[1]/use;", 1, 54, "a template of XFRM has no ports"),
    (SPDADD + "any -P out ipsec esp/tunnel/1.1.1.1/use;", 1, 61, "expected - between the ends of the tunnel"),
    (SPDADD + "any -P in ipsec esp/transport/me-any/use;", 1, 56, "expected addresses, or me-any for out"),
    (SPDADD + "any -P out ipsec esp/transport//never;", 1, 58, "'never' is no level (default, use, require"),
    (SPDADD + "any -P out ipsec esp/transport//use:5;", 1, 58, "'use:5' is no level"),
    (SPDADD + "any -P out ipsec" + " esp/transport" * 7 + ";", 1, 127, "a policy has at most 6 rules"),
    (SPDADD + 'any -ctx 0 1 "x" -P out none;', 1, 35, "the domain of interpretation is 0"),
    (SPDADD + "any -ctx 1 1 x -P out none;", 1, 39, "expected the label, in double quotes"),
]


@pytest.mark.parametrize(("text", "line", "column", "reason"), WRONG, ids=[repr(one[0])[:60] for one in WRONG])
def test_errors_say_where_and_why(text: str, line: int, column: int, reason: str) -> None:
    error = refused(text)
    assert (error.line, error.column) == (line, column)
    assert error.reason.startswith(reason)
    assert str(error) == f"setkey.conf:{line}:{column}: {error.reason}"
    assert isinstance(error, (ValidationError, XfrmError))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.reason) == (str(error), "setkey.conf", error.reason)


def test_what_comes_before_an_error_is_read() -> None:
    statements = setkey.parse("flush;\nspdflush;\nfoo;")
    assert [next(statements).command, next(statements).command] == ["flush", "spdflush"]
    with pytest.raises(SetkeyError):
        next(statements)


def locals_of(error: BaseException | None) -> Iterator[str]:
    """What a traceback shows of the package's frames, and of those of errors on the way to this one."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals.get("__name__", "").startswith("xfrm_ext."):
                for value in frame.f_locals.values():
                    with contextlib.suppress(AttributeError):  # half made
                        yield repr(value)
        error = error.__context__


@pytest.mark.parametrize(
    "place",
    [
        "esp 1 -E aes-cbc {}",
        "esp 1 -E {}",
        "esp 1 -E aes-cbc 0x{}",
        'esp 1 -E aes-cbc "{}"',
        'esp 1 -E aes-cbc "0123456789abcdef"{}',
        "esp {}",
        "{} 1",
        "esp 1 {}",
        "esp 1 -m {}",
        "esp 1 -u {}",
        "esp 1 -f {}",
        "esp 1 -ctx 1 1 {}",
        "esp 1 -E null; {}",
        'esp 1 -E aes-cbc "x;y" -A hmac-md5 {}',
    ],
)
def test_errors_show_no_key_wherever_it_stands(place: str) -> None:
    without_keys(ADD + place + ";")


@pytest.mark.parametrize("command", ["add", "update", "getspi", "get", "delete", "deleteall"])
@pytest.mark.parametrize(
    "place",
    [
        *("{}", "%{}", "-4 {}", "-{}", "{}/32", "{}[1]", "192.0.2.1 {}", "192.0.2.1 %{}", "192.0.2.1 192.0.2.2%{}"),
        *("192.0.2.1[{}] 192.0.2.2", "192.0.2.1 192.0.2.2[{}]", "192.0.2.1 192.0.2.2 esp-udp {} 1"),
    ],
)
def test_errors_show_no_key_in_the_place_of_an_address(command: str, place: str) -> None:
    without_keys(f"{command} {place};")


def without_keys(text: str) -> None:
    for key in ("deadbeef" * 3 + "d", "0xdeadbeefdeadbeef00", "Passphrase1"):
        error = refused(text.format(key))
        assert all(key not in shown for shown in (str(error), repr(error), *locals_of(error)))


def test_what_is_not_text() -> None:
    with pytest.raises(ValidationError, match="text"):
        setkey.parse(5)  # type: ignore[arg-type]


PIECES = st.sampled_from(
    [
        *("add", "spdadd", "spddelete", "deleteall", "flush", "esp", "ah", "ipcomp", "esp-udp", "tcp", "any", "-P"),
        *("in", "out", "fwd", "ipsec", "none", "discard", "priority", "low", "-E", "-A", "-C", "-m", "-r", "-ctx"),
        *("tunnel", "transport", "aes-cbc", "hmac-sha1", "null", "deflate", "10.0.0.1", "::1", "0x100", "5", "-4"),
        *(
            "esp/transport//require",
            "esp/tunnel/10.0.0.1-10.0.0.2/unique:1",
            '"',
            "#",
            ";",
            "/",
            "[",
            "]",
            "-",
            "+",
        ),
        *("\n", " ", "\0", "\udc80", "\ud800", "%", "fe80::1%lo", "1,2", "icmp", "gre", "0x", "unique", "bypass"),
    ]
)


@given(st.text() | st.lists(PIECES, max_size=30).map(" ".join) | st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    error = None
    try:
        for statement in setkey.parse(text):
            assert all(isinstance(request, Request) for request in statement.requests)
    except SetkeyError as caught:
        error = caught
    if error is not None:
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1])


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(SetkeyError):
        list(setkey.parse(data))


@pytest.mark.parametrize(
    "piece", ['"', "#", " ", "\n", "a-", "[", "-", "0", "esp/transport//use ", "spdadd 10.0.0.1 10.0.0.2 any -P "]
)
def test_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    def seconds(size: int) -> float:
        text = SPDADD + "any -P out ipsec " + (piece * (size // len(piece)))
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            with contextlib.suppress(SetkeyError):
                list(setkey.parse(text))
            best = min(best, time.process_time() - start)
        return best

    assert seconds(200_000) < 40 * seconds(20_000) + 0.05

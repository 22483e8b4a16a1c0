# SPDX-License-Identifier: MIT
"""What the grammars of `ip xfrm` share: single words, selectors, and the options in front."""

from __future__ import annotations

import copy
import ctypes
import ipaddress
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import xfrm_ext
from xfrm_ext import CommandError, ValidationError
from xfrm_ext.iproute2 import options, selector, words
from xfrm_ext.iproute2.command import Options
from xfrm_ext.iproute2.words import INET, INET6, U8, U32, U64, Words
from xfrm_ext.selector import Selector
from xfrm_ext.wire import pure

# --- the error ----------------------------------------------------------------------------------------------


def test_error() -> None:
    error = CommandError("spi", "'x'", "is not a number", 1)
    assert isinstance(error, ValidationError)
    for one in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(one), one.field, one.value, one.rule, one.status) == (
            xfrm_ext.CommandError,
            "spi",
            "'x'",
            "is not a number",
            1,
        )
        assert str(one) == "spi: 'x' is not a number"
    assert CommandError("spi", None, "is missing").status == 255


def test_what_may_be_a_key_is_not_shown() -> None:
    key = "0x000102030405060708090a0b0c0d0e0f"
    assert str(words.wrong("state", key, "is unknown")) == "state: a word of 34 characters is unknown"
    assert str(words.wrong("state", f"0x{U64:x}", "is unknown")) == "state: '0xffffffffffffffff' is unknown"


# --- the cursor ---------------------------------------------------------------------------------------------


def test_cursor() -> None:
    line = Words(["src", "a", "mask"])
    assert (line.left, line.peek()) == (3, "src")
    assert line.take("dst", "sr") is None
    assert line.take("dst", "src") == "src"
    assert line.next("src") == "a"
    line.back()
    assert (line.next("src"), line.next("word"), line.peek(), line.left) == ("a", "mask", None, 0)
    with pytest.raises(CommandError, match=r"^mark mask: is missing: the line ends here$") as raised:
        line.next("mark mask")
    assert raised.value.status == 255


VERBS = {"add": 1, "update": 2, "allocspi": 3, "delete": 4, "deleteall": 5}


@pytest.mark.parametrize(
    ("word", "value"), [("a", 1), ("add", 1), ("al", 3), ("d", 4), ("delete", 4), ("deletea", 5), ("u", 2)]
)
def test_verbs(word: str, value: int) -> None:
    assert words.verb(word, VERBS, "state") == value


@pytest.mark.parametrize("word", ["", "ADD", "addx", "x"])
def test_no_verbs(word: str) -> None:
    with pytest.raises(CommandError, match="is unknown") as raised:
        words.verb(word, VERBS, "state")
    assert raised.value.status == 255


# --- numbers ------------------------------------------------------------------------------------------------

_strtoul = ctypes.CDLL(None).strtoul
_strtoul.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int]
_strtoul.restype = ctypes.c_ulong


def by_c(text: str, most: int) -> int | None:
    """What strtoul makes of a text with base 0, None where it does not take the whole of it."""
    memory = ctypes.create_string_buffer(text.encode())
    start, end = ctypes.addressof(memory), ctypes.c_void_p()
    value: int = _strtoul(start, ctypes.byref(end), 0)
    whole = bool(text) and end.value == start + len(text.encode())
    return value if whole and value <= most else None


def is_number(text: str, most: int) -> int | None:
    try:
        return words.number(text, "spi", most)
    except CommandError:
        return None


NUMBERS = st.from_regex(r"[+]?(0[xX]?)?[0-9a-fA-FxX_. ]{0,12}", fullmatch=True) | st.text(max_size=5)


@given(NUMBERS.filter(lambda text: "\0" not in text and not text[:1].isspace() and "-" not in text))
@example("0x")
@example("08")
@example("010")
@example("+5")
@example("0b1")
@example("1_000")
@example("\u0663")
@example("0x1 ")
@example("4294967296")
def test_numbers_are_those_of_c(text: str) -> None:
    if text[:2].lower() == "0b" or text[:3].lower() == "+0b":  # which newer C libraries know as binary numbers
        assert is_number(text, U32) is None
    else:
        assert is_number(text, U32) == by_c(text, U32)


@pytest.mark.parametrize("text", ["-1", "-0", " 1", "", "18446744073709551616", "9" * 10000, "0x" + "f" * 17])
def test_no_numbers(text: str) -> None:
    """A minus sign is one of the few things that `ip` takes, and this does not: -1 would be the largest number."""
    assert is_number(text, U64) is None


def test_largest_numbers() -> None:
    assert is_number("18446744073709551615", U64) == U64
    assert is_number("0x10000", 0xFFFF) is None
    with pytest.raises(CommandError, match=r"^spi: '256' is not a number from 0 to 0xff$") as raised:
        words.number("256", "spi", U8)
    assert (raised.value.field, raised.value.status) == ("spi", 255)
    with pytest.raises(CommandError, match=r"^aead icv-len: is not a number from 0 to 0xffffffff$"):
        words.number("secret", "aead icv-len", hidden=True)


# --- addresses ----------------------------------------------------------------------------------------------


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed.ljust(16, b"\0")


@pytest.mark.parametrize(
    ("text", "address", "family", "length"),
    [
        ("192.0.2.1", "192.0.2.1", INET, 32),
        ("10", "10.0.0.0", INET, 32),
        ("10.1", "10.1.0.0", INET, 32),
        ("10.2.3/24", "10.2.3.0", INET, 24),
        ("0x0a.010.1", "10.8.1.0", INET, 32),
        ("10.1.2.3/8", "10.1.2.3", INET, 8),
        ("10.0.0.0/255.128.0.0", "10.0.0.0", INET, 9),
        ("10.0.0.0/0.0.0.0", "10.0.0.0", INET, 0),
        ("10.0.0.0/255.255", "10.0.0.0", INET, 16),
        ("10.0.0.0/0x10", "10.0.0.0", INET, 16),
        ("::/0", "::", INET6, 0),
        ("2001:db8::1", "2001:db8::1", INET6, 128),
        ("::ffff:192.0.2.1/96", "::ffff:192.0.2.1", INET6, 96),
    ],
)
def test_prefixes(text: str, address: str, family: int, length: int) -> None:
    wanted = (packed(address), family, length)
    assert words.prefix(text, 0, "src") == words.prefix(text, family, "src") == wanted
    assert words.address(text, 0, "src") == wanted[:2]
    with pytest.raises(CommandError, match=r"^src: '.*' is not an IPv. address or prefix$") as raised:
        words.prefix(text, INET + INET6 - family, "src")
    assert raised.value.status == 1


@pytest.mark.parametrize("text", ["any", "all", "default"])
@pytest.mark.parametrize("family", [INET, INET6])
def test_everywhere(text: str, family: int) -> None:
    """Of a family that options have said, as in `ip -4`."""
    assert words.prefix(text, family, "src") == (bytes(16), family, 0)
    assert words.bare_address(text, "encap oaddr") == bytes(16)
    with pytest.raises(CommandError, match="is of no address family") as raised:
        words.prefix(text, 0, "src")
    assert raised.value.status == 255


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/8",
        "10.1.2.3.4",
        "256",
        "10..1",
        "10.",
        "10.-1",
        "1.2.3.4 ",
        "any/8",
        "fe80::1%lo",
        "1::2::3",
        "::g",
        "x",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(CommandError, match=r"^src: .* is not an IP address or prefix$") as raised:
        words.prefix(text, 0, "src")
    assert raised.value.status == 1


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "10.0.0.0/255.0.255.0", "10.0.0.0/8/8", "::/x"]
)
def test_no_prefix_lengths(text: str) -> None:
    with pytest.raises(CommandError, match="has a wrong prefix length") as raised:
        words.prefix(text, 0, "src")
    assert raised.value.status == 1


@pytest.mark.parametrize("text", ["", "::/3", "10.0.0.0/8", "x"])
def test_no_bare_addresses(text: str) -> None:
    with pytest.raises(CommandError, match="is not an IP address"):
        words.bare_address(text, "encap oaddr")


# --- keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0x00ff", b"\0\xff"),
        ("0xabc", b"\x0a\xbc"),
        ("0x1", b"\1"),
        ("0x", b"0x"),
        ("", b""),
        ("0X12", b"0X12"),
        ("text", b"text"),
        ("clé", "clé".encode()),
        ("\udcff", b"\xff"),  # a byte that is no UTF-8, as Python gives it in argv
    ],
)
def test_keys(text: str, key: bytes) -> None:
    assert words.key_bytes(text) == key


@pytest.mark.parametrize("text", ["0xsecret!", "0x12 34", "0x1_2", "0x-1", "0x\u0661"])
def test_bad_keys_are_not_shown(text: str) -> None:
    with pytest.raises(CommandError) as raised:
        words.key_bytes(text)
    assert str(raised.value) == "key: is not hexadecimal behind 0x"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


# --- keywords in common -------------------------------------------------------------------------------------


def test_marks() -> None:
    assert words.mark(Words(["5"])) == (5, U32)
    line = Words(["0x5", "mask", "7", "reqid"])
    assert words.mark(line) == (5, 7)
    assert line.peek() == "reqid"
    assert words.mark(Words(["5", "reqid"]), "output-mark", 0) == (5, 0)
    with pytest.raises(CommandError, match=r"^output-mark mask: is missing"):
        words.mark(Words(["5", "mask"]), "output-mark")


def test_flags() -> None:
    names = {"icmp": 16, "esn": 128}
    line = Words(["icmp", "esn", "reqid"])
    assert words.flags(line, "flag", names, U8, 1) == 145
    assert line.peek() == "reqid"
    assert words.flags(Words(["0x20"]), "flag", names, U8, 1) == 0x20
    for bad in (["0x100"], ["0x"], ["icmpx"], ["reqid", "1"]):
        with pytest.raises(CommandError, match=r"^flag: "):
            words.flags(Words(bad), "flag", names, U8)


@pytest.mark.parametrize(
    ("word", "number"),
    [("t", 0), ("transport", 0), ("tu", 1), ("r", 2), ("i", 3), ("in_trigger", 3), ("b", 4), ("ip", 5)],
)
def test_modes(word: str, number: int) -> None:
    assert words.mode(Words([word])) == number


def test_limits() -> None:
    limits = words.Limits()
    assert limits.pack() == b"\xff" * 32 + bytes(32)
    names = "byte-soft byte-hard packet-soft packet-hard time-soft time-hard time-use-soft time-use-hard"
    for place, name in enumerate(names.split()):
        limits.read(Words([name, "7"]))  # the last one counts
        limits.read(Words([name, str(place)]))
    assert limits.pack() == b"".join(place.to_bytes(8, "little") for place in range(8))
    with pytest.raises(CommandError, match=r"^limit: 'time' is not one of byte-soft, "):
        limits.read(Words(["time", "1"]))


def test_security_contexts() -> None:
    assert words.security_context(Words(["u:r:t"])) == (8, (1, 1), b"u:r:t\0", b"")
    with pytest.raises(CommandError, match=r"^ctx: "):
        words.security_context(Words([""]))


# --- selectors ----------------------------------------------------------------------------------------------


def read(text: str, family: int = 0) -> tuple[selector.Selector, Words]:
    line = Words(text.split())
    return selector.read(line, family, lambda name: 1 if name == "lo" else 0, "sel"), line


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("src 10.1.0.0/16 dst 10.2.0.0/16", Selector("10.1.0.0/16", "10.2.0.0/16")),
        ("dst fd00::/8 dev lo", Selector(None, "fd00::/8", interface=1)),
        ("src 10.1.0.0/16 dev none", Selector("10.1.0.0/16")),
        ("proto tcp dport 443 src ::/0", Selector("::/0", protocol="tcp", destination_port=443)),
        ("src ::/0 proto 17 sport 0x35", Selector("::/0", protocol="udp", source_port=53)),
        ("src ::/0 proto any sport 0", Selector("::/0")),
        ("src ::/0 code 3 type 1 proto icmp", Selector("::/0", protocol="icmp", icmp_type=1, icmp_code=3)),
        ("src ::/0 proto gre key 10.1", Selector("::/0", protocol="gre", gre_key=0x0A010000)),
        ("src ::/0 proto gre key 0x12345678", Selector("::/0", protocol="gre", gre_key=0x12345678)),
    ],
)
def test_selectors(text: str, wanted: Selector) -> None:
    found, line = read(text)
    assert line.left == 0
    assert found.pack() == wanted._encoded(pure)
    assert found.given == set(text.split()) & set(selector.KEYWORDS)


def test_selector_ends() -> None:
    """With the first word that is no part of it; and one has but one protocol: what comes then is that of an ID."""
    found, line = read("src 10.1.0.0/16 proto udp dst 10.2.0.0/16 proto esp spi 1")
    assert (found.fields["protocol"], line.left) == (17, 4)
    assert read("dev lo reqid 7")[1].left == 2


@pytest.mark.parametrize(
    ("text", "error", "status"),
    [
        ("", "sel: is not a selector: one of src, dst, ", 255),
        ("reqid 1", "sel: 'reqid' is not a selector: one of src, dst, ", 255),
        ("src", "sel src: is missing", 255),
        ("src 10.1 dst ::/0", "sel dst: is of another address family than sel src", 255),
        ("dev eth7", "sel dev: 'eth7' is not an interface here", 255),
        ("proto nosuch", "sel proto: 'nosuch' is not a number from 0 to 0xff", 255),
        ("proto tcp sport 65536", "sel sport: '65536' is not a number", 255),
        ("proto icmp type 256", "sel type: '256' is not a number", 255),
        ("proto gre key 1.2.3.x", "sel key: '1.2.3.x' is not a key", 255),
        ("proto icmp sport 0", "sel sport: only TCP, UDP, ", 1),
        ("code 0", "sel code: only ICMP, ", 1),
        ("proto tcp key 1", "sel key: only GRE has keys; proto is tcp", 1),
    ],
)
def test_no_selectors(text: str, error: str, status: int) -> None:
    with pytest.raises(CommandError) as raised:
        read(text)
    assert str(raised.value).startswith(error)
    assert raised.value.status == status


def test_family_of_options() -> None:
    with pytest.raises(CommandError, match="is not an IPv6 address"):
        read("src 10.1.0.0/16", INET6)
    assert read("src any", INET6)[0].fields["family"] == INET6


# --- options ------------------------------------------------------------------------------------------------


def taken(*argv: str) -> dict[str, Any]:
    """What options change, and what is behind them."""
    line, settings, rest = options.read(argv)
    found: dict[str, Any] = {"rest": rest} if rest else {}
    for value, plain in ((line, Options()), (settings, options.Settings())):
        names = type(value).__slots__
        found |= {name: getattr(value, name) for name in names if getattr(value, name) != getattr(plain, name)}
    return found


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ("xfrm state", {"rest": ["xfrm", "state"]}),
        ("-4 xfrm", {"family": 2, "rest": ["xfrm"]}),
        ("-6", {"family": 10}),
        ("-0", {"family": 17}),
        ("-B", {"family": 7}),
        ("-M", {"family": 28}),
        ("-f inet6 -4", {"family": 2}),
        ("-fam link", {"family": 17}),
        ("-s", {"statistics": 1}),
        ("-stats -statistics -st", {"statistics": 3}),
        ("--s", {"statistics": 1}),
        ("-d", {"details": True}),
        ("-o", {"oneline": True}),
        ("-t", {"timestamp": "long"}),
        ("-ts", {"timestamp": "short"}),
        ("-t -ts", {"timestamp": "short"}),
        ("-ts -t", {"timestamp": "short"}),
        ("-n blue", {"netns": "blue"}),
        ("-b - x", {"batch": "-", "rest": ["x"]}),
        ("-ba file -fo", {"batch": "file", "force": True}),
        ("-j -p", {"json": True, "pretty": True}),
        ("-c", {}),
        ("-col=auto", {}),
        ("-c -c=never", {}),
        ("-rc 4096", {"receive_buffer": 4096}),
        ("-h -hu -i -r -N -l 3 -br -a -echo", {}),
        ("--show-keys --debug", {"show_keys": True, "debug": True}),
        ("-V -x", {"version": True, "rest": ["-x"]}),
        ("--version", {"version": True}),
        ("-he -x", {"help": True, "rest": ["-x"]}),
        ("-d -- -d", {"details": True, "rest": ["-d"]}),
    ],
)
def test_options(argv: str, wanted: dict[str, Any]) -> None:
    assert taken(*argv.split()) == wanted


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        ("-x", "option: '-x' is unknown"),
        ("-", "option: '-' is unknown"),
        ("---s", "option: '---s' is unknown"),
        ("-46", "option: '-46' is unknown"),
        ("-v", "option: '-v' is unknown"),
        ("-ec", "option: '-ec' is unknown"),
        ("-debug", "option: '-debug' is unknown"),
        ("-c=pink", "option: '-c=pink' is unknown"),
        ("-c=", "option: '-c=' is unknown"),
        ("-s=1", "option: '-s=1' is unknown"),
        ("-f ipx", "-family: 'ipx' is not one of inet, inet6, mpls, bridge, link"),
        ("-n", "-netns: is missing"),
        ("-b", "-batch: is missing"),
        ("-rc many", "-rcvbuf: 'many' is not a number"),
    ],
)
def test_no_options(argv: str, error: str) -> None:
    with pytest.raises(CommandError) as raised:
        options.read(argv.split())
    assert str(raised.value).startswith(error)
    assert raised.value.status == 255

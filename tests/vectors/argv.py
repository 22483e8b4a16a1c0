# SPDX-License-Identifier: MIT
"""Command lines of `ip xfrm state`, word by word: what they give the constructors of this package.

Small, and no parser: it knows the lines of the records to be right."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from xfrm_ext import LifetimeConfig, Mark, Offload, Selector
from xfrm_ext.algorithm import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm_ext.constants import Message, OffloadFlag, Protocol
from xfrm_ext.encapsulation import Encapsulation
from xfrm_ext.replay import ReplayState
from xfrm_ext.request import Request
from xfrm_ext.state import State
from xfrm_ext.state_id import StateId
from xfrm_ext.state_request import SpiRequest, StateFilter

LIMITS = {
    "time-soft": "soft_add_expires_seconds",
    "time-hard": "hard_add_expires_seconds",
    "time-use-soft": "soft_use_expires_seconds",
    "time-use-hard": "hard_use_expires_seconds",
    "byte-soft": "soft_byte_limit",
    "byte-hard": "hard_byte_limit",
    "packet-soft": "soft_packet_limit",
    "packet-hard": "hard_packet_limit",
}
SELECTOR_WORDS = {"src", "dst", "dev", "proto", "sport", "dport", "type", "code", "key"}

Words = deque[str]


def number(text: str) -> int:
    return int(text, 0)


def interface(name: str) -> int:
    return {"lo": 1, "none": 0}[name]


def selector(values: dict[str, str], family: str | None) -> Selector:
    """The words of a selector, each with its value."""
    fields: dict[str, Any] = {}
    if "proto" in values:
        name = values["proto"]
        fields["protocol"] = int(name) if name.isdigit() else name
    for word, field in (("sport", "source_port"), ("dport", "destination_port")):
        if word in values:
            fields[field] = number(values[word])
    for word, field in (("type", "icmp_type"), ("code", "icmp_code")):
        if word in values:
            fields[field] = number(values[word])
    if "key" in values:
        key = values["key"]
        fields["gre_key"] = int(IPv4Address(key)) if "." in key else number(key)
    if "dev" in values:
        fields["interface"] = interface(values["dev"])
    return Selector(values.get("src"), values.get("dst"), family=family, strict=False, **fields)


def mark(value: str, words: Words) -> Mark:
    """A mark, with the mask that may follow it."""
    mask = 0xFFFFFFFF
    if words and words[0] == "mask":
        words.popleft()
        mask = number(words.popleft())
    return Mark(number(value), mask)


# --- states ---------------------------------------------------------------------------------------------------

MODES = {"b": "beet", "t": "transport"}
"""Shortened names."""
PROTOCOLS = {"comp", "esp", "ah", "route2", "hao", "ipsec-any"}
FLAG_WORDS = {"noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4", "esn"}
EXTRA_FLAG_WORDS = {"dont-encap-dscp", "oseq-may-wrap"}


def key(text: str) -> bytes:
    """A key as `ip` takes it: hexadecimal digits behind 0x, else the text itself."""
    if not text.startswith("0x") or text == "0x":
        return text.encode()
    digits = text[2:]
    return bytes.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}")


def address(text: str) -> str:
    """An address as `ip` takes it: without its prefix length, IPv4 with parts left out."""
    text = text.split("/")[0]
    return text if ":" in text else ".".join([*text.split("."), "0", "0", "0"][:4])


def flags(first: str, words: Words, names: set[str]) -> int | list[str]:
    """A number, or all names that follow."""
    if first not in names:
        return number(first)
    found = [first]
    while words and words[0] in names:
        found.append(words.popleft())
    return [name.replace("-", "_") for name in found]


def options_of(words: Iterable[str]) -> dict[str, Any]:
    """What the words of a command line say, by word: converted values, of words with more than one value a
    tuple. Limits and flags add up, of other words the last one counts."""
    rest = deque(words)
    result: dict[str, Any] = {}
    while rest:
        word = rest.popleft()
        value = _VALUES.get(word, _plain)(rest)
        if word == "limit":
            result.setdefault("limits", {})[LIMITS[value]] = number(rest.popleft())
        elif word == "flag" and isinstance(value, list):
            result[word] = [*result.get(word, ()), *value]
        else:
            result[word] = value
        if word == "offload":
            result["dir"] = value[2]
    return result


def _plain(words: Words) -> str:
    return words.popleft()


def _number(words: Words) -> int:
    return number(words.popleft())


def _mode(words: Words) -> str:
    name = words.popleft()
    return MODES.get(name, name)


def _swapped(words: Words) -> int:
    # The number of an acquire, which the kernel has in host order and `ip` writes in network order.
    swapped: int = struct.unpack("=I", struct.pack(">I", _number(words)))[0]
    return swapped


def _selector(words: Words) -> dict[str, str]:
    values = {}
    while words and words[0] in SELECTOR_WORDS:
        word = words.popleft()
        values[word] = words.popleft()
    return values


def _encapsulation(words: Words) -> tuple[str, int, int, str | None]:
    kind = words.popleft().replace("nonike", "non-ike")
    source, destination, original = _number(words), _number(words), words.popleft()
    return kind, source, destination, None if original == "any" else original


def _offload(words: Words) -> tuple[str, int, str]:
    kind = words.popleft() if words[0] in ("crypto", "packet") else "crypto"
    assert words.popleft() == "dev"
    device = interface(words.popleft())
    assert words.popleft() == "dir"
    return kind, device, words.popleft()


_VALUES: dict[str, Callable[[Words], Any]] = {
    **dict.fromkeys(("src", "dst"), lambda words: address(words.popleft())),
    **dict.fromkeys(("spi", "reqid", "if_id", "tfcpad", "pcpu-num", "min", "max"), _number),
    **dict.fromkeys(("replay-window", "replay-seq", "replay-oseq", "replay-seq-hi", "replay-oseq-hi"), _number),
    "seq": _swapped,
    "mode": _mode,
    "mark": lambda words: mark(words.popleft(), words),
    "output-mark": lambda words: mark(words.popleft(), words),
    "flag": lambda words: flags(words.popleft(), words, FLAG_WORDS),
    "extra-flag": lambda words: flags(words.popleft(), words, EXTRA_FLAG_WORDS),
    "sel": _selector,
    "encap": _encapsulation,
    "offload": _offload,
    "comp": lambda words: (words.popleft(),),
    **dict.fromkeys(("enc", "auth"), lambda words: (words.popleft(), key(words.popleft()))),
    **dict.fromkeys(("auth-trunc", "aead"), lambda words: (words.popleft(), key(words.popleft()), _number(words))),
}


def state(words: Iterable[str], options: Iterable[str] = ()) -> State:
    """The state of `ip xfrm state add` and `update`."""
    given = options_of(words)
    fields: dict[str, Any] = {field: given[word] for word, field in _STATE_WORDS.items() if word in given}
    if "sel" in given:
        # `ip` leaves the family open where the selector has no address.
        has_address = {"src", "dst"} & set(given["sel"])
        fields["selector"] = selector(given["sel"], None if has_address else "unspec")
    if "limits" in given:
        fields["lifetime"] = LifetimeConfig(**given["limits"])
    if "encap" in given:
        fields["encapsulation"] = Encapsulation(*given["encap"])
    if "offload" in given:
        kind, device, direction = given["offload"]  # the direction has become that of the state, too
        packet = OffloadFlag.PACKET if kind == "packet" else 0
        fields["offload"] = Offload(device, packet | (OffloadFlag.INBOUND if direction == "in" else 0))
    for word, field, algorithm in _ALGORITHM_WORDS:
        if word in given:
            fields[field] = algorithm(*given[word])
    extended = "esn" in (given["flag"] if isinstance(given.get("flag"), list) else ())
    replay = [
        given.get(f"replay-{name}", 0) | (given.get(f"replay-{name}-hi", 0) << 32 if extended else 0)
        for name in ("oseq", "seq")
    ]
    if any(replay):
        fields["replay"] = ReplayState(*replay)
    # Without a word, `ip` asks for no window.
    fields.setdefault("replay_window", 0)
    return State(given.get("src"), given.get("dst"), spi=given.get("spi", 0), family=family(options), **fields)


def state_id(words: Iterable[str], options: Iterable[str] = ()) -> StateId:
    """The name of a state of `ip xfrm state get` and `delete`."""
    given = options_of(words)
    is_ipv6 = ":" in given.get("src", given.get("dst", "")) or family(options) == "inet6"
    nowhere = "::" if is_ipv6 else "0.0.0.0"
    # The source address goes along even where there is none.
    source, destination = (given.get(word, nowhere) for word in ("src", "dst"))
    return StateId(destination, given.get("spi", 0), given["proto"], source=source, mark=given.get("mark"))


def spi_request(words: Iterable[str]) -> SpiRequest:
    """What `ip xfrm state allocspi` asks for."""
    given = list(words)
    range_of = {name: number(given[given.index(name) + 1]) for name in ("min", "max") if name in given}
    # No limits, which in a request that nobody reads them of `ip` leaves zero.
    asked = replace(
        state(given),
        lifetime=LifetimeConfig(soft_byte_limit=0, hard_byte_limit=0, soft_packet_limit=0, hard_packet_limit=0),
    )
    most = 0xFFFF if asked.protocol == Protocol.COMP else 0x0FFFFFFF
    return SpiRequest(asked, range_of.get("min", 0x100), range_of.get("max", most))


def state_filter(words: Iterable[str], options: Iterable[str] = ()) -> Request:
    """The states that `ip xfrm state list` asks for. Some words are for `ip` itself."""
    given = dict(zip(*[iter(words)] * 2, strict=True))
    fields = {word: given[name] for name, word in (("src", "source"), ("dst", "destination")) if name in given}
    return Request(Message.GETSA, StateFilter(given.get("proto"), **fields, family=family(options)))


def family(options: Iterable[str]) -> str | None:
    """The address family that options ask for."""
    words = list(options)
    if words[:1] == ["-f"]:
        return words[1]
    return {"-4": "inet", "-6": "inet6"}.get(words[0]) if words else None


_STATE_WORDS = {
    "proto": "protocol",
    "mode": "mode",
    "reqid": "reqid",
    "seq": "sequence",
    "replay-window": "replay_window",
    "flag": "flags",
    "extra-flag": "extra_flags",
    "mark": "mark",
    "output-mark": "output_mark",
    "if_id": "if_id",
    "tfcpad": "traffic_flow_padding",
    "pcpu-num": "cpu",
    "dir": "direction",
    "ctx": "security_context",
    "coa": "care_of_address",
}
_ALGORITHM_WORDS: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("enc", "encryption", lambda name, key: Algorithm(name, key, strict=False)),
    ("comp", "compression", Algorithm),
    # The kernel's length of the check value, where the word does not give one.
    ("auth", "authentication", lambda name, key: AuthAlgorithm(name, key, 0, strict=False)),
    ("auth-trunc", "authentication", lambda name, key, bits: AuthAlgorithm(name, key, bits, strict=False)),
    ("aead", "aead", lambda name, key, bits: AeadAlgorithm(name, key, bits, strict=False)),
)

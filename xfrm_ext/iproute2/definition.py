# SPDX-License-Identifier: MIT
"""What `ip xfrm state` says of a state besides its ID: the words of add and update, and those that migrate shares.

Words that `ip` lacks, and what they are:

* ``mode iptfs`` (RFC 9347), with ``pkt-size OCTETS`` (of an outer packet; 0: the path's MTU), ``max-queue-size
  OCTETS`` or ``max-qsize``, ``init-delay MICROSECONDS`` and ``dont-frag`` of a state of direction out, ``drop-time
  MICROSECONDS`` and ``reorder-window PACKETS`` of one of direction in
* ``nat-keepalive-interval SECONDS``
* ``mtimer-thresh SECONDS``: between two MAPPING events at least
"""

from __future__ import annotations

from sys import byteorder

from xfrm_ext.constants import uapi
from xfrm_ext.iproute2 import algorithm, selector
from xfrm_ext.iproute2.state_id import StateId, protocol_name
from xfrm_ext.iproute2.words import (
    AH,
    COMP,
    ESP,
    HAO,
    ROUTE2,
    U8,
    U16,
    U32,
    Limits,
    address,
    bare_address,
    choice,
    flags,
    interface,
    key_bytes,
    mark,
    mode,
    mode_number,
    same_family,
    security_context,
    wrong,
)
from xfrm_ext.wire.item import Item
from xfrm_ext.wire.layouts import SELECTOR, STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from xfrm_ext.iproute2.words import InterfaceIndex, ReadKey, Words

FLAGS = {
    "noecn": uapi.XFRM_STATE_NOECN,
    "decap-dscp": uapi.XFRM_STATE_DECAP_DSCP,
    "nopmtudisc": uapi.XFRM_STATE_NOPMTUDISC,
    "wildrecv": uapi.XFRM_STATE_WILDRECV,
    "icmp": uapi.XFRM_STATE_ICMP,
    "af-unspec": uapi.XFRM_STATE_AF_UNSPEC,
    "align4": uapi.XFRM_STATE_ALIGN4,
    "esn": uapi.XFRM_STATE_ESN,
}
_EXTRA_FLAGS = {
    "dont-encap-dscp": uapi.XFRM_SA_XFLAG_DONT_ENCAP_DSCP,
    "oseq-may-wrap": uapi.XFRM_SA_XFLAG_OSEQ_MAY_WRAP,
}
_ENCAPSULATIONS = {
    "espinudp": uapi.UDP_ENCAP_ESPINUDP,
    "espinudp-nonike": uapi.UDP_ENCAP_ESPINUDP_NON_IKE,
    "espintcp": uapi.TCP_ENCAP_ESPINTCP,
}
_DIRECTIONS = {"in": uapi.XFRM_SA_DIR_IN, "out": uapi.XFRM_SA_DIR_OUT}
_BITMAP = 32  # packets that the window of struct xfrm_replay_state and of the fixed part can have
_MOST_WINDOW = 4096  # XFRMA_REPLAY_ESN_MAX
NO_LIMITS = bytes(64)
NO_SELECTOR = bytes(SELECTOR.size)
_NEVER_USED = bytes(32)  # struct xfrm_lifetime_cur
ALL_CPUS = U32
"""The `pcpu-num` that means none."""

_NUMBERS = {  # keywords whose number goes into an attribute, behind all of `ip`, in this order
    "nat-keepalive-interval": (uapi.XFRMA_NAT_KEEPALIVE_INTERVAL, U32),
    "mtimer-thresh": (uapi.XFRMA_MTIMER_THRESH, U32),
    "drop-time": (uapi.XFRMA_IPTFS_DROP_TIME, U32),
    "reorder-window": (uapi.XFRMA_IPTFS_REORDER_WINDOW, U16),
    "dont-frag": (uapi.XFRMA_IPTFS_DONT_FRAG, 0),
    "init-delay": (uapi.XFRMA_IPTFS_INIT_DELAY, U32),
    "max-queue-size": (uapi.XFRMA_IPTFS_MAX_QSIZE, U32),
    "pkt-size": (uapi.XFRMA_IPTFS_PKT_SIZE, U32),
}
_IPTFS = ("drop-time", "reorder-window", "dont-frag", "init-delay", "max-queue-size", "pkt-size")


def acquire_number(words: Words) -> int:
    """SEQ, behind `seq`: of an acquire. `ip` writes it in network byte order; the kernel has it in host order."""
    return int.from_bytes(words.number("seq").to_bytes(4, "big"), byteorder)


def direction(words: Words, field: str = "dir") -> int:
    """DIR: in or out (XFRM_SA_DIR_*)."""
    return int(choice(words.next(field), _DIRECTIONS, field))


def encapsulation(words: Words) -> Item:
    """TYPE SPORT DPORT OADDR, behind `encap`."""
    kind = choice(words.next("encap"), _ENCAPSULATIONS, "encap")
    ports = words.number("encap sport", U16), words.number("encap dport", U16)
    return Item(uapi.XFRMA_ENCAP, (kind, *ports), bare_address(words.next("encap oaddr"), "encap oaddr"))


def offload(words: Words, interface_index: InterfaceIndex) -> tuple[Item, int]:
    """[ crypto | packet ] dev DEV dir DIR, behind `offload`: the attribute, and the direction."""
    bits = uapi.XFRM_OFFLOAD_PACKET if words.take("crypto", "packet") == "packet" else 0
    if not words.take("dev"):
        raise wrong("offload", words.next("offload dev"), "is not dev, which has to follow here")
    device = interface(words, "offload dev", interface_index)
    if not words.take("dir"):
        raise wrong("offload", words.next("offload dir"), "is not dir, which has to follow here")
    way = direction(words, "offload dir")
    if way == uapi.XFRM_SA_DIR_IN:
        bits |= uapi.XFRM_OFFLOAD_INBOUND
    return Item(uapi.XFRMA_OFFLOAD_DEV, (device, bits)), way


class Definition:
    """A state as it is to be, read word by word."""

    def __init__(self, family: int, interface_index: InterfaceIndex, read_key: ReadKey = key_bytes) -> None:
        """`family`: of the options."""
        self.id = StateId(family)
        self.items: list[Item] = []
        """Attributes in the order of their words."""
        self._interface_index = interface_index
        self._read_key = read_key
        self._family = family
        self._care_of_family = 0
        self._limits = Limits()
        self._selector = NO_SELECTOR
        self._algorithms: list[str] = []
        self._numbers: dict[str, int] = {}
        self._once: set[str] = set()
        self._offload: Item | None = None
        self._window = 0
        self._sequences = {"replay-seq": 0, "replay-oseq": 0, "replay-seq-hi": 0, "replay-oseq-hi": 0}
        self._flags = self._extra_flags = 0
        self._output_mark = (0, 0)
        self._padding = 0
        self._if_id: int | None = None
        self._mode = self._sequence = self._reqid = 0
        self.direction = 0
        self.mark = (0, 0)
        self.cpu = ALL_CPUS

    # Words of add, update and allocspi.

    def read_common(self, keyword: str, words: Words) -> bool:
        """Reads what follows a keyword of those that allocspi has, too. False: it is none."""
        if keyword == "mode":
            self._mode = mode(words)
        elif keyword == "mark":
            self.mark = mark(words)
        elif keyword == "reqid":
            self._reqid = words.number("reqid")
        elif keyword == "seq":
            self._sequence = acquire_number(words)
        elif keyword == "dir":
            self.direction = direction(words)
        elif keyword == "pcpu-num":
            self.cpu = words.number("pcpu-num")
        else:
            return False
        return True

    def read(self, words: Words) -> None:
        """All words of add and update."""
        behind = "the verb"
        while words.left:
            keyword = words.next("state")
            if keyword in algorithm.KEYWORDS:
                self.items.append(algorithm.read(words, keyword, self._algorithms, self._read_key))
                self._algorithms.append(keyword)
                behind = keyword
                continue
            if not (self.read_common(keyword, words) or self._read_other(keyword, words)):
                words.back()
                self.id.read(words, behind=behind)
            behind = keyword
        if not self.id.given:
            raise wrong("state", None, "needs an ID: src, dst, proto and spi", 1)
        self._check()

    def _read_other(self, keyword: str, words: Words) -> bool:
        if keyword == "max-qsize":
            keyword = "max-queue-size"
        if keyword in self._sequences:
            self._sequences[keyword] = words.number(keyword)
        elif keyword in _NUMBERS:
            most = _NUMBERS[keyword][1]
            self._numbers[keyword] = words.number(keyword, most) if most else 0
        elif keyword in _READERS:
            _READERS[keyword](self, words)
        else:
            return False
        return True

    def _read_once(self, keyword: str) -> None:
        if keyword in self._once:
            raise wrong(keyword, None, "is given twice")
        self._once.add(keyword)

    def _read_window(self, words: Words) -> None:
        self._window = words.number("replay-window")

    def _read_flag(self, words: Words) -> None:
        self._flags = flags(words, "flag", FLAGS, U8, self._flags)

    def _read_extra_flag(self, words: Words) -> None:
        self._extra_flags = flags(words, "extra-flag", _EXTRA_FLAGS, U32, self._extra_flags)

    def _read_selector(self, words: Words) -> None:
        # Of any family: an IPv6 tunnel can be for IPv4 packets.
        self._selector = selector.read(words, 0, self._interface_index, "sel").pack()

    def _read_limit(self, words: Words) -> None:
        self._limits.read(words)

    def _read_encapsulation(self, words: Words) -> None:
        self.items.append(encapsulation(words))

    def _read_care_of_address(self, words: Words) -> None:
        self._read_once("coa")
        packed, self._care_of_family = address(words.next("coa"), self._family, "coa")
        self.items.append(Item(uapi.XFRMA_COADDR, (), packed))

    def _read_context(self, words: Words) -> None:
        self._read_once("ctx")
        self.items.append(security_context(words))

    def _read_offload(self, words: Words) -> None:
        self._offload, self.direction = offload(words, self._interface_index)

    def _read_output_mark(self, words: Words) -> None:
        value, mask = mark(words, "output-mark", 0)
        self._output_mark = (value, mask)

    def _read_if_id(self, words: Words) -> None:
        self._if_id = words.number("if_id")

    def _read_padding(self, words: Words) -> None:
        self._padding = words.number("tfcpad")

    # What goes together.

    def _check(self) -> None:
        self._check_replay()
        self._check_mode()
        self._check_algorithms()
        care_of = uapi.XFRMA_COADDR in (item.type for item in self.items)
        if care_of != (self.id.protocol in (ROUTE2, HAO)):
            rule = "does not go with" if care_of else "is missing: it is needed with"
            raise wrong("coa", None, f"{rule} proto {protocol_name(self.id.protocol)}", 1)
        same_family("coa", self._care_of_family, self.id.family, "the state")
        for keyword in _IPTFS:
            if keyword in self._numbers and self._mode != uapi.XFRM_MODE_IPTFS:
                raise wrong(keyword, None, "goes with mode iptfs alone", 1)

    def _check_replay(self) -> None:
        extended = self._flags & uapi.XFRM_STATE_ESN
        if extended and not self._window and self.direction != uapi.XFRM_SA_DIR_OUT:
            raise wrong("flag esn", None, "needs a replay-window, but in a state of dir out")
        if self._window > _MOST_WINDOW:
            raise wrong("replay-window", str(self._window), f"is more than {_MOST_WINDOW}")

    def _check_mode(self) -> None:
        protocol = self.id.protocol
        modes = {
            ESP: ("transport", "tunnel", "beet", "iptfs"),
            AH: ("transport", "tunnel"),
            COMP: ("transport", "tunnel"),
            ROUTE2: ("ro", "in_trigger"),
            HAO: ("ro", "in_trigger"),
        }.get(protocol)
        if modes is None:
            raise wrong("proto", None, f"{protocol_name(protocol)} is not that of a state", 1)
        if self._mode not in map(mode_number, modes):
            raise wrong("mode", None, f"with proto {protocol_name(protocol)} is one of {', '.join(modes)}", 1)

    def _check_algorithms(self) -> None:
        protocol, given = self.id.protocol, set(self._algorithms)
        needed, allowed = {
            ESP: (("enc", "aead"), ("enc", "aead", "auth", "auth-trunc")),
            AH: (("auth", "auth-trunc"), ("auth", "auth-trunc")),
            COMP: (("comp",), ("comp",)),
        }.get(protocol, ((), ()))
        name = protocol_name(protocol)
        for keyword in self._algorithms:
            if keyword not in allowed:
                raise wrong(keyword, None, f"does not go with proto {name}", 1)
        if needed and given.isdisjoint(needed):
            raise wrong(" or ".join(needed), None, f"is missing: it is needed with proto {name}", 1)

    # The parts of the message.

    def fields(self, limits: bytes | None = None) -> dict[str, Any]:
        """The fixed part (struct xfrm_usersa_info); `limits` in place of those that were read."""
        return {
            **dict.fromkeys(STATE.names, 0),
            "selector": self._selector,
            "destination": self.id.destination,
            "spi": self.id.spi,
            "protocol": self.id.protocol,
            "source": self.id.source,
            "lifetime": self._limits.pack() if limits is None else limits,
            "current": _NEVER_USED,
            "sequence": self._sequence,
            "reqid": self._reqid,
            "family": self.id.some_family,
            "mode": self._mode,
            "replay_window": 0 if self._extended() else self._window,
            "flags": self._flags,
        }

    def _extended(self) -> bool:
        return bool(self._flags & uapi.XFRM_STATE_ESN) or self._window > _BITMAP

    def all_items(self) -> list[Item]:
        """The attributes in the order of `ip`."""
        items = list(self.items)
        if self._offload is not None:
            items.append(self._offload)
        items += self._replay_items()
        if self._extra_flags:
            items.append(Item(uapi.XFRMA_SA_EXTRA_FLAGS, (self._extra_flags,)))
        if self.mark[1]:
            items.append(Item(uapi.XFRMA_MARK, self.mark))
        if self._if_id is not None:
            items.append(Item(uapi.XFRMA_IF_ID, (self._if_id,)))
        if self._padding:
            items.append(Item(uapi.XFRMA_TFCPAD, (self._padding,)))
        for kind, value in zip((uapi.XFRMA_SET_MARK, uapi.XFRMA_SET_MARK_MASK), self._output_mark, strict=True):
            if value:
                items.append(Item(kind, (value,)))
        items += self.direction_items() + self.cpu_items()
        for keyword, (kind, most) in _NUMBERS.items():
            if keyword in self._numbers:
                items.append(Item(kind, (self._numbers[keyword],) if most else ()))
        return items

    def _replay_items(self) -> list[Item]:
        seq, oseq, seq_hi, oseq_hi = self._sequences.values()
        if self._extended():
            words = (self._window + _BITMAP - 1) // _BITMAP  # of a bitmap, which is left out: it is zero
            numbers = (words, oseq, seq, oseq_hi, seq_hi, self._window)
            return [Item(uapi.XFRMA_REPLAY_ESN_VAL, numbers)]
        return [Item(uapi.XFRMA_REPLAY_VAL, (oseq, seq, 0))] if seq or oseq else []

    def direction_items(self) -> list[Item]:
        """XFRMA_SA_DIR, if there is a direction."""
        return [Item(uapi.XFRMA_SA_DIR, (self.direction,))] if self.direction else []

    def cpu_items(self) -> list[Item]:
        """XFRMA_SA_PCPU, if there is a CPU."""
        return [] if self.cpu == ALL_CPUS else [Item(uapi.XFRMA_SA_PCPU, (self.cpu,))]


_READERS: dict[str, Callable[[Definition, Words], None]] = {
    "replay-window": Definition._read_window,
    "flag": Definition._read_flag,
    "extra-flag": Definition._read_extra_flag,
    "sel": Definition._read_selector,
    "limit": Definition._read_limit,
    "encap": Definition._read_encapsulation,
    "coa": Definition._read_care_of_address,
    "ctx": Definition._read_context,
    "offload": Definition._read_offload,
    "output-mark": Definition._read_output_mark,
    "if_id": Definition._read_if_id,
    "tfcpad": Definition._read_padding,
}

KEYWORDS = (
    *("mode", "mark", "reqid", "seq", "dir", "pcpu-num"),
    *("replay-seq", "replay-oseq", "replay-seq-hi", "replay-oseq-hi", "max-qsize"),
    *_NUMBERS,
    *_READERS,
)
"""All words that can stand where the next thing about a state begins, but for its ID and algorithms."""

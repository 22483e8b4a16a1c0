# SPDX-License-Identifier: MIT
"""States, as `ip xfrm` prints them: struct xfrm_usersa_info and the attributes of its message.

Keys are in these texts unless they are to be left out. They are never cached; but a text is a str, which can't be
wiped.
"""

from __future__ import annotations

import struct

from xfrm_ext.constants import uapi
from xfrm_ext.errors import ProtocolError
from xfrm_ext.iproute2 import text_parts as parts
from xfrm_ext.wire.layouts import ATTRIBUTES, HEADER, STATE, Algorithm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from xfrm_ext.iproute2.text import Printer
    from xfrm_ext.wire.layouts import Buffer

    Attributes = dict[int, Buffer]

SIZE = STATE.size
_FLAGS = ("noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4", "esn")
_EXTRA_FLAGS = ("dont-encap-dscp", "oseq-may-wrap")
_ENCAPSULATIONS = {1: "espinudp-nonike", 2: "espinudp", 7: "espintcp"}
_DIRECTIONS = {1: "in", 2: "out"}
_WITH_SPI = (50, 51, 108)  # ESP, AH, IPComp: their SPI is shown even when it is 0
_MOST_WORDS = 128  # of a replay bitmap (XFRMA_REPLAY_ESN_MAX)

# The structure as the text needs it: `state` names the fields, `lifetime` reads those that are left out.
_STATE = struct.Struct("=56s16s4sB3x16s96xIIIIIHBBB7x")
_LIFETIME = 96
_NO_SELECTOR = bytes(56)
_REPLAY_ESN: Final = uapi.XFRMA_REPLAY_ESN_VAL
_CONTEXT: Final = uapi.XFRMA_SEC_CTX


def state(printer: Printer, data: Buffer, position: int, found: Attributes) -> str:
    """A state at a place in data, which is known to hold it, with the attributes of its message."""
    own, destination, spi, protocol, source, *errors, sequence, reqid, family, mode, window, flags = (
        _STATE.unpack_from(data, position)
    )
    identity = parts.identity(printer, protocol, spi, reqid, protocol in _WITH_SPI)
    if _REPLAY_ESN in found:
        window = 0  # of 8 bits; there is a larger one
    if printer.statistics:
        words = _all_flags(sequence, flags, found)
    else:
        words = f"flag {parts.bits(flags, _FLAGS)}" if flags else ""
    lines = [
        f"src {parts.address(source, family)} dst {parts.address(destination, family)}\n"
        f"\t{identity}mode {parts.mode(mode)}\n\treplay-window {window} {words}\n"
    ]
    lines += [line(printer, kind, found, family) for kind, line in _LINES if kind in found]
    if own != _NO_SELECTOR:
        lines.append(f"\tsel {parts.selector(printer, data, position, family)}\n")
    if printer.statistics:
        lines.append(parts.lifetime(printer, data, position + _LIFETIME))
        lines.append("\tstats:\n\t  replay-window {} replay {} failed {}\n".format(*errors))
    if _CONTEXT in found:
        lines.append(parts.security_context(found[_CONTEXT]))
    return "".join(lines)


def _all_flags(sequence: int, flags: int, found: Attributes) -> str:
    words = f"seq {parts.sequence(sequence)} flag {parts.bits(flags, _FLAGS)}"
    extra = parts.values(uapi.XFRMA_SA_EXTRA_FLAGS, found.get(uapi.XFRMA_SA_EXTRA_FLAGS, b""))
    if extra is not None and extra[0]:
        words += f"extra_flag {parts.bits(extra[0], _EXTRA_FLAGS)}"
    return f"{words} (0x{flags:08b})"


# --- lines of attributes: of a printer, the attribute's type, all attributes, and the state's family -------------


def _marks(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    """The mark that packets must have and the one that they get, which share a line."""
    line = "\t"
    if uapi.XFRMA_MARK in found:
        if kind != uapi.XFRMA_MARK:
            return ""  # it is in the line of the other one
        line += parts.mark(uapi.XFRMA_MARK, found[uapi.XFRMA_MARK])
    if uapi.XFRMA_SET_MARK in found:
        line += f"output-mark {_number(uapi.XFRMA_SET_MARK, found)}"
        if uapi.XFRMA_SET_MARK_MASK in found:
            line += f"/{_number(uapi.XFRMA_SET_MARK_MASK, found)}"
    return f"{line}\n"


def _number(kind: int, found: Attributes, form: str = "x") -> str:
    return parts.number(kind, found[kind], form)


def _algorithm(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    """An algorithm and its key, which is shown as far as it goes when it is to be shown."""
    if kind == uapi.XFRMA_ALG_AUTH and uapi.XFRMA_ALG_AUTH_TRUNC in found:
        return ""  # the kernel tells it twice
    word, payload, layout = _ALGORITHMS[kind], found[kind], ATTRIBUTES[kind]
    assert isinstance(layout, Algorithm)
    values: Any = parts.values(kind, payload)
    if values is None:
        return f"\t{word} {parts.TRUNCATED}\n"
    name, key_bits, *length = values
    key = payload[layout.layout.size :][: (key_bits + 7) // 8]
    if not printer.keys:
        shown = "<<Keys hidden>>"
    elif len(key) < (key_bits + 7) // 8:
        shown = parts.TRUNCATED
    elif not key_bits:
        shown = ""
    else:
        shown = f"0x{key.hex()} ({key_bits} bits)" if printer.statistics else f"0x{key.hex()}"
    end = f" {length[0] - (length[0] >> 31 << 32)}" if length else ""  # signed, as `ip` prints it
    return f"\t{word} {parts.text(name)} {shown}{end}\n"


def _encapsulation(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    values: Any = parts.values(kind, found[kind])
    if values is None:
        return f"\tencap {parts.TRUNCATED}\n"
    number, source, destination, address = values
    name = _ENCAPSULATIONS.get(number) or str(number)
    return f"\tencap type {name} sport {source} dport {destination} addr {parts.address(address, family)}\n"


def _care_of(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    payload = found[kind]
    return f"\tcoa {parts.address(payload, family) if len(payload) >= 16 else parts.TRUNCATED}\n"


def _last_used(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    values = parts.values(kind, found[kind])
    return f"\tlastused {parts.TRUNCATED if values is None else parts.moment(printer, values[0])}\n"


def _replay(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    if _REPLAY_ESN in found:
        return ""
    values = parts.values(kind, found[kind])
    if values is None:
        return f"\tanti-replay context: {parts.TRUNCATED}\n"
    oseq, seq, bitmap = values
    return f"\tanti-replay context: seq {seq:#x}, oseq {oseq:#x}, bitmap {bitmap:#010x}\n"


def _replay_esn(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    """The numbers, and the bitmap, eight words a line, the highest first. None at all stands for zeros, as in a
    request."""
    payload = found[kind]
    values: Any = parts.values(kind, payload)
    if values is None:
        return f"\tanti-replay esn context:{parts.TRUNCATED}\n"
    count, oseq, seq, oseq_hi, seq_hi, window = values
    lines = (
        f"\tanti-replay esn context:\n\t seq-hi {seq_hi:#x}, seq {seq:#x}, oseq-hi {oseq_hi:#x}, oseq {oseq:#x}\n"
        f"\t replay_window {window}, bitmap-length {count}\n"
    )
    bitmap = bytes(payload[24:]) or bytes(4 * min(count, _MOST_WORDS))
    if len(bitmap) < 4 * count:
        return f"{lines}\t {parts.TRUNCATED}\n"
    words = [f"{word:08x} " for word in reversed(struct.unpack_from(f"={count}I", bitmap))]
    return lines + "".join(f"\t {''.join(words[start : start + 8])}\n" for start in range(0, count, 8))


def _offload(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    values = parts.values(kind, found[kind])
    if values is None:
        return f"\tcrypto offload parameters: {parts.TRUNCATED}\n"
    interface, flags = values
    way = "in" if flags & uapi.XFRM_OFFLOAD_INBOUND else "out"
    mode = "packet" if flags & uapi.XFRM_OFFLOAD_PACKET else "crypto"
    return f"\tcrypto offload parameters: dev {printer.interface_name(interface)} dir {way} mode {mode}\n"


def _direction(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    values = parts.values(kind, found[kind])
    if values is None:
        return f"\tdir {parts.TRUNCATED}\n"
    return f"\tdir {_DIRECTIONS.get(values[0]) or f'other ({values[0]})'}\n"


def _if_id(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    return f"\tif_id {_number(kind, found)}\n"


def _padding(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    return f"\ttfcpad {_number(kind, found, 'd')}\n"


def _cpu(printer: Printer, kind: int, found: Attributes, family: int) -> str:
    return f"\tpcpu-num {_number(kind, found, 'd')}\n"


_ALGORITHMS = {
    uapi.XFRMA_ALG_AEAD: "aead",
    uapi.XFRMA_ALG_AUTH: "auth",
    uapi.XFRMA_ALG_AUTH_TRUNC: "auth-trunc",
    uapi.XFRMA_ALG_CRYPT: "enc",
    uapi.XFRMA_ALG_COMP: "comp",
}
_LINES: Final[tuple[tuple[int, Callable[[Printer, int, Attributes, int], str]], ...]] = tuple(
    {
        uapi.XFRMA_MARK: _marks,
        uapi.XFRMA_SET_MARK: _marks,
        **dict.fromkeys(_ALGORITHMS, _algorithm),
        uapi.XFRMA_ENCAP: _encapsulation,
        uapi.XFRMA_COADDR: _care_of,
        uapi.XFRMA_LASTUSED: _last_used,
        uapi.XFRMA_REPLAY_VAL: _replay,
        uapi.XFRMA_REPLAY_ESN_VAL: _replay_esn,
        uapi.XFRMA_OFFLOAD_DEV: _offload,
        uapi.XFRMA_IF_ID: _if_id,
        uapi.XFRMA_TFCPAD: _padding,
        uapi.XFRMA_SA_DIR: _direction,
        uapi.XFRMA_SA_PCPU: _cpu,
    }.items()
)
"""The lines of a state that attributes make, in their order."""


# --- messages -------------------------------------------------------------------------------------------------


def changed(printer: Printer, message: Buffer) -> str:
    """NEWSA."""
    return state(printer, message, HEADER.size, parts.attributes(message, parts.begin(message, SIZE)))


def updated(printer: Printer, message: Buffer) -> str:
    """UPDSA."""
    return f"Updated {changed(printer, message)}"


def expired(printer: Printer, message: Buffer) -> str:
    """EXPIRE: a state, and whether the limit was a hard one."""
    found = parts.attributes(message, parts.begin(message, SIZE + 8))
    return f"Expired {state(printer, message, HEADER.size, found)}\thard {message[HEADER.size + SIZE]}\n"


def deleted(printer: Printer, message: Buffer) -> str:
    """DELSA as an event: the state is an attribute. Raises ProtocolError where it has none."""
    found = parts.attributes(message, parts.begin(message, 24))
    inside = found.get(uapi.XFRMA_SA)
    if inside is None or len(inside) < SIZE:
        raise ProtocolError("an event about a deleted state does not have the state")
    return f"Deleted {state(printer, inside, 0, found)}"


def flushed(printer: Printer, message: Buffer) -> str:
    """FLUSHSA."""
    parts.begin(message, 1)
    return f"Flushed state proto {parts.xfrm_protocol(message[HEADER.size])}\n"

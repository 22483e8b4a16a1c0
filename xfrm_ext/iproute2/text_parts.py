# SPDX-License-Identifier: MIT
"""What the texts of policies, states and events share: selectors, lifetimes, addresses, names of numbers.

Texts are those of `ip xfrm` of iproute2 7.1, to the letter. Where an attribute is shorter than its structure,
"(ERROR truncated)" stands in place of its values, and nothing beyond it is read.
"""

from __future__ import annotations

import struct
import sys
import time
from _socket import AF_INET6, inet_ntop  # what is in socket: importing that takes ten times as long

from xfrm_ext.errors import ProtocolError
from xfrm_ext.wire.layouts import ATTRIBUTE, ATTRIBUTES, HEADER, LIFETIME_CONFIG, Algorithm, Fixed, ReplayEsn
from xfrm_ext.wire.protocols import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from xfrm_ext.iproute2.text import Printer
    from xfrm_ext.wire.layouts import Buffer

    Attributes = dict[int, Buffer]

TRUNCATED = "(ERROR truncated)"
DECIMAL = tuple(map(str, range(256)))  # a look-up is a third of the time of formatting a number
_MODES = ("transport", "tunnel", "ro", "in_trigger", "beet")  # iptfs, 5, is a number to `ip`
_XFRM_PROTOCOLS = {50: "esp", 51: "ah", 108: "comp", 43: "route2", 60: "hao", 255: "ipsec-any"}
_SHARES = ("any", "session", "user", "unique")
_INFINITE = 0xFFFFFFFFFFFFFFFF  # XFRM_INF
_INET, _INET6 = 2, 10
_GRE, _MOBILITY = 47, 135
_WITH_TYPES = (1, 58, _MOBILITY)  # protocols with a type and a code in place of ports

# --- attributes -----------------------------------------------------------------------------------------------


def attributes(data: Buffer, position: int = 0) -> Attributes:
    """The payloads in a series of attributes, by type: of two of a type the first, as `ip` takes it. Types with
    flags (NLA_F_NESTED) are none that `ip` knows. Raises ProtocolError when lengths do not fit."""
    found: Attributes = {}
    last, unpack = len(data) - ATTRIBUTE.size, ATTRIBUTE.unpack_from
    while position <= last:
        size, kind = unpack(data, position)
        if not ATTRIBUTE.size <= size <= len(data) - position:
            raise ProtocolError("a message's lengths do not fit")
        if kind not in found:
            found[kind] = data[position + ATTRIBUTE.size : position + size]
        position += (size + 3) & ~3
    return found


def begin(message: Buffer, size: int) -> int:
    """Where the attributes behind a fixed part of this size begin. Raises ProtocolError if it is not all there."""
    if len(message) < HEADER.size + size:
        raise ProtocolError("a message is too short")
    return HEADER.size + ((size + 3) & ~3)


def values(kind: int, payload: Buffer) -> Sequence[Any] | None:
    """The values of an attribute's structure; None: it is truncated. What follows the structure is left out."""
    layout = ATTRIBUTES[kind]
    assert isinstance(layout, (Fixed, Algorithm, ReplayEsn))
    return None if len(payload) < layout.layout.size else layout.layout.unpack(payload)


def number(kind: int, payload: Buffer, form: str) -> str:
    """The number that an attribute is, in a form ("x", "d")."""
    found = values(kind, payload)
    return TRUNCATED if found is None else hexadecimal(found[0]) if form == "x" else f"{found[0]}"


# --- numbers --------------------------------------------------------------------------------------------------


def hexadecimal(value: int) -> str:
    """C's %#x, which has no 0x in front of a zero."""
    return f"{value:#x}" if value else "0"


def sequence(value: int) -> str:
    """The number of an ACQUIRE. Hexadecimal, as the 0x says: `ip` has its decimal digits behind that."""
    return f"{value:#010x}"


def choice(value: int, names: Sequence[str]) -> str:
    """The name of a number, or the number where it has none."""
    return names[value] if value < len(names) else str(value)


def bits(value: int, names: Sequence[str]) -> str:
    """The names of the bits, from the lowest, and the others as one hexadecimal number."""
    if not value:
        return ""
    found = [name for place, name in enumerate(names) if value >> place & 1]
    rest = value >> len(names) << len(names)
    return " ".join([*found, f"{rest:x}"] if rest else found)


def share(value: int) -> str:
    """XFRM_SHARE_*, by name."""
    return choice(value, _SHARES)


def xfrm_protocol(value: int) -> str:
    """The protocol of a state or template, by name."""
    return _XFRM_PROTOCOLS.get(value) or str(value)


_PROTOCOLS = {number: NAMES[number] for number in (1, 6, 17, 47, 50, 51, 58, 132)}
"""Names of IP protocols that are the same everywhere."""
_read_protocols: dict[int, str] = {}


def protocol(value: int) -> str:
    """An IP protocol, by the name that it has on this machine (/etc/protocols); without that file, or there, by
    `ip`'s own name; or else its number."""
    name = _PROTOCOLS.get(value)
    if name is None:
        if not _read_protocols:
            _read_protocols.update(_protocols())
        name = _read_protocols.get(value)
    return name or str(value)


def _protocols() -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        with open("/etc/protocols", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.partition("#")[0].split()
                if len(words) > 1 and words[1].isdecimal():
                    names.setdefault(int(words[1]), words[0])
    except OSError:
        pass
    return {**NAMES, **names}


def text(raw: Buffer) -> str:
    """Bytes up to the first NUL, as text. What is not ASCII becomes an escape: it is no terminal's business."""
    return bytes(raw).partition(b"\0")[0].decode("ascii", "backslashreplace")


# --- addresses ------------------------------------------------------------------------------------------------


def address(raw: Buffer, family: int) -> str:
    """An address, IPv4 in the first four bytes."""
    if family == _INET:
        return f"{DECIMAL[raw[0]]}.{DECIMAL[raw[1]]}.{DECIMAL[raw[2]]}.{DECIMAL[raw[3]]}"
    return inet_ntop(AF_INET6, raw[:16]) if family == _INET6 else "???"


_SELECTOR = struct.Struct("=16s16s8sHBBB3xiI")  # struct xfrm_selector, its ports and their masks in one piece


def selector(printer: Printer, data: Buffer, position: int = 0, family: int = 0) -> str:
    """A selector, without the end of its line. `family`: that of a selector without one."""
    destination, source, ports, own, dst_length, src_length, upper, interface, user = _SELECTOR.unpack_from(
        data, position
    )
    family = own or family
    words = f"src {address(source, family)}/{src_length} dst {address(destination, family)}/{dst_length} "
    return words + upper_layer(printer, upper, ports, interface) + (f"uid {user}" if printer.statistics else "")


def upper_layer(printer: Printer, number: int, ports: bytes, interface: int) -> str:
    """A selector's protocol, ports and interface."""
    words = f"proto {protocol(number)} " if number else ""
    dport, dmask, sport, smask = struct.unpack(">4H", ports)
    if number == _GRE:
        words += f"key {sport << 16 | dport} " if smask and dmask else ""
    else:
        first, second = ("type", "code") if number in _WITH_TYPES else ("sport", "dport")
        if smask:
            words += f"{first} {sport} "
        if dmask and number != _MOBILITY:
            words += f"{second} {dport} "
        elif dmask and printer.statistics:  # it has no code: shown as the two bytes are in memory
            words += f"(dport) {int.from_bytes(ports[:2], sys.byteorder):#06x} "
    return words + (f"dev {printer.interface_name(interface)} " if interface > 0 else "")


def identity(printer: Printer, number: int, spi: bytes, reqid: int, always_spi: bool) -> str:
    """Protocol, SPI (as it is in the message) and reqid of a template or state, with a space behind them."""
    name = _XFRM_PROTOCOLS.get(number) or number
    if printer.statistics:
        return f"proto {name} spi 0x{spi.hex()}({int.from_bytes(spi, 'big')}) reqid {reqid}({reqid:#010x}) "
    if always_spi or spi != _NO_SPI:
        return f"proto {name} spi 0x{spi.hex()} reqid {reqid} "
    return f"proto {name} reqid {reqid} "


_NO_SPI = bytes(4)


def mode(value: int) -> str:
    """XFRM_MODE_*, by name."""
    return choice(value, _MODES)


def masks(aalgos: int, ealgos: int, calgos: int) -> str:
    """The algorithms that a template allows."""
    return f"enc-mask {ealgos:08x} auth-mask {aalgos:08x} comp-mask {calgos:08x}"


# --- lines of policies and states -----------------------------------------------------------------------------


def lifetime(printer: Printer, data: Buffer, position: int) -> str:
    """The lines about a lifetime: struct xfrm_lifetime_cfg and, behind it, xfrm_lifetime_cur."""
    limits, used, packets, *times = _LIFETIME.unpack_from(data, position)
    lines = printer.texts.get(limits) or printer.kept(printer.texts, limits, _limits(limits))
    added, first_used = [moment(printer, seconds) for seconds in times]
    return f"{lines}\tlifetime current:\n\t  {used}(bytes), {packets}(packets)\n\t  add {added} use {first_used}\n"


_LIFETIME = struct.Struct("=64s4Q")


def _limits(limits: bytes) -> str:
    bytes_soft, bytes_hard, soft, hard, *seconds = LIFETIME_CONFIG.unpack(limits)
    add_soft, add_hard, use_soft, use_hard = seconds
    return (
        "\tlifetime config:\n"
        f"\t  limit: soft {_limit(bytes_soft)}(bytes), hard {_limit(bytes_hard)}(bytes)\n"
        f"\t  limit: soft {_limit(soft)}(packets), hard {_limit(hard)}(packets)\n"
        f"\t  expire add: soft {add_soft!r}(sec), hard {add_hard!r}(sec)\n"
        f"\t  expire use: soft {use_soft!r}(sec), hard {use_hard!r}(sec)\n"
    )


def _limit(value: object) -> str:
    return "(INF)" if value == _INFINITE else str(value)


def moment(printer: Printer, seconds: int) -> str:
    """A time in the local zone, "-" for none. Of a year that has no calendar: the seconds (`ip` crashes there)."""
    if not seconds:
        return "-"
    return printer.texts.get(seconds) or printer.kept(printer.texts, seconds, _moment(seconds))


def _moment(seconds: int) -> str:
    try:
        now = time.localtime(seconds)
    except (OSError, OverflowError, ValueError):
        return str(seconds)
    return f"{now.tm_year}-{now.tm_mon:02}-{now.tm_mday:02} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"


def security_context(payload: Buffer) -> str:
    """The line of a security context (struct xfrm_user_sec_ctx and a label)."""
    if len(payload) < 8:
        return f"\tsecurity context {TRUNCATED} \n"
    (size,) = struct.unpack_from("=H", payload, 6)
    return f"\tsecurity context {text(payload[8 : 8 + size])} \n"


def mark(kind: int, payload: Buffer) -> str:
    """XFRMA_MARK, with a space behind it."""
    found = values(kind, payload)
    return f"mark {TRUNCATED} " if found is None else f"mark {hexadecimal(found[0])}/{hexadecimal(found[1])} "

# SPDX-License-Identifier: MIT
"""Events that are neither a policy nor a state, as `ip xfrm monitor` prints them."""

from __future__ import annotations

from xfrm_ext.constants import uapi
from xfrm_ext.iproute2 import text_parts as parts
from xfrm_ext.wire.layouts import HEADER, MESSAGES, SELECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from xfrm_ext.iproute2.text import Printer
    from xfrm_ext.wire.layouts import Buffer

_ASYNC_FLAGS = ((0x10, "replay update"), (0x20, "timer expired"), (0x40, "policy updated"))  # XFRM_AE_CR, CE, CU


def _fields(message: Buffer, kind: int) -> tuple[dict[str, Any], int]:
    """The fields of a message, by name, and where its attributes begin."""
    layout = MESSAGES[kind]
    assert layout is not None
    position = parts.begin(message, layout.size)
    return dict(zip(layout.names, layout.unpack(message, HEADER.size), strict=True)), position


def acquire(printer: Printer, message: Buffer) -> str:
    """ACQUIRE: a policy wants a state."""
    from xfrm_ext.iproute2.policy_text import policy

    fields, position = _fields(message, uapi.XFRM_MSG_ACQUIRE)
    spi = fields["spi"]
    words = f"acquire proto {parts.xfrm_protocol(fields['protocol'])} "
    if printer.statistics:
        words += f"spi {spi:#010x}({spi}) "
    elif spi:
        words += f"spi {spi:#010x} "
    lines = policy(printer, fields["policy"], 0, bytes(message[position:])).rstrip("\n").replace("\n", "\n    ")
    words += f"\n  sel {parts.selector(printer, fields['selector'])}\n  policy {lines}\n"
    if not printer.statistics:
        return f"{words}\n"
    masks = parts.masks(fields["aalgos"], fields["ealgos"], fields["calgos"])
    return f"{words}  seq {parts.sequence(fields['sequence'])} {masks}\n"


def async_event(printer: Printer, message: Buffer) -> str:
    """NEWAE: replay counters have moved on."""
    fields, _ = _fields(message, uapi.XFRM_MSG_NEWAE)
    flags, source = fields["flags"], parts.address(fields["source"], fields["family"])
    names = "".join(f" {name} " for bit, name in _ASYNC_FLAGS if flags & bit)
    return f"Async event  (0x{flags:x}) {names}\n\tsrc {source} dst {_identity(fields)}"


def mapping(printer: Printer, message: Buffer) -> str:
    """MAPPING: the other end of an encapsulation has moved."""
    fields, _ = _fields(message, uapi.XFRM_MSG_MAPPING)
    old, new = (parts.address(fields[f"{which}_source"], fields["family"]) for which in ("old", "new"))
    line = f"Mapping change {old}:{fields['old_port']} -> {new}:{fields['new_port']}\n"
    return f"{line}\tdst {_identity(fields)}"


def _identity(fields: dict[str, Any]) -> str:
    destination = parts.address(fields["destination"], fields["family"])
    name = parts.protocol(fields["protocol"])
    return f"{destination}  reqid 0x{fields['reqid']:x} protocol {name}  SPI 0x{fields['spi']:x}\n"


def report(printer: Printer, message: Buffer) -> str:
    """REPORT: Mobile IPv6 met something that no state allows."""
    fields, position = _fields(message, uapi.XFRM_MSG_REPORT)
    selector = fields["selector"]
    lines = f"report proto {parts.xfrm_protocol(fields['protocol'])} \n  sel {parts.selector(printer, selector)}\n"
    care_of = parts.attributes(message, position).get(uapi.XFRMA_COADDR)
    if care_of is None:
        return lines
    family = SELECTOR.unpack(selector)[SELECTOR.names.index("family")]
    return f"{lines}  coa {parts.address(care_of, int(family)) if len(care_of) >= 16 else parts.TRUNCATED}\n"

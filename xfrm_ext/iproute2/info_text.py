# SPDX-License-Identifier: MIT
"""Counts of policies and states, and what happens where no policy is found, as `ip xfrm` prints them."""

from __future__ import annotations

from xfrm_ext.constants import uapi
from xfrm_ext.iproute2 import text_parts as parts
from xfrm_ext.wire.layouts import attributes_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from xfrm_ext.iproute2.text import Printer
    from xfrm_ext.wire.layouts import Buffer

_ACTIONS = ("unspec", "block", "accept")


def _numbers(message: Buffer, kind: int) -> dict[int, Sequence[Any]]:
    """The numbers of the attributes that are whole, by type."""
    found = {}
    for number, payload in parts.attributes(message, parts.begin(message, 4)).items():
        layout: Any = attributes_of(kind).get(number)
        if layout is not None and len(payload) >= layout.layout.size:
            found[number] = layout.layout.unpack(payload)
    return found


def policies(printer: Printer, message: Buffer) -> str:
    """NEWSPDINFO: `ip xfrm policy count`."""
    found = _numbers(message, uapi.XFRM_MSG_NEWSPDINFO)
    lines = ""
    if uapi.XFRMA_SPD_INFO in found:
        inside, out, forward, *sockets = found[uapi.XFRMA_SPD_INFO]
        lines += f"\t SPD IN  {inside} OUT {out} FWD {forward}"
        if printer.statistics:
            lines += " (Sock: IN {} OUT {} FWD {})".format(*sockets)
        lines += "\n"
    if printer.statistics > 1:
        if uapi.XFRMA_SPD_HINFO in found:
            lines += "\t SPD buckets: count {} Max {}\n".format(*found[uapi.XFRMA_SPD_HINFO])
        for kind, name in ((uapi.XFRMA_SPD_IPV4_HTHRESH, "IPv4"), (uapi.XFRMA_SPD_IPV6_HTHRESH, "IPv6")):
            if kind in found:
                lines += f"\t SPD {name} thresholds: " + "local {} remote {}\n".format(*found[kind])
    return lines


def states(printer: Printer, message: Buffer) -> str:
    """NEWSADINFO: `ip xfrm state count`. On one line, always."""
    found = _numbers(message, uapi.XFRM_MSG_NEWSADINFO)
    line = ""
    if uapi.XFRMA_SAD_CNT in found:
        line = "\t SAD count {}".format(*found[uapi.XFRMA_SAD_CNT])
    if printer.statistics and uapi.XFRMA_SAD_HINFO in found:
        line += " (buckets count {} Max {})".format(*found[uapi.XFRMA_SAD_HINFO])
    return f"{line}\n"


def defaults(printer: Printer, message: Buffer) -> str:
    """GETDEFAULT, as an answer and as an event. Not on one line, ever."""
    parts.begin(message, 3)
    inside, forward, out = (
        _ACTIONS[action] if action < len(_ACTIONS) else "unknown" for action in bytes(message[16:19])
    )
    return f"Default policies:\n in:  {inside}\n fwd: {forward}\n out: {out}\n"

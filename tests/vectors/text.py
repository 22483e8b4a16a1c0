# SPDX-License-Identifier: MIT
"""What `ip xfrm` prints, made out of the fields of this package's values."""

from __future__ import annotations

import ipaddress
import struct
from datetime import datetime, timezone
from typing import Any

from vectors import AUTH_TRUNC, REPLAY_ESN_VAL, SET_MARK_MASK, TMPL
from xfrm_ext import INFINITE, Policy, Selector, State, Template

PROTOCOLS = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    89: "ospf",
    132: "sctp",
    135: "mobility-header",
}
TEMPLATE_PROTOCOLS = {50: "esp", 51: "ah", 108: "comp", 43: "route2", 60: "hao", 255: "ipsec-any"}
MODES = ("transport", "tunnel", "ro", "in_trigger", "beet")
SHARES = ("any", "session", "user", "unique")
INTERFACES = {1: "lo"}


def selector_text(selector: Selector, statistics: bool) -> str:
    text = f"src {selector.source} dst {selector.destination} "
    protocol = selector.protocol
    if protocol:
        text += f"proto {PROTOCOLS.get(protocol, protocol)} "
    if protocol == 47:
        if selector.source_port_mask and selector.destination_port_mask:
            text += f"key {selector.source_port << 16 | selector.destination_port} "
    else:
        source, destination = ("type", "code") if protocol in (1, 58, 135) else ("sport", "dport")
        if selector.source_port_mask:
            text += f"{source} {selector.source_port} "
        if selector.destination_port_mask and protocol != 135:
            text += f"{destination} {selector.destination_port} "
        elif selector.destination_port_mask and statistics:
            # The mobility header has no code: shown as the two bytes are in memory.
            text += f"(dport) {struct.unpack('<H', struct.pack('>H', selector.destination_port))[0]:#06x} "
    if selector.interface:
        text += f"dev {INTERFACES.get(selector.interface, f'if{selector.interface}')} "
    return f"{text}uid {selector.user}" if statistics else text


def flags_text(bits: int) -> str:
    names = [name for bit, name in ((1, "localok"), (2, "icmp")) if bits & bit]
    rest = bits & ~3
    return " ".join([*names, f"{rest:x}"] if rest else names)


def limit_text(limit: int) -> str:
    return "(INF)" if limit == INFINITE else str(limit)


def time_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S") if seconds else "-"


def lifetime_lines(policy: Policy | State) -> list[str]:
    lifetime, current = policy.lifetime, policy.current
    lines = ["\tlifetime config:"]
    for unit, soft, hard in (
        ("bytes", lifetime.soft_byte_limit, lifetime.hard_byte_limit),
        ("packets", lifetime.soft_packet_limit, lifetime.hard_packet_limit),
    ):
        lines.append(f"\t  limit: soft {limit_text(soft)}({unit}), hard {limit_text(hard)}({unit})")
    for since, soft, hard in (
        ("add", lifetime.soft_add_expires_seconds, lifetime.hard_add_expires_seconds),
        ("use", lifetime.soft_use_expires_seconds, lifetime.hard_use_expires_seconds),
    ):
        lines.append(f"\t  expire {since}: soft {soft}(sec), hard {hard}(sec)")
    lines.append("\tlifetime current:")
    lines.append(f"\t  {current.bytes}(bytes), {current.packets}(packets)")
    lines.append(f"\t  add {time_text(current.add_time)} use {time_text(current.use_time)}")
    return lines


def template_lines(template: Template, statistics: bool) -> list[str]:
    protocol, mode, level = template.protocol, template.mode, template.level
    text = f"\t\tproto {TEMPLATE_PROTOCOLS[protocol]} "
    if template.spi or statistics:
        text += f"spi {template.spi:#010x}" + (f"({template.spi}) " if statistics else " ")
    text += f"reqid {template.reqid}" + (f"({template.reqid:#010x}) " if statistics else " ")
    lines = [f"\ttmpl src {template.source} dst {template.destination}", f"{text}mode {MODES[mode]}"]
    if level or statistics:
        shown = {0: "required", 1: "use"}.get(level, str(int(level)))
        lines.append(f"\t\tlevel {shown} " + (f"share {SHARES[template.share]} " if statistics else ""))
    if statistics:
        masks = (template.ealgos, template.aalgos, template.calgos)
        lines.append("\t\tenc-mask {:08x} auth-mask {:08x} comp-mask {:08x}".format(*masks))
    return lines


def policy_text(policy: Policy, has_type: bool, statistics: bool) -> str:
    """What `ip` prints for a policy; `has_type`: for a message with the attribute for its type."""
    lines = [selector_text(policy.selector, statistics)]
    if policy.security_context is not None:
        lines.append(f"\tsecurity context {policy.security_context.context} ")
    direction, action = int(policy.direction), int(policy.action)
    if direction < 3:
        text = f"\tdir {('in', 'out', 'fwd')[direction]} "
    else:
        text = f"\tsocket {('in', 'out')[direction - 3] if direction < 5 else direction - 3} "
    if action or statistics:
        text += f"action {('allow', 'block')[action] if action < 2 else action} "
    if statistics:
        text += f"index {policy.index} "
    text += f"priority {policy.priority} "
    if has_type:
        text += f"ptype {('main', 'sub')[policy.policy_type]} "
    if statistics:
        text += f"share {SHARES[policy.share]} flag {flags_text(policy.flags)} (0x{policy.flags:08b})"
    elif policy.flags:
        text += f"flag {flags_text(policy.flags)}"
    lines.append(text)
    if statistics:
        lines += lifetime_lines(policy)
    if policy.mark is not None:
        lines.append(f"\tmark {policy.mark.value:#x}/{policy.mark.mask:#x} ")
    for template in policy.templates:
        lines += template_lines(template, statistics)
    if any(odd.type == TMPL for odd in policy.attributes):
        lines.append('\t(ERROR "tmpl" truncated)')
    if policy.offload is not None:
        assert policy.offload.flags == 4
        lines.append(f"\tcrypto offload parameters: dev {INTERFACES[policy.offload.interface]} mode packet")
    if policy.if_id is not None:
        lines.append(f"\tif_id {policy.if_id:#x}" if policy.if_id else "\tif_id 0")
    return "\n".join(lines) + "\n"


# --- states ---------------------------------------------------------------------------------------------------

FLAGS = ("noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4", "esn")
EXTRA_FLAGS = ("dont-encap-dscp", "oseq-may-wrap")
ENCAPSULATIONS = {1: "espinudp-nonike", 2: "espinudp", 7: "espintcp"}
DIRECTIONS = {1: "in", 2: "out"}


def bits_text(bits: int, names: tuple[str, ...]) -> str:
    found = [name for place, name in enumerate(names) if bits >> place & 1]
    rest = bits >> len(names) << len(names)
    return " ".join([*found, f"{rest:x}"] if rest else found)


def hexadecimal(number: int) -> str:
    return f"{number:#x}" if number else "0"


def algorithm_line(word: str, algorithm: Any, statistics: bool, keys: bool) -> str:
    key = algorithm.key.reveal().hex()
    text = f"0x{key}" if key else ""
    if statistics and key and keys:
        text += f" ({algorithm.key_bits} bits)"
    return f"\t{word} {algorithm.name} {text if keys else '<<Keys hidden>>'}"


def algorithm_lines(state: State, has: set[int], statistics: bool, keys: bool) -> list[str]:
    lines = []
    if state.aead is not None:
        line = algorithm_line("aead", state.aead, statistics, keys)
        lines.append(f"{line} {state.aead.icv_bits}")
    if state.authentication is not None:
        truncated = AUTH_TRUNC in has
        line = algorithm_line("auth-trunc" if truncated else "auth", state.authentication, statistics, keys)
        signed = (state.authentication.icv_bits ^ 1 << 31) - (1 << 31)
        lines.append(f"{line} {signed}" if truncated else line)
    if state.encryption is not None:
        lines.append(algorithm_line("enc", state.encryption, statistics, keys))
    if state.compression is not None:
        lines.append(algorithm_line("comp", state.compression, statistics, keys))
    return lines


def replay_lines(state: State, has: set[int]) -> list[str]:
    replay = state.replay
    if replay is None:
        return []
    if REPLAY_ESN_VAL not in has:
        return [
            f"\tanti-replay context: seq {replay.input:#x}, oseq {replay.output:#x}, bitmap 0x{replay.bitmap:08x}"
        ]
    low, words = 0xFFFFFFFF, (state.replay_window + 31) // 32 if replay.words is None else replay.words
    bitmap = [f"{replay.bitmap >> 32 * word & low:08x} " for word in reversed(range(words))]
    return [
        "\tanti-replay esn context:",
        f"\t seq-hi {replay.input >> 32:#x}, seq {replay.input & low:#x}, "
        f"oseq-hi {replay.output >> 32:#x}, oseq {replay.output & low:#x}",
        f"\t replay_window {state.replay_window}, bitmap-length {words}",
        *("\t " + "".join(bitmap[start : start + 8]) for start in range(0, words, 8)),
    ]


def mark_line(state: State, has: set[int]) -> list[str]:
    text = ""
    if state.mark is not None:
        text += f"mark {hexadecimal(state.mark.value)}/{hexadecimal(state.mark.mask)} "
    if state.output_mark is not None:
        text += f"output-mark {hexadecimal(state.output_mark.value)}"
        if SET_MARK_MASK in has:
            text += f"/{hexadecimal(state.output_mark.mask)}"
    return [f"\t{text}"] if text else []


def state_text(state: State, has: set[int], statistics: bool, keys: bool = True) -> str:
    """What `ip` prints for a state; `has`: the types of the message's attributes."""
    protocol = TEMPLATE_PROTOCOLS.get(state.protocol, str(int(state.protocol)))
    mode = MODES[state.mode] if state.mode < len(MODES) else str(int(state.mode))
    text = f"\tproto {protocol} "
    if state.spi or statistics or state.protocol in (50, 51, 108):
        text += f"spi {state.spi:#010x}" + (f"({state.spi}) " if statistics else " ")
    text += f"reqid {state.reqid}" + (f"({state.reqid:#010x}) " if statistics else " ")
    lines = [f"src {state.source} dst {state.destination}", f"{text}mode {mode}"]
    text = f"\treplay-window {0 if REPLAY_ESN_VAL in has else state.replay_window} "
    flags, extra = bits_text(state.flags, FLAGS), bits_text(state.extra_flags, EXTRA_FLAGS)
    if statistics:
        text += f"seq 0x{state.sequence:08} flag {flags}" + (f"extra_flag {extra}" if extra else "")
        text += f" (0x{state.flags:08b})"
    elif flags:
        text += f"flag {flags}"
    lines += [text, *mark_line(state, has), *algorithm_lines(state, has, statistics, keys)]
    if state.encapsulation is not None:
        given = state.encapsulation
        kind = ENCAPSULATIONS.get(given.type, str(int(given.type)))
        where = given.original_address or ("::" if state.family == 10 else "0.0.0.0")
        if state.family == 2 and ":" in where:  # `ip` takes the first four bytes for it
            where = str(ipaddress.IPv4Address(ipaddress.IPv6Address(where).packed[:4]))
        lines.append(f"\tencap type {kind} sport {given.source_port} dport {given.destination_port} addr {where}")
    if state.care_of_address is not None:
        lines.append(f"\tcoa {state.care_of_address}")
    if state.last_used is not None:
        lines.append(f"\tlastused {time_text(state.last_used)}")
    lines += replay_lines(state, has)
    if state.offload is not None:
        device = INTERFACES[state.offload.interface]
        way, kind = "in" if state.offload.flags & 2 else "out", "packet" if state.offload.flags & 4 else "crypto"
        lines.append(f"\tcrypto offload parameters: dev {device} dir {way} mode {kind}")
    if state.if_id is not None:
        lines.append(f"\tif_id {hexadecimal(state.if_id)}")
    if state.traffic_flow_padding is not None:
        lines.append(f"\ttfcpad {state.traffic_flow_padding}")
    if state.direction is not None:
        lines.append(f"\tdir {DIRECTIONS.get(state.direction, f'other ({int(state.direction)})')}")
    if state.cpu is not None:
        lines.append(f"\tpcpu-num {state.cpu}")
    if state.selector != Selector(family=0):
        text = selector_text(state.selector, statistics)
        if state.selector.family == 0 and state.family == 10:
            text = text.replace("0.0.0.0/0", "::/0")
        lines.append(f"\tsel {text}")
    if statistics:
        counted = state.statistics
        lines += [*lifetime_lines(state), "\tstats:"]
        lines.append(
            f"\t  replay-window {counted.replay_window} replay {counted.replay} failed {counted.integrity_failed}"
        )
    if state.security_context is not None:
        lines.append(f"\tsecurity context {state.security_context.context} ")
    return "\n".join(lines) + "\n"

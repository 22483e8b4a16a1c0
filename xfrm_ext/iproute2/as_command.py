# SPDX-License-Identifier: MIT
"""The `ip xfrm` line that recreates a policy or state.

What only the kernel fills in (what was used, when, statistics, when it was used last) is left out. A field that no
keyword can say, at a value that counts, is a ValidationError.
"""

from __future__ import annotations

from xfrm_ext.iproute2.words import MOST_KEY
from xfrm_ext.wire.protocols import NAMES

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from xfrm_ext.lifetime import LifetimeConfig
    from xfrm_ext.policy import Policy
    from xfrm_ext.selector import Selector
    from xfrm_ext.state import State
    from xfrm_ext.template import Template

    InterfaceName = Callable[[int], str]

HIDDEN_KEY = "0xKEY-HIDDEN"
"""Stands for a key that is not shown. Nobody takes it for one; without the 0x, `ip` would."""

_ALL = 0xFFFFFFFF
_LIMITS = (
    ("byte-soft", "soft_byte_limit"),
    ("byte-hard", "hard_byte_limit"),
    ("packet-soft", "soft_packet_limit"),
    ("packet-hard", "hard_packet_limit"),
    ("time-soft", "soft_add_expires_seconds"),
    ("time-hard", "hard_add_expires_seconds"),
    ("time-use-soft", "soft_use_expires_seconds"),
    ("time-use-hard", "hard_use_expires_seconds"),
)
_WITH_PORTS = (0, 6, 17, 33, 132, 136)  # any, TCP, UDP, DCCP, SCTP, UDP-Lite
_WITH_TYPES = (1, 58, 135)  # ICMP, ICMPv6, the mobility header
_GRE = 47
_PORT_WORDS = {
    ("source", False): "sport",
    ("destination", False): "dport",
    ("source", True): "type",
    ("destination", True): "code",
}
_NAMES = {number: NAMES[number] for number in (1, 6, 17, 33, 47, 58, 132)}
"""IP protocols that everybody knows by name. Others are numbers: not every machine has /etc/protocols."""


def to_command(
    value: Policy | State,
    *,
    show_keys: bool = False,
    operation: str = "add",
    interface_name: InterfaceName | None = None,
) -> str:
    """``xfrm policy add ...`` or ``xfrm state add ...``, quoted for a shell: `ip` can stand in front of it.

    `operation`: add or update. `interface_name`: the name of an interface, by its index; default: that in the
    calling thread's network namespace. Without `show_keys` each key is HIDDEN_KEY. Raises ValidationError, which
    names the field that can't be said.
    """
    from shlex import join

    words = words_of(value, show_keys=show_keys, operation=operation, interface_name=interface_name)
    return join(words)


def words_of(
    value: Policy | State,
    *,
    show_keys: bool = False,
    operation: str = "add",
    interface_name: InterfaceName | None = None,
) -> list[str]:
    """The words of that line."""
    from xfrm_ext.checks import shown
    from xfrm_ext.errors import ValidationError
    from xfrm_ext.policy import Policy

    if operation not in ("add", "update"):
        raise ValidationError("operation", shown(operation), "is not add or update")
    name = interface_name or _interface_name
    if isinstance(value, Policy):
        return ["xfrm", "policy", operation, *policy_selector(value.selector, name), *policy_rest(value, name)]
    from xfrm_ext.state import State

    if isinstance(value, State):
        return ["xfrm", "state", operation, *_state(value, show_keys, name)]
    raise ValidationError("value", shown(value), "is not a Policy or State")


def _unsaid(field: str, value: object, rule: str = "is what no word of `ip xfrm` says") -> Exception:
    from xfrm_ext.checks import shown
    from xfrm_ext.errors import ValidationError

    return ValidationError(field, None if value is None else shown(value), rule)


def _interface_name(index: int) -> str:
    import socket

    try:
        return socket.if_indextoname(index)
    except OSError:
        raise _unsaid("interface", index, "is the index of no interface here") from None


# --- what policies and states have in common ----------------------------------------------------------------


def _selector(selector: Selector, owner: str, name: InterfaceName) -> list[str]:
    words = []
    source, destination = selector.source, selector.destination
    if selector.family:
        words = ["src", source, "dst", destination]
    elif (source, destination) != ("0.0.0.0/0", "0.0.0.0/0"):
        raise _unsaid(f"{owner}.family", selector.family, "is none, and there are prefixes")
    if selector.interface:
        words += ["dev", name(selector.interface)]
    protocol = selector.protocol
    if protocol:
        words += ["proto", _NAMES.get(protocol) or str(protocol)]
    if selector.user:
        raise _unsaid(f"{owner}.user", selector.user)
    ports = (
        ("source", selector.source_port, selector.source_port_mask),
        ("destination", selector.destination_port, selector.destination_port_mask),
    )
    return words + _ports(ports, protocol, owner) if any(port or mask for _, port, mask in ports) else words


def _ports(ports: tuple[tuple[str, int, int], ...], protocol: int, owner: str) -> list[str]:
    """`ports`: side, port and mask, of both sides. GRE has a key in their place, ICMP type and code."""
    if protocol == _GRE:
        for side, _, mask in ports:
            if mask != 0xFFFF:
                raise _unsaid(f"{owner}.{side}_port_mask", mask, "is not all ones, as those of a GRE key are")
        return ["key", str(ports[0][1] << 16 | ports[1][1])]
    words = []
    with_types = protocol in _WITH_TYPES
    for side, port, mask in ports:
        if not port and not mask:
            continue
        if not with_types and protocol not in _WITH_PORTS:
            raise _unsaid(f"{owner}.{side}_port", port, f"is given, and protocol {protocol} has no ports")
        if mask != 0xFFFF or not (port or with_types):
            raise _unsaid(f"{owner}.{side}_port_mask", mask)
        if with_types and port > 0xFF:
            raise _unsaid(f"{owner}.{side}_port", port, "is not a type or code of 8 bits")
        words += [_PORT_WORDS[side, with_types], str(port)]
    return words


def _lifetime(lifetime: LifetimeConfig) -> list[str]:
    from xfrm_ext.lifetime import NO_LIMITS

    if lifetime == NO_LIMITS:
        return []
    words = []
    for keyword, field in _LIMITS:
        limit = getattr(lifetime, field)
        if limit != getattr(NO_LIMITS, field):
            words += ["limit", keyword, str(limit)]
    return words


def _mark(keyword: str, mark: Any) -> list[str]:
    if mark is None:
        return []
    words = [keyword, f"{mark.value:#x}"]
    return words if mark.mask == _ALL else [*words, "mask", f"{mark.mask:#x}"]


def _member(value: Any, field: str) -> str:
    """The name of an enumeration's member, which `ip` writes with dashes."""
    if value.name not in type(value).__members__:
        raise _unsaid(field, int(value))
    return str(value.name.lower().replace("_", "-"))


def _mode(value: Any, owner: str) -> str:
    return _member(value, f"{owner}.mode").replace("-", "_")  # in_trigger, alone among all


def _flags(keyword: str, value: Any, separator: str = "-") -> list[str]:
    """Names, or a number where there is a bit without a name."""
    if not value:
        return []
    kind = type(value)
    if int(value) & ~sum(int(one) for one in kind):
        return [keyword, f"{int(value):#x}"]
    return [keyword, *(one.name.lower().replace("_", separator) for one in kind if one & value)]


def _context(context: Any, owner: str) -> list[str]:
    if context is None:
        return []
    if (context.algorithm, context.doi) != (1, 1):
        raise _unsaid(
            f"{owner}.security_context", None, "has another algorithm or doi than 1, which `ip xfrm` says"
        )
    # `ip` sends one NUL behind the label, and the kernel answers with one more.
    if not context.context or context.terminated not in (1, 2):
        raise _unsaid(f"{owner}.security_context", None, "is empty, or does not end with one NUL")
    return ["ctx", context.context]


def _no_attributes(value: Any, owner: str) -> None:
    for attribute in value.attributes:
        raise _unsaid(f"{owner}.attributes", None, f"has one of type {attribute.type!r}, which no word says")


# --- policies -------------------------------------------------------------------------------------------------


def policy_selector(selector: Selector, name: InterfaceName) -> list[str]:
    """The words of a policy that say which packets it is for. Raises as `to_command` does."""
    if not selector.family:
        raise _unsaid("Policy.selector.family", 0, "is none, which no policy of `ip xfrm` has")
    return _selector(selector, "Policy.selector", name)


def policy_rest(policy: Policy, name: InterfaceName) -> list[str]:
    """All words behind those."""
    _no_attributes(policy, "Policy")
    words = ["dir", _member(policy.direction, "Policy.direction")]
    words += _context(policy.security_context, "Policy")
    words += _mark("mark", policy.mark)
    if policy.index:
        words += ["index", str(policy.index)]
    if policy.policy_type:
        words += ["ptype", _member(policy.policy_type, "Policy.policy_type")]
    if policy.action:
        words += ["action", _member(policy.action, "Policy.action")]
    if policy.priority:
        words += ["priority", str(policy.priority)]
    words += _flags("flag", policy.flags, "_")
    if policy.share:
        raise _unsaid("Policy.share", policy.share)
    if policy.if_id is not None:
        words += ["if_id", f"{policy.if_id:#x}"]
    words += _lifetime(policy.lifetime)
    offload = policy.offload
    if offload is not None:
        if offload.flags != 4:  # XFRM_OFFLOAD_PACKET
            raise _unsaid("Policy.offload.flags", offload.flags, "is not packet, the only offload of policies")
        words += ["offload", "packet", "dev", name(offload.interface)]
    for number, template in enumerate(policy.templates):
        words += _template(template, f"Policy.templates[{number}]")
    return words


def _template(template: Template, owner: str) -> list[str]:
    if not template.family:
        raise _unsaid(f"{owner}.family", 0, "is none")
    words = ["tmpl", "src", template.source, "dst", template.destination]
    words += ["proto", _member(template.protocol, f"{owner}.protocol")]
    if template.spi:
        words += ["spi", f"{template.spi:#x}"]
    if template.reqid:
        words += ["reqid", str(template.reqid)]
    words += ["mode", _mode(template.mode, owner)]
    if template.level:
        words += ["level", _member(template.level, f"{owner}.level")]
    if template.share:
        raise _unsaid(f"{owner}.share", template.share)
    for field in ("aalgos", "ealgos", "calgos"):
        if getattr(template, field) != _ALL:
            raise _unsaid(f"{owner}.{field}", getattr(template, field))
    return words


# --- states ---------------------------------------------------------------------------------------------------

_NUMBERS = (
    ("if_id", "if_id", 0),
    ("tfcpad", "traffic_flow_padding", 1),
    ("pcpu-num", "cpu", 0),
    ("nat-keepalive-interval", "nat_keepalive_interval", 0),
    ("mtimer-thresh", "mapping_timer_threshold", 0),
)
"""Keywords, their fields, and the least number that is sent."""
_UNSAID = ("lifetime_value", "replay_threshold", "event_timer_threshold")


def _state(state: State, show_keys: bool, name: InterfaceName) -> list[str]:
    import sys

    _no_attributes(state, "State")
    for field in _UNSAID:
        if getattr(state, field) is not None:
            raise _unsaid(f"State.{field}", getattr(state, field))
    if not state.family:
        raise _unsaid("State.family", 0, "is none, which no state of `ip xfrm` has")
    words = ["src", state.source, "dst", state.destination, "proto", _member(state.protocol, "State.protocol")]
    words += ["spi", f"{state.spi:#x}", "mode", _mode(state.mode, "State")]
    if state.reqid:
        words += ["reqid", str(state.reqid)]
    if state.sequence:  # which `ip` sends in network byte order
        words += ["seq", f"{int.from_bytes(state.sequence.to_bytes(4, sys.byteorder), 'big'):#x}"]
    words += _replay(state)
    words += _algorithms(state, show_keys)
    words += _encapsulation(state)
    if state.care_of_address is not None:
        words += ["coa", state.care_of_address]
    words += _context(state.security_context, "State")
    words += _offload(state, name)
    words += _flags("flag", state.flags)
    words += _flags("extra-flag", state.extra_flags)
    words += _mark("mark", state.mark)
    if state.output_mark is not None and not state.output_mark.value:
        raise _unsaid("State.output_mark", state.output_mark)
    words += _mark("output-mark", state.output_mark)
    for keyword, field, least in _NUMBERS:
        number = getattr(state, field)
        if number is None:
            continue
        if number < least or (field == "cpu" and number == _ALL):
            raise _unsaid(f"State.{field}", number)
        words += [keyword, f"{number:#x}" if keyword == "if_id" else str(number)]
    if state.iptfs is not None:
        words += _iptfs(state.iptfs)
    words += _lifetime(state.lifetime)
    selector = _selector(state.selector, "State.selector", name)
    if selector:
        words += ["sel", *selector]
    _check(["add", *words])
    return words


def _key(algorithm: Any, owner: str, show_keys: bool) -> str:
    if algorithm.key_bits != 8 * len(algorithm.key):
        raise _unsaid(f"{owner}.key_bits", algorithm.key_bits, "is not a whole number of bytes")
    if not len(algorithm.key):
        return ""
    if len(algorithm.key) > MOST_KEY:
        raise _unsaid(f"{owner}.key", None, f"is longer than {MOST_KEY} bytes, the most that `ip xfrm` takes")
    return f"0x{algorithm.key.reveal().hex()}" if show_keys else HIDDEN_KEY


def _algorithms(state: State, show_keys: bool) -> list[str]:
    words = []
    aead, authentication, encryption, compression = (
        state.aead,
        state.authentication,
        state.encryption,
        state.compression,
    )
    if aead is not None:
        owner = "State.aead"
        words += ["aead", aead.name, _key(aead, owner, show_keys), str(aead.icv_bits)]
    if authentication is not None:
        owner, bits = "State.authentication", authentication.icv_bits
        words += ["auth-trunc" if bits else "auth", authentication.name]
        words += [_key(authentication, owner, show_keys), *([str(bits)] if bits else ())]
    if encryption is not None:
        owner = "State.encryption"
        words += ["enc", encryption.name, _key(encryption, owner, show_keys)]
    if compression is not None:
        if len(compression.key):
            raise _unsaid("State.compression.key", None, "is given, and compression has none")
        words += ["comp", compression.name]
    return words


def _replay(state: State) -> list[str]:
    words = ["replay-window", str(state.replay_window)] if state.replay_window else []
    replay = state.replay
    if replay is None:
        return words
    if replay.bitmap:
        raise _unsaid(
            "State.replay.bitmap", None, "says which packets were received, which no word of `ip xfrm` does"
        )
    if replay.words is not None:
        raise _unsaid("State.replay.words", replay.words)
    for keyword, number in (("replay-seq", replay.input), ("replay-oseq", replay.output)):
        if number & _ALL:
            words += [keyword, f"{number & _ALL:#x}"]
        if number >> 32:
            words += [f"{keyword}-hi", f"{number >> 32:#x}"]
    return words


def _encapsulation(state: State) -> list[str]:
    encapsulation = state.encapsulation
    if encapsulation is None:
        return []
    kind = _member(encapsulation.type, "State.encapsulation.type").replace("non-ike", "nonike")
    original = encapsulation.original_address or ("::" if state.family == 10 else "0.0.0.0")
    return ["encap", kind, str(encapsulation.source_port), str(encapsulation.destination_port), original]


def _offload(state: State, name: InterfaceName) -> list[str]:
    """`offload` tells the direction, too."""
    offload, direction = state.offload, state.direction
    words = [] if direction is None else ["dir", _member(direction, "State.direction")]
    if offload is None:
        return words
    inbound = bool(offload.flags & 2)  # XFRM_OFFLOAD_INBOUND
    if offload.flags & ~6:
        raise _unsaid("State.offload.flags", offload.flags)
    if direction is None or inbound != (direction == 1):  # XFRM_SA_DIR_IN
        rule = "is told together with that of the offload, and differs from it"
        raise _unsaid("State.direction", direction, rule)
    return ["offload", "packet" if offload.flags & 4 else "crypto", "dev", name(offload.interface), *words]


_IPTFS = (
    ("drop-time", "drop_time"),
    ("reorder-window", "reorder_window"),
    ("init-delay", "init_delay"),
    ("max-queue-size", "max_queue_size"),
    ("pkt-size", "packet_size"),
)


def _iptfs(iptfs: Any) -> list[str]:
    words = ["dont-frag"] if iptfs.dont_fragment else []
    for keyword, field in _IPTFS:
        number = getattr(iptfs, field)
        if number is not None:
            words += [keyword, str(number)]
    return words


def _check(words: list[str]) -> None:
    """Whether the grammar takes the words: it knows what goes together, and the kernel has states that no line can
    describe (those that wait for their keys). Raises CommandError."""
    from xfrm_ext.iproute2.command import Options
    from xfrm_ext.iproute2.state import read
    from xfrm_ext.iproute2.words import Words

    read(Words(words), Options(), lambda name: 1, lambda word: b"")

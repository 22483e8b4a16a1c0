# SPDX-License-Identifier: MIT
"""Policies and states as a setkey.conf. What setkey has no word for is an error that names the field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from xfrm_ext.algorithm import AeadAlgorithm, Algorithm, AuthAlgorithm
from xfrm_ext.attribute import SecurityContext
from xfrm_ext.checks import shown
from xfrm_ext.constants import (
    INFINITE,
    Action,
    EncapsulationType,
    Family,
    Level,
    Mode,
    PolicyType,
    Protocol,
    Share,
)
from xfrm_ext.errors import ValidationError
from xfrm_ext.lifetime import NO_LIMITS, LifetimeConfig
from xfrm_ext.policy import Policy
from xfrm_ext.replay import ReplayState
from xfrm_ext.secret import Secret
from xfrm_ext.selector import Selector
from xfrm_ext.setkey import names
from xfrm_ext.setkey.lexer import LEFT_OUT
from xfrm_ext.state import State
from xfrm_ext.template import Template

_FIRST_LINE = "#!/usr/sbin/setkey -kf\n"
"""-k: each direction stands for itself, as in the kernel."""
_DIRECTIONS = {number: name for name, number in names.DIRECTIONS.items()}
_PROTOCOLS = {number: name for name, number in names.PROTOCOLS.items()}
_MODES = {Mode.TRANSPORT: "transport", Mode.TUNNEL: "tunnel"}
_PROTOCOL_WORDS = {0: "any", 1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmp6"}
_WITH_TYPES, _GRE, _ANY_PROTOCOL = (1, 58, 135), 47, 255
_ANY_ALGORITHM = 0xFFFFFFFF


def _written(table: dict[str, str]) -> dict[str, str]:
    """setkey's names by the kernel's: the first of several."""
    return {name: word for word, name in reversed(table.items())}


_ENCRYPTION, _AEAD = _written(names.ENCRYPTION), _written(names.AEAD)
_AUTHENTICATION, _COMPRESSION = _written(names.AUTHENTICATION), _written(names.COMPRESSION)


def to_setkey(
    values: Iterable[Policy | State],
    *,
    show_keys: bool = False,
    sha256_icv_bits: int = names.SHA256_ICV_BITS,
) -> str:
    """The setkey.conf that `parse` reads these policies and states from, and that ``setkey -k -f`` reads too.

    Without ``show_keys`` "<key>" stands for each key, which `parse` refuses. What the kernel counts and numbers
    itself (`current`, `statistics`, `last_used`, `index`) is left out. ``sha256_icv_bits`` as in `parse`.

    Raises ValidationError, with the field's name ("State.mark"), for what setkey can't say.
    """
    lines = [_FIRST_LINE]
    for value in values:
        if isinstance(value, Policy):
            lines.append(_policy(value))
        elif isinstance(value, State):
            lines.append(_state(value, show_keys, sha256_icv_bits))
        else:
            raise ValidationError("values", shown(type(value)), "is neither a Policy nor a State")
    return "".join(lines)


def _refuse(field: str, value: object = None) -> NoReturn:
    raise ValidationError(field, None if value is None else shown(value), "has no place in a setkey.conf")


def _only(value: Any, owner: str, **expected: Any) -> None:
    """Refuses fields that are not what setkey's statements always have."""
    for name, right in expected.items():
        found = getattr(value, name)
        if found not in right if isinstance(right, tuple) and right else found != right:
            _refuse(f"{owner}.{name}", found)


def _context(value: SecurityContext | None, owner: str) -> str:
    if value is None:
        return ""
    label = f"{owner}.security_context"
    if (
        '"' in value.context or not value.doi or value.terminated not in (1, 2)
    ):  # the kernel answers with one NUL more
        _refuse(label, value)
    try:
        value.context.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        _refuse(label)
    return f' -ctx {value.doi} {value.algorithm} "{value.context}"'


# --- policies ---------------------------------------------------------------------------------------------


def _policy(policy: Policy) -> str:
    _only(
        policy,
        "Policy",
        direction=tuple(_DIRECTIONS),
        action=(Action.ALLOW, Action.BLOCK),
        flags=0,
        share=Share.ANY,
        policy_type=PolicyType.MAIN,
        mark=None,
        if_id=(None, 0),
        lifetime=NO_LIMITS,
        offload=None,
        attributes=(),
    )
    words = [
        f"spdadd {_selector(policy.selector)}{_context(policy.security_context, 'Policy')}",
        f"-P {_DIRECTIONS[policy.direction]}",
    ]
    if policy.priority != names.DEFAULT_PRIORITY:
        words.append(f"priority {names.DEFAULT_PRIORITY - policy.priority}")
    if policy.action == Action.BLOCK:
        if policy.templates:
            _refuse("Policy.templates", f"{len(policy.templates)} of a policy that blocks")
        words.append("discard")
    elif not policy.templates:
        words.append("none")
    else:
        family = policy.selector.family
        rules = ["ipsec"]
        for template in policy.templates:
            rules.append(_rule(template, family))
            family = template.family or family
        words.append("\n    ".join(rules))
    return " ".join(words) + ";\n"


def _selector(selector: Selector) -> str:
    _only(selector, "Selector", interface=0, user=0, family=(Family.INET, Family.INET6))
    if selector.protocol == _ANY_PROTOCOL:
        _refuse("Selector.protocol", _ANY_PROTOCOL)
    ports = []
    for name in ("source_port", "destination_port"):
        port, mask = getattr(selector, name), getattr(selector, f"{name}_mask")
        if mask != (0xFFFF if port else 0):  # 0 is any port there
            _refuse(f"Selector.{name}_mask", f"{mask:#x} of port {port}")
        ports.append(port)
    protocol = _PROTOCOL_WORDS.get(selector.protocol, str(selector.protocol))
    source, destination = selector.source, selector.destination
    if selector.protocol in _WITH_TYPES and any(ports):
        for name, number in zip(("source_port", "destination_port"), ports, strict=True):
            if number > 255:
                _refuse(f"Selector.{name}", number)
        protocol += f" {ports[0]},{ports[1]}"
    elif selector.protocol == _GRE and any(ports):
        protocol += " " + ".".join(str(part) for port in ports for part in divmod(port, 256))
    else:
        source, destination = (
            f"{prefix}[{port or 'any'}]" for prefix, port in zip((source, destination), ports, strict=True)
        )
    return f"{source} {destination} {protocol}"


def _rule(template: Template, family: Family) -> str:
    """`family`: of the packets that come to the rule, which one without addresses has."""
    _only(
        template,
        "Template",
        protocol=tuple(_PROTOCOLS),
        mode=tuple(_MODES),
        spi=0,
        share=Share.ANY,
        aalgos=_ANY_ALGORITHM,
        ealgos=_ANY_ALGORITHM,
        calgos=_ANY_ALGORITHM,
    )
    ends = f"{template.source}-{template.destination}"
    if template.mode == Mode.TRANSPORT:
        if template.family not in (family, Family.UNSPEC):
            _refuse("Template.family", template.family)
        for name in ("source", "destination"):
            if getattr(template, name) not in ("0.0.0.0", "::"):
                _refuse(f"Template.{name}", getattr(template, name))
        ends = ""
    level = "require"
    if template.level == Level.USE:
        level = "use"
        if template.reqid:
            _refuse("Template.reqid", f"{template.reqid} of level use")
    elif template.level != Level.REQUIRED:
        _refuse("Template.level", template.level)
    elif template.reqid:
        level = f"unique:{template.reqid}"
    return f"{_PROTOCOLS[template.protocol]}/{_MODES[template.mode]}/{ends}/{level}"


# --- states -----------------------------------------------------------------------------------------------


def _state(state: State, show_keys: bool, sha256_icv_bits: int) -> str:
    _only(
        state,
        "State",
        protocol=tuple(_PROTOCOLS),
        mode=tuple(_MODES),
        family=(Family.INET, Family.INET6),
        selector=(
            Selector(family=Family.UNSPEC),
            Selector(family=state.family),
        ),  # the kernel makes the second of it
        replay=(None, ReplayState()),  # what has been used must not begin anew: not with the key of a counter mode
        flags=0,
        extra_flags=0,
        sequence=0,
        mark=None,
        output_mark=None,
        if_id=(None, 0),
        offload=None,
        direction=None,
        cpu=None,
        nat_keepalive_interval=None,
        mapping_timer_threshold=None,
        traffic_flow_padding=None,
        iptfs=None,
        care_of_address=None,
        replay_threshold=None,
        event_timer_threshold=None,
        lifetime_value=None,
        attributes=(),
    )
    if state.protocol == Protocol.COMP and state.spi > 0xFFFF:
        _refuse("State.spi", state.spi)
    if state.protocol == Protocol.COMP and state.replay_window > 32:
        _refuse("State.replay_window", state.replay_window)
    words = ["add", *_ends(state), f"{state.spi:#x}", "-m", _MODES[state.mode]]
    if state.reqid:
        words += ["-u", str(state.reqid)]
    if state.replay_window:
        words += ["-r", str(state.replay_window)]
    words += _lifetime(state.lifetime)
    return (
        " ".join(words)
        + _context(state.security_context, "State")
        + _algorithms(state, show_keys, sha256_icv_bits)
        + ";\n"
    )


def _ends(state: State) -> list[str]:
    """Addresses and protocol."""
    wrapped = state.encapsulation
    if wrapped is None:
        return [state.source, state.destination, _PROTOCOLS[state.protocol]]
    if state.protocol != Protocol.ESP or wrapped.type != EncapsulationType.ESPINUDP:
        _refuse("State.encapsulation", wrapped)
    if not wrapped.source_port or not wrapped.destination_port:  # setkey takes 4500 for 0
        _refuse("State.encapsulation", wrapped)
    if wrapped.original_address is not None and (":" in wrapped.original_address) != (":" in state.destination):
        _refuse("State.encapsulation", wrapped)
    ends = [
        f"{state.source}[{wrapped.source_port}]",
        f"{state.destination}[{wrapped.destination_port}]",
        "esp-udp",
    ]
    return ends if wrapped.original_address is None else [*ends, wrapped.original_address]


def _lifetime(lifetime: LifetimeConfig) -> list[str]:
    """-lh, -ls, -bh and -bs, where 0 is no limit."""
    words = []
    for flag, name in (("-lh", "hard_add_expires_seconds"), ("-ls", "soft_add_expires_seconds")):
        if getattr(lifetime, name):
            words += [flag, str(getattr(lifetime, name))]
    for flag, name in (("-bh", "hard_byte_limit"), ("-bs", "soft_byte_limit")):
        number = getattr(lifetime, name)
        if not number:
            _refuse(f"LifetimeConfig.{name}", 0)
        if number != INFINITE:
            words += [flag, str(number)]
    _only(
        lifetime,
        "LifetimeConfig",
        soft_packet_limit=INFINITE,
        hard_packet_limit=INFINITE,
        soft_use_expires_seconds=0,
        hard_use_expires_seconds=0,
    )
    return words


def _algorithms(state: State, show_keys: bool, sha256_icv_bits: int) -> str:
    """-E, -A and -C: those that the protocol needs, and no others."""
    protocol = state.protocol
    lines = []
    if protocol == Protocol.ESP and state.encryption is None and state.aead is None:
        raise ValidationError("State.encryption", None, "is needed by setkey's esp")
    if protocol == Protocol.AH and state.authentication is None:
        raise ValidationError("State.authentication", None, "is needed by setkey's ah")
    if protocol == Protocol.COMP and state.compression is None:
        raise ValidationError("State.compression", None, "is needed by setkey's ipcomp")
    if state.encryption is not None:
        word = _word(state.encryption, _ENCRYPTION, "encryption", protocol == Protocol.ESP)
        lines.append(f"-E {word}{_key(state.encryption, 'encryption', show_keys)}")
    if state.aead is not None:
        word = _word(state.aead, _AEAD, "aead", protocol == Protocol.ESP)
        if state.aead.icv_bits != names.AEAD_ICV_BITS:
            _refuse("AeadAlgorithm.icv_bits", state.aead.icv_bits)
        lines.append(f"-E {word}{_key(state.aead, 'aead', show_keys)}")
    if state.authentication is not None:
        word = _word(state.authentication, _AUTHENTICATION, "authentication", protocol != Protocol.COMP)
        right = names.ICV_BITS.get(state.authentication.name, sha256_icv_bits)
        if state.authentication.icv_bits != right:
            _refuse(
                "AuthAlgorithm.icv_bits", f"{state.authentication.icv_bits} of {word}, which has {right} there,"
            )
        lines.append(f"-A {word}{_key(state.authentication, 'authentication', show_keys)}")
    if state.compression is not None:
        word = _word(state.compression, _COMPRESSION, "compression", protocol == Protocol.COMP)
        if len(state.compression.key):
            _refuse("State.compression", state.compression)
        lines.append(f"-C {word}")
    return "".join(f"\n    {line}" for line in lines)


_Any = Algorithm | AeadAlgorithm | AuthAlgorithm


def _word(algorithm: _Any, table: dict[str, str], name: str, fits: bool) -> str:
    if not fits or algorithm.name not in table:
        _refuse(f"State.{name}", algorithm.name)
    return table[algorithm.name]


def _key(algorithm: _Any, name: str, show_keys: bool) -> str:
    """The key's digits, where the algorithm has one, of a length that it wants."""
    if algorithm.name in ("ecb(cipher_null)", "digest_null"):
        if len(algorithm.key):
            _refuse(f"State.{name}", algorithm)
        return ""
    kind: Any = type(algorithm)
    try:  # what parse does
        made = kind(algorithm.name, algorithm.key)
    except ValidationError as error:
        raise ValidationError(f"State.{name}", None, f"has no place in a setkey.conf: {error.rule}") from None
    if made.key_bits != algorithm.key_bits:
        _refuse(f"State.{name}", algorithm)
    return f" 0x{Secret.reveal(algorithm.key).hex()}" if show_keys else f" {LEFT_OUT}"

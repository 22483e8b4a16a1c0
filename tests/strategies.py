# SPDX-License-Identifier: MIT
"""Hypothesis strategies for every value, and for every request."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from hypothesis import strategies as st

from xfrm_ext import (
    Acquire,
    Action,
    AeadAlgorithm,
    Algorithm,
    AsyncEvent,
    Attribute,
    AuthAlgorithm,
    DefaultAction,
    Direction,
    Encapsulation,
    EncapsulationType,
    Family,
    IpTfs,
    KmAddress,
    Level,
    LifetimeConfig,
    LifetimeCurrent,
    Mapping,
    Mark,
    Message,
    Migration,
    Mode,
    Move,
    Offload,
    Policy,
    PolicyDefaults,
    PolicyExpired,
    PolicyFlag,
    PolicyId,
    PolicyType,
    Protocol,
    ReplayState,
    Report,
    Request,
    SadInfo,
    SecurityContext,
    Selector,
    Share,
    SpdInfo,
    SpdThresholds,
    SpiRequest,
    State,
    StateDirection,
    StateExpired,
    StateExtraFlag,
    StateFilter,
    StateFlag,
    StateId,
    StateMigration,
    StateStatistics,
    Template,
)
from xfrm_ext.algorithm import AEAD, ALIASES, AUTHENTICATION, COMPRESSION, ENCRYPTION

U8 = st.integers(0, 2**8 - 1)
U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
INDEX = st.integers(0, 2**31 - 1)

V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)


@st.composite
def prefixes(draw: st.DrawFn, version: int) -> Any:
    """A network, as an object of ipaddress."""
    address = draw(V4 if version == 4 else V6)
    length = draw(st.integers(0, 32 if version == 4 else 128))
    return ipaddress.ip_network(f"{address}/{length}", strict=False)


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    version = draw(st.sampled_from([4, 6]))
    return Selector(
        draw(st.none() | prefixes(version)),
        draw(st.none() | prefixes(version)),
        protocol=draw(U8),
        source_port=draw(U16),
        source_port_mask=draw(st.none() | U16),
        destination_port=draw(U16),
        destination_port_mask=draw(st.none() | U16),
        interface=draw(INDEX),
        user=draw(U32),
        family=socket.AF_INET if version == 4 else socket.AF_INET6,
    )


@st.composite
def templates(draw: st.DrawFn) -> Template:
    addresses = draw(st.sampled_from([V4, V6]))
    return Template(
        draw(st.none() | addresses),
        draw(st.none() | addresses),
        protocol=draw(st.sampled_from(Protocol)),
        spi=draw(U32),
        reqid=draw(U32),
        mode=draw(st.sampled_from(Mode)),
        level=draw(st.sampled_from(Level)),
        share=draw(st.sampled_from(Share)),
        aalgos=draw(U32),
        ealgos=draw(U32),
        calgos=draw(U32),
    )


MARKS = st.builds(Mark, U32, U32)
CONTEXTS = st.builds(
    SecurityContext,
    st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), max_size=60),
    U8,
    U8,
    st.booleans(),
)
LIFETIMES = st.builds(LifetimeConfig, **dict.fromkeys(LifetimeConfig.__dataclass_fields__, U64))
CURRENTS = st.builds(LifetimeCurrent, **dict.fromkeys(LifetimeCurrent.__dataclass_fields__, U64))
# Types that no policy has a field for: what is known but malformed is for the fuzz tests.
ATTRIBUTES = st.builds(Attribute, st.sampled_from([4, 33, 60, 0x3FFF]), st.binary(max_size=40))
# The same for all other values.
ATTRIBUTES_OF_OTHERS = st.builds(Attribute, st.sampled_from([0, 42, 60, 0x3FFF]), st.binary(max_size=20))
# Types that have a field, some of them with payloads that fit it, and any other type.
ANY_ATTRIBUTES = st.builds(
    Attribute,
    st.sampled_from([0, 5, 8, 16, 21, 28, 31, 60, 0x8005, 0x8015, 0x401F, 0xC008]) | U16,
    st.binary(max_size=80)
    | st.binary(min_size=64, max_size=64)
    | st.sampled_from(
        [
            bytes(4),
            bytes(6),
            bytes(8),
            b"\xff" * 8,
            b"\1\0\0\0",
            b"\1\0\0\0\0\0",
            struct.pack("=HHBBH", 12, 8, 1, 1, 4) + b"a\0b\0",
            struct.pack("=HHBBH", 8, 8, 1, 1, 0),
        ]
    ),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    direction = draw(st.sampled_from(Direction))
    return Policy(
        draw(selectors()),
        direction=direction,
        action=draw(st.sampled_from(Action)),
        priority=draw(U32),
        index=draw(st.just(0) | INDEX.map(lambda number: number << 3 & 0xFFFFFFFF | direction)),
        templates=draw(st.lists(templates(), max_size=6)),
        flags=PolicyFlag(draw(st.integers(0, 7))),
        share=draw(st.sampled_from(Share)),
        policy_type=draw(st.sampled_from(PolicyType)),
        mark=draw(st.none() | MARKS),
        if_id=draw(st.none() | U32),
        lifetime=draw(st.none() | LIFETIMES),
        current=draw(st.none() | CURRENTS),
        security_context=draw(st.none() | CONTEXTS),
        offload=draw(st.none() | st.builds(Offload, INDEX, st.sampled_from([0, 1, 4, 7]))),
        attributes=draw(st.lists(ATTRIBUTES, max_size=3)),
    )


@st.composite
def policy_ids(draw: st.DrawFn) -> PolicyId:
    direction = draw(st.sampled_from(Direction))
    by_index = draw(st.booleans())
    return PolicyId(
        None if by_index else draw(selectors()),
        direction=direction,
        index=draw(st.integers(1, 2**28)) << 3 & 0xFFFFFFF8 | direction if by_index else 0,
        policy_type=draw(st.sampled_from(PolicyType)),
        mark=draw(st.none() | MARKS.filter(lambda mark: mark.mask != 0)),
        if_id=draw(st.none() | U32),
        security_context=draw(st.none() | CONTEXTS),
    )


# --- states -----------------------------------------------------------------------------------------------

ADDRESSES = V4.map(str) | V6.map(str)
EXTRA = st.lists(ATTRIBUTES_OF_OTHERS, max_size=2).map(tuple)


def _of(draw: st.DrawFn, family: int) -> Any:
    """An address of a family."""
    return draw(V4 if family == Family.INET else V6)


@st.composite
def _algorithms(draw: st.DrawFn, kind: type, table: Any, *more: Any) -> Any:
    """One that is known, with a key and a check value that it may have; one that is not; or any lengths."""
    names = sorted(table) + [alias for alias, name in ALIASES.items() if name in table]
    name = draw(st.sampled_from(names))
    info = table[ALIASES.get(name, name)]
    how = draw(st.integers(0, 3))
    if how == 0:
        name = draw(
            st.text("abcxyz()0123456789-,", min_size=1, max_size=63).filter(lambda text: text not in ALIASES)
        )
    if how <= 1:
        key, options = draw(st.binary(max_size=70)), [draw(value) for value in more]
        return kind(name, key, *options, strict=False)
    bits = draw(st.sampled_from(info.key_bits))
    key = draw(st.binary(min_size=bits // 8, max_size=bits // 8))
    return kind(name, key, *[draw(st.sampled_from(info.icv_bits)) for _ in more])


ENCRYPTIONS = _algorithms(Algorithm, ENCRYPTION)
COMPRESSIONS = _algorithms(Algorithm, COMPRESSION)
AUTHENTICATIONS = _algorithms(AuthAlgorithm, AUTHENTICATION, U32)
AEADS = _algorithms(AeadAlgorithm, AEAD, U32)


@st.composite
def encapsulations(draw: st.DrawFn, family: int = Family.INET) -> Encapsulation:
    # An original address of zeros is none, and one of IPv6 whose last 12 bytes are zeros could be one of IPv4.
    original = _of(draw, family) if draw(st.booleans()) else None
    if original is not None and not int(original):
        original = None
    return Encapsulation(draw(st.sampled_from(EncapsulationType)), draw(U16), draw(U16), original)


@st.composite
def replay_states(draw: st.DrawFn, window: int | None = None, *, extended: bool = True) -> ReplayState:
    """One that fits a state with a window, in the long form or the short one."""
    if not extended:
        return ReplayState(draw(U32), draw(U32), draw(U32))
    window = draw(st.integers(0, 4096)) if window is None else window
    usual = (window + 31) // 32
    words = draw(st.none() | st.integers(usual, 128).filter(lambda number: number != usual))
    bits = 32 * (usual if words is None else words)
    return ReplayState(draw(U64), draw(U64), draw(st.integers(0, 2**bits - 1)), words)


IPTFS = st.builds(
    IpTfs,
    drop_time=st.none() | U32,
    reorder_window=st.none() | U16,
    dont_fragment=st.booleans(),
    init_delay=st.none() | U32,
    max_queue_size=st.none() | U32,
    packet_size=st.none() | U32,
).filter(lambda value: value != IpTfs())
STATISTICS = st.builds(StateStatistics, replay_window=U32, replay=U32, integrity_failed=U32)
OFFLOADS = st.builds(Offload, INDEX, st.sampled_from([0, 1, 2, 4, 7, 255]))
OPTIONAL_U32 = st.none() | U32
REAL_MARKS = MARKS.filter(lambda mark: mark.mask != 0)


@st.composite
def states(draw: st.DrawFn) -> State:
    family = draw(st.sampled_from([Family.INET, Family.INET6]))
    aead = draw(st.none() | AEADS)
    flags = StateFlag(draw(U8))
    window = draw(st.integers(0, 64) | st.integers(0, 4096))
    extended = bool(flags & StateFlag.ESN) or window > 32
    replay = draw(st.none() | replay_states(window, extended=extended))
    if draw(st.integers(0, 9)) == 0:
        replay = draw(replay_states(window))  # in the long form, as it was asked for or not
        if not extended and replay.words is None:
            replay = ReplayState(replay.output, replay.input, replay.bitmap, (window + 31) // 32)
    return State(
        draw(st.none() | st.just(_of(draw, family))),
        draw(st.none() | st.just(_of(draw, family))),
        spi=draw(U32),
        protocol=draw(st.sampled_from(Protocol)),
        mode=draw(st.sampled_from(Mode)),
        reqid=draw(U32),
        selector=draw(st.none() | selectors()),
        authentication=None if aead else draw(st.none() | AUTHENTICATIONS),
        encryption=None if aead else draw(st.none() | ENCRYPTIONS),
        aead=aead,
        compression=draw(st.none() | COMPRESSIONS),
        encapsulation=draw(st.none() | encapsulations(family)),
        replay_window=window,
        replay=replay,
        flags=flags,
        extra_flags=StateExtraFlag(draw(U32)),
        lifetime=draw(st.none() | LIFETIMES),
        current=draw(st.none() | CURRENTS),
        statistics=draw(st.none() | STATISTICS),
        sequence=draw(U32),
        mark=draw(st.none() | MARKS),
        output_mark=draw(st.none() | MARKS),
        if_id=draw(OPTIONAL_U32),
        offload=draw(st.none() | OFFLOADS),
        direction=draw(st.none() | st.sampled_from(StateDirection)),
        cpu=draw(OPTIONAL_U32),
        nat_keepalive_interval=draw(OPTIONAL_U32),
        mapping_timer_threshold=draw(OPTIONAL_U32),
        traffic_flow_padding=draw(OPTIONAL_U32),
        iptfs=draw(st.none() | IPTFS),
        security_context=draw(st.none() | CONTEXTS),
        care_of_address=draw(st.none() | st.just(_of(draw, family))),
        replay_threshold=draw(OPTIONAL_U32),
        event_timer_threshold=draw(OPTIONAL_U32),
        last_used=draw(st.none() | U64),
        lifetime_value=draw(st.none() | CURRENTS),
        family=family,
        attributes=draw(EXTRA),
    )


@st.composite
def state_ids(draw: st.DrawFn, *, source: bool = True, bare: bool = False) -> StateId:
    """`bare`: with nothing that only requests about a state itself can carry."""
    family = draw(st.sampled_from([Family.INET, Family.INET6]))
    from_address = _of(draw, family) if source and draw(st.booleans()) else None
    if bare and from_address is not None and not int(from_address):
        from_address = None
    return StateId(
        _of(draw, family),
        draw(U32),
        draw(st.sampled_from(Protocol)),
        source=from_address,
        mark=draw(st.none() | MARKS),
        attributes=() if bare else draw(EXTRA),
    )


@st.composite
def state_filters(draw: st.DrawFn) -> StateFilter:
    version = draw(st.sampled_from([4, 6]))
    prefix = prefixes(version).filter(lambda network: network.prefixlen or int(network.network_address))
    return StateFilter(
        draw(st.none() | st.sampled_from(Protocol)),
        draw(st.none() | prefix),
        draw(st.none() | prefix),
        draw(st.none() | st.just(Family.INET if version == 4 else Family.INET6)),
        draw(EXTRA),
    )


@st.composite
def spi_requests(draw: st.DrawFn) -> SpiRequest:
    first, last = sorted((draw(U32), draw(U32)))
    return SpiRequest(draw(states()), first, last)


STATES_EXPIRED = st.builds(StateExpired, states(), st.booleans())
POLICIES_EXPIRED = st.builds(PolicyExpired, policies(), st.booleans())


@st.composite
def acquires(draw: st.DrawFn) -> Acquire:
    policy, protocol = draw(policies()), draw(st.sampled_from(Protocol))
    family = policy.selector.family
    for template in policy.templates:
        if template.protocol in (protocol, Protocol.IPSEC_ANY):
            family = template.family
            break
    return Acquire(
        source=str(_of(draw, family)),
        destination=str(_of(draw, family)),
        protocol=protocol,
        spi=draw(U32),
        selector=draw(selectors()),
        policy=policy,
        sequence=draw(U32),
        aalgos=draw(U32),
        ealgos=draw(U32),
        calgos=draw(U32),
        cpu=draw(OPTIONAL_U32),
    )


@st.composite
def async_events(draw: st.DrawFn) -> AsyncEvent:
    window = draw(st.none() | st.integers(0, 4096))
    if window is None:
        replay = draw(st.none() | replay_states(extended=False))
    else:
        replay = draw(st.none() | replay_states(window))
    return AsyncEvent(
        draw(state_ids(bare=True)),
        reqid=draw(U32),
        flags=draw(U32),
        replay=replay,
        replay_window=window,
        lifetime=draw(st.none() | CURRENTS),
        replay_threshold=draw(OPTIONAL_U32),
        event_timer_threshold=draw(OPTIONAL_U32),
        direction=draw(st.none() | st.sampled_from(StateDirection)),
        if_id=draw(OPTIONAL_U32),
        cpu=draw(OPTIONAL_U32),
        attributes=draw(EXTRA),
    )


@st.composite
def reports(draw: st.DrawFn) -> Report:
    selector = draw(selectors())
    care_of = str(_of(draw, selector.family)) if draw(st.booleans()) else None
    return Report(draw(st.sampled_from(Protocol)), selector, care_of, draw(EXTRA))


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    named = draw(state_ids(source=False, bare=True))
    old, new = _of(draw, named.family), _of(draw, named.family)
    return Mapping(named, draw(U32), str(old), draw(U16), str(new), draw(U16), draw(EXTRA))


@st.composite
def moves(draw: st.DrawFn) -> Move:
    old, new = (draw(st.sampled_from([Family.INET, Family.INET6])) for _ in range(2))
    return Move(
        _of(draw, old),
        _of(draw, old),
        _of(draw, new),
        _of(draw, new),
        protocol=draw(st.sampled_from(Protocol)),
        mode=draw(st.sampled_from(Mode)),
        reqid=draw(U32),
        old_family=old,
        new_family=new,
    )


@st.composite
def km_addresses(draw: st.DrawFn) -> KmAddress:
    family = draw(st.sampled_from([Family.INET, Family.INET6]))
    return KmAddress(_of(draw, family), _of(draw, family), reserved=draw(U32))


@st.composite
def migrations(draw: st.DrawFn) -> Migration:
    several = draw(st.lists(moves(), max_size=6))
    family = several[0].new_family if several else Family.INET
    return Migration(
        draw(selectors()),
        draw(st.sampled_from(Direction)),
        several,
        policy_type=draw(st.sampled_from(PolicyType)),
        key_managers=draw(st.none() | km_addresses()),
        encapsulation=draw(st.none() | encapsulations(family)),
        if_id=draw(OPTIONAL_U32),
        offload=draw(st.none() | OFFLOADS),
        index=draw(U32),
        attributes=draw(EXTRA),
    )


@st.composite
def state_migrations(draw: st.DrawFn) -> StateMigration:
    family = draw(st.sampled_from([Family.INET, Family.INET6]))
    return StateMigration(
        draw(state_ids(source=False, bare=True)),
        _of(draw, family),
        _of(draw, family),
        reqid=draw(U32),
        selector=draw(st.none() | selectors()),
        flags=draw(U32),
        encapsulation=draw(st.none() | encapsulations(family)),
        if_id=draw(OPTIONAL_U32),
        offload=draw(st.none() | OFFLOADS),
        attributes=draw(EXTRA),
    )


SAD_INFOS = st.builds(SadInfo, count=U32, hash_buckets=U32, hash_limit=U32)
SPD_INFOS = st.builds(
    SpdInfo, **{name: U8 if name.endswith("_bits") else U32 for name in SpdInfo.__dataclass_fields__}
)
SPD_THRESHOLDS = st.builds(
    SpdThresholds,
    st.none() | st.tuples(st.integers(0, 32), st.integers(0, 32)),
    st.none() | st.tuples(st.integers(0, 128), st.integers(0, 128)),
)
POLICY_DEFAULTS = st.builds(PolicyDefaults, *[st.sampled_from(DefaultAction)] * 3)

BODIES: dict[Message, st.SearchStrategy[Any]] = {
    Message.NEWSA: states(),
    Message.UPDSA: states(),
    Message.GETSA: state_ids() | state_filters(),
    Message.DELSA: state_ids(),
    Message.ALLOCSPI: spi_requests(),
    Message.FLUSHSA: st.none() | st.sampled_from(Protocol),
    Message.EXPIRE: STATES_EXPIRED,
    Message.NEWPOLICY: policies(),
    Message.UPDPOLICY: policies(),
    Message.GETPOLICY: policy_ids() | st.none(),
    Message.DELPOLICY: policy_ids(),
    Message.FLUSHPOLICY: st.none() | st.sampled_from(PolicyType),
    Message.POLEXPIRE: POLICIES_EXPIRED,
    Message.ACQUIRE: acquires(),
    Message.NEWAE: async_events(),
    Message.GETAE: async_events(),
    Message.REPORT: reports(),
    Message.MAPPING: mappings(),
    Message.MIGRATE: migrations(),
    Message.MIGRATE_STATE: state_migrations(),
    Message.GETSADINFO: st.none(),
    Message.NEWSADINFO: SAD_INFOS,
    Message.GETSPDINFO: st.none(),
    Message.NEWSPDINFO: SPD_THRESHOLDS | SPD_INFOS,
    Message.SETDEFAULT: POLICY_DEFAULTS,
    Message.GETDEFAULT: st.none() | POLICY_DEFAULTS,
}
"""What each message may be about."""


def requests(*messages: Message) -> st.SearchStrategy[Request]:
    """Any request, or those of some messages."""
    return st.sampled_from(messages or tuple(BODIES)).flatmap(
        lambda message: st.builds(Request, st.just(message), BODIES[message])
    )

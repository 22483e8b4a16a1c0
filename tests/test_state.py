# SPDX-License-Identifier: MIT
"""States to the byte, against messages put together here by hand: sizes, offsets, byte orders, families, and what
the kernel takes in one way only."""

from __future__ import annotations

import struct

import pytest
from by_hand import (
    ADDRESS_FILTER,
    ALG_AEAD,
    ALG_AUTH,
    ALG_AUTH_TRUNC,
    ALG_COMP,
    ALG_CRYPT,
    COADDR,
    CODECS,
    ENCAP,
    ETIMER_THRESH,
    HERE,
    HERE6,
    ID,
    IF_ID,
    IPTFS_DONT_FRAG,
    IPTFS_DROP_TIME,
    IPTFS_INIT_DELAY,
    IPTFS_MAX_QSIZE,
    IPTFS_PKT_SIZE,
    IPTFS_REORDER_WINDOW,
    KEY,
    LASTUSED,
    LTIME_VAL,
    MARK,
    MTIMER_THRESH,
    NAT_KEEPALIVE_INTERVAL,
    OFFLOAD_DEV,
    PAD,
    POLICY_TYPE,
    PROTO,
    REPLAY_ESN_VAL,
    REPLAY_THRESH,
    REPLAY_VAL,
    SA_DIR,
    SA_EXTRA_FLAGS,
    SA_PCPU,
    SEC_CTX,
    SET_MARK,
    SET_MARK_MASK,
    SRCADDR,
    TFCPAD,
    THERE,
    THERE6,
    addr,
    algo,
    attribute,
    attributes_of,
    both_ways,
    esn,
    header,
    message,
    named,
    selector,
    state,
    userpolicy,
    usersa,
)

from xfrm_ext import (
    INFINITE,
    AeadAlgorithm,
    Algorithm,
    Attribute,
    AuthAlgorithm,
    Encapsulation,
    Family,
    IpTfs,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Message,
    Offload,
    Policy,
    ProtocolError,
    ReplayState,
    Request,
    SecurityContext,
    Selector,
    Session,
    SpiRequest,
    State,
    StateFilter,
    StateId,
    StateStatistics,
    ValidationError,
)
from xfrm_ext.codec import native, pure, select
from xfrm_ext.codec.generic import Codec
from xfrm_ext.testing import FakeTransport

# --- sizes, offsets, byte orders --------------------------------------------------------------------------


def test_a_state_of_defaults() -> None:
    both_ways(state(), message(0x10, usersa()))


def test_every_number_of_the_structure() -> None:
    limits = struct.pack("=8Q", *range(0x0101010101010101, 0x0101010101010109))
    used = struct.pack("=4Q", 5, 6, 7, 8)
    value = state(
        protocol="ah",
        mode="tunnel",
        reqid=0x0A0B0C0D,
        sequence=0x01020304,
        replay_window=17,
        flags=["noecn", "align4"],
        lifetime=LifetimeConfig(
            soft_byte_limit=0x0101010101010101,
            hard_byte_limit=0x0101010101010102,
            soft_packet_limit=0x0101010101010103,
            hard_packet_limit=0x0101010101010104,
            soft_add_expires_seconds=0x0101010101010105,
            hard_add_expires_seconds=0x0101010101010106,
            soft_use_expires_seconds=0x0101010101010107,
            hard_use_expires_seconds=0x0101010101010108,
        ),
        current=LifetimeCurrent(bytes=5, packets=6, add_time=7, use_time=8),
        statistics=StateStatistics(replay_window=1, replay=2, integrity_failed=3),
    )
    fixed = usersa(
        protocol=51,
        mode=1,
        reqid=0x0A0B0C0D,
        seq=0x01020304,
        window=17,
        flags=1 | 64,
        limits=limits,
        used=used,
        statistics=(1, 2, 3),
    )
    both_ways(value, message(0x10, fixed))


def test_offsets() -> None:
    """Where single fields stand in struct xfrm_usersa_info."""
    plain = native.encode(state())
    for offset, changed in (
        (56, state(destination="198.51.100.3")),
        (72, State(HERE, THERE, spi=0xFF020304)),
        (76, state(protocol="ah")),
        (80, state(source="193.0.2.1")),
        (96, state(lifetime=LifetimeConfig(soft_byte_limit=INFINITE - 1))),
        (160, state(current=LifetimeCurrent(bytes=1))),
        (192, state(statistics=StateStatistics(replay_window=1))),
        (204, state(sequence=1)),
        (208, state(reqid=1)),
        (214, state(mode="tunnel")),
        (215, state(replay_window=31)),
        (216, state(flags="noecn")),
    ):
        found = native.encode(changed)
        differing = {place - 16 for place in range(len(plain)) if plain[place] != found[place]}
        assert min(differing) == offset + (3 if offset == 56 else 0), offset
        assert len(differing) <= 8


def test_the_spi_is_in_network_order_and_the_rest_is_not() -> None:
    data = native.encode(State(HERE, THERE, spi=0x100, reqid=0x100))
    assert data[16 + 72 : 16 + 76] == b"\0\0\1\0"
    assert data[16 + 208 : 16 + 212] == struct.pack("=I", 0x100)


def test_padding_is_zero() -> None:
    for codec in CODECS:
        data = codec.encode(state())[16:]
        for start, end in ((77, 80), (217, 224), (45, 48)):
            assert not any(data[start:end])


# --- families ---------------------------------------------------------------------------------------------


def test_ipv6() -> None:
    value = state(source=HERE6, destination=THERE6)
    both_ways(value, message(0x10, usersa(source=HERE6, destination=THERE6, family=10)))
    assert value.family == Family.INET6


def test_ipv4_is_not_mapped() -> None:
    data = native.encode(state())
    assert data[16 + 56 : 16 + 72] == bytes([198, 51, 100, 2]) + bytes(12)
    mapped = State("::ffff:192.0.2.1", "::ffff:198.51.100.2", spi=1)
    assert mapped.family == Family.INET6
    assert native.encode(mapped)[16 + 56 : 16 + 72] == bytes(10) + b"\xff\xff" + bytes([198, 51, 100, 2])
    assert native.decode(native.encode(mapped)) == mapped


def test_ipv4_inside_of_ipv6() -> None:
    """The state's family is that of the outer addresses, the selector's that of the packets."""
    inner = Selector("10.0.0.0/8", "10.1.0.0/16")
    value = state(source=HERE6, destination=THERE6, mode="tunnel", selector=inner)
    fixed = usersa(
        source=HERE6,
        destination=THERE6,
        family=10,
        mode=1,
        inner=selector(2, "10.0.0.0", "10.1.0.0", (8, 16)),
    )
    both_ways(value, message(0x10, fixed))
    assert (value.family, value.selector.family) == (Family.INET6, Family.INET)


def test_ipv6_inside_of_ipv4() -> None:
    value = state(mode="tunnel", selector=Selector("2001:db8:1::/48", "2001:db8:2::/48"))
    inner = selector(10, "2001:db8:1::", "2001:db8:2::", (48, 48))
    both_ways(value, message(0x10, usersa(mode=1, inner=inner)))


def test_a_selector_that_is_not_given_has_no_family() -> None:
    """The kernel puts that of the state there."""
    value = state()
    assert value.selector.family == Family.UNSPEC
    assert native.encode(value)[16 + 40 : 16 + 42] == bytes(2)
    both_ways(state(flags="af_unspec", mode="tunnel"), message(0x10, usersa(mode=1, flags=32)))


@pytest.mark.parametrize("text", ["::", "::1", "2001:db8::", "::ffff:1.2.3.4"])
def test_addresses_are_never_guessed_from_zeros(text: str) -> None:
    value = State(text, "::2", spi=1)
    for codec in CODECS:
        assert codec.decode(codec.encode(value)).source == text  # type: ignore[union-attr]


def test_any_address() -> None:
    assert State(None, THERE, spi=1).source == "0.0.0.0"
    assert State(None, THERE6, spi=1).source == "::"
    assert State(HERE6, None, spi=1).destination == "::"
    assert State(None, None, spi=1, family="inet6").destination == "::"


def test_families_that_do_not_go_together() -> None:
    for options in (
        {"source": HERE, "destination": THERE6},
        {"care_of_address": HERE6},
        {"source": HERE6, "destination": THERE6, "care_of_address": HERE},
        {
            "source": HERE6,
            "destination": THERE6,
            "encapsulation": Encapsulation(original_address=HERE),
        },
    ):
        with pytest.raises(ValidationError, match="another family"):
            state(**options)


def test_host_bits_of_a_selector_are_refused_and_read() -> None:
    with pytest.raises(ValidationError, match="host bits"):
        state(selector=Selector("10.0.0.1/8"))
    fixed = usersa(inner=selector(2, "10.0.0.1", "", (8, 0)))
    for codec in CODECS:
        assert codec.decode(message(0x10, fixed)).selector.source == "10.0.0.1/8"  # type: ignore[union-attr]


# --- algorithms -------------------------------------------------------------------------------------------


def test_lengths_of_keys_are_bits_and_names_have_64_bytes() -> None:
    value = state(encryption=Algorithm("cbc(aes)", KEY[:16]), authentication=AuthAlgorithm("hmac(sha1)", KEY[:20]))
    expected = message(
        0x10,
        usersa(),
        attribute(ALG_AUTH_TRUNC, algo("hmac(sha1)", KEY[:20], 96)),
        attribute(ALG_CRYPT, algo("cbc(aes)", KEY[:16])),
    )
    both_ways(value, expected)
    assert struct.unpack_from("=I", dict(attributes_of(value))[ALG_CRYPT], 64) == (128,)


def test_sha256_gets_the_check_value_of_its_rfc() -> None:
    """XFRMA_ALG_AUTH would have the kernel cut it to 96 bits."""
    found = dict(attributes_of(state(authentication=AuthAlgorithm("hmac(sha256)", KEY[:32]))))
    assert found == {ALG_AUTH_TRUNC: algo("hmac(sha256)", KEY[:32], 128)}


def test_without_a_length_of_the_check_value_the_kernel_picks_it() -> None:
    value = state(authentication=AuthAlgorithm("hmac(sha256)", KEY[:32], 0))
    both_ways(value, message(0x10, usersa(), attribute(ALG_AUTH, algo("hmac(sha256)", KEY[:32]))))


@pytest.mark.parametrize("truncated_first", [True, False])
def test_a_dump_tells_of_authentication_twice(truncated_first: bool) -> None:
    """And only one of the two has the length of the check value."""
    pair = [
        attribute(ALG_AUTH_TRUNC, algo("hmac(sha256)", KEY[:32], 128)),
        attribute(ALG_AUTH, algo("hmac(sha256)", KEY[:32])),
    ]
    told = message(0x10, usersa(), *(pair if truncated_first else pair[::-1]))
    for codec in CODECS:
        found = codec.decode(told)
        assert isinstance(found, State)
        assert found.authentication == AuthAlgorithm("hmac(sha256)", KEY[:32], 128)
        assert found == state(authentication=AuthAlgorithm("hmac(sha256)", KEY[:32]))
        assert found.attributes == ()


def test_the_key_of_an_aead_ends_with_the_salt() -> None:
    both_ways(
        state(aead=AeadAlgorithm("rfc4106(gcm(aes))", KEY[:20])),
        message(0x10, usersa(), attribute(ALG_AEAD, algo("rfc4106(gcm(aes))", KEY[:20], 128))),
    )
    for name, bits in (
        ("rfc4106(gcm(aes))", 160),
        ("rfc4106(gcm(aes))", 288),
        ("rfc4309(ccm(aes))", 152),
        ("rfc7539esp(chacha20,poly1305)", 288),
    ):
        assert AeadAlgorithm(name, bytes(bits // 8)).key_bits == bits
        with pytest.raises(ValidationError, match=r"of which the last (24|32) are the salt"):
            AeadAlgorithm(name, bytes(bits // 8 - 3))
    assert Algorithm("rfc3686(ctr(aes))", bytes(20)).key_bits == 160


def test_null_encryption_has_no_key() -> None:
    value = state(
        encryption=Algorithm("cipher_null"), authentication=AuthAlgorithm("md5", KEY[:16]), compression=None
    )
    found = dict(attributes_of(value))
    assert found[ALG_CRYPT] == algo("ecb(cipher_null)", b"")


def test_compression() -> None:
    value = state(protocol="comp", compression=Algorithm("deflate"))
    both_ways(value, message(0x10, usersa(protocol=108, window=0), attribute(ALG_COMP, algo("deflate", b""))))


def test_a_key_that_does_not_fill_its_last_byte() -> None:
    payload = b"odd".ljust(64, b"\0") + struct.pack("=I", 13) + b"\1\2"
    told = message(0x10, usersa(), attribute(ALG_CRYPT, payload))
    for codec in CODECS:
        found = codec.decode(told)
        assert isinstance(found, State)
        assert found.encryption is not None
        assert (found.encryption.key_bits, found.encryption.key.reveal()) == (13, b"\1\2")
        assert codec.encode(found) == told


def test_a_key_that_does_not_fit_its_length_stays_as_it_is() -> None:
    payload = algo("cbc(aes)", KEY[:16]) + b"\0\0\0\0"
    told = message(0x10, usersa(), attribute(ALG_CRYPT, payload))
    for codec in CODECS:
        found = codec.decode(told)
        assert isinstance(found, State)
        assert found.encryption is None
        assert found.attributes == (Attribute(ALG_CRYPT, payload),)
        assert codec.encode(found) == told


# --- replay -----------------------------------------------------------------------------------------------


def test_windows() -> None:
    for window in (0, 1, 31, 32):
        both_ways(state(replay_window=window), message(0x10, usersa(window=window)))


@pytest.mark.parametrize(("window", "words"), [(33, 2), (64, 2), (65, 3), (256, 8), (2048, 64), (4096, 128)])
def test_long_windows_have_a_form_of_their_own(window: int, words: int) -> None:
    """The byte in the structure would cut them."""
    expected = message(
        0x10, usersa(window=0), attribute(REPLAY_ESN_VAL, esn(words, 0, 0, window, bytes(4 * words)))
    )
    for codec in CODECS:
        assert codec.encode(state(replay_window=window)) == expected
        assert codec.decode(expected).replay_window == window  # type: ignore[union-attr]
        # A bitmap that is left out stands for zeros.
        short = message(0x10, usersa(window=0), attribute(REPLAY_ESN_VAL, esn(words, 0, 0, window, b"")))
        assert codec.decode(short) == state(replay_window=window)


def test_extended_sequence_numbers() -> None:
    """Whatever the window: the kernel wants the long form for them."""
    both_ways(
        state(flags="esn", replay=ReplayState()),
        message(0x10, usersa(window=0, flags=128), attribute(REPLAY_ESN_VAL, esn(1, 0, 0, 32, bytes(4)))),
    )
    both_ways(
        state(flags="esn", replay=ReplayState(0x123456789, 0xABCDEF0123456789, 0x80000001)),
        message(
            0x10,
            usersa(window=0, flags=128),
            attribute(
                REPLAY_ESN_VAL,
                esn(1, 0x123456789, 0xABCDEF0123456789, 32, struct.pack("=I", 0x80000001)),
            ),
        ),
    )


def test_words_of_the_bitmap_are_in_host_order_the_lowest_first() -> None:
    value = state(replay_window=64, replay=ReplayState(1, 2, 0x1111111122222222))
    bitmap = struct.pack("=II", 0x22222222, 0x11111111)
    both_ways(value, message(0x10, usersa(window=0), attribute(REPLAY_ESN_VAL, esn(2, 1, 2, 64, bitmap))))


def test_more_words_than_the_window_needs() -> None:
    value = state(replay_window=32, replay=ReplayState(1, 2, 3, words=4))
    bitmap = struct.pack("=IIII", 3, 0, 0, 0)
    both_ways(value, message(0x10, usersa(window=0), attribute(REPLAY_ESN_VAL, esn(4, 1, 2, 32, bitmap))))


def test_a_window_longer_than_kernels_have_stays_as_it_is() -> None:
    payload = esn(129, 1, 2, 32, bytes(4 * 129))
    told = message(0x10, usersa(window=0, flags=128), attribute(REPLAY_ESN_VAL, payload))
    for codec in CODECS:
        found = codec.decode(told)
        assert isinstance(found, State)
        assert found.attributes == (Attribute(REPLAY_ESN_VAL, payload),)
        again = codec.decode(codec.encode(found))
        assert again == found
        assert again.attributes == found.attributes  # type: ignore[union-attr]


def test_short_replay_states() -> None:
    value = state(replay=ReplayState(0xFFFFFFFF, 5, 0x80000000))
    both_ways(value, message(0x10, usersa(), attribute(REPLAY_VAL, struct.pack("=III", 0xFFFFFFFF, 5, 0x80000000))))
    for replay in (ReplayState(output=2**32), ReplayState(input=2**32), ReplayState(bitmap=2**32)):
        with pytest.raises(ValidationError, match="does not fit into 32 bits"):
            state(replay=replay)


def test_the_window_of_an_outbound_state_is_0() -> None:
    """The kernel refuses another one with XFRMA_SA_DIR out; and wants one of 0 there with ESN too."""
    out, into = state(direction="out"), state(direction="in")
    assert (out.replay_window, into.replay_window, state().replay_window) == (0, 32, 32)
    both_ways(out, message(0x10, usersa(window=0), attribute(SA_DIR, b"\2")))
    both_ways(into, message(0x10, usersa(), attribute(SA_DIR, b"\1")))
    extended = state(direction="out", flags="esn", replay=ReplayState())
    both_ways(
        extended,
        message(
            0x10,
            usersa(window=0, flags=128),
            attribute(REPLAY_ESN_VAL, esn(0, 0, 0, 0, b"")),
            attribute(SA_DIR, b"\2"),
        ),
    )
    assert [state(protocol=name).replay_window for name in ("ah", "comp", "route2", "hao")] == [32, 0, 0, 0]


# --- marks, if_id, lifetimes ------------------------------------------------------------------------------


def test_marks_are_masked_as_the_kernel_stores_them() -> None:
    value = state(mark=Mark(0xFF, 0x0F))
    both_ways(value, message(0x10, usersa(), attribute(MARK, struct.pack("=II", 0x0F, 0x0F))))
    assert value.id.mark == Mark(0x0F, 0x0F)
    assert native.encode(state(mark=Mark(0, 0))) == native.encode(state())
    told = message(0x10, usersa(), attribute(MARK, struct.pack("=II", 0xFF, 0x0F)))
    assert native.decode(told) == pure.decode(told) == value


def test_output_marks() -> None:
    """Without a mask, all of the packet's mark is replaced."""
    both_ways(state(output_mark=Mark(5)), message(0x10, usersa(), attribute(SET_MARK, struct.pack("=I", 5))))
    both_ways(
        state(output_mark=Mark(5, 0xFF)),
        message(
            0x10,
            usersa(),
            attribute(SET_MARK, struct.pack("=I", 5)),
            attribute(SET_MARK_MASK, struct.pack("=I", 0xFF)),
        ),
    )
    with_mask = message(
        0x10,
        usersa(),
        attribute(SET_MARK, struct.pack("=I", 5)),
        attribute(SET_MARK_MASK, b"\xff" * 4),
    )
    assert native.decode(with_mask) == state(output_mark=Mark(5))


def test_a_mask_without_an_output_mark_stays_as_it_is() -> None:
    told = message(0x10, usersa(), attribute(SET_MARK_MASK, struct.pack("=I", 0xFF)))
    for codec in CODECS:
        found = codec.decode(told)
        assert isinstance(found, State)
        assert found.output_mark is None
        assert found.attributes == (Attribute(SET_MARK_MASK, struct.pack("=I", 0xFF)),)
        assert codec.encode(found) == told


def test_if_id_is_sent_only_if_it_is_given() -> None:
    assert attributes_of(state()) == []
    assert attributes_of(state(if_id=0)) == [(IF_ID, bytes(4))]
    assert attributes_of(state(if_id=5)) == [(IF_ID, struct.pack("=I", 5))]


def test_no_limit_is_not_0() -> None:
    """0 bytes or packets would have expired at once; 0 seconds is no limit."""
    fixed = native.encode(state())[16:]
    assert fixed[96:128] == b"\xff" * 32
    assert fixed[128:160] == bytes(32)
    at_once = state(lifetime=LifetimeConfig(hard_byte_limit=0))
    assert native.encode(at_once)[16 + 104 : 16 + 112] == bytes(8)
    assert at_once.lifetime.hard_byte_limit == 0
    assert native.encode(state(lifetime=LifetimeConfig(hard_byte_limit=None))) == native.encode(state())


def test_numbers_in_attributes() -> None:
    u32 = struct.pack("=I", 0x01020304)
    for name, kind in (
        ("cpu", SA_PCPU),
        ("nat_keepalive_interval", NAT_KEEPALIVE_INTERVAL),
        ("mapping_timer_threshold", MTIMER_THRESH),
        ("traffic_flow_padding", TFCPAD),
        ("replay_threshold", REPLAY_THRESH),
        ("event_timer_threshold", ETIMER_THRESH),
        ("if_id", IF_ID),
    ):
        both_ways(state(**{name: 0x01020304}), message(0x10, usersa(), attribute(kind, u32)))
        assert attributes_of(state(**{name: 0})) == [(kind, bytes(4))]
    both_ways(state(last_used=2**40), message(0x10, usersa(), attribute(LASTUSED, struct.pack("=Q", 2**40))))
    both_ways(
        state(extra_flags=["dont_encap_dscp", "oseq_may_wrap"]),
        message(0x10, usersa(), attribute(SA_EXTRA_FLAGS, struct.pack("=I", 3))),
    )
    used = struct.pack("=4Q", 1, 2, 3, 4)
    both_ways(
        state(lifetime_value=LifetimeCurrent(bytes=1, packets=2, add_time=3, use_time=4)),
        message(0x10, usersa(), attribute(LTIME_VAL, used)),
    )


def test_alignment_of_64_bit_numbers_is_no_attribute() -> None:
    """XFRMA_PAD, which kernels put in front of them."""
    told = message(0x10, usersa(), attribute(PAD, b""), attribute(LASTUSED, struct.pack("=Q", 5)))
    for codec in CODECS:
        assert codec.decode(told) == state(last_used=5)


def test_ports_of_encapsulation_are_in_network_order() -> None:
    value = state(encapsulation=Encapsulation("espinudp", 4500, 0x1234, "203.0.113.5"))
    payload = struct.pack("=H", 2) + struct.pack(">HH", 4500, 0x1234) + bytes(2) + addr("203.0.113.5")
    both_ways(value, message(0x10, usersa(), attribute(ENCAP, payload)))
    both_ways(
        state(encapsulation=Encapsulation("espintcp")),
        message(
            0x10,
            usersa(),
            attribute(ENCAP, struct.pack("=H", 7) + struct.pack(">HH", 4500, 4500) + bytes(18)),
        ),
    )


def test_an_original_address_of_ipv6_in_a_state_of_ipv4_is_not_cut() -> None:
    value = state(encapsulation=Encapsulation(original_address="2001:db8::5"))
    assert value.encapsulation is not None
    assert value.encapsulation.original_address == "2001:db8::5"
    assert attributes_of(value)[0][1][8:] == addr("2001:db8::5")


def test_labels() -> None:
    """struct xfrm_user_sec_ctx says its length twice, and its own attribute type."""
    label = b"system_u:object_r:ipsec_spd_t:s0\0"
    payload = struct.pack("=HHBBH", 8 + len(label), 8, 1, 1, len(label)) + label
    both_ways(state(security_context=label[:-1].decode()), message(0x10, usersa(), attribute(SEC_CTX, payload)))
    doubled = label + b"\0"
    payload = struct.pack("=HHBBH", 8 + len(doubled), 8, 1, 1, len(doubled)) + doubled
    for codec in CODECS:
        found = codec.decode(message(0x10, usersa(), attribute(SEC_CTX, payload)))
        assert isinstance(found, State)
        assert found.security_context == SecurityContext(label[:-1].decode(), terminated=2)


def test_offload_and_care_of_address() -> None:
    both_ways(
        state(offload=Offload(3, ["inbound", "packet"])),
        message(0x10, usersa(), attribute(OFFLOAD_DEV, struct.pack("=iB3x", 3, 6))),
    )
    both_ways(state(care_of_address="203.0.113.9"), message(0x10, usersa(), attribute(COADDR, addr("203.0.113.9"))))


def test_iptfs() -> None:
    value = state(
        mode="iptfs",
        direction="out",
        iptfs=IpTfs(
            drop_time=1,
            reorder_window=2,
            dont_fragment=True,
            init_delay=3,
            max_queue_size=4,
            packet_size=0,
        ),
    )
    found = dict(attributes_of(value))
    assert found == {
        SA_DIR: b"\2",
        IPTFS_DROP_TIME: struct.pack("=I", 1),
        IPTFS_REORDER_WINDOW: struct.pack("=H", 2),
        IPTFS_DONT_FRAG: b"",
        IPTFS_INIT_DELAY: struct.pack("=I", 3),
        IPTFS_MAX_QSIZE: struct.pack("=I", 4),
        IPTFS_PKT_SIZE: bytes(4),
    }
    assert attributes_of(state(iptfs=IpTfs())) == []


def test_unknown_attributes_survive() -> None:
    value = state(attributes=[Attribute(60, b"later"), Attribute(61, b"")], if_id=1)
    both_ways(
        value,
        message(
            0x10,
            usersa(),
            attribute(IF_ID, struct.pack("=I", 1)),
            attribute(60, b"later"),
            attribute(61, b""),
        ),
    )


# --- requests -----------------------------------------------------------------------------------


def test_names_of_states() -> None:
    for kind, flags in ((Message.GETSA, 1), (Message.DELSA, 5)):
        both_ways(Request(kind, ID), message(kind, named(), flags=flags), request=Request(kind, ID))
    full = StateId(THERE6, 0x01020304, "ah", source=HERE6, mark=Mark(0xFF, 0x0F))
    expected = message(
        0x11,
        named(10, THERE6, protocol=51),
        attribute(MARK, struct.pack("=II", 0x0F, 0x0F)),
        attribute(SRCADDR, addr(HERE6)),
    )
    both_ways(Request(Message.DELSA, full), expected, request=Request(Message.DELSA, full))


def test_the_source_of_ipv4_is_in_the_first_bytes() -> None:
    data = native.encode(Request(Message.DELSA, StateId(THERE, 1, source=HERE)))
    assert data[-16:] == bytes([192, 0, 2, 1]) + bytes(12)


def test_dumps_have_no_fixed_part() -> None:
    assert native.encode(Request(Message.GETSA)) == pure.encode(Request(Message.GETSA)) == header(0x12, 0, 0x301)
    value = StateFilter("ah", "10.0.0.0/8", "10.1.0.0/16")
    payload = addr("10.0.0.0") + addr("10.1.0.0") + struct.pack("=HBB", 2, 8, 16)
    expected = message(0x12, b"", attribute(PROTO, b"\x33"), attribute(ADDRESS_FILTER, payload), flags=0x301)
    both_ways(Request(Message.GETSA, value), expected, request=Request(Message.GETSA, value))


def test_spi_requests() -> None:
    """The range is in host order, other than the SPI."""
    value = SpiRequest(state(replay_window=0, sequence=7), 0x100, 0x0FFFFFFF)
    fixed = usersa(window=0, seq=7) + struct.pack("=II", 0x100, 0x0FFFFFFF)
    assert len(fixed) == 232
    both_ways(value, message(0x16, fixed, flags=1))


def test_both_codecs_tell_the_same_of_a_state_that_was_read() -> None:
    """As the kernel tells of it, with authentication twice, it stands in an event: and is written once."""
    pair = [
        attribute(ALG_AUTH, algo("hmac(sha256)", KEY[:32])),
        attribute(ALG_AUTH_TRUNC, algo("hmac(sha256)", KEY[:32], 128)),
    ]
    told = message(0x18, usersa() + struct.pack("=B7x", 1), *pair)
    value = native.decode(told)
    assert native.encode(value) == pure.encode(value) == message(0x18, usersa() + struct.pack("=B7x", 1), pair[1])


def test_a_policy_type_has_6_bytes() -> None:
    """So that the next attribute begins 2 bytes behind its end."""
    data = native.encode(Policy(direction="in", policy_type="sub", if_id=7))
    kinds = attribute(POLICY_TYPE, b"\1" + bytes(5)) + attribute(IF_ID, struct.pack("=I", 7))
    assert data[16:] == userpolicy() + kinds
    assert len(attribute(POLICY_TYPE, bytes(6))) == 12


@pytest.mark.parametrize("codec", CODECS, ids=["native", "pure"])
def test_a_header_one_byte_short_is_no_message(codec: Codec) -> None:
    for kind, size in (
        (0x10, 224),
        (0x11, 24),
        (0x12, 24),
        (0x16, 232),
        (0x17, 280),
        (0x18, 232),
        (0x1B, 176),
        (0x1E, 48),
        (0x20, 60),
        (0x21, 64),
        (0x26, 64),
        (0x29, 132),
    ):
        codec.decode(header(kind, size) + bytes(size))
        for short in (0, 1, size - 1):
            with pytest.raises(ProtocolError):
                codec.decode(header(kind, short) + bytes(short))


@pytest.mark.parametrize("codec", ["native", "pure"])
@pytest.mark.parametrize(
    "message",
    [
        struct.pack("=IHHII", 16, 0x10, 0, 0, 0),
        struct.pack("=IHHII", 232, 0x10, 0, 0, 0) + bytes(216),
        struct.pack("=IHHII", 184, 0x13, 0, 0, 0) + bytes(168),
        struct.pack("=IHHII", 248, 0x10, 0, 0, 0) + bytes(224) + struct.pack("=HHI", 9, 31, 1),
    ],
    ids=["no state at all", "too short for one", "a policy", "an attribute that is too long"],
)
def test_a_dump_of_what_are_no_states(codec: str, message: bytes) -> None:
    """Found when the dump is read, not when somebody looks at a field."""
    with Session(transport=FakeTransport(lambda _: [message]), codec=codec) as session:
        with pytest.raises(ProtocolError, match="lengths"):
            next(session.sad.dump())
        with pytest.raises(ProtocolError):
            next(session.sad.counters())


def test_a_state_of_odd_length_can_be_loaded() -> None:
    odd = Attribute(60, b"abc")
    state = State("192.0.2.1", "192.0.2.2", spi=1, attributes=[odd])
    codec = select()
    message = codec.encode(state)
    cut = struct.pack("=I", len(message) - 1) + message[4:-1]  # without the padding at its end
    again = codec.decode(cut)
    assert again == state
    sent = FakeTransport(lambda _: None)
    with Session(transport=sent) as session:
        session.sad.load([again, again])  # type: ignore[list-item]
    assert [message[:4] for message in sent.sent] == [cut[:4]] * 2

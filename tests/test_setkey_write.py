# SPDX-License-Identifier: MIT
"""Policies and states as a setkey.conf: they come back, or the field that setkey has no word for is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from test_setkey import bodies, policy, refused, rule

from xfrm_ext import (
    Action,
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    Encapsulation,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Mode,
    Policy,
    PolicyFlag,
    PolicyType,
    ReplayState,
    SecurityContext,
    Selector,
    State,
    StateDirection,
    StateFlag,
    Template,
    ValidationError,
    setkey,
)
from xfrm_ext.setkey import names


def read_back(value: Policy | State) -> list[Any]:
    return bodies(setkey.to_setkey([value], show_keys=True))


def read_back_or_refused(value: Policy | State) -> list[Any] | str:
    """What comes back, or the class whose field has no place."""
    try:
        text = setkey.to_setkey([value], show_keys=True)
    except ValidationError as error:
        return error.field.partition(".")[0]
    return bodies(text)


@given(strategies.policies())
def test_a_policy_comes_back_or_its_field_is_named(value: Policy) -> None:
    sent = replace(value, index=0, current=LifetimeCurrent(), if_id=None)
    assert read_back_or_refused(value) in ([sent], "Policy", "Selector", "Template")


LEVELS = [("use", 0), ("required", 0), ("required", 1), ("required", 2**32 - 1)]


@st.composite
def sayable_policies(draw: st.DrawFn) -> Policy:
    """Policies that setkey has words for."""
    version = draw(st.sampled_from([4, 6]))
    protocol = draw(st.sampled_from([0, 1, 6, 17, 47, 50, 58, 135, 254]))
    most = 255 if protocol in (1, 58, 135) else 0xFFFF
    port = st.integers(0, most)
    selector = Selector(
        draw(strategies.prefixes(version)),
        draw(strategies.prefixes(version)),
        protocol=protocol,
        source_port=draw(port),
        destination_port=draw(port),
    )
    rules = [
        rule(
            *draw(st.sampled_from([(), ("192.0.2.1", "192.0.2.2"), ("::", "2001:db8::1")])),
            protocol=draw(st.sampled_from(["esp", "ah", "comp"])),
            level=level,
            reqid=reqid,
        )
        for level, reqid in draw(st.lists(st.sampled_from(LEVELS), max_size=6))
    ]
    return Policy(
        selector,
        direction=draw(st.sampled_from(["in", "out", "fwd"])),
        action="allow" if rules else draw(st.sampled_from(["allow", "block"])),
        priority=draw(strategies.U32),
        templates=rules,
        security_context=draw(st.none() | st.just(SecurityContext("system_u:object_r:t:s0", 1, 2))),
    )


@given(sayable_policies())
def test_a_policy_that_setkey_has_words_for_comes_back(value: Policy) -> None:
    assert read_back(value) == [value]


@given(strategies.states())
def test_a_state_comes_back_or_its_field_is_named(value: State) -> None:
    owners = ("State", "Selector", "LifetimeConfig", "AuthAlgorithm", "AeadAlgorithm")
    assert read_back_or_refused(value) in ([value], *owners)


@st.composite
def sayable_states(draw: st.DrawFn) -> State:
    """States that setkey has words for."""
    from xfrm_ext.algorithm import AEAD, AUTHENTICATION, ENCRYPTION

    def key(bits: int) -> bytes:
        return draw(st.binary(min_size=bits // 8, max_size=bits // 8))

    family = draw(st.sampled_from([strategies.V4, strategies.V6]))
    protocol = draw(st.sampled_from(["esp", "ah", "comp"]))
    options: dict[str, Any] = {"replay_window": draw(st.integers(0, 32 if protocol == "comp" else 4096))}
    if protocol == "esp" and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(names.AEAD.values())))
        options["aead"] = AeadAlgorithm(name, key(draw(st.sampled_from(AEAD[name].key_bits))))
    elif protocol == "esp":
        name = draw(st.sampled_from(sorted(names.ENCRYPTION.values())))
        options["encryption"] = Algorithm(name, key(draw(st.sampled_from(ENCRYPTION[name].key_bits))))
    if protocol == "ah" or ("encryption" in options and draw(st.booleans())):
        name = draw(st.sampled_from(sorted(names.AUTHENTICATION.values())))
        icv = names.ICV_BITS.get(name, names.SHA256_ICV_BITS)
        options["authentication"] = AuthAlgorithm(name, key(AUTHENTICATION[name].key_bits[0]), icv)
    if protocol == "comp":
        options["compression"] = Algorithm("deflate")
    if protocol == "esp" and draw(st.booleans()):
        port = st.integers(1, 65535)
        options["encapsulation"] = Encapsulation("espinudp", draw(port), draw(port), draw(st.none() | family))
    limit = st.none() | st.integers(1, 2**64 - 2)
    return State(
        draw(family),
        draw(family),
        spi=draw(st.integers(0, 0xFFFF if protocol == "comp" else 0xFFFFFFFF)),
        protocol=protocol,
        mode=draw(st.sampled_from(["transport", "tunnel"])),
        reqid=draw(strategies.U32),
        lifetime=LifetimeConfig(
            soft_byte_limit=draw(limit),
            hard_byte_limit=draw(limit),
            soft_add_expires_seconds=draw(strategies.U64),
            hard_add_expires_seconds=draw(strategies.U64),
        ),
        security_context=draw(st.none() | st.just(SecurityContext("a;#\nb", 0, 255))),
        **options,
    )


@given(sayable_states())
def test_a_state_that_setkey_has_words_for_comes_back(value: State) -> None:
    (found,) = read_back(value)
    if value.replay_window > 32:  # what the message of one with a long window says
        value = replace(value, replay=found.replay)
    assert found == value


def test_keys_are_written_for_those_who_ask() -> None:
    value = State(
        "192.0.2.1",
        "192.0.2.2",
        spi=1,
        replay_window=0,
        encryption=DES3,
        authentication=AuthAlgorithm("hmac(md5)", b"authentication!!", 96),
    )
    text = setkey.to_setkey([value])
    assert b"authentication!!".hex() not in text
    assert DES3_DIGITS not in text
    error = refused(text)
    assert error.reason == "the key was left out when this file was written"
    assert DES3_DIGITS in setkey.to_setkey([value], show_keys=True)


DES3 = Algorithm("cbc(des3_ede)", bytes(range(24)))
DES3_DIGITS = "0x" + bytes(range(24)).hex()
PLAIN = State("192.0.2.1", "192.0.2.2", spi=1, replay_window=0, encryption=DES3)
OUT = policy("10.0.0.1", "10.0.0.2")
UNSAYABLE: dict[str, Any] = {
    "State.mark": replace(PLAIN, mark=Mark(1)),
    "State.if_id": replace(PLAIN, if_id=1),
    "State.flags": replace(PLAIN, flags=StateFlag.ESN),
    "State.mode": replace(PLAIN, mode=Mode.BEET),
    "State.direction": replace(PLAIN, direction=StateDirection.OUT),
    "State.selector": replace(PLAIN, selector=Selector("10.0.0.1")),
    "State.replay": replace(PLAIN, replay=ReplayState(5)),
    "State.protocol": State("::1", "::1", spi=0, protocol="hao", mode="ro"),
    "State.encryption": replace(PLAIN, encryption=Algorithm("cbc(serpent)", bytes(16))),
    "State.aead": replace(PLAIN, encryption=None, aead=AeadAlgorithm("rfc4309(ccm(aes))", bytes(19))),
    "State.encapsulation": replace(PLAIN, encapsulation=Encapsulation("espintcp", 5, 5)),
    "AeadAlgorithm.icv_bits": replace(
        PLAIN, encryption=None, aead=AeadAlgorithm("rfc4106(gcm(aes))", bytes(20), 64)
    ),
    "AuthAlgorithm.icv_bits": replace(PLAIN, authentication=AuthAlgorithm("hmac(sha256)", bytes(32))),
    "LifetimeConfig.hard_packet_limit": replace(PLAIN, lifetime=LifetimeConfig(hard_packet_limit=5)),
    "Policy.mark": replace(OUT, mark=Mark(1)),
    "Policy.if_id": replace(OUT, if_id=1),
    "Policy.policy_type": replace(OUT, policy_type=PolicyType.SUB),
    "Policy.flags": replace(OUT, flags=PolicyFlag.ICMP),
    "Policy.lifetime": replace(OUT, lifetime=LifetimeConfig(hard_add_expires_seconds=1)),
    "Policy.templates": replace(OUT, action=Action.BLOCK, templates=(rule(),)),
    "Selector.interface": replace(OUT, selector=Selector(interface=1)),
    "Selector.source_port_mask": replace(OUT, selector=Selector(source_port=1, source_port_mask=1)),
    "Template.spi": replace(OUT, templates=(rule(spi=5),)),
    "Template.mode": replace(OUT, templates=(Template(mode="beet"),)),
    "Template.reqid": replace(OUT, templates=(rule(reqid=5, level="use"),)),
}


@pytest.mark.parametrize("field", UNSAYABLE)
def test_what_setkey_has_no_word_for_is_named(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        setkey.to_setkey([UNSAYABLE[field]], show_keys=True)
    assert caught.value.field == field


def test_a_check_value_of_rfc_4868_is_written_for_those_who_say_so() -> None:
    value = replace(PLAIN, authentication=AuthAlgorithm("hmac(sha256)", bytes(32)))
    text = setkey.to_setkey([value], show_keys=True, sha256_icv_bits=128)
    assert bodies(text, sha256_icv_bits=128) == [value]


def test_only_policies_and_states_are_written() -> None:
    with pytest.raises(ValidationError, match="values"):
        setkey.to_setkey([Selector()])  # type: ignore[list-item]

# SPDX-License-Identifier: MIT
"""Documents: what becomes one and comes back is the same value; what is wrong is refused by its path; no key is in
what did not ask for it. test_documents_schema.py holds them against the schema."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import struct
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from test_secret import KEY, OTHER, safe, states, values
from vectors import messages, records

from xfrm_ext import (
    INFINITE,
    AeadAlgorithm,
    Attribute,
    BatchFileError,
    Event,
    LifetimeConfig,
    LifetimeCurrent,
    LoadResult,
    Mark,
    Message,
    Offload,
    Overrun,
    Policy,
    PolicyFlag,
    Protocol,
    ReplayState,
    Request,
    Secret,
    Selector,
    Session,
    State,
    StateFilter,
    StateFlag,
    Template,
    ValidationError,
    codec,
    documents,
)
from xfrm_ext.codec import native, pure
from xfrm_ext.constants import Direction, Level, Mode, Share
from xfrm_ext.documents import array, event_document, from_document, line, read, to_document

MOST = 2**64 - 1


def through_json(document: Any) -> Any:
    """What a program that reads the text gets."""
    return json.loads(line(document))


def comes_back(value: Any) -> None:
    document = to_document(value, show_keys=True)
    again = from_document(through_json(document))
    assert again == value
    assert to_document(again, show_keys=True) == document


# --- there and back ---------------------------------------------------------------------------------------


@given(strategies.policies() | strategies.states())
def test_what_becomes_a_document_comes_back(value: Policy | State) -> None:
    comes_back(value)


@given(strategies.requests())
def test_so_do_requests(request: Request) -> None:
    comes_back(request)


def impossible(value: Any) -> bool:
    """What is in the vectors and no kernel takes: its document is refused, as it would be by the constructor."""
    policy = value.body if isinstance(value, Request) else value
    policy = getattr(policy, "policy", policy)
    if not isinstance(policy, Policy):
        return False
    index = policy.index
    return len(policy.templates) > 6 or bool(index and (index ^ policy.direction) & 7)


@pytest.mark.parametrize("file", ["requests", "other_requests", "replies", "other_replies"])
def test_what_iproute2_sent_and_received_comes_back(file: str) -> None:
    counts: Counter[str] = Counter()
    for record in records(file):
        for datagram in record["sent"] if "sent" in record else [first for first, _ in record["datagrams"]]:
            for message in messages(bytes.fromhex(datagram) if isinstance(datagram, str) else datagram):
                try:
                    value: Any = codec.select().decode(message)
                except Exception:  # damaged on purpose
                    continue
                if not isinstance(value, (Policy, State, Request)):
                    value = Request(Message(int.from_bytes(message[4:6], "little")), value)
                if impossible(value):
                    with pytest.raises(ValidationError, match=r"\.(index|templates): "):
                        from_document(to_document(value, show_keys=True))
                    counts["impossible"] += 1
                elif isinstance(value, State) and value.mark == Mark(0, 0):
                    # That is every mark, and the constructor makes it None.
                    again = from_document(to_document(value, show_keys=True))
                    assert isinstance(again, State)
                    assert again.mark is None
                else:
                    comes_back(value)
                    counts["same"] += 1
    assert counts["same"] > 10 * counts["impossible"]
    assert counts["same"] > 200


def test_what_only_the_kernel_knows_comes_back() -> None:
    policy = Policy(
        direction=Direction(4),
        flags=PolicyFlag(0xC1),
        share=Share(9),
        templates=[Template(mode=Mode(77), protocol=Protocol(200), level=Level(3))],
        attributes=[Attribute(0x3FFF, b"\1\2\3")],
    )
    document = through_json(to_document(policy))
    assert document["direction"] == 4
    assert document["flags"] == ["localok", 0xC0]
    assert document["share"] == 9
    assert [document["templates"][0][name] for name in ("mode", "protocol", "level")] == [77, 200, 3]
    assert document["attributes"] == [{"type": 0x3FFF, "payload": "0x010203"}]
    comes_back(policy)
    state = State(spi=1, mode=Mode(200), flags=StateFlag(255))
    comes_back(state)


def test_names_of_algorithms_stay_as_they_are() -> None:
    """An alias too, which the constructors replace; and what is no text."""
    for name in (b"aes", b"cbc(aes)", b"", b"\xff\xfe", b"x" * 63):
        message = bytearray(native.encode(State(spi=1, encryption=state_with_key().encryption)))
        place = message.index(b"cbc(aes)")
        message[place : place + 64] = name.ljust(64, b"\0")
        value = native.decode(message)
        assert isinstance(value, State)
        assert value.encryption is not None
        assert value.encryption.name == name.decode("utf-8", "surrogateescape")
        comes_back(value)


def state_with_key() -> State:
    return states()[1]


def test_the_check_value_of_input_is_the_rfcs() -> None:
    document = {"kind": "state", "spi": 1, "authentication": {"name": "hmac(sha256)", "key": "0x" + 32 * "ab"}}
    state = from_document(document)
    assert isinstance(state, State)
    assert state.authentication is not None
    assert state.authentication.icv_bits == 128


def test_both_codecs_give_the_same_documents() -> None:
    for record in records("other_replies"):
        for datagram, _text in record["datagrams"]:
            for message in messages(bytes.fromhex(datagram) if isinstance(datagram, str) else datagram):
                found = []
                for each in (native, pure):
                    try:
                        found.append(to_document(each.decode_event(message), show_keys=True))
                    except Exception as error:
                        found.append({"error": type(error).__name__})
                assert found[0] == found[1]


@given(strategies.policies())
def test_who_changes_a_document_changes_no_other(policy: Policy) -> None:
    first = to_document(policy)
    before = line(first)
    wreck(first)
    assert line(to_document(Policy._from_wire(policy._wire))) == before


def wreck(document: Any) -> None:
    for value in document.values() if isinstance(document, dict) else document:
        if isinstance(value, (dict, list)):
            wreck(value)
    document.clear()


def test_from_a_kernel_and_back(session: Session) -> None:
    policies = [
        Policy(
            Selector(None, f"10.{number}.0.0/16"),
            direction="out",
            priority=number,
            templates=[Template(reqid=number)],
        )
        for number in range(50)
    ]
    session.spd.load(policies)
    found = list(session.spd.dump())
    assert len(found) == 50
    again = [from_document(document) for document in json.loads("".join(array(map(to_document, found))))]
    assert again == found
    session.spd.flush()
    session.spd.load(again)  # type: ignore[arg-type]
    assert {policy.id for policy in session.spd.dump()} == {policy.id for policy in policies}


# --- forms ------------------------------------------------------------------------------------------------


def test_numbers_of_64_bits_are_exact() -> None:
    policy = Policy(
        direction="in",
        lifetime=LifetimeConfig(soft_byte_limit=MOST - 1, hard_packet_limit=0, soft_add_expires_seconds=MOST),
        current=LifetimeCurrent(bytes=MOST, packets=2**53 + 1),
    )
    text = line(to_document(policy))
    for part in (
        f'"bytes":{MOST}',
        f'"packets":{2**53 + 1}',
        f'"soft_byte_limit":{MOST - 1}',
        '"hard_packet_limit":0',
    ):
        assert part in text
    assert '"hard_byte_limit":null' in text  # INFINITE
    comes_back(policy)


def test_no_limit_is_null() -> None:
    document = {"kind": "policy", "direction": "in", "lifetime": {"soft_byte_limit": None, "hard_byte_limit": 5}}
    policy = from_document(document)
    assert isinstance(policy, Policy)
    assert (policy.lifetime.soft_byte_limit, policy.lifetime.hard_byte_limit) == (INFINITE, 5)


@pytest.mark.parametrize("seconds", [1, 951782400, 1700000000, 4107542400, 253402300799])
def test_times_are_texts(seconds: int) -> None:
    policy = Policy(direction="in", current=LifetimeCurrent(add_time=seconds))
    current = to_document(policy)["current"]
    assert datetime.datetime.fromisoformat(current["add_time"].replace("Z", "+00:00")).timestamp() == seconds
    assert current["use_time"] is None
    comes_back(policy)


@pytest.mark.parametrize("seconds", [253402300800, MOST])
def test_times_beyond_the_year_9999_are_numbers(seconds: int) -> None:
    policy = Policy(direction="in", current=LifetimeCurrent(use_time=seconds))
    assert to_document(policy)["current"]["use_time"] == seconds
    comes_back(policy)


def test_never_and_not_told_are_not_1970() -> None:
    assert to_document(State(spi=1))["last_used"] is None
    assert to_document(State(spi=1, last_used=0))["last_used"] == "1970-01-01T00:00:00Z"


def test_an_event_has_its_time_in_front() -> None:
    event = Event(message=Message.DELPOLICY, body=Policy(direction="in"), sequence=7)
    document = event_document(event, time=1700000000.25)
    assert list(document)[:3] == ["time", "kind", "event"]
    assert (document["time"], document["event"]) == ("2023-11-14T22:13:20.250000Z", "deleted_policy")
    assert document["body"] == to_document(Policy(direction="in"))
    assert event_document(Overrun(), time=0) == {
        "time": "1970-01-01T00:00:00.000000Z",
        "kind": "overrun",
        "event": "overrun",
    }
    assert abs(documents.now() - datetime.datetime.now().timestamp()) < 60


def test_spis_bitmaps_and_keys_are_hexadecimal() -> None:
    state = State(
        spi=0x1001,
        flags="esn",
        replay_window=64,
        replay=ReplayState(1, 2, 2**63 + 1),
        aead=AeadAlgorithm("rfc4106(gcm(aes))", KEY),
    )
    document = to_document(state, show_keys=True)
    assert (document["spi"], document["replay"]["bitmap"]) == ("0x00001001", hex(2**63 + 1))
    assert document["aead"] == {
        "name": "rfc4106(gcm(aes))",
        "key": f"0x{KEY.hex()}",
        "icv_bits": 128,
        "key_bits": 288,
    }
    for spi in (0x1001, "0x1001", "0x00001001"):
        assert from_document({**document, "spi": spi}) == state


NAMES = {1: "lo", 7: "eth0"}
INDICES = {"eth0": 70}


def test_interfaces_have_names_where_they_can_be_had() -> None:
    policy = Policy(Selector(interface=7), direction="out", offload=Offload(9))
    document = to_document(policy, interface_name=lambda index: NAMES.get(index, f"if{index}"))
    assert (document["selector"]["interface"], document["selector"]["interface_name"]) == (7, "eth0")
    assert (document["offload"]["interface"], document["offload"]["interface_name"]) == (9, None)
    assert to_document(policy)["selector"]["interface_name"] is None
    assert from_document(document) == policy
    moved = from_document(document, interface_index=lambda name: INDICES.get(name, 0))
    assert isinstance(moved, Policy)
    assert moved.offload is not None
    assert (moved.selector.interface, moved.offload.interface) == (70, 9)


# --- what is wrong ----------------------------------------------------------------------------------------

POLICY: dict[str, Any] = {"kind": "policy", "direction": "in"}
STATE: dict[str, Any] = {"kind": "state", "spi": 1}
WRONG = [
    (None, "$: is null, and not an object"),
    ([POLICY], "$: is an array, and not an object"),
    ({}, "$.kind: is missing: it is one of policy, state, request"),
    ({"kind": "event"}, "$.kind: 'event' is not one of policy, state, request"),
    ({"kind": "policy"}, "$.direction: is missing"),
    ({**POLICY, "direction": "tunnel"}, "$.direction: 'tunnel' is not one of in, out, fwd, or a number"),
    ({**POLICY, "direction": True}, "$.direction: True is not one of in, out, fwd, or a number"),
    ({**POLICY, "priorty": 1}, "$.priorty: is not one of selector, direction,"),
    ({**POLICY, "\x1b[2J": 1}, "$['\\x1b[2J']: is not one of selector, direction,"),
    ({**POLICY, "priority": "1"}, "$.priority: '1' is not an integer"),
    ({**POLICY, "priority": 1.5}, "$.priority: 1.5 is not an integer"),
    ({**POLICY, "priority": 2**32}, "$.priority: 4294967296 is not an integer from 0 to 4294967295"),
    ({**POLICY, "lifetime": {"hard_byte_limit": 2**64}}, "$.lifetime.hard_byte_limit: 18446744073709551616 is not"),
    ({**POLICY, "templates": {}}, "$.templates: is an object, and not an array"),
    (
        {**POLICY, "templates": [{}, {"mode": "tunel"}]},
        "$.templates[1].mode: 'tunel' is not one of transport, tunnel",
    ),
    ({**POLICY, "templates": [{}] * 7}, "$.templates: 7 templates, and 6 is the most"),
    ({**POLICY, "flags": ["icmp", "local"]}, "$.flags[1]: 'local' is not one of localok, icmp"),
    ({**POLICY, "flags": [256]}, "$.flags: 256 is not an integer from 0 to 255"),
    ({**POLICY, "selector": {"source": "10.0.0.300/24"}}, "$.selector.source: '10.0.0.300/24' is not an IP prefix"),
    (
        {**POLICY, "selector": {"protocol": "tpc"}},
        "$.selector.protocol: 'tpc' is not a number, or one of any, icmp",
    ),
    ({**POLICY, "selector": {"kind": "selector"}}, "$.selector.kind: is not one of source"),
    ({**POLICY, "selector": {"interface_name": "eth1"}}, "$.selector.interface_name: 'eth1' is not an interface"),
    (
        {**POLICY, "current": {"add_time": "2026-13-01T00:00:00Z"}},
        "$.current.add_time: '2026-13-01T00:00:00Z' is not a",
    ),
    ({**POLICY, "mark": {"mask": 1}}, "$.mark.value: is missing"),
    (
        {**POLICY, "attributes": [{"type": 60, "payload": "0x1"}]},
        "$.attributes[0].payload: is not hexadecimal text",
    ),
    ({**POLICY, "index": 8 + 2}, "$.index: 10 does not match direction in"),
    ({**STATE, "spi": "4097"}, "$.spi: '4097' is not a hexadecimal text that begins with 0x, or an integer"),
    ({**STATE, "spi": "0x100000000"}, "$.spi: 4294967296 is not an integer from 0 to 4294967295"),
    ({**STATE, "replay": {"bitmap": "0x1ffffffff"}}, "$.replay.bitmap: 0x1ffffffff does not fit into 32 bits"),
    ({**STATE, "iptfs": {"dont_fragment": 1}}, "$.iptfs.dont_fragment: 1 is not true or false"),
    ({**STATE, "source": "10.0.0.1", "destination": "::1"}, "$.destination: '::1' is of another family"),
    ({**STATE, "encryption": {"name": 64 * "x"}}, "$.encryption.name: is not a name of at most 63 bytes"),
    ({**STATE, "encryption": {"name": "\ud800"}}, "$.encryption.name: is not a name of at most 63 bytes"),
    (
        {**STATE, "aead": {"name": "a", "key": "<hidden>"}},
        "$.aead.key: is hidden: only a document that was written with",
    ),
    ({"kind": "request"}, "$.message: is missing"),
    ({"kind": "request", "message": "delpolicy", "body": {}}, "$.body.kind: is missing"),
    ({"kind": "request", "message": "delpolicy", "body": {"kind": "policy_id"}}, "$.body.direction: is missing"),
    ({"kind": "request", "message": "flushsa", "body": "espp"}, "$.body: 'espp' is not one of esp, ah"),
    ({"kind": "request", "message": "flush"}, "$.message: 'flush' is not one of newsa"),
    ({"kind": "request", "message": "newsa", "bdy": 1}, "$.bdy: is not one of message, body"),
]


@pytest.mark.parametrize(("document", "text"), WRONG)
def test_what_is_wrong_is_named_by_its_path(document: Any, text: str) -> None:
    with pytest.raises(ValidationError) as found:
        from_document(document, interface_index=lambda name: 0)
    assert str(found.value).startswith(text)
    with pytest.raises(ValidationError) as found:
        from_document(document, interface_index=lambda name: 0, path="$[3]")
    assert str(found.value).startswith(f"$[3]{text[1:]}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | st.just("0x10"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document, with each of its keys."""
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], (dict, list)):
            yield from places(document[key])


@given(strategies.requests(), JSON, st.data())
def test_anything_else_in_a_place_is_taken_or_refused(request: Request, value: Any, data: st.DataObject) -> None:
    document = through_json(to_document(request, show_keys=True))
    container, key = data.draw(st.sampled_from(list(places(document))))
    container[key] = value
    with contextlib.suppress(ValidationError):
        from_document(document)


def test_there_is_no_document_of_other_things() -> None:
    for value in (1, "text", Selector(), Mark(1), object()):
        with pytest.raises(TypeError, match="has no document"):
            to_document(value)


# --- keys -------------------------------------------------------------------------------------------------


def everything() -> list[Any]:
    """Values with keys that have a document."""
    kinds = tuple(documents.KINDS)
    found = [value for value in values() if type(value).__name__ in kinds]
    return [*found, Event(message=Message.NEWSA, body=Secret(KEY)), Request(Message.NEWSA, states()[0])]


def test_no_key_is_in_what_did_not_ask_for_it() -> None:
    assert len(everything()) > 8
    for value in everything():
        for pretty in (False, True):
            text = line(to_document(value), pretty=pretty)
            safe(text)
            assert "<hidden>" in text or isinstance(value, LoadResult)
        shown = line(to_document(value, show_keys=True))
        assert KEY[:20].hex() in shown or OTHER.hex() in shown or isinstance(value, LoadResult)
        assert "<hidden>" not in shown
        safe(line(to_document(value)))  # nothing was kept of the other


def test_the_length_of_a_key_is_told_and_no_key_hides_nothing() -> None:
    assert to_document(states()[0])["aead"] == {
        "name": "rfc4106(gcm(aes))",
        "key": "<hidden>",
        "icv_bits": 128,
        "key_bits": 288,
    }
    bare = from_document({"kind": "state", "spi": 1, "compression": {"name": "deflate"}})
    assert to_document(bare)["compression"] == {"name": "deflate", "key": "0x", "key_bits": 0}
    assert from_document(to_document(bare)) == bare


def test_a_hidden_document_is_refused() -> None:
    for state in states():
        with pytest.raises(ValidationError, match=r"(key|payload): is hidden: .*--show-keys"):
            from_document(to_document(state))


HEX = f"0x{KEY.hex()}"
MISPLACED: list[dict[str, Any]] = [
    {**STATE, "encryption": HEX},
    {**STATE, "encryption": [HEX]},
    {**STATE, "encryption": {"name": HEX, "key": "0x0"}},
    {**STATE, "encryption": {"name": "cbc(aes)", "key": HEX[2:]}},
    {**STATE, "encryption": {"name": "cbc(aes)", "key": HEX + "0"}},
    {**STATE, "encryption": {"name": "cbc(aes)", "key": list(KEY)}},
    {**STATE, "encryption": {"name": "cbc(aes)", "key": int.from_bytes(KEY, "big")}},
    {**STATE, "encryption": {"name": "cbc(aes)", "key": HEX, "key_bits": 1}},
    {**STATE, "encryption": {"name": "cbc(aes)", "key": HEX, "key_bits": HEX}},
    {**STATE, "encryption": {"name": "cbc(aes)", "key": HEX, "key_bits": int.from_bytes(KEY, "big")}},
    *(
        {**STATE, field: {"name": "a", "key": HEX, number: int.from_bytes(KEY, "big")}}
        for field in ("authentication", "aead", "compression")
        for number in (("key_bits",) if field == "compression" else ("key_bits", "icv_bits"))
    ),
    {**STATE, "encryption": {"name": "cbc(aes)", HEX: HEX}},
    {**STATE, "encryption": {"name": "cbc(aes)", "kye": HEX}},
    {**STATE, "aead": {"name": "a", "key": HEX, "icv_bits": HEX}},
    {**STATE, "aead": {"name": HEX + HEX, "key": HEX}},
    {**STATE, "aead": {"name": "a", "key": HEX}, "encryption": {"name": "a", "key": HEX}},
    {**STATE, "aead": {"name": "a", "key": HEX}, "mode": "tunel"},
    {**STATE, "attributes": [{"type": "XFRMA_ALG_CRYPT", "payload": HEX[2:]}]},
    {**STATE, "attributes": [{"type": HEX, "payload": 1}]},
    {**STATE, "attributes": HEX},
    {**STATE, "aed": {"name": "a", "key": HEX}},
]


def shown_by(error: BaseException) -> str:
    """All that a traceback can show, but for the frame of the test itself, which has the key."""
    assert (error.__cause__, error.__context__) == (None, None)
    assert error.__traceback__ is not None
    inside = error.__traceback__.tb_next
    shown = traceback.TracebackException(type(error), error, inside, capture_locals=True)
    return "".join(shown.format()) + line(to_document(error))


@pytest.mark.parametrize("number", range(len(MISPLACED)))
def test_no_error_shows_a_key(number: int) -> None:
    with pytest.raises(ValidationError) as found:
        from_document(MISPLACED[number])
    shown = shown_by(found.value)
    safe(shown)
    assert str(int.from_bytes(KEY, "big"))[:20] not in shown


@pytest.mark.parametrize(
    "text",
    [
        '{"key": "%s", }',
        '{"key": "%s", "key": "%s"}',
        '{"%s": 1, "%s": 1}',
        '{"key": %s}',
        '[{"key": "%s"} {"key": "%s"}]',
        '{"key": "%s", "x": NaN}',
        '{"key": "%s"',
    ],
)
def test_no_error_of_json_shows_a_key(text: str) -> None:
    with pytest.raises(BatchFileError) as found:
        list(read(io.StringIO(text.replace("%s", HEX))))
    safe(shown_by(found.value))


def test_names_that_are_no_text_and_lists_without_end() -> None:
    with pytest.raises(ValidationError, match=r"\$\.mark\[1\]: is not one of"):
        from_document({"kind": "policy", "direction": "out", "mark": {1: 2}})
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValidationError, match=r"\$\.direction: a huge list"):
        from_document({"kind": "policy", "direction": deep})


def test_a_filter_of_states_may_have_host_bits() -> None:
    document = {"kind": "request", "message": "getsa", "body": {"kind": "state_filter", "source": "10.0.0.1/8"}}
    request = from_document(document)
    assert isinstance(request, Request)
    assert request.body == StateFilter(source="10.0.0.1/8", strict=False)
    assert to_document(request)["body"]["source"] == "10.0.0.1/8"
    with pytest.raises(ValidationError, match=r"StateFilter\.source"):
        StateFilter(source="10.0.0.1/8")


def test_a_mark_that_is_every_mark_is_none() -> None:
    """What the kernel tells of it is shown as it is, and read as what it means."""
    message = bytes(codec.select().encode(Request(Message.NEWSA, State(spi=1, mark=Mark(1, 1)))))
    attribute = struct.Struct("=HHII")  # XFRMA_MARK
    assert attribute.pack(12, 21, 1, 1) in message
    state = State._from_message(message.replace(attribute.pack(12, 21, 1, 1), attribute.pack(12, 21, 0, 0)))
    document = to_document(state)
    assert document["mark"] == {"value": 0, "mask": 0}
    read_again = from_document(document)
    assert isinstance(read_again, State)
    assert read_again.mark is None


def test_no_more_is_imported_than_asked_for() -> None:
    """Forms alone are what `xfrm tree` needs to print."""
    lines = (
        "import sys, xfrm_ext.documents.forms as forms",
        "print(*sorted(one for one in sys.modules if one.startswith('xfrm_ext.documents')), 'json' in sys.modules)",
        "print(xfrm_ext.documents.line({}), hasattr(xfrm_ext.documents, 'nothing'))",
    )
    done = subprocess.run(
        [sys.executable, "-c", "import xfrm_ext\n" + "\n".join(lines)], capture_output=True, text=True
    )
    assert done.stdout.split() == ["xfrm_ext.documents", "xfrm_ext.documents.forms", "False", "{}", "False"], (
        done.stderr
    )

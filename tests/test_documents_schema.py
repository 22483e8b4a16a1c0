# SPDX-License-Identifier: MIT
"""schema.json says what documents are, no more and no less."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from typing import Any

import pytest
import strategies
from by_schema import DEFINITIONS, KINDS, LOOKED, SCHEMA, VALIDATORS, is_valid
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from test_cli_top import sample, state
from test_secret import KEY, states

import xfrm_ext
from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    Attribute,
    AuthAlgorithm,
    Encapsulation,
    Event,
    IpTfs,
    LifetimeCurrent,
    LoadError,
    Mark,
    Message,
    Migration,
    Move,
    Offload,
    Overrun,
    Policy,
    Protocol,
    ReplayState,
    Request,
    Secret,
    SecurityContext,
    Selector,
    Session,
    State,
    StateCounters,
    StateMigration,
    Template,
    constants,
    documents,
)
from xfrm_ext.bulk import Indices, LoadResult
from xfrm_ext.cli import explain, top, top_model, tree
from xfrm_ext.cli.context import Context
from xfrm_ext.constants import Enumeration, Flags
from xfrm_ext.documents import event_document, from_document, reading, to_document
from xfrm_ext.documents.forms import word
from xfrm_ext.errors import kernel_error
from xfrm_ext.wire.protocols import PROTOCOLS

OBJECTS = {name: each for name, each in DEFINITIONS.items() if "properties" in each}
CLASSES = reading._BODIES
PARTS = {
    "selector": Selector,
    "template": Template,
    "mark": Mark,
    "lifetime": xfrm_ext.LifetimeConfig,
    "lifetime_used": LifetimeCurrent,
    "security_context": SecurityContext,
    "offload": Offload,
    "attribute": Attribute,
    "algorithm": Algorithm,
    "auth_algorithm": AuthAlgorithm,
    "aead_algorithm": AeadAlgorithm,
    "encapsulation": Encapsulation,
    "replay": ReplayState,
    "state_statistics": xfrm_ext.StateStatistics,
    "iptfs": IpTfs,
    "move": Move,
    "km_address": xfrm_ext.KmAddress,
}
"""What stands in documents and is none."""


def visited(schema: dict[str, Any], value: Any, owner: str = "") -> Iterator[tuple[str, str]]:
    """The properties, as definition and name, that a document which is valid has."""
    while "$ref" in schema:
        owner = schema["$ref"].removeprefix("#/$defs/")
        schema = DEFINITIONS[owner]
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if Draft202012Validator({**one, "$defs": DEFINITIONS}).is_valid(value):
            yield from visited(one, value, owner)
    if isinstance(value, list) and "items" in schema:
        for each in value:
            yield from visited(schema["items"], each, owner)
    if isinstance(value, dict) and "properties" in schema:
        yield from ((owner, name) for name in value)
        for name, each in value.items():
            yield from visited(schema["properties"][name], each, owner)


def full_state() -> State:
    """With something in each of its fields but for those that exclude each other."""
    return State(
        "10.0.0.1",
        "10.0.0.2",
        spi=1,
        authentication=AuthAlgorithm("hmac(sha256)", KEY[:32]),
        encryption=Algorithm("cbc(aes)", KEY[:32]),
        encapsulation=Encapsulation(),
        replay=ReplayState(1, 2, 3),
        mark=Mark(1),
        output_mark=Mark(2),
        offload=Offload(1),
        iptfs=IpTfs(drop_time=1),
        security_context="label",
        lifetime_value=LifetimeCurrent(bytes=1),
        attributes=[Attribute(60, b"1")],
    )


def looked() -> list[dict[str, Any]]:
    """What `xfrm explain`, `xfrm tree` and `xfrm top` make of values."""
    context = Context(io.StringIO(), io.StringIO())
    policies = [
        Policy(Selector("10.9.0.0/16"), direction="out"),
        Policy(direction="out", templates=[Template(reqid=1)]),
    ]
    own = State("10.0.0.1", "10.0.0.2", spi=2, reqid=1, aead=AeadAlgorithm("rfc4106(gcm(aes))", KEY[:20]))
    question = explain._Question(["src", "10.0.0.1", "dst", "10.0.0.2", "--all"], context)
    answer = explain._Answer(question, policies, lambda: [full_state(), own], None)
    used = dict.fromkeys(("index", "priority", "protocol"), 9) | {"use_time": 1000, "policy_type": "main"}
    used |= {"direction": "out", "action": "allow", "source": "10.0.0.0/8", "destination": "::/0"}
    counted = sample(
        1002.0,
        state(mark=1, mark_mask=3, if_id=5, direction="in", hard_byte_limit=7, use_time=1001, last_used=1001),
        policies=[used],
        statistics={"XfrmInError": 2**64 - 1},
    )
    shown = top_model.Shown(counted, sample(1001.0))
    return [
        explain._document(answer, context),
        tree._document(tree.Joined(policies, [full_state(), own]), context),
        top.document(shown, shown.states),
    ]


def samples() -> list[dict[str, Any]]:
    """Documents of every kind, with every part."""
    policy = Policy(
        direction="in",
        templates=[Template()],
        mark=Mark(1),
        offload=Offload(1),
        security_context="label",
        attributes=[Attribute(60, b"1")],
    )
    move = Move("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")
    managers = xfrm_ext.KmAddress("10.0.0.1", "10.0.0.2")
    refused = kernel_error(2, "delete policy", "why", "XFRMA_TMPL", 1, 2)
    refused.which = policy.id
    result = LoadResult("add", Indices([range(1)]), [refused], rollback_error=refused)
    counters = StateCounters(
        **{name: 1 for name in StateCounters.__dataclass_fields__ if name not in ("protocol", "mode", "direction")}
        | {"source": "::", "destination": "::", "mark": Mark(1)},  # type: ignore[arg-type]
        protocol=Protocol.ESP,
        mode=xfrm_ext.Mode.TUNNEL,
        direction=None,
    )
    values = [
        policy,
        policy.id,
        full_state(),
        states()[0],
        full_state().id,
        xfrm_ext.StateFilter("esp", "10.0.0.0/8"),
        xfrm_ext.SpiRequest(full_state()),
        xfrm_ext.StateExpired(full_state(), True),
        xfrm_ext.PolicyExpired(policy, False),
        xfrm_ext.Acquire(
            source="10.0.0.1",
            destination="10.0.0.2",
            protocol=Protocol.ESP,
            selector=Selector(),
            policy=policy,
            sequence=1,
        ),
        xfrm_ext.AsyncEvent(full_state(), replay=ReplayState(), lifetime=LifetimeCurrent(), cpu=1),
        xfrm_ext.Report(Protocol.ESP, Selector(), "10.0.0.1"),
        xfrm_ext.Mapping(full_state().id, 1, "10.0.0.1", 1, "10.0.0.2", 2),
        Migration(
            Selector(), "in", [move], key_managers=managers, encapsulation=Encapsulation(), offload=Offload(1)
        ),
        StateMigration(full_state(), "10.0.0.1", "10.0.0.2", encapsulation=Encapsulation(), offload=Offload(1)),
        xfrm_ext.SadInfo(),
        xfrm_ext.SpdInfo(),
        xfrm_ext.SpdThresholds((32, 32), (128, 128)),
        xfrm_ext.PolicyDefaults(),
        counters,
        Request(Message.DELPOLICY, policy.id),
        Event(message=Message.NEWPOLICY, body=policy),
        Overrun(),
        result,
        LoadError("it ended", result),
    ]
    timed = [event_document(value, time=0) for value in values if isinstance(value, (Event, Overrun))]
    return [*map(to_document, values), *timed, *looked()]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert {each["$ref"].rpartition("/")[2] for each in DEFINITIONS["document"]["oneOf"]} == KINDS


def test_every_property_is_in_some_document_and_the_reverse() -> None:
    found: set[tuple[str, str]] = set()
    for document in samples():
        is_valid(document)  # and so has no property that is not in the schema: see the next test
        found.update(visited(DEFINITIONS[document["kind"]], document, document["kind"]))
    assert {document["kind"] for document in samples()} == KINDS
    assert found == {(name, each) for name, schema in OBJECTS.items() for each in schema["properties"]}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_have_no_other_properties(name: str) -> None:
    assert OBJECTS[name]["additionalProperties"] is False
    assert OBJECTS[name]["type"] == "object"


def test_documents_always_have_all_properties() -> None:
    for document in samples():
        wanted = set(OBJECTS[document["kind"]]["properties"]) - {"time"}
        assert set(document) - {"time"} == wanted


@settings(max_examples=60)
@given(
    st.sampled_from(list(strategies.BODIES)).flatmap(lambda kind: st.tuples(st.just(kind), strategies.BODIES[kind]))
)
def test_every_document_is_valid(pair: tuple[Message, Any]) -> None:
    message, body = pair
    is_valid(to_document(Request(message, body)))
    is_valid(to_document(Request(message, body), show_keys=True))
    is_valid(to_document(Event(message=message, body=body, sequence=2**32 - 1, namespace_id=3)))


def test_odd_documents_are_valid() -> None:
    for value in (
        Event(message=Message(99), body=Secret(KEY)),
        Event(message=Message.FLUSHSA, body=None),
        LoadResult("add", Indices([range(2**40)])),
        xfrm_ext.ValidationError("Policy.priority", "-1", "is wrong"),
        FileNotFoundError(2, "No such file", "f"),
    ):
        is_valid(to_document(value))


def test_a_document_is_of_one_kind() -> None:
    for document in samples():
        VALIDATORS["document"].validate(document)
        Draft202012Validator(SCHEMA).validate([document, document])


def test_what_was_dumped_is_valid(session: Session) -> None:
    session.spd.load(
        [Policy(Selector(None, "10.0.0.0/8"), direction="out", templates=[Template()]), Policy(direction="in")]
    )
    for policy in session.spd.dump():
        is_valid(to_document(policy, interface_name=str))
    for value in (session.info().spd, session.info().sad, session.info().defaults):
        is_valid(to_document(value))


# --- one fact in one place --------------------------------------------------------------------------------


def snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


WORDED = [
    kind
    for kind in vars(constants).values()
    if isinstance(kind, type)
    and issubclass(kind, (Enumeration, Flags))
    and kind.__name__ not in ("Enumeration", "Flags", "Group")
]


@pytest.mark.parametrize("kind", WORDED)
def test_words_are_those_of_the_constants(kind: Any) -> None:
    if issubclass(kind, Flags):
        schema = DEFINITIONS[f"{snake(kind.__name__)}s"]["items"]
    else:
        schema = DEFINITIONS[snake(kind.__name__)]
    assert schema["anyOf"][0]["enum"] == [word(member) for member in kind]


def test_the_words_are_ips() -> None:
    """Those that scripts know."""
    assert DEFINITIONS["mode"]["anyOf"][0]["enum"] == ["transport", "tunnel", "ro", "in_trigger", "beet", "iptfs"]
    assert DEFINITIONS["state_flags"]["items"]["anyOf"][0]["enum"] == (
        ["noecn", "decap-dscp", "nopmtudisc", "wildrecv", "icmp", "af-unspec", "align4", "esn"]
    )
    assert DEFINITIONS["encapsulation_type"]["anyOf"][0]["enum"] == ["espinudp-nonike", "espinudp", "espintcp"]
    assert DEFINITIONS["protocol"]["anyOf"][0]["enum"][-1] == "ipsec-any"


def test_protocols_of_packets_are_those_that_selectors_know() -> None:
    assert DEFINITIONS["packet_protocol"]["anyOf"][0]["enum"] == list(PROTOCOLS)


def test_events_have_the_words_of_the_table() -> None:
    assert set(OBJECTS["event"]["properties"]["event"]["enum"]) == {*documents.EVENTS.values(), "unknown"}
    assert set(documents.EVENTS) <= set(Message.__members__)


def test_the_words_of_what_is_looked_at_are_those_of_the_commands() -> None:
    explanation = OBJECTS["explanation"]["properties"]
    assert explanation["result"]["enum"] == list(explain._STYLES)
    assert set(explanation["direction"]["enum"]) == set(explain._DIRECTIONS)
    assert OBJECTS["sample_limit"]["properties"]["kind"]["enum"] == list(top_model._KINDS)
    assert {document["kind"] for document in looked()} == set(LOOKED)


@pytest.mark.parametrize("name", [*CLASSES, *PARTS])
def test_what_input_must_have_is_what_has_no_default(name: str) -> None:
    parameters = inspect.signature({**CLASSES, **PARTS}[name]).parameters.values()
    needed = {each.name for each in parameters if each.default is each.empty}
    assert set(OBJECTS[name]["required"]) - {"kind"} == needed


def without_defaults(name: str) -> dict[str, Any]:
    """An object of a definition that has what it must have."""
    schema = OBJECTS[name]
    values: dict[str, Any] = {}
    for each in schema["required"]:
        values[each] = schema["properties"][each].get("const", MUST.get(each))
        if each in OBJECTS and values[each] is None:
            values[each] = without_defaults(each)
        assert values[each] is not None, each
    return values


MUST: dict[str, Any] = {
    "value": 1,
    "context": "label",
    "interface": 1,
    "type": 60,
    "payload": "0x00",
    "name": "cbc(aes)",
    "key": "0x00",
    "spi": "0x00000001",
    "hard": False,
    "sequence": 1,
    "protocol": "esp",
    "direction": "in",
    "moves": [],
    "reqid": 1,
    "old_port": 1,
    "new_port": 1,
    "id": {"kind": "state_id", "destination": "10.0.0.1"},
    **dict.fromkeys(("source", "destination", "old_source", "old_destination"), "10.0.0.1"),
    **dict.fromkeys(("new_source", "new_destination", "local", "remote"), "10.0.0.2"),
}
HOMES = {
    **dict.fromkeys(("selector", "mark", "lifetime", "security_context", "offload"), "policy"),
    "lifetime_used": "policy.current",
    "template": "policy.templates[]",
    "attribute": "policy.attributes[]",
    "algorithm": "state.encryption",
    "auth_algorithm": "state.authentication",
    "aead_algorithm": "state.aead",
    "encapsulation": "state",
    "replay": "state",
    "state_statistics": "state.statistics",
    "iptfs": "state",
    "move": "migration.moves[]",
    "km_address": "migration.key_managers",
}
"""Where a part may stand."""


def home(name: str, inner: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A document with a part in it, and the way to that."""
    if name not in HOMES:
        return inner, []
    kind, _, field = HOMES[name].partition(".")
    field = field or name
    outer = without_defaults(kind)
    several = field.endswith("[]")
    field = field.removesuffix("[]")
    outer[field] = [inner] if several else inner
    return outer, [field, 0] if several else [field]


@pytest.mark.parametrize("name", [*CLASSES, *PARTS])
def test_what_is_left_out_has_the_default_of_the_schema(name: str) -> None:
    inner = without_defaults(name)
    inner.update(NEEDED.get(name, {}))
    document, way = home(name, inner)
    kind = document["kind"]
    if kind not in ("policy", "state"):
        document, way = {"kind": "request", "message": "newsa", "body": document}, ["body", *way]
    is_valid(document)
    given_back: Any = to_document(from_document(document), show_keys=True)
    for step in way:
        given_back = given_back[step]
    for each, schema in OBJECTS[name]["properties"].items():
        if each in inner:
            assert given_back[each] == inner[each] or isinstance(inner[each], dict)
        elif "default" in schema and (name, each) not in FOUND_OUT:
            assert given_back[each] == schema["default"], each


NEEDED: dict[str, dict[str, Any]] = {"policy_id": {"index": 8}, "iptfs": {"dont_fragment": True}}
"""Of several members one."""
FOUND_OUT = {("acquire", "family"), ("state", "family")}
"""Defaults that stand for what the addresses say."""

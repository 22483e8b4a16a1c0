# SPDX-License-Identifier: MIT
"""Keys: seen by who asks for them with reveal(), and by nobody else; and gone when they are no longer in use."""

from __future__ import annotations

import base64
import copy
import ctypes
import dataclasses
import gc
import io
import json
import logging
import os
import pickle
import struct
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest

import xfrm_ext
from xfrm_ext import (
    AeadAlgorithm,
    Algorithm,
    Attribute,
    AuthAlgorithm,
    Event,
    KernelError,
    LoadError,
    Message,
    Mode,
    ProtocolError,
    RepliesLost,
    Request,
    Secret,
    Session,
    SpiRequest,
    State,
    StateExpired,
    ValidationError,
    wire,
)
from xfrm_ext.codec import native, pure
from xfrm_ext.testing import Answer, FakeTransport, Refusal

# No byte twice in a row, none that texts have by chance; the salt is part of it.
KEY = bytes((37 * number + 129) % 256 for number in range(36))
OTHER = bytes((41 * number + 7) % 256 for number in range(32))
AEAD_NAME = "rfc4106(gcm(aes))"


def states() -> list[State]:
    """States with the key in each of the places that one can be."""
    return [
        State("10.0.0.1", "10.0.0.2", spi=1, aead=AeadAlgorithm(AEAD_NAME, KEY)),
        State(
            "10.0.0.1",
            "10.0.0.2",
            spi=2,
            encryption=Algorithm("cbc(aes)", KEY[:32]),
            authentication=AuthAlgorithm("hmac(sha256)", OTHER),
        ),
        State("10.0.0.1", "10.0.0.2", spi=3, compression=Algorithm("deflate", KEY, strict=False)),
        State("10.0.0.1", "10.0.0.2", spi=4, attributes=[Attribute(18, KEY), Attribute(0x8002, OTHER)]),
    ]


def traces(key: bytes) -> list[str]:
    """What a text that gives a key away has in it, of any eight bytes in a row."""
    found = []
    for start in range(0, len(key) - 7):
        part = key[start : start + 8]
        found += [
            part.hex(),
            part.hex().upper(),
            part.hex(" "),
            part.hex(":"),
            repr(part)[2:-1],
            str(list(part))[1:-1],
            ",".join(map(str, part)),
            base64.b64encode(part)[:10].decode(),
            part.decode("latin-1"),
            hex(int.from_bytes(part, "big")),
            hex(int.from_bytes(part, "little")),
        ]
    whole = base64.b64encode(key).decode()
    return [*found, whole, whole[: len(whole) // 2], base64.b85encode(key).decode()]


TRACES = [*traces(KEY), *traces(OTHER), *traces(KEY[:32])]


def safe(text: str | bytes) -> None:
    if isinstance(text, bytes):
        assert KEY[:8] not in text
        assert OTHER[:8] not in text
        text = text.decode("latin-1")
    for trace in TRACES:
        assert trace not in text


def values() -> list[Any]:
    """Everything that may have a key in it."""
    message = native.encode(states()[0])
    return [
        *states(),
        *[state.aead for state in states()],
        *[state.encryption for state in states()],
        *[state.authentication for state in states()],
        *[state.compression for state in states()],
        *[state.attributes for state in states()],
        Secret(KEY),
        [Secret(KEY)],
        Request(Message.UPDSA, states()[0]),
        SpiRequest(states()[1], 1, 2),
        StateExpired(states()[1], True),
        Event(message=Message.NEWSA, body=states()[0]),
        native.codec.decode_event(message[:-4]),  # which can't be read
        native.codec.decode_event(message),
        pure.codec.decode_event(message),
        native.decode(message),
        pure.decode(message),
        State._from_message(message, pure.codec.wire),
        wire.memory(KEY),
        pure.codec.wire.memory(KEY),
        native.codec.encode_wiped(states()[0]),
        pure.codec.encode_wiped(states()[0]),
        wire.unpack(message),
        pure.codec.wire.unpack(message),
        xfrm_ext.LoadResult("add"),
    ]


def test_the_check_itself() -> None:
    """What it looks for is found where it is."""
    for given in (
        KEY,
        KEY.hex(),
        list(KEY),
        base64.b64encode(KEY),
        bytearray(KEY),
        {"key": KEY},
        memoryview(KEY)[3:],
    ):
        shown = repr(given.tobytes() if isinstance(given, memoryview) else given)
        with pytest.raises(AssertionError):
            safe(shown)
    with pytest.raises(AssertionError):
        safe(b"message" + OTHER)


@pytest.mark.parametrize("number", range(len(values())))
class TestNothingShowsKeys:
    def test_texts(self, number: int) -> None:
        value = values()[number]
        for text in (repr(value), str(value), ascii(value), f"{value}", f"{value!r:>50}", f"{value!s}"):
            safe(text)
        safe("%s %r" % (value, value))  # noqa: UP031

    def test_logs(self, number: int) -> None:
        stream = io.StringIO()
        logger = logging.Logger("test")
        logger.addHandler(logging.StreamHandler(stream))
        value = values()[number]
        logger.warning("%s %r", value, value)
        logger.warning(value)
        assert stream.getvalue()
        safe(stream.getvalue())

    def test_json(self, number: int) -> None:
        value = values()[number]
        if value is None or isinstance(value, tuple):
            return
        with pytest.raises(TypeError):
            json.dumps(value)
        safe(json.dumps(value, default=str))
        safe(json.dumps(value, default=repr))

    def test_pickle(self, number: int) -> None:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            try:
                data = pickle.dumps(values()[number], protocol)
            except TypeError as error:
                safe(str(error))
            else:
                safe(data)

    def test_copies(self, number: int) -> None:
        value = values()[number]
        for copied in (copy.copy(value), copy.deepcopy(value)) if not _is_memory(value) else ():
            safe(repr(copied))

    def test_as_dictionaries(self, number: int) -> None:
        value = values()[number]
        if not dataclasses.is_dataclass(value) or isinstance(value, type):
            return
        safe(repr(dataclasses.asdict(value)))
        safe(repr(dataclasses.astuple(value)))
        safe(repr([getattr(value, field.name) for field in dataclasses.fields(value)]))
        with pytest.raises(TypeError):
            vars(value)


def _is_memory(value: Any) -> bool:
    """Whether it is, or holds, the memory itself, which nobody outside of the package sees."""
    return isinstance(value, tuple) or type(value) in [
        type(codec.wire.memory(b"")) for codec in (native.codec, pure.codec)
    ]


class TestSecret:
    def test_who_asks_gets_it(self) -> None:
        for given in (KEY, bytearray(KEY), memoryview(KEY), KEY.hex(), "0x" + KEY.hex(), Secret(KEY)):
            assert Secret(given).reveal() == KEY
        assert AeadAlgorithm(AEAD_NAME, KEY).key.reveal() == KEY
        assert repr(Secret(KEY)) == str(Secret(KEY)) == "Secret(288 bits)"
        assert len(Secret(KEY)) == 36

    def test_is_a_copy(self) -> None:
        given = bytearray(KEY)
        secret = Secret(given)
        given[:] = bytes(len(given))
        assert secret.reveal() == KEY

    def test_is_compared_whole(self) -> None:
        assert Secret(KEY) == Secret(KEY)
        assert Secret(KEY) != Secret(KEY[:-1])
        assert Secret(KEY) != Secret(KEY[:-1] + b"\0")
        assert Secret(KEY) != KEY
        assert len({Secret(KEY), Secret(KEY), Secret(OTHER)}) == 2
        assert hash(Secret(KEY)) == hash(Secret(bytes(36))), "the hash tells the length only"

    def test_is_no_sequence(self) -> None:
        given: Any = Secret(KEY)
        for use in (iter, list, bytes, memoryview, "".join, lambda one: one[0], lambda one: one + b"", int, float):
            with pytest.raises(TypeError):
                use(given)
        with pytest.raises(TypeError):
            f"{given:x}"
        with pytest.raises(AttributeError):
            given.key = 1

    def test_states_are_equal_by_key(self) -> None:
        one, other = (
            State("10.0.0.1", "10.0.0.2", spi=1, aead=AeadAlgorithm(AEAD_NAME, key)) for key in (KEY, KEY)
        )
        assert one == other
        assert one != dataclasses.replace(one, aead=AeadAlgorithm(AEAD_NAME, KEY[::-1]))
        assert hash(one) == hash(other)


def test_states_without_keys_can_be_pickled() -> None:
    for state in (
        State("10.0.0.1", "10.0.0.2", spi=1),
        State("10.0.0.1", "10.0.0.2", spi=1, compression=Algorithm("deflate"), protocol="comp"),
        State("10.0.0.1", "10.0.0.2", spi=1, encryption=Algorithm("ecb(cipher_null)")),
    ):
        assert pickle.loads(pickle.dumps(state)) == state


def test_states_keep_what_no_field_shows_out_of_pickles() -> None:
    """Of two attributes of a kind the last counts; the first is still in the message."""
    first = struct.pack("=HH64sI", 72 + 32, 2, b"cbc(aes)", 256) + KEY[:32]
    last = struct.pack("=HH64sI", 72, 2, b"ecb(cipher_null)", 0)
    message = bytearray(native.encode(State("10.0.0.1", "10.0.0.2", spi=1)) + first + last)
    message[0:4] = struct.pack("=I", len(message))
    state = native.decode(bytes(message))
    assert isinstance(state, State)
    assert state.encryption == Algorithm("ecb(cipher_null)")
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(state)
    safe(repr(state))


# --- errors -----------------------------------------------------------------------------------------------

WRONG: list[Callable[[], object]] = [
    lambda: AeadAlgorithm(AEAD_NAME, KEY[:-1]),
    lambda: AeadAlgorithm(AEAD_NAME, KEY.hex() + "00"),
    lambda: AeadAlgorithm(AEAD_NAME, KEY, 100),
    lambda: AeadAlgorithm(AEAD_NAME, KEY * 300, strict=False),
    lambda: Algorithm("cbc(aes)", KEY),
    lambda: Algorithm("cbc(aes)", KEY, key_bits=5),
    lambda: AuthAlgorithm("hmac(sha256)", KEY),
    lambda: Attribute(18, bytearray(KEY)),  # type: ignore[arg-type]
    lambda: Attribute(2, KEY * 2000),
    lambda: native.encode(Request(Message.NEWPOLICY, states()[0])),
    lambda: native.encode([states()[0]]),  # type: ignore[arg-type]
    lambda: dataclasses.replace(states()[0], spi=-1),
    lambda: dataclasses.replace(states()[1], attributes=(Attribute(2, KEY),) * 2000),
]
"""A key that is wrong, or beside something that is."""
MISPLACED: list[Callable[[], object]] = [
    lambda: AeadAlgorithm(AEAD_NAME, KEY.hex()[:-1]),
    lambda: AeadAlgorithm(AEAD_NAME, list(KEY)),  # type: ignore[arg-type]
    lambda: AeadAlgorithm(AEAD_NAME, base64.b64encode(KEY).decode()),
    lambda: AeadAlgorithm(AEAD_NAME, int.from_bytes(KEY, "big")),  # type: ignore[arg-type]
    lambda: AeadAlgorithm(AEAD_NAME, KEY.decode("latin-1")),
    lambda: AeadAlgorithm(KEY, AEAD_NAME),  # type: ignore[arg-type]
    lambda: AeadAlgorithm(KEY.hex(), AEAD_NAME),
    lambda: AeadAlgorithm(KEY.hex(), KEY),
    lambda: AeadAlgorithm(KEY.decode("latin-1"), AEAD_NAME),
    lambda: Algorithm(KEY, "cbc(aes)"),  # type: ignore[arg-type]
    lambda: AuthAlgorithm("hmac(sha256)", 128, OTHER),  # type: ignore[arg-type]
    lambda: Secret({"key": KEY}),  # type: ignore[arg-type]
    lambda: Secret(KEY.hex()[1:]),
    lambda: State("10.0.0.1", "10.0.0.2", spi=1, aead=KEY),  # type: ignore[arg-type]
    lambda: State("10.0.0.1", "10.0.0.2", spi=1, aead=(AEAD_NAME, KEY)),  # type: ignore[arg-type]
    lambda: State("10.0.0.1", "10.0.0.2", spi=1, encryption=KEY),  # type: ignore[arg-type]
    lambda: State("10.0.0.1", "10.0.0.2", spi=1, encryption=KEY.hex()),  # type: ignore[arg-type]
    lambda: State("10.0.0.1", "10.0.0.2", spi=1, authentication=["hmac(sha256)", OTHER]),  # type: ignore[arg-type]
    lambda: State("10.0.0.1", "10.0.0.2", spi=1, compression={"deflate": KEY}),  # type: ignore[arg-type]
]
"""A key where none is expected, or as what none can be: no text has it, though the frames have what was given."""


def locals_of(trace: TracebackType | None) -> Iterator[tuple[str, str, Any]]:
    """File, name and value of everything in the package's own frames of a traceback."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if os.path.dirname(__file__) not in file and "xfrm_ext" in file and not file.endswith("testing.py"):
            for name, value in trace.tb_frame.f_locals.items():
                yield file, name, value
        trace = trace.tb_next


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def check(error: BaseException) -> int:
    """An error, and those behind it, as tools show them: with all locals."""
    count = 0
    for one in chain(error):
        for text in (str(one), repr(one), repr(one.args), repr(vars(one))):
            safe(text)
        for file, name, value in locals_of(one.__traceback__):
            count += 1
            try:
                safe(bytes(value) if type(value) in (bytes, bytearray) else _shown(value))
            except AssertionError:
                raise AssertionError(f"{name} in {file}, a {type(value).__name__}, shows the key") from None
    try:
        safe(pickle.dumps(error))
    except TypeError as refused:
        safe(str(refused))
    return count


def _shown(value: object) -> str:
    try:
        return repr(value)
    except (AttributeError, ProtocolError) as error:  # of a value that was still being made
        return str(error)


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors_of_values(number: int) -> None:
    with pytest.raises(ValidationError) as caught:
        WRONG[number]()
    assert check(caught.value)


@pytest.mark.parametrize("number", range(len(MISPLACED)))
def test_texts_of_errors(number: int) -> None:
    with pytest.raises(ValidationError) as caught:
        MISPLACED[number]()
    for error in chain(caught.value):
        safe("".join(traceback.format_exception_only(error)) + repr(error) + repr(vars(error)))
    safe(pickle.dumps(caught.value))


def answering(answer: Callable[[bytes], Answer]) -> Session:
    return Session(transport=FakeTransport(answer))


def refuse(message: bytes) -> Answer:
    return Refusal(22, "Requested AEAD algorithm not found", 256)


def lose(message: bytes) -> Answer:
    raise RepliesLost("lost")


def garbage(message: bytes) -> Answer:
    """A state that is cut in the middle of its key."""
    told = native.encode(states()[0])
    broken = bytearray(told + struct.pack("=HH", 3, 1) + bytes(4))
    broken[0:4] = struct.pack("=I", len(broken))
    return bytes(broken) if message[5:6] != b"\x03" and not message[7] & 3 else [told, bytes(broken)]


def read_all(session: Session) -> list[Any]:
    return [dataclasses.asdict(state) for state in session.sad.dump()]


CALLS: dict[str, Callable[[Session], object]] = {
    "add": lambda session: session.sad.add(states()[0]),
    "update": lambda session: session.sad.update(states()[1]),
    "get": lambda session: session.sad.get(states()[0]),
    "delete": lambda session: session.sad.delete(states()[0]),
    "expire": lambda session: session.sad.expire(states()[0], hard=True),
    "dump": read_all,
    "load": lambda session: session.sad.load(states()[:2]),
    "load of a generator": lambda session: session.sad.load(iter(states()[:2])),
    "rollback": lambda session: session.sad.load(states()[:2], on_error="rollback"),
}


def failure(call: Callable[[Session], object], session: Session) -> Exception | None:
    try:
        call(session)
    except (KernelError, RepliesLost, ProtocolError, LoadError) as error:
        return error
    return None


@pytest.mark.parametrize("answer", [refuse, lose, garbage], ids=lambda answer: answer.__name__)
@pytest.mark.parametrize("call", CALLS)
def test_errors_of_sessions(call: str, answer: Callable[[bytes], Answer]) -> None:
    with answering(answer) as session:
        error = failure(CALLS[call], session)
    if error is None:
        assert answer is garbage, "what is refused, or lost, is an error"
        return
    assert check(error)
    if isinstance(error, LoadError):
        safe(repr(error.result) + error.result.summary() + repr(list(error.result.failed)))


@pytest.mark.parametrize("call", ["add", "update", "delete", "load", "load of a generator", "rollback"])
def test_errors_of_the_kernel(session: Session, call: str) -> None:
    """It refuses the mode, whatever else it knows of: and what was sent to it is gone from the frames."""
    refused = [dataclasses.replace(state, mode=Mode(9)) for state in states()[:2]]
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: session.sad.add(refused[0]),
        "update": lambda: session.sad.update(refused[1]),
        "delete": lambda: session.sad.delete(refused[0]),
        "load": lambda: session.sad.load(refused),
        "load of a generator": lambda: session.sad.load(iter(refused)),
        "rollback": lambda: session.sad.load(refused, on_error="rollback"),
    }
    with pytest.raises((KernelError, LoadError)) as caught:
        calls[call]()
    assert check(caught.value)


# --- memory -----------------------------------------------------------------------------------------------


class Watched(FakeTransport):
    """A scripted kernel that keeps the very buffers that it is given, as a thief would."""

    def __init__(self, handler: Callable[[bytes], Answer]) -> None:
        super().__init__(handler)
        self.given: list[Any] = []
        self.replies: list[bytearray] = []

    def talk(self, message: Any, operation: str, *, answer: bool = False, timeout: float | None = None) -> Any:
        self.given.append(message)
        reply = super().talk(message, operation, answer=answer, timeout=timeout)
        self.sent.clear()
        if reply is not None:
            self.replies.append(reply)
        return reply

    def talk_batch(self, block: bytearray, count: int, **options: Any) -> None:
        self.given.append(block)
        super().talk_batch(block, count, **options)
        self.sent.clear()

    def dump(self, message: bytes, operation: str, *, timeout: float | None = None) -> Iterator[Any]:
        for block in super().dump(message, operation, timeout=timeout):
            self.replies.append(block)
            yield block

    def open_beside(self, protocol: int | None = None) -> FakeTransport:
        return self


def test_replies_are_wiped() -> None:
    told = native.encode(states()[0])
    kernel = Watched(lambda message: [told, told] if message[7] & 3 == 3 else told)
    with Session(transport=kernel) as session:
        assert session.sad.get(states()[0]) == states()[0]
        assert [*session.sad.dump()] == [states()[0]] * 2
        for _ in session.sad.dump():
            break
        gc.collect()
        assert len(kernel.replies) == 4, (
            "two of them a dump's, and one that of a dump which was not read to its end"
        )
        assert not any(map(any, kernel.replies))
        # What was read has its own copy.
        state = next(session.sad.dump())
        assert state.aead is not None
        assert state.aead.key.reveal() == KEY


def test_blocks_of_loads_are_wiped() -> None:
    kernel = Watched(lambda message: None)
    with Session(transport=kernel) as session:
        assert session.sad.load(states()[:2] * 100, batch=64).summary() == "200 applied"
        for on_error in ("collect", "rollback"):
            kernel.handler = refuse
            with pytest.raises(LoadError) if on_error == "rollback" else _nothing():
                session.sad.load(iter(states()[:2]), on_error=on_error)
    assert kernel.given
    gc.collect()
    for block in kernel.given:
        safe(bytes(block))


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


SANITIZED = any(name in os.environ.get("LD_PRELOAD", "") for name in ("asan", "tsan", "libasan"))


@pytest.mark.skipif(SANITIZED, reason="a sanitizer takes memory that is read after it was freed for an error")
@pytest.mark.skipif(wire.NAME != "native", reason="where Python keeps bytes nobody knows")
def test_memory_is_wiped_when_it_is_freed() -> None:
    """Read after it was freed: the first bytes are the allocator's by then, and what follows has to be zero."""
    from xfrm_ext._native import ffi

    def addresses() -> list[tuple[int, int]]:
        state = State("10.0.0.1", "10.0.0.2", spi=1, aead=AeadAlgorithm(AEAD_NAME, KEY))
        found = []
        for memory in (state._wire, state.aead.key._memory, wire.memory(KEY * 20)):  # type: ignore[union-attr]
            address = int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))
            assert KEY in ctypes.string_at(address, len(memory))
            found.append((address, len(memory)))
        return found

    gc.collect()
    found = addresses()
    gc.collect()
    for address, size in found:
        assert KEY[16:] not in ctypes.string_at(address, size)


def test_pure_memory_is_wiped_too() -> None:
    """As far as Python can: where nobody else made a copy."""
    memory = pure.codec.wire.memory(KEY * 20)
    address = (ctypes.c_char * len(memory)).from_buffer(memory)
    where, size = ctypes.addressof(address), len(memory)
    del address
    memory.__del__()
    assert ctypes.string_at(where, size) == bytes(size)
    del memory

# SPDX-License-Identifier: MIT
"""Wanted and Rekey: from an ACQUIRE to states, and make before break at every point where it can fail.

What needs real states, with algorithms, is in tests/guest.
"""

from __future__ import annotations

import errno
import fcntl
import pickle
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xfrm_ext import (
    Acquire,
    AeadAlgorithm,
    Event,
    Family,
    KernelError,
    Mark,
    Message,
    Mode,
    NotFound,
    Policy,
    Protocol,
    Rekey,
    RekeyError,
    RepliesLost,
    Request,
    Selector,
    Session,
    State,
    StateDirection,
    StateId,
    Template,
    ValidationError,
    Wanted,
)
from xfrm_ext.codec import native
from xfrm_ext.testing import Answer, FakeTransport, Refusal, inside

KEY = bytes(range(100, 120))
AEAD = AeadAlgorithm("rfc4106(gcm(aes))", KEY, 128)
HERE, THERE = "192.0.2.1", "198.51.100.2"


# --- Wanted ---------------------------------------------------------------------------------------------


@contextmanager
def loopback(namespace: int) -> Iterator[socket.socket]:
    """A UDP socket in a namespace whose loopback interface is up, and looked at by XFRM."""
    with inside(namespace):
        Path("/proc/sys/net/ipv4/conf/lo/disable_xfrm").write_text("0")
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        fcntl.ioctl(sender, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
        yield sender


def acquire_for(session: Session, namespace: int, policy: Policy) -> Acquire:
    """The ACQUIRE that a packet to 127.0.0.2 causes."""
    session.spd.add(policy)
    with session.subscribe("acquire") as events, loopback(namespace) as sender:
        if policy.mark is not None:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, policy.mark.value)
        sender.sendto(b"x", ("127.0.0.2", 99))
        event = events.get(timeout=10)
    assert isinstance(event, Event)
    assert isinstance(event.body, Acquire)
    return event.body


def wanting(mark: Mark | None = None) -> Policy:
    template = Template("127.0.0.1", "127.0.0.2", mode="tunnel", reqid=9)
    return Policy(Selector(destination="127.0.0.2/32"), direction="out", templates=[template], mark=mark)


def test_what_an_acquire_wants(session: Session, namespace: int) -> None:
    acquire = acquire_for(session, namespace, wanting())
    assert Wanted.of(acquire) == Wanted(
        source="127.0.0.1",
        destination="127.0.0.2",
        protocol=Protocol.ESP,
        mode=Mode.TUNNEL,
        reqid=9,
        sequence=acquire.sequence,
        direction=StateDirection.OUT,
    )


@pytest.mark.parametrize("mark", [None, Mark(5, 0xFF)])
def test_the_larval_state_gets_the_spi(session: Session, namespace: int, mark: Mark | None) -> None:
    """The one that the ACQUIRE is about, and no second one."""
    acquire = acquire_for(session, namespace, wanting(mark))
    (larval,) = session.sad.dump()
    assert (larval.sequence, larval.spi) == (acquire.sequence, 0)
    state = Wanted.of(acquire).allocate(session, minimum=0x5000, maximum=0x5FFF)
    assert 0x5000 <= state.spi <= 0x5FFF
    (larval,) = session.sad.dump()
    assert (larval.sequence, larval.spi, larval.reqid, larval.mode) == (acquire.sequence, state.spi, 9, Mode.TUNNEL)
    assert (larval.source, larval.destination, larval.mark) == ("127.0.0.1", "127.0.0.2", mark)


def test_an_spi_for_the_way_back(session: Session, namespace: int) -> None:
    acquire = acquire_for(session, namespace, wanting())
    back = Wanted.of(acquire).reverse()
    assert (back.source, back.destination, back.sequence) == ("127.0.0.2", "127.0.0.1", 0)
    assert back.direction == StateDirection.IN
    state = back.allocate(session)
    found = {(larval.destination, larval.spi, larval.direction) for larval in session.sad.dump()}
    assert found == {("127.0.0.2", 0, StateDirection.OUT), ("127.0.0.1", state.spi, StateDirection.IN)}


def test_policy_with_a_mark_and_an_if_id() -> None:
    """They are part of what the kernel looks states up by."""
    template = Template(HERE, THERE, protocol="ah", mode="beet", reqid=4)
    policy = Policy(direction="out", templates=[template], mark=Mark(5, 0xFF), if_id=6)
    wanted = Wanted.of(acquire_of(policy, Protocol.AH, cpu=3))
    assert (wanted.mark, wanted.if_id, wanted.cpu, wanted.mode) == (Mark(5, 0xFF), 6, 3, Mode.BEET)
    state = wanted.state(0x100, aead=AEAD, flags="esn")
    assert (state.mark, state.if_id, state.cpu, state.reqid, state.sequence) == (Mark(5, 0xFF), 6, 3, 4, 77)
    assert (state.source, state.destination, state.protocol, state.mode) == (HERE, THERE, Protocol.AH, Mode.BEET)
    assert (state.aead, state.replay_window) == (AEAD, 0)
    assert wanted.reverse().state(0x100, aead=AEAD).replay_window == 32


def acquire_of(policy: Policy, protocol: Protocol = Protocol.ESP, cpu: int | None = None) -> Acquire:
    return Acquire(
        source=HERE,
        destination=THERE,
        protocol=protocol,
        selector=Selector(f"{HERE}/32", f"{THERE}/32"),
        policy=policy,
        sequence=77,
        family=Family.INET,
        cpu=cpu,
    )


def test_the_template_of_the_protocol_counts() -> None:
    templates = [
        Template(HERE, THERE, protocol="comp", mode="tunnel", reqid=1),
        Template(HERE, THERE, protocol="esp", mode="transport", reqid=2),
    ]
    policy = Policy(direction="out", templates=templates)
    assert (Wanted.of(acquire_of(policy)).mode, Wanted.of(acquire_of(policy)).reqid) == (Mode.TRANSPORT, 2)
    assert Wanted.of(acquire_of(policy, Protocol.COMP)).reqid == 1
    with pytest.raises(ValidationError, match="acquire: names no template"):
        Wanted.of(acquire_of(policy, Protocol.AH))


def test_bad_input() -> None:
    wanted = Wanted.of(acquire_of(Policy(direction="out", templates=[Template(HERE, THERE)])))
    with pytest.raises(ValidationError, match=r"acquire: .* is not an? Acquire"):
        Wanted.of(Policy(direction="out"))  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="reqid: is part of what is wanted"):
        wanted.state(1, reqid=3)
    with pytest.raises(ValidationError, match=r"State\.spi: -1 is not an integer"):
        wanted.state(-1)


# --- Rekey ----------------------------------------------------------------------------------------------


def pair(first: int) -> tuple[State, State]:
    """Inbound and outbound."""
    return (
        State(THERE, HERE, spi=first, aead=AEAD, direction="in"),
        State(HERE, THERE, spi=first + 1, aead=AEAD, direction="out"),
    )


NEW_IN, NEW_OUT = pair(0x2000)
OLD_IN, OLD_OUT = pair(0x1000)
ORDER = [
    "update inbound esp 0x2000",
    "add outbound esp 0x2001",
    "delete outbound esp 0x1001",
    "delete inbound esp 0x1000",
]


class Kernel:
    """Writes down what is asked, and refuses what it is told to."""

    def __init__(self, answers: dict[int, Answer | Exception] | None = None) -> None:
        self.transport = FakeTransport(self.answer)
        self.session = Session(transport=self.transport)
        self.answers = answers or {}
        self.done: list[tuple[Message, int]] = []

    def answer(self, message: bytes) -> Answer:
        request = native.decode(message)
        if isinstance(request, State):
            kind = Message(message[4])
            spi = request.spi
        else:
            assert isinstance(request, Request)
            assert isinstance(request.body, StateId)
            kind, spi = request.message, request.body.spi
        reply = self.answers.get(spi)
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            self.done.append((kind, spi))
        return reply

    def rekey(self, **options: bool) -> Rekey:
        return Rekey(
            self.session,
            inbound=NEW_IN,
            outbound=NEW_OUT,
            old_inbound=OLD_IN,
            old_outbound=OLD_OUT.id,
            **options,
        )


def test_order_of_a_rekey() -> None:
    kernel = Kernel()
    rekey = kernel.rekey()
    assert (rekey.applied, [str(step) for step in rekey.left]) == ((), ORDER)
    rekey.receive()
    assert kernel.done == [(Message.UPDSA, 0x2000)]
    rekey.send()
    assert kernel.done[1:] == [(Message.NEWSA, 0x2001), (Message.DELSA, 0x1001)]
    rekey.finish()
    assert kernel.done[3:] == [(Message.DELSA, 0x1000)]
    assert ([str(step) for step in rekey.applied], rekey.left) == (ORDER, ())
    rekey.run()
    assert len(kernel.done) == 4, "nothing is done twice"


def test_an_inbound_state_that_was_not_allocated() -> None:
    kernel = Kernel()
    kernel.rekey(allocated=False).run()
    assert [kind for kind, _ in kernel.done] == [Message.NEWSA, Message.NEWSA, Message.DELSA, Message.DELSA]


def test_a_first_pair() -> None:
    kernel = Kernel()
    Rekey(kernel.session, inbound=NEW_IN, outbound=NEW_OUT).run()
    assert kernel.done == [(Message.UPDSA, 0x2000), (Message.NEWSA, 0x2001)]


@pytest.mark.parametrize("refused", range(4))
@pytest.mark.parametrize("cause", [Refusal(errno.EINVAL, "no"), RepliesLost("lost")], ids=["refused", "lost"])
def test_a_rekey_that_fails(refused: int, cause: Answer | Exception) -> None:
    """At each step: what was done, what was not, and going on behind it."""
    spi = [0x2000, 0x2001, 0x1001, 0x1000][refused]
    kernel = Kernel({spi: cause})
    rekey = kernel.rekey()
    with pytest.raises(RekeyError) as caught:
        rekey.run()
    error = caught.value
    assert [str(step) for step in error.applied] == ORDER[:refused]
    assert str(error.failed) == ORDER[refused]
    assert [str(step) for step in error.left] == ORDER[refused + 1 :]
    assert isinstance(error.__cause__, KernelError if isinstance(cause, Refusal) else RepliesLost)
    assert [done for _, done in kernel.done] == [0x2000, 0x2001, 0x1001, 0x1000][:refused]
    assert ORDER[refused] in str(error)
    assert KEY.hex() not in f"{error}{error!r}{rekey.applied!r}"
    again = pickle.loads(pickle.dumps(error))
    assert (again.applied, again.failed, again.left) == (error.applied, error.failed, error.left)
    kernel.answers.clear()
    rekey.run()
    assert [done for _, done in kernel.done] == [0x2000, 0x2001, 0x1001, 0x1000]


def test_a_state_that_was_added_though_the_reply_was_lost() -> None:
    """Nobody knows, until it is added again: then that it is there already is what was wanted."""
    kernel = Kernel({0x2001: RepliesLost("lost")})
    rekey = kernel.rekey()
    with pytest.raises(RekeyError):
        rekey.run()
    kernel.answers[0x2001] = Refusal(errno.EEXIST)
    rekey.run()
    assert len(rekey.applied) == 4
    # Where nothing was lost it is somebody else's.
    kernel = Kernel({0x2001: Refusal(errno.EEXIST)})
    rekey = kernel.rekey()
    for _ in range(2):
        with pytest.raises(RekeyError):
            rekey.run()


def test_old_states_that_are_gone() -> None:
    """Expired, or deleted by somebody else: what was wanted."""
    gone = Refusal(errno.ESRCH)
    kernel = Kernel({0x1001: gone, 0x1000: gone})
    rekey = kernel.rekey()
    rekey.run()
    assert len(rekey.applied) == 4


def test_a_larval_state_that_is_gone() -> None:
    """It expired while keys were negotiated: that is an error."""
    kernel = Kernel({0x2000: Refusal(errno.ESRCH)})
    with pytest.raises(RekeyError) as caught:
        kernel.rekey().run()
    assert isinstance(caught.value.__cause__, NotFound)


def test_rekey_of_a_state_by_itself() -> None:
    """It would be deleted right after it was added."""
    kernel = Kernel()
    with pytest.raises(ValidationError, match=r"Rekey\.old_inbound: is the state that is there to update"):
        Rekey(kernel.session, inbound=NEW_IN, outbound=NEW_OUT, old_inbound=NEW_IN.id)
    with pytest.raises(ValidationError, match=r"Rekey\.outbound: StateId.* is not a State"):
        Rekey(kernel.session, inbound=NEW_IN, outbound=NEW_OUT.id)  # type: ignore[arg-type]
    assert kernel.done == []


def test_deleting_for_real(session: Session) -> None:
    """Larval states in the place of old ones; the kernel here may have no algorithms for more."""
    old = session.sad.allocate_spi(HERE, THERE, direction="out")
    rekey = Rekey(session, inbound=NEW_IN, outbound=NEW_OUT, old_outbound=old)
    with pytest.raises(RekeyError, match="could not update inbound esp 0x2000: update state: ") as caught:
        rekey.run()
    assert caught.value.applied == ()
    assert [state.spi for state in session.sad.dump()] == [old.spi], "nothing was broken before something was made"

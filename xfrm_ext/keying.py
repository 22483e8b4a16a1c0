# SPDX-License-Identifier: MIT
"""For daemons that negotiate keys: Wanted, what an ACQUIRE asks for, and Rekey, which replaces a pair of states
without losing a packet.

The kernel asks for a state in the direction out. Where the peer chooses the SPI of that one, as in IKE, the
answer is (``session`` here and there, packets flowing from here to there):

::

    wanted = Wanted.of(event.body)                       # here: of an Acquire
    inbound = wanted.reverse().allocate(session)         # here: an SPI for what will come back; tell it the peer
    session.sad.update(wanted.reverse().state(inbound.spi, aead=...))
    session.sad.add(wanted.state(spi_of_the_peer, aead=...))       # takes the place of the larval state

Whoever chooses both SPIs can have the larval state completed instead: ``wanted.allocate(session)``, then
``session.sad.update(wanted.state(spi, ...))``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from xfrm_ext.checks import instance, shown
from xfrm_ext.constants import Family, Mode, Protocol, StateDirection
from xfrm_ext.errors import (
    AlreadyExists,
    NotFound,
    RekeyError,
    RepliesLost,
    ReplyTimeout,
    ValidationError,
    XfrmError,
)
from xfrm_ext.event import Acquire
from xfrm_ext.mark import Mark
from xfrm_ext.state import State
from xfrm_ext.state_id import StateId

if TYPE_CHECKING:
    from xfrm_ext.session import Session

_REVERSED = {StateDirection.OUT: StateDirection.IN, StateDirection.IN: StateDirection.OUT, None: None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A state that somebody wants: all that is known of it before there is an SPI and a key."""

    source: str
    destination: str
    protocol: Protocol
    mode: Mode
    reqid: int = 0
    mark: Mark | None = None
    if_id: int | None = None
    sequence: int = 0
    """Of the larval state that waits for it; 0: none does."""
    direction: StateDirection | None = StateDirection.OUT
    """None for kernels that must not be told (they know it from Linux 6.10, and older ones ignore it)."""
    cpu: int | None = None
    family: Family = Family.INET

    @classmethod
    def of(cls, acquire: Acquire) -> Wanted:
        """What a packet that goes out wants: by the template that the ACQUIRE is about, and the policy around it.

        Raises ValidationError.
        """
        instance(acquire, Acquire, "acquire")
        template = acquire._template
        if template is None:
            raise ValidationError("acquire", None, "names no template: its policy has none of that protocol")
        return cls(
            source=acquire.source,
            destination=acquire.destination,
            protocol=acquire.protocol,
            mode=template.mode,
            reqid=template.reqid,
            mark=acquire.mark,
            if_id=acquire.if_id,
            sequence=acquire.sequence,
            cpu=acquire.cpu,
            family=acquire.family,
        )

    def reverse(self) -> Wanted:
        """The state for the packets that come back. No larval state waits for that one."""
        return replace(
            self,
            source=self.destination,
            destination=self.source,
            sequence=0,
            direction=_REVERSED.get(self.direction),
        )

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Wanted.__slots__}

    def allocate(self, session: Session, *, minimum: int = 0x100, maximum: int | None = None) -> State:
        """Has the kernel choose the SPI: gives one to the larval state that waits, or makes one that waits for
        its keys (``sad.update``). Raises what `Sad.allocate_spi` raises."""
        return session.sad.allocate_spi(minimum=minimum, maximum=maximum, **self._fields())

    def state(self, spi: int, **fields: Any) -> State:
        """The complete State, with an SPI and the fields that are still missing: algorithms, lifetime, and so on.

        Raises ValidationError, also for a field that is known already.
        """
        known = self._fields()
        for name in fields:
            if name in known:
                raise ValidationError(name, None, "is part of what is wanted, and not given beside it")
        return State(spi=spi, **known, **fields)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a Rekey."""

    action: str
    """"update" (of a larval state), "add" or "delete"."""
    direction: str
    """"inbound" or "outbound"."""
    state: StateId

    def __str__(self) -> str:
        return f"{self.action} {self.direction} {self.state.protocol.name.lower()} {self.state.spi:#x}"


class Rekey:
    """Replaces a pair of states by another: make before break.

    ::

        rekey = Rekey(session, inbound=new_in, outbound=new_out, old_inbound=old_in, old_outbound=old_out)
        rekey.receive()     # update or add inbound                  now we understand the peer's new packets
        ...                 # until the peer has done the same: tell it, and wait for its word
        rekey.send()        # add outbound, delete the old outbound  now the peer gets new packets only
        ...                 # until the peer has done the same, and its last old packets are here
        rekey.finish()      # delete the old inbound

    The SPI of the inbound state was allocated (``Wanted.allocate``): there is a larval state to be completed. With
    ``allocated=False`` there is none, and it is added.

    At no time is there a packet without a state for it, on either side. ``run()`` does it all at once, for a peer
    that is ready for the new outbound state, and sends with its own already.

    Each method takes its steps in this order, and those that were taken stay taken: when one fails, RekeyError says
    which were taken before, which failed, and which were not tried, and ``__cause__`` why. Call the same method
    again to go on with the step that failed, or undo what ``applied`` lists. An old state that is gone already
    counts as deleted; and after ReplyTimeout or RepliesLost, when nobody knows whether the kernel did it, a new
    state that is there already counts as added.
    """

    def __init__(
        self,
        session: Session,
        *,
        inbound: State,
        outbound: State,
        old_inbound: State | StateId | None = None,
        old_outbound: State | StateId | None = None,
        allocated: bool = True,
    ) -> None:
        """Raises ValidationError when two of the states are the same one."""
        sad = session.sad
        self._steps: list[tuple[Step, Callable[[], object]]] = []
        self._taken = 0
        self._unsure = False  # whether the next step may have been taken

        def step(action: str, direction: str, name: str, state: State | StateId | None) -> None:
            if state is None:
                return
            if not isinstance(state, (State, StateId) if action == "delete" else State):
                raise ValidationError(f"Rekey.{name}", shown(state), "is not a State")
            named = state.id if isinstance(state, State) else state
            for other, _ in self._steps:
                if _key(other.state) == _key(named):
                    raise ValidationError(f"Rekey.{name}", None, f"is the state that is there to {other}")
            if isinstance(state, State) and action != "delete":
                take = partial(sad.add if action == "add" else sad.update, state)
            else:
                take = partial(sad.delete, named)
            self._steps.append((Step(action, direction, named), take))

        step("update" if allocated else "add", "inbound", "inbound", inbound)
        self._received = len(self._steps)
        step("add", "outbound", "outbound", outbound)
        step("delete", "outbound", "old_outbound", old_outbound)
        self._sent = len(self._steps)
        step("delete", "inbound", "old_inbound", old_inbound)

    @property
    def applied(self) -> tuple[Step, ...]:
        """The steps that were taken."""
        return tuple(step for step, _ in self._steps[: self._taken])

    @property
    def left(self) -> tuple[Step, ...]:
        """The steps that were not taken."""
        return tuple(step for step, _ in self._steps[self._taken :])

    def receive(self) -> None:
        """Completes or adds the new inbound state. Raises RekeyError."""
        self._go(self._received)

    def send(self) -> None:
        """Adds the new outbound state and deletes the old one, after what `receive` does if that was not called.
        Raises RekeyError."""
        self._go(self._sent)

    def finish(self) -> None:
        """Deletes the old inbound state, after all that comes before. Raises RekeyError."""
        self._go(len(self._steps))

    def run(self) -> None:
        """All of it. Raises RekeyError."""
        self.finish()

    def _go(self, end: int) -> None:
        while self._taken < end:
            step, take = self._steps[self._taken]
            try:
                take()
            except XfrmError as error:
                gone = isinstance(error, NotFound) and step.action == "delete"
                there = isinstance(error, AlreadyExists) and step.action == "add" and self._unsure
                if not gone and not there:
                    self._unsure = self._unsure or isinstance(error, (ReplyTimeout, RepliesLost))
                    raise RekeyError(self.applied, step, self.left[1:]) from error
            self._taken, self._unsure = self._taken + 1, False


def _key(state: StateId) -> tuple[Any, ...]:
    return state.destination, state.spi, state.protocol, state.mark

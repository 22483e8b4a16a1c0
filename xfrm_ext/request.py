# SPDX-License-Identifier: MIT
"""Request: a message to or from the kernel, before it is bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from xfrm_ext.checks import choice, choices
from xfrm_ext.constants import Message

if TYPE_CHECKING:  # who sends policies does without the most of them
    from xfrm_ext.constants import PolicyType, Protocol
    from xfrm_ext.event import Acquire, AsyncEvent, Mapping, PolicyExpired, Report, StateExpired
    from xfrm_ext.info import PolicyDefaults, SadInfo, SpdInfo, SpdThresholds
    from xfrm_ext.migrate import Migration, StateMigration
    from xfrm_ext.policy import Policy, PolicyId
    from xfrm_ext.state import State
    from xfrm_ext.state_id import StateId
    from xfrm_ext.state_request import SpiRequest, StateFilter

_MESSAGES = choices(Message)

Body: TypeAlias = (
    "State | StateId | StateFilter | SpiRequest | StateExpired | Policy | PolicyId | PolicyExpired | Acquire | "
    "AsyncEvent | Report | Mapping | Migration | StateMigration | SadInfo | SpdInfo | SpdThresholds | "
    "PolicyDefaults | Protocol | PolicyType | None"
)


@dataclass(frozen=True, slots=True)
class Request:
    """One message.

    ============================  ==============================================
    ``message``                   ``body``
    ============================  ==============================================
    NEWSA, UPDSA                  State
    GETSA                         StateId; or StateFilter or None to dump
    DELSA                         StateId; State in an event
    ALLOCSPI                      SpiRequest
    FLUSHSA                       Protocol, or None for all
    EXPIRE                        StateExpired
    NEWPOLICY, UPDPOLICY          Policy
    GETPOLICY                     PolicyId, or None to dump all
    DELPOLICY                     PolicyId; Policy in an event
    FLUSHPOLICY                   PolicyType, or None for the kernel's default, main
    POLEXPIRE                     PolicyExpired
    ACQUIRE                       Acquire
    NEWAE, GETAE                  AsyncEvent
    REPORT                        Report
    MAPPING                       Mapping
    MIGRATE                       Migration
    MIGRATE_STATE                 StateMigration
    GETSADINFO                    None
    NEWSADINFO                    SadInfo
    GETSPDINFO                    None
    NEWSPDINFO                    SpdThresholds to set them; SpdInfo in a reply
    SETDEFAULT                    PolicyDefaults
    GETDEFAULT                    None; PolicyDefaults in a reply
    ============================  ==============================================
    """

    message: Message
    body: Body = None

    def __post_init__(self) -> None:
        kind = choice(self.message, "Request.message", _MESSAGES, Message)
        object.__setattr__(self, "message", Message(kind))

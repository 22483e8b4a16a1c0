# SPDX-License-Identifier: MIT
"""The bodies of messages about states and events, as _BODIES and _ALONE in generic.py: apart from those, for who
sends policies does without."""

from __future__ import annotations

from typing import Any

from xfrm_ext.constants import Message
from xfrm_ext.event import Acquire, AsyncEvent, Mapping, PolicyExpired, Report, StateExpired
from xfrm_ext.migrate import Migration, StateMigration
from xfrm_ext.state import State
from xfrm_ext.state_request import SpiRequest

_REQUEST, _ACK, _REPLACE = 0x1, 0x4, 0x100  # NLM_F_*

BODIES: dict[int, tuple[type[Any], int]] = {
    Message.ALLOCSPI: (SpiRequest, _REQUEST),
    Message.EXPIRE: (StateExpired, _REQUEST | _ACK),
    Message.POLEXPIRE: (PolicyExpired, _REQUEST | _ACK),
    Message.ACQUIRE: (Acquire, _REQUEST | _ACK),
    Message.NEWAE: (AsyncEvent, _REQUEST | _ACK | _REPLACE),  # without which the kernel refuses
    Message.GETAE: (AsyncEvent, _REQUEST),
    Message.REPORT: (Report, _REQUEST | _ACK),
    Message.MAPPING: (Mapping, _REQUEST | _ACK),
    Message.MIGRATE: (Migration, _REQUEST | _ACK),
    Message.MIGRATE_STATE: (StateMigration, _REQUEST | _ACK),
}
ALONE: dict[type[Any], Message] = {
    State: Message.NEWSA,
    **{body: Message(kind) for kind, (body, _) in reversed(BODIES.items())},
}

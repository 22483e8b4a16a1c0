# SPDX-License-Identifier: MIT
"""Linux XFRM (the kernel's IPsec) over NETLINK_XFRM.

::

    import xfrm_ext as xfrm

    with xfrm.Session() as session:
        session.spd.add(xfrm.Policy(direction="in"))
        for policy in session.spd.dump():
            print(policy)
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, whose import would take longer than all of this
if TYPE_CHECKING:
    from typing import Any

    from xfrm_ext.algorithm import AeadAlgorithm, Algorithm, AlgorithmInfo, AuthAlgorithm
    from xfrm_ext.attribute import Attribute, Offload, SecurityContext
    from xfrm_ext.bulk import Indices, LoadResult
    from xfrm_ext.columns_read import Columns
    from xfrm_ext.constants import (
        INFINITE,
        Action,
        AsyncEventFlag,
        AttributeType,
        DefaultAction,
        Direction,
        EncapsulationType,
        Family,
        Group,
        Level,
        Message,
        MigrateStateFlag,
        Mode,
        OffloadFlag,
        PolicyFlag,
        PolicyType,
        Protocol,
        Share,
        StateDirection,
        StateExtraFlag,
        StateFlag,
    )
    from xfrm_ext.delete_where import DeleteResult
    from xfrm_ext.encapsulation import Encapsulation
    from xfrm_ext.errors import (
        AlreadyExists,
        BatchFileError,
        BusyError,
        ClosedError,
        CommandError,
        KernelError,
        LoadError,
        NotCompiledError,
        NotFound,
        PermissionDenied,
        ProtocolError,
        RekeyError,
        RepliesLost,
        ReplyTimeout,
        SetkeyError,
        ValidationError,
        XfrmError,
    )
    from xfrm_ext.event import Acquire, AsyncEvent, Event, Mapping, Overrun, PolicyExpired, Report, StateExpired
    from xfrm_ext.info import PolicyDefaults, SadInfo, SpdInfo, SpdThresholds, XfrmInfo
    from xfrm_ext.iptfs import IpTfs
    from xfrm_ext.keying import Rekey, Step, Wanted
    from xfrm_ext.lifetime import LifetimeConfig, LifetimeCurrent
    from xfrm_ext.link import XfrmInterface
    from xfrm_ext.mark import Mark
    from xfrm_ext.migrate import KmAddress, Migration, Move, StateMigration
    from xfrm_ext.policy import Policy, PolicyId
    from xfrm_ext.probe import Features
    from xfrm_ext.replay import ReplayState
    from xfrm_ext.request import Request
    from xfrm_ext.sad import StateCounters
    from xfrm_ext.secret import Secret
    from xfrm_ext.selector import Selector
    from xfrm_ext.session import Session
    from xfrm_ext.sockets import clear_policies, get_encapsulation, set_encapsulation, set_policy
    from xfrm_ext.state import State, StateStatistics
    from xfrm_ext.state_id import StateId
    from xfrm_ext.state_request import SpiRequest, StateFilter
    from xfrm_ext.statistics import Statistics
    from xfrm_ext.subscription import Subscription
    from xfrm_ext.template import Template

# The same for the interpreter: a room is imported when something out of it is first asked for.
_ROOMS = {
    "algorithm": ("AeadAlgorithm", "Algorithm", "AlgorithmInfo", "AuthAlgorithm"),
    "attribute": ("Attribute", "Offload", "SecurityContext"),
    "bulk": ("Indices", "LoadResult"),
    "columns_read": ("Columns",),
    "constants": (
        "INFINITE",
        "Action",
        "AsyncEventFlag",
        "AttributeType",
        "DefaultAction",
        "Direction",
        "EncapsulationType",
        "Family",
        "Group",
        "Level",
        "Message",
        "MigrateStateFlag",
        "Mode",
        "OffloadFlag",
        "PolicyFlag",
        "PolicyType",
        "Protocol",
        "Share",
        "StateDirection",
        "StateExtraFlag",
        "StateFlag",
    ),
    "delete_where": ("DeleteResult",),
    "encapsulation": ("Encapsulation",),
    "errors": (
        "AlreadyExists",
        "BatchFileError",
        "BusyError",
        "ClosedError",
        "CommandError",
        "KernelError",
        "LoadError",
        "NotCompiledError",
        "NotFound",
        "PermissionDenied",
        "ProtocolError",
        "RekeyError",
        "RepliesLost",
        "ReplyTimeout",
        "SetkeyError",
        "ValidationError",
        "XfrmError",
    ),
    "event": ("Acquire", "AsyncEvent", "Event", "Mapping", "Overrun", "PolicyExpired", "Report", "StateExpired"),
    "info": ("PolicyDefaults", "SadInfo", "SpdInfo", "SpdThresholds", "XfrmInfo"),
    "iptfs": ("IpTfs",),
    "keying": ("Rekey", "Step", "Wanted"),
    "lifetime": ("LifetimeConfig", "LifetimeCurrent"),
    "link": ("XfrmInterface",),
    "mark": ("Mark",),
    "migrate": ("KmAddress", "Migration", "Move", "StateMigration"),
    "policy": ("Policy", "PolicyId"),
    "probe": ("Features",),
    "replay": ("ReplayState",),
    "request": ("Request",),
    "sad": ("StateCounters",),
    "secret": ("Secret",),
    "selector": ("Selector",),
    "session": ("Session",),
    "sockets": ("clear_policies", "get_encapsulation", "set_encapsulation", "set_policy"),
    "state": ("State", "StateStatistics"),
    "state_id": ("StateId",),
    "state_request": ("SpiRequest", "StateFilter"),
    "statistics": ("Statistics",),
    "subscription": ("Subscription",),
    "template": ("Template",),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}


__version__ = "0.1.0"

__all__ = [
    "INFINITE",
    "Acquire",
    "Action",
    "AeadAlgorithm",
    "Algorithm",
    "AlgorithmInfo",
    "AlreadyExists",
    "AsyncEvent",
    "AsyncEventFlag",
    "Attribute",
    "AttributeType",
    "AuthAlgorithm",
    "BatchFileError",
    "BusyError",
    "ClosedError",
    "Columns",
    "CommandError",
    "DefaultAction",
    "DeleteResult",
    "Direction",
    "Encapsulation",
    "EncapsulationType",
    "Event",
    "Family",
    "Features",
    "Group",
    "Indices",
    "IpTfs",
    "KernelError",
    "KmAddress",
    "Level",
    "LifetimeConfig",
    "LifetimeCurrent",
    "LoadError",
    "LoadResult",
    "Mapping",
    "Mark",
    "Message",
    "MigrateStateFlag",
    "Migration",
    "Mode",
    "Move",
    "NotCompiledError",
    "NotFound",
    "Offload",
    "OffloadFlag",
    "Overrun",
    "PermissionDenied",
    "Policy",
    "PolicyDefaults",
    "PolicyExpired",
    "PolicyFlag",
    "PolicyId",
    "PolicyType",
    "Protocol",
    "ProtocolError",
    "Rekey",
    "RekeyError",
    "ReplayState",
    "RepliesLost",
    "ReplyTimeout",
    "Report",
    "Request",
    "SadInfo",
    "Secret",
    "SecurityContext",
    "Selector",
    "Session",
    "SetkeyError",
    "Share",
    "SpdInfo",
    "SpdThresholds",
    "SpiRequest",
    "State",
    "StateCounters",
    "StateDirection",
    "StateExpired",
    "StateExtraFlag",
    "StateFilter",
    "StateFlag",
    "StateId",
    "StateMigration",
    "StateStatistics",
    "Statistics",
    "Step",
    "Subscription",
    "Template",
    "ValidationError",
    "Wanted",
    "XfrmError",
    "XfrmInfo",
    "XfrmInterface",
    "__version__",
    "clear_policies",
    "get_encapsulation",
    "set_encapsulation",
    "set_policy",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        value = getattr(import_module(f"xfrm_ext.{_HOMES[name]}"), name)
    elif not name.isidentifier():
        raise AttributeError(f"module 'xfrm_ext' has no attribute {name!r}")
    else:
        try:
            value = import_module(f"xfrm_ext.{name}")  # rooms, too
        except ModuleNotFoundError as error:
            if error.name != f"xfrm_ext.{name}":
                raise
            raise AttributeError(f"module 'xfrm_ext' has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

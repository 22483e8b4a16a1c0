# SPDX-License-Identifier: MIT
"""Linux XFRM (the kernel's IPsec) over NETLINK_XFRM.

::

    import xfrm_ext as xfrm

    with xfrm.Session() as session:
        session.spd.add(xfrm.Policy(direction="in"))
        for policy in session.spd.dump():
            print(policy)
"""

from xfrm_ext.attribute import Attribute, Offload, SecurityContext
from xfrm_ext.bulk import Indices, LoadResult
from xfrm_ext.constants import (
    INFINITE,
    Action,
    AttributeType,
    Direction,
    Family,
    Group,
    Level,
    Message,
    Mode,
    OffloadFlag,
    PolicyFlag,
    PolicyType,
    Protocol,
    Share,
)
from xfrm_ext.errors import (
    AlreadyExists,
    BatchFileError,
    BusyError,
    ClosedError,
    KernelError,
    LoadError,
    NotCompiledError,
    NotFound,
    PermissionDenied,
    ProtocolError,
    RepliesLost,
    ReplyTimeout,
    ValidationError,
    XfrmError,
)
from xfrm_ext.info import SpdInfo
from xfrm_ext.lifetime import LifetimeConfig, LifetimeCurrent
from xfrm_ext.mark import Mark
from xfrm_ext.policy import Policy, PolicyId
from xfrm_ext.request import Request
from xfrm_ext.selector import Selector
from xfrm_ext.session import Session
from xfrm_ext.template import Template

__version__ = "0.1.0"

__all__ = [
    "INFINITE",
    "Action",
    "AlreadyExists",
    "Attribute",
    "AttributeType",
    "BatchFileError",
    "BusyError",
    "ClosedError",
    "Direction",
    "Family",
    "Group",
    "Indices",
    "KernelError",
    "Level",
    "LifetimeConfig",
    "LifetimeCurrent",
    "LoadError",
    "LoadResult",
    "Mark",
    "Message",
    "Mode",
    "NotCompiledError",
    "NotFound",
    "Offload",
    "OffloadFlag",
    "PermissionDenied",
    "Policy",
    "PolicyFlag",
    "PolicyId",
    "PolicyType",
    "Protocol",
    "ProtocolError",
    "RepliesLost",
    "ReplyTimeout",
    "Request",
    "SecurityContext",
    "Selector",
    "Session",
    "Share",
    "SpdInfo",
    "Template",
    "ValidationError",
    "XfrmError",
    "__version__",
]

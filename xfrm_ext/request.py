# SPDX-License-Identifier: MIT
"""Request: a message to the kernel, before it is bytes."""

from __future__ import annotations

from dataclasses import dataclass

from xfrm_ext.constants import Message, PolicyType
from xfrm_ext.policy import Policy, PolicyId


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel.

    ============================  ==============================================
    ``message``                   ``body``
    ============================  ==============================================
    NEWPOLICY, UPDPOLICY          Policy
    GETPOLICY                     PolicyId, or None to dump all
    DELPOLICY                     PolicyId
    FLUSHPOLICY                   PolicyType, or None for the kernel's default, main
    GETSPDINFO                    None
    ============================  ==============================================
    """

    message: Message
    body: Policy | PolicyId | PolicyType | None = None

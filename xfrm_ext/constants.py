# SPDX-License-Identifier: MIT
"""Names for the kernel's numbers. Every value comes from constants.def, which the C includes too.

A number that the kernel knows and this release does not is kept: ``Mode(9)`` is a member named ``UNKNOWN_9``.
"""

from __future__ import annotations

import os
import re
from enum import IntEnum, IntFlag
from types import SimpleNamespace
from typing import Final

with open(os.path.join(os.path.dirname(__file__), "constants.def"), encoding="ascii") as _file:  # no pathlib: slow
    _DEFINITIONS = _file.read()
uapi = SimpleNamespace(
    **{name: int(value, 0) for name, value in re.findall(r"^X\((\w+), (\w+)\)", _DEFINITIONS, re.MULTILINE)}
)
"""The constants of <linux/xfrm.h>, by their names there."""

NETLINK_ROUTE: Final = 0
NETLINK_XFRM: Final = 6
INFINITE: Final[int] = uapi.XFRM_INF
"""No limit (XFRM_INF), for byte and packet limits. 0 would mean: expired at once."""
MAX_TEMPLATES: Final[int] = uapi.XFRM_MAX_DEPTH


class Enumeration(IntEnum):
    """An IntEnum of an 8 or 16-bit kernel field, with room for values that only the kernel knows."""

    @classmethod
    def _missing_(cls, value: object) -> Enumeration | None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member

    def __reduce_ex__(self, protocol: object) -> tuple[type[Enumeration], tuple[int]]:
        """By value: Python 3.11.0 to 3.11.3 copies and pickles by name, which unknown values lack."""
        return type(self), (int(self),)

    def __repr__(self) -> str:
        kind = type(self)
        return f"{kind.__name__}.{self.name}" if self.name in kind.__members__ else f"{kind.__name__}({int(self)})"


class Flags(IntFlag):
    """An IntFlag of a kernel field. Bits that only the kernel knows are kept."""

    def __reduce_ex__(self, protocol: object) -> tuple[type[Flags], tuple[int]]:
        """By value: see Enumeration."""
        return type(self), (int(self),)

    def __repr__(self) -> str:
        kind = type(self)
        return f"{kind.__name__}.{self.name}" if self.name in kind.__members__ else f"{kind.__name__}({int(self)})"


class Message(Enumeration):
    """Message types (XFRM_MSG_*)."""

    NEWSA = uapi.XFRM_MSG_NEWSA
    DELSA = uapi.XFRM_MSG_DELSA
    GETSA = uapi.XFRM_MSG_GETSA
    NEWPOLICY = uapi.XFRM_MSG_NEWPOLICY
    DELPOLICY = uapi.XFRM_MSG_DELPOLICY
    GETPOLICY = uapi.XFRM_MSG_GETPOLICY
    ALLOCSPI = uapi.XFRM_MSG_ALLOCSPI
    ACQUIRE = uapi.XFRM_MSG_ACQUIRE
    EXPIRE = uapi.XFRM_MSG_EXPIRE
    UPDPOLICY = uapi.XFRM_MSG_UPDPOLICY
    UPDSA = uapi.XFRM_MSG_UPDSA
    POLEXPIRE = uapi.XFRM_MSG_POLEXPIRE
    FLUSHSA = uapi.XFRM_MSG_FLUSHSA
    FLUSHPOLICY = uapi.XFRM_MSG_FLUSHPOLICY
    NEWAE = uapi.XFRM_MSG_NEWAE
    GETAE = uapi.XFRM_MSG_GETAE
    REPORT = uapi.XFRM_MSG_REPORT
    MIGRATE = uapi.XFRM_MSG_MIGRATE
    NEWSADINFO = uapi.XFRM_MSG_NEWSADINFO
    GETSADINFO = uapi.XFRM_MSG_GETSADINFO
    NEWSPDINFO = uapi.XFRM_MSG_NEWSPDINFO
    GETSPDINFO = uapi.XFRM_MSG_GETSPDINFO
    MAPPING = uapi.XFRM_MSG_MAPPING
    SETDEFAULT = uapi.XFRM_MSG_SETDEFAULT
    GETDEFAULT = uapi.XFRM_MSG_GETDEFAULT
    MIGRATE_STATE = uapi.XFRM_MSG_MIGRATE_STATE


class AttributeType(Enumeration):
    """Attribute types (XFRMA_*)."""

    ALG_AUTH = uapi.XFRMA_ALG_AUTH
    ALG_CRYPT = uapi.XFRMA_ALG_CRYPT
    ALG_COMP = uapi.XFRMA_ALG_COMP
    ENCAP = uapi.XFRMA_ENCAP
    TMPL = uapi.XFRMA_TMPL
    SA = uapi.XFRMA_SA
    POLICY = uapi.XFRMA_POLICY
    SEC_CTX = uapi.XFRMA_SEC_CTX
    LTIME_VAL = uapi.XFRMA_LTIME_VAL
    REPLAY_VAL = uapi.XFRMA_REPLAY_VAL
    REPLAY_THRESH = uapi.XFRMA_REPLAY_THRESH
    ETIMER_THRESH = uapi.XFRMA_ETIMER_THRESH
    SRCADDR = uapi.XFRMA_SRCADDR
    COADDR = uapi.XFRMA_COADDR
    LASTUSED = uapi.XFRMA_LASTUSED
    POLICY_TYPE = uapi.XFRMA_POLICY_TYPE
    MIGRATE = uapi.XFRMA_MIGRATE
    ALG_AEAD = uapi.XFRMA_ALG_AEAD
    KMADDRESS = uapi.XFRMA_KMADDRESS
    ALG_AUTH_TRUNC = uapi.XFRMA_ALG_AUTH_TRUNC
    MARK = uapi.XFRMA_MARK
    TFCPAD = uapi.XFRMA_TFCPAD
    REPLAY_ESN_VAL = uapi.XFRMA_REPLAY_ESN_VAL
    SA_EXTRA_FLAGS = uapi.XFRMA_SA_EXTRA_FLAGS
    PROTO = uapi.XFRMA_PROTO
    ADDRESS_FILTER = uapi.XFRMA_ADDRESS_FILTER
    PAD = uapi.XFRMA_PAD
    OFFLOAD_DEV = uapi.XFRMA_OFFLOAD_DEV
    SET_MARK = uapi.XFRMA_SET_MARK
    SET_MARK_MASK = uapi.XFRMA_SET_MARK_MASK
    IF_ID = uapi.XFRMA_IF_ID
    MTIMER_THRESH = uapi.XFRMA_MTIMER_THRESH
    SA_DIR = uapi.XFRMA_SA_DIR
    NAT_KEEPALIVE_INTERVAL = uapi.XFRMA_NAT_KEEPALIVE_INTERVAL
    SA_PCPU = uapi.XFRMA_SA_PCPU
    IPTFS_DROP_TIME = uapi.XFRMA_IPTFS_DROP_TIME
    IPTFS_REORDER_WINDOW = uapi.XFRMA_IPTFS_REORDER_WINDOW
    IPTFS_DONT_FRAG = uapi.XFRMA_IPTFS_DONT_FRAG
    IPTFS_INIT_DELAY = uapi.XFRMA_IPTFS_INIT_DELAY
    IPTFS_MAX_QSIZE = uapi.XFRMA_IPTFS_MAX_QSIZE
    IPTFS_PKT_SIZE = uapi.XFRMA_IPTFS_PKT_SIZE


class Family(Enumeration):
    """Address families (AF_*), by Linux's numbers on any system."""

    UNSPEC = 0
    INET = 2
    INET6 = 10


class Direction(Enumeration):
    """Which packets a policy sees (XFRM_POLICY_IN, _OUT, _FWD). Policies of sockets read as 3 (in), 4 (out)."""

    IN = uapi.XFRM_POLICY_IN
    OUT = uapi.XFRM_POLICY_OUT
    FWD = uapi.XFRM_POLICY_FWD


class Action(Enumeration):
    """What a policy does with a packet (XFRM_POLICY_ALLOW, _BLOCK)."""

    ALLOW = uapi.XFRM_POLICY_ALLOW
    BLOCK = uapi.XFRM_POLICY_BLOCK


class PolicyType(Enumeration):
    """The name space a policy lives in (XFRM_POLICY_TYPE_MAIN, _SUB)."""

    MAIN = uapi.XFRM_POLICY_TYPE_MAIN
    SUB = uapi.XFRM_POLICY_TYPE_SUB


class PolicyFlag(Flags):
    """Flags of a policy (XFRM_POLICY_LOCALOK, _ICMP, _CPU_ACQUIRE)."""

    LOCALOK = uapi.XFRM_POLICY_LOCALOK
    ICMP = uapi.XFRM_POLICY_ICMP
    CPU_ACQUIRE = uapi.XFRM_POLICY_CPU_ACQUIRE


class Share(Enumeration):
    """Who may share a state (XFRM_SHARE_*)."""

    ANY = uapi.XFRM_SHARE_ANY
    SESSION = uapi.XFRM_SHARE_SESSION
    USER = uapi.XFRM_SHARE_USER
    UNIQUE = uapi.XFRM_SHARE_UNIQUE


class Mode(Enumeration):
    """How a state encapsulates (XFRM_MODE_*)."""

    TRANSPORT = uapi.XFRM_MODE_TRANSPORT
    TUNNEL = uapi.XFRM_MODE_TUNNEL
    RO = uapi.XFRM_MODE_ROUTEOPTIMIZATION
    IN_TRIGGER = uapi.XFRM_MODE_IN_TRIGGER
    BEET = uapi.XFRM_MODE_BEET
    IPTFS = uapi.XFRM_MODE_IPTFS


class Level(Enumeration):
    """Whether a packet may pass without a state for a template (xfrm_user_tmpl.optional)."""

    REQUIRED = 0
    USE = 1


class Protocol(Enumeration):
    """The protocols of templates and states; IPSEC_ANY means ESP, AH and IPComp."""

    ESP = 50
    AH = 51
    COMP = 108
    ROUTE2 = 43
    HAO = 60
    IPSEC_ANY = 255


class StateFlag(Flags):
    """Flags of a state (XFRM_STATE_*)."""

    NOECN = uapi.XFRM_STATE_NOECN
    DECAP_DSCP = uapi.XFRM_STATE_DECAP_DSCP
    NOPMTUDISC = uapi.XFRM_STATE_NOPMTUDISC
    WILDRECV = uapi.XFRM_STATE_WILDRECV
    ICMP = uapi.XFRM_STATE_ICMP
    AF_UNSPEC = uapi.XFRM_STATE_AF_UNSPEC
    ALIGN4 = uapi.XFRM_STATE_ALIGN4
    ESN = uapi.XFRM_STATE_ESN


class StateExtraFlag(Flags):
    """More flags of a state (XFRM_SA_XFLAG_*)."""

    DONT_ENCAP_DSCP = uapi.XFRM_SA_XFLAG_DONT_ENCAP_DSCP
    OSEQ_MAY_WRAP = uapi.XFRM_SA_XFLAG_OSEQ_MAY_WRAP


class StateDirection(Enumeration):
    """Which way a state's packets go (XFRM_SA_DIR_IN, _OUT)."""

    IN = uapi.XFRM_SA_DIR_IN
    OUT = uapi.XFRM_SA_DIR_OUT


class EncapsulationType(Enumeration):
    """What ESP is wrapped in (UDP_ENCAP_*, TCP_ENCAP_ESPINTCP of <linux/udp.h>)."""

    ESPINUDP_NON_IKE = uapi.UDP_ENCAP_ESPINUDP_NON_IKE
    ESPINUDP = uapi.UDP_ENCAP_ESPINUDP
    ESPINTCP = uapi.TCP_ENCAP_ESPINTCP


class AsyncEventFlag(Flags):
    """What an XFRM_MSG_NEWAE message is about, or sets (XFRM_AE_*)."""

    REPLAY_THRESHOLD = uapi.XFRM_AE_RTHR
    REPLAY_VALUE = uapi.XFRM_AE_RVAL
    LIFETIME_VALUE = uapi.XFRM_AE_LVAL
    EVENT_TIMER_THRESHOLD = uapi.XFRM_AE_ETHR
    REPLAY_EVENT = uapi.XFRM_AE_CR
    TIMER_EVENT = uapi.XFRM_AE_CE
    UPDATED = uapi.XFRM_AE_CU


class MigrateStateFlag(Flags):
    """Flags of XFRM_MSG_MIGRATE_STATE (XFRM_MIGRATE_STATE_*)."""

    CLEAR_OFFLOAD = uapi.XFRM_MIGRATE_STATE_CLEAR_OFFLOAD
    UPDATE_H2H_SEL = uapi.XFRM_MIGRATE_STATE_UPDATE_H2H_SEL


class DefaultAction(Enumeration):
    """What happens to packets without a policy (XFRM_USERPOLICY_*)."""

    UNSPEC = uapi.XFRM_USERPOLICY_UNSPEC
    BLOCK = uapi.XFRM_USERPOLICY_BLOCK
    ACCEPT = uapi.XFRM_USERPOLICY_ACCEPT


class OffloadFlag(Flags):
    """How a device takes over (XFRM_OFFLOAD_*). Policies know PACKET only."""

    IPV6 = uapi.XFRM_OFFLOAD_IPV6
    INBOUND = uapi.XFRM_OFFLOAD_INBOUND
    PACKET = uapi.XFRM_OFFLOAD_PACKET


class Group(Enumeration):
    """Multicast groups of events (XFRMNLGRP_*)."""

    ACQUIRE = uapi.XFRMNLGRP_ACQUIRE
    EXPIRE = uapi.XFRMNLGRP_EXPIRE
    SA = uapi.XFRMNLGRP_SA
    POLICY = uapi.XFRMNLGRP_POLICY
    AEVENTS = uapi.XFRMNLGRP_AEVENTS
    REPORT = uapi.XFRMNLGRP_REPORT
    MIGRATE = uapi.XFRMNLGRP_MIGRATE
    MAPPING = uapi.XFRMNLGRP_MAPPING

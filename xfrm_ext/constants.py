# SPDX-License-Identifier: MIT
"""Names for the kernel's numbers. Every value comes from csrc/constants.def through the compiled module.

A number that the kernel knows and this release does not is kept: ``Mode(9)`` is a member named ``UNKNOWN_9``.
"""

from __future__ import annotations

import socket
from enum import IntEnum, IntFlag
from typing import Final

from xfrm_ext._native import lib

NETLINK_XFRM: Final = 6
INFINITE: Final[int] = lib.XFRM_INF
"""No limit (XFRM_INF), for byte and packet limits. 0 would mean: expired at once."""
MAX_TEMPLATES: Final[int] = lib.XFRM_MAX_DEPTH


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

    NEWSA = lib.XFRM_MSG_NEWSA
    DELSA = lib.XFRM_MSG_DELSA
    GETSA = lib.XFRM_MSG_GETSA
    NEWPOLICY = lib.XFRM_MSG_NEWPOLICY
    DELPOLICY = lib.XFRM_MSG_DELPOLICY
    GETPOLICY = lib.XFRM_MSG_GETPOLICY
    ALLOCSPI = lib.XFRM_MSG_ALLOCSPI
    ACQUIRE = lib.XFRM_MSG_ACQUIRE
    EXPIRE = lib.XFRM_MSG_EXPIRE
    UPDPOLICY = lib.XFRM_MSG_UPDPOLICY
    UPDSA = lib.XFRM_MSG_UPDSA
    POLEXPIRE = lib.XFRM_MSG_POLEXPIRE
    FLUSHSA = lib.XFRM_MSG_FLUSHSA
    FLUSHPOLICY = lib.XFRM_MSG_FLUSHPOLICY
    NEWAE = lib.XFRM_MSG_NEWAE
    GETAE = lib.XFRM_MSG_GETAE
    REPORT = lib.XFRM_MSG_REPORT
    MIGRATE = lib.XFRM_MSG_MIGRATE
    NEWSADINFO = lib.XFRM_MSG_NEWSADINFO
    GETSADINFO = lib.XFRM_MSG_GETSADINFO
    NEWSPDINFO = lib.XFRM_MSG_NEWSPDINFO
    GETSPDINFO = lib.XFRM_MSG_GETSPDINFO
    MAPPING = lib.XFRM_MSG_MAPPING
    SETDEFAULT = lib.XFRM_MSG_SETDEFAULT
    GETDEFAULT = lib.XFRM_MSG_GETDEFAULT
    MIGRATE_STATE = lib.XFRM_MSG_MIGRATE_STATE


class AttributeType(Enumeration):
    """Attribute types (XFRMA_*)."""

    ALG_AUTH = lib.XFRMA_ALG_AUTH
    ALG_CRYPT = lib.XFRMA_ALG_CRYPT
    ALG_COMP = lib.XFRMA_ALG_COMP
    ENCAP = lib.XFRMA_ENCAP
    TMPL = lib.XFRMA_TMPL
    SA = lib.XFRMA_SA
    POLICY = lib.XFRMA_POLICY
    SEC_CTX = lib.XFRMA_SEC_CTX
    LTIME_VAL = lib.XFRMA_LTIME_VAL
    REPLAY_VAL = lib.XFRMA_REPLAY_VAL
    REPLAY_THRESH = lib.XFRMA_REPLAY_THRESH
    ETIMER_THRESH = lib.XFRMA_ETIMER_THRESH
    SRCADDR = lib.XFRMA_SRCADDR
    COADDR = lib.XFRMA_COADDR
    LASTUSED = lib.XFRMA_LASTUSED
    POLICY_TYPE = lib.XFRMA_POLICY_TYPE
    MIGRATE = lib.XFRMA_MIGRATE
    ALG_AEAD = lib.XFRMA_ALG_AEAD
    KMADDRESS = lib.XFRMA_KMADDRESS
    ALG_AUTH_TRUNC = lib.XFRMA_ALG_AUTH_TRUNC
    MARK = lib.XFRMA_MARK
    TFCPAD = lib.XFRMA_TFCPAD
    REPLAY_ESN_VAL = lib.XFRMA_REPLAY_ESN_VAL
    SA_EXTRA_FLAGS = lib.XFRMA_SA_EXTRA_FLAGS
    PROTO = lib.XFRMA_PROTO
    ADDRESS_FILTER = lib.XFRMA_ADDRESS_FILTER
    PAD = lib.XFRMA_PAD
    OFFLOAD_DEV = lib.XFRMA_OFFLOAD_DEV
    SET_MARK = lib.XFRMA_SET_MARK
    SET_MARK_MASK = lib.XFRMA_SET_MARK_MASK
    IF_ID = lib.XFRMA_IF_ID
    MTIMER_THRESH = lib.XFRMA_MTIMER_THRESH
    SA_DIR = lib.XFRMA_SA_DIR
    NAT_KEEPALIVE_INTERVAL = lib.XFRMA_NAT_KEEPALIVE_INTERVAL
    SA_PCPU = lib.XFRMA_SA_PCPU
    IPTFS_DROP_TIME = lib.XFRMA_IPTFS_DROP_TIME
    IPTFS_REORDER_WINDOW = lib.XFRMA_IPTFS_REORDER_WINDOW
    IPTFS_DONT_FRAG = lib.XFRMA_IPTFS_DONT_FRAG
    IPTFS_INIT_DELAY = lib.XFRMA_IPTFS_INIT_DELAY
    IPTFS_MAX_QSIZE = lib.XFRMA_IPTFS_MAX_QSIZE
    IPTFS_PKT_SIZE = lib.XFRMA_IPTFS_PKT_SIZE


class Family(Enumeration):
    """Address families (AF_*)."""

    UNSPEC = socket.AF_UNSPEC
    INET = socket.AF_INET
    INET6 = socket.AF_INET6


class Direction(Enumeration):
    """Which packets a policy sees (XFRM_POLICY_IN, _OUT, _FWD). Policies of sockets read as 3 (in), 4 (out)."""

    IN = lib.XFRM_POLICY_IN
    OUT = lib.XFRM_POLICY_OUT
    FWD = lib.XFRM_POLICY_FWD


class Action(Enumeration):
    """What a policy does with a packet (XFRM_POLICY_ALLOW, _BLOCK)."""

    ALLOW = lib.XFRM_POLICY_ALLOW
    BLOCK = lib.XFRM_POLICY_BLOCK


class PolicyType(Enumeration):
    """The name space a policy lives in (XFRM_POLICY_TYPE_MAIN, _SUB)."""

    MAIN = lib.XFRM_POLICY_TYPE_MAIN
    SUB = lib.XFRM_POLICY_TYPE_SUB


class PolicyFlag(Flags):
    """Flags of a policy (XFRM_POLICY_LOCALOK, _ICMP, _CPU_ACQUIRE)."""

    LOCALOK = lib.XFRM_POLICY_LOCALOK
    ICMP = lib.XFRM_POLICY_ICMP
    CPU_ACQUIRE = lib.XFRM_POLICY_CPU_ACQUIRE


class Share(Enumeration):
    """Who may share a state (XFRM_SHARE_*)."""

    ANY = lib.XFRM_SHARE_ANY
    SESSION = lib.XFRM_SHARE_SESSION
    USER = lib.XFRM_SHARE_USER
    UNIQUE = lib.XFRM_SHARE_UNIQUE


class Mode(Enumeration):
    """How a state encapsulates (XFRM_MODE_*)."""

    TRANSPORT = lib.XFRM_MODE_TRANSPORT
    TUNNEL = lib.XFRM_MODE_TUNNEL
    RO = lib.XFRM_MODE_ROUTEOPTIMIZATION
    IN_TRIGGER = lib.XFRM_MODE_IN_TRIGGER
    BEET = lib.XFRM_MODE_BEET
    IPTFS = lib.XFRM_MODE_IPTFS


class Level(Enumeration):
    """Whether a packet may pass without a state for a template (xfrm_user_tmpl.optional)."""

    REQUIRED = 0
    USE = 1


class Protocol(Enumeration):
    """The protocols of templates and states; IPSEC_ANY means ESP, AH and IPComp."""

    ESP = socket.IPPROTO_ESP
    AH = socket.IPPROTO_AH
    COMP = 108
    ROUTE2 = socket.IPPROTO_ROUTING
    HAO = socket.IPPROTO_DSTOPTS
    IPSEC_ANY = socket.IPPROTO_RAW


class OffloadFlag(Flags):
    """How a device takes over (XFRM_OFFLOAD_*). Policies know PACKET only."""

    IPV6 = lib.XFRM_OFFLOAD_IPV6
    INBOUND = lib.XFRM_OFFLOAD_INBOUND
    PACKET = lib.XFRM_OFFLOAD_PACKET


class Group(Enumeration):
    """Multicast groups of events (XFRMNLGRP_*)."""

    ACQUIRE = lib.XFRMNLGRP_ACQUIRE
    EXPIRE = lib.XFRMNLGRP_EXPIRE
    SA = lib.XFRMNLGRP_SA
    POLICY = lib.XFRMNLGRP_POLICY
    AEVENTS = lib.XFRMNLGRP_AEVENTS
    REPORT = lib.XFRMNLGRP_REPORT
    MIGRATE = lib.XFRMNLGRP_MIGRATE
    MAPPING = lib.XFRMNLGRP_MAPPING

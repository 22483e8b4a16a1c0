# SPDX-License-Identifier: MIT
"""The kernel's structures, messages and attributes as tables: start reading here to learn the formats.

A netlink message is a header (struct nlmsghdr), a fixed part that its type has, and attributes. Each attribute is a
header (length and type, 16 bits each, the length with the header) and a payload. Everything begins at a multiple
of 4 bytes; the padding in between is no part of the lengths.

A layout is a text of ``name:code`` words in the order of a C structure. Codes are those of the module struct:
B, H, I and Q are numbers of 1, 2, 4 and 8 bytes, i is a signed one of 4, and 16s are 16 bytes as they are (an
address: IPv4 in the first four). Numbers are in the machine's byte order, but with ``>`` in the network's. A word
without a name ("3x") is padding: a 64-bit machine's, where the largest structures are aligned to 8 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from xfrm_ext.constants import uapi

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
ATTRIBUTE = struct.Struct("=HH")
"""struct nlattr: length, type."""
RECORD = struct.Struct("=Ii")
"""In front of each message that a listener has heard: its size, and the id of the namespace that it comes from, -1
for the listener's own (struct listen_record). Two sizes that no message has are marks, with nothing behind them."""
OVERRUN: Final = 0
"""Here messages were lost."""
BROKEN: Final = 1
"""Here was a datagram whose lengths do not fit."""
TYPE_MASK: Final = 0x3FFF
"""The bits of an attribute's type that are not flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER)."""
NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300


def aligned(size: int) -> int:
    """A size with its padding."""
    return (size + 3) & ~3


class Place(NamedTuple):
    """Where a field stands in a structure."""

    offset: int
    size: int
    network: bool
    """Whether it is in network byte order."""


class Layout:
    """A C structure: bytes <-> the values of its fields, in their order."""

    def __init__(self, words: str) -> None:
        names: list[str] = []
        network: list[tuple[int, int]] = []
        codes = "="
        for word in words.split():
            name, _, code = word.rpartition(":")
            if code[0] == ">":
                network.append((len(names), struct.calcsize(code)))
                code = f"{struct.calcsize(code)}s"
            if name:
                names.append(name)
            codes += code
        self.names = tuple(names)
        self._words = words
        self._network = tuple(network)  # which fields are in network byte order, and their sizes
        self._struct = struct.Struct(codes)
        self.size = self._struct.size

    def place(self, wanted: str) -> Place:
        """Where a field stands. KeyError for one that the structure does not have."""
        offset = 0
        for word in self._words.split():
            name, _, code = word.rpartition(":")
            size = struct.calcsize(f"={code.lstrip('>')}")
            if name == wanted:
                return Place(offset, size, code[0] == ">")
            offset += size
        raise KeyError(wanted)

    def pack(self, values: Sequence[int | bytes]) -> bytes:
        """The structure, its padding zero."""
        if self._network:
            values = list(values)
            for place, size in self._network:
                values[place] = int(values[place]).to_bytes(size, "big")
        return self._struct.pack(*values)

    def unpack(self, data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int | bytes, ...]:
        """The values of the structure at an offset."""
        values = self._struct.unpack_from(data, offset)
        if self._network:
            changed = list(values)
            for place, _ in self._network:
                changed[place] = int.from_bytes(changed[place], "big")
            return tuple(changed)
        return values


# --- structures of the fixed parts ----------------------------------------------------------------------

_POLICY_ID = Layout("selector:56s index:I direction:B 3x")  # struct xfrm_userpolicy_id
_WHOLE_POLICY = Layout("policy:168s")
SELECTOR = Layout(  # struct xfrm_selector
    "destination:16s source:16s destination_port:>H destination_port_mask:>H source_port:>H source_port_mask:>H"
    " family:H destination_length:B source_length:B protocol:B 3x interface:i user:I"
)
LIFETIME_CONFIG = Layout(  # struct xfrm_lifetime_cfg
    "soft_byte_limit:Q hard_byte_limit:Q soft_packet_limit:Q hard_packet_limit:Q"
    " soft_add_expires_seconds:Q hard_add_expires_seconds:Q soft_use_expires_seconds:Q hard_use_expires_seconds:Q"
)
LIFETIME_CURRENT = Layout("bytes:Q packets:Q add_time:Q use_time:Q")  # struct xfrm_lifetime_cur
POLICY = Layout(  # struct xfrm_userpolicy_info
    "selector:56s lifetime:64s current:32s priority:I index:I direction:B action:B flags:B share:B 4x"
)
STATE = Layout(  # struct xfrm_usersa_info
    "selector:56s destination:16s spi:>I protocol:B 3x source:16s lifetime:64s current:32s"
    " replay_window_errors:I replay_errors:I integrity_errors:I sequence:I reqid:I family:H"
    " mode:B replay_window:B flags:B 7x"
)
_STATE_ID = "destination:16s spi:>I family:H protocol:B x"
STATE_ID = Layout(_STATE_ID)  # struct xfrm_usersa_id
_ASYNC_EVENT = Layout(f"{_STATE_ID} source:16s flags:I reqid:I")  # struct xfrm_aevent_id
_INFO = Layout("flags:I")
_DEFAULT = Layout("input:B forward:B output:B")  # struct xfrm_userpolicy_default

MESSAGES: Final[Mapping[int, Layout | None]] = {
    uapi.XFRM_MSG_NEWSA: STATE,
    uapi.XFRM_MSG_UPDSA: STATE,
    uapi.XFRM_MSG_DELSA: STATE_ID,
    uapi.XFRM_MSG_GETSA: STATE_ID,
    uapi.XFRM_MSG_ALLOCSPI: Layout("state:224s spi_min:I spi_max:I"),  # struct xfrm_userspi_info
    uapi.XFRM_MSG_EXPIRE: Layout("state:224s hard:B 7x"),
    uapi.XFRM_MSG_FLUSHSA: Layout("protocol:B"),
    uapi.XFRM_MSG_NEWPOLICY: _WHOLE_POLICY,
    uapi.XFRM_MSG_UPDPOLICY: _WHOLE_POLICY,
    uapi.XFRM_MSG_DELPOLICY: _POLICY_ID,
    uapi.XFRM_MSG_GETPOLICY: _POLICY_ID,
    uapi.XFRM_MSG_POLEXPIRE: Layout("policy:168s hard:B 7x"),
    uapi.XFRM_MSG_FLUSHPOLICY: None,
    uapi.XFRM_MSG_ACQUIRE: Layout(
        "destination:16s spi:>I protocol:B 3x source:16s selector:56s policy:168s"
        " aalgos:I ealgos:I calgos:I sequence:I"
    ),
    uapi.XFRM_MSG_NEWAE: _ASYNC_EVENT,
    uapi.XFRM_MSG_GETAE: _ASYNC_EVENT,
    uapi.XFRM_MSG_REPORT: Layout("protocol:B 3x selector:56s"),
    uapi.XFRM_MSG_MIGRATE: _POLICY_ID,
    uapi.XFRM_MSG_MAPPING: Layout(f"{_STATE_ID} reqid:I old_source:16s new_source:16s old_port:>H new_port:>H"),
    uapi.XFRM_MSG_MIGRATE_STATE: Layout(
        f"{_STATE_ID} new_destination:16s new_source:16s mark_value:I mark_mask:I selector:56s"
        " reqid:I flags:I new_family:H 2x"
    ),
    uapi.XFRM_MSG_NEWSADINFO: _INFO,
    uapi.XFRM_MSG_GETSADINFO: _INFO,
    uapi.XFRM_MSG_NEWSPDINFO: _INFO,
    uapi.XFRM_MSG_GETSPDINFO: _INFO,
    uapi.XFRM_MSG_SETDEFAULT: _DEFAULT,
    uapi.XFRM_MSG_GETDEFAULT: _DEFAULT,
}
"""The fixed part of each type of message; None: it has none."""

TEMPLATE = Layout(  # struct xfrm_user_tmpl
    "destination:16s spi:>I protocol:B 3x family:H 2x source:16s reqid:I mode:B share:B level:B x"
    " aalgos:I ealgos:I calgos:I"
)
MIGRATION = Layout(  # struct xfrm_user_migrate
    "old_destination:16s old_source:16s new_destination:16s new_source:16s protocol:B mode:B 2x reqid:I"
    " old_family:H new_family:H"
)

_DUMPS = (uapi.XFRM_MSG_GETSA, uapi.XFRM_MSG_GETPOLICY)


def fixed_part(message: int, flags: int) -> Layout | None:
    """The fixed part of a message: requests to dump all have none. KeyError for an unknown type."""
    if message in _DUMPS and flags & NLM_F_DUMP == NLM_F_DUMP:
        return None
    return MESSAGES[message]


# --- payloads of attributes -----------------------------------------------------------------------------
#
# Each kind of payload turns (numbers, data, name) into the payload's two parts, a structure and the bytes behind
# it, and back. Both give None where something is not of the size that it must have.

Buffer = bytes | bytearray | memoryview
Parts = tuple[tuple[int, ...], Buffer, bytes]  # as in Item: numbers, data, name
_NO_DATA = b""


class Fixed:
    """A structure of one size: numbers, and at most one piece of data, called `data`."""

    def __init__(self, words: str) -> None:
        self.layout = Layout(words)
        names = self.layout.names
        self._place = names.index("data") if "data" in names else None
        self._count = len(names) - ("data" in names)
        data = [word for word in words.split() if word.startswith("data:")]
        self._data_size = struct.calcsize(data[0].partition(":")[2]) if data else 0

    def pack(self, numbers: tuple[int, ...], data: Buffer, name: bytes) -> tuple[bytes, Buffer] | None:
        if len(numbers) != self._count or len(data) != self._data_size or name:
            return None
        if self._place is None:
            return self.layout.pack(numbers), _NO_DATA
        values: list[int | bytes] = list(numbers)
        values.insert(self._place, bytes(data))
        return self.layout.pack(values), _NO_DATA

    def unpack(self, payload: memoryview) -> Parts | None:
        if len(payload) != self.layout.size:
            return None
        values: list[Any] = list(self.layout.unpack(payload))
        data = _NO_DATA if self._place is None else values.pop(self._place)
        return tuple(values), data, b""


class Array:
    """One or more structures of one size, which stay bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def pack(self, numbers: tuple[int, ...], data: Buffer, name: bytes) -> tuple[bytes, Buffer] | None:
        return None if numbers or name or not data or len(data) % self._size else (b"", data)

    def unpack(self, payload: memoryview) -> Parts | None:
        return None if not payload or len(payload) % self._size else ((), bytes(payload), b"")


class Algorithm:
    """A name of less than 64 bytes, filled up with NULs; the size of the key in bits; more numbers; the key."""

    def __init__(self, numbers: str) -> None:
        self.layout = Layout(f"name:64s {numbers}")

    def pack(self, numbers: tuple[int, ...], data: Buffer, name: bytes) -> tuple[bytes, Buffer] | None:
        if len(numbers) + 1 != len(self.layout.names) or len(name) > 63 or b"\0" in name:
            return None
        return (self.layout.pack((name, *numbers)), data) if len(data) == (numbers[0] + 7) // 8 else None

    def unpack(self, payload: memoryview) -> Parts | None:
        if len(payload) < self.layout.size:
            return None
        field, *numbers = self.layout.unpack(payload)
        name = bytes(field).rstrip(b"\0")
        key = payload[self.layout.size :]
        if len(name) == 64 or b"\0" in name or len(key) != (int(numbers[0]) + 7) // 8:
            return None
        return tuple(map(int, numbers)), key, name


class SecurityContext:
    """struct xfrm_user_sec_ctx and a label, whose size it says twice."""

    _HEAD = struct.Struct("=HHBBH")  # size with the label, attribute type, algorithm, doi, size of the label

    def pack(self, numbers: tuple[int, ...], data: Buffer, name: bytes) -> tuple[bytes, Buffer] | None:
        size = self._HEAD.size + len(data)
        if len(numbers) != 2 or name or size > 0xFFFF:
            return None
        return self._HEAD.pack(size, uapi.XFRMA_SEC_CTX, *numbers, len(data)), data

    def unpack(self, payload: memoryview) -> Parts | None:
        if len(payload) < self._HEAD.size:
            return None
        size, kind, algorithm, doi, label = self._HEAD.unpack_from(payload)
        if (size, kind, self._HEAD.size + label) != (len(payload), uapi.XFRMA_SEC_CTX, len(payload)):
            return None
        return (algorithm, doi), bytes(payload[self._HEAD.size :]), b""


class ReplayEsn:
    """struct xfrm_replay_state_esn and a bitmap of as many words as it says, or none, which stands for zeros."""

    layout = Layout("bitmap_words:I oseq:I seq:I oseq_hi:I seq_hi:I replay_window:I")

    def pack(self, numbers: tuple[int, ...], data: Buffer, name: bytes) -> tuple[bytes, Buffer] | None:
        if len(numbers) != 6 or name or (data and len(data) != 4 * numbers[0]):
            return None
        return self.layout.pack(numbers), data

    def unpack(self, payload: memoryview) -> Parts | None:
        if len(payload) < self.layout.size:
            return None
        numbers = tuple(map(int, self.layout.unpack(payload)))
        bitmap = payload[self.layout.size :]
        return None if bitmap and len(bitmap) != 4 * numbers[0] else (numbers, bytes(bitmap), b"")


Payload = Fixed | Array | Algorithm | SecurityContext | ReplayEsn

_U8, _U16, _U32, _U64 = Fixed("value:B"), Fixed("value:H"), Fixed("value:I"), Fixed("value:Q")
_TWO_U32 = Fixed("first:I second:I")
_ADDRESS = Fixed("data:16s")
_KEY = Algorithm("key_bits:I")
_KEY_ICV = Algorithm("key_bits:I icv_bits:I")

ATTRIBUTES: Final[Mapping[int, Payload]] = {
    uapi.XFRMA_ALG_AUTH: _KEY,
    uapi.XFRMA_ALG_CRYPT: _KEY,
    uapi.XFRMA_ALG_COMP: _KEY,
    uapi.XFRMA_ENCAP: Fixed("type:H source_port:>H destination_port:>H 2x data:16s"),  # original address
    uapi.XFRMA_TMPL: Array(64),
    uapi.XFRMA_SA: Fixed("data:224s"),
    uapi.XFRMA_POLICY: Fixed("data:168s"),
    uapi.XFRMA_SEC_CTX: SecurityContext(),
    uapi.XFRMA_LTIME_VAL: Fixed("data:32s"),
    uapi.XFRMA_REPLAY_VAL: Fixed("oseq:I seq:I bitmap:I"),
    uapi.XFRMA_REPLAY_THRESH: _U32,
    uapi.XFRMA_ETIMER_THRESH: _U32,
    uapi.XFRMA_SRCADDR: _ADDRESS,
    uapi.XFRMA_COADDR: _ADDRESS,
    uapi.XFRMA_LASTUSED: _U64,
    uapi.XFRMA_POLICY_TYPE: Fixed("type:B 5x"),
    uapi.XFRMA_MIGRATE: Array(76),
    uapi.XFRMA_ALG_AEAD: _KEY_ICV,
    uapi.XFRMA_KMADDRESS: Fixed("data:32s reserved:I family:H 2x"),  # local and remote address
    uapi.XFRMA_ALG_AUTH_TRUNC: _KEY_ICV,
    uapi.XFRMA_MARK: _TWO_U32,  # value, mask
    uapi.XFRMA_TFCPAD: _U32,
    uapi.XFRMA_REPLAY_ESN_VAL: ReplayEsn(),
    uapi.XFRMA_SA_EXTRA_FLAGS: _U32,
    uapi.XFRMA_PROTO: _U8,
    uapi.XFRMA_ADDRESS_FILTER: Fixed("data:32s family:H source_prefix:B destination_prefix:B"),  # two addresses
    uapi.XFRMA_OFFLOAD_DEV: Fixed("interface:i flags:B 3x"),
    uapi.XFRMA_SET_MARK: _U32,
    uapi.XFRMA_SET_MARK_MASK: _U32,
    uapi.XFRMA_IF_ID: _U32,
    uapi.XFRMA_MTIMER_THRESH: _U32,
    uapi.XFRMA_SA_DIR: _U8,
    uapi.XFRMA_NAT_KEEPALIVE_INTERVAL: _U32,
    uapi.XFRMA_SA_PCPU: _U32,
    uapi.XFRMA_IPTFS_DROP_TIME: _U32,
    uapi.XFRMA_IPTFS_REORDER_WINDOW: _U16,
    uapi.XFRMA_IPTFS_DONT_FRAG: Fixed(""),
    uapi.XFRMA_IPTFS_INIT_DELAY: _U32,
    uapi.XFRMA_IPTFS_MAX_QSIZE: _U32,
    uapi.XFRMA_IPTFS_PKT_SIZE: _U32,
}
"""The payload of each type of attribute. XFRMA_PAD, which only fills up, is left out."""

_SAD_ATTRIBUTES: Final[Mapping[int, Payload]] = {
    uapi.XFRMA_SAD_CNT: _U32,
    uapi.XFRMA_SAD_HINFO: _TWO_U32,
}
_SPD_ATTRIBUTES: Final[Mapping[int, Payload]] = {
    uapi.XFRMA_SPD_INFO: Fixed("input:I output:I forward:I socket_input:I socket_output:I socket_forward:I"),
    uapi.XFRMA_SPD_HINFO: _TWO_U32,
    uapi.XFRMA_SPD_IPV4_HTHRESH: Fixed("local:B remote:B"),
    uapi.XFRMA_SPD_IPV6_HTHRESH: Fixed("local:B remote:B"),
}


def attributes_of(message: int) -> Mapping[int, Payload]:
    """The attributes that a message may have: those of the two information messages are numbered on their own."""
    if message in (uapi.XFRM_MSG_NEWSADINFO, uapi.XFRM_MSG_GETSADINFO):
        return _SAD_ATTRIBUTES
    if message in (uapi.XFRM_MSG_NEWSPDINFO, uapi.XFRM_MSG_GETSPDINFO):
        return _SPD_ATTRIBUTES
    return ATTRIBUTES

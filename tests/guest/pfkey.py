# SPDX-License-Identifier: MIT
"""PF_KEY (RFC 2367 and <linux/pfkeyv2.h>): the other way into the kernel's databases, which setkey took."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Sequence

from xfrm_ext.testing import inside

AF_KEY, PF_KEY_V2 = 15, 2
ADD, SPDADD = 3, 14
UNSPEC, AH, ESP, IPCOMP = 0, 2, 3, 9
"""Types of states."""
MODE_ANY, TRANSPORT, TUNNEL = 0, 1, 2
DEFAULT, USE, REQUIRE, UNIQUE = 0, 1, 2, 3
DISCARD, NONE, IPSEC = 0, 1, 2
IN, OUT, FWD = 1, 2, 3

AUTHENTICATION = {
    "hmac-md5": 2,
    "hmac-sha1": 3,
    "hmac-sha2-256": 5,
    "hmac-sha2-384": 6,
    "hmac-sha2-512": 7,
    "aes-xcbc-mac": 9,
    "null": 251,
}
ENCRYPTION = {
    "des-cbc": 2,
    "3des-cbc": 3,
    "cast128-cbc": 6,
    "blowfish-cbc": 7,
    "null": 11,
    "aes-cbc": 12,
    "aes-ctr": 13,
    "camellia-cbc": 22,
    "twofish-cbc": 253,
}
COMPRESSION = {"deflate": 2}


def _extension(kind: int, fields: bytes) -> bytes:
    fields += bytes(-(len(fields) + 4) % 8)
    return struct.pack("=HH", (len(fields) + 4) // 8, kind) + fields


def _socket_address(text: str, port: int = 0) -> bytes:
    address = ipaddress.ip_address(text)
    if address.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + address.packed + bytes(8)
    return struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0) + address.packed + bytes(4)


def _address(kind: int, text: str, protocol: int = 255, port: int = 0) -> bytes:
    network = ipaddress.ip_interface(text)
    fields = struct.pack("=BBH", protocol, network.network.prefixlen, 0)
    return _extension(kind, fields + _socket_address(str(network.ip), port))


def state(
    kind: int,
    source: str,
    destination: str,
    spi: int,
    *,
    authentication: tuple[int, bytes] = (0, b""),
    encryption: tuple[int, bytes] = (0, b""),
    mode: int = MODE_ANY,
    reqid: int = 0,
    replay: int = 0,
    hard: tuple[int, int] = (0, 0),
    soft: tuple[int, int] = (0, 0),
    ports: tuple[int, int] | None = None,
) -> bytes:
    """SADB_ADD. Lifetimes: bytes and seconds."""
    spi_bytes = struct.pack(">I", spi)
    parts = [_extension(1, spi_bytes + struct.pack("=BBBBI", replay, 0, authentication[0], encryption[0], 0))]
    parts.append(_extension(19, struct.pack("=BBHII", mode, 0, 0, 0, reqid)))
    # A key that is needed is there when it has no bits, too.
    for number, (algorithm, key), needed_by in ((8, authentication, AH), (9, encryption, ESP)):
        if key or (algorithm and kind == needed_by):
            parts.append(_extension(number, struct.pack("=HH", 8 * len(key), 0) + key))
    for number, (size, seconds) in ((3, hard), (4, soft)):
        if size or seconds:
            parts.append(_extension(number, struct.pack("=IQQQ", 0, size, seconds, 0)))
    parts += [_address(5, source), _address(6, destination)]
    if ports is not None:
        parts.append(_extension(20, struct.pack("=B3x", 2)))
        parts += [
            _extension(number, struct.pack(">H2x", port)) for number, port in zip((21, 22), ports, strict=True)
        ]
    return _head(ADD, kind, b"".join(parts))


def request(protocol: int, mode: int, level: int, reqid: int = 0, ends: Sequence[str] = ()) -> bytes:
    """One rule of a policy."""
    addresses = b"".join(map(_socket_address, ends))
    size = 16 + len(addresses)
    return struct.pack("=HHBBHII", size, protocol, mode, level, 0, reqid, 0) + addresses


def policy(
    source: tuple[str, int],
    destination: tuple[str, int],
    protocol: int,
    direction: int,
    action: int,
    priority: int,
    *requests: bytes,
) -> bytes:
    """SADB_X_SPDADD. Ends: prefix and port."""
    fields = struct.pack("=HBBII", action, direction, 0, 0, priority) + b"".join(requests)
    parts = [_extension(18, fields)]
    parts += [_address(5, source[0], protocol, source[1]), _address(6, destination[0], protocol, destination[1])]
    return _head(SPDADD, UNSPEC, b"".join(parts))


def _head(message: int, kind: int, body: bytes) -> bytes:
    size = (16 + len(body)) // 8
    return struct.pack("=BBBBHHII", PF_KEY_V2, message, 0, kind, size, 0, 0, os.getpid()) + body


def send(namespace: int, *messages: bytes) -> None:
    """Sends messages in a namespace. Raises OSError with what the kernel answers."""
    with inside(namespace):
        opened = socket.socket(AF_KEY, socket.SOCK_RAW, PF_KEY_V2)
    with opened:
        opened.settimeout(5)
        for message in messages:
            opened.send(message)
            answer = opened.recv(0x10000)
            if answer[2]:
                raise OSError(answer[2], errno.errorcode[answer[2]])

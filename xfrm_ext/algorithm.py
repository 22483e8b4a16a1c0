# SPDX-License-Identifier: MIT
"""Algorithms of states: encryption and compression (Algorithm), authentication (AuthAlgorithm), both in one
(AeadAlgorithm), and the table of those that are known, with the lengths of their keys and check values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from xfrm_ext.checks import article, integer
from xfrm_ext.constants import AttributeType
from xfrm_ext.errors import ValidationError
from xfrm_ext.secret import NO_KEY, KeyLike, Secret
from xfrm_ext.wire.item import Item

_Any = TypeVar("_Any", "Algorithm", "AuthAlgorithm", "AeadAlgorithm")
_LONGEST_KEY = 8192  # bytes: more than any algorithm wants, and a message stays a message


@dataclass(frozen=True, slots=True)
class AlgorithmInfo:
    """What is known of an algorithm. All lengths are in bits."""

    key_bits: tuple[int, ...]
    """Lengths that a key may have, with salt or nonce."""
    salt_bits: int = 0
    """How much of the key is the salt (RFC 4106, 4309, 4543, 7634) or the nonce (RFC 3686), at its end."""
    icv_bits: tuple[int, ...] = ()
    """Lengths that the check value may have, the usual one first."""


def _several(first: int, last: int, step: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1, step))


ENCRYPTION: Final[Mapping[str, AlgorithmInfo]] = MappingProxyType(
    {
        "ecb(cipher_null)": AlgorithmInfo((0,)),
        "cbc(des)": AlgorithmInfo((64,)),
        "cbc(des3_ede)": AlgorithmInfo((192,)),
        "cbc(cast5)": AlgorithmInfo(_several(40, 128, 8)),
        "cbc(blowfish)": AlgorithmInfo(_several(40, 448, 8)),
        "cbc(aes)": AlgorithmInfo((128, 192, 256)),
        "cbc(serpent)": AlgorithmInfo(_several(0, 256, 8)),
        "cbc(camellia)": AlgorithmInfo((128, 192, 256)),
        "cbc(twofish)": AlgorithmInfo((128, 192, 256)),
        "rfc3686(ctr(aes))": AlgorithmInfo((160, 224, 288), 32),
        "cbc(sm4)": AlgorithmInfo((128,)),
    }
)
"""XFRMA_ALG_CRYPT, by the kernel's names."""

AUTHENTICATION: Final[Mapping[str, AlgorithmInfo]] = MappingProxyType(
    {
        "digest_null": AlgorithmInfo((0,), 0, (0,)),
        "hmac(md5)": AlgorithmInfo((128,), 0, (96, 128)),
        "hmac(sha1)": AlgorithmInfo((160,), 0, (96, 160)),
        "hmac(sha256)": AlgorithmInfo((256,), 0, (128, 96, 256)),
        "hmac(sha384)": AlgorithmInfo((384,), 0, (192, 96, 384)),
        "hmac(sha512)": AlgorithmInfo((512,), 0, (256, 96, 512)),
        "hmac(rmd160)": AlgorithmInfo((160,), 0, (96, 160)),
        "hmac(sm3)": AlgorithmInfo((256,), 0, (256, 96, 128)),
        "xcbc(aes)": AlgorithmInfo((128,), 0, (96, 128)),
        "cmac(aes)": AlgorithmInfo((128,), 0, (96, 128)),
    }
)
"""XFRMA_ALG_AUTH and XFRMA_ALG_AUTH_TRUNC. The first check value is that of RFC 2403, 2404, 4868, 3566, 4494."""

AEAD: Final[Mapping[str, AlgorithmInfo]] = MappingProxyType(
    {
        "rfc4106(gcm(aes))": AlgorithmInfo((160, 224, 288), 32, (128, 96, 64)),
        "rfc4309(ccm(aes))": AlgorithmInfo((152, 216, 280), 24, (128, 96, 64)),
        "rfc4543(gcm(aes))": AlgorithmInfo((160, 224, 288), 32, (128,)),
        "rfc7539esp(chacha20,poly1305)": AlgorithmInfo((288,), 32, (128,)),
    }
)
"""XFRMA_ALG_AEAD: encryption and authentication in one."""

COMPRESSION: Final[Mapping[str, AlgorithmInfo]] = MappingProxyType(
    {"deflate": AlgorithmInfo((0,)), "lzs": AlgorithmInfo((0,)), "lzjh": AlgorithmInfo((0,))}
)
"""XFRMA_ALG_COMP."""

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cipher_null": "ecb(cipher_null)",
        "des": "cbc(des)",
        "des3_ede": "cbc(des3_ede)",
        "cast5": "cbc(cast5)",
        "blowfish": "cbc(blowfish)",
        "aes": "cbc(aes)",
        "serpent": "cbc(serpent)",
        "camellia": "cbc(camellia)",
        "twofish": "cbc(twofish)",
        "sm4": "cbc(sm4)",
        "md5": "hmac(md5)",
        "sha1": "hmac(sha1)",
        "sha256": "hmac(sha256)",
        "sha384": "hmac(sha384)",
        "sha512": "hmac(sha512)",
        "rmd160": "hmac(rmd160)",
        "sm3": "hmac(sm3)",
    }
)
"""Names that the kernel takes, each with the name that it answers with."""


def _name(value: object, owner: str) -> str:
    if not isinstance(value, str) or not value.isascii() or not 0 < len(value) <= 63 or "\0" in value:
        # Not shown: it may be the key, given in the wrong place.
        what = f"it has {len(value)}" if isinstance(value, str) else f"it is {article(type(value).__name__)}"
        raise ValidationError(f"{owner}.name", None, f"is not a name of 1 to 63 ASCII characters: {what}")
    return ALIASES.get(value, value)


def _key_bits(key: Secret, bits: int | None, owner: str) -> int:
    """The length of a key: all of its bytes unless it is told, when the last byte need not be full."""
    most = 8 * len(key)
    if most > 8 * _LONGEST_KEY:
        raise ValidationError(f"{owner}.key", f"{most} bits", f"are more than {8 * _LONGEST_KEY}")
    return most if bits is None else integer(bits, f"{owner}.key_bits", most, least=max(most - 7, 0))


def _check_key(bits: int, name: str, info: AlgorithmInfo | None, owner: str) -> None:
    if info is None or bits in info.key_bits:
        return
    lengths = _ranges(info.key_bits)
    salt = f", of which the last {info.salt_bits} are the salt" if info.salt_bits else ""
    rule = f"is not what {name} wants: {lengths} bits{salt} (strict=False allows it)"
    raise ValidationError(f"{owner}.key", f"{bits} bits", rule)


def _ranges(numbers: tuple[int, ...]) -> str:
    if len(numbers) > 4:
        return f"{numbers[0]} to {numbers[-1]}"
    return " or ".join(map(str, numbers))


def _icv(value: object, name: str, info: AlgorithmInfo | None, strict: bool, owner: str) -> int:
    bits = integer(value, f"{owner}.icv_bits", 0xFFFFFFFF)
    if strict and info is not None and bits not in info.icv_bits:
        rule = f"is not what {name} has: {_ranges(info.icv_bits)} bits (strict=False allows it)"
        raise ValidationError(f"{owner}.icv_bits", str(bits), rule)
    return bits


@dataclass(frozen=True, slots=True, init=False)
class Algorithm:
    """Encryption (struct xfrm_algo, XFRMA_ALG_CRYPT) or compression (XFRMA_ALG_COMP), which has no key.

    ``Algorithm("cbc(aes)", key)``. Short names ("aes") become the kernel's. Names that are not in ENCRYPTION or
    COMPRESSION go through unchecked.
    """

    name: str
    key: Secret = NO_KEY
    """In bytes, or hexadecimal; rfc3686: with the nonce."""
    key_bits: int = 0
    """Length of the key, which need not fill its last byte; default: it does."""

    def __init__(
        self, name: str, key: KeyLike = NO_KEY, *, key_bits: int | None = None, strict: bool = True
    ) -> None:
        """Raises ValidationError. ``strict=False``: any length of the key."""
        try:  # what is wrong with them may be that one is in the place of the other
            key, text = Secret(key, "Algorithm.key"), _name(name, "Algorithm")
        except ValidationError:
            del key, name  # from the traceback
            raise
        bits = _key_bits(key, key_bits, "Algorithm")
        info = ENCRYPTION.get(text) or COMPRESSION.get(text)
        _check_key(bits, text, info if strict else None, "Algorithm")
        _fill(self, text, key, bits)

    @classmethod
    def _from_item(cls, item: Item) -> Algorithm:
        return _fill(cls.__new__(cls), *_parts(item))

    def _item(self, kind: int) -> Item:
        return Item(kind, (self.key_bits,), self.key._memory, _encoded(self.name))


@dataclass(frozen=True, slots=True, init=False)
class AuthAlgorithm:
    """Authentication (struct xfrm_algo_auth, XFRMA_ALG_AUTH_TRUNC).

    ``AuthAlgorithm("hmac(sha256)", key)`` has a check value of 128 bits, as RFC 4868 wants it (`ip xfrm`'s "auth"
    gets 96). Names that are not in AUTHENTICATION go through unchecked.
    """

    name: str
    key: Secret = NO_KEY
    icv_bits: int = 0
    """Length of the check value. Default: the RFC's. 0: whatever the kernel takes when it is not told."""
    key_bits: int = 0

    def __init__(
        self,
        name: str,
        key: KeyLike = NO_KEY,
        icv_bits: int | None = None,
        *,
        key_bits: int | None = None,
        strict: bool = True,
    ) -> None:
        """Raises ValidationError. ``strict=False``: any lengths, as HMAC allows them."""
        try:  # what is wrong with them may be that one is in the place of the other
            key, text = Secret(key, "AuthAlgorithm.key"), _name(name, "AuthAlgorithm")
        except ValidationError:
            del key, name  # from the traceback
            raise
        bits = _key_bits(key, key_bits, "AuthAlgorithm")
        info = AUTHENTICATION.get(text)
        _check_key(bits, text, info if strict else None, "AuthAlgorithm")
        if icv_bits is None:
            icv_bits = info.icv_bits[0] if info else 0
        else:
            icv_bits = _icv(icv_bits, text, info, strict and icv_bits != 0, "AuthAlgorithm")
        _fill(self, text, key, bits, icv_bits)

    @classmethod
    def _from_item(cls, item: Item) -> AuthAlgorithm:
        numbers = item.numbers or (0,)
        return _fill(cls.__new__(cls), *_parts(item), numbers[1] if len(numbers) > 1 else 0)


@dataclass(frozen=True, slots=True, init=False)
class AeadAlgorithm:
    """Encryption and authentication in one (struct xfrm_algo_aead, XFRMA_ALG_AEAD).

    ``AeadAlgorithm("rfc4106(gcm(aes))", key, 128)``: the key ends with the salt, so that of AES-128 has 160 bits.
    """

    name: str
    key: Secret
    icv_bits: int
    """Length of the check value; default 128."""
    key_bits: int = field(default=0)

    def __init__(
        self,
        name: str,
        key: KeyLike,
        icv_bits: int = 128,
        *,
        key_bits: int | None = None,
        strict: bool = True,
    ) -> None:
        """Raises ValidationError. ``strict=False``: any lengths."""
        try:  # what is wrong with them may be that one is in the place of the other
            key, text = Secret(key, "AeadAlgorithm.key"), _name(name, "AeadAlgorithm")
        except ValidationError:
            del key, name  # from the traceback
            raise
        bits = _key_bits(key, key_bits, "AeadAlgorithm")
        info = AEAD.get(text)
        _check_key(bits, text, info if strict else None, "AeadAlgorithm")
        _fill(self, text, key, bits, _icv(icv_bits, text, info, strict, "AeadAlgorithm"))

    @classmethod
    def _from_item(cls, item: Item) -> AeadAlgorithm:
        return _fill(cls.__new__(cls), *_parts(item), (item.numbers or (0, 0))[1])

    def _item(self, kind: int) -> Item:
        return Item(kind, (self.key_bits, self.icv_bits), self.key._memory, _encoded(self.name))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _parts(item: Item) -> tuple[str, Secret, int]:
    """Name, key and the key's length of an item, as they came."""
    key = Secret._of(item.data) if item.data else NO_KEY
    return item.name.decode("utf-8", "surrogateescape"), key, (item.numbers or (0,))[0]


def _fill(value: _Any, name: str, key: Secret, key_bits: int, icv_bits: int | None = None) -> _Any:
    object.__setattr__(value, "name", name)
    object.__setattr__(value, "key", key)
    object.__setattr__(value, "key_bits", key_bits)
    if icv_bits is not None:
        object.__setattr__(value, "icv_bits", icv_bits)
    return value


def authentication_item(algorithm: AuthAlgorithm) -> Item:
    """XFRMA_ALG_AUTH_TRUNC, or XFRMA_ALG_AUTH where the kernel shall pick the length of the check value."""
    name, key = _encoded(algorithm.name), algorithm.key._memory
    if algorithm.icv_bits:
        return Item(AttributeType.ALG_AUTH_TRUNC, (algorithm.key_bits, algorithm.icv_bits), key, name)
    return Item(AttributeType.ALG_AUTH, (algorithm.key_bits,), key, name)

# SPDX-License-Identifier: MIT
"""Secret: bytes that nobody sees unless they ask for them by name."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

from xfrm_ext import wire
from xfrm_ext.checks import article
from xfrm_ext.errors import ValidationError

KeyLike: TypeAlias = "bytes | bytearray | memoryview | str | Secret"


class Secret:
    """A key. Its repr and str tell its length only; it can't be pickled, nor written as JSON; its memory is wiped
    when it is freed.

    Made from bytes, or from text in hexadecimal with or without "0x". ``reveal()`` returns the bytes. Two are
    compared in a time that does not depend on where they differ.
    """

    __slots__ = ("_memory",)

    def __init__(self, value: KeyLike, field: str = "Secret") -> None:
        """Raises ValidationError, which does not show the value."""
        if isinstance(value, str):
            try:
                value = bytes.fromhex(value[2:] if value[:2] in ("0x", "0X") else value)
            except ValueError:
                del value  # nor shall the frame of the error
                rule = "is not hexadecimal text of whole bytes, and the bytes of a key may not be given as text"
                raise ValidationError(field, None, rule) from None
        elif isinstance(value, Secret):
            value = value._memory
        data: Any = value
        try:
            self._memory: Any = wire.memory(memoryview(data).cast("B"))
        except TypeError:
            kind = article(type(value).__name__)
            del value, data
            raise ValidationError(field, None, f"is {kind}, not bytes or hexadecimal text") from None

    @classmethod
    def _of(cls, memory: Any) -> Secret:
        """Takes memory over that is wiped already when it is freed."""
        value = cls.__new__(cls)
        value._memory = memory
        return value

    def reveal(self) -> bytes:
        """The bytes themselves. Who asks takes care of the copy."""
        return bytes(self._memory)

    def __len__(self) -> int:
        return len(self._memory)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            import hmac  # and with it OpenSSL: only for those who compare

            return hmac.compare_digest(memoryview(self._memory), memoryview(other._memory))
        return NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, len(self)))

    def __repr__(self) -> str:
        return f"Secret({8 * len(self)} bits)"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled: reveal() returns its bytes")


NO_KEY = Secret(b"")

# SPDX-License-Identifier: MIT
"""ALGO of `ip xfrm state`: an algorithm and its key, as an attribute."""

from __future__ import annotations

from xfrm_ext.constants import uapi
from xfrm_ext.iproute2.words import MOST_KEY, key_bytes, number, wrong
from xfrm_ext.wire.item import Item

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from xfrm_ext.iproute2.words import ReadKey, Words

_MOST_NAME = 63
_TYPES = {
    "enc": uapi.XFRMA_ALG_CRYPT,
    "auth": uapi.XFRMA_ALG_AUTH,
    "auth-trunc": uapi.XFRMA_ALG_AUTH_TRUNC,
    "aead": uapi.XFRMA_ALG_AEAD,
    "comp": uapi.XFRMA_ALG_COMP,
}
KEYWORDS = tuple(_TYPES)
_EXCLUDED = {  # what must not have come before
    "enc": ("enc", "aead"),
    "auth": ("auth", "auth-trunc", "aead"),
    "auth-trunc": ("auth", "auth-trunc", "aead"),
    "aead": ("enc", "auth", "auth-trunc", "aead"),
    "comp": ("comp",),
}
_BITS = {"auth-trunc": "trunc-len", "aead": "icv-len"}


def read(words: Words, keyword: str, before: Iterable[str], read_key: ReadKey = key_bytes) -> Item:
    """NAME [ KEY [ BITS ] ], behind one of KEYWORDS; `before`: those that there were.

    enc and auth have a key, auth-trunc and aead a number of bits besides, comp has neither. A name is cut after 63
    bytes, as `ip` does.
    """
    for other in before:
        if other in _EXCLUDED[keyword]:
            raise wrong(keyword, None, f"is one algorithm too many: there is {other} already")
    name = words.next(f"{keyword} name").encode("utf-8", "surrogateescape")[:_MOST_NAME]
    if keyword == "comp":
        return Item(_TYPES[keyword], (0,), b"", name)
    word = words.next(f"{keyword} key")
    bits: tuple[int, ...] = ()
    if keyword in _BITS:
        field = f"{keyword} {_BITS[keyword]}"
        bits = (number(words.next(field), field, hidden=True),)
    item = Item(_TYPES[keyword], (), read_key(word), name)
    size = len(item.data)
    if size > MOST_KEY:
        wipe((item,))
        raise wrong(f"{keyword} key", None, f"has {size} bytes: {MOST_KEY} is the most")
    return item._replace(numbers=(8 * size, *bits))


def wipe(items: Iterable[Item]) -> None:
    """Overwrites keys that can be overwritten."""
    for item in items:
        if item.type in _TYPES.values() and isinstance(item.data, bytearray):
            item.data[:] = bytes(len(item.data))

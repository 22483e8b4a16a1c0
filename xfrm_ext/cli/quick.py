# SPDX-License-Identifier: MIT
"""`xfrm policy count` and `xfrm state count`, for scripts that call them often: without most of what the ordinary
way imports. Where anything is out of the ordinary, that way is taken."""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # typing's own, whose import would take longer than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence

_REQUEST = struct.Struct("=IHHIII")  # struct nlmsghdr; flags, all of them, as `ip` asks
_HEAD = struct.Struct("=IHHIIIHH")  # the same of the answer; length and type of its first attribute
_QUESTIONS = {  # the request's type, the answer's; the attribute's length; its first numbers; their text
    "policy": (0x25, 0x24, 28, struct.Struct("=III"), "\t SPD IN  %d OUT %d FWD %d\n"),  # XFRMA_SPD_INFO
    "state": (0x23, 0x22, 8, struct.Struct("=I"), "\t SAD count %d\n"),  # XFRMA_SAD_CNT
}


def count(words: Sequence[str]) -> str | None:
    """What a command line prints; None: it is another one, or another way has to say what is wrong."""
    if len(words) == 3 and words[0] == "xfrm":
        words = words[1:]
    if len(words) != 2 or words[1] != "count" or words[0] not in _QUESTIONS:
        return None
    asked, answered, length, numbers, text = _QUESTIONS[words[0]]
    try:
        from xfrm_ext.rtnl_once import ask
    except ImportError:
        return None
    answer = ask(_REQUEST.pack(_REQUEST.size, asked, 1, 0, 0, 0xFFFFFFFF))
    if answer is None or len(answer) < _HEAD.size + numbers.size:
        return None
    _, kind, _, _, _, _, size, first = _HEAD.unpack_from(answer)
    if (kind, size, first) != (answered, length, 1):
        return None
    return text % numbers.unpack_from(answer, _HEAD.size)

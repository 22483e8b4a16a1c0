# SPDX-License-Identifier: MIT
"""What `ip -d link show` says about an XFRM interface besides what it says about any link."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xfrm_ext.wire.layouts import Buffer


def details(message: Buffer) -> str:
    """The words of an RTM_NEWLINK message of an XFRM interface ("xfrm if_id 0x2a "); "" for another link.

    Raises ProtocolError.
    """
    from xfrm_ext.wire.link import link_fields

    fields = link_fields(bytes(message))
    if fields is None:
        return ""
    return "xfrm external " if fields["external"] else f"xfrm if_id {fields['if_id']:#x} "

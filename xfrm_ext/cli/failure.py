# SPDX-License-Identifier: MIT
"""What an error is on stderr: one line, in the words of `ip` where it has some, with a hint where there is one."""

from __future__ import annotations

import errno

from xfrm_ext.errors import CommandError, KernelError, NotCompiledError, RepliesLost, XfrmError

_BY_TEXT = (
    ("Requested type not found", "this kernel has no {protocol}, or its module is not loaded"),
    ("algorithm not found", "this kernel's crypto API has none of that name: see /proc/crypto"),
    ("Unknown device type", "this kernel has no XFRM interfaces (CONFIG_XFRM_INTERFACE)"),
)
_BY_ERRNO = {
    errno.EPERM: "needs CAP_NET_ADMIN in this network namespace: run as root, or see `unshare -rn`",
    errno.EACCES: "needs CAP_NET_ADMIN in this network namespace: run as root, or see `unshare -rn`",
    errno.EPROTONOSUPPORT: "this kernel has no XFRM (CONFIG_XFRM_USER), or its module is not loaded",
    errno.EAFNOSUPPORT: "this kernel has no XFRM for this address family",
    errno.ENOSYS: "this kernel is too old for it, or built without it",
}
_PROTOCOLS = {50: "ESP", 51: "AH", 108: "IPComp"}


def failure(error: BaseException, message: object = None) -> str:
    """The line, without a line feed. `message`: what was sent, for the hint."""
    if isinstance(error, KernelError):
        text = _kernel_text(error)
        hint = _hint(error, message)
        return f"{text} ({hint})" if hint else text
    if isinstance(error, CommandError):
        return f"Error: {error}"
    if isinstance(error, NotCompiledError):
        return f"Error: {error} (reinstall xfrm-ext where there is a C compiler, on Linux)"
    if isinstance(error, RepliesLost):
        return f"Error: {error} (events were lost: what is shown may have gaps)"
    if isinstance(error, XfrmError):
        return f"Error: {error}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"Error: {where}{error.strerror or error}"
    return f"Error: {type(error).__name__}: {error}"


def _kernel_text(error: KernelError) -> str:
    """In `ip`'s words, which scripts look for, and the attribute that the kernel complains about."""
    if not error.kernel_text:
        text = f"RTNETLINK answers: {error.strerror}"
    else:
        text = f"Error: {error.kernel_text}" + ("" if error.kernel_text.endswith(".") else ".")
    return f"{text} [{error.attribute}]" if error.attribute else text


def _hint(error: KernelError, message: object) -> str:
    for part, hint in _BY_TEXT:
        if part in error.kernel_text:
            return hint.format(protocol=_protocol(message))
    if error.errno == errno.EPERM and error.operation == "listen to all namespaces":
        return "needs CAP_NET_BROADCAST: run as root of this network namespace"
    return "" if error.kernel_text else _BY_ERRNO.get(error.errno or 0, "")


def _protocol(message: object) -> str:
    """The protocol of the state that a message adds."""
    from xfrm_ext import wire

    try:
        fields = wire.unpack(message)[2] or {}
        number = int(fields["protocol"])
    except (XfrmError, KeyError, TypeError):
        return "such protocol"
    return _PROTOCOLS.get(number, f"protocol {number}")

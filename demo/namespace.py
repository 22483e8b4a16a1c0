# SPDX-License-Identifier: MIT
"""A private network namespace for this process, so that the host's IPsec stays untouched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_OURS = Path("/proc/self/ns/net")


class NotPermitted(Exception):
    """No private namespace can be had; the text says why, and what to do."""


def name() -> str:
    """The name of the network namespace that this process is in, like ``net:[4026531840]``."""
    return os.readlink(_OURS)


def command() -> list[str]:
    """The ``unshare`` command that starts a program in a private network namespace.

    An ordinary user makes a user namespace around it, in which it counts as root.  So does root
    where it may not make a network namespace by itself, as in some containers.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise NotPermitted("the command unshare is missing: install the package util-linux")
    attempts = [[unshare, "-rn"]]
    if os.geteuid() == 0:
        attempts.insert(0, [unshare, "-n"])
    refusals = []
    for attempt in attempts:
        tried = subprocess.run([*attempt, "true"], capture_output=True, text=True, errors="replace", check=False)
        if tried.returncode == 0:
            return attempt
        refusals.append(f"  {' '.join(attempt)}: {tried.stderr.strip()}")
    raise NotPermitted(
        "this machine refuses to make a private network namespace:\n" + "\n".join([*refusals, *_advice()])
    )


def _advice() -> list[str]:
    """What stands in the way, as far as the kernel's settings tell."""
    advice = []
    if _setting("kernel/unprivileged_userns_clone") == 0:
        advice.append("  user namespaces are for root only:  sysctl kernel.unprivileged_userns_clone=1")
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == 1:
        advice.append(
            "  AppArmor restricts user namespaces:  sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    for kind in ("user", "net"):
        if _setting(f"user/max_{kind}_namespaces") == 0:
            advice.append(f"  no {kind} namespaces are allowed:  sysctl user.max_{kind}_namespaces=10000")
    if advice:
        advice.append("  (set by root, until the next start of the machine; or run the demo as root)")
    elif os.geteuid() == 0:
        advice.append(
            "  root without the capability CAP_SYS_ADMIN, as in most containers: start the container"
            " with it\n  (docker run --privileged, or --cap-add SYS_ADMIN --cap-add NET_ADMIN"
            " --security-opt seccomp=unconfined)"
        )
    else:
        advice.append(
            "  in a container, start it with --privileged; on a machine of your own, run the demo as root"
        )
    return advice


def _setting(setting: str) -> int | None:
    try:
        return int(Path("/proc/sys", setting).read_text())
    except (OSError, ValueError):
        return None  # this kernel has no such setting

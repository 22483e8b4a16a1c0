# SPDX-License-Identifier: MIT
"""The real table: Debian's package tor-geoipdb, fetched and unpacked without root.

The package holds the address blocks of the Internet with their countries (from the IPFire
Location database, CC BY-SA 4.0).  Nothing is installed: the package goes into a cache folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "tor-geoipdb"
FILES = {4: "geoip", 6: "geoip6"}

# Run as root, apt would hand the download to the user _apt, who can't write into our folder,
# and warn that it then did without.
_AS_WE_ARE = ["-o", "APT::Sandbox::User=root"]


class Unavailable(Exception):
    """The package can't be had; the text says why."""


def folder(cache: Path) -> Path:
    """The folder with the two files: the installed package's, or the cache's, filled if empty."""
    unpacked = cache / PACKAGE
    for candidate in (Path("/usr/share/tor"), unpacked / "usr/share/tor"):
        if all((candidate / name).is_file() for name in FILES.values()):
            return candidate
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"there is no {tool} here to fetch Debian's {PACKAGE} with")
    print(f"Fetching Debian's {PACKAGE} into {unpacked} ...", flush=True)
    try:
        # Unpacked beside its final place and renamed, so that an interrupted run leaves nothing
        # that looks complete.
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{PACKAGE}-") as name:
            scratch = Path(name)
            archive = _download(scratch)
            contents = scratch / "contents"
            _run(["dpkg-deb", "-x", str(archive), str(contents)], scratch)
            if not (contents / "usr/share/tor" / FILES[4]).is_file():
                raise Unavailable(f"{archive.name} has no usr/share/tor/{FILES[4]}")
            shutil.rmtree(unpacked, ignore_errors=True)
            contents.rename(unpacked)
    except OSError as error:
        raise Unavailable(f"{PACKAGE} could not be put into {cache}: {error}") from error
    return unpacked / "usr/share/tor"


def _download(scratch: Path) -> Path:
    """Fetch the package: with the package lists of this machine, else with fresh ones.

    The machine's lists may be missing (container images) or name a version that the mirror no
    longer has.  The fresh ones go into ``scratch``: that needs no root, and changes nothing here.
    """
    try:
        _run(["apt-get", "-qq", *_AS_WE_ARE, "download", PACKAGE], scratch)
    except Unavailable:
        for name in ("lists/partial", "archives/partial"):
            (scratch / name).mkdir(parents=True)
        own_lists = ["-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}"]
        apt_get = ["apt-get", "-qq", *_AS_WE_ARE, *own_lists]
        _run([*apt_get, "update"], scratch)
        _run([*apt_get, "download", PACKAGE], scratch)
    archives = list(scratch.glob(f"{PACKAGE}_*.deb"))
    if len(archives) != 1:
        raise Unavailable(f"apt-get download {PACKAGE} left {len(archives)} packages, not one")
    return archives[0]


def _run(command: list[str], directory: Path) -> None:
    """Run a command quietly; if it fails, its last words become the reason."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{' '.join(command[:1])} took longer than {error.timeout:.0f} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise Unavailable(f"{command[0]} for Debian's {PACKAGE} failed: {reason}")

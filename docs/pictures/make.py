# SPDX-License-Identifier: MIT
"""Makes the pictures beside this file, of `xfrm top`, `xfrm tree` and `xfrm load` at work between two hosts:

tests/guest/run --writable docs/pictures -- .venv/bin/python docs/pictures/make.py
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import secrets
import select
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "tests")]

from guest.network import PORT, Host, Pair, two_hosts, until  # noqa: E402

from xfrm_ext import (  # noqa: E402
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    LifetimeConfig,
    LifetimeCurrent,
    Policy,
    Selector,
    State,
    Template,
)
from xfrm_ext.cli.outline import export_svg  # noqa: E402
from xfrm_ext.testing import inside  # noqa: E402

WIDTH = 116
BRANCH, LAPTOP, OLD, NOBODY = "198.51.100.7", "203.0.113.40", "203.0.113.99", "203.0.113.50"
"""Peers: the host on the right is all of those that answer."""
NETS = {BRANCH: "10.7.0.1", LAPTOP: "10.9.0.1"}
"""What is behind them."""
HOUR, GIB = 3600, 2**30


# --- a gateway and its peers --------------------------------------------------------------------------------------


def gcm() -> dict[str, Any]:
    return {"aead": AeadAlgorithm("rfc4106(gcm(aes))", secrets.token_bytes(36))}


def cbc() -> dict[str, Any]:
    return {
        "encryption": Algorithm("cbc(aes)", secrets.token_bytes(32)),
        "authentication": AuthAlgorithm("hmac(sha256)", secrets.token_bytes(32)),
    }


def chacha() -> dict[str, Any]:
    return {"aead": AeadAlgorithm("rfc7539esp(chacha20,poly1305)", secrets.token_bytes(36))}


def aged(seconds: int, count: int, size: int) -> LifetimeCurrent:
    """What a state has behind it that was taken over from elsewhere."""
    now = int(time.time())
    return LifetimeCurrent(bytes=count * size, packets=count, add_time=now - seconds, use_time=now - seconds + 2)


def limits(**given: int) -> LifetimeConfig:
    """Hard limits, and soft ones at 80 % of them."""
    soft = {name.replace("hard", "soft"): value * 4 // 5 for name, value in given.items()}
    return LifetimeConfig(**given, **soft)


def connect(pair: Pair) -> None:
    """Addresses and routes of more peers."""
    left, right = pair.hosts
    for outer, inner in NETS.items():
        right.ip(f"addr add {outer}/32 dev lo", f"addr add {inner}/32 dev lo")
        left.ip(f"route add {outer}/32 via {right.address.outer4} dev wire")
        left.ip(f"route add {inner}/32 via {right.address.outer4} dev wire src {left.address.inner4}")


def tunnel(
    pair: Pair, peer: str, reqid: int, spis: tuple[int, int], kind: Callable[[], dict[str, Any]], **more: Any
) -> None:
    """Both states of a tunnel, at both ends. `more` is for the left end."""
    near = pair.left.address.outer4
    for spi, source, destination, here, there in (
        (spis[0], near, peer, "out", "in"),
        (spis[1], peer, near, "in", "out"),
    ):
        keys = {"spi": spi, "mode": "tunnel", "reqid": reqid, **kind()}
        pair.left.session.sad.add(State(source, destination, direction=here, **keys, **more))
        pair.right.session.sad.add(State(source, destination, direction=there, **keys))


def policies(pair: Pair) -> None:
    """Those of the tunnels, one that blocks, and one whose tunnel is not there."""
    left, right = pair.hosts
    near, far = left.address, right.address
    for peer, net, reqid in (
        (far.outer4, "10.2.0.0/16", 1),
        (BRANCH, "10.7.0.0/16", 7),
        (LAPTOP, f"{NETS[LAPTOP]}/32", 9),
        (NOBODY, "10.10.0.0/16", 10),
    ):
        for ends, nets, here, there in (
            ((near.outer4, peer), ("10.1.0.0/16", net), "out", "in"),
            ((peer, near.outer4), (net, "10.1.0.0/16"), "in", "out"),
        ):
            template = Template(*ends, mode="tunnel", reqid=reqid)
            for session, direction in ((left.session, here), (right.session, there)):
                session.spd.add(Policy(Selector(*nets), direction=direction, priority=100, templates=template))
    web = Selector(near.outer6, far.outer6, protocol="udp")
    for session, direction in ((left.session, "out"), (right.session, "in")):
        session.spd.add(Policy(web, direction=direction, priority=50, templates=Template(reqid=30)))
    left.session.spd.add(Policy(Selector("10.1.66.0/24"), direction="out", priority=10, action="block"))


def states(pair: Pair) -> None:
    """Those of the tunnels, a pair in transport mode, and one that is left over."""
    left, right = pair.hosts
    near, far = left.address, right.address
    tunnel(
        pair,
        far.outer4,
        1,
        (0xC1A40E01, 0xCE5D9902),
        gcm,
        lifetime=limits(hard_byte_limit=4 * GIB),
        lifetime_value=aged(1520, 2_310_000, 840),
    )
    tunnel(
        pair,
        BRANCH,
        7,
        (0xC88B7103, 0xC30F5504),
        cbc,
        lifetime=limits(hard_add_expires_seconds=HOUR),
        lifetime_value=aged(3377, 181_000, 410),
    )
    tunnel(
        pair,
        LAPTOP,
        9,
        (0xC7D21505, 0xCB601106),
        chacha,
        lifetime=limits(hard_packet_limit=60_000),
        lifetime_value=aged(1980, 57_500, 220),
    )
    # A peer that has lost its keys: what it sends fails at the left.
    forged = State(LAPTOP, near.outer4, spi=0xCB601106, mode="tunnel", reqid=9, direction="out", **chacha())
    right.session.sad.delete(forged)
    right.session.sad.add(forged)
    keys = cbc()
    for session, direction in ((left.session, "out"), (right.session, "in")):
        session.sad.add(State(near.outer6, far.outer6, spi=0xC5519007, reqid=30, direction=direction, **keys))
    gone = {"spi": 0xC0FFEE08, "mode": "tunnel", "reqid": 4, "direction": "in", **gcm()}
    left.session.sad.add(
        State(
            OLD,
            near.outer4,
            **gone,
            lifetime=limits(hard_add_expires_seconds=8 * HOUR),
            lifetime_value=aged(9000, 51_000, 300),
        )
    )


class Traffic:
    """Packets, some more in each turn."""

    def __init__(self, pair: Pair) -> None:
        left, right = pair.hosts
        near, far = left.address, right.address
        self._flows = [
            (self._socket(left, near.inner4), far.inner4, 1300, 30),
            (self._socket(right, far.inner4), near.inner4, 500, 20),
            (self._socket(left, near.inner4), NETS[BRANCH], 400, 4),
            (self._socket(right, NETS[BRANCH]), near.inner4, 900, 6),
            (self._socket(left, near.inner4), NETS[LAPTOP], 100, 1),
            (self._socket(right, NETS[LAPTOP]), near.inner4, 300, 1),
            (self._socket(left, near.outer6), far.outer6, 200, 2),
        ]

    @staticmethod
    def _socket(host: Host, address: str) -> socket.socket:
        made: socket.socket = host.bound(address, 0)
        made.setblocking(False)
        return made

    def send(self) -> None:
        for from_, to, size, count in self._flows:
            for _ in range(count):
                with contextlib.suppress(OSError):
                    from_.sendto(bytes(size), (to, PORT))


# --- programs on a terminal ---------------------------------------------------------------------------------------


class Terminal:
    """`xfrm` with some words on a pseudo-terminal of a host."""

    def __init__(self, host: Host, folder: str, height: int, *words: str) -> None:
        self.seen = ""
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, WIDTH, 0, 0))
        variables = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PYTHONPATH": str(HERE.parents[1]),
        }
        for name in ("NO_COLOR", "COLUMNS"):
            variables.pop(name, None)
        with inside(host.namespace):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "xfrm_ext", *words],
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                cwd=folder,
                env=variables,
            )
        os.close(terminal)

    def read(self, seconds: float) -> bool:
        """Reads what comes in that time. False: it has ended."""
        if not select.select([self._controller], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._controller, 65536)
        except OSError:
            data = b""
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def press(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    def end(self) -> int:
        """The exit status."""
        while self.read(10):
            pass
        os.close(self._controller)
        return self._process.wait(10)


def top(pair: Pair, folder: str) -> None:
    """The live view, under which a tunnel gets new keys."""
    traffic = Traffic(pair)
    words = ("top", "--interval", "1", "--export-svg", str(HERE / "top.svg"))
    shown = Terminal(pair.left, folder, 29, *words)
    started = time.monotonic()
    rekeyed = False
    while (passed := time.monotonic() - started) < 9:
        traffic.send()
        shown.read(0.05)
        if passed > 5 and not rekeyed:
            rekeyed = True
            spis = (0xC9E3F809, 0xC6120A0A)
            tunnel(pair, BRANCH, 7, spis, cbc, lifetime=limits(hard_add_expires_seconds=HOUR))
    shown.press("q")
    assert shown.end() == 0, shown.seen


def tree(pair: Pair) -> None:
    """What is there then."""
    pair.left.run(sys.executable, "-m", "xfrm_ext", "tree", "--export-svg", str(HERE / "tree.svg"))


def load(pair: Pair, folder: str) -> None:
    """A large file with two lines that the kernel refuses."""
    from rich.text import Text

    count = 200_000
    template = "tmpl src 192.0.2.1 dst 198.51.100.7 proto esp mode tunnel reqid 7"
    lines = [
        f"policy add src 10.1.0.0/16 dst 172.{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32 dir out {template}\n"
        for n in range(count)
    ]
    lines[71_804] = lines[71_804].replace("reqid 7", "reqid 7 level use")
    lines[140_116] = lines[9]
    Path(folder, "policies.batch").write_text("".join(lines))
    words = ("load", "--keep-going", "policies.batch")
    shown = Terminal(pair.right, folder, 24, *words)
    assert shown.end() == 1, shown.seen
    # The bar is drawn over again and again, and is gone in the end: here it is as it was at about two thirds.
    drawn = re.split(
        r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Zhl]", "", shown.seen)
    )  # but for colours, without escapes
    shares = {int(found[1]): line for line in drawn if (found := re.search(r"(\d+)%", line))}
    bar = shares[min(shares, key=lambda share: abs(share - 66))]
    rest = [line for line in drawn if re.match(r"policies\.batch:|[\d,]+ policies", line)]
    command = Text.assemble(("$ ", "dim"), (f"xfrm {' '.join(words)}", "bold"))
    export_svg([command, Text.from_ansi(bar), *map(Text, rest)], str(HERE / "load.svg"), "xfrm load", WIDTH)


def main() -> None:
    """All three."""
    with tempfile.TemporaryDirectory() as folder, two_hosts() as pair:
        connect(pair)
        policies(pair)
        states(pair)
        until(lambda: pair.left.session.sad.count().count == 8, "the states")
        top(pair, folder)
        tree(pair)
        load(pair, folder)


if __name__ == "__main__":
    main()

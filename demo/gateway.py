# SPDX-License-Identifier: MIT
"""An address block as a gateway's policy: what is bound for it goes through its country's tunnel.

The same policy in both forms: as a line for ``ip -batch``, and as a ``Policy``.
"""

from __future__ import annotations

from collections.abc import Iterable

import xfrm_ext as xfrm

from .blocks import BITS, Block

ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
LOCAL = "192.0.2.1"

# The kernel finds policies for IPv6 prefixes of this length and longer through a tree. Shorter ones
# it keeps in one list, and walks the whole of it for each policy that is added.
IN_TREE_FROM_IPV6 = 48


def priority(block: Block) -> int:
    """The longest prefix wins, as in routing: the kernel takes the lowest number first."""
    return 1000 + BITS[block.version] - block.length


class Gateway:
    """One tunnel for each country: both address families of a country share it."""

    def __init__(self, countries: Iterable[str]) -> None:
        self.tunnels = {name: number for number, name in enumerate(sorted(set(countries)), 1)}
        self._templates = {
            name: (xfrm.Template(LOCAL, self.remote(number), protocol="esp", reqid=number, mode="tunnel"),)
            for name, number in self.tunnels.items()
        }

    @staticmethod
    def remote(tunnel: int) -> str:
        """The address of a tunnel's far end, from a private range."""
        return f"10.255.{tunnel >> 8}.{tunnel & 255}"

    def line(self, block: Block) -> str:
        """The policy as a line of an ``ip -batch`` file."""
        tunnel = self.tunnels[block.country]
        return (
            f"xfrm policy add src {ANYWHERE[block.version]} dst {block.prefix} dir out"
            f" priority {priority(block)} tmpl src {LOCAL} dst {self.remote(tunnel)}"
            f" proto esp reqid {tunnel} mode tunnel\n"
        )

    def policy(self, block: Block) -> xfrm.Policy:
        """The policy as an object; the objects of one country share their template."""
        return xfrm.Policy(
            xfrm.Selector(ANYWHERE[block.version], block.prefix),
            direction="out",
            priority=priority(block),
            templates=self._templates[block.country],
        )

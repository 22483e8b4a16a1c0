# SPDX-License-Identifier: MIT
"""Statistics: the kernel's counters of XFRM's errors, by name (/proc/net/xfrm_stat)."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping

from xfrm_ext.checks import shown
from xfrm_ext.errors import KernelError, ProtocolError, ValidationError
from xfrm_ext.transport import Transport

_FILE = "xfrm_stat"


class Statistics(Mapping[str, int]):
    """The counters of one network namespace at one moment, by the kernel's names: ``s["XfrmInNoStates"]``.

    A kernel lists all that it has, also those that this release never heard of. ``later - earlier`` is what was
    counted in between; ``s.nonzero`` is what is worth a look.
    """

    __slots__ = ("_counters",)

    def __init__(self, counters: Mapping[str, int]) -> None:
        """Raises ValidationError."""
        if not isinstance(counters, Mapping):
            raise ValidationError("Statistics", shown(counters), "is not a mapping of names to numbers")
        for name, number in counters.items():
            if not isinstance(name, str) or not isinstance(number, int) or isinstance(number, bool):
                raise ValidationError("Statistics", shown({name: number}), "is not a name and its number")
        self._counters = dict(counters)

    def __getitem__(self, name: str) -> int:
        return self._counters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counters)

    def __len__(self) -> int:
        return len(self._counters)

    def __hash__(self) -> int:
        return hash(frozenset(self._counters.items()))

    def __sub__(self, earlier: Mapping[str, int]) -> Statistics:
        """What was counted since `earlier`. A counter that `earlier` lacks counts from 0."""
        return Statistics({name: number - earlier.get(name, 0) for name, number in self._counters.items()})

    def __repr__(self) -> str:
        return f"Statistics({self.nonzero})"

    @property
    def nonzero(self) -> dict[str, int]:
        """The counters that are not 0."""
        return {name: number for name, number in self._counters.items() if number}


def read_statistics(transport: Transport) -> Statistics:
    """Those of a transport's network namespace. Raises KernelError, ProtocolError."""
    try:
        content = transport.read_proc_net(_FILE)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        operation = f"read /proc/net/{_FILE}, which a kernel without CONFIG_XFRM_STATISTICS lacks"
        raise KernelError(errno.EOPNOTSUPP, operation) from None
    counters = {}
    for line in content.decode("ascii", "replace").splitlines():
        name, _, number = line.partition("\t")
        if not name.strip() or not number.strip().isdecimal():
            raise ProtocolError(f"/proc/net/{_FILE} has a line that is no counter: {line[:80]!r}")
        counters[name.strip()] = int(number)
    return Statistics(counters)

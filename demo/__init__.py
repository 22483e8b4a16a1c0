# SPDX-License-Identifier: MIT
"""The demonstration: the address blocks of the Internet enter a kernel as IPsec policies.

Run it with ``make demo``.  One module a concept:

- ``blocks``      address blocks with their countries: read, cut into prefixes, sampled
- ``debian``      where the real table comes from: Debian's package tor-geoipdb
- ``synthetic``   an invented table of the same shape, for where the real one can't be had
- ``gateway``     a block as a policy: as a line for ``ip -batch``, and as a ``Policy``
- ``namespace``   a private network namespace, so that the host's IPsec stays untouched
- ``contenders``  the ways to load policies, and the checks of what the kernel then holds
- ``report``      what is shown: progress bars, the table, the checks
- ``run``         the whole of it, in order
"""

# SPDX-License-Identifier: MIT
"""The command `xfrm`: what `ip xfrm` does, and more. `main` is the console script, and ``python -m xfrm_ext``.

``main.py`` reads the options in front and tells commands apart, ``run.py`` carries out those that `ip` has too,
``batch.py`` files of them, ``monitor.py`` shows events; ``load.py``, ``save.py``, ``top.py``, ``explain.py`` and
``tree.py`` are the subcommands of these names, ``failure.py`` the one line that an error is on stderr.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line, default: sys.argv without its first word. Returns the exit status, that of `ip` where
    `ip` has the command: 0; 2 when the kernel refused; 255 or 1 when the line is wrong. Nothing is raised."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[-1] == "count":
        from xfrm_ext.cli.quick import count

        if (text := count(words)) is not None:
            try:
                sys.stdout.write(text)
                sys.stdout.flush()
                return 0
            except (OSError, ValueError, AttributeError):
                pass  # the ordinary way says what is wrong with it
    from xfrm_ext.cli.main import run

    return run(words)

# SPDX-License-Identifier: MIT
"""The options of subcommands, whose errors are those of all commands: one line."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import NoReturn

from xfrm_ext.errors import CommandError


class Arguments(ArgumentParser):
    """An ArgumentParser that raises CommandError. `--help` prints, and raises SystemExit(0)."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(f"xfrm {name}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        from xfrm_ext.cli.outline import printable  # late: what it imports is not needed for most

        message = printable(message)
        raise CommandError(self.prog.removeprefix("xfrm "), None, f"{message} (see {self.prog} --help)")

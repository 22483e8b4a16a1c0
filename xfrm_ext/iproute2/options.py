# SPDX-License-Identifier: MIT
"""The options in front of the object: those of `ip`, and what is ours."""

from __future__ import annotations

from xfrm_ext.iproute2.command import Options
from xfrm_ext.iproute2.words import INET, INET6, Words, abbreviated, choice, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PACKET, _MPLS, _BRIDGE = 17, 28, 7  # AF_*: `ip` takes them, and no state or policy is of them
_FAMILIES = {"inet": INET, "inet6": INET6, "mpls": _MPLS, "bridge": _BRIDGE, "link": _PACKET}
_SHORT_FAMILIES = {"-4": INET, "-6": INET6, "-0": _PACKET, "-M": _MPLS, "-B": _BRIDGE}
# In the order in which `ip` looks at them. A word that begins with a second "-" is looked at without it.
_NAMES = (
    "-loops",
    "-family",
    "-human-readable",
    "-iec",
    "-stats",
    "-statistics",
    "-details",
    "-resolve",
    "-oneline",
    "-timestamp",
    "-tshort",
    "-Version",
    "-force",
    "-batch",
    "-brief",
    "-json",
    "-pretty",
    "-rcvbuf",
    "-color",
    "-help",
    "-netns",
    "-Numeric",
    "-all",
)
_COLORS = ("always", "auto", "never")


class Settings:
    """What the options say that is not about a single command."""

    __slots__ = (
        "batch",
        "debug",
        "force",
        "help",
        "json",
        "netns",
        "pretty",
        "receive_buffer",
        "show_keys",
        "version",
    )

    def __init__(self) -> None:
        self.batch: str | None = None
        """The file of -batch, "-": standard input."""
        self.force = False
        """-force: a batch goes on behind an error."""
        self.netns: str | None = None
        """The namespace of -netns."""
        self.json = False
        self.pretty = False
        self.receive_buffer = 0
        """-rcvbuf, in bytes; 0: not said."""
        self.show_keys = False
        """--show-keys: keys in JSON."""
        self.debug = False
        """--debug: errors with the whole traceback."""
        self.help = False
        """-help. What follows was not read."""
        self.version = False
        """-Version. What follows was not read."""


def read(argv: Iterable[str]) -> tuple[Options, Settings, list[str]]:
    """The options of a command line without its first word, and what is behind them. Raises CommandError.

    -color, -human-readable, -iec, -resolve, -Numeric, -loops, -brief, -all and -echo are taken, and mean nothing
    here.
    """
    words = Words(argv)
    options, settings = Options(), Settings()
    while (word := words.peek()) is not None and word.startswith("-"):
        words.next("option")
        if word == "--":
            break
        _read(word, words, options, settings)
        if settings.help or settings.version:
            break
    return options, settings, [words.next("word") for _ in range(words.left)]


def _read(word: str, words: Words, options: Options, settings: Settings) -> None:
    """One option."""
    if word == "--show-keys":
        settings.show_keys = True
        return
    if word == "--debug":
        settings.debug = True
        return
    short = word[1:] if word.startswith("--") else word
    if short in _SHORT_FAMILIES:
        options.family = _SHORT_FAMILIES[short]
        return
    name, _, value = short.partition("=")
    found = abbreviated(name, _NAMES) if len(name) > 1 else None
    if word == "--version":  # which `ip` writes with a capital
        found = "-Version"
    if found is None and name == "-echo":
        return
    if found is None or ("=" in short and (found != "-color" or value not in _COLORS)):
        raise wrong("option", word, "is unknown, try: -help")
    _set(found, words, options, settings)


def _set(name: str, words: Words, options: Options, settings: Settings) -> None:
    """One option, by its whole name."""
    if name == "-family":
        options.family = choice(words.next(name), _FAMILIES, name)
    elif name in ("-stats", "-statistics"):
        options.statistics += 1
    elif name == "-details":
        options.details = True
    elif name == "-oneline":
        options.oneline = True
    elif name == "-timestamp":
        options.timestamp = options.timestamp or "long"
    elif name == "-tshort":
        options.timestamp = "short"
    elif name == "-batch":
        settings.batch = words.next(name)
    elif name == "-netns":
        settings.netns = words.next(name)
    elif name == "-rcvbuf":
        settings.receive_buffer = words.number(name, 0x7FFFFFFF)
    elif name == "-loops":
        words.next(name)
    elif name in _SWITCHES:
        setattr(settings, _SWITCHES[name], True)


_SWITCHES = {
    "-force": "force",
    "-json": "json",
    "-pretty": "pretty",
    "-help": "help",
    "-Version": "version",
}

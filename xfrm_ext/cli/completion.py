# SPDX-License-Identifier: MIT
"""`xfrm completion`: a file that has shells complete the words of `xfrm`."""

from __future__ import annotations

from xfrm_ext.iproute2 import (
    algorithm,
    definition,
    link,
    monitor,
    policy,
    selector,
    state,
    state_id,
    template,
    words,
)

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from collections.abc import Iterable

    from xfrm_ext.cli.context import Context


def _line(*groups: str | Iterable[str]) -> str:
    """Words, each once, in this order."""
    listed = [word for group in groups for word in (group.split() if isinstance(group, str) else group)]
    return " ".join(dict.fromkeys(listed))


OPTIONS = (
    "-4 -6 -family -statistics -details -oneline -timestamp -tshort -netns -batch -force -json -pretty -Version"
    " -help --show-keys --debug"
)
OBJECTS = (
    "link",
    "xfrm",
    "state",
    "policy",
    "monitor",
    "load",
    "save",
    "top",
    "explain",
    "tree",
    "completion",
    "help",
)
"""In the order in which `ip` looks at its own."""

_IDENTITY = _line(state_id.KEYWORDS, "mark mask")
_LISTED_STATES = _line(state_id.KEYWORDS, "mode reqid flag")
_TEMPLATE = "tmpl spi mode reqid level"
_POLICY = _line(selector.KEYWORDS, policy._FILTERS, "mask ctx offload limit", _TEMPLATE)
_NAMED_POLICY = _line(selector.KEYWORDS, "index dir ctx mark mask ptype if_id")
_LISTED_POLICIES = _line("nosock", selector.KEYWORDS, policy._FILTERS, "mask")
_OTHER_NAMES = ("max-qsize",)  # `ip`'s old word for max-queue-size
_STATE = _line(
    (word for word in definition.KEYWORDS if word not in _OTHER_NAMES),
    _IDENTITY,
    algorithm.KEYWORDS,
    selector.KEYWORDS,
)
_LINK = "link name dev mtu txqueuelen up down type xfrm external if_id"

COMMANDS = {
    "policy": {
        "add": _POLICY,
        "update": _POLICY,
        "delete": _NAMED_POLICY,
        "get": _NAMED_POLICY,
        "list": _LISTED_POLICIES,
        "deleteall": _LISTED_POLICIES,
        "flush": "ptype",
        "count": "",
        "set": _line(policy._THRESHOLDS),
        "setdefault": _line(policy._DIRECTIONS, policy._DEFAULTS),
        "getdefault": "",
        "migrate": _line(
            selector.KEYWORDS,
            "dir ptype if_id",
            _TEMPLATE,
            "new-src new-dst encap offload km-local km-remote",
        ),
        "help": "",
    },
    "state": {
        "add": _STATE,
        "update": _STATE,
        "allocspi": f"{_IDENTITY} mode reqid seq dir pcpu-num min max",
        "delete": _IDENTITY,
        "get": _IDENTITY,
        "list": f"nokeys {_LISTED_STATES}",
        "deleteall": _LISTED_STATES,
        "flush": "proto",
        "count": "",
        "migrate": f"{_IDENTITY} new-src new-dst reqid sel flag encap if_id offload",
        "help": "",
    },
    "link": {
        "add": _LINK,
        "change": _LINK,
        "replace": _LINK,
        "delete": "dev type xfrm",
        "help": "",
    },
}
"""The words behind each verb."""
VERBS = {"policy": policy._VERBS, "state": state._VERBS, "link": link._VERBS}
"""The verb that each word is the beginning of, or another name of."""
OTHERS = {
    "monitor": _line("nokeys all-nsid all", monitor._WORDS),
    "load": "--format --dry-run --rollback --keep-going --progress",
    "save": "--format --with-keys --policies --states -o",
    "top": "--interval --count --sort --filter --once",
    "explain": "src dst proto sport dport type code key mark if_id dir dev ptype --all",
    "tree": "--dot --mermaid",
    "completion": "bash zsh",
}
"""The words behind each object that has no verbs."""
VALUES = {
    "proto": _line((name for name in words.PROTOCOLS if name != "ipsec-any"), "tcp udp icmp ipv6-icmp gre sctp"),
    "mode": _line(words._MODES),
    "dir": _line(policy._DIRECTIONS),
    "ptype": _line(policy._TYPES),
    "action": _line(policy._ACTIONS),
    "level": _line(template._LEVELS),
    "limit": _line(words._LIMITS),
    "offload": "crypto packet dev",
    "flag": _line(policy._FLAGS, definition.FLAGS, state._MIGRATE_FLAGS),
    "extra-flag": _line(definition._EXTRA_FLAGS),
    "encap": _line(definition._ENCAPSULATIONS),
    "--format": "ip setkey json",
    "--progress": "auto always never",
    "-family": "inet inet6",
}
"""What may follow a word, of words whose values have names."""

_SCRIPT = """\
# Completion of `xfrm`, for bash and zsh. For one session: eval "$(xfrm completion SHELL)".
_xfrm_whole() {{  # of NAME:MEANING, the meaning of the first name that begins with the word in front
    local word=$1 pair
    shift
    for pair; do
        [[ ${{pair%%:*}} == "$word"* ]] && {{ whole=${{pair#*:}}; return; }}
    done
    whole=$word
}}
_xfrm() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} object="" verb="" words="" whole i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            -n|-netns|-b|-batch|-f|-family) [[ $object ]] || ((i++)) ;;
            -*) ;;
            *)
                whole=${{COMP_WORDS[i]}}
                if [[ ! $object ]]; then
                    _xfrm_whole "$whole" {objects}
                    [[ $whole == xfrm ]] || object=$whole
                elif [[ ! $verb ]]; then
                    case $object in
{verbs}
                    esac
                    verb=$whole
                fi ;;
        esac
    done
    case $before in
{values}
        dev) words=$(command ls /sys/class/net 2>/dev/null) ;;
        -n|-netns) words=$(command ls /run/netns 2>/dev/null) ;;
        file|-b|-batch|-o) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    [[ $words ]] && object="" || case $object/$verb in
        /) words="{offered} {options}" ;;
{commands}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ $object == load && $word != -* ]] && COMPREPLY+=($(compgen -f -- "$word"))
}}
complete -F _xfrm xfrm
"""


def script(shell: str) -> str:
    """The file for "bash" or "zsh"."""
    values = [f'        {word}) words="{names}" ;;' for word, names in VALUES.items()]
    commands, resolved = [], []
    for name, verbs in COMMANDS.items():
        commands.append(f'        {name}/) words="{" ".join(verbs)}" ;;')
        commands += [f'        {name}/{verb}) words="{listed}" ;;' for verb, listed in verbs.items()]
        pairs = " ".join(map(":".join, VERBS[name].items()))
        resolved.append(f'                        {name}) _xfrm_whole "$whole" {pairs} ;;')
    commands += [f'        {name}/*) words="{listed}" ;;' for name, listed in OTHERS.items()]
    text = _SCRIPT.format(
        values="\n".join(values),
        commands="\n".join(commands),
        verbs="\n".join(resolved),
        objects=" ".join(OBJECTS),
        offered=" ".join(name for name in OBJECTS if name != "xfrm"),
        options=OPTIONS,
    )
    return text if shell == "bash" else f"#compdef xfrm\nautoload -U +X bashcompinit && bashcompinit\n{text}"


def run(arguments: list[str], context: Context) -> int:
    """Prints the file for the shell that is named."""
    from xfrm_ext.cli.arguments import Arguments

    parser = Arguments(
        "completion", 'Writes what has a shell complete the words of `xfrm`: eval "$(xfrm completion)".'
    )
    parser.add_argument("shell", nargs="?", choices=("bash", "zsh"), default="bash", help="default: bash")
    context.out.write(script(parser.parse_args(arguments).shell))
    return 0

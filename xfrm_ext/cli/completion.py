# SPDX-License-Identifier: MIT
"""`xfrm completion`: a file that has shells complete the words of `xfrm`."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own, whose import would take longer than a short command
if TYPE_CHECKING:
    from xfrm_ext.cli.context import Context

_DIRECTIONS = "in out fwd"
_MODES = "transport tunnel beet ro in_trigger iptfs"
_PROTOCOLS = "esp ah comp route2 hao"
_SELECTOR = "src dst dev proto sport dport type code key"
_IDENTITY = "src dst proto spi mark mask"
_LIMITS = "byte-soft byte-hard packet-soft packet-hard time-soft time-hard time-use-soft time-use-hard"

OPTIONS = (
    "-4 -6 -family -statistics -details -oneline -timestamp -tshort -netns -batch -force -json -pretty -Version"
    " -help --show-keys --debug"
)
OBJECTS = "state policy monitor link load save top explain tree completion help"

_POLICY = (
    f"{_SELECTOR} dir ctx mark mask index ptype action priority flag if_id offload limit tmpl spi mode reqid level"
)
_STATE = (
    f"{_IDENTITY} enc auth auth-trunc aead comp mode reqid seq replay-window replay-seq replay-oseq replay-seq-hi"
    " replay-oseq-hi flag extra-flag sel dev sport dport type code key limit encap coa ctx output-mark if_id"
    " offload tfcpad dir pcpu-num nat-keepalive-interval mtimer-thresh pkt-size max-queue-size init-delay dont-frag"
    " drop-time reorder-window"
)

COMMANDS = {
    "policy": {
        "add": _POLICY,
        "update": _POLICY,
        "delete": f"{_SELECTOR} index dir ctx mark mask ptype if_id",
        "get": f"{_SELECTOR} index dir ctx mark mask ptype if_id",
        "list": f"nosock {_SELECTOR} dir index ptype action priority flag",
        "deleteall": f"nosock {_SELECTOR} dir index ptype action priority flag",
        "flush": "ptype",
        "count": "",
        "set": "hthresh4 hthresh6",
        "setdefault": _DIRECTIONS,
        "getdefault": "",
        "migrate": (
            f"{_SELECTOR} dir ptype if_id tmpl spi mode reqid level new-src new-dst encap offload"
            " km-local km-remote"
        ),
        "help": "",
    },
    "state": {
        "add": _STATE,
        "update": _STATE,
        "allocspi": f"{_IDENTITY} mode reqid seq dir pcpu-num min max",
        "delete": _IDENTITY,
        "get": _IDENTITY,
        "list": "nokeys src dst proto spi mode reqid flag",
        "deleteall": "src dst proto spi mode reqid flag",
        "flush": "proto",
        "count": "",
        "migrate": f"{_IDENTITY} new-src new-dst reqid sel flag encap if_id offload",
        "help": "",
    },
}
"""The words behind each verb."""
OTHERS = {
    "monitor": "nokeys all-nsid all acquire expire SA aevent policy report migrate mapping file help",
    "link": "add type xfrm external dev if_id",
    "load": "--format --dry-run --rollback --keep-going --progress",
    "save": "--format --with-keys --policies --states -o",
    "top": "--interval --count --sort --filter --once",
    "explain": "src dst proto sport dport type code key mark if_id dir dev ptype --all",
    "tree": "--dot --mermaid",
    "completion": "bash zsh",
}
"""The words behind each object that has no verbs."""
VALUES = {
    "proto": f"{_PROTOCOLS} tcp udp icmp ipv6-icmp gre sctp",
    "mode": _MODES,
    "dir": _DIRECTIONS,
    "ptype": "main sub",
    "action": "allow block",
    "level": "required use",
    "limit": _LIMITS,
    "offload": "crypto packet dev",
    "flag": "localok icmp noecn decap-dscp nopmtudisc wildrecv af-unspec align4 esn",
    "extra-flag": "dont-encap-dscp oseq-may-wrap",
    "encap": "espinudp espinudp-nonike espintcp",
    "--format": "ip setkey json",
    "--progress": "auto always never",
    "-family": "inet inet6",
}
"""What may follow a word, of words whose values have names."""

_SCRIPT = """\
# Completion of `xfrm`, for bash and zsh. For one session: eval "$(xfrm completion SHELL)".
_xfrm() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} object="" verb="" words="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            xfrm) ;;
            -n|-netns|-b|-batch|-f|-family) [[ $object ]] || ((i++)) ;;
            -*) ;;
            *)
                if [[ ! $object ]]; then object=${{COMP_WORDS[i]}}
                elif [[ ! $verb ]]; then verb=${{COMP_WORDS[i]}}
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
        /) words="{objects} {options}" ;;
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
    commands = []
    for name, verbs in COMMANDS.items():
        commands.append(f'        {name}/) words="{" ".join(verbs)}" ;;')
        commands += [f'        {name}/{verb}) words="{words}" ;;' for verb, words in verbs.items()]
    commands += [f'        {name}/*) words="{words}" ;;' for name, words in OTHERS.items()]
    text = _SCRIPT.format(values="\n".join(values), commands="\n".join(commands), objects=OBJECTS, options=OPTIONS)
    return text if shell == "bash" else f"#compdef xfrm\nautoload -U +X bashcompinit && bashcompinit\n{text}"


def run(words: list[str], context: Context) -> int:
    """Prints the file for the shell that is named."""
    from xfrm_ext.cli.arguments import Arguments

    parser = Arguments(
        "completion", 'Writes what has a shell complete the words of `xfrm`: eval "$(xfrm completion)".'
    )
    parser.add_argument("shell", nargs="?", choices=("bash", "zsh"), default="bash", help="default: bash")
    context.out.write(script(parser.parse_args(words).shell))
    return 0

# SPDX-License-Identifier: MIT
"""Help texts: the whole grammar, with what `ip xfrm` lacks (marked with +)."""

from __future__ import annotations

_XFRM = """\
Usage: xfrm [ OPTIONS ] [ xfrm ] OBJECT [ COMMAND ... ]     as `ip [ OPTIONS ] xfrm OBJECT ...`
       xfrm [ OPTIONS ] [ -force ] -batch FILE
       xfrm [ OPTIONS ] { load | save | top | explain | tree | completion } ...            +

OBJECT   state, policy, monitor: `xfrm OBJECT help`; without a command, state and policy are listed
         link, for XFRM interfaces, as `ip link`: `xfrm link help`

OPTIONS  -4 | -6 | -family { inet | inet6 }     addresses of one family
         -statistics (-s)                       counters and lifetimes, too
         -details (-d)                          taken, and means nothing here, as in `ip xfrm`
         -oneline (-o)                          one line for each, with \\ for line feeds
         -timestamp (-t) | -tshort (-ts)        when an event was heard
         -netns NAME (-n)                       another network namespace
         -batch FILE (-b)                       a command a line, - is standard input
         -force                                 a batch goes on behind errors
         -json (-j), -pretty (-p)               JSON; monitor writes an object a line
         -Version (-V), -help
         --show-keys                            keys in JSON                               +
         --debug                                errors with their traceback                +

Words may be shortened as those of `ip`. Marked with +: `ip` has nothing like it.
"""

_STATE = """\
Usage: xfrm state { add | update } ID [ ALGO ... ] [ mode MODE ] [ mark MARK [ mask MASK ] ]
           [ reqid REQID ] [ seq SEQ ] [ flag FLAG ... ] [ extra-flag EXTRA-FLAG ... ] [ sel SELECTOR ]
           [ limit LIMIT ] ... [ encap ENCAP ] [ coa ADDR ] [ ctx LABEL ] [ dir { in | out } ]
           [ replay-window PACKETS ] [ replay-seq N ] [ replay-seq-hi N ] [ replay-oseq N ] [ replay-oseq-hi N ]
           [ output-mark MARK [ mask MASK ] ] [ if_id ID ] [ tfcpad OCTETS ] [ pcpu-num CPU ]
           [ offload [ crypto | packet ] dev DEV dir { in | out } ]
           [ nat-keepalive-interval SECONDS ] [ mtimer-thresh SECONDS ] [ IPTFS ... ]      +
       xfrm state allocspi ID [ mode MODE ] [ mark MARK [ mask MASK ] ] [ reqid REQID ] [ seq SEQ ]
           [ dir { in | out } ] [ pcpu-num CPU ] [ min SPI max SPI ]
       xfrm state { delete | get } ID [ mark MARK [ mask MASK ] ]
       xfrm state { list | deleteall } [ ID ] [ mode MODE ] [ reqid REQID ] [ flag FLAG ... ] [ nokeys ]
           src and dst may be prefixes here: all states below them; with flags, states that have any of them
       xfrm state flush [ proto PROTO ]
       xfrm state count
       xfrm state migrate ID [ mark MARK [ mask MASK ] ] new-src ADDR new-dst ADDR         +
           [ reqid REQID ] [ sel SELECTOR ] [ flag { clear-offload | update-h2h-sel } ... ] [ encap ENCAP ]
           [ if_id ID ] [ offload [ crypto | packet ] dev DEV dir { in | out } ]
           reqid and sel are those that the state gets: without them, 0 and any packet

ID         [ src ADDR ] [ dst ADDR ] [ proto PROTO ] [ spi SPI ], together
PROTO      esp, ah, comp, route2, hao; to list and flush ipsec-any, which is esp, ah and comp
ALGO       enc NAME KEY | auth NAME KEY | auth-trunc NAME KEY BITS | aead NAME KEY ICV-BITS | comp NAME
KEY        0x and hexadecimal digits, or the text itself
           @FILE, env:NAME, prompt: kept out of the command line                           +
MODE       transport, tunnel, beet, ro, in_trigger
           iptfs                                                                           +
IPTFS      pkt-size OCTETS (0: the path's MTU), max-queue-size OCTETS, init-delay MICROSECONDS, dont-frag
           of a state of dir out; drop-time MICROSECONDS, reorder-window PACKETS of one of dir in   +
FLAG       noecn, decap-dscp, nopmtudisc, wildrecv, icmp, af-unspec, align4, esn; or 0xHEX
EXTRA-FLAG dont-encap-dscp, oseq-may-wrap; or 0xHEX
ENCAP      { espinudp | espinudp-nonike | espintcp } SPORT DPORT ORIGINAL-ADDR
LIMIT      { time-soft | time-hard | time-use-soft | time-use-hard } SECONDS
           { byte-soft | byte-hard } OCTETS | { packet-soft | packet-hard } PACKETS
"""

_POLICY = """\
Usage: xfrm policy { add | update } SELECTOR dir DIR [ ctx LABEL ] [ mark MARK [ mask MASK ] ] [ index INDEX ]
           [ ptype { main | sub } ] [ action { allow | block } ] [ priority PRIORITY ] [ flag FLAG ... ]
           [ if_id ID ] [ offload packet dev DEV ] [ limit LIMIT ] ... [ tmpl TMPL ] ...
       xfrm policy { delete | get } { SELECTOR | index INDEX } dir DIR [ ctx LABEL ] [ mark MARK [ mask MASK ] ]
           [ ptype { main | sub } ] [ if_id ID ]
       xfrm policy { list | deleteall } [ nosock ] [ SELECTOR ] [ dir DIR ] [ index INDEX ]
           [ ptype { main | sub } ] [ action { allow | block } ] [ priority PRIORITY ] [ flag FLAG ... ]
           [ mark MARK [ mask MASK ] ] [ if_id ID ]                                        +
           src and dst mean all policies below these prefixes; with flags, policies that have any of them
       xfrm policy flush [ ptype { main | sub } ]
       xfrm policy count
       xfrm policy set [ hthresh4 LOCAL REMOTE ] [ hthresh6 LOCAL REMOTE ]
           prefixes that are this long or longer are found by hash
       xfrm policy setdefault { in | fwd | out } { block | accept } ...
       xfrm policy getdefault
       xfrm policy migrate SELECTOR dir DIR tmpl TMPL new-src ADDR new-dst ADDR ...        +
           [ ptype { main | sub } ] [ if_id ID ] [ encap ENCAP ] [ km-local ADDR km-remote ADDR ]
           [ offload [ crypto | packet ] dev DEV dir { in | out } ]
           gives the policy's templates, and the states that these find, other addresses

DIR        in, out, fwd
FLAG       localok, icmp; or 0xHEX
           cpu_acquire                                                                     +
TMPL       [ src ADDR ] [ dst ADDR ] proto PROTO [ spi SPI ] [ mode MODE ] [ reqid REQID ]
           [ level { required | use } ]; at most 6 are what the kernel takes
PROTO, MODE, LIMIT, ENCAP  as those of states: `xfrm state help`
"""

_SELECTOR = """\
SELECTOR   [ src ADDR[/LENGTH] ] [ dst ADDR[/LENGTH] ] [ dev DEV ] [ proto PROTOCOL ] and, together with proto:
           [ sport PORT ] [ dport PORT ] | [ type NUMBER ] [ code NUMBER ] | [ key { NUMBER | IPV4-ADDR } ]
           of tcp, udp, udplite, sctp, dccp, any | icmp, ipv6-icmp, mobility-header | gre
"""

_MONITOR = """\
Usage: xfrm monitor [ nokeys ] [ all-nsid ] [ all | OBJECT ... ] [ file FILE ]

OBJECT     acquire, expire, SA, aevent, policy, report
           migrate, mapping                                                                +
all-nsid   the network namespaces that this one has an id of, too
file FILE  messages out of a file, in place of the kernel's
"""

_LINK = """\
Usage: xfrm link { add | replace } [ name ] NAME [ LINK ... ] type xfrm { external | [ dev DEV ] if_id ID }
       xfrm link { change | set } [ dev ] DEV [ name NAME ] [ LINK ... ]
           type xfrm [ external | [ dev DEV ] if_id ID ]
       xfrm link delete [ dev ] DEV type xfrm

           `type xfrm` is needed: other links are not handled here
LINK       up, down, mtu OCTETS, txqueuelen (txqlen, qlen) PACKETS, link DEV
dev        behind xfrm: what the interface's own packets leave through
external   the if_id comes with each packet
"""

_EXPLAIN = """\
Usage: xfrm explain src ADDR dst ADDR [ dir { in | out | fwd } ] [ proto PROTOCOL ] [ sport PORT ] [ dport PORT ]
           [ type NUMBER ] [ code NUMBER ] [ key NUMBER ] [ dev DEV ] [ mark MARK ] [ if_id ID ] [ cpu CPU ]
           [ ptype { main | sub } ] [ --all ]

Which policies such a packet meets, in the order in which the kernel looks, which states their templates would use,
and why not others. With --all, policies and states that nearly fit, too.
"""

_TEXTS = {
    "xfrm": _XFRM,
    "state": _STATE + _SELECTOR,
    "policy": _POLICY + _SELECTOR,
    "monitor": _MONITOR,
    "link": _LINK,
    "explain": _EXPLAIN,
}
TOPICS = tuple(_TEXTS)


def text(topic: str) -> str:
    """The text on one of TOPICS, ending with a line feed."""
    return _TEXTS[topic]

# SPDX-License-Identifier: MIT
"""States of setkey.conf files in a kernel with all of IPsec; and that what they become is what setkey made of them,
over PF_KEY."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from live import Kernel
from test_setkey_kernel import ip, load
from test_setkey_kernel import settled as without_counters

from guest import pfkey
from guest.test_paths import key
from guest.test_states import settled
from xfrm_ext import Policy, Session, State, StateFilter, StateId, setkey
from xfrm_ext.algorithm import AEAD, AUTHENTICATION, ENCRYPTION
from xfrm_ext.codec import native
from xfrm_ext.setkey import names
from xfrm_ext.testing import network_namespace

ENDS, ENDS6 = ("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")
PRIORITY, ALL = 0x80000000, 0xFFFFFFFF


def sends(namespace: int, text: str) -> None:
    """Sends a file's requests."""
    kernel = Kernel(namespace, native)
    for statement in setkey.parse(text):
        for one in statement.requests:
            kernel.send(one)
    kernel.close()


def states(namespace: int) -> list[State]:
    with Session(namespace) as session:
        return sorted(map(settled, session.sad.dump()), key=lambda state: (state.protocol, state.spi))


def _with_algorithms() -> Any:
    """Each algorithm that PF_KEY has, with each length of its key that is worth a try."""
    for word, number in pfkey.AUTHENTICATION.items():
        bits = AUTHENTICATION[names.AUTHENTICATION[word]].key_bits[0]
        digits = f" 0x{key(bits).hex()}" if bits else ""
        yield f"ah 0x100 -A {word}{digits}", pfkey.state(pfkey.AH, *ENDS, 0x100, authentication=(number, key(bits)))
        yield (
            f"esp 0x100 -E null -A {word}{digits}",
            pfkey.state(pfkey.ESP, *ENDS, 0x100, encryption=(11, b""), authentication=(number, key(bits))),
        )
    for word, number in pfkey.ENCRYPTION.items():
        for bits in ENCRYPTION[names.ENCRYPTION[word]].key_bits:
            if bits in (0, 40, 64, 128, 160, 192, 256, 288, 448):
                digits = f" 0x{key(bits).hex()}" if bits else ""
                yield (
                    f"esp 0x100 -E {word}{digits}",
                    pfkey.state(pfkey.ESP, *ENDS, 0x100, encryption=(number, key(bits))),
                )
    yield "ipcomp 0x100 -C deflate", pfkey.state(pfkey.IPCOMP, *ENDS, 0x100, encryption=(2, b""))


def _options() -> Any:
    null: Any = {"encryption": (11, b"")}
    make: Any = pfkey.state
    for words, options in (
        ("-m any", {"mode": pfkey.MODE_ANY}),
        ("-m transport", {"mode": pfkey.TRANSPORT}),
        ("-m tunnel", {"mode": pfkey.TUNNEL}),
        ("-u 77", {"reqid": 77}),
        ("-r 32", {"replay": 32}),
        ("-r 8", {"replay": 8}),
        ("-lh 3600 -ls 3000", {"hard": (0, 3600), "soft": (0, 3000)}),
        ("-bh 1000000 -bs 900000", {"hard": (1000000, 0), "soft": (900000, 0)}),
        ("-lh 3600 -bh 5000000000000 -bs 1", {"hard": (5000000000000, 3600), "soft": (1, 0)}),
        ("-f nocyclic-seq -f seq-pad", {}),
    ):
        yield f"esp 0x100 {words} -E null", make(pfkey.ESP, *ENDS, 0x100, **null, **options)


STATES = dict((*_with_algorithms(), *_options()))


@pytest.mark.parametrize("words", STATES, ids=lambda words: words.partition(" 0x100")[0] + words[9:40])
def test_a_state_is_what_setkey_made_of_it(namespace: int, words: str) -> None:
    with network_namespace() as other:
        sends(namespace, f"add 192.0.2.1 192.0.2.2 {words};")
        pfkey.send(other, STATES[words])
        (found,) = states(namespace)
        assert [found] == states(other)
        assert ip(namespace, "xfrm", "state", "list") == ip(other, "xfrm", "state", "list")


def test_states_of_ipv6_and_in_udp_are_what_setkey_made_of_them(namespace: int) -> None:
    with network_namespace() as other:
        sends(
            namespace,
            "add 2001:db8::1 2001:db8::2 esp 0x100 -E null;"
            "add 192.0.2.1[4500] 192.0.2.2[30000] esp-udp 0x101 -m tunnel -E null;"
            "add 192.0.2.1 192.0.2.2 esp-udp 0x102 -m tunnel -E null;",
        )
        null: Any = {"encryption": (11, b"")}
        pfkey.send(
            other,
            pfkey.state(pfkey.ESP, *ENDS6, 0x100, **null),
            pfkey.state(pfkey.ESP, *ENDS, 0x101, mode=pfkey.TUNNEL, ports=(4500, 30000), **null),
            pfkey.state(pfkey.ESP, *ENDS, 0x102, mode=pfkey.TUNNEL, ports=(4500, 4500), **null),
        )
        assert len(states(namespace)) == 3
        assert states(namespace) == states(other)


ANY4, ANY6 = ("0.0.0.0/0", 0), ("::/0", 0)
NET, OTHER_NET = ("10.1.0.0/16", 0), ("10.2.0.0/16", 0)
POLICIES = {
    f"spdadd 10.1.0.0/16 10.2.0.0/16 any -P {word} {action};": pfkey.policy(
        NET, OTHER_NET, 255, direction, number, PRIORITY
    )
    for word, direction in (("out", pfkey.OUT), ("fwd", pfkey.FWD))
    for action, number in (("none", pfkey.NONE), ("discard", pfkey.DISCARD))
} | {
    "spdadd 10.1.2.3/16[80] 10.2.0.0/16[any] tcp -P out none;": pfkey.policy(
        ("10.1.2.3/16", 80), OTHER_NET, 6, pfkey.OUT, pfkey.NONE, PRIORITY
    ),
    "spdadd ::/0 ::/0 icmp6 135,0 -P out none;": pfkey.policy(
        ("::/0", 135), ANY6, 58, pfkey.OUT, pfkey.NONE, PRIORITY
    ),
    "spdadd 0.0.0.0/0 0.0.0.0/0 icmp 0,5 -P out none;": pfkey.policy(
        ANY4, ("0.0.0.0/0", 5), 1, pfkey.OUT, pfkey.NONE, PRIORITY
    ),
    "spdadd 0.0.0.0/0 0.0.0.0/0 255 -P out prio low none;": pfkey.policy(
        ANY4, ANY4, 255, pfkey.OUT, pfkey.NONE, 0xC0000000
    ),
    "spdadd 10.1.0.0/16 10.2.0.0/16 any -P in ipsec esp/tunnel/192.0.2.1-192.0.2.2/use;": pfkey.policy(
        *(NET, OTHER_NET, 255, pfkey.IN, pfkey.IPSEC, PRIORITY),
        pfkey.request(50, pfkey.TUNNEL, pfkey.USE, 0, ENDS),
    ),
    "spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique:9"
    " ah/transport//default ipcomp/transport/192.0.2.1-192.0.2.2/require;": pfkey.policy(
        *(NET, OTHER_NET, 255, pfkey.OUT, pfkey.IPSEC, PRIORITY),
        pfkey.request(50, pfkey.TUNNEL, pfkey.UNIQUE, 9, ENDS),
        pfkey.request(51, pfkey.TRANSPORT, pfkey.DEFAULT),
        pfkey.request(108, pfkey.TRANSPORT, pfkey.REQUIRE, 0, ENDS),
    ),
    "spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/transport//unique;": pfkey.policy(
        *(NET, OTHER_NET, 255, pfkey.OUT, pfkey.IPSEC, PRIORITY),
        pfkey.request(50, pfkey.TRANSPORT, pfkey.UNIQUE),
    ),
}


def policies(namespace: int) -> list[Policy]:
    """What is there, without what differs from one time to the next. Where PF_KEY allows all algorithms, the kernel
    shows masks of none."""
    found = []
    with Session(namespace) as session:
        for policy in session.spd.dump():
            rules = [replace(one, aalgos=ALL, ealgos=ALL, calgos=ALL) for one in policy.templates]
            found.append(replace(without_counters(policy), templates=tuple(rules)))
    return found


@pytest.mark.parametrize("text", POLICIES)
def test_a_policy_is_what_setkey_made_of_it(namespace: int, text: str) -> None:
    with network_namespace() as other:
        load(namespace, text.replace("spdadd", "#!/usr/sbin/setkey -kf\nspdadd"))
        pfkey.send(other, POLICIES[text])
        assert policies(namespace) == policies(other)


def test_aead_which_pf_key_lacks(namespace: int) -> None:
    """ipsec-tools got it after Linux: RFC 4106, 4543 and 7634, as NetBSD and FreeBSD name them."""
    text = "".join(
        f"add 192.0.2.1 192.0.2.2 esp {0x100 + at} -E {word} 0x{key(AEAD[name].key_bits[0]).hex()};"
        for at, (word, name) in enumerate(names.AEAD.items())
    )
    sends(namespace, text)
    assert [state.aead.name for state in states(namespace) if state.aead] == list(names.AEAD.values())


def test_states_come_back_from_a_file_written_of_them(namespace: int) -> None:
    text = "".join(
        f"add 192.0.2.1 192.0.2.{at} {words};" for at, words in enumerate(STATES, 2)
    ) + "add 192.0.2.1[5] 192.0.2.2[6] esp-udp 10.0.0.1 0x200 -r 64 -E null -A hmac-sha1 'x';".replace(
        "'x'", f'"{"k" * 20}"'
    )
    sends(namespace, text)
    with Session(namespace) as session:
        found = list(session.sad.dump())
        written = setkey.to_setkey(found, show_keys=True)
        session.sad.flush()
        sends(namespace, written)
        again = list(session.sad.dump())
    assert len(again) == len(STATES) + 1
    assert set(map(settled, again)) == set(map(settled, found))


def test_get_delete_and_flush(namespace: int) -> None:
    sends(
        namespace,
        "".join(f"add 192.0.2.1 192.0.2.{at} esp {at} -E null;" for at in (2, 3, 4))
        + "add 192.0.2.1 192.0.2.2 esp 9 -E null; add 192.0.2.1 192.0.2.2 ah 9 -A null;"
        + "delete 192.0.2.1 192.0.2.3 esp 3;"
        + "getspi 192.0.2.1 192.0.2.5 esp 0x777; getspi 192.0.2.1 192.0.2.5 ipcomp 0;",
    )
    with Session(namespace) as session:
        (statement,) = setkey.parse("deleteall 192.0.2.1 192.0.2.2 esp;")
        wanted = statement.requests[0].body
        assert isinstance(wanted, StateFilter)
        found = list(
            session.sad.dump(protocol=wanted.protocol, source=wanted.source, destination=wanted.destination)
        )
        assert all(map(statement.accepts, found))
        assert sorted(state.spi for state in found) == [2, 9]
        assert sum(map(statement.accepts, session.sad.dump())) == 2
        (statement,) = setkey.parse("get 192.0.2.1 192.0.2.5 esp 0x777;")
        (get,) = statement.requests
        assert isinstance(get.body, StateId)
        assert session.sad.get(get.body).spi == 0x777
        sends(namespace, "flush ah;")
        assert len(list(session.sad.dump())) == 5
        sends(namespace, "flush;")
        assert list(session.sad.dump()) == []

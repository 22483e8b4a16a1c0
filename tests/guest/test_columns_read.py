# SPDX-License-Identifier: MIT
"""sad.dump_columns against a kernel with all of IPsec: each column is what the fields of the objects are."""

from __future__ import annotations

from columns_of import check

from guest.network import Pair, until
from guest.test_paths import gcm
from guest.test_states import ENDS, ENDS6, esp, ipcomp
from xfrm_ext import Encapsulation, LifetimeConfig, Mark, Policy, Selector, Session, State, Template

NAT = Encapsulation(source_port=4501, destination_port=4502)
LIMITS = LifetimeConfig(soft_byte_limit=10**12, hard_packet_limit=2**40, hard_add_expires_seconds=9999)
KINDS = [
    esp(0x1000, flags="esn", replay_window=128),
    esp(0x1001, replay_window=64, direction="in"),
    esp(0x1002, *ENDS6, mark=Mark(0x12, 0xFF), if_id=7, output_mark=Mark(0x340000, 0xFF0000)),
    esp(0x1003, encapsulation=NAT, nat_keepalive_interval=20, direction="out"),
    esp(0x1004, traffic_flow_padding=1200, extra_flags="oseq-may-wrap", sequence=77),
    esp(0x1005, cpu=0, direction="out"),
    esp(0x1006, encapsulation=NAT, mapping_timer_threshold=30, direction="in"),
    esp(0x1007, lifetime=LIMITS),
    ipcomp(),
]


def test_states_of_many_kinds(session: Session) -> None:
    for state in KINDS:
        session.sad.add(state)
    found = list(session.sad.dump())
    assert len(found) == len(KINDS)
    columns, texts = session.sad.dump_columns(), session.sad.dump_columns(text=True)
    check(found, columns, texts)
    assert sorted(columns["replay_window"].tolist()) == [0, 0, 0, 32, 32, 32, 32, 64, 128]


def test_filters(session: Session) -> None:
    for state in KINDS:
        session.sad.add(state)
    assert session.sad.dump_columns(["spi"], protocol="comp")["spi"].tolist() == [0x100]
    assert session.sad.dump_columns(["spi"], destination="2001:db8::/64")["spi"].tolist() == [0x1002]
    none = session.sad.dump_columns(["source"], text=True, source="203.0.113.0/24")
    assert (none.rows, none["source"]) == (0, [])


def test_counters_of_packets(pair: Pair) -> None:
    """What an exporter reads, after packets of which one came twice."""
    left, right = pair.left, pair.right
    state = State(*ENDS, spi=0x1000, mode="transport", reqid=1, **gcm())
    left.session.sad.add(state)
    right.session.sad.add(state)
    template = Template(mode="transport", reqid=1, family="inet")
    left.session.spd.add(Policy(Selector(*ENDS), direction="out", templates=[template]))
    receiver, sender = right.bound(ENDS[1], 7000), left.bound(ENDS[0])
    for _ in range(3):
        sender.sendto(b"x" * 100, (ENDS[1], 7000))
        assert receiver.recv(1000) == b"x" * 100
    # Its sequence numbers begin anew: what comes now has been seen.
    left.session.sad.delete(state)
    left.session.sad.add(state)
    sender.sendto(b"y" * 100, (ENDS[1], 7000))
    fields = ["spi", "packets", "bytes", "statistics_replay", "last_used", "use_time"]
    sad = right.session.sad
    until(lambda: sad.dump_columns(fields)["statistics_replay"].tolist() == [1], "the packet to be refused")
    columns = sad.dump_columns(fields)
    [counters] = sad.counters()
    assert (columns["spi"].tolist(), columns["packets"].tolist()) == ([0x1000], [3])
    assert columns["bytes"].tolist() == [counters.bytes]
    assert columns["use_time"].tolist() == [counters.use_time] != [0]
    assert columns["last_used"].tolist() == [counters.last_used]


def test_more_states_than_a_datagram_holds(session: Session) -> None:
    session.sad.load(esp(spi, ENDS[0], f"10.0.{spi >> 8}.{spi & 255}") for spi in range(0x1000, 0x1000 + 1000))
    found = list(session.sad.dump())
    assert len(found) == 1000
    check(found, session.sad.dump_columns(), session.sad.dump_columns(text=True))

# SPDX-License-Identifier: MIT
"""Bad input for all that is no policy: what the user sees for each wrong value. Nothing of it is ever sent."""

from __future__ import annotations

import pickle

import pytest

import xfrm_ext
from xfrm_ext import Move, Policy, Session, State, ValidationError
from xfrm_ext.codec import native, pure
from xfrm_ext.testing import FakeTransport

STATE = State("10.0.0.1", "10.0.0.2", spi=1)
POLICY = Policy(direction="out")
MOVE = Move("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")

VALUES = [
    ('State("10.0.0.300", "10.0.0.2", spi=1)', "State.source: '10.0.0.300' is not an IP address"),
    ('State("10.0.0.1/32", "10.0.0.2", spi=1)', "State.source: '10.0.0.1/32' is not an IP address"),
    ('State("10.0.0.1", "host.example", spi=1)', "State.destination: 'host.example' is not an IP address"),
    (
        'State("10.0.0.1", "2001:db8::1", spi=1)',
        "State.destination: '2001:db8::1' is of another family than the source",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, family="inet6")',
        "State.source: '10.0.0.1' is not of the family that was given",
    ),
    (
        'State(None, "10.0.0.2", spi=1, family="inet6")',
        "State.destination: '10.0.0.2' is of another family than the one that was given",
    ),
    ('State(167772161, "10.0.0.2", spi=1)', "State.source: 167772161 is not an IP address"),
    ('State("010.0.0.1", "10.0.0.2", spi=1)', "State.source: '010.0.0.1' is not an IP address"),
    ('State("fe80::1%eth0", "fe80::2", spi=1)', "State.source: 'fe80::1%eth0' is not an IP address"),
    ('State("10.0.0.1", "10.0.0.2", spi=-1)', "State.spi: -1 is not an integer from 0 to 4294967295"),
    ('State("10.0.0.1", "10.0.0.2", spi=2**32)', "State.spi: 4294967296 is not an integer from 0 to 4294967295"),
    ('State("10.0.0.1", "10.0.0.2", spi="0x100")', "State.spi: '0x100' is not an integer from 0 to 4294967295"),
    ('State("10.0.0.1", "10.0.0.2", spi=True)', "State.spi: True is not an integer from 0 to 4294967295"),
    ('State("10.0.0.1", "10.0.0.2", spi=1.0)', "State.spi: 1.0 is not an integer from 0 to 4294967295"),
    ('State("10.0.0.1", "10.0.0.2", spi=None)', "State.spi: None is not an integer from 0 to 4294967295"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, protocol="tcp")',
        "State.protocol: 'tcp' is not one of esp, ah, comp, route2, hao, ipsec_any",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, protocol=17)',
        "State.protocol: 17 is not one of esp, ah, comp, route2, hao, ipsec_any",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, mode="tunel")',
        "State.mode: 'tunel' is not one of transport, tunnel, ro, in_trigger, beet, iptfs",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, mode=Direction.OUT)',
        "State.mode: Direction.OUT is not one of transport, tunnel, ro, in_trigger, beet, iptfs",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, reqid=2**32)',
        "State.reqid: 4294967296 is not an integer from 0 to 4294967295",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, selector="10.0.0.0/8")',
        "State.selector: '10.0.0.0/8' is not a Selector",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, authentication="hmac(sha256)")',
        "State.authentication: is a str, and not an AuthAlgorithm",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, authentication=Algorithm("cbc(aes)", bytes(16)))',
        "State.authentication: is an Algorithm, and not an AuthAlgorithm",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, encryption=AuthAlgorithm("hmac(md5)", bytes(16)))',
        "State.encryption: is an AuthAlgorithm, and not an Algorithm",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, encryption=bytes(16))',
        "State.encryption: is a bytes, and not an Algorithm",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, aead=("rfc4106(gcm(aes))", bytes(20)))',
        "State.aead: is a tuple, and not an AeadAlgorithm",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, aead=Algorithm("cbc(aes)", bytes(16)))',
        "State.aead: is an Algorithm, and not an AeadAlgorithm",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, aead=AeadAlgorithm("rfc4106(gcm(aes))", bytes(20)), encryption=Algorithm("cbc(aes)", bytes(16)))',
        "State.aead: is given beside authentication or encryption",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, compression="deflate")',
        "State.compression: is a str, and not an Algorithm",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, encapsulation="espinudp")',
        "State.encapsulation: 'espinudp' is not an Encapsulation",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, encapsulation=4500)',
        "State.encapsulation: 4500 is not an Encapsulation",
    ),
    (
        'State("2001:db8::1", "2001:db8::2", spi=1, encapsulation=Encapsulation(original_address="10.0.0.1"))',
        "State.encapsulation: has an original address, 10.0.0.1, of another family than the state",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, replay_window=-1)',
        "State.replay_window: -1 is not an integer from 0 to 4096",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, replay_window=4097)',
        "State.replay_window: 4097 is not an integer from 0 to 4096",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, replay_window="32")',
        "State.replay_window: '32' is not an integer from 0 to 4096",
    ),
    ('State("10.0.0.1", "10.0.0.2", spi=1, replay=32)', "State.replay: 32 is not a ReplayState"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, replay=ReplayState(output=2**32))',
        "ReplayState.output: 0x100000000 does not fit into 32 bits, and the state has no extended sequence numbers",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, replay=ReplayState(bitmap=2**32))',
        "ReplayState.bitmap: 0x100000000 does not fit into 32 bits, and the state has no extended sequence numbers",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, flags="esn", replay=ReplayState(bitmap=2**32))',
        "ReplayState.bitmap: 0x100000000 has bits beyond the 32 of the window",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, flags="extended")',
        "State.flags: 'extended' is not one of noecn, decap_dscp, nopmtudisc, wildrecv, icmp, af_unspec, align4, esn",
    ),
    ('State("10.0.0.1", "10.0.0.2", spi=1, flags=256)', "State.flags: 256 is not an integer from 0 to 255"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, flags=["esn", 5.0])',
        "State.flags: 5.0 is not one of noecn, decap_dscp, nopmtudisc, wildrecv, icmp, af_unspec, align4, esn",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, flags=PolicyFlag.ICMP)',
        "State.flags: PolicyFlag.ICMP is not one of noecn, decap_dscp, nopmtudisc, wildrecv, icmp, af_unspec, align4, esn",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, extra_flags="esn")',
        "State.extra_flags: 'esn' is not one of dont_encap_dscp, oseq_may_wrap",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, extra_flags=2**32)',
        "State.extra_flags: 4294967296 is not an integer from 0 to 4294967295",
    ),
    ('State("10.0.0.1", "10.0.0.2", spi=1, lifetime=3600)', "State.lifetime: 3600 is not a LifetimeConfig"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, current=LifetimeConfig())',
        "State.current: LifetimeConfig() is not a LifetimeCurrent",
    ),
    ('State("10.0.0.1", "10.0.0.2", spi=1, statistics={})', "State.statistics: {} is not a StateStatistics"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, sequence=-1)',
        "State.sequence: -1 is not an integer from 0 to 4294967295",
    ),
    ('State("10.0.0.1", "10.0.0.2", spi=1, mark=5)', "State.mark: 5 is not a Mark"),
    ('State("10.0.0.1", "10.0.0.2", spi=1, mark=(5, 255))', "State.mark: (5, 255) is not a Mark"),
    ('State("10.0.0.1", "10.0.0.2", spi=1, output_mark="5/255")', "State.output_mark: '5/255' is not a Mark"),
    ('State("10.0.0.1", "10.0.0.2", spi=1, if_id=-1)', "State.if_id: -1 is not an integer from 0 to 4294967295"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, if_id="ipsec0")',
        "State.if_id: 'ipsec0' is not an integer from 0 to 4294967295",
    ),
    ('State("10.0.0.1", "10.0.0.2", spi=1, offload="eth0")', "State.offload: 'eth0' is not an Offload"),
    ('State("10.0.0.1", "10.0.0.2", spi=1, direction="fwd")', "State.direction: 'fwd' is not one of in, out"),
    ('State("10.0.0.1", "10.0.0.2", spi=1, direction=0)', "State.direction: 0 is not one of in, out"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, direction=Direction.OUT)',
        "State.direction: Direction.OUT is not one of in, out",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, cpu=2**32)',
        "State.cpu: 4294967296 is not an integer from 0 to 4294967295",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, nat_keepalive_interval=1.5)',
        "State.nat_keepalive_interval: 1.5 is not an integer from 0 to 4294967295",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, mapping_timer_threshold=-1)',
        "State.mapping_timer_threshold: -1 is not an integer from 0 to 4294967295",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, traffic_flow_padding="1500")',
        "State.traffic_flow_padding: '1500' is not an integer from 0 to 4294967295",
    ),
    ('State("10.0.0.1", "10.0.0.2", spi=1, iptfs=True)', "State.iptfs: True is not an IpTfs"),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, security_context=5)',
        "State.security_context: 5 is not a SecurityContext",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, security_context="a\\0b")',
        "SecurityContext.context: 'a\\x00b' is not text of at most 4095 bytes without NUL",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, care_of_address="2001:db8::1")',
        "State.care_of_address: '2001:db8::1' is of another family than the state",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, care_of_address="mobile")',
        "State.care_of_address: 'mobile' is not an IP address",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, replay_threshold=2**32)',
        "State.replay_threshold: 4294967296 is not an integer from 0 to 4294967295",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, event_timer_threshold=None, last_used=2**64)',
        "State.last_used: 18446744073709551616 is not an integer from 0 to 18446744073709551615",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, lifetime_value=1000)',
        "State.lifetime_value: 1000 is not a LifetimeCurrent",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, family="ipv4")',
        "State.family: 'ipv4' is not one of unspec, inet, inet6",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, attributes=Attribute(60, b""))',
        "State.attributes: Attribute(type=AttributeType(60), payload=b'') is not an iterable of Attribute",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, attributes=[(60, b"")])',
        "State.attributes: (60, b'') is not an Attribute",
    ),
    (
        'State("10.0.0.1", "10.0.0.2", spi=1, attributes=[Attribute(60, bytes(60000))] * 2)',
        "State: is a message of more than 65536 bytes",
    ),
    ('Algorithm("", bytes(16))', "Algorithm.name: is not a name of 1 to 63 ASCII characters: it has 0"),
    (
        'Algorithm("x" * 64, bytes(16))',
        "Algorithm.name: is not a name of 1 to 63 ASCII characters: it has 64",
    ),
    (
        'Algorithm("a\\0b", bytes(16))',
        "Algorithm.name: is not a name of 1 to 63 ASCII characters: it has 3",
    ),
    (
        'Algorithm("\\u00e9", bytes(16))',
        "Algorithm.name: is not a name of 1 to 63 ASCII characters: it has 1",
    ),
    ("Algorithm(None, bytes(16))", "Algorithm.name: is not a name of 1 to 63 ASCII characters: it is a NoneType"),
    (
        'Algorithm(bytes(16), "cbc(aes)")',
        "Algorithm.key: is not hexadecimal text of whole bytes, and the bytes of a key may not be given as text",
    ),
    (
        'Algorithm("cbc(aes)", bytes(15))',
        "Algorithm.key: 120 bits is not what cbc(aes) wants: 128 or 192 or 256 bits (strict=False allows it)",
    ),
    (
        'Algorithm("aes", bytes(20))',
        "Algorithm.key: 160 bits is not what cbc(aes) wants: 128 or 192 or 256 bits (strict=False allows it)",
    ),
    (
        'Algorithm("cbc(aes)")',
        "Algorithm.key: 0 bits is not what cbc(aes) wants: 128 or 192 or 256 bits (strict=False allows it)",
    ),
    (
        'Algorithm("cbc(des3_ede)", bytes(8))',
        "Algorithm.key: 64 bits is not what cbc(des3_ede) wants: 192 bits (strict=False allows it)",
    ),
    (
        'Algorithm("cbc(blowfish)", bytes(4))',
        "Algorithm.key: 32 bits is not what cbc(blowfish) wants: 40 to 448 bits (strict=False allows it)",
    ),
    (
        'Algorithm("rfc3686(ctr(aes))", bytes(16))',
        "Algorithm.key: 128 bits is not what rfc3686(ctr(aes)) wants: 160 or 224 or 288 bits, of which the last 32 are the salt (strict=False allows it)",
    ),
    (
        'Algorithm("cbc(aes)", "not hexadecimal")',
        "Algorithm.key: is not hexadecimal text of whole bytes, and the bytes of a key may not be given as text",
    ),
    (
        'Algorithm("cbc(aes)", "0x123")',
        "Algorithm.key: is not hexadecimal text of whole bytes, and the bytes of a key may not be given as text",
    ),
    ('Algorithm("cbc(aes)", 5)', "Algorithm.key: is an int, not bytes or hexadecimal text"),
    ('Algorithm("cbc(aes)", None)', "Algorithm.key: is a NoneType, not bytes or hexadecimal text"),
    ('Algorithm("cbc(aes)", bytes(9000), strict=False)', "Algorithm.key: 72000 bits are more than 65536"),
    ('Algorithm("cbc(aes)", bytes(16), key_bits=120)', "Algorithm.key_bits: 120 is not an integer from 121 to 128"),
    (
        'Algorithm("cbc(aes)", bytes(16), key_bits="128")',
        "Algorithm.key_bits: '128' is not an integer from 121 to 128",
    ),
    (
        'Algorithm("deflate", bytes(1))',
        "Algorithm.key: 8 bits is not what deflate wants: 0 bits (strict=False allows it)",
    ),
    (
        'AuthAlgorithm("hmac(sha256)", bytes(20))',
        "AuthAlgorithm.key: 160 bits is not what hmac(sha256) wants: 256 bits (strict=False allows it)",
    ),
    (
        'AuthAlgorithm("hmac(sha256)", bytes(32), 127)',
        "AuthAlgorithm.icv_bits: 127 is not what hmac(sha256) has: 128 or 96 or 256 bits (strict=False allows it)",
    ),
    (
        'AuthAlgorithm("hmac(sha1)", bytes(20), "96")',
        "AuthAlgorithm.icv_bits: '96' is not an integer from 0 to 4294967295",
    ),
    (
        'AuthAlgorithm("unknown", bytes(20), -1)',
        "AuthAlgorithm.icv_bits: -1 is not an integer from 0 to 4294967295",
    ),
    (
        'AeadAlgorithm("rfc4106(gcm(aes))", bytes(16))',
        "AeadAlgorithm.key: 128 bits is not what rfc4106(gcm(aes)) wants: 160 or 224 or 288 bits, of which the last 32 are the salt (strict=False allows it)",
    ),
    (
        'AeadAlgorithm("rfc4106(gcm(aes))", bytes(20), 32)',
        "AeadAlgorithm.icv_bits: 32 is not what rfc4106(gcm(aes)) has: 128 or 96 or 64 bits (strict=False allows it)",
    ),
    (
        'AeadAlgorithm("rfc4106(gcm(aes))", bytes(20), 0)',
        "AeadAlgorithm.icv_bits: 0 is not what rfc4106(gcm(aes)) has: 128 or 96 or 64 bits (strict=False allows it)",
    ),
    (
        'AeadAlgorithm("rfc4543(gcm(aes))", bytes(20), 96)',
        "AeadAlgorithm.icv_bits: 96 is not what rfc4543(gcm(aes)) has: 128 bits (strict=False allows it)",
    ),
    (
        'AeadAlgorithm("rfc7539esp(chacha20,poly1305)", bytes(32))',
        "AeadAlgorithm.key: 256 bits is not what rfc7539esp(chacha20,poly1305) wants: 288 bits, of which the last 32 are the salt (strict=False allows it)",
    ),
    ("Secret(5)", "Secret: is an int, not bytes or hexadecimal text"),
    (
        'Secret("0xabc")',
        "Secret: is not hexadecimal text of whole bytes, and the bytes of a key may not be given as text",
    ),
    ("Secret([1, 2, 3])", "Secret: is a list, not bytes or hexadecimal text"),
    ('Encapsulation("udp")', "Encapsulation.type: 'udp' is not one of espinudp_non_ike, espinudp, espintcp"),
    ("Encapsulation(4500)", "Encapsulation.type: 4500 is not one of espinudp_non_ike, espinudp, espintcp"),
    ('Encapsulation("espinudp", 65536)', "Encapsulation.source_port: 65536 is not an integer from 0 to 65535"),
    (
        'Encapsulation("espinudp", 4500, "4500")',
        "Encapsulation.destination_port: '4500' is not an integer from 0 to 65535",
    ),
    ('Encapsulation(original_address="peer")', "Encapsulation.original_address: 'peer' is not an IP address"),
    ("ReplayState(-1)", "ReplayState.output: -1 is not an integer from 0 to 18446744073709551615"),
    (
        "ReplayState(output=2**64)",
        "ReplayState.output: 18446744073709551616 is not an integer from 0 to 18446744073709551615",
    ),
    ('ReplayState(input="0")', "ReplayState.input: '0' is not an integer from 0 to 18446744073709551615"),
    (
        "ReplayState(bitmap=2**4096)",
        "ReplayState.bitmap: 10443888814131525066917527107166243825799642490473837803842334832839539079715... is not an integer from 0 to 2**4096 - 1",
    ),
    ("ReplayState(words=-1)", "ReplayState.words: -1 is not an integer from 0 to 4294967295"),
    ("StateStatistics(replay=-1)", "StateStatistics.replay: -1 is not an integer from 0 to 4294967295"),
    (
        'StateStatistics(integrity_failed="0")',
        "StateStatistics.integrity_failed: '0' is not an integer from 0 to 4294967295",
    ),
    ("IpTfs(drop_time=-1)", "IpTfs.drop_time: -1 is not an integer from 0 to 4294967295"),
    ("IpTfs(reorder_window=65536)", "IpTfs.reorder_window: 65536 is not an integer from 0 to 65535"),
    ('IpTfs(packet_size="1500")', "IpTfs.packet_size: '1500' is not an integer from 0 to 4294967295"),
    ("StateId(None)", "StateId.destination: None is not an IP address"),
    ('StateId("10.0.0.300", 1)', "StateId.destination: '10.0.0.300' is not an IP address"),
    ('StateId("10.0.0.1", 2**32)', "StateId.spi: 4294967296 is not an integer from 0 to 4294967295"),
    (
        'StateId("10.0.0.1", 1, "udp")',
        "StateId.protocol: 'udp' is not one of esp, ah, comp, route2, hao, ipsec_any",
    ),
    (
        'StateId("10.0.0.1", 1, source="2001:db8::1")',
        "StateId.source: '2001:db8::1' is of another family than the destination",
    ),
    (
        'StateId("10.0.0.1", 1, family="inet6")',
        "StateId.destination: '10.0.0.1' is not of the family that was given",
    ),
    ('StateId("10.0.0.1", 1, mark=5)', "StateId.mark: 5 is not a Mark"),
    ('StateId("10.0.0.1", 1, attributes=[5])', "StateId.attributes: 5 is not an Attribute"),
    ('StateFilter("tcp")', "StateFilter.protocol: 'tcp' is not one of esp, ah, comp, route2, hao, ipsec_any"),
    ('StateFilter(source="10.0.0.1/8")', "StateFilter.source: '10.0.0.1/8' has host bits set"),
    (
        'StateFilter(source="10.0.0.0/33")',
        "StateFilter.source: '10.0.0.0/33' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    (
        'StateFilter(source="10.0.0.0/8", destination="2001:db8::/32")',
        "StateFilter.destination: '2001:db8::/32' is of another family than the source",
    ),
    (
        'StateFilter(destination="10.0.0.0/8", family="inet6")',
        "StateFilter.destination: '10.0.0.0/8' is of another family than the one that was given",
    ),
    ('StateFilter(family="ipv6")', "StateFilter.family: 'ipv6' is not one of unspec, inet, inet6"),
    ("StateFilter(attributes=[None])", "StateFilter.attributes: None is not an Attribute"),
    ("SpiRequest(None)", "SpiRequest.state: None is not a State"),
    ("SpiRequest(STATE, -1)", "SpiRequest.minimum: -1 is not an integer from 0 to 4294967295"),
    ("SpiRequest(STATE, 1, 2**32)", "SpiRequest.maximum: 4294967296 is not an integer from 0 to 4294967295"),
    ("SpiRequest(STATE, 0x200, 0x100)", "SpiRequest.minimum: 0x200 is more than 0x100, the maximum"),
    (
        "StateExpired(STATE.id, True)",
        "StateExpired.state: StateId(destination='10.0.0.2', spi=1, protocol=Protocol.ESP, source='10.0.0.... is not a State",
    ),
    (
        "PolicyExpired(STATE, True)",
        "PolicyExpired.policy: State(source='10.0.0.1', destination='10.0.0.2', spi=1, replay_window=32) is not a Policy",
    ),
    (
        'Acquire(source="10.0.0.1", destination="2001:db8::1", protocol="esp", selector=Selector(), policy=POLICY, sequence=1)',
        "Acquire.destination: '2001:db8::1' is of another family than the template, or the policy's selector",
    ),
    (
        'Acquire(source="10.0.0.1", destination="10.0.0.2", protocol="udp", selector=Selector(), policy=POLICY, sequence=1)',
        "Acquire.protocol: 'udp' is not one of esp, ah, comp, route2, hao, ipsec_any",
    ),
    (
        'Acquire(source="10.0.0.1", destination="10.0.0.2", protocol="esp", selector="any", policy=POLICY, sequence=1)',
        "Acquire.selector: 'any' is not a Selector",
    ),
    (
        'Acquire(source="10.0.0.1", destination="10.0.0.2", protocol="esp", selector=Selector(), policy=None, sequence=1)',
        "Acquire.policy: None is not a Policy",
    ),
    (
        'Acquire(source="10.0.0.1", destination="10.0.0.2", protocol="esp", selector=Selector(), policy=POLICY, sequence=-1)',
        "Acquire.sequence: -1 is not an integer from 0 to 4294967295",
    ),
    (
        'Acquire(source="10.0.0.1", destination="10.0.0.2", protocol="esp", selector=Selector(), policy=POLICY, sequence=1, cpu="0")',
        "Acquire.cpu: '0' is not an integer from 0 to 4294967295",
    ),
    ("AsyncEvent(5)", "AsyncEvent.id: 5 is not a StateId"),
    (
        'AsyncEvent(StateId("10.0.0.1", 1, attributes=[Attribute(60, b"")]))',
        "AsyncEvent.id: has attributes: give them to the AsyncEvent itself",
    ),
    ("AsyncEvent(STATE, reqid=-1)", "AsyncEvent.reqid: -1 is not an integer from 0 to 4294967295"),
    (
        'AsyncEvent(STATE, flags="everything")',
        "AsyncEvent.flags: 'everything' is not one of replay_threshold, replay_value, lifetime_value, event_timer_threshold, replay_event, timer_event, updated",
    ),
    ("AsyncEvent(STATE, replay=5)", "AsyncEvent.replay: 5 is not a ReplayState"),
    (
        "AsyncEvent(STATE, replay=ReplayState(output=2**32))",
        "ReplayState.output: 0x100000000 does not fit into 32 bits, and the state has no extended sequence numbers",
    ),
    (
        "AsyncEvent(STATE, replay=ReplayState(words=2))",
        "AsyncEvent.replay_window: is needed with ReplayState.words",
    ),
    (
        "AsyncEvent(STATE, replay=ReplayState(bitmap=2**64), replay_window=64)",
        "ReplayState.bitmap: 0x10000000000000000 has bits beyond the 64 of the window",
    ),
    ("AsyncEvent(STATE, replay_window=-1)", "AsyncEvent.replay_window: -1 is not an integer from 0 to 4294967295"),
    ("AsyncEvent(STATE, lifetime=5)", "AsyncEvent.lifetime: 5 is not a LifetimeCurrent"),
    (
        'AsyncEvent(STATE, replay_threshold="5")',
        "AsyncEvent.replay_threshold: '5' is not an integer from 0 to 4294967295",
    ),
    ('AsyncEvent(STATE, direction="both")', "AsyncEvent.direction: 'both' is not one of in, out"),
    ("AsyncEvent(STATE, attributes=[5])", "AsyncEvent.attributes: 5 is not an Attribute"),
    ('Report("tcp", Selector())', "Report.protocol: 'tcp' is not one of esp, ah, comp, route2, hao, ipsec_any"),
    ('Report("hao", None)', "Report.selector: None is not a Selector"),
    (
        'Report("hao", Selector("10.0.0.0/8"), "2001:db8::1")',
        "Report.care_of_address: '2001:db8::1' is of another family than the selector",
    ),
    ('Report("hao", Selector(), None, [5])', "Report.attributes: 5 is not an Attribute"),
    ('Mapping(None, 0, "10.0.0.1", 4500, "10.0.0.2", 4500)', "Mapping.id: None is not a StateId"),
    (
        'Mapping(STATE.id, 0, "10.0.0.1", 65536, "10.0.0.2", 4500)',
        "Mapping.old_port: 65536 is not an integer from 0 to 65535",
    ),
    (
        'Mapping(STATE.id, 0, "10.0.0.1", 4500, "2001:db8::2", 4500)',
        "Mapping.new_source: '2001:db8::2' is of another family than the destination",
    ),
    (
        'Mapping(STATE.id, -1, "10.0.0.1", 4500, "10.0.0.2", 4500)',
        "Mapping.reqid: -1 is not an integer from 0 to 4294967295",
    ),
    (
        'Move("10.0.0.1", "2001:db8::1", "10.0.0.3", "10.0.0.4")',
        "Move.old_destination: '2001:db8::1' is of another family than the source",
    ),
    (
        'Move("10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.4")',
        "Move.new_destination: '10.0.0.4' is of another family than the source",
    ),
    ('Move("10.0.0.1", "10.0.0.2", "10.0.0.3", "there")', "Move.new_destination: 'there' is not an IP address"),
    (
        'Move("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", mode="tunel")',
        "Move.mode: 'tunel' is not one of transport, tunnel, ro, in_trigger, beet, iptfs",
    ),
    (
        'Move("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", new_family="ipv4")',
        "Move.new_family: 'ipv4' is not one of unspec, inet, inet6",
    ),
    (
        'KmAddress("10.0.0.1", "2001:db8::1")',
        "KmAddress.remote: '2001:db8::1' is of another family than KmAddress.local",
    ),
    ('KmAddress("10.0.0.1", "manager")', "KmAddress.remote: 'manager' is not an IP address"),
    (
        'KmAddress("10.0.0.1", "10.0.0.2", reserved=-1)',
        "KmAddress.reserved: -1 is not an integer from 0 to 4294967295",
    ),
    ('Migration(None, "out", MOVE)', "Migration.selector: None is not a Selector"),
    ('Migration(Selector(), "sideways", MOVE)', "Migration.direction: 'sideways' is not one of in, out, fwd"),
    ('Migration(Selector(), "out", [MOVE] * 7)', "Migration.moves: 7 moves, and 6 is the most"),
    ('Migration(Selector(), "out", [5])', "Migration.moves: 5 is not a Move"),
    ('Migration(Selector(), "out", 5)', "Migration.moves: 5 is not an iterable of Move"),
    (
        'Migration(Selector(), "out", MOVE, policy_type="any")',
        "Migration.policy_type: 'any' is not one of main, sub",
    ),
    (
        'Migration(Selector(), "out", MOVE, key_managers="10.0.0.1")',
        "Migration.key_managers: '10.0.0.1' is not a KmAddress",
    ),
    (
        'Migration(Selector(), "out", MOVE, encapsulation=4500)',
        "Migration.encapsulation: 4500 is not an Encapsulation",
    ),
    ('Migration(Selector(), "out", MOVE, attributes=[5])', "Migration.attributes: 5 is not an Attribute"),
    ('StateMigration("10.0.0.1", "10.0.0.3", "10.0.0.4")', "StateMigration.id: '10.0.0.1' is not a StateId"),
    (
        'StateMigration(STATE, "10.0.0.3", "2001:db8::4")',
        "StateMigration.new_destination: '2001:db8::4' is of another family than the source",
    ),
    (
        'StateMigration(STATE, "10.0.0.3", "10.0.0.4", new_family="inet6")',
        "StateMigration.new_source: '10.0.0.3' is not of the family that was given",
    ),
    (
        'StateMigration(STATE, "10.0.0.3", "10.0.0.4", flags="keep")',
        "StateMigration.flags: 'keep' is not one of clear_offload, update_h2h_sel",
    ),
    (
        'StateMigration(STATE, "10.0.0.3", "10.0.0.4", if_id="1")',
        "StateMigration.if_id: '1' is not an integer from 0 to 4294967295",
    ),
    ("SadInfo(count=-1)", "SadInfo.count: -1 is not an integer from 0 to 4294967295"),
    ("SpdInfo(input=2**32)", "SpdInfo.input: 4294967296 is not an integer from 0 to 4294967295"),
    ("SpdInfo(ipv4_local_bits=256)", "SpdInfo.ipv4_local_bits: 256 is not an integer from 0 to 255"),
    ("SpdThresholds((33, 32))", "SpdThresholds.ipv4: 33 is not an integer from 0 to 32"),
    ("SpdThresholds(ipv6=(0, 129))", "SpdThresholds.ipv6: 129 is not an integer from 0 to 128"),
    ("SpdThresholds((32,))", "SpdThresholds.ipv4: (32,) is not two numbers, local and remote"),
    ('SpdThresholds("32")', "SpdThresholds.ipv4: '32' is not two numbers, local and remote"),
    ('PolicyDefaults("drop")', "PolicyDefaults.input: 'drop' is not one of unspec, block, accept"),
    ("PolicyDefaults(forward=3)", "PolicyDefaults.forward: 3 is not one of unspec, block, accept"),
    ("PolicyDefaults(output=True)", "PolicyDefaults.output: True is not one of unspec, block, accept"),
    (
        'Request("NOSUCH", STATE)',
        "Request.message: 'NOSUCH' is not one of newsa, delsa, getsa, newpolicy, delpolicy, getpolicy, allocspi, acquire, expire, updpolicy, updsa, polexpire, flushsa, flushpolicy, newae, getae, report, migrate, newsadinfo, getsadinfo, newspdinfo, getspdinfo, mapping, setdefault, getdefault, migrate_state",
    ),
    (
        "Request(5, STATE)",
        "Request.message: 5 is not one of newsa, delsa, getsa, newpolicy, delpolicy, getpolicy, allocspi, acquire, expire, updpolicy, updsa, polexpire, flushsa, flushpolicy, newae, getae, report, migrate, newsadinfo, getsadinfo, newspdinfo, getspdinfo, mapping, setdefault, getdefault, migrate_state",
    ),
    (
        "Request([])",
        "Request.message: [] is not one of newsa, delsa, getsa, newpolicy, delpolicy, getpolicy, allocspi, acquire, expire, updpolicy, updsa, polexpire, flushsa, flushpolicy, newae, getae, report, migrate, newsadinfo, getsadinfo, newspdinfo, getspdinfo, mapping, setdefault, getdefault, migrate_state",
    ),
    (
        'encode(Request("newsa", POLICY))',
        "Request: Request(message=Message.NEWSA, body=Policy(direction='out')) has no body of the kind that its message needs",
    ),
    (
        'encode(Request("getsa", STATE))',
        "Request: Request(message=Message.GETSA, body=State(source='10.0.0.1', destination='10.... has no body of the kind that its message needs",
    ),
    (
        'encode(Request("flushsa", "esp"))',
        "Request: Request(message=Message.FLUSHSA, body='esp') has no body of the kind that its message needs",
    ),
    (
        "encode(STATE.id)",
        "value: StateId(destination='10.0.0.2', spi=1, protocol=Protocol.ESP, source='10.0.0.... is no message by itself: see Request",
    ),
    ('encode("state")', "value: 'state' is no message by itself: see Request"),
    ('session.sad.add("state")', "state: 'state' is not a State"),
    (
        "session.sad.add(STATE.id)",
        "state: StateId(destination='10.0.0.2', spi=1, protocol=Protocol.ESP, source='10.0.0.... is not a State",
    ),
    ("session.sad.update(None)", "state: None is not a State"),
    ('session.sad.get("10.0.0.1")', "spi: is needed with a destination"),
    ("session.sad.get(STATE, 5)", "spi: is that of the State, and not given beside it"),
    ("session.sad.get(STATE.id, mark=Mark(5))", "mark: is that of the StateId, and not given beside it"),
    ('session.sad.get("10.0.0.300", 5)', "StateId.destination: '10.0.0.300' is not an IP address"),
    (
        'session.sad.delete("10.0.0.1", 5, "udp")',
        "StateId.protocol: 'udp' is not one of esp, ah, comp, route2, hao, ipsec_any",
    ),
    ('session.sad.flush("tcp")', "protocol: 'tcp' is not one of esp, ah, comp, route2, hao, ipsec_any"),
    (
        'list(session.sad.dump(protocol="tcp"))',
        "StateFilter.protocol: 'tcp' is not one of esp, ah, comp, route2, hao, ipsec_any",
    ),
    ('list(session.sad.dump(source="10.0.0.1/8"))', "StateFilter.source: '10.0.0.1/8' has host bits set"),
    (
        'session.sad.allocate_spi("10.0.0.1", "2001:db8::1")',
        "State.destination: '2001:db8::1' is of another family than the source",
    ),
    (
        'session.sad.allocate_spi("10.0.0.1", "10.0.0.2", minimum=2, maximum=1)',
        "SpiRequest.minimum: 0x2 is more than 0x1, the maximum",
    ),
    (
        'session.sad.allocate_spi("10.0.0.1", "10.0.0.2", protocol="comp", minimum=0x10000)',
        "SpiRequest.minimum: 0x10000 is more than 0xffff, the maximum",
    ),
    (
        "session.sad.expire(STATE.id)",
        "state: StateId(destination='10.0.0.2', spi=1, protocol=Protocol.ESP, source='10.0.0.... is not a State",
    ),
    ('session.sad.async_event("10.0.0.1")', "AsyncEvent.id: '10.0.0.1' is not a StateId"),
    (
        "session.sad.set_async_event(STATE)",
        "event: State(source='10.0.0.1', destination='10.0.0.2', spi=1, replay_window=32) is not an AsyncEvent",
    ),
    ("session.sad.load([STATE, POLICY])", "source[1]: Policy(direction='out') is not a State"),
    (
        "session.sad.load(STATE)",
        "source: State(source='10.0.0.1', destination='10.0.0.2', spi=1, replay_window=32) is not an iterable of State",
    ),
    ('session.sad.load([], on_error="ignore")', "on_error: 'ignore' is not raise, collect or rollback"),
    ("session.spd.set_thresholds((33, 0))", "SpdThresholds.ipv4: 33 is not an integer from 0 to 32"),
    ('session.spd.set_defaults("drop")', "PolicyDefaults.input: 'drop' is not one of unspec, block, accept"),
    (
        "session.migrate(MOVE)",
        "migration: Move(old_source='10.0.0.1', old_destination='10.0.0.2', new_source='10.0.0.3'... is not a Migration or StateMigration",
    ),
]


@pytest.mark.parametrize(("expression", "message"), VALUES, ids=[expression[:90] for expression, _ in VALUES])
def test_values(expression: str, message: str) -> None:
    transport = FakeTransport(lambda message: None)
    with Session(transport=transport) as session:
        names = {
            **{name: getattr(xfrm_ext, name) for name in xfrm_ext.__all__},
            "encode": native.encode,
            "session": session,
            "STATE": STATE,
            "POLICY": POLICY,
            "MOVE": MOVE,
        }
        with pytest.raises(ValidationError) as caught:
            eval(expression, names)
    assert str(caught.value) == message
    assert not transport.sent
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.field, again.value, again.rule) == (caught.value.field, caught.value.value, caught.value.rule)


def test_there_are_many() -> None:
    assert len(VALUES) > 100
    assert len({expression for expression, _ in VALUES}) == len(VALUES)


def test_both_codecs_say_the_same() -> None:
    for expression, message in VALUES:
        if expression.startswith("encode("):
            names = {
                **{name: getattr(xfrm_ext, name) for name in xfrm_ext.__all__},
                "encode": pure.encode,
                "STATE": STATE,
                "POLICY": POLICY,
            }
            with pytest.raises(ValidationError) as caught:
                eval(expression, names)
            assert str(caught.value) == message


def test_a_state_needs_an_spi() -> None:
    with pytest.raises(TypeError, match="spi"):
        State("10.0.0.1", "10.0.0.2")  # type: ignore[call-arg]

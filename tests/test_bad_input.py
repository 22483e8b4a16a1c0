# SPDX-License-Identifier: MIT
"""Bad input: what the user sees for each wrong value and line. Nothing of it is ever sent."""

from __future__ import annotations

import ipaddress
import pickle
from pathlib import Path

import pytest
from public import PUBLIC

from xfrm_ext import BatchFileError, Session, ValidationError
from xfrm_ext.codec import select
from xfrm_ext.testing import FakeTransport

VALUES = [
    ('Selector("10.0.0.300/24")', "Selector.source: '10.0.0.300/24' is not an IP prefix"),
    (
        'Selector("10.0.0.0/33")',
        "Selector.source: '10.0.0.0/33' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    (
        'Selector("2001:db8::/129")',
        "Selector.source: '2001:db8::/129' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    (
        'Selector("10.0.0.1/24")',
        "Selector.source: '10.0.0.1/24' has host bits set: the kernel would keep and compare them (strict=False allows it)",
    ),
    (
        'Selector(None, "2001:db8::1/64")',
        "Selector.destination: '2001:db8::1/64' has host bits set: the kernel would keep and compare them (strict=False allows it)",
    ),
    (
        'Selector("10.0.0.0/255.0.255.0")',
        "Selector.source: '10.0.0.0/255.0.255.0' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    ('Selector("10.0.0.0/08")', "Selector.source: '10.0.0.0/08' is not an IP prefix"),
    ('Selector("010.0.0.1")', "Selector.source: '010.0.0.1' is not an IP prefix"),
    ('Selector("10.0.0")', "Selector.source: '10.0.0' is not an IP prefix"),
    ('Selector("")', "Selector.source: '' is not an IP prefix"),
    (
        'Selector("10.0.0.0/")',
        "Selector.source: '10.0.0.0/' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    ('Selector(" 10.0.0.0/8")', "Selector.source: ' 10.0.0.0/8' is not an IP prefix"),
    ('Selector("any")', "Selector.source: 'any' is not an IP prefix"),
    ('Selector("fe80::1%eth0")', "Selector.source: 'fe80::1%eth0' is not an IP prefix"),
    (
        'Selector("10.0.0.0/8", "2001:db8::/32")',
        "Selector.destination: '2001:db8::/32' is of another family than the source",
    ),
    ('Selector("10.0.0.0/8", family="inet6")', "Selector.source: '10.0.0.0/8' is not of the family that was given"),
    ("Selector(167772160)", "Selector.source: 167772160 is not an IP prefix"),
    ('Selector(b"10.0.0.0/8")', "Selector.source: b'10.0.0.0/8' is not an IP prefix"),
    ('Selector("10.0.0.\\u0661/32")', "Selector.source: '10.0.0.١/32' is not an IP prefix"),
    (
        'Selector("1" * 200)',
        "Selector.source: '1111111111111111111111111111111111111111111111111111111111111111111111111111... is not an IP prefix",
    ),
    ('Selector("10.0.0.1\\0")', "Selector.source: '10.0.0.1\\x00' is not an IP prefix"),
    (
        'Selector("10.0.0.0/8" * 1000)',
        "Selector.source: '10.0.0.0/810.0.0.0/810.0.0.0/810.0.0.0/810.0.0.0/810.0.0.0/810.0.0.0/810.0.0... is not an IP prefix",
    ),
    ('Selector("10.0.0.0/-8")', "Selector.source: '10.0.0.0/-8' is not an IP prefix"),
    ('Selector("\\udc80")', "Selector.source: '\\udc80' is not an IP prefix"),
    ("Selector(True)", "Selector.source: True is not an IP prefix"),
    (
        'Selector(ipaddress.ip_interface("10.0.0.1/24"))',
        "Selector.source: '10.0.0.1/24' has host bits set: the kernel would keep and compare them (strict=False allows it)",
    ),
    (
        'Selector(ipaddress.ip_address("fe80::1%eth0"))',
        "Selector.source: IPv6Address('fe80::1%eth0') has a scope, which no selector has: give the interface instead",
    ),
    (
        'Selector("::ffff:10.0.0.0/104", "10.0.0.0/8")',
        "Selector.destination: '10.0.0.0/8' is of another family than the source",
    ),
    ('Selector(protocol="nosuch")', "Selector.protocol: 'nosuch' is not the name of an IP protocol"),
    ("Selector(protocol=256)", "Selector.protocol: 256 is not an integer from 0 to 255"),
    ("Selector(protocol=-1)", "Selector.protocol: -1 is not an integer from 0 to 255"),
    ("Selector(protocol=False)", "Selector.protocol: False is not an integer from 0 to 255"),
    ('Selector(protocol="")', "Selector.protocol: '' is not the name of an IP protocol"),
    ('Selector(protocol="\\udc80")', "Selector.protocol: '\\udc80' is not the name of an IP protocol"),
    ("Selector(protocol=Mode.TUNNEL)", "Selector.protocol: Mode.TUNNEL is not an integer from 0 to 255"),
    ("Selector(protocol=6.0)", "Selector.protocol: 6.0 is not an integer from 0 to 255"),
    ("Selector(source_port=65536)", "Selector.source_port: 65536 is not an integer from 0 to 65535"),
    ('Selector(source_port="80")', "Selector.source_port: '80' is not an integer from 0 to 65535"),
    ("Selector(destination_port=True)", "Selector.destination_port: True is not an integer from 0 to 65535"),
    (
        "Selector(destination_port_mask=0x10000)",
        "Selector.destination_port_mask: 65536 is not an integer from 0 to 65535",
    ),
    ('Selector(interface="nosuch0")', "Selector.interface: 'nosuch0' is not an interface"),
    ('Selector(interface="")', "Selector.interface: '' is not an interface"),
    ('Selector(interface="lo\\0")', "Selector.interface: 'lo\\x00' is not an interface"),
    ('Selector(interface="\\ud800")', "Selector.interface: '\\ud800' is not an interface"),
    ("Selector(interface=0.0)", "Selector.interface: 0.0 is not an integer from 0 to 2147483647"),
    ("Selector(interface=-1)", "Selector.interface: -1 is not an integer from 0 to 2147483647"),
    ("Selector(user=2**32)", "Selector.user: 4294967296 is not an integer from 0 to 4294967295"),
    ('Selector(family="ipv4")', "Selector.family: 'ipv4' is not one of unspec, inet, inet6"),
    (
        'Selector(protocol="tcp", icmp_type=8)',
        "Selector.icmp_type: 8 is for protocols icmp, ipv6-icmp and mobility-header only",
    ),
    ('Selector(protocol="icmp", icmp_type=False)', "Selector.icmp_type: False is not an integer from 0 to 255"),
    (
        'Selector(protocol="gre", gre_key=1, icmp_type=8)',
        "Selector.icmp_type: 8 is for protocols icmp, ipv6-icmp and mobility-header only",
    ),
    ('Selector(protocol="icmp", icmp_type=256)', "Selector.icmp_type: 256 is not an integer from 0 to 255"),
    (
        'Selector(protocol="icmp", icmp_code=1, source_port=8)',
        "Selector: has ports besides icmp_type, icmp_code or gre_key",
    ),
    ('Selector(protocol="udp", gre_key=1)', "Selector.gre_key: 1 is for protocol gre only"),
    (
        'Selector(protocol="gre", gre_key=2**32)',
        "Selector.gre_key: 4294967296 is not an integer from 0 to 4294967295",
    ),
    ('Template("10.0.0.1/32")', "Template.source: '10.0.0.1/32' is not an IP address"),
    ('Template("010.0.0.1")', "Template.source: '010.0.0.1' is not an IP address"),
    (
        'Template(ipaddress.ip_address("fe80::1%eth0"))',
        "Template.source: IPv6Address('fe80::1%eth0') has a scope, which no template has",
    ),
    (
        'Template(ipaddress.ip_network("10.0.0.1/32"))',
        "Template.source: IPv4Network('10.0.0.1/32') is not an IP address",
    ),
    (
        'Template("10.0.0.1", "2001:db8::1")',
        "Template.destination: '2001:db8::1' is of another family than the source",
    ),
    ('Template(destination="10.0.0.256")', "Template.destination: '10.0.0.256' is not an IP address"),
    ('Template(protocol="tcp")', "Template.protocol: 'tcp' is not one of esp, ah, comp, route2, hao, ipsec_any"),
    ("Template(protocol=17)", "Template.protocol: 17 is not one of esp, ah, comp, route2, hao, ipsec_any"),
    (
        'Template(mode="tunel")',
        "Template.mode: 'tunel' is not one of transport, tunnel, ro, in_trigger, beet, iptfs",
    ),
    ("Template(mode=9)", "Template.mode: 9 is not one of transport, tunnel, ro, in_trigger, beet, iptfs"),
    (
        "Template(mode=Direction.OUT)",
        "Template.mode: Direction.OUT is not one of transport, tunnel, ro, in_trigger, beet, iptfs",
    ),
    ('Template(level="maybe")', "Template.level: 'maybe' is not one of required, use"),
    ('Template(share="all")', "Template.share: 'all' is not one of any, session, user, unique"),
    ("Template(reqid=2**32)", "Template.reqid: 4294967296 is not an integer from 0 to 4294967295"),
    ('Template(reqid="1")', "Template.reqid: '1' is not an integer from 0 to 4294967295"),
    ("Template(spi=-5)", "Template.spi: -5 is not an integer from 0 to 4294967295"),
    ("Template(aalgos=None)", "Template.aalgos: None is not an integer from 0 to 4294967295"),
    ('Template("10.0.0.1", family="inet6")', "Template.source: '10.0.0.1' is not of the family that was given"),
    ("Mark(2**32)", "Mark.value: 4294967296 is not an integer from 0 to 4294967295"),
    ("Mark(Direction.OUT)", "Mark.value: Direction.OUT is not an integer from 0 to 4294967295"),
    ("Mark(-1)", "Mark.value: -1 is not an integer from 0 to 4294967295"),
    ('Mark("5")', "Mark.value: '5' is not an integer from 0 to 4294967295"),
    ("Mark(5, mask=2**32)", "Mark.mask: 4294967296 is not an integer from 0 to 4294967295"),
    (
        "LifetimeConfig(soft_byte_limit=-1)",
        "LifetimeConfig.soft_byte_limit: -1 is not an integer from 0 to 18446744073709551615",
    ),
    (
        "LifetimeConfig(hard_packet_limit=2**64)",
        "LifetimeConfig.hard_packet_limit: 18446744073709551616 is not an integer from 0 to 18446744073709551615",
    ),
    (
        "LifetimeConfig(hard_add_expires_seconds=1.5)",
        "LifetimeConfig.hard_add_expires_seconds: 1.5 is not an integer from 0 to 18446744073709551615",
    ),
    (
        'LifetimeCurrent(bytes="many")',
        "LifetimeCurrent.bytes: 'many' is not an integer from 0 to 18446744073709551615",
    ),
    ("SecurityContext(5)", "SecurityContext.context: 5 is not text of at most 4095 bytes without NUL"),
    (
        'SecurityContext("a\\0b")',
        "SecurityContext.context: 'a\\x00b' is not text of at most 4095 bytes without NUL",
    ),
    (
        'SecurityContext("x" * 4096)',
        "SecurityContext.context: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... is not text of at most 4095 bytes without NUL",
    ),
    (
        'SecurityContext("\\ud800")',
        "SecurityContext.context: '\\ud800' is not text of at most 4095 bytes without NUL",
    ),
    (
        'SecurityContext("\u00e9" * 2048, terminated=False)',
        "SecurityContext.context: '\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9... is not text of at most 4095 bytes without NUL",
    ),
    ('SecurityContext("a", doi=256)', "SecurityContext.doi: 256 is not an integer from 0 to 255"),
    ('Offload("nosuch0")', "Offload.interface: 'nosuch0' is not an interface"),
    ('Offload(1, flags="crypto")', "Offload.flags: 'crypto' is not one of ipv6, inbound, packet"),
    ("Offload(1, flags=256)", "Offload.flags: 256 is not an integer from 0 to 255"),
    ('Attribute(0x10000, b"")', "Attribute.type: 65536 is not an integer from 0 to 65535"),
    ('Attribute(60, "text")', "Attribute.payload: 'text' is not bytes, at most 65531 of them"),
    ('Policy(direction="sideways")', "Policy.direction: 'sideways' is not one of in, out, fwd"),
    ("Policy(direction=None)", "Policy.direction: None is not one of in, out, fwd"),
    ("Policy(direction=True)", "Policy.direction: True is not one of in, out, fwd"),
    ("Policy(direction=7)", "Policy.direction: 7 is not one of in, out, fwd"),
    ("Policy(direction=Mode.TUNNEL)", "Policy.direction: Mode.TUNNEL is not one of in, out, fwd"),
    ("Policy(direction=PolicyFlag.LOCALOK)", "Policy.direction: PolicyFlag.LOCALOK is not one of in, out, fwd"),
    ("Policy(direction=1.0)", "Policy.direction: 1.0 is not one of in, out, fwd"),
    ("Policy(direction=[])", "Policy.direction: [] is not one of in, out, fwd"),
    ('Policy(direction=b"in")', "Policy.direction: b'in' is not one of in, out, fwd"),
    ('Policy(direction="in", action=Direction.OUT)', "Policy.action: Direction.OUT is not one of allow, block"),
    (
        'Policy(direction="in", priority=10**5000)',
        "Policy.priority: a huge int is not an integer from 0 to 4294967295",
    ),
    ('Policy("10.0.0.0/8", direction="in")', "Policy.selector: '10.0.0.0/8' is not a Selector"),
    ('Policy(direction="in", action="drop")', "Policy.action: 'drop' is not one of allow, block"),
    (
        'Policy(direction="in", priority=2**32)',
        "Policy.priority: 4294967296 is not an integer from 0 to 4294967295",
    ),
    ('Policy(direction="in", priority=-1)', "Policy.priority: -1 is not an integer from 0 to 4294967295"),
    ('Policy(direction="in", priority=1.0)', "Policy.priority: 1.0 is not an integer from 0 to 4294967295"),
    ('Policy(direction="in", index=9)', "Policy.index: 9 does not match direction in: index & 7 must be 0"),
    ('Policy(direction="out", index=2**32)', "Policy.index: 4294967296 is not an integer from 0 to 4294967295"),
    ('Policy(direction="in", templates=[Template()] * 7)', "Policy.templates: 7 templates, and 6 is the most"),
    ('Policy(direction="in", templates=["esp"])', "Policy.templates: 'esp' is not a Template"),
    ('Policy(direction="in", templates=5)', "Policy.templates: 5 is not an iterable of Template"),
    (
        'Policy(direction="in", templates=[LifetimeConfig()])',
        "Policy.templates: LifetimeConfig() is not a Template",
    ),
    ('Policy(direction="in", templates=None)', "Policy.templates: None is not an iterable of Template"),
    ('Policy(direction="in", templates="")', "Policy.templates: '' is not an iterable of Template"),
    (
        'Policy(direction="in", flags=OffloadFlag.PACKET)',
        "Policy.flags: OffloadFlag.PACKET is not one of localok, icmp, cpu_acquire",
    ),
    (
        'Policy(direction="in", flags=["icmp", "loud"])',
        "Policy.flags: 'loud' is not one of localok, icmp, cpu_acquire",
    ),
    ('Policy(direction="in", flags=[["icmp"]])', "Policy.flags: ['icmp'] is not one of localok, icmp, cpu_acquire"),
    ('Policy(direction="in", flags="loud")', "Policy.flags: 'loud' is not one of localok, icmp, cpu_acquire"),
    ('Policy(direction="in", flags=256)', "Policy.flags: 256 is not an integer from 0 to 255"),
    ('Policy(direction="in", share="some")', "Policy.share: 'some' is not one of any, session, user, unique"),
    ('Policy(direction="in", policy_type="any")', "Policy.policy_type: 'any' is not one of main, sub"),
    ('Policy(direction="in", mark=5)', "Policy.mark: 5 is not a Mark"),
    ('Policy(direction="in", if_id=2**32)', "Policy.if_id: 4294967296 is not an integer from 0 to 4294967295"),
    ('Policy(direction="in", if_id="1")', "Policy.if_id: '1' is not an integer from 0 to 4294967295"),
    ('Policy(direction="in", lifetime={})', "Policy.lifetime: {} is not a LifetimeConfig"),
    ('Policy(direction="in", current=0)', "Policy.current: 0 is not a LifetimeCurrent"),
    ('Policy(direction="in", security_context=7)', "Policy.security_context: 7 is not a SecurityContext"),
    ('Policy(direction="in", offload="eth0")', "Policy.offload: 'eth0' is not an Offload"),
    (
        'Policy(direction="in", attributes=Attribute(60, b""))',
        "Policy.attributes: Attribute(type=AttributeType(60), payload=b'') is not an iterable of Attribute",
    ),
    ('Policy(direction="in", attributes=0)', "Policy.attributes: 0 is not an iterable of Attribute"),
    ('Policy(direction="in", attributes=[(60, b"")])', "Policy.attributes: (60, b'') is not an Attribute"),
    ('PolicyId(direction="in")', "PolicyId: needs a selector or an index, one of the two"),
    ('PolicyId(Selector(), direction="in", index=8)', "PolicyId: needs a selector or an index, one of the two"),
    ('PolicyId(index=8, direction="out")', "PolicyId.index: 8 does not match direction out: index & 7 must be 1"),
    (
        "encode(Request(Message.DELPOLICY, None))",
        "Request: Request(message=Message.DELPOLICY, body=None) has no body of the kind that its message needs",
    ),
    ('session.spd.add("policy")', "policy: 'policy' is not a Policy"),
    ("session.spd.get()", "direction: is needed with a selector or an index"),
    ("session.spd.get(Selector())", "direction: is needed with a selector or an index"),
    ('session.spd.get("10.0.0.0/8", "in")', "which: '10.0.0.0/8' is not a Policy, PolicyId or Selector"),
    ('session.spd.get(Policy(direction="in"), "out")', "direction: is that of the Policy, and not given beside it"),
    (
        'session.spd.get(Policy(direction="in"), mark=Mark(5))',
        "mark: is that of the Policy, and not given beside it",
    ),
    (
        'session.spd.delete(Policy(direction="in").id, policy_type="sub")',
        "policy_type: is that of the PolicyId, and not given beside it",
    ),
    ("session.spd.delete(index=8)", "direction: is needed with a selector or an index"),
    ('session.spd.flush("any")', "policy_type: 'any' is not one of main, sub"),
    ('session.spd.load([Policy(direction="in"), "policy"])', "source[1]: 'policy' is not a Policy"),
    ("session.spd.load(iter([Selector()]))", "source[0]: Selector() is not a Policy"),
    (
        'session.spd.load(Policy(direction="in"))',
        "source: Policy(direction='in') is not an iterable of Policy",
    ),
    ("session.spd.load([], timeout=-1)", "timeout: -1 is not a number of seconds from 0, or None"),
    ('session.spd.load([], timeout=float("nan"))', "timeout: nan is not a number of seconds from 0, or None"),
    ("session.spd.load([], batch=True)", "batch: True is not an integer from 1 to 65536"),
    ("session.spd.load_batch_file(None)", "path: None is not a path"),
    ('session.spd.load_batch_file("a\\0b")', "path: 'a\\x00b' is not a path"),
    (
        'session.spd.load_batch_file("nosuch", on_error="ignore")',
        "on_error: 'ignore' is not raise, collect or rollback",
    ),
    ("session.spd.load(5)", "source: 5 is not an iterable of Policy"),
    ('session.spd.load([], operation="replace")', "operation: 'replace' is not add, update or delete"),
    ('session.spd.load([], on_error="ignore")', "on_error: 'ignore' is not raise, collect or rollback"),
    (
        'session.spd.load([], operation="update", on_error="rollback")',
        "on_error: 'rollback' is for operation 'add': nothing else can be taken back",
    ),
    ("session.spd.load([], batch=0)", "batch: 0 is not an integer from 1 to 65536"),
    ("session.spd.load([], progress=5)", "progress: 5 cannot be called"),
    (
        "Session(timeout=-1, transport=transport)",
        "Session.timeout: -1 is not a positive number of seconds, or None",
    ),
    (
        'Session(timeout="1", transport=transport)',
        "Session.timeout: '1' is not a positive number of seconds, or None",
    ),
    (
        'Session(timeout=float("inf"), transport=transport)',
        "Session.timeout: inf is not a positive number of seconds, or None",
    ),
    (
        "Session(timeout=True, transport=transport)",
        "Session.timeout: True is not a positive number of seconds, or None",
    ),
    ('Session("")', "Session.netns: '' is not a name, a path or a file descriptor"),
    ("Session(True)", "Session.netns: True is not a name, a path or a file descriptor"),
    ("Session(2**40)", "Session.netns: 1099511627776 is not an integer from 0 to 2147483647"),
    ('Session("a\\0b")', "Session.netns: 'a\\x00b' is not a name, a path or a file descriptor"),
    (
        'Session("no-such-namespace")',
        "Session.netns: 'no-such-namespace' is not a network namespace that can be opened: No such file or directory",
    ),
    ("Session(5.0)", "Session.netns: 5.0 is not a name, a path or a file descriptor"),
]
"""An expression, and the whole message of the ValidationError that it raises."""

LINES = [
    ("policy add", "policy: dir is missing"),
    ("xfrm", "line: a command is missing"),
    ("policy", "policy: add, update, delete or flush is missing"),
    ("route add 10.0.0.0/8", "line: 'route' is not policy: only policies are loaded here"),
    (
        "xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 1",
        "line: 'state' is not policy: only policies are loaded here",
    ),
    ("policy list", "policy: 'list' is not add, update, delete or flush"),
    ("policy add dir sideways", "dir: 'sideways' is not in, out or fwd"),
    ("policy add dir", "dir: has no value"),
    ("policy add action block", "policy: dir is missing"),
    ("policy add dir in dir out", "policy: 'dir' is given twice"),
    ("policy add dir in action drop", "action: 'drop' is not allow or block"),
    ("policy add dir in priority high", "priority: 'high' is not a number from 0 to 4294967295, decimal or 0x..."),
    (
        "policy add dir in priority 4294967296",
        "priority: '4294967296' is not a number from 0 to 4294967295, decimal or 0x...",
    ),
    ("policy add dir in priority -1", "priority: '-1' is not a number from 0 to 4294967295, decimal or 0x..."),
    ("policy add dir in priority 010", "priority: '010' is not a number from 0 to 4294967295, decimal or 0x..."),
    ("policy add dir in index 9", "index: does not match dir: index & 7 must be 0 for in, 1 for out, 2 for fwd"),
    ("policy add dir in index zero", "index: 'zero' is not a number from 0 to 4294967295, decimal or 0x..."),
    ("policy add dir in ptype other", "ptype: 'other' is not main or sub"),
    ("policy add dir in flag loud", "flag: 'loud' is not localok, icmp, cpu_acquire or a number"),
    ("policy add dir in flag 256", "flag: '256' is not a number from 0 to 255, decimal or 0x..."),
    ("policy add dir in mark", "mark: has no value"),
    ("policy add dir in mark x", "mark: 'x' is not a number from 0 to 4294967295, decimal or 0x..."),
    ("policy add dir in mark 1 mask", "mask: has no value"),
    (
        "policy add dir in mark 1 mask 0x100000000",
        "mask: '0x100000000' is not a number from 0 to 4294967295, decimal or 0x...",
    ),
    ("policy add dir in if_id one", "if_id: 'one' is not a number from 0 to 4294967295, decimal or 0x..."),
    ("policy add dir in limit", "limit: has no value"),
    ("policy add dir in limit byte-soft", "byte-soft: has no value"),
    (
        "policy add dir in limit byte-soft lots",
        "byte-soft: 'lots' is not a number from 0 to 18446744073709551615, decimal or 0x...",
    ),
    (
        "policy add dir in limit bytes 5",
        "limit: 'bytes' is not time-, time-use-, byte- or packet- with soft or hard",
    ),
    ("policy add dir in offload crypto dev lo", "offload: 'crypto' is not packet, the only offload of policies"),
    ("policy add dir in offload packet", "offload: dev and an interface must follow"),
    ("policy add dir in offload packet dev nosuch0", "offload dev: 'nosuch0' is not an interface"),
    ("policy add dir in nosuch 5", "policy: 'nosuch' is not known here"),
    ("policy add dir in src any", "src: 'any' is not an IP prefix"),
    (
        "policy add dir in src 10.0.0.0/33",
        "src: '10.0.0.0/33' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    ("policy add dir in src 10", "src: '10' is not an IP prefix"),
    ("policy add dir in src 10.0.0.256", "src: '10.0.0.256' is not an IP prefix"),
    (
        "policy add dir in src 10.0.0.0/255.0.255.0",
        "src: '10.0.0.0/255.0.255.0' has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)",
    ),
    ("policy add dir in src 10.0.0.0/8 dst ::/0", "dst: is of another address family than src"),
    ("policy add dir in src 10.0.0.0/8 src 11.0.0.0/8", "policy: 'src' is given twice"),
    ("policy add dir in dev nosuch0", "dev: 'nosuch0' is not an interface"),
    (
        "policy add dir in dev averyveryverylongname",
        "dev: 'averyveryverylongname' is not an interface name: 1 to 15 characters",
    ),
    ("policy add dir in proto nosuch", "proto: 'nosuch' is not an IP protocol"),
    ("policy add dir in proto 256", "proto: '256' is not a number from 0 to 255, decimal or 0x..."),
    (
        "policy add dir in proto icmp sport 80",
        "sport: only TCP, UDP, UDP-Lite, SCTP, DCCP or any protocol has ports",
    ),
    ("policy add dir in proto tcp sport 65536", "sport: '65536' is not a number from 0 to 65535, decimal or 0x..."),
    ("policy add dir in proto tcp type 8", "type: only ICMP, ICMPv6 and the mobility header have types and codes"),
    ("policy add dir in proto icmp type 256", "type: '256' is not a number from 0 to 255, decimal or 0x..."),
    ("policy add dir in proto tcp key 8", "key: only GRE has keys"),
    ("policy add dir in proto gre key 1.2.3", "key: '1.2.3' is not a number from 0 to 4294967295 or a dotted quad"),
    ("policy add dir in tmpl", "tmpl: proto is missing"),
    ("policy add dir in tmpl src 10.0.0.1 dst 10.0.0.2 mode tunnel", "tmpl: proto is missing"),
    ("policy add dir in tmpl proto tcp", "tmpl proto: 'tcp' is not esp, ah, comp, route2, hao or ipsec-any"),
    (
        "policy add dir in tmpl proto esp mode tunel",
        "tmpl mode: 'tunel' is not transport, tunnel, beet, iptfs, ro or in_trigger",
    ),
    ("policy add dir in tmpl proto esp level maybe", "tmpl level: 'maybe' is not required or use"),
    (
        "policy add dir in tmpl proto esp reqid x",
        "tmpl reqid: 'x' is not a number from 0 to 4294967295, decimal or 0x...",
    ),
    (
        "policy add dir in tmpl proto esp spi 0x100000000",
        "tmpl spi: '0x100000000' is not a number from 0 to 4294967295, decimal or 0x...",
    ),
    ("policy add dir in tmpl proto esp src 10.0.0.0/8", "tmpl src: '10.0.0.0/8' is not an IP address"),
    (
        "policy add dir in tmpl proto esp src 10.0.0.1 dst ::1",
        "tmpl dst: is of another address family than tmpl src",
    ),
    ("policy add dir in tmpl proto esp proto ah", "tmpl: 'proto' is given twice"),
    (
        "policy add dir in tmpl proto esp tmpl proto esp tmpl proto esp tmpl proto esp tmpl proto esp tmpl proto esp tmpl proto esp",
        "tmpl: more than 6 templates (XFRM_MAX_DEPTH)",
    ),
    ("policy add dir in ctx 'a b", "line: a quote is not closed"),
    ('policy add dir in ctx "a # b"', "line: a quote is not closed"),
    ("policy add dir in ctx a\0b", "ctx: a NUL is in it"),
    ("policy add dir in ctx " + "x" * 4096, "ctx: longer than 4095 bytes"),
    ("policy add dir in src 10.0.0.1\0", "src: '10.0.0.1?' is not an IP prefix"),
    ("policy add dir in src fe80::1%lo", "src: 'fe80::1%lo' is not an IP prefix"),
    ("policy add dir in src 010.0.0.1", "src: '010.0.0.1' is not an IP prefix"),
    ("policy add dir \u00efn", "dir: '??n' is not in, out or fwd"),
    ("policy add dir IN", "dir: 'IN' is not in, out or fwd"),
    ("policy add dir in \\\n  priority x", "priority: 'x' is not a number from 0 to 4294967295, decimal or 0x..."),
    ("policy add \\\r\n  dir x\r", "dir: 'x' is not in, out or fwd"),
    ("policy delete dir out", "policy delete: needs a selector or an index, one of the two"),
    ("policy delete dir out index 9 src 10.0.0.0/8", "policy delete: needs a selector or an index, one of the two"),
    ("policy delete dir out index 0", "index: 0 is no policy's"),
    ("policy delete index 9", "policy: dir is missing"),
    ("policy delete dir out src 10.0.0.0/8 priority 5", "policy: 'priority' is not known here"),
    ("policy flush ptype any", "ptype: 'any' is not main or sub"),
    ("policy flush dir in", "policy: 'dir' is not known here"),
    ("policy add dir in \\", "line: ends with a backslash, and no line follows"),
]
"""A line of a batch file, and what is wrong with it."""


def never(message: bytes) -> None:
    raise AssertionError(f"sent {message.hex()}")


@pytest.mark.parametrize(("expression", "message"), VALUES, ids=[expression for expression, _ in VALUES])
def test_value(expression: str, message: str) -> None:
    transport = FakeTransport(never)
    names = {
        **PUBLIC,
        "session": Session(transport=transport),
        "transport": transport,
        "encode": select().encode,
        "ipaddress": ipaddress,
    }
    with pytest.raises(ValidationError) as caught:
        eval(expression, names)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)
    assert message.startswith(caught.value.field + ": ")
    assert message.endswith(caught.value.rule)
    assert transport.sent == []
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.field, copy.value, copy.rule) == (
        message,
        caught.value.field,
        caught.value.value,
        caught.value.rule,
    )


@pytest.mark.parametrize(("line", "reason"), LINES, ids=[line[:60] for line, _ in LINES])
def test_line(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "policies"
    end = "" if line.endswith("\\") else "\npolicy add dir in\n"
    text = f"# what is right before and behind it is not sent either\npolicy add dir in\n{line}{end}"
    path.write_bytes(text.encode())  # as it is, CRs too
    transport = FakeTransport(never, {"lo": 1})
    with pytest.raises(BatchFileError) as caught:
        Session(transport=transport).spd.load_batch_file(path)
    assert str(caught.value) == f"{path}:3: {reason}"
    assert (caught.value.path, caught.value.line, caught.value.reason) == (str(path), 3, reason)
    assert isinstance(caught.value, ValidationError)
    assert transport.sent == []
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.line) == (str(caught.value), 3)


def test_there_are_many() -> None:
    assert len(dict(VALUES)) == len(VALUES) >= 150
    assert len(dict(LINES)) == len(LINES) >= 70

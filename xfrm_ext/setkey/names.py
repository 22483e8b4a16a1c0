# SPDX-License-Identifier: MIT
"""setkey's words with what they are in XFRM, and those that are nothing there."""

from __future__ import annotations

from typing import Final

from xfrm_ext.constants import Direction, Protocol

PROTOCOLS: Final = {"esp": Protocol.ESP, "ah": Protocol.AH, "ipcomp": Protocol.COMP}
"""Of templates; of states besides: esp-udp."""
DIRECTIONS: Final = {"in": Direction.IN, "out": Direction.OUT, "fwd": Direction.FWD}

# Of several names for one thing, the first is written.
ENCRYPTION: Final = {
    "des-cbc": "cbc(des)",
    "3des-cbc": "cbc(des3_ede)",
    "blowfish-cbc": "cbc(blowfish)",
    "cast128-cbc": "cbc(cast5)",
    "aes-cbc": "cbc(aes)",
    "rijndael-cbc": "cbc(aes)",
    "aes-ctr": "rfc3686(ctr(aes))",
    "camellia-cbc": "cbc(camellia)",
    "twofish-cbc": "cbc(twofish)",
    "null": "ecb(cipher_null)",
    "simple": "ecb(cipher_null)",
}
AEAD: Final = {
    "aes-gcm-16": "rfc4106(gcm(aes))",
    "aes-gmac": "rfc4543(gcm(aes))",
    "chacha20-poly1305": "rfc7539esp(chacha20,poly1305)",
}
"""Given with -E too. Their check value has 128 bits."""
AEAD_ICV_BITS: Final = 128
AUTHENTICATION: Final = {
    "hmac-md5": "hmac(md5)",
    "hmac-sha1": "hmac(sha1)",
    "hmac-sha2-256": "hmac(sha256)",
    "hmac-sha256": "hmac(sha256)",
    "hmac-sha2-384": "hmac(sha384)",
    "hmac-sha384": "hmac(sha384)",
    "hmac-sha2-512": "hmac(sha512)",
    "hmac-sha512": "hmac(sha512)",
    "hmac-ripemd160": "hmac(rmd160)",
    "aes-xcbc-mac": "xcbc(aes)",
    "null": "digest_null",
}
COMPRESSION: Final = {"deflate": "deflate", "lzs": "lzs"}

ICV_BITS: Final = {
    "hmac(md5)": 96,
    "hmac(sha1)": 96,
    "hmac(sha384)": 192,
    "hmac(sha512)": 256,
    "hmac(rmd160)": 96,
    "xcbc(aes)": 96,
    "digest_null": 0,
}
"""Of check values, as the kernel takes them for setkey, which can't say (icv_truncbits of net/xfrm/xfrm_algo.c).
That of hmac(sha256) is an argument."""
SHA256_ICV_BITS: Final = 96
"""setkey's manual and the kernel have the 96 bits of draft-ietf-ipsec-ciph-sha-256-00; RFC 4868 has 128."""

LOWEST_UNIQUE_REQID: Final = 0x4000
"""The first request id that the kernel takes for "unique" (IPSEC_MANUAL_REQID_MAX + 1)."""

# Priorities: the kernel's numbers, where the lowest wins; setkey's offsets count the other way (libpfkey.h).
PRIORITIES: Final = {"low": 0xC0000000, "def": 0x80000000, "high": 0x40000000}
DEFAULT_PRIORITY: Final = PRIORITIES["def"]

REFUSED: Final = {
    # protocols
    "esp-old": "esp-old (RFC 1827) is no protocol of XFRM",
    "ah-old": "ah-old (RFC 1826) is no protocol of XFRM",
    "tcp": "tcp: signatures of TCP (RFC 2385) are no states of XFRM, but an option of sockets (TCP_MD5SIG)",
    # algorithms
    "des-deriv": "des-deriv is no algorithm of XFRM",
    "3des-deriv": "3des-deriv is no algorithm of XFRM",
    "des-32iv": "des-32iv is no algorithm of XFRM",
    "keyed-md5": "keyed-md5 (RFC 1828) is no algorithm of XFRM",
    "keyed-sha1": "keyed-sha1 is no algorithm of XFRM",
    "tcp-md5": "tcp-md5: signatures of TCP (RFC 2385) are no states of XFRM, but an option of sockets (TCP_MD5SIG)",
    "oui": "oui is no algorithm of XFRM",
    # extensions
    "zero-pad": "zero-pad: XFRM pads with 1, 2, 3, ... (seq-pad) only",
    "random-pad": "random-pad: XFRM pads with 1, 2, 3, ... (seq-pad) only",
    "cyclic-seq": "cyclic-seq is nothing that setkey can ask XFRM for",
    "esn": "esn is nothing that ipsec-tools knows: extended sequence numbers need another format",
    # policies
    "tagged": "tagged: tags of the packet filter PF are nothing in XFRM",
    "spdadd_tagged": "spdadd_tagged: tags of the packet filter PF are nothing in XFRM",
    "bypass": "bypass is for policies of sockets (ipsec_set_policy)",
    "entrust": "entrust is for policies of sockets (ipsec_set_policy)",
}
"""Words of setkey's language, or of its relatives', with why there is no request for them."""

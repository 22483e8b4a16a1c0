/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_UAPI_H
#define XFRM_EXT_UAPI_H

/* The kernel's XFRM ABI as this project knows it: constants and structures of the newest UAPI, independent
 * of the build host's headers. Never include <linux/xfrm.h> beside this; uapi_check.c compares the two. */

#include <stddef.h>
#include <stdint.h>

#define X(name, value) enum { name = value };
#include "constants.def"
#undef X

/* IPv4 in the first four bytes, the rest zero (never the v4-mapped form); the family lives elsewhere. */
typedef union {
	uint32_t a4;
	uint32_t a6[4];
	uint8_t bytes[16];
} xfrm_address_t;

struct xfrm_id {
	xfrm_address_t daddr;
	uint32_t spi; /* big-endian */
	uint8_t proto;
};

struct xfrm_selector {
	xfrm_address_t daddr;
	xfrm_address_t saddr;
	uint16_t dport; /* ports and their masks: big-endian */
	uint16_t dport_mask;
	uint16_t sport;
	uint16_t sport_mask;
	uint16_t family;
	uint8_t prefixlen_d;
	uint8_t prefixlen_s;
	uint8_t proto;
	int ifindex;
	uint32_t user;
};

struct xfrm_lifetime_cfg {
	uint64_t soft_byte_limit;
	uint64_t hard_byte_limit;
	uint64_t soft_packet_limit;
	uint64_t hard_packet_limit;
	uint64_t soft_add_expires_seconds;
	uint64_t hard_add_expires_seconds;
	uint64_t soft_use_expires_seconds;
	uint64_t hard_use_expires_seconds;
};

struct xfrm_lifetime_cur {
	uint64_t bytes;
	uint64_t packets;
	uint64_t add_time;
	uint64_t use_time;
};

struct xfrm_user_tmpl {
	struct xfrm_id id;
	uint16_t family;
	xfrm_address_t saddr;
	uint32_t reqid;
	uint8_t mode;
	uint8_t share;
	uint8_t optional;
	uint32_t aalgos;
	uint32_t ealgos;
	uint32_t calgos;
};

struct xfrm_mark {
	uint32_t v;
	uint32_t m;
};

struct xfrm_user_sec_ctx {
	uint16_t len;
	uint16_t exttype;
	uint8_t ctx_alg;
	uint8_t ctx_doi;
	uint16_t ctx_len;
};

struct xfrm_user_offload {
	int ifindex;
	uint8_t flags;
};

struct xfrm_userpolicy_type {
	uint8_t type;
	uint16_t reserved1;
	uint8_t reserved2;
};

struct xfrm_userpolicy_info {
	struct xfrm_selector sel;
	struct xfrm_lifetime_cfg lft;
	struct xfrm_lifetime_cur curlft;
	uint32_t priority;
	uint32_t index;
	uint8_t dir;
	uint8_t action;
	uint8_t flags;
	uint8_t share;
};

struct xfrm_userpolicy_id {
	struct xfrm_selector sel;
	uint32_t index;
	uint8_t dir;
};

struct xfrmu_spdinfo {
	uint32_t incnt;
	uint32_t outcnt;
	uint32_t fwdcnt;
	uint32_t inscnt;
	uint32_t outscnt;
	uint32_t fwdscnt;
};

struct xfrmu_spdhinfo {
	uint32_t spdhcnt;
	uint32_t spdhmcnt;
};

struct xfrmu_spdhthresh {
	uint8_t lbits;
	uint8_t rbits;
};

/* The sizes and offsets of the 64-bit ABI. A 32-bit process has another one, which this project refuses. */
#define XFRM_ASSERT_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
#define XFRM_ASSERT_OFFSET(type, field, offset) \
	_Static_assert(offsetof(struct type, field) == (offset), #type "." #field)
_Static_assert(sizeof(xfrm_address_t) == 16, "xfrm_address_t");
XFRM_ASSERT_SIZE(xfrm_id, 24);
XFRM_ASSERT_OFFSET(xfrm_id, spi, 16);
XFRM_ASSERT_OFFSET(xfrm_id, proto, 20);
XFRM_ASSERT_SIZE(xfrm_selector, 56);
XFRM_ASSERT_OFFSET(xfrm_selector, saddr, 16);
XFRM_ASSERT_OFFSET(xfrm_selector, dport, 32);
XFRM_ASSERT_OFFSET(xfrm_selector, dport_mask, 34);
XFRM_ASSERT_OFFSET(xfrm_selector, sport, 36);
XFRM_ASSERT_OFFSET(xfrm_selector, sport_mask, 38);
XFRM_ASSERT_OFFSET(xfrm_selector, family, 40);
XFRM_ASSERT_OFFSET(xfrm_selector, prefixlen_d, 42);
XFRM_ASSERT_OFFSET(xfrm_selector, prefixlen_s, 43);
XFRM_ASSERT_OFFSET(xfrm_selector, proto, 44);
XFRM_ASSERT_OFFSET(xfrm_selector, ifindex, 48);
XFRM_ASSERT_OFFSET(xfrm_selector, user, 52);
XFRM_ASSERT_SIZE(xfrm_lifetime_cfg, 64);
XFRM_ASSERT_SIZE(xfrm_lifetime_cur, 32);
XFRM_ASSERT_SIZE(xfrm_user_tmpl, 64);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, family, 24);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, saddr, 28);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, reqid, 44);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, mode, 48);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, share, 49);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, optional, 50);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, aalgos, 52);
XFRM_ASSERT_OFFSET(xfrm_user_tmpl, calgos, 60);
XFRM_ASSERT_SIZE(xfrm_mark, 8);
XFRM_ASSERT_SIZE(xfrm_user_sec_ctx, 8);
XFRM_ASSERT_SIZE(xfrm_user_offload, 8);
XFRM_ASSERT_SIZE(xfrm_userpolicy_type, 6);
XFRM_ASSERT_SIZE(xfrm_userpolicy_info, 168);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, lft, 56);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, curlft, 120);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, priority, 152);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, index, 156);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, dir, 160);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, action, 161);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, flags, 162);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_info, share, 163);
XFRM_ASSERT_SIZE(xfrm_userpolicy_id, 64);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_id, index, 56);
XFRM_ASSERT_OFFSET(xfrm_userpolicy_id, dir, 60);
XFRM_ASSERT_SIZE(xfrmu_spdinfo, 24);
XFRM_ASSERT_SIZE(xfrmu_spdhinfo, 8);
XFRM_ASSERT_SIZE(xfrmu_spdhthresh, 2);

#endif

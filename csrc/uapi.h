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

struct xfrm_stats {
	uint32_t replay_window;
	uint32_t replay;
	uint32_t integrity_failed;
};

struct xfrm_usersa_info {
	struct xfrm_selector sel;
	struct xfrm_id id;
	xfrm_address_t saddr;
	struct xfrm_lifetime_cfg lft;
	struct xfrm_lifetime_cur curlft;
	struct xfrm_stats stats;
	uint32_t seq;
	uint32_t reqid;
	uint16_t family;
	uint8_t mode;
	uint8_t replay_window;
	uint8_t flags;
};

struct xfrm_usersa_id {
	xfrm_address_t daddr;
	uint32_t spi; /* big-endian */
	uint16_t family;
	uint8_t proto;
};

struct xfrm_usersa_flush {
	uint8_t proto;
};

struct xfrm_userspi_info {
	struct xfrm_usersa_info info;
	uint32_t min;
	uint32_t max;
};

struct xfrm_user_expire {
	struct xfrm_usersa_info state;
	uint8_t hard;
};

struct xfrm_user_polexpire {
	struct xfrm_userpolicy_info pol;
	uint8_t hard;
};

struct xfrm_user_acquire {
	struct xfrm_id id;
	xfrm_address_t saddr;
	struct xfrm_selector sel;
	struct xfrm_userpolicy_info policy;
	uint32_t aalgos;
	uint32_t ealgos;
	uint32_t calgos;
	uint32_t seq;
};

struct xfrm_aevent_id {
	struct xfrm_usersa_id sa_id;
	xfrm_address_t saddr;
	uint32_t flags;
	uint32_t reqid;
};

struct xfrm_user_report {
	uint8_t proto;
	struct xfrm_selector sel;
};

struct xfrm_user_mapping {
	struct xfrm_usersa_id id;
	uint32_t reqid;
	xfrm_address_t old_saddr;
	xfrm_address_t new_saddr;
	uint16_t old_sport; /* big-endian */
	uint16_t new_sport;
};

struct xfrm_user_migrate {
	xfrm_address_t old_daddr;
	xfrm_address_t old_saddr;
	xfrm_address_t new_daddr;
	xfrm_address_t new_saddr;
	uint8_t proto;
	uint8_t mode;
	uint16_t reserved;
	uint32_t reqid;
	uint16_t old_family;
	uint16_t new_family;
};

struct xfrm_user_migrate_state {
	struct xfrm_usersa_id id;
	xfrm_address_t new_daddr;
	xfrm_address_t new_saddr;
	struct xfrm_mark old_mark;
	struct xfrm_selector new_sel;
	uint32_t new_reqid;
	uint32_t flags;
	uint16_t new_family;
	uint16_t reserved;
};

struct xfrm_user_kmaddress {
	xfrm_address_t local;
	xfrm_address_t remote;
	uint32_t reserved;
	uint16_t family;
};

struct xfrm_userpolicy_default {
	uint8_t in;
	uint8_t fwd;
	uint8_t out;
};

struct xfrm_algo {
	char alg_name[64];
	uint32_t alg_key_len; /* bits */
};

struct xfrm_algo_auth {
	char alg_name[64];
	uint32_t alg_key_len;   /* bits */
	uint32_t alg_trunc_len; /* bits */
};

struct xfrm_algo_aead {
	char alg_name[64];
	uint32_t alg_key_len; /* bits */
	uint32_t alg_icv_len; /* bits */
};

struct xfrm_encap_tmpl {
	uint16_t encap_type;
	uint16_t encap_sport; /* big-endian */
	uint16_t encap_dport;
	xfrm_address_t encap_oa;
};

struct xfrm_replay_state {
	uint32_t oseq;
	uint32_t seq;
	uint32_t bitmap;
};

struct xfrm_replay_state_esn {
	uint32_t bmp_len; /* words */
	uint32_t oseq;
	uint32_t seq;
	uint32_t oseq_hi;
	uint32_t seq_hi;
	uint32_t replay_window;
};

struct xfrm_address_filter {
	xfrm_address_t saddr;
	xfrm_address_t daddr;
	uint16_t family;
	uint8_t splen;
	uint8_t dplen;
};

struct xfrmu_sadhinfo {
	uint32_t sadhcnt;
	uint32_t sadhmcnt;
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
XFRM_ASSERT_SIZE(xfrm_stats, 12);
XFRM_ASSERT_SIZE(xfrm_usersa_info, 224);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, id, 56);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, saddr, 80);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, lft, 96);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, curlft, 160);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, stats, 192);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, seq, 204);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, reqid, 208);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, family, 212);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, mode, 214);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, replay_window, 215);
XFRM_ASSERT_OFFSET(xfrm_usersa_info, flags, 216);
XFRM_ASSERT_SIZE(xfrm_usersa_id, 24);
XFRM_ASSERT_OFFSET(xfrm_usersa_id, spi, 16);
XFRM_ASSERT_OFFSET(xfrm_usersa_id, family, 20);
XFRM_ASSERT_OFFSET(xfrm_usersa_id, proto, 22);
XFRM_ASSERT_SIZE(xfrm_usersa_flush, 1);
XFRM_ASSERT_SIZE(xfrm_userspi_info, 232);
XFRM_ASSERT_OFFSET(xfrm_userspi_info, min, 224);
XFRM_ASSERT_SIZE(xfrm_user_expire, 232);
XFRM_ASSERT_OFFSET(xfrm_user_expire, hard, 224);
XFRM_ASSERT_SIZE(xfrm_user_polexpire, 176);
XFRM_ASSERT_OFFSET(xfrm_user_polexpire, hard, 168);
XFRM_ASSERT_SIZE(xfrm_user_acquire, 280);
XFRM_ASSERT_OFFSET(xfrm_user_acquire, saddr, 24);
XFRM_ASSERT_OFFSET(xfrm_user_acquire, sel, 40);
XFRM_ASSERT_OFFSET(xfrm_user_acquire, policy, 96);
XFRM_ASSERT_OFFSET(xfrm_user_acquire, aalgos, 264);
XFRM_ASSERT_OFFSET(xfrm_user_acquire, seq, 276);
XFRM_ASSERT_SIZE(xfrm_aevent_id, 48);
XFRM_ASSERT_OFFSET(xfrm_aevent_id, saddr, 24);
XFRM_ASSERT_OFFSET(xfrm_aevent_id, flags, 40);
XFRM_ASSERT_OFFSET(xfrm_aevent_id, reqid, 44);
XFRM_ASSERT_SIZE(xfrm_user_report, 60);
XFRM_ASSERT_OFFSET(xfrm_user_report, sel, 4);
XFRM_ASSERT_SIZE(xfrm_user_mapping, 64);
XFRM_ASSERT_OFFSET(xfrm_user_mapping, reqid, 24);
XFRM_ASSERT_OFFSET(xfrm_user_mapping, old_saddr, 28);
XFRM_ASSERT_OFFSET(xfrm_user_mapping, new_saddr, 44);
XFRM_ASSERT_OFFSET(xfrm_user_mapping, old_sport, 60);
XFRM_ASSERT_SIZE(xfrm_user_migrate, 76);
XFRM_ASSERT_OFFSET(xfrm_user_migrate, proto, 64);
XFRM_ASSERT_OFFSET(xfrm_user_migrate, mode, 65);
XFRM_ASSERT_OFFSET(xfrm_user_migrate, reqid, 68);
XFRM_ASSERT_OFFSET(xfrm_user_migrate, old_family, 72);
XFRM_ASSERT_SIZE(xfrm_user_migrate_state, 132);
XFRM_ASSERT_OFFSET(xfrm_user_migrate_state, new_daddr, 24);
XFRM_ASSERT_OFFSET(xfrm_user_migrate_state, new_saddr, 40);
XFRM_ASSERT_OFFSET(xfrm_user_migrate_state, old_mark, 56);
XFRM_ASSERT_OFFSET(xfrm_user_migrate_state, new_sel, 64);
XFRM_ASSERT_OFFSET(xfrm_user_migrate_state, new_reqid, 120);
XFRM_ASSERT_OFFSET(xfrm_user_migrate_state, flags, 124);
XFRM_ASSERT_OFFSET(xfrm_user_migrate_state, new_family, 128);
XFRM_ASSERT_SIZE(xfrm_user_kmaddress, 40);
XFRM_ASSERT_OFFSET(xfrm_user_kmaddress, family, 36);
XFRM_ASSERT_SIZE(xfrm_userpolicy_default, 3);
XFRM_ASSERT_SIZE(xfrm_algo, 68);
XFRM_ASSERT_SIZE(xfrm_algo_auth, 72);
XFRM_ASSERT_SIZE(xfrm_algo_aead, 72);
XFRM_ASSERT_SIZE(xfrm_encap_tmpl, 24);
XFRM_ASSERT_OFFSET(xfrm_encap_tmpl, encap_oa, 8);
XFRM_ASSERT_SIZE(xfrm_replay_state, 12);
XFRM_ASSERT_SIZE(xfrm_replay_state_esn, 24);
XFRM_ASSERT_SIZE(xfrm_address_filter, 36);
XFRM_ASSERT_SIZE(xfrmu_sadhinfo, 8);
XFRM_ASSERT_SIZE(xfrmu_spdinfo, 24);
XFRM_ASSERT_SIZE(xfrmu_spdhinfo, 8);
XFRM_ASSERT_SIZE(xfrmu_spdhthresh, 2);

#endif

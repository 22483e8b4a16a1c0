/* SPDX-License-Identifier: MIT */
/* Compiles only if uapi.h agrees with the build host's <linux/xfrm.h> about everything that header has.
 *
 * The host's header is included inside a function, where its declarations shadow ours: a name means the
 * host's where the host has it, and ours (so that the check is trivially true) where the host is too old. */

#include <linux/in6.h>
#include <linux/types.h>

#include "uapi.h"

#define STRUCTURES(S, F) \
	S(xfrm_id) F(xfrm_id, spi) F(xfrm_id, proto) \
	S(xfrm_selector) F(xfrm_selector, saddr) F(xfrm_selector, dport) F(xfrm_selector, dport_mask) \
	F(xfrm_selector, sport) F(xfrm_selector, sport_mask) F(xfrm_selector, family) \
	F(xfrm_selector, prefixlen_d) F(xfrm_selector, prefixlen_s) F(xfrm_selector, proto) \
	F(xfrm_selector, ifindex) F(xfrm_selector, user) \
	S(xfrm_lifetime_cfg) F(xfrm_lifetime_cfg, hard_byte_limit) F(xfrm_lifetime_cfg, soft_packet_limit) \
	F(xfrm_lifetime_cfg, hard_packet_limit) F(xfrm_lifetime_cfg, soft_add_expires_seconds) \
	F(xfrm_lifetime_cfg, hard_add_expires_seconds) F(xfrm_lifetime_cfg, soft_use_expires_seconds) \
	F(xfrm_lifetime_cfg, hard_use_expires_seconds) \
	S(xfrm_lifetime_cur) F(xfrm_lifetime_cur, packets) F(xfrm_lifetime_cur, add_time) \
	F(xfrm_lifetime_cur, use_time) \
	S(xfrm_user_tmpl) F(xfrm_user_tmpl, family) F(xfrm_user_tmpl, saddr) F(xfrm_user_tmpl, reqid) \
	F(xfrm_user_tmpl, mode) F(xfrm_user_tmpl, share) F(xfrm_user_tmpl, optional) \
	F(xfrm_user_tmpl, aalgos) F(xfrm_user_tmpl, ealgos) F(xfrm_user_tmpl, calgos) \
	S(xfrm_mark) F(xfrm_mark, m) \
	S(xfrm_user_sec_ctx) F(xfrm_user_sec_ctx, exttype) F(xfrm_user_sec_ctx, ctx_alg) \
	F(xfrm_user_sec_ctx, ctx_doi) F(xfrm_user_sec_ctx, ctx_len) \
	S(xfrm_user_offload) F(xfrm_user_offload, flags) \
	S(xfrm_userpolicy_type) \
	S(xfrm_userpolicy_info) F(xfrm_userpolicy_info, lft) F(xfrm_userpolicy_info, curlft) \
	F(xfrm_userpolicy_info, priority) F(xfrm_userpolicy_info, index) F(xfrm_userpolicy_info, dir) \
	F(xfrm_userpolicy_info, action) F(xfrm_userpolicy_info, flags) F(xfrm_userpolicy_info, share) \
	S(xfrm_userpolicy_id) F(xfrm_userpolicy_id, index) F(xfrm_userpolicy_id, dir) \
	S(xfrmu_spdinfo) F(xfrmu_spdinfo, outcnt) F(xfrmu_spdinfo, fwdcnt) F(xfrmu_spdinfo, inscnt) \
	F(xfrmu_spdinfo, outscnt) F(xfrmu_spdinfo, fwdscnt) \
	S(xfrmu_spdhinfo) F(xfrmu_spdhinfo, spdhmcnt) \
	S(xfrmu_spdhthresh) F(xfrmu_spdhthresh, rbits)

#define OUR_SIZE(type) our_size_##type = sizeof(struct type),
#define OUR_OFFSET(type, field) our_offset_##type##_##field = offsetof(struct type, field),
enum { STRUCTURES(OUR_SIZE, OUR_OFFSET) };

#undef XFRM_INF /* the one name that the host's header defines as another macro text */

void xfrm_uapi_check(void);

void xfrm_uapi_check(void)
{
#include <linux/xfrm.h>
#define SAME_SIZE(type) _Static_assert(sizeof(struct type) == our_size_##type, #type);
#define SAME_OFFSET(type, field) \
	_Static_assert(offsetof(struct type, field) == our_offset_##type##_##field, #type "." #field);
	STRUCTURES(SAME_SIZE, SAME_OFFSET)
#define X(name, value) _Static_assert((name) == (value), #name);
#include "constants.def"
#undef X
}

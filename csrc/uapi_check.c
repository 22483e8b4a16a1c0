/* SPDX-License-Identifier: MIT */
/* Compiles only if uapi.h agrees with the build host's <linux/xfrm.h>, and <linux/if_link.h>, about everything
 * that those have.
 *
 * The host's headers are included inside a function, where their declarations shadow ours: a name means the
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
	S(xfrm_stats) F(xfrm_stats, replay) F(xfrm_stats, integrity_failed) \
	S(xfrm_usersa_info) F(xfrm_usersa_info, id) F(xfrm_usersa_info, saddr) F(xfrm_usersa_info, lft) \
	F(xfrm_usersa_info, curlft) F(xfrm_usersa_info, stats) F(xfrm_usersa_info, seq) \
	F(xfrm_usersa_info, reqid) F(xfrm_usersa_info, family) F(xfrm_usersa_info, mode) \
	F(xfrm_usersa_info, replay_window) F(xfrm_usersa_info, flags) \
	S(xfrm_usersa_id) F(xfrm_usersa_id, spi) F(xfrm_usersa_id, family) F(xfrm_usersa_id, proto) \
	S(xfrm_usersa_flush) S(xfrm_userspi_info) F(xfrm_userspi_info, min) F(xfrm_userspi_info, max) \
	S(xfrm_user_expire) F(xfrm_user_expire, hard) S(xfrm_user_polexpire) F(xfrm_user_polexpire, hard) \
	S(xfrm_user_acquire) F(xfrm_user_acquire, saddr) F(xfrm_user_acquire, sel) \
	F(xfrm_user_acquire, policy) F(xfrm_user_acquire, aalgos) F(xfrm_user_acquire, ealgos) \
	F(xfrm_user_acquire, calgos) F(xfrm_user_acquire, seq) \
	S(xfrm_aevent_id) F(xfrm_aevent_id, saddr) F(xfrm_aevent_id, flags) F(xfrm_aevent_id, reqid) \
	S(xfrm_user_report) F(xfrm_user_report, sel) \
	S(xfrm_user_mapping) F(xfrm_user_mapping, reqid) F(xfrm_user_mapping, old_saddr) \
	F(xfrm_user_mapping, new_saddr) F(xfrm_user_mapping, old_sport) F(xfrm_user_mapping, new_sport) \
	S(xfrm_user_migrate) F(xfrm_user_migrate, old_saddr) F(xfrm_user_migrate, new_daddr) \
	F(xfrm_user_migrate, new_saddr) F(xfrm_user_migrate, proto) F(xfrm_user_migrate, mode) \
	F(xfrm_user_migrate, reqid) F(xfrm_user_migrate, old_family) F(xfrm_user_migrate, new_family) \
	S(xfrm_user_kmaddress) F(xfrm_user_kmaddress, remote) F(xfrm_user_kmaddress, family) \
	S(xfrm_userpolicy_default) F(xfrm_userpolicy_default, fwd) F(xfrm_userpolicy_default, out) \
	S(xfrm_algo) F(xfrm_algo, alg_key_len) S(xfrm_algo_auth) F(xfrm_algo_auth, alg_trunc_len) \
	S(xfrm_algo_aead) F(xfrm_algo_aead, alg_icv_len) \
	S(xfrm_encap_tmpl) F(xfrm_encap_tmpl, encap_sport) F(xfrm_encap_tmpl, encap_dport) \
	F(xfrm_encap_tmpl, encap_oa) \
	S(xfrm_replay_state) F(xfrm_replay_state, seq) F(xfrm_replay_state, bitmap) \
	S(xfrm_replay_state_esn) F(xfrm_replay_state_esn, seq) F(xfrm_replay_state_esn, oseq_hi) \
	F(xfrm_replay_state_esn, seq_hi) F(xfrm_replay_state_esn, replay_window) \
	S(xfrm_address_filter) F(xfrm_address_filter, daddr) F(xfrm_address_filter, family) \
	F(xfrm_address_filter, splen) F(xfrm_address_filter, dplen) \
	S(xfrmu_sadhinfo) F(xfrmu_sadhinfo, sadhmcnt) \
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
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#define SAME_SIZE(type) _Static_assert(sizeof(struct type) == our_size_##type, #type);
#define SAME_OFFSET(type, field) \
	_Static_assert(offsetof(struct type, field) == our_offset_##type##_##field, #type "." #field);
	STRUCTURES(SAME_SIZE, SAME_OFFSET)
#define X(name, value) _Static_assert((name) == (value), #name);
#include "constants.def"
#undef X
}

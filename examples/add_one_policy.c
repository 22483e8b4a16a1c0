/* SPDX-License-Identifier: MIT */
/* The same in C, over the shim that the Python package is built on: rtnl_open_byproto and rtnl_talk.
 *
 *   cc -std=gnu11 -Icsrc -Ixfrm_ext examples/add_one_policy.c csrc/rtnl.c csrc/message.c -o add_one_policy -pthread
 *   unshare -rn sh -c './add_one_policy && ip xfrm policy list'
 */

#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "message.h"
#include "rtnl.h"
#include "uapi.h"

int main(void)
{
	struct xfrm_userpolicy_info policy = {
		.sel.family = AF_INET,
		.lft = {.soft_byte_limit = UINT64_MAX, .hard_byte_limit = UINT64_MAX,
			.soft_packet_limit = UINT64_MAX, .hard_packet_limit = UINT64_MAX},
		.dir = XFRM_POLICY_IN,
		.action = XFRM_POLICY_ALLOW,
	};
	_Alignas(struct nlmsghdr) uint8_t buffer[256];
	struct rtnl_outcome outcome;
	struct rtnl_handle handle;
	struct message message;
	int err;

	err = rtnl_open_byproto(&handle, 0, NETLINK_XFRM);
	if (err) {
		fprintf(stderr, "cannot open a netlink socket: %s\n", strerror(-err));
		return 1;
	}
	message_begin(&message, buffer, sizeof(buffer), XFRM_MSG_NEWPOLICY, NLM_F_REQUEST, &policy, sizeof(policy));
	message_end(&message);
	err = rtnl_talk(&handle, (struct nlmsghdr *)buffer, NULL, 0, &outcome, -1);
	if (err)
		fprintf(stderr, "the policy was not added: %s %s\n", strerror(-err), outcome.text);
	rtnl_close(&handle);
	return err != 0;
}

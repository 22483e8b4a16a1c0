/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_NETNS_H
#define XFRM_EXT_NETNS_H

/* Sockets and network namespaces: the one that a socket lives in, and others, which a short-lived thread enters. The
 * errors are as in rtnl.h. */

#include "rtnl.h"

/* cdef: begin */
/* rtnl_open_byproto in the namespace of the open file `netns_fd`, which a short-lived thread of its own enters:
 * the caller's thread stays where it is. Needs CAP_SYS_ADMIN over that namespace. */
int rtnl_open_in_netns(struct rtnl_handle *handle, unsigned groups, int protocol, int netns_fd);

/* Opens a file for reading, whose content depends on the network namespace (/proc/thread-self/net/...), in that
 * of `netns_fd` (negative: the calling thread's). Returns a descriptor, the caller's to close, or -errno. */
int rtnl_open_file(const char *path, int netns_fd);

/* A file descriptor (the caller's to close) of the network namespace that the socket lives in, or -errno. */
int rtnl_netns(const struct rtnl_handle *handle);

/* The index of the interface `name` in the socket's network namespace, or -errno. */
int rtnl_interface_index(const struct rtnl_handle *handle, const char *name);
/* cdef: end */

#endif

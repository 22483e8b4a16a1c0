/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A call to be made by a thread of its own, inside a network namespace. */
struct netns_call {
	int netns_fd;
	int (*function)(void *argument);
	void *argument;
	int result;
};

static void *call_in_netns(void *argument)
{
	struct netns_call *call = argument;

	call->result = setns(call->netns_fd, CLONE_NEWNET) < 0 ? -errno : call->function(call->argument);
	return NULL;
}

static int run_in_netns(int netns_fd, int (*function)(void *argument), void *argument)
{
	struct netns_call call = {netns_fd, function, argument, 0};
	sigset_t all, before;
	pthread_t thread;
	int err;

	/* Signals are the caller's threads' business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, NULL, call_in_netns, &call);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return -err;
	pthread_join(thread, NULL);
	return call.result;
}

struct netns_open {
	struct rtnl_handle *handle;
	unsigned groups;
	int protocol;
};

static int open_here(void *argument)
{
	struct netns_open *request = argument;

	return rtnl_open_byproto(request->handle, request->groups, request->protocol);
}

int rtnl_open_in_netns(struct rtnl_handle *handle, unsigned groups, int protocol, int netns_fd)
{
	struct netns_open request = {handle, groups, protocol};

	rtnl_clear(handle);
	return run_in_netns(netns_fd, open_here, &request);
}

static int open_file(void *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int rtnl_open_file(const char *path, int netns_fd)
{
	return netns_fd < 0 ? open_file((void *)path) : run_in_netns(netns_fd, open_file, (void *)path);
}

int rtnl_netns(const struct rtnl_handle *handle)
{
	int fd = ioctl(handle->fd, SIOCGSKNS);

	return fd < 0 ? -errno : fd;
}

int rtnl_interface_index(const struct rtnl_handle *handle, const char *name)
{
	struct ifreq request;

	memset(&request, 0, sizeof(request));
	if (strlen(name) >= sizeof(request.ifr_name))
		return -ENODEV;
	memcpy(request.ifr_name, name, strlen(name));
	return ioctl(handle->fd, SIOCGIFINDEX, &request) < 0 ? -errno : request.ifr_ifindex;
}

/* SPDX-License-Identifier: MIT */
/* What a C program pays that uses libnl-xfrm-3 as it is meant to be used.
 *
 * `add`, `update` and `delete` make a policy object of each message in a file (as benchmarks/floor.c reads it),
 * then, on the clock, hand these to the library one by one: it builds the message, sends it, and waits for its
 * ACK. `dump` has the library fill its cache with all policies.
 *
 *     libnl add|update|delete MESSAGES-FILE
 *     libnl dump
 *
 * prints one JSON object on stdout. The exit status is 0 when the kernel accepted every message. */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/xfrm/sp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

struct policies {
	struct xfrmnl_sp **items;
	size_t count;
};

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "libnl: %s: %s\n", what, why);
	exit(2);
}

static uint8_t *read_file(const char *path, size_t *length)
{
	FILE *file = fopen(path, "rb");
	struct stat status;
	uint8_t *data;

	if (!file || fstat(fileno(file), &status) < 0)
		fail(path, strerror(errno));
	*length = (size_t)status.st_size;
	data = malloc(*length ? *length : 1);
	if (!data)
		fail("malloc", strerror(errno));
	if (fread(data, 1, *length, file) != *length)
		fail(path, "short read");
	fclose(file);
	return data;
}

/* Each message as the library's own object. */
static struct policies parse(const char *path)
{
	struct policies policies = {0};
	size_t length, room = 0;
	uint8_t *data = read_file(path, &length);

	for (size_t position = 0; position < length;) {
		struct nlmsghdr header;
		int error;

		if (length - position < sizeof(header))
			fail(path, "the file ends inside a message header");
		memcpy(&header, data + position, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len % NLMSG_ALIGNTO ||
		    header.nlmsg_len > length - position)
			fail(path, "a message length does not fit");
		if (policies.count == room) {
			room = room ? 2 * room : 1024;
			policies.items = realloc(policies.items, room * sizeof(*policies.items));
			if (!policies.items)
				fail("realloc", strerror(errno));
		}
		error = xfrmnl_sp_parse((struct nlmsghdr *)(data + position), &policies.items[policies.count]);
		if (error < 0)
			fail("xfrmnl_sp_parse", nl_geterror(error));
		policies.count++;
		position += header.nlmsg_len;
	}
	free(data);
	return policies;
}

static void change(struct nl_sock *sock, const char *verb, const struct policies *policies)
{
	int (*call)(struct nl_sock *, struct xfrmnl_sp *, int);

	if (!strcmp(verb, "add"))
		call = xfrmnl_sp_add;
	else if (!strcmp(verb, "update"))
		call = xfrmnl_sp_update;
	else
		call = xfrmnl_sp_delete;
	for (size_t index = 0; index < policies->count; index++) {
		int error = call(sock, policies->items[index], 0);

		if (error < 0) {
			fprintf(stderr, "libnl: policy %zu: %s\n", index, nl_geterror(error));
			exit(1);
		}
	}
}

static size_t dump(struct nl_sock *sock)
{
	struct nl_cache *cache;
	int error = xfrmnl_sp_alloc_cache(sock, &cache);

	if (error < 0)
		fail("xfrmnl_sp_alloc_cache", nl_geterror(error));
	return (size_t)nl_cache_nitems(cache); /* the cache lives until the process ends, outside the clock */
}

static double clock_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double seconds(struct timeval end, struct timeval start)
{
	return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_usec - start.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	struct policies policies = {0};
	struct rusage before, after;
	struct nl_sock *sock;
	double start, wall;
	int error, dumping = argc == 2 && !strcmp(argv[1], "dump");

	if (!dumping &&
	    (argc != 3 || (strcmp(argv[1], "add") && strcmp(argv[1], "update") && strcmp(argv[1], "delete")))) {
		fprintf(stderr, "usage: libnl add|update|delete MESSAGES-FILE\n       libnl dump\n");
		return 2;
	}
	if (!dumping)
		policies = parse(argv[2]);
	sock = nl_socket_alloc();
	if (!sock)
		fail("nl_socket_alloc", strerror(errno));
	error = nl_connect(sock, NETLINK_XFRM);
	if (error < 0)
		fail("nl_connect", nl_geterror(error));

	getrusage(RUSAGE_SELF, &before);
	start = clock_seconds();
	if (dumping)
		policies.count = dump(sock);
	else
		change(sock, argv[1], &policies);
	wall = clock_seconds() - start;
	getrusage(RUSAGE_SELF, &after);

	printf("{\"policies\": %zu, \"seconds\": %.9f, \"user_seconds\": %.6f, \"system_seconds\": %.6f}\n",
	       policies.count, wall, seconds(after.ru_utime, before.ru_utime),
	       seconds(after.ru_stime, before.ru_stime));
	nl_socket_free(sock);
	return 0;
}

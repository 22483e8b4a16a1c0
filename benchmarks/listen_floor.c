/* SPDX-License-Identifier: MIT */
/* The floor of listening: reads policy events with recvmmsg, looks at nothing in them, and counts.
 *
 *     listen_floor BUFFER-BYTES
 *
 * runs in the network namespace it is started in, prints "ready", reads until its stdin is closed and nothing waits
 * any more, and prints events, losses, 1 (in order) and processor seconds. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { AT_ONCE = 64, SIZE = 8192, GROUP_POLICY = 4, PATIENCE_MS = 200 };

static double processor_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	static uint8_t data[AT_ONCE][SIZE + 64];
	struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = 1 << (GROUP_POLICY - 1)};
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_XFRM), bytes = argc > 1 ? atoi(argv[1]) : 4 << 20, count, i;
	struct pollfd polled[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	struct mmsghdr headers[AT_ONCE];
	struct iovec parts[AT_ONCE];
	long events = 0, losses = 0;
	double before;

	if (fd < 0 || (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0 &&
		       setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) < 0) ||
	    bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0) {
		fprintf(stderr, "listen_floor: %s\n", strerror(errno));
		return 2;
	}
	memset(headers, 0, sizeof(headers));
	for (i = 0; i < AT_ONCE; i++) {
		parts[i] = (struct iovec){data[i], SIZE};
		headers[i].msg_hdr.msg_iov = &parts[i];
		headers[i].msg_hdr.msg_iovlen = 1;
	}
	puts("ready");
	fflush(stdout);
	before = processor_seconds();
	for (;;) {
		count = recvmmsg(fd, headers, AT_ONCE, MSG_DONTWAIT, NULL);
		if (count > 0)
			events += count;
		else if (errno == ENOBUFS)
			losses++;
		else if (poll(polled, polled[1].fd < 0 ? 1 : 2, polled[1].fd < 0 ? PATIENCE_MS : -1) == 0)
			break;
		else if (polled[1].revents)
			polled[1].fd = -1;
	}
	printf("%ld %ld 1 %.6f\n", events, losses, processor_seconds() - before);
	return 0;
}

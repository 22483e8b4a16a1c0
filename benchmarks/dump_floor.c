/* SPDX-License-Identifier: MIT */
/* The floor of a dump: what a program in C pays that reads all policies into arrays.
 *
 * Asks NETLINK_XFRM, in the network namespace it is started in, how many policies there are, allocates one array
 * for each of 16 fields, asks for the dump, walks the attributes of each message and fills one element of each
 * array. The clock starts before the arrays are allocated, and stops when the end of the dump has been read.
 *
 *     dump_floor [columns|receive]
 *
 * "receive" only receives, and looks at nothing but the messages' headers. Prints one JSON object on stdout; `sum`
 * is the sum of all bytes in the arrays, for other programs to be checked against. The exit status is 0 when the
 * dump was complete. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Newer than the headers of some systems. */
#define MARK_ATTRIBUTE 21
#define IF_ID_ATTRIBUTE 31

enum {
	RECEIVE_SIZE = 65536, /* the kernel fills at most 32 KiB */
	RECEIVE_BUFFER = 4 << 20,
	TIMEOUT_SECONDS = 60,
	ATTRIBUTES = NLMSG_HDRLEN + sizeof(struct xfrm_userpolicy_info),
};

struct address {
	uint8_t bytes[16];
};

/* One array for each field, of `capacity` elements. */
struct columns {
	uint32_t rows;
	uint32_t capacity;
	struct address *source;
	struct address *destination;
	uint8_t *source_prefix_length;
	uint8_t *destination_prefix_length;
	uint16_t *family;
	uint8_t *protocol;
	uint16_t *source_port;
	uint16_t *destination_port;
	uint8_t *direction;
	uint32_t *priority;
	uint32_t *index;
	uint32_t *mark;
	uint32_t *if_id;
	struct address *template_source;
	struct address *template_destination;
	uint32_t *template_reqid;
};

struct totals {
	uint32_t datagrams;
	uint32_t messages;
	size_t bytes;
};

static void fail(const char *what)
{
	fprintf(stderr, "dump_floor: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void fail_input(const char *what)
{
	fprintf(stderr, "dump_floor: %s\n", what);
	exit(2);
}

static int open_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
	int size = RECEIVE_BUFFER;

	if (fd < 0)
		fail("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		fail("setsockopt");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (connect(fd, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		fail("connect");
	return fd;
}

static void request(int fd, uint16_t type, uint16_t flags, size_t payload)
{
	uint8_t message[NLMSG_HDRLEN + 4] = {0};
	struct nlmsghdr header = {
		.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + payload),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | flags,
		.nlmsg_seq = 1,
	};

	memcpy(message, &header, sizeof(header));
	if (send(fd, message, header.nlmsg_len, 0) < 0)
		fail("send");
}

/* Receives a datagram from the kernel. */
static size_t receive(int fd, uint8_t *data)
{
	for (;;) {
		/* The socket is connected to the kernel, but another process could still write to its port. */
		struct sockaddr_nl sender = {0};
		struct iovec part = {.iov_base = data, .iov_len = RECEIVE_SIZE};
		struct msghdr message = {
			.msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &part, .msg_iovlen = 1};
		ssize_t length = recvmsg(fd, &message, 0);

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			fail("recvmsg");
		if (message.msg_flags & MSG_TRUNC)
			fail_input("a datagram was cut");
		if (sender.nl_pid == 0)
			return (size_t)length;
	}
}

/* How many policies there are now. */
static uint32_t policies(int fd, uint8_t *data)
{
	struct xfrmu_spdinfo info;
	size_t length, position = NLMSG_HDRLEN + sizeof(uint32_t);
	struct nlattr attribute;

	request(fd, XFRM_MSG_GETSPDINFO, 0, sizeof(uint32_t));
	length = receive(fd, data);
	while (position + sizeof(attribute) <= length) {
		memcpy(&attribute, data + position, sizeof(attribute));
		if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > length - position)
			break;
		if (attribute.nla_type == XFRMA_SPD_INFO && attribute.nla_len == NLA_HDRLEN + sizeof(info)) {
			memcpy(&info, data + position + NLA_HDRLEN, sizeof(info));
			return info.incnt + info.outcnt + info.fwdcnt + info.inscnt + info.outscnt + info.fwdscnt;
		}
		position += NLA_ALIGN(attribute.nla_len);
	}
	fail_input("the kernel did not tell how many policies there are");
	return 0;
}

/* Each field of struct columns that is an array. */
#define EACH_COLUMN(DO, columns) \
	DO((columns)->source) \
	DO((columns)->destination) \
	DO((columns)->source_prefix_length) \
	DO((columns)->destination_prefix_length) \
	DO((columns)->family) \
	DO((columns)->protocol) \
	DO((columns)->source_port) \
	DO((columns)->destination_port) \
	DO((columns)->direction) \
	DO((columns)->priority) \
	DO((columns)->index) \
	DO((columns)->mark) \
	DO((columns)->if_id) \
	DO((columns)->template_source) \
	DO((columns)->template_destination) \
	DO((columns)->template_reqid)

static void allocate(struct columns *columns, uint32_t capacity)
{
	columns->capacity = capacity;
#define ALLOCATE(column) \
	column = malloc((size_t)(capacity ? capacity : 1) * sizeof(*column)); \
	if (!column) \
		fail("malloc");
	EACH_COLUMN(ALLOCATE, columns)
#undef ALLOCATE
}

static uint64_t sum_of(const void *array, size_t size)
{
	const uint8_t *bytes = array;
	uint64_t sum = 0;

	for (size_t place = 0; place < size; place++)
		sum += bytes[place];
	return sum;
}

static uint64_t sum_of_all(const struct columns *columns)
{
	uint64_t sum = 0;

#define ADD(column) sum += sum_of(column, columns->rows * sizeof(*column));
	EACH_COLUMN(ADD, columns)
#undef ADD
	return sum;
}

static void fill_row(struct columns *columns, const uint8_t *message, size_t length)
{
	struct xfrm_userpolicy_info info;
	struct xfrm_user_tmpl template = {0};
	struct xfrm_mark mark = {0};
	uint32_t if_id = 0, row = columns->rows;
	size_t position = ATTRIBUTES;
	struct nlattr attribute;

	if (length < ATTRIBUTES)
		fail_input("a policy is too short");
	if (row == columns->capacity)
		fail_input("there are more policies than the kernel said");
	memcpy(&info, message + NLMSG_HDRLEN, sizeof(info));
	while (position + sizeof(attribute) <= length) {
		const uint8_t *payload = message + position + NLA_HDRLEN;
		size_t size;

		memcpy(&attribute, message + position, sizeof(attribute));
		if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > length - position)
			fail_input("an attribute's length does not fit");
		size = attribute.nla_len - NLA_HDRLEN;
		switch (attribute.nla_type & NLA_TYPE_MASK) {
		case XFRMA_TMPL:
			if (size >= sizeof(template))
				memcpy(&template, payload, sizeof(template));
			break;
		case MARK_ATTRIBUTE:
			if (size == sizeof(mark))
				memcpy(&mark, payload, sizeof(mark));
			break;
		case IF_ID_ATTRIBUTE:
			if (size == sizeof(if_id))
				memcpy(&if_id, payload, sizeof(if_id));
			break;
		}
		position += NLA_ALIGN(attribute.nla_len);
	}
	memcpy(&columns->source[row], &info.sel.saddr, sizeof(struct address));
	memcpy(&columns->destination[row], &info.sel.daddr, sizeof(struct address));
	columns->source_prefix_length[row] = info.sel.prefixlen_s;
	columns->destination_prefix_length[row] = info.sel.prefixlen_d;
	columns->family[row] = info.sel.family;
	columns->protocol[row] = info.sel.proto;
	columns->source_port[row] = ntohs(info.sel.sport);
	columns->destination_port[row] = ntohs(info.sel.dport);
	columns->direction[row] = info.dir;
	columns->priority[row] = info.priority;
	columns->index[row] = info.index;
	columns->mark[row] = mark.v;
	columns->if_id[row] = if_id;
	memcpy(&columns->template_source[row], &template.saddr, sizeof(struct address));
	memcpy(&columns->template_destination[row], &template.id.daddr, sizeof(struct address));
	columns->template_reqid[row] = template.reqid;
	columns->rows++;
}

/* Looks at each message of a datagram. Returns whether the end of the dump was among them. */
static int take_datagram(struct columns *columns, struct totals *totals, const uint8_t *data, size_t length)
{
	struct nlmsghdr header;
	int status;

	totals->datagrams++;
	totals->bytes += length;
	while (length >= sizeof(header)) {
		memcpy(&header, data, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > length)
			fail_input("the kernel's message is malformed");
		if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
			if (header.nlmsg_len < NLMSG_HDRLEN + sizeof(status))
				fail_input("the kernel's last message is too short");
			memcpy(&status, data + NLMSG_HDRLEN, sizeof(status));
			if (status < 0) {
				errno = -status;
				fail("dump");
			}
			return 1;
		}
		if (header.nlmsg_type == XFRM_MSG_NEWPOLICY) {
			totals->messages++;
			if (columns)
				fill_row(columns, data, header.nlmsg_len);
		}
		if (NLMSG_ALIGN(header.nlmsg_len) >= length)
			break;
		data += NLMSG_ALIGN(header.nlmsg_len);
		length -= NLMSG_ALIGN(header.nlmsg_len);
	}
	return 0;
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
	static uint8_t data[RECEIVE_SIZE] __attribute__((aligned(8)));
	struct columns columns = {0};
	struct totals totals = {0};
	struct rusage usage_start, usage_end;
	double start, wall;
	int fd, walk = 1;

	if (argc == 2 && !strcmp(argv[1], "receive")) {
		walk = 0;
	} else if (argc > 2 || (argc == 2 && strcmp(argv[1], "columns"))) {
		fprintf(stderr, "usage: dump_floor [columns|receive]\n");
		return 2;
	}
	fd = open_socket();

	getrusage(RUSAGE_SELF, &usage_start);
	start = clock_seconds();
	if (walk)
		allocate(&columns, policies(fd, data));
	request(fd, XFRM_MSG_GETPOLICY, NLM_F_DUMP, 0);
	while (!take_datagram(walk ? &columns : NULL, &totals, data, receive(fd, data)))
		;
	wall = clock_seconds() - start;
	getrusage(RUSAGE_SELF, &usage_end);

	printf("{\"messages\": %u, \"bytes\": %zu, \"datagrams\": %u, \"columns\": %d, \"seconds\": %.9f, "
	       "\"user_seconds\": %.6f, \"system_seconds\": %.6f, \"sum\": %llu}\n",
	       totals.messages, totals.bytes, totals.datagrams, walk ? 16 : 0, wall,
	       seconds(usage_end.ru_utime, usage_start.ru_utime), seconds(usage_end.ru_stime, usage_start.ru_stime),
	       (unsigned long long)(walk ? sum_of_all(&columns) : 0));
	close(fd);
#define RELEASE(column) free(column);
	EACH_COLUMN(RELEASE, &columns)
#undef RELEASE
	return 0;
}

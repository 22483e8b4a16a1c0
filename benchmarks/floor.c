/* SPDX-License-Identifier: MIT */
/* The floor of a bulk load: what the kernel alone costs.
 *
 * Sends ready-made netlink messages from a file to NETLINK_XFRM in the network namespace it is started in,
 * BATCH messages a send, with NLM_F_ACK on the last message of each send only, and waits for that ACK. The
 * whole file is in memory, and the flags are in place, before the clock starts; inside the timed loop only the
 * sequence numbers are written. A program that also has to make the messages can come near this time, not
 * below it.
 *
 *     floor MESSAGES-FILE [BATCH]
 *
 * prints one JSON object on stdout. The exit status is 0 when the kernel accepted every message. */
#include <errno.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
	DEFAULT_BATCH = 256,
	SEND_BUFFER = 4 << 20,
	RECEIVE_BUFFER = 4 << 20,
	RECEIVE_SIZE = 32768,
	TIMEOUT_SECONDS = 60, /* for one ACK: long enough for any stall of the kernel that ends */
};

/* What one send carries. */
struct block {
	uint8_t *data;
	size_t length;
	uint32_t first; /* index of its first message */
	uint32_t count;
};

struct input {
	uint8_t *data;
	size_t length;
	uint32_t messages;
	struct block *blocks;
	uint32_t block_count;
};

struct outcome {
	uint32_t errors;
	int first_error;      /* errno of the first refusal */
	uint32_t first_index; /* and which message it was */
};

static void fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void fail_input(const char *what)
{
	fprintf(stderr, "floor: %s\n", what);
	exit(2);
}

static void read_file(const char *path, struct input *input)
{
	FILE *file = fopen(path, "rb");
	struct stat status;

	if (!file || fstat(fileno(file), &status) < 0)
		fail(path);
	input->length = (size_t)status.st_size;
	input->data = malloc(input->length ? input->length : 1);
	if (!input->data)
		fail("malloc");
	if (fread(input->data, 1, input->length, file) != input->length)
		fail_input("short read");
	fclose(file);
}

/* Finds the message at `position`; the file may hold anything, so the header is copied, not cast. */
static struct nlmsghdr header_at(const struct input *input, size_t position)
{
	struct nlmsghdr header;

	if (input->length - position < sizeof(header))
		fail_input("the file ends inside a message header");
	memcpy(&header, input->data + position, sizeof(header));
	if (header.nlmsg_len < sizeof(header) || header.nlmsg_len % NLMSG_ALIGNTO ||
	    header.nlmsg_len > input->length - position)
		fail_input("a message length does not fit");
	return header;
}

static void cut_into_blocks(struct input *input, uint32_t batch)
{
	size_t position;
	uint32_t in_block = 0;
	struct block *block = NULL;

	for (position = 0; position < input->length; input->messages++)
		position += header_at(input, position).nlmsg_len;
	if (!input->messages)
		fail_input("the file holds no message");
	input->blocks = calloc((input->messages - 1) / batch + 1, sizeof(*input->blocks));
	if (!input->blocks)
		fail("calloc");
	position = 0;
	for (uint32_t index = 0; index < input->messages; index++) {
		struct nlmsghdr header = header_at(input, position);
		int last;

		if (!in_block) {
			block = &input->blocks[input->block_count++];
			*block = (struct block){.data = input->data + position, .first = index};
		}
		last = ++in_block == batch || index + 1 == input->messages;
		header.nlmsg_flags &= (uint16_t)~NLM_F_ACK;
		header.nlmsg_flags |= NLM_F_REQUEST | (last ? NLM_F_ACK : 0);
		header.nlmsg_pid = 0;
		memcpy(input->data + position, &header, sizeof(header));
		position += header.nlmsg_len;
		block->length += header.nlmsg_len;
		block->count++;
		if (last)
			in_block = 0;
	}
}

static int open_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_XFRM);
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};
	int on = 1, size;

	if (fd < 0)
		fail("socket");
	if (setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		fail("setsockopt");
	/* The forced size is what was asked for; the plain one stops at the system's limit. */
	size = SEND_BUFFER;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	size = RECEIVE_BUFFER;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (connect(fd, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		fail("connect");
	return fd;
}

static void stamp(const struct block *block, uint32_t sequence)
{
	uint8_t *position = block->data;

	for (uint32_t index = 0; index < block->count; index++) {
		uint32_t length;

		memcpy(&length, position + offsetof(struct nlmsghdr, nlmsg_len), sizeof(length));
		memcpy(position + offsetof(struct nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
		sequence++;
		position += length;
	}
}

/* Looks at each message of a datagram. Returns whether the one that closes the send was answered. */
static int take_answers(const uint8_t *data, size_t length, uint32_t first_sequence, const struct block *block,
			struct outcome *outcome)
{
	int closed = 0;

	while (length >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr header;
		int error;

		memcpy(&header, data, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > length)
			fail_input("the kernel's message is malformed");
		if (header.nlmsg_type == NLMSG_ERROR && header.nlmsg_seq - first_sequence < block->count) {
			if (header.nlmsg_len < NLMSG_HDRLEN + sizeof(struct nlmsgerr))
				fail_input("the kernel's ACK is too short");
			memcpy(&error, data + NLMSG_HDRLEN, sizeof(error));
			if (error && !outcome->errors++) {
				outcome->first_error = -error;
				outcome->first_index = block->first + (header.nlmsg_seq - first_sequence);
			}
			if (header.nlmsg_seq - first_sequence == block->count - 1)
				closed = 1;
		}
		if (NLMSG_ALIGN(header.nlmsg_len) >= length)
			break;
		data += NLMSG_ALIGN(header.nlmsg_len);
		length -= NLMSG_ALIGN(header.nlmsg_len);
	}
	return closed;
}

static void send_block(int fd, const struct block *block, uint32_t first_sequence, struct outcome *outcome)
{
	uint8_t answer[RECEIVE_SIZE];
	ssize_t length;

	stamp(block, first_sequence);
	do
		length = send(fd, block->data, block->length, 0);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		fail("send");
	do {
		/* The socket is connected to the kernel, but another process could still write to its port. */
		struct sockaddr_nl sender = {0};
		struct iovec part = {.iov_base = answer, .iov_len = sizeof(answer)};
		struct msghdr message = {
			.msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &part, .msg_iovlen = 1};

		length = recvmsg(fd, &message, 0);
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			fail("recvmsg");
		if (message.msg_flags & MSG_TRUNC)
			fail_input("an answer was cut");
		if (sender.nl_pid != 0)
			continue;
		if (take_answers(answer, (size_t)length, first_sequence, block, outcome))
			return;
	} while (1);
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
	struct input input = {0};
	struct outcome outcome = {0};
	struct rusage usage_start, usage_end;
	long batch = DEFAULT_BATCH;
	double start, wall;
	char *end;
	int fd;

	if (argc == 3) {
		errno = 0;
		batch = strtol(argv[2], &end, 10);
		if (errno || *end || end == argv[2] || batch < 1 || batch > INT32_MAX)
			fail_input("BATCH must be a positive number");
	} else if (argc != 2) {
		fprintf(stderr, "usage: floor MESSAGES-FILE [BATCH]\n");
		return 2;
	}
	read_file(argv[1], &input);
	cut_into_blocks(&input, (uint32_t)batch);
	fd = open_socket();

	getrusage(RUSAGE_SELF, &usage_start);
	start = clock_seconds();
	for (uint32_t index = 0; index < input.block_count; index++)
		send_block(fd, &input.blocks[index], input.blocks[index].first + 1, &outcome);
	wall = clock_seconds() - start;
	getrusage(RUSAGE_SELF, &usage_end);

	printf("{\"messages\": %u, \"bytes\": %zu, \"batch\": %ld, \"sends\": %u, \"seconds\": %.9f, "
	       "\"user_seconds\": %.6f, \"system_seconds\": %.6f, \"errors\": %u",
	       input.messages, input.length, batch, input.block_count, wall,
	       seconds(usage_end.ru_utime, usage_start.ru_utime), seconds(usage_end.ru_stime, usage_start.ru_stime),
	       outcome.errors);
	if (outcome.errors)
		printf(", \"first_error\": \"%s\", \"first_error_index\": %u", strerror(outcome.first_error),
		       outcome.first_index);
	printf("}\n");
	close(fd);
	free(input.blocks);
	free(input.data);
	return outcome.errors ? 1 : 0;
}

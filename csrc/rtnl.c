/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "rtnl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	SEND_BUFFER = 1 << 20,
	RECEIVE_BUFFER = 4 << 20, /* twice that is given: room for 10,000 ACKs or 6,500 policy events */
	SEND_OVERHEAD = 32,       /* of SO_SNDBUF, per send; beyond it the kernel says EMSGSIZE */
	REPLY_COST = 2048,        /* of SO_RCVBUF, at most, per ACK: 770 measured, more with an extended-ACK text */
	NS_PER_MS = 1000000,
	SLICE_NS = 10 * NS_PER_MS, /* of a batch of several sends: then the caller may look after its signals */
};

/* --- opening ------------------------------------------------------------------------------------------- */

static int set_buffer(int fd, int force_option, int option, uint32_t bytes, uint32_t *given)
{
	int value = bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)bytes;
	socklen_t size = sizeof(value);

	if (setsockopt(fd, SOL_SOCKET, force_option, &value, sizeof(value)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0)
		return -errno;
	*given = (uint32_t)value;
	return 0;
}

int rtnl_set_buffers(struct rtnl_handle *handle, uint32_t send_bytes, uint32_t receive_bytes)
{
	int err = set_buffer(handle->fd, SO_SNDBUFFORCE, SO_SNDBUF, send_bytes, &handle->send_buffer);

	return err ? err : set_buffer(handle->fd, SO_RCVBUFFORCE, SO_RCVBUF, receive_bytes, &handle->receive_buffer);
}

void rtnl_clear(struct rtnl_handle *handle)
{
	memset(handle, 0, sizeof(*handle));
	handle->fd = -1;
	handle->wake_fd = -1;
}

int rtnl_open_byproto(struct rtnl_handle *handle, unsigned groups, int protocol)
{
	struct sockaddr_nl local = {.nl_family = AF_NETLINK, .nl_groups = groups};
	socklen_t size = sizeof(local);
	int on = 1, err;

	rtnl_clear(handle);
	handle->protocol = protocol;
	handle->receive = malloc(RTNL_RECEIVE_SIZE);
	handle->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (handle->fd < 0) {
		err = -errno;
		goto fail;
	}
	if (!handle->receive) {
		err = -ENOMEM;
		goto fail;
	}
	err = rtnl_set_buffers(handle, SEND_BUFFER, RECEIVE_BUFFER);
	if (err)
		goto fail;
	/* Kernels older than 4.12 know neither: then there are no texts, and ACKs echo the request. */
	setsockopt(handle->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(handle->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	if (bind(handle->fd, (struct sockaddr *)&local, sizeof(local)) < 0 ||
	    getsockname(handle->fd, (struct sockaddr *)&local, &size) < 0) {
		err = -errno;
		goto fail;
	}
	if (size != sizeof(local) || local.nl_family != AF_NETLINK) {
		err = -EPROTO;
		goto fail;
	}
	handle->port = local.nl_pid;
	/* A random start: replies meant for an earlier owner of our port id are not taken for ours. */
	if (getrandom(&handle->seq, sizeof(handle->seq), GRND_NONBLOCK) != sizeof(handle->seq))
		handle->seq = (uint32_t)time(NULL);
	return 0;
fail:
	rtnl_close(handle);
	return err;
}

void rtnl_close(struct rtnl_handle *handle)
{
	if (handle->receive) {
		explicit_bzero(handle->receive, RTNL_RECEIVE_SIZE);
		free(handle->receive);
		handle->receive = NULL;
	}
	if (handle->fd >= 0)
		close(handle->fd);
	if (handle->wake_fd >= 0)
		close(handle->wake_fd);
	handle->fd = -1;
	handle->wake_fd = -1;
}

/* --- waiting, sending, receiving ----------------------------------------------------------------------- */

static int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 * NS_PER_MS + now.tv_nsec;
}

int rtnl_is_past(int64_t deadline)
{
	return deadline >= 0 && clock_ns() >= deadline;
}

int64_t rtnl_deadline_after(int64_t nanoseconds)
{
	return clock_ns() + nanoseconds;
}

int rtnl_wait_readable(const struct rtnl_handle *handle, int64_t deadline)
{
	/* poll passes over a descriptor of -1 */
	struct pollfd polled[2] = {{.fd = handle->fd, .events = POLLIN}, {.fd = handle->wake_fd, .events = POLLIN}};
	int64_t left = -1;
	int ready;

	if (deadline >= 0) {
		left = deadline - clock_ns();
		if (left <= 0)
			return -ETIMEDOUT;
		left = (left + NS_PER_MS - 1) / NS_PER_MS; /* rounded up: never a busy loop before the deadline */
		if (left > INT32_MAX)
			left = INT32_MAX;
	}
	ready = poll(polled, 2, (int)left);
	if (ready < 0)
		return -errno;
	if (polled[1].revents)
		return -ECANCELED;
	return ready ? 0 : -ETIMEDOUT;
}

/* Receives one datagram that the kernel sent. What other processes send to our port is not looked at. */
static int receive(struct rtnl_handle *handle, void *data, size_t capacity, int64_t deadline)
{
	struct sockaddr_nl sender;
	struct iovec part = {data, capacity};
	struct msghdr message;
	ssize_t size;
	int err;

	for (;;) {
		memset(&message, 0, sizeof(message));
		message.msg_name = &sender;
		message.msg_namelen = sizeof(sender);
		message.msg_iov = &part;
		message.msg_iovlen = 1;
		memset(&sender, 0, sizeof(sender));
		size = recvmsg(handle->fd, &message, MSG_DONTWAIT);
		if (size < 0 && errno == EAGAIN) {
			err = rtnl_wait_readable(handle, deadline);
			if (err)
				return err;
			continue;
		}
		if (size < 0) {
			err = -errno;
			if (err == -ENOBUFS)
				handle->overrun = 1;
			return err;
		}
		if (message.msg_namelen != sizeof(sender) || sender.nl_pid != 0) {
			if (rtnl_is_past(deadline)) /* others can't keep us from it by writing to us */
				return -ETIMEDOUT;
			continue;
		}
		return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : (int)size;
	}
}

/* After an overflow the kernel drops everything, without a word, until the queue was empty once: also the
 * replies to new requests. */
static void empty_queue(struct rtnl_handle *handle)
{
	while (recv(handle->fd, handle->receive, RTNL_RECEIVE_SIZE, MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		;
	explicit_bzero(handle->receive, RTNL_RECEIVE_SIZE);
	handle->overrun = 0;
}

static int send_all(struct rtnl_handle *handle, const void *data, size_t length)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t size;

	if (handle->overrun)
		empty_queue(handle);
	size = sendto(handle->fd, data, length, 0, (struct sockaddr *)&kernel, sizeof(kernel));
	if (size < 0)
		return -errno;
	return (size_t)size == length ? 0 : -EIO;
}

/* --- messages ------------------------------------------------------------------------------------------ */

static struct nlmsghdr header_at(const uint8_t *data)
{
	struct nlmsghdr header;

	memcpy(&header, data, sizeof(header));
	return header;
}

int rtnl_message_next(const uint8_t *data, size_t length, size_t *position)
{
	uint32_t size;

	if (*position >= length)
		return 0;
	if (length - *position < NLMSG_HDRLEN)
		return -EBADMSG;
	size = header_at(data + *position).nlmsg_len;
	if (size < NLMSG_HDRLEN || size > length - *position || size > INT32_MAX)
		return -EBADMSG;
	*position += NLMSG_ALIGN(size);
	return (int)size;
}

/* Sequence numbers of `count` messages in a row, without 0 among them. Returns the first. */
static uint32_t take_seq(struct rtnl_handle *handle, uint32_t count)
{
	uint32_t first = handle->seq > UINT32_MAX - count ? 1 : handle->seq + 1;

	handle->seq = first + count - 1;
	return first;
}

/* Reads the extended ACK's attributes in data[position .. length) into `outcome`. */
static void read_extended_ack(struct rtnl_outcome *outcome, const uint8_t *data, size_t length, size_t position)
{
	struct nlattr header;
	size_t size;

	while (length >= sizeof(header) && position <= length - sizeof(header)) {
		memcpy(&header, data + position, sizeof(header));
		if (header.nla_len < sizeof(header) || header.nla_len > length - position)
			return;
		size = header.nla_len - NLA_HDRLEN;
		switch (header.nla_type & NLA_TYPE_MASK) {
		case NLMSGERR_ATTR_MSG:
			if (size >= sizeof(outcome->text))
				size = sizeof(outcome->text) - 1;
			memcpy(outcome->text, data + position + NLA_HDRLEN, size);
			outcome->text[size] = 0;
			break;
		case NLMSGERR_ATTR_OFFS:
			if (size == sizeof(outcome->offset))
				memcpy(&outcome->offset, data + position + NLA_HDRLEN, size);
			break;
		case NLMSGERR_ATTR_MISS_TYPE:
			if (size == sizeof(outcome->missing_type))
				memcpy(&outcome->missing_type, data + position + NLA_HDRLEN, size);
			break;
		}
		position += NLA_ALIGN(header.nla_len);
	}
}

/* Reads an NLMSG_ERROR of `length` bytes: the errno, the text, the offset. Returns 0, or -EBADMSG. */
static int read_error(struct rtnl_outcome *outcome, const uint8_t *data, size_t length)
{
	struct nlmsghdr header = header_at(data);
	struct nlmsgerr error;
	size_t extended;

	outcome->text[0] = 0;
	outcome->offset = 0;
	outcome->missing_type = 0;
	if (length < NLMSG_HDRLEN + sizeof(error))
		return -EBADMSG;
	memcpy(&error, data + NLMSG_HDRLEN, sizeof(error));
	if (error.error > 0 || error.error < -4095)
		return -EBADMSG;
	outcome->error = -error.error;
	if (!(header.nlmsg_flags & NLM_F_ACK_TLVS))
		return 0;
	extended = NLMSG_HDRLEN + sizeof(error);
	if (!(header.nlmsg_flags & NLM_F_CAPPED) && error.msg.nlmsg_len > NLMSG_HDRLEN) {
		if (error.msg.nlmsg_len > length)
			return 0;
		extended += NLMSG_ALIGN(error.msg.nlmsg_len - NLMSG_HDRLEN);
	}
	read_extended_ack(outcome, data, length, extended);
	return 0;
}

/* --- one request --------------------------------------------------------------------------------------- */

/* Looks through one datagram for the reply to `seq`. Returns 1 when the exchange is over. */
static int find_reply(struct rtnl_handle *handle, size_t length, uint32_t seq, void *answer, size_t capacity,
		      struct rtnl_outcome *outcome, int *result)
{
	size_t position = 0, start = 0;
	struct nlmsghdr header;
	int size;

	for (; (size = rtnl_message_next(handle->receive, length, &position)) > 0; start = position) {
		header = header_at(handle->receive + start);
		if (header.nlmsg_pid != handle->port || header.nlmsg_seq != seq)
			continue;
		if (header.nlmsg_type == NLMSG_ERROR) {
			*result = read_error(outcome, handle->receive + start, (size_t)size);
			if (!*result && outcome->error)
				*result = -outcome->error;
			return 1;
		}
		if (!answer)
			continue;
		*result = (size_t)size > capacity ? -EMSGSIZE : size;
		if (*result > 0)
			memcpy(answer, handle->receive + start, (size_t)size);
		return 1;
	}
	*result = size;
	return size < 0;
}

int rtnl_talk(struct rtnl_handle *handle, struct nlmsghdr *request, void *answer, size_t capacity,
	      struct rtnl_outcome *outcome, int64_t deadline)
{
	struct nlmsghdr header = header_at((const uint8_t *)request);
	int result = 0, err, over;

	memset(outcome, 0, sizeof(*outcome));
	if (header.nlmsg_len < NLMSG_HDRLEN)
		return -EINVAL;
	if (!header.nlmsg_seq) {
		header.nlmsg_seq = take_seq(handle, 1);
		header.nlmsg_pid = handle->port;
		header.nlmsg_flags |= NLM_F_REQUEST | (answer ? 0 : NLM_F_ACK);
		memcpy(request, &header, sizeof(header));
		err = send_all(handle, request, header.nlmsg_len);
		if (err)
			return err;
	}
	do {
		err = receive(handle, handle->receive, RTNL_RECEIVE_SIZE, deadline);
		if (err < 0)
			return err;
		over = find_reply(handle, (size_t)err, header.nlmsg_seq, answer, capacity, outcome, &result);
		explicit_bzero(handle->receive, (size_t)err); /* an answer may hold keys */
	} while (!over);
	return result;
}

/* --- many requests ------------------------------------------------------------------------------------- */

/* Checks the caller's block of messages before anything is sent. The kernel skips, without a word, what
 * follows a message with a bad length. */
static int check_batch(const struct rtnl_handle *handle, const struct rtnl_batch *batch)
{
	size_t position = 0, start = 0;
	uint32_t count = 0;
	int size;

	if (!batch->per_send)
		return -EINVAL;
	for (; (size = rtnl_message_next(batch->messages, batch->length, &position)) > 0; start = position, count++)
		if (position > batch->length || position - start > handle->send_buffer - SEND_OVERHEAD)
			return -EINVAL;
	return size < 0 || count != batch->count ? -EINVAL : 0;
}

/* Stamps and sends the next messages: as many as the batch, the send buffer, and the receive buffer (should
 * they all be refused) allow. */
static int send_next(struct rtnl_handle *handle, struct rtnl_batch *batch)
{
	uint32_t room = handle->receive_buffer / REPLY_COST, number = batch->sent, last = batch->sent;
	uint32_t most = batch->per_send < room ? batch->per_send : room ? room : 1;
	size_t start = batch->sent_bytes, position = start, before, last_start = start;
	struct nlmsghdr header;
	int err;

	while (number < batch->count && number - batch->sent < most) {
		before = position;
		rtnl_message_next(batch->messages, batch->length, &position); /* checked before */
		if (position - start > handle->send_buffer - SEND_OVERHEAD)
			break;
		header = header_at(batch->messages + before);
		header.nlmsg_flags = (uint16_t)((header.nlmsg_flags | NLM_F_REQUEST) & ~NLM_F_ACK);
		header.nlmsg_seq = batch->first_seq + number;
		header.nlmsg_pid = handle->port;
		memcpy(batch->messages + before, &header, sizeof(header));
		last = number++;
		last_start = before;
		batch->sent_bytes = position;
	}
	header = header_at(batch->messages + last_start);
	header.nlmsg_flags |= NLM_F_ACK;
	memcpy(batch->messages + last_start, &header, sizeof(header));
	err = send_all(handle, batch->messages + start, batch->sent_bytes - start);
	if (err) {
		batch->sent_bytes = start;
		return err;
	}
	batch->sent = last + 1;
	return 0;
}

/* Files what one datagram says of the messages [acked, sent). */
static int file_replies(struct rtnl_handle *handle, struct rtnl_batch *batch, size_t length)
{
	size_t position = 0, start = 0;
	struct rtnl_outcome *outcome;
	struct nlmsghdr header;
	uint32_t number;
	int size, err;

	for (; (size = rtnl_message_next(handle->receive, length, &position)) > 0; start = position) {
		header = header_at(handle->receive + start);
		number = header.nlmsg_seq - batch->first_seq;
		if (header.nlmsg_pid != handle->port || number < batch->acked || number >= batch->sent ||
		    header.nlmsg_type != NLMSG_ERROR)
			continue;
		/* The kernel answers in order, once for each message: anything else must not outgrow the array. */
		if (batch->failed && batch->failures[batch->failed - 1].index >= number)
			continue;
		outcome = &batch->failures[batch->failed];
		err = read_error(outcome, handle->receive + start, (size_t)size);
		if (err)
			return err;
		outcome->index = number;
		if (outcome->error)
			batch->failed++;
		if (number == batch->sent - 1)
			batch->acked = batch->sent;
	}
	return size;
}

int rtnl_talk_batch(struct rtnl_handle *handle, struct rtnl_batch *batch, int64_t deadline)
{
	int64_t slice = clock_ns() + SLICE_NS;
	size_t size;
	int err;

	if (!batch->count)
		return 0;
	if (!batch->first_seq) {
		err = check_batch(handle, batch);
		if (err)
			return err;
		batch->first_seq = take_seq(handle, batch->count);
	}
	for (;;) {
		while (batch->acked < batch->sent) {
			err = receive(handle, handle->receive, RTNL_RECEIVE_SIZE, deadline);
			if (err < 0)
				return err;
			size = (size_t)err;
			err = file_replies(handle, batch, size);
			explicit_bzero(handle->receive, size); /* old kernels echo requests, and these may hold keys */
			if (err < 0)
				return err;
		}
		if (batch->sent == batch->count || (batch->stop_on_error && batch->failed))
			return 0;
		/* The kernel works while it is sent to, so nobody ever waits and sees the time pass. */
		if (batch->sent && rtnl_is_past(deadline))
			return -ETIMEDOUT;
		if (batch->sent && rtnl_is_past(slice))
			return -EINTR;
		err = send_next(handle, batch);
		if (err)
			return err;
	}
}

/* --- dumps and events ---------------------------------------------------------------------------------- */

int rtnl_dump_request(struct rtnl_handle *handle, struct nlmsghdr *request, struct rtnl_dump *dump)
{
	struct nlmsghdr header = header_at((const uint8_t *)request);

	if (header.nlmsg_len < NLMSG_HDRLEN || dump->capacity < RTNL_DUMP_DATAGRAM)
		return -EINVAL;
	dump->seq = take_seq(handle, 1);
	dump->length = 0;
	dump->done = 0;
	dump->failed = 0;
	dump->interrupted = 0;
	memset(&dump->outcome, 0, sizeof(dump->outcome));
	header.nlmsg_seq = dump->seq;
	header.nlmsg_pid = handle->port;
	header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_DUMP;
	memcpy(request, &header, sizeof(header));
	return send_all(handle, request, header.nlmsg_len);
}

/* The status in NLMSG_DONE: negative when the dump failed, its extended ACK right behind. */
static int read_done(struct rtnl_dump *dump, const uint8_t *data, size_t length)
{
	int32_t status;

	if (length < NLMSG_HDRLEN + sizeof(status))
		return -EBADMSG;
	memcpy(&status, data + NLMSG_HDRLEN, sizeof(status));
	dump->done = 1;
	if (status >= 0)
		return 0;
	if (status < -4095)
		return -EBADMSG;
	dump->outcome.error = -status;
	if (header_at(data).nlmsg_flags & NLM_F_ACK_TLVS)
		read_extended_ack(&dump->outcome, data, length, NLMSG_HDRLEN + sizeof(status));
	return status;
}

/* Takes one datagram of `length` bytes that stands behind the messages that are kept. Keeps ours, closes up the gaps
 * that others leave. Returns 0, or why the dump ends without its end. */
static int take_part(const struct rtnl_handle *handle, struct rtnl_dump *dump, size_t length)
{
	uint8_t *part = dump->data + dump->length;
	size_t position = 0, start = 0;
	struct nlmsghdr header;
	int size, err;

	for (; (size = rtnl_message_next(part, length, &position)) > 0; start = position) {
		header = header_at(part + start);
		if (header.nlmsg_pid != handle->port || header.nlmsg_seq != dump->seq)
			continue;
		if (header.nlmsg_flags & NLM_F_DUMP_INTR)
			dump->interrupted = 1;
		if (header.nlmsg_type == NLMSG_DONE) {
			err = read_done(dump, part + start, (size_t)size);
			if (err < 0)
				return err;
		} else if (header.nlmsg_type == NLMSG_ERROR) {
			dump->done = 1;
			err = read_error(&dump->outcome, part + start, (size_t)size);
			return err < 0 ? err : -dump->outcome.error;
		} else {
			memmove(dump->data + dump->length, part + start, (size_t)size);
			dump->length += NLMSG_ALIGN((size_t)size);
		}
	}
	return size;
}

int rtnl_dump_next(struct rtnl_handle *handle, struct rtnl_dump *dump, int64_t deadline)
{
	int result;

	dump->length = 0;
	while (!dump->done && !dump->failed && dump->capacity - dump->length >= RTNL_DUMP_DATAGRAM) {
		/* Each datagram that is read makes the kernel put the next one there: only the first is waited for. */
		result = receive(handle, dump->data + dump->length, dump->capacity - dump->length,
				 dump->length ? 0 : deadline);
		if (result > 0)
			result = take_part(handle, dump, (size_t)result);
		if ((result == -EINTR || result == -ETIMEDOUT) && !dump->length)
			return result;
		if (result == -EINTR || result == -ETIMEDOUT)
			break;
		if (result < 0)
			dump->failed = result;
	}
	if (!dump->length)
		return dump->failed;
	result = dump->decode ? dump->decode(dump->argument, dump->data, dump->length) : 0;
	if (result < 0)
		dump->failed = result;
	return result < 0 ? result : 1;
}

int rtnl_listen(struct rtnl_handle *handle, uint8_t *data, size_t capacity, int64_t deadline)
{
	return receive(handle, data, capacity, deadline);
}

/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "listen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	AT_ONCE = 64,                     /* datagrams in one recvmmsg */
	SLOT = RTNL_RECEIVE_SIZE + 1088,  /* not a power of two: or else all begin in the same lines of the cache */
	ROUND = 4096,                     /* datagrams in one call: it ends though more come as fast as it reads */
	CHUNK = 256 << 10,
	OVERFILL = 65536,                 /* bytes by which the kernel may overfill a socket */
};

struct listen_chunk {
	struct listen_chunk *next;
	size_t begin, end; /* of what is kept in `data` */
	uint8_t data[CHUNK];
};

_Static_assert(CHUNK > sizeof(struct listen_record) + RTNL_RECEIVE_SIZE, "an empty chunk has room for any message");

int rtnl_subscribe(struct rtnl_handle *handle, int all_nsid)
{
	int on = 1;

	if (all_nsid && setsockopt(handle->fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on)) < 0)
		return -errno;
	if (handle->wake_fd < 0)
		handle->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return handle->wake_fd < 0 ? -errno : 0;
}

void rtnl_wake(const struct rtnl_handle *handle)
{
	uint64_t one = 1;
	ssize_t written = write(handle->wake_fd, &one, sizeof(one)); /* full: it is readable as it is */

	(void)written;
}

/* --- the queue's memory -------------------------------------------------------------------------------- */

/* Appends a record: a message of `size` bytes, or, without one, a mark. */
static int put(struct listen_queue *queue, uint32_t size, int32_t nsid, const uint8_t *message)
{
	struct listen_record record = {.size = size, .nsid = nsid};
	size_t padded = message ? NLMSG_ALIGN((size_t)size) : 0, total = sizeof(record) + padded;
	struct listen_chunk *chunk = queue->last;
	uint8_t *place;

	if (!chunk || CHUNK - chunk->end < total) {
		chunk = malloc(sizeof(*chunk));
		if (!chunk)
			return -ENOMEM;
		chunk->next = NULL;
		chunk->begin = chunk->end = 0;
		if (queue->last)
			queue->last->next = chunk;
		else
			queue->first = chunk;
		queue->last = chunk;
	}
	place = chunk->data + chunk->end;
	memcpy(place, &record, sizeof(record));
	if (message) {
		memcpy(place + sizeof(record), message, size);
		memset(place + sizeof(record) + size, 0, padded - size);
	}
	chunk->end += total;
	queue->bytes += total;
	return 0;
}

void listen_peek(struct listen_queue *queue, uint32_t most)
{
	const struct listen_chunk *chunk = queue->first;
	struct listen_record record;
	size_t size = 0;

	queue->front = chunk ? chunk->data + chunk->begin : NULL;
	while (chunk && most-- && chunk->begin + size < chunk->end) {
		memcpy(&record, queue->front + size, sizeof(record));
		size += sizeof(record) + (record.size < NLMSG_HDRLEN ? 0 : NLMSG_ALIGN((size_t)record.size));
	}
	queue->front_size = size;
	queue->front_end = queue->released + size;
}

void listen_release(struct listen_queue *queue, uint64_t end)
{
	struct listen_chunk *chunk;
	size_t size, left;

	while (end > queue->released && (chunk = queue->first)) {
		left = chunk->end - chunk->begin;
		size = end - queue->released < left ? (size_t)(end - queue->released) : left;
		explicit_bzero(chunk->data + chunk->begin, size);
		chunk->begin += size;
		queue->released += size;
		queue->bytes -= size;
		if (chunk->begin < chunk->end)
			return;
		if (!chunk->next) { /* the last is kept for what comes */
			chunk->begin = chunk->end = 0;
			return;
		}
		queue->first = chunk->next;
		free(chunk);
	}
}

void listen_clear(struct listen_queue *queue)
{
	listen_release(queue, queue->released + queue->bytes);
	free(queue->first);
	free(queue->landing); /* wiped after each use */
	queue->first = queue->last = NULL;
	queue->landing = NULL;
	queue->front = NULL;
	queue->front_size = 0;
}

/* --- receiving ----------------------------------------------------------------------------------------- */

/* The namespace id that came with a datagram, -1 if none did. */
static int32_t find_nsid(struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int32_t nsid = -1;

	for (; header; header = CMSG_NXTHDR(message, header))
		if (header->cmsg_level == SOL_NETLINK && header->cmsg_type == NETLINK_LISTEN_ALL_NSID &&
		    header->cmsg_len == CMSG_LEN(sizeof(nsid)))
			memcpy(&nsid, CMSG_DATA(header), sizeof(nsid));
	return nsid;
}

static void lose(struct listen_queue *queue)
{
	queue->lost = 1;
	queue->since = 0;
}

/* Puts the mark that is due. Without memory for it, it stays due. */
static int put_overrun(struct listen_queue *queue)
{
	int err = put(queue, LISTEN_OVERRUN, -1, NULL);

	if (!err)
		queue->lost = 0;
	return err;
}

/* Keeps the messages of one datagram; all of them, or none. */
static void keep(struct listen_queue *queue, const uint8_t *data, size_t length, int32_t nsid)
{
	size_t position = 0, start;
	int size;

	while ((size = rtnl_message_next(data, length, &position)) > 0)
		;
	if (size < 0) {
		put(queue, LISTEN_BROKEN, nsid, NULL); /* if not: it is a loss anyway */
		lose(queue);
		return;
	}
	for (position = start = 0; (size = rtnl_message_next(data, length, &position)) > 0; start = position)
		if (put(queue, (uint32_t)size, nsid, data + start))
			lose(queue);
}

static void keep_datagram(const struct rtnl_handle *handle, struct listen_queue *queue, struct mmsghdr *received)
{
	const struct sockaddr_nl *sender = received->msg_hdr.msg_name;

	/* What other processes send to our port is not looked at. */
	if (received->msg_hdr.msg_namelen != sizeof(*sender) || sender->nl_pid != 0)
		return;
	if (received->msg_hdr.msg_flags & MSG_TRUNC) {
		lose(queue);
		return;
	}
	if (queue->lost)
		queue->since += received->msg_len;
	keep(queue, received->msg_hdr.msg_iov->iov_base, received->msg_len, find_nsid(&received->msg_hdr));
	if (queue->lost && queue->since > (uint64_t)handle->receive_buffer + OVERFILL)
		put_overrun(queue);
}

/* Receives what there is, at most AT_ONCE datagrams. Returns how many, or -errno. A loss that happens behind the
 * first of them is what the next call returns. */
static int receive_many(struct rtnl_handle *handle, struct listen_queue *queue)
{
	union {
		struct cmsghdr align;
		uint8_t data[CMSG_SPACE(sizeof(int32_t))];
	} controls[AT_ONCE];
	struct sockaddr_nl senders[AT_ONCE];
	struct mmsghdr headers[AT_ONCE];
	struct iovec parts[AT_ONCE];
	int count, i;

	if (!queue->landing)
		queue->landing = malloc((size_t)AT_ONCE * SLOT);
	if (!queue->landing)
		return -ENOMEM;
	memset(headers, 0, sizeof(headers));
	memset(senders, 0, sizeof(senders));
	for (i = 0; i < AT_ONCE; i++) {
		parts[i] = (struct iovec){queue->landing + (size_t)i * SLOT, RTNL_RECEIVE_SIZE};
		headers[i].msg_hdr.msg_name = &senders[i];
		headers[i].msg_hdr.msg_namelen = sizeof(senders[i]);
		headers[i].msg_hdr.msg_iov = &parts[i];
		headers[i].msg_hdr.msg_iovlen = 1;
		headers[i].msg_hdr.msg_control = &controls[i];
		headers[i].msg_hdr.msg_controllen = sizeof(controls[i]);
	}
	count = recvmmsg(handle->fd, headers, AT_ONCE, MSG_DONTWAIT, NULL);
	if (count < 0)
		return -errno;
	for (i = 0; i < count; i++) {
		keep_datagram(handle, queue, &headers[i]);
		explicit_bzero(parts[i].iov_base, headers[i].msg_len);
	}
	return count;
}

int listen_fill(struct rtnl_handle *handle, struct listen_queue *queue, int64_t deadline)
{
	int count, err, received = 0;

	while (received < ROUND && (!queue->bytes || queue->bytes < queue->limit)) {
		count = receive_many(handle, queue);
		if (count == -ENOBUFS) {
			lose(queue);
			received++;
		} else if (count == -EAGAIN) {
			if (queue->lost) {
				err = put_overrun(queue);
				if (err && !queue->bytes)
					return err;
			}
			if (queue->bytes)
				return 0;
			err = rtnl_wait_readable(handle, deadline);
			if (err)
				return err;
		} else if (count < 0) {
			return queue->bytes ? 0 : count;
		} else if (count < AT_ONCE && queue->bytes && !queue->lost) {
			return 0;
		} else {
			received += count;
		}
	}
	if (queue->bytes)
		return 0;
	/* All that came was others': they can't keep us from the deadline, nor from signals, by writing to us. */
	return rtnl_is_past(deadline) ? -ETIMEDOUT : -EINTR;
}

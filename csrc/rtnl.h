/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_RTNL_H
#define XFRM_EXT_RTNL_H

/* Netlink sockets in the style of iproute2's libnetlink, made for use inside other programs.
 *
 * Nothing here knows XFRM, prints, exits or keeps state outside the caller's structures. Every function
 * returns a negative errno on failure; -EINTR (a signal came, or may have come) leaves the exchange resumable: call
 * again with the same arguments. A deadline is a CLOCK_MONOTONIC time in nanoseconds; a negative one waits for ever.
 * A handle serves one caller at a time: lock around it. */

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

/* cdef: begin */
enum {
	RTNL_TEXT_SIZE = 160,
	RTNL_RECEIVE_SIZE = 65536,
	RTNL_DUMP_DATAGRAM = 32768, /* no datagram of a dump is longer */
};

struct rtnl_handle {
	int fd;                  /* -1 when closed */
	int protocol;            /* NETLINK_XFRM, NETLINK_ROUTE, ... */
	uint32_t port;           /* our nl_pid: an address given by the kernel, seldom the process id */
	uint32_t seq;            /* the last sequence number used, never 0 */
	uint32_t send_buffer;    /* SO_SNDBUF as read back: the longest send is 32 bytes less */
	uint32_t receive_buffer; /* SO_RCVBUF as read back */
	int overrun;             /* -ENOBUFS was returned: the next request first empties the receive queue */
	int wake_fd;             /* what rtnl_wake (listen.h) writes to; -1: nothing */
	uint8_t *receive;        /* RTNL_RECEIVE_SIZE bytes, owned by the handle, wiped after use */
};

/* What the kernel said of one message. */
struct rtnl_outcome {
	uint32_t index;              /* which message of the batch; 0 for a single one */
	int32_t error;               /* positive errno; 0: done (then `text` is a warning) */
	uint32_t offset;             /* extended ACK: offset of the attribute at fault in the sent message, or 0 */
	uint32_t missing_type;       /* extended ACK: type of the attribute that is missing, or 0 */
	char text[RTNL_TEXT_SIZE];   /* extended ACK: the kernel's words, NUL-terminated, "" if none */
};

/* Messages to be sent in order, several in each send, and what became of them. */
struct rtnl_batch {
	/* set by the caller, who owns the memory */
	uint8_t *messages;             /* back to back, 4-byte aligned lengths; header flags, seq, pid get written */
	size_t length;                 /* bytes in `messages` */
	uint32_t count;                /* messages in `messages` */
	uint32_t per_send;             /* the most messages in one send, >= 1 */
	struct rtnl_outcome *failures; /* room for `count` */
	int stop_on_error;             /* send nothing more after a send in which a message failed */
	/* progress, zeroed by the caller, kept by rtnl_talk_batch:
	 * messages [0, acked) have an outcome: refused if listed in `failures`, done otherwise;
	 * messages [acked, sent) were handed to the kernel, and their outcome is unknown unless listed;
	 * messages [sent, count) were not sent. */
	uint32_t acked;
	uint32_t sent;
	uint32_t failed;               /* entries in `failures`, in the order of the messages */
	uint32_t first_seq;            /* sequence number of message 0; 0: nothing sent yet */
	size_t sent_bytes;
};

/* A dump in progress. */
struct rtnl_dump {
	uint8_t *data;               /* set by the caller, who owns it: RTNL_DUMP_DATAGRAM bytes or more */
	size_t capacity;
	/* Set by the caller, may be NULL: what is made of each block of messages, at once. Returns 0 or -errno. */
	int (*decode)(void *argument, const uint8_t *data, size_t length);
	void *argument;
	size_t length;               /* whole messages of this dump in `data`, after rtnl_dump_next returned 1 */
	uint32_t seq;                /* of the request */
	int done;                    /* NLMSG_DONE was seen */
	int failed;                  /* what the next rtnl_dump_next returns */
	int interrupted;             /* NLM_F_DUMP_INTR was seen: the dump may be inconsistent */
	struct rtnl_outcome outcome; /* why the kernel refused, when rtnl_dump_next returned its error */
};

/* Opens a netlink socket in the calling thread's network namespace, bound to a port chosen by the kernel and
 * to the multicast groups of the bit mask `groups` (bit n-1: group n). Extended ACKs on, requests not echoed
 * in ACKs. Returns 0, and the caller owns the handle (rtnl_close); or a negative errno, and owns nothing. */
int rtnl_open_byproto(struct rtnl_handle *handle, unsigned groups, int protocol);

/* Closes and wipes; a closed handle may be closed again. */
void rtnl_close(struct rtnl_handle *handle);

/* Asks the kernel for socket buffers of `bytes`, beyond the system's limit where privilege allows, and reads
 * back what was given. Returns 0 or -errno. */
int rtnl_set_buffers(struct rtnl_handle *handle, uint32_t send_bytes, uint32_t receive_bytes);

/* Sends one request and waits for its reply.
 * `request` is one message in the caller's memory; its seq is written (non-zero: already sent, so a call
 * after -EINTR only goes on waiting) and, when `answer` is NULL, NLM_F_ACK.
 * With `answer`, the first message that replies is copied there. Returns its length, or 0 for a plain ACK.
 * A refusal is -errno with `outcome` filled in; any other failure leaves outcome->error 0. */
int rtnl_talk(struct rtnl_handle *handle, struct nlmsghdr *request, void *answer, size_t capacity,
	      struct rtnl_outcome *outcome, int64_t deadline);

/* Sends a batch, waits for what the kernel says of each message. Only the last message of a send asks for an
 * ACK; one that fails always answers. Returns 0 when every message sent has an outcome (refusals included;
 * with stop_on_error some may not have been sent: look at `sent`).
 * -EINTR also comes each 10 ms between two sends.
 * -ENOBUFS: the kernel dropped replies; -ETIMEDOUT: the deadline passed. The outcomes known so far stand, and
 * the batch is at its end: what is still unknown stays so.
 * -EINVAL: `messages` are not `count` well-formed messages, or one is longer than a send may be; found before
 * anything is sent. */
int rtnl_talk_batch(struct rtnl_handle *handle, struct rtnl_batch *batch, int64_t deadline);

/* Starts a dump with `request` (NLM_F_REQUEST | NLM_F_DUMP are set). One at a time on a handle: -EBUSY comes
 * from rtnl_dump_next otherwise. An unfinished dump ends with rtnl_close. */
int rtnl_dump_request(struct rtnl_handle *handle, struct nlmsghdr *request, struct rtnl_dump *dump);

/* Receives the next datagrams: as many as are there and fit. Returns 1 with messages in dump->data[0 .. length), 0 at
 * the end, or -errno (what came before it was returned). */
int rtnl_dump_next(struct rtnl_handle *handle, struct rtnl_dump *dump, int64_t deadline);

/* Finds the message at *position in data[0 .. length). Returns its length and advances *position, 0 at the
 * end, -EBADMSG when a length does not fit. */
int rtnl_message_next(const uint8_t *data, size_t length, size_t *position);

/* Receives the next datagram of multicast messages, from the kernel only. Returns its length; -ENOBUFS when
 * the socket overflowed and messages were lost; -EMSGSIZE when one did not fit and was cut. listen.h is for those
 * who must not miss any.
 *
 * After -ENOBUFS the queue holds what came before the loss. The kernel adds nothing, and reports no second loss,
 * until it has been empty once. */
int rtnl_listen(struct rtnl_handle *handle, uint8_t *data, size_t capacity, int64_t deadline);
/* cdef: end */

/* A handle that holds nothing. */
void rtnl_clear(struct rtnl_handle *handle);

/* Waits until there is something to receive: 0, -ETIMEDOUT, -EINTR, or -ECANCELED after rtnl_wake. */
int rtnl_wait_readable(const struct rtnl_handle *handle, int64_t deadline);

int rtnl_is_past(int64_t deadline);

/* The deadline so many nanoseconds from now. */
int64_t rtnl_deadline_after(int64_t nanoseconds);

#endif

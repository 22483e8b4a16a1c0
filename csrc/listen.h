/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_LISTEN_H
#define XFRM_EXT_LISTEN_H

/* Multicast messages of the kernel, as fast as it sends them: what waits in the socket is moved into memory, many
 * datagrams in one call, so that the socket does not overflow while its reader is busy. Knows no XFRM.
 *
 * Functions return a negative errno on failure. One caller at a time; only rtnl_wake may be called beside. */

#include <stddef.h>
#include <stdint.h>

#include "rtnl.h"

/* cdef: begin */
/* In front of each message in a queue's memory, which has padding to a multiple of 4 behind it. A size that no
 * message has is a mark, with nothing behind it. */
struct listen_record {
	uint32_t size; /* of the message, or one of the marks */
	int32_t nsid;  /* the id of the namespace that it comes from, -1: the socket's own */
};
enum {
	LISTEN_OVERRUN = 0, /* messages were lost, all of them older than what comes behind this */
	LISTEN_BROKEN = 1,  /* here was a datagram whose lengths do not fit; it counts as lost */
};

struct listen_chunk;

/* Memory for what was received, and nobody has asked for yet. All zero but `limit` it holds nothing; listen_clear
 * frees what it holds. */
struct listen_queue {
	size_t limit;                /* bytes at which listen_fill stops, less than 5 MiB may be over it */
	const uint8_t *front;        /* what listen_peek found: records, valid until they are released */
	size_t front_size;
	uint64_t front_end;          /* where that ends, counted in bytes from the first ever received */
	/* the rest is the queue's own business */
	uint64_t released;           /* where what is kept begins, counted in the same way */
	size_t bytes;                /* kept */
	struct listen_chunk *first, *last;
	uint8_t *landing;            /* where recvmmsg writes */
	uint64_t since;              /* bytes that were received since the loss */
	int lost;                    /* a LISTEN_OVERRUN is due */
};

/* Prepares a handle for rtnl_wake, and with `all_nsid` for the events of all namespaces that have an id in its
 * own one (needs CAP_NET_BROADCAST). Returns 0 or -errno. */
int rtnl_subscribe(struct rtnl_handle *handle, int all_nsid);

/* Ends the wait that another thread is in with this handle, and all later ones, with -ECANCELED. The handle must
 * stay open meanwhile; what has been received already can still be read. Without rtnl_subscribe: nothing. */
void rtnl_wake(const struct rtnl_handle *handle);

/* Moves what waits in the socket into the queue, from the kernel only; waits only while the queue is empty.
 * Returns 0 when the queue holds something; -ETIMEDOUT; -EINTR: call again; -ECANCELED after rtnl_wake; -ENOMEM.
 *
 * After a loss (ENOBUFS, or a datagram longer than RTNL_RECEIVE_SIZE) the socket holds what came before it. The
 * kernel adds nothing, and reports no second loss, until it has been empty once. So LISTEN_OVERRUN is put where
 * the socket was seen empty, or where more was read than fits into it: all that was lost is older. */
int listen_fill(struct rtnl_handle *handle, struct listen_queue *queue, int64_t deadline);

/* Finds the records at the front, at most `most` of them, seldom all: sets front, front_size and front_end. */
void listen_peek(struct listen_queue *queue, uint32_t most);

/* Wipes and frees everything before `end`, a front_end. May be repeated. */
void listen_release(struct listen_queue *queue, uint64_t end);

/* Wipes and frees everything. May be repeated. */
void listen_clear(struct listen_queue *queue);
/* cdef: end */

#endif

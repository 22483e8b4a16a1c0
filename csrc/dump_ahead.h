/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_DUMP_AHEAD_H
#define XFRM_EXT_DUMP_AHEAD_H

/* A dump that a thread receives, and decodes, some blocks ahead of who looks at them: without Python's GIL, which that
 * one holds meanwhile.
 *
 * One who gives and takes, one thread that runs. After a fork the child may stop it, which closes its descriptor, and
 * free it; nothing else. */

#include <stdint.h>

#include "rtnl.h"

/* cdef: begin */
enum { DUMP_AHEAD_MOST = 8 }; /* blocks that may be given and not yet taken */

struct dump_ahead;

/* For a dump that was begun on `handle`, which `dump->decode` is to decode; if that is NULL the thread only receives.
 * `dump` and its data are the thread's from the first dump_ahead_give on, the handle is not: its descriptor is copied.
 * `timeout`: nanoseconds for each block; negative: none. Stores memory at `place`, to be freed by dump_ahead_free when
 * dump_ahead_run has returned or never runs. Returns 0 or -errno. */
int dump_ahead_new(struct dump_ahead **place, const struct rtnl_handle *handle, struct rtnl_dump *dump,
		   int64_t timeout);

/* May be called with nothing at `place`. */
void dump_ahead_free(struct dump_ahead **place);

/* Has one more block decoded: `argument` is dump->decode's for it. Or received: it is where, dump->capacity bytes. */
void dump_ahead_give(struct dump_ahead *ahead, void *argument);

/* Waits for the block of the argument that was given first, and returns what rtnl_dump_next returned for it, or how
 * many bytes there are of one that was only received: after 0 or an error there is no other. -EINTR, which comes each
 * 50 ms: call again. */
int dump_ahead_take(struct dump_ahead *ahead);

/* Receives and decodes until the dump ends, or dump_ahead_stop. Blocks all signals: they are for others. */
void dump_ahead_run(struct dump_ahead *ahead);

/* Has dump_ahead_run return soon. Does not wait for it. */
void dump_ahead_stop(struct dump_ahead **place);
/* cdef: end */

#endif

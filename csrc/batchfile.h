/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_BATCHFILE_H
#define XFRM_EXT_BATCHFILE_H

/* Files in the format that `ip -batch` reads -> policy messages. Never touches a file or a socket: the caller
 * hands over text and gets a block of messages. */

#include <stddef.h>
#include <stdint.h>

#include "policy.h"

/* cdef: begin */
enum {
	BATCHFILE_ERROR_SIZE = 320,
	BATCHFILE_NAME_SIZE = 16,
	BATCHFILE_INTERFACES = 64,
	BATCHFILE_TAILS_SIZE = 263168,
};

enum batchfile_result {
	BATCHFILE_MORE = 0,       /* the text is used up to a last unfinished line */
	BATCHFILE_FULL = 1,       /* the block is full: send it, then call again */
	BATCHFILE_BAD_LINE = 2,   /* `error` says what is wrong with line `bad_line`, which is consumed */
	BATCHFILE_INTERFACE = 3,  /* the index of interface `name` is needed: add it, then call again */
};

/* A parser's place in a text, and the block it fills. */
struct batchfile {
	/* set by the caller, who owns the memory */
	const char *text;
	size_t length;
	int last;               /* the text ends with this piece: its last line may lack a newline */
	uint8_t *messages;      /* the block, back to back; NULL: lines are checked and counted only */
	size_t capacity;        /* of the block: 65536 at least, which any message fits */
	uint32_t *lines;        /* room for `most`: the number of the line that each message came from */
	uint32_t most;          /* messages in a block */
	int only_adds;          /* lines that do anything else are wrong */
	struct batchfile_tails *tails; /* BATCHFILE_TAILS_SIZE bytes, zeros at first: what the parser remembers */
	/* set by batchfile_parse; the caller zeroes `position` with each new piece of text, and `size` and
	 * `count` with each new block */
	size_t position;        /* bytes of text used */
	size_t size;            /* bytes in the block */
	uint32_t count;         /* messages in the block */
	uint32_t line;          /* lines read so far; from the start of the file */
	uint32_t bad_line;      /* the line that `error` is about: of continued lines the first */
	char error[BATCHFILE_ERROR_SIZE];
	char name[BATCHFILE_NAME_SIZE];
	/* interfaces known by name: the caller appends what BATCHFILE_INTERFACE asks for */
	struct {
		char name[BATCHFILE_NAME_SIZE];
		int32_t index;
	} interfaces[BATCHFILE_INTERFACES];
	uint32_t interface_count; /* entries used; beyond BATCHFILE_INTERFACES the oldest are overwritten */
};

/* Parses lines into the block until something in enum batchfile_result happens. Lines:
 *   [xfrm] policy add|update|delete ...   as `ip xfrm policy` takes them, same abbreviations
 *   [xfrm] policy flush [ptype main|sub]
 * with '#' comments, blank lines, quotes, and a backslash at the end for a continued line. */
int batchfile_parse(struct batchfile *file);
/* cdef: end */

#endif

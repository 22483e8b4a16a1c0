/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_BATCHFILE_LINE_H
#define XFRM_EXT_BATCHFILE_LINE_H

/* One line of a batch file: its words, and the policy that they make. Only for batchfile*.c. */

#include <string.h>

#include "batchfile.h"
#include "text.h"
#include "words.h"

enum {
	LINE_MOST = 16384,   /* bytes, of a line that is continued with backslashes */
	LINE_INTERFACE = -2, /* the index of an interface is needed, whose name is in line->file */
};

/* A line being read: its words, and the policy that they make. Functions that read words return 0, -1 with
 * file->error filled in, or LINE_INTERFACE. */
struct line {
	struct batchfile *file;
	struct words words;
	unsigned next; /* word */
	uint32_t seen; /* bit per enum keyword, against repetitions */
	struct text_prefix source, destination;
	struct xfrm_selector selector;
	struct xfrm_lifetime_cfg lifetime;
	struct xfrm_user_tmpl templates[XFRM_MAX_DEPTH];
	unsigned template_count;
	struct policy_options options;
	uint32_t priority, index;
	uint8_t direction, action, flags;
	char context[4096];
};

enum keyword {
	SRC, DST, DEV, PROTO, SPORT, DPORT, TYPE, CODE, KEY, /* a selector's, up to here */
	DIR, CTX, MARK, INDEX, PTYPE, ACTION, PRIORITY, FLAG, LIMIT, IF_ID, OFFLOAD, TMPL,
	SPI, REQID, MODE, LEVEL, /* a template's own */
	KEYWORDS,
};

extern const char *const line_keywords[KEYWORDS];

#define IS(word, name) ((word)->length == sizeof(name) - 1 && !memcmp((word)->text, name, sizeof(name) - 1))

/* The word after a keyword, or NULL at the end of the line. */
static inline const struct word *line_value(struct line *line)
{
	return line->next < line->words.count ? &line->words.all[line->next++] : NULL;
}

static inline const struct word *line_peek(const struct line *line)
{
	return line->next < line->words.count ? &line->words.all[line->next] : NULL;
}

/* --- batchfile_line.c: lines, words, numbers ----------------------------------------------------------- */

/* Finds the words of the logical line at `text`. Returns the end of its last physical line and counts those; NULL:
 * it is not there yet. `joined` is for one that is continued. Sets *err to 0 or -1. */
const char *line_find(struct line *line, const char *text, uint32_t *lines, char joined[LINE_MOST], int *err);

/* "dir: 'sideways' is not in, out or fwd". Returns -1. */
int line_fail(struct line *line, const char *field, const struct word *word, const char *rule);

/* An enum keyword, or -1. */
int line_keyword(const struct word *word);

int line_number(struct line *line, const char *field, const struct word *word, uint64_t most, uint64_t *number);
int line_u32(struct line *line, const char *field, const struct word *word, uint32_t *number);
int line_u16(struct line *line, const char *field, const struct word *word, uint64_t most, uint16_t *number);

/* --- batchfile_template.c ------------------------------------------------------------------------------ */

/* Reads the template behind the word `name`. One that ends the line is looked up before it is read. */
int line_template(struct line *line, const struct word *name);

/* --- batchfile_policy.c -------------------------------------------------------------------------------- */

/* Reads the words of a line. Returns 0, with *type of its message, or 0 for an empty line; -1: file->error says why;
 * LINE_INTERFACE. */
int line_policy(struct line *line, uint16_t *type);

/* Packs what a line said into a message at `out`. Returns its length or -EMSGSIZE. */
int line_pack(struct line *line, uint16_t type, uint8_t *out, size_t capacity);

#endif

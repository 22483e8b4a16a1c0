/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_WORDS_H
#define XFRM_EXT_WORDS_H

/* Lines of text -> their words, as `ip -batch` tells them apart. Words point into the text. */

#include <stddef.h>

enum { WORDS_MOST = 256 }; /* in a line: a policy with six templates has 150 at most */

struct word {
	const char *text;
	size_t length;
};

struct words {
	struct word all[WORDS_MOST];
	unsigned count;
};

enum words_error {
	WORDS_TOO_MANY = -1,
	WORDS_OPEN_QUOTE = -2, /* a quote is not closed before the end or a comment */
};

/* Splits the line at `text`, never looking at `end` or behind it. Returns the newline at its end; NULL when only
 * words_split can tell: there are comments, quotes, control characters, or characters that are as rare, it goes on in
 * the next line, has very many words, or ends within 64 bytes of `end`. */
const char *words_of_plain_line(struct words *words, const char *text, const char *end);

/* Splits a line of any kind that ends at `end`. Returns 0 or an enum words_error. */
int words_split(struct words *words, const char *text, const char *end);

#endif

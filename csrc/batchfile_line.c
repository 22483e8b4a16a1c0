/* SPDX-License-Identifier: MIT */
#include "batchfile_line.h"

#include <errno.h>
#include <stdio.h>

enum {
	ERROR_WORD_SIZE = 64, /* of a wrong word that an error repeats */
	TOO_LONG = -3,        /* results of joining lines */
	OPEN_END = -4,
};

const char *const line_keywords[KEYWORDS] = {
	"src", "dst", "dev", "proto", "sport", "dport", "type", "code", "key",
	"dir", "ctx", "mark", "index", "ptype", "action", "priority", "flag", "limit", "if_id", "offload", "tmpl",
	"spi", "reqid", "mode", "level",
};

int line_fail(struct line *line, const char *field, const struct word *word, const char *rule)
{
	char shown[ERROR_WORD_SIZE + 4];
	size_t i = 0;

	if (!word) {
		snprintf(line->file->error, BATCHFILE_ERROR_SIZE, "%s: %s", field, rule);
		return -1;
	}
	for (; i < word->length && i < ERROR_WORD_SIZE; i++)
		shown[i] = word->text[i] >= ' ' && word->text[i] <= '~' ? word->text[i] : '?';
	strcpy(shown + i, i < word->length ? "..." : "");
	snprintf(line->file->error, BATCHFILE_ERROR_SIZE, "%s: '%s' %s", field, shown, rule);
	return -1;
}

int line_keyword(const struct word *word)
{
	switch (word->length) {
	case 3:
		return IS(word, "dst") ? DST : IS(word, "src") ? SRC : IS(word, "dir") ? DIR : IS(word, "spi") ? SPI
		     : IS(word, "dev") ? DEV : IS(word, "ctx") ? CTX : IS(word, "key") ? KEY : -1;
	case 4:
		return IS(word, "tmpl") ? TMPL : IS(word, "mode") ? MODE : IS(word, "mark") ? MARK
		     : IS(word, "type") ? TYPE : IS(word, "code") ? CODE : IS(word, "flag") ? FLAG : -1;
	case 5:
		return IS(word, "proto") ? PROTO : IS(word, "reqid") ? REQID : IS(word, "index") ? INDEX
		     : IS(word, "level") ? LEVEL : IS(word, "if_id") ? IF_ID : IS(word, "ptype") ? PTYPE
		     : IS(word, "sport") ? SPORT : IS(word, "dport") ? DPORT : IS(word, "limit") ? LIMIT : -1;
	case 6:
		return IS(word, "action") ? ACTION : -1;
	case 7:
		return IS(word, "offload") ? OFFLOAD : -1;
	case 8:
		return IS(word, "priority") ? PRIORITY : -1;
	}
	return -1;
}

int line_number(struct line *line, const char *field, const struct word *word, uint64_t most, uint64_t *number)
{
	char rule[80];

	if (!text_to_number(word->text, word->length, most, number))
		return 0;
	snprintf(rule, sizeof(rule), "is not a number from 0 to %llu, decimal or 0x...", (unsigned long long)most);
	return line_fail(line, field, word, rule);
}

int line_u32(struct line *line, const char *field, const struct word *word, uint32_t *number)
{
	uint64_t wide = 0;
	int err = line_number(line, field, word, UINT32_MAX, &wide);

	*number = (uint32_t)wide;
	return err;
}

int line_u16(struct line *line, const char *field, const struct word *word, uint64_t most, uint16_t *number)
{
	uint64_t wide = 0;
	int err = line_number(line, field, word, most, &wide);

	*number = (uint16_t)wide;
	return err;
}

/* Splits text of any kind into words. */
static int split(struct line *line, const char *text, const char *end)
{
	switch (words_split(&line->words, text, end)) {
	case WORDS_TOO_MANY:
		return line_fail(line, "line", NULL, "more than 256 words");
	case WORDS_OPEN_QUOTE:
		return line_fail(line, "line", NULL, "a quote is not closed");
	}
	return 0;
}

/* Finds the end of the physical line at `text`. Returns NULL when it is not there yet. */
static const char *line_end(const struct batchfile *file, const char *text)
{
	const char *end = file->text + file->length, *newline = memchr(text, '\n', (size_t)(end - text));

	return newline ? newline : file->last ? end : NULL;
}

/* Whether a physical line goes on in the next one: it ends with a backslash that no comment hides. Returns how
 * many bytes to leave out at its end: of DOS lines a CR, too. */
static int continues(const char *text, const char *end)
{
	int size = end > text && end[-1] == '\r' ? 2 : 1;

	return end - text >= size && end[-size] == '\\' && !memchr(text, '#', (size_t)(end - text)) ? size : 0;
}

/* Joins continued lines into `copy`. Returns the joined length and sets *end behind the last physical line,
 * TOO_LONG, OPEN_END when the text ends with a backslash, -EAGAIN when it stops short of the line's end. Counts
 * lines. */
static int join(struct batchfile *file, const char *text, const char **end, uint32_t *lines, char copy[LINE_MOST])
{
	const char *stop = NULL, *comment;
	size_t size = 0, part;
	int more, fits = 1;

	do {
		if (text >= file->text + file->length) {
			*end = stop;
			return file->last ? OPEN_END : -EAGAIN;
		}
		stop = line_end(file, text);
		if (!stop)
			return -EAGAIN;
		more = continues(text, stop);
		comment = memchr(text, '#', (size_t)(stop - text));
		part = (size_t)((comment ? comment : stop) - text) - (size_t)more;
		if (part > LINE_MOST - size)
			fits = 0;
		if (fits) {
			memcpy(copy + size, text, part);
			size += part;
		}
		text = stop + 1;
		++*lines;
	} while (more);
	*end = stop;
	return fits ? (int)size : TOO_LONG;
}

const char *line_find(struct line *line, const char *text, uint32_t *lines, char joined[LINE_MOST], int *err)
{
	struct batchfile *file = line->file;
	const char *end = words_of_plain_line(&line->words, text, file->text + file->length);
	int size;

	*err = 0;
	*lines = 1;
	if (end)
		return end;
	end = line_end(file, text);
	if (!end)
		return NULL;
	if (!continues(text, end)) {
		*err = split(line, text, end);
		return end;
	}
	*lines = 0;
	size = join(file, text, &end, lines, joined);
	if (size == -EAGAIN)
		return NULL;
	*err = size == TOO_LONG ? line_fail(line, "line", NULL, "longer than 16384 bytes with its continuations")
	     : size == OPEN_END ? line_fail(line, "line", NULL, "ends with a backslash, and no line follows")
				: split(line, joined, joined + size);
	return end;
}

/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "batchfile_line.h"
#include "hash.h"

enum {
	TEMPLATE_KEYWORDS = 1 << SRC | 1 << DST | 1 << PROTO | 1 << SPI | 1 << REQID | 1 << MODE | 1 << LEVEL,
};

static int template_protocol(const struct word *word)
{
	return IS(word, "esp") ? IPPROTO_ESP : IS(word, "ah") ? IPPROTO_AH : IS(word, "comp") ? IPPROTO_COMP
	     : IS(word, "route2") ? IPPROTO_ROUTING : IS(word, "hao") ? IPPROTO_DSTOPTS
	     : IS(word, "ipsec-any") ? 255 : -1;
}

static int template_mode(const struct word *word)
{
	return IS(word, "tunnel") ? XFRM_MODE_TUNNEL : IS(word, "transport") ? XFRM_MODE_TRANSPORT
	     : IS(word, "beet") ? XFRM_MODE_BEET : IS(word, "iptfs") ? XFRM_MODE_IPTFS
	     : IS(word, "ro") ? XFRM_MODE_ROUTEOPTIMIZATION : IS(word, "in_trigger") ? XFRM_MODE_IN_TRIGGER : -1;
}

static int read_template_value(struct line *line, int keyword, const struct word *word, struct xfrm_user_tmpl *tmpl,
			       struct text_prefix *source, struct text_prefix *destination)
{
	int found;

	switch (keyword) {
	case SRC:
	case DST:
		if (text_to_address(word->text, word->length, TEXT_STRICT, keyword == SRC ? source : destination))
			return line_fail(line, keyword == SRC ? "tmpl src" : "tmpl dst", word, "is not an IP address");
		return 0;
	case PROTO:
		found = template_protocol(word);
		tmpl->id.proto = (uint8_t)found;
		return found >= 0 ? 0 : line_fail(line, "tmpl proto", word, "is not esp, ah, comp, route2, hao or ipsec-any");
	case MODE:
		found = template_mode(word);
		tmpl->mode = (uint8_t)found;
		return found >= 0 ? 0 : line_fail(line, "tmpl mode", word,
					     "is not transport, tunnel, beet, iptfs, ro or in_trigger");
	case LEVEL:
		tmpl->optional = IS(word, "use");
		return tmpl->optional || IS(word, "required") ? 0 : line_fail(line, "tmpl level", word,
									 "is not required or use");
	case SPI:
		found = line_u32(line, "tmpl spi", word, &tmpl->id.spi);
		tmpl->id.spi = htonl(tmpl->id.spi);
		return found;
	}
	return line_u32(line, "tmpl reqid", word, &tmpl->reqid);
}

static int read_template(struct line *line)
{
	struct text_prefix source, destination;
	struct xfrm_user_tmpl *tmpl;
	const struct word *word;
	uint32_t seen = 0;
	int keyword;

	if (line->template_count == XFRM_MAX_DEPTH)
		return line_fail(line, "tmpl", NULL, "more than 6 templates (XFRM_MAX_DEPTH)");
	tmpl = &line->templates[line->template_count++];
	memset(tmpl, 0, sizeof(*tmpl));
	tmpl->aalgos = tmpl->ealgos = tmpl->calgos = UINT32_MAX;
	while ((word = line_peek(line)) && (keyword = line_keyword(word)) >= 0 && TEMPLATE_KEYWORDS & 1 << keyword) {
		line->next++;
		if (seen & 1 << keyword)
			return line_fail(line, "tmpl", word, "is given twice");
		seen |= 1 << keyword;
		word = line_value(line);
		if (!word)
			return line_fail(line, line_keywords[keyword], NULL, "has no value");
		if (read_template_value(line, keyword, word, tmpl, &source, &destination))
			return -1;
	}
	if (!(seen & 1 << PROTO))
		return line_fail(line, "tmpl", NULL, "proto is missing");
	if (template_set_addresses(tmpl, seen & 1 << SRC ? &source : NULL, seen & 1 << DST ? &destination : NULL, -1))
		return line_fail(line, "tmpl dst", NULL, "is of another address family than tmpl src");
	return 0;
}

/* How lines ended that end with a template, and what it was: many lines of a large file end alike. */
enum { TAILS = 1024, TAIL_PLACES = 4, TAIL_LEAST = 16, TAIL_MOST = 180 };

struct tail {
	uint64_t hash; /* 0: unused */
	uint32_t size;
	struct xfrm_user_tmpl tmpl;
	char text[TAIL_MOST];
};

struct batchfile_tails {
	struct tail all[TAILS + TAIL_PLACES];
};

_Static_assert(sizeof(struct batchfile_tails) == BATCHFILE_TAILS_SIZE, "BATCHFILE_TAILS_SIZE");

/* Of TAIL_LEAST bytes or more. */
static uint64_t hash_tail(const char *text, size_t size)
{
	const char *last = text + size - 16;
	uint64_t one = size, other = 0;

	for (; text < last; text += 16) {
		one = hash_more(one, text);
		other = hash_more(other, text + 8);
	}
	return (hash_more(one, last) + hash_more(other, last + 8)) | 1;
}

int line_template(struct line *line, const struct word *name)
{
	const struct word *last = &line->words.all[line->words.count - 1];
	size_t size = (size_t)(last->text + last->length - name->text);
	unsigned count = line->template_count, i;
	struct tail *tail;
	uint64_t hash;
	int err;

	if (size < TAIL_LEAST || size > TAIL_MOST || count == XFRM_MAX_DEPTH)
		return read_template(line);
	hash = hash_tail(name->text, size);
	tail = &line->file->tails->all[hash >> 32 & (TAILS - 1)];
	for (i = 0; i < TAIL_PLACES - 1 && tail[i].hash && tail[i].hash != hash; i++)
		;
	tail += i;
	if (tail->hash == hash && tail->size == size && !memcmp(tail->text, name->text, size)) {
		line->templates[line->template_count++] = tail->tmpl;
		line->next = line->words.count;
		return 0;
	}
	err = read_template(line);
	if (err || line->next < line->words.count)
		return err;
	tail->hash = hash;
	tail->size = (uint32_t)size;
	tail->tmpl = line->templates[count];
	memcpy(tail->text, name->text, size);
	return 0;
}

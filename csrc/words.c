/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#else
#include <string.h>
#endif

enum { CHUNK = 64 }; /* bytes, for a bit each in a word of the machine */

#ifndef __SSE2__
/* The top bits of eight bytes, the first byte's lowest. */
static uint64_t tops(uint64_t bytes)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	bytes = __builtin_bswap64(bytes);
#endif
	return (bytes >> 7 & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}
#endif

/* What the bytes of a chunk are, a bit each, the first one lowest: spaces, and others up to '\'', among which are all
 * that make a line more than words and spaces. */
static void look(const char *text, uint64_t *spaces, uint64_t *stops)
{
	uint64_t space = 0, low = 0;
	int i;

#ifdef __SSE2__
	const __m128i blank = _mm_set1_epi8(' '), highest = _mm_set1_epi8('\'');

	for (i = 0; i < CHUNK; i += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(text + i));

		space |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, blank)) << i;
		low |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(bytes, highest), highest)) << i;
	}
#else
	const uint64_t ones = 0x0101010101010101u, rest = ones * 0x7f;
	uint64_t bytes, others;

	for (i = 0; i < CHUNK; i += 8) {
		memcpy(&bytes, text + i, sizeof(bytes));
		others = bytes ^ ones * ' ';
		space |= tops(~(((others & rest) + rest) | others)) << i;
		low |= tops(~(((bytes & rest) + ones * (0x7f - '\'')) | bytes)) << i;
	}
#endif
	*spaces = space;
	*stops = low & ~space;
}

const char *words_of_plain_line(struct words *words, const char *text, const char *end)
{
	const char *line = text, *newline = NULL;
	uint64_t spaces, stops, changes, outside = 1; /* outside of a word, before the chunk */
	struct word *word = words->all;
	int at;

	for (; !newline; text += CHUNK) {
		if (end - text < CHUNK || word - words->all > WORDS_MOST - CHUNK / 2 - 1)
			return NULL;
		look(text, &spaces, &stops);
		if (stops) {
			at = __builtin_ctzll(stops);
			newline = text + at;
			if (*newline != '\n' || (newline > line && newline[-1] == '\\'))
				return NULL;
			spaces |= ~(uint64_t)0 << at; /* no word begins behind it */
		}
		changes = spaces ^ (spaces << 1 | outside);
		if (!outside && changes) {
			word->length = (size_t)(text + __builtin_ctzll(changes) - word->text);
			word++;
			changes &= changes - 1;
		}
		outside = spaces >> (CHUNK - 1);
		while (changes) {
			at = __builtin_ctzll(changes);
			word->text = text + at;
			changes &= changes - 1;
			if (!changes)
				break; /* it goes on in the next chunk */
			word->length = (size_t)(__builtin_ctzll(changes) - at);
			word++;
			changes &= changes - 1;
		}
	}
	words->count = (unsigned)(word - words->all);
	return newline;
}

static int is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int words_split(struct words *words, const char *text, const char *end)
{
	struct word *word;
	char quote;

	words->count = 0;
	for (;;) {
		while (text < end && is_space(*text))
			text++;
		if (text == end || *text == '#')
			return 0;
		if (words->count == WORDS_MOST)
			return WORDS_TOO_MANY;
		word = &words->all[words->count++];
		if (*text == '\'' || *text == '"') {
			quote = *text++;
			word->text = text;
			while (text < end && *text != quote && *text != '#')
				text++;
			if (text == end || *text == '#') /* ip cuts comments off first, too */
				return WORDS_OPEN_QUOTE;
			word->length = (size_t)(text++ - word->text);
			continue;
		}
		word->text = text;
		while (text < end && !is_space(*text) && *text != '#')
			text++; /* control characters belong to words: they end up in an error */
		word->length = (size_t)(text - word->text);
	}
}

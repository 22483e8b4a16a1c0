/* SPDX-License-Identifier: MIT */
#include "batchfile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "message.h"
#include "text.h"
#include "words.h"

enum {
	LINE_SIZE = 16384,     /* of a line that is continued with backslashes */
	ERROR_WORD_SIZE = 64,  /* of a wrong word that an error repeats */
	NEED_INTERFACE = -2,
	TOO_LONG = -3,         /* results of joining lines */
	OPEN_END = -4,
};

/* A line being read: its words, and the policy that they make. Functions that read words return 0, -1 with
 * file->error filled in, or NEED_INTERFACE. */
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
	uint32_t priority, index, gre_key;
	uint8_t direction, action, flags;
	char context[4096];
};

enum keyword {
	SRC, DST, DEV, PROTO, SPORT, DPORT, TYPE, CODE, KEY, /* a selector's, up to here */
	DIR, CTX, MARK, INDEX, PTYPE, ACTION, PRIORITY, FLAG, LIMIT, IF_ID, OFFLOAD, TMPL,
	SPI, REQID, MODE, LEVEL, /* a template's own */
	KEYWORDS,
};

static const char *const keyword_names[KEYWORDS] = {
	"src", "dst", "dev", "proto", "sport", "dport", "type", "code", "key",
	"dir", "ctx", "mark", "index", "ptype", "action", "priority", "flag", "limit", "if_id", "offload", "tmpl",
	"spi", "reqid", "mode", "level",
};

enum {
	SELECTOR_KEYWORDS = (1 << DIR) - 1,
	TEMPLATE_KEYWORDS = 1 << SRC | 1 << DST | 1 << PROTO | 1 << SPI | 1 << REQID | 1 << MODE | 1 << LEVEL,
	REPEATABLE_KEYWORDS = 1 << LIMIT | 1 << FLAG | 1 << TMPL,
	ADD_KEYWORDS = (1 << SPI) - 1,
	DELETE_KEYWORDS = SELECTOR_KEYWORDS | 1 << DIR | 1 << CTX | 1 << MARK | 1 << INDEX | 1 << PTYPE | 1 << IF_ID,
};

/* --- errors and words ---------------------------------------------------------------------------------- */

/* "dir: 'sideways' is not in, out or fwd". Returns -1. */
static int fail(struct line *line, const char *field, const struct word *word, const char *rule)
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

#define IS(word, name) ((word)->length == sizeof(name) - 1 && !memcmp((word)->text, name, sizeof(name) - 1))

/* Whether `word` abbreviates `name`, as iproute2 lets it for objects and commands. */
#define ABBREVIATES(word, name) (IS(word, name) || abbreviates(word, name))

static int abbreviates(const struct word *word, const char *name)
{
	size_t i = 0;

	while (i < word->length && name[i] && word->text[i] == name[i])
		i++;
	return i && i == word->length;
}

/* Splits text of any kind into words. */
static int split(struct line *line, const char *text, const char *end)
{
	switch (words_split(&line->words, text, end)) {
	case WORDS_TOO_MANY:
		return fail(line, "line", NULL, "more than 256 words");
	case WORDS_OPEN_QUOTE:
		return fail(line, "line", NULL, "a quote is not closed");
	}
	return 0;
}

static int keyword_of(const struct word *word)
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

/* The word after a keyword, or NULL at the end of the line. */
static const struct word *value(struct line *line)
{
	return line->next < line->words.count ? &line->words.all[line->next++] : NULL;
}

static const struct word *peek(const struct line *line)
{
	return line->next < line->words.count ? &line->words.all[line->next] : NULL;
}

static int read_number(struct line *line, const char *field, const struct word *word, uint64_t most, uint64_t *number)
{
	char rule[80];

	if (!text_to_number(word->text, word->length, most, number))
		return 0;
	snprintf(rule, sizeof(rule), "is not a number from 0 to %llu, decimal or 0x...", (unsigned long long)most);
	return fail(line, field, word, rule);
}

static int read_u32(struct line *line, const char *field, const struct word *word, uint32_t *number)
{
	uint64_t wide = 0;
	int err = read_number(line, field, word, UINT32_MAX, &wide);

	*number = (uint32_t)wide;
	return err;
}

static int read_u16(struct line *line, const char *field, const struct word *word, uint64_t most, uint16_t *number)
{
	uint64_t wide = 0;
	int err = read_number(line, field, word, most, &wide);

	*number = (uint16_t)wide;
	return err;
}

/* --- selectors ----------------------------------------------------------------------------------------- */

static int read_prefix(struct line *line, const char *field, const struct word *word, struct text_prefix *prefix)
{
	switch (text_to_prefix(word->text, word->length, TEXT_SHORT, prefix)) {
	case 0:
		/* "10/8" is clear, a lone "10" is not. */
		if (prefix->has_length || prefix->family != AF_INET ||
		    !text_to_prefix(word->text, word->length, TEXT_STRICT, prefix))
			return 0;
		return fail(line, field, word, "is not an IP prefix");
	case TEXT_PREFIX_LENGTH:
		return fail(line, field, word, "has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)");
	}
	return fail(line, field, word, "is not an IP prefix");
}

/* The index of an interface, from those that the caller looked up. */
static int read_interface(struct line *line, const char *field, const struct word *word, int32_t *index)
{
	struct batchfile *file = line->file;
	uint32_t known = file->interface_count, i;

	if (!word->length || word->length >= BATCHFILE_NAME_SIZE || memchr(word->text, 0, word->length))
		return fail(line, field, word, "is not an interface name: 1 to 15 characters");
	if (known > BATCHFILE_INTERFACES)
		known = BATCHFILE_INTERFACES;
	for (i = 0; i < known; i++) {
		if (strncmp(file->interfaces[i].name, word->text, word->length) ||
		    file->interfaces[i].name[word->length])
			continue;
		*index = file->interfaces[i].index;
		return *index > 0 ? 0 : fail(line, field, word, "is not an interface");
	}
	memset(file->name, 0, sizeof(file->name));
	memcpy(file->name, word->text, word->length);
	return NEED_INTERFACE;
}

static int read_port(struct line *line, const char *field, const struct word *word, uint64_t most, int zero_is_any,
		     uint16_t *port, uint16_t *mask)
{
	uint16_t number;
	int err = read_u16(line, field, word, most, &number);

	*port = htons(number);
	*mask = number || !zero_is_any ? 0xffff : 0; /* `sport 0` is any port, `type 0` is type 0 */
	return err;
}

static int read_gre_key(struct line *line, const struct word *word)
{
	struct text_prefix dotted;
	uint32_t key;

	if (!text_to_address(word->text, word->length, TEXT_STRICT, &dotted) && dotted.family == AF_INET)
		key = ntohl(dotted.address.a4);
	else if (read_u32(line, "key", word, &key))
		return fail(line, "key", word, "is not a number from 0 to 4294967295 or a dotted quad");
	line->selector.sport = htons((uint16_t)(key >> 16));
	line->selector.dport = htons((uint16_t)key);
	line->selector.sport_mask = line->selector.dport_mask = 0xffff;
	return 0;
}

static int read_selector_value(struct line *line, int keyword, const struct word *word)
{
	const char *field = keyword_names[keyword];
	struct xfrm_selector *selector = &line->selector;
	int number;

	switch (keyword) {
	case SRC:
		return read_prefix(line, field, word, &line->source);
	case DST:
		return read_prefix(line, field, word, &line->destination);
	case DEV:
		return IS(word, "none") ? 0 : read_interface(line, field, word, &selector->ifindex);
	case PROTO:
		if (word->length && (unsigned char)(word->text[0] - '0') <= 9) {
			uint64_t wide = 0;

			if (read_number(line, field, word, 255, &wide))
				return -1;
			selector->proto = (uint8_t)wide;
			return 0;
		}
		number = text_protocol_number(word->text, word->length);
		if (number < 0)
			return fail(line, field, word, "is not an IP protocol");
		selector->proto = (uint8_t)number;
		return 0;
	case SPORT:
		return read_port(line, field, word, UINT16_MAX, 1, &selector->sport, &selector->sport_mask);
	case DPORT:
		return read_port(line, field, word, UINT16_MAX, 1, &selector->dport, &selector->dport_mask);
	case TYPE:
		return read_port(line, field, word, UINT8_MAX, 0, &selector->sport, &selector->sport_mask);
	case CODE:
		return read_port(line, field, word, UINT8_MAX, 0, &selector->dport, &selector->dport_mask);
	}
	return read_gre_key(line, word);
}

/* Ports, types and keys share fields: which one is meant depends on the protocol. */
static int check_upper_protocol(struct line *line)
{
	static const uint8_t with_ports[] = {IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_DCCP,
					     IPPROTO_UDPLITE};
	static const uint8_t with_types[] = {IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_MH};
	uint8_t protocol = line->selector.proto;

	if (line->seen & (1 << SPORT | 1 << DPORT) && !memchr(with_ports, protocol, sizeof(with_ports)))
		return fail(line, line->seen & 1 << SPORT ? "sport" : "dport", NULL,
			    "only TCP, UDP, UDP-Lite, SCTP, DCCP or any protocol has ports");
	if (line->seen & (1 << TYPE | 1 << CODE) && !memchr(with_types, protocol, sizeof(with_types)))
		return fail(line, line->seen & 1 << TYPE ? "type" : "code", NULL,
			    "only ICMP, ICMPv6 and the mobility header have types and codes");
	if (line->seen & 1 << KEY && protocol != IPPROTO_GRE)
		return fail(line, "key", NULL, "only GRE has keys");
	return 0;
}

static int finish_selector(struct line *line)
{
	if (selector_set_prefixes(&line->selector, line->seen & 1 << SRC ? &line->source : NULL,
				  line->seen & 1 << DST ? &line->destination : NULL, -1))
		return fail(line, "dst", NULL, "is of another address family than src");
	return check_upper_protocol(line);
}

/* --- templates ----------------------------------------------------------------------------------------- */

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
			return fail(line, keyword == SRC ? "tmpl src" : "tmpl dst", word, "is not an IP address");
		return 0;
	case PROTO:
		found = template_protocol(word);
		tmpl->id.proto = (uint8_t)found;
		return found >= 0 ? 0 : fail(line, "tmpl proto", word, "is not esp, ah, comp, route2, hao or ipsec-any");
	case MODE:
		found = template_mode(word);
		tmpl->mode = (uint8_t)found;
		return found >= 0 ? 0 : fail(line, "tmpl mode", word,
					     "is not transport, tunnel, beet, iptfs, ro or in_trigger");
	case LEVEL:
		tmpl->optional = IS(word, "use");
		return tmpl->optional || IS(word, "required") ? 0 : fail(line, "tmpl level", word,
									 "is not required or use");
	case SPI:
		found = read_u32(line, "tmpl spi", word, &tmpl->id.spi);
		tmpl->id.spi = htonl(tmpl->id.spi);
		return found;
	}
	return read_u32(line, "tmpl reqid", word, &tmpl->reqid);
}

static int read_template(struct line *line)
{
	struct text_prefix source, destination;
	struct xfrm_user_tmpl *tmpl;
	const struct word *word;
	uint32_t seen = 0;
	int keyword;

	if (line->template_count == XFRM_MAX_DEPTH)
		return fail(line, "tmpl", NULL, "more than 6 templates (XFRM_MAX_DEPTH)");
	tmpl = &line->templates[line->template_count++];
	memset(tmpl, 0, sizeof(*tmpl));
	tmpl->aalgos = tmpl->ealgos = tmpl->calgos = UINT32_MAX;
	while ((word = peek(line)) && (keyword = keyword_of(word)) >= 0 && TEMPLATE_KEYWORDS & 1 << keyword) {
		line->next++;
		if (seen & 1 << keyword)
			return fail(line, "tmpl", word, "is given twice");
		seen |= 1 << keyword;
		word = value(line);
		if (!word)
			return fail(line, keyword_names[keyword], NULL, "has no value");
		if (read_template_value(line, keyword, word, tmpl, &source, &destination))
			return -1;
	}
	if (!(seen & 1 << PROTO))
		return fail(line, "tmpl", NULL, "proto is missing");
	if (template_set_addresses(tmpl, seen & 1 << SRC ? &source : NULL, seen & 1 << DST ? &destination : NULL, -1))
		return fail(line, "tmpl dst", NULL, "is of another address family than tmpl src");
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

static uint64_t mix(uint64_t hash, const char *text)
{
	uint64_t word;

	memcpy(&word, text, sizeof(word));
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

/* Of TAIL_LEAST bytes or more. */
static uint64_t hash_tail(const char *text, size_t size)
{
	const char *last = text + size - 16;
	uint64_t one = size, other = 0;

	for (; text < last; text += 16) {
		one = mix(one, text);
		other = mix(other, text + 8);
	}
	return (mix(one, last) + mix(other, last + 8)) | 1;
}

/* Reads the template behind the word `name`. One that ends the line is looked up before it is read. */
static int read_template_or_tail(struct line *line, const struct word *name)
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

/* --- the other words of a policy ----------------------------------------------------------------------- */

static int read_limit(struct line *line, const struct word *name)
{
	static const struct {
		const char *name;
		size_t offset;
	} limits[] = {
		{"time-soft", offsetof(struct xfrm_lifetime_cfg, soft_add_expires_seconds)},
		{"time-hard", offsetof(struct xfrm_lifetime_cfg, hard_add_expires_seconds)},
		{"time-use-soft", offsetof(struct xfrm_lifetime_cfg, soft_use_expires_seconds)},
		{"time-use-hard", offsetof(struct xfrm_lifetime_cfg, hard_use_expires_seconds)},
		{"byte-soft", offsetof(struct xfrm_lifetime_cfg, soft_byte_limit)},
		{"byte-hard", offsetof(struct xfrm_lifetime_cfg, hard_byte_limit)},
		{"packet-soft", offsetof(struct xfrm_lifetime_cfg, soft_packet_limit)},
		{"packet-hard", offsetof(struct xfrm_lifetime_cfg, hard_packet_limit)},
	};
	const struct word *word;
	uint64_t number;
	size_t i;

	for (i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (name->length != strlen(limits[i].name) || memcmp(name->text, limits[i].name, name->length))
			continue;
		word = value(line);
		if (!word)
			return fail(line, limits[i].name, NULL, "has no value");
		if (read_number(line, limits[i].name, word, UINT64_MAX, &number))
			return -1;
		memcpy((char *)&line->lifetime + limits[i].offset, &number, sizeof(number));
		return 0;
	}
	return fail(line, "limit", name, "is not time-, time-use-, byte- or packet- with soft or hard");
}

static int flag_bit(const struct word *word)
{
	return IS(word, "localok") ? XFRM_POLICY_LOCALOK : IS(word, "icmp") ? XFRM_POLICY_ICMP
	     : IS(word, "cpu_acquire") ? XFRM_POLICY_CPU_ACQUIRE : -1;
}

static int read_flags(struct line *line, const struct word *word)
{
	uint16_t number;
	int bit = flag_bit(word);

	if (bit < 0 && word->length && (unsigned char)(word->text[0] - '0') <= 9) {
		if (read_u16(line, "flag", word, UINT8_MAX, &number))
			return -1;
		line->flags |= (uint8_t)number;
		return 0;
	}
	if (bit < 0)
		return fail(line, "flag", word, "is not localok, icmp, cpu_acquire or a number");
	for (;;) {
		line->flags |= (uint8_t)bit;
		word = peek(line);
		bit = word ? flag_bit(word) : -1;
		if (bit < 0)
			return 0;
		line->next++;
	}
}

static int read_mark(struct line *line, const struct word *word)
{
	struct policy_options *options = &line->options;
	const struct word *next;

	options->mark_mask = UINT32_MAX;
	if (read_u32(line, "mark", word, &options->mark_value))
		return -1;
	next = peek(line);
	if (next && IS(next, "mask")) {
		line->next++;
		next = value(line);
		if (!next)
			return fail(line, "mask", NULL, "has no value");
		if (read_u32(line, "mask", next, &options->mark_mask))
			return -1;
	}
	options->mark_value &= options->mark_mask; /* as the kernel stores it, so that a delete finds it */
	if (options->mark_mask)
		options->has |= POLICY_HAS_MARK;
	return 0;
}

static int read_offload(struct line *line, const struct word *word)
{
	const struct word *dev, *name;

	if (!IS(word, "packet"))
		return fail(line, "offload", word, "is not packet, the only offload of policies");
	dev = value(line);
	name = value(line);
	if (!dev || !IS(dev, "dev") || !name)
		return fail(line, "offload", NULL, "dev and an interface must follow");
	line->options.offload_flags = XFRM_OFFLOAD_PACKET;
	line->options.has |= POLICY_HAS_OFFLOAD;
	return read_interface(line, "offload dev", name, &line->options.offload_interface);
}

static int read_value(struct line *line, int keyword, const struct word *word)
{
	struct policy_options *options = &line->options;
	const char *field = keyword_names[keyword];

	if (1 << keyword & SELECTOR_KEYWORDS)
		return read_selector_value(line, keyword, word);
	switch (keyword) {
	case DIR:
		line->direction = IS(word, "in") ? XFRM_POLICY_IN : IS(word, "fwd") ? XFRM_POLICY_FWD : XFRM_POLICY_OUT;
		return line->direction != XFRM_POLICY_OUT || IS(word, "out") ? 0 : fail(line, field, word,
										      "is not in, out or fwd");
	case CTX:
		if (word->length + 1 > sizeof(line->context))
			return fail(line, field, NULL, "longer than 4095 bytes");
		if (memchr(word->text, 0, word->length))
			return fail(line, field, NULL, "a NUL is in it");
		memcpy(line->context, word->text, word->length);
		line->context[word->length] = 0;
		options->context = (const uint8_t *)line->context;
		options->context_size = (uint16_t)(word->length + 1);
		options->context_algorithm = XFRM_SC_ALG_SELINUX;
		options->context_doi = XFRM_SC_DOI_LSM;
		options->has |= POLICY_HAS_SECURITY_CONTEXT;
		return 0;
	case MARK:
		return read_mark(line, word);
	case INDEX:
		return read_u32(line, field, word, &line->index);
	case PTYPE:
		options->type = IS(word, "sub") ? XFRM_POLICY_TYPE_SUB : XFRM_POLICY_TYPE_MAIN;
		options->has |= POLICY_HAS_TYPE;
		return options->type || IS(word, "main") ? 0 : fail(line, field, word, "is not main or sub");
	case ACTION:
		line->action = IS(word, "block") ? XFRM_POLICY_BLOCK : XFRM_POLICY_ALLOW;
		return line->action || IS(word, "allow") ? 0 : fail(line, field, word, "is not allow or block");
	case PRIORITY:
		return read_u32(line, field, word, &line->priority);
	case FLAG:
		return read_flags(line, word);
	case LIMIT:
		return read_limit(line, word);
	case IF_ID:
		options->has |= POLICY_HAS_IF_ID;
		return read_u32(line, field, word, &options->if_id);
	}
	return read_offload(line, word);
}

/* Reads all words behind the command. `allowed`: a bit per keyword. */
static int read_words(struct line *line, uint32_t allowed)
{
	const struct word *word, *name;
	int keyword, err;

	while ((name = value(line))) {
		keyword = keyword_of(name);
		if (keyword < 0 || !(allowed & 1 << keyword))
			return fail(line, "policy", name, "is not known here");
		if (line->seen & ~REPEATABLE_KEYWORDS & 1 << keyword)
			return fail(line, "policy", name, "is given twice");
		line->seen |= 1u << keyword;
		if (keyword == TMPL) {
			err = read_template_or_tail(line, name);
		} else {
			word = value(line);
			err = word ? read_value(line, keyword, word) : fail(line, keyword_names[keyword], NULL,
									     "has no value");
		}
		if (err)
			return err;
	}
	return 0;
}

/* --- commands ------------------------------------------------------------------------------------------ */

static int pack_add(struct line *line, uint16_t type, uint8_t *out, size_t capacity)
{
	return policy_pack(out, capacity, type, (const uint8_t *)&line->selector, (const uint8_t *)&line->lifetime,
			   NULL, (const uint8_t *)line->templates, line->template_count, line->priority, line->index,
			   line->direction | (uint32_t)line->action << POLICY_ACTION_SHIFT |
				   (uint32_t)line->flags << POLICY_FLAGS_SHIFT,
			   &line->options);
}

static int read_policy(struct line *line, uint16_t type, uint32_t allowed)
{
	int err = read_words(line, allowed);

	if (err)
		return err;
	if (!(line->seen & 1 << DIR))
		return fail(line, "policy", NULL, "dir is missing");
	if (type == XFRM_MSG_DELPOLICY && !(line->seen & SELECTOR_KEYWORDS) == !(line->seen & 1 << INDEX))
		return fail(line, "policy delete", NULL, "needs a selector or an index, one of the two");
	/* The kernel would take it for a policy named by selector: the one for all packets. */
	if (type == XFRM_MSG_DELPOLICY && line->seen & 1 << INDEX && !line->index)
		return fail(line, "index", NULL, "0 is no policy's");
	if (line->index && (line->index & 7) != line->direction)
		return fail(line, "index", NULL, "does not match dir: index & 7 must be 0 for in, 1 for out, 2 for fwd");
	return finish_selector(line);
}

static int read_flush(struct line *line)
{
	return read_words(line, 1 << PTYPE);
}

/* Reads the command and what follows it. Sets *type. */
static int read_command(struct line *line, uint16_t *type)
{
	const struct word *word = value(line);

	if (word && ABBREVIATES(word, "xfrm"))
		word = value(line);
	if (!word)
		return fail(line, "line", NULL, "a command is missing");
	if (!ABBREVIATES(word, "policy"))
		return fail(line, "line", word, "is not policy: only policies are loaded here");
	word = value(line);
	if (!word)
		return fail(line, "policy", NULL, "add, update, delete or flush is missing");
	*type = ABBREVIATES(word, "add")      ? XFRM_MSG_NEWPOLICY
	      : ABBREVIATES(word, "update") ? XFRM_MSG_UPDPOLICY
	      : ABBREVIATES(word, "delete") ? XFRM_MSG_DELPOLICY
	      : ABBREVIATES(word, "flush")  ? XFRM_MSG_FLUSHPOLICY
					    : 0;
	if (*type && *type != XFRM_MSG_NEWPOLICY && line->file->only_adds)
		return fail(line, "policy", word, "can't be taken back: only add can");
	switch (*type) {
	case XFRM_MSG_NEWPOLICY:
	case XFRM_MSG_UPDPOLICY:
		return read_policy(line, *type, ADD_KEYWORDS);
	case XFRM_MSG_DELPOLICY:
		return read_policy(line, *type, DELETE_KEYWORDS);
	case XFRM_MSG_FLUSHPOLICY:
		return read_flush(line);
	}
	return fail(line, "policy", word, "is not add, update, delete or flush");
}

/* Packs what a line said into a message at `out`. Returns its length or -EMSGSIZE. */
static int pack(struct line *line, uint16_t type, uint8_t *out, size_t capacity)
{
	switch (type) {
	case XFRM_MSG_FLUSHPOLICY:
		return policy_flush_pack(out, capacity, line->seen & 1 << PTYPE ? line->options.type : -1);
	case XFRM_MSG_DELPOLICY:
		return policy_id_pack(out, capacity, type, (const uint8_t *)&line->selector, line->index,
				      line->direction, &line->options);
	}
	return pack_add(line, type, out, capacity);
}

/* Reads the words of a logical line. Returns 0, with *type of its message, or 0 for an empty line; -1: file->error
 * says why; NEED_INTERFACE. */
static int read_all(struct line *line, uint16_t *type)
{
	*type = 0;
	if (!line->words.count)
		return 0;
	line->next = 0;
	line->seen = 0;
	line->template_count = 0;
	line->priority = line->index = 0;
	line->direction = line->action = line->flags = 0;
	memset(&line->selector, 0, sizeof(line->selector));
	memset(&line->options, 0, sizeof(line->options));
	memset(&line->lifetime, 0, sizeof(line->lifetime));
	memset(&line->lifetime, 0xff, offsetof(struct xfrm_lifetime_cfg, soft_add_expires_seconds));
	return read_command(line, type);
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
static int join(struct batchfile *file, const char *text, const char **end, uint32_t *lines, char copy[LINE_SIZE])
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
		if (part > LINE_SIZE - size)
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

/* Finds the words of the logical line at `text`. Returns the end of its last physical line and counts those; NULL:
 * it is not there yet. Sets *err to 0 or -1. */
static const char *read_line(struct line *line, const char *text, uint32_t *lines, char joined[LINE_SIZE], int *err)
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
	*err = size == TOO_LONG ? fail(line, "line", NULL, "longer than 16384 bytes with its continuations")
	     : size == OPEN_END ? fail(line, "line", NULL, "ends with a backslash, and no line follows")
				: split(line, joined, joined + size);
	return end;
}

int batchfile_parse(struct batchfile *file)
{
	const char *end;
	char joined[LINE_SIZE];
	struct line line;
	uint32_t lines;
	uint16_t type;
	int err, length;

	line.file = file;
	file->error[0] = 0;
	while (file->position < file->length) {
		if (file->count == file->most)
			return BATCHFILE_FULL;
		end = read_line(&line, file->text + file->position, &lines, joined, &err);
		if (!end)
			return BATCHFILE_MORE;
		if (!err)
			err = read_all(&line, &type);
		if (err == NEED_INTERFACE)
			return BATCHFILE_INTERFACE;
		if (!err && type && file->messages) {
			length = pack(&line, type, file->messages + file->size, file->capacity - file->size);
			if (length < 0)
				return BATCHFILE_FULL; /* any message fits into an empty block */
			file->lines[file->count] = file->line + 1;
			file->size += NLMSG_ALIGN((size_t)length);
		}
		file->position = (size_t)(end - file->text) + 1;
		if (file->position > file->length)
			file->position = file->length;
		file->line += lines;
		if (err) {
			file->bad_line = file->line - lines + 1;
			return BATCHFILE_BAD_LINE;
		}
		file->count += type != 0;
	}
	return BATCHFILE_MORE;
}

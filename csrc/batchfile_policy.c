/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "batchfile_line.h"
#include "message.h"

enum {
	SELECTOR_KEYWORDS = (1 << DIR) - 1,
	REPEATABLE_KEYWORDS = 1 << LIMIT | 1 << FLAG | 1 << TMPL,
	ADD_KEYWORDS = (1 << SPI) - 1,
	DELETE_KEYWORDS = SELECTOR_KEYWORDS | 1 << DIR | 1 << CTX | 1 << MARK | 1 << INDEX | 1 << PTYPE | 1 << IF_ID,
};

/* --- selectors ----------------------------------------------------------------------------------------- */

static int read_prefix(struct line *line, const char *field, const struct word *word, struct text_prefix *prefix)
{
	switch (text_to_prefix(word->text, word->length, TEXT_SHORT, prefix)) {
	case 0:
		/* "10/8" is clear, a lone "10" is not. */
		if (prefix->has_length || prefix->family != AF_INET ||
		    !text_to_prefix(word->text, word->length, TEXT_STRICT, prefix))
			return 0;
		return line_fail(line, field, word, "is not an IP prefix");
	case TEXT_PREFIX_LENGTH:
		return line_fail(line, field, word, "has a wrong prefix length or netmask (IPv4: /0 to /32, IPv6: /0 to /128)");
	}
	return line_fail(line, field, word, "is not an IP prefix");
}

/* The index of an interface, from those that the caller looked up. */
static int read_interface(struct line *line, const char *field, const struct word *word, int32_t *index)
{
	struct batchfile *file = line->file;
	uint32_t known = file->interface_count, i;

	if (!word->length || word->length >= BATCHFILE_NAME_SIZE || memchr(word->text, 0, word->length))
		return line_fail(line, field, word, "is not an interface name: 1 to 15 characters");
	if (known > BATCHFILE_INTERFACES)
		known = BATCHFILE_INTERFACES;
	for (i = 0; i < known; i++) {
		if (strncmp(file->interfaces[i].name, word->text, word->length) ||
		    file->interfaces[i].name[word->length])
			continue;
		*index = file->interfaces[i].index;
		return *index > 0 ? 0 : line_fail(line, field, word, "is not an interface");
	}
	memset(file->name, 0, sizeof(file->name));
	memcpy(file->name, word->text, word->length);
	return LINE_INTERFACE;
}

static int read_port(struct line *line, const char *field, const struct word *word, uint64_t most, int zero_is_any,
		     uint16_t *port, uint16_t *mask)
{
	uint16_t number;
	int err = line_u16(line, field, word, most, &number);

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
	else if (line_u32(line, "key", word, &key))
		return line_fail(line, "key", word, "is not a number from 0 to 4294967295 or a dotted quad");
	line->selector.sport = htons((uint16_t)(key >> 16));
	line->selector.dport = htons((uint16_t)key);
	line->selector.sport_mask = line->selector.dport_mask = 0xffff;
	return 0;
}

static int read_selector_value(struct line *line, int keyword, const struct word *word)
{
	const char *field = line_keywords[keyword];
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

			if (line_number(line, field, word, 255, &wide))
				return -1;
			selector->proto = (uint8_t)wide;
			return 0;
		}
		number = text_protocol_number(word->text, word->length);
		if (number < 0)
			return line_fail(line, field, word, "is not an IP protocol");
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
		return line_fail(line, line->seen & 1 << SPORT ? "sport" : "dport", NULL,
			    "only TCP, UDP, UDP-Lite, SCTP, DCCP or any protocol has ports");
	if (line->seen & (1 << TYPE | 1 << CODE) && !memchr(with_types, protocol, sizeof(with_types)))
		return line_fail(line, line->seen & 1 << TYPE ? "type" : "code", NULL,
			    "only ICMP, ICMPv6 and the mobility header have types and codes");
	if (line->seen & 1 << KEY && protocol != IPPROTO_GRE)
		return line_fail(line, "key", NULL, "only GRE has keys");
	return 0;
}

static int finish_selector(struct line *line)
{
	if (selector_set_prefixes(&line->selector, line->seen & 1 << SRC ? &line->source : NULL,
				  line->seen & 1 << DST ? &line->destination : NULL, -1))
		return line_fail(line, "dst", NULL, "is of another address family than src");
	return check_upper_protocol(line);
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
		word = line_value(line);
		if (!word)
			return line_fail(line, limits[i].name, NULL, "has no value");
		if (line_number(line, limits[i].name, word, UINT64_MAX, &number))
			return -1;
		memcpy((char *)&line->lifetime + limits[i].offset, &number, sizeof(number));
		return 0;
	}
	return line_fail(line, "limit", name, "is not time-, time-use-, byte- or packet- with soft or hard");
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
		if (line_u16(line, "flag", word, UINT8_MAX, &number))
			return -1;
		line->flags |= (uint8_t)number;
		return 0;
	}
	if (bit < 0)
		return line_fail(line, "flag", word, "is not localok, icmp, cpu_acquire or a number");
	for (;;) {
		line->flags |= (uint8_t)bit;
		word = line_peek(line);
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
	if (line_u32(line, "mark", word, &options->mark_value))
		return -1;
	next = line_peek(line);
	if (next && IS(next, "mask")) {
		line->next++;
		next = line_value(line);
		if (!next)
			return line_fail(line, "mask", NULL, "has no value");
		if (line_u32(line, "mask", next, &options->mark_mask))
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
		return line_fail(line, "offload", word, "is not packet, the only offload of policies");
	dev = line_value(line);
	name = line_value(line);
	if (!dev || !IS(dev, "dev") || !name)
		return line_fail(line, "offload", NULL, "dev and an interface must follow");
	line->options.offload_flags = XFRM_OFFLOAD_PACKET;
	line->options.has |= POLICY_HAS_OFFLOAD;
	return read_interface(line, "offload dev", name, &line->options.offload_interface);
}

static int read_value(struct line *line, int keyword, const struct word *word)
{
	struct policy_options *options = &line->options;
	const char *field = line_keywords[keyword];

	if (1 << keyword & SELECTOR_KEYWORDS)
		return read_selector_value(line, keyword, word);
	switch (keyword) {
	case DIR:
		line->direction = IS(word, "in") ? XFRM_POLICY_IN : IS(word, "fwd") ? XFRM_POLICY_FWD : XFRM_POLICY_OUT;
		return line->direction != XFRM_POLICY_OUT || IS(word, "out") ? 0 : line_fail(line, field, word,
										      "is not in, out or fwd");
	case CTX:
		if (word->length + 1 > sizeof(line->context))
			return line_fail(line, field, NULL, "longer than 4095 bytes");
		if (memchr(word->text, 0, word->length))
			return line_fail(line, field, NULL, "a NUL is in it");
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
		return line_u32(line, field, word, &line->index);
	case PTYPE:
		options->type = IS(word, "sub") ? XFRM_POLICY_TYPE_SUB : XFRM_POLICY_TYPE_MAIN;
		options->has |= POLICY_HAS_TYPE;
		return options->type || IS(word, "main") ? 0 : line_fail(line, field, word, "is not main or sub");
	case ACTION:
		line->action = IS(word, "block") ? XFRM_POLICY_BLOCK : XFRM_POLICY_ALLOW;
		return line->action || IS(word, "allow") ? 0 : line_fail(line, field, word, "is not allow or block");
	case PRIORITY:
		return line_u32(line, field, word, &line->priority);
	case FLAG:
		return read_flags(line, word);
	case LIMIT:
		return read_limit(line, word);
	case IF_ID:
		options->has |= POLICY_HAS_IF_ID;
		return line_u32(line, field, word, &options->if_id);
	}
	return read_offload(line, word);
}

/* Reads all words behind the command. `allowed`: a bit per keyword. */
static int read_words(struct line *line, uint32_t allowed)
{
	const struct word *word, *name;
	int keyword, err;

	while ((name = line_value(line))) {
		keyword = line_keyword(name);
		if (keyword < 0 || !(allowed & 1 << keyword))
			return line_fail(line, "policy", name, "is not known here");
		if (line->seen & ~REPEATABLE_KEYWORDS & 1 << keyword)
			return line_fail(line, "policy", name, "is given twice");
		line->seen |= 1u << keyword;
		if (keyword == TMPL) {
			err = line_template(line, name);
		} else {
			word = line_value(line);
			err = word ? read_value(line, keyword, word) : line_fail(line, line_keywords[keyword], NULL,
									     "has no value");
		}
		if (err)
			return err;
	}
	return 0;
}

/* --- commands ------------------------------------------------------------------------------------------ */

/* Whether `word` abbreviates `name`, as iproute2 lets it for objects and commands. */
#define ABBREVIATES(word, name) (IS(word, name) || abbreviates(word, name))

static int abbreviates(const struct word *word, const char *name)
{
	size_t i = 0;

	while (i < word->length && name[i] && word->text[i] == name[i])
		i++;
	return i && i == word->length;
}

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
		return line_fail(line, "policy", NULL, "dir is missing");
	if (type == XFRM_MSG_DELPOLICY && !(line->seen & SELECTOR_KEYWORDS) == !(line->seen & 1 << INDEX))
		return line_fail(line, "policy delete", NULL, "needs a selector or an index, one of the two");
	/* The kernel would take it for a policy named by selector: the one for all packets. */
	if (type == XFRM_MSG_DELPOLICY && line->seen & 1 << INDEX && !line->index)
		return line_fail(line, "index", NULL, "0 is no policy's");
	if (line->index && (line->index & 7) != line->direction)
		return line_fail(line, "index", NULL, "does not match dir: index & 7 must be 0 for in, 1 for out, 2 for fwd");
	return finish_selector(line);
}

static int read_flush(struct line *line)
{
	return read_words(line, 1 << PTYPE);
}

/* Reads the command and what follows it. Sets *type. */
static int read_command(struct line *line, uint16_t *type)
{
	const struct word *word = line_value(line);

	if (word && ABBREVIATES(word, "xfrm"))
		word = line_value(line);
	if (!word)
		return line_fail(line, "line", NULL, "a command is missing");
	if (!ABBREVIATES(word, "policy"))
		return line_fail(line, "line", word, "is not policy: only policies are loaded here");
	word = line_value(line);
	if (!word)
		return line_fail(line, "policy", NULL, "add, update, delete or flush is missing");
	*type = ABBREVIATES(word, "add")      ? XFRM_MSG_NEWPOLICY
	      : ABBREVIATES(word, "update") ? XFRM_MSG_UPDPOLICY
	      : ABBREVIATES(word, "delete") ? XFRM_MSG_DELPOLICY
	      : ABBREVIATES(word, "flush")  ? XFRM_MSG_FLUSHPOLICY
					    : 0;
	if (*type && *type != XFRM_MSG_NEWPOLICY && line->file->only_adds)
		return line_fail(line, "policy", word, "can't be taken back: only add can");
	switch (*type) {
	case XFRM_MSG_NEWPOLICY:
	case XFRM_MSG_UPDPOLICY:
		return read_policy(line, *type, ADD_KEYWORDS);
	case XFRM_MSG_DELPOLICY:
		return read_policy(line, *type, DELETE_KEYWORDS);
	case XFRM_MSG_FLUSHPOLICY:
		return read_flush(line);
	}
	return line_fail(line, "policy", word, "is not add, update, delete or flush");
}

int line_pack(struct line *line, uint16_t type, uint8_t *out, size_t capacity)
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

int line_policy(struct line *line, uint16_t *type)
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

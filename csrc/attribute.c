/* SPDX-License-Identifier: MIT */
#include "attribute.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

enum { ADDRESS = sizeof(xfrm_address_t), NAME = sizeof(((struct xfrm_algo *)0)->alg_name) };

enum kind {
	RAW,      /* not known */
	NUMBERS,  /* `count` numbers of `width` bytes each */
	ONE,      /* a structure or address of `width` bytes */
	SEVERAL,  /* one or more of them */
	ALGORITHM, /* name, key size, for some a second size (`count` 2), and the key */
	ENCAPSULATION,
	CONTEXT,
	TYPE,
	KMADDRESS,
	ESN,
	FILTER,
	OFFLOAD,
	IGNORED,
};

struct layout {
	uint8_t kind, width, count;
};

static const struct layout XFRM_LAYOUTS[] = {
	[XFRMA_ALG_AUTH] = {ALGORITHM, 0, 1},
	[XFRMA_ALG_CRYPT] = {ALGORITHM, 0, 1},
	[XFRMA_ALG_COMP] = {ALGORITHM, 0, 1},
	[XFRMA_ENCAP] = {ENCAPSULATION, 0, 3},
	[XFRMA_TMPL] = {SEVERAL, sizeof(struct xfrm_user_tmpl), 0},
	[XFRMA_SA] = {ONE, sizeof(struct xfrm_usersa_info), 0},
	[XFRMA_POLICY] = {ONE, sizeof(struct xfrm_userpolicy_info), 0},
	[XFRMA_SEC_CTX] = {CONTEXT, 0, 2},
	[XFRMA_LTIME_VAL] = {ONE, sizeof(struct xfrm_lifetime_cur), 0},
	[XFRMA_REPLAY_VAL] = {NUMBERS, 4, 3},
	[XFRMA_REPLAY_THRESH] = {NUMBERS, 4, 1},
	[XFRMA_ETIMER_THRESH] = {NUMBERS, 4, 1},
	[XFRMA_SRCADDR] = {ONE, ADDRESS, 0},
	[XFRMA_COADDR] = {ONE, ADDRESS, 0},
	[XFRMA_LASTUSED] = {NUMBERS, 8, 1},
	[XFRMA_POLICY_TYPE] = {TYPE, 0, 1},
	[XFRMA_MIGRATE] = {SEVERAL, sizeof(struct xfrm_user_migrate), 0},
	[XFRMA_ALG_AEAD] = {ALGORITHM, 0, 2},
	[XFRMA_KMADDRESS] = {KMADDRESS, 0, 2},
	[XFRMA_ALG_AUTH_TRUNC] = {ALGORITHM, 0, 2},
	[XFRMA_MARK] = {NUMBERS, 4, 2},
	[XFRMA_TFCPAD] = {NUMBERS, 4, 1},
	[XFRMA_REPLAY_ESN_VAL] = {ESN, 0, 6},
	[XFRMA_SA_EXTRA_FLAGS] = {NUMBERS, 4, 1},
	[XFRMA_PROTO] = {NUMBERS, 1, 1},
	[XFRMA_ADDRESS_FILTER] = {FILTER, 0, 3},
	[XFRMA_PAD] = {IGNORED, 0, 0},
	[XFRMA_OFFLOAD_DEV] = {OFFLOAD, 0, 2},
	[XFRMA_SET_MARK] = {NUMBERS, 4, 1},
	[XFRMA_SET_MARK_MASK] = {NUMBERS, 4, 1},
	[XFRMA_IF_ID] = {NUMBERS, 4, 1},
	[XFRMA_MTIMER_THRESH] = {NUMBERS, 4, 1},
	[XFRMA_SA_DIR] = {NUMBERS, 1, 1},
	[XFRMA_NAT_KEEPALIVE_INTERVAL] = {NUMBERS, 4, 1},
	[XFRMA_SA_PCPU] = {NUMBERS, 4, 1},
	[XFRMA_IPTFS_DROP_TIME] = {NUMBERS, 4, 1},
	[XFRMA_IPTFS_REORDER_WINDOW] = {NUMBERS, 2, 1},
	[XFRMA_IPTFS_DONT_FRAG] = {NUMBERS, 0, 0},
	[XFRMA_IPTFS_INIT_DELAY] = {NUMBERS, 4, 1},
	[XFRMA_IPTFS_MAX_QSIZE] = {NUMBERS, 4, 1},
	[XFRMA_IPTFS_PKT_SIZE] = {NUMBERS, 4, 1},
};

static const struct layout SAD_LAYOUTS[] = {
	[XFRMA_SAD_CNT] = {NUMBERS, 4, 1},
	[XFRMA_SAD_HINFO] = {NUMBERS, 4, 2},
};

static const struct layout SPD_LAYOUTS[] = {
	[XFRMA_SPD_INFO] = {NUMBERS, 4, 6},
	[XFRMA_SPD_HINFO] = {NUMBERS, 4, 2},
	[XFRMA_SPD_IPV4_HTHRESH] = {NUMBERS, 1, 2},
	[XFRMA_SPD_IPV6_HTHRESH] = {NUMBERS, 1, 2},
};

#define LAYOUT(table, type) ((type) < sizeof(table) / sizeof(table[0]) ? table[type] : (struct layout){RAW, 0, 0})

static struct layout layout_of(enum attribute_space space, uint16_t type)
{
	switch (space) {
	case SPACE_SAD_INFO:
		return LAYOUT(SAD_LAYOUTS, type);
	case SPACE_SPD_INFO:
		return LAYOUT(SPD_LAYOUTS, type);
	default:
		return LAYOUT(XFRM_LAYOUTS, type);
	}
}

/* --- packing ------------------------------------------------------------------------------------------- */

static void refuse(struct message *message)
{
	if (!message->error)
		message->error = -EINVAL;
}

static void store(uint8_t *place, uint64_t value, uint8_t width)
{
	uint32_t four = (uint32_t)value;
	uint16_t two = (uint16_t)value;

	if (width == 1)
		*place = (uint8_t)value;
	else if (width == 2)
		memcpy(place, &two, 2);
	else if (width == 4)
		memcpy(place, &four, 4);
	else if (width == 8)
		memcpy(place, &value, 8);
}

static void pack_numbers(struct message *message, const struct item *item, struct layout layout)
{
	uint8_t *place = message_reserve(message, item->type, (size_t)layout.width * layout.count);
	uint8_t i;

	for (i = 0; place && i < layout.count; i++)
		store(place + i * layout.width, item->numbers[i], layout.width);
}

/* Two parts of a payload: a structure, and what follows it. */
static void pack_parts(struct message *message, const struct item *item, const void *first, size_t size)
{
	uint8_t *place = message_reserve(message, item->type, size + item->data_size);

	if (!place)
		return;
	memcpy(place, first, size);
	if (item->data_size)
		memcpy(place + size, item->data, item->data_size);
}

static void pack_algorithm(struct message *message, const struct item *item, struct layout layout)
{
	struct xfrm_algo_auth header;

	_Static_assert(sizeof(struct xfrm_algo_aead) == sizeof(header), "both have two sizes");
	if (item->name_size >= NAME || memchr(item->name ? item->name : "", 0, item->name_size) || item->numbers[0] > UINT16_MAX * 8 ||
	    item->data_size != (item->numbers[0] + 7) / 8) {
		refuse(message);
		return;
	}
	memset(&header, 0, sizeof(header));
	if (item->name_size)
		memcpy(header.alg_name, item->name, item->name_size);
	header.alg_key_len = (uint32_t)item->numbers[0];
	header.alg_trunc_len = (uint32_t)item->numbers[1];
	pack_parts(message, item, &header, layout.count == 2 ? sizeof(header) : sizeof(struct xfrm_algo));
}

static void pack_encapsulation(struct message *message, const struct item *item)
{
	struct xfrm_encap_tmpl encapsulation;

	memset(&encapsulation, 0, sizeof(encapsulation));
	encapsulation.encap_type = (uint16_t)item->numbers[0];
	encapsulation.encap_sport = htons((uint16_t)item->numbers[1]);
	encapsulation.encap_dport = htons((uint16_t)item->numbers[2]);
	memcpy(&encapsulation.encap_oa, item->data, ADDRESS);
	message_put(message, item->type, &encapsulation, sizeof(encapsulation));
}

static void pack_context(struct message *message, const struct item *item)
{
	struct xfrm_user_sec_ctx context = {
		.len = (uint16_t)(sizeof(context) + item->data_size),
		.exttype = XFRMA_SEC_CTX,
		.ctx_alg = (uint8_t)item->numbers[0],
		.ctx_doi = (uint8_t)item->numbers[1],
		.ctx_len = (uint16_t)item->data_size,
	};

	if (item->data_size > UINT16_MAX - sizeof(context) - NLA_HDRLEN)
		refuse(message);
	else
		pack_parts(message, item, &context, sizeof(context));
}

static void pack_kmaddress(struct message *message, const struct item *item)
{
	struct xfrm_user_kmaddress address;

	memset(&address, 0, sizeof(address));
	memcpy(&address.local, item->data, ADDRESS);
	memcpy(&address.remote, item->data + ADDRESS, ADDRESS);
	address.reserved = (uint32_t)item->numbers[0];
	address.family = (uint16_t)item->numbers[1];
	message_put(message, item->type, &address, sizeof(address));
}

static void pack_esn(struct message *message, const struct item *item)
{
	struct xfrm_replay_state_esn state = {
		.bmp_len = (uint32_t)item->numbers[0],
		.oseq = (uint32_t)item->numbers[1],
		.seq = (uint32_t)item->numbers[2],
		.oseq_hi = (uint32_t)item->numbers[3],
		.seq_hi = (uint32_t)item->numbers[4],
		.replay_window = (uint32_t)item->numbers[5],
	};

	if (item->data_size && item->data_size != item->numbers[0] * 4)
		refuse(message);
	else
		pack_parts(message, item, &state, sizeof(state));
}

static void pack_filter(struct message *message, const struct item *item)
{
	struct xfrm_address_filter filter;

	memset(&filter, 0, sizeof(filter));
	memcpy(&filter.saddr, item->data, ADDRESS);
	memcpy(&filter.daddr, item->data + ADDRESS, ADDRESS);
	filter.family = (uint16_t)item->numbers[0];
	filter.splen = (uint8_t)item->numbers[1];
	filter.dplen = (uint8_t)item->numbers[2];
	message_put(message, item->type, &filter, sizeof(filter));
}

static void pack_offload(struct message *message, const struct item *item)
{
	struct xfrm_user_offload offload;

	memset(&offload, 0, sizeof(offload));
	offload.ifindex = (int)(int64_t)item->numbers[0];
	offload.flags = (uint8_t)item->numbers[1];
	message_put(message, item->type, &offload, sizeof(offload));
}

static void pack_type(struct message *message, const struct item *item)
{
	struct xfrm_userpolicy_type type;

	memset(&type, 0, sizeof(type));
	type.type = (uint8_t)item->numbers[0];
	message_put(message, item->type, &type, sizeof(type));
}

/* How much data an item of a kind has; -1: that depends. */
static int64_t data_size(struct layout layout)
{
	switch (layout.kind) {
	case ONE:
		return layout.width;
	case ENCAPSULATION:
		return ADDRESS;
	case KMADDRESS:
	case FILTER:
		return 2 * ADDRESS;
	case NUMBERS:
	case TYPE:
	case OFFLOAD:
		return 0;
	}
	return -1;
}

void attribute_pack(struct message *message, enum attribute_space space, const struct item *item)
{
	struct layout layout = item->raw ? (struct layout){RAW, 0, 0} : layout_of(space, item->type);
	int64_t wanted = data_size(layout);

	if (item->count != layout.count || (wanted >= 0 && item->data_size != wanted)) {
		refuse(message);
		return;
	}
	switch (layout.kind) {
	case RAW:
		if (!item->raw)
			refuse(message);
		else
			message_put(message, item->type, item->data, item->data_size);
		break;
	case NUMBERS:
		pack_numbers(message, item, layout);
		break;
	case SEVERAL:
		if (!item->data_size || item->data_size % layout.width) {
			refuse(message);
			break;
		}
		/* fallthrough */
	case ONE:
		message_put(message, item->type, item->data, item->data_size);
		break;
	case ALGORITHM:
		pack_algorithm(message, item, layout);
		break;
	case ENCAPSULATION:
		pack_encapsulation(message, item);
		break;
	case CONTEXT:
		pack_context(message, item);
		break;
	case TYPE:
		pack_type(message, item);
		break;
	case KMADDRESS:
		pack_kmaddress(message, item);
		break;
	case ESN:
		pack_esn(message, item);
		break;
	case FILTER:
		pack_filter(message, item);
		break;
	case OFFLOAD:
		pack_offload(message, item);
		break;
	default:
		refuse(message);
	}
}

/* --- unpacking: each returns whether the payload is as expected ------------------------------------------ */

static uint64_t load(const uint8_t *place, uint8_t width)
{
	uint64_t eight = 0;
	uint32_t four;
	uint16_t two;

	switch (width) {
	case 1:
		return *place;
	case 2:
		memcpy(&two, place, 2);
		return two;
	case 4:
		memcpy(&four, place, 4);
		return four;
	case 8:
		memcpy(&eight, place, 8);
	}
	return eight;
}

static int unpack_numbers(struct item *item, const struct attribute *attribute, struct layout layout)
{
	uint8_t i;

	if (attribute->size != layout.width * layout.count)
		return 0;
	for (i = 0; i < layout.count; i++)
		item->numbers[i] = load(attribute->payload + i * layout.width, layout.width);
	return 1;
}

static void rest(struct item *item, const struct attribute *attribute, size_t offset)
{
	item->data = attribute->payload + offset;
	item->data_size = (uint32_t)(attribute->size - offset);
}

static int unpack_algorithm(struct item *item, const struct attribute *attribute, struct layout layout)
{
	size_t size = layout.count == 2 ? sizeof(struct xfrm_algo_auth) : sizeof(struct xfrm_algo);
	struct xfrm_algo_auth header;
	size_t name, i;

	if (attribute->size < size)
		return 0;
	memset(&header, 0, sizeof(header));
	memcpy(&header, attribute->payload, size);
	name = strnlen(header.alg_name, NAME);
	if (name == NAME || (uint64_t)attribute->size - size != ((uint64_t)header.alg_key_len + 7) / 8)
		return 0;
	for (i = name; i < NAME; i++) /* what stands behind the NUL would be lost */
		if (header.alg_name[i])
			return 0;
	item->name = (const char *)attribute->payload;
	item->name_size = (uint16_t)name;
	item->numbers[0] = header.alg_key_len;
	item->numbers[1] = header.alg_trunc_len;
	rest(item, attribute, size);
	return 1;
}

static int unpack_encapsulation(struct item *item, const struct attribute *attribute)
{
	struct xfrm_encap_tmpl encapsulation;

	if (attribute->size != sizeof(encapsulation))
		return 0;
	memcpy(&encapsulation, attribute->payload, sizeof(encapsulation));
	item->numbers[0] = encapsulation.encap_type;
	item->numbers[1] = ntohs(encapsulation.encap_sport);
	item->numbers[2] = ntohs(encapsulation.encap_dport);
	rest(item, attribute, offsetof(struct xfrm_encap_tmpl, encap_oa));
	return 1;
}

static int unpack_context(struct item *item, const struct attribute *attribute)
{
	struct xfrm_user_sec_ctx context;

	if (attribute->size < sizeof(context))
		return 0;
	memcpy(&context, attribute->payload, sizeof(context));
	if (attribute->size != sizeof(context) + context.ctx_len || context.len != attribute->size ||
	    context.exttype != XFRMA_SEC_CTX)
		return 0;
	item->numbers[0] = context.ctx_alg;
	item->numbers[1] = context.ctx_doi;
	rest(item, attribute, sizeof(context));
	return 1;
}

static int unpack_kmaddress(struct item *item, const struct attribute *attribute)
{
	struct xfrm_user_kmaddress address;

	if (attribute->size != sizeof(address))
		return 0;
	memcpy(&address, attribute->payload, sizeof(address));
	item->numbers[0] = address.reserved;
	item->numbers[1] = address.family;
	item->data = attribute->payload;
	item->data_size = 2 * ADDRESS;
	return 1;
}

static int unpack_esn(struct item *item, const struct attribute *attribute)
{
	struct xfrm_replay_state_esn state;

	if (attribute->size < sizeof(state))
		return 0;
	memcpy(&state, attribute->payload, sizeof(state));
	if (attribute->size != sizeof(state) &&
	    (uint64_t)attribute->size - sizeof(state) != (uint64_t)state.bmp_len * 4)
		return 0;
	item->numbers[0] = state.bmp_len;
	item->numbers[1] = state.oseq;
	item->numbers[2] = state.seq;
	item->numbers[3] = state.oseq_hi;
	item->numbers[4] = state.seq_hi;
	item->numbers[5] = state.replay_window;
	rest(item, attribute, sizeof(state));
	return 1;
}

static int unpack_filter(struct item *item, const struct attribute *attribute)
{
	struct xfrm_address_filter filter;

	if (attribute->size != sizeof(filter))
		return 0;
	memcpy(&filter, attribute->payload, sizeof(filter));
	item->numbers[0] = filter.family;
	item->numbers[1] = filter.splen;
	item->numbers[2] = filter.dplen;
	item->data = attribute->payload;
	item->data_size = 2 * ADDRESS;
	return 1;
}

static int unpack_offload(struct item *item, const struct attribute *attribute)
{
	struct xfrm_user_offload offload;

	if (attribute->size != sizeof(offload))
		return 0;
	memcpy(&offload, attribute->payload, sizeof(offload));
	item->numbers[0] = (uint64_t)(int64_t)offload.ifindex;
	item->numbers[1] = offload.flags;
	return 1;
}

static int unpack_known(struct item *item, const struct attribute *attribute, struct layout layout)
{
	switch (layout.kind) {
	case NUMBERS:
		return unpack_numbers(item, attribute, layout);
	case ONE:
	case SEVERAL:
		if (!attribute->size || attribute->size % layout.width ||
		    (layout.kind == ONE && attribute->size != layout.width))
			return 0;
		rest(item, attribute, 0);
		return 1;
	case ALGORITHM:
		return unpack_algorithm(item, attribute, layout);
	case ENCAPSULATION:
		return unpack_encapsulation(item, attribute);
	case CONTEXT:
		return unpack_context(item, attribute);
	case TYPE:
		if (attribute->size != sizeof(struct xfrm_userpolicy_type))
			return 0;
		item->numbers[0] = *attribute->payload;
		return 1;
	case KMADDRESS:
		return unpack_kmaddress(item, attribute);
	case ESN:
		return unpack_esn(item, attribute);
	case FILTER:
		return unpack_filter(item, attribute);
	case OFFLOAD:
		return unpack_offload(item, attribute);
	}
	return 0;
}

void attribute_unpack(struct item *item, enum attribute_space space, const struct attribute *attribute)
{
	struct layout layout = layout_of(space, attribute->type);

	memset(item, 0, sizeof(*item));
	item->type = attribute->type;
	if (unpack_known(item, attribute, layout)) {
		item->count = layout.count;
		return;
	}
	memset(item, 0, sizeof(*item));
	item->type = attribute->raw_type;
	item->raw = 1;
	rest(item, attribute, 0);
}

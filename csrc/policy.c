/* SPDX-License-Identifier: MIT */
#include "policy.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "body.h"
#include "message.h"

_Static_assert(LIFETIME_CONFIG_SIZE == sizeof(struct xfrm_lifetime_cfg), "LIFETIME_CONFIG_SIZE");
_Static_assert(LIFETIME_CURRENT_SIZE == sizeof(struct xfrm_lifetime_cur), "LIFETIME_CURRENT_SIZE");

static void put_item(struct message *message, const struct policy_options *options, uint32_t has, struct item item)
{
	if (options->has & has)
		attribute_pack(message, SPACE_XFRM, &item);
}

static void put_type(struct message *message, const struct policy_options *options)
{
	put_item(message, options, POLICY_HAS_TYPE,
		 (struct item){.type = XFRMA_POLICY_TYPE, .count = 1, .numbers = {options->type}});
}

static void put_mark(struct message *message, const struct policy_options *options)
{
	put_item(message, options, POLICY_HAS_MARK,
		 (struct item){.type = XFRMA_MARK, .count = 2, .numbers = {options->mark_value, options->mark_mask}});
}

static void put_context(struct message *message, const struct policy_options *options)
{
	put_item(message, options, POLICY_HAS_SECURITY_CONTEXT,
		 (struct item){.type = XFRMA_SEC_CTX,
			       .count = 2,
			       .numbers = {options->context_algorithm, options->context_doi},
			       .data = options->context,
			       .data_size = options->context_size});
}

static void put_if_id(struct message *message, const struct policy_options *options)
{
	put_item(message, options, POLICY_HAS_IF_ID,
		 (struct item){.type = XFRMA_IF_ID, .count = 1, .numbers = {options->if_id}});
}

static void put_offload(struct message *message, const struct policy_options *options)
{
	put_item(message, options, POLICY_HAS_OFFLOAD,
		 (struct item){.type = XFRMA_OFFLOAD_DEV,
			       .count = 2,
			       .numbers = {(uint64_t)(int64_t)options->offload_interface, options->offload_flags}});
}

static void put_encoded(struct message *message, const uint8_t *attributes, size_t size)
{
	if (message->error || !size)
		return;
	if (size > message->capacity - message->length) {
		message->error = -EMSGSIZE;
		return;
	}
	memcpy(message->data + message->length, attributes, size);
	message->length += size;
}

int policy_pack(uint8_t *out, size_t capacity, uint16_t message_type, const uint8_t *selector,
		const uint8_t *lifetime, const uint8_t *current, const uint8_t *templates, uint32_t template_count,
		uint32_t priority, uint32_t index, uint32_t codes, const struct policy_options *options)
{
	struct xfrm_userpolicy_info info;
	struct message message;
	uint8_t *place;

	memset(&info, 0, sizeof(info));
	memcpy(&info.sel, selector, sizeof(info.sel));
	memcpy(&info.lft, lifetime, sizeof(info.lft));
	if (current)
		memcpy(&info.curlft, current, sizeof(info.curlft));
	info.priority = priority;
	info.index = index;
	info.dir = (uint8_t)codes;
	info.action = (uint8_t)(codes >> POLICY_ACTION_SHIFT);
	info.flags = (uint8_t)(codes >> POLICY_FLAGS_SHIFT);
	info.share = (uint8_t)(codes >> POLICY_SHARE_SHIFT);
	message_begin(&message, out, capacity, message_type, NLM_F_REQUEST | NLM_F_ACK, &info, sizeof(info));
	/* In the order of `ip xfrm`, for captures that can be compared byte for byte. */
	if (options)
		put_type(&message, options);
	if (template_count) {
		place = message_reserve(&message, XFRMA_TMPL, (size_t)template_count * TEMPLATE_SIZE);
		if (place) {
			memcpy(place, templates, (size_t)template_count * TEMPLATE_SIZE);
			template_normalise(place, template_count, info.sel.family);
		}
	}
	if (options) {
		put_mark(&message, options);
		put_context(&message, options);
		put_if_id(&message, options);
		put_offload(&message, options);
		put_encoded(&message, options->attributes, options->attributes_size);
	}
	return message_end(&message);
}

int policy_id_pack(uint8_t *out, size_t capacity, uint16_t message_type, const uint8_t *selector, uint32_t index,
		   uint8_t direction, const struct policy_options *options)
{
	/* A GETPOLICY is answered by the policy: an ACK besides would only be one more message to wait for. */
	uint16_t flags = message_type == XFRM_MSG_GETPOLICY ? NLM_F_REQUEST : NLM_F_REQUEST | NLM_F_ACK;
	struct xfrm_userpolicy_id id;
	struct message message;

	memset(&id, 0, sizeof(id));
	memcpy(&id.sel, selector, sizeof(id.sel));
	id.index = index;
	id.dir = direction;
	message_begin(&message, out, capacity, message_type, flags, &id, sizeof(id));
	if (options) {
		put_type(&message, options);
		put_mark(&message, options);
		put_context(&message, options);
		put_if_id(&message, options);
	}
	return message_end(&message);
}

void policy_id_write(uint8_t *out, const struct policy_id *id)
{
	struct xfrm_userpolicy_id wire;

	memset(&wire, 0, sizeof(wire));
	memcpy(&wire.sel, id->selector, sizeof(wire.sel));
	wire.index = id->index;
	wire.dir = id->direction;
	memcpy(out, &wire, sizeof(wire));
}

void policy_id_read(struct policy_id *id, const uint8_t *data)
{
	struct xfrm_userpolicy_id wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(id->selector, &wire.sel, sizeof(wire.sel));
	id->index = wire.index;
	id->direction = wire.dir;
}

int policy_flush_pack(uint8_t *out, size_t capacity, int policy_type)
{
	struct message message;

	message_begin(&message, out, capacity, XFRM_MSG_FLUSHPOLICY, NLM_F_REQUEST | NLM_F_ACK, NULL, 0);
	if (policy_type >= 0)
		put_type(&message, &(struct policy_options){.has = POLICY_HAS_TYPE, .type = (uint8_t)policy_type});
	return message_end(&message);
}

/* Reads one attribute into the view. Returns 0 when it is one that the view has no place for. */
static int read_known(struct policy_view *view, const struct attribute *attribute)
{
	struct policy_options *options = &view->options;
	struct item item;

	attribute_unpack(&item, SPACE_XFRM, attribute);
	if (item.raw)
		return 0;
	switch (item.type) {
	case XFRMA_TMPL:
		view->templates = item.data;
		view->template_count = item.data_size / TEMPLATE_SIZE;
		return 1;
	case XFRMA_POLICY_TYPE:
		options->type = (uint8_t)item.numbers[0];
		options->has |= POLICY_HAS_TYPE;
		return 1;
	case XFRMA_MARK:
		options->mark_value = (uint32_t)item.numbers[0];
		options->mark_mask = (uint32_t)item.numbers[1];
		options->has |= POLICY_HAS_MARK;
		return 1;
	case XFRMA_IF_ID:
		options->if_id = (uint32_t)item.numbers[0];
		options->has |= POLICY_HAS_IF_ID;
		return 1;
	case XFRMA_OFFLOAD_DEV:
		if ((int64_t)item.numbers[0] < 0)
			return 0; /* names no interface */
		options->offload_interface = (int32_t)item.numbers[0];
		options->offload_flags = (uint8_t)item.numbers[1];
		options->has |= POLICY_HAS_OFFLOAD;
		return 1;
	case XFRMA_SEC_CTX:
		options->context = item.data;
		options->context_size = (uint16_t)item.data_size;
		options->context_algorithm = (uint8_t)item.numbers[0];
		options->context_doi = (uint8_t)item.numbers[1];
		options->has |= POLICY_HAS_SECURITY_CONTEXT;
		return 1;
	}
	return 0;
}

/* Finds where the attributes of a policy message begin and end. */
static int policy_bounds(const uint8_t *data, size_t length, size_t *begin, size_t *end, uint16_t *type)
{
	struct nlmsghdr header;

	if (length < NLMSG_HDRLEN)
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	*end = header.nlmsg_len;
	*type = header.nlmsg_type;
	switch (header.nlmsg_type) {
	case XFRM_MSG_NEWPOLICY:
	case XFRM_MSG_UPDPOLICY:
	case XFRM_MSG_GETPOLICY:
	case XFRM_MSG_DELPOLICY:
	case XFRM_MSG_FLUSHPOLICY:
		*begin = (size_t)NLMSG_HDRLEN + (size_t)body_size(header.nlmsg_type, 0);
		return *end < *begin || *end > length ? -EBADMSG : 0;
	}
	return -EBADMSG;
}

static int read_attributes(struct policy_view *view, const uint8_t *data, size_t position, size_t end)
{
	struct attribute attribute;
	int found;

	while ((found = attribute_next(data, end, &position, &attribute)) > 0)
		if (!read_known(view, &attribute))
			view->unknown++;
	return found;
}

static void read_info(struct policy_view *view, const uint8_t *payload)
{
	struct xfrm_userpolicy_info info;

	memcpy(&info, payload, sizeof(info));
	view->lifetime = payload + offsetof(struct xfrm_userpolicy_info, lft);
	view->current = payload + offsetof(struct xfrm_userpolicy_info, curlft);
	view->priority = info.priority;
	view->index = info.index;
	view->direction = info.dir;
	view->action = info.action;
	view->flags = info.flags;
	view->share = info.share;
}

static void read_id(struct policy_view *view, const uint8_t *payload)
{
	struct xfrm_userpolicy_id id;

	memcpy(&id, payload, sizeof(id));
	view->index = id.index;
	view->direction = id.dir;
}

int policy_unpack(struct policy_view *view, const uint8_t *data, size_t length)
{
	size_t begin, end;
	int err;

	memset(view, 0, sizeof(*view));
	err = policy_bounds(data, length, &begin, &end, &view->message_type);
	if (err)
		return err;
	if (begin == NLMSG_HDRLEN + sizeof(struct xfrm_userpolicy_info))
		read_info(view, data + NLMSG_HDRLEN);
	else if (begin > NLMSG_HDRLEN)
		read_id(view, data + NLMSG_HDRLEN);
	view->selector = begin > NLMSG_HDRLEN ? data + NLMSG_HDRLEN : NULL;
	return read_attributes(view, data, begin, end);
}

/* The same for what only NEWPOLICY and UPDPOLICY messages can be turned into. */
static int unpack_whole(struct policy_view *view, const uint8_t *data, size_t length)
{
	int err = policy_unpack(view, data, length);

	return err ? err : view->lifetime ? 0 : -EBADMSG;
}

int policy_unknown_next(const uint8_t *data, size_t length, size_t *position, uint16_t *type, const uint8_t **payload,
			size_t *size)
{
	struct attribute attribute;
	struct policy_view ignored = {0};
	size_t begin, end;
	int err = policy_bounds(data, length, &begin, &end, &ignored.message_type);

	if (err)
		return err;
	if (*position < begin)
		*position = begin;
	while ((err = attribute_next(data, end, position, &attribute)) > 0) {
		if (read_known(&ignored, &attribute))
			continue;
		*type = attribute.raw_type;
		*payload = attribute.payload;
		*size = attribute.size;
		return 1;
	}
	return err;
}

/* FNV-1a, for security contexts only: labels are told apart, an adversary is not kept out. */
static uint32_t hash(const uint8_t *data, size_t size)
{
	uint32_t value = 2166136261u;

	while (size--)
		value = (value ^ *data++) * 16777619u;
	return value;
}

/* Writes what the kernel tells policies apart by: two policies with equal keys can't be in one SPD. */
static int write_key(uint8_t *out, const uint8_t *data, size_t length)
{
	struct {
		struct xfrm_selector selector;
		uint32_t mark_value, mark_mask, if_id, context;
		uint8_t direction, type, has_context, zero[5];
	} key;
	struct policy_view view;
	int err = unpack_whole(&view, data, length);

	_Static_assert(sizeof(key) == POLICY_KEY_SIZE, "POLICY_KEY_SIZE");
	if (err)
		return err;
	memset(&key, 0, sizeof(key));
	memcpy(&key.selector, data + NLMSG_HDRLEN, sizeof(key.selector));
	key.mark_value = view.options.mark_value & view.options.mark_mask;
	key.mark_mask = view.options.mark_mask;
	key.if_id = view.options.if_id;
	if (view.options.has & POLICY_HAS_SECURITY_CONTEXT) {
		key.context = hash(view.options.context, view.options.context_size);
		key.has_context = 1;
	}
	key.direction = view.direction;
	key.type = view.options.type;
	memcpy(out, &key, sizeof(key));
	return 0;
}

/* Copies the attributes that policy_unpack counted as unknown. Returns their size with padding. */
static size_t copy_unknown(uint8_t *out, const uint8_t *data, size_t length)
{
	const uint8_t *payload;
	size_t position = 0, size, used = 0;
	struct nlattr header;
	uint16_t type;

	while (policy_unknown_next(data, length, &position, &type, &payload, &size) > 0) {
		header.nla_len = (uint16_t)(NLA_HDRLEN + size);
		header.nla_type = type;
		memset(out + used, 0, NLA_ALIGN(header.nla_len));
		memcpy(out + used, &header, sizeof(header));
		memcpy(out + used + NLA_HDRLEN, payload, size);
		used += NLA_ALIGN(header.nla_len);
	}
	return used;
}

/* Rewrites a message as policy_pack would have made it. */
static int write_canonical(uint8_t *out, size_t capacity, const uint8_t *data, size_t length)
{
	struct policy_view view;
	size_t tail;
	int err = unpack_whole(&view, data, length);

	if (err)
		return err;
	if (view.options.type == XFRM_POLICY_TYPE_MAIN)
		view.options.has &= ~(uint32_t)POLICY_HAS_TYPE;
	if (!view.options.mark_mask)
		view.options.has &= ~(uint32_t)POLICY_HAS_MARK;
	view.options.mark_value &= view.options.mark_mask;
	if (view.unknown) {
		/* To the end of the buffer first: `out` proper is written from the front. */
		tail = NLMSG_ALIGN(length);
		if (tail > capacity / 2)
			return -EMSGSIZE;
		view.options.attributes = out + capacity - tail;
		view.options.attributes_size = copy_unknown(out + capacity - tail, data, length);
		capacity -= tail;
	}
	return policy_pack(out, capacity, XFRM_MSG_NEWPOLICY, data + NLMSG_HDRLEN, view.lifetime, view.current,
			   view.templates, view.template_count, view.priority, view.index,
			   view.direction | (uint32_t)view.action << POLICY_ACTION_SHIFT |
				   (uint32_t)view.flags << POLICY_FLAGS_SHIFT |
				   (uint32_t)view.share << POLICY_SHARE_SHIFT,
			   &view.options);
}

static int write_delete(uint8_t *out, size_t capacity, const uint8_t *data, size_t length, int by_index)
{
	static const uint8_t no_selector[SELECTOR_SIZE];
	struct policy_view view;
	int err = unpack_whole(&view, data, length);

	if (err)
		return err;
	if (by_index && view.index)
		return policy_id_pack(out, capacity, XFRM_MSG_DELPOLICY, no_selector, view.index, view.direction,
				      &view.options);
	return policy_id_pack(out, capacity, XFRM_MSG_DELPOLICY, data + NLMSG_HDRLEN, 0, view.direction,
			      &view.options);
}

int policy_block_convert(uint8_t *out, size_t capacity, const uint8_t *data, size_t length, enum policy_form form,
			 uint32_t *ends, uint32_t most)
{
	size_t position = 0, used = 0, start;
	struct nlmsghdr header;
	uint32_t count = 0;
	int size;

	while (position < length) {
		if (length - position < NLMSG_HDRLEN)
			return -EBADMSG;
		memcpy(&header, data + position, sizeof(header));
		if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > length - position)
			return -EBADMSG;
		start = position;
		position += NLMSG_ALIGN(header.nlmsg_len);
		if (count == most)
			return -EMSGSIZE;
		switch (form) {
		case POLICY_KEYS:
			if (capacity - used < POLICY_KEY_SIZE)
				return -EMSGSIZE;
			size = write_key(out + used, data + start, header.nlmsg_len);
			if (!size)
				size = POLICY_KEY_SIZE;
			break;
		case POLICY_DELETE:
		case POLICY_DELETE_BY_INDEX:
			size = write_delete(out + used, capacity - used, data + start, header.nlmsg_len,
					    form == POLICY_DELETE_BY_INDEX);
			break;
		default:
			size = write_canonical(out + used, capacity - used, data + start, header.nlmsg_len);
		}
		if (size < 0)
			return size;
		used += (size_t)size;
		ends[count++] = (uint32_t)used;
	}
	return (int)count;
}

/* Finds the next policy message of a block and reads its fixed part. Returns 1; 0 at the end, -EBADMSG. */
static int next_info(const uint8_t *data, size_t length, size_t *position, struct xfrm_userpolicy_info *info)
{
	struct nlmsghdr header;

	if (*position >= length)
		return 0;
	if (length - *position < NLMSG_HDRLEN + sizeof(*info))
		return -EBADMSG;
	memcpy(&header, data + *position, sizeof(header));
	if (header.nlmsg_len < NLMSG_HDRLEN + sizeof(*info) || header.nlmsg_len > length - *position)
		return -EBADMSG;
	if (header.nlmsg_type != XFRM_MSG_NEWPOLICY && header.nlmsg_type != XFRM_MSG_UPDPOLICY)
		return -EBADMSG;
	memcpy(info, data + *position + NLMSG_HDRLEN, sizeof(*info));
	*position += NLMSG_ALIGN(header.nlmsg_len);
	return 1;
}

static int in_tree(const struct xfrm_userpolicy_info *info, const uint8_t *limits)
{
	/* Of other families and directions the kernel has no policies that could be deleted. */
	if (info->dir > XFRM_POLICY_FWD || (info->sel.family != AF_INET && info->sel.family != AF_INET6))
		return 0;
	limits += (info->sel.family == AF_INET6 ? POLICY_LIMITS_SIZE / 2 : 0) + 2 * info->dir;
	return info->sel.prefixlen_d < limits[0] || info->sel.prefixlen_s < limits[1];
}

/* What the kernel tells its trees apart by (struct xfrm_pol_inexact_key, but for the namespace). */
static uint64_t tree_of(const struct policy_view *view)
{
	struct {
		uint16_t family;
		uint8_t type, direction;
		uint32_t if_id;
	} tree;
	uint64_t number;

	_Static_assert(sizeof(tree) == sizeof(number), "a tree is one number");
	memcpy(&tree.family, view->selector + offsetof(struct xfrm_selector, family), sizeof(tree.family));
	tree.type = view->options.type;
	tree.direction = view->direction;
	tree.if_id = view->options.if_id;
	memcpy(&number, &tree, sizeof(number));
	return number;
}

int policy_block_in_trees(uint64_t *trees, uint32_t *numbers, uint32_t *indices, uint8_t *keys, uint32_t most,
			  const uint8_t *data, size_t length, const uint8_t *limits)
{
	struct xfrm_userpolicy_info info;
	size_t position = 0, start;
	uint32_t number = 0, count = 0;
	struct policy_view view;
	int found;

	for (; start = position, (found = next_info(data, length, &position, &info)) > 0; number++) {
		if (!in_tree(&info, limits))
			continue;
		found = unpack_whole(&view, data + start, length - start);
		if (found)
			return found;
		if (view.options.has & POLICY_HAS_SECURITY_CONTEXT)
			continue;
		if (count == most)
			return -EMSGSIZE;
		trees[count] = tree_of(&view);
		numbers[count] = number;
		indices[count] = view.index;
		found = write_key(keys + (size_t)count * POLICY_KEY_SIZE, data + start, length - start);
		if (found)
			return found;
		count++;
	}
	return found ? found : (int)count;
}

int policy_block_set_indices(uint8_t *data, size_t length, const uint32_t *indices, uint32_t count)
{
	struct xfrm_userpolicy_info info;
	size_t position = 0, start;
	uint32_t done = 0;
	int found;

	while (start = position, (found = next_info(data, length, &position, &info)) > 0) {
		if (done == count)
			return -EBADMSG;
		info.index = indices[done++];
		memcpy(data + start + NLMSG_HDRLEN, &info, sizeof(info));
	}
	return found || done != count ? -EBADMSG : 0;
}

int policy_block_retype(uint8_t *data, size_t length, uint16_t message_type)
{
	size_t position = 0;
	uint32_t size;

	while (position < length) {
		if (length - position < NLMSG_HDRLEN)
			return -EBADMSG;
		memcpy(&size, data + position, sizeof(size));
		if (size < NLMSG_HDRLEN || size > length - position)
			return -EBADMSG;
		memcpy(data + position + offsetof(struct nlmsghdr, nlmsg_type), &message_type, sizeof(message_type));
		position += NLMSG_ALIGN(size);
	}
	return 0;
}

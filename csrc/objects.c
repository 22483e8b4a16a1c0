/* SPDX-License-Identifier: MIT */
/* The module xfrm_ext._objects: policy objects out of dumps, for which cffi has no way, as it takes CPython's own API.
 *
 * Within the limited API of 3.10. Everything here runs with the GIL held; builds without a GIL leave it out, and
 * programs get by without it (xfrm_ext/wire/policy_rows.py). */
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030a0000
#endif
#include <Python.h>
#include <string.h>

#include "policy_rows.h"

enum {
	SELECTOR_START = 16, /* of a policy's message: behind its header */
	SHARED_AT_MOST = 16,
	KINDS_AT_HAND = 256,
	NO_KIND = UINT32_MAX,
};

/* The slots of a class that hold what many objects have in common. */
struct shared_slots {
	Py_ssize_t count, offsets[SHARED_AT_MOST];
};

/* A text that is often that of the row before. */
struct last_text {
	const char *text;
	size_t length;
	PyObject *object;
};

/* An iterator over the policies of one block after the other. As with a generator, nobody else can call it while it
 * makes one: making may run Python, in `blocks` and where the garbage collector does. */
struct maker {
	PyObject_HEAD
	PyObject *blocks; /* an iterator */
	int busy;
	PyTypeObject *policy, *selector;
	/* where their slots are */
	struct shared_slots policy_shared, selector_shared;
	Py_ssize_t policy_wire, priority, index, current, policy_selector;
	Py_ssize_t selector_wire, source, destination;
	/* the block that is gone through, of `blocks` */
	const struct policy_rows *rows; /* in memory that `owner` keeps; NULL: none */
	PyObject *owner, *kinds, *currents;
	uint32_t row;
	const char *text;
	size_t text_left;
	struct last_text last_source, last_destination;
	/* the two made last: who iterates holds the last at most, mostly, and the one before can be used again */
	PyObject *recent[2];
	unsigned turn;
	/* of kinds that came before, what their objects share: borrowed from `kinds` */
	struct kind {
		uint32_t number; /* NO_KIND: none */
		PyObject *policy_items[SHARED_AT_MOST], *selector_items[SHARED_AT_MOST];
	} known[KINDS_AT_HAND];
};

/* -- slots -------------------------------------------------------------------------------- */

static PyObject **slot(PyObject *value, Py_ssize_t offset)
{
	return (PyObject **)(void *)((char *)value + offset);
}

/* Where a member of __slots__ stands in objects of a class, or -1 with an exception: found by storing something, as the
 * limited API does not tell. */
static Py_ssize_t offset_of(PyTypeObject *type, PyObject *member)
{
	descrsetfunc set = (descrsetfunc)PyType_GetSlot(Py_TYPE(member), Py_tp_descr_set);
	PyObject *size = PyObject_GetAttrString((PyObject *)type, "__basicsize__"), *probe, *marker;
	Py_ssize_t words, place, found = -1;

	if (!size)
		return -1;
	words = PyLong_AsSsize_t(size) / (Py_ssize_t)sizeof(PyObject *);
	Py_DECREF(size);
	if (PyErr_Occurred())
		return -1;
	probe = PyType_GenericAlloc(type, 0);
	marker = PyList_New(0);
	if (probe && marker && set && !set(member, probe, marker)) {
		for (place = 0; place < words && found < 0; place++)
			if (((PyObject **)(void *)probe)[place] == marker)
				found = place * (Py_ssize_t)sizeof(PyObject *);
		if (set(member, probe, NULL) < 0)
			found = -1;
	}
	Py_XDECREF(marker);
	Py_XDECREF(probe);
	if (found < 0 && !PyErr_Occurred())
		PyErr_SetString(PyExc_TypeError, "not a member of __slots__");
	return found;
}

/* The same by name. */
static Py_ssize_t slot_of(PyTypeObject *type, const char *name)
{
	PyObject *member = PyObject_GetAttrString((PyObject *)type, name);
	Py_ssize_t offset = member ? offset_of(type, member) : -1;

	Py_XDECREF(member);
	return offset;
}

static int find_shared(struct shared_slots *shared, PyTypeObject *type, PyObject *names)
{
	PyObject *member;

	if (PyTuple_Size(names) > SHARED_AT_MOST) {
		PyErr_SetString(PyExc_ValueError, "too many names");
		return -1;
	}
	for (; shared->count < PyTuple_Size(names); shared->count++) {
		member = PyObject_GetAttr((PyObject *)type, PyTuple_GetItem(names, shared->count));
		shared->offsets[shared->count] = member ? offset_of(type, member) : -1;
		Py_XDECREF(member);
		if (shared->offsets[shared->count] < 0)
			return -1;
	}
	return 0;
}

static int find_all(struct maker *maker, PyObject *policy_names, PyObject *selector_names)
{
	PyTypeObject *policy = maker->policy, *selector = maker->selector;

	if (!(PyType_GetFlags(policy) & PyType_GetFlags(selector) & Py_TPFLAGS_HAVE_GC)) {
		PyErr_SetString(PyExc_TypeError, "not classes with __slots__");
		return -1;
	}
	if (find_shared(&maker->policy_shared, policy, policy_names) < 0 ||
	    find_shared(&maker->selector_shared, selector, selector_names) < 0 ||
	    (maker->policy_wire = slot_of(policy, "_wire")) < 0 ||
	    (maker->priority = slot_of(policy, "priority")) < 0 || (maker->index = slot_of(policy, "index")) < 0 ||
	    (maker->current = slot_of(policy, "current")) < 0 ||
	    (maker->policy_selector = slot_of(policy, "selector")) < 0 ||
	    (maker->selector_wire = slot_of(selector, "_wire")) < 0 ||
	    (maker->source = slot_of(selector, "source")) < 0 ||
	    (maker->destination = slot_of(selector, "destination")) < 0)
		return -1;
	return 0;
}

/* -- making ------------------------------------------------------------------------------ */

/* Fills a slot with a new reference, which is NULL where there is an exception. */
static int fill(PyObject *value, Py_ssize_t offset, PyObject *item)
{
	PyObject *old = *slot(value, offset);

	*slot(value, offset) = item;
	Py_XDECREF(old);
	return item ? 0 : -1;
}

static void fill_shared(PyObject *value, const struct shared_slots *shared, PyObject *const *items)
{
	Py_ssize_t place;

	for (place = 0; place < shared->count; place++) {
		if (*slot(value, shared->offsets[place]) == items[place])
			continue;
		Py_INCREF(items[place]);
		fill(value, shared->offsets[place], items[place]);
	}
}

static PyObject *bytes_of(const uint8_t *data, size_t size)
{
	return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
}

/* An object with empty slots. What values hold can't hold them in turn: the garbage collector need not look at them. */
static PyObject *new_value(PyTypeObject *type)
{
	PyObject *value = PyType_GenericAlloc(type, 0);

	if (value)
		PyObject_GC_UnTrack(value);
	return value;
}

/* The next line of the block's texts as a str: a new reference, or NULL with an exception. */
static PyObject *next_text(struct maker *maker, struct last_text *last)
{
	const char *start = maker->text, *end = memchr(start, '\n', maker->text_left);
	size_t length = end ? (size_t)(end - start) : 0;

	if (!end) {
		PyErr_SetString(PyExc_ValueError, "too few texts");
		return NULL;
	}
	if (!last->object || length != last->length || memcmp(start, last->text, length)) {
		Py_XDECREF(last->object);
		last->text = start;
		last->length = length;
		last->object = PyUnicode_FromStringAndSize(start, (Py_ssize_t)length);
	}
	maker->text += length + 1;
	maker->text_left -= length + 1;
	Py_XINCREF(last->object);
	return last->object;
}

/* `again`: a selector that nobody else has, or NULL. Takes its reference. */
static PyObject *make_selector(struct maker *maker, const struct kind *kind, const uint8_t *wire, PyObject *again)
{
	PyObject *selector = again ? again : new_value(maker->selector);

	if (!selector)
		return NULL;
	if (fill(selector, maker->selector_wire, bytes_of(wire, SELECTOR_SIZE)) < 0 ||
	    fill(selector, maker->source, next_text(maker, &maker->last_source)) < 0 ||
	    fill(selector, maker->destination, next_text(maker, &maker->last_destination)) < 0) {
		Py_DECREF(selector);
		return NULL;
	}
	fill_shared(selector, &maker->selector_shared, kind->selector_items);
	return selector;
}

static int borrow_items(PyObject **items, Py_ssize_t count, PyObject *kind, Py_ssize_t which)
{
	PyObject *tuple = PyTuple_GetItem(kind, which);
	Py_ssize_t place;

	for (place = 0; tuple && place < count; place++) {
		items[place] = PyTuple_GetItem(tuple, place);
		if (!items[place])
			return -1;
	}
	return tuple ? 0 : -1;
}

/* What the objects of a kind share, or NULL with an exception. */
static const struct kind *look_up(struct maker *maker, uint32_t number)
{
	struct kind *kind = &maker->known[number % KINDS_AT_HAND];
	PyObject *both;

	if (kind->number == number)
		return kind;
	kind->number = NO_KIND;
	both = PyList_GetItem(maker->kinds, number);
	if (!both || borrow_items(kind->policy_items, maker->policy_shared.count, both, 0) < 0 ||
	    borrow_items(kind->selector_items, maker->selector_shared.count, both, 1) < 0)
		return NULL;
	kind->number = number;
	return kind;
}

static void forget_kinds(struct maker *maker)
{
	unsigned place;

	for (place = 0; place < KINDS_AT_HAND; place++)
		maker->known[place].number = NO_KIND;
}

static int fill_policy(struct maker *maker, PyObject *policy, const struct kind *kind, uint32_t row)
{
	const struct policy_rows *rows = maker->rows;
	uint32_t start = row ? rows->ends[row - 1] : 0;
	const uint8_t *message = rows->messages + start;
	PyObject *current = NULL, *selector = *slot(policy, maker->policy_selector);

	fill_shared(policy, &maker->policy_shared, kind->policy_items);
	if (fill(policy, maker->policy_wire, bytes_of(message, rows->ends[row] - start)) < 0 ||
	    fill(policy, maker->priority, PyLong_FromUnsignedLong(rows->priorities[row])) < 0 ||
	    fill(policy, maker->index, PyLong_FromUnsignedLong(rows->indices[row])) < 0)
		return -1;
	if (!maker->text) { /* a policy that is used again may have been asked for them */
		fill(policy, maker->current, NULL);
		fill(policy, maker->policy_selector, NULL);
		return 0;
	}
	current = PyList_GetItem(maker->currents, rows->uses[row]);
	Py_XINCREF(current);
	if (fill(policy, maker->current, current) < 0)
		return -1;
	if (selector && Py_REFCNT(selector) == 1 && Py_TYPE(selector) == maker->selector)
		*slot(policy, maker->policy_selector) = NULL;
	else
		selector = NULL;
	return fill(policy, maker->policy_selector, make_selector(maker, kind, message + SELECTOR_START, selector));
}

static PyObject *make_policy(struct maker *maker, uint32_t row)
{
	PyObject *policy = maker->recent[maker->turn];
	const struct kind *kind;

	maker->recent[maker->turn] = NULL;
	if (policy && (Py_REFCNT(policy) != 1 || Py_TYPE(policy) != maker->policy))
		Py_CLEAR(policy);
	kind = look_up(maker, maker->rows->kinds[row]);
	if (!kind || (!policy && !(policy = new_value(maker->policy))) || fill_policy(maker, policy, kind, row) < 0) {
		Py_XDECREF(policy);
		return NULL;
	}
	Py_INCREF(policy);
	maker->recent[maker->turn] = policy;
	maker->turn ^= 1;
	return policy;
}

/* -- PolicyMaker -------------------------------------------------------------------------- */

static void leave_block(struct maker *maker)
{
	maker->rows = NULL;
	forget_kinds(maker);
	maker->text = NULL;
	Py_CLEAR(maker->last_source.object);
	Py_CLEAR(maker->last_destination.object);
	Py_CLEAR(maker->owner);
	Py_CLEAR(maker->kinds);
	Py_CLEAR(maker->currents);
}

static PyObject *maker_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
	PyObject *policy, *selector, *policy_names, *selector_names, *blocks;
	struct maker *maker;

	(void)named;
	if (!PyArg_ParseTuple(arguments, "O!O!O!O!O:PolicyMaker", &PyType_Type, &policy, &PyTuple_Type, &policy_names,
			      &PyType_Type, &selector, &PyTuple_Type, &selector_names, &blocks))
		return NULL;
	maker = (struct maker *)PyType_GenericAlloc(type, 0);
	if (!maker)
		return NULL;
	Py_INCREF(policy);
	Py_INCREF(selector);
	maker->policy = (PyTypeObject *)policy;
	maker->selector = (PyTypeObject *)selector;
	forget_kinds(maker);
	maker->blocks = PyObject_GetIter(blocks);
	if (!maker->blocks || find_all(maker, policy_names, selector_names) < 0) {
		Py_DECREF(maker);
		return NULL;
	}
	return (PyObject *)maker;
}

static int maker_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct maker *maker = (struct maker *)self;

	Py_VISIT(Py_TYPE(self));
	Py_VISIT(maker->policy);
	Py_VISIT(maker->selector);
	Py_VISIT(maker->blocks);
	Py_VISIT(maker->owner);
	Py_VISIT(maker->kinds);
	Py_VISIT(maker->currents);
	return 0;
}

static int maker_clear(PyObject *self)
{
	struct maker *maker = (struct maker *)self;

	leave_block(maker);
	Py_CLEAR(maker->blocks);
	Py_CLEAR(maker->recent[0]);
	Py_CLEAR(maker->recent[1]);
	return 0;
}

static void maker_dealloc(PyObject *self)
{
	struct maker *maker = (struct maker *)self;
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	PyObject_GC_UnTrack(self);
	maker_clear(self);
	Py_XDECREF(maker->policy);
	Py_XDECREF(maker->selector);
	release(self);
	Py_DECREF(type);
}

/* Goes on to the next block. Returns 0 at the end, -1 with an exception. */
static int begin_block(struct maker *maker)
{
	PyObject *block, *owner, *address, *kinds, *currents;
	int status = -1;

	leave_block(maker);
	block = maker->blocks ? PyIter_Next(maker->blocks) : NULL;
	if (!block) {
		status = PyErr_Occurred() ? -1 : 0;
		Py_CLEAR(maker->blocks); /* as a generator that has ended */
		return status;
	}
	if (!PyTuple_Check(block)) {
		PyErr_SetString(PyExc_TypeError, "a block is a tuple");
	} else if (PyArg_ParseTuple(block, "OO!O!O!:block", &owner, &PyLong_Type, &address, &PyList_Type, &kinds,
				    &PyList_Type, &currents)) {
		maker->rows = PyLong_AsVoidPtr(address);
		if (!maker->rows && !PyErr_Occurred())
			PyErr_SetString(PyExc_ValueError, "no rows");
	}
	if (maker->rows) {
		maker->row = 0;
		maker->text = maker->rows->texts;
		maker->text_left = maker->rows->text_size;
		Py_INCREF(owner);
		maker->owner = owner;
		Py_INCREF(kinds);
		maker->kinds = kinds;
		Py_INCREF(currents);
		maker->currents = currents;
		status = 1;
	}
	Py_DECREF(block);
	return status;
}

static PyObject *maker_next(PyObject *self)
{
	struct maker *maker = (struct maker *)self;
	PyObject *policy = NULL;
	int status = 1;

	if (maker->busy) {
		PyErr_SetString(PyExc_ValueError, "dump already executing");
		return NULL;
	}
	maker->busy = 1;
	while (status == 1 && !(maker->rows && maker->row < maker->rows->count))
		status = begin_block(maker);
	if (status == 1)
		policy = make_policy(maker, maker->row++);
	if (status == 1 && !policy) { /* a row's texts may have been left: nothing goes on behind an error */
		leave_block(maker);
		Py_CLEAR(maker->blocks);
	}
	maker->busy = 0;
	return policy;
}

static PyObject *maker_close(PyObject *self, PyObject *none)
{
	struct maker *maker = (struct maker *)self;
	PyObject *blocks = maker->blocks, *closed;

	(void)none;
	if (maker->busy) {
		PyErr_SetString(PyExc_ValueError, "dump already executing");
		return NULL;
	}
	if (!blocks)
		Py_RETURN_NONE;
	maker->blocks = NULL;
	leave_block(maker);
	closed = PyObject_CallMethod(blocks, "close", NULL);
	Py_DECREF(blocks);
	return closed;
}

static PyMethodDef maker_methods[] = {
	{"close", maker_close, METH_NOARGS, "Ends the dump, as a generator's close() does."},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot maker_slots[] = {
	{Py_tp_doc, "PolicyMaker(policy, names, selector, names, blocks): an iterator over the objects of two classes that it\n"
		    "makes; the names are those of slots that many of them share. `blocks` yields tuples: the address of a\n"
		    "struct policy_rows, behind what keeps that memory; for each of its kinds a tuple of what its policies\n"
		    "share and one of what their selectors do; and what its `uses` stand for."},
	{Py_tp_new, maker_new},
	{Py_tp_dealloc, maker_dealloc},
	{Py_tp_traverse, maker_traverse},
	{Py_tp_clear, maker_clear},
	{Py_tp_iter, PyObject_SelfIter},
	{Py_tp_iternext, maker_next},
	{Py_tp_methods, maker_methods},
	{0, NULL},
};

static PyType_Spec maker_spec = {
	.name = "xfrm_ext._objects.PolicyMaker",
	.basicsize = sizeof(struct maker),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.slots = maker_slots,
};

/* -- the module ---------------------------------------------------------------------------- */

static int module_exec(PyObject *module)
{
	PyObject *type = PyType_FromModuleAndSpec(module, &maker_spec, NULL);
	int status = type ? PyModule_AddObjectRef(module, "PolicyMaker", type) : -1;

	Py_XDECREF(type);
	return status;
}

static PyModuleDef_Slot module_slots[] = {
	{Py_mod_exec, module_exec},
	{0, NULL},
};

static struct PyModuleDef module = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "xfrm_ext._objects",
	.m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__objects(void);

PyMODINIT_FUNC PyInit__objects(void)
{
	return PyModuleDef_Init(&module);
}

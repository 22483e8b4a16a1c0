/* SPDX-License-Identifier: MIT */
#include "batchfile.h"

#include "batchfile_line.h"
#include "message.h"

int batchfile_parse(struct batchfile *file)
{
	const char *end;
	char joined[LINE_MOST];
	struct line line;
	uint32_t lines;
	uint16_t type;
	int err, length;

	line.file = file;
	file->error[0] = 0;
	while (file->position < file->length) {
		if (file->count == file->most)
			return BATCHFILE_FULL;
		end = line_find(&line, file->text + file->position, &lines, joined, &err);
		if (!end)
			return BATCHFILE_MORE;
		if (!err)
			err = line_policy(&line, &type);
		if (err == LINE_INTERFACE)
			return BATCHFILE_INTERFACE;
		if (!err && type && file->messages) {
			length = line_pack(&line, type, file->messages + file->size, file->capacity - file->size);
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

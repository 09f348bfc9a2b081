/* A job's attempts that went wrong, as GET_JOB tells them: see docs/protocol.md, P-97. */
#pragma once

#include "common/base/buf.h"

#include <jansson.h>

/* The text of `history` becomes a list of objects; nothing where there is none. */
void history_to_list(json_t *job);
/* One line for each, of a job whose history is a list. */
void history_print(struct buf *out, const json_t *job);

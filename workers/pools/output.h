/* What worker processes write, line by line, into our log: a line of a log of ours goes on as it
 * is, any other text as the event process.said, so that all lines are of one form. */
#pragma once

#include "common/base/str.h"

/* `line` with its end. True: it is worth keeping for the report of its process's death: all but the
 * log's own lines about what goes well. */
bool output_pass(struct str pool, const char *instance, struct str line);

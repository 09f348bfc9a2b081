/* W3C Trace Context: which piece of work something belongs to, through all programs that have a
 * part in it (https://www.w3.org/TR/trace-context/, `traceparent` of version 00).
 *
 *     00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *     version, trace id, parent id, flags; lower case
 *
 * The trace id stays the same on the whole way; the parent id names who sent it on, so each who
 * does has one of his own. docs/protocol.md, P-109 and P-110, says how jobs carry it. Pure; any
 * thread. */
#pragma once

#include "common/base/err.h"
#include "common/base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define TRACE_LEN    55
#define TRACE_ID_LEN 32

struct trace {
    unsigned char id[16], parent[8]; /* neither is all zeros, but for no trace at all */
    uint8_t flags;
};

struct trace_text {
    char at[TRACE_LEN + 1];
};
struct trace_id_text {
    char at[TRACE_ID_LEN + 1];
};

/* -1 with BAD_VALUE that says what is wrong with `what`. */
int trace_parse(const char *what, struct str text, struct trace *out, struct err *e);
/* False where it is none. */
bool trace_read(struct str text, struct trace *out);
struct trace_text trace_show(const struct trace *t);
struct trace_id_text trace_show_id(const struct trace *t);

/* That of a job which was given none: the same for the same job, another one for each of them.
 * `seed` tells apart jobs of the same id that different brokers have. Flags: sampled. */
struct trace trace_of_job(uint64_t seed, uint64_t job);
/* The same trace, sent on by another one. */
struct trace trace_pass(const struct trace *from, uint64_t parent);

/* What an attempt is in the trace of its job: a piece of work of its own, a *span*, with an id made
 * anew for each attempt (docs/protocol.md, P-110); and what the log tells of it, so that one search
 * for a trace finds the attempts too.
 *
 * span_begin before the attempt runs; the rest for the thread of the host. */
#pragma once

#include "common/base/rng.h"
#include "workers/harness/agent.h"

/* From then on `a->trace` is what the attempt sends on. */
void span_begin(struct attempt *a, struct rng *rng);
void span_tell_running(const struct attempt *a);
void span_tell_stop(const struct attempt *a);
void span_tell_over(const struct attempt *a, struct mono now, const struct ending *end);

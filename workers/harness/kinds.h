/* The job kinds that a worker program knows: rows of one table (workers/kinds.def). */
#pragma once

#include "common/base/str.h"
#include "common/wire/link.h"
#include "schemas/messages.h"
#include "workers/harness/job.h"

#define WORKER_KINDS_MAX 256 /* of one program: what a HELLO can name */

struct worker_kind {
    const char *name;
    job_run_fn *run;
    const void *data; /* for `run`, by job_kind_data */
    /* Runs on the host thread, between two messages, without a slot: for kinds that neither wait
     * nor compute, where the hand-over to a slot would cost more than the job. */
    bool is_inline;
    bool speculative;    /* may run before its submission is durable */
    bool streams;        /* it may call job_delta and its siblings */
    uint64_t timeout_ms; /* these three: 0 is the broker's default */
    uint64_t attempts_max;
    uint64_t backoff_ms;
    const char *schema; /* JSON Schema of its payload */
};

struct worker_kinds {
    const struct worker_kind *const *at;
    size_t n;
};

/* What DECLARE_KIND says of it; borrows from the row. */
struct msg_kind_info worker_kind_info(const struct worker_kind *kind);
/* NULL: there is none of that name. */
const struct worker_kind *worker_kind_named(const struct worker_kinds *kinds, struct str name);
/* Says DECLARE_KIND for all of them, in as few messages as they fit. Returns the last sequence. */
uint64_t worker_kinds_declare(const struct worker_kinds *kinds, struct link *link);

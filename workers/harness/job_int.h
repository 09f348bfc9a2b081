/* What the slots and the host thread know of a job.
 *
 * One `struct job` a slot, used again for each job. The slot's thread owns all of it while it runs,
 * but for the atomics, through which the host thread speaks in. */
#pragma once

#include "workers/harness/agent.h"
#include "workers/harness/job.h"
#include "workers/harness/stream_out.h"

#include <stdatomic.h>

struct job {
    struct attempt *attempt; /* what it was given; the host changes none of what is read here */
    struct arena *arena;
    struct buf result;
    bool result_is_payload;
    struct err err; /* why it was not done; its text is the ending's */
    struct mono deadline;
    int stop_fd;      /* eventfd */
    _Atomic int stop; /* enum err_code: OK, or why it must stop */
    _Atomic uint64_t progress_done, progress_total;
    atomic_bool has_progress; /* since the host last looked */
};

void job_setup(struct job *job);
void job_teardown(struct job *job);
/* Runs the attempt in this thread; `end` says how it ended. */
void job_execute(struct job *job, struct attempt *a, job_run_fn *run, struct mono now,
                 uint64_t result_max, struct ending *end);
/* From another thread. */
void job_ask_stop(struct job *job, enum err_code why);
/* Before the next attempt is handed over: what was asked of the last one does not count. From then
 * on a stop is that of the new one, even before its thread has begun. */
void job_forget_stop(struct job *job);
/* Whether the payload may be given to a job. */
int job_payload_check(struct str payload, struct err *e);

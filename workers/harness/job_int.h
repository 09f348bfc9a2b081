/* What the slots and the host thread know of a job.
 *
 * One `struct job` a slot, used again for each job. The slot's thread owns all of it while it runs,
 * but for the atomics, through which the host thread speaks in. */
#pragma once

#include "workers/harness/agent.h"
#include "workers/harness/job.h"
#include "workers/harness/stream_out.h"

#include <pthread.h>
#include <stdatomic.h>

/* What the broker's bounds leave for one result. */
struct job_limits {
    uint64_t result_max;   /* bytes */
    uint64_t together_max; /* bytes of result and children in one message */
    uint32_t children_max;
    uint64_t body_max; /* bytes of a child's payload */
};
struct job_limits job_limits_of(const struct msg_welcome *terms);

struct job_notes;

/* What the slot's thread hands over, a child or a note, and the answer that it waits for. */
struct job_asking {
    pthread_mutex_t lock;
    pthread_cond_t news; /* it was answered, or the job must stop */
    bool open, answered;
    struct err answer;
};

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
    struct job_limits limits;
    struct children children; /* that come with the result */
    uint32_t spawned;         /* how many of this attempt are there already */
    bool has_then;            /* among those */
    struct job_asking asking;
    /* Gives a child, and what `child` holds, to the host, which answers by job_answer. NULL: there
     * is nobody who could answer while it waits. */
    void (*hand_over)(struct job *job, struct children *child, uint32_t index);
    /* Likewise a note. */
    void (*hand_over_note)(struct job *job, struct note_wish *wish);
    struct job_notes *notes; /* NULL: there are none */
};

void job_setup(struct job *job);
void job_teardown(struct job *job);
/* Runs the attempt in this thread; `end` says how it ended. */
void job_execute(struct job *job, struct attempt *a, job_run_fn *run, struct mono now,
                 const struct job_limits *limits, struct ending *end);
/* From another thread. */
void job_ask_stop(struct job *job, enum err_code why);
/* What became of the child or note that it waits for; nothing if it waits no longer. */
void job_answer(struct job *job, const struct err *answer);
/* In the slot's thread: what is handed over next will be answered. */
void job_await(struct job *job);
/* Until it is answered or the job must stop; the host sees to its timeout. */
int job_awaited(struct job *job, struct err *e);
/* What was refused only for want of room holds the job. -1. */
int job_refused(struct err *e);
/* Before the next attempt is handed over: what was asked of the last one does not count. From then
 * on a stop is that of the new one, even before its thread has begun. */
void job_forget_stop(struct job *job);
/* Whether the payload may be given to a job. */
int job_payload_check(struct str payload, struct err *e);

/* The threads that run jobs: one a slot.
 *
 * The host thread hands an attempt to a free slot and gets it back, ended, in slots_collect; the fd
 * of slots_fd is readable when there is something to collect. A slot is the host's while it is
 * free, and its thread's while it runs.
 *
 * The one lock is that of the lists of ended and asking slots: many threads put into them, one
 * takes all of it at once, and a slot that finds something there need not wake the host again. */
#pragma once

#include "workers/harness/agent.h"
#include "workers/harness/job.h"

struct slots;
struct job_limits;
struct job_notes;

struct slots *slots_new(uint32_t n);
/* Before anything is started: what the jobs read. */
void slots_share_notes(struct slots *s, struct job_notes *notes);
/* All must be free. */
void slots_destroy(struct slots **s);
/* There must be a free one. `a->user` is the slot until it is collected. */
void slots_start(struct slots *s, struct attempt *a, job_run_fn *run, struct mono now,
                 const struct job_limits *limits);
void slots_stop(struct attempt *a, enum err_code why);
/* The answer to the child or the note that it asked for. */
void slots_answer(struct attempt *a, const struct err *answer);

struct slots_news {
    void *ctx;
    void (*ended)(void *ctx, struct attempt *a, const struct ending *end);
    /* It waits for slots_answer. Takes what `child` holds. May be NULL: no job spawns. */
    void (*asks)(void *ctx, struct attempt *a, struct children *child, uint32_t index);
    /* Likewise for a note. Takes the wish. May be NULL: no job sets any. */
    void (*notes)(void *ctx, struct attempt *a, struct note_wish *wish);
};
/* Calls these for each that has asked or ended since the last call. */
void slots_collect(struct slots *s, const struct slots_news *news);
int slots_fd(const struct slots *s);
uint32_t slots_busy(const struct slots *s);
/* True: it has told how far it is since the last call. */
bool slots_progress(struct attempt *a, uint64_t *done, uint64_t *total);

/* The threads that run jobs: one a slot.
 *
 * The host thread hands an attempt to a free slot and gets it back, ended, in slots_collect; the fd
 * of slots_fd is readable when there is something to collect. A slot is the host's while it is
 * free, and its thread's while it runs.
 *
 * The one lock is that of the list of ended slots: many threads put into it, one takes all of it at
 * once, and a slot that finds it not empty need not wake the host again. */
#pragma once

#include "workers/harness/agent.h"
#include "workers/harness/job.h"

struct slots;

struct slots *slots_new(uint32_t n);
/* All must be free. */
void slots_destroy(struct slots **s);
/* There must be a free one. `a->user` is the slot until it is collected. */
void slots_start(struct slots *s, struct attempt *a, job_run_fn *run, struct mono now,
                 uint64_t result_max);
void slots_stop(struct attempt *a, enum err_code why);
/* Calls `ended` for each that has ended since the last call. */
void slots_collect(struct slots *s,
                   void (*ended)(void *ctx, struct attempt *a, const struct ending *end),
                   void *ctx);
int slots_fd(const struct slots *s);
uint32_t slots_busy(const struct slots *s);
/* True: it has told how far it is since the last call. */
bool slots_progress(struct attempt *a, uint64_t *done, uint64_t *total);

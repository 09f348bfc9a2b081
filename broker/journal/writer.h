/* The writer: makes batches durable, one at a time, on its own thread or on the caller's.
 *
 * A batch is *in flight* from writer_hand until the writer sets `flight` back to NULL; until then
 * batch and write state (file, sequence) are the writer's, afterwards the dispatcher's, who may
 * then do the same work itself (writer_inline). One atomic pointer is the whole handover; no locks.
 * The thread looks at it for `spin_us` after each batch before it sleeps, because under load the
 * next one is there by then.
 *
 * The first failure is kept and everything ends: no write or sync is tried again, since after a
 * failed one nobody knows what the disk has. */
#pragma once

#include "broker/journal/batch.h"
#include "broker/journal/keeper.h"
#include "common/os/wake.h"

struct writer_options {
    struct file_dir *dir;
    struct keeper *keeper;
    struct flag *flag;
    uint64_t log_id, sequence;
    uint32_t segment; /* the log's last one, 0: none */
    uint64_t durable;
    uint32_t spin_us;
    bool threads;
};

struct writer {
    struct file_dir *dir;
    struct keeper *keeper;
    struct flag *flag;
    uint64_t log_id, spin_ns;
    bool threads, running;
    pthread_t thread;
    struct bell bell;
    atomic_bool stop;

    /* Owned by whoever writes. */
    struct file *file;
    uint32_t segment;
    uint64_t sequence;
    struct err err;

    _Atomic(struct batch *) flight;
    atomic_bool failed; /* err is set */
    /* The end of the last batch of which anything was written: what stands at or behind it never
     * reached the disk. */
    uint64_t doubt_end;
    atomic_ullong durable;
    atomic_ullong commits, syncs, bytes, last_us, max_us;
    atomic_ullong commit_counts[HISTOGRAM_PLACES], commit_sum_us; /* a histogram that is shared */
};

int writer_init(struct writer *w, const struct writer_options *options, struct err *e);
/* Ends the thread after the batch in flight. */
void writer_clear(struct writer *w);

static inline bool writer_busy(const struct writer *w) {
    return atomic_load_explicit(&w->flight, memory_order_acquire) != NULL;
}

static inline bool writer_failed(const struct writer *w) {
    return atomic_load_explicit(&w->failed, memory_order_acquire);
}

/* Only when none is in flight and the writer has not failed; `b` is sealed. */
void writer_hand(struct writer *w, struct batch *b);
void writer_inline(struct writer *w, struct batch *b);
void writer_stats(const struct writer *w, struct journal_stats *out);

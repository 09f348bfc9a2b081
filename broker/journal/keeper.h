/* The keeper: whatever the journal does with files beside writing batches. It prepares spares,
 * recycles or removes released segments, reads records that are asked for and pieces of a segment
 * to be cleaned.
 *
 * A thread of its own, so that a load never waits behind a commit; each of its steps is short (a
 * spare is filled one MiB at a time), so that a load waits for one step at most. Order of
 * precedence: a spare that the writer waits for, loads, cleaning, removals, spares ahead.
 *
 * Shared with the dispatcher: a ring of requests and one of answers, each with one writer and one
 * reader; two pieces of cleaning, each handed back and forth by its state. Shared with the writer:
 * a ring of spares. No locks. With `no_threads` the same steps run inside keeper_work. */
#pragma once

#include "broker/journal/clean.h"
#include "broker/journal/loads.h"
#include "broker/journal/spares.h"
#include "common/base/time_types.h"
#include "common/os/wake.h"

#include <pthread.h>

struct keeper_options {
    struct file_dir *dir;
    uint64_t log_id;
    struct spares_options spares;
    uint32_t spares_next, spares_ready; /* number of the next spare; how many are there before it */
    uint32_t loads_max, clean_bytes;
    uint64_t disk_bytes; /* of all segment files */
    bool empty;          /* the log has no segment: its first is made before the first commit */
    bool threads;
    struct flag *flag; /* raised for the dispatcher */
};

#define KEEPER_DROPS 64U
#define KEEPER_FILES 64U

struct keeper_drop {
    uint32_t segment, bytes;
};

struct keeper_file {
    uint32_t segment;
    bool closed; /* as when it was opened: nobody writes the segment any more */
    struct file *file;
};

enum keeper_hurry { HURRY_NONE, HURRY_ASKED, HURRY_FAILED };

struct keeper {
    struct file_dir *dir;
    uint64_t log_id;
    struct flag *flag;
    bool threads;
    uint32_t clean_bytes; /* of a piece */
    struct spares spares;
    struct loads loads;
    struct clean clean;

    struct keeper_drop drops[KEEPER_DROPS];
    atomic_uint drops_head, drops_tail;

    struct bell bell;        /* wakes the keeper */
    struct bell writer_bell; /* wakes a writer that waits for a spare */
    atomic_bool pressed;
    atomic_bool look_again;      /* a bound has changed: no waiting for the next spare */
    atomic_int hurry;            /* enum keeper_hurry */
    struct err hurry_err;        /* when it FAILED */
    struct mono spare_retry_at;  /* no spare could be made; it is tried again then */
    struct mono spare_pause_end; /* between two steps of making one that is not needed yet */
    atomic_bool stop;
    pthread_t thread;
    bool running;

    struct keeper_file files[KEEPER_FILES]; /* open for loads; a segment's place is number % size */

    /* Trouble, for people: written by the keeper when something fails, read for figures. Both are
     * rare, and a text cannot be handed over by an atomic. */
    pthread_mutex_t upkeep_lock;
    struct err upkeep;
    uint64_t upkeep_count;
};

int keeper_init(struct keeper *k, const struct keeper_options *options, struct err *e);
/* Ends the thread after the step it is in; what was asked for and not done is forgotten. */
void keeper_clear(struct keeper *k);

/* ---- writer ---------------------------------------------------------------------------------- */

/* The prepared file of `segment`, which the caller owns from now on. Waits for the keeper if it has
 * to. */
int keeper_take_spare(struct keeper *k, uint32_t segment, struct file **out, struct err *e);

/* ---- dispatcher ------------------------------------------------------------------------------ */

/* The last spare is nearly full: the next one is wanted soon rather than filled with zeros. */
void keeper_press(struct keeper *k);
void keeper_set_disk_min_free(struct keeper *k, uint64_t bytes);
/* Call after loads_ask, clean_start and clean_give_back. */
void keeper_ring(struct keeper *k);
/* The segment is released, and the log durably says so: its file becomes a spare or goes, after the
 * loads that were asked for before. False: too many wait, ask again later. */
bool keeper_drop(struct keeper *k, uint32_t segment, uint32_t bytes);
/* Without threads: does what there is to do. */
void keeper_work(struct keeper *k);
void keeper_stats(struct keeper *k, struct journal_stats *out);

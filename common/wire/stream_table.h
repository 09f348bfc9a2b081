/* Whose streams are followed, and when what is missing of them is asked for.
 *
 * Pure: a reader (stream_reader.h) for each job, and what it takes to ATTACH it: at once when it is
 * new or the broker is connected anew, when there is a gap, and when a job has ended and its last
 * events have not come. An ATTACH on a new connection may be answered before the stream's socket is
 * connected too: it is said once or twice again as long as nothing of the stream arrives.
 *
 * Vocabulary
 *   due      an ATTACH is to be said
 *   asked    it was said and is not answered yet
 *   silent   said on this connection, and nothing of the stream came
 *
 * A follow is named by its index, which stays the same until it is removed. One thread. */
#pragma once

#include "common/base/lhash.h"
#include "common/base/slab.h"
#include "common/wire/stream_reader.h"

#define STREAM_RETRY_MS     200 /* between two ATTACHes; doubled each time that brings nothing ... */
#define STREAM_RETRY_MAX_MS 5000 /* ... up to here */
#define STREAM_TRIES_MAX    12   /* for what is missing of a job that has ended; then it is gone */
#define STREAM_SILENT_MAX   3    /* ATTACHes on a connection without a sign of the stream */
#define STREAM_GRACE_MS     10   /* the end may be told a little before the last events */

struct stream_follow {
    struct stream_reader reader;
    char tenant[NAME_MAX_LEN + 1]; /* "": any */
    void *ctx;                     /* the user's */
    struct client_finished *end;   /* the owner's: how it ended, until its stream is whole */
    bool asked, listed;
    uint32_t tries, silent;
    struct mono again_at, not_before;
    uint32_t hash_next, next, prev; /* by job; in the list of those that may be due */
};

struct stream_table {
    struct slab follows;
    struct lhash by_job;
    uint32_t max;
    uint32_t first, last;
    struct mono earliest; /* nothing in the list is due before */
};

void stream_table_init(struct stream_table *t, uint32_t max);
void stream_table_done(struct stream_table *t);

/* 0: there is none. */
uint32_t stream_table_find(const struct stream_table *t, uint64_t job);
struct stream_follow *stream_table_at(const struct stream_table *t, uint32_t i);
/* A job that is not there yet; 0 if there are as many as may be. Nothing is due for it. */
uint32_t stream_table_add(struct stream_table *t, uint64_t job, struct stream_position known);
void stream_table_remove(struct stream_table *t, uint32_t i);

/* ---- what happens ---------------------------------------------------------------------------- */
/* It must be attached. */
void stream_table_attach(struct stream_table *t, uint32_t i, struct mono now);
/* A new connection: all of them must be. */
void stream_table_again(struct stream_table *t, struct mono now);
/* A message of its stream; tell what the reader has before the next one. */
void stream_table_take(struct stream_table *t, uint32_t i, struct mono now,
                       const struct stream_frame *f);
void stream_table_finished(struct stream_table *t, uint32_t i, struct mono now,
                           struct stream_position last);
/* An ATTACH was answered; `again`: it could not be done now. */
void stream_table_answered(struct stream_table *t, uint32_t i, struct mono now, bool again);

/* ---- what is due ----------------------------------------------------------------------------- */
/* Up to `max` of those for which an ATTACH is due, which now count as asked. One whose reader is
 * `gone` now needs no ATTACH: its job has ended and its rest was asked for often enough. */
uint32_t stream_table_due(struct stream_table *t, struct mono now, uint32_t *out, uint32_t max);
/* When to ask that again; MONO_NEVER. */
struct mono stream_table_next(const struct stream_table *t);

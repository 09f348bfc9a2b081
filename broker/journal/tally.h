/* The dispatcher's account of the segments: how much of each is live, which is the oldest of the
 * log, and whether cleaning pays. Pure bookkeeping, no file is touched. */
#pragma once

#include "broker/journal/format.h"

struct tally_segment {
    uint64_t live;    /* bytes of records not released */
    uint32_t bytes;   /* of the file */
    uint32_t end;     /* where the log leaves it; 0 while it is the last */
    uint32_t largest; /* bytes of its largest record */
};

struct tally {
    uint32_t first, last; /* segments of the log; last < first: none */
    uint32_t kept;        /* kept .. first - 1: no longer of the log, their files are still there */
    struct tally_segment *ring; /* of `size`, a power of two; a segment's place is number % size */
    uint32_t size;
    uint64_t live;                     /* of all segments */
    uint64_t closed_live, closed_size; /* of all but the last */
};

void tally_init(struct tally *t, uint32_t first);
void tally_clear(struct tally *t);
/* The log goes on in segment last + 1; it left the one before at `before`. */
void tally_open(struct tally *t, uint32_t segment, uint32_t bytes, uint32_t before);

static inline struct tally_segment *tally_at(const struct tally *t, uint32_t segment) {
    return &t->ring[segment & (t->size - 1)];
}

static inline bool tally_has(const struct tally *t, uint32_t segment) {
    return segment >= t->first && segment <= t->last;
}

void tally_put(struct tally *t, uint32_t segment, uint32_t bytes);
void tally_release(struct tally *t, uint32_t segment, uint32_t bytes);

/* The oldest segment is closed and nothing in it is live. */
bool tally_oldest_dead(const struct tally *t);
void tally_drop_oldest(struct tally *t);
/* The file of segment `kept` is gone. */
void tally_forget(struct tally *t);
/* Dead bytes of the closed segments exceed live ones / `share`. */
bool tally_clean_pays(const struct tally *t, uint32_t share);

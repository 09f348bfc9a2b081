/* Reads the log ahead of a replay, so that the disk and the core work at the same time.
 *
 * Two threads read chunks of the segments, in the order of the log, into a ring; the replay takes
 * them out as one stream. A chunk that cannot be read is an error when the replay gets there. One
 * lock guards the ring: it is taken a few times for each 4 MiB. */
#pragma once

#include "broker/journal/blocks.h"
#include "broker/journal/recover.h"

#include <pthread.h>

#define AHEAD_CHUNKS  4U
#define AHEAD_THREADS 2U
#define AHEAD_BYTES   (4U << 20)

struct ahead_chunk {
    uint32_t segment, at, bytes;
    bool filled;
    struct blocks data;
    struct err err;
};

struct ahead {
    struct file_dir *dir;
    const struct recovered *log;
    pthread_mutex_t lock;
    pthread_cond_t filled, freed;
    struct ahead_chunk chunks[AHEAD_CHUNKS];
    uint64_t asked, taken;        /* chunks; a chunk's place is its number % AHEAD_CHUNKS */
    uint32_t ask_segment, ask_at; /* what the next one holds */
    uint32_t used;                /* of the chunk that is being taken */
    bool stop;
    pthread_t threads[AHEAD_THREADS];
    uint32_t running;
};

int ahead_start(struct ahead *a, struct file_dir *dir, const struct recovered *log, struct err *e);
void ahead_stop(struct ahead *a);
/* The next `n` bytes of the stream, which are those at `at` of `segment`. */
int ahead_read(struct ahead *a, uint32_t segment, uint32_t at, void *to, uint32_t n, struct err *e);

/* Reading a closed segment for cleaning: the keeper fills one of two pieces while the dispatcher
 * looks at the other. A piece goes back and forth by its state, which is the only thing that both
 * touch. */
#pragma once

#include "broker/journal/scan.h"

#include <stdatomic.h>

/* Of a piece; one longer record is a piece of its own. */
#define CLEAN_BYTES_MAX (256U << 10)

struct clean_piece {
    struct journal_record *records;
    uint32_t n, size;
    char *bodies;
    uint32_t used, bodies_size;
    bool last;
    struct err err; /* it could not be read: the segment cannot be cleaned */
    atomic_bool ready;
};

struct clean {
    struct clean_piece pieces[2];
    uint32_t shown;     /* the dispatcher's next one */
    uint32_t filled;    /* the keeper's next one */
    atomic_bool active; /* the keeper has more to read */
    atomic_bool cancel;
    uint32_t segment, end;
    /* The keeper's. */
    uint32_t piece_bytes;
    struct file *file;
    struct scan scan;
    struct batch_head head;
    struct scan_walk walk;
};

void clean_clear(struct clean *c);

/* ---- dispatcher ------------------------------------------------------------------------------ */
/* Only when the last piece of the segment before has been given back. */
void clean_start(struct clean *c, uint32_t segment, uint32_t end);
/* The rest is not wanted: the next piece filled is the last. */
void clean_cancel(struct clean *c);
struct clean_piece *clean_take(struct clean *c);
void clean_give_back(struct clean *c, struct clean_piece *piece);

/* ---- keeper ---------------------------------------------------------------------------------- */
bool clean_waiting(const struct clean *c);
/* Fills one piece with about `bytes`. */
void clean_fill(struct clean *c, struct file_dir *dir, uint64_t log_id, uint32_t bytes);

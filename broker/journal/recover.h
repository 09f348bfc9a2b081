/* Finds out what a journal's directory holds: which segments are the log, where it ends, which
 * files wait to be used. Decides between a torn end, which is cut, and damage, which is refused.
 *
 * The rules (docs/journal.md numbers them): the last segment is the highest whose head is good; all
 * from `oldest`, which the last batch states, up to it must be there; what is older was released
 * and is removed; what is newer is a spare. Only the last segment can have a torn end: a segment's
 * head is written when all before it is durable, and says where that ended. */
#pragma once

#include "broker/journal/file_layer.h"
#include "broker/journal/format.h"
#include "broker/journal/journal.h"

#define SEGMENT_LOCK_NAME  "lock"
#define SEGMENT_SPARE_NAME "spare.tmp"

struct segment_name {
    char at[FILE_NAME_SIZE];
};
struct segment_name segment_name(uint32_t segment);

struct recovered_segment {
    uint32_t end;   /* where the log leaves it */
    uint32_t bytes; /* of the file */
};

struct recovered {
    uint64_t log_id;
    uint64_t sequence;                  /* of the next batch */
    uint32_t first, last;               /* of the log; last 0: it is empty */
    struct recovered_segment *segments; /* first .. last */
    uint32_t spares_first, spares;      /* files that wait to be used */
    uint64_t cut_bytes;
    bool closed; /* ended by journal_close */
};

/* Removes what is left over from a crash. `segment_bytes`: what a spare must have to be kept. */
int recover(struct file_dir *dir, uint32_t segment_bytes, struct recovered *out, struct err *e);
void recovered_clear(struct recovered *r);

/* CORRUPT at that place, with what the operator can do. */
int recover_corrupt(struct err *e, const struct file_dir *dir, uint32_t segment, uint32_t offset,
                    const char *why);
struct ahead;

/* Every batch of a segment of the log in order; anything else but whole batches up to `end` is
 * corruption. `sequence` is what the first must have (0: any) and becomes what comes next. With
 * `ahead` (or NULL) segments must be read in order. */
int recover_each_batch(struct file_dir *dir, const struct recovered *r, uint32_t segment,
                       struct ahead *ahead, uint64_t *sequence,
                       int (*each)(void *ctx, const struct batch_head *h, const char *records,
                                   struct err *e),
                       void *ctx, struct err *e);

/* Reads the batches of one segment file in order: for recovery, replay and cleaning.
 *
 * A batch is shown only when it is whole: its head belongs to this log, segment and offset, and
 * every record's CRC and the digest over them are right. What is shown is valid until the next
 * call. */
#pragma once

#include "broker/journal/blocks.h"
#include "broker/journal/format.h"
#include "broker/journal/journal.h"

struct ahead;

struct scan {
    struct file *file;
    struct ahead *ahead; /* where the bytes come from instead; NULL: from the file */
    uint64_t log_id;     /* 0: any, for scan_proof only */
    uint32_t segment, seed;
    uint32_t at;     /* where the next batch begins */
    uint32_t limit;  /* where the log leaves this segment, or the end of the file */
    const char *why; /* what was wrong with the batch at `at` */
    struct blocks buf;
    uint32_t from, have; /* buf[0 .. have) is the file from `from` on, in whole blocks */
};

void scan_start(struct scan *s, struct file *file, uint64_t log_id, uint32_t segment, uint32_t at,
                uint32_t limit);
void scan_end(struct scan *s);

enum scan_seen { SCAN_ERROR = -1, SCAN_NONE, SCAN_BATCH };
/* BATCH: the batch at `at`, which moves behind it; NONE: there is no whole batch, or the limit is
 * reached; ERROR: it cannot be read. */
enum scan_seen scan_batch(struct scan *s, struct batch_head *h, const char **records,
                          struct err *e);

/* The records of a batch that was shown. */
struct scan_walk {
    const char *at;
    uint64_t pos;
    uint32_t left; /* records */
};
struct scan_walk scan_walk(const struct batch_head *h, const char *records);
bool scan_walk_next(struct scan_walk *w, struct journal_record *r);

/* Is there, up to the limit, a batch head behind `at` which says that more than `at` was durable?
 * Then what is wrong at `at` is no torn end. 1, 0, or -1 if it cannot be read. */
int scan_proof(struct scan *s, struct err *e);

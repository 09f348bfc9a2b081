/* The journal in files: what its two halves (opening and closing; running) share. */
#pragma once

#include "broker/journal/batch.h"
#include "broker/journal/journal_int.h"
#include "broker/journal/keeper.h"
#include "broker/journal/recover.h"
#include "broker/journal/tally.h"
#include "broker/journal/writer.h"

struct files {
    struct journal base;
    struct file_dir *dir;
    struct recovered log; /* what open has found; its list of segments until the replay */
    struct flag flag;
    struct keeper keeper;
    struct writer writer;
    bool replayed;

    /* Two batches take turns: what is put goes to `filling`; `handed` is in flight, or was the last
     * to be, and stays readable until the next hand-over. */
    struct batch *filling, *handed;
    struct cursor cursor;
    uint64_t fill_max;
    uint64_t turn_bytes; /* that a turn may put after any answer of files_room but NONE */
    /* Of segments that have files: nobody but cleaning may put here. With it one segment can always
     * be moved, whose file is room for the next one. */
    uint64_t clean_reserve;
    uint32_t body_max;
    uint32_t low;     /* spares for one turn and the reserve */
    uint64_t durable; /* as last told */

    struct tally tally;
    uint32_t oldest_said; /* by the last batch handed over */
    bool handed_settled;  /* its end has been seen */
    bool sealed;          /* the last batch is a closing one, or there is none */

    bool cleaning;     /* of tally.first */
    bool showing;      /* what is released meanwhile was moved */
    uint32_t lap_last; /* where space is short: cleaning has come round when it is behind this */
    uint64_t stirred;  /* about the bytes that have died since that lap began */
    uint32_t clean_blocked; /* a segment that cannot be read; 0: none */
    struct err clean_err;
    uint64_t records, moved;
};

extern const struct journal_ops files_ops;

static inline struct files *files_of(struct journal *j) {
    return (struct files *)j;
}

static inline const struct files *files_of_const(const struct journal *j) {
    return (const struct files *)j;
}

/* Hands over an empty batch that says the log was closed in order. */
void files_seal_log(struct files *f);

int files_replay(struct journal *j,
                 int (*each)(void *ctx, const struct journal_record *r, struct err *e), void *ctx,
                 struct journal_replayed *stats, struct err *e);
int files_close(struct journal *j, struct err *e);
void files_abandon(struct journal *j);

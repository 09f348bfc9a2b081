/* Segment files prepared ahead: zero-filled, synced, named and found in the directory, so that a
 * commit only overwrites blocks that are there. A sync of written-over blocks costs half of one
 * that has to allocate (docs/decisions/0002-journal-writes.md).
 *
 * The keeper makes them and pushes them into a ring, from which the writer takes them in the order
 * of their numbers. Making one is a run of short steps. Where a spare cannot be made for want of
 * space, `no_space` stands until one can, or until enough are there. A released file that has the
 * right size is recycled. */
#pragma once

#include "broker/journal/file_layer.h"
#include "broker/journal/journal.h"

#include <stdatomic.h>

#define SPARES_MAX 128U
/* Released files are kept as spares up to so many, and up to so many bytes: a steady load then
 * makes and removes none. */
#define SPARES_RECYCLED       16U
#define SPARES_RECYCLED_BYTES (1ULL << 30)

struct spare {
    struct file *file;
    uint32_t segment;
};

struct spares_options {
    uint32_t segment_bytes;
    uint32_t low;    /* with so many left the next one is needed at once */
    uint32_t target; /* how many shall be ready */
    uint64_t disk_min_free, bytes_max;
};

struct spares {
    struct file_dir *dir;
    struct spares_options options;
    uint32_t next; /* number of the next one */
    /* The one being made. */
    struct file *file;
    uint32_t filled;
    /* Shared. */
    struct spare ring[SPARES_MAX];
    atomic_uint head, tail;
    atomic_uint ready_through; /* highest segment that has a file */
    atomic_bool no_space;
    atomic_ullong disk_bytes, disk_min_free; /* the second: written by the dispatcher */
    atomic_ullong made, recycled, dropped;
};

/* The files next - ready .. next - 1 are there already. */
int spares_init(struct spares *s, struct file_dir *dir, const struct spares_options *options,
                uint32_t next, uint32_t ready, uint64_t disk_bytes, struct err *e);
void spares_clear(struct spares *s);
/* Before the keeper runs: whether the bounds leave space for another spare, so that submissions do
 * not take the reserve until the keeper has found out. */
void spares_look(struct spares *s);

/* How many files it holds open, but for those that were ready at the start. */
uint32_t spares_files_max(const struct spares *s);

/* ---- keeper ---------------------------------------------------------------------------------- */
bool spares_wanted(const struct spares *s);
/* No more than `low` are left: it cannot wait. */
bool spares_needed(const struct spares *s);
/* One step of making one: SPARE_MORE steps are needed, a spare is READY, there is no SPACE for one
 * (then `e` says why), or it FAILED, to be begun anew by the next step. UNFILLED leaves the zeros
 * out, AT_ANY_PRICE also the bounds that config sets. */
enum spares_how { SPARE_FILLED, SPARE_UNFILLED, SPARE_AT_ANY_PRICE };
enum spares_step { SPARE_MORE, SPARE_READY, SPARE_NO_SPACE, SPARE_FAILED };
enum spares_step spares_step(struct spares *s, enum spares_how how, struct err *e);
/* The file of a released segment becomes the next spare or is removed. */
int spares_drop(struct spares *s, uint32_t segment, uint32_t bytes, struct err *e);

/* ---- writer ---------------------------------------------------------------------------------- */
bool spares_ready(const struct spares *s);
bool spares_take(struct spares *s, struct spare *out);

/* ---- dispatcher ------------------------------------------------------------------------------ */
void spares_set_disk_min_free(struct spares *s, uint64_t bytes);

/* The journal: an append-only log of records, the one owner of durability.
 *
 * Vocabulary. A *record* is a type (one byte) and a body. Its *position* is segment number << 32 |
 * offset in the segment: given at once by journal_put, never given twice, growing. The log is kept
 * in *segments*, files of one size. What is put gathers in the *filling* batch; journal_commit
 * hands it over to be written and synced: one batch is *in flight* at most, one is filling. A
 * record is *live* until the core releases it, then *dead*. *Cleaning* empties the oldest segment:
 * its records are shown to the core, which puts the live ones again. A *spare* is a segment file
 * prepared ahead.
 *
 * What always holds:
 *  1. Durable is a prefix: when position P is reported durable, so is every record before P.
 *  2. After any crash the log is a prefix of what was put, and it holds all that was reported
 * durable.
 *  3. A failed write or sync is never tried again: the journal is READ_ONLY from then on. Nothing
 * more becomes durable, nothing is reported durable that is not; loads go on.
 *  4. Segments go away oldest first, each only when the log durably says so, all records of it are
 *     dead, and no load of it is under way. A released segment never comes back.
 *  5. Damage that a torn last batch cannot explain is refused at open (CORRUPT, naming segment and
 *     offset); it is never skipped and never cut.
 *
 * Threads: one thread (the dispatcher's) makes all calls; none of them waits for the disk except
 * open, replay, journal_commit_inline, journal_flush and close. Ownership: the journal copies what
 * is put; what it shows (replay, cleaning) is valid during the callback, a loaded body until the
 * next call of journal_loaded.
 *
 * Bounds and their answers: the filling batch (journal_room says BUSY), loads under way
 * (journal_load returns -1), disk space (journal_room says RESERVE, then NONE). */
#pragma once

#include "common/base/err.h"
#include "common/base/histogram.h"
#include "common/base/journal_need.h"
#include "common/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;
struct file_layer;

/* The longest body: a payload of 1 MiB, a result of 64 KiB and their envelope. Segments that are
 * too small for it lower the bound: journal_body_max. */
#define JOURNAL_BODY_MAX ((1U << 20) + (64U << 10) + (64U << 10))

struct journal_options {
    const char *dir;         /* created when missing; its parent must exist */
    uint64_t segment_bytes;  /* 64 KiB to 1 GiB, a multiple of 4 KiB; 0: 64 MiB */
    uint64_t fill_bytes_max; /* of the filling batch, beyond it BUSY; 0: 8 MiB */
    uint64_t turn_bytes_max; /* that may be put after one journal_room; 0: JOURNAL_TURN_MAX */
    uint64_t disk_min_free;  /* spares are made only while so much stays free; 0: no such bound */
    uint64_t bytes_max;      /* of all segment files together; 0: no such bound */
    uint32_t spares_reserve; /* spares kept for completions and cleaning; 0: 2 */
    uint32_t loads_max;      /* loads under way; 0: 256 */
    uint32_t spin_us; /* how long the writer looks for the next batch before it sleeps; 0: 20 */
    bool no_threads;  /* all work is done inside the calls: for tools and for tests */
};

struct journal_record {
    uint64_t pos;
    uint32_t bytes; /* what it takes in the log: what journal_release and journal_load want */
    uint8_t type;
    struct str body;
};

/* ---- in order of life ------------------------------------------------------------------------ */

/* Locks the directory and finds the end of the log. LOCKED: another process has it (its pid is in
 * the text). CORRUPT, CONFLICT (a file that is not ours), BAD_VERSION, IO, DISK_FULL. */
int journal_open(struct journal **out, const struct journal_options *options,
                 const struct file_layer *layer, struct err *e);

struct journal_replayed {
    uint64_t records, bytes;
    uint64_t cut_bytes; /* of a torn batch at the end, dropped; 0 after a clean end */
    bool closed;        /* the log ended with journal_close */
};

/* Shows every record in the order of the log; must be called once, before the first put. -1 from
 * `each` ends the replay with its error. Every record shown counts as live until it is released,
 * which `each` may do at once for this or an earlier one. `stats` may be NULL. */
int journal_replay(struct journal *j,
                   int (*each)(void *ctx, const struct journal_record *r, struct err *e), void *ctx,
                   struct journal_replayed *stats, struct err *e);

/* Appends one record, its body the `n` parts end to end; returns its position and in `bytes` what
 * it takes. Never fails and never waits: whoever puts has asked journal_room before. Beyond
 * journal_body_max, or far beyond BUSY, it is the caller's bug. */
uint64_t journal_put(struct journal *j, uint8_t type, const struct str *parts, size_t n,
                     uint32_t *bytes);
uint32_t journal_body_max(const struct journal *j);
/* The records that are put next, up to so many bytes in the log, become durable together or not at
 * all: they stand in one batch, of one segment. At most journal_together_max. */
void journal_keep_together(struct journal *j, uint32_t bytes);
uint32_t journal_together_max(const struct journal *j);

enum journal_room {
    JOURNAL_ROOM,     /* everything may be put */
    JOURNAL_BUSY,     /* the filling batch is full: take nothing in until one has finished */
    JOURNAL_RESERVE,  /* disk space runs out: refuse submissions; completions and cleaning go on */
    JOURNAL_NONE,     /* no space is left: take nothing in, let workers keep their results;
                         cleaning goes on in room that it alone may use */
    JOURNAL_READ_ONLY /* a write has failed: journal_error says which */
};
/* A few loads from memory: ask before taking each message in. After any answer but NONE and
 * READ_ONLY one turn may put `turn_bytes_max` bytes (JOURNAL_TURN_MAX), so that what was begun can
 * be ended. */
enum journal_room journal_room(const struct journal *j);
/* Where the answer is NONE: whether a turn may still put JOURNAL_PURGE_MAX bytes to end jobs that
 * nobody wants any more, which is what makes space. Cleaning has what it needs beside that. */
#define JOURNAL_PURGE_MAX (64U << 10)
bool journal_may_purge(const struct journal *j);

/* Hands the filling batch over if none is in flight. True if a batch is in flight afterwards. */
bool journal_commit(struct journal *j);
/* The same, but writes and syncs it on the calling thread: no wake-ups, for a dispatcher that has
 * nothing else to do. Does nothing while a batch is in flight. True if it wrote, or failed to: only
 * then is journal_poll worth a call, which takes the news of loads from journal_fd as well. */
bool journal_commit_inline(struct journal *j);
/* Waits until all that was put is durable; -1 if the journal is or becomes READ_ONLY. */
int journal_flush(struct journal *j, struct err *e);

/* Readable (eventfd) when a commit, a load or a cleaning read has finished; journal_poll resets it.
 */
int journal_fd(const struct journal *j);
/* Every record before `*durable` is durable. True if that has grown since the last call. */
bool journal_poll(struct journal *j, uint64_t *durable);
/* Why the journal is READ_ONLY, or NULL. */
const struct err *journal_error(const struct journal *j);
/* While it is: a record that is not durable and stands before this position may be found on the
 * disk by the next open all the same; none at or behind it will be. It does not part what was put
 * between two commits. */
uint64_t journal_doubt_end(const struct journal *j);

/* Asks for one live record, durable or not. -1 when `loads_max` are under way: ask again after
 * journal_loaded has given one. The answers come in any order. */
int journal_load(struct journal *j, uint64_t pos, uint32_t bytes, uint64_t token);
struct journal_load_done {
    uint64_t token;
    struct journal_record record; /* body NULL on error */
    struct err err;               /* OK, IO, CORRUPT, NO_MEMORY */
};
/* The next finished load; false if there is none. What it gave before is freed. */
bool journal_loaded(struct journal *j, struct journal_load_done *out);

/* The record is dead: superseded, moved or forgotten. */
void journal_release(struct journal *j, uint64_t pos, uint32_t bytes);

/* ---- cleaning -------------------------------------------------------------------------------- */

/* True while the oldest segment should be emptied: dead bytes of the closed segments exceed live
 * ones (a quarter of the live ones while room is RESERVE, a 16th while it is NONE), or it was
 * begun. Segments without live records go by themselves. Cleaning takes room before it gives some
 * back; a reserve of one segment and a half, which journal_room counts for nobody else, is
 * enough for that whatever else is put. */
bool journal_clean_want(const struct journal *j);
enum journal_clean {
    JOURNAL_CLEAN_IDLE, /* nothing to do */
    JOURNAL_CLEAN_WAIT, /* being read; journal_fd tells */
    JOURNAL_CLEAN_MORE, /* a piece was shown */
    JOURNAL_CLEAN_DONE  /* the last piece of this segment was shown */
};
/* Shows the next piece (about 256 KiB) of the oldest segment. For each record `each` either leaves
 * it (it is dead already) or puts it again and releases the old one; after DONE nothing in the
 * segment may be live. The segment goes when all that was put until then is durable. */
enum journal_clean journal_clean_next(struct journal *j,
                                      void (*each)(void *ctx, const struct journal_record *r),
                                      void *ctx);

/* ---- settings -------------------------------------------------------------------------------- */

/* `disk_min_free` of journal_options from now on. What is ready stays ready. */
void journal_set_disk_min_free(struct journal *j, uint64_t bytes);

/* ---- figures --------------------------------------------------------------------------------- */

struct journal_stats {
    uint64_t id;            /* of this log as long as it lives: random, not 0 */
    uint64_t disk_bytes;    /* of all segment files, spares too */
    uint64_t live_bytes;    /* of records not released */
    uint64_t segments;      /* that hold the log */
    uint64_t first_segment; /* number of the oldest that is not released for good */
    uint64_t spares;        /* that are ready */
    uint32_t files_max; /* descriptors that it opens at a time, but for spares found at the start */
    uint64_t records, commits, syncs, bytes_written; /* since open */
    uint64_t segments_made, segments_recycled, segments_dropped;
    uint64_t records_moved; /* shown by cleaning */
    uint64_t loads;
    uint64_t commit_last_us, commit_max_us; /* hand-over to durable */
    struct histogram commit_us;             /* the same, of all since open */
    enum journal_room room;
    struct err upkeep;     /* last trouble with spares, removal or cleaning; OK if none */
    uint64_t upkeep_count; /* of such troubles since open: what fails is tried again */
};
void journal_stats(const struct journal *j, struct journal_stats *out);

/* Makes all durable that was put, ends the threads, unlocks. -1 if something could not be made
 * durable; the journal is gone in either case. */
int journal_close(struct journal **j, struct err *e);

/* ---- the implementation in memory ------------------------------------------------------------ */

/* What outlives a journal in memory, as a disk would: for tests. */
struct journal_memory;
struct journal_memory *journal_memory_new(void);
void journal_memory_destroy(struct journal_memory **m);
/* As journal_open over `m`. Nothing is in flight for long: a commit is durable at the next poll.
 * A journal that is dropped (journal_abandon) instead of closed forgets what was not durable. */
int journal_open_memory(struct journal **out, struct journal_memory *m, struct err *e);

/* Ends the journal as a kill would: nothing more is written. For tests. */
void journal_abandon(struct journal **j);

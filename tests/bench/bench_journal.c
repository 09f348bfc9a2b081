/* How fast the journal is on this disk: commits, puts, sustained throughput with cleaning, loads,
 * replay.
 *
 *     bench_journal [--dir DIR] [--seconds N] [--records N] [--only SECTION]
 *
 * DIR must not exist; it is removed again. `--records` is for the replay. Sections are commits,
 * loads, puts, fast, paced and replay. */
#include "broker/journal/file_layer.h"
#include "broker/journal/journal.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/os/clock.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LONE_COMMITS 3000
#define PUTS         2000000
#define TURN         128      /* records a turn of the dispatcher puts */
#define WINDOW       1000000U /* live records in the sustained runs */
#define RATE         300000ULL
#define TURN_NS      (1000000000ULL * TURN / RATE)
#define BODY_MAX     4096U

static const char *dir;
static double seconds = 4;
static uint64_t replay_records = 2000000;
static char body[BODY_MAX];

/* ---- helpers --------------------------------------------------------------------------------- */

static void die(const struct err *e) {
    fprintf(stderr, "bench_journal: %s\n", e->text);
    exit(1);
}

static void remove_dir(void) {
    DIR *stream = opendir(dir);
    for (struct dirent *entry; stream && (entry = readdir(stream));)
        unlinkat(dirfd(stream), entry->d_name, 0);
    if (stream)
        closedir(stream);
    rmdir(dir);
}

static int count_record(void *ctx, const struct journal_record *r, struct err *e) {
    uint64_t *sum = ctx;
    (void)e;
    *sum += r->body.len;
    return 0;
}

static struct journal *open_journal(struct journal_replayed *stats) {
    struct journal_options options = {.dir = dir};
    struct journal *j;
    struct err e = {0};
    uint64_t sum = 0;
    if (journal_open(&j, &options, &file_layer_real, &e) != 0 ||
        journal_replay(j, count_record, &sum, stats, &e) != 0)
        die(&e);
    return j;
}

static void close_journal(struct journal **j) {
    struct err e = {0};
    if (journal_close(j, &e) != 0)
        die(&e);
}

static void wait_fd(struct journal *j) {
    struct pollfd p = {.fd = journal_fd(j), .events = POLLIN};
    poll(&p, 1, 10000);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void show_times(const char *what, uint64_t *ns, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ns[i];
    qsort(ns, n, sizeof *ns, by_value);
    uint64_t middle = ns[n / 2], high = ns[n * 99 / 100];
    printf("%-34s p50 %7.1f us   p99 %7.1f us   %8.0f /s\n", what, (double)middle / 1e3,
           (double)high / 1e3, (double)n * 1e9 / (double)sum);
}

static uint64_t put(struct journal *j, uint32_t bytes_body, uint32_t *bytes) {
    struct str part = {body, bytes_body};
    return journal_put(j, 1, &part, 1, bytes);
}

/* ---- single commits -------------------------------------------------------------------------- */

/* What the disk takes for one written-over block, without the journal. */
static void bare_sync(void) {
    static uint64_t ns[LONE_COMMITS];
    static char block[1 << 20] __attribute__((aligned(FILE_BLOCK)));
    struct file_dir *d;
    struct file *f;
    struct err e = {0};
    if (file_dir_open(&file_layer_real, dir, &d, &e) != 0 ||
        file_open(d, "spare.tmp", FILE_CREATE, &f, &e) != 0)
        die(&e);
    for (uint64_t at = 0; at < LONE_COMMITS * 4096ULL; at += sizeof block)
        if (file_write(f, block, sizeof block, at, &e) != 0)
            die(&e);
    if (file_sync(f, &e) != 0)
        die(&e);
    for (size_t i = 0; i < LONE_COMMITS; i++) {
        uint64_t start = clock_mono_ns();
        if (file_write(f, block, FILE_BLOCK, i * FILE_BLOCK, &e) != 0 || file_sync(f, &e) != 0)
            die(&e);
        ns[i] = clock_mono_ns() - start;
    }
    file_close(&f);
    if (file_unlink(d, "spare.tmp", &e) != 0)
        die(&e);
    file_dir_close(&d);
    show_times("bare write and sync, 4 KiB", ns, LONE_COMMITS);
}

static void wait_spares(struct journal *j) {
    struct journal_stats stats;
    do {
        poll(NULL, 0, 1);
        journal_stats(j, &stats);
    } while (stats.spares < 4);
}

enum lone { LONE_INLINE, LONE_WRITER, LONE_WHILE_SPARES };

static void lone_commits(enum lone how) {
    static const char *const names[] = {"lone commit, on the caller's thread",
                                        "lone commit, by the writer",
                                        "same, while spares are being made"};
    static uint64_t ns[LONE_COMMITS];
    struct journal *j = open_journal(NULL);
    uint64_t durable;
    uint32_t bytes;
    bool inline_commit = how == LONE_INLINE;
    if (how != LONE_WHILE_SPARES)
        wait_spares(j);
    for (size_t i = 0; i < LONE_COMMITS; i++) {
        uint64_t start = clock_mono_ns();
        uint64_t pos = put(j, 300, &bytes);
        if (inline_commit)
            journal_commit_inline(j);
        else
            journal_commit(j);
        for (;;) {
            journal_poll(j, &durable);
            if (durable > pos)
                break;
            wait_fd(j);
        }
        ns[i] = clock_mono_ns() - start;
        journal_release(j, pos, bytes);
    }
    close_journal(&j);
    show_times(names[how], ns, LONE_COMMITS);
}

/* ---- puts ------------------------------------------------------------------------------------ */

static void puts_only(uint32_t bytes_body) {
    struct journal *j = open_journal(NULL);
    struct err e = {0};
    uint64_t ns = 0, done = 0;
    uint32_t bytes;
    while (done < PUTS) {
        uint64_t pos[512], start = clock_mono_ns();
        for (size_t i = 0; i < 512; i++)
            pos[i] = put(j, bytes_body, &bytes);
        ns += clock_mono_ns() - start;
        done += 512;
        for (size_t i = 0; i < 512; i++)
            journal_release(j, pos[i], bytes);
        if (done % 4096 == 0 && journal_flush(j, &e) != 0)
            die(&e);
    }
    close_journal(&j);
    printf("put, %4u bytes                    %6.1f ns\n", bytes_body, (double)ns / (double)done);
}

/* ---- sustained ------------------------------------------------------------------------------- */

struct live {
    uint64_t pos;
    uint32_t bytes;
};

struct run {
    struct journal *j;
    struct live *live; /* by slot, which every body names */
    struct rng rng;
    uint64_t moved, newest;
};

static void put_slot(struct run *r, uint32_t slot, uint32_t bytes_body) {
    struct live *l = &r->live[slot], old = *l;
    struct str parts[] = {{(const char *)&slot, sizeof slot}, {body, bytes_body - sizeof slot}};
    l->pos = r->newest = journal_put(r->j, 1, parts, 2, &l->bytes);
    if (old.pos)
        journal_release(r->j, old.pos, old.bytes);
}

static void move(void *ctx, const struct journal_record *record) {
    struct run *r = ctx;
    uint32_t slot;
    memcpy(&slot, record->body.at, sizeof slot);
    if (r->live[slot].pos != record->pos)
        return;
    r->moved++;
    struct live old = r->live[slot];
    r->live[slot].pos = journal_put(r->j, 1, &record->body, 1, &r->live[slot].bytes);
    journal_release(r->j, old.pos, old.bytes);
}

/* As the dispatcher would: a turn of puts, the commit if none is in flight, some cleaning. Which
 * record is written anew is random, so that old segments stay partly live and cleaning has to move.
 */
static void clean(struct run *r) {
    for (int i = 0; i < 4 && journal_clean_want(r->j); i++)
        if (journal_clean_next(r->j, move, r) != JOURNAL_CLEAN_MORE)
            return;
}

static void turn(struct run *r, uint32_t bytes_body, uint64_t *done) {
    uint64_t durable;
    if (journal_room(r->j) == JOURNAL_ROOM) {
        for (int i = 0; i < TURN; i++)
            put_slot(r, rng_below(&r->rng, WINDOW), bytes_body);
        *done += TURN;
    } else {
        wait_fd(r->j);
    }
    journal_commit(r->j);
    journal_poll(r->j, &durable);
    clean(r);
}

static void show_run(const char *what, const struct run *r, const struct journal_stats *before,
                     uint64_t done, uint32_t bytes_body, double s) {
    struct journal_stats after;
    journal_stats(r->j, &after);
    printf(
        "%s, %4u bytes   %8.0f records/s %6.1f MB/s (%.1f written)  moved %.2f  %6.0f commits/s  "
        "%4llu MB on disk, %.0f live  spares: %llu made, %llu recycled\n",
        what, bytes_body, (double)done / s, (double)done * bytes_body / s / 1e6,
        (double)(after.bytes_written - before->bytes_written) / s / 1e6,
        (double)r->moved / (double)done, (double)(after.commits - before->commits) / s,
        (unsigned long long)after.disk_bytes / 1000000, (double)after.live_bytes / 1e6,
        (unsigned long long)(after.segments_made - before->segments_made),
        (unsigned long long)(after.segments_recycled - before->segments_recycled));
}

/* Warm: the disk is full enough for cleaning before the clock starts. */
static struct run start_run(uint32_t bytes_body) {
    struct run r = {.j = open_journal(NULL), .rng = rng_seed(1)};
    uint64_t warm = 0;
    r.live = mem_zalloc(WINDOW * sizeof *r.live);
    while (warm < WINDOW * 2ULL)
        turn(&r, bytes_body, &warm);
    struct err e = {0};
    if (journal_flush(r.j, &e) != 0)
        die(&e);
    r.moved = 0;
    return r;
}

static void end_run(struct run *r) {
    mem_free(r->live);
    close_journal(&r->j);
}

static void sustained(uint32_t bytes_body) {
    struct run r = start_run(bytes_body);
    struct journal_stats before;
    struct err e = {0};
    uint64_t done = 0;
    journal_stats(r.j, &before);
    uint64_t start = clock_mono_ns(), end = start + (uint64_t)(seconds * 1e9);
    while (clock_mono_ns() < end)
        turn(&r, bytes_body, &done);
    if (journal_flush(r.j, &e) != 0)
        die(&e);
    show_run("as fast as it goes", &r, &before, done, bytes_body,
             (double)(clock_mono_ns() - start) / 1e9);
    end_run(&r);
}

/* 300,000 a second, what the broker is to do: how long is each record's way to the disk? */
static void paced(uint32_t bytes_body) {
    struct run r = start_run(bytes_body);
    struct journal_stats before;
    uint64_t done = 0, n = 0, sizes = (uint64_t)(seconds * RATE / TURN) + 1;
    uint64_t *ns = mem_zalloc(sizes * sizeof *ns), *due_ns = mem_zalloc(sizes * sizeof *ns);
    uint64_t *last = mem_zalloc(sizes * sizeof *last), durable;
    journal_stats(r.j, &before);
    uint64_t start = clock_mono_ns();
    for (uint64_t turns = 0; n < sizes;) {
        uint64_t now = clock_mono_ns(), due = start + turns * TURN_NS;
        if (turns < sizes && now >= due) {
            due_ns[turns] = due;
            turn(&r, bytes_body, &done);
            last[turns++] = r.newest;
        } else {
            journal_commit(r.j);
            struct pollfd p = {.fd = journal_fd(r.j), .events = POLLIN};
            struct timespec rest = {.tv_nsec = turns < sizes ? (long)(due - now) : 10000000};
            ppoll(&p, 1, &rest, NULL);
        }
        journal_poll(r.j, &durable);
        for (now = clock_mono_ns(); n < turns && last[n] < durable; n++)
            ns[n] = now - due_ns[n];
    }
    show_run("300,000 a second  ", &r, &before, done, bytes_body,
             (double)(clock_mono_ns() - start) / 1e9);
    show_times("   from due to durable", ns, n);
    mem_free(ns);
    mem_free(due_ns);
    mem_free(last);
    end_run(&r);
}

/* ---- loads ----------------------------------------------------------------------------------- */

static void loads(bool busy) {
    static uint64_t ns[LONE_COMMITS], pos[LONE_COMMITS];
    struct journal *j = open_journal(NULL);
    struct journal_load_done done;
    struct err e = {0};
    uint64_t durable;
    uint32_t bytes, other;
    for (size_t i = 0; i < LONE_COMMITS; i++)
        pos[i] = put(j, 2048, &bytes);
    if (journal_flush(j, &e) != 0)
        die(&e);
    put(j, 100, &other);
    journal_flush(j, &e); /* so that the first batch is no longer in memory */
    for (size_t i = 0; i < LONE_COMMITS; i++) {
        uint64_t start = clock_mono_ns();
        journal_load(j, pos[i], bytes, i);
        while (!journal_loaded(j, &done)) {
            if (busy)
                put(j, 4000, &other);
            journal_commit(j);
            wait_fd(j);
            journal_poll(j, &durable);
        }
        ns[i] = clock_mono_ns() - start;
        if (done.err.code != ERR_OK)
            die(&done.err);
    }
    close_journal(&j);
    show_times(busy ? "load of 2 KiB beside commits" : "load of 2 KiB", ns, LONE_COMMITS);
}

/* ---- replay ---------------------------------------------------------------------------------- */

static void replay(uint32_t bytes_body) {
    struct journal *j = open_journal(NULL);
    struct err e = {0};
    uint64_t durable;
    uint32_t bytes;
    for (uint64_t done = 0; done < replay_records;) {
        while (journal_room(j) != JOURNAL_ROOM) {
            wait_fd(j);
            journal_poll(j, &durable);
            journal_commit(j);
        }
        for (int i = 0; i < TURN; i++, done++)
            put(j, bytes_body, &bytes);
        journal_commit(j);
    }
    if (journal_flush(j, &e) != 0)
        die(&e);
    close_journal(&j);
    struct journal_replayed stats;
    uint64_t start = clock_mono_ns();
    j = open_journal(&stats);
    double s = (double)(clock_mono_ns() - start) / 1e9;
    printf(
        "open and replay, %4u bytes        %9.0f records/s   %6.1f MB/s   %llu records in %.2f s\n",
        bytes_body, (double)stats.records / s, (double)stats.bytes / s / 1e6,
        (unsigned long long)stats.records, s);
    close_journal(&j);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static const char *only;

static void arguments(int argc, char **argv) {
    static char own[64];
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--about") == 0) {
            puts("commits, puts, sustained throughput, loads and replay of the journal on a disk");
            exit(0);
        } else if (strcmp(argv[i], "--dir") == 0) {
            dir = value;
        } else if (strcmp(argv[i], "--seconds") == 0) {
            seconds = strtod(value, NULL);
        } else if (strcmp(argv[i], "--only") == 0) {
            only = value;
        } else if (strcmp(argv[i], "--records") == 0) {
            replay_records = strtoull(value, NULL, 10);
        } else {
            fprintf(
                stderr,
                "usage: bench_journal [--dir DIR] [--seconds N] [--records N] [--only SECTION]\n");
            exit(2);
        }
    }
    if (!dir) {
        snprintf(own, sizeof own, "bench-journal-%ld", (long)getpid());
        dir = own;
    }
    if (access(dir, F_OK) == 0) {
        fprintf(stderr, "bench_journal: %s exists\n", dir);
        exit(2);
    }
}

static void single_commits(uint32_t bytes_body) {
    (void)bytes_body;
    bare_sync();
    lone_commits(LONE_INLINE);
    lone_commits(LONE_WRITER);
    remove_dir();
    lone_commits(LONE_WHILE_SPARES);
}

static void both_loads(uint32_t bytes_body) {
    (void)bytes_body;
    loads(false);
    loads(true);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(uint32_t bytes_body);
        uint32_t bytes_body;
    } sections[] = {
        {"commits", single_commits, 300},
        {"loads", both_loads, 2048},
        {"puts", puts_only, 256},
        {"puts", puts_only, 700},
        {"fast", sustained, 256},
        {"fast", sustained, 700},
        {"paced", paced, 256},
        {"paced", paced, 700},
        {"replay", replay, 256},
        {"replay", replay, 700},
    };
    arguments(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    memset(body, 'x', sizeof body);
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        if (only && strcmp(only, sections[i].name) != 0)
            continue;
        sections[i].run(sections[i].bytes_body);
        remove_dir();
    }
    return 0;
}

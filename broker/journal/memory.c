/* The journal in memory: the same promises without a disk. What stands in for the disk is a
 * journal_memory; records behind its durable position are gone when a journal is abandoned. */
#include "broker/journal/format.h"
#include "broker/journal/journal_int.h"
#include "broker/journal/loads.h"
#include "broker/journal/tally.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/wake.h"

#define SEGMENT_BYTES (256U << 10) /* one record may be longer: it has a segment alone then */
#define PIECE_BYTES   (64U << 10)
#define FILL_MAX      (8U << 20)
#define LOADS_MAX     256U
#define HEAD          4U /* of a record here: its word of type and length */

struct segment {
    uint32_t number, used, size;
    char *at;
};

struct journal_memory {
    struct segment *segments; /* in the order of the log */
    size_t n, size;
    uint32_t next; /* number of the next segment */
    bool open, closed;
};

struct memory {
    struct journal base;
    struct journal_memory *m;
    struct flag flag;
    struct loads loads;
    struct tally tally;
    bool replayed, cleaning;
    uint32_t clean_at;                 /* in the oldest segment */
    uint64_t committed, durable, told; /* committed becomes durable at the next poll */
    uint32_t committed_first;          /* segments before it go when `committed` is durable */
    uint64_t filled;                   /* bytes put and not committed */
    uint64_t records, commits, moved, dropped;
};

static struct memory *memory_of(struct journal *j) {
    return (struct memory *)j;
}

static const struct memory *memory_of_const(const struct journal *j) {
    return (const struct memory *)j;
}

/* ---- what outlives --------------------------------------------------------------------------- */

struct journal_memory *journal_memory_new(void) {
    struct journal_memory *m = MEM_NEW(struct journal_memory);
    m->next = 1;
    return m;
}

static void drop_segments(struct journal_memory *m, size_t from, size_t count) {
    for (size_t i = from; i < from + count; i++)
        mem_free(m->segments[i].at);
    if (count)
        memmove(&m->segments[from], &m->segments[from + count],
                (m->n - from - count) * sizeof *m->segments);
    m->n -= count;
}

void journal_memory_destroy(struct journal_memory **m) {
    if (!*m)
        return;
    ASSERT(!(*m)->open);
    drop_segments(*m, 0, (*m)->n);
    mem_free((*m)->segments);
    MEM_FREE(*m);
}

static struct segment *last_segment(struct journal_memory *m) {
    return m->n ? &m->segments[m->n - 1] : NULL;
}

static uint64_t end_of(struct journal_memory *m) {
    const struct segment *last = last_segment(m);
    return last ? format_pos(last->number, last->used) : format_pos(m->next, 0);
}

static struct segment *new_segment(struct journal_memory *m, uint32_t bytes) {
    if (m->n == m->size) {
        m->size = m->size ? 2 * m->size : 16;
        m->segments = mem_grow(m->segments, m->size, sizeof *m->segments);
    }
    ASSERT(m->segments);
    struct segment *s = &m->segments[m->n++];
    uint32_t size = bytes > SEGMENT_BYTES ? bytes : SEGMENT_BYTES;
    *s = (struct segment){.number = m->next++, .size = size, .at = mem_alloc(size)};
    return s;
}

static struct segment *find_segment(struct journal_memory *m, uint32_t number) {
    ASSERT(m->n && number - m->segments[0].number < m->n);
    return &m->segments[number - m->segments[0].number];
}

static struct journal_record record_at(const struct segment *s, uint32_t offset) {
    uint32_t word = format_load32(s->at + offset), body = format_word_body(word);
    return (struct journal_record){.pos = format_pos(s->number, offset),
                                   .bytes = HEAD + body,
                                   .type = format_word_type(word),
                                   .body = {s->at + offset + HEAD, body}};
}

/* ---- open, replay, close --------------------------------------------------------------------- */

static const struct journal_ops memory_ops;

int journal_open_memory(struct journal **out, struct journal_memory *m, struct err *e) {
    *out = NULL;
    if (m->open)
        return err_set(e, ERR_LOCKED, "journal: another journal holds this memory");
    struct memory *f = MEM_NEW(struct memory);
    f->base.ops = &memory_ops;
    f->m = m;
    if (flag_open(&f->flag) != 0) {
        mem_free(f);
        return err_errno(e, "journal: no descriptor left");
    }
    loads_init(&f->loads, LOADS_MAX);
    tally_init(&f->tally, m->n ? m->segments[0].number : m->next);
    f->committed = f->durable = f->told = end_of(m);
    f->committed_first = f->tally.first;
    m->open = true;
    *out = &f->base;
    return 0;
}

static int memory_replay(struct journal *j,
                         int (*each)(void *ctx, const struct journal_record *r, struct err *e),
                         void *ctx, struct journal_replayed *stats, struct err *e) {
    struct memory *f = memory_of(j);
    struct journal_replayed sum = {.closed = f->m->closed};
    ASSERT(!f->replayed);
    for (size_t i = 0; i < f->m->n; i++) {
        const struct segment *s = &f->m->segments[i];
        tally_open(&f->tally, s->number, s->size, s->used);
        for (uint32_t at = 0; at < s->used;) {
            struct journal_record r = record_at(s, at);
            tally_put(&f->tally, s->number, r.bytes);
            sum.records++;
            sum.bytes += r.bytes;
            if (each(ctx, &r, e) != 0)
                return err_add(e, "journal");
            at += r.bytes;
        }
    }
    f->replayed = true;
    f->m->closed = false;
    if (stats)
        *stats = sum;
    return 0;
}

static void memory_abandon(struct journal *j) {
    struct memory *f = memory_of(j);
    struct journal_memory *m = f->m;
    uint32_t end = format_segment_of(f->durable), used = format_offset_of(f->durable);
    while (m->n && (last_segment(m)->number > end || (last_segment(m)->number == end && !used)))
        drop_segments(m, m->n - 1, 1);
    if (m->n)
        last_segment(m)->used = used;
    m->next = m->n ? end + 1 : end;
    m->open = false;
    loads_clear(&f->loads);
    tally_clear(&f->tally);
    flag_close(&f->flag);
    mem_free(f);
}

static int memory_close(struct journal *j, struct err *e) {
    struct memory *f = memory_of(j);
    journal_flush(j, e);
    f->m->closed = true;
    memory_abandon(j);
    return 0;
}

/* ---- running --------------------------------------------------------------------------------- */

static uint64_t memory_put(struct journal *j, uint8_t type, const struct str *parts, size_t n,
                           uint32_t *bytes) {
    struct memory *f = memory_of(j);
    uint32_t body = 0;
    for (size_t i = 0; i < n; i++)
        body += (uint32_t)parts[i].len;
    ASSERT(body <= JOURNAL_BODY_MAX && f->replayed);
    *bytes = HEAD + body;
    struct segment *s = last_segment(f->m);
    if (!s || *bytes > s->size - s->used) {
        uint32_t before = s ? s->used : 0;
        s = new_segment(f->m, *bytes);
        tally_open(&f->tally, s->number, s->size, before);
    }
    uint64_t pos = format_pos(s->number, s->used);
    char *to = s->at + s->used;
    format_store32(to, format_word(type, body));
    to += HEAD;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len)
            memcpy(to, parts[i].at, parts[i].len);
        to += parts[i].len;
    }
    s->used += *bytes;
    tally_put(&f->tally, s->number, *bytes);
    f->filled += *bytes;
    f->records++;
    return pos;
}

/* A commit takes all that was put. */
static void memory_keep_together(struct journal *j, uint32_t bytes) {
    (void)j;
    ASSERT(bytes <= journal_together_max(j));
}

static uint32_t memory_together_max(const struct journal *j) {
    (void)j;
    return 64U << 20;
}

static uint32_t memory_body_max(const struct journal *j) {
    (void)j;
    return JOURNAL_BODY_MAX;
}

static enum journal_room memory_room(const struct journal *j) {
    return memory_of_const(j)->filled > FILL_MAX ? JOURNAL_BUSY : JOURNAL_ROOM;
}

static bool in_flight(const struct memory *f) {
    return f->committed > f->durable || f->tally.kept < f->committed_first;
}

static void make_durable(struct memory *f) {
    size_t dead = 0;
    f->durable = f->committed;
    for (; f->tally.kept < f->committed_first; dead++)
        tally_forget(&f->tally);
    drop_segments(f->m, 0, dead);
    f->dropped += dead;
}

static bool memory_commit(struct journal *j) {
    struct memory *f = memory_of(j);
    if (in_flight(f))
        return true;
    while (!f->cleaning && tally_oldest_dead(&f->tally))
        tally_drop_oldest(&f->tally);
    f->committed = end_of(f->m);
    f->committed_first = f->tally.first;
    f->filled = 0;
    if (!in_flight(f))
        return false;
    f->commits++;
    flag_raise(&f->flag);
    return true;
}

static bool memory_commit_inline(struct journal *j) {
    struct memory *f = memory_of(j);
    if (in_flight(f) || !memory_commit(j))
        return false;
    make_durable(f);
    return true;
}

static int memory_flush(struct journal *j, struct err *e) {
    (void)e;
    make_durable(memory_of(j));
    memory_commit_inline(j);
    return 0;
}

static bool memory_poll(struct journal *j, uint64_t *durable) {
    struct memory *f = memory_of(j);
    flag_lower(&f->flag);
    make_durable(f);
    bool grown = f->durable > f->told;
    *durable = f->told = f->durable;
    return grown;
}

static int memory_fd(const struct journal *j) {
    return memory_of_const(j)->flag.fd;
}

static const struct err *memory_error(const struct journal *j) {
    (void)j;
    return NULL;
}

static int memory_load(struct journal *j, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct memory *f = memory_of(j);
    ASSERT(tally_has(&f->tally, format_segment_of(pos)));
    struct journal_record r =
        record_at(find_segment(f->m, format_segment_of(pos)), format_offset_of(pos));
    ASSERT(r.bytes == bytes);
    if (!loads_know(&f->loads, token, &r, NULL))
        return -1;
    flag_raise(&f->flag);
    return 0;
}

static bool memory_loaded(struct journal *j, struct journal_load_done *out) {
    return loads_take(&memory_of(j)->loads, out);
}

static void memory_release(struct journal *j, uint64_t pos, uint32_t bytes) {
    tally_release(&memory_of(j)->tally, format_segment_of(pos), bytes);
}

static uint64_t memory_doubt_end(const struct journal *j) {
    return memory_of_const(j)->durable; /* it does not fail */
}

static bool memory_may_purge(const struct journal *j) {
    (void)j;
    return true;
}

/* ---- cleaning -------------------------------------------------------------------------------- */

static bool memory_clean_want(const struct journal *j) {
    const struct memory *f = memory_of_const(j);
    return f->cleaning || (f->tally.first < format_segment_of(f->durable) &&
                           !tally_oldest_dead(&f->tally) && tally_clean_pays(&f->tally, 1));
}

static enum journal_clean memory_clean_next(struct journal *j,
                                            void (*each)(void *ctx, const struct journal_record *r),
                                            void *ctx) {
    struct memory *f = memory_of(j);
    if (!memory_clean_want(j))
        return JOURNAL_CLEAN_IDLE;
    if (memory_room(j) != JOURNAL_ROOM)
        return JOURNAL_CLEAN_WAIT;
    uint32_t first = f->tally.first, start = f->cleaning ? f->clean_at : 0, at = start;
    uint32_t used = find_segment(f->m, first)->used;
    f->cleaning = true;
    while (at < used && at - start < PIECE_BYTES && tally_at(&f->tally, first)->live) {
        /* Looked up anew each time: a put may move the list of segments. */
        struct journal_record r = record_at(find_segment(f->m, first), at);
        at += r.bytes;
        f->moved++;
        each(ctx, &r);
    }
    f->clean_at = at;
    if (at < used && tally_at(&f->tally, first)->live)
        return JOURNAL_CLEAN_MORE;
    f->cleaning = false;
    ASSERT(tally_at(&f->tally, first)->live == 0);
    return JOURNAL_CLEAN_DONE;
}

static void memory_set_disk_min_free(struct journal *j, uint64_t bytes) {
    (void)j; /* it has no disk */
    (void)bytes;
}

static void memory_stats(const struct journal *j, struct journal_stats *out) {
    const struct memory *f = memory_of_const(j);
    *out = (struct journal_stats){.id = (uint64_t)(uintptr_t)f->m,
                                  .live_bytes = f->tally.live,
                                  .segments = f->m->n,
                                  .first_segment = f->tally.kept,
                                  .records = f->records,
                                  .commits = f->commits,
                                  .segments_dropped = f->dropped,
                                  .records_moved = f->moved,
                                  .loads = f->loads.count,
                                  .room = memory_room(j)};
    for (size_t i = 0; i < f->m->n; i++)
        out->disk_bytes += f->m->segments[i].size;
}

static const struct journal_ops memory_ops = {
    .replay = memory_replay,
    .put = memory_put,
    .body_max = memory_body_max,
    .keep_together = memory_keep_together,
    .together_max = memory_together_max,
    .room = memory_room,
    .may_purge = memory_may_purge,
    .commit = memory_commit,
    .commit_inline = memory_commit_inline,
    .flush = memory_flush,
    .fd = memory_fd,
    .poll = memory_poll,
    .error = memory_error,
    .doubt_end = memory_doubt_end,
    .load = memory_load,
    .loaded = memory_loaded,
    .release = memory_release,
    .clean_want = memory_clean_want,
    .clean_next = memory_clean_next,
    .set_disk_min_free = memory_set_disk_min_free,
    .stats = memory_stats,
    .close = memory_close,
    .abandon = memory_abandon,
};

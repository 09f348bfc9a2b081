#include "tests/support/journal_model.h"

#include "common/base/mem.h"
#include "common/base/rng.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PREFIX     17U /* serial, item and whether the item ends: the beginning of every body */
#define WAIT_MS    20000
#define LOADS_KEPT 32U

struct model_record {
    uint64_t pos, item;
    uint64_t put; /* counts in all lives: what is put again after a cut is other bytes */
    uint32_t bytes, body;
    uint8_t type;
    bool live, ends, forgotten;
};

struct journal_model {
    struct model_options options;
    struct rng rng;
    struct journal *j;
    struct model_record *records; /* by serial, from 1 */
    size_t n, size;
    uint64_t puts;
    uint64_t first;  /* serial of the first record in the log; 0: none */
    uint64_t *items; /* newest serial of each; 0: none */
    uint64_t live;
    uint64_t durable, durable_pos;
    uint64_t floor; /* segments before it are gone for good */
    uint32_t loading;
    bool (*loads_may_fail)(void *ctx);
    void *loads_ctx;
    char *body;
    /* Of the last replay. */
    struct journal_replayed replay;
    uint64_t seen;
};

#define CHECK(m, cond)                                                                             \
    do {                                                                                           \
        if (!(cond))                                                                               \
            broken(m, #cond, __LINE__);                                                            \
    } while (0)

static void broken(const struct journal_model *m, const char *what, int line) {
    print_error("journal_model.c:%d: seed %llu, record %zu: not so: %s\n", line,
                (unsigned long long)m->options.seed, m->n, what);
    fail();
}

struct journal_model *model_new(const struct model_options *options) {
    struct journal_model *m = MEM_NEW(struct journal_model);
    m->options = *options;
    if (!m->options.items_max)
        m->options.items_max = 200;
    m->rng = rng_seed(options->seed);
    m->items = mem_zalloc(m->options.items_max * sizeof *m->items);
    m->body = mem_alloc(JOURNAL_BODY_MAX);
    return m;
}

void model_destroy(struct journal_model **m) {
    if (!*m)
        return;
    mem_free((*m)->records);
    mem_free((*m)->items);
    mem_free((*m)->body);
    MEM_FREE(*m);
}

static struct model_record *record_of(const struct journal_model *m, uint64_t serial) {
    CHECK(m, serial >= 1 && serial <= m->n);
    return &m->records[serial - 1];
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static void fill_body(const struct model_record *r, uint64_t serial, char *to) {
    struct rng rng = rng_seed(r->put);
    memcpy(to, &serial, 8);
    memcpy(to + 8, &r->item, 8);
    to[16] = (char)r->ends;
    for (uint32_t i = PREFIX; i < r->body; i += 4) {
        uint32_t word = rng_u32(&rng), left = r->body - i;
        memcpy(to + i, &word, left < 4 ? left : 4);
    }
}

static void check_body(struct journal_model *m, const struct journal_record *r, uint64_t serial) {
    const struct model_record *want = record_of(m, serial);
    CHECK(m, r->pos == want->pos);
    CHECK(m, r->bytes == want->bytes);
    CHECK(m, r->type == want->type);
    CHECK(m, r->body.len == want->body);
    fill_body(want, serial, m->body);
    CHECK(m, memcmp(r->body.at, m->body, want->body) == 0);
}

static uint64_t serial_of(struct journal_model *m, const struct journal_record *r) {
    uint64_t serial;
    CHECK(m, r->body.len >= PREFIX);
    memcpy(&serial, r->body.at, 8);
    return serial;
}

static uint32_t body_length(struct journal_model *m) {
    if (m->options.body_max)
        return PREFIX + rng_below(&m->rng, m->options.body_max - PREFIX + 1);
    if (rng_chance(&m->rng, 20000))
        return PREFIX + rng_below(&m->rng, 20000);
    return PREFIX + rng_below(&m->rng, 600);
}

/* ---- items ----------------------------------------------------------------------------------- */

static void release(struct journal_model *m, uint64_t serial) {
    struct model_record *r = record_of(m, serial);
    CHECK(m, r->live);
    r->live = false;
    m->live--;
    journal_release(m->j, r->pos, r->bytes);
}

/* The new record first: the journal may not lose both. */
static void put(struct journal_model *m, uint64_t item, uint32_t body, bool ends) {
    if (m->n == m->size) {
        m->size = m->size ? 2 * m->size : 1024;
        m->records = mem_grow(m->records, m->size, sizeof *m->records);
    }
    uint64_t serial = ++m->n, old = m->items[item];
    struct model_record *r = &m->records[serial - 1];
    *r = (struct model_record){.item = item,
                               .put = ++m->puts,
                               .body = body,
                               .type = (uint8_t)(serial * 7),
                               .live = true,
                               .ends = ends};
    fill_body(r, serial, m->body);
    uint32_t cut = rng_below(&m->rng, body + 1);
    struct str parts[] = {{m->body, cut}, {m->body + cut, body - cut}};
    r->pos = journal_put(m->j, r->type, parts, 2, &r->bytes);
    CHECK(m, r->bytes >= body);
    CHECK(m, serial == 1 || serial - 1 < m->first || r->pos > record_of(m, serial - 1)->pos);
    m->items[item] = serial;
    m->live++;
    if (m->first == 0)
        m->first = serial;
    if (old)
        release(m, old);
}

uint64_t model_put(struct journal_model *m) {
    put(m, rng_below(&m->rng, m->options.items_max), body_length(m), false);
    return m->records[m->n - 1].pos;
}

static void end_or_forget(struct journal_model *m, uint64_t item) {
    uint64_t serial = m->items[item];
    if (serial == 0)
        return;
    if (!record_of(m, serial)->ends) {
        put(m, item, PREFIX, true);
    } else {
        m->items[item] = 0;
        record_of(m, serial)->forgotten = true;
        release(m, serial);
    }
}

void model_end_item(struct journal_model *m, uint64_t item) {
    end_or_forget(m, item);
}

void model_end_items(struct journal_model *m, uint32_t leave) {
    for (uint64_t item = leave; item < m->options.items_max; item++) {
        end_or_forget(m, item);
        end_or_forget(m, item);
    }
}

/* ---- after an open --------------------------------------------------------------------------- */

static int replayed(void *ctx, const struct journal_record *r, struct err *e) {
    struct journal_model *m = ctx;
    uint64_t serial = serial_of(m, r);
    (void)e;
    if (m->seen == 0) {
        CHECK(m, r->pos >> 32 >= m->floor);
        m->first = serial;
    } else {
        CHECK(m, serial == m->seen + 1);
    }
    m->seen = serial;
    check_body(m, r, serial);
    struct model_record *mine = record_of(m, serial);
    uint64_t old = m->items[mine->item];
    m->items[mine->item] = serial;
    mine->live = true;
    mine->forgotten = false;
    m->live++;
    if (old)
        release(m, old);
    return 0;
}

/* Of each item the newest record in the prefix that came back is there, unless it was forgotten. */
static void check_nothing_missing(struct journal_model *m) {
    uint64_t *newest = mem_zalloc(m->options.items_max * sizeof *newest);
    for (uint64_t serial = 1; serial <= m->n; serial++)
        newest[m->records[serial - 1].item] = serial;
    for (uint32_t i = 0; i < m->options.items_max; i++)
        if (newest[i] && m->items[i] != newest[i])
            CHECK(m, m->items[i] == 0 && record_of(m, newest[i])->forgotten);
    mem_free(newest);
}

static void check_live_bytes(struct journal_model *m) {
    struct journal_stats stats;
    uint64_t sum = 0;
    journal_stats(m->j, &stats);
    for (uint32_t i = 0; i < m->options.items_max; i++)
        sum += m->items[i] ? record_of(m, m->items[i])->bytes : 0;
    CHECK(m, stats.live_bytes == sum);
}

int model_attach(struct journal_model *m, struct journal *j, struct err *e) {
    m->j = j;
    m->seen = m->first = 0;
    m->live = m->loading = 0;
    memset(m->items, 0, m->options.items_max * sizeof *m->items);
    for (size_t i = 0; i < m->n; i++)
        m->records[i].live = false;
    if (journal_replay(j, replayed, m, &m->replay, e) != 0)
        return -1;
    /* An empty log is fine when all that was promised has been forgotten since. */
    CHECK(m, m->seen == 0 || m->seen >= m->durable);
    m->n = m->seen ? m->seen : m->durable; /* the rest was never promised and is gone */
    m->durable = m->n;
    m->durable_pos = 0;
    check_nothing_missing(m);
    check_live_bytes(m);
    return 0;
}

void model_detach(struct journal_model *m) {
    m->j = NULL;
    m->loading = 0;
}

/* ---- at work --------------------------------------------------------------------------------- */

static void take_loads(struct journal_model *m) {
    struct journal_load_done done;
    while (journal_loaded(m->j, &done)) {
        CHECK(m, m->loading > 0);
        m->loading--;
        if (done.err.code == ERR_READ_ONLY) {
            /* Put after the failure, or lost with it. */
            CHECK(m, journal_error(m->j) && done.token > m->durable);
        } else if (done.err.code != ERR_OK) {
            bool may = m->loads_may_fail && m->loads_may_fail(m->loads_ctx);
            if (!may)
                print_error("%s\n", done.err.text);
            CHECK(m, may);
        } else {
            check_body(m, &done.record, done.token);
        }
    }
}

void model_poll(struct journal_model *m) {
    uint64_t pos;
    bool grown = journal_poll(m->j, &pos);
    CHECK(m, pos >= m->durable_pos);
    CHECK(m, grown || pos == m->durable_pos || m->durable_pos == 0);
    m->durable_pos = pos;
    while (m->durable < m->n && m->records[m->durable].pos < pos)
        m->durable++;
    take_loads(m);
    struct journal_stats stats;
    journal_stats(m->j, &stats);
    CHECK(m, stats.first_segment >= m->floor);
    m->floor = stats.first_segment;
}

static void wait_for_fd(struct journal_model *m) {
    struct pollfd p = {.fd = journal_fd(m->j), .events = POLLIN};
    CHECK(m, poll(&p, 1, WAIT_MS) == 1);
    model_poll(m);
}

void model_finish_loads(struct journal_model *m) {
    model_poll(m);
    while (m->loading)
        wait_for_fd(m);
}

int model_flush(struct journal_model *m) {
    struct err e = {0};
    int status = journal_flush(m->j, &e);
    model_poll(m);
    CHECK(m, status != 0 || m->durable == m->n);
    CHECK(m, (status != 0) == (journal_error(m->j) != NULL));
    return status;
}

static void load_some(struct journal_model *m) {
    uint64_t serial = m->items[rng_below(&m->rng, m->options.items_max)];
    if (serial == 0)
        return;
    const struct model_record *r = record_of(m, serial);
    if (journal_load(m->j, r->pos, r->bytes, serial) == 0)
        m->loading++;
    else
        CHECK(m, m->loading > 0);
}

static void move(void *ctx, const struct journal_record *r) {
    struct journal_model *m = ctx;
    uint64_t serial = serial_of(m, r);
    check_body(m, r, serial);
    const struct model_record *mine = record_of(m, serial);
    if (mine->live)
        put(m, mine->item, mine->body, mine->ends);
}

void model_clean(struct journal_model *m) {
    if (journal_clean_want(m->j))
        journal_clean_next(m->j, move, m);
}

void model_step(struct journal_model *m) {
    bool room = journal_room(m->j) <= JOURNAL_RESERVE && journal_room(m->j) != JOURNAL_BUSY;
    uint64_t item = rng_below(&m->rng, m->options.items_max);
    switch (rng_below(&m->rng, 16)) {
    case 0:
        load_some(m);
        break;
    case 1:
        model_clean(m);
        break;
    case 2:
    case 3:
        if (room)
            end_or_forget(m, item);
        break;
    case 4:
        journal_commit(m->j);
        break;
    case 5:
        journal_commit_inline(m->j);
        break;
    case 6:
    case 7:
        model_poll(m);
        break;
    default:
        if (room)
            put(m, item, body_length(m), false);
    }
}

uint64_t model_cut_bytes(const struct journal_model *m) {
    return m->replay.cut_bytes;
}

uint64_t model_records(const struct journal_model *m) {
    return m->n;
}

uint64_t model_before(const struct journal_model *m, uint64_t pos) {
    uint64_t n = m->n;
    while (n && n > m->durable && m->records[n - 1].pos >= pos)
        n--;
    return n;
}

uint64_t model_durable(const struct journal_model *m) {
    return m->durable;
}

uint64_t model_live(const struct journal_model *m) {
    return m->live;
}

void model_loads_may_fail(struct journal_model *m, bool (*why)(void *ctx), void *ctx) {
    m->loads_may_fail = why;
    m->loads_ctx = ctx;
}

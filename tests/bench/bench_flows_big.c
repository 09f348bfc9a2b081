/* One flow of a million jobs, beside as many that are nobody's: what each takes while it waits, and
 * how long all of them take to end. Records and letters are made and counted, none is kept. */
#include "tests/bench/bench_flows.h"

#include "common/os/clock.h"
#include "common/wire/codec.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS   512
#define WORKERS 2
#define BATCH   1000 /* submissions in a turn */
#define BROODS  4    /* results with children in a turn */

enum { LINK_OPERATOR = 1, LINK_BROODS, LINK_LEAVES };

static const char payload[256];

struct given {
    uint64_t link, job, fence;
};

struct big {
    struct core *core;
    struct buf scratch;
    uint64_t now, pos, sequence, record_bytes;
    struct given *given; /* dispatched, to be reported */
    uint32_t n_given, size_given;
    struct numbers loads;
    uint32_t side;   /* children of the root, and of each of them */
    uint32_t broods; /* jobs that have named their children */
    uint64_t root, ended;
    bool settled;
};

/* ---- effects -------------------------------------------------------------------------------- */
static uint64_t on_append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct big *b = ctx;
    struct str parts[RECORD_PARTS];
    size_t n = record_parts(r, &b->scratch, parts);
    uint64_t pos = b->pos;
    *bytes = 16;
    for (size_t k = 0; k < n; k++)
        *bytes += (uint32_t)parts[k].len;
    b->pos += *bytes;
    b->record_bytes += *bytes;
    if (r->type == REC_FLOW) {
        const struct msg_rec_flow *f = r->other;
        b->settled |= f->settled && f->id == b->root;
    }
    if (r->type == REC_STATE)
        b->ended += job_state_terminal((enum job_state)r->state->state);
    return pos;
}

static void on_group(void *ctx, uint32_t bytes) {
    (void)ctx, (void)bytes;
}

static void on_release(void *ctx, uint64_t pos, uint32_t bytes) {
    (void)ctx, (void)pos, (void)bytes;
}

static void on_load(void *ctx, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct big *b = ctx;
    (void)pos, (void)bytes;
    numbers_add(&b->loads, token);
}

static void on_send(void *ctx, const struct letter *l) {
    struct big *b = ctx;
    if (l->verb == VERB_submitted)
        b->root = ((const struct msg_submitted *)l->message)->id;
    if (l->verb != VERB_dispatch)
        return;
    if (b->n_given == b->size_given) {
        b->size_given = b->size_given ? b->size_given * 2 : 1024;
        b->given = mem_grow(b->given, b->size_given, sizeof *b->given);
    }
    const struct msg_dispatch *m = l->message;
    b->given[b->n_given++] = (struct given){l->link, m->job, m->fence};
}

static void on_event(void *ctx, const struct event *e) {
    (void)ctx, (void)e;
}

static uint64_t on_token(void *ctx, uint64_t fence) {
    (void)ctx;
    return fence;
}

static void on_stream(void *ctx, const struct stream_order *o) {
    (void)ctx, (void)o;
}

/* ---- peers ---------------------------------------------------------------------------------- */
static void ask(struct big *b, uint64_t link, enum role role, enum verb verb) {
    bool open = core_request(b->core, link, role, verb, ++b->sequence);
    ASSERT(open);
}

static void hello(struct big *b, uint64_t link, enum role role, struct str kind, uint32_t slots) {
    uint64_t id[2] = {link, 7};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)role);
    MSG_SET(&m, hello, instance, str_make(id, 16));
    if (role == ROLE_WORKER) {
        MSG_SET(&m, hello, kinds, ((struct str_list){&kind, 1}));
        MSG_SET(&m, hello, slots, slots);
    }
    ask(b, link, role, VERB_hello);
    core_item(b->core, &m, STR(""), NULL);
    core_request_end(b->core);
}

static struct msg_submit job_of(struct str kind) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, kind);
    MSG_SET(&m, submit, size, sizeof payload);
    return m;
}

static void submit(struct big *b, struct str kind, uint32_t n) {
    struct msg_submit m = job_of(kind);
    ask(b, LINK_OPERATOR, ROLE_OPERATOR, VERB_submit);
    for (uint32_t k = 0; k < n; k++)
        core_item(b->core, &m, str_make(payload, sizeof payload), NULL);
    core_request_end(b->core);
}

static void result(struct big *b, const struct given *g, struct core_child *children) {
    struct msg_result m = {0};
    MSG_SET(&m, result, job, g->job);
    MSG_SET(&m, result, fence, g->fence);
    MSG_SET(&m, result, outcome, OUTCOME_DONE);
    if (children) {
        struct str kind = g->job == b->root ? STR("brood") : STR("leaf");
        for (uint32_t k = 0; k < b->side; k++)
            children[k] = (struct core_child){job_of(kind), str_make(payload, sizeof payload)};
        MSG_SET(&m, result, children, b->side);
        core_children(b->core, children, b->side);
        b->broods++;
    }
    core_item(b->core, &m, STR(""), NULL);
}

/* What a worker was given it ends in the next turn; of jobs with children some at a time. */
static void report(struct big *b, uint64_t link) {
    uint32_t n = b->n_given, left = 0, said = 0;
    bool with_children = link == LINK_BROODS;
    struct core_child *children = with_children ? mem_alloc(b->side * sizeof *children) : NULL;
    for (uint32_t k = 0; k < n; k++) {
        struct given g = b->given[k];
        if (g.link != link || (with_children && said == BROODS)) {
            b->given[left++] = g;
            continue;
        }
        if (said++ == 0)
            ask(b, link, ROLE_WORKER, VERB_result);
        result(b, &g, children);
    }
    if (said)
        core_request_end(b->core);
    b->n_given = left;
    mem_free(children);
}

static void give_loads(struct big *b) {
    struct msg_rec_spec spec = {0};
    struct msg_rec_state state = {0};
    MSG_SET(&spec, rec_spec, kind, STR("leaf"));
    MSG_SET(&spec, rec_spec, queue, STR("leaf"));
    MSG_SET(&spec, rec_spec, tenant, STR("default"));
    struct record r = {.type = REC_JOB,
                       .state = &state,
                       .spec = &spec,
                       .payload = str_make(payload, sizeof payload)};
    uint32_t n = b->loads.n;
    for (uint32_t k = 0; k < n; k++)
        core_loaded(b->core, b->loads.at[k], &r);
    b->loads.n = 0;
}

static void turn(struct big *b, uint32_t singles) {
    b->now++;
    core_begin(b->core, (struct mono){b->now}, (struct wall){1700000000000 + b->now});
    core_durable(b->core, b->pos);
    give_loads(b);
    for (uint64_t link = LINK_BROODS; link < LINK_LEAVES + WORKERS; link++)
        report(b, link);
    if (singles)
        submit(b, STR("leaf"), singles);
    core_end(b->core, true);
}

/* ---- measured ------------------------------------------------------------------------------- */
static size_t heap_bytes(void) {
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static void setup(struct big *b) {
    struct core_config k = core_config_default();
    struct effects fx = {.ctx = b,
                         .append = on_append,
                         .group = on_group,
                         .release = on_release,
                         .load = on_load,
                         .send = on_send,
                         .event = on_event,
                         .token = on_token,
                         .stream = on_stream};
    static const char *const names[] = {"brood", "leaf"};
    k.done_jobs = k.dead_jobs = 1000;
    b->core = core_new(&k, &fx);
    b->scratch = BUF(1U << 20);
    b->pos = 64;
    b->now = 1;
    core_begin(b->core, (struct mono){1}, (struct wall){1});
    for (int n = 0; n < 2; n++) {
        struct msg_kind_info kind = {0};
        MSG_SET(&kind, kind_info, kind, str_of(names[n]));
        core_set_kind(b->core, &kind);
    }
    struct str may[] = {STR("brood"), STR("leaf")};
    core_set_may_spawn(b->core, STR("brood"), &(struct str_list){may, 2});
    core_start(b->core, (struct mono){1}, (struct wall){1});
    core_durable(b->core, b->pos);
    hello(b, LINK_OPERATOR, ROLE_OPERATOR, STR(""), 0);
}

static void fill_singles(struct big *b, uint32_t jobs) {
    for (uint32_t n = 0; n < jobs; n += BATCH)
        turn(b, jobs - n < BATCH ? jobs - n : BATCH);
    turn(b, 0);
}

static void fill_flow(struct big *b) {
    hello(b, LINK_BROODS, ROLE_WORKER, STR("brood"), BROODS);
    submit(b, STR("brood"), 1);
    while (b->broods < b->side + 1)
        turn(b, 0);
    turn(b, 0);
}

/* All leaves wait; then workers come, and all ends. */
static void measure(uint32_t jobs, uint32_t side) {
    struct big b = {.side = side};
    struct core_stats stats;
    const char *what = side ? "one flow of" : "jobs that are nobody's,";
    setup(&b);
    size_t heap = heap_bytes();
    uint64_t start = clock_mono_ns();
    if (side)
        fill_flow(&b);
    else
        fill_singles(&b, jobs);
    double filled = (double)(clock_mono_ns() - start) / 1e9;
    double bytes = (double)(heap_bytes() - heap);
    core_stats(b.core, &stats);
    if (stats.by_state[JOB_ready] != jobs) {
        fprintf(stderr, "%llu jobs wait, %u should\n",
                (unsigned long long)stats.by_state[JOB_ready], jobs);
        exit(1);
    }
    for (uint64_t n = 0; n < WORKERS; n++)
        hello(&b, LINK_LEAVES + n, ROLE_WORKER, STR("leaf"), SLOTS);
    uint64_t all = jobs + (side ? side + 1U : 0), stuck = b.now + 10ULL * all;
    start = clock_mono_ns();
    while (b.ended < all && b.now < stuck)
        turn(&b, 0);
    double seconds = (double)(clock_mono_ns() - start) / 1e9;
    if (b.ended != all || (side && !b.settled)) {
        fprintf(stderr, "of %llu jobs %llu have ended; the flow has %ssettled\n",
                (unsigned long long)all, (unsigned long long)b.ended, b.settled ? "" : "not ");
        exit(1);
    }
    printf(
        "%-23s %u waiting: %.1f bytes a job in memory, made in %.2f s, ended in %.2f s, %.0f bytes "
        "of records a job\n",
        what, jobs, bytes / jobs, filled, seconds, (double)b.record_bytes / (double)all);
    core_check(b.core);
    core_destroy(&b.core);
    buf_destroy(&b.scratch);
    mem_free(b.given);
    mem_free(b.loads.at);
}

void big_flow(uint32_t jobs) {
    uint32_t side = 1;
    while (side < 1000 && (side + 1) * (side + 1) <= jobs)
        side++;
    measure(side * side, 0);
    measure(side * side, side);
}

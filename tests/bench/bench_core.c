/* Whole lives of jobs through the core alone: submit, durable, dispatch, result, end, forgotten.
 * The effects do what the broker's do in memory: every record and every letter is encoded, none is
 * written or sent. One thread. */
#include "broker/core/core.h"
#include "broker/records.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/frame.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH   256
#define WORKERS 2
#define SLOTS   512
#define LINES   1000

struct given {
    uint64_t link;
    struct msg_result result;
};

struct bench {
    struct core *core;
    struct buf scratch, log, letters;
    uint64_t pos, records, record_bytes;
    struct given *given; /* dispatched, to be reported */
    uint32_t n_given, size_given;
    uint64_t *loads;
    uint32_t n_loads, size_loads;
    uint64_t now, sequence;
    uint64_t submitted, ended;
    uint32_t tenants, lines;
    bool working; /* workers are there */
};

/* ---- effects
 * ------------------------------------------------------------------------------------- */
static uint64_t on_append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct bench *b = ctx;
    struct str parts[RECORD_PARTS];
    size_t n = record_parts(r, &b->scratch, parts);
    size_t len = 16;
    buf_clear(&b->log);
    for (size_t k = 0; k < n; k++) {
        buf_put_str(&b->log, parts[k]);
        len += parts[k].len;
    }
    uint64_t pos = b->pos;
    b->pos += len;
    b->records++;
    b->record_bytes += len;
    *bytes = (uint32_t)len;
    return pos;
}

static void on_release(void *ctx, uint64_t pos, uint32_t bytes) {
    (void)ctx;
    (void)pos;
    (void)bytes;
}

/* Payloads beyond the window are read back a turn later, as the journal would. */
static void on_load(void *ctx, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct bench *b = ctx;
    (void)pos;
    (void)bytes;
    if (b->n_loads == b->size_loads) {
        b->size_loads = b->size_loads ? b->size_loads * 2 : 1024;
        b->loads = mem_grow(b->loads, b->size_loads, sizeof *b->loads);
    }
    b->loads[b->n_loads++] = token;
}

static void on_send(void *ctx, const struct letter *l) {
    struct bench *b = ctx;
    if (b->letters.len > (1U << 20))
        buf_clear(&b->letters);
    if (l->message)
        codec_put(&b->letters, verb_def(l->verb)->message, l->message);
    buf_put_str(&b->letters, l->payload);
    if (l->verb == VERB_finished)
        b->ended++;
    if (l->verb != VERB_dispatch || !l->message)
        return;
    const struct msg_dispatch *m = l->message;
    if (b->n_given == b->size_given) {
        b->size_given = b->size_given ? b->size_given * 2 : 1024;
        b->given = mem_grow(b->given, b->size_given, sizeof *b->given);
    }
    struct given *g = &b->given[b->n_given++];
    *g = (struct given){.link = l->link};
    MSG_SET(&g->result, result, job, m->job);
    MSG_SET(&g->result, result, fence, m->fence);
    MSG_SET(&g->result, result, outcome, OUTCOME_DONE);
}

static void on_event(void *ctx, const struct event *e) {
    (void)ctx;
    (void)e;
}

/* ---- peers
 * --------------------------------------------------------------------------------------- */
static void request(struct bench *b, uint64_t link, enum role role, enum verb verb) {
    bool open = core_request(b->core, link, role, verb, ++b->sequence);
    ASSERT(open);
}

/* Each kind has a queue of its name: as many lines as kinds. */
static char kind_names[LINES][16] = {"echo"};

static struct str kind_name(uint64_t n) {
    if (n && !kind_names[n][0])
        snprintf(kind_names[n], sizeof kind_names[n], "echo%u", (unsigned)n);
    return str_of(kind_names[n]);
}

static void hello(struct bench *b, uint64_t link, enum role role) {
    struct str kinds[LINES];
    for (uint32_t n = 0; n < b->lines; n++)
        kinds[n] = kind_name(n);
    uint64_t id[2] = {link, 7};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)role);
    MSG_SET(&m, hello, instance, str_make(id, 16));
    if (role == ROLE_WORKER) {
        MSG_SET(&m, hello, kinds, ((struct str_list){kinds, b->lines}));
        MSG_SET(&m, hello, slots, SLOTS);
    }
    request(b, link, role, VERB_hello);
    core_item(b->core, &m, STR(""), NULL);
    core_request_end(b->core);
}

static void submit(struct bench *b, uint32_t n) {
    static const char payload[256];
    char tenant[16];
    struct msg_submit m = {0};
    MSG_SET(&m, submit, size, sizeof payload);
    request(b, 1, ROLE_OPERATOR, VERB_submit);
    for (uint32_t k = 0; k < n; k++) {
        MSG_SET(&m, submit, kind, kind_name(b->submitted % b->lines));
        if (b->tenants > 1) {
            snprintf(tenant, sizeof tenant, "t%u", (unsigned)(b->submitted % b->tenants));
            MSG_SET(&m, submit, tenant, str_of(tenant));
        }
        core_item(b->core, &m, str_make(payload, sizeof payload), NULL);
        b->submitted++;
    }
    core_request_end(b->core);
}

static void report(struct bench *b) {
    uint32_t n = b->n_given;
    struct given *given = b->given;
    b->given = NULL;
    b->n_given = b->size_given = 0;
    for (uint64_t link = 10; n && link < 10 + WORKERS; link++) {
        request(b, link, ROLE_WORKER, VERB_result);
        for (uint32_t k = 0; k < n; k++)
            if (given[k].link == link)
                core_item(b->core, &given[k].result, STR(""), NULL);
        core_request_end(b->core);
    }
    b->ended += n;
    mem_free(given);
}

static void give_loads(struct bench *b) {
    static const char payload[256];
    struct msg_rec_spec spec = {0};
    MSG_SET(&spec, rec_spec, kind, STR("echo"));
    MSG_SET(&spec, rec_spec, queue, STR("echo"));
    MSG_SET(&spec, rec_spec, tenant, STR("default"));
    struct msg_rec_state state = {0};
    struct record r = {.type = REC_JOB,
                       .state = &state,
                       .spec = &spec,
                       .payload = str_make(payload, sizeof payload)};
    for (uint32_t k = 0; k < b->n_loads; k++)
        core_loaded(b->core, b->loads[k], &r);
    b->n_loads = 0;
}

/* One turn of a broker under load: what came in, then the dispatch; all durable by the next one. */
static void turn(struct bench *b, uint32_t n) {
    b->now++;
    core_begin(b->core, (struct mono){b->now}, (struct wall){1700000000000 + b->now});
    core_durable(b->core, b->pos);
    give_loads(b);
    report(b);
    if (n)
        submit(b, n);
    if (b->now % 500 == 0 && b->working)
        for (uint64_t link = 10; link < 10 + WORKERS; link++)
            request(b, link, ROLE_WORKER, VERB_heartbeat), core_request_end(b->core);
    core_end(b->core, true);
}

/* Its kinds do not stream. */
static uint64_t on_token(void *ctx, uint64_t fence) {
    (void)ctx;
    return fence;
}

static void on_stream(void *ctx, const struct stream_order *o) {
    (void)ctx;
    (void)o;
}

/* As in a broker that logs no more than usual. */
static bool on_traces(void *ctx, enum core_event what) {
    (void)ctx;
    (void)what;
    return false;
}

static void setup(struct bench *b, bool keep) {
    struct core_config k = core_config_default();
    k.done_jobs = k.dead_jobs = keep ? 100000 : 1000;
    struct effects fx = {.ctx = b,
                         .append = on_append,
                         .release = on_release,
                         .load = on_load,
                         .send = on_send,
                         .event = on_event,
                         .traces = on_traces,
                         .token = on_token,
                         .stream = on_stream};
    b->core = core_new(&k, &fx);
    b->pos = 64;
    b->scratch = BUF(1U << 20);
    b->log = BUF(1U << 22);
    b->letters = BUF(1U << 22);
    core_begin(b->core, (struct mono){1}, (struct wall){1});
    for (uint32_t n = 0; n < b->lines; n++) {
        struct msg_kind_info kind = {0};
        MSG_SET(&kind, kind_info, kind, kind_name(n));
        core_set_kind(b->core, &kind);
    }
    core_start(b->core, (struct mono){1}, (struct wall){1});
    b->now = 1;
    core_durable(b->core, b->pos);
    hello(b, 1, ROLE_OPERATOR);
}

static void measure(uint64_t waiting, uint64_t lives, uint32_t tenants, uint32_t lines) {
    struct bench b = {.tenants = tenants, .lines = lines};
    setup(&b, true);
    for (uint64_t n = 0; n < waiting; n += BATCH)
        turn(&b, BATCH);
    struct core_stats before;
    core_stats(b.core, &before);
    for (uint64_t w = 0; w < WORKERS; w++)
        hello(&b, 10 + w, ROLE_WORKER);
    b.working = true;
    for (uint64_t n = 0; n < 100000; n += BATCH)
        turn(&b, BATCH);
    uint64_t ended = b.ended, start = clock_mono_ns();
    while (b.ended - ended < lives)
        turn(&b, BATCH);
    double seconds = (double)(clock_mono_ns() - start) / 1e9;
    printf("%9llu waiting, %2u tenants, %4u lines: %8.0f lives/s, %4.0f ns a life, %3.0f record "
           "bytes a life, "
           "%3.0f bytes a waiting job\n",
           (unsigned long long)waiting, tenants, lines, (double)lives / seconds,
           seconds * 1e9 / (double)lives, (double)b.record_bytes / (double)b.submitted,
           waiting ? (double)before.memory_bytes / (double)waiting : 0.0);
    core_destroy(&b.core);
    buf_destroy(&b.scratch);
    buf_destroy(&b.log);
    buf_destroy(&b.letters);
    mem_free(b.given);
    mem_free(b.loads);
}

int main(int argc, char **argv) {
    if (argc > 1 && str_eq(str_of(argv[1]), STR("--about"))) {
        puts("whole lives of jobs through the core alone, with 10,000 to 10 million waiting");
        return 0;
    }
    bool all = argc > 1 && str_eq(str_of(argv[1]), STR("--all"));
    measure(10000, 3000000, 1, 1);
    measure(10000, 3000000, 50, 1);
    measure(10000, 1000000, 1, LINES);
    measure(1000000, 3000000, 1, 1);
    measure(5000000, 3000000, 1, 1);
    if (all)
        measure(10000000, 3000000, 1, 1);
    return 0;
}

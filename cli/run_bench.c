/* quern bench: what the running broker does a second, and how long one job takes. */
#include "cli/cli.h"
#include "cli/out.h"
#include "common/base/mem.h"
#include "common/os/clock.h"

#include <inttypes.h>
#include <stdlib.h>

#define CHUNK_JOBS      8192
#define CHUNK_BYTES     (16U << 20)
#define SUBMIT_USUAL    10000
#define ROUNDTRIP_USUAL 1000

struct bench {
    struct cli *c;
    struct msg_submit message;
    struct buf payload;
    uint64_t count;
};

static int set_up(struct bench *b, struct cli *c, const struct args_bench *args, struct err *e) {
    uint64_t usual = args->what == 0 ? SUBMIT_USUAL : ROUNDTRIP_USUAL;
    uint64_t size = ARG_HAS(args, bench, size) ? args->size : 100;
    *b = (struct bench){.c = c, .payload = BUF(BODY_MAX_LEN)};
    b->count = ARG_HAS(args, bench, count) ? args->count : usual;
    MSG_SET(&b->message, submit, kind, args->kind.len ? args->kind : STR("echo"));
    if (ARG_HAS(args, bench, durability))
        MSG_SET(&b->message, submit, durability, args->durability);
    char *text = memset(mem_alloc(size + 1), 'x', size);
    bool bad = msgpack_put_map(&b->payload, 1) < 0 ||
               msgpack_put_text(&b->payload, STR("text")) < 0 ||
               msgpack_put_text(&b->payload, str_make(text, size)) < 0;
    mem_free(text);
    if (bad)
        return err_set(e, ERR_USAGE, "bench: a payload has at most %d bytes", BODY_MAX_LEN);
    return cli_connect(c, e);
}

static void tell_text(const json_t *told) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)told, key, value) {
        if (json_is_string(value))
            printf("%-12s %s\n", key, json_string_value(value));
        else if (json_is_integer(value))
            printf("%-12s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
        else
            printf("%-12s %.3f\n", key, json_real_value(value));
    }
}

static void tell(struct cli *c, const json_t *told) {
    if (c->json)
        cli_json(c, told);
    else
        tell_text(told);
}

/* ---- submit --------------------------------------------------------------------------------- */
static int submit_all(struct bench *b, size_t chunk, struct err *e) {
    struct client_item *items = mem_alloc(chunk * sizeof *items);
    struct client_submitted *out = mem_zalloc(chunk * sizeof *out);
    for (size_t i = 0; i < chunk; i++)
        items[i] = CLIENT_ITEM(&b->message, buf_str(&b->payload));
    int rc = 0;
    for (uint64_t left = b->count; left && rc == 0;) {
        size_t n = left < chunk ? (size_t)left : chunk;
        rc = client_submit(b->c->client, items, n, out, cli_deadline(CLI_ANSWER_MS), e);
        left -= n;
    }
    mem_free(items);
    mem_free(out);
    return rc;
}

static int bench_submit(struct bench *b, struct err *e) {
    size_t fits = CHUNK_BYTES / (b->payload.len + 1);
    size_t chunk = fits < CHUNK_JOBS ? fits : CHUNK_JOBS;
    uint64_t began = clock_mono_ns();
    if (submit_all(b, chunk, e) < 0)
        return -1;
    double seconds = (double)(clock_mono_ns() - began) / 1e9;
    json_auto_t *told = json_pack("{s:s, s:I, s:I, s:f, s:f}", "bench", "submit", "jobs",
                                  (json_int_t)b->count, "bytes", (json_int_t)b->payload.len,
                                  "seconds", seconds, "per_second", (double)b->count / seconds);
    tell(b->c, told);
    return 0;
}

/* ---- roundtrip ------------------------------------------------------------------------------ */
struct trip {
    bool ended;
    struct err err;
};

static void on_finished(void *watching, const struct client_finished *f) {
    struct trip *t = watching;
    t->ended = true;
    t->err = f->err;
}

static int one_trip(struct bench *b, uint64_t *ns, struct err *e) {
    struct trip trip = {0};
    struct client_item item = CLIENT_ITEM(&b->message, buf_str(&b->payload));
    struct client_submitted out;
    b->c->watching = &trip;
    uint64_t began = clock_mono_ns();
    struct mono deadline = cli_deadline(CLI_ANSWER_MS);
    if (client_submit(b->c->client, &item, 1, &out, deadline, e) < 0)
        return -1;
    while (!trip.ended && !mono_reached(clock_mono(), deadline))
        client_poll(b->c->client, deadline);
    *ns = clock_mono_ns() - began;
    if (!trip.ended)
        return err_set(e, ERR_WAIT_TIMEOUT,
                       "a job had not ended after %d s; does a worker run '" STR_FMT "'?",
                       CLI_ANSWER_MS / 1000, STR_ARG(b->message.kind));
    if (trip.err.code)
        *e = trip.err;
    return trip.err.code ? -1 : 0;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double ms_at(const uint64_t *sorted, uint64_t n, double part) {
    return (double)sorted[(uint64_t)((double)(n - 1) * part)] / 1e6;
}

static int bench_roundtrip(struct bench *b, struct err *e) {
    if (b->count > 10000000)
        return err_set(e, ERR_USAGE, "bench roundtrip: at most 10000000 jobs");
    AUTO_FREE uint64_t *ns = mem_alloc((size_t)b->count * sizeof *ns);
    uint64_t began = clock_mono_ns();
    MSG_SET(&b->message, submit, watch, true);
    b->c->on_finished = on_finished;
    for (uint64_t i = 0; i < b->count; i++)
        if (one_trip(b, &ns[i], e) < 0)
            return -1;
    double seconds = (double)(clock_mono_ns() - began) / 1e9;
    qsort(ns, (size_t)b->count, sizeof *ns, by_number);
    json_auto_t *told =
        json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "bench", "roundtrip", "jobs",
                  (json_int_t)b->count, "bytes", (json_int_t)b->payload.len, "seconds", seconds,
                  "per_second", (double)b->count / seconds, "p50_ms", ms_at(ns, b->count, 0.50),
                  "p90_ms", ms_at(ns, b->count, 0.90), "p99_ms", ms_at(ns, b->count, 0.99),
                  "max_ms", ms_at(ns, b->count, 1.0));
    tell(b->c, told);
    return 0;
}

int run_bench(struct cli *c, const struct args_bench *args) {
    struct bench b;
    struct err e = {0};
    int rc = set_up(&b, c, args, &e);
    if (rc == 0)
        rc = args->what == 0 ? bench_submit(&b, &e) : bench_roundtrip(&b, &e);
    c->on_finished = NULL;
    buf_destroy(&b.payload);
    return rc < 0 ? cli_fail(c, &e) : 0;
}

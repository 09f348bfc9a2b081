/* sdk_worker: kinds that show to sdk_test what the code of a kind sees, through quern.h alone.
 *
 *     sdk_worker           runs them
 *     sdk_worker WORD      begins with a mistake: none, twice, nameless, empty, unsized, unknown */
#include "workers/sdk/quern.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a job was given ------------------------------------------------------------------- */
static int run_given(struct quern_job *job, void *user) {
    char id[QUERN_ID_SIZE];
    size_t size;
    const void *payload = quern_job_payload(job, &size);
    const char *json = quern_job_payload_json(job);
    quern_id_show(quern_job_id(job), id);
    quern_job_put_text(job, "id", id);
    quern_job_put_flag(job, "fenced", quern_job_fence(job) != 0);
    quern_job_put_text(job, "kind", quern_job_kind(job));
    quern_job_put_text(job, "tenant", quern_job_tenant(job));
    quern_job_put_text(job, "trace", quern_job_trace(job));
    quern_job_put_uint(job, "attempt", quern_job_attempt(job));
    quern_job_put_uint(job, "attempts_max", quern_job_attempts_max(job));
    quern_job_put_uint(job, "parent", quern_job_parent(job));
    quern_job_put_flag(job, "timed", quern_job_left_ms(job) != QUERN_FOREVER);
    quern_job_put_uint(job, "bytes", payload ? size : 0);
    quern_job_put_text(job, "user", user);
    quern_job_log(job, QUERN_LOG_WARN, "given %s", id);
    return json ? quern_job_put_json(job, "payload", json) : -1;
}

static int run_members(struct quern_job *job, void *user) {
    char text[8];
    uint64_t number;
    bool flag;
    size_t size;
    (void)user;
    if (quern_job_text(job, "text", "none", text, sizeof text) < 0 ||
        quern_job_uint(job, "number", 7, 100, &number) < 0 ||
        quern_job_flag(job, "flag", &flag) < 0)
        return -1;
    const char *text2 = quern_job_long_text(job, "long", &size);
    if (!text2)
        return -1;
    quern_job_put_text(job, "text", text);
    quern_job_put_uint(job, "number", number);
    quern_job_put_flag(job, "flag", flag);
    return quern_job_put_uint(job, "long", size);
}

/* ---- results -------------------------------------------------------------------------------- */
static int run_same(struct quern_job *job, void *user) {
    size_t size;
    const void *payload = quern_job_payload(job, &size);
    (void)user;
    if (quern_job_put_text(job, "void", "it is replaced") < 0 ||
        quern_job_result(job, payload, size) < 0)
        return -1;
    return quern_job_put_text(job, "late", "") < 0 ? 0 : -1; /* the result was given whole */
}

static int run_numbers(struct quern_job *job, void *user) {
    (void)user;
    if (quern_job_put_uint(job, "most", UINT64_MAX) < 0 || quern_job_put_uint(job, "n", 1) < 0 ||
        quern_job_put_uint(job, "n", 2) < 0 || quern_job_put_real(job, "half", 0.5) < 0)
        return -1;
    double zero = 0;
    if (quern_job_put_real(job, "none", zero / zero) == 0 ||
        quern_job_put_text(job, "bad", "\xff") == 0 || quern_job_put_json(job, "bad", "{") == 0 ||
        quern_job_result_json(job, "[1]") == 0)
        return quern_job_fail(job, QUERN_BUG, "something was taken that is no value");
    return strcmp(quern_job_error(job)->name, "BAD_VALUE") == 0 ? 0 : -1;
}

static int run_large(struct quern_job *job, void *user) {
    static const char piece[] = "0123456789abcdef";
    (void)user;
    char *text = malloc((2U << 20) + 1);
    for (size_t i = 0; i < 2U << 20; i += 16)
        memcpy(text + i, piece, 17);
    int rc = quern_job_put_text(job, "text", text);
    free(text);
    return rc;
}

static int run_no_map(struct quern_job *job, void *user) {
    (void)user;
    return quern_job_result(job, "\x07", 1);
}

/* ---- failing -------------------------------------------------------------------------------- */
static int run_fail(struct quern_job *job, void *user) {
    static atomic_int held;
    uint64_t error_class;
    (void)user;
    if (quern_job_uint(job, "class", 0, 9, &error_class) < 0)
        return -1;
    if (error_class == 0)
        return -1; /* without a word */
    if (error_class == QUERN_HOLD && atomic_fetch_add(&held, 1) >= 2)
        return quern_job_put_uint(job, "attempt", quern_job_attempt(job));
    if (error_class == QUERN_HOLD)
        return quern_job_hold(job, 50, "wait a bit");
    return quern_job_fail(job, (enum quern_class)error_class, "class %" PRIu64, error_class);
}

static int run_stop(struct quern_job *job, void *user) {
    (void)user;
    quern_job_progress(job, 1, 3);
    quern_job_put_text(job, "so_far", "something");
    if (quern_job_stop_fd(job) < 0 || quern_job_wait_fd(job, -1, 1) != 0)
        return 0;
    while (quern_job_wait(job, 60000) == 0)
        continue;
    quern_job_put_text(job, "why", quern_job_error(job)->name);
    return quern_job_check(job);
}

/* ---- streams -------------------------------------------------------------------------------- */
static int run_stream(struct quern_job *job, void *user) {
    (void)user;
    if (quern_job_delta(job, 0, "void", 4) < 0 || quern_job_stream_reset(job) < 0 ||
        quern_job_delta(job, 0, "gr\xc3", 3) < 0 ||
        quern_job_delta(job, 0, "\xbc\xc3\x9f", 3) < 0 ||
        quern_job_event_json(job, 7, "{\"n\": 1}") < 0 ||
        quern_job_event(job, 7, "\x81\xa1n\x02", 4) < 0)
        return -1;
    return quern_job_event(job, 7, "\x07", 1) < 0 && quern_job_event_json(job, 7, "[]") < 0 ? 0
                                                                                            : -1;
}

/* Pieces of 32 KiB: their number, then dots. */
static int run_flood(struct quern_job *job, void *user) {
    char piece[32U << 10];
    uint64_t pieces;
    (void)user;
    if (quern_job_uint(job, "pieces", 0, 100000, &pieces) < 0)
        return -1;
    memset(piece, '.', sizeof piece);
    for (uint64_t n = 0; n < pieces; n++) {
        int digits = snprintf(piece, 16, "%012" PRIu64, n);
        piece[digits] = '.';
        if (quern_job_delta(job, 0, piece, sizeof piece) < 0)
            return -1;
    }
    return 0;
}

static int run_mute(struct quern_job *job, void *user) {
    (void)user;
    return quern_job_delta(job, 0, "x", 1);
}

/* ---- flows ---------------------------------------------------------------------------------- */
static int run_spawn(struct quern_job *job, void *user) {
    struct quern_spec good = quern_spec_make("given"), bad = quern_spec_make("fail");
    struct quern_spec then = quern_spec_make("then"), wrong = quern_spec_make("given");
    (void)user;
    good.payload_json = "{\"from\": \"spawn\"}";
    bad.payload_json = "{\"class\": 2}";
    wrong.tenant = "acme";
    if (quern_job_spawn(job, &wrong) == 0)
        return quern_job_fail(job, QUERN_BUG, "a child with a tenant was taken");
    if (quern_job_spawn(job, &good) < 0 || quern_job_spawn(job, &bad) < 0 ||
        quern_job_then(job, &then) < 0)
        return -1;
    good.priority = QUERN_PRIORITY_LOWEST;
    good.backoff_ms = QUERN_NO_BACKOFF;
    return quern_job_spawn_now(job, &good);
}

static int run_then(struct quern_job *job, void *user) {
    const struct quern_siblings *s = quern_job_siblings(job);
    (void)user;
    if (!s)
        return quern_job_fail(job, QUERN_PERM, "no siblings");
    quern_job_put_text(job, "parent", quern_state_name(s->parent_state));
    quern_job_put_uint(job, "total", s->total);
    quern_job_put_uint(job, "done", s->done);
    return quern_job_put_uint(job, "dead", s->dead);
}

/* ---- the program ---------------------------------------------------------------------------- */
/* One of a later version, as far as this one can know it. */
static int run_later(const struct quern_kind *kind, bool uses_it) {
    struct {
        struct quern_kind now;
        uint64_t then;
    } later = {.now = *kind, .then = uses_it};
    later.now.size = sizeof later;
    return quern_worker_run(NULL, &later.now, 1);
}

static int run_mistake(const char *word, struct quern_kind *kinds) {
    struct quern_worker_options options = quern_worker_options_make();
    struct quern_kind twice[] = {kinds[0], kinds[0]};
    struct quern_kind nameless = quern_kind_make("not a name", run_given);
    struct quern_kind empty = quern_kind_make("empty", NULL);
    if (strcmp(word, "later") == 0)
        return run_later(&kinds[0], false);
    if (strcmp(word, "unknown") == 0)
        return run_later(&kinds[0], true);
    options.size = strcmp(word, "unsized") == 0 ? 0 : options.size;
    return strcmp(word, "none") == 0       ? quern_worker_run(NULL, kinds, 0)
           : strcmp(word, "twice") == 0    ? quern_worker_run(NULL, twice, 2)
           : strcmp(word, "nameless") == 0 ? quern_worker_run(NULL, &nameless, 1)
           : strcmp(word, "empty") == 0    ? quern_worker_run(NULL, &empty, 1)
                                           : quern_worker_run(&options, kinds, 1);
}

int main(int argc, char **argv) {
    static char user[] = "mine";
    struct quern_worker_options options = quern_worker_options_make();
    struct quern_kind kinds[] = {
        quern_kind_make("given", run_given),   quern_kind_make("members", run_members),
        quern_kind_make("same", run_same),     quern_kind_make("numbers", run_numbers),
        quern_kind_make("large", run_large),   quern_kind_make("no_map", run_no_map),
        quern_kind_make("fail", run_fail),     quern_kind_make("stop", run_stop),
        quern_kind_make("stream", run_stream), quern_kind_make("flood", run_flood),
        quern_kind_make("mute", run_mute),     quern_kind_make("spawn", run_spawn),
        quern_kind_make("then", run_then),
    };
    kinds[0].user = user;
    kinds[0].timeout_ms = 45000;
    kinds[6].backoff_ms = 20;
    kinds[8].streams = kinds[9].streams = true;
    kinds[1].speculative = true;
    options.name = "sdk_worker";
    options.slots = 3;
    if (argc > 1)
        return run_mistake(argv[1], kinds);
    return quern_worker_run(&options, kinds, sizeof kinds / sizeof kinds[0]);
}

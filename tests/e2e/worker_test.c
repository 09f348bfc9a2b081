/* quern-worker and the client library with the real broker: round trips, kills, stalls, leaving. */
#include "common/base/worker_env.h"
#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "tests/e2e/worker_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A lease of 900 ms: long enough for a busy machine, short enough to wait for. */
#define YAML                                                                                       \
    "broker:\n  heartbeat: 300ms\n  heartbeats_missed: 3\n"                                        \
    "journal:\n  segment_size: 8MiB\n  disk_min_free: 0\n"

#define FOUND_MS 20000 /* far less than two heartbeats of QUIET */

struct scene {
    struct broker b;
    struct worker first, second;
    struct client *c;
};

/* Nobody is missed, nor heard from by chance. */
#define QUIET "broker: {heartbeat: 60s}\njournal: {segment_size: 8MiB, disk_min_free: 0}\n"

static int set_up_with(void **state, const char *yaml) {
    static struct scene s;
    s = (struct scene){0};
    broker_make(&s.b, yaml);
    broker_start(&s.b);
    s.c = worker_client(&s.b);
    *state = &s;
    return 0;
}

static int set_up(void **state) {
    return set_up_with(state, YAML);
}

static int set_up_quiet(void **state) {
    return set_up_with(state, QUIET);
}

static int tear_down(void **state) {
    struct scene *s = *state;
    client_destroy(&s->c);
    worker_remove(&s->first);
    worker_remove(&s->second);
    broker_remove(&s->b);
    return 0;
}

static void start(struct scene *s, struct worker *w, const char *arguments) {
    uint64_t before = worker_status(s->c).workers;
    worker_start(w, &s->b, arguments, NULL);
    worker_await_workers(s->c, before + 1);
}

/* ---- jobs ----------------------------------------------------------------------------------- */
#define MANY 5000

struct ends {
    uint32_t done, other;
};

static void on_finished(void *ctx, const struct client_finished *f) {
    struct ends *ends = ctx;
    struct cursor in = cursor_of(buf_str(&f->result));
    uint32_t pairs = 0;
    msgpack_get_map(&in, &pairs);
    if (f->state == JOB_done && pairs == 1)
        ends->done++;
    else
        ends->other++;
}

static void test_round_trips(void **state) {
    struct scene *s = *state;
    static struct client_item items[MANY];
    static struct client_submitted out[MANY];
    struct ends ends = {0};
    struct err e = {0};
    char endpoint[LINK_ENDPOINT_MAX];
    start(s, &s->first, "--slots 2 --prefetch 500");
    assert_int_equal(link_endpoint(endpoint, s->b.data, NULL, ROLE_CLIENT, &e), 0);
    struct client_config config = {.role = ROLE_CLIENT,
                                   .endpoint = endpoint,
                                   .clock = clock_mono,
                                   .ctx = &ends,
                                   .on_finished = on_finished};
    random_bytes(config.instance, sizeof config.instance);
    AUTO_CLIENT c = NULL;
    assert_int_equal(client_new(&c, &config, &e), 0);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    MSG_SET(&m, submit, watch, true);
    for (size_t i = 0; i < MANY; i++)
        items[i] = CLIENT_ITEM(&m, STR("\x81\xa1x\x01"));
    if (client_submit(c, items, MANY, out, worker_deadline(), &e) < 0)
        fail_msg("%s", e.text);
    struct mono deadline = worker_deadline();
    while (ends.done + ends.other < MANY && !mono_reached(clock_mono(), deadline))
        client_poll(c, deadline);
    assert_int_equal(ends.done, MANY);
    assert_int_equal(ends.other, 0);
}

static void test_outcomes(void **state) {
    struct scene *s = *state;
    start(s, &s->first, "--slots 4");
    uint64_t twice = worker_submit(s->c, "fail", "{\"times\": 2}");
    uint64_t perm = worker_submit(s->c, "fail", "{\"class\": \"perm\", \"text\": \"never\"}");
    uint64_t hold =
        worker_submit(s->c, "fail", "{\"class\": \"hold\", \"times\": 1, \"retry_after_ms\": 50}");
    uint64_t wrong = worker_submit(s->c, "sleep", "{\"ms\": \"long\"}");
    uint64_t busy = worker_submit(s->c, "sleep", "{\"ms\": 1200, \"busy\": true}");
    worker_await_end(s->c, twice, JOB_done);
    worker_await_end(s->c, hold, JOB_done);
    struct err e = worker_await_end(s->c, perm, JOB_dead);
    assert_int_equal(e.code, ERR_JOB_REJECTED);
    assert_string_equal(e.text, "never");
    e = worker_await_end(s->c, wrong, JOB_dead);
    assert_int_equal(e.code, ERR_BAD_VALUE);
    worker_await_end(s->c, busy, JOB_done); /* it computes for longer than a lease */
    assert_int_equal(worker_await_state(s->c, busy, JOB_done).attempts, 0);
    assert_int_equal(worker_await_state(s->c, twice, JOB_done).attempts, 2);
}

/* P-52 */
static void test_cancel_and_timeout(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    start(s, &s->first, "--slots 2");
    uint64_t id = worker_submit(s->c, "sleep", "{\"ms\": 60000}");
    worker_await_state(s->c, id, JOB_running);
    struct msg_cancel_job m = {0};
    MSG_SET(&m, cancel_job, id, id);
    assert_int_equal(client_change(s->c, VERB_cancel_job, &m, NULL, worker_deadline(), &e), 0);
    worker_await_end(s->c, id, JOB_cancelled);
    struct msg_submit late = {0};
    MSG_SET(&late, submit, kind, STR("sleep"));
    MSG_SET(&late, submit, timeout_ms, 200);
    MSG_SET(&late, submit, attempts_max, 1);
    id = worker_submit_as(s->c, &late, "{\"ms\": 60000}");
    e = worker_await_end(s->c, id, JOB_dead);
    assert_int_equal(e.code, ERR_TIMEOUT);
    assert_int_equal(worker_status(s->c).workers, 1);
}

/* ---- a worker is lost ----------------------------------------------------------------------- */
static void test_killed(void **state) {
    struct scene *s = *state;
    start(s, &s->first, "--slots 2 --prefetch 2");
    uint64_t ids[4];
    for (int i = 0; i < 4; i++)
        ids[i] = worker_submit(s->c, "sleep", "{\"ms\": 700}");
    worker_await_state(s->c, ids[3], JOB_running);
    worker_kill(&s->first);
    start(s, &s->second, "--slots 4");
    for (int i = 0; i < 4; i++)
        worker_await_end(s->c, ids[i], JOB_done);
    worker_await_workers(s->c, 1);
}

/* P-51, P-57: it was taken for dead; what it then reports is refused, and it goes on. */
static void test_stalled(void **state) {
    struct scene *s = *state;
    start(s, &s->first, "--slots 1");
    uint64_t id = worker_submit(s->c, "sleep", "{\"ms\": 500}");
    worker_await_state(s->c, id, JOB_running);
    worker_signal(&s->first, SIGSTOP);
    worker_await_workers(s->c, 0);
    start(s, &s->second, "--slots 1");
    worker_await_end(s->c, id, JOB_done);
    uint64_t fence = worker_await_state(s->c, id, JOB_done).fence;
    worker_signal(&s->second, SIGTERM);
    assert_int_equal(worker_wait(&s->second), WORKER_EXIT_DRAINED);
    worker_signal(&s->first, SIGCONT);
    worker_await_workers(s->c, 1);
    worker_await_end(s->c, worker_submit(s->c, "echo", "{}"), JOB_done);
    struct mono deadline = worker_deadline();
    while (worker_status(s->c).stale_fences == 0)
        assert_false(mono_reached(clock_mono(), deadline));
    assert_int_equal(worker_await_state(s->c, id, JOB_done).fence, fence);
}

/* ---- the broker is lost --------------------------------------------------------------------- */
/* P-24, P-49, P-57, P-58: the attempts go on and count. */
static void test_broker_killed(void **state) {
    struct scene *s = *state;
    start(s, &s->first, "--slots 3");
    uint64_t ids[3];
    struct msg_job_info before[3];
    static const char *const payloads[3] = {"{\"ms\": 300}", "{\"ms\": 900}", "{\"ms\": 1800}"};
    for (int i = 0; i < 3; i++)
        ids[i] = worker_submit(s->c, "sleep", payloads[i]);
    for (int i = 0; i < 3; i++)
        before[i] = worker_await_state(s->c, ids[i], JOB_running);
    broker_kill(&s->b);
    broker_start(&s->b);
    for (int i = 0; i < 3; i++) {
        worker_await_end(s->c, ids[i], JOB_done);
        struct msg_job_info after = worker_await_state(s->c, ids[i], JOB_done);
        assert_int_equal(after.fence, before[i].fence);
        assert_int_equal(after.attempts, 0);
    }
    worker_signal(&s->first, SIGTERM);
    assert_int_equal(worker_wait(&s->first), WORKER_EXIT_DRAINED);
}

/* P-25: the end of a connection is noticed without a heartbeat, by worker and client alike. */
static void test_next_broker_is_found_at_once(void **state) {
    struct scene *s = *state;
    start(s, &s->first, "--slots 2");
    for (int life = 0; life < 3; life++) {
        uint64_t running = worker_submit(s->c, "sleep", "{\"ms\": 1000}");
        worker_await_state(s->c, running, JOB_running);
        broker_kill(&s->b);
        broker_start(&s->b);
        struct mono began = clock_mono();
        worker_await_workers(s->c, 1);
        worker_await_end(s->c, worker_submit(s->c, "echo", "{}"), JOB_done);
        print_message("a new broker: an echo job after %d ms\n",
                      (int)mono_until(began, clock_mono()));
        worker_await_end(s->c, running, JOB_done);
        assert_true(mono_until(began, clock_mono()) < FOUND_MS);
    }
}

static void take_job(void *ctx, const struct client_reply *r) {
    *(struct msg_job_info *)ctx = *(const struct msg_job_info *)r->message;
}

/* What is read back from disk is answered when it has come, not when something else happens. */
static void test_no_load_is_overlooked(void **state) {
    struct scene *s = *state;
    struct msg_get_job m = {0};
    struct msg_job_info info = {0};
    struct client_item item = {.message = &m};
    start(s, &s->first, "--slots 1");
    uint64_t id = worker_submit(s->c, "echo", "{\"text\": \"from disk\"}");
    worker_await_end(s->c, id, JOB_done);
    MSG_SET(&m, get_job, id, id);
    MSG_SET(&m, get_job, payload, true);
    struct mono until = mono_add(clock_mono(), FOUND_MS);
    for (int i = 0; i < 3000; i++) {
        struct err e = {0};
        if (client_call(s->c, VERB_get_job, &item, 1, take_job, &info, until, &e) < 0)
            fail_msg("question %d: %s", i, e.text);
        assert_int_equal(info.state, JOB_done);
    }
}

static void test_no_broker(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    struct client_submitted out;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    broker_kill(&s->b);
    struct client_item item = {.message = &m};
    client_submit(s->c, &item, 1, &out, mono_add(clock_mono(), 3000), &e);
    /* The client may not have noticed yet: then it was sent, and nobody knows. */
    assert_true(e.code == ERR_UNREACHABLE_BROKER || e.code == ERR_UNKNOWN_OUTCOME);
    assert_int_equal(client_submit(s->c, &item, 1, &out, mono_add(clock_mono(), 50), &e), -1);
    assert_int_equal(e.code, ERR_UNREACHABLE_BROKER);
    assert_int_equal(err_code_exit(e.code), 3);
    broker_start(&s->b);
    struct err none = {0};
    assert_int_equal(client_connect(s->c, worker_deadline(), &none), 0);
}

/* ---- leaving -------------------------------------------------------------------------------- */
/* P-60 */
static void test_drain(void **state) {
    struct scene *s = *state;
    start(s, &s->first, "--slots 1 --prefetch 3");
    uint64_t first = worker_submit(s->c, "sleep", "{\"ms\": 300}"), ids[4];
    for (int i = 0; i < 4; i++)
        ids[i] = worker_submit(s->c, "sleep", "{\"ms\": 600}");
    worker_await_end(s->c, first, JOB_done); /* the slot has taken the next meanwhile */
    worker_signal(&s->first, SIGTERM);
    assert_int_equal(worker_wait(&s->first), WORKER_EXIT_DRAINED);
    worker_await_state(s->c, ids[0], JOB_done);
    worker_await_workers(s->c, 0);
    struct msg_status_info status = worker_status(s->c);
    assert_int_equal(status.ready, 3);
    assert_int_equal(status.stale_fences, 0);
    start(s, &s->second, "--slots 4");
    for (int i = 0; i < 4; i++)
        worker_await_end(s->c, ids[i], JOB_done);
}

static void test_drained_by_operator(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    uint64_t count = 0;
    start(s, &s->first, "--slots 1 --pool odd");
    uint64_t id = worker_submit(s->c, "sleep", "{\"ms\": 400}");
    worker_await_state(s->c, id, JOB_running);
    struct msg_drain m = {0};
    MSG_SET(&m, drain, name, STR("odd"));
    assert_int_equal(client_change(s->c, VERB_drain, &m, &count, worker_deadline(), &e), 0);
    assert_int_equal(count, 1);
    assert_int_equal(worker_wait(&s->first), WORKER_EXIT_DRAINED);
    worker_await_state(s->c, id, JOB_done);
}

/* A slot runs it: it is not only on its way to one. */
static void await_begun(struct scene *s, uint64_t id) {
    struct mono deadline = worker_deadline();
    while (!worker_await_state(s->c, id, JOB_running).progress_total)
        assert_false(mono_reached(clock_mono(), deadline));
}

static void test_stopped_at_once(void **state) {
    struct scene *s = *state;
    start(s, &s->first, "--slots 1 --prefetch 1");
    uint64_t first = worker_submit(s->c, "sleep", "{\"ms\": 1}");
    uint64_t id = worker_submit(s->c, "sleep", "{\"ms\": 60000, \"stubborn\": true}");
    worker_await_end(s->c, first, JOB_done);
    await_begun(s, id);
    worker_signal(&s->first, SIGTERM);
    broker_await_log(&s->b, "worker.draining");
    worker_signal(&s->first, SIGTERM);
    assert_int_equal(worker_wait(&s->first), WORKER_EXIT_STOPPED);
    assert_int_equal(worker_await_state(s->c, id, JOB_ready).attempts, 0);
}

#define LARGE_JOBS  40
#define LARGE_BYTES (512U << 10)
#define CEILING     (8U << 20) /* above what it has at rest; far less than the jobs' payloads */

static unsigned long resident(pid_t pid) {
    char path[64], text[128] = "";
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    fclose(f);
    const char *second = strchr(text, ' ');
    assert_non_null(second);
    return strtoul(second, NULL, 10) * (unsigned long)sysconf(_SC_PAGESIZE);
}

static void test_memory_ceiling(void **state) {
    struct scene *s = *state;
    char setting[64];
    start(s, &s->first, "--slots 40");
    snprintf(setting, sizeof setting, "%s=%lu", WORKER_ENV_MEMORY_MAX,
             resident(s->first.pid) + CEILING);
    worker_signal(&s->first, SIGTERM);
    assert_int_equal(worker_wait(&s->first), WORKER_EXIT_DRAINED);
    worker_await_workers(s->c, 0);

    worker_start(&s->second, &s->b, "--slots 40", setting);
    worker_await_workers(s->c, 1);
    AUTO_BUF payload = BUF(LARGE_BYTES + 64);
    buf_printf(&payload, "{\"ms\": 500, \"more\": \"%0*d\"}%c", (int)LARGE_BYTES, 0, 0);
    uint64_t ids[LARGE_JOBS];
    for (size_t i = 0; i < LARGE_JOBS; i++)
        ids[i] = worker_submit(s->c, "sleep", payload.at);
    assert_int_equal(worker_wait(&s->second), WORKER_EXIT_RECYCLE);
    start(s, &s->first, "--slots 40");
    for (size_t i = 0; i < LARGE_JOBS; i++)
        worker_await_end(s->c, ids[i], JOB_done);
}

/* Another one would be no smaller. */
static void test_memory_ceiling_below_rest(void **state) {
    struct scene *s = *state;
    worker_start(&s->first, &s->b, "--slots 1", WORKER_ENV_MEMORY_MAX "=4096");
    assert_int_equal(worker_wait(&s->first), WORKER_EXIT_TOO_LARGE);
    broker_await_log(&s->b, "over its memory ceiling (pools.memory_max)");
}

/* It says so and ends, with few files as with many slots. */
static void test_too_few_files(void **state) {
    static const struct {
        unsigned files;
        const char *slots;
    } cases[] = {{8, "--slots 4"},  {10, "--slots 4"}, {16, "--slots 4"},
                 {20, "--slots 4"}, {24, "--slots 1"}, {64, "--slots 1000"}};
    struct scene *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->first.files_max = cases[i].files;
        worker_start(&s->first, &s->b, cases[i].slots, NULL);
        assert_int_equal(worker_wait(&s->first), WORKER_EXIT_USAGE);
    }
    broker_await_log(&s->b, "the limit of open files is 8, at least ");
    broker_await_log(&s->b, "the limit of open files is 64, at least 10");
}

/* P-71: the instance that its supervisor gave it. */
static void test_instance(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    start(s, &s->first, "--slots 1");
    uint64_t id = worker_submit(s->c, "sleep", "{\"ms\": 60000}");
    worker_await_state(s->c, id, JOB_running);
    worker_signal(&s->first, SIGKILL);
    struct msg_worker_died m = {0};
    MSG_SET(&m, worker_died, instance, str_make(s->first.instance, 16));
    MSG_SET(&m, worker_died, crashed, false);
    uint64_t count = 0;
    assert_int_equal(client_change(s->c, VERB_worker_died, &m, &count, worker_deadline(), &e), 0);
    assert_int_equal(count, 1);
    worker_await_state(s->c, id, JOB_ready);
}

static void test_usage(void **state) {
    struct scene *s = *state;
    static const char *const wrong[] = {
        "--kinds echo,nothing", "--slots 0",        "--slots many", "--nonsense",
        "--broker ftp://x",     "--broker tcp://x", "more",         "--config /nowhere/quern.yaml"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        worker_start(&s->first, &s->b, wrong[i], NULL);
        assert_int_equal(worker_wait(&s->first), WORKER_EXIT_USAGE);
    }
    worker_start(&s->first, &s->b, "--version", NULL);
    assert_int_equal(worker_wait(&s->first), 0);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(test_round_trips),
        SCENE(test_outcomes),
        SCENE(test_cancel_and_timeout),
        SCENE(test_killed),
        SCENE(test_stalled),
        SCENE(test_broker_killed),
        cmocka_unit_test_setup_teardown(test_next_broker_is_found_at_once, set_up_quiet, tear_down),
        cmocka_unit_test_setup_teardown(test_no_load_is_overlooked, set_up_quiet, tear_down),
        SCENE(test_no_broker),
        SCENE(test_drain),
        SCENE(test_drained_by_operator),
        SCENE(test_stopped_at_once),
        SCENE(test_memory_ceiling),
        SCENE(test_memory_ceiling_below_rest),
        SCENE(test_too_few_files),
        SCENE(test_instance),
        SCENE(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What may happen to a broker while it works: it is stopped and goes on, its disk is full, its
 * journal cannot be written, and one tenant has a hundred thousand jobs. */
#include "common/os/clock.h"
#include "tests/e2e/raw_peer.h"
#include "tests/e2e/worker_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#define SMALL_JOURNAL "journal: {segment_size: 4MiB, batch_bytes: 4MiB, disk_min_free: 0}\n"
#define FULL_JOURNAL  "journal: {segment_size: 4MiB, batch_bytes: 4MiB, disk_min_free: 1024GiB}\n"
#define SPARES_MADE                                                                                \
    (7ULL * (4U << 20)) /* one in use, two in reserve, four for a turn and ahead                   \
                         */
#define KINDS       "kinds: {echo: {}, sleep: {}, nobody: {}}\n"
#define LEASE_MS    600
#define SHORT_LEASE "broker: {heartbeat: 200ms, heartbeats_missed: 3}\n"
#define LONG_LEASE  "broker: {heartbeat: 100ms, heartbeats_missed: 100}\n"

struct scene {
    struct broker b;
    struct worker w;
    struct client *c;
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){0};
    broker_make(&s.b, LONG_LEASE SMALL_JOURNAL KINDS);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    client_destroy(&s->c);
    worker_remove(&s->w);
    broker_remove(&s->b);
    return 0;
}

static void start(struct scene *s, const char *yaml) {
    broker_write_config(&s->b, yaml);
    broker_start(&s->b);
    s->c = worker_client(&s->b);
    worker_start(&s->w, &s->b, "--slots 2", NULL);
    worker_await_workers(s->c, 1);
}

/* ---- stopped -------------------------------------------------------------------------------- */
/* P-25: time in which it was itself stopped is not counted, nor what it had not read yet. */
static void stopped(void **state) {
    struct scene *s = *state;
    start(s, SHORT_LEASE SMALL_JOURNAL KINDS);
    uint64_t ids[2];
    struct msg_job_info before[2];
    for (int i = 0; i < 2; i++) {
        ids[i] = worker_submit(s->c, "sleep", i ? "{\"ms\": 3200}" : "{\"ms\": 400}");
        before[i] = worker_await_state(s->c, ids[i], JOB_running);
    }
    broker_signal(&s->b, SIGSTOP);
    struct msg_get_status ask = {0};
    struct err e = {0};
    struct mono until = mono_add(clock_mono(), 4 * LEASE_MS);
    assert_int_equal(
        client_call(s->c, VERB_get_status, &CLIENT_ITEM(&ask, STR("")), 1, NULL, NULL, until, &e),
        -1); /* nobody answers for four leases */
    broker_signal(&s->b, SIGCONT);
    for (int i = 0; i < 2; i++) {
        worker_await_end(s->c, ids[i], JOB_done);
        struct msg_job_info after = worker_await_state(s->c, ids[i], JOB_done);
        assert_int_equal(after.fence, before[i].fence);
        assert_int_equal(after.crashes, 0);
    }
    assert_int_equal(worker_status(s->c).stale_fences, 0);
    assert_false(broker_log_has(&s->b, "worker.lost"));
}

/* ---- no space ------------------------------------------------------------------------------- */
static enum err_code offered(struct client *c, size_t bytes) {
    static char payload[1U << 20] = "\x80";
    struct msg_submit m = {0};
    struct client_submitted out;
    struct err e = {0};
    MSG_SET(&m, submit, kind, STR("nobody"));
    client_submit(c, &CLIENT_ITEM(&m, str_make(payload, bytes)), 1, &out, worker_deadline(), &e);
    return e.code;
}

static void restart(struct scene *s, const char *yaml) {
    broker_signal(&s->b, SIGTERM);
    broker_wait(&s->b);
    broker_write_config(&s->b, yaml);
    broker_start(&s->b);
    worker_status(s->c); /* it is asked again; what it submitted before it knew would be unknown */
}

/* The journal has made all its spares: there is a reserve. */
static void await_spares(struct scene *s) {
    struct mono deadline = worker_deadline();
    while (worker_status(s->c).journal_bytes < SPARES_MADE)
        if (mono_reached(clock_mono(), deadline))
            fail_msg("the journal does not make its spares");
}

/* P-38: nothing new is taken, what runs ends, and with space again all is there. */
static void disk_full(void **state) {
    struct scene *s = *state;
    start(s, LONG_LEASE SMALL_JOURNAL KINDS);
    uint64_t runs = worker_submit(s->c, "sleep", "{\"ms\": 3000}");
    worker_await_state(s->c, runs, JOB_running);
    await_spares(s);
    restart(s, LONG_LEASE FULL_JOURNAL KINDS);
    uint64_t taken = 0;
    enum err_code code;
    while ((code = offered(s->c, 1U << 20)) == ERR_OK)
        assert_in_range(++taken, 1, 100); /* what is left of the files that are there */
    assert_int_equal(code, ERR_DISK_FULL);
    worker_await_end(s->c, runs, JOB_done);
    restart(s, LONG_LEASE SMALL_JOURNAL KINDS);
    worker_await_state(s->c, runs, JOB_done);
    assert_int_equal(worker_status(s->c).ready, taken);
    assert_int_equal(offered(s->c, 1U << 20), ERR_OK);
}

/* ---- a journal that cannot be written -------------------------------------------------------- */
/* P-38: submissions are refused. P-49: it is silent about results, and the worker keeps them. */
static void read_only(void **state) {
    struct scene *s = *state;
    start(s, LONG_LEASE SMALL_JOURNAL KINDS);
    uint64_t runs = worker_submit(s->c, "sleep", "{\"ms\": 300}");
    uint64_t later = worker_submit(s->c, "sleep", "{\"ms\": 310}");
    struct msg_job_info before = worker_await_state(s->c, runs, JOB_running);
    worker_await_state(s->c, later, JOB_running);
    worker_signal(&s->w, SIGSTOP); /* no end of a job is the write that fails */
    struct rlimit little = {1, RLIM_INFINITY};
    assert_int_equal(prlimit(s->b.pid, RLIMIT_FSIZE, &little, NULL), 0);
    assert_int_equal(offered(s->c, 1), ERR_UNKNOWN_OUTCOME); /* some of it may be written */
    worker_signal(&s->w, SIGCONT);
    assert_true(worker_status(s->c).read_only);
    assert_int_equal(offered(s->c, 1), ERR_READ_ONLY);
    broker_signal(&s->b, SIGTERM);
    broker_wait(&s->b);
    broker_start(&s->b);
    worker_await_end(s->c, runs, JOB_done);
    worker_await_end(s->c, later, JOB_done);
    assert_int_equal(worker_await_state(s->c, runs, JOB_done).fence, before.fence);
    assert_int_equal(offered(s->c, 1), ERR_OK);
}

/* ---- a tenant with very many jobs ------------------------------------------------------------ */
#define MANY 100000U

static void offer_many(struct raw_peer *gateway) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    MSG_SET(&m, submit, tenant, STR("many"));
    for (unsigned n = 0; n < MANY; n += 1000) {
        frame_begin(&gateway->out, VERB_submit, ++gateway->sequence);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal(frame_add(&gateway->out, &m), 0);
        raw_send_out(gateway);
        for (unsigned left = 1000; left; left -= gateway->in.items)
            raw_expect(gateway, VERB_submitted, gateway->sequence);
    }
}

static struct msg_dispatch next_dispatch(struct raw_peer *w) {
    union msg_any m;
    raw_await(w, VERB_dispatch);
    assert_int_equal(w->in.items, 1);
    raw_item(w, &m);
    return m.dispatch;
}

/* One job of another tenant does not wait behind them: it is the next but one at the latest. */
static void one_among_many(void **state) {
    struct scene *s = *state;
    struct raw_peer gateway, worker;
    union msg_any answer;
    broker_start(&s->b);
    raw_open(&gateway, s->b.run, ROLE_GATEWAY, 1);
    raw_hello(&gateway);
    offer_many(&gateway);
    raw_open(&worker, s->b.run, ROLE_WORKER, 2);
    raw_hello_worker(&worker, 1, (struct uint_list){0});
    struct msg_dispatch d = next_dispatch(&worker);
    for (int i = 0; i < 100; i++) {
        raw_report(&worker, &d, OUTCOME_DONE, STR(""));
        d = next_dispatch(&worker);
    }
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    MSG_SET(&m, submit, tenant, STR("one"));
    uint64_t began = clock_mono_ns();
    raw_expect(&gateway, VERB_submitted, raw_ask(&gateway, VERB_submit, &m, STR("")));
    raw_item(&gateway, &answer);
    uint64_t durable = clock_mono_ns();
    unsigned others = 0;
    while (d.job != answer.submitted.id) {
        raw_report(&worker, &d, OUTCOME_DONE, STR(""));
        d = next_dispatch(&worker);
        others += d.job != answer.submitted.id;
        assert_in_range(others, 0, 2);
    }
    print_message("the one job: durable after %.0f us, at the worker %.0f us later, "
                  "behind %u of the others\n",
                  (double)(durable - began) / 1e3, (double)(clock_mono_ns() - durable) / 1e3,
                  others);
    raw_close(&gateway);
    raw_close(&worker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stopped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disk_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(read_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_among_many, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Workers of quern-pools that end unasked: their jobs are back at once, and one that ends its
 * process again and again does not take others with it. */
#include "common/os/clock.h"
#include "tests/e2e/pools_process.h"
#include "tests/e2e/worker_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LEASE_MS 30000
#define YAML                                                                                       \
    "broker: {heartbeat: 300ms, heartbeats_missed: 100}\n" /* a lease of 30 s */                   \
    "journal: {segment_size: 4MiB, batch_bytes: 4MiB}\n"                                           \
    "kinds: {echo: {}, sleep: {}, crash: {backoff: 10ms}}\n"                                       \
    "pools:\n"                                                                                     \
    "  default: {processes_min: 1, processes_max: 1, slots: 8, restart_backoff: 10ms}\n"

struct scene {
    struct broker b;
    struct pools p;
    struct client *c;
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){0};
    pools_adopt_orphans();
    broker_make(&s.b, YAML);
    broker_start(&s.b);
    pools_start(&s.p, &s.b);
    s.c = worker_client(&s.b);
    worker_await_workers(s.c, 1);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    client_destroy(&s->c);
    pools_remove(&s->p, &s->b);
    broker_remove(&s->b);
    return 0;
}

static void take_info(void *ctx, const struct client_reply *r) {
    *(struct msg_job_info *)ctx = *(const struct msg_job_info *)r->message;
}

/* Numbers only. */
static struct msg_job_info ask(struct client *c, uint64_t id) {
    struct msg_job_info info = {0};
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    assert_int_equal(client_call(c, VERB_get_job, &CLIENT_ITEM(&m, STR("")), 1, take_info, &info,
                                 worker_deadline(), NULL),
                     0);
    return info;
}

/* P-59, P-63: the supervisor tells at once, and nobody waits for a lease. */
static void back_at_once(void **state) {
    struct scene *s = *state;
    pid_t pids[POOLS_WORKERS_MAX];
    uint64_t id = worker_submit(s->c, "sleep", "{\"ms\": 60000}");
    struct msg_job_info before = worker_await_state(s->c, id, JOB_running), now = before;
    assert_int_equal(pools_workers(&s->p, pids), 1);
    struct mono began = clock_mono(), back = {0};
    assert_int_equal(kill(pids[0], SIGKILL), 0);
    while (now.state != JOB_running || now.fence == before.fence) {
        now = ask(s->c, id);
        assert_true(mono_until(began, clock_mono()) < LEASE_MS);
        if (!back.ms && (now.state != JOB_running || now.fence != before.fence))
            back = clock_mono();
    }
    print_message("a killed worker's job: back after %d ms, with a new worker after %d ms\n",
                  (int)mono_until(began, back), (int)mono_until(began, clock_mono()));
    assert_true(now.fence > before.fence);
    struct msg_cancel_job cancel = {0};
    MSG_SET(&cancel, cancel_job, id, id);
    assert_int_equal(client_change(s->c, VERB_cancel_job, &cancel, NULL, worker_deadline(), NULL),
                     0);
    worker_await_end(s->c, id, JOB_cancelled);
    pools_stop(&s->p);
}

/* The kernel tells a worker of its supervisor's death more than once. What runs ends by itself all
 * the same, as the attempt that it was. */
static void killed_supervisor(void **state) {
    enum { JOBS = 8 };
    struct scene *s = *state;
    uint64_t ids[JOBS], fences[JOBS];
    for (int i = 0; i < JOBS; i++)
        ids[i] = worker_submit(s->c, "sleep", "{\"ms\": 1200}");
    for (int i = 0; i < JOBS; i++)
        fences[i] = worker_await_state(s->c, ids[i], JOB_running).fence;
    pools_kill(&s->p);
    for (int i = 0; i < JOBS; i++) {
        worker_await_end(s->c, ids[i], JOB_done);
        assert_int_equal(worker_await_state(s->c, ids[i], JOB_done).fence, fences[i]);
    }
    worker_await_workers(s->c, 0);
}

/* P-59 */
static void poison(void **state) {
    enum { INNOCENTS = 6 };
    struct scene *s = *state;
    uint64_t ids[INNOCENTS];
    for (int i = 0; i < INNOCENTS; i++)
        ids[i] = worker_submit(s->c, "sleep", "{\"ms\": 150}");
    uint64_t poisonous = worker_submit(s->c, "crash", "{}");
    struct err e = worker_await_end(s->c, poisonous, JOB_dead);
    assert_int_equal(e.code, ERR_CRASHED);
    assert_int_equal(worker_await_state(s->c, poisonous, JOB_dead).crashes, 3);
    for (int i = 0; i < INNOCENTS; i++) {
        worker_await_end(s->c, ids[i], JOB_done);
        struct msg_job_info info = worker_await_state(s->c, ids[i], JOB_done);
        assert_int_equal(info.crashes, 0);
        assert_int_equal(info.attempts, 0);
    }
    worker_await_end(s->c, worker_submit(s->c, "echo", "{}"), JOB_done);
    pools_stop(&s->p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(back_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(killed_supervisor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(poison, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

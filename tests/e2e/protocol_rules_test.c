/* Rules of docs/protocol.md, each shown to the real broker by peers that speak frame by frame. */
#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

#include "common/os/clock.h"
#include "schemas/states.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A lease so long that no peer is given up for silence: who goes, goes because it is told. */
static const char settings[] = "broker: {heartbeat: 300ms, heartbeats_missed: 100,\n"
                               "         cancel_grace: 500ms, kill_grace: 1s}\n"
                               "journal: {segment_size: 4MiB, batch_bytes: 4MiB}\n"
                               "defaults: {max_attempts: 4}\n"
                               "kinds:\n"
                               "  echo: {}\n"
                               "  quick: {max_attempts: 3}\n";

static struct broker broker;
static struct raw_peer boss; /* an operator, and so a client as well */
static const struct uint_list nothing = {0};

static int set_up(void **state) {
    (void)state;
    broker_make(&broker, settings);
    broker_start(&broker);
    raw_join(&boss, broker.run, ROLE_OPERATOR, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    raw_close(&boss);
    broker_remove(&broker);
    return 0;
}

/* ---- what several tests need ---------------------------------------------------------------- */
/* A request of one item that is answered by OUTCOME; others may come before it. */
static struct msg_outcome change(enum verb verb, const void *message) {
    union msg_any m;
    uint64_t sequence = raw_ask(&boss, verb, message, STR(""));
    raw_await(&boss, VERB_outcome);
    assert_int_equal(boss.in.sequence, sequence);
    raw_item(&boss, &m);
    return m.outcome;
}

/* The answer to one offer, by the operator. */
static struct msg_submitted offer(const struct msg_submit *m) {
    union msg_any answer;
    raw_ask(&boss, VERB_submit, m, STR(""));
    raw_await(&boss, VERB_submitted);
    raw_item(&boss, &answer);
    return answer.submitted;
}

static uint64_t accepted(const struct msg_submit *m) {
    struct msg_submitted answer = offer(m);
    assert_int_equal(answer.code, 0);
    return answer.id;
}

static uint64_t submit(const char *kind) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, str_of(kind));
    return accepted(&m);
}

static struct msg_job_info job(uint64_t id) {
    struct msg_get_job m = {0};
    union msg_any answer;
    MSG_SET(&m, get_job, id, id);
    raw_ask(&boss, VERB_get_job, &m, STR(""));
    raw_await(&boss, VERB_job_info);
    raw_item(&boss, &answer);
    return answer.job_info;
}

static void open_worker(struct raw_peer *w, uint8_t seed, uint64_t slots) {
    raw_open(w, broker.run, ROLE_WORKER, seed);
    raw_hello_worker(w, slots, nothing);
}

/* Takes the job from whoever waits for it and ends it so. */
static struct msg_dispatch run_one(struct raw_peer *w, enum result_outcome outcome) {
    struct msg_dispatch d = raw_expect_dispatch(w, NULL);
    raw_report(w, &d, outcome, STR(""));
    raw_await(w, VERB_result_ack); /* the next DISPATCH may come before it, and is passed over */
    return d;
}

static struct msg_outcome worker_died(const struct raw_peer *w, bool crashed) {
    struct msg_worker_died m = {0};
    MSG_SET(&m, worker_died, instance, str_make(w->instance, sizeof w->instance));
    MSG_SET(&m, worker_died, crashed, crashed);
    return change(VERB_worker_died, &m);
}

static void restart_broker(void) {
    broker_kill(&broker);
    broker_start(&broker);
    raw_reconnect(&boss, broker.run);
    raw_hello(&boss);
}

/* ---- connections ---------------------------------------------------------------------------- */
/* P-1: there is no empty delimiter frame. */
static void no_delimiter(void **state) {
    struct raw_peer client;
    (void)state;
    raw_open(&client, broker.run, ROLE_CLIENT, 2);
    struct msg_hello m = raw_hello_message(&client);
    frame_begin(&client.out, VERB_hello, ++client.sequence);
    assert_int_equal(frame_add(&client.out, &m), 0);
    struct str parts[] = {STR(""), buf_str(&client.out.head), buf_str(&client.out.body)};
    raw_send_parts(&client, parts, 3);
    raw_expect_error(&client, 0, ERR_MALFORMED);
    raw_hello(&client);
    raw_close(&client);
}

/* ---- jobs ----------------------------------------------------------------------------------- */
/* P-34: who may declare a kind, and where a job gets what its SUBMIT leaves open. */
static void kinds(void **state) {
    struct raw_peer worker;
    (void)state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("brand-new"));
    assert_int_equal(offer(&m).code, ERR_UNKNOWN_KIND);
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, STR("brand-new"));
    MSG_SET(&kind, kind_info, attempts_max, 9);
    MSG_SET(&kind, kind_info, queue, STR("elsewhere"));
    assert_int_equal(change(VERB_declare_kind, &kind).code, 0);
    struct msg_job_info info = job(accepted(&m));
    assert_int_equal(info.attempts_max, 9);
    assert_true(str_eq(info.queue, STR("elsewhere")));
    MSG_SET(&m, submit, attempts_max, 2);
    assert_int_equal(job(accepted(&m)).attempts_max, 2); /* the offer's own word first */
    assert_int_equal(job(submit("quick")).attempts_max, 3);
    assert_int_equal(job(submit("echo")).attempts_max, 4); /* nobody but the configuration says */
    struct msg_submit other = {0};
    MSG_SET(&other, submit, kind, STR("of-a-worker"));
    assert_int_equal(offer(&other).code, ERR_UNKNOWN_KIND);
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    struct msg_hello hello = raw_hello_message(&worker);
    struct str names[] = {STR("of-a-worker")};
    MSG_SET(&hello, hello, kinds, ((struct str_list){names, 1}));
    MSG_SET(&hello, hello, slots, 1);
    raw_hello_as(&worker, &hello);
    accepted(&other);
    raw_close(&worker);
}

/* P-61: what was declared is kept on disk; what the configuration states of a kind is stronger. */
static void declared_for_good(void **state) {
    struct msg_kind_info kind = {0};
    (void)state;
    MSG_SET(&kind, kind_info, kind, STR("brand-new"));
    MSG_SET(&kind, kind_info, attempts_max, 9);
    assert_int_equal(change(VERB_declare_kind, &kind).code, 0);
    MSG_SET(&kind, kind_info, kind, STR("quick"));
    MSG_SET(&kind, kind_info, priority, 2);
    assert_int_equal(change(VERB_declare_kind, &kind).code, 0);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(job(submit("brand-new")).attempts_max, 9);
        struct msg_job_info info = job(submit("quick"));
        assert_int_equal(info.attempts_max, 3);
        assert_int_equal(info.priority, 2); /* of which the configuration says nothing */
        restart_broker();
    }
}

/* P-38: over a bound nothing is accepted, and later it may be tried again. */
static void bounds(void **state) {
    struct raw_peer worker;
    (void)state;
    broker_stop(&broker);
    broker_write_config(&broker, "broker: {heartbeat: 60s, jobs_max: 2}\nkinds: {echo: {}}\n");
    broker_start(&broker);
    raw_reconnect(&boss, broker.run);
    raw_hello(&boss);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    uint64_t first = accepted(&m);
    accepted(&m);
    for (int i = 0; i < 3; i++) {
        struct msg_submitted answer = offer(&m);
        assert_int_equal(answer.code, ERR_BUSY);
        assert_int_equal(answer.id, 0);
    }
    open_worker(&worker, 2, 1);
    assert_int_equal(run_one(&worker, OUTCOME_DONE).job, first);
    accepted(&m);
    raw_close(&worker);
}

/* P-41: under its id, with all its attempts; or all dead ones, of one queue. */
static void retry(void **state) {
    struct raw_peer worker;
    (void)state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    MSG_SET(&m, submit, unique, STR("the one"));
    uint64_t id = accepted(&m);
    struct msg_retry_job again = {0};
    MSG_SET(&again, retry_job, id, id);
    assert_int_equal(change(VERB_retry_job, &again).code, ERR_NOT_FINISHED);
    open_worker(&worker, 2, 1);
    run_one(&worker, OUTCOME_REJECTED);
    assert_int_equal(job(id).state, JOB_dead);
    uint64_t taken = accepted(&m);
    assert_int_not_equal(taken, id);
    assert_int_equal(change(VERB_retry_job, &again).code, ERR_CONFLICT);
    assert_int_equal(run_one(&worker, OUTCOME_DONE).job, taken);
    assert_int_equal(change(VERB_retry_job, &again).code, 0);
    struct msg_dispatch d = run_one(&worker, OUTCOME_REJECTED);
    assert_int_equal(d.job, id);
    assert_int_equal(d.attempt, 1); /* with all its attempts */
    uint64_t other = submit("quick");
    run_one(&worker, OUTCOME_REJECTED);
    struct msg_retry_job dead = {0};
    MSG_SET(&dead, retry_job, dead, true);
    MSG_SET(&dead, retry_job, queue, STR("quick"));
    assert_int_equal(change(VERB_retry_job, &dead).count, 1);
    assert_int_equal(run_one(&worker, OUTCOME_REJECTED).job, other);
    MSG_SET(&dead, retry_job, queue, STR(""));
    dead.has &= ~(1ULL << 3);
    assert_int_equal(change(VERB_retry_job, &dead).count, 2);
    MSG_SET(&again, retry_job, id, id + 100);
    assert_int_equal(change(VERB_retry_job, &again).code, ERR_NOT_FOUND);
    raw_close(&worker);
}

/* P-43: the newest first, page by page; GET_JOB brings payload and result when asked. */
static void pages(void **state) {
    struct raw_peer worker;
    uint64_t ids[7];
    union msg_any m;
    (void)state;
    for (int i = 0; i < 7; i++)
        ids[i] = submit("echo");
    struct msg_list_jobs list = {0};
    MSG_SET(&list, list_jobs, limit, 3);
    for (int left = 7, page = 3; left > 0; left -= page) {
        page = left < 3 ? left : 3;
        raw_expect(&boss, VERB_job_info, raw_ask(&boss, VERB_list_jobs, &list, STR("")));
        assert_int_equal(boss.in.items, page + 1);
        for (int i = 1; i <= page; i++) {
            raw_item(&boss, &m);
            assert_int_equal(m.job_info.id, ids[left - i]);
        }
        raw_item(&boss, &m);
        assert_false(MSG_HAS(&m.job_info, job_info, id));
        assert_true(left <= 3 || MSG_HAS(&m.job_info, job_info, next));
        MSG_SET(&list, list_jobs, before, m.job_info.next);
    }
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    struct msg_hello hello = raw_hello_message(&worker);
    struct str names[] = {STR("quick")};
    MSG_SET(&hello, hello, kinds, ((struct str_list){names, 1}));
    MSG_SET(&hello, hello, slots, 1);
    raw_hello_as(&worker, &hello);
    uint64_t id = raw_submit(&boss, "quick", STR("\x81\xa1n\x07"));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    raw_report(&worker, &d, OUTCOME_DONE, STR("\x81\xa1r\x08"));
    raw_expect_finished(&boss, id);
    for (int with = 0; with < 2; with++) {
        struct msg_get_job ask = {0};
        MSG_SET(&ask, get_job, id, id);
        MSG_SET(&ask, get_job, payload, with);
        raw_expect(&boss, VERB_job_info, raw_ask(&boss, VERB_get_job, &ask, STR("")));
        struct frame_item item = raw_item(&boss, &m);
        assert_true(str_eq(item.payload, with ? STR("\x81\xa1n\x07") : STR("")));
        assert_true(str_eq(item.result, with ? STR("\x81\xa1r\x08") : STR("")));
    }
    raw_close(&worker);
}

/* P-66: what waits, of one tenant if named; not what runs. */
static void purge(void **state) {
    struct raw_peer worker;
    (void)state;
    open_worker(&worker, 2, 1);
    uint64_t runs = submit("echo"), waits = submit("echo");
    raw_expect_dispatch(&worker, NULL);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    MSG_SET(&m, submit, tenant, STR("another"));
    uint64_t theirs = accepted(&m);
    MSG_SET(&m, submit, delay_ms, 3600000);
    uint64_t later = accepted(&m);
    struct msg_queue_ref queue = {0};
    MSG_SET(&queue, queue_ref, queue, STR("echo"));
    MSG_SET(&queue, queue_ref, tenant, STR("another"));
    assert_int_equal(change(VERB_purge_queue, &queue).count, 2);
    assert_int_equal(job(theirs).state, JOB_cancelled);
    assert_int_equal(job(later).state, JOB_cancelled);
    assert_int_equal(job(waits).state, JOB_ready);
    queue.has &= ~(1ULL << 2);
    queue.tenant = STR("");
    assert_int_equal(change(VERB_purge_queue, &queue).count, 1);
    assert_int_equal(job(waits).state, JOB_cancelled);
    assert_int_equal(job(runs).state, JOB_running);
    raw_close(&worker);
}

/* ---- workers -------------------------------------------------------------------------------- */
static void hello_with_prefetch(struct raw_peer *w, uint64_t slots, uint64_t prefetch) {
    static const struct str names[] = {{"echo", 4}};
    struct msg_hello m = raw_hello_message(w);
    MSG_SET(&m, hello, kinds, ((struct str_list){names, 1}));
    MSG_SET(&m, hello, slots, slots);
    MSG_SET(&m, hello, prefetch, prefetch);
    raw_hello_as(w, &m);
}

static void say_of(struct raw_peer *w, enum verb verb, const struct msg_dispatch *d) {
    struct msg_attempt_ref m = {0};
    MSG_SET(&m, attempt_ref, job, d->job);
    MSG_SET(&m, attempt_ref, fence, d->fence);
    raw_send(w, verb, 0, &m, STR(""));
}

/* Makes the operator a supervisor. */
static void supervise(void) {
    struct msg_pool_report m = {0};
    MSG_SET(&m, pool_report, pool, STR("default"));
    MSG_SET(&m, pool_report, processes, 1);
    MSG_SET(&m, pool_report, restarts, 0);
    raw_send(&boss, VERB_pool_report, 0, &m, STR(""));
    raw_expect(&boss, VERB_pool_plan, 0); /* P-62 */
}

/* P-53: a worker that does not obey gets nothing more, gives back what it has not begun, and is
 * killed in the end; its other jobs go back at no cost. */
static void disobedient(void **state) {
    struct raw_peer worker;
    struct msg_dispatch d[3];
    union msg_any m;
    (void)state;
    supervise();
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    hello_with_prefetch(&worker, 2, 1);
    for (int i = 0; i < 3; i++) {
        submit("echo");
        d[i] = raw_expect_dispatch(&worker, NULL);
        if (i < 2)
            say_of(&worker, VERB_started, &d[i]);
    }
    struct msg_cancel_job cancel = {0};
    MSG_SET(&cancel, cancel_job, id, d[0].job);
    assert_int_equal(change(VERB_cancel_job, &cancel).code, 0);
    raw_expect(&worker, VERB_cancel_attempt, 0);
    raw_item(&worker, &m);
    assert_int_equal(m.attempt_ref.job, d[0].job);
    assert_int_equal(m.attempt_ref.code, ERR_CANCELLED);
    raw_await(&worker, VERB_recall);
    raw_item(&worker, &m);
    assert_int_equal(m.attempt_ref.job, d[2].job);
    say_of(&worker, VERB_returned, &d[2]);
    raw_await(&boss, VERB_kill_worker);
    raw_item(&boss, &m);
    assert_true(str_eq(m.kill_worker.instance, str_make(worker.instance, 16)));
    assert_int_equal(worker_died(&worker, true).count, 2); /* P-64, P-63 */
    assert_int_equal(job(d[0].job).state, JOB_cancelled);
    for (int i = 1; i < 3; i++) {
        struct msg_job_info info = job(d[i].job);
        assert_int_equal(info.state, JOB_ready);
        assert_int_equal(info.attempts, 0);
        assert_int_equal(info.crashes, 0);
    }
    raw_close(&worker);
}

/* P-55: one report replaces the other; none is on disk. */
static void progress(void **state) {
    struct raw_peer worker;
    (void)state;
    open_worker(&worker, 2, 1);
    uint64_t id = submit("echo");
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    for (uint64_t done = 1; done <= 5; done += 4) {
        struct msg_progress m = {0};
        MSG_SET(&m, progress, job, d.job);
        MSG_SET(&m, progress, fence, d.fence);
        MSG_SET(&m, progress, done, done);
        MSG_SET(&m, progress, total, 9);
        raw_send(&worker, VERB_progress, 0, &m, STR(""));
    }
    struct mono deadline = mono_add(clock_mono(), PEER_DEADLINE_MS);
    while (job(id).progress != 5)
        assert_false(mono_reached(clock_mono(), deadline));
    assert_int_equal(job(id).progress_total, 9);
    restart_broker();
    struct msg_job_info info = job(id);
    assert_int_equal(info.state, JOB_running);
    assert_int_equal(info.progress, 0);
    assert_int_equal(info.progress_total, 0);
    raw_close(&worker);
}

/* P-63: when the answer comes, what it held is back in line. */
static void died(void **state) {
    struct raw_peer worker;
    struct msg_dispatch d[2];
    (void)state;
    open_worker(&worker, 2, 2);
    for (int i = 0; i < 2; i++) {
        submit("echo");
        d[i] = raw_expect_dispatch(&worker, NULL);
    }
    assert_int_equal(worker_died(&worker, false).count, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(job(d[i].job).state, JOB_ready);
    raw_close(&worker);
}

/* P-59: at once, under new fences; after a crash one by one, alone; and whoever crashes its process
 * alone, again and again, is dead. */
static void crashes(void **state) {
    struct raw_peer worker;
    struct msg_dispatch d[2], again;
    (void)state;
    open_worker(&worker, 2, 2);
    for (int i = 0; i < 2; i++) {
        struct msg_submit m = {0};
        MSG_SET(&m, submit, kind, STR("echo"));
        MSG_SET(&m, submit, backoff_ms, 1);
        accepted(&m);
        d[i] = raw_expect_dispatch(&worker, NULL);
        assert_false(d[i].alone);
    }
    assert_int_equal(worker_died(&worker, true).count, 2);
    raw_close(&worker);
    open_worker(&worker, 3, 2);
    again = raw_expect_dispatch(&worker, NULL);
    assert_int_equal(again.job, d[0].job);
    assert_true(again.alone && again.fence > d[0].fence);
    assert_false(raw_hears(&worker, 50)); /* the other one waits */
    raw_report(&worker, &again, OUTCOME_DONE, STR(""));
    uint64_t fence = d[1].fence;
    for (uint8_t n = 1; n <= 3; n++) {
        union msg_any m;
        raw_await(&worker, VERB_dispatch); /* about as soon as the RESULT_ACK */
        raw_item(&worker, &m);
        again = m.dispatch;
        assert_int_equal(again.job, d[1].job);
        assert_true(again.alone && again.fence > fence);
        assert_int_equal(again.attempt, n); /* each time alone costs one */
        fence = again.fence;
        assert_int_equal(worker_died(&worker, true).count, 1);
        raw_close(&worker);
        open_worker(&worker, (uint8_t)(10 + n), 2);
    }
    struct msg_job_info info = job(d[1].job);
    assert_int_equal(info.state, JOB_dead);
    assert_int_equal(info.error, ERR_CRASHED);
    assert_int_equal(info.crashes, 3);
    assert_int_equal(job(d[0].job).state, JOB_done);
    raw_close(&worker);
}

#define RULE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        RULE(no_delimiter), RULE(kinds), RULE(declared_for_good), RULE(bounds),   RULE(retry),
        RULE(pages),        RULE(purge), RULE(disobedient),       RULE(progress), RULE(died),
        RULE(crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

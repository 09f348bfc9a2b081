/* Peers that ask for much and do not read it: what the broker holds for them stays within its
 * bounds, nobody else is disturbed, and who only reads slowly gets all that he asked for. */
#include "common/os/clock.h"
#include "schemas/states.h"
#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB       (1U << 20)
#define JOBS      64U
#define QUESTIONS 4000U
/* Some of it is the journal's and the allocator's; answers to all questions would be 4 GiB. */
#define GROWTH_MAX (256U * MIB)
#define LATENCY_MS 2000 /* of one answer of 1 MiB, on a machine that does other things too */
/* Payloads are kept on disk only: a question reads one back. */
#define YAML                                                                                       \
    "broker: {result_max: 1MiB}\n"                                                                 \
    "window: {bytes: 1MiB, queue_jobs: 16}\n"                                                      \
    "kinds: {echo: {}, big: {}}\n"

static struct broker broker;
static char big[MIB];
static uint64_t jobs[JOBS];
static struct raw_peer well; /* an operator that behaves */

static int set_up(void **state) {
    (void)state;
    broker_make(&broker, YAML);
    broker_start(&broker);
    raw_join(&well, broker.run, ROLE_OPERATOR, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    raw_close(&well);
    broker_stop(&broker);
    broker_remove(&broker);
    return 0;
}

static void submit_big_ones(void) {
    for (uint32_t i = 0; i < JOBS; i++)
        jobs[i] = raw_submit(&well, "big", str_make(big, sizeof big));
}

/* Of /proc/PID/status, in bytes: "VmRSS:", "VmHWM:". */
static uint64_t memory(const char *what) {
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)broker.pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, what, strlen(what)) == 0)
            kib = strtoull(line + strlen(what), NULL, 10);
    fclose(f);
    assert_true(kib > 0);
    return kib << 10;
}

static uint64_t ask_payload(struct raw_peer *p, uint64_t job) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, job);
    MSG_SET(&m, get_job, payload, true);
    return raw_ask(p, VERB_get_job, &m, STR(""));
}

static void check_payload(struct raw_peer *p, uint64_t job) {
    union msg_any m;
    struct frame_item item = raw_item(p, &m);
    assert_int_equal(m.job_info.code, 0);
    assert_int_equal(m.job_info.id, job);
    assert_int_equal(item.payload.len, sizeof big);
}

static void expect_payload(struct raw_peer *p, uint64_t sequence, uint64_t job) {
    raw_expect(p, VERB_job_info, sequence);
    check_payload(p, job);
}

/* The longest of `n` questions, one at a time. */
static uint64_t ask_slowly(uint32_t n) {
    uint64_t worst = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct mono began = clock_mono();
        expect_payload(&well, ask_payload(&well, jobs[i % JOBS]), jobs[i % JOBS]);
        uint64_t ms = mono_until(began, clock_mono());
        worst = ms > worst ? ms : worst;
    }
    return worst;
}

static void say_alive(void) {
    struct msg_heartbeat m = {0};
    MSG_SET(&m, heartbeat, epoch, well.epoch);
    raw_send(&well, VERB_heartbeat, 0, &m, STR(""));
}

/* Asks until so many connections were closed; what the broker says then. */
static struct msg_status_info await_closed(uint64_t n) {
    struct mono until = mono_add(clock_mono(), PEER_DEADLINE_MS);
    struct msg_status_info s = raw_get_status(&well);
    while (s.peers_closed < n || s.waiting || s.unread_bytes > MIB) {
        assert_false(mono_reached(clock_mono(), until));
        say_alive();
        ask_slowly(1);
        s = raw_get_status(&well);
    }
    assert_int_equal(s.peers_closed, n);
    return s;
}

/* P-90: the questions of a peer that does not read wait; then its connection is closed. It may come
 * back. */
static void who_never_reads(void **state) {
    struct raw_peer deaf;
    (void)state;
    submit_big_ones();
    ask_slowly(JOBS);
    uint64_t before = memory("VmRSS:");
    raw_open_deaf(&deaf, broker.run, ROLE_CLIENT, 2);
    raw_hello(&deaf);
    for (uint32_t i = 0; i < QUESTIONS; i++)
        ask_payload(&deaf, jobs[i % JOBS]);
    uint64_t worst = ask_slowly(200);
    await_closed(1);
    uint64_t peak = memory("VmHWM:");
    uint64_t growth = peak > before ? peak - before : 0;
    print_message("the broker grew by %llu KiB; the longest of 200 answers to another took %llu "
                  "ms\n",
                  (unsigned long long)(growth >> 10), (unsigned long long)worst);
    assert_true(growth < GROWTH_MAX);
    assert_true(worst < LATENCY_MS);
    broker_await_log(&broker, "\"event\":\"peer.closed\"");
    assert_true(broker_log_has(&broker, "it has stopped reading"));
    raw_reconnect(&deaf, broker.run);
    raw_hello(&deaf);
    expect_payload(&deaf, ask_payload(&deaf, jobs[0]), jobs[0]);
    raw_close(&deaf);
}

/* P-29, P-90: whoever has as many questions under way as he may, and reads, gets every answer. */
static void who_reads_late(void **state) {
    static bool answered[1024];
    struct raw_peer eager;
    (void)state;
    submit_big_ones();
    raw_open_deaf(&eager, broker.run, ROLE_CLIENT, 2);
    uint32_t most = (uint32_t)raw_hello(&eager).outstanding_max - 1;
    assert_true(most <= sizeof answered);
    uint64_t first = eager.sequence + 1;
    for (uint32_t i = 0; i < most; i++)
        ask_payload(&eager, jobs[i % JOBS]);
    ask_slowly(20);
    /* Records are read back in any order. */
    for (uint32_t i = 0; i < most; i++) {
        raw_await(&eager, VERB_job_info);
        uint64_t sequence = eager.in.sequence;
        assert_in_range(sequence, first, first + most - 1);
        assert_false(answered[sequence - first]);
        answered[sequence - first] = true;
        check_payload(&eager, jobs[(sequence - first) % JOBS]);
    }
    struct msg_status_info s = await_closed(0);
    assert_int_equal(s.refused, 0);
    raw_close(&eager);
}

/* Ends of watched jobs come unasked: nothing holds them back but the bound, and who is over it
 * finds his connection cut, and asks again. */
static void who_never_reads_what_he_watches(void **state) {
    enum { RESULTS = 100 };
    static uint64_t watched[RESULTS];
    struct raw_peer deaf, worker;
    (void)state;
    submit_big_ones();
    raw_open(&worker, broker.run, ROLE_WORKER, 3);
    raw_hello_worker(&worker, 1, (struct uint_list){NULL, 0});
    raw_open_deaf(&deaf, broker.run, ROLE_CLIENT, 2);
    raw_hello(&deaf);
    for (uint32_t i = 0; i < RESULTS; i++)
        watched[i] = raw_submit(&deaf, "echo", STR(""));
    for (uint32_t i = 0; i < RESULTS; i++) {
        union msg_any m;
        raw_await(&worker,
                  VERB_dispatch); /* RESULT_ACK of the last one may come before or behind */
        raw_item(&worker, &m);
        assert_int_equal(m.dispatch.job, watched[i]);
        struct msg_dispatch d = m.dispatch;
        raw_report(&worker, &d, OUTCOME_DONE, str_make(big, sizeof big));
    }
    broker_await_log(&broker, "more waits to be read than the bound");
    await_closed(1);
    raw_reconnect(&deaf, broker.run);
    raw_hello(&deaf);
    for (uint32_t i = 0; i < RESULTS; i++) {
        struct msg_get_job m = {0};
        MSG_SET(&m, get_job, id, watched[i]);
        raw_ask(&deaf, VERB_watch_job, &m, STR(""));
    }
    bool told[RESULTS] = {false};
    for (uint32_t i = 0; i < RESULTS;) {
        union msg_any m;
        raw_await(&deaf, VERB_finished);
        for (uint32_t n = deaf.in.items; n > 0; n--, i++) {
            assert_int_equal(raw_item(&deaf, &m).payload.len, sizeof big);
            assert_int_equal(m.finished.state, JOB_done);
            assert_in_range(m.finished.id, watched[0], watched[RESULTS - 1]);
            assert_false(told[m.finished.id - watched[0]]);
            told[m.finished.id - watched[0]] = true;
        }
    }
    raw_close(&worker);
    raw_close(&deaf);
}

/* P-90: those who never read fill what there is for all. Whoever reads gets all his answers
 * nevertheless, on the connection that he has. */
static void who_reads_is_not_closed_for_others(void **state) {
    enum { DEAF = 5, RESULTS = 60 };
    static struct raw_peer deaf[DEAF];
    static uint64_t watched[DEAF * RESULTS];
    struct raw_peer worker, reads;
    (void)state;
    raw_open(&worker, broker.run, ROLE_WORKER, 3);
    raw_hello_worker(&worker, 1, (struct uint_list){NULL, 0});
    raw_join(&reads, broker.run, ROLE_CLIENT, 2);
    raw_submit(&reads, "echo", STR("")); /* what is behind it waits until all are watched */
    for (uint32_t i = 0; i < DEAF * RESULTS; i++) {
        struct raw_peer *p = &deaf[i / RESULTS];
        if (i % RESULTS == 0) {
            raw_open_deaf(p, broker.run, ROLE_CLIENT, (uint8_t)(10 + i / RESULTS));
            raw_hello(p);
        }
        watched[i] = raw_submit(&reads, "echo", STR(""));
        struct msg_get_job m = {0};
        MSG_SET(&m, get_job, id, watched[i]);
        raw_ask(p, VERB_watch_job, &m, STR(""));
    }
    for (uint32_t i = 0; i <= DEAF * RESULTS; i++) {
        union msg_any m;
        raw_await(&worker, VERB_dispatch);
        raw_item(&worker, &m);
        struct msg_dispatch d = m.dispatch;
        raw_report(&worker, &d, OUTCOME_DONE, i ? str_make(big, sizeof big) : STR(""));
        raw_await(&reads, VERB_finished);
        assert_int_equal(raw_item(&reads, &m).payload.len, i ? sizeof big : 0);
        assert_int_equal(m.finished.id, i ? watched[i - 1] : d.job);
    }
    broker_await_log(&broker, "and most for this one");
    for (uint32_t i = 0; i < DEAF; i++)
        raw_close(&deaf[i]);
    raw_close(&reads);
    raw_close(&worker);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(who_never_reads),
        TEST(who_reads_late),
        TEST(who_never_reads_what_he_watches),
        TEST(who_reads_is_not_closed_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Jobs in threads: what they are given, how they are stopped, what they give back. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "workers/harness/job_int.h"
#include "workers/harness/slots.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RESULT_MAX  1000
#define DEADLINE_MS 20000

static const struct job_limits limits = {
    .result_max = RESULT_MAX, .together_max = 4000, .children_max = 10, .body_max = 2000};

struct back {
    uint32_t n;
    struct attempt *last;
    struct ending end;
    char text[ERR_TEXT_MAX], result[RESULT_MAX];
};

static void on_ended(void *ctx, struct attempt *a, const struct ending *end) {
    struct back *b = ctx;
    b->n++;
    b->last = a;
    b->end = *end;
    snprintf(b->text, sizeof b->text, STR_FMT, STR_ARG(end->text));
    if (end->result.len)
        memcpy(b->result, end->result.at, end->result.len);
    mem_free(end->memory);
}

static void collect(struct slots *s, struct back *b, uint32_t n) {
    while (b->n < n) {
        struct pollfd p = {.fd = slots_fd(s), .events = POLLIN};
        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        slots_collect(s, &(struct slots_news){.ctx = b, .ended = on_ended});
    }
}

static struct back run_one(job_run_fn *run, uint64_t timeout_ms) {
    struct slots *s = slots_new(1);
    struct attempt a = {.job = 7,
                        .fence = 9,
                        .number = 2,
                        .timeout_ms = timeout_ms,
                        .kind = STR("k"),
                        .tenant = STR("acme"),
                        .payload = STR("\x83\xa1n\x05\xa4text\xa2hi\xa4"
                                       "flag\xc3")};
    struct back b = {0};
    slots_start(s, &a, run, clock_mono(), &limits);
    assert_int_equal(slots_busy(s), 1);
    collect(s, &b, 1);
    assert_ptr_equal(b.last, &a);
    assert_int_equal(slots_busy(s), 0);
    slots_destroy(&s);
    return b;
}

/* ---- what a job sees and gives back ---------------------------------------------------------- */
static int run_sees(struct job *job, struct err *e) {
    uint64_t n, other;
    struct str text;
    bool flag;
    if (job_param_uint(job, "n", 1, 9, &n, e) < 0 ||
        job_param_uint(job, "other", 77, 99, &other, e) < 0 ||
        job_param_text(job, "text", STR(""), 9, &text, e) < 0 ||
        job_param_flag(job, "flag", &flag, e) < 0)
        return -1;
    bool right = job_id(job) == 7 && job_fence(job) == 9 && job_attempt(job) == 2 && n == 5 &&
                 other == 77 && str_eq(text, STR("hi")) && flag &&
                 str_eq(job_tenant(job), STR("acme")) && str_eq(job_kind(job), STR("k"));
    msgpack_put_map(job_result(job), 1);
    msgpack_put_text(job_result(job), STR("right"));
    msgpack_put_bool(job_result(job), right);
    return 0;
}

static void test_sees(void **state) {
    (void)state;
    struct back b = run_one(run_sees, 0);
    assert_int_equal(b.end.outcome, OUTCOME_DONE);
    assert_memory_equal(b.result, "\x81\xa5right\xc3", 8);
}

static int run_bad_param(struct job *job, struct err *e) {
    uint64_t n;
    return job_param_uint(job, "n", 1, 4, &n, e);
}

static void test_bad_param(void **state) {
    (void)state;
    struct back b = run_one(run_bad_param, 0);
    assert_int_equal(b.end.outcome, OUTCOME_REJECTED);
    assert_int_equal(b.end.error, ERR_BAD_VALUE);
    assert_string_equal(b.text, "payload.n: 5, at most 4");
}

/* P-48: the class of an error decides. */
static int run_temp(struct job *job, struct err *e) {
    (void)job;
    return err_set(e, ERR_JOB_FAILED, "temp");
}

static int run_hold(struct job *job, struct err *e) {
    (void)job;
    err_set(e, ERR_RATE_LIMITED, "hold");
    e->retry_after_ms = 1234;
    return -1;
}

static int run_silent(struct job *job, struct err *e) {
    (void)job;
    (void)e;
    return -1;
}

static void test_outcomes(void **state) {
    (void)state;
    struct back b = run_one(run_temp, 0);
    assert_int_equal(b.end.outcome, OUTCOME_FAILED);
    assert_int_equal(b.end.error, ERR_JOB_FAILED);
    b = run_one(run_hold, 0);
    assert_int_equal(b.end.outcome, OUTCOME_HOLD);
    assert_int_equal(b.end.retry_after_ms, 1234);
    b = run_one(run_silent, 0);
    assert_int_equal(b.end.outcome, OUTCOME_REJECTED);
    assert_int_equal(b.end.error, ERR_INTERNAL);
}

static int run_too_much(struct job *job, struct err *e) {
    static const char bytes[RESULT_MAX];
    (void)e;
    msgpack_put_map(job_result(job), 1);
    msgpack_put_text(job_result(job), STR("x"));
    msgpack_put_bytes(job_result(job), str_make(bytes, sizeof bytes));
    return 0;
}

static int run_no_map(struct job *job, struct err *e) {
    (void)e;
    msgpack_put_uint(job_result(job), 7);
    return 0;
}

/* P-16 */
static void test_bad_results(void **state) {
    (void)state;
    struct back b = run_one(run_too_much, 0);
    assert_int_equal(b.end.outcome, OUTCOME_REJECTED);
    assert_int_equal(b.end.error, ERR_RESULT_TOO_LARGE);
    assert_int_equal(b.end.result.len, 0);
    b = run_one(run_no_map, 0);
    assert_int_equal(b.end.outcome, OUTCOME_REJECTED);
    assert_int_equal(b.end.error, ERR_INTERNAL);
}

/* ---- stopping ------------------------------------------------------------------------------- */
static int run_wait(struct job *job, struct err *e) {
    msgpack_put_map(job_result(job), 0);
    return job_wait(job, DEADLINE_MS, e);
}

static void test_own_timeout(void **state) {
    (void)state;
    uint64_t before = clock_mono().ms;
    struct back b = run_one(run_wait, 50);
    assert_true(clock_mono().ms - before < DEADLINE_MS);
    assert_int_equal(b.end.outcome, OUTCOME_FAILED);
    assert_int_equal(b.end.error, ERR_TIMEOUT);
}

static int run_until_stopped(struct job *job, struct err *e) {
    msgpack_put_map(job_result(job), 0); /* the part that it has */
    struct pollfd p = {.fd = job_stop_fd(job), .events = POLLIN};
    if (poll(&p, 1, DEADLINE_MS) != 1)
        return err_set(e, ERR_INTERNAL, "nobody said stop");
    return job_check(job, e);
}

static void test_stop(void **state) {
    (void)state;
    struct slots *s = slots_new(4);
    struct attempt a[4] = {0};
    struct back b = {0};
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 4; i++)
            slots_start(s, &a[i], i % 2 ? run_wait : run_until_stopped, clock_mono(), &limits);
        for (int i = 0; i < 4; i++)
            slots_stop(&a[i], ERR_CANCELLED);
        collect(s, &b, b.n + 1);
        slots_stop(b.last, ERR_TIMEOUT); /* it has ended: harmless */
        collect(s, &b, 4 * (uint32_t)round + 4);
        assert_int_equal(b.end.outcome, OUTCOME_CANCELLED);
        assert_int_equal(b.end.error, ERR_CANCELLED);
        assert_int_equal(b.end.result.len, 1);
    }
    slots_destroy(&s);
}

/* A stop of the last job is not one of the next. */
static void test_stop_is_forgotten(void **state) {
    (void)state;
    struct slots *s = slots_new(1);
    struct attempt a = {.payload = STR("\x80")};
    struct back b = {0};
    slots_start(s, &a, run_wait, clock_mono(), &limits);
    slots_stop(&a, ERR_CANCELLED);
    collect(s, &b, 1);
    slots_start(s, &a, run_bad_param, clock_mono(), &limits);
    collect(s, &b, 2);
    assert_int_equal(b.end.outcome, OUTCOME_DONE);
    slots_start(s, &a, run_wait, clock_mono(), &limits);
    struct pollfd p = {.fd = slots_fd(s), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 20), 0);
    slots_stop(&a, ERR_CANCELLED);
    collect(s, &b, 3);
    slots_destroy(&s);
}

/* ---- progress, many ---------------------------------------------------------------------------
 */
static int run_progress(struct job *job, struct err *e) {
    job_progress(job, 3, 10);
    return run_until_stopped(job, e);
}

static void test_progress(void **state) {
    (void)state;
    struct slots *s = slots_new(1);
    struct attempt a = {0};
    struct back b = {0};
    uint64_t part = 0, total = 0, until = clock_mono().ms + DEADLINE_MS;
    slots_start(s, &a, run_progress, clock_mono(), &limits);
    while (!slots_progress(&a, &part, &total))
        assert_true(clock_mono().ms < until);
    assert_int_equal(part, 3);
    assert_int_equal(total, 10);
    assert_false(slots_progress(&a, &part, &total));
    slots_stop(&a, ERR_CANCELLED);
    collect(s, &b, 1);
    slots_destroy(&s);
}

static int run_echo_like(struct job *job, struct err *e) {
    (void)e;
    char *copy = arena_try(job_arena(job), 1000);
    copy[0] = 1;
    msgpack_put_map(job_result(job), (uint32_t)copy[0]);
    msgpack_put_uint(job_result(job), job_id(job));
    msgpack_put_nil(job_result(job));
    return 0;
}

struct many {
    struct slots *s;
    struct attempt *free[8];
    uint32_t n_free, ended;
};

static void on_many(void *ctx, struct attempt *a, const struct ending *end) {
    struct many *m = ctx;
    assert_int_equal(end->outcome, OUTCOME_DONE);
    mem_free(end->memory);
    m->free[m->n_free++] = a;
    m->ended++;
}

static void test_many(void **state) {
    (void)state;
    struct attempt a[8] = {0};
    struct many m = {.s = slots_new(8)};
    for (int i = 0; i < 8; i++)
        m.free[m.n_free++] = &a[i];
    uint32_t started = 0;
    while (m.ended < 20000) {
        while (m.n_free && started < 20000) {
            struct attempt *next = m.free[--m.n_free];
            next->job = ++started;
            slots_start(m.s, next, run_echo_like, clock_mono(), &limits);
        }
        struct pollfd p = {.fd = slots_fd(m.s), .events = POLLIN};
        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        slots_collect(m.s, &(struct slots_news){.ctx = &m, .ended = on_many});
    }
    slots_destroy(&m.s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sees),
        cmocka_unit_test(test_bad_param),
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_bad_results),
        cmocka_unit_test(test_own_timeout),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_is_forgotten),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

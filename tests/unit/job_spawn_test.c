/* Children as a job's code spawns them, in a slot of its own; the test is the host. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "workers/harness/job_int.h"
#include "workers/harness/slots.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEADLINE_MS 20000

static const struct job_limits limits = {
    .result_max = 1000, .together_max = 3000, .children_max = 5, .body_max = 2500};

#define TRACE       "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define OTHER_TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

struct host {
    struct slots *slots;
    struct attempt a;
    /* how it ended */
    bool ended;
    enum result_outcome outcome;
    enum err_code error;
    uint64_t retry_after_ms;
    struct children children;
    char text[ERR_TEXT_MAX];
    /* what it asks for: each is answered by the next of these */
    uint32_t asked;
    struct err answers[8];
    enum err_code stop; /* instead of the answer */
    struct msg_submit last;
    char kind[32], trace[80];
};

static void on_ended(void *ctx, struct attempt *a, const struct ending *end) {
    struct host *h = ctx;
    assert_ptr_equal(a, &h->a);
    h->ended = true;
    h->outcome = end->outcome;
    h->error = end->error;
    h->retry_after_ms = end->retry_after_ms;
    h->children = end->children;
    snprintf(h->text, sizeof h->text, STR_FMT, STR_ARG(end->text));
    mem_free(end->memory);
}

static void on_asks(void *ctx, struct attempt *a, struct children *child, uint32_t index) {
    struct host *h = ctx;
    struct cursor c = cursor_of(buf_str(&child->envelopes));
    struct err e = {0};
    assert_int_equal(child->n, 1);
    assert_int_equal(codec_get(&c, MSG_submit, &h->last, NULL, NULL, &e), 0);
    assert_int_equal(h->last.index, index);
    snprintf(h->kind, sizeof h->kind, STR_FMT, STR_ARG(h->last.kind));
    snprintf(h->trace, sizeof h->trace, STR_FMT, STR_ARG(h->last.trace));
    children_destroy(child);
    assert_true(h->asked < 8);
    struct err *answer = &h->answers[h->asked++];
    if (h->stop)
        slots_stop(a, h->stop);
    else
        slots_answer(a, answer);
}

static void run(struct host *h, job_run_fn *fn) {
    const struct slots_news news = {.ctx = h, .ended = on_ended, .asks = on_asks};
    h->a.job = 7;
    h->a.fence = 9;
    h->a.kind = STR("k");
    h->a.trace = STR(TRACE);
    h->slots = slots_new(1);
    slots_start(h->slots, &h->a, fn, clock_mono(), &limits);
    while (!h->ended) {
        struct pollfd p = {.fd = slots_fd(h->slots), .events = POLLIN};
        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        slots_collect(h->slots, &news);
    }
    slots_answer(&h->a, &h->answers[0]); /* it has ended: harmless */
    slots_destroy(&h->slots);
}

/* ---- with the result ------------------------------------------------------------------------ */
static int run_three(struct job *job, struct err *e) {
    struct job_child child = {.kind = STR("page"),
                              .payload = STR("\x81\xa1x\x01"),
                              .queue = STR("q"),
                              .has_priority = true,
                              .key = STR("key"),
                              .interval_ms = 1,
                              .unique = STR("u"),
                              .window_ms = 2,
                              .delay_ms = 3,
                              .run_at_ms = 4,
                              .ttl_ms = 5,
                              .timeout_ms = 6,
                              .attempts_max = 7,
                              .has_backoff = true,
                              .backoff_ms = 0,
                              .backoff_max_ms = 9,
                              .fail_fast = true,
                              .trace = STR(OTHER_TRACE)};
    if (job_spawn(job, &child, e) < 0 ||
        job_spawn(job, &(struct job_child){.kind = STR("page")}, e) < 0)
        return -1;
    return job_spawn(job, &(struct job_child){.kind = STR("report"), .then = true}, e);
}

static void test_with_result(void **state) {
    (void)state;
    struct host h = {0};
    run(&h, run_three);
    assert_int_equal(h.outcome, OUTCOME_DONE);
    assert_int_equal(h.children.n, 3);
    struct cursor c = cursor_of(buf_str(&h.children.envelopes));
    struct msg_submit m[3];
    struct err e = {0};
    for (int n = 0; n < 3; n++)
        assert_int_equal(codec_get(&c, MSG_submit, &m[n], NULL, NULL, &e), 0);
    assert_int_equal(m[0].size, 4);
    assert_true(str_eq(m[0].queue, STR("q")) && str_eq(m[0].key, STR("key")));
    assert_true(MSG_HAS(&m[0], submit, priority) && m[0].priority == 0);
    assert_true(MSG_HAS(&m[0], submit, backoff_ms) && m[0].backoff_ms == 0);
    assert_true(m[0].interval_ms == 1 && m[0].window_ms == 2 && m[0].delay_ms == 3 &&
                m[0].run_at_ms == 4 && m[0].ttl_ms == 5 && m[0].timeout_ms == 6 &&
                m[0].attempts_max == 7 && m[0].backoff_max_ms == 9 && m[0].fail_fast);
    assert_true(str_eq(m[0].trace, STR(OTHER_TRACE)));
    assert_true(str_eq(m[1].trace, STR(TRACE))); /* P-81: its parent's */
    assert_int_equal(m[1].has, MSGBIT_submit_kind | MSGBIT_submit_trace);
    assert_true(m[2].then && str_eq(m[2].kind, STR("report")));
    children_destroy(&h.children);
}

static int run_fails(struct job *job, struct err *e) {
    int rc = run_three(job, e);
    assert_int_equal(rc, 0);
    return err_set(e, ERR_JOB_FAILED, "after all");
}

/* P-82: who is not done has none. */
static void test_dropped(void **state) {
    (void)state;
    struct host h = {0};
    run(&h, run_fails);
    assert_int_equal(h.outcome, OUTCOME_FAILED);
    assert_int_equal(h.children.n, 0);
}

static int run_too_many(struct job *job, struct err *e) {
    struct job_child child = {.kind = STR("page")};
    while (job_spawn(job, &child, e) == 0)
        continue;
    return -1;
}

static int run_too_large_payload(struct job *job, struct err *e) {
    static const char bytes[2501];
    return job_spawn(
        job, &(struct job_child){.kind = STR("page"), .payload = str_make(bytes, sizeof bytes)}, e);
}

static int run_too_large(struct job *job, struct err *e) {
    char bytes[2400] = "\x81\xa1x\xc5\x09\x5a"; /* one value of 2,394 bytes */
    struct job_child child = {.kind = STR("page"), .payload = str_make(bytes, sizeof bytes)};
    static const char result[800];
    msgpack_put_map(job_result(job), 1);
    msgpack_put_text(job_result(job), STR("x"));
    msgpack_put_bytes(job_result(job), str_make(result, sizeof result));
    return job_spawn(job, &child, e);
}

static int run_two_thens(struct job *job, struct err *e) {
    struct job_child child = {.kind = STR("page"), .then = true};
    if (job_spawn_now(job, &child, e) < 0)
        return -1;
    return job_spawn(job, &child, e);
}

static void test_bounds(void **state) {
    (void)state;
    static const struct {
        job_run_fn *run;
        enum err_code error;
        const char *text;
    } cases[] = {
        {run_too_many, ERR_TOO_LARGE, "children: 6, at most 5 in one result"},
        {run_too_large_payload, ERR_TOO_LARGE, "payload of a child: 2501 bytes, at most 2500"},
        {run_too_large, ERR_RESULT_TOO_LARGE, "at most 3000 in one message"},
        {run_two_thens, ERR_BAD_VALUE, "submit.then: there is one already, a job has one"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct host h = {0};
        run(&h, cases[n].run);
        assert_int_equal(h.outcome, OUTCOME_REJECTED);
        assert_int_equal(h.error, cases[n].error);
        if (!strstr(h.text, cases[n].text))
            fail_msg("\"%s\", not \"%s\"", h.text, cases[n].text);
        assert_int_equal(h.children.n, 0);
    }
}

/* ---- now ------------------------------------------------------------------------------------ */
static int run_now(struct job *job, struct err *e) {
    for (int n = 0; n < 3; n++)
        if (job_spawn_now(job, &(struct job_child){.kind = STR("page")}, e) < 0)
            return -1;
    return job_spawn_now(job, &(struct job_child){.kind = STR("end"), .then = true}, e);
}

static void test_now(void **state) {
    (void)state;
    struct host h = {0};
    run(&h, run_now);
    assert_int_equal(h.outcome, OUTCOME_DONE);
    assert_int_equal(h.asked, 4);
    assert_int_equal(h.last.parent, 7);
    assert_int_equal(h.last.fence, 9);
    assert_int_equal(h.last.index, 3); /* without gaps */
    assert_true(h.last.then);
    assert_string_equal(h.kind, "end");
    assert_string_equal(h.trace, TRACE);
}

/* P-82: no room is no fault of the job's; what it may not have is. */
static void test_now_refused(void **state) {
    (void)state;
    struct host busy = {0}, role = {0}, cancelling = {0};
    err_set(&busy.answers[2], ERR_BUSY, "no room");
    run(&busy, run_now);
    assert_int_equal(busy.outcome, OUTCOME_HOLD);
    assert_int_equal(busy.retry_after_ms, 1000);
    assert_string_equal(busy.text, "no room");
    assert_int_equal(busy.asked, 3);
    err_set(&role.answers[0], ERR_BAD_ROLE, "not in may_spawn");
    run(&role, run_now);
    assert_int_equal(role.outcome, OUTCOME_REJECTED);
    assert_int_equal(role.error, ERR_BAD_ROLE);
    err_set(&cancelling.answers[1], ERR_CANCELLED,
            "it is being cancelled"); /* ahead of the order */
    run(&cancelling, run_now);
    assert_int_equal(cancelling.outcome, OUTCOME_CANCELLED);
    assert_int_equal(cancelling.asked, 2);
}

static int run_now_again(struct job *job, struct err *e) {
    struct err first = {0};
    if (job_spawn_now(job, &(struct job_child){.kind = STR("other")}, &first) == 0)
        return err_set(e, ERR_INTERNAL, "it was to be refused");
    return job_spawn_now(job, &(struct job_child){.kind = STR("page")}, e);
}

/* A child that was refused has taken no index. */
static void test_now_goes_on(void **state) {
    (void)state;
    struct host h = {0};
    err_set(&h.answers[0], ERR_UNKNOWN_KIND, "no such kind");
    run(&h, run_now_again);
    assert_int_equal(h.outcome, OUTCOME_DONE);
    assert_int_equal(h.last.index, 0);
    assert_string_equal(h.kind, "page");
}

/* P-52: the wait ends at once, and nothing more is asked for. */
static void test_now_stopped(void **state) {
    (void)state;
    static const enum err_code whys[] = {ERR_CANCELLED, ERR_STALE_FENCE, ERR_TIMEOUT};
    for (size_t n = 0; n < 3; n++) {
        struct host h = {.stop = whys[n]};
        run(&h, run_now_again);
        assert_int_equal(h.asked, 1);
        assert_int_equal(h.error, whys[n]);
        assert_int_equal(h.outcome, whys[n] == ERR_TIMEOUT ? OUTCOME_FAILED : OUTCOME_CANCELLED);
    }
}

/* An inline kind runs on the thread that would have to answer. */
static void test_now_inline(void **state) {
    (void)state;
    struct job job;
    struct attempt a = {.kind = STR("k")};
    struct ending end;
    job_setup(&job);
    job_execute(&job, &a, run_now, clock_mono(), &limits, &end);
    assert_int_equal(end.outcome, OUTCOME_REJECTED);
    assert_int_equal(end.error, ERR_INTERNAL);
    job_execute(&job, &a, run_three, clock_mono(), &limits, &end);
    assert_int_equal(end.children.n, 3);
    children_destroy(&end.children);
    mem_free(end.memory);
    job_teardown(&job);
}

/* ---- what it is told ------------------------------------------------------------------------ */
static int run_told(struct job *job, struct err *e) {
    struct job_siblings s;
    bool is_then = job_siblings(job, &s);
    bool right = job_parent(job) == 5 && is_then && s.parent_state == JOB_dead && s.total == 10 &&
                 s.done == 1 && s.dead == 2 && s.cancelled == 3 && s.expired == 4 && s.broken == 1;
    return right ? 0 : err_set(e, ERR_INTERNAL, "told wrongly");
}

static int run_not_told(struct job *job, struct err *e) {
    struct job_siblings s;
    return job_siblings(job, &s) || job_parent(job) ? err_set(e, ERR_INTERNAL, "told") : 0;
}

/* P-84 */
static void test_told(void **state) {
    (void)state;
    struct host h = {.a.parent = 5,
                     .a.siblings = {.parent_state = JOB_dead,
                                    .total = 10,
                                    .done = 1,
                                    .dead = 2,
                                    .cancelled = 3,
                                    .expired = 4,
                                    .broken = 1}};
    run(&h, run_told);
    assert_int_equal(h.outcome, OUTCOME_DONE);
    struct host none = {0};
    run(&none, run_not_told);
    assert_int_equal(none.outcome, OUTCOME_DONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_with_result), cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_bounds),      cmocka_unit_test(test_now),
        cmocka_unit_test(test_now_refused), cmocka_unit_test(test_now_goes_on),
        cmocka_unit_test(test_now_stopped), cmocka_unit_test(test_now_inline),
        cmocka_unit_test(test_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

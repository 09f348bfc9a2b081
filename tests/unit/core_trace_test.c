/* Traces: which one a job has, where it is told, and that every event of a job names it. */
#include "tests/unit/core_flows.h"

#include <stdio.h>

#define GIVEN "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define OTHER "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

static const char *trace_told(struct world *w, uint64_t job) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, job);
    world_ask(w, 1, ROLE_OPERATOR, VERB_get_job, &m);
    assert_int_equal(w->info.id, job);
    return w->trace;
}

static struct msg_submit with_trace(const char *trace) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, trace, str_of(trace));
    return m;
}

/* The last event of that kind was of this job, and says whose it is. */
static void assert_told(const struct world *w, enum core_event what, uint64_t job,
                        const char *trace) {
    assert_true(w->told[what].job == job);
    assert_string_equal(w->told[what].tenant, "default");
    assert_string_equal(w->told[what].trace, trace);
}

/* Through all attempts and to its end. */
static void one_that_is_given(void **state) { /* P-109 */
    struct world *w = *state;
    w->journaled = true; /* its body is read back between the attempts */
    uint64_t id = world_submit(w, with_trace(GIVEN));
    assert_told(w, EVENT_job_accepted, id, GIVEN);
    assert_string_equal(trace_told(w, id), GIVEN);
    world_add_worker(w, WORKER, 1);
    assert_string_equal(w->given, GIVEN);
    assert_told(w, EVENT_attempt_started, id, GIVEN);
    end(w, id, OUTCOME_FAILED);
    assert_told(w, EVENT_attempt_failed, id, GIVEN);
    w->given[0] = '\0';
    world_turn(w, 60000);
    assert_string_equal(w->given, GIVEN);
    end(w, id, OUTCOME_DONE);
    assert_told(w, EVENT_job_ended, id, GIVEN);
}

static void one_that_is_made(void **state) { /* P-109 */
    struct world *w = *state;
    struct trace t;
    char first[65];
    w->journaled = true;
    uint64_t id = world_submit(w, (struct msg_submit){0});
    uint64_t second = world_submit(w, (struct msg_submit){0});
    snprintf(first, sizeof first, "%s", trace_told(w, id));
    assert_true(trace_read(str_of(first), &t));
    assert_string_not_equal(first, trace_told(w, second));
    world_restart(w);
    assert_string_equal(trace_told(w, id), first);
    world_add_worker(w, WORKER, 1);
    assert_string_equal(w->given, first);
    end(w, id, OUTCOME_REJECTED);
    assert_told(w, EVENT_job_ended, id, first);
    struct msg_retry_job m = {0};
    MSG_SET(&m, retry_job, id, id);
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &m);
    world_turn(w, 1);
    assert_string_equal(trace_told(w, id), first);
}

static void what_is_none_is_refused(void **state) { /* P-109, P-14 */
    struct world *w = *state;
    world_begin(w, 1);
    world_offer(w, with_trace("00-short-01"));
    world_end(w);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BAD_VALUE);
    assert_string_equal(w->text,
                        "submit.trace: 11 bytes; a traceparent of version 00 has 55 bytes");
    assert_int_equal(world_stats(w).submitted, 0);
}

static void a_child_has_its_parents(void **state) { /* P-109 */
    struct world *w = *state;
    struct core_child two[] = {child(), then()};
    MSG_SET(&two[1].m, submit, trace, STR(OTHER));
    w->journaled = true;
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    char parent[65];
    snprintf(parent, sizeof parent, "%s", trace_told(w, id));
    assert_string_equal(trace_told(w, id + 1), parent);
    assert_string_equal(trace_told(w, id + 2), OTHER);
    uint64_t given = submit_with(w, with_trace(GIVEN), two, 2);
    assert_string_equal(trace_told(w, given + 1), GIVEN);
    world_restart(w);
    assert_string_equal(trace_told(w, id + 1), parent);
    assert_string_equal(trace_told(w, given + 1), GIVEN);
}

/* Of a worker that does not name it. */
static void so_has_one_that_a_worker_spawns(void **state) { /* P-109 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, with_trace(GIVEN));
    struct core_child two[] = {child(), child()};
    MSG_SET(&two[1].m, submit, trace, STR(OTHER));
    end_with(w, id, two, 2);
    assert_string_equal(trace_told(w, id + 1), GIVEN);
    assert_string_equal(trace_told(w, id + 2), OTHER);
}

/* What a job came with is not known while it is on disk only: nothing else is said in its place. */
static void not_another_one(void **state) {
    struct world *w = *state;
    w->journaled = true;
    uint64_t id = world_submit(w, with_trace(GIVEN));
    world_restart(w);
    world_cancel(w, id);
    assert_true(w->told[EVENT_job_ended].job == id);
    const char *told = w->told[EVENT_job_ended].trace;
    assert_true(!*told || strcmp(told, GIVEN) == 0);
    assert_string_equal(trace_told(w, id), GIVEN);
}

/* What is given back at no cost, or told to wait, is told as well. */
static void attempts_that_do_not_count(void **state) {
    struct world *w = *state;
    world_add_worker(w, WORKER, 1);
    uint64_t id = world_submit(w, with_trace(GIVEN));
    end(w, id, OUTCOME_HOLD);
    assert_told(w, EVENT_attempt_held, id, GIVEN);
    uint64_t second = world_submit(w, with_trace(OTHER));
    struct msg_bye bye = {0};
    world_ask(w, WORKER, ROLE_WORKER, VERB_bye, &bye);
    assert_told(w, EVENT_attempt_requeued, second, OTHER);
}

/* A report of an attempt that is over is told with the fence that it named. */
static void stale_reports(void **state) {
    struct world *w = *state;
    world_add_worker(w, WORKER, 1);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    char trace[65];
    snprintf(trace, sizeof trace, "%s", trace_told(w, id));
    world_report(w, WORKER, id, 12345, OUTCOME_DONE);
    assert_told(w, EVENT_stale_report, id, trace);
    assert_true(w->told[EVENT_stale_report].fence == 12345);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_is_given, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_made, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(what_is_none_is_refused, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(a_child_has_its_parents, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(so_has_one_that_a_worker_spawns, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(not_another_one, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(attempts_that_do_not_count, set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(stale_reports, set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

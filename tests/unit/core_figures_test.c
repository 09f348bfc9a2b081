/* What the core counts for monitoring: how attempts end and what they take, by a bounded number of
 * names. */
#include "tests/unit/core_world.h"

#include <stdio.h>
#include <string.h>

#define WORKER 9
#define KINDS  (CORE_KINDS_SHOWN + 4)
#define QUEUES (CORE_QUEUES_SHOWN + 4)

static struct core_figures figures;

static void look(const struct world *w) {
    core_figures(w->core, &figures);
}

static uint64_t place_of(uint64_t ms, const struct histogram *h) {
    return h->counts[histogram_place(ms * 1000)];
}

static void attempts_are_counted_by_their_end(void **state) {
    static const enum attempt_end ends[] = {[OUTCOME_DONE] = ATTEMPT_DONE,
                                            [OUTCOME_FAILED] = ATTEMPT_FAILED,
                                            [OUTCOME_REJECTED] = ATTEMPT_REJECTED,
                                            [OUTCOME_HOLD] = ATTEMPT_HELD,
                                            [OUTCOME_CANCELLED] = ATTEMPT_REQUEUED};
    for (uint64_t outcome = OUTCOME_DONE; outcome <= OUTCOME_CANCELLED; outcome++) {
        world_tear_down(state);
        world_set_up(state);
        struct world *w = *state;
        world_add_worker(w, WORKER, 1);
        world_submit(w, (struct msg_submit){0});
        world_turn(w, 1);
        struct seen d = world_last(w, VERB_dispatch);
        world_report(w, WORKER, d.job, d.fence, outcome);
        look(w);
        for (unsigned end = 0; end < ATTEMPT_ENDS; end++)
            assert_int_equal(figures.attempts[end], end == ends[outcome]);
        /* What was given back has no time of its own. */
        assert_int_equal(histogram_count(&figures.kinds[0].run), outcome != OUTCOME_CANCELLED);
    }
}

static void waits_and_runs_are_measured(void **state) {
    struct world *w = *state;
    world_submit(w, (struct msg_submit){0});
    world_turn(w, 400);
    look(w);
    assert_int_equal(figures.n_kinds, 0);
    assert_int_equal(figures.n_queues, 1);
    assert_string_equal(figures.queues[0].queue, "k");
    assert_int_equal(figures.queues[0].by_state[JOB_ready], 1);
    assert_true(figures.queues[0].oldest_ms >= 400);
    world_add_worker(w, WORKER, 3);
    world_turn(w, 20);
    struct seen d = world_last(w, VERB_dispatch);
    world_turn(w, 700);
    world_report(w, WORKER, d.job, d.fence, OUTCOME_DONE);
    look(w);
    assert_int_equal(figures.n_kinds, 1);
    assert_string_equal(figures.kinds[0].kind, "k");
    assert_int_equal(place_of(420, &figures.kinds[0].wait), 1);
    assert_int_equal(place_of(710, &figures.kinds[0].run), 1);
    assert_in_range(figures.kinds[0].run.sum_us, 700000, 999000);
    assert_int_equal(figures.slots, 3);
    assert_int_equal(figures.held, 0);
    assert_int_equal(figures.workers_active, 1);
}

static void kind_name(char out[16], uint32_t n) {
    if (n == 1)
        snprintf(out, 16, "other"); /* which is no kind's own */
    else
        snprintf(out, 16, "kind%u", n);
}

static void worker_of_kinds(struct world *w) {
    static char names[KINDS][16];
    struct str kinds[KINDS];
    uint64_t instance[2] = {WORKER, WORKER};
    struct msg_hello m = {0};
    for (uint32_t n = 0; n < KINDS; n++) {
        kind_name(names[n], n);
        kinds[n] = str_of(names[n]);
    }
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)ROLE_WORKER);
    MSG_SET(&m, hello, instance, str_make(instance, 16));
    MSG_SET(&m, hello, kinds, ((struct str_list){kinds, KINDS}));
    MSG_SET(&m, hello, slots, KINDS);
    world_begin(w, 1);
    world_say(w, WORKER, ROLE_WORKER, VERB_hello, &m);
    core_durable(w->core, w->pos);
    world_end(w);
}

static void kinds_beyond_the_bound_are_others(void **state) {
    struct world *w = *state;
    worker_of_kinds(w);
    for (uint32_t n = 0; n < KINDS; n++) {
        char name[16];
        struct msg_submit m = {0};
        kind_name(name, n);
        MSG_SET(&m, submit, kind, str_of(name));
        world_ask(w, 1, ROLE_OPERATOR, VERB_submit, &m);
        world_turn(w, 1);
    }
    world_turn(w, 1);
    assert_int_equal(world_count(w, VERB_dispatch), KINDS);
    look(w);
    uint64_t sum = 0;
    assert_int_equal(figures.n_kinds, CORE_KINDS_SHOWN + 1);
    for (uint32_t n = 0; n < figures.n_kinds; n++) {
        sum += histogram_count(&figures.kinds[n].wait);
        for (uint32_t k = 0; k < n; k++)
            assert_string_not_equal(figures.kinds[n].kind, figures.kinds[k].kind);
    }
    assert_int_equal(sum, KINDS);
    assert_string_equal(figures.kinds[CORE_KINDS_SHOWN].kind, "other");
    assert_int_equal(histogram_count(&figures.kinds[CORE_KINDS_SHOWN].wait),
                     KINDS - CORE_KINDS_SHOWN);
}

static void queues_beyond_the_bound_are_others(void **state) {
    struct world *w = *state;
    for (uint32_t n = 0; n < QUEUES; n++) {
        char name[16];
        struct msg_submit m = {0};
        snprintf(name, sizeof name, "queue%u", n);
        MSG_SET(&m, submit, queue, n == 1 ? STR("other") : str_of(name));
        world_submit(w, m);
    }
    world_turn(w, 50);
    look(w);
    uint64_t sum = 0;
    assert_int_equal(figures.n_queues, CORE_QUEUES_SHOWN + 1);
    for (uint32_t n = 0; n < figures.n_queues; n++)
        sum += figures.queues[n].by_state[JOB_ready];
    assert_int_equal(sum, QUEUES);
    const struct core_queue_figures *rest = &figures.queues[CORE_QUEUES_SHOWN];
    assert_string_equal(rest->queue, "other");
    assert_int_equal(rest->by_state[JOB_ready], QUEUES - CORE_QUEUES_SHOWN);
    assert_true(rest->oldest_ms >= 50);
}

static struct msg_queue_info queue_of(struct world *w) {
    struct msg_get_status all = {0};
    world_ask(w, 3, ROLE_OPERATOR, VERB_list_queues, &all);
    return w->queue;
}

static void a_queue_counts_what_comes_and_what_ends(void **state) {
    struct world *w = *state;
    world_hello(w, 3, ROLE_OPERATOR, 0);
    world_add_worker(w, WORKER, 1);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    world_turn(w, 1);
    assert_int_equal(queue_of(w).entered, 1);
    assert_int_equal(queue_of(w).ended, 0);
    struct seen d = world_last(w, VERB_dispatch);
    world_report(w, WORKER, d.job, d.fence, OUTCOME_REJECTED);
    assert_int_equal(queue_of(w).ended, 1);
    assert_int_equal(queue_of(w).dead, 1);
    /* What is run again comes in again. */
    struct msg_retry_job r = {0};
    MSG_SET(&r, retry_job, id, id);
    world_ask(w, 3, ROLE_OPERATOR, VERB_retry_job, &r);
    for (int i = 0; i < 3; i++)
        world_turn(w, 1);
    assert_int_equal(queue_of(w).entered, 2);
    assert_int_equal(queue_of(w).ended, 1);
}

static void cpu_and_refills_are_told_as_the_driver_says(void **state) {
    struct world *w = *state;
    struct core_outside outside = {.cpu_ms = 1234, .stream_refills = 5};
    struct msg_get_status m = {0};
    core_set_outside(w->core, &outside);
    world_hello(w, 3, ROLE_OPERATOR, 0);
    world_submit(w, (struct msg_submit){0});
    world_ask(w, 3, ROLE_OPERATOR, VERB_get_status, &m);
    assert_int_equal(w->status.cpu_ms, 1234);
    assert_int_equal(w->status.stream_refills, 5);
    assert_int_equal(w->status.submitted, 1);
    assert_int_equal(w->status.sessions, world_stats(w).sessions);
    assert_false(w->status.full);
    core_set_room(w->core, CORE_RESERVE);
    world_ask(w, 3, ROLE_OPERATOR, VERB_get_status, &m);
    assert_true(w->status.full);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(attempts_are_counted_by_their_end, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(waits_and_runs_are_measured, world_set_up, world_tear_down),
        cmocka_unit_test_setup_teardown(kinds_beyond_the_bound_are_others, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(queues_beyond_the_bound_are_others, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(a_queue_counts_what_comes_and_what_ends, world_set_up,
                                        world_tear_down),
        cmocka_unit_test_setup_teardown(cpu_and_refills_are_told_as_the_driver_says, world_set_up,
                                        world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

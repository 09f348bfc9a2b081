/* Flows: who is told how they go. */
#include "tests/unit/core_flows.h"

static void watch_flow(struct world *w, uint64_t id) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    world_ask(w, 1, ROLE_OPERATOR, VERB_watch_flow, &m);
}

static void a_flow_is_watched_to_its_end(void **state) { /* P-88 */
    struct world *w = *state;
    struct core_child two[] = {child(), child()};
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    world_watch(w, 1, ROLE_OPERATOR, id);
    watch_flow(w, id);
    assert_int_equal(world_count(w, VERB_flow_info), 1);
    assert_int_equal(w->flow.total, 2);
    end(w, id, OUTCOME_DONE);
    assert_true(w->has_flow);
    world_turn(w, 200);
    uint32_t told = world_count(w, VERB_flow_info);
    end(w, id + 1, OUTCOME_DONE);
    world_turn(w, 10);
    assert_true(world_count(w, VERB_flow_info) <= told + 1); /* not more often than that */
    struct seen d = given(w, id + 2);
    world_report(w, WORKER, id + 2, d.fence, OUTCOME_REJECTED);
    world_turn(w, 200);
    assert_true(w->flow.settled);
    assert_int_equal(w->flow.done, 1);
    assert_int_equal(w->flow.dead, 1);
    told = world_count(w, VERB_flow_info);
    world_turn(w, 200);
    assert_int_equal(world_count(w, VERB_flow_info), told);
    watch_flow(w, id); /* what is over is told at once */
    assert_true(w->flow.settled);
    watch_flow(w, id + 500);
    assert_int_equal(w->flow.code, ERR_NOT_FOUND);
}

static void a_job_without_children_is_a_flow(void **state) { /* P-88 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    watch_flow(w, id);
    assert_int_equal(w->flow.total, 0);
    assert_false(w->flow.settled);
    struct seen d = given(w, id);
    uint64_t before = w->pos;
    world_report(w, d.link, id, d.fence, OUTCOME_DONE);
    world_begin(w, 200);
    world_end(w);
    assert_true(w->flow.settled);
    assert_true(world_last(w, VERB_flow_info).after >= before); /* its end is not durable yet */
    world_turn(w, 1);
    watch_flow(w, id);
    assert_true(w->flow.settled);
    assert_int_equal(world_last(w, VERB_flow_info).after, 0);
}

/* Who waits for a job learns of those below it that ended before. */
static void finished_says_that_there_is_a_flow(void **state) { /* P-88 */
    struct world *w = *state;
    struct core_child one[] = {child()};
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, one, 1);
    world_watch(w, 1, ROLE_OPERATOR, id);
    end(w, id + 1, OUTCOME_REJECTED);
    end(w, id, OUTCOME_DONE);
    assert_true(w->has_flow);
    uint64_t alone = world_submit(w, (struct msg_submit){0});
    world_watch(w, 1, ROLE_OPERATOR, alone);
    end(w, alone, OUTCOME_DONE);
    assert_false(w->has_flow);
}

static uint32_t told(const struct world *w, uint64_t link) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < w->n; k++)
        n += w->letters[k].verb == VERB_flow_info && w->letters[k].link == link;
    return n;
}

/* Its watchers were told a moment ago, and its jobs are kept for no time. */
static void a_flow_is_told_of_before_it_is_forgotten(void **state) { /* P-88 */
    struct world *w = *state;
    struct core_config k = core_config_default();
    struct core_child one = child();
    k.done_jobs = 0;
    core_reconfigure(w->core, &k);
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, &one, 1);
    watch_flow(w, id);
    end(w, id + 1, OUTCOME_DONE);
    assert_false(w->flow.settled);
    end(w, id, OUTCOME_DONE);
    assert_true(w->flow.settled);
    assert_int_equal(w->flow.done, 1);
    assert_int_equal(world_stats(w).flows, 0);
}

static void a_flow_without_its_job_is_watched(void **state) { /* P-88 */
    struct world *w = *state;
    struct core_config k = core_config_default();
    struct core_child one = child();
    k.done_jobs = 0;
    core_reconfigure(w->core, &k);
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, &one, 1);
    end(w, id, OUTCOME_DONE);
    watch_flow(w, id);
    assert_int_equal(w->flow.state, JOB_done);
    assert_false(w->flow.settled);
    end(w, id + 1, OUTCOME_DONE);
    world_turn(w, 200);
    assert_true(w->flow.settled);
}

static void who_asks_late_takes_the_end_from_nobody(void **state) { /* P-88 */
    struct world *w = *state;
    struct core_child one = child();
    world_add_worker(w, WORKER, 8);
    world_hello(w, 2, ROLE_OPERATOR, 0);
    uint64_t id = submit_with(w, (struct msg_submit){0}, &one, 1);
    watch_flow(w, id);
    end(w, id + 1, OUTCOME_DONE);
    end(w, id, OUTCOME_DONE);
    uint32_t before = told(w, 1);
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    world_ask(w, 2, ROLE_OPERATOR, VERB_watch_flow, &m);
    assert_int_equal(told(w, 2), 1);
    world_turn(w, 200);
    assert_int_equal(told(w, 1), before + 1);
    assert_int_equal(told(w, 2), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_flow_is_watched_to_its_end),
        CASE(a_job_without_children_is_a_flow),
        CASE(a_flow_is_told_of_before_it_is_forgotten),
        CASE(a_flow_without_its_job_is_watched),
        CASE(who_asks_late_takes_the_end_from_nobody),
        CASE(finished_says_that_there_is_a_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a turn costs, counted in looks: what cannot start is not looked at again and again. */
#include "tests/unit/core_world.h"

#include <stdio.h>

#define BLOCKED 10000

static struct world *with_many_queues(void **state, uint32_t aging_share) {
    struct world *w = *state;
    w->config.queues_max = 2 * BLOCKED;
    w->config.aging_share = aging_share;
    core_reconfigure(w->core, &w->config);
    return w;
}

static uint64_t looks(const struct world *w) {
    struct core_stats s;
    core_stats(w->core, &s);
    return s.looks;
}

/* One job in each of so many queues that may not start, and 64 in one that may. */
static uint64_t looks_for_64(struct world *w, uint32_t blocked) {
    world_begin(w, 1);
    for (uint32_t n = 0; n < blocked; n++) {
        char name[16];
        struct msg_submit m = {0};
        snprintf(name, sizeof name, "q%u", (unsigned)n);
        MSG_SET(&m, submit, queue, str_of(name));
        world_offer(w, m);
        struct msg_queue_ref q = {0};
        MSG_SET(&q, queue_ref, queue, str_of(name));
        world_say(w, 1, ROLE_OPERATOR, VERB_pause_queue, &q);
    }
    for (uint32_t n = 0; n < 64; n++)
        world_offer(w, (struct msg_submit){0});
    world_end(w);
    world_add_worker(w, 9, 1);
    world_turn(w, 1); /* each line that is paused is looked at here, once */
    uint64_t before = looks(w);
    for (uint32_t n = 1; n < 64; n++) {
        struct seen d = world_last(w, VERB_dispatch);
        world_begin(w, 1);
        world_result(w, 9, d.job, d.fence, OUTCOME_DONE);
        world_end(w);
        world_turn(w, 1);
    }
    assert_int_equal(world_count(w, VERB_dispatch), 64);
    return looks(w) - before;
}

static void lines_that_may_not_start_cost_nothing(void **state) {
    struct world *w = with_many_queues(state, 1000);
    uint64_t alone = looks_for_64(w, 0);
    world_tear_down(state);
    world_set_up(state);
    w = with_many_queues(state, 1000);
    assert_int_equal(looks_for_64(w, BLOCKED), alone);
    assert_true(alone <= 2 * 64);
    /* They are there for all that: each is dispatched when its queue is resumed. */
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("q777"));
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_resume_queue, &q);
    struct seen d = world_last(w, VERB_dispatch);
    world_result(w, 9, d.job, d.fence, OUTCOME_DONE);
    world_end(w);
    assert_int_equal(world_count(w, VERB_dispatch), 65);
}

/* Who has waited long is searched for in so many lines at a time. */
static void the_search_for_who_waits_long_is_bounded(void **state) {
    struct world *w = with_many_queues(state, 2);
    looks_for_64(w, BLOCKED);
    struct seen d = world_last(w, VERB_dispatch);
    world_begin(w, 2 * w->config.aging_wait_ms);
    world_hello(w, 9, ROLE_WORKER, 1);
    for (uint32_t n = 0; n < 64; n++)
        world_offer(w, (struct msg_submit){0});
    world_result(w, 9, d.job, d.fence, OUTCOME_DONE);
    world_end(w);
    world_turn(w, 1);
    for (uint32_t n = 0; n < 64; n++) {
        uint64_t before = looks(w);
        d = world_last(w, VERB_dispatch);
        world_begin(w, 1);
        world_result(w, 9, d.job, d.fence, OUTCOME_DONE);
        world_end(w);
        assert_true(looks(w) - before <= 512 + 2);
    }
}

#define COST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        COST(lines_that_may_not_start_cost_nothing),
        COST(the_search_for_who_waits_long_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

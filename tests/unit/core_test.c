/* The core through its own door, one rule a test: what the simulator shows at random is said here
 * in order. Effects are recorded; everything appended is durable when the test says so. */
#include "tests/unit/core_world.h"

static void finish(struct world *w, uint64_t link, uint64_t job, uint64_t fence) {
    world_result(w, link, job, fence, OUTCOME_DONE);
}

/* ---- rules ----------------------------------------------------------------------------------- */
/* P-33, P-50 */
static void waits_for_the_disk(void **state) {
    struct world *w = *state;
    world_add_worker(w, 9, 4);
    world_begin(w, 1);
    uint64_t id = world_offer(w, (struct msg_submit){0});
    world_end(w);
    assert_int_not_equal(world_last(w, VERB_submitted).after, 0); /* must not leave yet */
    assert_int_equal(world_count(w, VERB_dispatch), 0);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_dispatch).job, id);
    world_report(w, 9, id, world_last(w, VERB_dispatch).fence, OUTCOME_DONE);
    assert_int_not_equal(world_last(w, VERB_result_ack).after, 0);
}

/* P-51 */
static void refuses_late_reports(void **state) {
    struct world *w = *state;
    world_add_worker(w, 9, 1);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    uint64_t old = world_last(w, VERB_dispatch).fence;
    for (int k = 0; k < 20; k++) /* the lease passes, in turns of our own that are in time */
        world_turn(w, 200);
    world_add_worker(w, 10, 1);
    world_turn(w, 1);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    uint64_t fresh = world_last(w, VERB_dispatch).fence;
    assert_true(fresh > old);
    world_begin(w, 1);
    world_hello(w, 9, ROLE_WORKER, 1); /* it is back, and reports */
    finish(w, 9, id, old);
    world_end(w);
    assert_int_equal(world_last(w, VERB_lost).fence, old);
    world_report(w, 10, id, fresh, OUTCOME_DONE);
    assert_int_equal(world_last(w, VERB_result_ack).fence, fresh);
    assert_int_equal(world_stats(w).ended[JOB_done], 1);
    assert_true(world_stats(w).stale_fences >= 1);
}

static void sleeps_without_harm(void **state) {
    struct world *w = *state;
    world_add_worker(w, 9, 1);
    world_submit(w, (struct msg_submit){0});
    world_turn(w, 10000); /* we were stopped for ten seconds */
    assert_int_equal(world_stats(w).workers, 1);
    assert_int_equal(world_stats(w).requeued, 0);
}

/* One job of B behind many of A is the second to be dispatched. */
static void shares_among_tenants(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_begin(w, 1);
    MSG_SET(&m, submit, tenant, STR("a"));
    for (int k = 0; k < 500; k++)
        world_offer(w, m);
    MSG_SET(&m, submit, tenant, STR("b"));
    uint64_t b = world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    world_add_worker(w, 9, 2);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    assert_int_equal(world_last(w, VERB_dispatch).job, b);
}

static void goes_by_priority(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_begin(w, 1);
    MSG_SET(&m, submit, priority, 2);
    world_offer(w, m);
    MSG_SET(&m, submit, priority, 8);
    uint64_t urgent = world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    world_add_worker(w, 9, 1);
    assert_int_equal(world_last(w, VERB_dispatch).job, urgent);
}

/* P-36, with the next one. */
static void one_of_a_key_at_a_time(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_begin(w, 1);
    MSG_SET(&m, submit, key, STR("site"));
    uint64_t first = world_offer(w, m), second = world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    world_add_worker(w, 9, 4);
    assert_int_equal(world_count(w, VERB_dispatch), 1);
    assert_int_equal(world_last(w, VERB_dispatch).job, first);
    world_report(w, 9, first, world_last(w, VERB_dispatch).fence, OUTCOME_DONE);
    assert_int_equal(world_count(w, VERB_dispatch), 1); /* that end is not durable yet */
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_dispatch).job, second);
}

static void a_failed_head_keeps_its_key(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_begin(w, 1);
    MSG_SET(&m, submit, key, STR("site"));
    uint64_t first = world_offer(w, m);
    world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    world_add_worker(w, 9, 4);
    world_report(w, 9, first, world_last(w, VERB_dispatch).fence, OUTCOME_FAILED);
    world_turn(w, 10);
    assert_int_equal(world_count(w, VERB_dispatch), 1);
    world_turn(w, 150);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    assert_int_equal(world_last(w, VERB_dispatch).job, first);
}

/* P-35 */
static void a_second_unique_one_is_the_first(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_begin(w, 1);
    MSG_SET(&m, submit, unique, STR("u"));
    uint64_t first = world_offer(w, m);
    assert_int_equal(world_offer(w, m), first);
    assert_true(world_last(w, VERB_submitted).duplicate);
    assert_int_not_equal(world_last(w, VERB_submitted).after,
                         0); /* waits for the first one's record */
    MSG_SET(&m, submit, tenant, STR("other"));
    assert_int_not_equal(world_offer(w, m), first);
    world_end(w);
}

static void limits_are_exact(void **state) {
    struct world *w = *state;
    struct limit_config two = {.concurrency = 2};
    core_set_queue(w->core, STR("k"), &two, false);
    world_submit_many(w, (struct msg_submit){0}, 5);
    world_add_worker(w, 9, 10);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    world_report(w, 9, world_last(w, VERB_dispatch).job, world_last(w, VERB_dispatch).fence,
                 OUTCOME_DONE);
    assert_int_equal(world_count(w, VERB_dispatch), 3);
}

static void rates_are_kept(void **state) {
    struct world *w = *state;
    struct limit_config slow = {.rate_count = 10, .rate_per_ms = 1000, .burst = 2};
    core_set_queue(w->core, STR("k"), &slow, false);
    world_submit_many(w, (struct msg_submit){0}, 6);
    world_add_worker(w, 9, 10);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    world_turn(w, 99);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    world_turn(w, 1);
    assert_int_equal(world_count(w, VERB_dispatch), 3);
    world_turn(w, 200);
    assert_int_equal(world_count(w, VERB_dispatch), 5);
}

/* A clock set back by a day must not make a delay of a second last a day. */
static void delays_do_not_follow_the_wall(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_add_worker(w, 9, 1);
    world_begin(w, 1);
    MSG_SET(&m, submit, delay_ms, 1000);
    uint64_t id = world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    w->wall -= 86400000;
    world_turn(w, 500);
    assert_int_equal(world_count(w, VERB_dispatch), 0);
    world_turn(w, 500);
    assert_int_equal(world_last(w, VERB_dispatch).job, id);
}

static void expires_unstarted(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_begin(w, 1);
    MSG_SET(&m, submit, ttl_ms, 100);
    MSG_SET(&m, submit, watch, true);
    uint64_t id = world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    world_turn(w, 100);
    assert_int_equal(world_last(w, VERB_finished).job, id);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_expired);
}

/* P-40 */
static void cancelled_is_cancelled(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    world_add_worker(w, 9, 1);
    world_begin(w, 1);
    MSG_SET(&m, submit, watch, true);
    uint64_t id = world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    world_begin(w, 1);
    struct msg_cancel_job c = {0};
    MSG_SET(&c, cancel_job, id, id);
    world_say(w, 1, ROLE_OPERATOR, VERB_cancel_job, &c);
    assert_int_equal(world_count(w, VERB_cancel_attempt), 1);
    finish(w, 9, id, world_last(w, VERB_dispatch).fence); /* it was done all the same */
    world_end(w);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_cancelled);
    world_ask(w, 1, ROLE_OPERATOR, VERB_cancel_job, &c);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_ALREADY_DONE);
}

/* P-28 */
static void a_repeated_sequence_is_answered_alike(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("k"));
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_submit, &m);
    uint64_t id = world_last(w, VERB_submitted).id;
    assert_false(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, w->sequence));
    world_end(w);
    assert_int_equal(world_count(w, VERB_submitted), 2);
    assert_int_equal(world_last(w, VERB_submitted).id, id);
    assert_int_equal(world_stats(w).submitted, 1);
}

static void says_why(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    struct msg_get_job q = {0};
    world_begin(w, 1);
    MSG_SET(&q, get_job, id, world_offer(w, m));
    world_end(w);
    world_turn(w, 1);
    world_begin(w, 1);
    uint32_t before = w->n;
    world_say(w, 1, ROLE_OPERATOR, VERB_get_why, &q);
    world_end(w);
    assert_string_equal(w->letters[before].reason, "no_worker");
    assert_string_equal(w->letters[before + 1].reason, "its_turn");
}

int main(void) {
#define RULE(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        RULE(waits_for_the_disk),
        RULE(refuses_late_reports),
        RULE(sleeps_without_harm),
        RULE(shares_among_tenants),
        RULE(goes_by_priority),
        RULE(one_of_a_key_at_a_time),
        RULE(a_failed_head_keeps_its_key),
        RULE(a_second_unique_one_is_the_first),
        RULE(limits_are_exact),
        RULE(rates_are_kept),
        RULE(delays_do_not_follow_the_wall),
        RULE(expires_unstarted),
        RULE(cancelled_is_cancelled),
        RULE(a_repeated_sequence_is_answered_alike),
        RULE(says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The core at its edges: bounds that were lowered, answers that were too many to keep, a journal
 * that failed, limits that change, requests that touch very many jobs. */
#include "common/base/mem.h"
#include "tests/unit/core_world.h"

/* ---- edges ----------------------------------------------------------------------------------- */
static void replay_job(struct world *w, uint64_t id, struct str tenant) {
    struct msg_rec_spec spec = {0};
    MSG_SET(&spec, rec_spec, kind, STR("k"));
    MSG_SET(&spec, rec_spec, queue, STR("k"));
    MSG_SET(&spec, rec_spec, tenant, tenant);
    struct msg_rec_state state = {0};
    MSG_SET(&state, rec_state, id, id);
    MSG_SET(&state, rec_state, version, 1);
    MSG_SET(&state, rec_state, state, (uint64_t)JOB_ready);
    struct record r = {.type = REC_JOB, .state = &state, .spec = &spec};
    w->records++;
    core_replay(w->core, w->pos, 100, &r);
    w->pos += 100;
}

/* What was accepted under a higher bound must not keep the broker from starting. */
static void replays_over_a_lowered_bound(void **state) {
    (void)state;
    struct world *w = MEM_NEW(struct world);
    w->config = core_config_default();
    w->config.tenants_max = w->config.queues_max = w->config.kinds_max = 1;
    world_new(w);
    world_begin(w, 1);
    replay_job(w, (1ULL << 42) + 1, STR("a"));
    replay_job(w, (1ULL << 42) + 2, STR("b"));
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    world_turn(w, 1);
    assert_int_equal(world_stats(w).by_state[JOB_ready], 2);
    core_destroy(&w->core);
    mem_free(w);
}

/* P-28: answers are let go when they are too many; what was asked is not done again. */
static void a_forgotten_answer_is_not_work(void **state) {
    struct world *w = *state;
    struct msg_submit bad = {0}, good = {0};
    MSG_SET(&bad, submit, kind, STR("unknown"));
    MSG_SET(&good, submit, kind, STR("k"));
    world_begin(w, 1);
    uint64_t first = ++w->sequence;
    for (uint64_t sequence = first; sequence < first + 70; sequence++) {
        assert_true(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, sequence));
        core_item(w->core, &good, STR(""), NULL);
        for (int k = 1; k < 1024; k++)
            core_item(w->core, &bad, STR(""), NULL);
        core_request_end(w->core);
    }
    assert_false(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, first));
    world_end(w);
    assert_int_equal(world_last(w, VERB_error).code, ERR_OLD_SEQUENCE);
}

/* P-35, P-39: its window goes on after the first one's end. */
static void a_duplicate_of_an_ended_job_is_told(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, unique, STR("u"));
    MSG_SET(&m, submit, window_ms, 600000);
    world_add_worker(w, 9, 1);
    uint64_t id = world_submit(w, m);
    world_report(w, 9, id, world_last(w, VERB_dispatch).fence, OUTCOME_REJECTED);
    world_turn(w, 1);
    world_begin(w, 1);
    MSG_SET(&m, submit, watch, true);
    assert_int_equal(world_offer(w, m), id);
    world_end(w);
    assert_int_equal(world_last(w, VERB_finished).job, id);

    /* P-41: nor is that window another job's. */
    struct msg_retry_job again = {0};
    MSG_SET(&again, retry_job, id, id);
    w->unique = STR("u");
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &again);
    world_turn(w, 1);
    assert_int_equal(world_count(w, VERB_outcome), 1);
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
}

/* P-66: a purge of many goes on from turn to turn, without a wait between them. */
static void a_long_purge_does_not_sleep(void **state) {
    struct world *w = *state;
    world_submit_many(w, (struct msg_submit){0}, 10000);
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("k"));
    world_ask(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    assert_int_equal(core_next(w->core).ms, w->now);
    for (int k = 0; k < 4; k++)
        world_turn(w, 0);
    assert_int_equal(world_count(w, VERB_outcome), 1);
    assert_true(core_next(w->core).ms > w->now);
}

/* While all that a sweep may read is being read, there is nothing to do in a turn. */
static void a_sweep_waits_for_its_reads(void **state) {
    struct world *w = *state;
    world_add_worker(w, 9, 100);
    world_begin(w, 1);
    for (int k = 0; k < 100; k++)
        world_offer(w, (struct msg_submit){0});
    world_end(w);
    uint32_t before = w->n;
    world_turn(w, 1);
    world_begin(w, 1);
    for (uint32_t k = before, n = w->n; k < n; k++)
        if (w->letters[k].verb == VERB_dispatch)
            world_result(w, 9, w->letters[k].job, w->letters[k].fence, OUTCOME_REJECTED);
    world_end(w);
    world_turn(w, 1);
    struct msg_retry_job all = {0};
    MSG_SET(&all, retry_job, dead, true);
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_retry_job, &all);
    core_end(w->core, true);
    assert_int_equal(w->n_loads, 64);
    assert_true(core_next(w->core).ms > w->now);
    world_give_loads(w);
}

/* P-49: the broker takes no result now, so silence is not disobedience. */
static void read_only_kills_nobody(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, timeout_ms, 100);
    world_add_worker(w, 9, 2);
    uint64_t id = world_submit(w, m);
    struct err e = {0};
    err_set(&e, ERR_READ_ONLY, "the disk is gone");
    world_begin(w, 1);
    core_write_failed(w->core, &e);
    world_end(w);
    world_turn(w, 100);
    world_begin(w, 1);
    world_result(w, 9, id, world_last(w, VERB_dispatch).fence, OUTCOME_CANCELLED);
    struct msg_pool_report r = {0};
    MSG_SET(&r, pool_report, pool, STR("p"));
    world_say(w, 1, ROLE_OPERATOR, VERB_pool_report, &r);
    world_end(w);
    struct msg_heartbeat beat = {0};
    MSG_SET(&beat, heartbeat, epoch, core_epoch(w->core));
    MSG_SET(&beat, heartbeat, held, 1);
    for (int k = 0; k < 40; k++) {
        world_begin(w, 500);
        world_say(w, 9, ROLE_WORKER, VERB_heartbeat, &beat);
        world_end(w);
    }
    assert_int_equal(world_count(w, VERB_kill_worker), 0);
}

/* A start a day, and then the file says ten a second. */
static void a_new_rate_forgives_the_old(void **state) {
    struct world *w = *state;
    struct limit_config slow = {.rate_count = 1, .rate_per_ms = 86400000, .burst = 1};
    struct limit_config fast = {.rate_count = 10, .rate_per_ms = 1000, .burst = 1};
    core_set_queue(w->core, STR("k"), &slow, false);
    world_add_worker(w, 9, 10);
    world_begin(w, 1);
    world_offer(w, (struct msg_submit){0});
    world_offer(w, (struct msg_submit){0});
    world_end(w);
    world_turn(w, 1);
    assert_int_equal(world_count(w, VERB_dispatch), 1);
    /* A reload that changes nothing forgives nothing. */
    core_set_queue(w->core, STR("k"), &slow, false);
    world_turn(w, 100);
    assert_int_equal(world_count(w, VERB_dispatch), 1);
    core_set_queue(w->core, STR("k"), &fast, false);
    world_turn(w, 100);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
}

static void a_burst_without_end(void **state) {
    struct world *w = *state;
    struct limit_config k = {.rate_count = 1, .rate_per_ms = 315576000000, .burst = 58456};
    core_set_queue(w->core, STR("k"), &k, false);
    world_add_worker(w, 9, 10);
    world_submit_many(w, (struct msg_submit){0}, 10);
    assert_int_equal(world_count(w, VERB_dispatch), 10);
}

/* ---- a full disk ----------------------------------------------------------------------------- */
/* Records that the core would write by itself wait for room: times to live, purges. */
static void nothing_is_put_without_room(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, ttl_ms, 1000);
    world_submit(w, m);
    uint32_t before = w->appended[REC_STATE];
    core_set_room(w->core, CORE_FULL);
    world_turn(w, 5000);
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("k"));
    world_ask(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    world_turn(w, 100);
    assert_int_equal(w->appended[REC_STATE], before);
    assert_true(core_next(w->core).ms > w->now); /* nor does it turn in vain */
    core_set_room(w->core, CORE_ROOM);
    world_turn(w, 1);
    assert_int_equal(world_stats(w).ended[JOB_expired], 1);
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
}

/* P-66, P-42: a purge is what makes room. Small steps; what it ends is not kept. */
static void a_purge_needs_little_room(void **state) {
    struct world *w = *state;
    world_submit_many(w, (struct msg_submit){0}, 300);
    core_set_room(w->core, CORE_TIGHT);
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("k"));
    uint32_t asked = world_count(w, VERB_outcome), turns = 0;
    world_ask(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    for (; world_count(w, VERB_outcome) == asked && turns < 100; turns++) {
        uint32_t before = w->appended[REC_STATE];
        world_turn(w, 0);
        assert_in_range(w->appended[REC_STATE] - before, 0, CORE_PURGE_STEP);
    }
    assert_in_range(turns, 300 / CORE_PURGE_STEP, 99);
    assert_int_equal(world_stats(w).ended[JOB_cancelled], 300);
    assert_int_equal(world_stats(w).kept, 0);
    core_set_room(w->core, CORE_ROOM);
    world_cancel(w, world_submit(w, (struct msg_submit){0}));
    assert_int_equal(world_stats(w).kept, 1);
}

/* A purge that the failure meets in its middle is answered: a part of it may be done. */
static void a_purge_that_fails_half_way(void **state) {
    struct world *w = *state;
    struct err e = {0};
    world_submit_many(w, (struct msg_submit){0}, 300);
    core_set_room(w->core, CORE_TIGHT);
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("k"));
    world_ask(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    err_set(&e, ERR_IO, "the disk is gone");
    core_write_failed(w->core, &e);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(world_stats(w).sweeps, 0);
}

int main(void) {
#define EDGE(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_over_a_lowered_bound),
        EDGE(a_forgotten_answer_is_not_work),
        EDGE(a_duplicate_of_an_ended_job_is_told),
        EDGE(a_long_purge_does_not_sleep),
        EDGE(a_sweep_waits_for_its_reads),
        EDGE(read_only_kills_nobody),
        EDGE(a_new_rate_forgives_the_old),
        EDGE(a_burst_without_end),
        EDGE(nothing_is_put_without_room),
        EDGE(a_purge_needs_little_room),
        EDGE(a_purge_that_fails_half_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Flows: children, what waits for them, and how a flow ends early. */
#include "tests/unit/core_flows.h"

static struct seen spawn(struct world *w, uint64_t job, uint64_t fence, uint64_t index,
                         struct core_child c) {
    MSG_SET(&c.m, submit, parent, job);
    MSG_SET(&c.m, submit, fence, fence);
    MSG_SET(&c.m, submit, index, index);
    world_ask(w, WORKER, ROLE_WORKER, VERB_spawn, &c.m);
    return w->letters[w->n - 1];
}

static const struct msg_job_info *info(struct world *w, uint64_t job) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, job);
    world_ask(w, 1, ROLE_OPERATOR, VERB_get_job, &m);
    return &w->info;
}

static uint64_t state_of(struct world *w, uint64_t job) {
    return info(w, job)->state;
}

static void why(struct world *w, uint64_t job, const char *reason) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, job);
    world_ask(w, 1, ROLE_OPERATOR, VERB_get_why, &m);
    assert_string_equal(world_last(w, VERB_why_info).reason, reason);
}

/* ---- how children come ----------------------------------------------------------------------- */
static void children_come_with_a_result(void **state) { /* P-81 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct core_child two[] = {child(), child()};
    uint32_t before = world_count(w, VERB_dispatch);
    end_with(w, id, two, 2);
    assert_int_equal(world_last(w, VERB_result_ack).job, id);
    assert_int_equal(world_count(w, VERB_dispatch), before + 2);
    assert_int_equal(w->dispatch.parent, id);
    const struct msg_job_info *i = info(w, id);
    assert_int_equal(i->spawned, 2);
    assert_int_equal(i->below, 2);
    assert_false(i->settled);
    end(w, id + 1, OUTCOME_DONE);
    end(w, id + 2, OUTCOME_REJECTED);
    i = info(w, id);
    assert_true(i->settled);
    assert_int_equal(i->below_done, 1);
    assert_int_equal(i->below_dead, 1);
    assert_int_equal(info(w, id + 1)->parent, id);
}

/* The same report again changes nothing. */
static void a_result_is_taken_once(void **state) { /* P-50, P-81 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct core_child one[] = {child()};
    end_with(w, id, one, 1);
    end_with(w, id, one, 1);
    assert_int_equal(world_count(w, VERB_result_ack), 2);
    assert_int_equal(info(w, id)->spawned, 1);
}

static void children_come_with_a_submission(void **state) { /* P-81 */
    struct world *w = *state;
    struct core_child two[] = {child(), then()};
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    assert_int_equal(world_count(w, VERB_submitted), 1);
    assert_int_equal(state_of(w, id + 1), JOB_ready);
    assert_int_equal(state_of(w, id + 2), JOB_blocked);
    why(w, id + 2, "children");
    world_add_worker(w, WORKER, 8);
    end(w, id + 1, OUTCOME_DONE);
    assert_int_equal(state_of(w, id + 2), JOB_blocked);
    end(w, id, OUTCOME_DONE);
    assert_int_equal(state_of(w, id + 2), JOB_running);
}

static void one_bad_child_refuses_all(void **state) { /* P-81 */
    struct world *w = *state;
    struct core_child two[] = {child(), child()};
    MSG_SET(&two[1].m, submit, watch, true);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    assert_int_equal(id, 0);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BAD_VALUE);
    assert_non_null(strstr(w->text, "watch"));
    assert_int_equal(world_stats(w).by_state[JOB_ready], 0);
    struct msg_submit lone = {0};
    MSG_SET(&lone, submit, then, true);
    world_begin(w, 1);
    world_offer(w, lone);
    world_end(w);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BAD_VALUE);
}

static void a_worker_spawns_what_its_kind_may(void **state) { /* P-82 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    core_set_may_spawn(w->core, STR("k"), &(struct str_list){0});
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct core_child one[] = {child()};
    end_with(w, id, one, 1);
    assert_int_equal(state_of(w, id), JOB_dead);
    may_spawn(w);
    /* Neither more than its own priority. */
    id = world_submit(w, (struct msg_submit){0});
    MSG_SET(&one[0].m, submit, priority, 7);
    end_with(w, id, one, 1);
    assert_int_equal(state_of(w, id), JOB_dead);
    struct msg_submit high = {0};
    MSG_SET(&high, submit, priority, 8);
    id = world_submit(w, high);
    end_with(w, id, one, 1);
    assert_int_equal(state_of(w, id), JOB_done);
    assert_int_equal(info(w, id)->spawned, 1);
}

static void without_room_a_job_is_held(void **state) { /* P-82 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct core_child one[] = {child()};
    core_set_room(w->core, CORE_RESERVE);
    end_with(w, id, one, 1);
    core_set_room(w->core, CORE_ROOM);
    const struct msg_job_info *i = info(w, id);
    assert_int_equal(i->state, JOB_scheduled);
    assert_int_equal(i->attempts, 0);
    assert_int_equal(i->error, ERR_RATE_LIMITED);
    world_turn(w, 1100);
    end_with(w, id, one, 1);
    assert_int_equal(state_of(w, id), JOB_done);
}

static void a_taken_unique_key_makes_no_child(void **state) { /* P-82 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct core_child three[] = {child(), child(), child()};
    MSG_SET(&three[0].m, submit, unique, STR("u"));
    MSG_SET(&three[1].m, submit, unique, STR("u"));
    end_with(w, id, three, 3);
    assert_int_equal(info(w, id)->spawned, 2);
}

/* ---- SPAWN ----------------------------------------------------------------------------------- */
static void spawn_counts_its_children(void **state) { /* P-83 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    uint64_t fence = given(w, id).fence;
    struct seen s = spawn(w, id, fence, 0, child());
    assert_int_equal(s.verb, VERB_spawned);
    assert_int_equal(s.code, 0);
    assert_true(s.after != 0);
    s = spawn(w, id, fence, 0, child()); /* said again */
    assert_int_equal(s.code, 0);
    assert_int_equal(info(w, id)->spawned, 1);
    s = spawn(w, id, fence, 2, child()); /* a gap */
    assert_int_equal(s.code, ERR_BAD_VALUE);
    s = spawn(w, id, fence, 1, child());
    assert_int_equal(s.code, 0);
    assert_int_equal(info(w, id)->spawned, 2);
    assert_int_equal(spawn(w, id, fence + 1, 2, child()).verb, VERB_lost);
    assert_int_equal(spawn(w, id + 1000, fence, 0, child()).verb, VERB_lost);
    /* What it does not name is not named in the answer. */
    world_ask(w, WORKER, ROLE_WORKER, VERB_spawn, &(struct msg_submit){0});
    assert_int_equal(world_last(w, VERB_spawned).code, ERR_MISSING_FIELD);
    assert_int_equal(world_last(w, VERB_spawned).job, 0);
}

/* What a failed attempt has spawned stays; the next one counts anew. */
static void the_next_attempt_counts_anew(void **state) { /* P-83 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    spawn(w, id, given(w, id).fence, 0, child());
    end(w, id, OUTCOME_FAILED);
    world_turn(w, 2000);
    assert_int_equal(spawn(w, id, given(w, id).fence, 0, child()).code, 0);
    assert_int_equal(info(w, id)->spawned, 2);
}

/* ---- then ------------------------------------------------------------------------------------ */
static void then_waits_for_all_below(void **state) { /* P-84 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct core_child three[] = {child(), child(), then()};
    end_with(w, id, three, 3);
    struct core_child one[] = {child()};
    end_with(w, id + 1, one, 1); /* id + 4 */
    end(w, id + 2, OUTCOME_REJECTED);
    assert_int_equal(given(w, id + 3).job, 0);
    /* Until the last end is durable. */
    struct seen d = given(w, id + 4);
    world_report(w, WORKER, id + 4, d.fence, OUTCOME_DONE);
    assert_int_equal(given(w, id + 3).job, 0);
    why(w, id + 3, "children_commit");
    world_turn(w, 1);
    assert_int_equal(given(w, id + 3).job, id + 3);
    assert_int_equal(w->dispatch.parent_state, JOB_done);
    assert_int_equal(w->dispatch.siblings, 2);
    assert_int_equal(w->dispatch.siblings_done, 1);
    assert_int_equal(w->dispatch.siblings_dead, 1);
    assert_false(info(w, id)->settled);
    end(w, id + 3, OUTCOME_DONE);
    assert_true(info(w, id)->settled);
}

static void a_second_then_is_passed_over(void **state) { /* P-84 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct core_child two[] = {then(), then()};
    end_with(w, id, two, 2);
    assert_int_equal(info(w, id)->below, 1);
}

static void the_time_to_live_of_then_runs_from_its_turn(void **state) { /* P-84 */
    struct world *w = *state;
    struct core_child two[] = {child(), then()};
    MSG_SET(&two[1].m, submit, ttl_ms, 100);
    world_add_worker(w, WORKER, 1);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    world_turn(w, 500);
    assert_int_equal(state_of(w, id + 2), JOB_blocked);
    end(w, id, OUTCOME_DONE);
    end(w, id + 1, OUTCOME_DONE);
    assert_int_equal(state_of(w, id + 2), JOB_running);
    two[1].m.has |= MSGBIT_submit_delay_ms;
    submit_with(w, (struct msg_submit){0}, two, 2);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BAD_VALUE);
}

/* ---- failure --------------------------------------------------------------------------------- */
static void fail_fast_ends_the_flow(void **state) { /* P-85 */
    struct world *w = *state;
    struct core_child four[] = {child(), child(), child(), then()};
    struct msg_submit m = {0};
    MSG_SET(&m, submit, fail_fast, true);
    MSG_SET(&four[2].m, submit, delay_ms, 100000);
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, m, four, 4);
    end(w, id + 1, OUTCOME_REJECTED);
    world_turn(w, 1);
    assert_int_equal(state_of(w, id), JOB_running); /* who spawns goes on */
    assert_int_equal(state_of(w, id + 2), JOB_cancelling);
    assert_int_equal(world_last(w, VERB_cancel_attempt).job, id + 2);
    assert_int_equal(state_of(w, id + 3), JOB_cancelled);
    assert_int_equal(state_of(w, id + 4), JOB_cancelled);
    assert_int_equal(info(w, id)->flow_error, ERR_FLOW_FAILED);
    /* What it spawns now does not run. */
    spawn(w, id, given(w, id).fence, 0, child());
    world_turn(w, 1);
    world_turn(w, 1);
    assert_int_equal(state_of(w, id + 5), JOB_cancelled);
    end(w, id + 2, OUTCOME_CANCELLED);
    end(w, id, OUTCOME_DONE);
    assert_true(info(w, id)->settled);
}

static void by_default_a_flow_goes_on(void **state) { /* P-85 */
    struct world *w = *state;
    struct core_child two[] = {child(), then()};
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    end(w, id + 1, OUTCOME_REJECTED);
    end(w, id, OUTCOME_REJECTED);
    assert_int_equal(state_of(w, id + 2), JOB_running);
    assert_int_equal(w->dispatch.parent_state, JOB_dead);
}

/* A flow that failed within makes its top a failure for the one above. */
/* A flow that failed within makes its top a failure for the one above. */
/* A then whose body is still being read when a flow above fails, and more jobs are there than are
 * looked at in one turn. */
static void what_is_being_read_is_not_started_either(void **state) { /* P-85 */
    struct world *w = *state;
    struct core_child two[] = {child(), child()}, last = then();
    struct msg_submit later = {0}, fast = {0};
    MSG_SET(&later, submit, delay_ms, 3600000);
    MSG_SET(&fast, submit, fail_fast, true);
    world_submit_many(w, later, 5000);
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, fast, two, 2), of_then = id + 3;
    report_with(w, id + 1, &last, 1);
    world_begin(w, 1);
    core_durable(w->core, w->pos);
    core_end(w->core, true);
    assert_int_equal(w->n_loads, 1); /* it has a worker, which has not heard of it */
    world_begin(w, 1);
    world_result(w, WORKER, id + 2, given(w, id + 2).fence, OUTCOME_REJECTED);
    core_end(w->core, true);
    world_give_loads(w);
    core_check(w->core);
    assert_int_equal(given(w, of_then).job, 0);
    assert_int_equal(state_of(w, of_then), JOB_cancelled);
}

static void a_broken_child_is_a_failure(void **state) { /* P-84, P-85 */
    struct world *w = *state;
    struct core_child two[] = {child(), then()};
    MSG_SET(&two[0].m, submit, fail_fast, true);
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    struct core_child one[] = {child()};
    end_with(w, id + 1, one, 1); /* id + 3 */
    end(w, id, OUTCOME_DONE);
    end(w, id + 3, OUTCOME_REJECTED);
    assert_int_equal(state_of(w, id + 2), JOB_running);
    assert_int_equal(w->dispatch.siblings_done, 1);
    assert_int_equal(w->dispatch.siblings_broken, 1);
}

static void cancel_takes_all_below(void **state) { /* P-86 */
    struct world *w = *state;
    struct core_child three[] = {child(), child(), then()};
    world_add_worker(w, WORKER, 2);
    uint64_t id = submit_with(w, (struct msg_submit){0}, three, 3);
    end(w, id, OUTCOME_DONE);
    world_cancel(w, id); /* it has ended; its flow has not */
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
    assert_true(world_last(w, VERB_outcome).flow);
    assert_int_equal(world_last(w, VERB_outcome).count, 3);
    world_turn(w, 1);
    assert_int_equal(state_of(w, id + 1), JOB_cancelling);
    assert_int_equal(state_of(w, id + 3), JOB_cancelled);
    end(w, id + 1, OUTCOME_CANCELLED);
    end(w, id + 2, OUTCOME_CANCELLED);
    assert_true(info(w, id)->settled);
    world_cancel(w, id);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_ALREADY_DONE);
    assert_false(world_last(w, VERB_outcome).flow);
}

static void cancel_says_how_many(void **state) { /* P-86 */
    struct world *w = *state;
    struct core_child two[] = {child(), child()};
    world_add_worker(w, WORKER, 1);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    world_cancel(w, id);
    assert_int_equal(world_last(w, VERB_outcome).count, 3);
    world_turn(w, 1);
    uint64_t alone = world_submit(w, (struct msg_submit){0});
    world_cancel(w, alone);
    assert_int_equal(world_last(w, VERB_outcome).count, 1);
    assert_false(world_last(w, VERB_outcome).flow);
}

static void why_names_the_flow(void **state) {
    struct world *w = *state;
    struct core_child two[] = {child(), then()};
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    why(w, id + 2, "children");
    assert_int_equal(world_last(w, VERB_why_info).holder, id);
    end(w, id, OUTCOME_DONE);
    struct seen d = given(w, id + 1);
    world_report(w, d.link, id + 1, d.fence, OUTCOME_DONE);
    why(w, id + 2, "children_commit");
    assert_int_equal(world_last(w, VERB_why_info).holder, id);
    world_turn(w, 1);
    uint64_t other = submit_with(w, (struct msg_submit){0}, two, 1);
    world_cancel(w, other);
    world_turn(w, 1);
    uint32_t before = w->n;
    why(w, other + 1, "running");
    assert_string_equal(w->letters[before].reason, "flow_ends");
    assert_int_equal(w->letters[before].holder, other);
    assert_int_equal(world_stats(w).flows, 2);
}

static void retry(struct world *w, uint64_t id) {
    struct msg_retry_job m = {0};
    MSG_SET(&m, retry_job, id, id);
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &m);
    world_turn(w, 1);
    world_turn(w, 1);
}

static void a_child_runs_again_in_its_flow_or_apart(void **state) { /* P-87 */
    struct world *w = *state;
    struct core_child three[] = {child(), child(), then()};
    world_add_worker(w, WORKER, 8);
    uint64_t id = submit_with(w, (struct msg_submit){0}, three, 3);
    end(w, id + 1, OUTCOME_REJECTED);
    retry(w, id); /* it runs */
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_NOT_FINISHED);
    end(w, id, OUTCOME_REJECTED);
    retry(w, id); /* those below it do */
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_NOT_FINISHED);
    retry(w, id + 1);
    assert_int_equal(info(w, id)->below_dead, 0);
    end(w, id + 2, OUTCOME_DONE);
    assert_int_equal(state_of(w, id + 3), JOB_blocked); /* it is waited for again */
    end(w, id + 1, OUTCOME_REJECTED);
    assert_int_equal(state_of(w, id + 3), JOB_running);
    retry(w, id + 1);
    assert_int_equal(info(w, id + 1)->parent, 0); /* too late */
    assert_int_equal(info(w, id)->below_dead, 1);
    end(w, id + 3, OUTCOME_DONE);
    assert_true(info(w, id)->settled);
    end(w, id + 1, OUTCOME_DONE);
}

/* ---- bounds ---------------------------------------------------------------------------------- */
static void flows_are_bounded(void **state) { /* P-89 */
    struct world *w = *state;
    struct core_config k = core_config_default();
    k.flow_jobs_max = 3;
    k.flow_depth_max = 2;
    core_reconfigure(w->core, &k);
    struct core_child four[] = {child(), child(), child(), child()};
    world_add_worker(w, WORKER, 8);
    submit_with(w, (struct msg_submit){0}, four, 4);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_TOO_LARGE);
    uint64_t id = submit_with(w, (struct msg_submit){0}, four, 1);
    end_with(w, id + 1, four, 1); /* id + 2, two deep */
    end_with(w, id + 2, four, 1);
    assert_int_equal(state_of(w, id + 2), JOB_dead);
    struct msg_submit none = {0};
    MSG_SET(&none, submit, durability, DURABLE_NONE);
    submit_with(w, none, four, 1);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BAD_VALUE);
    k.flows_max = 1;
    core_reconfigure(w->core, &k);
    submit_with(w, (struct msg_submit){0}, four, 1);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BUSY);
}

static void children_are_listed(void **state) { /* P-89 */
    struct world *w = *state;
    struct core_child two[] = {child(), child()};
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    world_submit(w, (struct msg_submit){0});
    struct msg_list_jobs m = {0};
    MSG_SET(&m, list_jobs, parent, id);
    uint32_t before = world_count(w, VERB_job_info);
    world_ask(w, 1, ROLE_OPERATOR, VERB_list_jobs, &m);
    assert_int_equal(world_count(w, VERB_job_info), before + 3); /* and the end of the list */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(children_come_with_a_result),
        CASE(a_result_is_taken_once),
        CASE(children_come_with_a_submission),
        CASE(one_bad_child_refuses_all),
        CASE(a_worker_spawns_what_its_kind_may),
        CASE(without_room_a_job_is_held),
        CASE(a_taken_unique_key_makes_no_child),
        CASE(spawn_counts_its_children),
        CASE(the_next_attempt_counts_anew),
        CASE(then_waits_for_all_below),
        CASE(a_second_then_is_passed_over),
        CASE(the_time_to_live_of_then_runs_from_its_turn),
        CASE(fail_fast_ends_the_flow),
        CASE(by_default_a_flow_goes_on),
        CASE(what_is_being_read_is_not_started_either),
        CASE(a_broken_child_is_a_failure),
        CASE(cancel_takes_all_below),
        CASE(cancel_says_how_many),
        CASE(why_names_the_flow),
        CASE(a_child_runs_again_in_its_flow_or_apart),
        CASE(flows_are_bounded),
        CASE(children_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Flows where something goes that others still name: jobs that are forgotten, names that make room,
 * keys that were never asked for, records that a restart finds in another order. */
#include "tests/unit/core_flows.h"

static void ask(struct world *w, enum verb verb, uint64_t job) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, job);
    world_ask(w, 1, ROLE_OPERATOR, verb, &m);
}

static const struct msg_job_info *info(struct world *w, uint64_t job) {
    ask(w, VERB_get_job, job);
    return &w->info;
}

static void keep_none(struct world *w) {
    w->config.done_jobs = w->config.dead_jobs = 0;
    core_reconfigure(w->core, &w->config);
}

/* ---- keys and names -------------------------------------------------------------------------- */
static void a_then_that_never_ran_leaves_its_key(void **state) { /* P-84 */
    struct world *w = *state;
    struct core_child two[] = {child(), child()};
    MSG_SET(&two[1].m, submit, then, true);
    MSG_SET(&two[1].m, submit, key, STR("x"));
    struct msg_submit holder = {0};
    MSG_SET(&holder, submit, key, STR("x"));
    world_submit_many(w, holder, 2);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    assert_int_equal(info(w, id + 2)->state, JOB_blocked);
    world_cancel(w, id); /* how many wait for the key is checked at the end of the turn */
    world_turn(w, 1);
    assert_int_equal(info(w, id + 2)->state, JOB_cancelled);
    assert_int_equal(world_stats(w).keys, 1);
}

/* There are three places for queues: one child's must not become that of another. */
static void children_hold_the_names_that_they_take(void **state) {
    struct world *w = *state;
    static const char *const queues[] = {"a", "b", "c"};
    struct core_child three[] = {child(), child(), child()};
    for (int k = 0; k < 3; k++)
        MSG_SET(&three[k].m, submit, queue, str_of(queues[k]));
    w->config.queues_max = 3;
    core_reconfigure(w->core, &w->config);
    submit_with(w, (struct msg_submit){0}, three, 3);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BUSY);
    uint64_t id = submit_with(w, (struct msg_submit){0}, three, 2);
    assert_int_equal(world_last(w, VERB_submitted).code, 0);
    struct msg_queue_ref m = {0};
    MSG_SET(&m, queue_ref, queue, STR("a"));
    world_ask(w, 1, ROLE_OPERATOR, VERB_purge_queue, &m);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_outcome).count, 1);
    assert_int_equal(info(w, id + 1)->state, JOB_cancelled);
    assert_int_equal(info(w, id + 2)->state, JOB_ready);
}

static void without_unique_keys_their_bound_is_no_bound(void **state) {
    struct world *w = *state;
    struct core_child one[] = {child()};
    w->config.windows_max = 0;
    core_reconfigure(w->core, &w->config);
    submit_with(w, (struct msg_submit){0}, one, 1);
    assert_int_equal(world_last(w, VERB_submitted).code, 0);
    MSG_SET(&one[0].m, submit, unique, STR("u"));
    submit_with(w, (struct msg_submit){0}, one, 1);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BUSY);
}

/* All that come together: one by one each of them would be let in. */
static void new_intervals_of_children_are_counted_together(void **state) { /* P-36 */
    struct world *w = *state;
    static const char *const keys[] = {"a", "b", "c"};
    struct core_child three[] = {child(), child(), child()};
    for (int k = 0; k < 3; k++) {
        MSG_SET(&three[k].m, submit, key, str_of(keys[k]));
        MSG_SET(&three[k].m, submit, interval_ms, 60000);
    }
    w->config.interval_keys_max = 2;
    core_reconfigure(w->core, &w->config);
    submit_with(w, (struct msg_submit){0}, three, 3);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BUSY);
    assert_int_equal(world_stats(w).interval_keys, 0);
    submit_with(w, (struct msg_submit){0}, three, 2);
    assert_int_equal(world_last(w, VERB_submitted).code, 0);
    MSG_SET(&three[2].m, submit, key, STR("a")); /* is there */
    submit_with(w, (struct msg_submit){0}, three, 3);
    assert_int_equal(world_last(w, VERB_submitted).code, 0);
    assert_int_equal(world_stats(w).interval_keys, 2);
}

/* What is one for the journal must fit into one of its files, here small ones. */
static void children_and_their_parent_fit_together(void **state) { /* P-81 */
    enum { FILE_BYTES = 1 << 20, HALF = 450 << 10, MORE = 600 << 10 };
    static char bytes[MORE];
    struct world *w = *state;
    struct msg_submit m = {0};
    struct core_child one = child();
    MSG_SET(&m, submit, kind, STR("k"));
    MSG_SET(&m, submit, children, 1);
    w->config.group_max = FILE_BYTES;
    world_restart(w);
    const struct {
        size_t of_parent, of_child;
        uint64_t code;
    } rows[] = {{MORE, HALF, ERR_TOO_LARGE}, {HALF, HALF, 0}, {MORE, 1000, 0}};
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        one.payload = str_make(bytes, rows[n].of_child);
        world_begin(w, 1);
        assert_true(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, ++w->sequence));
        core_children(w->core, &one, 1);
        core_item(w->core, &m, str_make(bytes, rows[n].of_parent), NULL);
        core_request_end(w->core);
        world_end(w);
        world_turn(w, 1);
        assert_int_equal(world_last(w, VERB_submitted).code, rows[n].code);
    }
}

/* ---- a flow that ends ------------------------------------------------------------------------ */
/* What is spawned into it is cancelled soon, however many other jobs there are. */
static void what_comes_late_is_found_at_once(void **state) { /* P-85 */
    enum { OTHERS = 100000 };
    struct world *w = *state;
    struct msg_submit fast = {0}, other = {0};
    struct core_child one[] = {child()};
    MSG_SET(&other, submit, delay_ms, 3600000);
    MSG_SET(&fast, submit, fail_fast, true);
    world_begin(w, 1);
    for (int n = 0; n < OTHERS; n++)
        world_offer(w, other);
    world_end(w);
    world_add_worker(w, WORKER, 2);
    uint64_t id = submit_with(w, fast, one, 1), fence = given(w, id).fence;
    end(w, id + 1, OUTCOME_REJECTED);
    for (int n = 0; n < OTHERS / 4096 + 2; n++) /* all are looked at once */
        world_turn(w, 0);
    struct core_child late = child();
    MSG_SET(&late.m, submit, parent, id);
    MSG_SET(&late.m, submit, fence, fence);
    MSG_SET(&late.m, submit, index, 0);
    MSG_SET(&late.m, submit, delay_ms, 1000);
    world_ask(w, WORKER, ROLE_WORKER, VERB_spawn, &late.m);
    assert_int_equal(world_last(w, VERB_spawned).code, 0);
    uint64_t child_id = id + 2;
    assert_int_equal(info(w, child_id)->parent, id);
    world_turn(w, 0);
    world_turn(w, 0);
    assert_int_equal(info(w, child_id)->state, JOB_cancelled);
    assert_int_equal(info(w, id)->state, JOB_running);
}

/* ---- who watches ----------------------------------------------------------------------------- */
static void of_a_job_that_is_forgotten_at_once_it_is_told(void **state) { /* P-88 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    struct msg_submit none = {0};
    MSG_SET(&none, submit, durability, DURABLE_NONE);
    uint64_t id = world_submit(w, none);
    ask(w, VERB_watch_flow, id);
    assert_false(w->flow.settled);
    end(w, id, OUTCOME_DONE);
    assert_true(w->flow.settled);
    keep_none(w);
    struct core_child one[] = {child()};
    id = submit_with(w, (struct msg_submit){0}, one, 1);
    ask(w, VERB_watch_flow, id);
    end(w, id, OUTCOME_DONE);
    assert_false(w->flow.settled);
    end(w, id + 1, OUTCOME_REJECTED);
    world_turn(w, 200);
    assert_true(w->flow.settled);
    assert_int_equal(w->flow.dead, 1);
    assert_int_equal(world_stats(w).flows, 0);
    assert_int_equal(world_stats(w).watches, 0);
}

static void to_have_watched_costs_nothing(void **state) { /* P-88 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    ask(w, VERB_watch_flow, id);
    assert_int_equal(world_stats(w).flows, 1);
    end(w, id, OUTCOME_DONE);
    world_turn(w, 200);
    assert_true(w->flow.settled);
    assert_int_equal(world_stats(w).flows, 0);
    ask(w, VERB_watch_flow, id);
    assert_true(w->flow.settled);
    assert_int_equal(world_stats(w).flows, 0);
}

/* ---- past retention -------------------------------------------------------------------------- */
static void a_flow_is_cancelled_when_its_job_is_forgotten(void **state) { /* P-86 */
    struct world *w = *state;
    struct core_child two[] = {child(), child()};
    world_add_worker(w, WORKER, 8);
    keep_none(w);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    end(w, id, OUTCOME_DONE);
    assert_int_equal(info(w, id)->code, ERR_NOT_FOUND);
    world_cancel(w, id);
    struct seen said = world_last(w, VERB_outcome);
    assert_int_equal(said.code, 0);
    assert_true(said.flow);
    assert_int_equal(said.count, 2);
    assert_int_equal(world_count(w, VERB_cancel_attempt), 2);
    end(w, id + 1, OUTCOME_CANCELLED);
    end(w, id + 2, OUTCOME_CANCELLED);
    world_cancel(w, id);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_NOT_FOUND);
}

/* ---- after a restart ------------------------------------------------------------------------- */
/* It runs from its turn, no longer and no shorter than before. */
static void the_time_to_live_of_then_survives(void **state) { /* P-84 */
    struct world *w = *state;
    w->journaled = true;
    struct core_child two[] = {child(), child()};
    MSG_SET(&two[1].m, submit, then, true);
    MSG_SET(&two[1].m, submit, ttl_ms, 200);
    uint64_t id = submit_with(w, (struct msg_submit){0}, two, 2);
    world_turn(w, 500);
    world_restart(w);
    world_turn(w, 500);
    world_add_worker(w, WORKER, 2);
    world_cancel(w, id + 1);
    end(w, id + 1, OUTCOME_CANCELLED);
    struct msg_submit first = {0};
    MSG_SET(&first, submit, priority, 9);
    world_submit(w, first); /* takes one place, */
    world_submit(w, first); /* and this one the other */
    end(w, id, OUTCOME_DONE);
    world_turn(w, 150);
    assert_int_equal(info(w, id + 2)->state, JOB_ready);
    world_turn(w, 100);
    assert_int_equal(info(w, id + 2)->state, JOB_expired);
}

/* A life that begins with these records. */
static uint64_t at = 1000;

static void tell(struct world *w, const struct record *r) {
    w->records++;
    core_replay(w->core, at += 100, 100, r);
}

static void tell_job(struct world *w, uint64_t id, uint64_t parent, uint64_t state, bool apart) {
    struct msg_rec_spec spec = {0};
    struct msg_rec_state m = {0};
    MSG_SET(&spec, rec_spec, kind, STR("k"));
    MSG_SET(&spec, rec_spec, queue, STR("k"));
    MSG_SET(&spec, rec_spec, tenant, STR("default"));
    MSG_SET(&spec, rec_spec, created_ms, w->wall);
    if (parent)
        MSG_SET(&spec, rec_spec, parent, parent);
    MSG_SET(&m, rec_state, id, id);
    MSG_SET(&m, rec_state, version, 3);
    MSG_SET(&m, rec_state, state, state);
    MSG_SET(&m, rec_state, fence, 1);
    if (apart)
        MSG_SET(&m, rec_state, apart, true);
    if (job_state_terminal(state))
        MSG_SET(&m, rec_state, ended_ms, w->wall);
    tell(w, &(struct record){.type = REC_JOB, .state = &m, .spec = &spec});
}

/* `ended` of `own` children are done. */
static void tell_flow(struct world *w, uint64_t id, uint64_t version, uint64_t parent, uint64_t own,
                      uint64_t ended) {
    struct msg_rec_flow m = {0};
    MSG_SET(&m, rec_flow, id, id);
    MSG_SET(&m, rec_flow, version, version);
    if (parent)
        MSG_SET(&m, rec_flow, parent, parent);
    MSG_SET(&m, rec_flow, own, own);
    MSG_SET(&m, rec_flow, done, ended);
    MSG_SET(&m, rec_flow, closed, ended);
    MSG_SET(&m, rec_flow, end, (uint64_t)JOB_done);
    MSG_SET(&m, rec_flow, settled, own == ended);
    tell(w, &(struct record){.type = REC_FLOW, .other = &m});
}

static void begin_life(struct world *w) {
    core_destroy(&w->core);
    world_new(w);
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, STR("k"));
    core_begin(w->core, (struct mono){w->now}, (struct wall){w->wall});
    world_set_kind(w, kind);
    w->records = 0;
}

static void open_life(struct world *w) {
    w->pos = at + 100;
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    world_turn(w, 1);
    world_begin(w, 1);
    world_hello(w, 1, ROLE_OPERATOR, 0);
    world_end(w);
}

#define ID(n) ((1ULL << 34) + (n))

/* Job 2 was a child of 1, ran again apart, and is forgotten; what it has begun then goes on. Its
 * flow's older record is still there and names 1. */
static void an_older_record_joins_nothing(void **state) { /* P-87 */
    struct world *w = *state;
    begin_life(w);
    tell_job(w, ID(1), 0, JOB_done, false);
    tell_flow(w, ID(1), 5, 0, 1, 1);
    tell_flow(w, ID(2), 2, ID(1), 1, 1);
    tell_flow(w, ID(2), 4, 0, 2, 1);
    tell_job(w, ID(3), ID(2), JOB_ready, false);
    open_life(w);
    assert_int_equal(info(w, ID(1))->below, 1);
    world_add_worker(w, WORKER, 1);
    end(w, ID(3), OUTCOME_DONE);
    assert_true(info(w, ID(1))->settled);
    assert_int_equal(w->info.below, 1);
}

/* A child's record may come first: cleaning has moved its parent's behind it. */
static void counts_stay_whatever_comes_first(void **state) { /* P-89 */
    struct world *w = *state;
    begin_life(w);
    tell_job(w, ID(2), ID(1), JOB_done, true);
    tell_flow(w, ID(1), 5, 0, 1, 1);
    tell_job(w, ID(1), 0, JOB_done, false);
    open_life(w);
    assert_int_equal(info(w, ID(1))->below, 1);
    assert_int_equal(w->info.below_done, 1);
}

/* 2 was a child of 1; both are forgotten, and only the records of 2 and its child are still found.
 */
static void what_was_forgotten_above_is_not_made_again(void **state) {
    struct world *w = *state;
    begin_life(w);
    tell_flow(w, ID(2), 4, ID(1), 1, 1);
    tell_job(w, ID(3), ID(2), JOB_done, false);
    open_life(w);
    assert_int_equal(world_stats(w).flows, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_then_that_never_ran_leaves_its_key),
        CASE(children_hold_the_names_that_they_take),
        CASE(without_unique_keys_their_bound_is_no_bound),
        CASE(new_intervals_of_children_are_counted_together),
        CASE(children_and_their_parent_fit_together),
        CASE(what_comes_late_is_found_at_once),
        CASE(of_a_job_that_is_forgotten_at_once_it_is_told),
        CASE(to_have_watched_costs_nothing),
        CASE(a_flow_is_cancelled_when_its_job_is_forgotten),
        CASE(the_time_to_live_of_then_survives),
        CASE(an_older_record_joins_nothing),
        CASE(counts_stay_whatever_comes_first),
        CASE(what_was_forgotten_above_is_not_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

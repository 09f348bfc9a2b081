/* How an attempt that streams ends: its result waits until all that it wrote has arrived, and the
 * end says how far the stream went. */
#include "common/base/mem.h"
#include "tests/unit/core_world.h"

#define WORKER 9

static int set_up(void **state) {
    int rc = world_set_up(state);
    struct world *w = *state;
    w->journaled = true;
    struct msg_kind_info k = {0};
    MSG_SET(&k, kind_info, kind, STR("k"));
    MSG_SET(&k, kind_info, streams, true);
    world_set_kind(w, k);
    world_add_worker(w, WORKER, 2);
    return rc;
}

/* ---- doing ----------------------------------------------------------------------------------- */
/* One that runs, and is watched. */
static struct seen running_for(struct world *w, uint64_t timeout_ms) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, watch, true);
    MSG_SET(&m, submit, timeout_ms, timeout_ms);
    world_submit(w, m);
    return world_last(w, VERB_dispatch);
}

static struct seen running(struct world *w) {
    return running_for(w, 60000);
}

static void report(struct world *w, struct seen d, uint64_t outcome, uint64_t seq) {
    char result[] = "\x81\xa1r\x01", text[] = "said so"; /* borrowed for the call only */
    struct msg_result m = {0};
    MSG_SET(&m, result, job, d.job);
    MSG_SET(&m, result, fence, d.fence);
    MSG_SET(&m, result, outcome, outcome);
    MSG_SET(&m, result, epoch, d.fence + 2);
    MSG_SET(&m, result, seq, seq);
    if (outcome != OUTCOME_DONE) {
        MSG_SET(&m, result, error, ERR_INTERNAL);
        MSG_SET(&m, result, text, str_of(text));
    }
    assert_true(core_request(w->core, WORKER, ROLE_WORKER, VERB_result, 0));
    core_item(w->core, &m, outcome == OUTCOME_DONE ? str_of(result) : STR(""), NULL);
    core_request_end(w->core);
    memset(result, 'X', sizeof result);
    memset(text, 'X', sizeof text);
}

static void report_turn(struct world *w, struct seen d, uint64_t outcome, uint64_t seq) {
    world_begin(w, 1);
    report(w, d, outcome, seq);
    world_end(w);
}

/* One that has run, whose stream has not arrived. */
static struct seen reported(struct world *w, uint64_t outcome, uint64_t seq) {
    struct seen d = running(w);
    report_turn(w, d, outcome, seq);
    return d;
}

static void whole(struct world *w, uint64_t job, uint64_t fence) {
    world_begin(w, 1);
    core_stream_whole(w->core, job, fence);
    world_end(w);
    world_turn(w, 1);
}

/* One that failed behind seven events, all of which have arrived. */
static struct seen failed_whole(struct world *w) {
    struct seen d = reported(w, OUTCOME_FAILED, 7);
    whole(w, d.job, d.fence);
    return d;
}

static void hello(struct world *w, uint64_t *running, size_t n_running, uint64_t *unacked,
                  size_t n_unacked) {
    struct str kinds[] = {STR("k")};
    uint64_t instance[2] = {WORKER, WORKER};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)ROLE_WORKER);
    MSG_SET(&m, hello, instance, str_make(instance, 16));
    MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 1}));
    MSG_SET(&m, hello, slots, 2);
    MSG_SET(&m, hello, running, ((struct uint_list){running, n_running}));
    MSG_SET(&m, hello, unacked, ((struct uint_list){unacked, n_unacked}));
    world_ask(w, WORKER, ROLE_WORKER, VERB_hello, &m);
    world_turn(w, 1);
}

static void pass(struct world *w, uint64_t ms, uint64_t held) {
    while (ms) {
        uint64_t now = ms < 500 ? ms : 500;
        world_begin(w, now);
        core_durable(w->core, w->pos);
        struct msg_heartbeat m = {0};
        MSG_SET(&m, heartbeat, epoch, core_epoch(w->core));
        MSG_SET(&m, heartbeat, held, held);
        world_say(w, WORKER, ROLE_WORKER, VERB_heartbeat, &m);
        world_end(w);
        ms -= now;
    }
}

static const struct msg_rec_state *newest(const struct world *w, uint64_t job) {
    const struct msg_rec_state *found = NULL;
    for (uint32_t k = 0; k < w->n_journal; k++)
        if (w->journal[k].state.id == job)
            found = &w->journal[k].state;
    return found;
}

/* The last end that was told is that of this attempt's stream. */
static void assert_ended_at(const struct world *w, struct seen d, uint64_t seq) {
    assert_int_equal(world_last(w, VERB_finished).epoch, d.fence + 2);
    assert_int_equal(world_last(w, VERB_finished).seq, seq);
}

/* ---- waiting --------------------------------------------------------------------------------- */
/* P-75 */
static void a_result_waits_for_its_stream(void **state) {
    struct world *w = *state;
    struct seen d = running(w);
    uint32_t records = w->n_journal;
    report_turn(w, d, OUTCOME_DONE, 42);
    world_turn(w, 1);
    struct stream_order o = w->orders[w->n_orders - 1];
    assert_int_equal(o.what, STREAM_CLOSE);
    assert_int_equal(o.job, d.job);
    assert_int_equal(o.fence, d.fence);
    assert_int_equal(o.epoch, d.fence + 2);
    assert_int_equal(o.seq, 42);
    assert_int_equal(w->n_journal, records);
    assert_int_equal(world_count(w, VERB_result_ack), 0);
    assert_int_equal(world_count(w, VERB_finished), 0);
    /* Of something else, or of another attempt: not this. */
    whole(w, d.job + 1, d.fence);
    whole(w, d.job, d.fence + 1);
    assert_int_equal(world_count(w, VERB_finished), 0);
    whole(w, d.job, d.fence);
    struct seen f = world_last(w, VERB_finished), a = world_last(w, VERB_result_ack);
    assert_int_equal(f.state, JOB_done);
    assert_int_equal(f.epoch, d.fence + 2);
    assert_int_equal(f.seq, 42);
    assert_string_equal(w->result, "\x81\xa1r\x01");
    assert_int_equal(a.job, d.job);
    assert_int_equal(a.fence, d.fence);
    assert_true(a.after);
    assert_int_equal(newest(w, d.job)->stream_epoch, d.fence + 2);
    assert_int_equal(newest(w, d.job)->stream_seq, 42);
    assert_int_equal(w->orders[w->n_orders - 1].what, STREAM_END);
    whole(w, d.job, d.fence); /* late */
    assert_int_equal(world_count(w, VERB_finished), 1);
    assert_int_equal(w->events[EVENT_stream_incomplete], 0);
}

/* Nothing was written: there is nothing to wait for. */
static void a_result_without_a_stream_is_taken_at_once(void **state) {
    struct world *w = *state;
    struct seen d = running(w);
    world_report(w, WORKER, d.job, d.fence, OUTCOME_DONE);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_done);
    assert_int_equal(world_last(w, VERB_finished).epoch, 0);
    assert_int_equal(orders_count(w, STREAM_CLOSE), 0);
    assert_int_equal(newest(w, d.job)->stream_epoch, 0);
}

/* A worker of a kind that does not stream cannot make its result wait. */
static void a_position_without_a_stream_is_nothing(void **state) {
    struct world *w = *state;
    struct msg_kind_info k = {0};
    MSG_SET(&k, kind_info, kind, STR("k"));
    world_set_kind(w, k);
    struct seen d = running(w);
    report_turn(w, d, OUTCOME_DONE, 1);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_done);
    assert_int_equal(orders_count(w, STREAM_CLOSE), 0);
}

/* P-75: a worker that lives and whose stream does not come must not hold the job for ever. */
static void a_result_does_not_wait_for_ever(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_DONE, 42);
    pass(w, w->config.kill_grace_ms - 500, 1);
    assert_int_equal(world_count(w, VERB_finished), 0);
    report_turn(w, d, OUTCOME_DONE, 42); /* does not begin the wait anew */
    pass(w, 1000, 1);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_done);
    assert_int_equal(world_count(w, VERB_result_ack), 1);
    assert_int_equal(w->events[EVENT_stream_incomplete], 1);
}

/* P-49: the worker offers it again; the relay is asked again, and one result is taken. */
static void a_repeated_result_is_the_same(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_DONE, 42);
    report_turn(w, d, OUTCOME_DONE, 42);
    assert_int_equal(orders_count(w, STREAM_CLOSE), 2);
    whole(w, d.job, d.fence);
    assert_int_equal(world_count(w, VERB_finished), 1);
    assert_int_equal(world_count(w, VERB_result_ack), 1);
    report_turn(w, d, OUTCOME_DONE, 42); /* P-50 */
    assert_int_equal(orders_count(w, STREAM_CLOSE), 2);
    assert_int_equal(world_count(w, VERB_result_ack), 2);
}

/* ---- meanwhile ------------------------------------------------------------------------------- */
static void the_worker_is_lost_meanwhile(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_DONE, 42);
    world_ask(w, WORKER, ROLE_WORKER, VERB_bye, &(struct msg_bye){0});
    whole(w, d.job, d.fence); /* of what is forgotten */
    assert_int_equal(world_count(w, VERB_finished), 0);
    assert_int_equal(world_count(w, VERB_result_ack), 0);
    world_add_worker(w, WORKER, 2);
    world_turn(w, 1);
    struct seen again = world_last(w, VERB_dispatch);
    assert_int_equal(again.job, d.job);
    assert_true(again.fence > d.fence + 255);
    whole(w, d.job, again.fence); /* it has reported nothing */
    assert_int_equal(world_count(w, VERB_finished), 0);
    pass(w, w->config.kill_grace_ms + 1000, 1);
    assert_int_equal(world_count(w, VERB_finished), 0);
    /* P-51 */
    report_turn(w, d, OUTCOME_DONE, 42);
    assert_int_equal(world_last(w, VERB_lost).fence, d.fence);
    /* The next attempt wrote nothing: nothing of the last one's is told. */
    world_report(w, WORKER, d.job, again.fence, OUTCOME_DONE);
    assert_int_equal(world_last(w, VERB_finished).epoch, 0);
}

/* P-40; it has stopped already, so it is not told to (P-52), and is not taken for deaf (P-53). */
static void it_is_cancelled_meanwhile(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_DONE, 42);
    world_cancel(w, d.job);
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
    pass(w, w->config.cancel_grace_ms + 1000, 1);
    assert_int_equal(world_count(w, VERB_cancel_attempt), 0);
    assert_int_equal(world_count(w, VERB_recall), 0);
    struct seen other = running(w); /* the worker still gets jobs */
    assert_int_not_equal(other.job, d.job);
    whole(w, d.job, d.fence);
    struct seen f = world_last(w, VERB_finished);
    assert_int_equal(f.state, JOB_cancelled);
    assert_int_equal(f.seq, 42);
    assert_string_equal(w->result, "\x81\xa1r\x01");
}

/* It was told to stop and did: from its report on nothing is held against its worker. */
static void it_was_cancelled_before(void **state) {
    struct world *w = *state;
    struct seen d = running(w);
    world_cancel(w, d.job);
    assert_int_equal(world_count(w, VERB_cancel_attempt), 1);
    report_turn(w, d, OUTCOME_CANCELLED, 42);
    pass(w, w->config.cancel_grace_ms + 1000, 1);
    assert_int_equal(world_count(w, VERB_cancel_attempt), 1);
    running(w);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    whole(w, d.job, d.fence);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_cancelled);
}

/* P-53: it obeyed after all, before its supervisor was asked to end it. */
static void a_late_report_is_obedience(void **state) {
    struct world *w = *state;
    struct seen d = running(w);
    running(w);
    world_cancel(w, d.job);
    pass(w, w->config.cancel_grace_ms + 500, 2);
    report_turn(w, d, OUTCOME_CANCELLED, 42);
    pass(w, 1000, 2);
    whole(w, d.job, d.fence);
    assert_int_equal(world_last(w, VERB_finished).job, d.job);
    world_submit(w, (struct msg_submit){0});
    assert_int_equal(world_count(w, VERB_dispatch), 3);
}

/* P-47: its time is over when it reports. */
static void it_does_not_time_out_meanwhile(void **state) {
    struct world *w = *state;
    struct seen d = running_for(w, 1000);
    report_turn(w, d, OUTCOME_CANCELLED, 42); /* unasked: at no cost */
    pass(w, 3000, 1);
    assert_int_equal(world_count(w, VERB_cancel_attempt), 0);
    whole(w, d.job, d.fence);
    struct seen again = world_last(w, VERB_dispatch);
    assert_int_equal(again.job, d.job);
    assert_int_equal(newest(w, d.job)->attempts, 0);
    report_turn(w, again, OUTCOME_DONE, 42);
    pass(w, 3000, 1);
    whole(w, d.job, again.fence);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_done);
}

static void the_journal_fails_meanwhile(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_DONE, 42);
    struct err e = {0};
    err_set(&e, ERR_READ_ONLY, "the disk is gone");
    world_begin(w, 1);
    core_write_failed(w->core, &e);
    world_end(w);
    uint32_t records = w->records;
    world_begin(w, 1);
    core_stream_whole(w->core, d.job, d.fence);
    world_end(w);
    for (int k = 0; k < 40; k++) {
        world_begin(w, 500);
        struct msg_heartbeat m = {0};
        MSG_SET(&m, heartbeat, epoch, core_epoch(w->core));
        MSG_SET(&m, heartbeat, held, 1);
        world_say(w, WORKER, ROLE_WORKER, VERB_heartbeat, &m);
        world_end(w);
    }
    assert_int_equal(w->records, records);
    assert_true(core_next(w->core).ms > w->now);
    assert_int_equal(world_count(w, VERB_result_ack), 0);
    assert_int_equal(world_count(w, VERB_finished), 0);
    assert_int_equal(world_count(w, VERB_cancel_attempt), 0);
}

/* ---- the next attempt ------------------------------------------------------------------------ */
static void a_failure_waits_as_well(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_FAILED, 7);
    assert_int_equal(world_count(w, VERB_result_ack), 0);
    whole(w, d.job, d.fence);
    assert_int_equal(world_count(w, VERB_result_ack), 1);
    assert_int_equal(newest(w, d.job)->state, JOB_scheduled);
    assert_int_equal(newest(w, d.job)->stream_seq, 7);
    assert_memory_equal(newest(w, d.job)->text.at, "said so", 7);
    assert_int_equal(orders_count(w, STREAM_END), 0);
    pass(w, 1000, 0);
    struct seen again = world_last(w, VERB_dispatch);
    assert_true(again.fence > d.fence + 255);
    assert_int_equal(orders_count(w, STREAM_OPEN), 2);
    report_turn(w, again, OUTCOME_REJECTED, 9);
    whole(w, d.job, again.fence);
    struct seen f = world_last(w, VERB_finished);
    assert_int_equal(f.state, JOB_dead);
    assert_int_equal(f.epoch, again.fence + 2);
    assert_int_equal(f.seq, 9);
}

/* What is cancelled while it waits for its next attempt ends where its last one ended. */
static void an_end_in_line_tells_the_last_position(void **state) {
    struct world *w = *state;
    struct seen d = failed_whole(w);
    world_cancel(w, d.job);
    assert_ended_at(w, d, 7);
}

/* Also in the broker's next life; but not where another attempt has begun since, and was lost. */
static void an_end_after_a_restart_tells_it_too(void **state) {
    struct world *w = *state;
    struct seen d = failed_whole(w);
    for (int life = 0; life < 2; life++) {
        world_restart(w);
        world_watch(w, 1, ROLE_OPERATOR, d.job);
        if (life == 0) {
            world_add_worker(w, WORKER, 1);
            pass(w, 1000, 1);
            assert_int_equal(newest(w, d.job)->state, JOB_running);
            w->n_journal -= 1; /* as if nothing of this life was there */
        }
    }
    world_cancel(w, d.job);
    assert_ended_at(w, d, 7);
}

static void an_attempt_that_is_lost_voids_the_last(void **state) {
    struct world *w = *state;
    struct seen d = failed_whole(w);
    pass(w, 1000, 0);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    assert_int_equal(newest(w, d.job)->stream_epoch, 0);
    world_restart(w);
    struct msg_cancel_job m = {0};
    MSG_SET(&m, cancel_job, id, d.job);
    struct msg_get_job g = {0};
    MSG_SET(&g, get_job, id, d.job);
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_watch_job, &g);
    world_say(w, 1, ROLE_OPERATOR, VERB_cancel_job, &m);
    world_end(w);
    for (int k = 0; k < 60; k++) /* nobody adopts it */
        world_turn(w, 500);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_cancelled);
    assert_int_equal(world_last(w, VERB_finished).epoch, 0);
}

/* ---- restart --------------------------------------------------------------------------------- */
static void the_journal_knows_the_position(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_DONE, 42);
    whole(w, d.job, d.fence);
    world_restart(w);
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, d.job);
    uint32_t before = world_count(w, VERB_finished);
    world_ask(w, 1, ROLE_OPERATOR, VERB_watch_job, &m);
    assert_int_equal(world_count(w, VERB_finished), before + 1);
    assert_ended_at(w, d, 42);
}

/* The relay has nothing of it: it is told that there may be something. */
static void an_adopted_attempt_is_opened_as_heard(void **state) {
    struct world *w = *state;
    struct seen d = running(w);
    world_restart(w);
    uint32_t orders = w->n_orders;
    hello(w, (uint64_t[]){d.job, d.fence}, 2, NULL, 0);
    assert_int_equal(w->n_orders, orders + 1);
    struct stream_order o = w->orders[orders];
    assert_int_equal(o.what, STREAM_OPEN);
    assert_int_equal(o.fence, d.fence);
    assert_int_equal(o.token, ~d.fence);
    assert_true(o.heard);
    /* The same worker once more: it is open. */
    hello(w, (uint64_t[]){d.job, d.fence}, 2, NULL, 0);
    assert_int_equal(w->n_orders, orders + 1);
    report_turn(w, d, OUTCOME_DONE, 42);
    whole(w, d.job, d.fence);
    assert_int_equal(newest(w, d.job)->stream_seq, 42);
    assert_int_equal(newest(w, d.job)->state, JOB_done);
}

/* Its result was held when the broker ended. */
static void a_held_result_is_offered_to_the_next_life(void **state) {
    struct world *w = *state;
    struct seen d = reported(w, OUTCOME_DONE, 42);
    world_restart(w);
    hello(w, NULL, 0, (uint64_t[]){d.job, d.fence}, 2);
    assert_true(w->orders[w->n_orders - 1].heard);
    report_turn(w, d, OUTCOME_DONE, 42);
    assert_int_equal(w->orders[w->n_orders - 1].what, STREAM_CLOSE);
    whole(w, d.job, d.fence);
    assert_int_equal(newest(w, d.job)->state, JOB_done);
    assert_int_equal(newest(w, d.job)->stream_epoch, d.fence + 2);
}

/* P-57: the record of its dispatch was lost with the last life, it was not. */
static void an_unrecorded_attempt_is_opened_as_heard(void **state) {
    struct world *w = *state;
    struct seen d = running(w);
    w->n_journal--;
    assert_int_equal(newest(w, d.job)->fence, 0);
    world_restart(w);
    hello(w, (uint64_t[]){d.job, d.fence}, 2, NULL, 0);
    struct stream_order o = w->orders[w->n_orders - 1];
    assert_int_equal(o.what, STREAM_OPEN);
    assert_int_equal(o.fence, d.fence);
    assert_true(o.heard);
}

int main(void) {
#define RESULT(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        RESULT(a_result_waits_for_its_stream),
        RESULT(a_result_without_a_stream_is_taken_at_once),
        RESULT(a_position_without_a_stream_is_nothing),
        RESULT(a_result_does_not_wait_for_ever),
        RESULT(a_repeated_result_is_the_same),
        RESULT(the_worker_is_lost_meanwhile),
        RESULT(it_is_cancelled_meanwhile),
        RESULT(it_was_cancelled_before),
        RESULT(a_late_report_is_obedience),
        RESULT(it_does_not_time_out_meanwhile),
        RESULT(the_journal_fails_meanwhile),
        RESULT(a_failure_waits_as_well),
        RESULT(an_end_in_line_tells_the_last_position),
        RESULT(an_end_after_a_restart_tells_it_too),
        RESULT(an_attempt_that_is_lost_voids_the_last),
        RESULT(the_journal_knows_the_position),
        RESULT(an_adopted_attempt_is_opened_as_heard),
        RESULT(a_held_result_is_offered_to_the_next_life),
        RESULT(an_unrecorded_attempt_is_opened_as_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

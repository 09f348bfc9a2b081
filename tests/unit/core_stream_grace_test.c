/* Until when somebody listens: DETACH, BYE, silence; and what becomes of a job that must be
 * listened to (P-79). */
#include "common/base/mem.h"
#include "tests/unit/core_listen.h"

/* ---- silence --------------------------------------------------------------------------------- */
static void who_is_silent_listens_to_nothing(void **state) { /* P-78 */
    struct world *w = *state;
    uint64_t id = world_submit(w, (struct msg_submit){0});
    listen_attach(w, (struct msg_attach){0}, id);
    listen_pass(w, listen_lease(w) * 2, true);
    assert_int_equal(orders_count(w, STREAM_DETACH), 0);
    listen_pass(w, listen_lease(w) - 1000, false);
    assert_int_equal(orders_count(w, STREAM_DETACH), 0);
    listen_pass(w, 2000, false);
    assert_int_equal(orders_count(w, STREAM_DETACH), 1);
    assert_int_equal(orders_last(w, STREAM_DETACH).to, topic_of_link(LISTENER));
    listen_pass(w, 2000, false);
    assert_int_equal(orders_count(w, STREAM_DETACH), 1);
    /* He may attach before he is told; then his next silence counts as well. */
    listen_attach(w, (struct msg_attach){0}, id);
    listen_pass(w, listen_lease(w) + 1000, false);
    assert_int_equal(orders_count(w, STREAM_DETACH), 2);
    uint32_t errors = world_count(w, VERB_error);
    listen_pass(w, 1, true);
    assert_int_equal(world_count(w, VERB_error), errors + 1);
    assert_int_equal(world_last(w, VERB_error).code, ERR_NO_HELLO);
    world_begin(w, 1);
    world_hello(w, LISTENER, ROLE_GATEWAY, 0);
    world_end(w);
    listen_pass(w, 1000, true);
    assert_int_equal(world_count(w, VERB_error), errors + 1);
    listen_end_job(w, id); /* he watches as before */
    assert_int_equal(world_last(w, VERB_finished).link, LISTENER);
}

static void a_watch_is_no_attachment(void **state) {
    struct world *w = *state;
    world_watch(w, LISTENER, ROLE_GATEWAY, world_submit(w, (struct msg_submit){0}));
    listen_pass(w, listen_lease(w) + 1000, false);
    listen_pass(w, 1, true);
    assert_int_equal(world_count(w, VERB_error), 0);
    assert_int_equal(w->n_orders, 0);
}

static void bye_ends_what_was_attached(void **state) { /* P-78 */
    struct world *w = *state;
    listen_attach(w, (struct msg_attach){0}, world_submit(w, (struct msg_submit){0}));
    world_ask(w, LISTENER, ROLE_GATEWAY, VERB_bye, &(struct msg_bye){0});
    assert_int_equal(orders_count(w, STREAM_DETACH), 1);
}

/* ---- grace ----------------------------------------------------------------------------------- */
static struct msg_submit with_grace(void) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, grace_ms, 20000);
    MSG_SET(&m, submit, watch, true);
    return m;
}

static bool ended(const struct world *w) {
    return world_count(w, VERB_finished) != 0;
}

static void nobody_listens_for_the_grace(void **state) { /* P-79 */
    struct world *w = *state;
    uint64_t id = world_submit(w, with_grace());
    listen_pass(w, 19900, true);
    assert_false(ended(w));
    listen_pass(w, 200, true);
    struct seen f = world_last(w, VERB_finished);
    assert_int_equal(f.job, id);
    assert_int_equal(f.state, JOB_cancelled);
    assert_int_equal(f.error, ERR_CANCELLED);
}

static void somebody_who_listens_is_enough(void **state) {
    struct world *w = *state;
    uint64_t id = world_submit(w, with_grace());
    listen_attach(w, (struct msg_attach){0}, id);
    listen_pass(w, 60000, true);
    assert_false(ended(w));
    listen_detach(w, id); /* from here on, anew */
    listen_pass(w, 19900, true);
    assert_false(ended(w));
    listen_attach(w, (struct msg_attach){0}, id);
    listen_pass(w, 60000, true);
    assert_false(ended(w));
    listen_pass(w, listen_lease(w) + 1000, false); /* silence is no listening */
    listen_pass(w, 19000, false);
    assert_false(ended(w));
    listen_pass(w, 2000, false);
    assert_true(ended(w));
}

/* Two listen, one leaves. */
static void the_last_one_counts(void **state) {
    struct world *w = *state;
    struct msg_submit m = with_grace();
    MSG_SET(&m, submit, attach, true);
    uint64_t id = world_submit(w, m);
    listen_attach(w, (struct msg_attach){0}, id);
    listen_detach(w, id);
    for (int k = 0; k < 120; k++) {
        world_begin(w, 500);
        listen_beat(w, 1, ROLE_OPERATOR);
        world_end(w);
    }
    assert_false(ended(w));
}

static void a_running_job_is_told_to_stop(void **state) {
    struct world *w = *state;
    world_add_worker(w, 9, 1);
    struct msg_submit m = with_grace();
    MSG_SET(&m, submit, timeout_ms, 600000);
    uint64_t id = world_submit(w, m);
    for (int k = 0; k < 41; k++) {
        world_begin(w, 500);
        struct msg_heartbeat b = {0};
        MSG_SET(&b, heartbeat, epoch, core_epoch(w->core));
        MSG_SET(&b, heartbeat, held, 1);
        world_say(w, 9, ROLE_WORKER, VERB_heartbeat, &b);
        world_end(w);
    }
    assert_int_equal(world_last(w, VERB_cancel_attempt).job, id);
    assert_false(ended(w));
    world_report(w, 9, id, world_last(w, VERB_dispatch).fence, OUTCOME_CANCELLED);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_cancelled);
}

static void a_restart_counts_the_grace_anew(void **state) { /* P-79 */
    struct world *w = *state;
    uint64_t id = world_submit(w, with_grace());
    listen_pass(w, 19000, true);
    world_restart(w);
    world_watch(w, 1, ROLE_OPERATOR, id);
    listen_pass(w, 19000, false);
    assert_false(ended(w));
    listen_pass(w, 2000, false);
    assert_int_equal(world_last(w, VERB_finished).state, JOB_cancelled);
}

/* What the journal tells of a stream is over: the relay is new as well. */
static void reading_the_journal_orders_nothing(void **state) {
    struct world *w = *state;
    listen_end_job(w, world_submit(w, with_grace()));
    world_submit(w, with_grace());
    uint32_t orders = w->n_orders;
    world_restart(w);
    assert_int_equal(w->n_orders, orders);
}

/* P-38 holds for what is run again as for what is new. */
static void a_retry_needs_room_as_a_submission_does(void **state) {
    struct world *w = *state;
    uint64_t id = world_submit(w, (struct msg_submit){0});
    listen_end_job(w, id);
    struct msg_retry_job m = {0};
    MSG_SET(&m, retry_job, id, id);
    core_set_room(w->core, CORE_RESERVE);
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &m);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_DISK_FULL);
    core_set_room(w->core, CORE_ROOM);
    struct core_config few = w->config;
    few.jobs_max = 1;
    core_reconfigure(w->core, &few);
    world_submit(w, (struct msg_submit){0});
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &m);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_BUSY);
}

static void a_retry_has_its_grace_again(void **state) { /* P-79 */
    struct world *w = *state;
    uint64_t id = world_submit(w, with_grace());
    listen_end_job(w, id);
    struct msg_retry_job m = {0};
    MSG_SET(&m, retry_job, id, id);
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &m);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
    world_watch(w, 1, ROLE_OPERATOR, id);
    uint32_t before = world_count(w, VERB_finished);
    listen_pass(w, 19000, true);
    assert_int_equal(world_count(w, VERB_finished), before);
    listen_pass(w, 2000, true);
    assert_int_equal(world_count(w, VERB_finished), before + 1);
}

/* A job without a stream may want to be listened to as well. */
static void grace_is_not_for_streams_alone(void **state) {
    struct world *w = *state;
    struct msg_submit m = with_grace();
    MSG_SET(&m, submit, kind, STR("plain"));
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_submit, &m);
    uint64_t id = world_last(w, VERB_submitted).id;
    world_end(w);
    world_turn(w, 1);
    listen_attach(w, (struct msg_attach){0}, id);
    listen_pass(w, 60000, true);
    assert_false(ended(w));
    listen_detach(w, id);
    listen_pass(w, 21000, true);
    assert_true(ended(w));
}

/* While the journal cannot be written nothing ends. */
static void read_only_cancels_nobody(void **state) {
    struct world *w = *state;
    world_submit(w, with_grace());
    struct err e = {0};
    err_set(&e, ERR_READ_ONLY, "the disk is gone");
    world_begin(w, 1);
    core_write_failed(w->core, &e);
    world_end(w);
    uint32_t records = w->records;
    listen_pass(w, 60000, true);
    assert_int_equal(w->records, records);
    assert_false(ended(w));
}

int main(void) {
#define STREAM(name) cmocka_unit_test_setup_teardown(name, listen_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        STREAM(who_is_silent_listens_to_nothing),
        STREAM(a_watch_is_no_attachment),
        STREAM(bye_ends_what_was_attached),
        STREAM(nobody_listens_for_the_grace),
        STREAM(somebody_who_listens_is_enough),
        STREAM(the_last_one_counts),
        STREAM(a_running_job_is_told_to_stop),
        STREAM(a_restart_counts_the_grace_anew),
        STREAM(reading_the_journal_orders_nothing),
        STREAM(a_retry_has_its_grace_again),
        STREAM(a_retry_needs_room_as_a_submission_does),
        STREAM(grace_is_not_for_streams_alone),
        STREAM(read_only_cancels_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Who listens to a stream: attached by SUBMIT or ATTACH, not before the job was acknowledged. */
#include "common/base/mem.h"
#include "tests/unit/core_listen.h"

static void set_speculative(struct world *w) {
    struct msg_kind_info k = w->kinds[0];
    MSG_SET(&k, kind_info, speculative, true);
    world_set_kind(w, k);
}

/* ---- attempts -------------------------------------------------------------------------------- */
/* P-72: the relay knows of an attempt before its worker does. */
static void an_attempt_is_opened_before_it_is_given(void **state) {
    struct world *w = *state;
    world_add_worker(w, 9, 2);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct seen first = world_last(w, VERB_dispatch);
    assert_int_equal(first.job, id);
    assert_int_equal(first.token, ~first.fence);
    assert_int_equal(first.orders, 1);
    assert_int_equal(w->orders[0].what, STREAM_OPEN);
    assert_int_equal(w->orders[0].job, id);
    assert_int_equal(w->orders[0].fence, first.fence);
    assert_int_equal(w->orders[0].token, first.token);
    assert_false(w->orders[0].heard);
    /* Its epochs are its own. */
    world_submit(w, (struct msg_submit){0});
    struct seen second = world_last(w, VERB_dispatch);
    assert_true(second.fence >= first.fence + 256);
    /* A job that goes back has a fence behind all of them. */
    struct msg_attempt_ref r = {0};
    MSG_SET(&r, attempt_ref, job, second.job);
    MSG_SET(&r, attempt_ref, fence, second.fence);
    world_ask(w, 9, ROLE_WORKER, VERB_returned, &r);
    world_turn(w, 1);
    assert_int_equal(world_count(w, VERB_dispatch), 3);
    assert_int_equal(world_last(w, VERB_dispatch).job, second.job);
    assert_true(world_last(w, VERB_dispatch).fence >= second.fence + 256);
    assert_int_equal(orders_count(w, STREAM_OPEN), 3);
}

static void a_kind_without_streams_has_no_token(void **state) {
    struct world *w = *state;
    struct msg_kind_info k = {0};
    MSG_SET(&k, kind_info, kind, STR("k"));
    world_set_kind(w, k);
    world_add_worker(w, 9, 1);
    world_submit(w, (struct msg_submit){0});
    assert_int_equal(world_count(w, VERB_dispatch), 1);
    assert_int_equal(world_last(w, VERB_dispatch).token, 0);
    assert_int_equal(w->n_orders, 0);
}

static void a_need_reaches_the_worker_of_that_fence(void **state) { /* P-74 */
    struct world *w = *state;
    world_add_worker(w, 9, 1);
    world_add_worker(w, 10, 1);
    uint64_t id = world_submit(w, (struct msg_submit){0});
    world_submit(w, (struct msg_submit){0});
    struct seen d = {0};
    for (uint32_t k = 0; k < w->n; k++)
        if (w->letters[k].verb == VERB_dispatch && w->letters[k].job == id)
            d = w->letters[k];
    world_begin(w, 1);
    core_stream_need(w->core, id, d.fence + 1, d.fence + 1, 4);
    core_stream_need(w->core, id + 100, d.fence, d.fence, 4);
    assert_int_equal(world_count(w, VERB_stream_need), 0);
    core_stream_need(w->core, id, d.fence, d.fence + 1, 4);
    struct seen need = world_last(w, VERB_stream_need);
    assert_int_equal(world_count(w, VERB_stream_need), 1);
    assert_int_equal(need.link, d.link);
    assert_int_equal(need.job, id);
    assert_int_equal(need.fence, d.fence);
    assert_int_equal(need.token, d.token);
    assert_int_equal(need.epoch, d.fence + 1);
    assert_int_equal(need.seq, 4);
    core_stream_need(w->core, id, d.fence, 0, 0); /* all of it */
    assert_int_equal(world_last(w, VERB_stream_need).epoch, 0);
    /* The attempt is over. */
    world_result(w, d.link, id, d.fence, OUTCOME_DONE);
    core_stream_need(w->core, id, d.fence, d.fence, 4);
    world_end(w);
    assert_int_equal(world_count(w, VERB_stream_need), 2);
}

/* ---- attaching ------------------------------------------------------------------------------- */
static void a_submission_attaches_its_sender(void **state) { /* P-76 */
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, attach, true);
    world_begin(w, 1);
    uint64_t id = world_offer(w, m);
    world_end(w);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 0);
    world_turn(w, 1);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 1);
    struct stream_order o = orders_last(w, STREAM_ATTACH);
    assert_int_equal(o.job, id);
    assert_int_equal(o.to, topic_of_link(1));
    assert_int_equal(o.epoch, 0);
    assert_int_equal(o.seq, 0);
    assert_false(o.ended);
    /* It watches, too; and the end is ordered behind all that was. */
    listen_end_job(w, id);
    assert_int_equal(world_last(w, VERB_finished).job, id);
    assert_int_equal(w->orders[w->n_orders - 1].what, STREAM_END);
    assert_int_equal(orders_count(w, STREAM_DETACH), 0);
}

static void a_client_does_not_attach(void **state) { /* P-76 */
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, attach, true);
    MSG_SET(&m, submit, kind, STR("k"));
    world_begin(w, 1);
    world_hello(w, 5, ROLE_CLIENT, 0);
    world_say(w, 5, ROLE_CLIENT, VERB_submit, &m);
    world_end(w);
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_BAD_ROLE);
    world_turn(w, 1);
    assert_int_equal(w->n_orders, 0);
}

/* P-35: the second one listens to the first one's job. */
static void a_duplicate_attaches_to_the_first(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, unique, STR("u"));
    uint64_t id = world_submit(w, m);
    MSG_SET(&m, submit, attach, true);
    assert_int_equal(world_submit(w, m), id);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 1);
    assert_int_equal(orders_last(w, STREAM_ATTACH).job, id);
}

static void attach_begins_at_a_position(void **state) { /* P-76 */
    struct world *w = *state;
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct msg_attach m = {0};
    MSG_SET(&m, attach, epoch, 77);
    MSG_SET(&m, attach, seq, 5);
    struct seen a = listen_attach(w, m, id);
    assert_int_equal(a.link, LISTENER);
    assert_int_equal(a.sequence, w->sequence);
    assert_int_equal(a.code, 0);
    assert_int_equal(a.id, id);
    assert_int_equal(a.state, JOB_ready);
    struct stream_order o = orders_last(w, STREAM_ATTACH);
    assert_int_equal(o.job, id);
    assert_int_equal(o.to, topic_of_link(LISTENER));
    assert_int_equal(o.epoch, 77);
    assert_int_equal(o.seq, 5);
    assert_false(o.ended);
    /* Again, from elsewhere: one attachment still, and one DETACH ends it. */
    MSG_SET(&m, attach, seq, 3);
    listen_attach(w, m, id);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 2);
    assert_int_equal(orders_last(w, STREAM_ATTACH).seq, 3);
    listen_detach(w, id);
    assert_int_equal(orders_count(w, STREAM_DETACH), 1);
    assert_int_equal(orders_last(w, STREAM_DETACH).job, id);
    assert_int_equal(orders_last(w, STREAM_DETACH).to, topic_of_link(LISTENER));
    listen_detach(w, id);
    assert_int_equal(orders_count(w, STREAM_DETACH), 1);
    listen_end_job(w, id);
    assert_int_equal(world_count(w, VERB_finished), 0);
}

/* Each item has its own answer; another tenant's job is as one that is not there. */
static void attach_is_refused_item_by_item(void **state) {
    struct world *w = *state;
    struct msg_submit s = {0};
    MSG_SET(&s, submit, tenant, STR("t"));
    uint64_t id = world_submit(w, s);
    struct msg_attach m = {0};
    assert_int_equal(listen_attach(w, m, id + 100).code, ERR_NOT_FOUND);
    MSG_SET(&m, attach, tenant, STR("u"));
    struct seen other = listen_attach(w, m, id);
    assert_int_equal(other.code, ERR_NOT_FOUND);
    assert_int_equal(other.id, id);
    assert_int_equal(other.state, 0);
    assert_non_null(strstr(w->text, "not known, or past retention"));
    assert_int_equal(orders_count(w, STREAM_ATTACH), 0);
    assert_int_equal(orders_count(w, STREAM_ATTACH_AGAIN), 1); /* of the unknown one only */
    MSG_SET(&m, attach, tenant, STR("t"));
    assert_int_equal(listen_attach(w, m, id).code, 0);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 1);
    /* P-10: one that cannot be read, and one behind it that can. */
    struct err bad = {0};
    err_set(&bad, ERR_BAD_VALUE, "attach.epoch: what is that");
    uint32_t before = world_count(w, VERB_attached);
    MSG_SET(&m, attach, id, id);
    world_begin(w, 1);
    assert_true(core_request(w->core, LISTENER, ROLE_GATEWAY, VERB_attach, ++w->sequence));
    core_item(w->core, NULL, STR(""), &bad);
    assert_int_equal(world_last(w, VERB_attached).code, ERR_BAD_VALUE);
    core_item(w->core, &m, STR(""), NULL);
    core_request_end(w->core);
    world_end(w);
    assert_int_equal(world_count(w, VERB_attached), before + 2);
    assert_int_equal(world_last(w, VERB_attached).code, 0);
    assert_int_equal(world_last(w, VERB_attached).sequence, w->sequence);
    /* P-38 */
    w->config.watches_max = 1;
    core_reconfigure(w->core, &w->config);
    uint64_t second = world_submit(w, (struct msg_submit){0});
    struct core_stats before_it, after_it;
    core_stats(w->core, &before_it);
    assert_int_equal(listen_attach(w, (struct msg_attach){0}, second).code, ERR_BUSY);
    core_stats(w->core, &after_it);
    assert_int_equal(after_it.refused, before_it.refused + 1);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 2);
}

static void an_ended_job_is_attached_to(void **state) { /* P-76 */
    struct world *w = *state;
    uint64_t id = world_submit(w, (struct msg_submit){0});
    listen_end_job(w, id);
    struct msg_attach m = {0};
    MSG_SET(&m, attach, epoch, 7);
    MSG_SET(&m, attach, seq, 9);
    struct seen a = listen_attach(w, m, id);
    assert_int_equal(a.code, 0);
    assert_int_equal(a.state, JOB_cancelled);
    struct stream_order o = orders_last(w, STREAM_ATTACH);
    assert_true(o.ended);
    assert_int_equal(o.epoch, 7);
    assert_int_equal(o.seq, 9);
    assert_int_equal(world_last(w, VERB_finished).job, id);
    assert_int_equal(world_last(w, VERB_finished).link, LISTENER);
    /* The relay may still be telling of it. */
    listen_detach(w, id);
    assert_int_equal(orders_last(w, STREAM_DETACH).to, topic_of_link(LISTENER));
}

static void a_job_without_a_stream_is_watched(void **state) { /* P-76 */
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, attach, true);
    MSG_SET(&m, submit, kind, STR("plain"));
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_submit, &m);
    uint64_t id = world_last(w, VERB_submitted).id;
    world_end(w);
    world_turn(w, 1);
    assert_int_equal(listen_attach(w, (struct msg_attach){0}, id).code, 0);
    listen_end_job(w, id);
    assert_int_equal(world_count(w, VERB_finished), 2);
    for (uint32_t k = 0; k < w->n_orders; k++)
        assert_int_equal(w->orders[k].what, STREAM_END);
}

/* ---- before the commit ----------------------------------------------------------------------- */
/* P-33: nothing of a job leaves before it was acknowledged, though it runs already. */
static void nothing_is_heard_before_the_commit(void **state) { /* P-76 */
    struct world *w = *state;
    set_speculative(w);
    world_add_worker(w, 9, 3);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, attach, true);
    world_begin(w, 1);
    uint64_t first = world_offer(w, m), second = world_offer(w, m);
    struct msg_attach a = {0};
    MSG_SET(&a, attach, id, first);
    world_say(w, LISTENER, ROLE_GATEWAY, VERB_attach, &a);
    struct msg_get_job only = {0}; /* he wants its end, not its stream */
    MSG_SET(&only, get_job, id, second);
    world_say(w, LISTENER, ROLE_GATEWAY, VERB_watch_job, &only);
    world_end(w);
    assert_int_equal(orders_count(w, STREAM_OPEN), 2);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 0);
    /* Only the first one's record is on disk. */
    world_begin(w, 1);
    core_durable(w->core, world_last(w, VERB_submitted).after);
    world_end(w);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 2);
    assert_int_equal(orders_last(w, STREAM_ATTACH).job, first);
    world_turn(w, 1);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 3);
    assert_int_equal(orders_last(w, STREAM_ATTACH).job, second);
    world_turn(w, 1);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 3);
}

static void who_left_before_the_commit_hears_nothing(void **state) {
    struct world *w = *state;
    set_speculative(w);
    world_begin(w, 1);
    uint64_t id = world_offer(w, (struct msg_submit){0});
    world_end(w);
    listen_attach(w, (struct msg_attach){0}, id);
    listen_detach(w, id);
    world_turn(w, 1);
    assert_int_equal(w->n_orders, 0);
}

static void an_end_before_the_commit_is_heard_with_it(void **state) {
    struct world *w = *state;
    set_speculative(w);
    world_add_worker(w, 9, 1);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, attach, true);
    world_begin(w, 1);
    uint64_t id = world_offer(w, m);
    world_end(w);
    world_report(w, 9, id, world_last(w, VERB_dispatch).fence, OUTCOME_DONE);
    assert_true(world_last(w, VERB_finished).after);
    listen_attach(w, (struct msg_attach){0}, id); /* by chance: nobody knows it yet */
    assert_int_equal(orders_count(w, STREAM_ATTACH), 0);
    world_turn(w, 1); /* now it is durable, and so is its end */
    assert_int_equal(orders_count(w, STREAM_ATTACH), 1);
    assert_true(orders_last(w, STREAM_ATTACH).ended);
    listen_attach(w, (struct msg_attach){0}, id);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 2);
    assert_true(orders_last(w, STREAM_ATTACH).ended);
}

static void of_a_forgotten_job_only_the_relay_knows(void **state) {
    struct world *w = *state;
    struct msg_attach m = {0};
    MSG_SET(&m, attach, epoch, 7);
    MSG_SET(&m, attach, seq, 3);
    listen_attach(w, m, 4711);
    assert_int_equal(world_last(w, VERB_attached).code, ERR_NOT_FOUND);
    assert_int_equal(orders_count(w, STREAM_ATTACH), 0);
    assert_int_equal(orders_last(w, STREAM_ATTACH_AGAIN).seq, 3);
}

/* With another durability the answer has left already: there is nothing to wait for. */
static void what_needs_no_commit_is_attached_at_once(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, attach, true);
    for (uint64_t durability = 1; durability <= 2; durability++) {
        MSG_SET(&m, submit, durability, durability);
        world_begin(w, 1);
        world_offer(w, m);
        world_end(w);
        assert_int_equal(orders_count(w, STREAM_ATTACH), durability);
    }
}

/* P-76: cleaning copies the record, and the copy is not durable yet: the submission was. */
static void a_copy_being_written_keeps_nobody_waiting(void **state) {
    struct world *w = *state;
    uint64_t id = world_submit(w, (struct msg_submit){0});
    listen_attach(w, (struct msg_attach){0}, id);
    struct kept_record row = w->journal[0];
    assert_int_equal(row.state.id, id);
    struct record r = {.type = REC_JOB, .state = &row.state, .spec = &row.spec};
    world_begin(w, 1);
    core_clean(w->core, row.pos, &r);
    world_end(w);
    assert_int_equal(w->n_journal, 2);
    struct msg_attach m = {0};
    MSG_SET(&m, attach, seq, 4);
    listen_attach(w, m, id);
    assert_int_equal(orders_last(w, STREAM_ATTACH).seq, 4);
    listen_detach(w, id);
    assert_int_equal(orders_count(w, STREAM_DETACH), 1);
}

int main(void) {
#define STREAM(name) cmocka_unit_test_setup_teardown(name, listen_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        STREAM(an_attempt_is_opened_before_it_is_given),
        STREAM(a_kind_without_streams_has_no_token),
        STREAM(a_need_reaches_the_worker_of_that_fence),
        STREAM(a_submission_attaches_its_sender),
        STREAM(a_client_does_not_attach),
        STREAM(a_duplicate_attaches_to_the_first),
        STREAM(attach_begins_at_a_position),
        STREAM(attach_is_refused_item_by_item),
        STREAM(an_ended_job_is_attached_to),
        STREAM(a_job_without_a_stream_is_watched),
        STREAM(nothing_is_heard_before_the_commit),
        STREAM(who_left_before_the_commit_hears_nothing),
        STREAM(an_end_before_the_commit_is_heard_with_it),
        STREAM(of_a_forgotten_job_only_the_relay_knows),
        STREAM(what_needs_no_commit_is_attached_at_once),
        STREAM(a_copy_being_written_keeps_nobody_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

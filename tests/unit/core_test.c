/* The core through its own door, one rule a test: what the simulator shows at random is said here
 * in order. Effects are recorded; everything appended is durable when the test says so. */
#include "broker/core/core.h"
#include "common/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LETTERS 4096

struct seen {
    uint64_t link, after, sequence;
    enum verb verb;
    uint64_t job, fence, code, id;
    bool duplicate;
    uint64_t state;
    char reason[32];
};

struct world {
    struct core *core;
    uint64_t now, wall, pos;
    struct seen letters[LETTERS];
    uint32_t n;
    uint64_t sequence;
    uint64_t loads[16];
    uint32_t n_loads;
};

/* ---- effects -----------------------------------------------------------------------------------
 */
static uint64_t on_append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct world *w = ctx;
    (void)r;
    *bytes = 100;
    w->pos += 100;
    return w->pos - 100;
}

static void on_release(void *ctx, uint64_t pos, uint32_t bytes) {
    (void)ctx;
    (void)pos;
    (void)bytes;
}

/* A job that waits for its time has no body in memory: it is read back in the next turn. */
static void on_load(void *ctx, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct world *w = ctx;
    (void)pos;
    (void)bytes;
    assert_true(w->n_loads < 16);
    w->loads[w->n_loads++] = token;
}

static void give_loads(struct world *w) {
    struct msg_rec_spec spec = {0};
    MSG_SET(&spec, rec_spec, kind, STR("k"));
    MSG_SET(&spec, rec_spec, queue, STR("k"));
    MSG_SET(&spec, rec_spec, tenant, STR("default"));
    struct msg_rec_state state = {0};
    struct record r = {.type = REC_JOB, .state = &state, .spec = &spec};
    while (w->n_loads)
        core_loaded(w->core, w->loads[--w->n_loads], &r);
}

static void on_send(void *ctx, const struct letter *l) {
    struct world *w = ctx;
    assert_true(w->n < LETTERS);
    struct seen *s = &w->letters[w->n++];
    *s =
        (struct seen){.link = l->link, .after = l->after, .sequence = l->sequence, .verb = l->verb};
    if (l->verb == VERB_submitted) {
        const struct msg_submitted *m = l->message;
        s->code = m->code;
        s->id = m->id;
        s->duplicate = m->duplicate;
    } else if (l->verb == VERB_dispatch) {
        const struct msg_dispatch *m = l->message;
        s->job = m->job;
        s->fence = m->fence;
    } else if (l->verb == VERB_result_ack || l->verb == VERB_lost) {
        const struct msg_attempt_ref *m = l->message;
        s->job = m->job;
        s->fence = m->fence;
    } else if (l->verb == VERB_finished) {
        const struct msg_finished *m = l->message;
        s->job = m->id;
        s->state = m->state;
    } else if (l->verb == VERB_why_info) {
        const struct msg_why_info *m = l->message;
        memcpy(s->reason, m->reason.at, m->reason.len);
    } else if (l->verb == VERB_outcome) {
        s->code = ((const struct msg_outcome *)l->message)->code;
    }
}

static void on_event(void *ctx, const struct event *e) {
    (void)ctx;
    (void)e;
}

/* ---- doing ----------------------------------------------------------------------------------- */
static void begin(struct world *w, uint64_t later_ms) {
    w->now += later_ms;
    w->wall += later_ms;
    core_begin(w->core, (struct mono){w->now}, (struct wall){w->wall});
}

static void end(struct world *w) {
    core_end(w->core, true);
    give_loads(w);
    core_check(w->core);
}

/* A turn in which all that was appended so far becomes durable. */
static void turn(struct world *w, uint64_t later_ms) {
    begin(w, later_ms);
    core_durable(w->core, w->pos);
    end(w);
}

static void say(struct world *w, uint64_t link, enum role role, enum verb verb, const void *m) {
    assert_true(core_request(w->core, link, role, verb, ++w->sequence));
    core_item(w->core, m, STR(""), NULL);
    core_request_end(w->core);
}

static void hello(struct world *w, uint64_t link, enum role role, uint64_t slots) {
    struct str kinds[] = {STR("k")};
    uint64_t instance[2] = {link, link};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)role);
    MSG_SET(&m, hello, instance, str_make(instance, 16));
    if (role == ROLE_WORKER) {
        MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 1}));
        MSG_SET(&m, hello, slots, slots);
    }
    say(w, link, role, VERB_hello, &m);
}

static struct seen last(const struct world *w, enum verb verb) {
    for (uint32_t k = w->n; k-- > 0;)
        if (w->letters[k].verb == verb)
            return w->letters[k];
    return (struct seen){0};
}

static uint32_t count(const struct world *w, enum verb verb) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < w->n; k++)
        n += w->letters[k].verb == verb;
    return n;
}

static uint64_t offer(struct world *w, struct msg_submit m) {
    MSG_SET(&m, submit, kind, STR("k"));
    say(w, 1, ROLE_OPERATOR, VERB_submit, &m);
    return last(w, VERB_submitted).id;
}

static void result(struct world *w, uint64_t link, uint64_t job, uint64_t fence, uint64_t outcome) {
    struct msg_result m = {0};
    MSG_SET(&m, result, job, job);
    MSG_SET(&m, result, fence, fence);
    MSG_SET(&m, result, outcome, outcome);
    say(w, link, ROLE_WORKER, VERB_result, &m);
}

static void finish(struct world *w, uint64_t link, uint64_t job, uint64_t fence) {
    result(w, link, job, fence, OUTCOME_DONE);
}

static int set_up(void **state) {
    struct world *w = MEM_NEW(struct world);
    struct core_config k = core_config_default();
    k.backoff_ms = 100;
    struct effects fx = {w, on_append, on_release, on_load, on_send, on_event};
    w->core = core_new(&k, &fx);
    w->pos = 64;
    w->now = 1000;
    w->wall = 1700000000000;
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, STR("k"));
    core_begin(w->core, (struct mono){w->now}, (struct wall){w->wall});
    core_set_kind(w->core, &kind);
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    turn(w, 1);
    assert_true(core_open(w->core));
    begin(w, 1);
    hello(w, 1, ROLE_OPERATOR, 0);
    end(w);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    struct world *w = *state;
    core_destroy(&w->core);
    mem_free(w);
    return 0;
}

static void add_worker(struct world *w, uint64_t link, uint64_t slots) {
    begin(w, 1);
    hello(w, link, ROLE_WORKER, slots);
    end(w);
}

/* ---- rules ----------------------------------------------------------------------------------- */
/* P-33, P-50 */
static void waits_for_the_disk(void **state) {
    struct world *w = *state;
    add_worker(w, 9, 4);
    begin(w, 1);
    uint64_t id = offer(w, (struct msg_submit){0});
    end(w);
    assert_int_not_equal(last(w, VERB_submitted).after, 0); /* must not leave yet */
    assert_int_equal(count(w, VERB_dispatch), 0);
    turn(w, 1);
    assert_int_equal(last(w, VERB_dispatch).job, id);
    begin(w, 1);
    finish(w, 9, id, last(w, VERB_dispatch).fence);
    end(w);
    assert_int_not_equal(last(w, VERB_result_ack).after, 0);
}

/* P-51 */
static void refuses_late_reports(void **state) {
    struct world *w = *state;
    add_worker(w, 9, 1);
    begin(w, 1);
    uint64_t id = offer(w, (struct msg_submit){0});
    end(w);
    turn(w, 1);
    uint64_t old = last(w, VERB_dispatch).fence;
    for (int k = 0; k < 20; k++) /* the lease passes, in turns of our own that are in time */
        turn(w, 200);
    add_worker(w, 10, 1);
    turn(w, 1);
    assert_int_equal(count(w, VERB_dispatch), 2);
    uint64_t fresh = last(w, VERB_dispatch).fence;
    assert_true(fresh > old);
    begin(w, 1);
    hello(w, 9, ROLE_WORKER, 1); /* it is back, and reports */
    finish(w, 9, id, old);
    end(w);
    assert_int_equal(last(w, VERB_lost).fence, old);
    begin(w, 1);
    finish(w, 10, id, fresh);
    end(w);
    assert_int_equal(last(w, VERB_result_ack).fence, fresh);
    struct core_stats s;
    core_stats(w->core, &s);
    assert_int_equal(s.ended[JOB_done], 1);
    assert_true(s.stale_fences >= 1);
}

static void sleeps_without_harm(void **state) {
    struct world *w = *state;
    add_worker(w, 9, 1);
    begin(w, 1);
    offer(w, (struct msg_submit){0});
    end(w);
    turn(w, 1);
    turn(w, 10000); /* we were stopped for ten seconds */
    struct core_stats s;
    core_stats(w->core, &s);
    assert_int_equal(s.workers, 1);
    assert_int_equal(s.requeued, 0);
}

/* One job of B behind many of A is the second to be dispatched. */
static void shares_among_tenants(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    begin(w, 1);
    MSG_SET(&m, submit, tenant, STR("a"));
    for (int k = 0; k < 500; k++)
        offer(w, m);
    MSG_SET(&m, submit, tenant, STR("b"));
    uint64_t b = offer(w, m);
    end(w);
    turn(w, 1);
    add_worker(w, 9, 2);
    assert_int_equal(count(w, VERB_dispatch), 2);
    assert_int_equal(last(w, VERB_dispatch).job, b);
}

static void goes_by_priority(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    begin(w, 1);
    MSG_SET(&m, submit, priority, 2);
    offer(w, m);
    MSG_SET(&m, submit, priority, 8);
    uint64_t urgent = offer(w, m);
    end(w);
    turn(w, 1);
    add_worker(w, 9, 1);
    assert_int_equal(last(w, VERB_dispatch).job, urgent);
}

/* P-36, with the next one. */
static void one_of_a_key_at_a_time(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    begin(w, 1);
    MSG_SET(&m, submit, key, STR("site"));
    uint64_t first = offer(w, m), second = offer(w, m);
    end(w);
    turn(w, 1);
    add_worker(w, 9, 4);
    assert_int_equal(count(w, VERB_dispatch), 1);
    assert_int_equal(last(w, VERB_dispatch).job, first);
    begin(w, 1);
    finish(w, 9, first, last(w, VERB_dispatch).fence);
    end(w);
    assert_int_equal(count(w, VERB_dispatch), 1); /* that end is not durable yet */
    turn(w, 1);
    assert_int_equal(last(w, VERB_dispatch).job, second);
}

static void a_failed_head_keeps_its_key(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    begin(w, 1);
    MSG_SET(&m, submit, key, STR("site"));
    uint64_t first = offer(w, m);
    offer(w, m);
    end(w);
    turn(w, 1);
    add_worker(w, 9, 4);
    begin(w, 1);
    result(w, 9, first, last(w, VERB_dispatch).fence, OUTCOME_FAILED);
    end(w);
    turn(w, 10);
    assert_int_equal(count(w, VERB_dispatch), 1);
    turn(w, 150);
    assert_int_equal(count(w, VERB_dispatch), 2);
    assert_int_equal(last(w, VERB_dispatch).job, first);
}

/* P-35 */
static void a_second_unique_one_is_the_first(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    begin(w, 1);
    MSG_SET(&m, submit, unique, STR("u"));
    uint64_t first = offer(w, m);
    assert_int_equal(offer(w, m), first);
    assert_true(last(w, VERB_submitted).duplicate);
    assert_int_not_equal(last(w, VERB_submitted).after, 0); /* waits for the first one's record */
    MSG_SET(&m, submit, tenant, STR("other"));
    assert_int_not_equal(offer(w, m), first);
    end(w);
}

static void limits_are_exact(void **state) {
    struct world *w = *state;
    struct limit_config two = {.concurrency = 2};
    core_set_queue(w->core, STR("k"), &two, false);
    begin(w, 1);
    for (int k = 0; k < 5; k++)
        offer(w, (struct msg_submit){0});
    end(w);
    turn(w, 1);
    add_worker(w, 9, 10);
    assert_int_equal(count(w, VERB_dispatch), 2);
    begin(w, 1);
    finish(w, 9, last(w, VERB_dispatch).job, last(w, VERB_dispatch).fence);
    end(w);
    assert_int_equal(count(w, VERB_dispatch), 3);
}

static void rates_are_kept(void **state) {
    struct world *w = *state;
    struct limit_config slow = {.rate_count = 10, .rate_per_ms = 1000, .burst = 2};
    core_set_queue(w->core, STR("k"), &slow, false);
    begin(w, 1);
    for (int k = 0; k < 6; k++)
        offer(w, (struct msg_submit){0});
    end(w);
    turn(w, 1);
    add_worker(w, 9, 10);
    assert_int_equal(count(w, VERB_dispatch), 2);
    turn(w, 99);
    assert_int_equal(count(w, VERB_dispatch), 2);
    turn(w, 1);
    assert_int_equal(count(w, VERB_dispatch), 3);
    turn(w, 200);
    assert_int_equal(count(w, VERB_dispatch), 5);
}

/* A clock set back by a day must not make a delay of a second last a day. */
static void delays_do_not_follow_the_wall(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    add_worker(w, 9, 1);
    begin(w, 1);
    MSG_SET(&m, submit, delay_ms, 1000);
    uint64_t id = offer(w, m);
    end(w);
    turn(w, 1);
    w->wall -= 86400000;
    turn(w, 500);
    assert_int_equal(count(w, VERB_dispatch), 0);
    turn(w, 500);
    assert_int_equal(last(w, VERB_dispatch).job, id);
}

static void expires_unstarted(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    begin(w, 1);
    MSG_SET(&m, submit, ttl_ms, 100);
    MSG_SET(&m, submit, watch, true);
    uint64_t id = offer(w, m);
    end(w);
    turn(w, 1);
    turn(w, 100);
    assert_int_equal(last(w, VERB_finished).job, id);
    assert_int_equal(last(w, VERB_finished).state, JOB_expired);
}

/* P-40 */
static void cancelled_is_cancelled(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    add_worker(w, 9, 1);
    begin(w, 1);
    MSG_SET(&m, submit, watch, true);
    uint64_t id = offer(w, m);
    end(w);
    turn(w, 1);
    begin(w, 1);
    struct msg_cancel_job c = {0};
    MSG_SET(&c, cancel_job, id, id);
    say(w, 1, ROLE_OPERATOR, VERB_cancel_job, &c);
    assert_int_equal(count(w, VERB_cancel_attempt), 1);
    finish(w, 9, id, last(w, VERB_dispatch).fence); /* it was done all the same */
    end(w);
    assert_int_equal(last(w, VERB_finished).state, JOB_cancelled);
    begin(w, 1);
    say(w, 1, ROLE_OPERATOR, VERB_cancel_job, &c);
    end(w);
    assert_int_equal(last(w, VERB_outcome).code, ERR_ALREADY_DONE);
}

/* P-28 */
static void a_repeated_sequence_is_answered_alike(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("k"));
    begin(w, 1);
    say(w, 1, ROLE_OPERATOR, VERB_submit, &m);
    uint64_t id = last(w, VERB_submitted).id;
    assert_false(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, w->sequence));
    end(w);
    assert_int_equal(count(w, VERB_submitted), 2);
    assert_int_equal(last(w, VERB_submitted).id, id);
    struct core_stats s;
    core_stats(w->core, &s);
    assert_int_equal(s.submitted, 1);
}

static void says_why(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    struct msg_get_job q = {0};
    begin(w, 1);
    MSG_SET(&q, get_job, id, offer(w, m));
    end(w);
    turn(w, 1);
    begin(w, 1);
    uint32_t before = w->n;
    say(w, 1, ROLE_OPERATOR, VERB_get_why, &q);
    end(w);
    assert_string_equal(w->letters[before].reason, "no_worker");
    assert_string_equal(w->letters[before + 1].reason, "its_turn");
}

int main(void) {
#define RULE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
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

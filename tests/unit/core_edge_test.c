/* The core at its edges: bounds that were lowered, answers that were too many to keep, a journal
 * that failed, limits that change, requests that touch very many jobs. */
#include "broker/core/core.h"
#include "common/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define LETTERS 200000

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
    uint64_t loads[4096];
    uint32_t n_loads;
    struct str unique; /* of what is read back */
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
    assert_true(w->n_loads < 4096);
    w->loads[w->n_loads++] = token;
}

static void give_loads(struct world *w) {
    struct msg_rec_spec spec = {0};
    MSG_SET(&spec, rec_spec, kind, STR("k"));
    MSG_SET(&spec, rec_spec, queue, STR("k"));
    MSG_SET(&spec, rec_spec, tenant, STR("default"));
    if (w->unique.len)
        MSG_SET(&spec, rec_spec, unique, w->unique);
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
    } else if (l->verb == VERB_error) {
        s->code = ((const struct msg_error *)l->message)->code;
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
    core_replay(w->core, w->pos, 100, &r);
    w->pos += 100;
}

/* What was accepted under a higher bound must not keep the broker from starting. */
static void replays_over_a_lowered_bound(void **state) {
    (void)state;
    struct world *w = MEM_NEW(struct world);
    struct core_config k = core_config_default();
    k.tenants_max = k.queues_max = k.kinds_max = 1;
    struct effects fx = {w, on_append, on_release, on_load, on_send, on_event};
    w->core = core_new(&k, &fx);
    w->pos = 64;
    w->now = 1000;
    begin(w, 1);
    replay_job(w, (1ULL << 42) + 1, STR("a"));
    replay_job(w, (1ULL << 42) + 2, STR("b"));
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    turn(w, 1);
    struct core_stats s;
    core_stats(w->core, &s);
    assert_int_equal(s.by_state[JOB_ready], 2);
    core_destroy(&w->core);
    mem_free(w);
}

/* P-28: answers are let go when they are too many; what was asked is not done again. */
static void a_forgotten_answer_is_not_work(void **state) {
    struct world *w = *state;
    struct msg_submit bad = {0}, good = {0};
    MSG_SET(&bad, submit, kind, STR("unknown"));
    MSG_SET(&good, submit, kind, STR("k"));
    begin(w, 1);
    uint64_t first = ++w->sequence;
    for (uint64_t sequence = first; sequence < first + 70; sequence++) {
        assert_true(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, sequence));
        core_item(w->core, &good, STR(""), NULL);
        for (int k = 1; k < 1024; k++)
            core_item(w->core, &bad, STR(""), NULL);
        core_request_end(w->core);
    }
    assert_false(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, first));
    end(w);
    assert_int_equal(last(w, VERB_error).code, ERR_OLD_SEQUENCE);
}

/* P-35, P-39: its window goes on after the first one's end. */
static void a_duplicate_of_an_ended_job_is_told(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, unique, STR("u"));
    MSG_SET(&m, submit, window_ms, 600000);
    add_worker(w, 9, 1);
    begin(w, 1);
    uint64_t id = offer(w, m);
    end(w);
    turn(w, 1);
    begin(w, 1);
    result(w, 9, id, last(w, VERB_dispatch).fence, OUTCOME_REJECTED);
    end(w);
    turn(w, 1);
    begin(w, 1);
    MSG_SET(&m, submit, watch, true);
    assert_int_equal(offer(w, m), id);
    end(w);
    assert_int_equal(last(w, VERB_finished).job, id);

    /* P-41: nor is that window another job's. */
    struct msg_retry_job again = {0};
    MSG_SET(&again, retry_job, id, id);
    w->unique = STR("u");
    begin(w, 1);
    say(w, 1, ROLE_OPERATOR, VERB_retry_job, &again);
    end(w);
    turn(w, 1);
    assert_int_equal(count(w, VERB_outcome), 1);
    assert_int_equal(last(w, VERB_outcome).code, 0);
}

/* P-66: a purge of many goes on from turn to turn, without a wait between them. */
static void a_long_purge_does_not_sleep(void **state) {
    struct world *w = *state;
    begin(w, 1);
    for (int k = 0; k < 10000; k++)
        offer(w, (struct msg_submit){0});
    end(w);
    turn(w, 1);
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("k"));
    begin(w, 1);
    say(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    end(w);
    assert_int_equal(core_next(w->core).ms, w->now);
    for (int k = 0; k < 4; k++)
        turn(w, 0);
    assert_int_equal(count(w, VERB_outcome), 1);
    assert_true(core_next(w->core).ms > w->now);
}

/* While all that a sweep may read is being read, there is nothing to do in a turn. */
static void a_sweep_waits_for_its_reads(void **state) {
    struct world *w = *state;
    add_worker(w, 9, 100);
    begin(w, 1);
    for (int k = 0; k < 100; k++)
        offer(w, (struct msg_submit){0});
    end(w);
    uint32_t before = w->n;
    turn(w, 1);
    begin(w, 1);
    for (uint32_t k = before, n = w->n; k < n; k++)
        if (w->letters[k].verb == VERB_dispatch)
            result(w, 9, w->letters[k].job, w->letters[k].fence, OUTCOME_REJECTED);
    end(w);
    turn(w, 1);
    struct msg_retry_job all = {0};
    MSG_SET(&all, retry_job, dead, true);
    begin(w, 1);
    say(w, 1, ROLE_OPERATOR, VERB_retry_job, &all);
    core_end(w->core, true);
    assert_int_equal(w->n_loads, 64);
    assert_true(core_next(w->core).ms > w->now);
    give_loads(w);
}

/* P-49: the broker takes no result now, so silence is not disobedience. */
static void read_only_kills_nobody(void **state) {
    struct world *w = *state;
    struct msg_submit m = {0};
    MSG_SET(&m, submit, timeout_ms, 100);
    add_worker(w, 9, 2);
    begin(w, 1);
    uint64_t id = offer(w, m);
    end(w);
    turn(w, 1);
    struct err e = {0};
    err_set(&e, ERR_READ_ONLY, "the disk is gone");
    begin(w, 1);
    core_write_failed(w->core, &e);
    end(w);
    turn(w, 100);
    begin(w, 1);
    result(w, 9, id, last(w, VERB_dispatch).fence, OUTCOME_CANCELLED);
    struct msg_pool_report r = {0};
    MSG_SET(&r, pool_report, pool, STR("p"));
    say(w, 1, ROLE_OPERATOR, VERB_pool_report, &r);
    end(w);
    struct msg_heartbeat beat = {0};
    MSG_SET(&beat, heartbeat, epoch, core_epoch(w->core));
    MSG_SET(&beat, heartbeat, held, 1);
    for (int k = 0; k < 40; k++) {
        begin(w, 500);
        say(w, 9, ROLE_WORKER, VERB_heartbeat, &beat);
        end(w);
    }
    assert_int_equal(count(w, VERB_kill_worker), 0);
}

/* A start a day, and then the file says ten a second. */
static void a_new_rate_forgives_the_old(void **state) {
    struct world *w = *state;
    struct limit_config slow = {.rate_count = 1, .rate_per_ms = 86400000, .burst = 1};
    struct limit_config fast = {.rate_count = 10, .rate_per_ms = 1000, .burst = 1};
    core_set_queue(w->core, STR("k"), &slow, false);
    add_worker(w, 9, 10);
    begin(w, 1);
    offer(w, (struct msg_submit){0});
    offer(w, (struct msg_submit){0});
    end(w);
    turn(w, 1);
    assert_int_equal(count(w, VERB_dispatch), 1);
    core_set_queue(w->core, STR("k"), &fast, false);
    turn(w, 100);
    assert_int_equal(count(w, VERB_dispatch), 2);
}

static void a_burst_without_end(void **state) {
    struct world *w = *state;
    struct limit_config k = {.rate_count = 1, .rate_per_ms = 315576000000, .burst = 58456};
    core_set_queue(w->core, STR("k"), &k, false);
    add_worker(w, 9, 10);
    begin(w, 1);
    for (int n = 0; n < 10; n++)
        offer(w, (struct msg_submit){0});
    end(w);
    turn(w, 1);
    assert_int_equal(count(w, VERB_dispatch), 10);
}

int main(void) {
#define EDGE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_over_a_lowered_bound),
        EDGE(a_forgotten_answer_is_not_work),
        EDGE(a_duplicate_of_an_ended_job_is_told),
        EDGE(a_long_purge_does_not_sleep),
        EDGE(a_sweep_waits_for_its_reads),
        EDGE(read_only_kills_nobody),
        EDGE(a_new_rate_forgives_the_old),
        EDGE(a_burst_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

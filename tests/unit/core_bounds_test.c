/* Whatever the core holds has a bound, and says so when it is reached: P-38, P-68. */
#include "common/base/mem.h"
#include "tests/unit/core_world.h"

#include <stdio.h>

static struct world *bounded(void **state, struct core_config config) {
    struct world *w = *state;
    config.backoff_ms = w->config.backoff_ms;
    w->config = config;
    core_reconfigure(w->core, &w->config);
    return w;
}

static void refused(const struct world *w, enum verb verb, enum err_code code, const char *text) {
    assert_int_equal(world_last(w, verb).code, code);
    assert_non_null(strstr(w->text, text));
}

/* ---- watches --------------------------------------------------------------------------------- */
static void watches_are_bounded(void **state) {
    struct core_config k = core_config_default();
    k.watches_max = 2;
    struct world *w = bounded(state, k);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, watch, true);
    world_begin(w, 1);
    uint64_t first = world_offer(w, m);
    world_offer(w, m);
    assert_int_equal(world_offer(w, m), 0);
    refused(w, VERB_submitted, ERR_BUSY, "2 watches are held, the bound is 2");
    uint64_t plain = world_offer(w, (struct msg_submit){0});
    assert_true(plain);
    struct msg_get_job g = {0};
    MSG_SET(&g, get_job, id, plain);
    world_say(w, 1, ROLE_OPERATOR, VERB_watch_job, &g);
    refused(w, VERB_error, ERR_BUSY, "2 watches are held, the bound is 2");
    MSG_SET(&g, get_job, id, first); /* it is watched already */
    uint32_t errors = world_count(w, VERB_error);
    world_say(w, 1, ROLE_OPERATOR, VERB_watch_job, &g);
    assert_int_equal(world_count(w, VERB_error), errors);
    world_end(w);
    assert_int_equal(world_stats(w).watches, 2);
    assert_int_equal(world_stats(w).refused, 2);
    /* An end makes room. */
    world_turn(w, 1);
    struct msg_cancel_job c = {0};
    MSG_SET(&c, cancel_job, id, first);
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_cancel_job, &c);
    assert_true(world_offer(w, m));
    world_end(w);
}

/* A watch of what has ended reads its record back, which has a bound too. */
static void watches_of_ended_jobs_are_bounded(void **state) {
    struct world *w = *state;
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct msg_cancel_job c = {0};
    MSG_SET(&c, cancel_job, id, id);
    struct msg_get_job g = {0};
    MSG_SET(&g, get_job, id, id);
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_cancel_job, &c);
    while (!world_count(w, VERB_error) && w->n_loads < 8000)
        world_say(w, 1, ROLE_OPERATOR, VERB_watch_job, &g);
    refused(w, VERB_error, ERR_BUSY, "records are being read");
    assert_int_equal(world_stats(w).reads, w->n_loads);
    world_end(w);
    assert_int_equal(world_stats(w).reads, 0);
}

/* ---- kept answers ---------------------------------------------------------------------------- */
static bool ask(struct world *w, uint64_t link, uint64_t sequence, uint32_t items) {
    struct msg_submit bad = {0};
    MSG_SET(&bad, submit, kind, STR("unknown"));
    if (!core_request(w->core, link, ROLE_OPERATOR, VERB_submit, sequence))
        return false;
    for (uint32_t n = 0; n < items; n++)
        core_item(w->core, &bad, STR(""), NULL);
    core_request_end(w->core);
    return true;
}

/* P-28, P-29: over all peers the oldest answer goes first, and its request is not done again. */
static void the_oldest_answers_are_let_go(void **state) {
    struct core_config k = core_config_default();
    k.replies_max = 16384;
    struct world *w = bounded(state, k);
    uint64_t sequence = w->sequence + 100;
    w->sequence += 1000;
    world_begin(w, 1);
    for (uint64_t link = 100; link < 120; link++) {
        w->sequence = 1;
        world_hello(w, link, ROLE_OPERATOR, 0);
        assert_true(ask(w, link, sequence, 1000));
    }
    world_end(w);
    assert_int_equal(world_stats(w).reply_items, 16000);
    world_begin(w, 1);
    assert_false(ask(w, 119, sequence, 1000));
    assert_int_equal(world_last(w, VERB_submitted).code, ERR_UNKNOWN_KIND);
    assert_int_equal(world_count(w, VERB_error), 0);
    assert_false(ask(w, 100, sequence, 1000));
    assert_int_equal(world_last(w, VERB_error).code, ERR_OLD_SEQUENCE);
    world_end(w);
    /* What leaves takes its answers along. */
    struct msg_bye bye = {0};
    world_begin(w, 1);
    for (uint64_t link = 100; link < 120; link++) {
        assert_true(core_request(w->core, link, ROLE_OPERATOR, VERB_bye, 0));
        core_item(w->core, &bye, STR(""), NULL);
        core_request_end(w->core);
    }
    world_end(w);
    assert_int_equal(world_stats(w).reply_items, 0);
}

/* ---- sweeps ---------------------------------------------------------------------------------- */
static void sweeps_are_bounded(void **state) {
    struct core_config k = core_config_default();
    k.sweeps_max = 1;
    struct world *w = bounded(state, k);
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("k"));
    struct msg_retry_job all = {0};
    MSG_SET(&all, retry_job, dead, true);
    world_begin(w, 1);
    world_offer(w, (struct msg_submit){0});
    world_say(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    world_say(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    refused(w, VERB_outcome, ERR_BUSY, "the bound is 1");
    world_say(w, 1, ROLE_OPERATOR, VERB_retry_job, &all);
    refused(w, VERB_outcome, ERR_BUSY, "the bound is 1");
    assert_int_equal(world_stats(w).sweeps, 1);
    world_end(w);
    for (int n = 0; n < 4; n++)
        world_turn(w, 1);
    assert_int_equal(world_stats(w).sweeps, 0);
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &all);
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
}

/* ---- keys ------------------------------------------------------------------------------------ */
/* P-36: a key without jobs is held for as long as its interval runs, and no longer. */
static void keys_with_an_interval_are_bounded(void **state) {
    struct core_config k = core_config_default();
    k.interval_keys_max = 2;
    struct world *w = bounded(state, k);
    world_add_worker(w, 9, 10);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, interval_ms, 60000);
    static const char *const names[] = {"a", "b", "c"};
    for (int n = 0; n < 2; n++) {
        MSG_SET(&m, submit, key, str_of(names[n]));
        uint64_t id = world_submit(w, m);
        world_report(w, 9, id, world_last(w, VERB_dispatch).fence, OUTCOME_DONE);
        world_turn(w, 1);
    }
    assert_int_equal(world_stats(w).keys, 2); /* of no job */
    assert_int_equal(world_stats(w).interval_keys, 2);
    MSG_SET(&m, submit, key, STR("c"));
    world_begin(w, 1);
    assert_int_equal(world_offer(w, m), 0);
    refused(w, VERB_submitted, ERR_BUSY, "2 keys with an interval are held, the bound is 2");
    MSG_SET(&m, submit, key, STR("a")); /* it is held already */
    assert_true(world_offer(w, m));
    struct msg_submit plain = {0};
    MSG_SET(&plain, submit, key, STR("d")); /* bounded by its jobs */
    assert_true(world_offer(w, plain));
    world_end(w);
    struct msg_heartbeat beat = {0};
    MSG_SET(&beat, heartbeat, epoch, core_epoch(w->core));
    for (int n = 0; n < 61; n++) {
        world_begin(w, 1000);
        world_say(w, 9, ROLE_WORKER, VERB_heartbeat, &beat);
        world_end(w);
    }
    MSG_SET(&m, submit, key, STR("c"));
    world_begin(w, 1);
    assert_true(world_offer(w, m));
    world_end(w);
}

/* ---- lists ----------------------------------------------------------------------------------- */
static uint64_t list(struct world *w, struct msg_list_jobs *m, uint64_t before) {
    if (before)
        MSG_SET(m, list_jobs, before, before);
    world_say(w, 1, ROLE_OPERATOR, VERB_list_jobs, m);
    return world_last(w, VERB_job_info).next;
}

/* P-43: a filter that nothing passes costs a turn little, and still comes to its end. */
static void a_list_is_made_piece_by_piece(void **state) {
    struct world *w = *state;
    uint64_t first = 0;
    for (int n = 0; n < 40000; n++) {
        if (n % 10000 == 0)
            world_begin(w, 1);
        uint64_t id = world_offer(w, (struct msg_submit){0});
        first = first ? first : id;
        if (n % 10000 == 9999)
            world_end(w);
    }
    world_cancel(w, first);
    struct msg_list_jobs m = {0};
    MSG_SET(&m, list_jobs, state, (uint64_t)JOB_cancelled);
    uint64_t next = 0;
    uint32_t pieces = 0, rows = world_count(w, VERB_job_info);
    do {
        world_begin(w, 1);
        next = list(w, &m, next);
        uint64_t more = next ? list(w, &m, next) : 0; /* in the same turn: not as far */
        assert_true(!next || (more < next && next - more < 2000));
        world_end(w);
        pieces++;
        rows += next ? 2 : 1;
    } while (next);
    assert_int_equal(pieces, 3);
    assert_int_equal(world_count(w, VERB_job_info), rows + 1);
}

/* P-43: those that run are found at once, however many wait; still in pages. */
static void running_jobs_are_found_behind_any_backlog(void **state) {
    struct world *w = *state;
    uint64_t ids[3];
    world_add_worker(w, 9, 3);
    for (int i = 0; i < 3; i++)
        ids[i] = world_submit(w, (struct msg_submit){0});
    world_turn(w, 1);
    for (int n = 0; n < 20000; n++) {
        if (n % 10000 == 0)
            world_begin(w, 1);
        world_offer(w, (struct msg_submit){0});
        if (n % 10000 == 9999)
            world_end(w);
    }
    struct msg_list_jobs m = {0};
    MSG_SET(&m, list_jobs, state, (uint64_t)JOB_running);
    MSG_SET(&m, list_jobs, limit, 2);
    world_begin(w, 1);
    uint32_t before = w->n;
    uint64_t next = list(w, &m, 0);
    assert_int_equal(w->n, before + 3);
    assert_int_equal(w->letters[before].id, ids[2]);
    assert_int_equal(w->letters[before + 1].id, ids[1]);
    assert_int_equal(next, ids[1]);
    assert_int_equal(list(w, &m, next), 0);
    assert_int_equal(w->letters[before + 3].id, ids[0]);
    m = (struct msg_list_jobs){0};
    MSG_SET(&m, list_jobs, state, (uint64_t)JOB_cancelling);
    assert_int_equal(list(w, &m, 0), 0);
    assert_int_equal(w->n, before + 6);
    world_end(w);
}

/* ---- names ----------------------------------------------------------------------------------- */
static uint64_t offer_to(struct world *w, const char *queue) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, queue, str_of(queue));
    return world_offer(w, m);
}

static void cancel(struct world *w, uint64_t id) {
    struct msg_cancel_job c = {0};
    MSG_SET(&c, cancel_job, id, id);
    world_say(w, 1, ROLE_OPERATOR, VERB_cancel_job, &c);
}

static void set_pause(struct world *w, const char *queue, bool reset) {
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, str_of(queue));
    if (reset)
        MSG_SET(&q, queue_ref, reset, true);
    world_say(w, 1, ROLE_OPERATOR, VERB_pause_queue, &q);
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
}

/* What has jobs, or was set, or is listed stays; what was only named makes room. */
static void an_unused_queue_makes_room(void **state) {
    struct core_config k = core_config_default();
    k.queues_max = 4;
    k.done_jobs = 0;
    struct world *w = bounded(state, k);
    world_begin(w, 1);
    core_set_queue(w->core, STR("listed"), &(struct limit_config){0}, false);
    assert_true(offer_to(w, "busy"));
    uint64_t set = offer_to(w, "set"), passing = offer_to(w, "passing");
    assert_int_equal(offer_to(w, "more"), 0);
    refused(w, VERB_submitted, ERR_BUSY, "there are 4 queues, the bound");
    set_pause(w, "set", false);
    world_end(w);
    world_turn(w, 1);
    world_begin(w, 1);
    cancel(w, set);
    cancel(w, passing);
    world_end(w);
    world_turn(w, 1);
    uint32_t records = w->records;
    world_begin(w, 1);
    assert_true(offer_to(w, "more"));
    assert_int_equal(offer_to(w, "passing"), 0);
    set_pause(w, "set", true); /* nothing holds it now but the record of that */
    assert_true(offer_to(w, "passing"));
    world_end(w);
    assert_int_equal(world_stats(w).queues, 4);
    assert_int_equal(w->records, records + 1); /* two jobs came, that record went */
    world_begin(w, 1);
    assert_int_equal(offer_to(w, "set"), 0);
    core_unlist_queue(w->core, STR("listed"));
    assert_true(offer_to(w, "set"));
    world_end(w);
}

/* Who names a new queue with each job does not shut others out for as long as they are kept. */
static void ended_jobs_give_their_queue_back(void **state) {
    struct core_config k = core_config_default();
    k.queues_max = 3;
    struct world *w = bounded(state, k);
    world_begin(w, 1);
    uint64_t first = offer_to(w, "a"), second = offer_to(w, "b");
    assert_true(offer_to(w, "busy"));
    assert_int_equal(offer_to(w, "c"), 0);
    world_end(w);
    world_turn(w, 1);
    world_begin(w, 1);
    cancel(w, first);
    cancel(w, second);
    assert_true(offer_to(w, "c"));
    assert_true(offer_to(w, "d"));
    assert_int_equal(offer_to(w, "e"), 0);
    world_end(w);
    assert_int_equal(world_stats(w).queues, 3);
    assert_int_equal(world_stats(w).kept, 2);
    /* They are still known, and their records say where they were. */
    struct msg_get_job g = {0};
    MSG_SET(&g, get_job, id, first);
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_get_job, &g);
    world_end(w);
    assert_int_equal(world_last(w, VERB_job_info).id, first);
    /* Run again, it needs its queue as any other. */
    struct msg_retry_job r = {0};
    MSG_SET(&r, retry_job, id, first);
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_retry_job, &r);
    world_end(w);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_BUSY);
    k.queues_max = 5;
    w = bounded(state, k);
    world_begin(w, 1);
    world_say(w, 1, ROLE_OPERATOR, VERB_retry_job, &r);
    world_end(w);
    world_turn(w, 1);
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
    assert_int_equal(world_stats(w).queues, 4);
    assert_int_equal(world_stats(w).kept, 1);
}

/* Records of the name that was forgotten are still on disk: those of the new one must win. */
static void a_name_that_comes_again_has_higher_versions(void **state) {
    struct core_config k = core_config_default();
    k.queues_max = 1;
    k.done_jobs = 0;
    struct world *w = bounded(state, k);
    world_begin(w, 1);
    cancel(w, offer_to(w, "a"));
    for (int n = 0; n < 5; n++)
        set_pause(w, "a", n == 4);
    world_end(w);
    world_turn(w, 1);
    assert_int_equal(w->version, 5);
    world_begin(w, 1);
    cancel(w, offer_to(w, "b"));
    world_end(w);
    world_turn(w, 1);
    world_begin(w, 1);
    offer_to(w, "a");
    set_pause(w, "a", false);
    world_end(w);
    assert_int_equal(w->version, 6);
}

/* Held by what is not a job: a window, an interval, a sweep. */
static void what_outlives_its_jobs_holds_its_queue(void **state) {
    struct core_config k = core_config_default();
    k.queues_max = 1;
    k.done_jobs = 0;
    struct world *w = bounded(state, k);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, queue, STR("a"));
    MSG_SET(&m, submit, unique, STR("u"));
    MSG_SET(&m, submit, window_ms, 10000);
    world_begin(w, 1);
    cancel(w, world_offer(w, m));
    world_end(w);
    world_turn(w, 1);
    world_begin(w, 1);
    assert_int_equal(offer_to(w, "b"), 0);
    world_end(w);
    world_turn(w, 10001);
    world_begin(w, 1);
    struct msg_queue_ref q = {0};
    MSG_SET(&q, queue_ref, queue, STR("a"));
    world_say(w, 1, ROLE_OPERATOR, VERB_purge_queue, &q);
    assert_int_equal(offer_to(w, "b"), 0);
    world_end(w);
    world_begin(w, 1);
    assert_true(offer_to(w, "b"));
    world_end(w);
}

static void greet(struct world *w, uint64_t link, const char *pool, const char *a, const char *b) {
    struct str kinds[] = {str_of(a), str_of(b)};
    uint64_t instance[2] = {link, link};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)ROLE_WORKER);
    MSG_SET(&m, hello, instance, str_make(instance, 16));
    MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 2}));
    MSG_SET(&m, hello, slots, 1);
    MSG_SET(&m, hello, pool, str_of(pool));
    world_ask(w, link, ROLE_WORKER, VERB_hello, &m);
}

/* P-61: a kind is kept for its workers and jobs; when there is no room, not for itself. */
static void a_kind_that_nobody_runs_makes_room(void **state) {
    struct core_config k = core_config_default();
    k.kinds_max = 3; /* k is listed */
    k.queues_max = 1;
    struct world *w = bounded(state, k);
    greet(w, 10, "p", "a", "b");
    greet(w, 11, "p", "c", "a");
    assert_int_equal(world_count(w, VERB_error), 1);
    refused(w, VERB_error, ERR_BUSY, "no place for kind 'c', there are 3, the bound");
    uint32_t records = w->records;
    greet(w, 10, "p", "b", "a"); /* its own are not lost on the way */
    assert_int_equal(w->records, records);
    struct msg_bye bye = {0};
    world_ask(w, 10, ROLE_WORKER, VERB_bye, &bye);
    assert_int_equal(world_stats(w).kinds, 3);
    greet(w, 11, "p", "c", "a"); /* b goes */
    assert_int_equal(world_count(w, VERB_error), 1);
    assert_int_equal(world_stats(w).kinds, 3);
    assert_int_equal(w->records, records);
    greet(w, 12, "q", "c", "a");
    refused(w, VERB_error, ERR_BUSY, "no place for pool 'q', there are 1, the bound");
    world_ask(w, 11, ROLE_WORKER, VERB_bye, &bye);
    greet(w, 12, "q", "c", "a");
    assert_int_equal(world_count(w, VERB_error), 2);
    assert_int_equal(world_stats(w).pools, 1);
}

/* The search for a name that is not used is a bounded part of a turn, and goes on in the next. */
static void the_search_for_room_is_bounded(void **state) {
    struct core_config k = core_config_default();
    k.tenants_max = 10000;
    k.done_jobs = 0;
    struct world *w = bounded(state, k);
    struct msg_submit m = {0};
    char name[16];
    uint64_t late = 0;
    world_begin(w, 1);
    for (int n = 0; n < 10000; n++) {
        snprintf(name, sizeof name, "t%d", n);
        MSG_SET(&m, submit, tenant, str_of(name));
        uint64_t id = world_offer(w, m);
        late = n == 9000 ? id : late;
    }
    world_end(w);
    world_turn(w, 1);
    world_begin(w, 1);
    cancel(w, late);
    world_end(w);
    world_turn(w, 1);
    MSG_SET(&m, submit, tenant, STR("new"));
    int turns = 0;
    uint64_t id = 0;
    while (!id && turns < 10) {
        world_begin(w, 1);
        id = world_offer(w, m);
        if (!id)
            refused(w, VERB_submitted, ERR_BUSY, "there are 10000 tenants, the bound");
        world_end(w);
        turns++;
    }
    assert_int_equal(turns, 3);
    assert_int_equal(world_stats(w).tenants, 10000);
}

/* ---- turns of lines -------------------------------------------------------------------------- */
static uint32_t given_to(const struct world *w, uint32_t from, uint32_t to, uint64_t low,
                         uint64_t high) {
    uint32_t n = 0;
    for (uint32_t k = from; k < to; k++)
        n += w->letters[k].verb == VERB_dispatch && w->letters[k].job >= low &&
             w->letters[k].job <= high;
    return n;
}

/* Three queues with the same to do, one of them shut for a while: two share, then all three. */
static void lines_take_turns_and_come_back(void **state) {
    struct world *w = *state;
    uint64_t first[3], last[3];
    static const char *const queues[] = {"a", "b", "c"};
    struct limit_config shut = {.concurrency = 1, .weight = 1}, open = {.weight = 1};
    core_set_queue(w->core, STR("b"), &shut, false);
    world_begin(w, 1);
    for (int q = 0; q < 3; q++) {
        first[q] = offer_to(w, queues[q]);
        for (int n = 1; n < 30; n++)
            last[q] = offer_to(w, queues[q]);
    }
    world_end(w);
    world_turn(w, 1);
    world_add_worker(w, 9, 21);
    assert_int_equal(given_to(w, 0, w->n, first[0], last[0]), 10);
    assert_int_equal(given_to(w, 0, w->n, first[1], last[1]), 1);
    assert_int_equal(given_to(w, 0, w->n, first[2], last[2]), 10);
    core_set_queue(w->core, STR("b"), &open, false);
    uint32_t from = w->n;
    world_add_worker(w, 10, 30);
    for (int q = 0; q < 3; q++)
        assert_int_equal(given_to(w, from, w->n, first[q], last[q]), 10);
}

/* A line moves to another ring with its highest priority, and is found there. */
static void a_line_follows_its_highest_priority(void **state) {
    struct world *w = *state;
    static const uint64_t priorities[] = {3, 9, 5, 9, 1};
    uint64_t ids[5];
    world_begin(w, 1);
    for (int n = 0; n < 5; n++) {
        struct msg_submit m = {0};
        MSG_SET(&m, submit, priority, priorities[n]);
        MSG_SET(&m, submit, queue, n % 2 ? STR("a") : STR("b"));
        ids[n] = world_offer(w, m);
    }
    world_end(w);
    world_turn(w, 1);
    uint32_t from = w->n, at = 0;
    world_add_worker(w, 9, 5);
    static const int order[] = {1, 3, 2, 0, 4};
    for (uint32_t k = from; k < w->n; k++)
        if (w->letters[k].verb == VERB_dispatch)
            assert_int_equal(w->letters[k].job, ids[order[at++]]);
    assert_int_equal(at, 5);
}

int main(void) {
#define BOUND(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        BOUND(watches_are_bounded),
        BOUND(watches_of_ended_jobs_are_bounded),
        BOUND(the_oldest_answers_are_let_go),
        BOUND(sweeps_are_bounded),
        BOUND(a_list_is_made_piece_by_piece),
        BOUND(running_jobs_are_found_behind_any_backlog),
        BOUND(an_unused_queue_makes_room),
        BOUND(ended_jobs_give_their_queue_back),
        BOUND(a_name_that_comes_again_has_higher_versions),
        BOUND(what_outlives_its_jobs_holds_its_queue),
        BOUND(a_kind_that_nobody_runs_makes_room),
        BOUND(the_search_for_room_is_bounded),
        BOUND(lines_take_turns_and_come_back),
        BOUND(a_line_follows_its_highest_priority),
        BOUND(keys_with_an_interval_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Schedules: when they run, once for each due time; overlap, missed runs, bounds. The calendar of
 * these tests: a cron of "N" is due when the wall clock is a multiple of N milliseconds. */
#include "common/base/mem.h"
#include "tests/unit/core_world.h"

#include <stdio.h>

enum { OVERLAP_SKIP, OVERLAP_QUEUE, OVERLAP_REPLACE };
enum { MISSED_ONCE, MISSED_NONE };

#define WORKER 9

static struct msg_schedule every(const char *name, uint64_t interval_ms) {
    struct msg_schedule m = {0};
    MSG_SET(&m, schedule, name, str_of(name));
    MSG_SET(&m, schedule, children, 1);
    MSG_SET(&m, schedule, interval_ms, interval_ms);
    return m;
}

static struct msg_schedule cron(const char *name, const char *expression) {
    struct msg_schedule m = every(name, 1000);
    m.has &= ~MSGBIT_schedule_interval_ms;
    m.interval_ms = 0;
    MSG_SET(&m, schedule, cron, str_of(expression));
    return m;
}

static struct core_child job(void) {
    struct core_child c = {.payload = STR("")};
    MSG_SET(&c.m, submit, kind, STR("k"));
    return c;
}

static uint64_t set_as(struct world *w, struct msg_schedule m, struct core_child c) {
    world_begin(w, 1);
    assert_true(core_request(w->core, 1, ROLE_OPERATOR, VERB_set_schedule, ++w->sequence));
    core_children(w->core, &c, 1);
    core_item(w->core, &m, STR(""), NULL);
    core_request_end(w->core);
    world_end(w);
    world_turn(w, 1);
    return world_last(w, VERB_outcome).code;
}

static uint64_t set(struct world *w, struct msg_schedule m) {
    return set_as(w, m, job());
}

static uint64_t ask(struct world *w, enum verb verb, const char *name, bool resume) {
    struct msg_schedule_ref m = {0};
    MSG_SET(&m, schedule_ref, name, str_of(name));
    MSG_SET(&m, schedule_ref, resume, resume);
    world_ask(w, 1, ROLE_OPERATOR, verb, &m);
    world_turn(w, 1);
    return world_last(w, VERB_outcome).code;
}

static const struct msg_schedule_info *look(struct world *w, const char *name) {
    struct msg_get_status m = {0};
    MSG_SET(&m, get_status, name, str_of(name));
    w->schedule = (struct msg_schedule_info){0};
    world_ask(w, 1, ROLE_OPERATOR, VERB_list_schedules, &m);
    return &w->schedule;
}

/* Time passes in steps that are no sleep, the worker is heard, and what is submitted on the way
 * becomes durable. */
static void pass(struct world *w, uint64_t ms) {
    for (; ms >= 500; ms -= 500) {
        struct msg_heartbeat m = {0};
        MSG_SET(&m, heartbeat, epoch, core_epoch(w->core));
        MSG_SET(&m, heartbeat, held, world_stats(w).by_state[JOB_running]);
        world_begin(w, 500);
        core_durable(w->core, w->pos);
        if (world_stats(w).workers)
            world_say(w, WORKER, ROLE_WORKER, VERB_heartbeat, &m);
        world_end(w);
    }
    world_turn(w, ms);
    world_turn(w, 0);
}

static void end_all(struct world *w) {
    struct seen d = world_last(w, VERB_dispatch);
    world_report(w, d.link, d.job, d.fence, OUTCOME_DONE);
    world_turn(w, 0);
}

/* ---- when ------------------------------------------------------------------------------------ */
static void an_interval_runs_from_when_it_was_set(void **state) { /* P-91, P-92 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    assert_int_equal(set(w, every("s", 2000)), 0);
    uint64_t created = look(w, "s")->created_ms;
    assert_int_equal(w->schedule.next_ms, created + 2000);
    pass(w, 1900);
    assert_int_equal(look(w, "s")->runs, 0);
    pass(w, 200);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_int_equal(w->schedule.last_ms, created + 2000);
    assert_int_equal(w->schedule.next_ms, created + 4000);
    assert_int_equal(w->schedule.last_state, JOB_running);
    end_all(w);
    pass(w, 2000);
    assert_int_equal(look(w, "s")->runs, 2);
}

static void a_cron_runs_by_the_wall_clock(void **state) { /* P-91 */
    struct world *w = *state;
    assert_int_equal(set(w, cron("s", "3000")), 0);
    assert_int_equal(look(w, "s")->next_ms % 3000, 0);
    pass(w, 3100);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_int_equal(w->schedule.last_ms % 3000, 0);
}

static void jitter_is_the_same_for_the_same_time(void **state) { /* P-92 */
    struct world *w = *state;
    struct msg_schedule m = every("s", 2000);
    MSG_SET(&m, schedule, jitter_ms, 1000);
    set(w, m);
    uint64_t next = look(w, "s")->next_ms;
    assert_in_range(next, w->schedule.created_ms + 2000, w->schedule.created_ms + 2999);
    set(w, m);
    assert_int_equal(look(w, "s")->next_ms, next);
}

/* With more of it than time between two, each still has its run. */
static void jitter_ends_where_the_next_is_due(void **state) { /* P-92 */
    struct world *w = *state;
    struct msg_schedule often = every("often", 2000), daily = cron("cron", "3000");
    MSG_SET(&often, schedule, jitter_ms, 3600000);
    MSG_SET(&daily, schedule, jitter_ms, 3600000);
    MSG_SET(&often, schedule, overlap, OVERLAP_QUEUE);
    MSG_SET(&daily, schedule, overlap, OVERLAP_QUEUE);
    set(w, often);
    set(w, daily);
    for (uint64_t n = 1; n <= 12; n++) {
        uint64_t due = look(w, "often")->created_ms + n * 2000;
        assert_in_range(w->schedule.next_ms, due, due + 1999);
        pass(w, due + 2000 - w->wall);
        assert_int_equal(look(w, "often")->runs, n);
        assert_int_equal(w->schedule.last_ms, due);
    }
    assert_int_equal(w->schedule.missed_runs, 0);
    assert_in_range(look(w, "cron")->runs, 7, 8);
    assert_int_equal(w->schedule.missed_runs, 0);
}

static void what_is_set_again_goes_on(void **state) { /* P-91 */
    struct world *w = *state;
    set(w, every("s", 2000));
    uint64_t next = look(w, "s")->next_ms;
    pass(w, 1000);
    struct core_child other = job();
    MSG_SET(&other.m, submit, queue, STR("q"));
    set_as(w, every("s", 2000), other);
    assert_int_equal(look(w, "s")->next_ms, next);
    pass(w, 1000);
    assert_int_equal(look(w, "s")->runs, 1);
    set(w, every("s", 5000)); /* other times: from now on */
    assert_true(look(w, "s")->next_ms > next + 3000);
    assert_int_equal(w->schedule.runs, 1);
}

/* A deployment says its schedules again: what somebody has paused meanwhile stays paused. */
static void what_is_set_again_stays_paused(void **state) { /* P-91 */
    struct world *w = *state;
    struct msg_schedule off = every("s", 2000);
    set(w, every("s", 2000));
    assert_int_equal(ask(w, VERB_pause_schedule, "s", false), 0);
    set(w, every("s", 2000));
    assert_true(look(w, "s")->paused);
    set(w, every("s", 3000));
    assert_true(look(w, "s")->paused);
    MSG_SET(&off, schedule, paused, false);
    set(w, off);
    assert_false(look(w, "s")->paused);
    MSG_SET(&off, schedule, paused, true);
    set(w, off);
    assert_true(look(w, "s")->paused);
    assert_int_equal(look(w, "s")->next_ms, 0);
}

/* ---- missed ------------------------------------------------------------------------------------
 */
static void of_missed_runs_one_or_none(void **state) { /* P-92 */
    struct world *w = *state;
    struct msg_schedule none = every("none", 10000);
    MSG_SET(&none, schedule, missed, MISSED_NONE);
    set(w, every("once", 10000));
    set(w, none);
    w->wall += 95000; /* the clock was set forward */
    world_turn(w, 1);
    world_turn(w, 0);
    assert_int_equal(look(w, "once")->runs, 1);
    assert_int_equal(w->schedule.missed_runs, 8);
    assert_true(w->schedule.last_ms > w->wall - 10000);
    /* The last of them is not late. */
    assert_int_equal(look(w, "none")->runs, 1);
    w->wall += 9 * 3600000ULL;
    struct msg_schedule rare = every("rare", 8 * 3600000ULL);
    MSG_SET(&rare, schedule, missed, MISSED_NONE);
    set(w, rare);
    w->wall += 9 * 3600000ULL;
    world_turn(w, 1);
    assert_int_equal(look(w, "rare")->runs, 0);
    assert_int_equal(w->schedule.missed_runs, 1);
    w->wall -= 20 * 3600000ULL; /* back: what is settled stays so */
    world_turn(w, 1);
    assert_int_equal(look(w, "rare")->runs, 0);
}

/* A year of minutes is not walked minute by minute for ever. */
static void many_missed_runs_are_passed_over(void **state) { /* P-92 */
    struct world *w = *state;
    set(w, every("s", 1000));
    w->wall += 400ULL * 86400000;
    world_turn(w, 1);
    world_turn(w, 0);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_true(w->schedule.last_ms > w->wall - 2000 && w->schedule.last_ms <= w->wall);
    assert_in_range(w->schedule.missed_runs, 400 * 86400 - 2, 400 * 86400);
}

/* ---- overlap -----------------------------------------------------------------------------------
 */
static void skip_leaves_a_run_out(void **state) { /* P-93 */
    struct world *w = *state;
    world_add_worker(w, WORKER, 8);
    set(w, every("s", 1000));
    pass(w, 3100);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_int_equal(w->schedule.skipped, 2);
    end_all(w);
    pass(w, 1000);
    assert_int_equal(look(w, "s")->runs, 2);
}

static void queue_runs_one_after_the_other(void **state) { /* P-93 */
    struct world *w = *state;
    struct msg_schedule m = every("s", 1000);
    MSG_SET(&m, schedule, overlap, OVERLAP_QUEUE);
    world_add_worker(w, WORKER, 8);
    set(w, m);
    pass(w, 3100);
    assert_int_equal(look(w, "s")->runs, 3);
    assert_int_equal(world_count(w, VERB_dispatch), 1);
    end_all(w);
    world_turn(w, 0);
    assert_int_equal(world_count(w, VERB_dispatch), 2);
    pass(w, 20000); /* they do not pile up for ever */
    assert_int_equal(world_stats(w).by_state[JOB_blocked] + 1, 16);
    assert_true(look(w, "s")->skipped > 0);
}

static void replace_cancels_the_run_before(void **state) { /* P-93 */
    struct world *w = *state;
    struct msg_schedule m = every("s", 1000);
    MSG_SET(&m, schedule, overlap, OVERLAP_REPLACE);
    world_add_worker(w, WORKER, 8);
    set(w, m);
    pass(w, 1100);
    struct seen first = world_last(w, VERB_dispatch);
    pass(w, 1000);
    assert_int_equal(world_last(w, VERB_cancel_attempt).job, first.job);
    assert_int_equal(look(w, "s")->runs, 2);
}

/* While there is no room for the next one, that which goes on is left alone. */
static void replace_cancels_nothing_for_nothing(void **state) { /* P-93 */
    struct world *w = *state;
    struct msg_schedule m = every("s", 10000);
    MSG_SET(&m, schedule, overlap, OVERLAP_REPLACE);
    world_add_worker(w, WORKER, 8);
    set(w, m);
    pass(w, 10100);
    struct seen first = world_last(w, VERB_dispatch);
    core_set_room(w->core, CORE_RESERVE);
    pass(w, 12000);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_int_equal(w->schedule.last_state, JOB_running);
    core_set_room(w->core, CORE_ROOM);
    pass(w, 1500);
    assert_int_equal(look(w, "s")->runs, 2);
    assert_int_equal(world_last(w, VERB_cancel_attempt).job, first.job);
}

/* Its flow counts, not the job alone. */
static void a_run_goes_on_until_its_flow_has_settled(void **state) { /* P-93 */
    struct world *w = *state;
    struct str kinds[] = {STR("k")};
    core_set_may_spawn(w->core, STR("k"), &(struct str_list){kinds, 1});
    world_add_worker(w, WORKER, 8);
    set(w, every("s", 1000));
    pass(w, 1100);
    struct seen d = world_last(w, VERB_dispatch);
    struct core_child child = job();
    struct msg_result m = {0};
    MSG_SET(&m, result, job, d.job);
    MSG_SET(&m, result, fence, d.fence);
    MSG_SET(&m, result, outcome, OUTCOME_DONE);
    MSG_SET(&m, result, children, 1);
    world_begin(w, 1);
    assert_true(core_request(w->core, WORKER, ROLE_WORKER, VERB_result, ++w->sequence));
    core_children(w->core, &child, 1);
    core_item(w->core, &m, STR(""), NULL);
    core_request_end(w->core);
    world_end(w);
    pass(w, 1000);
    assert_int_equal(look(w, "s")->skipped, 1);
    end_all(w);
    pass(w, 1000);
    assert_int_equal(look(w, "s")->runs, 2);
}

/* ---- by hand
 * ------------------------------------------------------------------------------------- */
static void it_runs_pauses_and_goes_by_hand(void **state) { /* P-94 */
    struct world *w = *state;
    set(w, every("s", 2000));
    assert_int_equal(ask(w, VERB_run_schedule, "s", false), 0);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_int_equal(w->schedule.last_ms, 0);
    ask(w, VERB_pause_schedule, "s", false);
    assert_int_equal(look(w, "s")->next_ms, 0);
    pass(w, 9000);
    ask(w, VERB_pause_schedule, "s", true);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_int_equal(w->schedule.last_ms, 0); /* nothing has been due while it went on */
    assert_true(w->schedule.next_ms > w->wall);
    assert_int_equal(ask(w, VERB_remove_schedule, "s", false), 0);
    assert_int_equal(look(w, "s")->created_ms, 0);
    assert_int_equal(ask(w, VERB_remove_schedule, "s", false), ERR_NOT_FOUND);
    assert_int_equal(ask(w, VERB_run_schedule, "s", false), ERR_NOT_FOUND);
    assert_int_equal(world_stats(w).by_state[JOB_ready], 1); /* what it submitted goes on */
}

/* ---- refusals
 * ------------------------------------------------------------------------------------ */
static void what_makes_no_sense_is_refused(void **state) { /* P-91 */
    struct world *w = *state;
    struct msg_schedule both = cron("s", "1000");
    MSG_SET(&both, schedule, interval_ms, 1000);
    assert_int_equal(set(w, both), ERR_BAD_VALUE);
    struct msg_schedule zone = every("s", 1000);
    MSG_SET(&zone, schedule, zone, STR("Europe/Paris"));
    assert_int_equal(set(w, zone), ERR_BAD_VALUE);
    assert_int_equal(set(w, cron("s", "nonsense")), ERR_BAD_VALUE);
    struct core_child c = job();
    MSG_SET(&c.m, submit, delay_ms, 5);
    assert_int_equal(set_as(w, every("s", 1000), c), ERR_BAD_VALUE);
    assert_non_null(strstr(w->text, "delay_ms"));
    c = job();
    MSG_SET(&c.m, submit, durability, DURABLE_NONE);
    assert_int_equal(set_as(w, every("s", 1000), c), ERR_BAD_VALUE);
    c = job();
    MSG_SET(&c.m, submit, kind, STR("unknown"));
    assert_int_equal(set_as(w, every("s", 1000), c), ERR_UNKNOWN_KIND);
    assert_int_equal(look(w, "s")->created_ms, 0);
}

static void schedules_are_bounded(void **state) {
    struct world *w = *state;
    struct core_config k = core_config_default();
    k.schedules_max = 1;
    core_reconfigure(w->core, &k);
    assert_int_equal(set(w, every("a", 1000)), 0);
    assert_int_equal(set(w, every("b", 1000)), ERR_BUSY);
    assert_int_equal(set(w, every("a", 2000)), 0);
    ask(w, VERB_remove_schedule, "a", false);
    assert_int_equal(set(w, every("b", 1000)), 0);
}

static void without_room_it_is_tried_again(void **state) { /* P-93 */
    struct world *w = *state;
    set(w, every("s", 60000));
    core_set_room(w->core, CORE_RESERVE);
    pass(w, 62000);
    assert_int_equal(look(w, "s")->runs, 0);
    assert_int_equal(w->events[EVENT_schedule_refused], 1); /* told once, tried each second */
    uint64_t due = w->schedule.created_ms + 60000;
    core_set_room(w->core, CORE_ROOM);
    pass(w, 1500);
    assert_int_equal(look(w, "s")->runs, 1);
    assert_int_equal(w->schedule.last_ms, due);
}

/* Their records would be too much for one turn. */
static void many_that_are_due_at_once_take_turns(void **state) {
    struct world *w = *state;
    static char payload[64 << 10];
    struct core_child big = job();
    big.payload = str_make(payload, sizeof payload);
    for (int k = 0; k < 40; k++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", k);
        assert_int_equal(set_as(w, cron(name, "100000"), big), 0);
    }
    uint32_t before = w->appended[REC_JOB], turns = 0;
    world_turn(w, 100000);
    assert_in_range(w->appended[REC_JOB] - before, 1, 10);
    for (; w->appended[REC_JOB] < before + 40; turns++) {
        uint32_t jobs = w->appended[REC_JOB];
        assert_true(turns < 40 && core_next(w->core).ms == w->now);
        world_turn(w, 0);
        assert_in_range(w->appended[REC_JOB] - jobs, 1, 10);
    }
}

/* What was submitted by its run before is past retention, and what that has begun goes on. */
static void replace_cancels_what_a_forgotten_run_has_begun(void **state) { /* P-93 */
    struct world *w = *state;
    struct str kinds[] = {STR("k")};
    struct core_config config = core_config_default();
    config.done_jobs = 0;
    core_reconfigure(w->core, &config);
    core_set_may_spawn(w->core, STR("k"), &(struct str_list){kinds, 1});
    world_add_worker(w, WORKER, 8);
    struct msg_schedule m = every("s", 2000);
    MSG_SET(&m, schedule, overlap, OVERLAP_REPLACE);
    set(w, m);
    pass(w, 2100);
    struct seen d = world_last(w, VERB_dispatch);
    struct core_child child = job();
    struct msg_result result = {0};
    MSG_SET(&result, result, job, d.job);
    MSG_SET(&result, result, fence, d.fence);
    MSG_SET(&result, result, outcome, OUTCOME_DONE);
    MSG_SET(&result, result, children, 1);
    world_begin(w, 1);
    assert_true(core_request(w->core, d.link, ROLE_WORKER, VERB_result, ++w->sequence));
    core_children(w->core, &child, 1);
    core_item(w->core, &result, STR(""), NULL);
    core_request_end(w->core);
    world_end(w);
    world_turn(w, 1);
    struct seen of_child = world_last(w, VERB_dispatch);
    assert_int_not_equal(of_child.job, d.job);
    pass(w, 2000);
    assert_int_equal(look(w, "s")->runs, 2);
    assert_int_equal(world_last(w, VERB_cancel_attempt).job, of_child.job);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(an_interval_runs_from_when_it_was_set),
        CASE(a_cron_runs_by_the_wall_clock),
        CASE(jitter_is_the_same_for_the_same_time),
        CASE(jitter_ends_where_the_next_is_due),
        CASE(what_is_set_again_goes_on),
        CASE(what_is_set_again_stays_paused),
        CASE(of_missed_runs_one_or_none),
        CASE(many_missed_runs_are_passed_over),
        CASE(skip_leaves_a_run_out),
        CASE(queue_runs_one_after_the_other),
        CASE(replace_cancels_the_run_before),
        CASE(replace_cancels_nothing_for_nothing),
        CASE(a_run_goes_on_until_its_flow_has_settled),
        CASE(it_runs_pauses_and_goes_by_hand),
        CASE(what_makes_no_sense_is_refused),
        CASE(schedules_are_bounded),
        CASE(without_room_it_is_tried_again),
        CASE(many_that_are_due_at_once_take_turns),
        CASE(replace_cancels_what_a_forgotten_run_has_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

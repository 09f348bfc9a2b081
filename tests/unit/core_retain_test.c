/* How old what ended in earlier lives of the broker is, whatever was done to the clock. */
#include "common/base/id.h"
#include "common/base/mem.h"
#include "tests/unit/core_world.h"

#define DAY_MS 86400000ULL

static int set_up_unstarted(void **state) {
    struct world *w = MEM_NEW(struct world);
    w->config = core_config_default();
    world_new(w);
    world_begin(w, 0);
    *state = w;
    return 0;
}

static void start(struct world *w) {
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    world_turn(w, 1);
    assert_true(core_open(w->core));
}

static void replay(struct world *w, const struct record *r) {
    core_replay(w->core, w->pos, 100, r);
    w->records++;
    w->pos += 100;
}

static void replay_epoch(struct world *w, uint64_t epoch, uint64_t at_ms) {
    struct msg_rec_epoch m = {0};
    MSG_SET(&m, rec_epoch, epoch, epoch);
    MSG_SET(&m, rec_epoch, at_ms, at_ms);
    replay(w, &(struct record){.type = REC_EPOCH, .other = &m});
}

static void replay_ended(struct world *w, uint64_t counter, uint64_t ended_ms) {
    struct msg_rec_spec spec = {0};
    MSG_SET(&spec, rec_spec, kind, STR("k"));
    MSG_SET(&spec, rec_spec, queue, STR("k"));
    MSG_SET(&spec, rec_spec, tenant, STR("a"));
    MSG_SET(&spec, rec_spec, created_ms, ended_ms);
    struct msg_rec_state m = {0};
    MSG_SET(&m, rec_state, id, id_make(1, counter));
    MSG_SET(&m, rec_state, version, 1);
    MSG_SET(&m, rec_state, state, (uint64_t)JOB_dead);
    MSG_SET(&m, rec_state, ended_ms, ended_ms);
    replay(w, &(struct record){.type = REC_JOB, .state = &m, .spec = &spec});
}

/* The journal tells of twelve days; then the clock was set forward by a month while nobody ran. */
static void a_clock_stepped_while_down_forgets_nothing(void **state) {
    struct world *w = *state;
    replay_epoch(w, 1, w->wall - 15 * DAY_MS);
    replay_ended(w, 1, w->wall - 13 * DAY_MS);
    replay_ended(w, 2, w->wall - 1 * DAY_MS);
    w->wall += 30 * DAY_MS;
    start(w);
    assert_int_equal(world_stats(w).kept_dead, 2);
}

/* In an earlier life, between two ends: it cannot be told from a silence, which counts as a day. */
static void a_clock_stepped_in_an_earlier_life_costs_a_day(void **state) {
    struct world *w = *state;
    replay_epoch(w, 1, w->wall - 92 * DAY_MS);
    replay_ended(w, 1, w->wall - 91 * DAY_MS);
    replay_ended(w, 2, w->wall - DAY_MS);
    start(w);
    world_turn(w, 13 * DAY_MS - 3000);
    assert_int_equal(world_stats(w).kept_dead, 2);
    world_turn(w, 6000);
    assert_int_equal(world_stats(w).kept_dead, 1);
    world_turn(w, DAY_MS);
    assert_int_equal(world_stats(w).kept_dead, 0);
}

/* What ended while the clock was ahead is no older than our start, and not kept for ever. */
static void an_end_in_the_future(void **state) {
    struct world *w = *state;
    replay_epoch(w, 1, w->wall - DAY_MS);
    replay_ended(w, 1, w->wall - DAY_MS);
    replay_ended(w, 2, w->wall + 90 * DAY_MS);
    start(w);
    world_turn(w, 13 * DAY_MS + 3000);
    assert_int_equal(world_stats(w).kept_dead, 1);
    world_turn(w, DAY_MS);
    assert_int_equal(world_stats(w).kept_dead, 0);
}

static void an_age_goes_on_after_a_restart(void **state) {
    struct world *w = *state;
    replay_epoch(w, 1, w->wall - 1000);
    replay_ended(w, 1, w->wall - 13 * DAY_MS);
    start(w);
    world_turn(w, DAY_MS - 3000);
    assert_int_equal(world_stats(w).kept_dead, 1);
    world_turn(w, 6000);
    assert_int_equal(world_stats(w).kept_dead, 0);
}

#define AGE(name) cmocka_unit_test_setup_teardown(name, set_up_unstarted, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        AGE(a_clock_stepped_while_down_forgets_nothing),
        AGE(a_clock_stepped_in_an_earlier_life_costs_a_day),
        AGE(an_end_in_the_future),
        AGE(an_age_goes_on_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The client and schedules: a definition goes out with its job, and what is asked of schedules. */
#include "tests/unit/client_scene.h"

#include <string.h>

static struct msg_schedule every_hour(void) {
    struct msg_schedule m = {0};
    MSG_SET(&m, schedule, name, STR("hourly"));
    MSG_SET(&m, schedule, interval_ms, 3600000);
    return m;
}

static struct msg_submit job(void) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("k"));
    return m;
}

static int ask(struct scene *s, enum verb verb, const struct client_item *items, size_t n,
               struct told *told, struct err *e) {
    return client_request(s->c, verb, items, n, on_reply, told, mono_add(now, 60000), e);
}

static int set(struct scene *s, uint32_t n_jobs, struct err *e) {
    static struct msg_schedule m;
    static struct msg_submit of;
    static struct client_item jobs[2];
    m = every_hour();
    of = job();
    jobs[0] = jobs[1] = CLIENT_ITEM(&of, STR("\x81\xa1n\x07"));
    struct client_item item = {.message = &m, .children = jobs, .n_children = n_jobs};
    return ask(s, VERB_set_schedule, &item, 1, &s->told[0], e);
}

static void outcomes(struct scene *s, uint64_t sequence, uint32_t n, uint64_t id) {
    struct msg_outcome m = {0};
    MSG_SET(&m, outcome, code, 0);
    if (id)
        MSG_SET(&m, outcome, id, id);
    begin(s, VERB_outcome, sequence);
    for (uint32_t i = 0; i < n; i++)
        add(s, &m, STR(""));
    answer(s);
}

/* ---- setting -------------------------------------------------------------------------------- */
/* The definition that was heard, and the job behind it. */
static void check_set(struct scene *s) {
    AUTO_ARENA arena = arena_new(1 << 20);
    struct msg_schedule m;
    struct msg_submit of;
    struct frame_item item;
    struct err e = {0};
    hear(s, VERB_set_schedule);
    assert_int_equal(s->in.items, 2);
    assert_int_equal(frame_next(&s->in, &m, arena, &item, &e), 1);
    assert_true(str_eq(m.name, STR("hourly")));
    assert_int_equal(m.interval_ms, 3600000);
    assert_int_equal(item.children, 1);
    assert_int_equal(frame_next(&s->in, &of, arena, &item, &e), 1);
    assert_true(item.child);
    assert_true(str_eq(of.kind, STR("k")));
    assert_true(str_eq(item.payload, STR("\x81\xa1n\x07")));
}

/* P-91: the envelope behind a SET_SCHEDULE is its job; the answer is one for both. */
static void test_set(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    assert_int_equal(set(s, 1, NULL), 0);
    check_set(s);
    outcomes(s, s->in.sequence, 1, 0);
    assert_int_equal(s->told[0].items, 1);
    assert_int_equal(s->told[0].ends, 1);
    assert_int_equal(s->told[0].end, ERR_OK);
}

static void test_one_job(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    welcome(s, 5);
    assert_int_equal(set(s, 0, &e), -1);
    assert_non_null(strstr(e.text, "schedule.children"));
    assert_int_equal(set(s, 2, &e), -1);
    assert_non_null(strstr(e.text, "schedule.children"));
    assert_true(silent(s));
}

/* Said again to another life of the broker: what is set twice is as set once. */
static void test_set_is_said_again(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    assert_int_equal(set(s, 1, NULL), 0);
    check_set(s);
    lose(s);
    welcome(s, 6);
    assert_int_equal(s->told[0].ends, 0);
    check_set(s);
    outcomes(s, s->in.sequence, 1, 0);
    assert_int_equal(s->told[0].end, ERR_OK);
}

/* ---- the others ----------------------------------------------------------------------------- */
static const enum verb changes[] = {VERB_remove_schedule, VERB_run_schedule, VERB_pause_schedule};

/* P-94 */
static void test_changes(void **state) {
    struct scene *s = *state;
    struct msg_schedule_ref m = {0};
    MSG_SET(&m, schedule_ref, name, STR("hourly"));
    struct client_item items[2] = {{.message = &m}, {.message = &m}};
    welcome(s, 5);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(ask(s, changes[i], items, 2, &s->told[i], NULL), 0);
        hear(s, changes[i]);
        assert_int_equal(s->in.items, 2);
        outcomes(s, s->in.sequence, 2, 77);
        assert_int_equal(s->told[i].items, 2);
        assert_int_equal(s->told[i].end, ERR_OK);
    }
}

/* A run that was asked for may have been submitted by the broker that is no more. */
static void test_changes_are_not_said_again(void **state) {
    struct scene *s = *state;
    struct msg_schedule_ref m = {0};
    MSG_SET(&m, schedule_ref, name, STR("hourly"));
    struct client_item item = {.message = &m};
    welcome(s, 5);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(ask(s, changes[i], &item, 1, &s->told[i], NULL), 0);
        hear(s, changes[i]);
    }
    lose(s);
    welcome(s, 6);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(s->told[i].end, ERR_UNKNOWN_OUTCOME);
    assert_true(silent(s));
}

static void say_schedule(struct scene *s, uint64_t sequence, struct str name) {
    struct msg_schedule_info m = {0};
    MSG_SET(&m, schedule_info, name, name);
    MSG_SET(&m, schedule_info, overlap, 0);
    MSG_SET(&m, schedule_info, missed, 0);
    MSG_SET(&m, schedule_info, paused, false);
    MSG_SET(&m, schedule_info, kind, STR("k"));
    MSG_SET(&m, schedule_info, created_ms, 1);
    MSG_SET(&m, schedule_info, runs, 0);
    MSG_SET(&m, schedule_info, skipped, 0);
    MSG_SET(&m, schedule_info, missed_runs, 0);
    MSG_SET(&m, schedule_info, refused, 0);
    MSG_SET(&m, schedule_info, size, 1);
    begin(s, VERB_schedule_info, sequence);
    add(s, &m, STR("\x80"));
    answer(s);
}

/* P-94: a message for each, and one without items at the end. */
static void test_list(void **state) {
    struct scene *s = *state;
    struct msg_get_status m = {0};
    struct client_item item = {.message = &m};
    welcome(s, 5);
    assert_int_equal(ask(s, VERB_list_schedules, &item, 1, &s->told[0], NULL), 0);
    hear(s, VERB_list_schedules);
    uint64_t sequence = s->in.sequence;
    say_schedule(s, sequence, STR("a"));
    say_schedule(s, sequence, STR("b"));
    assert_int_equal(s->told[0].items, 2);
    assert_int_equal(s->told[0].ends, 0);
    begin(s, VERB_schedule_info, sequence);
    answer(s);
    assert_int_equal(s->told[0].ends, 1);
    assert_int_equal(s->told[0].end, ERR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(test_set),
        SCENE(test_one_job),
        SCENE(test_set_is_said_again),
        SCENE(test_changes),
        SCENE(test_changes_are_not_said_again),
        SCENE(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The client and notes: its copy follows what the broker tells, and says how far it is. */
#include "tests/unit/client_scene.h"

static struct note_table *copy;

static int set_up_notes(void **state) {
    copy = note_table_new();
    return set_up_as(state, ROLE_GATEWAY, copy);
}

static int tear_down_notes(void **state) {
    int rc = tear_down(state);
    note_table_destroy(&copy);
    return rc;
}

static void tell(struct scene *s, const char *name, const char *value, uint64_t version,
                 uint64_t behind) {
    struct msg_note_info m = {0};
    MSG_SET(&m, note_info, name, str_of(name));
    MSG_SET(&m, note_info, version, version);
    if (value) {
        MSG_SET(&m, note_info, value, str_of(value));
        MSG_SET(&m, note_info, left_ms, 60000);
    }
    if (behind)
        MSG_SET(&m, note_info, behind, behind);
    begin(s, VERB_note_info, 0);
    add(s, &m, STR(""));
    answer(s);
}

static bool has(const char *name, const char *value) {
    const struct note_entry *n = note_table_find(copy, now, str_of(name));
    return value ? n && str_eq(n->value, str_of(value)) : !n;
}

/* Of the next HEARTBEAT. */
static uint64_t beat(struct scene *s) {
    AUTO_ARENA arena = arena_new(1 << 20);
    struct msg_heartbeat m;
    struct frame_item item;
    struct err e = {0};
    now.ms += 1000;
    while (receive(s) != VERB_heartbeat)
        continue;
    assert_int_equal(frame_next(&s->in, &m, arena, &item, &e), 1);
    assert_true(MSG_HAS(&m, heartbeat, notes));
    return m.notes;
}

/* P-101 */
static void test_copy(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    assert_int_equal(beat(s), 0);
    tell(s, "p", "open", 7, 0);
    tell(s, "q", "x", 9, 7);
    assert_true(has("p", "open") && has("q", "x"));
    assert_int_equal(beat(s), 9);
    tell(s, "p", NULL, 10, 9);
    assert_true(has("p", NULL));
    assert_int_equal(beat(s), 10);
}

/* P-102: another life of the broker knows none; the same one tells what has changed. */
static void test_another_life(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    tell(s, "p", "open", 7, 0);
    lose(s);
    welcome(s, 5);
    assert_true(has("p", "open"));
    assert_int_equal(beat(s), 7);
    lose(s);
    welcome(s, 6);
    client_poll(s->c, MONO_PAST);
    assert_true(has("p", NULL));
    assert_true(silent(s)); /* those of the lost connection are read */
    assert_int_equal(beat(s), 0);
}

static void test_requests(void **state) {
    struct scene *s = *state;
    struct msg_set_note m = {0};
    struct msg_outcome done = {0};
    struct msg_get_status list = {0};
    welcome(s, 5);
    MSG_SET(&m, set_note, name, STR("p"));
    assert_int_equal(client_request(s->c, VERB_set_note, &(struct client_item){.message = &m}, 1,
                                    on_reply, &s->told[0], mono_add(now, 60000), NULL),
                     0);
    hear(s, VERB_set_note);
    MSG_SET(&done, outcome, code, 0);
    begin(s, VERB_outcome, s->in.sequence);
    add(s, &done, STR(""));
    answer(s);
    assert_int_equal(s->told[0].items, 1);
    assert_int_equal(client_request(s->c, VERB_list_notes, &(struct client_item){.message = &list},
                                    1, on_reply, &s->told[1], mono_add(now, 60000), NULL),
                     0);
    hear(s, VERB_list_notes);
    begin(s, VERB_note_info, s->in.sequence);
    answer(s);
    assert_int_equal(s->told[1].ends, 1);
    assert_true(has("p", NULL)); /* a listing changes nothing here */
}

#define NOTES(test) cmocka_unit_test_setup_teardown(test, set_up_notes, tear_down_notes)

int main(void) {
    const struct CMUnitTest tests[] = {
        NOTES(test_copy),
        NOTES(test_another_life),
        NOTES(test_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A peer's copy of the notes: in order, out of order, with gaps, and bounded whatever is said. */
#include "common/wire/note_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct mono at(uint64_t ms) {
    return (struct mono){ms};
}

static void take(struct note_table *t, const char *name, const char *value, uint64_t version,
                 uint64_t behind) {
    struct msg_note_info m = {.name = str_of(name),
                              .value = str_of(value),
                              .left_ms = value[0] ? 1000 : 0,
                              .version = version,
                              .behind = behind};
    note_table_take(t, at(100), &m);
}

static bool has(const struct note_table *t, uint64_t now, const char *name, const char *value) {
    const struct note_entry *n = note_table_find(t, at(now), str_of(name));
    return value ? n && str_eq(n->value, str_of(value)) : !n;
}

static void test_order(void **state) { /* P-101 */
    (void)state;
    struct note_table *t = note_table_new();
    take(t, "b", "1", 10, 0);
    take(t, "a", "2", 11, 10);
    take(t, "b", "old", 9, 8);     /* it came late */
    take(t, "c", "early", 14, 12); /* something is missing before it */
    assert_int_equal(note_table_version(t), 11);
    assert_true(has(t, 100, "a", "2") && has(t, 100, "b", "1") && has(t, 100, "c", NULL));
    take(t, "b", "", 12, 11);
    take(t, "c", "3", 14, 12);
    assert_true(has(t, 100, "b", NULL) && has(t, 100, "c", "3"));
    assert_int_equal(note_table_count(t), 2);
    assert_true(str_eq(note_table_at(t, 0)->name, STR("a")));
    take(t, "d", "all", 13, 0); /* the first of all there is */
    assert_int_equal(note_table_count(t), 1);
    assert_int_equal(note_table_version(t), 13);
    assert_true(has(t, 1099, "d", "all") && has(t, 1100, "d", NULL)); /* it has ended */
    note_table_destroy(&t);
}

static void test_own(void **state) {
    (void)state;
    struct note_table *t = note_table_new();
    struct msg_set_note m = {.name = STR("p"), .value = STR("mine"), .for_ms = 500};
    take(t, "p", "theirs", 10, 0);
    note_table_set(t, at(100), &m, 12);
    assert_int_equal(note_table_version(t), 10);
    take(t, "p", "older", 11, 10); /* was under way */
    assert_true(has(t, 599, "p", "mine") && has(t, 600, "p", NULL));
    take(t, "p", "mine", 12, 11);
    assert_true(has(t, 601, "p", "mine"));
    note_table_set(t, at(100), &m, 0);
    assert_true(has(t, 100, "p", NULL));
    note_table_forget(t);
    assert_int_equal(note_table_version(t), 0);
    note_table_destroy(&t);
}

static void test_bounded(void **state) { /* P-102 */
    (void)state;
    struct note_table *t = note_table_new();
    for (uint64_t n = 1; n <= 3 * NOTES_MAX; n++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", (unsigned)n);
        take(t, name, "x", n, n - 1);
        assert_in_range(note_table_count(t), 1, NOTES_MAX);
        assert_true(has(t, 100, name, "x"));
    }
    struct msg_note_info late = {
        .name = STR("z"), .value = STR("x"), .left_ms = 9, .version = 9000, .behind = 3000};
    note_table_take(t, at(5000), &late); /* those that are over make room first */
    assert_int_equal(note_table_count(t), 1);
    note_table_destroy(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

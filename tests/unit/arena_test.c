#include "common/base/arena.h"
#include "tests/support/dies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void memory_is_aligned_and_apart(void **state) {
    (void)state;
    AUTO_ARENA a = arena_new(1U << 20);
    unsigned char *at[200];
    for (size_t i = 0; i < 200; i++) {
        at[i] = arena_try(a, i);
        assert_non_null(at[i]);
        assert_int_equal((uintptr_t)at[i] % 16, 0);
        memset(at[i], (int)i, i);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < i; j++)
            assert_int_equal(at[i][j], i);
}

static void the_bound_holds(void **state) {
    (void)state;
    AUTO_ARENA a = arena_new(4096 + 32);
    assert_null(arena_try(a, 4096 + 33));
    assert_int_equal(arena_used(a), 0);
    assert_non_null(arena_try(a, 4096));
    assert_non_null(arena_try(a, 17)); /* takes 32 */
    assert_int_equal(arena_used(a), 4096 + 32);
    assert_null(arena_try(a, 1));
    assert_non_null(arena_try(a, 0));
    arena_reset(a);
    assert_int_equal(arena_used(a), 0);
    assert_non_null(arena_try(a, 4096 + 32));
    assert_null(arena_try(a, 1));
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    AUTO_ARENA all = arena_new(SIZE_MAX);
    assert_null(arena_try(all, SIZE_MAX));
    assert_null(arena_try(all, SIZE_MAX - 15));
    assert_null(arena_try(all, SIZE_MAX - 64));
    assert_null(arena_try_array(all, SIZE_MAX / 2, 3));
    assert_null(arena_try_copy(all, str_make("x", SIZE_MAX)).at);
    assert_null(arena_try_copy(all, str_make("x", SIZE_MAX - 1)).at);
    assert_int_equal(arena_used(all), 0);
    AUTO_ARENA a = arena_new(1024);
    assert_null(arena_try_array(a, 1025, 1));
    assert_null(arena_try_array(a, SIZE_MAX, SIZE_MAX));
    assert_null(arena_try_array(a, 1ULL << 63, 2));
    assert_non_null(arena_try_array(a, SIZE_MAX, 0));
    assert_non_null(arena_try_array(a, 0, SIZE_MAX));
    assert_non_null(arena_try_array(a, 64, 16));
}

static void copies_end_in_a_nul(void **state) {
    (void)state;
    AUTO_ARENA a = arena_new(64);
    char text[] = "a\0b";
    struct str copy = arena_try_copy(a, str_make(text, 3));
    text[0] = 'z';
    assert_int_equal(copy.len, 3);
    assert_memory_equal(copy.at, "a\0b", 4);
    struct str empty = arena_try_copy(a, (struct str){NULL, 0});
    assert_int_equal(empty.len, 0);
    assert_string_equal(empty.at, "");
    struct str large = arena_try_copy(a, STR("0123456789012345678901234567890123456789"));
    assert_null(large.at);
    assert_int_equal(large.len, 0);
}

static char order[16];
static void note(void *what) {
    strncat(order, what, 1);
}

static void what_was_deferred_runs_once_the_last_first(void **state) {
    (void)state;
    order[0] = '\0';
    struct arena *a = arena_new(1024);
    arena_defer(a, note, "a");
    arena_defer(a, note, "b");
    arena_defer(a, note, arena_try_copy(a, STR("c")).at ? "c" : "");
    arena_reset(a);
    assert_string_equal(order, "cba");
    arena_reset(a);
    arena_defer(a, note, "d");
    arena_destroy(&a);
    assert_null(a);
    arena_destroy(&a);
    assert_string_equal(order, "cbad");
}

/* Foreign resources join however full outside data has made the arena. */
static void a_full_arena_still_defers(void **state) {
    (void)state;
    order[0] = '\0';
    AUTO_ARENA a = arena_new(64);
    assert_non_null(arena_try(a, 64));
    assert_null(arena_try(a, 1));
    arena_defer(a, note, "x");
    arena_reset(a);
    assert_string_equal(order, "x");
}

static void memory_is_used_again(void **state) {
    (void)state;
    AUTO_ARENA a = arena_new(16U << 20);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 100; i++) {
            char *p = arena_try(a, 10000);
            assert_non_null(p);
            memset(p, round, 10000);
        }
        assert_int_equal(arena_used(a), 100 * 10000);
        arena_reset(a);
    }
}

static void alloc_too_much(void *arg) {
    (void)arena_alloc(arg, 65);
}

static void alloc_beyond_the_bound_is_our_bug(void **state) {
    (void)state;
    AUTO_ARENA a = arena_new(64);
    expect_abort(alloc_too_much, a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_apart),
        cmocka_unit_test(the_bound_holds),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(copies_end_in_a_nul),
        cmocka_unit_test(what_was_deferred_runs_once_the_last_first),
        cmocka_unit_test(a_full_arena_still_defers),
        cmocka_unit_test(memory_is_used_again),
        cmocka_unit_test(alloc_beyond_the_bound_is_our_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

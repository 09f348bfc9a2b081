#include "common/base/time_types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct wall at(uint64_t ms) {
    return (struct wall){ms};
}

static void monotonic_time_does_not_wrap(void **state) {
    (void)state;
    struct mono t = {1000};
    assert_int_equal(mono_add(t, 5).ms, 1005);
    assert_true(mono_add(t, UINT64_MAX).ms == UINT64_MAX);
    assert_true(mono_add(t, UINT64_MAX - 1000).ms == UINT64_MAX);
    assert_true(mono_add(t, UINT64_MAX - 1001).ms == UINT64_MAX - 1);
    assert_true(mono_add(MONO_NEVER, 1).ms == UINT64_MAX);
    assert_true(mono_add(MONO_NEVER, 0).ms == UINT64_MAX);
}

static void waiting_is_never_negative(void **state) {
    (void)state;
    struct mono now = {1000};
    assert_int_equal(mono_until(now, (struct mono){1500}), 500);
    assert_int_equal(mono_until(now, now), 0);
    assert_int_equal(mono_until(now, (struct mono){999}), 0);
    assert_true(mono_reached(now, now));
    assert_true(mono_reached(now, (struct mono){999}));
    assert_false(mono_reached(now, (struct mono){1001}));
    assert_false(mono_reached(now, MONO_NEVER));
    assert_true(mono_until(now, MONO_NEVER) == UINT64_MAX - 1000);
}

static void wall_time_does_not_wrap(void **state) {
    (void)state;
    assert_int_equal(wall_add(at(7), 3).ms, 10);
    assert_true(wall_add(at(7), UINT64_MAX).ms == UINT64_MAX);
    assert_true(wall_add(at(UINT64_MAX), 0).ms == UINT64_MAX);
}

/* A wait of 60 s that began at 1,000,000, looked at after a restart. */
static void a_rest_stays_within_the_whole_when_the_clock_steps(void **state) {
    (void)state;
    const uint64_t whole = 60000;
    const struct wall end = at(1060000);
    static const struct {
        uint64_t now, rest;
    } cases[] = {
        {1000000, 60000},                   /* at once */
        {1000001, 59999}, {1045000, 15000}, /* later */
        {1059999, 1},     {1060000, 0},     /* over */
        {1060001, 0},     {UINT64_MAX, 0},  /* stepped far ahead */
        {999999, 60000},                    /* stepped back: not longer than the whole */
        {1000, 60000},    {0, 60000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(wall_rest(at(cases[i].now), end, whole), cases[i].rest);
    assert_int_equal(wall_rest(at(0), end, 0), 0);
    assert_int_equal(wall_rest(at(5), wall_add(at(5), UINT64_MAX), 10), 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_does_not_wrap),
        cmocka_unit_test(waiting_is_never_negative),
        cmocka_unit_test(wall_time_does_not_wrap),
        cmocka_unit_test(a_rest_stays_within_the_whole_when_the_clock_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

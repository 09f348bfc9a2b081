/* How many processes of a pool run, and when the next one starts. */
#include "workers/pools/seats.h"
#include "workers/pools/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define WAIT 100
#define MOST 1000

static struct mono at(uint64_t ms) {
    return (struct mono){ms};
}

/* Starts all that is due; how many that were. */
static uint32_t start_due(struct seats *s, uint64_t now) {
    uint32_t n = 0, seat;
    for (; (seat = seats_due(s, at(now))) != SEAT_NONE; n++)
        seats_take(s, seat, at(now));
    return n;
}

static void end(struct seats *s, uint32_t seat, enum seat_end how, uint64_t now) {
    struct rng rng = rng_seed(1);
    seats_end(s, seat, how, WAIT, MOST, at(now), &rng);
}

static void test_as_many_as_planned(void **state) {
    struct seats s = {0};
    (void)state;
    assert_int_equal(start_due(&s, 0), 0);
    seats_plan(&s, 3, at(0));
    assert_int_equal(start_due(&s, 0), 3);
    seats_plan(&s, 1, at(0)); /* the broker says which ones go */
    assert_int_equal(seats_held(&s), 3);
    end(&s, 1, SEAT_END_DONE, 10);
    end(&s, 0, SEAT_END_DIED, 10);
    assert_int_equal(start_due(&s, 100000), 0);
    assert_int_equal(seats_held(&s), 1);
    seats_plan(&s, 2, at(10));
    assert_int_equal(start_due(&s, 10), 1);
    seats_done(&s);
}

static void test_waits_double_and_are_forgotten(void **state) {
    struct seats s = {0};
    uint64_t now = 0, waits[6];
    (void)state;
    seats_plan(&s, 1, at(now));
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(start_due(&s, now), 1);
        end(&s, 0, SEAT_END_DIED, now);
        waits[i] = seats_next(&s).ms - now;
        assert_int_equal(start_due(&s, now + waits[i] - 1), 0);
        now += waits[i];
    }
    static const uint64_t full[] = {100, 200, 400, 800, 1000, 1000};
    for (size_t i = 0; i < 6; i++) {
        assert_in_range(waits[i], full[i] * 3 / 4, full[i]);
    }
    assert_int_equal(start_due(&s, now), 1);
    end(&s, 0, SEAT_END_DIED, now + RESTART_HEALTHY_MS);
    assert_in_range(seats_next(&s).ms - now - RESTART_HEALTHY_MS, 75, 100);
    seats_done(&s);
}

static void test_replaced_in_vain(void **state) {
    struct seats s = {0};
    struct rng rng = rng_seed(1);
    uint64_t now = 0;
    (void)state;
    seats_plan(&s, 1, at(now));
    static const uint64_t waits[] = {0, 200, 400, 800, 1000};
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        assert_int_equal(start_due(&s, now), 1);
        seats_leave(&s, 0, true, WAIT, MOST, at(now), &rng);
        assert_in_range(seats_next(&s).ms - now, waits[i] * 3 / 4, waits[i]);
        now = seats_next(&s).ms;
    }
    assert_int_equal(start_due(&s, now), 1);
    now += RESTART_HEALTHY_MS; /* it grew slowly: another one helps */
    seats_leave(&s, 0, true, WAIT, MOST, at(now), &rng);
    assert_int_equal(start_due(&s, now), 1);
    seats_plan(&s, 0, at(now));
    seats_leave(&s, 0, true, WAIT, MOST, at(now), &rng); /* nobody wants another one */
    assert_int_equal(seats_next(&s).ms, UINT64_MAX);
    seats_done(&s);
}

static void test_another_seat_is_no_way_around_a_wait(void **state) {
    struct seats s = {0};
    (void)state;
    seats_plan(&s, 2, at(0));
    assert_int_equal(start_due(&s, 0), 2);
    end(&s, 0, SEAT_END_DIED, 0);
    assert_int_equal(start_due(&s, 50), 0);
    assert_int_equal(seats_held(&s), 1);
    end(&s, 1, SEAT_END_AGAIN, 50); /* its neighbour does not wait with it */
    assert_int_equal(start_due(&s, 50), 1);
    assert_int_equal(start_due(&s, 100), 1);
    seats_done(&s);
}

static void test_hopeless_waits_longest(void **state) {
    struct seats s = {0};
    (void)state;
    seats_plan(&s, 1, at(0));
    start_due(&s, 0);
    end(&s, 0, SEAT_END_HOPELESS, 0);
    assert_in_range(seats_next(&s).ms, MOST * 3 / 4, MOST);
    seats_done(&s);
}

static void test_successor_starts_first(void **state) {
    struct seats s = {0};
    (void)state;
    seats_plan(&s, 1, at(0));
    start_due(&s, 0);
    struct rng rng = rng_seed(1);
    seats_leave(&s, 0, false, WAIT, MOST, at(5), &rng);
    assert_int_equal(start_due(&s, 5), 1);
    assert_int_equal(seats_held(&s), 1);
    seats_done(&s);
}

static void test_plan_of_none(void **state) {
    struct seats s = {0};
    (void)state;
    seats_plan(&s, 2, at(0));
    start_due(&s, 0);
    end(&s, 0, SEAT_END_DIED, 0);
    seats_plan(&s, 0, at(1));
    assert_int_equal(seats_next(&s).ms, UINT64_MAX);
    end(&s, 1, SEAT_END_DONE, 2);
    assert_int_equal(seats_held(&s), 0);
    assert_int_equal(start_due(&s, 100000), 0);
    seats_done(&s);
}

/* ---- the command ---------------------------------------------------------------------------- */
static void test_command_words(void **state) {
    static const struct {
        const char *command, *words; /* joined with | */
    } cases[] = {
        {"python3 my_worker.py", "python3|my_worker.py"},
        {"  a \t b\n", "a|b"},
        {"sh -c 'echo \"a b\"; exec c'", "sh|-c|echo \"a b\"; exec c"},
        {"a \"b 'c' \\\"d\\\"\" e\\ f", "a|b 'c' \"d\"|e f"},
        {"a '' \"\"", "a||"},
        {"a'b'\"c\"d", "abcd"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_ARENA arena = arena_new(1 << 16);
        struct err e = {0};
        char **argv, joined[256] = "";
        assert_int_equal(words_split(str_of(cases[i].command), arena, &argv, &e), 0);
        for (size_t n = 0; argv[n]; n++)
            snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s%s", n ? "|" : "",
                     argv[n]);
        assert_string_equal(joined, cases[i].words);
    }
}

static void test_command_that_is_none(void **state) {
    static const char *const wrong[] = {"", "  ", "a 'b", "a \"b", "a \"b\\"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        AUTO_ARENA arena = arena_new(1 << 16);
        struct err e = {0};
        char **argv;
        assert_int_equal(words_split(str_of(wrong[i]), arena, &argv, &e), -1);
        assert_int_equal(e.code, ERR_BAD_CONFIG);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_as_planned),
        cmocka_unit_test(test_waits_double_and_are_forgotten),
        cmocka_unit_test(test_replaced_in_vain),
        cmocka_unit_test(test_another_seat_is_no_way_around_a_wait),
        cmocka_unit_test(test_hopeless_waits_longest),
        cmocka_unit_test(test_successor_starts_first),
        cmocka_unit_test(test_plan_of_none),
        cmocka_unit_test(test_command_words),
        cmocka_unit_test(test_command_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

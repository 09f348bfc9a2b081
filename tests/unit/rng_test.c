#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The first of seed 42 are those of the reference implementation's own test of its single-stream
 * generator; the others were computed apart from the definition. */
static void the_sequence_is_the_same_everywhere(void **state) {
    (void)state;
    static const struct {
        uint64_t seed;
        uint32_t first[6];
    } vectors[] = {
        {42, {0xC2F57BD6, 0x6B07C4A9, 0x72B7B29B, 0x44215383, 0xF5AF5EAD, 0x68BEB632}},
        {0, {0xE823A24E, 0x7A7ECBD9, 0x89FD6C06, 0xAE646AA8, 0xCD3CF945, 0x6204B303}},
        {UINT64_MAX, {0xD9313036, 0xCD4B6992, 0x7B8EC69E, 0x999DD010, 0x5C4EB9AB, 0xB7673059}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct rng r = rng_seed(vectors[i].seed);
        for (size_t j = 0; j < 6; j++)
            assert_int_equal(rng_u32(&r), vectors[i].first[j]);
    }
    struct rng r = rng_seed(42);
    assert_true(rng_u64(&r) == 0xC2F57BD66B07C4A9ULL);
}

static void below_stays_below_and_reaches_all(void **state) {
    (void)state;
    struct rng r = rng_seed(5);
    static const uint32_t bounds[] = {1, 2, 3, 10, 1000, 1U << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        for (int j = 0; j < 1000; j++)
            assert_true(rng_below(&r, bounds[i]) < bounds[i]);
    unsigned seen[10] = {0};
    for (int j = 0; j < 100000; j++)
        seen[rng_below(&r, 10)]++;
    for (size_t i = 0; i < 10; i++)
        assert_in_range(seen[i], 9600, 10400); /* four standard deviations */
}

static void chances_are_what_they_say(void **state) {
    (void)state;
    struct rng r = rng_seed(9);
    unsigned hits = 0;
    for (int i = 0; i < 100000; i++) {
        assert_false(rng_chance(&r, 0));
        assert_true(rng_chance(&r, 1000000));
        hits += rng_chance(&r, 250000);
    }
    assert_in_range(hits, 24400, 25600);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_the_same_everywhere),
        cmocka_unit_test(below_stays_below_and_reaches_all),
        cmocka_unit_test(chances_are_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

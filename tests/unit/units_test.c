#include "common/base/rng.h"
#include "common/base/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef int read_fn(struct str s, uint64_t *v, struct err *e);
typedef struct units_text show_fn(uint64_t v);

static void expect(read_fn *reads, const char *text, uint64_t wanted) {
    uint64_t v = 0;
    struct err e = {0};
    if (reads(str_of(text), &v, &e) < 0)
        fail_msg("'%s': %s", text, e.text);
    assert_true(v == wanted);
}

static void durations_are_read(void **state) {
    (void)state;
    expect(units_duration, "0", 0);
    expect(units_duration, "10", 10000);
    expect(units_duration, "250ms", 250);
    expect(units_duration, "10s", 10000);
    expect(units_duration, "5m", 300000);
    expect(units_duration, "2h", 7200000);
    expect(units_duration, "14d", 1209600000);
    expect(units_duration, "10 s", 10000);
    expect(units_duration, "007s", 7000);
    expect(units_duration, "18446744073709551615ms", UINT64_MAX);
    expect(units_duration, "213503982334d", 213503982334ULL * 86400000);
}

static void sizes_are_read(void **state) {
    (void)state;
    expect(units_size, "0", 0);
    expect(units_size, "17", 17);
    expect(units_size, "17B", 17);
    expect(units_size, "1KiB", 1024);
    expect(units_size, "1K", 1024);
    expect(units_size, "64MiB", 64U << 20);
    expect(units_size, "64M", 64U << 20);
    expect(units_size, "3GiB", 3ULL << 30);
    expect(units_size, "17179869183G", 17179869183ULL << 30);
}

static void expect_refused(read_fn *reads, const char *text) {
    uint64_t v = 77;
    struct err e = {0};
    if (reads(str_of(text), &v, &e) == 0)
        fail_msg("'%s' was taken", text);
    assert_int_equal(e.code, ERR_BAD_VALUE);
    assert_true(strlen(e.text) > 0);
    assert_int_equal(v, 77);
    assert_int_equal(reads(str_of(text), &v, NULL), -1);
}

static void what_is_neither_is_refused(void **state) {
    (void)state;
    static const char *const durations[] = {
        "",
        "s",
        "-1s",
        "+1s",
        " 1s",
        "1.5s",
        "1e3",
        "1S",
        "1 min",
        "1week",
        "1ss",
        "1s2",
        "1h30m",
        "0x10",
        "1\xC2\xB5s",
        "18446744073709551616", /* no number of 64 bits */
        "18446744073709552s",   /* a number, but not of milliseconds */
        "213503982335d",
    };
    static const char *const sizes[] = {
        "",
        "MiB",
        "-1",
        "1.5MiB",
        "1kB",
        "1KB",
        "1mib",
        "1TiB",
        "1 M B",
        "1b",
        "18446744073709551616",
        "17179869184G",
        "18014398509481984KiB",
    };
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++)
        expect_refused(units_duration, durations[i]);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        expect_refused(units_size, sizes[i]);
    uint64_t v;
    assert_int_equal(units_size((struct str){NULL, 0}, &v, NULL), -1);
    assert_int_equal(units_size(str_make("1\0", 2), &v, NULL), -1);
}

static void the_largest_unit_that_divides_is_shown(void **state) {
    (void)state;
    assert_string_equal(units_show_duration(0).at, "0s");
    assert_string_equal(units_show_duration(1).at, "1ms");
    assert_string_equal(units_show_duration(1500).at, "1500ms");
    assert_string_equal(units_show_duration(90000).at, "90s");
    assert_string_equal(units_show_duration(60000).at, "1m");
    assert_string_equal(units_show_duration(86400000).at, "1d");
    assert_string_equal(units_show_duration(UINT64_MAX).at, "18446744073709551615ms");
    assert_string_equal(units_show_size(0).at, "0B");
    assert_string_equal(units_show_size(1023).at, "1023B");
    assert_string_equal(units_show_size(1536).at, "1536B");
    assert_string_equal(units_show_size(65536).at, "64KiB");
    assert_string_equal(units_show_size(1ULL << 40).at, "1024GiB");
    assert_string_equal(units_show_size(UINT64_MAX).at, "18446744073709551615B");
}

static void expect_back(show_fn *show, read_fn *reads, uint64_t v) {
    struct units_text text = show(v);
    expect(reads, text.at, v);
}

static void what_is_shown_is_read_back(void **state) {
    (void)state;
    struct rng r = rng_seed(3);
    static const uint64_t steps[] = {1, 1000, 1024, 60000, 86400000, 1ULL << 20, 1ULL << 30};
    for (int i = 0; i < 20000; i++) {
        uint64_t step = steps[rng_below(&r, sizeof steps / sizeof steps[0])];
        uint64_t v = (rng_u64(&r) >> rng_below(&r, 64)) / step * step;
        expect_back(units_show_duration, units_duration, v);
        expect_back(units_show_size, units_size, v);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(what_is_neither_is_refused),
        cmocka_unit_test(the_largest_unit_that_divides_is_shown),
        cmocka_unit_test(what_is_shown_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

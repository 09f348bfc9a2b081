#include "common/base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct str nothing = {NULL, 0};

static void the_empty_run_may_be_null(void **state) {
    (void)state;
    assert_true(str_eq(nothing, STR("")));
    assert_true(str_eq(str_of(NULL), nothing));
    assert_int_equal(str_cmp(nothing, STR("")), 0);
    assert_true(str_starts(nothing, nothing));
    assert_true(str_starts(STR("x"), nothing));
    assert_false(str_starts(nothing, STR("x")));
    assert_int_equal(str_trim(nothing).len, 0);
    assert_true(str_is_utf8(nothing));
    assert_false(str_is_name(nothing, 10));
    uint64_t v;
    assert_false(str_to_u64(nothing, 10, &v));
}

static void order_is_by_unsigned_bytes(void **state) {
    (void)state;
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("b"), STR("a")) > 0);
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("ab"), STR("a")) > 0);
    assert_true(str_cmp(STR("\x7F"), STR("\x80")) < 0);
    assert_true(str_cmp(STR("a\0b"), STR("a\0c")) < 0);
    assert_int_equal(str_cmp(STR("a\0b"), STR("a\0b")), 0);
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_false(str_eq(STR("a"), STR("a\0")));
}

static void prefixes(void **state) {
    (void)state;
    assert_true(str_starts(STR("tcp://x"), STR("tcp://")));
    assert_true(str_starts(STR("tcp://"), STR("tcp://")));
    assert_false(str_starts(STR("tcp:/"), STR("tcp://")));
    assert_false(str_starts(STR("Tcp://"), STR("tcp://")));
}

static void trimming_takes_blanks_of_both_ends_only(void **state) {
    (void)state;
    struct str s = STR(" \t\r\n a b \n");
    assert_true(str_eq(str_trim(s), STR("a b")));
    assert_int_equal(str_trim(STR(" \t\r\n ")).len, 0);
    assert_true(str_eq(str_trim(STR("\va\f")), STR("\va\f")));
}

/* Written by hand, apart from the code that is tested. */
static size_t encode(uint32_t point, char out[4]) {
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(lead[n] | (point >> (6 * (n - 1))));
    for (size_t i = 1; i < n; i++)
        out[i] = (char)(0x80 | ((point >> (6 * (n - 1 - i))) & 0x3F));
    return n;
}

static void every_code_point_but_surrogates_is_utf8(void **state) {
    (void)state;
    char at[4];
    for (uint32_t point = 0; point < 0x110000; point++) {
        size_t n = encode(point, at);
        bool surrogate = point >= 0xD800 && point <= 0xDFFF;
        if (str_is_utf8(str_make(at, n)) == surrogate)
            fail_msg("U+%04X", point);
        for (size_t cut = 1; cut < n; cut++)
            if (str_is_utf8(str_make(at, cut)))
                fail_msg("U+%04X cut to %zu", point, cut);
    }
}

static void what_is_not_utf8_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\x80", /* no lead */
        "\xBF",
        "\xC0\x80", /* overlong NUL */
        "\xC1\xBF", /* overlong */
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF",
        "\xED\xA0\x80",     /* U+D800 */
        "\xED\xBF\xBF",     /* U+DFFF */
        "\xF4\x90\x80\x80", /* U+110000 */
        "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80",
        "\xFE",
        "\xFF",
        "\xC3\x28", /* no tail */
        "\xE2\x28\xA1",
        "\xE2\x82\x28",
        "\xF0\x9F\x8C\x28",
        "a\xC3",         /* cut */
        "a\xC3\xA9\x80", /* a tail too many */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (str_is_utf8(str_of(bad[i])))
            fail_msg("case %zu", i);
    assert_true(str_is_utf8(STR("\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF\xC2\x80 z")));
    assert_true(str_is_utf8(STR("a\0b")));
}

static void names(void **state) {
    (void)state;
    static const char *const good[] = {"a", "0", "_", ":", "a.b-c:d_E9", "a-", "a."};
    static const char *const bad[] = {"", "-a", ".a", "a b", "a/b", "a\n", "\xC3\xA9", "a@b", "a["};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(str_is_name(str_of(good[i]), 64));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(str_is_name(str_of(bad[i]), 64));
    assert_true(str_is_name(STR("abcd"), 4));
    assert_false(str_is_name(STR("abcde"), 4));
    assert_false(str_is_name(STR("a\0b"), 4));
    assert_false(str_is_name(STR("a"), 0));
}

static void whole_numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t max, value;
    } good[] = {
        {"0", 0, 0},
        {"007", 7, 7},
        {"18446744073709551615", UINT64_MAX, UINT64_MAX},
        {"00000000000000000000000000001", 1, 1},
        {"9", 10, 9},
        {"10", 10, 10},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t v = 99;
        assert_true(str_to_u64(str_of(good[i].text), good[i].max, &v));
        assert_true(v == good[i].value);
    }
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "1_000",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t v = 99;
        assert_false(str_to_u64(str_of(bad[i]), UINT64_MAX, &v));
        assert_int_equal(v, 99);
    }
    uint64_t v = 99;
    assert_false(str_to_u64(STR("11"), 10, &v));
    assert_false(str_to_u64(STR("1"), 0, &v));
    assert_int_equal(v, 99);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_run_may_be_null),
        cmocka_unit_test(order_is_by_unsigned_bytes),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(trimming_takes_blanks_of_both_ends_only),
        cmocka_unit_test(every_code_point_but_surrogates_is_utf8),
        cmocka_unit_test(what_is_not_utf8_is_refused),
        cmocka_unit_test(names),
        cmocka_unit_test(whole_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

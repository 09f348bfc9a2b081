#include "common/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void appends_stand_in_order(void **state) {
    (void)state;
    AUTO_BUF b = BUF(10000);
    AUTO_BUF same = BUF(10000);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buf_printf(&b, "%d,", i), 0);
        char text[16];
        int n = snprintf(text, sizeof text, "%d,", i);
        assert_int_equal(buf_put(&same, text, (size_t)n), 0);
    }
    assert_true(str_eq(buf_str(&b), buf_str(&same)));
    assert_true(str_starts(buf_str(&b), STR("0,1,2,3,4,5,6,7,8,9,10,")));
}

static void an_append_fits_to_the_last_byte(void **state) {
    (void)state;
    char text[1001];
    memset(text, 'x', sizeof text - 1);
    text[1000] = '\0';
    for (size_t max = 0; max <= 1000; max++) {
        AUTO_BUF put = BUF(max), printed = BUF(max);
        assert_int_equal(buf_put(&put, text, max), 0);
        assert_int_equal(buf_printf(&printed, "%.*s", (int)max, text), 0);
        assert_true(str_eq(buf_str(&put), buf_str(&printed)));
        assert_int_equal(buf_putc(&put, 'y'), -1);
        assert_int_equal(buf_printf(&printed, "y"), -1);
        assert_int_equal(put.len, max);
        assert_int_equal(printed.len, max);
    }
}

static void failure_sticks_until_cleared(void **state) {
    (void)state;
    AUTO_BUF b = BUF(5);
    assert_int_equal(buf_put_str(&b, STR("abc")), 0);
    assert_int_equal(buf_put_str(&b, STR("def")), -1);
    assert_true(b.failed);
    assert_true(str_eq(buf_str(&b), STR("abc")));
    assert_int_equal(buf_putc(&b, 'd'), -1); /* would fit */
    assert_int_equal(buf_put(&b, "", 0), -1);
    assert_int_equal(buf_printf(&b, "%s", ""), -1);
    assert_null(buf_room(&b, 1));
    assert_true(str_eq(buf_str(&b), STR("abc")));
    buf_clear(&b);
    assert_false(b.failed);
    assert_int_equal(buf_put_str(&b, STR("defgh")), 0);
    assert_true(str_eq(buf_str(&b), STR("defgh")));
}

static void a_long_print_that_does_not_fit_changes_nothing(void **state) {
    (void)state;
    AUTO_BUF b = BUF(300);
    buf_put_str(&b, STR("abc"));
    assert_int_equal(buf_printf(&b, "%0298d", 7), -1);
    assert_true(b.failed);
    assert_true(str_eq(buf_str(&b), STR("abc")));
    buf_clear(&b);
    assert_int_equal(buf_printf(&b, "%0297d", 7), 0);
    assert_int_equal(b.len, 297);
    assert_int_equal(b.at[296], '7');
}

static void room_of_nothing_is_no_failure(void **state) {
    (void)state;
    AUTO_BUF b = BUF(16);
    assert_non_null(buf_room(&b, 0));
    assert_false(b.failed);
    AUTO_BUF none = BUF(0);
    assert_non_null(buf_room(&none, 0));
    assert_null(buf_room(&none, 1));
    assert_true(none.failed);
}

static void room_is_filled_by_the_caller(void **state) {
    (void)state;
    AUTO_BUF b = BUF(1000);
    buf_putc(&b, 'a');
    char *to = buf_room(&b, 999);
    assert_non_null(to);
    memset(to, 'b', 999);
    assert_int_equal(b.len, 1);
    buf_took(&b, 999);
    assert_int_equal(b.len, 1000);
    assert_null(buf_room(&b, 1));
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 2, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        AUTO_BUF b = BUF(SIZE_MAX);
        buf_putc(&b, 'a');
        assert_null(buf_room(&b, sizes[i]));
        assert_true(b.failed);
        assert_true(str_eq(buf_str(&b), STR("a")));
    }
}

static void destroyed_it_can_be_used_again(void **state) {
    (void)state;
    struct buf b = BUF(3);
    buf_put_str(&b, STR("abcd"));
    buf_destroy(&b);
    assert_null(b.at);
    assert_false(b.failed);
    assert_int_equal(buf_put_str(&b, STR("abc")), 0);
    assert_int_equal(buf_put_str(&b, (struct str){NULL, 0}), 0);
    buf_destroy(&b);
    buf_destroy(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_stand_in_order),
        cmocka_unit_test(an_append_fits_to_the_last_byte),
        cmocka_unit_test(failure_sticks_until_cleared),
        cmocka_unit_test(a_long_print_that_does_not_fit_changes_nothing),
        cmocka_unit_test(room_of_nothing_is_no_failure),
        cmocka_unit_test(room_is_filled_by_the_caller),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(destroyed_it_can_be_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

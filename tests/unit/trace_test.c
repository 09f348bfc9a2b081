#include "common/base/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define GOOD "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void read_and_shown(void **state) { /* P-109 */
    (void)state;
    struct trace t;
    struct err e = {0};
    assert_int_equal(trace_parse("x", STR(GOOD), &t, &e), 0);
    assert_string_equal(trace_show(&t).at, GOOD);
    assert_string_equal(trace_show_id(&t).at, "0af7651916cd43dd8448eb211c80319c");
    assert_int_equal(t.flags, 1);
    assert_true(trace_read(STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff"), &t));
    assert_int_equal(t.flags, 0xff);
}

/* Whoever sent it must see what is wrong with it. */
static void refused(void **state) { /* P-109 */
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"", "x: 0 bytes; a traceparent of version 00 has 55 bytes"},
        {GOOD "-", "x: 56 bytes; a traceparent of version 00 has 55 bytes"},
        {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "the version must be 00"},
        {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "the version must be 00"},
        {"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", "with '-' between"},
        {"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "the trace id must be 32 hex"},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01", "the parent id must be 16 hex"},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0 ", "the flags must be 2 hex"},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", "the trace id must not be all"},
        {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
         "the parent id must not be all"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        struct trace t;
        struct err e = {0};
        assert_int_equal(trace_parse("x", str_of(bad[k].text), &t, &e), -1);
        assert_int_equal(e.code, ERR_BAD_VALUE);
        assert_non_null(strstr(e.text, bad[k].says));
        assert_false(trace_read(str_of(bad[k].text), &t));
    }
}

/* Any byte at any place: it is read as itself, or not at all. */
static void any_byte(void **state) {
    (void)state;
    for (size_t at = 0; at < TRACE_LEN; at++) {
        for (int c = 0; c < 256; c++) {
            char text[TRACE_LEN + 1] = GOOD;
            struct trace t;
            text[at] = (char)c;
            if (trace_read(str_make(text, TRACE_LEN), &t))
                assert_memory_equal(trace_show(&t).at, text, TRACE_LEN);
        }
    }
}

static void of_jobs(void **state) { /* P-109 */
    (void)state;
    struct trace a = trace_of_job(7, 1), again = trace_of_job(7, 1), b = trace_of_job(7, 2),
                 other = trace_of_job(8, 1), read;
    assert_memory_equal(&a, &again, sizeof a);
    assert_memory_not_equal(a.id, b.id, sizeof a.id);
    assert_memory_not_equal(a.id, other.id, sizeof a.id);
    for (uint64_t id = 0; id < 1000; id++) {
        struct trace t = trace_of_job(0, id);
        assert_true(trace_read(str_of(trace_show(&t).at), &read));
    }
}

static void passed_on(void **state) { /* P-110 */
    (void)state;
    struct trace a, b;
    assert_true(trace_read(STR(GOOD), &a));
    b = trace_pass(&a, 0x1122334455667788);
    assert_string_equal(trace_show(&b).at,
                        "00-0af7651916cd43dd8448eb211c80319c-1122334455667788-01");
    b = trace_pass(&a, 0);
    assert_true(trace_read(str_of(trace_show(&b).at), &a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_and_shown), cmocka_unit_test(refused),   cmocka_unit_test(any_byte),
        cmocka_unit_test(of_jobs),        cmocka_unit_test(passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

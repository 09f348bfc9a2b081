#include "common/base/fingerprint.h"

#include "common/base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect(const char *text, const char *wanted) {
    char out[2 * FINGERPRINT_TEXT_MAX + 1];
    size_t n = fingerprint_words(str_of(text), out);
    assert_int_equal(n, strlen(out));
    assert_string_equal(out, wanted);
}

/* P-95 */
static void what_differs_is_replaced(void **state) {
    (void)state;
    expect("", "");
    expect("no answer", "no answer");
    expect("  no \t answer  ", "no answer");
    expect("HTTP 503 from 10.0.0.7:8080", "HTTP # from #");
    expect("at 2027-01-31T09:00:00.123+01:00: late", "at #: late");
    expect("job 0000c00000007 of deadbeefcafe, page v2", "job # of #, page #");
    expect("id 550e8400-e29b-41d4-a716-446655440000 is unknown", "id # is unknown");
    expect("rows 1, 2, 3 and 4", "rows # and #");
    expect("no page 'a b' in \"x\" or `y`", "no page \"\" in \"\" or \"\"");
    expect("can't open it, don't ask", "can't open it, don't ask");
    expect("a ' alone", "a ' alone");
    expect("/tmp/run.Xy/out: not found", "/tmp/*: not found");
    expect("cannot open /etc, nor (/var/lib/x)", "cannot open /etc, nor (/var/*)");
    expect("GET http://example.com/a/b?c=4 failed", "GET http://example.com/* failed");
    expect("read/write error and/or more", "read/write error and/or more");
    expect("non-empty well-known fade", "non-empty well-known fade");
    expect("größe 5 zu groß", "größe # zu groß");
    expect("-5 is negative", "-# is negative");
}

static void of_lines_the_first_counts(void **state) {
    (void)state;
    expect("\n worker 12 ended by signal 9; its last words follow\nabc\ndef",
           "worker # ended by signal #; its last words follow");
    expect("Traceback (most recent call last):\n  File \"x.py\", line 3\nValueError: 7 is odd\n",
           "Traceback (most recent call last):ValueError: # is odd");
    expect("alone:", "alone:");
    char long_text[2000], out[2 * FINGERPRINT_TEXT_MAX + 1];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(fingerprint_words(str_of(long_text), out), FINGERPRINT_TEXT_MAX);
}

static bool same(const char *a, const char *b) {
    return fingerprint_of(STR("k"), 75, str_of(a)) == fingerprint_of(STR("k"), 75, str_of(b));
}

static void tells_failures_apart(void **state) {
    (void)state;
    assert_true(same("timeout after 30 s", "timeout after 7 s"));
    assert_false(same("timeout", "refused"));
    assert_true(fingerprint_of(STR("k"), 75, STR("x")) != fingerprint_of(STR("l"), 75, STR("x")));
    assert_true(fingerprint_of(STR("k"), 75, STR("x")) != fingerprint_of(STR("k"), 76, STR("x")));
}

/* The examples of docs/protocol.md: they are on disk and in others' programs. */
static void is_as_the_protocol_says(void **state) {
    (void)state;
    assert_string_equal(id_show(fingerprint_of(STR("fetch"), 75, STR("HTTP 503 from 10.0.0.7"))).at,
                        "frkm7cb5xv3mz");
    assert_string_equal(id_show(fingerprint_of(STR("echo"), 78, STR(""))).at, "15znmb5va6xr1");
}

/* Any bytes at all: never more words than were read, never the numbers that mean something else. */
static void takes_anything(void **state) {
    (void)state;
    static const char some[] = "'\"`/ -.,:;#a1f\n\t\xc3\xbc(";
    unsigned seed = 7;
    for (int round = 0; round < 20000; round++) {
        char text[600], out[2 * FINGERPRINT_TEXT_MAX + 1];
        size_t n = (size_t)rand_r(&seed) % sizeof text;
        for (size_t k = 0; k < n; k++)
            text[k] = some[(size_t)rand_r(&seed) % (sizeof some - 1)];
        assert_true(fingerprint_words(str_make(text, n), out) <= n);
        assert_true(fingerprint_of(STR("k"), 1, str_make(text, n)) > FINGERPRINT_OTHER);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_is_replaced), cmocka_unit_test(of_lines_the_first_counts),
        cmocka_unit_test(tells_failures_apart),     cmocka_unit_test(is_as_the_protocol_says),
        cmocka_unit_test(takes_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whether so many files can be opened. */
#include "common/os/files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define MORE 20U

static struct rlimit usual;

static void set_limit(rlim_t soft, rlim_t hard) {
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){soft, hard}), 0);
}

static rlim_t limit(void) {
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    return l.rlim_cur;
}

static int set_up(void **state) {
    (void)state;
    return getrlimit(RLIMIT_NOFILE, &usual);
}

static int tear_down(void **state) {
    (void)state;
    return setrlimit(RLIMIT_NOFILE, &usual);
}

static void open_them(unsigned n) {
    int at[MORE];
    for (unsigned i = 0; i < n; i++) {
        at[i] = dup(0);
        assert_true(at[i] >= 0);
    }
    for (unsigned i = 0; i < n; i++)
        close(at[i]);
}

static void test_what_fits_changes_nothing(void **state) {
    struct err e = {0};
    (void)state;
    rlim_t before = limit();
    assert_int_equal(files_need(MORE, &e), 0);
    assert_int_equal(limit(), before);
}

static void test_the_limit_is_raised(void **state) {
    struct err e = {0};
    (void)state;
    set_limit(8, usual.rlim_max);
    assert_int_equal(files_need(MORE, &e), 0);
    assert_true(limit() > MORE);
    open_them(MORE);
}

/* Numbers that are taken between those that are free count. */
static void test_exactly_as_many(void **state) {
    struct err e = {0};
    (void)state;
    int hole = dup(0), behind = dup(0);
    close(hole);
    set_limit(8, usual.rlim_max);
    assert_int_equal(files_need(MORE, &e), 0);
    rlim_t enough = limit();
    int last = (int)enough - 1;
    assert_int_equal(dup2(0, last), last); /* it was free */
    assert_int_equal(files_need(MORE, &e), 0);
    assert_int_equal(limit(), enough + 1);
    close(last);
    close(behind);
}

static void test_too_few(void **state) {
    struct err e = {0};
    (void)state;
    set_limit(16, 16); /* for good: it is the last test */
    assert_int_equal(files_need(MORE, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "the limit of open files is 16, at least "));
    assert_non_null(strstr(e.text, "(ulimit -n)"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_fits_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_limit_is_raised, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exactly_as_many, set_up, tear_down),
        cmocka_unit_test(test_too_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

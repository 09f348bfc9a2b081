#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/support/dies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void allocations_are_what_they_say(void **state) {
    (void)state;
    AUTO_FREE char *zeroed = mem_zalloc(100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeroed[i], 0);
    AUTO_FREE char *copy = mem_strdup("abc");
    assert_string_equal(copy, "abc");
    char *none = mem_alloc(0);
    assert_non_null(none);
    MEM_FREE(none);
    assert_null(none);
    mem_free(NULL);
    AUTO_FREE void *tried = mem_try(0);
    assert_non_null(tried);
    assert_null(mem_try(SIZE_MAX / 2));
}

static void growing_keeps_what_was_there(void **state) {
    (void)state;
    AUTO_FREE uint32_t *at = NULL;
    for (uint32_t n = 1; n <= 1000; n++) {
        at = mem_grow(at, n, sizeof *at);
        at[n - 1] = n;
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(at[i], i + 1);
}

static void grow_over(void *arg) {
    (void)arg;
    mem_free(mem_grow(NULL, SIZE_MAX / 2, 3));
}

static void alloc_all(void *arg) {
    (void)arg;
    mem_free(mem_alloc(SIZE_MAX / 2));
}

static void check(void *arg) {
    ASSERT(arg == NULL);
}

static void our_own_bugs_end_the_process(void **state) {
    (void)state;
    check(NULL);
    expect_abort(check, &state);
    expect_abort(grow_over, NULL);
    expect_abort(alloc_all, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_what_they_say),
        cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(our_own_bugs_end_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

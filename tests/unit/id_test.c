#include "common/base/id.h"
#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Computed apart, five bits at a time. */
static const struct vector {
    uint64_t id;
    const char *text;
} vectors[] = {
    {1, "0000000000001"},
    {31, "000000000000z"},
    {32, "0000000000010"},
    {0x0123456789ABCDEFULL, "028t5cy4tqkff"},
    {1ULL << 63, "8000000000000"},
    {UINT64_MAX, "fzzzzzzzzzzzz"},
    {12345678901234567890ULL, "apn59hknhy2pj"},
    {(1ULL << 42) | 1, "0000400000001"},
};

static void ids_are_shown_as_crockford_has_them(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint64_t id = 0;
        assert_string_equal(id_show(vectors[i].id).at, vectors[i].text);
        assert_true(id_parse(str_of(vectors[i].text), &id));
        assert_true(id == vectors[i].id);
    }
    assert_string_equal(id_show(0).at, "0000000000000");
}

static void letters_that_look_alike_are_read(void **state) {
    (void)state;
    uint64_t id = 0;
    assert_true(id_parse(STR("FZZZZZZZZZZZZ"), &id));
    assert_true(id == UINT64_MAX);
    assert_true(id_parse(STR("oO0OoO00000iI"), &id));
    assert_int_equal(id, 33);
    assert_true(id_parse(STR("oooooooooool1"), &id));
    assert_int_equal(id, 33);
    assert_true(id_parse(STR("00000000000L0"), &id));
    assert_int_equal(id, 32);
}

static void what_is_no_id_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "1",
        "000000000000",   /* 12 */
        "00000000000001", /* 14 */
        "0000000000000",  /* none */
        "ooooooooooooo",  /* none */
        "g000000000000",  /* 65 bits */
        "zzzzzzzzzzzzz",
        "000000000000u", /* not in the alphabet */
        "000000000000U",
        "000000000000-",
        "000000000000 ",
        "000000000000\x80",
        "-000000000001",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t id = 77;
        if (id_parse(str_of(bad[i]), &id))
            fail_msg("'%s'", bad[i]);
        assert_int_equal(id, 77);
    }
    uint64_t id;
    assert_false(id_parse(str_make("000000000000\0", 13), &id));
    assert_false(id_parse((struct str){NULL, 0}, &id));
}

static void ids_go_there_and_back_in_order(void **state) {
    (void)state;
    struct rng r = rng_seed(1);
    for (int i = 0; i < 10000; i++) {
        uint64_t a = rng_u64(&r) >> (i % 64), b = rng_u64(&r) >> (i % 61), back = 0;
        if (a == 0)
            continue;
        struct id_text x = id_show(a), y = id_show(b);
        assert_true(id_parse(str_of(x.at), &back));
        assert_true(back == a);
        assert_int_equal(strcmp(x.at, y.at) < 0, a < b);
    }
}

static void epoch_and_counter_stand_apart(void **state) {
    (void)state;
    uint64_t id = id_make(ID_EPOCH_MAX, ID_COUNTER_MAX);
    assert_true(id == (1ULL << 60) - 1); /* the shard's four bits are free */
    assert_true(id_epoch(id) == ID_EPOCH_MAX);
    assert_true(id_counter(id) == ID_COUNTER_MAX);
    assert_true(id_make(1, 0) == ID_COUNTER_MAX + 1);
    assert_true(id_make(5, ID_COUNTER_MAX) < id_make(6, 0));
    assert_true(id_epoch(id_make(7, 9)) == 7);
    assert_true(id_counter(id_make(7, 9)) == 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_shown_as_crockford_has_them),
        cmocka_unit_test(letters_that_look_alike_are_read),
        cmocka_unit_test(what_is_no_id_is_refused),
        cmocka_unit_test(ids_go_there_and_back_in_order),
        cmocka_unit_test(epoch_and_counter_stand_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

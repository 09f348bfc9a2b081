#include "common/base/crc.h"
#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* RFC 3720, appendix B.4. */
static void the_vectors_of_the_rfc(void **state) {
    (void)state;
    unsigned char at[32];
    memset(at, 0, sizeof at);
    assert_int_equal(crc32c(0, str_make(at, 32)), 0x8A9136AA);
    memset(at, 0xFF, sizeof at);
    assert_int_equal(crc32c(0, str_make(at, 32)), 0x62A8AB43);
    for (unsigned i = 0; i < 32; i++)
        at[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, str_make(at, 32)), 0x46DD794E);
    for (unsigned i = 0; i < 32; i++)
        at[i] = (unsigned char)(31 - i);
    assert_int_equal(crc32c(0, str_make(at, 32)), 0x113FDB5C);
    static const unsigned char read_pdu[48] = {
        0x01, 0xC0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    assert_int_equal(crc32c(0, str_make(read_pdu, sizeof read_pdu)), 0xD9963A56);
    assert_int_equal(crc32c(0, STR("123456789")), 0xE3069283);
    assert_int_equal(crc32c(0, (struct str){NULL, 0}), 0);
}

/* One bit at a time, from the polynomial. */
static uint32_t slow_crc(const unsigned char *at, size_t n) {
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78U : 0);
    }
    return ~crc;
}

static void any_length_alignment_and_split(void **state) {
    (void)state;
    static unsigned char at[5000];
    struct rng r = rng_seed(7);
    for (size_t i = 0; i < sizeof at; i++)
        at[i] = (unsigned char)rng_u32(&r);
    for (int i = 0; i < 3000; i++) {
        size_t from = rng_below(&r, 64);
        size_t n = i < 600 ? (size_t)i : rng_below(&r, (uint32_t)(sizeof at - from));
        size_t split = rng_below(&r, (uint32_t)n + 1);
        uint32_t wanted = slow_crc(at + from, n);
        assert_int_equal(crc32c(0, str_make(at + from, n)), wanted);
        uint32_t first = crc32c(0, str_make(at + from, split));
        assert_int_equal(crc32c(first, str_make(at + from + split, n - split)), wanted);
    }
}

static void one_bit_matters(void **state) {
    (void)state;
    unsigned char at[64] = {0};
    uint32_t whole = crc32c(0, str_make(at, sizeof at));
    for (unsigned bit = 0; bit < sizeof at * 8; bit++) {
        at[bit / 8] ^= (unsigned char)(1U << (bit % 8));
        assert_int_not_equal(crc32c(0, str_make(at, sizeof at)), whole);
        at[bit / 8] ^= (unsigned char)(1U << (bit % 8));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc),
        cmocka_unit_test(any_length_alignment_and_split),
        cmocka_unit_test(one_bit_matters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

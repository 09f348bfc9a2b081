#include "common/wire/msgpack.h"

#include "common/base/rng.h"
#include "tests/support/hex.h"

#include <math.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct msgpack_limits limits = {MSGPACK_DEPTH_MAX, 1U << 18};

/* ---- writing: the same bytes as another implementation -------------------------------------- */
struct pair {
    struct buf ours;
    msgpack_sbuffer theirs;
    msgpack_packer packer;
};

static void pair_open(struct pair *p) {
    p->ours = BUF(1U << 20);
    msgpack_sbuffer_init(&p->theirs);
    msgpack_packer_init(&p->packer, &p->theirs, msgpack_sbuffer_write);
}

static void pair_close(struct pair *p) {
    assert_false(p->ours.failed);
    assert_true(str_eq(buf_str(&p->ours), str_make(p->theirs.data, p->theirs.size)));
    buf_destroy(&p->ours);
    msgpack_sbuffer_destroy(&p->theirs);
}

/* Numbers at and beside every power of two. */
static void numbers_are_written_shortest(void **state) { /* P-12 */
    (void)state;
    struct pair p;
    pair_open(&p);
    for (unsigned bit = 0; bit < 64; bit++) {
        for (uint64_t near = 0; near <= 4; near++) {
            uint64_t u = (1ULL << bit) + near - 2;
            int64_t s = -(int64_t)(u & INT64_MAX);
            msgpack_put_uint(&p.ours, u);
            msgpack_pack_uint64(&p.packer, u);
            msgpack_put_int(&p.ours, s);
            msgpack_pack_int64(&p.packer, s);
        }
    }
    msgpack_put_int(&p.ours, INT64_MIN);
    msgpack_pack_int64(&p.packer, INT64_MIN);
    pair_close(&p);
}

static void all_else_is_written_alike(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0,  1,  2,   3,   4,   7,     8,     15,    16,   17,
                                     31, 32, 255, 256, 257, 65535, 65536, 65537, 70000};
    static char bytes[70000];
    struct pair p;
    pair_open(&p);
    msgpack_put_nil(&p.ours);
    msgpack_pack_nil(&p.packer);
    msgpack_put_bool(&p.ours, true);
    msgpack_pack_true(&p.packer);
    msgpack_put_bool(&p.ours, false);
    msgpack_pack_false(&p.packer);
    msgpack_put_double(&p.ours, -1.25e-300);
    msgpack_pack_double(&p.packer, -1.25e-300);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t n = sizes[i];
        struct str s = {bytes, n};
        msgpack_put_list(&p.ours, n);
        msgpack_pack_array(&p.packer, n);
        msgpack_put_map(&p.ours, n);
        msgpack_pack_map(&p.packer, n);
        if (n > 300 && n != 65536)
            continue;
        msgpack_put_text(&p.ours, s);
        msgpack_pack_str_with_body(&p.packer, bytes, n);
        msgpack_put_bytes(&p.ours, s);
        msgpack_pack_bin_with_body(&p.packer, bytes, n);
        msgpack_put_ext(&p.ours, -5, s);
        msgpack_pack_ext_with_body(&p.packer, bytes, n, -5);
    }
    pair_close(&p);
}

static void a_value_that_does_not_fit_leaves_no_half(void **state) {
    (void)state;
    AUTO_BUF b = BUF(4);
    assert_int_equal(msgpack_put_text(&b, STR("abc")), 0);
    assert_int_equal(msgpack_put_text(&b, STR("d")), -1);
    assert_int_equal(b.len, 4);
    assert_true(b.failed);
}

/* ---- reading -------------------------------------------------------------------------------- */
struct token_case {
    const char *hex;
    enum msgpack_fault fault;
    enum msgpack_type type;
    uint64_t value; /* flag, number, negative, count, or length */
};

static const struct token_case tokens[] = {
    {"c0", MSGPACK_OK, MSGPACK_NIL, 0},
    {"c2", MSGPACK_OK, MSGPACK_BOOL, 0},
    {"c3", MSGPACK_OK, MSGPACK_BOOL, 1},
    {"7f", MSGPACK_OK, MSGPACK_UINT, 127},
    {"cc 00", MSGPACK_OK, MSGPACK_UINT, 0},
    {"cd 01 00", MSGPACK_OK, MSGPACK_UINT, 256},
    {"ce ff ff ff ff", MSGPACK_OK, MSGPACK_UINT, UINT32_MAX},
    {"cf ff ff ff ff ff ff ff ff", MSGPACK_OK, MSGPACK_UINT, UINT64_MAX},
    {"d0 7f", MSGPACK_OK, MSGPACK_UINT, 127},
    {"d1 00 05", MSGPACK_OK, MSGPACK_UINT, 5},
    {"d3 7f ff ff ff ff ff ff ff", MSGPACK_OK, MSGPACK_UINT, INT64_MAX},
    {"ff", MSGPACK_OK, MSGPACK_INT, UINT64_MAX},
    {"e0", MSGPACK_OK, MSGPACK_INT, (uint64_t)-32},
    {"d0 80", MSGPACK_OK, MSGPACK_INT, (uint64_t)-128},
    {"d2 ff ff ff fe", MSGPACK_OK, MSGPACK_INT, (uint64_t)-2},
    {"d3 80 00 00 00 00 00 00 00", MSGPACK_OK, MSGPACK_INT, (uint64_t)INT64_MIN},
    {"a3 61 62 63", MSGPACK_OK, MSGPACK_TEXT, 3},
    {"d9 01 61", MSGPACK_OK, MSGPACK_TEXT, 1},
    {"c4 02 00 ff", MSGPACK_OK, MSGPACK_BYTES, 2},
    {"d4 ff 00", MSGPACK_OK, MSGPACK_EXT, 1},
    {"c7 00 05", MSGPACK_OK, MSGPACK_EXT, 0},
    {"92 01 02", MSGPACK_OK, MSGPACK_LIST, 2},
    {"dc 00 01 c0", MSGPACK_OK, MSGPACK_LIST, 1},
    {"81 01 02", MSGPACK_OK, MSGPACK_MAP, 1},
    {"df 00 00 00 00", MSGPACK_OK, MSGPACK_MAP, 0},
    {"c1", MSGPACK_BAD, MSGPACK_NONE, 0},
    {"", MSGPACK_SHORT, MSGPACK_NONE, 0},
    {"cd 01", MSGPACK_SHORT, MSGPACK_UINT, 0},
    {"a3 61 62", MSGPACK_SHORT, MSGPACK_TEXT, 0},
    {"db ff ff ff ff", MSGPACK_SHORT, MSGPACK_TEXT, 0},
    {"c6 00 00", MSGPACK_SHORT, MSGPACK_BYTES, 0},
    {"d8 01 00", MSGPACK_SHORT, MSGPACK_EXT, 0},
    {"93 01 02", MSGPACK_SHORT, MSGPACK_LIST, 0},
    {"82 01 02 03", MSGPACK_SHORT, MSGPACK_MAP, 0},
    {"dd 05 f5 e1 00", MSGPACK_SHORT, MSGPACK_LIST, 0},
    {"df ff ff ff ff", MSGPACK_SHORT, MSGPACK_MAP, 0},
};

static uint64_t value_of(const struct msgpack_token *t) {
    switch (t->type) {
    case MSGPACK_BOOL:
        return t->flag;
    case MSGPACK_LIST:
    case MSGPACK_MAP:
        return t->count;
    case MSGPACK_TEXT:
    case MSGPACK_BYTES:
    case MSGPACK_EXT:
        return t->bytes.len;
    default:
        return t->number;
    }
}

static void tokens_are_read(void **state) { /* P-12, P-15 */
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        const struct token_case *it = &tokens[i];
        AUTO_BUF in = BUF(64);
        hex_read(it->hex, &in);
        struct cursor c = cursor_of(buf_str(&in));
        const unsigned char *start = c.at;
        struct msgpack_token t;
        enum msgpack_fault fault = msgpack_next(&c, &t);
        if (fault != it->fault || t.type != it->type || (!fault && value_of(&t) != it->value))
            fail_msg("%s: %s, %s", it->hex, msgpack_fault_text(fault), msgpack_type_name(t.type));
        if (fault)
            assert_ptr_equal(c.at, start);
    }
}

static void floats_are_read(void **state) {
    (void)state;
    AUTO_BUF in = BUF(64);
    hex_read("ca 3f c0 00 00  cb c0 04 00 00 00 00 00 00", &in);
    struct cursor c = cursor_of(buf_str(&in));
    struct msgpack_token t;
    assert_int_equal(msgpack_next(&c, &t), MSGPACK_OK);
    assert_true(t.type == MSGPACK_FLOAT && fabs(t.real - 1.5) < 1e-9);
    assert_int_equal(msgpack_next(&c, &t), MSGPACK_OK);
    assert_true(t.type == MSGPACK_FLOAT && fabs(t.real + 2.5) < 1e-9);
}

static void a_getter_leaves_what_it_does_not_want(void **state) {
    (void)state;
    struct cursor c = cursor_of(STR("\xff"));
    uint64_t u;
    bool flag;
    uint32_t n;
    struct str s;
    assert_int_equal(msgpack_get_uint(&c, &u), MSGPACK_WRONG);
    assert_int_equal(msgpack_get_bool(&c, &flag), MSGPACK_WRONG);
    assert_int_equal(msgpack_get_list(&c, &n), MSGPACK_WRONG);
    assert_int_equal(msgpack_get_map(&c, &n), MSGPACK_WRONG);
    assert_int_equal(msgpack_get_bytes(&c, &s), MSGPACK_WRONG);
    assert_int_equal(cursor_left(&c), 1);
    assert_int_equal(msgpack_peek(&c), MSGPACK_INT);
    struct cursor none = cursor_of((struct str){0});
    assert_int_equal(msgpack_peek(&none), MSGPACK_NONE);
    assert_int_equal(msgpack_get_uint(&none, &u), MSGPACK_SHORT);
    assert_int_equal(msgpack_skip(&none), MSGPACK_SHORT);
}

/* ---- whole values --------------------------------------------------------------------------- */
static void nest(struct buf *b, unsigned depth) {
    for (unsigned i = 0; i < depth; i++)
        msgpack_put_list(b, 1);
    msgpack_put_nil(b);
}

static bool msgpack_c_accepts(struct str s) {
    msgpack_unpacked u;
    msgpack_unpacked_init(&u);
    size_t off = 0;
    bool ok = msgpack_unpack_next(&u, s.at, s.len, &off) == MSGPACK_UNPACK_SUCCESS && off == s.len;
    msgpack_unpacked_destroy(&u);
    return ok;
}

static void depth_has_a_bound(void **state) { /* P-16 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct err e = {0};
    nest(&b, 32);
    assert_int_equal(msgpack_check(buf_str(&b), &limits, &e), 0);
    assert_true(msgpack_c_accepts(buf_str(&b)));
    buf_clear(&b);
    nest(&b, 33);
    assert_int_equal(msgpack_check(buf_str(&b), &limits, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_string_equal(e.text, "nested deeper than 32");
    assert_false(msgpack_c_accepts(buf_str(&b)));
    struct cursor c = cursor_of(buf_str(&b));
    assert_int_equal(msgpack_skip(&c), MSGPACK_DEEP);
    /* An empty container is one, too. */
    assert_int_equal(msgpack_check(STR("\x91\x90"), &(struct msgpack_limits){1, 10}, &e), -1);
}

static void values_have_a_bound(void **state) { /* P-16 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct err e = {0};
    msgpack_put_list(&b, 9);
    for (int i = 0; i < 9; i++)
        msgpack_put_nil(&b);
    assert_int_equal(msgpack_check(buf_str(&b), &(struct msgpack_limits){4, 10}, &e), 0);
    assert_int_equal(msgpack_check(buf_str(&b), &(struct msgpack_limits){4, 9}, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_string_equal(e.text, "more than 9 values");
}

static void what_is_not_one_value_is_refused(void **state) { /* P-15, P-16 */
    (void)state;
    static const struct {
        const char *hex;
        enum err_code code;
        const char *text;
    } cases[] = {
        {"", ERR_MALFORMED, "the input ends within it"},
        {"c0 c0", ERR_MALFORMED, "1 bytes behind the value"},
        {"92 c0", ERR_MALFORMED, "the input ends within it"},
        {"91 c1", ERR_MALFORMED, "byte c1, which msgpack does not have"},
        {"81 a1 6b a2 ff fe", ERR_BAD_VALUE, "text that is not UTF-8"},
        {"81 a1 6b a3 ed a0 80", ERR_BAD_VALUE, "text that is not UTF-8"},
        {"81 a1 6b c4 02 ff fe", ERR_OK, ""},
        {"dd 05 f5 e1 00", ERR_MALFORMED, "the input ends within it"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF in = BUF(64);
        hex_read(cases[i].hex, &in);
        struct err e = {0};
        int rc = msgpack_check(buf_str(&in), &limits, &e);
        if (rc != (cases[i].code ? -1 : 0) || e.code != cases[i].code ||
            strcmp(e.text, cases[i].text) != 0)
            fail_msg("%s: %s '%s'", cases[i].hex, err_code_name(e.code), e.text);
    }
}

/* A value of few bytes, with much nesting and many leads; not always a whole one. */
static void make_noise(struct rng *r, struct buf *b) {
    buf_clear(b);
    for (uint32_t n = 1 + rng_below(r, 24); n; n--) {
        switch (rng_below(r, 5)) {
        case 0:
            buf_putc(b, (char)(0x80 | rng_below(r, 4)));
            break;
        case 1:
            buf_putc(b, (char)(0x90 | rng_below(r, 4)));
            break;
        case 2:
            buf_putc(b, (char)(0xc0 + rng_below(r, 32)));
            break;
        case 3:
            buf_putc(b, (char)rng_below(r, 4));
            break;
        default:
            buf_putc(b, (char)rng_u32(r));
        }
    }
}

/* What ours takes, the other implementation takes as well. */
static void msgpack_c_takes_what_we_take(void **state) { /* P-15 */
    (void)state;
    struct rng r = rng_seed(6);
    AUTO_BUF b = BUF(64);
    unsigned good = 0;
    for (int i = 0; i < 300000; i++) {
        make_noise(&r, &b);
        struct err e = {0};
        struct cursor c = cursor_of(buf_str(&b));
        if (msgpack_check(buf_str(&b), &limits, &e) < 0)
            continue;
        if (!msgpack_c_accepts(buf_str(&b)))
            fail_msg("round %d is taken by ours only", i);
        assert_true(msgpack_skip(&c) == MSGPACK_OK && cursor_left(&c) == 0);
        good++;
    }
    assert_true(good > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_shortest),
        cmocka_unit_test(all_else_is_written_alike),
        cmocka_unit_test(a_value_that_does_not_fit_leaves_no_half),
        cmocka_unit_test(tokens_are_read),
        cmocka_unit_test(floats_are_read),
        cmocka_unit_test(a_getter_leaves_what_it_does_not_want),
        cmocka_unit_test(depth_has_a_bound),
        cmocka_unit_test(values_have_a_bound),
        cmocka_unit_test(what_is_not_one_value_is_refused),
        cmocka_unit_test(msgpack_c_takes_what_we_take),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

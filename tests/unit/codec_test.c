#include "common/wire/codec.h"

#include "tests/support/hex.h"
#include "tests/support/message_maker.h"

#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ARENA_MAX (1U << 22)

/* ---- the tables ----------------------------------------------------------------------------- */
static void fields_rise_and_are_found(void **state) {
    (void)state;
    for (unsigned id = 0; id < MSG_COUNT; id++) {
        const struct msg_def *def = msg_def((enum msg_id)id);
        assert_int_equal(def->id, id);
        assert_true(def->n > 0 && def->size <= sizeof(union msg_any));
        for (unsigned i = 0; i < def->n; i++) {
            const struct field_def *f = &def->fields[i];
            assert_true(i == 0 || f->number > def->fields[i - 1].number);
            assert_true(f->min <= f->max);
            assert_ptr_equal(msg_field(def, f->number), f);
            assert_ptr_equal(msg_field_named(def, str_of(f->name)), f);
            assert_int_equal(def->required >> f->number & 1, f->required);
        }
        assert_null(msg_field(def, 0));
        assert_null(msg_field(def, 64));
    }
    assert_null(msg_field_named(msg_def(MSG_submit), STR("knid")));
}

static void payload_sizes_are_known(void **state) {
    (void)state;
    assert_int_equal(msg_def(MSG_submit)->size_at, 2);
    assert_int_equal(msg_def(MSG_submit)->result_size_at, 0);
    assert_int_equal(msg_def(MSG_job_info)->size_at, 24);
    assert_int_equal(msg_def(MSG_job_info)->result_size_at, 25);
    assert_int_equal(msg_def(MSG_attempt_ref)->size_at, 0);
}

static void verbs_are_found_by_number_and_name(void **state) {
    (void)state;
    const struct verb_def *v = verb_def(VERB_submit);
    assert_non_null(v);
    assert_string_equal(v->name, "submit");
    assert_int_equal(v->message, MSG_submit);
    assert_int_equal(v->items_max, 1024);
    assert_true(v->roles & ROLE_BIT(ROLE_CLIENT));
    assert_false(v->roles & ROLE_BIT_BROKER);
    assert_ptr_equal(verb_named(STR("submit")), v);
    assert_null(verb_def(0));
    assert_null(verb_def(100));
    assert_null(verb_def(UINT64_MAX));
    assert_null(verb_named(STR("sbumit")));
}

/* ---- both ways ------------------------------------------------------------------------------ */
/* Every message, thousands of times: written, read, the same, and written again the same. */
static void what_is_written_is_read_back(void **state) { /* P-12 */
    (void)state;
    struct rng r = rng_seed(1);
    AUTO_ARENA made = arena_new(ARENA_MAX);
    AUTO_ARENA read = arena_new(ARENA_MAX);
    AUTO_BUF out = BUF(1U << 20), again = BUF(1U << 20);
    for (unsigned i = 0; i < 200 * MSG_COUNT; i++) {
        const struct msg_def *def = msg_def((enum msg_id)(i % MSG_COUNT));
        union msg_any a, b;
        arena_reset(made);
        arena_reset(read);
        buf_clear(&out);
        buf_clear(&again);
        message_make(def, &r, i % 3 == 0 ? 1000000 : 400000, made, &a);
        assert_int_equal(codec_put(&out, def->id, &a), 0);
        struct cursor c = cursor_of(buf_str(&out));
        struct err e = {0};
        if (codec_get(&c, def->id, &b, read, NULL, &e) < 0)
            fail_msg("%s: %s", def->name, e.text);
        assert_int_equal(cursor_left(&c), 0);
        message_assert_equal(def, &a, &b);
        assert_int_equal(codec_check(def, &b, &e), 0);
        assert_int_equal(codec_put(&again, def->id, &b), 0);
        assert_int_equal(out.len, again.len);
        assert_memory_equal(out.at, again.at, out.len);
    }
}

/* Another implementation understands what ours writes, field by field. */
static void msgpack_c_reads_what_we_write(void **state) {
    (void)state;
    struct rng r = rng_seed(2);
    AUTO_ARENA made = arena_new(ARENA_MAX);
    AUTO_BUF out = BUF(1U << 20);
    for (unsigned i = 0; i < 20 * MSG_COUNT; i++) {
        const struct msg_def *def = msg_def((enum msg_id)(i % MSG_COUNT));
        union msg_any a;
        arena_reset(made);
        buf_clear(&out);
        message_make(def, &r, 700000, made, &a);
        assert_int_equal(codec_put(&out, def->id, &a), 0);
        msgpack_unpacked u;
        msgpack_unpacked_init(&u);
        size_t off = 0;
        assert_int_equal(msgpack_unpack_next(&u, out.at, out.len, &off), MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(off, out.len);
        assert_int_equal(u.data.type, MSGPACK_OBJECT_MAP);
        assert_int_equal(u.data.via.map.size, __builtin_popcountll(a.has));
        for (uint32_t k = 0; k < u.data.via.map.size; k++) {
            const msgpack_object_kv *kv = &u.data.via.map.ptr[k];
            const struct field_def *f = msg_field(def, kv->key.via.u64);
            assert_non_null(f);
            const char *slot = (const char *)&a + f->offset;
            if (f->type == FIELD_UINT || f->type == FIELD_ID)
                assert_true(kv->val.via.u64 == *(const uint64_t *)(const void *)slot);
            if (f->type == FIELD_TEXT || f->type == FIELD_NAME)
                assert_true(str_eq(str_make(kv->val.via.str.ptr, kv->val.via.str.size),
                                   *(const struct str *)(const void *)slot));
        }
        msgpack_unpacked_destroy(&u);
    }
}

/* A buffer that is too small by any number of bytes is as it was, and one that just fits fits. */
static void a_full_buffer_is_left_as_it_was(void **state) {
    (void)state;
    struct rng r = rng_seed(3);
    AUTO_ARENA made = arena_new(ARENA_MAX);
    for (unsigned id = 0; id < MSG_COUNT; id++) {
        const struct msg_def *def = msg_def((enum msg_id)id);
        union msg_any a;
        arena_reset(made);
        message_make(def, &r, 500000, made, &a);
        AUTO_BUF whole = BUF(1U << 20);
        assert_int_equal(codec_put(&whole, def->id, &a), 0);
        for (size_t max = 0; max <= whole.len; max += 1 + max / 16) {
            AUTO_BUF small = BUF(max + 1);
            buf_putc(&small, 'x');
            bool fits = max >= whole.len;
            assert_int_equal(codec_put(&small, def->id, &a), fits ? 0 : -1);
            assert_int_equal(small.len, fits ? 1 + whole.len : 1);
        }
        AUTO_BUF exact = BUF(whole.len);
        assert_int_equal(codec_put(&exact, def->id, &a), 0);
        assert_true(str_eq(buf_str(&exact), buf_str(&whole)));
    }
}

/* Cut anywhere, an envelope is refused, and the cursor stays. */
static void cut_input_is_refused_anywhere(void **state) {
    (void)state;
    struct rng r = rng_seed(4);
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    for (unsigned id = 0; id < MSG_COUNT; id++) {
        const struct msg_def *def = msg_def((enum msg_id)id);
        union msg_any a, b;
        arena_reset(arena);
        message_make(def, &r, 600000, arena, &a);
        AUTO_BUF out = BUF(1U << 20);
        assert_int_equal(codec_put(&out, def->id, &a), 0);
        for (size_t len = 0; len < out.len; len += 1 + len / 64) {
            struct cursor c = cursor_of(str_make(out.at, len)), before = c;
            struct err e = {0};
            assert_int_equal(codec_get(&c, def->id, &b, arena, NULL, &e), -1);
            assert_int_equal(e.code, ERR_MALFORMED);
            assert_ptr_equal(c.at, before.at);
        }
    }
}

static void text_that_is_no_text_goes_out_repaired(void **state) {
    (void)state;
    struct msg_error m = {0};
    MSG_SET(&m, error, code, ERR_BAD_VALUE);
    MSG_SET(&m, error, text, STR("caf\xc3\xa9 \xff \xe2\x82 \xc3"));
    AUTO_BUF out = BUF(256);
    assert_int_equal(codec_put(&out, MSG_error, &m), 0);
    struct cursor c = cursor_of(buf_str(&out));
    struct err e = {0};
    struct msg_error back;
    assert_int_equal(codec_get(&c, MSG_error, &back, NULL, NULL, &e), 0);
    assert_true(str_eq(back.text, STR("caf\xc3\xa9 ? ?? ?")));
}

static void clipping_cuts_no_character(void **state) {
    (void)state;
    assert_true(str_eq(codec_clip(STR("abc"), 3), STR("abc")));
    assert_true(str_eq(codec_clip(STR("abc"), 2), STR("ab")));
    assert_true(str_eq(codec_clip(STR("a\xe2\x82\xac"), 3), STR("a")));
    assert_true(str_eq(codec_clip(STR("\xe2\x82\xac"), 2), STR("")));
}

/* ---- what others send ----------------------------------------------------------------------- */
struct reading {
    const char *hex;
    enum msg_id id;
    enum err_code code; /* OK: it is read */
    const char *text;
};

static const struct reading readings[] = {
    /* P-12: every form of a number; here job 5 as uint8, uint64, int8, int64. */
    {"82 01 cc 05 02 06", MSG_attempt_ref, ERR_OK, NULL},
    {"82 01 cf 00 00 00 00 00 00 00 05 02 06", MSG_attempt_ref, ERR_OK, NULL},
    {"82 01 d0 05 02 06", MSG_attempt_ref, ERR_OK, NULL},
    {"82 01 d3 00 00 00 00 00 00 00 05 02 06", MSG_attempt_ref, ERR_OK, NULL},
    {"82 cc 01 05 d1 00 02 06", MSG_attempt_ref, ERR_OK, NULL},
    {"de 00 02 01 05 02 06", MSG_attempt_ref, ERR_OK, NULL},
    {"df 00 00 00 02 02 06 01 05", MSG_attempt_ref, ERR_OK, NULL},
    /* P-13: bytes for text, long forms of text. */
    {"81 01 c4 04 65 63 68 6f", MSG_submit, ERR_OK, NULL},
    {"81 01 da 00 04 65 63 68 6f", MSG_submit, ERR_OK, NULL},
    {"80", MSG_bye, ERR_OK, NULL},
    /* Numbers out of bounds. */
    {"82 01 a1 61 05 0a", MSG_submit, ERR_BAD_VALUE, "submit.priority: 10, at most 9"},
    {"82 01 00 02 06", MSG_attempt_ref, ERR_BAD_VALUE, "attempt_ref.job: 0, at least 1"},
    {"83 01 05 02 06 03 00", MSG_result, ERR_BAD_VALUE, "result.outcome: 0, at least 1"},
    {"82 01 ff 02 06", MSG_attempt_ref, ERR_BAD_VALUE,
     "attempt_ref.job: a negative number, must be an id (a number)"},
    {"82 01 d0 80 02 06", MSG_attempt_ref, ERR_BAD_VALUE,
     "attempt_ref.job: a negative number, must be an id (a number)"},
    {"82 01 a1 61 05 ca 40 00 00 00", MSG_submit, ERR_BAD_VALUE,
     "submit.priority: a float, must be a number that is not negative"},
    {"82 01 a1 61 05 c0", MSG_submit, ERR_BAD_VALUE,
     "submit.priority: nil, must be a number that is not negative"},
    {"82 01 a1 61 05 a1 35", MSG_submit, ERR_BAD_VALUE,
     "submit.priority: text, must be a number that is not negative"},
    {"82 01 a1 61 13 01", MSG_submit, ERR_BAD_VALUE, "submit.watch: a number, must be a boolean"},
    /* Text. */
    {"81 01 a0", MSG_submit, ERR_BAD_VALUE, "submit.kind: 0 bytes, at least 1"},
    {"81 01 05", MSG_submit, ERR_BAD_VALUE, "submit.kind: a number, must be text"},
    {"81 01 a3 61 20 62", MSG_submit, ERR_BAD_VALUE,
     "submit.kind: not a name (letters, digits and . _ : - only, and neither . nor - first)"},
    {"81 01 a2 ff fe", MSG_bye, ERR_BAD_VALUE, "bye.text: text that is not UTF-8"},
    {"81 01 c4 02 ff fe", MSG_bye, ERR_BAD_VALUE, "bye.text: text that is not UTF-8"},
    /* An instance has 16 bytes. */
    {"82 01 c4 02 ff fe 02 c3", MSG_worker_died, ERR_BAD_VALUE,
     "worker_died.instance: 2 bytes, must be 16"},
    /* Fields. */
    {"80", MSG_submit, ERR_MISSING_FIELD, "submit.kind: must be there"},
    {"81 01 05", MSG_attempt_ref, ERR_MISSING_FIELD, "attempt_ref.fence: must be there"},
    {"82 01 a1 61 3f 00", MSG_submit, ERR_UNKNOWN_FIELD, "submit: no field 63"},
    {"82 01 a1 61 cd 10 00 00", MSG_submit, ERR_UNKNOWN_FIELD, "submit: no field 4096"},
    {"82 01 a1 61 00 00", MSG_submit, ERR_UNKNOWN_FIELD, "submit: no field 0"},
    {"82 01 a1 61 01 a1 62", MSG_submit, ERR_MALFORMED, "submit.kind: given twice"},
    {"81 a4 6b 69 6e 64 a1 61", MSG_submit, ERR_MALFORMED,
     "submit: text as a key, must be a field number"},
    {"81 ff 00", MSG_submit, ERR_MALFORMED,
     "submit: a negative number as a key, must be a field number"},
    /* Shapes. */
    {"", MSG_submit, ERR_MALFORMED, "submit: the input ends within it"},
    {"90", MSG_submit, ERR_MALFORMED, "submit: a list, must be a map"},
    {"c1", MSG_submit, ERR_MALFORMED, "submit: byte c1, which msgpack does not have"},
    {"81 01 c1", MSG_submit, ERR_MALFORMED, "submit.kind: byte c1, which msgpack does not have"},
    {"81 01 d4 05 00", MSG_submit, ERR_BAD_VALUE, "submit.kind: an extension, must be text"},
    {"df ff ff ff ff 01 a1 61", MSG_submit, ERR_MALFORMED, "submit: the input ends within it"},
    {"81 01 db ff ff ff ff 61", MSG_submit, ERR_MALFORMED, "submit.kind: the input ends within it"},
    /* Lists: the count is held against the bound before memory is. */
    {"81 09 dd 05 f5 e1 00", MSG_hello, ERR_MALFORMED, "hello.kinds: the input ends within it"},
    {"81 09 92 a1 61 05", MSG_hello, ERR_BAD_VALUE,
     "hello.kinds: a number, must be a list of text"},
    {"81 09 91 a1 20", MSG_hello, ERR_BAD_VALUE,
     "hello.kinds: not a name (letters, digits and . _ : - only, and neither . nor - first)"},
    {"81 0c 92 05 ff", MSG_hello, ERR_BAD_VALUE,
     "hello.running: a negative number, must be a list of numbers that are not negative"},
};

static void what_others_send(void **state) { /* P-11, P-12, P-13, P-14, P-15 */
    (void)state;
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    for (size_t i = 0; i < sizeof readings / sizeof readings[0]; i++) {
        const struct reading *it = &readings[i];
        AUTO_BUF in = BUF(4096);
        hex_read(it->hex, &in);
        struct cursor c = cursor_of(buf_str(&in));
        union msg_any m;
        struct err e = {0};
        int rc = codec_get(&c, it->id, &m, arena, NULL, &e);
        if (rc != (it->code ? -1 : 0) || e.code != it->code ||
            (it->text && strcmp(e.text, it->text) != 0))
            fail_msg("%s: %d %s '%s'", it->hex, rc, err_code_name(e.code), e.text);
    }
}

static void long_values_are_named_with_their_bound(void **state) { /* P-14 */
    (void)state;
    char key[301] = {0};
    memset(key, 'k', 300);
    AUTO_BUF in = BUF(4096);
    msgpack_put_map(&in, 2);
    msgpack_put_uint(&in, 1);
    msgpack_put_text(&in, STR("echo"));
    msgpack_put_uint(&in, 6);
    msgpack_put_text(&in, str_of(key));
    struct cursor c = cursor_of(buf_str(&in));
    struct msg_submit m;
    struct err e = {0};
    assert_int_equal(codec_get(&c, MSG_submit, &m, NULL, NULL, &e), -1);
    assert_int_equal(e.code, ERR_BAD_VALUE);
    assert_string_equal(e.text, "submit.key: 300 bytes, at most 256");
    assert_ptr_equal(c.at, in.at);
}

static void a_list_over_its_bound_costs_no_memory(void **state) { /* P-14 */
    (void)state;
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    AUTO_BUF in = BUF(1U << 16);
    msgpack_put_map(&in, 1);
    msgpack_put_uint(&in, 9);
    msgpack_put_list(&in, 300);
    for (int i = 0; i < 300; i++)
        msgpack_put_text(&in, STR("k"));
    struct cursor c = cursor_of(buf_str(&in));
    struct msg_hello m;
    struct err e = {0};
    assert_int_equal(codec_get(&c, MSG_hello, &m, arena, NULL, &e), -1);
    assert_string_equal(e.text, "hello.kinds: 300 elements, at most 256");
    assert_int_equal(arena_used(arena), 0);
}

static void an_arena_that_is_full_is_an_error(void **state) {
    (void)state;
    AUTO_ARENA arena = arena_new(64);
    AUTO_BUF in = BUF(1U << 16);
    msgpack_put_map(&in, 1);
    msgpack_put_uint(&in, 12);
    msgpack_put_list(&in, 100);
    for (int i = 0; i < 100; i++)
        msgpack_put_uint(&in, 7);
    struct cursor c = cursor_of(buf_str(&in));
    struct msg_hello m;
    struct err e = {0};
    assert_int_equal(codec_get(&c, MSG_hello, &m, arena, NULL, &e), -1);
    assert_int_equal(e.code, ERR_NO_MEMORY);
}

static void unknown_fields_are_counted_when_a_higher_minor_was_agreed(void **state) { /* P-21 */
    (void)state;
    AUTO_BUF in = BUF(4096);
    hex_read("84 01 05 28 92 c0 81 a1 61 05 02 06 cd 01 00 c3", &in);
    struct cursor c = cursor_of(buf_str(&in));
    struct msg_attempt_ref m;
    struct err e = {0};
    uint32_t skipped = 0;
    assert_int_equal(codec_get(&c, MSG_attempt_ref, &m, NULL, NULL, &e), -1);
    assert_int_equal(e.code, ERR_UNKNOWN_FIELD);
    assert_int_equal(codec_get(&c, MSG_attempt_ref, &m, NULL, &skipped, &e), 0);
    assert_int_equal(skipped, 2);
    assert_true(m.job == 5 && m.fence == 6 && !MSG_HAS(&m, attempt_ref, code));
}

/* ---- field types that no message uses yet --------------------------------------------------- */
struct extra {
    uint64_t has;
    struct str raw, map;
};
static const struct field_def extra_fields[] = {
    {1, FIELD_BYTES, false, offsetof(struct extra, raw), 1, 40, "raw", ""},
    {2, FIELD_MAP, false, offsetof(struct extra, map), 1, 64, "map", ""},
};
static const struct msg_def extra_def = {
    .name = "extra", .fields = extra_fields, .n = 2, .size = sizeof(struct extra), .at = {0, 1, 2}};

static void bytes_and_maps(void **state) {
    (void)state;
    struct extra a = {6, STR("\xff\x00\xc1"), STR("\x81\xa1k\x93\x01\xc3\xa1v")}, b;
    AUTO_BUF out = BUF(4096);
    assert_int_equal(codec_put_def(&out, &extra_def, &a), 0);
    struct cursor c = cursor_of(buf_str(&out));
    struct err e = {0};
    assert_int_equal(codec_get_def(&c, &extra_def, &b, NULL, NULL, &e), 0);
    message_assert_equal(&extra_def, &a, &b);
    static const struct {
        const char *hex, *text;
    } bad[] = {
        {"81 02 90", "extra.map: a list, must be a map"},
        {"81 02 81 a1 6b a1 ff", "extra.map: text that is not UTF-8"},
        {"81 02 81 a1 6b c1", "extra.map: byte c1, which msgpack does not have"},
        {"81 01 a0", "extra.raw: 0 bytes, at least 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_clear(&out);
        hex_read(bad[i].hex, &out);
        c = cursor_of(buf_str(&out));
        assert_int_equal(codec_get_def(&c, &extra_def, &b, NULL, NULL, &e), -1);
        assert_string_equal(e.text, bad[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_rise_and_are_found),
        cmocka_unit_test(payload_sizes_are_known),
        cmocka_unit_test(verbs_are_found_by_number_and_name),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(msgpack_c_reads_what_we_write),
        cmocka_unit_test(a_full_buffer_is_left_as_it_was),
        cmocka_unit_test(cut_input_is_refused_anywhere),
        cmocka_unit_test(text_that_is_no_text_goes_out_repaired),
        cmocka_unit_test(clipping_cuts_no_character),
        cmocka_unit_test(what_others_send),
        cmocka_unit_test(long_values_are_named_with_their_bound),
        cmocka_unit_test(a_list_over_its_bound_costs_no_memory),
        cmocka_unit_test(an_arena_that_is_full_is_an_error),
        cmocka_unit_test(unknown_fields_are_counted_when_a_higher_minor_was_agreed),
        cmocka_unit_test(bytes_and_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "common/wire/json_bridge.h"

#include "common/base/id.h"
#include "common/wire/base64.h"
#include "tests/support/hex.h"
#include "tests/support/message_maker.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ARENA_MAX (1U << 22)

static json_t *parse(const char *text) {
    struct err e = {0};
    json_t *json = json_bridge_parse(str_of(text), &e);
    if (!json)
        fail_msg("%s: %s", text, e.text);
    return json;
}

/* Compared as text, for keys come in their order. */
static void assert_prints(const json_t *json, const char *text) {
    AUTO_BUF out = BUF(1U << 20);
    assert_non_null(json);
    assert_int_equal(json_bridge_print(json, &out), 0);
    buf_putc(&out, '\0');
    assert_string_equal(out.at, text);
}

/* ---- messages ------------------------------------------------------------------------------- */
static void a_message_reads_well(void **state) {
    (void)state;
    struct msg_finished m = {0};
    MSG_SET(&m, finished, id, id_make(3, 7));
    MSG_SET(&m, finished, state, 7);
    MSG_SET(&m, finished, error, ERR_JOB_FAILED);
    MSG_SET(&m, finished, text, STR("no \"luck\" \xe2\x82\xac"));
    MSG_SET(&m, finished, attempts, 3);
    struct err e = {0};
    json_auto_t *json = json_bridge_of_message(msg_def(MSG_finished), &m, &e);
    assert_prints(json, "{\"id\":\"0000c00000007\",\"state\":\"dead\",\"error\":\"JOB_FAILED\","
                        "\"text\":\"no \\\"luck\\\" \xe2\x82\xac\",\"attempts\":3}");
}

static void instances_are_hex_and_roles_words(void **state) {
    (void)state;
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    static const char text[] =
        "{\"version_min\":1,\"version_max\":1,\"role\":\"worker\","
        "\"instance\":\"00112233445566778899aabbccddeeff\",\"kinds\":[\"echo\",\"ocr:v2\"],"
        "\"running\":[5,\"18446744073709551615\"]}";
    json_auto_t *json = parse(text);
    struct msg_hello m;
    struct err e = {0};
    assert_int_equal(json_bridge_to_message(msg_def(MSG_hello), json, &m, arena, &e), 0);
    assert_int_equal(m.role, ROLE_WORKER);
    assert_int_equal((unsigned char)m.instance.at[15], 0xff);
    assert_int_equal(m.kinds.n, 2);
    assert_true(m.running.at[1] == UINT64_MAX);
    json_auto_t *again = json_bridge_of_message(msg_def(MSG_hello), &m, &e);
    assert_prints(again, text);
}

/* A number without a word stands as it is, and is read back. */
static void numbers_without_a_word(void **state) {
    (void)state;
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    json_auto_t *json = parse("{\"code\":4000000000,\"text\":\"from a later version\"}");
    struct msg_error m;
    struct err e = {0};
    assert_int_equal(json_bridge_to_message(msg_def(MSG_error), json, &m, arena, &e), 0);
    assert_true(m.code == 4000000000);
    json_auto_t *again = json_bridge_of_message(msg_def(MSG_error), &m, &e);
    assert_prints(again, "{\"code\":4000000000,\"text\":\"from a later version\"}");
}

static void every_message_goes_both_ways(void **state) {
    (void)state;
    struct rng r = rng_seed(7);
    AUTO_ARENA made = arena_new(ARENA_MAX);
    AUTO_ARENA read = arena_new(ARENA_MAX);
    AUTO_BUF text = BUF(1U << 20);
    for (unsigned i = 0; i < 60 * MSG_COUNT; i++) {
        const struct msg_def *def = msg_def((enum msg_id)(i % MSG_COUNT));
        union msg_any a, b;
        struct err e = {0};
        arena_reset(made);
        arena_reset(read);
        buf_clear(&text);
        message_make(def, &r, 600000, made, &a);
        json_auto_t *json = json_bridge_of_message(def, &a, &e);
        assert_non_null(json);
        assert_int_equal(json_bridge_print(json, &text), 0);
        json_auto_t *parsed = json_bridge_parse(buf_str(&text), &e);
        assert_non_null(parsed);
        if (json_bridge_to_message(def, parsed, &b, read, &e) < 0)
            fail_msg("%s", e.text);
        message_assert_equal(def, &a, &b);
    }
}

static const struct {
    enum msg_id id;
    const char *json;
    enum err_code code;
    const char *text;
} bad_messages[] = {
    {MSG_submit, "[]", ERR_BAD_VALUE, "submit: a list, must be an object"},
    {MSG_submit, "{\"knid\":\"a\"}", ERR_UNKNOWN_FIELD,
     "submit: no field 'knid'; did you mean 'kind'?"},
    {MSG_submit, "{\"max_attempts\":3}", ERR_UNKNOWN_FIELD, "submit: no field 'max_attempts'"},
    {MSG_submit, "{\"attempt_max\":3}", ERR_UNKNOWN_FIELD,
     "submit: no field 'attempt_max'; did you mean 'attempts_max'?"},
    {MSG_submit, "{\"x\":3}", ERR_UNKNOWN_FIELD, "submit: no field 'x'"},
    {MSG_submit, "{\"a key of more than forty characters, which is cut\":3}", ERR_UNKNOWN_FIELD,
     "submit: no field 'a key of more than forty characters, whi'"},
    {MSG_submit, "{}", ERR_MISSING_FIELD, "submit.kind: must be there"},
    {MSG_submit, "{\"kind\":5}", ERR_BAD_VALUE, "submit.kind: a number, must be text"},
    {MSG_submit, "{\"kind\":\"a b\"}", ERR_BAD_VALUE,
     "submit.kind: not a name (letters, digits and . _ : - only, and neither . nor - first)"},
    {MSG_submit, "{\"kind\":\"a\",\"priority\":12}", ERR_BAD_VALUE,
     "submit.priority: 12, at most 9"},
    {MSG_submit, "{\"kind\":\"a\",\"priority\":-1}", ERR_BAD_VALUE,
     "submit.priority: a negative number"},
    {MSG_submit, "{\"kind\":\"a\",\"priority\":1.5}", ERR_BAD_VALUE,
     "submit.priority: a float, must be a number that is not negative"},
    {MSG_submit, "{\"kind\":\"a\",\"priority\":null}", ERR_BAD_VALUE,
     "submit.priority: null, must be a number that is not negative"},
    {MSG_submit, "{\"kind\":\"a\",\"watch\":1}", ERR_BAD_VALUE,
     "submit.watch: a number, must be a boolean"},
    {MSG_submit, "{\"kind\":\"a\",\"durability\":\"full\"}", ERR_BAD_VALUE,
     "submit.durability: no durability 'full'"},
    {MSG_get_job, "{\"id\":\"0\"}", ERR_BAD_VALUE,
     "get_job.id: not an id (13 characters of base32)"},
    {MSG_get_job, "{\"id\":7}", ERR_BAD_VALUE,
     "get_job.id: a number, must be an id (13 characters)"},
    {MSG_get_job, "{\"id\":\"0000000000000\"}", ERR_BAD_VALUE, "get_job.id: 0, at least 1"},
    {MSG_hello, "{\"instance\":\"00\"}", ERR_BAD_VALUE, "hello.instance: must be 32 hex digits"},
    {MSG_hello, "{\"instance\":\"001122334455667788r9aabbccddeeff\"}", ERR_BAD_VALUE,
     "hello.instance: must be 32 hex digits"},
    {MSG_hello, "{\"kinds\":\"echo\"}", ERR_BAD_VALUE, "hello.kinds: text, must be a list"},
    {MSG_hello, "{\"kinds\":[1]}", ERR_BAD_VALUE, "hello.kinds: a number, must be text"},
    {MSG_hello, "{\"running\":[true]}", ERR_BAD_VALUE,
     "hello.running: a boolean, must be a number that is not negative"},
};

static void what_is_wrong_is_named(void **state) {
    (void)state;
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    for (size_t i = 0; i < sizeof bad_messages / sizeof bad_messages[0]; i++) {
        json_auto_t *json = parse(bad_messages[i].json);
        union msg_any m;
        struct err e = {0};
        int rc = json_bridge_to_message(msg_def(bad_messages[i].id), json, &m, arena, &e);
        assert_int_equal(rc, -1);
        assert_string_equal(e.text, bad_messages[i].text);
        assert_int_equal(e.code, bad_messages[i].code);
    }
}

static void lists_and_text_keep_their_bounds(void **state) { /* P-14 */
    (void)state;
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    AUTO_ARENA small = arena_new(32);
    json_auto_t *hello = parse("{\"version_min\":1,\"version_max\":1,\"role\":1,"
                               "\"instance\":\"00112233445566778899aabbccddeeff\"}");
    json_t *kinds = json_array();
    json_object_set_new(hello, "kinds", kinds);
    json_array_append_new(kinds, json_string("not a name"));
    union msg_any m;
    struct err e = {0};
    const struct msg_def *def = msg_def(MSG_hello);
    assert_int_equal(json_bridge_to_message(def, hello, &m, arena, &e), -1);
    assert_true(str_starts(str_of(e.text), STR("hello.kinds: not a name")));
    for (int i = 0; i < 256; i++)
        json_array_append_new(kinds, json_string("a"));
    assert_int_equal(json_bridge_to_message(def, hello, &m, arena, &e), -1);
    assert_string_equal(e.text, "hello.kinds: 257 elements, at most 256");
    json_array_remove(kinds, 0);
    assert_int_equal(json_bridge_to_message(def, hello, &m, arena, &e), 0);
    assert_int_equal(m.hello.kinds.n, 256);
    assert_int_equal(json_bridge_to_message(def, hello, &m, small, &e), -1);
    assert_int_equal(e.code, ERR_NO_MEMORY);
    json_auto_t *bye = json_object();
    json_object_set_new(bye, "text", json_stringn(memset((char[300]){0}, 'x', 300), 300));
    assert_int_equal(json_bridge_to_message(msg_def(MSG_bye), bye, &m, arena, &e), -1);
    assert_string_equal(e.text, "bye.text: 300 bytes, at most 255");
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
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    struct extra a = {6, STR("\x00\xff\xc1"), STR("\x81\xa1k\x93\x01\xc3\xa1v")}, b;
    struct err e = {0};
    json_auto_t *json = json_bridge_of_message(&extra_def, &a, &e);
    assert_prints(json, "{\"raw\":\"AP/B\",\"map\":{\"k\":[1,true,\"v\"]}}");
    assert_int_equal(json_bridge_to_message(&extra_def, json, &b, arena, &e), 0);
    message_assert_equal(&extra_def, &a, &b);
    static const struct {
        const char *json, *text;
    } bad[] = {
        {"{\"raw\":5}", "extra.raw: a number, must be base64 with padding"},
        {"{\"raw\":\"A\"}", "extra.raw: text, must be base64 with padding"},
        {"{\"raw\":\"\"}", "extra.raw: 0 bytes, at least 1"},
        {"{\"map\":[]}", "extra.map: a list, must be an object"},
        {"{\"map\":{\"k\":{\"$bin\":1}}}", "extra.map: \"$bin\" must be base64 with padding"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_auto_t *wrong = parse(bad[i].json);
        assert_int_equal(json_bridge_to_message(&extra_def, wrong, &b, arena, &e), -1);
        assert_string_equal(e.text, bad[i].text);
    }
    a.map = STR("\x81\x01\x02");
    assert_null(json_bridge_of_message(&extra_def, &a, &e));
    assert_string_equal(e.text, "extra.map: a number as a key of a map, JSON has text only");
}

/* ---- values --------------------------------------------------------------------------------- */
/* msgpack in hex and the JSON that it is; both ways give the other exactly. */
static const struct {
    const char *hex, *json;
} values[] = {
    {"80", "{}"},
    {"90", "[]"},
    {"c0", "null"},
    {"93 c2 c3 c0", "[false,true,null]"},
    {"94 00 7f cc 80 ff", "[0,127,128,-1]"},
    {"cf 7f ff ff ff ff ff ff ff", "9223372036854775807"},
    {"d3 80 00 00 00 00 00 00 00", "-9223372036854775808"},
    {"cf 80 00 00 00 00 00 00 00", "{\"$uint\":\"9223372036854775808\"}"},
    {"cf 00 20 00 00 00 00 00 01", "9007199254740993"},
    {"cb 3f f0 00 00 00 00 00 00", "1.0"},
    {"cb 80 00 00 00 00 00 00 00", "-0.0"},
    {"cb 3f b9 99 99 99 99 99 9a", "0.10000000000000001"},
    {"a4 f0 9f 98 80", "\"\xf0\x9f\x98\x80\""},
    {"a3 61 00 62", "\"a\\u0000b\""},
    {"c4 00", "{\"$bin\":\"\"}"},
    {"c4 03 00 ff c1", "{\"$bin\":\"AP/B\"}"},
    {"d4 ff 00", "{\"$ext\":-1,\"$bin\":\"AA==\"}"},
    {"c7 03 05 61 62 63", "{\"$ext\":5,\"$bin\":\"YWJj\"}"},
    {"82 a1 61 01 a1 62 81 a1 63 90", "{\"a\":1,\"b\":{\"c\":[]}}"},
    /* Keys of one's own that look like ours. */
    {"81 a4 24 62 69 6e a1 78", "{\"$$bin\":\"x\"}"},
    {"81 a5 24 24 65 78 74 01", "{\"$$$ext\":1}"},
    {"81 a4 24 72 65 66 a1 78", "{\"$ref\":\"x\"}"},
    {"81 a0 01", "{\"\":1}"},
};

static void values_go_both_ways(void **state) { /* P-17 */
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        AUTO_BUF value = BUF(4096);
        AUTO_BUF back = BUF(4096);
        struct err e = {0};
        hex_read(values[i].hex, &value);
        json_auto_t *json = json_bridge_of_value(buf_str(&value), &e);
        if (!json)
            fail_msg("%s: %s", values[i].hex, e.text);
        assert_prints(json, values[i].json);
        json_auto_t *parsed = parse(values[i].json);
        if (json_bridge_to_value(parsed, &back, &e) < 0)
            fail_msg("%s: %s", values[i].json, e.text);
        if (!str_eq(buf_str(&value), buf_str(&back))) {
            AUTO_BUF shown = BUF(4096);
            hex_show(buf_str(&back), &shown);
            fail_msg("%s: %s", values[i].json, shown.at);
        }
    }
}

/* What has another form in msgpack, and one in JSON. */
static void other_forms_are_read(void **state) {
    (void)state;
    static const struct {
        const char *hex, *json;
    } forms[] = {
        {"ca 3f c0 00 00", "1.5"},       {"d9 01 61", "\"a\""},
        {"81 c4 01 6b 01", "{\"k\":1}"}, {"cf 00 00 00 00 00 00 00 05", "5"},
        {"dd 00 00 00 01 c0", "[null]"},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        AUTO_BUF value = BUF(4096);
        struct err e = {0};
        hex_read(forms[i].hex, &value);
        json_auto_t *json = json_bridge_of_value(buf_str(&value), &e);
        assert_prints(json, forms[i].json);
    }
}

static void values_that_json_has_not(void **state) { /* P-17 */
    (void)state;
    static const struct {
        const char *hex;
        enum err_code code;
        const char *text;
    } bad[] = {
        {"cb 7f f0 00 00 00 00 00 00", ERR_BAD_VALUE,
         "a float that is infinite or not a number, JSON has none"},
        {"cb 7f f8 00 00 00 00 00 00", ERR_BAD_VALUE,
         "a float that is infinite or not a number, JSON has none"},
        {"81 01 02", ERR_BAD_VALUE, "a number as a key of a map, JSON has text only"},
        {"81 c4 01 ff 02", ERR_BAD_VALUE, "a key of a map that is not text for JSON"},
        {"81 a1 00 02", ERR_BAD_VALUE, "a key of a map that is not text for JSON"},
        {"82 a1 6b 01 a1 6b 02", ERR_BAD_VALUE, "key 'k' of a map stands twice"},
        {"82 a1 6b 01 c4 01 6b 02", ERR_BAD_VALUE, "key 'k' of a map stands twice"},
        {"c1", ERR_MALFORMED, "byte c1, which msgpack does not have"},
        {"92 01", ERR_MALFORMED, "the input ends within it"},
        {"c0 c0", ERR_MALFORMED, "1 bytes behind the value"},
        {"a1 ff", ERR_BAD_VALUE, "text that is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        AUTO_BUF value = BUF(4096);
        struct err e = {0};
        hex_read(bad[i].hex, &value);
        assert_null(json_bridge_of_value(buf_str(&value), &e));
        assert_string_equal(e.text, bad[i].text);
        assert_int_equal(e.code, bad[i].code);
    }
}

static void json_that_is_no_value(void **state) {
    (void)state;
    static const struct {
        const char *json, *text;
    } bad[] = {
        {"{\"$bin\":\"A\"}", "\"$bin\" must be base64 with padding"},
        {"{\"$bin\":\"AB==\"}", "\"$bin\" must be base64 with padding"},
        {"{\"$bin\":5}", "\"$bin\" must be base64 with padding"},
        {"{\"$ext\":200,\"$bin\":\"\"}", "\"$ext\" must be a number from -128 to 127"},
        {"{\"$ext\":\"1\",\"$bin\":\"\"}", "\"$ext\" must be a number from -128 to 127"},
        {"{\"$uint\":5}", "\"$uint\" must be a string of digits below 2^64"},
        {"{\"$uint\":\"18446744073709551616\"}", "\"$uint\" must be a string of digits below 2^64"},
    };
    static const char *const misused[] = {"{\"$bin\":\"\",\"a\":1}", "{\"$ext\":1}",
                                          "{\"$uint\":\"1\",\"$bin\":\"\"}"};
    AUTO_BUF out = BUF(4096);
    struct err e = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_auto_t *json = parse(bad[i].json);
        assert_int_equal(json_bridge_to_value(json, &out, &e), -1);
        assert_string_equal(e.text, bad[i].text);
        assert_int_equal(out.len, 0);
    }
    for (size_t i = 0; i < sizeof misused / sizeof misused[0]; i++) {
        json_auto_t *json = parse(misused[i]);
        assert_int_equal(json_bridge_to_value(json, &out, &e), -1);
        assert_non_null(strstr(e.text, "write one more \"$\" in front"));
    }
}

static void depth_has_the_same_bound_both_ways(void **state) { /* P-16 */
    (void)state;
    char text[80] = {0};
    AUTO_BUF out = BUF(4096);
    struct err e = {0};
    for (int i = 0; i < 32; i++) {
        text[i] = '[';
        text[63 - i] = ']';
    }
    json_auto_t *json = parse(text);
    assert_int_equal(json_bridge_to_value(json, &out, &e), 0);
    json_auto_t *back = json_bridge_of_value(buf_str(&out), &e);
    assert_prints(back, text);
    json_auto_t *deeper = json_array();
    json_array_append(deeper, json);
    assert_int_equal(json_bridge_to_value(deeper, &out, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
}

static void text_is_parsed_strictly(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",    "{",     "{\"a\":1,\"a\":2}",   "{} {}", "{'a':1}", "\"\xff\"",
        "NaN", "1e999", "9223372036854775808", "[1,]",  "nul",     "\"\\ud800\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = {0};
        json_t *json = json_bridge_parse(str_of(bad[i]), &e);
        if (json)
            fail_msg("%s was parsed", bad[i]);
        assert_int_equal(e.code, ERR_MALFORMED);
        assert_true(str_starts(str_of(e.text), STR("JSON, line ")));
    }
}

static void a_full_buffer_is_told(void **state) {
    (void)state;
    json_auto_t *json = parse("{\"a\":[1,2,3,\"text of some length\"]}");
    for (size_t max = 0; max < 25; max++) {
        AUTO_BUF out = BUF(max);
        struct err e = {0};
        assert_int_equal(json_bridge_to_value(json, &out, &e), -1);
        assert_int_equal(e.code, ERR_TOO_LARGE);
        assert_int_equal(out.len, 0);
    }
}

/* ---- base64 --------------------------------------------------------------------------------- */
static void base64_as_the_rfc_has_it(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        AUTO_BUF text = BUF(64);
        AUTO_BUF bytes = BUF(64);
        assert_int_equal(base64_put(&text, str_of(pairs[i][0])), 0);
        assert_true(str_eq(buf_str(&text), str_of(pairs[i][1])));
        assert_true(base64_read(str_of(pairs[i][1]), &bytes));
        assert_true(str_eq(buf_str(&bytes), str_of(pairs[i][0])));
    }
    static const char *const bad[] = {
        "Zg=", "Zg", "Z===", "Zh==", "Zm9=", "Zg==Zg==", "Zm 9", "===="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        AUTO_BUF bytes = BUF(64);
        assert_false(base64_read(str_of(bad[i]), &bytes));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_reads_well),
        cmocka_unit_test(instances_are_hex_and_roles_words),
        cmocka_unit_test(numbers_without_a_word),
        cmocka_unit_test(every_message_goes_both_ways),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(lists_and_text_keep_their_bounds),
        cmocka_unit_test(bytes_and_maps),
        cmocka_unit_test(values_go_both_ways),
        cmocka_unit_test(other_forms_are_read),
        cmocka_unit_test(values_that_json_has_not),
        cmocka_unit_test(json_that_is_no_value),
        cmocka_unit_test(depth_has_the_same_bound_both_ways),
        cmocka_unit_test(text_is_parsed_strictly),
        cmocka_unit_test(a_full_buffer_is_told),
        cmocka_unit_test(base64_as_the_rfc_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

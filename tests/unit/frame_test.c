#include "common/wire/frame.h"

#include "common/base/mem.h"

#include "tests/support/hex.h"
#include "tests/support/message_maker.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ARENA_MAX (1U << 24)

static struct msg_submit a_submit(struct str kind, struct str payload) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, kind);
    if (payload.len)
        MSG_SET(&m, submit, size, payload.len);
    return m;
}

static int open_out(struct frame_in *in, const struct frame_out *f, struct err *e) {
    return frame_open(in, buf_str(&f->head), buf_str(&f->body), buf_str(&f->payloads), e);
}

/* ---- building and reading ------------------------------------------------------------------- */
static void a_message_is_three_frames(void **state) { /* P-3, P-4, P-5 */
    (void)state;
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, VERB_submit, 7);
    struct str payloads[] = {STR("\x81\xa1n\x01"), STR(""), STR("\x80")};
    for (int i = 0; i < 3; i++) {
        struct msg_submit m = a_submit(STR("echo"), payloads[i]);
        assert_int_equal(frame_add_payload(&f, &m, payloads[i], STR("")), 0);
    }
    assert_true(str_eq(buf_str(&f.head), STR("\x93\x01\x0a\x07")));
    assert_true(str_eq(buf_str(&f.payloads), STR("\x81\xa1n\x01\x80")));
    struct frame_in in;
    struct frame_item item;
    struct msg_submit m;
    struct err e = {0};
    assert_int_equal(open_out(&in, &f, &e), 0);
    assert_int_equal(in.verb->verb, VERB_submit);
    assert_int_equal(in.sequence, 7);
    assert_int_equal(in.items, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 1);
        assert_int_equal(item.index, i);
        assert_true(str_eq(m.kind, STR("echo")));
        assert_true(str_eq(item.payload, payloads[i]));
    }
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 0);
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 0);
}

static void a_message_may_be_sent_at_any_time(void **state) {
    (void)state;
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, VERB_queue_info, UINT64_MAX);
    struct frame_in in;
    struct frame_item item;
    union msg_any m;
    struct err e = {0};
    assert_int_equal(open_out(&in, &f, &e), 0);
    assert_true(in.sequence == UINT64_MAX);
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 0);
}

static void payload_and_result_lie_side_by_side(void **state) { /* P-5 */
    (void)state;
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, VERB_job_info, 1);
    struct msg_job_info m = {0}, back;
    MSG_SET(&m, job_info, code, 0);
    MSG_SET(&m, job_info, size, 3);
    MSG_SET(&m, job_info, result_size, 2);
    assert_int_equal(frame_add_payload(&f, &m, STR("abc"), STR("de")), 0);
    m = (struct msg_job_info){0};
    MSG_SET(&m, job_info, code, 0);
    MSG_SET(&m, job_info, result_size, 1);
    assert_int_equal(frame_add_payload(&f, &m, STR(""), STR("f")), 0);
    struct frame_in in;
    struct frame_item item;
    struct err e = {0};
    assert_int_equal(open_out(&in, &f, &e), 0);
    assert_int_equal(frame_next(&in, &back, NULL, &item, &e), 1);
    assert_true(str_eq(item.payload, STR("abc")) && str_eq(item.result, STR("de")));
    assert_int_equal(frame_next(&in, &back, NULL, &item, &e), 1);
    assert_true(str_eq(item.payload, STR("")) && str_eq(item.result, STR("f")));
}

/* Every verb, random items and payloads: what went in comes out. */
static void every_verb_goes_both_ways(void **state) { /* P-5, P-9 */
    (void)state;
    struct rng r = rng_seed(5);
    AUTO_ARENA made = arena_new(ARENA_MAX);
    AUTO_ARENA read = arena_new(ARENA_MAX);
    AUTO_FRAME_OUT f = FRAME_OUT;
    for (uint64_t number = 0; number < 128; number++) {
        const struct verb_def *verb = verb_def(number);
        if (!verb)
            continue;
        const struct msg_def *def = msg_def(verb->message);
        arena_reset(made);
        arena_reset(read);
        union msg_any sent[8];
        uint32_t n = verb->items_max < 8 ? verb->items_max : 8;
        frame_begin(&f, verb->verb, rng_u64(&r));
        for (uint32_t i = 0; i < n; i++) {
            message_make(def, &r, 500000, made, &sent[i]);
            struct str payload = message_make_payload(def, &r, &sent[i], made);
            assert_int_equal(frame_add_payload(&f, &sent[i], payload, STR("")), 0);
        }
        struct frame_in in;
        struct err e = {0};
        if (open_out(&in, &f, &e) < 0)
            fail_msg("%s: %s", verb->name, e.text);
        for (uint32_t i = 0; i < n; i++) {
            union msg_any m;
            struct frame_item item;
            if (frame_next(&in, &m, read, &item, &e) != 1)
                fail_msg("%s: %s", verb->name, e.text);
            message_assert_equal(def, &sent[i], &m);
        }
        assert_int_equal(cursor_left(&in.payloads), 0);
    }
}

/* ---- limits --------------------------------------------------------------------------------- */
static void a_full_message_takes_no_more(void **state) { /* P-6 */
    (void)state;
    AUTO_FRAME_OUT f = FRAME_OUT;
    AUTO_FREE char *mega = mem_zalloc(1U << 20);
    frame_begin(&f, VERB_submit, 1);
    struct msg_submit m = a_submit(STR("echo"), str_make(mega, 1U << 20));
    for (int i = 0; i < 3; i++)
        assert_int_equal(frame_add_payload(&f, &m, str_make(mega, 1U << 20), STR("")), 0);
    size_t body = f.body.len, payloads = f.payloads.len;
    assert_int_equal(frame_add_payload(&f, &m, str_make(mega, 1U << 20), STR("")), -1);
    assert_int_equal(f.items, 3);
    assert_int_equal(f.body.len, body);
    assert_int_equal(f.payloads.len, payloads);
    struct msg_submit small = a_submit(STR("echo"), STR(""));
    assert_int_equal(frame_add(&f, &small), 0);
    struct frame_in in;
    struct err e = {0};
    assert_int_equal(open_out(&in, &f, &e), 0);
    assert_int_equal(in.items, 4);

    frame_begin(&f, VERB_submit, 2);
    for (int i = 0; i < 1024; i++)
        assert_int_equal(frame_add(&f, &small), 0);
    assert_int_equal(frame_add(&f, &small), -1);
    assert_int_equal(open_out(&in, &f, &e), 0);
    assert_int_equal(in.items, 1024);

    frame_begin(&f, VERB_submit, 3);
    f.bytes_max = 100;
    while (frame_add(&f, &small) == 0)
        continue;
    assert_true(f.head.len + f.body.len <= 100 && f.items > 3);
}

static void a_message_over_its_bytes_is_refused(void **state) { /* P-6 */
    (void)state;
    AUTO_FREE char *mega = mem_zalloc(FRAME_BYTES_MAX);
    struct frame_in in;
    struct err e = {0};
    assert_int_equal(frame_open(&in, STR("\x93\x01\x0a\x07"), STR("\x90"),
                                str_make(mega, FRAME_BYTES_MAX - 4), &e),
                     -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_string_equal(e.text, "submit: 4194305 bytes, at most 4194304");
    assert_int_equal(in.sequence, 7);
}

/* ---- one bad item --------------------------------------------------------------------------- */
static void one_bad_item_does_not_spoil_the_others(void **state) { /* P-7 */
    (void)state;
    AUTO_BUF body = BUF(4096);
    /* kind "a" with 1 byte; priority 12 with 2 bytes; a list; kind "b" with 1 byte */
    hex_read("94 82 01 a1 61 02 01  83 01 a1 78 05 0c 02 02  91 c0  82 01 a1 62 02 01", &body);
    struct frame_in in;
    struct frame_item item;
    struct msg_submit m;
    struct err e = {0};
    assert_int_equal(frame_open(&in, STR("\x93\x01\x0a\x07"), buf_str(&body), STR("1234"), &e), 0);
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 1);
    assert_true(str_eq(item.payload, STR("1")));
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), -1);
    assert_int_equal(item.index, 1);
    assert_int_equal(e.code, ERR_BAD_VALUE);
    assert_string_equal(e.text, "submit.priority: 12, at most 9");
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), -1);
    assert_string_equal(e.text, "submit: a list, must be a map");
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 1);
    assert_int_equal(item.index, 3);
    assert_true(str_eq(m.kind, STR("b")) && str_eq(item.payload, STR("4")));
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 0);
}

static void a_payload_over_its_bound_costs_only_its_item(void **state) { /* P-7 */
    (void)state;
    AUTO_FREE char *mega = mem_zalloc(3U << 20);
    AUTO_BUF body = BUF(4096);
    hex_read("92 82 01 a1 61 02 ce 00 20 00 00  82 01 a1 62 02 01", &body);
    struct frame_in in;
    struct frame_item item;
    struct msg_submit m;
    struct err e = {0};
    assert_int_equal(frame_open(&in, STR("\x93\x01\x0a\x07"), buf_str(&body),
                                str_make(mega, (2U << 20) + 1), &e),
                     0);
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_string_equal(e.text, "submit: a payload of 2097152 bytes, at most 1048576");
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 1);
    assert_int_equal(item.payload.len, 1);
}

static void unknown_fields_are_passed_over_when_told(void **state) { /* P-16 */
    (void)state;
    AUTO_BUF body = BUF(4096);
    hex_read("92 82 01 a1 61 32 05  81 01 a1 62", &body);
    struct frame_in in;
    struct frame_item item;
    struct msg_submit m;
    struct err e = {0};
    assert_int_equal(frame_open(&in, STR("\x93\x01\x0a\x07"), buf_str(&body), STR(""), &e), 0);
    in.lenient = true;
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 1);
    assert_int_equal(frame_next(&in, &m, NULL, &item, &e), 1);
    assert_int_equal(in.skipped, 1);
}

/* ---- messages that are refused as a whole --------------------------------------------------- */
struct refusal {
    const char *head, *body, *payloads;
    uint64_t sequence;
    enum err_code code;
    const char *text;
};

#define HEAD_TEXT "frame 0: must be a list of version, verb, sequence"

static const struct refusal refusals[] = {
    {"", "90", "", 0, ERR_MALFORMED, HEAD_TEXT},
    {"92 01 0a", "90", "", 0, ERR_MALFORMED, HEAD_TEXT},
    {"93 01 0a 07 00", "90", "", 7, ERR_MALFORMED, HEAD_TEXT},
    {"93 01 0a a1 61", "90", "", 0, ERR_MALFORMED, HEAD_TEXT},
    {"83 01 0a 07 00", "90", "", 0, ERR_MALFORMED, HEAD_TEXT},
    {"dd ff ff ff ff", "90", "", 0, ERR_MALFORMED, HEAD_TEXT},
    {"93 02 0a 07", "90", "", 7, ERR_BAD_VERSION, "frame 0: version 2, must be 1"},
    {"94 02 0a 07 c0", "90", "", 0, ERR_BAD_VERSION, "frame 0: version 2, must be 1"},
    {"93 01 09 07", "90", "", 7, ERR_UNKNOWN_VERB, "frame 0: no verb 9"},
    {"93 01 cd ff ff 07", "90", "", 7, ERR_UNKNOWN_VERB, "frame 0: no verb 65535"},
    {"93 01 0a 07", "", "", 7, ERR_MALFORMED,
     "submit: frame 1: must be a list of items: the input ends within it"},
    {"93 01 0a 07", "80", "", 7, ERR_MALFORMED, "submit: frame 1: must be a list of items"},
    {"93 01 0a 07", "90 c0", "", 7, ERR_MALFORMED, "submit: frame 1: 1 bytes behind its list"},
    {"93 01 0a 07", "dd 00 00 04 01", "", 7, ERR_MALFORMED,
     "submit: frame 1: must be a list of items: the input ends within it"},
    {"93 01 0a 07", "92 81 01 a1 61 81 01", "", 7, ERR_MALFORMED,
     "submit: item 1: the input ends within it"},
    {"93 01 0a 07", "91 c1", "", 7, ERR_MALFORMED,
     "submit: item 0: byte c1, which msgpack does not have"},
    {"93 01 01 07", "90", "", 7, ERR_MALFORMED, "hello: no item, must be 1"},
    {"93 01 01 07", "92 80 80", "", 7, ERR_TOO_LARGE, "hello: 2 items, at most 1"},
    /* Payloads must add up exactly. */
    {"93 01 0a 07", "91 82 01 a1 61 02 03", "61 62", 7, ERR_MALFORMED,
     "submit: item 0: its payload goes beyond frame 2"},
    {"93 01 0a 07", "91 82 01 a1 61 02 cf ff ff ff ff ff ff ff ff", "61 62", 7, ERR_MALFORMED,
     "submit: item 0: its payload goes beyond frame 2"},
    {"93 01 0a 07", "91 82 01 a1 61 02 01", "61 62", 7, ERR_MALFORMED,
     "submit: frame 2: 1 bytes that belong to no item"},
    {"93 01 34 07", "91 82 01 05 02 06", "61", 7, ERR_MALFORMED,
     "started: frame 2: 1 bytes that belong to no item"},
    {"93 01 0a 07", "91 83 01 a1 61 02 01 02 01", "61", 7, ERR_MALFORMED,
     "submit: item 0: the size of its payload is given twice"},
    {"93 01 0a 07", "91 82 01 a1 61 02 c0", "", 7, ERR_MALFORMED,
     "submit: item 0: the size of its payload is not a number"},
    {"93 01 0d 07", "91 82 01 00 19 05", "61", 7, ERR_MALFORMED,
     "job_info: item 0: its payload goes beyond frame 2"},
};

static void what_is_wrong_as_a_whole_is_refused(void **state) { /* P-3, P-4, P-5, P-6, P-12 */
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *it = &refusals[i];
        AUTO_BUF head = BUF(4096), body = BUF(4096), payloads = BUF(4096);
        hex_read(it->head, &head);
        hex_read(it->body, &body);
        hex_read(it->payloads, &payloads);
        struct frame_in in;
        struct err e = {0};
        int rc = frame_open(&in, buf_str(&head), buf_str(&body), buf_str(&payloads), &e);
        if (rc != -1 || e.code != it->code || strcmp(e.text, it->text) != 0 ||
            in.sequence != it->sequence)
            fail_msg("%s | %s | %s: %d %s '%s' sequence %llu", it->head, it->body, it->payloads, rc,
                     err_code_name(e.code), e.text, (unsigned long long)in.sequence);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_three_frames),
        cmocka_unit_test(a_message_may_be_sent_at_any_time),
        cmocka_unit_test(payload_and_result_lie_side_by_side),
        cmocka_unit_test(every_verb_goes_both_ways),
        cmocka_unit_test(a_full_message_takes_no_more),
        cmocka_unit_test(a_message_over_its_bytes_is_refused),
        cmocka_unit_test(one_bad_item_does_not_spoil_the_others),
        cmocka_unit_test(a_payload_over_its_bound_costs_only_its_item),
        cmocka_unit_test(unknown_fields_are_passed_over_when_told),
        cmocka_unit_test(what_is_wrong_as_a_whole_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

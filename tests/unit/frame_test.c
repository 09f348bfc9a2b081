#include "common/wire/frame.h"

#include "common/base/id.h"
#include "common/base/mem.h"
#include "common/wire/stream_frame.h"

#include "tests/support/hex.h"
#include "tests/support/message_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

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
static void a_message_is_three_frames(void **state) { /* P-5, P-6, P-7 */
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

static void payload_and_result_lie_side_by_side(void **state) { /* P-7 */
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
static void every_verb_goes_both_ways(void **state) { /* P-7, P-12 */
    (void)state;
    struct rng r = rng_seed(5);
    AUTO_ARENA made = arena_new(ARENA_MAX);
    AUTO_ARENA read = arena_new(ARENA_MAX);
    AUTO_FRAME_OUT f = FRAME_OUT;
    struct msg_submit lone = {0};
    MSG_SET(&lone, submit, kind, STR("k"));
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
            if (def->children_at && def->required >> def->children_at & 1)
                message_set_children(def, 1, &sent[i]);
            assert_int_equal(frame_add_payload(&f, &sent[i], payload, STR("")), 0);
            if (def->children_at && sent[i].has >> def->children_at & 1)
                assert_int_equal(frame_add_child(&f, &lone, STR("")), 0);
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
            for (uint32_t k = item.children; k > 0; k--)
                assert_int_equal(frame_next(&in, &m, read, &item, &e), 1);
        }
        assert_int_equal(cursor_left(&in.payloads), 0);
    }
}

/* ---- limits --------------------------------------------------------------------------------- */
static void a_full_message_takes_no_more(void **state) { /* P-8 */
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

/* P-81 */
static void a_family_is_added_whole_or_not_at_all(void **state) {
    (void)state;
    AUTO_FRAME_OUT f = FRAME_OUT;
    AUTO_BUF envelopes = BUF(1000);
    struct msg_submit child = a_submit(STR("echo"), STR("\x80"));
    for (int n = 0; n < 3; n++)
        assert_int_equal(codec_put(&envelopes, MSG_submit, &child), 0);
    struct frame_children k = {3, buf_str(&envelopes), STR("\x80\x80\x80")};
    struct msg_result m = {0};
    MSG_SET(&m, result, job, 1);
    MSG_SET(&m, result, fence, 2);
    MSG_SET(&m, result, outcome, OUTCOME_DONE);
    MSG_SET(&m, result, size, 2);
    MSG_SET(&m, result, children, 3);
    frame_begin(&f, VERB_result, 0);
    f.items_max = 7;
    assert_int_equal(frame_add_family(&f, &m, STR("\x81\x01"), &k), 0);
    size_t body = f.body.len, payloads = f.payloads.len;
    f.bytes_max = f.head.len + body + payloads + 40;
    assert_int_equal(frame_add_family(&f, &m, STR("\x81\x01"), &k), -1); /* bytes */
    assert_int_equal(f.items, 4);
    f.bytes_max = FRAME_BYTES_MAX;
    f.items_max = 7;
    assert_int_equal(frame_add_family(&f, &m, STR("\x81\x01"), &k), -1); /* items */
    assert_int_equal(f.items, 4);
    assert_int_equal(f.body.len, body);
    assert_int_equal(f.payloads.len, payloads);
    f.items_max = 8;
    assert_int_equal(frame_add_family(&f, &m, STR("\x81\x01"), &k), 0);
    struct frame_in in;
    struct frame_item item;
    union msg_any any;
    struct err e = {0};
    assert_int_equal(open_out(&in, &f, &e), 0);
    for (uint32_t n = 0; n < 8; n++) {
        assert_int_equal(frame_next(&in, &any, NULL, &item, &e), 1);
        assert_int_equal(item.child, n % 4 != 0);
        assert_int_equal(item.children, n % 4 ? 0 : 3);
        assert_true(str_eq(item.payload, n % 4 ? STR("\x80") : STR("\x81\x01")));
    }
    frame_begin(&f, VERB_spawn, 5);
    assert_int_equal(frame_add_encoded(&f, &k), 0);
    assert_int_equal(open_out(&in, &f, &e), 0);
    assert_int_equal(in.items, 3);
}

static void a_message_over_its_bytes_is_refused(void **state) { /* P-8 */
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
static void one_bad_item_does_not_spoil_the_others(void **state) { /* P-10 */
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

static void a_payload_over_its_bound_costs_only_its_item(void **state) { /* P-10 */
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

static void unknown_fields_are_passed_over_when_told(void **state) { /* P-21 */
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
    {"93 01 0a 07", "91 81 01 a1 61 c0", "", 7, ERR_MALFORMED,
     "submit: frame 1: 1 bytes behind its list"},
    {"93 01 0a 07", "dd 00 00 04 01", "", 7, ERR_MALFORMED,
     "submit: frame 1: must be a list of items: the input ends within it"},
    {"93 01 0a 07", "92 81 01 a1 61 81 01", "", 7, ERR_MALFORMED,
     "submit: item 1: the input ends within it"},
    {"93 01 0a 07", "91 c1", "", 7, ERR_MALFORMED,
     "submit: item 0: byte c1, which msgpack does not have"},
    {"93 01 01 07", "90", "", 7, ERR_MALFORMED, "hello: no item, at least 1"},
    {"93 01 0a 07", "90", "", 7, ERR_MALFORMED, "submit: no item, at least 1"},
    {"93 01 34 00", "dd 00 00 00 00", "", 0, ERR_MALFORMED, "started: no item, at least 1"},
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
     "submit: item 0: one of its counts is given twice"},
    {"93 01 0a 07", "91 82 01 a1 61 02 c0", "", 7, ERR_MALFORMED,
     "submit: item 0: one of its counts is not a number"},
    {"93 01 0d 07", "91 82 01 00 19 05", "61", 7, ERR_MALFORMED,
     "job_info: item 0: its payload goes beyond frame 2"},
};

static void what_is_wrong_as_a_whole_is_refused(void **state) { /* P-5, P-6, P-7, P-8, P-9, P-15 */
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

/* ---- payloads ------------------------------------------------------------------------------- */
static void a_payload_is_one_map(void **state) { /* P-16 */
    (void)state;
    struct err e = {0};
    assert_int_equal(frame_check_payload(STR(""), &e), 0);
    assert_int_equal(frame_check_payload(STR("\x80"), &e), 0);
    assert_int_equal(frame_check_payload(STR("\x81\xa1n\xd4\x05\x00"), &e), 0);
    assert_int_equal(frame_check_payload(STR("\x90"), &e), -1);
    assert_string_equal(e.text, "payload: a list, must be a map");
    assert_int_equal(frame_check_payload(STR("\x81\xa1n"), &e), -1);
    assert_string_equal(e.text, "payload: the input ends within it");
    assert_int_equal(frame_check_payload(STR("\x80\x80"), &e), -1);
    assert_string_equal(e.text, "payload: 1 bytes behind the value");
    assert_int_equal(frame_check_payload(STR("\x81\xa1n\xa1\xff"), &e), -1);
    assert_string_equal(e.text, "payload: text that is not UTF-8");
    AUTO_BUF many = BUF(FRAME_BYTES_MAX);
    msgpack_put_map(&many, 1);
    msgpack_put_text(&many, STR("n"));
    msgpack_put_list(&many, PAYLOAD_VALUES_MAX - 3);
    for (uint32_t i = 0; i < PAYLOAD_VALUES_MAX - 3; i++)
        msgpack_put_nil(&many);
    assert_int_equal(frame_check_payload(buf_str(&many), &e), 0);
    many.at[3 + 4]++;
    msgpack_put_nil(&many);
    assert_int_equal(frame_check_payload(buf_str(&many), &e), -1);
    assert_string_equal(e.text, "payload: more than 262144 values");
}

/* ---- the table ------------------------------------------------------------------------------ */
static void verbs_keep_to_their_roles_and_numbers(void **state) { /* P-8, P-31, P-70 */
    (void)state;
    static const char *const of_workers[] = {"started", "result", "returned", "progress"};
    for (uint64_t number = 0; number < 128; number++) {
        const struct verb_def *verb = verb_def(number);
        assert_true(!verb || number < 100 || number > 119);
        if (!verb)
            continue;
        assert_true(verb->roles != 0 && verb->roles < ROLE_BIT(ROLE_OPERATOR) * 2);
        assert_in_range(verb->items_max, 1, FRAME_ITEMS_MAX);
    }
    for (size_t i = 0; i < sizeof of_workers / sizeof of_workers[0]; i++)
        assert_int_equal(verb_named(str_of(of_workers[i]))->roles, ROLE_BIT(ROLE_WORKER));
    assert_int_equal(verb_def(VERB_dispatch)->roles, ROLE_BIT_BROKER);
    assert_int_equal(verb_def(VERB_purge_queue)->roles, ROLE_BIT(ROLE_OPERATOR));
    assert_false(verb_def(VERB_cancel_job)->roles & ROLE_BIT(ROLE_WORKER));
}

/* ---- the examples of docs/protocol.md ------------------------------------------------------- */
/* The hex of the example `name` ("submit body"), empty if the page has none. */
static void example_read(struct str page, const char *name, struct buf *out) {
    char title[80];
    snprintf(title, sizeof title, "; %s\n", name);
    bool within = false;
    for (size_t at = 0; at < page.len;) {
        const char *line = page.at + at;
        const char *end = memchr(line, '\n', page.len - at);
        size_t len = end ? (size_t)(end - line) + 1 : page.len - at;
        at += len;
        if (line[0] == ';' || line[0] == '`') {
            within = str_eq(str_make(line, len), str_of(title));
            continue;
        }
        if (!within)
            continue;
        char hex[200] = {0};
        const char *comment = memchr(line, ';', len);
        memcpy(hex, line, comment ? (size_t)(comment - line) : len);
        hex_read(hex, out);
    }
}

struct example {
    struct buf head, body, payloads;
};

static void example_open(struct example *x, struct str page, const char *name) {
    static const char *const parts[] = {"head", "body", "payloads"};
    struct buf *bufs[] = {&x->head, &x->body, &x->payloads};
    for (int i = 0; i < 3; i++) {
        char title[64];
        snprintf(title, sizeof title, "%s %s", name, parts[i]);
        *bufs[i] = BUF(4096);
        example_read(page, title, bufs[i]);
        assert_true(i == 2 || bufs[i]->len > 0);
    }
}

/* The page has exactly what our writer writes; ends both. */
static void example_close(struct example *x, struct frame_out *f) {
    struct frame_in in;
    struct frame_item item;
    union msg_any m;
    struct err e = {0};
    if (frame_open(&in, buf_str(&x->head), buf_str(&x->body), buf_str(&x->payloads), &e) < 0)
        fail_msg("%s", e.text);
    for (uint32_t i = 0; i < in.items; i++)
        if (frame_next(&in, &m, NULL, &item, &e) != 1)
            fail_msg("%s", e.text);
    assert_true(str_eq(buf_str(&x->head), buf_str(&f->head)));
    assert_true(str_eq(buf_str(&x->body), buf_str(&f->body)));
    assert_true(str_eq(buf_str(&x->payloads), buf_str(&f->payloads)));
    buf_destroy(&x->head);
    buf_destroy(&x->body);
    buf_destroy(&x->payloads);
}

static void add_submits(struct frame_out *f) {
    struct str text = STR("\x81\xa4text\xa7gr\xc3\xbc\xc3\x9f"
                          "e");
    frame_begin(f, VERB_submit, 2);
    struct msg_submit m = a_submit(STR("echo"), text);
    assert_int_equal(frame_add_payload(f, &m, text, STR("")), 0);
    m = a_submit(STR("echo"), STR("\x81\xa1n\x07"));
    MSG_SET(&m, submit, priority, 9);
    assert_int_equal(frame_add_payload(f, &m, STR("\x81\xa1n\x07"), STR("")), 0);
}

static void add_submitted(struct frame_out *f) {
    frame_begin(f, VERB_submitted, 2);
    struct msg_submitted m = {0};
    MSG_SET(&m, submitted, code, ERR_OK);
    MSG_SET(&m, submitted, id, id_make(3, 7));
    assert_int_equal(frame_add(f, &m), 0);
    m = (struct msg_submitted){0};
    MSG_SET(&m, submitted, code, ERR_BAD_ROLE);
    MSG_SET(&m, submitted, text, STR("priority"));
    assert_int_equal(frame_add(f, &m), 0);
}

static void add_dispatch(struct frame_out *f) {
    frame_begin(f, VERB_dispatch, 0);
    struct msg_dispatch m = {0};
    MSG_SET(&m, dispatch, job, id_make(3, 7));
    MSG_SET(&m, dispatch, fence, id_make(3, 500));
    MSG_SET(&m, dispatch, kind, STR("echo"));
    MSG_SET(&m, dispatch, size, 4);
    MSG_SET(&m, dispatch, tenant, STR("default"));
    MSG_SET(&m, dispatch, attempt, 1);
    MSG_SET(&m, dispatch, timeout_ms, 30000);
    assert_int_equal(frame_add_payload(f, &m, STR("\x81\xa1n\x07"), STR("")), 0);
}

static void add_result(struct frame_out *f) {
    frame_begin(f, VERB_result, 0);
    struct msg_result m = {0};
    MSG_SET(&m, result, job, id_make(3, 7));
    MSG_SET(&m, result, fence, id_make(3, 500));
    MSG_SET(&m, result, outcome, OUTCOME_DONE);
    MSG_SET(&m, result, size, 4);
    assert_int_equal(frame_add_payload(f, &m, STR("\x81\xa1n\x07"), STR("")), 0);
}

static void the_examples_of_the_page_are_true(void **state) { /* P-5, P-6, P-7, P-46 */
    (void)state;
    static const struct {
        const char *name;
        void (*add)(struct frame_out *f);
    } examples[] = {
        {"submit", add_submits},
        {"submitted", add_submitted},
        {"dispatch", add_dispatch},
        {"result", add_result},
    };
    AUTO_BUF page = BUF(1U << 20);
    file_read(QUERN_SOURCE_DIR "/docs/protocol.md", &page);
    AUTO_FRAME_OUT f = FRAME_OUT;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        struct example x;
        examples[i].add(&f);
        example_open(&x, buf_str(&page), examples[i].name);
        example_close(&x, &f);
    }
}

/* One frame of the stream sockets as the page has it, and as it is written. */
static void check_stream_example(struct str page, const char *name, struct str topic,
                                 struct msg_stream head, const char *const *texts) {
    AUTO_BUF said = BUF(4096);
    AUTO_BUF events = BUF(4096);
    AUTO_BUF written = BUF(4096);
    struct err e = {0};
    example_read(page, name, &said);
    MSG_SET(&head, stream, job, id_make(3, 7));
    MSG_SET(&head, stream, epoch, id_make(3, 500));
    for (uint64_t n = 0; n < head.count; n++) {
        struct stream_event event = {STREAM_TEXT, 0, str_of(texts[n])};
        assert_int_equal(stream_put_event(&events, &event, &e), 0);
    }
    stream_put_frame(&written, topic, &head, buf_str(&events));
    assert_true(str_eq(buf_str(&said), buf_str(&written)));
    struct stream_frame back;
    struct str frame = str_make(written.at + topic.len, written.len - topic.len);
    assert_int_equal(stream_read_frame(frame, &back, &e), 0);
}

static void the_streams_of_the_page_are_true(void **state) { /* P-72, P-73, P-77 */
    (void)state;
    static const char *const texts[] = {"Hel", "lo"};
    static const uint8_t instance[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77};
    struct stream_topic topic = stream_topic(instance);
    AUTO_BUF page = BUF(1U << 20);
    file_read(QUERN_SOURCE_DIR "/docs/protocol.md", &page);
    struct msg_stream head = {0};
    MSG_SET(&head, stream, seq, 1);
    MSG_SET(&head, stream, count, 2);
    check_stream_example(buf_str(&page), "stream heard", str_of(topic.at), head, texts);
    MSG_SET(&head, stream, token, 0x0123456789abcdefULL);
    check_stream_example(buf_str(&page), "stream said", STR(""), head, texts);
    struct msg_stream far = {0};
    MSG_SET(&far, stream, seq, 2);
    MSG_SET(&far, stream, count, 0);
    check_stream_example(buf_str(&page), "stream position", str_of(topic.at), far, texts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_three_frames),
        cmocka_unit_test(a_message_may_be_sent_at_any_time),
        cmocka_unit_test(payload_and_result_lie_side_by_side),
        cmocka_unit_test(every_verb_goes_both_ways),
        cmocka_unit_test(a_full_message_takes_no_more),
        cmocka_unit_test(a_family_is_added_whole_or_not_at_all),
        cmocka_unit_test(a_message_over_its_bytes_is_refused),
        cmocka_unit_test(one_bad_item_does_not_spoil_the_others),
        cmocka_unit_test(a_payload_over_its_bound_costs_only_its_item),
        cmocka_unit_test(unknown_fields_are_passed_over_when_told),
        cmocka_unit_test(what_is_wrong_as_a_whole_is_refused),
        cmocka_unit_test(a_payload_is_one_map),
        cmocka_unit_test(verbs_keep_to_their_roles_and_numbers),
        cmocka_unit_test(the_examples_of_the_page_are_true),
        cmocka_unit_test(the_streams_of_the_page_are_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

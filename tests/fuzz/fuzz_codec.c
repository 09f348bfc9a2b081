/* Bytes from anywhere, as messages, as payloads, as JSON.
 *
 * The first byte says what the rest is:
 *   m   a body and payloads: verb (1 byte), length of the body (2), the two
 *   f   three frames: lengths of head and body (1, 2), the three
 *   v   a msgpack value
 *   j   JSON text
 * What is read must be written and read again as the same; what we take as a value, msgpack-c
 * takes, too. */
#include "common/base/check.h"
#include "common/wire/frame.h"
#include "common/wire/json_bridge.h"
#include "tests/support/message_maker.h"

#include <msgpack.h>

#define INPUT_MAX  (1U << 16)
#define MEMORY_MAX (8U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str take(struct str *rest, size_t n) {
    if (n > rest->len)
        n = rest->len;
    struct str s = str_make(rest->at, n);
    *rest = str_make(rest->at + n, rest->len - n);
    return s;
}

static size_t take_length(struct str *rest, unsigned bytes) {
    struct str s = take(rest, bytes);
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n = n << 8 | (unsigned char)s.at[i];
    return n;
}

/* ---- messages ------------------------------------------------------------------------------- */
static void check_json(const struct msg_def *def, const void *msg) {
    AUTO_ARENA arena = arena_new(MEMORY_MAX);
    AUTO_BUF text = BUF(MEMORY_MAX);
    struct err e = {0};
    union msg_any back;
    json_auto_t *json = json_bridge_of_message(def, msg, &e);
    ASSERT(json && json_bridge_print(json, &text) == 0);
    json_auto_t *parsed = json_bridge_parse(buf_str(&text), &e);
    ASSERT(parsed && json_bridge_to_message(def, parsed, &back, arena, &e) == 0);
    message_assert_equal(def, msg, &back);
}

/* The one good item of `sent`, written alone, is read again as the same. */
static void check_item(const struct verb_def *verb, const void *msg,
                       const struct frame_item *sent) {
    AUTO_ARENA arena = arena_new(MEMORY_MAX);
    AUTO_FRAME_OUT f = FRAME_OUT;
    struct frame_in in;
    struct frame_item item;
    union msg_any back;
    struct err e = {0};
    frame_begin(&f, verb->verb, 1);
    ASSERT(frame_add_payload(&f, msg, sent->payload, sent->result) == 0);
    ASSERT(frame_open(&in, buf_str(&f.head), buf_str(&f.body), buf_str(&f.payloads), &e) == 0);
    ASSERT(frame_next(&in, &back, arena, &item, &e) == 1);
    message_assert_equal(msg_def(verb->message), msg, &back);
    ASSERT(str_eq(sent->payload, item.payload) && str_eq(sent->result, item.result));
    ASSERT(frame_next(&in, &back, arena, &item, &e) == 0);
}

static void read_frames(struct str head, struct str body, struct str payloads, bool lenient) {
    AUTO_ARENA arena = arena_new(MEMORY_MAX);
    struct frame_in in;
    struct frame_item item;
    union msg_any m;
    struct err e = {0};
    if (frame_open(&in, head, body, payloads, &e) < 0) {
        ASSERT(e.code && e.text[0]);
        return;
    }
    in.lenient = lenient;
    uint32_t items = 0;
    size_t bytes = 0;
    for (int rc; (rc = frame_next(&in, &m, arena, &item, &e)) != 0; items++) {
        ASSERT(item.index == items);
        bytes += item.payload.len + item.result.len;
        if (rc > 0) {
            check_item(in.verb, &m, &item);
            check_json(msg_def(in.verb->message), &m);
        }
    }
    ASSERT(items == in.items && bytes == payloads.len && cursor_left(&in.body) == 0);
}

static void read_body(struct str rest) {
    AUTO_BUF head = BUF(16);
    uint64_t verb = take_length(&rest, 1);
    msgpack_put_list(&head, 3);
    msgpack_put_uint(&head, FRAME_VERSION);
    msgpack_put_uint(&head, verb & 127);
    msgpack_put_uint(&head, 1);
    struct str body = take(&rest, take_length(&rest, 2));
    read_frames(buf_str(&head), body, rest, verb >> 7);
}

static void read_all(struct str rest) {
    size_t head_len = take_length(&rest, 1), body_len = take_length(&rest, 2);
    struct str head = take(&rest, head_len), body = take(&rest, body_len);
    read_frames(head, body, rest, false);
}

/* ---- values --------------------------------------------------------------------------------- */
static const struct msgpack_limits limits = {MSGPACK_DEPTH_MAX, PAYLOAD_VALUES_MAX};

static void check_oracle(struct str value) {
    msgpack_unpacked u;
    msgpack_unpacked_init(&u);
    size_t off = 0;
    ASSERT(msgpack_unpack_next(&u, value.at, value.len, &off) == MSGPACK_UNPACK_SUCCESS);
    ASSERT(off == value.len);
    msgpack_unpacked_destroy(&u);
}

/* A value that our own writer wrote goes to JSON and back unchanged. */
static void check_canonical(struct str value) {
    AUTO_BUF again = BUF(MEMORY_MAX);
    struct err e = {0};
    ASSERT(msgpack_check(value, &limits, &e) == 0);
    json_auto_t *json = json_bridge_of_value(value, &e);
    ASSERT(json && json_bridge_to_value(json, &again, &e) == 0);
    ASSERT(str_eq(value, buf_str(&again)));
}

static void read_value(struct str value) {
    struct err e = {0};
    struct cursor c = cursor_of(value);
    if (msgpack_check(value, &limits, &e) < 0) {
        ASSERT(e.code && e.text[0] && frame_check_payload(value, NULL) == (value.len ? -1 : 0));
        return;
    }
    ASSERT(msgpack_skip(&c) == MSGPACK_OK && cursor_left(&c) == 0);
    check_oracle(value);
    AUTO_BUF written = BUF(MEMORY_MAX);
    json_auto_t *json = json_bridge_of_value(value, &e);
    if (!json) {
        ASSERT(e.code == ERR_BAD_VALUE);
        return;
    }
    ASSERT(json_bridge_to_value(json, &written, &e) == 0);
    check_canonical(buf_str(&written));
}

static void read_json(struct str text) {
    AUTO_BUF written = BUF(MEMORY_MAX);
    struct err e = {0};
    json_auto_t *json = json_bridge_parse(text, &e);
    if (json && json_bridge_to_value(json, &written, &e) == 0)
        check_canonical(buf_str(&written));
    for (unsigned id = 0; json && id < MSG_COUNT; id++) {
        AUTO_ARENA arena = arena_new(MEMORY_MAX);
        union msg_any m;
        if (json_bridge_to_message(msg_def((enum msg_id)id), json, &m, arena, &e) == 0)
            check_json(msg_def((enum msg_id)id), &m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > INPUT_MAX)
        return 0;
    struct str rest = str_make(data + 1, size - 1);
    switch (data[0]) {
    case 'm':
        read_body(rest);
        break;
    case 'f':
        read_all(rest);
        break;
    case 'v':
        read_value(rest);
        break;
    case 'j':
        read_json(rest);
        break;
    default:
        break;
    }
    return 0;
}

#include "common/wire/stream_frame.h"

#include "common/base/mem.h"
#include "common/wire/msgpack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define ROOM (1U << 20)

static struct msg_stream a_head(uint64_t epoch, uint64_t seq, uint64_t count) {
    struct msg_stream h = {0};
    MSG_SET(&h, stream, job, 7);
    MSG_SET(&h, stream, epoch, epoch);
    MSG_SET(&h, stream, seq, seq);
    MSG_SET(&h, stream, count, count);
    return h;
}

/* A frame of a head that says `count`, and of `events` as they are; what stream_read_frame says. */
static int read_as(uint64_t seq, uint64_t count, struct str events, struct err *e) {
    AUTO_BUF b = BUF(ROOM);
    struct msg_stream head = a_head(5, seq, count);
    struct stream_frame f;
    stream_put_frame(&b, STR(""), &head, events);
    return stream_read_frame(buf_str(&b), &f, e);
}

#define A_TEXT STR("\x93\x00\x01\xa2hi")

static void events_come_back_as_they_were(void **state) {
    (void)state;
    AUTO_BUF events = BUF(ROOM);
    AUTO_BUF b = BUF(ROOM);
    const struct stream_event put[] = {{STREAM_TEXT, 0, STR("")},
                                       {STREAM_TEXT, 255, STR("gr\xc3\xbc\xc3\x9f dich, Welt")},
                                       {STREAM_DATA, 128, STR("\x81\xa1k\x01")}};
    for (size_t k = 0; k < 3; k++)
        assert_int_equal(stream_put_event(&events, &put[k], NULL), 0);
    struct msg_stream head = a_head(3, 10, 3);
    struct stream_topic topic = stream_topic((const uint8_t[16]){0xab, 0xcd, 0, 0, 0, 0, 0, 0x0f});
    assert_string_equal(topic.at, "abcd00000000000f/");
    stream_put_frame(&b, str_of(topic.at), &head, buf_str(&events));
    struct str frame = buf_str(&b);
    struct stream_topic other = stream_topic((const uint8_t[16]){1});
    assert_false(stream_take_topic(&frame, &other));
    assert_true(stream_take_topic(&frame, &topic));
    struct stream_frame f;
    assert_int_equal(stream_read_frame(frame, &f, NULL), 0);
    assert_int_equal(f.head.seq, 10);
    assert_false(MSG_HAS(&f.head, stream, token));
    struct stream_event e;
    struct str rest = stream_skip_events(f.events, 1);
    for (size_t k = 0; k < 3; k++) {
        assert_true(stream_next_event(&f.events, &e));
        assert_int_equal(e.type, put[k].type);
        assert_int_equal(e.channel, put[k].channel);
        assert_true(str_eq(e.bytes, put[k].bytes));
        if (k == 0)
            assert_true(str_eq(rest, f.events));
    }
    assert_false(stream_next_event(&f.events, &e));
    assert_int_equal(stream_skip_events(rest, 2).len, 0);
}

static void an_event_has_bounds(void **state) { /* P-72 */
    (void)state;
    AUTO_BUF events = BUF(ROOM);
    char *big = mem_zalloc(STREAM_EVENT_MAX + 1);
    struct err e = {0};
    struct stream_event event = {STREAM_TEXT, 0, str_make(big, STREAM_EVENT_MAX)};
    assert_int_equal(stream_put_event(&events, &event, &e), 0);
    assert_int_equal(read_as(1, 1, buf_str(&events), &e), 0);
    size_t len = events.len;
    event.bytes.len++;
    assert_int_equal(stream_put_event(&events, &event, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_string_equal(e.text, "stream: an event of 65537 bytes, at most 65536");
    const struct stream_event wrong[] = {{STREAM_TEXT, 256, STR("a")},
                                         {(enum stream_type)2, 0, STR("a")},
                                         {STREAM_TEXT, 0, STR("\xff")},
                                         {STREAM_DATA, 0, STR("\x01")},
                                         {STREAM_DATA, 0, STR("")}};
    for (size_t k = 0; k < 5; k++) {
        assert_int_equal(stream_put_event(&events, &wrong[k], &e), -1);
        assert_int_equal(e.code, ERR_BAD_VALUE);
    }
    const struct stream_event cut = {STREAM_DATA, 0, STR("\x81\x01")};
    assert_int_equal(stream_put_event(&events, &cut, &e), -1);
    assert_int_equal(events.len, len);
    mem_free(big);
}

static void malformed_frames_are_refused(void **state) { /* P-73 */
    (void)state;
    static const struct {
        uint64_t count;
        struct str events;
        enum err_code code;
    } rows[] = {
        {1, STR(""), ERR_MALFORMED},                   /* fewer events than announced */
        {0, STR("\x93\x00\x01\xa2hi"), ERR_MALFORMED}, /* more */
        {1, STR("\x93\x00\x01\xa2hi\x93"), ERR_MALFORMED},
        {2, STR("\x93\x00\x01\xa2hi\x93\x00"), ERR_MALFORMED}, /* ends within one */
        {1, STR("\x92\x00\x01"), ERR_MALFORMED},               /* a list of two */
        {1, STR("\x83\x00\x01\xa1i"), ERR_MALFORMED},          /* a map */
        {1, STR("\x93\x00\xff\xa2hi"), ERR_MALFORMED},         /* channel -1 */
        {1, STR("\x93\x00\x01\x02"), ERR_MALFORMED},           /* no text */
        {1, STR("\x93\x00\x01\xdb\xff\xff\xff\xff"), ERR_MALFORMED},
        {1, STR("\x93\x02\x01\xa2hi"), ERR_BAD_VALUE},         /* type 2 */
        {1, STR("\x93\x00\xcd\x01\x00\xa2hi"), ERR_BAD_VALUE}, /* channel 256 */
        {1, STR("\x93\x00\x01\xa2\xc3\x28"), ERR_BAD_VALUE},   /* not UTF-8 */
        {1, STR("\x93\x01\x01\xc4\x01\x05"), ERR_BAD_VALUE},   /* data that is no map */
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct err e = {0};
        assert_int_equal(read_as(1, rows[k].count, rows[k].events, &e), -1);
        assert_int_equal(e.code, rows[k].code);
    }
}

static void other_forms_are_understood(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(read_as(1, 1, A_TEXT, &e), 0);
    assert_int_equal(read_as(1, 1, STR("\xdc\x00\x03\xcc\x00\xd1\x00\x01\xc4\x02hi"), &e), 0);
    assert_int_equal(read_as(1, 1, STR("\xdd\x00\x00\x00\x03\x01\x01\xda\x00\x01\x80"), &e), 0);
}

static void a_head_is_checked(void **state) {
    (void)state;
    struct err e = {0};
    struct stream_frame f;
    assert_int_equal(read_as(0, 1, A_TEXT, &e), -1);
    assert_int_equal(e.code, ERR_BAD_VALUE);
    assert_int_equal(read_as(0, 0, STR(""), &e), 0);
    assert_int_equal(read_as(UINT64_MAX, 1, A_TEXT, &e), -1);
    assert_int_equal(read_as(UINT64_MAX, 0, STR(""), &e), -1);
    assert_int_equal(stream_read_frame(STR(""), &f, &e), -1);
    assert_int_equal(stream_read_frame(STR("\x80"), &f, &e), -1);
    assert_int_equal(e.code, ERR_MISSING_FIELD);
    AUTO_BUF b = BUF(ROOM);
    struct msg_stream head = a_head(5, 1, 1);
    MSG_SET(&head, stream, gone, true);
    stream_put_frame(&b, STR(""), &head, A_TEXT);
    assert_int_equal(stream_read_frame(buf_str(&b), &f, &e), -1);
    for (size_t cut = 0; cut < b.len; cut++) /* no beginning of a frame is one */
        assert_int_equal(stream_read_frame(str_make(b.at, cut), &f, &e), -1);
}

static void a_run_has_a_bound(void **state) { /* P-73 */
    (void)state;
    AUTO_BUF events = BUF(ROOM);
    AUTO_BUF b = BUF(ROOM);
    static char text[1020];
    memset(text, 'x', sizeof text);
    struct stream_event event = {STREAM_TEXT, 0, str_make(text, sizeof text)};
    struct err e = {0};
    uint64_t n = 0;
    for (; events.len <= STREAM_RUN_BYTES - 1026; n++)
        assert_int_equal(stream_put_event(&events, &event, &e), 0);
    assert_int_equal(read_as(1, n, buf_str(&events), &e), 0);
    stream_put_event(&events, &event, &e);
    assert_int_equal(read_as(1, n + 1, buf_str(&events), &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_back_as_they_were),
        cmocka_unit_test(an_event_has_bounds),
        cmocka_unit_test(malformed_frames_are_refused),
        cmocka_unit_test(other_forms_are_understood),
        cmocka_unit_test(a_head_is_checked),
        cmocka_unit_test(a_run_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What an attempt writes of its stream: numbers, characters, bounds, and saying it again. */
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "workers/harness/stream_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define JOB   7
#define FENCE 512
#define TOKEN 99
#define ROOM  (1U << 20)

/* ---- a reader that takes what comes next and asks for what is missing -------------------------
 */
struct reader {
    struct stream_position have;
    struct buf text;
    uint32_t events, doubled;
    bool gap;
};

static void read_run(struct reader *r, const struct msg_stream *head, struct str events) {
    struct stream_event event;
    if (head->epoch != r->have.epoch) {
        assert_true(head->epoch > r->have.epoch);
        r->have = (struct stream_position){head->epoch, 0};
        r->gap = false;
        buf_clear(&r->text);
    }
    if (head->count == 0)
        r->gap |= head->seq > r->have.seq;
    for (uint64_t seq = head->seq; stream_next_event(&events, &event); seq++) {
        r->doubled += seq <= r->have.seq;
        r->gap |= seq > r->have.seq + 1;
        if (seq != r->have.seq + 1)
            continue;
        r->have.seq = seq;
        r->events++;
        assert_true(str_is_utf8(event.bytes));
        assert_int_equal(buf_put_str(&r->text, event.bytes), 0);
    }
}

static struct reader reader_new(void) {
    return (struct reader){.text = BUF(ROOM)};
}

static void read_all(struct stream_log *l, struct reader *r) {
    struct msg_stream head;
    struct str events;
    while (stream_log_next(l, &head, &events)) {
        assert_int_equal(head.job, JOB);
        read_run(r, &head, events);
    }
}

static struct stream_log log_of(size_t room) {
    struct stream_log l;
    stream_log_init(&l, JOB, FENCE, TOKEN, room);
    return l;
}

static void write_text(struct stream_log *l, uint32_t channel, struct str text) {
    struct err e = {0};
    if (stream_log_text(l, channel, text, &e) < 0)
        fail_msg("%s", e.text);
}

static void assert_text(const struct reader *r, struct str is) {
    assert_int_equal(r->text.len, is.len);
    if (is.len)
        assert_memory_equal(r->text.at, is.at, is.len);
}

/* ---- numbers -------------------------------------------------------------------------------- */
static void test_numbers(void **state) { /* P-72, P-73 */
    (void)state;
    struct stream_log l = log_of(ROOM);
    struct reader r = reader_new();
    struct msg_stream head;
    struct str events;
    assert_false(stream_log_next(&l, &head, &events));
    assert_int_equal(stream_log_position(&l).epoch, 0);
    write_text(&l, 0, STR("one "));
    write_text(&l, 0, STR(""));
    write_text(&l, 3, STR("two "));
    assert_true(stream_log_unsaid(&l) > 0);
    assert_true(stream_log_next(&l, &head, &events));
    assert_int_equal(head.epoch, FENCE);
    assert_int_equal(head.seq, 1);
    assert_int_equal(head.count, 2);
    assert_int_equal(head.token, TOKEN);
    read_run(&r, &head, events);
    assert_false(stream_log_next(&l, &head, &events));
    assert_int_equal(stream_log_unsaid(&l), 0);
    write_text(&l, 0, STR("three"));
    read_all(&l, &r);
    assert_text(&r, STR("one two three"));
    assert_int_equal(stream_log_position(&l).seq, 3);
    buf_destroy(&r.text);
    stream_log_done(&l);
}

static void test_reset(void **state) { /* P-72 */
    (void)state;
    struct stream_log l = log_of(ROOM);
    struct reader r = reader_new();
    struct err e = {0};
    struct msg_stream head;
    struct str events;
    assert_int_equal(stream_log_reset(&l, &e), 0); /* nothing to void */
    assert_int_equal(stream_log_position(&l).epoch, 0);
    write_text(&l, 0, STR("void\xC3"));
    read_all(&l, &r);
    assert_int_equal(stream_log_reset(&l, &e), 0);
    assert_true(stream_log_next(&l, &head, &events)); /* told at once */
    assert_int_equal(head.count, 0);
    assert_int_equal(head.epoch, FENCE + 1);
    assert_int_equal(head.seq, 0);
    assert_int_equal(stream_log_position(&l).epoch, FENCE + 1);
    write_text(&l, 0, STR("kept"));
    read_all(&l, &r);
    assert_text(&r, STR("kept"));
    for (uint32_t n = 1; n < STREAM_RESETS_MAX; n++) {
        assert_int_equal(stream_log_reset(&l, &e), 0);
        write_text(&l, 0, STR("x"));
    }
    assert_int_equal(stream_log_reset(&l, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_int_equal(stream_log_position(&l).epoch, FENCE + STREAM_RESETS_MAX);
    buf_destroy(&r.text);
    stream_log_done(&l);
}

/* ---- characters ----------------------------------------------------------------------------- */
#define SAMPLE "a\xC3\xA4\xE2\x82\xACz\xF0\x9F\x98\x80\xF0\x9F\x98\x81!\xEF\xBF\xBD\xC2\x80"

/* Cut at any two places, and into single bytes. */
static void test_cut_characters(void **state) { /* P-72 */
    (void)state;
    struct str all = STR(SAMPLE);
    for (size_t i = 0; i <= all.len; i++) {
        for (size_t j = i; j <= all.len; j++) {
            struct stream_log l = log_of(ROOM);
            struct reader r = reader_new();
            write_text(&l, 1, str_make(all.at, i));
            read_all(&l, &r);
            write_text(&l, 1, str_make(all.at + i, j - i));
            write_text(&l, 1, str_make(all.at + j, all.len - j));
            stream_log_end(&l);
            read_all(&l, &r);
            assert_text(&r, all);
            buf_destroy(&r.text);
            stream_log_done(&l);
        }
    }
    struct stream_log l = log_of(ROOM);
    struct reader r = reader_new();
    for (size_t i = 0; i < all.len; i++)
        write_text(&l, 1, str_make(all.at + i, 1));
    read_all(&l, &r);
    assert_text(&r, all);
    buf_destroy(&r.text);
    stream_log_done(&l);
}

/* Channels are cut by themselves. */
static void test_cut_channels(void **state) {
    (void)state;
    struct stream_log l = log_of(ROOM);
    struct reader r = reader_new();
    write_text(&l, 0, STR("\xE2\x82"));
    write_text(&l, 255, STR("\xF0\x9F\x98"));
    write_text(&l, 0, STR("\xAC"));
    write_text(&l, 255, STR("\x80"));
    read_all(&l, &r);
    assert_text(&r, STR("\xE2\x82\xAC\xF0\x9F\x98\x80"));
    write_text(&l, 3, STR("end\xE2\x82"));
    stream_log_end(&l);
    read_all(&l, &r);
    assert_text(&r, STR("\xE2\x82\xAC\xF0\x9F\x98\x80"
                        "end\xEF\xBF\xBD"));
    buf_destroy(&r.text);
    stream_log_done(&l);
}

static void test_not_text(void **state) {
    (void)state;
    static const struct {
        struct str before, text;
    } cases[] = {
        {{"", 0}, {"\x80", 1}},         {{"", 0}, {"a\xFFz", 3}},
        {{"", 0}, {"\xC3(", 2}},        {{"", 0}, {"\xC0\x80", 2}},
        {{"\xE2", 1}, {"(", 1}},        {{"\xE2\x82", 2}, {"z", 1}},
        {{"\xE0", 1}, {"\x80\x80", 2}}, {{"\xF0\x9F", 2}, {"\x98\xC3", 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stream_log l = log_of(ROOM);
        struct err e = {0};
        write_text(&l, 0, cases[i].before);
        assert_int_equal(stream_log_text(&l, 0, cases[i].text, &e), -1);
        assert_int_equal(e.code, ERR_BAD_VALUE);
        assert_int_equal(stream_log_position(&l).epoch, 0);
        stream_log_done(&l);
    }
    struct stream_log l = log_of(ROOM);
    struct err e = {0};
    assert_int_equal(stream_log_text(&l, 256, STR("x"), &e), -1);
    assert_int_equal(e.code, ERR_BAD_VALUE);
    assert_int_equal(stream_log_data(&l, 0, STR("\x01"), &e), -1);
    assert_int_equal(e.code, ERR_BAD_VALUE);
    assert_int_equal(stream_log_data(&l, 0, STR("\x81\xa1x"), &e), -1);
    assert_int_equal(stream_log_data(&l, 0, STR(""), &e), -1);
    assert_int_equal(stream_log_position(&l).epoch, 0);
    assert_int_equal(stream_log_data(&l, 0, STR("\x81\xa1x\x01"), &e), 0);
    assert_int_equal(stream_log_position(&l).seq, 1);
    stream_log_done(&l);
}

/* ---- bounds --------------------------------------------------------------------------------- */
static void test_long_text(void **state) {
    (void)state;
    struct stream_log l = log_of(ROOM);
    struct reader r = reader_new();
    size_t len = 3 * STREAM_EVENT_MAX + 5;
    char *text = mem_alloc(len);
    text[0] = 'x'; /* so that no cut falls between characters */
    for (size_t i = 1; i < len; i++)
        text[i] = i % 2 ? '\xC3' : '\xA4';
    write_text(&l, 0, str_make(text, len - 2));
    assert_int_equal(stream_log_position(&l).seq, 4);
    read_all(&l, &r);
    assert_text(&r, str_make(text, len - 2));
    struct err e = {0};
    memset(text, 0, len);
    static const char big_map[8] = {(char)0x81, (char)0xa1, 'x', (char)0xc6, 0, 1, 0, 0};
    memcpy(text, big_map, sizeof big_map); /* 64 KiB in a map */
    assert_int_equal(stream_log_data(&l, 0, str_make(text, STREAM_EVENT_MAX + 8), &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    write_text(&l, 0, STR("goes on"));
    mem_free(text);
    buf_destroy(&r.text);
    stream_log_done(&l);
}

static void test_bound(void **state) { /* P-74 */
    (void)state;
    struct stream_log l = log_of(1000);
    struct err e = {0};
    uint32_t n = 0;
    while (stream_log_text(&l, 0, STR("0123456789"), &e) == 0)
        n++;
    assert_int_equal(e.code, ERR_TOO_LARGE);
    assert_string_equal(e.text, "stream: over its bound of 1000 bytes");
    assert_true(n > 50 && l.events.len <= 1000);
    assert_int_equal(stream_log_position(&l).seq, n);
    /* A hole in the text would not be seen: nothing more is taken. */
    assert_int_equal(stream_log_text(&l, 0, STR("x"), &e), -1);
    assert_int_equal(stream_log_reset(&l, &e), 0);
    write_text(&l, 0, STR("x"));
    stream_log_done(&l);
}

/* ---- again ---------------------------------------------------------------------------------- */
static void test_rewind(void **state) { /* P-74 */
    (void)state;
    struct stream_log l = log_of(ROOM);
    struct msg_stream head;
    struct str events;
    for (int i = 0; i < 1000; i++)
        write_text(&l, 0, STR("x"));
    while (stream_log_next(&l, &head, &events))
        continue;
    static const struct {
        struct stream_position have;
        uint64_t seq, count;
    } cases[] = {
        {{FENCE, 999}, 1000, 1},  {{FENCE, 1000}, 1000, 0}, {{FENCE, 5000}, 1000, 0},
        {{FENCE, 0}, 1, 1000},    {{0, 0}, 1, 1000},        {{FENCE - 1, 700}, 1, 1000},
        {{FENCE, 256}, 257, 744}, {{FENCE, 255}, 256, 745}, {{FENCE, 511}, 512, 489},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stream_log_rewind(&l, i, cases[i].have);
        assert_true(stream_log_next(&l, &head, &events));
        assert_int_equal(head.seq, cases[i].seq);
        assert_int_equal(head.count, cases[i].count);
        assert_int_equal(head.token, i);
        assert_false(stream_log_next(&l, &head, &events));
    }
    stream_log_rewind(&l, 1, (struct stream_position){FENCE, 10});
    stream_log_rewind(&l, 1, (struct stream_position){FENCE, 500}); /* an older one went further */
    assert_true(stream_log_next(&l, &head, &events));
    assert_int_equal(head.seq, 11);
    stream_log_done(&l);
    l = log_of(ROOM);
    stream_log_rewind(&l, 1, (struct stream_position){0, 0}); /* nothing was ever written */
    assert_false(stream_log_next(&l, &head, &events));
    stream_log_done(&l);
}

struct life {
    struct rng rng;
    struct stream_log log;
    struct reader reader;
    struct buf written; /* of this epoch */
    uint32_t lost, again;
};

static void write_something(struct life *w) {
    char piece[40];
    struct err e = {0};
    if (rng_below(&w->rng, 400) == 0 && stream_log_reset(&w->log, &e) == 0)
        buf_clear(&w->written);
    if (w->written.len > ROOM / 4)
        return;
    for (uint32_t n = rng_below(&w->rng, 30); n; n--) {
        int len = snprintf(piece, sizeof piece, "%u \xE2\x82\xAC ", rng_u32(&w->rng));
        write_text(&w->log, 0, str_make(piece, (size_t)len));
        assert_int_equal(buf_put(&w->written, piece, (size_t)len), 0);
    }
}

static void say_something(struct life *w, uint32_t loss) {
    struct msg_stream head;
    struct str events;
    for (uint32_t n = rng_below(&w->rng, 4); n && stream_log_next(&w->log, &head, &events); n--) {
        if (rng_below(&w->rng, 100) < loss)
            w->lost++;
        else
            read_run(&w->reader, &head, events);
    }
}

static void ask(struct life *w, struct stream_position have) {
    w->again++;
    stream_log_rewind(&w->log, w->again, have);
    w->reader.gap = false;
}

/* Whatever is lost, what is read in the end is what was written since the last reset. */
static void test_random_losses(void **state) {
    (void)state;
    uint32_t lost = 0, again = 0, doubled = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct life w = {.rng = rng_seed(seed), .written = BUF(ROOM), .reader = reader_new()};
        w.log = log_of(ROOM);
        for (int step = 0; step < 300; step++) {
            write_something(&w);
            say_something(&w, 20);
            if (w.reader.gap && rng_below(&w.rng, 3) == 0)
                ask(&w, w.reader.have);
            if (rng_below(&w.rng, 100) == 0) /* asked long ago, or by one who has lost all */
                ask(&w, (struct stream_position){w.reader.have.epoch,
                                                 rng_below(&w.rng, 2) * w.reader.have.seq / 2});
        }
        stream_log_end(&w.log);
        ask(&w, w.reader.have);
        read_all(&w.log, &w.reader);
        struct stream_position last = stream_log_position(&w.log);
        assert_int_equal(w.reader.have.epoch, last.epoch);
        assert_int_equal(w.reader.have.seq, last.seq);
        assert_text(&w.reader, buf_str(&w.written));
        lost += w.lost;
        again += w.again;
        doubled += w.reader.doubled;
        stream_log_done(&w.log);
        buf_destroy(&w.reader.text);
        buf_destroy(&w.written);
    }
    print_message("%u messages lost, asked %u times, %u events came twice\n", lost, again, doubled);
    assert_true(lost > 1000 && again > 1000 && doubled > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_cut_characters), cmocka_unit_test(test_cut_channels),
        cmocka_unit_test(test_not_text),       cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_bound),          cmocka_unit_test(test_rewind),
        cmocka_unit_test(test_random_losses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "common/wire/stream_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define JOB     7
#define AT(ms_) ((struct mono){ms_})

/* Hands over events seq.. of an epoch, or with count 0 a position. */
static void take(struct stream_reader *r, uint64_t now, uint64_t epoch, uint64_t seq,
                 uint64_t count, struct buf *keep) {
    struct stream_frame f = {0};
    buf_clear(keep);
    for (uint64_t k = 0; k < count; k++) {
        char text[32];
        int n = snprintf(text, sizeof text, "%u.%u", (unsigned)epoch, (unsigned)(seq + k));
        struct stream_event e = {STREAM_TEXT, 0, str_make(text, (size_t)n)};
        assert_int_equal(stream_put_event(keep, &e, NULL), 0);
    }
    MSG_SET(&f.head, stream, job, JOB);
    MSG_SET(&f.head, stream, epoch, epoch);
    MSG_SET(&f.head, stream, seq, seq);
    MSG_SET(&f.head, stream, count, count);
    f.events = buf_str(keep);
    stream_reader_take(r, AT(now), &f);
}

static void take_gone(struct stream_reader *r, uint64_t now) {
    struct stream_frame f = {.head = {.job = JOB, .epoch = 3, .gone = true}};
    stream_reader_take(r, AT(now), &f);
}

/* All that is told, as "R 3.1 3.2 W". */
static const char *told(struct stream_reader *r) {
    static char text[256];
    size_t n = 0;
    struct stream_event e;
    enum stream_news news;
    text[0] = '\0';
    while ((news = stream_reader_next(r, &e)) != STREAM_NOTHING) {
        struct str word = news == STREAM_EVENT   ? e.bytes
                          : news == STREAM_RESET ? STR("R")
                          : news == STREAM_WHOLE ? STR("W")
                                                 : STR("B");
        n += (size_t)snprintf(text + n, sizeof text - n, "%s" STR_FMT, n ? " " : "", STR_ARG(word));
    }
    return text;
}

static const struct stream_position nowhere = {0, 0};

static void events_are_told_once_and_in_order(void **state) { /* P-77 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct stream_reader r = stream_reader(JOB, nowhere);
    take(&r, 0, 3, 1, 2, &b);
    assert_string_equal(told(&r), "3.1 3.2");
    take(&r, 0, 3, 1, 2, &b);
    assert_string_equal(told(&r), "");
    take(&r, 0, 3, 2, 3, &b);
    assert_string_equal(told(&r), "3.3 3.4");
    assert_int_equal(stream_reader_position(&r).seq, 4);
    assert_true(stream_reader_due(&r).ms == MONO_NEVER.ms);
    stream_reader_finished(&r, AT(0), (struct stream_position){3, 4});
    assert_string_equal(told(&r), "W");
    take(&r, 0, 3, 5, 1, &b);
    assert_string_equal(told(&r), "");
}

static void a_gap_is_asked_for_until_it_comes(void **state) { /* P-77 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct stream_reader r = stream_reader(JOB, nowhere);
    take(&r, 10, 3, 3, 1, &b);
    assert_string_equal(told(&r), "");
    assert_int_equal(stream_reader_due(&r).ms, 10);
    assert_true(stream_reader_wants(&r, AT(10), 100));
    assert_false(stream_reader_wants(&r, AT(109), 100));
    assert_true(stream_reader_wants(&r, AT(110), 100));
    take(&r, 200, 3, 1, 2, &b); /* it is coming: he waits for the rest */
    assert_string_equal(told(&r), "3.1 3.2");
    assert_false(stream_reader_wants(&r, AT(210), 100));
    assert_true(stream_reader_wants(&r, AT(300), 100));
    take(&r, 310, 3, 3, 1, &b);
    assert_string_equal(told(&r), "3.3");
    assert_false(stream_reader_wants(&r, AT(900), 100));
}

static void a_lost_tail_is_noticed(void **state) { /* P-77 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct stream_reader r = stream_reader(JOB, nowhere);
    take(&r, 0, 3, 1, 1, &b);
    assert_string_equal(told(&r), "3.1");
    take(&r, 5, 3, 1, 0, &b);
    assert_false(stream_reader_wants(&r, AT(5), 100));
    take(&r, 6, 3, 2, 0, &b);
    assert_true(stream_reader_wants(&r, AT(6), 100));
    stream_reader_finished(&r, AT(7), (struct stream_position){3, 3});
    assert_string_equal(told(&r), "");
    take(&r, 8, 3, 2, 1, &b);
    assert_string_equal(told(&r), "3.2");
    assert_true(stream_reader_wants(&r, AT(108), 100));
    take(&r, 109, 3, 3, 1, &b);
    assert_string_equal(told(&r), "3.3 W");
}

static void another_epoch_resets(void **state) { /* P-77 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct stream_reader r = stream_reader(JOB, (struct stream_position){3, 7});
    take(&r, 0, 3, 8, 1, &b);
    assert_string_equal(told(&r), "3.8");
    take(&r, 0, 4, 2, 1, &b); /* said at once, though its beginning is missing */
    assert_string_equal(told(&r), "R");
    assert_true(stream_reader_wants(&r, AT(0), 100));
    take(&r, 1, 3, 9, 1, &b);
    assert_string_equal(told(&r), "");
    take(&r, 2, 4, 1, 2, &b);
    assert_string_equal(told(&r), "4.1 4.2");
    take(&r, 3, 259, 0, 0, &b);
    assert_string_equal(told(&r), "R");
    stream_reader_finished(&r, AT(4), (struct stream_position){260, 0});
    assert_string_equal(told(&r), "R W");
}

static void nothing_written_at_last_voids_what_was(void **state) { /* P-75 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct stream_reader r = stream_reader(JOB, nowhere);
    stream_reader_finished(&r, AT(0), nowhere);
    assert_string_equal(told(&r), "W");
    r = stream_reader(JOB, nowhere);
    take(&r, 0, 3, 1, 1, &b);
    assert_string_equal(told(&r), "3.1");
    stream_reader_finished(&r, AT(0), nowhere);
    assert_string_equal(told(&r), "R W");
}

static void what_is_gone_is_not_asked_for(void **state) { /* P-77 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct stream_reader r = stream_reader(JOB, nowhere);
    take(&r, 0, 3, 1, 1, &b);
    assert_string_equal(told(&r), "3.1");
    take(&r, 0, 3, 5, 1, &b);
    take_gone(&r, 1);
    assert_string_equal(told(&r), "");
    assert_false(stream_reader_wants(&r, AT(1), 100));
    stream_reader_finished(&r, AT(2), (struct stream_position){3, 5});
    assert_string_equal(told(&r), "B");
    /* Gone, but nothing is missing. */
    r = stream_reader(JOB, (struct stream_position){3, 5});
    take_gone(&r, 1);
    stream_reader_finished(&r, AT(2), (struct stream_position){3, 5});
    assert_string_equal(told(&r), "W");
    /* The job runs again: what it wrote before its end is kept by nobody. */
    r = stream_reader(JOB, (struct stream_position){3, 4});
    stream_reader_finished(&r, AT(2), (struct stream_position){3, 5});
    assert_string_equal(told(&r), "");
    take(&r, 3, 259, 1, 1, &b);
    assert_string_equal(told(&r), "B");
}

static void another_broker_is_asked_once(void **state) { /* P-78 */
    (void)state;
    AUTO_BUF b = BUF(4096);
    struct stream_reader r = stream_reader(JOB, (struct stream_position){3, 4});
    take_gone(&r, 0);
    stream_reader_again(&r, AT(5));
    take_gone(&r, 6); /* the last word of the one before */
    assert_int_equal(stream_reader_due(&r).ms, 5);
    assert_true(stream_reader_wants(&r, AT(6), 100));
    assert_false(stream_reader_wants(&r, AT(900), 100));
    take(&r, 901, 3, 6, 1, &b);
    assert_true(stream_reader_wants(&r, AT(1000), 100));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_told_once_and_in_order),
        cmocka_unit_test(a_gap_is_asked_for_until_it_comes),
        cmocka_unit_test(a_lost_tail_is_noticed),
        cmocka_unit_test(another_epoch_resets),
        cmocka_unit_test(nothing_written_at_last_voids_what_was),
        cmocka_unit_test(what_is_gone_is_not_asked_for),
        cmocka_unit_test(another_broker_is_asked_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

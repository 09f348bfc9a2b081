#include "broker/relay/relay.h"

#include "common/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define JOB   7
#define FENCE 512
#define TOKEN 99

/* A relay whose effects are written down as words. */
struct world {
    struct relay *relay;
    struct relay_config config;
    uint64_t now;
    char log[4096];
    size_t n;
};

#define SAY(w, ...)                                                                                \
    ((w)->n += (size_t)snprintf((w)->log + (w)->n, sizeof(w)->log - (w)->n, __VA_ARGS__))

/* "1<512:1+3 " subscriber 1 was sent three events from 512.1 on; "1<512@3 " a position. */
static void on_publish(void *ctx, relay_peer to, const struct msg_stream *head, struct str events) {
    struct world *w = ctx;
    assert_int_equal(stream_skip_events(events, head->count).len, 0);
    assert_false(MSG_HAS(head, stream, token));
    if (head->gone)
        SAY(w, "%u<gone ", (unsigned)to);
    else if (head->count)
        SAY(w, "%u<%u:%u+%u ", (unsigned)to, (unsigned)head->epoch, (unsigned)head->seq,
            (unsigned)head->count);
    else
        SAY(w, "%u<%u@%u ", (unsigned)to, (unsigned)head->epoch, (unsigned)head->seq);
}

static void on_need(void *ctx, uint64_t job, uint64_t fence, struct stream_position have) {
    struct world *w = ctx;
    assert_int_equal(job, JOB);
    SAY(w, "need(%u,%u.%u) ", (unsigned)fence, (unsigned)have.epoch, (unsigned)have.seq);
}

static void on_whole(void *ctx, uint64_t job, uint64_t fence) {
    (void)job;
    SAY((struct world *)ctx, "whole(%u) ", (unsigned)fence);
}

static struct mono now(const struct world *w) {
    return (struct mono){w->now};
}

static void begin(struct world *w) {
    struct relay_effects effects = {w, on_publish, on_need, on_whole};
    w->relay = relay_new(&w->config, &effects);
    w->now = 1000;
    w->n = 0;
    w->log[0] = '\0';
}

static struct relay_config small(void) {
    struct relay_config c = relay_config_default();
    c.need_ms = 100;
    c.quiet_ms = 200;
    c.keep_ms = 1000;
    return c;
}

/* What happened since the last time, with a turn. */
static const char *turn(struct world *w) {
    static char text[sizeof w->log];
    relay_check(w->relay);
    relay_turn(w->relay, now(w));
    relay_check(w->relay);
    memcpy(text, w->log, w->n + 1);
    w->n = 0;
    w->log[0] = '\0';
    return text;
}

/* Events of `bytes` bytes each; with count 0 a position. */
static void frame_as(struct world *w, uint64_t token, uint64_t epoch, uint64_t seq, uint64_t count,
                     size_t bytes) {
    AUTO_BUF events = BUF(1U << 20);
    AUTO_BUF frame = BUF(1U << 20);
    char *text = mem_alloc(bytes + 1);
    memset(text, 'x', bytes);
    struct stream_event e = {STREAM_TEXT, 0, str_make(text, bytes)};
    for (uint64_t k = 0; k < count; k++)
        assert_int_equal(stream_put_event(&events, &e, NULL), 0);
    mem_free(text);
    struct msg_stream head = {0};
    MSG_SET(&head, stream, job, JOB);
    MSG_SET(&head, stream, epoch, epoch);
    MSG_SET(&head, stream, seq, seq);
    MSG_SET(&head, stream, count, count);
    MSG_SET(&head, stream, token, token);
    stream_put_frame(&frame, STR(""), &head, buf_str(&events));
    relay_frame(w->relay, now(w), buf_str(&frame));
}

static void frame(struct world *w, uint64_t epoch, uint64_t seq, uint64_t count) {
    frame_as(w, TOKEN, epoch, seq, count, 10);
}

static void open_it(struct world *w) {
    relay_open(w->relay, now(w), JOB, FENCE, TOKEN, false);
}

static void attach(struct world *w, relay_peer to, uint64_t epoch, uint64_t seq) {
    relay_attach(w->relay, now(w), JOB, to, (struct stream_position){epoch, seq}, false);
}

static void close_at(struct world *w, uint64_t epoch, uint64_t seq) {
    relay_close(w->relay, now(w), JOB, FENCE, (struct stream_position){epoch, seq});
}

/* ---- the plain way -------------------------------------------------------------------------- */
static void neighbours_go_out_together(void **state) { /* P-77 */
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    attach(&w, 1, 0, 0); /* before there is anything */
    assert_string_equal(turn(&w), "");
    open_it(&w);
    assert_string_equal(turn(&w), "1<512@0 ");
    frame(&w, FENCE, 1, 2);
    frame(&w, FENCE, 3, 1);
    frame(&w, FENCE, 2, 3);
    assert_string_equal(turn(&w), "1<512:1+4 ");
    attach(&w, 2, FENCE, 3);
    assert_string_equal(turn(&w), "2<512:4+1 ");
    attach(&w, 1, FENCE, 1); /* he lost some */
    assert_string_equal(turn(&w), "1<512:2+3 ");
    relay_detach(w.relay, JOB, 2);
    frame(&w, FENCE, 5, 1);
    assert_string_equal(turn(&w), "1<512:5+1 ");
    close_at(&w, FENCE, 5);
    assert_string_equal(turn(&w), "whole(512) ");
    close_at(&w, FENCE, 5);
    assert_string_equal(turn(&w), "whole(512) ");
    relay_destroy(&w.relay);
}

static void what_is_missing_is_asked_for_ever_more_seldom(void **state) { /* P-75 */
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    open_it(&w);
    frame(&w, FENCE, 1, 1);
    frame(&w, FENCE, 3, 1);
    assert_string_equal(turn(&w), "need(512,512.1) ");
    frame(&w, FENCE, 4, 1);
    assert_string_equal(turn(&w), "");
    w.now = relay_next(w.relay).ms;
    assert_int_equal(w.now, 1100);
    assert_string_equal(turn(&w), "need(512,512.1) ");
    assert_int_equal(relay_next(w.relay).ms, 1300);
    frame(&w, FENCE, 2, 1); /* it comes */
    w.now = 1300;
    assert_string_equal(turn(&w), "need(512,512.2) ");
    frame(&w, FENCE, 3, 2);
    assert_string_equal(turn(&w), "");
    frame(&w, FENCE, 9, 0); /* a position: the tail was lost */
    w.now = 1400;
    assert_string_equal(turn(&w), "need(512,512.4) ");
    close_at(&w, FENCE, 9);
    frame(&w, FENCE, 5, 4);
    assert_string_equal(turn(&w), "");
    frame(&w, FENCE, 9, 1);
    assert_string_equal(turn(&w), "whole(512) ");
    relay_destroy(&w.relay);
}

static void resets_and_attempts_begin_anew(void **state) { /* P-72, P-73 */
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    open_it(&w);
    attach(&w, 1, 0, 0);
    frame(&w, FENCE, 1, 3);
    assert_string_equal(turn(&w), "1<512:1+3 ");
    frame(&w, FENCE + 1, 1, 1);
    frame(&w, FENCE, 4, 1); /* late */
    assert_string_equal(turn(&w), "1<513:1+1 ");
    relay_open(w.relay, now(&w), JOB, FENCE + 256, TOKEN + 1, false);
    assert_string_equal(turn(&w), "1<768@0 ");
    frame(&w, FENCE + 1, 2, 1);                     /* the attempt that is no more */
    frame_as(&w, TOKEN, FENCE + 256, 1, 1, 10);     /* its token */
    frame_as(&w, TOKEN + 1, FENCE + 512, 1, 1, 10); /* an epoch of nobody */
    relay_frame(w.relay, now(&w), STR("\x81\x01")); /* no frame */
    assert_string_equal(turn(&w), "");
    assert_int_equal(relay_stats(w.relay).strange, 3);
    assert_int_equal(relay_stats(w.relay).malformed, 1);
    frame_as(&w, TOKEN + 1, FENCE + 256, 1, 1, 10);
    assert_string_equal(turn(&w), "1<768:1+1 ");
    relay_destroy(&w.relay);
}

static void who_knows_more_than_a_new_relay_waits(void **state) {
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    attach(&w, 1, FENCE + 1, 2);
    relay_open(w.relay, now(&w), JOB, FENCE, TOKEN, true);
    assert_string_equal(turn(&w), "need(512,512.0) ");
    frame(&w, FENCE + 1, 1, 2);
    assert_string_equal(turn(&w), "1<513@2 ");
    frame(&w, FENCE + 1, 3, 1);
    assert_string_equal(turn(&w), "1<513:3+1 ");
    relay_destroy(&w.relay);
}

static void an_end_without_a_stream_is_whole(void **state) {
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    open_it(&w);
    close_at(&w, 0, 0);
    assert_string_equal(turn(&w), "whole(512) ");
    relay_open(w.relay, now(&w), JOB, 2 * FENCE, TOKEN, false);
    relay_close(w.relay, now(&w), JOB, 2 * FENCE, (struct stream_position){9, 9});
    assert_string_equal(turn(&w), "whole(1024) ");
    relay_destroy(&w.relay);
}

static void a_report_may_overtake_the_stream(void **state) {
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    open_it(&w);
    frame(&w, FENCE, 1, 1);
    close_at(&w, FENCE, 2);
    assert_string_equal(turn(&w), "");
    assert_int_equal(relay_next(w.relay).ms, 1100);
    w.now = 1050;
    frame(&w, FENCE, 2, 1);
    assert_string_equal(turn(&w), "whole(512) ");
    relay_open(w.relay, now(&w), JOB, 2 * FENCE, TOKEN, false);
    relay_close(w.relay, now(&w), JOB, 2 * FENCE, (struct stream_position){2 * FENCE, 1});
    w.now = 1150;
    assert_string_equal(turn(&w), "need(1024,1024.0) ");
    relay_destroy(&w.relay);
}

/* ---- keeping -------------------------------------------------------------------------------- */
static void an_ended_stream_is_kept_for_a_time(void **state) {
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    open_it(&w);
    frame(&w, FENCE, 1, 3);
    close_at(&w, FENCE, 3);
    relay_end(w.relay, now(&w), JOB);
    assert_string_equal(turn(&w), "whole(512) ");
    relay_attach(w.relay, now(&w), JOB, 1, (struct stream_position){0, 0}, true);
    assert_string_equal(turn(&w), "1<512:1+3 ");
    /* The job is forgotten: who is attached may ask once more, nobody else. */
    relay_attach_again(w.relay, now(&w), JOB, 1, (struct stream_position){FENCE, 2});
    assert_string_equal(turn(&w), "1<512:3+1 ");
    relay_attach_again(w.relay, now(&w), JOB, 2, (struct stream_position){0, 0});
    assert_string_equal(turn(&w), "2<gone ");
    w.now += 200;
    assert_string_equal(turn(&w), "1<512@3 ");
    w.now += 800;
    assert_string_equal(turn(&w), "");
    assert_int_equal(relay_stats(w.relay).streams, 0);
    assert_int_equal(relay_stats(w.relay).attached, 0);
    relay_attach(w.relay, now(&w), JOB, 1, (struct stream_position){0, 0}, true);
    assert_string_equal(turn(&w), "1<gone ");
    relay_destroy(&w.relay);
}

static void what_was_let_go_is_said_again(void **state) {
    (void)state;
    struct world w = {.config = small()};
    w.config.bytes_max = 100;
    begin(&w);
    open_it(&w);
    attach(&w, 1, 0, 0);
    frame(&w, FENCE, 1, 6); /* 14 bytes each */
    frame(&w, FENCE, 7, 6); /* no room before he has the others */
    assert_string_equal(turn(&w), "1<512:1+6 ");
    w.now += 100;
    assert_string_equal(turn(&w), "need(512,512.6) ");
    frame(&w, FENCE, 7, 6);
    assert_string_equal(turn(&w), "1<512:7+6 ");
    attach(&w, 2, FENCE, 3);
    w.now += 100;
    assert_string_equal(turn(&w), "2<512@3 need(512,512.3) ");
    frame(&w, FENCE, 4, 3);
    assert_string_equal(turn(&w), "2<512:4+3 ");
    close_at(&w, FENCE, 12); /* not before he has his own */
    w.now += 100;
    assert_string_equal(turn(&w), "need(512,512.6) ");
    frame(&w, FENCE, 7, 6);
    assert_string_equal(turn(&w), "whole(512) 2<512:7+6 ");
    attach(&w, 3, 0, 0); /* its worker has forgotten it by now */
    assert_string_equal(turn(&w), "3<gone ");
    relay_destroy(&w.relay);
}

static void bounds_are_kept(void **state) {
    (void)state;
    struct world w = {.config = small()};
    w.config.streams_max = 1;
    w.config.attached_max = 1;
    begin(&w);
    attach(&w, 1, 0, 0);
    attach(&w, 2, 0, 0);
    assert_string_equal(turn(&w), "2<gone ");
    relay_attach(w.relay, now(&w), JOB + 1, 1, (struct stream_position){0, 0}, false);
    assert_string_equal(turn(&w), "1<gone ");
    relay_open(w.relay, now(&w), JOB + 1, FENCE, TOKEN, false); /* an attempt always has one */
    assert_int_equal(relay_stats(w.relay).streams, 2);
    relay_detach(w.relay, JOB, 1);
    assert_int_equal(relay_stats(w.relay).streams, 1);
    relay_destroy(&w.relay);
}

static void one_turn_has_a_bound(void **state) {
    (void)state;
    struct world w = {.config = small()};
    begin(&w);
    open_it(&w);
    for (uint64_t k = 0; k < 64; k++) /* 64 runs of 128 KiB */
        frame_as(&w, TOKEN, FENCE, 1 + 2 * k, 2, 65000);
    attach(&w, 1, 0, 0);
    attach(&w, 2, 0, 0);
    relay_turn(w.relay, now(&w));
    assert_int_equal(relay_next(w.relay).ms, 0);
    uint64_t first = relay_stats(w.relay).published_events;
    assert_in_range(first, 60, 140);
    uint32_t turns = 1;
    for (; relay_next(w.relay).ms == 0; turns++)
        relay_turn(w.relay, now(&w));
    assert_in_range(turns, 2, 5);
    assert_int_equal(relay_stats(w.relay).published_events, 256);
    relay_destroy(&w.relay);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_go_out_together),
        cmocka_unit_test(what_is_missing_is_asked_for_ever_more_seldom),
        cmocka_unit_test(resets_and_attempts_begin_anew),
        cmocka_unit_test(who_knows_more_than_a_new_relay_waits),
        cmocka_unit_test(an_end_without_a_stream_is_whole),
        cmocka_unit_test(a_report_may_overtake_the_stream),
        cmocka_unit_test(an_ended_stream_is_kept_for_a_time),
        cmocka_unit_test(what_was_let_go_is_said_again),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(one_turn_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

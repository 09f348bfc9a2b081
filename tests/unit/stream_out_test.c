/* Streams in threads: what slots write leaves in order, once, in few messages, whatever the host
 * says again meanwhile. */
#include "common/os/clock.h"
#include "workers/harness/job_int.h"
#include "workers/harness/slots.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define RESULT_MAX  1000
#define STREAM_MAX  (8U << 20)
#define SLOTS       4
#define PIECES      3000
#define ENDPOINT    "inproc://streams"

struct scene {
    void *context, *sub;
    struct stream_socket *socket;
    struct slots *slots;
    struct attempt attempts[SLOTS];
    struct stream_position have[SLOTS];
    uint64_t frames, doubled, positions;
    bool gap[SLOTS];
    uint32_t ended;
    struct ending end; /* the last one's */
    char text[ERR_TEXT_MAX];
};

static int set_up(void **state) {
    static struct scene s;
    struct err e = {0};
    int wait = 0, hwm = 0;
    s = (struct scene){.context = zmq_ctx_new(), .socket = stream_socket_new()};
    s.sub = zmq_socket(s.context, ZMQ_SUB);
    zmq_setsockopt(s.sub, ZMQ_RCVTIMEO, &wait, sizeof wait);
    zmq_setsockopt(s.sub, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(s.sub, ZMQ_SUBSCRIBE, "", 0);
    assert_int_equal(zmq_bind(s.sub, ENDPOINT), 0);
    assert_int_equal(stream_socket_open(s.socket, s.context, ENDPOINT, NULL, &e), 0);
    s.slots = slots_new(SLOTS);
    *state = &s;
    return 0;
}

static const struct job_limits limits = {.result_max = RESULT_MAX, .together_max = RESULT_MAX};

static void on_ended(void *ctx, struct attempt *a, const struct ending *end) {
    struct scene *s = ctx;
    (void)a;
    s->ended++;
    s->end = *end;
    snprintf(s->text, sizeof s->text, STR_FMT, STR_ARG(end->text));
}

static int tear_down(void **state) {
    struct scene *s = *state;
    for (size_t i = 0; i < SLOTS; i++)
        slots_stop(&s->attempts[i], ERR_CANCELLED);
    while (slots_busy(s->slots)) {
        struct pollfd p = {.fd = slots_fd(s->slots), .events = POLLIN};
        poll(&p, 1, DEADLINE_MS);
        slots_collect(s->slots, &(struct slots_news){.ctx = s, .ended = on_ended});
    }
    slots_destroy(&s->slots);
    for (size_t i = 0; i < SLOTS; i++)
        stream_out_destroy(&s->attempts[i].stream);
    stream_socket_close(s->socket);
    stream_socket_destroy(&s->socket);
    zmq_close(s->sub);
    zmq_ctx_term(s->context);
    return 0;
}

/* ---- reading -------------------------------------------------------------------------------- */
static void take(struct scene *s, const struct stream_frame *f) {
    size_t i = f->head.job - 1;
    struct stream_position *have = &s->have[i];
    struct str events = f->events;
    struct stream_event event;
    assert_in_range(i, 0, SLOTS - 1);
    s->frames++;
    s->positions += f->head.count == 0;
    s->gap[i] |= f->head.count == 0 && f->head.seq > have->seq;
    have->epoch = f->head.epoch;
    for (uint64_t seq = f->head.seq; stream_next_event(&events, &event); seq++) {
        char is[32];
        int len = snprintf(is, sizeof is, "%u ", (unsigned)seq);
        assert_int_equal(event.bytes.len, len);
        assert_memory_equal(event.bytes.at, is, (size_t)len);
        s->doubled += seq <= have->seq;
        s->gap[i] |= seq > have->seq + 1;
        have->seq += seq == have->seq + 1;
    }
}

static void read_some(struct scene *s) {
    zmq_msg_t m;
    zmq_msg_init(&m);
    while (zmq_msg_recv(&m, s->sub, ZMQ_DONTWAIT) >= 0) {
        struct stream_frame f;
        struct err e = {0};
        if (stream_read_frame(str_make(zmq_msg_data(&m), zmq_msg_size(&m)), &f, &e) < 0)
            fail_msg("%s", e.text);
        take(s, &f);
    }
    zmq_msg_close(&m);
}

/* ---- the host's side ------------------------------------------------------------------------ */
static void start(struct scene *s, size_t i, job_run_fn *run, size_t bytes_max) {
    struct attempt *a = &s->attempts[i];
    *a = (struct attempt){.job = i + 1, .fence = 256, .kind = STR("k")};
    if (bytes_max)
        a->stream = stream_out_new(
            s->socket, &(struct stream_config){
                           .job = i + 1, .fence = 256, .token = 5, .bytes_max = bytes_max});
    slots_start(s->slots, a, run, clock_mono(), &limits);
}

/* One round of a host: it waits a moment at most. */
static void turn(struct scene *s, size_t n) {
    struct pollfd fds[2] = {{.fd = slots_fd(s->slots), .events = POLLIN},
                            {.fd = stream_socket_fd(s->socket), .events = POLLIN}};
    poll(fds, 2, 1);
    if (fds[1].revents)
        stream_socket_heard(s->socket);
    stream_socket_begin(s->socket);
    for (size_t i = 0; i < n; i++)
        stream_out_turn(s->attempts[i].stream, clock_mono_ns(), DEADLINE_MS);
    read_some(s);
    slots_collect(s->slots, &(struct slots_news){.ctx = s, .ended = on_ended});
}

static void again(struct scene *s, size_t i, struct stream_position have) {
    s->gap[i] = false;
    stream_out_again(s->attempts[i].stream, 6, have);
}

/* ---- tests ---------------------------------------------------------------------------------- */
static int run_writes(struct job *job, struct err *e) {
    char text[32];
    for (unsigned n = 1; n <= PIECES; n++) {
        int len = snprintf(text, sizeof text, "%u ", n);
        if (job_delta(job, 0, str_make(text, (size_t)len), e) < 0)
            return -1;
    }
    return 0;
}

static void test_many(void **state) {
    struct scene *s = *state;
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    for (size_t i = 0; i < SLOTS; i++)
        start(s, i, run_writes, STREAM_MAX);
    for (uint32_t n = 0; s->ended < SLOTS; n++) {
        turn(s, SLOTS);
        if (n % 3 == 0)
            again(s, n % SLOTS, (struct stream_position){256, s->have[n % SLOTS].seq / 2});
        assert_false(mono_reached(clock_mono(), deadline));
    }
    for (size_t i = 0; i < SLOTS; i++)
        while (s->have[i].seq < PIECES) {
            again(s, i, s->have[i]);
            read_some(s);
            assert_false(mono_reached(clock_mono(), deadline));
        }
    assert_int_equal(s->end.outcome, OUTCOME_DONE);
    assert_int_equal(s->end.last.seq, PIECES);
}

/* In few messages: most pieces come within a moment of the one before. */
static void test_gathers(void **state) {
    struct scene *s = *state;
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    start(s, 0, run_writes, STREAM_MAX);
    while (s->ended < 1) {
        turn(s, 1);
        assert_false(mono_reached(clock_mono(), deadline));
    }
    again(s, 0, (struct stream_position){256, PIECES});
    read_some(s);
    assert_true(s->frames < PIECES / 2);
}

static int run_two(struct job *job, struct err *e) {
    return job_delta(job, 0, STR("1 "), e) < 0 || job_delta(job, 0, STR("2 "), e) < 0 ||
                   job_wait(job, DEADLINE_MS, e) < 0
               ? -1
               : 0;
}

/* The second piece gathers, and the job waits: it is said all the same; then how far it is. */
static void test_rest_and_quiet(void **state) { /* P-74 */
    struct scene *s = *state;
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    start(s, 0, run_two, STREAM_MAX);
    while (s->have[0].seq < 2) {
        turn(s, 1);
        if (s->gap[0])
            again(s, 0, s->have[0]);
        assert_false(mono_reached(clock_mono(), deadline));
    }
    while (!s->positions) {
        turn(s, 1);
        assert_false(mono_reached(clock_mono(), deadline));
    }
    slots_stop(&s->attempts[0], ERR_CANCELLED);
    while (s->ended < 1)
        turn(s, 1);
    assert_int_equal(s->end.outcome, OUTCOME_CANCELLED);
    assert_int_equal(s->end.last.seq, 2);
}

static int run_stubborn(struct job *job, struct err *e) {
    (void)e;
    struct err ignored = {0};
    while (job_delta(job, 0, STR("x"), &ignored) == 0)
        continue;
    return 0;
}

/* It looks away from the error: its stream has a hole, so it cannot have succeeded. */
static void test_bound(void **state) { /* P-74 */
    struct scene *s = *state;
    stream_socket_close(s->socket);
    start(s, 0, run_stubborn, 1000);
    while (s->ended < 1)
        turn(s, 1);
    assert_int_equal(s->end.outcome, OUTCOME_REJECTED);
    assert_int_equal(s->end.error, ERR_TOO_LARGE);
    assert_string_equal(s->text, "stream: over its bound of 1000 bytes");
}

static void test_no_stream(void **state) {
    struct scene *s = *state;
    start(s, 0, run_writes, 0);
    while (s->ended < 1)
        turn(s, 0);
    assert_int_equal(s->end.error, ERR_INTERNAL);
    assert_string_equal(s->text, "kind k writes a stream and is declared without `streams`");
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {SCENE(test_many), SCENE(test_gathers),
                                       SCENE(test_rest_and_quiet), SCENE(test_bound),
                                       SCENE(test_no_stream)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

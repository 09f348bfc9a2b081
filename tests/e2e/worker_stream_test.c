/* quern-worker's streams with a broker that loses what it says: the test is the broker. */
#include "common/base/rng.h"
#include "common/os/clock.h"
#include "common/wire/link.h"
#include "common/wire/stream_frame.h"
#include "tests/e2e/worker_process.h"

#include <zmq.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define ASK_MS      200
#define PARTS       3
#define BEAT_MS     300
#define TEXT_MAX    (4U << 20)
#define JOB         77
#define FENCE       1024

struct scene {
    struct broker b; /* never started: its folder */
    struct worker w;
    void *context, *router, *sub;
    uint64_t epoch;
    char folder[BROKER_PATH_MAX];
    /* The worker, and the message of it that came last. */
    char id[64];
    size_t id_len, n;
    zmq_msg_t parts[PARTS];
    struct frame_in in;
    /* What was read of the stream. */
    zmq_msg_t frame;
    struct stream_position have;
    struct buf text;
    uint64_t token, events, doubled, positions, strange;
    bool gap;
};

/* ---- the broker's side ---------------------------------------------------------------------- */
static void *bind_socket(struct scene *s, int type, const char *name) {
    char endpoint[64];
    void *socket = zmq_socket(s->context, type);
    int linger = 0, wait = type == ZMQ_SUB ? ASK_MS : DEADLINE_MS;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait, sizeof wait);
    if (type == ZMQ_SUB)
        zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", name); /* in the working folder */
    assert_int_equal(zmq_bind(socket, endpoint), 0);
    return socket;
}

static void bind_all(struct scene *s) {
    s->context = zmq_ctx_new();
    s->router = bind_socket(s, ZMQ_ROUTER, "worker.sock");
    s->sub = bind_socket(s, ZMQ_SUB, "stream-worker.sock");
    s->epoch++;
}

static void close_all(struct scene *s) {
    while (s->n)
        zmq_msg_close(&s->parts[--s->n]);
    zmq_msg_close(&s->frame);
    zmq_msg_init(&s->frame);
    zmq_close(s->router);
    zmq_close(s->sub);
    zmq_ctx_term(s->context);
}

static void send_item(struct scene *s, enum verb verb, uint64_t sequence, const void *message,
                      struct str payload) {
    AUTO_FRAME_OUT out = FRAME_OUT;
    frame_begin(&out, verb, sequence);
    assert_int_equal(frame_add_payload(&out, message, payload, STR("")), 0);
    struct str parts[] = {buf_str(&out.head), buf_str(&out.body), buf_str(&out.payloads)};
    assert_int_equal(zmq_send(s->router, s->id, s->id_len, ZMQ_SNDMORE), s->id_len);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(zmq_send(s->router, parts[i].len ? parts[i].at : "", parts[i].len,
                                  i < 2 ? ZMQ_SNDMORE : 0),
                         parts[i].len);
}

static void welcome(struct scene *s) {
    struct msg_welcome m = {0};
    MSG_SET(&m, welcome, version, 1);
    MSG_SET(&m, welcome, epoch, s->epoch);
    MSG_SET(&m, welcome, heartbeat_ms, BEAT_MS);
    MSG_SET(&m, welcome, missed_max, 100);
    MSG_SET(&m, welcome, items_max, 1024);
    MSG_SET(&m, welcome, bytes_max, 4U << 20);
    MSG_SET(&m, welcome, body_max, 1U << 20);
    MSG_SET(&m, welcome, result_max, 64U << 10);
    MSG_SET(&m, welcome, outstanding_max, 64);
    MSG_SET(&m, welcome, stream, STR("stream-worker.sock"));
    MSG_SET(&m, welcome, stream_max, TEXT_MAX);
    send_item(s, VERB_welcome, s->in.sequence, &m, STR(""));
}

static void receive(struct scene *s) {
    struct err e = {0};
    struct str p[PARTS] = {{0}};
    while (s->n)
        zmq_msg_close(&s->parts[--s->n]);
    int got = zmq_recv(s->router, s->id, sizeof s->id, 0);
    assert_true(got > 0);
    s->id_len = (size_t)got;
    do {
        assert_true(s->n < PARTS);
        zmq_msg_init(&s->parts[s->n]);
        assert_true(zmq_msg_recv(&s->parts[s->n++], s->router, 0) >= 0);
    } while (zmq_msg_more(&s->parts[s->n - 1]));
    for (size_t i = 0; i < s->n; i++)
        p[i] = str_make(zmq_msg_data(&s->parts[i]), zmq_msg_size(&s->parts[i]));
    assert_int_equal(frame_open(&s->in, p[0], p[1], p[2], &e), 0);
}

/* Awaits that verb; a HELLO on the way is answered, a HEARTBEAT of another epoch too. */
static void await_verb(struct scene *s, enum verb verb, union msg_any *m) {
    struct frame_item item;
    struct err e = {0};
    for (;;) {
        receive(s);
        if (s->in.verb->verb == VERB_hello && verb != VERB_hello)
            welcome(s);
        if (s->in.verb->verb == verb)
            break;
    }
    AUTO_ARENA arena = arena_new(1U << 20);
    assert_int_equal(frame_next(&s->in, m, arena, &item, &e), 1);
}

static void start_worker(struct scene *s) {
    union msg_any m;
    worker_start(&s->w, &s->b, "--slots 2 --kinds stream", NULL);
    await_verb(s, VERB_hello, &m);
    welcome(s);
    await_verb(s, VERB_declare_kind, &m);
    assert_true(m.kind_info.streams);
}

static void dispatch(struct scene *s, uint64_t token, struct str payload) {
    struct msg_dispatch m = {0};
    MSG_SET(&m, dispatch, job, JOB);
    MSG_SET(&m, dispatch, fence, FENCE);
    MSG_SET(&m, dispatch, kind, STR("stream"));
    MSG_SET(&m, dispatch, tenant, STR("default"));
    MSG_SET(&m, dispatch, attempt, 1);
    MSG_SET(&m, dispatch, size, payload.len);
    MSG_SET(&m, dispatch, token, token);
    s->token = token;
    send_item(s, VERB_dispatch, 0, &m, payload);
}

static void need(struct scene *s, uint64_t token) {
    struct msg_stream_need m = {0};
    MSG_SET(&m, stream_need, job, JOB);
    MSG_SET(&m, stream_need, fence, FENCE);
    MSG_SET(&m, stream_need, token, token);
    if (s->have.epoch) {
        MSG_SET(&m, stream_need, epoch, s->have.epoch);
        MSG_SET(&m, stream_need, seq, s->have.seq);
    }
    s->token = token;
    s->gap = false;
    send_item(s, VERB_stream_need, 0, &m, STR(""));
}

static void acknowledge(struct scene *s) {
    struct msg_attempt_ref m = {0};
    MSG_SET(&m, attempt_ref, job, JOB);
    MSG_SET(&m, attempt_ref, fence, FENCE);
    send_item(s, VERB_result_ack, 0, &m, STR(""));
}

/* ---- the stream ----------------------------------------------------------------------------- */
/* False: nothing came within ASK_MS. */
static bool next_frame(struct scene *s, struct stream_frame *f) {
    struct err e = {0};
    zmq_msg_close(&s->frame);
    zmq_msg_init(&s->frame);
    if (zmq_msg_recv(&s->frame, s->sub, 0) < 0)
        return false;
    struct str bytes = str_make(zmq_msg_data(&s->frame), zmq_msg_size(&s->frame));
    if (stream_read_frame(bytes, f, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(f->head.job, JOB);
    return true;
}

/* As a relay: what comes next is taken, a gap is seen. */
static void take(struct scene *s, const struct stream_frame *f) {
    struct str events = f->events;
    struct stream_event event;
    if (f->head.token != s->token) { /* said before the worker heard of the new one */
        s->strange++;
        return;
    }
    if (f->head.epoch > s->have.epoch) {
        s->have = (struct stream_position){f->head.epoch, 0};
        s->gap = false;
        buf_clear(&s->text);
    }
    s->positions += f->head.count == 0;
    s->gap |= f->head.count == 0 && f->head.seq > s->have.seq;
    for (uint64_t seq = f->head.seq; stream_next_event(&events, &event); seq++) {
        s->doubled += seq <= s->have.seq;
        s->gap |= seq > s->have.seq + 1;
        if (seq != s->have.seq + 1)
            continue;
        s->have.seq = seq;
        s->events++;
        assert_int_equal(buf_put_str(&s->text, event.bytes), 0);
    }
}

/* Reads up to that event; by chance one frame in `lose` is lost (0: none). Asks for what is
 * missing, also when nothing comes: what is said before the worker's socket is connected is lost.
 */
static void read_until(struct scene *s, struct stream_position last, uint32_t lose) {
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    struct stream_frame f;
    struct rng rng = rng_seed(lose);
    while (stream_before(s->have, last)) {
        bool came = next_frame(s, &f);
        if (came && lose && rng_below(&rng, lose) == 0)
            continue;
        if (came)
            take(s, &f);
        if (!came || s->gap)
            need(s, s->token + 1);
        if (mono_reached(clock_mono(), deadline))
            fail_msg("nothing came of the stream behind %u", (unsigned)s->have.seq);
    }
}

static void assert_pieces(const struct scene *s, uint64_t pieces, size_t bytes) {
    assert_int_equal(s->text.len, pieces * bytes);
    for (uint64_t n = 1; n <= pieces; n++) {
        char digits[32];
        int len = snprintf(digits, sizeof digits, "%u.", (unsigned)n);
        assert_memory_equal(s->text.at + (n - 1) * bytes, digits, (size_t)len);
        assert_int_equal(s->text.at[n * bytes - 1], ' ');
    }
}

/* ---- a scene -------------------------------------------------------------------------------- */
static int set_up_in(void **state, const char *folder) {
    static struct scene s;
    s = (struct scene){.text = BUF(TEXT_MAX)};
    zmq_msg_init(&s.frame);
    broker_make(&s.b, "");
    assert_true(snprintf(s.b.data, sizeof s.b.data, "%s/%s", s.b.root, folder) <
                (int)sizeof s.b.data);
    mkdir(s.b.data, 0700);
    assert_int_equal(chdir(s.b.data), 0);
    assert_int_equal(mkdir("run", 0700), 0);
    assert_int_equal(chdir("run"), 0);
    bind_all(&s);
    start_worker(&s);
    *state = &s;
    return 0;
}

static int set_up(void **state) {
    return set_up_in(state, "data");
}

/* Over 107 bytes with the sockets' names. */
static int set_up_deep(void **state) {
    return set_up_in(state, "a-folder-whose-name-is-so-long-that-no-socket-in-it-can-be-reached-by-"
                            "its-path");
}

static int tear_down(void **state) {
    struct scene *s = *state;
    worker_remove(&s->w);
    close_all(s);
    buf_destroy(&s->text);
    assert_int_equal(chdir("/"), 0);
    broker_remove(&s->b);
    return 0;
}

/* ---- what a worker says --------------------------------------------------------------------- */
static void expect_result(struct scene *s, enum result_outcome outcome,
                          struct stream_position last) {
    union msg_any m;
    await_verb(s, VERB_result, &m);
    assert_int_equal(m.result.outcome, outcome);
    assert_int_equal(m.result.epoch, last.epoch);
    assert_int_equal(m.result.seq, last.seq);
}

static void test_whole(void **state) {
    struct scene *s = *state;
    struct stream_position last = {FENCE, 100};
    dispatch(s, 5, STR("\x80"));
    expect_result(s, OUTCOME_DONE, last);
    need(s, 6); /* the connection may have come later than the first pieces */
    read_until(s, last, 0);
    assert_pieces(s, 100, 16);
    acknowledge(s);
    /* Forgotten: what is asked now is not answered, and the worker goes on. */
    need(s, 7);
    s->have = (struct stream_position){0, 0};
    dispatch(s, 8, STR("\x81\xa6pieces\x03"));
    need(s, 9);
    expect_result(s, OUTCOME_DONE, (struct stream_position){FENCE, 3});
}

/* One message in three is lost, also of what is said again; the end comes by position messages. */
static void test_lost(void **state) {
    struct scene *s = *state;
    struct stream_position last = {FENCE, 20000};
    dispatch(s, 5,
             STR("\x82\xa6pieces\xcd\x4e\x20\xa5"
                 "bytes\x40"));
    read_until(s, last, 3);
    assert_pieces(s, 20000, 64);
    expect_result(s, OUTCOME_DONE, last);
    assert_true(s->token > 5);
}

/* The last words are lost while the job goes on: what it has said is told again and again. */
static void test_lost_tail(void **state) {
    struct scene *s = *state;
    dispatch(s, 5, STR("\x82\xa6pieces\x04\xa4rate\x01")); /* one a second */
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    while (!s->gap) { /* the first is lost; the quiet after it tells */
        struct stream_frame f;
        if (next_frame(s, &f) && f.head.count == 0)
            take(s, &f);
        assert_false(mono_reached(clock_mono(), deadline));
    }
    assert_int_equal(s->events, 0);
    need(s, 6);
    read_until(s, (struct stream_position){FENCE, 1}, 0);
    assert_true(s->positions >= 1);
}

static void test_resets(void **state) {
    struct scene *s = *state;
    struct stream_position last = {FENCE + 3, 300};
    dispatch(s, 5, STR("\x82\xa6pieces\xcd\x01\x2c\xa6resets\x03"));
    expect_result(s, OUTCOME_DONE, last);
    s->have = (struct stream_position){FENCE + 1, 40}; /* of an epoch that is void */
    need(s, 6);
    read_until(s, last, 0);
    assert_pieces(s, 300, 16);
}

/* A cancelled job's stream ends where its result says. */
static void test_cancelled(void **state) {
    struct scene *s = *state;
    union msg_any m;
    struct msg_attempt_ref ref = {0};
    dispatch(s, 5, STR("\x82\xa6pieces\xcd\x03\xe8\xa4rate\x14"));
    read_until(s, (struct stream_position){FENCE, 3}, 0);
    MSG_SET(&ref, attempt_ref, job, JOB);
    MSG_SET(&ref, attempt_ref, fence, FENCE);
    MSG_SET(&ref, attempt_ref, code, ERR_CANCELLED);
    send_item(s, VERB_cancel_attempt, 0, &ref, STR(""));
    await_verb(s, VERB_result, &m);
    assert_int_equal(m.result.outcome, OUTCOME_CANCELLED);
    struct stream_position last = {m.result.epoch, m.result.seq};
    assert_in_range(last.seq, 3, 999);
    read_until(s, last, 0);
    assert_pieces(s, last.seq, 16);
}

/* Over its bound a job cannot succeed; what it wrote is said. */
static void test_too_large(void **state) {
    struct scene *s = *state;
    union msg_any m;
    dispatch(s, 5,
             STR("\x82\xa6pieces\xcd\x03\xe8\xa5"
                 "bytes\xcd\x40\x00")); /* 16 MiB */
    await_verb(s, VERB_result, &m);
    assert_int_equal(m.result.outcome, OUTCOME_REJECTED);
    assert_int_equal(m.result.error, ERR_TOO_LARGE);
    struct stream_position last = {m.result.epoch, m.result.seq};
    assert_in_range(last.seq, 200, 256);
    need(s, 6);
    read_until(s, last, 5);
    assert_pieces(s, last.seq, 16384);
}

/* Another life of the broker: the stream goes on to its socket, and all of it can be had. */
static void test_new_broker(void **state) {
    struct scene *s = *state;
    struct stream_position last = {FENCE, 60};
    union msg_any m;
    dispatch(s, 5, STR("\x82\xa6pieces\x3c\xa4rate\x1e")); /* two seconds */
    read_until(s, (struct stream_position){FENCE, 5}, 0);
    close_all(s);
    bind_all(s);
    struct msg_error anew = {0};
    await_verb(s, VERB_heartbeat, &m);
    MSG_SET(&anew, error, code, ERR_NO_HELLO);
    MSG_SET(&anew, error, text, STR("another life"));
    send_item(s, VERB_error, 0, &anew, STR(""));
    await_verb(s, VERB_hello, &m);
    welcome(s);
    s->have = (struct stream_position){0, 0};
    buf_clear(&s->text);
    need(s, 50);
    read_until(s, last, 0);
    assert_pieces(s, 60, 16);
    expect_result(s, OUTCOME_DONE, last);
}

/* The job was given to somebody else: nothing more is said of it. */
static void test_given_up(void **state) {
    struct scene *s = *state;
    struct msg_attempt_ref ref = {0};
    dispatch(s, 5, STR("\x82\xa6pieces\xcd\x03\xe8\xa4rate\x14"));
    read_until(s, (struct stream_position){FENCE, 3}, 0);
    MSG_SET(&ref, attempt_ref, job, JOB);
    MSG_SET(&ref, attempt_ref, fence, FENCE);
    send_item(s, VERB_lost, 0, &ref, STR(""));
    /* The same job under another token: what still comes of the first has the old one. */
    dispatch(s, 10, STR("\x81\xa6pieces\x02"));
    s->have = (struct stream_position){0, 0};
    buf_clear(&s->text);
    expect_result(s, OUTCOME_DONE, (struct stream_position){FENCE, 2});
    need(s, 11);
    read_until(s, (struct stream_position){FENCE, 2}, 0);
    assert_pieces(s, 2, 16);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(test_whole),
        SCENE(test_lost),
        SCENE(test_lost_tail),
        SCENE(test_resets),
        SCENE(test_cancelled),
        SCENE(test_too_large),
        SCENE(test_new_broker),
        SCENE(test_given_up),
        cmocka_unit_test_setup_teardown(test_lost, set_up_deep, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

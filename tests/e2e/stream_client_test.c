/* The client of streams with a broker that loses messages, says them twice and starts anew: the
 * test is the broker, with a ROUTER and an XPUB of its own. */
#include "common/os/clock.h"
#include "common/wire/stream_client.h"
#include "schemas/states.h"
#include "tests/e2e/broker_process.h"

#include <poll.h>
#include <zmq.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEADLINE_MS 10000
#define JOB         77
#define EPOCH       0x1000
#define TEXT_MAX    65536

struct scene {
    struct broker b; /* never started: its folder */
    char endpoint[256], stream[256];
    void *context, *router, *pub;
    struct client *c;
    struct stream_client *s;
    uint8_t instance[LINK_INSTANCE_LEN];
    uint64_t life;        /* of the broker */
    bool greeted;         /* in this life */
    bool by_fd;           /* the client is served as by a loop of one's own */
    unsigned subscribed;  /* messages of the XPUB */
    enum err_code answer; /* to ATTACH */
    bool ends_at_once;    /* FINISHED right behind SUBMITTED */
    unsigned hellos, attaches, detaches, watches;
    struct msg_attach attach; /* the last one; its texts are gone */
    /* What was told. */
    char text[TEXT_MAX];
    size_t len;
    unsigned resets, wholes, brokens, ends;
    struct client_finished end; /* without its result */
    struct stream_position at;
    bool detaches_at_once;
};

static void on_stream(void *ctx, const struct stream_told *told) {
    struct scene *s = ctx;
    assert_int_equal(told->job, JOB);
    assert_int_equal(s->wholes + s->brokens, 0);
    s->resets += told->news == STREAM_RESET;
    s->wholes += told->news == STREAM_WHOLE;
    s->brokens += told->news == STREAM_BROKEN;
    if (told->news == STREAM_RESET)
        s->len = 0;
    if (told->news != STREAM_EVENT)
        return;
    assert_true(s->len + told->event->bytes.len < TEXT_MAX);
    memcpy(s->text + s->len, told->event->bytes.at, told->event->bytes.len);
    s->len += told->event->bytes.len;
    s->at = told->position;
    if (s->detaches_at_once)
        stream_client_detach(s->s, JOB);
}

static void on_finished(void *ctx, const struct client_finished *f) {
    struct scene *s = ctx;
    s->ends++;
    s->end = *f;
}

/* ---- the broker's sockets -------------------------------------------------------------------- */
static void open_sockets(struct scene *s) {
    int linger = 0, queue = 16;
    s->context = zmq_ctx_new();
    s->router = zmq_socket(s->context, ZMQ_ROUTER);
    s->pub = zmq_socket(s->context, ZMQ_XPUB);
    zmq_setsockopt(s->router, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s->pub, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s->pub, ZMQ_SNDHWM, &queue, sizeof queue);
    assert_int_equal(zmq_bind(s->router, s->endpoint), 0);
    assert_int_equal(zmq_bind(s->pub, s->stream), 0);
    s->greeted = false;
    s->subscribed = 0;
    s->life++;
}

static void close_sockets(struct scene *s) {
    zmq_close(s->router);
    zmq_close(s->pub);
    zmq_ctx_term(s->context);
}

static void send_one(struct scene *s, zmq_msg_t *to, enum verb verb, uint64_t sequence,
                     const void *message) {
    zmq_msg_t id;
    AUTO_FRAME_OUT out = FRAME_OUT;
    frame_begin(&out, verb, sequence);
    assert_int_equal(frame_add(&out, message), 0);
    zmq_msg_init(&id);
    zmq_msg_copy(&id, to);
    assert_true(zmq_msg_send(&id, s->router, ZMQ_SNDMORE) >= 0);
    assert_true(zmq_send(s->router, out.head.at, out.head.len, ZMQ_SNDMORE) >= 0);
    assert_true(zmq_send(s->router, out.body.at, out.body.len, 0) >= 0);
}

static void welcome(struct scene *s, zmq_msg_t *to, uint64_t sequence) {
    struct msg_welcome m = {0};
    MSG_SET(&m, welcome, version, 1);
    MSG_SET(&m, welcome, epoch, s->life);
    MSG_SET(&m, welcome, heartbeat_ms, 50);
    MSG_SET(&m, welcome, missed_max, 100);
    MSG_SET(&m, welcome, items_max, 1024);
    MSG_SET(&m, welcome, bytes_max, 4U << 20);
    MSG_SET(&m, welcome, body_max, 1U << 20);
    MSG_SET(&m, welcome, result_max, 64U << 10);
    MSG_SET(&m, welcome, outstanding_max, 64);
    MSG_SET(&m, welcome, stream, STR("stream.sock"));
    s->greeted = true;
    s->hellos++;
    send_one(s, to, VERB_welcome, sequence, &m);
}

static void finished(struct scene *s, zmq_msg_t *to, struct stream_position last) {
    struct msg_finished m = {0};
    MSG_SET(&m, finished, id, JOB);
    MSG_SET(&m, finished, state, JOB_done);
    if (last.epoch) {
        MSG_SET(&m, finished, epoch, last.epoch);
        MSG_SET(&m, finished, seq, last.seq);
    }
    send_one(s, to, VERB_finished, 0, &m);
}

static zmq_msg_t peer; /* who spoke last */

static void answer_item(struct scene *s, const struct frame_in *in, const union msg_any *m) {
    enum verb verb = in->verb->verb;
    struct msg_attached attached = {0};
    struct msg_submitted submitted = {0};
    if (verb == VERB_attach) {
        s->attaches++;
        s->attach = m->attach;
        MSG_SET(&attached, attached, code, s->answer);
        MSG_SET(&attached, attached, id, m->attach.id);
        send_one(s, &peer, VERB_attached, in->sequence, &attached);
    } else if (verb == VERB_submit) {
        assert_true(m->submit.attach);
        MSG_SET(&submitted, submitted, code, 0);
        MSG_SET(&submitted, submitted, id, JOB);
        send_one(s, &peer, VERB_submitted, in->sequence, &submitted);
        if (s->ends_at_once)
            finished(s, &peer, (struct stream_position){0});
    }
    s->detaches += verb == VERB_detach;
    s->watches += verb == VERB_watch_job;
}

static void answer_message(struct scene *s, zmq_msg_t *parts, size_t n) {
    struct str p[3] = {{0}};
    struct frame_in in;
    struct err e = {0};
    for (size_t i = 0; i < n && i < 3; i++)
        p[i] = str_make(zmq_msg_data(&parts[i]), zmq_msg_size(&parts[i]));
    assert_int_equal(frame_open(&in, p[0], p[1], p[2], &e), 0);
    AUTO_ARENA arena = arena_new(1U << 20);
    if (in.verb->verb == VERB_hello) {
        welcome(s, &peer, in.sequence);
    } else if (!s->greeted) {
        struct msg_error m = {0};
        MSG_SET(&m, error, code, ERR_NO_HELLO);
        MSG_SET(&m, error, text, STR("say hello first"));
        send_one(s, &peer, VERB_error, in.sequence, &m);
    } else {
        union msg_any m;
        struct frame_item item;
        while (frame_next(&in, &m, arena, &item, &e) == 1)
            answer_item(s, &in, &m);
    }
}

/* Answers all that is there. */
static void serve_broker(struct scene *s) {
    char subscription[64];
    while (zmq_recv(s->pub, subscription, sizeof subscription, ZMQ_DONTWAIT) > 0)
        s->subscribed++;
    for (;;) {
        zmq_msg_t parts[4];
        size_t n = 0;
        zmq_msg_t from;
        zmq_msg_init(&from);
        if (zmq_msg_recv(&from, s->router, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&from);
            return;
        }
        zmq_msg_move(&peer, &from);
        zmq_msg_close(&from);
        do {
            assert_true(n < 4);
            zmq_msg_init(&parts[n]);
            assert_true(zmq_msg_recv(&parts[n], s->router, 0) >= 0);
        } while (zmq_msg_more(&parts[n++]));
        answer_message(s, parts, n);
        while (n)
            zmq_msg_close(&parts[--n]);
    }
}

/* ---- both sides ------------------------------------------------------------------------------ */
static void serve_client(struct scene *s) {
    if (!s->by_fd) {
        stream_client_poll(s->s, mono_add(clock_mono(), 2));
        return;
    }
    uint64_t wait = mono_until(clock_mono(), stream_client_next(s->s));
    struct pollfd fd = {.fd = stream_client_fd(s->s), .events = POLLIN};
    if (poll(&fd, 1, wait < 2 ? (int)wait : 2) > 0 ||
        mono_reached(clock_mono(), stream_client_next(s->s)))
        while (stream_client_poll(s->s, MONO_PAST))
            continue;
}

#define UNTIL(s, condition)                                                                        \
    do {                                                                                           \
        struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);                                \
        while (!(condition)) {                                                                     \
            assert_false(mono_reached(clock_mono(), deadline));                                    \
            serve_client(s);                                                                       \
            serve_broker(s);                                                                       \
        }                                                                                          \
    } while (0)

/* Events `from` to `to`, of which number n is the letter of n, in one message. */
static void publish_as(struct scene *s, uint64_t job, uint64_t epoch, uint64_t from, uint64_t to,
                       bool gone) {
    AUTO_BUF events = BUF(1U << 20);
    AUTO_BUF frame = BUF(1U << 20);
    struct stream_topic topic = stream_topic(s->instance);
    struct msg_stream head = {0};
    for (uint64_t n = from; n <= to; n++) {
        char letter = (char)('a' + (n - 1) % 26);
        struct stream_event event = {.bytes = str_make(&letter, 1)};
        assert_int_equal(stream_put_event(&events, &event, NULL), 0);
    }
    MSG_SET(&head, stream, job, job);
    MSG_SET(&head, stream, epoch, epoch);
    MSG_SET(&head, stream, seq, from);
    MSG_SET(&head, stream, count, to >= from ? to - from + 1 : 0);
    if (gone)
        MSG_SET(&head, stream, gone, true);
    stream_put_frame(&frame, str_of(topic.at), &head, buf_str(&events));
    zmq_send(s->pub, frame.at, frame.len, ZMQ_DONTWAIT);
}

static void publish(struct scene *s, uint64_t from, uint64_t to) {
    publish_as(s, JOB, EPOCH, from, to, false);
}

static void expect_text(struct scene *s, const char *text) {
    assert_int_equal(s->len, strlen(text));
    assert_memory_equal(s->text, text, s->len);
}

static void make_client(struct scene *s, enum role role, uint32_t streams_max, uint32_t queue_max) {
    struct err e = {0};
    struct client_config config = {.role = role,
                                   .endpoint = s->endpoint,
                                   .name = "test",
                                   .clock = clock_mono,
                                   .ctx = s,
                                   .on_finished = on_finished};
    random_bytes(config.instance, sizeof config.instance);
    memcpy(s->instance, config.instance, sizeof s->instance);
    assert_int_equal(client_new(&s->c, &config, &e), 0);
    struct stream_client_config streams = {
        .streams_max = streams_max, .queue_max = queue_max, .ctx = s, .on_stream = on_stream};
    assert_int_equal(stream_client_new(&s->s, s->c, &streams, &e), 0);
    UNTIL(s, client_is_up(s->c) && s->subscribed);
}

static void attach(struct scene *s) {
    assert_int_equal(
        stream_client_attach(s->s, JOB, STR("t"), (struct stream_position){0}, s, NULL), 0);
    unsigned before = s->attaches;
    UNTIL(s, s->attaches > before);
}

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){0};
    zmq_msg_init(&peer);
    broker_make(&s.b, "");
    snprintf(s.endpoint, sizeof s.endpoint, "ipc://%s/sock", s.b.root);
    snprintf(s.stream, sizeof s.stream, "ipc://%s/stream.sock", s.b.root);
    open_sockets(&s);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    stream_client_destroy(&s->s);
    client_destroy(&s->c);
    zmq_msg_close(&peer);
    close_sockets(s);
    broker_remove(&s->b);
    return 0;
}

/* ---- what it says ---------------------------------------------------------------------------- */
static void follow_to_the_end(struct scene *s) {
    make_client(s, ROLE_GATEWAY, 0, 0);
    attach(s);
    assert_int_equal(s->attach.id, JOB);
    publish(s, 1, 3);
    publish(s, 2, 4); /* twice */
    UNTIL(s, s->len == 4);
    expect_text(s, "abcd");
    assert_int_equal(s->ends, 0);
    finished(s, &peer, (struct stream_position){EPOCH, 4});
    UNTIL(s, s->ends);
    assert_int_equal(s->wholes, 1);
    assert_int_equal(s->end.state, JOB_done);
    assert_int_equal(s->end.seq, 4);
    assert_int_equal(s->attaches, 1);
    assert_int_equal(stream_client_stats(s->s).streams, 0);
}

static void in_order(void **state) {
    follow_to_the_end(*state);
}

static void by_fd(void **state) {
    struct scene *s = *state;
    s->by_fd = true;
    follow_to_the_end(s);
}

static void gaps(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_OPERATOR, 0, 0);
    attach(s);
    publish(s, 1, 2);
    publish(s, 4, 5);
    UNTIL(s, s->attaches == 2);
    assert_int_equal(s->attach.epoch, EPOCH);
    assert_int_equal(s->attach.seq, 2);
    /* What was asked for is lost too: it is asked for again. */
    UNTIL(s, s->attaches == 3);
    publish(s, 3, 5);
    UNTIL(s, s->len == 5);
    publish(s, 8, 7); /* a position message: a tail is missing */
    UNTIL(s, s->attaches == 4);
    publish(s, 6, 8);
    UNTIL(s, s->len == 8);
    finished(s, &peer, (struct stream_position){EPOCH, 10});
    UNTIL(s, s->attaches == 5);
    assert_int_equal(s->attach.seq, 8);
    assert_int_equal(s->ends, 0);
    publish(s, 9, 10);
    UNTIL(s, s->ends);
    expect_text(s, "abcdefghij");
    assert_int_equal(s->wholes, 1);
}

static void resets(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_GATEWAY, 0, 0);
    attach(s);
    publish(s, 1, 3);
    publish_as(s, JOB, EPOCH + 1, 1, 2, false);
    publish(s, 4, 5); /* of what is void */
    publish_as(s, JOB, EPOCH + 1, 3, 4, false);
    UNTIL(s, s->at.epoch == EPOCH + 1 && s->at.seq == 4);
    expect_text(s, "abcd");
    assert_int_equal(s->resets, 1);
}

static void not_kept(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_GATEWAY, 0, 0);
    attach(s);
    publish(s, 1, 3);
    UNTIL(s, s->len == 3);
    publish_as(s, JOB, EPOCH, 3, 2, true);
    finished(s, &peer, (struct stream_position){EPOCH, 9});
    UNTIL(s, s->ends);
    assert_int_equal(s->brokens, 1);
    assert_int_equal(s->wholes, 0);
}

/* Another life of the broker: what is followed is attached again from where it is. */
static void restart(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_GATEWAY, 0, 0);
    attach(s);
    publish(s, 1, 3);
    UNTIL(s, s->len == 3);
    close_sockets(s);
    open_sockets(s);
    unsigned before = s->attaches;
    UNTIL(s, s->subscribed && s->attaches > before);
    assert_int_equal(s->attach.epoch, EPOCH);
    assert_int_equal(s->attach.seq, 3);
    assert_int_equal(stream_client_stats(s->s).sockets, 1);
    publish(s, 4, 6);
    UNTIL(s, s->len == 6);
    expect_text(s, "abcdef");
    assert_int_equal(s->resets, 0);
}

static void refused(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_GATEWAY, 0, 0);
    s->answer = ERR_BUSY;
    attach(s);
    UNTIL(s, s->attaches == 2); /* tried again */
    assert_int_equal(s->ends, 0);
    s->answer = ERR_NOT_FOUND;
    UNTIL(s, s->ends);
    assert_int_equal(s->end.state, 0);
    assert_int_equal(s->end.err.code, ERR_NOT_FOUND);
    assert_int_equal(s->wholes + s->brokens, 0);
    assert_int_equal(stream_client_stats(s->s).streams, 0);
}

static void on_submitted(void *ctx, const struct client_reply *r) {
    struct scene *s = ctx;
    if (!r->end)
        stream_client_attach(s->s, JOB, STR(""), (struct stream_position){0}, s, NULL);
}

static void submit(struct scene *s) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("stream"));
    MSG_SET(&m, submit, attach, true);
    assert_int_equal(client_request(s->c, VERB_submit, &(struct client_item){.message = &m}, 1,
                                    on_submitted, s, MONO_NEVER, NULL),
                     0);
}

static void submitted(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_GATEWAY, 0, 0);
    s->ends_at_once = true;
    submit(s);
    UNTIL(s, s->ends);
    assert_int_equal(s->wholes, 1);
    assert_int_equal(s->attaches, 0);
}

/* At the bound a submitted job is only watched. */
static void too_many(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    make_client(s, ROLE_GATEWAY, 1, 0);
    stream_client_attach(s->s, 5, STR(""), (struct stream_position){0}, s, NULL);
    assert_int_equal(stream_client_attach(s->s, 6, STR(""), (struct stream_position){0}, s, &e),
                     -1);
    assert_int_equal(e.code, ERR_BUSY);
    submit(s);
    UNTIL(s, s->detaches && s->watches);
    finished(s, &peer, (struct stream_position){EPOCH, 3});
    UNTIL(s, s->ends);
    assert_int_equal(s->end.id, JOB);
    assert_int_equal(s->wholes, 0);
}

static void detach(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_GATEWAY, 0, 0);
    s->detaches_at_once = true;
    attach(s);
    publish(s, 1, 3);
    UNTIL(s, s->detaches);
    finished(s, &peer, (struct stream_position){EPOCH, 3});
    publish(s, 4, 4);
    UNTIL(s, stream_client_stats(s->s).strange);
    expect_text(s, "a");
    assert_int_equal(s->ends, 0);
}

/* Far more than both queues hold while nobody reads: what was dropped is asked for. */
static void overrun(void **state) {
    struct scene *s = *state;
    const uint64_t n = 20000;
    make_client(s, ROLE_GATEWAY, 0, 16);
    attach(s);
    for (uint64_t i = 1; i <= n; i++)
        publish(s, i, i);
    finished(s, &peer, (struct stream_position){EPOCH, n});
    unsigned seen = s->attaches;
    UNTIL(s, s->ends || s->attaches > seen || s->len == n);
    while (!s->ends) {
        seen = s->attaches;
        for (uint64_t from = s->attach.seq + 1; from <= n; from += 1000)
            publish(s, from, from + 999 < n ? from + 999 : n);
        UNTIL(s, s->ends || s->attaches > seen);
    }
    assert_int_equal(s->wholes, 1);
    assert_int_equal(s->len, n);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(s->text[i], 'a' + (char)(i % 26));
}

static void strange_frames(void **state) {
    struct scene *s = *state;
    make_client(s, ROLE_GATEWAY, 0, 0);
    attach(s);
    struct stream_topic topic = stream_topic(s->instance);
    zmq_send(s->pub, topic.at, STREAM_TOPIC_LEN, 0);
    zmq_send(s->pub, topic.at, STREAM_TOPIC_LEN, ZMQ_SNDMORE);
    zmq_send(s->pub, "more", 4, 0);
    publish_as(s, 5, EPOCH, 1, 2, false);
    publish(s, 1, 2);
    UNTIL(s, s->len == 2);
    struct stream_client_stats stats = stream_client_stats(s->s);
    assert_int_equal(stats.malformed, 3); /* both parts of what has one */
    assert_int_equal(stats.strange, 1);
}

int main(void) {
#define IN_SCENE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        IN_SCENE(in_order), IN_SCENE(by_fd),   IN_SCENE(gaps),    IN_SCENE(resets),
        IN_SCENE(not_kept), IN_SCENE(restart), IN_SCENE(refused), IN_SCENE(submitted),
        IN_SCENE(too_many), IN_SCENE(detach),  IN_SCENE(overrun), IN_SCENE(strange_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

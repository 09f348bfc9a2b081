/* The client library with a broker that says what cannot be read (P-69): the test is the broker. */
#include "common/os/clock.h"
#include "common/wire/client.h"
#include "tests/e2e/broker_process.h"

#include <zmq.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define PARTS       4

struct scene {
    struct broker b; /* never started: its folder */
    char endpoint[256];
    void *context, *router;
    struct client *c;
    unsigned unreadable, downs;
    /* The message that came last, without the id of its connection. */
    char id[64], bytes[PARTS][512];
    struct str parts[PARTS];
    size_t id_len, n;
    struct frame_in in;
};

static void on_link(void *ctx, const struct link_news *news) {
    struct scene *s = ctx;
    s->unreadable += news->what == LINK_UNREADABLE;
    s->downs += news->what == LINK_DOWN;
}

static int set_up(void **state) {
    static struct scene s;
    struct err e = {0};
    s = (struct scene){0};
    broker_make(&s.b, "");
    snprintf(s.endpoint, sizeof s.endpoint, "ipc://%s/sock", s.b.root);
    s.context = zmq_ctx_new();
    s.router = zmq_socket(s.context, ZMQ_ROUTER);
    int linger = 0, wait = DEADLINE_MS;
    zmq_setsockopt(s.router, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s.router, ZMQ_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(zmq_bind(s.router, s.endpoint), 0);
    struct client_config config = {.role = ROLE_CLIENT,
                                   .endpoint = s.endpoint,
                                   .name = "test",
                                   .clock = clock_mono,
                                   .ctx = &s,
                                   .on_link = on_link};
    random_bytes(config.instance, sizeof config.instance);
    assert_int_equal(client_new(&s.c, &config, &e), 0);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    client_destroy(&s->c);
    zmq_close(s->router);
    zmq_ctx_term(s->context);
    broker_remove(&s->b);
    return 0;
}

/* ---- the broker's side ---------------------------------------------------------------------- */
static void receive(struct scene *s) {
    int more = 1, got = zmq_recv(s->router, s->id, sizeof s->id, 0);
    size_t size = sizeof more;
    struct err e = {0};
    assert_true(got > 0);
    s->id_len = (size_t)got;
    memset(s->parts, 0, sizeof s->parts);
    for (s->n = 0; more; s->n++) {
        assert_true(s->n < PARTS);
        got = zmq_recv(s->router, s->bytes[s->n], sizeof s->bytes[s->n], 0);
        assert_in_range(got, 0, sizeof s->bytes[s->n]);
        s->parts[s->n] = str_make(s->bytes[s->n], (size_t)got);
        assert_int_equal(zmq_getsockopt(s->router, ZMQ_RCVMORE, &more, &size), 0);
    }
    assert_int_equal(frame_open(&s->in, s->parts[0], s->parts[1], s->parts[2], &e), 0);
}

/* Passes over heartbeats; nothing else may come before it. */
static void receive_verb(struct scene *s, enum verb verb) {
    do
        receive(s);
    while (s->in.verb->verb == VERB_heartbeat);
    assert_string_equal(s->in.verb->name, verb_def(verb)->name);
}

static void send_parts(struct scene *s, const struct str *parts, size_t n) {
    assert_int_equal(zmq_send(s->router, s->id, s->id_len, ZMQ_SNDMORE), s->id_len);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(
            zmq_send(s->router, parts[i].at, parts[i].len, i + 1 < n ? ZMQ_SNDMORE : 0),
            parts[i].len);
}

static void answer(struct scene *s, enum verb verb, const void *message) {
    AUTO_FRAME_OUT out = FRAME_OUT;
    frame_begin(&out, verb, s->in.sequence);
    assert_int_equal(frame_add(&out, message), 0);
    struct str parts[] = {buf_str(&out.head), buf_str(&out.body)};
    send_parts(s, parts, 2);
}

static void welcome(struct scene *s) {
    struct msg_welcome m = {0};
    receive_verb(s, VERB_hello);
    MSG_SET(&m, welcome, version, 1);
    MSG_SET(&m, welcome, epoch, 1);
    MSG_SET(&m, welcome, heartbeat_ms, 60000);
    MSG_SET(&m, welcome, missed_max, 3);
    MSG_SET(&m, welcome, items_max, 1024);
    MSG_SET(&m, welcome, bytes_max, 4U << 20);
    MSG_SET(&m, welcome, body_max, 1U << 20);
    MSG_SET(&m, welcome, result_max, 64U << 10);
    MSG_SET(&m, welcome, outstanding_max, 64);
    answer(s, VERB_welcome, &m);
}

/* ---- what it says --------------------------------------------------------------------------- */
static void take_reply(void *ctx, const struct client_reply *r) {
    uint64_t *id = ctx;
    if (!r->end)
        *id = ((const struct msg_submitted *)r->message)->id;
    else
        assert_int_equal(r->err->code, 0);
}

/* P-69: each is dropped and told; none is answered, and the conversation goes on. */
static void unreadable(void **state) {
    struct scene *s = *state;
    static const struct {
        struct str parts[PARTS];
        size_t n;
    } said[] = {
        {{{"", 0}}, 1},
        {{{"garbage", 7}}, 1},
        {{{"\x93\x01\x0b\x02", 4}}, 1},                                        /* no body */
        {{{"\x93\x01\x0b\x02", 4}, {"\xc1", 1}}, 2},                           /* no list */
        {{{"\x93\x01\x7f\x00", 4}, {"\x91\x80", 2}}, 2},                       /* no such verb */
        {{{"\x93\x02\x14\x00", 4}, {"\x91\x80", 2}}, 2},                       /* no such version */
        {{{"\x93\x01\x14\x00", 4}, {"\xdd\xff\xff\xff\xff", 5}}, 2},           /* too many items */
        {{{"\x93\x01\x14\x00", 4}, {"\x91\x80", 2}, {"", 0}, {"four", 4}}, 4}, /* four frames */
    };
    struct err e = {0};
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    client_poll(s->c, MONO_PAST);
    welcome(s);
    assert_int_equal(client_connect(s->c, deadline, &e), 0);
    size_t n = sizeof said / sizeof *said;
    for (size_t i = 0; i < n; i++)
        send_parts(s, said[i].parts, said[i].n);
    while (s->unreadable < n && !mono_reached(clock_mono(), deadline))
        client_poll(s->c, deadline);
    assert_int_equal(s->unreadable, n);
    struct msg_submit m = {0};
    uint64_t id = 0;
    MSG_SET(&m, submit, kind, STR("echo"));
    assert_int_equal(client_request(s->c, VERB_submit, &CLIENT_ITEM(&m, STR("")), 1, take_reply,
                                    &id, deadline, &e),
                     0);
    client_poll(s->c, MONO_PAST);
    receive_verb(s, VERB_submit); /* the next thing that it says: it answered nothing */
    struct msg_submitted yes = {0};
    MSG_SET(&yes, submitted, code, 0);
    MSG_SET(&yes, submitted, id, 77);
    answer(s, VERB_submitted, &yes);
    while (id == 0 && !mono_reached(clock_mono(), deadline))
        client_poll(s->c, deadline);
    assert_int_equal(id, 77);
    assert_int_equal(s->downs, 0);
    assert_true(client_is_up(s->c));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unreadable, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

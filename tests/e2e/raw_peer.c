#include "tests/e2e/raw_peer.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- life ----------------------------------------------------------------------------------- */
void *raw_watch(struct raw_peer *p) {
    static unsigned watches;
    char name[32];
    snprintf(name, sizeof name, "inproc://seen-%u", watches++);
    assert_int_equal(zmq_socket_monitor(p->socket, name, ZMQ_EVENT_ALL), 0);
    void *pair = zmq_socket(p->context, ZMQ_PAIR);
    assert_int_equal(zmq_connect(pair, name), 0);
    return pair;
}

static void connect_to(struct raw_peer *p, const char *endpoint, const char *routing) {
    int queue = 1;
    int linger = 1000;
    p->socket = zmq_socket(p->context, ZMQ_DEALER);
    assert_non_null(p->socket);
    zmq_setsockopt(p->socket, ZMQ_LINGER, &linger, sizeof linger);
    if (p->key)
        socket_be_curve_client(p->socket, p->key);
    if (p->deaf)
        zmq_setsockopt(p->socket, ZMQ_RCVHWM, &queue, sizeof queue);
    if (routing)
        assert_int_equal(zmq_setsockopt(p->socket, ZMQ_ROUTING_ID, routing, strlen(routing)), 0);
    if (p->watched)
        p->events = raw_watch(p);
    assert_int_equal(zmq_connect(p->socket, endpoint), 0);
}

static void raw_make(struct raw_peer *p, enum role role, uint8_t seed) {
    *p = (struct raw_peer){
        .context = zmq_ctx_new(), .role = role, .out = FRAME_OUT, .arena = arena_new(8U << 20)};
    memset(p->instance, seed, sizeof p->instance);
}

void raw_connect(struct raw_peer *p, const char *endpoint, enum role role, uint8_t seed,
                 const char *routing) {
    raw_make(p, role, seed);
    connect_to(p, endpoint, routing);
}

void raw_connect_with_key(struct raw_peer *p, const char *endpoint, enum role role, uint8_t seed,
                          const struct key_file *key) {
    raw_make(p, role, seed);
    p->key = key;
    connect_to(p, endpoint, NULL);
}

void *raw_connect_watched(struct raw_peer *p, const char *endpoint, enum role role, uint8_t seed,
                          const struct key_file *key) {
    raw_make(p, role, seed);
    p->key = key;
    p->watched = true;
    connect_to(p, endpoint, NULL);
    return p->events;
}

static void endpoint_of(char out[256], const char *run, enum role role) {
    static const char *const names[] = {"", "client", "worker", "gateway", "operator"};
    int n = snprintf(out, 256, "ipc://%s/%s.sock", run, names[role]);
    assert_in_range(n, 1, 120);
}

void raw_open(struct raw_peer *p, const char *run, enum role role, uint8_t seed) {
    char endpoint[256];
    endpoint_of(endpoint, run, role);
    raw_connect(p, endpoint, role, seed, NULL);
}

void raw_open_deaf(struct raw_peer *p, const char *run, enum role role, uint8_t seed) {
    char endpoint[256];
    raw_make(p, role, seed);
    p->deaf = true;
    endpoint_of(endpoint, run, role);
    connect_to(p, endpoint, NULL);
}

static void forget_message(struct raw_peer *p) {
    for (unsigned i = 0; i < p->count; i++)
        zmq_msg_close(&p->parts[i]);
    p->count = 0;
}

void raw_reconnect(struct raw_peer *p, const char *run) {
    char endpoint[256];
    zmq_close(p->socket);
    endpoint_of(endpoint, run, p->role);
    connect_to(p, endpoint, NULL);
}

void raw_close(struct raw_peer *p) {
    forget_message(p);
    zmq_close(p->socket);
    zmq_ctx_term(p->context);
    frame_destroy(&p->out);
    arena_destroy(&p->arena);
}

/* ---- out ------------------------------------------------------------------------------------ */
void raw_send_parts(struct raw_peer *p, const struct str *parts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int flags = i + 1 < n ? ZMQ_SNDMORE : 0;
        assert_int_equal(zmq_send(p->socket, parts[i].at, parts[i].len, flags), parts[i].len);
    }
}

void raw_send_out(struct raw_peer *p) {
    struct str parts[3] = {buf_str(&p->out.head), buf_str(&p->out.body), buf_str(&p->out.payloads)};
    raw_send_parts(p, parts, parts[2].len ? 3 : 2);
}

void raw_send(struct raw_peer *p, enum verb verb, uint64_t sequence, const void *message,
              struct str payload) {
    frame_begin(&p->out, verb, sequence);
    assert_int_equal(frame_add_payload(&p->out, message, payload, STR("")), 0);
    raw_send_out(p);
}

uint64_t raw_ask(struct raw_peer *p, enum verb verb, const void *message, struct str payload) {
    raw_send(p, verb, ++p->sequence, message, payload);
    return p->sequence;
}

/* ---- in ------------------------------------------------------------------------------------- */
static void read_message(struct raw_peer *p) {
    bool more = true;
    forget_message(p);
    while (more) {
        assert_in_range(p->count, 0, PEER_PARTS_MAX - 1);
        zmq_msg_t *part = &p->parts[p->count];
        zmq_msg_init(part);
        int rc;
        while ((rc = zmq_msg_recv(part, p->socket, 0)) < 0 && zmq_errno() == EINTR)
            continue;
        assert_int_not_equal(rc, -1);
        more = zmq_msg_more(part);
        p->count++;
    }
    struct str s[3] = {{0}, {0}, {0}};
    assert_in_range(p->count, 2, 3);
    for (unsigned i = 0; i < p->count; i++)
        s[i] = str_make(zmq_msg_data(&p->parts[i]), zmq_msg_size(&p->parts[i]));
    struct err e = {0};
    if (frame_open(&p->in, s[0], s[1], s[2], &e) < 0)
        fail_msg("the broker's message cannot be read: %s", e.text);
    arena_reset(p->arena);
}

/* The next message but HEARTBEATs, or false after `ms`. */
static bool next_message(struct raw_peer *p, int ms) {
    for (;;) {
        zmq_pollitem_t item = {.socket = p->socket, .events = ZMQ_POLLIN};
        int n = zmq_poll(&item, 1, ms);
        if (n < 0 && zmq_errno() == EINTR)
            continue;
        if (n <= 0)
            return false;
        read_message(p);
        if (p->in.verb->verb != VERB_heartbeat)
            return true;
    }
}

void raw_await_any(struct raw_peer *p) {
    if (!next_message(p, PEER_DEADLINE_MS))
        fail_msg("no message comes");
}

bool raw_hears(struct raw_peer *p, int ms) {
    return next_message(p, ms);
}

void raw_expect(struct raw_peer *p, enum verb verb, uint64_t sequence) {
    if (!next_message(p, PEER_DEADLINE_MS))
        fail_msg("no message, but %s was expected", verb_def(verb)->name);
    if (p->in.verb->verb == VERB_error && verb != VERB_error) {
        union msg_any m;
        raw_item(p, &m);
        fail_msg("ERROR %d '" STR_FMT "', but %s was expected", (int)m.error.code,
                 STR_ARG(m.error.text), verb_def(verb)->name);
    }
    assert_string_equal(p->in.verb->name, verb_def(verb)->name);
    assert_int_equal(p->in.sequence, sequence);
}

void raw_await(struct raw_peer *p, enum verb verb) {
    do {
        if (!next_message(p, PEER_DEADLINE_MS))
            fail_msg("no message, but %s was awaited", verb_def(verb)->name);
    } while (p->in.verb->verb != verb);
}

struct frame_item raw_item(struct raw_peer *p, union msg_any *m) {
    struct frame_item item = {0};
    struct err e = {0};
    if (frame_next(&p->in, m, p->arena, &item, &e) <= 0)
        fail_msg("%s: no such item: %s", p->in.verb->name, e.text);
    return item;
}

struct str raw_expect_error(struct raw_peer *p, uint64_t sequence, enum err_code code) {
    union msg_any m;
    raw_expect(p, VERB_error, sequence);
    raw_item(p, &m);
    if (m.error.code != (uint64_t)code)
        fail_msg("ERROR %d '" STR_FMT "', but %s was expected", (int)m.error.code,
                 STR_ARG(m.error.text), err_code_name(code));
    assert_true(m.error.text.len > 0);
    return m.error.text;
}

/* ---- the conversation ------------------------------------------------------------------------ */
struct msg_hello raw_hello_message(const struct raw_peer *p) {
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)p->role);
    MSG_SET(&m, hello, instance, str_make(p->instance, sizeof p->instance));
    MSG_SET(&m, hello, name, STR("raw peer"));
    return m;
}

struct msg_welcome raw_hello_as(struct raw_peer *p, const struct msg_hello *m) {
    union msg_any answer;
    raw_expect(p, VERB_welcome, raw_ask(p, VERB_hello, m, STR("")));
    raw_item(p, &answer);
    p->epoch = answer.welcome.epoch;
    return answer.welcome;
}

struct msg_welcome raw_hello(struct raw_peer *p) {
    struct msg_hello m = raw_hello_message(p);
    return raw_hello_as(p, &m);
}

void raw_join(struct raw_peer *p, const char *run, enum role role, uint8_t seed) {
    raw_open(p, run, role, seed);
    raw_hello(p);
}

struct msg_welcome raw_hello_worker(struct raw_peer *p, uint64_t slots, struct uint_list running) {
    static const struct str kinds[] = {{"echo", 4}, {"quick", 5}};
    struct msg_hello m = raw_hello_message(p);
    MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 2}));
    MSG_SET(&m, hello, slots, slots);
    if (running.n)
        MSG_SET(&m, hello, running, running);
    return raw_hello_as(p, &m);
}

uint64_t raw_submit(struct raw_peer *p, const char *kind, struct str payload) {
    struct msg_submit m = {0};
    union msg_any answer;
    MSG_SET(&m, submit, kind, str_of(kind));
    MSG_SET(&m, submit, watch, true);
    if (payload.len)
        MSG_SET(&m, submit, size, payload.len);
    raw_expect(p, VERB_submitted, raw_ask(p, VERB_submit, &m, payload));
    assert_int_equal(p->in.items, 1);
    raw_item(p, &answer);
    assert_int_equal(answer.submitted.code, 0);
    return answer.submitted.id;
}

struct msg_dispatch raw_expect_dispatch(struct raw_peer *p, struct str *payload) {
    union msg_any m;
    raw_expect(p, VERB_dispatch, 0);
    assert_int_equal(p->in.items, 1);
    struct frame_item item = raw_item(p, &m);
    if (payload)
        *payload = item.payload;
    return m.dispatch;
}

void raw_report(struct raw_peer *p, const struct msg_dispatch *d, enum result_outcome outcome,
                struct str result) {
    struct msg_result m = {0};
    MSG_SET(&m, result, job, d->job);
    MSG_SET(&m, result, fence, d->fence);
    MSG_SET(&m, result, outcome, (uint64_t)outcome);
    if (result.len)
        MSG_SET(&m, result, size, result.len);
    raw_send(p, VERB_result, 0, &m, result);
}

struct msg_finished raw_expect_finished(struct raw_peer *p, uint64_t job) {
    union msg_any m;
    raw_expect(p, VERB_finished, 0);
    raw_item(p, &m);
    assert_int_equal(m.finished.id, job);
    return m.finished;
}

struct msg_status_info raw_get_status(struct raw_peer *p) {
    struct msg_get_status m = {0};
    union msg_any answer;
    raw_expect(p, VERB_status_info, raw_ask(p, VERB_get_status, &m, STR("")));
    raw_item(p, &answer);
    return answer.status_info;
}

struct msg_job_info raw_get_job(struct raw_peer *p, uint64_t job) {
    struct msg_get_job m = {0};
    union msg_any answer;
    MSG_SET(&m, get_job, id, job);
    raw_expect(p, VERB_job_info, raw_ask(p, VERB_get_job, &m, STR("")));
    raw_item(p, &answer);
    return answer.job_info;
}

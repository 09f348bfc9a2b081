#include "tests/unit/client_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 10000

struct mono now;
struct mono test_clock(void) {
    return now;
}

void on_reply(void *ctx, const struct client_reply *r) {
    struct told *t = ctx;
    if (r->end) {
        t->ends++;
        t->end = r->err->code;
        return;
    }
    if (r->verb == VERB_submitted)
        t->ids[r->index] = ((const struct msg_submitted *)r->message)->id;
    t->items++;
}

static void on_finished(void *ctx, const struct client_finished *f) {
    struct scene *s = ctx;
    s->finished[s->n_finished] = *f;
    s->finished[s->n_finished++].result = BUF(0);
}

static void on_flow(void *ctx, const struct client_flow *f) {
    struct scene *s = ctx;
    s->flows[s->n_flows++] = *f;
}

static void on_link(void *ctx, const struct link_news *news) {
    struct scene *s = ctx;
    s->unreadable += news->what == LINK_UNREADABLE;
}

/* ---- the broker ----------------------------------------------------------------------------- */
static void forget(struct scene *s) {
    while (s->n_parts)
        zmq_msg_close(&s->parts[--s->n_parts]);
    zmq_msg_close(&s->from);
    zmq_msg_init(&s->from);
}

/* The next message of the client, which is served meanwhile. */
enum verb receive(struct scene *s) {
    struct err e = {0};
    zmq_pollitem_t item = {.socket = s->router, .events = ZMQ_POLLIN};
    forget(s);
    client_poll(s->c, MONO_PAST);
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    assert_true(zmq_msg_recv(&s->from, s->router, 0) > 0);
    do {
        zmq_msg_init(&s->parts[s->n_parts]);
        assert_true(zmq_msg_recv(&s->parts[s->n_parts++], s->router, 0) >= 0);
    } while (zmq_msg_more(&s->parts[s->n_parts - 1]));
    struct str p[3] = {{0}};
    for (int i = 0; i < s->n_parts; i++)
        p[i] = str_make(zmq_msg_data(&s->parts[i]), zmq_msg_size(&s->parts[i]));
    assert_int_equal(frame_open(&s->in, p[0], p[1], p[2], &e), 0);
    return s->in.verb->verb;
}

/* The next but HEARTBEATs, of which those of a lost connection may come late. */
void hear(struct scene *s, enum verb verb) {
    enum verb heard;
    while ((heard = receive(s)) == VERB_heartbeat)
        continue;
    assert_int_equal(heard, verb);
}

bool silent(struct scene *s) {
    zmq_pollitem_t item = {.socket = s->router, .events = ZMQ_POLLIN};
    client_poll(s->c, MONO_PAST);
    while (zmq_poll(&item, 1, 20) == 1)
        if (receive(s) != VERB_heartbeat)
            return false;
    return true;
}

void begin(struct scene *s, enum verb verb, uint64_t sequence) {
    frame_begin(&s->out, verb, sequence);
}

void add(struct scene *s, const void *message, struct str payload) {
    assert_int_equal(frame_add_payload(&s->out, message, payload, STR("")), 0);
}

void send_out(struct scene *s) {
    zmq_msg_t to;
    zmq_msg_init(&to);
    zmq_msg_copy(&to, &s->from);
    assert_true(zmq_msg_send(&to, s->router, ZMQ_SNDMORE) >= 0);
    zmq_send(s->router, s->out.head.at, s->out.head.len, ZMQ_SNDMORE);
    zmq_send(s->router, s->out.body.at, s->out.body.len, ZMQ_SNDMORE);
    zmq_send(s->router, s->out.payloads.len ? s->out.payloads.at : "", s->out.payloads.len, 0);
}

/* Sends what was built, and waits until the client has called back. */
void answer(struct scene *s) {
    uint32_t calls = 0;
    send_out(s);
    for (int n = 0; n < 100 && !calls; n++) {
        link_wait(client_link(s->c), mono_add(now, WAIT_MS), NULL, NULL, 0);
        calls = client_poll(s->c, MONO_PAST);
    }
    assert_true(calls > 0);
    while (client_poll(s->c, MONO_PAST))
        continue;
}

/* Passes over what came before the next HELLO, and answers that. */
void welcome(struct scene *s, uint64_t epoch) {
    while (receive(s) != VERB_hello)
        continue;
    begin(s, VERB_welcome, s->in.sequence);
    add(s,
        &(struct msg_welcome){.has = 0x3fe,
                              .version = 1,
                              .epoch = epoch,
                              .heartbeat_ms = 1000,
                              .missed_max = 3,
                              .items_max = 16,
                              .bytes_max = 100000,
                              .body_max = 50000,
                              .result_max = 1000,
                              .outstanding_max = 8},
        STR(""));
    answer(s);
    assert_true(client_is_up(s->c));
}

void say_error(struct scene *s, uint64_t sequence, enum err_code code) {
    begin(s, VERB_error, sequence);
    add(s, &(struct msg_error){.has = 6, .code = code, .text = STR("because")}, STR(""));
    answer(s);
}

void submitted(struct scene *s, uint64_t sequence, uint64_t first, uint64_t n) {
    begin(s, VERB_submitted, sequence);
    for (uint64_t i = 0; i < n; i++)
        add(s, &(struct msg_submitted){.has = 6, .code = 0, .id = first + i}, STR(""));
    answer(s);
}

int set_up(void **state) {
    return set_up_as(state, ROLE_CLIENT, NULL);
}

int set_up_as(void **state, enum role role, struct note_table *notes) {
    static struct scene s;
    struct err e = {0};
    s = (struct scene){.folder = "/tmp/quern-unit-XXXXXX", .out = FRAME_OUT};
    now = (struct mono){1000000};
    assert_non_null(mkdtemp(s.folder));
    snprintf(s.endpoint, sizeof s.endpoint, "ipc://%s/s", s.folder);
    s.context = zmq_ctx_new();
    s.router = zmq_socket(s.context, ZMQ_ROUTER);
    zmq_msg_init(&s.from);
    int one = 1, none = 0;
    zmq_setsockopt(s.router, ZMQ_ROUTER_MANDATORY, &one, sizeof one);
    zmq_setsockopt(s.router, ZMQ_LINGER, &none, sizeof none);
    assert_int_equal(zmq_bind(s.router, s.endpoint), 0);
    struct client_config config = {.role = role,
                                   .notes = notes,
                                   .endpoint = s.endpoint,
                                   .instance = {1, 2, 3},
                                   .clock = test_clock,
                                   .bytes_max = 60000,
                                   .ctx = &s,
                                   .on_finished = on_finished,
                                   .on_flow = on_flow,
                                   .on_link = on_link};
    assert_int_equal(client_new(&s.c, &config, &e), 0);
    *state = &s;
    return 0;
}

int tear_down(void **state) {
    struct scene *s = *state;
    client_destroy(&s->c);
    forget(s);
    zmq_msg_close(&s->from);
    zmq_close(s->router);
    zmq_ctx_term(s->context);
    frame_destroy(&s->out);
    char path[64];
    snprintf(path, sizeof path, "%s/s", s->folder);
    unlink(path);
    rmdir(s->folder);
    return 0;
}

/* n jobs in one request; told[which] hears of it. */
int submit(struct scene *s, uint32_t which, uint32_t n, bool unique, struct err *e) {
    struct msg_submit m = {0};
    struct client_item items[16];
    MSG_SET(&m, submit, kind, STR("k"));
    if (unique)
        MSG_SET(&m, submit, unique, STR("u"));
    for (uint32_t i = 0; i < n; i++)
        items[i] = CLIENT_ITEM(&m, STR("\x80"));
    return client_request(s->c, VERB_submit, items, n, on_reply, &s->told[which],
                          mono_add(now, 60000), e);
}

void lose(struct scene *s) {
    for (int i = 0; i < 4; i++) {
        now.ms += 1000;
        client_poll(s->c, MONO_PAST);
    }
}

/* What a key allows beside its role: one tenant, some kinds, whole topics of streams. */
#include "common/wire/stream_frame.h"
#include "schemas/states.h"
#include "tests/e2e/curve_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- tenants -------------------------------------------------------------------------------- */
/* What SUBMIT of `tenant` ("": none is named) is answered. */
static struct msg_submitted submit(struct raw_peer *p, const char *tenant) {
    struct msg_submit m = {0};
    union msg_any answer;
    MSG_SET(&m, submit, kind, STR("other"));
    if (*tenant)
        MSG_SET(&m, submit, tenant, str_of(tenant));
    raw_expect(p, VERB_submitted, raw_ask(p, VERB_submit, &m, STR("")));
    raw_item(p, &answer);
    return answer.submitted;
}

static bool is_of(struct raw_peer *p, uint64_t id, const char *tenant) {
    struct msg_job_info m = raw_get_job(p, id);
    return m.code == 0 && str_eq(m.tenant, str_of(tenant));
}

/* P-106: a client's jobs are its tenant's; it may name that one, and no other. */
static void clients_submit_for_theirs(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer a, sees_all;
    curve_join(s, &a, ROLE_CLIENT, CURVE_CLIENT_A);
    curve_join(s, &sees_all, ROLE_GATEWAY, CURVE_GATEWAY);
    struct msg_submitted m = submit(&a, "");
    assert_int_equal(m.code, 0);
    assert_true(is_of(&sees_all, m.id, "a"));
    m = submit(&a, "a");
    assert_true(is_of(&sees_all, m.id, "a"));
    assert_int_equal(submit(&a, "b").code, ERR_BAD_ROLE);
    assert_int_equal(submit(&a, "default").code, ERR_BAD_ROLE);
    raw_close(&a);
    raw_close(&sees_all);
}

/* P-106: a gateway for one tenant is believed of that one only. */
static void gateways_name_theirs(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer a, all;
    curve_join(s, &a, ROLE_GATEWAY, CURVE_GATEWAY_A);
    curve_join(s, &all, ROLE_GATEWAY, CURVE_GATEWAY);
    assert_true(is_of(&all, submit(&a, "").id, "a"));
    assert_true(is_of(&all, submit(&a, "a").id, "a"));
    assert_int_equal(submit(&a, "b").code, ERR_BAD_ROLE);
    assert_true(is_of(&all, submit(&all, "b").id, "b"));
    assert_true(is_of(&all, submit(&all, "").id, "default"));
    raw_close(&a);
    raw_close(&all);
}

static uint64_t code_of(struct raw_peer *p, enum verb verb, const void *message) {
    union msg_any m;
    uint64_t sequence = raw_ask(p, verb, message, STR(""));
    raw_await_any(p);
    assert_int_equal(p->in.sequence, sequence);
    raw_item(p, &m);
    switch (p->in.verb->verb) {
    case VERB_job_info:
        return m.job_info.code;
    case VERB_why_info:
        return m.why_info.code;
    case VERB_outcome:
        return m.outcome.code;
    case VERB_flow_info:
        return m.flow_info.code;
    case VERB_attached:
        return m.attached.code;
    case VERB_error:
        return m.error.code;
    default:
        return 0;
    }
}

/* P-106: a job of another tenant is not there, whatever is asked. */
static void others_are_not_there(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer a, b, gateway;
    curve_join(s, &a, ROLE_CLIENT, CURVE_CLIENT_A);
    curve_join(s, &b, ROLE_CLIENT, CURVE_CLIENT_B);
    curve_join(s, &gateway, ROLE_GATEWAY, CURVE_GATEWAY_A);
    uint64_t theirs = submit(&b, "").id;
    struct msg_get_job get = {0};
    MSG_SET(&get, get_job, id, theirs);
    static const enum verb asks[] = {VERB_get_job, VERB_get_why, VERB_watch_job, VERB_watch_flow};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++)
        assert_int_equal(code_of(&a, asks[i], &get), ERR_NOT_FOUND);
    struct msg_cancel_job cancel = {0};
    MSG_SET(&cancel, cancel_job, id, theirs);
    assert_int_equal(code_of(&a, VERB_cancel_job, &cancel), ERR_NOT_FOUND);
    struct msg_retry_job retry = {0};
    MSG_SET(&retry, retry_job, id, theirs);
    assert_int_equal(code_of(&a, VERB_retry_job, &retry), ERR_NOT_FOUND);
    struct msg_attach attach = {0};
    MSG_SET(&attach, attach, id, theirs);
    assert_int_equal(code_of(&gateway, VERB_attach, &attach), ERR_NOT_FOUND);
    assert_int_equal(raw_get_job(&b, theirs).state, JOB_ready);
    raw_close(&a);
    raw_close(&b);
    raw_close(&gateway);
}

/* P-106: lists leave others out, and what is about all tenants is refused. */
static void lists(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer b;
    curve_join(s, &b, ROLE_CLIENT, CURVE_CLIENT_B);
    uint64_t own = submit(&b, "").id;
    struct msg_list_jobs list = {0};
    MSG_SET(&list, list_jobs, limit, 100);
    raw_expect(&b, VERB_job_info, raw_ask(&b, VERB_list_jobs, &list, STR("")));
    bool found = false;
    for (uint32_t n = b.in.items; n > 1; n--) {
        union msg_any m;
        raw_item(&b, &m);
        assert_true(str_eq(m.job_info.tenant, STR("b")));
        found |= m.job_info.id == own;
    }
    assert_true(found);
    struct msg_get_status status = {0};
    struct msg_list_dead dead = {0};
    struct msg_retry_job retry = {0};
    MSG_SET(&retry, retry_job, dead, true);
    assert_int_equal(code_of(&b, VERB_get_status, &status), ERR_BAD_ROLE);
    assert_int_equal(code_of(&b, VERB_list_queues, &status), ERR_BAD_ROLE);
    assert_int_equal(code_of(&b, VERB_list_schedules, &status), ERR_BAD_ROLE);
    assert_int_equal(code_of(&b, VERB_list_dead, &dead), ERR_BAD_ROLE);
    assert_int_equal(code_of(&b, VERB_retry_job, &retry), ERR_BAD_ROLE);
    raw_close(&b);
}

/* ---- kinds ---------------------------------------------------------------------------------- */
/* P-105: a worker with a key for some kinds names no other one, and declares none. */
static void kinds(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer w;
    struct str names[] = {STR("echo"), STR("quick")};
    curve_peer(s, &w, ROLE_WORKER, CURVE_ECHO);
    struct msg_hello hello = raw_hello_message(&w);
    MSG_SET(&hello, hello, kinds, ((struct str_list){names, 2}));
    MSG_SET(&hello, hello, slots, 1);
    struct str text = raw_expect_error(&w, raw_ask(&w, VERB_hello, &hello, STR("")), ERR_BAD_ROLE);
    assert_non_null(memmem(text.at, text.len, "'quick'", 7));
    hello.kinds.n = 1;
    raw_hello_as(&w, &hello);
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, STR("quick"));
    assert_int_equal(code_of(&w, VERB_declare_kind, &kind), ERR_BAD_ROLE);
    MSG_SET(&kind, kind_info, kind, STR("echo"));
    assert_int_equal(code_of(&w, VERB_declare_kind, &kind), 0);
    raw_close(&w);
}

/* P-105: nor does it claim, in the broker's next life, an attempt of another kind. */
static void claims(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer client, worker, liar;
    curve_join(s, &client, ROLE_CLIENT, CURVE_CLIENT_A);
    curve_join(s, &worker, ROLE_WORKER, CURVE_WORKER);
    uint64_t id = raw_submit(&client, "quick", STR(""));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    assert_int_equal(d.job, id);
    raw_close(&client);
    raw_close(&worker);
    broker_stop(&s->b);
    broker_start(&s->b);
    curve_scene_find(s);
    struct str name = STR("echo");
    uint64_t pair[] = {d.job, d.fence};
    curve_peer(s, &liar, ROLE_WORKER, CURVE_ECHO);
    struct msg_hello hello = raw_hello_message(&liar);
    MSG_SET(&hello, hello, kinds, ((struct str_list){&name, 1}));
    MSG_SET(&hello, hello, slots, 1);
    MSG_SET(&hello, hello, running, ((struct uint_list){pair, 2}));
    raw_hello_as(&liar, &hello);
    raw_await(&liar, VERB_lost);
    raw_close(&liar);
}

/* ---- streams -------------------------------------------------------------------------------- */
static void *listen_to(struct curve_scene *s, struct raw_peer *p, uint64_t port, struct str topic,
                       enum curve_key key) {
    char endpoint[64];
    int wait = PEER_DEADLINE_MS;
    void *socket = zmq_socket(p->context, ZMQ_SUB);
    assert_non_null(socket);
    socket_be_curve_client(socket, &s->keys[key]);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait, sizeof wait);
    zmq_setsockopt(socket, ZMQ_SUBSCRIBE, topic.at, topic.len);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", (unsigned)port);
    assert_int_equal(zmq_connect(socket, endpoint), 0);
    return socket;
}

static bool hears(void *socket) {
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, 0) > 0;
}

/* P-108: who subscribes to less than a whole topic hears nothing; P-104: a client's key hears
 * nothing at all. */
static void whole_topics(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer gateway, worker;
    char topic[18];
    struct msg_kind_info kind = {0};
    curve_peer(s, &worker, ROLE_WORKER, CURVE_WORKER);
    uint64_t said_at = raw_hello_worker(&worker, 2, (struct uint_list){NULL, 0}).stream_port;
    MSG_SET(&kind, kind_info, kind, STR("quick"));
    MSG_SET(&kind, kind_info, streams, true);
    assert_int_equal(code_of(&worker, VERB_declare_kind, &kind), 0);
    curve_peer(s, &gateway, ROLE_GATEWAY, CURVE_GATEWAY);
    struct msg_welcome terms = raw_hello(&gateway);
    for (int i = 0; i < 8; i++)
        snprintf(topic + 2 * i, 3, "%02x", gateway.instance[i]);
    topic[16] = '/';
    struct raw_peer *g = &gateway;
    void *all = listen_to(s, g, terms.stream_port, STR(""), CURVE_GATEWAY_A);
    void *client = listen_to(s, g, terms.stream_port, str_make(topic, 17), CURVE_CLIENT_A);
    void *own = listen_to(s, g, terms.stream_port, str_make(topic, 17), CURVE_GATEWAY);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("quick"));
    MSG_SET(&m, submit, attach, true);
    union msg_any answer;
    raw_expect(g, VERB_submitted, raw_ask(g, VERB_submit, &m, STR("")));
    raw_item(g, &answer);
    struct msg_dispatch d;
    do /* the one that was claimed may come back */
        d = raw_expect_dispatch(&worker, NULL);
    while (d.job != answer.submitted.id);
    struct msg_stream said = {0};
    MSG_SET(&said, stream, job, d.job);
    MSG_SET(&said, stream, epoch, d.fence);
    MSG_SET(&said, stream, seq, 1);
    MSG_SET(&said, stream, count, 1);
    MSG_SET(&said, stream, token, d.token);
    AUTO_BUF frame = BUF(4096);
    stream_put_frame(&frame, STR(""), &said, STR("\x93\x00\x00\xa2hi"));
    char endpoint[64], heard[4096];
    void *pub = zmq_socket(g->context, ZMQ_PUB);
    int linger = 0,
        wait = 20; /* what is said before it is connected is lost, so it is said again */
    socket_be_curve_client(pub, &s->keys[CURVE_WORKER]);
    zmq_setsockopt(pub, ZMQ_LINGER, &linger, sizeof linger);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", (unsigned)said_at);
    assert_int_equal(zmq_connect(pub, endpoint), 0);
    zmq_setsockopt(own, ZMQ_RCVTIMEO, &wait, sizeof wait);
    int n = -1;
    for (int tries = 0; n < 0 && tries < PEER_DEADLINE_MS / wait; tries++) {
        zmq_send(pub, frame.at, frame.len, ZMQ_DONTWAIT);
        n = zmq_recv(own, heard, sizeof heard, 0);
    }
    assert_true(n > 17);
    assert_memory_equal(heard, topic, 17);
    assert_false(hears(all) || hears(client));
    zmq_close(pub);
    zmq_close(own);
    zmq_close(all);
    zmq_close(client);
    raw_close(&gateway);
    raw_close(&worker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_submit_for_theirs),
        cmocka_unit_test(gateways_name_theirs),
        cmocka_unit_test(others_are_not_there),
        cmocka_unit_test(lists),
        cmocka_unit_test(kinds),
        cmocka_unit_test(claims),
        cmocka_unit_test(whole_topics),
    };
    return cmocka_run_group_tests(tests, curve_set_up, curve_tear_down);
}

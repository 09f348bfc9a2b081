/* TCP with keys: who is let in, who is not, and what becomes of those whose key is taken out. */
#include "common/os/clock.h"
#include "schemas/states.h"
#include "tests/e2e/curve_scene.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HALVES 150 /* handshakes that do not go on */

/* ---- who is let in -------------------------------------------------------------------------- */
/* P-103, P-104: each role with its key, and one job through all of them. */
static void every_role(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer client, worker, gateway, operator;
    curve_join(s, &client, ROLE_CLIENT, CURVE_CLIENT_A);
    curve_join(s, &worker, ROLE_WORKER, CURVE_WORKER);
    curve_join(s, &gateway, ROLE_GATEWAY, CURVE_GATEWAY);
    curve_join(s, &operator, ROLE_OPERATOR, CURVE_OPERATOR);
    uint64_t id = raw_submit(&client, "echo", STR(""));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    assert_int_equal(d.job, id);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_expect_finished(&client, id);
    assert_int_equal(raw_get_status(&operator).done, 1);
    assert_int_equal(raw_get_job(&gateway, id).state, JOB_done);
    raw_close(&client);
    raw_close(&worker);
    raw_close(&gateway);
    raw_close(&operator);
}

static void await_event(void *pair, int one, int other) {
    for (;;) {
        zmq_pollitem_t item = {.socket = pair, .events = ZMQ_POLLIN};
        assert_true(zmq_poll(&item, 1, PEER_DEADLINE_MS) > 0);
        uint16_t event;
        char data[256];
        int n = zmq_recv(pair, data, sizeof data, 0);
        assert_true(n >= (int)sizeof event);
        memcpy(&event, data, sizeof event);
        zmq_recv(pair, data, sizeof data, 0);
        if (event & (one | other))
            return;
    }
}

/* Somebody else is served meanwhile: what the broker would have said by now it will not say. */
static void expect_silence(struct curve_scene *s, struct raw_peer *p) {
    struct raw_peer other;
    curve_join(s, &other, ROLE_CLIENT, CURVE_CLIENT_B);
    assert_false(raw_hears(p, 0));
    raw_close(&other);
}

static void turned_away(struct curve_scene *s, enum role role, const struct key_file *key) {
    struct raw_peer p;
    void *pair = raw_connect_watched(&p, s->at[role], role, ++s->seed, key);
    struct msg_hello m = raw_hello_message(&p);
    raw_ask(&p, VERB_hello, &m, STR(""));
    await_event(pair, ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL,
                ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL);
    expect_silence(s, &p);
    zmq_socket_monitor(p.socket, NULL, 0);
    zmq_close(pair);
    int linger = 0;
    zmq_setsockopt(p.socket, ZMQ_LINGER, &linger, sizeof linger);
    raw_close(&p);
}

/* P-103, P-104: the broker's key is another one; the key is not listed; there is none. */
static void strangers(void **state) {
    struct curve_scene *s = *state;
    struct key_file wrong = s->keys[CURVE_CLIENT_A];
    memcpy(wrong.server, s->keys[CURVE_STRANGER].public_half, KEY_BYTES);
    turned_away(s, ROLE_CLIENT, &wrong);
    turned_away(s, ROLE_CLIENT, &s->keys[CURVE_STRANGER]);
    broker_await_log(&s->b, "key.refused");
    turned_away(s, ROLE_OPERATOR, NULL);
}

/* P-104: a key is one role, whatever the endpoint and HELLO say. */
static void wrong_role(void **state) {
    struct curve_scene *s = *state;
    for (enum role role = ROLE_CLIENT; role <= ROLE_OPERATOR; role++) {
        static const enum curve_key others[] = {0, CURVE_GATEWAY, CURVE_CLIENT_A, CURVE_OPERATOR,
                                                CURVE_WORKER};
        struct raw_peer p;
        curve_peer(s, &p, role, others[role]);
        struct msg_hello m = raw_hello_message(&p);
        struct str text = raw_expect_error(&p, raw_ask(&p, VERB_hello, &m, STR("")), ERR_BAD_ROLE);
        assert_non_null(memmem(text.at, text.len, "is for the role", 15));
        raw_close(&p);
    }
}

/* P-107: an instance belongs to the key that it came with. */
static void instances_are_of_keys(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer mine, thief;
    curve_join(s, &mine, ROLE_CLIENT, CURVE_CLIENT_A);
    curve_peer(s, &thief, ROLE_CLIENT, CURVE_CLIENT_B);
    memcpy(thief.instance, mine.instance, sizeof mine.instance);
    thief.sequence = mine.sequence;
    struct msg_hello m = raw_hello_message(&thief);
    raw_expect_error(&thief, raw_ask(&thief, VERB_hello, &m, STR("")), ERR_DUPLICATE_INSTANCE);
    raw_submit(&mine, "echo", STR(""));
    raw_close(&mine);
    raw_close(&thief);
}

/* ---- keys come and go ----------------------------------------------------------------------- */
/* P-107: a key that is taken out ends its connections, and those of others go on. */
static void taken_out(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer gone, stays;
    curve_join(s, &gone, ROLE_CLIENT, CURVE_CLIENT_A);
    curve_join(s, &stays, ROLE_CLIENT, CURVE_CLIENT_B);
    void *pair = raw_watch(&gone);
    curve_scene_settings(s, CURVE_CLIENT_A, "a");
    curve_scene_reload(s);
    await_event(pair, ZMQ_EVENT_DISCONNECTED, 0);
    await_event(pair, ZMQ_EVENT_HANDSHAKE_FAILED_AUTH, ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL);
    zmq_socket_monitor(gone.socket, NULL, 0);
    zmq_close(pair);
    raw_submit(&stays, "echo", STR(""));
    curve_scene_settings(s, CURVE_KEYS, "a");
    curve_scene_reload(s);
    raw_close(&gone); /* ZeroMQ does not try a socket again that was refused */
    curve_join(s, &gone, ROLE_CLIENT, CURVE_CLIENT_A);
    raw_submit(&gone, "echo", STR(""));
    raw_close(&gone);
    raw_close(&stays);
}

/* P-107: with other rights it begins anew. */
static void changed(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer p;
    curve_join(s, &p, ROLE_CLIENT, CURVE_CLIENT_A);
    uint64_t id = raw_submit(&p, "echo", STR(""));
    void *pair = raw_watch(&p);
    curve_scene_settings(s, CURVE_KEYS, "c");
    curve_scene_reload(s);
    await_event(pair, ZMQ_EVENT_DISCONNECTED, 0);
    zmq_socket_monitor(p.socket, NULL, 0);
    zmq_close(pair);
    raw_hello(&p);
    assert_int_equal(raw_get_job(&p, id).code, ERR_NOT_FOUND);
    raw_close(&p);
    curve_scene_settings(s, CURVE_KEYS, "a");
    curve_scene_reload(s);
}

/* A list that is not whole changes nothing. */
static void all_or_nothing(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer p;
    curve_join(s, &p, ROLE_CLIENT, CURVE_CLIENT_A);
    broker_write_config(&s->b, "keys: {client-a: {public: 12, role: client}}\n");
    broker_signal(&s->b, SIGHUP);
    broker_await_log(&s->b, "config.refused");
    raw_submit(&p, "echo", STR(""));
    raw_close(&p);
    curve_scene_settings(s, CURVE_KEYS, "a");
}

/* P-103: another life of the broker has the same key. */
static void restart(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer p;
    broker_stop(&s->b);
    broker_start(&s->b);
    curve_scene_find(s);
    curve_join(s, &p, ROLE_CLIENT, CURVE_CLIENT_A);
    raw_submit(&p, "echo", STR(""));
    raw_close(&p);
}

/* ---- what is bound -------------------------------------------------------------------------- */
static int start_with(struct broker *b, const char *yaml, char *said, size_t size) {
    broker_write_config(b, yaml);
    return broker_run(said, size,
                      (const char *const[]){"--data", b->data, "--config", b->config, NULL});
}

/* P-3: beyond loopback only with a key; the file of it must be the broker's alone. */
static void beyond_loopback(void **state) {
    struct curve_scene *s = *state;
    struct broker other;
    char said[4096], yaml[1024], path[BROKER_PATH_MAX + 16];
    broker_make(&other, "");
    assert_int_equal(
        start_with(&other, "broker: {tcp_worker: \"tcp://0.0.0.0:*\"}\n", said, sizeof said), 2);
    assert_non_null(strstr(said, "broker.tcp_worker: 'tcp://0.0.0.0:*' can be reached from other "
                                 "hosts"));
    snprintf(path, sizeof path, "%s/server.key", s->b.root);
    snprintf(yaml, sizeof yaml,
             "broker: {tcp_worker: \"tcp://0.0.0.0:*\", key_file: \"%s\"}\n"
             "journal: {segment_size: 4MiB, batch_bytes: 4MiB, disk_min_free: 0}\n",
             path);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(start_with(&other, yaml, said, sizeof said), 2);
    assert_non_null(strstr(said, "has mode 0640"));
    assert_non_null(strstr(said, path));
    assert_int_equal(chmod(path, 0600), 0);
    broker_start(&other);
    broker_await_log(&other, "\"tcp_worker\":\"tcp://0.0.0.0:");
    broker_stop(&other);
    broker_remove(&other);
}

/* ---- handshakes that do not end ------------------------------------------------------------- */
static int half(const char *endpoint, size_t bytes) {
    static const unsigned char greeting[64] = {0xFF, [9] = 0x7F, [10] = 3, [12] = 'C',
                                               'U',  'R',        'V',      'E'};
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)strtoul(strrchr(endpoint, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(write(fd, greeting, bytes), (ssize_t)bytes);
    return fd;
}

static void await_end(int fd, struct mono deadline) {
    char bytes[256];
    ssize_t n;
    do {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        assert_true(poll(&p, 1, (int)mono_until(clock_mono(), deadline)) > 0);
        n = read(fd, bytes, sizeof bytes);
    } while (n > 0);
    close(fd);
}

/* P-80: who begins the handshake of CURVE has 10 s for it, as everybody; others are served. */
static void half_handshakes(void **state) {
    struct curve_scene *s = *state;
    struct raw_peer p;
    int fds[HALVES];
    for (int i = 0; i < HALVES; i++)
        fds[i] = half(s->at[1 + i % 4], i % 2 ? 64 : 11);
    curve_join(s, &p, ROLE_CLIENT, CURVE_CLIENT_A);
    raw_submit(&p, "echo", STR(""));
    raw_close(&p);
    struct mono deadline = mono_add(clock_mono(), 2 * PEER_DEADLINE_MS);
    for (int i = 0; i < HALVES; i++)
        await_end(fds[i], deadline);
    curve_join(s, &p, ROLE_CLIENT, CURVE_CLIENT_A);
    raw_submit(&p, "echo", STR(""));
    raw_close(&p);
}

/* P-8, as P-103 has it: a message of very many frames is not kept until its end. */
static void endless(void **state) {
    struct curve_scene *s = *state;
    static struct str parts[20000];
    struct raw_peer p;
    curve_join(s, &p, ROLE_CLIENT, CURVE_CLIENT_A);
    void *pair = raw_watch(&p);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        parts[i] = STR("x");
    raw_send_parts(&p, parts, sizeof parts / sizeof *parts);
    await_event(pair, ZMQ_EVENT_DISCONNECTED, 0);
    broker_await_log(&s->b, "peer.endless");
    zmq_socket_monitor(p.socket, NULL, 0);
    zmq_close(pair);
    int linger = 0;
    zmq_setsockopt(p.socket, ZMQ_LINGER, &linger, sizeof linger);
    raw_close(&p);
    curve_join(s, &p, ROLE_CLIENT, CURVE_CLIENT_B);
    raw_submit(&p, "echo", STR(""));
    raw_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_role),      cmocka_unit_test(strangers),
        cmocka_unit_test(wrong_role),      cmocka_unit_test(instances_are_of_keys),
        cmocka_unit_test(taken_out),       cmocka_unit_test(changed),
        cmocka_unit_test(all_or_nothing),  cmocka_unit_test(restart),
        cmocka_unit_test(endless),         cmocka_unit_test(beyond_loopback),
        cmocka_unit_test(half_handshakes),
    };
    return cmocka_run_group_tests(tests, curve_set_up, curve_tear_down);
}

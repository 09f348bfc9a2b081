/* More connections than the broker may have open files: it turns away what is too much, goes on
 * with its jobs and its journal, can be looked at, and takes others as soon as there are places
 * again. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "tests/e2e/raw_peer.h"
#include "tests/e2e/worker_process.h"

#include <dirent.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define FILES        240U
#define FLOOD        600
#define TEXT_BYTES   300000U
#define JOBS         24U /* with their payloads and results they fill several segments */
#define SEGMENT      "4MiB"
#define SILENT_PEERS 200

struct scene {
    struct broker b;
    struct worker w;
    struct client *c;
    struct raw_peer late;
    int flood[FLOOD];
    char *payload;
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){0};
    broker_make(
        &s.b,
        "journal: {segment_size: " SEGMENT ", batch_bytes: 4MiB, disk_min_free: 0}\n"
        "broker: {heartbeats_missed: 100, result_max: 1MiB, tcp_client: \"tcp://127.0.0.1:*\"}\n"
        "kinds: {echo: {}}\n");
    s.b.files_max = FILES;
    broker_start(&s.b);
    s.c = worker_client(&s.b);
    worker_start(&s.w, &s.b, "--slots 2", NULL);
    worker_await_workers(s.c, 1);
    for (int i = 0; i < FLOOD; i++)
        s.flood[i] = -1;
    s.payload = mem_alloc(TEXT_BYTES + 16);
    int head = snprintf(s.payload, 16, "{\"text\": \"");
    memset(s.payload + head, 'x', TEXT_BYTES);
    memcpy(s.payload + head + TEXT_BYTES, "\"}", 3);
    *state = &s;
    return 0;
}

static void flood_end(struct scene *s) {
    for (int i = 0; i < FLOOD; i++) {
        if (s->flood[i] >= 0)
            close(s->flood[i]);
        s->flood[i] = -1;
    }
}

static int tear_down(void **state) {
    struct scene *s = *state;
    flood_end(s);
    if (s->late.context)
        raw_close(&s->late);
    client_destroy(&s->c);
    worker_remove(&s->w);
    broker_stop(&s->b);
    broker_remove(&s->b);
    mem_free(s->payload);
    return 0;
}

/* ---- a flood -------------------------------------------------------------------------------- */
static void flood(struct scene *s, const struct sockaddr *to, socklen_t size) {
    for (int i = 0; i < FLOOD; i++) {
        s->flood[i] = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(s->flood[i] >= 0);
        assert_int_equal(connect(s->flood[i], to, size), 0);
    }
}

static void flood_ipc(struct scene *s) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    assert_in_range(snprintf(a.sun_path, sizeof a.sun_path, "%s/client.sock", s->b.run), 1,
                    sizeof a.sun_path - 1);
    flood(s, (struct sockaddr *)&a, sizeof a);
}

/* As broker.ready tells. */
static uint16_t tcp_port(const struct scene *s) {
    static const char key[] = "\"tcp_client\":\"tcp://127.0.0.1:";
    const char *at = strstr(broker_log_text(&s->b), key);
    assert_non_null(at);
    return (uint16_t)strtoul(at + sizeof key - 1, NULL, 10);
}

static void flood_tcp(struct scene *s) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(tcp_port(s))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    flood(s, (struct sockaddr *)&a, sizeof a);
}

static void await_refused(struct scene *s, uint64_t n) {
    struct mono deadline = worker_deadline();
    while (worker_status(s->c).connections_refused < n)
        assert_false(mono_reached(clock_mono(), deadline));
}

static unsigned open_files(const struct scene *s) {
    char path[64];
    unsigned n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)s->b.pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* The journal opens one segment after the other meanwhile, and the broker can be looked at by who
 * comes only now. */
static void goes_on(struct scene *s) {
    uint64_t ids[JOBS];
    for (unsigned i = 0; i < JOBS; i++)
        ids[i] = worker_submit(s->c, "echo", s->payload);
    for (unsigned i = 0; i < JOBS; i++)
        worker_await_end(s->c, ids[i], JOB_done);
    struct client *operator_too = worker_client(&s->b);
    struct msg_status_info status = worker_status(operator_too);
    client_destroy(&operator_too);
    assert_false(status.read_only);
    assert_in_range(status.connections_max, 32, FILES);
    assert_in_range(open_files(s), 1, FILES - 1);
    assert_true(status.journal_bytes > JOBS * (uint64_t)TEXT_BYTES);
    broker_await_log(&s->b, "\"event\":\"connections.refused\"");
}

/* ---- the cases ------------------------------------------------------------------------------ */
static void plain_connects(void **state) {
    struct scene *s = *state;
    flood_ipc(s);
    await_refused(s, FLOOD - FILES);
    goes_on(s);
    flood_end(s);
    raw_join(&s->late, s->b.run, ROLE_CLIENT, 2);
}

/* P-80: they stay, and say nothing; their places are free when ZeroMQ has waited for its greeting.
 */
static void plain_tcp_connects(void **state) {
    struct scene *s = *state;
    flood_tcp(s);
    await_refused(s, FLOOD - FILES);
    goes_on(s);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", tcp_port(s));
    raw_connect(&s->late, endpoint, ROLE_CLIENT, 2, NULL);
    raw_hello(&s->late);
}

/* P-80: peers of ZeroMQ that never say HELLO make way when somebody else is turned away. */
static void silent_peers(void **state) {
    struct scene *s = *state;
    char endpoint[256];
    void *context = zmq_ctx_new(), *sockets[SILENT_PEERS];
    int never = -1, linger = 0;
    snprintf(endpoint, sizeof endpoint, "ipc://%s/client.sock", s->b.run);
    for (int i = 0; i < SILENT_PEERS; i++) {
        sockets[i] = zmq_socket(context, ZMQ_DEALER);
        assert_non_null(sockets[i]);
        zmq_setsockopt(sockets[i], ZMQ_RECONNECT_IVL, &never, sizeof never);
        zmq_setsockopt(sockets[i], ZMQ_LINGER, &linger, sizeof linger);
        assert_int_equal(zmq_connect(sockets[i], endpoint), 0);
    }
    await_refused(s, 1);
    goes_on(s);
    raw_join(&s->late, s->b.run, ROLE_CLIENT, 2); /* tries again and again */
    struct msg_status_info status = raw_get_status(&s->late);
    assert_in_range(status.connections_silent, 1, SILENT_PEERS);
    for (int i = 0; i < SILENT_PEERS; i++)
        zmq_close(sockets[i]);
    zmq_ctx_term(context);
    goes_on(s);
}

/* It says so and does not start, rather than fail later. */
static void too_few_files(void **state) {
    struct scene *s = *state;
    broker_stop(&s->b);
    s->b.files_max = 100;
    broker_launch(&s->b);
    assert_int_equal(broker_wait(&s->b), 1 << 8);
    assert_true(broker_log_has(&s->b, "the limit of open files is 100"));
    s->b.files_max = FILES;
    broker_start(&s->b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_connects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain_tcp_connects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silent_peers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_few_files, set_up, tear_down),
    };
    struct rlimit mine;
    if (getrlimit(RLIMIT_NOFILE, &mine) == 0) {
        mine.rlim_cur = mine.rlim_max < 4096 ? mine.rlim_max : 4096;
        setrlimit(RLIMIT_NOFILE, &mine);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

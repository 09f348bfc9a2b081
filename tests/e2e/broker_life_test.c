/* The real broker's beginning and end: who may start, what survives, what a signal does. */
#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SMALL_JOURNAL                                                                              \
    "journal:\n"                                                                                   \
    "  segment_size: 4MiB\n"                                                                       \
    "  batch_bytes: 4MiB\n"
#define ECHO                                                                                       \
    "kinds:\n"                                                                                     \
    "  echo: {}\n"

static struct broker broker;
static const struct uint_list nothing = {0};

static int set_up(void **state) {
    (void)state;
    broker_make(&broker, SMALL_JOURNAL ECHO);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    broker_remove(&broker);
    return 0;
}

static bool exists(const char *folder, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

/* P-24: the epoch rises; P-33: what was acknowledged is still there; P-57, P-58: what ran is left
 * to its worker, and adopted when that says HELLO; P-39: watches end with the epoch. */
static void killed(void **state) {
    struct raw_peer client, worker, idle;
    (void)state;
    broker_start(&broker);
    raw_open(&client, broker.run, ROLE_CLIENT, 1);
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    raw_hello(&client);
    raw_hello_worker(&worker, 1, nothing);
    uint64_t epoch = client.epoch;
    uint64_t runs = raw_submit(&client, "echo", STR("\x81\xa1n\x01"));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    uint64_t waits[8];
    for (int i = 0; i < 8; i++)
        waits[i] = raw_submit(&client, "echo", STR("\x81\xa1n\x02"));
    broker_kill(&broker);
    assert_true(exists(broker.run, "worker.sock")); /* stale sockets are no obstacle */
    broker_start(&broker);
    raw_reconnect(&client, broker.run);
    raw_reconnect(&worker, broker.run);
    raw_hello(&client);
    assert_int_equal(client.epoch, epoch + 1);
    assert_int_equal(raw_get_job(&client, runs).state, 4);
    for (int i = 0; i < 8; i++)
        assert_int_equal(raw_get_job(&client, waits[i]).state, 2);
    raw_open(&idle, broker.run, ROLE_WORKER, 3);
    raw_hello_worker(&idle, 1, nothing);
    assert_int_equal(raw_expect_dispatch(&idle, NULL).job, waits[0]); /* not the one that runs */
    uint64_t held[] = {d.job, d.fence};
    raw_hello_worker(&worker, 1, (struct uint_list){held, 2});
    struct msg_get_job watch = {0};
    MSG_SET(&watch, get_job, id, runs);
    raw_ask(&client, VERB_watch_job, &watch, STR(""));
    raw_get_job(&client, runs);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_await(&worker, VERB_result_ack);
    assert_int_equal(raw_expect_finished(&client, runs).state, 6);
    raw_close(&client);
    raw_close(&worker);
    raw_close(&idle);
    broker_stop(&broker);
}

/* What ended, and its result, survives too: several lives in a row. */
static void many_lives(void **state) {
    uint64_t jobs[6];
    (void)state;
    for (int life = 0; life < 6; life++) {
        struct raw_peer client, worker;
        broker_start(&broker);
        raw_open(&client, broker.run, ROLE_CLIENT, 1);
        raw_open(&worker, broker.run, ROLE_WORKER, 2);
        raw_hello(&client);
        assert_int_equal(client.epoch, life + 1);
        for (int i = 0; i < life; i++)
            assert_int_equal(raw_get_job(&client, jobs[i]).state, 6);
        jobs[life] = raw_submit(&client, "echo", STR("\x80"));
        raw_hello_worker(&worker, 1, nothing);
        struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
        assert_int_equal(d.job, jobs[life]);
        raw_report(&worker, &d, OUTCOME_DONE, STR("\x80"));
        raw_expect(&worker, VERB_result_ack, 0);
        raw_close(&client);
        raw_close(&worker);
        if (life % 2)
            broker_stop(&broker);
        else
            broker_kill(&broker);
    }
}

/* P-25: peers are told BYE. Nothing is left behind but the journal. */
static void terminated(void **state) {
    struct raw_peer client;
    (void)state;
    broker_start(&broker);
    assert_true(exists(broker.run, "broker.pid"));
    raw_join(&client, broker.run, ROLE_CLIENT, 1);
    uint64_t job = raw_submit(&client, "echo", STR(""));
    broker_signal(&broker, SIGTERM);
    raw_expect(&client, VERB_bye, 0);
    int status = broker_wait(&broker);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(exists(broker.run, "broker.pid"));
    assert_false(exists(broker.run, "client.sock"));
    assert_true(broker_log_has(&broker, "\"event\":\"broker.ready\""));
    assert_true(broker_log_has(&broker, "\"event\":\"broker.stopped\""));
    broker_start(&broker);
    assert_true(broker_log_has(&broker, "\"clean\":true"));
    raw_reconnect(&client, broker.run);
    raw_hello(&client);
    assert_int_equal(raw_get_job(&client, job).state, 2);
    raw_close(&client);
    broker_stop(&broker);
}

static void second_broker(void **state) {
    char said[4096], pid[32];
    (void)state;
    broker_start(&broker);
    const char *arguments[] = {"--data", broker.data, "--config", broker.config, NULL};
    assert_int_equal(broker_run(said, sizeof said, arguments), 1);
    snprintf(pid, sizeof pid, "%d", (int)broker.pid);
    assert_non_null(strstr(said, pid));
    assert_non_null(strstr(said, "another broker"));
    struct raw_peer client;
    raw_open(&client, broker.run, ROLE_CLIENT, 1); /* the first one goes on */
    raw_hello(&client);
    raw_close(&client);
    broker_stop(&broker);
}

static void refused_hello(struct raw_peer *p, const char *why) {
    struct msg_hello m = raw_hello_message(p);
    static const struct str kinds[] = {{"echo", 4}};
    if (p->role == ROLE_WORKER) {
        MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 1}));
        MSG_SET(&m, hello, slots, 1);
    }
    struct str text = raw_expect_error(p, raw_ask(p, VERB_hello, &m, STR("")), ERR_BUSY);
    assert_non_null(memmem(text.at, text.len, why, strlen(why)));
}

/* Clients do not take the workers' places, nor workers theirs; who has left makes room. Operators
 * have some places beyond those of clients, so that somebody can look. */
static void bounds_of_peers(void **state) {
    enum { OPERATORS = 32 };
    static struct raw_peer clients[2], workers[3], operators[OPERATORS], one_more;
    (void)state;
    broker_write_config(&broker, "broker: {clients_max: 1, workers_max: 2}\n" SMALL_JOURNAL ECHO);
    broker_start(&broker);
    for (uint8_t i = 0; i < 2; i++)
        raw_open(&clients[i], broker.run, i ? ROLE_GATEWAY : ROLE_CLIENT, i);
    for (uint8_t i = 0; i < 3; i++)
        raw_open(&workers[i], broker.run, ROLE_WORKER, (uint8_t)(10 + i));
    raw_hello(&clients[0]);
    refused_hello(&clients[1], "1 clients");
    raw_hello_worker(&workers[0], 1, nothing);
    raw_hello_worker(&workers[1], 1, nothing);
    refused_hello(&workers[2], "2 workers");
    refused_hello(&clients[1], "1 clients");
    for (int i = 0; i < OPERATORS; i++)
        raw_join(&operators[i], broker.run, ROLE_OPERATOR, (uint8_t)(20 + i));
    assert_int_equal(raw_get_status(&operators[OPERATORS - 1]).workers, 2);
    raw_open(&one_more, broker.run, ROLE_OPERATOR, 19);
    refused_hello(&one_more, "32 operators beside them");
    raw_send(&workers[0], VERB_bye, 0, &(struct msg_bye){0}, STR(""));
    while (raw_get_status(&clients[0]).workers != 1)
        continue;
    raw_hello_worker(&workers[2], 1, nothing);
    refused_hello(&workers[0], "2 workers");
    for (int i = 0; i < 2; i++)
        raw_close(&clients[i]);
    for (int i = 0; i < OPERATORS; i++)
        raw_close(&operators[i]);
    raw_close(&one_more);
    for (int i = 0; i < 3; i++)
        raw_close(&workers[i]);
    broker_stop(&broker);
}

/* A reload takes all or nothing. */
static void reloaded(void **state) {
    struct raw_peer operator, worker;
    (void)state;
    broker_start(&broker);
    raw_open(&operator, broker.run, ROLE_OPERATOR, 1);
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    raw_hello(&operator);
    raw_hello_worker(&worker, 1, nothing);
    broker_write_config(&broker, "queues: {echo: {paused: true}}\nbroker: {heartbeat: 1 year}\n");
    broker_signal(&broker, SIGHUP);
    broker_await_log(&broker, "\"event\":\"config.refused\"");
    raw_submit(&operator, "echo", STR(""));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_expect(&worker, VERB_result_ack, 0);
    broker_write_config(&broker, SMALL_JOURNAL ECHO "  fresh: {}\n"
                                                    "queues: {echo: {paused: true}}\n"
                                                    "broker: {heartbeat: 2s}\n");
    broker_signal(&broker, SIGHUP);
    broker_await_log(&broker, "\"event\":\"config.reloaded\"");
    assert_true(broker_log_has(&broker, "\"event\":\"config.restart\""));
    assert_true(broker_log_has(&broker, "broker.heartbeat"));
    raw_expect_finished(&operator, d.job);
    raw_submit(&operator, "fresh", STR("")); /* declared now */
    raw_submit(&operator, "echo", STR(""));
    assert_false(raw_hears(&worker, 100)); /* paused now */
    broker_write_config(&broker, SMALL_JOURNAL ECHO);
    broker_signal(&broker, SIGHUP);
    raw_expect_dispatch(&worker, NULL);
    raw_close(&operator);
    raw_close(&worker);
    broker_stop(&broker);
}

/* ---- what keeps it from starting ------------------------------------------------------------- */
static int run_with(char *said, size_t size, const char *data) {
    const char *arguments[] = {"--data", data, "--config", broker.config, NULL};
    return broker_run(said, size, arguments);
}

static void bad_settings(void **state) {
    char said[8192];
    (void)state;
    broker_write_config(&broker, "broker:\n  heartbeat: soon\n  jobs_max: -1\nbrokr: {}\n");
    assert_int_equal(run_with(said, sizeof said, broker.data), 2);
    assert_non_null(strstr(said, "broker.heartbeat"));
    assert_non_null(strstr(said, "broker.jobs_max"));
    assert_non_null(strstr(said, "brokr"));
    broker_write_config(&broker, "journal: {segment_size: 1MiB, batch_bytes: 1MiB}\n"
                                 "broker: {batch_bytes_max: 1MiB}\n");
    assert_int_equal(run_with(said, sizeof said, broker.data), 2);
    assert_non_null(strstr(said, "segment_size"));
    broker_write_config(&broker, "broker: {tcp_client: \"tcp://0.0.0.0:7777\"}\n"); /* P-3 */
    assert_int_equal(run_with(said, sizeof said, broker.data), 2);
    assert_non_null(strstr(said, "tcp_client"));
}

static void wrong_usage(void **state) {
    char said[8192];
    (void)state;
    const char *unknown[] = {"--what", NULL}, *extra[] = {"serve", NULL};
    const char *help[] = {"--help", NULL}, *version[] = {"--version", NULL};
    assert_int_equal(broker_run(said, sizeof said, unknown), 2);
    assert_int_equal(broker_run(said, sizeof said, extra), 2);
    assert_int_equal(broker_run(said, sizeof said, help), 0);
    assert_non_null(strstr(said, "--data DIR"));
    assert_int_equal(broker_run(said, sizeof said, version), 0);
    assert_non_null(strstr(said, "quern-broker "));
}

/* P-2: not if others may enter the folder of the sockets. */
static void open_folder(void **state) {
    char said[8192];
    (void)state;
    assert_int_equal(mkdir(broker.data, 0700), 0);
    assert_int_equal(mkdir(broker.run, 0700), 0);
    assert_int_equal(chmod(broker.run, 0755), 0);
    assert_int_equal(run_with(said, sizeof said, broker.data), 1);
    assert_non_null(strstr(said, "0755"));
    assert_int_equal(chmod(broker.run, 0700), 0);
    broker_start(&broker);
    struct stat s;
    assert_int_equal(stat(broker.run, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0700);
    broker_stop(&broker);
    assert_int_equal(run_with(said, sizeof said, "/proc/nowhere"), 1);
    assert_non_null(strstr(said, "/proc/nowhere"));
}

static void corrupt_journal(void **state) {
    char said[8192], path[512];
    struct raw_peer client;
    (void)state;
    broker_start(&broker);
    raw_join(&client, broker.run, ROLE_CLIENT, 1);
    for (int i = 0; i < 20; i++)
        raw_submit(&client, "echo", STR("\x81\xa1n\x01"));
    raw_close(&client);
    broker_kill(&broker);
    snprintf(path, sizeof path, "%s/journal/000000000001.seg", broker.data);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    char bytes[4096]; /* of the first submissions */
    assert_int_equal(pread(fd, bytes, sizeof bytes, 2048), sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)~bytes[i];
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, 2048), sizeof bytes);
    close(fd);
    assert_int_equal(run_with(said, sizeof said, broker.data), 1);
    assert_non_null(strstr(said, "000000000001.seg"));
}

/* ---- how it is reached ----------------------------------------------------------------------- */
/* A path of any length will do: sockets are named within their folder (P-2). */
static void long_path(void **state) {
    struct raw_peer client;
    char deep[256], endpoint[64];
    (void)state;
    snprintf(deep, sizeof deep, "%s/%0100d", broker.root, 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    int root = open(deep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    snprintf(broker.data, sizeof broker.data, "/proc/%d/fd/%d/data", (int)getpid(), root);
    broker_start(&broker);
    int run = openat(root, "data/run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(run >= 0);
    snprintf(endpoint, sizeof endpoint, "ipc:///proc/self/fd/%d/client.sock", run);
    raw_connect(&client, endpoint, ROLE_CLIENT, 1, NULL);
    raw_hello(&client);
    raw_close(&client);
    close(run);
    close(root);
    broker_stop(&broker);
}

/* P-3: TCP where the settings say so. */
static void over_tcp(void **state) {
    struct raw_peer client;
    char log[8192] = "";
    (void)state;
    broker_write_config(&broker,
                        SMALL_JOURNAL ECHO "broker: {tcp_client: \"tcp://127.0.0.1:*\"}\n");
    broker_start(&broker);
    int fd = open(broker.log, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, log, sizeof log - 1) > 0);
    close(fd);
    char *endpoint = strstr(log, "tcp://127.0.0.1:");
    assert_non_null(endpoint);
    *strchr(endpoint, '"') = '\0';
    raw_connect(&client, endpoint, ROLE_CLIENT, 1, NULL);
    raw_hello(&client);
    raw_submit(&client, "echo", STR(""));
    raw_close(&client);
    broker_stop(&broker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_lives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(terminated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(second_broker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bounds_of_peers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reloaded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_usage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(open_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(corrupt_journal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(over_tcp, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

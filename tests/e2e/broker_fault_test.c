/* The real broker on a disk that is slow, full or broken. */
#include "common/os/clock.h"
#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define RELOAD_MS 20000

#define SMALL_JOURNAL                                                                              \
    "journal:\n"                                                                                   \
    "  segment_size: 4MiB\n"                                                                       \
    "  batch_bytes: 4MiB\n"
#define KINDS                                                                                      \
    "kinds:\n"                                                                                     \
    "  echo: {}\n"                                                                                 \
    "  idle: {}\n"                                                                                 \
    "  quick: {speculative: true}\n"                                                               \
    "  light: {durability: none}\n"

static struct broker broker;
static struct raw_peer client, worker;
static const struct uint_list nothing = {0};

static int set_up(void **state) {
    (void)state;
    broker_make(&broker, SMALL_JOURNAL KINDS);
    broker.preload = QUERN_FAIL_SYNC;
    broker_start(&broker);
    raw_open(&client, broker.run, ROLE_OPERATOR, 1);
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    raw_hello(&client);
    raw_hello_worker(&worker, 4, nothing);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    raw_close(&client);
    raw_close(&worker);
    broker_remove(&broker);
    return 0;
}

static void path_of(char out[256], const char *what) {
    snprintf(out, 256, "%s/sync.%s", broker.root, what);
}

static void disk_shall(const char *what) {
    char path[256];
    path_of(path, what);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void disk_no_longer(const char *what) {
    char path[256];
    path_of(path, what);
    assert_int_equal(unlink(path), 0);
}

static uint64_t ask_submit(const char *kind) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, str_of(kind));
    MSG_SET(&m, submit, watch, true);
    return raw_ask(&client, VERB_submit, &m, STR(""));
}

/* P-33: SUBMITTED does not leave before the job is on disk; nor is it dispatched, unless its kind
 * may run before: then nobody hears of its end (P-39, P-50) before that either. */
static void held_back(void **state) {
    (void)state;
    union msg_any m;
    disk_shall("hold");
    uint64_t sequence = ask_submit("echo");
    assert_false(raw_hears(&client, 150));
    assert_false(raw_hears(&worker, 50));
    disk_no_longer("hold");
    raw_expect(&client, VERB_submitted, sequence);
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_expect(&worker, VERB_result_ack, 0);
    raw_expect_finished(&client, d.job);
    disk_shall("hold");
    sequence = ask_submit("quick");
    d = raw_expect_dispatch(&worker, NULL);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    assert_false(raw_hears(&client, 150));
    assert_false(raw_hears(&worker, 50));
    disk_no_longer("hold");
    raw_expect(&client, VERB_submitted, sequence);
    raw_item(&client, &m);
    assert_int_equal(m.submitted.id, d.job);
    assert_int_equal(raw_expect_finished(&client, d.job).state, 6);
    raw_expect(&worker, VERB_result_ack, 0);
}

#define MANY 150000U

/* What one request makes the broker write is more than it takes while the disk keeps it waiting. */
static void purge_on_a_slow_disk(void **state) {
    (void)state;
    struct msg_submit m = {0};
    struct msg_queue_ref q = {0};
    union msg_any answer;
    MSG_SET(&m, submit, kind, STR("idle"));
    MSG_SET(&q, queue_ref, queue, STR("idle"));
    for (unsigned n = 0; n < MANY; n += 1000) {
        frame_begin(&client.out, VERB_submit, ++client.sequence);
        for (unsigned i = 0; i < 1000; i++)
            assert_int_equal(frame_add(&client.out, &m), 0);
        raw_send_out(&client);
        for (unsigned left = 1000; left; left -= client.in.items)
            raw_expect(&client, VERB_submitted, client.sequence);
    }
    disk_shall("hold");
    raw_ask(&client, VERB_purge_queue, &q, STR(""));
    assert_false(raw_hears(&client, 500));
    disk_no_longer("hold");
    raw_await(&client, VERB_outcome);
    raw_item(&client, &answer);
    assert_int_equal(answer.outcome.count, MANY);
    broker_stop(&broker);
}

/* P-38, P-49: nothing is accepted, results are not acknowledged, questions are answered; what was
 * acknowledged is there in the next life, and the kept result is taken then. */
static void write_fails(void **state) {
    (void)state;
    uint64_t job = raw_submit(&client, "echo", STR("\x80"));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    uint64_t waits = raw_submit(&client, "idle", STR("\x80"));
    disk_shall("fail");
    uint64_t sequence = ask_submit("echo");
    raw_expect_error(&client, sequence, ERR_UNKNOWN_OUTCOME); /* its bytes are written */
    sequence = ask_submit("echo");
    raw_expect_error(&client, sequence, ERR_READ_ONLY);
    assert_int_equal(raw_get_job(&client, waits).state, 2);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    assert_true(raw_get_status(&client).read_only);
    assert_false(raw_hears(&worker, 100));
    assert_true(broker_log_has(&broker, "\"event\":\"journal.read_only\""));
    disk_no_longer("fail");
    broker_kill(&broker);
    broker_start(&broker);
    raw_reconnect(&client, broker.run);
    raw_reconnect(&worker, broker.run);
    raw_hello(&client);
    uint64_t held[] = {d.job, d.fence};
    struct msg_hello hello = raw_hello_message(&worker);
    static const struct str kinds[] = {{"echo", 4}};
    MSG_SET(&hello, hello, kinds, ((struct str_list){kinds, 1}));
    MSG_SET(&hello, hello, slots, 4);
    MSG_SET(&hello, hello, unacked, ((struct uint_list){held, 2}));
    raw_hello_as(&worker, &hello);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_await(&worker, VERB_result_ack);
    assert_int_equal(raw_get_job(&client, job).state, 6);
    broker_stop(&broker);
}

/* A broker whose journal has failed still ends as it should. */
static void stop_after_failure(void **state) {
    (void)state;
    disk_shall("fail");
    uint64_t sequence = ask_submit("echo");
    raw_await(&client, VERB_error); /* its own record was the first that failed, or not */
    assert_int_equal(client.in.sequence, sequence);
    broker_signal(&broker, SIGTERM);
    raw_await(&client, VERB_bye);
    int status = broker_wait(&broker);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static uint64_t submit_large(void) {
    static char payload[512 << 10];
    struct msg_submit m = {0};
    union msg_any answer;
    MSG_SET(&m, submit, kind, STR("idle"));
    MSG_SET(&m, submit, size, sizeof payload);
    uint64_t n = raw_ask(&client, VERB_submit, &m, str_make(payload, sizeof payload));
    raw_expect(&client, VERB_submitted, n);
    raw_item(&client, &answer);
    return answer.submitted.code;
}

static void submit_until(enum err_code wanted) {
    struct mono until = mono_add(clock_mono(), RELOAD_MS);
    uint64_t code;
    while ((code = submit_large()) != wanted)
        if (mono_reached(clock_mono(), until))
            fail_msg("a submission is answered by %d, not %d", (int)code, (int)wanted);
}

/* P-38: with too little space submissions are refused, and what is there goes on to its end. */
static void disk_full(void **state) {
    (void)state;
    uint64_t job = raw_submit(&client, "echo", STR("\x80"));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    broker_stop(&broker);
    broker_write_config(&broker, SMALL_JOURNAL "  disk_min_free: 1024GiB\n" KINDS);
    broker_start(&broker);
    raw_reconnect(&client, broker.run);
    raw_reconnect(&worker, broker.run);
    raw_hello(&client);
    uint64_t held[] = {d.job, d.fence};
    raw_hello_worker(&worker, 4, (struct uint_list){held, 2});
    submit_until(ERR_DISK_FULL); /* then only the reserve is left */
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_await(&worker, VERB_result_ack);
    assert_int_equal(raw_get_job(&client, job).state, 6);
    broker_stop(&broker);
}

/* P-38: a journal that cannot make itself more files is as good as full. It is no failure of what
 * was written: results are taken, and all is well once it can again. */
static void spares_fail(void **state) {
    (void)state;
    uint64_t job = raw_submit(&client, "echo", STR("\x80"));
    struct msg_dispatch d = raw_expect_dispatch(&worker, NULL);
    disk_shall("fail_spares");
    submit_until(ERR_DISK_FULL);
    assert_false(raw_get_status(&client).read_only);
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_await(&worker, VERB_result_ack);
    assert_int_equal(raw_expect_finished(&client, job).state, 6);
    disk_no_longer("fail_spares");
    submit_until(ERR_OK);
    broker_stop(&broker);
}

/* The bound is felt, and lifted, without a restart. */
static void disk_bound_reloaded(void **state) {
    (void)state;
    assert_int_equal(submit_large(), ERR_OK);
    broker_write_config(&broker, SMALL_JOURNAL "  disk_min_free: 1024GiB\n" KINDS);
    broker_signal(&broker, SIGHUP);
    submit_until(ERR_DISK_FULL);
    broker_write_config(&broker, SMALL_JOURNAL "  disk_min_free: 0\n" KINDS);
    broker_signal(&broker, SIGHUP);
    submit_until(ERR_OK);
    broker_stop(&broker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(held_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(purge_on_a_slow_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stop_after_failure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(spares_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disk_bound_reloaded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disk_full, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

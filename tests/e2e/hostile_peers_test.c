/* Peers that lie, flood or are broken, while a normal client and a normal worker go on undisturbed
 * (P-68). */
#include "common/base/rng.h"
#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "tests/e2e/raw_peer.h"
#include "tests/e2e/worker_process.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define YAML                                                                                       \
    "broker: {heartbeat: 300ms, heartbeats_missed: 100}\n"                                         \
    "journal: {segment_size: 8MiB}\n"                                                              \
    "kinds: {echo: {}, quick: {}}\n"

struct scene {
    struct broker b;
    struct worker w;
    struct client *c;
    struct raw_peer bad;
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){0};
    broker_make(&s.b, YAML);
    broker_start(&s.b);
    s.c = worker_client(&s.b);
    *state = &s;
    return 0;
}

/* After all that a normal job runs, and its worker is still there. */
static void goes_on(struct scene *s) {
    if (!s->w.pid)
        worker_start(&s->w, &s->b, "--kinds echo", NULL);
    worker_await_end(s->c, worker_submit(s->c, "echo", "{\"n\": 1}"), JOB_done);
}

static int tear_down(void **state) {
    struct scene *s = *state;
    goes_on(s);
    raw_close(&s->bad);
    client_destroy(&s->c);
    worker_remove(&s->w);
    broker_stop(&s->b);
    broker_remove(&s->b);
    return 0;
}

/* ---- a worker that lies --------------------------------------------------------------------- */
static void report_of(struct raw_peer *p, enum verb verb, uint64_t job, uint64_t fence) {
    union msg_any m = {0};
    if (verb == VERB_result) {
        MSG_SET(&m.result, result, job, job);
        MSG_SET(&m.result, result, fence, fence);
        MSG_SET(&m.result, result, outcome, OUTCOME_DONE);
    } else {
        MSG_SET(&m.attempt_ref, attempt_ref, job, job);
        MSG_SET(&m.attempt_ref, attempt_ref, fence, fence);
    }
    raw_send(p, verb, 0, &m, STR(""));
}

/* P-44: more slots than any worker may have. P-51: reports of what it was never given have no
 * effect, and are counted. */
static void liar(void **state) {
    struct scene *s = *state;
    struct raw_peer *bad = &s->bad;
    static const struct str kinds[] = {{"quick", 5}};
    raw_open(bad, s->b.run, ROLE_WORKER, 2);
    struct msg_hello m = raw_hello_message(bad);
    MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 1}));
    MSG_SET(&m, hello, slots, 1);
    frame_begin(&bad->out, VERB_hello, ++bad->sequence);
    assert_int_equal(frame_add(&bad->out, &m), 0);
    char *slots = memmem(bad->out.body.at, bad->out.body.len, "\x0a\x01", 2);
    assert_non_null(slots);
    AUTO_BUF body = BUF(4096);
    buf_put_str(&body, str_make(bad->out.body.at, (size_t)(slots + 1 - bad->out.body.at)));
    msgpack_put_uint(&body, 1000000); /* for the 1 that was there */
    size_t rest = (size_t)(bad->out.body.at + bad->out.body.len - (slots + 2));
    buf_put_str(&body, str_make(slots + 2, rest));
    struct str hello[] = {buf_str(&bad->out.head), buf_str(&body)};
    raw_send_parts(bad, hello, 2);
    raw_expect_error(bad, bad->sequence, ERR_BAD_VALUE);
    raw_hello_as(bad, &m);
    uint64_t theirs = worker_submit(s->c, "echo", "{}"); /* waits: nobody runs echo yet */
    uint64_t own = worker_submit(s->c, "quick", "{}");
    struct msg_dispatch d = raw_expect_dispatch(bad, NULL);
    assert_int_equal(d.job, own);
    uint64_t stale = worker_status(s->c).stale_fences;
    for (uint64_t fence = d.fence - 1; fence <= d.fence + 1; fence++) {
        report_of(bad, VERB_result, theirs, fence);
        raw_expect(bad, VERB_lost, 0);
        report_of(bad, VERB_result, theirs + 1000, fence);
        raw_expect(bad, VERB_lost, 0);
    }
    report_of(bad, VERB_result, own, d.fence + 1);
    raw_expect(bad, VERB_lost, 0);
    report_of(bad, VERB_started, theirs, d.fence);
    raw_expect(bad, VERB_lost, 0);
    report_of(bad, VERB_returned, theirs + 1000, d.fence);
    report_of(bad, VERB_result, own, d.fence);
    raw_await(bad, VERB_result_ack);
    worker_await_state(s->c, theirs, JOB_ready);
    worker_await_state(s->c, own, JOB_done);
    assert_in_range(worker_status(s->c).stale_fences, stale + 8, stale + 9);
    goes_on(s);
    worker_await_end(s->c, theirs, JOB_done);
}

/* ---- one instance twice --------------------------------------------------------------------- */
/* P-22: the later connection has it; the earlier one is told, and gets nothing more. */
static void twins(void **state) {
    struct scene *s = *state;
    struct raw_peer twin;
    raw_open(&s->bad, s->b.run, ROLE_CLIENT, 2);
    raw_open(&twin, s->b.run, ROLE_CLIENT, 2);
    raw_hello(&s->bad);
    twin.sequence = s->bad.sequence;
    raw_hello(&twin);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("quick"));
    raw_expect_error(&s->bad, raw_ask(&s->bad, VERB_submit, &m, STR("")), ERR_NO_HELLO);
    struct msg_hello again = raw_hello_message(&s->bad);
    raw_expect_error(&s->bad, raw_ask(&s->bad, VERB_hello, &again, STR("")),
                     ERR_DUPLICATE_INSTANCE);
    raw_submit(&twin, "quick", STR(""));
    assert_false(raw_hears(&s->bad, 20));
    raw_close(&twin);
}

/* ---- verbs of others ------------------------------------------------------------------------ */
/* P-31 */
static void wrong_roles(void **state) {
    struct scene *s = *state;
    struct msg_queue_ref queue = {0};
    struct msg_get_status all = {0};
    MSG_SET(&queue, queue_ref, queue, STR("echo"));
    raw_open(&s->bad, s->b.run, ROLE_CLIENT, 2);
    raw_hello(&s->bad);
    raw_expect_error(&s->bad, raw_ask(&s->bad, VERB_pause_queue, &queue, STR("")), ERR_BAD_ROLE);
    raw_expect_error(&s->bad, raw_ask(&s->bad, VERB_purge_queue, &queue, STR("")), ERR_BAD_ROLE);
    raw_expect_error(&s->bad, raw_ask(&s->bad, VERB_list_workers, &all, STR("")), ERR_BAD_ROLE);
    struct msg_worker_died died = {0};
    MSG_SET(&died, worker_died, instance, STR("0123456789abcdef"));
    MSG_SET(&died, worker_died, crashed, false);
    raw_expect_error(&s->bad, raw_ask(&s->bad, VERB_worker_died, &died, STR("")), ERR_BAD_ROLE);
    report_of(&s->bad, VERB_result, 1, 1);
    raw_expect_error(&s->bad, 0, ERR_BAD_ROLE);
}

/* ---- much too much -------------------------------------------------------------------------- */
/* P-8: two frames of 3 MiB are a message over the bound, a frame of 5 MiB ends the connection. */
static void huge(void **state) {
    struct scene *s = *state;
    static char frame[5U << 20];
    uint64_t before = worker_status(s->c).malformed;
    raw_open(&s->bad, s->b.run, ROLE_CLIENT, 2);
    for (int where = 0; where < 3; where++) {
        struct str parts[3] = {STR("\x93\x01\x0a\x07"),
                               STR("\x91\x81\x01\xa4"
                                   "echo"),
                               STR("")};
        raw_hello(&s->bad);
        parts[where] = parts[(where + 1) % 3] = str_make(frame, 3U << 20);
        raw_send_parts(&s->bad, parts, 3);
        raw_expect(&s->bad, VERB_error, where == 1 ? 7 : 0);
        goes_on(s);
        parts[where] = str_make(frame, sizeof frame);
        raw_send_parts(&s->bad, parts, 3);
        goes_on(s);
        raw_reconnect(&s->bad, s->b.run);
    }
    raw_hello(&s->bad);
    assert_int_equal(worker_status(s->c).malformed, before + 3);
}

static int connect_plainly(const struct scene *s) {
    static const char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL";
    static const char ready[] = "\x04\x1c\5READY\xbSocket-Type\0\0\0\6"
                                "DEALER";
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char theirs[sizeof greeting];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%.90s/client.sock", s->b.run);
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), sizeof greeting);
    assert_int_equal(recv(fd, theirs, sizeof theirs, MSG_WAITALL), sizeof theirs);
    size_t size = sizeof ready - 1;
    assert_int_equal(send(fd, ready, size, MSG_NOSIGNAL), size);
    return fd;
}

/* How much of it was taken until the connection was closed. */
static size_t send_for_ever(int fd, struct str piece) {
    struct mono deadline = worker_deadline();
    size_t sent = 0;
    for (ssize_t n; (n = send(fd, piece.at, piece.len, MSG_NOSIGNAL)) >= 0; sent += (size_t)n)
        assert_false(mono_reached(clock_mono(), deadline));
    assert_true(errno == EPIPE || errno == ECONNRESET);
    close(fd);
    return sent;
}

/* P-8: a message without an end, of large frames, of empty ones, and with commands in between. */
static void endless(void **state) {
    struct scene *s = *state;
    static char large[9 + (1U << 20)] = "\x03\0\0\0\0\0\x10";
    static char small[65536];
    size_t room = 4U << 20; /* of the socket, and what is on its way */
    for (size_t i = 0; i < sizeof small; i += 2)
        small[i] = 1;
    assert_in_range(send_for_ever(connect_plainly(s), str_make(large, sizeof large)), 8U << 20,
                    (8U << 20) + room);
    goes_on(s);
    assert_in_range(send_for_ever(connect_plainly(s), str_make(small, sizeof small)), 1, room);
    for (size_t i = 0; i < sizeof small; i += 4)
        small[i] = 4;
    assert_in_range(send_for_ever(connect_plainly(s), str_make(small, sizeof small)), 1, room);
    broker_await_log(&s->b, "peer.endless");
}

/* Anything at all, as fast as it goes; answers are not read. */
static void garbage(void **state) {
    enum { MESSAGES = 20000, EVERY = 2000 };
    struct scene *s = *state;
    static char bytes[512];
    struct rng rng = rng_seed(7);
    uint64_t before = worker_status(s->c).malformed;
    raw_open(&s->bad, s->b.run, ROLE_WORKER, 2);
    goes_on(s);
    for (int n = 0; n < MESSAGES; n++) {
        struct str parts[4];
        size_t count = 1 + rng_below(&rng, 4);
        for (size_t i = 0; i < sizeof bytes; i += 4) {
            uint32_t word = rng_u32(&rng);
            memcpy(bytes + i, &word, sizeof word);
        }
        for (size_t i = 0; i < count; i++)
            parts[i] = str_make(bytes + 100 * i, rng_below(&rng, 100));
        raw_send_parts(&s->bad, parts, count);
        if (n % EVERY == 0)
            goes_on(s);
    }
    struct mono deadline = worker_deadline();
    while (worker_status(s->c).malformed < before + MESSAGES)
        assert_false(mono_reached(clock_mono(), deadline));
    assert_int_equal(worker_status(s->c).malformed, before + MESSAGES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(liar, set_up, tear_down),
        cmocka_unit_test_setup_teardown(twins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_roles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(huge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(endless, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

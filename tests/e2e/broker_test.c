/* The way of jobs through the real broker, seen from both ends of the wire. */
#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char settings[] = "broker:\n"
                               "  outstanding_max: 8\n"
                               "journal:\n"
                               "  segment_size: 4MiB\n"
                               "  batch_bytes: 4MiB\n"
                               "kinds:\n"
                               "  echo: {}\n"
                               "  quick:\n"
                               "    speculative: true\n"
                               "  light:\n"
                               "    durability: none\n";

static struct broker broker;

static int set_up(void **state) {
    (void)state;
    broker_make(&broker, settings);
    broker_start(&broker);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    broker_remove(&broker);
    return 0;
}

static struct raw_peer client, worker;
static const struct uint_list nothing = {0};

static void open_both(uint64_t slots) {
    raw_open(&client, broker.run, ROLE_CLIENT, 1);
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    raw_hello(&client);
    raw_hello_worker(&worker, slots, nothing);
}

static void close_both(void) {
    raw_close(&client);
    raw_close(&worker);
}

static void ack_of(const struct msg_dispatch *d) {
    union msg_any m;
    raw_expect(&worker, VERB_result_ack, 0);
    raw_item(&worker, &m);
    assert_int_equal(m.attempt_ref.job, d->job);
    assert_int_equal(m.attempt_ref.fence, d->fence);
}

/* P-26 an answer has its request's sequence, a notice 0; P-32, P-33 SUBMITTED has the id; P-46
 * DISPATCH; P-50 RESULT_ACK; P-39 FINISHED. */
static void one_job(void **state) {
    (void)state;
    struct str payload = STR("\x81\xa1n\x07"), got;
    open_both(1);
    uint64_t id = raw_submit(&client, "echo", payload);
    struct msg_dispatch d = raw_expect_dispatch(&worker, &got);
    assert_int_equal(d.job, id);
    assert_true(d.fence != 0);
    assert_int_equal(d.attempt, 1);
    assert_true(str_eq(d.kind, STR("echo")) && str_eq(d.tenant, STR("default")));
    assert_true(str_eq(got, payload));
    raw_report(&worker, &d, OUTCOME_DONE, STR("\x81\xa1r\x01"));
    ack_of(&d);
    union msg_any m;
    raw_expect(&client, VERB_finished, 0);
    struct frame_item item = raw_item(&client, &m);
    assert_int_equal(m.finished.id, id);
    assert_int_equal(m.finished.state, 6);
    assert_true(str_eq(item.payload, STR("\x81\xa1r\x01")));
    /* P-50: what is reported again is acknowledged again, and changes nothing. */
    raw_report(&worker, &d, OUTCOME_FAILED, STR(""));
    ack_of(&d);
    assert_int_equal(raw_get_job(&client, id).state, 6);
    /* P-51: any other fence is refused. */
    d.fence++;
    raw_report(&worker, &d, OUTCOME_DONE, STR(""));
    raw_expect(&worker, VERB_lost, 0);
    close_both();
}

/* P-33: a kind that may run before its submission is on disk, and one that never is. */
static void quick_and_light(void **state) {
    (void)state;
    static const char *const kinds[] = {"quick", "light"};
    open_both(4);
    struct str names[] = {STR("light")};
    struct msg_hello hello = raw_hello_message(&worker);
    MSG_SET(&hello, hello, kinds, ((struct str_list){names, 1}));
    MSG_SET(&hello, hello, slots, 1);
    struct raw_peer other;
    raw_open(&other, broker.run, ROLE_WORKER, 3);
    hello.instance = str_make(other.instance, 16);
    raw_hello_as(&other, &hello);
    for (int i = 0; i < 2; i++) {
        struct raw_peer *w = i ? &other : &worker;
        uint64_t id = raw_submit(&client, kinds[i], STR("\x80"));
        struct msg_dispatch d = raw_expect_dispatch(w, NULL);
        assert_int_equal(d.job, id);
        raw_report(w, &d, OUTCOME_DONE, STR(""));
        raw_expect(w, VERB_result_ack, 0);
        assert_int_equal(raw_expect_finished(&client, id).state, 6);
    }
    raw_close(&other);
    close_both();
}

/* P-27 one answer of as many items; P-6, P-8 many jobs share messages in both directions. */
static void many_at_once(void **state) {
    (void)state;
    static uint64_t ids[256], fences[256];
    open_both(256);
    struct msg_submit s = {0};
    MSG_SET(&s, submit, kind, STR("echo"));
    MSG_SET(&s, submit, watch, true);
    frame_begin(&client.out, VERB_submit, ++client.sequence);
    for (int i = 0; i < 256; i++)
        assert_int_equal(frame_add(&client.out, &s), 0);
    raw_send_out(&client);
    raw_expect(&client, VERB_submitted, client.sequence);
    assert_int_equal(client.in.items, 256);
    union msg_any m;
    for (int i = 0; i < 256; i++) {
        raw_item(&client, &m);
        assert_int_equal(m.submitted.code, 0);
        ids[i] = m.submitted.id;
        assert_true(i == 0 || ids[i] > ids[i - 1]);
    }
    for (unsigned n = 0; n < 256;) {
        raw_expect(&worker, VERB_dispatch, 0);
        for (unsigned in_this = worker.in.items; in_this; in_this--, n++) {
            raw_item(&worker, &m);
            assert_int_equal(m.dispatch.job, ids[n]); /* in order of submission */
            fences[n] = m.dispatch.fence;
        }
    }
    frame_begin(&worker.out, VERB_result, 0);
    for (int i = 0; i < 256; i++) {
        struct msg_result r = {0};
        MSG_SET(&r, result, job, ids[i]);
        MSG_SET(&r, result, fence, fences[i]);
        MSG_SET(&r, result, outcome, OUTCOME_DONE);
        assert_int_equal(frame_add(&worker.out, &r), 0);
    }
    raw_send_out(&worker);
    for (unsigned acks = 0; acks < 256; acks += worker.in.items)
        raw_expect(&worker, VERB_result_ack, 0);
    for (unsigned ends = 0; ends < 256; ends += client.in.items)
        raw_expect(&client, VERB_finished, 0);
    close_both();
}

/* P-10: an item that is refused does not keep the others from being done. */
static void one_bad_item(void **state) {
    (void)state;
    static const struct str kinds[] = {{"echo", 4}, {"unknown", 7}, {"echo", 4}};
    raw_join(&client, broker.run, ROLE_CLIENT, 1);
    frame_begin(&client.out, VERB_submit, ++client.sequence);
    for (int i = 0; i < 3; i++) {
        struct msg_submit s = {0};
        MSG_SET(&s, submit, kind, kinds[i]);
        MSG_SET(&s, submit, size, (uint64_t)(i + 1));
        assert_int_equal(
            frame_add_payload(&client.out, &s, str_make("\x80\xc0\xc0", (size_t)i + 1), STR("")),
            0);
    }
    raw_send_out(&client);
    raw_expect(&client, VERB_submitted, client.sequence);
    assert_int_equal(client.in.items, 3);
    union msg_any m;
    for (int i = 0; i < 3; i++) {
        raw_item(&client, &m);
        assert_int_equal(m.submitted.code, i == 1 ? ERR_UNKNOWN_KIND : 0);
    }
    raw_close(&client);
}

/* P-28 a repeated request has the answer of the first; P-29 old sequences are refused. */
static void repetition(void **state) {
    (void)state;
    raw_join(&client, broker.run, ROLE_CLIENT, 1);
    struct msg_submit s = {0};
    union msg_any m;
    MSG_SET(&s, submit, kind, STR("echo"));
    uint64_t sequence = raw_ask(&client, VERB_submit, &s, STR(""));
    raw_send(&client, VERB_submit, sequence, &s, STR("")); /* both may come in one turn */
    uint64_t id = 0;
    for (int i = 0; i < 3; i++) {
        raw_expect(&client, VERB_submitted, sequence);
        assert_int_equal(client.in.items, 1);
        raw_item(&client, &m);
        assert_int_equal(m.submitted.code, 0);
        assert_true(i == 0 || m.submitted.id == id);
        id = m.submitted.id;
        if (i == 1) {
            raw_reconnect(&client, broker.run); /* P-30: also after a new HELLO */
            raw_hello(&client);
            raw_send(&client, VERB_submit, sequence, &s, STR(""));
        }
    }
    raw_send(&client, VERB_submit, sequence + 20, &s, STR(""));
    raw_expect(&client, VERB_submitted, sequence + 20);
    raw_send(&client, VERB_submit, sequence + 1, &s, STR(""));
    raw_expect_error(&client, sequence + 1, ERR_OLD_SEQUENCE);
    raw_close(&client);
}

/* P-26: a listing ends with a message without items, a list of jobs with an item without id. */
static void listings(void **state) {
    (void)state;
    struct raw_peer operator;
    struct msg_get_status all = {0};
    union msg_any m;
    raw_join(&operator, broker.run, ROLE_OPERATOR, 4);
    uint64_t sequence = raw_ask(&operator, VERB_list_workers, &all, STR(""));
    raw_expect(&operator, VERB_worker_info, sequence);
    assert_int_equal(operator.in.items, 0);
    raw_submit(&operator, "echo", STR(""));
    raw_submit(&operator, "echo", STR(""));
    sequence = raw_ask(&operator, VERB_list_queues, &all, STR(""));
    raw_expect(&operator, VERB_queue_info, sequence);
    assert_int_equal(operator.in.items, 1);
    raw_item(&operator, & m);
    assert_true(str_eq(m.queue_info.name, STR("echo")));
    assert_int_equal(m.queue_info.ready, 2);
    raw_expect(&operator, VERB_queue_info, sequence);
    assert_int_equal(operator.in.items, 0);
    struct msg_list_jobs list = {0};
    raw_expect(&operator, VERB_job_info, raw_ask(&operator, VERB_list_jobs, &list, STR("")));
    assert_int_equal(operator.in.items, 3);
    for (int i = 0; i < 3; i++)
        raw_item(&operator, & m);
    assert_int_equal(m.job_info.id, 0);
    sequence = raw_ask(&operator, VERB_get_status, &all, STR(""));
    raw_expect(&operator, VERB_status_info, sequence);
    raw_item(&operator, & m);
    assert_int_equal(m.status_info.ready, 2);
    assert_int_equal(m.status_info.epoch, operator.epoch);
    assert_true(m.status_info.journal_bytes > 0 && m.status_info.rss_bytes > 0);
    raw_close(&operator);
}

/* P-40 cancel before it runs; P-42 what was never given is NOT_FOUND; P-65 a pause holds. */
static void cancel_and_pause(void **state) {
    (void)state;
    struct raw_peer operator;
    union msg_any m;
    raw_join(&operator, broker.run, ROLE_OPERATOR, 4);
    uint64_t first = raw_submit(&operator, "echo", STR(""));
    struct msg_cancel_job cancel = {0};
    MSG_SET(&cancel, cancel_job, id, first);
    raw_expect(&operator, VERB_outcome, raw_ask(&operator, VERB_cancel_job, &cancel, STR("")));
    raw_item(&operator, & m);
    assert_int_equal(m.outcome.code, 0);
    assert_int_equal(raw_expect_finished(&operator, first).state, 8);
    assert_int_equal(raw_get_job(&operator, first + 1000).code, ERR_NOT_FOUND);
    struct msg_queue_ref queue = {0};
    MSG_SET(&queue, queue_ref, queue, STR("echo"));
    raw_expect(&operator, VERB_outcome, raw_ask(&operator, VERB_pause_queue, &queue, STR("")));
    uint64_t second = raw_submit(&operator, "echo", STR(""));
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    raw_hello_worker(&worker, 1, nothing);
    assert_false(raw_hears(&worker, 100));
    raw_expect(&operator, VERB_outcome, raw_ask(&operator, VERB_resume_queue, &queue, STR("")));
    assert_int_equal(raw_expect_dispatch(&worker, NULL).job, second);
    raw_close(&worker);
    raw_close(&operator);
}

/* Payloads as large as they may be, in and out and out of the journal. */
static void large_payload(void **state) {
    (void)state;
    static char payload[1 << 20];
    memset(payload, 'x', sizeof payload);
    open_both(1);
    struct str whole = str_make(payload, sizeof payload), got;
    uint64_t id = raw_submit(&client, "echo", whole);
    struct msg_dispatch d = raw_expect_dispatch(&worker, &got);
    assert_true(str_eq(got, whole));
    raw_report(&worker, &d, OUTCOME_DONE, str_make(payload, 64 << 10));
    assert_int_equal(raw_expect_finished(&client, id).state, 6);
    struct msg_get_job m = {0};
    union msg_any info;
    MSG_SET(&m, get_job, id, id);
    MSG_SET(&m, get_job, payload, true);
    raw_expect(&client, VERB_job_info, raw_ask(&client, VERB_get_job, &m, STR("")));
    struct frame_item item = raw_item(&client, &info);
    assert_true(str_eq(item.payload, whole));
    assert_int_equal(item.result.len, 64 << 10);
    close_both();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quick_and_light, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_bad_item, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repetition, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancel_and_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_payload, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

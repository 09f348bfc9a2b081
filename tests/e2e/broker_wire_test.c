/* What peers may not say, said to the real broker: each is refused by name, and it goes on. */
#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const char settings[] = "broker:\n"
                               "  batch_items_max: 16\n"
                               "  batch_bytes_max: 64KiB\n"
                               "  body_max: 16KiB\n"
                               "  result_max: 16KiB\n"
                               "  heartbeat: 100ms\n"
                               "journal:\n"
                               "  segment_size: 4MiB\n"
                               "  batch_bytes: 4MiB\n"
                               "kinds:\n"
                               "  echo: {}\n";

static struct broker broker;

static int set_up(void **state) {
    (void)state;
    broker_make(&broker, settings);
    broker_start(&broker);
    return 0;
}

/* P-68: after all that it serves, and stops as it should. */
static int tear_down(void **state) {
    struct raw_peer peer;
    (void)state;
    raw_join(&peer, broker.run, ROLE_CLIENT, 99);
    raw_submit(&peer, "echo", STR(""));
    raw_close(&peer);
    broker_stop(&broker);
    broker_remove(&broker);
    return 0;
}

#define BYTES(literal) ((struct str){("" literal), sizeof(literal) - 1})

struct bad {
    const char *what;
    struct str parts[4];
    size_t n;
    uint64_t sequence;
    enum err_code code;
};

#define HEAD BYTES("\x93\x01\x0a\x07") /* SUBMIT, sequence 7 */
#define ITEM                                                                                       \
    BYTES("\x91\x81\x01\xa4"                                                                       \
          "echo") /* one item: kind = "echo" */

static const struct bad bads[] = {
    /* P-5: the head. */
    {"head is empty", {{"", 0}, ITEM}, 2, 0, ERR_MALFORMED},
    {"head is no list", {BYTES("\x01"), ITEM}, 2, 0, ERR_MALFORMED},
    {"head has two numbers", {BYTES("\x92\x01\x0a"), ITEM}, 2, 0, ERR_MALFORMED},
    {"head has bytes behind it", {BYTES("\x93\x01\x0a\x07\x00"), ITEM}, 2, 7, ERR_MALFORMED},
    {"head has text", {BYTES("\x93\x01\xa1x\x07"), ITEM}, 2, 0, ERR_MALFORMED},
    {"head ends early", {BYTES("\x93\x01\x0a\xcf\x00"), ITEM}, 2, 0, ERR_MALFORMED},
    {"version 2", {BYTES("\x93\x02\x0a\x07"), ITEM}, 2, 7, ERR_BAD_VERSION},
    {"unknown verb", {BYTES("\x93\x01\x6f\x07"), ITEM}, 2, 7, ERR_UNKNOWN_VERB},
    {"verb 0", {BYTES("\x93\x01\x00\x07"), ITEM}, 2, 7, ERR_UNKNOWN_VERB},
    /* P-6: the body. */
    {"body is empty", {HEAD, {"", 0}}, 2, 7, ERR_MALFORMED},
    {"body is no list", {HEAD, BYTES("\x80")}, 2, 7, ERR_MALFORMED},
    {"no item", {HEAD, BYTES("\x90")}, 2, 7, ERR_MALFORMED},
    {"bytes behind the list", {HEAD, BYTES("\x91\x81\x01\xa1x\x00")}, 2, 7, ERR_MALFORMED},
    {"two items where one must be",
     {BYTES("\x93\x01\x0c\x07"), BYTES("\x92\x81\x01\x05\x81\x01\x05")},
     2,
     7,
     ERR_TOO_LARGE},
    /* P-7: sizes. */
    {"payload beyond frame 2",
     {HEAD, BYTES("\x91\x82\x01\xa1x\x02\x05"), BYTES("abcd")},
     3,
     7,
     ERR_MALFORMED},
    {"bytes that belong to no item", {HEAD, ITEM, BYTES("abcd")}, 3, 7, ERR_MALFORMED},
    {"size given twice",
     {HEAD, BYTES("\x91\x83\x01\xa1x\x02\x01\x02\x01"), BYTES("a")},
     3,
     7,
     ERR_MALFORMED},
    {"size is no number",
     {HEAD, BYTES("\x91\x82\x01\xa1x\x02\xa1x"), BYTES("a")},
     3,
     7,
     ERR_MALFORMED},
    /* P-8, P-9: bounds, the ones that WELCOME told. */
    {"17 items",
     {HEAD, BYTES("\xdc\x00\x11\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"
                  "\x80\x80\x80")},
     2,
     7,
     ERR_TOO_LARGE},
    /* P-15: counts that nothing stands behind, c1, nesting. */
    {"a list of 4 billion", {HEAD, BYTES("\xdd\xff\xff\xff\xff")}, 2, 7, ERR_MALFORMED},
    {"a map of 4 billion", {HEAD, BYTES("\x91\xdf\xff\xff\xff\xff")}, 2, 7, ERR_MALFORMED},
    {"text of 4 GiB", {HEAD, BYTES("\x91\x81\x01\xdb\xff\xff\xff\xff")}, 2, 7, ERR_MALFORMED},
    {"byte c1", {HEAD, BYTES("\x91\x81\x01\xc1")}, 2, 7, ERR_MALFORMED},
    {"nested too deep",
     {HEAD, BYTES("\x91\x81\x01\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91"
                  "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x00")},
     2,
     7,
     ERR_MALFORMED},
    /* A message has two or three frames. */
    {"one frame", {HEAD}, 1, 0, ERR_MALFORMED},
    {"four frames", {HEAD, ITEM, {"", 0}, {"", 0}}, 4, 0, ERR_MALFORMED},
    {"an empty frame in front", {{"", 0}, HEAD, ITEM}, 3, 0, ERR_MALFORMED},
    /* P-31: verbs that are not the client's. */
    {"DISPATCH", {BYTES("\x93\x01\x33\x07"), ITEM}, 2, 7, ERR_BAD_ROLE},
    {"LIST_WORKERS", {BYTES("\x93\x01\x22\x07"), BYTES("\x91\x80")}, 2, 7, ERR_BAD_ROLE},
};

static void malformed(void **state) {
    struct raw_peer peer;
    (void)state;
    raw_join(&peer, broker.run, ROLE_CLIENT, 1);
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        const struct bad *b = &bads[i];
        union msg_any m;
        raw_send_parts(&peer, b->parts, b->n);
        raw_expect(&peer, VERB_error, b->sequence);
        raw_item(&peer, &m);
        if (m.error.code != (uint64_t)b->code || !m.error.text.len)
            fail_msg("%s: %d '" STR_FMT "'", b->what, (int)m.error.code, STR_ARG(m.error.text));
    }
    assert_int_equal(raw_get_status(&peer).malformed, sizeof bads / sizeof *bads);
    raw_close(&peer);
}

/* P-8: 64 KiB are agreed; P-14: the payload's own bound is told by the item. */
static void too_large(void **state) {
    static char payload[80 << 10];
    struct raw_peer peer;
    union msg_any m;
    (void)state;
    raw_open(&peer, broker.run, ROLE_CLIENT, 1);
    struct msg_welcome terms = raw_hello(&peer);
    assert_int_equal(terms.bytes_max, 64 << 10);
    assert_int_equal(terms.items_max, 16);
    struct msg_submit s = {0};
    MSG_SET(&s, submit, kind, STR("echo"));
    MSG_SET(&s, submit, size, sizeof payload);
    uint64_t sequence = raw_ask(&peer, VERB_submit, &s, str_make(payload, sizeof payload));
    raw_expect_error(&peer, sequence, ERR_TOO_LARGE);
    MSG_SET(&s, submit, size, 20 << 10);
    sequence = raw_ask(&peer, VERB_submit, &s, str_make(payload, 20 << 10));
    raw_expect(&peer, VERB_submitted, sequence);
    raw_item(&peer, &m);
    assert_int_equal(m.submitted.code, ERR_TOO_LARGE);
    raw_close(&peer);
}

/* P-11, P-12, P-13, P-14: envelopes; each costs its own item only. */
static void bad_items(void **state) {
    static const struct {
        struct str item;
        enum err_code code;
    } items[] = {
        {BYTES("\x82\x01\xa4"
               "echo\x01\xa4"
               "echo"),
         ERR_MALFORMED},                    /* kind twice */
        {BYTES("\x80"), ERR_MISSING_FIELD}, /* no kind */
        {BYTES("\x82\x01\xa4"
               "echo\x3f\x00"),
         ERR_UNKNOWN_FIELD}, /* field 63 */
        {BYTES("\x82\x01\xa4"
               "echo\x05\x0a"),
         ERR_BAD_VALUE}, /* priority 10 */
        {BYTES("\x82\x01\xa4"
               "echo\x05\xff"),
         ERR_BAD_VALUE}, /* priority -1 */
        {BYTES("\x82\x01\xa4"
               "echo\x05\xca\x00\x00\x00\x00"),
         ERR_BAD_VALUE}, /* a float */
        {BYTES("\x82\x01\xa4"
               "echo\x05\xc0"),
         ERR_BAD_VALUE}, /* nil */
        {BYTES("\x81\x01\xa3"
               "-ab"),
         ERR_BAD_VALUE}, /* not a name */
        {BYTES("\x82\x01\xa4"
               "echo\x06\xa2\xff\xfe"),
         ERR_BAD_VALUE},                /* not UTF-8 */
        {BYTES("\x01"), ERR_MALFORMED}, /* no map */
        {BYTES("\x82\x01\xa4"
               "echo\x04\xa5"
               "other"),
         ERR_BAD_ROLE}, /* P-37: a tenant */
        {BYTES("\x82\x01\xa4"
               "echo\x05\x09"),
         ERR_BAD_ROLE}, /* P-37: priority 9 */
        {BYTES("\x81\x01\xa4"
               "echo"),
         ERR_OK},
        {BYTES("\x81\x01\xc4\x04"
               "echo"),
         ERR_OK}, /* bin for str */
        {BYTES("\x82\x01\xa4"
               "echo\x05\xd3\x00\x00\x00\x00\x00\x00\x00\x01"),
         ERR_OK},
    };
    AUTO_BUF body = BUF(4096);
    struct raw_peer peer;
    union msg_any m;
    (void)state;
    raw_join(&peer, broker.run, ROLE_CLIENT, 1);
    size_t n = sizeof items / sizeof *items;
    msgpack_put_list(&body, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        buf_put_str(&body, items[i].item);
    struct str parts[] = {HEAD, buf_str(&body)};
    raw_send_parts(&peer, parts, 2);
    raw_expect(&peer, VERB_submitted, 7);
    assert_int_equal(peer.in.items, n);
    for (size_t i = 0; i < n; i++) {
        raw_item(&peer, &m);
        if (m.submitted.code != (uint64_t)items[i].code)
            fail_msg("item %zu: %d '" STR_FMT "'", i, (int)m.submitted.code,
                     STR_ARG(m.submitted.text));
    }
    raw_close(&peer);
}

/* P-18: first HELLO. P-19: in the endpoint's role. P-20: a common version. P-4: one instance. */
static void hellos(void **state) {
    struct raw_peer peer;
    (void)state;
    raw_open(&peer, broker.run, ROLE_CLIENT, 1);
    struct msg_submit s = {0};
    MSG_SET(&s, submit, kind, STR("echo"));
    raw_expect_error(&peer, raw_ask(&peer, VERB_submit, &s, STR("")), ERR_NO_HELLO);
    struct msg_hello m = raw_hello_message(&peer);
    m.role = ROLE_WORKER;
    raw_expect_error(&peer, raw_ask(&peer, VERB_hello, &m, STR("")), ERR_BAD_ROLE);
    m.role = ROLE_CLIENT;
    m.version_min = m.version_max = 2;
    raw_expect_error(&peer, raw_ask(&peer, VERB_hello, &m, STR("")), ERR_BAD_VERSION);
    m.version_min = m.version_max = 1;
    assert_int_equal(raw_hello_as(&peer, &m).version, 1);
    m.instance = STR("another instance");
    raw_expect_error(&peer, raw_ask(&peer, VERB_hello, &m, STR("")), ERR_DUPLICATE_INSTANCE);
    raw_close(&peer);
    raw_open(&peer, broker.run, ROLE_WORKER, 1);
    m = raw_hello_message(&peer); /* P-44: a worker names kinds and slots */
    raw_expect_error(&peer, raw_ask(&peer, VERB_hello, &m, STR("")), ERR_MISSING_FIELD);
    raw_close(&peer);
}

/* P-21: a peer of a higher minor version may say what we do not know yet. */
static void lenient(void **state) {
    struct raw_peer peer;
    AUTO_BUF body = BUF(4096);
    (void)state;
    raw_open(&peer, broker.run, ROLE_CLIENT, 1);
    for (uint64_t highest = 1; highest <= 2; highest++) {
        buf_clear(&body);
        buf_put_str(&body, BYTES("\x91\x85\x01\x01\x02"));
        msgpack_put_uint(&body, highest);
        buf_put_str(&body, BYTES("\x03\x01\x04\xc4\x10"
                                 "0123456789abcdef"
                                 "\x3f\xa3"
                                 "new"));
        struct str hello[] = {highest == 1 ? BYTES("\x93\x01\x01\x01") : BYTES("\x93\x01\x01\x02"),
                              buf_str(&body)};
        raw_send_parts(&peer, hello, 2);
        if (highest == 1)
            raw_expect_error(&peer, 1, ERR_UNKNOWN_FIELD);
        else
            raw_expect(&peer, VERB_welcome, 2);
    }
    struct str submit[] = {HEAD, BYTES("\x91\x82\x01\xa4"
                                       "echo"
                                       "\x3f\xa3"
                                       "new")};
    union msg_any m;
    raw_send_parts(&peer, submit, 2);
    raw_expect(&peer, VERB_submitted, 7);
    raw_item(&peer, &m);
    assert_int_equal(m.submitted.code, 0);
    raw_close(&peer);
}

/* P-23, P-24: heartbeats are answered, one of another epoch by NO_HELLO. */
static void heartbeats(void **state) {
    struct raw_peer peer;
    (void)state;
    raw_join(&peer, broker.run, ROLE_CLIENT, 1);
    struct msg_heartbeat m = {0};
    MSG_SET(&m, heartbeat, epoch, peer.epoch);
    raw_send(&peer, VERB_heartbeat, 0, &m, STR(""));
    zmq_pollitem_t item = {.socket = peer.socket, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, PEER_DEADLINE_MS), 1);
    assert_false(raw_hears(&peer, 50)); /* it was a HEARTBEAT */
    m.epoch++;
    raw_send(&peer, VERB_heartbeat, 0, &m, STR(""));
    raw_expect_error(&peer, 0, ERR_NO_HELLO);
    raw_close(&peer);
}

/* P-8, P-27: what does not fit one message goes into several, in order. */
static void split_answer(void **state) {
    struct raw_peer peer;
    union msg_any m;
    (void)state;
    raw_join(&peer, broker.run, ROLE_CLIENT, 1);
    for (int i = 0; i < 40; i++)
        raw_submit(&peer, "echo", STR(""));
    struct msg_list_jobs list = {0};
    uint64_t sequence = raw_ask(&peer, VERB_list_jobs, &list, STR("")), last = UINT64_MAX;
    unsigned items = 0, messages = 0;
    for (bool end = false; !end; messages++) {
        raw_expect(&peer, VERB_job_info, sequence);
        assert_in_range(peer.in.items, 1, 16);
        for (unsigned n = peer.in.items; n; n--, items++) {
            assert_false(end);
            raw_item(&peer, &m);
            end = m.job_info.id == 0;
            assert_true(end || m.job_info.id < last);
            last = m.job_info.id;
        }
    }
    assert_int_equal(items, 41);
    assert_int_equal(messages, 3);
    raw_close(&peer);
}

/* P-68: a peer that asks and never reads loses answers; nobody else notices. */
static void deaf_peer(void **state) {
    struct raw_peer deaf, other;
    struct msg_get_status all = {0};
    int few = 16;
    (void)state;
    raw_join(&deaf, broker.run, ROLE_CLIENT, 1);
    zmq_setsockopt(deaf.socket, ZMQ_RCVHWM, &few, sizeof few);
    raw_join(&other, broker.run, ROLE_CLIENT, 2);
    for (int i = 0; i < 30000; i++)
        raw_ask(&deaf, VERB_get_status, &all, STR(""));
    broker_await_log(&broker, "\"event\":\"letters.dropped\"");
    raw_submit(&other, "echo", STR(""));
    raw_close(&other);
    raw_close(&deaf);
}

/* P-4: a routing id of one's own outlives a connection. */
static void own_routing_id(void **state) {
    struct raw_peer peer;
    char endpoint[160];
    (void)state;
    snprintf(endpoint, sizeof endpoint, "ipc://%s/client.sock", broker.run);
    raw_connect(&peer, endpoint, ROLE_CLIENT, 1, "me");
    struct msg_hello m = raw_hello_message(&peer);
    raw_ask(&peer, VERB_hello, &m, STR(""));
    raw_expect_error(&peer, 0, ERR_BAD_VALUE);
    raw_close(&peer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(malformed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_large, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_items, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hellos, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lenient, set_up, tear_down),
        cmocka_unit_test_setup_teardown(heartbeats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(own_routing_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(split_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deaf_peer, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

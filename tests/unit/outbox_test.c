/* When letters leave, in which messages, in which order; and loads that have to wait. */
#include "broker/effects.h"
#include "broker/outbox.h"
#include "tests/e2e/raw_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define ITEMS_MAX 8U
#define BYTES_MAX (64U << 10)

static char folder[64];
static struct peers *peers;
static struct outbox *outbox;
static struct raw_peer peer;
static uint64_t peer_link;

static int set_up(void **state) {
    (void)state;
    struct peers_options options = {.bytes_max = FRAME_BYTES_MAX, .linger_ms = 0};
    struct err e = {0};
    snprintf(folder, sizeof folder, "/tmp/quern-outbox-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(peers_open(&peers, &options, &e), 0);
    outbox = outbox_new(peers, ITEMS_MAX, BYTES_MAX);
    raw_open(&peer, folder, ROLE_CLIENT, 1);
    struct msg_hello m = raw_hello_message(&peer);
    raw_ask(&peer, VERB_hello, &m, STR(""));
    zmq_pollitem_t item = {.socket = peers_socket(peers, ROLE_CLIENT), .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, PEER_DEADLINE_MS), 1);
    struct parcel in;
    assert_true(peers_take(peers, ROLE_CLIENT, &in));
    peer_link = in.link;
    assert_int_equal(peers_role(peer_link), ROLE_CLIENT);
    parcel_done(&in);
    return 0;
}

static int tear_down(void **state) {
    static const char *const files[] = {"client.sock", "worker.sock", "gateway.sock",
                                        "operator.sock"};
    (void)state;
    raw_close(&peer);
    outbox_destroy(&outbox);
    peers_close(&peers);
    for (size_t i = 0; i < 4; i++)
        unlink(files[i]);
    assert_int_equal(chdir("/"), 0);
    rmdir(folder);
    return 0;
}

/* ---- letters -------------------------------------------------------------------------------- */
static void put(enum verb verb, uint64_t sequence, uint64_t id, uint64_t after) {
    struct letter l = {.link = peer_link, .verb = verb, .sequence = sequence, .after = after};
    struct msg_submitted submitted = {0};
    struct msg_finished finished = {0};
    MSG_SET(&submitted, submitted, code, 0);
    MSG_SET(&submitted, submitted, id, id);
    MSG_SET(&finished, finished, id, id);
    MSG_SET(&finished, finished, state, 6);
    l.message = verb == VERB_submitted ? (const void *)&submitted : &finished;
    outbox_put(outbox, &l);
}

static void expect(enum verb verb, uint64_t sequence, uint64_t first, uint32_t items) {
    union msg_any m;
    raw_expect(&peer, verb, sequence);
    assert_int_equal(peer.in.items, items);
    for (uint32_t n = 0; n < items; n++) {
        raw_item(&peer, &m);
        assert_int_equal(verb == VERB_submitted ? m.submitted.id : m.finished.id, first + n);
    }
}

/* One message for the answers of one request, for all notices of one verb. */
static void together(void **state) {
    (void)state;
    for (uint64_t id = 1; id <= 3; id++) {
        put(VERB_finished, 0, id + 100, 0);
        put(VERB_submitted, 5, id, 0);
    }
    outbox_flush(outbox);
    expect(VERB_submitted, 5, 1, 3); /* answers leave first */
    expect(VERB_finished, 0, 101, 3);
    assert_false(raw_hears(&peer, 20));
}

static void repeated(void **state) {
    (void)state;
    put(VERB_submitted, 5, 1, 0);
    outbox_cut(outbox);
    put(VERB_submitted, 5, 1, 0);
    outbox_flush(outbox);
    expect(VERB_submitted, 5, 1, 1);
    expect(VERB_submitted, 5, 1, 1);
}

static void several(void **state) {
    (void)state;
    for (uint64_t id = 1; id <= ITEMS_MAX + 2; id++) {
        put(VERB_submitted, 5, id, id == 1 ? 7 : 0); /* the rest must not overtake the first */
        put(VERB_finished, 0, id, 0);
    }
    outbox_flush(outbox);
    expect(VERB_finished, 0, 1, ITEMS_MAX);
    expect(VERB_finished, 0, ITEMS_MAX + 1, 2);
    assert_int_equal(outbox_held(outbox), 2);
    outbox_durable(outbox, 8);
    expect(VERB_submitted, 5, 1, ITEMS_MAX);
    expect(VERB_submitted, 5, ITEMS_MAX + 1, 2);
    assert_int_equal(outbox_held(outbox), 0);
}

/* A message leaves when the last of what it speaks of is durable, and not before. */
static void held(void **state) {
    (void)state;
    put(VERB_submitted, 5, 1, 10);
    put(VERB_submitted, 5, 2, 30);
    put(VERB_submitted, 5, 3, 20);
    put(VERB_finished, 0, 50, 0);
    put(VERB_finished, 0, 60, 30);
    outbox_flush(outbox);
    expect(VERB_finished, 0, 50, 1);
    outbox_durable(outbox, 30); /* what is before 30, not at it */
    assert_false(raw_hears(&peer, 20));
    outbox_durable(outbox, 31);
    expect(VERB_submitted, 5, 1, 3);
    expect(VERB_finished, 0, 60, 1);
    put(VERB_submitted, 6, 4, 30); /* durable already */
    outbox_flush(outbox);
    expect(VERB_submitted, 6, 4, 1);
}

static void list_end(void **state) {
    (void)state;
    struct letter end = {.link = peer_link, .verb = VERB_queue_info, .sequence = 9};
    outbox_put(outbox, &end);
    outbox_flush(outbox);
    raw_expect(&peer, VERB_queue_info, 9);
    assert_int_equal(peer.in.items, 0);
}

/* Larger alone than what was agreed: it goes alone. */
/* Its end was not heard of yet; others come in the same turn. */
static void who_is_answered_stays(void **state) {
    struct conns *conns = peers_conns(peers);
    uint64_t link = (uint64_t)ROLE_CLIENT << 32 | 1;
    struct conn *gone = conns_note(conns, link, -1);
    (void)state;
    outbox_put(outbox, &(struct letter){.link = link, .verb = VERB_job_info, .sequence = 9});
    for (uint32_t n = 2; n < 5000; n++)
        conns_note(conns, (uint64_t)ROLE_CLIENT << 32 | n, -1);
    assert_ptr_equal(conns_find(conns, link), gone);
    outbox_flush(outbox);
    assert_int_equal(gone->reserved, 0);
    assert_int_equal(gone->unread, 0);
    for (uint32_t n = 5000; n < 10000; n++)
        conns_note(conns, (uint64_t)ROLE_CLIENT << 32 | n, -1);
    assert_null(conns_find(conns, link));
}

static void too_large(void **state) {
    static char payload[BYTES_MAX];
    (void)state;
    struct msg_finished m = {0};
    MSG_SET(&m, finished, id, 2);
    MSG_SET(&m, finished, state, 6);
    MSG_SET(&m, finished, size, sizeof payload);
    put(VERB_finished, 0, 1, 0);
    outbox_put(outbox, &(struct letter){.link = peer_link,
                                        .verb = VERB_finished,
                                        .message = &m,
                                        .payload = str_make(payload, sizeof payload)});
    put(VERB_finished, 0, 3, 0);
    outbox_flush(outbox);
    for (uint64_t id = 1; id <= 3; id++)
        expect(VERB_finished, 0, id, 1);
}

/* What can never become durable: requests are told, the rest is dropped. */
static void failed(void **state) {
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_IO, "the disk is gone");
    put(VERB_submitted, 4, 1, 9);
    put(VERB_submitted, 5, 1, 10);
    put(VERB_finished, 0, 2, 10);
    put(VERB_finished, 8, 2, 9);
    struct msg_outcome purged = {0};
    MSG_SET(&purged, outcome, code, 0);
    MSG_SET(&purged, outcome, count, 2);
    outbox_put(outbox, &(struct letter){.link = peer_link,
                                        .verb = VERB_outcome,
                                        .sequence = 7,
                                        .message = &purged,
                                        .after = 12,
                                        .in_parts = true});
    outbox_flush(outbox);
    outbox_failed(outbox, &e, 10);
    raw_expect_error(&peer, 4, ERR_UNKNOWN_OUTCOME); /* the next life may find it */
    raw_expect_error(&peer, 5, ERR_READ_ONLY);       /* and this it does not */
    raw_expect_error(&peer, 8, ERR_READ_ONLY);       /* a question changes nothing */
    raw_expect_error(&peer, 7, ERR_UNKNOWN_OUTCOME); /* some of it was durable before */
    put(VERB_submitted, 6, 1, 11);
    put(VERB_finished, 0, 3, 11);
    put(VERB_finished, 0, 4, 0);
    outbox_flush(outbox);
    struct str text = raw_expect_error(&peer, 6, ERR_READ_ONLY);
    assert_true(str_eq(text, STR("the disk is gone")));
    expect(VERB_finished, 0, 4, 1);
    assert_false(raw_hears(&peer, 20));
}

static void full(void **state) {
    (void)state;
    for (uint64_t i = 0; i <= OUTBOX_HELD_MAX; i++) {
        assert_false(outbox_full(outbox));
        put(VERB_submitted, i + 1, i + 1, 10);
        outbox_flush(outbox);
    }
    assert_true(outbox_full(outbox));
    outbox_durable(outbox, 11);
    assert_false(outbox_full(outbox));
}

/* More links and verbs in one turn than are kept open at a time. */
static void many_links(void **state) {
    (void)state;
    uint64_t own = peer_link;
    for (uint64_t i = 1; i <= 5000; i++) {
        peer_link = own + i;
        put(VERB_finished, 0, i, 0);
    }
    peer_link = own;
    put(VERB_finished, 0, 7, 0);
    outbox_flush(outbox);
    expect(VERB_finished, 0, 7, 1);
    assert_int_equal(peers_stats(peers).dropped, 5000);
}

/* ---- loads ---------------------------------------------------------------------------------- */
#define RECORDS 2000U

/* Loads beyond what the journal takes at a time wait; what is released meanwhile can still be read.
 */
static void loads_wait(void **state) {
    static uint64_t positions[RECORDS];
    static uint32_t bytes[RECORDS];
    struct journal_memory *memory = journal_memory_new();
    struct effects_context x;
    struct journal *j;
    struct err e = {0};
    (void)state;
    assert_int_equal(journal_open_memory(&j, memory, &e), 0);
    assert_int_equal(journal_replay(j, NULL, NULL, NULL, &e), 0);
    effects_init(&x, j, outbox, NULL);
    struct effects fx = effects_of(&x);
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct msg_rec_epoch m = {0};
        MSG_SET(&m, rec_epoch, epoch, i + 1);
        MSG_SET(&m, rec_epoch, at_ms, 0);
        struct record r = {.type = REC_EPOCH, .other = &m};
        positions[i] = fx.append(fx.ctx, &r, &bytes[i]);
    }
    journal_flush(j, &e);
    for (uint32_t i = 0; i < RECORDS; i++) {
        fx.load(fx.ctx, positions[i], bytes[i], i);
        fx.load(fx.ctx, positions[i], bytes[i], RECORDS + i);
    }
    assert_true(effects_loads_wait(&x));
    for (uint32_t i = 0; i < RECORDS; i++)
        fx.release(fx.ctx, positions[i], bytes[i]);
    uint32_t answers = 0;
    struct journal_load_done done;
    while (effects_loads_wait(&x) || answers < 2 * RECORDS) {
        uint64_t durable;
        journal_poll(j, &durable);
        for (; journal_loaded(j, &done); answers++) {
            assert_int_equal(done.err.code, 0);
            assert_int_equal(done.record.pos, positions[done.token % RECORDS]);
            effects_loaded(&x, done.token);
        }
        effects_ask(&x);
    }
    struct journal_stats stats;
    journal_stats(j, &stats);
    assert_int_equal(answers, 2 * RECORDS);
    assert_int_equal(stats.live_bytes, 0);
    effects_done(&x);
    journal_close(&j, &e);
    journal_memory_destroy(&memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several, set_up, tear_down),
        cmocka_unit_test_setup_teardown(held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(list_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_answered_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_large, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loads_wait, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

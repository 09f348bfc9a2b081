/* What a peer says and when, in virtual time. */
#include "common/wire/link_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct bench {
    struct link_core k;
    struct mono now;
    struct link_todo todo;
};

static void begin(struct bench *b) {
    *b = (struct bench){.now = {1000000}};
    link_core_init(&b->k, 7);
    link_core_start(&b->k, b->now, &b->todo);
}

static void tick(struct bench *b, bool drained) {
    link_core_tick(&b->k, b->now, drained, &b->todo);
}

/* Lets time pass as a loop does: it wakes when the link wants it to. */
static void pass(struct bench *b, uint64_t ms) {
    struct mono end = mono_add(b->now, ms);
    while (link_core_next(&b->k).ms <= end.ms) {
        b->now.ms = link_core_next(&b->k).ms > b->now.ms ? link_core_next(&b->k).ms : b->now.ms + 1;
        tick(b, true);
        if (b->todo.close || b->todo.open || b->todo.hello || b->todo.down)
            return;
    }
    b->now = end;
}

static void welcome(struct bench *b, uint64_t sequence, uint64_t epoch) {
    struct msg_welcome m = {.version = 1,
                            .epoch = epoch,
                            .heartbeat_ms = 1000,
                            .missed_max = 3,
                            .items_max = 1024,
                            .bytes_max = 1 << 20,
                            .body_max = 1 << 20,
                            .result_max = 1 << 16,
                            .outstanding_max = 64};
    link_core_message(&b->k, b->now, VERB_welcome, sequence, &m, &b->todo);
}

static bool error(struct bench *b, uint64_t sequence, enum err_code code) {
    struct msg_error m = {.code = code, .text = STR("because")};
    return link_core_message(&b->k, b->now, VERB_error, sequence, &m, &b->todo);
}

static void heartbeat(struct bench *b, uint64_t epoch) {
    struct msg_heartbeat m = {.epoch = epoch};
    link_core_message(&b->k, b->now, VERB_heartbeat, 0, &m, &b->todo);
}

static void go_up(struct bench *b) {
    begin(b);
    welcome(b, b->k.hello_sequence, 5);
    assert_true(b->todo.up && b->todo.new_epoch);
}

/* P-18, P-26: HELLO is the first message, and has a sequence. */
static void test_begins_with_hello(void **state) {
    (void)state;
    struct bench b;
    begin(&b);
    assert_true(b.todo.open && b.todo.hello);
    assert_int_equal(b.k.hello_sequence, 1);
    assert_int_equal(b.k.state, LINK_STATE_GREETING);
    welcome(&b, 1, 5);
    assert_true(b.todo.up && b.todo.new_epoch);
    assert_int_equal(b.k.state, LINK_STATE_UP);
    assert_int_equal(link_core_sequence(&b.k), 2);
}

/* P-23 */
static void test_heartbeats(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    for (int n = 0; n < 10; n++) {
        assert_int_equal(link_core_next(&b.k).ms, b.now.ms + 1000);
        b.now.ms += 999;
        tick(&b, true);
        assert_false(b.todo.heartbeat);
        b.now.ms += 1;
        tick(&b, true);
        assert_true(b.todo.heartbeat);
        heartbeat(&b, 5);
        assert_int_equal(b.k.state, LINK_STATE_UP);
    }
}

/* P-25: silence of missed_max heartbeats, then a new socket and HELLO. */
static void test_silence(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    struct mono heard = b.now;
    pass(&b, 10000);
    assert_true(b.todo.close && b.todo.open && b.todo.hello && b.todo.down);
    assert_int_equal(b.now.ms - heard.ms, 3000);
    assert_int_equal(b.todo.err.code, ERR_UNREACHABLE_BROKER);
    assert_int_equal(b.k.hello_sequence, 2);
    welcome(&b, 2, 5);
    assert_true(b.todo.up);
    assert_false(b.todo.new_epoch);
}

/* The back-off grows up to its bound and is never the same for all. */
static void test_back_off(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    uint64_t before = 0, longest = 0, shortest = UINT64_MAX;
    for (int n = 0; n < 40; n++) {
        pass(&b, 60000);
        assert_true(b.todo.close && b.todo.open && b.todo.hello);
        assert_int_equal(b.todo.down, n == 0);
        uint64_t waited = b.now.ms - before;
        before = b.now.ms;
        if (n < 10)
            continue;
        longest = waited > longest ? waited : longest;
        shortest = waited < shortest ? waited : shortest;
    }
    assert_in_range(longest, 3000 + LINK_BACKOFF_MAX_MS / 2, 3000 + LINK_BACKOFF_MAX_MS);
    assert_in_range(shortest, 3000 + LINK_BACKOFF_MAX_MS / 2, longest - 1);
}

/* P-25: what we slept through is not the broker's silence, nor what was not read yet. */
static void test_our_own_sleep(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    b.now.ms += 3600000;
    tick(&b, true);
    assert_false(b.todo.close);
    assert_true(b.todo.heartbeat);
    heartbeat(&b, 5);
    b.now.ms += 3000;
    tick(&b, false);
    assert_false(b.todo.close);
    assert_int_equal(b.k.state, LINK_STATE_UP);
}

static void test_not_drained(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    for (int n = 0; n < 10; n++) {
        b.now.ms += 1000;
        tick(&b, false);
        assert_false(b.todo.close);
    }
    tick(&b, true);
    assert_true(b.todo.close && b.todo.open);
}

/* P-24: another epoch, or NO_HELLO: HELLO again, on the same socket. */
static void test_new_epoch(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    heartbeat(&b, 6);
    assert_true(b.todo.hello && b.todo.down);
    assert_false(b.todo.close || b.todo.open);
    heartbeat(&b, 6);
    assert_false(b.todo.hello); /* once is enough */
    welcome(&b, b.k.hello_sequence, 6);
    assert_true(b.todo.up && b.todo.new_epoch);
}

static void test_no_hello(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    assert_true(error(&b, 17, ERR_NO_HELLO));
    assert_true(b.todo.hello && b.todo.down);
    uint64_t first = b.k.hello_sequence;
    assert_true(error(&b, 18, ERR_NO_HELLO)); /* of what was sent before the HELLO */
    assert_false(b.todo.hello || b.todo.down);
    welcome(&b, first, 5);
    assert_true(b.todo.up);
    assert_false(b.todo.new_epoch);
}

/* P-22: only the WELCOME of the last HELLO counts. */
static void test_late_welcome(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    uint64_t old = b.k.hello_sequence;
    link_core_hello_again(&b.k, b.now, &b.todo);
    assert_true(b.todo.hello);
    welcome(&b, old, 5);
    assert_false(b.todo.up);
    assert_true(b.k.hello_open);
    welcome(&b, b.k.hello_sequence, 5);
    assert_true(b.todo.up);
    assert_false(b.k.hello_open);
}

/* A HELLO that was lost on a connection that lives is said again. */
static void test_lost_hello(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    link_core_hello_again(&b.k, b.now, &b.todo);
    uint64_t lost = b.k.hello_sequence;
    for (int n = 0; n < 2; n++) {
        b.now.ms += 1000;
        heartbeat(&b, 5);
        assert_false(b.todo.hello);
    }
    tick(&b, true);
    assert_true(b.todo.hello);
    assert_true(b.k.hello_sequence > lost);
    assert_int_equal(b.k.state, LINK_STATE_UP);
}

/* P-18: while the broker starts, again after a while that grows up to a second. */
static void test_starting(void **state) {
    (void)state;
    struct bench b;
    begin(&b);
    static const uint64_t most[] = {100, 200, 400, 800, LINK_STARTING_MS, LINK_STARTING_MS};
    for (size_t n = 0; n < sizeof most / sizeof most[0]; n++) {
        assert_false(error(&b, b.k.hello_sequence, ERR_STARTING));
        assert_false(b.todo.hello || b.todo.close);
        uint64_t wait = b.k.retry.ms - b.now.ms;
        assert_in_range(wait, most[n] / 2, most[n]);
        b.now.ms += wait - 1;
        tick(&b, true);
        assert_false(b.todo.hello);
        b.now.ms += 1;
        tick(&b, true);
        assert_true(b.todo.hello);
    }
    welcome(&b, b.k.hello_sequence, 9);
    assert_true(b.todo.up);
}

static void test_busy(void **state) {
    (void)state;
    struct bench b;
    begin(&b);
    struct msg_error m = {.code = ERR_BUSY, .text = STR("full"), .retry_after_ms = 700};
    link_core_message(&b.k, b.now, VERB_error, b.k.hello_sequence, &m, &b.todo);
    assert_int_equal(link_core_next(&b.k).ms, b.now.ms + 700);
    b.now.ms += 700;
    tick(&b, true);
    assert_true(b.todo.hello);
}

/* P-4, P-22: somebody else has our instance: a new socket tells who is right. */
static void test_duplicate(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    error(&b, 0, ERR_DUPLICATE_INSTANCE);
    assert_true(b.todo.close && b.todo.down);
    assert_int_equal(b.k.state, LINK_STATE_WAITING);
    pass(&b, 10000);
    assert_true(b.todo.open && b.todo.hello);
}

/* P-19, P-20: nothing will help. */
static void test_refused(void **state) {
    (void)state;
    static const enum err_code codes[] = {ERR_BAD_ROLE, ERR_BAD_VERSION, ERR_MISSING_FIELD};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct bench b;
        begin(&b);
        error(&b, b.k.hello_sequence, codes[i]);
        assert_true(b.todo.refused && b.todo.close);
        assert_int_equal(b.todo.err.code, codes[i]);
        assert_int_equal(link_core_next(&b.k).ms, MONO_NEVER.ms);
        tick(&b, true);
        assert_false(b.todo.open || b.todo.hello);
    }
}

/* An error about a request is the user's business alone. */
static void test_other_errors(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    assert_true(error(&b, 9, ERR_READ_ONLY));
    assert_true(error(&b, 9, ERR_BAD_ROLE));
    assert_false(b.todo.hello || b.todo.close || b.todo.down || b.todo.refused);
    assert_int_equal(b.k.state, LINK_STATE_UP);
}

/* P-25: a connection that has ended is not waited for. */
static void test_cut(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    for (int n = 0; n < 3;
         n++) { /* one that gets no further than HELLO likewise, but for the news */
        link_core_cut(&b.k, b.now, &b.todo);
        assert_true(b.todo.close && !b.todo.open);
        assert_int_equal(b.todo.down, n == 0);
        assert_int_equal(b.k.state, LINK_STATE_WAITING);
        assert_in_range(link_core_next(&b.k).ms - b.now.ms, 50U << n, 100U << n);
        pass(&b, 1000);
        assert_true(b.todo.open && b.todo.hello && !b.todo.down);
    }
    welcome(&b, b.k.hello_sequence, 6);
    assert_true(b.todo.up && b.todo.new_epoch);
}

static void test_cut_is_nothing_to_who_has_left(void **state) {
    (void)state;
    struct bench b;
    go_up(&b);
    b.k.state = LINK_STATE_CLOSED;
    link_core_cut(&b.k, b.now, &b.todo);
    assert_false(b.todo.close || b.todo.down);
    assert_int_equal(link_core_next(&b.k).ms, MONO_NEVER.ms);
}

static void test_no_socket(void **state) {
    (void)state;
    struct bench b;
    begin(&b);
    link_core_failed(&b.k, b.now);
    assert_int_equal(b.k.state, LINK_STATE_WAITING);
    assert_in_range(link_core_next(&b.k).ms, b.now.ms + 50, b.now.ms + 100);
    pass(&b, 100);
    assert_true(b.todo.open && b.todo.hello);
}

/* Whatever comes, it gets up again when the broker answers. */
static void test_any_order(void **state) {
    (void)state;
    static const enum err_code codes[] = {ERR_NO_HELLO, ERR_STARTING, ERR_DUPLICATE_INSTANCE,
                                          ERR_BUSY,     ERR_STOPPING, ERR_READ_ONLY};
    for (uint64_t seed = 1; seed < 2000; seed++) {
        struct rng rng = rng_seed(seed);
        struct bench b;
        begin(&b);
        for (int n = 0; n < 60; n++) {
            uint64_t sequence = rng_below(&rng, 3) ? b.k.hello_sequence : rng_below(&rng, 9);
            switch (rng_below(&rng, 6)) {
            case 3:
                link_core_cut(&b.k, b.now, &b.todo);
                break;
            case 0:
                welcome(&b, sequence, 1 + rng_below(&rng, 3));
                break;
            case 1:
                error(&b, sequence, codes[rng_below(&rng, 6)]);
                break;
            case 2:
                heartbeat(&b, 1 + rng_below(&rng, 3));
                break;
            default:
                pass(&b, rng_below(&rng, 5000));
            }
            assert_true(b.k.state != LINK_STATE_CLOSED && b.k.state != LINK_STATE_REFUSED);
            assert_false(b.k.state == LINK_STATE_WAITING && b.k.hello_open);
        }
        for (int n = 0; n < 20 && (b.k.state != LINK_STATE_UP || b.k.hello_open); n++) {
            welcome(&b, b.k.hello_sequence, 4);
            if (b.k.state != LINK_STATE_UP)
                pass(&b, 10000);
        }
        assert_int_equal(b.k.state, LINK_STATE_UP);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_with_hello),
        cmocka_unit_test(test_heartbeats),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_our_own_sleep),
        cmocka_unit_test(test_not_drained),
        cmocka_unit_test(test_new_epoch),
        cmocka_unit_test(test_no_hello),
        cmocka_unit_test(test_late_welcome),
        cmocka_unit_test(test_lost_hello),
        cmocka_unit_test(test_starting),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_duplicate),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_errors),
        cmocka_unit_test(test_no_socket),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_cut_is_nothing_to_who_has_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* When what is missing of a stream is asked for, in a time that the test makes. */
#include "common/wire/stream_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define JOB   7
#define EPOCH 256

struct bench {
    struct stream_table t;
    struct mono now;
    uint32_t i;
};

static int set_up(void **state) {
    static struct bench b;
    b = (struct bench){.now = {1000}};
    stream_table_init(&b.t, 100);
    b.i = stream_table_add(&b.t, JOB, (struct stream_position){0});
    *state = &b;
    return 0;
}

static int tear_down(void **state) {
    struct bench *b = *state;
    stream_table_done(&b->t);
    return 0;
}

static bool is_due(struct bench *b) {
    uint32_t out[4];
    uint32_t n = stream_table_due(&b->t, b->now, out, 4);
    if (n)
        assert_int_equal(out[0], b->i);
    return n == 1;
}

/* Passes time until an ATTACH is due; how long that took, or UINT64_MAX. */
static uint64_t wait_due(struct bench *b) {
    struct mono from = b->now;
    while (stream_table_next(&b->t).ms != MONO_NEVER.ms) {
        if (stream_table_next(&b->t).ms > b->now.ms)
            b->now = stream_table_next(&b->t);
        if (is_due(b))
            return b->now.ms - from.ms;
    }
    return UINT64_MAX;
}

static void answered(struct bench *b) {
    stream_table_answered(&b->t, b->i, b->now, false);
}

static void take(struct bench *b, uint64_t from, uint64_t n) {
    struct stream_event event;
    AUTO_BUF events = BUF(4096);
    for (uint64_t i = 0; i < n; i++)
        stream_put_event(&events, &(struct stream_event){.bytes = STR("x")}, NULL);
    struct stream_frame f = {.head = {.job = JOB, .epoch = EPOCH, .seq = from, .count = n},
                             .events = buf_str(&events)};
    stream_table_take(&b->t, b->i, b->now, &f);
    while (stream_reader_next(&stream_table_at(&b->t, b->i)->reader, &event) != STREAM_NOTHING)
        continue;
}

/* Nothing is due for one whom the broker has attached by itself. */
static void quiet(void **state) {
    struct bench *b = *state;
    assert_int_equal(stream_table_next(&b->t).ms, MONO_NEVER.ms);
    assert_int_equal(stream_table_find(&b->t, JOB), b->i);
    assert_int_equal(stream_table_find(&b->t, JOB + 1), 0);
    take(b, 1, 3);
    assert_int_equal(wait_due(b), UINT64_MAX);
}

/* As long as nothing is heard it is said again, so often; one that is not answered is not. */
static void silent(void **state) {
    struct bench *b = *state;
    stream_table_attach(&b->t, b->i, b->now);
    assert_int_equal(wait_due(b), 0);
    assert_int_equal(stream_table_next(&b->t).ms, MONO_NEVER.ms);
    answered(b);
    assert_int_equal(wait_due(b), STREAM_RETRY_MS);
    answered(b);
    assert_int_equal(wait_due(b), 2 * STREAM_RETRY_MS);
    answered(b);
    assert_int_equal(wait_due(b), UINT64_MAX);
    stream_table_again(&b->t, b->now);
    assert_int_equal(wait_due(b), 0);
    answered(b);
    take(b, 1, 1);
    assert_int_equal(wait_due(b), UINT64_MAX);
}

static void gap(void **state) {
    struct bench *b = *state;
    take(b, 1, 2);
    take(b, 4, 2);
    assert_int_equal(wait_due(b), 0);
    answered(b);
    uint64_t last = 0;
    for (int n = 0; n < 8; n++) {
        uint64_t ms = wait_due(b);
        assert_true(ms >= last && ms >= STREAM_RETRY_MS && ms <= STREAM_RETRY_MAX_MS);
        last = ms;
        answered(b);
    }
    assert_int_equal(last, STREAM_RETRY_MAX_MS);
    take(b, 3, 3);
    assert_int_equal(wait_due(b), UINT64_MAX);
    take(b, 9, 1);
    assert_int_equal(wait_due(b), 0);
    answered(b);
    assert_int_equal(wait_due(b), STREAM_RETRY_MS); /* as at first */
}

/* The last events may be on their way when the end is told; what never comes is gone one day. */
static void ended(void **state) {
    struct bench *b = *state;
    take(b, 1, 2);
    stream_table_finished(&b->t, b->i, b->now, (struct stream_position){EPOCH, 5});
    assert_int_equal(wait_due(b), STREAM_GRACE_MS);
    for (int n = 1; n < STREAM_TRIES_MAX; n++) {
        answered(b);
        assert_true(wait_due(b) <= STREAM_RETRY_MAX_MS);
        assert_false(stream_table_at(&b->t, b->i)->reader.gone);
    }
    answered(b);
    assert_true(wait_due(b) <= STREAM_RETRY_MAX_MS);
    assert_true(stream_table_at(&b->t, b->i)->reader.gone);
    struct stream_event event;
    assert_int_equal(stream_reader_next(&stream_table_at(&b->t, b->i)->reader, &event),
                     STREAM_BROKEN);
    assert_int_equal(wait_due(b), UINT64_MAX);
}

static void refused_for_now(void **state) {
    struct bench *b = *state;
    stream_table_attach(&b->t, b->i, b->now);
    assert_int_equal(wait_due(b), 0);
    stream_table_answered(&b->t, b->i, b->now, true);
    uint64_t ms = wait_due(b);
    assert_in_range(ms, STREAM_RETRY_MS, 2 * STREAM_RETRY_MS);
}

/* All of them, in portions; and no more than there may be. */
static void many(void **state) {
    struct bench *b = *state;
    uint32_t out[64], n = 0, got;
    for (uint64_t job = 100; job < 199; job++)
        assert_true(stream_table_add(&b->t, job, (struct stream_position){0}) != 0);
    assert_int_equal(stream_table_add(&b->t, 1000, (struct stream_position){0}), 0);
    stream_table_again(&b->t, b->now);
    stream_table_remove(&b->t, b->i);
    while ((got = stream_table_due(&b->t, b->now, out, 64)) != 0)
        n += got;
    assert_int_equal(n, 99);
    assert_int_equal(stream_table_next(&b->t).ms, MONO_NEVER.ms);
}

int main(void) {
#define ON_BENCH(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON_BENCH(quiet), ON_BENCH(silent),          ON_BENCH(gap),
        ON_BENCH(ended), ON_BENCH(refused_for_now), ON_BENCH(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

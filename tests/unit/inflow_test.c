/* How much of a message may come before it ends, by ZMTP's framing. */
#include "broker/inflow.h"
#include "common/base/buf.h"
#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define BOUND 1000U

enum { LAST = 0, MORE = 1, LONG = 2, COMMAND = 4 };

static void put_greeting(struct buf *b, unsigned char revision) {
    char greeting[64] = {[0] = '\xff', [9] = '\x7f', [10] = (char)revision};
    buf_put(b, greeting, revision == 1 ? 12 : sizeof greeting);
}

/* A long head where the length needs it, or where it is asked for. */
static void put_frame(struct buf *b, unsigned flags, uint64_t size) {
    flags |= size > 255 ? LONG : 0;
    buf_putc(b, (char)flags);
    for (int shift = flags & LONG ? 56 : 0; shift >= 0; shift -= 8)
        buf_putc(b, (char)(size >> shift & 0xff));
    for (uint64_t i = 0; i < size; i++)
        buf_putc(b, '\x7f');
}

static bool passes(const struct buf *b) {
    struct inflow f = {.state = INFLOW_GREETING};
    return inflow_pass(&f, b->at, b->len, BOUND);
}

/* However the kernel cuts it into pieces. */
static bool passes_anyhow(const struct buf *b) {
    struct rng rng = rng_seed(3);
    bool whole = passes(b);
    for (unsigned round = 0; round < 20; round++) {
        struct inflow f = {.state = INFLOW_GREETING};
        bool ok = true;
        for (size_t at = 0, n; ok && at < b->len; at += n) {
            n = 1 + rng_below(&rng, round ? 40 : 1);
            n = n < b->len - at ? n : b->len - at;
            ok = inflow_pass(&f, b->at + at, n, BOUND);
        }
        assert_int_equal(ok, whole);
    }
    return whole;
}

static void test_messages_that_end(void **state) {
    AUTO_BUF b = BUF(1U << 20);
    (void)state;
    put_greeting(&b, 3);
    put_frame(&b, COMMAND, 28);
    for (unsigned i = 0; i < 100; i++) {
        put_frame(&b, MORE, 10);
        put_frame(&b, MORE | LONG, 20);
        put_frame(&b, COMMAND, 300);
        put_frame(&b, LAST, 900);
        put_frame(&b, LAST, 2 * BOUND); /* alone: the socket bounds it */
    }
    assert_true(passes_anyhow(&b));
}

/* By CURVE every frame looks like a last one: what counts is what was taken meanwhile. */
static void test_hidden_frames(void **state) {
    AUTO_BUF b = BUF(4U << 20);
    struct inflow f = {.state = INFLOW_GREETING};
    const unsigned most = INFLOW_FRAMES * INFLOW_WAITING;
    (void)state;
    put_greeting(&b, 3);
    memcpy(b.at + 12, "CURVE", 5);
    put_frame(&b, COMMAND | LONG, 200);
    for (unsigned i = 0; i < most; i++)
        put_frame(&b, LAST, 10);
    assert_true(inflow_pass(&f, b.at, b.len, BOUND));
    inflow_note_taken(&f, 1);
    assert_true(inflow_pass(&f, b.at + b.len - 12, 12, BOUND));
    inflow_note_taken(&f, 1); /* nothing more was */
    for (unsigned i = 1; i < most; i++)
        assert_true(inflow_pass(&f, b.at + b.len - 12, 12, BOUND));
    assert_false(inflow_pass(&f, b.at + b.len - 12, 12, BOUND));
    put_frame(&b, LAST, 10);
    assert_false(passes_anyhow(&b));
    buf_clear(&b);
    put_greeting(&b, 3);
    memcpy(b.at + 12, "CURVE", 5);
    for (unsigned i = 0; i < INFLOW_WAITING; i++)
        put_frame(&b, LAST, BOUND);
    assert_true(passes_anyhow(&b));
    put_frame(&b, LAST, 1);
    assert_false(passes_anyhow(&b));
}

static void test_too_many_bytes(void **state) {
    AUTO_BUF b = BUF(1U << 20);
    (void)state;
    put_greeting(&b, 3);
    put_frame(&b, MORE, 500);
    put_frame(&b, LAST, 500);
    put_frame(&b, MORE, 500);
    put_frame(&b, COMMAND, 500); /* ends nothing */
    put_frame(&b, MORE, 500);
    assert_true(passes_anyhow(&b));
    put_frame(&b, MORE, 1);
    assert_false(passes_anyhow(&b));
}

/* The last frame is kept with the others until it is whole. */
static void test_a_last_frame_beyond_the_bound(void **state) {
    AUTO_BUF b = BUF(1U << 20);
    (void)state;
    put_greeting(&b, 3);
    put_frame(&b, MORE, 1);
    put_frame(&b, LAST, BOUND);
    assert_false(passes_anyhow(&b));
}

static void test_a_length_beyond_all(void **state) {
    AUTO_BUF b = BUF(1U << 20);
    (void)state;
    put_greeting(&b, 3);
    put_frame(&b, MORE, 10);
    buf_put(&b, "\x03\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_false(passes_anyhow(&b));
}

static void test_too_many_frames(void **state) {
    AUTO_BUF b = BUF(1U << 20);
    (void)state;
    put_greeting(&b, 1);
    for (unsigned i = 0; i < INFLOW_FRAMES; i++)
        put_frame(&b, MORE, 0);
    assert_true(passes_anyhow(&b));
    put_frame(&b, LAST, 0);
    assert_false(passes_anyhow(&b));
}

static void test_who_frames_in_another_way(void **state) {
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        AUTO_BUF b = BUF(4096);
        put_greeting(&b, 0); /* the first version, which says so */
        if (i == 1)
            b.at[0] = 1; /* and which does not */
        if (i == 2)
            b.at[9] = 0;
        assert_false(passes_anyhow(&b));
    }
}

/* recv of this process is the one that counts. */
static void test_the_socket_is_closed(void **state) {
    AUTO_BUF b = BUF(1U << 20);
    char got[4096];
    int fds[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    put_greeting(&b, 3);
    put_frame(&b, MORE, BOUND);
    inflow_set_bound(BOUND);
    inflow_begin(fds[0]);
    assert_int_equal(write(fds[1], b.at, b.len), b.len);
    assert_int_equal(recv(fds[0], got, sizeof got, 0), b.len);
    assert_int_equal(write(fds[1], "\1\1x", 3), 3);
    assert_int_equal(recv(fds[0], got, sizeof got, 0), -1);
    assert_int_equal(read(fds[1], got, sizeof got), 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_that_end),
        cmocka_unit_test(test_hidden_frames),
        cmocka_unit_test(test_too_many_bytes),
        cmocka_unit_test(test_a_last_frame_beyond_the_bound),
        cmocka_unit_test(test_a_length_beyond_all),
        cmocka_unit_test(test_too_many_frames),
        cmocka_unit_test(test_who_frames_in_another_way),
        cmocka_unit_test(test_the_socket_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

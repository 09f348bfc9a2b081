/* What waits for each connection: how it is counted, who is full, who is closed; and the questions
 * of those who do not read. */
#include "broker/waiting.h"
#include "common/base/mem.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB       (1U << 20)
#define CLIENT(n) ((uint64_t)ROLE_CLIENT << 32 | (n))
#define WORKER(n) ((uint64_t)ROLE_WORKER << 32 | (n))

static struct conns table;
static char bytes[MIB];

static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    assert_int_equal(conns_init(&table, &e), 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    assert_int_equal(conns_unread(&table), 0);
    assert_int_equal(table.reserved, 0);
    conns_done(&table);
    return 0;
}

/* Messages of one MiB that somebody holds and has not read. */
struct held {
    zmq_msg_t at[300];
    unsigned n;
};

static void hold(struct held *h, struct conn *c, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        conn_part(c, &h->at[h->n++], str_make(bytes, sizeof bytes), sizeof bytes);
}

static void read_some(struct held *h, unsigned n) {
    while (n--)
        zmq_msg_close(&h->at[--h->n]);
}

/* ---- counting ------------------------------------------------------------------------------- */
static void what_is_sent_counts_until_it_was_read(void **state) {
    struct conn *c = conns_note(&table, CLIENT(1), -1);
    struct held h = {.n = 0};
    (void)state;
    hold(&h, c, 2);
    assert_int_equal(c->unread, 2 * (MIB + CONN_MESSAGE));
    assert_int_equal(conns_unread(&table), c->unread);
    /* ZeroMQ moves and copies messages: only the last one frees. */
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    zmq_msg_copy(&copy, &h.at[0]);
    read_some(&h, 2);
    assert_int_equal(c->unread, MIB + CONN_MESSAGE);
    assert_memory_equal(zmq_msg_data(&copy), bytes, sizeof bytes);
    zmq_msg_close(&copy);
    assert_int_equal(c->unread, 0);
    assert_int_equal(c->read, 2);
}

static void nobody_is_charged_for_a_connection_that_is_gone(void **state) {
    zmq_msg_t part;
    (void)state;
    assert_null(conns_find(&table, CLIENT(1)));
    conn_part(NULL, &part, STR("abc"), 3);
    conn_reserve(NULL, 3);
    conn_release(NULL, 3);
    assert_int_equal(conns_unread(&table), 0);
    assert_false(conn_is_full(NULL));
    zmq_msg_close(&part);
}

/* ---- bounds --------------------------------------------------------------------------------- */
static void one_that_does_not_read_is_full(void **state) {
    struct conn *c = conns_note(&table, CLIENT(1), -1), *other = conns_note(&table, CLIENT(2), -1);
    struct held h = {.n = 0};
    (void)state;
    hold(&h, c, CONN_BYTES / MIB - 1);
    assert_false(conn_is_full(c));
    conn_reserve(c, MIB); /* an answer that is under way counts as one that is there */
    assert_true(conn_is_full(c));
    assert_false(conn_is_full(other));
    conn_release(c, MIB);
    assert_false(conn_is_full(c));
    read_some(&h, h.n);
}

static void all_together_leave_everybody_one_answer_at_a_time(void **state) {
    struct conn *many[CONNS_BYTES / MIB], *last = conns_note(&table, CLIENT(1000), -1);
    struct held h = {.n = 0};
    (void)state;
    for (uint32_t i = 0; i < CONNS_BYTES / MIB; i++) {
        many[i] = conns_note(&table, CLIENT(i + 1), -1);
        assert_false(conn_is_full(many[0]));
        hold(&h, many[i], 1);
    }
    assert_true(conn_is_full(many[0]));
    assert_false(conn_is_full(last));
    hold(&h, last, 1);
    assert_true(conn_is_full(last));
    read_some(&h, h.n);
    assert_false(conn_is_full(last));
}

static void one_alone_is_over(void **state) {
    struct conn *c = conns_note(&table, CLIENT(1), -1), *other = conns_note(&table, CLIENT(2), -1);
    struct held h = {.n = 0};
    (void)state;
    hold(&h, c, CONN_BYTES_MAX / MIB - 1);
    assert_null(conns_over(&table, c));
    hold(&h, c, 1);
    assert_ptr_equal(conns_over(&table, c), c);
    assert_null(conns_over(&table, other));
    assert_null(conns_over(&table, NULL));
    read_some(&h, h.n);
}

/* Not the one whose message is just too much for all together. */
static void who_has_most_goes_when_all_are_over(void **state) {
    struct conn *w = conns_note(&table, WORKER(1), -1), *reads = conns_note(&table, CLIENT(1), -1);
    struct conn *deaf[5];
    struct held h = {.n = 0}, his = {.n = 0}, most = {.n = 0}, hers = {.n = 0};
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        deaf[i] = conns_note(&table, CLIENT(i + 2), -1);
    for (uint32_t i = 0; i < 4; i++)
        hold(&h, deaf[i], 50);
    hold(&most, deaf[4], 55);
    hold(&hers, w, 60);
    assert_null(conns_over(&table, reads));
    hold(&his, reads, 1);
    assert_ptr_equal(conns_over(&table, reads), deaf[4]);
    conn_close(deaf[4]);
    /* What waited for it is on its way out, and nothing more is charged to it. */
    assert_null(conns_over(&table, reads));
    uint64_t unread = deaf[4]->unread;
    hold(&most, deaf[4], 1);
    assert_int_equal(deaf[4]->unread, unread);
    hold(&h, deaf[0], 10);
    hold(&h, deaf[1], 14);
    assert_null(conns_over(&table, reads));
    read_some(&most, most.n);
    assert_null(conns_over(&table, reads));
    hold(&h, deaf[1], 55 - 24);
    assert_ptr_equal(conns_over(&table, reads), deaf[1]);
    conn_close(deaf[1]);
    assert_null(conns_over(&table, reads));
    read_some(&h, h.n);
    read_some(&his, his.n);
    read_some(&hers, hers.n);
}

/* What they are told must not be lost, and their credit bounds it. */
static void workers_are_never_full(void **state) {
    struct conn *w = conns_note(&table, WORKER(1), -1), *c = conns_note(&table, CLIENT(1), -1);
    struct held h = {.n = 0};
    (void)state;
    hold(&h, w, 2 * CONN_BYTES_MAX / MIB);
    assert_false(conn_is_full(w));
    assert_null(conns_over(&table, w));
    hold(&h, c, 1);
    assert_false(conn_is_full(c)); /* nor do they take room from clients */
    assert_true(conns_unread(&table) > 2 * CONN_BYTES_MAX);
    read_some(&h, h.n);
}

/* ---- connections that end ------------------------------------------------------------------- */
static void who_is_gone_is_forgotten(void **state) {
    struct held h = {.n = 0};
    int pair[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct conn *alive = conns_note(&table, CLIENT(1), pair[0]);
    struct conn *waited_for = conns_note(&table, CLIENT(2), -1);
    struct conn *asking = conns_note(&table, CLIENT(3), -1);
    hold(&h, waited_for, 1);
    conn_reserve(asking, 1);
    for (uint32_t i = 10; i < 5000; i++)
        conns_note(&table, CLIENT(i), -1);
    assert_true(table.items.used < 600);
    assert_ptr_equal(conns_find(&table, CLIENT(1)), alive);
    assert_ptr_equal(conns_find(&table, CLIENT(2)), waited_for);
    assert_ptr_equal(conns_find(&table, CLIENT(3)), asking);
    assert_null(conns_find(&table, CLIENT(10)));
    read_some(&h, 1);
    conn_release(asking, 1);
    close(pair[0]);
    close(pair[1]);
    for (uint32_t i = 5000; i < 10000; i++)
        conns_note(&table, CLIENT(i), -1);
    for (uint32_t i = 1; i <= 3; i++)
        assert_null(conns_find(&table, CLIENT(i)));
}

static bool has_ended(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void a_connection_is_closed_and_no_other(void **state) {
    int mine[2], others[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, mine), 0);
    struct conn *c = conns_note(&table, CLIENT(1), mine[0]);
    assert_false(has_ended(mine[1]));
    conn_close(c);
    assert_true(c->closed && has_ended(mine[1]));
    /* The number belongs to somebody else by now. */
    c = conns_note(&table, CLIENT(2), mine[0]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, others), 0);
    assert_int_equal(dup2(others[0], mine[0]), mine[0]);
    conn_close(c);
    assert_true(c->closed);
    assert_false(has_ended(others[1]));
    for (int i = 0; i < 2; i++) {
        close(mine[i]);
        close(others[i]);
    }
}

static struct mono at(uint64_t ms) {
    return (struct mono){.ms = ms};
}

static void who_stops_reading_is_given_up(void **state) {
    struct conn *slow = conns_note(&table, CLIENT(1), -1);
    struct conn *deaf = conns_note(&table, CLIENT(2), -1);
    struct conn *idle = conns_note(&table, CLIENT(3), -1);
    struct held hers = {.n = 0}, his = {.n = 0}, rest = {.n = 0};
    (void)state;
    hold(&hers, slow, CONN_BYTES / MIB + 1);
    hold(&his, deaf, CONN_BYTES / MIB);
    hold(&rest, idle, 1); /* it has room: nothing waits for it to read */
    assert_null(conns_stalled(&table, at(1000), 1));
    assert_null(conns_stalled(&table, at(1000 + CONN_STALL_MS - 1), 1));
    read_some(&hers, 1);
    assert_ptr_equal(conns_stalled(&table, at(1000 + CONN_STALL_MS), 1), deaf);
    assert_null(conns_stalled(&table, at(1000 + CONN_STALL_MS), deaf->index + 1));
    conn_close(deaf);
    assert_null(conns_stalled(&table, at(1000 + CONN_STALL_MS), 1));
    assert_ptr_equal(conns_stalled(&table, at(1000 + 2 * CONN_STALL_MS), 1), slow);
    read_some(&hers, hers.n);
    read_some(&his, his.n);
    read_some(&rest, rest.n);
}

static bool is_awake(void) {
    struct pollfd p = {.fd = table.wake.fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void reading_wakes_who_wants_it(void **state) {
    struct conn *c = conns_note(&table, CLIENT(1), -1);
    struct held h = {.n = 0};
    (void)state;
    hold(&h, c, 3);
    read_some(&h, 1);
    assert_false(is_awake());
    conns_want_wake(&table);
    assert_false(is_awake());
    read_some(&h, 1);
    assert_true(is_awake());
    conns_woken(&table);
    read_some(&h, 1);
    assert_false(is_awake());
}

/* ---- questions that wait -------------------------------------------------------------------- */
static int say(struct waiting *w, struct conn *c, char what, size_t size, enum waiting_what kind,
               struct err *e) {
    struct parcel in = {.link = c->link, .role = ROLE_CLIENT, .count = 1};
    zmq_msg_init(&in.routing);
    zmq_msg_init_size(&in.parts[0], size);
    memset(zmq_msg_data(&in.parts[0]), what, size);
    int rc = waiting_put(w, c, &in, kind, e);
    parcel_done(&in);
    return rc;
}

static int ask(struct waiting *w, struct conn *c, char what, size_t size, struct err *e) {
    return say(w, c, what, size, WAITING_ASKS, e);
}

/* The next one that has room; 0: none. */
static char next(struct waiting *w, const struct conn *of) {
    struct parcel out;
    if (!waiting_take(w, &out))
        return 0;
    char what = parcel_part(&out, 0).at[0];
    assert_int_equal(out.link, of->link);
    parcel_done(&out);
    return what;
}

static void questions_wait_in_turns(void **state) {
    struct conn *a = conns_note(&table, CLIENT(1), -1), *b = conns_note(&table, CLIENT(2), -1);
    struct waiting w;
    struct err e = {0};
    (void)state;
    waiting_init(&w, 100);
    conn_reserve(a, CONN_BYTES);
    conn_reserve(b, CONN_BYTES);
    for (int n = 0; n < 4; n++)
        assert_int_equal(ask(&w, a, "abcd"[n], 100, &e), 0);
    assert_int_equal(ask(&w, b, 'x', 100, &e), 0);
    assert_int_equal(ask(&w, b, 'y', 100, &e), 0);
    assert_int_equal(w.requests, 6);
    assert_false(waiting_has_room(&w));
    assert_int_equal(next(&w, a), 0);
    conn_release(b, CONN_BYTES);
    assert_true(waiting_has_room(&w));
    assert_int_equal(next(&w, b), 'x');
    conn_release(a, CONN_BYTES);
    assert_int_equal(next(&w, a), 'a');
    assert_int_equal(next(&w, b), 'y');
    assert_null(b->waits);
    assert_int_equal(next(&w, a), 'b');
    assert_int_equal(waiting_forget(&w, a), 2);
    assert_int_equal(waiting_forget(&w, a), 0);
    assert_int_equal(next(&w, a), 0);
    assert_int_equal(ask(&w, b, 'z', 100, &e), 0);
    conn_reserve(b, CONN_BYTES);
    conn_close(b);
    assert_true(waiting_has_room(&w));
    assert_int_equal(next(&w, b), 0);
    assert_false(waiting_has_room(&w));
    conn_release(b, CONN_BYTES);
    assert_int_equal(w.requests, 0);
    assert_int_equal(w.bytes, 0);
    waiting_done(&w);
}

static void questions_that_wait_are_bounded(void **state) {
    struct conn *a = conns_note(&table, CLIENT(1), -1), *b = conns_note(&table, CLIENT(2), -1);
    struct waiting w;
    struct err e = {0};
    (void)state;
    waiting_init(&w, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ask(&w, a, 'a', 10, &e), 0);
    assert_int_equal(ask(&w, a, 'a', 10, &e), -1);
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.text, "3 requests wait until their answers can be read, at most 3"));
    assert_int_equal(ask(&w, b, 'b', WAITING_PEER_BYTES / 2, &e), 0);
    assert_int_equal(ask(&w, b, 'b', WAITING_PEER_BYTES / 2, &e), -1);
    assert_int_equal(w.requests, 4);
    for (uint32_t i = 10; w.bytes + WAITING_PEER_BYTES <= WAITING_BYTES; i++)
        assert_int_equal(
            ask(&w, conns_note(&table, CLIENT(i), -1), 'c', WAITING_PEER_BYTES - 1000, &e), 0);
    assert_int_equal(ask(&w, conns_note(&table, CLIENT(9), -1), 'c', WAITING_PEER_BYTES - 1000, &e),
                     -1);
    assert_non_null(strstr(e.text, "requests of all peers"));
    waiting_done(&w);
}

/* What ends something has room for as much as what it may end, whatever else waits. */
static void what_ends_waits_behind_what_begins(void **state) {
    struct conn *a = conns_note(&table, CLIENT(1), -1);
    struct waiting w;
    struct err e = {0};
    (void)state;
    waiting_init(&w, 3);
    conn_reserve(a, CONN_BYTES);
    assert_false(waiting_begins(a));
    assert_int_equal(ask(&w, a, 'q', 10, &e), 0);
    assert_false(waiting_begins(a));
    assert_int_equal(say(&w, a, 'b', 20, WAITING_BEGINS, &e), 0);
    assert_int_equal(say(&w, a, 'b', 20, WAITING_BEGINS, &e), 0);
    assert_true(waiting_begins(a));
    assert_int_equal(say(&w, a, 'b', 20, WAITING_BEGINS, &e), -1);
    assert_int_equal(say(&w, a, 'e', 20, WAITING_ENDS, &e), 0);
    assert_int_equal(say(&w, a, 'e', 20, WAITING_ENDS, &e), 0);
    assert_int_equal(say(&w, a, 'e', 20, WAITING_ENDS, &e), -1);
    assert_int_equal(e.code, ERR_BUSY);
    assert_int_equal(ask(&w, a, 'q', 10, &e), -1);
    conn_release(a, CONN_BYTES);
    for (const char *order = "qbbee"; *order; order++) {
        assert_int_equal(waiting_begins(a), order[0] == 'b' || order[0] == 'q');
        assert_int_equal(next(&w, a), *order);
    }
    assert_int_equal(w.bytes, 0);
    waiting_done(&w);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_sent_counts_until_it_was_read),
        TEST(nobody_is_charged_for_a_connection_that_is_gone),
        TEST(one_that_does_not_read_is_full),
        TEST(all_together_leave_everybody_one_answer_at_a_time),
        TEST(one_alone_is_over),
        TEST(who_has_most_goes_when_all_are_over),
        TEST(workers_are_never_full),
        TEST(who_is_gone_is_forgotten),
        TEST(a_connection_is_closed_and_no_other),
        TEST(who_stops_reading_is_given_up),
        TEST(reading_wakes_who_wants_it),
        TEST(questions_wait_in_turns),
        TEST(questions_that_wait_are_bounded),
        TEST(what_ends_waits_behind_what_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The gate of connections: accept4 of this process is the gate's. */
#include "broker/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT       200U
#define ASIDE       40U
#define START_FILES 32U /* more that is set aside while it starts */
#define OPERATORS   "operators"
#define SOME        8

static int before; /* the lowest number that is free when a test begins */

static int lowest_free(void) {
    int fd = dup(0);
    assert_true(fd >= 0);
    close(fd);
    return fd;
}

static void set_limit(rlim_t now) {
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    l.rlim_cur = now;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
}

/* An abstract name of its own for each process, with `name` in it. */
static struct sockaddr_un address_of(const char *name, socklen_t *size) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n =
        snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "quern-gate-%d-%s", (int)getpid(), name);
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    return a;
}

static int listen_as(const struct sockaddr_un *a, socklen_t size) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)a, size), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static int listen_at(const char *name) {
    socklen_t size;
    struct sockaddr_un a = address_of(name, &size);
    return listen_as(&a, size);
}

static int make_socket(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static void connect_to(int fd, const char *name) {
    socklen_t size;
    struct sockaddr_un a = address_of(name, &size);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, size), 0);
}

static bool is_closed(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static int accept_one(int listener) {
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

static void expect_refused(int listener) {
    errno = 0;
    assert_int_equal(accept_one(listener), -1);
    assert_int_equal(errno, ECONNABORTED);
}

static int set_up(void **state) {
    (void)state;
    before = lowest_free();
    struct err e = {0};
    assert_int_equal(gate_open(ASIDE, &e), 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    gate_close();
    for (int fd = before; fd < (int)LIMIT; fd++)
        close(fd);
    return 0;
}

static void ready(void) {
    struct err e = {0};
    gate_watch(OPERATORS);
    assert_int_equal(gate_ready(&e), 0);
    assert_int_equal(e.code, 0);
}

/* Opens files until the next one has the number `fd`. */
static void fill_to(int fd) {
    while (lowest_free() < fd)
        assert_true(dup(0) >= 0);
}

/* ---- places --------------------------------------------------------------------------------- */
static void places(void **state) {
    (void)state;
    int listener = listen_at("a"), peers[3];
    ready();
    for (int i = 0; i < 3; i++) {
        peers[i] = make_socket();
        connect_to(peers[i], "a");
    }
    int bound = (int)(LIMIT - ASIDE - GATE_OPERATORS);
    fill_to(bound - 1);
    int last = accept_one(listener);
    assert_int_equal(last, bound - 1);
    expect_refused(listener);
    assert_true(is_closed(peers[1]));
    assert_false(is_closed(peers[0]));
    assert_int_equal(gate_stats().refused, 1);
    close(last); /* its place is the next one's */
    assert_int_equal(accept_one(listener), bound - 1);
    assert_false(is_closed(peers[2]));
    for (unsigned n = 0; n < ASIDE; n++) /* what was set aside is there */
        assert_true(dup(0) >= 0);
}

/* A file name, as the broker has: an abstract one begins with a zero, which no path does. */
static void expect_places_of_operators(void) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/quern-gate-%d", (int)getpid());
    int listener = listen_as(&a, sizeof a), other = listen_at("a");
    int peer = make_socket(), chief = make_socket();
    gate_watch(a.sun_path);
    assert_int_equal(gate_ready(NULL), 0);
    connect_to(peer, "a");
    assert_int_equal(connect(chief, (struct sockaddr *)&a, sizeof a), 0);
    unlink(a.sun_path);
    fill_to((int)(LIMIT - ASIDE - 1));
    expect_refused(other);
    assert_int_equal(accept_one(listener), LIMIT - ASIDE - 1);
}

static void places_of_operators(void **state) {
    (void)state;
    expect_places_of_operators();
}

/* With few files in all, who listens stands where no connection may while it starts. */
static void places_of_operators_among_few(void **state) {
    (void)state;
    fill_to((int)(LIMIT - ASIDE - START_FILES));
    expect_places_of_operators();
}

/* While it starts fewer are there: what the broker still opens must find numbers. */
static void places_at_the_start(void **state) {
    (void)state;
    int listener = listen_at("a"), peer = make_socket();
    connect_to(peer, "a");
    fill_to((int)(LIMIT - ASIDE - GATE_OPERATORS - 1));
    expect_refused(listener);
    assert_true(is_closed(peer));
}

static void too_few_files(void **state) {
    (void)state;
    struct err e = {0};
    fill_to((int)(LIMIT - ASIDE - 4));
    assert_int_equal(gate_ready(&e), -1);
    assert_non_null(strstr(e.text, "limit of open files is 200"));
}

/* ---- errors --------------------------------------------------------------------------------- */
/* What was set aside is used up as well: the reserve serves, again and again. */
static void no_file_left(void **state) {
    (void)state;
    int listener = listen_at("a"), peers[3];
    ready();
    for (int i = 0; i < 3; i++) {
        peers[i] = make_socket();
        connect_to(peers[i], "a");
    }
    while (dup(0) >= 0)
        continue;
    assert_int_equal(errno, EMFILE);
    for (int i = 0; i < 3; i++) {
        expect_refused(listener);
        assert_true(is_closed(peers[i]));
    }
    assert_int_equal(gate_stats().refused, 3);
}

/* Nothing can be taken at all: the connection waits. */
static void limit_lowered(void **state) {
    (void)state;
    int listener = listen_at("a"), peer = make_socket();
    ready();
    connect_to(peer, "a");
    set_limit(3);
    expect_refused(listener);
    expect_refused(listener);
    set_limit(LIMIT);
    assert_false(is_closed(peer));
    assert_true(accept_one(listener) >= 0);
    assert_int_equal(gate_stats().refused, 2);
}

static void other_errors(void **state) {
    (void)state;
    int listener = listen_at("a"), file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ready();
    assert_int_equal(accept_one(listener), -1); /* nobody there: it does not wait */
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(accept_one(file), -1);
    assert_int_equal(errno, ENOTSOCK);
    assert_int_equal(gate_stats().refused, 0);
}

static void closed_gate(void **state) {
    (void)state;
    int listener = listen_at("a"), peer = make_socket();
    gate_close();
    connect_to(peer, "a");
    fill_to((int)LIMIT - 1);
    assert_int_equal(accept(listener, NULL, NULL), LIMIT - 1);
}

/* ---- silence -------------------------------------------------------------------------------- */
static void ticks(int n) {
    for (int i = 0; i < n; i++)
        gate_tick();
}

static void refuse_one(int listener) {
    int peer = make_socket();
    connect_to(peer, "a");
    fill_to((int)(LIMIT - ASIDE));
    expect_refused(listener);
}

static void silent_ones(void **state) {
    (void)state;
    struct pollfd news = {.events = POLLIN};
    int listener = listen_at("a"), peers[SOME], taken[SOME];
    ready();
    int late = listen_at("b"); /* as the sockets of streams, where nobody says HELLO */
    news.fd = gate_fd();
    assert_int_equal(poll(&news, 1, 0), 0);
    assert_false(gate_awake());
    for (int i = 0; i < SOME; i++) {
        peers[i] = make_socket();
        connect_to(peers[i], i == 7 ? "b" : "a");
        taken[i] = accept_one(i == 7 ? late : listener);
    }
    assert_int_equal(poll(&news, 1, 0), 1);
    gate_seen();
    assert_int_equal(poll(&news, 1, 0), 0);
    gate_hello(taken[0]);
    gate_hello(-1);
    gate_hello(4000000);
    shutdown(taken[1], SHUT_RDWR); /* it went, and its number is a file's */
    assert_int_equal(dup2(0, taken[1]), taken[1]);
    ticks(2 * GATE_SILENT);
    for (int i = 2; i < SOME; i++) /* nobody else wants the places */
        assert_false(is_closed(peers[i]));
    assert_true(gate_awake());
    refuse_one(listener);
    gate_tick();
    for (int i = 0; i < SOME; i++)
        assert_int_equal(is_closed(peers[i]), i != 0 && i != 7);
    assert_int_equal(gate_stats().silent, SOME - 3);
    ticks(1);
    assert_false(gate_awake());
}

/* Those that came a moment ago have their time. */
static void new_ones(void **state) {
    (void)state;
    int listener = listen_at("a"), peer = make_socket();
    ready();
    connect_to(peer, "a");
    assert_true(accept_one(listener) >= 0);
    ticks(GATE_SILENT - 1);
    assert_false(is_closed(peer));
    refuse_one(listener);
    gate_tick();
    assert_true(is_closed(peer));
    assert_int_equal(gate_stats().silent, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_of_operators, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_of_operators_among_few, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_at_the_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_few_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_file_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limit_lowered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closed_gate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silent_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(new_ones, set_up, tear_down),
    };
    struct rlimit all = {LIMIT, LIMIT};
    if (setrlimit(RLIMIT_NOFILE, &all) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

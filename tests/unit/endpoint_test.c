/* Where the broker is, from what people write. */
#include "common/wire/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void test_endpoints(void **state) {
    (void)state;
    static const struct {
        const char *data, *broker, *is;
    } cases[] = {
        {"/d", NULL, "ipc:///d/run/worker.sock"},
        {".quern", "", "ipc://.quern/run/worker.sock"},
        {"/d", "/", "ipc:////run/worker.sock"},
        {"/d", "tcp://host:7000", "tcp://host:7000"},
        {"/d", "tcp://[::1]:7000", "tcp://[::1]:7000"},
        {NULL, "ipc:///x/y.sock", "ipc:///x/y.sock"},
        {"/d", "tcp://host", NULL},
        {"/d", "tcp://host:0", NULL},
        {"/d", "tcp://:70", NULL},
        {"/d", "tcp://host:70000", NULL},
        {"/d", "http://host:70", NULL},
        {"/d", "/nowhere/at/all", NULL},
        {"/d", "host:7000", NULL},
        {"/d", "/dev/null", NULL},
        {NULL, NULL, NULL},
        {"", "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[LINK_ENDPOINT_MAX];
        struct err e = {0};
        int rc = link_endpoint(out, cases[i].data, cases[i].broker, ROLE_WORKER, &e);
        assert_int_equal(rc, cases[i].is ? 0 : -1);
        if (cases[i].is)
            assert_string_equal(out, cases[i].is);
        else
            assert_int_equal(e.code, ERR_USAGE);
    }
}

/* The path of a socket is one socket, that of a folder the role's in it. */
static void test_paths(void **state) {
    (void)state;
    char folder[] = "/tmp/endpoint-XXXXXX", expected[LINK_ENDPOINT_MAX], out[LINK_ENDPOINT_MAX];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(folder));
    snprintf(at.sun_path, sizeof at.sun_path, "%s/any.sock", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    struct err e = {0};
    assert_int_equal(link_endpoint(out, "/d", at.sun_path, ROLE_WORKER, &e), 0);
    snprintf(expected, sizeof expected, "ipc://%s", at.sun_path);
    assert_string_equal(out, expected);
    assert_int_equal(link_endpoint(out, "/d", folder, ROLE_WORKER, &e), 0);
    snprintf(expected, sizeof expected, "ipc://%s/run/worker.sock", folder);
    assert_string_equal(out, expected);
    close(fd);
    unlink(at.sun_path);
    assert_int_equal(link_endpoint(out, "/d", at.sun_path, ROLE_WORKER, &e), -1);
    assert_non_null(strstr(e.text, "tcp://HOST:PORT"));
    assert_non_null(strstr(e.text, at.sun_path));
    rmdir(folder);
}

static void test_beside(void **state) {
    (void)state;
    static const struct {
        const char *endpoint, *file;
        uint64_t port;
        int rc;
        const char *is;
    } cases[] = {
        {"ipc:///d/run/worker.sock", "s.sock", 0, 1, "ipc:///d/run/s.sock"},
        {"ipc:///d/run/worker.sock", "s.sock", 99, 1, "ipc:///d/run/s.sock"},
        {"ipc://worker.sock", "s.sock", 0, 1, "ipc://s.sock"},
        {"ipc:///d/run/worker.sock", "", 99, 0, NULL},
        {"ipc:///d/run/worker.sock", "../s.sock", 0, -1, NULL},
        {"ipc:///d/run/worker.sock", "/etc/s", 0, -1, NULL},
        {"ipc:///d/run/worker.sock", "..", 0, -1, NULL},
        {"tcp://host:7000", "s.sock", 7001, 1, "tcp://host:7001"},
        {"tcp://[::1]:7000", "", 65535, 1, "tcp://[::1]:65535"},
        {"tcp://host:7000", "s.sock", 0, 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[LINK_ENDPOINT_MAX];
        struct err e = {0};
        int rc = link_beside(out, cases[i].endpoint, str_of(cases[i].file), cases[i].port, &e);
        assert_int_equal(rc, cases[i].rc);
        if (rc == 1)
            assert_string_equal(out, cases[i].is);
        if (rc == -1)
            assert_int_equal(e.code, ERR_BAD_VALUE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_endpoints),
                                       cmocka_unit_test(test_paths), cmocka_unit_test(test_beside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

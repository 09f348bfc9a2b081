/* Where lines go, when nobody takes them: the program goes on, and says later what was lost. */
#include "common/base/check.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 1000 /* lines of a kilobyte: more than any of these holds */

static char said[4 << 20];

static void say_much(int n) {
    char text[1000];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < n; i++)
        log_event(LOG_broker_ready, log_str("text", str_make(text, sizeof text)));
}

static struct str drain(int fd) {
    size_t len = 0;
    ssize_t n;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while ((n = read(fd, said + len, sizeof said - len)) > 0)
        len += (size_t)n;
    return str_make(said, len);
}

/* Each line is one JSON object; how many, and how many of them are of this event. */
static int count(struct str text, const char *event) {
    int lines = 0;
    while (text.len) {
        const char *end = memchr(text.at, '\n', text.len);
        assert_non_null(end);
        size_t len = (size_t)(end - text.at);
        json_error_t error;
        json_t *o = json_loadb(text.at, len, 0, &error);
        if (!o)
            fail_msg("%s: %.*s", error.text, (int)len, text.at);
        lines += !event || strcmp(json_string_value(json_object_get(o, "event")), event) == 0;
        json_decref(o);
        text = str_make(end + 1, text.len - len - 1);
    }
    return lines;
}

/* Over its alarm it would hang. */
static void fill(int write_end, int read_end) {
    uint64_t before = log_lost();
    log_open("sink_test", write_end);
    alarm(20);
    say_much(MANY);
    alarm(0);
    uint64_t lost = log_lost() - before;
    assert_in_range(lost, 1, MANY - 1);
    assert_int_equal(count(drain(read_end), NULL), MANY - lost);
    say_much(1);
    assert_int_equal(count(drain(read_end), "log.lost"), 1);
    char wanted[40];
    snprintf(wanted, sizeof wanted, "\"lines\":%llu}", (unsigned long long)lost);
    assert_non_null(strstr(said, wanted));
    say_much(1);
    assert_int_equal(count(drain(read_end), "log.lost"), 0);
    log_open("sink_test", 2);
    close(write_end);
    close(read_end);
}

static void a_full_pipe(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fill(ends[1], ends[0]);
}

static void a_full_socket(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    fill(ends[1], ends[0]);
}

/* For others who share it nothing changes. */
static void a_pipe_stays_as_it_is(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    log_open("sink_test", ends[1]);
    say_much(1);
    assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    log_open("sink_test", 2);
    close(ends[0]);
    close(ends[1]);
}

static void a_reader_that_goes(void **state) {
    (void)state;
    int ends[2], pair[2];
    uint64_t before = log_lost();
    assert_int_equal(pipe(ends), 0);
    signal(SIGPIPE, SIG_DFL);
    log_open("sink_test", ends[1]);
    close(ends[0]);
    say_much(2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    log_open("sink_test", pair[1]);
    close(pair[0]);
    say_much(2);
    assert_int_equal(log_lost() - before, 4);
    log_open("sink_test", 2);
    close(ends[1]);
    close(pair[1]);
}

static void a_device_that_is_full(void **state) {
    (void)state;
    uint64_t before = log_lost();
    int fd = open("/dev/full", O_WRONLY);
    log_open("sink_test", fd);
    say_much(3);
    assert_int_equal(log_lost() - before, 3);
    log_open("sink_test", 2);
    close(fd);
}

/* ---- files ----------------------------------------------------------------------------------- */
static char folder[32], path[64], moved[64];

static int set_up(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sink-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(moved, sizeof moved, "%s/log.1", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    log_open("sink_test", 2);
    unlink(path);
    unlink(moved);
    rmdir(folder);
    return 0;
}

static struct str file_text(const char *name) {
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, said, sizeof said);
    close(fd);
    return str_make(said, n > 0 ? (size_t)n : 0);
}

/* What could not be written whole does not spoil the line behind it. */
static void half_a_line(void **state) {
    (void)state;
    struct rlimit was, tight;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    signal(SIGXFSZ, SIG_IGN);
    log_open("sink_test", fd);
    say_much(1);
    getrlimit(RLIMIT_FSIZE, &was);
    tight = (struct rlimit){file_text(path).len + 100, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    say_much(3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    say_much(1);
    struct str text = file_text(path);
    assert_int_equal(text.at[tight.rlim_cur], '\n');
    struct str rest = str_make(text.at + tight.rlim_cur + 1, text.len - (size_t)tight.rlim_cur - 1);
    assert_int_equal(count(rest, NULL), 2);
    assert_int_equal(count(rest, "log.lost"), 1);
    close(fd);
}

static void a_file_that_is_moved(void **state) {
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_open("sink_test", fd);
    say_much(2);
    assert_int_equal(rename(path, moved), 0);
    log_look();
    say_much(3);
    assert_int_equal(count(file_text(moved), NULL), 2);
    assert_int_equal(count(file_text(path), NULL), 3);
    struct stat is;
    assert_int_equal(stat(path, &is), 0);
    assert_int_equal(is.st_mode & 0777, 0600);
    assert_int_equal(unlink(path), 0); /* removed: it is made again */
    log_look();
    say_much(1);
    assert_int_equal(count(file_text(path), NULL), 1);
    close(fd);
}

/* Nobody said that more shall be added to it, whatever has its name. */
static void a_file_that_is_not_appended_to(void **state) {
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    log_open("sink_test", fd);
    assert_int_equal(rename(path, moved), 0);
    log_look();
    say_much(1);
    assert_int_equal(count(file_text(moved), NULL), 1);
    assert_int_equal(access(path, F_OK), -1);
    close(fd);
}

/* Nor does the log go through a link that somebody has put there. */
static void no_links(void **state) {
    (void)state;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_open("sink_test", fd);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(symlink("/dev/null", path), 0);
    log_look();
    say_much(1);
    assert_int_equal(count(file_text(moved), NULL), 1);
    close(fd);
}

/* A file that is opened later must not become standard error. */
static void closed_descriptors(void **state) {
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        close(0);
        close(1);
        close(2);
        log_open("sink_test", 2);
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        say_much(1);
        _exit(fd > 2 && fcntl(2, F_GETFD) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A bug that is met stands in the log before the process ends. */
static void a_bug(void **state) {
    (void)state;
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        log_open("sink_test", ends[1]);
        check_failed("a.c", 7, "f", "x > 0");
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    struct str text = drain(ends[0]);
    assert_int_equal(count(text, "program.bug"), 1);
    assert_non_null(memmem(text.at, text.len, "\"file\":\"a.c\",\"line\":7,", 22));
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_pipe),
        cmocka_unit_test(a_full_socket),
        cmocka_unit_test(a_pipe_stays_as_it_is),
        cmocka_unit_test(a_reader_that_goes),
        cmocka_unit_test(a_device_that_is_full),
        cmocka_unit_test_setup_teardown(half_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_moved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_not_appended_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_links, set_up, tear_down),
        cmocka_unit_test(closed_descriptors),
        cmocka_unit_test(a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

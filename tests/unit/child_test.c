/* Child processes: what they inherit, how their end is told, and that they do not outlive us. */
#include "common/os/child.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000

static char *const no_environment[] = {NULL};

static struct child_spec shell(char **argv, const char *script) {
    argv[0] = "sh";
    argv[1] = "-c";
    argv[2] = (char *)(uintptr_t)script;
    argv[3] = NULL;
    return (struct child_spec){
        .program = "/bin/sh", .argv = argv, .envp = no_environment, .output = -1, .pass = -1};
}

static void wait_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
}

static struct child_end await(struct child *c) {
    struct child_end end;
    wait_readable(c->pidfd);
    assert_true(child_reap(c, &end));
    assert_int_equal(c->pid, 0);
    assert_false(child_reap(c, &end));
    return end;
}

static struct child_end run(const char *script) {
    char *argv[4];
    struct child_spec spec = shell(argv, script);
    struct child c;
    struct err e = {0};
    assert_int_equal(child_start(&spec, &c, &e), 0);
    return await(&c);
}

static void test_ends(void **state) {
    (void)state;
    struct child_end end = run("exit 7");
    assert_int_equal(end.status, 7);
    assert_string_equal(child_end_words(&end).at, "ended with status 7");
    end = run("kill -9 $$");
    assert_int_equal(end.signal, SIGKILL);
    assert_string_equal(child_end_words(&end).at, "was ended by signal 9 (SIGKILL)");
}

static void test_what_cannot_be_started(void **state) {
    char *argv[] = {"x", NULL};
    struct child_spec spec = {.argv = argv, .envp = no_environment, .output = -1, .pass = -1};
    struct child c;
    (void)state;
    static const char *const names[] = {"/no/such/program", "no-such-program", "/dev/null", "/tmp"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct err e = {0};
        spec.program = names[i];
        assert_int_equal(child_start(&spec, &c, &e), -1);
        assert_non_null(strstr(e.text, names[i]));
        assert_int_equal(c.pid, 0);
    }
    struct err e = {0};
    spec.program = "sh";
    spec.directory = "/no/such/folder";
    assert_int_equal(child_start(&spec, &c, &e), -1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left of them */
}

/* Standard input is empty; of descriptors it has its three, and what it was handed. */
static void test_inherits_little(void **state) {
    int out[2], other[2];
    char text[256] = "";
    char *argv[4];
    (void)state;
    assert_int_equal(pipe(out), 0);
    assert_int_equal(pipe(other), 0);
    struct child_spec spec = shell(argv, "cat; cd /proc/self/fd; echo *; echo handed >&3; pwd");
    char *env[] = {"PATH=/usr/bin:/bin", NULL};
    spec.envp = env;
    spec.output = out[1];
    spec.pass = other[1];
    spec.directory = "/";
    struct child c;
    struct err e = {0};
    assert_int_equal(child_start(&spec, &c, &e), 0);
    assert_int_equal(await(&c).status, 0);
    assert_true(read(out[0], text, sizeof text - 1) > 0);
    assert_memory_equal(text, "0 1 2 3 ", 8);
    memset(text, 0, sizeof text);
    assert_int_equal(read(other[0], text, sizeof text - 1), 7);
    assert_string_equal(text, "handed\n");
    for (size_t i = 0; i < 2; i++) {
        close(out[i]);
        close(other[i]);
    }
}

static void test_blocked_signals_are_not_inherited(void **state) {
    sigset_t set, old;
    char *argv[4];
    struct child_spec spec = shell(argv, "while :; do sleep 1; done");
    char *env[] = {"PATH=/usr/bin:/bin", NULL};
    struct child c;
    struct err e = {0};
    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    spec.envp = env;
    assert_int_equal(child_start(&spec, &c, &e), 0);
    child_signal(&c, SIGTERM);
    assert_int_equal(await(&c).signal, SIGTERM);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

/* A descriptor that only what the child started still holds is closed when that is killed too. */
static void test_group_is_killed(void **state) {
    int out[2];
    char *argv[4], byte;
    char *env[] = {"PATH=/usr/bin:/bin", NULL};
    (void)state;
    assert_int_equal(pipe(out), 0);
    struct child_spec spec = shell(argv, "sleep 600 & echo; wait");
    spec.envp = env;
    spec.output = out[1];
    struct child c;
    struct err e = {0};
    assert_int_equal(child_start(&spec, &c, &e), 0);
    close(out[1]);
    wait_readable(out[0]);
    assert_int_equal(read(out[0], &byte, 1), 1);
    child_kill(&c);
    assert_int_equal(await(&c).signal, SIGKILL);
    wait_readable(out[0]);
    assert_int_equal(read(out[0], &byte, 1), 0);
    close(out[0]);
}

/* In a process of its own: starts a child that holds `fd`, and ends by SIGKILL. */
static void start_and_die(int fd) {
    char *argv[4];
    char *env[] = {"PATH=/usr/bin:/bin", NULL};
    struct child_spec spec = shell(argv, "echo; exec sleep 600");
    struct child c;
    struct err e = {0};
    spec.envp = env;
    spec.output = fd;
    spec.death_signal = SIGTERM;
    if (child_start(&spec, &c, &e) == 0)
        raise(SIGKILL);
    _exit(1);
}

static void test_does_not_outlive_its_parent(void **state) {
    int out[2];
    char byte;
    (void)state;
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0)
        start_and_die(out[1]);
    close(out[1]);
    while (waitpid(pid, NULL, 0) < 0)
        continue;
    /* Whether it had said something or not: that it has ended closes the pipe. */
    do
        wait_readable(out[0]);
    while (read(out[0], &byte, 1) == 1);
    close(out[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_what_cannot_be_started),
        cmocka_unit_test(test_inherits_little),
        cmocka_unit_test(test_blocked_signals_are_not_inherited),
        cmocka_unit_test(test_group_is_killed),
        cmocka_unit_test(test_does_not_outlive_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

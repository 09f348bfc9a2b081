#include "tests/e2e/broker_process.h"

#include "common/os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define PROGRAM     QUERN_BIN_DIR "/quern-broker"

/* ---- files ---------------------------------------------------------------------------------- */
static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

void broker_write_config(const struct broker *b, const char *yaml) {
    write_file(b->config, yaml);
}

static void path_of(char out[BROKER_PATH_MAX], const char *folder, const char *name) {
    assert_in_range(snprintf(out, BROKER_PATH_MAX, "%s/%s", folder, name), 1, BROKER_PATH_MAX - 1);
}

void broker_make(struct broker *b, const char *yaml) {
    *b = (struct broker){.ready = -1};
    const char *tmp = getenv("TMPDIR");
    path_of(b->root, tmp && *tmp && strlen(tmp) < 40 ? tmp : "/tmp", "quern-e2e-XXXXXX");
    assert_non_null(mkdtemp(b->root));
    path_of(b->data, b->root, "data");
    path_of(b->run, b->data, "run");
    path_of(b->config, b->root, "quern.yaml");
    path_of(b->log, b->root, "log");
    broker_write_config(b, yaml);
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *where) {
    (void)s;
    (void)type;
    (void)where;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- the process ---------------------------------------------------------------------------- */
static void become(const char *const *arguments, int error_fd) {
    char *argv[16] = {(char *)(uintptr_t)PROGRAM};
    for (size_t i = 0; arguments[i] && i < 14; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(error_fd, 1);
    dup2(error_fd, 2);
    execv(PROGRAM, argv);
    _exit(127);
}

static void preload(const struct broker *b) {
    char base[BROKER_PATH_MAX + 8];
    snprintf(base, sizeof base, "%s/sync", b->root);
    setenv("QUERN_TEST_SYNC", base, 1);
    setenv("LD_PRELOAD", b->preload, 1);
}

void broker_launch(struct broker *b) {
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(fcntl(ready[0], F_SETFD, FD_CLOEXEC), 0);
    int log = open(b->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(log >= 0);
    char fd[16];
    snprintf(fd, sizeof fd, "%d", ready[1]);
    const char *arguments[] = {"--data", b->data, "--config", b->config, "--ready-fd", fd, NULL};
    b->pid = fork();
    assert_true(b->pid >= 0);
    if (b->pid == 0) {
        if (b->preload)
            preload(b);
        if (b->files_max)
            setrlimit(RLIMIT_NOFILE, &(struct rlimit){b->files_max, b->files_max});
        become(arguments, log);
    }
    close(ready[1]);
    close(log);
    b->ready = ready[0];
}

static void show_log(const struct broker *b) {
    char text[8192];
    int fd = open(b->log, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (n > 0)
        print_error("%.*s", (int)n, text);
    if (fd >= 0)
        close(fd);
}

void broker_start(struct broker *b) {
    broker_launch(b);
    struct pollfd p = {.fd = b->ready, .events = POLLIN};
    char byte;
    int n;
    while ((n = poll(&p, 1, DEADLINE_MS)) < 0 && errno == EINTR)
        continue;
    if (n <= 0 || read(b->ready, &byte, 1) != 1) {
        show_log(b);
        fail_msg("the broker does not get ready");
    }
    close(b->ready);
    b->ready = -1;
}

void broker_signal(const struct broker *b, int signal) {
    assert_true(b->pid > 0);
    assert_int_equal(kill(b->pid, signal), 0);
}

static int wait_for(pid_t pid) {
    struct pollfd p = {.fd = pidfd_open(pid, 0), .events = POLLIN};
    int status = 0, n;
    assert_true(p.fd >= 0);
    while ((n = poll(&p, 1, DEADLINE_MS)) < 0 && errno == EINTR)
        continue;
    close(p.fd);
    if (n == 0)
        kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (n == 0)
        fail_msg("process %d does not end", (int)pid);
    return status;
}

int broker_wait(struct broker *b) {
    int status = wait_for(b->pid);
    b->pid = 0;
    if (b->ready >= 0)
        close(b->ready);
    b->ready = -1;
    return status;
}

void broker_kill(struct broker *b) {
    broker_signal(b, SIGKILL);
    broker_wait(b);
}

void broker_stop(struct broker *b) {
    broker_signal(b, SIGTERM);
    int status = broker_wait(b);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        show_log(b);
        fail_msg("the broker ended with status %x", (unsigned)status);
    }
}

void broker_remove(struct broker *b) {
    if (b->pid > 0)
        broker_kill(b);
    remove_tree(b->root);
}

int broker_run(char *said, size_t size, const char *const *arguments) {
    int out[2];
    assert_int_equal(pipe(out), 0);
    assert_int_equal(fcntl(out[0], F_SETFD, FD_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        become(arguments, out[1]);
    close(out[1]);
    size_t len = 0;
    struct pollfd p = {.fd = out[0], .events = POLLIN};
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    while (poll(&p, 1, (int)mono_until(clock_mono(), deadline)) > 0) {
        ssize_t n = read(out[0], said + len, size - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    said[len] = '\0';
    close(out[0]);
    if (mono_reached(clock_mono(), deadline))
        kill(pid, SIGKILL);
    int status = wait_for(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- its log -------------------------------------------------------------------------------- */
const char *broker_log_text(const struct broker *b) {
    static char log[1 << 20];
    int fd = open(b->log, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, log, sizeof log - 1);
    close(fd);
    assert_true(n >= 0);
    log[n] = '\0';
    return log;
}

bool broker_log_has(const struct broker *b, const char *text) {
    return strstr(broker_log_text(b), text) != NULL;
}

void broker_await_log(const struct broker *b, const char *text) {
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    struct pollfd p = {.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .events = POLLIN};
    assert_true(p.fd >= 0 && inotify_add_watch(p.fd, b->log, IN_MODIFY) >= 0);
    while (!broker_log_has(b, text)) {
        char events[4096];
        uint64_t left = mono_until(clock_mono(), deadline);
        if (left == 0) {
            show_log(b);
            fail_msg("the log does not say '%s'", text);
        }
        poll(&p, 1, (int)left);
        while (read(p.fd, events, sizeof events) > 0)
            continue;
    }
    close(p.fd);
}

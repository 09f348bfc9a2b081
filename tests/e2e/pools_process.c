#include "tests/e2e/pools_process.h"

#include "common/os/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000

static const char program[] = QUERN_BIN_DIR "/quern-pools";

void pools_adopt_orphans(void) {
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
}

void pools_start(struct pools *p, const struct broker *b) {
    char *text[] = {(char *)(uintptr_t)program,   "--data", (char *)(uintptr_t)b->data, "--config",
                    (char *)(uintptr_t)b->config, NULL};
    int log = open(b->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(log >= 0);
    struct child_spec spec = {.program = program,
                              .argv = text,
                              .envp = environ,
                              .output = log,
                              .pass = -1,
                              .death_signal = SIGKILL};
    struct err e = {0};
    if (child_start(&spec, &p->child, &e) < 0)
        fail_msg("quern-pools: %s", e.text);
    close(log);
}

/* ---- who is whose child --------------------------------------------------------------------- */
/* The parent of a process, 0 if there is none such. */
static pid_t parent_of(const char *pid, char *state) {
    char path[300], text[512];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *at = strrchr(text, ')');
    if (!at || strlen(at) < 5) /* ") S 123 ..." */
        return 0;
    *state = at[2];
    return (pid_t)strtol(at + 4, NULL, 10);
}

static size_t children_of(pid_t parent, pid_t out[POOLS_WORKERS_MAX]) {
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    size_t n = 0;
    assert_non_null(dir);
    while ((entry = readdir(dir)) && n < POOLS_WORKERS_MAX) {
        char state = 'Z';
        bool is_pid = entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
        if (is_pid && parent_of(entry->d_name, &state) == parent && state != 'Z')
            out[n++] = (pid_t)strtol(entry->d_name, NULL, 10);
    }
    closedir(dir);
    return n;
}

size_t pools_workers(const struct pools *p, pid_t out[POOLS_WORKERS_MAX]) {
    return p->child.pid ? children_of(p->child.pid, out) : 0;
}

/* ---- their ends ----------------------------------------------------------------------------- */
static struct child_end await_end(struct pools *p) {
    struct pollfd fd = {.fd = p->child.pidfd, .events = POLLIN};
    struct child_end end = {0};
    int n;
    while ((n = poll(&fd, 1, DEADLINE_MS)) < 0 && errno == EINTR)
        continue;
    if (n == 0) {
        child_kill(&p->child);
        poll(&fd, 1, DEADLINE_MS);
    }
    bool ended = child_reap(&p->child, &end);
    if (n == 0 || !ended)
        fail_msg("quern-pools does not end");
    return end;
}

void pools_kill(struct pools *p) {
    child_signal(&p->child, SIGKILL);
    await_end(p);
}

void pools_kill_all(struct pools *p) {
    pid_t pids[POOLS_WORKERS_MAX];
    child_signal(&p->child, SIGSTOP); /* it starts no more meanwhile */
    size_t n = pools_workers(p, pids);
    for (size_t i = 0; i < n; i++)
        kill(pids[i], SIGKILL);
    pools_kill(p);
}

void pools_stop(struct pools *p) {
    child_signal(&p->child, SIGTERM);
    struct child_end end = await_end(p);
    struct child_words words = child_end_words(&end);
    if (end.status || end.signal)
        fail_msg("quern-pools %s", words.at);
}

void pools_reap_orphans(const struct pools *p, const struct broker *b) {
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
            return;
        if (info.si_pid == b->pid || info.si_pid == p->child.pid)
            return; /* not an orphan, and others may be behind it: the next call finds them */
        waitpid(info.si_pid, NULL, 0);
    }
}

void pools_remove(struct pools *p, const struct broker *b) {
    pid_t pids[POOLS_WORKERS_MAX];
    size_t n;
    if (p->child.pid)
        pools_kill_all(p);
    /* A process between fork and exec may be one of ours, too. */
    while ((n = children_of(getpid(), pids)) > (b->pid ? 1U : 0U))
        for (size_t i = 0; i < n; i++)
            if (pids[i] != b->pid) {
                kill(pids[i], SIGKILL);
                waitpid(pids[i], NULL, 0);
            }
    pools_reap_orphans(p, b);
}

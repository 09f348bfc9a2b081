#include "tests/bench/bench_queue.h"

#include "common/os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 24
#define READY_MS      120000
#define STOP_MS       30000

/* ---- starting ------------------------------------------------------------------------------- */
static void become(const char *const *argv, const char *log, int ready) {
    const char *all[ARGUMENTS_MAX + 3] = {NULL};
    char number[16];
    size_t n = 0;
    for (; argv[n] && n < ARGUMENTS_MAX; n++)
        all[n] = argv[n];
    if (ready >= 0) {
        snprintf(number, sizeof number, "%d", ready);
        all[n++] = "--ready-fd";
        all[n++] = number;
    }
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
        _exit(126);
    if (all[0])
        execvp(all[0], (char *const *)(uintptr_t)all);
    _exit(127);
}

/* In a child: it ends with its parent. */
static pid_t child(void) {
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        die("cannot fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
    }
    return pid;
}

static void show_log(const char *log) {
    char text[4096];
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (n > 0)
        fprintf(stderr, "%.*s", (int)n, text);
    if (fd >= 0)
        close(fd);
}

double process_start(struct process *p, const char *const *argv, const char *log, bool ready_fd) {
    int ready[2] = {-1, -1};
    if (ready_fd && (pipe(ready) < 0 || fcntl(ready[0], F_SETFD, FD_CLOEXEC) < 0))
        die("no pipe: %s", strerror(errno));
    uint64_t began = clock_mono_ns();
    p->pid = child();
    if (p->pid == 0)
        become(argv, log, ready[1]);
    if (!ready_fd)
        return 0;
    close(ready[1]);
    struct pollfd f = {.fd = ready[0], .events = POLLIN};
    char byte;
    if (poll(&f, 1, READY_MS) <= 0 || read(ready[0], &byte, 1) != 1) {
        show_log(log);
        die("%s does not get ready", argv[0]);
    }
    close(ready[0]);
    return (double)(clock_mono_ns() - began) / 1e6;
}

void process_fork(struct process *p, void (*body)(const void *arg), const void *arg) {
    fflush(stdout);
    p->pid = child();
    if (p->pid)
        return;
    body(arg);
    _exit(0);
}

/* ---- ending --------------------------------------------------------------------------------- */
static bool ended_within(pid_t pid, int ms) {
    struct pollfd f = {.fd = pidfd_open(pid, 0), .events = POLLIN};
    int n = f.fd >= 0 ? poll(&f, 1, ms) : 0;
    if (f.fd >= 0)
        close(f.fd);
    return n > 0;
}

static void end(struct process *p, int number) {
    if (!p->pid)
        return;
    if (number)
        kill(p->pid, number);
    if (!ended_within(p->pid, STOP_MS))
        kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
}

void process_stop(struct process *p) {
    end(p, SIGTERM);
}

void process_wait(struct process *p) {
    end(p, 0);
}

/* ---- what one takes ------------------------------------------------------------------------- */
static size_t read_proc(pid_t pid, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid ? (int)pid : (int)getpid(), name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static uint64_t number_after(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* /proc/PID/schedstat of all threads would be finer, but ticks are enough over seconds. */
static uint64_t cpu_us(pid_t pid) {
    char text[1024];
    read_proc(pid, "stat", text, sizeof text);
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 14; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return 0;
    uint64_t user = strtoull(at, &at, 10), system = strtoull(at, NULL, 10);
    return (user + system) * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

struct usage process_usage(pid_t pid) {
    char text[4096];
    struct usage u = {.cpu_us = cpu_us(pid)};
    read_proc(pid, "io", text, sizeof text);
    u.written = number_after(text, "wchar:");
    read_proc(pid, "smaps_rollup", text, sizeof text);
    u.rss = number_after(text, "Rss:") * 1024;
    u.private_bytes =
        (number_after(text, "Private_Clean:") + number_after(text, "Private_Dirty:")) * 1024;
    return u;
}

/* ---- the folder ----------------------------------------------------------------------------- */
static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at) {
    (void)s;
    (void)type;
    (void)at;
    remove(path);
    return 0;
}

void remove_tree(const char *path) {
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

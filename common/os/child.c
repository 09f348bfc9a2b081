#include "common/os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- which program -------------------------------------------------------------------------- */
/* Looks along PATH here, since between fork and exec only little may be called. */
static int find_program(const char *name, char out[PATH_MAX], struct err *e) {
    const char *path = getenv("PATH");
    if (strchr(name, '/')) {
        if (snprintf(out, PATH_MAX, "%s", name) >= PATH_MAX)
            return err_set(e, ERR_IO, "the program's path is over %d bytes", PATH_MAX - 1);
        return 0;
    }
    for (const char *at = path ? path : "/usr/local/bin:/usr/bin:/bin"; at && *name;) {
        const char *end = strchrnul(at, ':');
        int n = snprintf(out, PATH_MAX, "%.*s/%s", (int)(end - at), at, name);
        if (end > at && n < PATH_MAX && access(out, X_OK) == 0)
            return 0;
        at = *end ? end + 1 : NULL;
    }
    return err_set(e, ERR_NOT_FOUND, "no program '%s' in PATH", name);
}

/* ---- in the child --------------------------------------------------------------------------- */
/* As services are started: a log that nobody reads any more must not end who writes it. */
static void plain_signals(void) {
    struct sigaction usual = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &usual, NULL); /* some cannot be set; they are as usual anyway */
    signal(SIGPIPE, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int prepare(const struct child_spec *spec, pid_t parent) {
    if (setpgid(0, 0) < 0)
        return -1;
    if (spec->death_signal && prctl(PR_SET_PDEATHSIG, spec->death_signal) < 0)
        return -1;
    if (getppid() != parent)
        _exit(128); /* it ended before the line above: nobody is left to tell */
    int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0)
        return -1;
    if (spec->output >= 0 && (dup2(spec->output, 1) < 0 || dup2(spec->output, 2) < 0))
        return -1;
    return spec->directory ? chdir(spec->directory) : 0;
}

/* Everything over standard error is closed by exec, but for what is handed over. */
static int hand_over(const struct child_spec *spec, int *report) {
    if (spec->pass >= 0) {
        /* The report may stand where the other one has to go. */
        int other = fcntl(*report, F_DUPFD, CHILD_PASS + 1);
        if (other < 0 || (spec->pass != CHILD_PASS && dup2(spec->pass, CHILD_PASS) < 0))
            return -1;
        *report = other;
    }
    if (close_range(CHILD_PASS, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
        return -1;
    return spec->pass < 0 ? 0 : fcntl(CHILD_PASS, F_SETFD, 0);
}

static void run(const struct child_spec *spec, const char *program, pid_t parent, int report)
    __attribute__((noreturn));
static void run(const struct child_spec *spec, const char *program, pid_t parent, int report) {
    plain_signals();
    if (prepare(spec, parent) == 0 && hand_over(spec, &report) == 0)
        execve(program, spec->argv, spec->envp);
    int why = errno;
    ssize_t told = write(report, &why, sizeof why);
    _exit(told == sizeof why ? 127 : 126);
}

/* ---- in the parent -------------------------------------------------------------------------- */
/* Nothing comes when exec has closed the other end. */
static int read_report(int fd) {
    int why = 0;
    ssize_t n;
    do
        n = read(fd, &why, sizeof why);
    while (n < 0 && errno == EINTR);
    return n == sizeof why ? why : 0;
}

static void wait_for(pid_t pid) {
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

int child_start(const struct child_spec *spec, struct child *out, struct err *e) {
    char program[PATH_MAX];
    int report[2];
    *out = (struct child){.pidfd = -1};
    if (find_program(spec->program, program, e) < 0)
        return -1;
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_errno(e, "cannot start %s: pipe", program);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        run(spec, program, parent, report[1]);
    int why = errno;
    close(report[1]);
    if (pid > 0)
        why = read_report(report[0]);
    close(report[0]);
    if (pid > 0 && !why && (out->pidfd = pidfd_open(pid, 0)) >= 0) {
        out->pid = pid;
        return 0;
    }
    if (pid > 0) {
        why = why ? why : errno;
        kill(pid, SIGKILL);
        wait_for(pid);
    }
    errno = why;
    return err_errno(e, "cannot start %s", program);
}

void child_signal(const struct child *c, int number) {
    if (c->pid)
        pidfd_send_signal(c->pidfd, number, NULL, 0);
}

void child_kill(const struct child *c) {
    if (!c->pid)
        return;
    kill(-c->pid, SIGKILL);
    child_signal(c, SIGKILL);
}

bool child_reap(struct child *c, struct child_end *end) {
    siginfo_t info = {0};
    if (!c->pid || waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        info.si_pid != c->pid)
        return false;
    kill(-c->pid, SIGKILL); /* while its zombie keeps the number of the group */
    wait_for(c->pid);
    close(c->pidfd);
    *end = info.si_code == CLD_EXITED ? (struct child_end){.status = info.si_status}
                                      : (struct child_end){.signal = info.si_status};
    *c = (struct child){.pidfd = -1};
    return true;
}

struct child_words child_end_words(const struct child_end *end) {
    struct child_words words;
    const char *name = end->signal ? sigabbrev_np(end->signal) : NULL;
    if (end->signal)
        snprintf(words.at, sizeof words.at, "was ended by signal %d (%s%s)", end->signal,
                 name ? "SIG" : "", name ? name : "unknown");
    else
        snprintf(words.at, sizeof words.at, "ended with status %d", end->status);
    return words;
}

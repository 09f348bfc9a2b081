/* Into the background: the process that was started waits until the tree is ready, then ends. */
#include "cli/up.h"
#include "common/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_MAX  8192
#define LOG_LOOK_MS 1000

static int open_log(const struct up *u, char path[PATH_MAX], struct err *e) {
    if (snprintf(path, PATH_MAX, "%s/log", u->data) >= PATH_MAX - 16)
        return err_set(e, ERR_TOO_LARGE, "the path of the data folder: at most %d bytes", PATH_MAX);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "cannot make the folder %s", path);
    snprintf(path + strlen(path), 16, "/quern.log");
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return fd < 0 ? err_errno(e, "cannot open %s", path) : fd;
}

/* The answer: one byte of status, then the text. */
static void await(int fd, const char *log) __attribute__((noreturn));
static void await(int fd, const char *log) {
    char answer[ANSWER_MAX];
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, answer + len, sizeof answer - len)) > 0 || (n < 0 && errno == EINTR))
        len += n > 0 ? (size_t)n : 0;
    if (len == 0) {
        cli_say("it ended before it was ready; see %s", log);
        exit(1);
    }
    FILE *to = answer[0] ? stderr : stdout;
    fprintf(to, "%.*s\n", (int)len - 1, answer + 1);
    exit(answer[0]);
}

int detach(struct up *u, struct err *e) {
    char path[PATH_MAX];
    int answer[2], log = open_log(u, path, e);
    if (log < 0)
        return -1;
    if (pipe2(answer, O_CLOEXEC) < 0)
        return err_errno(e, "pipe");
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, "fork");
    if (pid > 0) {
        close(answer[1]);
        await(answer[0], path);
    }
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (setsid() < 0 || nothing < 0 || dup2(nothing, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        return err_errno(e, "cannot go to the background");
    close(answer[0]);
    close(nothing);
    close(log);
    u->answer_fd = answer[1];
    memcpy(u->log, path, sizeof u->log);
    return 0;
}

void up_turn_log(struct up *u, struct mono now) {
    struct stat is;
    char old[PATH_MAX + 2];
    if (!u->log[0] || !mono_reached(now, u->log_look_at))
        return;
    u->log_look_at = mono_add(now, LOG_LOOK_MS);
    if (stat(u->log, &is) < 0 || (uint64_t)is.st_size < u->now->log.file_max)
        return;
    snprintf(old, sizeof old, "%s.1", u->log);
    if (rename(u->log, old) < 0)
        return;
    log_look(); /* the parts see it by themselves */
    log_event(LOG_log_turned, log_text("old", old), log_u64("bytes", (uint64_t)is.st_size));
}

void detach_answer(struct up *u, int status, struct str text) {
    char answer[ANSWER_MAX];
    if (u->answer_fd < 0)
        return;
    int n = snprintf(answer, sizeof answer, "%c%s" STR_FMT, status, status ? "quern: " : "",
                     STR_ARG(text));
    size_t len = n < 0 ? 0 : (size_t)n < sizeof answer ? (size_t)n : sizeof answer - 1;
    ssize_t written = write(u->answer_fd, answer, len);
    (void)written; /* who waited may be gone */
    close(u->answer_fd);
    u->answer_fd = -1;
}

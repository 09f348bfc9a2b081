#include "common/log/sink.h"

#include "common/os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum sink_is { SINK_FILE, SINK_NO_WAIT, SINK_SOCKET, SINK_ASK };

static struct {
    atomic_int fd;           /* that was handed to us, */
    int own;                 /* the same opened once more; -1 */
    enum sink_is is;         /* as what it is written to */
    char path[PATH_MAX];     /* of a file that is followed; empty: none is */
    atomic_uint_fast64_t at; /* second in which its name was looked for */
    atomic_bool torn;        /* half a line stands there */
} sink = {.fd = STDERR_FILENO, .own = -1, .is = SINK_ASK};

static void fill_standard(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        int nothing = open("/dev/null", O_RDWR); /* the lowest that is free: this one */
        if (nothing > 2)
            close(nothing);
    }
}

/* Its name, if it is the name of that very file. */
static void learn_path(int fd, const struct stat *is) {
    char link[64];
    struct stat named;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, sink.path, sizeof sink.path - 1);
    sink.path[n > 0 ? n : 0] = '\0';
    if (n > 0 &&
        (stat(sink.path, &named) < 0 || named.st_ino != is->st_ino || named.st_dev != is->st_dev))
        sink.path[0] = '\0';
}

static enum sink_is look_what(int fd, const struct stat *is) {
    if (S_ISSOCK(is->st_mode))
        return SINK_SOCKET;
    if (S_ISREG(is->st_mode)) {
        int flags = fcntl(fd, F_GETFL);
        if (flags >= 0 && (flags & O_APPEND))
            learn_path(fd, is);
        return SINK_FILE;
    }
    char again[64];
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    sink.own = open(again, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return sink.own >= 0 ? SINK_NO_WAIT : SINK_ASK;
}

void sink_open(int fd) {
    struct stat is;
    fill_standard();
    signal(SIGPIPE, SIG_IGN); /* a reader that goes ends nobody */
    if (sink.own >= 0)
        close(sink.own);
    sink.own = -1;
    sink.path[0] = '\0';
    sink.is = SINK_ASK;
    if (fd >= 0 && fstat(fd, &is) == 0)
        sink.is = look_what(fd, &is);
    atomic_store(&sink.torn, false);
    atomic_store(&sink.fd, fd);
}

/* ---- a file that was moved away ------------------------------------------------------------- */
static bool same_file(int fd, const struct stat *b) {
    struct stat a;
    return fstat(fd, &a) == 0 && a.st_dev == b->st_dev && a.st_ino == b->st_ino;
}

void sink_look(void) {
    struct stat named, old;
    int fd = atomic_load(&sink.fd);
    if (!sink.path[0] || fstat(fd, &old) < 0)
        return;
    if (stat(sink.path, &named) == 0 && named.st_dev == old.st_dev && named.st_ino == old.st_ino)
        return;
    int new = open(sink.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (new < 0)
        return; /* where it was is better than nowhere */
    bool output_too = fd != STDOUT_FILENO && same_file(STDOUT_FILENO, &old);
    if (dup2(new, fd) == fd)
        atomic_store(&sink.torn, false);
    if (output_too)
        dup2(new, STDOUT_FILENO);
    close(new);
}

static void look_now_and_then(void) {
    uint64_t second = clock_mono().ms / 1000 + 1, last = atomic_load(&sink.at);
    if (sink.path[0] && last != second && atomic_compare_exchange_strong(&sink.at, &last, second))
        sink_look();
}

/* ---- writing -------------------------------------------------------------------------------- */
static ssize_t put_once(const char *at, size_t len) {
    int fd = atomic_load(&sink.fd);
    if (sink.is == SINK_SOCKET)
        return send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sink.is == SINK_NO_WAIT)
        return write(sink.own, at, len);
    struct pollfd to = {.fd = fd, .events = POLLOUT};
    if (sink.is == SINK_ASK && poll(&to, 1, 0) != 1)
        return -1;
    return write(fd, at, len);
}

static ssize_t put(const char *at, size_t len) {
    ssize_t n;
    do {
        n = put_once(at, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

bool sink_write(const char *at, size_t len) {
    look_now_and_then();
    if (atomic_load(&sink.torn)) {
        if (put("\n", 1) != 1)
            return false;
        atomic_store(&sink.torn, false);
    }
    ssize_t n = put(at, len);
    if (n > 0 && (size_t)n < len)
        atomic_store(&sink.torn, true);
    return n == (ssize_t)len;
}

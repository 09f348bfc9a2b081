#include "cli/tree.h"

#include "common/base/buf.h"
#include "common/os/clock.h"
#include "common/os/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME   "up.lock"
#define ANSWER_NAME "reload.fifo"
#define ANSWER_MAX  (16U << 20)

/* To close any descriptor of the file would let go of a lock that we hold ourselves. */
static pid_t holder;

void tree_path(char out[TREE_PATH_MAX], const char *data, const char *name) {
    snprintf(out, TREE_PATH_MAX, "%s/run/%s", data, name);
}

static struct flock whole_file(void) {
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

pid_t tree_pid(const char *data) {
    if (holder && holder == getpid())
        return holder;
    char path[TREE_PATH_MAX];
    tree_path(path, data, LOCK_NAME);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    struct flock lock = whole_file();
    pid_t pid = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
    close(fd);
    return pid;
}

static int make_folder(const char *path, struct err *e) {
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return err_errno(e, "cannot make the folder %s", path);
}

int tree_take(const char *data, struct err *e) {
    char path[TREE_PATH_MAX];
    if (make_folder(data, e) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/run", data);
    if (make_folder(path, e) < 0)
        return -1;
    tree_path(path, data, LOCK_NAME);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* stays open as long as we live */
    if (fd < 0)
        return err_errno(e, "cannot open %s", path);
    struct flock lock = whole_file();
    if (fcntl(fd, F_SETLK, &lock) == 0) {
        holder = getpid();
        return 0;
    }
    int why = errno;
    close(fd);
    if (why != EACCES && why != EAGAIN) {
        errno = why;
        return err_errno(e, "cannot lock %s", path);
    }
    return err_set(e, ERR_LOCKED,
                   "quern up runs in %s already (process %d); end it with: quern down", data,
                   (int)tree_pid(data));
}

static int put_piece(const char *at, size_t n, void *out) {
    return buf_put(out, at, n);
}

int tree_write(const char *data, const char *name, const json_t *json, struct err *e) {
    char path[TREE_PATH_MAX];
    tree_path(path, data, name);
    AUTO_BUF text = BUF(ANSWER_MAX);
    if (json_dump_callback(json, put_piece, &text, JSON_COMPACT) < 0)
        return err_set(e, ERR_IO, "%s cannot be said in JSON", name);
    return file_replace(path, buf_str(&text), e);
}

json_t *tree_read(const char *data, const char *name) {
    char path[TREE_PATH_MAX];
    tree_path(path, data, name);
    return json_load_file(path, 0, NULL);
}

/* ---- the answer ----------------------------------------------------------------------------- */
/* A FIFO takes no room on the disk, which may be why there is something to answer. */
int tree_ask(const char *data, int *fd, struct err *e) {
    char path[TREE_PATH_MAX];
    tree_path(path, data, ANSWER_NAME);
    unlink(path);
    if (mkfifo(path, 0600) < 0)
        return err_errno(e, "cannot make %s", path);
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return *fd >= 0 ? 0 : err_errno(e, "cannot open %s", path);
}

json_t *tree_hear(int fd, struct mono until) {
    AUTO_BUF text = BUF(ANSWER_MAX);
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, (int)mono_until(clock_mono(), until));
        char *room = n > 0 ? buf_room(&text, 4096) : NULL;
        if (n == 0 || (n > 0 && !room))
            return NULL;
        ssize_t got = room ? read(fd, room, 4096) : -1;
        if (got == 0)
            return json_loadb(text.at, text.len, 0, NULL);
        if (got > 0)
            buf_took(&text, (size_t)got);
        else if (errno != EINTR && errno != EAGAIN)
            return NULL;
    }
}

void tree_forget(const char *data, int *fd) {
    char path[TREE_PATH_MAX];
    tree_path(path, data, ANSWER_NAME);
    unlink(path);
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Nobody need have asked in that way: then there is no FIFO, or none that reads it. */
static int open_answer(const char *data) {
    char path[TREE_PATH_MAX];
    struct stat st;
    tree_path(path, data, ANSWER_NAME);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

void tree_answer(const char *data, const json_t *json, struct mono until) {
    int fd = open_answer(data);
    AUTO_BUF text = BUF(ANSWER_MAX);
    if (fd >= 0)
        json_dump_callback(json, put_piece, &text, JSON_COMPACT);
    struct str rest = buf_str(&text);
    while (rest.len) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        ssize_t n = write(fd, rest.at, rest.len);
        if (n > 0)
            rest = str_make(rest.at + n, rest.len - (size_t)n);
        else if ((errno != EAGAIN && errno != EINTR) ||
                 poll(&p, 1, (int)mono_until(clock_mono(), until)) == 0)
            break;
    }
    if (fd >= 0)
        close(fd);
}

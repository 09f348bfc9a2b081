#include "broker/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PID_FILE "broker.pid"
#define PID_NEW  "broker.pid.new"

static int make_private(const char *path, struct err *e) {
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return err_errno(e, "cannot make the folder %s", path);
}

static int join(char out[PATH_MAX], const char *dir, const char *name, struct err *e) {
    int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);
    if (n < 0 || n >= PATH_MAX)
        return err_set(e, ERR_TOO_LARGE, "the path of the data folder: at most %d bytes", PATH_MAX);
    return 0;
}

int data_dir_open(struct data_dir *d, const char *path, struct err *e) {
    if (make_private(path, e) < 0)
        return -1;
    if (!realpath(path, d->path))
        return err_errno(e, "cannot use the folder %s", path);
    return join(d->journal, d->path, "journal", e);
}

static int check_private(const char *path, struct err *e) {
    struct stat s;
    if (stat(path, &s) < 0)
        return err_errno(e, "cannot look at %s", path);
    if (!S_ISDIR(s.st_mode))
        return err_set(e, ERR_CONFLICT, "%s is not a folder", path);
    if (s.st_uid != geteuid())
        return err_set(e, ERR_CONFLICT, "%s belongs to user %u, the broker runs as %u", path,
                       (unsigned)s.st_uid, (unsigned)geteuid());
    if (s.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(e, ERR_CONFLICT,
                       "%s has mode %04o: who may enter may do everything; chmod 0700 it", path,
                       (unsigned)(s.st_mode & 07777));
    return 0;
}

int data_dir_enter(struct data_dir *d, struct err *e) {
    char run[PATH_MAX];
    if (join(run, d->path, "run", e) < 0 || make_private(run, e) < 0 || check_private(run, e) < 0)
        return -1;
    return chdir(run) == 0 ? 0 : err_errno(e, "cannot enter %s", run);
}

static int write_pid(void) {
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    int fd = open(PID_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    ssize_t written = write(fd, text, (size_t)n);
    if (written >= 0 && written < n)
        errno = ENOSPC;
    int saved = errno;
    close(fd);
    if (written == n && rename(PID_NEW, PID_FILE) == 0)
        return 0;
    if (written == n)
        saved = errno;
    unlink(PID_NEW);
    errno = saved;
    return -1;
}

/* Whoever reads it sees a whole number or no file. One that a killed broker left would name a
 * process that is none of ours; on a full disk its block is the room for the new one. */
int data_dir_write_pid(struct err *e) {
    if (write_pid() == 0)
        return 0;
    unlink(PID_FILE);
    return write_pid() == 0 ? 0 : err_errno(e, "cannot write run/" PID_FILE);
}

void data_dir_leave(void) {
    static const char *const files[] = {PID_FILE, "client.sock", "worker.sock", "gateway.sock",
                                        "operator.sock"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
}

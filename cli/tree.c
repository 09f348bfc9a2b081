#include "cli/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "up.lock"

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

int tree_write(const char *data, const char *name, const json_t *json, struct err *e) {
    char path[TREE_PATH_MAX], part[TREE_PATH_MAX + 8];
    tree_path(path, data, name);
    snprintf(part, sizeof part, "%s.part", path);
    if (json_dump_file(json, part, JSON_COMPACT) < 0)
        return err_errno(e, "cannot write %s", part);
    if (rename(part, path) < 0)
        return err_errno(e, "cannot rename %s", part);
    return 0;
}

json_t *tree_read(const char *data, const char *name) {
    char path[TREE_PATH_MAX];
    tree_path(path, data, name);
    return json_load_file(path, 0, NULL);
}

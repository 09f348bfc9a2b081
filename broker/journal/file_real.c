/* The layer over the operating system. Descriptors are closed on exec; the lock is bound to the
 * open file (F_OFD_SETLK), so it ends with the process however that ends, and a second opener in
 * the same process is refused too. */
#include "broker/journal/file_layer.h"
#include "common/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct real_dir {
    struct file_dir base;
    int fd, lock_fd;
};

struct real_file {
    struct file base;
    int fd;
};

static struct real_dir *dir_of(struct file_dir *dir) {
    return (struct real_dir *)dir;
}

static int fd_of(struct file *file) {
    return ((struct real_file *)file)->fd;
}

/* A directory that was just made has to survive a power cut too. */
static int sync_parent(const char *path) {
    char *parent = mem_alloc(strlen(path) + 4);
    snprintf(parent, strlen(path) + 4, "%s/..", path);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mem_free(parent);
    if (fd < 0)
        return -1;
    int status = fsync(fd);
    int saved = errno;
    close(fd);
    errno = saved;
    return status;
}

static int real_dir_open(const struct file_layer *layer, const char *path, struct file_dir **out) {
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST)
        return -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (made && sync_parent(path) != 0) {
        close(fd);
        return -1;
    }
    struct real_dir *d = MEM_NEW(struct real_dir);
    d->base.layer = layer;
    snprintf(d->base.path, sizeof d->base.path, "%s", path);
    d->fd = fd;
    d->lock_fd = -1;
    *out = &d->base;
    return 0;
}

static void real_dir_close(struct file_dir *dir) {
    struct real_dir *d = dir_of(dir);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    close(d->fd);
    mem_free(d);
}

static long read_pid(int fd) {
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

static int real_lock(struct file_dir *dir, const char *name, long *pid) {
    struct real_dir *d = dir_of(dir);
    int fd = openat(d->fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        int saved = errno == EACCES ? EWOULDBLOCK : errno;
        *pid = read_pid(fd);
        close(fd);
        errno = saved;
        return -1;
    }
    /* The pid is for people only: the lock holds whether or not it can be written. */
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        *pid = 0;
    d->lock_fd = fd;
    return 0;
}

static int real_list(struct file_dir *dir,
                     void (*each)(void *ctx, const char *name, uint64_t bytes), void *ctx) {
    int fd = openat(dir_of(dir)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream)
        return -1;
    int status = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        struct stat st;
        if (!entry) {
            status = errno ? -1 : 0;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            status = -1;
            break;
        }
        each(ctx, entry->d_name, (uint64_t)st.st_size);
    }
    int saved = errno;
    closedir(stream);
    errno = saved;
    return status;
}

static int real_space(struct file_dir *dir, uint64_t *free_bytes) {
    struct statvfs st;
    if (fstatvfs(dir_of(dir)->fd, &st) != 0)
        return -1;
    *free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

static int real_rename(struct file_dir *dir, const char *from, const char *to) {
    return renameat(dir_of(dir)->fd, from, dir_of(dir)->fd, to);
}

static int real_unlink(struct file_dir *dir, const char *name) {
    return unlinkat(dir_of(dir)->fd, name, 0);
}

static int real_sync_dir(struct file_dir *dir) {
    return fsync(dir_of(dir)->fd);
}

static int open_flags(enum file_how how) {
    int flags = O_CLOEXEC | O_NOFOLLOW;
    if (how == FILE_CREATE)
        return flags | O_RDWR | O_DIRECT | O_CREAT | O_TRUNC;
    return how == FILE_DIRECT ? flags | O_RDWR | O_DIRECT : flags | O_RDONLY;
}

/* For a file system without direct access: pages of a write that failed stay in its cache, marked
 * clean; written out and dropped, the cache shows what the disk has. */
static int drop_cache(int fd) {
    if (fdatasync(fd) != 0)
        return -1;
    errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return errno == 0 ? 0 : -1;
}

static int open_as(int dir, const char *name, enum file_how how) {
    int flags = open_flags(how), status = 0;
    int fd = openat(dir, name, flags, 0600);
    if (fd < 0 && errno == EINVAL && (flags & O_DIRECT)) {
        fd = openat(dir, name, flags & ~O_DIRECT, 0600);
        status = fd >= 0 && how == FILE_DIRECT ? drop_cache(fd) : 0;
    }
    if (fd >= 0 && how == FILE_READ_EXACT) {
        errno = posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
        status = errno == 0 ? 0 : -1;
    }
    if (fd < 0 || status == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int real_open(struct file_dir *dir, const char *name, enum file_how how, struct file **out) {
    int fd = open_as(dir_of(dir)->fd, name, how);
    if (fd < 0)
        return -1;
    struct real_file *f = MEM_NEW(struct real_file);
    f->base.layer = dir->layer;
    f->base.dir = dir;
    snprintf(f->base.name, sizeof f->base.name, "%s", name);
    f->fd = fd;
    *out = &f->base;
    return 0;
}

static void real_close(struct file *file) {
    close(fd_of(file));
    mem_free(file);
}

static ssize_t real_read(struct file *file, void *to, size_t n, uint64_t at) {
    return pread(fd_of(file), to, n, (off_t)at);
}

static ssize_t real_write(struct file *file, const void *from, size_t n, uint64_t at) {
    return pwrite(fd_of(file), from, n, (off_t)at);
}

static int real_sync(struct file *file) {
    return fdatasync(fd_of(file));
}

static int real_reserve(struct file *file, uint64_t bytes) {
    int status = posix_fallocate(fd_of(file), 0, (off_t)bytes);
    if (status != 0)
        errno = status;
    return status == 0 ? 0 : -1;
}

const struct file_layer file_layer_real = {
    .dir_open = real_dir_open,
    .dir_close = real_dir_close,
    .lock = real_lock,
    .list = real_list,
    .space = real_space,
    .rename = real_rename,
    .unlink = real_unlink,
    .sync_dir = real_sync_dir,
    .open = real_open,
    .close = real_close,
    .read = real_read,
    .write = real_write,
    .sync = real_sync,
    .reserve = real_reserve,
};

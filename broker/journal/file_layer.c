#include "broker/journal/file_layer.h"

#include <errno.h>

int file_dir_open(const struct file_layer *layer, const char *path, struct file_dir **out,
                  struct err *e) {
    *out = NULL;
    return layer->dir_open(layer, path, out) == 0 ? 0 : err_errno(e, "%s: cannot be opened", path);
}

void file_dir_close(struct file_dir **dir) {
    if (*dir)
        (*dir)->layer->dir_close(*dir);
    *dir = NULL;
}

int file_lock(struct file_dir *dir, const char *name, struct err *e) {
    long pid = 0;
    if (dir->layer->lock(dir, name, &pid) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_errno(e, "%s/%s: cannot be locked", dir->path, name);
    if (pid > 0)
        return err_set(e, ERR_LOCKED, "%s: process %ld holds this journal", dir->path, pid);
    return err_set(e, ERR_LOCKED, "%s: another process holds this journal", dir->path);
}

int file_list(struct file_dir *dir, void (*each)(void *ctx, const char *name, uint64_t bytes),
              void *ctx, struct err *e) {
    return dir->layer->list(dir, each, ctx) == 0 ? 0
                                                 : err_errno(e, "%s: cannot be listed", dir->path);
}

int file_space(struct file_dir *dir, uint64_t *free_bytes, struct err *e) {
    if (dir->layer->space(dir, free_bytes) == 0)
        return 0;
    return err_errno(e, "%s: cannot tell the free space", dir->path);
}

int file_rename(struct file_dir *dir, const char *from, const char *to, struct err *e) {
    if (dir->layer->rename(dir, from, to) == 0)
        return 0;
    return err_errno(e, "%s/%s: cannot be renamed to %s", dir->path, from, to);
}

int file_unlink(struct file_dir *dir, const char *name, struct err *e) {
    if (dir->layer->unlink(dir, name) == 0)
        return 0;
    return err_errno(e, "%s/%s: cannot be removed", dir->path, name);
}

int file_sync_dir(struct file_dir *dir, struct err *e) {
    return dir->layer->sync_dir(dir) == 0 ? 0 : err_errno(e, "%s: cannot be synced", dir->path);
}

int file_open(struct file_dir *dir, const char *name, enum file_how how, struct file **out,
              struct err *e) {
    *out = NULL;
    if (dir->layer->open(dir, name, how, out) == 0)
        return 0;
    return err_errno(e, "%s/%s: cannot be %s", dir->path, name,
                     how == FILE_CREATE ? "created" : "opened");
}

void file_close(struct file **file) {
    if (*file)
        (*file)->layer->close(*file);
    *file = NULL;
}

int file_read(struct file *file, void *to, size_t n, uint64_t at, struct err *e) {
    for (size_t done = 0; done < n;) {
        ssize_t got = file->layer->read(file, (char *)to + done, n - done, at + done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(e, "%s/%s: cannot be read at %llu", file->dir->path, file->name,
                             (unsigned long long)(at + done));
        if (got == 0)
            return err_set(e, ERR_CORRUPT, "%s/%s: ends at %llu, %zu bytes too early",
                           file->dir->path, file->name, (unsigned long long)(at + done), n - done);
        done += (size_t)got;
    }
    return 0;
}

/* Going on after a short write is no second try: what it took counts, what it left is new. */
int file_write(struct file *file, const void *from, size_t n, uint64_t at, struct err *e) {
    for (size_t done = 0; done < n;) {
        ssize_t put = file->layer->write(file, (const char *)from + done, n - done, at + done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0)
            errno = EIO;
        if (put <= 0)
            return err_errno(e, "%s/%s: cannot be written at %llu", file->dir->path, file->name,
                             (unsigned long long)(at + done));
        done += (size_t)put;
    }
    return 0;
}

int file_sync(struct file *file, struct err *e) {
    if (file->layer->sync(file) == 0)
        return 0;
    return err_errno(e, "%s/%s: cannot be synced", file->dir->path, file->name);
}

int file_reserve(struct file *file, uint64_t bytes, struct err *e) {
    if (file->layer->reserve(file, bytes) == 0)
        return 0;
    return err_errno(e, "%s/%s: no room for %llu bytes", file->dir->path, file->name,
                     (unsigned long long)bytes);
}

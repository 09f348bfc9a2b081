#include "common/os/replace.h"

#include "common/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_MAX (PATH_MAX + 128)

static int write_all(int fd, struct str bytes) {
    while (bytes.len) {
        ssize_t n = write(fd, bytes.at, bytes.len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            bytes = str_make(bytes.at + n, bytes.len - (size_t)n);
    }
    return 0;
}

/* It is cut only once all is written: until then its blocks are ours. */
static int write_file(const char *path, int flags, struct str bytes) {
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    if (fd < 0)
        return -1;
    int rc = write_all(fd, bytes);
    if (rc == 0)
        rc = ftruncate(fd, (off_t)bytes.len);
    int why = errno;
    if (close(fd) < 0 && rc == 0)
        return -1;
    errno = why;
    return rc;
}

static int read_file(const char *path, struct buf *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0) {
        char *room = buf_room(out, 4096);
        n = room ? read(fd, room, 4096) : -1;
        if (n > 0)
            buf_took(out, (size_t)n);
    }
    if (fd >= 0)
        close(fd);
    return n < 0 ? -1 : 0;
}

/* What cannot be put back is gone: half of it would be worse. */
static int write_over(const char *path, const char *part, struct str bytes) {
    AUTO_BUF old = BUF(REPLACE_BYTES_MAX);
    if (read_file(path, &old) < 0 || rename(path, part) < 0)
        return -1;
    int rc = write_file(part, 0, bytes), why = errno;
    if (rc < 0 && write_file(part, 0, buf_str(&old)) < 0)
        unlink(part);
    else if (rename(part, path) < 0)
        return -1;
    errno = why;
    return rc;
}

static bool no_space(void) {
    return errno == ENOSPC || errno == EDQUOT;
}

int file_replace(const char *path, struct str bytes, struct err *e) {
    char part[PART_MAX];
    if (snprintf(part, sizeof part, "%s.part", path) >= PART_MAX)
        return err_set(e, ERR_TOO_LARGE, "the path %.60s...: at most %d bytes", path, PATH_MAX);
    if (write_file(part, O_CREAT | O_TRUNC, bytes) == 0 && rename(part, path) == 0)
        return 0;
    int why = errno;
    unlink(part);
    errno = why;
    if (no_space() && write_over(path, part, bytes) == 0)
        return 0;
    errno = why == EDQUOT ? ENOSPC : why; /* both are a full disk */
    return err_errno(e, "cannot write %s", path);
}

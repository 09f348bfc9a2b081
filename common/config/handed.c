#include "common/config/handed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int write_all(int fd, struct str text) {
    while (text.len) {
        ssize_t n = write(fd, text.at, text.len);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            text = str_make(text.at + n, text.len - (size_t)n);
    }
    return 0;
}

/* As a whole or not at all. It need not survive a crash of the host: it is written at each start.
 */
static int put(const char *path, struct str text, struct err *e) {
    char part[PATH_MAX + 8];
    snprintf(part, sizeof part, "%s.part", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, "cannot write %s", part);
    int rc = write_all(fd, text), why = errno;
    close(fd);
    if (rc < 0) {
        unlink(part);
        errno = why;
        return err_errno(e, "cannot write %s", part);
    }
    return rename(part, path) == 0 ? 0 : err_errno(e, "cannot rename %s", part);
}

int handed_load(struct handed *h, const char *file, char *const *envp, struct settings **out,
                struct err_list *errors) {
    AUTO_BUF text = SETTINGS_FILE_BUF;
    struct err e;
    *out = NULL;
    if (file && settings_read(file, &text, errors) < 0)
        return -1;
    if (settings_parse(buf_str(&text), file ? file : "defaults", envp, out, errors) < 0)
        return -1;
    if (file && h->path[0] && put(h->path, buf_str(&text), &e) < 0) {
        settings_destroy(out);
        return err_list_put(errors, &e);
    }
    buf_destroy(&h->text);
    h->text = text;
    h->given = file != NULL;
    text = SETTINGS_FILE_BUF;
    return 0;
}

int handed_open(struct handed *h, const char *path, struct err *e) {
    if (snprintf(h->path, sizeof h->path, "%s", path) >= (int)sizeof h->path)
        return err_set(e, ERR_TOO_LARGE, "the path %.60s...: at most %d bytes", path, PATH_MAX - 1);
    return h->given ? put(h->path, buf_str(&h->text), e) : 0;
}

int handed_keep(const struct handed *h, struct err *e) {
    const char *path = handed_path(h);
    return !path || access(path, R_OK) == 0 ? 0 : put(path, buf_str(&h->text), e);
}

const char *handed_path(const struct handed *h) {
    return h->given && h->path[0] ? h->path : NULL;
}

void handed_remove(struct handed *h) {
    if (handed_path(h))
        unlink(h->path);
    h->path[0] = 0;
}

void handed_done(struct handed *h) {
    buf_destroy(&h->text);
    *h = (struct handed){0};
}

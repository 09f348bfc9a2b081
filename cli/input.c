#include "cli/input.h"

#include "common/wire/json_bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536

/* Reads once; 0 at the end. */
static int read_some(int fd, struct buf *to, bool *ended, struct err *e) {
    void *room = buf_room(to, READ_BYTES);
    if (!room)
        return err_set(e, ERR_TOO_LARGE, "more than %u bytes", INPUT_JSON_MAX);
    ssize_t n;
    do
        n = read(fd, room, READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(e, "cannot be read");
    *ended = n == 0;
    buf_took(to, (size_t)n);
    return 0;
}

static int open_input(const char *path, int *fd, struct err *e) {
    if (strcmp(path, "-") == 0) {
        *fd = STDIN_FILENO;
        return 0;
    }
    /* What is named wrongly is a matter of usage; what cannot be read later on is one of the disk.
     */
    struct stat at;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return err_set(e, ERR_USAGE, "cannot open '%s': %s", path, strerror(errno));
    if (fstat(*fd, &at) == 0 && S_ISDIR(at.st_mode)) {
        close(*fd);
        *fd = -1;
        return err_set(e, ERR_USAGE, "'%s' is a folder", path);
    }
    return 0;
}

static void close_input(int fd) {
    if (fd > STDIN_FILENO)
        close(fd);
}

/* ---- one payload ---------------------------------------------------------------------------- */
int input_json(struct str text, struct buf *out, struct err *e) {
    json_auto_t *json = json_bridge_parse(text, e);
    return json ? input_object(json, out, e) : -1;
}

int input_object(const json_t *json, struct buf *out, struct err *e) {
    if (!json_is_object(json))
        return err_set(e, ERR_BAD_VALUE, "must be a JSON object");
    size_t before = out->len;
    if (json_bridge_to_value(json, out, e) < 0)
        return -1;
    if (out->len - before > BODY_MAX_LEN)
        return err_set(e, ERR_TOO_LARGE, "%zu bytes as msgpack, at most %d", out->len - before,
                       BODY_MAX_LEN);
    return 0;
}

static int read_all(const char *path, struct buf *out, struct err *e) {
    int fd;
    bool ended = false;
    int rc = 0;
    if (open_input(path, &fd, e) < 0)
        return -1;
    while (rc == 0 && !ended)
        rc = read_some(fd, out, &ended, e);
    close_input(fd);
    return rc < 0 ? err_add(e, "%s", strcmp(path, "-") == 0 ? "standard input" : path) : 0;
}

/* The text itself, or what is in the file that it names. */
static int read_named(struct str text, struct buf *read, struct str *json, struct err *e) {
    bool dash = str_eq(text, STR("-"));
    *json = text;
    if (!dash && text.at[0] != '@')
        return 0;
    const char *path = dash ? text.at : text.at + 1; /* of argv: a NUL is behind it */
    if (!*path)
        return err_set(e, ERR_USAGE, "a file's name is missing behind @");
    if (read_all(path, read, e) < 0)
        return -1;
    *json = buf_str(read);
    if (!str_trim(*json).len)
        return err_set(e, ERR_USAGE, "%s is empty", dash ? "standard input" : path);
    return 0;
}

int input_payload(struct str text, const char *option, struct buf *out, struct err *e) {
    AUTO_BUF read = BUF(INPUT_JSON_MAX + READ_BYTES);
    struct str json;
    if (read_named(text, &read, &json, e) < 0 || input_json(json, out, e) < 0)
        return err_add(e, "%s", option);
    return 0;
}

json_t *input_value(struct str text, const char *option, struct err *e) {
    AUTO_BUF read = BUF(INPUT_JSON_MAX + READ_BYTES);
    struct str json;
    json_t *value = read_named(text, &read, &json, e) < 0 ? NULL : json_bridge_parse(json, e);
    if (!value)
        err_add(e, "%s", option);
    return value;
}

/* ---- lines ---------------------------------------------------------------------------------- */
int lines_open(struct lines *l, const char *path, struct err *e) {
    *l = (struct lines){.fd = -1, .data = BUF(INPUT_JSON_MAX + READ_BYTES)};
    return open_input(path, &l->fd, e);
}

void lines_close(struct lines *l) {
    close_input(l->fd);
    buf_destroy(&l->data);
}

/* What was taken makes room for more. */
static void shift(struct lines *l) {
    if (!l->at)
        return;
    memmove(l->data.at, l->data.at + l->at, l->data.len - l->at);
    l->data.len -= l->at;
    l->at = 0;
}

static int next_raw(struct lines *l, struct str *line, struct err *e) {
    size_t looked = l->at;
    for (;;) {
        size_t left = l->data.len - looked;
        const char *end = left ? memchr(l->data.at + looked, '\n', left) : NULL;
        if (end || l->ended) {
            const char *from = l->data.at + l->at;
            size_t len = end ? (size_t)(end - from) : l->data.len - l->at;
            *line = str_make(from, len);
            l->at += len + (end != NULL);
            l->number++;
            return end || len ? 1 : 0;
        }
        looked = l->data.len - l->at;
        shift(l);
        if (read_some(l->fd, &l->data, &l->ended, e) < 0)
            return err_add(e, "line %llu", (unsigned long long)l->number + 1);
    }
}

int lines_next(struct lines *l, struct str *line, struct err *e) {
    int rc;
    while ((rc = next_raw(l, line, e)) == 1 && !str_trim(*line).len)
        continue;
    return rc;
}

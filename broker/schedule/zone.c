#include "broker/schedule/zone_int.h"
#include "common/base/buf.h"
#include "common/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 512

struct entry {
    struct entry *next;
    struct zone *zone;
    size_t name_len;
    char name[ZONE_NAME_MAX];
};

struct zones {
    const char *folder;
    struct entry *first;
    unsigned count;
};

static bool is_name_char(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '+' || c == '-';
}

int zone_check_name(struct str name, struct err *e) {
    if (name.len == 0 || name.len > ZONE_NAME_MAX)
        return err_set(e, ERR_BAD_VALUE, "time zone name of %zu bytes, 1 to %d are possible",
                       name.len, ZONE_NAME_MAX);
    bool begins = true; /* a part of it */
    bool good = name.at[name.len - 1] != '/';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        good = good && (is_name_char(c) ? !(begins && c == '-') : c == '/' && !begins);
        begins = c == '/';
    }
    if (!good)
        return err_set(e, ERR_BAD_VALUE,
                       "time zone '" STR_FMT "' is no name: parts of [A-Za-z0-9_+-] with '/' "
                       "between, as 'Europe/Paris'",
                       STR_ARG(name));
    return 0;
}

/* Takes regular files only, and no more of one than the bound. */
static int read_file(int fd, struct buf *out, struct err *e) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(e, "cannot look at its file");
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_BAD_VALUE, "no such zone: its place is no file");
    for (;;) {
        char part[4096];
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, "cannot read its file");
        if (n == 0)
            return 0;
        if (buf_put(out, part, (size_t)n) < 0)
            return err_set(e, ERR_CORRUPT, "its file has more than %u bytes", ZONE_FILE_MAX);
    }
}

static int load_file(const char *folder, struct str name, struct zone **out, struct err *e) {
    char path[PATH_BYTES];
    int len = snprintf(path, sizeof path, "%s/" STR_FMT, folder, STR_ARG(name));
    if (len < 0 || (size_t)len >= sizeof path)
        return err_set(e, ERR_BAD_VALUE, "a path of %d bytes, at most %zu", len, sizeof path - 1);
    /* Not blocking: what is there may be a pipe. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(e, ERR_BAD_VALUE, "no such zone in %s (package tzdata)", folder);
    if (fd < 0)
        return err_errno(e, "cannot open %s", path);
    AUTO_BUF bytes = BUF(ZONE_FILE_MAX);
    int rc = read_file(fd, &bytes, e);
    close(fd);
    return rc < 0 ? rc : zone_parse(buf_str(&bytes), out, e);
}

int zone_load(const char *folder, struct str name, struct zone **out, struct err *e) {
    if (zone_check_name(name, e) < 0)
        return -1;
    if (str_eq(name, STR("UTC")) || str_eq(name, STR("Etc/UTC"))) {
        *out = MEM_NEW(struct zone);
        return 0;
    }
    if (load_file(folder, name, out, e) == 0)
        return 0;
    return err_add(e, "time zone '" STR_FMT "'", STR_ARG(name));
}

void zone_destroy(struct zone **z) {
    MEM_FREE(*z);
}

struct zone_span zone_span(const struct zone *z, int64_t utc_s) {
    size_t low = 0, high = z->count; /* how many transitions were until then */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (z->transitions[middle].at_s <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == z->count && z->has_rule)
        return posix_zone_span(&z->rule, utc_s);
    return (struct zone_span){low < z->count ? z->transitions[low].at_s : INT64_MAX,
                              low ? z->transitions[low - 1].offset_s : z->first_s};
}

struct zones *zones_new(const char *folder) {
    struct zones *z = MEM_NEW(struct zones);
    z->folder = folder;
    return z;
}

void zones_destroy(struct zones **zp) {
    struct zones *z = *zp;
    if (!z)
        return;
    for (struct entry *next, *at = z->first; at; at = next) {
        next = at->next;
        zone_destroy(&at->zone);
        mem_free(at);
    }
    MEM_FREE(*zp);
}

int zones_get(struct zones *z, struct str name, const struct zone **out, struct err *e) {
    for (struct entry *at = z->first; at; at = at->next) {
        if (str_eq(name, str_make(at->name, at->name_len))) {
            *out = at->zone;
            return 0;
        }
    }
    if (z->count >= ZONES_MAX)
        return err_set(e, ERR_BUSY, "%u time zones are in use, at most %d", z->count, ZONES_MAX);
    struct zone *zone;
    if (zone_load(z->folder, name, &zone, e) < 0)
        return -1;
    struct entry *at = MEM_NEW(struct entry);
    at->zone = zone;
    at->name_len = name.len;
    memcpy(at->name, name.at, name.len);
    at->next = z->first;
    z->first = at;
    z->count++;
    *out = zone;
    return 0;
}

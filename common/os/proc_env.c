#include "common/os/proc_env.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIECE 4096

int proc_env_read(int pid, struct buf *out) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = 1;
    buf_clear(out);
    while (n > 0) {
        void *room = buf_room(out, PIECE);
        n = room ? read(fd, room, PIECE) : -1;
        if (n > 0)
            buf_took(out, (size_t)n);
    }
    close(fd);
    return n < 0 ? -1 : 0;
}

struct str proc_env_value(struct str environment, const char *name) {
    size_t len = strlen(name);
    for (const char *at = environment.at, *end = at + environment.len; at < end;) {
        size_t part = strnlen(at, (size_t)(end - at));
        if (part > len && at[len] == '=' && memcmp(at, name, len) == 0)
            return str_make(at + len + 1, part - len - 1);
        at += part + 1;
    }
    return STR("");
}

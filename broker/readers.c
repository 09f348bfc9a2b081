#include "broker/readers.h"

#include "common/base/mem.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SIZE_MIN 16U

struct reader {
    int fd;
    ino_t inode; /* tells whether the descriptor is still that of the same socket */
    char user_id[KEY_DIGITS + 1];
};

static ino_t inode_of(int fd) {
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

void readers_done(struct readers *r) {
    MEM_FREE(r->at);
    r->n = r->size = 0;
}

/* Nobody tells when a connection ends. */
static void forget_gone(struct readers *r) {
    size_t kept = 0;
    for (size_t i = 0; i < r->n; i++)
        if (inode_of(r->at[i].fd) == r->at[i].inode)
            r->at[kept++] = r->at[i];
    r->n = kept;
}

void readers_note(struct readers *r, int fd, const char *user_id) {
    struct reader new = {.fd = fd, .inode = inode_of(fd)};
    if (!new.inode)
        return; /* it is gone already */
    snprintf(new.user_id, sizeof new.user_id, "%s", user_id);
    for (size_t i = 0; i < r->n; i++) {
        if (r->at[i].fd == fd) {
            r->at[i] = new;
            return;
        }
    }
    if (r->n == r->size)
        forget_gone(r);
    if (r->n == r->size) {
        r->size = r->size ? 2 * r->size : SIZE_MIN;
        r->at = mem_grow(r->at, r->size, sizeof *r->at);
    }
    r->at[r->n++] = new;
}

void readers_judge(struct readers *r, struct keyring *k) {
    uint64_t generation = keyring_generation(k);
    if (generation == r->generation)
        return;
    r->generation = generation;
    for (size_t i = 0; i < r->n; i++)
        if (!keyring_admits(k, r->at[i].user_id, KEYRING_STREAM_READER) &&
            inode_of(r->at[i].fd) == r->at[i].inode)
            shutdown(r->at[i].fd, SHUT_RDWR);
    forget_gone(r);
}

#include "common/os/wake.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void event_write(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

/* Never blocks: the descriptor is non-blocking. False when there was nothing to read. */
static bool event_read(int fd) {
    uint64_t count;
    ssize_t n;
    while ((n = read(fd, &count, sizeof count)) < 0 && errno == EINTR)
        continue;
    return n > 0;
}

static void event_wait(int fd, int timeout_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    poll(&p, 1, timeout_ms);
}

int bell_open(struct bell *b) {
    atomic_init(&b->sleeping, false);
    b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return b->fd < 0 ? -1 : 0;
}

void bell_close(struct bell *b) {
    if (b->fd >= 0)
        close(b->fd);
    b->fd = -1;
}

void bell_ring(struct bell *b) {
    if (atomic_exchange(&b->sleeping, false))
        event_write(b->fd);
}

void bell_sleep(struct bell *b) {
    atomic_store(&b->sleeping, true);
}

/* Whoever has already seen us asleep leaves one event behind: a wake-up too many, once. */
void bell_awake(struct bell *b) {
    event_read(b->fd);
    atomic_store(&b->sleeping, false);
}

void bell_wait(struct bell *b, int timeout_ms, bool (*ready)(void *ctx), void *ctx) {
    bell_sleep(b);
    if (!ready(ctx))
        event_wait(b->fd, timeout_ms);
    bell_awake(b);
}

int flag_open(struct flag *f) {
    atomic_init(&f->up, false);
    f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return f->fd < 0 ? -1 : 0;
}

void flag_close(struct flag *f) {
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

void flag_raise(struct flag *f) {
    if (!atomic_exchange(&f->up, true))
        event_write(f->fd);
}

void flag_lower(struct flag *f) {
    /* Up and nothing to read: whoever raised it is about to write. It stays up until that has come,
     * so that the descriptor is never left readable for nothing. */
    if (atomic_load(&f->up) && event_read(f->fd))
        atomic_store(&f->up, false);
}

void flag_wait(struct flag *f) {
    event_wait(f->fd, -1);
}

/* How threads wake each other: a flag in memory and an eventfd behind it, so that a call to the
 * system is made only when somebody sleeps.
 *
 * A *bell* wakes a thread of ours: whoever has published work rings; the thread, before it sleeps,
 * says so and looks once more. A *flag* tells a thread through its poll loop: raised once until
 * it is taken down. Both sides use sequentially consistent order: publish, then ring; say so,
 * then look. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

struct bell {
    int fd;
    atomic_bool sleeping;
};

struct flag {
    int fd;
    atomic_bool up;
};

/* -1, errno when the process has no descriptor left. */
int bell_open(struct bell *b);
void bell_close(struct bell *b);
void bell_ring(struct bell *b);
/* Sleeps until rung, or for `timeout_ms` (-1: without end), unless `ready(ctx)` says that there is
 * work already. */
void bell_wait(struct bell *b, int timeout_ms, bool (*ready)(void *ctx), void *ctx);
/* The same for a thread that polls `fd` among others: it says that it will sleep, looks once more
 * for work, polls, and is awake. */
void bell_sleep(struct bell *b);
void bell_awake(struct bell *b);

int flag_open(struct flag *f);
void flag_close(struct flag *f);
void flag_raise(struct flag *f);
/* Call before looking at what it tells of. */
void flag_lower(struct flag *f);
/* Blocks until it is up. */
void flag_wait(struct flag *f);

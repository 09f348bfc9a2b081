/* A queue between two threads: one writes, one reads, nobody waits for a lock.
 *
 * Items of one size are copied in and out; there is room for as many as ring_init was told, rounded
 * up to a power of two. Pushing and looking are sequentially consistent: a bell may be rung or a
 * flag raised behind a push, and a thread may go to sleep when it has seen the ring empty. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
    atomic_uint head, tail; /* written: head, read: tail; they count on */
    uint32_t mask;
    size_t item;
    void *slots;
};

void ring_init(struct ring *r, uint32_t places, size_t item);
void ring_clear(struct ring *r);
bool ring_empty(const struct ring *r);
/* The writer. False when it is full. */
bool ring_push(struct ring *r, const void *item);
/* The reader. False when it is empty. */
bool ring_pop(struct ring *r, void *item);

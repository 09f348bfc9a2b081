#include "common/base/ring.h"

#include "common/base/check.h"
#include "common/base/mem.h"

#include <string.h>

void ring_init(struct ring *r, uint32_t places, size_t item) {
    uint32_t room = 1;
    ASSERT(places >= 1 && places <= 1U << 30);
    while (room < places)
        room *= 2;
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    r->mask = room - 1;
    r->item = item;
    r->slots = mem_grow(NULL, room, item);
}

void ring_clear(struct ring *r) {
    MEM_FREE(r->slots);
}

bool ring_empty(const struct ring *r) {
    return atomic_load(&r->head) == atomic_load_explicit(&r->tail, memory_order_relaxed);
}

static void *place(const struct ring *r, unsigned n) {
    return (char *)r->slots + (n & r->mask) * r->item;
}

bool ring_push(struct ring *r, const void *item) {
    unsigned head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&r->tail, memory_order_acquire) > r->mask)
        return false;
    memcpy(place(r, head), item, r->item);
    atomic_store(&r->head, head + 1);
    return true;
}

bool ring_pop(struct ring *r, void *item) {
    if (ring_empty(r))
        return false;
    unsigned tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    memcpy(item, place(r, tail), r->item);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return true;
}

#include "broker/journal/tally.h"

#include "common/base/check.h"
#include "common/base/mem.h"

#define SIZE_START 64U

void tally_init(struct tally *t, uint32_t first) {
    *t = (struct tally){.first = first, .last = first - 1, .kept = first, .size = SIZE_START};
    t->ring = mem_grow(NULL, t->size, sizeof *t->ring);
}

void tally_clear(struct tally *t) {
    MEM_FREE(t->ring);
}

static void grow(struct tally *t) {
    struct tally old = *t;
    t->size *= 2;
    t->ring = mem_grow(NULL, t->size, sizeof *t->ring);
    for (uint32_t s = t->kept; s <= t->last; s++)
        *tally_at(t, s) = *tally_at(&old, s);
    mem_free(old.ring);
}

void tally_open(struct tally *t, uint32_t segment, uint32_t bytes, uint32_t before) {
    ASSERT(segment == t->last + 1);
    if (t->last >= t->first) {
        struct tally_segment *closed = tally_at(t, t->last);
        closed->end = before;
        t->closed_live += closed->live;
        t->closed_size += closed->bytes;
    }
    if (segment - t->kept >= t->size)
        grow(t);
    t->last = segment;
    *tally_at(t, segment) = (struct tally_segment){.bytes = bytes};
}

void tally_put(struct tally *t, uint32_t segment, uint32_t bytes) {
    ASSERT(segment == t->last);
    struct tally_segment *s = tally_at(t, segment);
    s->live += bytes;
    if (bytes > s->largest)
        s->largest = bytes;
    t->live += bytes;
}

void tally_release(struct tally *t, uint32_t segment, uint32_t bytes) {
    ASSERT(tally_has(t, segment));
    struct tally_segment *s = tally_at(t, segment);
    ASSERT(s->live >= bytes);
    s->live -= bytes;
    t->live -= bytes;
    if (segment != t->last)
        t->closed_live -= bytes;
}

bool tally_oldest_dead(const struct tally *t) {
    return t->first < t->last && tally_at(t, t->first)->live == 0;
}

void tally_drop_oldest(struct tally *t) {
    ASSERT(tally_oldest_dead(t));
    t->closed_size -= tally_at(t, t->first)->bytes;
    t->first++;
}

void tally_forget(struct tally *t) {
    ASSERT(t->kept < t->first);
    t->kept++;
}

bool tally_clean_pays(const struct tally *t, uint32_t share) {
    return t->first < t->last && t->closed_size - t->closed_live > t->closed_live / share;
}

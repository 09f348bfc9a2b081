#include "common/base/lhash.h"

#include "common/base/check.h"
#include "common/base/mem.h"

void lhash_init(struct lhash *h, const struct lhash_ops *ops, const void *ctx) {
    *h = (struct lhash){.ops = ops, .ctx = ctx, .buckets = 1, .level = 1, .size_segments = 8};
    h->segments = mem_zalloc(h->size_segments * sizeof *h->segments);
    h->segments[0] = mem_zalloc(LHASH_SEGMENT * sizeof(uint32_t));
}

void lhash_done(struct lhash *h) {
    for (uint32_t i = 0; i < h->size_segments; i++)
        mem_free(h->segments[i]);
    MEM_FREE(h->segments);
}

static uint32_t *bucket_at(const struct lhash *h, uint32_t bucket) {
    return &h->segments[bucket / LHASH_SEGMENT][bucket % LHASH_SEGMENT];
}

static uint32_t bucket_of(const struct lhash *h, uint64_t hash) {
    uint32_t bucket = (uint32_t)hash & (2 * h->level - 1);
    return bucket < h->buckets ? bucket : bucket - h->level;
}

uint32_t lhash_find(const struct lhash *h, uint64_t hash, const void *key) {
    uint32_t item = *bucket_at(h, bucket_of(h, hash));
    while (item && !h->ops->equal(h->ctx, item, key))
        item = *h->ops->link(h->ctx, item);
    return item;
}

static void need_segment(struct lhash *h, uint32_t segment) {
    if (segment >= h->size_segments) {
        uint32_t size = h->size_segments * 2;
        h->segments = mem_grow(h->segments, size, sizeof *h->segments);
        for (uint32_t i = h->size_segments; i < size; i++)
            h->segments[i] = NULL;
        h->size_segments = size;
    }
    if (!h->segments[segment])
        h->segments[segment] = mem_zalloc(LHASH_SEGMENT * sizeof(uint32_t));
}

/* Splits the next bucket in two. */
static void grow(struct lhash *h) {
    uint32_t fresh = h->buckets;
    ASSERT(fresh < UINT32_MAX / 4);
    need_segment(h, fresh / LHASH_SEGMENT);
    h->buckets++;
    if (h->buckets == h->level * 2)
        h->level *= 2;
    uint32_t level = fresh >= h->level ? h->level : h->level / 2;
    uint32_t *from = bucket_at(h, fresh - level), *to = bucket_at(h, fresh);
    while (*from) {
        uint32_t item = *from;
        uint32_t *link = h->ops->link(h->ctx, item);
        if (bucket_of(h, h->ops->hash(h->ctx, item)) == fresh) {
            *from = *link;
            *link = 0;
            *to = item;
            to = link;
        } else {
            from = link;
        }
    }
}

/* Joins the last bucket to the one that it was split from. */
static void shrink(struct lhash *h) {
    uint32_t last = h->buckets - 1;
    if (last < h->level)
        h->level /= 2;
    uint32_t *end = bucket_at(h, last - h->level);
    while (*end)
        end = h->ops->link(h->ctx, *end);
    uint32_t *gone = bucket_at(h, last);
    *end = *gone;
    *gone = 0;
    h->buckets--;
    if (last % LHASH_SEGMENT == 0)
        MEM_FREE(h->segments[last / LHASH_SEGMENT]);
}

void lhash_add(struct lhash *h, uint32_t item) {
    uint32_t *bucket = bucket_at(h, bucket_of(h, h->ops->hash(h->ctx, item)));
    *h->ops->link(h->ctx, item) = *bucket;
    *bucket = item;
    if (++h->n > h->buckets)
        grow(h);
}

void lhash_remove(struct lhash *h, uint32_t item) {
    uint32_t *at = bucket_at(h, bucket_of(h, h->ops->hash(h->ctx, item)));
    while (*at != item) {
        ASSERT(*at);
        at = h->ops->link(h->ctx, *at);
    }
    uint32_t *link = h->ops->link(h->ctx, item);
    *at = *link;
    *link = 0;
    if (--h->n < h->buckets / 4 && h->buckets > 1)
        shrink(h);
}

size_t lhash_bytes(const struct lhash *h) {
    size_t segments = 0;
    for (uint32_t i = 0; i < h->size_segments; i++)
        segments += h->segments[i] != NULL;
    return segments * LHASH_SEGMENT * sizeof(uint32_t) + h->size_segments * sizeof *h->segments;
}

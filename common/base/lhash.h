/* Linear hashing (W. Litwin, "Linear hashing: a new tool for file and table addressing", 1980) over
 * items of a slab: the table grows and shrinks by one bucket at a time, so that no insert ever
 * stops the world to rehash millions of items.
 *
 * The table holds 32-bit item indices; chains run through a `uint32_t` inside the items. What an
 * item's hash is, where its link lies and whether it equals a key are three functions of the owner.
 * Owner's item index 0 means "none". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LHASH_SEGMENT 1024U

struct lhash_ops {
    uint64_t (*hash)(const void *ctx, uint32_t item);
    uint32_t *(*link)(const void *ctx, uint32_t item);
    bool (*equal)(const void *ctx, uint32_t item, const void *key);
};

struct lhash {
    const struct lhash_ops *ops;
    const void *ctx;
    uint32_t **segments; /* LHASH_SEGMENT buckets each */
    uint32_t size_segments;
    uint32_t buckets; /* in use */
    uint32_t level;   /* largest power of two <= buckets */
    uint32_t n;
};

void lhash_init(struct lhash *h, const struct lhash_ops *ops, const void *ctx);
void lhash_done(struct lhash *h);
uint32_t lhash_find(const struct lhash *h, uint64_t hash, const void *key);
void lhash_add(struct lhash *h, uint32_t item);
/* The item must be in the table. */
void lhash_remove(struct lhash *h, uint32_t item);
size_t lhash_bytes(const struct lhash *h);

/* Many items of one size, named by a 32-bit index instead of a pointer.
 *
 * Items live in chunks that never move; a chunk whose items are all free is given back, so memory
 * follows a burst down again. Index 0 is never given out: it means "none". Items come zeroed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLAB_CHUNK_BITS 10
#define SLAB_CHUNK      (1U << SLAB_CHUNK_BITS)

struct slab_chunk;

struct slab {
    struct slab_chunk **chunks;
    uint32_t n_chunks, size_chunks;
    uint32_t open;  /* a chunk with free items, by number plus one; 0 if there is none */
    uint32_t spare; /* a hole in `chunks` that was given back, plus one */
    uint32_t used;
    size_t item_bytes;
};

void slab_init(struct slab *s, size_t item_bytes);
void slab_done(struct slab *s);
uint32_t slab_take(struct slab *s);
void slab_give(struct slab *s, uint32_t index);
/* One more than the highest index that may be in use: for walking. */
uint32_t slab_end(const struct slab *s);
bool slab_is_used(const struct slab *s, uint32_t index);
/* The first index in use from `index` on; 0 if there is none. */
uint32_t slab_next(const struct slab *s, uint32_t index);
/* Walks what is in use, lowest index first; the current item may be given back on the way. */
#define SLAB_EACH(i, slab) for (uint32_t i = slab_next((slab), 1); i; i = slab_next((slab), i + 1))
size_t slab_bytes(const struct slab *s);

struct slab_chunk {
    uint32_t used, free_head;        /* free_head: of those given back, item number plus one */
    uint32_t fresh;                  /* from here on none was ever taken, or its memory touched */
    uint32_t next_open, prev_open;   /* chunk numbers plus one */
    uint64_t taken[SLAB_CHUNK / 64]; /* a bit an item */
    _Alignas(16) char items[];
};

static inline void *slab_at(const struct slab *s, uint32_t index) {
    return s->chunks[index >> SLAB_CHUNK_BITS]->items +
           (size_t)(index & (SLAB_CHUNK - 1)) * s->item_bytes;
}

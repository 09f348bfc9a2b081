#include "common/base/slab.h"

#include "common/base/check.h"
#include "common/base/mem.h"

#include <string.h>

void slab_init(struct slab *s, size_t item_bytes) {
    ASSERT(item_bytes >= sizeof(uint32_t));
    *s = (struct slab){.item_bytes = (item_bytes + 7) & ~(size_t)7};
}

void slab_done(struct slab *s) {
    for (uint32_t i = 0; i < s->n_chunks; i++)
        mem_free(s->chunks[i]);
    mem_free(s->chunks);
    *s = (struct slab){.item_bytes = s->item_bytes};
}

static char *item_of(const struct slab *s, struct slab_chunk *c, uint32_t item) {
    return c->items + (size_t)item * s->item_bytes;
}

static bool is_full(const struct slab_chunk *c) {
    return !c->free_head && c->fresh == SLAB_CHUNK;
}

static void link_open(struct slab *s, uint32_t number) {
    struct slab_chunk *c = s->chunks[number];
    c->prev_open = 0;
    c->next_open = s->open;
    if (s->open)
        s->chunks[s->open - 1]->prev_open = number + 1;
    s->open = number + 1;
}

static void unlink_open(struct slab *s, uint32_t number) {
    struct slab_chunk *c = s->chunks[number];
    if (c->next_open)
        s->chunks[c->next_open - 1]->prev_open = c->prev_open;
    if (c->prev_open)
        s->chunks[c->prev_open - 1]->next_open = c->next_open;
    else
        s->open = c->next_open;
}

static uint32_t hole(struct slab *s) {
    for (uint32_t i = s->spare ? s->spare - 1 : s->n_chunks; i < s->n_chunks; i++)
        if (!s->chunks[i])
            return i;
    s->spare = 0;
    if (s->n_chunks == s->size_chunks) {
        s->size_chunks = s->size_chunks ? s->size_chunks * 2 : 8;
        s->chunks = mem_grow(s->chunks, s->size_chunks, sizeof(struct slab_chunk *));
    }
    return s->n_chunks++;
}

static void add_chunk(struct slab *s) {
    uint32_t number = hole(s);
    ASSERT(number < (UINT32_MAX >> SLAB_CHUNK_BITS));
    struct slab_chunk *c = mem_alloc(sizeof *c + SLAB_CHUNK * s->item_bytes);
    *c = (struct slab_chunk){.fresh = number == 0}; /* never index 0 of all */
    s->chunks[number] = c;
    link_open(s, number);
}

uint32_t slab_take(struct slab *s) {
    if (!s->open)
        add_chunk(s);
    uint32_t number = s->open - 1;
    struct slab_chunk *c = s->chunks[number];
    bool again = c->free_head != 0;
    uint32_t item = again ? c->free_head - 1 : c->fresh++;
    char *p = item_of(s, c, item);
    if (again)
        memcpy(&c->free_head, p, sizeof c->free_head);
    c->taken[item / 64] |= 1ULL << (item % 64);
    c->used++;
    s->used++;
    if (is_full(c))
        unlink_open(s, number);
    memset(p, 0, s->item_bytes);
    return (number << SLAB_CHUNK_BITS) | item;
}

void slab_give(struct slab *s, uint32_t index) {
    uint32_t number = index >> SLAB_CHUNK_BITS, item = index & (SLAB_CHUNK - 1);
    ASSERT(slab_is_used(s, index));
    struct slab_chunk *c = s->chunks[number];
    if (is_full(c))
        link_open(s, number);
    memcpy(item_of(s, c, item), &c->free_head, sizeof c->free_head);
    c->free_head = item + 1;
    c->taken[item / 64] &= ~(1ULL << (item % 64));
    c->used--;
    s->used--;
    /* The last open chunk stays, so that one item going back and forth costs no allocation. */
    if (c->used == 0 && (c->next_open || c->prev_open)) {
        unlink_open(s, number);
        MEM_FREE(s->chunks[number]);
        if (!s->spare || number < s->spare - 1)
            s->spare = number + 1;
    }
}

uint32_t slab_end(const struct slab *s) {
    return s->n_chunks << SLAB_CHUNK_BITS;
}

bool slab_is_used(const struct slab *s, uint32_t index) {
    uint32_t number = index >> SLAB_CHUNK_BITS, item = index & (SLAB_CHUNK - 1);
    if (number >= s->n_chunks || !s->chunks[number])
        return false;
    return (s->chunks[number]->taken[item / 64] >> (item % 64)) & 1;
}

/* The first taken item of a chunk from `item` on; SLAB_CHUNK if there is none. */
static uint32_t next_in_chunk(const struct slab_chunk *c, uint32_t item) {
    for (uint32_t word = item / 64; word < SLAB_CHUNK / 64; word++) {
        uint64_t bits = c->taken[word];
        if (word == item / 64)
            bits &= ~0ULL << (item % 64);
        if (bits)
            return word * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return SLAB_CHUNK;
}

uint32_t slab_next(const struct slab *s, uint32_t index) {
    uint32_t item = index & (SLAB_CHUNK - 1);
    for (uint32_t number = index >> SLAB_CHUNK_BITS; number < s->n_chunks; number++, item = 0) {
        const struct slab_chunk *c = s->chunks[number];
        if (!c || !c->used)
            continue;
        uint32_t found = next_in_chunk(c, item);
        if (found < SLAB_CHUNK)
            return (number << SLAB_CHUNK_BITS) | found;
    }
    return 0;
}

size_t slab_bytes(const struct slab *s) {
    size_t chunks = 0;
    for (uint32_t i = 0; i < s->n_chunks; i++)
        chunks += s->chunks[i] != NULL;
    return chunks * (sizeof(struct slab_chunk) + SLAB_CHUNK * s->item_bytes) +
           s->size_chunks * sizeof(struct slab_chunk *);
}

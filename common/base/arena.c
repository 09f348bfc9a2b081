#include "common/base/arena.h"

#include "common/base/check.h"
#include "common/base/mem.h"

#define ALIGN       16U
#define BLOCK_FIRST 4096U
#define BLOCK_MAX   (1U << 20)

struct block {
    struct block *next;
    size_t size, used;
    size_t pad; /* keeps `data` aligned */
    char data[];
};

struct deferred {
    struct deferred *next;
    void (*release)(void *what);
    void *what;
};

struct arena {
    struct block *blocks; /* the one being filled first */
    struct deferred *deferred;
    size_t bytes_max, used;
};

_Static_assert(offsetof(struct block, data) % ALIGN == 0, "blocks hand out aligned memory");

struct arena *arena_new(size_t bytes_max) {
    struct arena *a = MEM_NEW(struct arena);
    a->bytes_max = bytes_max;
    return a;
}

static void run_deferred(struct arena *a) {
    struct deferred *d = a->deferred;
    a->deferred = NULL;
    while (d) {
        struct deferred *next = d->next;
        d->release(d->what);
        mem_free(d);
        d = next;
    }
}

static void free_blocks(struct block *b) {
    while (b) {
        struct block *next = b->next;
        mem_free(b);
        b = next;
    }
}

void arena_destroy(struct arena **ap) {
    struct arena *a = *ap;
    if (!a)
        return;
    run_deferred(a);
    free_blocks(a->blocks);
    mem_free(a);
    *ap = NULL;
}

void arena_reset(struct arena *a) {
    run_deferred(a);
    if (a->blocks) {
        free_blocks(a->blocks->next);
        a->blocks->next = NULL;
        a->blocks->used = 0;
    }
    a->used = 0;
}

static struct block *add_block(struct arena *a, size_t need) {
    size_t size = a->blocks ? a->blocks->size * 2 : BLOCK_FIRST;
    if (size > BLOCK_MAX)
        size = BLOCK_MAX;
    if (size < need)
        size = need;
    struct block *b = mem_try(sizeof *b + size);
    if (!b)
        return NULL;
    *b = (struct block){.next = a->blocks, .size = size};
    a->blocks = b;
    return b;
}

void *arena_try(struct arena *a, size_t size) {
    if (size > a->bytes_max || size > SIZE_MAX - ALIGN - sizeof(struct block))
        return NULL;
    size_t need = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (need > a->bytes_max - a->used)
        return NULL;
    struct block *b = a->blocks;
    if (!b || b->size - b->used < need)
        b = add_block(a, need);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += need;
    a->used += need;
    return p;
}

void *arena_try_array(struct arena *a, size_t count, size_t size) {
    if (size && count > a->bytes_max / size)
        return NULL;
    return arena_try(a, count * size);
}

void *arena_alloc(struct arena *a, size_t size) {
    void *p = arena_try(a, size);
    ASSERT(p);
    return p;
}

struct str arena_try_copy(struct arena *a, struct str s) {
    char *p = s.len < SIZE_MAX ? arena_try(a, s.len + 1) : NULL;
    if (!p)
        return (struct str){NULL, 0};
    if (s.len)
        memcpy(p, s.at, s.len);
    p[s.len] = '\0';
    return (struct str){p, s.len};
}

void arena_defer(struct arena *a, void (*release)(void *what), void *what) {
    /* Not of the arena's own memory: outside data may have filled that up to its bound. */
    struct deferred *d = MEM_NEW(struct deferred);
    *d = (struct deferred){a->deferred, release, what};
    a->deferred = d;
}

size_t arena_used(const struct arena *a) {
    return a->used;
}

/* Small fixed allocations, which end the process when memory is gone.
 *
 * Use for structs and tables whose size comes from our own config. Anything whose size is named by
 * a peer or a file goes through `arena_try` or `buf_put`, which have a maximum and can say no. */
#pragma once

#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull));
/* Grows an array to `count` elements of `size` bytes; aborts on overflow. */
void *mem_grow(void *old, size_t count, size_t size) __attribute__((returns_nonnull));
/* May return NULL: for sizes that come from outside and were checked against a maximum. */
void *mem_try(size_t size);
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
void mem_free(void *p);

#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))
#define MEM_FREE(p)                                                                                \
    do {                                                                                           \
        mem_free(p);                                                                               \
        (p) = NULL;                                                                                \
    } while (0)

static inline void mem_auto_free(void *pp) {
    mem_free(*(void **)pp);
}
#define AUTO_FREE __attribute__((cleanup(mem_auto_free)))

#include "common/base/mem.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

void *mem_alloc(size_t size) {
    void *p = malloc(size ? size : 1);
    ASSERT(p);
    return p;
}

void *mem_zalloc(size_t size) {
    void *p = calloc(1, size ? size : 1);
    ASSERT(p);
    return p;
}

void *mem_grow(void *old, size_t count, size_t size) {
    void *p = reallocarray(old, count ? count : 1, size);
    ASSERT(p);
    return p;
}

void *mem_try(size_t size) {
    return malloc(size ? size : 1);
}

char *mem_strdup(const char *text) {
    size_t n = strlen(text) + 1;
    return memcpy(mem_alloc(n), text, n);
}

void mem_free(void *p) {
    free(p);
}

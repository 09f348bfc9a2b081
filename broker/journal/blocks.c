#include "broker/journal/blocks.h"

#include "common/base/mem.h"

#include <string.h>

int blocks_grow(struct blocks *b, size_t size) {
    if (size <= b->size)
        return 0;
    size = (size + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
    void *memory = mem_try(size + FILE_BLOCK);
    if (!memory)
        return -1;
    char *at = (char *)(((uintptr_t)memory + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK);
    if (b->size)
        memcpy(at, b->at, b->size);
    mem_free(b->memory);
    *b = (struct blocks){at, size, memory};
    return 0;
}

void blocks_free(struct blocks *b) {
    mem_free(b->memory);
    *b = (struct blocks){0};
}

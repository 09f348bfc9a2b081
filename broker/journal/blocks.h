/* Memory for direct access to files: begins at a multiple of FILE_BLOCK, and so is its size. */
#pragma once

#include "broker/journal/file_layer.h"

struct blocks {
    char *at;
    size_t size;
    void *memory;
};

/* -1 when there is no memory for it. What stood there before is kept. */
int blocks_grow(struct blocks *b, size_t size);
void blocks_free(struct blocks *b);

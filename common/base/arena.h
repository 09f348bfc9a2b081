/* Memory with one lifetime: everything taken from an arena is freed when it is reset or destroyed.
 *
 * One arena a job, one a request, one a decoded message. `bytes_max` bounds what it may ever hold;
 * `arena_try` answers NULL beyond it, `arena_alloc` treats that as our own bug and is for sizes
 * that cannot come from outside. Foreign resources (a handle, a document) join with `arena_defer`
 * and are released in reverse order. Not thread-safe: an arena belongs to one thread. */
#pragma once

#include "common/base/str.h"

#include <stddef.h>

struct arena;

struct arena *arena_new(size_t bytes_max);
void arena_destroy(struct arena **a);
/* Runs what was deferred and forgets all allocations; keeps one block for the next round. */
void arena_reset(struct arena *a);

/* 16-byte aligned, uninitialised; NULL when the bound is reached. */
void *arena_try(struct arena *a, size_t size);
void *arena_try_array(struct arena *a, size_t count, size_t size);
void *arena_alloc(struct arena *a, size_t size) __attribute__((returns_nonnull));
/* A copy with a NUL behind it; at == NULL when the bound is reached. */
struct str arena_try_copy(struct arena *a, struct str s);
/* `release(what)` runs at reset or destroy. */
void arena_defer(struct arena *a, void (*release)(void *what), void *what);
size_t arena_used(const struct arena *a);

#define AUTO_ARENA __attribute__((cleanup(arena_destroy))) struct arena *

/* Ids and fences: 64 bits that are never given twice.
 *
 * Both are 4 bits shard (0 for now), 18 bits broker epoch, 42 bits counter. The epoch is raised and
 * made durable at every start before anything is accepted, so neither comes again after a crash
 * that lost the counter. Shown as 13 characters of Crockford's base32 (lower case; i, l, o read as
 * 1, 1, 0; no checksum). Zero is never an id: it stands for "none". */
#pragma once

#include "common/base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define ID_EPOCH_MAX   ((1ULL << 18) - 1)
#define ID_COUNTER_MAX ((1ULL << 42) - 1)
#define ID_CHARS       13

static inline uint64_t id_make(uint64_t epoch, uint64_t counter) {
    return (epoch << 42) | counter;
}

static inline uint64_t id_epoch(uint64_t id) {
    return (id >> 42) & ID_EPOCH_MAX;
}

static inline uint64_t id_counter(uint64_t id) {
    return id & ID_COUNTER_MAX;
}

struct id_text {
    char at[ID_CHARS + 1];
};

struct id_text id_show(uint64_t id);
/* False unless `s` is 13 characters that stand for 64 bits other than zero. */
bool id_parse(struct str s, uint64_t *out);

/* XXH3 of bytes: for tables in memory and for telling contents apart; not for secrets. */
#pragma once

#include "common/base/str.h"

#include <stdint.h>

/* `seed` is random per process where the bytes come from outside, so that nobody can aim at one
 * bucket. */
uint64_t hash_bytes(uint64_t seed, struct str bytes);
/* Mixes one more number into a hash (the finaliser of SplitMix64; Steele, Lea, Flood 2014). */
static inline uint64_t hash_mix(uint64_t h, uint64_t v) {
    h ^= v + 0x9E3779B97F4A7C15ULL;
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ULL;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBULL;
    return h ^ (h >> 31);
}

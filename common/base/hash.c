#include "common/base/hash.h"

#include <xxhash.h>

uint64_t hash_bytes(uint64_t seed, struct str bytes) {
    return XXH3_64bits_withSeed(bytes.at, bytes.len, seed);
}

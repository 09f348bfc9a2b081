#include "common/base/rng.h"

#define MULTIPLIER 6364136223846793005ULL
#define INCREMENT  1442695040888963407ULL

struct rng rng_seed(uint64_t seed) {
    struct rng r = {seed + INCREMENT};
    rng_u32(&r);
    return r;
}

uint32_t rng_u32(struct rng *r) {
    uint64_t old = r->state;
    r->state = old * MULTIPLIER + INCREMENT;
    uint32_t mixed = (uint32_t)(((old >> 18) ^ old) >> 27);
    uint32_t turn = (uint32_t)(old >> 59);
    return (mixed >> turn) | (mixed << ((32 - turn) & 31));
}

uint64_t rng_u64(struct rng *r) {
    uint64_t high = rng_u32(r);
    return (high << 32) | rng_u32(r);
}

uint32_t rng_below(struct rng *r, uint32_t n) {
    return (uint32_t)(((uint64_t)rng_u32(r) * n) >> 32);
}

bool rng_chance(struct rng *r, uint32_t of_million) {
    return rng_below(r, 1000000) < of_million;
}

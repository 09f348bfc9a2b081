/* A seeded random sequence (PCG-XSH-RR 64/32; O'Neill, "PCG: A Family of Simple Fast
 * Space-Efficient Statistically Good Algorithms", 2014): jitter, simulation, tests.
 * Never for secrets. The same seed gives the same sequence everywhere. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

struct rng rng_seed(uint64_t seed);
uint32_t rng_u32(struct rng *r);
uint64_t rng_u64(struct rng *r);
/* 0 to n - 1, each as likely as the others but for 2^-32; n > 0. */
uint32_t rng_below(struct rng *r, uint32_t n);
/* True in `of_million` of a million cases. */
bool rng_chance(struct rng *r, uint32_t of_million);

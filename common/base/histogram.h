/* How long things take, counted in fixed buckets, so that adding costs a few comparisons and
 * nothing is ever forgotten or moved. The same buckets for everything: from 100 us to 5 minutes. */
#pragma once

#include <stdint.h>

#define HISTOGRAM_BOUNDS 17
#define HISTOGRAM_PLACES (HISTOGRAM_BOUNDS + 1) /* the last one is for what is over all bounds */

/* In microseconds, rising: what is not over a bound is counted in its place. */
extern const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS];

struct histogram {
    uint64_t counts[HISTOGRAM_PLACES]; /* each of its own place alone */
    uint64_t sum_us;
};

unsigned histogram_place(uint64_t us);
uint64_t histogram_count(const struct histogram *h);
void histogram_add(struct histogram *h, uint64_t us);

#include "common/base/histogram.h"

const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
    100,    500,     1000,    5000,    10000,    25000,    50000,    100000,   250000,
    500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000};

unsigned histogram_place(uint64_t us) {
    unsigned n = 0;
    while (n < HISTOGRAM_BOUNDS && us > histogram_bounds_us[n])
        n++;
    return n;
}

uint64_t histogram_count(const struct histogram *h) {
    uint64_t n = 0;
    for (unsigned k = 0; k < HISTOGRAM_PLACES; k++)
        n += h->counts[k];
    return n;
}

void histogram_add(struct histogram *h, uint64_t us) {
    h->counts[histogram_place(us)]++;
    h->sum_us += us;
}

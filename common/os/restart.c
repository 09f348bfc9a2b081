#include "common/os/restart.h"

#define ROW_MAX 40 /* doubled so often, any wait is over any maximum */

void restart_started(struct restart *r, struct mono now) {
    r->started = now;
}

struct mono restart_ended(struct restart *r, struct mono now, uint64_t wait_ms,
                          uint64_t wait_max_ms, struct rng *rng) {
    if (mono_until(r->started, now) >= RESTART_HEALTHY_MS)
        r->row = 0;
    uint64_t wait = wait_ms;
    for (uint32_t i = 0; i < r->row && wait < wait_max_ms; i++)
        wait *= 2;
    if (wait > wait_max_ms)
        wait = wait_max_ms;
    if (r->row < ROW_MAX)
        r->row++;
    /* Three quarters of it at least. */
    uint64_t part = wait / 4 < UINT32_MAX ? wait / 4 : UINT32_MAX - 1;
    return mono_add(now, wait - rng_below(rng, (uint32_t)part + 1));
}

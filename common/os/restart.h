/* When something that ended may be started again: a wait that doubles with each end in a row, with
 * jitter so that many do not start together, and that is forgotten after a healthy run. Pure. */
#pragma once

#include "common/base/rng.h"
#include "common/base/time_types.h"

#define RESTART_HEALTHY_MS                                                                         \
    60000 /* a run of that length shows that the last end was not its fault */

struct restart {
    uint32_t row; /* ends in a row */
    struct mono started;
};

void restart_started(struct restart *r, struct mono now);
/* It ended now, unasked: not before when it may start again. */
struct mono restart_ended(struct restart *r, struct mono now, uint64_t wait_ms,
                          uint64_t wait_max_ms, struct rng *rng);

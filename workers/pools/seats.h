/* How many processes of a pool shall run, and when the next one may be started. Pure.
 *
 * A pool has *seats*. A seat is free, waits until a process may be started on it, or is held by a
 * process that counts. Held and waiting seats together are as many as the plan says; surplus ones
 * that wait are freed, surplus ones that are held are left to the broker, which knows who is idle
 * (P-62). Each seat has its own back-off: one process that dies does not slow its neighbours down,
 * and a new seat is not a way around the wait of another. A process that is being replaced gives
 * its seat up at once, so that its successor starts before it has ended. One thread. */
#pragma once

#include "common/base/rng.h"
#include "common/os/restart.h"

#include <stdbool.h>
#include <stddef.h>

#define SEAT_NONE UINT32_MAX

enum seat_state { SEAT_FREE, SEAT_WAITING, SEAT_HELD };

struct seat {
    enum seat_state state;
    struct restart restart;
    struct mono not_before;
};

struct seats {
    struct seat *at;
    uint32_t n;
    uint32_t plan;
};

/* How the process of a seat ended. */
enum seat_end {
    SEAT_END_DONE,     /* as it was asked to, or after long and good service */
    SEAT_END_AGAIN,    /* it wants a successor at once */
    SEAT_END_DIED,     /* unasked */
    SEAT_END_HOPELESS, /* the same will happen again: the longest wait */
};

void seats_done(struct seats *s);
void seats_plan(struct seats *s, uint32_t plan, struct mono now);
/* A seat on which a process may be started now; SEAT_NONE if there is none. */
uint32_t seats_due(const struct seats *s, struct mono now);
/* When the next one will be due. */
struct mono seats_next(const struct seats *s);
void seats_take(struct seats *s, uint32_t seat, struct mono now);
/* Its process is being replaced. `in_vain`: for a reason that its successor may give as well; the
 * first of a row starts at once all the same, later ones wait. */
void seats_leave(struct seats *s, uint32_t seat, bool in_vain, uint64_t wait_ms,
                 uint64_t wait_max_ms, struct mono now, struct rng *rng);
/* Its process has ended. */
void seats_end(struct seats *s, uint32_t seat, enum seat_end how, uint64_t wait_ms,
               uint64_t wait_max_ms, struct mono now, struct rng *rng);
uint32_t seats_held(const struct seats *s);

#include "workers/pools/seats.h"

#include "common/base/check.h"
#include "common/base/mem.h"

void seats_done(struct seats *s) {
    MEM_FREE(s->at);
    *s = (struct seats){0};
}

static uint32_t count(const struct seats *s, enum seat_state state) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        n += s->at[i].state == state;
    return n;
}

uint32_t seats_held(const struct seats *s) {
    return count(s, SEAT_HELD);
}

/* ---- keeping to the plan -------------------------------------------------------------------- */
static void add_waiting(struct seats *s, struct mono now) {
    uint32_t i = 0;
    while (i < s->n && s->at[i].state != SEAT_FREE)
        i++;
    if (i == s->n) {
        s->at = mem_grow(s->at, s->n + 1, sizeof *s->at);
        s->n++;
    }
    s->at[i] = (struct seat){.state = SEAT_WAITING, .not_before = now};
}

/* The one that has to wait longest goes first. */
static void drop_waiting(struct seats *s) {
    uint32_t last = SEAT_NONE;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].state == SEAT_WAITING &&
            (last == SEAT_NONE || s->at[i].not_before.ms > s->at[last].not_before.ms))
            last = i;
    ASSERT(last != SEAT_NONE);
    s->at[last] = (struct seat){0};
}

static void settle(struct seats *s, struct mono now) {
    uint32_t held = seats_held(s), waiting = count(s, SEAT_WAITING);
    for (; held + waiting < s->plan; waiting++)
        add_waiting(s, now);
    for (; waiting && held + waiting > s->plan; waiting--)
        drop_waiting(s);
}

void seats_plan(struct seats *s, uint32_t plan, struct mono now) {
    s->plan = plan;
    settle(s, now);
}

/* ---- starting ------------------------------------------------------------------------------- */
static uint32_t earliest(const struct seats *s) {
    uint32_t best = SEAT_NONE;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->at[i].state == SEAT_WAITING &&
            (best == SEAT_NONE || s->at[i].not_before.ms < s->at[best].not_before.ms))
            best = i;
    return best;
}

uint32_t seats_due(const struct seats *s, struct mono now) {
    uint32_t i = earliest(s);
    return i != SEAT_NONE && mono_reached(now, s->at[i].not_before) ? i : SEAT_NONE;
}

struct mono seats_next(const struct seats *s) {
    uint32_t i = earliest(s);
    return i == SEAT_NONE ? MONO_NEVER : s->at[i].not_before;
}

void seats_take(struct seats *s, uint32_t seat, struct mono now) {
    ASSERT(s->at[seat].state == SEAT_WAITING);
    s->at[seat].state = SEAT_HELD;
    restart_started(&s->at[seat].restart, now);
}

/* ---- ending --------------------------------------------------------------------------------- */
void seats_leave(struct seats *s, uint32_t seat, bool in_vain, uint64_t wait_ms,
                 uint64_t wait_max_ms, struct mono now, struct rng *rng) {
    struct seat *at = &s->at[seat];
    ASSERT(at->state == SEAT_HELD);
    at->state = SEAT_WAITING;
    at->not_before = now;
    if (in_vain) {
        struct mono later = restart_ended(&at->restart, now, wait_ms, wait_max_ms, rng);
        if (at->restart.row > 1)
            at->not_before = later;
    }
    settle(s, now);
}

void seats_end(struct seats *s, uint32_t seat, enum seat_end how, uint64_t wait_ms,
               uint64_t wait_max_ms, struct mono now, struct rng *rng) {
    struct seat *at = &s->at[seat];
    ASSERT(at->state == SEAT_HELD);
    at->state = SEAT_WAITING;
    at->not_before = now;
    if (how == SEAT_END_DIED)
        at->not_before = restart_ended(&at->restart, now, wait_ms, wait_max_ms, rng);
    if (how == SEAT_END_HOPELESS)
        at->not_before = restart_ended(&at->restart, now, wait_max_ms, wait_max_ms, rng);
    settle(s, now);
}

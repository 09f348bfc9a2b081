/* Two clocks that never mix.
 *
 * `struct mono` counts milliseconds that cannot step: all waiting is done on it.
 * `struct wall` is UTC milliseconds since 1970: what is journaled, shown, and what `run_at` and
 * cron follow. Being structs, one cannot be passed for the other. Durations are plain uint64_t
 * milliseconds named `..._ms`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mono {
    uint64_t ms;
};

struct wall {
    uint64_t ms;
};

#define MONO_NEVER ((struct mono){UINT64_MAX})

static inline struct mono mono_add(struct mono t, uint64_t ms) {
    return (struct mono){t.ms > UINT64_MAX - ms ? UINT64_MAX : t.ms + ms};
}

/* How long from `from` until `to`; 0 if that has passed. */
static inline uint64_t mono_until(struct mono from, struct mono to) {
    return to.ms > from.ms ? to.ms - from.ms : 0;
}

static inline struct mono mono_min(struct mono a, struct mono b) {
    return a.ms < b.ms ? a : b;
}

static inline bool mono_reached(struct mono now, struct mono t) {
    return now.ms >= t.ms;
}

static inline struct wall wall_add(struct wall t, uint64_t ms) {
    return (struct wall){t.ms > UINT64_MAX - ms ? UINT64_MAX : t.ms + ms};
}

/* What is left of a duration that was to end at `end`, never less than 0 nor more than the whole:
 * a wall clock that stepped cannot stretch a wait. */
static inline uint64_t wall_rest(struct wall now, struct wall end, uint64_t whole_ms) {
    uint64_t rest = end.ms > now.ms ? end.ms - now.ms : 0;
    return rest < whole_ms ? rest : whole_ms;
}

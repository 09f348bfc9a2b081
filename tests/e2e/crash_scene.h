/* A broker with its quern-pools whose processes are killed at random: what all programs of crashes
 * share.
 *
 * Vocabulary
 *   blow      kills one process or several, and starts again what nobody else would
 *   moments   the random sequence that says when and what; apart from the load's own */
#pragma once

#include "common/base/rng.h"
#include "common/base/time_types.h"
#include "tests/e2e/pools_process.h"

#include <stdbool.h>
#include <stdint.h>

struct crash_scene {
    struct broker broker;
    struct pools pools;
    struct rng moments;
    uint64_t seed;
    struct mono began;
    uint32_t broker_kills, worker_kills; /* processes */
};

/* The command line: --about, or `--COUNT N` and `--seed S`. */
struct crash_options {
    const char *program, *about;
    const char *count_name; /* with its dashes */
    uint64_t count, seed;
};
/* True to go on; else `status` is what to exit with. */
bool crash_options_read(struct crash_options *o, int argc, char **argv, int *status);

/* Makes and starts all of it. */
void crash_scene_open(struct crash_scene *s, const char *settings, uint64_t seed);
/* Ends all, says how long it took, and keeps the data if anything was wrong. The exit status. */
int crash_scene_close(struct crash_scene *s, uint32_t wrong);

/* ---- blows: each is true if it could be struck ----------------------------------------------- */
bool crash_kill_worker(struct crash_scene *s); /* one of them; its pool starts another */
bool crash_worker(struct crash_scene *s);      /* a worker, or the broker where there is none */
bool crash_broker(struct crash_scene *s);
bool crash_broker_starting(struct crash_scene *s); /* again, while it reads its journal */
bool crash_worker_and_broker(struct crash_scene *s);
bool crash_pools(struct crash_scene *s);
bool crash_everything(struct crash_scene *s);

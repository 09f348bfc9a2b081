/* Kills broker, workers and supervisor at random moments under load, again and again, and then
 * holds what clients were told against what the broker knows.
 *
 *     bench_crash [--rounds N] [--seed S]
 *
 * Moments are counted in answers and ends that the clients got, not in time: the same seed kills
 * the same things after the same number of events. P-32, P-33, P-35, P-36, P-39, P-50. */
#include "common/os/clock.h"
#include "tests/e2e/crash.h"
#include "tests/e2e/crash_scene.h"

#include <stdio.h>

#define ROUNDS       50
#define ROUND_EVENTS 250U
#define STALL_MS     60000

static const char settings[] = "broker: {heartbeat: 100ms}\n"
                               "journal: {segment_size: 4MiB, batch_bytes: 4MiB}\n"
                               "kinds:\n"
                               "  echo: {speculative: true}\n"
                               "  sleep: {}\n"
                               "  fail: {}\n"
                               "pools:\n"
                               "  default: {processes_min: 2, processes_max: 2, slots: 4, "
                               "prefetch: 4, restart_backoff: 10ms}\n"
                               "log: {level: warn}\n";

static struct crash_scene scene;
static struct load load;

/* ---- waiting -------------------------------------------------------------------------------- */
/* Serves until `reached`; gives up when nothing moves any more. */
static bool serve_until(bool (*reached)(uint64_t what), uint64_t what, bool offering) {
    struct mono stalls = mono_add(clock_mono(), STALL_MS);
    uint64_t seen = load.events;
    while (!reached(what)) {
        load_serve(&load, offering, 1000);
        pools_reap_orphans(&scene.pools, &scene.broker);
        if (load.events != seen)
            stalls = mono_add(clock_mono(), STALL_MS);
        seen = load.events;
        if (mono_reached(clock_mono(), stalls)) {
            crash_wrong(&load, "nothing moves: %u offers and %u jobs are open", load.open,
                        load.waiting);
            return false;
        }
    }
    return true;
}

static bool events_reached(uint64_t what) {
    return load.events >= what;
}

static bool none_up(uint64_t what) {
    (void)what;
    bool up = client_is_up(load.operator);
    for (size_t i = 0; i < CRASH_CLIENTS; i++)
        up |= client_is_up(load.clients[i]);
    return !up;
}

static bool all_ended(uint64_t what) {
    (void)what;
    return load.open == 0 && load.waiting == 0;
}

/* Also what was accepted without its sender's knowing: asked for until the broker has no more. */
static bool none_unfinished(uint64_t what) {
    (void)what;
    if (load.status_news && load.unfinished == 0)
        return true;
    load.status_news = false;
    load_ask_status(&load);
    return false;
}

/* ---- blows ---------------------------------------------------------------------------------- */
/* Stays away until every client has noticed. */
static bool crash_broker_long(struct crash_scene *s) {
    broker_kill(&s->broker);
    bool ok = serve_until(none_up, 0, true);
    broker_start(&s->broker);
    return ok;
}

static const struct blow {
    const char *name;
    bool (*strike)(struct crash_scene *s);
} blows[] = {
    {"the broker", crash_broker},
    {"the broker for a while", crash_broker_long},
    {"the broker, twice", crash_broker_starting},
    {"a worker", crash_worker},
    {"a worker", crash_worker},
    {"quern-pools", crash_pools},
    {"a worker and the broker", crash_worker_and_broker},
    {"everything", crash_everything},
};
#define BLOWS (sizeof blows / sizeof *blows)

/* ---- all ------------------------------------------------------------------------------------ */
static void run_rounds(uint64_t rounds) {
    uint32_t struck[BLOWS] = {0};
    bool ok = true;
    for (uint64_t round = 0; ok && round < rounds; round++) {
        ok = serve_until(events_reached, load.events + 1 + rng_below(&scene.moments, ROUND_EVENTS),
                         true);
        size_t blow = rng_below(&scene.moments, BLOWS);
        struck[blow]++;
        ok = ok && blows[blow].strike(&scene);
        if (!ok)
            crash_wrong(&load, "that was in round %llu, with %s killed",
                        (unsigned long long)round + 1, blows[blow].name);
    }
    for (size_t i = 0; i < BLOWS; i++)
        if (struck[i])
            printf("%u times killed: %s\n", struck[i], blows[i].name);
    if (ok && serve_until(all_ended, 0, false) && serve_until(none_unfinished, 0, false))
        crash_check(&load);
}

int main(int argc, char **argv) {
    struct crash_options options = {
        .program = "bench_crash",
        .about = "kills processes at random under load; nothing acknowledged may be lost or end "
                 "twice",
        .count_name = "--rounds",
        .count = ROUNDS};
    int status;
    if (!crash_options_read(&options, argc, argv, &status))
        return status;
    crash_scene_open(&scene, settings, options.seed);
    load_open(&load, scene.broker.run, options.seed);
    run_rounds(options.count);
    uint32_t wrong = load.wrong;
    load_close(&load);
    return crash_scene_close(&scene, wrong);
}

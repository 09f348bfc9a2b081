/* Kills broker, workers and supervisor at random moments under load, again and again, and then
 * holds what clients were told against what the broker knows.
 *
 *     bench_crash [--rounds N] [--seed S]
 *
 * Moments are counted in answers and ends that the clients got, not in time: the same seed kills
 * the same things after the same number of events. P-32, P-33, P-35, P-36, P-39, P-50. */
#include "common/base/units.h"
#include "common/os/clock.h"
#include "tests/e2e/crash.h"
#include "tests/e2e/pools_process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS       50
#define ROUND_EVENTS 250U
#define STALL_MS     60000
#define WORKERS      2

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

static struct broker broker;
static struct pools pools;
static struct load load;
static struct rng moments; /* apart from the load's: what is offered depends on answers */

/* ---- waiting -------------------------------------------------------------------------------- */
/* Serves until `reached`; gives up when nothing moves any more. */
static bool serve_until(bool (*reached)(uint64_t what), uint64_t what, bool offering) {
    struct mono stalls = mono_add(clock_mono(), STALL_MS);
    uint64_t seen = load.events;
    while (!reached(what)) {
        load_serve(&load, offering, 1000);
        pools_reap_orphans(&pools, &broker);
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
static bool kill_worker(void) {
    pid_t pids[POOLS_WORKERS_MAX];
    size_t n = pools_workers(&pools, pids);
    return n && kill(pids[rng_below(&moments, (uint32_t)n)], SIGKILL) == 0;
}

static bool blow_broker(void) {
    broker_kill(&broker);
    broker_start(&broker);
    return true;
}

/* Stays away until every client has noticed. */
static bool blow_broker_long(void) {
    broker_kill(&broker);
    bool ok = serve_until(none_up, 0, true);
    broker_start(&broker);
    return ok;
}

/* Killed again while it reads its journal. */
static bool blow_broker_starting(void) {
    broker_kill(&broker);
    broker_launch(&broker);
    broker_kill(&broker);
    broker_start(&broker);
    return true;
}

static bool blow_worker(void) {
    return kill_worker() || blow_broker();
}

static bool blow_pools(void) {
    pools_kill(&pools);
    pools_start(&pools, &broker);
    return true;
}

static bool blow_worker_and_broker(void) {
    kill_worker();
    return blow_broker();
}

static bool blow_everything(void) {
    broker_signal(&broker, SIGKILL);
    pools_kill_all(&pools);
    broker_wait(&broker);
    broker_start(&broker);
    pools_start(&pools, &broker);
    return true;
}

static const struct blow {
    const char *name;
    bool (*strike)(void);
} blows[] = {
    {"the broker", blow_broker},
    {"the broker for a while", blow_broker_long},
    {"the broker, twice", blow_broker_starting},
    {"a worker", blow_worker},
    {"a worker", blow_worker},
    {"quern-pools", blow_pools},
    {"a worker and the broker", blow_worker_and_broker},
    {"everything", blow_everything},
};
#define BLOWS (sizeof blows / sizeof *blows)

/* ---- all ------------------------------------------------------------------------------------ */
static void run_rounds(uint64_t rounds) {
    uint32_t struck[BLOWS] = {0};
    bool ok = true;
    for (uint64_t round = 0; ok && round < rounds; round++) {
        ok = serve_until(events_reached, load.events + 1 + rng_below(&moments, ROUND_EVENTS), true);
        size_t blow = rng_below(&moments, BLOWS);
        struck[blow]++;
        ok = ok && blows[blow].strike();
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

static bool read_arguments(int argc, char **argv, uint64_t *rounds, uint64_t *seed) {
    for (int i = 1; i < argc; i += 2) {
        uint64_t *to = strcmp(argv[i], "--rounds") == 0 ? rounds
                       : strcmp(argv[i], "--seed") == 0 ? seed
                                                        : NULL;
        if (!to || i + 1 == argc || !str_to_u64(str_of(argv[i + 1]), 1000000000, to))
            return false;
    }
    return true;
}

int main(int argc, char **argv) {
    uint64_t rounds = ROUNDS, seed = clock_wall().ms % 1000000;
    if (argc == 2 && strcmp(argv[1], "--about") == 0) {
        puts("kills processes at random under load; nothing acknowledged may be lost or end twice");
        return 0;
    }
    if (!read_arguments(argc, argv, &rounds, &seed)) {
        fputs("usage: bench_crash [--rounds N] [--seed S]\n", stderr);
        return 2;
    }
    printf("%llu rounds, seed %llu\n", (unsigned long long)rounds, (unsigned long long)seed);
    fflush(stdout);
    struct mono began = clock_mono();
    pools_adopt_orphans();
    broker_make(&broker, settings);
    broker_start(&broker);
    pools_start(&pools, &broker);
    moments = rng_seed(seed);
    load_open(&load, broker.run, seed);
    run_rounds(rounds);
    uint32_t wrong = load.wrong;
    load_close(&load);
    pools_remove(&pools, &broker);
    if (wrong)
        printf("%u findings with seed %llu; the data are in %s\n", wrong, (unsigned long long)seed,
               broker.root);
    else
        broker_remove(&broker);
    printf("%llu s\n", (unsigned long long)(mono_until(began, clock_mono()) / 1000));
    return wrong ? 1 : 0;
}

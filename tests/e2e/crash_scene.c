#include "tests/e2e/crash_scene.h"

#include "common/base/units.h"
#include "common/os/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- the command line ----------------------------------------------------------------------- */
static bool read_arguments(struct crash_options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        uint64_t *to = strcmp(argv[i], o->count_name) == 0 ? &o->count
                       : strcmp(argv[i], "--seed") == 0    ? &o->seed
                                                           : NULL;
        if (!to || i + 1 == argc || !str_to_u64(str_of(argv[i + 1]), 1000000000, to))
            return false;
    }
    return true;
}

bool crash_options_read(struct crash_options *o, int argc, char **argv, int *status) {
    *status = 0;
    o->seed = clock_wall().ms % 1000000;
    if (argc == 2 && strcmp(argv[1], "--about") == 0) {
        puts(o->about);
        return false;
    }
    if (!read_arguments(o, argc, argv)) {
        fprintf(stderr, "usage: %s [%s N] [--seed S]\n", o->program, o->count_name);
        *status = 2;
        return false;
    }
    printf("%s %llu, seed %llu\n", o->count_name + 2, (unsigned long long)o->count,
           (unsigned long long)o->seed);
    fflush(stdout);
    return true;
}

/* ---- the processes -------------------------------------------------------------------------- */
void crash_scene_open(struct crash_scene *s, const char *settings, uint64_t seed) {
    *s = (struct crash_scene){.seed = seed, .moments = rng_seed(seed), .began = clock_mono()};
    pools_adopt_orphans();
    broker_make(&s->broker, settings);
    broker_start(&s->broker);
    pools_start(&s->pools, &s->broker);
}

int crash_scene_close(struct crash_scene *s, uint32_t wrong) {
    pools_remove(&s->pools, &s->broker);
    if (wrong)
        printf("%u findings with seed %llu; the data are in %s\n", wrong,
               (unsigned long long)s->seed, s->broker.root);
    else
        broker_remove(&s->broker);
    printf("%llu s\n", (unsigned long long)(mono_until(s->began, clock_mono()) / 1000));
    return wrong ? 1 : 0;
}

/* ---- blows ---------------------------------------------------------------------------------- */
bool crash_kill_worker(struct crash_scene *s) {
    pid_t pids[POOLS_WORKERS_MAX];
    size_t n = pools_workers(&s->pools, pids);
    bool killed = n && kill(pids[rng_below(&s->moments, (uint32_t)n)], SIGKILL) == 0;
    s->worker_kills += killed;
    return killed;
}

static void kill_broker(struct crash_scene *s) {
    broker_kill(&s->broker);
    s->broker_kills++;
}

bool crash_worker(struct crash_scene *s) {
    return crash_kill_worker(s) || crash_broker(s);
}

bool crash_broker(struct crash_scene *s) {
    kill_broker(s);
    broker_start(&s->broker);
    return true;
}

bool crash_broker_starting(struct crash_scene *s) {
    kill_broker(s);
    broker_launch(&s->broker);
    kill_broker(s);
    broker_start(&s->broker);
    return true;
}

bool crash_worker_and_broker(struct crash_scene *s) {
    crash_kill_worker(s);
    return crash_broker(s);
}

bool crash_pools(struct crash_scene *s) {
    pools_kill(&s->pools);
    pools_start(&s->pools, &s->broker);
    return true;
}

bool crash_everything(struct crash_scene *s) {
    broker_signal(&s->broker, SIGKILL);
    pools_kill_all(&s->pools);
    broker_wait(&s->broker);
    s->broker_kills++;
    broker_start(&s->broker);
    pools_start(&s->pools, &s->broker);
    return true;
}

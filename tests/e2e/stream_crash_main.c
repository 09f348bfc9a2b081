/* Kills workers and the broker at random moments while streams are heard, and holds every event
 * against what its job must have written.
 *
 *     bench_stream_crash [--kills N] [--seed S]
 *
 * P-72 to P-78. */
#include "common/os/clock.h"
#include "tests/e2e/stream_crash.h"

#include <stdio.h>

#define KILLS         1000
#define MOMENT_EVENTS 6000U
#define MOMENT_MS     600U
#define STALL_MS      60000
#define TELL_EVERY    50U

static const char settings[] = "broker: {heartbeat: 100ms}\n"
                               "journal: {segment_size: 4MiB, batch_bytes: 4MiB}\n"
                               "kinds: {stream: {speculative: true, streams: true}}\n"
                               "pools:\n"
                               "  default: {processes_min: 3, processes_max: 3, slots: 3, "
                               "prefetch: 2, restart_backoff: 10ms, restart_backoff_max: 20ms}\n"
                               "log: {level: warn}\n";

static struct crash_scene scene;
static struct stream_load load;

static const struct blow {
    const char *name;
    bool (*strike)(struct crash_scene *s);
} blows[] = {
    {"a worker was killed", crash_worker},
    {"a worker was killed", crash_worker},
    {"a worker was killed", crash_worker},
    {"the broker was killed", crash_broker},
    {"the broker was killed", crash_broker},
    {"a worker and the broker were killed", crash_worker_and_broker},
    {"the broker was killed twice", crash_broker_starting},
};
#define BLOWS (sizeof blows / sizeof *blows)

static uint32_t kills(void) {
    return scene.broker_kills + scene.worker_kills;
}

static void serve(bool offering, uint64_t ms) {
    stream_load_serve(&load, offering, ms);
    pools_reap_orphans(&scene.pools, &scene.broker);
}

/* Behind so many events, or that time if there are not so many. */
static void await_moment(void) {
    uint64_t events = load.counts.events + rng_below(&scene.moments, MOMENT_EVENTS);
    struct mono until = mono_add(clock_mono(), rng_below(&scene.moments, MOMENT_MS));
    while (load.counts.events < events && !mono_reached(clock_mono(), until))
        serve(true, mono_until(clock_mono(), until));
}

static void tell(void) {
    const struct stream_counts *c = &load.counts;
    printf("%u kills (%u of workers, %u of the broker): %llu streams, %llu events, %llu resets, "
           "%llu whole, %llu broken\n",
           kills(), scene.worker_kills, scene.broker_kills, (unsigned long long)c->follows,
           (unsigned long long)c->events, (unsigned long long)c->resets,
           (unsigned long long)c->whole, (unsigned long long)c->broken);
    fflush(stdout);
}

static void run(uint64_t wanted) {
    uint32_t told = 0;
    while (kills() < wanted && !stream_load_wrong(&load)) {
        await_moment();
        const struct blow *blow = &blows[rng_below(&scene.moments, BLOWS)];
        stream_load_note(&load, blow->name);
        blow->strike(&scene);
        if (kills() / TELL_EVERY > told)
            tell();
        told = kills() / TELL_EVERY;
    }
}

/* Until nobody follows anything; gives up when nothing moves any more. */
static void drain(void) {
    struct mono stalls = mono_add(clock_mono(), STALL_MS);
    for (uint64_t seen = load.news; stream_load_live(&load); seen = load.news) {
        serve(false, 1000);
        if (load.news != seen)
            stalls = mono_add(clock_mono(), STALL_MS);
        if (!mono_reached(clock_mono(), stalls))
            continue;
        for (unsigned i = 0; i < READERS; i++)
            for (struct follow *f = load.readers[i].follows; f; f = f->next)
                follow_wrong(f, "nothing more comes");
        return;
    }
}

static void report(void) {
    const struct stream_counts *c = &load.counts;
    tell();
    printf("streams: %llu whole, %llu broken (each had its text or its hash in the result; %llu of "
           "the reader who was always there), %llu dead of crashes\n",
           (unsigned long long)c->whole, (unsigned long long)c->broken,
           (unsigned long long)c->broken_there, (unsigned long long)c->dead);
    printf("readers: %llu times deaf, %llu times gone and back, %llu ATTACHes; submissions: %llu "
           "unknown, %llu refused\n",
           (unsigned long long)c->deaf, (unsigned long long)c->left,
           (unsigned long long)c->attaches, (unsigned long long)c->unknown,
           (unsigned long long)c->refused);
    printf("deltas: %llu lost, %llu doubled; resets: %llu announced, %llu not; otherwise wrong: "
           "%llu\n",
           (unsigned long long)c->lost, (unsigned long long)c->doubled,
           (unsigned long long)c->resets, (unsigned long long)c->unannounced,
           (unsigned long long)c->other);
}

int main(int argc, char **argv) {
    struct crash_options options = {
        .program = "bench_stream_crash",
        .about = "kills workers and the broker while streams are heard; no event may be lost or "
                 "doubled",
        .count_name = "--kills",
        .count = KILLS};
    int status;
    if (!crash_options_read(&options, argc, argv, &status))
        return status;
    crash_scene_open(&scene, settings, options.seed);
    stream_load_open(&load, &scene);
    run(options.count);
    drain();
    stream_load_close(&load);
    report();
    return crash_scene_close(&scene, stream_load_wrong(&load));
}

/* Power cuts. A random user works on a journal over a disk that loses power at the n-th call, for
 * every n and then at random ones, also during the recovery from an earlier cut. After each, what
 * was reported durable must be there byte for byte and the log be a prefix of what was put
 * (tests/support/journal_model.h says it in full). Everything is done on one thread, so a seed
 * repeats the whole run.
 *
 *     journal_crash_test [ROUNDS [SEED]]     more rounds than ctest takes time for
 *     journal_crash_test threads [ROUNDS [SEED]]
 *
 * The second form leaves the work to the journal's threads: the same promises, no repetition. */
#include "common/base/rng.h"
#include "tests/support/crash_files.h"
#include "tests/support/journal_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STEPS          2500
#define ROUNDS_DEFAULT 600U

#define ROUNDS_THREADS 150U

static uint64_t rounds = ROUNDS_DEFAULT, first_seed = 1;
static bool threads;

/* What has happened in all lives: a test that met none of it proves nothing. */
static struct { uint64_t lives, cuts, in_open, torn, made, recycled, dropped, moved, loads; } seen;

static void add_up(struct journal *j) {
    struct journal_stats stats;
    journal_stats(j, &stats);
    seen.made += stats.segments_made;
    seen.recycled += stats.segments_recycled;
    seen.dropped += stats.segments_dropped;
    seen.moved += stats.records_moved;
    seen.loads += stats.loads;
}

static int show(void **state) {
    (void)state;
    print_message("%llu lives, %llu cuts (%llu before work began), %llu torn ends; segments: %llu "
                  "made, %llu recycled, %llu dropped; records: %llu moved, %llu loaded\n",
                  (unsigned long long)seen.lives, (unsigned long long)seen.cuts,
                  (unsigned long long)seen.in_open, (unsigned long long)seen.torn,
                  (unsigned long long)seen.made, (unsigned long long)seen.recycled,
                  (unsigned long long)seen.dropped, (unsigned long long)seen.moved,
                  (unsigned long long)seen.loads);
    return 0;
}

static bool struck(void *ctx) {
    return crash_disk_struck(ctx);
}

static int open_journal(struct crash_disk *d, struct journal **j, struct err *e) {
    struct journal_options options = {.dir = "disk",
                                      .segment_bytes = 64U << 10,
                                      .fill_bytes_max = 256U << 10,
                                      .turn_bytes_max = 64U << 10,
                                      .spares_reserve = 1,
                                      .loads_max = 16,
                                      .no_threads = !threads};
    return journal_open(j, &options, crash_disk_layer(d), e);
}

/* From open to the planned fault or the end of the steps; true if the fault came. */
static bool live(struct crash_disk *d, struct journal_model *m, int steps, bool close) {
    struct journal *j = NULL;
    struct err e = {0};
    seen.lives++;
    if (open_journal(d, &j, &e) != 0 || model_attach(m, j, &e) != 0) {
        if (!crash_disk_struck(d))
            fail_msg("the journal cannot be opened: %s", e.text);
        seen.in_open++;
        /* What a replay that was broken off has told the model does not count. */
        journal_abandon(&j);
        model_detach(m);
        return true;
    }
    for (int i = 0; i < steps && !crash_disk_struck(d); i++) {
        model_step(m);
        if (threads && i % 16 == 0)
            model_flush(m); /* gives the threads time for their work */
    }
    seen.cuts += crash_disk_struck(d);
    seen.torn += model_cut_bytes(m) > 0;
    add_up(j);
    if (close && !crash_disk_struck(d) && journal_close(&j, &e) != 0 && !crash_disk_struck(d))
        fail_msg("the journal cannot be closed: %s", e.text);
    journal_abandon(&j);
    model_detach(m);
    return crash_disk_struck(d);
}

static void plan_cut(struct crash_disk *d, uint64_t at) {
    crash_disk_plan(d, (struct crash_plan){FAULT_POWER, CALL_ANY, at, false});
}

/* Cut at call n of the first life, then in one or two recoveries, then left alone. */
static bool cut_at(uint64_t n, uint64_t seed) {
    struct model_options options = {.seed = seed, .items_max = 60};
    struct crash_disk *d = crash_disk_new(seed * 1000003 + n);
    struct journal_model *m = model_new(&options);
    struct rng rng = rng_seed(n);
    model_loads_may_fail(m, struck, d);
    plan_cut(d, n);
    bool cut = live(d, m, STEPS, n % 2);
    crash_disk_power_up(d);
    for (uint32_t again = rng_below(&rng, 3); again > 0; again--) {
        plan_cut(d, 1 + rng_below(&rng, 40));
        live(d, m, STEPS / 4, false);
        crash_disk_power_up(d);
    }
    live(d, m, STEPS / 4, true);
    live(d, m, 0, false);
    model_destroy(&m);
    crash_disk_destroy(&d);
    return cut;
}

static void a_cut_at_any_call_loses_nothing_durable(void **state) {
    (void)state;
    uint64_t n = 1;
    while (cut_at(n, first_seed))
        n++;
    print_message("%llu calls, a cut at each\n", (unsigned long long)n - 1);
    assert_true(n > 200);
}

/* Many lives of one journal: cut, killed, closed or left, with short calls and a disk that is
 * nearly full. */
static void round_of_lives(uint64_t seed) {
    struct rng rng = rng_seed(seed);
    struct model_options options = {.seed = seed, .items_max = 20 + rng_below(&rng, 200)};
    struct crash_disk *d = crash_disk_new(seed);
    struct journal_model *m = model_new(&options);
    model_loads_may_fail(m, struck, d);
    crash_disk_short_calls(d, rng_chance(&rng, 500000));
    for (uint32_t lives = 2 + rng_below(&rng, 8); lives > 0; lives--) {
        if (rng_chance(&rng, 300000))
            crash_disk_capacity(d, (4 + rng_below(&rng, 12)) * (64ULL << 10));
        else
            crash_disk_capacity(d, 0);
        uint64_t at = 1 + rng_below(&rng, rng_chance(&rng, 500000) ? 60 : 600);
        if (rng_chance(&rng, 600000))
            plan_cut(d, at);
        else if (rng_chance(&rng, 500000))
            crash_disk_plan(d, (struct crash_plan){FAULT_EIO, CALL_SYNC, 1 + at / 4, false});
        live(d, m, 50 + (int)rng_below(&rng, 800), rng_chance(&rng, 300000));
        if (rng_chance(&rng, 700000))
            crash_disk_power_up(d);
        else
            crash_disk_killed(d);
    }
    crash_disk_capacity(d, 0);
    live(d, m, 100, true);
    live(d, m, 0, false);
    model_destroy(&m);
    crash_disk_destroy(&d);
}

static void many_lives_lose_nothing_durable(void **state) {
    (void)state;
    for (uint64_t i = 0; i < rounds; i++)
        round_of_lives(first_seed + i);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_lives_lose_nothing_durable),
        cmocka_unit_test(a_cut_at_any_call_loses_nothing_durable),
    };
    if (argc > 1 && strcmp(argv[1], "threads") == 0) {
        threads = true;
        rounds = ROUNDS_THREADS;
        argc--;
        argv++;
    }
    if (argc > 1)
        rounds = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    /* With threads the n-th call is another one each time: there is no last one to stop at. */
    return _cmocka_run_group_tests("journal_crash", tests, threads ? 1 : 2, NULL, show);
}

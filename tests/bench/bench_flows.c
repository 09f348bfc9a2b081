/* Flows: a million random ones, each held against the truth, with kills of the broker between; and
 * one of a million jobs. Any broken rule ends the run with its words. */
#include "tests/bench/bench_flows.h"

#include "common/base/units.h"
#include "common/os/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define KILLS    10     /* of the broker, more or less */
#define STUCK_MS 600000 /* in which nothing ends */

void flows_broken(const struct world *w, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "broken in turn %" PRIu64 ", after %" PRIu64 " flows: ", w->now,
            w->trees_ended);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void numbers_add(struct numbers *n, uint64_t x) {
    if (n->n == n->size) {
        n->size = n->size ? n->size * 2 : 256;
        n->at = mem_grow(n->at, n->size, sizeof *n->at);
    }
    n->at[n->n++] = x;
}

static uint64_t next_kill(struct world *w) {
    uint32_t every = (uint32_t)(w->trees_max / KILLS) + 1;
    return w->trees_ended + every / 2 + rng_below(&w->rng, every);
}

static void report(const struct world *w, double seconds) {
    double flows = (double)w->trees_ended, jobs = (double)w->jobs_ended;
    printf("%" PRIu64 " random flows of %" PRIu64
           " jobs have all ended and settled as they should: "
           "%.0f flows/s, %.0f jobs/s, %.0f bytes of records a job\n",
           w->trees_ended, w->jobs_ended, flows / seconds, jobs / seconds,
           (double)w->record_bytes / jobs);
    printf("  jobs done %" PRIu64 ", dead %" PRIu64 ", cancelled %" PRIu64
           "; thens that ran %" PRIu64 "; flows whose watcher was told %" PRIu64 "\n",
           w->ended[0], w->ended[1], w->ended[2], w->thens_run, w->told);
    printf("  the broker was killed %" PRIu64 " times: %" PRIu64 " records were lost, %" PRIu64
           " replayed; cleaning looked at %" PRIu64 "\n",
           w->restarts, w->lost, w->replayed, w->moved);
}

static void many_flows(uint64_t flows, uint64_t seed) {
    struct world *w = MEM_NEW(struct world);
    w->trees_max = flows;
    world_open(w, seed);
    uint64_t start = clock_mono_ns(), kill_at = next_kill(w);
    while (w->trees_ended < flows) {
        world_turn(w);
        if (w->now - w->last_end > STUCK_MS)
            flows_broken(w, "nothing has ended for %u turns", STUCK_MS);
        if (w->trees_ended < kill_at)
            continue;
        world_kill(w);
        kill_at = next_kill(w);
    }
    double seconds = (double)(clock_mono_ns() - start) / 1e9;
    world_close(w);
    report(w, seconds);
    mem_free(w);
}

int main(int argc, char **argv) {
    uint64_t flows = 1000000, jobs = 1000000, seed = 1;
    if (argc > 1 && str_eq(str_of(argv[1]), STR("--about"))) {
        puts("a million random flows with kills of the broker, and one flow of a million jobs");
        return 0;
    }
    for (int k = 1; k < argc; k += 2) {
        uint64_t *to = str_eq(str_of(argv[k]), STR("--flows"))  ? &flows
                       : str_eq(str_of(argv[k]), STR("--jobs")) ? &jobs
                       : str_eq(str_of(argv[k]), STR("--seed")) ? &seed
                                                                : NULL;
        if (!to || k + 1 == argc) {
            fprintf(stderr, "usage: bench_flows [--flows N] [--jobs N] [--seed N]\n");
            return 2;
        }
        *to = strtoull(argv[k + 1], NULL, 10);
    }
    if (flows)
        many_flows(flows, seed);
    if (jobs)
        big_flow((uint32_t)jobs);
    return 0;
}

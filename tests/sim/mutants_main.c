/* bench_sim [--seeds N] [--mutants] [--mutant NAME]: how fast simulated lives pass, and whether
 * each fault of mutants.def and stream_mutants.def is seen. A mutant runs in a process of its own:
 * many end in a broken assert, which counts as seen. */
#include "tests/sim/sim.h"
#include "tests/sim/stream_sim.h"

#include "common/os/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEEDS_MAX 2000

struct report {
    volatile uint64_t seed; /* the one that runs, or that saw it */
    volatile int seen;      /* by a rule; an assert leaves it 0 */
    char words[512];
};

static void hunt(enum mutant m, struct report *r, uint64_t seeds) {
    mutant_active = m;
    if (!freopen("/dev/null", "w", stderr))
        _exit(3);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        r->seed = seed;
        bool kept = m > MUTANT_CORE_LAST ? stream_sim_run(seed, false, r->words, sizeof r->words)
                                         : sim_run(seed, false, r->words, sizeof r->words);
        if (!kept) {
            r->seen = 1;
            _exit(1);
        }
    }
    _exit(0);
}

static bool run_mutant(enum mutant m, struct report *r, uint64_t seeds) {
    *r = (struct report){0};
    uint64_t start = clock_mono_ns();
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        hunt(m, r, seeds);
    int status = 0;
    waitpid(child, &status, 0);
    bool seen = WIFSIGNALED(status) || r->seen;
    printf("%-24s %s seed %4llu %6.1f s  %s\n", mutant_name(m), seen ? "seen, " : "UNSEEN,",
           (unsigned long long)r->seed, (double)(clock_mono_ns() - start) / 1e9,
           r->seen ? r->words
           : seen  ? "an assert"
                   : mutant_what(m));
    return seen;
}

static int run_mutants(struct report *r, uint64_t seeds, struct str only) {
    uint32_t n = 0, seen = 0;
    for (int m = 1; m < MUTANT_COUNT; m++) {
        if (only.len && !str_eq(only, str_of(mutant_name((enum mutant)m))))
            continue;
        n++;
        seen += run_mutant((enum mutant)m, r, seeds);
    }
    printf("%u of %u faults seen within %llu seeds each\n", seen, n, (unsigned long long)seeds);
    return seen == n && n ? 0 : 1;
}

static int run_clean(uint64_t seeds) {
    char words[512];
    uint64_t start = clock_mono_ns();
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        if (!sim_run(seed, false, words, sizeof words)) {
            printf("seed %llu: %s\n", (unsigned long long)seed, words);
            return 1;
        }
    }
    double s = (double)(clock_mono_ns() - start) / 1e9;
    printf("%llu seeds, no rule broken, %.1f s, %.0f simulated seconds a second\n",
           (unsigned long long)seeds, s, (double)seeds * (SIM_SPAN_MS / 1000.0) / s);
    return 0;
}

int main(int argc, char **argv) {
    uint64_t seeds = 0;
    bool mutants = false;
    struct str only = STR("");
    for (int i = 1; i < argc; i++) {
        struct str a = str_of(argv[i]);
        if (str_eq(a, STR("--about"))) {
            puts("simulated lives of the broker's core; --mutants: is every planted fault seen?");
            return 0;
        }
        if (str_eq(a, STR("--mutants"))) {
            mutants = true;
        } else if (str_eq(a, STR("--mutant")) && i + 1 < argc) {
            mutants = true;
            only = str_of(argv[++i]);
        } else if (!str_eq(a, STR("--seeds")) || i + 1 >= argc ||
                   !str_to_u64(str_of(argv[++i]), UINT32_MAX, &seeds)) {
            fprintf(stderr, "usage: bench_sim [--seeds N] [--mutants | --mutant NAME]\n");
            return 2;
        }
    }
    struct report *r =
        mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r == MAP_FAILED)
        return 3;
    return mutants ? run_mutants(r, seeds ? seeds : SEEDS_MAX, only)
                   : run_clean(seeds ? seeds : 200);
}

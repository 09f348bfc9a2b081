/* stream_sim [--from N] [--seeds N] [--seed N]: runs seeds; prints the first that breaks a rule. */
#include "tests/sim/stream_sim.h"

#include <stdio.h>
#include <stdlib.h>

struct options {
    uint64_t from, seeds;
    bool loud;
};

static struct options parse(int argc, char **argv) {
    struct options o = {1, 2000, false};
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t v = 0;
        if (!str_to_u64(str_of(argv[i + 1]), UINT64_MAX, &v)) {
            fprintf(stderr, "stream_sim: '%s' is not a number\n", argv[i + 1]);
            exit(2);
        }
        struct str name = str_of(argv[i]);
        if (str_eq(name, STR("--from")))
            o.from = v;
        else if (str_eq(name, STR("--seeds")))
            o.seeds = v;
        else if (str_eq(name, STR("--seed")))
            o = (struct options){v, 1, true};
    }
    return o;
}

int main(int argc, char **argv) {
    struct options o = parse(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    char words[512];
    for (uint64_t seed = o.from; seed < o.from + o.seeds; seed++) {
        if (stream_sim_run(seed, o.loud, words, sizeof words))
            continue;
        printf("seed %llu: %s\nagain: stream_sim --seed %llu\n", (unsigned long long)seed, words,
               (unsigned long long)seed);
        return 1;
    }
    printf("%llu seeds, no rule broken\n", (unsigned long long)o.seeds);
    return 0;
}

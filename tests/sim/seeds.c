#include "tests/sim/seeds.h"

#include "common/base/str.h"

#include <stdio.h>

struct options {
    uint64_t from, seeds;
    bool loud;
};

static bool take(struct options *o, struct str name, struct str value) {
    uint64_t v;
    if (!str_to_u64(value, UINT64_MAX, &v))
        return false;
    if (str_eq(name, STR("--from")))
        o->from = v;
    else if (str_eq(name, STR("--seeds")))
        o->seeds = v;
    else if (str_eq(name, STR("--seed")))
        *o = (struct options){v, 1, true};
    else
        return false;
    return true;
}

int seeds_main(int argc, char **argv, const char *name, uint64_t usual, seed_run *run) {
    struct options o = {1, usual, false};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && take(&o, str_of(argv[i]), str_of(argv[i + 1])))
            continue;
        fprintf(stderr, "usage: %s [--from N] [--seeds N] [--seed N]\n", name);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    char words[512];
    for (uint64_t n = 0; n < o.seeds; n++) {
        if (run(o.from + n, o.loud, words, sizeof words))
            continue;
        unsigned long long seed = o.from + n;
        printf("seed %llu: %s\nagain: %s --seed %llu\n", seed, words, name, seed);
        return 1;
    }
    printf("%llu seeds, no rule broken\n", (unsigned long long)o.seeds);
    return 0;
}

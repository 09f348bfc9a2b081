/* The faults of mutants.def, put in front of every file of the simulator's core. */
#pragma once

enum mutant {
    MUTANT_none,
#define MUTANT_ROW(name, what) MUTANT_##name,
#include "tests/sim/mutants.def"
#undef MUTANT_ROW
    MUTANT_COUNT
};

extern enum mutant mutant_active;

#define MUTANT(name) (mutant_active == MUTANT_##name)

const char *mutant_name(enum mutant m);
const char *mutant_what(enum mutant m);

/* The faults of mutants.def and stream_mutants.def, put in front of every file of the simulators'
 * core and relay. */
#pragma once

enum mutant {
    MUTANT_none,
#define MUTANT_ROW(name, what) MUTANT_##name,
#include "tests/sim/mutants.def"
    MUTANT_CORE_END,
    MUTANT_CORE_LAST = MUTANT_CORE_END - 1, /* the next one has the number behind it */
#include "tests/sim/stream_mutants.def"
#undef MUTANT_ROW
    MUTANT_COUNT
};

extern enum mutant mutant_active;

#define MUTANT(name) (mutant_active == MUTANT_##name)

const char *mutant_name(enum mutant m);
const char *mutant_what(enum mutant m);

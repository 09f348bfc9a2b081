#include "tests/sim/mutants.h"

enum mutant mutant_active = MUTANT_none;

static const char *const names[] = {
    "none",
#define MUTANT_ROW(name, what) #name,
#include "tests/sim/mutants.def"
#include "tests/sim/stream_mutants.def"
#undef MUTANT_ROW
};
static const char *const whats[] = {
    "the code as it is",
#define MUTANT_ROW(name, what) what,
#include "tests/sim/mutants.def"
#include "tests/sim/stream_mutants.def"
#undef MUTANT_ROW
};

const char *mutant_name(enum mutant m) {
    return names[m];
}

const char *mutant_what(enum mutant m) {
    return whats[m];
}

/* The states of a job, from schemas/states.def. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum job_state {
    JOB_NONE = 0,
#define STATE(name, number, terminal, meaning) JOB_##name = (number),
#include "schemas/states.def"
#undef STATE
};

#define JOB_STATES 10

static inline bool job_state_terminal(enum job_state s) {
    return s >= JOB_done;
}

static inline const char *job_state_name(uint64_t number) {
    switch (number) {
#define STATE(name, number, terminal, meaning)                                                     \
    case number:                                                                                   \
        return #name;
#include "schemas/states.def"
#undef STATE
    default:
        return "unknown";
    }
}

/* What is kept of failures: for core_types.h, which says who may include it. */
#pragma once

#include <stdint.h>

/* Attempts that went wrong, a line each, as job_info tells them (history.c). */
struct history {
    uint32_t len;
    char text[];
};

/* A dead job that is kept, in the list of its group: the one that ended first is the first. */
struct dead_letter {
    uint32_t job, group, next, prev;
};

#define DEAD_TEXT_MAX 160

/* What went wrong in the same way, as far as its fingerprint says. It is there while it has a job.
 */
struct dead_group {
    uint64_t print;
    uint32_t hash_next;
    uint32_t head, tail, n; /* its letters */
    uint32_t error;
    uint32_t len; /* of the words of the job that came last */
    char text[DEAD_TEXT_MAX];
};

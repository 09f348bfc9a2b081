/* "Did you mean": the known word that is most like a wrong one.
 *
 * Likeness is the number of letters to insert, remove, change or swap with their neighbour (optimal
 * string alignment). Words over NEAREST_MAX bytes are like nothing. */
#pragma once

#include "common/base/str.h"

#define NEAREST_MAX 80

struct nearest {
    struct str wrong;
    struct str best; /* empty while nothing is near enough */
    size_t distance;
};

struct nearest nearest_start(struct str wrong);
/* Considers a word, which must outlive `n`; letters of either case are alike. */
void nearest_offer(struct nearest *n, struct str word);

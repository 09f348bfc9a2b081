/* Durations and sizes as people write them, one table of units for each.
 *
 * Durations: a whole number and ms, s, m, h or d ("250ms", "10s", "14d"); no unit means seconds.
 * Sizes: a whole number and B, KiB, MiB or GiB ("64MiB"); K, M, G mean the same; no unit is bytes.
 * The text forms printed by `units_show_*` are read back to the same value. */
#pragma once

#include "common/base/err.h"
#include "common/base/str.h"

#include <stdint.h>

#define UNITS_TEXT_MAX 32

struct units_text {
    char at[UNITS_TEXT_MAX];
};

int units_duration(struct str s, uint64_t *ms, struct err *e);
int units_size(struct str s, uint64_t *bytes, struct err *e);
/* The largest unit that divides the value: 90000 is "90s", 60000 is "1m". */
struct units_text units_show_duration(uint64_t ms);
struct units_text units_show_size(uint64_t bytes);

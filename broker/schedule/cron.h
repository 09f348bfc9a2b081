/* Cron expressions: which minutes of a local calendar they name. Source: cron(5) of Vixie cron.
 *
 *   minute 0-59   hour 0-23   day-of-month 1-31   month 1-12, JAN-DEC   day-of-week 0-7, SUN-SAT
 *
 * Fields are separated by blanks. A field is a list (`,`) of `*`, a value, or a range `a-b`; `*`
 * and ranges may have a step behind them (`10-40/10`). Names may be of any case and stand wherever
 * a number of their field does. 0 and 7 are Sunday. If both day fields are restricted, that is,
 * neither begins with `*`, a day needs to match one of them; else it needs to match both. In place
 * of five fields: @hourly, @daily or @midnight, @weekly, @monthly, @yearly or @annually.
 *
 * Refused, though one or the other cron takes it: ranges that end before they begin (FRI-MON), a
 * step behind a single value (5/15), steps larger than the field (90 minutes are no step of an
 * hour), and expressions that never come (31 February).
 *
 * What always holds: all masks of a parsed expression are non-empty, and it comes at least once in
 * any 40 years. No memory is owned; a `struct cron` may be copied. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define CRON_TEXT_MAX 256

struct cron {
    uint64_t minutes, hours, days, months, weekdays; /* bit n is value n; Sunday is bit 0 */
    bool days_star, weekdays_star;                   /* the field begins with `*` */
};

/* Errors (BAD_VALUE) name the field, the text and the bound; `out` is then unchanged. */
int cron_parse(struct str text, struct cron *out, struct err *e);
/* All 24 hours are named, whichever way: it is due hourly or more often. */
bool cron_every_hour(const struct cron *c);
/* The first minute that is named of those from `from` up to, and without, `until`. Local minutes
 * since 1970-01-01 00:00. Goes by months: at most one step for each. */
bool cron_next(const struct cron *c, int64_t from, int64_t until, int64_t *found);

/* When a schedule is due: UTC milliseconds, from a cron expression in a time zone.
 *
 * What the two odd hours of a year do to a cron expression:
 *   - one that does not name all 24 hours means times of day. Each is due once: when the zone's
 *     clock first shows it or has jumped over it. So a time in the gap of a change is due at the
 *     gap's end (all of one gap together), and a doubled one when it comes first;
 *   - one that names all 24 hours means a rhythm, as Debian's cron has it: it is due whenever the
 *     clock shows one of its minutes. In a doubled hour it goes on, and of a gap nothing is made
 * up.
 *
 * What always holds: calendar_next is later than what it was asked for, and nothing is due between
 * the two. Its work is bounded: a few steps for each month and each change of the zone between the
 * two. Pure: no clock; a rule borrows its zone and owns nothing. */
#pragma once

#include "broker/schedule/cron.h"
#include "broker/schedule/zone.h"
#include "common/base/time_types.h"

/* Nothing is due any more; no time from the year 10000 on ever is. */
#define CALENDAR_NEVER ((struct wall){UINT64_MAX})

struct calendar_rule {
    struct cron cron;
    const struct zone *zone;
};

/* The first time it is due after `after`, or CALENDAR_NEVER. */
struct wall calendar_next(const struct calendar_rule *rule, struct wall after);

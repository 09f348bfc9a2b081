/* When a schedule is due: UTC milliseconds, from a cron expression in a time zone or an interval.
 *
 * What the two odd hours of a year do to a cron expression:
 *   - one that does not name all 24 hours means times of day. Each is due once: when the zone's
 *     clock first shows it or has jumped over it. So a time in the gap of a change is due at the
 *     gap's end (all of one gap together), and a doubled one when it comes first;
 *   - one that names all 24 hours means a rhythm, as Debian's cron has it: it is due whenever the
 *     clock shows one of its minutes. In a doubled hour it goes on, and of a gap nothing is made
 * up.
 *
 * An interval is due at `anchor` and every `interval_ms` behind it; zones do not matter.
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

enum calendar_type { CALENDAR_CRON, CALENDAR_INTERVAL };

struct calendar_rule {
    enum calendar_type type;
    struct cron cron;        /* CRON */
    const struct zone *zone; /* CRON */
    uint64_t interval_ms;    /* INTERVAL: at least 1 */
    struct wall anchor;      /* INTERVAL: the first time it is due */
};

/* The first time it is due after `after`, or CALENDAR_NEVER. */
struct wall calendar_next(const struct calendar_rule *rule, struct wall after);
/* How often it is due after `after` up to and with `until`; `most` if that is less. For an
 * expression the work is that of so many calendar_next. */
uint64_t calendar_count(const struct calendar_rule *rule, struct wall after, struct wall until,
                        uint64_t most);
/* How much later than due a run may begin, so that not all begin at once: from 0 to `window_ms` - 1
 * (0 if that is 0), spread evenly over names and times, always the same for the same ones. */
uint64_t calendar_jitter(uint64_t name_hash, struct wall due, uint64_t window_ms);

#include "broker/schedule/calendar.h"

#include "broker/schedule/civil.h"

#define END_S 253402300800LL /* 10000-01-01 */
/* The most that local times of one zone can be apart at one time, and from UTC. */
#define APART_S (ZONE_OFFSET_MAX - ZONE_OFFSET_MIN)

static int64_t min_s(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The latest local time that the zone's clock has shown up to `utc_s`: before a clock that was just
 * set back it is what it showed before that. */
static int64_t latest_shown(const struct zone *zone, int64_t utc_s) {
    int64_t latest = INT64_MIN;
    for (int64_t from = utc_s - APART_S; from <= utc_s;) {
        struct zone_span span = zone_span(zone, from);
        int64_t last = min_s(span.until_s - 1, utc_s) + span.offset_s;
        if (last > latest)
            latest = last;
        from = span.until_s;
    }
    return latest;
}

/* When the zone's clock first shows a local time or has jumped over it. */
static int64_t first_reached(const struct zone *zone, int64_t local_s) {
    int64_t from = local_s - ZONE_OFFSET_MAX;
    for (;;) {
        struct zone_span span = zone_span(zone, from);
        int64_t at = local_s - span.offset_s;
        if (at < from)
            at = from;
        if (at < span.until_s)
            return at;
        from = span.until_s;
    }
}

/* Due times are times of day. What the clock has shown only grows, and so does when it is reached:
 * the first one that is named behind the former is the next. */
static int64_t next_of_day(const struct calendar_rule *rule, int64_t after_s) {
    int64_t minute = civil_floor(latest_shown(rule->zone, after_s), 60) + 1;
    int64_t found;
    if (!cron_next(&rule->cron, minute, END_S / 60, &found))
        return INT64_MAX;
    return first_reached(rule->zone, found * 60);
}

/* Due times are whatever the clock shows, span by span. */
static int64_t next_shown(const struct calendar_rule *rule, int64_t after_s) {
    for (int64_t from = after_s + 1; from < END_S;) {
        struct zone_span span = zone_span(rule->zone, from);
        int64_t until = min_s(span.until_s, END_S) + span.offset_s;
        int64_t found;
        int64_t first = -civil_floor(-(from + span.offset_s), 60);
        if (cron_next(&rule->cron, first, -civil_floor(-until, 60), &found))
            return found * 60 - span.offset_s;
        from = span.until_s;
    }
    return INT64_MAX;
}

struct wall calendar_next(const struct calendar_rule *rule, struct wall after) {
    if (after.ms / 1000 >= END_S)
        return CALENDAR_NEVER;
    int64_t after_s = (int64_t)(after.ms / 1000);
    bool rhythm = cron_every_hour(&rule->cron);
    int64_t next = rhythm ? next_shown(rule, after_s) : next_of_day(rule, after_s);
    return next < END_S ? (struct wall){(uint64_t)next * 1000} : CALENDAR_NEVER;
}

#include "broker/schedule/calendar.h"

#include "broker/schedule/civil.h"
#include "common/base/check.h"
#include "common/base/hash.h"

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

static struct wall next_cron(const struct calendar_rule *rule, struct wall after) {
    if (after.ms / 1000 >= END_S)
        return CALENDAR_NEVER;
    int64_t after_s = (int64_t)(after.ms / 1000);
    bool rhythm = cron_every_hour(&rule->cron);
    int64_t next = rhythm ? next_shown(rule, after_s) : next_of_day(rule, after_s);
    return next < END_S ? (struct wall){(uint64_t)next * 1000} : CALENDAR_NEVER;
}

static struct wall next_interval(const struct calendar_rule *rule, struct wall after) {
    uint64_t interval = rule->interval_ms, anchor = rule->anchor.ms;
    ASSERT(interval > 0);
    uint64_t next = anchor;
    if (after.ms >= anchor) {
        uint64_t last = after.ms - (after.ms - anchor) % interval;
        next = wall_add((struct wall){last}, interval).ms;
    }
    return next / 1000 < END_S ? (struct wall){next} : CALENDAR_NEVER;
}

struct wall calendar_next(const struct calendar_rule *rule, struct wall after) {
    return rule->type == CALENDAR_CRON ? next_cron(rule, after) : next_interval(rule, after);
}

uint64_t calendar_count(const struct calendar_rule *rule, struct wall after, struct wall until,
                        uint64_t most) {
    uint64_t count = 0;
    struct wall due = calendar_next(rule, after);
    if (due.ms > until.ms || due.ms == CALENDAR_NEVER.ms)
        return 0;
    if (rule->type == CALENDAR_INTERVAL) {
        uint64_t end = until.ms / 1000 < END_S ? until.ms : (uint64_t)END_S * 1000 - 1;
        count = (end - due.ms) / rule->interval_ms + 1;
        return count < most ? count : most;
    }
    for (; count < most && due.ms <= until.ms && due.ms != CALENDAR_NEVER.ms; count++)
        due = calendar_next(rule, due);
    return count;
}

uint64_t calendar_jitter(uint64_t name_hash, struct wall due, uint64_t window_ms) {
    unsigned __int128 spread = hash_mix(name_hash, due.ms);
    return (uint64_t)(spread * window_ms >> 64);
}

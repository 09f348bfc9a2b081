/* What a zone is made of: shared by those who read it from a file and those who ask it. */
#pragma once

#include "broker/schedule/zone.h"

#include <stdbool.h>

/* One day of each year, and a time of that day in local seconds (-167 h to 167 h). */
struct posix_date {
    enum { POSIX_JULIAN, POSIX_YEARDAY, POSIX_MONTH } type;
    int month, week, day;
    int32_t time_s;
};

/* The rule behind the last transition: `std` all year, or `dst` from `begin` to `end`. */
struct posix_zone {
    int32_t std_s, dst_s; /* ahead of UTC: the other sign than in the text */
    bool changes;
    struct posix_date begin, end; /* `begin` in standard time, `end` in daylight-saving time */
};

struct zone_transition {
    int64_t at_s;
    int32_t offset_s; /* from then on */
};

struct zone {
    int32_t first_s; /* before the first transition */
    bool has_rule;
    struct posix_zone rule; /* from the last transition on; always, if there is none */
    size_t count;
    struct zone_transition transitions[];
};

int posix_zone_parse(struct str text, struct posix_zone *out, struct err *e);
struct zone_span posix_zone_span(const struct posix_zone *p, int64_t utc_s);

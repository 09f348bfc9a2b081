/* The TZ string of POSIX with the extensions of RFC 8536, 3.3.1: "CET-1CEST,M3.5.0,M10.5.0/3". */
#include "broker/schedule/civil.h"
#include "broker/schedule/zone_int.h"

#define HOURS_OFFSET_MAX 24
#define HOURS_TIME_MAX   167

/* What is left to read. */
struct text {
    struct str rest;
};

static char peek(const struct text *t) {
    return t->rest.len ? t->rest.at[0] : '\0';
}

static bool take(struct text *t, char c) {
    if (t->rest.len == 0 || t->rest.at[0] != c)
        return false;
    t->rest = str_make(t->rest.at + 1, t->rest.len - 1);
    return true;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool take_number(struct text *t, int min, int max, int *out) {
    int v = 0;
    if (!is_digit(peek(t)))
        return false;
    while (is_digit(peek(t))) {
        v = v * 10 + (peek(t) - '0');
        if (v > max)
            return false;
        take(t, peek(t));
    }
    *out = v;
    return v >= min;
}

/* Letters only, or letters, digits, '+' and '-' between '<' and '>'; at least three. */
static bool take_name(struct text *t) {
    bool quoted = take(t, '<');
    size_t n = 0;
    for (;; n++) {
        char c = peek(t);
        if (!is_letter(c) && !(quoted && (is_digit(c) || c == '+' || c == '-')))
            break;
        take(t, c);
    }
    return n >= 3 && (!quoted || take(t, '>'));
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct text *t, int hours_max, int32_t *out) {
    bool minus = take(t, '-');
    if (!minus)
        take(t, '+');
    int hours, minutes = 0, seconds = 0;
    if (!take_number(t, 0, hours_max, &hours))
        return false;
    if (take(t, ':') &&
        (!take_number(t, 0, 59, &minutes) || (take(t, ':') && !take_number(t, 0, 59, &seconds))))
        return false;
    int32_t s = hours * 3600 + minutes * 60 + seconds;
    *out = minus ? -s : s;
    return true;
}

static bool take_offset(struct text *t, int32_t *out) {
    int32_t west;
    if (!take_time(t, HOURS_OFFSET_MAX, &west))
        return false;
    *out = -west;
    return *out >= ZONE_OFFSET_MIN && *out <= ZONE_OFFSET_MAX;
}

/* ,Jn[/time]  ,n[/time]  ,Mm.w.d[/time] */
static bool take_date(struct text *t, struct posix_date *d) {
    bool good;
    *d = (struct posix_date){.time_s = 2 * 3600};
    if (!take(t, ','))
        return false;
    if (take(t, 'J')) {
        d->type = POSIX_JULIAN;
        good = take_number(t, 1, 365, &d->day);
    } else if (take(t, 'M')) {
        d->type = POSIX_MONTH;
        good = take_number(t, 1, 12, &d->month) && take(t, '.') && take_number(t, 1, 5, &d->week) &&
               take(t, '.') && take_number(t, 0, 6, &d->day);
    } else {
        d->type = POSIX_YEARDAY;
        good = take_number(t, 0, 365, &d->day);
    }
    return good && (!take(t, '/') || take_time(t, HOURS_TIME_MAX, &d->time_s));
}

static bool take_zone(struct text *t, struct posix_zone *p) {
    *p = (struct posix_zone){0};
    if (!take_name(t) || !take_offset(t, &p->std_s))
        return false;
    if (t->rest.len == 0)
        return true;
    p->changes = true;
    p->dst_s = p->std_s + 3600;
    if (!take_name(t))
        return false;
    if (peek(t) != ',' && !take_offset(t, &p->dst_s))
        return false;
    return p->dst_s <= ZONE_OFFSET_MAX && take_date(t, &p->begin) && take_date(t, &p->end) &&
           t->rest.len == 0;
}

int posix_zone_parse(struct str text, struct posix_zone *out, struct err *e) {
    struct text t = {text};
    if (take_zone(&t, out))
        return 0;
    return err_set(e, ERR_CORRUPT, "its rule '" STR_FMT "' is wrong from byte %zu on",
                   STR_ARG(text), text.len - t.rest.len + 1);
}

static int64_t day_of(const struct posix_date *d, int64_t year) {
    if (d->type == POSIX_JULIAN) /* as if no year had a 29 February */
        return civil_day(year, 1, 1) + d->day - 1 + (d->day > 59 && civil_leap(year));
    if (d->type == POSIX_YEARDAY)
        return civil_day(year, 1, 1) + d->day;
    int64_t first = civil_day(year, d->month, 1);
    int day = (d->day - civil_weekday(first) + 7) % 7 + (d->week - 1) * 7;
    if (day >= civil_month_days(year, d->month)) /* week 5 is the last one */
        day -= 7;
    return first + day;
}

static int64_t time_of(const struct posix_date *d, int64_t year, int32_t offset_s) {
    return day_of(d, year) * CIVIL_DAY_S + d->time_s - offset_s;
}

/* A time is up to a week from its day, and the daylight-saving time of the south goes from one year
 * to the next: so two years each side are looked at. */
struct zone_span posix_zone_span(const struct posix_zone *p, int64_t utc_s) {
    if (!p->changes)
        return (struct zone_span){INT64_MAX, p->std_s};
    int64_t this_year = civil_date(civil_floor(utc_s, CIVIL_DAY_S)).year;
    struct zone_span span = {INT64_MAX, p->std_s};
    for (int64_t year = this_year - 2; year <= this_year + 2; year++) {
        int64_t begin = time_of(&p->begin, year, p->std_s);
        int64_t end = time_of(&p->end, year, p->dst_s);
        if (end < begin)
            end = time_of(&p->end, year + 1, p->dst_s);
        if (begin <= utc_s && utc_s < end)
            span.offset_s = p->dst_s;
        if (begin > utc_s && begin < span.until_s)
            span.until_s = begin;
        if (end > utc_s && end < span.until_s)
            span.until_s = end;
    }
    return span;
}

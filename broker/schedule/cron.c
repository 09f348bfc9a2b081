#include "broker/schedule/cron.h"

#include "broker/schedule/civil.h"

#include <strings.h>

#define HOURS_ALL   ((1ULL << 24) - 1)
#define DAY_MINUTES (24 * 60)

/* The names of each field's values; the first is that of `min`. */
static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                          "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const weekday_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct field {
    const char *name;
    unsigned min, max, step_max, names_count;
    const char *const *names;
} fields[FIELDS] = {
    [MINUTE] = {"minute", 0, 59, 59, 0, NULL},
    [HOUR] = {"hour", 0, 23, 23, 0, NULL},
    [DAY] = {"day-of-month", 1, 31, 31, 0, NULL},
    [MONTH] = {"month", 1, 12, 12, 12, month_names},
    [WEEKDAY] = {"day-of-week", 0, 7, 7, 7, weekday_names},
};

static const struct nickname {
    const char *name, *means;
} nicknames[] = {
    {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
};

static bool same_word(struct str s, const char *word) {
    return s.len == strlen(word) && strncasecmp(s.at, word, s.len) == 0;
}

/* Cuts `s` at the first `mark`: what stands before it is returned, what stands behind stays. True
 * in
 * `*cut` if there was one. */
static struct str before(struct str *s, char mark, bool *cut) {
    const char *at = s->len ? memchr(s->at, mark, s->len) : NULL;
    *cut = at != NULL;
    size_t n = at ? (size_t)(at - s->at) : s->len;
    struct str head = str_make(s->at, n);
    *s = str_make(s->at + n + *cut, s->len - n - *cut);
    return head;
}

static int read_value(const struct field *f, struct str s, unsigned *out, struct err *e) {
    for (unsigned i = 0; i < f->names_count; i++) {
        if (same_word(s, f->names[i])) {
            *out = f->min + i;
            return 0;
        }
    }
    uint64_t v = 0;
    if (!str_to_u64(s, f->max, &v) || v < f->min)
        return err_set(e, ERR_BAD_VALUE, "%s '" STR_FMT "' is no number from %u to %u%s%s%s%s",
                       f->name, STR_ARG(s), f->min, f->max, f->names ? " and no name from " : "",
                       f->names ? f->names[0] : "", f->names ? " to " : "",
                       f->names ? f->names[f->names_count - 1] : "");
    *out = (unsigned)v;
    return 0;
}

static int read_range(const struct field *f, struct str s, unsigned *first, unsigned *last,
                      bool *single, struct err *e) {
    *first = f->min;
    *last = f->max;
    *single = false;
    if (str_eq(s, STR("*")))
        return 0;
    bool cut;
    struct str rest = s;
    struct str low = before(&rest, '-', &cut);
    if (read_value(f, low, first, e) < 0)
        return -1;
    *last = *first;
    *single = !cut;
    if (!cut)
        return 0;
    if (read_value(f, rest, last, e) < 0)
        return -1;
    if (*last < *first)
        return err_set(e, ERR_BAD_VALUE, "%s '" STR_FMT "' ends before it begins (%u-%u)%s",
                       f->name, STR_ARG(s), *first, *last,
                       f->names == weekday_names ? "; at the end of a range Sunday is 7" : "");
    return 0;
}

/* One element of a field's list. */
static int read_element(const struct field *f, struct str s, uint64_t *mask, struct err *e) {
    bool stepped, single;
    struct str step_text = s;
    struct str range = before(&step_text, '/', &stepped);
    unsigned first, last;
    uint64_t step = 1;
    if (read_range(f, range, &first, &last, &single, e) < 0)
        return -1;
    if (stepped && single)
        return err_set(e, ERR_BAD_VALUE,
                       "%s '" STR_FMT "': a step needs a range or * before the '/'", f->name,
                       STR_ARG(s));
    if (stepped && (!str_to_u64(step_text, f->step_max, &step) || step == 0))
        return err_set(e, ERR_BAD_VALUE, "%s '" STR_FMT "': the step is no number from 1 to %u",
                       f->name, STR_ARG(s), f->step_max);
    for (unsigned v = first; v <= last; v += (unsigned)step)
        *mask |= 1ULL << v;
    return 0;
}

static int read_field(const struct field *f, struct str s, uint64_t *mask, struct err *e) {
    bool more = true;
    struct str rest = s;
    while (more) {
        struct str element = before(&rest, ',', &more);
        if (element.len == 0)
            return err_set(e, ERR_BAD_VALUE, "%s '" STR_FMT "' has an empty element", f->name,
                           STR_ARG(s));
        if (read_element(f, element, mask, e) < 0)
            return -1;
    }
    return 0;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* Splits at blanks; the count of fields, of which the first five are in `out`. */
static unsigned split(struct str text, struct str out[FIELDS]) {
    unsigned count = 0;
    size_t i = 0;
    while (i < text.len) {
        size_t start = i;
        while (i < text.len && !is_blank(text.at[i]))
            i++;
        if (i > start && count++ < FIELDS)
            out[count - 1] = str_make(text.at + start, i - start);
        while (i < text.len && is_blank(text.at[i]))
            i++;
    }
    return count;
}

/* Each day of each month falls on every day of the week sooner or later, 29 February within 40
 * years; so only days that none of the months has never come. */
static bool ever_comes(const struct cron *c) {
    if (!c->days_star && !c->weekdays_star)
        return true;
    for (int month = 1; month <= 12; month++)
        if (c->months >> month & 1)
            for (int day = 1; day <= civil_month_days(2000, month); day++)
                if (c->days >> day & 1)
                    return true;
    return false;
}

static int read_five(struct str text, struct cron *out, struct err *e) {
    struct str parts[FIELDS];
    uint64_t masks[FIELDS] = {0};
    unsigned count = split(text, parts);
    if (count != FIELDS)
        return err_set(e, ERR_BAD_VALUE,
                       "%u fields, 5 are needed: minute hour day-of-month month day-of-week",
                       count);
    for (int i = 0; i < FIELDS; i++)
        if (read_field(&fields[i], parts[i], &masks[i], e) < 0)
            return -1;
    struct cron c = {masks[MINUTE],
                     masks[HOUR],
                     masks[DAY],
                     masks[MONTH],
                     (masks[WEEKDAY] | masks[WEEKDAY] >> 7) & 0x7F,
                     parts[DAY].at[0] == '*',
                     parts[WEEKDAY].at[0] == '*'};
    if (!ever_comes(&c))
        return err_set(e, ERR_BAD_VALUE,
                       "it never comes: no month of '" STR_FMT "' has a day of '" STR_FMT "'",
                       STR_ARG(parts[MONTH]), STR_ARG(parts[DAY]));
    *out = c;
    return 0;
}

static int read_nickname(struct str text, struct cron *out, struct err *e) {
    for (size_t i = 0; i < sizeof nicknames / sizeof nicknames[0]; i++)
        if (same_word(text, nicknames[i].name))
            return read_five(str_of(nicknames[i].means), out, e);
    return err_set(e, ERR_BAD_VALUE,
                   "no such name; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly "
                   "and @annually");
}

int cron_parse(struct str text, struct cron *out, struct err *e) {
    if (text.len > CRON_TEXT_MAX)
        return err_set(e, ERR_BAD_VALUE, "cron expression of %zu bytes, at most %d", text.len,
                       CRON_TEXT_MAX);
    struct str trimmed = text;
    while (trimmed.len && is_blank(trimmed.at[0]))
        trimmed = str_make(trimmed.at + 1, trimmed.len - 1);
    while (trimmed.len && is_blank(trimmed.at[trimmed.len - 1]))
        trimmed.len--;
    bool named = trimmed.len && trimmed.at[0] == '@';
    if ((named ? read_nickname : read_five)(trimmed, out, e) == 0)
        return 0;
    return err_add(e, "cron '" STR_FMT "'", STR_ARG(trimmed));
}

bool cron_every_hour(const struct cron *c) {
    return c->hours == HOURS_ALL;
}

/* The lowest bit of `mask` that is not below `from`; -1 if there is none. */
static int bit_from(uint64_t mask, int from) {
    uint64_t rest = mask >> from << from;
    return rest ? __builtin_ctzll(rest) : -1;
}

/* The first minute of a day that is named and not before `from`; -1 if there is none. */
static int minute_from(const struct cron *c, int from) {
    int hour = bit_from(c->hours, from / 60);
    if (hour == from / 60) {
        int minute = bit_from(c->minutes, from % 60);
        if (minute >= 0)
            return hour * 60 + minute;
        hour = bit_from(c->hours, hour + 1);
    }
    return hour < 0 ? -1 : hour * 60 + bit_from(c->minutes, 0);
}

/* The days of a month that are named, bit 1 to 31. */
static uint64_t days_of(const struct cron *c, int64_t year, int month) {
    if (!(c->months >> month & 1))
        return 0;
    uint64_t all = (2ULL << civil_month_days(year, month)) - 2;
    uint64_t weeks = 0;
    for (int week = 0; week < 6; week++)
        weeks |= c->weekdays << (7 * week);
    uint64_t by_weekday = weeks >> civil_weekday(civil_day(year, month, 1)) << 1;
    bool both = c->days_star || c->weekdays_star;
    return all & (both ? c->days & by_weekday : c->days | by_weekday);
}

bool cron_next(const struct cron *c, int64_t from, int64_t until, int64_t *found) {
    int64_t day = civil_floor(from, DAY_MINUTES);
    struct civil_date d = civil_date(day);
    int minute = -1;
    if (days_of(c, d.year, d.month) >> d.day & 1)
        minute = minute_from(c, (int)(from - day * DAY_MINUTES));
    if (minute < 0) {
        minute = minute_from(c, 0);
        d.day++;
        int next;
        while ((next = bit_from(days_of(c, d.year, d.month), d.day)) < 0) {
            d = (struct civil_date){d.year + (d.month == 12), d.month % 12 + 1, 1};
            if (civil_day(d.year, d.month, 1) * DAY_MINUTES >= until)
                return false;
        }
        day = civil_day(d.year, d.month, next);
    }
    *found = day * DAY_MINUTES + minute;
    return *found < until;
}

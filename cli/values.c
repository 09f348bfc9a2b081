/* The types of the table of commands: text to value. */
#include "cli/parse.h"
#include "common/base/check.h"
#include "common/base/id.h"
#include "common/base/units.h"
#include "common/config/nearest.h"
#include "schemas/states.h"

#include <stdio.h>
#include <time.h>

/* ---- time ----------------------------------------------------------------------------------- */
#define NUMBER_NONE UINT64_MAX

/* Takes exactly `digits` digits from the front. */
static uint64_t take_number(struct str *s, size_t digits) {
    uint64_t v;
    if (s->len < digits || !str_to_u64(str_make(s->at, digits), 99999, &v))
        return NUMBER_NONE;
    *s = str_make(s->at + digits, s->len - digits);
    return v;
}

static bool take_char(struct str *s, char c) {
    if (!s->len || s->at[0] != c)
        return false;
    *s = str_make(s->at + 1, s->len - 1);
    return true;
}

static bool take_date(struct str *s, struct tm *t) {
    uint64_t year = take_number(s, 4);
    bool good = take_char(s, '-');
    uint64_t month = take_number(s, 2);
    good = good && take_char(s, '-');
    uint64_t day = take_number(s, 2);
    good = good && (take_char(s, 'T') || take_char(s, 't') || take_char(s, ' '));
    if (!good || year < 1970 || year == NUMBER_NONE || month < 1 || month > 12 || day < 1 ||
        day > 31)
        return false;
    t->tm_year = (int)year - 1900;
    t->tm_mon = (int)month - 1;
    t->tm_mday = (int)day;
    return true;
}

static bool take_clock(struct str *s, struct tm *t, uint64_t *ms) {
    uint64_t hour = take_number(s, 2);
    bool good = take_char(s, ':');
    uint64_t minute = take_number(s, 2), second = 0;
    if (good && take_char(s, ':'))
        second = take_number(s, 2);
    *ms = 0;
    if (take_char(s, '.')) {
        uint64_t scale = 100, digit;
        good = good && s->len && s->at[0] >= '0' && s->at[0] <= '9';
        while ((digit = take_number(s, 1)) != NUMBER_NONE) {
            *ms += digit * scale;
            scale /= 10;
        }
    }
    t->tm_hour = (int)hour;
    t->tm_min = (int)minute;
    t->tm_sec = (int)second;
    return good && hour < 24 && minute < 60 && second < 61;
}

/* Seconds east of UTC; `local` when no zone is there. */
static bool take_zone(struct str *s, bool *local, int64_t *east) {
    *east = 0;
    *local = s->len == 0;
    if (*local || take_char(s, 'Z') || take_char(s, 'z'))
        return s->len == 0;
    bool plus = take_char(s, '+');
    if (!plus && !take_char(s, '-'))
        return false;
    uint64_t hours = take_number(s, 2);
    take_char(s, ':');
    uint64_t minutes = take_number(s, 2);
    if (hours > 23 || minutes > 59 || s->len)
        return false;
    *east = (int64_t)(hours * 3600 + minutes * 60) * (plus ? 1 : -1);
    return true;
}

int cli_time(struct str text, uint64_t *ms, struct err *e) {
    struct str s = text;
    struct tm t = {.tm_isdst = -1}, wanted;
    uint64_t part_ms = 0;
    bool local = false;
    int64_t east = 0;
    bool good = take_date(&s, &t) && take_clock(&s, &t, &part_ms) && take_zone(&s, &local, &east);
    wanted = t;
    time_t at = !good ? -1 : local ? mktime(&t) : timegm(&t);
    /* The 31st of a short month comes back as the 1st of the next. */
    if (at < 0 || t.tm_mday != wanted.tm_mday || (int64_t)at < east)
        return err_set(e, ERR_USAGE,
                       "'" STR_FMT "' is no time; write it such as 2027-01-31T09:00:00+01:00",
                       STR_ARG(text));
    *ms = (uint64_t)((int64_t)at - east) * 1000 + part_ms;
    return 0;
}

/* ---- numbers -------------------------------------------------------------------------------- */
static int bounds(const struct cli_row *row, uint64_t v, struct err *e) {
    bool duration = row->type == CLI_DURATION;
    if (v >= row->min && v <= row->max)
        return 0;
    uint64_t bound = v < row->min ? row->min : row->max;
    const char *how = v < row->min ? "at least" : "at most";
    if (duration)
        return err_set(e, ERR_USAGE, "%s, %s %s", units_show_duration(v).at, how,
                       units_show_duration(bound).at);
    return err_set(e, ERR_USAGE, "%llu, %s %llu", (unsigned long long)v, how,
                   (unsigned long long)bound);
}

static int to_count(const struct cli_row *row, struct str s, uint64_t *v, struct err *e) {
    if (str_to_u64(s, UINT64_MAX, v))
        return bounds(row, *v, e);
    bool digits = s.len > 0;
    for (size_t i = 0; i < s.len; i++)
        digits = digits && s.at[i] >= '0' && s.at[i] <= '9';
    if (digits)
        return err_set(e, ERR_USAGE, STR_FMT ", at most %llu", STR_ARG(s),
                       (unsigned long long)row->max);
    return err_set(e, ERR_USAGE, "'" STR_FMT "' is no whole number", STR_ARG(s));
}

static int to_duration(const struct cli_row *row, struct str s, uint64_t *v, struct err *e) {
    struct err why = {0};
    if (units_duration(s, v, &why) < 0)
        return err_set(e, ERR_USAGE, "%s", why.text);
    return bounds(row, *v, e);
}

static int to_rate(struct str s, struct cli_rate *v, struct err *e) {
    static const struct {
        char unit;
        uint64_t per_ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    *v = (struct cli_rate){0};
    if (str_eq(s, STR("none")) || str_eq(s, STR("0")))
        return 0;
    const char *slash = s.len ? memchr(s.at, '/', s.len) : NULL;
    size_t at = slash ? (size_t)(slash - s.at) : 0;
    if (slash && at + 2 == s.len && str_to_u64(str_make(s.at, at), 1000000, &v->count))
        for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
            if (s.at[at + 1] == units[i].unit)
                v->per_ms = units[i].per_ms;
    if (!v->per_ms || !v->count)
        return err_set(e, ERR_USAGE,
                       "'" STR_FMT "' is no rate; write it such as 100/s, 30/m, 5/h, 1/d or none",
                       STR_ARG(s));
    return 0;
}

/* ---- words ---------------------------------------------------------------------------------- */
static int unknown_word(struct str s, const struct nearest *near, const char *choices,
                        struct err *e) {
    if (near->best.len)
        return err_set(e, ERR_USAGE, "'" STR_FMT "' is not %s; did you mean '" STR_FMT "'?",
                       STR_ARG(s), choices, STR_ARG(near->best));
    return err_set(e, ERR_USAGE, "'" STR_FMT "' is not %s", STR_ARG(s), choices);
}

static int to_choice(const struct cli_row *row, struct str s, uint64_t *v, struct err *e) {
    struct nearest near = nearest_start(s);
    const char *at = row->shown;
    for (uint64_t n = 0; at; n++) {
        const char *bar = strchr(at, '|');
        struct str word = {at, bar ? (size_t)(bar - at) : strlen(at)};
        if (str_eq(word, s)) {
            *v = n;
            return 0;
        }
        nearest_offer(&near, word);
        at = bar ? bar + 1 : NULL;
    }
    char choices[128];
    snprintf(choices, sizeof choices, "one of %s", row->shown);
    return unknown_word(s, &near, choices, e);
}

static int to_state(struct str s, uint64_t *v, struct err *e) {
    struct nearest near = nearest_start(s);
    for (uint64_t n = 1; n < JOB_STATES; n++) {
        struct str word = str_of(job_state_name(n));
        if (str_eq(word, s)) {
            *v = n;
            return 0;
        }
        nearest_offer(&near, word);
    }
    return unknown_word(s, &near, "a state", e);
}

static int to_id(struct str s, uint64_t *v, struct err *e) {
    if (id_parse(s, v))
        return 0;
    return err_set(e, ERR_USAGE,
                   "'" STR_FMT "' is no id; an id has 13 digits and letters, such as 0000c00000007",
                   STR_ARG(s));
}

static int to_name(const struct cli_row *row, struct str s, struct str *v, struct err *e) {
    *v = s;
    if (str_is_name(s, row->max))
        return 0;
    if (s.len > row->max)
        return err_set(e, ERR_USAGE, "%zu characters, at most %llu", s.len,
                       (unsigned long long)row->max);
    return err_set(e, ERR_USAGE,
                   "'" STR_FMT "' is no name: letters, digits and . _ : -, not . or - first",
                   STR_ARG(s));
}

static int to_text(const struct cli_row *row, struct str s, struct str *v, struct err *e) {
    *v = s;
    if (!s.len && row->min)
        return err_set(e, ERR_USAGE, "it is empty");
    if (s.len > row->max)
        return err_set(e, ERR_USAGE, "%zu bytes, at most %llu", s.len,
                       (unsigned long long)row->max);
    if (row->type != CLI_PATH && !str_is_utf8(s))
        return err_set(e, ERR_USAGE, "it is not UTF-8");
    return 0;
}

int cli_value(const struct cli_row *row, struct str value, void *slot, struct err *e) {
    switch (row->type) {
    case CLI_FLAG:
        *(bool *)slot = true;
        return 0;
    case CLI_TEXT:
    case CLI_PATH:
    case CLI_TEXTS:
        return to_text(row, value, slot, e);
    case CLI_NAME:
        return to_name(row, value, slot, e);
    case CLI_ID:
    case CLI_IDS:
        return to_id(value, slot, e);
    case CLI_COUNT:
        return to_count(row, value, slot, e);
    case CLI_DURATION:
        return to_duration(row, value, slot, e);
    case CLI_RATE:
        return to_rate(value, slot, e);
    case CLI_STATE:
        return to_state(value, slot, e);
    case CLI_TIME:
        return cli_time(value, slot, e);
    case CLI_CHOICE:
        return to_choice(row, value, slot, e);
    }
    UNREACHABLE();
}

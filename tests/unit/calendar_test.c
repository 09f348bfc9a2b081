/* What the two odd hours of a year do; calendar_oracle.py holds random expressions against another
 * implementation. */
#include "broker/schedule/calendar.h"
#include "broker/schedule/civil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(a)[0])
#define DAY_MS 86400000ULL
#define END_MS 253402300800000ULL

static struct wall at(int64_t ms) {
    return (struct wall){(uint64_t)ms};
}

static struct calendar_rule cron_rule(const char *text, const struct zone *zone) {
    struct calendar_rule rule = {.zone = zone};
    struct err e = {0};
    if (cron_parse(str_of(text), &rule.cron, &e) < 0)
        fail_msg("%s", e.text);
    return rule;
}

/* "2025-03-30 01:00", in UTC. */
static const char *shown(struct wall w) {
    static char text[64];
    int64_t s = (int64_t)(w.ms / 1000), day = civil_floor(s, CIVIL_DAY_S);
    struct civil_date d = civil_date(day);
    int minute = (int)(s - day * CIVIL_DAY_S) / 60;
    snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d", (int)d.year, d.month, d.day,
             minute / 60, minute % 60);
    return text;
}

/* The other way. */
static struct wall meant(const char *text) {
    static const size_t places[] = {0, 5, 8, 11, 14};
    uint64_t v[LEN(places)];
    for (size_t i = 0; i < LEN(places); i++)
        assert_true(str_to_u64(str_make(text + places[i], i ? 2 : 4), 9999, &v[i]));
    int64_t day = civil_day((int64_t)v[0], (int)v[1], (int)v[2]);
    return at((day * 1440 + (int64_t)(v[3] * 60 + v[4])) * 60000);
}

/* In UTC: after the first time it is due at the others, one after the other. */
static const struct {
    const char *zone, *cron, *after;
    const char *dues[5];
} odd_hours[] = {
    /* Spring: 02:00 to 03:00 is not shown on 2025-03-30, which is 01:00 UTC. */
    {"Europe/Paris",
     "30 2 * * *",
     "2025-03-28 22:00",
     {"2025-03-29 01:30", "2025-03-30 01:00", "2025-03-31 00:30"}},
    {"Europe/Paris",
     "0,20,40 2 * * *",
     "2025-03-30 00:00",
     {"2025-03-30 01:00", "2025-03-31 00:00", "2025-03-31 00:20"}},
    {"Europe/Paris",
     "*/20 2-3 * * *",
     "2025-03-30 00:00",
     {"2025-03-30 01:00", "2025-03-30 01:20", "2025-03-30 01:40", "2025-03-31 00:00"}},
    {"Europe/Paris", "30 2 30 3 *", "2025-03-30 01:00", {"2026-03-30 00:30"}},
    {"Europe/Paris",
     "30 * * * *",
     "2025-03-29 23:00",
     {"2025-03-29 23:30", "2025-03-30 00:30", "2025-03-30 01:30"}},
    {"Europe/Paris",
     "0 */2 * * *",
     "2025-03-29 22:00",
     {"2025-03-29 23:00", "2025-03-30 01:00", "2025-03-30 02:00"}},
    /* Autumn: 02:00 to 03:00 is shown twice on 2025-10-26, from 00:00 and from 01:00 UTC. */
    {"Europe/Paris", "30 2 * * *", "2025-10-25 12:00", {"2025-10-26 00:30", "2025-10-27 01:30"}},
    {"Europe/Paris", "30 2 * * *", "2025-10-26 01:00", {"2025-10-27 01:30"}},
    {"Europe/Paris",
     "30 1-3 * * *",
     "2025-10-25 23:00",
     {"2025-10-25 23:30", "2025-10-26 00:30", "2025-10-26 02:30"}},
    {"Europe/Paris",
     "*/30 * * * *",
     "2025-10-26 00:00",
     {"2025-10-26 00:30", "2025-10-26 01:00", "2025-10-26 01:30", "2025-10-26 02:00"}},
    {"Europe/Paris",
     "@hourly",
     "2025-10-25 23:00",
     {"2025-10-26 00:00", "2025-10-26 01:00", "2025-10-26 02:00"}},
    {"Europe/Paris", "0 3 * * *", "2025-10-25 12:00", {"2025-10-26 02:00", "2025-10-27 02:00"}},
    /* Half an hour: 02:00 to 02:30 is missing on 2025-10-05, which is 15:30 UTC the day before. */
    {"Australia/Lord_Howe",
     "15 2 * * *",
     "2025-10-04 12:00",
     {"2025-10-04 15:30", "2025-10-05 15:15"}},
    {"Australia/Lord_Howe",
     "45 1 * * *",
     "2025-04-05 12:00",
     {"2025-04-05 14:45", "2025-04-06 15:15"}},
    {"Australia/Lord_Howe",
     "45 * * * *",
     "2025-04-05 14:00",
     {"2025-04-05 14:45", "2025-04-05 15:15", "2025-04-05 16:15"}},
    /* A day that there was not: 2011-12-30; it would have begun at 10:00 UTC. */
    {"Pacific/Apia",
     "0 12 * * *",
     "2011-12-29 22:00",
     {"2011-12-30 10:00", "2011-12-30 22:00", "2011-12-31 22:00"}},
    {"Pacific/Apia", "0 12 30 12 *", "2011-01-01 00:00", {"2011-12-30 10:00", "2012-12-29 22:00"}},
    {"Pacific/Apia", "30 * * * *", "2011-12-30 09:00", {"2011-12-30 09:30", "2011-12-30 10:30"}},
    {"UTC", "0 0 29 2 *", "2025-01-01 00:00", {"2028-02-29 00:00", "2032-02-29 00:00"}},
    {"Asia/Kolkata", "0 0 1 1 *", "1970-01-01 00:00", {"1970-12-31 18:30"}},
    /* Behind all transitions of the file. */
    {"America/New_York",
     "30 2 * * SUN",
     "2060-03-13 00:00",
     {"2060-03-14 07:00", "2060-03-21 06:30"}},
};

static void odd_hours_are_as_documented(void **state) {
    struct zones *zones = *state;
    for (size_t i = 0; i < LEN(odd_hours); i++) {
        const struct zone *zone;
        assert_int_equal(zones_get(zones, str_of(odd_hours[i].zone), &zone, NULL), 0);
        struct calendar_rule rule = cron_rule(odd_hours[i].cron, zone);
        struct wall due = meant(odd_hours[i].after);
        for (size_t j = 0; j < LEN(odd_hours[i].dues) && odd_hours[i].dues[j]; j++) {
            due = calendar_next(&rule, due);
            if (strcmp(shown(due), odd_hours[i].dues[j]) != 0)
                fail_msg("%s '%s': %s, not %s", odd_hours[i].zone, odd_hours[i].cron, shown(due),
                         odd_hours[i].dues[j]);
        }
    }
}

static void next_is_strictly_later(void **state) {
    const struct zone *utc;
    assert_int_equal(zones_get(*state, STR("UTC"), &utc, NULL), 0);
    struct calendar_rule rule = cron_rule("* * * * *", utc);
    assert_true(calendar_next(&rule, at(0)).ms == 60000);
    assert_true(calendar_next(&rule, at(59999)).ms == 60000);
    assert_true(calendar_next(&rule, at(60000)).ms == 120000);
    assert_true(calendar_next(&rule, at(60001)).ms == 120000);
    rule = cron_rule("5 0 * * *", utc);
    assert_true(calendar_next(&rule, at(299999)).ms == 300000);
    assert_true(calendar_next(&rule, at(300000)).ms == 300000 + DAY_MS);
}

static void time_ends_with_the_year_9999(void **state) {
    const struct zone *zone;
    static const char *const texts[] = {"* * * * *", "0 0 * * *", "0 0 29 2 *"};
    static const char *const names[] = {"UTC", "Pacific/Apia", "America/New_York"};
    for (size_t i = 0; i < LEN(texts); i++) {
        assert_int_equal(zones_get(*state, str_of(names[i]), &zone, NULL), 0);
        struct calendar_rule rule = cron_rule(texts[i], zone);
        assert_true(calendar_next(&rule, at(END_MS - 1)).ms == UINT64_MAX);
        assert_true(calendar_next(&rule, at(END_MS)).ms == UINT64_MAX);
        assert_true(calendar_next(&rule, CALENDAR_NEVER).ms == UINT64_MAX);
        assert_true(calendar_next(&rule, at(END_MS - 366 * 10 * DAY_MS)).ms < END_MS);
    }
}

static int open_zones(void **state) {
    *state = zones_new(ZONE_FOLDER);
    return 0;
}

static int close_zones(void **state) {
    struct zones *zones = *state;
    zones_destroy(&zones);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_hours_are_as_documented),
        cmocka_unit_test(next_is_strictly_later),
        cmocka_unit_test(time_ends_with_the_year_9999),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}

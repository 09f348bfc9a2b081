/* What the two odd hours of a year do, intervals, counts and jitter; calendar_oracle.py holds
 * random expressions against another implementation. */
#include "broker/schedule/calendar.h"
#include "broker/schedule/civil.h"
#include "common/base/hash.h"

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
    struct calendar_rule rule = {.type = CALENDAR_CRON, .zone = zone};
    struct err e = {0};
    if (cron_parse(str_of(text), &rule.cron, &e) < 0)
        fail_msg("%s", e.text);
    return rule;
}

static struct calendar_rule every(uint64_t interval_ms, uint64_t anchor_ms) {
    return (struct calendar_rule){
        .type = CALENDAR_INTERVAL, .interval_ms = interval_ms, .anchor = {anchor_ms}};
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
        assert_int_equal(calendar_count(&rule, at(END_MS - 1), CALENDAR_NEVER, 10), 0);
    }
    struct calendar_rule rule = every(1000, 500);
    assert_true(calendar_next(&rule, at(END_MS - 501)).ms == END_MS - 500);
    assert_true(calendar_next(&rule, at(END_MS - 500)).ms == UINT64_MAX);
    assert_true(calendar_next(&rule, CALENDAR_NEVER).ms == UINT64_MAX);
    assert_int_equal(calendar_count(&rule, at(END_MS - 1501), CALENDAR_NEVER, 10), 2);
    rule = every(UINT64_MAX, 500);
    assert_true(calendar_next(&rule, at(0)).ms == 500);
    assert_true(calendar_next(&rule, at(500)).ms == UINT64_MAX);
    rule = every(1, UINT64_MAX);
    assert_true(calendar_next(&rule, at(0)).ms == UINT64_MAX);
    assert_int_equal(calendar_count(&rule, at(0), CALENDAR_NEVER, 10), 0);
}

static void intervals_keep_their_anchor(void **state) {
    (void)state;
    struct calendar_rule rule = every(1000, 5300);
    assert_true(calendar_next(&rule, at(0)).ms == 5300);
    assert_true(calendar_next(&rule, at(5299)).ms == 5300);
    assert_true(calendar_next(&rule, at(5300)).ms == 6300);
    assert_true(calendar_next(&rule, at(6299)).ms == 6300);
    assert_true(calendar_next(&rule, at(1000000000000)).ms == 1000000000300);
    assert_int_equal(calendar_count(&rule, at(0), at(5299), 100), 0);
    assert_int_equal(calendar_count(&rule, at(0), at(5300), 100), 1);
    assert_int_equal(calendar_count(&rule, at(5300), at(15300), 100), 10);
    assert_int_equal(calendar_count(&rule, at(5300), at(15299), 100), 9);
    assert_int_equal(calendar_count(&rule, at(0), at(1000000000000), 100), 100);
    assert_int_equal(calendar_count(&rule, at(0), at(1000000000000), UINT64_MAX), 999999995);
    assert_int_equal(calendar_count(&rule, at(9000), at(8000), 100), 0);
}

static void what_was_missed_is_counted(void **state) {
    const struct zone *paris;
    assert_int_equal(zones_get(*state, STR("Europe/Paris"), &paris, NULL), 0);
    struct calendar_rule rule = cron_rule("0 3 * * *", paris);
    struct wall first = calendar_next(&rule, at(1700000000000));
    assert_int_equal(calendar_count(&rule, at((int64_t)first.ms - 1), first, 10), 1);
    assert_int_equal(calendar_count(&rule, first, first, 10), 0);
    assert_int_equal(calendar_count(&rule, at((int64_t)first.ms), at(0), 10), 0);
    struct wall until = wall_add(first, 366 * DAY_MS);
    assert_int_equal(calendar_count(&rule, first, until, 1000), 366);
    assert_int_equal(calendar_count(&rule, first, until, 100), 100);
    assert_int_equal(calendar_count(&rule, first, until, 0), 0);
}

static void jitter_is_even_and_always_the_same(void **state) {
    (void)state;
    uint64_t name = hash_bytes(0, STR("nightly"));
    unsigned tenths[10] = {0};
    for (uint64_t day = 0; day < 10000; day++) {
        struct wall due = {day * DAY_MS};
        uint64_t jitter = calendar_jitter(name, due, 60000);
        assert_true(jitter < 60000);
        assert_true(jitter == calendar_jitter(name, due, 60000));
        tenths[jitter / 6000]++;
    }
    for (size_t i = 0; i < LEN(tenths); i++)
        assert_in_range(tenths[i], 880, 1120);
    for (unsigned i = 0; i < 10; i++)
        tenths[i] = 0;
    for (uint64_t n = 0; n < 10000; n++)
        tenths[calendar_jitter(hash_mix(0, n), at(1700000000000), 60000) / 6000]++;
    for (size_t i = 0; i < LEN(tenths); i++)
        assert_in_range(tenths[i], 880, 1120);
    assert_int_equal(calendar_jitter(name, at(1), 0), 0);
    assert_int_equal(calendar_jitter(name, at(1), 1), 0);
    assert_true(calendar_jitter(UINT64_MAX, CALENDAR_NEVER, UINT64_MAX) < UINT64_MAX);
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
        cmocka_unit_test(intervals_keep_their_anchor),
        cmocka_unit_test(what_was_missed_is_counted),
        cmocka_unit_test(jitter_is_even_and_always_the_same),
    };
    return cmocka_run_group_tests(tests, open_zones, close_zones);
}

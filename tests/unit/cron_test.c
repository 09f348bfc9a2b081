#include "broker/schedule/civil.h"
#include "broker/schedule/cron.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define LEN(a)      (sizeof(a) / sizeof(a)[0])
#define FOREVER     (INT64_MAX / 2)
#define BIT(n)      (1ULL << (n))
#define RANGE(a, b) (((2ULL << (b)) - 1) & ~((1ULL << (a)) - 1))

static struct cron parsed(const char *text) {
    struct cron c;
    struct err e = {0};
    if (cron_parse(str_of(text), &c, &e) < 0)
        fail_msg("%s", e.text);
    return c;
}

static void days_and_dates_agree(void **state) {
    (void)state;
    int64_t day = civil_day(-400, 1, 1);
    int weekday = civil_weekday(day);
    for (int64_t year = -400; year < 2500; year++) {
        for (int month = 1; month <= 12; month++) {
            for (int i = 1; i <= civil_month_days(year, month); i++, day++) {
                struct civil_date d = civil_date(day);
                assert_true(d.year == year && d.month == month && d.day == i);
                assert_true(civil_day(year, month, i) == day);
                assert_int_equal(civil_weekday(day), weekday);
                weekday = (weekday + 1) % 7;
            }
        }
    }
    assert_int_equal(civil_day(1970, 1, 1), 0);
    assert_int_equal(civil_day(2000, 3, 1), 11017);
    assert_int_equal(civil_weekday(0), 4);
    assert_int_equal(civil_floor(-1, 60), -1);
    assert_int_equal(civil_floor(-60, 60), -1);
    assert_int_equal(civil_floor(59, 60), 0);
}

static const struct {
    const char *text;
    uint64_t minutes, hours, days, months, weekdays;
} good[] = {
    {"* * * * *", RANGE(0, 59), RANGE(0, 23), RANGE(1, 31), RANGE(1, 12), RANGE(0, 6)},
    {"0 3 1 1 1", BIT(0), BIT(3), BIT(1), BIT(1), BIT(1)},
    {" 59\t23  31 12 6 ", BIT(59), BIT(23), BIT(31), BIT(12), BIT(6)},
    {"007 08 09 * *", BIT(7), BIT(8), BIT(9), RANGE(1, 12), RANGE(0, 6)},
    {"*/20 */12 */15 */6 */3", BIT(0) | BIT(20) | BIT(40), BIT(0) | BIT(12),
     BIT(1) | BIT(16) | BIT(31), BIT(1) | BIT(7), BIT(0) | BIT(3) | BIT(6)},
    {"10-40/10 9-17 * * MON-FRI", BIT(10) | BIT(20) | BIT(30) | BIT(40), RANGE(9, 17), RANGE(1, 31),
     RANGE(1, 12), RANGE(1, 5)},
    {"1,2,50-59/9,1 0 * jan,Mar-MAY,dEc sun,Tue", BIT(1) | BIT(2) | BIT(50) | BIT(59), BIT(0),
     RANGE(1, 31), BIT(1) | RANGE(3, 5) | BIT(12), BIT(0) | BIT(2)},
    {"0 0 * * 7", BIT(0), BIT(0), RANGE(1, 31), RANGE(1, 12), BIT(0)},
    {"0 0 * * 5-7", BIT(0), BIT(0), RANGE(1, 31), RANGE(1, 12), BIT(5) | BIT(6) | BIT(0)},
    {"0 0 * * fri-7", BIT(0), BIT(0), RANGE(1, 31), RANGE(1, 12), BIT(5) | BIT(6) | BIT(0)},
    {"0 0 * * 0-7", BIT(0), BIT(0), RANGE(1, 31), RANGE(1, 12), RANGE(0, 6)},
    {"*,5 5,* * * *", RANGE(0, 59), RANGE(0, 23), RANGE(1, 31), RANGE(1, 12), RANGE(0, 6)},
    {"*/59 */23 */31 */12 */7", BIT(0) | BIT(59), BIT(0) | BIT(23), BIT(1), BIT(1), BIT(0)},
    {"0 0 29 2 *", BIT(0), BIT(0), BIT(29), BIT(2), RANGE(0, 6)},
    {"0 0 31 2-3 *", BIT(0), BIT(0), BIT(31), BIT(2) | BIT(3), RANGE(0, 6)},
    {"0 0 31 2 MON", BIT(0), BIT(0), BIT(31), BIT(2), BIT(1)},
    {"@hourly", BIT(0), RANGE(0, 23), RANGE(1, 31), RANGE(1, 12), RANGE(0, 6)},
    {"@daily", BIT(0), BIT(0), RANGE(1, 31), RANGE(1, 12), RANGE(0, 6)},
    {"@midnight", BIT(0), BIT(0), RANGE(1, 31), RANGE(1, 12), RANGE(0, 6)},
    {"@weekly", BIT(0), BIT(0), RANGE(1, 31), RANGE(1, 12), BIT(0)},
    {"@monthly", BIT(0), BIT(0), BIT(1), RANGE(1, 12), RANGE(0, 6)},
    {"@yearly", BIT(0), BIT(0), BIT(1), BIT(1), RANGE(0, 6)},
    {" @Annually ", BIT(0), BIT(0), BIT(1), BIT(1), RANGE(0, 6)},
};

static void expressions_are_read(void **state) {
    (void)state;
    for (size_t i = 0; i < LEN(good); i++) {
        struct cron c = parsed(good[i].text);
        if (c.minutes != good[i].minutes || c.hours != good[i].hours || c.days != good[i].days ||
            c.months != good[i].months || c.weekdays != good[i].weekdays)
            fail_msg("'%s' was read as something else", good[i].text);
    }
    assert_true(cron_every_hour(&(struct cron){.hours = RANGE(0, 23)}));
    struct cron c = parsed("0 */1 */2 * 1");
    assert_true(cron_every_hour(&c) && c.days_star && !c.weekdays_star);
    c = parsed("0 */2 2 * */2");
    assert_true(!cron_every_hour(&c) && !c.days_star && c.weekdays_star);
}

static const struct {
    const char *text, *error;
} bad[] = {
    {"", "cron '': 0 fields, 5 are needed: minute hour day-of-month month day-of-week"},
    {"* * * *", "cron '* * * *': 4 fields, 5 are needed"},
    {"* * * * * *", "cron '* * * * * *': 6 fields, 5 are needed"},
    {"60 * * * *", "cron '60 * * * *': minute '60' is no number from 0 to 59"},
    {"-1 * * * *", "minute '' is no number from 0 to 59"},
    {"5- * * * *", "minute '' is no number from 0 to 59"},
    {"+5 * * * *", "minute '+5' is no number from 0 to 59"},
    {"1.5 * * * *", "minute '1.5' is no number"},
    {"99999999999999999999 * * * *", "minute '99999999999999999999' is no number"},
    {"0 24 * * *", "hour '24' is no number from 0 to 23"},
    {"0 0 0 * *", "day-of-month '0' is no number from 1 to 31"},
    {"0 0 32 * *", "day-of-month '32' is no number from 1 to 31"},
    {"0 0 1-32 * *", "day-of-month '32' is no number from 1 to 31"},
    {"0 0 L * *", "day-of-month 'L' is no number"},
    {"0 0 ? * *", "day-of-month '?' is no number"},
    {"0 0 1 13 *", "month '13' is no number from 1 to 12 and no name from JAN to DEC"},
    {"0 0 1 0 *", "month '0' is no number from 1 to 12"},
    {"0 0 1 january *", "month 'january' is no number"},
    {"0 0 1 mon *", "month 'mon' is no number"},
    {"0 0 * * 8", "day-of-week '8' is no number from 0 to 7 and no name from SUN to SAT"},
    {"0 0 * * jan", "day-of-week 'jan' is no number"},
    {"0 0 * * 5#2", "day-of-week '5#2' is no number"},
    {"0 0 jan * *", "day-of-month 'jan' is no number from 1 to 31"},
    {"0 0 * * fri-mon", "day-of-week 'fri-mon' ends before it begins (5-1); at the end of a range"},
    {"0 22-6 * * *", "hour '22-6' ends before it begins (22-6)"},
    {"0 1-2-3 * * *", "hour '2-3' is no number"},
    {"5/15 * * * *", "minute '5/15': a step needs a range or * before the '/'"},
    {"*/0 * * * *", "minute '*/0': the step is no number from 1 to 59"},
    {"*/90 * * * *", "minute '*/90': the step is no number from 1 to 59"},
    {"0 */24 * * *", "hour '*/24': the step is no number from 1 to 23"},
    {"*/ * * * *", "minute '*/': the step is no number"},
    {"*/5/5 * * * *", "minute '*/5/5': the step is no number"},
    {"1,,2 * * * *", "minute '1,,2' has an empty element"},
    {"1, * * * *", "minute '1,' has an empty element"},
    {", * * * *", "minute ',' has an empty element"},
    {"** * * * *", "minute '**' is no number"},
    {"*-5 * * * *", "minute '*' is no number"},
    {"0 0 31 2 *", "cron '0 0 31 2 *': it never comes: no month of '2' has a day of '31'"},
    {"0 0 30,31 feb *", "no month of 'feb' has a day of '30,31'"},
    {"0 0 31 4,6,9,11 */2", "no month of '4,6,9,11' has a day of '31'"},
    {"@reboot", "cron '@reboot': no such name; there are @hourly,"},
    {"@", "cron '@': no such name"},
    {"@daily *", "cron '@daily *': no such name"},
    {"0 3 * * *\n", "day-of-week '*\n' is no number"},
};

static void errors_name_field_text_and_bound(void **state) {
    (void)state;
    for (size_t i = 0; i < LEN(bad); i++) {
        struct cron c = {.minutes = 77};
        struct err e = {0};
        if (cron_parse(str_of(bad[i].text), &c, &e) == 0)
            fail_msg("'%s' was taken", bad[i].text);
        assert_int_equal(e.code, ERR_BAD_VALUE);
        if (!strstr(e.text, bad[i].error))
            fail_msg("'%s': \"%s\" does not say \"%s\"", bad[i].text, e.text, bad[i].error);
        assert_int_equal(c.minutes, 77);
        assert_int_equal(cron_parse(str_of(bad[i].text), &c, NULL), -1);
    }
}

static void long_text_is_refused(void **state) {
    (void)state;
    char text[CRON_TEXT_MAX + 2];
    snprintf(text, sizeof text, "%-*s", CRON_TEXT_MAX + 1, "0 0 * * *");
    struct cron c;
    struct err e = {0};
    assert_int_equal(cron_parse(str_make(text, CRON_TEXT_MAX), &c, &e), 0);
    assert_int_equal(cron_parse(str_make(text, CRON_TEXT_MAX + 1), &c, &e), -1);
    assert_string_equal(e.text, "cron expression of 257 bytes, at most 256");
}

/* "2024-02-29 03:05" */
static const char *shown(int64_t minute) {
    static char text[64];
    int64_t day = civil_floor(minute, 1440);
    struct civil_date d = civil_date(day);
    snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d", (int)d.year, d.month, d.day,
             (int)(minute - day * 1440) / 60, (int)(minute - day * 1440) % 60);
    return text;
}

static const struct {
    const char *text;
    int year, month, day, minute;
    const char *next;
} nexts[] = {
    {"* * * * *", 2024, 1, 1, 0, "2024-01-01 00:00"},
    {"0 0 * * *", 2024, 12, 31, 1, "2025-01-01 00:00"},
    {"30 9-17 * * MON-FRI", 2024, 3, 1, 17 * 60 + 31, "2024-03-04 09:30"},
    {"0 0 29 2 *", 2024, 2, 29, 1, "2028-02-29 00:00"},
    {"0 0 29 2 *", 2096, 3, 1, 0, "2104-02-29 00:00"},
    {"0 0 29 2 */7", 2088, 3, 1, 0, "2128-02-29 00:00"},
    {"0 0 13 * FRI", 2024, 9, 7, 0, "2024-09-13 00:00"},
    {"0 0 13 * FRI", 2024, 10, 12, 0, "2024-10-13 00:00"},
    {"0 0 */13 * FRI", 2024, 9, 7, 0, "2024-09-27 00:00"},
    {"0 0 31 * *", 2024, 4, 1, 0, "2024-05-31 00:00"},
    {"15,45 3 1 1 *", 2023, 1, 1, 3 * 60 + 16, "2023-01-01 03:45"},
    {"0 0 1 1 *", 1969, 12, 31, 23 * 60, "1970-01-01 00:00"},
    {"0 0 * 12 0", 1969, 12, 1, 0, "1969-12-07 00:00"},
};

static void the_next_minute_is_found(void **state) {
    (void)state;
    for (size_t i = 0; i < LEN(nexts); i++) {
        struct cron c = parsed(nexts[i].text);
        int64_t from = civil_day(nexts[i].year, nexts[i].month, nexts[i].day) * 1440;
        int64_t found;
        assert_true(cron_next(&c, from + nexts[i].minute, FOREVER, &found));
        if (strcmp(shown(found), nexts[i].next) != 0)
            fail_msg("'%s': %s, not %s", nexts[i].text, shown(found), nexts[i].next);
        int64_t again;
        assert_true(cron_next(&c, found, found + 1, &again) && again == found);
        assert_false(cron_next(&c, from + nexts[i].minute, found, &again));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_and_dates_agree),
        cmocka_unit_test(expressions_are_read),
        cmocka_unit_test(errors_name_field_text_and_bound),
        cmocka_unit_test(long_text_is_refused),
        cmocka_unit_test(the_next_minute_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

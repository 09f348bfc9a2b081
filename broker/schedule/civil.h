/* Days and dates of the Gregorian calendar, also before it was in use.
 *
 * A day is a number: 0 is 1970-01-01. All functions are pure; months are 1 to 12, days of a month 1
 * to 31, days of the week 0 (Sunday) to 6. Years from -290000 to 290000 are safe. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CIVIL_DAY_S 86400

struct civil_date {
    int64_t year;
    int month, day;
};

int64_t civil_day(int64_t year, int month, int day);
struct civil_date civil_date(int64_t day);
int civil_weekday(int64_t day);
bool civil_leap(int64_t year);
int civil_month_days(int64_t year, int month);

/* Division that rounds down, so that times before 1970 fall on the day they belong to. */
static inline int64_t civil_floor(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

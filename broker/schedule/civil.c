#include "broker/schedule/civil.h"

/* The arithmetic counts years from 1 March, so that the day a leap year has more is its last one;
 * an era are the 400 years after which all repeats (Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms"). */
#define ERA_DAYS   146097
#define EPOCH_DAYS 719468 /* from 0000-03-01 to 1970-01-01 */

int64_t civil_day(int64_t year, int month, int day) {
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = civil_floor(y, 400);
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    return era * ERA_DAYS + days - EPOCH_DAYS;
}

struct civil_date civil_date(int64_t day) {
    int64_t z = day + EPOCH_DAYS;
    int64_t era = civil_floor(z, ERA_DAYS);
    int64_t days = z - era * ERA_DAYS;
    int64_t years = (days - days / 1460 + days / 36524 - days / 146096) / 365;
    int64_t of_year = days - (365 * years + years / 4 - years / 100);
    int64_t month = (5 * of_year + 2) / 153; /* 0 is March */
    struct civil_date d = {.day = (int)(of_year - (153 * month + 2) / 5 + 1)};
    d.month = (int)(month < 10 ? month + 3 : month - 9);
    d.year = years + era * 400 + (d.month <= 2);
    return d;
}

int civil_weekday(int64_t day) {
    int64_t thursday = day + 4; /* what 1970-01-01 was */
    return (int)(thursday - civil_floor(thursday, 7) * 7);
}

bool civil_leap(int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int civil_month_days(int64_t year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && civil_leap(year));
}

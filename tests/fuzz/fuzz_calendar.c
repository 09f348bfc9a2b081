/* A line with a cron expression and the bytes of a time zone's file behind it, neither of which is
 * trusted: each is refused with a reason, or it is used, and what it says holds together. */
#include "broker/schedule/calendar.h"
#include "broker/schedule/civil.h"
#include "common/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Also where the file's transitions end, and at both ends of what can be asked. */
static const int64_t moments[] = {0,          951782400,  1325239200,  1743296399,
                                  2145916800, 4102444799, 253402000000};

static void check_spans(const struct zone *zone, int64_t at) {
    for (int i = 0; i < 4; i++) {
        struct zone_span span = zone_span(zone, at);
        ASSERT(span.until_s > at);
        ASSERT(span.offset_s >= ZONE_OFFSET_MIN && span.offset_s <= ZONE_OFFSET_MAX);
        if (span.until_s > moments[6])
            return;
        struct zone_span last = zone_span(zone, span.until_s - 1);
        ASSERT(last.offset_s == span.offset_s && last.until_s == span.until_s);
        at = span.until_s;
    }
}

/* The clock shows one of the named minutes, or it has just been changed. */
static void check_due(const struct calendar_rule *rule, int64_t at) {
    struct zone_span now = zone_span(rule->zone, at);
    struct zone_span before = zone_span(rule->zone, at - 1);
    int64_t local = at + now.offset_s, minute = civil_floor(local, 60), found;
    bool named = local % 60 == 0 && cron_next(&rule->cron, minute, minute + 1, &found);
    bool jumped = before.until_s == at && before.offset_s < now.offset_s;
    ASSERT(named || (jumped && !cron_every_hour(&rule->cron)));
}

static void check_next(const struct calendar_rule *rule, int64_t moment) {
    struct wall after = {(uint64_t)moment * 1000 + 7};
    for (int i = 0; i < 4; i++) {
        struct wall due = calendar_next(rule, after);
        if (due.ms == CALENDAR_NEVER.ms)
            return;
        ASSERT(due.ms > after.ms && due.ms % 1000 == 0);
        ASSERT(calendar_next(rule, (struct wall){due.ms - 1}).ms == due.ms);
        struct wall middle = {after.ms + (due.ms - after.ms) / 2};
        ASSERT(middle.ms >= due.ms || calendar_next(rule, middle).ms == due.ms);
        check_due(rule, (int64_t)(due.ms / 1000));
        after = due;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    size_t line = end ? (size_t)(end - data) : size;
    struct str file = end ? str_make(end + 1, size - line - 1) : STR("");
    struct calendar_rule rule = {0};
    struct zone *zone = NULL;
    struct err e = {0};
    bool known = zone_parse(file, &zone, &e) == 0;
    ASSERT(known || (e.code == ERR_CORRUPT && e.text[0]));
    if (!known)
        ASSERT(zone_load(ZONE_FOLDER, STR("UTC"), &zone, NULL) == 0);
    rule.zone = zone;
    bool read = cron_parse(str_make(data, line), &rule.cron, &e) == 0;
    ASSERT(read || (e.code == ERR_BAD_VALUE && e.text[0]));
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        check_spans(zone, moments[i]);
        if (read)
            check_next(&rule, moments[i]);
    }
    zone_destroy(&zone);
    return 0;
}

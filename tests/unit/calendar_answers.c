/* Answers calendar_oracle.py: a line in is `ZONE|EXPRESSION|AFTER_S`, the line out are the next
 * four times it is due, in UTC seconds. */
#include "broker/schedule/calendar.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DUES 4

static int answer(struct zones *zones, char *line, struct err *e) {
    char *rest = line;
    const char *name = strsep(&rest, "|");
    const char *text = strsep(&rest, "|");
    struct calendar_rule rule = {0};
    struct wall after;
    if (!rest || !str_to_u64(str_of(rest), UINT64_MAX / 1000, &after.ms))
        return err_set(e, ERR_USAGE, "no question");
    after.ms *= 1000;
    if (zones_get(zones, str_of(name), &rule.zone, e) < 0 ||
        cron_parse(str_of(text), &rule.cron, e) < 0)
        return -1;
    struct wall due = after;
    for (int i = 0; i < DUES; i++) {
        due = calendar_next(&rule, due);
        printf("%" PRIu64 "%c", due.ms / 1000, i < DUES - 1 ? ' ' : '\n');
    }
    return 0;
}

int main(void) {
    struct zones *zones = zones_new(ZONE_FOLDER);
    struct err e = {0};
    char *line = NULL;
    size_t size = 0;
    for (ssize_t n; (n = getline(&line, &size, stdin)) > 0;) {
        line[n - 1] = '\0';
        if (answer(zones, line, &e) < 0)
            printf("%s\n", e.text);
    }
    free(line);
    zones_destroy(&zones);
    return 0;
}

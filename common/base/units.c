#include "common/base/units.h"

#include <stdio.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* The first of several names for one factor is the one that is printed. */
static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000},
};
static const struct unit sizes[] = {
    {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1},
    {"G", 1ULL << 30},   {"M", 1ULL << 20},   {"K", 1ULL << 10},   {"", 1},
};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static int parse(struct str s, const struct unit *units, size_t n, const char *what,
                 const char *names, uint64_t *out, struct err *e) {
    if (s.len == 0) /* perhaps NULL, which must not be added to */
        s = STR("");
    size_t digits = 0;
    while (digits < s.len && s.at[digits] >= '0' && s.at[digits] <= '9')
        digits++;
    struct str number = {s.at, digits};
    struct str name = str_trim((struct str){s.at + digits, s.len - digits});
    uint64_t v;
    if (!str_to_u64(number, UINT64_MAX, &v))
        return err_set(e, ERR_BAD_VALUE, "'" STR_FMT "' is not a %s: a whole number and %s",
                       STR_ARG(s), what, names);
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(name, str_of(units[i].name)))
            continue;
        if (v > UINT64_MAX / units[i].factor)
            return err_set(e, ERR_BAD_VALUE, "%s '" STR_FMT "' is too large", what, STR_ARG(s));
        *out = v * units[i].factor;
        return 0;
    }
    return err_set(e, ERR_BAD_VALUE, "'" STR_FMT "' is not a unit of a %s: use %s", STR_ARG(name),
                   what, names);
}

int units_duration(struct str s, uint64_t *ms, struct err *e) {
    return parse(s, durations, COUNT(durations), "duration", "ms, s, m, h or d", ms, e);
}

int units_size(struct str s, uint64_t *bytes, struct err *e) {
    return parse(s, sizes, COUNT(sizes), "size", "B, KiB, MiB or GiB", bytes, e);
}

static struct units_text show(uint64_t v, const struct unit *units, const char *zero) {
    struct units_text t;
    if (v == 0) {
        snprintf(t.at, sizeof t.at, "%s", zero);
        return t;
    }
    while (v % units->factor)
        units++;
    snprintf(t.at, sizeof t.at, "%llu%s", (unsigned long long)(v / units->factor), units->name);
    return t;
}

struct units_text units_show_duration(uint64_t ms) {
    return show(ms, durations, "0s");
}

struct units_text units_show_size(uint64_t bytes) {
    return show(bytes, sizes, "0B");
}

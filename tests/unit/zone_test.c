/* Files are made here byte by byte; that the system's are read right is calendar_oracle's. */
#include "broker/schedule/zone.h"
#include "common/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LEN(a) (sizeof(a) / sizeof(a)[0])

struct move {
    int64_t at;
    uint8_t type;
};

/* A file to be; what is not a count is well-formed. */
struct plan {
    char version;
    uint32_t leaps, types, times, chars, isstd, isut;
    struct move moves[3];
    int32_t offsets[3];
    const char *rule; /* without its line ends; NULL: nothing at all */
};

static void put(struct buf *b, uint64_t v, size_t bytes) {
    while (bytes-- > 0)
        buf_putc(b, (char)(v >> 8 * bytes));
}

static void put_block(struct buf *b, const struct plan *p, size_t time_bytes) {
    buf_put(b, "TZif", 4);
    buf_putc(b, p->version);
    put(b, 0, 8);
    put(b, 0, 7);
    const uint32_t counts[] = {p->isut, p->isstd, p->leaps, p->times, p->types, p->chars};
    for (size_t i = 0; i < LEN(counts); i++)
        put(b, counts[i], 4);
    for (uint32_t i = 0; i < p->times && i < LEN(p->moves); i++)
        put(b, (uint64_t)p->moves[i].at, time_bytes);
    for (uint32_t i = 0; i < p->times && i < LEN(p->moves); i++)
        put(b, p->moves[i].type, 1);
    for (uint32_t i = 0; i < p->types && i < LEN(p->offsets); i++) {
        put(b, (uint32_t)p->offsets[i], 4);
        put(b, 0, 2);
    }
    for (uint32_t i = 0; i < p->chars && i < 8; i++)
        put(b, 'A', 1);
    for (uint32_t i = 0; i < p->leaps && i < 8; i++) {
        put(b, 0, time_bytes);
        put(b, 0, 4);
    }
    for (uint32_t i = 0; i < p->isstd + p->isut && i < 8; i++)
        put(b, 0, 1);
}

static void put_file(struct buf *b, const struct plan *p) {
    put_block(b, p, 4);
    if (p->version == '\0')
        return;
    put_block(b, p, 8);
    if (p->rule)
        buf_printf(b, "\n%s\n", p->rule);
}

/* From 1000 on an hour ahead of UTC, from 2000 on two. */
static struct plan plan(char version, const char *rule) {
    return (struct plan){.version = version,
                         .types = 3,
                         .times = 2,
                         .chars = 4,
                         .isstd = 3,
                         .isut = 3,
                         .moves = {{1000, 1}, {2000, 2}},
                         .offsets = {0, 3600, 7200},
                         .rule = rule};
}

static struct zone *made(const struct plan *p) {
    AUTO_BUF bytes = BUF(4096);
    struct zone *z = NULL;
    struct err e = {0};
    put_file(&bytes, p);
    if (zone_parse(buf_str(&bytes), &z, &e) < 0)
        fail_msg("%s", e.text);
    return z;
}

static void expect_span(const struct zone *z, int64_t at, int32_t offset, int64_t until) {
    struct zone_span span = zone_span(z, at);
    if (span.offset_s != offset || span.until_s != until)
        fail_msg("at %lld: %d until %lld, not %d until %lld", (long long)at, span.offset_s,
                 (long long)span.until_s, offset, (long long)until);
}

static void transitions_of_every_version_are_read(void **state) {
    (void)state;
    static const char versions[] = {'\0', '2', '3', '4'};
    for (size_t i = 0; i < LEN(versions); i++) {
        struct plan p = plan(versions[i], "");
        struct zone *z = made(&p);
        expect_span(z, -1000, 0, 1000);
        expect_span(z, 999, 0, 1000);
        expect_span(z, 1000, 3600, 2000);
        expect_span(z, 1999, 3600, 2000);
        expect_span(z, 2000, 7200, INT64_MAX);
        expect_span(z, 1LL << 50, 7200, INT64_MAX);
        zone_destroy(&z);
        assert_null(z);
    }
}

static void late_times_follow_the_rule(void **state) {
    (void)state;
    struct plan p = plan('2', "CET-1CEST,M3.5.0,M10.5.0/3");
    p.moves[1].at = 1743296400; /* 2025-03-30 01:00 */
    struct zone *z = made(&p);
    expect_span(z, 1743296399, 3600, 1743296400);
    expect_span(z, 1743296400, 7200, 1761440400);
    expect_span(z, 1761440399, 7200, 1761440400);
    expect_span(z, 1761440400, 3600, 1774746000);
    expect_span(z, 4102444800, 3600, 4109878800); /* 2100-01-01 until 2100-03-28 01:00 */
    zone_destroy(&z);
}

/* A rule, a time in 2023 (or 2024), the offset, and until when. */
static const struct {
    const char *rule;
    int64_t at;
    int32_t offset;
    int64_t until;
} rules[] = {
    {"UTC0", 0, 0, INT64_MAX},
    {"<+0530>-5:30", 0, 19800, INT64_MAX},
    {"<-04>+4:00:01", 0, -14401, INT64_MAX},
    /* The south: summer over the new year. 2023-04-02 14:00 UTC is the end of a half-hour change.
     */
    {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 1672531200, 39600, 1680361200},
    {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 1680361200, 37800, 1696087800},
    /* Less than the standard time in winter. */
    {"IST-1GMT0,M10.5.0,M3.5.0/1", 1672531200, 0, 1679792400},
    {"IST-1GMT0,M10.5.0,M3.5.0/1", 1690000000, 3600, 1698541200},
    /* Times of another day: 22 h before, and a day after. */
    {"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1679792400 - 1, -7200, 1679792400},
    {"EST5EDT,M3.2.0/26,M11.1.0", 1678690799, -18000, 1678690800},
    /* Days by number: with and without 29 February. 2024-02-29 is day 59 from 0; J61 is 2 March. */
    {"AAA0BBB,59/0,J61/0", 1709164799, 0, 1709164800},
    {"AAA0BBB,59/0,J61/0", 1709164800, 3600, 1709334000},
    /* All year, as RFC 8536 writes it. */
    {"EST5EDT,0/0,J365/25", 1704085200, -14400, 1735707600},
    {"EST5EDT,0/0,J365/25", 1704085199, -14400, 1704085200},
};

static void rules_are_followed(void **state) {
    (void)state;
    for (size_t i = 0; i < LEN(rules); i++) {
        struct plan p = plan('3', rules[i].rule);
        p.times = 0;
        struct zone *z = made(&p);
        expect_span(z, rules[i].at, rules[i].offset, rules[i].until);
        zone_destroy(&z);
    }
}

static void expect_refused(struct str bytes, const char *says) {
    struct zone *z = NULL;
    struct err e = {0};
    if (zone_parse(bytes, &z, &e) == 0)
        fail_msg("taken, which should say \"%s\"", says);
    assert_null(z);
    assert_int_equal(e.code, ERR_CORRUPT);
    if (!strstr(e.text, says))
        fail_msg("\"%s\" does not say \"%s\"", e.text, says);
}

static void refuse_plan(const struct plan *p, const char *says) {
    AUTO_BUF bytes = BUF(4096);
    put_file(&bytes, p);
    expect_refused(buf_str(&bytes), says);
}

static void bad_rules_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "CET",
        "CE-1",
        "CET-1CEST",
        "CET-1CEST,M3.5.0",
        "CET-25",
        "CET-1:60",
        "CET-1:",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.0.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,M3.5,M10.5.0",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0/3,",
        "CET-1CEST,J0,J366",
        "CET-1CEST,J1,366",
        "<CET-1",
        "<+>-1",
        "CET-1CEST-26,M3.5.0,M10.5.0",
        "1CET-1",
        "CET-1CEST,99999999999,J1",
        "CET-24CEST,J1",
    };
    for (size_t i = 0; i < LEN(bad); i++) {
        struct plan p = plan('2', bad[i]);
        refuse_plan(&p, "its rule '");
    }
    struct plan p = plan('2', "CET-1CEST,M3.6.0,M10.5.0/3");
    refuse_plan(&p, "its rule 'CET-1CEST,M3.6.0,M10.5.0/3' is wrong from byte 14 on");
    p.rule = NULL;
    refuse_plan(&p, "it does not end with a rule between two line ends");
    char long_rule[200];
    memset(long_rule, 'A', sizeof long_rule - 1);
    long_rule[sizeof long_rule - 1] = '\0';
    p.rule = long_rule;
    refuse_plan(&p, "its rule has 199 bytes, at most 128");
}

static void hostile_counts_are_refused(void **state) {
    (void)state;
    struct plan p = plan('2', "UTC0");
    p.times = UINT32_MAX;
    refuse_plan(&p, "its header names 21474836503 bytes of data, there are");
    p.types = p.chars = p.leaps = p.isstd = p.isut = UINT32_MAX;
    refuse_plan(&p, "bytes of data, there are");
    p = plan('\0', NULL);
    p.leaps = 1;
    refuse_plan(&p, "it counts 1 leap seconds");
    p = plan('\0', NULL);
    p.types = 0;
    refuse_plan(&p, "0 types of local time, 1 to 256 are possible");
    p = plan('\0', NULL);
    p.moves[1].type = 3;
    refuse_plan(&p, "type 3 of local time is named, there are 3");
    p.moves[1] = (struct move){1000, 1};
    refuse_plan(&p, "transition 1 is not after the one before");
    p = plan('4', "");
    p.offsets[2] = 93600;
    refuse_plan(&p, "a local time is 93600 s from UTC, -89999 to 93599 are possible");
    p.offsets[0] = INT32_MIN;
    refuse_plan(&p, "a local time is -2147483648 s from UTC");
    p = plan('1', "");
    refuse_plan(&p, "its version is 49");
    expect_refused(STR("TZif"), "a header of 4 bytes, 44 are needed");
    expect_refused(STR("# this is a text that has more than 44 bytes of whatever"), "'TZif'");
}

/* Cut anywhere, a file is refused; the whole one is read. */
static void cut_files_are_refused(void **state) {
    (void)state;
    AUTO_BUF bytes = BUF(4096);
    struct plan p = plan('2', "CET-1CEST,M3.5.0,M10.5.0/3");
    put_file(&bytes, &p);
    for (size_t n = 0; n < bytes.len; n++) {
        struct zone *z = NULL;
        char *copy = malloc(n + 1); /* for the sanitizer to see what is read behind the end */
        memcpy(copy, bytes.at, n);
        assert_int_equal(zone_parse(str_make(copy, n), &z, NULL), -1);
        free(copy);
    }
    struct zone *z = made(&p);
    zone_destroy(&z);
}

static void names_are_checked(void **state) {
    (void)state;
    static const char *const good[] = {
        "UTC",       "Europe/Paris", "America/Argentina/Buenos_Aires",
        "Etc/GMT+5", "Etc/GMT-14",   "America/Port-au-Prince"};
    static const char *const bad[] = {
        "..",    "../etc/passwd",     "Europe/../x", "/etc/localtime", "Europe/", "Europe//Paris",
        ".",     "Europe/./Paris",    "-x",          "Europe/-x",      "a b",     "Europe\\Paris",
        "a.tab", "\xC3\xA9t\xC3\xA9", "a\nb"};
    for (size_t i = 0; i < LEN(good); i++)
        assert_int_equal(zone_check_name(str_of(good[i]), NULL), 0);
    for (size_t i = 0; i < LEN(bad); i++) {
        struct err e = {0};
        struct zone *z = NULL;
        assert_int_equal(zone_load(ZONE_FOLDER, str_of(bad[i]), &z, &e), -1);
        assert_int_equal(e.code, ERR_BAD_VALUE);
        assert_non_null(strstr(e.text, "is no name"));
    }
    struct err e = {0};
    assert_int_equal(zone_check_name(STR(""), &e), -1);
    assert_string_equal(e.text, "time zone name of 0 bytes, 1 to 64 are possible");
    char text[ZONE_NAME_MAX + 1];
    memset(text, 'a', sizeof text);
    assert_int_equal(zone_check_name(str_make(text, ZONE_NAME_MAX), &e), 0);
    assert_int_equal(zone_check_name(str_make(text, ZONE_NAME_MAX + 1), &e), -1);
    assert_string_equal(e.text, "time zone name of 65 bytes, 1 to 64 are possible");
}

static void write_file(const char *folder, const char *name, struct str bytes, size_t more) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fwrite(bytes.at, 1, bytes.len, f);
    while (more-- > 0)
        fputc(0, f);
    fclose(f);
}

static void expect_load_error(const char *folder, const char *name, enum err_code code,
                              const char *says) {
    struct zone *z = NULL;
    struct err e = {0};
    assert_int_equal(zone_load(folder, str_of(name), &z, &e), -1);
    assert_int_equal(e.code, code);
    if (!strstr(e.text, says) || !strstr(e.text, name))
        fail_msg("\"%s\" does not say \"%s\"", e.text, says);
}

static void files_are_read_with_care(void **state) {
    (void)state;
    char folder[] = "/tmp/quern-zones-XXXXXX", path[256];
    assert_non_null(mkdtemp(folder));
    AUTO_BUF bytes = BUF(4096);
    struct plan p = plan('2', "");
    put_file(&bytes, &p);
    write_file(folder, "Good", buf_str(&bytes), 0);
    write_file(folder, "Full", buf_str(&bytes), ZONE_FILE_MAX - bytes.len);
    write_file(folder, "Large", buf_str(&bytes), ZONE_FILE_MAX + 1 - bytes.len);
    write_file(folder, "Empty", STR(""), 0);
    snprintf(path, sizeof path, "%s/Pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct zones *zones = zones_new(folder);
    const struct zone *first, *second;
    assert_int_equal(zones_get(zones, STR("Good"), &first, NULL), 0);
    assert_int_equal(zones_get(zones, STR("Full"), &second, NULL), 0);
    assert_true(first != second);
    assert_int_equal(zones_get(zones, STR("Good"), &second, NULL), 0);
    assert_ptr_equal(first, second);
    expect_span(first, 1000, 3600, 2000);
    expect_load_error(folder, "Large", ERR_CORRUPT, "its file has more than 65536 bytes");
    expect_load_error(folder, "Empty", ERR_CORRUPT, "a header of 0 bytes");
    expect_load_error(folder, "Pipe", ERR_BAD_VALUE, "no such zone: its place is no file");
    expect_load_error(folder, "Nowhere", ERR_BAD_VALUE, "no such zone in /tmp/quern-zones-");
    expect_load_error(folder, "Good/Deeper", ERR_BAD_VALUE, "(package tzdata)");
    expect_load_error("/", "tmp", ERR_BAD_VALUE, "its place is no file");
    zones_destroy(&zones);
    assert_null(zones);
    static const char *const names[] = {"Good", "Full", "Large", "Empty", "Pipe"};
    for (size_t i = 0; i < LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

static void utc_needs_no_file(void **state) {
    (void)state;
    static const char *const names[] = {"UTC", "Etc/UTC"};
    for (size_t i = 0; i < LEN(names); i++) {
        struct zone *z;
        assert_int_equal(zone_load("/nowhere", str_of(names[i]), &z, NULL), 0);
        expect_span(z, -1, 0, INT64_MAX);
        expect_span(z, 1LL << 40, 0, INT64_MAX);
        zone_destroy(&z);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transitions_of_every_version_are_read),
        cmocka_unit_test(late_times_follow_the_rule),
        cmocka_unit_test(rules_are_followed),
        cmocka_unit_test(bad_rules_are_refused),
        cmocka_unit_test(hostile_counts_are_refused),
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(files_are_read_with_care),
        cmocka_unit_test(utc_needs_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What the command line makes of text, and how it shows values to people. */
#include "cli/out.h"
#include "cli/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

/* ---- parsing -------------------------------------------------------------------------------- */
static int parse(struct arena *arena, struct parsed *p, struct err *e, int argc, ...) {
    char *argv[16];
    va_list args;
    va_start(args, argc);
    for (int i = 0; i < argc; i++)
        argv[i] = va_arg(args, char *);
    va_end(args);
    *e = (struct err){0};
    return cli_parse(argc, argv, arena, p, e);
}

static void test_words_and_options_in_any_order(void **state) {
    AUTO_ARENA arena = arena_new(1 << 20);
    struct parsed p;
    struct err e;
    (void)state;
    assert_int_equal(parse(arena, &p, &e, 9, "submit", "--priority", "3", "echo", "--wait",
                           "--data=/x", "--ttl", "90", "--json"),
                     0);
    const struct args_submit *a = p.args;
    assert_int_equal(p.command->id, COMMAND_submit);
    assert_true(str_eq(a->kind, STR("echo")));
    assert_int_equal(a->priority, 3);
    assert_int_equal(a->ttl, 90000);
    assert_true(a->wait);
    assert_true(ARG_HAS(a, submit, ttl));
    assert_false(ARG_HAS(a, submit, timeout));
    assert_true(p.common.json);
    assert_true(str_eq(p.common.data, STR("/x")));
}

static void test_words_behind_dashes(void **state) {
    AUTO_ARENA arena = arena_new(1 << 20);
    struct parsed p;
    struct err e;
    (void)state;
    assert_int_equal(parse(arena, &p, &e, 4, "scale", "a=1", "--", "--help"), 0);
    const struct args_scale *a = p.args;
    assert_int_equal(a->pools.n, 2);
    assert_true(str_eq(a->pools.at[1], STR("--help")));
    assert_false(p.help);
    assert_int_equal(parse(arena, &p, &e, 3, "job", "nonsense", "--help"), 0);
    assert_true(p.help);
}

static void test_lists_of_ids(void **state) {
    AUTO_ARENA arena = arena_new(1 << 20);
    struct parsed p;
    struct err e;
    (void)state;
    assert_int_equal(parse(arena, &p, &e, 4, "cancel", "0000c00000007", "--json", "0000C0000000L"),
                     0);
    const struct args_cancel *a = p.args;
    assert_int_equal(a->ids.n, 2);
    assert_int_equal(a->ids.at[0] - a->ids.at[1], 6);
    assert_int_equal(parse(arena, &p, &e, 2, "cancel", "7"), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_string_equal(e.text, "cancel ID: '7' is no id; an id has 13 digits and letters, such as "
                                "0000c00000007");
}

static void test_commands_of_two_words(void **state) {
    AUTO_ARENA arena = arena_new(1 << 20);
    struct parsed p;
    struct err e;
    (void)state;
    assert_int_equal(parse(arena, &p, &e, 6, "schedule", "add", "--every", "2m", "nightly", "echo"),
                     0);
    const struct args_schedule_add *a = p.args;
    assert_int_equal(p.command->id, COMMAND_schedule_add);
    assert_string_equal(p.command->name, "schedule add");
    assert_true(str_eq(a->name, STR("nightly")));
    assert_true(str_eq(a->kind, STR("echo")));
    assert_int_equal(a->every, 120000);
    assert_int_equal(parse(arena, &p, &e, 3, "schedule", "rm", "--help"), 0);
    assert_true(p.help && p.command->id == COMMAND_schedule_rm && !p.family);
    assert_int_equal(parse(arena, &p, &e, 2, "schedule", "--help"), 0);
    assert_true(p.help && !p.command);
    assert_string_equal(p.family->name, "schedule");
    assert_int_equal(parse(arena, &p, &e, 1, "schedule"), -1);
    assert_null(p.command);
}

static void test_families(void **state) {
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++) {
        const struct command *c;
        assert_null(command_named(str_of(families[i].name)));
        for (size_t n = 0; (c = family_part(&families[i], n)); n++) {
            assert_ptr_equal(command_family(c), &families[i]);
            assert_int_equal(c->group, family_part(&families[i], 0)->group);
        }
    }
    assert_string_equal(command_word_last(command_named(STR("schedule rm"))), "rm");
    assert_string_equal(command_word_last(command_named(STR("submit"))), "submit");
    assert_null(command_family(command_named(STR("submit"))));
}

static void test_every_command_can_be_named(void **state) {
    (void)state;
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct command *c = &commands[i];
        assert_ptr_equal(command_named(str_of(c->name)), c);
        const struct cli_row *row;
        for (size_t n = 0; (row = command_option_at(c, n)); n++)
            assert_ptr_equal(command_option(c, str_of(cli_row_name(row).at)), row);
        /* Behind a word that may be missing are only such; one that may be repeated is the last. */
        const struct cli_row *next;
        for (size_t n = 0; (row = command_word(c, n)); n++)
            assert_true(row->many == ONE || !(next = command_word(c, n + 1)) ||
                        (row->many == MAYBE && next->many == MAYBE));
    }
}

/* ---- types ---------------------------------------------------------------------------------- */
static uint64_t time_of(const char *text) {
    struct err e = {0};
    uint64_t ms = 1;
    return cli_time(str_of(text), &ms, &e) == 0 ? ms : 0;
}

static void test_times(void **state) {
    (void)state;
    setenv("TZ", "UTC-2", 1); /* east of Greenwich */
    tzset();
    assert_int_equal(time_of("2027-01-31T09:00:00Z"), 1801386000000);
    assert_int_equal(time_of("2027-01-31T09:00:00.250Z"), 1801386000250);
    assert_int_equal(time_of("2027-01-31T10:00+01:00"), 1801386000000);
    assert_int_equal(time_of("2027-01-31t08:30-00:30"), 1801386000000);
    assert_int_equal(time_of("2027-01-31 11:00"), 1801386000000);
    assert_int_equal(time_of("2028-02-29T00:00:00Z"), 1835395200000);
    static const char *const wrong[] = {"",
                                        "now",
                                        "2027-02-29T00:00Z",
                                        "2027-13-01T00:00Z",
                                        "2027-01-31",
                                        "2027-1-31T09:00Z",
                                        "2027-01-31T24:00Z",
                                        "2027-01-31T09:60Z",
                                        "2027-01-31T09:00+2",
                                        "2027-01-31T09:00Zx",
                                        "2027-01-31T09:00:00.Z",
                                        "1969-12-31T23:59Z"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(time_of(wrong[i]), 0);
}

static struct cli_rate rate_of(const char *text) {
    const struct cli_row *row = command_option(command_named(STR("limit")), STR("rate"));
    struct cli_rate rate = {99, 99};
    struct err e = {0};
    if (cli_value(row, str_of(text), &rate, &e) < 0)
        return (struct cli_rate){77, 77};
    return rate;
}

static void test_rates(void **state) {
    static const struct {
        const char *text;
        struct cli_rate rate;
    } cases[] = {{"100/s", {100, 1000}}, {"30/m", {30, 60000}},   {"5/h", {5, 3600000}},
                 {"1/d", {1, 86400000}}, {"none", {0, 0}},        {"0", {0, 0}},
                 {"5", {77, 77}},        {"0/s", {77, 77}},       {"/s", {77, 77}},
                 {"5/", {77, 77}},       {"5/x", {77, 77}},       {"5/ss", {77, 77}},
                 {"-5/s", {77, 77}},     {"1000001/s", {77, 77}}, {"", {77, 77}}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_rate rate = rate_of(cases[i].text);
        assert_int_equal(rate.count, cases[i].rate.count);
        assert_int_equal(rate.per_ms, cases[i].rate.per_ms);
    }
}

/* ---- showing -------------------------------------------------------------------------------- */
static void assert_shown(struct buf *b, const char *wanted) {
    buf_putc(b, 0);
    assert_string_equal(b->at, wanted);
    buf_clear(b);
}

static void test_durations_and_sizes(void **state) {
    AUTO_BUF b = BUF(4096);
    static const struct {
        uint64_t value;
        const char *duration, *size;
    } cases[] = {{0, "0ms", "0B"},
                 {999, "999ms", "999B"},
                 {1024, "1.0s", "1.0KiB"},
                 {59999, "59s", "58.6KiB"},
                 {61000, "1m 1s", "59.6KiB"},
                 {7500000, "2h 5m", "7.2MiB"},
                 {273600000, "3d 4h", "260.9MiB"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        out_duration(&b, cases[i].value);
        assert_shown(&b, cases[i].duration);
        out_size(&b, cases[i].value);
        assert_shown(&b, cases[i].size);
    }
}

static void test_times_shown(void **state) {
    AUTO_BUF b = BUF(4096);
    (void)state;
    setenv("TZ", "IST-5:30", 1);
    tzset();
    out_time(&b, 1801386000250);
    assert_shown(&b, "2027-01-31T14:30:00.250+05:30");
    out_time_and_age(&b, 1801386000000, (struct wall){1801385940000});
    assert_shown(&b, "2027-01-31T14:30:00.000+05:30 (in 1m 0s)");
    out_time_and_age(&b, 1801386000000, (struct wall){1801386000012});
    assert_shown(&b, "2027-01-31T14:30:00.000+05:30 (12ms ago)");
    out_time(&b, UINT64_MAX);
    assert_shown(&b, "18446744073709551615ms");
    out_time_in(&b, 1801386000250, "Europe/Paris");
    assert_shown(&b, "2027-01-31T10:00:00.250+01:00");
    out_time_in(&b, 1816934400000, "Europe/Paris"); /* in summer */
    assert_shown(&b, "2027-07-30T10:00:00.000+02:00");
    out_time_in(&b, 1801386000250, "No/Such_Zone");
    assert_shown(&b, "2027-01-31T09:00:00.250+00:00");
    out_time(&b, 1801386000250); /* ours is as it was */
    assert_shown(&b, "2027-01-31T14:30:00.250+05:30");
}

static void test_nothing_reaches_the_terminal(void **state) {
    AUTO_BUF b = BUF(4096);
    (void)state;
    out_clean(&b, STR("a\033[31mb\nc\td\x7f grün \xc2\x9b"
                      "e"));
    assert_shown(&b, "a [31mb c d  grün  e");
    /* NOLINTNEXTLINE(misc-misleading-bidirectional): that is what is tried */
    out_clean(&b, STR("a\u202eb\u2069c\u2028d\u2025\u2070e\xe2\x80"));
    assert_shown(&b, "a b c d\u2025\u2070e\xe2\x80");
    out_clean_text(&b, STR("a\033[31mb\nc\td\x7f\xc2\x80\xc2\xa0\xc2"));
    assert_shown(&b, "a [31mb\nc\td  \xc2\xa0\xc2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_and_options_in_any_order),
        cmocka_unit_test(test_words_behind_dashes),
        cmocka_unit_test(test_lists_of_ids),
        cmocka_unit_test(test_commands_of_two_words),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_every_command_can_be_named),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_durations_and_sizes),
        cmocka_unit_test(test_times_shown),
        cmocka_unit_test(test_nothing_reaches_the_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

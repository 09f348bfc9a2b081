/* quern top: what is read from the broker's answers, and how it is laid out. */
#include "cli/top_page.h"
#include "cli/width.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- answers -------------------------------------------------------------------------------- */
struct scene {
    struct top_model model;
    json_t *view;
    struct top_page page;
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){.page = TOP_PAGE};
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    top_done(&s->model);
    top_page_done(&s->page);
    json_decref(s->view);
    return 0;
}

static json_t *rows(const char *text) {
    json_error_t why;
    json_t *json = json_loads(text, 0, &why);
    assert_non_null(json);
    return json;
}

static struct wall now_at(uint64_t ms) {
    return (struct wall){1800000000000 + ms};
}

static json_t *look(struct scene *s, uint64_t ms, enum top_sort sort) {
    top_taken(&s->model, (struct mono){ms});
    json_decref(s->view);
    s->view = top_view(&s->model, sort, now_at(ms));
    return s->view;
}

static void take(struct scene *s, enum top_part part, const char *text) {
    top_take(&s->model, part, rows(text));
}

static void take_broker(struct scene *s, uint64_t epoch, uint64_t submitted, uint64_t done) {
    char text[512];
    snprintf(
        text, sizeof text,
        "[{\"version\":\"1\",\"epoch\":%llu,\"uptime_ms\":5000,\"submitted\":%llu,"
        "\"done\":%llu,\"dead\":0,\"cancelled\":0,\"expired\":0,\"commits\":0,\"cpu_ms\":%llu}]",
        (unsigned long long)epoch, (unsigned long long)submitted, (unsigned long long)done,
        (unsigned long long)submitted);
    take(s, TOP_BROKER, text);
}

static const json_t *row_of(const json_t *view, enum top_part part, size_t i) {
    return json_array_get(json_object_get(view, top_part_names[part]), i);
}

static const json_t *rate_of(const json_t *view, const char *key) {
    return json_object_get(json_object_get(json_object_get(view, "broker"), "rates"), key);
}

static const char *trouble(const json_t *view, size_t i, const char *key) {
    return out_text(json_array_get(json_object_get(view, "trouble"), i), key);
}

/* ---- rates ---------------------------------------------------------------------------------- */
static void rates_lie_between_two_answers(void **state) {
    struct scene *s = *state;
    take_broker(s, 1, 100, 40);
    take(s, TOP_QUEUES, "[{\"name\":\"q\",\"ready\":1,\"entered\":10,\"ended\":4}]");
    json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    assert_null(rate_of(view, "submitted"));
    assert_null(json_object_get(row_of(view, TOP_QUEUES, 0), "in_rate"));

    take_broker(s, 1, 300, 50);
    take(s, TOP_QUEUES,
         "[{\"name\":\"q\",\"ready\":1,\"entered\":20,\"ended\":4},"
         "{\"name\":\"new\",\"entered\":6,\"ended\":2}]");
    view = look(s, 3000, TOP_BY_NAME);
    assert_int_equal(json_number_value(rate_of(view, "submitted")), 100);
    assert_int_equal(json_number_value(rate_of(view, "ended")), 5);
    assert_int_equal(json_number_value(rate_of(view, "cpu")) * 1000, 100);
    assert_null(rate_of(view, "stream_events")); /* an older broker says nothing of them */
    assert_string_equal(out_text(row_of(view, TOP_QUEUES, 0), "name"), "new");
    assert_int_equal(json_number_value(json_object_get(row_of(view, TOP_QUEUES, 0), "in_rate")), 3);
    assert_int_equal(json_number_value(json_object_get(row_of(view, TOP_QUEUES, 1), "in_rate")), 5);
    assert_int_equal(json_number_value(json_object_get(row_of(view, TOP_QUEUES, 1), "out_rate")),
                     0);
}

static void rates_are_those_of_the_last_seconds(void **state) {
    struct scene *s = *state;
    uint64_t submitted = 0;
    for (uint64_t ms = 0; ms <= 60000; ms += 250) {
        submitted += ms > 40000 ? 25 : 1000;
        take_broker(s, 1, submitted, 0);
        look(s, ms, TOP_BY_TROUBLE);
    }
    assert_int_equal(json_number_value(rate_of(s->view, "submitted")), 100);
    assert_int_equal(s->model.n_samples, TOP_SAMPLES);
}

static void another_life_of_the_broker_counts_anew(void **state) {
    struct scene *s = *state;
    take_broker(s, 1, 1000, 900);
    look(s, 1000, TOP_BY_TROUBLE);
    take_broker(s, 2, 5, 0);
    assert_null(rate_of(look(s, 2000, TOP_BY_TROUBLE), "submitted"));
    take_broker(s, 2, 15, 0);
    assert_int_equal(json_number_value(rate_of(look(s, 4000, TOP_BY_TROUBLE), "submitted")), 5);
}

static void a_queue_that_was_forgotten_has_no_rate_for_once(void **state) {
    struct scene *s = *state;
    take_broker(s, 1, 0, 0);
    take(s, TOP_QUEUES, "[{\"name\":\"q\",\"entered\":100,\"ended\":100}]");
    look(s, 1000, TOP_BY_TROUBLE);
    take(s, TOP_QUEUES, "[{\"name\":\"q\",\"entered\":3,\"ended\":0}]");
    json_t *view = look(s, 2000, TOP_BY_TROUBLE);
    assert_null(json_object_get(row_of(view, TOP_QUEUES, 0), "in_rate"));
}

/* ---- trouble -------------------------------------------------------------------------------- */
static const char queues[] =
    "[{\"name\":\"fine\",\"ready\":5,\"running\":2,\"oldest_ms\":20},"
    "{\"name\":\"slow\",\"ready\":9,\"running\":1,\"oldest_ms\":30000},"
    "{\"name\":\"held\",\"ready\":2,\"running\":0,\"oldest_ms\":500,\"paused\":true},"
    "{\"name\":\"stuck\",\"ready\":1,\"running\":0,\"oldest_ms\":70000},"
    "{\"name\":\"meant\",\"ready\":7,\"running\":4,\"concurrency\":4,\"oldest_ms\":90000},"
    "{\"name\":\"empty\",\"ready\":0,\"running\":0,\"oldest_ms\":0,\"paused\":true}]";

static void the_worst_stands_first(void **state) {
    struct scene *s = *state;
    static const struct {
        const char *name, *level, *state;
    } expected[] = {{"stuck", "bad", "stands still"},  {"held", "bad", "paused"},
                    {"meant", "warn", "at its limit"}, {"slow", "warn", "behind"},
                    {"empty", "warn", "paused"},       {"fine", "", ""}};
    take_broker(s, 1, 0, 0);
    take(s, TOP_QUEUES, queues);
    const json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const json_t *row = row_of(view, TOP_QUEUES, i);
        assert_string_equal(out_text(row, "name"), expected[i].name);
        assert_string_equal(out_text(row, "level"), expected[i].level);
        assert_string_equal(out_text(row, "trouble"), expected[i].state);
    }
    assert_int_equal(out_field(view, "troubles"), 5);
    assert_string_equal(trouble(view, 0, "name"), "stuck");
    assert_string_equal(trouble(view, 0, "text"), "stands still; 1 ready, the oldest since 1m 10s");
    assert_string_equal(trouble(view, 1, "text"), "paused; 2 ready, the oldest since 500ms");
    assert_string_equal(trouble(view, 4, "text"), "paused");
}

static void queues_are_sorted_as_asked(void **state) {
    struct scene *s = *state;
    static const char *const firsts[TOP_SORTS] = {"stuck", "slow", "meant", "fine", "empty"};
    static const char with_rates[] = "[{\"name\":\"fine\",\"entered\":90,\"ended\":70}]";
    for (enum top_sort sort = 0; sort < TOP_SORTS; sort++) {
        take_broker(s, 1, 0, 0);
        take(s, TOP_QUEUES, with_rates);
        look(s, 1000, sort);
        json_t *more = rows(queues);
        json_object_set_new(json_array_get(more, 0), "entered", json_integer(99));
        json_object_set_new(json_array_get(more, 0), "ended", json_integer(99));
        top_take(&s->model, TOP_QUEUES, more);
        const json_t *view = look(s, 5000, sort);
        assert_string_equal(out_text(row_of(view, TOP_QUEUES, 0), "name"), firsts[sort]);
        top_done(&s->model);
    }
}

static void pools_workers_groups_and_schedules_are_judged(void **state) {
    struct scene *s = *state;
    take_broker(s, 1, 0, 0);
    take(s, TOP_POOLS,
         "[{\"name\":\"well\",\"processes\":2,\"alive\":2},"
         "{\"name\":\"gone\",\"processes\":2,\"alive\":0,\"text\":\"exit 1\"}]");
    take(s, TOP_WORKERS,
         "[{\"instance\":\"aa\",\"name\":\"w\",\"pool\":\"well\",\"state\":\"active\","
         "\"rss_bytes\":100},{\"instance\":\"bb\",\"name\":\"w\",\"pool\":\"well\","
         "\"state\":\"stuck\",\"rss_bytes\":50,\"pid\":7,\"host\":\"h\"}]");
    take(s, TOP_DEAD,
         "[{\"group\":\"1\",\"id\":\"x\",\"kind\":\"old\",\"count\":3,"
         "\"last_ms\":1799999000000},{\"group\":\"2\",\"id\":\"y\",\"kind\":\"k\","
         "\"count\":1,\"error\":\"E\",\"text\":\"t\",\"last_ms\":1799999999000}]");
    take(s, TOP_SCHEDULES,
         "[{\"name\":\"a\",\"next_ms\":1800000009000},{\"name\":\"b\","
         "\"next_ms\":1800000005000,\"text\":\"no kind\"},"
         "{\"name\":\"never\",\"paused\":true}]");
    const json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    assert_string_equal(trouble(view, 0, "text"), "0 of 2 processes are there: exit 1");
    assert_string_equal(trouble(view, 1, "text"),
                        "stuck: a job does not obey its cancel or timeout (pid 7 on h)");
    assert_string_equal(trouble(view, 2, "text"), "1 dead, the last 2.0s ago: E: t");
    assert_string_equal(trouble(view, 3, "text"), "its last run was refused: no kind");
    assert_int_equal(out_field(view, "troubles"), 4);
    assert_string_equal(out_text(row_of(view, TOP_POOLS, 0), "name"), "gone");
    assert_int_equal(out_field(row_of(view, TOP_POOLS, 1), "rss_bytes"), 150);
    assert_string_equal(out_text(row_of(view, TOP_WORKERS, 0), "instance"), "bb");
    assert_string_equal(out_text(row_of(view, TOP_DEAD, 0), "kind"), "k");
    assert_string_equal(out_text(row_of(view, TOP_SCHEDULES, 0), "name"), "b");
    assert_int_equal(out_field(row_of(view, TOP_SCHEDULES, 0), "next_in_ms"), 4000);
    assert_string_equal(out_text(row_of(view, TOP_SCHEDULES, 2), "name"), "never");
}

static void a_broker_that_refuses_says_why(void **state) {
    struct scene *s = *state;
    take(s, TOP_BROKER, "[{\"epoch\":1,\"full\":true,\"text\":\"no space\"}]");
    const json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    assert_string_equal(out_text(json_object_get(view, "broker"), "state"), "full");
    assert_string_equal(trouble(view, 0, "text"), "full: new jobs are refused: no space");
    take(s, TOP_BROKER, "[{\"epoch\":1,\"full\":true,\"read_only\":true}]");
    view = look(s, 2000, TOP_BY_TROUBLE);
    assert_string_equal(out_text(json_object_get(view, "broker"), "state"), "read_only");
    take(s, TOP_BROKER, "[{\"epoch\":1}]");
    view = look(s, 3000, TOP_BY_TROUBLE);
    assert_string_equal(out_text(json_object_get(view, "broker"), "state"), "serving");
    assert_int_equal(out_field(view, "troubles"), 0);
}

static void troubles_without_end_are_counted(void **state) {
    struct scene *s = *state;
    take_broker(s, 1, 0, 0);
    json_t *many = json_array();
    for (int i = 0; i < 500; i++)
        json_array_append_new(many, json_pack("{s:s, s:b, s:i, s:i}", "name", "q", "paused", 1,
                                              "ready", i + 1, "oldest_ms", i));
    top_take(&s->model, TOP_QUEUES, many);
    const json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    assert_int_equal(out_field(view, "troubles"), 500);
    assert_int_equal(json_array_size(json_object_get(view, "trouble")), TOP_TROUBLES);
    assert_string_equal(trouble(view, 0, "text"), "paused; 500 ready, the oldest since 499ms");
}

/* ---- width ---------------------------------------------------------------------------------- */
static void expect_put(const char *text, size_t columns, bool utf8, const char *expected) {
    AUTO_BUF out = BUF(4096);
    size_t width = width_put(&out, str_of(text), columns, utf8);
    assert_true(width <= columns);
    assert_int_equal(width_of(buf_str(&out), utf8), width);
    buf_putc(&out, '\0');
    assert_string_equal(out.at, expected);
}

static void text_is_harmless_and_as_wide_as_it_says(void **state) {
    (void)state;
    expect_put("plain", 9, true, "plain");
    expect_put("plain", 5, true, "plain");
    expect_put("plain", 4, true, "pla\xe2\x80\xa6");
    expect_put("plain", 4, false, "pla~");
    expect_put("plain", 0, true, "");
    expect_put("a\033[31mb\tc\n", 20, true, "a [31mb c ");
    expect_put("\xc2\x9b"
               "2J\x7f",
               20, true, " 2J ");
    expect_put("\xe6\xbc\xa2\xe5\xad\x97", 4, true, "\xe6\xbc\xa2\xe5\xad\x97");
    expect_put("\xe6\xbc\xa2\xe5\xad\x97", 3, true, "\xe6\xbc\xa2\xe2\x80\xa6");
    expect_put("\xe6\xbc\xa2\xe5\xad\x97", 2, true, "\xe2\x80\xa6");
    expect_put("\xe6\xbc\xa2\xe5\xad\x97", 4, false, "??");
    expect_put("e\xcc\x81\xcc\x81\xcc\x81\xcc\x81x", 9, true, "e\xcc\x81\xcc\x81x");
    expect_put("\xcc\x81x", 9, true, "x");
    /* NOLINTNEXTLINE(misc-misleading-bidirectional): that is what is tried */
    expect_put("a\xe2\x80\xae\x62\xef\xbb\xbf", 9, true, "ab"); /* right to left; a mark of order */
    expect_put("\xff\xfe\xc0\x80", 9, true, "????");
    expect_put("\xe6\xbc", 9, true, "??");
    AUTO_BUF out = BUF(64);
    width_pad(&out, STR("\xe6\xbc\xa2"), 5, true, true);
    assert_true(str_eq(buf_str(&out), STR("   \xe6\xbc\xa2")));
}

static void counts_are_short(void **state) {
    (void)state;
    static const struct {
        uint64_t n;
        const char *text;
    } counts[] = {{0, "0"},           {99999, "99999"},         {100000, "100k"},
                  {999999, "999k"},   {1000000, "1.0M"},        {123456789, "123M"},
                  {UINT64_MAX, NULL}, {12345678901ULL, "12.3G"}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        AUTO_BUF out = BUF(64);
        top_put_count(&out, counts[i].n);
        buf_putc(&out, '\0');
        if (counts[i].text)
            assert_string_equal(out.at, counts[i].text);
    }
}

/* ---- the page ------------------------------------------------------------------------------- */
static void take_all(struct scene *s) {
    take(s, TOP_BROKER,
         "[{\"version\":\"0.1.0\",\"epoch\":3,\"uptime_ms\":7500000,\"ready\":1204,\"running\":16,"
         "\"submitted\":5,\"rss_bytes\":25000000,\"streams\":2,\"stream_events\":4,\"cpu_ms\":1}]");
    take(s, TOP_QUEUES, queues);
    take(s, TOP_POOLS,
         "[{\"name\":\"default\",\"processes\":4,\"alive\":2,\"slots\":8,\"held\":8,"
         "\"text\":\"\\u001b[2J\xe6\xbc\xa2\xe5\xad\x97 went\\nwrong\"}]");
    take(s, TOP_WORKERS,
         "[{\"instance\":\"0123456789abcdef0123456789abcdef\",\"state\":\"active\","
         "\"pool\":\"default\",\"host\":\"h\",\"slots\":4,\"held\":1}]");
    take(s, TOP_RUNNING,
         "[{\"id\":\"0000c00000007\",\"kind\":\"\xe6\xbc\xa2\xe5\xad\x97k\","
         "\"queue\":\"q\",\"started_ms\":1800000000500,\"progress\":5,"
         "\"progress_total\":10,\"worker\":\"quern-worker h 7\"}]");
    take(s, TOP_DEAD,
         /* NOLINTNEXTLINE(misc-misleading-bidirectional): that is what is tried */
         "[{\"group\":\"1\",\"kind\":\"fail\",\"count\":12345678,\"error\":\"FAILED\","
         "\"text\":\"a\\tb\\u0007 e\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xe2\x80\xae\"}]");
    take(s, TOP_SCHEDULES, "[{\"name\":\"nightly\",\"kind\":\"k\",\"next_ms\":1800000050000}]");
}

static void check_page(const struct top_page *p, const struct top_ui *ui) {
    assert_true(p->n <= ui->size.rows);
    for (size_t i = 0; i < p->n; i++) {
        struct str line = top_page_line(p, i);
        assert_true(width_of(line, ui->utf8) <= ui->size.columns);
        for (size_t k = 0; k < line.len; k++)
            assert_true((unsigned char)line.at[k] >= 0x20 && line.at[k] != 0x7f);
        assert_true(str_is_utf8(line));
    }
}

static bool has_line(const struct top_page *p, const char *words) {
    for (size_t i = 0; i < p->n; i++) {
        char line[1024];
        snprintf(line, sizeof line, STR_FMT, STR_ARG(top_page_line(p, i)));
        if (strstr(line, words))
            return true;
    }
    return false;
}

static void a_page_fits_every_screen(void **state) {
    struct scene *s = *state;
    take_all(s);
    json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    for (size_t rows = 1; rows <= 70; rows += rows < 30 ? 1 : 13)
        for (size_t columns = 1; columns <= 210; columns += columns < 50 ? 1 : 17)
            for (enum top_part focus = TOP_QUEUES; focus < TOP_PARTS; focus++) {
                struct top_ui ui = {.focus = focus,
                                    .cursor = true,
                                    .interval_ms = 1000,
                                    .row = {[TOP_QUEUES] = columns % 9},
                                    .size = {rows, columns},
                                    .utf8 = rows % 2,
                                    .lost_ms = columns % 3 * 12000};
                top_page_make(&s->page, view, &ui);
                check_page(&s->page, &ui);
                assert_true(ui.row[TOP_QUEUES] < 6 && ui.first[TOP_QUEUES] <= ui.row[TOP_QUEUES]);
                size_t first = 99;
                top_page_text(&s->page, "a title", STR("one\n\033two\n\xe6\xbc\xa2\nfour"), &first,
                              &ui);
                check_page(&s->page, &ui);
                assert_true(first < 4);
            }
}

static void the_first_glance_tells_what_is_wrong(void **state) {
    struct scene *s = *state;
    take_all(s);
    json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    struct top_ui ui = {
        .focus = TOP_QUEUES, .cursor = true, .interval_ms = 1000, .size = {24, 80}, .utf8 = true};
    top_page_make(&s->page, view, &ui);
    assert_int_equal(s->page.n, 24);
    assert_true(has_line(&s->page, "quern: serving  up 2h 5m  epoch 3"));
    assert_true(has_line(&s->page, "ready 1204  running 16"));
    assert_true(has_line(&s->page, "! pool default: 2 of 4 processes are there:  [2J"));
    assert_true(has_line(&s->page, "! stuck"));
    assert_true(has_line(&s->page, "50%"));
    assert_true(has_line(&s->page, "q quit"));
    assert_true(has_line(&s->page, "row 1 of 6"));
    ui.lost_ms = 12400;
    top_page_make(&s->page, view, &ui);
    assert_true(has_line(&s->page, "cannot reach the broker since 12s, trying"));
    ui.size = (struct out_size){5, 20};
    ui.lost_ms = 0;
    top_page_make(&s->page, view, &ui);
    assert_true(has_line(&s->page, "quern: serving"));
    assert_true(has_line(&s->page, "! (1 of 6) pool"));
    assert_true(has_line(&s->page, "stuck"));
}

static void the_cursor_is_always_seen(void **state) {
    struct scene *s = *state;
    take_all(s);
    json_t *view = look(s, 1000, TOP_BY_TROUBLE);
    struct top_ui ui = {.focus = TOP_QUEUES, .cursor = true, .size = {9, 40}, .utf8 = true};
    for (size_t row = 0; row < 6; row++) {
        ui.row[TOP_QUEUES] = row;
        top_page_make(&s->page, view, &ui);
        size_t seen = 0;
        for (size_t i = 0; i < s->page.n; i++)
            seen += s->page.lines[i].style == TOP_CURSOR;
        assert_int_equal(seen, 1);
    }
    /* Nothing to look at has no cursor, and is no trouble. */
    take(s, TOP_QUEUES, "[]");
    view = look(s, 2000, TOP_BY_TROUBLE);
    top_page_make(&s->page, view, &ui);
    assert_true(has_line(&s->page, "no queues"));
}

static void room_is_shared_by_need(void **state) {
    (void)state;
    size_t lines[TOP_PARTS], want[TOP_PARTS] = {0, 100, 3, 50, 50, 3, 0};
    for (size_t room = 0; room < 250; room++) {
        size_t sum = 0;
        top_share(lines, want, TOP_WORKERS, room);
        for (size_t i = 0; i < TOP_PARTS; i++) {
            assert_true(lines[i] <= want[i]);
            assert_true(lines[i] != 1 || room == 1);
            sum += lines[i];
        }
        assert_int_equal(sum, room < 206 ? room : 206);
        assert_true(room < 2 || lines[TOP_WORKERS] >= 2);
    }
    top_share(lines, want, TOP_WORKERS, 42);
    assert_true(lines[TOP_WORKERS] > lines[TOP_QUEUES]);
}

int main(void) {
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rates_lie_between_two_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rates_are_those_of_the_last_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_life_of_the_broker_counts_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_queue_that_was_forgotten_has_no_rate_for_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_worst_stands_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(queues_are_sorted_as_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pools_workers_groups_and_schedules_are_judged, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_refuses_says_why, set_up, tear_down),
        cmocka_unit_test_setup_teardown(troubles_without_end_are_counted, set_up, tear_down),
        cmocka_unit_test(text_is_harmless_and_as_wide_as_it_says),
        cmocka_unit_test(counts_are_short),
        cmocka_unit_test_setup_teardown(a_page_fits_every_screen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_glance_tells_what_is_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_cursor_is_always_seen, set_up, tear_down),
        cmocka_unit_test(room_is_shared_by_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

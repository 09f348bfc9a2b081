/* The pages for monitoring as text: form, order, escapes, and the reference page. */
#include "broker/metrics.h"
#include "tests/support/metrics_doc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void page_of(const struct ops_snapshot *s, struct buf *out) {
    *out = BUF(METRICS_PAGE_MAX);
    metrics_write(out, s);
    assert_false(out->failed);
    assert_int_equal(buf_putc(out, '\0'), 0);
}

static struct ops_snapshot snapshot(void) {
    struct ops_snapshot s = {.state = OPS_SERVING, .version = "1.2", .epoch = 7, .uptime_ms = 1500};
    return s;
}

static void has(const char *page, const char *line) {
    if (!strstr(page, line))
        fail_msg("not in the page: %s", line);
}

static void a_label_is_escaped(void **state) {
    (void)state;
    AUTO_BUF out = BUF(64);
    metrics_escape(&out, STR("a\\b\"c\nd"));
    assert_true(str_eq(buf_str(&out), STR("a\\\\b\\\"c\\nd")));
}

static void times_are_seconds_without_a_locale(void **state) {
    (void)state;
    struct ops_snapshot s = snapshot();
    AUTO_BUF page;
    page_of(&s, &page);
    has(page.at, "\nquern_uptime_seconds 1.5\n");
    has(page.at, "\nquern_build_info{version=\"1.2\"} 1\n");
    buf_destroy(&page);
    s.uptime_ms = 20;
    page_of(&s, &page);
    has(page.at, "\nquern_uptime_seconds 0.02\n");
}

/* Samples of a name stand behind its HELP and TYPE, each name once, in the order of the table. */
static void names_come_in_the_order_of_the_table(void **state) {
    (void)state;
    struct ops_snapshot s = snapshot();
    AUTO_BUF page;
    page_of(&s, &page);
    const char *at = page.at;
    for (const struct metric_row *r = metric_rows(); r->name; r++) {
        char head[256];
        snprintf(head, sizeof head, "# HELP " METRICS_PREFIX "%s ", r->name);
        assert_true(str_starts(str_of(at), str_of(head)));
        at = strchr(at, '\n') + 1;
        snprintf(head, sizeof head, "# TYPE " METRICS_PREFIX "%s %s\n", r->name, r->type);
        assert_true(str_starts(str_of(at), str_of(head)));
        at = strchr(at, '\n') + 1;
        snprintf(head, sizeof head, METRICS_PREFIX "%s", r->name);
        while (*at && *at != '#') {
            assert_true(str_starts(str_of(at), str_of(head)));
            at = strchr(at, '\n') + 1;
        }
    }
    assert_int_equal(*at, '\0');
}

static void buckets_add_up(void **state) {
    (void)state;
    struct ops_snapshot s = snapshot();
    s.figures.n_kinds = 1;
    snprintf(s.figures.kinds[0].kind, sizeof s.figures.kinds[0].kind, "echo");
    histogram_add(&s.figures.kinds[0].wait, 0);
    histogram_add(&s.figures.kinds[0].wait, 100);
    histogram_add(&s.figures.kinds[0].wait, 101);
    histogram_add(&s.figures.kinds[0].wait, 300000001);
    AUTO_BUF page;
    page_of(&s, &page);
    has(page.at, "quern_job_wait_seconds_bucket{kind=\"echo\",le=\"0.0001\"} 2\n"
                 "quern_job_wait_seconds_bucket{kind=\"echo\",le=\"0.0005\"} 3\n");
    has(page.at, "quern_job_wait_seconds_bucket{kind=\"echo\",le=\"300\"} 3\n"
                 "quern_job_wait_seconds_bucket{kind=\"echo\",le=\"+Inf\"} 4\n"
                 "quern_job_wait_seconds_sum{kind=\"echo\"} 300.000202\n"
                 "quern_job_wait_seconds_count{kind=\"echo\"} 4\n");
}

static void the_state_is_one_of_its_words(void **state) {
    (void)state;
    struct ops_snapshot s = snapshot();
    s.state = OPS_FULL;
    s.journal.room = JOURNAL_RESERVE;
    AUTO_BUF page;
    page_of(&s, &page);
    has(page.at, "quern_state{state=\"serving\"} 0\nquern_state{state=\"full\"} 1\n");
    has(page.at, "quern_journal_room{room=\"enough\"} 0\nquern_journal_room{room=\"reserve\"} 1\n");
}

static void health_is_json_whatever_the_text(void **state) {
    (void)state;
    struct ops_snapshot s = snapshot();
    snprintf(s.trouble, sizeof s.trouble, "\"a\\b\"\n\xff");
    AUTO_BUF out = BUF(4096);
    health_write(&out, &s);
    buf_putc(&out, '\0');
    has(out.at, "{\"state\": \"serving\", \"version\": \"1.2\", \"epoch\": 7, ");
    has(out.at, "\"trouble\": \"\\u0022a\\u005cb\\u0022\\u000a?\"}\n");
}

static void the_largest_page_fits(void **state) {
    (void)state;
    static struct ops_snapshot s;
    s = snapshot();
    s.figures.n_kinds = CORE_KINDS_SHOWN + 1;
    s.figures.n_queues = CORE_QUEUES_SHOWN + 1;
    for (uint32_t i = 0; i < s.figures.n_kinds; i++)
        memset(s.figures.kinds[i].kind, 'k', CORE_NAME_MAX);
    for (uint32_t i = 0; i < s.figures.n_queues; i++)
        memset(s.figures.queues[i].queue, 'q', CORE_NAME_MAX);
    memset(&s.core, 0xff, sizeof s.core);
    AUTO_BUF page;
    page_of(&s, &page);
    assert_true(page.len < METRICS_PAGE_MAX / 2);
}

static void the_committed_page_is_that_of_the_table(void **state) {
    (void)state;
    AUTO_BUF wanted = BUF(METRICS_DOC_MAX);
    metrics_doc_write(&wanted);
    assert_false(wanted.failed);
    FILE *file = fopen(QUERN_SOURCE_DIR "/docs/metrics.md", "rb");
    assert_non_null(file);
    AUTO_BUF committed = BUF(METRICS_DOC_MAX);
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;)
        assert_int_equal(buf_put(&committed, part, n), 0);
    fclose(file);
    if (!str_eq(buf_str(&wanted), buf_str(&committed)))
        fail_msg("docs/metrics.md differs from schemas/metrics.def. Regenerate it:\n"
                 "    %s/metrics_doc > docs/metrics.md",
                 QUERN_BIN_DIR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_label_is_escaped),
        cmocka_unit_test(times_are_seconds_without_a_locale),
        cmocka_unit_test(names_come_in_the_order_of_the_table),
        cmocka_unit_test(buckets_add_up),
        cmocka_unit_test(the_state_is_one_of_its_words),
        cmocka_unit_test(health_is_json_whatever_the_text),
        cmocka_unit_test(the_largest_page_fits),
        cmocka_unit_test(the_committed_page_is_that_of_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

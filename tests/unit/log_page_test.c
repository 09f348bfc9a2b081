/* The table of log events, and the page that is made of it. */
#include "common/log/log.h"
#include "tests/support/log_doc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void the_page_is_up_to_date(void **state) {
    (void)state;
    AUTO_BUF page = BUF(LOG_DOC_MAX);
    log_doc_write(&page);
    static char text[LOG_DOC_MAX];
    FILE *f = fopen(QUERN_SOURCE_DIR "/docs/log_events.md", "re");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    if (!str_eq(str_make(text, n), buf_str(&page)))
        fail_msg("docs/log_events.md is not what the table says: " QUERN_BIN_DIR
                 "/log_doc > docs/log_events.md");
}

static bool is_event_name(const char *name) {
    size_t dots = 0;
    for (const char *c = name; *c; c++) {
        dots += *c == '.';
        if (*c != '.' && *c != '_' && (*c < 'a' || *c > 'z'))
            return false;
    }
    return dots == 1 && name[0] != '.' && name[strlen(name) - 1] != '.';
}

/* Names are ids: none twice, none that was retired. */
static void names(void **state) {
    (void)state;
    static const char *const retired[] = {
#define LOG_EVENT(id, name, level, per_second, text, advice)
#define LOG_RETIRED(name) name,
#include "schemas/log_events.def"
#undef LOG_EVENT
        NULL};
    for (int a = 0; a < LOG_EVENTS; a++) {
        const struct log_row *r = log_row((enum log_id)a);
        assert_true(is_event_name(r->name));
        assert_true(*r->text && *r->advice);
        for (int b = 0; b < a; b++)
            assert_string_not_equal(r->name, log_event_name((enum log_id)b));
        for (size_t b = 0; retired[b]; b++)
            assert_string_not_equal(r->name, retired[b]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_up_to_date),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

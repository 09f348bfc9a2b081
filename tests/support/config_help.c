#include "tests/support/config_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void print_errors(const struct err_list *errors) {
    for (size_t i = 0; i < errors->count; i++)
        print_message("%s\n", errors->at[i].text);
}

struct settings *config_good(const char *yaml, char *const *envp) {
    struct settings *s;
    struct err_list errors = {0};
    int rc = settings_parse(str_of(yaml), "q.yaml", envp, &s, &errors);
    print_errors(&errors);
    assert_int_equal(rc, 0);
    assert_non_null(s);
    assert_int_equal(errors.count, 0);
    return s;
}

void config_refused(const char *yaml, char *const *envp, const char *const *expected) {
    struct settings *s;
    struct err_list errors = {0};
    size_t n = 0;
    while (expected[n])
        n++;
    int rc = settings_parse(str_of(yaml), "q.yaml", envp, &s, &errors);
    assert_int_equal(rc, -1);
    assert_null(s);
    if (errors.count != n)
        print_errors(&errors);
    for (size_t i = 0; i < n && i < errors.count; i++)
        assert_string_equal(errors.at[i].text, expected[i]);
    assert_int_equal(errors.count, n);
}

void config_expect(const struct settings *s, enum setting id, size_t entry, const char *text) {
    AUTO_BUF shown = BUF(SETTINGS_VALUE_MAX);
    assert_int_equal(settings_show(s, id, entry, &shown), 0);
    buf_putc(&shown, '\0');
    assert_string_equal(shown.at, text);
}

void config_read_file(const char *path, struct buf *out) {
    FILE *file = fopen(path, "re");
    if (!file)
        fail_msg("%s cannot be opened", path);
    char piece[4096];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, file)) > 0)
        buf_put(out, piece, n);
    fclose(file);
    assert_false(out->failed);
}

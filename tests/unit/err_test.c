#include "common/base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_set_error_carries_code_class_and_text(void **state) {
    (void)state;
    struct err e = {.retry_after_ms = 7};
    assert_int_equal(err_set(&e, ERR_BUSY, "queue %s: %d wait", "chat", 5), -1);
    assert_int_equal(e.code, ERR_BUSY);
    assert_int_equal(e.class, ERR_CLASS_TEMP);
    assert_int_equal(e.retry_after_ms, 0);
    assert_string_equal(e.text, "queue chat: 5 wait");
    err_clear(&e);
    assert_int_equal(e.code, ERR_OK);
    assert_int_equal(e.class, ERR_CLASS_NONE);
    assert_string_equal(e.text, "");
}

static void nobody_needs_to_listen(void **state) {
    (void)state;
    assert_int_equal(err_set(NULL, ERR_BUSY, "x"), -1);
    assert_int_equal(err_errno(NULL, "x"), -1);
    assert_int_equal(err_add(NULL, "x"), -1);
    err_clear(NULL);
}

static void clauses_go_in_front(void **state) {
    (void)state;
    struct err e;
    err_set(&e, ERR_CORRUPT, "offset %d", 9);
    assert_int_equal(err_add(&e, "segment %d", 3), -1);
    err_add(&e, "recovering");
    assert_string_equal(e.text, "recovering: segment 3: offset 9");
    assert_int_equal(e.code, ERR_CORRUPT);
}

static void errno_is_read_once_and_mapped(void **state) {
    (void)state;
    struct err e;
    errno = ENOENT;
    assert_int_equal(err_errno(&e, "%s", "a.seg"), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.text, "a.seg: No such file or directory");
    errno = ENOSPC;
    err_errno(&e, "a.seg");
    assert_int_equal(e.code, ERR_DISK_FULL);
}

static void fill_text(struct err *e, char with, size_t n) {
    char text[ERR_TEXT_MAX * 2];
    memset(text, with, sizeof text);
    err_set(e, ERR_IO, "%.*s", (int)n, text);
}

static void long_texts_are_cut(void **state) {
    (void)state;
    struct err e;
    fill_text(&e, 'x', ERR_TEXT_MAX - 1);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    fill_text(&e, 'x', ERR_TEXT_MAX);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    err_add(&e, "front");
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    assert_memory_equal(e.text, "front: xxx", 10);
    errno = EIO;
    fill_text(&e, 'y', ERR_TEXT_MAX - 10);
    struct err whole = e;
    err_errno(&e, "%s", whole.text);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
}

/* Texts travel in messages, which hold UTF-8 only: whatever was quoted, the text is. */
static void texts_are_utf8_wherever_they_are_cut(void **state) {
    (void)state;
    struct err e;
    for (size_t n = ERR_TEXT_MAX - 8; n < ERR_TEXT_MAX + 8; n++) {
        char text[ERR_TEXT_MAX * 2];
        memset(text, 'x', n);
        memcpy(text + n, "\xF0\x9F\x8C\xBE\xC3\xA9", 7);
        err_set(&e, ERR_IO, "%s", text);
        assert_true(str_is_utf8(str_of(e.text)));
        err_add(&e, "\xC3\xA9");
        assert_true(str_is_utf8(str_of(e.text)));
        errno = EIO;
        err_errno(&e, "%s", text);
        assert_true(str_is_utf8(str_of(e.text)));
    }
    err_set(&e, ERR_IO, "caf\xE9 \xF0\x9F\x8C z");
    assert_true(str_is_utf8(str_of(e.text)));
    assert_string_equal(e.text, "caf? ??? z");
    err_set(&e, ERR_IO, "caf\xC3\xA9");
    assert_string_equal(e.text, "caf\xC3\xA9");
}

static const struct known {
    enum err_code code;
    const char *name;
} known[] = {
#define ERROR(code, number, class, exit, text) {ERR_##code, #code},
#include "schemas/errors.def"
#undef ERROR
};

static void every_row_can_be_looked_up(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        enum err_code code;
        assert_string_equal(err_code_name(known[i].code), known[i].name);
        assert_true(err_code_from_name(str_of(known[i].name), &code));
        assert_int_equal(code, known[i].code);
        assert_true(err_code_known(known[i].code));
        assert_true(strlen(err_code_text(code)) > 0);
        assert_in_range(err_code_exit(code), 0, 5);
        assert_true(strlen(err_class_name(err_code_class(code))) >= 3);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(known[j].code, known[i].code);
    }
}

static void unknown_codes_are_bugs(void **state) {
    (void)state;
    enum err_code code = ERR_OK;
    assert_false(err_code_known(9999));
    assert_false(err_code_known(UINT64_MAX));
    assert_false(err_code_known((1ULL << 32) + ERR_BUSY));
    assert_int_equal(err_code_class((enum err_code)9999), ERR_CLASS_BUG);
    assert_string_equal(err_code_name((enum err_code)9999), "INTERNAL");
    assert_false(err_code_from_name(STR("busy"), &code));
    assert_false(err_code_from_name(STR(""), &code));
    assert_false(err_code_from_name(STR("BUSYX"), &code));
    assert_int_equal(code, ERR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_error_carries_code_class_and_text),
        cmocka_unit_test(nobody_needs_to_listen),
        cmocka_unit_test(clauses_go_in_front),
        cmocka_unit_test(errno_is_read_once_and_mapped),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(texts_are_utf8_wherever_they_are_cut),
        cmocka_unit_test(every_row_can_be_looked_up),
        cmocka_unit_test(unknown_codes_are_bugs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

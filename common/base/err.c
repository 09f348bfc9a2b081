#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct row {
    enum err_code code;
    enum err_class class;
    int exit;
    const char *name, *text;
} rows[] = {
#define ERROR(code, number, class, exit, text) {ERR_##code, ERR_CLASS_##class, exit, #code, text},
#include "schemas/errors.def"
#undef ERROR
};

static const struct row *row_of(uint64_t number) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((uint64_t)rows[i].code == number)
            return &rows[i];
    return NULL;
}

static const struct row *row_or_internal(enum err_code code) {
    const struct row *row = row_of((uint64_t)code);
    return row ? row : row_of(ERR_INTERNAL);
}

/* Texts travel in messages, which hold UTF-8 only: what is not becomes '?', whether it was quoted
 * so or cut in the middle of a character. */
static void make_utf8(char *text) {
    size_t len = strlen(text);
    for (size_t i = 0, n; i < len; i += n) {
        for (n = 1; n < 4 && i + n < len && !str_is_utf8(str_make(text + i, n)); n++)
            continue;
        if (!str_is_utf8(str_make(text + i, n))) {
            text[i] = '?';
            n = 1;
        }
    }
}

static void fill(struct err *e, enum err_code code, const char *fmt, va_list ap) {
    e->code = code;
    e->class = err_code_class(code);
    e->retry_after_ms = 0;
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    make_utf8(e->text);
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...) {
    if (!e)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    fill(e, code, fmt, ap);
    va_end(ap);
    return -1;
}

int err_errno(struct err *e, const char *fmt, ...) {
    if (!e)
        return -1;
    int saved = errno;
    char reason[96];
    va_list ap;
    va_start(ap, fmt);
    fill(e, saved == ENOSPC ? ERR_DISK_FULL : ERR_IO, fmt, ap);
    va_end(ap);
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, ": %s",
             strerror_r(saved, reason, sizeof reason));
    make_utf8(e->text);
    return -1;
}

int err_add(struct err *e, const char *fmt, ...) {
    if (!e)
        return -1;
    char old[ERR_TEXT_MAX];
    memcpy(old, e->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, ": %s", old);
    make_utf8(e->text);
    return -1;
}

void err_clear(struct err *e) {
    if (e)
        *e = (struct err){0};
}

const char *err_code_name(enum err_code code) {
    return row_or_internal(code)->name;
}

const char *err_code_text(enum err_code code) {
    return row_or_internal(code)->text;
}

enum err_class err_code_class(enum err_code code) {
    return row_or_internal(code)->class;
}

int err_code_exit(enum err_code code) {
    return row_or_internal(code)->exit;
}

const char *err_class_name(enum err_class class) {
    static const char *const names[] = {"none", "temp", "perm", "hold", "bug"};
    return names[class];
}

bool err_code_known(uint64_t number) {
    return row_of(number) != NULL;
}

bool err_code_from_name(struct str name, enum err_code *out) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (str_eq(name, str_of(rows[i].name))) {
            *out = rows[i].code;
            return true;
        }
    }
    return false;
}

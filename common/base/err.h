/* The one way an error travels.
 *
 * A function that can fail returns 0 or -1 and takes `struct err *` last. The callee fills it, each
 * layer on the way up may add one clause with `err_add` ("loading config: line 3: ..."), and
 * whoever ends the way replies or logs, never both and never in between. The class decides what a
 * queue does with it: TEMP is tried again, PERM is not, HOLD waits `retry_after_ms` and costs no
 * attempt, BUG is ours. Codes are in schemas/errors.def. A `struct err` owns nothing and may be
 * copied. */
#pragma once

#include "common/base/str.h"

#include <stdint.h>

enum err_class { ERR_CLASS_NONE, ERR_CLASS_TEMP, ERR_CLASS_PERM, ERR_CLASS_HOLD, ERR_CLASS_BUG };

enum err_code {
#define ERROR(code, number, class, exit, text) ERR_##code = (number),
#include "schemas/errors.def"
#undef ERROR
};

#define ERR_TEXT_MAX 320

struct err {
    enum err_code code;
    enum err_class class;
    uint64_t retry_after_ms; /* HOLD, or when a server said so; 0 otherwise */
    char text[ERR_TEXT_MAX];
};

/* Fills `e` (which may be NULL) and returns -1, so that `return err_set(...)` reads well. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* As err_set with IO's code, the text followed by what errno says. */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
/* Puts a clause in front: "CLAUSE: TEXT". Returns -1. */
int err_add(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
void err_clear(struct err *e);

const char *err_code_name(enum err_code code); /* "NOT_FOUND" */
const char *err_code_text(enum err_code code); /* the general sentence */
enum err_class err_code_class(enum err_code code);
int err_code_exit(enum err_code code);
const char *err_class_name(enum err_class class); /* "temp" */
bool err_code_known(uint64_t number);
bool err_code_from_name(struct str name, enum err_code *out);

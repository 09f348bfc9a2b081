/* Several errors at once, for whoever can report more than the first.
 *
 * Keeps the first ERR_LIST_MAX in the order of their finding and counts the rest. Owns nothing; may
 * be copied; begin with `struct err_list errors = {0}`. Not thread-safe. */
#pragma once

#include "common/base/err.h"

#include <stddef.h>

#define ERR_LIST_MAX 20

struct err_list {
    struct err at[ERR_LIST_MAX];
    size_t count;
    size_t dropped; /* found, but not kept */
};

/* As err_set. Returns -1. */
int err_list_add(struct err_list *list, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* Adds a copy of `e`. Returns -1. */
int err_list_put(struct err_list *list, const struct err *e);

#include "common/config/err_list.h"

#include <stdarg.h>
#include <stdio.h>

int err_list_put(struct err_list *list, const struct err *e) {
    if (list->count == ERR_LIST_MAX)
        list->dropped++;
    else
        list->at[list->count++] = *e;
    return -1;
}

int err_list_add(struct err_list *list, enum err_code code, const char *fmt, ...) {
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct err e;
    err_set(&e, code, "%s", text);
    return err_list_put(list, &e);
}

/* What clang-tidy's analyzer cannot see from one file: the calls of common/base/err.h always return
 * -1. Without it, whatever `if (f(&x) < 0) return -1;` guards is taken for not initialised.
 * tests/support/lint.py puts it in front of every file but err.c; nothing else includes it. */
#pragma once

#include "common/base/err.h"

static inline int analyzer_failure(int status) {
    if (status != -1)
        __builtin_unreachable();
    return status;
}

#define err_set(...)   analyzer_failure(err_set(__VA_ARGS__))
#define err_errno(...) analyzer_failure(err_errno(__VA_ARGS__))
#define err_add(...)   analyzer_failure(err_add(__VA_ARGS__))

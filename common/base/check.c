#include "common/base/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic(check_tell_fn *) teller;

void check_tell(check_tell_fn *tell) {
    atomic_store(&teller, tell);
}

void check_failed(const char *file, int line, const char *func, const char *what) {
    check_tell_fn *tell = atomic_exchange(&teller, NULL); /* what tells may fail as well */
    if (tell)
        tell(file, line, func, what);
    else
        fprintf(stderr, "quern: bug: %s:%d: %s: %s\n", file, line, func, what);
    abort();
}
